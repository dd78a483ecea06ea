/* Generation: the key-value cache against the whole forward pass, the sliding window, and sampling.
 */
#include "reference_model.h"
#include "run_suite.h"

#include <float.h>

#include "infer/infer_core.h"
#include "tensor/tensor_core.h"

static const tlm_model_options_t small = {.size = sizeof(small),
                                          .vocab_size = 40,
                                          .context_length = 12,
                                          .d_model = 16,
                                          .num_layers = 2,
                                          .num_heads = 4,
                                          .d_ff = 24,
                                          .seed = 5};

static tlm_model_t *make_model(const tlm_model_options_t *options)
{
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, options));
    return model;
}

/* Logits after the last of n ids, by the whole forward pass. */
static void forward_last(float *logits, tlm_model_t *model, const uint32_t *ids, int64_t n)
{
    tlm_model_options_t options = {.size = sizeof(options)};
    tlm_tensor_t *all;
    const float *data;

    ASSERT_OK(tlm_model_get_options(&options, model));
    ASSERT_OK(tlm_model_forward(&all, model, ids, 1, n));
    data = tlm_tensor_data(all);
    memcpy(logits, data + (n - 1) * options.vocab_size, (size_t)options.vocab_size * sizeof(float));
    tlm_tensor_free(all);
}

static uint32_t likeliest(const float *logits, int64_t n)
{
    uint32_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = (uint32_t)i;
    return best;
}

/* ---- The cache ----------------------------------------------------------------------------------
 */

START_TEST(cached_logits_are_those_of_the_forward_pass)
{
    static const int64_t pieces[] = {1, 1, 5, 129, 1, 31, 32, 1, 47, 2};
    tlm_model_options_t switched = reference_shapes[_i];
    tlm_model_t *model;
    uint32_t ids[250];
    float actual[40], expected[40];
    tlmi_inference_t *inference;
    tlmi_kv_cache_t *cache;
    int64_t n = 0;

    switched.vocab_size = 40;
    switched.context_length = 250;
    switched.d_model = 3 * reference_shapes[_i].d_model;
    switched.d_ff = 40;
    switched.seed = 5;
    switched.head_dim = 3 * reference_shapes[_i].head_dim;
    switched.sliding_window = 13 * reference_shapes[_i].sliding_window;
    model = make_model(&switched);
    for (int i = 0; i < 250; i++)
        ids[i] = (uint32_t)(i * i + 3 * i) % 40;
    ASSERT_OK(tlmi_inference_create(&inference, model));
    ASSERT_OK(tlmi_kv_cache_create(&cache, TLM_FLOAT32, 250));
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
            ASSERT_OK(tlmi_inference_advance(actual, inference, cache, ids + n, pieces[i]));
            n += pieces[i];
            ck_assert_int_eq(cache->length, n);
            forward_last(expected, model, ids, n);
            for (int k = 0; k < 40; k++)
                ck_assert_msg(fabsf(actual[k] - expected[k]) <= 2e-5f, "%d ids, logit %d: %g, %g",
                              (int)n, k, (double)actual[k], (double)expected[k]);
        }
        ck_assert_int_eq(n, 250);
        cache->length = 0;
        n = 0;
    }
    tlmi_kv_cache_free(cache);
    tlmi_kv_cache_free(NULL);
    tlmi_inference_free(inference);
    tlmi_inference_free(NULL);
    tlm_model_free(model);
}
END_TEST

/* Logits after a prompt and two steps, of a model whose parameters are of that type or, with
 * `rounded`, float32 with the values that the type can hold. */
