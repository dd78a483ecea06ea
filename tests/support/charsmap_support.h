/* Builds small maps of characters in the layout of SentencePiece's precompiled_charsmap, which
 * lib/tokenizer/normalize/charsmap.c describes. */
#ifndef TEST_CHARSMAP_SUPPORT_H
#define TEST_CHARSMAP_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define CHARSMAP_UNITS 4096

typedef struct charsmap_rule {
    const char *key, *replacement;
} charsmap_rule_t;

typedef struct charsmap_builder {
    const charsmap_rule_t *rules; /* sorted by their keys */
    uint32_t units[CHARSMAP_UNITS];
    bool used[CHARSMAP_UNITS];
    bool is_base[CHARSMAP_UNITS]; /* no two nodes have the same base */
    size_t places[100];           /* of the replacements */
} charsmap_builder_t;

/* Whether the children of the rules [first, last) with this base are free; takes them if `take`. */
static inline bool charsmap_children(charsmap_builder_t *builder, size_t base, size_t first,
                                     size_t last, size_t depth, bool take)
{
    for (size_t i = first; i < last; i++) {
        size_t child = base ^ (uint8_t)builder->rules[i].key[depth];

        if (!take && (child >= CHARSMAP_UNITS || builder->used[child]))
            return false;
        builder->used[child] |= take;
    }
    return true;
}

static inline void charsmap_place(charsmap_builder_t *builder, size_t node, size_t first,
                                  size_t last, size_t depth)
{
    size_t base = 1;

    while (builder->is_base[base] || !charsmap_children(builder, base, first, last, depth, false))
        base++;
    builder->is_base[base] = true;
    charsmap_children(builder, base, first, last, depth, true);
    builder->units[node] |= (uint32_t)(node ^ base) << 10;
    for (size_t i = first, end; i < last; i = end) {
        uint8_t byte = (uint8_t)builder->rules[i].key[depth];

        for (end = i + 1; end < last && (uint8_t)builder->rules[end].key[depth] == byte; end++)
            ;
        builder->units[base ^ byte] = byte;
        if (byte != 0) {
            charsmap_place(builder, base ^ byte, i, end, depth + 1);
        } else {
            builder->units[base] = 0x80000000u | (uint32_t)builder->places[i];
            builder->units[node] |= 0x100;
        }
    }
}

/* Writes the map of up to 100 rules and returns its size. `blob` has room for all units and the
 * replacements. */
static inline size_t charsmap_build(uint8_t *blob, const charsmap_rule_t *rules, size_t n)
{
    static charsmap_builder_t builder;
    size_t size = 4 + 4 * CHARSMAP_UNITS;

    memset(&builder, 0, sizeof(builder));
    builder.rules = rules;
    builder.used[0] = true;
    for (size_t i = 0; i < n; i++) {
        builder.places[i] = size - 4 - 4 * CHARSMAP_UNITS;
        memcpy(blob + size, rules[i].replacement, strlen(rules[i].replacement) + 1);
        size += strlen(rules[i].replacement) + 1;
    }
    charsmap_place(&builder, 0, 0, n, 0);
    for (size_t i = 0; i <= CHARSMAP_UNITS; i++) {
        uint32_t unit = i == 0 ? 4 * CHARSMAP_UNITS : builder.units[i - 1];

        for (int k = 0; k < 4; k++)
            blob[4 * i + (size_t)k] = (uint8_t)(unit >> 8 * k);
    }
    return size;
}

#endif
