/* Many sequences at once, stop sequences, log-probabilities and scores: against single calls of
 * tlm_model_generate and the whole forward pass. */
#include "reference_model.h"
#include "run_suite.h"

enum { VOCAB = 40, CONTEXT = 24, MAX_SEQUENCES = 45 };

static const tlm_model_options_t small = {.size = sizeof(small),
                                          .vocab_size = VOCAB,
                                          .context_length = CONTEXT,
                                          .d_model = 16,
                                          .num_layers = 2,
                                          .num_heads = 4,
                                          .num_kv_heads = 2,
                                          .d_ff = 24,
                                          .seed = 5};

static tlm_model_t *make_model(void)
{
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, &small));
    return model;
}

/* Log-probabilities that follow the last of n ids. */
static void log_softmax_after(double *out, tlm_model_t *model, const uint32_t *ids, size_t n)
{
    tlm_tensor_t *logits;
    double sum = 0.0;

    ASSERT_OK(tlm_model_forward(&logits, model, ids, 1, (int64_t)n));
    for (int i = 0; i < VOCAB; i++) {
        out[i] = (double)((float *)tlm_tensor_data(logits))[(n - 1) * VOCAB + (size_t)i];
        sum += exp(out[i]);
    }
    for (int i = 0; i < VOCAB; i++)
        out[i] -= log(sum);
    tlm_tensor_free(logits);
}

/* ---- Side by side ---- */

/* Prompts, lengths and ways to choose all differ; some run past the context. */
static size_t make_prompt(uint32_t *prompt, tlm_generate_options_t *options, int i)
{
    static const tlm_generate_options_t defaults = TLM_GENERATE_OPTIONS_INIT;
    size_t n = (size_t)(i * 7 % 30 + 1);

    for (size_t k = 0; k < n; k++)
        prompt[k] = (uint32_t)(i * 11 + (int)k * 3 + (int)(k * k)) % VOCAB;
    *options = defaults;
    options->max_tokens = i * 5 % 23;
    options->temperature = i % 4 == 0 ? 0.0 : 0.6 + 0.1 * i;
    options->top_k = i % 3 == 0 ? 9 : 0;
    options->top_p = i % 5 == 0 ? 0.8 : 0.0;
    options->min_p = i % 7 == 0 ? 0.05 : 0.0;
    options->repetition_penalty = i % 2 == 0 ? 1.2 : 0.0;
    options->has_end_token = i % 6 == 0;
    options->end_token = 3;
    options->seed = (uint64_t)i;
    options->past_context = i % 5 == 1 ? TLM_PAST_CONTEXT_RECOMPUTE : TLM_PAST_CONTEXT_SLIDE;
    options->kept_tokens = i % 8 - 1;
    options->cache_type = i % 3 == 1 ? TLM_FLOAT16 : TLM_FLOAT32;
    return n;
}

START_TEST(each_sequence_is_as_if_alone)
{
    tlm_model_t *model = make_model();
    tlm_generate_options_t options;
    tlm_generator_t *generator;
    uint32_t prompt[32], *alone;
    const uint32_t *ids;
    size_t running, n, count, sequence;

    ASSERT_OK(tlm_set_num_threads(_i + 1));
    ASSERT_OK(tlm_generator_create(&generator, model));
    for (int i = 0; i < MAX_SEQUENCES; i++) { /* the last ones come when others are on their way */
        count = make_prompt(prompt, &options, i);
        ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, count, &options));
        ck_assert_uint_eq(sequence, (size_t)i);
        if (i > MAX_SEQUENCES - 6)
            ASSERT_OK(tlm_generator_step(NULL, generator));
    }
    do
        ASSERT_OK(tlm_generator_step(&running, generator));
    while (running > 0);
    ASSERT_OK(tlm_set_num_threads(1));
    for (int i = 0; i < MAX_SEQUENCES; i++) {
        int32_t state;

        count = make_prompt(prompt, &options, i);
        ASSERT_OK(tlm_model_generate(&alone, &n, model, prompt, count, &options, NULL, NULL));
        ASSERT_OK(tlm_generator_tokens(&ids, NULL, &count, generator, (size_t)i));
        ck_assert_uint_eq(count, n);
        ck_assert(n == 0 || memcmp(ids, alone, n * sizeof(*ids)) == 0);
        ASSERT_OK(tlm_generator_state(&state, generator, (size_t)i));
        ck_assert_int_eq(state, n == (size_t)options.max_tokens ? TLM_GENERATION_LENGTH
                                                                : TLM_GENERATION_END);
        tlm_free(alone);
    }
    ASSERT_OK(tlm_generator_step(&running, generator)); /* nothing is left to do */
    ck_assert_uint_eq(running, 0);
    tlm_generator_free(generator);
    tlm_generator_free(NULL);
    tlm_model_free(model);
    ASSERT_OK(tlm_set_num_threads(0));
}
END_TEST