static void logits_of_type(float *logits, int32_t dtype, bool rounded, const uint32_t *ids,
                           int64_t n)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    const tlmi_dtype_t *type = tlmi_dtype(dtype);
    tlmi_inference_t *inference;
    tlmi_kv_cache_t *cache;
    tlm_model_t *model;

    options.vocab_size = 40;
    options.context_length = 64;
    options.d_model = 48;
    options.num_layers = 2;
    options.num_heads = 3;
    options.qk_norm = TLM_QK_NORM_HEADS;
    options.seed = 5;
    model = make_model(&options);
    for (size_t i = 0; i < model->num_parameters; i++) {
        tlm_tensor_t *tensor = model->parameters[i], *stored;

        ASSERT_OK(tlm_tensor_create(&stored, dtype, tensor->shape, tensor->ndim));
        type->store(stored->data, tensor->data, tensor->numel);
        if (rounded) {
            type->load(tensor->data, stored->data, tensor->numel);
            tlm_tensor_free(stored);
        } else {
            tlm_tensor_free(tensor);
            model->parameters[i] = stored;
        }
    }
    ASSERT_OK(tlmi_inference_create(&inference, model));
    ASSERT_OK(tlmi_kv_cache_create(&cache, TLM_FLOAT32, 64));
    ASSERT_OK(tlmi_inference_advance(logits, inference, cache, ids, n - 2));
    ASSERT_OK(tlmi_inference_step(logits + 40, inference, &cache, ids + n - 2, 1));
    ASSERT_OK(tlmi_inference_step(logits + 80, inference, &cache, ids + n - 1, 1));
    tlmi_kv_cache_free(cache);
    tlmi_inference_free(inference);
    tlm_model_free(model);
}

/* Weights of another type are read where they lie, and give the bits of their values as floats. */
START_TEST(weights_may_be_of_16_bits)
{
    static const int32_t types[] = {TLM_BFLOAT16, TLM_FLOAT16};
    float expected[120], actual[120], unrounded[120];
    uint32_t ids[20];

    for (uint32_t i = 0; i < 20; i++)
        ids[i] = (i * i + 3 * i) % 40;
    logits_of_type(expected, types[_i], true, ids, 20);
    logits_of_type(actual, types[_i], false, ids, 20);
    logits_of_type(unrounded, TLM_FLOAT32, false, ids, 20);
    ck_assert_mem_eq(actual, expected, sizeof(expected));
    ck_assert_mem_ne(actual, unrounded, sizeof(expected));
}
END_TEST

/* Greedy tokens are those of the forward pass over the last context_length tokens, far past it. */
START_TEST(the_window_is_computed_again)
{
    enum { NEW = 30 };
    static const size_t prompt_lengths[] = {1, 5, 12, 20};
    size_t prompt_length = prompt_lengths[_i], n;
    tlm_model_t *model = make_model(&small);
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    uint32_t sequence[20 + NEW], *ids;
    float logits[40];

    for (size_t i = 0; i < prompt_length; i++)
        sequence[i] = (uint32_t)(i * 11 + 3) % 40;
    options.max_tokens = NEW;
    options.past_context = TLM_PAST_CONTEXT_RECOMPUTE;
    ASSERT_OK(tlm_model_generate(&ids, &n, model, sequence, prompt_length, &options, NULL, NULL));
    ck_assert_uint_eq(n, NEW);
    for (size_t i = prompt_length; i < prompt_length + NEW; i++) {
        size_t window = i < 12 ? i : 12;

        forward_last(logits, model, sequence + i - window, (int64_t)window);
        sequence[i] = likeliest(logits, 40);
        ck_assert_uint_eq(ids[i - prompt_length], sequence[i]);
    }
    tlm_free(ids);
    tlm_model_free(model);
}
END_TEST

/* ---- Ends ---------------------------------------------------------------------------------------
 */

typedef struct listener {
    uint32_t ids[64];
    size_t n, stop_at;
} listener_t;

static int32_t listen(void *user, uint32_t id)
{
    listener_t *listener = user;

    listener->ids[listener->n++] = id;
    return listener->n == listener->stop_at;
}

