/* JSON: strict parsing, access, building and writing. Values are borrowed from their document. */
#ifndef TLMI_JSON_H
#define TLMI_JSON_H

#include "tinylm/status.h"

typedef struct tlmi_json tlmi_json_t; /* a value; the root owns the document */

#define TLMI_JSON_MAX_DEPTH 64 /* nesting depth; real files need less than ten */

/* Parses a complete text, an array or an object; the text is copied. Duplicate keys, keys with a
 * NUL, trailing bytes and deep nesting fail with TLM_ERR_FORMAT and "<what>: line L column C: ...".
 * An integer of more than 64 bits is a real number, as in other readers: transformers writes 10^30
 * for "no limit". A document takes the size of its text plus roughly 16 to 40 bytes per value.
 * Owned: free with tlmi_json_free. */
tlm_status_t tlmi_json_parse(tlmi_json_t **out, const void *text, size_t size, const char *what);
void tlmi_json_free(tlmi_json_t *root);

bool tlmi_json_is_null(const tlmi_json_t *value); /* true also for NULL */
bool tlmi_json_is_object(const tlmi_json_t *value);
bool tlmi_json_is_array(const tlmi_json_t *value);
size_t tlmi_json_size(const tlmi_json_t *value);                           /* members or items */
const tlmi_json_t *tlmi_json_item(const tlmi_json_t *array, size_t index); /* NULL if none */
const tlmi_json_t *tlmi_json_member(const tlmi_json_t *object, const char *key); /* NULL if none */
/* The same for a key of `size` bytes, which may hold NUL bytes and need not end with one. */
const tlmi_json_t *tlmi_json_member_sized(const tlmi_json_t *object, const void *key, size_t size);

/* Iterates over the members in document order. Start with *cursor = NULL; returns false at the
 * end. */
bool tlmi_json_next(const tlmi_json_t *object, void **cursor, const char **key,
                    const tlmi_json_t **value);

/* Return false if the value is NULL or of another type. Strings are UTF-8 with a length. */
bool tlmi_json_get_string(const tlmi_json_t *value, const char **text, size_t *size);
bool tlmi_json_is_text(const tlmi_json_t *value, const char *text); /* this string */
bool tlmi_json_get_int(const tlmi_json_t *value, int64_t *out);
bool tlmi_json_get_number(const tlmi_json_t *value, double *out);
bool tlmi_json_get_bool(const tlmi_json_t *value, bool *out);
/* Reads a decimal string, because many readers store JSON numbers as doubles. */
bool tlmi_json_get_uint64(const tlmi_json_t *value, uint64_t *out);
/* Parses a text that consists only of decimal digits; returns false for any other text and for
 * NULL. */
bool tlmi_parse_uint64(const char *text, uint64_t *out);

/* Building. The constructors return NULL, with a message, when out of memory, and for strings
 * that are not UTF-8 and numbers that are not finite. set and append consume `value`, on failure
 * too: the caller must no longer use its pointer, nor any pointer to an existing member or item.
 * A NULL value is a failure. */
tlmi_json_t *tlmi_json_new_object(void);
tlmi_json_t *tlmi_json_new_array(void);
tlmi_json_t *tlmi_json_new_string(const char *text, size_t size);
tlmi_json_t *tlmi_json_new_int(int64_t value);
tlmi_json_t *tlmi_json_new_number(double value);
tlmi_json_t *tlmi_json_new_bool(bool value);
tlmi_json_t *tlmi_json_new_null(void);
tlmi_json_t *tlmi_json_new_uint64(uint64_t value); /* a decimal string */
/* The key must not be in the object yet. */
tlm_status_t tlmi_json_set(tlmi_json_t *object, const char *key, tlmi_json_t *value);
tlm_status_t tlmi_json_append(tlmi_json_t *array, tlmi_json_t *value);

/* Writes compact text: doubles with 17 digits, keys in insertion order. Owned: free with
 * tlmi_free. */
tlm_status_t tlmi_json_dump(char **text, size_t *size, const tlmi_json_t *value);

/* ---- Values from within, for json.c and json_parse.c ------------------------------------- */

/* The items of an array are contiguous, and so are the alternating keys and values of an object.
 * Values either come from a parsed document, which owns all of them in a few blocks, or were built
 * one by one and own what they hold. */

typedef enum tlmi_json_type {
    TLMI_JSON_NULL,
    TLMI_JSON_BOOL,
    TLMI_JSON_INT,
    TLMI_JSON_REAL,
    TLMI_JSON_STRING,
    TLMI_JSON_ARRAY,
    TLMI_JSON_OBJECT,
} tlmi_json_type_t;

struct tlmi_json {
    uint8_t type;
    bool is_built;    /* owns its string or items */
    bool is_document; /* the root of a parsed text */
    uint32_t count;   /* bytes of the string, items of the array, members of the object */
    union {
        bool truth;
        int64_t integer;
        double real;
        char *text; /* UTF-8, NUL-terminated */
        tlmi_json_t *items;
    } as;
};

/* Parsed objects with more members than this store, after their items, the members' indices as
 * uint32_t in the order of tlmi_json_compare_keys. The parser uses them to reject duplicate
 * keys, and lookups use them for binary search. */
#define TLMI_JSON_INDEXED 8

uint32_t tlmi_json_hash(const char *key, size_t size);
/* Compares by hash, then length, then bytes. */
int tlmi_json_compare_keys(const tlmi_json_t *a, uint32_t a_hash, const tlmi_json_t *b,
                           uint32_t b_hash);

/* Returns the size in bytes of the UTF-8 character at `at`; 0 if it is malformed. */
size_t tlmi_json_utf8_size(const uint8_t *at, const uint8_t *end);

/* Frees a document; `root` is its root. */
void tlmi_json_free_document(tlmi_json_t *root);

#endif
