/* The starts of pretokens depend on the classes of neighboring characters, so they are computed for
 * a block of up to 64 bytes at once, on the masks of block_classes.h. Every byte of a character has
 * the character's class, so "the previous character" is a shift by one bit. Whatever a block needs
 * from the previous one is carried over. */
#include "tokenizer/pretokenize/block_classes.h"

#include "base/cpu.h"
#include "base/error.h"

#define BATCH          256 /* least number of pretokens per callback, except for the last one */
#define STARTS_AT_ONCE 8   /* written without a branch */

/* Bit 0 of each mask describes the last byte before the block. */
typedef struct carries {
    uint64_t letter, lower, both, number, other, space, blank, apart, apart_other;
    uint64_t line;       /* a line ending that the pretoken before it does not take in */
    uint64_t taken;      /* a line ending or a slash that the pretoken before it takes in */
    uint64_t lone_other; /* part of the first character of a pretoken of `other` */
    uint64_t attached;   /* DeepSeek: an ASCII letter in a pretoken that punctuation begins */
    uint64_t set, clear; /* any bits: starts set by a contraction in the last block */
} carries_t;

typedef struct scan {
    const tlmi_scanner_t *scanner;
    class_source_t classes;
    uint64_t slashes; /* all bits if the scanner takes slashes in */
    const uint8_t *end;
    const uint8_t *limit; /* pretokens that end after this are not emitted */

    /* Positions before the block that start a pretoken if white space ends where the block begins.
     * Each is NULL if there is none. */
    const uint8_t *last_space;  /* the last white-space character */
    const uint8_t *indentation; /* just after the last line ending; starts a pretoken even if
                                   white space continues without another line ending */
    const uint8_t *suffix_end;  /* o200k: end of the last contraction */
    int digits;                 /* numbers so far in the pretoken that spans the block's start */
    uint64_t known;             /* bit 0: a pretoken is already known to start with the block */
    carries_t carry;

    tlmi_pretokens_fn pretokens;
    void *context;
    const uint8_t *batch; /* `ends` are relative to this */
    size_t n;
    size_t ends[BATCH + TLMI_MASK_BYTES + STARTS_AT_ONCE + 4];
} scan_t;

/* ---- Masks ---- */

/* Moves each bit from the last byte of a character to its first byte. */
static inline uint64_t to_first_byte(uint64_t bits, uint64_t inner)
{
    while ((bits & inner) != 0)
        bits = (bits & ~inner) | (bits & inner) >> 1;
    return bits;
}

/* ---- Output ---- */

static inline void give_start(scan_t *scan, const uint8_t *start)
{
    if (start <= scan->limit)
        scan->ends[scan->n++] = (size_t)(start - scan->batch);
}

#define TOP_BIT ((uint64_t)1 << 63) /* keeps a count of zeros defined */

static inline void give_starts(scan_t *scan, const uint8_t *at, uint64_t starts)
{
    size_t offset = (size_t)(at - scan->batch), *to = scan->ends + scan->n;

    scan->n += (size_t)__builtin_popcountll(starts);
    while (starts != 0)
        for (int i = 0; i < STARTS_AT_ONCE; i++, starts &= starts - 1)
            *to++ = offset + (size_t)__builtin_ctzll(starts | TOP_BIT);
}

static tlm_status_t hand_over(scan_t *scan)
{
    size_t n = scan->n;

    if (n == 0)
        return TLM_OK;
    TLMI_TRY(scan->pretokens(scan->context, scan->batch, scan->ends, n));
    scan->batch += scan->ends[n - 1];
    scan->n = 0;
    return TLM_OK;
}

/* ---- Starts ---- */

static inline uint64_t before(uint64_t mask, uint64_t carry)
{
    return mask << 1 | carry;
}

/* Clears `inside` bits of `starts` from bit `from`, and sets the bit after them. Bits that fall
 * into the next block are carried over to it. */
static inline uint64_t join(scan_t *scan, const classes_t *c, uint64_t starts, int from, int inside)
{
    int behind = from + inside;
    uint64_t cleared = low_bits(inside);

    starts &= ~(from < 64 ? cleared << from : 0);
    if (behind > c->size)
        scan->carry.clear |= cleared >> (c->size - from);
    if (behind >= c->size)
        scan->carry.set |= (uint64_t)1 << (behind - c->size);
    else
        starts |= (uint64_t)1 << behind;
    return starts;
}

