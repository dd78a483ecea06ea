/* Runs of a trainer on several ranks, threads of this process, and what each rank did. */
#ifndef TEST_RANKS_SUPPORT_H
#define TEST_RANKS_SUPPORT_H

#include "io_support.h"
#include "run_suite.h"

#include <math.h>
#include <pthread.h>
#include <unistd.h>

#include "base/error.h"
#include "optim/optimizer_core.h"
#include "train/train_core.h"

enum { VOCAB = 1200, CONTEXT = 5, IDS = 900, MOST_RANKS = 8, MOST_STEPS = 6 };

typedef enum kind { ADAMW, SGD, MUON, MIXED, LION, ADAFACTOR } kind_t;

/* What the ranks of a run have in common. */
typedef struct plan {
    int32_t ranks; /* 0: without a communicator */
    kind_t kind;
    uint64_t accumulation, steps, until, threads;
    bool irreproducible;
    bool masked;  /* most rows of the data have no target that counts */
    bool large;   /* a model whose parameters are exchanged in several chunks */
    bool adapted; /* adapters are trained, and nothing else */
    bool wraps;   /* the engine is wrapped: see wrapper_t; the next three are for that */
    bool any_thread;
    int64_t fails_at, spoils_at; /* exchanges of the odd rank; 0: none */
    int32_t prefetch;
    bool warms_up; /* batches of 1, 1, 2, 3, 4, 4 rows in place of 2 */
    const char *resume, *save, *directory;
    int32_t odd_rank; /* the one with which something is wrong, if `wrong` is set */
    void (*wrong)(tlm_trainer_options_t *options, tlm_model_t *model);
    void (*before)(tlm_trainer_t *trainer, tlm_model_t *model); /* a step of the odd rank */
    tlm_step_callback_t on_step;
} plan_t;

/* What a rank did. */
typedef struct result {
    tlm_status_t status;
    char message[512];
    double losses[MOST_STEPS], norms[MOST_STEPS], evaluation;
    uint64_t steps;
    size_t state_values; /* that this rank keeps */
    float *parameters;
    size_t num_parameters;
    int64_t foreign; /* calls of a wrapped engine from other threads than the rank's */
} result_t;

typedef struct rank {
    const plan_t *plan;
    tlm_communicator_t *communicator;
    result_t *result;
} rank_t;

/* An engine around that of a communicator. Of the odd rank, exchange number fails_at fails, and what
 * arrives with the first long one from spoils_at on is NaN. */
typedef struct wrapper {
    tlm_communicator_t *inner;
    const plan_t *plan;
    pthread_t owner;
    int64_t calls, foreign;
    bool is_spoilt;
} wrapper_t;

static inline tlm_status_t wrapped_exchange(void *user, void *receive, size_t receive_bytes,
                                            int32_t from, const void *send, size_t send_bytes,
                                            int32_t to)
{
    wrapper_t *wrapper = user;
    const plan_t *plan = wrapper->plan;
    const bool is_odd = tlm_communicator_rank(wrapper->inner) == plan->odd_rank;

    wrapper->calls++;
    wrapper->foreign += !pthread_equal(pthread_self(), wrapper->owner);
    if (is_odd && wrapper->calls == plan->fails_at)
        return tlm_set_error(TLM_ERR_IO, "the cable is cut");
    TLMI_TRY(tlm_communicator_exchange(receive, receive_bytes, from, wrapper->inner, send,
                                       send_bytes, to));
    if (is_odd && plan->spoils_at > 0 && wrapper->calls >= plan->spoils_at && !wrapper->is_spoilt &&
        receive_bytes > 4096) {
        ((float *)receive)[7] = (float)NAN;
        wrapper->is_spoilt = true;
    }
    return TLM_OK;
}

static inline tlm_communicator_t *wrap(wrapper_t *wrapper, const plan_t *plan,
                                       tlm_communicator_t *inner)
{
    tlm_communicator_options_t options = TLM_COMMUNICATOR_OPTIONS_INIT;
    tlm_communicator_t *outer;

    *wrapper = (wrapper_t){.inner = inner, .plan = plan, .owner = pthread_self()};
    options.rank = tlm_communicator_rank(inner);
    options.num_ranks = tlm_communicator_num_ranks(inner);
    options.user = wrapper;
    options.exchange = wrapped_exchange;
    options.any_thread = plan->any_thread;
    ASSERT_OK(tlm_communicator_create(&outer, &options));
    return outer;
}

static inline tlm_dataset_t *make_data(uint32_t factor)
{
    tlm_dataset_t *dataset;
    uint32_t ids[IDS];

    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = (i * i * factor + i / 3) % VOCAB;
    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, IDS));
    return dataset;
}

