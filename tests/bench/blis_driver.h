/* sgemm by BLIS's own driver with the micro-kernels that tinylm takes, the yardstick for the library's
 * loops around them. Each of the pool's threads makes one part of C by a call of its own: the driver is
 * built for one thread. */
#ifndef BENCH_BLIS_DRIVER_H
#define BENCH_BLIS_DRIVER_H

#include <string.h>

#include <blis.h>

#include "base/thread_pool.h"
#include "kernels/gemm.h"

typedef struct blis_product {
    int64_t m, n, k;
    tlmi_matrix_t a, b;
    float *c; /* (m, n) */
    bool by_rows;
    int64_t parts;
    const cntx_t *context;
} blis_product_t;

/* BLIS's tables for the kernels named by tlm_gemm_kernel_name. The library links single kernels alone, so BLIS has
 * to be initialized first. */
static const cntx_t *blis_context(void)
{
    bli_init();
    for (int id = 0; id < BLIS_NUM_ARCHS; id++)
        if (strcmp(bli_arch_string((arch_t)id), tlm_gemm_kernel_name()) == 0)
            return bli_gks_lookup_nat_cntx((arch_t)id);
    return NULL; /* its own choice */
}

static void blis_part(void *context, int64_t part, int32_t worker)
{
    enum { STEP = 48 }; /* whole register tiles of all kernels */
    const blis_product_t *p = context;
    int64_t length = p->by_rows ? p->m : p->n, steps = (length + STEP - 1) / STEP;
    int64_t begin = steps * part / p->parts * STEP, end = steps * (part + 1) / p->parts * STEP;
    float one = 1.0f, zero = 0.0f;

    (void)worker;
    end = end < length ? end : length;
    if (begin >= end)
        return;
    bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, p->by_rows ? end - begin : p->m,
                 p->by_rows ? p->n : end - begin, p->k, &one,
                 (float *)(uintptr_t)p->a.data + (p->by_rows ? begin * p->a.row_stride : 0),
                 p->a.row_stride, p->a.column_stride,
                 (float *)(uintptr_t)p->b.data + (p->by_rows ? 0 : begin * p->b.column_stride),
                 p->b.row_stride, p->b.column_stride, &zero, p->c + begin * (p->by_rows ? p->n : 1),
                 p->n, 1, (cntx_t *)(uintptr_t)p->context, NULL);
}

/* C = A B */
static void blis_gemm(int64_t m, int64_t n, int64_t k, tlmi_matrix_t a, tlmi_matrix_t b, float *c)
{
    blis_product_t p = {m, n, k, a, b, c, m >= n, tlm_num_threads(), blis_context()};
    tlmi_parallel_for(p.parts, blis_part, &p);
}

#endif
