/* The families of models that other programs know by name: what their files say of the options, and how
 * tensors are named and laid out, where that differs from the tables of architecture.c. */
#include "model/architecture.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Phi 3 has queries, keys and values in one tensor, and the two inputs of SwiGLU in another. */
static const tlmi_family_tensor_t phi3_tensors[] = {
    {"self_attn.qkv_proj.weight", TLMI_HF, 3, {TLMI_ATTN_Q, TLMI_ATTN_K, TLMI_ATTN_V}, false},
    {"mlp.gate_up_proj.weight", TLMI_HF, 2, {TLMI_FFN_W1, TLMI_FFN_W3}, false},
    {"attn_qkv.weight", TLMI_GGUF, 3, {TLMI_ATTN_Q, TLMI_ATTN_K, TLMI_ATTN_V}, false},
    {"ffn_up.weight", TLMI_GGUF, 2, {TLMI_FFN_W1, TLMI_FFN_W3}, false},
    {NULL, TLMI_HF, 0, {0}, false},
};

static const tlmi_family_tensor_t gemma_tensors[] = {
    {"pre_feedforward_layernorm.weight", TLMI_HF, 1, {TLMI_LN2}, false},
    {NULL, TLMI_HF, 0, {0}, false},
};

static const tlmi_family_key_t gemma_keys[] = {
    {"query_scalar", TLMI_HF, "query_pre_attn_scalar"},
    {"attention_softcap", TLMI_HF, "attn_logit_softcapping"},
    {"logit_softcap", TLMI_HF, "final_logit_softcapping"},
    {NULL, TLMI_HF, NULL},
};

/* transformers has "attn_logit_softcapping" for Gemma 3, and does not read it. */
static const tlmi_family_key_t gemma3_keys[] = {
    {"query_scalar", TLMI_HF, "query_pre_attn_scalar"},
    {"logit_softcap", TLMI_HF, "final_logit_softcapping"},
    {NULL, TLMI_HF, NULL},
};

/* GPT-2's matrices are (inputs, outputs) in transformers. */
static const tlmi_family_tensor_t gpt2_tensors[] = {
    {"transformer.wte.weight", TLMI_HF, 1, {TLMI_EMBEDDING}, false},
    {"transformer.wpe.weight", TLMI_HF, 1, {TLMI_POSITIONS}, false},
    {"attn.c_attn.weight", TLMI_HF, 3, {TLMI_ATTN_Q, TLMI_ATTN_K, TLMI_ATTN_V}, true},
    {"attn.c_attn.bias", TLMI_HF, 3, {TLMI_ATTN_Q_BIAS, TLMI_ATTN_K_BIAS, TLMI_ATTN_V_BIAS}, false},
    {"attn.c_proj.weight", TLMI_HF, 1, {TLMI_ATTN_OUTPUT}, true},
    {"attn.c_proj.bias", TLMI_HF, 1, {TLMI_ATTN_OUTPUT_BIAS}, false},
    {"ln_1.weight", TLMI_HF, 1, {TLMI_LN1}, false},
    {"ln_1.bias", TLMI_HF, 1, {TLMI_LN1_BIAS}, false},
    {"mlp.c_fc.weight", TLMI_HF, 1, {TLMI_FFN_W1}, true},
    {"mlp.c_fc.bias", TLMI_HF, 1, {TLMI_FFN_W1_BIAS}, false},
    {"mlp.c_proj.weight", TLMI_HF, 1, {TLMI_FFN_W2}, true},
    {"mlp.c_proj.bias", TLMI_HF, 1, {TLMI_FFN_W2_BIAS}, false},
    {"ln_2.weight", TLMI_HF, 1, {TLMI_LN2}, false},
    {"ln_2.bias", TLMI_HF, 1, {TLMI_LN2_BIAS}, false},
    {"transformer.ln_f.weight", TLMI_HF, 1, {TLMI_LN_FINAL}, false},
    {"transformer.ln_f.bias", TLMI_HF, 1, {TLMI_LN_FINAL_BIAS}, false},
    {"attn_qkv.weight", TLMI_GGUF, 3, {TLMI_ATTN_Q, TLMI_ATTN_K, TLMI_ATTN_V}, false},
    {"attn_qkv.bias", TLMI_GGUF, 3, {TLMI_ATTN_Q_BIAS, TLMI_ATTN_K_BIAS, TLMI_ATTN_V_BIAS}, false},
    {"ffn_up.weight", TLMI_GGUF, 1, {TLMI_FFN_W1}, false},
    {"ffn_up.bias", TLMI_GGUF, 1, {TLMI_FFN_W1_BIAS}, false},
    {NULL, TLMI_HF, 0, {0}, false},
};

