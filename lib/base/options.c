/* Structs that begin with their size: a table of all of them, and the only code that reads a
 * caller's struct or fills it. The table knows the structs only from the public headers. */
#include "base/options.h"

#include <string.h>

#include "tinylm/tinylm.h"

/* tests/abi/check_interface.py compares these rows with the headers. */
#define STRUCT(type, INIT, ...)                                                                    \
    {                                                                                              \
        .name = #type, .size = sizeof(type), .defaults = &(const type)INIT, .limited = {           \
            __VA_ARGS__,                                                                           \
            NOTHING_LIMITED /* compilers tell of one too many */                                   \
        }                                                                                          \
    }
#define LIMITED(type, field, limit)                                                                \
    {                                                                                              \
        .name = #field, .offset = offsetof(type, field), .size = sizeof(((type *)0)->field),       \
        .most = (limit)                                                                            \
    }
#define RESERVED(type, field) LIMITED(type, field, 0)
#define BOOLEAN(type, field)  LIMITED(type, field, 1)
#define NOTHING_LIMITED                                                                            \
    {                                                                                              \
        NULL, 0, 0, 0                                                                              \
    }

const tlmi_struct_info_t tlmi_structs[TLMI_NUM_STRUCTS] = {
    [TLMI_ADAFACTOR_OPTIONS] =
        STRUCT(tlm_adafactor_options_t, TLM_ADAFACTOR_OPTIONS_INIT, NOTHING_LIMITED),
    [TLMI_ADAMW_OPTIONS] = STRUCT(tlm_adamw_options_t, TLM_ADAMW_OPTIONS_INIT,
                                  RESERVED(tlm_adamw_options_t, reserved)),
    [TLMI_BPE_TRAINER_OPTIONS] = STRUCT(tlm_bpe_trainer_options_t, TLM_BPE_TRAINER_OPTIONS_INIT,
                                        RESERVED(tlm_bpe_trainer_options_t, reserved)),
    [TLMI_CHAT_DATA] = STRUCT(tlm_chat_data_t, TLM_CHAT_DATA_INIT, NOTHING_LIMITED),
    [TLMI_CHAT_DATA_OPTIONS] = STRUCT(tlm_chat_data_options_t, TLM_CHAT_DATA_OPTIONS_INIT,
                                      BOOLEAN(tlm_chat_data_options_t, packed),
                                      BOOLEAN(tlm_chat_data_options_t, whole_texts),
                                      BOOLEAN(tlm_chat_data_options_t, has_begin_token),
                                      BOOLEAN(tlm_chat_data_options_t, has_end_token)),
    [TLMI_CHAT_OPTIONS] = STRUCT(tlm_chat_options_t, TLM_CHAT_OPTIONS_INIT,
                                 BOOLEAN(tlm_chat_options_t, add_generation_prompt),
                                 RESERVED(tlm_chat_options_t, reserved)),
    [TLMI_CHECKPOINT_OPTIONS] = STRUCT(tlm_checkpoint_options_t, TLM_CHECKPOINT_OPTIONS_INIT,
                                       BOOLEAN(tlm_checkpoint_options_t, has_validation_loss),
                                       RESERVED(tlm_checkpoint_options_t, reserved)),
    [TLMI_COMMUNICATOR_OPTIONS] = STRUCT(tlm_communicator_options_t, TLM_COMMUNICATOR_OPTIONS_INIT,
                                         BOOLEAN(tlm_communicator_options_t, any_thread),
                                         RESERVED(tlm_communicator_options_t, reserved)),
    [TLMI_COST] = STRUCT(tlm_cost_t, TLM_COST_INIT, NOTHING_LIMITED),
    [TLMI_COST_OPTIONS] = STRUCT(
        tlm_cost_options_t, TLM_COST_OPTIONS_INIT, BOOLEAN(tlm_cost_options_t, checkpointing),
        RESERVED(tlm_cost_options_t, reserved), RESERVED(tlm_cost_options_t, reserved2),
        BOOLEAN(tlm_cost_options_t, average), RESERVED(tlm_cost_options_t, reserved3)),
    [TLMI_CUSTOM_OP_OPTIONS] =
        STRUCT(tlm_custom_op_options_t, TLM_CUSTOM_OP_OPTIONS_INIT, NOTHING_LIMITED),
    [TLMI_DECODE_OPTIONS] =
        STRUCT(tlm_decode_options_t, TLM_DECODE_OPTIONS_INIT,
               BOOLEAN(tlm_decode_options_t, skip_special_tokens),
               BOOLEAN(tlm_decode_options_t, as_text), RESERVED(tlm_decode_options_t, reserved)),
    [TLMI_ENCODE_FILES_OPTIONS] = STRUCT(tlm_encode_files_options_t, TLM_ENCODE_FILES_OPTIONS_INIT,
                                         RESERVED(tlm_encode_files_options_t, reserved)),
    [TLMI_ENCODE_OPTIONS] = STRUCT(tlm_encode_options_t, TLM_ENCODE_OPTIONS_INIT,
                                   BOOLEAN(tlm_encode_options_t, add_special_tokens),
                                   BOOLEAN(tlm_encode_options_t, whole_texts),
                                   RESERVED(tlm_encode_options_t, reserved)),
    [TLMI_EVALUATION] =
        STRUCT(tlm_evaluation_t, TLM_EVALUATION_INIT, BOOLEAN(tlm_evaluation_t, is_best),
               RESERVED(tlm_evaluation_t, reserved)),
    [TLMI_GENERATE_OPTIONS] = STRUCT(
        tlm_generate_options_t, TLM_GENERATE_OPTIONS_INIT,
        BOOLEAN(tlm_generate_options_t, has_end_token),
        BOOLEAN(tlm_generate_options_t, skip_special_tokens),
        BOOLEAN(tlm_generate_options_t, keeps_cache), RESERVED(tlm_generate_options_t, reserved),
        RESERVED(tlm_generate_options_t, reserved2), RESERVED(tlm_generate_options_t, reserved3)),
    [TLMI_GROUP_OPTIONS] = STRUCT(tlm_group_options_t, TLM_GROUP_OPTIONS_INIT,
                                  BOOLEAN(tlm_group_options_t, has_learning_rate),
                                  BOOLEAN(tlm_group_options_t, has_weight_decay),
                                  RESERVED(tlm_group_options_t, reserved)),
    [TLMI_GROUP_RULE] =
        STRUCT(tlm_group_rule_t, TLM_GROUP_RULE_INIT, BOOLEAN(tlm_group_rule_t, has_learning_rate),
               BOOLEAN(tlm_group_rule_t, has_weight_decay), RESERVED(tlm_group_rule_t, reserved)),
    [TLMI_LION_OPTIONS] = STRUCT(tlm_lion_options_t, TLM_LION_OPTIONS_INIT, NOTHING_LIMITED),
    [TLMI_LOADER_OPTIONS] = STRUCT(tlm_loader_options_t, TLM_LOADER_OPTIONS_INIT,
                                   BOOLEAN(tlm_loader_options_t, has_document_end),
                                   RESERVED(tlm_loader_options_t, reserved)),
    [TLMI_LORA_OPTIONS] = STRUCT(tlm_lora_options_t, TLM_LORA_OPTIONS_INIT,
                                 BOOLEAN(tlm_lora_options_t, rank_stabilized),
                                 RESERVED(tlm_lora_options_t, reserved)),
    [TLMI_MODEL_FILE_OPTIONS] = STRUCT(tlm_model_file_options_t, TLM_MODEL_FILE_OPTIONS_INIT,
                                       BOOLEAN(tlm_model_file_options_t, has_begin_token),
                                       BOOLEAN(tlm_model_file_options_t, has_end_token),
                                       RESERVED(tlm_model_file_options_t, reserved),
                                       RESERVED(tlm_model_file_options_t, reserved2)),
    [TLMI_MODEL_OPTIONS] = STRUCT(
        tlm_model_options_t, TLM_MODEL_OPTIONS_INIT, BOOLEAN(tlm_model_options_t, tied_embeddings),
        BOOLEAN(tlm_model_options_t, ffn_bias), BOOLEAN(tlm_model_options_t, scaled_embeddings),
        BOOLEAN(tlm_model_options_t, embedding_norm),
        BOOLEAN(tlm_model_options_t, value_embeddings), RESERVED(tlm_model_options_t, reserved)),
    [TLMI_MUON_OPTIONS] =
        STRUCT(tlm_muon_options_t, TLM_MUON_OPTIONS_INIT, BOOLEAN(tlm_muon_options_t, nesterov),
               RESERVED(tlm_muon_options_t, reserved)),
    [TLMI_PAD_OPTIONS] =
        STRUCT(tlm_pad_options_t, TLM_PAD_OPTIONS_INIT, RESERVED(tlm_pad_options_t, reserved)),
    [TLMI_SCHEDULE_OPTIONS] = STRUCT(tlm_schedule_options_t, TLM_SCHEDULE_OPTIONS_INIT,
                                     RESERVED(tlm_schedule_options_t, reserved)),
    [TLMI_TOKENIZER_OPTIONS] =
        STRUCT(tlm_tokenizer_options_t, TLM_TOKENIZER_OPTIONS_INIT,
               BOOLEAN(tlm_tokenizer_options_t, ignore_merges),
               BOOLEAN(tlm_tokenizer_options_t, nfc), RESERVED(tlm_tokenizer_options_t, reserved)),
    [TLMI_TRAIN_STEP] = STRUCT(tlm_train_step_t, TLM_TRAIN_STEP_INIT, NOTHING_LIMITED),
    [TLMI_TRAINER_OPTIONS] = STRUCT(
        tlm_trainer_options_t, TLM_TRAINER_OPTIONS_INIT,
        BOOLEAN(tlm_trainer_options_t, activation_checkpointing),
        BOOLEAN(tlm_trainer_options_t, save_on_cancel), RESERVED(tlm_trainer_options_t, reserved),
        RESERVED(tlm_trainer_options_t, reserved2), BOOLEAN(tlm_trainer_options_t, irreproducible),
        RESERVED(tlm_trainer_options_t, reserved3)),
};

