/* Encoding with options: sets of special tokens, places of ids in the text, BPE dropout. */
#include "tokenizer_support.h"
#include "run_suite.h"

#include <math.h>

enum { NUM_SPECIALS = COUNT(special_pieces) };

static tlm_encode_options_t with_sets(int32_t allowed, int32_t disallowed)
{
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;

    options.allowed_special = allowed;
    options.disallowed_special = disallowed;
    return options;
}

static tlm_encode_options_t with_dropout(double dropout, uint64_t seed)
{
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;

    options.dropout = dropout;
    options.seed = seed;
    return options;
}

/* The text encodes with these options to these tokens, written with '\1' between them. */
static void assert_tokens(const tlm_tokenizer_t *tokenizer, const tlm_encode_options_t *options,
                          const char *text, const char *expected)
{
    char joined[512] = "";
    uint32_t *ids;
    size_t n, used = 0;

    ASSERT_OK(tlm_tokenizer_encode_with(&ids, &n, tokenizer, text, strlen(text), options));
    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token = token_of(tokenizer, ids[i]);

        ck_assert_uint_lt(used + token.size + 2, sizeof(joined));
        if (i > 0)
            joined[used++] = '\1';
        memcpy(joined + used, token.data, token.size);
        used += token.size;
    }
    joined[used] = '\0';
    ck_assert_str_eq(joined, expected);
    tlm_free(ids);
}

static void assert_refused(const tlm_tokenizer_t *tokenizer, const tlm_encode_options_t *options,
                           const char *text, const char *name, const char *place)
{
    uint32_t *ids = NULL;
    size_t n = 77;

    ASSERT_FAILS(TLM_ERR_SPECIAL_TOKEN, name,
                 tlm_tokenizer_encode_with(&ids, &n, tokenizer, text, strlen(text), options));
    ck_assert_msg(strstr(tlm_error_message(), place) != NULL, "message: %s", tlm_error_message());
    ck_assert(ids == NULL && n == 77);
}

/* ---- Sets of special tokens --------------------------------------------------------------------
 */

START_TEST(special_tokens_are_allowed_or_refused)
{
    static const tlm_bytes_t specials[] = {
        {(const uint8_t *)"<a>", 3}, {(const uint8_t *)"<b>", 3}, {(const uint8_t *)"<a><b>", 6}};
    static const tlm_bytes_t only_b[] = {{(const uint8_t *)"<b>", 3},
                                         {(const uint8_t *)"<nothing>", 9},
                                         {(const uint8_t *)"<b>", 3}};
    tlm_tokenizer_t *tokenizer = byte_tokenizer(specials, 3, NULL);
    tlm_encode_options_t options = with_sets(TLM_SPECIAL_ALL, TLM_SPECIAL_ALL);

    assert_tokens(tokenizer, NULL, "x<a><b><b>", "x\1<a><b>\1<b>");
    assert_tokens(tokenizer, &options, "x<a><b><b>", "x\1<a><b>\1<b>");
    options = with_sets(TLM_SPECIAL_ALL, TLM_SPECIAL_NONE);
    assert_tokens(tokenizer, &options, "<a><b>", "<a><b>");

    options = with_sets(TLM_SPECIAL_NONE, TLM_SPECIAL_ALL); /* tiktoken's default */
    assert_tokens(tokenizer, &options, "<a", "<\1a");
    assert_tokens(tokenizer, &options, "", "");
    assert_refused(tokenizer, &options, "x<b>", "'<b>'", "at byte 1");
    assert_refused(tokenizer, &options, "12345<a><b>", "'<a><b>'", "at byte 5");
    options = with_sets(TLM_SPECIAL_NONE, TLM_SPECIAL_NONE); /* encode_ordinary */
    assert_tokens(tokenizer, &options, "<a>", "<\1a\1>");

    options = with_sets(TLM_SPECIAL_LIST, TLM_SPECIAL_ALL);
    options.allowed = only_b;
    options.num_allowed = 3;
    assert_tokens(tokenizer, &options, "<b>x", "<b>\1x");
    assert_refused(tokenizer, &options, "<b><b><a>", "'<a>'", "at byte 6");
    options.disallowed_special = TLM_SPECIAL_NONE; /* the longest of those allowed */
    assert_tokens(tokenizer, &options, "<a><b>", "<\1a\1>\1<b>");
    options.num_allowed = 0;
    assert_tokens(tokenizer, &options, "<b>", "<\1b\1>");

    options = with_sets(TLM_SPECIAL_ALL, TLM_SPECIAL_LIST);
    options.disallowed = only_b; /* refused though allowed, inside a longer one too */
    options.num_disallowed = 3;
    assert_tokens(tokenizer, &options, "<a>", "<a>");
    assert_refused(tokenizer, &options, "<a><b>", "'<b>'", "at byte 3");
    assert_refused(tokenizer, &options, "a<nothing>", "'<nothing>'", "at byte 1");
    options.num_disallowed = 0;
    assert_tokens(tokenizer, &options, "<b>", "<b>");
    tlm_tokenizer_free(tokenizer);
}
END_TEST

