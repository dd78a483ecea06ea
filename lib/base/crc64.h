/* CRC-64/XZ, the checksum of checkpoints: polynomial ECMA-182, reflected, as the xz format defines
 * it. */
#ifndef TLMI_CRC64_H
#define TLMI_CRC64_H

#include "tinylm/export.h"

/* A running checksum. */
typedef struct tlmi_crc64 {
    uint64_t value;
} tlmi_crc64_t;

void tlmi_crc64_init(tlmi_crc64_t *crc);
void tlmi_crc64_update(tlmi_crc64_t *crc, const void *bytes, size_t size);
uint64_t tlmi_crc64_final(const tlmi_crc64_t *crc);

#endif
