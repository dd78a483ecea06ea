/* Private declarations for models in other projects' formats: options, weight names,
 * configurations. */
#ifndef TLMI_INTERCHANGE_H
#define TLMI_INTERCHANGE_H

#include "tinylm/model_files.h"
#include "model/model_core.h"
#include "base/dtype.h"
#include "base/json.h"
#include "formats/gguf.h"

/* Shared by the readers and writers of all formats. */

/* Returns "<directory>/<name>", or NULL if memory allocation fails. Free it with tlmi_free. */
char *tlmi_path_join(const char *directory, const char *name);

/* The weights of a model as files store them. Their names and types differ from the library's.
 * Where the file's RoPE rotates halves of heads (tlmi_halves), the rows of queries and keys are
 * also in a different order.
 *
 * RoPE rotates pairs of a head's elements. The library pairs neighbors 2i and 2i + 1, as CS336
 * does; files with halves pair i and i + d_head / 2. So row j of a head in such a file is row
 *     2 (j mod d_head / 2) + floor(j / (d_head / 2))
 * in the library. Queries and keys use the same order, so the attention scores are the same sums
 * with the terms in a different order. */

/* Which format's names and which family's row order a file uses. */
typedef struct tlmi_convention {
    tlmi_format_t format;
    const tlmi_family_t *family;
} tlmi_convention_t;

/* A model that is written to a file or a folder. */
typedef struct tlmi_model_file {
    const char *path;
    const tlm_model_t *model;
    const tlm_tokenizer_t *tokenizer; /* may be NULL */
    tlm_model_file_options_t options;
    tlmi_convention_t convention;
    float *rope_factors; /* of GGUF; NULL: none. Owned by the writer of GGUF. */
    int64_t num_rope_factors;
} tlmi_model_file_t;

/* Checks what a save call was given: `path`, which the call's parameter `path_name` holds, and a
 * model, both not NULL; options and a tokenizer, which may be. Reads the options and finds the end
 * token and the family that the files will name. */
tlm_status_t tlmi_model_file_prepare(tlmi_model_file_t *out, const char *function,
                                     tlmi_format_t format, const char *path_name, const char *path,
                                     const tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                                     const tlm_model_file_options_t *options);

#define TLMI_WEIGHT_NAME_SIZE 80

/* ---- Names ------------------------------------------------------------------------------ */

/* A tensor of a file: one parameter, or several of equal columns, whose rows follow each other. */
typedef struct tlmi_file_tensor {
    char name[TLMI_WEIGHT_NAME_SIZE];
    size_t parameters[TLMI_MAX_FUSED];
    int32_t count;
    int64_t shape[2]; /* of the tensor, transposed or not */
    int32_t ndim;
    bool transposed; /* its columns are the rows of the parameters */
} tlmi_file_tensor_t;

/* Describes the tensor that begins with parameter `index`. Returns false if that parameter follows
 * another one in its tensor. */
bool tlmi_file_tensor(tlmi_file_tensor_t *out, const tlm_model_t *model, size_t index,
                      const tlmi_convention_t *convention);

/* ---- Values ----------------------------------------------------------------------------- */

/* A parameter as rows: those of a matrix, or single elements for gains in a head's order. */
typedef struct tlmi_rows {
    int64_t count, columns;
    int64_t width; /* of heads whose rows the convention reorders; 0: same order */
} tlmi_rows_t;

tlmi_rows_t tlmi_rows_of(const tlm_model_t *model, size_t index,
                         const tlmi_convention_t *convention);

/* Returns the library's row for row `row` of the file. */
static inline int64_t tlmi_own_row(int64_t row, int64_t width)
{
    const int64_t j = width == 0 ? 0 : row % width;

    return width == 0 ? row : row - j + 2 * (j % (width / 2)) + j / (width / 2);
}

/* What the file's gains are less than those of the model. */
float tlmi_gain_offset(const tlm_model_t *model, size_t index, const tlmi_convention_t *convention);

