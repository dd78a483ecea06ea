/* The micro-kernels of BLIS, the fastest ones for a tile of a large product. Only this file uses
 * BLIS.
 *
 * Each kernel is called by its own name. The contexts of BLIS would link its whole framework,
 * choose a kernel by CPU family (which goes wrong on CPUs newer than BLIS), and abort on several
 * kinds of errors. The kernels used here read nothing from a context: the sizes of their tiles are
 * constants, listed with them below. lib/meson.build checks which kernels the archive has and
 * defines TLMI_BLIS_... for these. The portable kernel replaces a missing one. */
#include "kernels/kernels.h"

#include <blis.h>

/* The kernels of BLIS take non-const operands, but write only to C. */
#define TILE_FUNCTION(name, kernel)                                                                \
    static void name(int64_t m, int64_t n, int64_t k, float alpha, const float *a, const float *b, \
                     float beta, float *c, int64_t c_row_stride, int64_t c_column_stride,          \
                     const float *next_a, const float *next_b)                                     \
    {                                                                                              \
        auxinfo_t next = {0};                                                                      \
        bli_auxinfo_set_next_a((void *)(uintptr_t)next_a, &next);                                  \
        bli_auxinfo_set_next_b((void *)(uintptr_t)next_b, &next);                                  \
        kernel(m, n, k, &alpha, (float *)(uintptr_t)a, (float *)(uintptr_t)b, &beta, c,            \
               c_row_stride, c_column_stride, &next, NULL);                                        \
    }

typedef struct blis_kernel {
    uint64_t needs; /* CPU features */
    void (*tile)(int64_t m, int64_t n, int64_t k, float alpha, const float *a, const float *b,
                 float beta, float *c, int64_t c_row_stride, int64_t c_column_stride,
                 const float *next_a, const float *next_b);
    tlmi_gemm_shape_t shape;
} blis_kernel_t;

#ifdef TLMI_BLIS_HASWELL
TILE_FUNCTION(tile_haswell, bli_sgemm_haswell_asm_6x16)
#endif
#ifdef TLMI_BLIS_SKX
TILE_FUNCTION(tile_skx, bli_sgemm_skx_asm_32x12_l2)
#endif
#ifdef TLMI_BLIS_ARMV8A
TILE_FUNCTION(tile_armv8a, bli_sgemm_armv8a_asm_8x12)
#endif

/* The last entry whose features are available is used. The depths are twice those of BLIS on x86:
 * this halves the passes over C, and the second-level cache still delivers the panels in time. When
 * memory is out, the depth is what fits in the stack buffers (gemm.c, STACK_FLOATS). Changing a
 * depth changes the last bits of products. */
static const blis_kernel_t blis_kernels[] = {
#ifdef TLMI_BLIS_HASWELL
    {TLMI_NEEDS_AVX2, tile_haswell, {"haswell", 6, 16, 512, false, 1}},
#endif
#ifdef TLMI_BLIS_SKX
    {TLMI_NEEDS_AVX512, tile_skx, {"skx", 32, 12, 369, true, 1}},
#endif
#ifdef TLMI_BLIS_ARMV8A
    {TLMI_NEEDS_NEON, tile_armv8a, {"armv8a", 8, 12, 640, true, 1}},
#endif
    {UINT64_MAX, NULL, {NULL, 0, 0, 0, false, 1}}, /* so that the array is never empty */
};

void tlmi_kernels_fill_blis(tlmi_kernels_t *table, uint64_t features)
{
    for (size_t i = 0; i < sizeof(blis_kernels) / sizeof(blis_kernels[0]); i++) {
        if (!tlmi_has_features(features, blis_kernels[i].needs))
            continue;
        table->gemm_tile = blis_kernels[i].tile;
        table->gemm = blis_kernels[i].shape;
    }
}
