/* CPU features, found once at run time. Kernels switch on tlm_cpu_level() (tinylm/runtime.h). */
#ifndef TLMI_CPU_H
#define TLMI_CPU_H

#include "tinylm/runtime.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define TLMI_X86 1
/* Marks a function as compiled for a level; it may only run when tlm_cpu_level() says so. */
#define TLMI_TARGET_AVX2   __attribute__((target("avx2,fma,bmi2")))
#define TLMI_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,bmi2")))
#else
#define TLMI_X86 0
#endif

/* The level that the CPU has, whatever tlm_set_cpu_level says. */
int32_t tlmi_cpu_detected_level(void);

/* Usable CPUs (affinity and cgroup quota respected), at least 1. */
int32_t tlmi_cpu_count(void);

#endif
