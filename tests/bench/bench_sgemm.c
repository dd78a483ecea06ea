/* sgemm rate beside the CPU's fused-multiply-add peak, for square products and for those of one
 * training step of the CS336 model (batch 8, context 256, d_model 512, d_ff 1344, vocabulary
 * 10000).
 *
 *     bench_sgemm [seconds a row]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "tensor/gemm.h"

#if TLMI_X86
#include <immintrin.h>
#endif

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- Peak ------------------------------------------------------------------------------- */

enum { PEAK_LOOPS = 400000, CHAINS = 12 /* enough to hide the latency of two units */ };

/* Different, and out of the compiler's sight: equal chains would be computed once. */
static volatile float start[CHAINS] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static volatile float sink;

/* Each does PEAK_LOOPS rounds of CHAINS independent vector FMAs and returns the flops done. */
static double peak_scalar(void)
{
    float sums[CHAINS];
    for (int j = 0; j < CHAINS; j++)
        sums[j] = start[j];
    for (int i = 0; i < PEAK_LOOPS; i++)
        for (int j = 0; j < CHAINS; j++)
            sums[j] = sums[j] * 0.999f + 1.0f;
    for (int j = 0; j < CHAINS; j++)
        sink += sums[j];
    return 2.0 * CHAINS * PEAK_LOOPS;
}

#if TLMI_X86
/* Written out: as an array the sums may end up in memory. */
#define FMA_ROUND(OP)                                                                              \
    s0 = OP(s0, x, y), s1 = OP(s1, x, y), s2 = OP(s2, x, y), s3 = OP(s3, x, y), s4 = OP(s4, x, y), \
    s5 = OP(s5, x, y), s6 = OP(s6, x, y), s7 = OP(s7, x, y), s8 = OP(s8, x, y), s9 = OP(s9, x, y), \
    s10 = OP(s10, x, y), s11 = OP(s11, x, y)

TLMI_TARGET_AVX2 static double peak_avx2(void)
{
    __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1.0f);
    __m256 s0 = _mm256_set1_ps(start[0]), s1 = _mm256_set1_ps(start[1]),
           s2 = _mm256_set1_ps(start[2]), s3 = _mm256_set1_ps(start[3]);
    __m256 s4 = _mm256_set1_ps(start[4]), s5 = _mm256_set1_ps(start[5]),
           s6 = _mm256_set1_ps(start[6]), s7 = _mm256_set1_ps(start[7]);
    __m256 s8 = _mm256_set1_ps(start[8]), s9 = _mm256_set1_ps(start[9]),
           s10 = _mm256_set1_ps(start[10]), s11 = _mm256_set1_ps(start[11]);
    for (int i = 0; i < PEAK_LOOPS; i++)
        FMA_ROUND(_mm256_fmadd_ps);
    __m256 sum = _mm256_add_ps(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)),
                               _mm256_add_ps(_mm256_add_ps(s4, s5), _mm256_add_ps(s6, s7)));
    sum = _mm256_add_ps(sum, _mm256_add_ps(_mm256_add_ps(s8, s9), _mm256_add_ps(s10, s11)));
    sink += _mm256_cvtss_f32(sum);
    return 16.0 * CHAINS * PEAK_LOOPS;
}

TLMI_TARGET_AVX512 static double peak_avx512(void)
{
    __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1.0f);
    __m512 s0 = _mm512_set1_ps(start[0]), s1 = _mm512_set1_ps(start[1]),
           s2 = _mm512_set1_ps(start[2]), s3 = _mm512_set1_ps(start[3]);
    __m512 s4 = _mm512_set1_ps(start[4]), s5 = _mm512_set1_ps(start[5]),
           s6 = _mm512_set1_ps(start[6]), s7 = _mm512_set1_ps(start[7]);
    __m512 s8 = _mm512_set1_ps(start[8]), s9 = _mm512_set1_ps(start[9]),
           s10 = _mm512_set1_ps(start[10]), s11 = _mm512_set1_ps(start[11]);
    for (int i = 0; i < PEAK_LOOPS; i++)
        FMA_ROUND(_mm512_fmadd_ps);
    __m512 sum = _mm512_add_ps(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)),
                               _mm512_add_ps(_mm512_add_ps(s4, s5), _mm512_add_ps(s6, s7)));
    sum = _mm512_add_ps(sum, _mm512_add_ps(_mm512_add_ps(s8, s9), _mm512_add_ps(s10, s11)));
    sink += _mm512_cvtss_f32(sum);
    return 32.0 * CHAINS * PEAK_LOOPS;
}
#endif

static double peak_round(void)
{
#if TLMI_X86
    if (tlm_cpu_level() >= TLM_CPU_AVX512)
        return peak_avx512();
    if (tlm_cpu_level() >= TLM_CPU_AVX2)
        return peak_avx2();
#endif
    return peak_scalar();
}

static void peak_task(void *context, int64_t task, int32_t worker)
{
    ((double *)context)[task] = peak_round();
}

