/* Normalization: the transformation of a text before it is split. Each kind of normalizer defines a
 * tlmi_normalizer_kind_t and, if it has options, a struct that begins with a tlmi_normalizer_t. */
#ifndef TLMI_NORMALIZE_H
#define TLMI_NORMALIZE_H

#include "tinylm/status.h"

/* A buffer that grows as normalized text is appended. A zeroed one is empty. */
typedef struct tlmi_normal_text {
    uint8_t *bytes;
    size_t size, capacity;
    int32_t *characters; /* scratch memory */
    size_t characters_capacity;
} tlmi_normal_text_t;

void tlmi_normal_text_release(tlmi_normal_text_t *text);

/* Appends bytes as they are. */
tlm_status_t tlmi_normal_text_append(tlmi_normal_text_t *out, const void *bytes, size_t size);

/* Normalizers receive pieces: what is left of a text when the added tokens are taken out. A long
 * piece may arrive in parts; these flags tell which of its ends a part has. */
enum { TLMI_PIECE_BEGINS = 1, TLMI_PIECE_ENDS = 2, TLMI_WHOLE_PIECE = 3 };

typedef struct tlmi_normalizer tlmi_normalizer_t; /* immutable */

typedef struct tlmi_normalizer_kind {
    const char *name; /* for messages: "NFC" */

    /* A quick check of whether normalization leaves a part of a piece unchanged; false means
     * "unknown". */
    bool (*leaves)(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size, int part);

    /* Appends a part of a piece (flags TLMI_PIECE_...), normalized independently of what the output
     * already holds. The size may be 0 for a part that ends the piece. */
    tlm_status_t (*append)(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                           const uint8_t *text, size_t size, int part);

    /* Returns a position near the end where a text that may continue after `size` can be cut so
     * that both parts can be normalized separately; 0 if there is none. NULL: only cuts_at tells. */
    size_t (*last_cut)(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size);

    /* Whether a text may be cut into two parts between text[at - 1], a letter or digit of ASCII, and
     * text[at], which is a space. NULL means never. */
    bool (*cuts_at)(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t at);

    void (*free)(tlmi_normalizer_t *normalizer); /* NULL if there is nothing to free */
} tlmi_normalizer_kind_t;

/* The first member of the struct that each kind of normalizer defines. */
struct tlmi_normalizer {
    const tlmi_normalizer_kind_t *kind;
};

/* Accepts NULL. */
void tlmi_normalizer_free(const tlmi_normalizer_t *normalizer);

/* ---- Kinds ---- */

/* Unicode's Normalization Form C (annex 15 of the standard), in utf8proc's version of Unicode.
 * Malformed bytes stay as they are, and nothing composes across them. Takes linear time. */
extern const tlmi_normalizer_t tlmi_nfc;

#endif
