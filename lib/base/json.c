/* JSON values: access, building, writing their text. */
#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"

/* ---- Keys and characters ---------------------------------------------------------------- */

uint32_t tlmi_json_hash(const char *key, size_t size)
{
    uint32_t hash = 2166136261u; /* FNV-1a; collisions cost time, not correctness */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)key[i]) * 16777619u;
    return hash;
}

int tlmi_json_compare_keys(const tlmi_json_t *a, uint32_t a_hash, const tlmi_json_t *b,
                           uint32_t b_hash)
{
    if (a_hash != b_hash)
        return a_hash < b_hash ? -1 : 1;
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    return memcmp(a->as.text, b->as.text, a->count);
}

size_t tlmi_json_utf8_size(const uint8_t *at, const uint8_t *end)
{
    uint8_t first = at[0];
    if (first < 0x80)
        return 1;
    size_t size = first >= 0xC2 && first <= 0xDF   ? 2
                  : first >= 0xE0 && first <= 0xEF ? 3
                  : first >= 0xF0 && first <= 0xF4 ? 4
                                                   : 0;
    if (size == 0 || (size_t)(end - at) < size)
        return 0;
    /* Reject overlong forms, surrogates, and code points beyond U+10FFFF. */
    uint8_t least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < least || at[1] > most)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return size;
}

static bool is_utf8(const char *text, size_t size)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + size;
    while (at < end) {
        size_t step = tlmi_json_utf8_size(at, end);
        if (step == 0)
            return false;
        at += step;
    }
    return true;
}

/* ---- Access -------------------------------------------------------------------------------- */

static bool is_type(const tlmi_json_t *value, tlmi_json_type_t type)
{
    return value != NULL && value->type == type;
}

bool tlmi_json_is_null(const tlmi_json_t *value)
{
    return value == NULL || value->type == TLMI_JSON_NULL;
}

bool tlmi_json_is_object(const tlmi_json_t *value)
{
    return is_type(value, TLMI_JSON_OBJECT);
}

bool tlmi_json_is_array(const tlmi_json_t *value)
{
    return is_type(value, TLMI_JSON_ARRAY);
}

size_t tlmi_json_size(const tlmi_json_t *value)
{
    return tlmi_json_is_object(value) || tlmi_json_is_array(value) ? value->count : 0;
}

const tlmi_json_t *tlmi_json_item(const tlmi_json_t *array, size_t index)
{
    return tlmi_json_is_array(array) && index < array->count ? &array->as.items[index] : NULL;
}

