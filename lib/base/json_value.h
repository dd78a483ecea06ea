/* The representation of a JSON value. The items of an array are contiguous, and so are the
 * alternating keys and values of an object. Values either come from a parsed document, which
 * owns all of them in a few blocks, or were built one by one and own what they hold. */
#ifndef TLMI_JSON_VALUE_H
#define TLMI_JSON_VALUE_H

#include "base/json.h"

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
