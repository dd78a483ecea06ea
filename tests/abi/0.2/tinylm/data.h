/* Token files and training batches. docs/guide.md shows both in use. */
#ifndef TINYLM_DATA_H
#define TINYLM_DATA_H

#include "chat.h"
#include "communicator.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A sequence of token ids, mapped from a file or copied from memory. It never changes, so threads
 *  may share it. @since 0.1 */
typedef struct tlm_dataset tlm_dataset_t;

/** Writes a token file. Not thread-safe: use each writer from one thread at a time. @since 0.1 */
typedef struct tlm_token_writer tlm_token_writer_t;

/* Types of the ids in a token file, little-endian. */
#define TLM_TOKENS_AUTO   0 /**< From the header of a .npy file, or the name's .u16 or .u32. */
#define TLM_TOKENS_UINT16 2 /**< 16 bits. */
#define TLM_TOKENS_UINT32 4 /**< 32 bits. */
#define TLM_TOKENS_INT64  8 /**< 64 bits, NumPy's default. It is read, not written. */

/** Opens a token file: .npy (one dimension of uint16, uint32 or int64) or raw ids. token_type is
 *  needed for raw files with other names than .u16 and .u32, and must agree with a .npy header. If
 *  vocab_size > 0, one pass over the file checks that all ids are below it; ids of int64 files are
 *  always checked to fit in uint32. Owned by the caller: tlm_dataset_free. Files over 16 MiB stay
 *  mapped, and one that is cut short while in use may end the process (docs/files.md).
 *  TLM_ERR_RANGE, naming the position, for an id that is too large; TLM_ERR_INVALID_ARGUMENT for a
 *  type that is missing or disagrees; TLM_ERR_UNSUPPORTED for another kind of .npy file,
 *  TLM_ERR_FORMAT, TLM_ERR_NOT_FOUND, TLM_ERR_IO. @since 0.1 */
TLM_API tlm_status_t tlm_dataset_open(tlm_dataset_t **out, const char *path, int32_t token_type,
                                      uint32_t vocab_size);

/** Encodes a text file to a data set in memory, 4 bytes per id, on all threads: the ids are those
 *  of tlm_tokenizer_encode. Owned by the caller. See tlm_tokenizer_encode_file for errors.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_dataset_open_text(tlm_dataset_t **out, const char *path,
                                           const tlm_tokenizer_t *tokenizer);

/** Opens n token files as one data set: their ids one after another. Windows may reach from one
 *  file into the next. The files may be of different types; see tlm_dataset_open for the rest and
 *  for errors. TLM_ERR_INVALID_ARGUMENT if n is 0. @since 0.2 */
TLM_API tlm_status_t tlm_dataset_open_files(tlm_dataset_t **out, const char *const *paths, size_t n,
                                            int32_t token_type, uint32_t vocab_size);

/** Creates a data set from a copy of n ids. Owned by the caller. @since 0.1 */
TLM_API tlm_status_t tlm_dataset_from_ids(tlm_dataset_t **out, const uint32_t *ids, size_t n);

/** Creates a data set from a copy of n ids in rows of `row_length`, the only windows that loaders
 *  and evaluations then take: context_length is row_length - 1. row_length 0: one sequence without
 *  rows. counted (n), of 0 and 1, says which ids count as targets; NULL: all do. Those that do not
 *  come from loaders as TLM_IGNORED_TARGET. Losses are means over the targets that count, of a step
 *  of a trainer over all its batches. Owned by the caller. TLM_ERR_INVALID_ARGUMENT if n is not a
 *  multiple of row_length. @since 0.2 */
TLM_API tlm_status_t tlm_dataset_from_rows(tlm_dataset_t **out, const uint32_t *ids,
                                           const uint8_t *counted, size_t n, size_t row_length);

/** How conversations become rows. @since 0.2 */
typedef struct tlm_chat_data_options {
    /** sizeof(tlm_chat_data_options_t). */
    size_t size;
    /** Ids in a row, at least 2: those of a batch and one more; required. */
    int64_t row_length;
    /** Puts several conversations in one row where they fit, one behind the other. Later ones then
     *  see those before them. Otherwise each begins a row. */
    bool packed;
    /** Counts all tokens, not only answers and completions. */
    bool whole_texts;
    /** Whether a prompt begins with begin_token. */
    bool has_begin_token;
    /** Whether a completion ends with end_token, which counts. */
    bool has_end_token;
    /** Fills rows up; it counts nowhere. */
    uint32_t pad_id;
    /** Used if has_begin_token. */
    uint32_t begin_token;
    /** Used if has_end_token. */
    uint32_t end_token;
} tlm_chat_data_options_t;

