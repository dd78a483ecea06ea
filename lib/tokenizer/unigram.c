/* The best way to reach each position is found from left to right (Viterbi). All that is kept of a
 * position is the token that ends there, in the place of the output where ids come later; sums of
 * scores are kept only as far back as the longest token reaches. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/unicode.h"
#include "tokenizer/tokenizer_core.h"

#define UNK_PENALTY 10.0 /* of an unknown character, below the lowest score */

/* What ends at a position: a token's id, or one of these. */
#define NOTHING         UINT32_MAX
#define UNKNOWN(length) (UINT32_MAX - (uint32_t)(length)) /* a character of 1..4 bytes */
#define FIRST_UNKNOWN   UNKNOWN(4)

/* SentencePiece subtracts the sum so far from all sums when it is this large. */
#define RESET_SUM 100000.0

typedef struct unigram_model {
    tlmi_subword_model_t base;
    tlmi_trie_t trie;
    double *scores;  /* [id] */
    uint32_t *sizes; /* [id]: of the tokens, in bytes */
    uint32_t num_scores;
    double unk_score;
    uint32_t unk_id;
    uint32_t byte_ids[256]; /* of the byte fallback; TLMI_NO_TOKEN if there is none */
    size_t ring_size;       /* a power of two that is larger than every token */
    size_t max_split;       /* longest pretoken that may be cut before U+2581 */
    bool is_single;         /* SentencePiece's arithmetic */
} unigram_model_t;

/* ---- The best path ---- */

typedef struct path {
    const unigram_model_t *model;
    const uint8_t *text;
    size_t size;
    uint32_t *ends; /* [position - 1]: what ends there */
    double *sums;   /* [position % ring_size]: of the best path to there */
    size_t farthest;
} path_t;

/* Returns whether this is now the best way to reach the position. */
static inline bool offer(path_t *path, size_t position, double sum, uint32_t what, bool is_single)
{
    double *best = &path->sums[position & (path->model->ring_size - 1)];

    if (is_single)
        sum = (float)sum;
    if (path->ends[position - 1] != NOTHING && !(sum > *best))
        return false;
    *best = sum;
    path->ends[position - 1] = what;
    if (position > path->farthest)
        path->farthest = position;
    return true;
}

static void reset_sums(path_t *path, size_t from)
{
    size_t mask = path->model->ring_size - 1;
    double offset = path->sums[from & mask];

    for (size_t i = from; i <= path->farthest; i++)
        path->sums[i & mask] = (float)(path->sums[i & mask] - offset);
}

/* Offers all tokens that begin at a position, and the unknown character if none of them is its
 * first character. */
static inline bool extend(path_t *path, size_t from, size_t length, bool is_single)
{
    const unigram_model_t *model = path->model;
    size_t mask = model->ring_size - 1;
    uint32_t node = TLMI_TRIE_ROOT;
    bool is_known = false;

    if (is_single && fabs(path->sums[from & mask]) > RESET_SUM)
        reset_sums(path, from);
    double sum = path->sums[from & mask];
    for (size_t to = from; to < path->size;) {
        node = tlmi_trie_follow(&model->trie, node, path->text[to++]);
        if (node == TLMI_TRIE_NONE)
            break;
        uint32_t id = tlmi_trie_id(&model->trie, node);
        if (id == TLMI_TRIE_NONE)
            continue;
        offer(path, to, model->scores[id] + sum, id, is_single);
        if (to - from == length)
            is_known = true;
    }
    return is_known ||
           !offer(path, from + length, model->unk_score + sum, UNKNOWN(length), is_single) ||
           model->unk_id != TLMI_NO_TOKEN || is_single;
}

static inline bool find_path(path_t *path, bool is_single)
{
    path->sums[0] = 0.0;
    for (size_t from = 0; from < path->size;) {
        size_t length = tlmi_utf8_length(path->text + from, path->text + path->size);

        if (!extend(path, from, length, is_single))
            return false;
        from += length;
    }
    return true;
}

/* ---- From the path to ids ---- */

/* Returns the id of the token with these bytes, or TLMI_NO_TOKEN. */
static uint32_t find_token(const unigram_model_t *model, const uint8_t *text, size_t size)
{
    uint32_t node = TLMI_TRIE_ROOT;

    for (size_t i = 0; i < size && node != TLMI_TRIE_NONE; i++)
        node = tlmi_trie_follow(&model->trie, node, text[i]);
    return node == TLMI_TRIE_NONE ? TLMI_NO_TOKEN : tlmi_trie_id(&model->trie, node);
}

