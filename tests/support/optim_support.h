/* Parameters with gradients for tests of optimizers. */
#ifndef TEST_OPTIM_SUPPORT_H
#define TEST_OPTIM_SUPPORT_H

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "io_support.h"
#include "run_suite.h"

static inline float draw(uint64_t stream, int64_t i)
{
    return (float)(2.0 * tlmi_random_uniform(1, stream, (uint64_t)i) - 1.0);
}

static inline tlm_tensor_t *make_parameter(int64_t n, uint64_t stream)
{
    tlm_tensor_t *tensor;

    ASSERT_OK(tlm_tensor_create(&tensor, TLM_FLOAT32, &n, 1));
    for (int64_t i = 0; i < n; i++)
        ((float *)tlm_tensor_data(tensor))[i] = draw(stream, i);
    ASSERT_OK(tlm_tensor_set_requires_grad(tensor, true));
    return tensor;
}

/* Sets the tensor's gradient, by back-propagating it through tensor * 1. */
static inline void set_gradient(tlm_tensor_t *tensor, const float *values)
{
    tlm_tensor_t *same, *gradient;

    tlm_tensor_zero_grad(tensor);
    ASSERT_OK(tlm_scale(&same, tensor, 1.0f));
    ASSERT_OK(tlm_tensor_from_data(&gradient, TLM_FLOAT32, values, tlm_tensor_shape(tensor),
                                   tlm_tensor_ndim(tensor)));
    ASSERT_OK(tlm_tensor_backward(same, gradient));
    tlm_tensor_free(gradient);
    tlm_tensor_free(same);
    ck_assert_ptr_nonnull(tlm_tensor_grad(tensor));
}

static inline void assert_close(double actual, double expected, double tolerance)
{
    double error = fabs(actual - expected);

    /* Written so that NaN fails. */
    ck_assert_msg(error <= tolerance * (1.0 + fabs(expected)), "%.9g is not %.9g", actual,
                  expected);
}

static inline tlm_adamw_options_t make_adamw(double learning_rate, double beta1, double beta2,
                                             double eps, double weight_decay)
{
    tlm_adamw_options_t options = TLM_ADAMW_OPTIONS_INIT;

    options.learning_rate = learning_rate;
    options.beta1 = beta1;
    options.beta2 = beta2;
    options.eps = eps;
    options.weight_decay = weight_decay;
    return options;
}

#endif
