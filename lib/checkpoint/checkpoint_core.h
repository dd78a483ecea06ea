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

/* ---- What a run that goes on has in common with the one that was saved ------------------ */

enum { TLMI_MAX_VALUES = 32, TLMI_VALUE_SIZE = 48 };

/* An option, as a text that no other value of it has. */
typedef struct tlmi_value {
    char name[TLMI_VALUE_SIZE], text[TLMI_VALUE_SIZE];
} tlmi_value_t;

typedef struct tlmi_values {
    tlmi_value_t items[TLMI_MAX_VALUES];
    size_t n;
} tlmi_values_t;

/* Append an option, whose name is `name` after `prefix`; of a schedule, which may be NULL, the fields
 * that count. */
void tlmi_values_add_text(tlmi_values_t *values, const char *prefix, const char *name,
                          const char *text);
void tlmi_values_add_count(tlmi_values_t *values, const char *prefix, const char *name,
                           uint64_t count);
void tlmi_values_add_number(tlmi_values_t *values, const char *prefix, const char *name,
                            double number);
void tlmi_values_add_schedule(tlmi_values_t *values, const char *prefix,
                              const tlm_schedule_options_t *schedule);

/* Whether a list of patterns, which may be NULL, names the option. */
bool tlmi_may_change(const char *changes, const char *name);

/* TLM_ERR_STATE, with both values, if the option differs from the file's and may not change. `of`
 * follows its name in the message. */
tlm_status_t tlmi_value_compare(const tlmi_value_t *own, const char *file, const char *changes,
                                const char *path, const char *of);

/* The same for all options that are in both. */
tlm_status_t tlmi_values_compare(const tlmi_values_t *own, const tlmi_values_t *file,
                                 const char *changes, const char *path, const char *of);

/* How a trainer loads an optimizer. */
typedef struct tlmi_resumption {
    const char
        *changes; /* options that may differ from the file's, and keep their values; may be NULL */
    bool
        has_schedule; /* which gives the learning rates of all groups, so that they are not compared */
} tlmi_resumption_t;

/* tlm_checkpoint_load; unless `how` is NULL the optimizer's own hyper-parameters stay, and must be
 * the file's except for what may change. */
tlm_status_t tlmi_checkpoint_load(uint64_t *iteration, tlm_model_t *model,
                                  tlm_optimizer_t *optimizer, const char *path,
                                  const tlmi_resumption_t *how);

/* ---- An optimizer's kind, hyper-parameters and groups as a JSON object ------------------- */

/* True if readers of format version 1 know all of it. */
bool tlmi_optimizer_config_is_first(const tlm_optimizer_t *optimizer);

/* The object; `names` are those of the optimizer's parameters. Owned: tlmi_json_free. */
tlm_status_t tlmi_optimizer_config_write(tlmi_json_t **out, const tlm_optimizer_t *optimizer,
                                         const char *const *names);

/* What an optimizer becomes by a load, except for its states. */
typedef struct tlmi_optimizer_config {
    tlmi_group_t *groups; /* owned, like the schedules */
    size_t num_groups;
    tlmi_group_schedule_t *schedules; /* as many as there are groups, at most */
    size_t num_schedules;
    uint64_t steps;
    double average_decay;
} tlmi_optimizer_config_t;

/* Reads the file's, which has the kind, the groups and the parameters of this optimizer (otherwise
 * TLM_ERR_STATE). Of a trainer that resumes, `how` is not NULL, and the values are the optimizer's
 * own. Free it with tlmi_optimizer_config_free, on failure too. Messages begin with `path`. */
tlm_status_t tlmi_optimizer_config_read(tlmi_optimizer_config_t *out, const tlmi_json_t *object,
                                        const tlm_optimizer_t *optimizer, const char *const *names,
                                        const char *path, const tlmi_resumption_t *how);
void tlmi_optimizer_config_free(tlmi_optimizer_config_t *config);

#endif
