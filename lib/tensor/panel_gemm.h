/* Small matrix products on packed panels, for attention's tiles: too small for BLIS, whose packing
 * and checks would cost as much as the product. */
#ifndef TLMI_PANEL_GEMM_H
#define TLMI_PANEL_GEMM_H

#include "tinylm/export.h"

#define TLMI_PANEL_WIDTH 16

/* Floats that k rows of n columns take when packed. */
static inline int64_t tlmi_panel_size(int64_t k, int64_t n)
{
    return (n + TLMI_PANEL_WIDTH - 1) / TLMI_PANEL_WIDTH * TLMI_PANEL_WIDTH * k;
}

/* Packs B (k, n), element (i, j) at b[i * row_stride + j * column_stride], into panels of 16
 * columns, padded with zeros. */
void tlmi_panel_pack(float *panels, const float *b, int64_t row_stride, int64_t column_stride,
                     int64_t k, int64_t n);

/* C (m, n) = A B, or C += A B, with the first k of the packed_k rows that B was packed with. A's
 * element (i, p) is at a[i * a_row + p * a_column]; C is row-major with stride c_stride. On the
 * calling thread. */
void tlmi_panel_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                     int64_t a_column, const float *panels, int64_t packed_k, float *c,
                     int64_t c_stride, bool accumulate);

#endif
