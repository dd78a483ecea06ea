/* The plain BPE that naive_bpe.h describes. Speed does not matter here; being obviously right does.
 */
#include "naive_bpe.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- Pre-tokenization --------------------------------------------------------------------------
 */

typedef enum kind { KIND_LETTER, KIND_NUMBER, KIND_SPACE, KIND_OTHER } kind_t;

/* The Unicode property White_Space, which \s stands for. */
static bool is_white_space(int32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

/* Kind of the first character, and its bytes. */
static kind_t classify(size_t *length, const uint8_t *text, size_t size)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate(text, size < 4 ? (utf8proc_ssize_t)size : 4, &c);

    *length = 1;
    if (n < 1)
        return KIND_OTHER;
    *length = (size_t)n;
    if (is_white_space(c))
        return KIND_SPACE;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return KIND_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return KIND_NUMBER;
    default:
        return KIND_OTHER;
    }
}

/* Bytes of the run of characters of one kind at the start; *last is where its last one begins. */
static size_t run_length(size_t *last, kind_t kind, const uint8_t *text, size_t size)
{
    size_t end = 0, length;

    *last = 0;
    while (end < size && classify(&length, text + end, size - end) == kind) {
        *last = end;
        end += length;
    }
    return end;
}

static size_t contraction(const uint8_t *text, size_t size)
{
    static const char *const all[] = {"'s", "'d", "'m", "'t", "'ll", "'ve", "'re"};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (size >= strlen(all[i]) && memcmp(text, all[i], strlen(all[i])) == 0)
            return strlen(all[i]);
    return 0;
}

size_t naive_pretoken(const uint8_t *text, size_t size)
{
    static const kind_t kinds[] = {KIND_LETTER, KIND_NUMBER, KIND_OTHER};
    size_t space = size > 0 && text[0] == ' ', last, run = contraction(text, size);

    if (run > 0 || size == 0)
        return run;
    for (int i = 0; i < 3; i++) {
        run = run_length(&last, kinds[i], text + space, size - space);
        if (run > 0)
            return space + run;
    }
    /* \s+(?!\S): all of the run at the end of the text, all but its last character before
     * anything else; \s+ takes over when that leaves nothing. */
    run = run_length(&last, KIND_SPACE, text, size);
    return run == size || last == 0 ? run : last;
}

int64_t naive_special(const tlm_bytes_t *specials, size_t n, const uint8_t *text, size_t size)
{
    int64_t best = -1;

    for (size_t i = 0; i < n; i++)
        if (specials[i].size <= size && memcmp(text, specials[i].data, specials[i].size) == 0 &&
            (best < 0 || specials[i].size > specials[best].size))
            best = (int64_t)i;
    return best;
}

/* Bytes before the next special token or the end of the text. */
static size_t plain_length(const tlm_bytes_t *specials, size_t n, const uint8_t *text, size_t size)
{
    size_t length = 0;

    while (length < size && naive_special(specials, n, text + length, size - length) < 0)
        length++;
    return length;
}

/* ---- Merging ----------------------------------------------------------------------------------
 */

