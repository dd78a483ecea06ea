/* Exchanges between the ranks that share the parameters: sums of gradients, and parameters.
 *
 * The sums go along the binary tree that gradient_tree.c begins: in round k, pairs of ranks whose
 * numbers differ in bit k hold the sums of two neighboring subtrees; each keeps half of the segments
 * of a chunk that it still has and sends the other half. So rank r ends with the segment whose number
 * is r with its bits reversed. Sharing the parameters takes the same rounds in reverse. */
#include <string.h>

#include "base/error.h"
#include "kernels/vector_math.h"
#include "tensor/tensor_core.h"
#include "train/division.h"

/* ---- Runs of the row -------------------------------------------------------------------- */

/* A run of the row that lies in one parameter. */
typedef struct run {
    float *values; /* NULL: there is no gradient */
    int64_t n;
} run_t;

typedef enum row { GRADIENTS, PARAMETERS } row_t;

/* The run that begins at `at` and ends before `end`. */
static run_t run_at(const tlmi_division_t *division, row_t row, int64_t at, int64_t end)
{
    const size_t i = tlmi_division_find(division, at);
    const int64_t past = division->offsets[i + 1];
    const tlm_tensor_t *tensor = division->tensors[i];
    const tlm_tensor_t *from = row == GRADIENTS ? tensor->grad : tensor;

    return (run_t){from == NULL ? NULL : tlmi_floats(from) + (at - division->offsets[i]),
                   (end < past ? end : past) - at};
}

/* Copies a stretch of the row; gradients that do not exist are zeros. */
static void read_row(float *to, const tlmi_division_t *division, row_t row, int64_t at, int64_t end)
{
    while (at < end) {
        run_t run = run_at(division, row, at, end);

        if (run.values != NULL)
            memcpy(to, run.values, (size_t)run.n * sizeof(float));
        else
            memset(to, 0, (size_t)run.n * sizeof(float));
        to += run.n;
        at += run.n;
    }
}

typedef enum how { STORE, ADD } how_t;

static void write_row(const tlmi_division_t *division, row_t row, how_t how, int64_t at,
                      int64_t end, const float *from)
{
    while (at < end) {
        run_t run = run_at(division, row, at, end);

        if (run.values != NULL && how == ADD)
            tlmi_vec_add(run.values, run.values, from, run.n); /* beside backward: no threads */
        else if (run.values != NULL && run.values != from)
            memcpy(run.values, from, (size_t)run.n * sizeof(float));
        from += run.n;
        at += run.n;
    }
}

static int64_t bucket_end(int64_t at, int64_t end)
{
    return end - at < TLMI_BUCKET ? end : at + TLMI_BUCKET;
}

/* Sends one stretch of the row and receives another, bucket by bucket. A bucket within one parameter
 * is not copied. */
static tlm_status_t exchange_rows(tlmi_division_t *division, row_t row, how_t how, int32_t partner,
                                  const int64_t sent[2], const int64_t received[2])
{
    int64_t out = sent[0], in = received[0];

    while (out < sent[1] || in < received[1]) {
        const int64_t out_end = bucket_end(out, sent[1]), in_end = bucket_end(in, received[1]);
        const bool sends = out < out_end, receives = in < in_end;
        const float *from = division->sent;
        float *to = division->received;

        if (sends) {
            run_t run = run_at(division, row, out, out_end);
            if (run.n == out_end - out && run.values != NULL)
                from = run.values;
            else
                read_row(division->sent, division, row, out, out_end);
        }
        if (receives && how == STORE) {
            run_t run = run_at(division, row, in, in_end);
            if (run.n == in_end - in && run.values != NULL)
                to = run.values;
        }
        TLMI_TRY(tlm_communicator_exchange(to, (size_t)(in_end - in) * sizeof(float),
                                           receives ? partner : TLM_NO_RANK, division->communicator,
                                           from, (size_t)(out_end - out) * sizeof(float),
                                           sends ? partner : TLM_NO_RANK));
        write_row(division, row, how, in, in_end, to);
        out = out_end;
        in = in_end;
    }
    return TLM_OK;
}

/* ---- Sums of gradients ------------------------------------------------------------------ */

/* The segments that this rank still has before round `round`. */
static void segments_before(int32_t *first, int32_t *past, const tlmi_division_t *division,
                            int32_t round)
{
    *first = 0;
    *past = division->num_ranks;
    for (int32_t bit = 0; bit < round; bit++) {
        const int32_t middle = (*first + *past) / 2;

        if ((division->rank >> bit) & 1)
            *first = middle;
        else
            *past = middle;
    }
}

/* The elements of the half that this rank keeps in a round, and of the other half. */
static void halves(int64_t kept[2], int64_t other[2], const tlmi_division_t *division,
                   const int64_t *bounds, int32_t round)
{
    int32_t first, past, first_kept, past_kept;

    segments_before(&first, &past, division, round);
    segments_before(&first_kept, &past_kept, division, round + 1);
    const bool keeps_low = first_kept == first;
    kept[0] = bounds[first_kept];
    kept[1] = bounds[past_kept];
    other[0] = bounds[keeps_low ? past_kept : first];
    other[1] = bounds[keeps_low ? past : first_kept];
}

