/* The graph: recording ops, and backpropagation.
 *
 * Backward first walks from the result to the leaves and counts how many recorded ops use each
 * intermediate tensor. It then runs the backward function of an op once all users of the op's
 * result have run. Both walks use arrays instead of recursion, so deep graphs do not overflow the
 * stack. A node's gradient, context and inputs are freed as soon as it has run, so memory use falls
 * during the walk. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"

static _Thread_local bool grad_disabled;

bool tlm_set_grad_enabled(bool enabled)
{
    bool former = !grad_disabled;
    grad_disabled = !enabled;
    return former;
}

bool tlm_grad_enabled(void)
{
    return !grad_disabled;
}

/* ---- Recording ----------------------------------------------------------------------- */

enum { CONTEXT_OFFSET = (sizeof(tlmi_node_t) + 15) / 16 * 16 };

void *tlmi_node_context(const tlmi_node_t *node)
{
    return (char *)(uintptr_t)node + CONTEXT_OFFSET;
}

bool tlmi_needs_grad(tlm_tensor_t *const *inputs, int32_t n)
{
    if (grad_disabled)
        return false;
    for (int32_t i = 0; i < n; i++)
        if (inputs[i] != NULL && inputs[i]->requires_grad)
            return true;
    return false;
}

tlm_status_t tlmi_record(tlmi_node_t **out_node, const tlmi_op_t *op, tlm_tensor_t *out,
                         tlm_tensor_t *const *inputs, int32_t n, size_t context_size)
{
    size_t inputs_offset = CONTEXT_OFFSET + (context_size + 15) / 16 * 16;
    size_t versions_offset = inputs_offset + (size_t)n * sizeof(tlm_tensor_t *);
    tlmi_node_t *node =
        tlmi_cached_calloc(1, versions_offset + (size_t)n * sizeof(uint32_t), "graph node");
    if (node == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    node->op = op;
    node->num_inputs = n;
    node->inputs = (tlm_tensor_t **)((char *)node + inputs_offset);
    node->versions = (uint32_t *)((char *)node + versions_offset);
    for (int32_t i = 0; i < n; i++) {
        node->inputs[i] = tlm_tensor_retain(inputs[i]);
        node->versions[i] = inputs[i] == NULL ? 0 : inputs[i]->storage->version;
    }
    node->output = out;
    node->output_version = out->storage->version;
    out->node = node;
    out->requires_grad = true;
    if (out_node != NULL)
        *out_node = node;
    return TLM_OK;
}

void tlmi_node_release(tlmi_node_t *node)
{
    if (node->consumed)
        return;
    node->consumed = true;
    if (node->op->release != NULL)
        node->op->release(node);
    for (int32_t i = 0; i < node->num_inputs; i++)
        tlm_tensor_free(node->inputs[i]);
    node->num_inputs = 0;
}

/* ---- What backward reads ------------------------------------------------------------- */

tlm_status_t tlmi_check_version(const char *op, const char *what, const tlm_tensor_t *tensor,
                                uint32_t version)
{
    uint32_t now = tensor->storage->version;
    if (now == version)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_STATE,
                     "backward of %s: its %s was changed after the forward pass (version %" PRIu32
                     ", saved at %" PRIu32 ")",
                     op, what, now, version);
}

static tlm_status_t check_input_unchanged(const tlmi_node_t *node, int32_t i)
{
    if (node->inputs[i] == NULL || node->inputs[i]->storage->version == node->versions[i])
        return TLM_OK;
    char what[64];
    if (i < TLMI_NAMED_INPUTS && node->op->input_names[i] != NULL)
        snprintf(what, sizeof(what), "input %s", node->op->input_names[i]);
    else
        snprintf(what, sizeof(what), "input %" PRId32, i);
    return tlmi_check_version(node->op->name, what, node->inputs[i], node->versions[i]);
}

tlm_status_t tlmi_check_inputs_unchanged(const tlmi_node_t *node)
{
    for (int32_t i = 0; i < node->num_inputs; i++)
        TLMI_TRY(check_input_unchanged(node, i));
    return TLM_OK;
}

/* Fails if anything that this node's backward reads has been written to since the op was
 * recorded. */
static tlm_status_t check_saved(const tlmi_node_t *node)
{
    int32_t reads = 0;
    for (int32_t i = 0; i < node->num_inputs; i++) {
        if (!tlmi_wants_grad(node, i))
            continue;
        int32_t own = node->op->reads[i < TLMI_NAMED_INPUTS ? i : TLMI_NAMED_INPUTS - 1];
        reads |= own == TLMI_READS_ALL ? TLMI_READS_INPUTS | TLMI_READS_RESULT : own;
    }
    if (reads & TLMI_READS_RESULT)
        TLMI_TRY(tlmi_check_version(node->op->name, "result", node->output, node->output_version));
    for (int32_t i = 0; i < node->num_inputs; i++)
        if (reads & TLMI_READS_INPUT(i < 29 ? i : 29))
            TLMI_TRY(check_input_unchanged(node, i));
    return node->op->check_saved == NULL ? TLM_OK : node->op->check_saved(node);
}

