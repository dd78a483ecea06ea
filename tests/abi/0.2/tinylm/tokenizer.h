/* Encoding and decoding with a tlm_tokenizer_t, which bpe_trainer.h trains (byte-level BPE) and
 * tokenizer_files.h opens (other kinds too). Text is bytes with a length. UTF-8 is expected; any
 * other bytes still round-trip with byte-level BPE. docs/tokenizer.md explains how it works. */
#ifndef TINYLM_TOKENIZER_H
#define TINYLM_TOKENIZER_H

#include "options.h"
#include "runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A vocabulary ready for use. Immutable: share it freely between threads. */
typedef struct tlm_tokenizer tlm_tokenizer_t;
/** Encodes a text that arrives in pieces, cut anywhere. Not thread-safe: use each encoder from one
 *  thread at a time. Borrows its tokenizer until it is freed. */
typedef struct tlm_encoder tlm_encoder_t;
/** Decodes ids one at a time to whole characters. Not thread-safe: use each decoder from one thread
 *  at a time. Borrows its tokenizer until it is freed. */
typedef struct tlm_decoder tlm_decoder_t;

/** A byte string: `size` bytes at `data`, which may contain NUL bytes. data may be NULL if size is
 *  0. */
typedef struct tlm_bytes {
    /** The bytes. */
    const uint8_t *data;
    /** Number of bytes. */
    size_t size;
} tlm_bytes_t;

/** GPT-2's pre-tokenization pattern, the default. */
#define TLM_PATTERN_GPT2                                                                           \
    "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/** The pattern of cl100k_base (GPT-4) as in tiktoken 0.14. This one, GPT-2's and those below have
 *  hand-written scanners; any other pattern runs on Oniguruma. @since 0.2 */
#define TLM_PATTERN_CL100K                                                                         \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+|"                          \
    " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"

/** The pattern of o200k_base (GPT-4o) and of Llama 4. @since 0.2 */
#define TLM_PATTERN_O200K                                                                          \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"    \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"    \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"                                                               \
    "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** The pattern of Llama 3 and GLM 4. @since 0.2 */
#define TLM_PATTERN_LLAMA3                                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"                      \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** The pattern of Qwen 2, 2.5 and 3. @since 0.2 */
#define TLM_PATTERN_QWEN2                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"                           \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** The pattern of Qwen 3.5: that of Qwen 2 with marks as letters. @since 0.2 */
#define TLM_PATTERN_QWEN35                                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"                   \
    " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** The pattern of Tekken (Mistral's models since NeMo) and of Nemotron. @since 0.2 */
#define TLM_PATTERN_TEKKEN                                                                         \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"   \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"   \
    "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** The pattern of Kimi, with lookaheads for the intersections of classes in its own spelling, which
 *  is known too. @since 0.2 */
#define TLM_PATTERN_KIMI                                                                           \
    "\\p{Han}+|[^\\r\\n\\p{L}\\p{N}]?"                                                             \
    "(?:(?!\\p{Han})[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])*"                                        \
    "(?:(?!\\p{Han})[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"                 \
    "[^\\r\\n\\p{L}\\p{N}]?(?:(?!\\p{Han})[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])+"                  \
    "(?:(?!\\p{Han})[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"                 \
    "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** The pattern of SmolLM, StarCoder and Command R: single digits, and GPT-2's pattern on the text
 *  between them, as one regular expression. @since 0.2 */
#define TLM_PATTERN_SMOLLM                                                                         \
    "\\p{N}|'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?![^\\s\\p{N}])|\\s+"

/** The three patterns of DeepSeek V3 and R1, each of which splits what the one before left, as one
 *  regular expression. @since 0.2 */
