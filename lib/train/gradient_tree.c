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

typedef struct sum_job {
    float *sum;
    const float *other;
} sum_job_t;

static void add_range(void *context, int64_t begin, int64_t end)
{
    const sum_job_t *job = context;

    tlmi_vec_add(job->sum + begin, job->sum + begin, job->other + begin, end - begin);
}

void tlmi_add_floats(float *sum, const float *other, int64_t n)
{
    sum_job_t job = {sum, other};

    tlmi_parallel_ranges(n, add_range, &job);
}

static void take_gradients(tlm_tensor_t **out, tlm_tensor_t *const *tensors, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = tensors[i]->grad;
        tensors[i]->grad = NULL;
    }
}

/* Adds gradients, which are consumed, to those of the tensors. A missing one counts as zeros. */
static void add_gradients(tlm_tensor_t *const *tensors, tlm_tensor_t **gradients, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        tlm_tensor_t *own = tensors[i]->grad;

        if (own == NULL) {
            tensors[i]->grad = gradients[i];
            continue;
        }
        if (gradients[i] != NULL) {
            tlmi_add_floats(tlmi_floats(own), tlmi_floats(gradients[i]), own->numel);
            tlmi_tensor_written(own);
        }
        tlm_tensor_free(gradients[i]);
    }
}

tlm_status_t tlmi_sum_gradients(tlm_tensor_t *const *tensors, size_t n, uint64_t first,
                                uint64_t count, tlmi_micro_batch_fn compute, void *user)
{
    if (count == 1)
        return compute(user, first);
    const uint64_t left = split_of(count);
    TLMI_TRY(tlmi_sum_gradients(tensors, n, first, left, compute, user));
    tlm_tensor_t **kept = tlmi_cached_calloc(n, sizeof(*kept), "the gradients of micro-batches");
    if (kept == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    take_gradients(kept, tensors, n);
    tlm_status_t status = tlmi_sum_gradients(tensors, n, first + left, count - left, compute, user);
    add_gradients(tensors, kept, n);
    tlmi_cached_free(kept);
    return status;
}
