/* Programs with threads and processes of their own: objects of different threads do not meet, immutable
 * ones are shared, and a forked child goes on. That results have the same bits on any number of the
 * library's threads is tested beside each op, layer and the model. */
#include "base_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tokenizer/pretokenize/pretokenize.h"

enum { VOCAB = 60, BATCH = 2, TIME = 20, STEPS = 3 };

typedef struct losses {
    float values[STEPS];
} losses_t;

/* Losses of a few training steps; everything in them follows from the seed. */
static tlm_status_t train(losses_t *losses, uint64_t seed)
{
    tlm_model_options_t options = {.size = sizeof(options),
                                   .vocab_size = VOCAB,
                                   .context_length = TIME,
                                   .d_model = 48,
                                   .num_layers = 2,
                                   .num_heads = 4,
                                   .seed = seed};
    uint32_t inputs[BATCH * TIME], targets[BATCH * TIME];
    tlm_model_t *model = NULL;
    tlm_optimizer_t *optimizer = NULL;
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss = NULL;
    tlm_status_t status;
    size_t n;

    for (uint32_t i = 0; i < BATCH * TIME; i++) {
        inputs[i] = (i * 7 + (uint32_t)seed) % VOCAB;
        targets[i] = (i * 11 + 3) % VOCAB;
    }
    status = tlm_model_create(&model, &options);
    if (status == TLM_OK)
        status = tlm_model_parameters(&tensors, &n, model);
    if (status == TLM_OK)
        status = tlm_optimizer_create_adamw(&optimizer, NULL);
    if (status == TLM_OK)
        status = tlm_optimizer_add_group(optimizer, tensors, n, NULL);
    for (int step = 0; step < STEPS && status == TLM_OK; step++) {
        tlm_optimizer_zero_grad(optimizer);
        status = tlm_model_loss(&loss, model, inputs, targets, BATCH, TIME);
        if (status == TLM_OK)
            status = tlm_tensor_item(&losses->values[step], loss);
        if (status == TLM_OK)
            status = tlm_tensor_backward(loss, NULL);
        if (status == TLM_OK)
            status = tlm_optimizer_step(optimizer);
        tlm_tensor_free(loss);
        loss = NULL;
    }
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    return status;
}

static bool trains_alike(const losses_t *expected, uint64_t seed)
{
    losses_t losses;

    return train(&losses, seed) == TLM_OK && memcmp(&losses, expected, sizeof(losses)) == 0;
}

static losses_t train_alone(uint64_t seed)
{
    losses_t losses;

    ASSERT_OK(train(&losses, seed));
    /* Written so that NaN fails. */
    ck_assert(losses.values[STEPS - 1] < losses.values[0]);
    return losses;
}

/* ---- Processes ---------------------------------------------------------------------------------- */

/* The thread sanitizer cannot follow a child that starts threads. */
#if !defined(__SANITIZE_THREAD__)

static void assert_child_succeeds(pid_t child)
{
    int status;

    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %x", status);
}

START_TEST(a_child_uses_the_pool_again)
{
    losses_t losses;
    pid_t child;

    ASSERT_OK(tlm_set_num_threads(3));
    losses = train_alone(1);
    child = fork();
    if (child == 0) {
        pid_t grandchild;
        int status;

        if (!trains_alike(&losses, 1))
            _exit(1);
        grandchild = fork();
        if (grandchild == 0)
            _exit(trains_alike(&losses, 1) ? 0 : 1);
        _exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 2);
    }
    ck_assert(trains_alike(&losses, 1)); /* while the child works */
    assert_child_succeeds(child);
    ck_assert(trains_alike(&losses, 1));
}
END_TEST

START_TEST(a_child_changes_the_number_of_threads)
{
    losses_t losses;
    pid_t child;

    ASSERT_OK(tlm_set_num_threads(2));
    losses = train_alone(1);
    child = fork();
    if (child == 0) {
        for (int32_t threads = 4; threads > 0; threads--)
            if (tlm_set_num_threads(threads) != TLM_OK || !trains_alike(&losses, 1))
                _exit(1);
        _exit(0);
    }
    assert_child_succeeds(child);
    ck_assert_int_eq(tlm_num_threads(), 2);
}
END_TEST

/* The sanitizer's allocator may itself be locked at such a fork. */
#if !defined(__SANITIZE_ADDRESS__)
static atomic_bool stop;

static void *train_until_stopped(void *argument)
{
    losses_t losses;

    (void)argument;
    while (!atomic_load(&stop))
        if (train(&losses, 2) != TLM_OK)
            return "training failed";
    return NULL;
}

static tlm_status_t compile_pattern(void)
{
    tlmi_regex_t *regex = NULL;
    tlm_status_t status = tlmi_regex_create(&regex, "a|b", TLMI_REGEX_PERL);

    tlmi_regex_free(regex);
    return status;
}

static void *compile_until_stopped(void *argument)
{
    (void)argument;
    while (!atomic_load(&stop))
        if (compile_pattern() != TLM_OK)
            return "compiling a pattern failed";
    return NULL;
}

