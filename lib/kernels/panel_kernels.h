/* Products on packed panels and the packing of panels, written once in terms of the operations of
 * simd_helpers.h. The including file includes simd_<level>.h first. */

/* A register tile has 16 columns, and PANEL_ROWS rows, as many as the registers can hold. */
enum { VECTORS = TLMI_PANEL_WIDTH / W_WIDTH };

/* Computes rows x 16 elements of C. `rows` is a constant at every call, so that the accumulators
 * stay in registers. */
HELPER void panel_tile(const int rows, int64_t columns, int64_t k, const float *a, int64_t a_row,
                       int64_t a_column, const float *panel, float *c, int64_t c_stride,
                       bool accumulate)
{
    W sums[PANEL_ROWS][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++)
            sums[i][v] = w_set(0.0f);
    for (int64_t p = 0; p < k; p++) {
        W b[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            b[v] = w_load(panel + p * TLMI_PANEL_WIDTH + v * W_WIDTH);
        for (int i = 0; i < rows; i++) {
            W x = w_set(a[i * a_row + p * a_column]);
            for (int v = 0; v < VECTORS; v++)
                sums[i][v] = w_fma(x, b[v], sums[i][v]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        float *to = c + i * c_stride;
        if (columns == TLMI_PANEL_WIDTH) {
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                float *place = to + v * W_WIDTH;
                w_store(place, accumulate ? w_add(w_load(place), sums[i][v]) : sums[i][v]);
            }
            continue;
        }
        float row[TLMI_PANEL_WIDTH];
        memcpy(row, sums[i], sizeof(row));
        for (int64_t j = 0; j < columns; j++)
            to[j] = accumulate ? to[j] + row[j] : row[j];
    }
}

KERNEL void kernel_panel_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                              int64_t a_column, const float *panels, int64_t packed_k, float *c,
                              int64_t c_stride, bool accumulate)
{
    for (int64_t j = 0; j < n; j += TLMI_PANEL_WIDTH) {
        const float *panel = panels + j * packed_k;
        int64_t columns = n - j < TLMI_PANEL_WIDTH ? n - j : TLMI_PANEL_WIDTH;
        int64_t i = 0;
        for (; i + PANEL_ROWS <= m; i += PANEL_ROWS)
            panel_tile(PANEL_ROWS, columns, k, a + i * a_row, a_row, a_column, panel,
                       c + i * c_stride + j, c_stride, accumulate);
        for (; i + 4 <= m; i += 4)
            panel_tile(4, columns, k, a + i * a_row, a_row, a_column, panel, c + i * c_stride + j,
                       c_stride, accumulate);
        for (; i < m; i++)
            panel_tile(1, columns, k, a + i * a_row, a_row, a_column, panel, c + i * c_stride + j,
                       c_stride, accumulate);
    }
}

/* Packs a full panel of constant width, four columns of the source at a time. For six rows,
 * v_transpose writes eight floats, and the next column overwrites the last two. The plain loop
 * therefore packs the last column, so that nothing is written past the panel. */
HELPER void pack_width(const int width, float *target, int64_t depth, const float *source,
                       int64_t stride)
{
    int64_t p = 0, end = width % 8 == 6 ? depth - 1 : depth;
    for (; p + 4 <= end; p += 4)
        for (int i = 0; i < width; i += 8)
            v_transpose(target + p * width + i, width, source + i * stride + p, stride,
                        width - i < 8 ? width - i : 8);
    for (; p < depth; p++)
        for (int i = 0; i < width; i++)
            target[p * width + i] = source[i * stride + p];
}

KERNEL void kernel_pack_along(float *target, int64_t width, int64_t depth, const float *source,
                              int64_t stride)
{
    switch (width) { /* the widths of gemm.mr, gemm.nr and TLMI_PANEL_WIDTH */
    case 4:
        pack_width(4, target, depth, source, stride);
        return;
    case 6:
        pack_width(6, target, depth, source, stride);
        return;
    case 8:
        pack_width(8, target, depth, source, stride);
        return;
    case 12:
        pack_width(12, target, depth, source, stride);
        return;
    case 16:
        pack_width(16, target, depth, source, stride);
        return;
    case 32:
        pack_width(32, target, depth, source, stride);
        return;
    default:
        for (int64_t p = 0; p < depth; p++)
            for (int64_t i = 0; i < width; i++)
                target[p * width + i] = source[i * stride + p];
    }
}
