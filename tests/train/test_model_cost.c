/* tlm_model_cost against real train steps: every malloc and every matrix product of the program goes
 * through counters here (the linker's --wrap), and what they count must lie within a tenth of what
 * was told beforehand. */
#include "cost_settings.h"
#include "count_memory.h"
#include "run_suite.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/gemm.h"
#include "model/model_core.h"
#include "optim/optimizer_core.h"
#include "tensor/tensor_core.h"
#include "train/train_core.h"
#include "tinylm/tinylm.h"

#define TOLERANCE 0.1

/* ---- Counters ----------------------------------------------------------------------------- */

static atomic_llong linear_flops, attention_flops;

void __real_tlmi_gemm_as(int32_t products, int64_t m, int64_t n, int64_t k, float alpha,
                         tlmi_matrix_t a, tlmi_matrix_t b, float beta, float *c, int64_t c_stride);
void __wrap_tlmi_gemm_as(int32_t products, int64_t m, int64_t n, int64_t k, float alpha,
                         tlmi_matrix_t a, tlmi_matrix_t b, float beta, float *c, int64_t c_stride);
void __real_tlmi_panel_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                            int64_t a_column, const float *panels, int64_t packed_k, float *c,
                            int64_t c_stride, bool accumulate);
void __wrap_tlmi_panel_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                            int64_t a_column, const float *panels, int64_t packed_k, float *c,
                            int64_t c_stride, bool accumulate);

void __wrap_tlmi_gemm_as(int32_t products, int64_t m, int64_t n, int64_t k, float alpha,
                         tlmi_matrix_t a, tlmi_matrix_t b, float beta, float *c, int64_t c_stride)
{
    atomic_fetch_add(&linear_flops, 2 * m * n * k);
    __real_tlmi_gemm_as(products, m, n, k, alpha, a, b, beta, c, c_stride);
}

void __wrap_tlmi_panel_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                            int64_t a_column, const float *panels, int64_t packed_k, float *c,
                            int64_t c_stride, bool accumulate)
{
    atomic_fetch_add(&attention_flops, 2 * m * n * k);
    __real_tlmi_panel_gemm(m, n, k, a, a_row, a_column, panels, packed_k, c, c_stride, accumulate);
}

/* ---- Models ------------------------------------------------------------------------------- */

static tlm_model_options_t model_options(const setting_t *s)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;

    options.vocab_size = s->vocab_size;
    options.context_length = s->time;
    options.d_model = s->d_model;
    options.num_layers = s->layers;
    options.num_heads = s->heads;
    options.num_kv_heads = s->kv_heads;
    options.norm = s->norm;
    options.position = s->position;
    options.ffn = s->ffn;
    options.head_dim = s->head_dim;
    options.qk_norm = s->qk_norm;
    options.tied_embeddings = s->tied;
    options.value_embeddings = s->values;
    if (s->targets == NULL)
        options.dropout = options.attention_dropout = options.embedding_dropout = s->dropout;
    return options;
}

static tlm_lora_options_t lora_options(const setting_t *s)
{
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;

    lora.targets = s->targets;
    lora.rank = 4;
    lora.dropout = s->dropout;
    return lora;
}

static tlm_model_t *make_model(const setting_t *s)
{
    const tlm_model_options_t options = model_options(s);
    const tlm_lora_options_t lora = lora_options(s);
    tlm_model_t *model;

    if (s->weights == 0)
        ck_assert_int_eq(tlm_model_create(&model, &options), TLM_OK);
    else
        ck_assert_int_eq(tlmi_model_create_kept(&model, &options, s->weights), TLM_OK);
    if (s->targets != NULL)
        ck_assert_int_eq(tlm_model_add_lora(model, &lora), TLM_OK);
    if (s->frozen != NULL)
        ck_assert_int_eq(tlm_model_set_frozen(model, s->frozen, true), TLM_OK);
    return model;
}