/* What a TLM_WEIGHTS_... value stands for. */
typedef struct tlmi_weight_choice {
    const char *name;
    int32_t type;           /* of most matrices */
    int32_t important_type; /* of those in which errors matter most; TLM_FLOAT32: the same */
    int32_t gguf_file_type; /* "general.file_type" */
} tlmi_weight_choice_t;

extern const tlmi_weight_choice_t tlmi_weight_choices[];
extern const int32_t tlmi_num_weight_choices;

/* The type of a tensor in a file of such weights. Vectors and tables of positions are float32 in GGUF
 * files of blocks; matrices whose rows are not whole blocks get the next smaller blocks, or float16. */
const tlmi_dtype_t *tlmi_weight_type(const tlm_model_t *model, const tlmi_file_tensor_t *tensor,
                                     const tlmi_convention_t *convention, int32_t weights);

/* Returns the choice with that type for all matrices, TLM_WEIGHTS_FLOAT32 if there is none. */
int32_t tlmi_weights_choice(const tlmi_dtype_t *type);

/* Returns the choice of blocks with that "general.file_type", or -1. */
int32_t tlmi_weights_of_file_type(int64_t file_type);

/* Receives the bytes of a file, one piece per call. */
typedef tlm_status_t (*tlmi_weight_sink_t)(void *user, const void *bytes, size_t size);

/* Passes a tensor's values to `sink` as elements of `type`; what has that type already keeps its
 * bits. Returns TLM_ERR_RANGE if a value is too large for the type, or NaN or infinity in blocks; the
 * message starts with `path` and names the parameter. */
tlm_status_t tlmi_weight_write(const tlm_model_t *model, const tlmi_file_tensor_t *tensor,
                               const tlmi_convention_t *convention, const tlmi_dtype_t *type,
                               const char *path, tlmi_weight_sink_t sink, void *user);

/* ---- From a file to a model ------------------------------------------------------------- */

/* A tensor in a file. */
typedef struct tlmi_found_weight {
    /* The bytes that shape and type require, with any alignment. NULL if not found. */
    const void *data;
    const tlmi_dtype_t *type;
    const int64_t *shape;
    int32_t ndim;
    tlmi_mapping_t *file; /* the file that contains `data` */
    /* In `found`: the parameter is columns first .. of the file's rows of `columns` elements. */
    bool transposed;
    int64_t first, columns;
} tlmi_found_weight_t;

/* Creates a model and an array with one entry per parameter, all not found yet; the caller owns
 * both. With `keep`, the model's parameters are made by tlmi_weights_fill. Returns TLM_ERR_FORMAT,
 * before allocating memory, if a file with that many tensors and bytes cannot fill the model. */
tlm_status_t tlmi_weights_begin(tlm_model_t **model, tlmi_found_weight_t **found,
                                const tlm_model_options_t *options, bool keep, size_t num_tensors,
                                size_t bytes, const char *path);

/* Records a tensor in `found`. Returns TLM_ERR_UNSUPPORTED if the model has no tensor with that
 * name, TLM_ERR_FORMAT if it was already found, and TLM_ERR_SHAPE if its shape differs. */
tlm_status_t tlmi_weight_place(tlmi_found_weight_t *found, const tlm_model_t *model,
                               const tlmi_convention_t *convention, const char *name, size_t size,
                               const tlmi_found_weight_t *tensor, const char *path);

/* Copies all tensors into the model, as float32; in a model made to keep its weights, matrices stay
 * as they are in the file, and in the file itself where that is mapped. Returns TLM_ERR_FORMAT, naming
 * it, if one was not found. */
tlm_status_t tlmi_weights_fill(tlm_model_t *model, const tlmi_found_weight_t *found,
                               const tlmi_convention_t *convention, const char *path);

/* Bytes of a weight of this type and shape, whose rows are whole blocks. */
uint64_t tlmi_weight_bytes(const tlmi_dtype_t *type, const int64_t *shape, int32_t ndim);

/* Bytes that the parameters take in the file; all were found. */
uint64_t tlmi_weights_bytes(const tlm_model_t *model, const tlmi_found_weight_t *found);

