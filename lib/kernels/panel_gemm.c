/* Small matrix products on packed panels. */
#include "kernels/gemm.h"
#include "kernels/kernels.h"

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
    tlmi_kernels()->panel_gemm(m, n, k, a, a_row, a_column, panels, packed_k, c, c_stride,
                               accumulate);
}