/* By the engine, in its own order: every rank has all sums. */
static tlm_status_t sum_by_engine(tlmi_division_t *division, int64_t at, int64_t end)
{
    while (at < end) {
        const int64_t past = bucket_end(at, end);

        read_row(division->sent, division, GRADIENTS, at, past);
        TLMI_TRY(tlm_communicator_all_reduce(division->sent, (size_t)(past - at),
                                             division->communicator));
        write_row(division, GRADIENTS, STORE, at, past, division->sent);
        at = past;
    }
    return TLM_OK;
}

static tlm_status_t sum_in_rounds(tlmi_division_t *division, const int64_t *bounds)
{
    int64_t kept[2], other[2];

    for (int32_t round = 0; round < division->rounds; round++) {
        halves(kept, other, division, bounds, round);
        TLMI_TRY(
            exchange_rows(division, GRADIENTS, ADD, division->rank ^ (1 << round), other, kept));
    }
    return TLM_OK;
}

/* Makes gradients that another rank has, and this one lacks since none of its targets counted. They
 * are -0, which changes no sum by a bit. */
static tlm_status_t make_missing(const tlmi_division_t *division, size_t chunk)
{
    const size_t first = division->ends[chunk + 1], n = division->ends[chunk] - first;

    for (size_t i = 0; i < n; i++) {
        tlm_tensor_t *tensor = division->tensors[first + i], *gradient;
        bool exists = false;

        for (size_t rank = 0; rank < (size_t)division->num_ranks; rank++)
            exists = exists || division->flags[rank * (n + 1) + 1 + i] != 0;
        if (!exists || tensor->grad != NULL)
            continue;
        TLMI_TRY(tlmi_tensor_new(&gradient, TLM_FLOAT32, tensor->shape, tensor->ndim));
        for (int64_t j = 0; j < tensor->numel; j++)
            tlmi_floats(gradient)[j] = -0.0f;
        tensor->grad = gradient;
    }
    return TLM_OK;
}

/* Exchanges which gradients of a chunk each rank has, after a flag whether it has failed. */
static tlm_status_t exchange_flags(bool *differ, bool *is_off, tlmi_division_t *division,
                                   size_t chunk, bool has_failed)
{
    const size_t first = division->ends[chunk + 1], n = division->ends[chunk] - first;
    const size_t size = n + 1, ranks = (size_t)division->num_ranks;
    uint8_t *own = division->flags + (size_t)division->rank * size;

    own[0] = has_failed;
    for (size_t i = 0; i < n; i++)
        own[1 + i] = !has_failed && division->tensors[first + i]->grad != NULL;
    TLMI_TRY(
        tlmi_all_gather_equal(division->communicator, "trainer_step", own, division->flags, size));
    for (size_t rank = 0; rank < ranks; rank++)
        *is_off = *is_off || division->flags[rank * size] != 0;
    *differ = memcmp(division->flags, division->flags + size, (ranks - 1) * size) != 0;
    return TLM_OK;
}

tlm_status_t tlmi_division_sum_chunk(bool *is_off, tlmi_division_t *division, size_t chunk,
                                     tlm_status_t status)
{
    const int64_t *bounds = tlmi_division_bounds(division, chunk);
    bool differ = false;

    TLMI_TRY(exchange_flags(&differ, is_off, division, chunk, status != TLM_OK));
    if (*is_off)
        return TLM_OK;
    if (differ)
        TLMI_TRY(tlmi_agree(division->communicator, "trainer_step", make_missing(division, chunk)));
    return division->rounds == 0 ? sum_by_engine(division, bounds[0], bounds[division->num_ranks])
                                 : sum_in_rounds(division, bounds);
}

/* ---- Sharing parameters ----------------------------------------------------------------- */

/* Each rank broadcasts its segment: for numbers of ranks that have no rounds. */
static tlm_status_t share_in_turn(tlmi_division_t *division, const int64_t *bounds)
{
    for (int32_t rank = 0; rank < division->num_ranks; rank++)
        for (int64_t at = bounds[rank]; at < bounds[rank + 1];) {
            const int64_t end = bucket_end(at, bounds[rank + 1]);

            if (rank == division->rank)
                read_row(division->sent, division, PARAMETERS, at, end);
            TLMI_TRY(tlm_communicator_broadcast(division->sent, (size_t)(end - at) * sizeof(float),
                                                division->communicator, rank));
            if (rank != division->rank)
                write_row(division, PARAMETERS, STORE, at, end, division->sent);
            at = end;
        }
    return TLM_OK;
}

static tlm_status_t share_chunk(tlmi_division_t *division, const int64_t *bounds)
{
    int64_t kept[2], other[2];

    if (division->rounds == 0)
        return share_in_turn(division, bounds);
    for (int32_t round = division->rounds - 1; round >= 0; round--) {
        halves(kept, other, division, bounds, round);
        TLMI_TRY(
            exchange_rows(division, PARAMETERS, STORE, division->rank ^ (1 << round), kept, other));
    }
    return TLM_OK;
}

tlm_status_t tlmi_division_share(tlmi_division_t *division)
{
    tlm_status_t status = TLM_OK;

    for (size_t chunk = 0; chunk < division->num_chunks && status == TLM_OK; chunk++)
        status = share_chunk(division, tlmi_division_bounds(division, chunk));
    for (size_t i = 0; i < division->n; i++)
        tlmi_tensor_written(division->tensors[i]);
    return status;
}