static const tlmi_family_key_t gpt2_keys[] = {
    {"context_length", TLMI_HF, "n_positions"},
    {"d_model", TLMI_HF, "n_embd"},
    {"num_layers", TLMI_HF, "n_layer"},
    {"num_heads", TLMI_HF, "n_head"},
    {"d_ff", TLMI_HF, "n_inner"},
    {"norm_eps", TLMI_HF, "layer_norm_epsilon"},
    {"norm_eps", TLMI_GGUF, "attention.layer_norm_epsilon"},
    {"num_kv_heads", TLMI_HF, NULL},
    {"head_dim", TLMI_HF, NULL},
    {"head_dim", TLMI_GGUF, NULL},
    {"rope_theta", TLMI_HF, NULL},
    {"rope_theta", TLMI_GGUF, NULL},
    {NULL, TLMI_HF, NULL},
};

#define BIASES_OR_NONE                                                                             \
    {"attention_bias", TLM_ATTENTION_BIAS_NONE},                                                   \
    {                                                                                              \
        "attention_bias", TLM_ATTENTION_BIAS_ALL                                                   \
    }
#define NO_GGUF_BIASES                                                                             \
    {"attention_bias", TLM_ATTENTION_BIAS_NONE},                                                   \
    {                                                                                              \
        "ffn_bias", 0                                                                              \
    }
#define LAYER_COUNTS                                                                               \
    {"num_kv_heads", 32},                                                                          \
    {                                                                                              \
        "context_length", 32768                                                                    \
    }
#define GEMMA                                                                                      \
    BIASES_OR_NONE, {"ffn", TLM_FFN_GEGLU},                                                        \
    {                                                                                              \
        "scaled_embeddings", 1                                                                     \
    }

