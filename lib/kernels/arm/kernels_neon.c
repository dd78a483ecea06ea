/* The kernels for 64-bit ARM's Advanced SIMD: four floats or 64 bytes at a time. */
#include "kernels/kernels.h"

#if TLMI_ARM64
#include "kernels/arm/simd_neon.h"

#include "kernels/vector_kernels.h"

#include "kernels/panel_kernels.h"

#include "kernels/byte_kernels.h"

#include "kernels/arm/block_neon.h"

#include "kernels/block_kernels.h"

void tlmi_kernels_fill_neon(tlmi_kernels_t *table)
{
    TLMI_VECTOR_KERNELS(TLMI_SET_KERNEL)
    TLMI_PANEL_KERNELS(TLMI_SET_KERNEL)
    TLMI_BLOCK_KERNELS(TLMI_SET_KERNEL)
    TLMI_BYTE_KERNELS(TLMI_SET_KERNEL)
}
#else
typedef int tlmi_no_neon_t; /* a file must declare something */
#endif