/* Struct sizes are multiples of sizeof(size_t), because `size` sets each struct's alignment. */
static bool is_possible(size_t size)
{
    return size >= sizeof(size) && size % sizeof(size) == 0 && size <= TLMI_OPTIONS_MAX_SIZE;
}

/* Returns the index of the first byte in from .. to-1 that is greater than `most`, or `to`. */
static size_t first_above(unsigned char most, const void *bytes, size_t from, size_t to)
{
    while (from < to && ((const unsigned char *)bytes)[from] <= most)
        from++;
    return from;
}

tlm_status_t tlmi_options_read(const char *function, void *known, tlmi_struct_t which,
                               const void *options)
{
    const tlmi_struct_info_t *info = &tlmi_structs[which];

    TLMI_REQUIRE(function, options);
    size_t size;
    memcpy(&size, options, sizeof(size));
    if (!is_possible(size))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: options->size is %zu; set it to the size of %s, %zu in this version",
                         function, size, info->name, info->size);
    size_t unknown = first_above(0, options, info->size, size);
    if (unknown < size)
        return tlmi_fail(
            TLM_ERR_INVALID_ARGUMENT,
            "%s: %s of %zu bytes has a nonzero byte %zu, but this version knows only %zu bytes",
            function, info->name, size, unknown, info->size);
    size_t shared = size < info->size ? size : info->size;
    for (const tlmi_limited_field_t *field = info->limited; field->name != NULL; field++) {
        size_t end = field->offset + field->size < shared ? field->offset + field->size : shared;
        size_t byte = first_above(field->most, options, field->offset, end);
        if (byte < end)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s.%s is not %s (byte %zu is %d)",
                             function, info->name, field->name, field->most == 0 ? "0" : "0 or 1",
                             byte, ((const unsigned char *)options)[byte]);
    }
    memcpy((unsigned char *)known + sizeof(size), (const unsigned char *)options + sizeof(size),
           shared - sizeof(size));
    return TLM_OK;
}

