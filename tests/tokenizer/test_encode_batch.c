/* Many texts in one call: the same as one by one, for any number of threads. Reports on a vocabulary. */
#include "tokenizer_support.h"
#include "run_suite.h"

enum { NUM_TEXTS = 150 };

static const int32_t thread_counts[] = {1, 2, 3, 8};

/* Texts of many sizes, empty ones too. */
static void make_texts(tlm_bytes_t *texts, uint64_t seed)
{
    test_random_t random = {seed, 0};

    for (size_t i = 0; i < NUM_TEXTS; i++)
        texts[i] = random_text(&random, i % 10 == 0 ? 0 : i % 49 == 1 ? 20000 : draw(&random, 300));
}

static void free_texts(const tlm_bytes_t *texts)
{
    for (size_t i = 0; i < NUM_TEXTS; i++)
        free_text(texts[i]);
}

static tlm_encode_options_t with_dropout(double dropout, uint64_t seed)
{
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;

    options.dropout = dropout;
    options.seed = seed;
    return options;
}

/* ---- Encoding ----------------------------------------------------------------------------------
 */

START_TEST(a_batch_is_its_texts_one_by_one)
{
    static tlm_bytes_t texts[NUM_TEXTS];
    tlm_encode_options_t options = with_dropout(_i == 0 ? 0.0 : 0.2, 77);
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL);

    make_texts(texts, 5);
    for (size_t t = 0; t < COUNT(thread_counts); t++) {
        uint32_t *ids, *own;
        size_t *offsets, n;

        ASSERT_OK(tlm_set_num_threads(thread_counts[t]));
        ASSERT_OK(
            tlm_tokenizer_encode_batch(&ids, &offsets, tokenizer, texts, NUM_TEXTS, &options));
        ck_assert_uint_eq(offsets[0], 0);
        for (size_t i = 0; i < NUM_TEXTS; i++) {
            tlm_encode_options_t single = with_dropout(options.dropout, 77 + i);

            ASSERT_OK(tlm_tokenizer_encode_with(&own, &n, tokenizer, texts[i].data, texts[i].size,
                                                &single));
            assert_same_ids(ids + offsets[i], offsets[i + 1] - offsets[i], own, n);
            tlm_free(own);
        }
        tlm_free(offsets);
        tlm_free(ids);
    }
    ASSERT_OK(tlm_set_num_threads(0));
    free_texts(texts);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Row `i` as the options say, from the ids of the text alone. */
static void assert_row(const uint32_t *row, const uint8_t *mask, size_t count, size_t length,
                       const tlm_pad_options_t *pad, const uint32_t *ids, size_t n)
{
    size_t kept = pad->max_length > 0 && n > pad->max_length ? pad->max_length : n;
    const uint32_t *from = ids + (pad->cut_side == TLM_SIDE_LEFT ? n - kept : 0);
    size_t start = pad->pad_side == TLM_SIDE_LEFT ? length - kept : 0;

    ck_assert_uint_eq(count, kept);
    for (size_t i = 0; i < length; i++) {
        bool inside = i >= start && i < start + kept;

        if (mask[i] != inside || row[i] != (inside ? from[i - start] : pad->pad_id))
            ck_abort_msg("place %zu: %u, mask %d", i, row[i], mask[i]);
    }
}

