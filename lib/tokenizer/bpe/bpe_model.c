/* The BPE model. A pretoken is first looked up as a whole token, usually among the model's words,
 * and merged only if that fails. */
#include "tokenizer/bpe/bpe.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

static tlm_status_t encode(const tlmi_subword_model_t *base, tlmi_scratch_t *scratch,
                           tlmi_id_list_t *out, const uint8_t *pretoken, size_t size)
{
    const tlmi_bpe_model_t *model = (const tlmi_bpe_model_t *)base;
    uint32_t id = TLMI_NO_TOKEN;

    if (base->words == NULL && size <= model->max_whole_size)
        id = tlmi_vocabulary_find(model->vocabulary, pretoken, size);
    if (id >= model->num_tokens || !model->is_whole[id])
        return tlmi_bpe_merge(model, scratch, out, pretoken, size, NULL);
    out->ids[out->n++] = id;
    return TLM_OK;
}

static tlm_status_t encode_with_dropout(const tlmi_subword_model_t *base, tlmi_scratch_t *scratch,
                                        tlmi_id_list_t *out, const uint8_t *pretoken, size_t size,
                                        const tlmi_dropout_t *dropout)
{
    return tlmi_bpe_merge((const tlmi_bpe_model_t *)base, scratch, out, pretoken, size, dropout);
}

static bool splits_before_meta(const tlmi_subword_model_t *base, size_t size)
{
    (void)size;
    return ((const tlmi_bpe_model_t *)base)->splits_before_meta;
}

static void free_model(tlmi_subword_model_t *base)
{
    tlmi_bpe_model_t *model = (tlmi_bpe_model_t *)base;

    tlmi_merge_table_release(&model->merges);
    tlmi_bpe_symbols_release(&model->symbols);
    tlmi_free(model->is_whole);
    tlmi_word_table_free(base->words);
    tlmi_free(model->byte_merges);
    tlmi_free(model->split_of);
    tlmi_free(model->joins);
    tlmi_free(model);
}

const tlmi_subword_kind_t tlmi_bpe_kind = {.name = "BPE",
                                           .encode = encode,
                                           .splits_before_meta = splits_before_meta,
                                           .encode_with_dropout = encode_with_dropout,
                                           .free = free_model};

/* ---- Merges of bytes ---- */

