/* Sequences that go on: extended after their end, saved and loaded. */
#include <math.h>

#include "io_support.h"
#include "run_suite.h"

enum { VOCAB = 40, CONTEXT = 24, MOST = 200 };

static tlm_model_t *make_model(uint64_t seed)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    options.vocab_size = VOCAB;
    options.context_length = CONTEXT;
    options.d_model = 16;
    options.num_layers = 2;
    options.num_heads = 4;
    options.num_kv_heads = 2;
    options.d_ff = 24;
    options.seed = seed;
    ASSERT_OK(tlm_model_create(&model, &options));
    return model;
}

static void finish(tlm_generator_t *generator)
{
    size_t running;

    do
        ASSERT_OK(tlm_generator_step(&running, generator));
    while (running > 0);
}

/* The tokens and log-probabilities of two sequences, which differ by no more than `tolerance`. */
static void assert_same(const tlm_generator_t *a, size_t i, const tlm_generator_t *b, size_t k,
                        double tolerance)
{
    const float *log_probs[2];
    const uint32_t *ids[2];
    int32_t states[2];
    size_t n[2];

    ASSERT_OK(tlm_generator_tokens(&ids[0], &log_probs[0], &n[0], a, i));
    ASSERT_OK(tlm_generator_tokens(&ids[1], &log_probs[1], &n[1], b, k));
    ASSERT_OK(tlm_generator_state(&states[0], a, i));
    ASSERT_OK(tlm_generator_state(&states[1], b, k));
    ck_assert_uint_eq(n[0], n[1]);
    ck_assert_int_eq(states[0], states[1]);
    for (size_t at = 0; at < n[0]; at++) {
        ck_assert_uint_eq(ids[0][at], ids[1][at]);
        ck_assert_msg(fabs((double)log_probs[0][at] - (double)log_probs[1][at]) <= tolerance,
                      "token %zu: %.9g, %.9g", at, (double)log_probs[0][at],
                      (double)log_probs[1][at]);
    }
}

/* Ways to generate: _i counts through them. */
static tlm_generate_options_t options_of(int way)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;

    options.max_tokens = 9;
    options.temperature = 0.8;
    options.seed = 7;
    options.repetition_penalty = 1.1;
    options.num_top_log_probs = 3;
    options.keeps_cache = way % 2 == 0;
    options.cache_type = way / 2 % 2 == 0 ? TLM_FLOAT32 : TLM_FLOAT16;
    options.past_context = way / 4 % 2 == 0 ? TLM_PAST_CONTEXT_SLIDE : TLM_PAST_CONTEXT_RECOMPUTE;
    return options;
}

enum { WAYS = 8 };

/* ---- Extending ---------------------------------------------------------------------------- */

/* Four turns, past the context, are what one prompt of all tokens gives, up to rounding. */
START_TEST(turns_follow_each_other)
{
    const tlm_generate_options_t options = options_of(_i);
    const double tolerance = options.cache_type == TLM_FLOAT16 ? 2e-2 : 2e-5;
    tlm_model_t *model = make_model(5);
    const uint32_t turn[7] = {3, 1, 4, 1, 5, 9, 2};
    tlm_generator_t *chat, *whole;
    const uint32_t *context;
    size_t sequence, other, n;

    ASSERT_OK(tlm_generator_create(&chat, model));
    ASSERT_OK(tlm_generator_add(&sequence, chat, turn, 5, &options));
    for (int i = 0; i < 4; i++) {
        finish(chat);
        ASSERT_OK(tlm_generator_context(&context, &n, chat, sequence));
        ck_assert_uint_eq(n, 5 + (size_t)i * 7 + ((size_t)i + 1) * 9);
        ASSERT_OK(tlm_generator_extend(chat, sequence, SIZE_MAX, turn, 7, &options));
        ASSERT_OK(tlm_generator_context(&context, &n, chat, sequence));
        ASSERT_OK(tlm_generator_create(&whole, model));
        ASSERT_OK(tlm_generator_add(&other, whole, context, n, &options));
        finish(whole);
        finish(chat);
        assert_same(chat, sequence, whole, other, tolerance);
        tlm_generator_free(whole);
    }
    tlm_generator_free(chat);
    tlm_model_free(model);
}
END_TEST

