/* The internals of a model: its parameters in a fixed order, found by layer and part. */
#ifndef TLMI_MODEL_CORE_H
#define TLMI_MODEL_CORE_H

#include "model/architecture.h"
#include "nn/nn_core.h"
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
    bool checkpointing;  /* backward recomputes the blocks */
    int64_t first_layer; /* the number of its first block: not 0 in a model of one block */
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

/* The biases of a part, or NULL if it has none. */
static inline tlm_tensor_t *tlmi_model_bias(const tlm_model_t *model, int64_t layer, int32_t part)
{
    const int32_t bias = part == TLMI_NO_PART ? TLMI_NO_BIAS : tlmi_parts[part].bias;

    return bias == TLMI_NO_BIAS ? NULL : tlmi_model_block(model, layer, bias);
}

/* What embeddings are multiplied by where they are scaled. */
static inline float tlmi_embedding_scale(const tlm_model_options_t *options)
{
    return sqrtf((float)options->d_model);
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

/* What attention of block `layer` computes of queries and keys. */
void tlmi_layer_rules(tlmi_score_rules_t *out, const tlm_model_t *model, int64_t layer);

/* Whether block `layer` has a window; and RoPE of blocks with one or without. */
bool tlmi_has_window(const tlm_model_options_t *options, int64_t layer);
void tlmi_rope_of(tlmi_rope_t *out, const tlm_model_options_t *options, bool windowed);

/* Applies the norm whose gains are `part`, or returns x itself (retained) if the model has no such
 * part. */
tlm_status_t tlmi_model_norm(tlm_tensor_t **out, const tlm_model_t *model, tlm_tensor_t *x,
                             int64_t layer, int32_t part);

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
