/* The number of threads changes while handles live: between calls, and by another thread at any
 * moment. Each kind of handle is driven through a life of several calls, whose results are hashed:
 * they must be the bits of a life on one thread, and the sanitizers must find no memory that was
 * sized by a number of threads which has changed since. */
#include "base_support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/thread_pool.h"

enum {
    VOCAB = 70,
    CONTEXT = 80,
    BATCH = 2,
    CALLS = 5,
    TEXT_SIZE = 1 << 18,
    ROWS = 300,
    COLUMNS = 700
};

/* ---- What lives share --------------------------------------------------------------------------- */

typedef struct life {
    uint64_t hash;
    bool counted; /* the number of threads is set before each call */
    int call;
} life_t;

static char *text; /* TEXT_SIZE bytes */
static tlm_tokenizer_t *tokenizer;

/* FNV-1a */
static void note(life_t *life, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        life->hash = (life->hash ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
}

/* Before each call of a life: up and down, and past the number of CPUs. */
static void next_call(life_t *life)
{
    static const int32_t counts[] = {1, 8, 2, 13, 1, 5, 3, 16};

    if (life->counted)
        ASSERT_OK(tlm_set_num_threads(counts[(size_t)life->call++ % COUNT(counts)]));
}

/* Large enough that products, losses and attention are cut into tasks. */
static tlm_model_t *make_model(void)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    options.vocab_size = VOCAB;
    options.context_length = CONTEXT;
    options.d_model = 96;
    options.num_layers = 2;
    options.num_heads = 6;
    options.seed = 3;
    ASSERT_OK(tlm_model_create(&model, &options));
    return model;
}

static void fill_ids(uint32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)(i * i * 7 + i / 3) % VOCAB;
}

static tlm_dataset_t *make_dataset(void)
{
    uint32_t ids[1500];
    tlm_dataset_t *dataset;

    fill_ids(ids, COUNT(ids));
    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, COUNT(ids)));
    return dataset;
}

static tlm_loader_t *make_loader(const tlm_dataset_t *dataset, int32_t prefetch)
{
    tlm_loader_options_t options = TLM_LOADER_OPTIONS_INIT;
    tlm_loader_t *loader;

    options.batch_size = BATCH;
    options.context_length = CONTEXT;
    options.order = TLM_ORDER_SHUFFLED;
    options.prefetch = prefetch;
    ASSERT_OK(tlm_loader_create(&loader, dataset, &options));
    return loader;
}

static void note_ids(life_t *life, const uint32_t *ids, size_t n)
{
    note(life, &n, sizeof(n));
    note(life, ids, n * sizeof(*ids));
}

/* ---- Lives -------------------------------------------------------------------------------------- */

/* A prompt in several pieces, single steps, several sequences, and the window's slide. */
static void generator_life(life_t *life)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    tlm_model_t *model = make_model();
    tlm_generator_t *generator;
    uint32_t prompt[CONTEXT];
    size_t sequence, n;
    const uint32_t *ids;
    const float *log_probs;

    fill_ids(prompt, CONTEXT);
    next_call(life);
    ASSERT_OK(tlm_generator_create(&generator, model));
    options.max_tokens = 3 * CALLS;
    options.temperature = 1.0;
    for (int call = 0; call < 3 * CALLS; call++) {
        next_call(life);
        if (call % 4 == 0)
            ASSERT_OK(tlm_generator_add(&sequence, generator, prompt,
                                        (size_t)(CONTEXT - 5 - 9 * call % CONTEXT), &options));
        ASSERT_OK(tlm_generator_step(NULL, generator));
    }
    for (size_t i = 0; i <= sequence; i++) {
        ASSERT_OK(tlm_generator_tokens(&ids, &log_probs, &n, generator, i));
        note_ids(life, ids, n);
        note(life, log_probs, n * sizeof(*log_probs));
    }
    tlm_generator_free(generator);
    tlm_model_free(model);
}

static void score_life(life_t *life)
{
    tlm_model_t *model = make_model();
    uint32_t ids[3 * CONTEXT];
    float log_probs[3 * CONTEXT];

    fill_ids(ids, COUNT(ids));
    for (int call = 0; call < CALLS; call++) {
        next_call(life);
        ASSERT_OK(tlm_model_score(NULL, log_probs, model, ids, COUNT(ids), 0));
        note(life, log_probs, (COUNT(ids) - 1) * sizeof(*log_probs));
    }
    tlm_model_free(model);
}

