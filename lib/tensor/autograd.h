/* The graph: each op that records itself leaves a node on its result. docs/adding-an-op.md walks
 * through one op. */
#ifndef TLMI_AUTOGRAD_H
#define TLMI_AUTOGRAD_H

#include "tensor/tensor_core.h"

/* What a gradient is computed from, besides the gradient of the result. */
enum {
    TLMI_READS_ALL = 0,                   /* every input and the result */
    TLMI_READS_INPUTS = 0x3fffffff,       /* every input */
    TLMI_READS_RESULT = 0x40000000,       /* the result */
    TLMI_READS_NOTHING = -0x7fffffff - 1, /* shapes and the node's own memory only */
};
#define TLMI_READS_INPUT(i) (1 << (i)) /* input i */

enum { TLMI_NAMED_INPUTS = 4 };

typedef struct tlmi_op {
    const char *name;
    /* Names of the inputs, for messages; where NULL, they have numbers. */
    const char *input_names[TLMI_NAMED_INPUTS];
    /* Elements that the gradient of each input is computed from; the last entry also holds for all
     * further inputs. tlm_tensor_backward fails if they were written to after the forward pass. */
    int32_t reads[TLMI_NAMED_INPUTS];
    /* Adds to the inputs' gradients, given the gradient of the result (contiguous float32, the
     * result's shape; read only if tlmi_grad_is_shared; retain it to keep it). */
    tlm_status_t (*backward)(tlmi_node_t *node, tlm_tensor_t *grad_out);
    /* Fails if what the context holds besides was written to since; may be NULL. */
    tlm_status_t (*check_saved)(const tlmi_node_t *node);
    /* Releases what the node's context holds besides its own memory; may be NULL. */
    void (*release)(tlmi_node_t *node);
    /* Makes the result anew, bit for bit, into y (contiguous, its shape) from the inputs and the
     * context: see tlmi_tensor_drop. NULL where the op cannot. */
    tlm_status_t (*recompute)(const tlmi_node_t *node, float *y);
} tlmi_op_t;

struct tlmi_node {
    const tlmi_op_t *op;
    int32_t num_inputs;
    bool consumed;         /* backward has run */
    tlm_tensor_t **inputs; /* retained; behind the context */
    uint32_t *versions;    /* of the inputs, when the op was recorded; behind them */
    tlm_tensor_t *output;  /* the result (not retained; valid during backward) */
    uint32_t output_version;
    int32_t pending; /* of the traversal in progress */
    /* The op's context follows: tlmi_node_context. */
};

/* Context of `size` bytes that tlmi_record allocated (zeroed, aligned as malloc's). */
void *tlmi_node_context(const tlmi_node_t *node);

/* True if an op over these inputs is to be recorded: gradients are enabled on this thread and an
 * input requires one. NULL inputs are passed over. */
bool tlmi_needs_grad(tlm_tensor_t *const *inputs, int32_t n);

/* Puts a node on `out` (the op's fresh result), retaining the inputs. Call only if tlmi_needs_grad.
 * On failure `out` is unchanged and the caller frees it. A NULL input stays NULL in the node. */
tlm_status_t tlmi_record(tlmi_node_t **node, const tlmi_op_t *op, tlm_tensor_t *out,
                         tlm_tensor_t *const *inputs, int32_t n, size_t context_size);

/* Gives back the memory of a recorded result's elements, which from now on only the backward of other
 * ops may ask for, through tlmi_contiguous: that makes them anew if the op can, and fails if it
 * cannot. So this is for results inside of a layer that are cheap to make again, or that no backward
 * reads, such as the operands of a sum. Without a graph, or where a view shares the elements, it does
 * nothing. */
void tlmi_tensor_drop(tlm_tensor_t *tensor);

/* TLM_ERR_STATE, naming op and tensor, if one of the inputs was written to since the op was recorded.
 */
tlm_status_t tlmi_check_inputs_unchanged(const tlmi_node_t *node);

/* TLM_ERR_STATE if `tensor`, which backward of `op` knows as `what`, is not at that version. */
tlm_status_t tlmi_check_version(const char *op, const char *what, const tlm_tensor_t *tensor,
                                uint32_t version);

/* Drops what the node refers to, its inputs and its context, and marks it consumed. */
void tlmi_node_release(tlmi_node_t *node);

/* True if input i wants a gradient (skip the work otherwise). */
bool tlmi_wants_grad(const tlmi_node_t *node, int32_t input);

/* Where to put the gradient of input i: a contiguous buffer with the input's shape. *accumulate is
 * false when the buffer is fresh and uninitialised (write all of it), true when it holds a sum to
 * add to. Call it once per input and backward, and then write: this is how GEMM's beta and fused
 * kernels avoid a separate pass. If one tensor is two inputs, open, write, then open the second. */
tlm_status_t tlmi_grad_open(float **buffer, bool *accumulate, tlmi_node_t *node, int32_t input);

/* True if something besides the caller refers to these elements. A backward whose grad_out is not
 * shared may write a gradient over it and give that on. */
bool tlmi_grad_is_shared(const tlm_tensor_t *gradient);

/* Gives a finished contiguous gradient of input i (its numel elements): shared if the input has
 * none yet, added otherwise. For views and ops that pass a gradient through; grad_out itself may be
 * given, to several inputs. The caller keeps its reference and must not write to `gradient` any
 * more: a shared gradient is copied only when something is added to it (leaves get memory of their
 * own at once, unless the caller holds the only reference). */
tlm_status_t tlmi_grad_give(tlmi_node_t *node, int32_t input, tlm_tensor_t *gradient);

/* The same for an input that was repeated to the gradient's shape: summed over its places. */
tlm_status_t tlmi_grad_give_summed(tlmi_node_t *node, int32_t input, tlm_tensor_t *gradient);

#endif
