/* The GGUF format, versions 2 and 3, little-endian. A file holds a magic word, the version, and
 * the numbers of tensors and of key-value pairs; then the pairs; then, for each tensor, its
 * name, dimensions (innermost first), type and offset; then the tensor data, each tensor at a
 * multiple of "general.alignment". Strings have a 64-bit length and no NUL. The reader checks
 * every count, length and offset, so its users can index without checks of their own. All
 * pointers point into the mapped file. */
#ifndef TLMI_GGUF_H
#define TLMI_GGUF_H

#include "base/file.h"
#include "tinylm/tensor.h"

#define TLMI_GGUF_MAGIC     "GGUF"
#define TLMI_GGUF_VERSION   3
#define TLMI_GGUF_ALIGNMENT 32 /* if the file does not specify one */

/* Value types, numbered as in the file. */
enum {
    TLMI_GGUF_UINT8,
    TLMI_GGUF_INT8,
    TLMI_GGUF_UINT16,
    TLMI_GGUF_INT16,
    TLMI_GGUF_UINT32,
    TLMI_GGUF_INT32,
    TLMI_GGUF_FLOAT32,
    TLMI_GGUF_BOOL,
    TLMI_GGUF_STRING,
    TLMI_GGUF_ARRAY,
    TLMI_GGUF_UINT64,
    TLMI_GGUF_INT64,
    TLMI_GGUF_FLOAT64,
    TLMI_GGUF_NUM_TYPES
};

typedef struct tlmi_gguf_value {
    const char *key; /* without a NUL behind it */
    size_t key_size;
    bool is_array;
    uint32_t type;    /* type of the value, or of each item of the array */
    size_t count;     /* number of items; 1 if it is not an array */
    const char *data; /* the items, with any alignment */
    size_t bytes;     /* total size of the items */
} tlmi_gguf_value_t;

typedef struct tlmi_gguf_tensor {
    const char *name; /* without a NUL behind it */
    size_t name_size;
    uint32_t type;               /* the file's type number: see tlmi_dtype_of_gguf */
    int64_t shape[TLM_MAX_DIMS]; /* innermost dimension last, as everywhere in the library */
    int32_t ndim;
    const char *data; /* as many bytes as shape and type require */
} tlmi_gguf_tensor_t;

typedef struct tlmi_gguf {
    tlmi_mapping_t mapping;
    tlmi_gguf_value_t *values; /* sorted by key, without duplicates */
    size_t num_values;
    tlmi_gguf_tensor_t *tensors; /* in file order */
    size_t num_tensors;
} tlmi_gguf_t;

/* Maps and checks a file; close it with tlmi_gguf_close. On failure *out is untouched. */
tlm_status_t tlmi_gguf_open(tlmi_gguf_t *out, const char *path);
void tlmi_gguf_close(tlmi_gguf_t *file);

/* Returns the value with that key, or NULL. */
const tlmi_gguf_value_t *tlmi_gguf_find(const tlmi_gguf_t *file, const char *key);

/* Return false if the value is NULL, an array, or of another kind. get_int accepts any integer
 * type, get_number either float type. */
bool tlmi_gguf_get_int(const tlmi_gguf_value_t *value, int64_t *out);
bool tlmi_gguf_get_number(const tlmi_gguf_value_t *value, double *out);
bool tlmi_gguf_get_string(const tlmi_gguf_value_t *value, const char **text, size_t *size);

/* The name of a tensor's type, as other GGUF readers print it; "unknown" if nobody knows it. */
const char *tlmi_gguf_type_name(uint32_t type);

/* Reads the next string of an array of strings. Start with *cursor = value->data, and call it
 * value->count times. */
void tlmi_gguf_next_string(const char **cursor, const char **text, size_t *size);

/* Writing GGUF files, version 3: call tlmi_gguf_begin, write all values, then all tensor
 * descriptions, and then for each tensor call tlmi_gguf_align and write its bytes. */

typedef struct tlmi_gguf_writer {
    tlmi_writer_t *file;
    uint64_t num_values; /* so far; written to the header at the end */
} tlmi_gguf_writer_t;

tlm_status_t tlmi_gguf_begin(tlmi_gguf_writer_t *out, const char *path, uint64_t num_tensors);
/* Both end the writer, like the functions of tlmi_writer_t. */
tlm_status_t tlmi_gguf_commit(tlmi_gguf_writer_t *writer);
void tlmi_gguf_abort(tlmi_gguf_writer_t *writer);

tlm_status_t tlmi_gguf_put_uint32(tlmi_gguf_writer_t *writer, const char *key, uint32_t value);
tlm_status_t tlmi_gguf_put_float32(tlmi_gguf_writer_t *writer, const char *key, float value);
tlm_status_t tlmi_gguf_put_bool(tlmi_gguf_writer_t *writer, const char *key, bool value);
tlm_status_t tlmi_gguf_put_string(tlmi_gguf_writer_t *writer, const char *key, const char *text);

/* Writes a value of another file as it is. */
tlm_status_t tlmi_gguf_put_copy(tlmi_gguf_writer_t *writer, const tlmi_gguf_value_t *value);

/* Begins an array; `count` items of that type must follow. */
tlm_status_t tlmi_gguf_put_array(tlmi_gguf_writer_t *writer, const char *key, uint32_t type,
                                 uint64_t count);
tlm_status_t tlmi_gguf_put_int32_item(tlmi_gguf_writer_t *writer, int32_t item);
tlm_status_t tlmi_gguf_put_string_item(tlmi_gguf_writer_t *writer, const char *text, size_t size);

/* Describes a tensor; `place` is its offset from the start of the data. */
tlm_status_t tlmi_gguf_put_tensor(tlmi_gguf_writer_t *writer, const char *name,
                                  const int64_t *shape, int32_t ndim, uint32_t type,
                                  uint64_t place);

/* tlmi_gguf_align writes zeros up to the next multiple of TLMI_GGUF_ALIGNMENT; tlmi_gguf_aligned
 * returns that multiple. */
tlm_status_t tlmi_gguf_align(tlmi_gguf_writer_t *writer);
uint64_t tlmi_gguf_aligned(uint64_t size);

#endif
