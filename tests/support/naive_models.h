/* Subword models written as plainly as possible, for comparison: every token is found by looking
 * through all of them. */
#ifndef TEST_NAIVE_MODELS_H
#define TEST_NAIVE_MODELS_H

#include "tokenizer/bpe/bpe.h"

#define NAIVE_TOKENS     400
#define NAIVE_TOKEN_SIZE 48
#define NAIVE_MERGES     64
#define NAIVE_FAILURE    SIZE_MAX

typedef struct naive_vocab {
    uint8_t bytes[NAIVE_TOKENS][NAIVE_TOKEN_SIZE];
    size_t sizes[NAIVE_TOKENS];
    uint32_t n;
} naive_vocab_t;

typedef struct naive_merges {
    uint32_t left[NAIVE_MERGES], right[NAIVE_MERGES];
    size_t n;
} naive_merges_t;

uint32_t naive_find(const naive_vocab_t *vocab, const uint8_t *bytes, size_t size);

/* Adds a token unless it is there or too long. Returns its id, or TLMI_NO_TOKEN if it is too long. */
uint32_t naive_add(naive_vocab_t *vocab, const uint8_t *bytes, size_t size);

/* Each encodes one pretoken, for which `ids` has room, and returns the number of ids, or
 * NAIVE_FAILURE. */
size_t naive_encode_bpe(uint32_t *ids, const naive_vocab_t *vocab, const naive_merges_t *merges,
                        const tlmi_bpe_options_t *options, const uint8_t *text, size_t size);
size_t naive_encode_bpe_pieces(uint32_t *ids, const naive_vocab_t *vocab,
                               const tlmi_pieces_t *pieces, const uint8_t *text, size_t size);
size_t naive_encode_wordpiece(uint32_t *ids, const naive_vocab_t *vocab,
                              const tlmi_wordpiece_options_t *options, const uint8_t *text,
                              size_t size);
size_t naive_encode_unigram(uint32_t *ids, const naive_vocab_t *vocab,
                            const tlmi_unigram_options_t *options, const uint8_t *text,
                            size_t size);
size_t naive_encode_unigram_pieces(uint32_t *ids, const naive_vocab_t *vocab,
                                   const tlmi_pieces_t *pieces, const uint8_t *text, size_t size);

#endif
