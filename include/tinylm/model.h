/* The transformer language model (pre-norm, RoPE, SwiGLU, no biases: LLaMA's shape) and generation. */
#ifndef TINYLM_MODEL_H
#define TINYLM_MODEL_H

#include "nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A model and its parameters. Externally synchronised. */
typedef struct tlm_model tlm_model_t;

typedef struct tlm_model_options {
    size_t size;            /* sizeof(tlm_model_options_t) */
    int64_t vocab_size;     /* required */
    int64_t context_length; /* longest sequence in tokens; required */
    int64_t d_model;        /* width; a multiple of 2 * num_heads; required */
    int64_t num_layers;     /* required */
    int64_t num_heads;      /* required */
    int64_t d_ff;           /* 0: 8/3 d_model rounded up to a multiple of 64 */
    double rope_theta;      /* 0: 10000 */
    uint64_t seed;          /* of the initial parameters */
} tlm_model_options_t;

#define TLM_MODEL_OPTIONS_INIT                                                                     \
    {                                                                                              \
        sizeof(tlm_model_options_t), 0, 0, 0, 0, 0, 0, 0.0, 0                                      \
    }

TLM_API void tlm_model_options_init(tlm_model_options_t *options);

/** Makes a model with fresh parameters: linear weights truncated normal with sigma^2 = 2 / (d_in +
 *  d_out), embeddings with sigma 1, both cut at 3 sigma; norm gains 1. Owned by the caller.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_model_create(tlm_model_t **out, const tlm_model_options_t *options);
TLM_API void tlm_model_free(tlm_model_t *model);

/** The options in force, defaults resolved. Set out->size first. @since 0.1 */
TLM_API tlm_status_t tlm_model_get_options(tlm_model_options_t *out, const tlm_model_t *model);

/* ---- Parameters ------------------------------------------------------------------------- */
/* Named as in CS336's state dict: token_embeddings.weight, layers.<i>.attn.{q,k,v,output}_proj.weight,
 * layers.<i>.ffn.{w1,w2,w3}.weight, layers.<i>.ln{1,2}.weight, ln_final.weight, lm_head.weight. */

/** Number of parameter tensors, and of all their elements. @since 0.1 */
TLM_API size_t tlm_model_num_parameters(const tlm_model_t *model);
TLM_API uint64_t tlm_model_num_elements(const tlm_model_t *model);

/** All parameter tensors in a fixed order; array and tensors are borrowed until the model is freed.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_model_parameters(tlm_tensor_t *const **tensors, size_t *n,
                                          const tlm_model_t *model);

/** Name of parameter `index`; borrowed likewise. @since 0.1 */
TLM_API tlm_status_t tlm_model_parameter_name(const char **name, const tlm_model_t *model,
                                              size_t index);

/** The parameter of that name, borrowed; TLM_ERR_NOT_FOUND if there is none. @since 0.1 */
TLM_API tlm_status_t tlm_model_parameter(tlm_tensor_t **out, const tlm_model_t *model,
                                         const char *name);

/** Copies values (row-major) into a parameter; the shape must be its own. @since 0.1 */
TLM_API tlm_status_t tlm_model_set_parameter(tlm_model_t *model, const char *name,
                                             const float *values, const int64_t *shape,
                                             int32_t ndim);

/** Forgets all gradients. @since 0.1 */
TLM_API void tlm_model_zero_grad(tlm_model_t *model);

/* ---- Forward ---------------------------------------------------------------------------- */

/** Logits (batch, time, vocab_size) of ids (batch, time), row-major. Owned by the caller. TLM_ERR_RANGE
 *  if time > context_length or an id is not in the vocabulary. @since 0.1 */
TLM_API tlm_status_t tlm_model_forward(tlm_tensor_t **logits, tlm_model_t *model,
                                       const uint32_t *ids, int64_t batch, int64_t time);

/** Mean cross-entropy (nats a token) of targets (batch, time) given inputs (batch, time), a scalar
 *  ready for tlm_tensor_backward. @since 0.1 */
TLM_API tlm_status_t tlm_model_loss(tlm_tensor_t **loss, tlm_model_t *model, const uint32_t *inputs,
                                    const uint32_t *targets, int64_t batch, int64_t time);

/* ---- Generation ------------------------------------------------------------------------- */

typedef struct tlm_generate_options {
    size_t size;        /* sizeof(tlm_generate_options_t) */
    int64_t max_tokens; /* new tokens at most; 0: none */
    double temperature; /* 0: always the likeliest token */
    double top_p;       /* nucleus, in (0, 1]; 0 means 1, all */
    uint32_t top_k;     /* the k likeliest only; 0: all */
    bool has_end_token; /* stop after end_token, which is not returned */
    uint8_t reserved[3];
    uint32_t end_token;
    uint32_t reserved2;
    uint64_t seed;
} tlm_generate_options_t;

#define TLM_GENERATE_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(tlm_generate_options_t), 256, 0.0, 0.0, 0, false, {0, 0, 0}, 0, 0, 0                \
    }

TLM_API void tlm_generate_options_init(tlm_generate_options_t *options);

/** Called with each new token; anything but 0 stops the generation (not an error). */
typedef int32_t (*tlm_token_callback_t)(void *user, uint32_t id);

/** Continues `prompt` (at least one id). *ids, owned by the caller (tlm_free), are the new tokens
 *  only. Past context_length the window slides: the oldest tokens are dropped. callback may be NULL.
 *  Same seed, same tokens. @since 0.1 */
TLM_API tlm_status_t tlm_model_generate(uint32_t **ids, size_t *n, tlm_model_t *model,
                                        const uint32_t *prompt, size_t prompt_length,
                                        const tlm_generate_options_t *options,
                                        tlm_token_callback_t callback, void *user);

#ifdef __cplusplus
}
#endif
#endif
