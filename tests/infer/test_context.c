/* Past the context: windows that slide, with and without the first tokens, against the forward pass of models
 * that say the same; ends; and caches of float16. */
#include "reference_model.h"
#include "run_suite.h"

enum { VOCAB = 40, CONTEXT = 24, MOST = 400 };

static tlm_model_options_t options_of(int64_t layers, int64_t context, int64_t window)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;

    options.vocab_size = VOCAB;
    options.context_length = context;
    options.d_model = 16;
    options.num_layers = layers;
    options.num_heads = 4;
    options.num_kv_heads = 2;
    options.d_ff = 24;
    options.seed = 5;
    options.sliding_window = window;
    return options;
}

static tlm_model_t *make_model(const tlm_model_options_t *options)
{
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, options));
    return model;
}

static void fill_ids(uint32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)(i * i + 3 * i + i / 7) % VOCAB;
}

/* ---- Logits of a generator --------------------------------------------------------------- */

/* Plays ids and keeps the logits before each. */
typedef struct player {
    const uint32_t *ids;
    float logits[MOST][VOCAB];
} player_t;

static int32_t play(void *user, size_t sequence, const uint32_t *ids, size_t n, float *logits,
                    size_t vocab_size, uint32_t *token)
{
    player_t *player = user;

    (void)sequence;
    (void)ids;
    memcpy(player->logits[n], logits, vocab_size * sizeof(*logits));
    *token = player->ids[n];
    return 0;
}

/* The logits after `prompt` tokens, prompt + 1 tokens, ... n - 1 tokens. */
static void run(player_t *player, tlm_model_t *model, const uint32_t *ids, size_t prompt, size_t n,
                tlm_generate_options_t options)
{
    uint32_t *made;
    size_t count;

    player->ids = ids + prompt;
    options.max_tokens = (int64_t)(n - prompt);
    options.on_logits = play;
    options.logits_user = player;
    ASSERT_OK(tlm_model_generate(&made, &count, model, ids, prompt, &options, NULL, NULL));
    ck_assert_uint_eq(count, n - prompt);
    ck_assert_mem_eq(made, ids + prompt, count * sizeof(*made));
    tlm_free(made);
}

static void assert_close(const float *actual, const float *expected, double tolerance, size_t at)
{
    for (int i = 0; i < VOCAB; i++)
        ck_assert_msg(fabs((double)actual[i] - (double)expected[i]) <= tolerance,
                      "after %zu tokens, logit %d: %g, not %g", at, i, (double)actual[i],
                      (double)expected[i]);
}

static void forward_last(float *logits, tlm_model_t *model, const uint32_t *ids, size_t n)
{
    tlm_tensor_t *all;

    ASSERT_OK(tlm_model_forward(&all, model, ids, 1, (int64_t)n));
    memcpy(logits, (float *)tlm_tensor_data(all) + (n - 1) * VOCAB, VOCAB * sizeof(*logits));
    tlm_tensor_free(all);
}

static const size_t prompts[] = {1, 20, 24, 25, 60, 200, 300};
enum { NUM_PROMPTS = sizeof(prompts) / sizeof(prompts[0]) };

/* ---- Sliding ------------------------------------------------------------------------------ */

/* Without first tokens: a model of a long context whose window is the short one's context. */
START_TEST(sliding_is_window_attention)
{
    static player_t player;
    const tlm_model_options_t options = options_of(3, CONTEXT, 0);
    const tlm_model_options_t wide = options_of(3, MOST, CONTEXT);
    tlm_model_t *model = make_model(&options), *windowed = make_model(&wide);
    tlm_generate_options_t how = TLM_GENERATE_OPTIONS_INIT;
    uint32_t ids[MOST];
    const size_t prompt = prompts[_i], n = prompt + 90;

    fill_ids(ids, MOST);
    how.past_context = TLM_PAST_CONTEXT_SLIDE;
    how.kept_tokens = -1;
    run(&player, model, ids, prompt, n, how);
    for (size_t i = prompt; i < n; i++) {
        float expected[VOCAB];

        forward_last(expected, windowed, ids, i);
        assert_close(player.logits[i - prompt], expected, 2e-5, i);
    }
    tlm_model_free(model);
    tlm_model_free(windowed);
}
END_TEST