static bool is_fine_tuned(const setting_t *s)
{
    return s->weights != 0 || s->frozen != NULL || s->targets != NULL;
}

/* Whether the forward pass keeps the gradient of the output projection. */
static bool trains_output(const setting_t *s)
{
    return s->weights == 0 && s->targets == NULL &&
           (s->frozen == NULL || strstr(s->frozen, "lm_head") == NULL);
}

static tlm_cost_t cost_of(const setting_t *s)
{
    tlm_model_options_t options = model_options(s);
    tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
    tlm_cost_t cost = TLM_COST_INIT;

    asked.batch = s->batch;
    asked.optimizer = s->optimizer;
    asked.checkpointing = s->checkpointing;
    asked.weights = s->weights;
    asked.frozen = s->frozen;
    const tlm_lora_options_t lora = lora_options(s);
    if (s->targets != NULL)
        asked.lora = &lora;
    ck_assert_int_eq(tlm_model_cost(&cost, &options, &asked), TLM_OK);
    return cost;
}

typedef struct measured {
    double activations, live, peak; /* bytes */
    double linear, attention;       /* operations of a step */
    uint64_t parameters;
} measured_t;

static tlm_optimizer_t *make_optimizer(const setting_t *s, const tlm_model_t *model)
{
    tlm_optimizer_t *optimizer;

    ck_assert_int_eq(tlmi_optimizer_kinds[s->optimizer]->create(&optimizer), TLM_OK);
    ck_assert_int_eq(tlm_optimizer_add_model(optimizer, model, 0, NULL), TLM_OK);
    return optimizer;
}

/* One step; returns the bytes of tensors that its forward pass left. */
static size_t step(const setting_t *s, tlm_model_t *model, tlm_optimizer_t *optimizer,
                   const uint32_t *ids)
{
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss;
    size_t n, before, after;

    ck_assert_int_eq(tlm_model_parameters(&tensors, &n, model), TLM_OK);
    tlm_optimizer_zero_grad(optimizer);
    before = tlmi_buffer_cache_stats().live_bytes;
    ck_assert_int_eq(tlm_model_loss(&loss, model, ids, ids + 1, s->batch, s->time), TLM_OK);
    after = tlmi_buffer_cache_stats().live_bytes;
    ck_assert_int_eq(tlm_tensor_backward(loss, NULL), TLM_OK);
    tlm_tensor_free(loss);
    ck_assert_int_eq(tlm_clip_grad_norm(NULL, tensors, n, 1.0), TLM_OK);
    ck_assert_int_eq(tlm_optimizer_step(optimizer), TLM_OK);
    return after - before;
}

/* Four steps of a real model. */
static measured_t measure(const setting_t *s)
{
    size_t tokens = (size_t)(s->batch * s->time);
    uint32_t *ids = malloc((tokens + 1) * sizeof(*ids));
    long long before;
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;
    measured_t measured;

    for (size_t i = 0; i <= tokens; i++)
        ids[i] = (uint32_t)((i * 7 + i * i) % (size_t)s->vocab_size);
    before = start_memory_count();
    model = make_model(s);
    ck_assert_int_eq(tlm_model_set_checkpointing(model, s->checkpointing), TLM_OK);
    ck_assert_int_eq(tlm_model_set_dropout_row(model, 0), TLM_OK);
    optimizer = make_optimizer(s, model);
    for (int i = 0; i < 3; i++) {
        atomic_store(&linear_flops, 0);
        atomic_store(&attention_flops, 0);
        measured.activations = (double)step(s, model, optimizer, ids);
    }
    measured.peak = (double)most_memory_since(before);
    measured.linear = (double)atomic_load(&linear_flops);
    measured.attention = (double)atomic_load(&attention_flops);
    measured.parameters = tlm_model_num_elements(model);
    tlmi_buffer_cache_clear(); /* begins the count of the most in use anew */
    step(s, model, optimizer, ids);
    measured.live = (double)tlmi_buffer_cache_stats().peak_live_bytes;
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    free(ids);
    return measured;
}

