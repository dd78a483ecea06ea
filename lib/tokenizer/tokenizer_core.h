/* Internals of the tokenizer: its vocabulary, and what encoding and decoding share. */
#ifndef TLMI_TOKENIZER_CORE_H
#define TLMI_TOKENIZER_CORE_H

#include "tinylm/encode.h"
#include "tokenizer/decode/decoders.h"
#include "tokenizer/pretoken_cache.h"
#include "tokenizer/pretokenize/pretokenize.h"
#include "tokenizer/subword_model.h"

/* A vocabulary: byte strings numbered from 0, and an index from bytes to numbers. */

#define TLMI_NO_TOKEN UINT32_MAX

/* At least this many bytes are readable from the start of any token, whatever its size. */
#define TLMI_VOCABULARY_SLACK 16

typedef struct tlmi_vocabulary {
    uint8_t *bytes; /* of all tokens, concatenated */
    size_t bytes_size;
    size_t bytes_capacity;
    size_t *ends; /* (size): where each token ends in `bytes`, and the next one begins */
    size_t ends_capacity;
    uint32_t size;    /* ids in use, holes included */
    uint32_t *slots;  /* hash table with open addressing: an id, or TLMI_NO_TOKEN if free */
    size_t num_slots; /* a power of two, or 0 */
} tlmi_vocabulary_t;

/* A zeroed vocabulary is empty. */
void tlmi_vocabulary_release(tlmi_vocabulary_t *vocabulary);

/* Appends a token, which must not be in the vocabulary yet. Size 0 makes a hole: an id without a
 * token. */
tlm_status_t tlmi_vocabulary_add(tlmi_vocabulary_t *vocabulary, const uint8_t *bytes, size_t size);

/* Appends a token, size >= 1, that tlmi_vocabulary_find does not find: another one may have the
 * same bytes. */
tlm_status_t tlmi_vocabulary_add_hidden(tlmi_vocabulary_t *vocabulary, const uint8_t *bytes,
                                        size_t size);

/* Appends a token with the bytes of `twin`, which tlmi_vocabulary_find no longer finds. */
tlm_status_t tlmi_vocabulary_add_over(tlmi_vocabulary_t *vocabulary, uint32_t twin);

/* Sets the id of the concatenation of two tokens, and appends it if it is not in the vocabulary
 * yet. */
tlm_status_t tlmi_vocabulary_join(uint32_t *id, tlmi_vocabulary_t *vocabulary, uint32_t left,
                                  uint32_t right);

/* Returns the id of the token with these bytes, or TLMI_NO_TOKEN. */
uint32_t tlmi_vocabulary_find(const tlmi_vocabulary_t *vocabulary, const uint8_t *bytes,
                              size_t size);

static inline tlm_bytes_t tlmi_vocabulary_token(const tlmi_vocabulary_t *vocabulary, uint32_t id)
{
    size_t start = id == 0 ? 0 : vocabulary->ends[id - 1];

    return (tlm_bytes_t){vocabulary->bytes + start, vocabulary->ends[id] - start};
}

/* What writing a tokenizer.json needs to know of the file from which a byte-level tokenizer was
 * read. */
typedef struct tlmi_json_source {
    char *components;    /* members from "normalizer" to "decoder", and "truncation", "padding" */
    char *model_options; /* the members of "model" except for "vocab" and "merges" */
    uint32_t *raw_ids;   /* of tokens whose names are not in the byte alphabet */
    size_t num_raw_ids;
} tlmi_json_source_t;

void tlmi_json_source_free(tlmi_json_source_t *source); /* accepts NULL */

/* The ids that a tokenizer puts around a text if the caller asks for it. Files call this the
 * post-processor: TemplateProcessing, BertProcessing, RobertaProcessing. */
typedef struct tlmi_template {
    size_t num_before, num_after;
    const uint32_t *before, *after; /* owned, in one block with this struct */
} tlmi_template_t;

/* Copies the ids, which must be ids of the tokenizer. */
tlm_status_t tlmi_template_create(tlmi_template_t **out, const uint32_t *before, size_t num_before,
                                  const uint32_t *after, size_t num_after);
void tlmi_template_free(tlmi_template_t *ids); /* accepts NULL */

/* What a tokenizer.json says about the lengths of rows of ids: its "truncation" and "padding". */
typedef struct tlmi_row_limits {
    bool truncates;
    size_t max_length;   /* of a row with its template */
    bool truncates_left; /* at the beginning of the text's ids */
    bool pads;
    size_t pad_length;   /* 0: that of the longest row */
    size_t pad_multiple; /* rows are padded to a multiple of it; 0 and 1: any length */
    bool pads_left;      /* before the row */
    uint32_t pad_id;
} tlmi_row_limits_t;

/* A tokenizer. Immutable once made, except for its caches, which do not affect results. */

