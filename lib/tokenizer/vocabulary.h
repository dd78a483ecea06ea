/* A vocabulary: byte strings numbered from 0, and the way back from bytes to the number. */
#ifndef TLMI_VOCABULARY_H
#define TLMI_VOCABULARY_H

#include "tinylm/tokenizer.h"

#define TLMI_NO_TOKEN UINT32_MAX

/* So many bytes may be read from the start of any token, whatever its size. */
#define TLMI_VOCABULARY_SLACK 16

typedef struct tlmi_vocabulary {
    uint8_t *bytes; /* of all tokens, one after the other */
    size_t bytes_size;
    size_t bytes_capacity;
    size_t *ends; /* ends[id] in `bytes`; a token begins where the one before it ends */
    size_t ends_capacity;
    uint32_t size;    /* ids in use, holes included */
    uint32_t *slots;  /* open addressing by hash: id, or TLMI_NO_TOKEN where free */
    size_t num_slots; /* a power of two, or 0 */
} tlmi_vocabulary_t;

/* A vocabulary of zeros is empty. */
void tlmi_vocabulary_release(tlmi_vocabulary_t *vocabulary);

/* Appends a token, which must not be there yet; size 0 makes a hole, an id without a token. */
tlm_status_t tlmi_vocabulary_add(tlmi_vocabulary_t *vocabulary, const uint8_t *bytes, size_t size);

/* Id of the concatenation of two tokens, which is appended if it is not there yet. */
tlm_status_t tlmi_vocabulary_join(uint32_t *id, tlmi_vocabulary_t *vocabulary, uint32_t left,
                                  uint32_t right);

/* Id of the token with these bytes, or TLMI_NO_TOKEN. */
uint32_t tlmi_vocabulary_find(const tlmi_vocabulary_t *vocabulary, const uint8_t *bytes,
                              size_t size);

static inline tlm_bytes_t tlmi_vocabulary_token(const tlmi_vocabulary_t *vocabulary, uint32_t id)
{
    size_t start = id == 0 ? 0 : vocabulary->ends[id - 1];

    return (tlm_bytes_t){vocabulary->bytes + start, vocabulary->ends[id] - start};
}

#endif
