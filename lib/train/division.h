/* Parameters divided among ranks, from within: division.c and division_states.c. */
#ifndef TLMI_DIVISION_H
#define TLMI_DIVISION_H

#include "train/train_core.h"

/* Elements that are exchanged at a time: 4 MiB, enough to hide the latency. */
#define TLMI_BUCKET ((int64_t)1 << 20)

struct tlmi_division {
    tlm_communicator_t *communicator; /* borrowed, as the next one */
    tlm_optimizer_t *optimizer;
    int32_t rank, num_ranks;
    int32_t rounds;         /* num_ranks is 2 to this power; 0: the engine sums, in its own order */
    size_t n;               /* trained parameters */
    tlm_tensor_t **tensors; /* retained */
    size_t *numbers;        /* of each in the optimizer */
    size_t *places;         /* the reverse */
    int64_t *offsets;       /* (n + 1), in the row of all elements */
    int64_t *bounds;        /* (num_ranks + 1), of the segments */
    size_t *bytes;          /* (num_ranks), for gathers */
    float *sent, *received; /* TLMI_BUCKET elements each */
    float *whole;           /* the state that rank 0 has read last, or NULL */
};

/* The parameter of the row that holds element `at`; the last one past the end. */
size_t tlmi_division_find(const tlmi_division_t *division, int64_t at);

/* The elements of parameter i of the row that are in a rank's segment; begin == end if none are. */
void tlmi_division_slice(int64_t *begin, int64_t *end, const tlmi_division_t *division, size_t i,
                         int32_t rank);

#endif
