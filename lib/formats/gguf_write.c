/* Writer of GGUF files. */
#include "formats/gguf.h"

#include <string.h>

#include "base/error.h"
#include "base/dtype.h"

#define NUM_VALUES_AT 16 /* offset of the number of values in the header */

static tlm_status_t put_u32(tlmi_gguf_writer_t *writer, uint32_t value)
{
    uint8_t bytes[4];

    tlmi_store_le32(bytes, value);
    return tlmi_writer_write(writer->file, bytes, sizeof(bytes));
}

static tlm_status_t put_u64(tlmi_gguf_writer_t *writer, uint64_t value)
{
    uint8_t bytes[8];

    tlmi_store_le64(bytes, value);
    return tlmi_writer_write(writer->file, bytes, sizeof(bytes));
}

tlm_status_t tlmi_gguf_put_string_item(tlmi_gguf_writer_t *writer, const char *text, size_t size)
{
    TLMI_TRY(put_u64(writer, size));
    return tlmi_writer_write(writer->file, text, size);
}

tlm_status_t tlmi_gguf_put_int32_item(tlmi_gguf_writer_t *writer, int32_t item)
{
    return put_u32(writer, (uint32_t)item);
}

/* ---- The file --------------------------------------------------------------------------- */

tlm_status_t tlmi_gguf_begin(tlmi_gguf_writer_t *out, const char *path, uint64_t num_tensors)
{
    tlmi_gguf_writer_t writer = {NULL, 0};

    TLMI_TRY(tlmi_writer_open(&writer.file, path));
    tlm_status_t status = tlmi_writer_write(writer.file, TLMI_GGUF_MAGIC, 4);
    if (status == TLM_OK)
        status = put_u32(&writer, TLMI_GGUF_VERSION);
    if (status == TLM_OK)
        status = put_u64(&writer, num_tensors);
    if (status == TLM_OK)
        status = put_u64(&writer, 0); /* number of values */
    if (status == TLM_OK)
        *out = writer;
    else
        tlmi_gguf_abort(&writer);
    return status;
}

tlm_status_t tlmi_gguf_commit(tlmi_gguf_writer_t *writer)
{
    tlmi_writer_t *file = writer->file;
    uint8_t bytes[8];

    tlmi_store_le64(bytes, writer->num_values);
    tlm_status_t status = tlmi_writer_patch(file, NUM_VALUES_AT, bytes, sizeof(bytes));
    if (status != TLM_OK) {
        tlmi_gguf_abort(writer);
        return status;
    }
    writer->file = NULL;
    return tlmi_writer_commit(file);
}

void tlmi_gguf_abort(tlmi_gguf_writer_t *writer)
{
    tlmi_writer_abort(writer->file);
    writer->file = NULL;
}

uint64_t tlmi_gguf_aligned(uint64_t size)
{
    return (size + TLMI_GGUF_ALIGNMENT - 1) / TLMI_GGUF_ALIGNMENT * TLMI_GGUF_ALIGNMENT;
}

tlm_status_t tlmi_gguf_align(tlmi_gguf_writer_t *writer)
{
    static const uint8_t zeros[TLMI_GGUF_ALIGNMENT];
    uint64_t size = tlmi_writer_size(writer->file);

    return tlmi_writer_write(writer->file, zeros, (size_t)(tlmi_gguf_aligned(size) - size));
}

/* ---- Values and tensors ----------------------------------------------------------------- */

static tlm_status_t put_key(tlmi_gguf_writer_t *writer, const char *key, uint32_t type)
{
    writer->num_values++;
    TLMI_TRY(tlmi_gguf_put_string_item(writer, key, strlen(key)));
    return put_u32(writer, type);
}

tlm_status_t tlmi_gguf_put_uint32(tlmi_gguf_writer_t *writer, const char *key, uint32_t value)
{
    TLMI_TRY(put_key(writer, key, TLMI_GGUF_UINT32));
    return put_u32(writer, value);
}

tlm_status_t tlmi_gguf_put_float32(tlmi_gguf_writer_t *writer, const char *key, float value)
{
    TLMI_TRY(put_key(writer, key, TLMI_GGUF_FLOAT32));
    return put_u32(writer, tlmi_float_bits(value));
}

tlm_status_t tlmi_gguf_put_bool(tlmi_gguf_writer_t *writer, const char *key, bool value)
{
    const uint8_t byte = value;

    TLMI_TRY(put_key(writer, key, TLMI_GGUF_BOOL));
    return tlmi_writer_write(writer->file, &byte, 1);
}

tlm_status_t tlmi_gguf_put_string(tlmi_gguf_writer_t *writer, const char *key, const char *text)
{
    TLMI_TRY(put_key(writer, key, TLMI_GGUF_STRING));
    return tlmi_gguf_put_string_item(writer, text, strlen(text));
}

tlm_status_t tlmi_gguf_put_array(tlmi_gguf_writer_t *writer, const char *key, uint32_t type,
                                 uint64_t count)
{
    TLMI_TRY(put_key(writer, key, TLMI_GGUF_ARRAY));
    TLMI_TRY(put_u32(writer, type));
    return put_u64(writer, count);
}

tlm_status_t tlmi_gguf_put_copy(tlmi_gguf_writer_t *writer, const tlmi_gguf_value_t *value)
{
    writer->num_values++;
    TLMI_TRY(tlmi_gguf_put_string_item(writer, value->key, value->key_size));
    TLMI_TRY(put_u32(writer, value->is_array ? TLMI_GGUF_ARRAY : value->type));
    if (value->is_array) {
        TLMI_TRY(put_u32(writer, value->type));
        TLMI_TRY(put_u64(writer, value->count));
    }
    return tlmi_writer_write(writer->file, value->data, value->bytes);
}

tlm_status_t tlmi_gguf_put_tensor(tlmi_gguf_writer_t *writer, const char *name,
                                  const int64_t *shape, int32_t ndim, uint32_t type, uint64_t place)
{
    TLMI_TRY(tlmi_gguf_put_string_item(writer, name, strlen(name)));
    TLMI_TRY(put_u32(writer, (uint32_t)ndim));
    for (int32_t i = ndim - 1; i >= 0; i--)
        TLMI_TRY(put_u64(writer, (uint64_t)shape[i]));
    TLMI_TRY(put_u32(writer, type));
    return put_u64(writer, place);
}
