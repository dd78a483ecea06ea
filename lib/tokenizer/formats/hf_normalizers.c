/* The normalizer of tokenizer.json. */
#include <string.h>

#include "base/base64.h"
#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/formats/hf_tokenizer.h"

static const char part[] = "normalizer";

static const struct {
    const char *type;
    const tlmi_normalizer_t *normalizer;
} constants[] = {
    {"NFC", &tlmi_nfc},
    {"NFD", &tlmi_nfd},
    {"NFKC", &tlmi_nfkc},
    {"NFKD", &tlmi_nfkd},
    {"Lowercase", &tlmi_lowercase},
    {"StripAccents", &tlmi_strip_accents},
    {"Nmt", &tlmi_nmt},
    {"ByteLevel", &tlmi_byte_level_normalizer},
};

static tlm_status_t read_one(const tlmi_normalizer_t **out, const tlmi_hf_file_t *file,
                             const tlmi_json_t *object);

static tlm_status_t read_strip(const tlmi_normalizer_t **out, const tlmi_hf_file_t *file,
                               const tlmi_json_t *object)
{
    bool left, right;

    TLMI_TRY(tlmi_hf_bool(&left, file, part, object, "strip_left"));
    TLMI_TRY(tlmi_hf_bool(&right, file, part, object, "strip_right"));
    return tlmi_strip_normalizer_create(out, left, right);
}

static tlm_status_t read_replace(const tlmi_normalizer_t **out, const tlmi_hf_file_t *file,
                                 const tlmi_json_t *object)
{
    tlm_bytes_t pattern, content;
    bool is_regex;

    TLMI_TRY(tlmi_hf_pattern(&pattern, &is_regex, file, part, object, "pattern"));
    TLMI_TRY(tlmi_hf_string(&content, file, part, object, "content"));
    if (is_regex)
        return tlmi_replace_regex_create(out, (const char *)pattern.data, content.data,
                                         content.size);
    return tlmi_replace_string_create(out, pattern.data, pattern.size, content.data, content.size);
}

static tlm_status_t read_prepend(const tlmi_normalizer_t **out, const tlmi_hf_file_t *file,
                                 const tlmi_json_t *object)
{
    tlm_bytes_t text;

    TLMI_TRY(tlmi_hf_string(&text, file, part, object, "prepend"));
    return tlmi_prepend_create(out, text.data, text.size);
}

static tlm_status_t read_bert(const tlmi_normalizer_t **out, const tlmi_hf_file_t *file,
                              const tlmi_json_t *object)
{
    bool clean_text, chinese, lowercase;

    TLMI_TRY(tlmi_hf_bool(&clean_text, file, part, object, "clean_text"));
    TLMI_TRY(tlmi_hf_bool(&chinese, file, part, object, "handle_chinese_chars"));
    TLMI_TRY(tlmi_hf_bool(&lowercase, file, part, object, "lowercase"));
    bool strip_accents = lowercase;
    TLMI_TRY(tlmi_hf_optional_bool(&strip_accents, file, part, object, "strip_accents"));
    return tlmi_bert_normalizer_create(out, clean_text, chinese, strip_accents, lowercase);
}

static tlm_status_t read_precompiled(const tlmi_normalizer_t **out, const tlmi_hf_file_t *file,
                                     const tlmi_json_t *object)
{
    tlm_bytes_t text;

    TLMI_TRY(tlmi_hf_string(&text, file, part, object, "precompiled_charsmap"));
    uint8_t *blob = tlmi_alloc(text.size / 4 + 1, 3, "a map of characters");
    if (blob == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = TLM_OK;
    size_t size;
    if (!tlmi_base64_decode(blob, &size, text.data, text.size))
        status =
            tlmi_fail(TLM_ERR_FORMAT, "%s: \"precompiled_charsmap\" is not base64", file->path);
    if (status == TLM_OK)
        status = tlmi_precompiled_create(out, file->path, blob, size);
    tlmi_free(blob);
    return status;
}

static tlm_status_t read_sequence(const tlmi_normalizer_t **out, const tlmi_hf_file_t *file,
                                  const tlmi_json_t *object)
{
    const tlmi_json_t *items;
    size_t n = 0;

    TLMI_TRY(tlmi_hf_array(&items, file, part, object, "normalizers"));
    const tlmi_normalizer_t **parts =
        tlmi_alloc(tlmi_json_size(items), sizeof(*parts), "normalizers");
    if (parts == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = TLM_OK;
    for (; n < tlmi_json_size(items) && status == TLM_OK; n += status == TLM_OK)
        status = read_one(&parts[n], file, tlmi_json_item(items, n));
    if (status == TLM_OK)
        status = tlmi_normalizer_sequence_create(out, parts, n);
    else
        while (n > 0)
            tlmi_normalizer_free(parts[--n]);
    tlmi_free(parts);
    return status;
}

static const struct {
    const char *type;
    tlm_status_t (*read)(const tlmi_normalizer_t **out, const tlmi_hf_file_t *file,
                         const tlmi_json_t *object);
} readers[] = {
    {"Strip", read_strip},         {"Replace", read_replace},   {"Prepend", read_prepend},
    {"BertNormalizer", read_bert}, {"Sequence", read_sequence}, {"Precompiled", read_precompiled},
};

static tlm_status_t read_one(const tlmi_normalizer_t **out, const tlmi_hf_file_t *file,
                             const tlmi_json_t *object)
{
    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
        if (tlmi_hf_is(object, "type", constants[i].type)) {
            *out = constants[i].normalizer;
            return TLM_OK;
        }
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
        if (tlmi_hf_is(object, "type", readers[i].type))
            return readers[i].read(out, file, object);
    return tlmi_hf_fail_unsupported(file, part, object);
}

/* The one part of a Sequence is a normalizer by itself. */
static const tlmi_json_t *unwrap(const tlmi_json_t *object)
{
    while (tlmi_hf_is(object, "type", "Sequence")) {
        const tlmi_json_t *items = tlmi_json_member(object, "normalizers");

        if (!tlmi_json_is_array(items) || tlmi_json_size(items) > 1)
            break;
        object = tlmi_json_item(items, 0);
    }
    return object;
}

tlm_status_t tlmi_hf_read_normalizer(tlmi_hf_file_t *file)
{
    const tlmi_json_t *object = unwrap(tlmi_json_member(file->root, part));

    return tlmi_json_is_null(object) ? TLM_OK : read_one(&file->parts.normalizer, file, object);
}
