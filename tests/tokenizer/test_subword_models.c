/* Subword models against plain implementations on random vocabularies and texts, against ids that
 * tokenizers 0.23.3 and sentencepiece 0.2.3 give, and on long input. */
#include "naive_models.h"
#include "run_suite.h"
#include "tokenizer_support.h"

#define MAX_TEXT 400

/* ---- Vocabularies and texts -------------------------------------------------------------------- */

/* A vocabulary for the plain model and for the library's. */
typedef struct test_vocab {
    naive_vocab_t naive;
    tlmi_vocabulary_t vocabulary;
} test_vocab_t;

static void share_tokens(test_vocab_t *vocab)
{
    vocab->vocabulary = (tlmi_vocabulary_t){0};
    for (uint32_t id = 0; id < vocab->naive.n; id++)
        ASSERT_OK(tlmi_vocabulary_add(&vocab->vocabulary, vocab->naive.bytes[id],
                                      vocab->naive.sizes[id]));
}

static uint32_t add(test_vocab_t *vocab, const char *token)
{
    return naive_add(&vocab->naive, (const uint8_t *)token, strlen(token));
}

static tlm_bytes_t bytes_of(const char *text)
{
    return (tlm_bytes_t){(const uint8_t *)text, strlen(text)};
}

/* Some characters of an alphabet, of up to `most` of them. The last ones are rare: "z" and "\u00E9"
 * are seldom in a vocabulary, and some bytes are malformed. */
static size_t random_characters(test_random_t *random, uint8_t *out, const char *const *alphabet,
                                size_t most, bool with_rare)
{
    static const char *const rare[] = {"z", "\xC3\xA9", "\xFF", "\xE2\x96", "zz"};
    size_t n = 1 + draw(random, most), size = 0, letters = 0;

    while (alphabet[letters] != NULL)
        letters++;
    for (size_t i = 0; i < n; i++) {
        const char *piece = with_rare && draw(random, 8) == 0 ? rare[draw(random, COUNT(rare))]
                                                              : alphabet[draw(random, letters)];

        memcpy(out + size, piece, strlen(piece));
        size += strlen(piece);
    }
    return size;
}

static const char *const *random_alphabet(test_random_t *random)
{
    static const char *const alphabets[][6] = {
        {"a", "b"},
        {"a", "b", "\xE2\x96\x81"},
        {"a", "\xC3\xA9", "\xE2\x96\x81", "\xE6\x97\xA5", "\xF0\x9F\x98\x80"},
        {"a", "#", "<", "\xE2\x96\x81"},
    };

    return alphabets[draw(random, COUNT(alphabets))];
}

static void add_random_tokens(test_random_t *random, test_vocab_t *vocab,
                              const char *const *alphabet, const char *prefix)
{
    size_t n = 1 + draw(random, 20);

    for (size_t i = 0; i < n; i++) {
        uint8_t token[64];
        size_t size = draw(random, 2) == 0 ? 0 : strlen(prefix);

        memcpy(token, prefix, size);
        size += random_characters(random, token + size, alphabet, 5, false);
        naive_add(&vocab->naive, token, size);
    }
}

static void add_byte_tokens(test_random_t *random, test_vocab_t *vocab, bool all)
{
    for (int byte = 0; byte < 256; byte++) {
        char name[8];

        snprintf(name, sizeof(name), "<0x%02X>", (unsigned)byte);
        if (all || draw(random, 4) != 0)
            add(vocab, name);
    }
}

/* ---- Comparing --------------------------------------------------------------------------------- */

typedef struct encoding {
    tlmi_id_list_t list;
    tlmi_scratch_t scratch;
} encoding_t;

static void release(encoding_t *encoding)
{
    tlmi_id_list_release(&encoding->list);
    tlmi_scratch_release(&encoding->scratch);
}

/* Appends the ids of a pretoken; false if it fails. */
static bool append(encoding_t *encoding, const tlmi_subword_model_t *model, const uint8_t *text,
                   size_t size)
{
    size_t before = encoding->list.n;

    ck_assert(tlmi_id_list_reserve(&encoding->list, size));
    if (tlmi_subword_encode(model, &encoding->scratch, &encoding->list, text, size) != TLM_OK)
        return false;
    ck_assert_uint_le(encoding->list.n - before, size);
    return true;
}

static void check_ids(const encoding_t *encoding, const uint32_t *ids, size_t n)
{
    ck_assert_uint_eq(encoding->list.n, n);
    ck_assert(n == 0 || memcmp(encoding->list.ids, ids, n * sizeof(*ids)) == 0);
}

