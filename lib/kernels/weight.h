/* Weight matrices of any element type, as products and inference use them. Arithmetic is in
 * float32: a product equals that of the values of the weight as floats. Only the kernels read the
 * elements. A new type needs a row in base/dtype.c and, to be fast, a kernel in
 * tlmi_weight_dots. */
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

/* Describes row-major data, which is borrowed. The type must have `load`, and columns must be a
 * multiple of its block size. */
tlmi_weight_t tlmi_weight_make(int32_t dtype, const void *data, int64_t rows, int64_t columns);

/* out[t * out_stride + r] = x_t . row (first + r) for t < num_x and r < num_rows; x_t is at x + t *
 * x_stride. Each element is computed by the same sequence of operations, whatever is computed
 * beside it. Runs on the calling thread: for products with few x, which run at the speed of reading
 * the weight. */
void tlmi_weight_dots(float *out, int64_t out_stride, const float *x, int64_t x_stride,
                      int64_t num_x, const tlmi_weight_t *weight, int64_t first, int64_t num_rows);

/* C (m, rows) = X W^T + beta C, with X (m, columns), both row-major and dense. Uses all threads. */
tlm_status_t tlmi_weight_product(float *c, int64_t m, const float *x, const tlmi_weight_t *weight,
                                 float beta);

/* C (m, columns) = X W + beta C, with X (m, rows): the backward product of a linear layer. */
tlm_status_t tlmi_weight_product_back(float *c, int64_t m, const float *x,
                                      const tlmi_weight_t *weight, float beta);

/* Returns a row as floats: in place, or loaded into `scratch` (columns floats). */
const float *tlmi_weight_row(const tlmi_weight_t *weight, int64_t row, float *scratch);

/* Loads a row as floats, always copied to `out`. */
void tlmi_weight_load_row(float *out, const tlmi_weight_t *weight, int64_t row);

#endif
