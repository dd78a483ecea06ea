/* Ids to bytes: how many, then which. */
#ifndef TLMI_DECODE_IDS_H
#define TLMI_DECODE_IDS_H

#include "vocabulary.h"

/* Sums the sizes of tokens; false if an id has no token, with its position in *bad, or if the sum
 * is more than a size can hold (*bad is n). */
bool tlmi_measure_ids(size_t *size, size_t *bad, const tlmi_vocabulary_t *vocabulary,
                      const uint32_t *ids, size_t n);

/* Writes the `size` bytes that were measured. */
void tlmi_copy_tokens(uint8_t *to, size_t size, const tlmi_vocabulary_t *vocabulary,
                      const uint32_t *ids, size_t n);

#endif