/* ---- Gradients of inputs ------------------------------------------------------------- */

bool tlmi_wants_grad(const tlmi_node_t *node, int32_t input)
{
    return node->inputs[input] != NULL && node->inputs[input]->requires_grad;
}

bool tlmi_grad_is_shared(const tlm_tensor_t *gradient)
{
    return atomic_load_explicit(&gradient->references, memory_order_acquire) > 1 ||
           atomic_load_explicit(&gradient->storage->references, memory_order_acquire) > 1;
}

/* Creates a gradient for `tensor`: a copy of `source`, or uninitialized if that is NULL. */
static tlm_status_t new_gradient(tlm_tensor_t **out, const tlm_tensor_t *tensor,
                                 const tlm_tensor_t *source)
{
    TLMI_TRY(tlmi_tensor_new(out, TLM_FLOAT32, tensor->shape, tensor->ndim));
    if (source != NULL && tensor->numel > 0 && !tlmi_dry_run())
        memcpy((*out)->data, source->data, (size_t)tensor->numel * sizeof(float));
    return TLM_OK;
}

/* Makes sure that only `tensor` refers to its gradient, which exists, so that it can be written
 * to. */
static tlm_status_t unshare_gradient(tlm_tensor_t *tensor)
{
    if (!tlmi_grad_is_shared(tensor->grad))
        return TLM_OK;
    tlm_tensor_t *copy;
    TLMI_TRY(new_gradient(&copy, tensor, tensor->grad));
    tlm_tensor_free(tensor->grad);
    tensor->grad = copy;
    return TLM_OK;
}

tlm_status_t tlmi_grad_open(float **buffer, bool *accumulate, tlmi_node_t *node, int32_t input)
{
    tlm_tensor_t *tensor = node->inputs[input];
    *accumulate = tensor->grad != NULL;
    if (tensor->grad == NULL)
        TLMI_TRY(new_gradient(&tensor->grad, tensor, NULL));
    else
        TLMI_TRY(unshare_gradient(tensor));
    *buffer = tlmi_floats(tensor->grad);
    return TLM_OK;
}

typedef struct sum_job {
    float *sum;
    const float *a;
    const float *b;
} sum_job_t;

static void add_range(void *context, int64_t begin, int64_t end)
{
    const sum_job_t *job = context;
    tlmi_vec_add(job->sum + begin, job->a + begin, job->b + begin, end - begin);
}

/* Adds `gradient` to the gradient of `tensor`: in place if nothing else refers to it, else in new
 * memory. */
static tlm_status_t add_gradient(tlm_tensor_t *tensor, const tlm_tensor_t *gradient)
{
    tlm_tensor_t *sum = tensor->grad;
    if (tlmi_grad_is_shared(sum))
        TLMI_TRY(new_gradient(&sum, tensor, NULL));
    sum_job_t job = {tlmi_floats(sum), tlmi_floats(tensor->grad), tlmi_floats(gradient)};
    tlmi_parallel_ranges(tensor->numel, add_range, &job);
    if (sum != tensor->grad) {
        tlm_tensor_free(tensor->grad);
        tensor->grad = sum;
    }
    return TLM_OK;
}

/* Takes a gradient for `tensor`: shares it, copies it, or adds it to the one that is there. */
static tlm_status_t take_gradient(tlm_tensor_t *tensor, tlm_tensor_t *gradient)
{
    if (tensor->grad != NULL)
        return add_gradient(tensor, gradient);
    /* The user may change a leaf's gradient in place, so nothing else may share its memory. */
    if (tensor->node == NULL && tlmi_grad_is_shared(gradient))
        return new_gradient(&tensor->grad, tensor, gradient);
    if (tlmi_same_shape(tensor, gradient)) {
        tensor->grad = tlm_tensor_retain(gradient);
        return TLM_OK;
    }
    return tlmi_tensor_view(&tensor->grad, gradient, gradient->data, tensor->shape, NULL,
                            tensor->ndim);
}

tlm_status_t tlmi_grad_give(tlmi_node_t *node, int32_t input, tlm_tensor_t *gradient)
{
    tlm_tensor_t *tensor = node->inputs[input];
    if (gradient->numel != tensor->numel || !tlmi_is_contiguous(gradient)) {
        char want[TLMI_SHAPE_TEXT];
        char got[TLMI_SHAPE_TEXT];
        return tlmi_fail(TLM_ERR_SHAPE, "%s: gradient of shape %s for input %d of shape %s",
                         node->op->name, tlmi_shape_text(got, gradient), input,
                         tlmi_shape_text(want, tensor));
    }
    return take_gradient(tensor, gradient);
}

