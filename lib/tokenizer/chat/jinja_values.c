/* Values of templates: strings that know where their bytes come from, lists and maps. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/number.h"
#include "tokenizer/chat/jinja.h"
#include "tokenizer/pretokenize/unicode.h"

#define BLOCK_SIZE ((size_t)1 << 14)

/* ---- Memory ---- */

typedef struct tlmi_arena_block {
    struct tlmi_arena_block *next;
    size_t used, size;
    _Alignas(16) char bytes[];
} block_t;

static block_t *add_block(tlmi_arena_t *arena, size_t size)
{
    size_t room = size > BLOCK_SIZE / 4 ? size : BLOCK_SIZE;
    block_t *block = tlmi_alloc(sizeof(*block) + room, 1, "a chat template");

    if (block == NULL)
        return NULL;
    *block = (block_t){.size = room};
    /* A large block goes behind the newest, which still has room for small ones. */
    if (arena->blocks != NULL && room != BLOCK_SIZE) {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        block->next = arena->blocks;
        arena->blocks = block;
    }
    return block;
}

void *tlmi_arena_alloc(tlmi_arena_t *arena, size_t count, size_t size)
{
    size_t bytes;

    if (!tlmi_mul_size(&bytes, count, size) || bytes > arena->limit ||
        (bytes = (bytes + 15) & ~(size_t)15) > arena->limit - arena->used) {
        (void)tlmi_fail(TLM_ERR_OUT_OF_MEMORY,
                        "chat template: it needs more than %zu bytes of memory", arena->limit);
        return NULL;
    }
    block_t *block = arena->blocks;
    if (block == NULL || block->size - block->used < bytes)
        block = add_block(arena, bytes);
    if (block == NULL)
        return NULL;
    void *out = block->bytes + block->used;
    block->used += bytes;
    arena->used += bytes;
    return out;
}

tlm_status_t tlmi_arena_step(tlmi_arena_t *arena, uint64_t steps)
{
    arena->steps += steps;
    if (arena->most_steps > 0 && arena->steps > arena->most_steps)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "chat template: it takes more than %" PRIu64 " steps",
                         arena->most_steps);
    return TLM_OK;
}

void tlmi_arena_release(tlmi_arena_t *arena)
{
    for (block_t *block = arena->blocks, *next; block != NULL; block = next) {
        next = block->next;
        tlmi_free(block);
    }
    arena->blocks = NULL;
    arena->used = 0;
}

/* ---- Values ---- */

const char *tlmi_value_type_name(const tlmi_value_t *value)
{
    static const char *const names[] = {"undefined",   "none",     "a boolean",  "an integer",
                                        "a number",    "a string", "a list",     "a mapping",
                                        "a namespace", "loop",     "a function", "a macro"};

    return names[value->type];
}

bool tlmi_value_truth(const tlmi_value_t *value)
{
    switch (value->type) {
    case TLMI_VALUE_UNDEFINED:
    case TLMI_VALUE_NONE:
        return false;
    case TLMI_VALUE_BOOL:
        return value->as.truth;
    case TLMI_VALUE_INT:
        return value->as.integer != 0;
    case TLMI_VALUE_REAL:
        return value->as.real != 0.0;
    case TLMI_VALUE_STRING:
        return value->as.string->size > 0;
    case TLMI_VALUE_LIST:
        return value->as.list->n > 0;
    case TLMI_VALUE_MAP:
        return value->as.map->n > 0;
    default:
        return true;
    }
}

bool tlmi_value_number(const tlmi_value_t *value, double *out)
{
    if (value->type == TLMI_VALUE_BOOL)
        *out = value->as.truth;
    else if (value->type == TLMI_VALUE_INT)
        *out = (double)value->as.integer;
    else if (value->type == TLMI_VALUE_REAL)
        *out = value->as.real;
    else
        return false;
    return true;
}

bool tlmi_value_same(const tlmi_value_t *a, const tlmi_value_t *b)
{
    double x, y;

    if (a->type == TLMI_VALUE_INT && b->type == TLMI_VALUE_INT)
        return a->as.integer == b->as.integer;
    if (tlmi_value_number(a, &x) && tlmi_value_number(b, &y))
        return x == y;
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case TLMI_VALUE_UNDEFINED:
    case TLMI_VALUE_NONE:
        return true;
    case TLMI_VALUE_STRING:
        return a->as.string->size == b->as.string->size &&
               memcmp(a->as.string->bytes, b->as.string->bytes, a->as.string->size) == 0;
    case TLMI_VALUE_FUNCTION:
        return strcmp(a->as.name, b->as.name) == 0;
    default:
        return a->as.map == b->as.map; /* the same one */
    }
}

