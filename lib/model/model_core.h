/* What a model is made of: its parameters in a fixed order, found by layer and part. */
#ifndef TLMI_MODEL_CORE_H
#define TLMI_MODEL_CORE_H

#include "tinylm/model.h"

/* What a model is made of: its parameters in a fixed order, found by layer and part. */

/* Parameters of one block, in their order; a model may lack some. */
enum {
    TLMI_ATTN_Q,
    TLMI_ATTN_K,
    TLMI_ATTN_V,
    TLMI_ATTN_OUTPUT,
    TLMI_LN1,
    TLMI_FFN_W1,
    TLMI_FFN_W2,
    TLMI_FFN_W3,
    TLMI_LN2,
    TLMI_BLOCK_PARTS
};

typedef struct tlmi_parameter_spec {
    char name[64];
    int64_t shape[2];
    int32_t ndim;
    double sigma; /* of the initial values; 0: all ones */
} tlmi_parameter_spec_t;

/* What follows from a model's options. */
typedef struct tlmi_model_shape {
    int64_t d_head;
    int64_t kv_width;                 /* num_kv_heads * d_head */
    int32_t places[TLMI_BLOCK_PARTS]; /* of each part among a block's parameters; -1: it has none */
    size_t block_parameters;          /* of one block */
    bool has_final_norm, has_output;  /* parameters of their own */
    size_t num_parameters;            /* in all */
    uint64_t num_elements;
} tlmi_model_shape_t;

struct tlm_model {
    tlm_model_options_t options; /* defaults resolved */
    tlmi_model_shape_t shape;
    size_t num_parameters; /* that exist: token embedding, blocks, final norm, output projection */
    tlm_tensor_t **parameters;
    tlmi_parameter_spec_t *specs;
    bool checkpointing; /* blocks are run anew in backward */
};

static inline tlm_tensor_t *tlmi_model_embedding(const tlm_model_t *model)
{
    return model->parameters[0];
}

/* NULL if the model has no such part. */
static inline tlm_tensor_t *tlmi_model_block(const tlm_model_t *model, int64_t layer, int32_t part)
{
    const tlmi_model_shape_t *shape = &model->shape;
    int32_t place = shape->places[part];

    return place < 0
               ? NULL
               : model->parameters[1 + (size_t)layer * shape->block_parameters + (size_t)place];
}

/* NULL if the model has none. */
static inline tlm_tensor_t *tlmi_model_final_norm(const tlm_model_t *model)
{
    if (!model->shape.has_final_norm)
        return NULL;
    return model->parameters[model->num_parameters - (model->shape.has_output ? 2 : 1)];
}

/* The output projection (vocab_size, d_model): the embedding where that is tied. */
static inline tlm_tensor_t *tlmi_model_output(const tlm_model_t *model)
{
    return model->parameters[model->shape.has_output ? model->num_parameters - 1 : 0];
}

/* Reads and checks a caller's options and resolves defaults; all sizes are computed without
 * overflow. */
tlm_status_t tlmi_model_resolve(tlm_model_options_t *resolved, tlmi_model_shape_t *shape,
                                const char *function, const tlm_model_options_t *options);

/* One block: y (batch, time, d_model) of x. */
tlm_status_t tlmi_block_forward(tlm_tensor_t **y, const tlm_model_t *model, int64_t layer,
                                tlm_tensor_t *x);

/* The same, with a graph that keeps x alone and runs the block once more in backward. */
tlm_status_t tlmi_block_recomputed(tlm_tensor_t **y, const tlm_model_t *model, int64_t layer,
                                   tlm_tensor_t *x);

/* Makes a model whose parameters are zeros, for a loader to fill. */
tlm_status_t tlmi_model_create_empty(tlm_model_t **out, const tlm_model_options_t *options);

/* What a train step holds of memory, told without running one. */

typedef struct tlmi_step_memory {
    size_t activations; /* bytes that the forward pass leaves for backward */
    size_t live, peak;  /* most in use; most held of the system */
} tlmi_step_memory_t;

/* Of steps of (batch, time) tokens. The sizes are checked: no sum overflows. */
tlm_status_t tlmi_step_memory(tlmi_step_memory_t *out, const tlm_model_options_t *options,
                              const tlmi_model_shape_t *shape, int64_t batch, int64_t time,
                              bool checkpointing, size_t optimizer_bytes);

#endif
