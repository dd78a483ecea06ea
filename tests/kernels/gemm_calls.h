/* The calls of the kernels of large products, for checkkernels.c alone. */

/* C (100, 50) of A (100, n) and B (n, 50), tile by tile; packed in front of the first call. */
enum { TILE_M = 100, TILE_N = 50, TILE_PANELS = 1 << 17 };
static void pack_plainly(float *target, int64_t width, int64_t length, int64_t depth,
                         const float *source)
{
    for (int64_t begin = 0; begin < length; begin += width)
        for (int64_t p = 0; p < depth; p++)
            for (int64_t i = begin; i < begin + width; i++)
                *target++ = i < length ? source[(i * 7 + p * 3) % MOST] : 0.0f;
}

static const double tolerance_gemm_tile = SUMMED;
static void call_gemm_tile(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    int64_t mr = k->gemm.mr, nr = k->gemm.nr, depth = n < 512 ? n + 1 : 512;
    int64_t m = k->gemm.by_columns ? TILE_N : TILE_M,
            columns = k->gemm.by_columns ? TILE_M : TILE_N;
    const float *left = d->x[k->gemm.by_columns], *right = d->x[!k->gemm.by_columns];
    float *a = d->panels, *b = d->panels + TILE_PANELS;
    if (d->packed_for != k->gemm.name || d->packed_depth != depth) {
        pack_plainly(a, mr, m, depth, left);
        pack_plainly(b, nr, columns, depth, right);
        d->packed_for = k->gemm.name;
        d->packed_depth = depth;
    }
    int64_t row_stride = k->gemm.by_columns ? 1 : TILE_N + 3;
    int64_t column_stride = k->gemm.by_columns ? TILE_N + 3 : 1;
    float alpha = n % 2 == 0 ? 1.0f : 0.75f, beta = (float)(n % 3) / 2;
    for (int64_t i = 0; i < m; i += mr)
        for (int64_t j = 0; j < columns; j += nr)
            k->gemm_tile(m - i < mr ? m - i : mr, columns - j < nr ? columns - j : nr, depth, alpha,
                         a + i * depth, b + j * depth, beta,
                         Y(d, 0) + i * row_stride + j * column_stride, row_stride, column_stride, a,
                         b);
}

/* Products in bfloat16 of the same operands as those of gemm_tile. */
static void round_plainly(uint32_t *target, int64_t width, int64_t length, int64_t pairs,
                          const float *source)
{
    for (int64_t begin = 0; begin < length; begin += width)
        for (int64_t p = 0; p < pairs; p++)
            for (int64_t i = begin; i < begin + width; i++) {
                const float *from = source + (i * 7 + p * 6) % (MOST - 3);

                *target++ = i < length ? tlmi_float_to_bfloat16(from[0]) |
                                             (uint32_t)tlmi_float_to_bfloat16(from[3]) << 16
                                       : 0;
            }
}

static const double tolerance_pair_tile = SUMMED;
static void call_pair_tile(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    static uint32_t packed[2][TILE_PANELS];
    int64_t mr = k->pairs.mr, nr = k->pairs.nr, pairs = n < 512 ? n + 1 : 512;
    int64_t m = k->pairs.by_columns ? TILE_N : TILE_M,
            columns = k->pairs.by_columns ? TILE_M : TILE_N;
    int64_t row_stride = k->pairs.by_columns ? 1 : TILE_N + 3;
    int64_t column_stride = k->pairs.by_columns ? TILE_N + 3 : 1;
    float alpha = n % 2 == 0 ? 1.0f : 0.75f, beta = (float)(n % 3) / 2;

    round_plainly(packed[0], mr, m, pairs, d->x[k->pairs.by_columns]);
    round_plainly(packed[1], nr, columns, pairs, d->x[!k->pairs.by_columns]);
    for (int64_t i = 0; i < m; i += mr)
        for (int64_t j = 0; j < columns; j += nr)
            k->pair_tile(m - i < mr ? m - i : mr, columns - j < nr ? columns - j : nr, pairs, alpha,
                         packed[0] + i * pairs, packed[1] + j * pairs, beta,
                         Y(d, 0) + i * row_stride + j * column_stride, row_stride, column_stride);
}

static const double tolerance_round_pairs = EXACT;
static void call_round_pairs(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    int64_t width = n % 37 + 1;

    k->round_pairs((uint32_t *)(void *)Y(d, 0), X(d, 0), width, n / (2 * width));
}
