/* What the targets of tokenizer files share. */
#ifndef FUZZ_TOKENIZER_H
#define FUZZ_TOKENIZER_H

#include "fuzz_support.h"

static char fuzz_directory[256];

static inline void fuzz_remove_directory(void)
{
    static const char *const names[] = {"vocab.json", "merges.txt", "ranks", "tokenizer.json",
                                        "gguf"};
    char path[300];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", fuzz_directory, names[i]);
        unlink(path);
    }
    rmdir(fuzz_directory);
}

/* Path of a file to save to, one of those above; good for two calls. */
static inline const char *fuzz_saved_path(const char *name)
{
    static char paths[2][300];
    static int next;
    const char *parent = getenv("TMPDIR");
    char *path = paths[next++ % 2];

    if (fuzz_directory[0] == '\0') {
        snprintf(fuzz_directory, sizeof(fuzz_directory), "%s/tinylm-fuzz-XXXXXX",
                 parent != NULL ? parent : "/tmp");
        FUZZ_CHECK(mkdtemp(fuzz_directory) != NULL);
        atexit(fuzz_remove_directory);
    }
    snprintf(path, sizeof(paths[0]), "%s/%s", fuzz_directory, name);
    return path;
}

/* The members of a JSON object that gives each byte an id, with its first brace. */
static inline size_t fuzz_byte_vocabulary(const char **text)
{
    static char json[8192];
    static size_t size;
    size_t used = 0;

    for (uint32_t byte = 0, others = 0; size == 0 && byte < 256; byte++) {
        bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
        unsigned character = printable ? byte : 256 + others++;

        used += (size_t)snprintf(json + used, sizeof(json) - used, "%s\"\\u%04x\":%u",
                                 byte == 0 ? "{" : ",", character, byte);
    }
    if (size == 0)
        size = used;
    *text = json;
    return size;
}

/* The same ids for the same tokens, and as many merges and special tokens. */
static inline void fuzz_check_same(const tlm_tokenizer_t *a, const tlm_tokenizer_t *b)
{
    uint32_t n = tlm_tokenizer_vocab_size(a);

    FUZZ_CHECK(tlm_tokenizer_vocab_size(b) == n);
    FUZZ_CHECK(tlm_tokenizer_num_merges(a) == tlm_tokenizer_num_merges(b));
    FUZZ_CHECK(tlm_tokenizer_num_special_tokens(a) == tlm_tokenizer_num_special_tokens(b));
    for (uint32_t id = 0; id < n; id++) {
        tlm_bytes_t token = {NULL, 0}, again = {NULL, 0};

        FUZZ_CHECK(tlm_tokenizer_token(&token, a, id) == tlm_tokenizer_token(&again, b, id));
        FUZZ_CHECK(fuzz_same(token.data, token.size, again.data, again.size));
    }
}

/* A tokenizer may put a text in NFC, so one that is not may come back otherwise. */
static inline void fuzz_check_round_trip(const tlm_tokenizer_t *tokenizer, const uint8_t *data,
                                         size_t size)
{
    uint8_t *decoded;
    size_t n, decoded_size, nfc_size;
    uint32_t *ids;
    char *nfc;

    FUZZ_OK(tlm_utf8_nfc(&nfc, &nfc_size, data, size));
    FUZZ_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, data, size));
    FUZZ_OK(tlm_tokenizer_decode(&decoded, &decoded_size, tokenizer, ids, n));
    FUZZ_CHECK(!fuzz_same(data, size, nfc, nfc_size) ||
               fuzz_same(data, size, decoded, decoded_size));
    tlm_free(nfc);
    tlm_free(decoded);
    tlm_free(ids);
}

#endif
