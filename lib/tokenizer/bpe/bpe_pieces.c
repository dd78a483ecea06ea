/* BPE models of SentencePiece. They have no list of merges: two neighbors merge if their
 * concatenation is a piece, and what has no token itself may still be part of a piece. So a symbol
 * is either the id of a piece or, from num_tokens on, a character. All pairs that make a piece are
 * found beforehand, and each has the rank of that piece's score. */
#include "tokenizer/bpe/bpe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/unicode.h"

#define MAX_PIECE_SIZE 7999 /* bytes; SentencePiece refuses longer ones */
#define MAX_DEPTH      100  /* to which an unused piece is taken apart */

/* ---- Pretokens ---- */

/* Returns the length of the character at the start of a text and sets its code point. A malformed
 * byte is a character whose code point has no symbol. */
static size_t next_character(uint32_t *code_point, const uint8_t *at, const uint8_t *end)
{
    int length = 1;

    *code_point = *at;
    if (*at >= 0x80)
        length = tlmi_utf8_decode(code_point, at, end);
    if (length > 0)
        return (size_t)length;
    *code_point = UINT32_MAX;
    return 1;
}

size_t tlmi_bpe_symbolize_pieces(const tlmi_bpe_model_t *model, uint32_t *out,
                                 const uint8_t *pretoken, size_t size)
{
    const uint8_t *at = pretoken, *end = pretoken + size;
    const tlmi_symbol_map_t *map = &model->symbols.maps[0];
    size_t n = 0;

    while (at < end) {
        uint32_t code_point;

        at += next_character(&code_point, at, end);
        out[n++] = code_point == UINT32_MAX ? TLMI_NO_TOKEN : tlmi_symbol_map_get(map, code_point);
    }
    return n;
}

typedef struct resolver {
    const tlmi_bpe_model_t *model;
    const tlmi_bpe_splits_t *splits;
    const uint8_t *at, *end; /* the text that is left */
    uint32_t *out;
    size_t n;
    bool after_unk; /* neighboring unknown characters become one id */
} resolver_t;

static void put_unknown(resolver_t *resolver)
{
    const tlmi_bpe_symbols_t *symbols = &resolver->model->symbols;
    uint32_t code_point;
    size_t length = next_character(&code_point, resolver->at, resolver->end);

    if (symbols->byte_ids[0] != TLMI_NO_TOKEN) {
        for (size_t i = 0; i < length; i++)
            resolver->out[resolver->n++] = symbols->byte_ids[resolver->at[i]];
    } else if (!resolver->after_unk) {
        resolver->out[resolver->n++] = symbols->unk_id;
        resolver->after_unk = true;
    }
    resolver->at += length;
}

static void put_symbol(resolver_t *resolver, uint32_t symbol, int depth)
{
    const tlmi_bpe_model_t *model = resolver->model;

    if (symbol >= model->num_tokens) {
        put_unknown(resolver);
        return;
    }
    if (model->split_of != NULL && model->split_of[symbol] != TLMI_NO_TOKEN && depth <= MAX_DEPTH) {
        uint64_t pair = resolver->splits->pairs[model->split_of[symbol]];

        put_symbol(resolver, (uint32_t)(pair >> 32), depth + 1);
        put_symbol(resolver, (uint32_t)pair, depth + 1);
        return;
    }
    resolver->out[resolver->n++] = symbol;
    resolver->after_unk = false;
    resolver->at += tlmi_vocabulary_token(model->vocabulary, symbol).size;
}

size_t tlmi_bpe_resolve_pieces(const tlmi_bpe_model_t *model, uint32_t *out,
                               const uint32_t *symbols, size_t n, const tlmi_bpe_splits_t *splits,
                               const uint8_t *pretoken, size_t size)
{
    resolver_t resolver = {model, splits, pretoken, pretoken + size, out, 0, false};

    for (size_t i = 0; i < n; i++)
        put_symbol(&resolver, symbols[i], 0);
    return resolver.n;
}

/* ---- Creating the model ---- */

typedef struct ranked_merge {
    tlmi_merge_t merge;
    uint32_t rank;
} ranked_merge_t;

typedef struct builder {
    tlmi_bpe_model_t *model;
    const tlmi_pieces_t *pieces;
    const char *what;
    uint32_t next_symbol;
    ranked_merge_t *merges; /* found so far */
    size_t num_merges, capacity;
    tlmi_trie_t forward;  /* pieces that can be sides of merges, from their first byte */
    tlmi_trie_t backward; /* the same, from their last byte */
    uint32_t *lefts;      /* (MAX_PIECE_SIZE): [size]: symbol of the start of a piece */
} builder_t;

