/* Random numbers: Philox against its known answers, and the moments of what is made from it. */
#include "base_support.h"

#include <math.h>

#include "base/rng.h"

/* Philox4x32-10 as the paper writes it: rounds on four 32-bit words, the key bumped between them. */
static void reference_philox(uint32_t x[4], const uint32_t key_in[2])
{
    uint32_t key[2] = {key_in[0], key_in[1]};

    for (int round = 0; round < 10; round++) {
        uint64_t left = (uint64_t)x[0] * 3528531795u, right = (uint64_t)x[2] * 3449720151u;
        uint32_t next[4] = {(uint32_t)(right >> 32) ^ x[1] ^ key[0], (uint32_t)right,
                            (uint32_t)(left >> 32) ^ x[3] ^ key[1], (uint32_t)left};
        memcpy(x, next, sizeof(next));
        key[0] += 2654435769u;
        key[1] += 3144134277u;
    }
}

/* The known answers that Random123, the authors' library, is tested with. */
START_TEST(the_reference_gives_the_known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], answer[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    for (size_t i = 0; i < COUNT(known); i++) {
        uint32_t x[4];
        memcpy(x, known[i].counter, sizeof(x));
        reference_philox(x, known[i].key);
        ck_assert_mem_eq(x, known[i].answer, sizeof(x));
    }
}
END_TEST

START_TEST(words_are_those_of_the_reference)
{
    static const uint64_t values[] = {
        0,          1,         2,          3, 0x123456789ABCDEFu, 1u << 31,
        UINT32_MAX, INT64_MAX, UINT64_MAX, 7, (uint64_t)1 << 32};

    for (size_t s = 0; s < COUNT(values); s++)
        for (size_t t = 0; t < COUNT(values); t++)
            for (size_t o = 0; o < COUNT(values); o++) {
                uint64_t seed = values[s], stream = values[t], block = values[o] / 2;
                uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
                uint32_t x[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream,
                                 (uint32_t)(stream >> 32)};
                reference_philox(x, key);
                size_t half = values[o] % 2 * 2;
                ck_assert(tlmi_random_word(seed, stream, values[o]) ==
                          (x[half] | (uint64_t)x[half + 1] << 32));
            }
}
END_TEST

START_TEST(the_public_call_gives_the_same_words)
{
    uint64_t words[100];

    ASSERT_OK(tlm_random_bits(words, COUNT(words), 42, 9, 1001));
    for (size_t i = 0; i < COUNT(words); i++)
        ck_assert(words[i] == tlmi_random_word(42, 9, 1001 + i));
    /* Pinned: no release may change what a seed gives. */
    ASSERT_OK(tlm_random_bits(words, 2, 0, 0, 0));
    ck_assert(words[0] == UINT64_C(0xe169c58d6627e8d5));
    ck_assert(words[1] == UINT64_C(0x9b00dbd8bc57ac4c));
}
END_TEST

enum { SAMPLES = 200000 };

