/* The inside of tensors, for the code that implements ops: structs, views, shapes, checks of
 * arguments, loops over elements, and the autograd graph. */
#ifndef TLMI_TENSOR_CORE_H
#define TLMI_TENSOR_CORE_H

#include <stdatomic.h>

#include "base/buffer_cache.h"
#include "base/dtype.h"
#include "kernels/gemm.h"
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
    uint32_t pending; /* of a leaf, during a backward that is watched: ops still to give to grad */
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

/* Creates a row-major leaf of any type that weights may have, block formats too, over memory that
 * `release` gives back. The caller has checked the shape; on failure the memory stays the
 * caller's. */
tlm_status_t tlmi_tensor_of_weight(tlm_tensor_t **out, int32_t dtype, void *data,
                                   const int64_t *shape, int32_t ndim, void (*release)(void *user),
                                   void *user);

/* Fails if `tensor` is of a block format, whose elements cannot be taken one by one. */
tlm_status_t tlmi_check_elements(const char *op, const tlm_tensor_t *tensor);

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

/* ---- Loops over operands of any strides, and sums over dimensions ------------------------ */

/* A loop over up to four operands that have one shape and strides of their own. */

#define TLMI_MAX_OPERANDS 4

typedef struct tlmi_loop {
    int32_t ndim; /* at least 1 */
    int32_t num_operands;
    int64_t numel;
    int64_t shape[TLM_MAX_DIMS];
    int64_t strides[TLMI_MAX_OPERANDS][TLM_MAX_DIMS]; /* in elements */
} tlmi_loop_t;

/* Plans the loop: removes dimensions of size 1 and merges neighboring dimensions that are one run
 * in every operand. */
void tlmi_loop_plan(tlmi_loop_t *loop, const int64_t *shape, int32_t ndim, int32_t num_operands,
                    const int64_t *const *strides);

/* Handles a run of n elements: operand i starts at element offsets[i] and has stride strides[i]. */
typedef void (*tlmi_run_fn)(void *context, const int64_t *offsets, const int64_t *strides,
                            int64_t n);

/* Calls `run` in parallel for every run along the last dimension. Long runs are cut; where depends
 * on the shape only. */
void tlmi_loop_run(const tlmi_loop_t *loop, tlmi_run_fn run, void *context);

/* Computes the strides of a row-major tensor. */
void tlmi_row_major_strides(int64_t *strides, const int64_t *shape, int32_t ndim);

/* Broadcasts the tensor's shape with `shape`, which has room for TLM_MAX_DIMS sizes; start with
 * *ndim = 0. */
tlm_status_t tlmi_broadcast_shape(const char *op, int64_t *shape, int32_t *ndim,
                                  const tlm_tensor_t *tensor);

/* Computes strides that make `tensor` look as if it had shape `shape`, to which it must broadcast:
 * 0 along dimensions where it is repeated, its own elsewhere. */
void tlmi_broadcast_strides(int64_t *strides, const tlm_tensor_t *tensor, const int64_t *shape,
                            int32_t ndim);

/* Copies elements of `item` bytes each between two layouts of one shape. */
void tlmi_strided_copy(void *target, const int64_t *target_strides, const void *source,
                       const int64_t *source_strides, const int64_t *shape, int32_t ndim,
                       size_t item);

/* target = factor * source, or target += factor * source, for float32 layouts of one shape. */
void tlmi_strided_scale(float *target, const int64_t *target_strides, bool accumulate, float factor,
                        const float *source, const int64_t *source_strides, const int64_t *shape,
                        int32_t ndim);

/* Sums over dimensions: for the reductions and for the gradients of operands that were
 * broadcast. */

/* target (+)= factor * sum of `source` over the dimensions in which it is larger than target. Both
 * are row-major and have the same number of dimensions; each size of target is that of source or 1.
 * The sum is in float64, in an order that depends on the shapes only. */
