/* Reader and writer of safetensors files. */
#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/file.h"
#include "base/dtype.h"
#include "formats/file_kind.h"

#define LENGTH_SIZE     8          /* size of the header length at the start */
#define HEADER_MAX_SIZE 100000000u /* the format's own limit */
#define CHECKSUM_PREFIX "crc64xz:"
#define CHECKSUM_DIGITS 16
#define CHECKSUM_PIECE  ((size_t)16 << 20) /* bytes between two checks of the file's size */

/* ---- Reading ---------------------------------------------------------------------------- */

/* Computes the bytes that shape and dtype require. */
static tlm_status_t tensor_bytes(size_t *out, const tlmi_st_tensor_t *tensor, const char *path)
{
    const tlmi_dtype_t *type = tlmi_dtype_of_safetensors(tensor->dtype);

    if (type == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: tensor '%.128s' has unknown dtype '%.16s'", path,
                         tensor->name, tensor->dtype);
    size_t bytes = type->bytes;
    for (int32_t i = 0; i < tensor->ndim; i++)
        if (!tlmi_mul_size(&bytes, bytes, (size_t)tensor->shape[i]))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the shape of tensor '%.128s' overflows", path,
                             tensor->name);
    *out = bytes;
    return TLM_OK;
}

static tlm_status_t parse_shape(tlmi_st_tensor_t *tensor, const tlmi_json_t *shape,
                                const char *path)
{
    size_t ndim = tlmi_json_size(shape);

    if (!tlmi_json_is_array(shape) || ndim > TLM_MAX_DIMS)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the shape of tensor '%.128s' is not a list of at most %d sizes", path,
                         tensor->name, TLM_MAX_DIMS);
    tensor->ndim = (int32_t)ndim;
    for (size_t i = 0; i < ndim; i++)
        if (!tlmi_json_get_int(tlmi_json_item(shape, i), &tensor->shape[i]) || tensor->shape[i] < 0)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: size %zu of tensor '%.128s' is not a whole number", path, i,
                             tensor->name);
    return TLM_OK;
}

/* Parses one entry of the header; `data` points to the bytes after the header. */
static tlm_status_t parse_tensor(tlmi_st_tensor_t *tensor, const char *name,
                                 const tlmi_json_t *value, const uint8_t *data, size_t data_size,
                                 const char *path)
{
    const tlmi_json_t *offsets = tlmi_json_member(value, "data_offsets");
    size_t wanted = 0;

    memset(tensor, 0, sizeof(*tensor));
    tensor->name = name;
    if (!tlmi_json_is_object(value) || tlmi_json_size(value) != 3 || name[0] == '\0')
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: tensor '%.128s' is not described by dtype, shape and data_offsets",
                         path, name);
    size_t length;
    if (!tlmi_json_get_string(tlmi_json_member(value, "dtype"), &tensor->dtype, &length) ||
        strlen(tensor->dtype) != length)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: tensor '%.128s' has no dtype", path, name);
    TLMI_TRY(parse_shape(tensor, tlmi_json_member(value, "shape"), path));
    int64_t begin, end;
    if (!tlmi_json_is_array(offsets) || tlmi_json_size(offsets) != 2 ||
        !tlmi_json_get_int(tlmi_json_item(offsets, 0), &begin) ||
        !tlmi_json_get_int(tlmi_json_item(offsets, 1), &end))
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the data_offsets of tensor '%.128s' are not two whole "
                         "numbers",
                         path, name);
    if (begin < 0 || end < begin || (uint64_t)end > data_size)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: tensor '%.128s' lies at bytes %" PRId64 " to %" PRId64
                         " of %zu bytes of data",
                         path, name, begin, end, data_size);
    TLMI_TRY(tensor_bytes(&wanted, tensor, path));
    tensor->bytes = (size_t)(end - begin);
    if (tensor->bytes != wanted)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: tensor '%.128s' has %zu bytes, but its dtype and shape need %zu",
                         path, name, tensor->bytes, wanted);
    tensor->data = data + begin;
    return TLM_OK;
}

