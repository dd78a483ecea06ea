/* A text is a sequence of clusters. A cluster is a "stable" character, which never composes with
 * the text before it and is in NFC by itself, and the unstable characters after it. Nearly all
 * clusters are a single stable character, which is copied as it is. The others are decomposed,
 * their marks are sorted, and the result is composed. */
#include "tokenizer/normalize/normalize.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/hash.h"
#include "tinylm/tokenizer.h"
#include "tokenizer/pretokenize/unicode.h"

#define FEW_MARKS 16 /* insertion sort handles up to this many */

/* Returns the end of the complete one-character clusters at `at`. */
static const uint8_t *skip_stable(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *last = at; /* start of the cluster that the next character may belong to */

    while (at < end) {
        uint32_t code_point;
        int length;

        if (end - at >= 8 && (tlmi_load_word(at) & 0x8080808080808080u) == 0) {
            at += 8;
            last = at - 1;
            continue;
        }
        length = tlmi_utf8_decode(&code_point, at, end);
        if (length > 0 && !tlmi_char_is_stable(code_point))
            return last;
        last = length > 0 ? at : at + 1;
        at += length > 0 ? length : 1;
    }
    return end;
}

/* Returns the end of the cluster of several characters at `at`. */
static const uint8_t *cluster_end(const uint8_t *at, const uint8_t *end)
{
    uint32_t code_point;
    int length = tlmi_utf8_decode(&code_point, at, end);

    do
        at += length;
    while (at < end && (length = tlmi_utf8_decode(&code_point, at, end)) > 0 &&
           !tlmi_char_is_stable(code_point));
    return at;
}

/* Sorts marks by combining class. Canonical ordering requires a stable sort. `marks` and
 * `scratch`: (n). */
static void sort_marks(int32_t *marks, size_t n, int32_t *scratch)
{
    size_t ends[257] = {0};

    for (size_t i = 1; i < n && n <= FEW_MARKS; i++) {
        int32_t mark = marks[i];
        size_t at = i;

        for (; at > 0 && tlmi_combining_class(marks[at - 1]) > tlmi_combining_class(mark); at--)
            marks[at] = marks[at - 1];
        marks[at] = mark;
    }
    if (n <= FEW_MARKS)
        return;
    for (size_t i = 0; i < n; i++)
        ends[tlmi_combining_class(marks[i]) + 1]++;
    for (size_t i = 1; i < 257; i++)
        ends[i] += ends[i - 1];
    for (size_t i = 0; i < n; i++)
        scratch[ends[tlmi_combining_class(marks[i])]++] = marks[i];
    memcpy(marks, scratch, n * sizeof(*marks));
}

/* Sorts each run of marks, which are the characters whose combining class is not 0. */
static void sort_runs(int32_t *characters, size_t n, int32_t *scratch)
{
    for (size_t start = 0, end; start < n; start = end + 1) {
        end = start;
        while (end < n && tlmi_combining_class(characters[end]) != 0)
            end++;
        sort_marks(characters + start, end - start, scratch);
    }
}

static tlm_status_t append_composed(tlmi_normal_text_t *out, const uint8_t *text, size_t size)
{
    size_t room, n = 0;

    if (!tlmi_mul_size(&room, size, 2 * TLMI_DECOMPOSED) ||
        !tlmi_grow(&out->characters, &out->characters_capacity, room + 1, sizeof(*out->characters),
                   "a text in NFC"))
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t at = 0; at < size;) {
        uint32_t code_point;

        at += (size_t)tlmi_utf8_decode(&code_point, text + at, text + size);
        n += tlmi_decompose(out->characters + n, code_point);
    }
    sort_runs(out->characters, n, out->characters + n);
    n = tlmi_compose(out->characters, n);
    return tlmi_normal_text_append(out, out->characters, n);
}

static tlm_status_t append_nfc(tlmi_normal_text_t *out, const uint8_t *text, size_t size)
{
    const uint8_t *end = text + size;

    while (text < end) {
        const uint8_t *next = skip_stable(text, end);

        TLMI_TRY(tlmi_normal_text_append(out, text, (size_t)(next - text)));
        text = next;
        if (text == end)
            break;
        next = cluster_end(text, end);
        TLMI_TRY(append_composed(out, text, (size_t)(next - text)));
        text = next;
    }
    return TLM_OK;
}

tlm_status_t tlm_utf8_nfc(char **text, size_t *size, const void *bytes, size_t n)
{
    tlmi_normal_text_t out = {0};

    TLMI_REQUIRE("utf8_nfc", text);
    TLMI_REQUIRE("utf8_nfc", size);
    if (n > 0)
        TLMI_REQUIRE("utf8_nfc", bytes);
    if (tlmi_normal_text_append(&out, "", 0) != TLM_OK ||
        (n > 0 && append_nfc(&out, bytes, n) != TLM_OK)) {
        tlmi_normal_text_release(&out);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    tlmi_free(out.characters);
    out.bytes[out.size] = '\0';
    *text = (char *)out.bytes;
    *size = out.size;
    return TLM_OK;
}

/* ---- NFC as a normalizer for pipelines ---- */

/* Whether nothing in the text depends on what surrounds it, which is true of most texts. */
static bool nfc_leaves(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size,
                       int part)
{
    (void)normalizer;
    (void)part;
    return skip_stable(text, text + size) == text + size;
}

static tlm_status_t nfc_append(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                               const uint8_t *text, size_t size, int part)
{
    (void)normalizer;
    (void)part;
    return append_nfc(out, text, size);
}

static size_t nfc_last_cut(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size)
{
    (void)normalizer;
    size_t at = size - tlmi_utf8_unfinished(text, size);

    while (at-- > 0) {
        uint32_t code_point;

        if ((text[at] & 0xC0) != 0x80 &&
            (tlmi_utf8_decode(&code_point, text + at, text + size) < 0 ||
             tlmi_char_is_stable(code_point)))
            return at;
    }
    return 0;
}

/* A space never composes with the text before it. */
static bool nfc_cuts_at(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t at)
{
    (void)normalizer;
    return text[at] < 0x80;
}

static const tlmi_normalizer_kind_t nfc_kind = {.name = "NFC",
                                                .leaves = nfc_leaves,
                                                .append = nfc_append,
                                                .last_cut = nfc_last_cut,
                                                .cuts_at = nfc_cuts_at};

const tlmi_normalizer_t tlmi_nfc = {&nfc_kind};
