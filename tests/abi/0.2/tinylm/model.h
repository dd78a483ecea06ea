/* The transformer language model (LLaMA's shape: pre-norm, RoPE, SwiGLU, no biases; each of these
 * can be switched). docs/ops.md writes the forward pass out. */
#ifndef TINYLM_MODEL_H
#define TINYLM_MODEL_H

#include "nn.h"
#include "options.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A model and its parameters. Externally synchronised: one call at a time a model. */
typedef struct tlm_model tlm_model_t;

/* Where a block has its norms. @since 0.2 */
#define TLM_NORM_PRE  0 /* x + f(norm(x)), and a norm before the output projection */
#define TLM_NORM_POST 1 /* norm(x + f(x)), and none before the output projection */
#define TLM_NORM_NONE 2 /* x + f(x): no norms at all */

/* How a block knows positions. @since 0.2 */
#define TLM_POSITION_ROPE 0
#define TLM_POSITION_NONE 1 /* by the causal mask alone */

/* The feed-forward layer. @since 0.2 */
#define TLM_FFN_SWIGLU 0 /* w2 (silu(w1 x) * w3 x) */
#define TLM_FFN_SILU   1 /* w2 silu(w1 x) */

/* Norms of queries and keys, before RoPE. @since 0.2 */
#define TLM_QK_NORM_NONE  0
#define TLM_QK_NORM_HEADS 1 /* RMSNorm of each head, with gains (head_dim) that all heads share */

typedef struct tlm_model_options {
    size_t size;            /* sizeof(tlm_model_options_t) */
    int64_t vocab_size;     /* required */
    int64_t context_length; /* longest sequence in tokens; required */
    int64_t d_model;        /* width; a multiple of num_heads unless head_dim is given; required */
    int64_t num_layers;     /* required */
    int64_t num_heads;      /* required */
    int64_t d_ff;           /* 0: 8/3 d_model rounded up to a multiple of 64; 4 d_model for SiLU */
    double rope_theta;      /* 0: 10000 */
    uint64_t seed;          /* of the initial parameters */
    /* @since 0.2 */
    int64_t num_kv_heads; /* heads of keys and values; divides num_heads; 0: num_heads */
    double norm_eps;      /* 0: 1e-5 */
    int32_t norm;         /* TLM_NORM_... */
    int32_t position;     /* TLM_POSITION_... */
    int32_t ffn;          /* TLM_FFN_... */
    bool tied_embeddings; /* the output projection is the embedding matrix */
    uint8_t reserved[3];
    int64_t head_dim; /* width of a head; even with RoPE; 0: d_model / num_heads */
    int32_t qk_norm;  /* TLM_QK_NORM_... */
    uint8_t reserved2[4];
} tlm_model_options_t;

#define TLM_MODEL_OPTIONS_INIT TLM_SIZED(tlm_model_options_t)

/** Makes a model with fresh parameters: linear weights truncated normal with sigma^2 = 2 / (d_in +
 *  d_out), embeddings with sigma 1 (tied ones as the linear weight that they also are), both cut at
 *  3 sigma; norm gains 1. All of them are leaves that require gradients. Same seed, same values.
 *  Owned by the caller. TLM_ERR_INVALID_ARGUMENT, naming the field, for sizes out of range.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_model_create(tlm_model_t **out, const tlm_model_options_t *options);
/** Frees the model and its references to the parameters. NULL is fine. @since 0.1 */
TLM_API void tlm_model_free(tlm_model_t *model);

/** The options in force, defaults resolved. Set out->size first. @since 0.1 */
TLM_API tlm_status_t tlm_model_get_options(tlm_model_options_t *out, const tlm_model_t *model);

/* ---- Parameters ------------------------------------------------------------------------- */
/* Named as in CS336's state dict: token_embeddings.weight,
 * layers.<i>.attn.{q,k,v,output}_proj.weight, layers.<i>.attn.{q,k}_norm.weight,
 * layers.<i>.ffn.{w1,w2,w3}.weight, layers.<i>.ln{1,2}.weight, ln_final.weight, lm_head.weight.
 * What an option leaves out does not exist: q_norm and k_norm except with TLM_QK_NORM_HEADS,
 * ln_final except with TLM_NORM_PRE, ln1 and ln2 with TLM_NORM_NONE, w3 with TLM_FFN_SILU, lm_head
 * with tied embeddings. */

/** Number of parameter tensors, 3 + 9 num_layers by default; 0 of NULL. @since 0.1 */
TLM_API size_t tlm_model_num_parameters(const tlm_model_t *model);

/** Number of elements in all of them; 0 of NULL. @since 0.1 */
TLM_API uint64_t tlm_model_num_elements(const tlm_model_t *model);

/** All parameter tensors in a fixed order: embedding, layer by layer, final norm, output
 *  projection, each where it exists. Array and tensors are borrowed until the model is freed.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_model_parameters(tlm_tensor_t *const **tensors, size_t *n,
                                          const tlm_model_t *model);

/** Name of parameter `index` of that order; borrowed until the model is freed. TLM_ERR_RANGE if
 *  there is none. @since 0.1 */
TLM_API tlm_status_t tlm_model_parameter_name(const char **name, const tlm_model_t *model,
                                              size_t index);

/** The parameter of that name, borrowed until the model is freed; TLM_ERR_NOT_FOUND if there is
 *  none. @since 0.1 */
TLM_API tlm_status_t tlm_model_parameter(tlm_tensor_t **out, const tlm_model_t *model,
                                         const char *name);

/** Copies values (row-major) into a parameter. TLM_ERR_SHAPE unless the shape is its own,
 *  TLM_ERR_NOT_FOUND if there is no such name. @since 0.1 */
TLM_API tlm_status_t tlm_model_set_parameter(tlm_model_t *model, const char *name,
                                             const float *values, const int64_t *shape,
                                             int32_t ndim);

/** Forgets all gradients. NULL is fine. @since 0.1 */
TLM_API void tlm_model_zero_grad(tlm_model_t *model);

/** Activation checkpointing by block, off at first: of each block the graph then keeps the input
 *  alone, and backward runs the block once more. Memory falls, a step takes about a third longer,
 *  and loss and gradients keep every bit. It holds for later forward passes; checkpoint files do
 *  not record it. Source: Chen et al. 2016. @since 0.2 */
TLM_API tlm_status_t tlm_model_set_checkpointing(tlm_model_t *model, bool enabled);

/* ---- Forward ---------------------------------------------------------------------------- */

/** Logits (batch, time, vocab_size) of ids (batch, time), row-major, copied. Owned by the caller,
 *  with a graph unless gradients are off on this thread. TLM_ERR_RANGE, naming the place, if time >
 *  context_length or an id is not in the vocabulary; TLM_ERR_INVALID_ARGUMENT unless batch and time
 *  are positive. @since 0.1 */
TLM_API tlm_status_t tlm_model_forward(tlm_tensor_t **logits, tlm_model_t *model,
                                       const uint32_t *ids, int64_t batch, int64_t time);

/** Mean cross-entropy (nats a token) of targets (batch, time) given inputs (batch, time), a scalar
 *  ready for tlm_tensor_backward. Owned by the caller. Errors as of tlm_model_forward.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_model_loss(tlm_tensor_t **loss, tlm_model_t *model, const uint32_t *inputs,
                                    const uint32_t *targets, int64_t batch, int64_t time);

#ifdef __cplusplus
}
#endif
#endif
