/* SentencePiece's .model files: a ModelProto, whose pieces, trainer_spec and normalizer_spec say
 * how texts are encoded. Fields that do not matter for that are skipped. */
#include "tinylm/tokenizer_files.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/file_kind.h"
#include "formats/protobuf.h"
#include "tokenizer/formats/token_files.h"

/* The numbers of fields that are read. */
enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_AS_SUFFIX = 24,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_BOS_ID = 41,
    TRAINER_UNK_SURFACE = 44,
    TRAINER_BOS_PIECE = 46,
    TRAINER_DELIMITER = 53
};
enum {
    NORMALIZER_CHARSMAP = 2,
    NORMALIZER_DUMMY_PREFIX = 3,
    NORMALIZER_REMOVE_EXTRA = 4,
    NORMALIZER_ESCAPE = 5
};
enum { UNIGRAM = 1, BPE, WORD, CHAR };

typedef struct model {
    tlmi_piece_list_t list;
    tlmi_piece_spec_t spec;
    int32_t type; /* UNIGRAM, BPE, ... */
    tlm_bytes_t bos_piece;
} model_t;

static tlm_status_t read_piece_fields(model_t *model, tlmi_protobuf_t *message, size_t offset)
{
    tlmi_protobuf_field_t field;
    tlm_bytes_t piece = {0};
    int32_t type = TLMI_PIECE_NORMAL;
    float score = 0;

    for (bool found;;) {
        TLMI_TRY(tlmi_protobuf_next(&found, &field, message));
        if (!found)
            break;
        if (field.number == PIECE_TEXT)
            TLMI_TRY(tlmi_protobuf_bytes(&piece.data, &piece.size, message, &field, "piece"));
        else if (field.number == PIECE_SCORE)
            TLMI_TRY(tlmi_protobuf_float(&score, message, &field, "score"));
        else if (field.number == PIECE_TYPE)
            TLMI_TRY(tlmi_protobuf_int32(&type, message, &field, "type of a piece"));
    }
    if (piece.size == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: piece %zu at byte %zu is empty", message->path,
                         model->list.n, offset);
    if (type < TLMI_PIECE_NORMAL || type > TLMI_PIECE_BYTE)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: piece %zu at byte %zu has the unknown type %" PRId32,
                         message->path, model->list.n, offset, type);
    return tlmi_piece_list_add(&model->list, piece, score, (uint8_t)type);
}

static tlm_status_t read_trainer_field(model_t *model, const tlmi_protobuf_t *message,
                                       const tlmi_protobuf_field_t *field)
{
    tlmi_piece_spec_t *spec = &model->spec;
    tlm_bytes_t delimiter = {0};
    int32_t bos_id;

    switch (field->number) {
    case TRAINER_MODEL_TYPE:
        return tlmi_protobuf_int32(&model->type, message, field, "model_type");
    case TRAINER_AS_SUFFIX:
        return tlmi_protobuf_bool(&spec->normalization.treat_whitespace_as_suffix, message, field,
                                  "treat_whitespace_as_suffix");
    case TRAINER_BYTE_FALLBACK:
        return tlmi_protobuf_bool(&spec->byte_fallback, message, field, "byte_fallback");
    case TRAINER_BOS_ID:
        TLMI_TRY(tlmi_protobuf_int32(&bos_id, message, field, "bos_id"));
        spec->bos_id = bos_id < 0 ? TLMI_NO_TOKEN : (uint32_t)bos_id;
        return TLM_OK;
    case TRAINER_UNK_SURFACE:
        return tlmi_protobuf_bytes(&spec->unk_surface.data, &spec->unk_surface.size, message, field,
                                   "unk_surface");
    case TRAINER_BOS_PIECE:
        return tlmi_protobuf_bytes(&model->bos_piece.data, &model->bos_piece.size, message, field,
                                   "bos_piece");
    case TRAINER_DELIMITER:
        return tlmi_protobuf_bytes(&delimiter.data, &delimiter.size, message, field,
                                   "pretokenization_delimiter");
    default:
        return TLM_OK;
    }
}

static tlm_status_t read_normalizer_field(model_t *model, const tlmi_protobuf_t *message,
                                          const tlmi_protobuf_field_t *field)
{
    tlmi_sentencepiece_spec_t *spec = &model->spec.normalization;
    const uint8_t *charsmap;

    switch (field->number) {
    case NORMALIZER_CHARSMAP:
        TLMI_TRY(tlmi_protobuf_bytes(&charsmap, &spec->charsmap_size, message, field,
                                     "precompiled_charsmap"));
        spec->charsmap = charsmap;
        return TLM_OK;
    case NORMALIZER_DUMMY_PREFIX:
        return tlmi_protobuf_bool(&spec->add_dummy_prefix, message, field, "add_dummy_prefix");
    case NORMALIZER_REMOVE_EXTRA:
        return tlmi_protobuf_bool(&spec->remove_extra_whitespaces, message, field,
                                  "remove_extra_whitespaces");
    case NORMALIZER_ESCAPE:
        return tlmi_protobuf_bool(&spec->escape_whitespaces, message, field, "escape_whitespaces");
    default:
        return TLM_OK;
    }
}

