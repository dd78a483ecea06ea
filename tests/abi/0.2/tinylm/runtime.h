/* The library's run-time: its thread pool, the CPU path it takes, and random numbers. */
#ifndef TINYLM_RUNTIME_H
#define TINYLM_RUNTIME_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TLM_MAX_THREADS 256

/** Sets how many threads a call may use, 1..TLM_MAX_THREADS; 0 means one a usable CPU (the default;
 *  the environment variable TINYLM_NUM_THREADS changes the default). Results have the same bits for
 *  every count. For the whole process; call it while no other call of the library runs.
 *  TLM_ERR_INVALID_ARGUMENT outside the range, TLM_ERR_STATE while another call uses the threads.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_set_num_threads(int32_t num_threads);

/** Threads that a call may use now, at least 1. Thread-safe. @since 0.1 */
TLM_API int32_t tlm_num_threads(void);

/* CPU levels, ordered: each includes those before it. */
#define TLM_CPU_SCALAR 0 /* portable C */
#define TLM_CPU_AVX2   1 /* AVX2 and FMA */
#define TLM_CPU_AVX512 2 /* AVX-512 F, BW, DQ, VL */

/** Level of the kernels in use: the best that the CPU has, unless lowered by tlm_set_cpu_level or
 *  by TINYLM_CPU=scalar|avx2|avx512 in the environment. Thread-safe. @since 0.1 */
TLM_API int32_t tlm_cpu_level(void);

/** Lowers (or restores) the kernel level, for tests and bug reports. TLM_ERR_UNSUPPORTED if the CPU
 *  lacks it, TLM_ERR_INVALID_ARGUMENT if there is no such level. Results may differ in the last
 *  bits between levels, never between thread counts. For the whole process; call it while no other
 *  call of the library runs. @since 0.1 */
TLM_API tlm_status_t tlm_set_cpu_level(int32_t level);

/** Name of a CPU level: "scalar", "avx2", "avx512"; "unknown" otherwise. Static storage.
 *  Thread-safe. @since 0.1 */
TLM_API const char *tlm_cpu_level_name(int32_t level);

/** Name of the BLIS kernel family that matrix products use, such as "zen3" or "skx". Static
 *  storage, never NULL. Thread-safe. @since 0.1 */
TLM_API const char *tlm_gemm_kernel_name(void);

/** Fills out[0..n) with random bits: Philox4x32-10 (Salmon et al. 2011) keyed by seed, stream
 *  number `stream`, from position `offset` counted in 64-bit words. A pure function of its
 *  arguments; the library itself uses streams from 2^20 on. out may be NULL where n is 0.
 *  Thread-safe. @since 0.1 */
TLM_API tlm_status_t tlm_random_bits(uint64_t *out, size_t n, uint64_t seed, uint64_t stream,
                                     uint64_t offset);

/** Frees an array that the library handed out as "owned by the caller" (handles have free functions
 *  of their own). NULL is fine. Thread-safe. @since 0.1 */
TLM_API void tlm_free(void *pointer);

#ifdef __cplusplus
}
#endif
#endif