static int compare_merges(const void *a, const void *b)
{
    const naive_merge_t *x = a, *y = b;

    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

/* Merges a pretoken in place: of all pairs the one with the lowest rank, the leftmost of these,
 * until none has a merge. Returns the number of ids. */
static size_t merge_pretoken(uint32_t *ids, size_t n, const naive_bpe_t *bpe)
{
    for (;;) {
        const naive_merge_t *best = NULL;
        size_t place = 0;

        for (size_t i = 0; i + 1 < n && bpe->num_merges > 0; i++) {
            naive_merge_t key = {ids[i], ids[i + 1], 0, 0};
            const naive_merge_t *merge =
                bsearch(&key, bpe->sorted, bpe->num_merges, sizeof(*bpe->sorted), compare_merges);

            if (merge != NULL && (best == NULL || merge->rank < best->rank)) {
                best = merge;
                place = i;
            }
        }
        if (best == NULL)
            return n;
        ids[place] = best->product;
        memmove(ids + place + 1, ids + place + 2, (n - place - 2) * sizeof(*ids));
        n--;
    }
}

/* ---- Training ----------------------------------------------------------------------------------
 */

/* A pretoken as ids, with the bytes it came from. */
typedef struct word {
    const uint8_t *bytes;
    size_t size;
    uint32_t *ids;
    size_t length;
    uint64_t count;
} word_t;

typedef struct words {
    word_t *items;
    size_t n, capacity;
} words_t;

static void *checked(void *pointer)
{
    if (pointer == NULL)
        abort();
    return pointer;
}

static uint32_t add_token(naive_bpe_t *bpe, const uint8_t *left, size_t left_size,
                          const uint8_t *right, size_t right_size)
{
    uint8_t *bytes = checked(malloc(left_size + right_size + 1));

    if (left_size > 0)
        memcpy(bytes, left, left_size);
    if (right_size > 0)
        memcpy(bytes + left_size, right, right_size);
    bpe->tokens = checked(realloc(bpe->tokens, (bpe->num_tokens + 1) * sizeof(*bpe->tokens)));
    bpe->tokens[bpe->num_tokens] = (tlm_bytes_t){bytes, left_size + right_size};
    return (uint32_t)bpe->num_tokens++;
}

static void add_word(words_t *words, const uint8_t *bytes, size_t size)
{
    if (words->n == words->capacity) {
        words->capacity = 2 * words->capacity + 64;
        words->items = checked(realloc(words->items, words->capacity * sizeof(word_t)));
    }
    words->items[words->n++] = (word_t){bytes, size, NULL, size, 1};
}

static void split_document(words_t *words, tlm_bytes_t document, const tlm_bytes_t *specials,
                           size_t num_specials)
{
    size_t begin = 0;

    while (begin < document.size) {
        size_t left = document.size - begin;
        size_t end = begin + plain_length(specials, num_specials, document.data + begin, left);

        while (begin < end) {
            size_t length = naive_pretoken(document.data + begin, end - begin);

            add_word(words, document.data + begin, length);
            begin += length;
        }
        if (begin < document.size)
            begin += specials[naive_special(specials, num_specials, document.data + begin,
                                            document.size - begin)]
                         .size;
    }
}

static int compare_bytes(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
    size_t common = a_size < b_size ? a_size : b_size;
    int order = common > 0 ? memcmp(a, b, common) : 0;

    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_tokens(tlm_bytes_t a, tlm_bytes_t b)
{
    return compare_bytes(a.data, a.size, b.data, b.size);
}

static int compare_words(const void *a, const void *b)
{
    const word_t *x = a, *y = b;

    return compare_bytes(x->bytes, x->size, y->bytes, y->size);
}

/* Makes equal words one with a count. */
static void gather_words(words_t *words)
{
    size_t n = 0;

    if (words->n > 0)
        qsort(words->items, words->n, sizeof(word_t), compare_words);
    for (size_t i = 0; i < words->n; i++) {
        if (n > 0 && compare_words(&words->items[n - 1], &words->items[i]) == 0)
            words->items[n - 1].count += words->items[i].count;
        else
            words->items[n++] = words->items[i];
    }
    words->n = n;
}

/* The most frequent first, of equal ones the greater. */
static int compare_frequencies(const void *a, const void *b)
{
    const word_t *x = a, *y = b;

    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return compare_words(b, a);
}

static void drop_rare_words(naive_bpe_t *bpe, words_t *words, size_t limit)
{
    if (limit == 0 || words->n <= limit)
        return;
    qsort(words->items, words->n, sizeof(word_t), compare_frequencies);
    for (size_t i = limit; i < words->n; i++)
        bpe->dropped_occurrences += words->items[i].count;
    bpe->dropped_pretokens += words->n - limit;
    words->n = limit;
}

/* Makes each word a list of ids: its bytes, or what the base encodes it to. */
static void number_words(words_t *words, const naive_bpe_t *bpe, const naive_bpe_t *base)
{
    for (size_t i = 0; i < words->n; i++) {
        word_t *word = &words->items[i];

        word->ids = checked(malloc(word->size * sizeof(uint32_t)));
        for (size_t k = 0; k < word->size; k++)
            word->ids[k] = bpe->byte_ids[word->bytes[k]];
        word->length = word->size;
        if (base != NULL)
            word->length = merge_pretoken(word->ids, word->size, base);
    }
}

/* Whether the pair (l, r) is to be merged before (left, right). */
static bool is_greater(const naive_bpe_t *bpe, uint32_t l, uint32_t r, uint32_t left,
                       uint32_t right)
{
    int order = compare_tokens(bpe->tokens[l], bpe->tokens[left]);

    return order > 0 || (order == 0 && compare_tokens(bpe->tokens[r], bpe->tokens[right]) > 0);
}

/* The pair to merge next: max((count, (left bytes, right bytes))). False if there is none.
 * `counts` is (side, side), zeros before and after. */
static bool best_pair(uint32_t *left, uint32_t *right, const naive_bpe_t *bpe, const words_t *words,
                      uint64_t *counts, size_t side, const naive_options_t *options)
{
    uint64_t best = 0;

    for (int pass = 0; pass < 3; pass++) /* add up, choose, clear */
        for (size_t i = 0; i < words->n; i++)
            for (size_t k = 0; k + 1 < words->items[i].length; k++) {
                uint32_t l = words->items[i].ids[k], r = words->items[i].ids[k + 1];
                uint64_t *count = &counts[l * side + r];

                if (pass == 0)
                    *count += words->items[i].count;
                if (pass == 2)
                    *count = 0;
                if (pass != 1 || *count < options->min_frequency || *count < best ||
                    (options->max_token_length > 0 &&
                     bpe->tokens[l].size + bpe->tokens[r].size > options->max_token_length))
                    continue;
                if (*count > best || is_greater(bpe, l, r, *left, *right)) {
                    best = *count;
                    *left = l;
                    *right = r;
                }
            }
    return best > 0;
}

/* Puts the product in place of each pair, from the left. */
static size_t replace_pair(uint32_t *ids, size_t n, const naive_merge_t *merge)
{
    size_t out = 0;

    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && ids[i] == merge->left && ids[i + 1] == merge->right) {
            ids[out++] = merge->product;
            i++;
        } else {
            ids[out++] = ids[i];
        }
    }
    return out;
}

