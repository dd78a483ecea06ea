/* Tokenizers in files: reading and writing the formats of others. Each file is written aside and
 * then renamed, so that no reader sees half of it. docs/tokenizer.md says what of each format is
 * honoured. */
#ifndef TINYLM_TOKENIZER_FILES_H
#define TINYLM_TOKENIZER_FILES_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Makes a tokenizer from GPT-2 style files: vocab.json (token to id, byte-to-unicode alphabet) and
 *  merges.txt (one merge a line, an optional "#version" first line). Owned by the caller. Errors as
 *  of tlm_tokenizer_create; TLM_ERR_NOT_FOUND or TLM_ERR_IO if a file cannot be read.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_load(tlm_tokenizer_t **out, const char *vocab_path,
                                        const char *merges_path,
                                        const tlm_tokenizer_options_t *options);

/** Writes both files, each aside and then renamed, vocab.json first. TLM_ERR_NOT_FOUND or
 *  TLM_ERR_IO if one cannot be written. Pattern and special tokens are not in them. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_save(const tlm_tokenizer_t *tokenizer, const char *vocab_path,
                                        const char *merges_path);

#ifdef __cplusplus
}
#endif
#endif