typedef struct subset {
    tlm_bytes_t tokens[NUM_SPECIALS];
    size_t n;
} subset_t;

static subset_t random_subset(test_random_t *random)
{
    subset_t subset = {.n = 0};

    for (size_t i = 0; i < NUM_SPECIALS; i++)
        if (draw(random, 2) == 0)
            subset.tokens[subset.n++] = special_pieces[i];
    return subset;
}

static subset_t complement(const subset_t *of)
{
    subset_t rest = {.n = 0};

    for (size_t i = 0; i < NUM_SPECIALS; i++) {
        bool found = false;

        for (size_t k = 0; k < of->n; k++)
            found = found || of->tokens[k].data == special_pieces[i].data;
        if (!found)
            rest.tokens[rest.n++] = special_pieces[i];
    }
    return rest;
}

/* First place at or after `from` where one of the subset stands. */
static size_t find_any(const subset_t *subset, tlm_bytes_t text, size_t from, int64_t *which)
{
    *which = -1;
    while (from < text.size && *which < 0) {
        *which = naive_special(subset->tokens, subset->n, text.data + from, text.size - from);
        from += *which < 0;
    }
    return from;
}

/* What `options` should give: the allowed tokens cut out by hand, the rest encoded by a tokenizer
 * that has no special tokens. */
static void assert_encodes_by_hand(const tlm_tokenizer_t *tokenizer, const tlm_tokenizer_t *plain,
                                   const tlm_encode_options_t *options, const subset_t *allowed,
                                   const subset_t *disallowed, tlm_bytes_t text)
{
    uint32_t *ids = NULL, *part, *expected = malloc((text.size + 1) * sizeof(*expected));
    size_t n, part_n, expected_n = 0, at = 0;
    int64_t which;

    find_any(disallowed, text, 0, &which);
    if (which >= 0) {
        ck_assert_int_eq(
            tlm_tokenizer_encode_with(&ids, &n, tokenizer, text.data, text.size, options),
            TLM_ERR_SPECIAL_TOKEN);
        free(expected);
        return;
    }
    ASSERT_OK(tlm_tokenizer_encode_with(&ids, &n, tokenizer, text.data, text.size, options));
    while (at < text.size) {
        size_t start = find_any(allowed, text, at, &which);

        ASSERT_OK(tlm_tokenizer_encode(&part, &part_n, plain, text.data + at, start - at));
        for (size_t i = 0; i < part_n; i++)
            expected[expected_n++] = id_of(tokenizer, token_of(plain, part[i]));
        tlm_free(part);
        if (which >= 0)
            expected[expected_n++] = id_of(tokenizer, allowed->tokens[which]);
        at = start + (which >= 0 ? allowed->tokens[which].size : 0);
    }
    assert_same_ids(ids, n, expected, expected_n);
    assert_decodes(tokenizer, ids, n, text);
    tlm_free(ids);
    free(expected);
}

/* The same vocabulary and merges, and no special tokens. */
static tlm_tokenizer_t *without_specials(const tlm_tokenizer_t *tokenizer)
{
    uint32_t size = tlm_tokenizer_vocab_size(tokenizer), left, right;
    uint32_t num_merges = tlm_tokenizer_num_merges(tokenizer);
    tlm_bytes_t *vocab = malloc(size * sizeof(*vocab));
    tlm_bytes_t *merges = malloc(2 * num_merges * sizeof(*merges));
    tlm_tokenizer_t *plain;

    for (uint32_t id = 0; id < size; id++)
        vocab[id] = token_of(tokenizer, id);
    for (uint32_t i = 0; i < num_merges; i++) {
        ASSERT_OK(tlm_tokenizer_merge(&left, &right, tokenizer, i));
        merges[2 * i] = vocab[left];
        merges[2 * i + 1] = vocab[right];
    }
    ASSERT_OK(tlm_tokenizer_create(&plain, vocab, size, merges, num_merges, NULL));
    free(vocab);
    free(merges);
    return plain;
}

