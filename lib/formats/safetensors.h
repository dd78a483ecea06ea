/* The safetensors format: 8 bytes of header length, little-endian; a JSON header that gives each
 * tensor's dtype, shape and place; the tensors, one after another without gaps. The reader is
 * strict: what it accepts is well-formed in every respect, so its users index without checks of
 * their own.
 *
 * Files written here carry a checksum: metadata "checksum" is "crc64xz:" and the 16 hexadecimal
 * digits of the CRC-64/XZ of the whole file with these 16 digits taken as '0'. */
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
    const void *data; /* little-endian elements; when read, at any alignment */
    size_t bytes;
} tlmi_st_tensor_t;

typedef struct tlmi_safetensors {
    tlmi_mapping_t mapping;
    tlmi_json_t *header;
    const tlmi_json_t *metadata; /* an object of strings; NULL if the file has none */
    tlmi_st_tensor_t *tensors;   /* in the order of the data; names live in `header` */
    size_t num_tensors;
    size_t header_size; /* of the JSON text */
} tlmi_safetensors_t;

/* Maps and checks a file; closed with tlmi_safetensors_close. On failure *out is untouched. */
tlm_status_t tlmi_safetensors_open(tlmi_safetensors_t *out, const char *path);
void tlmi_safetensors_close(tlmi_safetensors_t *file);

/* The tensor of that name, or NULL. */
const tlmi_st_tensor_t *tlmi_safetensors_find(const tlmi_safetensors_t *file, const char *name);

/* A metadata string, NUL-terminated, or NULL if there is none of that key. */
const char *tlmi_safetensors_metadata(const tlmi_safetensors_t *file, const char *key);

/* Fails unless the file carries a checksum and agrees with it. */
tlm_status_t tlmi_safetensors_verify(const tlmi_safetensors_t *file, const char *path);

/* A file on its way, written aside and renamed by commit. The tensors' `data` are not looked at: their
 * bytes are given one tensor after another, in pieces of any size. `metadata`, an object of strings, is
 * consumed, also on failure and also when NULL (which is a failure: the maker ran out of memory). */
typedef struct tlmi_st_writer tlmi_st_writer_t;
tlm_status_t tlmi_st_writer_open(tlmi_st_writer_t **out, const char *path,
                                 const tlmi_st_tensor_t *tensors, size_t n, tlmi_json_t *metadata);
tlm_status_t tlmi_st_writer_write(tlmi_st_writer_t *writer, const void *bytes, size_t size);
/* Both free the writer; the checksum is set last. */
tlm_status_t tlmi_st_writer_commit(tlmi_st_writer_t *writer);
void tlmi_st_writer_abort(tlmi_st_writer_t *writer);

/* All of this at once, for tensors that lie in memory. */
tlm_status_t tlmi_safetensors_write(const char *path, const tlmi_st_tensor_t *tensors, size_t n,
                                    tlmi_json_t *metadata);

#endif