void tlmi_reduce_sum(float *target, const int64_t *target_shape, bool accumulate, float factor,
                     const float *source, const int64_t *shape, int32_t ndim);

/* The same for a target of the tensor's shape, which broadcasts to `shape`. */
void tlmi_reduce_to(float *target, const tlm_tensor_t *tensor, bool accumulate, const float *source,
                    const int64_t *shape, int32_t ndim);

/* GELU by the approximation with tanh: x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), as an op and as
 * a loop, whose y may be x. */
tlm_status_t tlmi_gelu_tanh(tlm_tensor_t **out, tlm_tensor_t *x);
void tlmi_gelu_tanh_rows(float *y, const float *x, int64_t n);

/* relu(x)^2, and the same for rows of plain floats. */
tlm_status_t tlmi_relu_squared(tlm_tensor_t **out, tlm_tensor_t *x);
void tlmi_relu_squared_rows(float *y, const float *x, int64_t n);

/* ---- The autograd graph: an op that is recorded leaves a node on its result -------------- */

/* docs/adding-an-op.md walks through one op. */

/* Which elements the gradient of an input is computed from, besides the gradient of the result. */
enum {
    TLMI_READS_ALL = 0,                   /* every input and the result */
    TLMI_READS_INPUTS = 0x3fffffff,       /* every input */
    TLMI_READS_RESULT = 0x40000000,       /* the result */
    TLMI_READS_NOTHING = -0x7fffffff - 1, /* only shapes and the node's own memory */
};
#define TLMI_READS_INPUT(i) (1 << (i)) /* input i */

enum { TLMI_NAMED_INPUTS = 4 };

typedef struct tlmi_op {
    const char *name;
    /* Names of the inputs in messages; an input without a name is called by its number. */
    const char *input_names[TLMI_NAMED_INPUTS];
    /* What the gradient of each input reads (TLMI_READS_...); the last entry also stands for all
     * further inputs. tlm_tensor_backward fails if any of it was written to after the forward
     * pass. */
    int32_t reads[TLMI_NAMED_INPUTS];
    /* Adds to the gradients of the inputs, given the gradient of the result: contiguous float32 of
     * the result's shape. It may write to grad_out only if that is not shared
     * (tlmi_grad_is_shared), and retains it to keep it. */
    tlm_status_t (*backward)(tlmi_node_t *node, tlm_tensor_t *grad_out);
    /* Fails if a tensor that only the context refers to has been written to since; may be NULL. */
    tlm_status_t (*check_saved)(const tlmi_node_t *node);
    /* Frees what the node's context owns besides its own memory; may be NULL. */
    void (*release)(tlmi_node_t *node);
    /* Computes the result again, bit for bit, into y (contiguous, of its shape), from the inputs
     * and the context: see tlmi_tensor_drop. NULL if the op cannot. */
    tlm_status_t (*recompute)(const tlmi_node_t *node, float *y);
} tlmi_op_t;

struct tlmi_node {
    const tlmi_op_t *op;
    int32_t num_inputs;
    bool consumed;         /* backward has run */
    tlm_tensor_t **inputs; /* retained; stored after the context */
    uint32_t *versions;    /* of the inputs when the op was recorded; stored after `inputs` */
    tlm_tensor_t *output;  /* the result; not retained, valid during backward */
    uint32_t output_version;
    int32_t pending; /* users that have not run yet, during a walk */
    /* The op's context follows: tlmi_node_context. */
};

/* The node's context, of the size given to tlmi_record: zeroed, aligned like malloc's memory. */
void *tlmi_node_context(const tlmi_node_t *node);

/* True if an op on these inputs must be recorded: gradients are enabled on this thread and an input
 * requires one. NULL inputs are skipped. */
bool tlmi_needs_grad(tlm_tensor_t *const *inputs, int32_t n);

/* Records the op: puts a node on `out`, its new result, and retains the inputs (a NULL input stays
 * NULL). Call it after the forward computation, and only if tlmi_needs_grad. On failure `out` is
 * unchanged and the caller frees it. */
