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
    if (d->packed_for != &k->gemm || d->packed_depth != depth) {
        pack_plainly(a, mr, m, depth, left);
        pack_plainly(b, nr, columns, depth, right);
        d->packed_for = &k->gemm;
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

static int64_t whole_groups(int64_t group, int64_t pairs)
{
    return (pairs + group - 1) / group * group;
}

/* Products in bfloat16 of the same operands as those of gemm_tile. */
static void round_plainly(uint32_t *target, int64_t group, int64_t width, int64_t length,
                          int64_t pairs, const float *source)
{
    const int64_t packed = whole_groups(group, pairs);

    for (int64_t begin = 0; begin < length; begin += width, target += width * packed)
        for (int64_t p = 0; p < packed; p++)
            for (int64_t i = 0; i < width; i++) {
                const float *from = source + ((begin + i) * 7 + p * 6) % (MOST - 3);

                target[tlmi_pair_place(group, width, p, i)] =
                    begin + i < length && p < pairs
                        ? tlmi_float_to_bfloat16(from[0]) |
                              (uint32_t)tlmi_float_to_bfloat16(from[3]) << 16
                        : 0;
            }
}

/* AVX512-BF16 adds up as the portable kernel does. BFMMLA is off by less than a unit in the last place
 * per pair: 512 times that of sums below 64 at worst. */
#if TLMI_ARM64
static const double tolerance_pair_tile = 512 * 0x1p-18;
#else
static const double tolerance_pair_tile = SUMMED;
#endif
static void call_pair_tile(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    int64_t mr = k->pairs.mr, nr = k->pairs.nr, pairs = n < 512 ? n + 1 : 512;
    int64_t group = k->pairs.group, packed_pairs = whole_groups(group, pairs);
    int64_t m = k->pairs.by_columns ? TILE_N : TILE_M,
            columns = k->pairs.by_columns ? TILE_M : TILE_N;
    int64_t row_stride = k->pairs.by_columns ? 1 : TILE_N + 3;
    int64_t column_stride = k->pairs.by_columns ? TILE_N + 3 : 1;
    float alpha = n % 2 == 0 ? 1.0f : 0.75f, beta = (float)(n % 3) / 2;

    uint32_t *a = (uint32_t *)(void *)d->panels, *b = a + TILE_PANELS;

    if (d->packed_for != &k->pairs || d->packed_depth != pairs) {
        round_plainly(a, group, mr, m, pairs, d->x[k->pairs.by_columns]);
        round_plainly(b, group, nr, columns, pairs, d->x[!k->pairs.by_columns]);
        d->packed_for = &k->pairs;
        d->packed_depth = pairs;
    }
    for (int64_t i = 0; i < m; i += mr)
        for (int64_t j = 0; j < columns; j += nr)
            k->pair_tile(m - i < mr ? m - i : mr, columns - j < nr ? columns - j : nr, packed_pairs,
                         alpha, a + i * packed_pairs, b + j * packed_pairs, beta,
                         Y(d, 0) + i * row_stride + j * column_stride, row_stride, column_stride);
}

/* Ties to both sides, what rounds up to the next power of two and to infinity, subnormal numbers, NaN
 * with bits that are cut off alone. */
static const uint32_t hard_to_round[] = {0x3f808000, 0x3f818000, 0x3f808001, 0xbf807fff, 0x3fffffff,
                                         0x7f7fffff, 0xff7f8000, 0x7f7f7fff, 0x00000001, 0x80008000,
                                         0x00018000, 0x007fffff, 0x00800000, 0x7f800000, 0xff800000,
                                         0x7f800001, 0xffc00000, 0x7fbfffff, 0x80000000};
enum { NUM_HARD = sizeof(hard_to_round) / sizeof(*hard_to_round) };

static const double tolerance_round_pairs = EXACT;
static void call_round_pairs(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    static float rows[FLOATS];
    static uint32_t packed[FLOATS + SPARE];
    const int64_t width = n % 37 + 1, pairs = n / (2 * width), group = k->pairs.group;
    const int64_t size = width * whole_groups(group, pairs);
    uint64_t hash = 0;

    memcpy(rows, d->x[0], sizeof(rows));
    for (int64_t i = 0; i < n; i++)
        if ((i * 7 + n) % 3 == 0)
            rows[i] = tlmi_float_of_bits(hard_to_round[(i + n) % NUM_HARD]);
    memset(packed, 0xa5, sizeof(packed));
    k->round_pairs(packed + d->shift, rows + d->shift, width, size / width);
    for (int64_t p = 0; p < pairs; p++)
        for (int64_t i = 0; i < width; i++)
            hash = hash * 31 + packed[d->shift + tlmi_pair_place(group, width, p, i)];
    for (int64_t i = 0; i < SPARE / 2; i++) /* nothing is written behind them */
        hash = hash * 31 + packed[d->shift + size + i];
    d->masks = (tlmi_byte_masks_t){.upper = hash};
}