/* A denormalizer edits decoded text; no model that people use has one. */
static tlm_status_t refuse_denormalizer(model_t *model, const tlmi_protobuf_t *message,
                                        const tlmi_protobuf_field_t *field)
{
    (void)model;
    if (field->number != NORMALIZER_CHARSMAP || field->type != TLMI_PROTOBUF_BYTES ||
        field->size == 0)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: it has a denormalizer_spec, which is not supported",
                     message->path);
}

/* Reads a message within another one, field by field. */
static tlm_status_t read_fields(model_t *model, tlmi_protobuf_t *message,
                                tlm_status_t (*read_field)(model_t *model,
                                                           const tlmi_protobuf_t *message,
                                                           const tlmi_protobuf_field_t *field))
{
    tlmi_protobuf_field_t field;

    for (bool found;;) {
        TLMI_TRY(tlmi_protobuf_next(&found, &field, message));
        if (!found)
            return TLM_OK;
        TLMI_TRY(read_field(model, message, &field));
    }
}

static tlm_status_t read_model_field(model_t *model, const tlmi_protobuf_t *message,
                                     const tlmi_protobuf_field_t *field)
{
    static const char *const names[] = {[MODEL_PIECES] = "pieces",
                                        [MODEL_TRAINER] = "trainer_spec",
                                        [MODEL_NORMALIZER] = "normalizer_spec",
                                        [MODEL_DENORMALIZER] = "denormalizer_spec"};

    if (field->number > MODEL_DENORMALIZER || names[field->number] == NULL)
        return TLM_OK;
    tlmi_protobuf_t inner;
    TLMI_TRY(tlmi_protobuf_message(&inner, message, field, names[field->number]));
    switch (field->number) {
    case MODEL_PIECES:
        return read_piece_fields(model, &inner, field->offset);
    case MODEL_TRAINER:
        return read_fields(model, &inner, read_trainer_field);
    case MODEL_NORMALIZER:
        return read_fields(model, &inner, read_normalizer_field);
    default:
        return read_fields(model, &inner, refuse_denormalizer);
    }
}

/* Finds the piece for unknown characters, which every model must have. */
static tlm_status_t find_unknown(model_t *model, const char *path)
{
    for (size_t id = 0; id < model->list.n; id++) {
        if (model->list.types[id] != TLMI_PIECE_UNKNOWN)
            continue;
        if (model->spec.unk_id != TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: pieces %" PRIu32 " and %zu are both for unknown characters", path,
                             model->spec.unk_id, id);
        model->spec.unk_id = (uint32_t)id;
    }
    if (model->spec.unk_id == TLMI_NO_TOKEN)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: there is no piece for unknown characters", path);
    return TLM_OK;
}

/* The id in trainer_spec counts only if that piece is what it says. */
static void check_bos(model_t *model)
{
    uint32_t id = model->spec.bos_id;

    if (id >= model->list.n || model->list.types[id] != TLMI_PIECE_CONTROL ||
        model->list.pieces[id].size != model->bos_piece.size ||
        memcmp(model->list.pieces[id].data, model->bos_piece.data, model->bos_piece.size) != 0)
        model->spec.bos_id = TLMI_NO_TOKEN;
}

static tlm_status_t build(tlm_tokenizer_t **out, model_t *model, const char *path,
                          const tlm_tokenizer_options_t *options)
{
    static const char *const types[] = {[WORD] = "WORD", [CHAR] = "CHAR"};

    if (model->type == WORD || model->type == CHAR)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the model_type is %s, which is not supported: only UNIGRAM and BPE",
                         path, types[model->type]);
    if (model->type != UNIGRAM && model->type != BPE)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the model_type %" PRId32 " is unknown", path,
                         model->type);
    if (model->list.n == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the model has no pieces", path);
    TLMI_TRY(find_unknown(model, path));
    check_bos(model);
    model->spec.is_unigram = model->type == UNIGRAM;
    return tlmi_piece_tokenizer_create(out, path, &model->list, &model->spec, options);
}

tlm_status_t tlmi_sentencepiece_load(tlm_tokenizer_t **out, const char *path,
                                     const tlm_tokenizer_options_t *options)
{
    static const uint8_t unk_surface[] = " \xE2\x81\x87 ", bos[] = "<s>";
    model_t model = {.spec = {.unk_id = TLMI_NO_TOKEN,
                              .bos_id = 1,
                              .eos_id = TLMI_NO_TOKEN,
                              .unk_surface = {unk_surface, sizeof(unk_surface) - 1},
                              .normalization = {.add_dummy_prefix = true,
                                                .remove_extra_whitespaces = true,
                                                .escape_whitespaces = true}},
                     .type = UNIGRAM,
                     .bos_piece = {bos, sizeof(bos) - 1}};
    tlm_tokenizer_options_t known;
    tlmi_mapping_t file;

    TLMI_TRY(tlmi_tokenizer_read_options(&known, "tokenizer_open", options));
    TLMI_TRY(tlmi_refuse_splitting_options(&known, path, "a SentencePiece model"));
    TLMI_TRY(tlmi_read_file(&file, path));
    tlmi_protobuf_t message = {file.data, file.data + file.size, file.data, path};
    tlm_status_t status = read_fields(&model, &message, read_model_field);
    if (status == TLM_OK)
        status = build(out, &model, path, &known);
    tlmi_piece_list_release(&model.list);
    tlmi_unmap_file(&file);
    return status;
}
