/* Any tokenizer.json. In place of "@" at its first occurrence stand the members of a vocabulary of all
 * bytes. What loads encodes and decodes; where it can be saved, it loads again with the same ids. */
#include "fuzz_tokenizer.h"

static const char *json_file(const uint8_t *data, size_t size)
{
    const char *bytes, *path;
    size_t bytes_size = fuzz_byte_vocabulary(&bytes) - 1, before;
    const uint8_t *mark = size > 0 ? memchr(data, '@', size) : NULL;
    char *whole;

    if (mark == NULL)
        return fuzz_file(0, data, size);
    before = (size_t)(mark - data);
    whole = malloc(bytes_size + size);
    FUZZ_CHECK(whole != NULL);
    memcpy(whole, data, before);
    memcpy(whole + before, bytes + 1, bytes_size);
    memcpy(whole + before + bytes_size, mark + 1, size - before - 1);
    path = fuzz_file(0, whole, bytes_size + size - 1);
    free(whole);
    return path;
}

/* Whether a text can be encoded: a pattern may backtrack without end, and the model may lack its token
 * for unknown words. */
static bool encodes(const tlm_tokenizer_t *tokenizer, const uint8_t *data, size_t size)
{
    uint32_t *ids = NULL;
    size_t n;
    tlm_status_t status = tlm_tokenizer_encode(&ids, &n, tokenizer, data, size);

    FUZZ_CHECK(status == TLM_OK || tlm_error_message()[0] != '\0');
    tlm_free(ids);
    return status == TLM_OK;
}

/* A decoder may change the text, but what it gives is UTF-8. */
static void check_decoding(const tlm_tokenizer_t *tokenizer, const uint8_t *data, size_t size)
{
    size_t n, text_size, again_size;
    char *text, *again;
    uint32_t *ids;

    FUZZ_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, data, size));
    if (tlm_tokenizer_decode_text(&text, &text_size, tokenizer, ids, n) == TLM_OK) {
        FUZZ_OK(tlm_utf8_sanitize(&again, &again_size, text, text_size));
        FUZZ_CHECK(fuzz_same(text, text_size, again, again_size));
        tlm_free(again);
        tlm_free(text);
    }
    tlm_free(ids);
}

static void check_same_ids(const tlm_tokenizer_t *a, const tlm_tokenizer_t *b, const uint8_t *data,
                           size_t size)
{
    uint32_t *ids, *others;
    size_t n, other_n;

    FUZZ_OK(tlm_tokenizer_encode(&ids, &n, a, data, size));
    FUZZ_OK(tlm_tokenizer_encode(&others, &other_n, b, data, size));
    FUZZ_CHECK(fuzz_same(ids, n * sizeof(*ids), others, other_n * sizeof(*ids)));
    tlm_free(ids);
    tlm_free(others);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tlm_tokenizer_t *tokenizer = NULL, *loaded;
    const char *saved = fuzz_saved_path("tokenizer.json");

    if (tlm_tokenizer_load_json(&tokenizer, json_file(data, size), NULL) != TLM_OK) {
        FUZZ_CHECK(tokenizer == NULL && tlm_error_message()[0] != '\0');
        return 0;
    }
    if (encodes(tokenizer, data, size)) {
        check_decoding(tokenizer, data, size);
        if (tlm_tokenizer_save_json(tokenizer, saved) == TLM_OK) {
            FUZZ_OK(tlm_tokenizer_load_json(&loaded, saved, NULL));
            FUZZ_CHECK(tlm_tokenizer_vocab_size(tokenizer) == tlm_tokenizer_vocab_size(loaded));
            check_same_ids(tokenizer, loaded, data, size);
            tlm_tokenizer_free(loaded);
        }
    }
    tlm_tokenizer_free(tokenizer);
    return 0;
}
