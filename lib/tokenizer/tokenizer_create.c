/* Making a tokenizer from a vocabulary and merges. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "tokenizer/bpe/bpe.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/tokenizer_core.h"

void tlmi_json_source_free(tlmi_json_source_t *source)
{
    if (source == NULL)
        return;
    tlmi_free(source->components);
    tlmi_free(source->model_options);
    tlmi_free(source->raw_ids);
    tlmi_free(source);
}

void tlm_tokenizer_free(tlm_tokenizer_t *tokenizer)
{
    if (tokenizer == NULL)
        return;
    tlmi_subword_free(tokenizer->model);
    tlmi_vocabulary_release(&tokenizer->vocabulary);
    tlmi_special_tokens_free(tokenizer->special);
    tlmi_free(tokenizer->special_ids);
    tlmi_free(tokenizer->special_by_id);
    tlmi_normalizer_free(tokenizer->normalizer);
    tlmi_pretokenizer_free(tokenizer->pretokenizer);
    tlmi_decoder_free(tokenizer->decoder);
    tlmi_template_free(tokenizer->template);
    tlmi_json_source_free(tokenizer->source);
    tlmi_memory_pool_free(tokenizer->memory);
    tlmi_free(tokenizer);
}

void tlmi_tokenizer_parts_release(tlmi_tokenizer_parts_t *parts)
{
    tlmi_vocabulary_release(&parts->vocabulary);
    tlmi_normalizer_free(parts->normalizer);
    tlmi_pretokenizer_free(parts->pretokenizer);
    tlmi_decoder_free(parts->decoder);
    tlmi_template_free(parts->template);
    tlmi_json_source_free(parts->source);
    *parts = (tlmi_tokenizer_parts_t){0};
}

/* Gives a special token an id, which is a new one if the vocabulary lacks the token. */
static tlm_status_t number_special_token(uint32_t *id, tlmi_vocabulary_t *vocabulary,
                                         tlm_bytes_t token)
{
    *id = tlmi_vocabulary_find(vocabulary, token.data, token.size);
    if (*id != TLMI_NO_TOKEN)
        return TLM_OK;
    *id = vocabulary->size;
    return tlmi_vocabulary_add(vocabulary, token.data, token.size);
}