START_TEST(generation_ends_as_asked)
{
    tlm_model_t *model = make_model(&small);
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    const uint32_t prompt[2] = {1, 2};
    uint32_t *all, *ids;
    listener_t listener = {.stop_at = 4};
    size_t n, first;

    options.max_tokens = 20;
    options.temperature = 1.0;
    options.seed = 3;
    ASSERT_OK(tlm_model_generate(&all, &n, model, prompt, 2, &options, NULL, NULL));
    ck_assert_uint_eq(n, 20);
    ASSERT_OK(tlm_model_generate(&ids, &n, model, prompt, 2, &options, listen, &listener));
    ck_assert_uint_eq(n, 4);
    ck_assert_uint_eq(listener.n, 4);
    ck_assert_mem_eq(ids, all, 4 * sizeof(*ids));
    ck_assert_mem_eq(listener.ids, all, 4 * sizeof(*ids));
    tlm_free(ids);
    options.has_end_token = true;
    options.end_token = all[6];
    for (first = 0; all[first] != all[6]; first++)
        ;
    listener = (listener_t){.stop_at = 64};
    ASSERT_OK(tlm_model_generate(&ids, &n, model, prompt, 2, &options, listen, &listener));
    ck_assert_uint_eq(n, first);
    ck_assert_uint_eq(listener.n, first);
    ck_assert(first == 0 || memcmp(ids, all, first * sizeof(*ids)) == 0);
    tlm_free(ids);
    options.max_tokens = 0;
    ASSERT_OK(tlm_model_generate(&ids, &n, model, prompt, 2, &options, NULL, NULL));
    ck_assert_uint_eq(n, 0);
    tlm_free(ids);
    ASSERT_OK(tlm_model_generate(&ids, &n, model, prompt, 2, NULL, NULL, NULL));
    ck_assert_uint_eq(n, 256);
    tlm_free(ids);
    tlm_free(all);
    tlm_model_free(model);
}
END_TEST

START_TEST(seeds_and_threads)
{
    static const tlm_model_options_t options = {.size = sizeof(options),
                                                .vocab_size = 300,
                                                .context_length = 64,
                                                .d_model = 96,
                                                .num_layers = 2,
                                                .num_heads = 6,
                                                .seed = 3};
    tlm_model_t *model = make_model(&options);
    tlm_generate_options_t how = TLM_GENERATE_OPTIONS_INIT;
    const uint32_t prompt[3] = {1, 2, 290};
    uint32_t *one, *other;
    size_t n;

    how.max_tokens = 80;
    how.temperature = 1.2;
    how.top_k = 250;
    how.top_p = 0.95;
    ASSERT_OK(tlm_set_num_threads(1));
    ASSERT_OK(tlm_model_generate(&one, &n, model, prompt, 3, &how, NULL, NULL));
    for (int32_t threads = 2; threads <= 3; threads++) {
        ASSERT_OK(tlm_set_num_threads(threads));
        ASSERT_OK(tlm_model_generate(&other, &n, model, prompt, 3, &how, NULL, NULL));
        ck_assert_uint_eq(n, 80);
        ck_assert_mem_eq(one, other, n * sizeof(*one));
        tlm_free(other);
    }
    how.seed = 1;
    ASSERT_OK(tlm_model_generate(&other, &n, model, prompt, 3, &how, NULL, NULL));
    ck_assert_mem_ne(one, other, n * sizeof(*one));
    tlm_free(other);
    tlm_free(one);
    ASSERT_OK(tlm_set_num_threads(0));
    tlm_model_free(model);
}
END_TEST

/* ---- Sampling -----------------------------------------------------------------------------------
 */

enum { VOCAB = 8 };
static const float logits8[VOCAB] = {0.0f, 2.0f, 1.0f, 2.0f, -1.0f, -30.0f, 0.5f, 1.5f};

/* How likely each token is when `uniform` runs evenly through [0, 1). */
static void tabulate(double *share, const tlm_generate_options_t *options, const uint8_t *seen)
{
    enum { DRAWS = 20000 };
    tlmi_sampler_t sampler;

    memset(share, 0, VOCAB * sizeof(*share));
    ASSERT_OK(tlmi_sampler_init(&sampler, VOCAB));
    for (int i = 0; i < DRAWS; i++) {
        const float *scores = tlmi_sampler_score(&sampler, options, logits8, seen);

        share[tlmi_sampler_pick(&sampler, options, scores, (i + 0.5) / DRAWS)] += 1.0 / DRAWS;
    }
    tlmi_sampler_release(&sampler);
}

/* `kept` has a bit for each token that remains; they share as their scores say. */
static void assert_shares(const char *what, const double *share, const double *scores,
                          double temperature, unsigned kept)
{
    double total = 0.0;

    for (int k = 0; k < VOCAB; k++)
        if (kept >> k & 1)
            total += exp((scores[k] - 2.0) / temperature);
    for (int k = 0; k < VOCAB; k++) {
        double expected = kept >> k & 1 ? exp((scores[k] - 2.0) / temperature) / total : 0.0;
        ck_assert_msg(fabs(share[k] - expected) < 2e-4, "%s, token %d: share %g, not %g", what, k,
                      share[k], expected);
    }
}

