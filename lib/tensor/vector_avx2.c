/* The vector kernels for AVX2 and FMA: eight floats at a time. */
#include "tensor/vector_ops.h"

#if TLMI_X86
#include "tensor/simd_avx2.h"

#define KERNEL_TABLE tlmi_vector_avx2
#include "tensor/vector_kernels.h"
#else
typedef int tlmi_no_avx2_t; /* a file must declare something */
#endif
