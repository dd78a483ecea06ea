/* The peak rates of this machine: fused multiply-adds per second, and bytes per second from memory. */
#ifndef BENCH_MACHINE_PEAK_H
#define BENCH_MACHINE_PEAK_H

#include <stdlib.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "bench_clock.h"

#if TLMI_X86
#include <immintrin.h>
#endif

/* ---- Peak ------------------------------------------------------------------------------- */

enum { PEAK_LOOPS = 400000, CHAINS = 12 /* enough to hide the latency of two units */ };

/* Different, and out of the compiler's sight: equal chains would be computed once. */
static volatile float chain_starts[CHAINS] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static volatile float sink;

/* Each does PEAK_LOOPS rounds of CHAINS independent vector FMAs and returns the flops done. */
static double peak_scalar(void)
{
    float sums[CHAINS];
    for (int j = 0; j < CHAINS; j++)
        sums[j] = chain_starts[j];
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
    __m256 s0 = _mm256_set1_ps(chain_starts[0]), s1 = _mm256_set1_ps(chain_starts[1]),
           s2 = _mm256_set1_ps(chain_starts[2]), s3 = _mm256_set1_ps(chain_starts[3]);
    __m256 s4 = _mm256_set1_ps(chain_starts[4]), s5 = _mm256_set1_ps(chain_starts[5]),
           s6 = _mm256_set1_ps(chain_starts[6]), s7 = _mm256_set1_ps(chain_starts[7]);
    __m256 s8 = _mm256_set1_ps(chain_starts[8]), s9 = _mm256_set1_ps(chain_starts[9]),
           s10 = _mm256_set1_ps(chain_starts[10]), s11 = _mm256_set1_ps(chain_starts[11]);
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
    __m512 s0 = _mm512_set1_ps(chain_starts[0]), s1 = _mm512_set1_ps(chain_starts[1]),
           s2 = _mm512_set1_ps(chain_starts[2]), s3 = _mm512_set1_ps(chain_starts[3]);
    __m512 s4 = _mm512_set1_ps(chain_starts[4]), s5 = _mm512_set1_ps(chain_starts[5]),
           s6 = _mm512_set1_ps(chain_starts[6]), s7 = _mm512_set1_ps(chain_starts[7]);
    __m512 s8 = _mm512_set1_ps(chain_starts[8]), s9 = _mm512_set1_ps(chain_starts[9]),
           s10 = _mm512_set1_ps(chain_starts[10]), s11 = _mm512_set1_ps(chain_starts[11]);
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

/* ---- Memory ----------------------------------------------------------------------------- */

enum { TRIAD_PIECE = 1 << 16, TRIAD_PIECES = 128 }; /* 32 MiB per array, larger than most caches */

static void triad_task(void *context, int64_t task, int32_t worker)
{
    float *a = (float *)context + task * TRIAD_PIECE;
    const float *b = a + (int64_t)TRIAD_PIECE * TRIAD_PIECES;
    const float *c = b + (int64_t)TRIAD_PIECE * TRIAD_PIECES;

    (void)worker;
    for (int64_t i = 0; i < TRIAD_PIECE; i++)
        a[i] = b[i] + 0.5f * c[i];
}

/* GB/s of a = b + s c on all threads, two reads and a write per element; the best of several. */
static __attribute__((unused)) double measure_bandwidth(double seconds)
{
    size_t n = (size_t)3 * TRIAD_PIECE * TRIAD_PIECES;
    float *memory = tlmi_alloc_aligned(n, sizeof(float), "the arrays of the triad");
    double best = 0, end = now() + seconds;

    if (memory == NULL)
        exit(1);
    for (size_t i = 0; i < n; i++)
        memory[i] = 1.0f;
    do {
        double begin = now();
        tlmi_parallel_for(TRIAD_PIECES, triad_task, memory);
        double rate = 1e-9 * (double)(n * sizeof(float)) / (now() - begin);
        best = rate > best ? rate : best;
    } while (now() < end);
    tlmi_free(memory);
    return best;
}

#endif
