/* Reader of GGUF files. */
#include "formats/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/memory.h"
#include "formats/file_kind.h"

/* Minimum bytes of a pair and of a tensor's description; they limit the counts a file can have. */
#define LEAST_VALUE  (8 + 4 + 1)
#define LEAST_TENSOR (8 + 4 + 4 + 8)

static const uint8_t value_sizes[TLMI_GGUF_NUM_TYPES] = {
    [TLMI_GGUF_UINT8] = 1,  [TLMI_GGUF_INT8] = 1,  [TLMI_GGUF_UINT16] = 2,  [TLMI_GGUF_INT16] = 2,
    [TLMI_GGUF_UINT32] = 4, [TLMI_GGUF_INT32] = 4, [TLMI_GGUF_FLOAT32] = 4, [TLMI_GGUF_BOOL] = 1,
    [TLMI_GGUF_UINT64] = 8, [TLMI_GGUF_INT64] = 8, [TLMI_GGUF_FLOAT64] = 8,
};

/* The current read position in the file. */
typedef struct reader {
    const uint8_t *at;
    size_t left;
    const char *path;
} reader_t;

/* ---- Basic pieces ------------------------------------------------------------------------- */

/* Returns the next bytes, or NULL, with a message, if fewer are left. */
static const uint8_t *take(reader_t *reader, size_t size)
{
    const uint8_t *bytes = reader->at;

    if (size > reader->left) {
        tlmi_fail(TLM_ERR_FORMAT,
                  "%s: the file is cut short: %zu bytes are needed and %zu are left", reader->path,
                  size, reader->left);
        return NULL;
    }
    reader->at += size;
    reader->left -= size;
    return bytes;
}

static tlm_status_t take_u32(uint32_t *out, reader_t *reader)
{
    const uint8_t *bytes = take(reader, 4);

    if (bytes == NULL)
        return TLM_ERR_FORMAT;
    *out = tlmi_load_le32(bytes);
    return TLM_OK;
}

static tlm_status_t take_u64(uint64_t *out, reader_t *reader)
{
    const uint8_t *bytes = take(reader, 8);

    if (bytes == NULL)
        return TLM_ERR_FORMAT;
    *out = tlmi_load_le64(bytes);
    return TLM_OK;
}

static tlm_status_t take_string(const char **text, size_t *size, reader_t *reader)
{
    uint64_t length = 0;

    TLMI_TRY(take_u64(&length, reader));
    if (length > reader->left)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: a string has %" PRIu64 " bytes, but only %zu are left", reader->path,
                         length, reader->left);
    *text = (const char *)take(reader, (size_t)length);
    *size = (size_t)length;
    return TLM_OK;
}

/* Names are truncated in messages. */
static int shown(size_t size)
{
    return size < 128 ? (int)size : 128;
}

/* ---- Pairs ------------------------------------------------------------------------------ */

static tlm_status_t take_items(tlmi_gguf_value_t *value, reader_t *reader)
{
    value->data = (const char *)reader->at;
    if (value->type >= TLMI_GGUF_NUM_TYPES || value->type == TLMI_GGUF_ARRAY)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%.*s' is of type %" PRIu32 "%s", reader->path,
                         shown(value->key_size), value->key, value->type,
                         value->type == TLMI_GGUF_ARRAY ? ", arrays of arrays" : "");
    size_t size;
    if (value->type != TLMI_GGUF_STRING) {
        if (!tlmi_mul_size(&size, value->count, value_sizes[value->type]))
            size = SIZE_MAX; /* more than what is left, so it fails */
        return take(reader, size) == NULL ? TLM_ERR_FORMAT : TLM_OK;
    }
    const char *text;
    for (size_t i = 0; i < value->count; i++)
        TLMI_TRY(take_string(&text, &size, reader));
    return TLM_OK;
}

static tlm_status_t take_value(tlmi_gguf_value_t *value, reader_t *reader)
{
    uint64_t count = 1;

    TLMI_TRY(take_string(&value->key, &value->key_size, reader));
    TLMI_TRY(take_u32(&value->type, reader));
    value->is_array = value->type == TLMI_GGUF_ARRAY;
    if (value->is_array) {
        TLMI_TRY(take_u32(&value->type, reader));
        TLMI_TRY(take_u64(&count, reader));
        if (count > reader->left)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: '%.*s' has %" PRIu64 " items, but only %zu bytes are left",
                             reader->path, shown(value->key_size), value->key, count, reader->left);
    }
    value->count = (size_t)count;
    TLMI_TRY(take_items(value, reader));
    value->bytes = (size_t)((const char *)reader->at - value->data);
    return TLM_OK;
}

