/* Byte-level BPE: encoding and decoding (tlm_tokenizer_t); bpe_trainer.h trains one. Text is bytes
 * with a length; UTF-8 is expected and anything else still round-trips. docs/tokenizer.md says how
 * it works. */
#ifndef TINYLM_TOKENIZER_H
#define TINYLM_TOKENIZER_H

#include "options.h"
#include "runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A vocabulary ready for use. Immutable: share it freely between threads. */
typedef struct tlm_tokenizer tlm_tokenizer_t;
/** Encodes a stream cut anywhere. Externally synchronised; borrows its tokenizer until it is
 *  freed. */
typedef struct tlm_encoder tlm_encoder_t;
/** Decodes ids one at a time to whole characters. Externally synchronised; borrows its tokenizer
 *  until it is freed. */
typedef struct tlm_decoder tlm_decoder_t;

/** A byte string: `size` bytes at `data`, NUL bytes included; data may be NULL where size is 0. */
typedef struct tlm_bytes {
    const uint8_t *data;
    size_t size;
} tlm_bytes_t;

/** GPT-2's pre-tokenisation pattern, the default. */
#define TLM_PATTERN_GPT2                                                                           \
    "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/** The pattern of cl100k_base (GPT-4) as tiktoken 0.14 has it. Like those below and GPT-2's it has
 *  a scanner of its own; any other pattern goes through Oniguruma. @since 0.2 */
#define TLM_PATTERN_CL100K                                                                         \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+|"                          \
    " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"

/** The pattern of o200k_base (GPT-4o), also Llama 4's. @since 0.2 */
#define TLM_PATTERN_O200K                                                                          \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"    \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"    \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"                                                               \
    "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** The pattern of Llama 3. @since 0.2 */
#define TLM_PATTERN_LLAMA3                                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"                      \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** The pattern of Qwen 2 and 2.5. @since 0.2 */
#define TLM_PATTERN_QWEN2                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"                           \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

typedef struct tlm_tokenizer_options {
    size_t size;                       /* sizeof(tlm_tokenizer_options_t) */
    const tlm_bytes_t *special_tokens; /* copied; those absent from the vocabulary get new ids */
    size_t num_special_tokens;
    const char *pattern; /* copied; NULL: TLM_PATTERN_GPT2 */
    /* A pretoken that is a token, but no special one, is that token, whatever the merges make of
     * it, as in tiktoken and Llama 3. @since 0.2 */
    bool ignore_merges;
    /* The text between special tokens is put in NFC before it is encoded, as by tlm_utf8_nfc;
     * a tokenizer.json with the normalizer NFC, as Qwen's, sets this itself. @since 0.2 */
    bool nfc;
    uint8_t reserved[6];
    /* The ids that special tokens must have, at holes or behind the vocabulary where it lacks them;
     * UINT32_MAX: any. NULL: any for all. @since 0.2 */
    const uint32_t *special_token_ids;
} tlm_tokenizer_options_t;

#define TLM_TOKENIZER_OPTIONS_INIT TLM_SIZED(tlm_tokenizer_options_t)

/** Makes a tokenizer from a vocabulary and its merges in memory, all copied. vocab[i] is the token
 *  with id i (size 0: a hole); merges[2k], merges[2k+1] are the two sides of merge k, first to
 *  apply first. options may be NULL. TLM_ERR_FORMAT, naming the place, for duplicate tokens, a
 *  vocabulary without all 256 bytes, or a merge that is there twice or whose sides or product are
 *  not in it; TLM_ERR_INVALID_ARGUMENT for special tokens that are empty or given twice;
 *  TLM_ERR_REGEX for a bad pattern. Owned by the caller. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_create(tlm_tokenizer_t **out, const tlm_bytes_t *vocab,
                                          size_t vocab_size, const tlm_bytes_t *merges,
                                          size_t num_merges,
                                          const tlm_tokenizer_options_t *options);

/** Frees the tokenizer; encoders and decoders over it must be gone. NULL is fine. @since 0.1 */
TLM_API void tlm_tokenizer_free(tlm_tokenizer_t *tokenizer);

/** Frees the memory that the tokenizer keeps idle between calls: caches of pretokens that the next
 *  text would find warm, one per thread that has encoded, 256 MiB together at most. Results never
 *  depend on it. Thread-safe, also while other threads encode. NULL is fine. @since 0.2 */
TLM_API void tlm_tokenizer_trim(const tlm_tokenizer_t *tokenizer);

/** Number of ids, special tokens included: ids are 0 .. vocab_size-1; 0 of NULL. @since 0.1 */
TLM_API uint32_t tlm_tokenizer_vocab_size(const tlm_tokenizer_t *tokenizer);

/** Number of merges; 0 of NULL. @since 0.1 */
TLM_API uint32_t tlm_tokenizer_num_merges(const tlm_tokenizer_t *tokenizer);

/** Number of special tokens; 0 of NULL. @since 0.1 */
TLM_API uint32_t tlm_tokenizer_num_special_tokens(const tlm_tokenizer_t *tokenizer);