/* Parameters in hidden matrices, which Muon updates. */
static double hidden_elements(const tlm_cost_t *cost)
{
    return (double)(cost->part_parameters[TLM_PART_ATTENTION] +
                    cost->part_parameters[TLM_PART_FEED_FORWARD]);
}

/* Operations of an update without its matrix products. */
static double elementwise_flops(const setting_t *s, const tlm_cost_t *cost)
{
    double all = (double)cost->trained_parameters, hidden = hidden_elements(cost);

    if (s->optimizer == TLM_COST_MUON)
        return tlmi_muon_kind.flops * hidden + tlmi_adamw_kind.flops * (all - hidden);
    return tlmi_optimizer_kinds[s->optimizer]->flops * all;
}

static void check_near(const char *what, int index, double told, double counted)
{
    if (!(fabs(told - counted) <= TOLERANCE * counted))
        ck_abort_msg("model %d: %s: told %.0f, counted %.0f", index, what, told, counted);
}

static double without_scores(const double *flops)
{
    double sum = 0.0;

    for (int32_t part = 0; part < TLM_NUM_PARTS; part++)
        sum += part == TLM_PART_SCORES ? 0.0 : flops[part];
    return sum;
}

/* ---- Tests -------------------------------------------------------------------------------- */

START_TEST(test_costs_are_those_of_real_steps)
{
    const setting_t *s = &settings[_i];
    tlm_cost_t cost = cost_of(s);
    measured_t measured = measure(s);
    double output_gradient = trains_output(s) ? 4.0 * (double)(s->vocab_size * s->d_model) : 0.0;
    double told = (double)cost.activation_bytes + output_gradient;
    double scores = cost.forward_flops[TLM_PART_SCORES];
    double scores_again = s->checkpointing ? scores : 0.0;

    ck_assert_uint_eq(cost.parameters, measured.parameters);
    if (told < measured.activations) /* that gradient may lie in a block of up to twice its size */
        told = fmin(told + output_gradient, measured.activations);
    check_near("activations", _i, told, measured.activations);
    check_near("in use", _i, (double)(cost.step_live_bytes - cost.optimizer_bytes), measured.live);
    /* Blocks of 2 MiB and more lie at a multiple of that, which may take as much again of each. */
    double held = (double)cost.step_peak_bytes, alignment = 2.0 * (double)(2 << 20);
    check_near("held", _i, held,
               measured.peak > held ? fmax(held, measured.peak - alignment) : measured.peak);
    /* Operations are whole numbers below 2^53: equal, not near. */
    ck_assert_double_eq(without_scores(cost.forward_flops) + without_scores(cost.backward_flops) +
                            cost.recompute_flops - scores_again + cost.optimizer_flops -
                            elementwise_flops(s, &cost),
                        measured.linear);
    ck_assert_double_eq(scores + cost.backward_flops[TLM_PART_SCORES] + scores_again,
                        measured.attention);
}
END_TEST

