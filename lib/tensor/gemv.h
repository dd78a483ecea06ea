/* Products with few rows, as when a model generates token by token: they are as fast as the matrix
 * streams from memory, and packing it would cost more than the product. */
#ifndef TLMI_GEMV_H
#define TLMI_GEMV_H

#include "tensor/gemm.h"

/* Does C = alpha A B + beta C and returns true, if the shape and layout are of that kind. */
bool tlmi_gemv(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a, tlmi_matrix_t b,
               float beta, float *c, int64_t c_row_stride, int64_t c_column_stride, bool serial);

#endif
