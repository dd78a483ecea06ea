/* The kernels for AVX2, FMA and BMI2: eight floats or 32 bytes at a time. */
#include "kernels/kernels.h"

#if TLMI_X86
#include "kernels/x86/simd_avx2.h"

#include "kernels/vector_kernels.h"

#include "kernels/panel_kernels.h"

#include "kernels/byte_kernels.h"

#include "kernels/x86/block_avx2.h"

#include "kernels/block_kernels.h"

void tlmi_kernels_fill_avx2(tlmi_kernels_t *table)
{
    TLMI_VECTOR_KERNELS(TLMI_SET_KERNEL)
    TLMI_PANEL_KERNELS(TLMI_SET_KERNEL)
    TLMI_BLOCK_KERNELS(TLMI_SET_KERNEL)
    TLMI_BYTE_KERNELS(TLMI_SET_KERNEL)
}
#else
typedef int tlmi_no_avx2_t; /* a file must declare something */
#endif