START_TEST(shares_follow_the_rules)
{
    static const struct {
        double temperature, top_p, min_p;
        uint32_t top_k;
        unsigned kept; /* a bit for each token that remains */
    } cases[] = {
        {0.0, 0.0, 0.0, 0, 1 << 1}, /* the lower of two equals */
        {1.0, 0.0, 0.0, 0, 0xFF},
        {0.5, 1.0, 0.0, 0, 0xFF},
        {1.0, 0.0, 0.0, 1, 1 << 1},
        {1.0, 0.0, 0.0, 3, 1 << 1 | 1 << 3 | 1 << 7},
        {2.0, 0.0, 0.0, 100, 0xFF},
        {1.0, 1e-9, 0.0, 0, 1 << 1},
        {1.0, 0.30, 0.0, 0, 1 << 1 | 1 << 3}, /* shares: .296 .296 .179 .109 ... */
        {1.0, 0.65, 0.0, 0, 1 << 1 | 1 << 3 | 1 << 7},
        {1.0, 0.37, 0.0, 3, 1 << 1}, /* of three, the first has .384 */
        {1.0, 0.39, 0.0, 3, 1 << 1 | 1 << 3},
        {1e-300, 0.0, 0.0, 0, 1 << 1 | 1 << 3},
        {1e300, 0.0, 0.0, 0, 0xFF},
        /* beside the likeliest: 1, .607, .368, .223, .135, .050, ... */
        {1.0, 0.0, 1.0, 0, 1 << 1 | 1 << 3},
        {1.0, 0.0, 0.6, 0, 1 << 1 | 1 << 3 | 1 << 7},
        {1.0, 0.0, 0.61, 0, 1 << 1 | 1 << 3},
        {2.0, 0.0, 0.6, 0, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 7},
        {1.0, 0.0, 0.04, 0, 0xFF & ~(1 << 5)},
        {1.0, 0.65, 0.61, 0, 1 << 1 | 1 << 3},
        {1.0, 0.30, 0.04, 0, 1 << 1 | 1 << 3},
        {1.0, 0.0, 0.04, 3, 1 << 1 | 1 << 3 | 1 << 7},
        {1.0, 0.0, 0.61, 3, 1 << 1 | 1 << 3},
    };
    double share[VOCAB], scores[VOCAB];
    char what[32];

    for (int k = 0; k < VOCAB; k++)
        scores[k] = (double)logits8[k];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;

        options.temperature = cases[i].temperature;
        options.top_p = cases[i].top_p;
        options.min_p = cases[i].min_p;
        options.top_k = cases[i].top_k;
        tabulate(share, &options, NULL);
        snprintf(what, sizeof(what), "case %d", (int)i);
        assert_shares(what, share, scores, options.temperature > 0.0 ? options.temperature : 1.0,
                      cases[i].kept);
    }
}
END_TEST

/* Positive logits of tokens that occurred are divided, negative ones multiplied. */
START_TEST(the_penalty_meets_what_occurred)
{
    static const uint8_t seen = 1 << 1 | 1 << 4 | 1 << 0;
    double share[VOCAB], scores[VOCAB];
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;

    for (int k = 0; k < VOCAB; k++)
        scores[k] = (double)logits8[k];
    scores[1] = 2.0 / 1.3;
    scores[4] = -1.0 * 1.3;
    options.temperature = 0.7;
    options.repetition_penalty = 1.3;
    tabulate(share, &options, &seen);
    assert_shares("penalty", share, scores, 0.7, 0xFF);
    options.temperature = 0.0;
    tabulate(share, &options, &seen);
    assert_shares("penalty, greedy", share, scores, 1.0, 1 << 3);
}
END_TEST

/* The score after the penalty, as a finite float. */
static float penalized(float logit, double penalty)
{
    double score = logit < 0.0f ? (double)logit * penalty : (double)logit / penalty;

    return (float)fmax(-(double)FLT_MAX, fmin((double)FLT_MAX, score));
}

/* One choice by options at their extremes: a token of the vocabulary, and the likeliest (or one of
 * equals) where only that can remain. */
