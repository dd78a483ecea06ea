/* The words of a vocabulary. Half of the homes are taken, so that a word is usually in its home,
 * and a pretoken that is no word is known after one or two entries. */
#include <string.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_core.h"

#define HOMES_PER_WORD 2
#define MAX_STEPS      256 /* entries after the last home; a crowded home needs a few dozen */

bool tlmi_word_is_long(const tlmi_word_table_t *table, const tlmi_word_t *word,
                       const uint8_t *pretoken, size_t size)
{
    return memcmp(tlmi_vocabulary_token(table->vocabulary, word->id).data, pretoken, size) == 0;
}

/* Returns false if the entries around the word's home are full. */
static bool add_word(tlmi_word_table_t *table, tlmi_pretoken_key_t key, uint32_t id)
{
    tlmi_word_t *word = (tlmi_word_t *)tlmi_word_table_home(table, key);
    const tlmi_word_t *end = table->words + table->num_homes + MAX_STEPS - 1;

    for (int i = 0; i < MAX_STEPS && word < end; i++, word++)
        if (word->key.words[1] == 0) {
            *word = (tlmi_word_t){key, id};
            return true;
        }
    return false;
}

/* Returns false if the words collide too much. */
static bool add_words(tlmi_word_table_t *table, const uint8_t *is_word, uint32_t size)
{
    for (uint32_t id = 0; id < size; id++) {
        tlm_bytes_t token = tlmi_vocabulary_token(table->vocabulary, id);

        if (is_word[id] == 0 ||
            tlmi_vocabulary_find(table->vocabulary, token.data, token.size) != id)
            continue;
        if (!add_word(table, tlmi_pretoken_exact_key(token.data, token.size), id))
            return false;
        if (token.size > table->max_size)
            table->max_size = token.size;
    }
    return true;
}

tlm_status_t tlmi_word_table_create(tlmi_word_table_t **out,
                                    const struct tlmi_vocabulary *vocabulary,
                                    const uint8_t *is_word, uint32_t size)
{
    size_t n = 0;

    *out = NULL;
    for (uint32_t id = 0; id < size; id++)
        n += is_word[id] != 0;
    if (n == 0 || n > UINT32_MAX / HOMES_PER_WORD)
        return TLM_OK;
    tlmi_word_table_t *table = tlmi_calloc(1, sizeof(*table), "a vocabulary");
    if (table == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    table->vocabulary = vocabulary;
    table->num_homes = (uint32_t)(n * HOMES_PER_WORD);
    size_t entries = (size_t)table->num_homes + MAX_STEPS;
    table->words = tlmi_alloc_aligned(entries, sizeof(*table->words), "a vocabulary");
    if (table->words == NULL) {
        tlmi_free(table);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    memset(table->words, 0, entries * sizeof(*table->words));
    if (add_words(table, is_word, size))
        *out = table;
    else
        tlmi_word_table_free(table);
    return TLM_OK;
}

void tlmi_word_table_free(tlmi_word_table_t *table)
{
    if (table == NULL)
        return;
    tlmi_free(table->words);
    tlmi_free(table);
}
