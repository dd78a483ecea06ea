/* The vector kernels for AVX-512: sixteen floats at a time. */
#include "kernels/vector_ops.h"

#if TLMI_X86
#include "kernels/x86/simd_avx512.h"

#define KERNEL_TABLE tlmi_vector_avx512
#include "kernels/vector_kernels.h"
#else
typedef int tlmi_no_avx512_t; /* a file must declare something */
#endif
