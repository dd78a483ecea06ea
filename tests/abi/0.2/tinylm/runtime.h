/* The library's run time: its threads, the CPU features that it uses, and random numbers. */
#ifndef TINYLM_RUNTIME_H
#define TINYLM_RUNTIME_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Most threads that a call may use. */
#define TLM_MAX_THREADS 256

/** Sets how many threads a call may use, 1..TLM_MAX_THREADS; 0 means one per usable CPU, which is
 *  the default unless the environment variable TINYLM_NUM_THREADS gives another. Results have the
 *  same bits with any number. Applies to the whole process; call it while no other call of the
 *  library runs. TLM_ERR_INVALID_ARGUMENT outside the range, TLM_ERR_STATE while another call uses
 *  the threads. @since 0.1 */
TLM_API tlm_status_t tlm_set_num_threads(int32_t num_threads);

/** Number of threads that a call may use now, at least 1. Thread-safe. @since 0.1 */
TLM_API int32_t tlm_num_threads(void);

/* CPU levels: named sets of features. On x86 each includes those before it. */
#define TLM_CPU_SCALAR 0 /**< Portable C. */
#define TLM_CPU_AVX2   1 /**< x86: AVX2, FMA, BMI2. */
#define TLM_CPU_AVX512 2 /**< x86: these and AVX-512 F, BW, DQ, VL. */
#define TLM_CPU_NEON   3 /**< 64-bit ARM: Advanced SIMD. */

/** Level of the kernels in use: the best that the CPU has, unless lowered by tlm_set_cpu_level or
 *  by the environment variable TINYLM_CPU. That is a list with commas: a level's name keeps what
 *  belongs to that level, "-" and a feature's name (tlm_cpu_feature_name) switches one feature
 *  off, as in "avx2,-fma". Levels that the CPU lacks are ignored, and so are unknown names, which
 *  tlm_check_environment tells. Thread-safe. @since 0.1 */
TLM_API int32_t tlm_cpu_level(void);

/** Lowers (or restores) the level, for tests and bug reports: all features of the CPU that belong
 *  to the level are used then. TLM_ERR_UNSUPPORTED if the CPU lacks the level,
 *  TLM_ERR_INVALID_ARGUMENT if there is no such level. Results may differ in the last bits between
 *  levels, never between thread counts. Applies to the whole process; call it while no other call
 *  of the library runs. @since 0.1 */
TLM_API tlm_status_t tlm_set_cpu_level(int32_t level);

/** Name of a CPU level: "scalar", "avx2", "avx512", "neon"; "unknown" otherwise. Static storage.
 *  Thread-safe. @since 0.1 */
TLM_API const char *tlm_cpu_level_name(int32_t level);

/* CPU features, bits of a mask: x86 in the lower half, ARM in the upper. A bit is set where both
 * the CPU and the operating system support the feature. */
#define TLM_FEATURE_AVX2        (UINT64_C(1) << 0)
#define TLM_FEATURE_FMA         (UINT64_C(1) << 1)
#define TLM_FEATURE_BMI2        (UINT64_C(1) << 2)
#define TLM_FEATURE_F16C        (UINT64_C(1) << 3)
#define TLM_FEATURE_AVX_VNNI    (UINT64_C(1) << 4)
#define TLM_FEATURE_AVX512F     (UINT64_C(1) << 8)
#define TLM_FEATURE_AVX512BW    (UINT64_C(1) << 9)
#define TLM_FEATURE_AVX512DQ    (UINT64_C(1) << 10)
#define TLM_FEATURE_AVX512VL    (UINT64_C(1) << 11)
#define TLM_FEATURE_AVX512_VNNI (UINT64_C(1) << 12)
#define TLM_FEATURE_AVX512_BF16 (UINT64_C(1) << 13)
#define TLM_FEATURE_AVX512_FP16 (UINT64_C(1) << 14)
#define TLM_FEATURE_AMX_TILE    (UINT64_C(1) << 16)
#define TLM_FEATURE_AMX_INT8    (UINT64_C(1) << 17)
#define TLM_FEATURE_AMX_BF16    (UINT64_C(1) << 18)
#define TLM_FEATURE_NEON        (UINT64_C(1) << 32)
#define TLM_FEATURE_FP16        (UINT64_C(1) << 33)
#define TLM_FEATURE_DOTPROD     (UINT64_C(1) << 34)
#define TLM_FEATURE_I8MM        (UINT64_C(1) << 35)
#define TLM_FEATURE_BF16        (UINT64_C(1) << 36)
#define TLM_FEATURE_SVE         (UINT64_C(1) << 37)
#define TLM_FEATURE_SVE2        (UINT64_C(1) << 38)

