/* Where pretokens start follows from the classes of neighbouring characters, so it is computed for
 * a block of up to 64 bytes at once. A mask has bit i for byte i of the block; each byte of a
 * character has the character's class, so that "the character before" is a shift by one bit. Blocks
 * end where characters do; what a block must know of the one before is carried. */
#include "block_scanner.h"

#include <string.h>

#include "base/error.h"
#include "byte_masks.h"
#include "unicode.h"

#define BATCH 256 /* pretokens handed over at once, at least */

/* Bits that are carried: the class of the last byte before the block. */
typedef struct carries {
    uint64_t letter, number, other, space, blank;
    uint64_t set, clear; /* starts decided by a contraction of the block before */
} carries_t;

typedef struct scan {
    const tlmi_scanner_t *scanner;
    tlmi_byte_masks_fn byte_masks;
    const uint8_t *end;
    const uint8_t *limit;      /* no pretoken that ends behind it is given */
    const uint8_t *last_space; /* the last character of the block if it is white space whose
                                  pretoken is decided by the next; or NULL */
    uint64_t known;            /* bit 0 where the block's start is a known start of a pretoken */
    carries_t carry;

    tlmi_pretokens_fn pretokens;
    void *context;
    const uint8_t *batch; /* what `ends` count from */
    size_t n;
    size_t ends[BATCH + TLMI_MASK_BYTES + 4];
} scan_t;

/* ---- Classes ---- */

typedef struct classes {
    int size;       /* bytes in the block */
    uint64_t valid; /* bits below size */
    uint64_t letter, number, other, space, blank, apostrophe;
    uint64_t inner; /* bytes of characters but their first */
} classes_t;

