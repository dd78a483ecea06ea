/* BERT's normalizer: removes control characters, puts spaces around Chinese characters, removes
 * accents and lowers the case, each if asked for. A run of other characters than printable ASCII
 * goes through all steps at once. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/normalize/normalize.h"
#include "tokenizer/pretokenize/unicode.h"

#define NFD   0
#define BLOCK ((size_t)4096) /* bytes of ASCII for which room is made at once */
#define BATCH ((size_t)256)  /* characters that are collected, and more only if they are marks */

#define REMOVED 0xFF /* in bert_t.ascii */

typedef struct bert {
    tlmi_normalizer_t base;
    bool clean, chinese, strip, lower;
    uint8_t ascii[128]; /* what each character of ASCII becomes */
} bert_t;

static bool is_chinese(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
           (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) ||
           (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
           (c >= 0x2F800 && c <= 0x2FA1F);
}

/* ---- Printable ASCII ---- */

/* Whether all eight bytes are in 20..7E, so that at most their case changes. */
static bool is_printable(uint64_t word)
{
    uint64_t high = 0x80 * TLMI_EACH_BYTE;

    return (word & high) == 0 && ((word + 0x60 * TLMI_EACH_BYTE) & high) == high &&
           ((word + TLMI_EACH_BYTE) & high) == 0;
}

/* Copies the ASCII at `at`, up to what is removed. Returns its end. */
static const uint8_t *copy_ascii(const bert_t *bert, uint8_t **to_pointer, const uint8_t *at,
                                 const uint8_t *end)
{
    uint8_t *to = *to_pointer;

    for (;;) {
        uint64_t word;

        while (end - at >= 8 && (memcpy(&word, at, 8), is_printable(word))) {
            word = bert->lower ? tlmi_lower_word(word) : word;
            memcpy(to, &word, 8);
            at += 8;
            to += 8;
        }
        if (at == end || *at >= 0x80 || bert->ascii[*at] == REMOVED)
            break;
        *to++ = bert->ascii[*at++];
    }
    *to_pointer = to;
    return at;
}

/* ---- Other characters ---- */

/* Writes the n characters in out->characters. */
static tlm_status_t flush(const bert_t *bert, tlmi_normal_text_t *out, size_t n)
{
    int32_t *characters = out->characters;

    if (bert->strip)
        tlmi_sort_marks(characters, n, characters + n, NFD);
    size_t room;
    if (!tlmi_mul_size(&room, n, 4))
        return tlmi_fail_memory(n, "a normalized text");
    uint8_t *to = tlmi_normal_text_room(out, room);
    if (to == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = (uint32_t)characters[i];
        int32_t lower[2] = {characters[i], 0};

        if (bert->strip && c >= 0x80 && tlmi_char_is_accent(c))
            continue;
        int count = bert->lower ? tlmi_char_lower(lower, c) : 1;
        for (int k = 0; k < count; k++)
            to = tlmi_put_utf8(to, (uint32_t)lower[k]);
    }
    out->size = (size_t)(to - out->bytes);
    return TLM_OK;
}

/* Adds what becomes of a character before the case is lowered and accents are removed. Returns the
 * number of characters. `to` has room for TLMI_DECOMPOSED + 2. */
static size_t expand(const bert_t *bert, int32_t *to, uint32_t c)
{
    size_t n = 0;

    if (bert->clean) {
        if (c == 0xFFFD || (c != '\t' && c != '\n' && c != '\r' && tlmi_char_is_control(c)))
            return 0;
        if (tlmi_char_class(c) == TLMI_CHAR_SPACE)
            c = ' ';
    }
    bool spaces = bert->chinese && is_chinese(c);
    if (spaces)
        to[n++] = ' ';
    if (bert->strip && !tlmi_char_is_stable(c, NFD))
        n += tlmi_decompose(to + n, c, NFD);
    else
        to[n++] = (int32_t)c;
    if (spaces)
        to[n++] = ' ';
    return n;
}

/* Appends the run of characters at *text that copy_ascii does not take. */
static tlm_status_t append_run(const bert_t *bert, tlmi_normal_text_t *out, const uint8_t **text,
                               const uint8_t *end)
{
    const uint8_t *at = *text;
    size_t n = 0;

    while (at < end && (*at >= 0x80 || bert->ascii[*at] == REMOVED)) {
        uint32_t code_point;
        int length = tlmi_utf8_decode(&code_point, at, end);

        if (!tlmi_grow(&out->characters, &out->characters_capacity, 2 * (n + TLMI_DECOMPOSED + 2),
                       sizeof(*out->characters), "a normalized text"))
            return TLM_ERR_OUT_OF_MEMORY;
        if (length < 0) { /* nothing is sorted across it */
            TLMI_TRY(flush(bert, out, n));
            TLMI_TRY(tlmi_normal_text_append(out, at, 1));
            n = 0;
            at++;
            continue;
        }
        size_t more = expand(bert, out->characters + n, code_point);
        if (n >= BATCH && more > 0 && tlmi_combining_class(out->characters[n], NFD) == 0) {
            int32_t saved[TLMI_DECOMPOSED + 2]; /* sorting takes its place */

            memcpy(saved, out->characters + n, more * sizeof(saved[0]));
            TLMI_TRY(flush(bert, out, n));
            memcpy(out->characters, saved, more * sizeof(saved[0]));
            n = 0;
        }
        n += more;
        at += length;
    }
    *text = at;
    return flush(bert, out, n);
}

static tlm_status_t bert_append(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                                const uint8_t *text, size_t size, int part)
{
    const bert_t *bert = (const bert_t *)normalizer;
    const uint8_t *end = text + size;

    (void)part;
    while (text < end) {
        const uint8_t *block = (size_t)(end - text) > BLOCK ? text + BLOCK : end;
        uint8_t *to = tlmi_normal_text_room(out, BLOCK);

        if (to == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        text = copy_ascii(bert, &to, text, block);
        out->size = (size_t)(to - out->bytes);
        if (text < block)
            TLMI_TRY(append_run(bert, out, &text, end));
    }
    return TLM_OK;
}

static bool bert_leaves(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size,
                        int part)
{
    const bert_t *bert = (const bert_t *)normalizer;
    const uint8_t *end = text + size;

    (void)part;
    while (text < end) {
        uint64_t word;

        while (end - text >= 8 && (memcpy(&word, text, 8), is_printable(word)) &&
               !(bert->lower && tlmi_upper_in_word(word) != 0))
            text += 8;
        if (text == end)
            break;
        if (*text >= 0x80 || bert->ascii[*text] != *text)
            return false;
        text++;
    }
    return true;
}

static const tlmi_normalizer_kind_t bert_kind = {.name = "BertNormalizer",
                                                 .leaves = bert_leaves,
                                                 .append = bert_append,
                                                 .cuts_at = tlmi_cuts_anywhere,
                                                 .free = tlmi_normalizer_free_block};

tlm_status_t tlmi_bert_normalizer_create(const tlmi_normalizer_t **out, bool clean_text,
                                         bool chinese_chars, bool strip_accents, bool lowercase)
{
    bert_t *bert = tlmi_alloc(1, sizeof(*bert), "a normalizer");

    if (bert == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *bert = (bert_t){.base = {&bert_kind},
                     .clean = clean_text,
                     .chinese = chinese_chars,
                     .strip = strip_accents,
                     .lower = lowercase};
    for (uint32_t c = 0; c < 128; c++) {
        bool blank = c == '\t' || c == '\n' || c == '\r';

        bert->ascii[c] = (uint8_t)(lowercase && c >= 'A' && c <= 'Z' ? c | 0x20 : c);
        if (clean_text && (c < 0x20 || c == 0x7F))
            bert->ascii[c] = blank ? ' ' : REMOVED;
    }
    *out = &bert->base;
    return TLM_OK;
}
