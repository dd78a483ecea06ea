/* Scores and logits that are kept within bounds by tanh, as in Gemma 2. */
#include "nn/nn_core.h"

#include <math.h>

void tlmi_softcap_rows(float *y, const float *x, float cap, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = cap * tanhf(x[i] / cap);
}

void tlmi_softcap_slopes(float *x, float *slopes, float cap, int64_t n)
{
    tlmi_softcap_rows(x, x, cap, n);
    for (int64_t i = 0; i < n; i++)
        slopes[i] = 1.0f - x[i] / cap * (x[i] / cap);
}