/* A model is written as the first family that can express its options. */
const tlmi_family_t tlmi_families[] = {
    {.names = {[TLMI_HF] = "llama", [TLMI_GGUF] = "llama"},
     .hf_class = "LlamaForCausalLM",
     .gguf_rope_factors = true,
     .fixed = {BIASES_OR_NONE, {"ffn_bias", TLMI_ANY}}},
    {.names = {[TLMI_HF] = "mistral", [TLMI_GGUF] = "llama"},
     .hf_class = "MistralForCausalLM",
     .gguf_rope_factors = true,
     .fixed = {{"sliding_window", TLMI_ANY}},
     .missing = {{"num_kv_heads", 8}, {"context_length", 131072}},
     .hf_window = 4096},
    {.names = {[TLMI_HF] = "qwen2", [TLMI_GGUF] = "qwen2"},
     .hf_class = "Qwen2ForCausalLM",
     .gguf_halves = true,
     .fixed = {{"attention_bias", TLM_ATTENTION_BIAS_QKV}, {"sliding_window", TLMI_ANY}},
     .missing = {LAYER_COUNTS},
     .hf_window = 4096,
     .hf_window_switch = true,
     .hf_layer_types = true},
    {.names = {[TLMI_HF] = "qwen3", [TLMI_GGUF] = "qwen3"},
     .hf_class = "Qwen3ForCausalLM",
     .gguf_fixed = {NO_GGUF_BIASES},
     .gguf_halves = true,
     .fixed = {BIASES_OR_NONE, {"qk_norm", TLM_QK_NORM_HEADS}, {"sliding_window", TLMI_ANY}},
     .missing = {{"head_dim", 128}, LAYER_COUNTS},
     .hf_window = 4096,
     .hf_window_switch = true,
     .hf_layer_types = true},
    {.names = {[TLMI_HF] = "phi3", [TLMI_GGUF] = "phi3"},
     .hf_class = "Phi3ForCausalLM",
     .gguf_halves = true,
     .gguf_windows = true,
     .fixed = {{"sliding_window", TLMI_ANY}},
     .missing = {{"norm_eps", 1e-5}, {"context_length", 4096}},
     .tensors = phi3_tensors},
    {.names = {[TLMI_HF] = "olmo2", [TLMI_GGUF] = "olmo2"},
     .hf_class = "Olmo2ForCausalLM",
     .gguf_fixed = {NO_GGUF_BIASES},
     .gguf_halves = true,
     .fixed = {BIASES_OR_NONE, {"norm", TLM_NORM_AFTER}, {"qk_norm", TLM_QK_NORM_WIDTH}},
     .missing = {{"norm_eps", 1e-5}}},
    {.names = {[TLMI_HF] = "smollm3", [TLMI_GGUF] = "smollm3"},
     .hf_class = "SmolLM3ForCausalLM",
     .gguf_fixed = {NO_GGUF_BIASES, {"unrotated_period", 4}},
     .fixed = {BIASES_OR_NONE, {"ffn_bias", TLMI_ANY}, {"unrotated_period", TLMI_ANY}},
     .missing = {{"num_kv_heads", 4},
                 {"context_length", 32768},
                 {"rope_theta", 2e6},
                 {"tied_embeddings", 1}}},
    {.names = {[TLMI_HF] = "gemma", [TLMI_GGUF] = "gemma"},
     .hf_class = "GemmaForCausalLM",
     .gguf_fixed = {NO_GGUF_BIASES},
     .gguf_halves = true,
     .hf_gains_less_1 = true,
     .fixed = {GEMMA},
     .missing = {{"head_dim", 256},
                 {"num_kv_heads", 16},
                 {"context_length", 8192},
                 {"tied_embeddings", 1}}},
    {.names = {[TLMI_HF] = "gemma2", [TLMI_GGUF] = "gemma2"},
     .hf_class = "Gemma2ForCausalLM",
     .gguf_fixed = {NO_GGUF_BIASES, {"window_period", 2}},
     .gguf_halves = true,
     .gguf_windows = true,
     .hf_gains_less_1 = true,
     .fixed = {GEMMA,
               {"norm", TLM_NORM_BOTH},
               {"sliding_window", TLMI_ANY},
               {"window_period", 0},
               {"window_period", 2}},
     .missing = {{"head_dim", 256},
                 {"num_kv_heads", 4},
                 {"context_length", 8192},
                 {"tied_embeddings", 1},
                 {"query_scalar", 256},
                 {"attention_softcap", 50},
                 {"logit_softcap", 30}},
     .keys = gemma_keys,
     .tensors = gemma_tensors,
     .hf_activation = "hidden_activation",
     .hf_window = 4096,
     .hf_layer_types = true},
    {.names = {[TLMI_HF] = "gemma3_text", [TLMI_GGUF] = "gemma3"},
     .hf_class = "Gemma3ForCausalLM",
     .gguf_fixed = {NO_GGUF_BIASES,
                    {"window_period", 6},
                    {"window_rope_theta", 1e4},
                    {"attention_softcap", 0},
                    {"logit_softcap", 0}},
     .gguf_halves = true,
     .gguf_windows = true,
     .hf_gains_less_1 = true,
     .fixed = {GEMMA,
               {"norm", TLM_NORM_BOTH},
               {"qk_norm", TLM_QK_NORM_HEADS},
               {"sliding_window", TLMI_ANY},
               {"window_period", TLMI_ANY},
               {"window_rope_theta", TLMI_ANY}},
     .missing = {{"head_dim", 256},
                 {"num_kv_heads", 4},
                 {"context_length", 131072},
                 {"rope_theta", 1e6},
                 {"tied_embeddings", 1},
                 {"query_scalar", 256}},
     .keys = gemma3_keys,
     .tensors = gemma_tensors,
     .hf_activation = "hidden_activation",
     .hf_window = 4096,
     .hf_layer_types = true},
    {.names = {[TLMI_HF] = "gpt2", [TLMI_GGUF] = "gpt2"},
     .hf_class = "GPT2LMHeadModel",
     .fixed = {{"attention_bias", TLM_ATTENTION_BIAS_ALL},
               {"ffn_bias", 1},
               {"ffn", TLM_FFN_GELU},
               {"position", TLM_POSITION_LEARNED},
               {"norm_kind", TLM_KIND_OF_NORM_LAYER}},
     .missing = {{"context_length", 1024}, {"norm_eps", 1e-5}, {"tied_embeddings", 1}, {"d_ff", 0}},
     .keys = gpt2_keys,
     .tensors = gpt2_tensors,
     .hf_layer_prefix = "transformer.h.",
     .hf_activation = "activation_function"},
};
const size_t tlmi_num_families = COUNT_OF(tlmi_families);

const tlmi_family_tensor_t *tlmi_family_tensor(const tlmi_family_t *family, tlmi_format_t format,
                                               int32_t part)
{
    const tlmi_family_tensor_t *own = family->tensors;

    for (; own != NULL && own->name != NULL; own++)
        for (int32_t i = 0; i < own->count && own->format == format; i++)
            if (own->parts[i] == part)
                return own;
    return NULL;
}

const char *tlmi_layer_prefix(const tlmi_family_t *family, tlmi_format_t format)
{
    const bool own = family != NULL && format == TLMI_HF && family->hf_layer_prefix != NULL;

    return own ? family->hf_layer_prefix : tlmi_layer_prefixes[format];
}
