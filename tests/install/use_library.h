/* The life of a small model in one function, for programs that link the library and, where
 * LOAD_AT_RUN_TIME is defined, for those that look its functions up. */
#ifndef TEST_USE_LIBRARY_H
#define TEST_USE_LIBRARY_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <tinylm/tinylm.h>

/* Everything that use_library calls. */
#define USED_FUNCTIONS(X)                                                                          \
    X(tlm_version)                                                                                 \
    X(tlm_error_message)                                                                           \
    X(tlm_free)                                                                                    \
    X(tlm_bpe_trainer_create)                                                                      \
    X(tlm_bpe_trainer_add_text)                                                                    \
    X(tlm_bpe_trainer_train)                                                                       \
    X(tlm_bpe_trainer_free)                                                                        \
    X(tlm_tokenizer_vocab_size)                                                                    \
    X(tlm_tokenizer_encode)                                                                        \
    X(tlm_tokenizer_decode)                                                                        \
    X(tlm_tokenizer_free)                                                                          \
    X(tlm_model_create)                                                                            \
    X(tlm_model_forward)                                                                           \
    X(tlm_model_free)                                                                              \
    X(tlm_tensor_numel)                                                                            \
    X(tlm_tensor_data)                                                                             \
    X(tlm_tensor_free)

#ifdef LOAD_AT_RUN_TIME
#define DECLARE(name) static __typeof__(name) *loaded_##name;
USED_FUNCTIONS(DECLARE)
#define API(name) (*loaded_##name)
#else
#define API(name) name
#endif

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) != TLM_OK) {                                                                    \
            printf("%s: %s\n", #call, API(tlm_error_message)());                                   \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("line %d: not so: %s\n", __LINE__, #condition);                                 \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* Logits of a fresh model of the tokenizer's vocabulary, all finite. */
static int run_model(uint32_t vocab_size, const uint32_t *ids, int64_t n)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;
    tlm_tensor_t *logits;
    const float *values;
    int64_t i;

    options.vocab_size = vocab_size;
    options.context_length = 64;
    options.d_model = 16;
    options.num_layers = 2;
    options.num_heads = 2;
    TRY(API(tlm_model_create)(&model, &options));
    TRY(API(tlm_model_forward)(&logits, model, ids, 1, n));
    EXPECT(API(tlm_tensor_numel)(logits) == n * (int64_t)vocab_size);
    values = (const float *)API(tlm_tensor_data)(logits);
    for (i = 0; i < API(tlm_tensor_numel)(logits); i++)
        EXPECT(isfinite(values[i]));
    API(tlm_tensor_free)(logits);
    API(tlm_model_free)(model);
    return 0;
}

static int use_library(void)
{
    static const char text[] = "the cat sat on the mat and the dog sat on the log \xE7\x8C\xAB";
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;
    uint32_t *ids;
    uint8_t *bytes;
    size_t n, size;

    EXPECT(strcmp(API(tlm_version)(), TLM_VERSION_STRING) == 0);
    options.vocab_size = 256 + 10;
    TRY(API(tlm_bpe_trainer_create)(&trainer, &options));
    TRY(API(tlm_bpe_trainer_add_text)(trainer, text, sizeof(text) - 1));
    TRY(API(tlm_bpe_trainer_train)(&tokenizer, trainer));
    API(tlm_bpe_trainer_free)(trainer);
    EXPECT(API(tlm_tokenizer_vocab_size)(tokenizer) == 266);
    TRY(API(tlm_tokenizer_encode)(&ids, &n, tokenizer, text, sizeof(text) - 1));
    EXPECT(n > 0 && n < sizeof(text) - 1);
    TRY(API(tlm_tokenizer_decode)(&bytes, &size, tokenizer, ids, n));
    EXPECT(size == sizeof(text) - 1 && memcmp(bytes, text, size) == 0);
    EXPECT(run_model(266, ids, (int64_t)n) == 0);
    API(tlm_free)(bytes);
    API(tlm_free)(ids);
    API(tlm_tokenizer_free)(tokenizer);
    return 0;
}

#endif
