/* Private declarations for data sets and loaders. */
#ifndef TLMI_DATA_CORE_H
#define TLMI_DATA_CORE_H

#include "tinylm/data.h"

/* A token file's element type and container, as its reader and writer determine them. */

bool tlmi_path_ends_with(const char *path, const char *suffix);

/* Finds the bytes per token from token_type or, if that is TLM_TOKENS_AUTO, from a file name that
 * ends in .u16 or .u32. Sets *item_size to 0 if neither determines it. The only error is an invalid
 * token_type. */
tlm_status_t tlmi_token_item_size(int32_t *item_size, const char *function, const char *path,
                                  int32_t token_type);

/* The type of the ids that a tokenizer writes to a file: token_type, or for a .npy file the smallest
 * one that holds all its ids. */
int32_t tlmi_written_token_type(const tlm_tokenizer_t *tokenizer, const char *path,
                                int32_t token_type);

/* A writer of a file that another process has begun (tlmi_writer_join): it pushes ids where it seeks
 * to, and finishes before that process does, which seeks to the end first. A NULL name begins a
 * file, as tlm_token_writer_create does. */
tlm_status_t tlmi_token_writer_join(tlm_token_writer_t **out, const char *path, int32_t token_type,
                                    const char *aside_name);
const char *tlmi_token_writer_aside_name(const tlm_token_writer_t *writer); /* borrowed */
tlm_status_t tlmi_token_writer_seek(tlm_token_writer_t *writer, uint64_t position);

/* tlm_tokenizer_encode_files with another number of bytes that a rank encodes at a time. */
tlm_status_t tlmi_encode_files(uint64_t *num_tokens, const tlm_tokenizer_t *tokenizer,
                               const char *const *text_paths, size_t num_texts,
                               const char *tokens_path, const tlm_encode_files_options_t *options,
                               uint64_t block_size);

/* Ids of a row of the data set, each of them with the one after it; 0: it has no rows. */
uint64_t tlmi_dataset_row_length(const tlm_dataset_t *dataset);

/* Whether some of its ids do not count as targets. */
bool tlmi_dataset_is_masked(const tlm_dataset_t *dataset);

/* tlm_dataset_read, with TLM_IGNORED_TARGET for ids that do not count. */
tlm_status_t tlmi_dataset_read_targets(uint32_t *ids, size_t n, const tlm_dataset_t *dataset,
                                       uint64_t offset);

/* How many of n ids from number `offset` on, which there must be, count. */
uint64_t tlmi_dataset_counted(const tlm_dataset_t *dataset, uint64_t offset, uint64_t n);

/* How many targets of `rows` rows of a loader count, from number `row` on. */
uint64_t tlmi_loader_counted(const tlm_loader_t *loader, uint64_t row, uint64_t rows);

/* Makes a data set of n ids in memory that becomes its own; on failure it stays the caller's. */
tlm_status_t tlmi_dataset_adopt(tlm_dataset_t **out, uint32_t *ids, size_t n);

/* Numbers the rows of training batches. Each row is a window of the data: `context` ids and the id
 * that follows them. The start of row n is a pure function of (data, options, n). */

#define TLMI_NO_DOCUMENT_END UINT64_MAX

typedef struct tlmi_window_order {
    int32_t order; /* TLM_ORDER_... */
    uint64_t seed;
    uint64_t context;
    uint64_t num_starts;   /* positions that TLM_ORDER_RANDOM draws from */
    uint64_t num_windows;  /* per epoch */
    uint64_t stride;       /* from one window to the next */
    uint64_t *starts;      /* of windows, if they align with documents; else NULL */
    bool has_rows;         /* windows are the rows of the data, and begin nowhere else */
    uint64_t document_end; /* the id that ends a document, or TLMI_NO_DOCUMENT_END */
} tlmi_window_order_t;

/* The options must be valid and the data longer than the context. Free with the function below. */
tlm_status_t tlmi_window_order_create(tlmi_window_order_t *out, const tlm_dataset_t *dataset,
                                      const tlm_loader_options_t *options);
void tlmi_window_order_free(tlmi_window_order_t *order);

/* Returns the position of the first id of row `row`. The whole window lies within the data. */
uint64_t tlmi_window_start(const tlmi_window_order_t *order, uint64_t row);

/* What a loader reads and makes. */

/* Where its rows come from. */
typedef struct tlmi_loader_source {
    uint64_t seed, document_end; /* or TLMI_NO_DOCUMENT_END */
    int32_t order;               /* TLM_ORDER_... */
    uint64_t length;             /* of the data */
} tlmi_loader_source_t;

void tlmi_loader_source(tlmi_loader_source_t *out, const tlm_loader_t *loader);

/* Returns the rows per batch and the ids per row. */
void tlmi_loader_shape(int64_t *batch_size, int64_t *context, const tlm_loader_t *loader);

/* Batches of a loader that have equally many rows. */
typedef struct tlmi_batch_stage {
    uint64_t first; /* the number of its first batch; it ends where the next stage begins */
    uint64_t row;   /* the first row of that batch */
    uint64_t rows;  /* of each batch */
} tlmi_batch_stage_t;

/* The rows of batch `batch`, one after another from the returned one on. */
uint64_t tlmi_batch_rows(uint64_t *rows, const tlmi_batch_stage_t *stages, size_t n,
                         uint64_t batch);

/* Goes to batch `batch` of these stages, and on through them. They are copied, begin with batch 0, and
 * have at most batch_size rows each, the last one as many. A public call that seeks or takes a
 * batch leaves them again. */
tlm_status_t tlmi_loader_follow(tlm_loader_t *loader, const tlmi_batch_stage_t *stages, size_t n,
                                uint64_t batch);

/* Whether the loader's next batch has these rows. */
bool tlmi_loader_is_at(const tlm_loader_t *loader, uint64_t row, uint64_t rows);

/* tlm_loader_next, of a batch with as many rows as its stage says. */
tlm_status_t tlmi_loader_next(const uint32_t **inputs, const uint32_t **targets,
                              tlm_loader_t *loader);

#endif