/* Greedy with a penalty, chosen here from the logits of the forward pass. */
START_TEST(the_penalty_counts_prompt_and_new_tokens)
{
    enum { NEW = 12 };
    tlm_model_t *model = make_model();
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    uint32_t sequence[4 + NEW] = {1, 2, 3, 2}, *ids;
    size_t count;

    options.max_tokens = NEW;
    options.repetition_penalty = 1.5;
    ASSERT_OK(tlm_model_generate(&ids, &count, model, sequence, 4, &options, NULL, NULL));
    for (size_t n = 4; n < 4 + NEW; n++) {
        tlm_tensor_t *logits;
        double best = -INFINITY;

        ASSERT_OK(tlm_model_forward(&logits, model, sequence, 1, (int64_t)n));
        for (uint32_t i = 0; i < VOCAB; i++) {
            double score = (double)((float *)tlm_tensor_data(logits))[(n - 1) * VOCAB + i];

            for (size_t k = 0; k < n; k++)
                if (sequence[k] == i) {
                    score = score < 0.0 ? score * 1.5 : score / 1.5;
                    break;
                }
            if (score > best) {
                best = score;
                sequence[n] = i;
            }
        }
        ck_assert_uint_eq(ids[n - 4], sequence[n]);
        tlm_tensor_free(logits);
    }
    tlm_free(ids);
    tlm_model_free(model);
}
END_TEST

START_TEST(log_probabilities_are_those_of_the_forward_pass)
{
    tlm_model_t *model = make_model();
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    uint32_t sequence_ids[3 + 40] = {5, 6, 7};
    const float *log_probs, *top_log_probs;
    const uint32_t *ids, *top_ids;
    tlm_generator_t *generator;
    size_t sequence, n, top, running;

    options.max_tokens = 40;
    options.temperature = 1.3;
    options.repetition_penalty = 1.2;
    options.num_top_log_probs = _i == 0 ? 5 : 1000;
    options.past_context = TLM_PAST_CONTEXT_RECOMPUTE;
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_add(&sequence, generator, sequence_ids, 3, &options));
    do
        ASSERT_OK(tlm_generator_step(&running, generator));
    while (running > 0);
    ASSERT_OK(tlm_generator_tokens(&ids, &log_probs, &n, generator, sequence));
    ck_assert_uint_eq(n, 40);
    memcpy(sequence_ids + 3, ids, n * sizeof(*ids));
    for (size_t i = 0; i < n; i++) {
        size_t before = 3 + i, window = before < CONTEXT ? before : CONTEXT;
        double expected[VOCAB];

        log_softmax_after(expected, model, sequence_ids + before - window, window);
        ck_assert(fabs((double)log_probs[i] - expected[ids[i]]) < 2e-5);
        ASSERT_OK(
            tlm_generator_top_log_probs(&top_ids, &top_log_probs, &top, generator, sequence, i));
        ck_assert_uint_eq(top, _i == 0 ? 5 : VOCAB);
        for (size_t k = 0; k < top; k++) {
            size_t likelier = 0;

            ck_assert(fabs((double)top_log_probs[k] - expected[top_ids[k]]) < 2e-5);
            ck_assert(k == 0 || top_log_probs[k] <= top_log_probs[k - 1]);
            for (int id = 0; id < VOCAB; id++)
                likelier += expected[id] > expected[top_ids[k]] + 2e-5;
            ck_assert_uint_le(likelier, k);
        }
    }
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