#define TLM_CHAT_DATA_OPTIONS_INIT TLM_SIZED(tlm_chat_data_options_t)

/** What was found in a file of conversations. Filled by the library; set `size` first, or start
 *  from TLM_CHAT_DATA_INIT. @since 0.2 */
typedef struct tlm_chat_data {
    /** sizeof(tlm_chat_data_t). */
    size_t size;
    /** Conversations in the file. */
    uint64_t conversations;
    /** Those longer than a row, of which only the beginning is used. */
    uint64_t truncated;
    /** Those of which nothing counts within a row; they are in none. */
    uint64_t left_out;
    /** Rows of the data set. */
    uint64_t rows;
    /** Ids in them without those that fill them up. */
    uint64_t tokens;
    /** Ids that count. */
    uint64_t counted;
} tlm_chat_data_t;

#define TLM_CHAT_DATA_INIT TLM_SIZED(tlm_chat_data_t)

/** Reads conversations from a file of JSON lines to a data set with rows (tlm_dataset_from_rows),
 *  where answers count: {"messages": [{"role": ..., "content": ...}, ...]}, for which there must be
 *  a template, or {"prompt": ..., "completion": ...}. *found may be NULL; set found->size first.
 *  Owned by the caller. Every error names the file and, of a line, its number: TLM_ERR_FORMAT for
 *  what is neither, or no line of which something counts; TLM_ERR_UNSUPPORTED for tools;
 *  TLM_ERR_INVALID_ARGUMENT, naming the field, for options out of range. See
 *  tlm_chat_template_encode too. @since 0.2 */
TLM_API tlm_status_t tlm_dataset_open_chat(tlm_dataset_t **out, tlm_chat_data_t *found,
                                           const char *path, const tlm_tokenizer_t *tokenizer,
                                           const tlm_chat_template_t *chat_template,
                                           const tlm_chat_data_options_t *options);

/** Wraps n ids in the caller's memory as a data set; the memory is borrowed until it is freed.
 *  token_type is TLM_TOKENS_UINT16 or TLM_TOKENS_UINT32, of any alignment. Owned by the caller.
 *  TLM_ERR_INVALID_ARGUMENT for another type or more bytes than memory can have. @since 0.2 */
TLM_API tlm_status_t tlm_dataset_wrap(tlm_dataset_t **out, const void *ids, size_t n,
                                      int32_t token_type);

/** Frees the data set and unmaps its file. NULL is fine. @since 0.1 */
TLM_API void tlm_dataset_free(tlm_dataset_t *dataset);

/** Number of ids; 0 for NULL. @since 0.1 */
TLM_API uint64_t tlm_dataset_length(const tlm_dataset_t *dataset);

/** Copies n ids, from number `offset` on, to `ids`. TLM_ERR_RANGE past the end. @since 0.1 */
TLM_API tlm_status_t tlm_dataset_read(uint32_t *ids, size_t n, const tlm_dataset_t *dataset,
                                      uint64_t offset);

/** Draws batch `step` of a run: rows of `context` ids that begin at places drawn uniformly from the
 *  length - context possible ones. `targets` are the same rows one id later. Both arrays are
 *  (batch, context), row-major, and the caller's. A pure function of data, seed and step.
 *  TLM_ERR_RANGE if length <= context, TLM_ERR_INVALID_ARGUMENT if batch or context is not
 *  positive. @since 0.1 */
TLM_API tlm_status_t tlm_dataset_sample(uint32_t *inputs, uint32_t *targets,
                                        const tlm_dataset_t *dataset, int64_t batch,
                                        int64_t context, uint64_t seed, uint64_t step);

/* ---- Batches ---------------------------------------------------------------------------- */

/** Makes the batches of a run from a data set. Not thread-safe: use each loader from one thread at
 *  a time. @since 0.2 */
typedef struct tlm_loader tlm_loader_t;

/* Which windows, of context_length ids and the next one, are the rows of the batches. @since 0.2 */
#define TLM_ORDER_RANDOM     0 /**< At random places: the batches of tlm_dataset_sample. */
#define TLM_ORDER_SHUFFLED   1 /**< All windows once per epoch, shuffled again for each. */
#define TLM_ORDER_SEQUENTIAL 2 /**< All windows once per epoch, in the order of the data. */

