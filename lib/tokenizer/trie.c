/* Nodes are placed in blocks of 256, so that all children of a node are in one block. A block is
 * searched for a free place only while it is among the last few, which keeps building linear and
 * leaves few gaps. */
#include "tokenizer/subword_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define BLOCK       256
#define OPEN_BLOCKS 16 /* the last blocks, in which places are searched for */
#define ROOT_PARENT (TLMI_TRIE_NONE - 1)

/* Keys with a common prefix of `depth` bytes, below one node. */
typedef struct subtree {
    uint32_t node;
    size_t first, end; /* of the keys */
    size_t depth;
} subtree_t;

typedef struct builder {
    tlmi_trie_t *trie;
    const tlmi_trie_key_t *keys;
    subtree_t *stack;
    size_t n, capacity;
    size_t free_places[OPEN_BLOCKS]; /* by block % OPEN_BLOCKS */
} builder_t;

static int compare_keys(const void *left, const void *right)
{
    const tlmi_trie_key_t *a = left, *b = right;
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);

    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static tlm_status_t add_block(builder_t *builder)
{
    tlmi_trie_t *trie = builder->trie;

    if (trie->num_nodes >= ROOT_PARENT - BLOCK)
        return tlmi_fail(TLM_ERR_RANGE, "tokenizer: the tokens are too long for a trie");
    if (!tlmi_grow(&trie->nodes, &trie->capacity, trie->num_nodes + BLOCK, sizeof(*trie->nodes),
                   "a trie"))
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < BLOCK; i++)
        trie->nodes[trie->num_nodes + i] = (tlmi_trie_node_t){0, TLMI_TRIE_NONE, TLMI_TRIE_NONE};
    builder->free_places[trie->num_nodes / BLOCK % OPEN_BLOCKS] = BLOCK;
    trie->num_nodes += BLOCK;
    return TLM_OK;
}

static bool is_free(const tlmi_trie_t *trie, size_t place)
{
    return trie->nodes[place].parent == TLMI_TRIE_NONE;
}

/* Finds a base in a block, all of whose children have free places. */
static bool find_base(uint32_t *base, const tlmi_trie_t *trie, size_t block, const uint8_t *bytes,
                      size_t n)
{
    for (size_t place = block * BLOCK; place < (block + 1) * BLOCK; place++) {
        size_t fitting = 0;

        if (!is_free(trie, place))
            continue;
        *base = (uint32_t)place ^ bytes[0];
        while (fitting < n && is_free(trie, *base ^ bytes[fitting]))
            fitting++;
        if (fitting == n)
            return true;
    }
    return false;
}

/* Chooses the base of a node with children by n bytes. */
static tlm_status_t choose_base(uint32_t *base, builder_t *builder, const uint8_t *bytes, size_t n)
{
    size_t num_blocks = builder->trie->num_nodes / BLOCK;
    size_t block = num_blocks > OPEN_BLOCKS ? num_blocks - OPEN_BLOCKS : 0;

    for (; block < num_blocks; block++) {
        if (builder->free_places[block % OPEN_BLOCKS] < n)
            continue;
        if (find_base(base, builder->trie, block, bytes, n))
            goto found;
    }
    TLMI_TRY(add_block(builder));
    *base = (uint32_t)(block * BLOCK) ^ bytes[0];
found:
    builder->free_places[block % OPEN_BLOCKS] -= n;
    return TLM_OK;
}

/* Places the children of a subtree's node and pushes their subtrees. */
static tlm_status_t place_children(builder_t *builder, const subtree_t *subtree)
{
    const tlmi_trie_key_t *keys = builder->keys;
    tlmi_trie_t *trie = builder->trie;
    uint8_t bytes[BLOCK];
    size_t n = 0, first = subtree->first;

    if (keys[first].size == subtree->depth)
        trie->nodes[subtree->node].id = keys[first++].id;
    for (size_t i = first; i < subtree->end; i++)
        if (n == 0 || bytes[n - 1] != keys[i].bytes[subtree->depth])
            bytes[n++] = keys[i].bytes[subtree->depth];
    if (n == 0)
        return TLM_OK;
    uint32_t base;
    TLMI_TRY(choose_base(&base, builder, bytes, n));
    if (!tlmi_grow(&builder->stack, &builder->capacity, builder->n + n, sizeof(*builder->stack),
                   "a trie"))
        return TLM_ERR_OUT_OF_MEMORY;
    trie->nodes[subtree->node].base = base;
    for (size_t i = 0; i < n; i++) {
        subtree_t child = {base ^ bytes[i], first, first, subtree->depth + 1};

        while (child.end < subtree->end && keys[child.end].bytes[subtree->depth] == bytes[i])
            child.end++;
        trie->nodes[child.node].parent = subtree->node;
        builder->stack[builder->n++] = child;
        first = child.end;
    }
    return TLM_OK;
}

tlm_status_t tlmi_trie_create(tlmi_trie_t *out, tlmi_trie_key_t *keys, size_t n)
{
    tlmi_trie_t trie = {0};
    builder_t builder = {.trie = &trie, .keys = keys};
    subtree_t all = {TLMI_TRIE_ROOT, 0, n, 0};
    tlm_status_t status = add_block(&builder);

    if (status == TLM_OK) {
        trie.nodes[TLMI_TRIE_ROOT].parent = ROOT_PARENT;
        builder.free_places[0]--;
    }
    if (n > 0)
        qsort(keys, n, sizeof(*keys), compare_keys);
    for (size_t i = 0; i < n; i++)
        if (keys[i].size > trie.max_key_size)
            trie.max_key_size = keys[i].size;
    if (status == TLM_OK && n > 0)
        status = place_children(&builder, &all);
    while (status == TLM_OK && builder.n > 0) {
        subtree_t subtree = builder.stack[--builder.n];

        status = place_children(&builder, &subtree);
    }
    tlmi_free(builder.stack);
    if (status == TLM_OK)
        *out = trie;
    else
        tlmi_trie_release(&trie);
    return status;
}

void tlmi_trie_release(tlmi_trie_t *trie)
{
    tlmi_free(trie->nodes);
    *trie = (tlmi_trie_t){0};
}