/** Bytes of a token; *out is borrowed until the tokenizer is freed. TLM_ERR_RANGE if no such id.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_token(tlm_bytes_t *out, const tlm_tokenizer_t *tokenizer,
                                         uint32_t id);

/** The two sides of merge `index` (0 is applied first) as ids. TLM_ERR_RANGE if there is no such
 *  merge. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_merge(uint32_t *left, uint32_t *right,
                                         const tlm_tokenizer_t *tokenizer, uint32_t index);

/** Id of special token `index` (order of creation). TLM_ERR_RANGE if there is no such token.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_special_token(uint32_t *id, const tlm_tokenizer_t *tokenizer,
                                                 uint32_t index);

/** Id of the token with exactly these bytes; TLM_ERR_NOT_FOUND if there is none. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_token_id(uint32_t *id, const tlm_tokenizer_t *tokenizer,
                                            const void *bytes, size_t size);

/** Encodes a text. *ids is owned by the caller (tlm_free) and may be NULL where *n is 0. Special
 *  tokens are matched first, the longest one at each place. Short texts are encoded on the calling
 *  thread, texts of 64 KiB and more on all threads of the library, with the same ids; may be
 *  called from several threads at once. TLM_ERR_REGEX if a custom pattern backtracks without end.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_encode(uint32_t **ids, size_t *n,
                                          const tlm_tokenizer_t *tokenizer, const void *text,
                                          size_t size);

/** How many ids tlm_tokenizer_encode would give, without an array of them. Threads and errors as
 *  there. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_count(uint64_t *n, const tlm_tokenizer_t *tokenizer,
                                         const void *text, size_t size);

/** Decodes to bytes, exactly. *bytes is owned by the caller (tlm_free), NUL-terminated beyond
 *  *size. TLM_ERR_RANGE, with the position, for an id out of range. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_decode(uint8_t **bytes, size_t *size,
                                          const tlm_tokenizer_t *tokenizer, const uint32_t *ids,
                                          size_t n);

/** The same as valid UTF-8: each maximal malformed part becomes U+FFFD, as Python's "replace" and
 *  the Unicode standard (section 3.9) do. *text is owned by the caller (tlm_free), NUL-terminated
 *  beyond *size. Errors as of tlm_tokenizer_decode. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_decode_text(char **text, size_t *size,
                                               const tlm_tokenizer_t *tokenizer,
                                               const uint32_t *ids, size_t n);

/** Replaces malformed UTF-8 by U+FFFD, as tlm_tokenizer_decode_text does, in any bytes. *text is
 *  owned by the caller (tlm_free), NUL-terminated beyond *size. Thread-safe. @since 0.1 */
TLM_API tlm_status_t tlm_utf8_sanitize(char **text, size_t *size, const void *bytes, size_t n);

/** The text in Unicode's Normalization Form C (annex 15 of the standard), in utf8proc's version of
 *  Unicode; malformed bytes stay as they are, and nothing composes across them. *text is owned by
 *  the caller (tlm_free), NUL-terminated beyond *size. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_utf8_nfc(char **text, size_t *size, const void *bytes, size_t n);

/** Receives ids while a stream is encoded, on the calling thread; borrowed until it returns.
 *  Anything but 0 cancels (TLM_ERR_CANCELLED). @since 0.1 */
typedef int32_t (*tlm_ids_callback_t)(void *user, const uint32_t *ids, size_t n);

/** Streaming encoder: the ids are those of the whole text for every way of cutting it; memory does
 *  not grow with the stream, except for one pretoken of any length, and for custom patterns, with
 *  which text is kept up to a special token. Owned by the caller. @since 0.1 */
TLM_API tlm_status_t tlm_encoder_create(tlm_encoder_t **out, const tlm_tokenizer_t *tokenizer,
                                        tlm_ids_callback_t callback, void *user);

/** Takes the next piece of the text, copied as far as it is needed later. TLM_ERR_CANCELLED if the
 *  callback cancels; after any failure the encoder can only be freed. @since 0.1 */
TLM_API tlm_status_t tlm_encoder_push(tlm_encoder_t *encoder, const void *chunk, size_t size);

/** Ends the text: the rest is encoded and the encoder is ready for another text. Errors as of
 *  tlm_encoder_push. @since 0.1 */
TLM_API tlm_status_t tlm_encoder_finish(tlm_encoder_t *encoder);

/** Frees the encoder; text that is not finished is dropped. NULL is fine. @since 0.1 */
TLM_API void tlm_encoder_free(tlm_encoder_t *encoder);

/** Streaming decoder: from ids to valid UTF-8, never half a character. Owned by the caller.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_decoder_create(tlm_decoder_t **out, const tlm_tokenizer_t *tokenizer);

/** Takes one id and gives the characters that are complete, perhaps none, malformed bytes as
 *  U+FFFD. *text, NUL-terminated beyond *size, is borrowed until the next call on this decoder.
 *  TLM_ERR_RANGE for an id out of range. @since 0.1 */
TLM_API tlm_status_t tlm_decoder_push(const char **text, size_t *size, tlm_decoder_t *decoder,
                                      uint32_t id);

/** Flushes what is left, an unfinished character as U+FFFD; *text as above. The decoder is ready
 *  for another text. @since 0.1 */
TLM_API tlm_status_t tlm_decoder_finish(const char **text, size_t *size, tlm_decoder_t *decoder);

/** Frees the decoder. NULL is fine. @since 0.1 */
TLM_API void tlm_decoder_free(tlm_decoder_t *decoder);

#ifdef __cplusplus
}
#endif
#endif
