/* Packing for matrix products: slices of an operand laid out as the micro-kernel reads them. */
#ifndef TLMI_GEMM_PACK_H
#define TLMI_GEMM_PACK_H

#include "tinylm/export.h"

/* Packs ceil(rows / width) panels: row i of them, at depth p, goes to
 * target[i / width * panel_size + p * width + i % width], and the rows that the last panel lacks are
 * 0. The source has row i at depth p in source[i * stride + p * depth_stride]. */
void tlmi_pack_panels(float *target, int64_t panel_size, int64_t width, int64_t rows, int64_t depth,
                      const float *source, int64_t stride, int64_t depth_stride);

#endif
