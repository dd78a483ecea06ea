/* Learning-rate schedules: pure functions of the step. All of them first rise in a straight line
 * from 0; then each takes its own way from the maximum to the minimum. */
#include "tinylm/optim.h"

#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/options.h"
#include "optim/optimizer_core.h"

#define PI 3.14159265358979323846

const char *const tlmi_schedule_kinds[TLMI_NUM_SCHEDULES] = {"constant", "cosine", "linear", "wsd"};

/* Which share of the way from step `begin` to step `end` is done, in [0, 1]; 0 at `begin`, even
 * where both are the same. */
static double progress(uint64_t step, uint64_t begin, uint64_t end)
{
    if (step <= begin)
        return 0.0;
    if (step >= end)
        return 1.0;
    return (double)(step - begin) / (double)(end - begin);
}

static double learning_rate(const tlm_schedule_options_t *options, uint64_t step)
{
    double high = options->max_learning_rate, low = options->min_learning_rate;
    uint64_t warmup = options->warmup_steps, total = options->total_steps;

    if (step < warmup)
        return (double)step / (double)warmup * high;
    double done;
    switch (options->kind) {
    case TLM_SCHEDULE_COSINE:
        return low + 0.5 * (1.0 + cos(PI * progress(step, warmup, total))) * (high - low);
    case TLM_SCHEDULE_LINEAR:
        done = progress(step, warmup, total);
        break;
    case TLM_SCHEDULE_WSD:
        done = progress(step, total - options->decay_steps, total);
        break;
    default: /* TLM_SCHEDULE_CONSTANT */
        return high;
    }
    return high * (1.0 - done) + low * done; /* both ends exactly */
}

tlm_status_t tlm_cosine_schedule(double *out, uint64_t step, double max_learning_rate,
                                 double min_learning_rate, uint64_t warmup_steps,
                                 uint64_t cycle_steps)
{
    tlm_schedule_options_t options = {.kind = TLM_SCHEDULE_COSINE,
                                      .max_learning_rate = max_learning_rate,
                                      .min_learning_rate = min_learning_rate,
                                      .warmup_steps = warmup_steps,
                                      .total_steps = cycle_steps};

    TLMI_REQUIRE("cosine_schedule", out);
    TLMI_TRY(tlmi_check_rate("cosine_schedule", "max_learning_rate", max_learning_rate));
    TLMI_TRY(tlmi_check_rate("cosine_schedule", "min_learning_rate", min_learning_rate));
    if (cycle_steps < warmup_steps)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "cosine_schedule: cycle_steps %" PRIu64
                         " is less than warmup_steps %" PRIu64,
                         cycle_steps, warmup_steps);
    *out = learning_rate(&options, step);
    return TLM_OK;
}

tlm_status_t tlmi_schedule_read(tlm_schedule_options_t *known, const char *function,
                                const tlm_schedule_options_t *options)
{
    tlm_schedule_options_t read = TLM_SCHEDULE_OPTIONS_INIT;

    TLMI_TRY(tlmi_options_read(function, &read, TLMI_SCHEDULE_OPTIONS, options));
    if (read.kind < TLM_SCHEDULE_CONSTANT || read.kind > TLM_SCHEDULE_WSD)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: kind %" PRId32 " is not in 0 .. %d",
                         function, read.kind, TLM_SCHEDULE_WSD);
    TLMI_TRY(tlmi_check_rate(function, "max_learning_rate", read.max_learning_rate));
    TLMI_TRY(tlmi_check_rate(function, "min_learning_rate", read.min_learning_rate));
    uint64_t decay = read.kind == TLM_SCHEDULE_WSD ? read.decay_steps : 0;
    if (read.kind != TLM_SCHEDULE_CONSTANT &&
        (read.warmup_steps > read.total_steps || decay > read.total_steps - read.warmup_steps))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: warmup_steps %" PRIu64 " and decay_steps %" PRIu64
                         " do not fit in total_steps %" PRIu64,
                         function, read.warmup_steps, decay, read.total_steps);
    *known = read;
    return TLM_OK;
}

tlm_status_t tlm_schedule_learning_rate(double *out, const tlm_schedule_options_t *options,
                                        uint64_t step)
{
    tlm_schedule_options_t known = TLM_SCHEDULE_OPTIONS_INIT;

    TLMI_REQUIRE("schedule_learning_rate", out);
    TLMI_TRY(tlmi_schedule_read(&known, "schedule_learning_rate", options));
    *out = learning_rate(&known, step);
    return TLM_OK;
}
