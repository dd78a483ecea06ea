/* Structs that cross the API boundary and begin with `size_t size`, so that callers and
 * libraries of different versions can exchange them. Fields are only ever added at the end, so
 * both sides agree on the fields that both know. */
#ifndef TLMI_OPTIONS_H
#define TLMI_OPTIONS_H

#include "base/error.h"
#include "tinylm/options.h"

/* All such structs; options.c has a row for each. */
typedef enum tlmi_struct {
    TLMI_ADAFACTOR_OPTIONS,
    TLMI_ADAMW_OPTIONS,
    TLMI_BPE_TRAINER_OPTIONS,
    TLMI_CHAT_DATA,
    TLMI_CHAT_DATA_OPTIONS,
    TLMI_CHAT_OPTIONS,
    TLMI_CHECKPOINT_OPTIONS,
    TLMI_COMMUNICATOR_OPTIONS,
    TLMI_COST,
    TLMI_COST_OPTIONS,
    TLMI_CUSTOM_OP_OPTIONS,
    TLMI_DECODE_OPTIONS,
    TLMI_ENCODE_FILES_OPTIONS,
    TLMI_ENCODE_OPTIONS,
    TLMI_EVALUATION,
    TLMI_GENERATE_OPTIONS,
    TLMI_GROUP_OPTIONS,
    TLMI_GROUP_RULE,
    TLMI_LION_OPTIONS,
    TLMI_LOADER_OPTIONS,
    TLMI_LORA_OPTIONS,
    TLMI_MODEL_FILE_OPTIONS,
    TLMI_MODEL_OPTIONS,
    TLMI_MUON_OPTIONS,
    TLMI_PAD_OPTIONS,
    TLMI_SCHEDULE_OPTIONS,
    TLMI_TOKENIZER_OPTIONS,
    TLMI_TRAIN_STEP,
    TLMI_TRAINER_OPTIONS,
    TLMI_NUM_STRUCTS
} tlmi_struct_t;

/* A field whose bytes must each be at most `most`: 0 for reserved fields, 1 for bools, because C
 * does not define a bool that is neither 0 nor 1. */
typedef struct tlmi_limited_field {
    const char *name; /* NULL ends the list */
    size_t offset;
    size_t size;
    unsigned char most;
} tlmi_limited_field_t;

#define TLMI_MAX_LIMITED_FIELDS 12

typedef struct tlmi_struct_info {
    const char *name;
    size_t size;
    const void *defaults;
    tlmi_limited_field_t limited[TLMI_MAX_LIMITED_FIELDS + 1];
} tlmi_struct_info_t;

extern const tlmi_struct_info_t tlmi_structs[TLMI_NUM_STRUCTS];

/* More than any struct will ever hold: a larger `size` is uninitialized memory. */
#define TLMI_OPTIONS_MAX_SIZE ((size_t)4096)

/* Reads a caller's struct into `known`, the library's own, which holds the defaults: fields that
 * an older, smaller struct lacks keep their values. Fails with TLM_ERR_INVALID_ARGUMENT for a
 * size that no struct has, for nonzero bytes after the fields that this library knows, and for a
 * limited field beyond its limit; `known` is then untouched. known->size keeps the library's
 * size. */
tlm_status_t tlmi_options_read(const char *function, void *known, tlmi_struct_t which,
                               const void *options);

/* Checks that a caller's struct, which the library is to fill, has a size that such a struct can
 * have. */
tlm_status_t tlmi_options_check_out(const char *function, const void *out, tlmi_struct_t which);

/* The opposite direction: fills a caller's struct, whose `size` the caller has set, from the
 * library's struct. Fields that the library does not know become 0. */
tlm_status_t tlmi_options_write(const char *function, void *out, const void *known,
                                tlmi_struct_t which);

#endif