#define TLM_PATTERN_DEEPSEEK_V3                                                                    \
    "\\p{N}{1,3}|[!-/:-@\\[-`{-~][A-Za-z]+|"                                                       \
    "[^\\r\\n\\p{L}\\p{N}\\p{P}\\p{S}\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}]?"                     \
    "(?:(?![\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}])[\\p{L}\\p{M}])+|"                             \
    " ?(?:(?![\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}])[\\p{P}\\p{S}])+[\\r\\n]*|"                  \
    "[\\x{3040}\\x{3097}-\\x{3098}]?"                                                              \
    "(?:(?=[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}])[\\p{L}\\p{M}])+|"                             \
    "(?:(?=[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}])[\\p{P}\\p{S}])+|"                             \
    "[\\x{3040}\\x{3097}-\\x{3098}]+"                                                              \
    "(?!(?=[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}])[\\p{L}\\p{M}])|"                              \
    "\\s*[\\r\\n]+|\\s+(?![^\\s\\p{N}\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}])|\\s+"

/** Returns a pattern by its name: "gpt2", "cl100k", "o200k", "llama3", "qwen2", "qwen3.5",
 *  "tekken", "kimi", "smollm", "deepseek-v3", or one of the other names that tlm_pattern_name
 *  lists. NULL if there is no such name. Static. @since 0.2 */
TLM_API const char *tlm_pattern_by_name(const char *name);

/** Returns name `index` (0, 1, ...) of a pattern; NULL after the last one. Several names may stand
 *  for one pattern. Static. @since 0.2 */
TLM_API const char *tlm_pattern_name(size_t index);

/** What the files of a tokenizer do not say. @since 0.1 */
typedef struct tlm_tokenizer_options {
    /** sizeof(tlm_tokenizer_options_t). */
    size_t size;
    /** Copied; those not in the vocabulary get new ids. */
    const tlm_bytes_t *special_tokens;
    /** Number of special_tokens. */
    size_t num_special_tokens;
    /** Copied; NULL: that of the file, or TLM_PATTERN_GPT2. A rank file does not contain one: see
     *  tlm_tokenizer_load_tiktoken. */
    const char *pattern;
    /** Encodes a pretoken that is itself a token (and not a special one) to that token, even if the
     *  merges would split it, as tiktoken and Llama 3 do. @since 0.2 */
    bool ignore_merges;
    /** Normalizes the text between special tokens to NFC before encoding it, as tlm_utf8_nfc does.
     *  A tokenizer.json with the normalizer NFC, such as Qwen's, sets this itself. @since 0.2 */
    bool nfc;
    uint8_t reserved[6];
    /** The ids that the special tokens must have. Those that the vocabulary lacks are placed there,
     *  in holes or after its end. UINT32_MAX: any id; NULL: any id for all. @since 0.2 */
    const uint32_t *special_token_ids;
} tlm_tokenizer_options_t;

#define TLM_TOKENIZER_OPTIONS_INIT TLM_SIZED(tlm_tokenizer_options_t)

/** Makes a tokenizer from a vocabulary and its merges in memory, all copied. vocab[i] is the
 *  token with id i (size 0: a hole, an id without a token); merges[2k] and merges[2k+1] are the
 *  two sides of merge k, and merge 0 is applied first. options may be NULL. TLM_ERR_FORMAT, with
 *  the position, for duplicate tokens, a vocabulary that lacks one of the 256 bytes, a repeated
 *  merge, or a merge whose sides or product are not in the vocabulary; TLM_ERR_INVALID_ARGUMENT
 *  for special tokens that are empty or given twice; TLM_ERR_REGEX for a bad pattern. Owned by
 *  the caller. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_create(tlm_tokenizer_t **out, const tlm_bytes_t *vocab,
                                          size_t vocab_size, const tlm_bytes_t *merges,
                                          size_t num_merges,
                                          const tlm_tokenizer_options_t *options);

/** Frees the tokenizer. Free the encoders and decoders that borrow it first. NULL is fine.
 *  @since 0.1 */
TLM_API void tlm_tokenizer_free(tlm_tokenizer_t *tokenizer);

/** Frees the memory that the tokenizer keeps between calls: caches of pretokens that make the next
 *  text faster, one per thread that has encoded, at most 256 MiB in all. Never changes a result.
 *  Thread-safe, even while other threads encode. NULL is fine. @since 0.2 */