/* Handles starts at an apostrophe that begins a contraction: no pretoken starts inside the
 * contraction, and one starts right after it. */
static uint64_t join_contractions(scan_t *scan, const classes_t *c, const uint8_t *at,
                                  uint64_t starts)
{
    for (uint64_t left = starts & c->apostrophe; left != 0; left &= left - 1) {
        int i = __builtin_ctzll(left);
        int size = tlmi_scan_contraction(scan->scanner, at + i, scan->end);

        if (size > 0)
            starts = join(scan, c, starts, i + 1, size - 1);
    }
    return starts;
}

/* o200k: a contraction after a word belongs to the word, but one after another contraction does
 * not. */
static uint64_t join_suffixes(scan_t *scan, const classes_t *c, const uint8_t *at, uint64_t starts,
                              uint64_t apostrophes)
{
    for (; apostrophes != 0; apostrophes &= apostrophes - 1) {
        int i = __builtin_ctzll(apostrophes);
        int size = tlmi_scan_contraction(scan->scanner, at + i, scan->end);

        if (size > 0 && at + i != scan->suffix_end) {
            starts = join(scan, c, starts, i, size);
            scan->suffix_end = at + i + size;
        }
    }
    return starts;
}

/* The last white-space character of a run is left to whatever follows the run, if it is in `which`
 * and not followed by a character of `ends`, which ends a text before anything else. Returns these characters as starts; one at the end of the block waits in last_space. */
static inline uint64_t last_spaces(scan_t *scan, const classes_t *c, const uint8_t *at,
                                   uint64_t starts, uint64_t which, uint64_t ends)
{
    uint64_t top = (uint64_t)1 << (c->size - 1);
    uint64_t last = c->space & ~(c->space >> 1) & ~(ends >> 1) & which;

    if (scan->last_space != NULL && ((c->space | ends) & 1) == 0)
        give_start(scan, scan->last_space);
    scan->last_space = NULL;
    if ((last & top) != 0) {
        uint64_t first = to_first_byte(top, c->inner);

        const uint8_t *start = at + __builtin_ctzll(first);

        if ((starts & first) == 0 && start != scan->indentation)
            scan->last_space = start;
    }
    return to_first_byte(last & ~top, c->inner);
}

/* A pretoken starts at the first number of a run and after every max_digits numbers. */
static uint64_t number_starts(scan_t *scan, const classes_t *c)
{
    uint64_t firsts = c->number & ~c->inner;
    uint64_t follows = before(c->number, scan->carry.number);
    uint64_t starts = firsts & ~follows;
    int most = scan->scanner->max_digits, digits = scan->digits;

    if (most == 1)
        return firsts;
    /* Fast path: most numbers are short and do not touch the ends of the block. */
    if ((c->number & follows & follows << 1 & follows << 2) == 0 &&
        (follows & c->number & 1) == 0 && (c->number >> (c->size - 1) & 1) == 0)
        return starts;
    if (most == 0)
        return starts;
    for (uint64_t left = firsts; left != 0; left &= left - 1) {
        uint64_t bit = left & -left;

        if ((follows & bit) == 0)
            digits = 0;
        if (digits == most) {
            starts |= bit;
            digits = 0;
        }
        digits++;
    }
    scan->digits = digits;
    return starts;
}

static inline uint64_t starts_gpt2(scan_t *scan, const classes_t *c, const uint8_t *at)
{
    carries_t *carry = &scan->carry;
    uint64_t behind_blank = before(c->blank, carry->blank);
    uint64_t numbers = c->number & ~before(c->number, carry->number) & ~behind_blank, ends = 0;

    if (scan->scanner->digits_apart) {
        numbers = number_starts(scan, c);
        ends = c->number;
    }
    uint64_t starts = numbers | (((c->letter & ~before(c->letter, carry->letter)) |
                                  (c->other & ~before(c->other, carry->other))) &
                                 ~behind_blank);
    starts |= c->space & ~before(c->space, carry->space);
    starts |= last_spaces(scan, c, at, starts, c->space, ends);
    starts = (starts & ~carry->clear) | (carry->set & c->valid);
    carry->set = carry->clear = 0;
    if ((starts & c->apostrophe) != 0)
        starts = join_contractions(scan, c, at, starts);
    return starts;
}

