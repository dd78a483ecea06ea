/* Any file that tlm_tokenizer_open may find to be a tokenizer: a refusal makes nothing; what opens
 * encodes the file's own bytes, the same in a stream, decodes them, and is saved or refused. */
#include "fuzz_tokenizer.h"

typedef struct expected {
    const uint32_t *ids;
    size_t n;
} expected_t;

static int32_t compare(void *user, const uint32_t *ids, size_t n)
{
    expected_t *expected = user;

    FUZZ_CHECK(n <= expected->n);
    FUZZ_CHECK(fuzz_same(ids, n * sizeof(*ids), expected->ids, n * sizeof(*ids)));
    expected->ids += n;
    expected->n -= n;
    return 0;
}

static void check_stream(const tlm_tokenizer_t *tokenizer, const uint8_t *data, size_t size,
                         const uint32_t *ids, size_t n)
{
    expected_t expected = {ids, n};
    tlm_encoder_t *encoder;

    FUZZ_OK(tlm_encoder_create(&encoder, tokenizer, compare, &expected));
    for (size_t at = 0; at < size; at += 7)
        FUZZ_OK(tlm_encoder_push(encoder, data + at, size - at < 7 ? size - at : 7));
    FUZZ_OK(tlm_encoder_finish(encoder));
    FUZZ_CHECK(expected.n == 0);
    tlm_encoder_free(encoder);
}

static void check_texts(const tlm_tokenizer_t *tokenizer, const uint8_t *data, size_t size)
{
    uint32_t *ids;
    uint8_t *bytes;
    size_t n, text_size, bytes_size;
    char *text, *valid;

    if (tlm_tokenizer_encode(&ids, &n, tokenizer, data, size) != TLM_OK) {
        FUZZ_CHECK(tlm_error_message()[0] != '\0'); /* there may be no token for unknown text */
        return;
    }
    check_stream(tokenizer, data, size, ids, n);
    FUZZ_OK(tlm_tokenizer_decode(&bytes, &bytes_size, tokenizer, ids, n));
    tlm_free(bytes);
    FUZZ_OK(tlm_tokenizer_decode_text(&text, &text_size, tokenizer, ids, n));
    FUZZ_OK(tlm_utf8_sanitize(&valid, &bytes_size, text, text_size));
    FUZZ_CHECK(fuzz_same(text, text_size, valid, bytes_size));
    tlm_free(valid);
    tlm_free(text);
    tlm_free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tlm_tokenizer_t *tokenizer = NULL;
    static int saves;

    if (tlm_tokenizer_open(&tokenizer, fuzz_file(0, data, size), NULL) != TLM_OK) {
        FUZZ_CHECK(tokenizer == NULL && tlm_error_message()[0] != '\0');
        return 0;
    }
    check_texts(tokenizer, data, size < 1000 ? size : 1000);
    if (size > 1000)
        check_texts(tokenizer, data + size - 300, 300);
    if (saves++ % 64 == 0 && /* each waits for the disk */
        tlm_tokenizer_save_json(tokenizer, fuzz_saved_path("tokenizer.json")) != TLM_OK)
        FUZZ_CHECK(tlm_error_message()[0] != '\0');
    tlm_tokenizer_free(tokenizer);
    return 0;
}
