/* Writing GGUF files, version 3: tlmi_gguf_begin, all values, all descriptions of tensors, and for each
 * tensor tlmi_gguf_align and its bytes. */
#ifndef TLMI_GGUF_WRITE_H
#define TLMI_GGUF_WRITE_H

#include "base/file.h"
#include "gguf.h"

typedef struct tlmi_gguf_writer {
    tlmi_writer_t *file;
    uint64_t num_values; /* so far; the header gets it at the end */
} tlmi_gguf_writer_t;

tlm_status_t tlmi_gguf_begin(tlmi_gguf_writer_t *out, const char *path, uint64_t num_tensors);
/* Both end the writer, as those of tlmi_writer_t do. */
tlm_status_t tlmi_gguf_commit(tlmi_gguf_writer_t *writer);
void tlmi_gguf_abort(tlmi_gguf_writer_t *writer);

tlm_status_t tlmi_gguf_put_uint32(tlmi_gguf_writer_t *writer, const char *key, uint32_t value);
tlm_status_t tlmi_gguf_put_float32(tlmi_gguf_writer_t *writer, const char *key, float value);
tlm_status_t tlmi_gguf_put_bool(tlmi_gguf_writer_t *writer, const char *key, bool value);
tlm_status_t tlmi_gguf_put_string(tlmi_gguf_writer_t *writer, const char *key, const char *text);

/* An array, whose items follow: `count` of that type. */
tlm_status_t tlmi_gguf_put_array(tlmi_gguf_writer_t *writer, const char *key, uint32_t type,
                                 uint64_t count);
tlm_status_t tlmi_gguf_put_int32_item(tlmi_gguf_writer_t *writer, int32_t item);
tlm_status_t tlmi_gguf_put_string_item(tlmi_gguf_writer_t *writer, const char *text, size_t size);

/* Describes a tensor; `place` counts from the start of the data. */
tlm_status_t tlmi_gguf_put_tensor(tlmi_gguf_writer_t *writer, const char *name,
                                  const int64_t *shape, int32_t ndim, uint32_t type,
                                  uint64_t place);

/* Zeros up to the next multiple of TLMI_GGUF_ALIGNMENT; and that multiple. */
tlm_status_t tlmi_gguf_align(tlmi_gguf_writer_t *writer);
uint64_t tlmi_gguf_aligned(uint64_t size);

#endif