static tlm_status_t number_special_tokens(tlm_tokenizer_t *tokenizer, const uint32_t *ids)
{
    size_t n = tlmi_special_tokens_count(tokenizer->special);

    tokenizer->special_ids = tlmi_alloc(n, sizeof(*tokenizer->special_ids), "special tokens");
    if (tokenizer->special_ids == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (ids != NULL)
            tokenizer->special_ids[i] = ids[i];
        else
            TLMI_TRY(number_special_token(&tokenizer->special_ids[i], &tokenizer->vocabulary,
                                          tlmi_special_tokens_get(tokenizer->special, i)));
    return TLM_OK;
}

static int compare_pairs(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static tlm_status_t sort_special_tokens(tlm_tokenizer_t *tokenizer)
{
    size_t n = tlmi_special_tokens_count(tokenizer->special);
    uint64_t *pairs = tlmi_alloc(n, sizeof(*pairs), "special tokens"); /* id << 32 | index */

    tokenizer->special_by_id = tlmi_alloc(n, sizeof(*tokenizer->special_by_id), "special tokens");
    if (pairs == NULL || tokenizer->special_by_id == NULL) {
        tlmi_free(pairs);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < n; i++)
        pairs[i] = (uint64_t)tokenizer->special_ids[i] << 32 | i;
    if (n > 0)
        qsort(pairs, n, sizeof(*pairs), compare_pairs);
    for (size_t i = 0; i < n; i++)
        tokenizer->special_by_id[i] = (uint32_t)pairs[i];
    tlmi_free(pairs);
    return TLM_OK;
}

size_t tlmi_tokenizer_find_special(const tlm_tokenizer_t *tokenizer, uint32_t id)
{
    size_t low = 0, high = tlmi_special_tokens_count(tokenizer->special);

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (tokenizer->special_ids[tokenizer->special_by_id[middle]] < id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == tlmi_special_tokens_count(tokenizer->special))
        return SIZE_MAX;
    low = tokenizer->special_by_id[low];
    return tokenizer->special_ids[low] == id ? low : SIZE_MAX;
}

tlm_status_t tlmi_tokenizer_start_parts(tlm_tokenizer_t **out, const char *what,
                                        tlmi_tokenizer_parts_t *parts)
{
    tlm_tokenizer_t *tokenizer = tlmi_calloc(1, sizeof(*tokenizer), "a tokenizer");
    tlmi_tokenizer_parts_t own = *parts;
    tlm_status_t status;

    *parts = (tlmi_tokenizer_parts_t){0};
    if (tokenizer == NULL) {
        tlmi_tokenizer_parts_release(&own);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    tokenizer->vocabulary = own.vocabulary;
    tokenizer->normalizer = own.normalizer;
    tokenizer->pretokenizer = own.pretokenizer;
    tokenizer->decoder = own.decoder;
    tokenizer->template = own.template;
    tokenizer->source = own.source;
    tokenizer->dropout = own.dropout;
    tokenizer->limits = own.limits;
    TLMI_TRY_OR(fail,
                tlmi_special_tokens_create(&tokenizer->special, own.special, own.special_flags,
                                           own.num_special, own.normalizer, what));
    TLMI_TRY_OR(fail, tlmi_memory_pool_create(&tokenizer->memory));
    TLMI_TRY_OR(fail, number_special_tokens(tokenizer, own.special_ids));
    TLMI_TRY_OR(fail, sort_special_tokens(tokenizer));
    *out = tokenizer;
    return TLM_OK;
fail:
    tlm_tokenizer_free(tokenizer);
    return status;
}

tlm_status_t tlmi_tokenizer_start(tlm_tokenizer_t **out, const char *what,
                                  tlmi_vocabulary_t *vocabulary,
                                  const tlm_tokenizer_options_t *options)
{
    tlmi_tokenizer_parts_t parts = {.vocabulary = *vocabulary,
                                    .normalizer = options->nfc ? &tlmi_nfc : NULL,
                                    .special = options->special_tokens,
                                    .num_special = options->num_special_tokens};

    *vocabulary = (tlmi_vocabulary_t){0};
    tlm_status_t status = tlmi_pretokenizer_create(&parts.pretokenizer, options->pattern);
    if (status == TLM_OK)
        return tlmi_tokenizer_start_parts(out, what, &parts);
    tlmi_tokenizer_parts_release(&parts);
    return status;
}

/* Finds whether U+2581 stands for each space when text comes out of the normalizer. */
static tlm_status_t escapes_spaces(bool *out, const tlmi_normalizer_t *normalizer)
{
    static const uint8_t text[] = "x y", escaped[] = "x\xE2\x96\x81y";
    tlmi_normal_text_t normal = {0};

    *out = false;
    if (normalizer == NULL)
        return TLM_OK;
    tlm_status_t status = normalizer->kind->append(normalizer, &normal, text, 3, 0);
    if (status == TLM_OK)
        *out = normal.size == 5 && memcmp(normal.bytes, escaped, 5) == 0;
    tlmi_normal_text_release(&normal);
    return status;
}

/* Without other steps, a whole text is one pretoken. If the model allows it, such a text is cut
 * into words, which are likely to be in the cache. */
static tlm_status_t cut_before_meta(tlm_tokenizer_t *tokenizer)
{
    if (tokenizer->model->kind->splits_before_meta == NULL ||
        tlmi_pretokenizer_pattern(tokenizer->pretokenizer) != NULL)
        return TLM_OK;
    bool escapes;
    TLMI_TRY(escapes_spaces(&escapes, tokenizer->normalizer));
    tlmi_splitter_t *splitter;
    TLMI_TRY(tlmi_split_before_meta_create(&splitter, tokenizer->model, escapes));
    return tlmi_pretokenizer_add(tokenizer->pretokenizer, splitter);
}

tlm_status_t tlmi_tokenizer_finish(tlm_tokenizer_t *tokenizer, tlmi_subword_model_t *model)
{
    tokenizer->model = model;
    return cut_before_meta(tokenizer);
}

tlm_status_t tlmi_tokenizer_copy_vocabulary(tlmi_vocabulary_t *out, const char *what,
                                            const tlm_bytes_t *vocab, size_t vocab_size)
{
    for (size_t i = 0; i < vocab_size; i++) {
        if (vocab[i].size > 0 && vocab[i].data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: token %zu has %zu bytes, but its pointer is NULL", what, i,
                             vocab[i].size);
        uint32_t twin = tlmi_vocabulary_find(out, vocab[i].data, vocab[i].size);
        if (twin != TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: tokens %u and %zu of the vocabulary are the same",
                             what, twin, i);
        TLMI_TRY(tlmi_vocabulary_add(out, vocab[i].data, vocab[i].size));
    }
    return TLM_OK;
}

/* Resolves one merge from bytes to ids; `joined` is scratch memory for its product. */
static tlm_status_t resolve_merge(tlmi_merge_t *out, const char *what,
                                  const tlmi_vocabulary_t *vocabulary, const tlm_bytes_t *sides,
                                  size_t index, uint8_t **joined, size_t *capacity)
{
    static const char *const names[] = {"left side", "right side", "product"};
    tlm_bytes_t parts[3] = {sides[0], sides[1], {NULL, 0}};
    uint32_t ids[3];

    for (int side = 0; side < 2; side++)
        if (sides[side].size > 0 && sides[side].data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: merge %zu has %zu bytes, but its pointer is NULL", what, index,
                             sides[side].size);
    if (!tlmi_add_size(&parts[2].size, sides[0].size, sides[1].size))
        return tlmi_fail_memory(sides[0].size, "a merge");
    if (!tlmi_grow(joined, capacity, parts[2].size, 1, "a merge"))
        return TLM_ERR_OUT_OF_MEMORY;
    for (int side = 0; side < 2; side++)
        if (sides[side].size > 0)
            memcpy(*joined + (side == 0 ? 0 : sides[0].size), sides[side].data, sides[side].size);
    parts[2].data = *joined;
    for (int i = 0; i < 3; i++) {
        ids[i] = tlmi_vocabulary_find(vocabulary, parts[i].data, parts[i].size);
        if (ids[i] == TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: merge %zu: its %s of %zu bytes is not in the vocabulary", what,
                             index, names[i], parts[i].size);
    }
    *out = (tlmi_merge_t){ids[0], ids[1], ids[2]};
    return TLM_OK;
}

static tlm_status_t copy_merges(tlmi_merge_table_t *out, const char *what,
                                const tlmi_vocabulary_t *vocabulary, const tlm_bytes_t *merges,
                                size_t num_merges)
{
    uint8_t *joined = NULL;
    size_t capacity = 0;
    tlm_status_t status = tlmi_merge_table_init(out, num_merges);

    for (size_t i = 0; i < num_merges && status == TLM_OK; i++) {
        tlmi_merge_t merge;

        status = resolve_merge(&merge, what, vocabulary, &merges[2 * i], i, &joined, &capacity);
        if (status == TLM_OK && !tlmi_merge_table_add(out, merge))
            status = tlmi_fail(TLM_ERR_FORMAT, "%s: merge %zu repeats merge %u", what, i,
                               tlmi_merge_rank(out, merge.left, merge.right));
    }
    tlmi_free(joined);
    return status;
}

tlm_status_t tlmi_tokenizer_read_options(tlm_tokenizer_options_t *out, const char *what,
                                         const tlm_tokenizer_options_t *options)
{
    *out = (tlm_tokenizer_options_t)TLM_TOKENIZER_OPTIONS_INIT;
    if (options != NULL)
        TLMI_TRY(tlmi_options_read(what, out, TLMI_TOKENIZER_OPTIONS, options));
    return TLM_OK;
}

tlm_status_t tlmi_tokenizer_build(tlm_tokenizer_t **out, const char *what, const tlm_bytes_t *vocab,
                                  size_t vocab_size, const tlm_bytes_t *merges, size_t num_merges,
                                  const tlm_tokenizer_options_t *options)
{
    tlmi_vocabulary_t vocabulary = {0};
    tlmi_merge_table_t table = {0};

    tlm_status_t status = tlmi_tokenizer_copy_vocabulary(&vocabulary, what, vocab, vocab_size);
    if (status == TLM_OK)
        status = copy_merges(&table, what, &vocabulary, merges, num_merges);
    if (status == TLM_OK)
        return tlmi_bpe_tokenizer_assemble(out, what, &vocabulary, &table, options);
    tlmi_vocabulary_release(&vocabulary);
    tlmi_merge_table_release(&table);
    return status;
}

tlm_status_t tlm_tokenizer_create(tlm_tokenizer_t **out, const tlm_bytes_t *vocab,
                                  size_t vocab_size, const tlm_bytes_t *merges, size_t num_merges,
                                  const tlm_tokenizer_options_t *options)
{
    tlmi_token_list_t list = {0};
    tlm_status_t status = TLM_OK;

    TLMI_REQUIRE("tokenizer_create", out);
    if (vocab_size > 0)
        TLMI_REQUIRE("tokenizer_create", vocab);
    if (num_merges > 0)
        TLMI_REQUIRE("tokenizer_create", merges);
    tlm_tokenizer_options_t known;
    TLMI_TRY(tlmi_tokenizer_read_options(&known, "tokenizer_create", options));
    for (size_t i = 0; i < vocab_size && status == TLM_OK; i++)
        status = tlmi_token_list_append(&list, vocab[i]);
    if (status == TLM_OK)
        status = tlmi_token_list_place_special(&list, &known, "tokenizer_create");
    if (status == TLM_OK)
        status = tlmi_tokenizer_build(out, "tokenizer_create", list.items, list.n, merges,
                                      num_merges, &known);
    tlmi_token_list_release(&list);
    return status;
}
