/* Normalization: the transformation of a text before it is split. Each kind of normalizer defines a
 * tlmi_normalizer_kind_t and, if it has options, a struct that begins with a tlmi_normalizer_t. */
#ifndef TLMI_NORMALIZE_H
#define TLMI_NORMALIZE_H

#include <string.h>

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
     * that both parts can be normalized separately; 0 if there is none. NULL: only cuts_at
     * tells. */
    size_t (*last_cut)(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size);

    /* Whether a text may be cut into two parts between text[at - 1], a letter or digit of ASCII,
     * and text[at], which is a space. NULL means never. */
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

/* Unicode's Normalization Forms (annex 15 of the standard) and white space, case and marks, with
 * the results of `tokenizers`, whose tables are of several versions of Unicode. Malformed bytes
 * stay as they are, and nothing composes across them. All kinds take time linear in the text,
 * except that a regular expression may fail because it takes too long. */
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
 * a whole grapheme cluster if it has fewer than 6 bytes and is in the map, otherwise to its
 * characters. `what` begins the message about a malformed blob. */
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

/* ---- For the kinds ---- */

/* Makes room for `size` more bytes and returns where they go; the caller then adds to out->size
 * what it wrote. NULL: out of memory. */
uint8_t *tlmi_normal_text_room(tlmi_normal_text_t *out, size_t size);

/* Frees itself, a struct of a single block. */
void tlmi_normalizer_free_block(tlmi_normalizer_t *normalizer);

/* A text of at most TLMI_SHORT_TEXT bytes, as they are in memory. */
#define TLMI_SHORT_TEXT 4

typedef struct tlmi_short_text {
    uint32_t bytes, size;
} tlmi_short_text_t;

static inline tlmi_short_text_t tlmi_short_text(const void *bytes, size_t size)
{
    tlmi_short_text_t text = {0, (uint32_t)size};

    if (size > 0)
        memcpy(&text.bytes, bytes, size);
    return text;
}

/* Copies text with each `byte` replaced and returns where the copy ends. There is room for
 * TLMI_SHORT_TEXT bytes per byte: what is written too much is written over. There are no branches,
 * which would be unpredictable. */
static inline uint8_t *tlmi_replace_byte(uint8_t *to, const uint8_t *text, const uint8_t *end,
                                         uint8_t byte, tlmi_short_text_t by)
{
    for (; text < end; text++) {
        uint32_t is_match = -(uint32_t)(*text == byte);
        uint32_t bytes = (by.bytes & is_match) | (*text & ~is_match);

        memcpy(to, &bytes, sizeof(bytes));
        to += (by.size & is_match) | (1 & ~is_match);
    }
    return to;
}

static inline bool tlmi_is_ascii_alnum(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
}

/* For `cuts_at` of kinds in which nothing depends on what is around such a cut. */
bool tlmi_cuts_anywhere(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t at);

/* Eight bytes at once, each in 0..7F: the same with A..Z in lower case, and bytes that are not zero
 * if one of them is an upper-case letter. */
#define TLMI_EACH_BYTE 0x0101010101010101u

static inline uint64_t tlmi_upper_in_word(uint64_t word)
{
    uint64_t from_a = word + (0x80 - 'A') * TLMI_EACH_BYTE;
    uint64_t after_z = word + (0x80 - 'Z' - 1) * TLMI_EACH_BYTE;

    return from_a & ~after_z & 0x80 * TLMI_EACH_BYTE;
}

static inline uint64_t tlmi_lower_word(uint64_t word)
{
    return word | tlmi_upper_in_word(word) >> 2;
}

/* How the characters differ from utf8proc's in the tables of `tokenizers` (unicode_forms.c). */
enum { TLMI_NOT_IN_FORMS = 1, TLMI_NOT_ACCENT = 2, TLMI_ACCENT = 4, TLMI_NOT_CONTROL = 8 };
int tlmi_char_difference(uint32_t code_point);

bool tlmi_char_is_accent(uint32_t code_point);              /* category Mn */
bool tlmi_char_is_control(uint32_t code_point);             /* categories Cc, Cf and Co */
int tlmi_char_lower(int32_t lower[2], uint32_t code_point); /* returns the number: 1 or 2 */

/* Whether a grapheme cluster ends between two characters. The state begins with 0 at the first
 * character of a cluster. */
bool tlmi_grapheme_ends(uint32_t before, uint32_t after, int32_t *state);

/* Normalization Forms: a sum of flags; NFD is 0. */
enum {
    TLMI_FORM_COMPOSED = 1,
    TLMI_FORM_COMPATIBLE = 2,
    TLMI_FORM_NEWEST = 4 /* in utf8proc's version of Unicode, not that of `tokenizers` */
};

#define TLMI_DECOMPOSED 18 /* the most characters in a decomposition */

/* Whether a character is normal by itself and neither composes with one before it nor has a place
 * that depends on marks around it. Thread-safe. */
bool tlmi_char_is_stable(uint32_t code_point, int form);

int tlmi_combining_class(int32_t code_point, int form); /* 0..255 */

/* Writes the full decomposition and returns its number of characters. */
size_t tlmi_decompose(int32_t characters[TLMI_DECOMPOSED], uint32_t code_point, int form);

/* Sorts each run of marks, which are the characters whose combining class is not 0. `scratch`:
 * (n). */
void tlmi_sort_marks(int32_t *characters, size_t n, int32_t *scratch, int form);

/* Composes decomposed characters, whose marks are sorted, if the form asks for it, into UTF-8 in
 * place and returns its size. `characters` must have room for n + 1 characters. */
size_t tlmi_encode_form(int32_t *characters, size_t n, int form);

/* ---- SentencePiece's map of characters (charsmap.c) ---- */

/* A double-array trie of keys, which are bytes, and what replaces them. */
typedef struct tlmi_charsmap {
    uint32_t *units; /* NULL: the map is empty */
    size_t num_units;
    uint8_t *replacements; /* NUL-terminated strings, valid UTF-8 */
    size_t replacements_size;
} tlmi_charsmap_t;

/* Reads a precompiled_charsmap. `what` begins the message about a malformed one. */
tlm_status_t tlmi_charsmap_read(tlmi_charsmap_t *map, const char *what, const void *blob,
                                size_t size);
void tlmi_charsmap_release(tlmi_charsmap_t *map);

/* Finds the shortest or the longest key that begins the text. Returns its size, and what replaces
 * it; 0 if there is none. Whatever a malformed map holds, reads nothing outside of it. */
size_t tlmi_charsmap_find(tlm_bytes_t *replacement, const tlmi_charsmap_t *map, const uint8_t *text,
                          size_t size, bool longest);

/* Whether a key begins with a byte of ASCII alone or, if `pairs`, with it and another byte of
 * ASCII. */
bool tlmi_charsmap_has_ascii(const tlmi_charsmap_t *map, uint8_t byte, bool pairs);

/* Whether, for each letter and digit of ASCII: a space does not follow it in any key, and what
 * replaces a key that ends with it neither is empty nor ends with a space. May be false although
 * it is so. */
bool tlmi_charsmap_keeps_words(const tlmi_charsmap_t *map);

#endif
