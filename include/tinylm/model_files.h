/* Models in files of others: folders of Hugging Face's transformers, and GGUF. docs/model-files.md
 * says what of each format is written, read and refused. Each file is written aside and then
 * renamed, so that no reader sees half of it. Threads: a call uses its model, and nothing else may
 * meanwhile; tokenizers are shared freely. */
#ifndef TINYLM_MODEL_FILES_H
#define TINYLM_MODEL_FILES_H

#include "model.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How weights stand in a file. @since 0.2 */
#define TLM_WEIGHTS_FLOAT32  0
#define TLM_WEIGHTS_FLOAT16  1
#define TLM_WEIGHTS_BFLOAT16 2

/* What a file says of a model beyond its options and weights. */
typedef struct tlm_model_file_options {
    size_t size;          /* sizeof(tlm_model_file_options_t) */
    int32_t weights;      /* TLM_WEIGHTS_... */
    bool has_begin_token; /* texts begin with begin_token */
    bool has_end_token;   /* texts end with end_token; false when saving: the tokenizer's special
                           * token <|endoftext|>, if it has one */
    uint8_t reserved[2];  /* 0 */
    uint32_t begin_token;
    uint32_t end_token;
} tlm_model_file_options_t;

#define TLM_MODEL_FILE_OPTIONS_INIT TLM_SIZED(tlm_model_file_options_t)

/** Writes a folder that transformers loads as a LlamaForCausalLM: model.safetensors,
 *  generation_config.json, with a tokenizer (NULL: none) tokenizer.json and tokenizer_config.json,
 *  and last config.json. The folder is made unless it is there; its parent must be. Options may be
 *  NULL. TLM_ERR_UNSUPPORTED, naming it, for what LLaMA lacks: norms but pre-norm, no RoPE, a SiLU
 *  layer; or a tokenizer that tlm_tokenizer_save_json refuses. TLM_ERR_RANGE for a token outside
 *  the model's vocabulary, a tokenizer larger than it, or a weight too large for its type;
 *  TLM_ERR_NOT_FOUND or TLM_ERR_IO if a file cannot be written. @since 0.2 */
TLM_API tlm_status_t tlm_model_save_hf(const tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                                       const char *directory,
                                       const tlm_model_file_options_t *options);

/** Writes one GGUF file, version 3, architecture "llama", that tools of llama.cpp's family read,
 *  with a tokenizer (NULL: none). Norms are float32 whatever the weights are. Options may be NULL.
 *  Errors as of tlm_model_save_hf; TLM_ERR_UNSUPPORTED also for a tokenizer that GGUF cannot
 *  express: a pattern other than GPT-2's, Llama 3's, Qwen 2's or o200k's, or NFC. @since 0.2 */
TLM_API tlm_status_t tlm_model_save_gguf(const tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                                         const char *path, const tlm_model_file_options_t *options);

/** Makes the model at a path: of a checkpoint, a folder of transformers or a GGUF file, told by
 *  what is there. *tokenizer (unless NULL) becomes the tokenizer that is with it, or NULL if there
 *  is none; *file (unless NULL; set file->size) tells weights and tokens, so that saving with it
 *  keeps them. Model and tokenizer are owned by the caller. TLM_ERR_UNSUPPORTED, naming the key or
 *  tensor, for what these models do not have; TLM_ERR_FORMAT for bad files and missing tensors,
 *  TLM_ERR_SHAPE for tensors of another shape; TLM_ERR_INVALID_ARGUMENT for sizes that no model
 *  has; TLM_ERR_NOT_FOUND, TLM_ERR_IO; or as tlm_model_load and tlm_tokenizer_open. @since 0.2 */
TLM_API tlm_status_t tlm_model_open(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                                    tlm_model_file_options_t *file, const char *path);

#ifdef __cplusplus
}
#endif
#endif
