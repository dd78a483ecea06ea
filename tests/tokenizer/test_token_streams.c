/* Streaming: the encoder gives the ids of the whole text for every way of cutting it, the decoder never
 * half a character. */
#include "tokenizer_support.h"
#include "run_suite.h"

/* ---- Collecting -------------------------------------------------------------------------------- */

typedef struct collected {
    uint32_t *ids;
    size_t n, capacity;
    int calls_left; /* cancels when it comes to 0; negative: never */
} collected_t;

static int32_t collect(void *user, const uint32_t *ids, size_t n)
{
    collected_t *all = user;

    ck_assert_uint_gt(n, 0);
    if (all->calls_left > 0 && --all->calls_left == 0)
        return 1;
    if (all->n + n > all->capacity) {
        all->capacity = 2 * (all->n + n);
        all->ids = realloc(all->ids, all->capacity * sizeof(*all->ids));
    }
    memcpy(all->ids + all->n, ids, n * sizeof(*ids));
    all->n += n;
    return 0;
}

/* A tokenizer with an encoder, and what came out of it. */
typedef struct stream {
    tlm_tokenizer_t *tokenizer;
    tlm_encoder_t *encoder;
    collected_t all;
} stream_t;

static void open_stream(stream_t *stream, size_t num_specials, const char *pattern)
{
    stream->all = (collected_t){NULL, 0, 0, -1};
    stream->tokenizer = trained_tokenizer(num_specials, pattern);
    ASSERT_OK(tlm_encoder_create(&stream->encoder, stream->tokenizer, collect, &stream->all));
}

static void close_stream(stream_t *stream)
{
    tlm_encoder_free(stream->encoder);
    tlm_tokenizer_free(stream->tokenizer);
    free(stream->all.ids);
}

/* The pieces text[0, cuts[0]), [cuts[0], cuts[1]) ..., the last of which ends at the end. */
static void assert_cuts(stream_t *stream, tlm_bytes_t text, const size_t *cuts, size_t n)
{
    size_t begin = 0, length;
    uint32_t *ids;

    stream->all.n = 0;
    for (size_t i = 0; i <= n; i++) {
        size_t end = i < n ? cuts[i] : text.size;

        /* A copy of its own, so that reading past the piece is seen. */
        uint8_t *piece = malloc(end - begin + (end == begin));

        memcpy(piece, text.data + begin, end - begin);
        ASSERT_OK(tlm_encoder_push(stream->encoder, piece, end - begin));
        free(piece);
        begin = end;
    }
    ASSERT_OK(tlm_encoder_finish(stream->encoder));
    ASSERT_OK(tlm_tokenizer_encode(&ids, &length, stream->tokenizer, text.data, text.size));
    assert_same_ids(stream->all.ids, stream->all.n, ids, length);
    tlm_free(ids);
}

/* ---- Encoder ----------------------------------------------------------------------------------- */

#define TEXT(literal)                                                                              \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                            \
    }
static const tlm_bytes_t tricky[] = {
    TEXT("it's we'll they've you're I'd I'm can't 'l 'v 'r ''s 'll'll"),
    TEXT("a  b   c    d \n\n e\t\t f     "),
    TEXT("     "),
    TEXT("x<|end|>y<|end|><|end|>z<|end|><|end<|end|>"),
    TEXT("|><||><|end|>|><| ab ab  ab\xFF\0\xFF"),
    TEXT("caf\xC3\xA9 \xE3\x81\x82\xE3\x81\x82 \xF0\x9F\x98\x80\xF0\x9F\x98\x80!"),
    TEXT("a\xE3\x81 b\xF0\x9F\x98z\xC3 \xE3\x81\xF0\x9F\xED\xA0\x80\x80\x80 \xF4\x90"),
    TEXT(" \xC2\xA0 \xE3\x80\x80\xE2\x80\xA8 x\xC2\xA0\xC2\xA0y\xC2"),
    TEXT("12 3x4 \xC2\xBD\xC2\xBD \xE2\x85\xA7\xD9\xA3 5"),
    TEXT("\0\0 \0a\0"),
};
#undef TEXT