/* Going back to any earlier token, from inside the context and from past it. */
START_TEST(a_sequence_goes_back)
{
    const tlm_generate_options_t options = options_of(_i);
    const double tolerance = options.cache_type == TLM_FLOAT16 ? 2e-2 : 2e-5;
    tlm_model_t *model = make_model(5);
    tlm_generator_t *generator, *whole;
    uint32_t prompt[MOST];
    const uint32_t *context;
    size_t sequence, other, n;

    for (uint32_t i = 0; i < MOST; i++)
        prompt[i] = (i * i + 3 * i) % VOCAB;
    for (size_t length = 6; length < MOST; length += 65)
        for (size_t back = 0; back <= 5; back++) {
            ASSERT_OK(tlm_generator_create(&generator, model));
            ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, length, &options));
            finish(generator);
            const size_t keep =
                length + 9 - (back * back * back < length ? back * back * back : length);
            ASSERT_OK(tlm_generator_extend(generator, sequence, keep, prompt, back % 3, &options));
            ASSERT_OK(tlm_generator_context(&context, &n, generator, sequence));
            ck_assert_uint_eq(n, keep + back % 3);
            ASSERT_OK(tlm_generator_create(&whole, model));
            ASSERT_OK(tlm_generator_add(&other, whole, context, n, &options));
            finish(generator);
            finish(whole);
            assert_same(generator, sequence, whole, other, tolerance);
            tlm_generator_free(whole);
            tlm_generator_free(generator);
        }
    tlm_model_free(model);
}
END_TEST

/* Tokens that the window slid over with other first tokens do not serve the new rules. */
START_TEST(other_rules_begin_anew)
{
    tlm_generate_options_t options = options_of(0);
    tlm_model_t *model = make_model(5);
    tlm_generator_t *generator, *whole;
    uint32_t prompt[MOST];
    size_t sequence, other;

    for (uint32_t i = 0; i < MOST; i++)
        prompt[i] = (i * i + 3 * i) % VOCAB;
    for (size_t length = 20; length < MOST; length += 30) {
        ASSERT_OK(tlm_generator_create(&generator, model));
        ASSERT_OK(tlm_generator_create(&whole, model));
        options.kept_tokens = 4;
        ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, length, &options));
        finish(generator);
        options.kept_tokens = 9;
        ASSERT_OK(tlm_generator_extend(generator, sequence, length, NULL, 0, &options));
        ASSERT_OK(tlm_generator_add(&other, whole, prompt, length, &options));
        finish(generator);
        finish(whole);
        assert_same(generator, sequence, whole, other, 2e-5);
        tlm_generator_free(whole);
        tlm_generator_free(generator);
    }
    tlm_model_free(model);
}
END_TEST

START_TEST(a_prompt_alone_is_computed)
{
    tlm_generate_options_t options = options_of(0);
    tlm_model_t *model = make_model(5);
    const uint32_t prompt[5] = {3, 1, 4, 1, 5};
    tlm_generator_t *generator;
    size_t sequence, running, n;
    int32_t state;

    options.max_tokens = 0;
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, 5, &options));
    ASSERT_OK(tlm_generator_state(&state, generator, sequence));
    ck_assert_int_eq(state, TLM_GENERATION_RUNNING);
    ASSERT_FAILS(TLM_ERR_STATE, "sequence 0 is still running",
                 tlm_generator_extend(generator, 0, SIZE_MAX, prompt, 1, &options));
    ASSERT_OK(tlm_generator_step(&running, generator));
    ASSERT_OK(tlm_generator_tokens(NULL, NULL, &n, generator, sequence));
    ck_assert(running == 0 && n == 0);
    options.max_tokens = 4;
    ASSERT_OK(tlm_generator_extend(generator, 0, SIZE_MAX, NULL, 0, &options));
    finish(generator);
    ASSERT_OK(tlm_generator_tokens(NULL, NULL, &n, generator, sequence));
    ck_assert_uint_eq(n, 4);
    ASSERT_FAILS(TLM_ERR_RANGE, "keeping 10 tokens of sequence 0, which has 9",
                 tlm_generator_extend(generator, 0, 10, NULL, 0, &options));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "empty",
                 tlm_generator_extend(generator, 0, 0, NULL, 0, &options));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "ids is NULL",
                 tlm_generator_extend(generator, 0, 0, NULL, 1, &options));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 40 at position 0",
                 tlm_generator_extend(generator, 0, 0, &(uint32_t){40}, 1, &options));
    ASSERT_FAILS(TLM_ERR_RANGE, "no sequence 1",
                 tlm_generator_extend(generator, 1, 0, prompt, 1, &options));
    ASSERT_OK(tlm_generator_tokens(NULL, NULL, &n, generator, sequence));
    ck_assert_uint_eq(n, 4); /* as it was */
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

/* ---- Saving and loading ------------------------------------------------------------------- */

