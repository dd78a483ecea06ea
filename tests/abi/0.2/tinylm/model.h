/* The transformer language model. By default it has the architecture of LLaMA: norms before each
 * layer, RoPE, SwiGLU, no biases; options change this. docs/ops.md gives the forward pass. */
#ifndef TINYLM_MODEL_H
#define TINYLM_MODEL_H

#include "nn.h"
#include "options.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A model and its parameters. Not thread-safe: use each model from one thread at a time.
 *  @since 0.1 */
typedef struct tlm_model tlm_model_t;

/* Where a block has its norms. @since 0.2 */
#define TLM_NORM_PRE  0 /**< x + f(norm(x)), and a norm before the output projection. */
#define TLM_NORM_POST 1 /**< norm(x + f(x)), without a norm before the output projection. */
#define TLM_NORM_NONE 2 /**< x + f(x): no norms at all. */
/** x + norm(f(x)), and a norm before the output projection, as in OLMo 2. */
#define TLM_NORM_AFTER 3
/** x + norm(f(norm(x))), and a norm before the output projection, as in Gemma 2. */
#define TLM_NORM_BOTH 4

/* How a block knows the positions of tokens. @since 0.2 */
#define TLM_POSITION_ROPE 0 /**< Queries and keys are rotated: see tlm_rope. */
#define TLM_POSITION_NONE 1 /**< Only through the causal mask. */
/** By a vector for each position, added to the embedding, as in GPT-2. */
#define TLM_POSITION_LEARNED 2

/* What a norm computes. @since 0.2 */
#define TLM_KIND_OF_NORM_RMS   0 /**< x / rms(x) * gain. */
#define TLM_KIND_OF_NORM_LAYER 1 /**< LayerNorm: (x - mean) / deviation * gain + bias. */

/* The feed-forward layer. @since 0.2 */
#define TLM_FFN_SWIGLU 0 /**< w2 (silu(w1 x) * w3 x). */
#define TLM_FFN_SILU   1 /**< w2 silu(w1 x). */
#define TLM_FFN_GEGLU  2 /**< w2 (gelu(w1 x) * w3 x), gelu by tanh, as in Gemma. */
#define TLM_FFN_GELU   3 /**< w2 gelu(w1 x), gelu by tanh, as in GPT-2. */
#define TLM_FFN_RELU2  4 /**< w2 relu(w1 x)^2. So et al. 2021. */

/* Norms of queries and keys, before RoPE. @since 0.2 */
#define TLM_QK_NORM_NONE  0 /**< None. */
#define TLM_QK_NORM_HEADS 1 /**< RMSNorm of each head, with gains (head_dim) that all share. */
#define TLM_QK_NORM_WIDTH 2 /**< RMSNorm over all heads together, as in OLMo 2. */

/* Biases of the projections of attention. @since 0.2 */
#define TLM_ATTENTION_BIAS_NONE 0 /**< None. */
#define TLM_ATTENTION_BIAS_QKV  1 /**< Of queries, keys and values, as in Qwen 2. */
#define TLM_ATTENTION_BIAS_ALL  2 /**< Of the output too. */

/* Initial values of the projections into the residual stream: that of attention's output, and w2.
 * @since 0.2 */
#define TLM_OUTPUT_INIT_LINEAR 0 /**< As other linear weights. */
#define TLM_OUTPUT_INIT_ZERO   1 /**< 0: each block begins as the identity. */
#define TLM_OUTPUT_INIT_DEPTH  2 /**< Sigma is divided by sqrt(2 num_layers), as in GPT-2. */

/* How the angles of RoPE are stretched to a context that is longer than the one of the first
 * training. docs/models.md gives the formulas. @since 0.2 */
#define TLM_ROPE_SCALING_NONE    0 /**< Not at all. */
#define TLM_ROPE_SCALING_LINEAR  1 /**< All by rope_factor. */
#define TLM_ROPE_SCALING_DYNAMIC 2 /**< Only past context_length: here, not at all. */
#define TLM_ROPE_SCALING_LLAMA3  3 /**< The slow ones by rope_factor, as in Llama 3.1. */
#define TLM_ROPE_SCALING_YARN    4 /**< YaRN. Peng et al. 2023. */