static int type_of(const tlmi_pieces_t *pieces, uint32_t id)
{
    return pieces->types == NULL ? TLMI_PIECE_NORMAL : pieces->types[id];
}

/* Whether a piece can be part of a text as a whole. */
static bool is_text(const tlmi_pieces_t *pieces, uint32_t id)
{
    int type = type_of(pieces, id);

    return type == TLMI_PIECE_NORMAL || type == TLMI_PIECE_USER_DEFINED ||
           type == TLMI_PIECE_UNUSED;
}

static bool is_one_character(const uint8_t *text, size_t size)
{
    uint32_t code_point;

    return next_character(&code_point, text, text + size) == size;
}

/* Returns the symbol of a character, which gets one if need be. */
static tlm_status_t symbol_of(uint32_t *symbol, builder_t *builder, const uint8_t *text,
                              size_t size)
{
    tlmi_symbol_map_t *map = &builder->model->symbols.maps[0];
    uint32_t code_point;

    *symbol = TLMI_NO_TOKEN;
    (void)next_character(&code_point, text, text + size);
    if (code_point == UINT32_MAX)
        return TLM_OK;
    *symbol = tlmi_symbol_map_get(map, code_point);
    if (*symbol != TLMI_NO_TOKEN)
        return TLM_OK;
    *symbol = builder->next_symbol++;
    return tlmi_symbol_map_set(map, (tlm_bytes_t){text, size}, *symbol);
}

/* Follows a byte from a node, which may be TLMI_TRIE_NONE. */
static uint32_t follow(const tlmi_trie_t *trie, uint32_t node, uint8_t byte)
{
    return node == TLMI_TRIE_NONE ? node : tlmi_trie_follow(trie, node, byte);
}

/* Finds the symbols of all starts of a piece and the offset of its last character. */
static tlm_status_t find_lefts(size_t *last, builder_t *builder, tlm_bytes_t piece)
{
    const uint8_t *end = piece.data + piece.size;
    uint32_t node = TLMI_TRIE_ROOT;
    size_t length = 0;

    *last = 0;
    for (size_t at = 0; at < piece.size; at += length) {
        builder->lefts[at] = node == TLMI_TRIE_NONE ? node : tlmi_trie_id(&builder->forward, node);
        if (at > 0 && at == length) /* the first character */
            TLMI_TRY(symbol_of(&builder->lefts[at], builder, piece.data, at));
        *last = at;
        uint32_t code_point;
        length = next_character(&code_point, piece.data + at, end);
        for (size_t i = 0; i < length; i++) {
            if (i > 0)
                builder->lefts[at + i] = TLMI_NO_TOKEN;
            node = follow(&builder->forward, node, piece.data[at + i]);
        }
    }
    return TLM_OK;
}

/* Finds the merges that make a piece. */
static tlm_status_t add_merges(builder_t *builder, uint32_t id, uint32_t rank)
{
    tlm_bytes_t piece = tlmi_vocabulary_token(builder->model->vocabulary, id);
    uint32_t node = TLMI_TRIE_ROOT;
    size_t last;

    TLMI_TRY(find_lefts(&last, builder, piece));
    for (size_t at = piece.size - 1; at > 0; at--) {
        tlmi_merge_t merge = {builder->lefts[at], TLMI_NO_TOKEN, id};

        node = follow(&builder->backward, node, piece.data[at]);
        if (merge.left == TLMI_NO_TOKEN)
            continue;
        if (at == last)
            TLMI_TRY(symbol_of(&merge.right, builder, piece.data + at, piece.size - at));
        else if (node != TLMI_TRIE_NONE)
            merge.right = tlmi_trie_id(&builder->backward, node);
        if (merge.right == TLMI_NO_TOKEN)
            continue;
        if (!tlmi_grow(&builder->merges, &builder->capacity, builder->num_merges + 1,
                       sizeof(*builder->merges), "merges"))
            return TLM_ERR_OUT_OF_MEMORY;
        builder->merges[builder->num_merges++] = (ranked_merge_t){merge, rank};
    }
    return TLM_OK;
}

typedef struct scored {
    uint32_t key; /* orders scores; the highest score has the lowest key */
    uint32_t id;
} scored_t;

