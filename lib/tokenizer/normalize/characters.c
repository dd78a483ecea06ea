/* Normalizers that look at one character at a time: Lowercase, StripAccents, Nmt and ByteLevel. */
#include "tokenizer/normalize/normalize.h"

#include <string.h>

#include "base/error.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/pretokenize/unicode.h"

#define BLOCK ((size_t)4096) /* bytes for which room is made at once */

#define HIGH_BITS (0x80 * TLMI_EACH_BYTE)

/* What happens to the characters of ASCII. */
typedef enum ascii_rule { KEEP_ASCII, LOWER_ASCII, MAP_ASCII } ascii_rule_t;

/* What a character becomes. Writes up to two characters, whose UTF-8 is less than twice as long,
 * and returns their number. */
typedef int (*map_fn)(int32_t mapped[2], uint32_t code_point);

/* Copies the bytes of ASCII at `at` as they are or in lower case. Returns their end. */
static const uint8_t *copy_ascii(uint8_t **to_pointer, const uint8_t *at, const uint8_t *end,
                                 bool lower)
{
    uint8_t *to = *to_pointer;

    for (; end - at >= 8; at += 8, to += 8) {
        uint64_t word;

        memcpy(&word, at, 8);
        if ((word & HIGH_BITS) != 0)
            break;
        word = lower ? tlmi_lower_word(word) : word;
        memcpy(to, &word, 8);
    }
    for (; at < end && *at < 0x80; at++)
        *to++ = (uint8_t)(*at | (lower && *at >= 'A' && *at <= 'Z') << 5);
    *to_pointer = to;
    return at;
}

/* Writes the character at `at` < end, mapped, and returns its end. */
static const uint8_t *copy_mapped(uint8_t **to, const uint8_t *at, const uint8_t *end, map_fn map)
{
    uint32_t code_point;
    int32_t mapped[2] = {0};
    int length = tlmi_utf8_decode(&code_point, at, end);

    if (length < 0) {
        *(*to)++ = *at;
        return at + 1;
    }
    int n = map(mapped, code_point);
    for (int i = 0; i < n; i++)
        *to = tlmi_put_utf8(*to, (uint32_t)mapped[i]);
    return at + length;
}