static int compare_places(const void *a, const void *b)
{
    const tlmi_st_tensor_t *x = a, *y = b;

    if (x->data != y->data)
        return (const uint8_t *)x->data < (const uint8_t *)y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Checks that the tensors fill the data section, one after another. */
static tlm_status_t check_places(const tlmi_safetensors_t *file, const uint8_t *data,
                                 size_t data_size, const char *path)
{
    size_t at = 0;

    for (size_t i = 0; i < file->num_tensors; i++) {
        size_t begin = (size_t)((const uint8_t *)file->tensors[i].data - data);

        if (begin != at)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: tensor '%.128s' begins at byte %zu of the data instead of %zu",
                             path, file->tensors[i].name, begin, at);
        at += file->tensors[i].bytes;
    }
    if (at != data_size)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the tensors fill only %zu of %zu bytes of data", path,
                         at, data_size);
    return TLM_OK;
}

static tlm_status_t check_metadata(const tlmi_json_t *metadata, const char *path)
{
    void *cursor = NULL;

    if (metadata != NULL && !tlmi_json_is_object(metadata))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: __metadata__ is not an object", path);
    const tlmi_json_t *value;
    const char *key, *text;
    size_t size;
    while (metadata != NULL && tlmi_json_next(metadata, &cursor, &key, &value))
        if (!tlmi_json_get_string(value, &text, &size) || strlen(text) != size)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: metadata '%.128s' is not a plain string", path,
                             key);
    return TLM_OK;
}