static int compare_scored(const void *left, const void *right)
{
    const scored_t *a = left, *b = right;

    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static uint32_t score_key(float score)
{
    uint32_t bits;

    memcpy(&bits, &score, sizeof(bits));
    return bits >> 31 != 0 ? bits : ~bits & 0x7FFFFFFF;
}

/* Visits the pieces that merges can make, best score first. */
static tlm_status_t visit_merges(builder_t *builder, const scored_t *ranked, size_t n)
{
    size_t before = 0; /* merges whose scores are better */
    uint32_t rank = 0;

    for (size_t i = 0; i < n; i++) {
        bool is_worse = i > 0 && ranked[i].key != ranked[i - 1].key;

        if (is_worse && builder->num_merges > before) {
            before = builder->num_merges;
            rank++; /* so ranks are below the number of merges */
        }
        TLMI_TRY(add_merges(builder, ranked[i].id, rank));
    }
    return TLM_OK;
}

/* Checks the pieces and lists those that can be part of a text, best score first. */
static tlm_status_t rank_pieces(scored_t *ranked, size_t *n, const builder_t *builder)
{
    const tlmi_pieces_t *pieces = builder->pieces;

    *n = 0;
    for (uint32_t id = 0; id < pieces->size; id++) {
        size_t size = tlmi_vocabulary_token(builder->model->vocabulary, id).size;

        if (isnan(pieces->scores[id]))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the score of piece %u is not a number",
                             builder->what, id);
        if (size > MAX_PIECE_SIZE)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: piece %u has %zu bytes; at most %d are allowed",
                             builder->what, id, size, MAX_PIECE_SIZE);
        if (size > 0 && is_text(pieces, id))
            ranked[(*n)++] = (scored_t){score_key(pieces->scores[id]), id};
    }
    if (*n > 0)
        qsort(ranked, *n, sizeof(*ranked), compare_scored);
    return TLM_OK;
}

/* Makes the tries of n pieces. `reversed` has room for the bytes of all tokens. */
static tlm_status_t make_tries(builder_t *builder, const scored_t *ranked, size_t n,
                               tlmi_trie_key_t *keys, uint8_t *reversed)
{
    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t piece = tlmi_vocabulary_token(builder->model->vocabulary, ranked[i].id);

        keys[i] = (tlmi_trie_key_t){piece.data, piece.size, ranked[i].id};
    }
    TLMI_TRY(tlmi_trie_create(&builder->forward, keys, n));
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < keys[i].size; k++)
            reversed[k] = keys[i].bytes[keys[i].size - 1 - k];
        keys[i].bytes = reversed;
        reversed += keys[i].size;
    }
    return tlmi_trie_create(&builder->backward, keys, n);
}

static tlm_status_t allocate_and_make_tries(builder_t *builder, const scored_t *ranked, size_t n)
{
    size_t bytes = builder->model->vocabulary->bytes_size;
    tlmi_trie_key_t *keys = tlmi_alloc(n, sizeof(*keys), "a vocabulary");
    uint8_t *reversed = tlmi_alloc(bytes, 1, "a vocabulary");
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (keys != NULL && reversed != NULL)
        status = make_tries(builder, ranked, n, keys, reversed);
    tlmi_free(keys);
    tlmi_free(reversed);
    return status;
}

static tlm_status_t find_merges(builder_t *builder, scored_t *ranked)
{
    size_t n;

    TLMI_TRY(rank_pieces(ranked, &n, builder));
    TLMI_TRY(allocate_and_make_tries(builder, ranked, n));
    builder->lefts = tlmi_alloc(MAX_PIECE_SIZE, sizeof(*builder->lefts), "a vocabulary");
    if (builder->lefts == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(visit_merges(builder, ranked, n));
    TLMI_TRY(tlmi_merge_table_init_shared(&builder->model->merges, builder->num_merges));
    for (size_t i = 0; i < builder->num_merges; i++)
        (void)tlmi_merge_table_share(&builder->model->merges, builder->merges[i].rank,
                                     builder->merges[i].merge);
    return TLM_OK;
}

/* Numbers the unused pieces that merges can make. */
static tlm_status_t number_splits(tlmi_bpe_model_t *model, const tlmi_pieces_t *pieces)
{
    for (uint32_t id = 0; id < pieces->size; id++) {
        tlm_bytes_t piece = tlmi_vocabulary_token(model->vocabulary, id);

        if (type_of(pieces, id) != TLMI_PIECE_UNUSED || piece.size == 0 ||
            is_one_character(piece.data, piece.size))
            continue;
        if (model->split_of == NULL) {
            model->split_of =
                tlmi_alloc(model->num_tokens, sizeof(*model->split_of), "a vocabulary");
            if (model->split_of == NULL)
                return TLM_ERR_OUT_OF_MEMORY;
            memset(model->split_of, 0xFF, model->num_tokens * sizeof(*model->split_of));
        }
        model->split_of[id] = model->num_splits++;
    }
    return TLM_OK;
}

static tlm_status_t find_bytes(tlmi_bpe_model_t *model, const char *what, uint32_t num_pieces)
{
    for (int byte = 0; byte < 256; byte++) {
        model->symbols.byte_ids[byte] = tlmi_find_byte_token(model->vocabulary, byte);
        if (model->symbols.byte_ids[byte] >= num_pieces)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: byte_fallback is on, but there is no piece '<0x%02X>'", what,
                             (unsigned)byte);
    }
    return TLM_OK;
}

