/* Words of options. */
#include "support/model_words.h"

const char *const norm_words[] = {"pre", "post", "none", "after", "both", NULL};
const char *const position_words[] = {"rope", "none", "learned", NULL};
const char *const qk_norm_words[] = {"none", "heads", "width", NULL};
const char *const ffn_words[] = {"swiglu", "silu", "geglu", "gelu", "relu2", NULL};
const char *const output_init_words[] = {"linear", "zero", "depth", NULL};
const char *const optimizer_words[] = {"adamw", "sgd", "muon", "lion", "adafactor", NULL};
const char *const past_words[] = {"default", "slide", "stop", "recompute", NULL};
const char *const target_words[] = {"checkpoint", "hf", "gguf", "adapter", NULL};

const char *const weight_words[] = {
    [TLM_WEIGHTS_FLOAT32] = "float32",   [TLM_WEIGHTS_FLOAT16] = "float16",
    [TLM_WEIGHTS_BFLOAT16] = "bfloat16", [TLM_WEIGHTS_Q8_0] = "q8_0",
    [TLM_WEIGHTS_Q4_0] = "q4_0",         [TLM_WEIGHTS_Q4_1] = "q4_1",
    [TLM_WEIGHTS_Q5_0] = "q5_0",         [TLM_WEIGHTS_Q5_1] = "q5_1",
    [TLM_WEIGHTS_Q4_K_M] = "q4_k_m",     [TLM_WEIGHTS_Q5_K_M] = "q5_k_m",
    [TLM_WEIGHTS_Q6_K] = "q6_k",         [TLM_WEIGHTS_Q6_K + 1] = NULL};

const char *const type_words[] = {"float32", "float16", "bfloat16", "q8_0", "q4_0",
                                  "q4_1",    "q4_k",    "q6_k",     NULL};

int32_t type_of_word(const char *option, const char *word)
{
    static const int32_t types[] = {TLM_FLOAT32, TLM_FLOAT16, TLM_BFLOAT16, TLM_Q8_0,
                                    TLM_Q4_0,    TLM_Q4_1,    TLM_Q4_K,     TLM_Q6_K};

    return types[cli_choose_word(option, word, type_words)];
}
