/* What happens to ids in a tokenizer.json: the decoder, the post-processor, truncation and
 * padding. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/formats/hf_tokenizer.h"

static const char part[] = "decoder";

/* ---- Decoders ---- */

static tlm_status_t add_word_piece(tlmi_decoder_t *decoder, const tlmi_hf_file_t *file,
                                   const tlmi_json_t *object)
{
    tlm_bytes_t prefix;
    bool cleanup;

    TLMI_TRY(tlmi_hf_string(&prefix, file, part, object, "prefix"));
    TLMI_TRY(tlmi_hf_bool(&cleanup, file, part, object, "cleanup"));
    return tlmi_decoder_add_word_piece(decoder, prefix, cleanup);
}

static tlm_status_t add_metaspace(tlmi_decoder_t *decoder, const tlmi_hf_file_t *file,
                                  const tlmi_json_t *object)
{
    bool add_prefix_space = true;
    tlm_bytes_t replacement;
    uint32_t code_point;

    TLMI_TRY(tlmi_hf_character(&replacement, &code_point, file, part, object, "replacement"));
    TLMI_TRY(tlmi_hf_optional_bool(&add_prefix_space, file, part, object, "add_prefix_space"));
    return tlmi_decoder_add_metaspace(
        decoder, code_point, add_prefix_space && !tlmi_hf_is(object, "prepend_scheme", "never"));
}

static tlm_status_t add_strip(tlmi_decoder_t *decoder, const tlmi_hf_file_t *file,
                              const tlmi_json_t *object)
{
    tlm_bytes_t content;
    uint32_t code_point;
    size_t start, stop;

    TLMI_TRY(tlmi_hf_character(&content, &code_point, file, part, object, "content"));
    TLMI_TRY(tlmi_hf_size(&start, file, part, object, "start"));
    TLMI_TRY(tlmi_hf_size(&stop, file, part, object, "stop"));
    return tlmi_decoder_add_strip(decoder, code_point, start, stop);
}

static tlm_status_t add_replace(tlmi_decoder_t *decoder, const tlmi_hf_file_t *file,
                                const tlmi_json_t *object)
{
    tlm_bytes_t pattern, content;
    bool is_regex;

    TLMI_TRY(tlmi_hf_pattern(&pattern, &is_regex, file, part, object, "pattern"));
    TLMI_TRY(tlmi_hf_string(&content, file, part, object, "content"));
    if (is_regex)
        return tlmi_decoder_add_replace_regex(decoder, (const char *)pattern.data, content);
    return tlmi_decoder_add_replace(decoder, pattern, content);
}

static tlm_status_t add_bpe(tlmi_decoder_t *decoder, const tlmi_hf_file_t *file,
                            const tlmi_json_t *object)
{
    tlm_bytes_t suffix;

    TLMI_TRY(tlmi_hf_string(&suffix, file, part, object, "suffix"));
    return tlmi_decoder_add_bpe(decoder, suffix);
}

static const struct {
    const char *type;
    tlm_status_t (*read)(tlmi_decoder_t *decoder, const tlmi_hf_file_t *file,
                         const tlmi_json_t *object);
    tlm_status_t (*add)(tlmi_decoder_t *decoder); /* of a type without options that matter */
} readers[] = {
    {"ByteLevel", NULL, tlmi_decoder_add_byte_level},
    {"ByteFallback", NULL, tlmi_decoder_add_byte_fallback},
    {"Fuse", NULL, tlmi_decoder_add_fuse},
    {"WordPiece", add_word_piece, NULL},
    {"Metaspace", add_metaspace, NULL},
    {"Strip", add_strip, NULL},
    {"Replace", add_replace, NULL},
    {"BPEDecoder", add_bpe, NULL},
};