START_TEST(every_cut_of_tricky_texts_gives_the_whole)
{
    stream_t stream;

    open_stream(&stream, (size_t)_i, NULL);
    for (size_t i = 0; i < COUNT(tricky); i++)
        for (size_t first = 0; first <= tricky[i].size; first++)
            for (size_t second = first; second <= tricky[i].size; second++) {
                size_t cuts[] = {first, second};

                assert_cuts(&stream, tricky[i], cuts, 2);
            }
    close_stream(&stream);
}
END_TEST

/* The same where a block ends, which is where a stream decides on less than the whole. */
START_TEST(every_cut_at_the_end_of_a_block_gives_the_whole)
{
    static const size_t blocks[] = {16384, 4096, 65536};
    stream_t stream;

    open_stream(&stream, (size_t)_i, NULL);
    for (size_t b = 0; b < (_i == 5 ? COUNT(blocks) : 1); b++)
        for (size_t i = 0; i < COUNT(tricky); i++)
            for (size_t cut = 0; cut <= tricky[i].size; cut++) {
                tlm_bytes_t text = straddling(tricky[i], cut, blocks[b]);

                assert_cuts(&stream, text, &blocks[b], 1);
                free_text(text);
            }
    close_stream(&stream);
}
END_TEST

START_TEST(random_cuts_give_the_whole)
{
    static const char *const patterns[] = {NULL, "(?:" TLM_PATTERN_GPT2 ")", "\\w+|x"};
    test_random_t random = {(uint64_t)_i + 300, 0};
    stream_t stream;

    open_stream(&stream, (size_t)_i, patterns[_i % 3]);
    for (int round = 0; round < 300; round++) {
        tlm_bytes_t text = random_text(&random, draw(&random, round % 30 == 0 ? 20000 : 300));
        size_t *cuts = malloc((text.size + 1) * sizeof(*cuts)), n = 0, at = 0;
        size_t step = 1 + draw(&random, round % 3 == 0 ? 2 : 1 + text.size / 3);

        while ((at += draw(&random, step + 1)) <= text.size && n < text.size)
            cuts[n++] = at;
        assert_cuts(&stream, text, cuts, n);
        free(cuts);
        free_text(text);
    }
    close_stream(&stream);
}
END_TEST

/* A tokenizer with the tokens of another that puts texts in NFC. */
static tlm_tokenizer_t *with_nfc(const tlm_tokenizer_t *plain, const char *pattern)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    size_t vocab_size = tlm_tokenizer_vocab_size(plain), n = tlm_tokenizer_num_merges(plain);
    tlm_bytes_t *vocab = malloc(vocab_size * sizeof(*vocab));
    tlm_bytes_t *merges = malloc(2 * n * sizeof(*merges));
    tlm_tokenizer_t *tokenizer;

    for (size_t i = 0; i < vocab_size; i++)
        vocab[i] = token_of(plain, (uint32_t)i);
    for (size_t i = 0; i < n; i++) {
        uint32_t left, right;

        ASSERT_OK(tlm_tokenizer_merge(&left, &right, plain, (uint32_t)i));
        merges[2 * i] = vocab[left];
        merges[2 * i + 1] = vocab[right];
    }
    options.special_tokens = special_pieces;
    options.num_special_tokens = 3;
    options.pattern = pattern;
    options.nfc = true;
    ASSERT_OK(tlm_tokenizer_create(&tokenizer, vocab, vocab_size, merges, n, &options));
    free(vocab);
    free(merges);
    return tokenizer;
}

/* Letters, marks and jamo that compose, malformed bytes, and special tokens between. */
static tlm_bytes_t random_marked_text(test_random_t *random, size_t n)
{
    static const char *const pieces[] = {"e",
                                         "a ",
                                         "\n",
                                         "\xCC\x81",
                                         "\xCC\xA3",
                                         "\xCC\x90",
                                         "\xC3\xA9",
                                         "\xE1\x84\x80",
                                         "\xE1\x85\xA1",
                                         "\xE1\x86\xA7",
                                         "\xE1\x86\xA8",
                                         "\xEA\xB0\x80",
                                         "\xE0\xA7\x87",
                                         "\xE0\xA6\xBE",
                                         "\xE2\x84\xAB",
                                         "\xE0\xA5\x98",
                                         "\xFF",
                                         "\xE1\x84",
                                         "\xE6\x97\xA5"};
    char *text = malloc(16 * n + 1);
    size_t size = 0;

    for (size_t i = 0; i < n; i++) {
        size_t which = draw(random, COUNT(pieces) + 1);
        tlm_bytes_t piece = special_pieces[draw(random, 3)];

        if (which < COUNT(pieces))
            piece = (tlm_bytes_t){(const uint8_t *)pieces[which], strlen(pieces[which])};
        else if (draw(random, 4) > 0)
            continue;
        memcpy(text + size, piece.data, piece.size);
        size += piece.size;
    }
    return (tlm_bytes_t){(uint8_t *)text, size};
}

