/* Functions and methods that templates call. */
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/chat/jinja.h"
#include "tokenizer/pretokenize/unicode.h"

/* ---- Arguments ---- */

const tlmi_value_t *tlmi_args_get(const tlmi_args_t *args, size_t position, const char *name)
{
    if (position < args->n && args->names[position] == NULL)
        return &args->values[position];
    for (size_t i = 0; i < args->n && name != NULL; i++)
        if (args->names[i] != NULL && strcmp(args->names[i], name) == 0)
            return &args->values[i];
    return NULL;
}

tlm_status_t tlmi_args_check(const tlmi_args_t *args, size_t most, const char *const *names)
{
    for (size_t i = 0; i < args->n; i++) {
        bool is_known = args->names[i] == NULL && i < most;

        for (size_t k = 0; k < most && names != NULL && args->names[i] != NULL; k++)
            is_known = is_known || (names[k] != NULL && strcmp(names[k], args->names[i]) == 0);
        if (!is_known && args->names[i] == NULL)
            return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                                   "a call has more than %zu arguments", most);
        if (!is_known)
            return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                                   "the argument %.40s of a call is not supported", args->names[i]);
    }
    return TLM_OK;
}

static tlm_status_t get_string(const tlmi_string_t **out, const tlmi_args_t *args, size_t position,
                               const char *call)
{
    const tlmi_value_t *value = tlmi_args_get(args, position, NULL);

    if (value == NULL || value->type != TLMI_VALUE_STRING)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line, "argument %zu of %.40s is %s",
                               position + 1, call,
                               value == NULL ? "missing" : tlmi_value_type_name(value));
    *out = value->as.string;
    return TLM_OK;
}

/* An integer argument that may be missing. */
static tlm_status_t get_int(int64_t *out, const tlmi_args_t *args, size_t position,
                            const char *name, int64_t missing)
{
    const tlmi_value_t *value = tlmi_args_get(args, position, name);

    *out = missing;
    if (value == NULL)
        return TLM_OK;
    if (value->type != TLMI_VALUE_INT)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line,
                               "an argument is %s, not an integer", tlmi_value_type_name(value));
    *out = value->as.integer;
    return TLM_OK;
}

/* ---- What can be gone through ---- */

static tlm_status_t characters(const tlmi_value_t **items, size_t *n, tlmi_jinja_run_t *run,
                               const tlmi_string_t *string)
{
    const uint8_t *bytes = (const uint8_t *)string->bytes;
    size_t count = (size_t)tlmi_string_length(string), at = 0, length;
    tlmi_value_t *out = tlmi_arena_alloc(&run->arena, count, sizeof(*out));

    if (out == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (*n = 0; at < string->size && *n < count; at += length) {
        length = tlmi_utf8_length(bytes + at, bytes + string->size);
        TLMI_TRY(tlmi_string_part(&out[(*n)++], &run->arena, string, at, at + length));
    }
    *items = out;
    return TLM_OK;
}

static tlm_status_t map_parts(const tlmi_value_t **items, size_t *n, tlmi_jinja_run_t *run,
                              const tlmi_map_t *map, const char *which)
{
    tlmi_value_t *out = tlmi_arena_alloc(&run->arena, map->n, sizeof(*out));

    if (out == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < map->n; i++) {
        const tlmi_member_t *member = &map->members[i];

        if (which[0] == 'i')
            TLMI_TRY(tlmi_list_make(&out[i], &run->arena,
                                    (const tlmi_value_t[]){member->key, member->value}, 2));
        else
            out[i] = which[0] == 'k' ? member->key : member->value;
    }
    *items = out;
    *n = map->n;
    return TLM_OK;
}

tlm_status_t tlmi_jinja_items(const tlmi_value_t **items, size_t *n, tlmi_jinja_run_t *run,
                              int line, const tlmi_value_t *value)
{
    switch (value->type) {
    case TLMI_VALUE_UNDEFINED:
        *items = NULL;
        *n = 0;
        return TLM_OK;
    case TLMI_VALUE_LIST:
        *items = value->as.list->items;
        *n = value->as.list->n;
        return TLM_OK;
    case TLMI_VALUE_MAP:
        return map_parts(items, n, run, value->as.map, "keys");
    case TLMI_VALUE_STRING:
        return characters(items, n, run, value->as.string);
    default:
        return tlmi_jinja_fail(TLM_ERR_FORMAT, line, "%s is nothing to go through",
                               tlmi_value_type_name(value));
    }
}

/* ---- Functions ---- */

#define MOST_RANGE 1000000

static tlm_status_t call_range(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_args_t *args)
{
    int64_t start = 0, stop, step;

    TLMI_TRY(tlmi_args_check(args, 3, NULL));
    TLMI_TRY(get_int(&stop, args, args->n > 1 ? 1 : 0, NULL, 0));
    if (args->n > 1)
        TLMI_TRY(get_int(&start, args, 0, NULL, 0));
    TLMI_TRY(get_int(&step, args, 2, NULL, 1));
    if (args->n == 0 || step == 0)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line, "range has no such arguments");
    int64_t n = 0;
    for (int64_t i = start; (step > 0 ? i < stop : i > stop) && n <= MOST_RANGE;) {
        n++;
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    if (n > MOST_RANGE)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                               "range has more than %d numbers", MOST_RANGE);
    TLMI_TRY(tlmi_list_make(out, &run->arena, NULL, (size_t)n));
    for (int64_t i = 0; i < n; i++) /* i * step may have more than 63 bits, the sum has not */
        out->as.list->items[i] =
            TLMI_INT((int64_t)((uint64_t)start + (uint64_t)i * (uint64_t)step));
    return TLM_OK;
}

