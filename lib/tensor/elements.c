/* Elements of any type: comparisons, and conversions to another type. Neither has a gradient. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/number.h"
#include "base/thread_pool.h"
#include "tensor/tensor_core.h"

static bool is_integer(int32_t dtype)
{
    return dtype == TLM_INT32 || dtype == TLM_INT64 || dtype == TLM_UINT32 || dtype == TLM_BOOL;
}

/* Element i of an integer type. */
static inline int64_t load_integer(int32_t dtype, const void *data, int64_t i)
{
    switch (dtype) {
    case TLM_INT32:
        return ((const int32_t *)data)[i];
    case TLM_INT64:
        return ((const int64_t *)data)[i];
    case TLM_UINT32:
        return ((const uint32_t *)data)[i];
    default:
        return ((const uint8_t *)data)[i] != 0;
    }
}

/* Element i of any type; int64 is rounded to float64. */
static inline double load_number(int32_t dtype, const void *data, int64_t i)
{
    switch (dtype) {
    case TLM_FLOAT32:
        return (double)((const float *)data)[i];
    case TLM_FLOAT16:
        return (double)tlmi_half_to_float(((const uint16_t *)data)[i]);
    case TLM_BFLOAT16:
        return (double)tlmi_bfloat16_to_float(((const uint16_t *)data)[i]);
    default:
        return (double)load_integer(dtype, data, i);
    }
}

/* ---- Comparisons --------------------------------------------------------------------- */

typedef struct compare_job {
    uint8_t *y;
    const char *a, *b;
    int32_t dtype_a, dtype_b, comparison;
} compare_job_t;

/* The loops of all comparisons over elements that load_a and load_b give. */
#define COMPARE(load_a, load_b)                                                                    \
    for (int64_t i = 0; i < n; i++) {                                                              \
        const bool less = load_a<load_b, equal = load_a == load_b, more = load_a> load_b;          \
        const bool results[] = {equal, !equal, less, less || equal, more, more || equal};          \
        y[i] = results[job->comparison];                                                           \
    }

static void compare_run(void *context, const int64_t *offsets, const int64_t *strides, int64_t n)
{
    const compare_job_t *job = context;
    uint8_t *y = job->y + offsets[0];
    const char *a = job->a + offsets[1] * (int64_t)tlm_dtype_size(job->dtype_a);
    const char *b = job->b + offsets[2] * (int64_t)tlm_dtype_size(job->dtype_b);
    const int64_t step_a = strides[1], step_b = strides[2];
    if (job->dtype_a == TLM_FLOAT32 && job->dtype_b == TLM_FLOAT32)
        COMPARE(((const float *)a)[i * step_a], ((const float *)b)[i * step_b])
    else if (is_integer(job->dtype_a) && is_integer(job->dtype_b))
        COMPARE(load_integer(job->dtype_a, a, i * step_a),
                load_integer(job->dtype_b, b, i * step_b))
    else
        COMPARE(load_number(job->dtype_a, a, i * step_a), load_number(job->dtype_b, b, i * step_b))
}

static tlm_status_t check_comparable(const char *name, const tlm_tensor_t *tensor)
{
    if (tensor == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "compare: %s is NULL", name);
    if (tensor->dtype != TLM_FLOAT32 && !is_integer(tensor->dtype))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "compare: %s has type %s, not float32, an integer type or bool", name,
                         tlmi_dtype_name(tensor->dtype));
    return TLM_OK;
}

tlm_status_t tlm_compare(tlm_tensor_t **out, const tlm_tensor_t *a, const tlm_tensor_t *b,
                         int32_t comparison)
{
    TLMI_REQUIRE("compare", out);
    TLMI_TRY(check_comparable("a", a));
    TLMI_TRY(check_comparable("b", b));
    if (comparison < TLM_COMPARE_EQUAL || comparison > TLM_COMPARE_GREATER_EQUAL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "compare: comparison %d is not in %d .. %d",
                         comparison, TLM_COMPARE_EQUAL, TLM_COMPARE_GREATER_EQUAL);
    int64_t shape[TLM_MAX_DIMS], strides[3][TLM_MAX_DIMS];
    int32_t ndim = 0;
    TLMI_TRY(tlmi_broadcast_shape("compare", shape, &ndim, a));
    TLMI_TRY(tlmi_broadcast_shape("compare", shape, &ndim, b));
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_tensor_new(&result, TLM_BOOL, shape, ndim));
    tlmi_row_major_strides(strides[0], shape, ndim);
    tlmi_broadcast_strides(strides[1], a, shape, ndim);
    tlmi_broadcast_strides(strides[2], b, shape, ndim);
    compare_job_t job = {result->data, a->data, b->data, a->dtype, b->dtype, comparison};
    tlmi_loop_t loop;
    tlmi_loop_plan(&loop, shape, ndim, 3,
                   (const int64_t *const[]){strides[0], strides[1], strides[2]});
    tlmi_loop_run(&loop, compare_run, &job);
    *out = result;
    return TLM_OK;
}

/* ---- Conversions --------------------------------------------------------------------- */

/* Whether the integer type holds `value`, cut to a whole number. */
static bool holds(int32_t dtype, double value)
{
    const double whole = trunc(value);
    switch (dtype) {
    case TLM_INT32:
        return whole >= -0x1p31 && whole < 0x1p31;
    case TLM_UINT32:
        return whole >= 0.0 && whole < 0x1p32;
    default:
        return whole >= -0x1p63 && whole < 0x1p63;
    }
}

