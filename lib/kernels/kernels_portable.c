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

void tlmi_kernels_fill_portable(tlmi_kernels_t *table)
{
    TLMI_ALL_KERNELS(TLMI_SET_KERNEL)
    table->gemm = (tlmi_gemm_shape_t){"generic", TILE_ROWS, TILE_COLUMNS, TILE_DEPTH, false};
}
