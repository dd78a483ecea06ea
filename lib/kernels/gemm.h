/* Matrix products on plain arrays, and on weights of any element type. */
#ifndef TLMI_GEMM_H
#define TLMI_GEMM_H

#include "base/dtype.h"
#include "tinylm/runtime.h"
#include "tinylm/status.h"

typedef struct tlmi_kernels tlmi_kernels_t;

/* Single-precision matrix products on the best kernel for this CPU. */

/* One operand: element (i, j) is at data[i * row_stride + j * column_stride]. Swapping the strides
 * transposes it. */
typedef struct tlmi_matrix {
    const float *data;
    int64_t row_stride;
    int64_t column_stride;
} tlmi_matrix_t;

/* C = alpha A B + beta C, with A (m, k), B (k, n), C (m, n); C is row-major with row stride
 * c_stride. With beta = 0, C is not read. `products` says how factors are taken (TLM_PRODUCTS_...,
 * which the CPU must have); they are rounded to bfloat16 while they are packed, and sums are
 * float32. The work is split over the pool along m and n, never along k, and by shape only, so the
 * bits are the same for every thread count. Sizes may be 0. */
void tlmi_gemm_as(int32_t products, int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                  tlmi_matrix_t b, float beta, float *c, int64_t c_stride);

/* The same in float32. */
static inline tlm_status_t tlmi_gemm(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                                     tlmi_matrix_t b, float beta, float *c, int64_t c_stride)
{
    tlmi_gemm_as(TLM_PRODUCTS_FLOAT32, m, n, k, alpha, a, b, beta, c, c_stride);
    return TLM_OK;
}

/* Fails unless it is a TLM_PRODUCTS_... that the CPU has. */
tlm_status_t tlmi_products_check(const char *function, int32_t products);

/* Sets tlm_products() of this thread to a value that was checked before, and returns the former. */
int32_t tlmi_products_swap(int32_t products);

/* tlmi_gemm on the calling thread only, for use inside a task of the pool. */
void tlmi_gemm_serial(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                      tlmi_matrix_t b, float beta, float *c, int64_t c_stride);

/* Triple loop with float64 sums, for tests. */
void tlmi_gemm_reference(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                         tlmi_matrix_t b, float beta, float *c, int64_t c_stride);

/* Products with few rows, as in generation token by token. They run at the speed of reading the
 * matrix from memory, and packing it would cost more than the product. */

/* Computes C = alpha A B + beta C and returns true if the shape and layout are of that kind;
 * otherwise returns false. */
bool tlmi_gemv(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a, tlmi_matrix_t b,
               float beta, float *c, int64_t c_row_stride, int64_t c_column_stride, bool serial);

/* Packing for matrix products: slices of an operand in the layout that the micro-kernel reads. */

/* Packs ceil(rows / width) panels: row i at depth p goes to target[i / width * panel_size + p *
 * width + i % width], and rows missing from the last panel are filled with 0. The source has row i
 * at depth p in source[i * stride + p * depth_stride]. */
void tlmi_pack_panels(float *target, int64_t panel_size, int64_t width, int64_t rows, int64_t depth,
                      const float *source, int64_t stride, int64_t depth_stride);

/* The same with pairs of bfloat16 along the depth, in groups, the last one filled with 0: the
 * layout is that of round_pairs of tlmi_kernels_t; panel_size is in pairs. */
void tlmi_pack_pairs(const tlmi_kernels_t *kernels, uint32_t *target, int64_t panel_size,
                     int64_t width, int64_t rows, int64_t depth, const float *source,
                     int64_t stride, int64_t depth_stride);

/* Small matrix products on packed panels, for attention's tiles. These are too small for tlmi_gemm,
 * whose packing would cost as much as the product. */

#define TLMI_PANEL_WIDTH 16

/* Number of floats in k packed rows of n columns. */
static inline int64_t tlmi_panel_size(int64_t k, int64_t n)
{
    return (n + TLMI_PANEL_WIDTH - 1) / TLMI_PANEL_WIDTH * TLMI_PANEL_WIDTH * k;
}

