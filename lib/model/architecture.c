/* The tables of options and parts, and the checks of options together. Each fact about a model is stated
 * once: here, in families.c, or in block_forward.c, whose forward pass infer/inference.c repeats over
 * caches. */
#include "model/architecture.h"

#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "model/model_core.h"
#include "tinylm/model_info.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Options ---------------------------------------------------------------------------- */

#define FIELD(name) #name, offsetof(tlm_model_options_t, name)
#define APART       .written_apart = true
#define HF(...)     [TLMI_HF] = {__VA_ARGS__}
#define GGUF(...)   [TLMI_GGUF] = {__VA_ARGS__} /* after "<family>." */
#define NEEDED      TLMI_REQUIRED
#define TRAINING    .training = true

/* clang-format off */
const tlmi_model_option_t tlmi_options[] = {
    /* field, type, required, in checkpoints, keys and the value where a file lacks the key */
    {FIELD(vocab_size), TLMI_SIZE, true, TLMI_ALWAYS,
     .keys = {HF("vocab_size", NEEDED), GGUF("vocab_size", 0)}}, /* 0: the rows of the embedding */
    {FIELD(context_length), TLMI_SIZE, true, TLMI_ALWAYS,
     .keys = {HF("max_position_embeddings", 2048), GGUF("context_length", NEEDED)}},
    {FIELD(d_model), TLMI_SIZE, true, TLMI_ALWAYS,
     .keys = {HF("hidden_size", NEEDED), GGUF("embedding_length", NEEDED)}},
    {FIELD(num_layers), TLMI_SIZE, true, TLMI_ALWAYS,
     .keys = {HF("num_hidden_layers", NEEDED), GGUF("block_count", NEEDED)}},
    {FIELD(num_heads), TLMI_SIZE, true, TLMI_ALWAYS,
     .keys = {HF("num_attention_heads", NEEDED), GGUF("attention.head_count", NEEDED)}},
    {FIELD(d_ff), TLMI_SIZE, false, TLMI_ALWAYS,
     .keys = {HF("intermediate_size", NEEDED), GGUF("feed_forward_length", NEEDED)}},
    {FIELD(num_kv_heads), TLMI_SIZE, false, TLMI_IN_VERSION_2,
     .keys = {HF("num_key_value_heads", 0), GGUF("attention.head_count_kv", 0)}},
    {FIELD(head_dim), TLMI_SIZE, false, TLMI_UNLESS_DEFAULT,
     .keys = {HF("head_dim", 0), GGUF("attention.key_length", 0)}},
    {FIELD(rope_theta), TLMI_NUMBER, false, TLMI_ALWAYS,
     .keys = {HF("rope_theta", 10000), GGUF("rope.freq_base", 10000)}},
    {FIELD(norm_eps), TLMI_NUMBER, false, TLMI_IN_VERSION_2,
     .keys = {HF("rms_norm_eps", 1e-6), GGUF("attention.layer_norm_rms_epsilon", NEEDED)}},
    {FIELD(seed), TLMI_SEED, .stored = TLMI_ALWAYS},
    {FIELD(norm), TLMI_CHOICE, false, TLMI_IN_VERSION_2,
     .words = {"pre", "post", "none", "after", "both"}},
    {FIELD(position), TLMI_CHOICE, false, TLMI_IN_VERSION_2, .words = {"rope", "none", "learned"}},
    {FIELD(ffn), TLMI_CHOICE, false, TLMI_IN_VERSION_2,
     .words = {"swiglu", "silu", "geglu", "gelu", "relu2"}},
    {FIELD(qk_norm), TLMI_CHOICE, false, TLMI_UNLESS_DEFAULT, .words = {"none", "heads", "width"}},
    {FIELD(tied_embeddings), TLMI_FLAG, false, TLMI_IN_VERSION_2,
     .keys = {HF("tie_word_embeddings", 0)}}, /* GGUF: whether there is an output.weight */
    {FIELD(norm_kind), TLMI_CHOICE, false, TLMI_UNLESS_DEFAULT, .words = {"rms", "layer"}},
    {FIELD(attention_bias), TLMI_CHOICE, false, TLMI_UNLESS_DEFAULT, .words = {"none", "qkv", "all"}},
    {FIELD(ffn_bias), TLMI_FLAG, false, TLMI_UNLESS_DEFAULT, .words = {NULL}},
    {FIELD(scaled_embeddings), TLMI_FLAG, false, TLMI_UNLESS_DEFAULT, .words = {NULL}},
    {FIELD(embedding_norm), TLMI_FLAG, false, TLMI_UNLESS_DEFAULT, .words = {NULL}},
    {FIELD(value_embeddings), TLMI_FLAG, false, TLMI_UNLESS_DEFAULT, .words = {NULL}},
    {FIELD(sliding_window), TLMI_SIZE, false, TLMI_UNLESS_DEFAULT,
     .keys = {GGUF("attention.sliding_window", 0)}},
    {FIELD(window_period), TLMI_SIZE, false, TLMI_UNLESS_DEFAULT, .words = {NULL}},
    {FIELD(window_rope_theta), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, .words = {NULL}},
    {FIELD(unrotated_period), TLMI_SIZE, false, TLMI_UNLESS_DEFAULT, .words = {NULL}},
    {FIELD(rope_scaling), TLMI_CHOICE, false, TLMI_UNLESS_DEFAULT, APART,
     .words = {"none", "linear", "dynamic", "llama3", "yarn"}},
    {FIELD(rope_factor), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, APART},
    {FIELD(rope_low_turns), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, APART},
    {FIELD(rope_high_turns), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, APART},
    {FIELD(rope_original_context), TLMI_SIZE, false, TLMI_UNLESS_DEFAULT, APART},
    {FIELD(rope_magnitude), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, APART},
    {FIELD(query_scalar), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, .words = {NULL}},
    {FIELD(attention_softcap), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT,
     .keys = {GGUF("attn_logit_softcapping", 0)}},
    {FIELD(logit_softcap), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT,
     .keys = {GGUF("final_logit_softcapping", 0)}},
    {FIELD(output_init), TLMI_CHOICE, false, TLMI_UNLESS_DEFAULT, APART,
     .words = {"linear", "zero", "depth"}}, /* of no meaning for weights that are there */
    {FIELD(base_width), TLMI_SIZE, false, TLMI_UNLESS_DEFAULT, APART}, /* no more than that */
    {FIELD(z_loss), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, TRAINING},
    {FIELD(label_smoothing), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, TRAINING, .below = 1.0},
    {FIELD(dropout), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, TRAINING, .below = 1.0},
    {FIELD(attention_dropout), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, TRAINING, .below = 1.0},
    {FIELD(embedding_dropout), TLMI_NUMBER, false, TLMI_UNLESS_DEFAULT, TRAINING, .below = 1.0},
};
/* clang-format on */
const size_t tlmi_num_options = COUNT_OF(tlmi_options);