static int compare_keys(const char *a, size_t a_size, const char *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);

    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_values(const void *a, const void *b)
{
    const tlmi_gguf_value_t *x = a, *y = b;

    return compare_keys(x->key, x->key_size, y->key, y->key_size);
}

static tlm_status_t take_values(tlmi_gguf_t *file, reader_t *reader)
{
    for (size_t i = 0; i < file->num_values; i++)
        TLMI_TRY(take_value(&file->values[i], reader));
    qsort(file->values, file->num_values, sizeof(*file->values), compare_values);
    for (size_t i = 1; i < file->num_values; i++)
        if (compare_values(&file->values[i - 1], &file->values[i]) == 0)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: '%.*s' appears twice", reader->path,
                             shown(file->values[i].key_size), file->values[i].key);
    return TLM_OK;
}

/* ---- Tensors ---------------------------------------------------------------------------- */

/* Names of types that are not in the element type table, as other GGUF readers print them. */
const char *tlmi_gguf_type_name(uint32_t type)
{
    static const char *const names[] = {
        [9] = "Q8_1",    [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
        [20] = "IQ4_NL", [21] = "IQ3_S",   [22] = "IQ2_S",  [23] = "IQ4_XS",  [29] = "IQ1_M",
        [34] = "TQ1_0",  [35] = "TQ2_0",   [39] = "MXFP4",
    };
    const tlmi_dtype_t *known = tlmi_dtype_of_gguf(type);

    if (known != NULL)
        return known->gguf_name;
    return type < sizeof(names) / sizeof(names[0]) && names[type] != NULL ? names[type] : "unknown";
}

/* Computes the bytes that shape and type require; 0 for unknown types, whose tensors are only named
 * when something wants to read them. */
static tlm_status_t tensor_bytes(size_t *out, const tlmi_gguf_tensor_t *tensor, const char *path)
{
    const tlmi_dtype_t *type = tlmi_dtype_of_gguf(tensor->type);
    const int64_t columns = tensor->ndim > 0 ? tensor->shape[tensor->ndim - 1] : 1;
    size_t bytes;

    *out = 0;
    if (type == NULL)
        return TLM_OK;
    if (columns % type->block != 0)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: tensor '%.*s' has rows of %" PRId64
                         " elements, which are no whole blocks of %s (%d elements)",
                         path, shown(tensor->name_size), tensor->name, columns, type->gguf_name,
                         type->block);
    bool fits = tlmi_dtype_row_bytes(&bytes, type, columns);
    for (int32_t i = 0; fits && i < tensor->ndim - 1; i++)
        fits = tlmi_mul_size(&bytes, bytes, (size_t)tensor->shape[i]);
    if (!fits)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the shape of tensor '%.*s' overflows", path,
                         shown(tensor->name_size), tensor->name);
    *out = bytes;
    return TLM_OK;
}

/* Reads a tensor's description and keeps its place, an offset from the start of the data, for
 * later. */
static tlm_status_t take_tensor(tlmi_gguf_tensor_t *tensor, uint64_t *place, reader_t *reader)
{
    uint32_t ndim = 0;
    uint64_t size = 0;

    TLMI_TRY(take_string(&tensor->name, &tensor->name_size, reader));
    TLMI_TRY(take_u32(&ndim, reader));
    if (ndim > TLM_MAX_DIMS)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: tensor '%.*s' has %" PRIu32 " dimensions",
                         reader->path, shown(tensor->name_size), tensor->name, ndim);
    tensor->ndim = (int32_t)ndim;
    for (uint32_t i = 0; i < ndim; i++) {
        TLMI_TRY(take_u64(&size, reader));
        if (size > INT64_MAX)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: a dimension of tensor '%.*s' is %" PRIu64,
                             reader->path, shown(tensor->name_size), tensor->name, size);
        tensor->shape[ndim - 1 - i] = (int64_t)size;
    }
    TLMI_TRY(take_u32(&tensor->type, reader));
    return take_u64(place, reader);
}

static tlm_status_t read_alignment(size_t *out, const tlmi_gguf_t *file, const char *path)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, "general.alignment");
    int64_t alignment = TLMI_GGUF_ALIGNMENT;

    if (value != NULL && (!tlmi_gguf_get_int(value, &alignment) || alignment <= 0 ||
                          alignment > 1 << 30 || (alignment & (alignment - 1)) != 0))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: 'general.alignment' is not a power of two", path);
    *out = (size_t)alignment;
    return TLM_OK;
}

