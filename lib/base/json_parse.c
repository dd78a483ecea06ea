/* Parsing JSON (RFC 8259), strictly. Open containers are kept on a separate stack, so nesting
 * does not consume the program's stack. Any allocation may fail at any point.
 *
 * The text is copied once, and strings are decoded in place in the copy. Values wait in one
 * array, `pending`, until their container ends; then they move to a block of the document, and
 * the container takes their place. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/number.h"

#define FIRST_BLOCK ((size_t)256) /* values */
#define LAST_BLOCK  ((size_t)1 << 16)

typedef struct block {
    struct block *next;
    size_t used, size; /* of values */
    tlmi_json_t values[];
} block_t;

typedef struct document {
    tlmi_json_t root; /* first, so a pointer to it is also a pointer to the document */
    char *text;
    block_t *blocks; /* newest first */
} document_t;

typedef struct container {
    size_t first; /* index of its first value in `pending` */
    bool is_object;
} container_t;

typedef enum expected {
    EXPECT_VALUE,
    EXPECT_KEY,
    EXPECT_FIRST, /* a value or key, or the end of the container */
    EXPECT_NEXT,  /* a comma or the end of the container */
} expected_t;

typedef struct parser {
    document_t *document;
    char *at, *end; /* in the document's copy of the text */
    tlmi_json_t *pending;
    size_t num_pending, capacity;
    container_t open[TLMI_JSON_MAX_DEPTH];
    size_t depth;
    expected_t expected;
    const char *original, *what; /* for messages */
} parser_t;

/* ---- Messages --------------------------------------------------------------------------- */

/* Fails with the position of `at`: line and character in the line, both counted from 1. */
static tlm_status_t fail_at(const parser_t *parser, const char *at, const char *why)
{
    const char *place = parser->original; /* NULL if the text is empty */
    if (at > parser->document->text)
        place += at - parser->document->text;
    size_t line = 1, column = 1;
    for (const char *c = parser->original; c < place; c++) {
        if (*c == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*c & 0xC0) != 0x80) {
            column++;
        }
    }
    return tlmi_fail(TLM_ERR_FORMAT, "%s: line %zu column %zu: %s", parser->what, line, column,
                     why);
}

static tlm_status_t fail_here(const parser_t *parser, const char *why)
{
    return fail_at(parser, parser->at, parser->at == parser->end ? "the text ends early" : why);
}

/* ---- Document memory ------------------------------------------------------------------------ */

/* Allocates adjacent values in the document. Returns NULL, with a message, when out of memory. */
static tlmi_json_t *take_values(document_t *document, size_t n)
{
    block_t *newest = document->blocks;
    if (newest == NULL || newest->size - newest->used < n) {
        size_t size = newest == NULL ? FIRST_BLOCK : 2 * newest->size;
        if (size > LAST_BLOCK)
            size = LAST_BLOCK;
        if (size < n)
            size = n;
        size_t bytes;
        if (!tlmi_mul_size(&bytes, size, sizeof(tlmi_json_t)) ||
            !tlmi_add_size(&bytes, bytes, sizeof(block_t)))
            bytes = SIZE_MAX;
        newest = tlmi_alloc(bytes, 1, "JSON values");
        if (newest == NULL)
            return NULL;
        newest->next = document->blocks;
        newest->size = size;
        newest->used = 0;
        document->blocks = newest;
    }
    tlmi_json_t *values = newest->values + newest->used;
    newest->used += n;
    return values;
}

void tlmi_json_free_document(tlmi_json_t *root)
{
    document_t *document = (document_t *)root;
    for (block_t *block = document->blocks, *next; block != NULL; block = next) {
        next = block->next;
        tlmi_free(block);
    }
    tlmi_free(document->text);
    tlmi_free(document);
}

static tlm_status_t push(parser_t *parser, tlmi_json_t value)
{
    if (!tlmi_grow(&parser->pending, &parser->capacity, parser->num_pending + 1,
                   sizeof(*parser->pending), "JSON values"))
        return TLM_ERR_OUT_OF_MEMORY;
    parser->pending[parser->num_pending++] = value;
    return TLM_OK;
}

/* ---- Strings ---------------------------------------------------------------------------- */

