/* Tensors: creation, reference counts, access, copying, and checks for the ops. Freeing is
 * iterative: the last tensor of a graph keeps all of it alive, and freeing a deep one by recursion
 * would overflow the stack. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "base/error.h"
#include "tensor/tensor_core.h"

/* ---- Shapes -------------------------------------------------------------------------- */

size_t tlm_dtype_size(int32_t dtype)
{
    const tlmi_dtype_t *type = tlmi_dtype(dtype);

    return type != NULL && tlmi_dtype_is_public(dtype) ? type->bytes : 0;
}

const char *tlmi_dims_text(char *buffer, const int64_t *shape, int32_t ndim)
{
    size_t used = 0;
    buffer[used++] = '(';
    for (int32_t d = 0; d < ndim; d++)
        used += (size_t)snprintf(buffer + used, TLMI_SHAPE_TEXT - used,
                                 d == 0 ? "%" PRId64 : ", %" PRId64, shape[d]);
    buffer[used++] = ')';
    buffer[used] = '\0';
    return buffer;
}

const char *tlmi_shape_text(char *buffer, const tlm_tensor_t *tensor)
{
    return tlmi_dims_text(buffer, tensor->shape, tensor->ndim);
}

bool tlmi_same_shape(const tlm_tensor_t *a, const tlm_tensor_t *b)
{
    if (a->ndim != b->ndim)
        return false;
    for (int32_t d = 0; d < a->ndim; d++)
        if (a->shape[d] != b->shape[d])
            return false;
    return true;
}

int64_t tlmi_dims_product(const int64_t *shape, int32_t first, int32_t last)
{
    int64_t product = 1;
    for (int32_t d = first; d < last; d++)
        product *= shape[d];
    return product;
}