/* ---- Ends ---- */

typedef struct listener {
    uint32_t ids[64];
    size_t n;
} listener_t;

static int32_t listen(void *user, uint32_t id)
{
    listener_t *listener = user;

    listener->ids[listener->n++] = id;
    return 0;
}

/* The first place at which `all` holds one of the stops, as a naive search finds it; n if none. */
static size_t first_stop(const uint32_t *all, size_t n, const tlm_ids_t *stops, size_t count)
{
    for (size_t end = 1; end <= n; end++)
        for (size_t i = 0; i < count; i++)
            if (stops[i].n <= end &&
                memcmp(all + end - stops[i].n, stops[i].ids, stops[i].n * sizeof(*all)) == 0)
                return end - stops[i].n;
    return n;
}

START_TEST(stop_sequences_end_unseen)
{
    enum { NEW = 30 };
    const uint32_t prompt[2] = {1, 2};
    tlm_model_t *model = make_model();
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    uint32_t *all, *ids, near[4];
    size_t n, expected;

    options.max_tokens = NEW;
    options.temperature = 1.5;
    options.seed = 3;
    ASSERT_OK(tlm_model_generate(&all, &n, model, prompt, 2, &options, NULL, NULL));
    ck_assert_uint_eq(n, NEW);
    memcpy(near, all + 20, sizeof(near)); /* the beginning of what comes, but not the end */
    near[3] = (near[3] + 1) % VOCAB;
    for (size_t at = 0; at < NEW - 4; at++)
        for (size_t length = 1; length <= 4; length++) {
            const tlm_ids_t stops[2] = {{near, 4}, {all + at, length}};
            listener_t listener = {.n = 0};

            options.stop_sequences = stops;
            options.num_stop_sequences = 2;
            expected = first_stop(all, NEW, stops, 2);
            ck_assert_uint_le(expected, at);
            ASSERT_OK(tlm_model_generate(&ids, &n, model, prompt, 2, &options, listen, &listener));
            ck_assert_uint_eq(n, expected);
            ck_assert_uint_eq(listener.n, expected);
            ck_assert(n == 0 || memcmp(ids, all, n * sizeof(*ids)) == 0);
            ck_assert(n == 0 || memcmp(listener.ids, all, n * sizeof(*ids)) == 0);
            tlm_free(ids);
        }
    tlm_free(all);
    tlm_model_free(model);
}
END_TEST

/* What is settled is never taken back, and is held for no longer than it may begin a stop. */
START_TEST(tokens_wait_while_they_may_begin_a_stop)
{
    const uint32_t prompt = 1;
    tlm_model_t *model = make_model();
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    uint32_t *all, stop[5];
    tlm_generator_t *generator;
    size_t sequence, n, running;
    int32_t state;

    options.max_tokens = 12;
    options.temperature = 2.0;
    ASSERT_OK(tlm_model_generate(&all, &n, model, &prompt, 1, &options, NULL, NULL));
    memcpy(stop, all + 3, sizeof(stop)); /* tokens 3 to 6 agree, 7 does not */
    stop[4] = (stop[4] + 1) % VOCAB;
    options.stop_sequences = &(tlm_ids_t){stop, 5};
    options.num_stop_sequences = 1;
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_add(&sequence, generator, &prompt, 1, &options));
    memset(stop, 0xFF, sizeof(stop)); /* it was copied */
    for (size_t step = 1; step <= 12; step++) {
        ASSERT_OK(tlm_generator_step(&running, generator));
        ASSERT_OK(tlm_generator_tokens(NULL, NULL, &n, generator, sequence));
        ck_assert(n <= step);
        if (step >= 4 && step <= 7)
            ck_assert_uint_eq(n, 3);
        if (step == 12)
            ck_assert_uint_eq(n, 12);
    }
    ck_assert_uint_eq(running, 0);
    ASSERT_OK(tlm_generator_state(&state, generator, sequence));
    ck_assert_int_eq(state, TLM_GENERATION_LENGTH);
    tlm_free(all);
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