/* Rows of which every third has two targets that count: some batches, and some ranks, have none. */
static inline tlm_dataset_t *make_rows(void)
{
    tlm_dataset_t *dataset;
    uint32_t ids[IDS];
    uint8_t counted[IDS];

    for (uint32_t i = 0; i < IDS; i++) {
        ids[i] = (i * i + i / 3) % VOCAB;
        counted[i] = i / (CONTEXT + 1) % 3 == 0 && i % 3 == 2;
    }
    ASSERT_OK(tlm_dataset_from_rows(&dataset, ids, counted, IDS, CONTEXT + 1));
    return dataset;
}

/* The embedding has several pieces of a norm; the gains of norms are far smaller than one. */
static inline tlm_model_t *make_model(const plan_t *plan)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    shape.vocab_size = VOCAB;
    shape.context_length = CONTEXT;
    shape.d_model = plan->large ? 512 : 72;
    shape.num_layers = 2;
    shape.num_heads = 2;
    shape.d_ff = plan->large ? 600 : 40;
    shape.seed = 3;
    if (plan->kind == MUON) { /* with all that recipes have */
        shape.value_embeddings = true;
        shape.z_loss = 1e-3;
        shape.label_smoothing = 0.1;
        shape.dropout = 0.2;
        shape.attention_dropout = 0.25;
        shape.embedding_dropout = 0.1;
    }
    ASSERT_OK(tlm_model_create(&model, &shape));
    if (plan->adapted) {
        tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;

        lora.seed = 11;
        ASSERT_OK(tlm_model_add_lora(model, &lora));
    }
    return model;
}

/* MIXED: a group of AdamW and one of SGD, with a parameter left out. */
static inline tlm_optimizer_t *make_optimizer(tlm_model_t *model, kind_t kind)
{
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *const *tensors;
    size_t n;

    if (kind == LION)
        ASSERT_OK(tlm_optimizer_create_lion(&optimizer, NULL));
    else if (kind == ADAFACTOR)
        ASSERT_OK(tlm_optimizer_create_adafactor(&optimizer, NULL));
    else if (kind == MUON)
        ASSERT_OK(tlm_optimizer_create_muon(&optimizer, NULL, NULL));
    else if (kind == ADAMW)
        ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    else
        ASSERT_OK(tlm_optimizer_create_sgd(&optimizer, 0.05));
    if (kind != MIXED) {
        ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_NORMS, NULL));
        return optimizer;
    }
    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    ASSERT_OK(tlm_optimizer_add_adamw_group(optimizer, tensors + n / 2, n - n / 2, NULL));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, tensors + 1, n / 2 - 1, NULL));
    return optimizer;
}

static const tlm_schedule_options_t cosine = {
    sizeof(cosine), TLM_SCHEDULE_COSINE, 0, 0.01, 0.001, 2, MOST_STEPS, 0};

static inline void keep_parameters(result_t *result, const tlm_model_t *model,
                                   const tlm_optimizer_t *optimizer)
{
    tlm_tensor_t *const *tensors;
    size_t n, at = 0;

    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    result->num_parameters = (size_t)tlm_model_num_elements(model);
    result->parameters = malloc(result->num_parameters * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        memcpy(result->parameters + at, tlm_tensor_data(tensors[i]),
               (size_t)tlm_tensor_numel(tensors[i]) * sizeof(float));
        at += (size_t)tlm_tensor_numel(tensors[i]);
    }
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        for (size_t j = 0; j < optimizer->parameters[i].num_states; j++)
            result->state_values += optimizer->parameters[i].states[j].numel;
}

/* Whether the parts of a step are all there and no more than the whole. */
static inline bool parts_fit(const tlm_train_step_t *step)
{
    const double parts = step->compute_seconds + step->reduce_scatter_seconds +
                         step->update_seconds + step->gather_seconds;

    return step->compute_seconds > 0.0 && step->update_seconds > 0.0 &&
           step->reduce_scatter_seconds >= 0.0 && step->gather_seconds >= 0.0 &&
           parts <= step->seconds && step->communication_seconds >= 0.0 &&
           step->communication_seconds <= step->seconds && step->overlap_seconds >= 0.0 &&
           step->overlap_seconds <= step->compute_seconds;
}

static inline tlm_status_t train(result_t *result, const plan_t *plan, tlm_trainer_t *trainer,
                                 tlm_model_t *model, bool is_odd)
{
    if (plan->resume != NULL || plan->directory != NULL) {
        tlm_status_t status = tlm_trainer_resume(trainer, plan->resume);
        if (status != TLM_OK && (plan->resume != NULL || status != TLM_ERR_NOT_FOUND))
            return status;
    }
    if (plan->on_step != NULL)
        return tlm_trainer_run(trainer, plan->until);
    while (tlm_trainer_steps(trainer) < plan->until) {
        tlm_train_step_t step = TLM_TRAIN_STEP_INIT;
        uint64_t i = tlm_trainer_steps(trainer);

        if (plan->before != NULL && is_odd)
            plan->before(trainer, model);
        TLMI_TRY(tlm_trainer_step(&step, trainer));
        result->losses[i] = step.loss;
        result->norms[i] = step.gradient_norm;
        if (!parts_fit(&step))
            return tlm_set_error(TLM_ERR_RANGE, "the parts of a step do not fit");
    }
    tlm_evaluation_t evaluation = TLM_EVALUATION_INIT;
    if (plan->until == plan->steps) /* the checkpoint holds the lowest loss */
        TLMI_TRY(tlm_trainer_evaluate(&evaluation, trainer));
    result->evaluation = evaluation.loss;
    if (plan->save != NULL || plan->directory != NULL)
        TLMI_TRY(tlm_trainer_save(trainer, plan->save));
    return TLM_OK;
}