/* Reads four hexadecimal digits; returns false for anything else. */
static bool read_hex(uint32_t *out, const char *at, const char *end)
{
    uint32_t value = 0;
    if (end - at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        value = value << 4 | digit;
    }
    *out = value;
    return true;
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xC0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *to++ = (char)(0xE0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    } else {
        *to++ = (char)(0xF0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3F));
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    }
    return to;
}

/* Decodes the escape at parser->at to *to and advances *to. */
static tlm_status_t read_escape(parser_t *parser, char **to)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char kind = parser->end - parser->at > 1 ? parser->at[1] : '\0';
    const char *name = kind == '\0' ? NULL : strchr(names, kind);
    if (name != NULL) {
        *(*to)++ = values[name - names];
        parser->at += 2;
        return TLM_OK;
    }
    uint32_t c, low;
    if (kind != 'u' || !read_hex(&c, parser->at + 2, parser->end))
        return fail_here(parser, "an escape that JSON does not have");
    const char *next = parser->at + 6;
    if (c >= 0xD800 && c <= 0xDFFF) { /* a high surrogate, or an error */
        if (c >= 0xDC00 || parser->end - next < 2 || next[0] != '\\' || next[1] != 'u' ||
            !read_hex(&low, next + 2, parser->end) || low < 0xDC00 || low > 0xDFFF)
            return fail_here(parser, "half a pair of surrogates");
        c = 0x10000 + ((c & 0x3FF) << 10 | (low & 0x3FF));
        next += 6;
    }
    *to = put_utf8(*to, c);
    parser->at += next - parser->at;
    return TLM_OK;
}

/* Parses the string whose opening quote is at parser->at. Decoded text is never longer than its
 * source, so it is decoded in place. */
static tlm_status_t read_string(tlmi_json_t *out, parser_t *parser)
{
    char *begin = parser->at++, *to = begin;
    for (;;) {
        if (parser->at == parser->end)
            return fail_at(parser, begin, "a string without an end");
        unsigned char c = (unsigned char)*parser->at;
        if (c == '"')
            break;
        if (c < 0x20)
            return fail_here(parser, "a control character in a string");
        if (c == '\\') {
            TLMI_TRY(read_escape(parser, &to));
            continue;
        }
        size_t size =
            tlmi_json_utf8_size((const uint8_t *)parser->at, (const uint8_t *)parser->end);
        if (size == 0)
            return fail_here(parser, "malformed UTF-8");
        while (size-- > 0)
            *to++ = *parser->at++;
    }
    parser->at++;
    *to = '\0';
    *out =
        (tlmi_json_t){.type = TLMI_JSON_STRING, .count = (uint32_t)(to - begin), .as.text = begin};
    return TLM_OK;
}

/* ---- Numbers and words ------------------------------------------------------------------ */

static bool is_digit(const parser_t *parser, const char *at)
{
    return at < parser->end && *at >= '0' && *at <= '9';
}

/* Skips the digits from *at on; returns false if there are none. */
static bool skip_digits(const parser_t *parser, char **at)
{
    const char *begin = *at;
    while (is_digit(parser, *at))
        ++*at;
    return *at > begin;
}

static bool read_integer(int64_t *out, const char *at, const char *end)
{
    bool is_negative = *at == '-';
    int64_t value = 0;
    for (at += is_negative; at < end; at++) {
        int digit = *at - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, is_negative ? -digit : digit, &value))
            return false;
    }
    *out = value;
    return true;
}

static tlm_status_t read_number(parser_t *parser)
{
    char *at = parser->at;
    bool is_integer = true;
    if (*at == '-')
        at++;
    const char *digits = at;
    if (!skip_digits(parser, &at) || (*digits == '0' && at - digits > 1))
        return fail_here(parser, "a number that JSON does not have");
    if (at < parser->end && *at == '.') {
        at++;
        is_integer = false;
        if (!skip_digits(parser, &at))
            return fail_here(parser, "a number that ends with its point");
    }
    if (at < parser->end && (*at == 'e' || *at == 'E')) {
        at++;
        is_integer = false;
        if (at < parser->end && (*at == '+' || *at == '-'))
            at++;
        if (!skip_digits(parser, &at))
            return fail_here(parser, "a number without its exponent");
    }
    tlmi_json_t value = {.type = TLMI_JSON_INT};
    if (!is_integer || !read_integer(&value.as.integer, parser->at, at)) {
        value.type = TLMI_JSON_REAL; /* also for an integer of more than 64 bits */
        value.as.real = tlmi_parse_number(parser->at);
        if (!isfinite(value.as.real))
            return fail_here(parser, "a number that no double holds");
    }
    parser->at = at;
    return push(parser, value);
}

