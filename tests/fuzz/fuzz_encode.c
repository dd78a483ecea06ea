/* Any bytes: encoded as the naive encoder does, the same in a stream cut anywhere, and back again. */
#include "fuzz_support.h"
#include "naive_bpe.h"

static const char training_text[] =
    "the theatre, there and then: it's we'll they've  42 4242 \n\n caf\xC3\xA9s caf\xC3\xA9 "
    "\xE3\x81\x82\xE3\x81\x84\xE3\x81\x82 \xF0\x9F\x98\x80\xF0\x9F\x98\x80 \xFF\xFF\xFE \xFF\xFF "
    "....";

static tlm_tokenizer_t *make_tokenizer(void)
{
    static const tlm_bytes_t specials[] = {{(const uint8_t *)"<|end|>", 7},
                                           {(const uint8_t *)"<|end|><|end|>", 14},
                                           {(const uint8_t *)"|><", 3}};
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;

    options.vocab_size = 340;
    options.special_tokens = specials;
    options.num_special_tokens = 3;
    FUZZ_OK(tlm_bpe_trainer_create(&trainer, &options));
    FUZZ_OK(tlm_bpe_trainer_add_text(trainer, training_text, sizeof(training_text) - 1));
    FUZZ_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    return tokenizer;
}

typedef struct expected {
    const uint32_t *ids;
    size_t n, at;
} expected_t;

static int32_t compare(void *user, const uint32_t *ids, size_t n)
{
    expected_t *expected = user;

    FUZZ_CHECK(n <= expected->n - expected->at);
    FUZZ_CHECK(memcmp(ids, expected->ids + expected->at, n * sizeof(*ids)) == 0);
    expected->at += n;
    return 0;
}

/* Pieces of 0 to `longest` bytes, their sizes made from the text. */
static void check_stream(const tlm_tokenizer_t *tokenizer, tlm_bytes_t text, size_t longest,
                         const uint32_t *ids, size_t n)
{
    fuzz_input_t rest = {text.data, text.size};
    expected_t expected = {ids, n, 0};
    tlm_encoder_t *encoder;

    FUZZ_OK(tlm_encoder_create(&encoder, tokenizer, compare, &expected));
    for (size_t i = 0; rest.size > 0; i++) {
        tlm_bytes_t piece = fuzz_take_bytes(&rest, (text.data[i % text.size] + i) % (longest + 1));

        FUZZ_OK(tlm_encoder_push(encoder, piece.data, piece.size));
        fuzz_free(piece);
    }
    FUZZ_OK(tlm_encoder_finish(encoder));
    FUZZ_CHECK(expected.at == n);
    tlm_encoder_free(encoder);
}

/* The text again and again: a stream is looked at in blocks of several kilobytes. */
static void check_long_stream(const tlm_tokenizer_t *tokenizer, tlm_bytes_t text, size_t longest)
{
    size_t times = text.size == 0 ? 0 : 40000 / text.size + 1, n;
    uint8_t *bytes = malloc(times * text.size + 1);
    tlm_bytes_t repeated = {bytes, times * text.size};
    uint32_t *ids;

    FUZZ_CHECK(bytes != NULL);
    for (size_t i = 0; i < repeated.size; i++)
        bytes[i] = text.data[i % text.size];
    FUZZ_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, repeated.data, repeated.size));
    check_stream(tokenizer, repeated, longest * 100, ids, n);
    tlm_free(ids);
    free(bytes);
}

/* decode_text and the streaming decoder agree, on well-formed text. */
static void check_decoding(const tlm_tokenizer_t *tokenizer, const uint32_t *ids, size_t n)
{
    size_t size, clean_size, used = 0, piece_size;
    tlm_decoder_t *decoder;
    char *text, *clean;
    const char *piece;

    FUZZ_OK(tlm_tokenizer_decode_text(&text, &size, tokenizer, ids, n));
    FUZZ_OK(tlm_utf8_sanitize(&clean, &clean_size, text, size));
    FUZZ_CHECK(fuzz_same(text, size, clean, clean_size));
    FUZZ_OK(tlm_decoder_create(&decoder, tokenizer));
    for (size_t i = 0; i <= n; i++) {
        if (i < n)
            FUZZ_OK(tlm_decoder_push(&piece, &piece_size, decoder, ids[i]));
        else
            FUZZ_OK(tlm_decoder_finish(&piece, &piece_size, decoder));
        FUZZ_CHECK(piece_size <= size - used);
        FUZZ_CHECK(fuzz_same(text + used, piece_size, piece, piece_size));
        used += piece_size;
    }
    FUZZ_CHECK(used == size);
    tlm_decoder_free(decoder);
    tlm_free(clean);
    tlm_free(text);
}