START_TEST(test_parts_sum_up)
{
    tlm_cost_t cost = cost_of(&settings[_i]);
    double forward = 0.0, backward = 0.0;
    uint64_t parameters = 0;
    int32_t kind = settings[_i].optimizer;
    uint64_t hidden = kind == TLM_COST_MUON ? (uint64_t)hidden_elements(&cost) : 0;

    for (int32_t part = 0; part < TLM_MAX_PARTS; part++) {
        parameters += cost.part_parameters[part];
        forward += cost.forward_flops[part];
        backward += cost.backward_flops[part];
    }
    ck_assert_uint_eq(parameters, cost.parameters);
    ck_assert_double_eq(forward + backward, cost.model_flops);
    tlm_model_t *model = make_model(&settings[_i]); /* a trainer's utilization */
    ck_assert_double_eq(tlmi_model_flops(model, settings[_i].batch, settings[_i].time),
                        cost.model_flops);
    tlm_model_free(model);
    ck_assert_double_eq(cost.model_flops + cost.recompute_flops + cost.optimizer_flops,
                        cost.step_flops);
    ck_assert_uint_le(cost.weight_bytes, 4 * parameters);
    ck_assert(is_fine_tuned(&settings[_i]) || cost.trained_parameters == parameters);
    ck_assert(settings[_i].weights != 0 || cost.weight_bytes == 4 * parameters);
    ck_assert_uint_eq(cost.gradient_bytes, 4 * cost.trained_parameters);
    ck_assert_uint_eq(cost.optimizer_bytes,
                      kind == TLM_COST_SGD ? 0 : 8 * cost.trained_parameters - 4 * hidden);
    if (kind != TLM_COST_MUON)
        ck_assert_double_eq(cost.optimizer_flops, elementwise_flops(&settings[_i], &cost));
    ck_assert_uint_ge(cost.step_live_bytes,
                      cost.weight_bytes + cost.optimizer_bytes + cost.activation_bytes);
    ck_assert_uint_ge(cost.step_peak_bytes, cost.step_live_bytes);
}
END_TEST

/* For every kind of optimizer, what is told of its state is what a real one allocates. */
START_TEST(test_state_is_that_of_a_real_optimizer)
{
    for (int32_t kind = 0; tlmi_optimizer_kinds[kind] != NULL; kind++) {
        setting_t s = settings[_i];
        s.optimizer = kind;
        tlm_cost_t cost = cost_of(&s);
        tlm_model_t *model = make_model(&s);
        tlm_optimizer_t *optimizer;
        ck_assert_int_eq(tlmi_optimizer_kinds[kind]->create(&optimizer), TLM_OK);
        ck_assert_str_eq(tlm_optimizer_kind(optimizer), tlmi_optimizer_kinds[kind]->name);
        long long before = start_memory_count();
        ck_assert_int_eq(tlm_optimizer_add_model(optimizer, model, 0, NULL), TLM_OK);
        long long held = atomic_load(&memory_held) - before;

        size_t bytes = 0;
        /* Besides the buffers there are only lists, and what alignment takes of pages. */
        long long more = 1024 * (long long)(optimizer->num_parameters + 1);
        for (size_t i = 0; i < optimizer->num_parameters; i++)
            for (size_t j = 0; j < optimizer->parameters[i].num_states; j++) {
                size_t size = optimizer->parameters[i].states[j].numel * sizeof(float);
                bytes += size;
                more += size >= 2 << 20 ? 2 << 20 : 4096;
            }
        ck_assert_uint_eq(cost.optimizer_bytes, bytes);
        ck_assert_int_ge(held, (long long)bytes);
        ck_assert_int_le(held, (long long)bytes + more);
        tlm_optimizer_free(optimizer);
        tlm_model_free(model);
    }
}
END_TEST

/* CS336's GPT-2 XL, which no machine here could train: the numbers of its textbook answer. */
static tlm_model_options_t gpt2_xl(int64_t context_length)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;

    options.vocab_size = 50257;
    options.context_length = context_length;
    options.d_model = 1600;
    options.num_layers = 48;
    options.num_heads = 25;
    options.d_ff = 6400;
    return options;
}

