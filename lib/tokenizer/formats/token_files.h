/* Vocabulary files from within: what their formats share. */
#ifndef TLMI_TOKEN_FILES_H
#define TLMI_TOKEN_FILES_H

#include "tinylm/export.h"
#include "base/json.h"
#include "formats/gguf.h"
#include "tinylm/tokenizer.h"
#include "tokenizer/tokenizer_core.h"
#include "tokenizer/bpe/bpe.h"

/* GPT-2's byte alphabet: one printable character for each byte, so that tokens can stand in text
 * files. Bytes that are printable in Latin-1 stand for themselves, the others for U+0100 and on. */

/* Writes bytes as characters, UTF-8; out has room for 2 * size bytes. Returns the bytes written. */
size_t tlmi_bytes_to_alphabet(char *out, const uint8_t *bytes, size_t size);

/* The way back; out has room for `size` bytes. False, with *size_out the offset of the first
 * character that is not in the alphabet, if there is one. */
bool tlmi_alphabet_to_bytes(uint8_t *out, size_t *size_out, const char *text, size_t size);

/* The 256 bytes in the order of their characters, which is that of GPT-2's vocabulary. */
void tlmi_alphabet_order(uint8_t *order);

/* Tokens on their way from a file into a tokenizer: byte strings by id, and what the formats that write
 * them in the byte alphabet share. */

typedef struct tlmi_token_list {
    tlm_bytes_t *items; /* size 0: a hole */
    size_t n;
    size_t capacity;
    uint8_t *bytes; /* a block for the tokens that are decoded */
    size_t bytes_size;
} tlmi_token_list_t;

/* A list with a block of `room` bytes: the size of a file will do, for no token is longer decoded than
 * written. One of zeros may be released. */
tlm_status_t tlmi_token_list_init(tlmi_token_list_t *list, size_t room);
void tlmi_token_list_release(tlmi_token_list_t *list);

/* Decodes a token of the byte alphabet into the block; false, with *at the offset, where a character is
 * not in the alphabet. */
bool tlmi_token_list_decode(tlm_bytes_t *out, size_t *at, tlmi_token_list_t *list, const char *text,
                            size_t size);

tlm_status_t tlmi_token_list_append(tlmi_token_list_t *list, tlm_bytes_t token);

/* The greatest id, less one, that a file of `n` tokens may have: real vocabularies have few holes, and
 * a hostile one must not make us allocate gigabytes. */
size_t tlmi_token_list_limit(size_t n);

/* Makes the list reach place `id` < `limit`, with holes, and gives the place. The messages begin
 * "<path>: <kind> <name>": that the id is out of range, or that another token has it. */
tlm_status_t tlmi_token_list_place(tlm_bytes_t **place, tlmi_token_list_t *list, int64_t id,
                                   size_t limit, const char *path, const char *kind,
                                   const char *name);

/* Makes a list and calls read_line for each line of a file that is not empty: its bytes without "\n" or
 * "\r\n", its number from 1 on, and the size of the file. */
typedef tlm_status_t (*tlmi_read_line_fn)(tlmi_token_list_t *list, const uint8_t *line, size_t size,
                                          size_t number, size_t file_size, const char *path);
tlm_status_t tlmi_token_list_read_lines(tlmi_token_list_t *list, const char *path,
                                        tlmi_read_line_fn read_line);

/* Reads an object from tokens to ids. A name outside the byte alphabet is an error, or where
 * `or_itself`, stands for its own bytes. */
tlm_status_t tlmi_token_list_read_vocab(tlmi_token_list_t *list, const tlmi_json_t *object,
                                        bool or_itself, const char *path);

/* Appends the two sides of a merge, "left right". `kind` and `number` say for messages where it stands:
 * "<path>: <kind> <number> ...". */
tlm_status_t tlmi_token_list_read_merge(tlmi_token_list_t *list, const char *text, size_t size,
                                        const char *path, const char *kind, size_t number);

/* Puts the special tokens whose ids the options tell at their places; they have to outlive the list.
 * `what` begins the messages. */
tlm_status_t tlmi_token_list_place_special(tlmi_token_list_t *list,
                                           const tlm_tokenizer_options_t *options,
                                           const char *what);

/* A token in the byte alphabet, NUL-terminated, in a buffer that grows; tlmi_free(text). */
typedef struct tlmi_spelling {
    char *text;
    size_t size;
    size_t capacity;
} tlmi_spelling_t;

tlm_status_t tlmi_spell(tlmi_spelling_t *out, tlm_bytes_t token);

/* How tokenizer.json and GGUF name the tokens of a vocabulary: special tokens that no merge makes as they
 * are, all others in the byte alphabet. */

typedef struct tlmi_token_names {
    const tlm_tokenizer_t *tokenizer;
    const tlmi_bpe_model_t *model;
    tlmi_spelling_t spelling;
    bool *is_raw; /* [id]: named as it is */
} tlmi_token_names_t;

/* TLM_ERR_UNSUPPORTED, with a message that begins with `what`, if the model is not BPE, or a special
 * token would be taken for another token or is not UTF-8 without NUL. Released also on failure. */
tlm_status_t tlmi_token_names_init(tlmi_token_names_t *names, const tlm_tokenizer_t *tokenizer,
                                   const char *what);
void tlmi_token_names_release(tlmi_token_names_t *names);

/* The name of a token, NUL-terminated unless it is raw; borrowed until the next call. */
tlm_status_t tlmi_token_name(const char **text, size_t *size, tlmi_token_names_t *names,
                             uint32_t id);

/* Whether a merge can be written: one of raw tokens never applies, and its sides are not in the
 * alphabet. */
bool tlmi_merge_has_names(const tlmi_token_names_t *names, const tlmi_merge_t *merge);

/* The pre-tokenization patterns as tokenizer.json spells them. */

/* The library's spelling of a pattern from a file: a known one's, or the pattern itself. */
const char *tlmi_hf_pattern_read(const char *pattern);

/* The other way. */
const char *tlmi_hf_pattern_write(const char *pattern);

/* Whether the library's spelling is of a known pattern; these leave no part of a text unmatched. */
bool tlmi_hf_pattern_is_known(const char *pattern);

/* From ranks to merges. A rank file (tiktoken's format) orders tokens and names no pairs: of all
 * neighbors whose bytes together are a token, the two that make the token of lowest rank are joined.
 * Merges by pair do the same; rank_merges.c says why. */

/* Makes the merges of a vocabulary whose ids are ranks: for each token that can be made by joining, its
 * one pair, in order of ids. byte_ids: those of the 256 one-byte tokens. `leave_out`
 * says by id which tokens have no part in it. */
tlm_status_t tlmi_rank_merges(tlmi_merge_table_t *out, const tlmi_vocabulary_t *vocabulary,
                              const uint32_t byte_ids[256], const bool *leave_out);

/* Tokenizers in GGUF files. */

/* Writes a tokenizer (NULL: that there is none) for a model of vocab_size tokens. */
tlm_status_t tlmi_gguf_put_tokenizer(tlmi_gguf_writer_t *writer, const tlm_tokenizer_t *tokenizer,
                                     int64_t vocab_size);

/* Makes the tokenizer of a file, *out NULL if it has none. Owned. */
tlm_status_t tlmi_gguf_read_tokenizer(tlm_tokenizer_t **out, const tlmi_gguf_t *file,
                                      const char *path);

#endif
