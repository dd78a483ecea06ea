/* Trained parameters and optimizer states divided among ranks (ZeRO's first stage, Rajbhandari et al.
 * 2020): gradients are summed so that each rank has the sums of its segment, it updates that segment,
 * and the parameters are exchanged.
 *
 * The sums go along the binary tree that gradient_tree.c begins: in round k, pairs of ranks whose
 * numbers differ in bit k hold the sums of two neighboring subtrees; each keeps half of the segments
 * that it still has and sends the other half. So rank r ends with the segment whose number is r with
 * its bits reversed. Sharing the parameters takes the same rounds in reverse. */
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "tensor/tensor_core.h"
#include "train/division.h"

/* ---- The handle ------------------------------------------------------------------------- */

/* Segment of a rank, and rank of a segment. */
static int32_t reversed(const tlmi_division_t *division, int32_t number)
{
    int32_t reverse = 0;

    for (int32_t bit = 0; bit < division->rounds; bit++)
        reverse |= ((number >> bit) & 1) << (division->rounds - 1 - bit);
    return division->rounds == 0 ? number : reverse;
}

/* The place closest to `at` where the row may be cut. */
static int64_t cut_near(const tlmi_division_t *division, int64_t at)
{
    const size_t i = tlmi_division_find(division, at);
    const int64_t first = division->offsets[i], n = division->offsets[i + 1] - first;
    const tlmi_parameter_t *parameter = &division->optimizer->parameters[division->numbers[i]];
    const tlmi_group_t *group = &division->optimizer->groups[parameter->group];
    int64_t inside = at - first;

    if (group->kind->is_elementwise)
        inside = (inside + TLMI_NORM_PIECE / 2) / TLMI_NORM_PIECE * TLMI_NORM_PIECE;
    else
        inside = 2 * inside < n ? 0 : n;
    return first + (inside < n ? inside : n);
}

static void cut(tlmi_division_t *division)
{
    const int64_t total = division->offsets[division->n], ranks = division->num_ranks;

    for (int64_t i = 0; i <= ranks; i++) { /* total * i may overflow */
        const int64_t ideal = total / ranks * i + total % ranks * i / ranks;
        int64_t bound = i == 0 ? 0 : i == ranks ? total : cut_near(division, ideal);

        if (i > 0 && bound < division->bounds[i - 1])
            bound = division->bounds[i - 1];
        division->bounds[i] = bound;
    }
}

/* The elements of parameter i of the row that are in a rank's segment; begin == end if none are. */
void tlmi_division_slice(int64_t *begin, int64_t *end, const tlmi_division_t *division, size_t i,
                         int32_t rank)
{
    const int32_t segment = reversed(division, rank);
    const int64_t first = division->offsets[i], past = division->offsets[i + 1];
    const int64_t from = division->bounds[segment], to = division->bounds[segment + 1];

    *begin = (from < first ? first : from > past ? past : from) - first;
    *end = (to < first ? first : to > past ? past : to) - first;
}