static tlm_status_t append_mapped(tlmi_normal_text_t *out, const uint8_t *text, size_t size,
                                  map_fn map, ascii_rule_t rule)
{
    const uint8_t *end = text + size;

    while (text < end) {
        const uint8_t *block = (size_t)(end - text) > BLOCK ? text + BLOCK : end;
        uint8_t *to = tlmi_normal_text_room(out, 2 * BLOCK);

        if (to == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        while (text < block) {
            if (rule != MAP_ASCII)
                text = copy_ascii(&to, text, block, rule == LOWER_ASCII);
            if (text < block)
                text = copy_mapped(&to, text, end, map);
        }
        out->size = (size_t)(to - out->bytes);
    }
    return TLM_OK;
}

/* Returns the end of the bytes of ASCII at `at` that the rule leaves unchanged. */
static const uint8_t *skip_ascii(const uint8_t *at, const uint8_t *end, ascii_rule_t rule)
{
    for (; end - at >= 8; at += 8) {
        uint64_t word;

        memcpy(&word, at, 8);
        if ((word & HIGH_BITS) != 0 || (rule == LOWER_ASCII && tlmi_upper_in_word(word) != 0))
            break;
    }
    while (at < end && *at < 0x80 && !(rule == LOWER_ASCII && *at >= 'A' && *at <= 'Z'))
        at++;
    return at;
}

static bool mapping_leaves(const uint8_t *text, size_t size, map_fn map, ascii_rule_t rule)
{
    const uint8_t *end = text + size;

    while (text < end) {
        int32_t mapped[2] = {0};

        if (rule != MAP_ASCII)
            text = skip_ascii(text, end, rule);
        if (text == end)
            break;
        uint32_t code_point;
        int length = tlmi_utf8_decode(&code_point, text, end);
        if (length > 0 && (map(mapped, code_point) != 1 || (uint32_t)mapped[0] != code_point))
            return false;
        text += length > 0 ? length : 1;
    }
    return true;
}

/* ---- The mappings ---- */

/* The marks of Unicode 9. */
static int strip_accent(int32_t mapped[2], uint32_t code_point)
{
    bool mark = tlmi_char_class(code_point) == TLMI_CHAR_MARK;

    mapped[0] = (int32_t)code_point;
    if (mark)
        return (tlmi_char_difference(code_point) & TLMI_NOT_IN_FORMS) != 0;
    return code_point != 0x1CF2 && code_point != 0x1CF3; /* marks until Unicode 11 */
}

static int map_nmt(int32_t mapped[2], uint32_t c)
{
    mapped[0] = (int32_t)c;
    if ((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
        c == 0x8F || c == 0x9F)
        return 0;
    if (c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 ||
        (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
        c == 0xFFFD)
        mapped[0] = ' ';
    return 1;
}

/* The functions of a kind that maps characters. No ASCII letter, digit or space changes its
 * class. */
#define MAPPING(kind, kind_name, map, rule)                                                        \
    static bool kind##_leaves(const tlmi_normalizer_t *normalizer, const uint8_t *text,            \
                              size_t size, int part)                                               \
    {                                                                                              \
        (void)normalizer;                                                                          \
        (void)part;                                                                                \
        return mapping_leaves(text, size, map, rule);                                              \
    }                                                                                              \
    static tlm_status_t kind##_append(const tlmi_normalizer_t *normalizer,                         \
                                      tlmi_normal_text_t *out, const uint8_t *text, size_t size,   \
                                      int part)                                                    \
    {                                                                                              \
        (void)normalizer;                                                                          \
        (void)part;                                                                                \
        return append_mapped(out, text, size, map, rule);                                          \
    }                                                                                              \
    static const tlmi_normalizer_kind_t kind##_kind = {.name = kind_name,                          \
                                                       .leaves = kind##_leaves,                    \
                                                       .append = kind##_append,                    \
                                                       .cuts_at = tlmi_cuts_anywhere};             \
    const tlmi_normalizer_t tlmi_##kind = {&kind##_kind};

MAPPING(lowercase, "Lowercase", tlmi_char_lower, LOWER_ASCII)
MAPPING(strip_accents, "StripAccents", strip_accent, KEEP_ASCII)
MAPPING(nmt, "Nmt", map_nmt, MAP_ASCII)

/* ---- ByteLevel ---- */

static bool byte_level_leaves(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size,
                              int part)
{
    (void)normalizer;
    (void)part;
    for (size_t i = 0; i < size; i++)
        if (text[i] <= ' ' || text[i] >= 0x7F)
            return false;
    return true;
}

static tlm_status_t byte_level_append(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                                      const uint8_t *text, size_t size, int part)
{
    (void)normalizer;
    (void)part;
    while (size > 0) {
        size_t n = size < BLOCK ? size : BLOCK;
        uint8_t *to = tlmi_normal_text_room(out, 2 * n);

        if (to == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        out->size += tlmi_bytes_to_alphabet((char *)to, text, n);
        text += n;
        size -= n;
    }
    return TLM_OK;
}

static bool no_space_is_kept(const tlmi_normalizer_t *normalizer)
{
    (void)normalizer;
    return false;
}

static const tlmi_normalizer_kind_t byte_level_kind = {.name = "ByteLevel",
                                                       .leaves = byte_level_leaves,
                                                       .append = byte_level_append,
                                                       .cuts_at = tlmi_cuts_anywhere,
                                                       .keeps_cuts = no_space_is_kept};

const tlmi_normalizer_t tlmi_byte_level_normalizer = {&byte_level_kind};
