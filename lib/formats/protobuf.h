/* The wire format of protocol buffers: a message is a row of fields, each a number, a wire type and
 * a value. The reader checks every length, so that its users see only bytes that are there. */
#ifndef TLMI_PROTOBUF_H
#define TLMI_PROTOBUF_H

#include "tinylm/status.h"

enum {
    TLMI_PROTOBUF_VARINT = 0,
    TLMI_PROTOBUF_FIXED64 = 1,
    TLMI_PROTOBUF_BYTES = 2, /* strings, byte strings and messages */
    TLMI_PROTOBUF_FIXED32 = 5
};

/* What is left of a message. */
typedef struct tlmi_protobuf {
    const uint8_t *at, *end;
    const uint8_t *file; /* where offsets in messages are counted from */
    const char *path;    /* begins messages */
} tlmi_protobuf_t;

typedef struct tlmi_protobuf_field {
    uint32_t number;
    int type;            /* TLMI_PROTOBUF_... */
    uint64_t value;      /* of all types except BYTES */
    const uint8_t *data; /* BYTES */
    size_t size;
    size_t offset; /* of the field, in the file */
} tlmi_protobuf_field_t;

/* Reads the next field; *found is false at the end of the message. TLM_ERR_FORMAT, with the offset,
 * if the bytes are no field. */
tlm_status_t tlmi_protobuf_next(bool *found, tlmi_protobuf_field_t *field,
                                tlmi_protobuf_t *message);

/* Get the value of a field. TLM_ERR_FORMAT, with `name` and the offset, if its type is another one;
 * the integer must have 32 bits. */
tlm_status_t tlmi_protobuf_message(tlmi_protobuf_t *out, const tlmi_protobuf_t *message,
                                   const tlmi_protobuf_field_t *field, const char *name);
tlm_status_t tlmi_protobuf_bytes(const uint8_t **data, size_t *size, const tlmi_protobuf_t *message,
                                 const tlmi_protobuf_field_t *field, const char *name);
tlm_status_t tlmi_protobuf_int32(int32_t *out, const tlmi_protobuf_t *message,
                                 const tlmi_protobuf_field_t *field, const char *name);
tlm_status_t tlmi_protobuf_bool(bool *out, const tlmi_protobuf_t *message,
                                const tlmi_protobuf_field_t *field, const char *name);
tlm_status_t tlmi_protobuf_float(float *out, const tlmi_protobuf_t *message,
                                 const tlmi_protobuf_field_t *field, const char *name);

#endif
