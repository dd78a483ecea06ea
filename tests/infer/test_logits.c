/* Logits on their way to a token: biases, and the callback that changes them or chooses. */
#include "reference_model.h"
#include "run_suite.h"

enum { VOCAB = 40, NEW = 12 };

static tlm_model_t *make_model(void)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    options.vocab_size = VOCAB;
    options.context_length = 64;
    options.d_model = 16;
    options.num_layers = 2;
    options.num_heads = 4;
    options.d_ff = 24;
    options.seed = 5;
    ASSERT_OK(tlm_model_create(&model, &options));
    return model;
}

/* What a callback does, and what it saw. */
typedef struct listener {
    size_t sequence, calls;
    bool (*allowed)(uint32_t id); /* NULL: all */
    float value;                  /* of the others */
    uint32_t bad_token;           /* chosen in the second call, if not 0 */
    size_t end_after;             /* calls; 0: never */
    uint32_t seen[NEW];
    float logits[NEW][VOCAB];
} listener_t;

static int32_t listen(void *user, size_t sequence, const uint32_t *ids, size_t n, float *logits,
                      size_t vocab_size, uint32_t *token)
{
    listener_t *listener = user;

    ck_assert_uint_eq(vocab_size, VOCAB);
    ck_assert_uint_eq(sequence, listener->sequence);
    ck_assert_uint_eq(n, listener->calls);
    ck_assert_uint_eq(*token, UINT32_MAX);
    memcpy(listener->seen, ids, n * sizeof(*ids));
    memcpy(listener->logits[n], logits, vocab_size * sizeof(*logits));
    listener->calls++;
    if (listener->bad_token != 0 && n == 1)
        *token = listener->bad_token;
    for (uint32_t i = 0; listener->allowed != NULL && i < vocab_size; i++)
        if (!listener->allowed(i))
            logits[i] = listener->value;
    return listener->calls == listener->end_after;
}

static bool is_even(uint32_t id)
{
    return id % 2 == 0;
}

static bool is_seven(uint32_t id)
{
    return id == 7;
}

static bool is_nothing(uint32_t id)
{
    return id >= VOCAB;
}

static tlm_generate_options_t options_for(listener_t *listener)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;

    options.max_tokens = NEW;
    options.on_logits = listener == NULL ? NULL : listen;
    options.logits_user = listener;
    return options;
}

static const uint32_t prompt[3] = {1, 2, 3};

static uint32_t *generate(size_t *n, tlm_model_t *model, const tlm_generate_options_t *options)
{
    uint32_t *ids;

    ASSERT_OK(tlm_model_generate(&ids, n, model, prompt, 3, options, NULL, NULL));
    return ids;
}

/* ---- The callback ------------------------------------------------------------------------- */

START_TEST(a_mask_holds_however_tokens_are_drawn)
{
    tlm_model_t *model = make_model();

    for (int way = 0; way < 64; way++) {
        listener_t listener = {.allowed = way % 2 == 0 ? is_even : is_seven, .value = -INFINITY};
        tlm_generate_options_t options = options_for(&listener);
        size_t n;

        options.temperature = way / 2 % 2 == 0 ? 0.0 : 1.5;
        options.top_k = way / 4 % 2 == 0 ? 0 : 30;
        options.top_p = way / 8 % 2 == 0 ? 0.0 : 0.9;
        options.min_p = way / 16 % 2 == 0 ? 0.0 : 0.01;
        options.repetition_penalty = way / 32 % 2 == 0 ? 0.0 : 1e300;
        options.seed = (uint64_t)way;
        uint32_t *ids = generate(&n, model, &options);
        ck_assert(n == NEW && listener.calls == NEW);
        for (size_t i = 0; i < n; i++)
            ck_assert(listener.allowed(ids[i]));
        ck_assert_mem_eq(listener.seen, ids, (NEW - 1) * sizeof(*ids));
        tlm_free(ids);
    }
    tlm_model_free(model);
}
END_TEST

