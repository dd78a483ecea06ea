/* The vector kernels in portable C, one float at a time: the reference of the other levels. */
#include "kernels/vector_ops.h"

#include "kernels/simd_scalar.h"

#define KERNEL_TABLE tlmi_vector_scalar
#include "kernels/vector_kernels.h"