/* ---- Starts of cl100k, o200k and DeepSeek ---- */

/* In a run of white space, the part after the last line ending starts a pretoken. `firsts` marks
 * first bytes after line endings, `newline` the line endings, and `plain` all other white space. */
static uint64_t indentations(scan_t *scan, const uint8_t *at, int size, uint64_t firsts,
                             uint64_t plain, uint64_t newline)
{
    uint64_t starts = 0;

    if (scan->indentation != NULL && (plain & low_bits(size)) != low_bits(size)) {
        if ((newline >> __builtin_ctzll(~plain) & 1) == 0)
            give_start(scan, scan->indentation);
        scan->indentation = NULL;
    }
    for (; firsts != 0; firsts &= firsts - 1) {
        int first = __builtin_ctzll(firsts);
        uint64_t rest = ~plain >> first;
        int behind = rest == 0 ? size : first + __builtin_ctzll(rest);

        if (behind >= size)
            scan->indentation = at + first;
        else if ((newline >> behind & 1) == 0)
            starts |= (uint64_t)1 << first;
    }
    return starts;
}

/* Returns all bytes of the characters whose first bytes are set in `firsts`. */
static inline uint64_t whole_characters(uint64_t firsts, uint64_t inner)
{
    if (inner == 0)
        return firsts;
    firsts |= firsts << 1 & inner;
    firsts |= firsts << 1 & inner;
    return firsts | (firsts << 1 & inner);
}

/* Adds to the first bytes of runs in `set` all bytes of these runs. The addition carries from each
 * first byte to the end of its run; a second first byte in the same run stays set in the sum. */
static inline uint64_t whole_runs(uint64_t firsts, uint64_t set)
{
    return set & (~(set + firsts) | firsts);
}

/* DeepSeek: ASCII letters are attached to one ASCII punctuation mark that starts a pretoken. Other
 * letters after them start another. */
static inline uint64_t attach_letters(scan_t *scan, const classes_t *c, uint64_t lone_other,
                                      uint64_t letters)
{
    uint64_t ascii = c->letter & ~c->wide;
    uint64_t firsts = ascii & (before(lone_other, scan->carry.lone_other) | scan->carry.attached);
    uint64_t attached = whole_runs(firsts, ascii);
    uint64_t behind = before(attached, scan->carry.attached);

    scan->carry.attached = attached >> (c->size - 1) & 1;
    return (letters & ~firsts) | (c->letter & c->wide & behind);
}

static inline __attribute__((always_inline)) uint64_t
starts_cl100k(scan_t *scan, const classes_t *c, const uint8_t *at, tlmi_scanner_kind_t kind)
{
    carries_t *carry = &scan->carry;
    bool o200k = kind == TLMI_SCANNER_O200K, deepseek = kind == TLMI_SCANNER_DEEPSEEK;
    uint64_t behind_letter = before(c->letter, carry->letter);
    uint64_t behind_other = before(c->other, carry->other);

    /* [\r\n]* after `other` characters, [\r\n/]* in o200k. */
    uint64_t takeable = o200k ? c->newline | (c->slash & scan->slashes) : c->newline;
    uint64_t first_taken = (c->newline & behind_other) | (takeable & carry->taken);
    uint64_t taken = whole_runs(first_taken, takeable);
    uint64_t behind_taken = before(taken, carry->taken) & ~taken & c->valid;

    uint64_t line = c->newline & ~taken, plain = c->space & ~c->newline;
    uint64_t others = (c->other & ~taken & ~behind_other & ~before(c->blank, carry->blank)) |
                      (c->other & behind_taken);
    uint64_t lone_other = deepseek ? others & ~c->wide : whole_characters(others, c->inner);
    /* Letters take in the character before them if it is plain white space or an `other` character
     * that starts a pretoken. */
    uint64_t letters =
        c->letter & ~behind_letter & ~before(plain, carry->space & ~carry->line & ~carry->taken);
    if (deepseek)
        letters = attach_letters(scan, c, lone_other, letters);
    else
        letters &= ~before(lone_other, carry->lone_other);
    uint64_t starts = letters | others | behind_taken | number_starts(scan, c) |
                      (c->space & ~taken & ~before(c->space, carry->space));
    if (o200k)
        starts |= c->upper & before(c->lower, carry->lower);
    if (has_apart(kind))
        starts |= c->apart & ~before(c->apart, carry->apart);
    if (deepseek)
        starts |= c->apart_other & ~before(c->apart_other, carry->apart_other);
    starts |= indentations(scan, at, c->size, before(line, carry->line) & plain, plain, c->newline);
    starts |= last_spaces(scan, c, at, starts, plain,
                          deepseek ? c->number | c->apart | c->apart_other : 0);
    starts = (starts & ~carry->clear) | (carry->set & c->valid);
    carry->set = carry->clear = 0;
    if (!deepseek && (starts & c->apostrophe) != 0) {
        if (!o200k)
            starts = join_contractions(scan, c, at, starts);
        else if (scan->scanner->suffixes)
            starts = join_suffixes(scan, c, at, starts, starts & c->apostrophe & behind_letter);
    }
    carry->line = line >> (c->size - 1) & 1;
    carry->taken = taken >> (c->size - 1) & 1;
    carry->lone_other = lone_other >> (c->size - 1) & 1;
    return starts;
}