tlm_status_t tlmi_options_check_out(const char *function, const void *out, tlmi_struct_t which)
{
    TLMI_REQUIRE(function, out);
    size_t size;
    memcpy(&size, out, sizeof(size));
    if (!is_possible(size))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: out->size is %zu; set it to the size of %s, %zu in this version",
                         function, size, tlmi_structs[which].name, tlmi_structs[which].size);
    return TLM_OK;
}

/* Copies everything except `size` from the library's struct to a caller's struct of another
 * size. */
static void fill(void *out, size_t size, const void *from, size_t known_size)
{
    size_t shared = size < known_size ? size : known_size;

    memcpy((unsigned char *)out + sizeof(size), (const unsigned char *)from + sizeof(size),
           shared - sizeof(size));
    memset((unsigned char *)out + shared, 0, size - shared);
}

tlm_status_t tlmi_options_write(const char *function, void *out, const void *known,
                                tlmi_struct_t which)
{
    TLMI_TRY(tlmi_options_check_out(function, out, which));
    size_t size;
    memcpy(&size, out, sizeof(size));
    fill(out, size, known, tlmi_structs[which].size);
    return TLM_OK;
}

tlm_status_t tlm_options_init(void *options, size_t size, const char *type)
{
    TLMI_REQUIRE("options_init", options);
    TLMI_REQUIRE("options_init", type);
    if (!is_possible(size))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "options_init: no options struct has %zu bytes",
                         size);
    for (int i = 0; i < TLMI_NUM_STRUCTS; i++)
        if (strcmp(tlmi_structs[i].name, type) == 0) {
            memcpy(options, &size, sizeof(size));
            fill(options, size, tlmi_structs[i].defaults, tlmi_structs[i].size);
            return TLM_OK;
        }
    return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "options_init: no options struct is called %.64s",
                     type);
}