START_TEST(one_sequence_may_fail_or_stop_alone)
{
    const uint32_t prompts[3] = {4, 7, 9};
    tlm_model_t *model = make_model();
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    tlm_generator_t *generator;
    tlm_tensor_t *embedding;
    size_t sequence, n, running = 77;
    int32_t state;

    options.max_tokens = 6;
    options.top_k = 1;
    ASSERT_OK(tlm_generator_create(&generator, model));
    for (int i = 0; i < 3; i++)
        ASSERT_OK(tlm_generator_add(&sequence, generator, &prompts[i], 1, &options));
    ASSERT_OK(tlm_model_parameter(&embedding, model, "token_embeddings.weight"));
    ((float *)tlm_tensor_data(embedding))[7 * 16] = NAN;
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "sequence 1", tlm_generator_step(&running, generator));
    ck_assert_uint_eq(running, 77);
    ASSERT_OK(tlm_generator_state(&state, generator, 1));
    ck_assert_int_eq(state, TLM_GENERATION_FAILED);
    ASSERT_OK(tlm_generator_stop(generator, 2));
    ASSERT_OK(tlm_generator_stop(generator, 1)); /* no effect */
    ASSERT_OK(tlm_generator_state(&state, generator, 2));
    ck_assert_int_eq(state, TLM_GENERATION_STOPPED);
    ((float *)tlm_tensor_data(embedding))[7 * 16] = 0.0f;
    do
        ASSERT_OK(tlm_generator_step(&running, generator));
    while (running > 0);
    for (size_t i = 0; i < 3; i++) {
        ASSERT_OK(tlm_generator_tokens(NULL, NULL, &n, generator, i));
        ck_assert_uint_eq(n, i == 0 ? 6 : i == 1 ? 0 : 1);
    }
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

/* ---- Scores ---- */

START_TEST(scores_are_those_of_the_forward_pass)
{
    enum { N = 61 };
    static const int64_t strides[] = {0, 1, 7, 24};
    tlm_model_t *model = make_model();
    uint32_t ids[N];
    float log_probs[N - 1];
    double total, sum = 0.0, expected[VOCAB];
    size_t stride = strides[_i] == 0 ? CONTEXT / 2 : (size_t)strides[_i];

    for (uint32_t i = 0; i < N; i++)
        ids[i] = (i * i + 5 * i / 3) % VOCAB;
    ASSERT_OK(tlm_model_score(&total, log_probs, model, ids, N, strides[_i]));
    for (size_t i = 0; i + 1 < N; i++) {
        size_t begin = 0;

        while (i >= begin + CONTEXT)
            begin += stride;
        log_softmax_after(expected, model, ids + begin, i + 1 - begin);
        ck_assert_msg(fabs((double)log_probs[i] - expected[ids[i + 1]]) < 2e-5,
                      "place %d: %g, not %g", (int)i, (double)log_probs[i], expected[ids[i + 1]]);
        sum += (double)log_probs[i];
    }
    ck_assert(fabs(total - sum) <= 1e-9);
    tlm_model_free(model);
}
END_TEST

