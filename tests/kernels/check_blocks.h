/* The kernels of block formats, for checkkernels.c, whose data they use. */

static const double tolerance_quantize_row = EXACT;
static void call_quantize_row(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    int16_t numbers[MOST];

    n -= n % 32;
    if (n % 96 == 32)
        X(d, 0)[n / 2] = n % 192 == 32 ? NAN : INFINITY;
    k->quantize_row(numbers, Y(d, 0), Y(d, 1), X(d, 0), n);
    for (int64_t i = 0; i < n; i++)
        Y(d, 2)[i] = (float)numbers[i];
}

/* Any blocks, except that their scales are finite. */
static void fill_rows(uint8_t *rows, size_t size, const data_t *d, const tlmi_dtype_t *format,
                      int place, int place2)
{
    for (size_t i = 0; i < size; i++)
        rows[i] = (uint8_t)(d->bytes[i % FLOATS] * 7 + i);
    for (size_t i = 0; i + format->bytes <= size; i += format->bytes) {
        rows[i + (size_t)place + 1] &= 0xBB; /* below 2 */
        rows[i + (size_t)place2 + 1] &= 0xBB;
    }
}

/* Seven rows by six x. */
static void call_dots(void(*dots) TLMI_DOTS_PARAMETERS, const tlmi_kernels_t *portable, data_t *d,
                      int64_t n, int32_t type, int place, int place2)
{
    const tlmi_dtype_t *format = tlmi_dtype(type);
    const int64_t columns = n - n % format->block, parts = columns / 32;
    static float scales[6 * MOST / 32], sums[6 * MOST / 32];
    static int16_t numbers[6 * MOST];
    static uint8_t rows[7 * MOST * 2];
    const tlmi_quantized_rows_t x = {numbers, scales, sums};

    fill_rows(rows, sizeof(rows), d, format, place, place2);
    for (int t = 0; t < 6; t++)
        portable->quantize_row(numbers + t * columns, scales + t * parts, sums + t * parts,
                               X(d, 0) + t * (columns + 2), columns);
    begin_call(); /* without what is prepared */
    dots(Y(d, 0), 9, &x, 6, rows, 7, columns);
    end_call();
}

/* One row; what the table of types loads is in Y(d, 1), and must be the same. */
static void call_widen(void(*widen) TLMI_WIDEN_PARAMETERS, data_t *d, int64_t n, int32_t type,
                       int place, int place2)
{
    const tlmi_dtype_t *format = tlmi_dtype(type);
    const int64_t columns = n - n % format->block;
    static uint8_t row[2 * MOST];

    fill_rows(row, sizeof(row), d, format, place, place2);
    begin_call();
    widen(Y(d, 0), row, columns);
    end_call();
    format->load(Y(d, 1), row, columns);
    d->r = memcmp(Y(d, 0), Y(d, 1), (size_t)columns * sizeof(float)) == 0 ? 0.0 : (double)NAN;
}

#define CALL_DOTS(name, type, place, place2)                                                       \
    static const double tolerance_dots_##name = EXACT;                                             \
    static void call_dots_##name(const tlmi_kernels_t *k, data_t *d, int64_t n)                    \
    {                                                                                              \
        call_dots(k->dots_##name, k, d, n, type, place, place2);                                   \
    }                                                                                              \
    static const double tolerance_widen_##name = EXACT;                                            \
    static void call_widen_##name(const tlmi_kernels_t *k, data_t *d, int64_t n)                   \
    {                                                                                              \
        call_widen(k->widen_##name, d, n, type, place, place2);                                    \
    }
CALL_DOTS(q8_0, TLM_Q8_0, 0, 0)
CALL_DOTS(q4_0, TLM_Q4_0, 0, 0)
CALL_DOTS(q4_1, TLM_Q4_1, 0, 2)
CALL_DOTS(q5_0, TLM_Q5_0, 0, 0)
CALL_DOTS(q5_1, TLM_Q5_1, 0, 2)
CALL_DOTS(q2_k, TLM_Q2_K, 80, 82)
CALL_DOTS(q3_k, TLM_Q3_K, 108, 108)
CALL_DOTS(q4_k, TLM_Q4_K, 0, 2)
CALL_DOTS(q5_k, TLM_Q5_K, 0, 2)
CALL_DOTS(q6_k, TLM_Q6_K, 208, 208)
