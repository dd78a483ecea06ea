/* Special tokens are rare in a text, so the search finds candidates by their first two bytes and
 * then compares them, longest first. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/pretokenize.h"

/* What to search for: the bytes of a token, or their normalized form. */
typedef struct needle {
    tlm_bytes_t bytes;
    size_t index; /* of the token */
} needle_t;

/* The tokens that are searched for in the same text. */
typedef struct needles {
    needle_t *items;   /* by first byte, then longest first */
    size_t first[257]; /* those that begin with byte b start at items[first[b]] */
    size_t n, longest;
    int only_first_byte;   /* the first byte of all if they share it, else -1 */
    uint64_t pairs[1024];  /* a bit for each pair of bytes with which one may begin */
    bool depends_on_sides; /* some are found, or extended, by what surrounds them */
} needles_t;

struct tlmi_special_tokens {
    tlm_bytes_t *tokens; /* in the caller's order; they point into `bytes` */
    tlm_bytes_t *texts;  /* the same, or their normalized forms */
    uint8_t *flags;
    uint8_t *bytes;
    size_t n;
    tlmi_normal_text_t normal; /* the normalized forms */
    needles_t *in_text[2];     /* by stage; NULL if there are none */
};

#define SIDES (TLMI_TOKEN_LSTRIP | TLMI_TOKEN_RSTRIP | TLMI_TOKEN_SINGLE_WORD)

/* ---- Creation ---- */

static int compare_needles(const void *a, const void *b)
{
    const tlm_bytes_t *x = &((const needle_t *)a)->bytes, *y = &((const needle_t *)b)->bytes;

    if (x->data[0] != y->data[0])
        return x->data[0] < y->data[0] ? -1 : 1;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    int order = memcmp(x->data, y->data, x->size);
    if (order != 0)
        return order;
    return ((const needle_t *)a)->index < ((const needle_t *)b)->index ? -1 : 1;
}

static bool same_bytes(tlm_bytes_t a, tlm_bytes_t b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static void add_pairs(needles_t *needles, tlm_bytes_t bytes)
{
    uint32_t pair = (uint32_t)bytes.data[0] << 8;

    if (bytes.size > 1)
        needles->pairs[(pair | bytes.data[1]) / 64] |= (uint64_t)1 << bytes.data[1] % 64;
    else
        memset(&needles->pairs[pair / 64], 0xFF, 4 * sizeof(*needles->pairs));
}

/* Sorts the needles and fills the rest. */
static void index_needles(needles_t *needles)
{
    size_t i = 0, n = needles->n;

    qsort(needles->items, n, sizeof(*needles->items), compare_needles);
    for (size_t byte = 0; byte <= 256; byte++) {
        while (i < n && needles->items[i].bytes.data[0] < byte)
            i++;
        needles->first[byte] = i;
    }
    for (i = 0; i < n; i++) {
        tlm_bytes_t bytes = needles->items[i].bytes;

        add_pairs(needles, bytes);
        if (bytes.size > needles->longest)
            needles->longest = bytes.size;
    }
    bool shared = needles->items[0].bytes.data[0] == needles->items[n - 1].bytes.data[0];
    needles->only_first_byte = shared ? needles->items[0].bytes.data[0] : -1;
}

static tlm_status_t check_tokens(size_t *total, const tlm_bytes_t *tokens, size_t n,
                                 const char *what)
{
    *total = 0;
    if (n > 0)
        TLMI_REQUIRE(what, tokens);
    for (size_t i = 0; i < n; i++) {
        if (tokens[i].size == 0 || tokens[i].data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: special token %zu of %zu is empty",
                             what, i, n);
        if (!tlmi_add_size(total, *total, tokens[i].size))
            return tlmi_fail_memory(tokens[i].size, "special tokens");
    }
    return TLM_OK;
}

/* Finds two tokens that are the same, which would be neighbors after sorting. */
static tlm_status_t refuse_twins(const needles_t *needles, const char *what)
{
    for (size_t i = 1; i < needles->n; i++)
        if (same_bytes(needles->items[i - 1].bytes, needles->items[i].bytes))
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: special tokens %zu and %zu are the same", what,
                             needles->items[i - 1].index, needles->items[i].index);
    return TLM_OK;
}

