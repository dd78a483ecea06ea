/* The tables of the architecture, the checks of options together, and the forward pass of a block
 * for training. Each fact about a model is stated here once; the one exception is
 * infer/inference.c, which runs the same block over caches. */
#include "model/architecture.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/model_core.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"
#include "tinylm/model_info.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Options ---------------------------------------------------------------------------- */

#define FIELD(name) #name, offsetof(tlm_model_options_t, name)
#define HF(...)     [TLMI_HF] = {__VA_ARGS__}
#define GGUF(...)   [TLMI_GGUF] = {__VA_ARGS__} /* after "<family>." */
#define NEEDED      TLMI_REQUIRED

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
    {FIELD(norm), TLMI_CHOICE, false, TLMI_IN_VERSION_2, .words = {"pre", "post", "none"}},
    {FIELD(position), TLMI_CHOICE, false, TLMI_IN_VERSION_2, .words = {"rope", "none"}},
    {FIELD(ffn), TLMI_CHOICE, false, TLMI_IN_VERSION_2, .words = {"swiglu", "silu"}},
    {FIELD(qk_norm), TLMI_CHOICE, false, TLMI_UNLESS_DEFAULT, .words = {"none", "heads"}},
    {FIELD(tied_embeddings), TLMI_FLAG, false, TLMI_IN_VERSION_2,
     .keys = {HF("tie_word_embeddings", 0)}}, /* GGUF: whether there is an output.weight */
};
/* clang-format on */
const size_t tlmi_num_options = COUNT_OF(tlmi_options);

void tlmi_options_set_defaults(tlm_model_options_t *options)
{
    if (options->num_kv_heads == 0)
        options->num_kv_heads = options->num_heads;
    if (options->head_dim == 0 && options->d_model % options->num_heads == 0)
        options->head_dim = options->d_model / options->num_heads;
    /* Two matrices of 4 d_model hold as many parameters as three of 8/3 d_model. */
    if (options->d_ff == 0)
        options->d_ff = options->ffn == TLM_FFN_SILU ? 4 * options->d_model
                                                     : (8 * options->d_model + 191) / 192 * 64;
    if (options->rope_theta == 0.0)
        options->rope_theta = 10000.0;
    if (options->norm_eps == 0.0)
        options->norm_eps = 1e-5;
}

/* ---- Parts ------------------------------------------------------------------------------ */

static bool always(const tlm_model_options_t *options)
{
    (void)options;
    return true;
}

static bool has_norms(const tlm_model_options_t *options)
{
    return options->norm != TLM_NORM_NONE;
}

static bool has_final_norm(const tlm_model_options_t *options)
{
    return options->norm == TLM_NORM_PRE;
}

static bool has_head_norms(const tlm_model_options_t *options)
{
    return options->qk_norm == TLM_QK_NORM_HEADS;
}

static bool is_gated(const tlm_model_options_t *options)
{
    return options->ffn == TLM_FFN_SWIGLU;
}

static bool has_output(const tlm_model_options_t *options)
{
    return !options->tied_embeddings;
}

#define MATRIX(rows, columns) {TLMI_DIM_##rows, TLMI_DIM_##columns}, TLMI_INIT_LINEAR
#define TABLE(rows, columns)  {TLMI_DIM_##rows, TLMI_DIM_##columns}, TLMI_INIT_EMBEDDING
#define GAINS(size)           {TLMI_DIM_##size, TLMI_DIM_NONE}, TLMI_INIT_ONES

