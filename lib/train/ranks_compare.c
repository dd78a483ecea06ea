/* What the ranks of a run must have in common. Each rank sends the same list of numbers; where one
 * differs, all ranks fail alike, naming it. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/data_core.h"
#include "model/model_core.h"
#include "tensor/tensor_core.h"
#include "tinylm/runtime.h"
#include "train/division.h"

enum { MAX_FACTS = 64 };

typedef struct facts {
    const char *names[MAX_FACTS]; /* of numbers; what is compared as bits begins with "the " */
    uint64_t values[MAX_FACTS];
    size_t n;
} facts_t;

static void add(facts_t *facts, const char *name, uint64_t value)
{
    facts->names[facts->n] = name;
    facts->values[facts->n++] = value;
}

static void add_bits(facts_t *facts, const char *name, const void *bytes, size_t size)
{
    tlmi_crc64_t crc;

    tlmi_crc64_init(&crc);
    tlmi_crc64_update(&crc, bytes, size);
    add(facts, name, tlmi_crc64_final(&crc));
}

static void add_options(facts_t *facts, const tlm_trainer_t *trainer)
{
    const tlm_trainer_options_t *options = &trainer->options;
    const tlm_schedule_options_t none = {0};
    const tlm_schedule_options_t *schedule = options->schedule != NULL ? &trainer->schedule : &none;

    add(facts, "steps", options->steps);
    add(facts, "accumulation", options->accumulation);
    add(facts, "batch_start", (uint64_t)options->batch_start);
    add(facts, "batch_increment", (uint64_t)options->batch_increment);
    add(facts, "batch_warmup_steps", options->batch_warmup_steps);
    add(facts, "batch_warmup_tokens", options->batch_warmup_tokens);
    add_bits(facts, "the value of clip_norm", &options->clip_norm, sizeof(double));
    add_bits(facts, "the schedule", schedule, sizeof(*schedule));
    add_bits(facts, "the value of average_decay", &options->average_decay, sizeof(double));
    add(facts, "eval_every", options->eval_every);
    add(facts, "eval_tokens", options->eval_tokens);
    add(facts, "the length of valid",
        options->valid == NULL ? 0 : tlm_dataset_length(options->valid));
    add(facts, "save_every", options->save_every);
    add(facts, "save_on_cancel", options->save_on_cancel);
    add(facts, "the presence of checkpoint_path", options->checkpoint_path != NULL);
    add(facts, "the presence of checkpoint_dir", options->checkpoint_dir != NULL);
    add(facts, "irreproducible", options->irreproducible);
    add(facts, "products", (uint64_t)options->products);
    const char *changes = options->resume_changes != NULL ? options->resume_changes : "";
    add_bits(facts, "the text of resume_changes", changes, strlen(changes));
}

static void add_batches(facts_t *facts, const tlm_trainer_t *trainer)
{
    tlmi_loader_source_t source;

    tlmi_loader_source(&source, trainer->loader);
    add(facts, "the loader's batch_size", (uint64_t)trainer->rows);
    add(facts, "the loader's context_length", (uint64_t)trainer->context);
    add(facts, "the loader's seed", source.seed);
    add(facts, "the loader's order", (uint64_t)source.order);
    add(facts, "the loader's document_end", source.document_end);
    add(facts, "the number of ids to train on", source.length);
}

static void add_parameters(facts_t *facts, const tlm_model_t *model)
{
    tlmi_crc64_t crc;

    tlmi_crc64_init(&crc);
    for (size_t i = 0; i < model->num_parameters; i++) {
        const tlmi_weight_t weight = tlmi_weight_of(model->parameters[i]);

        tlmi_crc64_update(&crc, weight.data, (size_t)weight.rows * weight.row_bytes);
    }
    add(facts, "the parameters", tlmi_crc64_final(&crc));
}

/* Field by field, since the structs have gaps. */
static void add_group_options(tlmi_crc64_t *crc, const tlmi_group_t *group)
{
    for (size_t i = 0; i < group->kind->num_options; i++) {
        const tlmi_optimizer_option_t *option = &group->kind->options[i];
        const double value = option->choices == NULL
                                 ? tlmi_optimizer_option_number(option, group->options)
                                 : (double)tlmi_optimizer_option_choice(option, group->options);

        tlmi_crc64_update(crc, &value, sizeof(value));
    }
}

static void add_group_schedules(facts_t *facts, const tlm_optimizer_t *optimizer)
{
    tlmi_crc64_t crc;

    tlmi_crc64_init(&crc);
    for (size_t i = 0; i < optimizer->num_groups; i++) {
        const tlmi_group_schedule_t *schedule = tlmi_group_schedule(optimizer, i);

        if (schedule == NULL)
            continue;
        tlmi_crc64_update(&crc, &i, sizeof(i));
        tlmi_crc64_update(&crc, &schedule->options, sizeof(schedule->options));
    }
    add(facts, "the schedule of a group", tlmi_crc64_final(&crc));
}