static bool is_gated(const tlm_model_options_t *options)
{
    return options->ffn == TLM_FFN_SWIGLU || options->ffn == TLM_FFN_GEGLU;
}

/* Scaling that depends on how often an angle turns in the context of the first training. */
static bool scales_by_turns(const tlm_model_options_t *options)
{
    return options->rope_scaling == TLM_ROPE_SCALING_LLAMA3 ||
           options->rope_scaling == TLM_ROPE_SCALING_YARN;
}

static void set_rope_defaults(tlm_model_options_t *options)
{
    if (!scales_by_turns(options))
        return;
    const bool yarn = options->rope_scaling == TLM_ROPE_SCALING_YARN;
    if (options->rope_low_turns == 0.0)
        options->rope_low_turns = 1.0;
    if (options->rope_high_turns == 0.0)
        options->rope_high_turns = yarn ? 32.0 : 4.0;
    if (options->rope_original_context == 0)
        options->rope_original_context = options->context_length;
    if (options->rope_magnitude == 0.0 && yarn)
        options->rope_magnitude =
            options->rope_factor > 1.0 ? 0.1 * log(options->rope_factor) + 1.0 : 1.0;
}

void tlmi_options_set_defaults(tlm_model_options_t *options)
{
    if (options->num_kv_heads == 0)
        options->num_kv_heads = options->num_heads;
    if (options->head_dim == 0 && options->d_model % options->num_heads == 0)
        options->head_dim = options->d_model / options->num_heads;
    /* Two matrices of 4 d_model hold as many parameters as three of 8/3 d_model. */
    if (options->d_ff == 0)
        options->d_ff =
            is_gated(options) ? (8 * options->d_model + 191) / 192 * 64 : 4 * options->d_model;
    if (options->rope_theta == 0.0)
        options->rope_theta = 10000.0;
    if (options->norm_eps == 0.0)
        options->norm_eps = 1e-5;
    set_rope_defaults(options);
}