START_TEST(rows_are_padded_and_cut)
{
    static tlm_bytes_t texts[NUM_TEXTS];
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL);
    uint32_t *all;
    size_t *offsets, longest = 0;

    make_texts(texts, 6);
    ASSERT_OK(tlm_tokenizer_encode_batch(&all, &offsets, tokenizer, texts, NUM_TEXTS, NULL));
    for (size_t i = 0; i < NUM_TEXTS; i++)
        longest = offsets[i + 1] - offsets[i] > longest ? offsets[i + 1] - offsets[i] : longest;
    for (uint32_t sides = 0; sides < 16; sides++) {
        tlm_pad_options_t pad = TLM_PAD_OPTIONS_INIT;
        size_t length, *lengths;
        uint32_t *rows;
        uint8_t *mask;

        pad.pad_side = sides & 1;
        pad.cut_side = sides >> 1 & 1;
        pad.max_length = sides & 4 ? 17 : 0;
        pad.pad_length = sides & 8 ? (sides & 4 ? 17 : longest + 3) : 0;
        pad.pad_id = sides & 4 ? UINT32_MAX : 0;
        ASSERT_OK(tlm_set_num_threads(thread_counts[sides % COUNT(thread_counts)]));
        ASSERT_OK(tlm_tokenizer_encode_padded(&rows, &mask, &lengths, &length, tokenizer, texts,
                                              NUM_TEXTS, NULL, &pad));
        ck_assert_uint_eq(length, pad.pad_length > 0   ? pad.pad_length
                                  : pad.max_length > 0 ? pad.max_length
                                                       : longest);
        for (size_t i = 0; i < NUM_TEXTS; i++)
            assert_row(rows + i * length, mask + i * length, lengths[i], length, &pad,
                       all + offsets[i], offsets[i + 1] - offsets[i]);
        tlm_free(rows);
        tlm_free(mask);
        tlm_free(lengths);
    }
    ASSERT_OK(tlm_set_num_threads(0));
    tlm_free(offsets);
    tlm_free(all);
    free_texts(texts);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(no_texts_and_empty_texts)
{
    static const tlm_bytes_t empty[2] = {{NULL, 0}, {(const uint8_t *)"", 0}};
    tlm_tokenizer_t *tokenizer = byte_tokenizer(NULL, 0, NULL);
    tlm_pad_options_t pad = TLM_PAD_OPTIONS_INIT;
    size_t *offsets, *lengths, length;
    uint32_t *ids;
    uint8_t *bytes;

    for (size_t n = 0; n <= 2; n += 2) {
        ASSERT_OK(tlm_tokenizer_encode_batch(&ids, &offsets, tokenizer, empty, n, NULL));
        ck_assert_uint_eq(offsets[n], 0);
        tlm_free(ids);
        tlm_free(offsets);
        ASSERT_OK(tlm_tokenizer_encode_padded(&ids, NULL, NULL, &length, tokenizer, empty, n, NULL,
                                              NULL));
        ck_assert_uint_eq(length, 0);
        tlm_free(ids);
        pad.pad_length = 3;
        pad.pad_id = 9;
        ASSERT_OK(tlm_tokenizer_encode_padded(&ids, NULL, &lengths, &length, tokenizer, empty, n,
                                              NULL, &pad));
        ck_assert_uint_eq(length, 3);
        for (size_t i = 0; i < n; i++)
            ck_assert(lengths[i] == 0 && ids[3 * i] == 9 && ids[3 * i + 2] == 9);
        tlm_free(ids);
        tlm_free(lengths);
        ASSERT_OK(tlm_tokenizer_decode_batch(&bytes, &offsets, tokenizer, NULL, 0, NULL));
        ck_assert(offsets[0] == 0 && bytes[0] == '\0');
        tlm_free(bytes);
        tlm_free(offsets);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Of several texts that fail the first is named, whichever thread met it. */
START_TEST(the_first_text_that_fails_is_named)
{
    static tlm_bytes_t texts[NUM_TEXTS];
    tlm_tokenizer_t *tokenizer = byte_tokenizer(special_pieces, 1, NULL);
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    size_t *offsets = NULL;
    uint32_t *ids = NULL;

    options.allowed_special = TLM_SPECIAL_NONE;
    for (size_t i = 0; i < NUM_TEXTS; i++)
        texts[i] = i < 42 ? BYTES("plain") : BYTES("12<|end|>");
    for (size_t t = 0; t < COUNT(thread_counts); t++) {
        ASSERT_OK(tlm_set_num_threads(thread_counts[t]));
        ASSERT_FAILS(
            TLM_ERR_SPECIAL_TOKEN,
            "encode_batch: text 42 holds the disallowed special token '<|end|>' at byte 2",
            tlm_tokenizer_encode_batch(&ids, &offsets, tokenizer, texts, NUM_TEXTS, &options));
    }
    ASSERT_OK(tlm_set_num_threads(0));
    ck_assert(ids == NULL && offsets == NULL);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    static const tlm_bytes_t texts[] = {{(const uint8_t *)"four", 4}, {NULL, 3}};
    tlm_tokenizer_t *tokenizer = byte_tokenizer(NULL, 0, NULL);
    tlm_encode_options_t options = with_dropout(2.0, 0);
    tlm_pad_options_t pad = TLM_PAD_OPTIONS_INIT;
    size_t *offsets = NULL, length = 77;
    uint32_t *ids = NULL;

#define REFUSED(code, text, n, encode_options)                                                     \
    ASSERT_FAILS(code, text,                                                                       \
                 tlm_tokenizer_encode_padded(&ids, NULL, NULL, &length, tokenizer, texts, n,       \
                                             encode_options, &pad))
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "text 1 has 3 bytes, but its pointer is NULL", 2, NULL);
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "dropout 2", 1, &options);
    pad.pad_length = 3;
    REFUSED(TLM_ERR_RANGE, "text 0 has 4 ids, more than the pad_length 3", 1, NULL);
    pad.pad_side = 2;
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "pad_side is 2", 1, NULL);
    pad.pad_side = TLM_SIDE_LEFT;
    pad.cut_side = 7;
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "cut_side 7", 1, NULL);
    pad.size = 1;
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "size is 1", 1, NULL);
#undef REFUSED
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "texts is NULL",
                 tlm_tokenizer_encode_batch(&ids, &offsets, tokenizer, NULL, 1, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "tokenizer is NULL",
                 tlm_tokenizer_encode_batch(&ids, &offsets, NULL, texts, 1, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "offsets is NULL",
                 tlm_tokenizer_encode_batch(&ids, NULL, tokenizer, texts, 1, NULL));
    ck_assert(ids == NULL && offsets == NULL && length == 77);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Decoding ----------------------------------------------------------------------------------
 */

START_TEST(rows_decode_to_their_texts)
{
    static tlm_bytes_t texts[NUM_TEXTS];
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL);
    size_t *offsets, *ends;
    tlm_ids_t rows[NUM_TEXTS];
    uint32_t *ids;

    make_texts(texts, 8);
    ASSERT_OK(tlm_tokenizer_encode_batch(&ids, &offsets, tokenizer, texts, NUM_TEXTS, NULL));
    for (size_t i = 0; i < NUM_TEXTS; i++)
        rows[i] = (tlm_ids_t){ids + offsets[i], offsets[i + 1] - offsets[i]};
    for (size_t t = 0; t < COUNT(thread_counts); t++) {
        uint8_t *bytes;

        ASSERT_OK(tlm_set_num_threads(thread_counts[t]));
        ASSERT_OK(tlm_tokenizer_decode_batch(&bytes, &ends, tokenizer, rows, NUM_TEXTS, NULL));
        ck_assert_uint_eq(ends[0], 0);
        for (size_t i = 0; i < NUM_TEXTS; i++)
            assert_same_bytes((tlm_bytes_t){bytes + ends[i], ends[i + 1] - ends[i]}, texts[i]);
        ck_assert_uint_eq(bytes[ends[NUM_TEXTS]], '\0');
        tlm_free(bytes);
        tlm_free(ends);
    }
    ASSERT_OK(tlm_set_num_threads(0));
    tlm_free(offsets);
    tlm_free(ids);
    free_texts(texts);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(ids_out_of_range_are_named_by_row)
{
    static const uint32_t good[] = {1, 2}, bad[] = {1, 2, 256};
    tlm_tokenizer_t *tokenizer = byte_tokenizer(NULL, 0, NULL);
    tlm_ids_t rows[] = {{good, 2}, {bad, 3}, {NULL, 0}, {bad, 3}};
    uint8_t *bytes = NULL;
    size_t *offsets = NULL;

    ASSERT_FAILS(TLM_ERR_RANGE, "id 256 at position 2 of row 1",
                 tlm_tokenizer_decode_batch(&bytes, &offsets, tokenizer, rows, 4, NULL));
    rows[2].n = 1;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "row 2 has 1 ids, but its pointer is NULL",
                 tlm_tokenizer_decode_batch(&bytes, &offsets, tokenizer, rows, 4, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "rows is NULL",
                 tlm_tokenizer_decode_batch(&bytes, &offsets, tokenizer, NULL, 1, NULL));
    ck_assert(bytes == NULL && offsets == NULL);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Reports -----------------------------------------------------------------------------------
 */

START_TEST(the_longest_tokens_are_found)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL);
    uint32_t size = tlm_tokenizer_vocab_size(tokenizer), num_special = COUNT(special_pieces);
    uint32_t *ids = malloc((size + 1) * sizeof(*ids));
    size_t n, fewer;

    ASSERT_OK(tlm_tokenizer_longest_tokens(ids, &n, tokenizer, size + 1));
    ck_assert_uint_eq(n, size - num_special);
    for (size_t i = 0; i < n; i++) {
        size_t own = token_of(tokenizer, ids[i]).size;
        size_t last = i > 0 ? token_of(tokenizer, ids[i - 1]).size : SIZE_MAX;

        if (ids[i] < num_special || own > last || (own == last && ids[i] <= ids[i - 1]))
            ck_abort_msg("place %zu: id %u, %zu bytes behind %zu", i, ids[i], own, last);
    }
    ASSERT_OK(tlm_tokenizer_longest_tokens(ids + 10, &fewer, tokenizer, 3));
    ck_assert_uint_eq(fewer, 3);
    ck_assert_mem_eq(ids + 10, ids, 3 * sizeof(*ids));
    ASSERT_OK(tlm_tokenizer_longest_tokens(NULL, &fewer, tokenizer, 0));
    ck_assert_uint_eq(fewer, 0);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "ids is NULL",
                 tlm_tokenizer_longest_tokens(NULL, &fewer, tokenizer, 1));
    free(ids);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encode_batch");
    TCase *tcase = tcase_create("encode_batch");

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, a_batch_is_its_texts_one_by_one, 0, 2);
    tcase_add_test(tcase, rows_are_padded_and_cut);
    tcase_add_test(tcase, no_texts_and_empty_texts);
    tcase_add_test(tcase, the_first_text_that_fails_is_named);
    tcase_add_test(tcase, nonsense_is_refused);
    tcase_add_test(tcase, rows_decode_to_their_texts);
    tcase_add_test(tcase, ids_out_of_range_are_named_by_row);
    tcase_add_test(tcase, the_longest_tokens_are_found);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
