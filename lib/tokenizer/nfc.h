/* Unicode's Normalization Form C (annex 15 of the standard), in utf8proc's version of Unicode.
 * Malformed bytes stay as they are, and nothing composes across them. Time is linear. */
#ifndef TLMI_NFC_H
#define TLMI_NFC_H

#include "tinylm/status.h"

/* A text that grows. Zeros before its first use. */
typedef struct tlmi_nfc_text {
    uint8_t *bytes;
    size_t size, capacity;
    int32_t *characters; /* scratch memory */
    size_t characters_capacity;
} tlmi_nfc_text_t;

void tlmi_nfc_release(tlmi_nfc_text_t *text);

/* Appends a text, put in NFC by itself. */
tlm_status_t tlmi_nfc_append(tlmi_nfc_text_t *out, const uint8_t *text, size_t size);

/* Whether a text is in NFC and holds nothing that depends on what surrounds it; most are and do. */
bool tlmi_nfc_is_stable(const uint8_t *text, size_t size);

/* A place as near to the end as there is one, where a text that may go on can be cut: both parts may be
 * put in NFC apart. 0 if there is none. */
size_t tlmi_nfc_last_cut(const uint8_t *text, size_t size);

#endif