/* What is encoded is each part between special tokens in NFC. */
static void assert_decodes_to_nfc(const stream_t *stream, tlm_bytes_t text)
{
    uint8_t *bytes;
    char *nfc;
    size_t size, nfc_size;

    ASSERT_OK(
        tlm_tokenizer_decode(&bytes, &size, stream->tokenizer, stream->all.ids, stream->all.n));
    ASSERT_OK(tlm_utf8_nfc(&nfc, &nfc_size, text.data, text.size));
    assert_same_bytes((tlm_bytes_t){bytes, size}, (tlm_bytes_t){(uint8_t *)nfc, nfc_size});
    tlm_free(bytes);
    tlm_free(nfc);
}

START_TEST(random_cuts_of_texts_that_nfc_changes_give_the_whole)
{
    static const char *const patterns[] = {NULL, TLM_PATTERN_QWEN2, "\\w+|x"};
    test_random_t random = {(uint64_t)_i + 500, 0};
    tlm_tokenizer_t *plain;
    stream_t stream;

    open_stream(&stream, 3, patterns[_i]);
    plain = stream.tokenizer;
    tlm_encoder_free(stream.encoder);
    stream.tokenizer = with_nfc(plain, patterns[_i]);
    ASSERT_OK(tlm_encoder_create(&stream.encoder, stream.tokenizer, collect, &stream.all));
    for (int round = 0; round < 200; round++) {
        tlm_bytes_t text =
            random_marked_text(&random, draw(&random, round % 20 == 0 ? 12000 : 100));
        size_t *cuts = malloc((text.size + 1) * sizeof(*cuts)), n = 0, at = 0;
        size_t step = 1 + draw(&random, round % 3 == 0 ? 2 : 1 + text.size / 3);

        while ((at += draw(&random, step + 1)) <= text.size && n < text.size)
            cuts[n++] = at;
        assert_cuts(&stream, text, cuts, n);
        assert_decodes_to_nfc(&stream, text);
        free(cuts);
        free_text(text);
    }
    tlm_tokenizer_free(plain);
    close_stream(&stream);
}
END_TEST

START_TEST(single_bytes_give_the_whole)
{
    stream_t stream;

    open_stream(&stream, COUNT(special_pieces), NULL);
    for (size_t i = 0; i < COUNT(tricky); i++) {
        size_t cuts[64];

        for (size_t k = 0; k < tricky[i].size; k++)
            cuts[k] = k;
        assert_cuts(&stream, tricky[i], cuts, tricky[i].size);
    }
    close_stream(&stream);
}
END_TEST