/* A model and an optimizer: forward, backward and step each on another number of threads. */
static void model_life(life_t *life)
{
    tlm_model_t *model = make_model();
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss;
    uint32_t ids[BATCH * CONTEXT + 1];
    float value;
    size_t n;

    fill_ids(ids, COUNT(ids));
    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, tensors, n, NULL));
    for (int call = 0; call < CALLS; call++) {
        tlm_optimizer_zero_grad(optimizer);
        next_call(life);
        ASSERT_OK(tlm_model_loss(&loss, model, ids, ids + 1, BATCH, CONTEXT));
        ASSERT_OK(tlm_tensor_item(&value, loss));
        note(life, &value, sizeof(value));
        next_call(life);
        ASSERT_OK(tlm_tensor_backward(loss, NULL));
        tlm_tensor_free(loss);
        next_call(life);
        ASSERT_OK(tlm_optimizer_step(optimizer));
    }
    for (size_t i = 0; i < n; i++)
        note(life, tlm_tensor_data(tensors[i]),
             (size_t)tlm_tensor_numel(tensors[i]) * sizeof(float));
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}

/* The same with products in bfloat16: by the CPU's instructions, if it has them, and by the portable kernel. */
static void bfloat16_life(life_t *life)
{
    if (tlm_set_products(TLM_PRODUCTS_BFLOAT16) == TLM_OK)
        model_life(life);
    ASSERT_OK(tlm_set_products(TLM_PRODUCTS_BFLOAT16_EMULATED));
    model_life(life);
    ASSERT_OK(tlm_set_products(TLM_PRODUCTS_FLOAT32));
}

static void note_halves(life_t *life, tlm_tensor_t *halves)
{
    note(life, tlm_tensor_data(halves), (size_t)tlm_tensor_numel(halves) * sizeof(uint16_t));
    tlm_tensor_free(halves);
}

/* Conversions, and layers that compute in float32 and round. */
static void half_life(life_t *life, int32_t dtype)
{
    static float values[ROWS][COLUMNS];
    const int64_t shape[] = {ROWS, COLUMNS};
    tlm_tensor_t *floats, *x, *gain, *y;

    for (int i = 0; i < ROWS * COLUMNS; i++)
        values[i / COLUMNS][i % COLUMNS] = (float)(i * 7919 % 20011 - 10005) * 1e-3f;
    ASSERT_OK(tlm_tensor_from_data(&floats, TLM_FLOAT32, values, shape, 2));
    next_call(life);
    ASSERT_OK(tlm_tensor_convert(&x, floats, dtype));
    tlm_tensor_free(floats);
    ASSERT_OK(tlm_tensor_from_data(&gain, dtype, tlm_tensor_data(x), &shape[1], 1));
    next_call(life);
    ASSERT_OK(tlm_rms_norm(&y, x, gain, 1e-5f));
    note_halves(life, y);
    next_call(life);
    ASSERT_OK(tlm_softmax(&y, x, 1));
    note_halves(life, y);
    tlm_tensor_free(gain);
    note_halves(life, x);
}

static void halves_life(life_t *life)
{
    half_life(life, TLM_BFLOAT16);
    half_life(life, TLM_FLOAT16);
}

static void trainer_life(life_t *life)
{
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_model_t *model = make_model();
    tlm_dataset_t *dataset = make_dataset();
    tlm_loader_t *loader = make_loader(dataset, 2);
    tlm_train_step_t step = TLM_TRAIN_STEP_INIT;
    tlm_optimizer_t *optimizer;
    tlm_trainer_t *trainer;

    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, 0, NULL));
    options.steps = CALLS;
    options.valid = dataset;
    options.clip_norm = 1.0;
    ASSERT_OK(tlm_trainer_create(&trainer, model, optimizer, loader, &options));
    for (int call = 0; call < CALLS; call++) {
        tlm_evaluation_t evaluation = TLM_EVALUATION_INIT;

        next_call(life);
        ASSERT_OK(tlm_trainer_step(&step, trainer));
        note(life, &step.loss, sizeof(step.loss));
        next_call(life);
        ASSERT_OK(tlm_trainer_evaluate(&evaluation, trainer));
        note(life, &evaluation.loss, sizeof(evaluation.loss));
    }
    tlm_trainer_free(trainer);
    tlm_optimizer_free(optimizer);
    tlm_loader_free(loader);
    tlm_dataset_free(dataset);
    tlm_model_free(model);
}