/* ---- Texts ---- */

static void start_afresh(scan_t *scan)
{
    scan->carry = (carries_t){0};
    scan->last_space = scan->indentation = scan->suffix_end = NULL;
    scan->digits = 0;
    scan->known = 1;
}

static inline __attribute__((always_inline)) void
carry_classes(carries_t *carry, const classes_t *c, tlmi_scanner_kind_t kind)
{
    int last = c->size - 1;

    carry->letter = c->letter >> last & 1;
    carry->lower = c->lower >> last & 1;
    carry->both = c->both >> last & 1;
    carry->number = c->number >> last & 1;
    carry->other = c->other >> last & 1;
    carry->space = c->space >> last & 1;
    carry->blank = c->blank >> last & 1;
    if (has_apart(kind)) {
        carry->apart = c->apart >> last & 1;
        carry->apart_other = c->apart_other >> last & 1;
    }
}

/* Whether the block holds characters that depend on more than their neighbors. In o200k these are
 * marks, which count as letters or as `other`, and capitals after a letter that is neither uppercase
 * nor lowercase. */
static inline __attribute__((always_inline)) bool
needs_reference(const scan_t *scan, const classes_t *c, tlmi_scanner_kind_t kind)
{
    if (kind == TLMI_SCANNER_O200K)
        return (c->rare | c->mark | (c->upper & before(c->both, scan->carry.both))) != 0;
    return kind == TLMI_SCANNER_DEEPSEEK && c->rare != 0;
}

/* Runs the reference scanner from the last start to at least `to`. Sets *at to the end of the last
 * pretoken. */
static tlm_status_t scan_by_reference(const uint8_t **at, scan_t *scan, const uint8_t *to)
{
    const uint8_t *next = scan->n > 0 ? scan->batch + scan->ends[scan->n - 1] : scan->batch;

    while (next < to) {
        next = tlmi_scan_pretoken(scan->scanner, next, scan->end);
        if (next == scan->end || next > scan->limit)
            break;
        give_start(scan, next);
        if (scan->n >= BATCH)
            TLMI_TRY(hand_over(scan));
    }
    start_afresh(scan);
    *at = next;
    return TLM_OK;
}

/* Marks tend to come together, so the reference scanner runs for a few blocks. */
#define REFERENCE_BYTES (4 * TLMI_MASK_BYTES)

