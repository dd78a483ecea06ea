/* The norm of gradients whose sums are divided among ranks: pieces of a fixed number of elements,
 * added in one order whatever rank has computed them. */
#include "base/buffer_cache.h"
#include "base/error.h"
#include "tensor/tensor_core.h"
#include "train/division.h"

/* The pieces of parameter i of the row, if it has a gradient, that a rank sums. */
static size_t pieces_of(const tlmi_division_t *division, size_t i, int32_t rank)
{
    int64_t begin, end;

    if (division->tensors[i]->grad == NULL)
        return 0;
    tlmi_division_slice(&begin, &end, division, i, rank);
    return (size_t)((end - begin + TLMI_NORM_PIECE - 1) / TLMI_NORM_PIECE);
}

/* The gradients in this rank's segments. */
static void list_runs(tlmi_gradient_run_t *runs, const tlmi_division_t *division)
{
    for (size_t i = 0; i < division->n; i++) {
        const tlm_tensor_t *gradient = division->tensors[i]->grad;
        int64_t begin, end;

        tlmi_division_slice(&begin, &end, division, i, division->rank);
        runs[i] = (tlmi_gradient_run_t){NULL, 0};
        if (gradient != NULL)
            runs[i] = (tlmi_gradient_run_t){tlmi_floats(gradient) + begin, end - begin};
    }
}

/* All that can fail on this rank alone: its own sums, and room for those of all. */
static tlm_status_t sum_own_squares(double **own, double **all, const tlmi_division_t *division)
{
    size_t count, total = 0;
    tlmi_gradient_run_t *runs =
        tlmi_cached_alloc(division->n, sizeof(*runs), "the gradients of a norm");

    if (runs == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    list_runs(runs, division);
    tlm_status_t status = tlmi_gradient_piece_sums(own, &count, runs, division->n);
    tlmi_cached_free(runs);
    if (status != TLM_OK)
        return status;
    for (int32_t rank = 0; rank < division->num_ranks; rank++) {
        size_t pieces = 0;

        for (size_t i = 0; i < division->n; i++)
            pieces += pieces_of(division, i, rank);
        division->bytes[rank] = pieces * sizeof(double);
        total += pieces;
    }
    *all = tlmi_cached_alloc(total, sizeof(**all), "the pieces of a gradient norm");
    if (*all != NULL)
        return TLM_OK;
    tlmi_cached_free(*own);
    *own = NULL;
    return TLM_ERR_OUT_OF_MEMORY;
}

/* Adds up what the ranks have sent in the order of the row. Each has sent its pieces in that order,
 * so only the place of its next one is needed, which `bytes` has room for. */
static double sum_in_order(const tlmi_division_t *division, const double *all)
{
    size_t *next = division->bytes, begin = 0;
    double sum = 0.0;

    for (int32_t rank = 0; rank < division->num_ranks; rank++) {
        const size_t count = division->bytes[rank] / sizeof(double);

        next[rank] = begin;
        begin += count;
    }
    for (size_t i = 0; i < division->n; i++)
        for (int32_t segment = 0; segment < division->num_ranks; segment++) {
            const int32_t rank = tlmi_division_reversed(division, segment);

            for (size_t left = pieces_of(division, i, rank); left > 0; left--)
                sum += all[next[rank]++];
        }
    return sum;
}

tlm_status_t tlmi_division_sum_squares(double *out, const tlmi_division_t *division)
{
    double *own = NULL, *all = NULL;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlmi_agree(division->communicator, "trainer_step",
                                 sum_own_squares(&own, &all, division)));
    TLMI_TRY_OR(done,
                tlm_communicator_all_gather(all, division->communicator, own, division->bytes));
    *out = sum_in_order(division, all);
done:
    tlmi_cached_free(own);
    tlmi_cached_free(all);
    return status;
}

void tlmi_division_scale(const tlmi_division_t *division, float factor)
{
    for (size_t i = 0; i < division->n; i++) {
        tlm_tensor_t *gradient = division->tensors[i]->grad;
        int64_t begin, end;

        tlmi_division_slice(&begin, &end, division, i, division->rank);
        if (gradient == NULL || begin == end)
            continue;
        tlmi_gradient_scale(tlmi_floats(gradient) + begin, factor, end - begin);
        tlmi_tensor_written(gradient);
    }
}
