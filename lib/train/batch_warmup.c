/* Batch-size warm-up: how many rows the batches of each step have. A run is cut into stages of steps
 * whose batches have equally many rows, which a loader then follows. */
#include "base/error.h"
#include "base/memory.h"
#include "train/train_core.h"

/* How often batches grow until they are full. */
static uint64_t growths(const tlm_trainer_t *trainer)
{
    const tlm_trainer_options_t *options = &trainer->options;

    return options->batch_start == 0
               ? 0
               : (uint64_t)((trainer->rows - options->batch_start) / options->batch_increment);
}

/* ceil(k whole / n) for k <= n <= INT32_MAX, without an overflow. */
static uint64_t part_of(uint64_t whole, uint64_t k, uint64_t n)
{
    return whole / n * k + (whole % n * k + n - 1) / n;
}

static uint64_t missing(uint64_t goal, uint64_t reached)
{
    return goal > reached ? goal - reached : 0;
}

/* Steps from `place` on until batches have grown k times out of n, with `rows` per step until then. */
static uint64_t steps_until(const tlm_trainer_t *trainer, const tlmi_run_place_t *place, uint64_t k,
                            uint64_t n, uint64_t rows)
{
    const tlm_trainer_options_t *options = &trainer->options;
    const uint64_t tokens = rows * (uint64_t)trainer->context;

    if (options->batch_warmup_steps > 0)
        return missing(part_of(options->batch_warmup_steps, k, n), place->step);
    const uint64_t left = missing(part_of(options->batch_warmup_tokens, k, n), place->tokens);
    return left / tokens + (left % tokens != 0);
}

/* Goes `steps` on; false if rows could not be counted any more. */
static bool advance(tlmi_run_place_t *place, uint64_t steps, uint64_t rows, uint64_t context)
{
    if (steps > (INT64_MAX - place->row) / rows / context)
        return false;
    place->step += steps;
    place->row += steps * rows;
    place->tokens += steps * rows * context;
    return true;
}

/* Fills in the stages from a place on; returns their number. */
static size_t make_stages(tlmi_batch_stage_t *stages, const tlm_trainer_t *trainer,
                          tlmi_run_place_t place)
{
    const uint64_t n = growths(trainer), accumulation = trainer->options.accumulation;
    const uint64_t first_step = place.step;
    size_t count = 0;

    for (uint64_t k = 0;; k++) {
        const uint64_t rows =
            (uint64_t)(trainer->rows - (int64_t)(n - k) * trainer->options.batch_increment);
        const uint64_t steps =
            k == n ? 1 : steps_until(trainer, &place, k + 1, n, accumulation * rows);

        if (steps == 0)
            continue;
        stages[count++] =
            (tlmi_batch_stage_t){(place.step - first_step) * accumulation, place.row, rows};
        if (k == n || !advance(&place, steps, accumulation * rows, (uint64_t)trainer->context))
            return count;
    }
}

tlm_status_t tlmi_batch_plan_create(tlmi_batch_plan_t *out, const tlm_trainer_t *trainer,
                                    const tlmi_run_place_t *place)
{
    const uint64_t n = growths(trainer);
    tlmi_batch_stage_t *stages =
        tlmi_alloc((size_t)n + 1, sizeof(*stages), "the stages of a batch-size warm-up");

    if (stages == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *out = (tlmi_batch_plan_t){stages, make_stages(stages, trainer, *place), place->step};
    return TLM_OK;
}

int64_t tlmi_batch_plan_rows(const tlm_trainer_t *trainer)
{
    const tlmi_batch_plan_t *plan = &trainer->plan;
    uint64_t rows;

    (void)tlmi_batch_rows(&rows, plan->stages, plan->num_stages,
                          (trainer->place.step - plan->first_step) * trainer->options.accumulation);
    return (int64_t)rows;
}
