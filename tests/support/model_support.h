/* A tokenizer that is small enough to compare whole, and models compared weight by weight. */
#ifndef TEST_MODEL_SUPPORT_H
#define TEST_MODEL_SUPPORT_H

#include "io_support.h"

/* The bytes, three tokens by merges and two special tokens, by `ids` (NULL: 259 and 260). */
static inline tlm_tokenizer_t *make_small_tokenizer(const char *pattern, const char *first,
                                                    const char *second, const uint32_t *ids)
{
    static const char *const sides[] = {"t", "h", "th", "e", " ", "the"};
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_bytes_t vocab[259], merges[6], specials[2];
    uint8_t bytes[256];
    tlm_tokenizer_t *tokenizer;

    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
        vocab[i] = (tlm_bytes_t){&bytes[i], 1};
    }
    vocab[256] = (tlm_bytes_t){(const uint8_t *)"th", 2};
    vocab[257] = (tlm_bytes_t){(const uint8_t *)"the", 3};
    vocab[258] = (tlm_bytes_t){(const uint8_t *)" the", 4};
    for (int i = 0; i < 6; i++)
        merges[i] = (tlm_bytes_t){(const uint8_t *)sides[i], strlen(sides[i])};
    specials[0] = (tlm_bytes_t){(const uint8_t *)first, strlen(first)};
    specials[1] = (tlm_bytes_t){(const uint8_t *)second, strlen(second)};
    options.special_tokens = specials;
    options.special_token_ids = ids;
    options.num_special_tokens = 2;
    options.pattern = pattern;
    ASSERT_OK(tlm_tokenizer_create(&tokenizer, vocab, 259, merges, 3, &options));
    return tokenizer;
}

/* Makes the blocks those of GPT-2. */
static inline void set_gpt2_blocks(tlm_model_options_t *options)
{
    options->num_kv_heads = 0;
    options->position = TLM_POSITION_LEARNED;
    options->norm_kind = TLM_KIND_OF_NORM_LAYER;
    options->ffn = TLM_FFN_GELU;
    options->ffn_bias = true;
    options->attention_bias = TLM_ATTENTION_BIAS_ALL;
    options->tied_embeddings = true;
}

static inline void assert_same(const tlm_model_t *a, const tlm_model_t *b)
{
    tlm_tensor_t *const *ours, *const *theirs;
    size_t n, m;

    ASSERT_OK(tlm_model_parameters(&ours, &n, a));
    ASSERT_OK(tlm_model_parameters(&theirs, &m, b));
    ck_assert_uint_eq(n, m);
    for (size_t i = 0; i < n; i++)
        ck_assert_mem_eq(tlm_tensor_data(ours[i]), tlm_tensor_data(theirs[i]),
                         (size_t)tlm_tensor_numel(ours[i]) * sizeof(float));
}

#endif
