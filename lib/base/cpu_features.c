/* Detects the features that the CPU has and whose registers the operating system saves, and names
 * them. The names are those in Linux's /proc/cpuinfo, except that "neon", "dotprod" and "fp16"
 * stand for asimd, asimddp and asimdhp. */
#include "base/cpu.h"

#if TLMI_X86
#include <cpuid.h>
#elif TLMI_ARM64
#include "base/platform.h"
#endif

/* ---- x86: bits of CPUID, and of XCR0, the registers that the system saves -------------------- */

enum { EAX, EBX, ECX, EDX };
enum { YMM = 0x6, ZMM = 0xe6, TILES = 0x60006 };

typedef struct x86_feature {
    uint64_t feature;
    const char *name;
    uint32_t leaf, subleaf, reg, bit; /* of CPUID */
    uint32_t saved;                   /* in XCR0 */
} x86_feature_t;

static const x86_feature_t x86_features[] = {
    {TLM_FEATURE_AVX2, "avx2", 7, 0, EBX, 5, YMM},
    {TLM_FEATURE_FMA, "fma", 1, 0, ECX, 12, YMM},
    {TLM_FEATURE_BMI2, "bmi2", 7, 0, EBX, 8, 0},
    {TLM_FEATURE_F16C, "f16c", 1, 0, ECX, 29, YMM},
    {TLM_FEATURE_AVX_VNNI, "avx_vnni", 7, 1, EAX, 4, YMM},
    {TLM_FEATURE_AVX512F, "avx512f", 7, 0, EBX, 16, ZMM},
    {TLM_FEATURE_AVX512BW, "avx512bw", 7, 0, EBX, 30, ZMM},
    {TLM_FEATURE_AVX512DQ, "avx512dq", 7, 0, EBX, 17, ZMM},
    {TLM_FEATURE_AVX512VL, "avx512vl", 7, 0, EBX, 31, ZMM},
    {TLM_FEATURE_AVX512_VNNI, "avx512_vnni", 7, 0, ECX, 11, ZMM},
    {TLM_FEATURE_AVX512_BF16, "avx512_bf16", 7, 1, EAX, 5, ZMM},
    {TLM_FEATURE_AVX512_FP16, "avx512_fp16", 7, 0, EDX, 23, ZMM},
    {TLM_FEATURE_AMX_TILE, "amx_tile", 7, 0, EDX, 24, TILES},
    {TLM_FEATURE_AMX_INT8, "amx_int8", 7, 0, EDX, 25, TILES},
    {TLM_FEATURE_AMX_BF16, "amx_bf16", 7, 0, EDX, 22, TILES},
};
enum { NUM_X86 = sizeof(x86_features) / sizeof(x86_features[0]) };

/* ---- ARM: bits of the two words in which Linux reports features, and macOS's names ------------ */

typedef struct arm_feature {
    uint64_t feature;
    const char *name;
    int word; /* 0: AT_HWCAP, 1: AT_HWCAP2 */
    int bit;
    const char *apple; /* hw.optional.<apple>; NULL: every CPU */
} arm_feature_t;

static const arm_feature_t arm_features[] = {
    {TLM_FEATURE_NEON, "neon", 0, 1, NULL},
    {TLM_FEATURE_FP16, "fp16", 0, 10, "arm.FEAT_FP16"},
    {TLM_FEATURE_DOTPROD, "dotprod", 0, 20, "arm.FEAT_DotProd"},
    {TLM_FEATURE_I8MM, "i8mm", 1, 13, "arm.FEAT_I8MM"},
    {TLM_FEATURE_BF16, "bf16", 1, 14, "arm.FEAT_BF16"},
    {TLM_FEATURE_SVE, "sve", 0, 22, "arm.FEAT_SVE"},
    {TLM_FEATURE_SVE2, "sve2", 1, 1, "arm.FEAT_SVE2"},
};
enum { NUM_ARM = sizeof(arm_features) / sizeof(arm_features[0]) };

/* ---- Detection ----------------------------------------------------------------------------- */

#if TLMI_X86
static uint32_t saved_registers(void)
{
    uint32_t r[4];
    if (!__get_cpuid(1, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) || (r[ECX] >> 27 & 1) == 0)
        return 0; /* without OSXSAVE, the next instruction is not allowed */
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Reads this leaf and subleaf; returns false if CPUID does not have it. Subleaf 0 of leaf 7
 * reports the last subleaf in EAX. */
static bool read_leaf(uint32_t r[4], uint32_t leaf, uint32_t subleaf)
{
    if (!__get_cpuid_count(leaf, 0, &r[EAX], &r[EBX], &r[ECX], &r[EDX]))
        return false;
    return subleaf == 0 || (r[EAX] >= subleaf &&
                            __get_cpuid_count(leaf, subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]));
}

uint64_t tlmi_cpu_detect(void)
{
    uint32_t saved = saved_registers();
    uint64_t features = 0;
    for (int i = 0; i < NUM_X86; i++) {
        const x86_feature_t *f = &x86_features[i];
        uint32_t r[4];
        if ((saved & f->saved) == f->saved && read_leaf(r, f->leaf, f->subleaf) &&
            (r[f->reg] >> f->bit & 1) != 0)
            features |= f->feature;
    }
    return features;
}
#elif TLMI_ARM64
uint64_t tlmi_cpu_detect(void)
{
    uint64_t features = 0;
    for (int i = 0; i < NUM_ARM; i++) {
        const arm_feature_t *f = &arm_features[i];
        if (tlmi_platform_has_arm_feature(f->word, f->bit, f->apple))
            features |= f->feature;
    }
    return features;
}
#else
uint64_t tlmi_cpu_detect(void)
{
    return 0;
}
#endif

const char *tlm_cpu_feature_name(uint64_t feature)
{
    for (int i = 0; i < NUM_X86; i++)
        if (x86_features[i].feature == feature)
            return x86_features[i].name;
    for (int i = 0; i < NUM_ARM; i++)
        if (arm_features[i].feature == feature)
            return arm_features[i].name;
    return "unknown";
}