/* ---- Parts ------------------------------------------------------------------------------ */

static bool always(const tlm_model_options_t *options)
{
    (void)options;
    return true;
}

static bool has_norms(const tlm_model_options_t *options)
{
    return options->norm != TLM_NORM_NONE && options->norm != TLM_NORM_AFTER;
}

static bool has_norms_after(const tlm_model_options_t *options)
{
    return options->norm == TLM_NORM_AFTER || options->norm == TLM_NORM_BOTH;
}

static bool has_final_norm(const tlm_model_options_t *options)
{
    return options->norm != TLM_NORM_NONE && options->norm != TLM_NORM_POST;
}

static bool has_embedding_norm(const tlm_model_options_t *options)
{
    return options->embedding_norm;
}

static bool has_embedding_bias(const tlm_model_options_t *options)
{
    return options->norm_kind == TLM_KIND_OF_NORM_LAYER && options->embedding_norm;
}

static bool has_value_embeddings(const tlm_model_options_t *options)
{
    return options->value_embeddings;
}

static bool has_norm_biases(const tlm_model_options_t *options)
{
    return options->norm_kind == TLM_KIND_OF_NORM_LAYER && has_norms(options);
}

static bool has_final_bias(const tlm_model_options_t *options)
{
    return options->norm_kind == TLM_KIND_OF_NORM_LAYER && has_final_norm(options);
}

static bool has_head_norms(const tlm_model_options_t *options)
{
    return options->qk_norm != TLM_QK_NORM_NONE;
}

static bool has_qkv_biases(const tlm_model_options_t *options)
{
    return options->attention_bias != TLM_ATTENTION_BIAS_NONE;
}

static bool has_output_bias(const tlm_model_options_t *options)
{
    return options->attention_bias == TLM_ATTENTION_BIAS_ALL;
}

static bool has_ffn_biases(const tlm_model_options_t *options)
{
    return options->ffn_bias;
}

static bool has_gated_bias(const tlm_model_options_t *options)
{
    return options->ffn_bias && is_gated(options);
}

static bool has_positions(const tlm_model_options_t *options)
{
    return options->position == TLM_POSITION_LEARNED;
}

static bool has_output(const tlm_model_options_t *options)
{
    return !options->tied_embeddings;
}

#define MATRIX(rows, columns) {TLMI_DIM_##rows, TLMI_DIM_##columns}, TLMI_INIT_LINEAR
#define TABLE(rows, columns)  {TLMI_DIM_##rows, TLMI_DIM_##columns}, TLMI_INIT_EMBEDDING
#define GAINS(size)           {TLMI_DIM_##size, TLMI_DIM_NONE}, TLMI_INIT_ONES
#define BIASES(size)          {TLMI_DIM_##size, TLMI_DIM_NONE}, TLMI_INIT_ZEROS
#define VALUES(rows, columns) {TLMI_DIM_##rows, TLMI_DIM_##columns}, TLMI_INIT_VALUES
#define WEIGHTS(size)         {TLMI_DIM_##size, TLMI_DIM_NONE}, TLMI_INIT_HALVES
#define NO_BIAS               TLMI_NO_BIAS

