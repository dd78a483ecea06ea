/* Packing for matrix products: slices of an operand laid out as the micro-kernel reads them. */
#ifndef TLMI_GEMM_PACK_H
#define TLMI_GEMM_PACK_H

#include "tinylm/export.h"

/* Packs a panel: target[p * width + i] = source[i * stride + p * depth_stride] for i < rows, 0 for
 * rows <= i < width; p < depth. */
void tlmi_pack_panel(float *target, int64_t width, int64_t rows, int64_t depth, const float *source,
                     int64_t stride, int64_t depth_stride);

#endif
