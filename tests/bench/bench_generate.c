/* Generation beside the memory that it reads: a token needs each weight once, so the time in which a
 * buffer of that size can be read is the floor. Both are timed in turn, since the memory's speed
 * changes with what else the machine does. For three sizes of model, 1 thread and 2:
 *
 *     build/tests/bench/bench_generate [steps] [number of the model, from 1, or a model's file]
 *
 * Small models fit in a cache, and then it is the cache's bandwidth that counts: the buffer is read
 * over and over like the weights. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/thread_pool.h"
#include "bench_clock.h"
#include "tensor/tensor_core.h"
#include "tinylm/tinylm.h"

static const struct {
    const char *name;
    int64_t vocab_size, context_length, d_model, num_layers, num_heads, d_ff;
} shapes[] = {
    {"small", 1024, 128, 128, 4, 4, 0},
    {"CS336", 10000, 256, 512, 4, 16, 1344},
    {"GPT-2 small", 50257, 1024, 768, 12, 12, 0},
};

static void check(tlm_status_t status)
{
    if (status != TLM_OK) {
        fprintf(stderr, "bench_generate: %s\n", tlm_error_message());
        exit(1);
    }
}

/* ---- The floor ---- */

enum { PIECE = 1 << 17 }; /* bytes of a task, as many as one of a step's projections */

typedef uint64_t vector_t __attribute__((vector_size(32)));

typedef struct reading {
    const vector_t *data;
    size_t bytes;
    vector_t *sums; /* a worker each, so that the reading cannot be left out */
} reading_t;

#if defined(__x86_64__)
__attribute__((target_clones("avx2", "default")))
#endif
static void
read_piece(vector_t *sum, const vector_t *data, size_t n)
{
    vector_t sums[8] = {{0}};

    for (size_t i = 0; i + 8 <= n; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums[k] ^= data[i + k];
    for (size_t k = 0; k < 8; k++)
        *sum ^= sums[k];
}

static void read_task(void *context, int64_t task, int32_t worker)
{
    const reading_t *reading = context;
    size_t begin = (size_t)task * PIECE;
    size_t bytes = reading->bytes - begin < PIECE ? reading->bytes - begin : PIECE;

    read_piece(&reading->sums[2 * worker], reading->data + begin / sizeof(vector_t),
               bytes / sizeof(vector_t));
}

static double time_reading(const void *data, size_t bytes)
{
    static vector_t sums[2 * TLM_MAX_THREADS];
    reading_t reading = {data, bytes, sums};
    double start = now();

    tlmi_parallel_for((int64_t)((bytes + PIECE - 1) / PIECE), read_task, &reading);
    return now() - start;
}

/* ---- Generation ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* A generator of so many sequences that has taken its first step, which touches the memory. */
static tlm_generator_t *start_generator(tlm_model_t *model, size_t sequences, int steps)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    tlm_generator_t *generator;
    size_t sequence;

    options.max_tokens = steps + 1;
    check(tlm_generator_create(&generator, model));
    for (uint32_t i = 0; i < sequences; i++)
        check(tlm_generator_add(&sequence, generator, &i, 1, &options));
    check(tlm_generator_step(NULL, generator));
    return generator;
}

static double time_step(tlm_generator_t *generator)
{
    double start = now();

    check(tlm_generator_step(NULL, generator));
    return now() - start;
}

typedef struct times {
    double best, median;
} times_t;

static times_t summarise(double *seconds, int n)
{
    qsort(seconds, (size_t)n, sizeof(*seconds), compare);
    return (times_t){seconds[0], seconds[n / 2]};
}

/* Tokens of one sequence and readings of the buffer, BLOCK of each in turn; the first of a block has
 * the cache to fill and is not counted. */
static void time_in_turn(times_t *token, times_t *reading, tlm_model_t *model, const void *buffer,
                         size_t bytes, int steps)
{
    enum { BLOCK = 5 };
    int blocks = (steps + BLOCK - 1) / BLOCK, n = blocks * BLOCK;
    tlm_generator_t *generator = start_generator(model, 1, n + blocks);
    double *seconds = malloc(2 * (size_t)n * sizeof(*seconds));

    for (int block = 0, i = 0; block < blocks; block++, i += BLOCK) {
        (void)time_reading(buffer, bytes);
        for (int k = 0; k < BLOCK; k++)
            seconds[n + i + k] = time_reading(buffer, bytes);
        (void)time_step(generator);
        for (int k = 0; k < BLOCK; k++)
            seconds[i + k] = time_step(generator);
    }
    *token = summarise(seconds, n);
    *reading = summarise(seconds + n, n);
    free(seconds);
    tlm_generator_free(generator);
}