bool tlmi_value_is(const tlmi_value_t *value, const char *text)
{
    return value->type == TLMI_VALUE_STRING && value->as.string->size == strlen(text) &&
           memcmp(value->as.string->bytes, text, value->as.string->size) == 0;
}

/* ---- Strings ---- */

static tlm_status_t make_string(tlmi_value_t *out, tlmi_arena_t *arena, const char *bytes,
                                size_t size, size_t num_runs, tlmi_run_t **runs)
{
    tlmi_string_t *string = tlmi_arena_alloc(arena, 1, sizeof(*string));

    *runs = string == NULL ? NULL : tlmi_arena_alloc(arena, num_runs, sizeof(**runs));
    if (*runs == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *string = (tlmi_string_t){bytes, size, *runs, num_runs};
    *out = TLMI_VALUE(STRING, string, string);
    return TLM_OK;
}

tlm_status_t tlmi_string_make(tlmi_value_t *out, tlmi_arena_t *arena, const char *bytes,
                              size_t size, int32_t source)
{
    tlmi_run_t *runs;

    TLMI_TRY(make_string(out, arena, bytes, size, 1, &runs));
    runs[0] = (tlmi_run_t){size, source};
    return TLM_OK;
}

size_t tlmi_find_run(const tlmi_run_t *runs, size_t n, size_t at)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (runs[middle].end > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The run of byte `at`; at the end of the string, the last one. */
static size_t find_run(const tlmi_string_t *string, size_t at)
{
    size_t i = tlmi_find_run(string->runs, string->num_runs, at);

    return i < string->num_runs ? i : string->num_runs - 1;
}

static size_t run_start(const tlmi_string_t *string, size_t i)
{
    return i == 0 ? 0 : string->runs[i - 1].end;
}

/* The same with the runs of empty strings that stand there before it. */
static size_t find_first_run(const tlmi_string_t *string, size_t at)
{
    size_t i = find_run(string, at);

    while (i > 0 && string->runs[i - 1].end == at && run_start(string, i - 1) == at)
        i--;
    return i;
}

int32_t tlmi_string_source(const tlmi_string_t *string, size_t at)
{
    return string->runs[find_run(string, at)].source;
}

tlm_status_t tlmi_string_part(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_string_t *string,
                              size_t from, size_t to)
{
    size_t first = find_first_run(string, from), last = first;
    tlmi_run_t *runs;

    while (string->runs[last].end < to)
        last++;
    TLMI_TRY(make_string(out, arena, string->bytes + from, to - from, last - first + 1, &runs));
    for (size_t i = first; i <= last; i++)
        runs[i - first] = (tlmi_run_t){string->runs[i].end - from, string->runs[i].source};
    runs[last - first].end = to - from;
    return TLM_OK;
}

/* ---- Builders ---- */

static tlm_status_t add_run(tlmi_builder_t *builder, int32_t source)
{
    if (builder->num_runs > 0 && builder->runs[builder->num_runs - 1].source == source) {
        builder->runs[builder->num_runs - 1].end = builder->size;
        return TLM_OK;
    }
    if (!tlmi_grow(&builder->runs, &builder->runs_capacity, builder->num_runs + 1,
                   sizeof(*builder->runs), "a chat template"))
        return TLM_ERR_OUT_OF_MEMORY;
    builder->runs[builder->num_runs++] = (tlmi_run_t){builder->size, source};
    return TLM_OK;
}

tlm_status_t tlmi_builder_add(tlmi_builder_t *builder, const char *bytes, size_t size,
                              int32_t source)
{
    TLMI_TRY(tlmi_arena_step(builder->arena, 1));
    /* The template's own empty strings mean nothing; a message's mark its place. */
    if (size == 0 && source == TLMI_FROM_TEMPLATE)
        return TLM_OK;
    if (size > 0) {
        size_t needed;

        if (!tlmi_add_size(&needed, builder->size, size) || needed > TLMI_JINJA_MAX_MEMORY)
            return tlmi_fail(TLM_ERR_UNSUPPORTED, "chat template: a text has more than %zu bytes",
                             TLMI_JINJA_MAX_MEMORY);
        if (!tlmi_grow(&builder->bytes, &builder->capacity, needed, 1, "a chat template"))
            return TLM_ERR_OUT_OF_MEMORY;
        memcpy(builder->bytes + builder->size, bytes, size);
        builder->size = needed;
    }
    return add_run(builder, source);
}

tlm_status_t tlmi_builder_add_part(tlmi_builder_t *builder, const tlmi_string_t *string,
                                   size_t from, size_t to)
{
    size_t i = find_first_run(string, from);

    do {
        size_t end = string->runs[i].end < to ? string->runs[i].end : to;

        TLMI_TRY(
            tlmi_builder_add(builder, string->bytes + from, end - from, string->runs[i].source));
        from = end;
        i++;
    } while (i < string->num_runs && (from < to || string->runs[i].end == to));
    return TLM_OK;
}

tlm_status_t tlmi_builder_finish(tlmi_value_t *out, tlmi_builder_t *builder)
{
    tlmi_arena_t *arena = builder->arena;
    char *bytes = tlmi_arena_alloc(arena, builder->size + 1, 1);
    tlmi_run_t *runs;

    if (bytes == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (builder->size > 0)
        memcpy(bytes, builder->bytes, builder->size);
    if (builder->num_runs == 0)
        return tlmi_string_make(out, arena, bytes, 0, TLMI_FROM_TEMPLATE);
    TLMI_TRY(make_string(out, arena, bytes, builder->size, builder->num_runs, &runs));
    memcpy(runs, builder->runs, builder->num_runs * sizeof(*runs));
    return TLM_OK;
}

void tlmi_builder_release(tlmi_builder_t *builder)
{
    tlmi_free(builder->bytes);
    tlmi_free(builder->runs);
    *builder = (tlmi_builder_t){0};
}

static tlm_status_t add_text(tlmi_builder_t *builder, const char *text)
{
    return tlmi_builder_add(builder, text, strlen(text), TLMI_FROM_TEMPLATE);
}

/* A number as Python writes it: the shortest text that reads back as the same number. */
static tlm_status_t add_real(tlmi_builder_t *builder, double real)
{
    char text[TLMI_NUMBER_SIZE + 2];
    int digits = 1;

    if (!isfinite(real))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "chat template: it prints a number that is not finite");
    while (digits < 17 && tlmi_parse_number(tlmi_number_text(text, real, digits)) != real)
        digits++;
    TLMI_TRY(tlmi_arena_step(builder->arena, (uint64_t)digits));
    double size = fabs(real);
    if (size != 0.0 && (size < 1e-4 || size >= 1e16))
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "chat template: it prints the number %s", text);
    if (strchr(text, 'e') != NULL) /* 1e+05 is 100000.0 in Python */
        (void)tlmi_number_text(text, real, 17);
    if (strpbrk(text, ".e") == NULL)
        strcat(text, ".0");
    return add_text(builder, text);
}

static tlm_status_t add_int(tlmi_builder_t *builder, int64_t integer)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, integer);
    return add_text(builder, text);
}

