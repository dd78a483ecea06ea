/* The gradient of several micro-batches: a sum along a binary tree that depends on their number
 * only. Ranks that share them take a subtree each, so the sum has the same bits on any number of
 * ranks. */
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "kernels/vector_math.h"
#include "tensor/tensor_core.h"
#include "train/train_core.h"

/* An even number splits in halves, so that 2, 4, 8 ... ranks find subtrees of equal size as far as
 * the number has factors of two; an odd one at the largest power of two below it. Either way the
 * tree is as low as can be. */
static uint64_t split_of(uint64_t n)
{
    uint64_t power = 1;

    if (n % 2 == 0)
        return n / 2;
    while (2 * power < n)
        power *= 2;
    return power;
}

/* The gradients of a left subtree, while the right one is computed. */
struct tlmi_kept_gradients {
    tlm_tensor_t **gradients;           /* one per tensor, or NULL: none, or added already */
    const tlmi_kept_gradients_t *outer; /* to be added next */
};

typedef struct sum_job {
    float *sum;
    const float *other;
} sum_job_t;

static void add_range(void *context, int64_t begin, int64_t end)
{
    const sum_job_t *job = context;

    tlmi_vec_add(job->sum + begin, job->sum + begin, job->other + begin, end - begin);
}

static void take_gradients(tlm_tensor_t **out, tlm_tensor_t *const *tensors, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = tensors[i]->grad;
        tensors[i]->grad = NULL;
    }
}

/* Adds a gradient that was kept to the tensor's own. A missing one counts as zeros. */
static void add_kept(tlm_tensor_t *tensor, tlm_tensor_t **kept)
{
    if (*kept == NULL)
        return;
    tlm_tensor_t *own = tensor->grad;
    if (own == NULL) {
        tensor->grad = *kept;
    } else {
        sum_job_t job = {tlmi_floats(own), tlmi_floats(*kept)};

        tlmi_parallel_ranges(own->numel, add_range, &job);
        tlmi_tensor_written(own);
        tlm_tensor_free(*kept);
    }
    *kept = NULL;
}

void tlmi_add_kept_gradients(tlm_tensor_t *tensor, size_t number, const tlmi_kept_gradients_t *kept)
{
    for (; kept != NULL; kept = kept->outer)
        add_kept(tensor, &kept->gradients[number]);
}

/* A sum, with what is the same at all nodes of its tree. */
typedef struct tree {
    tlm_tensor_t *const *tensors;
    size_t n;
    tlmi_micro_batch_fn compute;
    void *user;
} tree_t;

/* `outer` is what the last micro-batch of this subtree completes; NULL in a left subtree. */
static tlm_status_t sum_subtree(const tree_t *tree, uint64_t first, uint64_t count,
                                const tlmi_kept_gradients_t *outer)
{
    if (count == 1)
        return tree->compute(tree->user, first, outer);
    const uint64_t left = split_of(count);
    TLMI_TRY(sum_subtree(tree, first, left, NULL));
    tlm_tensor_t **gradients =
        tlmi_cached_calloc(tree->n, sizeof(*gradients), "the gradients of micro-batches");
    if (gradients == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    take_gradients(gradients, tree->tensors, tree->n);
    const tlmi_kept_gradients_t kept = {gradients, outer};
    tlm_status_t status = sum_subtree(tree, first + left, count - left, &kept);
    for (size_t i = 0; i < tree->n; i++)
        add_kept(tree->tensors[i], &gradients[i]);
    tlmi_cached_free(gradients);
    return status;
}

tlm_status_t tlmi_sum_gradients(tlm_tensor_t *const *tensors, size_t n, uint64_t first,
                                uint64_t count, tlmi_micro_batch_fn compute, void *user)
{
    const tree_t tree = {tensors, n, compute, user};

    return sum_subtree(&tree, first, count, NULL);
}
