/* Single-precision matrix products on BLIS's best kernel for this CPU. The only user of BLIS. */
#ifndef TLMI_GEMM_H
#define TLMI_GEMM_H

#include "tinylm/status.h"

/* One operand: element (i, j) at data[i * row_stride + j * column_stride]. A transpose is a swap of
 * the strides. */
typedef struct tlmi_matrix {
    const float *data;
    int64_t row_stride;
    int64_t column_stride;
} tlmi_matrix_t;

/* C = alpha A B + beta C, with A (m, k), B (k, n), C (m, n); C is row-major with row_stride
 * c_stride. beta = 0 does not read C. Split over the pool along m and n, by shape only, never along
 * k: the same bits for every thread count. Zero sizes are fine. */
tlm_status_t tlmi_gemm(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                       tlmi_matrix_t b, float beta, float *c, int64_t c_stride);

/* Bytes that a tlmi_gemm of this size takes of the buffer cache while it runs, unless it has so few
 * rows or columns that it packs nothing. Sizes are positive. */
size_t tlmi_gemm_workspace(int64_t m, int64_t n, int64_t k);

/* The same on the calling thread alone, for use inside a task of the pool. tlmi_gemm_prepare must
 * have been called once before, outside the pool. */
void tlmi_gemm_serial(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                      tlmi_matrix_t b, float beta, float *c, int64_t c_stride);
void tlmi_gemm_prepare(void);

/* Triple loop, for tests: sums in float64. */
void tlmi_gemm_reference(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                         tlmi_matrix_t b, float beta, float *c, int64_t c_stride);

#endif
