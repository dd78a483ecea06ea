/* A varint has 7 bits per byte, the lowest first, and the top bit of each byte but the last is set. */
#include "formats/protobuf.h"

#include <string.h>

#include "base/error.h"
#include "base/dtype.h"

#define MAX_FIELD_NUMBER 0x1FFFFFFF

static size_t offset_of(const tlmi_protobuf_t *message, const uint8_t *at)
{
    return (size_t)(at - message->file);
}

static tlm_status_t read_varint(uint64_t *out, tlmi_protobuf_t *message)
{
    const uint8_t *start = message->at;
    uint64_t value = 0;

    for (int shift = 0; shift < 70; shift += 7) {
        if (message->at == message->end)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the number at byte %zu is cut off", message->path,
                             offset_of(message, start));
        uint8_t byte = *message->at++;
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *out = value;
            return TLM_OK;
        }
    }
    return tlmi_fail(TLM_ERR_FORMAT, "%s: the number at byte %zu has more than 64 bits",
                     message->path, offset_of(message, start));
}

static tlm_status_t take(const uint8_t **data, tlmi_protobuf_t *message, uint64_t size,
                         const tlmi_protobuf_field_t *field)
{
    size_t left = (size_t)(message->end - message->at);

    if (size > left)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: field %u at byte %zu is cut off: it has %llu bytes, and %zu are left",
                         message->path, field->number, field->offset, (unsigned long long)size,
                         left);
    *data = message->at;
    message->at += size;
    return TLM_OK;
}

static tlm_status_t read_value(tlmi_protobuf_field_t *field, tlmi_protobuf_t *message)
{
    uint64_t size;

    switch (field->type) {
    case TLMI_PROTOBUF_VARINT:
        return read_varint(&field->value, message);
    case TLMI_PROTOBUF_FIXED64:
        TLMI_TRY(take(&field->data, message, 8, field));
        field->value = tlmi_load_le64(field->data);
        return TLM_OK;
    case TLMI_PROTOBUF_FIXED32:
        TLMI_TRY(take(&field->data, message, 4, field));
        field->value = tlmi_load_le32(field->data);
        return TLM_OK;
    case TLMI_PROTOBUF_BYTES:
        TLMI_TRY(read_varint(&size, message));
        TLMI_TRY(take(&field->data, message, size, field));
        field->size = (size_t)size;
        return TLM_OK;
    default:
        return tlmi_fail(TLM_ERR_FORMAT, "%s: field %u at byte %zu has the unknown wire type %d",
                         message->path, field->number, field->offset, field->type);
    }
}

tlm_status_t tlmi_protobuf_next(bool *found, tlmi_protobuf_field_t *field, tlmi_protobuf_t *message)
{
    uint64_t key;

    *found = message->at < message->end;
    if (!*found)
        return TLM_OK;
    *field = (tlmi_protobuf_field_t){.offset = offset_of(message, message->at)};
    TLMI_TRY(read_varint(&key, message));
    if (key >> 3 == 0 || key >> 3 > MAX_FIELD_NUMBER)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the field at byte %zu has the number %llu, which none "
                         "has",
                         message->path, field->offset, (unsigned long long)(key >> 3));
    field->number = (uint32_t)(key >> 3);
    field->type = (int)(key & 7);
    return read_value(field, message);
}

static tlm_status_t require(const tlmi_protobuf_t *message, const tlmi_protobuf_field_t *field,
                            int type, const char *name)
{
    static const char *const types[] = {[TLMI_PROTOBUF_VARINT] = "an integer",
                                        [TLMI_PROTOBUF_FIXED64] = "8 bytes",
                                        [TLMI_PROTOBUF_BYTES] = "a byte string",
                                        [TLMI_PROTOBUF_FIXED32] = "4 bytes"};

    if (field->type == type)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT, "%s: the %s at byte %zu is %s instead of %s", message->path,
                     name, field->offset, types[field->type], types[type]);
}

tlm_status_t tlmi_protobuf_message(tlmi_protobuf_t *out, const tlmi_protobuf_t *message,
                                   const tlmi_protobuf_field_t *field, const char *name)
{
    TLMI_TRY(require(message, field, TLMI_PROTOBUF_BYTES, name));
    *out = *message;
    out->at = field->data;
    out->end = field->data + field->size;
    return TLM_OK;
}

tlm_status_t tlmi_protobuf_bytes(const uint8_t **data, size_t *size, const tlmi_protobuf_t *message,
                                 const tlmi_protobuf_field_t *field, const char *name)
{
    TLMI_TRY(require(message, field, TLMI_PROTOBUF_BYTES, name));
    *data = field->data;
    *size = field->size;
    return TLM_OK;
}

tlm_status_t tlmi_protobuf_int32(int32_t *out, const tlmi_protobuf_t *message,
                                 const tlmi_protobuf_field_t *field, const char *name)
{
    int64_t value = (int64_t)field->value;

    TLMI_TRY(require(message, field, TLMI_PROTOBUF_VARINT, name));
    if (value < INT32_MIN || value > INT32_MAX)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the %s at byte %zu is %lld, which needs more than 32 "
                         "bits",
                         message->path, name, field->offset, (long long)value);
    *out = (int32_t)value;
    return TLM_OK;
}

tlm_status_t tlmi_protobuf_bool(bool *out, const tlmi_protobuf_t *message,
                                const tlmi_protobuf_field_t *field, const char *name)
{
    TLMI_TRY(require(message, field, TLMI_PROTOBUF_VARINT, name));
    *out = field->value != 0;
    return TLM_OK;
}

tlm_status_t tlmi_protobuf_float(float *out, const tlmi_protobuf_t *message,
                                 const tlmi_protobuf_field_t *field, const char *name)
{
    uint32_t bits = (uint32_t)field->value;

    TLMI_TRY(require(message, field, TLMI_PROTOBUF_FIXED32, name));
    memcpy(out, &bits, sizeof(*out));
    return TLM_OK;
}
