/* What the tokenizer's tests share: random and hostile texts, comparisons with the naive BPE. */
#ifndef TEST_TOKENIZER_SUPPORT_H
#define TEST_TOKENIZER_SUPPORT_H

#include "base/rng.h"
#include "io_support.h"
#include "naive_bpe.h"
#include "tinylm/bpe_trainer.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A string literal as bytes, NUL bytes inside it included. */
#define BYTES(literal) ((tlm_bytes_t){(const uint8_t *)(literal), sizeof(literal) - 1})

/* Size of the long inputs: less where every access is checked. */
static inline size_t long_input(void)
{
    const char *preload = getenv("LD_PRELOAD");
    bool on_valgrind = preload != NULL && strstr(preload, "vgpreload") != NULL;

    return is_sanitized() || on_valgrind ? 300 * 1000 : 10 * 1000 * 1000;
}

/* ---- Random texts ------------------------------------------------------------------------------
 */

typedef struct test_random {
    uint64_t seed, offset;
} test_random_t;

static inline size_t draw(test_random_t *random, size_t bound)
{
    return (size_t)tlmi_random_below(random->seed, TLMI_STREAM_USER, random->offset++, bound);
}

/* Pieces that matter to the pattern, to UTF-8 or to the special tokens below. */
static const tlm_bytes_t text_pieces[] = {
    {(const uint8_t *)"a", 1},
    {(const uint8_t *)"b", 1},
    {(const uint8_t *)"ab", 2},
    {(const uint8_t *)"the", 3},
    {(const uint8_t *)" ", 1},
    {(const uint8_t *)" ", 1},
    {(const uint8_t *)"  ", 2},
    {(const uint8_t *)"\n", 1},
    {(const uint8_t *)"\t \r\n", 4},
    {(const uint8_t *)"'s", 2},
    {(const uint8_t *)"'ll", 3},
    {(const uint8_t *)"'r", 2},
    {(const uint8_t *)"'v", 2},
    {(const uint8_t *)"'S", 2},
    {(const uint8_t *)"'", 1},
    {(const uint8_t *)"e", 1},
    {(const uint8_t *)"l", 1},
    {(const uint8_t *)"7", 1},
    {(const uint8_t *)"42", 2},
    {(const uint8_t *)"...", 3},
    {(const uint8_t *)"!", 1},
    {(const uint8_t *)"\xC3\xA9", 2},         /* e acute */
    {(const uint8_t *)"\xE3\x81\x82", 3},     /* hiragana a */
    {(const uint8_t *)"\xF0\x9F\x98\x80", 4}, /* an emoji */
    {(const uint8_t *)"\xC2\xA0", 2},         /* no-break space */
    {(const uint8_t *)"\xE3\x80\x80", 3},     /* ideographic space */
    {(const uint8_t *)"\xE2\x80\xA8", 3},     /* line separator */
    {(const uint8_t *)"\xC2\xBD", 2},         /* one half */
    {(const uint8_t *)"\xE2\x85\xA7", 3},     /* Roman numeral eight */
    {(const uint8_t *)"\xD9\xA3", 2},         /* Arabic digit three */
    {(const uint8_t *)"e\xCC\x81", 3},        /* combining acute: neither letter nor number */
    {(const uint8_t *)"\0", 1},               /* NUL */
    {(const uint8_t *)"\xFF", 1},             /* never UTF-8 */
    {(const uint8_t *)"\x80", 1},             /* a stray continuation */
    {(const uint8_t *)"\xC3", 1},             /* characters cut short */
    {(const uint8_t *)"\xE3\x81", 2},
    {(const uint8_t *)"\xF0\x9F\x98", 3},
    {(const uint8_t *)"\xED\xA0\x80", 3},     /* a surrogate */
    {(const uint8_t *)"\xC0\x80", 2},         /* overlong */
    {(const uint8_t *)"\xF4\x90\x80\x80", 4}, /* past U+10FFFF */
    {(const uint8_t *)"<|end|>", 7},
    {(const uint8_t *)"<|end", 5},
    {(const uint8_t *)"<|", 2},
    {(const uint8_t *)"|>", 2},
};