/* Keys of the only layer depend on their own tokens, so the first and the latest tokens side by side are
 * what a new token sees. */
START_TEST(the_first_tokens_are_kept)
{
    static const struct {
        int64_t kept, window;
    } cases[] = {{4, 0}, {1, 0}, {0, 0}, {23, 0}, {12, 0}, {5, 40}, {5, 24}, {5, 22}, {5, 7}};
    static player_t player;
    const int64_t kept = cases[_i].kept == 0 ? 4 : cases[_i].kept;
    const tlm_model_options_t options = options_of(1, CONTEXT, cases[_i].window);
    tlm_model_t *model = make_model(&options);
    tlm_generate_options_t how = TLM_GENERATE_OPTIONS_INIT;
    uint32_t ids[MOST], seen[CONTEXT];

    fill_ids(ids, MOST);
    how.kept_tokens = cases[_i].kept;
    for (size_t k = 0; k < NUM_PROMPTS; k++) {
        const size_t n = prompts[k] + 90;

        run(&player, model, ids, prompts[k], n, how);
        for (size_t i = prompts[k]; i < n; i++) {
            const size_t first = i > CONTEXT ? (size_t)kept : 0;
            const size_t others = (i > CONTEXT ? CONTEXT : i) - first;
            float expected[VOCAB];

            memcpy(seen, ids, first * sizeof(*ids));
            memcpy(seen + first, ids + i - others, others * sizeof(*ids));
            forward_last(expected, model, seen, first + others);
            assert_close(player.logits[i - prompts[k]], expected, 2e-5, i);
        }
    }
    tlm_model_free(model);
}
END_TEST

/* A prompt past the context gives what its tokens give one by one, in deeper models and with windows. */
START_TEST(prompts_slide_as_steps_do)
{
    static const int64_t windows[] = {0, 9};
    static player_t steps, prompt;
    tlm_model_options_t options = options_of(4, CONTEXT, windows[_i % 2]);
    tlm_generate_options_t how = TLM_GENERATE_OPTIONS_INIT;
    uint32_t ids[MOST];

    if (options.sliding_window != 0) {
        options.window_period = 2;
        options.window_rope_theta = 500.0;
    }
    tlm_model_t *model = make_model(&options);
    fill_ids(ids, MOST);
    how.kept_tokens = 3;
    how.cache_type = _i < 2 ? TLM_FLOAT32 : TLM_FLOAT16;
    run(&steps, model, ids, 1, 350, how);
    for (size_t k = 1; k < NUM_PROMPTS; k++) {
        run(&prompt, model, ids, prompts[k], prompts[k] + 40, how);
        for (size_t i = 0; i < 40; i++)
            assert_close(prompt.logits[i], steps.logits[prompts[k] - 1 + i], _i < 2 ? 2e-5 : 2e-2,
                         prompts[k] + i);
    }
    tlm_model_free(model);
}
END_TEST

/* ---- Float16 ------------------------------------------------------------------------------ */

START_TEST(float16_caches_are_close_and_deterministic)
{
    static player_t exact, rounded, again;
    const tlm_model_options_t options = options_of(3, 200, 0);
    tlm_model_t *model = make_model(&options);
    tlm_generate_options_t how = TLM_GENERATE_OPTIONS_INIT;
    uint32_t ids[MOST];

    fill_ids(ids, MOST);
    ASSERT_OK(tlm_set_num_threads(1));
    run(&exact, model, ids, 150, 250, how);
    how.cache_type = TLM_FLOAT16;
    run(&rounded, model, ids, 150, 250, how);
    ASSERT_OK(tlm_set_num_threads(4));
    run(&again, model, ids, 150, 250, how);
    ASSERT_OK(tlm_set_num_threads(0));
    for (size_t i = 0; i < 100; i++) {
        assert_close(rounded.logits[i], exact.logits[i], 5e-3, 150 + i);
        ck_assert_mem_eq(rounded.logits[i], again.logits[i], sizeof(again.logits[i]));
    }
    ck_assert_mem_ne(rounded.logits, exact.logits, sizeof(exact.logits[0]));
    tlm_model_free(model);
}
END_TEST

