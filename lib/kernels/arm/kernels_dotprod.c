/* The kernels of block formats for ARM CPUs with dotprod, whose instruction adds the products of four bytes. */
#include "kernels/kernels.h"

#if TLMI_ARM64
#define TARGET TLMI_TARGET_DOTPROD
#define INLINE static inline __attribute__((always_inline)) TARGET
#define KERNEL static TARGET
#define HELPER INLINE
#define BLOCK_DOTPROD
#include "kernels/arm/block_neon.h"

#include "kernels/block_kernels.h"

void tlmi_kernels_fill_dotprod(tlmi_kernels_t *table)
{
    TLMI_BLOCK_KERNELS(TLMI_SET_KERNEL)
}
#else
typedef int tlmi_no_dotprod_t; /* a file must declare something */
#endif