static void check_hostile(tlmi_sampler_t *sampler, const tlm_generate_options_t *options,
                          const float *logits, const uint8_t *seen)
{
    static const double uniforms[] = {0.0, 0.5, 1.0 - 0x1p-53};
    const bool penalizes = seen != NULL;
    const bool only_first = options->temperature == 0.0 || options->top_k == 1 ||
                            (options->min_p == 1.0 && options->temperature <= 1.0) ||
                            (options->top_p > 0.0 && options->top_p < 1e-300);
    float scores[VOCAB], most = -INFINITY;

    for (int k = 0; k < VOCAB; k++) {
        scores[k] = penalizes && tlmi_has_bit(seen, k)
                        ? penalized(logits[k], options->repetition_penalty)
                        : logits[k];
        most = fmaxf(most, scores[k]);
    }
    for (size_t u = 0; u < sizeof(uniforms) / sizeof(uniforms[0]); u++) {
        const float *changed = tlmi_sampler_score(sampler, options, logits, seen);
        uint32_t id = tlmi_sampler_pick(sampler, options, changed, uniforms[u]);

        ck_assert_msg(id < VOCAB && (!only_first || scores[id] == most),
                      "temperature %g, top_k %u, top_p %g, min_p %g, penalty %g: token %u",
                      options->temperature, options->top_k, options->top_p, options->min_p,
                      options->repetition_penalty, id);
    }
}

/* The next digit, in base n, of a number that counts through all combinations. */
static size_t take(size_t *rest, size_t n)
{
    size_t digit = *rest % n;

    *rest /= n;
    return digit;
}

START_TEST(finite_options_give_a_token_however_extreme)
{
    static const float logits[][VOCAB] = {
        {0.0f, 2.0f, 1.0f, 2.0f, -1.0f, -30.0f, 0.5f, 1.5f},
        {FLT_MAX, -FLT_MAX, 0.0f, -0.0f, 1e-45f, -1e-45f, FLT_MAX, -1.0f},
        {-FLT_MAX, -FLT_MAX, -FLT_MAX, -FLT_MAX, -FLT_MAX, -FLT_MAX, -FLT_MAX, -FLT_MAX},
    };
    static const double temperatures[] = {0.0, 5e-324, 1e-300, 1.0, 1e300, DBL_MAX};
    static const double penalties[] = {5e-324, 1e-300, 1e-30, 0.5, 2.0, 1e300, DBL_MAX};
    static const double shares[] = {0.0, 5e-324, 0.5, 1.0 - 0x1p-53, 1.0};
    static const uint32_t top_ks[] = {0, 1, 3, VOCAB, UINT32_MAX};
    static const uint8_t seen[] = {0x00, 0x5A, 0xFF};
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    tlmi_sampler_t sampler;

    ASSERT_OK(tlmi_sampler_init(&sampler, VOCAB));
    for (size_t i = 0;; i++) {
        size_t rest = i;

#define NEXT(array) (array)[take(&rest, sizeof(array) / sizeof((array)[0]))]
        options.temperature = NEXT(temperatures);
        options.top_k = NEXT(top_ks);
        options.top_p = NEXT(shares);
        options.min_p = NEXT(shares);
        options.repetition_penalty = NEXT(penalties);
        if (rest == sizeof(logits) / sizeof(logits[0]))
            break;
        check_hostile(&sampler, &options, logits[rest], NULL);
        for (size_t k = 0; k < sizeof(seen); k++)
            check_hostile(&sampler, &options, logits[rest], &seen[k]);
    }
    tlmi_sampler_release(&sampler);
}
END_TEST

/* The same through the public call, whose options pass its checks. */
START_TEST(a_tiny_penalty_is_no_failure)
{
    tlm_model_t *model = make_model(&small);
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    const uint32_t prompt[2] = {1, 2};
    uint32_t *ids;
    size_t n;

    options.max_tokens = 30;
    options.temperature = 1.0;
    options.num_top_log_probs = UINT32_MAX;
    for (int i = 0; i < 2; i++) {
        options.repetition_penalty = i == 0 ? 5e-324 : DBL_MAX;
        ASSERT_OK(tlm_model_generate(&ids, &n, model, prompt, 2, &options, NULL, NULL));
        ck_assert_uint_eq(n, 30);
        for (size_t k = 0; k < n; k++)
            ck_assert_uint_lt(ids[k], 40);
        tlm_free(ids);
    }
    tlm_model_free(model);
}
END_TEST

