/* Any rank file; one that begins with '+' goes on from all single bytes, with ranks from 64 on. What
 * loads encodes like the naive encoder by rank, saves, and loads again. */
#include "fuzz_tokenizer.h"
#include "naive_by_rank.h"

/* The lines of all bytes. */
static size_t byte_lines(char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t used = 0;

    for (unsigned byte = 0; byte < 256; byte++)
        used += (size_t)snprintf(out + used, 16, "%c%c== %u\n", digits[byte >> 2],
                                 digits[(byte & 3) << 4], 64 + byte);
    return used;
}

static const char *rank_file(const uint8_t *data, size_t size)
{
    char *whole;
    size_t used;
    const char *path;

    if (size == 0 || data[0] != '+')
        return fuzz_file(0, data, size);
    whole = malloc(4096 + size);
    FUZZ_CHECK(whole != NULL);
    used = byte_lines(whole);
    memcpy(whole + used, data + 1, size - 1);
    path = fuzz_file(0, whole, used + size - 1);
    free(whole);
    return path;
}

/* Pieces of at most 48 bytes are pretokens here. */
static void check_by_rank(const tlm_tokenizer_t *tokenizer, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size && at < 1000; at += 48) {
        size_t piece = size - at < 48 ? size - at : 48, n, expected_n;
        uint32_t expected[48], *ids;

        expected_n = naive_by_rank(expected, tokenizer, (tlm_bytes_t){data + at, piece});
        FUZZ_CHECK(expected_n != SIZE_MAX);
        FUZZ_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, data + at, piece));
        FUZZ_CHECK(fuzz_same(ids, n * sizeof(*ids), expected, expected_n * sizeof(*ids)));
        tlm_free(ids);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = NULL, *loaded;

    options.pattern = "[\\s\\S]+"; /* all of a text is one pretoken */
    if (tlm_tokenizer_load_tiktoken(&tokenizer, rank_file(data, size), &options) != TLM_OK) {
        FUZZ_CHECK(tokenizer == NULL && tlm_error_message()[0] != '\0');
        return 0;
    }
    check_by_rank(tokenizer, data, size);
    FUZZ_OK(tlm_tokenizer_save_tiktoken(tokenizer, fuzz_saved_path("ranks")));
    FUZZ_OK(tlm_tokenizer_load_tiktoken(&loaded, fuzz_saved_path("ranks"), &options));
    fuzz_check_same(tokenizer, loaded);
    tlm_tokenizer_free(loaded);
    FUZZ_OK(tlm_tokenizer_save_json(tokenizer, fuzz_saved_path("tokenizer.json")));
    FUZZ_OK(tlm_tokenizer_load_json(&loaded, fuzz_saved_path("tokenizer.json"), NULL));
    fuzz_check_same(tokenizer, loaded);
    tlm_tokenizer_free(loaded);
    tlm_tokenizer_free(tokenizer);
    return 0;
}
