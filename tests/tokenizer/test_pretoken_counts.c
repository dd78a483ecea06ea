/* The table that counts pretokens against a plain array: with every set of kernels, counts beyond 32
 * bits, merging and limiting. */
#include "base/cpu.h"
#include "run_suite.h"
#include "tokenizer/bpe/bpe_train.h"
#include "tokenizer_support.h"

enum { WORDS = 3000, TEXT = 40000 };

/* Distinct words of 1 to 40 bytes, some with NULs and 0xFF; `counts` are those of the array. */
typedef struct words {
    uint8_t bytes[WORDS][40];
    size_t sizes[WORDS];
    uint64_t counts[WORDS];
} words_t;

static words_t words;

static void make_words(test_random_t *random)
{
    words = (words_t){0};
    for (size_t i = 0; i < WORDS; i++) {
        size_t size = 5 + (draw(random, 4) == 0 ? draw(random, 36) : draw(random, 11));

        for (size_t k = 0; k < size; k++)
            words.bytes[i][k] = (uint8_t)(draw(random, 2) == 0 ? draw(random, 256) : 'a');
        memcpy(words.bytes[i] + draw(random, size - 3), &(uint32_t){(uint32_t)i << 8 | 7}, 4);
        words.sizes[i] = size;
        for (size_t before = 0; before < i; before++)
            if (words.sizes[before] == size &&
                memcmp(words.bytes[before], words.bytes[i], size) == 0)
                words.bytes[i--][0]++, before = i;
    }
    for (size_t i = 0; i < 8; i++) /* short ones, and one for each of the first sizes */
        words.sizes[i] = i + 1, memset(words.bytes[i], 'x', 40);
}

/* Counts a text of random words, the first ones most often, in batches of random sizes. */
static void count_text(tlmi_pretoken_counts_t *counts, test_random_t *random, size_t num_words)
{
    static uint8_t text[TEXT];
    static size_t ends[TEXT];
    size_t n = 0, size = 0;

    while (size + 40 < TEXT) {
        size_t word = draw(random, 1 + draw(random, num_words));

        memcpy(text + size, words.bytes[word], words.sizes[word]);
        words.counts[word]++;
        ends[n++] = size += words.sizes[word];
    }
    for (size_t i = 0, start = 0, count; i < n; i += count) {
        size_t batch[700];

        count = 1 + draw(random, 700);
        count = count < n - i ? count : n - i;
        for (size_t k = 0; k < count; k++)
            batch[k] = ends[i + k] - start;
        ASSERT_OK(
            tlmi_pretoken_counts_add(counts, text + start, batch, count,
                                     (draw(random, 2) == 0 ? size : ends[i + count - 1]) - start));
        start = ends[i + count - 1];
    }
}

static size_t find_word(tlm_bytes_t bytes)
{
    for (size_t i = 0; i < WORDS; i++)
        if (words.sizes[i] == bytes.size && memcmp(words.bytes[i], bytes.data, bytes.size) == 0)
            return i;
    ck_abort_msg("a pretoken that was not counted");
}

static void check_counts(const tlmi_pretoken_counts_t *counts)
{
    tlmi_counted_pretoken_t pretoken = {.slot = 0};
    size_t n = 0, total = 0, seen = 0;
    uint64_t sum = 0, expected = 0;

    for (; tlmi_pretoken_counts_next(&pretoken, counts); n++) {
        ck_assert_uint_eq(pretoken.count, words.counts[find_word(pretoken.bytes)]);
        total += pretoken.bytes.size;
        sum += pretoken.count;
    }
    for (size_t i = 0; i < WORDS; i++) {
        seen += words.counts[i] > 0;
        expected += words.counts[i];
    }
    ck_assert_uint_eq(n, counts->n);
    ck_assert_uint_eq(n, seen);
    ck_assert_uint_eq(total, counts->total_size);
    ck_assert_uint_eq(sum, expected);
}

