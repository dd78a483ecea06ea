/* Subword models without any of the library's structures. */
#include "naive_models.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/pretokenize/unicode.h"

uint32_t naive_find(const naive_vocab_t *vocab, const uint8_t *bytes, size_t size)
{
    for (uint32_t id = 0; id < vocab->n; id++)
        if (size > 0 && vocab->sizes[id] == size && memcmp(vocab->bytes[id], bytes, size) == 0)
            return id;
    return TLMI_NO_TOKEN;
}

uint32_t naive_add(naive_vocab_t *vocab, const uint8_t *bytes, size_t size)
{
    uint32_t id = naive_find(vocab, bytes, size);

    if (id != TLMI_NO_TOKEN || size > NAIVE_TOKEN_SIZE || vocab->n == NAIVE_TOKENS)
        return id;
    memcpy(vocab->bytes[vocab->n], bytes, size);
    vocab->sizes[vocab->n] = size;
    return vocab->n++;
}

static uint32_t find_byte(const naive_vocab_t *vocab, uint8_t byte)
{
    char name[8];

    snprintf(name, sizeof(name), "<0x%02X>", (unsigned)byte);
    return naive_find(vocab, (const uint8_t *)name, strlen(name));
}

/* Appends the tokens of a text's bytes. False if one is missing. */
static bool put_bytes(uint32_t *ids, size_t *n, const naive_vocab_t *vocab, const uint8_t *text,
                      size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (find_byte(vocab, text[i]) == TLMI_NO_TOKEN)
            return false;
    for (size_t i = 0; i < size; i++)
        ids[(*n)++] = find_byte(vocab, text[i]);
    return true;
}

/* The length of the first character; a malformed byte is one, and sets *malformed. */
static size_t character(bool *malformed, const uint8_t *text, size_t size)
{
    uint32_t code_point;
    int length = tlmi_utf8_decode(&code_point, text, text + size);

    *malformed = length < 0;
    return length < 0 ? 1 : (size_t)length;
}

/* ---- BPE ---- */

/* The token of a symbol with the affixes of its place. */
static uint32_t find_symbol(const naive_vocab_t *vocab, const tlmi_bpe_options_t *options,
                            const uint8_t *text, size_t size, bool is_first, bool is_last)
{
    tlm_bytes_t prefix = options->continuing_subword_prefix, suffix = options->end_of_word_suffix;
    uint8_t name[200];
    size_t n = 0;

    if (!is_first)
        for (size_t i = 0; i < prefix.size; i++)
            name[n++] = prefix.data[i];
    for (size_t i = 0; i < size; i++)
        name[n++] = text[i];
    if (is_last)
        for (size_t i = 0; i < suffix.size; i++)
            name[n++] = suffix.data[i];
    return naive_find(vocab, name, n);
}

static size_t split_symbols(uint32_t *ids, const naive_vocab_t *vocab,
                            const tlmi_bpe_options_t *options, const uint8_t *text, size_t size)
{
    size_t n = 0, length, waiting = 0;
    uint32_t unk = naive_find(vocab, options->unk_token.data, options->unk_token.size);

    for (size_t i = 0; i < size; i += length) {
        bool malformed = false;
        uint32_t id;

        length = options->is_byte_level ? 1 : character(&malformed, text + i, size - i);
        id = malformed ? TLMI_NO_TOKEN
                       : find_symbol(vocab, options, text + i, length, i == 0, i + length == size);
        if (id == TLMI_NO_TOKEN) {
            if (options->byte_fallback && put_bytes(ids, &n, vocab, text + i, length))
                continue;
            if (options->unk_token.size == 0)
                continue;
            if (unk == TLMI_NO_TOKEN)
                return NAIVE_FAILURE;
            if (waiting > 0 && !options->fuse_unk)
                ids[n++] = unk;
            waiting = 1;
            continue;
        }
        if (waiting > 0)
            ids[n++] = unk;
        waiting = 0;
        ids[n++] = id;
    }
    if (waiting > 0)
        ids[n++] = unk;
    return n;
}

/* The last merge of a pair counts. */
static size_t rank_of(const naive_merges_t *merges, uint32_t left, uint32_t right)
{
    for (size_t i = merges->n; i-- > 0;)
        if (merges->left[i] == left && merges->right[i] == right)
            return i;
    return SIZE_MAX;
}