/* Divides the optimizer's states; one that was divided before must have been so alike. */
static tlm_status_t divide_states(const tlmi_division_t *division)
{
    tlm_optimizer_t *optimizer = division->optimizer;
    int64_t *begins = tlmi_alloc(2 * division->n, sizeof(*begins), "the segment of a rank");

    if (begins == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    int64_t *ends = begins + division->n;
    bool is_same = optimizer->num_ranks == division->num_ranks;
    for (size_t i = 0; i < division->n; i++) {
        const size_t number = division->numbers[i];
        const tlmi_parameter_t *parameter = &optimizer->parameters[number];

        tlmi_division_slice(&begins[number], &ends[number], division, i, division->rank);
        is_same = is_same && parameter->begin == begins[number] && parameter->end == ends[number];
    }
    tlm_status_t status = TLM_OK;
    if (optimizer->num_ranks == 0)
        status = tlmi_optimizer_divide(optimizer, division->num_ranks, begins, ends);
    else if (!is_same)
        status = tlmi_fail(TLM_ERR_STATE,
                           "trainer_create: the optimizer's state is divided among the ranks of "
                           "another trainer");
    tlmi_free(begins);
    return status;
}

/* Lists the parameters with their places in the row and their numbers in the optimizer. */
static void list(tlmi_division_t *division, tlm_tensor_t *const *trained)
{
    division->offsets[0] = 0;
    for (size_t i = 0; i < division->n; i++) {
        division->tensors[i] = tlm_tensor_retain(trained[i]);
        division->offsets[i + 1] = division->offsets[i] + trained[i]->numel;
        for (size_t j = 0; j < division->n; j++)
            if (division->optimizer->parameters[j].tensor == trained[i]) {
                division->numbers[i] = j;
                division->places[j] = i;
            }
    }
}

tlm_status_t tlmi_division_create(tlmi_division_t **out, tlm_communicator_t *communicator,
                                  tlm_optimizer_t *optimizer, tlm_tensor_t *const *trained,
                                  bool is_reproducible)
{
    const char *const what = "the division of parameters among ranks";
    const size_t n = optimizer->num_parameters, ranks = (size_t)communicator->engine.num_ranks;
    tlmi_division_t *division = tlmi_calloc(1, sizeof(*division), what);

    if (division == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    division->communicator = communicator;
    division->optimizer = optimizer;
    division->rank = communicator->engine.rank;
    division->num_ranks = communicator->engine.num_ranks;
    while (is_reproducible && 1 << division->rounds < division->num_ranks)
        division->rounds++;
    division->tensors = tlmi_calloc(n, sizeof(*division->tensors), what);
    division->numbers = tlmi_calloc(n, sizeof(*division->numbers), what);
    division->places = tlmi_calloc(n, sizeof(*division->places), what);
    division->offsets = tlmi_calloc(n + 1, sizeof(*division->offsets), what);
    division->bounds = tlmi_calloc(ranks + 1, sizeof(*division->bounds), what);
    division->bytes = tlmi_calloc(ranks, sizeof(*division->bytes), what);
    division->sent = tlmi_alloc_aligned(TLMI_BUCKET, sizeof(float), what);
    division->received = tlmi_alloc_aligned(TLMI_BUCKET, sizeof(float), what);
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    if (division->tensors == NULL || division->numbers == NULL || division->places == NULL ||
        division->offsets == NULL || division->bounds == NULL || division->bytes == NULL ||
        division->sent == NULL || division->received == NULL)
        goto fail;
    division->n = n;
    list(division, trained);
    cut(division);
    TLMI_TRY_OR(fail, divide_states(division));
    *out = division;
    return TLM_OK;
fail:
    tlmi_division_free(division);
    return status;
}

void tlmi_division_free(tlmi_division_t *division)
{
    if (division == NULL)
        return;
    for (size_t i = 0; i < division->n; i++)
        tlm_tensor_free(division->tensors[i]);
    tlmi_free(division->tensors);
    tlmi_free(division->numbers);
    tlmi_free(division->places);
    tlmi_free(division->offsets);
    tlmi_free(division->bounds);
    tlmi_free(division->bytes);
    tlmi_free(division->sent);
    tlmi_free(division->received);
    tlmi_free(division);
}

tlm_status_t tlmi_division_check(const char *function, const tlmi_division_t *division,
                                 tlm_tensor_t *const *trained, size_t n)
{
    bool is_same = n == division->n;

    for (size_t i = 0; i < n && is_same; i++)
        is_same = trained[i] == division->tensors[i];
    if (!is_same)
        return tlmi_fail(TLM_ERR_STATE,
                         "%s: the optimizer's parameters have changed since they were divided "
                         "among the ranks",
                         function);
    return TLM_OK;
}

/* ---- Runs of the row -------------------------------------------------------------------- */

size_t tlmi_division_find(const tlmi_division_t *division, int64_t at)
{
    size_t low = 0, high = division->n - 1;

    while (low < high) { /* the last parameter that begins at or before `at` */
        size_t middle = (low + high + 1) / 2;

        if (division->offsets[middle] <= at)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

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
            tlmi_add_floats(run.values, from, run.n);
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
                   int32_t round)
{
    int32_t first, past, first_kept, past_kept;

    segments_before(&first, &past, division, round);
    segments_before(&first_kept, &past_kept, division, round + 1);
    const bool keeps_low = first_kept == first;
    kept[0] = division->bounds[first_kept];
    kept[1] = division->bounds[past_kept];
    other[0] = division->bounds[keeps_low ? past_kept : first];
    other[1] = division->bounds[keeps_low ? past : first_kept];
}

/* By the engine, in its own order: every rank has all sums. */
static tlm_status_t sum_by_engine(tlmi_division_t *division)
{
    const int64_t total = division->offsets[division->n];

    for (int64_t at = 0; at < total;) {
        const int64_t end = bucket_end(at, total);

        read_row(division->sent, division, GRADIENTS, at, end);
        TLMI_TRY(tlm_communicator_all_reduce(division->sent, (size_t)(end - at),
                                             division->communicator));
        write_row(division, GRADIENTS, STORE, at, end, division->sent);
        at = end;
    }
    return TLM_OK;
}

tlm_status_t tlmi_division_sum(tlmi_division_t *division)
{
    int64_t kept[2], other[2];

    if (division->rounds == 0)
        return sum_by_engine(division);
    for (int32_t round = 0; round < division->rounds; round++) {
        halves(kept, other, division, round);
        TLMI_TRY(
            exchange_rows(division, GRADIENTS, ADD, division->rank ^ (1 << round), other, kept));
    }
    return TLM_OK;
}

/* The gradients in a rank's segment, and the number of pieces whose squares are summed. */
static size_t list_runs(tlmi_gradient_run_t *runs, const tlmi_division_t *division, int32_t rank)
{
    size_t pieces = 0;

    for (size_t i = 0; i < division->n; i++) {
        const tlm_tensor_t *gradient = division->tensors[i]->grad;
        int64_t begin, end;

        tlmi_division_slice(&begin, &end, division, i, rank);
        if (gradient == NULL)
            end = begin;
        if (runs != NULL)
            runs[i] = (tlmi_gradient_run_t){gradient == NULL ? NULL : tlmi_floats(gradient) + begin,
                                            end - begin};
        pieces += (size_t)((end - begin + TLMI_NORM_PIECE - 1) / TLMI_NORM_PIECE);
    }
    return pieces;
}

/* All that can fail on this rank alone: its own sums, and room for those of all. */
static tlm_status_t sum_own_squares(double **own, double **all, const tlmi_division_t *division)
{
    size_t count, total = 0;
    tlmi_gradient_run_t *runs =
        tlmi_cached_alloc(division->n, sizeof(*runs), "the gradients of a norm");

    if (runs == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    (void)list_runs(runs, division, division->rank);
    tlm_status_t status = tlmi_gradient_piece_sums(own, &count, runs, division->n);
    tlmi_cached_free(runs);
    if (status != TLM_OK)
        return status;
    for (int32_t rank = 0; rank < division->num_ranks; rank++) {
        const size_t pieces = list_runs(NULL, division, rank);

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

/* Adds up what the ranks have sent, segment by segment. */
static double sum_in_order(const tlmi_division_t *division, const double *all)
{
    double sum = 0.0;

    for (int32_t segment = 0; segment < division->num_ranks; segment++) {
        const int32_t rank = reversed(division, segment);
        size_t at = 0;

        for (int32_t i = 0; i < rank; i++)
            at += division->bytes[i] / sizeof(double);
        for (size_t i = 0; i < division->bytes[rank] / sizeof(double); i++)
            sum += all[at + i];
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

/* ---- Sharing parameters ----------------------------------------------------------------- */

/* Each rank broadcasts its segment: for numbers of ranks that have no rounds. */
static tlm_status_t share_in_turn(tlmi_division_t *division)
{
    for (int32_t rank = 0; rank < division->num_ranks; rank++)
        for (int64_t at = division->bounds[rank]; at < division->bounds[rank + 1];) {
            const int64_t end = bucket_end(at, division->bounds[rank + 1]);

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

tlm_status_t tlmi_division_share(tlmi_division_t *division)
{
    tlm_status_t status = TLM_OK;
    int64_t kept[2], other[2];

    if (division->rounds == 0)
        status = share_in_turn(division);
    for (int32_t round = division->rounds - 1; round >= 0 && status == TLM_OK; round--) {
        halves(kept, other, division, round);
        status =
            exchange_rows(division, PARAMETERS, STORE, division->rank ^ (1 << round), kept, other);
    }
    for (size_t i = 0; i < division->n; i++)
        tlmi_tensor_written(division->tensors[i]);
    return status;
}