/* Saved in the middle or at the end, a sequence goes on with the bits that it would have had. */
START_TEST(a_loaded_sequence_has_the_same_bits)
{
    tlm_generate_options_t options = options_of(_i);
    tlm_model_t *model = make_model(5);
    tlm_generator_t *generator, *other;
    uint32_t prompt[MOST];
    size_t sequence, loaded;

    options.max_tokens = 30;
    for (uint32_t i = 0; i < MOST; i++)
        prompt[i] = (i * i + 3 * i) % VOCAB;
    for (size_t length = 3; length < MOST; length += 60)
        for (int steps = 1; steps <= 31; steps += 6) {
            if (steps > 30 && !options.keeps_cache)
                continue;
            ASSERT_OK(tlm_generator_create(&generator, model));
            ASSERT_OK(tlm_generator_create(&other, model));
            ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, length, &options));
            for (int i = 0; i < steps; i++)
                ASSERT_OK(tlm_generator_step(NULL, generator));
            ASSERT_OK(tlm_generator_save(generator, sequence, test_path("cache")));
            ASSERT_OK(tlm_generator_load(&loaded, other, test_path("cache"), &options));
            finish(generator);
            finish(other);
            assert_same(generator, sequence, other, loaded, 0.0);
            if (options.keeps_cache) {
                ASSERT_OK(tlm_generator_extend(generator, 0, SIZE_MAX, prompt, 9, &options));
                ASSERT_OK(tlm_generator_extend(other, 0, SIZE_MAX, prompt, 9, &options));
                finish(generator);
                finish(other);
                assert_same(generator, sequence, other, loaded, 0.0);
            }
            tlm_generator_free(generator);
            tlm_generator_free(other);
        }
    tlm_model_free(model);
}
END_TEST

/* With max_tokens 0 the tokens that are there are computed, whatever of them is new. */
START_TEST(a_loaded_sequence_wants_no_more_tokens)
{
    tlm_generate_options_t options = options_of(_i);
    tlm_model_t *model = make_model(5);
    const uint32_t prompt[5] = {3, 1, 4, 1, 5};
    tlm_generator_t *generator;
    size_t sequence, n;

    ASSERT_OK(tlm_generator_create(&generator, model));
    options.max_tokens = 150;
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, 5, &options));
    for (int i = 0; i < 140; i++) {
        ASSERT_OK(tlm_generator_step(NULL, generator));
        if (i % 9 != 0)
            continue;
        ASSERT_OK(tlm_generator_save(generator, 0, test_path("cache")));
        tlm_generate_options_t none = options;
        none.max_tokens = 0;
        none.keeps_cache = true;
        tlm_generator_t *other;
        ASSERT_OK(tlm_generator_create(&other, model));
        ASSERT_OK(tlm_generator_load(&sequence, other, test_path("cache"), &none));
        finish(other);
        ASSERT_OK(tlm_generator_tokens(NULL, NULL, &n, other, sequence));
        ck_assert_uint_eq(n, (size_t)i + 1);
        tlm_generator_free(other);
    }
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

/* A cache that lost rows to its window and then tokens, down to the last that it can go on from. */
START_TEST(a_cache_that_went_back_is_loaded)
{
    tlm_generate_options_t options = options_of(0);
    tlm_model_t *model = make_model(5);
    const uint32_t prompt[5] = {3, 1, 4, 1, 5};
    tlm_generator_t *generator, *other;
    size_t sequence, loaded;

    for (size_t keep = 148; keep <= 154; keep++) {
        ASSERT_OK(tlm_generator_create(&generator, model));
        ASSERT_OK(tlm_generator_create(&other, model));
        options.max_tokens = 149;
        ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, 5, &options));
        finish(generator);
        options.max_tokens = 9;
        ASSERT_OK(tlm_generator_extend(generator, sequence, keep, prompt, 1, &options));
        ASSERT_OK(tlm_generator_save(generator, sequence, test_path("cache")));
        ASSERT_OK(tlm_generator_load(&loaded, other, test_path("cache"), &options));
        finish(generator);
        finish(other);
        assert_same(generator, sequence, other, loaded, 0.0);
        tlm_generator_free(generator);
        tlm_generator_free(other);
    }
    tlm_model_free(model);
}
END_TEST

START_TEST(foreign_and_damaged_caches_are_refused)
{
    tlm_generate_options_t options = options_of(0), changed;
    tlm_model_t *model = make_model(5), *other_weights = make_model(6);
    const uint32_t prompt[5] = {3, 1, 4, 1, 5};
    tlm_generator_t *generator, *other;
    size_t sequence = 77, n;

    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_create(&other, other_weights));
    ASSERT_OK(tlm_generator_add(&n, generator, prompt, 5, &options));
    ASSERT_FAILS(TLM_ERR_RANGE, "no sequence 3", tlm_generator_save(generator, 3, test_path("x")));
    ASSERT_OK(tlm_generator_step(NULL, generator));
    ASSERT_OK(tlm_generator_save(generator, 0, test_path("cache")));
    ASSERT_FAILS(TLM_ERR_SHAPE, "other weights",
                 tlm_generator_load(&sequence, other, test_path("cache"), &options));