/* Returns the family with that name in the format, or NULL. */
const tlmi_family_t *tlmi_family_find(tlmi_format_t format, const char *name, size_t size);

/* Writes the families' names, such as "llama or qwen3", into `buffer` for a message; returns it. */
enum { TLMI_FAMILIES_TEXT = 256 };
const char *tlmi_families_text(char *buffer, tlmi_format_t format);

/* Returns the setting of that option in a family's list, or NULL. */
const tlmi_setting_t *tlmi_setting_find(const tlmi_setting_t *settings, const char *option);

/* Sets the options that the family fixes. */
void tlmi_family_apply(tlm_model_options_t *options, const tlmi_family_t *family);

/* A model's options as the config.json of Hugging Face transformers. */

/* `options` must have its defaults resolved. The caller owns *out. */
tlm_status_t tlmi_hf_config_write(tlmi_json_t **out, const tlmi_family_t *family,
                                  const tlm_model_options_t *options,
                                  const tlm_model_file_options_t *file);

/* The reverse. Returns TLM_ERR_UNSUPPORTED, naming the key, for features that the library's models
 * do not have. Stores the tokens in *file and leaves its `weights` unchanged, because the tensors
 * determine it. Messages start with `path`. */
tlm_status_t tlmi_hf_config_read(tlm_model_options_t *out, const tlmi_family_t **family,
                                 tlm_model_file_options_t *file, const tlmi_json_t *config,
                                 const char *path);

/* Parts of the two above: RoPE, and what blocks have beyond the table of options. Reading comes after
 * that of the table, and RoPE after the rest. */
tlm_status_t tlmi_hf_rope_read(tlm_model_options_t *options, const tlmi_family_t *family,
                               const tlmi_json_t *config, const char *path);
tlm_status_t tlmi_hf_rope_write(tlmi_json_t *config, const tlmi_family_t *family,
                                const tlm_model_options_t *options);
tlm_status_t tlmi_hf_blocks_read(tlm_model_options_t *options, const tlmi_family_t *family,
                                 const tlmi_json_t *config, const char *path);
tlm_status_t tlmi_hf_blocks_write(tlmi_json_t *config, const tlmi_family_t *family,
                                  const tlm_model_options_t *options);

/* Fail with TLM_ERR_UNSUPPORTED for a key with a value that asks for what models here do not have,
 * and with TLM_ERR_FORMAT for a value that the key cannot have. */
tlm_status_t tlmi_config_refuse(const char *path, const char *key, const tlmi_json_t *value,
                                const char *wanted);
tlm_status_t tlmi_config_bad_key(const char *path, const char *key, const char *wanted);

/* Read a positive number or a flag; `missing` if the key is missing or null (TLMI_REQUIRED: it must
 * not be). */
tlm_status_t tlmi_config_number(double *out, const tlmi_json_t *object, const char *key,
                                double missing, const char *path);
tlm_status_t tlmi_config_flag(bool *out, const tlmi_json_t *object, const char *key, bool missing,
                              const char *path);

/* Adds the tokens of "bos_token_id" and "eos_token_id" to those that *file has. */
tlm_status_t tlmi_hf_tokens_read(tlm_model_file_options_t *file, const tlmi_json_t *object,
                                 int64_t vocab_size, const char *path);

/* Adds an end token, unless it is there. */
tlm_status_t tlmi_add_end_token(tlm_model_file_options_t *file, uint32_t id, const char *path);

/* Sets "bos_token_id" and "eos_token_id", each to null if the token does not exist. */
tlm_status_t tlmi_hf_set_tokens(tlmi_json_t *object, const tlm_model_file_options_t *file);

/* Reads a JSON file that must hold an object; the caller owns *out. */
tlm_status_t tlmi_hf_read_object(tlmi_json_t **out, const char *path);

/* Writes a value as text and frees it. */
tlm_status_t tlmi_hf_write_json(const char *path, tlmi_json_t *value);