START_TEST(test_gpt2_xl_by_hand)
{
    const double d = 1600, layers = 48, d_ff = 6400, vocab = 50257;
    const int64_t contexts[] = {1024, 16384};

    for (size_t i = 0; i < 2; i++) {
        tlm_model_options_t options = gpt2_xl(contexts[i]);
        tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
        tlm_cost_t cost = TLM_COST_INIT;
        double t = (double)contexts[i];

        asked.counting = TLM_COUNT_FULL;
        ck_assert_int_eq(tlm_model_cost(&cost, &options, &asked), TLM_OK);
        ck_assert_uint_eq(cost.parameters, 2127057600);
        ck_assert_double_eq(cost.forward_flops[TLM_PART_ATTENTION], layers * 8 * t * d * d);
        ck_assert_double_eq(cost.forward_flops[TLM_PART_SCORES], layers * 4 * t * t * d);
        ck_assert_double_eq(cost.forward_flops[TLM_PART_FEED_FORWARD], layers * 6 * t * d * d_ff);
        ck_assert_double_eq(cost.forward_flops[TLM_PART_OUTPUT], 2 * t * d * vocab);
        ck_assert_double_eq(
            cost.model_flops,
            3 * (cost.forward_flops[TLM_PART_ATTENTION] + cost.forward_flops[TLM_PART_SCORES] +
                 cost.forward_flops[TLM_PART_FEED_FORWARD] + cost.forward_flops[TLM_PART_OUTPUT]));
        ck_assert_double_eq(cost.optimizer_flops, 14.0 * 2127057600);
        ck_assert_double_eq(cost.token_flops,
                            layers * (8 * d * d + 6 * d * d_ff + 4 * t * d) + 2 * d * vocab);
        ck_assert_uint_eq(cost.kv_cache_bytes, (uint64_t)(2 * 4 * layers * t * d));
        ck_assert_uint_eq(cost.weight_bytes, 8508230400);
        ck_assert_uint_eq(cost.optimizer_bytes, 17016460800);
    }
}
END_TEST

START_TEST(test_checkpointing_trades_memory_for_operations)
{
    setting_t s = settings[0];
    tlm_cost_t plain = cost_of(&s), checkpointed;

    s.checkpointing = true;
    checkpointed = cost_of(&s);
    ck_assert_uint_lt(checkpointed.activation_bytes, plain.activation_bytes / 4);
    ck_assert_uint_lt(checkpointed.step_peak_bytes, plain.step_peak_bytes);
    ck_assert_double_eq(plain.recompute_flops, 0.0);
    ck_assert_double_gt(checkpointed.recompute_flops, 0.0);
    ck_assert_double_eq(checkpointed.model_flops, plain.model_flops);
}
END_TEST

/* 8 batches of 2 ranks: 4 each, whose tree has two levels. */
START_TEST(test_batches_and_ranks)
{
    tlm_model_options_t model = gpt2_xl(64);
    tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
    tlm_cost_t one = TLM_COST_INIT, shared = TLM_COST_INIT;

    ck_assert_int_eq(tlm_model_cost(&one, &model, &asked), TLM_OK);
    asked.accumulation = 8;
    asked.num_ranks = 2;
    ck_assert_int_eq(tlm_model_cost(&shared, &model, &asked), TLM_OK);
    ck_assert_uint_eq(shared.optimizer_bytes, one.optimizer_bytes / 2);
    const uint64_t kept = shared.step_live_bytes + one.optimizer_bytes / 2 - one.step_live_bytes;
    /* About: the most is reached at another moment, and blocks have the sizes of the cache. */
    ck_assert_uint_gt(kept, 2 * one.gradient_bytes - one.gradient_bytes / 100);
    ck_assert_uint_lt(kept, 2 * one.gradient_bytes + one.gradient_bytes / 4);
}
END_TEST

/* ---- Dry runs ----------------------------------------------------------------------------- */

START_TEST(test_telling_takes_no_memory)
{
    setting_t large = {
        .vocab_size = 50000, .time = 1024, .d_model = 1024, .layers = 8, .heads = 16, .batch = 8};
    tlmi_buffer_stats_t before = tlmi_buffer_cache_stats(), after;
    long long most, start;
    tlm_cost_t cost;

    start = start_memory_count();
    cost = cost_of(&large);
    most = most_memory_since(start);
    after = tlmi_buffer_cache_stats();
    ck_assert_int_lt(most, 1 << 20);
    ck_assert_int_le(atomic_load(&memory_held), start); /* Check may free what it had */
    ck_assert_mem_eq(&before, &after, sizeof(before));
    ck_assert_uint_gt(cost.step_peak_bytes, (uint64_t)4 << 30);
}
END_TEST

