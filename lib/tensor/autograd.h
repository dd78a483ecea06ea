/* The autograd graph: an op that is recorded leaves a node on its result. docs/adding-an-op.md
 * walks through one op. */
#ifndef TLMI_AUTOGRAD_H
#define TLMI_AUTOGRAD_H

#include "tensor/tensor_core.h"

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

#endif