static tlm_status_t read_word(parser_t *parser)
{
    static const struct {
        const char *word;
        size_t size;
        tlmi_json_t value;
    } words[] = {
        {"true", 4, {.type = TLMI_JSON_BOOL, .as.truth = true}},
        {"false", 5, {.type = TLMI_JSON_BOOL, .as.truth = false}},
        {"null", 4, {.type = TLMI_JSON_NULL}},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if ((size_t)(parser->end - parser->at) >= words[i].size &&
            memcmp(parser->at, words[i].word, words[i].size) == 0) {
            parser->at += words[i].size;
            return push(parser, words[i].value);
        }
    return fail_here(parser, "a value is expected");
}

/* ---- Containers ------------------------------------------------------------------------- */

typedef struct indexed_key {
    const tlmi_json_t *key;
    uint32_t hash, member;
} indexed_key_t;

static int compare_indexed(const void *a, const void *b)
{
    const indexed_key_t *x = a, *y = b;
    return tlmi_json_compare_keys(x->key, x->hash, y->key, y->hash);
}

static tlm_status_t fail_twice(const parser_t *parser, const tlmi_json_t *key)
{
    char why[160];
    snprintf(why, sizeof(why), "duplicate key \"%.100s\"", key->as.text);
    return fail_at(parser, key->as.text, why);
}

/* Writes the sort order of a large object's members after its items. */
static tlm_status_t index_members(const parser_t *parser, const tlmi_json_t *object)
{
    size_t n = object->count;
    const tlmi_json_t *items = object->as.items;
    indexed_key_t *keys = tlmi_alloc(n, sizeof(*keys), "the keys of a JSON object");
    if (keys == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const tlmi_json_t *key = &items[2 * i];
        keys[i] = (indexed_key_t){key, tlmi_json_hash(key->as.text, key->count), (uint32_t)i};
    }
    qsort(keys, n, sizeof(*keys), compare_indexed);
    uint32_t *order = (uint32_t *)(object->as.items + 2 * n);
    tlm_status_t status = TLM_OK;
    for (size_t i = 0; i < n && status == TLM_OK; i++) {
        order[i] = keys[i].member;
        if (i > 0 && compare_indexed(&keys[i - 1], &keys[i]) == 0)
            status = fail_twice(parser, keys[i - 1].member > keys[i].member ? keys[i - 1].key
                                                                            : keys[i].key);
    }
    tlmi_free(keys);
    return status;
}

static tlm_status_t check_members(const parser_t *parser, const tlmi_json_t *object)
{
    const tlmi_json_t *items = object->as.items;
    if (object->count > TLMI_JSON_INDEXED)
        return index_members(parser, object);
    for (size_t i = 1; i < object->count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(items[2 * i].as.text, items[2 * k].as.text) == 0)
                return fail_twice(parser, &items[2 * i]);
    return TLM_OK;
}

static tlm_status_t open_container(parser_t *parser, bool is_object)
{
    if (parser->depth == TLMI_JSON_MAX_DEPTH) {
        char why[64];
        snprintf(why, sizeof(why), "more than %d levels", TLMI_JSON_MAX_DEPTH);
        return fail_here(parser, why);
    }
    parser->at++;
    parser->open[parser->depth++] = (container_t){parser->num_pending, is_object};
    parser->expected = EXPECT_FIRST;
    return TLM_OK;
}

/* Ends the innermost container: its values move to the document, and the container takes their
 * place. */
static tlm_status_t close_container(parser_t *parser)
{
    container_t container = parser->open[--parser->depth];
    size_t n = parser->num_pending - container.first;
    size_t count = container.is_object ? n / 2 : n, room = n;
    if (container.is_object && count > TLMI_JSON_INDEXED)
        room += (count * sizeof(uint32_t) + sizeof(tlmi_json_t) - 1) / sizeof(tlmi_json_t);
    tlmi_json_t value = {.type = container.is_object ? TLMI_JSON_OBJECT : TLMI_JSON_ARRAY,
                         .count = (uint32_t)count};
    if (n > 0) {
        value.as.items = take_values(parser->document, room);
        if (value.as.items == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        memcpy(value.as.items, parser->pending + container.first, n * sizeof(value));
        parser->num_pending = container.first;
    }
    if (container.is_object)
        TLMI_TRY(check_members(parser, &value));
    parser->at++;
    parser->expected = EXPECT_NEXT;
    return push(parser, value);
}

/* ---- The document ----------------------------------------------------------------------- */

static void skip_space(parser_t *parser)
{
    while (parser->at < parser->end && (*parser->at == ' ' || *parser->at == '\n' ||
                                        *parser->at == '\t' || *parser->at == '\r'))
        parser->at++;
}

static tlm_status_t read_key(parser_t *parser)
{
    if (parser->at == parser->end || *parser->at != '"')
        return fail_here(parser, "a key is expected");
    tlmi_json_t key;
    TLMI_TRY(read_string(&key, parser));
    if (strlen(key.as.text) != key.count)
        return fail_at(parser, key.as.text, "a NUL in a key");
    skip_space(parser);
    if (parser->at == parser->end || *parser->at != ':')
        return fail_here(parser, "a colon is expected");
    parser->at++;
    parser->expected = EXPECT_VALUE;
    return push(parser, key);
}

static tlm_status_t read_value(parser_t *parser)
{
    char c = parser->at < parser->end ? *parser->at : '\0';
    if (c == '[' || c == '{')
        return open_container(parser, c == '{');
    if (parser->depth == 0)
        return fail_here(parser, "an array or an object is expected");
    parser->expected = EXPECT_NEXT;
    if (c == '"') {
        tlmi_json_t string;
        TLMI_TRY(read_string(&string, parser));
        return push(parser, string);
    }
    return c == '-' || is_digit(parser, parser->at) ? read_number(parser) : read_word(parser);
}

static tlm_status_t read_next(parser_t *parser)
{
    const container_t *container = parser->depth > 0 ? &parser->open[parser->depth - 1] : NULL;
    bool is_object = container != NULL && container->is_object;
    skip_space(parser);
    char c = parser->at < parser->end ? *parser->at : '\0';
    if ((parser->expected == EXPECT_FIRST || parser->expected == EXPECT_NEXT) &&
        c == (is_object ? '}' : ']'))
        return close_container(parser);
    if (parser->expected == EXPECT_NEXT) {
        if (c != ',')
            return fail_here(parser, is_object ? "a comma or the object's end is expected"
                                               : "a comma or the array's end is expected");
        parser->at++;
        parser->expected = is_object ? EXPECT_KEY : EXPECT_VALUE;
        return TLM_OK;
    }
    if (parser->expected == EXPECT_KEY || (parser->expected == EXPECT_FIRST && is_object))
        return read_key(parser);
    return read_value(parser);
}

static tlm_status_t read_document(parser_t *parser)
{
    do
        TLMI_TRY(read_next(parser));
    while (parser->depth > 0);
    skip_space(parser);
    return parser->at == parser->end ? TLM_OK
                                     : fail_here(parser, "the text goes on behind its end");
}

tlm_status_t tlmi_json_parse(tlmi_json_t **out, const void *text, size_t size, const char *what)
{
    if (size >= UINT32_MAX)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: %zu bytes of JSON are too many; the limit is 2^32 - 2", what, size);
    document_t *document = tlmi_calloc(1, sizeof(*document), "a JSON document");
    if (document == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    parser_t parser = {.document = document, .original = text, .what = what};
    document->text = tlmi_alloc(size + 1, 1, "JSON text");
    if (document->text != NULL) {
        if (size > 0)
            memcpy(document->text, text, size);
        document->text[size] = '\0';
        parser.at = document->text;
        parser.end = document->text + size;
        status = read_document(&parser);
    }
    if (status == TLM_OK) {
        document->root = parser.pending[0];
        document->root.is_document = true;
        *out = &document->root;
    } else {
        tlmi_json_free_document(&document->root);
    }
    tlmi_free(parser.pending);
    return status;
}