/* clang-format off */
const tlmi_part_t tlmi_parts[TLMI_NUM_PARTS] = {
    /* shape and initial values, part of the cost, which models have it, rotated, its bias, names
     * here, in transformers, in GGUF */
    [TLMI_EMBEDDING] = {TABLE(VOCAB, MODEL), TLM_PART_EMBEDDING, always, false, NO_BIAS,
        {"token_embeddings.weight", "model.embed_tokens.weight", "token_embd.weight"}},
    [TLMI_POSITIONS] = {TABLE(CONTEXT, MODEL), TLM_PART_EMBEDDING, has_positions, false, NO_BIAS,
        {"position_embeddings.weight", "model.embed_positions.weight", "position_embd.weight"}},
    [TLMI_EMBEDDING_NORM] = {GAINS(MODEL), TLM_PART_NORMS, has_embedding_norm, false,
        TLMI_EMBEDDING_NORM_BIAS,
        {"embedding_norm.weight", "model.embed_norm.weight", "token_embd_norm.weight"}},
    [TLMI_EMBEDDING_NORM_BIAS] = {BIASES(MODEL), TLM_PART_NORMS, has_embedding_bias, false, NO_BIAS,
        {"embedding_norm.bias", "model.embed_norm.bias", "token_embd_norm.bias"}},
    [TLMI_VALUE_EMBEDDING] = {VALUES(VOCAB, KV), TLM_PART_EMBEDDING, has_value_embeddings, false,
        NO_BIAS,
        {"value_embeddings.weight", "model.value_embeddings.weight", "value_embd.weight"}},
    [TLMI_ATTN_Q] = {MATRIX(QUERY, MODEL), TLM_PART_ATTENTION, always, true, TLMI_ATTN_Q_BIAS,
        {"attn.q_proj.weight", "self_attn.q_proj.weight", "attn_q.weight"}},
    [TLMI_ATTN_K] = {MATRIX(KV, MODEL), TLM_PART_ATTENTION, always, true, TLMI_ATTN_K_BIAS,
        {"attn.k_proj.weight", "self_attn.k_proj.weight", "attn_k.weight"}},
    [TLMI_ATTN_V] = {MATRIX(KV, MODEL), TLM_PART_ATTENTION, always, false, TLMI_ATTN_V_BIAS,
        {"attn.v_proj.weight", "self_attn.v_proj.weight", "attn_v.weight"}},
    [TLMI_ATTN_OUTPUT] = {MATRIX(MODEL, QUERY), TLM_PART_ATTENTION, always, false,
        TLMI_ATTN_OUTPUT_BIAS,
        {"attn.output_proj.weight", "self_attn.o_proj.weight", "attn_output.weight"}},
    [TLMI_ATTN_Q_BIAS] = {BIASES(QUERY), TLM_PART_ATTENTION, has_qkv_biases, true, NO_BIAS,
        {"attn.q_proj.bias", "self_attn.q_proj.bias", "attn_q.bias"}},
    [TLMI_ATTN_K_BIAS] = {BIASES(KV), TLM_PART_ATTENTION, has_qkv_biases, true, NO_BIAS,
        {"attn.k_proj.bias", "self_attn.k_proj.bias", "attn_k.bias"}},
    [TLMI_ATTN_V_BIAS] = {BIASES(KV), TLM_PART_ATTENTION, has_qkv_biases, false, NO_BIAS,
        {"attn.v_proj.bias", "self_attn.v_proj.bias", "attn_v.bias"}},
    [TLMI_ATTN_OUTPUT_BIAS] = {BIASES(MODEL), TLM_PART_ATTENTION, has_output_bias, false, NO_BIAS,
        {"attn.output_proj.bias", "self_attn.o_proj.bias", "attn_output.bias"}},
    [TLMI_ATTN_Q_NORM] = {GAINS(Q_NORM), TLM_PART_NORMS, has_head_norms, true, NO_BIAS,
        {"attn.q_norm.weight", "self_attn.q_norm.weight", "attn_q_norm.weight"}},
    [TLMI_ATTN_K_NORM] = {GAINS(K_NORM), TLM_PART_NORMS, has_head_norms, true, NO_BIAS,
        {"attn.k_norm.weight", "self_attn.k_norm.weight", "attn_k_norm.weight"}},
    [TLMI_ATTN_VALUE_MIX] = {WEIGHTS(MIX), TLM_PART_ATTENTION, has_value_embeddings, false, NO_BIAS,
        {"attn.value_mix.weight", "self_attn.value_mix.weight", "attn_value_mix.weight"}},
    [TLMI_LN1] = {GAINS(MODEL), TLM_PART_NORMS, has_norms, false, TLMI_LN1_BIAS,
        {"ln1.weight", "input_layernorm.weight", "attn_norm.weight"}},
    [TLMI_LN1_BIAS] = {BIASES(MODEL), TLM_PART_NORMS, has_norm_biases, false, NO_BIAS,
        {"ln1.bias", "input_layernorm.bias", "attn_norm.bias"}},
    [TLMI_LN1_AFTER] = {GAINS(MODEL), TLM_PART_NORMS, has_norms_after, false, NO_BIAS,
        {"ln1_after.weight", "post_attention_layernorm.weight", "post_attention_norm.weight"}},
    [TLMI_FFN_W1] = {MATRIX(FF, MODEL), TLM_PART_FEED_FORWARD, always, false, TLMI_FFN_W1_BIAS,
        {"ffn.w1.weight", "mlp.gate_proj.weight", "ffn_gate.weight"}},
    [TLMI_FFN_W2] = {MATRIX(MODEL, FF), TLM_PART_FEED_FORWARD, always, false, TLMI_FFN_W2_BIAS,
        {"ffn.w2.weight", "mlp.down_proj.weight", "ffn_down.weight"}},
    [TLMI_FFN_W3] = {MATRIX(FF, MODEL), TLM_PART_FEED_FORWARD, is_gated, false, TLMI_FFN_W3_BIAS,
        {"ffn.w3.weight", "mlp.up_proj.weight", "ffn_up.weight"}},
    [TLMI_FFN_W1_BIAS] = {BIASES(FF), TLM_PART_FEED_FORWARD, has_ffn_biases, false, NO_BIAS,
        {"ffn.w1.bias", "mlp.gate_proj.bias", "ffn_gate.bias"}},
    [TLMI_FFN_W2_BIAS] = {BIASES(MODEL), TLM_PART_FEED_FORWARD, has_ffn_biases, false, NO_BIAS,
        {"ffn.w2.bias", "mlp.down_proj.bias", "ffn_down.bias"}},
    [TLMI_FFN_W3_BIAS] = {BIASES(FF), TLM_PART_FEED_FORWARD, has_gated_bias, false, NO_BIAS,
        {"ffn.w3.bias", "mlp.up_proj.bias", "ffn_up.bias"}},
    /* transformers gives this name to the norm behind attention where there is one: then a family
     * has another for this. */
    [TLMI_LN2] = {GAINS(MODEL), TLM_PART_NORMS, has_norms, false, TLMI_LN2_BIAS,
        {"ln2.weight", "post_attention_layernorm.weight", "ffn_norm.weight"}},
    [TLMI_LN2_BIAS] = {BIASES(MODEL), TLM_PART_NORMS, has_norm_biases, false, NO_BIAS,
        {"ln2.bias", "post_attention_layernorm.bias", "ffn_norm.bias"}},
    [TLMI_LN2_AFTER] = {GAINS(MODEL), TLM_PART_NORMS, has_norms_after, false, NO_BIAS,
        {"ln2_after.weight", "post_feedforward_layernorm.weight", "post_ffw_norm.weight"}},
    [TLMI_LN_FINAL] = {GAINS(MODEL), TLM_PART_NORMS, has_final_norm, false, TLMI_LN_FINAL_BIAS,
        {"ln_final.weight", "model.norm.weight", "output_norm.weight"}},
    [TLMI_LN_FINAL_BIAS] = {BIASES(MODEL), TLM_PART_NORMS, has_final_bias, false, NO_BIAS,
        {"ln_final.bias", "model.norm.bias", "output_norm.bias"}},
    [TLMI_LM_HEAD] = {MATRIX(VOCAB, MODEL), TLM_PART_OUTPUT, has_output, false, NO_BIAS,
        {"lm_head.weight", "lm_head.weight", "output.weight"}},
};
/* clang-format on */

