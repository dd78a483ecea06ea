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

/* How a block knows the positions of tokens. @since 0.2 */
#define TLM_POSITION_ROPE 0 /**< Queries and keys are rotated: see tlm_rope. */
#define TLM_POSITION_NONE 1 /**< Only through the causal mask. */

/* The feed-forward layer. @since 0.2 */
#define TLM_FFN_SWIGLU 0 /**< w2 (silu(w1 x) * w3 x). */
#define TLM_FFN_SILU   1 /**< w2 silu(w1 x). */

/* Norms of queries and keys, before RoPE. @since 0.2 */
#define TLM_QK_NORM_NONE  0 /**< None. */
#define TLM_QK_NORM_HEADS 1 /**< RMSNorm of each head, with gains (head_dim) that all share. */

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
     *  for TLM_FFN_SILU. */
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
    uint8_t reserved[3];
    /** Width of a head, even with RoPE; 0: d_model / num_heads. @since 0.2 */
    int64_t head_dim;
    /** TLM_QK_NORM_... @since 0.2 */
    int32_t qk_norm;
    uint8_t reserved2[4];
} tlm_model_options_t;

#define TLM_MODEL_OPTIONS_INIT TLM_SIZED(tlm_model_options_t)

/** Creates a model with fresh parameters, all of them leaves that require gradients. Linear weights
 *  are truncated normal with sigma^2 = 2 / (d_in + d_out); embeddings have sigma 1, tied ones that
 *  of the linear weight that they also are; both are cut at 3 sigma. Norm gains are 1. The same
 *  seed gives the same values. Owned by the caller: tlm_model_free. TLM_ERR_INVALID_ARGUMENT,
 *  naming the field, for options out of range. @since 0.1 */
TLM_API tlm_status_t tlm_model_create(tlm_model_t **out, const tlm_model_options_t *options);

/** Frees the model and its references to the parameters. NULL is fine. @since 0.1 */
TLM_API void tlm_model_free(tlm_model_t *model);

/** Reads the options in effect, with defaults resolved. Set out->size first. @since 0.1 */
TLM_API tlm_status_t tlm_model_get_options(tlm_model_options_t *out, const tlm_model_t *model);

/* ---- Parameters ------------------------------------------------------------------------- */
/* Names are those of CS336's state dict: token_embeddings.weight,
 * layers.<i>.attn.{q,k,v,output}_proj.weight, layers.<i>.attn.{q,k}_norm.weight,
 * layers.<i>.ffn.{w1,w2,w3}.weight, layers.<i>.ln{1,2}.weight, ln_final.weight, lm_head.weight.
 * Parameters that the options leave out do not exist: q_norm and k_norm except with
 * TLM_QK_NORM_HEADS, ln_final except with TLM_NORM_PRE, ln1 and ln2 with TLM_NORM_NONE, w3 with
 * TLM_FFN_SILU, lm_head with tied embeddings. */

/** Number of parameter tensors: 3 + 9 num_layers with the default options. 0 for NULL.
 *  @since 0.1 */
TLM_API size_t tlm_model_num_parameters(const tlm_model_t *model);

/** Number of elements in all parameters together. 0 for NULL. @since 0.1 */
TLM_API uint64_t tlm_model_num_elements(const tlm_model_t *model);

/** All parameter tensors in a fixed order: embedding, layer by layer, final norm, output
 *  projection. The array and the tensors are borrowed until the model is freed. @since 0.1 */
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

/* ---- Forward ---------------------------------------------------------------------------- */

/** Computes the logits (batch, time, vocab_size) of ids (batch, time), row-major, which are copied.
 *  Owned by the caller, with a graph unless gradients are off on this thread. TLM_ERR_RANGE, naming
 *  the position, if time > context_length or an id is not in the vocabulary;
 *  TLM_ERR_INVALID_ARGUMENT if batch or time is not positive. @since 0.1 */
TLM_API tlm_status_t tlm_model_forward(tlm_tensor_t **logits, tlm_model_t *model,
                                       const uint32_t *ids, int64_t batch, int64_t time);

/** Computes the mean cross-entropy, in nats per token, of targets (batch, time) given inputs
 *  (batch, time): a scalar ready for tlm_tensor_backward. Owned by the caller. See
 *  tlm_model_forward for errors. @since 0.1 */
TLM_API tlm_status_t tlm_model_loss(tlm_tensor_t **loss, tlm_model_t *model, const uint32_t *inputs,
                                    const uint32_t *targets, int64_t batch, int64_t time);

#ifdef __cplusplus
}
#endif
#endif
