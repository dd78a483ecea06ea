/* Any vocab.json and merges.txt, with a NUL byte between them. A vocabulary that begins with a comma
 * goes on from one of all single bytes. What loads must encode, decode, save and load again. */
#include "fuzz_tokenizer.h"

static const char *vocabulary_file(const uint8_t *data, size_t size)
{
    const char *start, *path;
    size_t start_size = fuzz_byte_vocabulary(&start);
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
    const char *vocab = fuzz_saved_path("vocab.json"), *merges = fuzz_saved_path("merges.txt");
    tlm_tokenizer_t *loaded;

    FUZZ_OK(tlm_tokenizer_save(tokenizer, vocab, merges));
    FUZZ_OK(tlm_tokenizer_load(&loaded, vocab, merges, NULL));
    fuzz_check_same(tokenizer, loaded);
    tlm_tokenizer_free(loaded);
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
    fuzz_check_round_trip(tokenizer, data, size);
    check_saving(tokenizer);
    tlm_tokenizer_free(tokenizer);
    return 0;
}
