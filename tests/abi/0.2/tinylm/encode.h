/* Encoding with more say than tlm_tokenizer_encode: which special tokens a text may hold, BPE
 * dropout, where in the text each id stands, and many texts at once. docs/tokenizer.md has a table
 * of all of it. */
#ifndef TINYLM_ENCODE_H
#define TINYLM_ENCODE_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A set of special tokens. */
#define TLM_SPECIAL_ALL  0
#define TLM_SPECIAL_NONE 1
#define TLM_SPECIAL_LIST 2 /* those of a list */

/* The defaults are tlm_tokenizer_encode's: every special token becomes its id. NONE and ALL are
 * what tiktoken's encode does unless told otherwise, NONE and NONE its encode_ordinary. */
typedef struct tlm_encode_options {
    size_t size;                /* sizeof(tlm_encode_options_t) */
    int32_t allowed_special;    /* TLM_SPECIAL_...: these become their ids */
    int32_t disallowed_special; /* these fail the call; ALL: all that are not allowed */
    const tlm_bytes_t *allowed; /* for a LIST; names that no special token has do nothing */
    size_t num_allowed;
    const tlm_bytes_t *disallowed; /* for a LIST; any byte strings, allowed ones too */
    size_t num_disallowed;
    double dropout; /* 0..1, the chance of a merge to be passed over; 0: none is */
    uint64_t seed;  /* of the dropout */
} tlm_encode_options_t;

#define TLM_ENCODE_OPTIONS_INIT TLM_SIZED(tlm_encode_options_t)

/** Encodes a text as the options say; NULL: as tlm_tokenizer_encode. Special tokens that are
 *  neither allowed nor disallowed are plain text. The whole text is searched for disallowed ones
 *  first, inside allowed ones too: TLM_ERR_SPECIAL_TOKEN names the first and its byte. Dropout
 *  (Provilkov et al. 2020) is a function of the seed and the place of each pretoken in the text.
 *  TLM_ERR_INVALID_ARGUMENT for a set that is not one of the three, an empty name in a list, or a
 *  dropout that is not in 0..1; else errors and ownership as of tlm_tokenizer_encode. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_with(uint32_t **ids, size_t *n,
                                               const tlm_tokenizer_t *tokenizer, const void *text,
                                               size_t size, const tlm_encode_options_t *options);

/** Where ids stand in their text: id i is bytes offsets[i] to offsets[i + 1] of it. Fills n + 1
 *  offsets, from 0 to the size of the text. A token may end inside a character. TLM_ERR_RANGE, with
 *  the position, for an id out of range. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_offsets(size_t *offsets, const tlm_tokenizer_t *tokenizer,
                                           const uint32_t *ids, size_t n);

/** The same in characters, which begin at each byte that is not 10xxxxxx: id i has a part of each
 *  of the characters spans[2 i] to spans[2 i + 1] - 1. Ids that share a character have it in both
 *  their spans. Fills 2 n numbers. Errors as of tlm_tokenizer_offsets. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_character_spans(size_t *spans, const tlm_tokenizer_t *tokenizer,
                                                   const uint32_t *ids, size_t n);

/* ---- Many texts in one call, on all threads; the same results for any number of them ---- */

/** Encodes texts, each as tlm_tokenizer_encode_with does; text i has the dropout seed + i. The ids
 *  of text i are (*ids)[(*offsets)[i] .. (*offsets)[i + 1]); there are num_texts + 1 offsets. Both
 *  arrays are owned by the caller (tlm_free). Where texts fail, the error is that of the first of
 *  them. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_batch(uint32_t **ids, size_t **offsets,
                                                const tlm_tokenizer_t *tokenizer,
                                                const tlm_bytes_t *texts, size_t num_texts,
                                                const tlm_encode_options_t *options);

#define TLM_SIDE_RIGHT 0
#define TLM_SIDE_LEFT  1

typedef struct tlm_pad_options {
    size_t size;       /* sizeof(tlm_pad_options_t) */
    size_t max_length; /* longer texts are cut to so many ids; 0: none is cut */
    size_t pad_length; /* ids a row; 0: as many as the longest text has after the cut */
    uint32_t pad_id;   /* any number, an id or not */
    int32_t pad_side;  /* TLM_SIDE_...: where padding goes */
    int32_t cut_side;  /* TLM_SIDE_...: where ids are cut off */
    uint32_t reserved; /* 0 */
} tlm_pad_options_t;

#define TLM_PAD_OPTIONS_INIT TLM_SIZED(tlm_pad_options_t)

/** Encodes texts to rows of one length: *ids (num_texts, *length), and *mask of the same shape, 1
 *  for an id and 0 for padding; *lengths (num_texts) counts the ids of each row. mask and lengths
 *  may be NULL; both options too. The arrays are owned by the caller (tlm_free). TLM_ERR_RANGE,
 *  with its number, for a text that is longer than pad_length after the cut; else errors as of
 *  tlm_tokenizer_encode_batch. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_padded(uint32_t **ids, uint8_t **mask, size_t **lengths,
                                                 size_t *length, const tlm_tokenizer_t *tokenizer,
                                                 const tlm_bytes_t *texts, size_t num_texts,
                                                 const tlm_encode_options_t *options,
                                                 const tlm_pad_options_t *pad);

/** Decodes rows of ids, each as tlm_tokenizer_decode does. The bytes of row i are (*bytes)[
 *  (*offsets)[i] .. (*offsets)[i + 1]); a NUL follows the last row. There are num_rows + 1 offsets.
 *  Both arrays are owned by the caller (tlm_free). TLM_ERR_RANGE, with row and position, for the
 *  first id out of range. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_decode_batch(uint8_t **bytes, size_t **offsets,
                                                const tlm_tokenizer_t *tokenizer,
                                                const tlm_ids_t *rows, size_t num_rows);

/* ---- Reports ---- */

/** Ids of the longest tokens, special ones left out: at most `most` go to ids, *n says how many.
 *  From long to short, in the order of ids among equals. ids may be NULL where most is 0.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_longest_tokens(uint32_t *ids, size_t *n,
                                                  const tlm_tokenizer_t *tokenizer, size_t most);

#ifdef __cplusplus
}
#endif
#endif
