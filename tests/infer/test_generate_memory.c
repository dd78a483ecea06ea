/* Memory of generation and scoring: it follows the tokens that are there, not the context length
 * that a model's options or file state, nor the length of a text beyond the context. Every
 * allocation of the program goes through counters. */
#include "count_memory.h"
#include "io_support.h"
#include "run_suite.h"

enum { VOCAB = 50, SHORT = 256, LONG = 4 << 20, THREADS = 4, WIDTH = 32 };
enum { SLACK = 1 << 16 }; /* small blocks whose sizes may differ */

static tlm_model_t *make_model(int64_t context_length, int64_t d_model)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    options.vocab_size = VOCAB;
    options.context_length = context_length;
    options.d_model = d_model;
    options.num_layers = 3;
    options.num_heads = 2;
    options.seed = 9;
    ASSERT_OK(tlm_model_create(&model, &options));
    return model;
}

/* Most bytes held while a prompt is continued; the new tokens go to ids. */
static long long generate(uint32_t *ids, tlm_model_t *model, size_t prompt_length,
                          int64_t max_tokens, size_t stop_after)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    long long start = start_memory_count();
    tlm_generator_t *generator;
    uint32_t prompt[SHORT];
    const uint32_t *made;
    size_t sequence, n;

    for (size_t i = 0; i < prompt_length; i++)
        prompt[i] = (uint32_t)(i * i + 7) % VOCAB;
    options.max_tokens = max_tokens;
    options.temperature = 1.0;
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, prompt_length, &options));
    for (size_t i = 0; i < stop_after; i++)
        ASSERT_OK(tlm_generator_step(NULL, generator));
    ASSERT_OK(tlm_generator_tokens(&made, NULL, &n, generator, sequence));
    ck_assert_uint_eq(n, stop_after);
    memcpy(ids, made, n * sizeof(*ids));
    tlm_generator_free(generator);
    return most_memory_since(start);
}

/* The same tokens, for no more memory, whatever the context and max_tokens. */
START_TEST(generation_follows_its_tokens)
{
    static const size_t prompts[] = {1, 150};
    tlm_model_t *small = make_model(SHORT, WIDTH), *large = make_model(LONG, WIDTH);
    uint32_t expected[SHORT], ids[SHORT];

    ASSERT_OK(tlm_set_num_threads(THREADS));
    for (size_t i = 0; i < sizeof(prompts) / sizeof(prompts[0]); i++)
        for (size_t new_tokens = 3; new_tokens <= 100; new_tokens += 97) {
            long long few = generate(expected, small, prompts[i], 100, new_tokens);
            long long many = generate(ids, large, prompts[i], INT64_MAX, new_tokens);
            double tokens = (double)(prompts[i] + new_tokens);
            /* Keys, values, rotations; scores of the threads for blocks of 32 queries; half as much
             * again and a bit to grow, and the old beside the new while growing. */
            double keys = 2 * 3 * WIDTH * 4 + WIDTH / 2 * 4, scores = THREADS * 32 * 4;
            double bound = (double)few + 2.5 * (tokens + 64) * (keys + scores);

            ck_assert_mem_eq(ids, expected, new_tokens * sizeof(*ids));
            ck_assert_msg((double)many <= bound,
                          "%zu + %zu tokens: %lld bytes, %lld for a context of %d", prompts[i],
                          new_tokens, many, few, SHORT);
        }
    tlm_model_free(small);
    tlm_model_free(large);
}
END_TEST

START_TEST(a_few_tokens_cost_little)
{
    tlm_model_t *model = make_model(LONG, WIDTH);
    uint32_t ids[3];
    long long bytes;

    ASSERT_OK(tlm_set_num_threads(THREADS));
    bytes = generate(ids, model, 3, LONG, 3);
    ck_assert_msg(bytes < 1 << 20, "%lld bytes", bytes);
    tlm_model_free(model);
}
END_TEST

/* Most bytes held while a text is scored. */
static long long score(float *log_probs, tlm_model_t *model, const uint32_t *ids, size_t n)
{
    long long start = start_memory_count();
    double total;

    ASSERT_OK(tlm_model_score(&total, log_probs, model, ids, n, 0));
    return most_memory_since(start);
}

static void check_at_most(const char *what, long long bytes, long long most)
{
    ck_assert_msg(bytes <= most + SLACK, "%s: %lld bytes, more than %lld", what, bytes, most);
}

START_TEST(scoring_does_not_grow_with_the_text)
{
    enum { TEXT = 60 * SHORT + 1 }; /* windows of one size, as in the shorter text */
    static uint32_t ids[TEXT];
    static float log_probs[TEXT];
    tlm_model_t *small = make_model(SHORT, 8), *large = make_model(LONG, 8);
    long long window, kept;

    /* Products inside tasks take buffers from a cache, as many as run at once. */
    ASSERT_OK(tlm_set_num_threads(1));
    for (uint32_t i = 0; i < TEXT; i++)
        ids[i] = (i * i + i / 5) % VOCAB;
    score(NULL, small, ids, TEXT); /* fills the cache of buffers */
    window = score(NULL, small, ids, 3 * SHORT + 1);
    kept = score(log_probs, small, ids, 3 * SHORT + 1);
    check_at_most("a long text", score(NULL, small, ids, TEXT), window);
    check_at_most("a long text's log_probs", score(log_probs, small, ids, TEXT), kept);
    check_at_most("log_probs", kept, window);
    check_at_most("a long context", score(NULL, large, ids, 4), window);
    tlm_model_free(small);
    tlm_model_free(large);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("generate_memory");
    TCase *tcase = tcase_create("generate_memory");

    tcase_add_test(tcase, generation_follows_its_tokens);
    tcase_add_test(tcase, a_few_tokens_cost_little);
    tcase_add_test(tcase, scoring_does_not_grow_with_the_text);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