tlm_status_t tlmi_builder_add_value(tlmi_builder_t *builder, const tlmi_value_t *value)
{
    switch (value->type) {
    case TLMI_VALUE_UNDEFINED:
        return add_text(builder, "");
    case TLMI_VALUE_NONE:
        return add_text(builder, "None");
    case TLMI_VALUE_BOOL:
        return add_text(builder, value->as.truth ? "True" : "False");
    case TLMI_VALUE_INT:
        return add_int(builder, value->as.integer);
    case TLMI_VALUE_REAL:
        return add_real(builder, value->as.real);
    case TLMI_VALUE_STRING:
        return tlmi_builder_add_part(builder, value->as.string, 0, value->as.string->size);
    default:
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "chat template: it prints %s",
                         tlmi_value_type_name(value));
    }
}

tlm_status_t tlmi_value_text(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_value_t *value)
{
    tlmi_builder_t builder = {.arena = arena};

    if (value->type == TLMI_VALUE_STRING) {
        *out = *value;
        return TLM_OK;
    }
    tlm_status_t status = tlmi_builder_add_value(&builder, value);
    if (status == TLM_OK)
        status = tlmi_builder_finish(out, &builder);
    tlmi_builder_release(&builder);
    return status;
}

/* ---- Lists and maps ---- */

