/* Models in others' files from within: options, names of weights, configurations. */
#ifndef TLMI_INTERCHANGE_H
#define TLMI_INTERCHANGE_H

#include "tinylm/model_files.h"
#include "model/model_core.h"
#include "base/dtype.h"
#include "base/json.h"
#include "formats/gguf.h"

/* What the writers and readers of models in others' files share. */

/* Reads a caller's options, which may be NULL, checks that model and tokenizer (may be NULL) can be
 * written, and finds the end token and the family that the files will name. */
tlm_status_t tlmi_model_file_prepare(tlm_model_file_options_t *out, const tlmi_family_t **family,
                                     const char *function, const tlm_model_t *model,
                                     const tlm_tokenizer_t *tokenizer,
                                     const tlm_model_file_options_t *options);

/* "<directory>/<name>"; owned: tlmi_free. NULL on memory failure. */
char *tlmi_path_join(const char *directory, const char *name);

/* The weights of a model as files hold them: other names, other types, and where RoPE turns halves of heads
 * (tlmi_halves), the rows of queries and keys in another order.
 *
 * RoPE turns pairs of a head's elements: here, as in CS336, the neighbors 2i and 2i + 1; in files of halves i
 * and i + d_head / 2. So row j of a head there is row
 *     2 (j mod d_head / 2) + floor(j / (d_head / 2))
 * here, for queries and keys alike; the scores are the same sums in another order. */

/* Whose names and order. */
typedef struct tlmi_convention {
    tlmi_format_t format;
    const tlmi_family_t *family;
} tlmi_convention_t;

#define TLMI_WEIGHT_NAME_SIZE 80

/* ---- Names ------------------------------------------------------------------------------ */

void tlmi_weight_name(char out[TLMI_WEIGHT_NAME_SIZE], const tlm_model_t *model, size_t index,
                      tlmi_format_t format);

/* Index of the parameter with that name; model->num_parameters if there is none. */
size_t tlmi_weight_find(const tlm_model_t *model, const char *name, size_t size,
                        tlmi_format_t format);

/* ---- Values ----------------------------------------------------------------------------- */

/* The element type that a choice of TLM_WEIGHTS_... stands for, and the choice that stands for a type
 * (-1: none does, and models are not read from such weights). */
const tlmi_dtype_t *tlmi_weights_type(int32_t weights);
int32_t tlmi_weights_choice(const tlmi_dtype_t *type);

/* Receives the bytes of a file, a piece at a time. */
typedef tlm_status_t (*tlmi_weight_sink_t)(void *user, const void *bytes, size_t size);

/* Gives a parameter's values to `sink`, as elements of `type`. TLM_ERR_RANGE, naming it behind
 * `path`, if one is too large for the type. */
tlm_status_t tlmi_weight_write(const tlm_model_t *model, size_t index,
                               const tlmi_convention_t *convention, const tlmi_dtype_t *type,
                               const char *path, tlmi_weight_sink_t sink, void *user);

/* ---- From a file to a model ------------------------------------------------------------- */

/* A tensor of a file. */
typedef struct tlmi_found_weight {
    const void
        *data; /* as many bytes as shape and type ask for, at any alignment; NULL: not found */
    const tlmi_dtype_t *type;
    const int64_t *shape;
    int32_t ndim;
    const tlmi_mapping_t *file; /* that `data` lies in */
} tlmi_found_weight_t;

/* Makes a model with room for its tensors, none of them found yet; both owned. TLM_ERR_FORMAT if a file
 * of so many tensors and bytes cannot fill it: before memory is asked for. */
tlm_status_t tlmi_weights_begin(tlm_model_t **model, tlmi_found_weight_t **found,
                                const tlm_model_options_t *options, size_t num_tensors,
                                size_t bytes, const char *path);

/* Notes a tensor. TLM_ERR_UNSUPPORTED if the model has none of that name, TLM_ERR_FORMAT if it was found
 * before, TLM_ERR_SHAPE if it is of another shape. */
tlm_status_t tlmi_weight_place(tlmi_found_weight_t *found, const tlm_model_t *model,
                               tlmi_format_t format, const char *name, size_t size,
                               const tlmi_found_weight_t *tensor, const char *path);

/* Copies all tensors into the model; TLM_ERR_FORMAT, naming it, if one was not found. */
tlm_status_t tlmi_weights_fill(tlm_model_t *model, const tlmi_found_weight_t *found,
                               const tlmi_convention_t *convention, const char *path);

/* The family of that name in a format, or NULL. */
const tlmi_family_t *tlmi_family_find(tlmi_format_t format, const char *name, size_t size);

/* "llama or qwen3": the families' names, for messages, into a caller's buffer; returns it. */
enum { TLMI_FAMILIES_TEXT = 256 };
const char *tlmi_families_text(char *buffer, tlmi_format_t format);

/* Sets what the family fixes. */
void tlmi_family_apply(tlm_model_options_t *options, const tlmi_family_t *family);

/* A model's options as config.json of Hugging Face's transformers. */

/* Of options with defaults resolved. Owned. */
tlm_status_t tlmi_hf_config_write(tlmi_json_t **out, const tlmi_family_t *family,
                                  const tlm_model_options_t *options,
                                  const tlm_model_file_options_t *file);

/* The way back: TLM_ERR_UNSUPPORTED, naming the key, for what the library's models do not have. The
 * tokens go to *file; its `weights` are not touched, for the tensors tell them. Messages begin with
 * `path`. */
tlm_status_t tlmi_hf_config_read(tlm_model_options_t *out, const tlmi_family_t **family,
                                 tlm_model_file_options_t *file, const tlmi_json_t *config,
                                 const char *path);

/* Sets "bos_token_id" and "eos_token_id", null where there is none. */
tlm_status_t tlmi_hf_set_tokens(tlmi_json_t *object, const tlm_model_file_options_t *file);

tlm_status_t tlmi_hf_set_text(tlmi_json_t *object, const char *key, const char *text);

/* Reading folders of Hugging Face's transformers. */

/* Makes the model of a folder, and tells in *file its tokens and the type of its weights. Owned. */
tlm_status_t tlmi_hf_load(tlm_model_t **out, tlm_model_file_options_t *file, const char *directory);

/* Models in GGUF files. */

enum { TLMI_GGUF_KEY_SIZE = 96, TLMI_GGUF_NUM_HEAD_WIDTHS = 2 };

/* "<family>.<name>" into a caller's buffer; returns it. */
const char *tlmi_gguf_key(char buffer[TLMI_GGUF_KEY_SIZE], const tlmi_family_t *family,
                          const char *name);

/* Keys beside attention.key_length that say the width of a head too. */
extern const char *const tlmi_gguf_head_widths[TLMI_GGUF_NUM_HEAD_WIDTHS];

/* Makes the model of a file, tells in *info its tokens and the type of its weights; and unless
 * `tokenizer` is NULL, its tokenizer, or NULL there if it has none. All owned. */
tlm_status_t tlmi_gguf_load(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                            tlm_model_file_options_t *info, const char *path);

#endif