static tlm_status_t add_one(tlmi_decoder_t *decoder, const tlmi_hf_file_t *file,
                            const tlmi_json_t *object)
{
    if (tlmi_hf_is(object, "type", "Sequence")) {
        const tlmi_json_t *items;

        TLMI_TRY(tlmi_hf_array(&items, file, part, object, "decoders"));
        for (size_t i = 0; i < tlmi_json_size(items); i++)
            TLMI_TRY(add_one(decoder, file, tlmi_json_item(items, i)));
        return TLM_OK;
    }
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
        if (tlmi_hf_is(object, "type", readers[i].type))
            return readers[i].read != NULL ? readers[i].read(decoder, file, object)
                                           : readers[i].add(decoder);
    return tlmi_hf_fail_unsupported(file, part, object);
}

/* Whether a special token decodes to other bytes than those that the vocabulary has for its id. */
static tlm_status_t decodes_otherwise(bool *out, const tlmi_hf_file_t *file, size_t index)
{
    const tlmi_normalizer_t *normalizer = file->parts.normalizer;
    tlm_bytes_t token = file->special.tokens[index];
    tlm_bytes_t own = tlmi_vocabulary_token(&file->parts.vocabulary, file->special.ids[index]);
    tlmi_normal_text_t text = {0};
    tlm_status_t status = TLM_OK;
    size_t size;

    if (normalizer != NULL && (file->special.flags[index] & TLMI_TOKEN_NORMALIZED) != 0)
        status =
            normalizer->kind->append(normalizer, &text, token.data, token.size, TLMI_WHOLE_PIECE);
    else
        status = tlmi_normal_text_append(&text, token.data, token.size);
    uint8_t *bytes = tlmi_alloc(text.size, 1, "a token");
    if (bytes == NULL)
        status = TLM_ERR_OUT_OF_MEMORY;
    if (status == TLM_OK) {
        /* ByteLevel takes a text in the byte alphabet for the bytes that it stands for. */
        if (!tlmi_alphabet_to_bytes(bytes, &size, (const char *)text.bytes, text.size) &&
            text.size > 0)
            memcpy(bytes, text.bytes, size = text.size);
        *out = size != own.size || (size > 0 && memcmp(bytes, own.data, size) != 0);
    }
    tlmi_free(bytes);
    tlmi_normal_text_release(&text);
    return status;
}

static tlm_status_t any_decodes_otherwise(bool *out, const tlmi_hf_file_t *file)
{
    *out = false;
    for (size_t i = 0; i < file->special.n && !*out; i++)
        TLMI_TRY(decodes_otherwise(out, file, i));
    return TLM_OK;
}

tlm_status_t tlmi_hf_read_decoder(tlmi_hf_file_t *file)
{
    const tlmi_json_t *object = tlmi_json_member(file->root, part);
    tlmi_decoder_t *decoder;

    TLMI_TRY(tlmi_decoder_create(&decoder, file->is_byte_level));
    tlm_status_t status = tlmi_json_is_null(object) ? tlmi_decoder_add_spaces(decoder)
                                                    : add_one(decoder, file, object);
    bool is_needed = true; /* or does the concatenation of tokens do the same? */
    if (status == TLM_OK && tlmi_decoder_is_byte_level(decoder))
        status = any_decodes_otherwise(&is_needed, file);
    if (status == TLM_OK && is_needed)
        file->parts.decoder = decoder;
    else
        tlmi_decoder_free(decoder);
    return status;
}

/* ---- Post-processors ---- */

/* The ids before and after the text. */
typedef struct template_ids {
    uint32_t *ids;
    size_t n, capacity, num_before;
    bool has_text;
} template_ids_t;

static tlm_status_t add_id(template_ids_t *ids, int64_t id, const tlmi_hf_file_t *file,
                           const tlmi_json_t *object)
{
    if (id < 0 || id > UINT32_MAX)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the post_processor %.40s uses a token without an id in the file",
                         file->path, tlmi_hf_type(object));
    if (!tlmi_grow(&ids->ids, &ids->capacity, ids->n + 1, sizeof(*ids->ids), "a template"))
        return TLM_ERR_OUT_OF_MEMORY;
    ids->ids[ids->n++] = (uint32_t)id;
    return TLM_OK;
}

