/* Reading folders of Hugging Face's transformers. */
#ifndef TLMI_HF_LOAD_H
#define TLMI_HF_LOAD_H

#include "tinylm/model_files.h"

/* Makes the model of a folder, and tells in *file its tokens and the type of its weights. Owned. */
tlm_status_t tlmi_hf_load(tlm_model_t **out, tlm_model_file_options_t *file, const char *directory);

#endif