TLM_API void tlm_tokenizer_trim(const tlm_tokenizer_t *tokenizer);

/** Number of ids, including special tokens and holes: ids are 0 .. vocab_size - 1. 0 for NULL.
 *  @since 0.1 */
TLM_API uint32_t tlm_tokenizer_vocab_size(const tlm_tokenizer_t *tokenizer);

/** Number of merges; 0 for NULL. @since 0.1 */
TLM_API uint32_t tlm_tokenizer_num_merges(const tlm_tokenizer_t *tokenizer);

/** Number of special tokens; 0 for NULL. @since 0.1 */
TLM_API uint32_t tlm_tokenizer_num_special_tokens(const tlm_tokenizer_t *tokenizer);

/** The bytes of a token; *out is borrowed until the tokenizer is freed. TLM_ERR_RANGE if no token
 *  has this id. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_token(tlm_bytes_t *out, const tlm_tokenizer_t *tokenizer,
                                         uint32_t id);

/** The ids of the two sides of merge `index`; merge 0 is applied first. TLM_ERR_RANGE if there
 *  is no such merge. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_merge(uint32_t *left, uint32_t *right,
                                         const tlm_tokenizer_t *tokenizer, uint32_t index);

/** The id of special token `index`, in the order in which they were given. TLM_ERR_RANGE if
 *  there is no such token. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_special_token(uint32_t *id, const tlm_tokenizer_t *tokenizer,
                                                 uint32_t index);

/** The id of the token with exactly these bytes; TLM_ERR_NOT_FOUND if there is none. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_token_id(uint32_t *id, const tlm_tokenizer_t *tokenizer,
                                            const void *bytes, size_t size);

/** Encodes a text. Special tokens are matched first, the longest one at each position. *ids is
 *  owned by the caller (tlm_free), and NULL if *n is 0. Texts shorter than 64 KiB are encoded on
 *  the calling thread, longer ones on all threads of the library; the ids are the same.
 *  Thread-safe. TLM_ERR_REGEX if a custom pattern does not stop backtracking. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_encode(uint32_t **ids, size_t *n,
                                          const tlm_tokenizer_t *tokenizer, const void *text,
                                          size_t size);

/** Does what tlm_tokenizer_encode does, into the caller's array: writes the ids, but at most the
 *  first `capacity`, and sets *n to the number of all ids of the text, which may be larger. A small
 *  text takes no memory but what the tokenizer keeps. If the call fails, what `ids` holds is
 *  unspecified. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_encode_into(uint32_t *ids, size_t capacity, size_t *n,
                                               const tlm_tokenizer_t *tokenizer, const void *text,
                                               size_t size);

/** Counts the ids that tlm_tokenizer_encode would return, without storing them. See there for
 *  threads and errors. @since 0.2 */
TLM_API tlm_status_t tlm_tokenizer_count(uint64_t *n, const tlm_tokenizer_t *tokenizer,
                                         const void *text, size_t size);

/** Decodes ids to bytes: those of their tokens, one after another, or what the decoder of the
 *  tokenizer's file makes of them. Tokens that stand for bytes give exactly these bytes, even if
 *  they are not UTF-8. *bytes is owned by the caller (tlm_free); a NUL follows its *size bytes.
 *  TLM_ERR_RANGE, with the position, for an id that no token has; TLM_ERR_REGEX if a pattern of the
 *  decoder does not stop backtracking. Thread-safe. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_decode(uint8_t **bytes, size_t *size,
                                          const tlm_tokenizer_t *tokenizer, const uint32_t *ids,
                                          size_t n);

/** Decodes ids to valid UTF-8: each maximal malformed part becomes U+FFFD, as with Python's
 *  "replace" and in the Unicode standard (section 3.9). Where the decoder of the tokenizer's file
 *  is ByteFallback, each byte of a run of byte tokens that is not UTF-8 becomes one U+FFFD. *text
 *  is owned by the caller (tlm_free); a NUL follows its *size bytes. See tlm_tokenizer_decode for
 *  errors. Thread-safe. @since 0.1 */