/** Most end tokens of a text besides the first. @since 0.2 */
#define TLM_MORE_END_TOKENS 7

/** The architecture of a model and the seed of its parameters. @since 0.1 */
typedef struct tlm_model_options {
    /** sizeof(tlm_model_options_t). */
    size_t size;
    /** Number of token ids; required. */
    int64_t vocab_size;
    /** Longest sequence in tokens; required. */
    int64_t context_length;
    /** Width of the residual stream; required. A multiple of num_heads unless head_dim is given. */
    int64_t d_model;
    /** Number of blocks; required. */
    int64_t num_layers;
    /** Number of attention heads; required. */
    int64_t num_heads;
    /** Width of the feed-forward layer; 0: 8/3 d_model rounded up to a multiple of 64, or 4 d_model
     *  where there is no w3. */
    int64_t d_ff;
    /** Base of the rotation; 0: 10000. */
    double rope_theta;
    /** Seed of the initial parameters. */
    uint64_t seed;
    /** Heads of keys and values; divides num_heads; 0: num_heads. @since 0.2 */
    int64_t num_kv_heads;
    /** Epsilon of the norms; 0: 1e-5. @since 0.2 */
    double norm_eps;
    /** TLM_NORM_... @since 0.2 */
    int32_t norm;
    /** TLM_POSITION_... @since 0.2 */
    int32_t position;
    /** TLM_FFN_... @since 0.2 */
    int32_t ffn;
    /** Whether the output projection is the embedding matrix. @since 0.2 */
    bool tied_embeddings;
    /** Whether the projections of the feed-forward layer have biases. @since 0.2 */
    bool ffn_bias;
    /** Whether embeddings are multiplied by sqrt(d_model), as in Gemma. @since 0.2 */
    bool scaled_embeddings;
    /** Whether the embeddings, with those of positions, go through a norm with gains.
     *  @since 0.2 */
    bool embedding_norm;
    /** Width of a head, even with RoPE; 0: d_model / num_heads. @since 0.2 */
    int64_t head_dim;
    /** TLM_QK_NORM_... @since 0.2 */
    int32_t qk_norm;
    /** TLM_ATTENTION_BIAS_... @since 0.2 */
    int32_t attention_bias;
    /** Tokens that a token attends to, its own included; 0: all before it. @since 0.2 */
    int64_t sliding_window;
    /** Every so many blocks, one has no window: the last of them; 0: none. Only with
     *  sliding_window. @since 0.2 */
    int64_t window_period;
    /** rope_theta of the blocks with a window, which then have no rope_scaling; 0: like the others.
     *  @since 0.2 */
    double window_rope_theta;
    /** Every so many blocks, one does without RoPE: the last of them; 0: none. @since 0.2 */
    int64_t unrotated_period;
    /** TLM_ROPE_SCALING_... @since 0.2 */
    int32_t rope_scaling;
    /** TLM_KIND_OF_NORM_...; LAYER only with TLM_NORM_PRE, POST or NONE. @since 0.2 */
    int32_t norm_kind;
    /** How many times longer the context becomes; required with rope_scaling. @since 0.2 */
    double rope_factor;
    /** Angles that turn fewer times than this in rope_original_context tokens are divided by
     *  rope_factor; 0: 1. Only with LLAMA3 and YARN. @since 0.2 */
    double rope_low_turns;
    /** Those that turn more often than this stay; 0: 4 for LLAMA3, 32 for YARN. @since 0.2 */
    double rope_high_turns;
    /** Context of the first training; 0: context_length. Only with LLAMA3 and YARN. @since 0.2 */
    int64_t rope_original_context;
    /** Multiplies rotated queries and keys; 0: 0.1 ln(rope_factor) + 1. Only with YARN.
     *  @since 0.2 */
    double rope_magnitude;
    /** Scores of attention are divided by the root of this; 0: head_dim. @since 0.2 */
    double query_scalar;
    /** Scores s become c tanh(s / c); 0: they stay. @since 0.2 */
    double attention_softcap;
    /** The same for logits. @since 0.2 */
    double logit_softcap;
    /** TLM_OUTPUT_INIT_... @since 0.2 */
    int32_t output_init;
    /** Whether blocks mix values with rows of a table that all share: those of the tokens.
     *  @since 0.2 */
    bool value_embeddings;
    uint8_t reserved[3];
    /** The width for which learning rates were found: with another d_model, optimizers scale them,
     *  and the output projection begins smaller or larger, by muP (Yang et al. 2022); see
     *  tlm_optimizer_add_model. 0: nothing is scaled. Not with tied_embeddings. @since 0.2 */
    int64_t base_width;
    /* What follows counts only in training: in losses with a graph. Files of other programs lack
     * it; see tlm_model_set_training for models from them. */
    /** The loss of a token gets z_loss logsumexp(logits)^2 more. Chowdhery et al. 2022.
     *  @since 0.2 */
    double z_loss;
    /** Share of the target that is spread evenly over all tokens, in [0, 1). Szegedy et al. 2016.
     *  @since 0.2 */
    double label_smoothing;
    /** Probability that an element of what a block adds to the residual stream is dropped, in
     *  [0, 1), like the next two; see tlm_model_set_dropout_row. The options' seed and the place in
     *  the data decide which. Srivastava et al. 2014. @since 0.2 */
    double dropout;
    /** The same for the weights of attention. @since 0.2 */
    double attention_dropout;
    /** The same for the embeddings of tokens. @since 0.2 */
    double embedding_dropout;
} tlm_model_options_t;

