/* Normalization: the transformation of a text before it is split. Each kind of normalizer defines a
 * tlmi_normalizer_kind_t and, if it has options, a struct that begins with a tlmi_normalizer_t. */
#ifndef TLMI_NORMALIZE_H
#define TLMI_NORMALIZE_H

#include "tinylm/status.h"
#include "tinylm/tokenizer.h"

/* A buffer that grows as normalized text is appended. A zeroed one is empty. */
typedef struct tlmi_normal_text {
    uint8_t *bytes;
    size_t size, capacity;
    int32_t *characters; /* scratch memory */
    size_t characters_capacity;
    struct tlmi_normal_text *stages; /* scratch memory of sequences: two texts */
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

    /* Whether at such a cut the normalized text also has a letter or digit of ASCII before and a
     * space after, so that another normalizer may follow this one. NULL means yes. */
    bool (*keeps_cuts)(const tlmi_normalizer_t *normalizer);

    void (*free)(tlmi_normalizer_t *normalizer); /* NULL if there is nothing to free */
} tlmi_normalizer_kind_t;

/* The first member of the struct that each kind of normalizer defines. */
struct tlmi_normalizer {
    const tlmi_normalizer_kind_t *kind;
};

/* Accepts NULL. */
void tlmi_normalizer_free(const tlmi_normalizer_t *normalizer);

/* ---- Kinds, as Hugging Face's `tokenizers` has them ---- */

/* Unicode's Normalization Forms (annex 15 of the standard) and white space, case and marks, with the
 * results of `tokenizers`, whose tables are of several versions of Unicode. Malformed bytes stay as
 * they are, and nothing composes across them. All kinds take time linear in the text, except that a
 * regular expression may fail because it takes too long. */
extern const tlmi_normalizer_t tlmi_nfc, tlmi_nfd, tlmi_nfkc, tlmi_nfkd;

extern const tlmi_normalizer_t tlmi_lowercase;     /* character by character */
extern const tlmi_normalizer_t tlmi_strip_accents; /* removes marks: \p{M} */
extern const tlmi_normalizer_t tlmi_nmt; /* removes control characters; some others become spaces */
extern const tlmi_normalizer_t tlmi_byte_level_normalizer; /* bytes in GPT-2's byte alphabet */

/* The constructors copy what they are given. */

/* Removes white space at the ends of the piece. */
tlm_status_t tlmi_strip_normalizer_create(const tlmi_normalizer_t **out, bool left, bool right);

/* Adds bytes before a piece that is not empty. */
tlm_status_t tlmi_prepend_create(const tlmi_normalizer_t **out, const void *bytes, size_t size);

/* Replaces each occurrence of a string. An empty one occurs around each character. */
tlm_status_t tlmi_replace_string_create(const tlmi_normalizer_t **out, const void *pattern,
                                        size_t pattern_size, const void *content,
                                        size_t content_size);

/* Replaces each match of a pattern in Oniguruma's own syntax. */
tlm_status_t tlmi_replace_regex_create(const tlmi_normalizer_t **out, const char *pattern,
                                       const void *content, size_t content_size);

/* BERT's normalizer. In its files, "strip_accents": null means the value of `lowercase`. */
tlm_status_t tlmi_bert_normalizer_create(const tlmi_normalizer_t **out, bool clean_text,
                                         bool chinese_chars, bool strip_accents, bool lowercase);

/* SentencePiece's precompiled_charsmap (a blob, decoded from base64) as `tokenizers` applies it: to
 * a whole grapheme cluster if it has less than 6 bytes, otherwise or if that is not in the map to
 * its characters. `what` begins the message about a malformed blob. */
tlm_status_t tlmi_precompiled_create(const tlmi_normalizer_t **out, const char *what,
                                     const void *blob, size_t size);

/* One normalizer after the other; n may be 0. Takes over the parts and frees them on failure. */
tlm_status_t tlmi_normalizer_sequence_create(const tlmi_normalizer_t **out,
                                             const tlmi_normalizer_t *const *parts, size_t n);

/* ---- SentencePiece's own normalizer, for .model files ---- */

/* The fields of its NormalizerSpec and TrainerSpec. */
typedef struct tlmi_sentencepiece_spec {
    const void *charsmap; /* precompiled_charsmap */
    size_t charsmap_size; /* 0: none */
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces;
    bool treat_whitespace_as_suffix;
    const tlm_bytes_t *symbols; /* user-defined symbols, which pass unchanged */
    size_t num_symbols;
} tlmi_sentencepiece_spec_t;

tlm_status_t tlmi_sentencepiece_normalizer_create(const tlmi_normalizer_t **out, const char *what,
                                                  const tlmi_sentencepiece_spec_t *spec);

#endif