/* GFLOP/s of all threads together, the best of several rounds. */
static double measure_peak(double seconds)
{
    double flops[TLM_MAX_THREADS];
    double best = 0;
    double end = now() + seconds;
    do {
        double begin = now();
        int32_t threads = tlm_num_threads();
        tlmi_parallel_for(threads, peak_task, flops);
        double total = 0;
        for (int32_t i = 0; i < threads; i++)
            total += flops[i];
        double rate = 1e-9 * total / (now() - begin);
        best = rate > best ? rate : best;
    } while (now() < end);
    return best;
}

/* ---- Products --------------------------------------------------------------------------- */

typedef struct product {
    const char *what;
    int64_t m, n, k;
    bool transpose_a, transpose_b; /* stored as (k, m), (n, k) */
    float beta;
} product_t;

static const product_t products[] = {
    {"square", 256, 256, 256, false, false, 0},
    {"square", 512, 512, 512, false, false, 0},
    {"square", 1024, 1024, 1024, false, false, 0},
    {"square", 2048, 2048, 2048, false, false, 0},
    {"attention projection", 2048, 512, 512, false, true, 0},
    {"  its input gradient", 2048, 512, 512, false, false, 0},
    {"  its weight gradient", 512, 512, 2048, true, false, 0},
    {"feed-forward up", 2048, 1344, 512, false, true, 0},
    {"  its input gradient", 2048, 512, 1344, false, false, 1},
    {"  its weight gradient", 1344, 512, 2048, true, false, 0},
    {"feed-forward down", 2048, 512, 1344, false, true, 0},
    {"  its input gradient", 2048, 1344, 512, false, false, 0},
    {"  its weight gradient", 512, 1344, 2048, true, false, 0},
    {"logits", 2048, 10000, 512, false, true, 0},
    {"  its input gradient", 2048, 512, 10000, false, false, 0},
    {"  its weight gradient", 10000, 512, 2048, true, false, 0},
    {"attention scores, one head", 256, 256, 32, false, true, 0},
    {"attention values, one head", 256, 32, 256, false, false, 0},
    {"one token, projection", 1, 512, 512, false, true, 0},
    {"one token, logits", 1, 10000, 512, false, true, 0},
};

static double measure_product(const product_t *p, double seconds)
{
    float *a = tlmi_alloc_aligned((size_t)(p->m * p->k), sizeof(float), "A");
    float *b = tlmi_alloc_aligned((size_t)(p->k * p->n), sizeof(float), "B");
    float *c = tlmi_alloc_aligned((size_t)(p->m * p->n), sizeof(float), "C");
    double best = 0;
    if (a != NULL && b != NULL && c != NULL) {
        for (int64_t i = 0; i < p->m * p->k; i++)
            a[i] = (float)(i % 17 - 8) / 8;
        for (int64_t i = 0; i < p->k * p->n; i++)
            b[i] = (float)(i % 13 - 6) / 6;
        for (int64_t i = 0; i < p->m * p->n; i++)
            c[i] = 0;
        tlmi_matrix_t left = {a, p->transpose_a ? 1 : p->k, p->transpose_a ? p->m : 1};
        tlmi_matrix_t right = {b, p->transpose_b ? 1 : p->n, p->transpose_b ? p->k : 1};
        double end = now() + seconds;
        int rounds = 0;
        do {
            double begin = now();
            tlmi_gemm(p->m, p->n, p->k, 1.0f, left, right, p->beta, c, p->n);
            double rate = 2e-9 * (double)p->m * (double)p->n * (double)p->k / (now() - begin);
            best = rate > best ? rate : best;
        } while (++rounds < 3 || now() < end);
    }
    tlmi_free(a);
    tlmi_free(b);
    tlmi_free(c);
    return best;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 0.25;
    int32_t threads = tlm_num_threads();
    printf("CPU level %s, BLIS kernels %s, %d threads\n", tlm_cpu_level_name(tlm_cpu_level()),
           tlm_gemm_kernel_name(), threads);
    double peaks[2];
    for (int i = 0; i < 2; i++) {
        tlm_set_num_threads(i == 0 ? 1 : threads);
        measure_peak(seconds);
        peaks[i] = measure_peak(seconds);
    }
    printf("FMA peak: %.1f GFLOP/s on 1 thread, %.1f on %d\n\n", peaks[0], peaks[1], threads);
    printf("%-27s %6s %6s %6s   %9s %6s   %9s %6s %8s\n", "product", "m", "n", "k", "1 thread",
           "peak", "all", "peak", "speed-up");
    for (size_t i = 0; i < sizeof(products) / sizeof(*products); i++) {
        const product_t *p = &products[i];
        double rates[2];
        for (int j = 0; j < 2; j++) {
            tlm_set_num_threads(j == 0 ? 1 : threads);
            rates[j] = measure_product(p, seconds);
        }
        printf("%-27s %6lld %6lld %6lld   %9.1f %5.0f%%   %9.1f %5.0f%% %7.2fx\n", p->what,
               (long long)p->m, (long long)p->n, (long long)p->k, rates[0],
               100 * rates[0] / peaks[0], rates[1], 100 * rates[1] / peaks[1], rates[1] / rates[0]);
    }
    return 0;
}
