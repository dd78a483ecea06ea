/* Any text through the scanners of the well-known patterns: as Oniguruma splits it, as the plain
 * reference does, and in pieces. */
#include <string.h>

#include "fuzz_support.h"
#include "scanner_support.h"
#include "tokenizer/pretokenize/unicode.h"

typedef struct split {
    const uint8_t *text;
    size_t at, n, capacity;
    size_t *ends;
} split_t;

static tlm_status_t collect(void *context, const uint8_t *text, const size_t *ends, size_t n)
{
    split_t *split = context;
    size_t start = split->at;

    FUZZ_CHECK(n > 0 && memcmp(text, split->text + start, ends[n - 1]) == 0);
    FUZZ_CHECK(n <= split->capacity - split->n);
    for (size_t i = 0; i < n; i++) {
        FUZZ_CHECK(start + ends[i] > split->at);
        split->at = start + ends[i];
        split->ends[split->n++] = split->at;
    }
    return TLM_OK;
}

static split_t start_split(tlm_bytes_t text)
{
    split_t split = {text.data, 0, 0, text.size, malloc((text.size + 1) * sizeof(size_t))};

    FUZZ_CHECK(split.ends != NULL);
    return split;
}

static split_t split_whole(const tlmi_pretokenizer_t *pretokenizer, tlm_bytes_t text)
{
    split_t split = start_split(text);
    size_t consumed;

    FUZZ_OK(tlmi_pretokenize_part(&consumed, pretokenizer, text.data, text.size, true, collect,
                                  &split));
    FUZZ_CHECK(consumed == text.size && split.at == text.size);
    return split;
}

/* The text grows by up to `most` bytes at a time. */
static split_t split_pieces(const tlmi_pretokenizer_t *scanner, tlm_bytes_t text, size_t most)
{
    split_t split = start_split(text);

    for (size_t size = 0, at, consumed; size < text.size;) {
        size += 1 + (text.data[size] + size) % most;
        if (size > text.size)
            size = text.size;
        at = split.at;
        FUZZ_OK(tlmi_pretokenize_part(&consumed, scanner, text.data + at, size - at,
                                      size == text.size, collect, &split));
        FUZZ_CHECK(split.at == at + consumed);
    }
    FUZZ_CHECK(split.at == text.size);
    return split;
}

static split_t split_by_reference(const tlmi_scanner_t *scanner, tlm_bytes_t text)
{
    split_t split = start_split(text);

    while (split.at < text.size) {
        const uint8_t *next =
            tlmi_scan_pretoken(scanner, text.data + split.at, text.data + text.size);

        FUZZ_CHECK(next > text.data + split.at);
        split.at = (size_t)(next - text.data);
        split.ends[split.n++] = split.at;
    }
    return split;
}

static void check_same(split_t expected, split_t split)
{
    FUZZ_CHECK(fuzz_same(split.ends, split.n * sizeof(size_t), expected.ends,
                         expected.n * sizeof(size_t)));
    free(split.ends);
}

/* Both halves of a text that may be cut are split as the whole is. */
static void check_cuts(const tlmi_pretokenizer_t *scanner, tlm_bytes_t text, split_t whole)
{
    size_t i = 0, checked = 0;

    for (size_t at = 1; at < text.size && checked < 4; at++) {
        split_t left, right;

        if (!tlmi_pretokenizer_always_cuts(scanner, text.data, at))
            continue;
        while (i < whole.n && whole.ends[i] < at)
            i++;
        FUZZ_CHECK(i < whole.n && whole.ends[i] == at);
        left = split_whole(scanner, (tlm_bytes_t){text.data, at});
        right = split_whole(scanner, (tlm_bytes_t){text.data + at, text.size - at});
        FUZZ_CHECK(
            fuzz_same(left.ends, left.n * sizeof(size_t), whole.ends, (i + 1) * sizeof(size_t)));
        FUZZ_CHECK(left.n + right.n == whole.n);
        free(left.ends);
        free(right.ends);
        checked++;
    }
}

/* The rest of the input itself, or pieces that its bytes stand for. */
static tlm_bytes_t make_text(fuzz_input_t input, bool from_pieces)
{
    size_t size = 0;
    uint8_t *bytes;

    if (!from_pieces)
        return fuzz_take_bytes(&input, input.size);
    for (size_t i = 0; i < input.size; i++)
        size += strlen(pieces[input.data[i] % NUM_PIECES]);
    bytes = malloc(size + (size == 0));
    FUZZ_CHECK(bytes != NULL);
    size = 0;
    for (size_t i = 0; i < input.size; i++) {
        const char *piece = pieces[input.data[i] % NUM_PIECES];

        memcpy(bytes + size, piece, strlen(piece));
        size += strlen(piece);
    }
    return (tlm_bytes_t){bytes, size};
}

/* Characters that are not the same in both libraries' versions of Unicode become tildes. */
static void replace_differing(uint8_t *text, size_t size)
{
    static uint8_t known[0x110000]; /* 1: they agree, 2: they do not */

    for (size_t at = 0; at < size;) {
        uint32_t c;
        int length = tlmi_utf8_decode(&c, text + at, text + size);

        if (length < 0) {
            at++;
            continue;
        }
        if (known[c] == 0)
            known[c] = classes_agree(c) ? 1 : 2;
        if (known[c] == 2)
            memset(text + at, '~', (size_t)length);
        at += (size_t)length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tlmi_pretokenizer_t *scanners[NUM_PATTERNS], *engines[NUM_PATTERNS];
    fuzz_input_t input = {data, size};
    size_t which = fuzz_take(&input, 2 * NUM_PATTERNS), most = 1 + fuzz_take(&input, 200);
    tlm_bytes_t text = make_text(input, which >= NUM_PATTERNS);
    int32_t level = tlm_cpu_level();
    split_t whole;

    which %= NUM_PATTERNS;
    if (scanners[which] == NULL) {
        FUZZ_OK(tlmi_pretokenizer_create(&scanners[which], patterns[which].pattern));
        FUZZ_OK(tlmi_pretokenizer_create(&engines[which], patterns[which].through_engine));
        FUZZ_CHECK(tlmi_scanner_find(patterns[which].pattern) != NULL);
    }
    replace_differing((uint8_t *)(uintptr_t)text.data, text.size);
    whole = split_whole(engines[which], text);
    check_same(whole, split_by_reference(tlmi_scanner_find(patterns[which].pattern), text));
    check_same(whole, split_whole(scanners[which], text));
    check_same(whole, split_pieces(scanners[which], text, most));
    FUZZ_OK(tlm_set_cpu_level(TLM_CPU_SCALAR));
    check_same(whole, split_whole(scanners[which], text));
    FUZZ_OK(tlm_set_cpu_level(level));
    check_cuts(scanners[which], text, whole);
    free(whole.ends);
    fuzz_free(text);
    return 0;
}
