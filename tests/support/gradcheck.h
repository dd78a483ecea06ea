/* Checks of an op against a float64 reference: the result, and each input's gradient against
 * central differences of the reference. For tests with Check; a failed check ends the test with a
 * message.
 *
 *     static tlm_status_t run(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user);
 *     static void reference(double *out, const double *const *inputs, void *user);
 *
 *     gradcheck_t check = {.name = "mul", .run = run, .reference = reference, .num_inputs = 2,
 *                          .inputs = {{.shape = {3, 5}, .ndim = 2}, {.shape = {5}, .ndim = 1}}};
 *     gradcheck(&check);
 *
 * The loss is sum(G * out) for a random G, so that every element of the gradient counts, with its
 * sign. Differences are measured against the largest element of the reference's result or gradient.
 */
#ifndef GRADCHECK_H
#define GRADCHECK_H

#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tinylm/tensor.h"

#define GRADCHECK_MAX_INPUTS 6

typedef enum gradcheck_layout {
    GRADCHECK_CONTIGUOUS,
    GRADCHECK_TRANSPOSED, /* a view whose last two dimensions were swapped */
    GRADCHECK_SLICED,     /* every row is part of a longer one */
    GRADCHECK_NUM_LAYOUTS
} gradcheck_layout_t;

typedef struct gradcheck_input {
    int64_t shape[TLM_MAX_DIMS];
    int32_t ndim;
    double low, high;    /* range of the random elements; both 0: -1 to 1 */
    const float *values; /* these elements instead, if not NULL */
    bool constant;       /* requires no gradient */
    gradcheck_layout_t layout;
} gradcheck_input_t;

typedef struct gradcheck {
    const char *name;
    /* Makes the op's result from float32 inputs, through the public interface. */
    tlm_status_t (*run)(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user);
    /* Writes the result for float64 inputs, all row-major. */
    void (*reference)(double *out, const double *const *inputs, void *user);
    void *user;
    int num_inputs;
    gradcheck_input_t inputs[GRADCHECK_MAX_INPUTS];
    double tolerance; /* 0: 1e-4 */
    uint64_t seed;
    int64_t max_elements; /* gradient elements checked an input; 0: 200, spread evenly */
} gradcheck_t;

/* A number in [0, 1) (splitmix64). */
static inline double gradcheck_uniform(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static inline int64_t gradcheck_numel(const gradcheck_input_t *input)
{
    int64_t numel = 1;
    for (int32_t d = 0; d < input->ndim; d++)
        numel *= input->shape[d];
    return numel;
}

/* Fails unless got is within `tolerance * scale` of want; NaN never is, unless both are NaN. */
static inline void gradcheck_compare(const char *name, const char *what, int64_t i, double got,
                                     double want, double scale, double tolerance)
{
    if (isnan(want) && isnan(got))
        return;
    if (isinf(want) && got == want)
        return;
    double difference = fabs(got - want);
    if (!(difference <= tolerance * scale))
        ck_abort_msg("%s: %s[%lld] is %.9g, should be %.9g (off by %.3g, scale %.3g)", name, what,
                     (long long)i, got, want, difference, scale);
}

/* Largest magnitude, at least `least`. */
static inline double gradcheck_scale(const double *values, int64_t n, double least)
{
    double scale = least;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(values[i]) && fabs(values[i]) > scale)
            scale = fabs(values[i]);
    return scale;
}

