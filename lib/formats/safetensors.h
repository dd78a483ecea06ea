/* The safetensors format: the header's length in 8 bytes, little-endian; a JSON header that
 * gives each tensor's dtype, shape and position; then the tensors, one after another without
 * gaps. The reader is strict: files that it accepts are well-formed in every respect, so its
 * users can index without checks of their own.
 *
 * Files written here carry a checksum: the metadata entry "checksum" is "crc64xz:" followed by
 * 16 hexadecimal digits, the CRC-64/XZ of the whole file with these 16 digits replaced by '0'. */
#ifndef TLMI_SAFETENSORS_H
#define TLMI_SAFETENSORS_H

#include "base/file.h"
#include "base/json.h"
#include "tinylm/tensor.h"

typedef struct tlmi_st_tensor {
    const char *name;  /* UTF-8; not empty, not "__metadata__" */
    const char *dtype; /* "F32", "I64", ... */
    int64_t shape[TLM_MAX_DIMS];
    int32_t ndim;
    const void *data; /* little-endian elements; any alignment when read */
    size_t bytes;
} tlmi_st_tensor_t;

typedef struct tlmi_safetensors {
    tlmi_mapping_t mapping;
    tlmi_json_t *header;
    const tlmi_json_t *metadata; /* an object of strings; NULL if the file has none */
    tlmi_st_tensor_t *tensors;   /* in data order; names live in `header` */
    size_t num_tensors;
    size_t header_size; /* size of the JSON text */
} tlmi_safetensors_t;

/* Maps and checks a file; close it with tlmi_safetensors_close. On failure *out is untouched. */
tlm_status_t tlmi_safetensors_open(tlmi_safetensors_t *out, const char *path);
void tlmi_safetensors_close(tlmi_safetensors_t *file);

/* Returns the tensor with that name, or NULL. */
const tlmi_st_tensor_t *tlmi_safetensors_find(const tlmi_safetensors_t *file, const char *name);

/* Returns the metadata string with that key, NUL-terminated, or NULL if there is none. */
const char *tlmi_safetensors_metadata(const tlmi_safetensors_t *file, const char *key);

/* Fails unless the file has a checksum that matches its contents. */
tlm_status_t tlmi_safetensors_verify(const tlmi_safetensors_t *file, const char *path);

/* A file being written, under a temporary name that commit changes to the final one. The
 * tensors' `data` are ignored: write their bytes one tensor after another, in pieces of any
 * size. `metadata`, an object of strings, is consumed, even on failure. A NULL `metadata` is a
 * failure: whoever built it ran out of memory. */
typedef struct tlmi_st_writer tlmi_st_writer_t;
tlm_status_t tlmi_st_writer_open(tlmi_st_writer_t **out, const char *path,
                                 const tlmi_st_tensor_t *tensors, size_t n, tlmi_json_t *metadata);
tlm_status_t tlmi_st_writer_write(tlmi_st_writer_t *writer, const void *bytes, size_t size);
/* Both free the writer; commit sets the checksum last. */
tlm_status_t tlmi_st_writer_commit(tlmi_st_writer_t *writer);
void tlmi_st_writer_abort(tlmi_st_writer_t *writer);

/* Does all of this at once, for tensors in memory. */
tlm_status_t tlmi_safetensors_write(const char *path, const tlmi_st_tensor_t *tensors, size_t n,
                                    tlmi_json_t *metadata);

#endif
