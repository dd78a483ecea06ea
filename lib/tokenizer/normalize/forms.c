/* The Normalization Forms. A text is a sequence of clusters. A cluster is a "stable" character,
 * which is normal by itself and does not depend on the text before it, and the unstable characters
 * after it. Nearly all clusters are a single stable character, which is copied as it is. The others
 * are decomposed, their marks are sorted, and the result is composed if the form asks for that. */
#include "tokenizer/normalize/normalize.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/hash.h"
#include "tinylm/tokenizer.h"
#include "tokenizer/pretokenize/unicode.h"

#define FEW_MARKS 16 /* insertion sort handles up to this many */

/* Returns the end of the complete one-character clusters at `at`. */
static const uint8_t *skip_stable(const uint8_t *at, const uint8_t *end, int form)
{
    const uint8_t *last = at; /* start of the cluster that the next character may belong to */

    while (at < end) {
        if (end - at >= 8 && (tlmi_load_word(at) & 0x8080808080808080u) == 0) {
            at += 8;
            last = at - 1;
            continue;
        }
        uint32_t code_point;
        int length = tlmi_utf8_decode(&code_point, at, end);
        if (length > 0 && !tlmi_char_is_stable(code_point, form))
            return last;
        last = length > 0 ? at : at + 1;
        at += length > 0 ? length : 1;
    }
    return end;
}

/* Returns the end of the cluster of several characters at `at`. */
static const uint8_t *cluster_end(const uint8_t *at, const uint8_t *end, int form)
{
    uint32_t code_point;
    int length = tlmi_utf8_decode(&code_point, at, end);

    do
        at += length;
    while (at < end && (length = tlmi_utf8_decode(&code_point, at, end)) > 0 &&
           !tlmi_char_is_stable(code_point, form));
    return at;
}

/* Sorts marks by combining class. Canonical ordering requires a stable sort. `marks` and
 * `scratch`: (n). */
static void sort_run(int32_t *marks, size_t n, int32_t *scratch, int form)
{
    size_t ends[257] = {0};

    for (size_t i = 1; i < n && n <= FEW_MARKS; i++) {
        int32_t mark = marks[i];
        int class = tlmi_combining_class(mark, form);
        size_t at = i;

        for (; at > 0 && tlmi_combining_class(marks[at - 1], form) > class; at--)
            marks[at] = marks[at - 1];
        marks[at] = mark;
    }
    if (n <= FEW_MARKS)
        return;
    for (size_t i = 0; i < n; i++)
        ends[tlmi_combining_class(marks[i], form) + 1]++;
    for (size_t i = 1; i < 257; i++)
        ends[i] += ends[i - 1];
    for (size_t i = 0; i < n; i++)
        scratch[ends[tlmi_combining_class(marks[i], form)]++] = marks[i];
    memcpy(marks, scratch, n * sizeof(*marks));
}

void tlmi_sort_marks(int32_t *characters, size_t n, int32_t *scratch, int form)
{
    for (size_t start = 0, end; start < n; start = end + 1) {
        end = start;
        while (end < n && tlmi_combining_class(characters[end], form) != 0)
            end++;
        sort_run(characters + start, end - start, scratch, form);
    }
}

/* Makes room for n decomposed characters and as much scratch memory. */
static tlm_status_t make_room(tlmi_normal_text_t *out, size_t n)
{
    size_t room;

    if (!tlmi_mul_size(&room, n, 2) ||
        !tlmi_grow(&out->characters, &out->characters_capacity, room + 1, sizeof(*out->characters),
                   "a text in a normalization form"))
        return TLM_ERR_OUT_OF_MEMORY;
    return TLM_OK;
}

static tlm_status_t append_cluster(tlmi_normal_text_t *out, const uint8_t *text, size_t size,
                                   int form)
{
    size_t n = 0;

    for (size_t at = 0; at < size;) {
        uint32_t code_point;

        at += (size_t)tlmi_utf8_decode(&code_point, text + at, text + size);
        TLMI_TRY(make_room(out, n + TLMI_DECOMPOSED));
        n += tlmi_decompose(out->characters + n, code_point, form);
    }
    tlmi_sort_marks(out->characters, n, out->characters + n, form);
    n = tlmi_encode_form(out->characters, n, form);
    return tlmi_normal_text_append(out, out->characters, n);
}

static tlm_status_t append_form(tlmi_normal_text_t *out, const uint8_t *text, size_t size, int form)
{
    const uint8_t *end = text + size;

    while (text < end) {
        const uint8_t *next = skip_stable(text, end, form);

        TLMI_TRY(tlmi_normal_text_append(out, text, (size_t)(next - text)));
        text = next;
        if (text == end)
            break;
        next = cluster_end(text, end, form);
        TLMI_TRY(append_cluster(out, text, (size_t)(next - text), form));
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
        (n > 0 && append_form(&out, bytes, n, TLMI_FORM_COMPOSED | TLMI_FORM_NEWEST) != TLM_OK)) {
        tlmi_normal_text_release(&out);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    tlmi_free(out.characters);
    out.bytes[out.size] = '\0';
    *text = (char *)out.bytes;
    *size = out.size;
    return TLM_OK;
}

/* ---- As normalizers for pipelines ---- */

static const tlmi_normalizer_kind_t kinds[4]; /* in the order of the forms' numbers */

static int form_of(const tlmi_normalizer_t *normalizer)
{
    return (int)(normalizer->kind - kinds);
}

/* Whether nothing in the text depends on what surrounds it, which is true of most texts. */
static bool form_leaves(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size,
                        int part)
{
    (void)part;
    return skip_stable(text, text + size, form_of(normalizer)) == text + size;
}

static tlm_status_t form_append(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                                const uint8_t *text, size_t size, int part)
{
    (void)part;
    return append_form(out, text, size, form_of(normalizer));
}

static size_t form_last_cut(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size)
{
    int form = form_of(normalizer);
    size_t at = size - tlmi_utf8_unfinished(text, size);

    while (at-- > 0) {
        uint32_t code_point;

        if ((text[at] & 0xC0) != 0x80 &&
            (tlmi_utf8_decode(&code_point, text + at, text + size) < 0 ||
             tlmi_char_is_stable(code_point, form)))
            return at;
    }
    return 0;
}

#define FORM(form_name)                                                                            \
    {                                                                                              \
        .name = form_name, .leaves = form_leaves, .append = form_append,                           \
        .last_cut = form_last_cut, .cuts_at = tlmi_cuts_anywhere                                   \
    }

static const tlmi_normalizer_kind_t kinds[4] = {FORM("NFD"), FORM("NFC"), FORM("NFKD"),
                                                FORM("NFKC")};

const tlmi_normalizer_t tlmi_nfd = {&kinds[0]};
const tlmi_normalizer_t tlmi_nfc = {&kinds[TLMI_FORM_COMPOSED]};
const tlmi_normalizer_t tlmi_nfkd = {&kinds[TLMI_FORM_COMPATIBLE]};
const tlmi_normalizer_t tlmi_nfkc = {&kinds[TLMI_FORM_COMPOSED | TLMI_FORM_COMPATIBLE]};