/* Mean and variance lie within 5 standard errors; written so that NaN fails. */
static void assert_moments(const double *x, double mean, double variance, double fourth)
{
    double sum = 0.0, squares = 0.0;

    for (int i = 0; i < SAMPLES; i++)
        sum += x[i];
    for (int i = 0; i < SAMPLES; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    ck_assert_msg(fabs(sum / SAMPLES - mean) <= 5.0 * sqrt(variance / SAMPLES), "mean %g, not %g",
                  sum / SAMPLES, mean);
    ck_assert_msg(fabs(squares / SAMPLES - variance) <=
                      5.0 * sqrt((fourth - variance * variance) / SAMPLES),
                  "variance %g, not %g", squares / SAMPLES, variance);
}

START_TEST(uniforms_are_uniform)
{
    double *x = malloc(SAMPLES * sizeof(*x));
    int inside = 0;

    for (int i = 0; i < SAMPLES; i++) {
        x[i] = tlmi_random_uniform(3, 4, (uint64_t)i);
        inside += x[i] >= 0.0 && x[i] < 1.0;
    }
    ck_assert_int_eq(inside, SAMPLES);
    assert_moments(x, 0.5, 1.0 / 12.0, 1.0 / 80.0);
    free(x);
}
END_TEST

START_TEST(bounds_are_kept_evenly)
{
    static const uint64_t bounds[] = {1, 2, 3, 10, 255};
    double counts[256];

    for (size_t b = 0; b < COUNT(bounds); b++) {
        double expected = (double)SAMPLES / (double)bounds[b], chi_squared = 0.0;
        memset(counts, 0, sizeof(counts));
        for (int i = 0; i < SAMPLES; i++) {
            uint64_t x = tlmi_random_below(5, 6, (uint64_t)i, bounds[b]);
            if (x >= bounds[b])
                ck_abort_msg("%d below %d", (int)x, (int)bounds[b]);
            counts[x]++;
        }
        for (uint64_t i = 0; i < bounds[b]; i++)
            chi_squared += (counts[i] - expected) * (counts[i] - expected) / expected;
        /* Mean k, variance 2k, with k = bound - 1. */
        double k = (double)bounds[b] - 1.0;
        ck_assert(chi_squared <= k + 5.0 * sqrt(2.0 * k));
    }
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert(tlmi_random_below(5, 6, i, UINT64_MAX) < UINT64_MAX);
}
END_TEST

/* Moments of Normal(0, 1) cut to +-c: 1 - 2 c f(c) / Z and 3 - (2 c^3 + 6 c) f(c) / Z, with the
 * density f and Z = erf(c / sqrt 2). */
START_TEST(normals_are_cut)
{
    static const double cuts[] = {0.1, 0.5, 0.999, 1.0, 2.0, 3.0, 8.0};
    double *x = malloc(SAMPLES * sizeof(*x));

    for (size_t k = 0; k < COUNT(cuts); k++) {
        double c = cuts[k], f = exp(-0.5 * c * c) / sqrt(2.0 * M_PI), z = erf(c / sqrt(2.0));
        double largest = 0.0;
        int inside = 0;

        for (int i = 0; i < SAMPLES; i++) {
            x[i] = tlmi_random_truncated_normal(7, 8, (uint64_t)i, c);
            inside += fabs(x[i]) <= c;
            largest = fmax(largest, fabs(x[i]));
        }
        ck_assert_int_eq(inside, SAMPLES);
        assert_moments(x, 0.0, 1.0 - 2.0 * c * f / z, 3.0 - (2.0 * c * c * c + 6.0 * c) * f / z);
        ck_assert(largest >= fmin(c, 4.0) * 0.99);
    }
    free(x);
}
END_TEST

START_TEST(seeds_streams_and_offsets_are_apart)
{
    uint64_t a = tlmi_random_word(1, 2, 3);

    ck_assert(a == tlmi_random_word(1, 2, 3));
    ck_assert(a != tlmi_random_word(2, 2, 3));
    ck_assert(a != tlmi_random_word(1, 3, 3));
    ck_assert(a != tlmi_random_word(1, 2, 4));
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert(tlmi_random_truncated_normal(1, 2, i, 3.0) !=
                  tlmi_random_truncated_normal(1, 2, i + 1, 3.0));
}
END_TEST

/* The images of 0 .. n-1 are 0 .. n-1, each once. */
static void assert_shuffles(uint64_t n, uint64_t offset)
{
    bool *seen = calloc(n, sizeof(*seen));

    for (uint64_t i = 0; i < n; i++) {
        uint64_t image = tlmi_random_shuffled(3, TLMI_STREAM_SHUFFLE, offset, n, i);

        ck_assert_uint_lt(image, n);
        ck_assert_msg(!seen[image], "two of %d go to %d", (int)n, (int)image);
        seen[image] = true;
    }
    free(seen);
}

START_TEST(shuffles_are_bijections)
{
    for (uint64_t n = 1; n <= 260; n++)
        for (uint64_t offset = 0; offset < 4; offset++)
            assert_shuffles(n, offset);
    assert_shuffles(4095, 1);
    assert_shuffles(4096, 1);
    assert_shuffles(4097, 1);
    assert_shuffles(100003, UINT64_MAX);
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t image = tlmi_random_shuffled(1, TLMI_STREAM_SHUFFLE, 0, INT64_MAX, i);

        ck_assert_uint_lt(image, INT64_MAX);
        ck_assert(image == tlmi_random_shuffled(1, TLMI_STREAM_SHUFFLE, 0, INT64_MAX, i));
        ck_assert(image != tlmi_random_shuffled(1, TLMI_STREAM_SHUFFLE, 1, INT64_MAX, i));
        ck_assert(image != tlmi_random_shuffled(2, TLMI_STREAM_SHUFFLE, 0, INT64_MAX, i));
    }
}
END_TEST

/* Each of n places is as likely for each index, over many shuffles, and so is each of 24 orders of 4:
 * counts are within 5 sigma of what is expected. */
START_TEST(shuffles_are_even)
{
    enum { N = 37, SHUFFLES = 20000 };
    static uint32_t places[N][N], orders[256];

    for (uint64_t shuffle = 0; shuffle < SHUFFLES; shuffle++) {
        unsigned order = 0;

        for (uint64_t i = 0; i < N; i++)
            places[i][tlmi_random_shuffled(9, TLMI_STREAM_SHUFFLE, shuffle, N, i)]++;
        for (uint64_t i = 0; i < 4; i++)
            order = order * 4 + (unsigned)tlmi_random_shuffled(9, 1, shuffle, 4, i);
        orders[order]++;
    }
    for (int i = 0; i < N * N; i++) {
        double difference = places[i / N][i % N] - (double)SHUFFLES / N;
        ck_assert(difference * difference <= 25.0 * SHUFFLES / N);
    }
    for (int i = 0; i < 256; i++) {
        double difference = orders[i] - SHUFFLES / 24.0;
        ck_assert(orders[i] == 0 || difference * difference <= 25.0 * SHUFFLES / 24.0);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        the_reference_gives_the_known_answers,
        words_are_those_of_the_reference,
        the_public_call_gives_the_same_words,
        uniforms_are_uniform,
        bounds_are_kept_evenly,
        normals_are_cut,
        seeds_streams_and_offsets_are_apart,
        shuffles_are_bijections,
        shuffles_are_even,
    };
    return run_tests("rng", tests, COUNT(tests));
}
