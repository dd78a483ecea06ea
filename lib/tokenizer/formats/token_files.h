/* Internals of vocabulary files: what their formats share. */
#ifndef TLMI_TOKEN_FILES_H
#define TLMI_TOKEN_FILES_H

#include "tinylm/export.h"
#include "base/json.h"
#include "formats/gguf.h"
#include "tinylm/tokenizer.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/tokenizer_core.h"
#include "tokenizer/bpe/bpe.h"

/* Tokens read from a file, before they become a tokenizer: byte strings by id. The formats that use
 * the byte alphabet share these functions. */

typedef struct tlmi_token_list {
    tlm_bytes_t *items; /* a size of 0 is a hole */
    size_t n;
    size_t capacity;
    uint8_t *bytes; /* a block for decoded tokens */
    size_t bytes_size;
} tlmi_token_list_t;

/* Makes a list with a block of `room` bytes. The size of the file is enough, because no token is
 * longer decoded than written. A zeroed list may be released. */
tlm_status_t tlmi_token_list_init(tlmi_token_list_t *list, size_t room);
void tlmi_token_list_release(tlmi_token_list_t *list);

/* Decodes a token of the byte alphabet into the block. If a character is not in the alphabet,
 * returns false and sets *at to its offset. */
bool tlmi_token_list_decode(tlm_bytes_t *out, size_t *at, tlmi_token_list_t *list, const char *text,
                            size_t size);

tlm_status_t tlmi_token_list_append(tlmi_token_list_t *list, tlm_bytes_t token);

/* Returns the upper limit (exclusive) of the ids in a file of `n` tokens. Real vocabularies have
 * few holes, and a hostile one must not make us allocate gigabytes. */
size_t tlmi_token_list_limit(size_t n);

/* Extends the list to `id`, which must be below `limit`, with holes, and returns that place. If the
 * id is out of range or another token has it, the message begins with "<path>: <kind> <name>". */
tlm_status_t tlmi_token_list_place(tlm_bytes_t **place, tlmi_token_list_t *list, int64_t id,
                                   size_t limit, const char *path, const char *kind,
                                   const char *name);

/* Makes a list and calls read_line for each nonempty line of a file, with its bytes without "\n" or
 * "\r\n", its number, counted from 1, and the size of the file. */
typedef tlm_status_t (*tlmi_read_line_fn)(tlmi_token_list_t *list, const uint8_t *line, size_t size,
                                          size_t number, size_t file_size, const char *path);
tlm_status_t tlmi_token_list_read_lines(tlmi_token_list_t *list, const char *path,
                                        tlmi_read_line_fn read_line);

/* Reads an object from tokens to ids. A name outside the byte alphabet is an error, unless
 * `or_itself` is set: then it stands for its own bytes. */
tlm_status_t tlmi_token_list_read_vocab(tlmi_token_list_t *list, const tlmi_json_t *object,
                                        bool or_itself, const char *path);

/* Appends the two sides of a merge, "left right". Messages locate it by `kind` and `number`:
 * "<path>: <kind> <number> ...". */
tlm_status_t tlmi_token_list_read_merge(tlmi_token_list_t *list, const char *text, size_t size,
                                        const char *path, const char *kind, size_t number);

/* Places the special tokens for which the options give an id. Their bytes must outlive the list.
 * Messages begin with `what`. */
tlm_status_t tlmi_token_list_place_special(tlmi_token_list_t *list,
                                           const tlm_tokenizer_options_t *options,
                                           const char *what);

/* A token in the byte alphabet, NUL-terminated, in a growing buffer. Release it with
 * tlmi_free(text). */
typedef struct tlmi_spelling {
    char *text;
    size_t size;
    size_t capacity;
} tlmi_spelling_t;

tlm_status_t tlmi_spell(tlmi_spelling_t *out, tlm_bytes_t token);

/* How tokenizer.json and GGUF name the tokens of a vocabulary: special tokens that no merge makes
 * are written as plain text, all others in the byte alphabet. */

typedef struct tlmi_token_names {
    const tlm_tokenizer_t *tokenizer;
    const tlmi_bpe_model_t *model;
    tlmi_spelling_t spelling;
    bool *is_raw; /* [id]: the name is the token itself */
} tlmi_token_names_t;

/* Fails with TLM_ERR_UNSUPPORTED, and a message that begins with `what`, if the model is not BPE,
 * or if a special token would be read as another token or is not UTF-8 without NUL. Must be
 * released even on failure. */