/* Values of 70000 and more: the sequence with the float16 cache fails, the other goes on. */
START_TEST(what_float16_cannot_hold_is_an_error)
{
    const tlm_model_options_t options = options_of(1, 64, 0);
    tlm_generate_options_t how = TLM_GENERATE_OPTIONS_INIT;
    tlm_model_t *model = make_model(&options);
    const uint32_t prompt[3] = {1, 2, 3};
    tlm_generator_t *generator;
    tlm_tensor_t *weight;
    size_t sequence, running;
    int32_t state;

    ASSERT_OK(tlm_model_parameter(&weight, model, "layers.0.attn.v_proj.weight"));
    for (int64_t i = 0; i < tlm_tensor_numel(weight); i++)
        ((float *)tlm_tensor_data(weight))[i] *= 1e6f;
    ASSERT_OK(tlm_generator_create(&generator, model));
    how.max_tokens = 2;
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, 3, &how));
    how.cache_type = TLM_FLOAT16;
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, 3, &how));
    ASSERT_FAILS(TLM_ERR_RANGE, "sequence 1 is above 65504", tlm_generator_step(NULL, generator));
    ASSERT_OK(tlm_generator_step(&running, generator));
    ck_assert_uint_eq(running, 0);
    ASSERT_OK(tlm_generator_state(&state, generator, 0));
    ck_assert_int_eq(state, TLM_GENERATION_LENGTH);
    ASSERT_OK(tlm_generator_state(&state, generator, 1));
    ck_assert_int_eq(state, TLM_GENERATION_FAILED);
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

/* What the failed sequence has in its cache is not used again: without the token it goes on. */
START_TEST(a_sequence_goes_on_without_what_did_not_fit)
{
    const tlm_model_options_t options = options_of(1, 64, 0);
    tlm_generate_options_t how = TLM_GENERATE_OPTIONS_INIT;
    tlm_model_t *model = make_model(&options);
    const uint32_t prompt[4] = {1, 2, 3, 9};
    tlm_generator_t *generator;
    tlm_tensor_t *values, *embedding;
    size_t sequence, n;

    ASSERT_OK(tlm_model_parameter(&values, model, "layers.0.attn.v_proj.weight"));
    ASSERT_OK(tlm_model_parameter(&embedding, model, "token_embeddings.weight"));
    for (int64_t i = 0; i < 16; i++) /* only token 9 makes use of the first column */
        ((float *)tlm_tensor_data(values))[i * 16] = 1e6f;
    for (int64_t i = 0; i < VOCAB; i++)
        ((float *)tlm_tensor_data(embedding))[i * 16] = i == 9 ? 1.0f : 0.0f;
    ASSERT_OK(tlm_generator_create(&generator, model));
    how.max_tokens = 1;
    how.keeps_cache = true;
    how.cache_type = TLM_FLOAT16;
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, 4, &how));
    ASSERT_FAILS(TLM_ERR_RANGE, "sequence 0 is above 65504", tlm_generator_step(NULL, generator));
    ASSERT_OK(tlm_generator_extend(generator, 0, SIZE_MAX, prompt, 1, &how));
    ASSERT_FAILS(TLM_ERR_RANGE, "sequence 0 is above 65504", tlm_generator_step(NULL, generator));
    ASSERT_OK(tlm_generator_extend(generator, 0, 3, prompt, 1, &how));
    ASSERT_OK(tlm_generator_step(NULL, generator));
    ASSERT_OK(tlm_generator_tokens(NULL, NULL, &n, generator, 0));
    ck_assert_uint_eq(n, 1);
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

/* ---- Ends --------------------------------------------------------------------------------- */

static int32_t end_of(size_t *n, tlm_model_t *model, size_t prompt,
                      const tlm_generate_options_t *how)
{
    tlm_generator_t *generator;
    uint32_t ids[MOST];
    size_t sequence, running;
    int32_t state;

    fill_ids(ids, MOST);
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_add(&sequence, generator, ids, prompt, how));
    do
        ASSERT_OK(tlm_generator_step(&running, generator));
    while (running > 0);
    ASSERT_OK(tlm_generator_tokens(NULL, NULL, n, generator, sequence));
    ASSERT_OK(tlm_generator_state(&state, generator, sequence));
    tlm_generator_free(generator);
    return state;
}