/* A float32 leaf with these elements, and the view of it that the op gets. */
static inline void gradcheck_make_input(tlm_tensor_t **leaf, tlm_tensor_t **view,
                                        const gradcheck_input_t *input, const float *values)
{
    int64_t n = gradcheck_numel(input);
    gradcheck_layout_t layout = input->ndim < 2 ? GRADCHECK_CONTIGUOUS : input->layout;
    int64_t shape[TLM_MAX_DIMS];
    memcpy(shape, input->shape, sizeof(shape));
    int32_t last = input->ndim - 1;
    int64_t columns = input->ndim > 0 ? shape[last] : 1;
    int64_t rows = input->ndim > 1 ? shape[last - 1] : 1;
    int64_t pad = layout == GRADCHECK_SLICED ? 3 : 0; /* one column before, two after */
    float *data = malloc((size_t)(columns > 0 ? n / columns * (columns + pad) : 0) * 4 + 4);
    ck_assert_ptr_nonnull(data);
    for (int64_t i = 0; i < n; i++) {
        int64_t r = i / columns % rows;
        int64_t c = i % columns;
        int64_t matrix = i / (rows * columns) * rows * (columns + pad);
        if (layout == GRADCHECK_TRANSPOSED)
            data[matrix + c * rows + r] = values[i];
        else
            data[matrix + r * (columns + pad) + c + (pad > 0)] = values[i];
    }
    for (int64_t i = 0; pad > 0 && columns > 0 && i < n / columns; i++)
        data[i * (columns + pad)] = data[i * (columns + pad) + columns + 1] =
            data[i * (columns + pad) + columns + 2] = 1e30f; /* must not be read */
    if (layout == GRADCHECK_TRANSPOSED) {
        shape[last] = rows;
        shape[last - 1] = columns;
    } else if (layout == GRADCHECK_SLICED) {
        shape[last] = columns + pad;
    }
    if (layout == GRADCHECK_SLICED && columns == 0)
        memset(data, 0, 4);
    tlm_status_t status;
    if (layout == GRADCHECK_SLICED && columns == 0)
        status = tlm_tensor_create(leaf, TLM_FLOAT32, shape, input->ndim);
    else
        status = tlm_tensor_from_data(leaf, TLM_FLOAT32, data, shape, input->ndim);
    free(data);
    ck_assert_int_eq(status, TLM_OK);
    if (!input->constant)
        ck_assert_int_eq(tlm_tensor_set_requires_grad(*leaf, true), TLM_OK);
    if (layout == GRADCHECK_TRANSPOSED)
        ck_assert_int_eq(tlm_transpose(view, *leaf, -1, -2), TLM_OK);
    else if (layout == GRADCHECK_SLICED)
        ck_assert_int_eq(tlm_slice(view, *leaf, -1, 1, 1 + columns), TLM_OK);
    else
        *view = tlm_tensor_retain(*leaf);
}

/* Element i of the gradient of a view made by gradcheck_make_input, from its leaf's gradient. */
static inline double gradcheck_leaf_gradient(const tlm_tensor_t *leaf,
                                             const gradcheck_input_t *input, int64_t i)
{
    const float *grad = tlm_tensor_data(tlm_tensor_grad(leaf));
    if (input->ndim < 2 || input->layout == GRADCHECK_CONTIGUOUS)
        return grad[i];
    int64_t columns = input->shape[input->ndim - 1];
    int64_t rows = input->shape[input->ndim - 2];
    if (input->layout == GRADCHECK_SLICED)
        return grad[i / columns * (columns + 3) + i % columns + 1];
    return grad[i / (rows * columns) * rows * columns + i % columns * rows + i / columns % rows];
}

static inline double gradcheck_loss(const gradcheck_t *check, double *out, const double *weights,
                                    int64_t n, double *const *inputs)
{
    double loss = 0;
    check->reference(out, (const double *const *)inputs, check->user);
    for (int64_t i = 0; i < n; i++)
        loss += weights[i] * out[i];
    return loss;
}

/* Compares the gradient of input k with central differences of the reference. */
static inline void gradcheck_input_gradient(const gradcheck_t *check, int k, double *const *inputs,
                                            const tlm_tensor_t *leaf, double *out,
                                            const double *weights, int64_t n_out, double tolerance)
{
    const gradcheck_input_t *input = &check->inputs[k];
    int64_t n = gradcheck_numel(input);
    int64_t limit = check->max_elements > 0 ? check->max_elements : 200;
    int64_t step = n > limit ? (n + limit - 1) / limit : 1;
    int64_t count = (n + step - 1) / step;
    double *numeric = malloc((size_t)count * sizeof(double) + 8);
    char what[32];
    ck_assert_ptr_nonnull(numeric);
    snprintf(what, sizeof(what), "gradient of input %d", k);
    if (n > 0)
        ck_assert_msg(tlm_tensor_grad(leaf) != NULL, "%s: no %s", check->name, what);
    for (int64_t j = 0; j < count; j++) {
        int64_t i = j * step + (step > 1 ? j % step : 0);
        i = i < n ? i : n - 1;
        double x = inputs[k][i];
        double h = 1e-5 * fmax(1.0, fabs(x));
        inputs[k][i] = x + h;
        double above = gradcheck_loss(check, out, weights, n_out, inputs);
        inputs[k][i] = x - h;
        double below = gradcheck_loss(check, out, weights, n_out, inputs);
        inputs[k][i] = x;
        numeric[j] = (above - below) / (2 * h);
    }
    double scale = gradcheck_scale(numeric, count, 1e-3);
    for (int64_t j = 0; j < count; j++) {
        int64_t i = j * step + (step > 1 ? j % step : 0);
        i = i < n ? i : n - 1;
        gradcheck_compare(check->name, what, i, gradcheck_leaf_gradient(leaf, input, i), numeric[j],
                          scale, tolerance);
    }
    free(numeric);
}