/* Where a tensor lies, for checks of all of them. */
typedef struct extent {
    const tlmi_gguf_tensor_t *tensor;
    size_t bytes;
} extent_t;

static int compare_names(const void *a, const void *b)
{
    const tlmi_gguf_tensor_t *x = ((const extent_t *)a)->tensor, *y = ((const extent_t *)b)->tensor;

    return compare_keys(x->name, x->name_size, y->name, y->name_size);
}

static int compare_places(const void *a, const void *b)
{
    const extent_t *x = a, *y = b;

    if (x->tensor->data != y->tensor->data)
        return x->tensor->data < y->tensor->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Refuses names that appear twice, and tensors that share bytes. */
static tlm_status_t check_extents(extent_t *extents, size_t n, const char *path)
{
    qsort(extents, n, sizeof(*extents), compare_names);
    for (size_t i = 1; i < n; i++)
        if (compare_names(&extents[i - 1], &extents[i]) == 0)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: tensor '%.*s' appears twice", path,
                             shown(extents[i].tensor->name_size), extents[i].tensor->name);
    qsort(extents, n, sizeof(*extents), compare_places);
    for (size_t i = 1; i < n; i++)
        if (extents[i - 1].tensor->data + extents[i - 1].bytes > extents[i].tensor->data)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: tensors '%.*s' and '%.*s' overlap", path,
                             shown(extents[i - 1].tensor->name_size), extents[i - 1].tensor->name,
                             shown(extents[i].tensor->name_size), extents[i].tensor->name);
    return TLM_OK;
}

/* Sets the tensors' data pointers; `places` are offsets from the start of the data section. */
static tlm_status_t place_tensors(tlmi_gguf_t *file, const uint64_t *places, size_t described,
                                  extent_t *extents, const char *path)
{
    size_t alignment = 1, bytes = 0;

    TLMI_TRY(read_alignment(&alignment, file, path));
    size_t begin = (described + alignment - 1) / alignment * alignment;
    size_t room = begin < file->mapping.size ? file->mapping.size - begin : 0;
    for (size_t i = 0; i < file->num_tensors; i++) {
        tlmi_gguf_tensor_t *tensor = &file->tensors[i];

        TLMI_TRY(tensor_bytes(&bytes, tensor, path));
        if (places[i] % alignment != 0 || places[i] > room || bytes > room - places[i])
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: tensor '%.*s' has %zu bytes at offset %" PRIu64
                             " of %zu bytes of data with alignment %zu",
                             path, shown(tensor->name_size), tensor->name, bytes, places[i], room,
                             alignment);
        tensor->data = (const char *)file->mapping.data + begin + places[i];
        extents[i] = (extent_t){tensor, bytes};
    }
    return file->num_tensors == 0 ? TLM_OK : check_extents(extents, file->num_tensors, path);
}

static tlm_status_t take_tensors(tlmi_gguf_t *file, reader_t *reader)
{
    const size_t n = file->num_tensors;
    uint64_t *places = tlmi_alloc(n, sizeof(*places), "the tensors of a GGUF file");
    extent_t *extents = tlmi_alloc(n, sizeof(*extents), "the tensors of a GGUF file");
    tlm_status_t status = places == NULL || extents == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    for (size_t i = 0; i < file->num_tensors && status == TLM_OK; i++)
        status = take_tensor(&file->tensors[i], &places[i], reader);
    if (status == TLM_OK)
        status = place_tensors(file, places, (size_t)(reader->at - file->mapping.data), extents,
                               reader->path);
    tlmi_free(extents);
    tlmi_free(places);
    return status;
}

/* ---- The file --------------------------------------------------------------------------- */