/* With fewer special tokens and with dropout the text comes back all the same, and offsets part it. */
static void check_options(const tlm_tokenizer_t *tokenizer, tlm_bytes_t text, size_t longest)
{
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    size_t n, size, *offsets;
    uint32_t *ids;
    uint8_t *bytes;

    options.allowed_special = longest % 3 == 0 ? TLM_SPECIAL_NONE : TLM_SPECIAL_ALL;
    options.disallowed_special = TLM_SPECIAL_NONE;
    options.dropout = (double)(longest % 5) / 4.0;
    options.seed = longest;
    FUZZ_OK(tlm_tokenizer_encode_with(&ids, &n, tokenizer, text.data, text.size, &options));
    FUZZ_OK(tlm_tokenizer_decode(&bytes, &size, tokenizer, ids, n));
    FUZZ_CHECK(fuzz_same(text.data, text.size, bytes, size));
    offsets = malloc((n + 1) * sizeof(*offsets));
    FUZZ_CHECK(offsets != NULL);
    FUZZ_OK(tlm_tokenizer_offsets(offsets, tokenizer, ids, n));
    FUZZ_CHECK(offsets[n] == text.size);
    free(offsets);
    tlm_free(bytes);
    tlm_free(ids);
}

/* What is in NFC stays as it is. */
static void check_nfc(tlm_bytes_t text)
{
    char *nfc, *again;
    size_t size, again_size;

    FUZZ_OK(tlm_utf8_nfc(&nfc, &size, text.data, text.size));
    FUZZ_OK(tlm_utf8_nfc(&again, &again_size, nfc, size));
    FUZZ_CHECK(fuzz_same(nfc, size, again, again_size));
    tlm_free(nfc);
    tlm_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tlm_tokenizer_t *tokenizer;
    static naive_bpe_t naive;
    fuzz_input_t input = {data, size};
    size_t longest = 1 + fuzz_take(&input, 40), n, expected_n, decoded_size;
    tlm_bytes_t text = {input.data, input.size};
    uint32_t *ids, *expected;
    uint8_t *decoded;

    if (tokenizer == NULL) {
        tokenizer = make_tokenizer();
        naive_from_tokenizer(&naive, tokenizer);
    }
    FUZZ_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
    if (text.size <= 2000) {
        expected = naive_encode(&expected_n, &naive, text.data, text.size);
        FUZZ_CHECK(fuzz_same(ids, n * sizeof(*ids), expected, expected_n * sizeof(*ids)));
        free(expected);
    }
    FUZZ_OK(tlm_tokenizer_decode(&decoded, &decoded_size, tokenizer, ids, n));
    FUZZ_CHECK(fuzz_same(text.data, text.size, decoded, decoded_size));
    tlm_free(decoded);
    check_stream(tokenizer, text, longest, ids, n);
    if (longest % 4 == 0)
        check_long_stream(tokenizer, text, longest);
    check_decoding(tokenizer, ids, n);
    check_options(tokenizer, text, longest);
    check_nfc(text);
    for (size_t i = 0; i < n; i++) /* ids that no text gives, in the range and out of it */
        ids[i] = (ids[i] * 2654435761u >> 7) % tlm_tokenizer_vocab_size(tokenizer);
    check_decoding(tokenizer, ids, n);
    if (n > 0) {
        ids[n / 2] = tlm_tokenizer_vocab_size(tokenizer) + (uint32_t)n;
        FUZZ_CHECK(tlm_tokenizer_decode(&decoded, &decoded_size, tokenizer, ids, n) ==
                   TLM_ERR_RANGE);
    }
    tlm_free(ids);
    return 0;
}
