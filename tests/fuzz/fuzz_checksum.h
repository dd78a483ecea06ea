/* The checksum of the files that the library writes, for targets that read them. */
#ifndef TEST_FUZZ_CHECKSUM_H
#define TEST_FUZZ_CHECKSUM_H

#include "fuzz_support.h"
#include "base/file.h"

/* Makes the checksum of a safetensors file right: it would keep the fuzzer from all behind it. */
static inline void fuzz_mend_checksum(uint8_t *bytes, size_t size)
{
    static const char mark[] = "crc64xz:";
    uint8_t *digits = size > 0 ? memmem(bytes, size, mark, strlen(mark)) : NULL;
    static tlmi_crc64_t crc;
    char text[17];

    if (digits == NULL || (size_t)(bytes + size - digits) < strlen(mark) + 16)
        return;
    digits += strlen(mark);
    memset(digits, '0', 16);
    tlmi_crc64_init(&crc);
    tlmi_crc64_update(&crc, bytes, size);
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)tlmi_crc64_final(&crc));
    memcpy(digits, text, 16);
}

#endif
