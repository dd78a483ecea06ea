/* A model's options as config.json of Hugging Face's transformers, for LlamaForCausalLM. */
#ifndef TLMI_HF_CONFIG_H
#define TLMI_HF_CONFIG_H

#include "base/json.h"
#include "tinylm/model_files.h"

/* Of options with defaults resolved. Owned. */
tlm_status_t tlmi_hf_config_write(tlmi_json_t **out, const tlm_model_options_t *options,
                                  const tlm_model_file_options_t *file);

/* The way back: TLM_ERR_UNSUPPORTED, naming the key, for what the library's models do not have. The
 * tokens go to *file; its `weights` are not touched, for the tensors tell them. Messages begin with
 * `path`. */
tlm_status_t tlmi_hf_config_read(tlm_model_options_t *out, tlm_model_file_options_t *file,
                                 const tlmi_json_t *config, const char *path);

/* Sets "bos_token_id" and "eos_token_id", null where there is none. */
tlm_status_t tlmi_hf_set_tokens(tlmi_json_t *object, const tlm_model_file_options_t *file);

tlm_status_t tlmi_hf_set_text(tlmi_json_t *object, const char *key, const char *text);

#endif
