/* SentencePiece's precompiled_charsmap: the size of a trie in bytes (32 bits, little-endian), the
 * trie, and the replacements, each ended by a NUL. The trie is a double array as the library
 * Darts-clone lays it out: units of 32 bits, little-endian, one for each node.
 *
 *   bits 0..7    the byte that leads to this node
 *   bit  8       the node has a value, in the unit of its child with byte 0
 *   bits 10..30  the offset: the child with byte c is at (index of the node ^ offset ^ c)
 *   bit  9       the offset is to be shifted left by 8 bits more
 *   bit  31      the unit holds a value, in its other bits: the position of a replacement */
#include <string.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/normalize/normalize.h"
#include "tokenizer/pretokenize/unicode.h"

#define IS_VALUE 0x80000000u

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
}

static bool has_value(uint32_t unit)
{
    return (unit >> 8 & 1) != 0;
}

tlm_status_t tlmi_charsmap_read(tlmi_charsmap_t *map, const char *what, const void *blob,
                                size_t size)
{
    const uint8_t *bytes = blob;
    tlmi_charsmap_t read = {0};

    if (size < 4)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: precompiled_charsmap has only %zu bytes", what, size);
    read.num_units = tlmi_load_le32(bytes) / 4;
    if (read.num_units == 0 || read.num_units > (size - 4) / 4)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: precompiled_charsmap of %zu bytes has a trie of %zu units", what,
                         size, read.num_units);
    bytes += 4 + 4 * read.num_units;
    read.replacements_size = size - 4 - 4 * read.num_units;
    if (!tlmi_utf8_valid(bytes, read.replacements_size))
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the replacements in precompiled_charsmap are not UTF-8", what);
    read.replacements = tlmi_memdup(bytes, read.replacements_size, "a map of characters");
    read.units = tlmi_alloc(read.num_units, sizeof(*read.units), "a map of characters");
    if (read.replacements == NULL || read.units == NULL) {
        tlmi_charsmap_release(&read);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < read.num_units; i++)
        read.units[i] = tlmi_load_le32((const uint8_t *)blob + 4 + 4 * i);
    *map = read;
    return TLM_OK;
}

void tlmi_charsmap_release(tlmi_charsmap_t *map)
{
    tlmi_free(map->units);
    tlmi_free(map->replacements);
    *map = (tlmi_charsmap_t){0};
}

/* Goes to the child of a node. The root is node 0. Returns false if there is none. */
static bool descend(const tlmi_charsmap_t *map, size_t *node, uint8_t byte)
{
    size_t child = *node ^ offset_of(map->units[*node]) ^ byte;

    if (byte == 0 || child >= map->num_units || (map->units[child] & (IS_VALUE | 0xFF)) != byte)
        return false;
    *node = child;
    return true;
}

/* Sets what replaces the key that ends at a node. Returns false if no key ends there. */
static bool value_of(tlm_bytes_t *replacement, const tlmi_charsmap_t *map, size_t node)
{
    uint32_t unit = map->units[node];
    size_t place = node ^ offset_of(unit);

    if (!has_value(unit) || place >= map->num_units)
        return false;
    place = map->units[place] & ~IS_VALUE;
    if (place > map->replacements_size ||
        (place < map->replacements_size && (map->replacements[place] & 0xC0) == 0x80))
        return false; /* not the start of a character */
    const uint8_t *start = map->replacements + place;
    const uint8_t *end = memchr(start, 0, map->replacements_size - place);
    replacement->data = start;
    replacement->size = end != NULL ? (size_t)(end - start) : map->replacements_size - place;
    return true;
}

size_t tlmi_charsmap_find(tlm_bytes_t *replacement, const tlmi_charsmap_t *map, const uint8_t *text,
                          size_t size, bool longest)
{
    size_t node = 0, found = 0;

    for (size_t i = 0; i < size && map->units != NULL && descend(map, &node, text[i]); i++) {
        if (!value_of(replacement, map, node))
            continue;
        found = i + 1;
        if (!longest)
            break;
    }
    return found;
}

bool tlmi_charsmap_has_ascii(const tlmi_charsmap_t *map, uint8_t byte, bool pairs)
{
    size_t node = 0;

    if (map->units == NULL || !descend(map, &node, byte))
        return false;
    if (has_value(map->units[node]))
        return true;
    for (uint8_t second = 1; pairs && second < 0x80; second++) {
        size_t child = node;

        if (descend(map, &child, second))
            return true;
    }
    return false;
}

/* U+2581 counts as a space too. */
static bool ends_with_space(tlm_bytes_t text)
{
    return text.data[text.size - 1] == ' ' ||
           (text.size >= 3 && memcmp(text.data + text.size - 3, "\xE2\x96\x81", 3) == 0);
}

/* Looks at every unit, also those that are in no key. */
bool tlmi_charsmap_keeps_words(const tlmi_charsmap_t *map)
{
    for (size_t i = 0; i < map->num_units; i++) {
        size_t child = i;

        if ((map->units[i] & IS_VALUE) != 0 || !tlmi_is_ascii_alnum((uint8_t)map->units[i]))
            continue;
        if (descend(map, &child, ' '))
            return false;
        tlm_bytes_t value;
        if (value_of(&value, map, i) && (value.size == 0 || ends_with_space(value)))
            return false;
    }
    return true;
}
