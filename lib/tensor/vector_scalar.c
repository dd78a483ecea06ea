/* The vector kernels in portable C, one float at a time: the reference of the other levels. */
#include "tensor/vector_ops.h"

#include "tensor/simd_scalar.h"

#define KERNEL_TABLE tlmi_vector_scalar
#include "tensor/vector_kernels.h"