/* Special tokens, one the start of another, with overlaps, and bytes that are no UTF-8. */
static const tlm_bytes_t special_pieces[] = {
    {(const uint8_t *)"<|end|>", 7}, {(const uint8_t *)"<|end|><|end|>", 14},
    {(const uint8_t *)"|><|", 4},    {(const uint8_t *)" ab", 3},
    {(const uint8_t *)"\xFF\0", 2},
};

/* At most `size` bytes of pieces, or of plain letters and spaces, or of anything. Freed by the
 * caller. */
static inline tlm_bytes_t random_text(test_random_t *random, size_t size)
{
    uint8_t *bytes = malloc(size + 16);
    size_t style = draw(random, 5), used = 0;

    while (used < size) {
        tlm_bytes_t piece = text_pieces[draw(random, style == 4 ? 4 : COUNT(text_pieces))];

        if (style == 0) {
            bytes[used++] = (uint8_t) "abc abcd"[draw(random, 8)];
        } else if (style == 1) {
            bytes[used++] = (uint8_t)draw(random, 256);
        } else {
            memcpy(bytes + used, piece.data, piece.size);
            used += piece.size;
        }
    }
    return (tlm_bytes_t){bytes, size};
}

static inline void free_text(tlm_bytes_t text)
{
    free((void *)(uintptr_t)text.data);
}

static inline tlm_bytes_t repeated(char byte, size_t size)
{
    uint8_t *bytes = malloc(size + 1);

    memset(bytes, byte, size);
    return (tlm_bytes_t){bytes, size};
}

/* A stream is looked at when a block of it has come. This text has plain words around `text`, so that
 * byte `cut` of it is the first behind the block. Freed by the caller. */
static inline tlm_bytes_t straddling(tlm_bytes_t text, size_t cut, size_t block)
{
    size_t before = block - cut, size = block + text.size + 200;
    uint8_t *bytes = malloc(size);

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)("some words "[i % 11]);
    memcpy(bytes + before, text.data, text.size);
    return (tlm_bytes_t){bytes, size};
}

/* ---- Comparisons -------------------------------------------------------------------------------
 */

static inline void assert_same_bytes(tlm_bytes_t a, tlm_bytes_t b)
{
    if (a.size != b.size || (a.size > 0 && memcmp(a.data, b.data, a.size) != 0))
        ck_abort_msg("%zu and %zu bytes differ: %.*s and %.*s", a.size, b.size,
                     a.size < 80 ? (int)a.size : 80, a.size > 0 ? (const char *)a.data : "",
                     b.size < 80 ? (int)b.size : 80, b.size > 0 ? (const char *)b.data : "");
}

static inline tlm_bytes_t token_of(const tlm_tokenizer_t *tokenizer, uint32_t id)
{
    tlm_bytes_t token;

    if (tlm_tokenizer_token(&token, tokenizer, id) != TLM_OK)
        ck_abort_msg("%s", tlm_error_message());
    return token;
}

static inline uint32_t id_of(const tlm_tokenizer_t *tokenizer, tlm_bytes_t token)
{
    uint32_t id;

    if (tlm_tokenizer_token_id(&id, tokenizer, token.data, token.size) != TLM_OK)
        ck_abort_msg("%s", tlm_error_message());
    return id;
}