START_TEST(logits_that_are_not_finite_are_refused)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    tlm_model_t *model = make_model(&small);
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    const uint32_t prompt = 1;
    uint32_t *ids = NULL;
    tlm_tensor_t *weight;
    size_t n = 77;

    ASSERT_OK(tlm_model_parameter(&weight, model, "lm_head.weight"));
    ((float *)tlm_tensor_data(weight))[5 * 16] = bad[_i];
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "token 5",
                 tlm_model_generate(&ids, &n, model, &prompt, 1, &options, NULL, NULL));
    ck_assert_ptr_null(ids);
    ck_assert_uint_eq(n, 77);
    tlm_model_free(model);
}
END_TEST

START_TEST(wrong_options_are_refused)
{
    tlm_model_t *model = make_model(&small);
    const tlm_generate_options_t good = TLM_GENERATE_OPTIONS_INIT;
    const uint32_t prompt[2] = {1, 40};
    const tlm_ids_t stops[3] = {{prompt, 1}, {prompt, 0}, {prompt, 2}};
    tlm_generate_options_t options;
    uint32_t *ids = NULL;
    size_t n;

#define REFUSE(code, text, change)                                                                 \
    options = good;                                                                                \
    change;                                                                                        \
    ASSERT_FAILS(code, text, tlm_model_generate(&ids, &n, model, prompt, 1, &options, NULL, NULL))
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "max_tokens -1", options.max_tokens = -1);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "temperature -1", options.temperature = -1.0);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "temperature nan", options.temperature = (double)NAN);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "temperature inf", options.temperature = (double)INFINITY);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "top_p 1.5", options.top_p = 1.5);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "top_p nan", options.top_p = (double)NAN);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "reserved", options.reserved2 = 1);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "reserved", options.reserved3[0] = 1);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "min_p 1.5", options.min_p = 1.5);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "min_p nan", options.min_p = (double)NAN);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "repetition_penalty -1", options.repetition_penalty = -1.0);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "repetition_penalty nan",
           options.repetition_penalty = (double)NAN);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "stop_sequences is NULL", options.num_stop_sequences = 1);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "stop sequence 1 is empty",
           (options.num_stop_sequences = 2, options.stop_sequences = stops));
    REFUSE(TLM_ERR_RANGE, "id 40 at position 1 of the stop sequence",
           (options.num_stop_sequences = 1, options.stop_sequences = stops + 2));
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "size", options.size = 1);
    REFUSE(TLM_ERR_RANGE, "end_token 40", (options.has_end_token = true, options.end_token = 40));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 40 at position 1",
                 tlm_model_generate(&ids, &n, model, prompt, 2, &good, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "empty",
                 tlm_model_generate(&ids, &n, model, prompt, 0, &good, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "prompt is NULL",
                 tlm_model_generate(&ids, &n, model, NULL, 1, &good, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model is NULL",
                 tlm_model_generate(&ids, &n, NULL, prompt, 1, &good, NULL, NULL));
    ck_assert_ptr_null(ids);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("generate");
    TCase *tcase = tcase_create("generate");

    tcase_add_loop_test(tcase, cached_logits_are_those_of_the_forward_pass, 0,
                        REFERENCE_NUM_SHAPES);
    tcase_add_loop_test(tcase, weights_may_be_of_16_bits, 0, 2);
    tcase_add_loop_test(tcase, the_window_is_computed_again, 0, 4);
    tcase_add_test(tcase, generation_ends_as_asked);
    tcase_add_test(tcase, seeds_and_threads);
    tcase_add_test(tcase, shares_follow_the_rules);
    tcase_add_test(tcase, the_penalty_meets_what_occurred);
    tcase_add_test(tcase, finite_options_give_a_token_however_extreme);
    tcase_add_test(tcase, a_tiny_penalty_is_no_failure);
    tcase_add_loop_test(tcase, logits_that_are_not_finite_are_refused, 0, 3);
    tcase_add_test(tcase, wrong_options_are_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
