/* The table of kernels: the fastest function of each kernel for the CPU features in use. On the
 * first request, it is filled from the feature mask: first the portable kernels, then, over them,
 * those of each instruction set in the mask.
 *
 * Each kernel is one line in a list below. The list generates the member of the table, the
 * assignments in the file of each instruction set, and the entry in tests/kernels/checkkernels.c,
 * so that none of these can be forgotten. See lib/README.md, "Kernels". */
#ifndef TLMI_KERNELS_H
#define TLMI_KERNELS_H

#include "base/cpu.h"
#include "kernels/byte_masks.h"
#include "kernels/gemm.h"
#include "kernels/pretoken_keys.h"
#include "kernels/vector_math.h"

/* K(name, result, parameters). vector_math.h documents each as tlmi_vec_<name>; dot_tile_bf16 and
 * dot_tile_f16 are dot_tile with rows of 16-bit floats (tlmi_weight_dots). */
#define TLMI_VECTOR_KERNELS(K)                                                                     \
    K(exp, void, (float *y, const float *x, int64_t n))                                            \
    K(exp_sum, float, (float *y, const float *x, float shift, int64_t n))                          \
    K(max, float, (const float *x, int64_t n))                                                     \
    K(sum, float, (const float *x, int64_t n))                                                     \
    K(dot, float, (const float *x, const float *y, int64_t n))                                     \
    K(dot_rows, void,                                                                              \
      (float *out, const float *x, const float *rows, int64_t stride, int64_t num_rows,            \
       int64_t n))                                                                                 \
    K(dot_tile, void,                                                                              \
      (float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t num_x,            \
       const float *rows, int64_t stride, int64_t num_rows, int64_t n))                            \
    K(dot_tile_bf16, void,                                                                         \
      (float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t num_x,            \
       const uint16_t *rows, int64_t stride, int64_t num_rows, int64_t n))                         \
    K(dot_tile_f16, void,                                                                          \
      (float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t num_x,            \
       const uint16_t *rows, int64_t stride, int64_t num_rows, int64_t n))                         \
    K(weighted_rows, void,                                                                         \
      (float *out, const float *weights, const float *rows, int64_t stride, int64_t num_rows,      \
       int64_t n))                                                                                 \
    K(weighted_rows_f16, void,                                                                     \
      (float *out, const float *weights, const uint16_t *rows, int64_t stride, int64_t num_rows,   \
       int64_t n))                                                                                 \
    K(sum_squares, double, (const float *x, int64_t n))                                            \
    K(add, void, (float *y, const float *a, const float *b, int64_t n))                            \
    K(mul, void, (float *y, const float *a, const float *b, int64_t n))                            \
    K(mul_add, void, (float *y, const float *a, const float *b, int64_t n))                        \
    K(scale, void, (float *y, const float *a, float factor, int64_t n))                            \
    K(axpy, void, (float *y, float factor, const float *x, int64_t n))                             \
    K(silu, void, (float *y, const float *x, int64_t n))                                           \
    K(silu_backward, void,                                                                         \
      (float *dx, const float *dy, const float *x, bool accumulate, int64_t n))                    \
    K(silu_mul, void, (float *y, const float *gate, const float *up, int64_t n))                   \
    K(silu_mul_backward, void,                                                                     \
      (float *dgate, bool accumulate_gate, float *dup, bool accumulate_up, const float *dy,        \
       const float *gate, const float *up, int64_t n))                                             \
    K(adamw, void,                                                                                 \
      (float *theta, float *m, float *v, const float *grad, const tlmi_adamw_step_t *step,         \
       int64_t n))

/* Small products on packed panels (tlmi_panel_gemm in gemm.h), and the packing of one full panel
 * that is contiguous along its depth: target[p * width + i] = source[i * stride + p]. */
#define TLMI_PANEL_KERNELS(K)                                                                      \
    K(panel_gemm, void,                                                                            \
      (int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, int64_t a_column,           \
       const float *panels, int64_t packed_k, float *c, int64_t c_stride, bool accumulate))        \
    K(pack_along, void,                                                                            \
      (float *target, int64_t width, int64_t depth, const float *source, int64_t stride))

/* Products with weights in block formats (tlmi_weight_dots). quantize_row makes one row of
 * tlmi_quantized_rows_t; dots_<format> is for rows of n elements, a multiple of the block, and
 * widen_<format> loads a row as the table of types does. All versions give the same bits. */
#define TLMI_DOTS_PARAMETERS                                                                       \
    (float *out, int64_t out_stride, const tlmi_quantized_rows_t *x, int64_t num_x,                \
     const uint8_t *rows, int64_t num_rows, int64_t n)