size_t naive_encode_bpe(uint32_t *ids, const naive_vocab_t *vocab, const naive_merges_t *merges,
                        const tlmi_bpe_options_t *options, const uint8_t *text, size_t size)
{
    uint32_t whole = naive_find(vocab, text, size);
    size_t n;

    if (options->ignore_merges && whole != TLMI_NO_TOKEN) {
        ids[0] = whole;
        return 1;
    }
    n = split_symbols(ids, vocab, options, text, size);
    while (n != NAIVE_FAILURE) {
        size_t best = SIZE_MAX, at = 0, cut = options->continuing_subword_prefix.size;
        uint8_t product[2 * NAIVE_TOKEN_SIZE];

        for (size_t i = 0; i + 1 < n; i++)
            if (rank_of(merges, ids[i], ids[i + 1]) < best) {
                best = rank_of(merges, ids[i], ids[i + 1]);
                at = i;
            }
        if (best == SIZE_MAX)
            break;
        size_t left = vocab->sizes[ids[at]], right = vocab->sizes[ids[at + 1]] - cut;
        memcpy(product, vocab->bytes[ids[at]], left);
        memcpy(product + left, vocab->bytes[ids[at + 1]] + cut, right);
        ids[at] = naive_find(vocab, product, left + right);
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof(*ids));
        n--;
    }
    return n;
}

/* ---- BPE of SentencePiece ---- */

typedef struct span {
    size_t start, size;
} span_t;

typedef struct piece_merger {
    const naive_vocab_t *vocab;
    const tlmi_pieces_t *pieces;
    const uint8_t *text;
    span_t *spans;
    size_t n;
    span_t left[NAIVE_TOKENS], right[NAIVE_TOKENS]; /* by piece: the pair last found for it */
    uint32_t *ids;
    size_t num_ids;
    bool after_unk;
} piece_merger_t;

static int type_of(const tlmi_pieces_t *pieces, uint32_t id)
{
    return pieces->types == NULL ? TLMI_PIECE_NORMAL : pieces->types[id];
}

/* The piece of a span, if it can be part of a text. */
static uint32_t piece_of(const piece_merger_t *merger, span_t span)
{
    uint32_t id = naive_find(merger->vocab, merger->text + span.start, span.size);
    int type = id == TLMI_NO_TOKEN ? 0 : type_of(merger->pieces, id);

    return type == TLMI_PIECE_NORMAL || type == TLMI_PIECE_USER_DEFINED || type == TLMI_PIECE_UNUSED
               ? id
               : TLMI_NO_TOKEN;
}

/* The piece that the symbols at i and i + 1 make. */
static uint32_t propose(piece_merger_t *merger, size_t i)
{
    span_t left = merger->spans[i], right = merger->spans[i + 1];
    uint32_t id = piece_of(merger, (span_t){left.start, left.size + right.size});

    if (id != TLMI_NO_TOKEN) {
        merger->left[id] = left;
        merger->right[id] = right;
    }
    return id;
}

static bool merge_best(piece_merger_t *merger)
{
    uint32_t best = TLMI_NO_TOKEN;
    size_t at = 0;

    for (size_t i = 0; i + 1 < merger->n; i++) {
        span_t both = {merger->spans[i].start, merger->spans[i].size + merger->spans[i + 1].size};
        uint32_t id = piece_of(merger, both);

        if (id != TLMI_NO_TOKEN &&
            (best == TLMI_NO_TOKEN || merger->pieces->scores[id] > merger->pieces->scores[best])) {
            best = id;
            at = i;
        }
    }
    if (best == TLMI_NO_TOKEN)
        return false;
    merger->spans[at].size += merger->spans[at + 1].size;
    memmove(merger->spans + at + 1, merger->spans + at + 2,
            (merger->n - at - 2) * sizeof(*merger->spans));
    merger->n--;
    if (at > 0)
        propose(merger, at - 1);
    if (at + 1 < merger->n)
        propose(merger, at);
    return true;
}