static uint32_t find_token(const naive_bpe_t *bpe, tlm_bytes_t bytes)
{
    for (uint32_t id = 0; id < bpe->num_tokens; id++)
        if (compare_tokens(bpe->tokens[id], bytes) == 0)
            return id;
    return UINT32_MAX;
}

static void add_merge(naive_bpe_t *bpe, uint32_t left, uint32_t right, uint32_t product)
{
    uint32_t rank = (uint32_t)bpe->num_merges++;

    bpe->merges = checked(realloc(bpe->merges, bpe->num_merges * sizeof(*bpe->merges)));
    bpe->merges[rank] = (naive_merge_t){left, right, product, rank};
}

static bool has_merge(const naive_bpe_t *bpe, uint32_t left, uint32_t right)
{
    for (size_t i = 0; i < bpe->num_merges; i++)
        if (bpe->merges[i].left == left && bpe->merges[i].right == right)
            return true;
    return false;
}

static uint32_t join_tokens(naive_bpe_t *bpe, uint32_t left, uint32_t right)
{
    tlm_bytes_t a = bpe->tokens[left], b = bpe->tokens[right], joined;
    uint32_t id = add_token(bpe, a.data, a.size, b.data, b.size);

    joined = bpe->tokens[id];
    if (find_token(bpe, joined) < id) {
        id = find_token(bpe, joined);
        free((void *)(uintptr_t)joined.data);
        bpe->num_tokens--;
    }
    return id;
}

