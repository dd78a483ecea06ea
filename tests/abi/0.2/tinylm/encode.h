/* More ways to encode than tlm_tokenizer_encode: choosing which special tokens a text may
 * contain, BPE dropout, the position of each id in the text, and many texts in one call.
 * docs/tokenizer.md has a table of them. */
#ifndef TINYLM_ENCODE_H
#define TINYLM_ENCODE_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A set of special tokens. */
#define TLM_SPECIAL_ALL  0 /**< All of the tokenizer. */
#define TLM_SPECIAL_NONE 1 /**< None. */
#define TLM_SPECIAL_LIST 2 /**< Those in a list. */

/** Which special tokens count, and BPE dropout.
 *
 * By default every special token becomes its id, as with tlm_tokenizer_encode. Allowing NONE and
 * disallowing ALL is the default of tiktoken's encode; NONE and NONE is its encode_ordinary.
 * @since 0.2 */
typedef struct tlm_encode_options {
    /** sizeof(tlm_encode_options_t). */
    size_t size;
    /** TLM_SPECIAL_...: these become their ids. */
    int32_t allowed_special;
    /** TLM_SPECIAL_...: these make the call fail; ALL: all that are not allowed. */
    int32_t disallowed_special;
    /** For LIST; strings that are no special token are ignored. */
    const tlm_bytes_t *allowed;
    /** Number of strings in `allowed`. */
    size_t num_allowed;
    /** For LIST; any byte strings, even allowed ones. */
    const tlm_bytes_t *disallowed;
    /** Number of strings in `disallowed`. */
    size_t num_disallowed;
    /** Probability that a merge is skipped, 0..1; 0: that of the tokenizer, which is 0 unless its
     *  tokenizer.json says otherwise. */
    double dropout;
    /** Seed of the dropout. */
    uint64_t seed;
    /** Puts the special tokens around the text that the tokenizer's file asks for (its
     *  post-processor or template, such as [CLS] ... [SEP]). Without it, the ids are those of the
     *  text alone. Does nothing if the file asks for none. */
    bool add_special_tokens;
    /** Ignores the "truncation" and "padding" of the tokenizer.json from which the tokenizer was
     *  read. Without it, ids are those of the tokenizers library, which applies both. Streams,
     *  files and tlm_tokenizer_encode_padded always ignore them. */
    bool whole_texts;
    uint8_t reserved[6];
} tlm_encode_options_t;

#define TLM_ENCODE_OPTIONS_INIT TLM_SIZED(tlm_encode_options_t)

/** Encodes a text with options; NULL means those of tlm_tokenizer_encode. Special tokens that
 *  are neither allowed nor disallowed are plain text. Disallowed ones are searched for first,
 *  even inside allowed ones: TLM_ERR_SPECIAL_TOKEN names the first one and its byte position.
 *  Dropout (Provilkov et al. 2020) is a function of the seed and of the position of each
 *  pretoken in the text. TLM_ERR_INVALID_ARGUMENT for an unknown set, an empty string in a list,
 *  or a dropout outside 0..1. See tlm_tokenizer_encode for ownership, threads and other errors.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_with(uint32_t **ids, size_t *n,
                                               const tlm_tokenizer_t *tokenizer, const void *text,
                                               size_t size, const tlm_encode_options_t *options);

/** The positions of ids in their text: id i covers bytes offsets[i] to offsets[i + 1] - 1. Fills
 *  n + 1 offsets, from 0 to the size of the text. A token may end inside a character.
 *  TLM_ERR_RANGE, with the position, for an id that no token has; TLM_ERR_UNSUPPORTED if the
 *  tokenizer's decoder makes the text more than the bytes of the tokens, as with WordPiece or
 *  SentencePiece vocabularies. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_offsets(size_t *offsets, const tlm_tokenizer_t *tokenizer,
                                           const uint32_t *ids, size_t n);

/** The same in characters, each of which begins at a byte that is not 10xxxxxx: id i covers at
 *  least a part of characters spans[2 i] to spans[2 i + 1] - 1. A character that two ids share
 *  is in both their spans. Fills 2 n numbers. See tlm_tokenizer_offsets for errors. Thread-safe.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_character_spans(size_t *spans, const tlm_tokenizer_t *tokenizer,
                                                   const uint32_t *ids, size_t n);

/* ---- Many texts in one call, on all threads, with the same results on any number of threads
 * ---- */

