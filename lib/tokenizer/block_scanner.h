/* The well-known patterns, 64 bytes at a time. */
#ifndef TLMI_BLOCK_SCANNER_H
#define TLMI_BLOCK_SCANNER_H

#include "scanner.h"
#include "tinylm/status.h"

/* Receives n >= 1 pretokens that follow each other: text[0 .. ends[0]), text[ends[0] .. ends[1])
 * ... */
typedef tlm_status_t (*tlmi_pretokens_fn)(void *context, const uint8_t *text, const size_t *ends,
                                          size_t n);

/* tlmi_pretokenize of pretokenizer.h, by a scanner. */
tlm_status_t tlmi_scan_text(size_t *consumed, const tlmi_scanner_t *scanner, const uint8_t *text,
                            size_t size, bool final, tlmi_pretokens_fn pretokens, void *context);

#endif
