/* The kernels of block formats for ARM CPUs with i8mm, whose dot products take unsigned bytes on one side. */
#include "kernels/kernels.h"

#if TLMI_ARM64
#define TARGET TLMI_TARGET_I8MM
#define INLINE static inline __attribute__((always_inline)) TARGET
#define KERNEL static TARGET
#define HELPER INLINE
#define BLOCK_DOTPROD
#define BLOCK_I8MM
#include "kernels/arm/block_neon.h"

#include "kernels/block_kernels.h"

void tlmi_kernels_fill_i8mm(tlmi_kernels_t *table)
{
    TLMI_BLOCK_KERNELS(TLMI_SET_KERNEL)
}
#else
typedef int tlmi_no_i8mm_t; /* a file must declare something */
#endif
