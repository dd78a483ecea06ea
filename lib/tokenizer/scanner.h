/* The well-known patterns by hand: no regular-expression engine on this path. A pretoken follows
 * from the text at and behind its start alone; what lies before has no influence. A malformed byte
 * counts as one character that is neither letter, mark, number nor white space. */
#ifndef TLMI_SCANNER_H
#define TLMI_SCANNER_H

#include "tinylm/export.h"

typedef enum tlmi_scanner_kind {
    TLMI_SCANNER_GPT2,
    TLMI_SCANNER_CL100K,
    TLMI_SCANNER_O200K
} tlmi_scanner_kind_t;

/* A pattern; those of a kind differ in little. */
typedef struct tlmi_scanner {
    tlmi_scanner_kind_t kind;
    int max_digits;    /* numbers in a pretoken, 1 or 3; 0: any (GPT-2) */
    bool whole_at_end; /* white space at the end of the text is one pretoken: \s++$ */
} tlmi_scanner_t;

/* The scanner of a pattern that is spelt in one of the known ways, or NULL. */
const tlmi_scanner_t *tlmi_scanner_find(const char *pattern);

/* End of the pretoken that starts at `text`; [text, end) is not empty. The plain reference of
 * block_scanner.h. */
const uint8_t *tlmi_scan_pretoken(const tlmi_scanner_t *scanner, const uint8_t *text,
                                  const uint8_t *end);

/* Size of the contraction ('s 't 're 've 'm 'll 'd) at the apostrophe `text`, or 0. In any case
 * but for GPT-2; U+017F, the long s, is an s then. */
int tlmi_scan_contraction(const tlmi_scanner_t *scanner, const uint8_t *text, const uint8_t *end);

/* Where [text, end) may go on: pretokens that end at or before this place, which may be `text`,
 * cannot change. */
const uint8_t *tlmi_scan_certain(const uint8_t *text, const uint8_t *end);

#endif