struct tlm_tokenizer {
    tlmi_vocabulary_t vocabulary;
    tlmi_special_tokens_t *special;
    uint32_t *special_ids;               /* by index in `special` */
    uint32_t *special_by_id;             /* the indices, sorted by id */
    const tlmi_normalizer_t *normalizer; /* NULL if there is none */
    tlmi_pretokenizer_t *pretokenizer;
    tlmi_subword_model_t *model;
    tlmi_decoder_t *decoder;    /* NULL: the text is the concatenation of the bytes of the tokens */
    tlmi_template_t *template;  /* the ids around a text; NULL if there are none */
    tlmi_json_source_t *source; /* NULL if it was not read from a tokenizer.json */
    double dropout;             /* of encoding unless the caller says otherwise */
    tlmi_row_limits_t limits;   /* of rows unless the caller wants whole texts */
    tlmi_memory_pool_t *memory; /* the only part that changes: idle caches of pretokens */
};

/* The parts of a tokenizer, except for its model. */
typedef struct tlmi_tokenizer_parts {
    tlmi_vocabulary_t vocabulary;
    const tlmi_normalizer_t *normalizer; /* NULL: none */
    tlmi_pretokenizer_t *pretokenizer;
    tlmi_decoder_t *decoder;    /* NULL: see tlm_tokenizer */
    tlmi_template_t *template;  /* NULL: none */
    tlmi_json_source_t *source; /* NULL: none */
    double dropout;
    tlmi_row_limits_t limits;
    /* The special tokens; borrowed. */
    const tlm_bytes_t *special;
    const uint32_t *special_ids;  /* NULL: those that the vocabulary lacks are appended to it */
    const uint8_t *special_flags; /* TLMI_TOKEN_...; may be NULL */
    size_t num_special;
} tlmi_tokenizer_parts_t;

void tlmi_tokenizer_parts_release(tlmi_tokenizer_parts_t *parts);

/* Makes a tokenizer that is complete except for its model. Consumes the parts even on failure.
 * Error messages begin with `what`, as everywhere here. The caller calls tlmi_tokenizer_finish or
 * frees the tokenizer. */
tlm_status_t tlmi_tokenizer_start_parts(tlm_tokenizer_t **out, const char *what,
                                        tlmi_tokenizer_parts_t *parts);

/* The same with special tokens, normalizer and pretokenizer from options. Consumes the vocabulary
 * even on failure. */
tlm_status_t tlmi_tokenizer_start(tlm_tokenizer_t **out, const char *what,
                                  tlmi_vocabulary_t *vocabulary,
                                  const tlm_tokenizer_options_t *options);

/* Sets the model, which is consumed even on failure. */
tlm_status_t tlmi_tokenizer_finish(tlm_tokenizer_t *tokenizer, tlmi_subword_model_t *model);

/* Returns the index of the special token with an id; SIZE_MAX if there is none. */
size_t tlmi_tokenizer_find_special(const tlm_tokenizer_t *tokenizer, uint32_t id);

/* Copies a caller's options, which may be NULL, into the library's own struct and checks them. */
tlm_status_t tlmi_tokenizer_read_options(tlm_tokenizer_options_t *out, const char *what,
                                         const tlm_tokenizer_options_t *options);

/* tlm_tokenizer_create after it has checked its arguments. */
tlm_status_t tlmi_tokenizer_build(tlm_tokenizer_t **out, const char *what, const tlm_bytes_t *vocab,
                                  size_t vocab_size, const tlm_bytes_t *merges, size_t num_merges,
                                  const tlm_tokenizer_options_t *options);

/* Fills an empty vocabulary with byte strings; those of size 0 become holes. */
tlm_status_t tlmi_tokenizer_copy_vocabulary(tlmi_vocabulary_t *out, const char *what,
                                            const tlm_bytes_t *vocab, size_t vocab_size);

/* Decodes one row; its ids and options were checked to be there. Messages begin with `function`. */
tlm_status_t tlmi_decode_row(uint8_t **bytes, size_t *size, const char *function,
                             const tlm_tokenizer_t *tokenizer, const uint32_t *ids, size_t n,
                             const tlm_decode_options_t *options);

/* Decoding without a decoder, in two steps: measure the bytes, then copy them (decode.c). */

/* Sums the sizes of tokens. Returns false if an id has no token, with its position in *bad, or if
 * the sum overflows, with n in *bad. */
bool tlmi_measure_ids(size_t *size, size_t *bad, const tlmi_vocabulary_t *vocabulary,
                      const uint32_t *ids, size_t n);

/* Writes the `size` bytes that tlmi_measure_ids counted. */
void tlmi_copy_tokens(uint8_t *to, size_t size, const tlmi_vocabulary_t *vocabulary,
                      const uint32_t *ids, size_t n);

#endif