/* clang-format off */
const tlmi_part_t tlmi_parts[TLMI_NUM_PARTS] = {
    /* shape and initial values, part of the cost, which models have it, rotated, names here, in
     * transformers, in GGUF */
    [TLMI_EMBEDDING] = {TABLE(VOCAB, MODEL), TLM_PART_EMBEDDING, always, false,
        {"token_embeddings.weight", "model.embed_tokens.weight", "token_embd.weight"}},
    [TLMI_ATTN_Q] = {MATRIX(QUERY, MODEL), TLM_PART_ATTENTION, always, true,
        {"attn.q_proj.weight", "self_attn.q_proj.weight", "attn_q.weight"}},
    [TLMI_ATTN_K] = {MATRIX(KV, MODEL), TLM_PART_ATTENTION, always, true,
        {"attn.k_proj.weight", "self_attn.k_proj.weight", "attn_k.weight"}},
    [TLMI_ATTN_V] = {MATRIX(KV, MODEL), TLM_PART_ATTENTION, always, false,
        {"attn.v_proj.weight", "self_attn.v_proj.weight", "attn_v.weight"}},
    [TLMI_ATTN_OUTPUT] = {MATRIX(MODEL, QUERY), TLM_PART_ATTENTION, always, false,
        {"attn.output_proj.weight", "self_attn.o_proj.weight", "attn_output.weight"}},
    [TLMI_ATTN_Q_NORM] = {GAINS(HEAD), TLM_PART_NORMS, has_head_norms, true,
        {"attn.q_norm.weight", "self_attn.q_norm.weight", "attn_q_norm.weight"}},
    [TLMI_ATTN_K_NORM] = {GAINS(HEAD), TLM_PART_NORMS, has_head_norms, true,
        {"attn.k_norm.weight", "self_attn.k_norm.weight", "attn_k_norm.weight"}},
    [TLMI_LN1] = {GAINS(MODEL), TLM_PART_NORMS, has_norms, false,
        {"ln1.weight", "input_layernorm.weight", "attn_norm.weight"}},
    [TLMI_FFN_W1] = {MATRIX(FF, MODEL), TLM_PART_FEED_FORWARD, always, false,
        {"ffn.w1.weight", "mlp.gate_proj.weight", "ffn_gate.weight"}},
    [TLMI_FFN_W2] = {MATRIX(MODEL, FF), TLM_PART_FEED_FORWARD, always, false,
        {"ffn.w2.weight", "mlp.down_proj.weight", "ffn_down.weight"}},
    [TLMI_FFN_W3] = {MATRIX(FF, MODEL), TLM_PART_FEED_FORWARD, is_gated, false,
        {"ffn.w3.weight", "mlp.up_proj.weight", "ffn_up.weight"}},
    [TLMI_LN2] = {GAINS(MODEL), TLM_PART_NORMS, has_norms, false,
        {"ln2.weight", "post_attention_layernorm.weight", "ffn_norm.weight"}},
    [TLMI_LN_FINAL] = {GAINS(MODEL), TLM_PART_NORMS, has_final_norm, false,
        {"ln_final.weight", "model.norm.weight", "output_norm.weight"}},
    [TLMI_LM_HEAD] = {MATRIX(VOCAB, MODEL), TLM_PART_OUTPUT, has_output, false,
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

static void wire_block(tlmi_model_shape_t *shape, const tlm_model_options_t *options)
{
    static const int32_t gains[TLMI_NUM_SUBLAYERS] = {TLMI_LN1, TLMI_LN2};

    for (int32_t i = 0; i < TLMI_NUM_SUBLAYERS; i++) {
        shape->sublayers[i].norm_before = options->norm == TLM_NORM_PRE ? gains[i] : TLMI_NO_PART;
        shape->sublayers[i].norm_after = options->norm == TLM_NORM_POST ? gains[i] : TLMI_NO_PART;
    }
    shape->rotates = options->position == TLM_POSITION_ROPE;
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
    shape->dims[TLMI_DIM_HEAD] = shape->d_head;
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

/* ---- Families --------------------------------------------------------------------------- */

/* A model is written as the first family that can express its options. */
const tlmi_family_t tlmi_families[] = {
    {.names = {[TLMI_HF] = "llama", [TLMI_GGUF] = "llama"}, .hf_class = "LlamaForCausalLM"},
    {.names = {[TLMI_HF] = "qwen3", [TLMI_GGUF] = "qwen3"},
     .hf_class = "Qwen3ForCausalLM",
     .gguf_halves = true,
     .fixed = {{"qk_norm", TLM_QK_NORM_HEADS}},
     .missing = {{"head_dim", 128}, {"num_kv_heads", 32}, {"context_length", 32768}}},
};
const size_t tlmi_num_families = COUNT_OF(tlmi_families);

/* ---- Forward, with a graph -------------------------------------------------------------- */

tlm_status_t tlmi_model_norm(tlm_tensor_t **out, const tlm_model_t *model, tlm_tensor_t *x,
                             tlm_tensor_t *gain)
{
    if (gain != NULL)
        return tlm_rms_norm(out, x, gain, (float)model->options.norm_eps);
    *out = tlm_tensor_retain(x);
    return TLM_OK;
}

/* Replaces *x, queries or keys (batch, time, heads * d_head), with the norm of each head. */
static tlm_status_t norm_heads(tlm_tensor_t **x, const tlm_model_t *model, tlm_tensor_t *gain)
{
    const int64_t d_head = model->shape.d_head;
    tlm_tensor_t *heads = NULL, *normed = NULL;

    if (gain == NULL)
        return TLM_OK;
    int64_t whole[3], split[4];
    for (int32_t i = 0; i < 3; i++)
        whole[i] = split[i] = tlm_tensor_shape(*x)[i];
    split[2] = whole[2] / d_head;
    split[3] = d_head;
    tlm_status_t status;
    TLMI_TRY_OR(done, tlm_reshape(&heads, *x, split, 4));
    TLMI_TRY_OR(done, tlmi_model_norm(&normed, model, heads, gain));
    tlm_tensor_t *result;
    TLMI_TRY_OR(done, tlm_reshape(&result, normed, whole, 3));
    tlm_tensor_free(*x);
    *x = result;
done:
    tlm_tensor_free(heads);
    tlm_tensor_free(normed);
    return status;
}

static tlm_status_t attend(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                           tlm_tensor_t *x)
{
    const double theta = model->shape.rotates ? model->options.rope_theta : 0.0;
    tlm_tensor_t *query = NULL, *key = NULL, *value = NULL, *heads = NULL;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlm_linear(&query, x, tlmi_model_block(model, layer, TLMI_ATTN_Q)));
    TLMI_TRY_OR(done, tlm_linear(&key, x, tlmi_model_block(model, layer, TLMI_ATTN_K)));
    TLMI_TRY_OR(done, tlm_linear(&value, x, tlmi_model_block(model, layer, TLMI_ATTN_V)));
    TLMI_TRY_OR(done, norm_heads(&query, model, tlmi_model_block(model, layer, TLMI_ATTN_Q_NORM)));
    TLMI_TRY_OR(done, norm_heads(&key, model, tlmi_model_block(model, layer, TLMI_ATTN_K_NORM)));
    TLMI_TRY_OR(done, tlmi_heads_attention(&heads, "model_forward", query, key, value,
                                           (int32_t)model->options.num_heads,
                                           (int32_t)model->options.num_kv_heads, theta, NULL));
    status = tlm_linear(out, heads, tlmi_model_block(model, layer, TLMI_ATTN_OUTPUT));
done:
    tlm_tensor_free(query);
    tlm_tensor_free(key);
    tlm_tensor_free(value);
    tlm_tensor_free(heads);
    return status;
}

static tlm_status_t feed_forward(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                                 tlm_tensor_t *x)
{
    tlm_tensor_t *w1 = tlmi_model_block(model, layer, TLMI_FFN_W1);
    tlm_tensor_t *w2 = tlmi_model_block(model, layer, TLMI_FFN_W2);
    tlm_tensor_t *hidden = NULL, *active = NULL;

    if (tlmi_has_part(&model->shape, TLMI_FFN_W3))
        return tlm_swiglu(out, x, w1, w2, tlmi_model_block(model, layer, TLMI_FFN_W3));
    tlm_status_t status;
    TLMI_TRY_OR(done, tlm_linear(&hidden, x, w1));
    TLMI_TRY_OR(done, tlm_silu(&active, hidden));
    TLMI_TRY_OR(done, tlm_linear(out, active, w2));
    tlmi_tensor_drop(active);
    status = TLM_OK;
done:
    tlm_tensor_free(active);
    tlm_tensor_free(hidden);
    return status;
}

typedef tlm_status_t (*layer_fn)(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                                 tlm_tensor_t *x);

/* Replaces *x with norm_after(x + f(norm_before(x))), with the norms that the sublayer has. The
 * backward pass recomputes norm_before(x). The result of f goes only into the sum, so nothing reads
 * it afterwards. */
static tlm_status_t run_sublayer(tlm_tensor_t **x, const tlm_model_t *model, int64_t layer,
                                 const tlmi_sublayer_t *sublayer, layer_fn f)
{
    tlm_tensor_t *input = NULL, *change = NULL, *sum = NULL;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlmi_model_norm(&input, model, *x,
                                      tlmi_model_block(model, layer, sublayer->norm_before)));
    TLMI_TRY_OR(done, f(&change, model, layer, input));
    TLMI_TRY_OR(done, tlm_add(&sum, *x, change));
    tlm_tensor_t *result;
    TLMI_TRY_OR(done, tlmi_model_norm(&result, model, sum,
                                      tlmi_model_block(model, layer, sublayer->norm_after)));
    if (input != *x)
        tlmi_tensor_drop(input);
    tlmi_tensor_drop(change);
    tlm_tensor_free(*x); /* the graph keeps its own reference if it needs one */
    *x = result;
done:
    tlm_tensor_free(sum);
    tlm_tensor_free(change);
    tlm_tensor_free(input);
    return status;
}

tlm_status_t tlmi_block_forward(tlm_tensor_t **y, const tlm_model_t *model, int64_t layer,
                                tlm_tensor_t *x)
{
    static const layer_fn layers[TLMI_NUM_SUBLAYERS] = {attend, feed_forward};
    tlm_tensor_t *state = tlm_tensor_retain(x);
    tlm_status_t status = TLM_OK;

    for (int32_t i = 0; i < TLMI_NUM_SUBLAYERS && status == TLM_OK; i++)
        status = run_sublayer(&state, model, layer, &model->shape.sublayers[i], layers[i]);
    if (status == TLM_OK)
        *y = state;
    else
        tlm_tensor_free(state);
    return status;
}
