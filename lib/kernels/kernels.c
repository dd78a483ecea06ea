/* Choice of kernels by CPU features. */
#include "kernels/kernels.h"

void tlmi_kernels_fill(tlmi_kernels_t *table, uint64_t features)
{
    tlmi_kernels_fill_portable(table);
#if TLMI_X86
    if (tlmi_has_features(features, TLMI_NEEDS_AVX2))
        tlmi_kernels_fill_avx2(table);
    if (tlmi_has_features(features, TLMI_NEEDS_AVX512))
        tlmi_kernels_fill_avx512(table);
#endif
    tlmi_kernels_fill_blis(table, features);
}

tlmi_byte_masks_fn tlmi_byte_masks_best(void)
{
    return tlmi_kernels()->byte_masks;
}

/* A table is not written to after it has been published, so that no lock is needed, which a fork
 * could leave held. Threads that ask for the first one at the same time fill one each, with the same
 * contents; a change of features takes the next, and nothing may run while features change. */
enum { NUM_TABLES = 64 };
static tlmi_kernels_t tables[NUM_TABLES];
static atomic_uint tables_used;

/* Before the first call: a table of no features, whose state none has. */
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
