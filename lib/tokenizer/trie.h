/* A static trie over byte strings, for the tokens that a text begins with. It is a double array
 * (Aoe 1989): following a byte is one addition and one load. */
#ifndef TLMI_TRIE_H
#define TLMI_TRIE_H

#include "tinylm/status.h"

typedef struct tlmi_trie_key {
    const uint8_t *bytes;
    size_t size; /* > 0 */
    uint32_t id;
} tlmi_trie_key_t;

typedef struct tlmi_trie_node {
    uint32_t base;   /* the child by a byte is the node base ^ byte ... */
    uint32_t parent; /* ... if this is its parent; TLMI_TRIE_NONE if the node is free */
    uint32_t id;     /* of the key that ends here, or TLMI_TRIE_NONE */
} tlmi_trie_node_t;

#define TLMI_TRIE_ROOT 0
#define TLMI_TRIE_NONE UINT32_MAX

/* A zeroed trie may be released, but not searched. */
typedef struct tlmi_trie {
    tlmi_trie_node_t *nodes; /* base ^ byte is always inside the array */
    size_t num_nodes;
    size_t capacity;
    size_t max_key_size;
} tlmi_trie_t;

/* Makes a trie of n distinct keys, which it sorts and keeps nothing of. */
tlm_status_t tlmi_trie_create(tlmi_trie_t *out, tlmi_trie_key_t *keys, size_t n);
void tlmi_trie_release(tlmi_trie_t *trie);

/* Follows a byte from a node. Returns TLMI_TRIE_NONE if no key continues with it. */
static inline uint32_t tlmi_trie_follow(const tlmi_trie_t *trie, uint32_t node, uint8_t byte)
{
    uint32_t child = trie->nodes[node].base ^ byte;

    return trie->nodes[child].parent == node ? child : TLMI_TRIE_NONE;
}

static inline uint32_t tlmi_trie_id(const tlmi_trie_t *trie, uint32_t node)
{
    return trie->nodes[node].id;
}

#endif
