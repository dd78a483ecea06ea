/* The kernels in portable C: the reference for the others, and the fallback on a CPU without their
 * instruction sets. */
#include "kernels/kernels.h"
#include "kernels/simd_scalar.h"

#include "kernels/vector_kernels.h"

#include "kernels/panel_kernels.h"

#include "kernels/block_scalar.h"

#include "kernels/block_kernels.h"

/* ---- Masks of bytes --------------------------------------------------------------------- */

enum {
    UPPER = 1,
    LOWER = 2,
    NUMBER = 4,
    SPACE = 8,
    BLANK = 16,
    NEWLINE = 32,
    APOSTROPHE = 64,
    SLASH = 128
};

#define U UPPER
#define L LOWER
#define N NUMBER
#define S SPACE
#define B BLANK
#define E NEWLINE
#define A APOSTROPHE
#define H SLASH
static const uint8_t ascii_bits[256] = {
    0,     0, 0, 0, 0, 0, 0, 0, 0, S, S | E, S, S, S | E, 0, 0, /* 00 */
    0,     0, 0, 0, 0, 0, 0, 0, 0, 0, 0,     0, 0, 0,     0, 0, /* 10 */
    S | B, 0, 0, 0, 0, 0, 0, A, 0, 0, 0,     0, 0, 0,     0, H, /* 20 */
    N,     N, N, N, N, N, N, N, N, N, 0,     0, 0, 0,     0, 0, /* 30 */
    0,     U, U, U, U, U, U, U, U, U, U,     U, U, U,     U, U, /* 40 */
    U,     U, U, U, U, U, U, U, U, U, U,     0, 0, 0,     0, 0, /* 50 */
    0,     L, L, L, L, L, L, L, L, L, L,     L, L, L,     L, L, /* 60 */
    L,     L, L, L, L, L, L, L, L, L, L,     0, 0, 0,     0, 0, /* 70 */
};
#undef U
#undef L
#undef N
#undef S
#undef B
#undef E
#undef A
#undef H

/* Gathers the lowest bit of each byte: that of byte i goes to bit i. */
static inline uint64_t gather(uint64_t bytes)
{
    return (bytes & 0x0101010101010101u) * 0x0102040810204080u >> 56;
}

/* The table maps each byte to eight bits, one per mask. A multiplication gathers one bit from each
 * of eight bytes. */
static void kernel_byte_masks(tlmi_byte_masks_t *out, const uint8_t *bytes)
{
    *out = (tlmi_byte_masks_t){0};
    for (int i = 0; i < TLMI_MASK_BYTES; i += 8) {
        uint64_t bits = 0, high = 0;
        for (int j = 0; j < 8; j++) {
            bits |= (uint64_t)ascii_bits[bytes[i + j]] << 8 * j;
            high |= (uint64_t)(bytes[i + j] >> 7) << 8 * j;
        }
        out->upper |= gather(bits) << i;
        out->lower |= gather(bits >> 1) << i;
        out->number |= gather(bits >> 2) << i;
        out->space |= gather(bits >> 3) << i;
        out->blank |= gather(bits >> 4) << i;
        out->newline |= gather(bits >> 5) << i;
        out->apostrophe |= gather(bits >> 6) << i;
        out->slash |= gather(bits >> 7) << i;
        out->wide |= gather(high) << i;
    }
}

/* ---- Counting pretokens ----------------------------------------------------------------- */

/* Loads 16 bytes and clears those from `size` on. */
static inline void load_key(tlmi_pretoken_count_key_t *key, const uint8_t *text, size_t size)
{
    typedef uint8_t bytes_t __attribute__((vector_size(16)));
    static const bytes_t places = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    bytes_t bytes;

    memcpy(&bytes, text, sizeof(bytes));
    bytes &= (bytes_t)(places < (uint8_t)size);
    memcpy(key->bytes, &bytes, sizeof(bytes));
    key->bytes[TLMI_SHORT_PRETOKEN] = (uint8_t)size;
}

static void kernel_pretoken_keys(tlmi_pretoken_count_key_t *keys, tlmi_pretoken_bucket_t **homes,
                                 uint8_t *longs, const uint8_t *text, const size_t *cuts, size_t n,
                                 tlmi_pretoken_bucket_t *buckets, uint32_t num_buckets)
{
    memset(longs, 0, n / 8);
    for (size_t i = 0; i < n; i++) {
        size_t size = cuts[i + 1] - cuts[i];

        if (size > TLMI_SHORT_PRETOKEN) {
            longs[i / 8] |= (uint8_t)(1 << i % 8);
            keys[i] = (tlmi_pretoken_count_key_t){.words = {0, 0}};
        } else {
            load_key(&keys[i], text + cuts[i], size);
        }
        homes[i] = &buckets[tlmi_pretoken_home(tlmi_pretoken_key_hash(&keys[i]), num_buckets)];
        __builtin_prefetch(homes[i], 1);
    }
}