/* A data set and loaders, with and without a thread of their own. */
static void loader_life(life_t *life)
{
    tlm_dataset_t *dataset = make_dataset();
    tlm_loader_t *loaders[] = {make_loader(dataset, 0), make_loader(dataset, 3)};
    uint32_t inputs[BATCH * CONTEXT], targets[BATCH * CONTEXT];
    const uint32_t *x, *y;

    for (int call = 0; call < CALLS; call++)
        for (size_t i = 0; i < COUNT(loaders); i++) {
            next_call(life);
            ASSERT_OK(tlm_loader_next(&x, &y, loaders[i]));
            note_ids(life, x, BATCH * CONTEXT);
            next_call(life);
            ASSERT_OK(
                tlm_dataset_sample(inputs, targets, dataset, BATCH, CONTEXT, 5, (uint64_t)call));
            note_ids(life, targets, BATCH * CONTEXT);
        }
    tlm_loader_free(loaders[0]);
    tlm_loader_free(loaders[1]);
    tlm_dataset_free(dataset);
}

static void tokenizer_life(life_t *life)
{
    for (int call = 0; call < CALLS; call++) {
        tlm_bytes_t texts[40];
        uint32_t *ids;
        size_t *offsets, n, size;
        uint64_t count;
        uint8_t *bytes;

        for (size_t i = 0; i < COUNT(texts); i++)
            texts[i] = (tlm_bytes_t){(const uint8_t *)text + i * 911, 5000 + 37 * i};
        next_call(life);
        ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text, TEXT_SIZE));
        note_ids(life, ids, n);
        next_call(life);
        ASSERT_OK(tlm_tokenizer_decode(&bytes, &size, tokenizer, ids, n));
        note(life, bytes, size);
        tlm_free(bytes);
        tlm_free(ids);
        next_call(life);
        ASSERT_OK(tlm_tokenizer_count(&count, tokenizer, text, TEXT_SIZE));
        note(life, &count, sizeof(count));
        next_call(life);
        ASSERT_OK(tlm_tokenizer_encode_batch(&ids, &offsets, tokenizer, texts, COUNT(texts), NULL));
        note_ids(life, ids, offsets[COUNT(texts)]);
        tlm_free(ids);
        tlm_free(offsets);
    }
}

static int32_t note_callback(void *user, const uint32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) /* however the ids come in pieces */
        note(user, &ids[i], sizeof(ids[i]));
    return 0;
}

static void stream_life(life_t *life)
{
    tlm_encoder_t *encoder;
    tlm_decoder_t *decoder;
    const char *piece;
    size_t size;

    ASSERT_OK(tlm_encoder_create(&encoder, tokenizer, note_callback, life));
    ASSERT_OK(tlm_decoder_create(&decoder, tokenizer));
    for (int call = 0; call < CALLS; call++) {
        next_call(life);
        ASSERT_OK(tlm_encoder_push(encoder, text + call * 1000, (size_t)(1 + call) * 40000));
        next_call(life);
        ASSERT_OK(tlm_decoder_push(&piece, &size, decoder, (uint32_t)(250 + call)));
        note(life, piece, size);
    }
    next_call(life);
    ASSERT_OK(tlm_encoder_finish(encoder));
    tlm_encoder_free(encoder);
    tlm_decoder_free(decoder);
}

static void note_tokenizer(life_t *life, const tlm_tokenizer_t *made)
{
    for (uint32_t i = 0; i < tlm_tokenizer_num_merges(made); i++) {
        uint32_t pair[2];

        ASSERT_OK(tlm_tokenizer_merge(&pair[0], &pair[1], made, i));
        note(life, pair, sizeof(pair));
    }
}

static void bpe_trainer_life(life_t *life)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *made;

    options.vocab_size = 300;
    next_call(life);
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    for (int call = 0; call < CALLS; call++) {
        next_call(life);
        ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text + call * 777, TEXT_SIZE / 2));
        next_call(life);
        ASSERT_OK(tlm_bpe_trainer_push(trainer, text, 3000));
    }
    next_call(life);
    ASSERT_OK(tlm_bpe_trainer_train(&made, trainer));
    note_tokenizer(life, made);
    tlm_tokenizer_free(made);
    tlm_bpe_trainer_free(trainer);
}

static void file_life(life_t *life)
{
    write_bytes(test_path("text"), text, TEXT_SIZE);
    for (int call = 0; call < CALLS; call++) {
        tlm_dataset_t *dataset;
        uint64_t n;
        uint32_t ids[1000];

        next_call(life);
        ASSERT_OK(tlm_tokenizer_encode_file(&n, tokenizer, test_path("text"),
                                            test_path("tokens.u16"), TLM_TOKENS_AUTO, NULL, NULL));
        next_call(life);
        ASSERT_OK(tlm_dataset_open(&dataset, test_path("tokens.u16"), TLM_TOKENS_AUTO, 0));
        ASSERT_OK(tlm_dataset_read(ids, COUNT(ids), dataset, n - COUNT(ids)));
        note_ids(life, ids, COUNT(ids));
        tlm_dataset_free(dataset);
    }
}

