/* The kernels for AVX-512: sixteen floats or 64 bytes at a time. */
#include "kernels/kernels.h"

#if TLMI_X86
#include "kernels/x86/simd_avx512.h"

#include "kernels/vector_kernels.h"

#include "kernels/panel_kernels.h"

#include "kernels/byte_kernels.h"

#include "kernels/x86/pretoken_avx512.h"

void tlmi_kernels_fill_avx512(tlmi_kernels_t *table)
{
    TLMI_VECTOR_KERNELS(TLMI_SET_KERNEL)
    TLMI_PANEL_KERNELS(TLMI_SET_KERNEL)
    TLMI_BYTE_KERNELS(TLMI_SET_KERNEL)
    TLMI_PRETOKEN_KERNELS(TLMI_SET_KERNEL)
}
#else
typedef int tlmi_no_avx512_t; /* a file must declare something */
#endif
