/* Packing of panels. The tile widths of the kernels are constants in the inner loops, so that the
 * compiler unrolls them; other widths use the general loop. */
#include <string.h>

#include "kernels/gemm.h"
#include "kernels/kernels.h"

/* Number of lines of an operand to prefetch ahead of the copy: they are too far apart for the
 * hardware prefetcher. */
enum { AHEAD = 6 };

#define INLINE static inline __attribute__((always_inline))

static void pack_general(float *target, int64_t width, int64_t rows, int64_t depth,
                         const float *source, int64_t stride, int64_t depth_stride)
{
    for (int64_t p = 0; p < depth; p++) {
        for (int64_t i = 0; i < rows; i++)
            target[p * width + i] = source[i * stride + p * depth_stride];
        for (int64_t i = rows; i < width; i++)
            target[p * width + i] = 0.0f;
    }
}

/* Packs full panels whose rows are adjacent in memory, with short copies. Each line of the source
 * goes to all panels before the next line starts, so that memory is read in order. */
INLINE void pack_across(float *target, int64_t panel_size, int64_t panels, int64_t width,
                        int64_t depth, const float *source, int64_t depth_stride)
{
    for (int64_t p = 0; p < depth; p++, source += depth_stride) {
        const char *ahead = (const char *)(source + (p + AHEAD < depth ? AHEAD * depth_stride : 0));
        for (int64_t i = 0; i < panels * width * (int64_t)sizeof(float); i += 64)
            __builtin_prefetch(ahead + i);
        for (int64_t i = 0; i < panels; i++)
            memcpy(target + i * panel_size + p * width, source + i * width,
                   (size_t)width * sizeof(float));
    }
}

INLINE void pack_full(float *target, int64_t panel_size, int64_t panels, int64_t width,
                      int64_t depth, const float *source, int64_t stride, int64_t depth_stride)
{
    if (stride == 1) {
        pack_across(target, panel_size, panels, width, depth, source, depth_stride);
        return;
    }
    for (int64_t i = 0; i < panels; i++, target += panel_size, source += width * stride) {
        if (depth_stride == 1)
            tlmi_kernels()->pack_along(target, width, depth, source, stride);
        else
            pack_general(target, width, width, depth, source, stride, depth_stride);
    }
}

void tlmi_pack_panels(float *target, int64_t panel_size, int64_t width, int64_t rows, int64_t depth,
                      const float *source, int64_t stride, int64_t depth_stride)
{
    int64_t panels = rows / width;
    switch (width) {
    case 4:
        pack_full(target, panel_size, panels, 4, depth, source, stride, depth_stride);
        break;
    case 6:
        pack_full(target, panel_size, panels, 6, depth, source, stride, depth_stride);
        break;
    case 8:
        pack_full(target, panel_size, panels, 8, depth, source, stride, depth_stride);
        break;
    case 12:
        pack_full(target, panel_size, panels, 12, depth, source, stride, depth_stride);
        break;
    case 16:
        pack_full(target, panel_size, panels, 16, depth, source, stride, depth_stride);
        break;
    case 32:
        pack_full(target, panel_size, panels, 32, depth, source, stride, depth_stride);
        break;
    default:
        for (int64_t i = 0; i < panels; i++)
            pack_general(target + i * panel_size, width, width, depth, source + i * width * stride,
                         stride, depth_stride);
        break;
    }
    if (rows > panels * width)
        pack_general(target + panels * panel_size, width, rows - panels * width, depth,
                     source + panels * width * stride, stride, depth_stride);
}

/* Floats of a piece of a panel go through a buffer in the first-level cache. */
void tlmi_pack_pairs(const tlmi_kernels_t *kernels, uint32_t *target, int64_t panel_size,
                     int64_t width, int64_t rows, int64_t depth, const float *source,
                     int64_t stride, int64_t depth_stride)
{
    enum { PIECE = 64 /* of the depth, a multiple of 2 group */, MOST_WIDTH = 32 };
    _Alignas(64) float piece[PIECE * MOST_WIDTH];
    const int64_t group = kernels->pairs.group;

    for (int64_t row = 0; row < rows; row += width, target += panel_size)
        for (int64_t p = 0; p < depth; p += PIECE) {
            int64_t length = depth - p < PIECE ? depth - p : PIECE;

            tlmi_pack_panels(piece, 0, width, rows - row < width ? rows - row : width, length,
                             source + row * stride + p * depth_stride, stride, depth_stride);
            for (; length % (2 * group) != 0; length++)
                memset(piece + length * width, 0, (size_t)width * sizeof(float));
            kernels->round_pairs(target + p / 2 * width, piece, width, length / 2);
        }
}
