/* Checks of every operation of a communicator, as one of its ranks runs them: over threads and over MPI. */
#ifndef TEST_COMMUNICATOR_SUPPORT_H
#define TEST_COMMUNICATOR_SUPPORT_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tinylm/tinylm.h"

/* Ends the check with "file:line: what" unless the condition holds. */
#define RANK_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            snprintf(problem, size, "rank %d, line %d: %s (%s)", (int)rank, __LINE__, #condition,  \
                     tlm_error_message());                                                         \
            return;                                                                                \
        }                                                                                          \
    } while (0)

static inline uint32_t rank_value(int32_t rank, size_t i)
{
    return (uint32_t)rank * 1000003u + (uint32_t)i * 7u + 1u;
}

/* Of n values and of none, to the next rank and from the previous one, one way, and to itself. */
static inline void check_exchange(char *problem, size_t size, tlm_communicator_t *c, size_t n)
{
    const int32_t rank = tlm_communicator_rank(c), ranks = tlm_communicator_num_ranks(c);
    const int32_t next = (rank + 1) % ranks, previous = (rank + ranks - 1) % ranks;
    const size_t bytes = n * sizeof(uint32_t);
    uint32_t *sent = malloc(bytes + 1), *got = malloc(bytes + 1);

    for (size_t i = 0; i < n; i++)
        sent[i] = rank_value(rank, i);
    memset(got, 0, bytes);
    RANK_CHECK(tlm_communicator_exchange(got, bytes, previous, c, sent, bytes, next) == TLM_OK);
    for (size_t i = 0; i < n; i++)
        RANK_CHECK(got[i] == rank_value(previous, i));
    memset(got, 0, bytes);
    if (ranks > 1 && rank == 0)
        RANK_CHECK(tlm_communicator_exchange(NULL, 0, TLM_NO_RANK, c, sent, bytes, 1) == TLM_OK);
    if (rank == 1) {
        RANK_CHECK(tlm_communicator_exchange(got, bytes, 0, c, NULL, 0, TLM_NO_RANK) == TLM_OK);
        for (size_t i = 0; i < n; i++)
            RANK_CHECK(got[i] == rank_value(0, i));
    }
    RANK_CHECK(tlm_communicator_exchange(got, bytes, rank, c, sent, bytes, rank) == TLM_OK);
    RANK_CHECK(memcmp(sent, got, bytes) == 0);
    RANK_CHECK(tlm_communicator_exchange(NULL, 0, TLM_NO_RANK, c, NULL, 0, TLM_NO_RANK) == TLM_OK);
    free(sent);
    free(got);
}

/* Rank r gives r * n values. */
static inline void check_gather(char *problem, size_t size, tlm_communicator_t *c, size_t n)
{
    const int32_t rank = tlm_communicator_rank(c), ranks = tlm_communicator_num_ranks(c);
    const size_t own = (size_t)rank * n, all = n * (size_t)(ranks * (ranks - 1) / 2);
    size_t *bytes = malloc((size_t)ranks * sizeof(*bytes));
    uint32_t *sent = malloc(own * sizeof(*sent) + 1), *got = malloc(all * sizeof(*got) + 1);

    for (int32_t r = 0; r < ranks; r++)
        bytes[r] = (size_t)r * n * sizeof(uint32_t);
    for (size_t i = 0; i < own; i++)
        sent[i] = rank_value(rank, i);
    for (int32_t root = -1; root < ranks; root++) {
        memset(got, 0, all * sizeof(*got));
        if (root < 0)
            RANK_CHECK(tlm_communicator_all_gather(got, c, sent, bytes) == TLM_OK);
        else
            RANK_CHECK(tlm_communicator_gather(root == rank ? got : NULL, c, sent, bytes, root) ==
                       TLM_OK);
        size_t at = 0;
        for (int32_t r = 0; r < ranks && (root < 0 || root == rank); r++)
            for (size_t i = 0; i < (size_t)r * n; i++)
                RANK_CHECK(got[at++] == rank_value(r, i));
    }
    /* In place. */
    size_t offset = 0;
    for (int32_t r = 0; r < rank; r++)
        offset += (size_t)r * n;
    memset(got, 0, all * sizeof(*got));
    memcpy(got + offset, sent, own * sizeof(*got));
    RANK_CHECK(tlm_communicator_all_gather(got, c, got + offset, bytes) == TLM_OK);
    for (size_t i = 0, at = 0; i < (size_t)ranks; i++)
        for (size_t j = 0; j < i * n; j++)
            RANK_CHECK(got[at++] == rank_value((int32_t)i, j));
    free(bytes);
    free(sent);
    free(got);
}