/* namespace(a=1) and dict(a=1). */
static tlm_status_t call_dict(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_args_t *args,
                              tlmi_value_type_t type)
{
    TLMI_TRY(tlmi_map_make(out, &run->arena, args->n));
    for (size_t i = 0; i < args->n; i++) {
        const tlmi_value_t *value = &args->values[i];

        TLMI_TRY(tlmi_jinja_step(run, args->node));
        if (args->names[i] != NULL) {
            TLMI_TRY(tlmi_map_set_named(out->as.map, &run->arena, args->names[i], value));
            continue;
        }
        if (value->type != TLMI_VALUE_MAP)
            return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                                   "a mapping made of %s is not supported",
                                   tlmi_value_type_name(value));
        for (size_t k = 0; k < value->as.map->n; k++) {
            TLMI_TRY(tlmi_jinja_step(run, args->node));
            TLMI_TRY(tlmi_map_set(out->as.map, &run->arena, &value->as.map->members[k].key,
                                  &value->as.map->members[k].value));
        }
    }
    out->type = (uint8_t)type;
    return TLM_OK;
}

static tlm_status_t call_raise(tlmi_jinja_run_t *run, const tlmi_args_t *args)
{
    TLMI_TRY(get_string(&run->reason, args, 0, "raise_exception"));
    size_t size = run->reason->size < 160 ? run->reason->size : 160;
    return tlmi_jinja_fail(TLM_ERR_INVALID_ARGUMENT, args->node->line, "%.*s", (int)size,
                           run->reason->bytes);
}

static const char *const functions[] = {"range", "namespace", "dict", "raise_exception",
                                        "strftime_now"};

bool tlmi_jinja_has_function(const char *name)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        if (strcmp(name, functions[i]) == 0)
            return true;
    return false;
}

tlm_status_t tlmi_jinja_call_function(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                      const tlmi_args_t *args)
{
    const tlmi_string_t *format = NULL;

    if (strcmp(name, "range") == 0)
        return call_range(out, run, args);
    if (strcmp(name, "namespace") == 0)
        return call_dict(out, run, args, TLMI_VALUE_NAMESPACE);
    if (strcmp(name, "dict") == 0)
        return call_dict(out, run, args, TLMI_VALUE_MAP);
    if (strcmp(name, "raise_exception") == 0)
        return call_raise(run, args);
    TLMI_TRY(get_string(&format, args, 0, name));
    return tlmi_jinja_strftime(out, run, args->node->line, format);
}

/* ---- Methods of strings ---- */

/* Pieces of a string that is being split. */
typedef struct pieces {
    tlmi_value_t *items;
    size_t n, capacity;
} pieces_t;

static tlm_status_t add_piece(pieces_t *pieces, tlmi_jinja_run_t *run, const tlmi_string_t *string,
                              size_t from, size_t to)
{
    if (!tlmi_grow(&pieces->items, &pieces->capacity, pieces->n + 1, sizeof(*pieces->items),
                   "a chat template"))
        return TLM_ERR_OUT_OF_MEMORY;
    return tlmi_string_part(&pieces->items[pieces->n++], &run->arena, string, from, to);
}

static tlm_status_t split_at(pieces_t *pieces, tlmi_jinja_run_t *run, const tlmi_string_t *string,
                             const tlmi_string_t *separator, int64_t most)
{
    size_t at = 0, found;

    while (most-- != 0 && (found = tlmi_string_find(string, separator, at)) != SIZE_MAX) {
        TLMI_TRY(add_piece(pieces, run, string, at, found));
        at = found + separator->size;
    }
    return add_piece(pieces, run, string, at, string->size);
}

