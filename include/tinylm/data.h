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
#define TLM_TOKENS_INT64  8 /* NumPy's default; is read, not written */

/** Maps a token file: .npy (one dimension, little-endian uint16, uint32 or int64) or raw ids.
 *  token_type is needed for raw files with other names and must agree with a .npy header.
 *  vocab_size > 0 checks that all ids are below it (one pass over the file), and those of int64
 *  are always checked to fit uint32; TLM_ERR_RANGE names the position of the first that does not.
 *  Owned by the caller. Files over 16 MiB stay mapped, and one that is cut short in use may end
 *  the process (docs/files.md).
 *  TLM_ERR_NOT_FOUND, TLM_ERR_IO, TLM_ERR_FORMAT, TLM_ERR_UNSUPPORTED (another kind of .npy) or
 *  TLM_ERR_INVALID_ARGUMENT (a type that is missing or disagrees) otherwise. @since 0.1 */
TLM_API tlm_status_t tlm_dataset_open(tlm_dataset_t **out, const char *path, int32_t token_type,
                                      uint32_t vocab_size);

/** A data set over a copy of n ids in memory. Owned by the caller. @since 0.1 */
TLM_API tlm_status_t tlm_dataset_from_ids(tlm_dataset_t **out, const uint32_t *ids, size_t n);

/** A data set over n ids in the caller's memory, borrowed until it is freed: token_type
 *  TLM_TOKENS_UINT16 or TLM_TOKENS_UINT32, little-endian, of any alignment. Owned by the caller.
 *  TLM_ERR_INVALID_ARGUMENT for another type or more bytes than memory has. @since 0.2 */
TLM_API tlm_status_t tlm_dataset_wrap(tlm_dataset_t **out, const void *ids, size_t n,
                                      int32_t token_type);

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

/* ---- Batches ---------------------------------------------------------------------------- */

/** Makes the batches of a run from a data set. Externally synchronised. */
typedef struct tlm_loader tlm_loader_t;

/* Which windows, of context_length ids and the one that follows, are the rows of the batches. */
#define TLM_ORDER_RANDOM     0 /* starts drawn at random: the batches of tlm_dataset_sample */
#define TLM_ORDER_SHUFFLED   1 /* all windows once an epoch, shuffled anew in each */
#define TLM_ORDER_SEQUENTIAL 2 /* all windows once an epoch, in the order of the data */

/** How batches are made. @since 0.2 */
typedef struct tlm_loader_options {
    size_t size;
    int64_t batch_size;     /* rows; there is no default */
    int64_t context_length; /* ids in a row; there is no default */
    uint64_t seed;
    int32_t order;         /* TLM_ORDER_... */
    uint32_t document_end; /* the id that ends a document, if has_document_end */
    bool has_document_end; /* windows begin where documents do */
    uint8_t reserved[3];
    int32_t prefetch; /* batches made ahead on a thread, at most 1024; 0: none */
} tlm_loader_options_t;

#define TLM_LOADER_OPTIONS_INIT TLM_SIZED(tlm_loader_options_t)

/** Makes a loader at batch 0. Batch n is a pure function of the data, the options but prefetch, and
 *  n. Windows lie end to end from the first id; the last ids, too few for one, are in none. With
 *  has_document_end a window that cuts a document off is followed by one that begins with that
 *  document, unless it is longer than a window; the data is read once to find them, and a window
 *  takes 8 bytes. Owned by the caller; the data set is borrowed until the loader is freed.
 *  TLM_ERR_RANGE if length <= context_length, TLM_ERR_INVALID_ARGUMENT, naming the field, for
 *  options out of range. @since 0.2 */
TLM_API tlm_status_t tlm_loader_create(tlm_loader_t **out, const tlm_dataset_t *dataset,
                                       const tlm_loader_options_t *options);

/** Ends the thread and frees the loader. NULL is fine. @since 0.2 */
TLM_API void tlm_loader_free(tlm_loader_t *loader);

/** The next batch: inputs (batch_size, context_length), row-major, and targets, the same rows one
 *  id later. Borrowed until the next call of this function or of tlm_loader_seek. In a forked
 *  child the loader goes on from where it was, with a thread of its own. If no thread can be
 *  started, batches are made in this call. TLM_ERR_RANGE past the last batch whose rows can be
 *  counted (2^63). @since 0.2 */
TLM_API tlm_status_t tlm_loader_next(const uint32_t **inputs, const uint32_t **targets,
                                     tlm_loader_t *loader);

/** Goes to batch `batch`, forwards or back. TLM_ERR_RANGE as of tlm_loader_next. @since 0.2 */
TLM_API tlm_status_t tlm_loader_seek(tlm_loader_t *loader, uint64_t batch);

/** The number of the batch that tlm_loader_next gives next: what a resumed run needs to know; 0 of
 *  NULL. @since 0.2 */
TLM_API uint64_t tlm_loader_position(const tlm_loader_t *loader);

/** Windows in an epoch; in TLM_ORDER_RANDOM, as many as lie end to end. 0 of NULL. @since 0.2 */
TLM_API uint64_t tlm_loader_windows_per_epoch(const tlm_loader_t *loader);

/** Batches that hold the windows of an epoch, rounded up: rows are counted through, so the next
 *  epoch begins within a batch where the windows do not fill the last one. 0 of NULL. @since 0.2 */
TLM_API uint64_t tlm_loader_batches_per_epoch(const tlm_loader_t *loader);

/* ---- Writing ---------------------------------------------------------------------------- */

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
 *  there. A text over 16 MiB is mapped and must not be cut short meanwhile (docs/files.md). Errors
 *  are those of tlm_tokenizer_encode and of the token writer; TLM_ERR_NOT_FOUND or TLM_ERR_IO if
 *  the text cannot be read. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_file(uint64_t *num_tokens,
                                               const tlm_tokenizer_t *tokenizer,
                                               const char *text_path, const char *tokens_path,
                                               int32_t token_type, tlm_progress_callback_t progress,
                                               void *user);

#ifdef __cplusplus
}
#endif
#endif
