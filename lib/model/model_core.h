/* The internals of a model: its parameters in a fixed order, found by layer and part. */
#ifndef TLMI_MODEL_CORE_H
#define TLMI_MODEL_CORE_H

#include "model/architecture.h"
#include "nn/nn_core.h"
#include "tinylm/adapter.h"
#include "tinylm/model.h"

/* What a parameter is: one of the architecture, or half of an adapter of one. */
typedef enum tlmi_role { TLMI_BASE, TLMI_LORA_A, TLMI_LORA_B } tlmi_role_t;

typedef struct tlmi_parameter_spec {
    char name[64];
    tlmi_role_t role;
    int32_t part;  /* TLMI_EMBEDDING ... in architecture.h; of an adapter: what it changes */
    int64_t layer; /* 0 outside the blocks */
    int64_t shape[2];
    int32_t ndim;
} tlmi_parameter_spec_t;

/* A low-rank change of a parameter: the indices of A and B among the parameters. Parameters of one
 * fused tensor of the model's family share A. */
typedef struct tlmi_adapter {
    size_t a, b;     /* b 0, which is the embedding: there is no adapter */
    float scale;     /* of B A */
    uint64_t stream; /* of its dropout */
} tlmi_adapter_t;

/* Whether dropout drops anything in the pass that runs, and of which tokens; rate and seed are those of
 * adapters. */
typedef struct tlmi_drop_state {
    bool enabled;
    double rate;
    uint64_t seed, first_token;
} tlmi_drop_state_t;

/* The dropouts of a block. */
typedef enum tlmi_block_dropout {
    TLMI_DROPS_WEIGHTS, /* of attention */
    TLMI_DROPS_ATTENTION,
    TLMI_DROPS_FEED_FORWARD,
    TLMI_NUM_DROPS = 4
} tlmi_block_dropout_t;

/* A dropout of a block in the pass that runs. */
tlmi_drop_rule_t tlmi_block_drop(const tlm_model_t *model, int64_t layer,
                                 tlmi_block_dropout_t which);

/* Checksums of the parameters that are not trained: of names and values, and of their types. */
typedef struct tlmi_fingerprint {
    uint64_t values, types;
    bool known;
} tlmi_fingerprint_t;

struct tlm_model {
    tlm_model_options_t options; /* defaults resolved */
    tlmi_model_shape_t shape;
    /* Those of the architecture, shape.num_parameters: token embedding, blocks, final norm, output
     * projection; then those of adapters. */
    size_t num_parameters;
    tlm_tensor_t **parameters;
    tlmi_parameter_spec_t *specs;
    bool checkpointing;  /* backward recomputes the blocks */
    int64_t first_layer; /* the number of its first block: not 0 in a model of one block */
    /* By parameter of the architecture; NULL: no adapters, and `lora` means nothing. */
    tlmi_adapter_t *adapters;
    tlm_lora_options_t lora; /* defaults resolved; targets is the model's own */
    bool has_dropout;        /* see tlm_model_set_dropout_row */
    uint64_t dropout_row;
    tlmi_drop_state_t drop;
    char *source;                   /* the path that it was opened from, or NULL */
    int32_t family;                 /* TLM_FAMILY_... that its files were of; 0: unknown */
    tlmi_fingerprint_t fingerprint; /* see tlmi_model_fingerprint */
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

/* Runs one block: y = block(x), both (batch, time, d_model). `values` are the value embeddings of its
 * tokens (batch, time, kv_width); NULL: the model has none. */
tlm_status_t tlmi_block_forward(tlm_tensor_t **y, const tlm_model_t *model, int64_t layer,
                                tlm_tensor_t *x, tlm_tensor_t *values);

/* Runs one block with a graph that keeps only x and values and runs the block again in backward. */
tlm_status_t tlmi_block_recomputed(tlm_tensor_t **y, const tlm_model_t *model, int64_t layer,
                                   tlm_tensor_t *x, tlm_tensor_t *values);

/* Makes a model whose parameters are zeros, for a loader to fill. */
tlm_status_t tlmi_model_create_empty(tlm_model_t **out, const tlm_model_options_t *options);

/* Makes a model that has the descriptions of its parameters, but NULL for each of them, for a loader
 * that makes them itself. */
tlm_status_t tlmi_model_create_described(tlm_model_t **out, const tlm_model_options_t *options);

/* Makes a frozen model whose matrices are of a type as files have it, without values: to count what
 * it costs. */
tlm_status_t tlmi_model_create_kept(tlm_model_t **out, const tlm_model_options_t *options,
                                    int32_t dtype);

/* Fails, naming it, if a parameter is not float32: see tlm_model_open_for_inference. */
tlm_status_t tlmi_model_check_float32(const char *function, const tlm_model_t *model);

/* ---- Adapters --------------------------------------------------------------------------- */

/* The change of a parameter by its adapter, for the pass that runs; false if there is none. */
bool tlmi_model_change(tlmi_low_rank_t *out, const tlm_model_t *model, int64_t layer, int32_t part);

/* x W^T with the adapter of W, without biases. */
tlm_status_t tlmi_model_linear(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                               int32_t part, tlm_tensor_t *x);

/* What alpha is divided by to get the scale of an adapter of this rank. */
static inline double tlmi_lora_divisor(double rank, bool rank_stabilized)
{
    return rank_stabilized ? sqrt(rank) : rank;
}

/* The part whose rows are the output projection: TLMI_LM_HEAD, or the embedding. */
static inline int32_t tlmi_output_part(const tlm_model_t *model)
{
    return tlmi_has_part(&model->shape, TLMI_LM_HEAD) ? TLMI_LM_HEAD : TLMI_EMBEDDING;
}

/* A linear layer in the names of transformers, and the parameters that its weight consists of. */
enum { TLMI_MODULE_NAME = 96 };
typedef struct tlmi_module {
    char name[TLMI_MODULE_NAME]; /* without ".weight" */
    size_t suffix;               /* where the part of the name behind the layer's number begins */
    int32_t count;
    size_t parameters[TLMI_MAX_FUSED];
} tlmi_module_t;

/* The module that parameter `index` of the architecture belongs to; false if it is not the weight
 * of a linear layer. */
bool tlmi_module_of(tlmi_module_t *out, const tlm_model_t *model, size_t index,
                    const tlmi_family_t *family);

/* The family with number TLM_FAMILY_...; for 0 that of the model's files, or the first that has its
 * options; NULL if none does. */
tlm_status_t tlmi_lora_family(const tlmi_family_t **out, const char *function,
                              const tlm_model_t *model, int32_t asked);

/* tlm_model_add_lora where `chosen`, one per parameter of the architecture, says which have an
 * adapter, and `ranks` and `scales` (NULL: those of the options) what each is like. */
tlm_status_t tlmi_model_add_adapters(tlm_model_t *model, const tlm_lora_options_t *options,
                                     const bool *chosen, const int64_t *ranks,
                                     const double *scales);

/* Reads and checks a caller's options (NULL: the defaults); strings stay the caller's. */
tlm_status_t tlmi_lora_options_read(tlm_lora_options_t *known, const char *function,
                                    const tlm_lora_options_t *options);

/* Checksums of all parameters that are not trained, adapters aside. They are computed once; what is
 * written to the parameters later does not count. */
tlmi_fingerprint_t tlmi_model_fingerprint(tlm_model_t *model);

#endif
