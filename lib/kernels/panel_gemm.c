/* Small matrix products on packed panels: one kernel source, compiled for each CPU level. */
#include "kernels/gemm.h"

#include <string.h>

#include "base/cpu.h"

typedef float float4_t __attribute__((vector_size(16)));

#define PANEL_TARGET
#define PANEL_NAME(x)      x##_portable
#define PANEL_VECTOR       float4_t
#define PANEL_LANES        4
#define PANEL_SET1(x)      ((float4_t){(x), (x), (x), (x)})
#define PANEL_FMA(a, b, c) ((a) * (b) + (c))
#define PANEL_ROWS         4
#include "kernels/panel_gemm_kernel.h"

#if TLMI_X86
#include <immintrin.h>

#define PANEL_TARGET       TLMI_TARGET_AVX2
#define PANEL_NAME(x)      x##_avx2
#define PANEL_VECTOR       __m256
#define PANEL_LANES        8
#define PANEL_SET1(x)      _mm256_set1_ps(x)
#define PANEL_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define PANEL_ROWS         6
#include "kernels/panel_gemm_kernel.h"

#define PANEL_TARGET       TLMI_TARGET_AVX512
#define PANEL_NAME(x)      x##_avx512
#define PANEL_VECTOR       __m512
#define PANEL_LANES        16
#define PANEL_SET1(x)      _mm512_set1_ps(x)
#define PANEL_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define PANEL_ROWS         12
#include "kernels/panel_gemm_kernel.h"
#endif

void tlmi_panel_pack(float *panels, const float *b, int64_t row_stride, int64_t column_stride,
                     int64_t k, int64_t n)
{
    tlmi_pack_panels(panels, TLMI_PANEL_WIDTH * k, TLMI_PANEL_WIDTH, n, k, b, column_stride,
                     row_stride);
}

void tlmi_panel_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                     int64_t a_column, const float *panels, int64_t packed_k, float *c,
                     int64_t c_stride, bool accumulate)
{
#if TLMI_X86
    if (tlm_cpu_level() >= TLM_CPU_AVX512) {
        panel_gemm_avx512(m, n, k, a, a_row, a_column, panels, packed_k, c, c_stride, accumulate);
        return;
    }
    if (tlm_cpu_level() >= TLM_CPU_AVX2) {
        panel_gemm_avx2(m, n, k, a, a_row, a_column, panels, packed_k, c, c_stride, accumulate);
        return;
    }
#endif
    panel_gemm_portable(m, n, k, a, a_row, a_column, panels, packed_k, c, c_stride, accumulate);
}