static const struct {
    const char *name;
    void (*live)(life_t *life);
} lives[] = {
    {"generator", generator_life},     {"score", score_life},           {"model", model_life},
    {"bfloat16", bfloat16_life},       {"16-bit tensors", halves_life}, {"trainer", trainer_life},
    {"loader", loader_life},           {"tokenizer", tokenizer_life},   {"streams", stream_life},
    {"bpe_trainer", bpe_trainer_life}, {"token files", file_life},
};

/* ---- Tests -------------------------------------------------------------------------------------- */

static void prepare(void)
{
    static const char *const words[] = {"one ", "threads", "tokens ", "3",
                                        "\n",   "model",   ", ",      "was"};
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;

    if (text != NULL)
        return;
    text = malloc(TEXT_SIZE + 16);
    for (size_t size = 0, i = 1; size < TEXT_SIZE; i = i * 1103515245 + 12345)
        size += (size_t)sprintf(text + size, "%s", words[i >> 16 & 7]);
    options.vocab_size = 400;
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text, TEXT_SIZE));
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
}

static void clean_up(void)
{
    tlm_tokenizer_free(tokenizer);
    free(text);
    text = NULL;
}

static uint64_t live_alone(size_t i)
{
    life_t life = {0, false, 0};

    ASSERT_OK(tlm_set_num_threads(1));
    lives[i].live(&life);
    return life.hash;
}

START_TEST(counts_change_between_calls)
{
    prepare();
    for (size_t i = 0; i < COUNT(lives); i++) {
        uint64_t expected = live_alone(i);

        for (int first = 0; first < 3; first++) { /* other counts for each call */
            life_t life = {0, true, first};

            lives[i].live(&life);
            ck_assert_msg(life.hash == expected, "%s, from count %d", lives[i].name, first);
        }
    }
    clean_up();
}
END_TEST

static atomic_bool stop;

/* While a job holds the pool the call is refused: this one falls into the gaps. */
static void *change_counts(void *argument)
{
    atomic_long *changes = argument;

    for (int32_t count = 1; !atomic_load(&stop); count = count % 16 + 5 * (count % 3) + 1) {
        if (tlm_set_num_threads(count % 16 + 1) == TLM_OK)
            atomic_fetch_add(changes, 1);
        sched_yield();
    }
    return NULL;
}

START_TEST(another_thread_changes_the_count)
{
    atomic_long changes = 0;

    prepare();
    for (size_t i = 0; i < COUNT(lives); i++) {
        uint64_t expected = live_alone(i);
        life_t life = {0, false, 0};
        pthread_t thread;
        long before = atomic_load(&changes);

        atomic_store(&stop, false);
        ck_assert_int_eq(pthread_create(&thread, NULL, change_counts, &changes), 0);
        lives[i].live(&life);
        while (atomic_load(&changes) == before)
            sched_yield();
        atomic_store(&stop, true);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_msg(life.hash == expected, "%s", lives[i].name);
    }
    clean_up();
}
END_TEST

/* ---- Jobs with memory per worker ---------------------------------------------------------------- */

enum { WORKERS = 3, JOB_TASKS = 64 };

typedef struct worker_job {
    atomic_int running[WORKERS];
    atomic_int faults, tasks;
} worker_job_t;

static void use_worker(void *context, int64_t task, int32_t worker)
{
    worker_job_t *job = context;

    (void)task;
    if (worker < 0 || worker >= WORKERS || atomic_fetch_add(&job->running[worker], 1) != 0)
        atomic_fetch_add(&job->faults, 1);
    else
        for (volatile int i = 0; i < 2000; i = i + 1)
            ;
    if (worker >= 0 && worker < WORKERS)
        atomic_fetch_sub(&job->running[worker], 1);
    atomic_fetch_add(&job->tasks, 1);
}

START_TEST(a_job_has_no_more_workers_than_it_says)
{
    for (int32_t threads = 1; threads <= 8; threads++) {
        worker_job_t job = {.faults = 0};

        ASSERT_OK(tlm_set_num_threads(threads));
        for (int i = 0; i < 20; i++)
            tlmi_parallel_for_workers(JOB_TASKS, WORKERS, use_worker, &job);
        ck_assert_int_eq(atomic_load(&job.faults), 0);
        ck_assert_int_eq(atomic_load(&job.tasks), 20 * JOB_TASKS);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {counts_change_between_calls, another_thread_changes_the_count,
                                  a_job_has_no_more_workers_than_it_says};

    return run_tests("thread counts", tests, COUNT(tests));
}