tlm_status_t tlmi_record(tlmi_node_t **node, const tlmi_op_t *op, tlm_tensor_t *out,
                         tlm_tensor_t *const *inputs, int32_t n, size_t context_size);

/* Frees the elements of a recorded result that only the backward functions of other ops may still
 * need. They get them through tlmi_contiguous, which computes them again if the op can and fails if
 * it cannot. Use it for results inside a layer that are cheap to compute again, or that no backward
 * reads, such as the operands of a sum. Does nothing without a graph or if a view shares the
 * elements. */
void tlmi_tensor_drop(tlm_tensor_t *tensor);

/* TLM_ERR_STATE, naming the op and the input, if an input has been written to since the op was
 * recorded. */
tlm_status_t tlmi_check_inputs_unchanged(const tlmi_node_t *node);

/* TLM_ERR_STATE if `tensor`, called `what` in the message, is not at this version. */
tlm_status_t tlmi_check_version(const char *op, const char *what, const tlm_tensor_t *tensor,
                                uint32_t version);

/* Frees the node's inputs and context and marks it consumed. */
void tlmi_node_release(tlmi_node_t *node);

/* True if input i requires a gradient; if not, skip its computation. */
bool tlmi_wants_grad(const tlmi_node_t *node, int32_t input);

/* Opens the gradient of input i for writing: *buffer is contiguous, of the input's shape. If
 * *accumulate is false it is uninitialized and all of it must be written; if true it holds a sum to
 * add to. This is how the beta of matrix products and fused kernels avoid a separate pass. Call it
 * once per input, then write. If one tensor is two inputs, write the first before opening the
 * second. */
tlm_status_t tlmi_grad_open(float **buffer, bool *accumulate, tlmi_node_t *node, int32_t input);

/* Gives input 0 the gradient of elements chosen along a dimension: dx[start + i step] += dy[i]. The
 * rest of a fresh gradient is 0. */
tlm_status_t tlmi_grad_add_steps(tlmi_node_t *node, tlm_tensor_t *grad_out, int32_t dim,
                                 int64_t start, int64_t step);

/* True if something other than the caller refers to these elements. If grad_out is not shared,
 * backward may overwrite it with the gradient of an input and pass that on. */
bool tlmi_grad_is_shared(const tlm_tensor_t *gradient);

/* Passes on a finished gradient of input i: contiguous, with as many elements as the input. It
 * is shared if the input has no gradient yet and added otherwise. For views and ops that pass
 * their gradient through: grad_out itself may be given, to several inputs. The caller keeps its
 * reference but must not write to `gradient` afterwards. A shared gradient is copied only when
 * something is added to it; leaves get memory of their own at once unless the caller holds the
 * only reference. */
tlm_status_t tlmi_grad_give(tlmi_node_t *node, int32_t input, tlm_tensor_t *gradient);

/* The same for an input that was broadcast to the gradient's shape: the gradient is summed over the
 * repeated places. */
tlm_status_t tlmi_grad_give_summed(tlmi_node_t *node, int32_t input, tlm_tensor_t *gradient);

/* ---- Backward that tells which gradients are final --------------------------------------- */

/* Told of each leaf below the result that requires a gradient, once no op is left that could give
 * to it; on backward's thread. It may take the gradient, or change it. After a failure it is told
 * no more. */
typedef struct tlmi_leaf_watch {
    void (*is_final)(void *user, tlm_tensor_t *leaf);
    void *user;
} tlmi_leaf_watch_t;

/* tlm_tensor_backward with a watch, or NULL. Nothing else may go back to the same leaves at the same
 * time. A backward that an op runs within its own is not watched: its leaves are final when the op
 * is done. */
tlm_status_t tlmi_tensor_backward(tlm_tensor_t *tensor, const tlm_tensor_t *gradient,
                                  const tlmi_leaf_watch_t *watch);

#endif
