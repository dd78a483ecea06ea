/* Weight matrices of any element type, as products and inference take them. Computing is in float32: a
 * product gives what it would give with the weight's values as floats. Only the kernels see the
 * elements; a new type needs a row in base/dtype.c and, to be fast, a kernel in tlmi_weight_dots. */
#ifndef TLMI_WEIGHT_H
#define TLMI_WEIGHT_H

#include "base/dtype.h"
#include "tinylm/status.h"

typedef struct tlmi_weight {
    const tlmi_dtype_t *type;
    int64_t rows, columns; /* (d_out, d_in) of a linear layer; a vector is one row */
    size_t row_bytes;      /* from one row to the next */
    const void *data;
} tlmi_weight_t;

/* Row-major, borrowed. The type has `load`, and columns is a whole number of its blocks. */
tlmi_weight_t tlmi_weight_make(int32_t dtype, const void *data, int64_t rows, int64_t columns);

/* out[t * out_stride + r] = x_t . row (first + r) for t < num_x and r < num_rows; x_t at
 * x + t * x_stride. Each element is one sequence of operations, whatever is beside it. On the calling
 * thread: for products with few x, which are as fast as the weight is read. */
void tlmi_weight_dots(float *out, int64_t out_stride, const float *x, int64_t x_stride,
                      int64_t num_x, const tlmi_weight_t *weight, int64_t first, int64_t num_rows);

/* C (m, rows) = X W^T + beta C, with X (m, columns), both row-major and dense. On all threads. */
tlm_status_t tlmi_weight_product(float *c, int64_t m, const float *x, const tlmi_weight_t *weight,
                                 float beta);

/* C (m, columns) = X W + beta C, with X (m, rows): the way back of a linear layer. */
tlm_status_t tlmi_weight_product_back(float *c, int64_t m, const float *x,
                                      const tlmi_weight_t *weight, float beta);

/* A row as floats: where it lies, or loaded into `scratch` (columns floats). */
const float *tlmi_weight_row(const tlmi_weight_t *weight, int64_t row, float *scratch);

/* The same, always copied to `out`. */
void tlmi_weight_load_row(float *out, const tlmi_weight_t *weight, int64_t row);

#endif
