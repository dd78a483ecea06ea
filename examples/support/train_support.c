/* Unigram entropy, and the rate of matrix products. */
#include "support/train_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/cli.h"

enum { READ_BATCH = 1 << 14, PEAK_SIZE = 1024 };
#define PEAK_SECONDS 0.5 /* longer than short bursts of work by other processes */
#define DISTURBED    1.1 /* times the time that a product needs where all CPUs are free */

static void count_tokens(uint64_t *counts, const tlm_dataset_t *dataset, uint32_t vocab_size)
{
    static uint32_t ids[READ_BATCH];
    uint64_t length = tlm_dataset_length(dataset);

    for (uint64_t first = 0; first < length; first += READ_BATCH) {
        size_t n = length - first < READ_BATCH ? (size_t)(length - first) : READ_BATCH;

        cli_check(tlm_dataset_read(ids, n, dataset, first));
        for (size_t i = 0; i < n; i++) {
            if (ids[i] >= vocab_size)
                cli_fail("token id %u is outside the vocabulary of %u", ids[i], vocab_size);
            counts[ids[i]]++;
        }
    }
}

double train_unigram_entropy(const tlm_dataset_t *train, const tlm_dataset_t *valid,
                             uint32_t vocab_size)
{
    uint64_t *counts = cli_realloc(NULL, 2 * (size_t)vocab_size * sizeof(*counts));
    uint64_t *train_counts = counts, *valid_counts = counts + vocab_size;
    double total = (double)tlm_dataset_length(train) + (double)vocab_size, nats = 0.0;

    memset(counts, 0, 2 * (size_t)vocab_size * sizeof(*counts));
    count_tokens(train_counts, train, vocab_size);
    count_tokens(valid_counts, valid, vocab_size);
    for (uint32_t id = 0; id < vocab_size; id++)
        nats -= (double)valid_counts[id] * log(((double)train_counts[id] + 1.0) / total);
    free(counts);
    return nats / (double)tlm_dataset_length(valid);
}

/* Seconds of CPU time of all threads of the process. */
static double cpu_seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* A thread that other programs keep from its CPU spends no CPU time meanwhile, so that what all CPUs reach
 * together follows from the CPU time of a product. */
double train_measure_peak(bool *is_disturbed, int32_t products)
{
    const int64_t shape[] = {PEAK_SIZE, PEAK_SIZE};
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    const double threads = fmin((double)tlm_num_threads(), cpus > 0 ? (double)cpus : 1.0);
    const double flops = 2.0 * pow(PEAK_SIZE, 3.0), start = cli_seconds();
    double best = (double)INFINITY, best_cpu = (double)INFINITY, now;
    tlm_tensor_t *a, *b, *product;

    cli_check(tlm_tensor_create(&a, TLM_FLOAT32, shape, 2));
    cli_check(tlm_tensor_create(&b, TLM_FLOAT32, shape, 2));
    cli_check(tlm_set_products(products));
    do {
        const double begin = cli_seconds(), cpu_begin = cpu_seconds();

        cli_check(tlm_linear(&product, a, b));
        best_cpu = fmin(best_cpu, (cpu_seconds() - cpu_begin) / threads);
        now = cli_seconds();
        best = fmin(best, now - begin);
        tlm_tensor_free(product);
    } while (now - start < PEAK_SECONDS);
    cli_check(tlm_set_products(TLM_PRODUCTS_FLOAT32));
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    *is_disturbed = best > DISTURBED * best_cpu;
    return flops / fmin(best, best_cpu);
}