static void store_integer(int32_t dtype, void *data, int64_t i, int64_t value)
{
    if (dtype == TLM_INT32)
        ((int32_t *)data)[i] = (int32_t)value;
    else if (dtype == TLM_UINT32)
        ((uint32_t *)data)[i] = (uint32_t)value;
    else
        ((int64_t *)data)[i] = value;
}

static void store_float(int32_t dtype, void *data, int64_t i, float value)
{
    if (dtype == TLM_FLOAT32)
        ((float *)data)[i] = value;
    else if (dtype == TLM_FLOAT16)
        ((uint16_t *)data)[i] = tlmi_float_to_half(value);
    else
        ((uint16_t *)data)[i] = tlmi_float_to_bfloat16(value);
}

/* Converts element i of row-major memory; false if the target cannot hold it. */
static bool convert_element(tlm_tensor_t *to, const tlm_tensor_t *from, int64_t i)
{
    if (is_integer(from->dtype) && is_integer(to->dtype) && to->dtype != TLM_BOOL) {
        const int64_t value = load_integer(from->dtype, from->data, i);
        const bool fits = to->dtype == TLM_INT64 ||
                          (to->dtype == TLM_INT32 ? value >= INT32_MIN && value <= INT32_MAX
                                                  : value >= 0 && value <= UINT32_MAX);
        if (fits)
            store_integer(to->dtype, to->data, i, value);
        return fits;
    }
    if (!is_integer(to->dtype)) { /* from int64 in one rounding */
        const float value = is_integer(from->dtype)
                                ? (float)load_integer(from->dtype, from->data, i)
                                : (float)load_number(from->dtype, from->data, i);
        store_float(to->dtype, to->data, i, value);
        return true;
    }
    const double value = load_number(from->dtype, from->data, i);
    if (to->dtype == TLM_BOOL) {
        ((uint8_t *)to->data)[i] = value != 0.0;
        return true;
    }
    if (!holds(to->dtype, value))
        return false;
    store_integer(to->dtype, to->data, i, (int64_t)value);
    return true;
}

enum { ELEMENTS_PER_TASK = 16384 };

static void convert_floats_part(void *context, int64_t task, int32_t worker)
{
    tlm_tensor_t *const *ends = context; /* to, from */
    const bool widens = ends[0]->dtype == TLM_FLOAT32;
    const tlmi_dtype_t *type = tlmi_dtype(ends[widens]->dtype);
    const int64_t first = task * ELEMENTS_PER_TASK;
    const int64_t left = ends[0]->numel - first;
    const int64_t n = left < ELEMENTS_PER_TASK ? left : ELEMENTS_PER_TASK;
    float *floats = tlmi_floats(ends[!widens]) + first;
    char *halves = (char *)ends[widens]->data + (size_t)first * type->bytes;

    (void)worker;
    if (widens)
        type->load(floats, halves, n);
    else
        type->store(halves, floats, n);
}

/* Converts row-major memory between float32 and a 16-bit float. */
static void convert_floats(tlm_tensor_t *to, tlm_tensor_t *from)
{
    tlmi_parallel_for((to->numel + ELEMENTS_PER_TASK - 1) / ELEMENTS_PER_TASK, convert_floats_part,
                      (tlm_tensor_t *[]){to, from});
}

static tlm_status_t refuse_element(const tlm_tensor_t *from, int64_t i, int32_t dtype)
{
    if (is_integer(from->dtype))
        return tlmi_fail(TLM_ERR_RANGE,
                         "tensor_convert: element %" PRId64 ", %" PRId64 ", is no %s", i,
                         load_integer(from->dtype, from->data, i), tlmi_dtype_name(dtype));
    return tlmi_fail(TLM_ERR_RANGE, "tensor_convert: element %" PRId64 ", %s, is no %s", i,
                     TLMI_G(load_number(from->dtype, from->data, i)), tlmi_dtype_name(dtype));
}

tlm_status_t tlm_tensor_convert(tlm_tensor_t **out, const tlm_tensor_t *tensor, int32_t dtype)
{
    TLMI_REQUIRE("tensor_convert", out);
    TLMI_REQUIRE("tensor_convert", tensor);
    TLMI_TRY(tlmi_check_elements("tensor_convert", tensor));
    int64_t numel;
    TLMI_TRY(tlmi_check_shape("tensor_convert", &numel, dtype, tensor->shape, tensor->ndim));
    tlm_tensor_t *rows = NULL, *result = NULL;
    tlm_status_t status;
    TLMI_TRY_OR(done, tlmi_contiguous(&rows, tensor));
    TLMI_TRY_OR(done, tlmi_tensor_new(&result, dtype, tensor->shape, tensor->ndim));
    const bool is_float = !is_integer(dtype) && !is_integer(tensor->dtype);
    if (dtype == tensor->dtype) {
        if (numel > 0)
            memcpy(result->data, rows->data, (size_t)numel * tlm_dtype_size(dtype));
    } else if (is_float && (dtype == TLM_FLOAT32 || tensor->dtype == TLM_FLOAT32)) {
        convert_floats(result, rows);
    } else {
        for (int64_t i = 0; i < numel; i++)
            if (!convert_element(result, rows, i)) {
                status = refuse_element(rows, i, dtype);
                goto done;
            }
    }
    *out = result;
    result = NULL;
done:
    tlm_tensor_free(rows);
    tlm_tensor_free(result);
    return status;
}