tlm_status_t tlmi_grad_give_summed(tlmi_node_t *node, int32_t input, tlm_tensor_t *gradient)
{
    if (tlmi_same_shape(node->inputs[input], gradient))
        return tlmi_grad_give(node, input, gradient);
    float *grad;
    bool accumulate;
    TLMI_TRY(tlmi_grad_open(&grad, &accumulate, node, input));
    tlmi_reduce_to(grad, node->inputs[input], accumulate, tlmi_floats(gradient), gradient->shape,
                   gradient->ndim);
    return TLM_OK;
}

/* ---- Backward ------------------------------------------------------------------------ */

/* The tensors of a walk, all results of ops, retained: at first the list of all that were found,
 * later a stack of those whose users have all run. */
typedef struct walk {
    tlm_tensor_t **tensors;
    size_t count;
    size_t capacity;
    const tlmi_leaf_watch_t *watch; /* or NULL */
} walk_t;

static tlm_status_t walk_push(walk_t *walk, tlm_tensor_t *tensor)
{
    if (walk->count == walk->capacity) {
        size_t capacity = walk->capacity == 0 ? 64 : 2 * walk->capacity;
        tlm_tensor_t **tensors = tlmi_cached_calloc(capacity, sizeof(*tensors), "graph walk");
        if (tensors == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        if (walk->count > 0)
            memcpy(tensors, walk->tensors, walk->count * sizeof(*tensors));
        tlmi_cached_free(walk->tensors);
        walk->tensors = tensors;
        walk->capacity = capacity;
    }
    walk->tensors[walk->count++] = tlm_tensor_retain(tensor);
    return TLM_OK;
}

/* Whether the walk is to tell when the gradient of an input is final. */
static bool is_watched(const walk_t *walk, const tlm_tensor_t *input)
{
    return walk->watch != NULL && input != NULL && input->node == NULL && input->requires_grad;
}

/* Finds all recorded results from `root` down and counts their users in node->pending (root has one
 * more), and those of watched leaves. Fails, before any gradient has changed, if backward cannot
 * run. */
static tlm_status_t find_tensors(walk_t *walk, tlm_tensor_t *root)
{
    TLMI_TRY(walk_push(walk, root));
    root->node->pending = 1;
    for (size_t i = 0; i < walk->count; i++) {
        tlmi_node_t *node = walk->tensors[i]->node;
        if (node->consumed)
            return tlmi_fail(TLM_ERR_STATE,
                             "backward: the graph was already consumed at a result of %s",
                             node->op->name);
        TLMI_TRY(check_saved(node));
        for (int32_t j = 0; j < node->num_inputs; j++) {
            tlm_tensor_t *input = node->inputs[j];
            if (is_watched(walk, input))
                input->pending++;
            if (input == NULL || input->node == NULL)
                continue;
            if (input->node->pending == 0)
                TLMI_TRY(walk_push(walk, input));
            input->node->pending++;
        }
    }
    return TLM_OK;
}

/* Undoes find_tensors when the walk cannot go on. */
static void forget_tensors(walk_t *walk)
{
    for (size_t i = 0; i < walk->count; i++) {
        tlmi_node_t *node = walk->tensors[i]->node;

        node->pending = 0;
        for (int32_t j = 0; j < node->num_inputs; j++)
            if (is_watched(walk, node->inputs[j]))
                node->inputs[j]->pending = 0;
        tlm_tensor_free(walk->tensors[i]);
    }
    walk->count = 0;
}

/* Runs the op's backward, unless the result has no gradient (an op may find that an input gets
 * none), and frees what the node held. Inputs whose users have all run are pushed on the stack,
 * which has room for every tensor; if they are leaves, the watch is told. */
static tlm_status_t run_node(walk_t *ready, tlm_tensor_t *tensor, tlm_status_t status)
{
    tlmi_node_t *node = tensor->node;
    tlm_tensor_t *grad = tensor->grad;
    tensor->grad = NULL;
    if (status == TLM_OK && grad != NULL)
        status = check_saved(node); /* again: the callback of a custom op may have written to it */
    if (status == TLM_OK && grad != NULL)
        status = node->op->backward(node, grad);
    tlm_tensor_free(grad);
    for (int32_t i = 0; i < node->num_inputs; i++) {
        tlm_tensor_t *input = node->inputs[i];
        if (is_watched(ready, input) && --input->pending == 0 && status == TLM_OK)
            ready->watch->is_final(ready->watch->user, input);
        if (input == NULL || input->node == NULL)
            continue;
        if (--input->node->pending == 0)
            ready->tensors[ready->count++] = tlm_tensor_retain(input);
    }
    tlmi_node_release(node);
    return status;
}

/* Runs all nodes. After a failure, backward functions are skipped, but gradients are still
 * freed. */
static tlm_status_t run_nodes(walk_t *ready, tlm_tensor_t *root)
{
    tlm_status_t status = TLM_OK;
    root->node->pending = 0;
    ready->tensors[ready->count++] = tlm_tensor_retain(root);
    while (ready->count > 0) {
        tlm_tensor_t *tensor = ready->tensors[--ready->count];
        if (status == TLM_OK)
            status = tlmi_check_interrupt("backward");
        status = run_node(ready, tensor, status);
        tlm_tensor_free(tensor);
    }
    return status;
}

static tlm_status_t check_backward(const tlm_tensor_t *tensor, const tlm_tensor_t *gradient)
{
    TLMI_TRY(tlmi_check_float("backward", "tensor", tensor));
    if (!tensor->requires_grad)
        return tlmi_fail(TLM_ERR_STATE, "backward: the tensor does not require a gradient");
    char want[TLMI_SHAPE_TEXT];
    if (gradient == NULL) {
        if (tensor->numel != 1)
            return tlmi_fail(TLM_ERR_SHAPE,
                             "backward: without a gradient the tensor must have one element, but "
                             "its shape is %s",
                             tlmi_shape_text(want, tensor));
        return TLM_OK;
    }
    TLMI_TRY(tlmi_check_float("backward", "gradient", gradient));
    if (!tlmi_same_shape(tensor, gradient)) {
        char got[TLMI_SHAPE_TEXT];
        return tlmi_fail(TLM_ERR_SHAPE,
                         "backward: the gradient has shape %s, but the tensor has shape %s",
                         tlmi_shape_text(got, gradient), tlmi_shape_text(want, tensor));
    }
    return TLM_OK;
}

/* Creates the gradient to start from: a contiguous copy of the caller's, or 1. */
static tlm_status_t seed_gradient(tlm_tensor_t **out, const tlm_tensor_t *tensor,
                                  const tlm_tensor_t *gradient)
{
    tlm_tensor_t *seed;
    TLMI_TRY(new_gradient(&seed, tensor, NULL));
    if (gradient == NULL)
        *tlmi_floats(seed) = 1.0f;
    else
        tlmi_strided_copy(seed->data, seed->strides, gradient->data, gradient->strides, seed->shape,
                          seed->ndim, sizeof(float));
    *out = seed;
    return TLM_OK;
}

tlm_status_t tlm_tensor_backward(tlm_tensor_t *tensor, const tlm_tensor_t *gradient)
{
    return tlmi_tensor_backward(tensor, gradient, NULL);
}

tlm_status_t tlmi_tensor_backward(tlm_tensor_t *tensor, const tlm_tensor_t *gradient,
                                  const tlmi_leaf_watch_t *watch)
{
    TLMI_TRY(check_backward(tensor, gradient));
    tlm_tensor_t *seed;
    TLMI_TRY(seed_gradient(&seed, tensor, gradient));
    if (tensor->node == NULL) {
        tlm_status_t leaf_status = take_gradient(tensor, seed);
        tlm_tensor_free(seed);
        return leaf_status;
    }

    walk_t walk = {.watch = watch};
    tlm_status_t status = find_tensors(&walk, tensor);
    if (status == TLM_OK) {
        /* From here on the graph itself keeps its tensors alive, so the list can serve as the
         * stack. */
        for (size_t i = 0; i < walk.count; i++)
            tlm_tensor_free(walk.tensors[i]);
        walk.count = 0;
        tensor->grad = seed;
        status = run_nodes(&walk, tensor);
    } else {
        forget_tensors(&walk);
        tlm_tensor_free(seed);
    }
    tlmi_cached_free(walk.tensors);
    return status;
}

/* ---- Leaves -------------------------------------------------------------------------- */

tlm_status_t tlm_tensor_set_requires_grad(tlm_tensor_t *tensor, bool requires_grad)
{
    TLMI_TRY(tlmi_check_float("set_requires_grad", "tensor", tensor));
    if (tensor->node != NULL)
        return tlmi_fail(TLM_ERR_STATE,
                         "set_requires_grad: the tensor is the result of %s, not a leaf",
                         tensor->node->op->name);
    tensor->requires_grad = requires_grad;
    return TLM_OK;
}

bool tlm_tensor_requires_grad(const tlm_tensor_t *tensor)
{
    return tensor != NULL && tensor->requires_grad;
}

tlm_tensor_t *tlm_tensor_grad(const tlm_tensor_t *tensor)
{
    return tensor == NULL ? NULL : tensor->grad;
}

void tlm_tensor_zero_grad(tlm_tensor_t *tensor)
{
    if (tensor == NULL)
        return;
    tlm_tensor_free(tensor->grad);
    tensor->grad = NULL;
}
