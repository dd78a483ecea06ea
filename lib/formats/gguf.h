/* The GGUF format, versions 2 and 3, little-endian: a magic word, the version, the numbers of tensors and
 * of key-value pairs; the pairs; for each tensor its name, dimensions (the innermost first), type and
 * place; then the tensors, each at a multiple of "general.alignment". Strings have a length of 64 bits and
 * no NUL. The reader checks every count, length and place, so that its users index without checks of
 * their own. Everything points into the mapped file. */
#ifndef TLMI_GGUF_H
#define TLMI_GGUF_H

#include "base/file.h"
#include "tinylm/tensor.h"

#define TLMI_GGUF_MAGIC     "GGUF"
#define TLMI_GGUF_VERSION   3
#define TLMI_GGUF_ALIGNMENT 32 /* where the file does not say otherwise */

/* Types of values, by their numbers in the file. */
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
    uint32_t type;    /* of the value, or of each item of the array */
    size_t count;     /* of items; 1 where it is no array */
    const char *data; /* the items, at any alignment */
    size_t bytes;     /* of all of them */
} tlmi_gguf_value_t;

typedef struct tlmi_gguf_tensor {
    const char *name; /* without a NUL behind it */
    size_t name_size;
    uint32_t type;               /* a number of the file: tlmi_dtype_of_gguf */
    int64_t shape[TLM_MAX_DIMS]; /* the innermost dimension last, as everywhere here */
    int32_t ndim;
    const char *data; /* as many bytes as shape and type ask for */
} tlmi_gguf_tensor_t;

typedef struct tlmi_gguf {
    tlmi_mapping_t mapping;
    tlmi_gguf_value_t *values; /* sorted by key, none twice */
    size_t num_values;
    tlmi_gguf_tensor_t *tensors; /* in the order of the file */
    size_t num_tensors;
} tlmi_gguf_t;

/* Maps and checks a file; closed with tlmi_gguf_close. On failure *out is untouched. */
tlm_status_t tlmi_gguf_open(tlmi_gguf_t *out, const char *path);
void tlmi_gguf_close(tlmi_gguf_t *file);

/* The value of that key, or NULL. */
const tlmi_gguf_value_t *tlmi_gguf_find(const tlmi_gguf_t *file, const char *key);

/* false if the value is NULL, an array, or of another kind. Any integer type will do, either float. */
bool tlmi_gguf_get_int(const tlmi_gguf_value_t *value, int64_t *out);
bool tlmi_gguf_get_number(const tlmi_gguf_value_t *value, double *out);
bool tlmi_gguf_get_string(const tlmi_gguf_value_t *value, const char **text, size_t *size);

/* The next string of an array of strings; *cursor begins as value->data. Call it value->count times. */
void tlmi_gguf_next_string(const char **cursor, const char **text, size_t *size);

/* Writing GGUF files, version 3: tlmi_gguf_begin, all values, all descriptions of tensors, and for each
 * tensor tlmi_gguf_align and its bytes. */

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