static inline uint64_t low_bits(int n)
{
    return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

/* Bytes at the end of a full block that belong to a character which goes on behind it. */
static inline int cut_character(const uint8_t *block)
{
    for (int back = 1; back <= 3; back++) {
        uint8_t byte = block[TLMI_MASK_BYTES - back];

        if ((byte & 0xC0) == 0x80)
            continue;
        if (byte >= 0xC2 && back < (byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4))
            return back;
        break;
    }
    return 0;
}

/* Adds the characters beyond ASCII, of which `wide` has the bytes. */
static void add_wide(classes_t *classes, uint64_t wide, const uint8_t *at, const uint8_t *end)
{
    uint64_t by_class[TLMI_CHAR_OTHER + 1] = {0};

    while (wide != 0) {
        int i = __builtin_ctzll(wide), length;
        int char_class = tlmi_class_at(&length, at + i, end);
        uint64_t bits = low_bits(length) << i;

        by_class[char_class] |= bits;
        classes->inner |= bits & (bits - 1);
        wide &= ~bits;
    }
    classes->letter |=
        by_class[TLMI_CHAR_UPPER] | by_class[TLMI_CHAR_LOWER] | by_class[TLMI_CHAR_LETTER];
    classes->number |= by_class[TLMI_CHAR_NUMBER];
    classes->space |= by_class[TLMI_CHAR_SPACE];
}

static inline void classify(classes_t *out, const scan_t *scan, const uint8_t *at)
{
    uint8_t padded[TLMI_MASK_BYTES];
    const uint8_t *bytes = at;
    tlmi_byte_masks_t masks;

    out->size = TLMI_MASK_BYTES;
    if (scan->end - at < TLMI_MASK_BYTES) {
        out->size = (int)(scan->end - at);
        memset(padded, 0, sizeof(padded));
        memcpy(padded, at, (size_t)out->size);
        bytes = padded;
    }
    scan->byte_masks(&masks, bytes);
    out->letter = masks.upper | masks.lower;
    out->number = masks.number;
    out->space = masks.space;
    out->blank = masks.blank;
    out->apostrophe = masks.apostrophe;
    out->inner = 0;
    if (masks.wide != 0) {
        if (scan->end - at > TLMI_MASK_BYTES)
            out->size -= cut_character(at);
        add_wide(out, masks.wide & low_bits(out->size), at, scan->end);
    }
    out->valid = low_bits(out->size);
    out->other = ~(out->letter | out->number | out->space) & out->valid;
}

/* Moves bits on the last bytes of characters to the first bytes. */
static inline uint64_t to_first_byte(uint64_t bits, uint64_t inner)
{
    while ((bits & inner) != 0)
        bits = (bits & ~inner) | (bits & inner) >> 1;
    return bits;
}

/* ---- Handing over ---- */

static inline void give_start(scan_t *scan, const uint8_t *start)
{
    if (start <= scan->limit)
        scan->ends[scan->n++] = (size_t)(start - scan->batch);
}

static inline void give_starts(scan_t *scan, const uint8_t *at, uint64_t starts)
{
    size_t offset = (size_t)(at - scan->batch);

    for (; starts != 0; starts &= starts - 1)
        scan->ends[scan->n++] = offset + (size_t)__builtin_ctzll(starts);
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

/* Contractions begin at a start on an apostrophe: nothing starts inside one, and something does
 * behind it. */
static uint64_t apply_contractions(scan_t *scan, const classes_t *c, const uint8_t *at,
                                   uint64_t starts)
{
    for (uint64_t left = starts & c->apostrophe; left != 0; left &= left - 1) {
        int i = __builtin_ctzll(left);
        int size = tlmi_scan_contraction(scan->scanner, at + i, scan->end);

        for (int j = i + 1; j <= i + size; j++) {
            uint64_t bit = (uint64_t)1 << (j < c->size ? j : j - c->size);
            uint64_t *set = j < c->size ? &starts : &scan->carry.set;

            if (j == i + size)
                *set |= bit;
            else if (j < c->size)
                starts &= ~bit;
            else
                scan->carry.clear |= bit;
        }
    }
    return starts;
}

static inline uint64_t before(uint64_t mask, uint64_t carry)
{
    return mask << 1 | carry;
}

static inline uint64_t starts_gpt2(scan_t *scan, const classes_t *c, const uint8_t *at)
{
    carries_t carry = scan->carry;
    uint64_t top = (uint64_t)1 << (c->size - 1);
    uint64_t last = c->space & ~(c->space >> 1); /* last bytes of runs of white space */
    uint64_t starts = ((c->letter & ~before(c->letter, carry.letter)) |
                       (c->number & ~before(c->number, carry.number)) |
                       (c->other & ~before(c->other, carry.other))) &
                      ~before(c->blank, carry.blank);

    starts |= c->space & ~before(c->space, carry.space);
    /* The last of a run is left to what follows. */
    starts |= to_first_byte(last & ~top, c->inner);
    if (scan->last_space != NULL && (c->space & 1) == 0)
        give_start(scan, scan->last_space);
    scan->last_space = NULL;
    if ((last & top) != 0) {
        uint64_t first = to_first_byte(top, c->inner);

        if ((starts & first) == 0)
            scan->last_space = at + __builtin_ctzll(first);
    }
    scan->carry.set = scan->carry.clear = 0;
    starts = (starts & ~carry.clear) | (carry.set & c->valid);
    if ((starts & c->apostrophe) != 0)
        starts = apply_contractions(scan, c, at, starts);
    scan->carry.letter = c->letter >> (c->size - 1) & 1;
    scan->carry.number = c->number >> (c->size - 1) & 1;
    scan->carry.other = c->other >> (c->size - 1) & 1;
    scan->carry.space = c->space >> (c->size - 1) & 1;
    scan->carry.blank = c->blank >> (c->size - 1) & 1;
    return starts;
}

static tlm_status_t scan_blocks(scan_t *scan, const uint8_t *at)
{
    while (at < scan->end && at <= scan->limit) {
        classes_t classes;
        uint64_t starts;

        classify(&classes, scan, at);
        starts = starts_gpt2(scan, &classes, at) & ~scan->known;
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

tlm_status_t tlmi_scan_text(size_t *consumed, const tlmi_scanner_t *scanner, const uint8_t *text,
                            size_t size, bool final, tlmi_pretokens_fn pretokens, void *context)
{
    const uint8_t *end = text + size;
    scan_t scan;

    scan.scanner = scanner;
    scan.byte_masks = tlmi_byte_masks_best();
    scan.end = end;
    scan.limit = final ? end : tlmi_scan_certain(text, end);
    scan.last_space = NULL;
    scan.known = 1;
    scan.carry = (carries_t){0};
    scan.pretokens = pretokens;
    scan.context = context;
    scan.batch = text;
    scan.n = 0;
    TLMI_TRY(scan_blocks(&scan, text));
    if (final && size > 0)
        give_start(&scan, end);
    TLMI_TRY(hand_over(&scan));
    *consumed = (size_t)(scan.batch - text);
    return TLM_OK;
}
