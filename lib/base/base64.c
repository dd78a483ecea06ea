/* Decoding is strict, so that each text has one meaning and each meaning one text. */
#include "base/base64.h"

const char tlmi_base64_digits[65] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit_value(uint8_t digit)
{
    if (digit >= 'A' && digit <= 'Z')
        return digit - 'A';
    if (digit >= 'a' && digit <= 'z')
        return digit - 'a' + 26;
    if (digit >= '0' && digit <= '9')
        return digit - '0' + 52;
    return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

bool tlmi_base64_decode(uint8_t *out, size_t *out_size, const uint8_t *text, size_t size)
{
    size_t padding = 0, written = 0;

    *out_size = 0;
    if (size == 0)
        return true;
    if (size % 4 != 0)
        return false;
    while (padding < 2 && text[size - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < size; i += 4) {
        size_t n = i + 4 == size ? 4 - padding : 4;
        uint32_t group = 0;

        for (size_t k = 0; k < 4; k++) {
            int value = k < n ? digit_value(text[i + k]) : 0;

            if (value < 0)
                return false;
            group = group << 6 | (uint32_t)value;
        }
        if ((n == 3 && (group & 0xC0) != 0) || (n == 2 && (group & 0xF000) != 0))
            return false;
        out[written++] = (uint8_t)(group >> 16);
        if (n > 2)
            out[written++] = (uint8_t)(group >> 8);
        if (n > 3)
            out[written++] = (uint8_t)group;
    }
    *out_size = written;
    return true;
}
