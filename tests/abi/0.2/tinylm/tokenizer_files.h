/* Tokenizers in files: reading and writing the formats of other programs. A file is written under a
 * temporary name and then renamed, so no reader sees half of it. docs/tokenizer.md says what is
 * supported of each format. */
#ifndef TINYLM_TOKENIZER_FILES_H
#define TINYLM_TOKENIZER_FILES_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Makes a tokenizer from GPT-2 style files: vocab.json (token to id, in the byte-to-unicode
 *  alphabet) and merges.txt (one merge per line after an optional "#version" line). Tokens that
 *  tokenizer_config.json, added_tokens.json and special_tokens_map.json beside vocab.json name
 *  become special tokens, after the caller's. Owned by the caller. TLM_ERR_NOT_FOUND or TLM_ERR_IO
 *  if a file cannot be read; see tlm_tokenizer_create for other errors. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_load(tlm_tokenizer_t **out, const char *vocab_path,
                                        const char *merges_path,
                                        const tlm_tokenizer_options_t *options);

/** Writes both files, vocab.json first. The pattern and the list of special tokens are not part
 *  of them. TLM_ERR_NOT_FOUND or TLM_ERR_IO if one cannot be written; TLM_ERR_UNSUPPORTED if the
 *  model is not BPE. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_save(const tlm_tokenizer_t *tokenizer, const char *vocab_path,
                                        const char *merges_path);

/** Makes a tokenizer from a tiktoken rank file: one line per token with its bytes in base64, a
 *  space, and its rank, which is its id; ranks may have gaps. The ids are exactly those of
 *  tiktoken's encode_ordinary (options->ignore_merges is implied). The file does not say how texts
 *  are split: without options->pattern, the vocabulary must be a published one (GPT-2, p50k_base,
 *  cl100k_base, o200k_base, Llama 3, Llama 4, Qwen, Qwen 3.5 or Kimi), whose pattern, NFC and, if
 *  the options have none, special tokens are then used. TLM_ERR_INVALID_ARGUMENT for any other;
 *  TLM_ERR_FORMAT, with the line or the token, if the file is malformed; see tlm_tokenizer_load
 *  for other errors. Owned by the caller. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_load_tiktoken(tlm_tokenizer_t **out, const char *path,
                                                 const tlm_tokenizer_options_t *options);

/** Writes a rank file with ids as ranks and without the tokens that are only special.
 *  TLM_ERR_UNSUPPORTED, with the token, if ranks would not encode as the merges do: if ids are
 *  not in the order of merges, or if no merge makes a token and ignore_merges is not set. A
 *  trained tokenizer can always be written. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_save_tiktoken(const tlm_tokenizer_t *tokenizer,
                                                 const char *path);

/** Makes a tokenizer from a tokenizer.json of Hugging Face's tokenizers, with the same ids and
 *  decoded texts; docs/tokenizer.md lists its components. Added tokens become special tokens,
 *  before the caller's; so do tokens that tokenizer_config.json, added_tokens.json and
 *  special_tokens_map.json beside it name. options->pattern, if set, replaces the pre_tokenizer.
 *  The post_processor is used where tlm_encode_options_t asks for it. TLM_ERR_UNSUPPORTED, with
 *  the name of the part, for what would change ids and is not supported; TLM_ERR_FORMAT, with the
 *  place, if the file is malformed; see tlm_tokenizer_load for other errors. Owned by the caller.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_load_json(tlm_tokenizer_t **out, const char *path,
                                             const tlm_tokenizer_options_t *options);

/** Writes a tokenizer.json, with all components and special tokens, with which tokenizers produces
 *  the same ids. TLM_ERR_UNSUPPORTED if the model is not byte-level BPE over all bytes, or for a
 *  special token that is not UTF-8, contains a NUL byte, or would be mistaken for another token;
 *  TLM_ERR_NOT_FOUND or TLM_ERR_IO if it cannot be written. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_save_json(const tlm_tokenizer_t *tokenizer, const char *path);

/** Opens a tokenizer of any format, which is found by the content: tokenizer.json, a rank file, a
 *  SentencePiece model, Tekken JSON, GGUF, BERT's vocab.txt. In a directory, the first file that
 *  docs/tokenizer.md lists is read. Options that say how texts are split (pattern, nfc,
 *  ignore_merges) are TLM_ERR_INVALID_ARGUMENT for files that say it themselves.
 *  TLM_ERR_NOT_FOUND if there is no tokenizer; TLM_ERR_UNSUPPORTED, with the name of the part, for
 *  one that is not supported; TLM_ERR_FORMAT, with the place, for a malformed file; see the
 *  function of the format for other errors. Owned by the caller. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_open(tlm_tokenizer_t **out, const char *path,
                                        const tlm_tokenizer_options_t *options);

#ifdef __cplusplus
}
#endif
#endif