static atomic_bool stop_telling;

static void *tell_again(void *wanted)
{
    size_t times = 0;

    do {
        tlm_cost_t cost = cost_of(&settings[times % 2]);

        times += cost.step_peak_bytes == ((const uint64_t *)wanted)[times % 2];
    } while (!atomic_load(&stop_telling));
    return (void *)times;
}

static double train_alone(void)
{
    const setting_t *s = &settings[0];
    uint32_t ids[513];
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *loss;
    tlm_model_t *model;
    float value;

    for (size_t i = 0; i < 513; i++)
        ids[i] = (uint32_t)(i * i % 1000);
    model = make_model(s);
    optimizer = make_optimizer(s, model);
    for (int i = 0; i < 5; i++)
        step(s, model, optimizer, ids);
    ck_assert_int_eq(tlm_model_loss(&loss, model, ids, ids + 1, s->batch, s->time), TLM_OK);
    ck_assert_int_eq(tlm_tensor_item(&value, loss), TLM_OK);
    tlm_tensor_free(loss);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    return (double)value;
}

/* A thread in a dry run and one that trains do not see each other. */
START_TEST(test_telling_beside_training)
{
    uint64_t wanted[] = {cost_of(&settings[0]).step_peak_bytes,
                         cost_of(&settings[1]).step_peak_bytes};
    double alone = train_alone(), beside;
    pthread_t thread;
    void *times;

    ck_assert_int_eq(pthread_create(&thread, NULL, tell_again, wanted), 0);
    beside = train_alone();
    atomic_store(&stop_telling, true);
    ck_assert_int_eq(pthread_join(thread, &times), 0);
    ck_assert_double_eq(alone, beside);
    ck_assert_uint_gt((size_t)times, 0);
}
END_TEST

START_TEST(test_old_and_new_structs)
{
    tlm_model_options_t options = gpt2_xl(64);
    struct {
        tlm_cost_t cost;
        uint64_t later;
    } newer = {TLM_COST_INIT, 7};
    tlm_cost_t older = TLM_COST_INIT;

    newer.cost.size = sizeof(newer);
    ck_assert_int_eq(tlm_model_cost(&newer.cost, &options, NULL), TLM_OK);
    ck_assert_uint_eq(newer.later, 0);
    older.size = offsetof(tlm_cost_t, part_parameters);
    older.weight_bytes = 7;
    ck_assert_int_eq(tlm_model_cost(&older, &options, NULL), TLM_OK);
    ck_assert_uint_eq(older.parameters, newer.cost.parameters);
    ck_assert_uint_eq(older.weight_bytes, 7);
}
END_TEST

/* Fails with the code and a message that holds `text`, and leaves *out as it was. */
static void check_refused(tlm_status_t code, const char *text, const tlm_model_options_t *model,
                          const tlm_cost_options_t *asked)
{
    tlm_cost_t cost = TLM_COST_INIT;

    cost.parameters = 7;
    ck_assert_int_eq(tlm_model_cost(&cost, model, asked), code);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), text));
    ck_assert_uint_eq(cost.parameters, 7);
}