/* The same ids, tokens, merges and special tokens. */
static inline void assert_same_tokenizer(const tlm_tokenizer_t *a, const tlm_tokenizer_t *b)
{
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(a), tlm_tokenizer_vocab_size(b));
    ck_assert_uint_eq(tlm_tokenizer_num_merges(a), tlm_tokenizer_num_merges(b));
    ck_assert_uint_eq(tlm_tokenizer_num_special_tokens(a), tlm_tokenizer_num_special_tokens(b));
    for (uint32_t id = 0; id < tlm_tokenizer_vocab_size(a); id++)
        assert_same_bytes(token_of(a, id), token_of(b, id));
    for (uint32_t i = 0; i < tlm_tokenizer_num_merges(a); i++) {
        uint32_t left, right, other_left, other_right;

        if (tlm_tokenizer_merge(&left, &right, a, i) != TLM_OK ||
            tlm_tokenizer_merge(&other_left, &other_right, b, i) != TLM_OK)
            ck_abort_msg("%s", tlm_error_message());
        if (left != other_left || right != other_right)
            ck_abort_msg("merge %u: (%u, %u) and (%u, %u)", i, left, right, other_left,
                         other_right);
    }
    for (uint32_t i = 0; i < tlm_tokenizer_num_special_tokens(a); i++) {
        uint32_t id, other;

        ASSERT_OK(tlm_tokenizer_special_token(&id, a, i));
        ASSERT_OK(tlm_tokenizer_special_token(&other, b, i));
        ck_assert_uint_eq(id, other);
    }
}

/* Checks only where ids differ: each check of Check's writes to a file. */
static inline void assert_same_ids(const uint32_t *a, size_t a_length, const uint32_t *b,
                                   size_t b_length)
{
    ck_assert_uint_eq(a_length, b_length);
    for (size_t i = 0; i < a_length; i++)
        if (a[i] != b[i])
            ck_abort_msg("id %zu: %u and %u", i, a[i], b[i]);
}

/* The same ids of random texts. */
static inline void assert_same_encoding(const tlm_tokenizer_t *a, const tlm_tokenizer_t *b)
{
    test_random_t random = {77, 0};

    for (int round = 0; round < 100; round++) {
        tlm_bytes_t text = random_text(&random, draw(&random, 300));
        uint32_t *ids, *others;
        size_t n, other_n;

        ASSERT_OK(tlm_tokenizer_encode(&ids, &n, a, text.data, text.size));
        ASSERT_OK(tlm_tokenizer_encode(&others, &other_n, b, text.data, text.size));
        assert_same_ids(ids, n, others, other_n);
        tlm_free(ids);
        tlm_free(others);
        free_text(text);
    }
}

/* The ids decode to the text. */
static inline void assert_decodes(const tlm_tokenizer_t *tokenizer, const uint32_t *ids, size_t n,
                                  tlm_bytes_t text)
{
    uint8_t *bytes;
    size_t size;

    ASSERT_OK(tlm_tokenizer_decode(&bytes, &size, tokenizer, ids, n));
    assert_same_bytes((tlm_bytes_t){bytes, size}, text);
    ck_assert_uint_eq(bytes[size], 0);
    tlm_free(bytes);
}

/* Encodes as the naive encoder does, and decodes to the text again. */
static inline void assert_encodes_as_naive(const tlm_tokenizer_t *tokenizer,
                                           const naive_bpe_t *naive, tlm_bytes_t text)
{
    uint32_t *ids, *expected;
    size_t n, expected_n;

    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
    expected = naive_encode(&expected_n, naive, text.data, text.size);
    assert_same_ids(ids, n, expected, expected_n);
    assert_decodes(tokenizer, ids, n, text);
    free(expected);
    tlm_free(ids);
}

