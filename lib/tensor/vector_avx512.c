/* The vector kernels for AVX-512: sixteen floats at a time. */
#include "tensor/vector_ops.h"

#if TLMI_X86
#include "tensor/simd_avx512.h"

#define KERNEL_TABLE tlmi_vector_avx512
#include "tensor/vector_kernels.h"
#else
typedef int tlmi_no_avx512_t; /* a file must declare something */
#endif
