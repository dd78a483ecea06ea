/* Parameters divided among ranks, from within: division*.c and gradient_sums.c. */
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
    size_t num_chunks;      /* whole parameters of the row each */
    size_t *ends;           /* (n + 1), chunk c has parameters ends[c + 1] .. ends[c] - 1 */
    size_t *chunk_of;       /* (n) */
    int64_t *bounds;        /* (num_chunks, num_ranks + 1), of the segments of each chunk */
    size_t *bytes;          /* (num_ranks), for gathers */
    uint8_t *flags;         /* (num_ranks, n + 1), what each has of a chunk */
    float *sent, *received; /* TLMI_BUCKET elements each */
    float *whole;           /* the state that rank 0 has read last, or NULL */
};

/* The parameter of the row that holds element `at`; the last one past the end. */
size_t tlmi_division_find(const tlmi_division_t *division, int64_t at);

/* Segment of a rank, and rank of a segment. */
int32_t tlmi_division_reversed(const tlmi_division_t *division, int32_t number);

/* The num_ranks + 1 bounds in the row of a chunk's segments. */
const int64_t *tlmi_division_bounds(const tlmi_division_t *division, size_t chunk);

/* The elements of parameter i of the row that are in a rank's segment; begin == end if none are. */
void tlmi_division_slice(int64_t *begin, int64_t *end, const tlmi_division_t *division, size_t i,
                         int32_t rank);

/* Sums the gradients of a chunk over all ranks: each has the sums of its segment, and leftovers
 * elsewhere. All ranks get gradients of the same parameters. With a status that is not TLM_OK, or if
 * another rank has one, nothing is summed: *is_off is set on all ranks. */
tlm_status_t tlmi_division_sum_chunk(bool *is_off, tlmi_division_t *division, size_t chunk,
                                     tlm_status_t status);

#endif
