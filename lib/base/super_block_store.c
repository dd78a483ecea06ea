/* Float32 to blocks of 256: a search for the scales that leave the least squared error.
 *
 * First each sub-block by itself: a number of scales is tried, each with the numbers that it gives and
 * then the scale (and minimum) that suits these numbers best. Then the sub-blocks' scales become whole
 * numbers times the scale of the block, where each is chosen with its neighbors by the error that it
 * really leaves, and the block's scale is fitted to all numbers again, as long as that helps. */
#include <math.h>
#include <string.h>

#include "base/block_formats.h"
#include "base/dtype.h"

enum {
    MOST = 32,         /* elements of a sub-block */
    LANES = 8,         /* of a sum, so that compilers can use vectors */
    TRIES = 10,        /* steps of scales on each side */
    FITS = 2,          /* more fits of the best scale */
    REFITS = 3,        /* of the block's scale */
    MOST_SCALES = 16,  /* of a block */
    LAST_SCALE = 63,   /* of 6 bits */
    LEAST_Q6_K = -128, /* scales of Q6_K */
    LAST_Q6_K = 127
};
#define TRY_STEP 0.1f

/* Rounds to the nearest whole number, |x| < 2^22. */
static inline float nearest(float x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

static inline float within(float x, float low, float high)
{
    x = x > low ? x : low; /* NaN too */
    return x < high ? x : high;
}

static float half(float x)
{
    return tlmi_half_to_float(tlmi_float_to_half(x));
}

static float inverse(float x)
{
    const float y = x == 0.0f ? 0.0f : 1.0f / x;

    return isfinite(y) ? y : 0.0f;
}

/* q = (x + minimum) / scale, rounded and clamped. */
static void quantize(float *q, const float *x, int n, float scale, float minimum, float low,
                     float high)
{
    const float factor = inverse(scale);

    for (int i = 0; i < n; i++)
        q[i] = nearest(within((x[i] + minimum) * factor, low, high));
}

static float lane_sum(const float *lanes)
{
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static float dot(const float *x, const float *y, int n)
{
    float lanes[LANES] = {0.0f};

    for (int i = 0; i < n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lanes[k] += x[i + k] * y[i + k];
    return lane_sum(lanes);
}

static float sum(const float *x, int n)
{
    float lanes[LANES] = {0.0f};

    for (int i = 0; i < n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lanes[k] += x[i + k];
    return lane_sum(lanes);
}

/* The squared error of x = scale q - minimum. */
static float error_of(const float *x, const float *q, int n, float scale, float minimum)
{
    float lanes[LANES] = {0.0f};

    for (int i = 0; i < n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            const float difference = scale * q[i + k] - minimum - x[i + k];

            lanes[k] += difference * difference;
        }
    return lane_sum(lanes);
}

/* ---- A sub-block with a minimum: Q4_K and Q5_K ------------------------------------------- */

typedef struct affine {
    float scale, minimum; /* both at least 0 */
} affine_t;

/* The scale and minimum that leave the least error for these numbers. */
static affine_t fit_affine(const float *x, const float *q)
{
    const float sum_x = sum(x, MOST), sum_q = sum(q, MOST);
    const float sum_xq = dot(x, q, MOST), sum_qq = dot(q, q, MOST);
    const float det = (float)MOST * sum_qq - sum_q * sum_q;
    affine_t fit = {det > 0.0f ? ((float)MOST * sum_xq - sum_q * sum_x) / det : 0.0f, 0.0f};

    fit.minimum = (fit.scale * sum_q - sum_x) / (float)MOST;
    if (fit.minimum < 0.0f) /* cannot be stored */
        fit = (affine_t){sum_qq > 0.0f ? sum_xq / sum_qq : 0.0f, 0.0f};
    fit.scale = fit.scale > 0.0f ? fit.scale : 0.0f;
    return fit;
}

static void keep_better_affine(affine_t *best, float *least, affine_t one, const float *x,
                               float most)
{
    float q[MOST];

    quantize(q, x, MOST, one.scale, one.minimum, 0.0f, most);
    const float error = error_of(x, q, MOST, one.scale, one.minimum);
    if (error < *least) {
        *least = error;
        *best = one;
    }
}

static affine_t search_affine(const float *x, float most)
{
    float low = 0.0f, high = x[0], q[MOST];

    for (int i = 0; i < MOST; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    affine_t best = {(high - low) / most, -low};
    float least = INFINITY;
    keep_better_affine(&best, &least, best, x, most);
    for (int i = -TRIES; i <= TRIES; i++) {
        quantize(q, x, MOST, (high - low) / (most + TRY_STEP * (float)i), -low, 0.0f, most);
        keep_better_affine(&best, &least, fit_affine(x, q), x, most);
    }
    for (int i = 0; i < FITS; i++) {
        quantize(q, x, MOST, best.scale, best.minimum, 0.0f, most);
        keep_better_affine(&best, &least, fit_affine(x, q), x, most);
    }
    return best;
}

/* ---- A block of such sub-blocks ----------------------------------------------------------- */

typedef struct affine_block {
    float scale, minimum; /* float16 numbers */
    int scales[8], minima[8];
    float q[TLMI_SUPER_BLOCK];
    float error;
} affine_block_t;

/* Chooses the whole scale and minimum of sub-block j: those nearest to what is wanted, or their
 * neighbors. */
static void choose_affine(affine_block_t *block, int j, affine_t wanted, const float *x, float most)
{
    const int l = (int)within(nearest(wanted.scale * inverse(block->scale)), 0.0f, LAST_SCALE);
    const int m = (int)within(nearest(wanted.minimum * inverse(block->minimum)), 0.0f, LAST_SCALE);
    float least = INFINITY, q[MOST];
    bool is_first = true;

    for (int a = l > 0 ? l - 1 : 0; a <= l + 1 && a <= LAST_SCALE; a++)
        for (int b = m > 0 ? m - 1 : 0; b <= m + 1 && b <= LAST_SCALE; b++) {
            const float scale = block->scale * (float)a, minimum = block->minimum * (float)b;

            quantize(q, x, MOST, scale, minimum, 0.0f, most);
            const float error = error_of(x, q, MOST, scale, minimum);
            if (error < least || is_first) {
                is_first = false;
                least = error;
                block->scales[j] = a;
                block->minima[j] = b;
                memcpy(block->q + MOST * j, q, sizeof(q));
            }
        }
    block->error += least;
}

static void choose_all_affine(affine_block_t *block, const affine_t *wanted, const float *x,
                              float most)
{
    block->error = 0.0f;
    for (int j = 0; j < 8; j++)
        choose_affine(block, j, wanted[j], x + MOST * j, most);
}

/* Fits the scale and minimum of the block to its numbers. Returns false if they stay as they are. */
static bool refit_affine(affine_block_t *block, const float *x)
{
    float aa = 0.0f, ab = 0.0f, bb = 0.0f, ax = 0.0f, bx = 0.0f;

    for (int j = 0; j < 8; j++) { /* x = scale l q - minimum m */
        const float l = (float)block->scales[j], m = (float)block->minima[j];
        const float *q = block->q + MOST * j;

        aa += l * l * dot(q, q, MOST);
        ab -= l * m * sum(q, MOST);
        bb += m * m * (float)MOST;
        ax += l * dot(q, x + MOST * j, MOST);
        bx -= m * sum(x + MOST * j, MOST);
    }
    const float det = aa * bb - ab * ab;
    const float scale = half(det > 0.0f ? (ax * bb - bx * ab) / det : aa > 0.0f ? ax / aa : 0.0f);
    const float minimum = half(det > 0.0f ? (bx * aa - ax * ab) / det : block->minimum);
    if (!(scale > 0.0f && minimum >= 0.0f && isfinite(scale) && isfinite(minimum)) ||
        (scale == block->scale && minimum == block->minimum))
        return false;
    block->scale = scale;
    block->minimum = minimum;
    return true;
}

static void search_affine_block(affine_block_t *best, const float *x, float most)
{
    affine_t wanted[8];
    float scale = 0.0f, minimum = 0.0f;

    for (int j = 0; j < 8; j++) {
        wanted[j] = search_affine(x + MOST * j, most);
        scale = wanted[j].scale > scale ? wanted[j].scale : scale;
        minimum = wanted[j].minimum > minimum ? wanted[j].minimum : minimum;
    }
    best->scale = half(scale / LAST_SCALE);
    best->minimum = half(minimum / LAST_SCALE);
    choose_all_affine(best, wanted, x, most);
    affine_block_t next = *best;
    for (int i = 0; i < REFITS && refit_affine(&next, x); i++) {
        choose_all_affine(&next, wanted, x, most);
        if (!(next.error < best->error))
            break;
        *best = next;
    }
}

/* The reverse of tlmi_k_scales. */
static void put_k_scales(uint8_t *packed, const int *scales, const int *minima)
{
    for (int i = 0; i < 4; i++) {
        packed[i] = (uint8_t)(scales[i] | (scales[4 + i] & 48) << 2);
        packed[4 + i] = (uint8_t)(minima[i] | (minima[4 + i] & 48) << 2);
        packed[8 + i] = (uint8_t)((scales[4 + i] & 15) | (minima[4 + i] & 15) << 4);
    }
}

/* `high` is the plane of fifth bits, or NULL. */
static void put_affine_block(uint8_t *to, uint8_t *high, uint8_t *numbers,
                             const affine_block_t *block)
{
    tlmi_store_le16(to, tlmi_float_to_half(block->scale));
    tlmi_store_le16(to + 2, tlmi_float_to_half(block->minimum));
    put_k_scales(to + TLMI_Q4_K_SCALES, block->scales, block->minima);
    memset(numbers, 0, TLMI_SUPER_BLOCK / 2);
    for (int i = 0; i < TLMI_SUPER_BLOCK; i++) {
        const int q = (int)block->q[i];

        numbers[i / 64 * 32 + i % 32] |= (uint8_t)((q & 15) << (i % 64 / 32 * 4));
        if (high != NULL)
            high[i % 32] |= (uint8_t)(q >> 4 << (i / 32));
    }
}

void tlmi_store_q4_k(void *to, const float *from, int64_t n)
{
    uint8_t *bytes = to;
    affine_block_t block;

    for (int64_t i = 0; i < n; i += TLMI_SUPER_BLOCK, bytes += TLMI_Q4_K_BYTES) {
        search_affine_block(&block, from + i, 15.0f);
        put_affine_block(bytes, NULL, bytes + TLMI_Q4_K_NUMBERS, &block);
    }
}

void tlmi_store_q5_k(void *to, const float *from, int64_t n)
{
    uint8_t *bytes = to;
    affine_block_t block;

    for (int64_t i = 0; i < n; i += TLMI_SUPER_BLOCK, bytes += TLMI_Q5_K_BYTES) {
        search_affine_block(&block, from + i, 31.0f);
        memset(bytes + TLMI_Q5_K_HIGH, 0, TLMI_Q5_K_NUMBERS - TLMI_Q5_K_HIGH);
        put_affine_block(bytes, bytes + TLMI_Q5_K_HIGH, bytes + TLMI_Q5_K_NUMBERS, &block);
    }
}

/* ---- Q6_K: sub-blocks of 16 without a minimum ---------------------------------------------- */

enum { SUB = TLMI_SUPER_BLOCK / MOST_SCALES, MIDDLE = 32 };

/* The scale of either sign that leaves the least error. */
static float search_scale(const float *x)
{
    float extreme = 0.0f, best = 0.0f, most = 0.0f, q[SUB];

    for (int i = 0; i < SUB; i++)
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    for (int i = -TRIES; i <= TRIES; i++) {
        quantize(q, x, SUB, -extreme / (MIDDLE + TRY_STEP * (float)i), 0.0f, -MIDDLE, MIDDLE - 1);
        const float xq = dot(x, q, SUB), qq = dot(q, q, SUB);
        if (qq > 0.0f && xq * xq > most * qq) { /* the error is x . x - xq^2 / qq */
            most = xq * xq / qq;
            best = xq / qq;
        }
    }
    return best;
}

typedef struct scaled_block {
    float scale; /* a float16 number */
    int scales[MOST_SCALES];
    float q[TLMI_SUPER_BLOCK];
    float error;
} scaled_block_t;

static void choose_scales(scaled_block_t *block, const float *wanted, const float *x)
{
    block->error = 0.0f;
    for (int j = 0; j < MOST_SCALES; j++) {
        const int l =
            (int)within(nearest(wanted[j] * inverse(block->scale)), LEAST_Q6_K, LAST_Q6_K);
        const int first = l > LEAST_Q6_K ? l - 1 : l;
        float least = INFINITY, q[SUB];

        for (int a = first; a <= l + 1 && a <= LAST_Q6_K; a++) {
            const float scale = block->scale * (float)a;

            quantize(q, x + SUB * j, SUB, scale, 0.0f, -MIDDLE, MIDDLE - 1);
            const float error = error_of(x + SUB * j, q, SUB, scale, 0.0f);
            if (error < least || a == first) {
                least = error;
                block->scales[j] = a;
                memcpy(block->q + SUB * j, q, sizeof(q));
            }
        }
        block->error += least;
    }
}

static bool refit_scale(scaled_block_t *block, const float *x)
{
    float qq = 0.0f, xq = 0.0f;

    for (int j = 0; j < MOST_SCALES; j++) {
        const float l = (float)block->scales[j], *q = block->q + SUB * j;

        qq += l * l * dot(q, q, SUB);
        xq += l * dot(q, x + SUB * j, SUB);
    }
    const float scale = half(qq > 0.0f ? xq / qq : 0.0f);
    const bool changes = scale != block->scale && isfinite(scale);
    block->scale = changes ? scale : block->scale;
    return changes;
}

static void search_scaled_block(scaled_block_t *best, const float *x)
{
    float wanted[MOST_SCALES], extreme = 0.0f;

    for (int j = 0; j < MOST_SCALES; j++) {
        wanted[j] = search_scale(x + SUB * j);
        extreme = fabsf(wanted[j]) > fabsf(extreme) ? wanted[j] : extreme;
    }
    best->scale = half(extreme / LEAST_Q6_K);
    choose_scales(best, wanted, x);
    scaled_block_t next = *best;
    for (int i = 0; i < REFITS && refit_scale(&next, x); i++) {
        choose_scales(&next, wanted, x);
        if (!(next.error < best->error))
            break;
        *best = next;
    }
}

void tlmi_store_q6_k(void *to, const float *from, int64_t n)
{
    uint8_t *bytes = to;
    scaled_block_t block;

    for (int64_t at = 0; at < n; at += TLMI_SUPER_BLOCK, bytes += TLMI_Q6_K_BYTES) {
        search_scaled_block(&block, from + at);
        memset(bytes, 0, TLMI_Q6_K_SCALES);
        for (int i = 0; i < TLMI_SUPER_BLOCK; i++) {
            const int q = (int)block.q[i] + MIDDLE;

            bytes[i / 128 * 64 + i % 64] |= (uint8_t)((q & 15) << (i % 128 / 64 * 4));
            bytes[TLMI_Q6_K_HIGH + i / 128 * 32 + i % 32] |=
                (uint8_t)(q >> 4 << (i % 128 / 32 * 2));
        }
        for (int j = 0; j < MOST_SCALES; j++)
            bytes[TLMI_Q6_K_SCALES + j] = (uint8_t)(int8_t)block.scales[j];
        tlmi_store_le16(bytes + TLMI_Q6_K_SCALE, tlmi_float_to_half(block.scale));
    }
}