START_TEST(counts_are_those_of_a_plain_array)
{
    test_random_t random = {(uint64_t)_i, 0};
    tlmi_pretoken_counts_t counts = {0}, other = {0};
    uint64_t features = tlm_cpu_features();

    tlmi_set_cpu_features(_i % 2 == 0 ? features : 0);
    make_words(&random);
    for (size_t round = 0; round < 12; round++) {
        count_text(&counts, &random, round < 4 ? 20 : WORDS);
        if (round % 4 == 1)
            counts.most = UINT32_MAX - draw(&random, 3000); /* so that more is carried over */
    }
    ck_assert_ptr_nonnull(counts.earlier);
    check_counts(&counts);
    count_text(&other, &random, WORDS);
    ASSERT_OK(
        tlmi_pretoken_counts_merge(_i % 3 == 0 ? &counts : &other, _i % 3 == 0 ? &other : &counts));
    check_counts(_i % 3 == 0 ? &counts : &other);
    ck_assert_uint_eq((_i % 3 == 0 ? &other : &counts)->n, 0);
    tlmi_pretoken_counts_release(&counts);
    tlmi_pretoken_counts_release(&other);
    tlmi_set_cpu_features(features);
}
END_TEST

START_TEST(sums_of_more_than_32_bits_are_kept)
{
    tlmi_pretoken_counts_t counts = {0};
    tlmi_pretoken_dropped_t dropped = {0, 0};
    static const uint8_t text[] = "ab  and a long pretoken";
    static const size_t ends[] = {1, 2, sizeof(text) - 1};

    ASSERT_OK(tlmi_pretoken_counts_add(&counts, text, ends, 3, ends[2]));
    for (int i = 0; i < 40; i++) {
        tlmi_pretoken_counts_t twice = {0};
        tlmi_counted_pretoken_t pretoken = {.slot = 0};

        while (tlmi_pretoken_counts_next(&pretoken, &counts))
            ASSERT_OK(tlmi_pretoken_counts_add_counted(&twice, pretoken.bytes, pretoken.count));
        ASSERT_OK(tlmi_pretoken_counts_merge(&counts, &twice));
    }
    tlmi_pretoken_counts_t none = {0};
    ASSERT_OK(tlmi_pretoken_counts_merge_limited(&dropped, &counts, &none, 2));
    ck_assert_uint_eq(dropped.pretokens, 1);
    ck_assert_uint_eq(dropped.occurrences, (uint64_t)1 << 40);
    tlmi_counted_pretoken_t pretoken = {.slot = 0};
    for (size_t n = 0; n < 2; n++) {
        ck_assert(tlmi_pretoken_counts_next(&pretoken, &counts));
        ck_assert_uint_eq(pretoken.bytes.size, 1); /* the space is less than letters */
        ck_assert_uint_eq(pretoken.count, (uint64_t)1 << 40);
    }
    ck_assert(!tlmi_pretoken_counts_next(&pretoken, &counts));
    tlmi_pretoken_counts_release(&counts);
}
END_TEST

START_TEST(counts_that_were_limited_are_carried_too)
{
    tlmi_pretoken_counts_t counts = {0}, more = {0}, none = {0};
    tlmi_pretoken_dropped_t dropped = {0, 0};
    tlmi_counted_pretoken_t pretoken = {.slot = 0};

    ASSERT_OK(tlmi_pretoken_counts_add_counted(&counts, BYTES("often"), UINT32_MAX - 10));
    ASSERT_OK(tlmi_pretoken_counts_add_counted(&counts, BYTES("rare"), 1));
    ASSERT_OK(tlmi_pretoken_counts_merge_limited(&dropped, &counts, &none, 1));
    ck_assert_uint_eq(dropped.pretokens, 1);
    ASSERT_OK(tlmi_pretoken_counts_add_counted(&counts, BYTES("often"), 100));
    ASSERT_OK(tlmi_pretoken_counts_add_counted(&more, BYTES("often"), UINT32_MAX));
    ASSERT_OK(tlmi_pretoken_counts_merge_limited(&dropped, &counts, &more, 1));
    ck_assert(tlmi_pretoken_counts_next(&pretoken, &counts));
    ck_assert_uint_eq(pretoken.count, 2 * (uint64_t)UINT32_MAX + 90);
    ck_assert(!tlmi_pretoken_counts_next(&pretoken, &counts));
    tlmi_pretoken_counts_release(&counts);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pretoken_counts");
    TCase *tcase = tcase_create("pretoken_counts");

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, counts_are_those_of_a_plain_array, 0, 6);
    tcase_add_test(tcase, sums_of_more_than_32_bits_are_kept);
    tcase_add_test(tcase, counts_that_were_limited_are_carried_too);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