/** Encodes texts, each as tlm_tokenizer_encode_with does; the dropout of text i has the seed
 *  seed + i. The ids of text i are (*ids)[(*offsets)[i]] to (*ids)[(*offsets)[i + 1] - 1]; there
 *  are num_texts + 1 offsets. Both arrays are owned by the caller (tlm_free). If several texts
 *  fail, the error is that of the first one. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_batch(uint32_t **ids, size_t **offsets,
                                                const tlm_tokenizer_t *tokenizer,
                                                const tlm_bytes_t *texts, size_t num_texts,
                                                const tlm_encode_options_t *options);

/* Ends of a row. */
#define TLM_SIDE_RIGHT 0 /**< The end. */
#define TLM_SIDE_LEFT  1 /**< The beginning. */

/** How texts are made equally long. @since 0.2 */
typedef struct tlm_pad_options {
    /** sizeof(tlm_pad_options_t). */
    size_t size;
    /** Longer texts are truncated to this many ids; 0: no truncation. Of a row with special tokens
     *  that add_special_tokens put there, only the text between them is cut. */
    size_t max_length;
    /** Ids per row; 0: as many as the longest text has after truncation. */
    size_t pad_length;
    /** Any number, an id or not. */
    uint32_t pad_id;
    /** TLM_SIDE_...: where padding goes. */
    int32_t pad_side;
    /** TLM_SIDE_...: where ids are cut off. */
    int32_t cut_side;
    uint32_t reserved;
} tlm_pad_options_t;

#define TLM_PAD_OPTIONS_INIT TLM_SIZED(tlm_pad_options_t)

/** Encodes texts to rows of equal length: *ids (num_texts, *length), *mask of the same shape
 *  with 1 for an id and 0 for padding, and *lengths (num_texts) with the number of ids in each
 *  row. mask, lengths and both options may be NULL. The arrays are owned by the caller
 *  (tlm_free). TLM_ERR_RANGE, with the number of the text, if a text is longer than pad_length
 *  after truncation, or if max_length is less than the number of special tokens around a text.
 *  See tlm_tokenizer_encode_batch for other errors. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_padded(uint32_t **ids, uint8_t **mask, size_t **lengths,
                                                 size_t *length, const tlm_tokenizer_t *tokenizer,
                                                 const tlm_bytes_t *texts, size_t num_texts,
                                                 const tlm_encode_options_t *options,
                                                 const tlm_pad_options_t *pad);

/** How ids are decoded. @since 0.2 */
typedef struct tlm_decode_options {
    /** sizeof(tlm_decode_options_t). */
    size_t size;
    /** Leaves special tokens out of the text. */
    bool skip_special_tokens;
    /** Gives valid UTF-8, as tlm_tokenizer_decode_text does. */
    bool as_text;
    uint8_t reserved[6];
} tlm_decode_options_t;

#define TLM_DECODE_OPTIONS_INIT TLM_SIZED(tlm_decode_options_t)

/** Decodes ids with options; NULL means those of tlm_tokenizer_decode. See there for ownership,
 *  threads and errors. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_decode_with(uint8_t **bytes, size_t *size,
                                               const tlm_tokenizer_t *tokenizer,
                                               const uint32_t *ids, size_t n,
                                               const tlm_decode_options_t *options);

/** Makes a streaming decoder with options. Unless as_text is set, it returns bytes as soon as they
 *  are certain, those of tlm_tokenizer_decode_with in the end. See tlm_decoder_create.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_decoder_create_with(tlm_decoder_t **out, const tlm_tokenizer_t *tokenizer,
                                             const tlm_decode_options_t *options);

/** Decodes rows of ids, each as tlm_tokenizer_decode_with does. Row i is bytes (*offsets)[i] to
 *  (*offsets)[i + 1] - 1 of *bytes; a NUL follows the last row. There are num_rows + 1 offsets.
 *  Both arrays are owned by the caller (tlm_free). TLM_ERR_RANGE, with row and position, for the
 *  first id that no token has. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_decode_batch(uint8_t **bytes, size_t **offsets,
                                                const tlm_tokenizer_t *tokenizer,
                                                const tlm_ids_t *rows, size_t num_rows,
                                                const tlm_decode_options_t *options);

/* ---- Reports ---- */

/** The ids of the longest tokens without the special ones, from long to short and by id among equal
 *  lengths. Writes at most `most` ids and sets *n to their number. ids may be NULL if most is 0.
 *  Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_longest_tokens(uint32_t *ids, size_t *n,
                                                  const tlm_tokenizer_t *tokenizer, size_t most);

#ifdef __cplusplus
}
#endif
#endif