static bool has_bytes(const unigram_model_t *model, const uint8_t *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (model->byte_ids[text[i]] == TLMI_NO_TOKEN)
            return false;
    return true;
}

/* Writes the ids of a run of unknown characters before ids[at] and returns their first index. */
static size_t put_unknown(const unigram_model_t *model, uint32_t *ids, size_t at,
                          const uint8_t *text, size_t size)
{
    /* Neighboring unknown characters, together, can still be a token. */
    uint32_t id = model->is_single ? TLMI_NO_TOKEN : find_token(model, text, size);

    if (id == TLMI_NO_TOKEN && has_bytes(model, text, size)) {
        while (size > 0)
            ids[--at] = model->byte_ids[text[--size]];
        return at;
    }
    ids[--at] = id != TLMI_NO_TOKEN ? id : model->unk_id;
    return at;
}

/* Replaces the ends by the ids, in place and from the end: there are never more ids to the right
 * of a position than bytes. Returns the index of the first id. */
static size_t follow_back(const path_t *path)
{
    const unigram_model_t *model = path->model;
    uint32_t *ids = path->ends;
    size_t at = path->size, unknown_end = 0; /* 0: no run of unknown characters */

    for (size_t end = path->size; end > 0;) {
        uint32_t what = path->ends[end - 1];
        bool is_unknown = what >= FIRST_UNKNOWN;
        size_t size = is_unknown ? UINT32_MAX - what : model->sizes[what];

        if (is_unknown || what == model->unk_id) {
            unknown_end = unknown_end == 0 ? end : unknown_end;
        } else {
            if (unknown_end > 0)
                at = put_unknown(model, ids, at, path->text + end, unknown_end - end);
            unknown_end = 0;
            ids[--at] = what;
        }
        end -= size;
    }
    if (unknown_end > 0)
        at = put_unknown(model, ids, at, path->text, unknown_end);
    return at;
}