static tlm_status_t split_words(pieces_t *pieces, tlmi_jinja_run_t *run,
                                const tlmi_string_t *string, int64_t most)
{
    TLMI_TRY(tlmi_arena_step(&run->arena, string->size / TLMI_JINJA_STEP_CHARACTERS));
    const uint8_t *bytes = (const uint8_t *)string->bytes;
    size_t at = tlmi_space_before(string->bytes, string->size), end;

    while (at < string->size) {
        for (end = at;
             end < string->size && tlmi_space_before(string->bytes + end, string->size - end) == 0;)
            end += tlmi_utf8_length(bytes + end, bytes + string->size);
        if (most-- == 0)
            end = string->size - tlmi_space_behind(string->bytes, string->size);
        TLMI_TRY(add_piece(pieces, run, string, at, end));
        at = end + tlmi_space_before(string->bytes + end, string->size - end);
    }
    return TLM_OK;
}

/* split and, where it makes no difference, rsplit. */
static tlm_status_t call_split(tlmi_value_t *out, tlmi_jinja_run_t *run,
                               const tlmi_string_t *string, const char *name,
                               const tlmi_args_t *args)
{
    static const char *const names[] = {"sep", "maxsplit"};
    const tlmi_value_t *separator = tlmi_args_get(args, 0, names[0]);
    pieces_t pieces = {0};
    tlm_status_t status;
    int64_t most;

    TLMI_TRY(tlmi_args_check(args, 2, names));
    TLMI_TRY(get_int(&most, args, 1, names[1], -1));
    if (name[0] == 'r' && most >= 0)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                               "rsplit with a limit is not supported");
    most = most < 0 ? INT64_MAX : most;
    if (separator == NULL || separator->type == TLMI_VALUE_NONE)
        status = split_words(&pieces, run, string, most);
    else if (separator->type != TLMI_VALUE_STRING || separator->as.string->size == 0)
        status = tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line, "split by what is no text");
    else
        status = split_at(&pieces, run, string, separator->as.string, most);
    if (status == TLM_OK)
        status = tlmi_list_make(out, &run->arena, pieces.items, pieces.n);
    tlmi_free(pieces.items);
    return status;
}

static bool has_affix(const tlmi_string_t *string, const tlmi_string_t *affix, bool at_end)
{
    return affix->size <= string->size &&
           memcmp(string->bytes + (at_end ? string->size - affix->size : 0), affix->bytes,
                  affix->size) == 0;
}

/* startswith and endswith, of a string or a tuple of them. */
static tlm_status_t call_affix(tlmi_value_t *out, tlmi_jinja_run_t *run,
                               const tlmi_string_t *string, const char *name,
                               const tlmi_args_t *args)
{
    const tlmi_value_t *affix = tlmi_args_get(args, 0, NULL), *items = affix;
    bool at_end = name[0] == 'e';
    size_t n = 1;

    TLMI_TRY(tlmi_args_check(args, 1, NULL));
    if (affix != NULL && affix->type == TLMI_VALUE_LIST && affix->as.list->is_tuple) {
        items = affix->as.list->items;
        n = affix->as.list->n;
    }
    *out = TLMI_BOOL(false);
    for (size_t i = 0; i < n; i++) {
        if (items == NULL || items[i].type != TLMI_VALUE_STRING)
            return tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line, "%s with what is no text",
                                   name);
        TLMI_TRY(tlmi_jinja_step(run, args->node));
        tlmi_jinja_charge(run, &items[i]);
        out->as.truth = out->as.truth || has_affix(string, items[i].as.string, at_end);
    }
    return TLM_OK;
}

static tlm_status_t call_join(tlmi_value_t *out, tlmi_jinja_run_t *run,
                              const tlmi_string_t *separator, const tlmi_args_t *args)
{
    tlmi_builder_t builder = {.arena = &run->arena};
    const tlmi_value_t *items;
    tlm_status_t status = TLM_OK;
    size_t n;

    if (args->n != 1)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line, "join takes one argument");
    TLMI_TRY(tlmi_jinja_items(&items, &n, run, args->node->line, &args->values[0]));
    for (size_t i = 0; i < n && status == TLM_OK; i++) {
        if (i > 0)
            status = tlmi_builder_add_part(&builder, separator, 0, separator->size);
        if (status == TLM_OK && items[i].type != TLMI_VALUE_STRING)
            status = tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line, "join of %s",
                                     tlmi_value_type_name(&items[i]));
        if (status == TLM_OK)
            status = tlmi_builder_add_value(&builder, &items[i]);
    }
    if (status == TLM_OK)
        status = tlmi_builder_finish(out, &builder);
    tlmi_builder_release(&builder);
    return status;
}

static tlm_status_t call_replace(tlmi_value_t *out, tlmi_jinja_run_t *run,
                                 const tlmi_string_t *string, const tlmi_args_t *args)
{
    const tlmi_string_t *from = NULL, *to = NULL;
    int64_t most;

    TLMI_TRY(tlmi_args_check(args, 3, NULL));
    TLMI_TRY(get_string(&from, args, 0, "replace"));
    TLMI_TRY(get_string(&to, args, 1, "replace"));
    TLMI_TRY(get_int(&most, args, 2, NULL, -1));
    return tlmi_string_replace(out, &run->arena, string, from, to, most);
}