START_TEST(a_fork_may_fall_into_another_threads_pattern)
{
    pthread_t threads[6]; /* one of them often waits while it holds the lock */
    void *fault;

    atomic_store(&stop, false);
    for (size_t i = 0; i < COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, compile_until_stopped, NULL), 0);
    for (int i = 0; i < 100; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(compile_pattern() == TLM_OK ? 0 : 1);
        assert_child_succeeds(child);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT(threads); i++) {
        ck_assert_int_eq(pthread_join(threads[i], &fault), 0);
        ck_assert_msg(fault == NULL, "%s", (const char *)fault);
    }
}
END_TEST

START_TEST(a_fork_may_fall_into_another_threads_work)
{
    losses_t losses;
    pthread_t thread;
    void *fault;

    ASSERT_OK(tlm_set_num_threads(2));
    losses = train_alone(1);
    atomic_store(&stop, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, train_until_stopped, NULL), 0);
    for (int i = 0; i < 30; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(trains_alike(&losses, 1) ? 0 : 1);
        assert_child_succeeds(child);
    }
    atomic_store(&stop, true);
    ck_assert_int_eq(pthread_join(thread, &fault), 0);
    ck_assert_msg(fault == NULL, "%s", (const char *)fault);
}
END_TEST
#endif
#endif

/* ---- Threads ------------------------------------------------------------------------------------ */

typedef struct training {
    uint64_t seed;
    losses_t expected;
    bool same;
} training_t;

static void *train_in_thread(void *argument)
{
    training_t *training = argument;

    training->same = true;
    for (int i = 0; i < 5; i++)
        training->same = trains_alike(&training->expected, training->seed) && training->same;
    return NULL;
}

START_TEST(threads_train_models_of_their_own)
{
    training_t trainings[3];
    pthread_t threads[COUNT(trainings)];

    for (int32_t count = 1; count <= 3; count += 2) {
        ASSERT_OK(tlm_set_num_threads(count));
        for (size_t i = 0; i < COUNT(trainings); i++)
            trainings[i] = (training_t){i + 1, train_alone(i + 1), false};
        for (size_t i = 0; i < COUNT(trainings); i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, train_in_thread, &trainings[i]), 0);
        for (size_t i = 0; i < COUNT(trainings); i++) {
            ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
            ck_assert(trainings[i].same);
        }
    }
}
END_TEST

static void *disable_gradients(void *argument)
{
    bool former = tlm_set_grad_enabled(false);

    (void)argument;
    return former && !tlm_grad_enabled() ? NULL : "gradients were off in a new thread";
}

START_TEST(the_recording_of_ops_is_each_threads_own)
{
    pthread_t thread;
    void *fault;

    ck_assert_int_eq(pthread_create(&thread, NULL, disable_gradients, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, &fault), 0);
    ck_assert_msg(fault == NULL, "%s", (const char *)fault);
    ck_assert(tlm_grad_enabled());
}
END_TEST

static const char text[] =
    "one tokenizer, many threads: it is immutable, and so it is shared freely; "
    "one one two three three three";

static void *encode_and_decode(void *argument)
{
    const tlm_tokenizer_t *tokenizer = argument;

    for (int i = 0; i < 200; i++) {
        size_t length = sizeof(text) - 1 - (size_t)i % 40, n, size;
        uint32_t *ids;
        uint8_t *bytes;
        bool same;

        if (tlm_tokenizer_encode(&ids, &n, tokenizer, text, length) != TLM_OK)
            return "encoding failed";
        if (tlm_tokenizer_decode(&bytes, &size, tokenizer, ids, n) != TLM_OK)
            return "decoding failed";
        same = size == length && memcmp(bytes, text, size) == 0;
        tlm_free(ids);
        tlm_free(bytes);
        if (!same)
            return "the text did not come back";
    }
    return NULL;
}

/* With a pattern of the user's own too, which Oniguruma matches. */
START_TEST(threads_share_a_tokenizer)
{
    static const char *const patterns[] = {NULL, "\\w+|\\s+|[^\\w\\s]+"};

    for (size_t p = 0; p < COUNT(patterns); p++) {
        tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
        tlm_bpe_trainer_t *trainer;
        tlm_tokenizer_t *tokenizer;
        pthread_t threads[4];
        void *fault;

        options.vocab_size = 280;
        options.pattern = patterns[p];
        ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
        ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text, sizeof(text) - 1));
        ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
        tlm_bpe_trainer_free(trainer);
        for (size_t i = 0; i < COUNT(threads); i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, encode_and_decode, tokenizer), 0);
        for (size_t i = 0; i < COUNT(threads); i++) {
            ck_assert_int_eq(pthread_join(threads[i], &fault), 0);
            ck_assert_msg(fault == NULL, "%s", (const char *)fault);
        }
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
#if !defined(__SANITIZE_THREAD__)
        a_child_uses_the_pool_again,
        a_child_changes_the_number_of_threads,
#if !defined(__SANITIZE_ADDRESS__)
        a_fork_may_fall_into_another_threads_work,
        a_fork_may_fall_into_another_threads_pattern,
#endif
#endif
        threads_train_models_of_their_own,
        the_recording_of_ops_is_each_threads_own,
        threads_share_a_tokenizer,
    };
    return run_tests("threads", tests, COUNT(tests));
}
