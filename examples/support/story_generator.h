/* A grammar of simple children's stories, for demos on machines without a corpus. */
#ifndef EXAMPLES_STORY_GENERATOR_H
#define EXAMPLES_STORY_GENERATOR_H

#include "tinylm/tinylm.h"

enum { STORY_MAX_SIZE = 4096 };

/* Writes story `index` of a seeded collection, a pure function of both numbers, and returns its size
 * in bytes. `capacity` of STORY_MAX_SIZE is enough. */
size_t story_write(char *out, size_t capacity, uint64_t seed, uint64_t index);

#endif
