/* Values of templates as JSON, and JSON as values. */
#include <string.h>

#include "tokenizer/chat/jinja.h"

/* ---- Writing ---- */

static tlm_status_t add_text(tlmi_builder_t *builder, const char *text)
{
    return tlmi_builder_add(builder, text, strlen(text), TLMI_FROM_TEMPLATE);
}

static tlm_status_t add_json_string(tlmi_builder_t *builder, const tlmi_string_t *string)
{
    static const char plain[] = "\"\\\n\r\t\b\f", names[] = "\"\\nrtbf";

    TLMI_TRY(add_text(builder, "\""));
    for (size_t at = 0, from = 0; at <= string->size; at++) {
        unsigned char byte = at < string->size ? (unsigned char)string->bytes[at] : 0;
        const char *found = byte != 0 ? strchr(plain, byte) : NULL;
        char escape[] = "\\u0000";

        if (at < string->size && byte >= ' ' && found == NULL)
            continue;
        TLMI_TRY(tlmi_builder_add_part(builder, string, from, at));
        from = at + 1;
        if (at == string->size)
            break;
        if (found != NULL)
            escape[1] = names[found - plain];
        escape[4] = (char)('0' + (byte >> 4)); /* byte < 0x20 */
        escape[5] = "0123456789abcdef"[byte & 15];
        TLMI_TRY(tlmi_builder_add(builder, escape, found != NULL ? 2 : 6,
                                  tlmi_string_source(string, at)));
    }
    return add_text(builder, "\"");
}

static tlm_status_t add_line(tlmi_builder_t *builder, int64_t indent, int64_t level)
{
    if (indent < 0)
        return TLM_OK;
    static const char spaces[TLMI_JINJA_MAX_INDENT + 1] = "                ";

    TLMI_TRY(add_text(builder, "\n"));
    for (int64_t i = 0; i < level; i++)
        TLMI_TRY(tlmi_builder_add(builder, spaces, (size_t)indent, TLMI_FROM_TEMPLATE));
    return TLM_OK;
}

static tlm_status_t add_json(tlmi_builder_t *builder, const tlmi_value_t *value, int64_t indent,
                             int64_t level);

static tlm_status_t add_json_items(tlmi_builder_t *builder, const tlmi_value_t *value,
                                   int64_t indent, int64_t level)
{
    bool is_map = value->type == TLMI_VALUE_MAP;
    size_t n = is_map ? value->as.map->n : value->as.list->n;

    TLMI_TRY(add_text(builder, is_map ? "{" : "["));
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            TLMI_TRY(add_text(builder, indent < 0 ? ", " : ","));
        TLMI_TRY(add_line(builder, indent, level + 1));
        if (is_map) {
            const tlmi_value_t *key = &value->as.map->members[i].key;

            if (key->type != TLMI_VALUE_STRING)
                return tlmi_fail(TLM_ERR_UNSUPPORTED, "chat template: tojson of a key that is %s",
                                 tlmi_value_type_name(key));
            TLMI_TRY(add_json_string(builder, key->as.string));
            TLMI_TRY(add_text(builder, ": "));
        }
        TLMI_TRY(add_json(builder,
                          is_map ? &value->as.map->members[i].value : &value->as.list->items[i],
                          indent, level + 1));
    }
    if (n > 0)
        TLMI_TRY(add_line(builder, indent, level));
    return add_text(builder, is_map ? "}" : "]");
}

static tlm_status_t add_json(tlmi_builder_t *builder, const tlmi_value_t *value, int64_t indent,
                             int64_t level)
{
    if (level > TLMI_JSON_MAX_DEPTH)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "chat template: tojson of more than %d levels",
                         TLMI_JSON_MAX_DEPTH);
    switch (value->type) {
    case TLMI_VALUE_NONE:
        return add_text(builder, "null");
    case TLMI_VALUE_BOOL:
        return add_text(builder, value->as.truth ? "true" : "false");
    case TLMI_VALUE_STRING:
        return add_json_string(builder, value->as.string);
    case TLMI_VALUE_LIST:
    case TLMI_VALUE_MAP:
        return add_json_items(builder, value, indent, level);
    case TLMI_VALUE_INT:
    case TLMI_VALUE_REAL:
        return tlmi_builder_add_value(builder, value);
    default:
        return tlmi_fail(TLM_ERR_FORMAT, "chat template: tojson of what is %s",
                         tlmi_value_type_name(value));
    }
}

tlm_status_t tlmi_builder_add_json(tlmi_builder_t *builder, const tlmi_value_t *value,
                                   int64_t indent)
{
    return add_json(builder, value, indent, 0);
}

/* ---- Reading ---- */

static tlm_status_t items_of_json(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_json_t *json)
{
    size_t n = tlmi_json_size(json);

    TLMI_TRY(tlmi_list_make(out, arena, NULL, n));
    for (size_t i = 0; i < n; i++)
        TLMI_TRY(tlmi_value_of_json(&out->as.list->items[i], arena, tlmi_json_item(json, i)));
    return TLM_OK;
}

static tlm_status_t members_of_json(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_json_t *json)
{
    const tlmi_json_t *member;
    void *cursor = NULL;
    const char *key;

    TLMI_TRY(tlmi_map_make(out, arena, tlmi_json_size(json)));
    while (tlmi_json_next(json, &cursor, &key, &member)) {
        tlmi_map_t *map = out->as.map;
        tlmi_value_t name, value;

        TLMI_TRY(tlmi_string_make(&name, arena, key, strlen(key), TLMI_FROM_CALLER));
        TLMI_TRY(tlmi_value_of_json(&value, arena, member));
        map->members[map->n++] = (tlmi_member_t){name, value}; /* keys of JSON are distinct */
    }
    return TLM_OK;
}

tlm_status_t tlmi_value_of_json(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_json_t *json)
{
    const char *text;
    int64_t integer;
    double real;
    size_t size;
    bool truth;

    if (tlmi_json_is_array(json))
        return items_of_json(out, arena, json);
    if (tlmi_json_is_object(json))
        return members_of_json(out, arena, json);
    if (tlmi_json_get_string(json, &text, &size))
        return tlmi_string_make(out, arena, text, size, TLMI_FROM_CALLER);
    if (tlmi_json_get_bool(json, &truth))
        *out = TLMI_BOOL(truth);
    else if (tlmi_json_get_int(json, &integer))
        *out = TLMI_INT(integer);
    else if (tlmi_json_get_number(json, &real))
        *out = TLMI_VALUE(REAL, real, real);
    else
        *out = TLMI_NONE;
    return TLM_OK;
}
