/* The kernels of block formats for AVX-512 VNNI, on registers of 32 bytes: rows are read from memory
 * no faster with longer ones. */
#include "kernels/kernels.h"

#if TLMI_X86
#include <immintrin.h>

#define TARGET TLMI_TARGET_VNNI
#define INLINE static inline __attribute__((always_inline)) TARGET
#define KERNEL static TARGET
#define HELPER INLINE
#define BLOCK_VNNI
#include "kernels/x86/block_avx2.h"

#include "kernels/block_kernels.h"

void tlmi_kernels_fill_vnni(tlmi_kernels_t *table)
{
    TLMI_BLOCK_KERNELS(TLMI_SET_KERNEL)
}
#else
typedef int tlmi_no_vnni_t; /* a file must declare something */
#endif