static void put_span(piece_merger_t *merger, span_t span)
{
    uint32_t id = piece_of(merger, span);
    bool malformed,
        is_character = character(&malformed, merger->text + span.start, span.size) == span.size;

    if (id != TLMI_NO_TOKEN && type_of(merger->pieces, id) == TLMI_PIECE_UNUSED && !is_character) {
        put_span(merger, merger->left[id]);
        put_span(merger, merger->right[id]);
        return;
    }
    if (id != TLMI_NO_TOKEN && type_of(merger->pieces, id) != TLMI_PIECE_UNUSED) {
        merger->ids[merger->num_ids++] = id;
        merger->after_unk = false;
        return;
    }
    if (merger->pieces->byte_fallback) {
        put_bytes(merger->ids, &merger->num_ids, merger->vocab, merger->text + span.start,
                  span.size);
        return;
    }
    if (!merger->after_unk)
        merger->ids[merger->num_ids++] = merger->pieces->unk_id;
    merger->after_unk = true;
}

size_t naive_encode_bpe_pieces(uint32_t *ids, const naive_vocab_t *vocab,
                               const tlmi_pieces_t *pieces, const uint8_t *text, size_t size)
{
    piece_merger_t *merger = calloc(1, sizeof(*merger));
    size_t n;

    *merger = (piece_merger_t){.vocab = vocab, .pieces = pieces, .text = text, .ids = ids};
    merger->spans = malloc(size * sizeof(*merger->spans));
    for (size_t i = 0; i < size; i += merger->spans[merger->n++].size) {
        bool malformed;

        merger->spans[merger->n] = (span_t){i, character(&malformed, text + i, size - i)};
    }
    for (size_t i = 0; i + 1 < merger->n; i++)
        propose(merger, i);
    while (merge_best(merger))
        ;
    for (size_t i = 0; i < merger->n; i++)
        put_span(merger, merger->spans[i]);
    n = merger->num_ids;
    free(merger->spans);
    free(merger);
    return n;
}

/* ---- WordPiece ---- */

size_t naive_encode_wordpiece(uint32_t *ids, const naive_vocab_t *vocab,
                              const tlmi_wordpiece_options_t *options, const uint8_t *text,
                              size_t size)
{
    tlmi_bpe_options_t affixes = {.continuing_subword_prefix = options->continuing_subword_prefix};
    uint32_t unk = naive_find(vocab, options->unk_token.data, options->unk_token.size);
    size_t n = 0, characters = 0;
    bool malformed, failed = false;

    for (size_t i = 0; i < size; i += character(&malformed, text + i, size - i))
        characters++;
    if (characters > options->max_input_chars_per_word)
        failed = true;
    for (size_t i = 0, end; i < size && !failed; i = end) {
        uint32_t id = TLMI_NO_TOKEN;

        for (end = size - i < 2 * NAIVE_TOKEN_SIZE ? size : i + 2 * NAIVE_TOKEN_SIZE; end > i;
             end--) {
            id = find_symbol(vocab, &affixes, text + i, end - i, i == 0, false);
            if (id != TLMI_NO_TOKEN)
                break;
        }
        failed = id == TLMI_NO_TOKEN;
        ids[n++] = id;
    }
    if (!failed)
        return n;
    ids[0] = unk;
    return unk == TLMI_NO_TOKEN ? NAIVE_FAILURE : 1;
}

/* ---- Unigram ---- */

typedef struct node {
    double sum;
    size_t start;
    uint32_t id;
    bool reached;
} node_t;

typedef struct lattice {
    const naive_vocab_t *vocab;
    const double *scores; /* NaN: not a token */
    double unk_score;
    uint32_t unk_id;
    bool is_single;
} lattice_t;

static void offer(node_t *node, const lattice_t *lattice, double sum, size_t start, uint32_t id)
{
    if (lattice->is_single)
        sum = (float)sum;
    if (!node->reached || sum > node->sum)
        *node = (node_t){sum, start, id, true};
}