const char *const tlmi_layer_prefixes[TLMI_NUM_FORMATS] = {"layers.", "model.layers.", "blk."};

/* ---- Wiring ----------------------------------------------------------------------------- */

/* RoPE rotates pairs of elements within a head, so a rotated head has an even width. */
static tlm_status_t check_heads(const char *function, const tlm_model_options_t *options)
{
    const int64_t pair = options->position == TLM_POSITION_ROPE ? 2 : 1;
    const int64_t width = options->num_heads * options->head_dim;

    if (options->head_dim == 0 || (options->head_dim % pair != 0 && width == options->d_model))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: d_model %" PRId64 " is not a multiple of %snum_heads = %" PRId64,
                         function, options->d_model, pair == 2 ? "2 * " : "",
                         pair * options->num_heads);
    if (options->head_dim % pair != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: head_dim %" PRId64 " is odd", function,
                         options->head_dim);
    if (width > INT32_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: num_heads %" PRId64 " times head_dim %" PRId64 " is too large",
                         function, options->num_heads, options->head_dim);
    if (options->num_heads % options->num_kv_heads != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: num_kv_heads %" PRId64 " does not divide num_heads = %" PRId64,
                         function, options->num_kv_heads, options->num_heads);
    return TLM_OK;
}

/* Fails for an option that this model would not read, unless it is 0. */
static tlm_status_t check_unused(const char *function, const tlm_model_options_t *options,
                                 const char *name, const char *reader)
{
    const tlmi_model_option_t *option = tlmi_option_find(name);
    char text[TLMI_OPTION_TEXT];

    if (option->type == TLMI_NUMBER ? tlmi_option_number(options, option) == 0.0
                                    : tlmi_option_int(options, option) == 0)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s %s has no meaning without %s", function,
                     name, tlmi_option_text(text, options, option), reader);
}