static tlm_status_t encode(const tlmi_subword_model_t *base, tlmi_scratch_t *scratch,
                           tlmi_id_list_t *out, const uint8_t *pretoken, size_t size)
{
    const unigram_model_t *model = (const unigram_model_t *)base;
    path_t path = {.model = model, .text = pretoken, .size = size, .ends = out->ids + out->n};

    path.sums = tlmi_scratch_reserve(scratch, model->ring_size * sizeof(*path.sums));
    if (path.sums == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memset(path.ends, 0xFF, size * sizeof(*path.ends));
    if (!(model->is_single ? find_path(&path, true) : find_path(&path, false)))
        return tlmi_fail(TLM_ERR_FORMAT, "tokenizer: a character is not in the vocabulary, and "
                                         "the tokenizer has no unk_id");
    size_t first = follow_back(&path);
    memmove(path.ends, path.ends + first, (size - first) * sizeof(*path.ends));
    out->n += size - first;
    return TLM_OK;
}

/* ---- Cutting before U+2581 ---- */

#define META      "\xE2\x96\x81"
#define META_SIZE 3

/* Whether a token holds U+2581 after another character. */
static bool has_inner_meta(tlm_bytes_t token)
{
    for (size_t i = 1; i + META_SIZE <= token.size; i++)
        if (memcmp(token.data + i, META, META_SIZE) == 0 &&
            (i < META_SIZE || memcmp(token.data + i - META_SIZE, META, META_SIZE) != 0))
            return true;
    return false;
}

static bool begins_with_meta(tlm_bytes_t token)
{
    return token.size >= META_SIZE && memcmp(token.data, META, META_SIZE) == 0;
}

/* Lowers *lowest to the exponent of the lowest bit of a number. */
static void note_lowest_bit(int *lowest, double number)
{
    int exponent;
    double fraction = frexp(number, &exponent);

    if (number == 0.0)
        return;
    for (; fraction != floor(fraction); exponent--)
        fraction *= 2.0;
    while (fmod(fraction, 2.0) == 0.0) {
        fraction /= 2.0;
        exponent++;
    }
    if (exponent < *lowest)
        *lowest = exponent;
}

/* Returns the number of bytes up to which all sums of scores are exact. Then the part of a text
 * before a cut changes no comparison after it. */
static size_t exact_size(const unigram_model_t *model)
{
    double largest = fabs(model->unk_score);
    int lowest = DBL_MAX_EXP;

    note_lowest_bit(&lowest, model->unk_score);
    for (uint32_t id = 0; id < model->num_scores; id++) {
        if (model->sizes[id] == 0)
            continue;
        if (!isfinite(model->scores[id]))
            return 0;
        largest = fmax(largest, fabs(model->scores[id]));
        note_lowest_bit(&lowest, model->scores[id]);
    }
    if (!isfinite(largest))
        return 0;
    double size = largest == 0.0
                      ? INFINITY
                      : floor(ldexp(1.0, lowest + (model->is_single ? 24 : 53)) / largest);
    return size >= 9e18 ? SIZE_MAX : (size_t)size;
}

static size_t find_max_split(const unigram_model_t *model, const tlmi_vocabulary_t *vocabulary)
{
    uint32_t meta = find_token(model, (const uint8_t *)META, META_SIZE);

    /* An unknown character before the cut and one after it would become one unknown token. */
    if (meta == TLMI_NO_TOKEN ||
        (model->unk_id != TLMI_NO_TOKEN &&
         begins_with_meta(tlmi_vocabulary_token(vocabulary, model->unk_id))))
        return 0;
    for (uint32_t id = 0; id < model->num_scores; id++)
        if (model->sizes[id] > 0 && has_inner_meta(tlmi_vocabulary_token(vocabulary, id)))
            return 0;
    return exact_size(model);
}

static bool splits_before_meta(const tlmi_subword_model_t *base, size_t size)
{
    return size <= ((const unigram_model_t *)base)->max_split;
}

/* ---- Creating the model ---- */

static void free_model(tlmi_subword_model_t *base)
{
    unigram_model_t *model = (unigram_model_t *)base;

    tlmi_trie_release(&model->trie);
    tlmi_free(model->scores);
    tlmi_free(model->sizes);
    tlmi_free(model);
}

const tlmi_subword_kind_t tlmi_unigram_kind = {.name = "Unigram",
                                               .encode = encode,
                                               .splits_before_meta = splits_before_meta,
                                               .free = free_model};

static tlm_status_t find_bytes(unigram_model_t *model, const char *what,
                               const tlmi_vocabulary_t *vocabulary, bool required)
{
    for (int byte = 0; byte < 256; byte++) {
        uint32_t id = tlmi_find_byte_token(vocabulary, byte);

        if (id < model->num_scores)
            model->byte_ids[byte] = id;
        else if (required)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: byte_fallback is on, but there is no piece '<0x%02X>'", what,
                             (unsigned)byte);
    }
    return TLM_OK;
}