/* Reads the ids of a special token of a template: {"id": name, "ids": [...], "tokens": [...]}. */
static tlm_status_t add_special(template_ids_t *ids, const tlmi_hf_file_t *file,
                                const tlmi_json_t *object, const tlmi_json_t *name)
{
    const tlmi_json_t *tokens = tlmi_json_member(object, "special_tokens");
    const char *text;
    size_t size;

    if (!tlmi_json_get_string(name, &text, &size) || strlen(text) != size)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: a SpecialToken of the post_processor has no \"id\"",
                         file->path);
    const tlmi_json_t *numbers = tlmi_json_member(tlmi_json_member(tokens, text), "ids");
    if (!tlmi_json_is_array(numbers))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the post_processor has no ids for its token %.40s",
                         file->path, text);
    for (size_t i = 0; i < tlmi_json_size(numbers); i++) {
        int64_t id = -1;

        (void)tlmi_json_get_int(tlmi_json_item(numbers, i), &id);
        TLMI_TRY(add_id(ids, id, file, object));
    }
    return TLM_OK;
}

static tlm_status_t note_text(template_ids_t *ids, const tlmi_hf_file_t *file)
{
    if (ids->has_text)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: a post_processor with the text more than once is not supported",
                         file->path);
    ids->has_text = true;
    ids->num_before = ids->n;
    return TLM_OK;
}

static tlm_status_t read_template(template_ids_t *ids, const tlmi_hf_file_t *file,
                                  const tlmi_json_t *object)
{
    const tlmi_json_t *items;

    TLMI_TRY(tlmi_hf_array(&items, file, "post_processor", object, "single"));
    for (size_t i = 0; i < tlmi_json_size(items); i++) {
        const tlmi_json_t *item = tlmi_json_item(items, i);
        const tlmi_json_t *special = tlmi_json_member(item, "SpecialToken");

        if (special != NULL)
            TLMI_TRY(add_special(ids, file, object, tlmi_json_member(special, "id")));
        else if (tlmi_hf_is(tlmi_json_member(item, "Sequence"), "id", "A"))
            TLMI_TRY(note_text(ids, file));
        else
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "%s: item %zu of the post_processor's \"single\" is neither a "
                             "SpecialToken nor the Sequence A",
                             file->path, i);
    }
    return TLM_OK;
}

/* Reads a [token, id] pair of BertProcessing and RobertaProcessing. */
static tlm_status_t read_pair(template_ids_t *ids, const tlmi_hf_file_t *file,
                              const tlmi_json_t *object, const char *key)
{
    int64_t id = -1;

    (void)tlmi_json_get_int(tlmi_json_item(tlmi_json_member(object, key), 1), &id);
    return add_id(ids, id, file, object);
}

static tlm_status_t read_post_processor(template_ids_t *ids, const tlmi_hf_file_t *file,
                                        const tlmi_json_t *object)
{
    if (tlmi_json_is_null(object) || tlmi_hf_is(object, "type", "ByteLevel"))
        return TLM_OK;
    if (tlmi_hf_is(object, "type", "Sequence")) {
        const tlmi_json_t *items;

        TLMI_TRY(tlmi_hf_array(&items, file, "post_processor", object, "processors"));
        for (size_t i = 0; i < tlmi_json_size(items); i++)
            TLMI_TRY(read_post_processor(ids, file, tlmi_json_item(items, i)));
        return TLM_OK;
    }
    if (ids->has_text)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: two post_processors that add tokens are not supported", file->path);
    if (tlmi_hf_is(object, "type", "TemplateProcessing"))
        return read_template(ids, file, object);
    if (!tlmi_hf_is(object, "type", "BertProcessing") &&
        !tlmi_hf_is(object, "type", "RobertaProcessing"))
        return tlmi_hf_fail_unsupported(file, "post_processor", object);
    TLMI_TRY(read_pair(ids, file, object, "cls"));
    TLMI_TRY(note_text(ids, file));
    return read_pair(ids, file, object, "sep");
}