/* The best path, by a node for each end; NULL if it fails. Freed by the caller. */
static node_t *find_path(const lattice_t *lattice, const uint8_t *text, size_t size)
{
    node_t *nodes = calloc(size + 1, sizeof(*nodes));
    size_t length;

    for (size_t i = 0; i < size; i += length) {
        bool malformed, is_known = false;

        length = character(&malformed, text + i, size - i);
        if (lattice->is_single && fabs(nodes[i].sum) > 100000.0) {
            double offset = nodes[i].sum;

            for (size_t j = i; j <= size; j++)
                if (j == i || nodes[j].reached)
                    nodes[j].sum = (float)(nodes[j].sum - offset);
        }
        for (size_t end = i + 1; end <= size && end <= i + NAIVE_TOKEN_SIZE; end++) {
            uint32_t id = naive_find(lattice->vocab, text + i, end - i);

            if (id == TLMI_NO_TOKEN || isnan(lattice->scores[id]))
                continue;
            offer(&nodes[end], lattice, lattice->scores[id] + nodes[i].sum, i, id);
            is_known = is_known || end == i + length;
        }
        if (!is_known)
            offer(&nodes[i + length], lattice, lattice->unk_score + nodes[i].sum, i,
                  lattice->unk_id);
        if (!lattice->is_single && nodes[i + length].reached &&
            nodes[i + length].id == TLMI_NO_TOKEN) {
            free(nodes);
            return NULL;
        }
    }
    return nodes;
}

/* Turns a path into ids; neighboring unknown characters become one. */
static size_t put_path(uint32_t *ids, const lattice_t *lattice, const node_t *nodes,
                       bool byte_fallback, const uint8_t *text, size_t size)
{
    size_t *starts = malloc((size + 1) * sizeof(*starts)), num_starts = 0, n = 0;

    for (size_t end = size; end > 0; end = nodes[end].start)
        starts[num_starts++] = end;
    for (size_t k = num_starts; k-- > 0;) {
        size_t end = starts[k], start = nodes[end].start;

        if (nodes[end].id != lattice->unk_id) {
            ids[n++] = nodes[end].id;
            continue;
        }
        while (k > 0 && nodes[starts[k - 1]].id == lattice->unk_id)
            end = starts[--k];
        uint32_t id = lattice->is_single ? TLMI_NO_TOKEN
                                         : naive_find(lattice->vocab, text + start, end - start);
        if (id != TLMI_NO_TOKEN)
            ids[n++] = id;
        else if (!byte_fallback || !put_bytes(ids, &n, lattice->vocab, text + start, end - start))
            ids[n++] = lattice->unk_id;
    }
    free(starts);
    return n;
}

static size_t encode_lattice(uint32_t *ids, const lattice_t *lattice, bool byte_fallback,
                             const uint8_t *text, size_t size)
{
    node_t *nodes = find_path(lattice, text, size);
    size_t n;

    if (nodes == NULL)
        return NAIVE_FAILURE;
    n = put_path(ids, lattice, nodes, byte_fallback, text, size);
    free(nodes);
    return n;
}

size_t naive_encode_unigram(uint32_t *ids, const naive_vocab_t *vocab,
                            const tlmi_unigram_options_t *options, const uint8_t *text, size_t size)
{
    lattice_t lattice = {vocab, options->scores, INFINITY, options->unk_id, false};

    for (uint32_t id = 0; id < options->num_scores; id++)
        lattice.unk_score = fmin(lattice.unk_score, options->scores[id]);
    lattice.unk_score -= 10.0;
    return encode_lattice(ids, &lattice, options->byte_fallback, text, size);
}

size_t naive_encode_unigram_pieces(uint32_t *ids, const naive_vocab_t *vocab,
                                   const tlmi_pieces_t *pieces, const uint8_t *text, size_t size)
{
    double scores[NAIVE_TOKENS];
    lattice_t lattice = {vocab, scores, 0.0, pieces->unk_id, true};
    float lowest = FLT_MAX;

    for (uint32_t id = 0; id < pieces->size; id++) {
        int type = type_of(pieces, id);

        scores[id] = type == TLMI_PIECE_NORMAL ? pieces->scores[id]
                     : type == TLMI_PIECE_USER_DEFINED
                         ? (float)(0.1 * ((double)vocab->sizes[id] - 1))
                         : NAN;
        if (type == TLMI_PIECE_NORMAL && pieces->scores[id] < lowest)
            lowest = pieces->scores[id];
    }
    lattice.unk_score = (float)(lowest - 10.0F);
    return encode_lattice(ids, &lattice, pieces->byte_fallback, text, size);
}