tlm_status_t tlmi_list_make(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_value_t *items,
                            size_t n)
{
    tlmi_list_t *list = tlmi_arena_alloc(arena, 1, sizeof(*list));
    tlmi_value_t *copy = list == NULL ? NULL : tlmi_arena_alloc(arena, n, sizeof(*copy));

    if (copy == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (n > 0 && items != NULL)
        memcpy(copy, items, n * sizeof(*copy));
    *list = (tlmi_list_t){copy, n, false};
    *out = TLMI_VALUE(LIST, list, list);
    return TLM_OK;
}

tlm_status_t tlmi_map_make(tlmi_value_t *out, tlmi_arena_t *arena, size_t capacity)
{
    tlmi_map_t *map = tlmi_arena_alloc(arena, 1, sizeof(*map));

    if (map == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *map = (tlmi_map_t){.capacity = capacity, .message = -1};
    map->members = tlmi_arena_alloc(arena, capacity, sizeof(*map->members));
    if (map->members == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *out = TLMI_VALUE(MAP, map, map);
    return TLM_OK;
}

const tlmi_value_t *tlmi_map_find_key(const tlmi_map_t *map, tlmi_arena_t *arena,
                                      const tlmi_value_t *key)
{
    size_t size = key->type == TLMI_VALUE_STRING ? key->as.string->size : 0;

    arena->steps += map->n / TLMI_JINJA_STEP_MEMBERS + map->n * (size / TLMI_JINJA_STEP_BYTES);
    for (size_t i = 0; i < map->n; i++)
        if (tlmi_value_same(&map->members[i].key, key))
            return &map->members[i].value;
    return NULL;
}

tlm_status_t tlmi_map_set(tlmi_map_t *map, tlmi_arena_t *arena, const tlmi_value_t *key,
                          const tlmi_value_t *value)
{
    tlmi_value_t *known = (tlmi_value_t *)tlmi_map_find_key(map, arena, key);

    if (known != NULL) {
        *known = *value;
        return TLM_OK;
    }
    if (map->n == map->capacity) {
        size_t capacity = map->capacity * 2 + 4;
        tlmi_member_t *members = tlmi_arena_alloc(arena, capacity, sizeof(*members));

        if (members == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        if (map->n > 0)
            memcpy(members, map->members, map->n * sizeof(*members));
        map->members = members;
        map->capacity = capacity;
    }
    map->members[map->n++] = (tlmi_member_t){*key, *value};
    return TLM_OK;
}

tlm_status_t tlmi_map_set_named(tlmi_map_t *map, tlmi_arena_t *arena, const char *key,
                                const tlmi_value_t *value)
{
    tlmi_value_t name;

    TLMI_TRY(tlmi_string_make(&name, arena, key, strlen(key), TLMI_FROM_TEMPLATE));
    return tlmi_map_set(map, arena, &name, value);
}

const tlmi_value_t *tlmi_map_find(const tlmi_map_t *map, tlmi_arena_t *arena, const char *key)
{
    tlmi_string_t string = {key, strlen(key), NULL, 0};

    return tlmi_map_find_key(map, arena, &TLMI_VALUE(STRING, string, &string));
}

/* ---- White space ---- */

bool tlmi_is_python_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

size_t tlmi_space_before(const char *text, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)text;
    size_t at = 0;

    while (at < size) {
        uint32_t code_point = 0;
        int length = tlmi_utf8_decode(&code_point, bytes + at, bytes + size);

        if (!tlmi_is_python_space(code_point))
            break;
        at += (size_t)length; /* white space is well-formed */
    }
    return at;
}

size_t tlmi_space_behind(const char *text, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)text;
    size_t end = size;

    while (end > 0) {
        size_t last = tlmi_utf8_last(bytes, end);
        uint32_t code_point = 0;

        (void)tlmi_utf8_decode(&code_point, bytes + last, bytes + end);
        if (!tlmi_is_python_space(code_point))
            break;
        end = last;
    }
    return size - end;
}
