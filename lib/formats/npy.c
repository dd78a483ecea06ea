/* The .npy header is a Python dictionary literal with exactly three keys:
 *     {'descr': '<u2', 'fortran_order': False, 'shape': (123,), }
 * The parser takes that much of Python's syntax and no more, and never reads past the header. */
#include "formats/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "base/error.h"
#include "formats/file_kind.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define NPY_MAGIC      "\x93NUMPY"
#define NPY_MAGIC_SIZE 6

typedef struct npy_cursor {
    const char *at;
    const char *end;
    const char *begin;
    const char *path;
} npy_cursor_t;

static tlm_status_t npy_fail(const npy_cursor_t *cursor, const char *wanted)
{
    return tlmi_fail(TLM_ERR_FORMAT, "%s: .npy header: expected %s at character %zu", cursor->path,
                     wanted, (size_t)(cursor->at - cursor->begin));
}

static void npy_skip_space(npy_cursor_t *cursor)
{
    while (cursor->at < cursor->end &&
           (*cursor->at == ' ' || *cursor->at == '\n' || *cursor->at == '\t'))
        cursor->at++;
}

/* Skips whitespace and consumes `token` if it comes next. */
static bool npy_take(npy_cursor_t *cursor, const char *token)
{
    size_t size = strlen(token);

    npy_skip_space(cursor);
    if ((size_t)(cursor->end - cursor->at) < size || memcmp(cursor->at, token, size) != 0)
        return false;
    cursor->at += size;
    return true;
}

/* Reads a quoted string into `text`. It supports no escapes, because no key or type code needs
 * them. */
static tlm_status_t npy_string(char text[32], npy_cursor_t *cursor)
{
    char quote = '\'';
    size_t size = 0;

    if (!npy_take(cursor, "'")) {
        if (!npy_take(cursor, "\""))
            return npy_fail(cursor, "a quoted string");
        quote = '"';
    }
    while (cursor->at < cursor->end && *cursor->at != quote && size < 31)
        text[size++] = *cursor->at++;
    text[size] = '\0';
    if (cursor->at == cursor->end || *cursor->at != quote)
        return npy_fail(cursor, "the end of a short string");
    cursor->at++;
    return TLM_OK;
}

static tlm_status_t npy_number(uint64_t *out, npy_cursor_t *cursor)
{
    uint64_t value = 0;
    bool any = false;

    npy_skip_space(cursor);
    for (; cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9'; cursor->at++) {
        uint64_t digit = (uint64_t)(*cursor->at - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return npy_fail(cursor, "a size below 2^64");
        value = value * 10 + digit;
        any = true;
    }
    if (!any)
        return npy_fail(cursor, "a number");
    *out = value;
    return TLM_OK;
}

/* The element types that token files use. */
static const int32_t token_types[] = {TLMI_UINT16, TLM_UINT32, TLM_INT64};

static tlm_status_t npy_descr(int32_t *item_size, npy_cursor_t *cursor)
{
    char descr[32];

    TLMI_TRY(npy_string(descr, cursor));
    for (size_t i = 0; i < COUNT_OF(token_types); i++)
        if (strcmp(descr, tlmi_dtype(token_types[i])->numpy) == 0) {
            *item_size = (int32_t)tlmi_dtype(token_types[i])->bytes;
            return TLM_OK;
        }
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: the elements have type '%s'; token files hold '<u2', '<u4' or '<i8'",
                     cursor->path, descr);
}

static tlm_status_t npy_shape(uint64_t *length, npy_cursor_t *cursor)
{
    if (!npy_take(cursor, "("))
        return npy_fail(cursor, "'('");
    if (npy_take(cursor, ")"))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the array is a scalar; token files have one dimension", cursor->path);
    TLMI_TRY(npy_number(length, cursor));
    if (!npy_take(cursor, ","))
        return npy_fail(cursor, "','");
    if (!npy_take(cursor, ")"))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the array has more than one dimension; token files have one",
                         cursor->path);
    return TLM_OK;
}