/* The same tokens, special tokens and merges, ids and all. */
static inline void assert_same_as_naive(const tlm_tokenizer_t *tokenizer, const naive_bpe_t *naive)
{
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), naive->num_tokens);
    ck_assert_uint_eq(tlm_tokenizer_num_merges(tokenizer), naive->num_merges);
    ck_assert_uint_eq(tlm_tokenizer_num_special_tokens(tokenizer), naive->num_specials);
    for (uint32_t i = 0; i < naive->num_specials; i++) {
        uint32_t id;

        ASSERT_OK(tlm_tokenizer_special_token(&id, tokenizer, i));
        ck_assert_uint_eq(id, naive->specials[i]);
    }
    for (uint32_t i = 0; i < naive->num_tokens; i++) {
        tlm_bytes_t token = {NULL, 0}; /* stays so for a hole */

        (void)tlm_tokenizer_token(&token, tokenizer, i);
        assert_same_bytes(token, naive->tokens[i]);
    }
    for (uint32_t i = 0; i < naive->num_merges; i++) {
        uint32_t left, right;

        ASSERT_OK(tlm_tokenizer_merge(&left, &right, tokenizer, i));
        if (left != naive->merges[i].left || right != naive->merges[i].right)
            ck_abort_msg("merge %u: (%u, %u) and (%u, %u)", i, left, right, naive->merges[i].left,
                         naive->merges[i].right);
    }
}

/* ---- A small vocabulary ------------------------------------------------------------------------
 */

enum { MAX_TOKENS = 400 };

/* The 256 bytes, and what the tests add. */
typedef struct parts {
    tlm_bytes_t vocab[MAX_TOKENS];
    size_t vocab_size;
    tlm_bytes_t merges[2 * MAX_TOKENS];
    size_t num_merges;
} parts_t;

static inline parts_t byte_parts(void)
{
    static uint8_t bytes[256];
    parts_t parts = {.vocab_size = 256};

    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
        parts.vocab[i] = (tlm_bytes_t){&bytes[i], 1};
    }
    return parts;
}

static inline tlm_bytes_t string_bytes(const char *text)
{
    return (tlm_bytes_t){(const uint8_t *)text, strlen(text)};
}

static inline void add_merge(parts_t *parts, const char *left, const char *right,
                             const char *product)
{
    parts->merges[2 * parts->num_merges] = string_bytes(left);
    parts->merges[2 * parts->num_merges + 1] = string_bytes(right);
    parts->num_merges++;
    if (product != NULL)
        parts->vocab[parts->vocab_size++] = string_bytes(product);
}

static inline tlm_status_t create(tlm_tokenizer_t **out, const parts_t *parts,
                                  const tlm_tokenizer_options_t *options)
{
    return tlm_tokenizer_create(out, parts->vocab, parts->vocab_size, parts->merges,
                                parts->num_merges, options);
}

static inline tlm_tokenizer_options_t with_specials(const tlm_bytes_t *specials, size_t n)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;

    options.special_tokens = specials;
    options.num_special_tokens = n;
    return options;
}

static inline tlm_tokenizer_t *byte_tokenizer(const tlm_bytes_t *specials, size_t n,
                                              const char *pattern)
{
    tlm_tokenizer_options_t options = with_specials(specials, n);
    parts_t parts = byte_parts();
    tlm_tokenizer_t *tokenizer;

    options.pattern = pattern;
    ASSERT_OK(create(&tokenizer, &parts, &options));
    return tokenizer;
}

/* Trained on text of all pieces, so that merges run through characters and their fragments. */
static inline tlm_tokenizer_t *trained_tokenizer(size_t num_specials, const char *pattern)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    test_random_t random = {3, 0};
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;

    options.vocab_size = 600;
    options.special_tokens = special_pieces;
    options.num_special_tokens = num_specials;
    options.pattern = pattern;
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    for (int i = 0; i < 40; i++) {
        tlm_bytes_t text = random_text(&random, 500);

        ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text.data, text.size));
        free_text(text);
    }
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    return tokenizer;
}

/* The text encodes to these tokens, written with '\1' between them. */
static inline void assert_pieces(const tlm_tokenizer_t *tokenizer, const char *text,
                                 const char *expected)
{
    char joined[512] = "";
    uint32_t *ids;
    size_t n, used = 0;

    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text, strlen(text)));
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

#endif