START_TEST(nothing_gives_nothing)
{
    stream_t stream;

    open_stream(&stream, 1, NULL);
    ASSERT_OK(tlm_encoder_finish(stream.encoder));
    ASSERT_OK(tlm_encoder_push(stream.encoder, NULL, 0));
    ASSERT_OK(tlm_encoder_push(stream.encoder, "", 0));
    ASSERT_OK(tlm_encoder_finish(stream.encoder));
    ck_assert_uint_eq(stream.all.n, 0);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_encoder_push(NULL, "a", 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_encoder_push(stream.encoder, NULL, 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_encoder_finish(NULL));
    close_stream(&stream);
    stream.tokenizer = byte_tokenizer(NULL, 0, NULL);
    stream.encoder = NULL;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_encoder_create(&stream.encoder, stream.tokenizer, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_encoder_create(&stream.encoder, NULL, collect, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_encoder_create(NULL, stream.tokenizer, collect, NULL));
    ck_assert_ptr_null(stream.encoder);
    tlm_encoder_free(NULL);
    tlm_tokenizer_free(stream.tokenizer);
}
END_TEST

/* Ids come while the text does, not all at its end. */
START_TEST(ids_come_early)
{
    stream_t stream;

    open_stream(&stream, 2, NULL);
    for (int i = 0; i < 100000; i++)
        ASSERT_OK(tlm_encoder_push(stream.encoder, "some words ", 11));
    ck_assert_uint_gt(stream.all.n, 150000);
    ASSERT_OK(tlm_encoder_finish(stream.encoder));
    close_stream(&stream);
}
END_TEST

START_TEST(a_callback_can_cancel)
{
    stream_t stream;
    tlm_status_t status = TLM_OK;
    int pushes = 0;

    open_stream(&stream, 2, NULL);
    stream.all.calls_left = 1;
    while (status == TLM_OK && ++pushes < 100000)
        status = tlm_encoder_push(stream.encoder, "some words<|end|> ", 18);
    ck_assert_int_eq(status, TLM_ERR_CANCELLED);
    ck_assert_uint_gt(strlen(tlm_error_message()), 0);
    tlm_encoder_free(stream.encoder);
    /* Also where the first ids come at the end. */
    ASSERT_OK(tlm_encoder_create(&stream.encoder, stream.tokenizer, collect, &stream.all));
    stream.all.calls_left = 1;
    status = tlm_encoder_push(stream.encoder, "a", 1);
    if (status == TLM_OK)
        status = tlm_encoder_finish(stream.encoder);
    ck_assert_int_eq(status, TLM_ERR_CANCELLED);
    close_stream(&stream);
}
END_TEST

/* One pretoken of n bytes in small pieces is not read anew for each piece. */
START_TEST(long_runs_in_pieces_are_no_trap)
{
    static const char letters[] = {'a', ' ', '\x80', '<', '\''};
    tlm_bytes_t text = repeated(letters[_i], long_input());
    size_t n = text.size / 1000;
    size_t *cuts = malloc(n * sizeof(*cuts));
    stream_t stream;

    for (size_t i = 0; i < n; i++)
        cuts[i] = 1000 * i;
    open_stream(&stream, 5, NULL);
    assert_cuts(&stream, text, cuts, n);
    close_stream(&stream);
    free(cuts);
    free_text(text);
}
END_TEST

/* ---- Decoder ----------------------------------------------------------------------------------- */

/* Pushes ids; each piece is well-formed, and after each id that ends with an ASCII byte nothing is
 * held back. All of them together are what decode_text gives. */
static void assert_stream_decodes(const tlm_tokenizer_t *tokenizer, tlm_decoder_t *decoder,
                                  const uint32_t *ids, size_t n)
{
    char *expected, *all, *clean;
    size_t expected_size, used = 0, clean_size, size;
    const char *text;

    ASSERT_OK(tlm_tokenizer_decode_text(&expected, &expected_size, tokenizer, ids, n));
    all = malloc(expected_size + 1);
    for (size_t i = 0; i <= n; i++) {
        if (i < n)
            ASSERT_OK(tlm_decoder_push(&text, &size, decoder, ids[i]));
        else
            ASSERT_OK(tlm_decoder_finish(&text, &size, decoder));
        ck_assert_uint_le(used + size, expected_size);
        if (size > 0)
            memcpy(all + used, text, size);
        ASSERT_OK(tlm_utf8_sanitize(&clean, &clean_size, text, size));
        assert_same_bytes((tlm_bytes_t){(uint8_t *)clean, clean_size},
                          (tlm_bytes_t){(uint8_t *)all + used, size});
        tlm_free(clean);
        used += size;
        if (i < n) {
            tlm_bytes_t token = token_of(tokenizer, ids[i]);

            if (token.size > 0 && token.data[token.size - 1] < 0x80)
                ck_assert(size > 0 && (uint8_t)text[size - 1] == token.data[token.size - 1]);
        }
    }
    assert_same_bytes((tlm_bytes_t){(uint8_t *)all, used},
                      (tlm_bytes_t){(uint8_t *)expected, expected_size});
    free(all);
    tlm_free(expected);
}

START_TEST(pieces_are_whole_characters)
{
    test_random_t random = {(uint64_t)_i + 400, 0};
    tlm_tokenizer_t *tokenizer =
        _i == 0 ? byte_tokenizer(NULL, 0, NULL) : trained_tokenizer((size_t)_i, NULL);
    tlm_decoder_t *decoder;

    ASSERT_OK(tlm_decoder_create(&decoder, tokenizer));
    for (size_t i = 0; i < COUNT(tricky) + 300; i++) {
        tlm_bytes_t text = i < COUNT(tricky) ? tricky[i] : random_text(&random, draw(&random, 200));
        uint32_t *ids;
        size_t n;

        ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
        assert_stream_decodes(tokenizer, decoder, ids, n);
        for (size_t k = 0; k < n; k++) /* and ids in an order that no text gives */
            ids[k] = (uint32_t)draw(&random, tlm_tokenizer_vocab_size(tokenizer));
        assert_stream_decodes(tokenizer, decoder, ids, n);
        tlm_free(ids);
        if (i >= COUNT(tricky))
            free_text(text);
    }
    tlm_decoder_free(decoder);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* A character's bytes one by one: nothing, nothing, nothing, all of it. */
START_TEST(unfinished_characters_are_held_back)
{
    static const uint8_t emoji[] = {0xF0, 0x9F, 0x98, 0x80};
    tlm_tokenizer_t *tokenizer = byte_tokenizer(NULL, 0, NULL);
    tlm_decoder_t *decoder;
    const char *text;
    size_t size;

    ASSERT_OK(tlm_decoder_create(&decoder, tokenizer));
    for (int i = 0; i < 4; i++) {
        ASSERT_OK(
            tlm_decoder_push(&text, &size, decoder, id_of(tokenizer, (tlm_bytes_t){emoji + i, 1})));
        ck_assert_uint_eq(size, i < 3 ? 0 : 4);
    }
    ck_assert_mem_eq(text, emoji, 4);
    ASSERT_OK(tlm_decoder_finish(&text, &size, decoder));
    ck_assert_uint_eq(size, 0);
    ASSERT_OK(tlm_decoder_push(&text, &size, decoder, id_of(tokenizer, BYTES("\xE3"))));
    ck_assert_uint_eq(size, 0);
    ASSERT_FAILS(TLM_ERR_RANGE, "256", tlm_decoder_push(&text, &size, decoder, 256));
    ASSERT_OK(tlm_decoder_finish(&text, &size, decoder));
    ck_assert_uint_eq(size, 3);
    ck_assert_mem_eq(text, "\xEF\xBF\xBD", 3);
    ASSERT_OK(tlm_decoder_push(&text, &size, decoder, id_of(tokenizer, BYTES("a"))));
    ck_assert(size == 1 && text[0] == 'a');
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_decoder_push(NULL, &size, decoder, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_decoder_push(&text, &size, NULL, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_decoder_create(&decoder, NULL));
    tlm_decoder_free(decoder);
    tlm_decoder_free(NULL);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_streams");
    TCase *tcase = tcase_create("token_streams");

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, every_cut_of_tricky_texts_gives_the_whole, 0,
                        COUNT(special_pieces) + 1);
    tcase_add_loop_test(tcase, every_cut_at_the_end_of_a_block_gives_the_whole, 0,
                        COUNT(special_pieces) + 1);
    tcase_add_loop_test(tcase, random_cuts_give_the_whole, 0, 6);
    tcase_add_loop_test(tcase, random_cuts_of_texts_that_nfc_changes_give_the_whole, 0, 3);
    tcase_add_test(tcase, single_bytes_give_the_whole);
    tcase_add_test(tcase, nothing_gives_nothing);
    tcase_add_test(tcase, ids_come_early);
    tcase_add_test(tcase, a_callback_can_cancel);
    tcase_add_loop_test(tcase, long_runs_in_pieces_are_no_trap, 0, 5);
    tcase_add_loop_test(tcase, pieces_are_whole_characters, 0, 5);
    tcase_add_test(tcase, unfinished_characters_are_held_back);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
