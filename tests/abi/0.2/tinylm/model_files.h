/* Models in the formats of other projects: folders of Hugging Face's transformers, and GGUF.
 * docs/model-files.md says what of each format is written, read and refused. Each file is written
 * under another name and then renamed, so that no reader sees half of it. Use the model of a call
 * from one thread at a time; tokenizers may be shared. */
#ifndef TINYLM_MODEL_FILES_H
#define TINYLM_MODEL_FILES_H

#include "chat.h"
#include "model.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Number formats of the weights in a file. @since 0.2 */
#define TLM_WEIGHTS_FLOAT32  0  /**< 32 bits. */
#define TLM_WEIGHTS_FLOAT16  1  /**< IEEE half precision. */
#define TLM_WEIGHTS_BFLOAT16 2  /**< The upper half of a float32. */
#define TLM_WEIGHTS_Q8_0     3  /**< GGUF only: blocks of 32 signed bytes. */
#define TLM_WEIGHTS_Q4_0     4  /**< GGUF only: blocks of 32 4-bit numbers. */
#define TLM_WEIGHTS_Q4_1     5  /**< GGUF only: the same with a minimum. */
#define TLM_WEIGHTS_Q5_0     6  /**< GGUF only: blocks of 32 5-bit numbers. */
#define TLM_WEIGHTS_Q5_1     7  /**< GGUF only: the same with a minimum. */
#define TLM_WEIGHTS_Q4_K_M   8  /**< GGUF only: Q4_K, and Q6_K where errors matter most. */
#define TLM_WEIGHTS_Q5_K_M   9  /**< GGUF only: Q5_K, and Q6_K where errors matter most. */
#define TLM_WEIGHTS_Q6_K     10 /**< GGUF only: blocks of 256 6-bit numbers. */

/* Kinds of models that other programs know by name. @since 0.2 */
#define TLM_FAMILY_AUTO    0  /**< The first of these that has the model's options. */
#define TLM_FAMILY_LLAMA   1  /**< Llama, SmolLM 2. */
#define TLM_FAMILY_MISTRAL 2  /**< Mistral. */
#define TLM_FAMILY_QWEN2   3  /**< Qwen 2 and 2.5. */
#define TLM_FAMILY_QWEN3   4  /**< Qwen 3. */
#define TLM_FAMILY_PHI3    5  /**< Phi 3. */
#define TLM_FAMILY_OLMO2   6  /**< OLMo 2. */
#define TLM_FAMILY_SMOLLM3 7  /**< SmolLM 3. */
#define TLM_FAMILY_GEMMA   8  /**< Gemma. */
#define TLM_FAMILY_GEMMA2  9  /**< Gemma 2. */
#define TLM_FAMILY_GEMMA3  10 /**< The text models of Gemma 3. */
#define TLM_FAMILY_GPT2    11 /**< GPT-2. */

/** What a file holds besides a model's options and weights. @since 0.2 */
typedef struct tlm_model_file_options {
    /** sizeof(tlm_model_file_options_t). */
    size_t size;
    /** TLM_WEIGHTS_... */
    int32_t weights;
    /** Whether texts begin with begin_token. */
    bool has_begin_token;
    /** Whether texts end with end_token. If false when saving, the tokenizer's special token
     *  <|endoftext|> is the end token, if there is one. */
    bool has_end_token;
    uint8_t reserved[2];
    /** Used if has_begin_token. */
    uint32_t begin_token;
    /** Used if has_end_token. */
    uint32_t end_token;
    /** TLM_FAMILY_...: whose names and keys the files have. */
    int32_t family;
    /** Number of more_end_tokens. */
    uint32_t num_more_end_tokens;
    /** Further tokens that end a text. */
    uint32_t more_end_tokens[TLM_MORE_END_TOKENS];
    uint32_t reserved2;
    /** tlm_model_save_gguf: path of another GGUF file, whose tokenizer and description (all of
     *  tokenizer.*, and of general.* what does not describe the weights) are written as they are,
     *  whether or not this library could write them itself; NULL: none. Then no tokenizer may be
     *  given, and the tokens of these options are not written. Borrowed during the call. */
    const char *keys_from;
    /** The chat template to write beside the tokenizer, or instead of that of keys_from; NULL:
     *  none. Borrowed during the call; opening a model leaves it NULL. */
    const tlm_chat_template_t *chat_template;
    /** Set by opening: bytes that the weights take in the file, those of adapters and of the model
     *  that they belong to together. Saving does not read it. @since 0.2 */
    uint64_t weight_bytes;
} tlm_model_file_options_t;

#define TLM_MODEL_FILE_OPTIONS_INIT TLM_SIZED(tlm_model_file_options_t)

