/* Trained parameters and optimizer states divided among ranks (ZeRO's first stage, Rajbhandari et al.
 * 2020): gradients are summed so that each rank has the sums of its segments, it updates these, and
 * the parameters are exchanged.
 *
 * The row of all parameters is cut in chunks, from its end, where backward begins: chunk by chunk,
 * gradients can be summed as soon as they are final. Each chunk is cut in as many segments as there
 * are ranks. */
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "tensor/tensor_core.h"
#include "train/division.h"

/* ---- The handle ------------------------------------------------------------------------- */

int32_t tlmi_division_reversed(const tlmi_division_t *division, int32_t number)
{
    int32_t reverse = 0;

    for (int32_t bit = 0; bit < division->rounds; bit++)
        reverse |= ((number >> bit) & 1) << (division->rounds - 1 - bit);
    return division->rounds == 0 ? number : reverse;
}

enum { CHUNKS = 16 }; /* at most, more or less: each takes rounds of messages */

/* Cuts the row from its end, where backward begins. A chunk is large enough that pairs of ranks exchange
 * whole buckets of it. */
static void list_chunks(tlmi_division_t *division)
{
    const int64_t share = division->offsets[division->n] / CHUNKS;
    const int64_t least = share > 2 * TLMI_BUCKET ? share : 2 * TLMI_BUCKET;

    division->ends[0] = division->n;
    for (size_t i = division->n; i-- > 0;) {
        const int64_t end = division->offsets[division->ends[division->num_chunks]];

        division->chunk_of[i] = division->num_chunks;
        if (i == 0 || end - division->offsets[i] >= least)
            division->ends[++division->num_chunks] = i;
    }
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

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* Cuts all chunks before segment i, 0 < i < num_ranks. What one chunk gives too much or too little to
 * the segments before it, the next ones make up for. */
static void cut_before(tlmi_division_t *division, int32_t i)
{
    const int64_t ranks = division->num_ranks;
    int64_t total = 0, given = 0;

    for (size_t chunk = 0; chunk < division->num_chunks; chunk++) {
        int64_t *bounds = division->bounds + chunk * (size_t)(ranks + 1);
        const int64_t start = bounds[0], end = bounds[ranks];

        total += end - start;
        const int64_t due = total / ranks * i + total % ranks * i / ranks; /* total * i overflows */
        const int64_t at = cut_near(division, clamp(start + due - given, start, end));
        bounds[i] = clamp(at, bounds[i - 1], end);
        given += bounds[i] - start;
    }
}

static void cut(tlmi_division_t *division)
{
    const size_t ranks = (size_t)division->num_ranks;

    for (size_t chunk = 0; chunk < division->num_chunks; chunk++) {
        division->bounds[chunk * (ranks + 1)] = division->offsets[division->ends[chunk + 1]];
        division->bounds[chunk * (ranks + 1) + ranks] = division->offsets[division->ends[chunk]];
    }
    for (int32_t i = 1; i < division->num_ranks; i++)
        cut_before(division, i);
}

const int64_t *tlmi_division_bounds(const tlmi_division_t *division, size_t chunk)
{
    return division->bounds + chunk * (size_t)(division->num_ranks + 1);
}

void tlmi_division_slice(int64_t *begin, int64_t *end, const tlmi_division_t *division, size_t i,
                         int32_t rank)
{
    const int64_t *bounds = tlmi_division_bounds(division, division->chunk_of[i]) +
                            tlmi_division_reversed(division, rank);
    const int64_t first = division->offsets[i], past = division->offsets[i + 1];

    *begin = clamp(bounds[0], first, past) - first;
    *end = clamp(bounds[1], first, past) - first;
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
    division->ends = tlmi_calloc(n + 1, sizeof(*division->ends), what);
    division->chunk_of = tlmi_calloc(n, sizeof(*division->chunk_of), what);
    division->flags = tlmi_calloc(ranks, n + 1, what);
    division->bytes = tlmi_calloc(ranks, sizeof(*division->bytes), what);
    division->sent = tlmi_alloc_aligned(TLMI_BUCKET, sizeof(float), what);
    division->received = tlmi_alloc_aligned(TLMI_BUCKET, sizeof(float), what);
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    if (division->tensors == NULL || division->numbers == NULL || division->places == NULL ||
        division->offsets == NULL || division->ends == NULL || division->chunk_of == NULL ||
        division->flags == NULL || division->bytes == NULL || division->sent == NULL ||
        division->received == NULL)
        goto fail;
    division->n = n;
    list(division, trained);
    list_chunks(division);
    division->bounds = tlmi_calloc(division->num_chunks * (ranks + 1), sizeof(int64_t), what);
    if (division->bounds == NULL)
        goto fail;
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
    tlmi_free(division->ends);
    tlmi_free(division->chunk_of);
    tlmi_free(division->bounds);
    tlmi_free(division->flags);
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