tlm_status_t tlmi_hf_set_text(tlmi_json_t *object, const char *key, const char *text);

/* Reading Hugging Face transformers folders. */

/* Loads a folder's model and stores its tokens and weight type in *file. The caller owns *out. */
tlm_status_t tlmi_hf_load(tlm_model_t **out, tlm_model_file_options_t *file, const char *directory,
                          bool keep);

/* Models in GGUF files. */

enum { TLMI_GGUF_KEY_SIZE = 96, TLMI_GGUF_NUM_HEAD_WIDTHS = 2 };

/* Writes "<family>.<name>" into `buffer` and returns it. */
const char *tlmi_gguf_key(char buffer[TLMI_GGUF_KEY_SIZE], const tlmi_family_t *family,
                          const char *name);

/* Refuse a key of the family that no option has, unless its value changes nothing, and files of other
 * types than models: TLM_ERR_UNSUPPORTED, with key and value. */
tlm_status_t tlmi_gguf_check_key(const tlmi_gguf_value_t *value, const tlmi_family_t *family,
                                 const char *path);
tlm_status_t tlmi_gguf_check_general(const tlmi_gguf_t *file, const char *path);

/* Keys besides attention.key_length that also give the width of a head. */
extern const char *const tlmi_gguf_head_widths[TLMI_GGUF_NUM_HEAD_WIDTHS];

/* What the table of options has no key for: gguf_blocks.c. */
extern const char tlmi_gguf_rope_factors[]; /* the tensor of factors by which angles are divided */
bool tlmi_gguf_is_block_key(const char *key, size_t size); /* without the family */
tlm_status_t tlmi_gguf_blocks_read(tlm_model_options_t *options, const tlmi_gguf_t *file,
                                   const tlmi_family_t *family, const char *path);

/* Returns TLM_ERR_UNSUPPORTED, naming the option, for a model whose files llama.cpp would take for
 * another. */
tlm_status_t tlmi_gguf_check(const char *function, const tlmi_family_t *family,
                             const tlm_model_options_t *options);
tlm_status_t tlmi_gguf_put_rope(tlmi_gguf_writer_t *writer, const tlmi_family_t *family,
                                const tlm_model_options_t *options);

/* Makes the factors of angles that the model's files need; the caller owns *out: NULL, and n 0, for
 * none. */
tlm_status_t tlmi_gguf_make_factors(float **out, int64_t *n, const tlm_model_options_t *options);

/* Recovers the short decimal behind a rounded float32: 9.99999974737875e-06 becomes 1e-5. */
double tlmi_gguf_undo_rounding(double number);

const tlmi_gguf_tensor_t *tlmi_gguf_find_tensor(const tlmi_gguf_t *file, const char *name);

/* The files of a model, which may be split over several. */
typedef struct tlmi_gguf_shards {
    tlmi_gguf_t *files;
    char **paths;
    size_t n;
    tlmi_gguf_t whole; /* without a mapping: the keys of the first file, and all tensors in order */
    size_t bytes;      /* of all files */
} tlmi_gguf_shards_t;

/* Opens the file at a path and, if the model is split, all others. Returns TLM_ERR_UNSUPPORTED for a
 * name that does not tell theirs, TLM_ERR_NOT_FOUND for one that is missing, and TLM_ERR_FORMAT for
 * one that is not of the model. On failure *out is untouched. */
tlm_status_t tlmi_gguf_shards_open(tlmi_gguf_shards_t *out, const char *path);
void tlmi_gguf_shards_close(tlmi_gguf_shards_t *shards);

/* Returns which file holds a tensor of `whole`. */
size_t tlmi_gguf_shards_find(const tlmi_gguf_shards_t *shards, size_t tensor);

/* Loads the model in a file and stores its tokens and weight type in *info. Unless `tokenizer` is
 * NULL, also sets *tokenizer to the file's tokenizer, or to NULL if it has none. The caller owns
 * both. */
tlm_status_t tlmi_gguf_load(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                            tlm_model_file_options_t *info, const char *path, bool keep);

#endif
