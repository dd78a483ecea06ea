/* Any vocab.json and merges.txt, with a NUL byte between them. A vocabulary that begins with a comma
 * goes on from one of all single bytes. What loads must encode, decode, save and load again. */
#include "fuzz_support.h"

static char directory[256];

static void remove_directory(void)
{
    static const char *const names[] = {"vocab.json", "merges.txt"};
    char path[300];

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
}

static const char *saved_path(const char *name)
{
    static char paths[2][300];
    static int next;
    const char *parent = getenv("TMPDIR");
    char *path = paths[next++ % 2];

    if (directory[0] == '\0') {
        snprintf(directory, sizeof(directory), "%s/tinylm-fuzz-XXXXXX",
                 parent != NULL ? parent : "/tmp");
        FUZZ_CHECK(mkdtemp(directory) != NULL);
        atexit(remove_directory);
    }
    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

/* The text of the vocabulary of all bytes, without its last brace. */
static size_t byte_vocabulary(const char **text)
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

static const char *vocabulary_file(const uint8_t *data, size_t size)
{
    const char *start, *path;
    size_t start_size = byte_vocabulary(&start);
    char *whole;

    if (size == 0 || data[0] != ',')
        return fuzz_file(0, data, size);
    whole = malloc(start_size + size);
    FUZZ_CHECK(whole != NULL);
    memcpy(whole, start, start_size);
    memcpy(whole + start_size, data, size);
    path = fuzz_file(0, whole, start_size + size);
    free(whole);
    return path;
}

static void check_saving(const tlm_tokenizer_t *tokenizer)
{
    const char *vocab = saved_path("vocab.json"), *merges = saved_path("merges.txt");
    tlm_tokenizer_t *loaded;
    uint32_t n = tlm_tokenizer_vocab_size(tokenizer);

    FUZZ_OK(tlm_tokenizer_save(tokenizer, vocab, merges));
    FUZZ_OK(tlm_tokenizer_load(&loaded, vocab, merges, NULL));
    FUZZ_CHECK(tlm_tokenizer_vocab_size(loaded) == n);
    FUZZ_CHECK(tlm_tokenizer_num_merges(loaded) == tlm_tokenizer_num_merges(tokenizer));
    for (uint32_t id = 0; id < n; id++) {
        tlm_bytes_t token = {NULL, 0}, again = {NULL, 0};

        FUZZ_CHECK(tlm_tokenizer_token(&token, tokenizer, id) ==
                   tlm_tokenizer_token(&again, loaded, id));
        FUZZ_CHECK(fuzz_same(token.data, token.size, again.data, again.size));
    }
    tlm_tokenizer_free(loaded);
}

static void check_round_trip(const tlm_tokenizer_t *tokenizer, const uint8_t *data, size_t size)
{
    uint8_t *decoded;
    size_t n, decoded_size;
    uint32_t *ids;

    FUZZ_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, data, size));
    FUZZ_OK(tlm_tokenizer_decode(&decoded, &decoded_size, tokenizer, ids, n));
    FUZZ_CHECK(fuzz_same(data, size, decoded, decoded_size));
    tlm_free(decoded);
    tlm_free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
    size_t vocab_size = end != NULL ? (size_t)(end - data) : size;
    const uint8_t *merges = end != NULL ? end + 1 : data;
    size_t merges_size = end != NULL ? size - vocab_size - 1 : 0;
    tlm_tokenizer_t *tokenizer = NULL;

    if (tlm_tokenizer_load(&tokenizer, vocabulary_file(data, vocab_size),
                           fuzz_file(1, merges, merges_size), NULL) != TLM_OK) {
        FUZZ_CHECK(tokenizer == NULL && tlm_error_message()[0] != '\0');
        return 0;
    }
    check_round_trip(tokenizer, data, size);
    check_saving(tokenizer);
    tlm_tokenizer_free(tokenizer);
    return 0;
}