/* Whether a cut before U+2581 is allowed at i. */
static bool is_cut(const uint8_t *text, size_t size, size_t i)
{
    static const char meta[] = "\xE2\x96\x81";

    return i > 0 && i + 3 <= size && memcmp(text + i, meta, 3) == 0 &&
           (i < 3 || memcmp(text + i - 3, meta, 3) != 0);
}

static void check_text(const tlmi_subword_model_t *model, const uint8_t *text, size_t size,
                       const uint32_t *ids, size_t n)
{
    encoding_t whole = {0}, parts = {0};
    size_t start = 0;

    if (!append(&whole, model, text, size)) {
        ck_assert_uint_eq(n, NAIVE_FAILURE);
    } else {
        check_ids(&whole, ids, n);
        if (tlmi_subword_splits_before_meta(model, size)) {
            for (size_t i = 1; i <= size; i++)
                if (i == size || is_cut(text, size, i)) {
                    ck_assert(append(&parts, model, text + start, i - start));
                    start = i;
                }
            check_ids(&parts, ids, n);
        }
    }
    release(&whole);
    release(&parts);
}

/* ---- BPE --------------------------------------------------------------------------------------- */

static void add_random_merges(test_random_t *random, test_vocab_t *vocab, naive_merges_t *merges,
                              size_t prefix_size)
{
    size_t tries = draw(random, 30);

    merges->n = 0;
    for (size_t i = 0; i < tries; i++) {
        uint32_t left = (uint32_t)draw(random, vocab->naive.n);
        uint32_t right = (uint32_t)draw(random, vocab->naive.n);
        size_t left_size = vocab->naive.sizes[left], right_size = vocab->naive.sizes[right];
        uint8_t product[2 * NAIVE_TOKEN_SIZE];

        if (right_size <= prefix_size)
            continue;
        memcpy(product, vocab->naive.bytes[left], left_size);
        memcpy(product + left_size, vocab->naive.bytes[right] + prefix_size,
               right_size - prefix_size);
        if (naive_add(&vocab->naive, product, left_size + right_size - prefix_size) ==
            TLMI_NO_TOKEN)
            continue;
        merges->left[merges->n] = left;
        merges->right[merges->n++] = right;
    }
}

static tlm_bytes_t token_bytes(const test_vocab_t *vocab, uint32_t id)
{
    return (tlm_bytes_t){vocab->naive.bytes[id], vocab->naive.sizes[id]};
}

static tlm_status_t make_bpe(tlmi_subword_model_t **out, const test_vocab_t *vocab,
                             const naive_merges_t *merges, const tlmi_bpe_options_t *options)
{
    tlmi_scratch_t joined = {0};
    tlmi_merge_table_t table;

    ASSERT_OK(tlmi_merge_table_init(&table, merges->n));
    for (size_t i = 0; i < merges->n; i++)
        ASSERT_OK(tlmi_bpe_add_merge(
            &table, "test", &vocab->vocabulary, NULL, options->continuing_subword_prefix.size,
            token_bytes(vocab, merges->left[i]), token_bytes(vocab, merges->right[i]), i, &joined));
    tlmi_scratch_release(&joined);
    return tlmi_bpe_model_create(out, "test", &vocab->vocabulary, &table, options);
}

/* All symbols with their affixes, except some. */
static void add_symbols(test_random_t *random, test_vocab_t *vocab, const char *const *alphabet,
                        const char *prefix, const char *suffix)
{
    for (size_t i = 0; alphabet[i] != NULL; i++)
        for (int place = 0; place < 4; place++) {
            char token[32];

            snprintf(token, sizeof(token), "%s%s%s", place & 1 ? prefix : "", alphabet[i],
                     place & 2 ? suffix : "");
            if (draw(random, 5) != 0)
                add(vocab, token);
        }
}

START_TEST(random_bpe_models_encode_like_the_plain_one)
{
    test_random_t random = {(uint64_t)_i, 0};
    const char *const *alphabet = random_alphabet(&random);
    const char *prefix = draw(&random, 3) == 0 ? "##" : "";
    const char *suffix = draw(&random, 3) == 0 ? "</w>" : "";
    static const char *const unks[] = {"", "<unk>", "a", "missing"};
    tlmi_bpe_options_t options = {.unk_token = bytes_of(unks[draw(&random, COUNT(unks))]),
                                  .fuse_unk = draw(&random, 2) == 0,
                                  .ignore_merges = draw(&random, 4) == 0,
                                  .is_byte_level = draw(&random, 3) == 0,
                                  .continuing_subword_prefix = bytes_of(prefix),
                                  .end_of_word_suffix = bytes_of(suffix)};
    test_vocab_t *vocab = calloc(1, sizeof(*vocab));
    naive_merges_t merges;
    tlmi_subword_model_t *model;

    add(vocab, "<unk>");
    options.byte_fallback =
        *prefix == '\0' && *suffix == '\0' && !options.is_byte_level && draw(&random, 2) == 0;
    if (options.byte_fallback)
        add_byte_tokens(&random, vocab, false);
    add_symbols(&random, vocab, alphabet, prefix, suffix);
    add_random_merges(&random, vocab, &merges, strlen(prefix));
    add_random_tokens(&random, vocab, alphabet, "");
    share_tokens(vocab);
    ASSERT_OK(make_bpe(&model, vocab, &merges, &options));
    for (int i = 0; i < 30; i++) {
        uint8_t text[8 * MAX_TEXT];
        uint32_t ids[8 * MAX_TEXT];
        size_t size = random_characters(&random, text, alphabet, i == 0 ? MAX_TEXT : 20, i % 2);

        check_text(model, text, size, ids,
                   naive_encode_bpe(ids, &vocab->naive, &merges, &options, text, size));
    }
    tlmi_subword_free(model);
    tlmi_vocabulary_release(&vocab->vocabulary);
    free(vocab);
}
END_TEST

