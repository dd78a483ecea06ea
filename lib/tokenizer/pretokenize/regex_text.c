/* What a pattern sees of a text that is not well-formed. Oniguruma accepts only valid UTF-8. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/pretokenize.h"

#define REPLACEMENT      "\xEF\xBF\xBD" /* U+FFFD */
#define REPLACEMENT_SIZE 3

tlm_status_t tlmi_regex_text_init(tlmi_regex_text_t *text, const uint8_t *bytes, size_t size)
{
    const uint8_t *end = bytes + size;

    *text = (tlmi_regex_text_t){
        .seen = bytes, .seen_size = size, .original = bytes, .original_size = size};
    if (tlmi_utf8_valid(bytes, size))
        return TLM_OK;
    size_t room;
    if (!tlmi_mul_size(&room, size, REPLACEMENT_SIZE))
        return tlmi_fail_memory(size, "a text for a pattern");
    text->copy = tlmi_alloc(room, 1, "a text for a pattern");
    if (text->copy == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    text->seen = text->copy;
    text->seen_size = 0;
    while (bytes < end) {
        uint32_t code_point;
        int length = tlmi_utf8_decode(&code_point, bytes, end);
        size_t n = length > 0 ? (size_t)length : REPLACEMENT_SIZE;

        memcpy(text->copy + text->seen_size, length > 0 ? bytes : (const uint8_t *)REPLACEMENT, n);
        text->seen_size += n;
        bytes += length > 0 ? length : 1;
    }
    return TLM_OK;
}

size_t tlmi_regex_text_original(tlmi_regex_text_t *text, size_t seen)
{
    if (text->copy == NULL)
        return seen;
    while (text->seen_at < seen) {
        uint32_t code_point;
        int length = tlmi_utf8_decode(&code_point, text->original + text->original_at,
                                      text->original + text->original_size);

        text->original_at += length > 0 ? (size_t)length : 1;
        text->seen_at += length > 0 ? (size_t)length : REPLACEMENT_SIZE;
    }
    return text->original_at;
}

void tlmi_regex_text_release(tlmi_regex_text_t *text)
{
    tlmi_free(text->copy);
}