static inline void check_broadcast(char *problem, size_t size, tlm_communicator_t *c, size_t n)
{
    const int32_t rank = tlm_communicator_rank(c), ranks = tlm_communicator_num_ranks(c);
    uint32_t *values = malloc(n * sizeof(*values) + 1);

    for (int32_t root = 0; root < ranks; root++) {
        for (size_t i = 0; i < n; i++)
            values[i] = rank == root ? rank_value(root, i) : 0;
        RANK_CHECK(tlm_communicator_broadcast(values, n * sizeof(*values), c, root) == TLM_OK);
        for (size_t i = 0; i < n; i++)
            RANK_CHECK(values[i] == rank_value(root, i));
    }
    free(values);
}

/* Small whole numbers, whose sums are exact in any order. */
static inline void check_all_reduce(char *problem, size_t size, tlm_communicator_t *c, size_t n)
{
    const int32_t rank = tlm_communicator_rank(c), ranks = tlm_communicator_num_ranks(c);
    float *values = malloc(n * sizeof(*values) + 1);

    for (size_t i = 0; i < n; i++)
        values[i] = (float)((rank + 1) * (int32_t)(i % 1000));
    RANK_CHECK(tlm_communicator_all_reduce(values, n, c) == TLM_OK);
    for (size_t i = 0; i < n; i++)
        RANK_CHECK(values[i] == (float)(ranks * (ranks + 1) / 2 * (int32_t)(i % 1000)));
    free(values);
}

/* A rank that fails is named by the others, with its status and message; the ranks go on afterwards. */
static inline void check_agree(char *problem, size_t size, tlm_communicator_t *c)
{
    const int32_t rank = tlm_communicator_rank(c), ranks = tlm_communicator_num_ranks(c);
    char own[64], expected[64];

    RANK_CHECK(tlm_communicator_agree(c, TLM_OK) == TLM_OK);
    for (int32_t failing = 0; failing < ranks; failing++) {
        tlm_status_t status = TLM_OK;

        snprintf(own, sizeof(own), "the disk of %" PRId32 " is full", rank);
        if (rank >= failing)
            status = tlm_set_error(rank == failing ? TLM_ERR_IO : TLM_ERR_RANGE, own);
        tlm_status_t agreed = tlm_communicator_agree(c, status);
        RANK_CHECK(agreed == (rank > failing ? TLM_ERR_RANGE : TLM_ERR_IO));
        snprintf(expected, sizeof(expected), "rank %" PRId32 ": the disk of %" PRId32 " is full",
                 failing, failing);
        RANK_CHECK(strstr(tlm_error_message(), rank >= failing ? own : expected) != NULL);
    }
    RANK_CHECK(tlm_communicator_barrier(c) == TLM_OK);
}

/* Mistakes of the caller, which no other rank has a part in. */
static inline void check_mistakes(char *problem, size_t size, tlm_communicator_t *c)
{
    const int32_t rank = tlm_communicator_rank(c), ranks = tlm_communicator_num_ranks(c);
    char byte = 0;

    RANK_CHECK(tlm_communicator_exchange(&byte, 1, rank, c, &byte, 1, ranks) == TLM_ERR_RANGE);
    RANK_CHECK(tlm_communicator_exchange(&byte, 1, -2, c, &byte, 1, rank) == TLM_ERR_RANGE);
    RANK_CHECK(tlm_communicator_exchange(NULL, 0, TLM_NO_RANK, c, &byte, 1, rank) ==
               TLM_ERR_INVALID_ARGUMENT);
    RANK_CHECK(tlm_communicator_exchange(&byte, 0, rank, c, &byte, 1, rank) ==
               TLM_ERR_INVALID_ARGUMENT);
    RANK_CHECK(tlm_communicator_exchange(&byte, 1, rank, c, NULL, 1, rank) ==
               TLM_ERR_INVALID_ARGUMENT);
    RANK_CHECK(tlm_communicator_broadcast(&byte, 1, c, ranks) == TLM_ERR_RANGE);
    RANK_CHECK(tlm_communicator_broadcast(NULL, 1, c, 0) == TLM_ERR_INVALID_ARGUMENT);
    RANK_CHECK(tlm_communicator_all_reduce(NULL, 1, c) == TLM_ERR_INVALID_ARGUMENT);
    RANK_CHECK(tlm_communicator_all_gather(&byte, c, &byte, NULL) == TLM_ERR_INVALID_ARGUMENT);
    RANK_CHECK(tlm_communicator_barrier(c) == TLM_OK);
}

/* Runs everything; problem[0] stays '\0' if all is well. */
static inline void check_communicator(char *problem, size_t size, tlm_communicator_t *c)
{
    static const size_t sizes[] = {0, 1, 3, 1000, 100003};

    problem[0] = '\0';
    check_mistakes(problem, size, c);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && problem[0] == '\0'; i++) {
        check_exchange(problem, size, c, sizes[i]);
        if (problem[0] == '\0')
            check_gather(problem, size, c, sizes[i] / 10);
        if (problem[0] == '\0')
            check_broadcast(problem, size, c, sizes[i]);
        if (problem[0] == '\0')
            check_all_reduce(problem, size, c, sizes[i]);
    }
    if (problem[0] == '\0')
        check_agree(problem, size, c);
}

#endif
