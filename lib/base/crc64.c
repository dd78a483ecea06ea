/* The CRC-64 of the xz format, computed by liblzma. */
#include "base/file.h"

#include <lzma.h>

void tlmi_crc64_init(tlmi_crc64_t *crc)
{
    crc->value = 0;
}

void tlmi_crc64_update(tlmi_crc64_t *crc, const void *bytes, size_t size)
{
    crc->value = lzma_crc64(bytes, size, crc->value);
}

uint64_t tlmi_crc64_final(const tlmi_crc64_t *crc)
{
    return crc->value;
}