START_TEST(test_refuses_nonsense)
{
    tlm_model_options_t model = gpt2_xl(1024), wrong = gpt2_xl(1024);
    tlm_cost_options_t asked;
    tlm_cost_t cost = TLM_COST_INIT;

    ck_assert_int_eq(tlm_model_cost(NULL, &model, NULL), TLM_ERR_INVALID_ARGUMENT);
    check_refused(TLM_ERR_INVALID_ARGUMENT, "model_cost", NULL, NULL);
    wrong.num_heads = 7;
    check_refused(TLM_ERR_INVALID_ARGUMENT, "num_heads", &wrong, NULL);
    asked = (tlm_cost_options_t)TLM_COST_OPTIONS_INIT;
    asked.batch = -3;
    check_refused(TLM_ERR_INVALID_ARGUMENT, "batch -3", &model, &asked);
    asked = (tlm_cost_options_t)TLM_COST_OPTIONS_INIT;
    asked.time = 1025;
    check_refused(TLM_ERR_RANGE, "1025 tokens", &model, &asked);
    asked = (tlm_cost_options_t)TLM_COST_OPTIONS_INIT;
    asked.optimizer = 1000;
    check_refused(TLM_ERR_INVALID_ARGUMENT, "optimizer 1000", &model, &asked);
    asked = (tlm_cost_options_t)TLM_COST_OPTIONS_INIT;
    asked.counting = -1;
    check_refused(TLM_ERR_INVALID_ARGUMENT, "counting -1", &model, &asked);
    asked = (tlm_cost_options_t)TLM_COST_OPTIONS_INIT;
    asked.reserved[6] = 1;
    check_refused(TLM_ERR_INVALID_ARGUMENT, "reserved", &model, &asked);
    asked = (tlm_cost_options_t)TLM_COST_OPTIONS_INIT;
    asked.size = 3;
    check_refused(TLM_ERR_INVALID_ARGUMENT, "size is 3", &model, &asked);
    asked = (tlm_cost_options_t)TLM_COST_OPTIONS_INIT;
    asked.batch = INT64_MAX;
    check_refused(TLM_ERR_INVALID_ARGUMENT, "too large", &model, &asked);
    asked = (tlm_cost_options_t)TLM_COST_OPTIONS_INIT;
    asked.num_ranks = 3;
    check_refused(TLM_ERR_INVALID_ARGUMENT, "num_ranks 3 is not a divisor", &model, &asked);
    cost.size = 0;
    ck_assert_int_eq(tlm_model_cost(&cost, &model, NULL), TLM_ERR_INVALID_ARGUMENT);
}
END_TEST

/* The largest that is not refused: sums of bytes must not overflow, which the sanitizer would see. */
START_TEST(test_largest)
{
    tlm_model_options_t model = gpt2_xl(INT32_MAX);
    tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
    tlm_cost_t cost = TLM_COST_INIT, twice = TLM_COST_INIT;

    model.num_layers = 1;
    asked.batch = 1;
    ck_assert_int_eq(tlm_model_cost(&cost, &model, &asked), TLM_OK);
    while (tlm_model_cost(&twice, &model, &asked) == TLM_OK) {
        ck_assert_uint_ge(twice.step_peak_bytes, cost.step_peak_bytes);
        cost = twice;
        asked.batch *= 2;
    }
    ck_assert_uint_gt(cost.step_peak_bytes, UINT64_C(1) << 48);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_cost");
    TCase *tcase = tcase_create("model_cost");

    tcase_add_loop_test(tcase, test_costs_are_those_of_real_steps, 0, NUM_SETTINGS);
    tcase_add_loop_test(tcase, test_parts_sum_up, 0, NUM_SETTINGS);
    tcase_add_loop_test(tcase, test_state_is_that_of_a_real_optimizer, 0, NUM_SETTINGS);
    tcase_add_test(tcase, test_gpt2_xl_by_hand);
    tcase_add_test(tcase, test_batches_and_ranks);
    tcase_add_test(tcase, test_checkpointing_trades_memory_for_operations);
    tcase_add_test(tcase, test_telling_takes_no_memory);
    tcase_add_test(tcase, test_telling_beside_training);
    tcase_add_test(tcase, test_old_and_new_structs);
    tcase_add_test(tcase, test_refuses_nonsense);
    tcase_add_test(tcase, test_largest);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
