/* What the writers and readers of models in others' files share. */
#ifndef TLMI_MODEL_FILES_H
#define TLMI_MODEL_FILES_H

#include "tinylm/model_files.h"

/* Reads a caller's options, which may be NULL, checks that model and tokenizer (may be NULL) can be
 * written, and finds the end token. */
tlm_status_t tlmi_model_file_prepare(tlm_model_file_options_t *out, const char *function,
                                     const tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                                     const tlm_model_file_options_t *options);

/* "<directory>/<name>"; owned: tlmi_free. NULL on memory failure. */
char *tlmi_path_join(const char *directory, const char *name);

#endif
