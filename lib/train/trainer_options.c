/* The options of a trainer: defaults and checks. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/number.h"
#include "base/options.h"
#include "kernels/gemm.h"
#include "optim/optimizer_core.h"
#include "train/train_core.h"

static tlm_status_t check(const tlm_trainer_options_t *options)
{
    if (options->steps == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "trainer_create: steps is 0");
    if (!isfinite(options->clip_norm) || options->clip_norm < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: clip_norm %s is not a finite number >= 0",
                         TLMI_G(options->clip_norm));
    if (!(options->average_decay >= 0.0 && options->average_decay < 1.0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: average_decay %s is not in [0, 1)",
                         TLMI_G(options->average_decay));
    if (!isfinite(options->peak_flops) || options->peak_flops < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: peak_flops %s is not a finite number >= 0",
                         TLMI_G(options->peak_flops));
    if (options->accumulation > INT32_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: accumulation %" PRIu64 " is more than %d",
                         options->accumulation, INT32_MAX);
    if (options->eval_every > 0 && options->valid == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: eval_every is %" PRIu64
                         ", but there is no data set for evaluation",
                         options->eval_every);
    if (options->checkpoint_path != NULL && options->checkpoint_dir != NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: checkpoint_path and checkpoint_dir are both given");
    if (options->save_every > 0 && options->checkpoint_path == NULL &&
        options->checkpoint_dir == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: save_every is %" PRIu64
                         ", but neither checkpoint_path nor checkpoint_dir is given",
                         options->save_every);
    if (options->keep_last < 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: keep_last %" PRId32 " is negative", options->keep_last);
    return tlmi_products_check("trainer_create", options->products);
}

/* Fails unless the ranks can share the batches of a step. */
static tlm_status_t check_ranks(const tlm_trainer_options_t *options)
{
    const uint64_t ranks = (uint64_t)tlm_communicator_num_ranks(options->communicator);
    uint64_t most = 1;

    if (options->irreproducible && ranks > options->accumulation)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: accumulation %" PRIu64 " is less than one batch for each "
                         "of %" PRIu64 " ranks",
                         options->accumulation, ranks);
    while (options->accumulation % (2 * most) == 0)
        most *= 2;
    if (!options->irreproducible && ((ranks & (ranks - 1)) != 0 || ranks > most))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: %" PRIu64 " ranks cannot share the %" PRIu64
                         " batches of a step (accumulation) with the same bits: powers of two up "
                         "to %" PRIu64 " can; irreproducible = true allows any up to %" PRIu64,
                         ranks, options->accumulation, most, options->accumulation);
    return TLM_OK;
}

tlm_status_t tlmi_trainer_options_read(tlm_trainer_options_t *known,
                                       tlm_schedule_options_t *schedule,
                                       const tlm_trainer_options_t *options)
{
    tlm_trainer_options_t read = TLM_TRAINER_OPTIONS_INIT;

    TLMI_TRY(tlmi_options_read("trainer_create", &read, TLMI_TRAINER_OPTIONS, options));
    known->communicator = read.communicator; /* all its ranks learn what else is wrong */
    TLMI_TRY(check(&read));
    if (read.schedule != NULL) {
        TLMI_TRY(tlmi_schedule_read(schedule, "trainer_create", read.schedule));
        read.schedule = schedule;
    }
    if (read.accumulation == 0)
        read.accumulation = 1;
    if (read.steps > INT64_MAX / read.accumulation) /* so that batches can be counted */
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: steps %" PRIu64 " of %" PRIu64 " batches are too many",
                         read.steps, read.accumulation);
    TLMI_TRY(check_ranks(&read));
    *known = read;
    return TLM_OK;
}