static tlm_status_t parse(tlmi_gguf_t *file, const char *path)
{
    reader_t reader = {file->mapping.data, file->mapping.size, path};
    uint64_t num_tensors = 0, num_values = 0;
    uint32_t version = 0;
    size_t given = reader.left < 4 ? reader.left : 4;

    if (given == 0 || memcmp(reader.at, TLMI_GGUF_MAGIC, given) != 0)
        return tlmi_fail_kind(path, "a GGUF file", file->mapping.data, file->mapping.size);
    if (take(&reader, 4) == NULL)
        return TLM_ERR_FORMAT;
    TLMI_TRY(take_u32(&version, &reader));
    if (version != 2 && version != TLMI_GGUF_VERSION)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: GGUF version 0x%" PRIX32 "; this library reads 2 and 3%s", path,
                         version, (version & 0xFFFF) == 0 ? ", in little-endian order" : "");
    TLMI_TRY(take_u64(&num_tensors, &reader));
    TLMI_TRY(take_u64(&num_values, &reader));
    if (num_tensors > reader.left / LEAST_TENSOR || num_values > reader.left / LEAST_VALUE)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: %" PRIu64 " tensors and %" PRIu64
                         " values do not fit in a file of %zu bytes",
                         path, num_tensors, num_values, file->mapping.size);
    file->num_tensors = (size_t)num_tensors;
    file->num_values = (size_t)num_values;
    file->tensors =
        tlmi_calloc(file->num_tensors, sizeof(*file->tensors), "the tensors of a GGUF file");
    file->values =
        tlmi_calloc(file->num_values, sizeof(*file->values), "the values of a GGUF file");
    if (file->tensors == NULL || file->values == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(take_values(file, &reader));
    return take_tensors(file, &reader);
}

tlm_status_t tlmi_gguf_open(tlmi_gguf_t *out, const char *path)
{
    tlmi_gguf_t file = {0};

    TLMI_TRY(tlmi_map_file(&file.mapping, path));
    tlm_status_t status = parse(&file, path);
    if (status == TLM_OK)
        *out = file;
    else
        tlmi_gguf_close(&file);
    return status;
}

void tlmi_gguf_close(tlmi_gguf_t *file)
{
    tlmi_free(file->values);
    tlmi_free(file->tensors);
    tlmi_unmap_file(&file->mapping);
    *file = (tlmi_gguf_t){0};
}

/* ---- Values ----------------------------------------------------------------------------- */

const tlmi_gguf_value_t *tlmi_gguf_find(const tlmi_gguf_t *file, const char *key)
{
    const tlmi_gguf_value_t wanted = {.key = key, .key_size = strlen(key)};

    return file->num_values == 0 ? NULL
                                 : bsearch(&wanted, file->values, file->num_values,
                                           sizeof(*file->values), compare_values);
}

bool tlmi_gguf_get_int(const tlmi_gguf_value_t *value, int64_t *out)
{
    if (value == NULL || value->is_array)
        return false;
    const uint8_t *bytes = (const uint8_t *)value->data;
    switch (value->type) {
    case TLMI_GGUF_UINT8:
        *out = bytes[0];
        return true;
    case TLMI_GGUF_INT8:
        *out = (int8_t)bytes[0];
        return true;
    case TLMI_GGUF_UINT16:
        *out = tlmi_load_le16(bytes);
        return true;
    case TLMI_GGUF_INT16:
        *out = (int16_t)tlmi_load_le16(bytes);
        return true;
    case TLMI_GGUF_UINT32:
        *out = tlmi_load_le32(bytes);
        return true;
    case TLMI_GGUF_INT32:
        *out = (int32_t)tlmi_load_le32(bytes);
        return true;
    case TLMI_GGUF_UINT64:
    case TLMI_GGUF_INT64:
        *out = (int64_t)tlmi_load_le64(bytes);
        return value->type == TLMI_GGUF_INT64 || *out >= 0;
    default:
        return false;
    }
}

bool tlmi_gguf_get_number(const tlmi_gguf_value_t *value, double *out)
{
    if (value == NULL || value->is_array)
        return false;
    float single;
    if (value->type == TLMI_GGUF_FLOAT32) {
        memcpy(&single, value->data, sizeof(single));
        *out = single;
    } else if (value->type == TLMI_GGUF_FLOAT64) {
        memcpy(out, value->data, sizeof(*out));
    }
    return value->type == TLMI_GGUF_FLOAT32 || value->type == TLMI_GGUF_FLOAT64;
}

void tlmi_gguf_next_string(const char **cursor, const char **text, size_t *size)
{
    *size = (size_t)tlmi_load_le64((const uint8_t *)*cursor);
    *text = *cursor + 8;
    *cursor = *text + *size;
}

bool tlmi_gguf_get_string(const tlmi_gguf_value_t *value, const char **text, size_t *size)
{
    if (value == NULL || value->is_array || value->type != TLMI_GGUF_STRING)
        return false;
    const char *cursor = value->data;
    tlmi_gguf_next_string(&cursor, text, size);
    return true;
}