/* ---- Models of SentencePiece ------------------------------------------------------------------- */

typedef struct test_pieces {
    tlmi_pieces_t pieces;
    float scores[NAIVE_TOKENS];
    uint8_t types[NAIVE_TOKENS];
} test_pieces_t;

static float random_score(test_random_t *random, int style, size_t id)
{
    if (style == 0)
        return -(float)draw(random, 4);
    if (style == 1)
        return -(float)id;
    return -(float)draw(random, 1 << 20) / (style == 2 ? 7e4F : 30.0F);
}

static void random_pieces(test_pieces_t *out, test_random_t *random, test_vocab_t *vocab,
                          const char *const *alphabet, bool has_user_defined)
{
    bool byte_fallback = draw(random, 2) == 0;
    int style = (int)draw(random, 4);
    size_t unused = draw(random, 3);
    uint32_t normal;

    add(vocab, "<unk>");
    if (byte_fallback)
        add_byte_tokens(random, vocab, true);
    normal = vocab->naive.n;
    add_symbols(random, vocab, alphabet, "", "");
    add_random_tokens(random, vocab, alphabet, "");
    for (size_t i = draw(random, 20); i > 0; i--) {
        uint8_t both[2 * NAIVE_TOKEN_SIZE];
        size_t left = normal + draw(random, vocab->naive.n - normal);
        size_t right = normal + draw(random, vocab->naive.n - normal);

        memcpy(both, vocab->naive.bytes[left], vocab->naive.sizes[left]);
        memcpy(both + vocab->naive.sizes[left], vocab->naive.bytes[right],
               vocab->naive.sizes[right]);
        naive_add(&vocab->naive, both, vocab->naive.sizes[left] + vocab->naive.sizes[right]);
    }
    for (uint32_t id = 0; id < vocab->naive.n; id++) {
        out->scores[id] = random_score(random, style, id);
        out->types[id] = id == 0                                     ? TLMI_PIECE_UNKNOWN
                         : id < normal                               ? TLMI_PIECE_BYTE
                         : draw(random, 8) < unused                  ? TLMI_PIECE_UNUSED
                         : draw(random, 30) == 0                     ? TLMI_PIECE_CONTROL
                         : has_user_defined && draw(random, 30) == 0 ? TLMI_PIECE_USER_DEFINED
                                                                     : TLMI_PIECE_NORMAL;
    }
    out->pieces = (tlmi_pieces_t){out->scores, out->types, vocab->naive.n, 0, byte_fallback};
}

static void check_random_pieces(bool is_bpe, uint64_t seed)
{
    test_random_t random = {seed, 0};
    const char *const *alphabet = random_alphabet(&random);
    test_vocab_t *vocab = calloc(1, sizeof(*vocab));
    test_pieces_t *pieces = calloc(1, sizeof(*pieces));
    tlmi_subword_model_t *model;

    random_pieces(pieces, &random, vocab, alphabet, !is_bpe);
    share_tokens(vocab);
    ASSERT_OK((is_bpe ? tlmi_bpe_model_create_from_pieces : tlmi_unigram_model_create_from_pieces)(
        &model, "test", &vocab->vocabulary, &pieces->pieces));
    for (int i = 0; i < 30; i++) {
        uint8_t text[8 * MAX_TEXT];
        uint32_t ids[8 * MAX_TEXT];
        size_t size = random_characters(&random, text, alphabet, i == 0 ? MAX_TEXT : 20, i % 2);

        check_text(model, text, size, ids,
                   (is_bpe ? naive_encode_bpe_pieces : naive_encode_unigram_pieces)(
                       ids, &vocab->naive, &pieces->pieces, text, size));
    }
    tlmi_subword_free(model);
    tlmi_vocabulary_release(&vocab->vocabulary);
    free(vocab);
    free(pieces);
}