tlm_status_t tlmi_token_names_init(tlmi_token_names_t *names, const tlm_tokenizer_t *tokenizer,
                                   const char *what);
void tlmi_token_names_release(tlmi_token_names_t *names);

/* Returns the name of a token, NUL-terminated unless it is raw. It is borrowed until the next
 * call. */
tlm_status_t tlmi_token_name(const char **text, size_t *size, tlmi_token_names_t *names,
                             uint32_t id);

/* Returns whether a merge can be written. A merge of raw tokens cannot: it never applies, and its
 * sides are not in the alphabet. */
bool tlmi_merge_has_names(const tlmi_token_names_t *names, const tlmi_merge_t *merge);

/* The pre-tokenization patterns as tokenizer.json spells them. */

/* Returns the library's spelling of a pattern from a file; an unknown pattern is returned as it
 * is. */
const char *tlmi_hf_pattern_read(const char *pattern);

/* The inverse. */
const char *tlmi_hf_pattern_write(const char *pattern);

/* Returns whether the pattern, in the library's spelling, is known and leaves no part of a text
 * unmatched. */
bool tlmi_hf_pattern_is_known(const char *pattern);

/* Returns the scanner for n pre-tokenizers in a Sequence, of which each is a Split that isolates
 * the matches of a pattern, in the file's spelling: "\p{N}" for Digits of individual digits,
 * "\p{N}+" for Digits, GPT-2's for ByteLevel with its regular expression. NULL if they are no known
 * chain. */
const struct tlmi_scanner *tlmi_hf_scanner_find(const char *const *patterns, size_t n);

/* From ranks to merges. A rank file (tiktoken's format) orders tokens and names no pairs: of all
 * neighbors whose bytes together are a token, the two that make the token with the lowest rank are
 * joined. Merges by pair do the same; rank_merges.c says why. */

/* Makes the merges of a vocabulary whose ids are ranks: one pair for each token that can be made by
 * joining, in order of ids. byte_ids holds the ids of the 256 one-byte tokens. `leave_out` marks,
 * by id, the tokens that take no part. */
tlm_status_t tlmi_rank_merges(tlmi_merge_table_t *out, const tlmi_vocabulary_t *vocabulary,
                              const uint32_t byte_ids[256], const bool *leave_out);

/* Makes a tokenizer of tokens whose ids are in the order of ranks. Tokens whose bytes are not in
 * the list's block are special tokens. */
tlm_status_t tlmi_rank_tokenizer_build(tlm_tokenizer_t **out, const tlmi_token_list_t *list,
                                       const char *path, const tlm_tokenizer_options_t *options);

/* Writes the line of a rank file for a token in one or more pieces. */
typedef tlm_status_t (*tlmi_rank_writer_fn)(void *context, const void *bytes, size_t size);
tlm_status_t tlmi_rank_line_write(tlmi_rank_writer_fn write, void *context, tlm_bytes_t token,
                                  uint32_t rank);

/* What a published rank file does not say. */

typedef struct tlmi_known_ranks tlmi_known_ranks_t;

/* Returns what is known about the vocabulary of a rank file; NULL if it is not a published one. */
const tlmi_known_ranks_t *tlmi_known_ranks_find(const tlmi_token_list_t *list);

/* Returns published vocabulary `index` (0, 1, ...); NULL after the last one. */
const tlmi_known_ranks_t *tlmi_known_ranks_get(size_t index);

/* Special tokens with their ids. Zeroed, it may be released. */
typedef struct tlmi_known_special {
    tlm_bytes_t *tokens;
    uint32_t *ids;
    char *names;
    size_t n;
} tlmi_known_special_t;

/* Sets the pattern, NFC and, unless the options have some, the special tokens. `special`, which is
 * zeroed, must outlive the options and be released even on failure. */
tlm_status_t tlmi_known_ranks_apply(tlm_tokenizer_options_t *options, tlmi_known_special_t *special,
                                    const tlmi_known_ranks_t *known);
void tlmi_known_special_release(tlmi_known_special_t *special);

/* The special and other added tokens of a tokenizer that is being read. Their bytes are
 * borrowed. */