/* Binary search in the order that the parser stored after the items. */
static const tlmi_json_t *find_indexed(const tlmi_json_t *object, const tlmi_json_t *key)
{
    const tlmi_json_t *items = object->as.items;
    const uint32_t *order = (const uint32_t *)(items + 2 * (size_t)object->count);
    uint32_t hash = tlmi_json_hash(key->as.text, key->count);
    size_t low = 0, high = object->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const tlmi_json_t *own = &items[2 * (size_t)order[middle]];
        int sign = tlmi_json_compare_keys(own, tlmi_json_hash(own->as.text, own->count), key, hash);
        if (sign == 0)
            return own + 1;
        if (sign < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const tlmi_json_t *tlmi_json_member(const tlmi_json_t *object, const char *key)
{
    return tlmi_json_member_sized(object, key, strlen(key));
}

const tlmi_json_t *tlmi_json_member_sized(const tlmi_json_t *object, const void *key, size_t size)
{
    if (!tlmi_json_is_object(object) || size >= UINT32_MAX)
        return NULL;
    const tlmi_json_t wanted = {
        .type = TLMI_JSON_STRING, .count = (uint32_t)size, .as.text = (char *)(uintptr_t)key};
    if (!object->is_built && object->count > TLMI_JSON_INDEXED)
        return find_indexed(object, &wanted);
    for (size_t i = 0; i < object->count; i++) {
        const tlmi_json_t *own = &object->as.items[2 * i];
        if (own->count == size && memcmp(own->as.text, key, size) == 0)
            return own + 1;
    }
    return NULL;
}

bool tlmi_json_next(const tlmi_json_t *object, void **cursor, const char **key,
                    const tlmi_json_t **value)
{
    if (!tlmi_json_is_object(object) || object->count == 0)
        return false;
    /* The cursor points to the key that was returned last. */
    const tlmi_json_t *next = *cursor == NULL ? object->as.items : (const tlmi_json_t *)*cursor + 2;
    if (next == object->as.items + 2 * (size_t)object->count)
        return false;
    *cursor = (void *)(uintptr_t)next;
    *key = next->as.text;
    *value = next + 1;
    return true;
}

bool tlmi_json_get_string(const tlmi_json_t *value, const char **text, size_t *size)
{
    if (!is_type(value, TLMI_JSON_STRING))
        return false;
    *text = value->as.text;
    *size = value->count;
    return true;
}

bool tlmi_json_get_int(const tlmi_json_t *value, int64_t *out)
{
    if (!is_type(value, TLMI_JSON_INT))
        return false;
    *out = value->as.integer;
    return true;
}

bool tlmi_json_get_number(const tlmi_json_t *value, double *out)
{
    if (is_type(value, TLMI_JSON_INT))
        *out = (double)value->as.integer;
    else if (is_type(value, TLMI_JSON_REAL))
        *out = value->as.real;
    else
        return false;
    return true;
}

bool tlmi_json_get_bool(const tlmi_json_t *value, bool *out)
{
    if (!is_type(value, TLMI_JSON_BOOL))
        return false;
    *out = value->as.truth;
    return true;
}

bool tlmi_json_is_text(const tlmi_json_t *value, const char *text)
{
    const char *own;
    size_t size;
    return tlmi_json_get_string(value, &own, &size) && size == strlen(text) &&
           memcmp(own, text, size) == 0;
}

bool tlmi_json_get_uint64(const tlmi_json_t *value, uint64_t *out)
{
    const char *text;
    size_t size;
    return tlmi_json_get_string(value, &text, &size) && strlen(text) == size &&
           tlmi_parse_uint64(text, out);
}

bool tlmi_parse_uint64(const char *text, uint64_t *out)
{
    if (text == NULL || *text == '\0')
        return false;
    uint64_t value = 0;
    for (; *text != '\0'; text++)
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return false;
    *out = value;
    return true;
}

/* ---- Building --------------------------------------------------------------------------- */

static tlmi_json_t *make(tlmi_json_t value)
{
    value.is_built = true;
    return tlmi_memdup(&value, sizeof(value), "a JSON value");
}

tlmi_json_t *tlmi_json_new_object(void)
{
    return make((tlmi_json_t){.type = TLMI_JSON_OBJECT});
}

tlmi_json_t *tlmi_json_new_array(void)
{
    return make((tlmi_json_t){.type = TLMI_JSON_ARRAY});
}

/* Makes *out a string that owns its text. Returns false, with a message, on failure. */
static bool make_string(tlmi_json_t *out, const char *text, size_t size)
{
    if (size >= UINT32_MAX || !is_utf8(text, size)) {
        tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                  "json: a text of %zu bytes is not valid UTF-8 or too long for a string", size);
        return false;
    }
    char *copy = tlmi_alloc(size + 1, 1, "a JSON string");
    if (copy == NULL)
        return false;
    if (size > 0)
        memcpy(copy, text, size);
    copy[size] = '\0';
    *out = (tlmi_json_t){
        .type = TLMI_JSON_STRING, .is_built = true, .count = (uint32_t)size, .as.text = copy};
    return true;
}

tlmi_json_t *tlmi_json_new_string(const char *text, size_t size)
{
    tlmi_json_t string;
    if (!make_string(&string, text, size))
        return NULL;
    tlmi_json_t *value = make(string);
    if (value == NULL)
        tlmi_free(string.as.text);
    return value;
}

tlmi_json_t *tlmi_json_new_int(int64_t value)
{
    return make((tlmi_json_t){.type = TLMI_JSON_INT, .as.integer = value});
}

tlmi_json_t *tlmi_json_new_number(double value)
{
    if (!isfinite(value)) {
        tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "json: %s is not finite, so JSON cannot hold it",
                  TLMI_G(value));
        return NULL;
    }
    return make((tlmi_json_t){.type = TLMI_JSON_REAL, .as.real = value});
}

tlmi_json_t *tlmi_json_new_bool(bool value)
{
    return make((tlmi_json_t){.type = TLMI_JSON_BOOL, .as.truth = value});
}

tlmi_json_t *tlmi_json_new_null(void)
{
    return make((tlmi_json_t){.type = TLMI_JSON_NULL});
}

tlmi_json_t *tlmi_json_new_uint64(uint64_t value)
{
    char text[24];
    int size = snprintf(text, sizeof(text), "%" PRIu64, value);
    return tlmi_json_new_string(text, (size_t)size);
}

/* Frees what a built value holds. The recursion is as deep as the value was built. */
static void release(tlmi_json_t *value)
{
    if (!value->is_built)
        return;
    size_t n = value->type == TLMI_JSON_ARRAY    ? value->count
               : value->type == TLMI_JSON_OBJECT ? 2 * (size_t)value->count
                                                 : 0;
    for (size_t i = 0; i < n; i++)
        release(&value->as.items[i]);
    if (value->type == TLMI_JSON_STRING)
        tlmi_free(value->as.text);
    else if (n > 0)
        tlmi_free(value->as.items);
}

void tlmi_json_free(tlmi_json_t *root)
{
    if (root == NULL)
        return;
    if (root->is_document) {
        tlmi_json_free_document(root);
        return;
    }
    release(root);
    tlmi_free(root);
}

/* Makes room for one or two values after the `n` values of a built container: for 8 at first,
 * then doubled. Objects hold an even number of values, so two fit whenever one does. */
static bool reserve(tlmi_json_t *container, size_t n)
{
    if (n > 0 && (n < 8 || (n & (n - 1)) != 0))
        return true;
    tlmi_json_t *items = tlmi_realloc(n == 0 ? NULL : container->as.items, n == 0 ? 8 : 2 * n,
                                      sizeof(*items), "JSON values");
    if (items == NULL)
        return false;
    container->as.items = items;
    return true;
}

