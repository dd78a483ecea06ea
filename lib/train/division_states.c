/* Rank 0 writes a checkpoint of states that are divided among all ranks: it asks for one buffer after
 * another, the others answer with their parts, and nobody holds more than one whole buffer. */
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "tensor/tensor_core.h"
#include "train/division.h"

typedef struct request {
    uint64_t is_end;
    uint64_t parameter, state; /* numbers in the optimizer */
} request_t;

/* The values of a state on all ranks together. */
static size_t whole_of(const tlmi_state_t *state)
{
    size_t whole = 1;

    for (int32_t i = 0; i < state->ndim; i++)
        whole *= (size_t)state->shape[i];
    return whole;
}

/* The values that a rank has of a state: count of them, at `first` in the whole buffer. */
static void part_of(size_t *first, size_t *count, const tlmi_division_t *division,
                    const request_t *request, int32_t rank)
{
    const tlmi_parameter_t *parameter = &division->optimizer->parameters[request->parameter];
    const tlmi_state_t *state = &parameter->states[request->state];
    int64_t begin, end;

    tlmi_division_slice(&begin, &end, division, division->places[request->parameter], rank);
    *first = (size_t)begin;
    *count = (size_t)(end - begin);
    if (division->optimizer->groups[parameter->group].kind->is_elementwise)
        return;
    *first = 0;
    *count = begin < end ? whole_of(state) : 0;
}

static tlm_status_t answer(tlmi_division_t *division, const request_t *request)
{
    const tlmi_state_t *state =
        &division->optimizer->parameters[request->parameter].states[request->state];
    size_t first, count;

    part_of(&first, &count, division, request, division->rank);
    if (count == 0)
        return TLM_OK;
    return tlm_communicator_exchange(NULL, 0, TLM_NO_RANK, division->communicator, state->values,
                                     count * sizeof(float), 0);
}

tlm_status_t tlmi_division_read_state(void *user, const float **values, size_t parameter,
                                      size_t state)
{
    tlmi_division_t *division = user;
    request_t request = {false, parameter, state};
    const tlmi_state_t *own = &division->optimizer->parameters[parameter].states[state];
    size_t first, count;

    tlmi_cached_free(division->whole);
    division->whole = tlmi_cached_calloc(whole_of(own), sizeof(float), "a state of all ranks");
    if (division->whole == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(tlm_communicator_broadcast(&request, sizeof(request), division->communicator, 0));
    for (int32_t rank = 0; rank < division->num_ranks; rank++) {
        part_of(&first, &count, division, &request, rank);
        if (count == 0)
            continue;
        if (rank == division->rank)
            memcpy(division->whole + first, own->values, count * sizeof(float));
        else
            TLMI_TRY(tlm_communicator_exchange(division->whole + first, count * sizeof(float), rank,
                                               division->communicator, NULL, 0, TLM_NO_RANK));
    }
    *values = division->whole;
    return TLM_OK;
}

tlm_status_t tlmi_division_answer(tlmi_division_t *division)
{
    request_t request = {false, 0, 0};

    for (;;) {
        TLMI_TRY(tlm_communicator_broadcast(&request, sizeof(request), division->communicator, 0));
        if (request.is_end)
            return TLM_OK;
        TLMI_TRY(answer(division, &request));
    }
}

tlm_status_t tlmi_division_end(tlmi_division_t *division, tlm_status_t status)
{
    request_t request = {true, 0, 0};

    tlmi_cached_free(division->whole);
    division->whole = NULL;
    if (division->communicator->failed)
        return status;
    TLMI_TRY(tlm_communicator_broadcast(&request, sizeof(request), division->communicator, 0));
    return status;
}
