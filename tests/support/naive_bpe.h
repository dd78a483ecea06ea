/* Byte-level BPE the slow and plain way, to compare the library with: the pattern as a few rules
 * over code points, every pair counted anew before each merge, merges applied one at a time. */
#ifndef TEST_NAIVE_BPE_H
#define TEST_NAIVE_BPE_H

#include <stdbool.h>

#include "tinylm/tokenizer.h"

typedef struct naive_merge {
    uint32_t left, right, product; /* ids */
    uint32_t rank;
} naive_merge_t;

typedef struct naive_bpe {
    tlm_bytes_t *tokens; /* (num_tokens) by id, each its own allocation */
    size_t num_tokens;
    uint32_t *specials; /* (num_specials) ids */
    size_t num_specials;
    naive_merge_t *merges; /* (num_merges) in the order of their ranks */
    naive_merge_t *sorted; /* the same by (left, right), for the encoder */
    size_t num_merges;
    uint32_t byte_ids[256];
    size_t distinct_pretokens;                     /* of the training text */
    size_t dropped_pretokens, dropped_occurrences; /* by max_distinct_pretokens */
} naive_bpe_t;

/* The trainer's options, with its meanings. */
typedef struct naive_options {
    const tlm_bytes_t *specials;
    size_t num_specials;
    size_t vocab_size;
    uint64_t min_frequency;
    size_t max_token_length;
    bool gpt2_order;
    size_t max_distinct_pretokens;
    const naive_bpe_t *base;
} naive_options_t;

/* Bytes of the first pretoken of a text by GPT-2's pattern; at least 1 unless size is 0. A byte
 * that is no part of well-formed UTF-8 is a character that is neither letter, number nor space. */
size_t naive_pretoken(const uint8_t *text, size_t size);

/* Which of the special tokens is the longest that the text starts with; -1 if none is. */
int64_t naive_special(const tlm_bytes_t *specials, size_t n, const uint8_t *text, size_t size);

/* Trains on the documents. Ids: special tokens, bytes, products of merges; or those of the base,
 * special tokens that it lacks, products. */
void naive_train_with(naive_bpe_t *out, const tlm_bytes_t *documents, size_t num_documents,
                      const naive_options_t *options);
void naive_train(naive_bpe_t *out, const tlm_bytes_t *documents, size_t num_documents,
                 const tlm_bytes_t *specials, size_t num_specials, size_t vocab_size,
                 uint64_t min_frequency);

/* Takes over vocabulary and merges, for the encoder. */
void naive_from_tokenizer(naive_bpe_t *out, const tlm_tokenizer_t *tokenizer);
void naive_free(naive_bpe_t *bpe);

/* Ids of a text; freed by the caller. */
uint32_t *naive_encode(size_t *n, const naive_bpe_t *bpe, const uint8_t *text, size_t size);

#endif