/* Parses the JSON header into `file`, whose mapping is set. */
static tlm_status_t parse_header(tlmi_safetensors_t *file, const char *path)
{
    const uint8_t *text = file->mapping.data + LENGTH_SIZE;
    const uint8_t *data = text + file->header_size;
    size_t data_size = file->mapping.size - LENGTH_SIZE - file->header_size;
    void *cursor = NULL;

    /* The format requires the opening brace first, so that the ninth byte identifies a file. */
    if (file->header_size == 0 || text[0] != '{')
        return tlmi_fail_kind(path, "a safetensors file", file->mapping.data, file->mapping.size);
    TLMI_TRY(tlmi_json_parse(&file->header, text, file->header_size, path));
    if (!tlmi_json_is_object(file->header))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the header is not a JSON object", path);
    file->metadata = tlmi_json_member(file->header, "__metadata__");
    TLMI_TRY(check_metadata(file->metadata, path));
    file->tensors = tlmi_alloc(tlmi_json_size(file->header), sizeof(*file->tensors),
                               "the tensors of a safetensors file");
    if (file->tensors == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    const tlmi_json_t *value;
    const char *name;
    while (tlmi_json_next(file->header, &cursor, &name, &value))
        if (value != file->metadata)
            TLMI_TRY(parse_tensor(&file->tensors[file->num_tensors++], name, value, data, data_size,
                                  path));
    qsort(file->tensors, file->num_tensors, sizeof(*file->tensors), compare_places);
    return check_places(file, data, data_size, path);
}

/* If the file is of another kind, its first eight bytes taken as a length would give a
 * meaningless number in the message, so name the kind instead. */
static tlm_status_t fail_header_size(const tlmi_mapping_t *file, uint64_t size, const char *path)
{
    if (tlmi_file_kind(file->data, file->size) != TLMI_FILE_SAFETENSORS)
        return tlmi_fail_kind(path, "a safetensors file", file->data, file->size);
    return tlmi_fail(TLM_ERR_FORMAT,
                     "%s: the safetensors header has %" PRIu64
                     " bytes, but the file only %zu; it may be cut short",
                     path, size, file->size);
}

tlm_status_t tlmi_safetensors_open(tlmi_safetensors_t *out, const char *path)
{
    tlmi_safetensors_t file;
    uint64_t header_size = 0;

    memset(&file, 0, sizeof(file));
    TLMI_TRY(tlmi_map_file(&file.mapping, path));
    if (file.mapping.size >= LENGTH_SIZE)
        header_size = tlmi_load_le64(file.mapping.data);
    tlm_status_t status;
    if (file.mapping.size < LENGTH_SIZE || header_size > HEADER_MAX_SIZE ||
        header_size > file.mapping.size - LENGTH_SIZE) {
        status = fail_header_size(&file.mapping, header_size, path);
        goto fail;
    }
    file.header_size = (size_t)header_size;
    TLMI_TRY_OR(fail, parse_header(&file, path));
    *out = file;
    return TLM_OK;
fail:
    tlmi_safetensors_close(&file);
    return status;
}

void tlmi_safetensors_close(tlmi_safetensors_t *file)
{
    tlmi_free(file->tensors);
    tlmi_json_free(file->header);
    tlmi_unmap_file(&file->mapping);
    memset(file, 0, sizeof(*file));
}

const tlmi_st_tensor_t *tlmi_safetensors_find(const tlmi_safetensors_t *file, const char *name)
{
    for (size_t i = 0; i < file->num_tensors; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

const char *tlmi_safetensors_metadata(const tlmi_safetensors_t *file, const char *key)
{
    const char *text;
    size_t size;

    if (file->metadata == NULL ||
        !tlmi_json_get_string(tlmi_json_member(file->metadata, key), &text, &size))
        return NULL;
    return text;
}

/* ---- The checksum ----------------------------------------------------------------------- */

/* Returns the position of the checksum's digits in the header's text; NULL if there are none.
 * The first occurrence counts, and the writer puts it first. */
static const char *find_digits(const char *header, size_t size)
{
    static const char key[] = "\"checksum\":\"" CHECKSUM_PREFIX;
    const char *at = memmem(header, size, key, sizeof(key) - 1);

    if (at == NULL || (size_t)(header + size - at) < sizeof(key) - 1 + CHECKSUM_DIGITS)
        return NULL;
    return at + sizeof(key) - 1;
}

/* Starts the checksum of a file with its length field and its header, with zeros for the digits. */
static void checksum_header(tlmi_crc64_t *crc, const char *header, size_t size, const char *digits)
{
    size_t before = (size_t)(digits - header);

    tlmi_crc64_init(crc);
    uint8_t length[LENGTH_SIZE];
    tlmi_store_le64(length, size);
    tlmi_crc64_update(crc, length, sizeof(length));
    tlmi_crc64_update(crc, header, before);
    tlmi_crc64_update(crc, "0000000000000000", CHECKSUM_DIGITS);
    tlmi_crc64_update(crc, digits + CHECKSUM_DIGITS, size - before - CHECKSUM_DIGITS);
}

tlm_status_t tlmi_safetensors_verify(const tlmi_safetensors_t *file, const char *path)
{
    const char *header = (const char *)file->mapping.data + LENGTH_SIZE;
    const char *digits = find_digits(header, file->header_size);
    size_t begin = LENGTH_SIZE + file->header_size;

    if (digits == NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the file has no checksum", path);
    tlmi_crc64_t crc;
    checksum_header(&crc, header, file->header_size, digits);
    while (begin < file->mapping.size) {
        size_t left = file->mapping.size - begin;
        size_t size = left < CHECKSUM_PIECE ? left : CHECKSUM_PIECE;

        TLMI_TRY(tlmi_check_interrupt(path));
        TLMI_TRY(tlmi_mapping_check(&file->mapping, path));
        tlmi_crc64_update(&crc, file->mapping.data + begin, size);
        begin += size;
    }
    char actual[CHECKSUM_DIGITS + 1];
    snprintf(actual, sizeof(actual), "%016" PRIx64, tlmi_crc64_final(&crc));
    if (memcmp(actual, digits, CHECKSUM_DIGITS) != 0)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the file is damaged: its checksum is %s, but it states %.16s", path,
                         actual, digits);
    return TLM_OK;
}

/* ---- Writing ---------------------------------------------------------------------------- */

static tlm_status_t append_int(tlmi_json_t *array, uint64_t value)
{
    return tlmi_json_append(array, tlmi_json_new_int((int64_t)value));
}

/* Adds the entry of one tensor, whose data begin at `offset`. */
static tlm_status_t describe_tensor(tlmi_json_t *header, const tlmi_st_tensor_t *tensor,
                                    uint64_t offset)
{
    tlmi_json_t *entry = tlmi_json_new_object();
    tlmi_json_t *shape = tlmi_json_new_array();
    tlmi_json_t *offsets = tlmi_json_new_array();
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (entry == NULL || shape == NULL || offsets == NULL)
        goto fail;
    for (int32_t i = 0; i < tensor->ndim; i++)
        TLMI_TRY_OR(fail, append_int(shape, (uint64_t)tensor->shape[i]));
    TLMI_TRY_OR(fail, append_int(offsets, offset));
    TLMI_TRY_OR(fail, append_int(offsets, offset + tensor->bytes));
    TLMI_TRY_OR(fail, tlmi_json_set(entry, "dtype",
                                    tlmi_json_new_string(tensor->dtype, strlen(tensor->dtype))));
    status = tlmi_json_set(entry, "shape", shape);
    shape = NULL;
    if (status != TLM_OK)
        goto fail;
    status = tlmi_json_set(entry, "data_offsets", offsets);
    offsets = NULL;
    if (status != TLM_OK)
        goto fail;
    return tlmi_json_set(header, tensor->name, entry);
fail:
    tlmi_json_free(offsets);
    tlmi_json_free(shape);
    tlmi_json_free(entry);
    return status;
}

/* Builds a new object with a placeholder for the checksum first, then the contents of
 * `metadata`. */
static tlm_status_t begin_metadata(tlmi_json_t **out, const tlmi_json_t *metadata)
{
    static const char place[] = CHECKSUM_PREFIX "0000000000000000";
    tlmi_json_t *whole = tlmi_json_new_object();
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    void *cursor = NULL;

    if (whole == NULL)
        return status;
    TLMI_TRY_OR(fail,
                tlmi_json_set(whole, "checksum", tlmi_json_new_string(place, sizeof(place) - 1)));
    const tlmi_json_t *value;
    const char *key, *text;
    size_t size;
    while (tlmi_json_next(metadata, &cursor, &key, &value))
        if (tlmi_json_get_string(value, &text, &size))
            TLMI_TRY_OR(fail, tlmi_json_set(whole, key, tlmi_json_new_string(text, size)));
    *out = whole;
    return TLM_OK;
fail:
    tlmi_json_free(whole);
    return status;
}

/* Returns the header's text, padded with spaces so that the data begin at a multiple of 64
 * bytes. Owned. */
static tlm_status_t make_header(char **out, size_t *out_size, const tlmi_st_tensor_t *tensors,
                                size_t n, const tlmi_json_t *metadata)
{
    tlmi_json_t *header = tlmi_json_new_object();
    tlmi_json_t *whole = NULL;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    char *text = NULL;
    uint64_t offset = 0;

    if (header == NULL)
        return status;
    TLMI_TRY_OR(done, begin_metadata(&whole, metadata));
    TLMI_TRY_OR(done, tlmi_json_set(header, "__metadata__", whole));
    for (size_t i = 0; i < n; i++) {
        TLMI_TRY_OR(done, describe_tensor(header, &tensors[i], offset));
        offset += tensors[i].bytes;
    }
    size_t size;
    TLMI_TRY_OR(done, tlmi_json_dump(&text, &size, header));
    size_t total = (LENGTH_SIZE + size + 63) / 64 * 64 - LENGTH_SIZE;
    if (total > HEADER_MAX_SIZE) {
        status = tlmi_fail(TLM_ERR_UNSUPPORTED,
                           "safetensors: a header of %zu bytes is too long; the format allows %u",
                           total, HEADER_MAX_SIZE);
        goto done;
    }
    status = TLM_ERR_OUT_OF_MEMORY;
    char *padded = tlmi_realloc(text, total, 1, "a safetensors header");
    if (padded == NULL)
        goto done;
    memset(padded + size, ' ', total - size);
    text = NULL;
    *out = padded;
    *out_size = total;
    status = TLM_OK;
done:
    tlmi_free(text);
    tlmi_json_free(header);
    return status;
}

struct tlmi_st_writer {
    tlmi_writer_t *file;
    tlmi_crc64_t crc;
    uint64_t digits_at; /* offset of the checksum in the file */
};

static tlm_status_t write_header(tlmi_st_writer_t *writer, const char *header, size_t size)
{
    const char *digits = find_digits(header, size);

    checksum_header(&writer->crc, header, size, digits);
    writer->digits_at = LENGTH_SIZE + (uint64_t)(digits - header);
    uint8_t length[LENGTH_SIZE];
    tlmi_store_le64(length, size);
    TLMI_TRY(tlmi_writer_write(writer->file, length, sizeof(length)));
    return tlmi_writer_write(writer->file, header, size);
}

tlm_status_t tlmi_st_writer_open(tlmi_st_writer_t **out, const char *path,
                                 const tlmi_st_tensor_t *tensors, size_t n, tlmi_json_t *metadata)
{
    tlmi_st_writer_t *writer = NULL;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    char *header = NULL;
    size_t size = 0;

    if (metadata == NULL)
        return status;
    TLMI_TRY_OR(done, make_header(&header, &size, tensors, n, metadata));
    status = TLM_ERR_OUT_OF_MEMORY;
    writer = tlmi_calloc(1, sizeof(*writer), "a safetensors writer");
    if (writer == NULL)
        goto done;
    TLMI_TRY_OR(done, tlmi_writer_open(&writer->file, path));
    TLMI_TRY_OR(done, write_header(writer, header, size));
    *out = writer;
    writer = NULL;
done:
    tlmi_st_writer_abort(writer);
    tlmi_free(header);
    tlmi_json_free(metadata);
    return status;
}

tlm_status_t tlmi_st_writer_write(tlmi_st_writer_t *writer, const void *bytes, size_t size)
{
    tlmi_crc64_update(&writer->crc, bytes, size);
    return tlmi_writer_write(writer->file, bytes, size);
}

tlm_status_t tlmi_st_writer_commit(tlmi_st_writer_t *writer)
{
    char digits[CHECKSUM_DIGITS + 1];

    snprintf(digits, sizeof(digits), "%016" PRIx64, tlmi_crc64_final(&writer->crc));
    tlm_status_t status =
        tlmi_writer_patch(writer->file, writer->digits_at, digits, CHECKSUM_DIGITS);
    if (status == TLM_OK)
        status = tlmi_writer_commit(writer->file);
    else
        tlmi_writer_abort(writer->file);
    tlmi_free(writer);
    return status;
}

void tlmi_st_writer_abort(tlmi_st_writer_t *writer)
{
    if (writer != NULL)
        tlmi_writer_abort(writer->file);
    tlmi_free(writer);
}

tlm_status_t tlmi_safetensors_write(const char *path, const tlmi_st_tensor_t *tensors, size_t n,
                                    tlmi_json_t *metadata)
{
    tlmi_st_writer_t *writer;

    TLMI_TRY(tlmi_st_writer_open(&writer, path, tensors, n, metadata));
    tlm_status_t status;
    for (size_t i = 0; i < n; i++)
        TLMI_TRY_OR(fail, tlmi_st_writer_write(writer, tensors[i].data, tensors[i].bytes));
    return tlmi_st_writer_commit(writer);
fail:
    tlmi_st_writer_abort(writer);
    return status;
}
