/* The first token of a word is searched for in a trie of all tokens, the others in a trie of the
 * tokens with the continuing prefix, from which it has been removed. A WordLevel model is one without
 * such tokens. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/unicode.h"
#include "tokenizer/tokenizer_core.h"

typedef struct wordpiece_model {
    tlmi_subword_model_t base;
    tlmi_trie_t first, later;
    uint32_t unk_id; /* TLMI_NO_TOKEN if the vocabulary lacks it */
    size_t max_chars;
} wordpiece_model_t;

/* Whether a word has more than `most` characters, each malformed byte being one. */
static bool has_more_chars(const uint8_t *word, size_t size, size_t most)
{
    const uint8_t *end = word + size;

    if (size <= most)
        return false;
    for (size_t n = 0; word < end; n++) {
        if (n == most)
            return true;
        word += tlmi_utf8_length(word, end);
    }
    return false;
}

/* Returns the size of the longest key that [text, end) begins with and sets its id; 0 if there is
 * none. */
static size_t find_longest(uint32_t *id, const tlmi_trie_t *trie, const uint8_t *text,
                           const uint8_t *end)
{
    uint32_t node = TLMI_TRIE_ROOT;
    size_t longest = 0;

    for (const uint8_t *at = text; at < end;) {
        node = tlmi_trie_follow(trie, node, *at++);
        if (node == TLMI_TRIE_NONE)
            break;
        if (tlmi_trie_id(trie, node) != TLMI_TRIE_NONE) {
            *id = tlmi_trie_id(trie, node);
            longest = (size_t)(at - text);
        }
    }
    return longest;
}

/* Writes the ids of a word and returns their number; 0 if no tokens make it up. */
static size_t match(const wordpiece_model_t *model, uint32_t *ids, const uint8_t *word, size_t size)
{
    const tlmi_trie_t *trie = &model->first;
    const uint8_t *end = word + size;
    size_t n = 0;

    while (word < end) {
        size_t longest = find_longest(&ids[n], trie, word, end);

        if (longest == 0)
            return 0;
        n++;
        word += longest;
        trie = &model->later;
    }
    return n;
}

static tlm_status_t encode(const tlmi_subword_model_t *base, tlmi_scratch_t *scratch,
                           tlmi_id_list_t *out, const uint8_t *pretoken, size_t size)
{
    const wordpiece_model_t *model = (const wordpiece_model_t *)base;
    size_t n = 0;

    (void)scratch;
    if (!has_more_chars(pretoken, size, model->max_chars))
        n = match(model, out->ids + out->n, pretoken, size);
    if (n == 0) {
        if (model->unk_id == TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT, "tokenizer: the vocabulary has neither the tokens of "
                                             "a word nor the unk_token");
        out->ids[out->n + n++] = model->unk_id;
    }
    out->n += n;
    return TLM_OK;
}

static void free_model(tlmi_subword_model_t *base)
{
    wordpiece_model_t *model = (wordpiece_model_t *)base;

    tlmi_trie_release(&model->first);
    tlmi_trie_release(&model->later);
    tlmi_free(model);
}

const tlmi_subword_kind_t tlmi_wordpiece_kind = {
    .name = "WordPiece", .encode = encode, .free = free_model};
const tlmi_subword_kind_t tlmi_word_level_kind = {
    .name = "WordLevel", .encode = encode, .free = free_model};

static bool is_known(const tlmi_wordpiece_options_t *options, uint32_t id)
{
    return options->is_added == NULL || options->is_added[id] == 0;
}

static bool has_prefix(tlm_bytes_t token, tlm_bytes_t prefix)
{
    return token.size > prefix.size &&
           (prefix.size == 0 || memcmp(token.data, prefix.data, prefix.size) == 0);
}

/* Makes a trie of the tokens without this prefix, which they all begin with. */
static tlm_status_t make_trie(tlmi_trie_t *out, const tlmi_vocabulary_t *vocabulary,
                              const tlmi_wordpiece_options_t *options, tlm_bytes_t prefix)
{
    tlmi_trie_key_t *keys = tlmi_alloc(vocabulary->size, sizeof(*keys), "a vocabulary");
    size_t n = 0;

    if (keys == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (uint32_t id = 0; id < vocabulary->size; id++) {
        tlm_bytes_t token = tlmi_vocabulary_token(vocabulary, id);

        if (has_prefix(token, prefix) && is_known(options, id))
            keys[n++] = (tlmi_trie_key_t){token.data + prefix.size, token.size - prefix.size, id};
    }
    tlm_status_t status = tlmi_trie_create(out, keys, n);
    tlmi_free(keys);
    return status;
}

static uint32_t find_unk(const tlmi_vocabulary_t *vocabulary,
                         const tlmi_wordpiece_options_t *options)
{
    uint32_t id =
        tlmi_vocabulary_find(vocabulary, options->unk_token.data, options->unk_token.size);

    return id != TLMI_NO_TOKEN && is_known(options, id) ? id : TLMI_NO_TOKEN;
}

tlm_status_t tlmi_wordpiece_model_create(tlmi_subword_model_t **out, const char *what,
                                         const tlmi_vocabulary_t *vocabulary,
                                         const tlmi_wordpiece_options_t *options)
{
    tlm_status_t status;

    if (vocabulary->bytes_size == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the vocabulary has no tokens", what);
    wordpiece_model_t *model = tlmi_calloc(1, sizeof(*model), "a tokenizer");
    if (model == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    model->base.kind = options->is_word_level ? &tlmi_word_level_kind : &tlmi_wordpiece_kind;
    model->unk_id = find_unk(vocabulary, options);
    model->max_chars = options->max_input_chars_per_word;
    TLMI_TRY_OR(fail, make_trie(&model->first, vocabulary, options, (tlm_bytes_t){NULL, 0}));
    if (options->is_word_level)
        TLMI_TRY_OR(fail, tlmi_trie_create(&model->later, NULL, 0));
    else
        TLMI_TRY_OR(fail, make_trie(&model->later, vocabulary, options,
                                    options->continuing_subword_prefix));
    *out = &model->base;
    return TLM_OK;
fail:
    free_model(&model->base);
    return status;
}
