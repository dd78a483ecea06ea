/* What a JSON value is inside. The items of an array, and the keys and values of an object in turn, lie one
 * after another. Values come from a parsed document, which owns all of them in a few blocks, or were built
 * one by one and own what they hold. */
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
        char *text; /* UTF-8, and a NUL behind it */
        tlmi_json_t *items;
    } as;
};

/* Objects of a document with more members than this have, behind their items, the members' numbers in the
 * order of tlmi_json_compare_keys, as uint32_t: for finding one, and for refusing one that is there twice. */
#define TLMI_JSON_INDEXED 8

uint32_t tlmi_json_hash(const char *key, size_t size);
/* By hash, length and bytes, in this order. */
int tlmi_json_compare_keys(const tlmi_json_t *a, uint32_t a_hash, const tlmi_json_t *b,
                           uint32_t b_hash);

/* Bytes of the UTF-8 character at `at`; 0 if it is malformed. */
size_t tlmi_json_utf8_size(const uint8_t *at, const uint8_t *end);

/* Frees a document; `root` is its root. */
void tlmi_json_free_document(tlmi_json_t *root);

#endif