#define TLM_MODEL_OPTIONS_INIT TLM_SIZED(tlm_model_options_t)

/** Creates a model with fresh parameters, all of them leaves that require gradients. Linear
 *  weights are truncated normal with sigma^2 = 2 / (d_in + d_out), some of them with what
 *  output_init and base_width say; embeddings have sigma 1, tied ones that of the linear weight
 *  that they also are; both are cut at 3 sigma. Norm gains are 1, weights of mixed values 0.5. The
 *  same seed gives the same values. Owned by the caller: tlm_model_free. TLM_ERR_INVALID_ARGUMENT,
 *  naming the field, for options out of range. @since 0.1 */
TLM_API tlm_status_t tlm_model_create(tlm_model_t **out, const tlm_model_options_t *options);

/** Frees the model and its references to the parameters. NULL is fine. @since 0.1 */
TLM_API void tlm_model_free(tlm_model_t *model);

/** Reads the options in effect, with defaults resolved. Set out->size first. @since 0.1 */
TLM_API tlm_status_t tlm_model_get_options(tlm_model_options_t *out, const tlm_model_t *model);

/* ---- Parameters ------------------------------------------------------------------------- */
/* Names are those of CS336's state dict: token_embeddings.weight,
 * layers.<i>.attn.{q,k,v,output}_proj.weight, layers.<i>.attn.{q,k}_norm.weight,
 * layers.<i>.ffn.{w1,w2,w3}.weight, layers.<i>.ln{1,2}.weight, layers.<i>.ln{1,2}_after.weight,
 * ln_final.weight, lm_head.weight, position_embeddings.weight with TLM_POSITION_LEARNED,
 * embedding_norm.weight with embedding_norm, value_embeddings.weight and
 * layers.<i>.attn.value_mix.weight with value_embeddings, and .bias beside .weight where there are
 * biases.
 * Parameters that the options leave out do not exist: q_norm and k_norm without qk_norm, ln_final
 * with TLM_NORM_POST or TLM_NORM_NONE, ln1 and ln2 with TLM_NORM_NONE or TLM_NORM_AFTER, ln1_after
 * and ln2_after except with TLM_NORM_AFTER or TLM_NORM_BOTH, w3 with TLM_FFN_SILU or TLM_FFN_GELU,
 * lm_head with tied embeddings. */

/** Number of parameter tensors: 3 + 9 num_layers with the default options. 0 for NULL.
 *  @since 0.1 */
