/* The vector kernels for AVX2 and FMA: eight floats at a time. */
#include "kernels/vector_ops.h"

#if TLMI_X86
#include "kernels/x86/simd_avx2.h"

#define KERNEL_TABLE tlmi_vector_avx2
#include "kernels/vector_kernels.h"
#else
typedef int tlmi_no_avx2_t; /* a file must declare something */
#endif
