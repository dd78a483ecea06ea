/* Learning-rate schedules: pure functions of the step. */
#include "tinylm/optim.h"

#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "optimizer_core.h"

#define PI 3.14159265358979323846

tlm_status_t tlm_cosine_schedule(double *out, uint64_t step, double max_learning_rate,
                                 double min_learning_rate, uint64_t warmup_steps,
                                 uint64_t cycle_steps)
{
    TLMI_REQUIRE("cosine_schedule", out);
    TLMI_TRY(tlmi_check_learning_rate("cosine_schedule", max_learning_rate));
    TLMI_TRY(tlmi_check_learning_rate("cosine_schedule", min_learning_rate));
    if (cycle_steps < warmup_steps)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "cosine_schedule: a cycle of %" PRIu64
                         " steps ends before its warm-up of %" PRIu64,
                         cycle_steps, warmup_steps);
    if (step < warmup_steps) {
        *out = (double)step / (double)warmup_steps * max_learning_rate;
    } else if (step > cycle_steps) {
        *out = min_learning_rate;
    } else if (cycle_steps == warmup_steps) {
        /* Here step == warmup == cycle: the limit from the warm-up's side. */
        *out = max_learning_rate;
    } else {
        double progress = (double)(step - warmup_steps) / (double)(cycle_steps - warmup_steps);
        *out = min_learning_rate +
               0.5 * (1.0 + cos(PI * progress)) * (max_learning_rate - min_learning_rate);
    }
    return TLM_OK;
}