/** Saves a folder that transformers loads, as a LlamaForCausalLM or the class of another family:
 *  model.safetensors, generation_config.json, with a tokenizer (NULL: none) tokenizer.json and
 *  tokenizer_config.json, and last config.json. The folder is created if needed; its parent must
 *  exist. Options may be NULL. TLM_ERR_UNSUPPORTED, naming the option, for an architecture that the
 *  family does not have, or for a tokenizer that tlm_tokenizer_save_json refuses; TLM_ERR_RANGE for
 *  a token outside the model's vocabulary, a tokenizer that is larger than it, or a weight too
 *  large for its format; TLM_ERR_NOT_FOUND or TLM_ERR_IO if a file cannot be written. @since 0.2 */
TLM_API tlm_status_t tlm_model_save_hf(const tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                                       const char *directory,
                                       const tlm_model_file_options_t *options);

/** Saves one GGUF file, version 3, architecture "llama" or that of another family, for llama.cpp
 *  and its relatives, with a tokenizer (NULL: none). Vectors are float32 whatever the weights are.
 *  Options may be NULL. See tlm_model_save_hf for errors; TLM_ERR_UNSUPPORTED also for an option
 *  that llama.cpp does not read and for a tokenizer that GGUF cannot express: a pattern other than
 *  GPT-2's, Llama 3's, Qwen 2's or o200k's, or NFC. @since 0.2 */
TLM_API tlm_status_t tlm_model_save_gguf(const tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                                         const char *path, const tlm_model_file_options_t *options);

/** Bytes that the weights take in the file that tlm_model_save_gguf writes with these options, and
 *  in memory once that file is opened for inference. Nothing is written. Options may be NULL. See
 *  tlm_model_save_gguf for errors. @since 0.2 */
TLM_API tlm_status_t tlm_model_gguf_bytes(uint64_t *bytes, const tlm_model_t *model,
                                          const tlm_model_file_options_t *options);

/** Opens the model at a path, whichever it is: a checkpoint, a folder of transformers or a GGUF
 *  file. *tokenizer (unless NULL) becomes the tokenizer that comes with it, or NULL if there is
 *  none; *file (unless NULL; set file->size first) what else the file holds, so that saving with it
 *  keeps that. Model and tokenizer are owned by the caller. TLM_ERR_UNSUPPORTED, naming the key or
 *  tensor, for what these models do not have; TLM_ERR_FORMAT for bad files and missing tensors,
 *  TLM_ERR_SHAPE for tensors of another shape, TLM_ERR_INVALID_ARGUMENT for sizes that no model
 *  has, TLM_ERR_NOT_FOUND, TLM_ERR_IO. See tlm_model_load and tlm_tokenizer_open too. @since 0.2 */
TLM_API tlm_status_t tlm_model_open(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                                    tlm_model_file_options_t *file, const char *path);

/** Opens a model for generation, scoring and training adapters (tlm_model_add_lora): matrices stay
 *  in memory as they are in the file, and are read from the mapped file where possible, which must
 *  not be written to meanwhile. So a quantized model takes few bytes and opens at once. The model
 *  is frozen. docs/quantization.md says which types are kept; the others become float32. What needs
 *  float32 (training the weights, checkpoints of them) returns TLM_ERR_UNSUPPORTED, naming the
 *  parameter. See tlm_model_open too. @since 0.2 */
TLM_API tlm_status_t tlm_model_open_for_inference(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                                                  tlm_model_file_options_t *file, const char *path);

/* ---- Adapters --------------------------------------------------------------------------- */

/** Saves the adapters of a model (tlm_model_add_lora) as a folder that PEFT loads:
 *  adapter_model.safetensors and, last, adapter_config.json. The folder is created if needed; its
 *  parent must exist. Names and order of rows are those of lora_options.family.
 *  base_model_name_or_path is the path that the model was opened from. TLM_ERR_NOT_FOUND if there
 *  are no adapters, TLM_ERR_NOT_FOUND or TLM_ERR_IO if a file cannot be written. @since 0.2 */
TLM_API tlm_status_t tlm_model_save_adapter(const tlm_model_t *model, const char *directory);

/** Freezes the model and adds the adapters in a folder of PEFT, which can be trained on, merged or
 *  generated with. TLM_ERR_UNSUPPORTED, naming key and value, or the tensor, for what is not LoRA
 *  on linear layers: DoRA, biases, modules_to_save, other types; TLM_ERR_FORMAT for bad files and
 *  missing tensors, TLM_ERR_SHAPE for tensors that do not fit the model, TLM_ERR_STATE if it has
 *  adapters already, TLM_ERR_NOT_FOUND, TLM_ERR_IO. On failure nothing has changed. @since 0.2 */
TLM_API tlm_status_t tlm_model_load_adapter(tlm_model_t *model, const char *directory);

#ifdef __cplusplus
}
#endif
#endif