/* It sees the model's logits, and what it leaves alone changes nothing. */
START_TEST(a_callback_that_only_looks)
{
    tlm_model_t *model = make_model();
    listener_t listener = {.calls = 0};
    tlm_generate_options_t options = options_for(NULL);
    uint32_t ids[3 + NEW], *silent, *watched;
    size_t n;

    options.temperature = 1.0;
    silent = generate(&n, model, &options);
    options.on_logits = listen;
    options.logits_user = &listener;
    watched = generate(&n, model, &options);
    ck_assert_mem_eq(silent, watched, NEW * sizeof(*ids));
    memcpy(ids, prompt, sizeof(prompt));
    memcpy(ids + 3, watched, NEW * sizeof(*ids));
    for (size_t i = 0; i < NEW; i++) {
        tlm_tensor_t *logits;

        ASSERT_OK(tlm_model_forward(&logits, model, ids, 1, (int64_t)(3 + i)));
        for (size_t k = 0; k < VOCAB; k++)
            ck_assert(fabsf(listener.logits[i][k] -
                            ((float *)tlm_tensor_data(logits))[(2 + i) * VOCAB + k]) <= 2e-5f);
        tlm_tensor_free(logits);
    }
    tlm_free(silent);
    tlm_free(watched);
    tlm_model_free(model);
}
END_TEST

/* The others of a batch go on. */
START_TEST(failures_are_those_of_one_sequence)
{
    static const struct {
        listener_t listener;
        tlm_status_t status;
        const char *message;
    } cases[] = {
        {{.allowed = is_nothing, .value = -INFINITY},
         TLM_ERR_NON_FINITE,
         "no token is left to choose in sequence 1: the logits of all 40 tokens are -inf"},
        {{.allowed = is_even, .value = NAN},
         TLM_ERR_NON_FINITE,
         "on_logits made the logit of token 1 nan in sequence 1"},
        {{.allowed = is_even, .value = INFINITY}, TLM_ERR_NON_FINITE, "token 1 inf"},
        {{.bad_token = VOCAB}, TLM_ERR_RANGE, "on_logits chose token 40 in sequence 1"},
    };
    tlm_model_t *model = make_model();
    listener_t listener = cases[_i].listener;
    const tlm_generate_options_t plain = options_for(NULL), options = options_for(&listener);
    tlm_generator_t *generator;
    size_t sequence, n, failures = 0, running = 1;
    int32_t state;

    listener.sequence = 1;
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, 3, &plain));
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, 3, &options));
    while (running > 0) {
        tlm_status_t status = tlm_generator_step(&running, generator);

        if (status != TLM_OK) {
            ck_assert_int_eq(status, cases[_i].status);
            ck_assert_msg(strstr(tlm_error_message(), cases[_i].message) != NULL, "%s",
                          tlm_error_message());
            failures++;
        }
    }
    ck_assert_uint_eq(failures, 1);
    ASSERT_OK(tlm_generator_state(&state, generator, 1));
    ck_assert_int_eq(state, TLM_GENERATION_FAILED);
    ASSERT_OK(tlm_generator_tokens(NULL, NULL, &n, generator, 1));
    ck_assert_uint_eq(n, cases[_i].status == TLM_ERR_RANGE ? 1 : 0);
    ASSERT_OK(tlm_generator_tokens(NULL, NULL, &n, generator, 0));
    ck_assert_uint_eq(n, NEW);
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

START_TEST(the_callback_chooses_and_ends)
{
    tlm_model_t *model = make_model();
    listener_t listener = {.bad_token = 39, .end_after = 5};
    tlm_generate_options_t options = options_for(&listener);
    tlm_generator_t *generator;
    const float *log_probs;
    const uint32_t *ids;
    size_t sequence, running, n;
    int32_t state;

    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, 3, &options));
    do
        ASSERT_OK(tlm_generator_step(&running, generator));
    while (running > 0);
    ASSERT_OK(tlm_generator_state(&state, generator, 0));
    ck_assert_int_eq(state, TLM_GENERATION_CALLBACK);
    ASSERT_OK(tlm_generator_tokens(&ids, &log_probs, &n, generator, 0));
    ck_assert(n == 4 && ids[1] == 39 && listener.calls == 5);
    double sum = 0.0;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)listener.logits[1][i]);
    ck_assert(fabs((double)log_probs[1] - ((double)listener.logits[1][39] - log(sum))) < 1e-5);
    options.has_end_token = true; /* which may be chosen too */
    options.end_token = 39;
    listener.calls = 0;
    ASSERT_OK(tlm_generator_extend(generator, 0, 3, NULL, 0, &options));
    do
        ASSERT_OK(tlm_generator_step(&running, generator));
    while (running > 0);
    ASSERT_OK(tlm_generator_state(&state, generator, 0));
    ck_assert_int_eq(state, TLM_GENERATION_END);
    tlm_generator_free(generator);
    tlm_model_free(model);
}
END_TEST