typedef struct tlmi_special_list {
    tlm_bytes_t *tokens;
    uint32_t *ids;
    uint8_t *flags; /* TLMI_TOKEN_... */
    size_t n;
    size_t tokens_capacity, ids_capacity, flags_capacity;
    tlmi_vocabulary_t index; /* a file may have a hundred thousand: each one's index in `tokens` */
} tlmi_special_list_t;

/* A zeroed list is empty. */
void tlmi_special_list_release(tlmi_special_list_t *list);

tlm_status_t tlmi_special_list_add(tlmi_special_list_t *list, tlm_bytes_t token, uint32_t id,
                                   uint8_t flags);

/* Returns the index of a token, or TLMI_NO_TOKEN. */
static inline uint32_t tlmi_special_list_find(const tlmi_special_list_t *list, tlm_bytes_t token)
{
    return tlmi_vocabulary_find(&list->index, token.data, token.size);
}

/* Adds the special tokens of options. Those that the vocabulary lacks are appended to it; added
 * tokens of the file become special ones. Messages begin with `what`. */
tlm_status_t tlmi_special_list_add_options(tlmi_special_list_t *list, tlmi_vocabulary_t *vocabulary,
                                           const tlm_tokenizer_options_t *options,
                                           const char *what);

/* Lends a list to the parts of a tokenizer. */
static inline void tlmi_special_list_use(tlmi_tokenizer_parts_t *parts,
                                         const tlmi_special_list_t *list)
{
    parts->special = list->tokens;
    parts->special_ids = list->ids;
    parts->special_flags = list->flags;
    parts->num_special = list->n;
}

/* Fails if an option that says how texts are split is set, because the file says it. */
tlm_status_t tlmi_refuse_splitting_options(const tlm_tokenizer_options_t *options, const char *path,
                                           const char *kind);

/* SentencePiece models, in their own files and in others. */

typedef struct tlmi_piece_list {
    tlm_bytes_t *pieces; /* borrowed; a size of 0 is a hole */
    float *scores;
    uint8_t *types; /* TLMI_PIECE_... */
    size_t n;
    size_t pieces_capacity, scores_capacity, types_capacity;
} tlmi_piece_list_t;

/* A zeroed list is empty. */
void tlmi_piece_list_release(tlmi_piece_list_t *list);

tlm_status_t tlmi_piece_list_add(tlmi_piece_list_t *list, tlm_bytes_t piece, float score,
                                 uint8_t type);

typedef struct tlmi_piece_spec {
    bool is_unigram; /* otherwise BPE */
    bool byte_fallback;
    bool symbols_in_raw; /* user-defined pieces are found in the text before it is normalized, and
                            separate pieces of text, as in llama.cpp */
    uint32_t unk_id;     /* TLMI_NO_TOKEN if there is none */
    tlm_bytes_t unk_surface;
    uint32_t bos_id, eos_id;                 /* of the template; TLMI_NO_TOKEN if there is none */
    tlmi_sentencepiece_spec_t normalization; /* without symbols */
} tlmi_piece_spec_t;

tlm_status_t tlmi_piece_tokenizer_create(tlm_tokenizer_t **out, const char *path,
                                         const tlmi_piece_list_t *list,
                                         const tlmi_piece_spec_t *spec,
                                         const tlm_tokenizer_options_t *options);

/* BERT's tokenizer. The list has BERT's names of tokens ("##ing"); scores do not matter. */

typedef struct tlmi_bert_spec {
    bool lowercase, strip_accents, splits_ideographs;
    uint32_t unk_id;         /* must be a token */
    uint32_t cls_id, sep_id; /* before and after a text; TLMI_NO_TOKEN if there is none */
} tlmi_bert_spec_t;

tlm_status_t tlmi_bert_tokenizer_create(tlm_tokenizer_t **out, const char *path,
                                        const tlmi_piece_list_t *list, const tlmi_bert_spec_t *spec,
                                        const tlm_tokenizer_options_t *options);

/* Make tokenizers of the files that tlm_tokenizer_open finds by their content. */
bool tlmi_is_tekken(const void *head, size_t size); /* for a JSON file */
tlm_status_t tlmi_tekken_load(tlm_tokenizer_t **out, const char *path,
                              const tlm_tokenizer_options_t *options);
tlm_status_t tlmi_vocab_txt_load(tlm_tokenizer_t **out, const char *path,
                                 const tlm_tokenizer_options_t *options);
tlm_status_t tlmi_sentencepiece_load(tlm_tokenizer_t **out, const char *path,
                                     const tlm_tokenizer_options_t *options);