/* Packs B (k, n), with element (i, j) at b[i * row_stride + j * column_stride], into panels of 16
 * columns, padded with zeros. */
void tlmi_panel_pack(float *panels, const float *b, int64_t row_stride, int64_t column_stride,
                     int64_t k, int64_t n);

/* C (m, n) = A B, or C += A B, using the first k of the packed_k rows of the packed B. Element (i,
 * p) of A is at a[i * a_row + p * a_column]; C is row-major with stride c_stride. Runs on the
 * calling thread. */
void tlmi_panel_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                     int64_t a_column, const float *panels, int64_t packed_k, float *c,
                     int64_t c_stride, bool accumulate);

/* ---- Weights ----------------------------------------------------------------------------- */

/* Weight matrices of any element type, as products and inference use them. Arithmetic is in
 * float32: a product equals that of the values of the weight as floats. Only the kernels read the
 * elements. A new type needs a row in base/dtype.c and, to be fast, a kernel in
 * tlmi_weight_dots. */

typedef struct tlmi_weight {
    const tlmi_dtype_t *type;
    int64_t rows, columns; /* (d_out, d_in) of a linear layer; a vector is one row */
    size_t row_bytes;      /* from one row to the next */
    const void *data;
} tlmi_weight_t;

/* Describes row-major data, which is borrowed. The type must have `load`, and columns must be a
 * multiple of its block size. */
tlmi_weight_t tlmi_weight_make(int32_t dtype, const void *data, int64_t rows, int64_t columns);

/* Rows of x as whole numbers of 16 bits, with a scale for each 32: for products with weights in block
 * formats. Their sums are integers, exact, and x loses 2^-16 of the largest of its 32. */
typedef struct tlmi_quantized_rows {
    int16_t *numbers; /* (rows, columns) */
    float *scales;    /* (rows, columns / 32) */
    float *sums;      /* (rows, columns / 32): scale times the sum of the numbers */
} tlmi_quantized_rows_t;

/* Whether products with this weight read x quantized; columns are then a multiple of 32. */
bool tlmi_weight_takes_quantized(const tlmi_weight_t *weight);

/* `room` is memory for rows x columns floats, which must stay. */
void tlmi_quantize_rows(tlmi_quantized_rows_t *out, void *room, const float *x, int64_t rows,
                        int64_t columns);

/* out[t * out_stride + r] = x_t . row (first + r) for t < num_x and r < num_rows; x_t is at x + t *
 * x_stride. Each element is computed by the same sequence of operations, whatever is computed
 * beside it. Runs on the calling thread: for products with few x, which run at the speed of reading
 * the weight. `quantized` is the same x if the weight takes that; NULL: its elements become floats. */
void tlmi_weight_dots(float *out, int64_t out_stride, const float *x, int64_t x_stride,
                      int64_t num_x, const tlmi_quantized_rows_t *quantized,
                      const tlmi_weight_t *weight, int64_t first, int64_t num_rows);

/* C (m, rows) = X W^T + beta C, with X (m, columns), both row-major and dense, and factors as
 * `products` says (tlmi_gemm_as). Uses all threads. */
tlm_status_t tlmi_weight_product(float *c, int32_t products, int64_t m, const float *x,
                                 const tlmi_weight_t *weight, float beta);

/* C (m, columns) = X W + beta C, with X (m, rows): the backward product of a linear layer. */
tlm_status_t tlmi_weight_product_back(float *c, int32_t products, int64_t m, const float *x,
                                      const tlmi_weight_t *weight, float beta);

/* Returns a row as floats: in place, or loaded into `scratch` (columns floats). */
const float *tlmi_weight_row(const tlmi_weight_t *weight, int64_t row, float *scratch);

/* Loads a row as floats, always copied to `out`. */
void tlmi_weight_load_row(float *out, const tlmi_weight_t *weight, int64_t row);

#endif