/* ---- Biases ------------------------------------------------------------------------------- */

START_TEST(biases_are_added)
{
    tlm_model_t *model = make_model();
    listener_t bare = {.calls = 0}, biased = {.calls = 0};
    tlm_generate_options_t options = options_for(&bare);
    const tlm_logit_bias_t biases[] = {
        {5, 1.5f}, {9, -INFINITY}, {5, -0.25f}, {9, 3.0f}, {2, 3e38f}};
    size_t n;

    tlm_free(generate(&n, model, &options));
    options.logits_user = &biased;
    options.logit_bias = biases;
    options.num_logit_biases = 5;
    uint32_t *ids = generate(&n, model, &options);
    ck_assert_uint_eq(ids[0], 2);
    for (uint32_t i = 0; i < VOCAB; i++) {
        const float expected = i == 9 ? -INFINITY : i == 2 ? 3e38f : bare.logits[0][i];

        if (i == 5)
            ck_assert(fabsf(biased.logits[0][i] - (expected + 1.25f)) < 1e-5f);
        else
            ck_assert(biased.logits[0][i] == expected);
    }
    tlm_free(ids);
    tlm_model_free(model);
}
END_TEST

START_TEST(excluding_all_but_one_and_all)
{
    tlm_model_t *model = make_model();
    tlm_generate_options_t options = options_for(NULL);
    tlm_logit_bias_t biases[VOCAB];
    uint32_t *ids = NULL;
    size_t n;

    for (uint32_t i = 0; i < VOCAB; i++)
        biases[i] = (tlm_logit_bias_t){i, -INFINITY};
    options.logit_bias = biases;
    options.num_logit_biases = VOCAB - 1;
    options.temperature = 1.0;
    ids = generate(&n, model, &options);
    for (size_t i = 0; i < n; i++)
        ck_assert_uint_eq(ids[i], VOCAB - 1);
    tlm_free(ids);
    ids = NULL;
    options.num_logit_biases = VOCAB;
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "no token is left to choose in sequence 0",
                 tlm_model_generate(&ids, &n, model, prompt, 3, &options, NULL, NULL));
    biases[3].bias = NAN;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "logit bias 3, for token 3, is nan",
                 tlm_model_generate(&ids, &n, model, prompt, 3, &options, NULL, NULL));
    biases[3].bias = INFINITY;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "logit bias 3, for token 3, is inf",
                 tlm_model_generate(&ids, &n, model, prompt, 3, &options, NULL, NULL));
    biases[3] = (tlm_logit_bias_t){VOCAB, 0.0f};
    ASSERT_FAILS(TLM_ERR_RANGE, "logit bias 3 is for token 40",
                 tlm_model_generate(&ids, &n, model, prompt, 3, &options, NULL, NULL));
    options.logit_bias = NULL;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "logit_bias is NULL",
                 tlm_model_generate(&ids, &n, model, prompt, 3, &options, NULL, NULL));
    ck_assert_ptr_null(ids);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logits");
    TCase *tcase = tcase_create("logits");

    tcase_add_test(tcase, a_mask_holds_however_tokens_are_drawn);
    tcase_add_test(tcase, a_callback_that_only_looks);
    tcase_add_loop_test(tcase, failures_are_those_of_one_sequence, 0, 4);
    tcase_add_test(tcase, the_callback_chooses_and_ends);
    tcase_add_test(tcase, biases_are_added);
    tcase_add_test(tcase, excluding_all_but_one_and_all);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