START_TEST(a_score_is_the_loss)
{
    tlm_model_t *model = make_model();
    const uint32_t ids[7] = {3, 1, 4, 1, 5, 9, 2};
    tlm_tensor_t *loss;
    double total;
    float value;

    ASSERT_OK(tlm_model_loss(&loss, model, ids, ids + 1, 1, 6));
    ASSERT_OK(tlm_tensor_item(&value, loss));
    ASSERT_OK(tlm_model_score(&total, NULL, model, ids, 7, 0));
    ck_assert(fabs(total + 6.0 * (double)value) < 2e-5);
    ASSERT_OK(tlm_model_score(NULL, NULL, model, ids, 2, 0));
    tlm_tensor_free(loss);
    tlm_model_free(model);
}
END_TEST

/* ---- Refusals ---- */

START_TEST(nonsense_is_refused)
{
    tlm_model_t *model = make_model();
    const uint32_t ids[3] = {1, 2, VOCAB}, *borrowed = NULL;
    tlm_generator_t *generator = NULL;
    size_t n = 77, sequence;
    double total = 77.0;
    int32_t state = 77;

    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "out", tlm_generator_create(NULL, model));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model", tlm_generator_create(&generator, NULL));
    ck_assert_ptr_null(generator);
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "empty", tlm_generator_add(&n, generator, ids, 0, NULL));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 40 at position 2 of the prompt",
                 tlm_generator_add(&n, generator, ids, 3, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "sequence is NULL",
                 tlm_generator_add(NULL, generator, ids, 2, NULL));
    ASSERT_FAILS(TLM_ERR_RANGE, "no sequence 0; there are 0",
                 tlm_generator_state(&state, generator, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "no sequence 0; there are 0", tlm_generator_stop(generator, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "no sequence 3; there are 0",
                 tlm_generator_tokens(&borrowed, NULL, &n, generator, 3));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "generator is NULL", tlm_generator_step(&n, NULL));
    ASSERT_OK(tlm_generator_step(NULL, generator)); /* nothing to do */
    ck_assert(n == 77 && state == 77);
    ck_assert_ptr_null(borrowed);
    ASSERT_OK(tlm_generator_add(&sequence, generator, ids, 2, NULL));
    ASSERT_OK(tlm_generator_step(NULL, generator));
    ASSERT_FAILS(TLM_ERR_RANGE, "no settled token 1; there are 1",
                 tlm_generator_top_log_probs(&borrowed, NULL, &n, generator, sequence, 1));
    ASSERT_OK(tlm_generator_top_log_probs(&borrowed, NULL, &n, generator, sequence, 0));
    ck_assert_uint_eq(n, 0);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "1 tokens",
                 tlm_model_score(&total, NULL, model, ids, 1, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 40", tlm_model_score(&total, NULL, model, ids, 3, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "stride 25", tlm_model_score(&total, NULL, model, ids, 2, 25));
    ASSERT_FAILS(TLM_ERR_RANGE, "stride -1", tlm_model_score(&total, NULL, model, ids, 2, -1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "ids is NULL",
                 tlm_model_score(&total, NULL, model, NULL, 2, 0));
    ck_assert(total == 77.0);
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("generator");
    TCase *tcase = tcase_create("generator");

    tcase_add_loop_test(tcase, each_sequence_is_as_if_alone, 0, 3);
    tcase_add_test(tcase, the_penalty_counts_prompt_and_new_tokens);
    tcase_add_loop_test(tcase, log_probabilities_are_those_of_the_forward_pass, 0, 2);
    tcase_add_test(tcase, stop_sequences_end_unseen);
    tcase_add_test(tcase, tokens_wait_while_they_may_begin_a_stop);
    tcase_add_test(tcase, one_sequence_may_fail_or_stop_alone);
    tcase_add_loop_test(tcase, scores_are_those_of_the_forward_pass, 0, 4);
    tcase_add_test(tcase, a_score_is_the_loss);
    tcase_add_test(tcase, nonsense_is_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
