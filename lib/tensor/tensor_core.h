/* The inside of a tensor, for the code that implements ops: structs, views, shapes, argument
 * checks. */
#ifndef TLMI_TENSOR_CORE_H
#define TLMI_TENSOR_CORE_H

#include <stdatomic.h>

#include "base/buffer_cache.h"
#include "base/dtype.h"
#include "kernels/weight.h"
#include "tinylm/tensor.h"

/* What a tensor is made of, for the code that implements ops. */

typedef struct tlmi_node tlmi_node_t;

/* A block of elements, which views share. */
typedef struct tlmi_storage {
    atomic_int references;
    uint32_t version; /* number of writes since it was filled: see tlmi_tensor_written */
    void *data;
    size_t bytes;                /* 0 for wrapped memory */
    void (*release)(void *user); /* wrapped memory only */
    void *user;
} tlmi_storage_t;

struct tlm_tensor {
    atomic_int references;
    int32_t dtype;
    int32_t ndim;
    int64_t shape[TLM_MAX_DIMS];
    int64_t strides[TLM_MAX_DIMS]; /* in elements */
    int64_t numel;
    void *data; /* first element, inside storage */
    tlmi_storage_t *storage;
    bool requires_grad; /* of a leaf, or of a result with a leaf below it that does */
    tlm_tensor_t *grad; /* contiguous, owned */
    tlmi_node_t *node;  /* the op whose result it is, owned; NULL for leaves */
};

/* Checks the type and shape of a tensor before it is created and counts its elements. If a size is
 * 0, the other sizes must still multiply without overflow, so that every later product of sizes is
 * safe. */
tlm_status_t tlmi_check_shape(const char *op, int64_t *numel, int32_t dtype, const int64_t *shape,
                              int32_t ndim);

/* Creates a contiguous tensor with uninitialized elements, from the buffer cache. */
tlm_status_t tlmi_tensor_new(tlm_tensor_t **out, int32_t dtype, const int64_t *shape, int32_t ndim);

/* Creates a view: a tensor over the storage of `base`, which is retained. strides NULL means row-
 * major. Records no graph. */
tlm_status_t tlmi_tensor_view(tlm_tensor_t **out, const tlm_tensor_t *base, void *data,
                              const int64_t *shape, const int64_t *strides, int32_t ndim);

/* Creates a leaf over row-major memory inside `block`, which it keeps alive. It has a version count
 * of its own: for tensors that share a block of memory but no elements. */
tlm_status_t tlmi_tensor_part(tlm_tensor_t **out, tlm_tensor_t *block, void *data,
                              const int64_t *shape, int32_t ndim);

/* Counts a write to the elements. Whatever changes elements that a graph may have saved must call
 * it. */
static inline void tlmi_tensor_written(tlm_tensor_t *tensor)
{
    tensor->storage->version++;
}

/* tlm_tensor_wrap with `op` as the name in messages. */
tlm_status_t tlmi_tensor_wrap(tlm_tensor_t **out, const char *op, int32_t dtype, void *data,
                              const int64_t *shape, const int64_t *strides, int32_t ndim,
                              void (*release)(void *user), void *user);

bool tlmi_is_contiguous(const tlm_tensor_t *tensor);

static inline float *tlmi_floats(const tlm_tensor_t *tensor)
{
    return (float *)tensor->data;
}

/* A row-major matrix, or a vector as one row, as products take weights; borrowed. */
static inline tlmi_weight_t tlmi_weight_of(const tlm_tensor_t *tensor)
{
    const int64_t rows = tensor->ndim < 2 ? 1 : tensor->shape[0];

    return tlmi_weight_make(tensor->dtype, tensor->data, rows, tensor->shape[tensor->ndim - 1]);
}

/* Provides contiguous elements to kernels that need plain rows: *out is `tensor` itself, retained,
 * if it is contiguous, else a copy without a graph. Computes the elements again if they were
 * dropped (tlmi_tensor_drop). The caller frees *out. */
tlm_status_t tlmi_contiguous(tlm_tensor_t **out, const tlm_tensor_t *tensor);

/* Writes a shape as "(2, 3, 4)" to a buffer of TLMI_SHAPE_TEXT bytes and returns the buffer. */
#define TLMI_SHAPE_TEXT 192
const char *tlmi_shape_text(char *buffer, const tlm_tensor_t *tensor);
const char *tlmi_dims_text(char *buffer, const int64_t *shape, int32_t ndim);

bool tlmi_same_shape(const tlm_tensor_t *a, const tlm_tensor_t *b);

/* The product of shape[first] .. shape[last - 1]. */
int64_t tlmi_dims_product(const int64_t *shape, int32_t first, int32_t last);

/* Fails unless `tensor` is a float32 tensor; messages begin with `op`. */
tlm_status_t tlmi_check_float(const char *op, const char *name, const tlm_tensor_t *tensor);

/* Fails unless `tensor` has dimension *dim; a negative one is counted from the end. */
tlm_status_t tlmi_check_dim(const char *op, int32_t *dim, const tlm_tensor_t *tensor);

/* Fails unless `tensor` is an integer tensor. */
tlm_status_t tlmi_check_index(const char *op, const char *name, const tlm_tensor_t *tensor);

/* Reads the elements of an integer tensor of any type and strides as int64, row-major. Owned by the
 * caller: tlmi_cached_free. */
tlm_status_t tlmi_read_indices(int64_t **out, const tlm_tensor_t *tensor);

#endif
