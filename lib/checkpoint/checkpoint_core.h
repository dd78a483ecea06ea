/* Checkpoints from within: what saving and loading share. */
#ifndef TLMI_CHECKPOINT_CORE_H
#define TLMI_CHECKPOINT_CORE_H

#include "model/model_core.h"
#include "optim/optimizer_core.h"
#include "formats/safetensors.h"
#include "tinylm/checkpoint.h"
#include "base/json.h"
#include "tinylm/model.h"

#define TLMI_CHECKPOINT_FORMAT "tinylm-checkpoint"
/* Version 2 is written only where a file holds options that readers of version 1 would ignore. */
#define TLMI_CHECKPOINT_VERSION_FIRST "1"
#define TLMI_CHECKPOINT_VERSION       "2"
/* Version 3 holds the adapters of a model, and not its other parameters. */
#define TLMI_CHECKPOINT_VERSION_ADAPTERS "3"
#define TLMI_CHECKPOINT_ADAPTERS         "adapters" /* the metadata that describes them */
#define TLMI_CHECKPOINT_USER             "user"     /* the metadata that is the caller's */
/* The tensor of bytes that holds the tokenizer. */
#define TLMI_CHECKPOINT_TOKENIZER "tokenizer.json"
#define TLMI_CHECKPOINT_NAME_SIZE 128 /* of a tensor in the file */

/* The name of an optimizer's buffer in the file. */
void tlmi_checkpoint_state_name(char out[TLMI_CHECKPOINT_NAME_SIZE], const char *parameter,
                                const char *buffer);

/* How many buffers the optimizer's parameters have in all. */
size_t tlmi_checkpoint_num_states(const tlm_optimizer_t *optimizer);

/* Finds the name in the model of each of the optimizer's parameters. Owned. */
tlm_status_t tlmi_checkpoint_name_parameters(const char ***out, const char *function,
                                             const tlm_model_t *model,
                                             const tlm_optimizer_t *optimizer);

/* tlm_checkpoint_save_with, with messages that begin with `function`. */
tlm_status_t tlmi_checkpoint_save(const char *function, const char *path, const tlm_model_t *model,
                                  const tlm_optimizer_t *optimizer, uint64_t iteration,
                                  const tlm_checkpoint_options_t *options);

/* Makes the bytes of the tensor that holds a tokenizer; the caller owns *out. Fails as saving with it
 * would. */
tlm_status_t tlmi_checkpoint_write_tokenizer(char **out, size_t *out_size, const char *function,
                                             const tlm_model_t *model,
                                             const tlm_tokenizer_t *tokenizer);

/* Opens a checkpoint of a known version, with its iteration. The checksum is not checked. */
tlm_status_t tlmi_checkpoint_peek(tlmi_safetensors_t *out, uint64_t *iteration, const char *path);

/* The same, and checks every byte. */
tlm_status_t tlmi_checkpoint_open(tlmi_safetensors_t *out, uint64_t *iteration, const char *path);

/* Parses metadata `key`, which must be there and an object. */
tlm_status_t tlmi_checkpoint_parse(tlmi_json_t **out, const tlmi_safetensors_t *file,
                                   const char *key, const char *path);

/* Makes the model of an open checkpoint, or its tokenizer; *out is NULL if there is none. */
tlm_status_t tlmi_checkpoint_read_model(tlm_model_t **out, const tlmi_safetensors_t *file,
                                        const char *path);
tlm_status_t tlmi_checkpoint_read_tokenizer(tlm_tokenizer_t **out, const tlmi_safetensors_t *file,
                                            const char *path);

/* ---- Adapters and the model that they belong to ------------------------------------------- */

/* Takes over what counts only in training (tlm_model_set_training) from a checkpoint's configuration:
 * for a model that is not made from it, since the checkpoint holds adapters only. */
tlm_status_t tlmi_checkpoint_adopt_training(tlm_model_t *model, const tlmi_safetensors_t *file,
                                            const char *path);

bool tlmi_checkpoint_has_adapters(const tlmi_safetensors_t *file);

/* Describes the adapters of the model, which has some, as an object. */
tlm_status_t tlmi_adapter_state_write(tlmi_json_t **out, tlm_model_t *model);

/* The path of the model that the adapters in a file belong to; the caller owns *out. */
tlm_status_t tlmi_adapter_state_base(char **out, const tlmi_safetensors_t *file, const char *path);

/* Adds adapters as a file describes them, if it holds any, without their values. */
tlm_status_t tlmi_adapter_state_add(tlm_model_t *model, const tlmi_safetensors_t *file,
                                    const char *path);

/* Fails unless the model has adapters if and only if the file holds some, of the same layers, ranks
 * and scales, over the same weights; with `exact` also the same dropout and types of weights, so that
 * a run goes on with the same bits. */
tlm_status_t tlmi_adapter_state_compare(const tlmi_safetensors_t *file, tlm_model_t *model,
                                        bool exact, const char *path);

/* Whether a checkpoint of the model holds the parameter: of one with adapters, those and what else is
 * trained. */
static inline bool tlmi_checkpoint_holds(const tlm_model_t *model, size_t index)
{
    return model->adapters == NULL || model->specs[index].role != TLMI_BASE ||
           tlm_tensor_requires_grad(model->parameters[index]);
}

/* ---- A model's options as a JSON object ------------------------------------------------- */

/* True if all options that came after version 0.1 have their defaults, so that its readers
 * understand the rest. Defaults must be resolved. */
bool tlmi_model_config_is_first(const tlm_model_options_t *options);

/* Writes the options, defaults resolved, as an object; only those of version 0.1 if that is
 * enough. */
tlm_status_t tlmi_model_config_write(tlmi_json_t **out, const tlm_model_options_t *options);

/* Reads them back; later options that the object lacks are 0. Messages begin with `path`. */
tlm_status_t tlmi_model_config_read(tlm_model_options_t *out, const tlmi_json_t *config,
                                    const char *path);

/* TLM_ERR_SHAPE, naming the option, if the two, with defaults resolved, differ in anything that
 * shapes or results depend on. The seed may differ: it only made the initial weights. */
tlm_status_t tlmi_model_config_compare(const tlm_model_options_t *file,
                                       const tlm_model_options_t *model, const char *path);

/* ---- An optimizer's kind, hyper-parameters and groups as a JSON object ------------------- */

/* True if readers of format version 1 know all of it. */
bool tlmi_optimizer_config_is_first(const tlm_optimizer_t *optimizer);

/* The object; `names` are those of the optimizer's parameters. Owned: tlmi_json_free. */
tlm_status_t tlmi_optimizer_config_write(tlmi_json_t **out, const tlm_optimizer_t *optimizer,
                                         const char *const *names);

/* The groups of the file, which has the kind, the groups and the parameters of this optimizer
 * (otherwise TLM_ERR_STATE), as copies with the file's hyper-parameters, and the number of steps.
 * Owned: tlmi_optimizer_config_free with optimizer->num_groups. Messages begin with `path`. */
tlm_status_t tlmi_optimizer_config_read(tlmi_group_t **out, uint64_t *steps,
                                        const tlmi_json_t *object, const tlm_optimizer_t *optimizer,
                                        const char *const *names, const char *path);
void tlmi_optimizer_config_free(tlmi_group_t *groups, size_t n);

#endif