START_TEST(any_sets_encode_as_by_hand)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(NUM_SPECIALS, NULL);
    tlm_tokenizer_t *plain = without_specials(tokenizer);
    const subset_t none = {.n = 0}, all = complement(&none);
    test_random_t random = {17, 0};

    for (int round = 0; round < 1500; round++) {
        tlm_bytes_t text = random_text(&random, draw(&random, 120));
        uint32_t allow = (uint32_t)draw(&random, 3), refuse = (uint32_t)draw(&random, 3);
        subset_t allowed = random_subset(&random), disallowed = random_subset(&random);
        tlm_encode_options_t options = with_sets(allow, refuse);

        options.allowed = allowed.tokens;
        options.num_allowed = allowed.n;
        options.disallowed = disallowed.tokens;
        options.num_disallowed = disallowed.n;
        if (allow != TLM_SPECIAL_LIST)
            allowed = allow == TLM_SPECIAL_ALL ? all : none;
        if (refuse != TLM_SPECIAL_LIST)
            disallowed = refuse == TLM_SPECIAL_ALL ? complement(&allowed) : none;
        assert_encodes_by_hand(tokenizer, plain, &options, &allowed, &disallowed, text);
        free_text(text);
    }
    tlm_tokenizer_free(plain);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    static const tlm_bytes_t names[] = {{(const uint8_t *)"<a>", 3}, {(const uint8_t *)"", 0}};
    tlm_tokenizer_t *tokenizer = byte_tokenizer(names, 1, NULL);
    tlm_encode_options_t options;
    uint32_t *ids = NULL;
    size_t n = 77;

#define REFUSED(text)                                                                              \
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, text,                                                   \
                 tlm_tokenizer_encode_with(&ids, &n, tokenizer, "a", 1, &options))
    options = with_sets(3, TLM_SPECIAL_ALL);
    REFUSED("allowed_special is 3");
    options = with_sets(TLM_SPECIAL_ALL, -1);
    REFUSED("disallowed_special is -1");
    options = with_sets(TLM_SPECIAL_LIST, TLM_SPECIAL_LIST);
    options.num_allowed = 2;
    REFUSED("the list of 2 allowed tokens is NULL");
    options.allowed = names;
    REFUSED("token 1 of the 2 allowed tokens is empty");
    options.num_allowed = 1;
    options.num_disallowed = 2;
    options.disallowed = names;
    REFUSED("token 1 of the 2 disallowed tokens is empty");
    for (int i = 0; i < 4; i++) {
        options = with_dropout((const double[]){-0.1, 1.1, (double)NAN, (double)INFINITY}[i], 0);
        REFUSED("is not in [0, 1]");
    }
    options = with_dropout(0.0, 0);
    options.size = 3;
    REFUSED("size is 3");
#undef REFUSED
    options = with_dropout(0.0, 0);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "ids is NULL",
                 tlm_tokenizer_encode_with(NULL, &n, tokenizer, "a", 1, &options));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "n is NULL",
                 tlm_tokenizer_encode_with(&ids, NULL, tokenizer, "a", 1, &options));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "tokenizer is NULL",
                 tlm_tokenizer_encode_with(&ids, &n, NULL, "a", 1, &options));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "text is NULL",
                 tlm_tokenizer_encode_with(&ids, &n, tokenizer, NULL, 1, &options));
    ck_assert(ids == NULL && n == 77);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Places in the text ------------------------------------------------------------------------
 */

/* Characters of text[0 .. size): each begins at a byte that continues none. */
static size_t count_characters(tlm_bytes_t text, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < size; i++)
        n += (text.data[i] & 0xC0) != 0x80;
    return n;
}

