/* Selects kernels by CPU features. */
#include "kernels/kernels.h"

#include <pthread.h>

void tlmi_kernels_fill(tlmi_kernels_t *table, uint64_t features)
{
    tlmi_kernels_fill_portable(table);
#if TLMI_X86
    if (tlmi_has_features(features, TLMI_NEEDS_AVX2))
        tlmi_kernels_fill_avx2(table);
    if (tlmi_has_features(features, TLMI_NEEDS_AVX512))
        tlmi_kernels_fill_avx512(table);
    if (tlmi_has_features(features, TLMI_NEEDS_VNNI))
        tlmi_kernels_fill_vnni(table);
    if (tlmi_has_features(features, TLMI_NEEDS_BF16))
        tlmi_kernels_fill_bf16(table);
#elif TLMI_ARM64
    if (tlmi_has_features(features, TLMI_NEEDS_NEON))
        tlmi_kernels_fill_neon(table);
    if (tlmi_has_features(features, TLMI_NEEDS_BF16))
        tlmi_kernels_fill_bfmmla(table);
#endif
    tlmi_kernels_fill_blis(table, features);
}

tlmi_byte_masks_fn tlmi_byte_masks_best(void)
{
    return tlmi_kernels()->byte_masks;
}

/* A table is never written after it is published, so no lock is needed (a fork could leave a lock
 * held). Threads that request the first table at the same time each fill one, with the same
 * contents. A change of features takes the next table; nothing may run while features change. */
enum { NUM_TABLES = 64 };
static tlmi_kernels_t tables[NUM_TABLES];
static atomic_uint tables_used;

/* In use before the first call: an empty table, whose state matches no real state. */
static const tlmi_kernels_t no_table = {.state = UINT64_MAX};
_Atomic(const tlmi_kernels_t *) tlmi_kernels_current = &no_table;

const tlmi_kernels_t *tlmi_kernels_select(void)
{
    uint64_t features = tlm_cpu_features();
    tlmi_kernels_t *table = &tables[atomic_fetch_add(&tables_used, 1) % NUM_TABLES];
    tlmi_kernels_fill(table, features);
    table->state = features | TLMI_CPU_DECIDED;
    atomic_store_explicit(&tlmi_kernels_current, table, memory_order_release);
    return table;
}

static tlmi_kernels_t portable_table;

static void fill_portable_table(void)
{
    tlmi_kernels_fill_portable(&portable_table);
}

const tlmi_kernels_t *tlmi_kernels_portable(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, fill_portable_table);
    return &portable_table;
}
