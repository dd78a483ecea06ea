/* Dot products of float32 vectors with rows of one element type, and weighted sums of such rows: a
 * template, included by vector_kernels.h once per type, which defines
 *
 *   ROW                   an element of a row
 *   LOAD_ROW(row, i, n)   a vector of row[i..] as floats, 0 from n on
 *   NAMED(name)           the names of the type's functions
 *   WEIGHTED_ROWS         if it is to have weighted sums of rows
 *
 * The additions are those of the float32 kernel in the same order, so a row of another type gives
 * the same bits as its values converted to floats. */

KERNEL float NAMED(dot)(const float *x, const ROW *y, int64_t n)
{
    V sums[ACCUMULATORS];
    for (int k = 0; k < ACCUMULATORS; k++)
        sums[k] = v_set(0.0f);
    FOR_VECTORS(n, LANES, {
        for (int k = 0; k < ACCUMULATORS; k++) {
            int64_t j = i + k * WIDTH;
            sums[k] = v_fma(v_load(x, j, end, 0.0f), LOAD_ROW(y, j, end), sums[k]);
        }
    });
    return sum_lanes(sums);
}

/* Prefetches the next rows while the loop is at column i of the current `count` rows. Lines are
 * prefetched in the order of memory, which works with the hardware prefetcher; prefetching the rows
 * side by side would make one stream per row. */
HELPER void NAMED(prefetch_rows)(const ROW *next, int count, int64_t i)
{
    for (int r = 0; r < count; r++)
        __builtin_prefetch(next + count * i + r * LANES);
}

/* Four dot products at once: x is read once, and the four chains of additions overlap. Each product
 * does the operations of NAMED(dot) in the same order. */
KERNEL void NAMED(dot4)(float *out, const float *x, const ROW *rows, int64_t stride, int64_t n)
{
    V sums[4][ACCUMULATORS];
    for (int r = 0; r < 4; r++)
        for (int k = 0; k < ACCUMULATORS; k++)
            sums[r][k] = v_set(0.0f);
    FOR_VECTORS(n, LANES, {
        NAMED(prefetch_rows)(rows + 4 * stride, 4, i);
        for (int k = 0; k < ACCUMULATORS; k++) {
            int64_t j = i + k * WIDTH;
            V v = v_load(x, j, end, 0.0f);
            for (int r = 0; r < 4; r++)
                sums[r][k] = v_fma(v, LOAD_ROW(rows + r * stride, j, end), sums[r][k]);
        }
    });
    f4_sums(out, v_fold(sums[0]), v_fold(sums[1]), v_fold(sums[2]), v_fold(sums[3]));
}

KERNEL void NAMED(dot_rows)(float *out, const float *x, const ROW *rows, int64_t stride,
                            int64_t num_rows, int64_t n)
{
    int64_t r = 0;
    for (; r + 4 <= num_rows; r += 4)
        NAMED(dot4)(out + r, x, rows + r * stride, stride, n);
    for (; r < num_rows; r++)
        out[r] = NAMED(dot)(x, rows + r * stride, n);
}

/* TILE vectors x by TILE rows: each loaded vector is used with all those of the other side. */
KERNEL void NAMED(dot_square)(float *out, int64_t out_stride, const float *x, int64_t x_stride,
                              const ROW *rows, int64_t stride, int64_t n)
{
    V sums[TILE][TILE][ACCUMULATORS];
    for (int t = 0; t < TILE; t++)
        for (int r = 0; r < TILE; r++)
            for (int k = 0; k < ACCUMULATORS; k++)
                sums[t][r][k] = v_set(0.0f);
    FOR_VECTORS(n, LANES, {
        NAMED(prefetch_rows)(rows + TILE * stride, TILE, i);
        for (int k = 0; k < ACCUMULATORS; k++) {
            int64_t j = i + k * WIDTH;
            V v[TILE];
            for (int t = 0; t < TILE; t++)
                v[t] = v_load(x + t * x_stride, j, end, 0.0f);
            for (int r = 0; r < TILE; r++) {
                V w = LOAD_ROW(rows + r * stride, j, end);
                for (int t = 0; t < TILE; t++)
                    sums[t][r][k] = v_fma(v[t], w, sums[t][r][k]);
            }
        }
    });
    for (int t = 0; t < TILE; t += 4 / TILE) { /* four sums of one x, or two of each of two x */
        float four[4];
        const int u = TILE == 4 ? t : t + 1, r = TILE == 4 ? 2 : 0;
        f4_sums(four, v_fold(sums[t][0]), v_fold(sums[t][1]), v_fold(sums[u][r]),
                v_fold(sums[u][r + 1]));
        memcpy(out + t * out_stride, four, TILE * sizeof(float));
        if (TILE == 2)
            memcpy(out + u * out_stride, four + 2, TILE * sizeof(float));
    }
}

KERNEL void NAMED(dot_tile)(float *out, int64_t out_stride, const float *x, int64_t x_stride,
                            int64_t num_x, const ROW *rows, int64_t stride, int64_t num_rows,
                            int64_t n)
{
    enum { STEP = TILE > 4 ? TILE : 4 };
    for (int64_t r = 0; r < num_rows; r += STEP) {
        int64_t some = num_rows - r < STEP ? num_rows - r : STEP, t = 0;
        for (; some == STEP && t + TILE <= num_x; t += TILE)
            for (int64_t k = 0; k < STEP; k += TILE)
                NAMED(dot_square)
        (out + t * out_stride + r + k, out_stride, x + t * x_stride, x_stride,
         rows + (r + k) * stride, stride, n);
        for (; t < num_x; t++)
            NAMED(dot_rows)
        (out + t * out_stride + r, x + t * x_stride, rows + r * stride, stride, some, n);
    }
}

#ifdef WEIGHTED_ROWS
/* Takes columns in pairs of vectors. The rows go to PHASES sums in turn, so that their additions
 * overlap. */
KERNEL void NAMED(weighted_rows)(float *out, const float *weights, const ROW *rows, int64_t stride,
                                 int64_t num_rows, int64_t n)
{
    enum { PHASES = 4 };
    FOR_VECTORS(n, 2 * WIDTH, {
        V sums[PHASES][2];
        for (int p = 0; p < PHASES; p++)
            sums[p][0] = sums[p][1] = v_set(0.0f);
        int64_t r = 0;
        for (; r + PHASES <= num_rows; r += PHASES)
            for (int p = 0; p < PHASES; p++) {
                const ROW *row = rows + (r + p) * stride;
                V w = v_set(weights[r + p]);
                sums[p][0] = v_fma(w, LOAD_ROW(row, i, end), sums[p][0]);
                sums[p][1] = v_fma(w, LOAD_ROW(row, i + WIDTH, end), sums[p][1]);
            }
        for (; r < num_rows; r++) {
            const ROW *row = rows + r * stride;
            V w = v_set(weights[r]);
            sums[0][0] = v_fma(w, LOAD_ROW(row, i, end), sums[0][0]);
            sums[0][1] = v_fma(w, LOAD_ROW(row, i + WIDTH, end), sums[0][1]);
        }
        for (int k = 0; k < 2; k++)
            v_store(out, i + k * WIDTH, end,
                    v_add(v_add(sums[0][k], sums[1][k]), v_add(sums[2][k], sums[3][k])));
    });
}
#undef WEIGHTED_ROWS
#endif

#undef ROW
#undef LOAD_ROW
#undef NAMED