#define TLMI_WIDEN_PARAMETERS (float *out, const uint8_t *row, int64_t n)
#define TLMI_BLOCK_KERNELS(K)                                                                      \
    K(quantize_row, void,                                                                          \
      (int16_t * numbers, float *scales, float *sums, const float *x, int64_t n))                  \
    K(dots_q8_0, void, TLMI_DOTS_PARAMETERS)                                                       \
    K(dots_q4_0, void, TLMI_DOTS_PARAMETERS)                                                       \
    K(dots_q4_1, void, TLMI_DOTS_PARAMETERS)                                                       \
    K(dots_q5_0, void, TLMI_DOTS_PARAMETERS)                                                       \
    K(dots_q5_1, void, TLMI_DOTS_PARAMETERS)                                                       \
    K(dots_q2_k, void, TLMI_DOTS_PARAMETERS)                                                       \
    K(dots_q3_k, void, TLMI_DOTS_PARAMETERS)                                                       \
    K(dots_q4_k, void, TLMI_DOTS_PARAMETERS)                                                       \
    K(dots_q5_k, void, TLMI_DOTS_PARAMETERS)                                                       \
    K(dots_q6_k, void, TLMI_DOTS_PARAMETERS)                                                       \
    K(widen_q8_0, void, TLMI_WIDEN_PARAMETERS)                                                     \
    K(widen_q4_0, void, TLMI_WIDEN_PARAMETERS)                                                     \
    K(widen_q4_1, void, TLMI_WIDEN_PARAMETERS)                                                     \
    K(widen_q5_0, void, TLMI_WIDEN_PARAMETERS)                                                     \
    K(widen_q5_1, void, TLMI_WIDEN_PARAMETERS)                                                     \
    K(widen_q2_k, void, TLMI_WIDEN_PARAMETERS)                                                     \
    K(widen_q3_k, void, TLMI_WIDEN_PARAMETERS)                                                     \
    K(widen_q4_k, void, TLMI_WIDEN_PARAMETERS)                                                     \
    K(widen_q5_k, void, TLMI_WIDEN_PARAMETERS)                                                     \
    K(widen_q6_k, void, TLMI_WIDEN_PARAMETERS)

/* byte_masks.h */
#define TLMI_BYTE_KERNELS(K) K(byte_masks, void, (tlmi_byte_masks_t * out, const uint8_t *bytes))

/* What counting pretokens repeats for each of them (pretoken_keys.h); n is a multiple of 8.
 *
 * pretoken_keys: cuts (n + 1) are the ends of consecutive pretokens of a text, the first of the one
 * before. 16 bytes may be read from each. Makes their keys (n), finds and prefetches their homes (n)
 * in the num_buckets buckets, and sets bit i % 8 of longs[i / 8] if pretoken i is too long to be its own
 * key; its key is then zeros, and its home is any bucket.
 *
 * count_keys: adds 1 to the first count of each home. Sets bit i % 8 of missed[i / 8] if that was
 * wrong because the first key of the home is not key i. */
#define TLMI_PRETOKEN_KERNELS(K)                                                                   \
    K(pretoken_keys, void,                                                                         \
      (tlmi_pretoken_count_key_t * keys, tlmi_pretoken_bucket_t * *homes, uint8_t * longs,         \
       const uint8_t *text, const size_t *cuts, size_t n, tlmi_pretoken_bucket_t *buckets,         \
       uint32_t num_buckets))                                                                      \
    K(count_keys, void,                                                                            \
      (uint8_t * missed, tlmi_pretoken_bucket_t *const *homes,                                     \
       const tlmi_pretoken_count_key_t *keys, size_t n))

/* The scale of 32 floats whose largest magnitude has these bits: they become whole numbers up to
 * 32767. Magnitudes below 2^-100 count as 0; with NaN or infinity the scale is NaN. */
typedef struct tlmi_block_scale {
    float scale, inverse;
    bool is_finite;
} tlmi_block_scale_t;

static inline tlmi_block_scale_t tlmi_block_scale(uint32_t largest_bits)
{
    const float largest = tlmi_float_of_bits(largest_bits);

    if (largest_bits >= 0x7F800000u)
        return (tlmi_block_scale_t){__builtin_nanf(""), 0.0f, false};
    if (largest < 0x1p-100f)
        return (tlmi_block_scale_t){0.0f, 0.0f, true};
    return (tlmi_block_scale_t){largest / 32767.0f, 32767.0f / largest, true};
}

/* Computes one tile of a large product, C = alpha A B + beta C. A is k columns of gemm.mr floats, B
 * is k rows of gemm.nr floats, and only the first m by n elements of the tile are stored. With beta
 * = 0, C is not read. next_a and next_b are panels to prefetch. The rows of a tile are rows of C,
 * or columns of C if gemm.by_columns is true. The panels are aligned to 64 bytes, and the kernel
 * may read up to 64 floats past their end. */