START_TEST(random_bpe_pieces_encode_like_the_plain_model)
{
    check_random_pieces(true, (uint64_t)_i);
}
END_TEST

START_TEST(random_unigram_pieces_encode_like_the_plain_model)
{
    check_random_pieces(false, (uint64_t)_i);
}
END_TEST

/* ---- Unigram ----------------------------------------------------------------------------------- */

START_TEST(random_unigram_models_encode_like_the_plain_one)
{
    test_random_t random = {(uint64_t)_i, 0};
    const char *const *alphabet = random_alphabet(&random);
    test_vocab_t *vocab = calloc(1, sizeof(*vocab));
    double scores[NAIVE_TOKENS];
    tlmi_unigram_options_t options = {.scores = scores, .byte_fallback = draw(&random, 2) == 0};
    int style = (int)draw(&random, 5);
    tlmi_subword_model_t *model;

    if (options.byte_fallback)
        add_byte_tokens(&random, vocab, false);
    add_random_tokens(&random, vocab, alphabet, "");
    add_symbols(&random, vocab, alphabet, "", "");
    options.unk_id = add(vocab, draw(&random, 3) == 0 ? "a" : "<unk>");
    if (draw(&random, 8) == 0)
        options.unk_id = TLMI_NO_TOKEN;
    options.num_scores = vocab->naive.n;
    for (uint32_t id = 0; id < options.num_scores; id++)
        scores[id] = style == 4 ? 50.0 * (double)draw(&random, 5)
                                : (double)random_score(&random, style, id) * (style == 3 ? 0.1 : 1);
    add(vocab, "ab"); /* an added token, unless it was there */
    share_tokens(vocab);
    ASSERT_OK(tlmi_unigram_model_create(&model, "test", &vocab->vocabulary, &options));
    vocab->naive.n = options.num_scores;
    for (int i = 0; i < 30; i++) {
        uint8_t text[8 * MAX_TEXT];
        uint32_t ids[8 * MAX_TEXT];
        size_t size = random_characters(&random, text, alphabet, i == 0 ? MAX_TEXT : 20, i % 2);

        check_text(model, text, size, ids,
                   naive_encode_unigram(ids, &vocab->naive, &options, text, size));
    }
    tlmi_subword_free(model);
    tlmi_vocabulary_release(&vocab->vocabulary);
    free(vocab);
}
END_TEST

/* ---- WordPiece --------------------------------------------------------------------------------- */

START_TEST(random_wordpiece_models_encode_like_the_plain_one)
{
    static const size_t limits[] = {100, 5, 20, 0, 1000000};
    test_random_t random = {(uint64_t)_i, 0};
    const char *const *alphabet = random_alphabet(&random);
    const char *prefix = draw(&random, 4) == 0 ? "" : "##";
    tlmi_wordpiece_options_t options = {
        .unk_token = bytes_of(draw(&random, 5) == 0 ? "missing" : "[UNK]"),
        .continuing_subword_prefix = bytes_of(prefix),
        .max_input_chars_per_word = limits[draw(&random, COUNT(limits))]};
    test_vocab_t *vocab = calloc(1, sizeof(*vocab));
    tlmi_subword_model_t *model;

    add(vocab, "[UNK]");
    add(vocab, prefix);
    add_symbols(&random, vocab, alphabet, prefix, "");
    add_random_tokens(&random, vocab, alphabet, prefix);
    share_tokens(vocab);
    ASSERT_OK(tlmi_wordpiece_model_create(&model, "test", &vocab->vocabulary, &options));
    for (int i = 0; i < 30; i++) {
        uint8_t text[8 * MAX_TEXT];
        uint32_t ids[8 * MAX_TEXT];
        size_t size =
            random_characters(&random, text, alphabet, i == 0 ? MAX_TEXT : 20, i % 4 == 0);

        check_text(model, text, size, ids,
                   naive_encode_wordpiece(ids, &vocab->naive, &options, text, size));
    }
    tlmi_subword_free(model);
    tlmi_vocabulary_release(&vocab->vocabulary);
    free(vocab);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("subword models");
    TCase *tcase = tcase_create("random");

    tcase_add_loop_test(tcase, random_bpe_models_encode_like_the_plain_one, 0, 150);
    tcase_add_loop_test(tcase, random_bpe_pieces_encode_like_the_plain_model, 0, 100);
    tcase_add_loop_test(tcase, random_unigram_pieces_encode_like_the_plain_model, 0, 100);
    tcase_add_loop_test(tcase, random_unigram_models_encode_like_the_plain_one, 0, 100);
    tcase_add_loop_test(tcase, random_wordpiece_models_encode_like_the_plain_one, 0, 100);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
