/* The options of a trainer: defaults and checks. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/options.h"
#include "kernels/gemm.h"
#include "optim/optimizer_core.h"
#include "train/train_core.h"

/* Whether there is a warm-up, and how it goes. */
static tlm_status_t check_batch_warmup(const tlm_trainer_options_t *options)
{
    const uint64_t steps = options->batch_warmup_steps, tokens = options->batch_warmup_tokens;

    if (options->batch_start < 0 || options->batch_increment < 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: batch_start %" PRId64 " and batch_increment %" PRId64
                         " must not be negative",
                         options->batch_start, options->batch_increment);
    if (options->batch_start == 0 && (steps > 0 || tokens > 0 || options->batch_increment > 0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: batch_start is 0, but batch_warmup_steps is %" PRIu64
                         ", batch_warmup_tokens %" PRIu64 " and batch_increment %" PRId64,
                         steps, tokens, options->batch_increment);
    if (options->batch_start > 0 && (steps == 0) == (tokens == 0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: batch_start %" PRId64
                         " needs either batch_warmup_steps, which is %" PRIu64
                         ", or batch_warmup_tokens, which is %" PRIu64 ", but not both",
                         options->batch_start, steps, tokens);
    if (steps > INT64_MAX || tokens > INT64_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: batch_warmup_steps %" PRIu64
                         " or batch_warmup_tokens %" PRIu64 " is more than %" PRId64,
                         steps, tokens, INT64_MAX);
    return TLM_OK;
}

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
    TLMI_TRY(check_batch_warmup(options));
    return tlmi_products_check("trainer_create", options->products);
}

tlm_status_t tlmi_trainer_options_check_rows(const tlm_trainer_options_t *options, int64_t rows,
                                             int64_t context)
{
    const int64_t start = options->batch_start, increment = options->batch_increment;
    size_t tokens;

    if (start > rows)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: batch_start %" PRId64
                         " is more than the loader's batch_size %" PRId64,
                         start, rows);
    if (start > 0 && (rows - start) % increment != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: from batch_start %" PRId64
                         " to the loader's batch_size %" PRId64 " are %" PRId64
                         " rows, which is no multiple of batch_increment %" PRId64,
                         start, rows, rows - start, increment);
    if (start > 0 && (rows - start) / increment > INT32_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: from batch_start %" PRId64
                         " to the loader's batch_size %" PRId64 " are more than %d increments",
                         start, rows, INT32_MAX);
    if (!tlmi_mul_size(&tokens, (size_t)rows, (size_t)context) ||
        !tlmi_mul_size(&tokens, tokens, options->accumulation) || tokens > INT64_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: %" PRIu64 " batches (accumulation) of (%" PRId64
                         ", %" PRId64 ") are too many tokens for a step",
                         options->accumulation, rows, context);
    return TLM_OK;
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
    if (read.batch_start > 0 && read.batch_increment == 0)
        read.batch_increment = 1;
    if (read.steps > INT64_MAX / read.accumulation) /* so that batches can be counted */
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "trainer_create: steps %" PRIu64 " of %" PRIu64 " batches are too many",
                         read.steps, read.accumulation);
    TLMI_TRY(check_ranks(&read));
    *known = read;
    return TLM_OK;
}