/* Runs the whole check: forward, backward with a random gradient, comparison. */
static inline void gradcheck(const gradcheck_t *check)
{
    tlm_tensor_t *leaves[GRADCHECK_MAX_INPUTS] = {NULL};
    tlm_tensor_t *views[GRADCHECK_MAX_INPUTS] = {NULL};
    double *inputs[GRADCHECK_MAX_INPUTS] = {NULL};
    double tolerance = check->tolerance > 0 ? check->tolerance : 1e-4;
    uint64_t random = check->seed + 1;
    bool differentiable = false;
    for (int k = 0; k < check->num_inputs; k++) {
        const gradcheck_input_t *input = &check->inputs[k];
        int64_t n = gradcheck_numel(input);
        float *values = malloc((size_t)n * sizeof(float) + 4);
        inputs[k] = malloc((size_t)n * sizeof(double) + 8);
        ck_assert(values != NULL && inputs[k] != NULL);
        double low = input->low == input->high ? -1.0 : input->low;
        double high = input->low == input->high ? 1.0 : input->high;
        for (int64_t i = 0; i < n; i++) {
            values[i] = (float)(low + (high - low) * gradcheck_uniform(&random));
            if (input->values != NULL)
                values[i] = input->values[i];
            inputs[k][i] = values[i];
        }
        gradcheck_make_input(&leaves[k], &views[k], input, values);
        differentiable |= !input->constant;
        free(values);
    }

    tlm_tensor_t *result = NULL;
    tlm_status_t status = check->run(&result, views, check->user);
    ck_assert_msg(status == TLM_OK, "%s: %s", check->name, tlm_error_message());
    int64_t n_out = tlm_tensor_numel(result);
    float *got = malloc((size_t)n_out * sizeof(float) + 4);
    float *seed = malloc((size_t)n_out * sizeof(float) + 4);
    double *out = malloc((size_t)n_out * sizeof(double) + 8);
    double *weights = malloc((size_t)n_out * sizeof(double) + 8);
    ck_assert(got != NULL && seed != NULL && out != NULL && weights != NULL);
    ck_assert_int_eq(tlm_tensor_copy_out(got, (size_t)n_out, result), TLM_OK);
    check->reference(out, (const double *const *)inputs, check->user);
    double scale = gradcheck_scale(out, n_out, 1e-3);
    for (int64_t i = 0; i < n_out; i++)
        gradcheck_compare(check->name, "result", i, got[i], out[i], scale, tolerance);

    if (differentiable) {
        tlm_tensor_t *gradient = NULL;
        for (int64_t i = 0; i < n_out; i++)
            weights[i] = seed[i] = (float)(2 * gradcheck_uniform(&random) - 1);
        ck_assert_int_eq(tlm_tensor_from_data(&gradient, TLM_FLOAT32, seed,
                                              tlm_tensor_shape(result), tlm_tensor_ndim(result)),
                         TLM_OK);
        status = tlm_tensor_backward(result, gradient);
        ck_assert_msg(status == TLM_OK, "%s: %s", check->name, tlm_error_message());
        tlm_tensor_free(gradient);
        for (int k = 0; k < check->num_inputs; k++) {
            if (check->inputs[k].constant)
                ck_assert_ptr_null(tlm_tensor_grad(leaves[k]));
            else
                gradcheck_input_gradient(check, k, inputs, leaves[k], out, weights, n_out,
                                         tolerance);
        }
    }

    tlm_tensor_free(result);
    for (int k = 0; k < check->num_inputs; k++) {
        tlm_tensor_free(views[k]);
        tlm_tensor_free(leaves[k]);
        free(inputs[k]);
    }
    free(got);
    free(seed);
    free(out);
    free(weights);
}

#endif