/* A tokenizer.json in memory. The caller owns *out; messages of writing begin with `what`, those of
 * reading with `path`. See tlm_tokenizer_save_json and tlm_tokenizer_load_json for errors. */
tlm_status_t tlmi_tokenizer_write_json(char **out, size_t *size, const tlm_tokenizer_t *tokenizer,
                                       const char *what);
tlm_status_t tlmi_tokenizer_read_json(tlm_tokenizer_t **out, const void *bytes, size_t size,
                                      const char *path);

/* Tokenizers in GGUF files. */

/* Writes a tokenizer for a model of vocab_size tokens. NULL records that there is none. */
tlm_status_t tlmi_gguf_put_tokenizer(tlmi_gguf_writer_t *writer, const tlm_tokenizer_t *tokenizer,
                                     int64_t vocab_size);

/* Makes the tokenizer of a file; *out is NULL if the file has none. Options may be NULL. The caller
 * owns it. */
tlm_status_t tlmi_gguf_read_tokenizer(tlm_tokenizer_t **out, const tlmi_gguf_t *file,
                                      const char *path, const tlm_tokenizer_options_t *options);

/* The same for the file at a path, which must have a tokenizer. */
tlm_status_t tlmi_gguf_load_tokenizer(tlm_tokenizer_t **out, const char *path,
                                      const tlm_tokenizer_options_t *options);

/* How a byte-level BPE tokenizer splits texts, by its name in "tokenizer.ggml.pre". */
#define TLMI_GGUF_MAX_PATTERNS 6

typedef struct tlmi_gguf_splitting {
    const char *name;   /* written */
    const char *others; /* read too; separated by spaces. NULL if there are none */
    const char *patterns[TLMI_GGUF_MAX_PATTERNS]; /* each splits what the one before left */
    bool ignores_merges;
    bool adds_bos; /* unless the file says otherwise */
} tlmi_gguf_splitting_t;

/* Returns NULL if the name is unknown. */
const tlmi_gguf_splitting_t *tlmi_gguf_splitting_find(const char *name, size_t size);

/* Returns a splitting by this pattern alone, or NULL. */
const tlmi_gguf_splitting_t *tlmi_gguf_splitting_of(const char *pattern);

tlm_status_t tlmi_gguf_splitting_make(tlmi_pretokenizer_t **out,
                                      const tlmi_gguf_splitting_t *splitting);

/* Tokenizers of SentencePiece's kinds: models "llama", with which `is_unigram` is not set, and
 * "t5". */
tlm_status_t tlmi_gguf_read_pieces(tlm_tokenizer_t **out, const tlmi_gguf_t *file, const char *path,
                                   bool is_unigram, const tlm_tokenizer_options_t *options);

/* What the readers of GGUF tokenizers share. The tokens of a file, with types (TLMI_PIECE_...) and
 * scores, which are 0 if the file has none. */
tlm_status_t tlmi_gguf_read_tokens(tlmi_piece_list_t *list, const tlmi_gguf_t *file,
                                   const char *path);

/* Reads the id of a special token; `missing` if the file lacks it or it is no token's. */
uint32_t tlmi_gguf_token_id(const tlmi_gguf_t *file, const char *key, uint32_t missing,
                            size_t num_tokens);
bool tlmi_gguf_flag(const tlmi_gguf_t *file, const char *key, bool missing);

/* Tokens that the files beside a tokenizer name: tokenizer_config.json, added_tokens.json and
 * special_tokens_map.json (hf_companions.c). */

typedef struct tlmi_companion {
    tlm_bytes_t bytes; /* borrowed from the files */
    int64_t id;        /* -1: none is given */
    uint8_t flags;     /* TLMI_TOKEN_... */
} tlmi_companion_t;

typedef struct tlmi_companions {
    const char *path; /* of the tokenizer */
    tlmi_json_t *config, *added, *roles;
    tlmi_companion_t *tokens; /* those with ids first, ascending */
    size_t n, capacity;
    tlmi_vocabulary_t index; /* finds a token's place in `tokens` */
} tlmi_companions_t;

/* Reads the files beside `path`, none of which need exist. On failure there is nothing to
 * release. */
tlm_status_t tlmi_companions_read(tlmi_companions_t *out, const char *path);
void tlmi_companions_release(tlmi_companions_t *companions);

#endif
