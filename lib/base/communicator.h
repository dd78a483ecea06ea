/* The communicator from within. */
#ifndef TLMI_COMMUNICATOR_H
#define TLMI_COMMUNICATOR_H

#include "tinylm/communicator.h"

struct tlm_communicator {
    tlm_communicator_options_t engine;
    bool failed;            /* the engine has failed: the ranks may not be in step any more */
    double seconds;         /* in the engine */
    size_t *sizes;          /* (num_ranks), for gathers of equal sizes */
    tlm_status_t *statuses; /* (num_ranks), what the ranks report */
};

/* tlm_communicator_all_gather of `bytes` bytes from each rank. */
tlm_status_t tlmi_all_gather_equal(tlm_communicator_t *communicator, const char *function,
                                   const void *send, void *receive, size_t bytes);

/* tlm_communicator_agree, whose message on other ranks begins with the name of the call. NULL for
 * one rank, whose status is returned. */
tlm_status_t tlmi_agree(tlm_communicator_t *communicator, const char *function,
                        tlm_status_t status);

/* Replaces a number by its sum over all ranks. */
tlm_status_t tlmi_ranks_sum(uint64_t *sum, tlm_communicator_t *communicator, const char *function);

/* Fails with TLM_ERR_INVALID_ARGUMENT on all ranks unless `value` is the same on all. */
tlm_status_t tlmi_ranks_require_equal(tlm_communicator_t *communicator, const char *function,
                                      const char *what, uint64_t value);

#endif