static tlm_status_t call_find(tlmi_value_t *out, const tlmi_string_t *string,
                              const tlmi_args_t *args)
{
    const tlmi_string_t *part = NULL;

    TLMI_TRY(tlmi_args_check(args, 1, NULL));
    TLMI_TRY(get_string(&part, args, 0, "find"));
    size_t at = tlmi_string_find(string, part, 0);
    const tlmi_string_t before = {string->bytes, at == SIZE_MAX ? 0 : at, NULL, 0};
    *out = TLMI_INT(at == SIZE_MAX ? -1 : tlmi_string_length(&before));
    return TLM_OK;
}

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcmp(name, *names) == 0)
            return true;
    return false;
}

static tlm_status_t unknown_method(const tlmi_value_t *object, const char *name,
                                   const tlmi_args_t *args)
{
    return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                           "the method %.40s of %s is not supported", name,
                           tlmi_value_type_name(object));
}

static tlm_status_t call_string_method(tlmi_value_t *out, tlmi_jinja_run_t *run,
                                       const tlmi_value_t *object, const char *name,
                                       const tlmi_args_t *args)
{
    static const char *const strips[] = {"strip", "lstrip", "rstrip", NULL};
    static const char *const cases[] = {"upper", "lower", "title", "capitalize", NULL};
    static const char *const splits[] = {"split", "rsplit", NULL};
    static const char *const affixes[] = {"startswith", "endswith", NULL};
    const tlmi_string_t *string = object->as.string;

    if (is_one_of(name, strips)) {
        const tlmi_value_t *characters = tlmi_args_get(args, 0, NULL);

        TLMI_TRY(tlmi_args_check(args, 1, NULL));
        return tlmi_string_strip(out, &run->arena, string, name, characters);
    }
    if (is_one_of(name, cases)) {
        TLMI_TRY(tlmi_args_check(args, 0, NULL));
        return tlmi_string_case(out, &run->arena, string, name, args->node->line);
    }
    if (is_one_of(name, splits))
        return call_split(out, run, string, name, args);
    if (is_one_of(name, affixes))
        return call_affix(out, run, string, name, args);
    if (strcmp(name, "join") == 0)
        return call_join(out, run, string, args);
    if (strcmp(name, "replace") == 0)
        return call_replace(out, run, string, args);
    if (strcmp(name, "find") == 0)
        return call_find(out, string, args);
    return unknown_method(object, name, args);
}

/* ---- Other methods ---- */

static tlm_status_t call_get(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_value_t *object,
                             const tlmi_args_t *args)
{
    const tlmi_value_t *missing = tlmi_args_get(args, 1, NULL);

    TLMI_TRY(tlmi_args_check(args, 2, NULL));
    if (args->n == 0)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line, "get takes a key");
    TLMI_TRY(tlmi_jinja_item(out, run, args->node->line, object, &args->values[0]));
    if (out->type == TLMI_VALUE_UNDEFINED)
        *out = missing != NULL ? *missing : TLMI_NONE;
    return TLM_OK;
}

tlm_status_t tlmi_jinja_call_method(tlmi_value_t *out, tlmi_jinja_run_t *run,
                                    const tlmi_value_t *object, const char *name,
                                    const tlmi_args_t *args)
{
    static const char *const parts[] = {"items", "keys", "values", NULL};
    const tlmi_value_t *items;
    size_t n;

    if (object->type == TLMI_VALUE_STRING)
        return call_string_method(out, run, object, name, args);
    if (object->type == TLMI_VALUE_MAP && strcmp(name, "get") == 0)
        return call_get(out, run, object, args);
    if (object->type == TLMI_VALUE_MAP && is_one_of(name, parts)) {
        TLMI_TRY(tlmi_args_check(args, 0, NULL));
        TLMI_TRY(map_parts(&items, &n, run, object->as.map, name));
        return tlmi_list_make(out, &run->arena, items, n);
    }
    if (object->type == TLMI_VALUE_NAMESPACE) { /* a macro that was put there */
        tlmi_value_t member;

        TLMI_TRY(tlmi_jinja_attribute(&member, run, args->node->line, object, name));
        if (member.type == TLMI_VALUE_MACRO)
            return tlmi_jinja_call_macro(out, run, member.as.macro, args);
    }
    if (object->type == TLMI_VALUE_LOOP && strcmp(name, "cycle") == 0 && args->n > 0) {
        *out = args->values[object->as.loop->index % args->n];
        return TLM_OK;
    }
    return unknown_method(object, name, args);
}