static void learn_merges(naive_bpe_t *bpe, words_t *words, const naive_options_t *options)
{
    size_t side = options->vocab_size;
    uint64_t *counts = checked(calloc(side * side, sizeof(*counts)));
    uint32_t left = 0, right = 0;

    while (bpe->num_tokens < side && best_pair(&left, &right, bpe, words, counts, side, options)) {
        naive_merge_t merge = {left, right, join_tokens(bpe, left, right), 0};

        if (!has_merge(bpe, left, right))
            add_merge(bpe, left, right, merge.product);
        for (size_t i = 0; i < words->n; i++)
            words->items[i].length =
                replace_pair(words->items[i].ids, words->items[i].length, &merge);
    }
    free(counts);
}

static void sort_merges(naive_bpe_t *bpe)
{
    if (bpe->num_merges == 0)
        return;
    bpe->sorted = checked(malloc(bpe->num_merges * sizeof(*bpe->sorted)));
    memcpy(bpe->sorted, bpe->merges, bpe->num_merges * sizeof(*bpe->sorted));
    qsort(bpe->sorted, bpe->num_merges, sizeof(*bpe->sorted), compare_merges);
}

/* The bytes that GPT-2's alphabet leaves as they are come first there. */
static bool is_printable(int byte)
{
    return (byte > ' ' && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
}

static void start_tokens(naive_bpe_t *out, const naive_options_t *options)
{
    for (size_t i = 0; i < options->num_specials; i++)
        out->specials[i] =
            add_token(out, options->specials[i].data, options->specials[i].size, NULL, 0);
    out->num_specials = options->num_specials;
    for (int pass = 0; pass < 2; pass++)
        for (int byte = 0; byte < 256; byte++)
            if (options->gpt2_order ? is_printable(byte) == (pass == 0) : pass == 0)
                out->byte_ids[byte] = add_token(out, &(uint8_t){(uint8_t)byte}, 1, NULL, 0);
}

static void add_special(naive_bpe_t *out, tlm_bytes_t special)
{
    uint32_t id = find_token(out, special);

    for (size_t i = 0; i < out->num_specials; i++)
        if (out->specials[i] == id)
            return;
    if (id == UINT32_MAX)
        id = add_token(out, special.data, special.size, NULL, 0);
    out->specials[out->num_specials++] = id;
}

static void start_from_base(naive_bpe_t *out, const naive_options_t *options)
{
    const naive_bpe_t *base = options->base;

    for (size_t i = 0; i < base->num_tokens; i++)
        add_token(out, base->tokens[i].data, base->tokens[i].size, NULL, 0);
    for (size_t i = 0; i < base->num_merges; i++)
        add_merge(out, base->merges[i].left, base->merges[i].right, base->merges[i].product);
    memcpy(out->byte_ids, base->byte_ids, sizeof(out->byte_ids));
    for (size_t i = 0; i < base->num_specials; i++)
        out->specials[out->num_specials++] = base->specials[i];
    for (size_t i = 0; i < options->num_specials; i++)
        add_special(out, options->specials[i]);
}

void naive_train_with(naive_bpe_t *out, const tlm_bytes_t *documents, size_t num_documents,
                      const naive_options_t *options)
{
    size_t room = options->num_specials + 1;
    tlm_bytes_t *specials;
    words_t words = {NULL, 0, 0};

    memset(out, 0, sizeof(*out));
    if (options->base != NULL)
        room += options->base->num_specials;
    out->specials = checked(calloc(room, sizeof(*out->specials)));
    if (options->base != NULL)
        start_from_base(out, options);
    else
        start_tokens(out, options);
    specials = checked(calloc(room, sizeof(*specials)));
    for (size_t i = 0; i < out->num_specials; i++)
        specials[i] = out->tokens[out->specials[i]];
    for (size_t i = 0; i < num_documents; i++) {
        split_document(&words, documents[i], specials, out->num_specials);
        gather_words(&words);
        drop_rare_words(out, &words, options->max_distinct_pretokens);
    }
    out->distinct_pretokens = words.n;
    number_words(&words, out, options->base);
    learn_merges(out, &words, options);
    sort_merges(out);
    for (size_t i = 0; i < words.n; i++)
        free(words.items[i].ids);
    free(words.items);
    free(specials);
}

void naive_train(naive_bpe_t *out, const tlm_bytes_t *documents, size_t num_documents,
                 const tlm_bytes_t *specials, size_t num_specials, size_t vocab_size,
                 uint64_t min_frequency)
{
    naive_options_t options = {.specials = specials,
                               .num_specials = num_specials,
                               .vocab_size = vocab_size,
                               .min_frequency = min_frequency};

    naive_train_with(out, documents, num_documents, &options);
}

/* ---- Encoding ----------------------------------------------------------------------------------
 */

void naive_from_tokenizer(naive_bpe_t *out, const tlm_tokenizer_t *tokenizer)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t id = 0; id < tlm_tokenizer_vocab_size(tokenizer); id++) {
        tlm_bytes_t token = {NULL, 0}; /* stays so for a hole */

        (void)tlm_tokenizer_token(&token, tokenizer, id);
        add_token(out, token.data, token.size, NULL, 0);
    }
    out->num_specials = tlm_tokenizer_num_special_tokens(tokenizer);
    out->specials = checked(calloc(out->num_specials + 1, sizeof(*out->specials)));
    for (uint32_t i = 0; i < out->num_specials; i++)
        if (tlm_tokenizer_special_token(&out->specials[i], tokenizer, i) != TLM_OK)
            abort();
    for (int byte = 0; byte < 256; byte++)
        out->byte_ids[byte] = find_token(out, (tlm_bytes_t){&(uint8_t){(uint8_t)byte}, 1});
    for (uint32_t i = 0; i < tlm_tokenizer_num_merges(tokenizer); i++) {
        uint32_t left, right, product;
        uint8_t *bytes;
        tlm_bytes_t a, b;

        if (tlm_tokenizer_merge(&left, &right, tokenizer, i) != TLM_OK)
            abort();
        a = out->tokens[left];
        b = out->tokens[right];
        bytes = checked(malloc(a.size + b.size + 1));
        memcpy(bytes, a.data, a.size);
        memcpy(bytes + a.size, b.data, b.size);
        if (tlm_tokenizer_token_id(&product, tokenizer, bytes, a.size + b.size) != TLM_OK)
            abort();
        free(bytes);
        add_merge(out, left, right, product);
    }
    sort_merges(out);
}

