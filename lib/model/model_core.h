/* The internals of a model: its parameters in a fixed order, found by layer and part. */
#ifndef TLMI_MODEL_CORE_H
#define TLMI_MODEL_CORE_H

#include "model/architecture.h"
#include "tinylm/model.h"

typedef struct tlmi_parameter_spec {
    char name[64];
    int32_t part;  /* TLMI_EMBEDDING ... in architecture.h */
    int64_t layer; /* 0 outside the blocks */
    int64_t shape[2];
    int32_t ndim;
} tlmi_parameter_spec_t;

struct tlm_model {
    tlm_model_options_t options; /* defaults resolved */
    tlmi_model_shape_t shape;
    size_t num_parameters; /* present: token embedding, blocks, final norm, output projection */
    tlm_tensor_t **parameters;
    tlmi_parameter_spec_t *specs;
    bool checkpointing; /* backward recomputes the blocks */
};

/* Returns the parameter, or NULL if the model has no such part; `layer` is 0 outside the blocks. */
static inline tlm_tensor_t *tlmi_model_block(const tlm_model_t *model, int64_t layer, int32_t part)
{
    const tlmi_model_shape_t *shape = &model->shape;

    return tlmi_has_part(shape, part) ? model->parameters[tlmi_part_index(shape, layer, part)]
                                      : NULL;
}

static inline tlm_tensor_t *tlmi_model_embedding(const tlm_model_t *model)
{
    return tlmi_model_block(model, 0, TLMI_EMBEDDING);
}

/* NULL if the model has none. */
static inline tlm_tensor_t *tlmi_model_final_norm(const tlm_model_t *model)
{
    return tlmi_model_block(model, 0, TLMI_LN_FINAL);
}

/* The output projection (vocab_size, d_model), which is the embedding if the two are tied. */
static inline tlm_tensor_t *tlmi_model_output(const tlm_model_t *model)
{
    tlm_tensor_t *output = tlmi_model_block(model, 0, TLMI_LM_HEAD);

    return output != NULL ? output : tlmi_model_embedding(model);
}

/* Reads and checks the caller's options and resolves defaults. All sizes are computed without
 * overflow. */
tlm_status_t tlmi_model_resolve(tlm_model_options_t *resolved, tlmi_model_shape_t *shape,
                                const char *function, const tlm_model_options_t *options);

/* Applies RMSNorm with this gain, or returns x itself (retained) if gain is NULL. */
tlm_status_t tlmi_model_norm(tlm_tensor_t **out, const tlm_model_t *model, tlm_tensor_t *x,
                             tlm_tensor_t *gain);

/* Runs one block: y = block(x), both (batch, time, d_model). */
tlm_status_t tlmi_block_forward(tlm_tensor_t **y, const tlm_model_t *model, int64_t layer,
                                tlm_tensor_t *x);

/* Runs one block with a graph that keeps only x and runs the block again in backward. */
tlm_status_t tlmi_block_recomputed(tlm_tensor_t **y, const tlm_model_t *model, int64_t layer,
                                   tlm_tensor_t *x);

/* Makes a model whose parameters are zeros, for a loader to fill. */
tlm_status_t tlmi_model_create_empty(tlm_model_t **out, const tlm_model_options_t *options);

/* Makes a model that has the descriptions of its parameters, but NULL for each of them, for a loader
 * that makes them itself. */
tlm_status_t tlmi_model_create_described(tlm_model_t **out, const tlm_model_options_t *options);

/* Fails, naming it, if a parameter is not float32: see tlm_model_open_for_inference. */
tlm_status_t tlmi_model_check_float32(const char *function, const tlm_model_t *model);

#endif
