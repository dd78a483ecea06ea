/* The smallest use of the library: train a tokenizer on a line of text, encode it and decode it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tinylm/tinylm.h"

static int fail(const char *call)
{
    fprintf(stderr, "hello: %s: %s\n", call, tlm_error_message());
    return 1;
}

int main(void)
{
    static const char text[] = "the cat sat on the mat, and the rat sat on the cat";
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;
    uint32_t *ids;
    uint8_t *back;
    size_t n, size;

    printf("libtinylm %s, %" PRId32 " threads, CPU level %s\n", tlm_version(), tlm_num_threads(),
           tlm_cpu_level_name(tlm_cpu_level()));

    options.vocab_size = 256 + 10; /* every byte, and ten merges */
    if (tlm_bpe_trainer_create(&trainer, &options) != TLM_OK)
        return fail("tlm_bpe_trainer_create");
    if (tlm_bpe_trainer_add_text(trainer, text, strlen(text)) != TLM_OK)
        return fail("tlm_bpe_trainer_add_text");
    if (tlm_bpe_trainer_train(&tokenizer, trainer) != TLM_OK)
        return fail("tlm_bpe_trainer_train");

    if (tlm_tokenizer_encode(&ids, &n, tokenizer, text, strlen(text)) != TLM_OK)
        return fail("tlm_tokenizer_encode");
    printf("%zu bytes in %zu tokens:", strlen(text), n);
    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token;

        if (tlm_tokenizer_token(&token, tokenizer, ids[i]) != TLM_OK)
            return fail("tlm_tokenizer_token");
        printf("%s%.*s", i > 0 ? "|" : " ", (int)token.size, (const char *)token.data);
    }
    if (tlm_tokenizer_decode(&back, &size, tokenizer, ids, n) != TLM_OK)
        return fail("tlm_tokenizer_decode");
    printf("\ndecoded: %s\n", (const char *)back);

    tlm_free(back);
    tlm_free(ids);
    tlm_tokenizer_free(tokenizer);
    tlm_bpe_trainer_free(trainer);
    return 0;
}
