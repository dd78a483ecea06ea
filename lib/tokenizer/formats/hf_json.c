/* Reading members of the components of tokenizer.json. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "tokenizer/formats/hf_tokenizer.h"

bool tlmi_hf_is(const tlmi_json_t *object, const char *key, const char *text)
{
    const char *value;
    size_t size;

    return tlmi_json_get_string(tlmi_json_member(object, key), &value, &size) &&
           size == strlen(text) && memcmp(value, text, size) == 0;
}

const char *tlmi_hf_type(const tlmi_json_t *object)
{
    const char *type;
    size_t size;

    return tlmi_json_get_string(tlmi_json_member(object, "type"), &type, &size) ? type
                                                                                : "without a type";
}

tlm_status_t tlmi_hf_fail_unsupported(const tlmi_hf_file_t *file, const char *part,
                                      const tlmi_json_t *object)
{
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the %s %.40s is not supported", file->path, part,
                     tlmi_hf_type(object));
}

/* Fails because a member is missing or is not what it should be. */
static tlm_status_t fail_member(const tlmi_hf_file_t *file, const char *part,
                                const tlmi_json_t *object, const char *key, const char *wanted)
{
    const tlmi_json_t *value = tlmi_json_member(object, key);

    if (value == NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the %s %.40s lacks \"%s\"", file->path, part,
                         tlmi_hf_type(object), key);
    return tlmi_fail(TLM_ERR_FORMAT, "%s: \"%s\" of the %s %.40s is not %s", file->path, key, part,
                     tlmi_hf_type(object), wanted);
}

tlm_status_t tlmi_hf_bool(bool *out, const tlmi_hf_file_t *file, const char *part,
                          const tlmi_json_t *object, const char *key)
{
    return tlmi_json_get_bool(tlmi_json_member(object, key), out)
               ? TLM_OK
               : fail_member(file, part, object, key, "true or false");
}

tlm_status_t tlmi_hf_optional_bool(bool *out, const tlmi_hf_file_t *file, const char *part,
                                   const tlmi_json_t *object, const char *key)
{
    return tlmi_json_is_null(tlmi_json_member(object, key))
               ? TLM_OK
               : tlmi_hf_bool(out, file, part, object, key);
}

tlm_status_t tlmi_hf_string(tlm_bytes_t *out, const tlmi_hf_file_t *file, const char *part,
                            const tlmi_json_t *object, const char *key)
{
    const char *text;
    size_t size;

    if (!tlmi_json_get_string(tlmi_json_member(object, key), &text, &size))
        return fail_member(file, part, object, key, "a string");
    *out = (tlm_bytes_t){(const uint8_t *)text, size};
    return TLM_OK;
}

tlm_status_t tlmi_hf_optional_string(tlm_bytes_t *out, const tlmi_hf_file_t *file, const char *part,
                                     const tlmi_json_t *object, const char *key)
{
    return tlmi_json_is_null(tlmi_json_member(object, key))
               ? TLM_OK
               : tlmi_hf_string(out, file, part, object, key);
}

tlm_status_t tlmi_hf_size(size_t *out, const tlmi_hf_file_t *file, const char *part,
                          const tlmi_json_t *object, const char *key)
{
    int64_t value;

    if (!tlmi_json_get_int(tlmi_json_member(object, key), &value) || value < 0)
        return fail_member(file, part, object, key, "a number from 0");
    *out = (size_t)value;
    return TLM_OK;
}

tlm_status_t tlmi_hf_character(tlm_bytes_t *out, uint32_t *code_point, const tlmi_hf_file_t *file,
                               const char *part, const tlmi_json_t *object, const char *key)
{
    TLMI_TRY(tlmi_hf_string(out, file, part, object, key));
    if (out->size == 0 ||
        tlmi_utf8_decode(code_point, out->data, out->data + out->size) != (int)out->size)
        return fail_member(file, part, object, key, "one character");
    return TLM_OK;
}

tlm_status_t tlmi_hf_pattern(tlm_bytes_t *out, bool *is_regex, const tlmi_hf_file_t *file,
                             const char *part, const tlmi_json_t *object, const char *key)
{
    const tlmi_json_t *pattern = tlmi_json_member(object, key);
    const char *text;
    size_t size;

    *is_regex = tlmi_json_get_string(tlmi_json_member(pattern, "Regex"), &text, &size);
    if (!*is_regex && !tlmi_json_get_string(tlmi_json_member(pattern, "String"), &text, &size))
        return fail_member(file, part, object, key, "a String or a Regex");
    if (*is_regex && strlen(text) != size)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the regex of the %s %.40s has a NUL", file->path,
                         part, tlmi_hf_type(object));
    *out = (tlm_bytes_t){(const uint8_t *)text, size};
    return TLM_OK;
}

tlm_status_t tlmi_hf_array(const tlmi_json_t **out, const tlmi_hf_file_t *file, const char *part,
                           const tlmi_json_t *object, const char *key)
{
    *out = tlmi_json_member(object, key);
    return tlmi_json_is_array(*out) ? TLM_OK : fail_member(file, part, object, key, "an array");
}
