/* Little-endian integers at any address; compilers turn each into one load or store. */
#ifndef TLMI_LITTLE_ENDIAN_H
#define TLMI_LITTLE_ENDIAN_H

#include <stdint.h>

static inline uint32_t tlmi_load_le16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
}

static inline uint32_t tlmi_load_le32(const uint8_t *bytes)
{
    return tlmi_load_le16(bytes) | tlmi_load_le16(bytes + 2) << 16;
}

static inline uint64_t tlmi_load_le64(const uint8_t *bytes)
{
    return tlmi_load_le32(bytes) | (uint64_t)tlmi_load_le32(bytes + 4) << 32;
}

static inline void tlmi_store_le16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

static inline void tlmi_store_le32(uint8_t *bytes, uint32_t value)
{
    tlmi_store_le16(bytes, value);
    tlmi_store_le16(bytes + 2, value >> 16);
}

static inline void tlmi_store_le64(uint8_t *bytes, uint64_t value)
{
    tlmi_store_le32(bytes, (uint32_t)value);
    tlmi_store_le32(bytes + 4, (uint32_t)(value >> 32));
}

#endif
