/* A model's options as a JSON object, as checkpoints hold it. */
#ifndef TLMI_MODEL_CONFIG_H
#define TLMI_MODEL_CONFIG_H

#include "base/json.h"
#include "tinylm/model.h"

/* True if the options are the defaults in all that came after version 0.1, whose readers know the
 * rest. Defaults must be resolved. */
bool tlmi_model_config_is_first(const tlm_model_options_t *options);

/* The options, defaults resolved, as an object; those of version 0.1 alone if that is enough. */
tlm_status_t tlmi_model_config_write(tlmi_json_t **out, const tlm_model_options_t *options);

/* The way back; what the object lacks of the later options is 0. Messages begin with `path`. */
tlm_status_t tlmi_model_config_read(tlm_model_options_t *out, const tlmi_json_t *config,
                                    const char *path);

/* TLM_ERR_SHAPE, naming the option, if the two, with defaults resolved, differ in anything that
 * shapes and results depend on; the seed only made the initial weights. */
tlm_status_t tlmi_model_config_compare(const tlm_model_options_t *file,
                                       const tlm_model_options_t *model, const char *path);

#endif
