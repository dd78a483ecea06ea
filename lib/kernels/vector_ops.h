/* The vector kernels of one CPU level, as a table: vector_math.c picks the table of
 * tlm_cpu_level(). vector_kernels.h says what each does; it is compiled once a level. */
#ifndef TLMI_VECTOR_OPS_H
#define TLMI_VECTOR_OPS_H

#include "base/cpu.h"
#include "kernels/vector_math.h"

typedef struct tlmi_vector_ops {
    void (*exp)(float *, const float *, int64_t);
    float (*exp_sum)(float *, const float *, float, int64_t);
    float (*max)(const float *, int64_t);
    float (*sum)(const float *, int64_t);
    float (*dot)(const float *, const float *, int64_t);
    void (*dot_rows)(float *, const float *, const float *, int64_t, int64_t, int64_t);
    void (*dot_tile)(float *, int64_t, const float *, int64_t, int64_t, const float *, int64_t,
                     int64_t, int64_t);
    void (*weighted_rows)(float *, const float *, const float *, int64_t, int64_t, int64_t);
    double (*sum_squares)(const float *, int64_t);
    void (*add)(float *, const float *, const float *, int64_t);
    void (*mul)(float *, const float *, const float *, int64_t);
    void (*mul_add)(float *, const float *, const float *, int64_t);
    void (*scale)(float *, const float *, float, int64_t);
    void (*axpy)(float *, float, const float *, int64_t);
    void (*silu)(float *, const float *, int64_t);
    void (*silu_backward)(float *, const float *, const float *, bool, int64_t);
    void (*silu_mul)(float *, const float *, const float *, int64_t);
    void (*silu_mul_backward)(float *, bool, float *, bool, const float *, const float *,
                              const float *, int64_t);
    void (*adamw)(float *, float *, float *, const float *, const tlmi_adamw_step_t *, int64_t);
} tlmi_vector_ops_t;

extern const tlmi_vector_ops_t tlmi_vector_scalar;
#if TLMI_X86
extern const tlmi_vector_ops_t tlmi_vector_avx2;
extern const tlmi_vector_ops_t tlmi_vector_avx512;
#endif

#endif
