/* SHA-256 (FIPS 180-4). */
#ifndef TLMI_SHA256_H
#define TLMI_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define TLMI_SHA256_SIZE 32

typedef struct tlmi_sha256 {
    uint32_t state[8];
    uint64_t size; /* bytes so far */
    uint8_t block[64];
} tlmi_sha256_t;

void tlmi_sha256_init(tlmi_sha256_t *hash);
void tlmi_sha256_update(tlmi_sha256_t *hash, const void *bytes, size_t size);
void tlmi_sha256_final(uint8_t digest[TLMI_SHA256_SIZE], tlmi_sha256_t *hash);

#endif
