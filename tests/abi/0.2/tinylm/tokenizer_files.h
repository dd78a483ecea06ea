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

/** Makes a tokenizer from a tiktoken rank file: a line for each token, base64, a space, its rank,
 *  which is its id; ranks may have gaps. Ids are those of tiktoken's encode_ordinary, exactly
 *  (options->ignore_merges is implied). Pattern and special tokens are not in the file: give them.
 *  TLM_ERR_FORMAT, naming the line or the token, for anything else; other errors as of
 *  tlm_tokenizer_load. Owned by the caller. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_load_tiktoken(tlm_tokenizer_t **out, const char *path,
                                                 const tlm_tokenizer_options_t *options);

/** Writes a rank file, ids as ranks, without the tokens that are only special. TLM_ERR_UNSUPPORTED,
 *  naming the token, if ranks would encode otherwise than the merges do: if ids are in another
 *  order than merges, or a token is made by no merge and ignore_merges is not set. A trained
 *  tokenizer can always be written. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_save_tiktoken(const tlm_tokenizer_t *tokenizer,
                                                 const char *path);

/** Makes a tokenizer from a tokenizer.json of Hugging Face's tokenizers: byte-level BPE, split by
 *  GPT-2's pattern or by one regular expression. Added tokens become special tokens, before the
 *  caller's; options->pattern, if set, replaces the file's. Ids are those of tokenizers without its
 *  post-processor. TLM_ERR_UNSUPPORTED, naming it, for what would change ids and is not honoured;
 *  TLM_ERR_FORMAT, naming the place; other errors as of tlm_tokenizer_load. Owned by the caller.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_load_json(tlm_tokenizer_t **out, const char *path,
                                             const tlm_tokenizer_options_t *options);

/** Writes a tokenizer.json, pattern and special tokens included, that tokenizers reads to the same
 *  ids. TLM_ERR_UNSUPPORTED for a special token that is not UTF-8, holds a NUL byte, or would be
 *  taken for another token; TLM_ERR_NOT_FOUND or TLM_ERR_IO if it cannot be written. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_save_json(const tlm_tokenizer_t *tokenizer, const char *path);

/** Reads whichever is there: at the path of a file a tokenizer.json, if it begins with a brace, or
 *  else a rank file; in a directory tokenizer.json, or else vocab.json and merges.txt. Errors as of
 *  the function that reads it; TLM_ERR_NOT_FOUND if none is there. Owned by the caller.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_open(tlm_tokenizer_t **out, const char *path,
                                        const tlm_tokenizer_options_t *options);

#ifdef __cplusplus
}
#endif
#endif
