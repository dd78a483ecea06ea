/* JSON over jansson: a tlmi_json_t is a json_t under another name. */
#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

static json_t *node(const tlmi_json_t *value)
{
    return (json_t *)(uintptr_t)value;
}

static tlmi_json_t *wrap(json_t *value)
{
    if (value == NULL)
        tlmi_fail_memory(0, "a JSON value");
    return (tlmi_json_t *)value;
}

/* jansson's lexer looks at no result of its buffer, and goes astray where memory runs out. So it is
 * only called while there is enough: the values of a vocabulary or a safetensors header take some 14
 * bytes for each character of the text. */
static bool memory_is_left(size_t size)
{
    size_t count;
    void *block = tlmi_add_size(&count, size, 4096) ? tlmi_alloc(count, 32, "JSON text") : NULL;
    tlmi_free(block);
    return block != NULL;
}

tlm_status_t tlmi_json_parse(tlmi_json_t **out, const void *text, size_t size, const char *what)
{
    json_error_t error;
    if (!memory_is_left(size))
        return TLM_ERR_OUT_OF_MEMORY;
    json_t *root =
        json_loadb(size > 0 ? text : "", size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (root == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory)
            return tlmi_fail_memory(size, what);
        return tlmi_fail(TLM_ERR_FORMAT, "%s: line %d column %d: %s", what, error.line,
                         error.column, error.text);
    }
    *out = (tlmi_json_t *)root;
    return TLM_OK;
}

void tlmi_json_free(tlmi_json_t *root)
{
    json_decref(node(root));
}

bool tlmi_json_is_null(const tlmi_json_t *value)
{
    return value == NULL || json_is_null(node(value));
}

bool tlmi_json_is_object(const tlmi_json_t *value)
{
    return json_is_object(node(value));
}

bool tlmi_json_is_array(const tlmi_json_t *value)
{
    return json_is_array(node(value));
}

size_t tlmi_json_size(const tlmi_json_t *value)
{
    return json_is_object(node(value)) ? json_object_size(node(value))
                                       : json_array_size(node(value));
}

const tlmi_json_t *tlmi_json_item(const tlmi_json_t *array, size_t index)
{
    return (const tlmi_json_t *)json_array_get(node(array), index);
}

const tlmi_json_t *tlmi_json_member(const tlmi_json_t *object, const char *key)
{
    return (const tlmi_json_t *)json_object_get(node(object), key);
}

bool tlmi_json_next(const tlmi_json_t *object, void **cursor, const char **key,
                    const tlmi_json_t **value)
{
    json_t *members = node(object);
    *cursor = *cursor == NULL ? json_object_iter(members) : json_object_iter_next(members, *cursor);
    if (*cursor == NULL)
        return false;
    *key = json_object_iter_key(*cursor);
    *value = (const tlmi_json_t *)json_object_iter_value(*cursor);
    return true;
}

bool tlmi_json_get_string(const tlmi_json_t *value, const char **text, size_t *size)
{
    if (!json_is_string(node(value)))
        return false;
    *text = json_string_value(node(value));
    *size = json_string_length(node(value));
    return true;
}

bool tlmi_json_get_int(const tlmi_json_t *value, int64_t *out)
{
    if (!json_is_integer(node(value)))
        return false;
    *out = json_integer_value(node(value));
    return true;
}

bool tlmi_json_get_number(const tlmi_json_t *value, double *out)
{
    if (!json_is_number(node(value)))
        return false;
    *out = json_number_value(node(value));
    return true;
}

bool tlmi_json_get_bool(const tlmi_json_t *value, bool *out)
{
    if (!json_is_boolean(node(value)))
        return false;
    *out = json_is_true(node(value));
    return true;
}

tlmi_json_t *tlmi_json_new_object(void)
{
    return wrap(json_object());
}

tlmi_json_t *tlmi_json_new_array(void)
{
    return wrap(json_array());
}

tlmi_json_t *tlmi_json_new_string(const char *text, size_t size)
{
    return wrap(json_stringn(text, size));
}

tlmi_json_t *tlmi_json_new_int(int64_t value)
{
    return wrap(json_integer(value));
}

tlmi_json_t *tlmi_json_new_number(double value)
{
    return wrap(json_real(value));
}

tlmi_json_t *tlmi_json_new_bool(bool value)
{
    return wrap(json_boolean(value));
}

tlmi_json_t *tlmi_json_new_null(void)
{
    return wrap(json_null());
}

tlmi_json_t *tlmi_json_new_uint64(uint64_t value)
{
    char text[24];
    int size = snprintf(text, sizeof text, "%" PRIu64, value);
    return tlmi_json_new_string(text, (size_t)size);
}

bool tlmi_parse_uint64(const char *text, uint64_t *out)
{
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

bool tlmi_json_get_uint64(const tlmi_json_t *value, uint64_t *out)
{
    const char *text = NULL;
    size_t size;
    return tlmi_json_get_string(value, &text, &size) && strlen(text) == size &&
           tlmi_parse_uint64(text, out);
}

tlm_status_t tlmi_json_set(tlmi_json_t *object, const char *key, tlmi_json_t *value)
{
    if (value == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (json_object_set_new(node(object), key, node(value)) != 0)
        return tlmi_fail_memory(strlen(key), "a JSON member");
    return TLM_OK;
}

tlm_status_t tlmi_json_append(tlmi_json_t *array, tlmi_json_t *value)
{
    if (value == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (json_array_append_new(node(array), node(value)) != 0)
        return tlmi_fail_memory(sizeof(void *), "a JSON item");
    return TLM_OK;
}

typedef struct text_buffer {
    char *text;
    size_t size;
    size_t capacity;
    bool failed; /* for good: jansson does not look at every result, and goes on */
} text_buffer_t;

static int append_text(const char *bytes, size_t size, void *user)
{
    text_buffer_t *buffer = user;
    if (size == 0)
        return 0;
    if (!buffer->failed &&
        !tlmi_grow(&buffer->text, &buffer->capacity, buffer->size + size + 1, 1, "JSON text"))
        buffer->failed = true;
    if (buffer->failed)
        return -1;
    memcpy(buffer->text + buffer->size, bytes, size);
    buffer->size += size;
    return 0;
}

tlm_status_t tlmi_json_dump(char **text, size_t *size, const tlmi_json_t *value)
{
    text_buffer_t buffer = {NULL, 0, 0, false};
    size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    if (json_dump_callback(node(value), append_text, &buffer, flags) != 0 || buffer.failed ||
        buffer.size == 0) {
        tlmi_free(buffer.text);
        return tlmi_fail_memory(buffer.size, "JSON text");
    }
    buffer.text[buffer.size] = '\0';
    *text = buffer.text;
    *size = buffer.size;
    return TLM_OK;
}
