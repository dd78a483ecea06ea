/* Decodes and repairs UTF-8. */
#include "tokenizer/pretokenize/unicode.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tinylm/tokenizer.h"

/* The range of the second byte, given the lead byte. Later bytes are always 0x80..0xBF. */
static void second_byte_range(uint8_t *low, uint8_t *high, uint8_t lead)
{
    *low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
}

/* The length of the character that a lead byte begins; 0 for a byte that cannot be a lead byte. */
static int announced_length(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

int tlmi_utf8_decode(uint32_t *code_point, const uint8_t *text, const uint8_t *end)
{
    int length = announced_length(text[0]);
    uint8_t low, high;

    if (length == 1) {
        *code_point = text[0];
        return 1;
    }
    if (length == 0)
        return -1;
    second_byte_range(&low, &high, text[0]);
    uint32_t value = text[0] & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if (text + i == end || text[i] < low || text[i] > high)
            return -i;
        value = value << 6 | (text[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *code_point = value;
    return length;
}

size_t tlmi_utf8_last(const uint8_t *text, size_t size)
{
    for (size_t back = 1; back <= 4 && back <= size; back++) {
        const uint8_t *start = text + size - back;
        uint32_t code_point;

        if ((*start & 0xC0) == 0x80)
            continue; /* the lead byte is farther back */
        if (tlmi_utf8_decode(&code_point, start, text + size) == (int)back)
            return size - back;
        break;
    }
    return size - 1;
}

size_t tlmi_utf8_unfinished(const uint8_t *text, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        const uint8_t *start = text + size - back;
        uint32_t code_point;

        if ((*start & 0xC0) == 0x80)
            continue; /* the lead byte is farther back */
        if (announced_length(*start) > (int)back &&
            tlmi_utf8_decode(&code_point, start, text + size) == -(int)back)
            return back;
        return 0;
    }
    return 0;
}

bool tlmi_utf8_valid(const uint8_t *text, size_t size)
{
    const uint8_t *end = text + size;
    uint32_t code_point;

    while (size > 0 && text < end) {
        int length = *text < 0x80 ? 1 : tlmi_utf8_decode(&code_point, text, end);

        if (length < 0)
            return false;
        text += length;
    }
    return true;
}

size_t tlmi_utf8_replace(uint8_t *out, const uint8_t *text, size_t size)
{
    size_t written = 0;

    for (size_t i = 0; i < size;) {
        uint32_t code_point;
        int length = tlmi_utf8_decode(&code_point, text + i, text + size);

        if (length < 0) {
            memcpy(out + written, "\xEF\xBF\xBD", 3);
            written += 3;
            i += (size_t)-length;
        } else {
            memcpy(out + written, text + i, (size_t)length);
            written += (size_t)length;
            i += (size_t)length;
        }
    }
    return written;
}

tlm_status_t tlm_utf8_sanitize(char **text, size_t *size, const void *bytes, size_t n)
{
    TLMI_REQUIRE("utf8_sanitize", text);
    TLMI_REQUIRE("utf8_sanitize", size);
    if (n > 0)
        TLMI_REQUIRE("utf8_sanitize", bytes);
    size_t room;
    if (!tlmi_mul_size(&room, n, 3) || !tlmi_add_size(&room, room, 1))
        return tlmi_fail_memory(n, "a text");
    uint8_t *out = tlmi_alloc(room, 1, "a text");
    if (out == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *size = tlmi_utf8_replace(out, bytes, n);
    out[*size] = '\0';
    *text = (char *)out;
    return TLM_OK;
}
