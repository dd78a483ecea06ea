/* What a model is made of: its parameters in a fixed order, found by layer and part. */
#ifndef TLMI_MODEL_CORE_H
#define TLMI_MODEL_CORE_H

#include "tinylm/model.h"

#define TLMI_RMS_NORM_EPS 1e-5f /* CS336 */

/* Parameters of one block, in their order. */
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
    TLMI_BLOCK_PARAMETERS
};

typedef struct tlmi_parameter_spec {
    char name[64];
    int64_t shape[2];
    int32_t ndim;
    double sigma; /* of the initial values; 0: all ones */
} tlmi_parameter_spec_t;

struct tlm_model {
    tlm_model_options_t options; /* defaults resolved */
    size_t num_parameters;       /* token embedding, blocks, final norm, output projection */
    tlm_tensor_t **parameters;
    tlmi_parameter_spec_t *specs;
};

static inline tlm_tensor_t *tlmi_model_embedding(const tlm_model_t *model)
{
    return model->parameters[0];
}

static inline tlm_tensor_t *tlmi_model_block(const tlm_model_t *model, int64_t layer, int32_t part)
{
    return model->parameters[1 + layer * TLMI_BLOCK_PARAMETERS + part];
}

static inline tlm_tensor_t *tlmi_model_final_norm(const tlm_model_t *model)
{
    return model->parameters[model->num_parameters - 2];
}

static inline tlm_tensor_t *tlmi_model_output(const tlm_model_t *model)
{
    return model->parameters[model->num_parameters - 1];
}

/* Reads and checks a caller's options; defaults resolved, num_parameters and the number of elements
 * computed without overflow. */
tlm_status_t tlmi_model_check_options(tlm_model_options_t *resolved, size_t *num_parameters,
                                      uint64_t *num_elements, const char *function,
                                      const tlm_model_options_t *options);

/* Makes a model whose parameters are zeros, for a loader to fill. */
tlm_status_t tlmi_model_create_empty(tlm_model_t **out, const tlm_model_options_t *options);

#endif