/* Only normal and user-defined characters are symbols with an id. */
static uint8_t *find_hidden(const tlmi_vocabulary_t *vocabulary, const tlmi_pieces_t *pieces)
{
    uint8_t *hidden = tlmi_calloc(vocabulary->size, 1, "a vocabulary");

    for (uint32_t id = 0; hidden != NULL && id < vocabulary->size; id++)
        hidden[id] =
            id >= pieces->size || !is_text(pieces, id) || type_of(pieces, id) == TLMI_PIECE_UNUSED;
    return hidden;
}

static tlm_status_t build(builder_t *builder, const uint8_t *hidden)
{
    tlmi_bpe_options_t options = {.is_added = hidden};
    tlmi_bpe_model_t *model = builder->model;

    TLMI_TRY(tlmi_bpe_symbols_init(&model->symbols, builder->what, model->vocabulary, &options));
    model->symbols.unk_id = builder->pieces->unk_id;
    if (builder->pieces->byte_fallback)
        TLMI_TRY(find_bytes(model, builder->what, builder->pieces->size));
    scored_t *ranked = tlmi_alloc(builder->pieces->size, sizeof(*ranked), "a vocabulary");
    if (ranked == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = find_merges(builder, ranked);
    tlmi_free(ranked);
    tlmi_trie_release(&builder->forward);
    tlmi_trie_release(&builder->backward);
    tlmi_free(builder->lefts);
    tlmi_free(builder->merges);
    if (status != TLM_OK)
        return status;
    TLMI_TRY(number_splits(model, builder->pieces));
    return tlmi_bpe_model_complete(model, builder->next_symbol, hidden);
}

static tlm_status_t check_pieces(const char *what, const tlmi_vocabulary_t *vocabulary,
                                 const tlmi_pieces_t *pieces)
{
    if (pieces->size == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the vocabulary has no tokens", what);
    if (pieces->size > vocabulary->size)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: %u pieces, but only %u tokens", what, pieces->size,
                         vocabulary->size);
    if (pieces->unk_id != TLMI_NO_TOKEN && pieces->unk_id >= pieces->size)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the unk_id %u is outside the vocabulary of %u", what,
                         pieces->unk_id, pieces->size);
    if (pieces->unk_id == TLMI_NO_TOKEN && !pieces->byte_fallback)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: there is no piece for unknown characters", what);
    return TLM_OK;
}

tlm_status_t tlmi_bpe_model_create_from_pieces(tlmi_subword_model_t **out, const char *what,
                                               const tlmi_vocabulary_t *vocabulary,
                                               const tlmi_pieces_t *pieces)
{
    builder_t builder = {.pieces = pieces, .what = what, .next_symbol = vocabulary->size};

    TLMI_TRY(check_pieces(what, vocabulary, pieces));
    tlmi_bpe_model_t *model = tlmi_calloc(1, sizeof(*model), "a tokenizer");
    if (model == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    model->base.kind = &tlmi_bpe_kind;
    model->vocabulary = vocabulary;
    model->num_tokens = vocabulary->size;
    model->is_from_pieces = true;
    builder.model = model;
    uint8_t *hidden = find_hidden(vocabulary, pieces);
    tlm_status_t status = hidden != NULL ? build(&builder, hidden) : TLM_ERR_OUT_OF_MEMORY;
    tlmi_free(hidden);
    if (status == TLM_OK)
        *out = &model->base;
    else
        tlmi_subword_free(&model->base);
    return status;
}
