/* Any decoder over any ids: rows, streams and batches give the same text, and streams the same
 * bytes. */
#include "fuzz_support.h"
#include "tokenizer/tokenizer_core.h"

#define STRINGS 12 /* tokens besides the bytes */

/* The next string of the input: its size, at most 7, then its bytes. Valid UTF-8 only, because
 * files hold nothing else. */
static tlm_bytes_t take_string(fuzz_input_t *input)
{
    size_t size = fuzz_take(input, 8);
    tlm_bytes_t string = {input->data, size < input->size ? size : input->size};

    input->data += string.size;
    input->size -= string.size;
    return tlmi_utf8_valid(string.data, string.size) ? string : (tlm_bytes_t){NULL, 0};
}

static uint32_t take_character(fuzz_input_t *input)
{
    static const uint32_t characters[] = {' ', 'a', 0x2581, 0x120, 0xE9, 0x1F600};

    return characters[fuzz_take(input, 6)];
}

static tlm_status_t add_regex(tlmi_decoder_t *decoder, fuzz_input_t *input)
{
    tlm_bytes_t pattern = take_string(input);
    char text[8] = {0};

    if (pattern.size > 0)
        memcpy(text, pattern.data, pattern.size);
    return tlmi_decoder_add_replace_regex(decoder, text, take_string(input));
}

static tlm_status_t add_step(tlmi_decoder_t *decoder, fuzz_input_t *input)
{
    tlm_bytes_t string;
    uint32_t character;
    size_t n;

    switch (fuzz_take(input, 10)) {
    case 0:
        return tlmi_decoder_add_byte_level(decoder);
    case 1:
        string = take_string(input);
        return tlmi_decoder_add_word_piece(decoder, string, fuzz_take(input, 2) == 1);
    case 2:
        character = take_character(input);
        return tlmi_decoder_add_metaspace(decoder, character, fuzz_take(input, 2) == 1);
    case 3:
        return tlmi_decoder_add_byte_fallback(decoder);
    case 4:
        return tlmi_decoder_add_fuse(decoder);
    case 5:
        character = take_character(input);
        n = fuzz_take(input, 4);
        return tlmi_decoder_add_strip(decoder, character, n, fuzz_take(input, 4));
    case 6:
        string = take_string(input);
        return tlmi_decoder_add_replace(decoder, string, take_string(input));
    case 7:
        return add_regex(decoder, input);
    case 8:
        return tlmi_decoder_add_bpe(decoder, take_string(input));
    default:
        return tlmi_decoder_add_spaces(decoder);
    }
}

/* A tokenizer of all bytes and some strings, with a decoder; NULL if the decoder is refused. */
static tlm_tokenizer_t *make_tokenizer(fuzz_input_t *input)
{
    static uint8_t values[256];
    tlmi_vocabulary_t seen = {0};
    tlm_bytes_t vocab[256 + STRINGS];
    tlm_tokenizer_t *tokenizer;
    size_t n = 256;

    for (size_t i = 0; i < 256; i++) {
        values[i] = (uint8_t)i;
        vocab[i] = (tlm_bytes_t){&values[i], 1};
    }
    for (size_t i = fuzz_take(input, STRINGS + 1); i > 0; i--) {
        vocab[n] = take_string(input);
        if (vocab[n].size < 2 ||
            tlmi_vocabulary_find(&seen, vocab[n].data, vocab[n].size) != TLMI_NO_TOKEN)
            continue;
        FUZZ_OK(tlmi_vocabulary_add(&seen, vocab[n].data, vocab[n].size));
        n++;
    }
    tlmi_vocabulary_release(&seen);
    FUZZ_OK(tlm_tokenizer_create(&tokenizer, vocab, n, NULL, 0, NULL));
    FUZZ_OK(tlmi_decoder_create(&tokenizer->decoder, fuzz_take(input, 2) == 1));
    for (size_t i = fuzz_take(input, 6); i > 0; i--)
        if (add_step(tokenizer->decoder, input) != TLM_OK) {
            FUZZ_CHECK(tlm_error_message()[0] != '\0');
            tlm_tokenizer_free(tokenizer);
            return NULL;
        }
    return tokenizer;
}

static void check_stream(const tlm_tokenizer_t *tokenizer, const uint32_t *ids, size_t n,
                         bool as_text, const uint8_t *whole, size_t whole_size)
{
    tlm_decode_options_t options = TLM_DECODE_OPTIONS_INIT;
    tlm_decoder_t *decoder;
    size_t at = 0;

    options.as_text = as_text;
    FUZZ_OK(tlm_decoder_create_with(&decoder, tokenizer, &options));
    for (size_t i = 0; i <= n; i++) {
        const char *text;
        size_t size;

        FUZZ_OK(i < n ? tlm_decoder_push(&text, &size, decoder, ids[i])
                      : tlm_decoder_finish(&text, &size, decoder));
        FUZZ_CHECK(!as_text || tlmi_utf8_valid((const uint8_t *)text, size));
        FUZZ_CHECK(size <= whole_size - at && (size == 0 || memcmp(text, whole + at, size) == 0));
        at += size;
    }
    FUZZ_CHECK(at == whole_size);
    tlm_decoder_free(decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};
    tlm_tokenizer_t *tokenizer = make_tokenizer(&input);
    uint32_t ids[64];
    size_t n = 0;

    if (tokenizer == NULL)
        return 0;
    for (; n < 64 && input.size > 0; n++) {
        size_t choice = fuzz_take(&input, 256);

        ids[n] = choice < 128
                     ? (uint32_t)choice
                     : (uint32_t)(tlm_tokenizer_vocab_size(tokenizer) - 1 - (choice - 128) % 140);
    }
    for (int as_text = 0; as_text < 2; as_text++) {
        tlm_decode_options_t options = TLM_DECODE_OPTIONS_INIT;
        tlm_ids_t row = {ids, n};
        uint8_t *whole, *batch;
        size_t whole_size, *offsets;

        options.as_text = as_text == 1;
        tlm_status_t status =
            tlm_tokenizer_decode_with(&whole, &whole_size, tokenizer, ids, n, &options);
        if (status == TLM_ERR_REGEX) /* the pattern may backtrack without end */
            break;
        FUZZ_CHECK(status == TLM_OK);
        FUZZ_OK(tlm_tokenizer_decode_batch(&batch, &offsets, tokenizer, &row, 1, &options));
        FUZZ_CHECK(offsets[1] == whole_size && memcmp(batch, whole, whole_size) == 0);
        check_stream(tokenizer, ids, n, options.as_text, whole, whole_size);
        tlm_free(whole);
        tlm_free(batch);
        tlm_free(offsets);
    }
    tlm_tokenizer_free(tokenizer);
    return 0;
}