tlm_status_t tlmi_hf_read_template(tlmi_hf_file_t *file)
{
    template_ids_t ids = {0};
    tlm_status_t status =
        read_post_processor(&ids, file, tlmi_json_member(file->root, "post_processor"));

    if (status == TLM_OK && ids.n > 0 && !ids.has_text)
        status = tlmi_fail(TLM_ERR_UNSUPPORTED,
                           "%s: a post_processor without the text is not supported", file->path);
    for (size_t i = 0; i < ids.n && status == TLM_OK; i++)
        if (ids.ids[i] >= file->parts.vocabulary.size)
            status = tlmi_fail(TLM_ERR_FORMAT,
                               "%s: the post_processor adds id %u; the vocabulary has %u ids",
                               file->path, ids.ids[i], file->parts.vocabulary.size);
    if (status == TLM_OK && ids.n > 0)
        status = tlmi_template_create(&file->parts.template, ids.ids, ids.num_before,
                                      ids.ids + ids.num_before, ids.n - ids.num_before);
    tlmi_free(ids.ids);
    return status;
}

/* ---- Truncation and padding ---- */

static tlm_status_t read_side(bool *is_left, const tlmi_hf_file_t *file, const char *name,
                              const tlmi_json_t *object)
{
    *is_left = tlmi_hf_is(object, "direction", "Left");
    if (*is_left || tlmi_hf_is(object, "direction", "Right") ||
        tlmi_json_is_null(tlmi_json_member(object, "direction")))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT, "%s: the direction of the %s is neither Left nor Right",
                     file->path, name);
}

static tlm_status_t read_truncation(tlmi_hf_file_t *file)
{
    const tlmi_json_t *object = tlmi_json_member(file->root, "truncation");
    tlmi_row_limits_t *limits = &file->parts.limits;

    if (tlmi_json_is_null(object))
        return TLM_OK;
    limits->truncates = true;
    if (tlmi_hf_is(object, "strategy", "OnlySecond"))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the truncation strategy OnlySecond is not supported", file->path);
    TLMI_TRY(tlmi_hf_size(&limits->max_length, file, "truncation", object, "max_length"));
    return read_side(&limits->truncates_left, file, "truncation", object);
}

static tlm_status_t read_padding(tlmi_hf_file_t *file)
{
    const tlmi_json_t *object = tlmi_json_member(file->root, "padding");
    const tlmi_json_t *strategy = tlmi_json_member(object, "strategy");
    tlmi_row_limits_t *limits = &file->parts.limits;
    size_t pad_id = 0;

    if (tlmi_json_is_null(object))
        return TLM_OK;
    limits->pads = true;
    if (tlmi_json_is_object(strategy))
        TLMI_TRY(tlmi_hf_size(&limits->pad_length, file, "padding", strategy, "Fixed"));
    if (!tlmi_json_is_null(tlmi_json_member(object, "pad_to_multiple_of")))
        TLMI_TRY(
            tlmi_hf_size(&limits->pad_multiple, file, "padding", object, "pad_to_multiple_of"));
    TLMI_TRY(tlmi_hf_size(&pad_id, file, "padding", object, "pad_id"));
    limits->pad_id = (uint32_t)pad_id;
    if (pad_id > UINT32_MAX || limits->pad_length > UINT32_MAX || limits->pad_multiple > UINT32_MAX)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: a number of the padding is above %u", file->path,
                         UINT32_MAX);
    return read_side(&limits->pads_left, file, "padding", object);
}

tlm_status_t tlmi_hf_read_limits(tlmi_hf_file_t *file)
{
    TLMI_TRY(read_truncation(file));
    return read_padding(file);
}
