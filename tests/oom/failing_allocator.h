/* An allocator that fails on demand: it takes the place of the C library's in the whole program. */
#ifndef TEST_FAILING_ALLOCATOR_H
#define TEST_FAILING_ALLOCATOR_H

#include <stdbool.h>

/* From now on the nth request for memory (from 1) fails, and with `for_good` all that follow it. */
void fail_allocation(long nth, bool for_good);

/* All requests succeed again; true if one has failed since the last call of fail_allocation. */
bool stop_failing(void);

/* Blocks and mappings that are allocated and not freed. */
long live_blocks(void);

/* Requests for memory since the program's start, and those of LARGE_REQUEST bytes or more. */
enum { LARGE_REQUEST = 8192 };
long all_requests(void);
long large_requests(void);

#endif