/** CPU features that the library may use now, a mask of TLM_FEATURE_...: those of the CPU, less
 *  what the level or TINYLM_CPU switched off (see tlm_cpu_level). Thread-safe. @since 0.2 */
TLM_API uint64_t tlm_cpu_features(void);

/** Name of one feature, a single bit of the mask, as TINYLM_CPU takes it: "avx2", "avx512_bf16",
 *  "neon"; "unknown" for any other value. Static storage. Thread-safe. @since 0.2 */
TLM_API const char *tlm_cpu_feature_name(uint64_t feature);

/** Name of the kernels that matrix products use: those of BLIS for "haswell", "skx" or "armv8a",
 *  or "generic", the library's own in portable C. Static storage, never NULL. Thread-safe.
 *  @since 0.1 */
TLM_API const char *tlm_gemm_kernel_name(void);

/* How linear layers take the factors of their products. Sums are float32 in any case. @since 0.2 */
#define TLM_PRODUCTS_FLOAT32  0 /**< As they are. */
#define TLM_PRODUCTS_BFLOAT16 1 /**< Rounded to bfloat16, by instructions of the CPU for that. */
/** The same by portable C, on any CPU, for tests: many times slower than float32. */
#define TLM_PRODUCTS_BFLOAT16_EMULATED 2

/** Sets how the calling thread takes factors in linear layers from now on, those of models and
 *  their output projection included: forward, and backward of what was computed so (Micikevicius et
 *  al. 2018, in bfloat16). Weights, gradients and everything else stay float32; generation and
 *  scoring are not affected. The bits depend on the CPU's kernel, never on the number of threads.
 *  TLM_ERR_UNSUPPORTED if the CPU lacks the instructions or they are switched off
 *  (tlm_cpu_features), TLM_ERR_INVALID_ARGUMENT for an unknown value. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_set_products(int32_t products);

/** How the calling thread takes factors: TLM_PRODUCTS_..., at first TLM_PRODUCTS_FLOAT32.
 *  Thread-safe. @since 0.2 */
TLM_API int32_t tlm_products(void);

/** Checks the environment variables that the library reads, TINYLM_CPU and TINYLM_NUM_THREADS. All
 *  other calls take of them what they understand and ignore the rest; a program that wants wrong
 *  ones refused calls this first. TLM_ERR_INVALID_ARGUMENT, naming the variable and what it may
 *  hold, for a word that is no level or feature of any processor, and for a number of threads
 *  outside 1..TLM_MAX_THREADS. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_check_environment(void);

/** Fills out[0..n) with random bits: Philox4x32-10 (Salmon et al. 2011) with the key `seed`, from
 *  position `offset` of stream `stream`, counted in 64-bit words. A pure function of its arguments.
 *  The library itself uses streams from 2^20 up. out may be NULL if n is 0. Thread-safe.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_random_bits(uint64_t *out, size_t n, uint64_t seed, uint64_t stream,
                                     uint64_t offset);

/** Asked whether a call is to go on: any result other than 0 ends it. It must not call the library.
 *  @since 0.2 */
typedef int32_t (*tlm_interrupt_callback_t)(void *user);

/** Sets what calls of this thread ask, on this thread and at most twenty times per second, while
 *  they work: encoding, evaluating, scoring, generating, forward and backward passes, creating and
 *  opening models, opening data sets, reading checkpoints, writing files. A call that is ended
 *  returns TLM_ERR_CANCELLED, leaves its objects and files as after any other error, so that it may
 *  be made again, and may have filled arrays in part; a step of a trainer and the saves of a run
 *  are always completed. NULL: nothing is asked, as at first. Each thread has its own.
 *  @since 0.2 */
TLM_API void tlm_set_interrupt(tlm_interrupt_callback_t callback, void *user);

/** Frees an array that the library returned as "owned by the caller"; handles have free functions
 *  of their own. NULL is fine. Thread-safe. @since 0.1 */
TLM_API void tlm_free(void *pointer);

/** Gives back what the library holds for itself: ends its threads and frees what it keeps for later
 *  calls. Handles stay as they are and the library can be used on; threads start again when a call
 *  needs them. Not needed before a program ends or the library is unloaded; tools that look for
 *  memory still held then find none. TLM_ERR_STATE while another call uses the threads. For the
 *  whole process; call it while no other call of the library runs. @since 0.2 */
TLM_API tlm_status_t tlm_shutdown(void);

#ifdef __cplusplus
}
#endif
#endif