tlm_status_t tlmi_json_set(tlmi_json_t *object, const char *key, tlmi_json_t *value)
{
    if (value == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_json_t name;
    if (!make_string(&name, key, strlen(key))) {
        tlmi_json_free(value);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    if (!reserve(object, 2 * (size_t)object->count)) {
        release(&name);
        tlmi_json_free(value);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    object->as.items[2 * (size_t)object->count] = name;
    object->as.items[2 * (size_t)object->count + 1] = *value;
    object->count++;
    tlmi_free(value);
    return TLM_OK;
}

tlm_status_t tlmi_json_append(tlmi_json_t *array, tlmi_json_t *value)
{
    if (value == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (!reserve(array, array->count)) {
        tlmi_json_free(value);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    array->as.items[array->count++] = *value;
    tlmi_free(value);
    return TLM_OK;
}

/* ---- Writing ---------------------------------------------------------------------------- */

typedef struct text_buffer {
    char *text;
    size_t size, capacity;
} text_buffer_t;

static tlm_status_t put(text_buffer_t *buffer, const char *bytes, size_t size)
{
    if (!tlmi_grow(&buffer->text, &buffer->capacity, buffer->size + size + 1, 1, "JSON text"))
        return TLM_ERR_OUT_OF_MEMORY;
    if (size > 0)
        memcpy(buffer->text + buffer->size, bytes, size);
    buffer->size += size;
    buffer->text[buffer->size] = '\0';
    return TLM_OK;
}

static tlm_status_t put_text(text_buffer_t *buffer, const char *text)
{
    return put(buffer, text, strlen(text));
}

static tlm_status_t put_string(text_buffer_t *buffer, const char *text, size_t size)
{
    static const char plain[] = "\"\\\b\f\n\r\t", escaped[] = "\"\\bfnrt";
    size_t from = 0;
    TLMI_TRY(put_text(buffer, "\""));
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        const char *known = c == 0 ? NULL : strchr(plain, c);
        char escape[8];
        if (known != NULL)
            snprintf(escape, sizeof(escape), "\\%c", escaped[known - plain]);
        else
            snprintf(escape, sizeof(escape), "\\u%04X", (unsigned)c);
        TLMI_TRY(put(buffer, text + from, i - from));
        TLMI_TRY(put_text(buffer, escape));
        from = i + 1;
    }
    TLMI_TRY(put(buffer, text + from, size - from));
    return put_text(buffer, "\"");
}

/* Writes 17 digits, always with a point or an exponent; exponents have no plus sign and no
 * leading zeros. */
static tlm_status_t put_real(text_buffer_t *buffer, double value)
{
    char text[TLMI_NUMBER_SIZE];
    char *exponent = strchr(tlmi_number_text(text, value, 17), 'e');
    if (exponent == NULL) {
        TLMI_TRY(put_text(buffer, text));
        return strchr(text, '.') == NULL ? put_text(buffer, ".0") : TLM_OK;
    }
    char *digits = exponent + 2; /* after the sign, which printf always writes */
    while (*digits == '0' && digits[1] != '\0')
        digits++;
    TLMI_TRY(put(buffer, text, (size_t)(exponent + 1 - text)));
    if (exponent[1] == '-')
        TLMI_TRY(put_text(buffer, "-"));
    return put_text(buffer, digits);
}

static tlm_status_t put_value(text_buffer_t *buffer, const tlmi_json_t *value)
{
    char text[24];
    switch ((tlmi_json_type_t)value->type) {
    case TLMI_JSON_NULL:
        return put_text(buffer, "null");
    case TLMI_JSON_BOOL:
        return put_text(buffer, value->as.truth ? "true" : "false");
    case TLMI_JSON_INT:
        snprintf(text, sizeof(text), "%" PRId64, value->as.integer);
        return put_text(buffer, text);
    case TLMI_JSON_REAL:
        return put_real(buffer, value->as.real);
    case TLMI_JSON_STRING:
        return put_string(buffer, value->as.text, value->count);
    case TLMI_JSON_ARRAY:
    case TLMI_JSON_OBJECT:
        break;
    }
    bool is_object = value->type == TLMI_JSON_OBJECT;
    TLMI_TRY(put_text(buffer, is_object ? "{" : "["));
    for (size_t i = 0; i < value->count; i++) {
        if (i > 0)
            TLMI_TRY(put_text(buffer, ","));
        if (is_object) {
            TLMI_TRY(put_value(buffer, &value->as.items[2 * i]));
            TLMI_TRY(put_text(buffer, ":"));
        }
        TLMI_TRY(put_value(buffer, &value->as.items[is_object ? 2 * i + 1 : i]));
    }
    return put_text(buffer, is_object ? "}" : "]");
}

tlm_status_t tlmi_json_dump(char **text, size_t *size, const tlmi_json_t *value)
{
    text_buffer_t buffer = {NULL, 0, 0};
    if (value == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = put_value(&buffer, value);
    if (status != TLM_OK) {
        tlmi_free(buffer.text);
        return status;
    }
    *text = buffer.text;
    *size = buffer.size;
    return TLM_OK;
}