#define REFUSE(text, change)                                                                       \
    changed = options;                                                                             \
    change;                                                                                        \
    ASSERT_FAILS(TLM_ERR_SHAPE, text,                                                              \
                 tlm_generator_load(&sequence, generator, test_path("cache"), &changed))
    REFUSE("of type F32; cache_type says F16", changed.cache_type = TLM_FLOAT16);
    REFUSE("window of 24 with 4 kept tokens; the options say 24 with 2", changed.kept_tokens = 2);
    REFUSE("the options say 0 with 0", changed.past_context = TLM_PAST_CONTEXT_STOP);
    REFUSE("num_top_log_probs 2", changed.num_top_log_probs = 2);
    tlm_generator_free(other);
    tlm_model_free(other_weights);
    size_t size;
    uint8_t *bytes = (uint8_t *)read_bytes(test_path("cache"), &size);
    for (size_t at = 8; at < size; at += 37) {
        bytes[at] ^= 4;
        write_bytes(test_path("damaged"), bytes, size);
        ck_assert_int_ne(tlm_generator_load(&sequence, generator, test_path("damaged"), &options),
                         TLM_OK);
        bytes[at] ^= 4;
    }
    write_bytes(test_path("damaged"), bytes, size / 2);
    ASSERT_FAILS(TLM_ERR_FORMAT, "damaged",
                 tlm_generator_load(&sequence, generator, test_path("damaged"), &options));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "missing",
                 tlm_generator_load(&sequence, generator, test_path("missing"), &options));
    ck_assert_uint_eq(sequence, 77);
    free(bytes);
    options.keeps_cache = false;
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, 5, &options));
    finish(generator);
    ASSERT_FAILS(TLM_ERR_STATE, "sequence 1 has ended without keeps_cache",
                 tlm_generator_save(generator, 1, test_path("cache")));
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

/* Adapters of the same numbers on another scale are other weights. */
START_TEST(the_scale_of_adapters_counts)
{
    static const double alphas[3] = {8.0, 16.0, 8.0};
    const tlm_generate_options_t options = options_of(0);
    tlm_model_t *models[3];
    tlm_generator_t *generators[3];
    const uint32_t prompt[5] = {3, 1, 4, 1, 5};
    size_t sequence;

    for (size_t k = 0; k < 3; k++) {
        tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;
        tlm_tensor_t *const *parameters;
        size_t n;

        models[k] = make_model(5);
        lora.rank = 2;
        lora.alpha = alphas[k];
        ASSERT_OK(tlm_model_parameters(&parameters, &n, models[k]));
        const size_t before = n;
        ASSERT_OK(tlm_model_add_lora(models[k], &lora));
        ASSERT_OK(tlm_model_parameters(&parameters, &n, models[k]));
        ck_assert_uint_gt(n, before);
        for (size_t i = before; i < n; i++)
            for (int64_t at = 0; at < tlm_tensor_numel(parameters[i]); at++)
                ((float *)tlm_tensor_data(parameters[i]))[at] = 0.1f;
        ASSERT_OK(tlm_generator_create(&generators[k], models[k]));
    }
    ASSERT_OK(tlm_generator_add(&sequence, generators[0], prompt, 5, &options));
    ASSERT_OK(tlm_generator_step(NULL, generators[0]));
    ASSERT_OK(tlm_generator_save(generators[0], sequence, test_path("cache")));
    ASSERT_FAILS(TLM_ERR_SHAPE, "other weights",
                 tlm_generator_load(&sequence, generators[1], test_path("cache"), &options));
    ASSERT_OK(tlm_generator_load(&sequence, generators[2], test_path("cache"), &options));
    for (size_t k = 0; k < 3; k++) {
        tlm_generator_free(generators[k]);
        tlm_model_free(models[k]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("extend");
    TCase *tcase = tcase_create("extend");

    tcase_add_loop_test(tcase, turns_follow_each_other, 0, WAYS);
    tcase_add_loop_test(tcase, a_sequence_goes_back, 0, WAYS);
    tcase_add_test(tcase, other_rules_begin_anew);
    tcase_add_test(tcase, a_prompt_alone_is_computed);
    tcase_add_loop_test(tcase, a_loaded_sequence_has_the_same_bits, 0, WAYS);
    tcase_add_loop_test(tcase, a_loaded_sequence_wants_no_more_tokens, 0, WAYS);
    tcase_add_test(tcase, a_cache_that_went_back_is_loaded);
    tcase_add_test(tcase, foreign_and_damaged_caches_are_refused);
    tcase_add_test(tcase, the_scale_of_adapters_counts);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    int status = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return status;
}
