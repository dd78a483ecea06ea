/* Tensors from within: the struct, views, dimensions, checks of arguments. */
#ifndef TLMI_TENSOR_CORE_H
#define TLMI_TENSOR_CORE_H

#include <stdatomic.h>

#include "base/buffer_cache.h"
#include "tinylm/tensor.h"

/* What a tensor is made of, for the code that implements ops. */

typedef struct tlmi_node tlmi_node_t;

/* A block of elements shared by views. */
typedef struct tlmi_storage {
    atomic_int references;
    uint32_t version; /* counts the writes after the first filling: tlmi_tensor_written */
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
    bool requires_grad; /* a leaf that gathers, or a result that passes gradients on */
    tlm_tensor_t *grad; /* contiguous, owned */
    tlmi_node_t *node;  /* the op that made it, owned; NULL for leaves */
};

/* Checks the type, the rank and the sizes of a tensor to come, and counts its elements. Where a size is
 * 0, the others must still multiply without overflow, so that every later product of sizes is safe. */
tlm_status_t tlmi_check_shape(const char *op, int64_t *numel, int32_t dtype, const int64_t *shape,
                              int32_t ndim);

/* A new contiguous tensor with uninitialised elements, from the buffer cache. */
tlm_status_t tlmi_tensor_new(tlm_tensor_t **out, int32_t dtype, const int64_t *shape, int32_t ndim);

/* A new tensor over the storage of `base` (retained): a view; strides NULL: row-major. No graph is
 * recorded. */
tlm_status_t tlmi_tensor_view(tlm_tensor_t **out, const tlm_tensor_t *base, void *data,
                              const int64_t *shape, const int64_t *strides, int32_t ndim);

/* A leaf over row-major memory inside `block`, which it keeps alive, with a version count of its own:
 * for tensors that are laid out in one block but share no element. */
tlm_status_t tlmi_tensor_part(tlm_tensor_t **out, tlm_tensor_t *block, void *data,
                              const int64_t *shape, int32_t ndim);

/* Counts a write to the elements, which views share. To be called by whatever changes elements that
 * the caller can hold already, so that a graph that saved them notices. */
static inline void tlmi_tensor_written(tlm_tensor_t *tensor)
{
    tensor->storage->version++;
}

/* tlm_tensor_wrap under the name of the call that asks. */
tlm_status_t tlmi_tensor_wrap(tlm_tensor_t **out, const char *op, int32_t dtype, void *data,
                              const int64_t *shape, const int64_t *strides, int32_t ndim,
                              void (*release)(void *user), void *user);

bool tlmi_is_contiguous(const tlm_tensor_t *tensor);

static inline float *tlmi_floats(const tlm_tensor_t *tensor)
{
    return (float *)tensor->data;
}

/* Row-major float32 elements of `tensor`: *out is the tensor retained if it is contiguous, else a
 * copy (no graph). Freed by the caller. For ops whose kernels want plain rows. */
tlm_status_t tlmi_contiguous(tlm_tensor_t **out, const tlm_tensor_t *tensor);

/* "(2, 3, 4)" into a caller's buffer of TLMI_SHAPE_TEXT bytes; returns it. */
#define TLMI_SHAPE_TEXT 192
const char *tlmi_shape_text(char *buffer, const tlm_tensor_t *tensor);
const char *tlmi_dims_text(char *buffer, const int64_t *shape, int32_t ndim);

const char *tlmi_dtype_name(int32_t dtype);

bool tlmi_same_shape(const tlm_tensor_t *a, const tlm_tensor_t *b);

/* Product of shape[first .. last-1]. */
int64_t tlmi_dims_product(const int64_t *shape, int32_t first, int32_t last);

/* Fails unless `tensor` is a non-NULL float32 tensor; messages begin with `op`. */
tlm_status_t tlmi_check_float(const char *op, const char *name, const tlm_tensor_t *tensor);

/* Fails unless `tensor` has dimension *dim; a negative one, from the end, is made plain. */
tlm_status_t tlmi_check_dim(const char *op, int32_t *dim, const tlm_tensor_t *tensor);

/* Fails unless `tensor` is a non-NULL integer tensor. */
tlm_status_t tlmi_check_index(const char *op, const char *name, const tlm_tensor_t *tensor);

/* Integer elements of any integer dtype and strides, row-major, as int64; owned:
 * tlmi_cached_free. */
tlm_status_t tlmi_read_indices(int64_t **out, const tlm_tensor_t *tensor);

#endif