static void add_optimizer(facts_t *facts, const tlm_optimizer_t *optimizer)
{
    tlmi_crc64_t crc;

    add(facts, "the optimizer's steps", optimizer->steps);
    add(facts, "the number of the optimizer's parameters", optimizer->num_parameters);
    tlmi_crc64_init(&crc);
    for (size_t i = 0; i < optimizer->num_groups; i++) {
        const tlmi_group_t *group = &optimizer->groups[i];

        tlmi_crc64_update(&crc, group->kind->name, strlen(group->kind->name));
        tlmi_crc64_update(&crc, &group->learning_rate, sizeof(double));
        tlmi_crc64_update(&crc, &group->weight_decay, sizeof(double));
        tlmi_crc64_update(&crc, &group->rate_factor, sizeof(double));
        add_group_options(&crc, group);
    }
    for (size_t i = 0; i < optimizer->num_parameters && optimizer->num_ranks == 0; i++) {
        const tlmi_parameter_t *parameter = &optimizer->parameters[i];

        tlmi_crc64_update(&crc, &parameter->group, sizeof(parameter->group));
        for (size_t j = 0; j < parameter->num_states; j++)
            tlmi_crc64_update(&crc, parameter->states[j].values,
                              parameter->states[j].numel * sizeof(float));
    }
    add(facts, "the optimizer", tlmi_crc64_final(&crc));
    add_bits(facts, "the optimizer's average_decay", &optimizer->average_decay, sizeof(double));
    add_group_schedules(facts, optimizer);
}

/* Compares the facts with those of rank 0. */
static tlm_status_t find_difference(const facts_t *facts, const char *function, const uint64_t *all,
                                    int32_t num_ranks)
{
    for (int32_t rank = 1; rank < num_ranks; rank++)
        for (size_t i = 0; i < facts->n; i++) {
            const uint64_t own = all[(size_t)rank * facts->n + i];

            if (own == all[i])
                continue;
            if (strncmp(facts->names[i], "the ", 4) == 0)
                return tlmi_fail(TLM_ERR_STATE, "%s: %s of rank %" PRId32 " differs from rank 0's",
                                 function, facts->names[i], rank);
            return tlmi_fail(TLM_ERR_STATE,
                             "%s: %s is %" PRIu64 " on rank %" PRId32 ", but %" PRIu64 " on rank 0",
                             function, facts->names[i], own, rank, all[i]);
        }
    return TLM_OK;
}

static tlm_status_t compare(const facts_t *facts, const char *function,
                            tlm_communicator_t *communicator)
{
    const int32_t num_ranks = communicator->engine.num_ranks;
    uint64_t *all = tlmi_alloc((size_t)num_ranks * facts->n, sizeof(*all), "facts of all ranks");
    tlm_status_t status = all == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    TLMI_TRY_OR(done, tlmi_agree(communicator, function, status));
    TLMI_TRY_OR(done, tlmi_all_gather_equal(communicator, function, facts->values, all,
                                            facts->n * sizeof(*all)));
    status = find_difference(facts, function, all, num_ranks);
done:
    tlmi_free(all);
    return status;
}

tlm_status_t tlmi_ranks_compare(const tlm_trainer_t *trainer)
{
    facts_t facts = {.n = 0};

    add_options(&facts, trainer);
    add_batches(&facts, trainer);
    add_parameters(&facts, trainer->model);
    add_optimizer(&facts, trainer->optimizer);
    if (!trainer->options.irreproducible) /* kernels of other features round otherwise */
        add(&facts, "tlm_cpu_features()", tlm_cpu_features());
    return compare(&facts, "trainer_create", trainer->communicator);
}

tlm_status_t tlmi_ranks_compare_state(const tlm_trainer_t *trainer, const char *function)
{
    facts_t facts = {.n = 0};

    add(&facts, "the step", trainer->place.step);
    add(&facts, "the row of the data", trainer->place.row);
    add(&facts, "the number of tokens", trainer->place.tokens);
    add_parameters(&facts, trainer->model);
    add_optimizer(&facts, trainer->optimizer);
    return compare(&facts, function, trainer->communicator);
}

/* ---- During a step ---------------------------------------------------------------------- */

tlm_status_t tlmi_ranks_gather_losses(double *losses, const tlm_trainer_t *trainer)
{
    tlm_communicator_t *communicator = trainer->communicator;
    const size_t ranks = (size_t)communicator->engine.num_ranks;
    const uint64_t all = trainer->options.accumulation;

    for (size_t i = 0; i < ranks; i++)
        communicator->sizes[i] =
            (size_t)(all * (i + 1) / ranks - all * i / ranks) * sizeof(*losses);
    return tlm_communicator_all_gather(losses, communicator, losses + trainer->first,
                                       communicator->sizes);
}