void naive_free(naive_bpe_t *bpe)
{
    for (size_t i = 0; i < bpe->num_tokens; i++)
        free((void *)(uintptr_t)bpe->tokens[i].data);
    free(bpe->tokens);
    free(bpe->specials);
    free(bpe->merges);
    free(bpe->sorted);
}

uint32_t *naive_encode(size_t *n, const naive_bpe_t *bpe, const uint8_t *text, size_t size)
{
    uint32_t *ids = checked(malloc((size + 1) * sizeof(*ids)));
    tlm_bytes_t *specials = checked(calloc(bpe->num_specials + 1, sizeof(*specials)));
    size_t begin = 0;

    *n = 0;
    for (size_t i = 0; i < bpe->num_specials; i++)
        specials[i] = bpe->tokens[bpe->specials[i]];
    while (begin < size) {
        size_t end = begin + plain_length(specials, bpe->num_specials, text + begin, size - begin);

        while (begin < end) {
            size_t length = naive_pretoken(text + begin, end - begin);

            for (size_t i = 0; i < length; i++)
                ids[*n + i] = bpe->byte_ids[text[begin + i]];
            *n += merge_pretoken(ids + *n, length, bpe);
            begin += length;
        }
        if (begin < size) {
            int64_t i = naive_special(specials, bpe->num_specials, text + begin, size - begin);

            ids[(*n)++] = bpe->specials[i];
            begin += specials[i].size;
        }
    }
    free(specials);
    return ids;
}
