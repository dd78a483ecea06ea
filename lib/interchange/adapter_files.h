/* Private declarations for folders of PEFT: adapter_config.json and adapter_model.safetensors. */
#ifndef TLMI_ADAPTER_FILES_H
#define TLMI_ADAPTER_FILES_H

#include "interchange/interchange.h"

/* What adapter_config.json says of adapters. */
typedef struct tlmi_adapter_config {
    double rank, alpha, dropout;
    bool rank_stabilized;
    const tlmi_json_t *config; /* borrowed: has the patterns */
} tlmi_adapter_config_t;

/* Fails with TLM_ERR_UNSUPPORTED, naming key and value, for what is not LoRA as here. */
tlm_status_t tlmi_adapter_config_read(tlmi_adapter_config_t *out, const tlmi_json_t *config,
                                      const char *path);

/* The scale of a module whose tensors have this rank. */
tlm_status_t tlmi_adapter_config_scale(double *out, const tlmi_adapter_config_t *config,
                                       const char *module, int64_t rank, const char *path);

/* Sets the members of a new object for the adapters of the model. */
tlm_status_t tlmi_adapter_config_fill(tlmi_json_t *config, const tlm_model_t *model,
                                      const tlmi_family_t *family);

/* Whether one of the module's parameters has an adapter. */
bool tlmi_module_is_adapted(const tlm_model_t *model, const tlmi_module_t *module);

/* The library's row for row `row` of parameter `index` in a file. */
static inline int64_t tlmi_file_row(const tlm_model_t *model, size_t index,
                                    const tlmi_convention_t *convention, int64_t row)
{
    const bool plain = convention->family == NULL;

    return plain ? row : tlmi_own_row(row, tlmi_rows_of(model, index, convention).width);
}

#endif