#define TLMI_GEMM_KERNELS(K)                                                                       \
    K(gemm_tile, void,                                                                             \
      (int64_t m, int64_t n, int64_t k, float alpha, const float *a, const float *b, float beta,   \
       float *c, int64_t c_row_stride, int64_t c_column_stride, const float *next_a,               \
       const float *next_b))

/* Products in bfloat16: packed operands hold pairs of numbers along k, the first in the low half of
 * a word; pairs.group of a row lie together. pair_tile is gemm_tile on them, with k in pairs;
 * round_pairs rounds floats to them: pairs[tlmi_pair_place(group, width, p, i)] holds rows[2 p *
 * width + i] and rows[(2 p + 1) * width + i]. k and num_pairs are multiples of the group. */
#define TLMI_PAIR_KERNELS(K)                                                                       \
    K(pair_tile, void,                                                                             \
      (int64_t m, int64_t n, int64_t k, float alpha, const uint32_t *a, const uint32_t *b,         \
       float beta, float *c, int64_t c_row_stride, int64_t c_column_stride))                       \
    K(round_pairs, void, (uint32_t * pairs, const float *rows, int64_t width, int64_t num_pairs))

#define TLMI_ALL_KERNELS(K)                                                                        \
    TLMI_VECTOR_KERNELS(K)                                                                         \
    TLMI_PANEL_KERNELS(K)                                                                          \
    TLMI_BLOCK_KERNELS(K)                                                                          \
    TLMI_BYTE_KERNELS(K) TLMI_PRETOKEN_KERNELS(K) TLMI_GEMM_KERNELS(K) TLMI_PAIR_KERNELS(K)

/* Constants of a gemm_tile, or of a pair_tile. */
typedef struct tlmi_gemm_shape {
    const char *name; /* tlm_gemm_kernel_name */
    int64_t mr, nr;   /* the tile */
    int64_t kc;       /* k is split into pieces of at most kc, or kc pairs */
    bool by_columns;  /* the kernel needs a column-major tile */
    int64_t group;    /* pairs that lie together in packed operands; 1 for a gemm_tile */
} tlmi_gemm_shape_t;

/* The index of pair p of row i in a packed operand of `width` rows. */
static inline int64_t tlmi_pair_place(int64_t group, int64_t width, int64_t p, int64_t i)
{
    return p / group * group * width + i * group + p % group;
}

/* Depth of pair_tile, the same for all, so that they may give the same bits. */
#define TLMI_PAIR_DEPTH 369

#define TLMI_KERNEL_MEMBER(name, result, parameters) result(*name) parameters;
struct tlmi_kernels {
    uint64_t state; /* the tlmi_cpu_state that the table was made for */
    TLMI_ALL_KERNELS(TLMI_KERNEL_MEMBER)
    tlmi_gemm_shape_t gemm, pairs;
};

/* Fills a table for these features, which the CPU must have. */
void tlmi_kernels_fill(tlmi_kernels_t *table, uint64_t features);

/* Makes the table for the features in use; called by tlmi_kernels. */
const tlmi_kernels_t *tlmi_kernels_select(void);
extern _Atomic(const tlmi_kernels_t *) tlmi_kernels_current;

/* Returns the table for the features in use, borrowed until these change. */
static inline const tlmi_kernels_t *tlmi_kernels(void)
{
    const tlmi_kernels_t *table = atomic_load_explicit(&tlmi_kernels_current, memory_order_acquire);
    uint64_t state = atomic_load_explicit(&tlmi_cpu_state, memory_order_relaxed);
    return table->state == state ? table : tlmi_kernels_select();
}

/* Returns the table of the portable kernels. */
const tlmi_kernels_t *tlmi_kernels_portable(void);

/* ---- Parts of tlmi_kernels_fill: each sets the kernels that it has --------------------------- */

/* Assigns kernel_<name> to the table; for use with a list. */
#define TLMI_SET_KERNEL(name, result, parameters) table->name = kernel_##name;

void tlmi_kernels_fill_portable(tlmi_kernels_t *table);                /* all */
void tlmi_kernels_fill_blis(tlmi_kernels_t *table, uint64_t features); /* gemm_tile */
#if TLMI_X86
void tlmi_kernels_fill_avx2(tlmi_kernels_t *table);
void tlmi_kernels_fill_avx512(tlmi_kernels_t *table);
void tlmi_kernels_fill_vnni(tlmi_kernels_t *table);
void tlmi_kernels_fill_bf16(tlmi_kernels_t *table);
#elif TLMI_ARM64
void tlmi_kernels_fill_neon(tlmi_kernels_t *table);
void tlmi_kernels_fill_bfmmla(tlmi_kernels_t *table);
#endif

#endif
