/* Why pairs are enough. Let T be a token, and let X and Y be two neighbors with XY = T that occur
 * somewhere in a text while it is being encoded. No join has crossed the ends of this place yet. So
 * the joins inside it were, one by one, those that encoding T alone begins with: if a join has the
 * lowest rank in the whole text, it also has the lowest rank in its place, and the same holds for
 * the leftmost of equal ranks. Encoding T alone passes through at most one state of two parts. So X
 * and Y are always the same, whatever surrounds them, and the pair (X, Y) with the rank of T says
 * as much as T does. A token that does not become one token when it is encoded alone is never made
 * by joining.
 *
 * Inside T, only shorter tokens are made before T is. So tokens are processed from short to long,
 * and each is encoded with the merges of the previous ones: if two parts are left, they are its
 * pair. */
#include "tokenizer/formats/token_files.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* A token to be sorted by size. */
typedef struct sized_id {
    size_t size;
    uint32_t id;
} sized_id_t;

static int compare_sizes(const void *a, const void *b)
{
    const sized_id_t *x = a, *y = b;

    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Lists the tokens of two or more bytes, shortest first. */
static tlm_status_t sort_tokens(sized_id_t **out, size_t *n, const tlmi_vocabulary_t *vocabulary,
                                const bool *leave_out)
{
    sized_id_t *tokens = tlmi_alloc(vocabulary->size, sizeof(*tokens), "merges of ranks");

    if (tokens == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *n = 0;
    for (uint32_t id = 0; id < vocabulary->size; id++) {
        size_t size = tlmi_vocabulary_token(vocabulary, id).size;

        if (size > 1 && !leave_out[id])
            tokens[(*n)++] = (sized_id_t){size, id};
    }
    qsort(tokens, *n, sizeof(*tokens), compare_sizes);
    *out = tokens;
    return TLM_OK;
}

/* Fills a table in which the rank of a merge is the id of its product. is_made[id] tells whether id
 * has a merge. */
static tlm_status_t find_pairs(tlmi_bpe_model_t *model, bool *is_made, const sized_id_t *tokens,
                               size_t n, const tlmi_vocabulary_t *vocabulary)
{
    tlmi_id_list_t ids = {0};
    tlmi_scratch_t scratch = {0};
    tlm_status_t status = TLM_OK;

    for (size_t i = 0; i < n && status == TLM_OK; i++) {
        tlm_bytes_t token = tlmi_vocabulary_token(vocabulary, tokens[i].id);

        ids.n = 0;
        if (!tlmi_id_list_reserve(&ids, token.size))
            status = TLM_ERR_OUT_OF_MEMORY;
        else
            status = tlmi_bpe_merge(model, &scratch, &ids, token.data, token.size, NULL);
        if (status == TLM_OK && ids.n == 2)
            is_made[tokens[i].id] = tlmi_merge_table_put(
                &model->merges, tokens[i].id, (tlmi_merge_t){ids.ids[0], ids.ids[1], tokens[i].id});
    }
    tlmi_id_list_release(&ids);
    tlmi_scratch_release(&scratch);
    return status;
}

/* Copies the merges with consecutive ranks. */
static tlm_status_t close_gaps(tlmi_merge_table_t *out, const tlmi_merge_table_t *table,
                               const bool *is_made, uint32_t vocab_size)
{
    TLMI_TRY(tlmi_merge_table_init(out, table->size));
    for (uint32_t id = 0; id < vocab_size; id++)
        if (is_made[id])
            tlmi_merge_table_add(out, table->merges[id]);
    return TLM_OK;
}

tlm_status_t tlmi_rank_merges(tlmi_merge_table_t *out, const tlmi_vocabulary_t *vocabulary,
                              const uint32_t byte_ids[256], const bool *leave_out)
{
    tlmi_bpe_model_t model = {0}; /* only the parts that merging needs */
    sized_id_t *tokens = NULL;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    model.symbols.is_plain = true;
    memcpy(model.symbols.byte_ids, byte_ids, sizeof(model.symbols.byte_ids));
    bool *is_made = tlmi_calloc(vocabulary->size, sizeof(*is_made), "merges of ranks");
    if (is_made == NULL)
        goto done;
    TLMI_TRY_OR(done, tlmi_merge_table_init(&model.merges, vocabulary->size));
    size_t n;
    TLMI_TRY_OR(done, sort_tokens(&tokens, &n, vocabulary, leave_out));
    TLMI_TRY_OR(done, find_pairs(&model, is_made, tokens, n, vocabulary));
    status = close_gaps(out, &model.merges, is_made, vocabulary->size);
done:
    tlmi_merge_table_release(&model.merges);
    tlmi_free(tokens);
    tlmi_free(is_made);
    return status;
}
