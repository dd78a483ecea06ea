/* The sum runs over pieces of a fixed number of elements, each summed by one task, and then over
 * the pieces' sums in order: no rounding depends on the number of threads. */
#include "optim/optimizer_core.h"

#include <inttypes.h>
#include <math.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/number.h"
#include "base/thread_pool.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"

typedef struct piece {
    const float *values;
    int64_t n;
    double sum;
} piece_t;

static void piece_sum(void *context, int64_t task, int32_t worker)
{
    piece_t *piece = (piece_t *)context + task;

    piece->sum = tlmi_vec_sum_squares(piece->values, piece->n);
}

static int64_t count_pieces(int64_t n)
{
    return n / TLMI_NORM_PIECE + (n % TLMI_NORM_PIECE != 0);
}

tlm_status_t tlmi_gradient_piece_sums(double **sums, size_t *count, const tlmi_gradient_run_t *runs,
                                      size_t n)
{
    int64_t num_pieces = 0, at = 0;

    for (size_t i = 0; i < n; i++)
        num_pieces += count_pieces(runs[i].n);
    piece_t *pieces =
        tlmi_cached_alloc((size_t)num_pieces, sizeof(*pieces), "the pieces of a gradient norm");
    double *found =
        tlmi_cached_alloc((size_t)num_pieces, sizeof(*found), "the pieces of a gradient norm");
    if (pieces == NULL || found == NULL) {
        tlmi_cached_free(pieces);
        tlmi_cached_free(found);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < n && !tlmi_dry_run(); i++)
        for (int64_t begin = 0; begin < runs[i].n; begin += TLMI_NORM_PIECE) {
            int64_t left = runs[i].n - begin;
            pieces[at].values = runs[i].values + begin;
            pieces[at++].n = left < TLMI_NORM_PIECE ? left : TLMI_NORM_PIECE;
        }
    tlmi_parallel_for(num_pieces, piece_sum, pieces);
    for (int64_t i = 0; i < num_pieces && !tlmi_dry_run(); i++)
        found[i] = pieces[i].sum;
    tlmi_cached_free(pieces);
    *sums = found;
    *count = (size_t)num_pieces;
    return TLM_OK;
}

static tlm_status_t fail_non_finite(const char *function, tlm_tensor_t *const *gradients, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const tlm_tensor_t *grad = gradients[i];

        for (int64_t j = 0; grad != NULL && j < grad->numel; j++)
            if (!isfinite(tlmi_floats(grad)[j]))
                return tlmi_fail(TLM_ERR_NON_FINITE,
                                 "%s: the gradient of parameter %zu is %s at element %" PRId64,
                                 function, i, TLMI_G(tlmi_floats(grad)[j]), j);
    }
    return tlmi_fail(TLM_ERR_NON_FINITE, "%s: the gradients' norm is not finite", function);
}

tlm_status_t tlmi_gradient_sum_squares(double *out, const char *function,
                                       tlm_tensor_t *const *gradients, size_t n)
{
    tlmi_gradient_run_t *runs = tlmi_cached_calloc(n, sizeof(*runs), "the gradients of a norm");
    double *sums, sum = 0.0;
    size_t count;

    if (runs == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (gradients[i] != NULL)
            runs[i] = (tlmi_gradient_run_t){tlmi_floats(gradients[i]), gradients[i]->numel};
    tlm_status_t status = tlmi_gradient_piece_sums(&sums, &count, runs, n);
    tlmi_cached_free(runs);
    if (status != TLM_OK)
        return status;
    for (size_t i = 0; i < count && !tlmi_dry_run(); i++)
        sum += sums[i];
    tlmi_cached_free(sums);
    if (!isfinite(sum))
        return fail_non_finite(function, gradients, n);
    *out = sum;
    return TLM_OK;
}