static inline __attribute__((always_inline)) tlm_status_t
scan_blocks(scan_t *scan, const uint8_t *at, tlmi_scanner_kind_t kind)
{
    while (at < scan->end && at <= scan->limit) {
        classes_t classes;

        classify(&classes, &scan->classes, at, kind);
        if (needs_reference(scan, &classes, kind)) {
            size_t left = (size_t)(scan->end - at);

            TLMI_TRY(scan_by_reference(&at, scan,
                                       at + (left < REFERENCE_BYTES ? left : REFERENCE_BYTES)));
            continue;
        }
        uint64_t starts = kind == TLMI_SCANNER_GPT2 ? starts_gpt2(scan, &classes, at)
                                                    : starts_cl100k(scan, &classes, at, kind);
        carry_classes(&scan->carry, &classes, kind);
        starts &= ~scan->known;
        scan->known = 0;
        if (scan->limit - at < classes.size)
            starts &= low_bits((int)(scan->limit - at) + 1);
        give_starts(scan, at, starts);
        if (scan->n >= BATCH)
            TLMI_TRY(hand_over(scan));
        at += classes.size;
    }
    return TLM_OK;
}

/* One function per kind and target, each by itself small enough to be compiled well. */
#define SCAN_FUNCTION(name, kind, target)                                                          \
    static __attribute__((noinline)) target tlm_status_t name(scan_t *scan, const uint8_t *text)   \
    {                                                                                              \
        return scan_blocks(scan, text, kind);                                                      \
    }

SCAN_FUNCTION(scan_gpt2, TLMI_SCANNER_GPT2, )
SCAN_FUNCTION(scan_cl100k, TLMI_SCANNER_CL100K, )
SCAN_FUNCTION(scan_o200k, TLMI_SCANNER_O200K, )
SCAN_FUNCTION(scan_deepseek, TLMI_SCANNER_DEEPSEEK, )

typedef tlm_status_t (*scan_fn)(scan_t *scan, const uint8_t *text);

static const scan_fn scan_functions[] = {[TLMI_SCANNER_GPT2] = scan_gpt2,
                                         [TLMI_SCANNER_CL100K] = scan_cl100k,
                                         [TLMI_SCANNER_O200K] = scan_o200k,
                                         [TLMI_SCANNER_DEEPSEEK] = scan_deepseek};

#if TLMI_X86
SCAN_FUNCTION(scan_gpt2_bits, TLMI_SCANNER_GPT2, TLMI_TARGET_BITS)
SCAN_FUNCTION(scan_cl100k_bits, TLMI_SCANNER_CL100K, TLMI_TARGET_BITS)
SCAN_FUNCTION(scan_o200k_bits, TLMI_SCANNER_O200K, TLMI_TARGET_BITS)
SCAN_FUNCTION(scan_deepseek_bits, TLMI_SCANNER_DEEPSEEK, TLMI_TARGET_BITS)

static const scan_fn scan_functions_bits[] = {[TLMI_SCANNER_GPT2] = scan_gpt2_bits,
                                              [TLMI_SCANNER_CL100K] = scan_cl100k_bits,
                                              [TLMI_SCANNER_O200K] = scan_o200k_bits,
                                              [TLMI_SCANNER_DEEPSEEK] = scan_deepseek_bits};
#endif

static tlm_status_t scan_all(scan_t *scan, const uint8_t *text)
{
#if TLMI_X86
    if (tlmi_has_features(tlm_cpu_features(), TLMI_NEEDS_BITS))
        return scan_functions_bits[scan->scanner->kind](scan, text);
#endif
    return scan_functions[scan->scanner->kind](scan, text);
}

tlm_status_t tlmi_scan_text(size_t *consumed, const tlmi_scanner_t *scanner, const uint8_t *text,
                            size_t size, bool final, tlmi_pretokens_fn pretokens, void *context)
{
    const uint8_t *end = text + size;
    scan_t scan;

    scan.scanner = scanner;
    scan.classes = (class_source_t){tlmi_byte_masks_best(), end, scanner->marks ? ~(uint64_t)0 : 0,
                                    scanner->han_apart};
    scan.slashes = scanner->slashes ? ~(uint64_t)0 : 0;
    scan.end = end;
    scan.limit = final ? end : tlmi_scan_certain(text, end);
    scan.pretokens = pretokens;
    scan.context = context;
    scan.batch = text;
    scan.n = 0;
    start_afresh(&scan);
    TLMI_TRY(scan_all(&scan, text));
    if (final && scan.indentation != NULL && !scanner->whole_at_end)
        give_start(&scan, scan.indentation);
    if (final && size > 0)
        give_start(&scan, end);
    TLMI_TRY(hand_over(&scan));
    *consumed = (size_t)(scan.batch - text);
    return TLM_OK;
}