static tlm_status_t check_rope(const char *function, const tlm_model_options_t *options)
{
    static const char *const of_turns[] = {"rope_low_turns", "rope_high_turns",
                                           "rope_original_context"};

    if (options->position != TLM_POSITION_ROPE) {
        TLMI_TRY(check_unused(function, options, "rope_scaling", "RoPE"));
        TLMI_TRY(check_unused(function, options, "unrotated_period", "RoPE"));
        TLMI_TRY(check_unused(function, options, "window_rope_theta", "RoPE"));
    }
    if (options->rope_scaling == TLM_ROPE_SCALING_NONE)
        TLMI_TRY(check_unused(function, options, "rope_factor", "rope_scaling"));
    else if (options->rope_factor < 1.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: rope_factor %s is not at least 1", function,
                         TLMI_G(options->rope_factor));
    for (size_t i = 0; i < COUNT_OF(of_turns) && !scales_by_turns(options); i++)
        TLMI_TRY(check_unused(function, options, of_turns[i], "rope_scaling llama3 or yarn"));
    if (options->rope_scaling != TLM_ROPE_SCALING_YARN)
        TLMI_TRY(check_unused(function, options, "rope_magnitude", "rope_scaling yarn"));
    if (scales_by_turns(options) && options->rope_high_turns <= options->rope_low_turns)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: rope_high_turns %s is not above rope_low_turns %s", function,
                         TLMI_G(options->rope_high_turns), TLMI_G(options->rope_low_turns));
    return TLM_OK;
}

static tlm_status_t check_blocks(const char *function, const tlm_model_options_t *options)
{
    if (options->sliding_window == 0) {
        TLMI_TRY(check_unused(function, options, "window_period", "sliding_window"));
        TLMI_TRY(check_unused(function, options, "window_rope_theta", "sliding_window"));
    }
    if (options->base_width != 0 && options->tied_embeddings)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: base_width %" PRId64 " needs an output projection of its own, "
                         "without tied_embeddings",
                         function, options->base_width);
    if (options->norm_kind == TLM_KIND_OF_NORM_LAYER &&
        (has_norms_after(options) || has_head_norms(options)))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: norm_kind layer is only for norm pre or post, without qk_norm",
                         function);
    return TLM_OK;
}

