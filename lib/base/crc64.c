/* Sixteen bytes a step ("slicing by 16"): table[k] advances a byte past k more bytes, so the
 * sixteen look-ups of a step do not wait for each other. */
#include "base/crc64.h"

#include "base/little_endian.h"

#define CRC64_POLYNOMIAL UINT64_C(0xC96C5795D7870F42)

void tlmi_crc64_init(tlmi_crc64_t *crc)
{
    for (uint64_t byte = 0; byte < 256; byte++) {
        uint64_t value = byte;

        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? CRC64_POLYNOMIAL : 0);
        crc->table[0][byte] = value;
    }
    for (int k = 1; k < 16; k++)
        for (int byte = 0; byte < 256; byte++) {
            uint64_t value = crc->table[k - 1][byte];
            crc->table[k][byte] = value >> 8 ^ crc->table[0][value & 0xFF];
        }
    crc->value = UINT64_MAX;
}

/* The part of the sum that eight bytes contribute when `tables` gives their distance to the end. */
static uint64_t slice8(const uint64_t (*tables)[256], uint64_t word)
{
    return tables[7][word & 0xFF] ^ tables[6][word >> 8 & 0xFF] ^ tables[5][word >> 16 & 0xFF] ^
           tables[4][word >> 24 & 0xFF] ^ tables[3][word >> 32 & 0xFF] ^
           tables[2][word >> 40 & 0xFF] ^ tables[1][word >> 48 & 0xFF] ^ tables[0][word >> 56];
}

void tlmi_crc64_update(tlmi_crc64_t *crc, const void *bytes, size_t size)
{
    const uint64_t(*table)[256] = (const uint64_t(*)[256])crc->table;
    const uint8_t *at = bytes;
    uint64_t value = crc->value;

    for (; size >= 16; size -= 16, at += 16)
        value =
            slice8(table + 8, tlmi_load_le64(at) ^ value) ^ slice8(table, tlmi_load_le64(at + 8));
    for (; size > 0; size--, at++)
        value = value >> 8 ^ table[0][(value ^ *at) & 0xFF];
    crc->value = value;
}

uint64_t tlmi_crc64_final(const tlmi_crc64_t *crc)
{
    return ~crc->value;
}