static inline void *run_rank(void *argument)
{
    const rank_t *rank = argument;
    const plan_t *plan = rank->plan;
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_dataset_t *data = plan->masked ? make_rows() : make_data(1), *valid = make_data(3);
    tlm_model_t *model = make_model(plan);
    tlm_optimizer_t *optimizer = make_optimizer(model, plan->kind);
    tlm_loader_t *loader;
    tlm_trainer_t *trainer = NULL;

    tlm_communicator_t *communicator = rank->communicator;
    wrapper_t wrapper = {.inner = NULL};
    const bool is_odd = tlm_communicator_rank(communicator) == plan->odd_rank;

    if (plan->wraps)
        communicator = wrap(&wrapper, plan, rank->communicator);
    loading.batch_size = plan->warms_up ? 4 : 2;
    loading.context_length = CONTEXT;
    loading.seed = 5;
    loading.prefetch = plan->prefetch;
    ASSERT_OK(tlm_loader_create(&loader, data, &loading));
    options.steps = plan->steps;
    options.schedule = plan->kind == ADAMW ? &cosine : NULL;
    options.clip_norm = 0.5;
    options.average_decay = plan->kind == MUON || plan->kind == MIXED ? 0.75 : 0.0;
    options.accumulation = plan->accumulation;
    options.batch_start = plan->warms_up ? 1 : 0;
    options.batch_warmup_steps = plan->warms_up ? 4 : 0;
    options.valid = valid;
    options.communicator = communicator;
    options.irreproducible = plan->irreproducible;
    options.checkpoint_dir = plan->directory;
    options.on_step = plan->on_step;
    options.user = rank->communicator;
    if (plan->wrong != NULL && is_odd)
        plan->wrong(&options, model);
    result_t *result = rank->result;
    result->status = tlm_trainer_create(&trainer, model, optimizer, loader, &options);
    if (result->status == TLM_OK)
        result->status = train(result, plan, trainer, model, is_odd);
    if (result->status != TLM_OK)
        snprintf(result->message, sizeof(result->message), "%s", tlm_error_message());
    result->foreign = wrapper.foreign;
    result->steps = tlm_trainer_steps(trainer);
    keep_parameters(result, model, optimizer);
    tlm_trainer_free(trainer);
    tlm_optimizer_free(optimizer);
    tlm_loader_free(loader);
    tlm_model_free(model);
    tlm_dataset_free(data);
    tlm_dataset_free(valid);
    if (plan->wraps)
        tlm_communicator_free(communicator);
    tlm_communicator_free(rank->communicator);
    return NULL;
}

/* Runs all ranks of a plan; free the results with release. */
static inline void run(result_t *results, const plan_t *plan)
{
    tlm_communicator_t *communicators[MOST_RANKS] = {NULL};
    const int32_t n = plan->ranks == 0 ? 1 : plan->ranks;
    pthread_t threads[MOST_RANKS];
    rank_t ranks[MOST_RANKS];

    memset(results, 0, MOST_RANKS * sizeof(*results));
    if (plan->ranks > 0)
        ASSERT_OK(tlm_communicator_create_local(communicators, n));
    ASSERT_OK(tlm_set_num_threads(plan->threads == 0 ? 1 : (int32_t)plan->threads));
    for (int32_t i = 0; i < n; i++) {
        ranks[i] = (rank_t){plan, communicators[i], &results[i]};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_rank, &ranks[i]), 0);
    }
    for (int32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static inline void release(result_t *results)
{
    for (int32_t i = 0; i < MOST_RANKS; i++)
        free(results[i].parameters);
}

static inline void assert_same(const result_t *a, const result_t *b)
{
    ck_assert_msg(a->status == TLM_OK, "%s", a->message);
    ck_assert_msg(b->status == TLM_OK, "%s", b->message);
    ck_assert_int_eq(memcmp(a->losses, b->losses, sizeof(a->losses)), 0);
    ck_assert_int_eq(memcmp(a->norms, b->norms, sizeof(a->norms)), 0);
    ck_assert_int_eq(memcmp(&a->evaluation, &b->evaluation, sizeof(double)), 0);
    ck_assert_int_eq(memcmp(a->parameters, b->parameters, a->num_parameters * sizeof(float)), 0);
}

static inline plan_t usual(int32_t ranks, kind_t kind, uint64_t accumulation)
{
    return (plan_t){.ranks = ranks,
                    .kind = kind,
                    .accumulation = accumulation,
                    .steps = MOST_STEPS,
                    .until = MOST_STEPS};
}

#endif