/** How batches are made. @since 0.2 */
typedef struct tlm_loader_options {
    /** sizeof(tlm_loader_options_t). */
    size_t size;
    /** Rows of a batch; required. */
    int64_t batch_size;
    /** Ids in a row; required. */
    int64_t context_length;
    /** Seed of the order. */
    uint64_t seed;
    /** TLM_ORDER_... */
    int32_t order;
    /** The id that ends a document, used if has_document_end. */
    uint32_t document_end;
    /** Whether windows begin where documents do. */
    bool has_document_end;
    uint8_t reserved[3];
    /** Batches made ahead on a thread, at most 1024; 0: none. */
    int32_t prefetch;
} tlm_loader_options_t;

#define TLM_LOADER_OPTIONS_INIT TLM_SIZED(tlm_loader_options_t)

/** Creates a loader at batch 0. Batch n is a pure function of the data, n, and the options except
 *  for prefetch. Windows lie end to end from the first id; the last ids, too few for a window, are
 *  in none. With has_document_end, a window that cuts a document off is followed by one that begins
 *  with that document, unless it is longer than a window; to find the windows the data is read
 *  once, and each takes 8 bytes. Owned by the caller: tlm_loader_free. The data set is borrowed
 *  until then. TLM_ERR_RANGE if length <= context_length, TLM_ERR_INVALID_ARGUMENT, naming the
 *  field, for options out of range. @since 0.2 */
TLM_API tlm_status_t tlm_loader_create(tlm_loader_t **out, const tlm_dataset_t *dataset,
                                       const tlm_loader_options_t *options);

/** Ends the loader's thread and frees the loader. NULL is fine. @since 0.2 */
TLM_API void tlm_loader_free(tlm_loader_t *loader);

/** The next batch: inputs (batch_size, context_length), row-major, and targets, the same rows one
 *  id later. Both are borrowed until the next call of this function or of tlm_loader_seek. In a
 *  forked child the loader continues where it was, with a thread of its own. If no thread can be
 *  started, batches are made in this call. TLM_ERR_RANGE past the last batch whose rows can be
 *  counted (2^63). @since 0.2 */
TLM_API tlm_status_t tlm_loader_next(const uint32_t **inputs, const uint32_t **targets,
                                     tlm_loader_t *loader);

/** Goes to batch `batch`, forwards or back. See tlm_loader_next for errors. @since 0.2 */
TLM_API tlm_status_t tlm_loader_seek(tlm_loader_t *loader, uint64_t batch);

/** Leaves out batches: from the next one on, after every `take` batches the following `skip` are
 *  not made, and tlm_loader_seek keeps to this, beginning with `take` at its batch. So rank r of R
 *  ranks that share steps of A batches seeks to r A / R and takes A / R, skipping A - A / R; a
 *  trainer with a communicator does that. TLM_ERR_INVALID_ARGUMENT if take is 0, or one of them
 *  above INT32_MAX. @since 0.2 */
TLM_API tlm_status_t tlm_loader_set_share(tlm_loader_t *loader, uint64_t take, uint64_t skip);

/** Number of the batch that tlm_loader_next returns next, which a resumed run needs; 0 for NULL.
 *  @since 0.2 */
TLM_API uint64_t tlm_loader_position(const tlm_loader_t *loader);

/** Number of windows per epoch; with TLM_ORDER_RANDOM, as many as lie end to end. 0 for NULL.
 *  @since 0.2 */
TLM_API uint64_t tlm_loader_windows_per_epoch(const tlm_loader_t *loader);

/** Number of batches that hold the windows of an epoch, rounded up. If the windows do not fill the
 *  last batch, the next epoch begins inside it. 0 for NULL. @since 0.2 */
TLM_API uint64_t tlm_loader_batches_per_epoch(const tlm_loader_t *loader);

/* ---- Writing ---------------------------------------------------------------------------- */

/** Creates a writer of the file `path`: .npy if the name ends in that, otherwise raw ids. It writes
 *  under another name until tlm_token_writer_finish. token_type may be TLM_TOKENS_AUTO for names
 *  that end in .u16 or .u32. Owned by the caller: tlm_token_writer_free. TLM_ERR_INVALID_ARGUMENT
 *  if the type is unknown, TLM_ERR_NOT_FOUND or TLM_ERR_IO if the file cannot be created.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_token_writer_create(tlm_token_writer_t **out, const char *path,
                                             int32_t token_type);

/** Appends n ids. TLM_ERR_RANGE, with the position, if one does not fit the type: none of them is
 *  written then, and more may follow. After TLM_ERR_IO the file is lost, and further calls return
 *  TLM_ERR_STATE. @since 0.1 */
TLM_API tlm_status_t tlm_token_writer_push(tlm_token_writer_t *writer, const uint32_t *ids,
                                           size_t n);