static tlm_status_t find_byte_merges(tlmi_bpe_model_t *model)
{
    const uint32_t *byte_ids = model->symbols.byte_ids;

    if (!model->symbols.is_plain)
        return TLM_OK;
    model->byte_merges = tlmi_alloc(256 * 256, sizeof(*model->byte_merges), "merges");
    if (model->byte_merges == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (int left = 0; left < 256; left++)
        for (int right = 0; right < 256; right++) {
            const tlmi_merge_slot_t *slot =
                tlmi_merge_slot(&model->merges, byte_ids[left], byte_ids[right]);

            model->byte_merges[left * 256 + right] = (tlmi_byte_merge_t){slot->rank, slot->product};
        }
    return TLM_OK;
}

/* ---- Whole tokens ---- */

/* Finds whether the merges alone, without a lookup of whole tokens, make `id` from its bytes. */
static tlm_status_t is_made_by_merges(bool *out, const tlmi_bpe_model_t *model,
                                      tlmi_scratch_t *scratch, tlmi_id_list_t *ids, uint32_t id)
{
    tlm_bytes_t token = tlmi_vocabulary_token(model->vocabulary, id);

    *out = false;
    ids->n = 0;
    if (token.size == 0)
        return TLM_OK;
    if (!tlmi_id_list_reserve(ids, token.size))
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = tlmi_bpe_merge(model, scratch, ids, token.data, token.size, NULL);
    *out = status == TLM_OK && ids->n == 1 && ids->ids[0] == id;
    /* A token may hold characters that are unknown and for which there is no unk_token. */
    return status == TLM_ERR_OUT_OF_MEMORY ? status : TLM_OK;
}

static tlm_status_t find_whole_tokens(tlmi_bpe_model_t *model, const uint8_t *is_added)
{
    tlmi_id_list_t ids = {0};
    tlmi_scratch_t scratch = {0};
    tlm_status_t status = TLM_OK;

    model->is_whole = tlmi_calloc(model->num_tokens, 1, "a vocabulary");
    if (model->is_whole == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (uint32_t id = 0; id < model->num_tokens && status == TLM_OK; id++) {
        size_t size = tlmi_vocabulary_token(model->vocabulary, id).size;
        bool by_merges;

        status = is_made_by_merges(&by_merges, model, &scratch, &ids, id);
        if (by_merges)
            model->is_whole[id] = TLMI_WHOLE_BY_MERGES;
        else if (model->ignores_merges && size > 0 && (is_added == NULL || is_added[id] == 0))
            model->is_whole[id] = TLMI_WHOLE_BY_LOOKUP;
        if (model->is_whole[id] != TLMI_NOT_WHOLE && size > model->max_whole_size)
            model->max_whole_size = size;
    }
    tlmi_id_list_release(&ids);
    tlmi_scratch_release(&scratch);
    return status;
}

/* ---- Cutting before U+2581 ---- */

#define META           "\xE2\x96\x81"
#define META_SIZE      3
#define META_CHARACTER 0x2581

/* A symbol that is not a token is a character other than U+2581. */
static bool begins_with_meta(const tlmi_bpe_model_t *model, uint32_t symbol)
{
    if (symbol >= model->num_tokens)
        return false;
    tlm_bytes_t token = tlmi_vocabulary_token(model->vocabulary, symbol);
    return token.size >= META_SIZE && memcmp(token.data, META, META_SIZE) == 0;
}

static bool ends_with_meta(const tlmi_bpe_model_t *model, uint32_t symbol)
{
    if (symbol >= model->num_tokens)
        return false;
    tlm_bytes_t token = tlmi_vocabulary_token(model->vocabulary, symbol);
    return token.size >= META_SIZE &&
           memcmp(token.data + token.size - META_SIZE, META, META_SIZE) == 0;
}

/* Whether a character can vanish, so that its neighbors become those of each other. */
static bool drops_characters(const tlmi_bpe_model_t *model)
{
    const tlmi_bpe_symbols_t *symbols = &model->symbols;
    bool has_bytes = true;

    for (int byte = 0; byte < 256; byte++)
        has_bytes = has_bytes && symbols->byte_ids[byte] != TLMI_NO_TOKEN;
    return symbols->unk_id == TLMI_NO_TOKEN && !has_bytes;
}

/* Whether symbols and merges never reach across the place before U+2581, where it follows another
 * character. That character's symbol may be the unk_token, whatever its name ends with. */
static bool may_split(const tlmi_bpe_model_t *model)
{
    const tlmi_bpe_symbols_t *symbols = &model->symbols;

    if (symbols->is_byte_level || symbols->map_of[TLMI_NUM_PLACES - 1] != &symbols->maps[0] ||
        model->num_splits > 0 || ends_with_meta(model, symbols->unk_id) ||
        tlmi_symbol_map_get(&symbols->maps[0], META_CHARACTER) >= model->num_tokens)
        return false;
    for (uint32_t id = 0; id < model->num_tokens; id++)
        if (model->is_whole[id] == TLMI_WHOLE_BY_LOOKUP)
            return false;
    bool drops = drops_characters(model);
    for (size_t i = 0; i <= model->merges.mask; i++) {
        const tlmi_merge_slot_t *slot = &model->merges.slots[i];

        if (slot->rank != TLMI_NO_MERGE && begins_with_meta(model, (uint32_t)slot->pair) &&
            (drops || !ends_with_meta(model, (uint32_t)(slot->pair >> 32))))
            return false;
    }
    return true;
}

/* ---- Creating and finding the model ---- */

tlm_status_t tlmi_bpe_model_complete(tlmi_bpe_model_t *model, size_t num_symbols,
                                     const uint8_t *is_added)
{
    TLMI_TRY(tlmi_bpe_find_joins(model, num_symbols));
    TLMI_TRY(find_byte_merges(model));
    TLMI_TRY(find_whole_tokens(model, is_added));
    TLMI_TRY(tlmi_word_table_create(&model->base.words, model->vocabulary, model->is_whole,
                                    model->num_tokens));
    model->splits_before_meta = may_split(model);
    return TLM_OK;
}

tlm_status_t tlmi_bpe_find_bytes(uint32_t byte_ids[256], const char *what,
                                 const tlmi_vocabulary_t *vocabulary)
{
    for (int byte = 0; byte < 256; byte++) {
        uint8_t one = (uint8_t)byte;

        byte_ids[byte] = tlmi_vocabulary_find(vocabulary, &one, 1);
        if (byte_ids[byte] == TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: the vocabulary of %u tokens lacks the byte 0x%02X", what,
                             vocabulary->size, (unsigned)byte);
    }
    return TLM_OK;
}

tlm_status_t tlmi_bpe_model_create(tlmi_subword_model_t **out, const char *what,
                                   const tlmi_vocabulary_t *vocabulary, tlmi_merge_table_t *merges,
                                   const tlmi_bpe_options_t *options)
{
    tlmi_bpe_model_t *model = tlmi_calloc(1, sizeof(*model), "a tokenizer");
    tlm_status_t status;

    if (model == NULL) {
        tlmi_merge_table_release(merges);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    model->base.kind = &tlmi_bpe_kind;
    model->vocabulary = vocabulary;
    model->num_tokens = vocabulary->size;
    model->merges = *merges;
    model->ignores_merges = options->ignore_merges;
    *merges = (tlmi_merge_table_t){0};
    TLMI_TRY_OR(fail, tlmi_bpe_symbols_init(&model->symbols, what, vocabulary, options));
    TLMI_TRY_OR(fail, tlmi_bpe_model_complete(model, model->num_tokens, options->is_added));
    *out = &model->base;
    return TLM_OK;
fail:
    free_model(&model->base);
    return status;
}

const tlmi_bpe_model_t *tlmi_tokenizer_bpe(const tlm_tokenizer_t *tokenizer)
{
    bool is_bpe = tokenizer->model->kind == &tlmi_bpe_kind;

    return is_bpe ? (const tlmi_bpe_model_t *)tokenizer->model : NULL;
}

tlm_status_t tlmi_tokenizer_require_bpe(const tlmi_bpe_model_t **out, const char *what,
                                        const tlm_tokenizer_t *tokenizer)
{
    const tlmi_bpe_model_t *model = tlmi_tokenizer_bpe(tokenizer);

    if (model == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the tokenizer's model is %s, which has no merges", what,
                         tokenizer->model->kind->name);
    if (!model->symbols.is_plain || model->merges.shares_ranks)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the tokenizer's BPE model is not one of merges over all 256 bytes",
                         what);
    *out = model;
    return TLM_OK;
}

/* Makes the model of a tokenizer that has its special tokens: they count as added tokens, except
 * those that are one byte, which the vocabulary is known to have. */
static tlm_status_t make_model(tlm_tokenizer_t *tokenizer, const char *what,
                               tlmi_merge_table_t *merges, bool ignore_merges)
{
    const tlmi_vocabulary_t *vocabulary = &tokenizer->vocabulary;
    uint8_t *is_added = tlmi_calloc(vocabulary->size, 1, "special tokens");
    tlmi_bpe_options_t options = {
        .is_byte_level = true, .ignore_merges = ignore_merges, .is_added = is_added};

    if (is_added == NULL) {
        tlmi_merge_table_release(merges);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < tlmi_special_tokens_count(tokenizer->special); i++) {
        uint32_t id = tokenizer->special_ids[i];

        is_added[id] = tlmi_vocabulary_token(vocabulary, id).size > 1;
    }
    tlm_status_t status =
        tlmi_bpe_model_create(&tokenizer->model, what, vocabulary, merges, &options);
    tlmi_free(is_added);
    return status;
}

tlm_status_t tlmi_bpe_tokenizer_assemble(tlm_tokenizer_t **out, const char *what,
                                         tlmi_vocabulary_t *vocabulary, tlmi_merge_table_t *merges,
                                         const tlm_tokenizer_options_t *options)
{
    tlm_tokenizer_t *tokenizer;
    uint32_t byte_ids[256];
    /* Special tokens are added later: a byte that is only a special token does not count. */
    tlm_status_t status = tlmi_bpe_find_bytes(byte_ids, what, vocabulary);

    if (status != TLM_OK)
        tlmi_vocabulary_release(vocabulary);
    else
        status = tlmi_tokenizer_start(&tokenizer, what, vocabulary, options);
    if (status != TLM_OK) {
        tlmi_merge_table_release(merges);
        return status;
    }
    status = make_model(tokenizer, what, merges, options->ignore_merges);
    if (status == TLM_OK)
        *out = tokenizer;
    else
        tlm_tokenizer_free(tokenizer);
    return status;
}
