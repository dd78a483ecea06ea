/* The kernel of panel_gemm.c, compiled once a CPU level. The including file defines
 *   PANEL_TARGET      attribute of every function
 *   PANEL_NAME(x)     x with the level's suffix
 *   PANEL_VECTOR      a vector of PANEL_LANES floats; PANEL_LANES divides TLMI_PANEL_WIDTH
 *   PANEL_SET1(x)     x in every lane
 *   PANEL_FMA(a,b,c)  a b + c
 *   PANEL_ROWS        rows of the register tile */

enum { PANEL_NAME(vectors) = TLMI_PANEL_WIDTH / PANEL_LANES };

/* rows x 16 of C, with rows a constant at every call: the accumulators stay in registers. */
static inline __attribute__((always_inline)) PANEL_TARGET void
PANEL_NAME(tile)(const int rows, int64_t columns, int64_t k, const float *a, int64_t a_row,
                 int64_t a_column, const float *panel, float *c, int64_t c_stride, bool accumulate)
{
    enum { VECTORS = PANEL_NAME(vectors) };
    PANEL_VECTOR sums[PANEL_ROWS][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++)
            sums[i][v] = PANEL_SET1(0.0f);
    for (int64_t p = 0; p < k; p++) {
        PANEL_VECTOR b[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            memcpy(&b[v], panel + p * TLMI_PANEL_WIDTH + v * PANEL_LANES, sizeof b[v]);
        for (int i = 0; i < rows; i++) {
            PANEL_VECTOR x = PANEL_SET1(a[i * a_row + p * a_column]);
            for (int v = 0; v < VECTORS; v++)
                sums[i][v] = PANEL_FMA(x, b[v], sums[i][v]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        float *to = c + i * c_stride;
        if (columns == TLMI_PANEL_WIDTH) {
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                PANEL_VECTOR sum = sums[i][v], old;
                if (accumulate) {
                    memcpy(&old, to + v * PANEL_LANES, sizeof old);
                    sum = old + sum;
                }
                memcpy(to + v * PANEL_LANES, &sum, sizeof sum);
            }
            continue;
        }
        float row[TLMI_PANEL_WIDTH];
        memcpy(row, sums[i], sizeof row);
        for (int64_t j = 0; j < columns; j++)
            to[j] = accumulate ? to[j] + row[j] : row[j];
    }
}

static PANEL_TARGET void PANEL_NAME(panel_gemm)(int64_t m, int64_t n, int64_t k, const float *a,
                                                int64_t a_row, int64_t a_column,
                                                const float *panels, int64_t packed_k, float *c,
                                                int64_t c_stride, bool accumulate)
{
    for (int64_t j = 0; j < n; j += TLMI_PANEL_WIDTH) {
        const float *panel = panels + j * packed_k;
        int64_t columns = n - j < TLMI_PANEL_WIDTH ? n - j : TLMI_PANEL_WIDTH;
        int64_t i = 0;
        for (; i + PANEL_ROWS <= m; i += PANEL_ROWS)
            PANEL_NAME(tile)
        (PANEL_ROWS, columns, k, a + i * a_row, a_row, a_column, panel, c + i * c_stride + j,
         c_stride, accumulate);
        for (; i + 4 <= m; i += 4)
            PANEL_NAME(tile)
        (4, columns, k, a + i * a_row, a_row, a_column, panel, c + i * c_stride + j, c_stride,
         accumulate);
        for (; i < m; i++)
            PANEL_NAME(tile)
        (1, columns, k, a + i * a_row, a_row, a_column, panel, c + i * c_stride + j, c_stride,
         accumulate);
    }
}

#undef PANEL_TARGET
#undef PANEL_NAME
#undef PANEL_VECTOR
#undef PANEL_LANES
#undef PANEL_SET1
#undef PANEL_FMA
#undef PANEL_ROWS