static void kernel_count_keys(uint8_t *missed, tlmi_pretoken_bucket_t *const *homes,
                              const tlmi_pretoken_count_key_t *keys, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        unsigned bits = 0;

        for (size_t k = i; k < i + 8; k++) {
            const uint64_t *first = homes[k]->keys[0].words;
            uint64_t difference = (first[0] ^ keys[k].words[0]) | (first[1] ^ keys[k].words[1]);

            bits = bits >> 1 | (unsigned)(difference != 0) << 7;
            homes[k]->counts[0]++;
        }
        missed[i / 8] = (uint8_t)bits;
    }
}

/* ---- A tile of a large product ---------------------------------------------------------- */

enum { TILE_ROWS = 4, TILE_COLUMNS = 16, TILE_DEPTH = 512, TILE_VECTORS = TILE_COLUMNS / W_WIDTH };

static void kernel_gemm_tile(int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                             const float *b, float beta, float *c, int64_t c_row_stride,
                             int64_t c_column_stride, const float *next_a, const float *next_b)
{
    (void)next_a, (void)next_b;
    W sums[TILE_ROWS][TILE_VECTORS];
    for (int i = 0; i < TILE_ROWS; i++)
        for (int v = 0; v < TILE_VECTORS; v++)
            sums[i][v] = w_set(0.0f);
    for (int64_t p = 0; p < k; p++, a += TILE_ROWS, b += TILE_COLUMNS)
        for (int i = 0; i < TILE_ROWS; i++)
            for (int v = 0; v < TILE_VECTORS; v++)
                sums[i][v] = w_fma(w_set(a[i]), w_load(b + v * W_WIDTH), sums[i][v]);
    float values[TILE_ROWS * TILE_COLUMNS];
    memcpy(values, sums, sizeof(values));
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float *to = c + i * c_row_stride + j * c_column_stride;
            float product = alpha * values[i * TILE_COLUMNS + j];
            *to = beta == 0.0f ? product : product + beta * *to;
        }
}

/* The order of the sums is that of VDPBF16PS: the second number of a pair first. Each product of two
 * bfloat16 is exact, so a sum is rounded once, as there. */
static void kernel_pair_tile(int64_t m, int64_t n, int64_t k, float alpha, const uint32_t *a,
                             const uint32_t *b, float beta, float *c, int64_t c_row_stride,
                             int64_t c_column_stride)
{
    float sums[TILE_ROWS][TILE_COLUMNS] = {{0.0f}};

    for (int64_t p = 0; p < k; p++, a += TILE_ROWS, b += TILE_COLUMNS)
        for (int i = 0; i < TILE_ROWS; i++) {
            const float first = tlmi_float_of_bits(a[i] << 16);
            const float second = tlmi_float_of_bits(a[i] & 0xffff0000u);

            for (int j = 0; j < TILE_COLUMNS; j++) {
                sums[i][j] += second * tlmi_float_of_bits(b[j] & 0xffff0000u);
                sums[i][j] += first * tlmi_float_of_bits(b[j] << 16);
            }
        }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float *to = c + i * c_row_stride + j * c_column_stride;
            float product = alpha * sums[i][j];

            *to = beta == 0.0f ? product : product + beta * *to;
        }
}

static void kernel_round_pairs(uint32_t *pairs, const float *rows, int64_t width, int64_t num_pairs)
{
    for (int64_t p = 0; p < num_pairs; p++, rows += 2 * width)
        for (int64_t i = 0; i < width; i++)
            *pairs++ = tlmi_float_to_bfloat16(rows[i]) |
                       (uint32_t)tlmi_float_to_bfloat16(rows[width + i]) << 16;
}

void tlmi_kernels_fill_portable(tlmi_kernels_t *table)
{
    TLMI_ALL_KERNELS(TLMI_SET_KERNEL)
    table->gemm = (tlmi_gemm_shape_t){"generic", TILE_ROWS, TILE_COLUMNS, TILE_DEPTH, false, 1};
    table->pairs =
        (tlmi_gemm_shape_t){"generic", TILE_ROWS, TILE_COLUMNS, TLMI_PAIR_DEPTH, false, 1};
}