START_TEST(offsets_part_the_text)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(NUM_SPECIALS, NULL);
    test_random_t random = {23, 0};

    for (int round = 0; round < 500; round++) {
        tlm_bytes_t text = random_text(&random, draw(&random, 200));
        size_t n, *offsets, *spans;
        uint32_t *ids;

        ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
        offsets = malloc((n + 1) * sizeof(*offsets));
        spans = malloc((2 * n + 1) * sizeof(*spans));
        ASSERT_OK(tlm_tokenizer_offsets(offsets, tokenizer, ids, n));
        ASSERT_OK(tlm_tokenizer_character_spans(spans, tokenizer, ids, n));
        ck_assert_uint_eq(offsets[0], 0);
        ck_assert_uint_eq(offsets[n], text.size);
        for (size_t i = 0; i < n; i++) {
            size_t from = offsets[i], before = count_characters(text, from);
            bool inside = (text.data[from] & 0xC0) == 0x80 && before > 0;

            assert_same_bytes(token_of(tokenizer, ids[i]),
                              (tlm_bytes_t){text.data + from, offsets[i + 1] - from});
            if (spans[2 * i] != before - inside ||
                spans[2 * i + 1] != count_characters(text, offsets[i + 1]))
                ck_abort_msg("id %zu: characters %zu to %zu", i, spans[2 * i], spans[2 * i + 1]);
        }
        free(spans);
        free(offsets);
        tlm_free(ids);
        free_text(text);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(characters_are_shared_by_their_tokens)
{
    static const size_t expected[] = {0, 1, 1, 2, 1, 2, 1, 2, 2, 3};
    tlm_tokenizer_t *tokenizer = byte_tokenizer(NULL, 0, NULL);
    uint32_t ids[5], bad[] = {0, 256};
    size_t spans[10], offset = 77;

    for (int i = 0; i < 5; i++)
        ids[i] = id_of(tokenizer, (tlm_bytes_t){(const uint8_t *)"a\xE3\x81\x82z" + i, 1});
    ASSERT_OK(tlm_tokenizer_character_spans(spans, tokenizer, ids, 5));
    for (int i = 0; i < 10; i++)
        ck_assert_uint_eq(spans[i], expected[i]);
    ASSERT_OK(tlm_tokenizer_character_spans(NULL, tokenizer, NULL, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 256 at position 1",
                 tlm_tokenizer_offsets(&offset, tokenizer, bad, 2));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 256 at position 1",
                 tlm_tokenizer_character_spans(&offset, tokenizer, bad, 2));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "offsets is NULL",
                 tlm_tokenizer_offsets(NULL, tokenizer, NULL, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "ids is NULL",
                 tlm_tokenizer_offsets(&offset, tokenizer, NULL, 1));
    ck_assert_uint_eq(offset, 77);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Dropout -----------------------------------------------------------------------------------
 */

static uint32_t *encode_dropped(size_t *n, const tlm_tokenizer_t *tokenizer, tlm_bytes_t text,
                                double dropout, uint64_t seed)
{
    tlm_encode_options_t options = with_dropout(dropout, seed);
    uint32_t *ids;

    ASSERT_OK(tlm_tokenizer_encode_with(&ids, n, tokenizer, text.data, text.size, &options));
    assert_decodes(tokenizer, ids, *n, text);
    return ids;
}

/* No merge is passed over at 0, nor at a chance that no draw has; all are at 1. */
START_TEST(dropout_at_its_ends)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(0, NULL);
    test_random_t random = {29, 0};

    for (int round = 0; round < 300; round++) {
        tlm_bytes_t text = random_text(&random, draw(&random, round < 290 ? 300 : 20000));
        size_t n, plain_n;
        uint32_t *plain, *ids;

        ASSERT_OK(tlm_tokenizer_encode(&plain, &plain_n, tokenizer, text.data, text.size));
        for (int i = 0; i < 2; i++) {
            ids = encode_dropped(&n, tokenizer, text, i == 0 ? 0.0 : 1e-300, 1);
            assert_same_ids(ids, n, plain, plain_n);
            tlm_free(ids);
        }
        ids = encode_dropped(&n, tokenizer, text, 1.0, 1);
        ck_assert_uint_eq(n, text.size); /* and it decodes to the text: its bytes */
        tlm_free(ids);
        tlm_free(plain);
        free_text(text);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* One pretoken in a plain way: before each merge, all that apply are looked at, best first. */
static size_t drop_naively(uint32_t *ids, const naive_bpe_t *naive, tlm_bytes_t pretoken,
                           double dropout, uint64_t seed, uint64_t position)
{
    uint64_t own_seed = tlmi_random_word(seed, TLMI_STREAM_DROPOUT, position), draws = 0;
    size_t n = pretoken.size;

    for (size_t i = 0; i < n; i++)
        ids[i] = naive->byte_ids[pretoken.data[i]];
    for (size_t merge = 0; merge < naive->num_merges;) {
        const naive_merge_t *rule = &naive->merges[merge];
        size_t at = 0;

        while (at + 1 < n &&
               (ids[at] != rule->left || ids[at + 1] != rule->right ||
                tlmi_random_uniform(own_seed, TLMI_STREAM_DROPOUT, draws++) < dropout))
            at++;
        if (at + 1 >= n) {
            merge++;
            continue;
        }
        ids[at] = rule->product;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof(*ids));
        n--;
        merge = 0; /* those passed over come back */
    }
    return n;
}

START_TEST(dropout_is_as_defined)
{
    static const double chances[] = {0.05, 0.3, 0.7, 0.95};
    tlm_tokenizer_t *tokenizer = trained_tokenizer(0, NULL);
    test_random_t random = {31, 0};
    naive_bpe_t naive;

    naive_from_tokenizer(&naive, tokenizer);
    for (int round = 0; round < 120; round++) {
        tlm_bytes_t text = random_text(&random, draw(&random, 100));
        uint32_t *expected = malloc((text.size + 1) * sizeof(*expected)), *ids;
        size_t n, expected_n = 0;

        for (size_t at = 0, size; at < text.size; at += size) {
            size = naive_pretoken(text.data + at, text.size - at);
            expected_n +=
                drop_naively(expected + expected_n, &naive, (tlm_bytes_t){text.data + at, size},
                             chances[round % 4], (uint64_t)round, at);
        }
        ids = encode_dropped(&n, tokenizer, text, chances[round % 4], (uint64_t)round);
        assert_same_ids(ids, n, expected, expected_n);
        tlm_free(ids);
        free(expected);
        free_text(text);
    }
    naive_free(&naive);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* abc with the merges (a, b), (b, c), (ab, c): each of the four ways to part it has the chance that
 * the definition gives. Chi-square with 3 degrees of freedom; 16.3 is passed once in 1000 seeds. */
START_TEST(dropout_has_its_rate)
{
    enum { TIMES = 20000 };
    static const double chances[] = {0.1, 0.5, 0.8};
    double p = chances[_i], q = 1.0 - p, chi_square = 0.0;
    double expected[4] = {q * q, q * p, p * q, p * p}; /* abc, ab c, a bc, a b c */
    size_t counts[4] = {0}, n, size = 4 * (size_t)TIMES;
    uint8_t *bytes = malloc(size);
    parts_t parts = byte_parts();
    tlm_tokenizer_t *tokenizer;
    uint32_t *ids;

    add_merge(&parts, "a", "b", "ab");
    add_merge(&parts, "b", "c", "bc");
    add_merge(&parts, "ab", "c", "abc");
    ASSERT_OK(create(&tokenizer, &parts, NULL));
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)("abc\n"[i % 4]);
    ids = encode_dropped(&n, tokenizer, (tlm_bytes_t){bytes, size}, p, 12345);
    for (size_t i = 0; i < n;) {
        size_t first = token_of(tokenizer, ids[i]).size, length = 1;

        while (ids[i + length] != '\n')
            length++;
        counts[length == 3 ? 3 : first == 3 ? 0 : first == 2 ? 1 : 2]++;
        i += length + 1;
    }
    for (int i = 0; i < 4; i++) {
        double difference = (double)counts[i] - TIMES * expected[i];

        chi_square += difference * difference / (TIMES * expected[i]);
    }
    ck_assert_msg(chi_square < 16.3, "chi-square %g", chi_square);
    tlm_free(ids);
    free(bytes);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(dropout_follows_its_seed)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(0, NULL);
    tlm_bytes_t text = repeated('a', 3000);
    uint32_t *ids[4];
    size_t n[4];

    for (int i = 0; i < 4; i++)
        ids[i] = encode_dropped(&n[i], tokenizer, text, 0.3, i < 2 ? 5 : (uint64_t)i);
    assert_same_ids(ids[0], n[0], ids[1], n[1]);
    for (int i = 2; i < 4; i++)
        ck_assert(n[i] != n[0] || memcmp(ids[i], ids[0], n[0] * sizeof(**ids)) != 0);
    for (int i = 0; i < 4; i++)
        tlm_free(ids[i]);
    free_text(text);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encode");
    TCase *tcase = tcase_create("encode");

    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, special_tokens_are_allowed_or_refused);
    tcase_add_test(tcase, any_sets_encode_as_by_hand);
    tcase_add_test(tcase, nonsense_is_refused);
    tcase_add_test(tcase, offsets_part_the_text);
    tcase_add_test(tcase, characters_are_shared_by_their_tokens);
    tcase_add_test(tcase, dropout_at_its_ends);
    tcase_add_test(tcase, dropout_is_as_defined);
    tcase_add_loop_test(tcase, dropout_has_its_rate, 0, 3);
    tcase_add_test(tcase, dropout_follows_its_seed);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