TLM_API tlm_status_t tlm_tokenizer_decode_text(char **text, size_t *size,
                                               const tlm_tokenizer_t *tokenizer,
                                               const uint32_t *ids, size_t n);

/** Replaces malformed UTF-8 with U+FFFD in any bytes, as tlm_tokenizer_decode_text does. *text is
 *  owned by the caller (tlm_free); a NUL follows its *size bytes. Thread-safe. @since 0.1 */
TLM_API tlm_status_t tlm_utf8_sanitize(char **text, size_t *size, const void *bytes, size_t n);

/** Converts a text to Unicode's Normalization Form C (annex 15 of the standard), by the Unicode
 *  version of utf8proc. Malformed bytes stay as they are, and nothing composes across them.
 *  *text is owned by the caller (tlm_free); a NUL follows its *size bytes. Thread-safe.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_utf8_nfc(char **text, size_t *size, const void *bytes, size_t n);

/** Receives ids while a stream is encoded, on the calling thread. The ids are borrowed until it
 *  returns. A return value other than 0 cancels (TLM_ERR_CANCELLED). @since 0.1 */
typedef int32_t (*tlm_ids_callback_t)(void *user, const uint32_t *ids, size_t n);

/** Makes a streaming encoder, owned by the caller. However the text is cut into pieces, the ids
 *  are those of the whole text. Memory does not grow with the stream, with these exceptions: one
 *  pretoken may have any length; if a text can only be cut at special tokens, as with a custom
 *  pattern, the text since the last one is kept; and all of it if special tokens depend on what
 *  surrounds them (see docs/tokenizer.md). @since 0.1 */
TLM_API tlm_status_t tlm_encoder_create(tlm_encoder_t **out, const tlm_tokenizer_t *tokenizer,
                                        tlm_ids_callback_t callback, void *user);

/** Encodes the next piece of the text; what is needed later is copied. TLM_ERR_CANCELLED if the
 *  callback cancels. After any failure the encoder can only be freed. @since 0.1 */
TLM_API tlm_status_t tlm_encoder_push(tlm_encoder_t *encoder, const void *chunk, size_t size);

/** Ends the text: encodes what is left and makes the encoder ready for another text. See
 *  tlm_encoder_push for errors. @since 0.1 */
TLM_API tlm_status_t tlm_encoder_finish(tlm_encoder_t *encoder);

/** Frees the encoder and drops an unfinished text. NULL is fine. @since 0.1 */
TLM_API void tlm_encoder_free(tlm_encoder_t *encoder);

/** Makes a streaming decoder, owned by the caller: it turns ids into the text that
 *  tlm_tokenizer_decode_text gives for all of them, and never returns half a character.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_decoder_create(tlm_decoder_t **out, const tlm_tokenizer_t *tokenizer);

/** Takes one id and returns the characters that are now certain, which may be none; malformed bytes
 *  become U+FFFD. *text is borrowed until the next call on this decoder; a NUL follows its *size
 *  bytes. What the decoder of the tokenizer's file may still change is held back: the byte tokens
 *  of a run until another token comes, and all text if a pattern replaces parts of it as a whole.
 *  TLM_ERR_RANGE for an id that no token has; the decoder is then as before. After any other
 *  failure it may be in the middle of a text: finish or free it. @since 0.1 */
TLM_API tlm_status_t tlm_decoder_push(const char **text, size_t *size, tlm_decoder_t *decoder,
                                      uint32_t id);

/** Ends the text: returns what was held back, an unfinished character as U+FFFD, and makes the
 *  decoder ready for another text. *text is borrowed as above. @since 0.1 */
TLM_API tlm_status_t tlm_decoder_finish(const char **text, size_t *size, tlm_decoder_t *decoder);

/** Frees the decoder. NULL is fine. @since 0.1 */
TLM_API void tlm_decoder_free(tlm_decoder_t *decoder);

#ifdef __cplusplus
}
#endif
#endif
