/* Models in GGUF files. */
#ifndef TLMI_GGUF_MODEL_H
#define TLMI_GGUF_MODEL_H

#include "gguf_write.h"
#include "tinylm/model_files.h"

/* Whether a file begins as GGUF files do. */
tlm_status_t tlmi_is_gguf(bool *out, const char *path);

/* Makes the model of a file, tells in *info its tokens and the type of its weights; and unless
 * `tokenizer` is NULL, its tokenizer, or NULL there if it has none. All owned. */
tlm_status_t tlmi_gguf_load(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                            tlm_model_file_options_t *info, const char *path);

/* Writes a tokenizer (NULL: that there is none) for a model of vocab_size tokens. */
tlm_status_t tlmi_gguf_put_tokenizer(tlmi_gguf_writer_t *writer, const tlm_tokenizer_t *tokenizer,
                                     int64_t vocab_size);

/* Makes the tokenizer of a file, *out NULL if it has none. Owned. */
tlm_status_t tlmi_gguf_read_tokenizer(tlm_tokenizer_t **out, const tlmi_gguf_t *file,
                                      const char *path);

#endif