TLM_API size_t tlm_model_num_parameters(const tlm_model_t *model);

/** Number of elements in all parameters together. 0 for NULL. @since 0.1 */
TLM_API uint64_t tlm_model_num_elements(const tlm_model_t *model);

/** Bytes of all these elements as they are in memory: 4 for each, or less in a model that was
 *  opened for inference (tlm_model_open_for_inference). 0 for NULL. @since 0.2 */
TLM_API uint64_t tlm_model_num_bytes(const tlm_model_t *model);

/** All parameter tensors in a fixed order: embedding, layer by layer, final norm, output
 *  projection, adapters. The array and the tensors are borrowed until the model is freed or
 *  adapters are added or removed. @since 0.1 */
TLM_API tlm_status_t tlm_model_parameters(tlm_tensor_t *const **tensors, size_t *n,
                                          const tlm_model_t *model);

/** Name of parameter `index` in that order; borrowed until the model is freed. TLM_ERR_RANGE if
 *  there is no such parameter. @since 0.1 */
TLM_API tlm_status_t tlm_model_parameter_name(const char **name, const tlm_model_t *model,
                                              size_t index);

/** The parameter with a given name; borrowed until the model is freed. TLM_ERR_NOT_FOUND if there
 *  is no such name. @since 0.1 */
TLM_API tlm_status_t tlm_model_parameter(tlm_tensor_t **out, const tlm_model_t *model,
                                         const char *name);

/** Copies row-major values into a parameter. TLM_ERR_SHAPE if the shape is not the parameter's,
 *  TLM_ERR_NOT_FOUND if there is no such name. @since 0.1 */
TLM_API tlm_status_t tlm_model_set_parameter(tlm_model_t *model, const char *name,
                                             const float *values, const int64_t *shape,
                                             int32_t ndim);

/** Drops all gradients. NULL is fine. @since 0.1 */
TLM_API void tlm_model_zero_grad(tlm_model_t *model);

/** Turns activation checkpointing on or off; it is off at first. With it the graph keeps only the
 *  input of each block, and backward runs the block again. That takes less memory and about a third
 *  more time; loss and gradients have the same bits. It applies to later forward passes and is not
 *  stored in checkpoint files. Chen et al. 2016. @since 0.2 */
TLM_API tlm_status_t tlm_model_set_checkpointing(tlm_model_t *model, bool enabled);

/** Takes over those of the options that count only in training, with the seed, which dropout uses,
 *  and leaves all others as they are.
 *  TLM_ERR_INVALID_ARGUMENT, naming the field, for one of them that is out of range. @since 0.2 */
TLM_API tlm_status_t tlm_model_set_training(tlm_model_t *model, const tlm_model_options_t *options);

/* ---- Forward ---------------------------------------------------------------------------- */

/** Computes the logits (batch, time, vocab_size) of ids (batch, time), row-major, which are copied.
 *  Owned by the caller, with a graph unless gradients are off on this thread. TLM_ERR_RANGE, naming
 *  the position, if time > context_length or an id is not in the vocabulary;
 *  TLM_ERR_INVALID_ARGUMENT if batch or time is not positive. @since 0.1 */
TLM_API tlm_status_t tlm_model_forward(tlm_tensor_t **logits, tlm_model_t *model,
                                       const uint32_t *ids, int64_t batch, int64_t time);

/** Computes the mean cross-entropy, in nats per token, of targets (batch, time) given inputs
 *  (batch, time): a scalar ready for tlm_tensor_backward. Targets of TLM_IGNORED_TARGET do not
 *  count: the mean is over the others, of which there must be one (TLM_ERR_INVALID_ARGUMENT). With
 *  a graph, which gradients off on this thread prevent, z_loss and label_smoothing change the
 *  loss. Owned by the caller. See tlm_model_forward for other errors. @since 0.1 */
TLM_API tlm_status_t tlm_model_loss(tlm_tensor_t **loss, tlm_model_t *model, const uint32_t *inputs,
                                    const uint32_t *targets, int64_t batch, int64_t time);

#ifdef __cplusplus
}
#endif
#endif
