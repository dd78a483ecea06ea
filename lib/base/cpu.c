/* CPU levels, the features that the environment switches off, and the number of usable CPUs. */
#include "base/cpu.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/platform.h"

#define ALL_X86 UINT64_C(0xffffffff)
#define ALL_ARM (UINT64_C(0x7fffffff) << 32)

typedef struct level {
    const char *name;
    uint64_t needs;  /* the CPU supports the level if it has all of these */
    uint64_t allows; /* features used at this level if the CPU has them */
} level_t;

static const level_t levels[] = {
    [TLM_CPU_SCALAR] = {"scalar", 0, 0},
    [TLM_CPU_AVX2] = {"avx2", TLMI_NEEDS_AVX2,
                      TLMI_NEEDS_AVX2 | TLM_FEATURE_F16C | TLM_FEATURE_AVX_VNNI},
    [TLM_CPU_AVX512] = {"avx512", TLMI_NEEDS_AVX512, ALL_X86},
    [TLM_CPU_NEON] = {"neon", TLMI_NEEDS_NEON, ALL_ARM},
};
enum { NUM_LEVELS = sizeof(levels) / sizeof(levels[0]) };

atomic_uint_least64_t tlmi_cpu_state;

static int32_t level_of(uint64_t features)
{
    int32_t best = TLM_CPU_SCALAR;
    for (int32_t i = 0; i < NUM_LEVELS; i++)
        if (tlmi_has_features(features, levels[i].needs))
            best = i;
    return best;
}

static bool is_name(const char *name, const char *text, size_t size)
{
    return strlen(name) == size && memcmp(name, text, size) == 0;
}

/* The feature that an item of TINYLM_CPU switches off, such as "-fma"; 0 if it is none. */
static uint64_t feature_of(const char *item, size_t size)
{
    if (size == 0 || item[0] != '-' || is_name("unknown", item + 1, size - 1))
        return 0;
    for (int bit = 0; bit < 63; bit++)
        if (is_name(tlm_cpu_feature_name(UINT64_C(1) << bit), item + 1, size - 1))
            return UINT64_C(1) << bit;
    return 0;
}

/* The level that an item names; NULL if it is none. */
static const level_t *level_named(const char *item, size_t size)
{
    for (int32_t i = 0; i < NUM_LEVELS; i++)
        if (is_name(levels[i].name, item, size))
            return &levels[i];
    return NULL;
}

bool tlmi_cpu_knows(const char *item, size_t size)
{
    return feature_of(item, size) != 0 || level_named(item, size) != NULL;
}

/* Applies one item of TINYLM_CPU to `features` and returns the result. */
static uint64_t apply_item(uint64_t features, uint64_t detected, const char *item, size_t size)
{
    const level_t *level = level_named(item, size);

    if (level != NULL && tlmi_has_features(detected, level->needs))
        return features & level->allows;
    return features & ~feature_of(item, size);
}

static uint64_t initial_features(void)
{
    uint64_t detected = tlmi_cpu_detect(), features = detected;
    const char *item = getenv("TINYLM_CPU");
    while (item != NULL && *item != '\0') {
        size_t size = strcspn(item, ",");
        features = apply_item(features, detected, item, size);
        item += size + (item[size] == ',');
    }
    return features;
}

/* Deciding twice gives the same answer, so no lock is needed. */
uint64_t tlm_cpu_features(void)
{
    uint64_t state = atomic_load_explicit(&tlmi_cpu_state, memory_order_relaxed);
    if (state == 0) {
        state = initial_features() | TLMI_CPU_DECIDED;
        atomic_store_explicit(&tlmi_cpu_state, state, memory_order_relaxed);
    }
    return state & ~TLMI_CPU_DECIDED;
}

void tlmi_set_cpu_features(uint64_t features)
{
    atomic_store_explicit(&tlmi_cpu_state, (features & tlmi_cpu_detect()) | TLMI_CPU_DECIDED,
                          memory_order_relaxed);
}

int32_t tlmi_cpu_detected_level(void)
{
    return level_of(tlmi_cpu_detect());
}

int32_t tlm_cpu_level(void)
{
    return level_of(tlm_cpu_features());
}

tlm_status_t tlm_set_cpu_level(int32_t level)
{
    if (level < 0 || level >= NUM_LEVELS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "set_cpu_level: level %d is not in 0 .. %d",
                         (int)level, NUM_LEVELS - 1);
    if (!tlmi_has_features(tlmi_cpu_detect(), levels[level].needs))
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "set_cpu_level: this CPU lacks %s",
                         levels[level].name);
    tlmi_set_cpu_features(levels[level].allows);
    return TLM_OK;
}

const char *tlm_cpu_level_name(int32_t level)
{
    return level >= 0 && level < NUM_LEVELS ? levels[level].name : "unknown";
}

int32_t tlmi_cpu_count(void)
{
    int32_t count = tlmi_platform_cpus();
    return count < TLM_MAX_THREADS ? count : TLM_MAX_THREADS;
}