static void wire_block(tlmi_model_shape_t *shape, const tlm_model_options_t *options)
{
    static const int32_t gains[TLMI_NUM_SUBLAYERS][2] = {{TLMI_LN1, TLMI_LN1_AFTER},
                                                         {TLMI_LN2, TLMI_LN2_AFTER}};
    const bool post = options->norm == TLM_NORM_POST;

    /* A model lacks the parts that its norms leave out. */
    for (int32_t i = 0; i < TLMI_NUM_SUBLAYERS; i++)
        shape->sublayers[i] = (tlmi_sublayer_t){.norm_before = post ? TLMI_NO_PART : gains[i][0],
                                                .norm_change = gains[i][1],
                                                .norm_after = post ? gains[i][0] : TLMI_NO_PART};
}

static void set_dims(tlmi_model_shape_t *shape, const tlm_model_options_t *options)
{
    shape->d_head = options->head_dim;
    shape->q_width = options->num_heads * shape->d_head;
    shape->kv_width = options->num_kv_heads * shape->d_head;
    shape->dims[TLMI_DIM_VOCAB] = options->vocab_size;
    shape->dims[TLMI_DIM_MODEL] = options->d_model;
    shape->dims[TLMI_DIM_FF] = options->d_ff;
    shape->dims[TLMI_DIM_QUERY] = shape->q_width;
    shape->dims[TLMI_DIM_KV] = shape->kv_width;
    shape->dims[TLMI_DIM_CONTEXT] = options->context_length;
    const bool whole = options->qk_norm == TLM_QK_NORM_WIDTH;
    shape->dims[TLMI_DIM_Q_NORM] = whole ? shape->q_width : shape->d_head;
    shape->dims[TLMI_DIM_K_NORM] = whole ? shape->kv_width : shape->d_head;
    shape->dims[TLMI_DIM_MIX] = 2;
}

static void place_parts(tlmi_model_shape_t *shape, const tlm_model_options_t *options)
{
    size_t front = 0, block = 0, behind = 0;

    for (int32_t part = 0; part < TLMI_NUM_PARTS; part++) {
        size_t *count = part < TLMI_FIRST_IN_BLOCK    ? &front
                        : tlmi_part_is_in_block(part) ? &block
                                                      : &behind;
        bool present = tlmi_parts[part].present(options);

        shape->places[part] = present ? (int32_t)(*count)++ : TLMI_NO_PART;
    }
    shape->front_parameters = front;
    shape->block_parameters = block;
    shape->behind = front + block * (size_t)options->num_layers;
    shape->num_parameters = shape->behind + behind;
}

/* Returns false if the bytes of a model, its gradients and the optimizer state do not fit the
 * counter. */
static bool count_elements(tlmi_model_shape_t *shape, const tlm_model_options_t *options)
{
    size_t all = 0;

    for (int32_t part = 0; part < TLMI_NUM_PARTS; part++) {
        if (!tlmi_has_part(shape, part))
            continue;
        int64_t own[2];
        tlmi_part_shape(own, shape, part);
        size_t elements;
        if (!tlmi_mul_size(&elements, (size_t)own[0], own[1] == 0 ? 1 : (size_t)own[1]) ||
            !tlmi_mul_size(&elements, elements,
                           tlmi_part_is_in_block(part) ? (size_t)options->num_layers : 1) ||
            !tlmi_add_size(&all, all, elements))
            return false;
    }
    shape->num_elements = all;
    size_t bytes;
    return tlmi_mul_size(&bytes, all, 4 * sizeof(float));
}

tlm_status_t tlmi_architecture_wire(tlmi_model_shape_t *shape, const char *function,
                                    const tlm_model_options_t *options)
{
    tlmi_model_shape_t made = {.d_head = 0};

    TLMI_TRY(check_heads(function, options));
    TLMI_TRY(check_rope(function, options));
    TLMI_TRY(check_blocks(function, options));
    set_dims(&made, options);
    wire_block(&made, options);
    place_parts(&made, options);
    if (!count_elements(&made, options))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: a model of vocab_size %" PRId64 ", d_model %" PRId64
                         ", num_layers %" PRId64 ", d_ff %" PRId64 " is too large",
                         function, options->vocab_size, options->d_model, options->num_layers,
                         options->d_ff);
    *shape = made;
    return TLM_OK;
}