/* Seconds of one step of so many sequences. */
static double time_sequences(tlm_model_t *model, size_t sequences, int steps)
{
    tlm_generator_t *generator = start_generator(model, sequences, steps);
    double *seconds = malloc((size_t)steps * sizeof(*seconds)), median;

    for (int i = 0; i < steps; i++)
        seconds[i] = time_step(generator);
    median = summarise(seconds, steps).median;
    free(seconds);
    tlm_generator_free(generator);
    return median;
}

static double time_prompt(tlm_model_t *model, size_t n)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    uint32_t *prompt = malloc(n * sizeof(*prompt));
    tlm_generator_t *generator;
    double best = 1e9;
    size_t sequence;

    options.max_tokens = 1;
    for (size_t i = 0; i < n; i++)
        prompt[i] = (uint32_t)(i * 7 % 1000);
    check(tlm_generator_create(&generator, model));
    for (int i = 0; i < 5; i++) {
        double start, seconds;

        check(tlm_generator_add(&sequence, generator, prompt, n, &options));
        start = now();
        check(tlm_generator_step(NULL, generator));
        seconds = now() - start;
        best = seconds < best ? seconds : best;
    }
    tlm_generator_free(generator);
    free(prompt);
    return best;
}

static void measure(tlm_model_t *model, size_t weight_bytes, size_t context, int steps)
{
    void *buffer = tlmi_alloc_aligned(weight_bytes, 1, "a buffer");
    times_t token, reading;

    if (buffer == NULL)
        exit(1);
    memset(buffer, 1, weight_bytes);
    time_in_turn(&token, &reading, model, buffer, weight_bytes, steps);
    printf("  %d threads: reading %.1f GB/s (best %.1f); a token %.3f ms (best %.3f), %.1f GB/s of "
           "weights: %.0f%% (best %.0f%%)\n",
           tlm_num_threads(), 1e-9 * (double)weight_bytes / reading.median,
           1e-9 * (double)weight_bytes / reading.best, 1e3 * token.median, 1e3 * token.best,
           1e-9 * (double)weight_bytes / token.median, 100.0 * reading.median / token.median,
           100.0 * reading.best / token.best);
    printf("    tokens/s by sequences side by side:");
    for (size_t sequences = 1; sequences <= 32; sequences *= 2)
        printf("  %zu: %.0f", sequences,
               (double)sequences / time_sequences(model, sequences, steps / 2));
    printf("; a prompt of %zu: %.0f\n", context, (double)context / time_prompt(model, context));
    tlmi_free(buffer);
}

/* The bytes of all matrices, as a token reads them: a tied embedding is the output layer; of one that
 * is not tied, a token reads one row. */
static size_t bytes_per_token(const tlm_model_t *model)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_tensor_t *const *tensors;
    size_t n, bytes = 0;

    check(tlm_model_get_options(&options, model));
    check(tlm_model_parameters(&tensors, &n, model));
    for (size_t i = options.tied_embeddings ? 0 : 1; i < n; i++) {
        const tlmi_weight_t weight = tlmi_weight_of(tensors[i]);

        bytes += (size_t)weight.rows * weight.row_bytes;
    }
    return bytes;
}

static void measure_file(const char *path, int steps)
{
    tlm_model_t *model;
    size_t bytes;

    check(tlm_model_open_for_inference(&model, NULL, NULL, path));
    bytes = bytes_per_token(model);
    printf("%s: %.1f MB of weights per token\n", path, 1e-6 * (double)bytes);
    for (int32_t threads = 1; threads <= 2; threads++) {
        check(tlm_set_num_threads(threads));
        measure(model, bytes, 128, steps);
    }
    tlm_model_free(model);
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 40;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 2 && atoi(argv[2]) == 0) {
        measure_file(argv[2], steps);
        return 0;
    }
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
        tlm_tensor_t *embedding;
        tlm_model_t *model;
        size_t bytes;

        if (argc > 2 && (size_t)atoi(argv[2]) != i + 1)
            continue;
        options.vocab_size = shapes[i].vocab_size;
        options.context_length = shapes[i].context_length;
        options.d_model = shapes[i].d_model;
        options.num_layers = shapes[i].num_layers;
        options.num_heads = shapes[i].num_heads;
        options.d_ff = shapes[i].d_ff;
        check(tlm_model_create(&model, &options));
        check(tlm_model_parameter(&embedding, model, "token_embeddings.weight"));
        /* Of the embedding a token reads one row. */
        bytes =
            (tlm_model_num_elements(model) - (uint64_t)tlm_tensor_numel(embedding)) * sizeof(float);
        printf("%s: %.1f MB of weights per token\n", shapes[i].name, 1e-6 * (double)bytes);
        for (int32_t threads = 1; threads == 1 || threads == 2; threads++) {
            check(tlm_set_num_threads(threads));
            measure(model, bytes, (size_t)options.context_length, steps);
        }
        tlm_model_free(model);
    }
    return 0;
}
