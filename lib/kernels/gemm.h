/* Matrix products on plain arrays. */
#ifndef TLMI_GEMM_H
#define TLMI_GEMM_H

#include "tinylm/status.h"
#include "tinylm/export.h"

/* Single-precision matrix products on the best kernel for this CPU. */

/* One operand: element (i, j) is at data[i * row_stride + j * column_stride]. Swapping the strides
 * transposes it. */
typedef struct tlmi_matrix {
    const float *data;
    int64_t row_stride;
    int64_t column_stride;
} tlmi_matrix_t;

/* C = alpha A B + beta C, with A (m, k), B (k, n), C (m, n); C is row-major with row stride
 * c_stride. With beta = 0, C is not read. The work is split over the pool along m and n, never
 * along k, and by shape only, so the bits are the same for every thread count. Sizes may be 0. */
tlm_status_t tlmi_gemm(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                       tlmi_matrix_t b, float beta, float *c, int64_t c_stride);

/* The same on the calling thread only, for use inside a task of the pool. */
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

#endif