/* Makes a model without tokens and scores. */
static tlm_status_t start(unigram_model_t **out, const char *what,
                          const tlmi_vocabulary_t *vocabulary, uint32_t num_scores, uint32_t unk_id)
{
    if (num_scores == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the vocabulary has no tokens", what);
    if (num_scores > vocabulary->size || num_scores >= FIRST_UNKNOWN)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: %u scores, but only %u tokens", what, num_scores,
                         vocabulary->size);
    if (unk_id != TLMI_NO_TOKEN && unk_id >= num_scores)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the unk_id %u is outside the vocabulary of %u", what,
                         unk_id, num_scores);
    unigram_model_t *model = tlmi_calloc(1, sizeof(*model), "a tokenizer");
    if (model == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    model->base.kind = &tlmi_unigram_kind;
    model->num_scores = num_scores;
    model->unk_id = unk_id;
    model->scores = tlmi_calloc(num_scores, sizeof(*model->scores), "a vocabulary");
    model->sizes = tlmi_calloc(num_scores, sizeof(*model->sizes), "a vocabulary");
    memset(model->byte_ids, 0xFF, sizeof(model->byte_ids));
    if (model->scores == NULL || model->sizes == NULL) {
        free_model(&model->base);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    *out = model;
    return TLM_OK;
}

/* Completes a model that has its scores; sizes are set to 0 for what is not a token. */
static tlm_status_t finish(unigram_model_t *model, const tlmi_vocabulary_t *vocabulary)
{
    tlmi_trie_key_t *keys = tlmi_alloc(model->num_scores, sizeof(*keys), "a vocabulary");
    size_t n = 0;

    if (keys == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (uint32_t id = 0; id < model->num_scores; id++)
        if (model->sizes[id] > 0)
            keys[n++] =
                (tlmi_trie_key_t){tlmi_vocabulary_token(vocabulary, id).data, model->sizes[id], id};
    tlm_status_t status = tlmi_trie_create(&model->trie, keys, n);
    tlmi_free(keys);
    if (status != TLM_OK)
        return status;
    model->ring_size = 8;
    while (model->ring_size <= model->trie.max_key_size)
        model->ring_size *= 2;
    model->max_split = find_max_split(model, vocabulary);
    return TLM_OK;
}

static tlm_status_t set_token(unigram_model_t *model, const char *what,
                              const tlmi_vocabulary_t *vocabulary, uint32_t id, double score)
{
    tlm_bytes_t token = tlmi_vocabulary_token(vocabulary, id);
    size_t size = token.size;

    if (isnan(score))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the score of token %u is not a number", what, id);
    if (size > UINT32_MAX)
        return tlmi_fail(TLM_ERR_RANGE, "%s: token %u is too long", what, id);
    model->scores[id] = score;
    /* Of tokens with one name, the one that the vocabulary finds counts. */
    if (size > 0 && tlmi_vocabulary_find(vocabulary, token.data, size) == id)
        model->sizes[id] = (uint32_t)size;
    return TLM_OK;
}

tlm_status_t tlmi_unigram_model_create(tlmi_subword_model_t **out, const char *what,
                                       const tlmi_vocabulary_t *vocabulary,
                                       const tlmi_unigram_options_t *options)
{
    double lowest = INFINITY;
    unigram_model_t *model;
    tlm_status_t status;

    TLMI_TRY(start(&model, what, vocabulary, options->num_scores, options->unk_id));
    for (uint32_t id = 0; id < options->num_scores; id++) {
        TLMI_TRY_OR(fail, set_token(model, what, vocabulary, id, options->scores[id]));
        lowest = fmin(lowest, options->scores[id]);
    }
    model->unk_score = lowest - UNK_PENALTY;
    if (options->byte_fallback)
        TLMI_TRY_OR(fail, find_bytes(model, what, vocabulary, false));
    TLMI_TRY_OR(fail, finish(model, vocabulary));
    *out = &model->base;
    return TLM_OK;
fail:
    free_model(&model->base);
    return status;
}

/* A user-defined piece gets a score that makes it win. */
static tlm_status_t set_piece(unigram_model_t *model, const char *what,
                              const tlmi_vocabulary_t *vocabulary, uint32_t id, int type,
                              float score)
{
    if (!isfinite(score))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the score of piece %u is not finite", what, id);
    if (type == TLMI_PIECE_USER_DEFINED)
        score = (float)(0.1 * ((double)tlmi_vocabulary_token(vocabulary, id).size - 1.0));
    if (type != TLMI_PIECE_NORMAL && type != TLMI_PIECE_USER_DEFINED)
        return TLM_OK;
    return set_token(model, what, vocabulary, id, score);
}

tlm_status_t tlmi_unigram_model_create_from_pieces(tlmi_subword_model_t **out, const char *what,
                                                   const tlmi_vocabulary_t *vocabulary,
                                                   const tlmi_pieces_t *pieces)
{
    float lowest = FLT_MAX;
    tlm_status_t status;

    if (pieces->unk_id == TLMI_NO_TOKEN && !pieces->byte_fallback)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: there is no piece for unknown characters", what);
    unigram_model_t *model;
    TLMI_TRY(start(&model, what, vocabulary, pieces->size, pieces->unk_id));
    model->is_single = true;
    for (uint32_t id = 0; id < pieces->size; id++) {
        int type = pieces->types == NULL ? TLMI_PIECE_NORMAL : pieces->types[id];

        TLMI_TRY_OR(fail, set_piece(model, what, vocabulary, id, type, pieces->scores[id]));
        if (type == TLMI_PIECE_NORMAL && pieces->scores[id] < lowest)
            lowest = pieces->scores[id];
    }
    model->unk_score = (float)(lowest - (float)UNK_PENALTY);
    if (pieces->byte_fallback)
        TLMI_TRY_OR(fail, find_bytes(model, what, vocabulary, true));
    TLMI_TRY_OR(fail, finish(model, vocabulary));
    *out = &model->base;
    return TLM_OK;
fail:
    free_model(&model->base);
    return status;
}