/* Parses one `key: value` pair; `seen` has a bit for each key already found. */
static tlm_status_t npy_member(tlmi_npy_header_t *header, unsigned *seen, npy_cursor_t *cursor)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    char key[32];
    unsigned which = 0;

    TLMI_TRY(npy_string(key, cursor));
    while (which < 3 && strcmp(key, keys[which]) != 0)
        which++;
    if (which == 3 || (*seen & 1u << which) != 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: .npy header: %s key '%s'", cursor->path,
                         which == 3 ? "unknown" : "repeated", key);
    *seen |= 1u << which;
    if (!npy_take(cursor, ":"))
        return npy_fail(cursor, "':'");
    if (which == 0)
        return npy_descr(&header->item_size, cursor);
    if (which == 2)
        return npy_shape(&header->length, cursor);
    /* One-dimensional arrays have the same layout in both orders. */
    if (!npy_take(cursor, "True") && !npy_take(cursor, "False"))
        return npy_fail(cursor, "True or False");
    return TLM_OK;
}

static tlm_status_t npy_dictionary(tlmi_npy_header_t *header, npy_cursor_t *cursor)
{
    unsigned seen = 0;

    if (!npy_take(cursor, "{"))
        return npy_fail(cursor, "'{'");
    while (!npy_take(cursor, "}")) {
        TLMI_TRY(npy_member(header, &seen, cursor));
        if (npy_take(cursor, ","))
            continue;
        if (!npy_take(cursor, "}"))
            return npy_fail(cursor, "',' or '}'");
        break;
    }
    npy_skip_space(cursor);
    if (cursor->at != cursor->end)
        return npy_fail(cursor, "nothing more");
    if (seen != 7)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: .npy header: lacks one of descr, fortran_order, shape", cursor->path);
    return TLM_OK;
}

tlm_status_t tlmi_npy_parse(tlmi_npy_header_t *out, const uint8_t *bytes, size_t size,
                            const char *path)
{
    tlmi_npy_header_t header = {0, 0, 0};
    size_t length = 0;

    if (size < NPY_MAGIC_SIZE || memcmp(bytes, NPY_MAGIC, NPY_MAGIC_SIZE) != 0)
        return tlmi_fail_kind(path, "a .npy file", bytes, size);
    if (size < 10)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the .npy file is cut short to %zu bytes", path, size);
    if (bytes[6] < 1 || bytes[6] > 3 || bytes[7] != 0)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: .npy version %d.%d; this library reads 1.0, 2.0 and 3.0", path,
                         bytes[6], bytes[7]);
    /* The header's length field has 2 bytes in version 1.0 and 4 in later versions. */
    size_t prefix = bytes[6] == 1 ? 10 : 12;
    for (size_t i = prefix; i-- > 8 && i < size;)
        length = length << 8 | bytes[i];
    if (size < prefix || length > size - prefix)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the .npy header has %zu bytes, but the file only %zu",
                         path, length, size);
    npy_cursor_t cursor;
    cursor.begin = cursor.at = (const char *)bytes + prefix;
    cursor.end = cursor.begin + length;
    cursor.path = path;
    TLMI_TRY(npy_dictionary(&header, &cursor));
    header.data_offset = prefix + length;
    if (header.length != (size - header.data_offset) / (size_t)header.item_size ||
        (size - header.data_offset) % (size_t)header.item_size != 0)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: %" PRIu64 " elements of %d bytes do not fill the %zu bytes after the "
                         "header",
                         path, header.length, header.item_size, size - header.data_offset);
    *out = header;
    return TLM_OK;
}

void tlmi_npy_format(uint8_t header[TLMI_NPY_HEADER_SIZE], int32_t item_size, uint64_t length)
{
    char text[TLMI_NPY_HEADER_SIZE];
    int size = snprintf(text, sizeof(text),
                        "{'descr': '<%c%d', 'fortran_order': False, 'shape': (%" PRIu64 ",), }",
                        item_size == 8 ? 'i' : 'u', (int)item_size, length);

    memset(header, ' ', TLMI_NPY_HEADER_SIZE);
    memcpy(header, NPY_MAGIC "\x01\x00", 8);
    header[8] = TLMI_NPY_HEADER_SIZE - 10;
    header[9] = 0;
    memcpy(header + 10, text, (size_t)size);
    header[TLMI_NPY_HEADER_SIZE - 1] = '\n';
}
