/* CPU features and levels, found once at run time, and the number of usable CPUs. */
#ifndef TLMI_CPU_H
#define TLMI_CPU_H

#include <stdatomic.h>

#include "tinylm/runtime.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define TLMI_X86 1
/* Marks a function as compiled for a level. It may only run when tlm_cpu_features() contains all
 * the features of the same name below. */
#define TLMI_TARGET_AVX2   __attribute__((target("avx2,fma,bmi2")))
#define TLMI_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,bmi2")))
#define TLMI_TARGET_VNNI   __attribute__((target("avx512vnni,avx512f,avx512bw,avx512vl,fma,bmi2")))
#define TLMI_TARGET_BF16                                                                           \
    __attribute__((target("avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,fma,bmi2")))
/* For functions that deal with bits; needs the features of TLMI_NEEDS_BITS. Every CPU with BMI2 also
 * has BMI and POPCNT. */
#define TLMI_TARGET_BITS __attribute__((target("avx2,bmi,bmi2,popcnt")))
#else
#define TLMI_X86 0
#endif

#if defined(__aarch64__) && defined(__GNUC__)
#define TLMI_ARM64         1
#define TLMI_TARGET_BFMMLA __attribute__((target("arch=armv8.2-a+bf16")))
#else
#define TLMI_ARM64 0
#endif

/* Features that each level needs. */
#define TLMI_NEEDS_AVX2 (TLM_FEATURE_AVX2 | TLM_FEATURE_FMA | TLM_FEATURE_BMI2)
#define TLMI_NEEDS_BITS (TLM_FEATURE_AVX2 | TLM_FEATURE_BMI2)
#define TLMI_NEEDS_AVX512                                                                          \
    (TLMI_NEEDS_AVX2 | TLM_FEATURE_AVX512F | TLM_FEATURE_AVX512BW | TLM_FEATURE_AVX512DQ |         \
     TLM_FEATURE_AVX512VL)
#define TLMI_NEEDS_VNNI (TLMI_NEEDS_AVX512 | TLM_FEATURE_AVX512_VNNI)
#define TLMI_NEEDS_NEON TLM_FEATURE_NEON
/* Products in bfloat16. */
#if TLMI_ARM64
#define TLMI_NEEDS_BF16 (TLMI_NEEDS_NEON | TLM_FEATURE_BF16)
#else
#define TLMI_NEEDS_BF16 (TLMI_NEEDS_AVX512 | TLM_FEATURE_AVX512_BF16)
#endif

static inline bool tlmi_has_features(uint64_t features, uint64_t needed)
{
    return (features & needed) == needed;
}

/* Features of the CPU, including those that have been switched off. */
uint64_t tlmi_cpu_detect(void);

/* The level that the CPU supports, regardless of what has been switched off. */
int32_t tlmi_cpu_detected_level(void);

/* Whether an item of TINYLM_CPU is a level, or "-" and a feature, of any processor. */
bool tlmi_cpu_knows(const char *item, size_t size);

/* Uses only these features, as far as the CPU has them. For tests. See tlm_set_cpu_level for the
 * rules on threads. */
void tlmi_set_cpu_features(uint64_t features);

/* tlm_cpu_features() with TLMI_CPU_DECIDED set, or 0 before the first call that needs it. */
extern atomic_uint_least64_t tlmi_cpu_state;
#define TLMI_CPU_DECIDED (UINT64_C(1) << 63)

/* Number of usable CPUs, at least 1. Respects the affinity mask and the cgroup quota. */
int32_t tlmi_cpu_count(void);

#endif