tlm_status_t tlmi_check_shape(const char *op, int64_t *numel, int32_t dtype, const int64_t *shape,
                              int32_t ndim)
{
    if (tlm_dtype_size(dtype) == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: unknown element type %d", op, dtype);
    if (ndim < 0 || ndim > TLM_MAX_DIMS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: ndim %d is not in 0 .. %d", op, ndim,
                         TLM_MAX_DIMS);
    if (ndim > 0)
        TLMI_REQUIRE(op, shape);
    int64_t limit = (INT64_MAX >> 2) / (int64_t)tlm_dtype_size(dtype);
    int64_t product = 1;
    bool empty = false;
    for (int32_t d = 0; d < ndim; d++) {
        if (shape[d] < 0)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: size %" PRId64 " of dimension %d is negative", op, shape[d], d);
        empty |= shape[d] == 0;
        if (shape[d] > 0 && product > limit / shape[d]) {
            char text[TLMI_SHAPE_TEXT];
            return tlmi_fail(TLM_ERR_RANGE, "%s: too many elements: %s", op,
                             tlmi_dims_text(text, shape, ndim));
        }
        product *= shape[d] > 0 ? shape[d] : 1;
    }
    *numel = empty ? 0 : product;
    return TLM_OK;
}

bool tlmi_is_contiguous(const tlm_tensor_t *tensor)
{
    if (tensor->numel == 0)
        return true;
    int64_t stride = 1;
    for (int32_t d = tensor->ndim - 1; d >= 0; d--) {
        if (tensor->shape[d] != 1 && tensor->strides[d] != stride)
            return false;
        stride *= tensor->shape[d];
    }
    return true;
}

/* ---- Making -------------------------------------------------------------------------- */

/* Creates a tensor over `storage`, whose reference it takes over if it succeeds. */
static tlm_status_t make_tensor(tlm_tensor_t **out, int32_t dtype, void *data, const int64_t *shape,
                                const int64_t *strides, int32_t ndim, tlmi_storage_t *storage)
{
    tlm_tensor_t *tensor = tlmi_cached_calloc(1, sizeof(*tensor), "tensor");
    if (tensor == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    atomic_init(&tensor->references, 1);
    tensor->dtype = dtype;
    tensor->ndim = ndim;
    for (int32_t d = 0; d < ndim; d++)
        tensor->shape[d] = shape[d];
    if (strides == NULL)
        tlmi_row_major_strides(tensor->strides, shape, ndim);
    else
        for (int32_t d = 0; d < ndim; d++)
            tensor->strides[d] = strides[d];
    tensor->numel = tlmi_dims_product(shape, 0, ndim);
    tensor->data = tensor->numel == 0 ? NULL : data;
    tensor->storage = storage;
    *out = tensor;
    return TLM_OK;
}

static void drop_storage(tlmi_storage_t *storage)
{
    if (atomic_fetch_sub_explicit(&storage->references, 1, memory_order_acq_rel) != 1)
        return;
    if (storage->bytes > 0)
        tlmi_buffer_release(storage->data, storage->bytes);
    else if (storage->release != NULL)
        storage->release(storage->user);
    tlmi_cached_free(storage);
}

static tlm_status_t make_storage(tlmi_storage_t **out, size_t bytes)
{
    tlmi_storage_t *storage = tlmi_cached_calloc(1, sizeof(*storage), "tensor storage");
    if (storage == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    atomic_init(&storage->references, 1);
    if (bytes > 0) {
        storage->data = tlmi_buffer_acquire(&storage->bytes, bytes);
        if (storage->data == NULL) {
            tlmi_cached_free(storage);
            return TLM_ERR_OUT_OF_MEMORY;
        }
    }
    *out = storage;
    return TLM_OK;
}

tlm_status_t tlmi_tensor_new(tlm_tensor_t **out, int32_t dtype, const int64_t *shape, int32_t ndim)
{
    int64_t numel;
    TLMI_TRY(tlmi_check_shape("tensor", &numel, dtype, shape, ndim));
    tlmi_storage_t *storage;
    TLMI_TRY(make_storage(&storage, (size_t)numel * tlm_dtype_size(dtype)));
    tlm_status_t status = make_tensor(out, dtype, storage->data, shape, NULL, ndim, storage);
    if (status != TLM_OK)
        drop_storage(storage);
    return status;
}

tlm_status_t tlmi_tensor_view(tlm_tensor_t **out, const tlm_tensor_t *base, void *data,
                              const int64_t *shape, const int64_t *strides, int32_t ndim)
{
    TLMI_TRY(make_tensor(out, base->dtype, data, shape, strides, ndim, base->storage));
    atomic_fetch_add_explicit(&base->storage->references, 1, memory_order_relaxed);
    return TLM_OK;
}

static void release_block(void *block)
{
    tlm_tensor_free(block);
}

tlm_status_t tlmi_tensor_part(tlm_tensor_t **out, tlm_tensor_t *block, void *data,
                              const int64_t *shape, int32_t ndim)
{
    TLMI_TRY(tlmi_tensor_wrap(out, "tensor_part", block->dtype, data, shape, NULL, ndim,
                              release_block, block));
    tlm_tensor_retain(block);
    return TLM_OK;
}

tlm_status_t tlm_tensor_create(tlm_tensor_t **out, int32_t dtype, const int64_t *shape,
                               int32_t ndim)
{
    TLMI_REQUIRE("tensor_create", out);
    tlm_tensor_t *tensor;
    TLMI_TRY(tlmi_tensor_new(&tensor, dtype, shape, ndim));
    if (tensor->numel > 0 && !tlmi_dry_run())
        memset(tensor->data, 0, (size_t)tensor->numel * tlm_dtype_size(dtype));
    *out = tensor;
    return TLM_OK;
}

tlm_status_t tlm_tensor_from_data(tlm_tensor_t **out, int32_t dtype, const void *data,
                                  const int64_t *shape, int32_t ndim)
{
    TLMI_REQUIRE("tensor_from_data", out);
    int64_t numel;
    TLMI_TRY(tlmi_check_shape("tensor_from_data", &numel, dtype, shape, ndim));
    if (numel > 0)
        TLMI_REQUIRE("tensor_from_data", data);
    tlm_tensor_t *tensor;
    TLMI_TRY(tlmi_tensor_new(&tensor, dtype, shape, ndim));
    if (numel > 0 && !tlmi_dry_run())
        memcpy(tensor->data, data, (size_t)numel * tlm_dtype_size(dtype));
    *out = tensor;
    return TLM_OK;
}

/* Checks the caller's strides: none is negative, and the offset of the last element fits. */
static tlm_status_t check_strides(const char *op, int32_t dtype, const int64_t *shape,
                                  const int64_t *strides, int32_t ndim)
{
    int64_t limit = (INT64_MAX >> 2) / (int64_t)tlm_dtype_size(dtype);
    int64_t last = 0;
    for (int32_t d = 0; d < ndim; d++) {
        if (strides[d] < 0)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: stride %" PRId64 " of dimension %d is negative", op, strides[d],
                             d);
        int64_t steps = shape[d] > 0 ? shape[d] - 1 : 0;
        if (steps > 0 && strides[d] > (limit - last) / steps)
            return tlmi_fail(TLM_ERR_RANGE, "%s: stride %" PRId64 " of dimension %d is too large",
                             op, strides[d], d);
        last += steps * strides[d];
    }
    return TLM_OK;
}

tlm_status_t tlmi_tensor_wrap(tlm_tensor_t **out, const char *op, int32_t dtype, void *data,
                              const int64_t *shape, const int64_t *strides, int32_t ndim,
                              void (*release)(void *user), void *user)
{
    int64_t numel;
    TLMI_TRY(tlmi_check_shape(op, &numel, dtype, shape, ndim));
    if (numel > 0)
        TLMI_REQUIRE(op, data);
    if ((uintptr_t)data % tlm_dtype_size(dtype) != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: data is not aligned to %zu bytes as %s needs", op,
                         tlm_dtype_size(dtype), tlmi_dtype_name(dtype));
    if (strides != NULL)
        TLMI_TRY(check_strides(op, dtype, shape, strides, ndim));
    tlmi_storage_t *storage;
    tlm_tensor_t *tensor;
    TLMI_TRY(make_storage(&storage, 0));
    tlm_status_t status = make_tensor(&tensor, dtype, data, shape, strides, ndim, storage);
    if (status != TLM_OK) {
        drop_storage(storage); /* does not call release: the memory stays the caller's */
        return status;
    }
    storage->data = data;
    storage->release = release;
    storage->user = user;
    *out = tensor;
    return TLM_OK;
}

tlm_status_t tlmi_tensor_of_weight(tlm_tensor_t **out, int32_t dtype, void *data,
                                   const int64_t *shape, int32_t ndim, void (*release)(void *user),
                                   void *user)
{
    tlmi_storage_t *storage;
    TLMI_TRY(make_storage(&storage, 0));
    tlm_status_t status = make_tensor(out, dtype, data, shape, NULL, ndim, storage);
    if (status != TLM_OK) {
        drop_storage(storage); /* does not call release */
        return status;
    }
    storage->data = data;
    storage->release = release;
    storage->user = user;
    return TLM_OK;
}

tlm_status_t tlm_tensor_wrap(tlm_tensor_t **out, int32_t dtype, void *data, const int64_t *shape,
                             const int64_t *strides, int32_t ndim, void (*release)(void *user),
                             void *user)
{
    TLMI_REQUIRE("tensor_wrap", out);
    return tlmi_tensor_wrap(out, "tensor_wrap", dtype, data, shape, strides, ndim, release, user);
}

tlm_status_t tlm_tensor_detach(tlm_tensor_t **out, const tlm_tensor_t *tensor)
{
    TLMI_REQUIRE("detach", out);
    TLMI_REQUIRE("detach", tensor);
    return tlmi_tensor_view(out, tensor, tensor->data, tensor->shape, tensor->strides,
                            tensor->ndim);
}

/* ---- Reference counts ---------------------------------------------------------------- */

/* Tensors whose last reference went while this thread was freeing another one, linked through
 * `grad`. */
static _Thread_local tlm_tensor_t *dead_tensors;
static _Thread_local bool freeing;

tlm_tensor_t *tlm_tensor_retain(tlm_tensor_t *tensor)
{
    if (tensor != NULL)
        atomic_fetch_add_explicit(&tensor->references, 1, memory_order_relaxed);
    return tensor;
}

/* Frees a tensor without references and what it holds. tlm_tensor_free queues tensors that lose
 * their last reference here. */
static void destroy(tlm_tensor_t *tensor)
{
    if (tensor->node != NULL) {
        tlmi_node_release(tensor->node);
        tlmi_cached_free(tensor->node);
    }
    drop_storage(tensor->storage);
    tlmi_cached_free(tensor);
}

void tlm_tensor_free(tlm_tensor_t *tensor)
{
    if (tensor == NULL)
        return;
    if (atomic_fetch_sub_explicit(&tensor->references, 1, memory_order_acq_rel) != 1)
        return;
    tlm_tensor_t *grad = tensor->grad;
    tensor->grad = dead_tensors;
    dead_tensors = tensor;
    tlm_tensor_free(grad); /* a gradient has no gradient, so this recurses once at most */
    if (freeing)
        return;
    freeing = true;
    while (dead_tensors != NULL) {
        tlm_tensor_t *next = dead_tensors;
        dead_tensors = next->grad;
        destroy(next);
    }
    freeing = false;
}

/* ---- Looking ------------------------------------------------------------------------- */

int32_t tlm_tensor_dtype(const tlm_tensor_t *tensor)
{
    return tensor == NULL ? -1 : tensor->dtype;
}

int32_t tlm_tensor_ndim(const tlm_tensor_t *tensor)
{
    return tensor == NULL ? 0 : tensor->ndim;
}

const int64_t *tlm_tensor_shape(const tlm_tensor_t *tensor)
{
    return tensor == NULL ? NULL : tensor->shape;
}

const int64_t *tlm_tensor_strides(const tlm_tensor_t *tensor)
{
    return tensor == NULL ? NULL : tensor->strides;
}

int64_t tlm_tensor_numel(const tlm_tensor_t *tensor)
{
    return tensor == NULL ? 0 : tensor->numel;
}

void *tlm_tensor_data(const tlm_tensor_t *tensor)
{
    return tensor == NULL ? NULL : tensor->data;
}

static tlm_status_t check_count(const char *op, const tlm_tensor_t *tensor, const void *data,
                                size_t n)
{
    TLMI_REQUIRE(op, tensor);
    TLMI_TRY(tlmi_check_elements(op, tensor));
    if (n != (size_t)tensor->numel)
        return tlmi_fail(TLM_ERR_SHAPE, "%s: n is %zu, but the tensor has %" PRId64 " elements", op,
                         n, tensor->numel);
    if (n > 0)
        TLMI_REQUIRE(op, data);
    return TLM_OK;
}

tlm_status_t tlm_tensor_copy_out(void *data, size_t n, const tlm_tensor_t *tensor)
{
    TLMI_TRY(check_count("tensor_copy_out", tensor, data, n));
    int64_t strides[TLM_MAX_DIMS];
    tlmi_row_major_strides(strides, tensor->shape, tensor->ndim);
    tlmi_strided_copy(data, strides, tensor->data, tensor->strides, tensor->shape, tensor->ndim,
                      tlm_dtype_size(tensor->dtype));
    return TLM_OK;
}

tlm_status_t tlm_tensor_copy_in(tlm_tensor_t *tensor, const void *data, size_t n)
{
    TLMI_TRY(check_count("tensor_copy_in", tensor, data, n));
    if (tensor->node != NULL)
        return tlmi_fail(TLM_ERR_STATE,
                         "tensor_copy_in: the tensor is the result of %s, not a leaf",
                         tensor->node->op->name);
    int64_t strides[TLM_MAX_DIMS];
    tlmi_row_major_strides(strides, tensor->shape, tensor->ndim);
    tlmi_strided_copy(tensor->data, tensor->strides, data, strides, tensor->shape, tensor->ndim,
                      tlm_dtype_size(tensor->dtype));
    tlmi_tensor_written(tensor);
    return TLM_OK;
}

tlm_status_t tlm_tensor_item(float *out, const tlm_tensor_t *tensor)
{
    TLMI_REQUIRE("tensor_item", out);
    TLMI_TRY(tlmi_check_float("tensor_item", "tensor", tensor));
    if (tensor->numel != 1) {
        char text[TLMI_SHAPE_TEXT];
        return tlmi_fail(TLM_ERR_SHAPE,
                         "tensor_item: the tensor must have one element, but its shape is %s",
                         tlmi_shape_text(text, tensor));
    }
    *out = *tlmi_floats(tensor);
    return TLM_OK;
}

/* ---- For the ops --------------------------------------------------------------------- */

void tlmi_tensor_drop(tlm_tensor_t *tensor)
{
    tlmi_storage_t *storage = tensor->storage;
    if (tensor->node == NULL || storage->bytes == 0 || atomic_load(&storage->references) > 1)
        return;
    tlmi_buffer_release(storage->data, storage->bytes);
    storage->data = tensor->data = NULL;
    storage->bytes = 0;
}

/* Computes the elements of a dropped result again. */
static tlm_status_t restore(tlm_tensor_t *tensor)
{
    const tlmi_node_t *node = tensor->node;
    tlmi_storage_t *storage = tensor->storage;
    if (node == NULL || node->consumed || node->op->recompute == NULL)
        return tlmi_fail(TLM_ERR_STATE, "backward: a dropped result of %s cannot be recomputed",
                         node == NULL ? "an op" : node->op->name);
    TLMI_TRY(tlmi_check_inputs_unchanged(node));
    storage->data = tlmi_buffer_acquire(&storage->bytes, (size_t)tensor->numel * sizeof(float));
    if (storage->data == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tensor->data = storage->data;
    tlm_status_t status = node->op->recompute(node, tlmi_floats(tensor));
    if (status != TLM_OK)
        tlmi_tensor_drop(tensor);
    return status;
}

tlm_status_t tlmi_contiguous(tlm_tensor_t **out, const tlm_tensor_t *tensor)
{
    if (tensor->data == NULL && tensor->numel > 0)
        TLMI_TRY(restore((tlm_tensor_t *)tensor));
    if (tlmi_is_contiguous(tensor)) {
        *out = tlm_tensor_retain((tlm_tensor_t *)tensor);
        return TLM_OK;
    }
    tlm_tensor_t *copy;
    TLMI_TRY(tlmi_tensor_new(&copy, tensor->dtype, tensor->shape, tensor->ndim));
    tlmi_strided_copy(copy->data, copy->strides, tensor->data, tensor->strides, tensor->shape,
                      tensor->ndim, tlm_dtype_size(tensor->dtype));
    *out = copy;
    return TLM_OK;
}

tlm_status_t tlmi_check_float(const char *op, const char *name, const tlm_tensor_t *tensor)
{
    if (tensor == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s is NULL", op, name);
    if (tensor->dtype != TLM_FLOAT32)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s has type %s, not float32", op, name,
                         tlmi_dtype_name(tensor->dtype));
    return TLM_OK;
}

tlm_status_t tlmi_check_elements(const char *op, const tlm_tensor_t *tensor)
{
    if (!tlmi_dtype_is_blocks(tensor->dtype))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: the tensor is of type %s, whose elements are in blocks", op,
                     tlmi_dtype_name(tensor->dtype));
}

tlm_status_t tlmi_check_dim(const char *op, int32_t *dim, const tlm_tensor_t *tensor)
{
    if (*dim < -tensor->ndim || *dim >= tensor->ndim) {
        char text[TLMI_SHAPE_TEXT];
        return tlmi_fail(TLM_ERR_SHAPE, "%s: no dimension %d in shape %s", op, *dim,
                         tlmi_shape_text(text, tensor));
    }
    *dim += *dim < 0 ? tensor->ndim : 0;
    return TLM_OK;
}

tlm_status_t tlmi_check_index(const char *op, const char *name, const tlm_tensor_t *tensor)
{
    if (tensor == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s is NULL", op, name);
    if (tensor->dtype != TLM_INT32 && tensor->dtype != TLM_INT64 && tensor->dtype != TLM_UINT32)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s has type %s, not an integer type", op,
                         name, tlmi_dtype_name(tensor->dtype));
    return TLM_OK;
}

tlm_status_t tlmi_read_indices(int64_t **out, const tlm_tensor_t *tensor)
{
    TLMI_TRY(tlmi_check_index("read_indices", "tensor", tensor));
    tlm_tensor_t *rows;
    TLMI_TRY(tlmi_contiguous(&rows, tensor));
    int64_t *indices = tlmi_cached_alloc((size_t)tensor->numel, sizeof(int64_t), "indices");
    if (indices == NULL) {
        tlm_tensor_free(rows);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    for (int64_t i = 0; i < tensor->numel && !tlmi_dry_run(); i++) {
        if (tensor->dtype == TLM_INT64)
            indices[i] = ((const int64_t *)rows->data)[i];
        else if (tensor->dtype == TLM_INT32)
            indices[i] = ((const int32_t *)rows->data)[i];
        else
            indices[i] = ((const uint32_t *)rows->data)[i];
    }
    tlm_tensor_free(rows);
    *out = indices;
    return TLM_OK;
}
