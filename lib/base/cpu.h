/* CPU features and levels, found once at run time, and the number of usable CPUs. */
#ifndef TLMI_CPU_H
#define TLMI_CPU_H

#include <stdatomic.h>

#include "tinylm/runtime.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define TLMI_X86 1
/* Marks a function as compiled for a level; it may only run where the features of the same name
 * below are all in tlm_cpu_features(). */
#define TLMI_TARGET_AVX2   __attribute__((target("avx2,fma,bmi2")))
#define TLMI_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,bmi2")))
#else
#define TLMI_X86 0
#endif

#if defined(__aarch64__) && defined(__GNUC__)
#define TLMI_ARM64 1
#else
#define TLMI_ARM64 0
#endif

/* What each level needs. */
#define TLMI_NEEDS_AVX2 (TLM_FEATURE_AVX2 | TLM_FEATURE_FMA | TLM_FEATURE_BMI2)
#define TLMI_NEEDS_AVX512                                                                          \
    (TLMI_NEEDS_AVX2 | TLM_FEATURE_AVX512F | TLM_FEATURE_AVX512BW | TLM_FEATURE_AVX512DQ |         \
     TLM_FEATURE_AVX512VL)
#define TLMI_NEEDS_NEON TLM_FEATURE_NEON

static inline bool tlmi_has_features(uint64_t features, uint64_t needed)
{
    return (features & needed) == needed;
}

/* Features of the CPU, whatever has been switched off. */
uint64_t tlmi_cpu_detect(void);

/* The level that the CPU has, whatever has been switched off. */
int32_t tlmi_cpu_detected_level(void);

/* Uses these features alone, as far as the CPU has them: for tests. Threads: as of
 * tlm_set_cpu_level. */
void tlmi_set_cpu_features(uint64_t features);

/* tlm_cpu_features() and TLMI_CPU_DECIDED, or 0 before the first call that asks for it. */
extern atomic_uint_least64_t tlmi_cpu_state;
#define TLMI_CPU_DECIDED (UINT64_C(1) << 63)

/* Usable CPUs (affinity and cgroup quota respected), at least 1. */
int32_t tlmi_cpu_count(void);

#endif
