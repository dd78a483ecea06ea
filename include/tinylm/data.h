/* Token files and training batches. docs/guide.md shows both in use. */
#ifndef TINYLM_DATA_H
#define TINYLM_DATA_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A sequence of token ids, mapped from a file or copied from memory. Immutable: share it
 *  freely. */
typedef struct tlm_dataset tlm_dataset_t;

/** Writes a token file. Externally synchronised. */
typedef struct tlm_token_writer tlm_token_writer_t;

#define TLM_TOKENS_AUTO   0 /* by the file: .npy says its type, .u16 and .u32 by name */
#define TLM_TOKENS_UINT16 2 /* little-endian */
#define TLM_TOKENS_UINT32 4

/** Maps a token file: .npy (one dimension, little-endian uint16 or uint32) or raw ids. token_type
 *  is needed for raw files with other names and must agree with a .npy header. vocab_size > 0
 *  checks that all ids are below it (one pass over the file); TLM_ERR_RANGE names the position of
 *  the first that is not. Owned by the caller; the file must not shrink meanwhile.
 *  TLM_ERR_NOT_FOUND, TLM_ERR_IO, TLM_ERR_FORMAT, TLM_ERR_UNSUPPORTED (another kind of .npy) or
 *  TLM_ERR_INVALID_ARGUMENT (a type that is missing or disagrees) otherwise. @since 0.1 */
TLM_API tlm_status_t tlm_dataset_open(tlm_dataset_t **out, const char *path, int32_t token_type,
                                      uint32_t vocab_size);

/** A data set over a copy of n ids in memory. Owned by the caller. @since 0.1 */
TLM_API tlm_status_t tlm_dataset_from_ids(tlm_dataset_t **out, const uint32_t *ids, size_t n);

/** Frees the data set and unmaps its file. NULL is fine. @since 0.1 */
TLM_API void tlm_dataset_free(tlm_dataset_t *dataset);

/** Number of ids; 0 of NULL. @since 0.1 */
TLM_API uint64_t tlm_dataset_length(const tlm_dataset_t *dataset);

/** Copies ids offset .. offset+n-1 to ids[0 .. n-1]. TLM_ERR_RANGE past the end. @since 0.1 */
TLM_API tlm_status_t tlm_dataset_read(uint32_t *ids, size_t n, const tlm_dataset_t *dataset,
                                      uint64_t offset);

/** Batch `step` of a seeded run: rows of `context` ids from starts drawn uniformly from the length
 *  - context valid ones; targets are the same rows one id later. Both arrays (batch, context),
 *  row-major, the caller's. A pure function of (data, seed, step). TLM_ERR_RANGE if length <=
 *  context, TLM_ERR_INVALID_ARGUMENT unless batch and context are positive. @since 0.1 */
TLM_API tlm_status_t tlm_dataset_sample(uint32_t *inputs, uint32_t *targets,
                                        const tlm_dataset_t *dataset, int64_t batch,
                                        int64_t context, uint64_t seed, uint64_t step);

/** Opens `path` for writing (aside, renamed by finish): .npy if it ends so, raw otherwise.
 *  token_type may be TLM_TOKENS_AUTO for names that end in .u16 or .u32. Owned by the caller.
 *  TLM_ERR_INVALID_ARGUMENT if the type is not known, TLM_ERR_NOT_FOUND or TLM_ERR_IO if the file
 *  cannot be made. @since 0.1 */
TLM_API tlm_status_t tlm_token_writer_create(tlm_token_writer_t **out, const char *path,
                                             int32_t token_type);

/** Appends n ids. TLM_ERR_RANGE, with the position, for one that does not fit the type: then none
 *  are written, and more may follow. After TLM_ERR_IO the file is given up and each call is
 *  TLM_ERR_STATE. @since 0.1 */
TLM_API tlm_status_t tlm_token_writer_push(tlm_token_writer_t *writer, const uint32_t *ids,
                                           size_t n);

/** Completes, flushes to disk and renames the file; the writer must still be freed. TLM_ERR_IO
 *  leaves what was at `path` before; TLM_ERR_STATE for a writer that is finished or has failed.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_token_writer_finish(tlm_token_writer_t *writer);

/** Frees the writer; without finish nothing is left on disk. NULL is fine. @since 0.1 */
TLM_API void tlm_token_writer_free(tlm_token_writer_t *writer);

/** Receives how far a long call is: `done` of `total`. Anything but 0 cancels the call
 *  (TLM_ERR_CANCELLED). @since 0.2 */
typedef int32_t (*tlm_progress_callback_t)(void *user, uint64_t done, uint64_t total);

/** Encodes a text file of any size to a token file, on all threads of the library and in a few
 *  megabytes of memory; the file as of tlm_token_writer_create, and the ids as of
 *  tlm_tokenizer_encode. TLM_TOKENS_AUTO for a .npy file is the smaller type that holds all ids.
 *  *num_tokens (may be NULL) is how many there are. `progress` (may be NULL) is called on the
 *  calling thread with bytes of the text. On failure nothing is left at tokens_path but what was
 *  there. The text must not shrink meanwhile. Errors as of tlm_tokenizer_encode and of the token
 *  writer; TLM_ERR_NOT_FOUND or TLM_ERR_IO if the text cannot be read. @since 0.2 */
TLM_API tlm_status_t tlm_tokenize_file(uint64_t *num_tokens, const tlm_tokenizer_t *tokenizer,
                                       const char *text_path, const char *tokens_path,
                                       int32_t token_type, tlm_progress_callback_t progress,
                                       void *user);

#ifdef __cplusplus
}
#endif
#endif