/* A token can still be chosen after the last position of the context. */
START_TEST(generation_stops_at_the_context)
{
    tlm_model_options_t options = options_of(1, CONTEXT, 0);
    tlm_generate_options_t how = TLM_GENERATE_OPTIONS_INIT;
    uint32_t ids[MOST], *made = NULL;
    size_t n;

    options.position = _i == 0 ? TLM_POSITION_ROPE : TLM_POSITION_LEARNED;
    tlm_model_t *model = make_model(&options);
    fill_ids(ids, MOST);
    how.past_context = _i == 0 ? TLM_PAST_CONTEXT_STOP : TLM_PAST_CONTEXT_DEFAULT;
    how.max_tokens = 100;
    ck_assert_int_eq(end_of(&n, model, 10, &how), TLM_GENERATION_CONTEXT);
    ck_assert_uint_eq(n, CONTEXT - 10 + 1);
    ck_assert_int_eq(end_of(&n, model, CONTEXT, &how), TLM_GENERATION_CONTEXT);
    ck_assert_uint_eq(n, 1);
    how.max_tokens = 5;
    ck_assert_int_eq(end_of(&n, model, 10, &how), TLM_GENERATION_LENGTH);
    ck_assert_uint_eq(n, 5);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "25 tokens is longer than the context of 24",
                 tlm_model_generate(&made, &n, model, ids, CONTEXT + 1, &how, NULL, NULL));
    how.past_context = TLM_PAST_CONTEXT_RECOMPUTE;
    ck_assert_int_eq(end_of(&n, model, CONTEXT + 1, &how), TLM_GENERATION_LENGTH);
    how.past_context = TLM_PAST_CONTEXT_SLIDE;
    if (_i == 1)
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "24 learned positions",
                     tlm_model_generate(&made, &n, model, ids, 2, &how, NULL, NULL));
    else
        ck_assert_int_eq(end_of(&n, model, CONTEXT + 1, &how), TLM_GENERATION_LENGTH);
    ck_assert_ptr_null(made);
    tlm_model_free(model);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    const tlm_model_options_t options = options_of(1, CONTEXT, 0);
    tlm_generate_options_t how = TLM_GENERATE_OPTIONS_INIT;
    tlm_model_t *model = make_model(&options);
    const uint32_t prompt = 1;
    uint32_t *made = NULL;
    size_t n;

#define REFUSE(code, text, field, value)                                                           \
    how.field = (value);                                                                           \
    ASSERT_FAILS(code, text, tlm_model_generate(&made, &n, model, &prompt, 1, &how, NULL, NULL));  \
    how.field = 0
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "past_context 4 is unknown", past_context, 4);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "past_context -1 is unknown", past_context, -1);
    REFUSE(TLM_ERR_RANGE, "kept_tokens 24 is not in -1 .. 23", kept_tokens, CONTEXT);
    REFUSE(TLM_ERR_RANGE, "kept_tokens -2", kept_tokens, -2);
    REFUSE(TLM_ERR_UNSUPPORTED, "cache of bfloat16", cache_type, TLM_BFLOAT16);
    REFUSE(TLM_ERR_UNSUPPORTED, "cache_type 12345", cache_type, 12345);
    ck_assert_ptr_null(made);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("context");
    TCase *tcase = tcase_create("context");

    tcase_add_loop_test(tcase, sliding_is_window_attention, 0, NUM_PROMPTS);
    tcase_add_loop_test(tcase, the_first_tokens_are_kept, 0, 9);
    tcase_add_loop_test(tcase, prompts_slide_as_steps_do, 0, 4);
    tcase_add_test(tcase, float16_caches_are_close_and_deterministic);
    tcase_add_test(tcase, what_float16_cannot_hold_is_an_error);
    tcase_add_test(tcase, a_sequence_goes_on_without_what_did_not_fit);
    tcase_add_loop_test(tcase, generation_stops_at_the_context, 0, 2);
    tcase_add_test(tcase, nonsense_is_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