static tlm_status_t make_needles(tlmi_special_tokens_t *special, int stage, const char *what)
{
    const bool wants_normalized = stage == TLMI_NORMALIZED_TEXT;
    size_t count = 0;

    for (size_t i = 0; i < special->n; i++)
        count += ((special->flags[i] & TLMI_TOKEN_NORMALIZED) != 0) == wants_normalized;
    if (count == 0)
        return TLM_OK;
    needles_t *needles = tlmi_calloc(1, sizeof(*needles), "special tokens");
    if (needles == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    special->in_text[stage] = needles;
    needles->items = tlmi_alloc(count, sizeof(*needles->items), "special tokens");
    if (needles->items == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < special->n; i++) {
        if (((special->flags[i] & TLMI_TOKEN_NORMALIZED) != 0) != wants_normalized)
            continue;
        tlm_bytes_t bytes = special->texts[i];
        if (bytes.size == 0)
            return tlmi_fail(
                TLM_ERR_UNSUPPORTED,
                "%s: special token %zu of %zu bytes, which is searched for in normalized "
                "text, is empty there",
                what, i, special->tokens[i].size);
        needles->items[needles->n++] = (needle_t){bytes, i};
        needles->depends_on_sides |= (special->flags[i] & SIDES) != 0;
    }
    index_needles(needles);
    return wants_normalized ? TLM_OK : refuse_twins(needles, what);
}

/* Stores the normalized forms of the tokens that are searched for in normalized text. */
static tlm_status_t normalize_tokens(tlmi_special_tokens_t *special,
                                     const tlmi_normalizer_t *normalizer)
{
    size_t at = 0;

    for (size_t i = 0; i < special->n; i++) {
        size_t before = special->normal.size;

        if ((special->flags[i] & TLMI_TOKEN_NORMALIZED) == 0)
            continue;
        if ((special->flags[i] & TLMI_TOKEN_VERBATIM) != 0)
            TLMI_TRY(tlmi_normal_text_append(&special->normal, special->tokens[i].data,
                                             special->tokens[i].size));
        else
            TLMI_TRY(normalizer->kind->append(normalizer, &special->normal, special->tokens[i].data,
                                              special->tokens[i].size, TLMI_WHOLE_PIECE));
        special->texts[i].size = special->normal.size - before;
    }
    for (size_t i = 0; i < special->n; i++) /* now that the block no longer moves */
        if ((special->flags[i] & TLMI_TOKEN_NORMALIZED) != 0) {
            special->texts[i].data = special->normal.bytes + at;
            at += special->texts[i].size;
        }
    return TLM_OK;
}

static void copy_tokens(tlmi_special_tokens_t *special, const tlm_bytes_t *tokens,
                        const uint8_t *flags)
{
    uint8_t *to = special->bytes;

    for (size_t i = 0; i < special->n; i++) {
        memcpy(to, tokens[i].data, tokens[i].size);
        special->tokens[i] = special->texts[i] = (tlm_bytes_t){to, tokens[i].size};
        special->flags[i] = flags == NULL ? 0 : flags[i];
        to += tokens[i].size;
    }
}

tlm_status_t tlmi_special_tokens_create(tlmi_special_tokens_t **out, const tlm_bytes_t *tokens,
                                        const uint8_t *flags, size_t n,
                                        const tlmi_normalizer_t *normalizer, const char *what)
{
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    size_t total;

    TLMI_TRY(check_tokens(&total, tokens, n, what));
    tlmi_special_tokens_t *special = tlmi_calloc(1, sizeof(*special), "special tokens");
    if (special == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    special->n = n;
    special->bytes = tlmi_alloc(total, 1, "special tokens");
    special->tokens = tlmi_alloc(n, sizeof(*special->tokens), "special tokens");
    special->texts = tlmi_alloc(n, sizeof(*special->texts), "special tokens");
    special->flags = tlmi_alloc(n, 1, "special tokens");
    if (special->bytes == NULL || special->tokens == NULL || special->texts == NULL ||
        special->flags == NULL)
        goto fail;
    copy_tokens(special, tokens, flags);
    if (normalizer != NULL)
        TLMI_TRY_OR(fail, normalize_tokens(special, normalizer));
    TLMI_TRY_OR(fail, make_needles(special, TLMI_RAW_TEXT, what));
    TLMI_TRY_OR(fail, make_needles(special, TLMI_NORMALIZED_TEXT, what));
    *out = special;
    return TLM_OK;
fail:
    tlmi_special_tokens_free(special);
    return status;
}

void tlmi_special_tokens_free(tlmi_special_tokens_t *special)
{
    if (special == NULL)
        return;
    for (int stage = 0; stage < 2; stage++) {
        if (special->in_text[stage] != NULL)
            tlmi_free(special->in_text[stage]->items);
        tlmi_free(special->in_text[stage]);
    }
    tlmi_normal_text_release(&special->normal);
    tlmi_free(special->bytes);
    tlmi_free(special->tokens);
    tlmi_free(special->texts);
    tlmi_free(special->flags);
    tlmi_free(special);
}

size_t tlmi_special_tokens_count(const tlmi_special_tokens_t *special)
{
    return special->n;
}

tlm_bytes_t tlmi_special_tokens_get(const tlmi_special_tokens_t *special, size_t index)
{
    return special->tokens[index];
}

tlm_bytes_t tlmi_special_tokens_text(const tlmi_special_tokens_t *special, size_t index)
{
    return special->texts[index];
}

uint8_t tlmi_special_tokens_flags(const tlmi_special_tokens_t *special, size_t index)
{
    return special->flags[index];
}

/* ---- What surrounds a token ---- */

static size_t skip_space_back(const uint8_t *text, size_t at, size_t least)
{
    while (at > least) {
        size_t before = tlmi_utf8_last(text, at);
        int length;

        if (before < least || tlmi_class_at(&length, text + before, text + at) != TLMI_CHAR_SPACE)
            break;
        at = before;
    }
    return at;
}

static size_t skip_space(const uint8_t *text, size_t size, size_t at)
{
    int length;

    while (at < size && tlmi_class_at(&length, text + at, text + size) == TLMI_CHAR_SPACE)
        at += (size_t)length;
    return at;
}

static bool is_single_word(const uint8_t *text, size_t size, size_t start, size_t end)
{
    int length;

    if (start > 0 && tlmi_is_word_at(&length, text + tlmi_utf8_last(text, start), text + start))
        return false;
    return end == size || !tlmi_is_word_at(&length, text + end, text + size);
}

/* ---- Search ---- */

/* Returns the next position at or after `from` where a token may begin; `size` if there is none. */
static size_t next_candidate(const needles_t *needles, const uint8_t *text, size_t size,
                             size_t from)
{
    for (; from < size; from++) {
        if (needles->only_first_byte >= 0) {
            const uint8_t *hit = memchr(text + from, needles->only_first_byte, size - from);

            if (hit == NULL)
                return size;
            from = (size_t)(hit - text);
        } else if (needles->first[text[from]] == needles->first[text[from] + 1]) {
            continue;
        }
        if (from + 1 == size)
            return from;
        uint32_t pair = (uint32_t)text[from] << 8 | text[from + 1];
        if ((needles->pairs[pair / 64] >> pair % 64 & 1) != 0)
            return from;
    }
    return size;
}

/* Returns the longest token at text[at] that the guard allows; NULL if there is none. Unless
 * `final`, it may be one of which the text has only the beginning. */
static const needle_t *longest_at(const needles_t *needles, const uint8_t *text, size_t size,
                                  size_t at, bool final, const tlmi_special_guard_t *guard)
{
    size_t left = size - at;

    for (size_t i = needles->first[text[at]]; i < needles->first[text[at] + 1]; i++) {
        const tlm_bytes_t *bytes = &needles->items[i].bytes;

        if ((left >= bytes->size || !final) &&
            memcmp(text + at, bytes->data, left < bytes->size ? left : bytes->size) == 0 &&
            (guard == NULL || guard->allows(guard, needles->items[i].index, at, at + bytes->size)))
            return &needles->items[i];
    }
    return NULL;
}

bool tlmi_special_tokens_find(tlmi_special_match_t *match, const tlmi_special_tokens_t *special,
                              int stage, const uint8_t *text, size_t size, size_t from,
                              size_t least, bool final, const tlmi_special_guard_t *guard)
{
    const needles_t *needles = special->in_text[stage];

    match->start = size;
    if (needles == NULL)
        return false;
    for (; from < size; from++) {
        from = next_candidate(needles, text, size, from);
        if (from == size)
            return false;
        const needle_t *needle = longest_at(needles, text, size, from, final, guard);
        if (needle == NULL)
            continue;
        uint8_t flags = special->flags[needle->index];
        size_t end = from + needle->bytes.size;
        *match = (tlmi_special_match_t){from, end, end, needle->index};
        if (match->end > size)
            return false;
        if ((flags & TLMI_TOKEN_SINGLE_WORD) != 0 &&
            !is_single_word(text, size, match->start, match->end)) {
            from = match->end - 1;
            match->start = size;
            continue;
        }
        if ((flags & TLMI_TOKEN_LSTRIP) != 0)
            match->start = least < from ? skip_space_back(text, from, least) : least;
        if ((flags & TLMI_TOKEN_RSTRIP) != 0)
            match->end = skip_space(text, size, match->end);
        if (match->start < match->end)
            return true;
        /* The white space that the token before it took includes the whole token. */
        from = match->next - 1;
        match->start = size;
    }
    return false;
}

bool tlmi_special_tokens_at(const tlmi_special_tokens_t *special, const uint8_t *text, size_t size,
                            size_t at)
{
    const needles_t *needles = special->in_text[TLMI_RAW_TEXT];

    return needles != NULL && !needles->depends_on_sides &&
           longest_at(needles, text, size, at, true, NULL) != NULL;
}

static bool crosses(const needles_t *needles, const uint8_t *text, size_t size, size_t at,
                    bool or_ends)
{
    const size_t begins = needles->depends_on_sides, ends = begins || or_ends;
    size_t from = at >= needles->longest + ends ? at - needles->longest - ends + 1 : 0;

    for (; from < at + begins && from < size; from++)
        for (size_t i = needles->first[text[from]]; i < needles->first[text[from] + 1]; i++) {
            const tlm_bytes_t *bytes = &needles->items[i].bytes;

            if (from + bytes->size + ends > at && bytes->size <= size - from &&
                memcmp(text + from, bytes->data, bytes->size) == 0)
                return true;
        }
    return false;
}

bool tlmi_special_tokens_cross(const tlmi_special_tokens_t *special, const uint8_t *text,
                               size_t size, size_t at, bool or_ends)
{
    for (int stage = 0; stage < 2; stage++)
        if (special->in_text[stage] != NULL &&
            crosses(special->in_text[stage], text, size, at, or_ends))
            return true;
    return false;
}

bool tlmi_special_tokens_in_normalized(const tlmi_special_tokens_t *special)
{
    return special->in_text[TLMI_NORMALIZED_TEXT] != NULL;
}

bool tlmi_special_tokens_are_plain(const tlmi_special_tokens_t *special)
{
    return special->in_text[TLMI_NORMALIZED_TEXT] == NULL &&
           (special->in_text[TLMI_RAW_TEXT] == NULL ||
            !special->in_text[TLMI_RAW_TEXT]->depends_on_sides);
}
