/* Random numbers as pure functions of (seed, stream, offset): Philox4x32-10, Salmon et al.,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011. There is no state to save: a resumed
 * run asks for the next offset. */
#ifndef TLMI_RNG_H
#define TLMI_RNG_H

#include "tinylm/runtime.h"

/* Streams in use. Each purpose has its own stream, so no two share numbers under one seed. */
enum {
    TLMI_STREAM_USER = 0,
    TLMI_STREAM_INIT = 1 << 20,    /* + parameter index */
    TLMI_STREAM_BATCH = 2 << 20,   /* offset = step * batch_size */
    TLMI_STREAM_SAMPLE = 3 << 20,  /* offset = position of the sampled token */
    TLMI_STREAM_DROPOUT = 4 << 20, /* offset = position of the pretoken, then one per draw */
    TLMI_STREAM_SHUFFLE = 5 << 20, /* offset = epoch */
    /* + parameter index of the adapter; offset = token, then 8 elements per block */
    TLMI_STREAM_ADAPTER_DROPOUT = 6 << 20,
    TLMI_STREAM_EMBEDDING_DROPOUT = 7 << 20, /* offset as the last */
    /* + 4 times the block + which of its dropouts; offset as the last, of scores: query, then 8 keys
     * per block of bits */
    TLMI_STREAM_BLOCK_DROPOUT = 8 << 20
};

/* Computes the 128 bits of block `offset` of a stream: those of words 2 offset and 2 offset + 1. */
void tlmi_random_block(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t offset);

/* Returns the 64-bit word `offset` of a stream. */
uint64_t tlmi_random_word(uint64_t seed, uint64_t stream, uint64_t offset);

/* Uniform in [0, 1) with 53 random bits. */
double tlmi_random_uniform(uint64_t seed, uint64_t stream, uint64_t offset);

/* Uniform integer in [0, bound), with a bias below 2^-64; bound > 0. */
uint64_t tlmi_random_below(uint64_t seed, uint64_t stream, uint64_t offset, uint64_t bound);

/* Maps `index` < n under a random bijection of [0, n); each (seed, stream, offset) gives a
 * different one. Uses no memory, however large n is. */
uint64_t tlmi_random_shuffled(uint64_t seed, uint64_t stream, uint64_t offset, uint64_t n,
                              uint64_t index);

/* Normal(0, 1) truncated to [-cut, cut]; cut > 0 and offset < 2^47. */
double tlmi_random_truncated_normal(uint64_t seed, uint64_t stream, uint64_t offset, double cut);

#endif