/** Completes the file, flushes it to the disk and renames it to `path`; the writer must still be
 *  freed. After TLM_ERR_IO what was at `path` before is still there. TLM_ERR_STATE for a writer
 *  that has finished or failed. @since 0.1 */
TLM_API tlm_status_t tlm_token_writer_finish(tlm_token_writer_t *writer);

/** Frees the writer; a file that was not finished is removed. NULL is fine. @since 0.1 */
TLM_API void tlm_token_writer_free(tlm_token_writer_t *writer);

/** Receives the progress of a long call: `done` of `total`. Any result other than 0 cancels the
 *  call (TLM_ERR_CANCELLED). @since 0.2 */
typedef int32_t (*tlm_progress_callback_t)(void *user, uint64_t done, uint64_t total);

/** Encodes a text file of any size to a token file, on all threads of the library and in a few
 *  megabytes of memory. The ids are those of tlm_tokenizer_encode, the file that of
 *  tlm_token_writer_create; TLM_TOKENS_AUTO for a .npy file chooses the smaller type that holds all
 *  ids. *num_tokens (may be NULL) is their number. `progress` (may be NULL) counts bytes of the
 *  text, on the calling thread. On failure what was at tokens_path is still there. A text over
 *  16 MiB is mapped and must not be cut short meanwhile (docs/files.md). See tlm_tokenizer_encode
 *  and tlm_token_writer_push for errors; TLM_ERR_NOT_FOUND or TLM_ERR_IO if the text cannot be
 *  read. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_file(uint64_t *num_tokens,
                                               const tlm_tokenizer_t *tokenizer,
                                               const char *text_path, const char *tokens_path,
                                               int32_t token_type, tlm_progress_callback_t progress,
                                               void *user);

/** The same for one of num_parts parts of the text, of about equal sizes, so that several processes
 *  or machines can share it, such as the ranks of a communicator: the token files of all parts, one
 *  after another (tlm_dataset_open_files), have the ids of the whole text. It is cut where a
 *  pretoken ends whatever follows. Where the tokenizer knows no such place (it normalizes other
 *  than by NFC, drops merges, or splits by a pattern that has no name), part 0 is the whole
 *  text and the other parts are empty. `progress` counts bytes of the part. TLM_ERR_RANGE unless
 *  0 <= part < num_parts; see tlm_tokenizer_encode_file for other errors. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_file_part(uint64_t *num_tokens,
                                                    const tlm_tokenizer_t *tokenizer,
                                                    const char *text_path, const char *tokens_path,
                                                    int32_t token_type, int32_t part,
                                                    int32_t num_parts,
                                                    tlm_progress_callback_t progress, void *user);

/** How text files become a token file. @since 0.2 */
typedef struct tlm_encode_files_options {
    /** sizeof(tlm_encode_files_options_t). */
    size_t size;
    /** TLM_TOKENS_...; AUTO as for tlm_tokenizer_encode_file. */
    int32_t token_type;
    uint32_t reserved;
    /** Whose ranks share the work; NULL: this process alone. Borrowed during the call. */
    tlm_communicator_t *communicator;
    /** Counts bytes of the texts of all ranks, on the thread that made the call; may be NULL. A
     *  rank that cancels ends the call of all. */
    tlm_progress_callback_t progress;
    /** First argument of `progress`. */
    void *user;
} tlm_encode_files_options_t;

#define TLM_ENCODE_FILES_OPTIONS_INIT TLM_SIZED(tlm_encode_files_options_t)

/** Encodes num_texts text files to one token file: their ids one after another, as those of
 *  tlm_tokenizer_encode_file; NULL options are the defaults. The ranks of a communicator make the
 *  call together, with the same texts, and each writes its ids to their place, so that the file has
 *  the same bytes on any number of ranks. It must lie in a directory that all of them write to, and
 *  is renamed once all are done. A text that cannot be cut (see tlm_tokenizer_encode_file_part) is
 *  one rank's work. *num_tokens (may be NULL) is the number of ids. If a rank fails, all do, with
 *  its number, and what was at tokens_path is still there. TLM_ERR_INVALID_ARGUMENT if the ranks'
 *  texts, tokenizers or types differ; see tlm_tokenizer_encode_file for other errors. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_files(uint64_t *num_tokens,
                                                const tlm_tokenizer_t *tokenizer,
                                                const char *const *text_paths, size_t num_texts,
                                                const char *tokens_path,
                                                const tlm_encode_files_options_t *options);

#ifdef __cplusplus
}
#endif
#endif
