/* CPU features and the number of usable CPUs. */
#include "base/cpu.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static const char *const level_names[] = {"scalar", "avx2", "avx512"};
#define NUM_LEVELS 3

/* -1: not decided yet. Deciding twice gives the same answer, so no lock is needed. */
static atomic_int current_level = -1;

int32_t tlmi_cpu_detected_level(void)
{
#if TLMI_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("bmi2"))
        return TLM_CPU_SCALAR;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return TLM_CPU_AVX512;
    return TLM_CPU_AVX2;
#else
    return TLM_CPU_SCALAR;
#endif
}

static int32_t initial_level(void)
{
    int32_t level = tlmi_cpu_detected_level();
    const char *wish = getenv("TINYLM_CPU");
    for (int32_t i = 0; wish != NULL && i < level; i++)
        if (strcmp(wish, level_names[i]) == 0)
            level = i;
    return level;
}

int32_t tlm_cpu_level(void)
{
    int level = atomic_load_explicit(&current_level, memory_order_relaxed);
    if (level < 0) {
        level = initial_level();
        atomic_store_explicit(&current_level, level, memory_order_relaxed);
    }
    return level;
}

tlm_status_t tlm_set_cpu_level(int32_t level)
{
    if (level < 0 || level >= NUM_LEVELS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "set_cpu_level: no level %d, there are 0 to %d",
                         (int)level, NUM_LEVELS - 1);
    if (level > tlmi_cpu_detected_level())
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "set_cpu_level: this CPU lacks %s",
                         level_names[level]);
    atomic_store_explicit(&current_level, level, memory_order_relaxed);
    return TLM_OK;
}

const char *tlm_cpu_level_name(int32_t level)
{
    return level >= 0 && level < NUM_LEVELS ? level_names[level] : "unknown";
}

/* CPUs that the cgroup's quota pays for (cgroup v2 cpu.max: "quota period"), or 0 if unlimited. */
static int32_t quota_cpus(void)
{
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file == NULL)
        return 0;
    long long quota = 0, period = 0;
    int fields = fscanf(file, "%lld %lld", &quota, &period);
    fclose(file);
    if (fields != 2 || quota <= 0 || period <= 0)
        return 0;
    long long cpus = (quota + period - 1) / period;
    return cpus < TLM_MAX_THREADS ? (int32_t)cpus : TLM_MAX_THREADS;
}

int32_t tlmi_cpu_count(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int32_t count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int32_t quota = quota_cpus();
    if (quota > 0 && quota < count)
        count = quota;
    if (count > TLM_MAX_THREADS)
        count = TLM_MAX_THREADS;
    return count > 0 ? count : 1;
}
