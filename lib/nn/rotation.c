/* RoPE: the table of cosines and sines, and the rotation of one row. */
#include "nn/nn_core.h"

#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/number.h"
#include "tensor/tensor_core.h"

static tlm_status_t check_rotation(const char *op, int64_t d, double theta)
{
    if (!(theta > 0.0 && isfinite(theta)))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: theta %s is not a finite number > 0", op,
                         TLMI_G(theta));
    if (d % 2 != 0)
        return tlmi_fail(TLM_ERR_SHAPE, "%s: the last dimension, %" PRId64 ", must be even", op, d);
    return TLM_OK;
}

/* Checks that positions are (time) or broadcast to (outer..., time). *per_sequence tells whether
 * they differ between sequences. */
static tlm_status_t check_positions(bool *per_sequence, const char *op, const int64_t *outer_shape,
                                    int32_t outer_ndim, int64_t time, const tlm_tensor_t *positions)
{
    TLMI_TRY(tlmi_check_index(op, "positions", positions));
    bool fits = positions->ndim >= 1 && positions->ndim <= outer_ndim + 1 &&
                positions->shape[positions->ndim - 1] == time;
    *per_sequence = false;
    for (int32_t i = 0; fits && i < positions->ndim - 1; i++) {
        int64_t size = positions->shape[positions->ndim - 2 - i];
        fits = size == 1 || size == outer_shape[outer_ndim - 1 - i];
        *per_sequence = *per_sequence || size != 1;
    }
    if (fits)
        return TLM_OK;
    int64_t shape[TLM_MAX_DIMS];
    for (int32_t i = 0; i < outer_ndim; i++)
        shape[i] = outer_shape[i];
    shape[outer_ndim] = time;
    char text[TLMI_SHAPE_TEXT], want[TLMI_SHAPE_TEXT];
    return tlmi_fail(TLM_ERR_SHAPE, "%s: positions %s do not broadcast to %s", op,
                     tlmi_shape_text(text, positions), tlmi_dims_text(want, shape, outer_ndim + 1));
}

/* The index into row-major positions for sequence `outer` (row-major over outer_shape, which has no
 * 0) and time step t. */
static int64_t position_index(const tlm_tensor_t *positions, const int64_t *outer_shape,
                              int32_t outer_ndim, int64_t outer, int64_t t, int64_t time)
{
    int64_t index = t, stride = time;
    for (int32_t i = 0; i < outer_ndim; i++) {
        int64_t size = outer_shape[outer_ndim - 1 - i], at = outer % size;
        outer /= size;
        int32_t dim = positions->ndim - 2 - i;
        if (dim >= 0) {
            index += positions->shape[dim] == 1 ? 0 : at * stride;
            stride *= positions->shape[dim];
        }
    }
    return index;
}

/* ---- Angles -------------------------------------------------------------------------- */

static const double full_turn = 6.28318530717958647692;

static double clamp(double x, double least, double most)
{
    return x < least ? least : x > most ? most : x;
}

/* Llama 3.1: by how often the angle turns in the original context, between the bounds linearly. */
static double scale_llama3(double angle, const tlmi_rope_t *rope)
{
    double turns = rope->original_context * angle / full_turn;
    double kept = clamp((turns - rope->low_turns) / (rope->high_turns - rope->low_turns), 0.0, 1.0);

    return angle * (kept + (1.0 - kept) / rope->factor);
}

/* The pair, not rounded, whose angle turns so often in the original context. */
static double pair_that_turns(double turns, const tlmi_rope_t *rope, int64_t d)
{
    return (double)d * log(rope->original_context / (turns * full_turn)) / (2.0 * log(rope->theta));
}

/* YaRN: between the pairs at both bounds, rounded outwards, linearly in the number of the pair. */
static void scale_yarn(double *angles, const tlmi_rope_t *rope, int64_t d)
{
    double first = floor(pair_that_turns(rope->high_turns, rope, d));
    double last = ceil(pair_that_turns(rope->low_turns, rope, d));

    first = first > 0.0 ? first : 0.0;
    last = last < (double)(d - 1) ? last : (double)(d - 1);
    last = last == first ? last + 0.001 : last;
    for (int64_t i = 0; i < d / 2; i++) {
        double kept = 1.0 - clamp(((double)i - first) / (last - first), 0.0, 1.0);

        angles[i] *= kept + (1.0 - kept) / rope->factor;
    }
}

void tlmi_rope_angles(double *angles, const tlmi_rope_t *rope, int64_t d)
{
    for (int64_t i = 0; i < d / 2; i++) {
        angles[i] = pow(rope->theta, -2.0 * (double)i / (double)d);
        if (rope->scaling == TLMI_ROPE_LINEAR)
            angles[i] /= rope->factor;
        else if (rope->scaling == TLMI_ROPE_LLAMA3)
            angles[i] = scale_llama3(angles[i], rope);
    }
    if (rope->scaling == TLMI_ROPE_YARN)
        scale_yarn(angles, rope, d);
}

void tlmi_rope_row(float *row, int64_t position, int64_t d, const double *angles,
                   const tlmi_rope_t *rope)
{
    double magnitude = rope->magnitude == 0.0 ? 1.0 : rope->magnitude;

    for (int64_t i = 0; i < d / 2; i++) {
        double angle = (double)position * angles[i];
        row[2 * i] = (float)(magnitude * cos(angle));
        row[2 * i + 1] = (float)(magnitude * sin(angle));
    }
}

/* ---- The table ----------------------------------------------------------------------- */

static double *make_angles(int64_t d, const tlmi_rope_t *rope)
{
    double *angles = tlmi_cached_alloc((size_t)(d / 2), sizeof(double), "the frequencies of RoPE");
    if (angles != NULL && !tlmi_dry_run())
        tlmi_rope_angles(angles, rope, d);
    return angles;
}

tlm_status_t tlmi_rotation_create(tlmi_rotation_t *out, const char *op, const int64_t *outer_shape,
                                  int32_t outer_ndim, int64_t time, int64_t d,
                                  const tlm_tensor_t *positions, const tlmi_rope_t *rope)
{
    bool per_sequence = false;
    int64_t *list = NULL;
    TLMI_TRY(check_rotation(op, d, rope->theta));
    if (positions != NULL) {
        TLMI_TRY(check_positions(&per_sequence, op, outer_shape, outer_ndim, time, positions));
        TLMI_TRY(tlmi_read_indices(&list, positions));
    }
    tlmi_rotation_t made = {.time = time, .d = d};
    int64_t outer = tlmi_dims_product(outer_shape, 0, outer_ndim);
    made.rows = per_sequence ? outer * time : outer > 0 ? time : 0;
    double *angles = make_angles(d, rope);
    made.table = tlmi_cached_alloc((size_t)(made.rows * d), sizeof(float), "the table of RoPE");
    tlm_status_t status = angles == NULL || made.table == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    for (int64_t row = 0; status == TLM_OK && row < made.rows && !tlmi_dry_run(); row++) {
        int64_t position = row;
        if (list != NULL)
            position = list[position_index(positions, outer_shape, outer_ndim, row / time,
                                           row % time, time)];
        if (position < 0)
            status =
                tlmi_fail(TLM_ERR_RANGE, "%s: position %" PRId64 " in row %" PRId64 " is negative",
                          op, position, row);
        else
            tlmi_rope_row(made.table + row * d, position, d, angles, rope);
    }
    tlmi_cached_free(angles);
    tlmi_cached_free(list);
    if (status == TLM_OK)
        *out = made;
    else
        tlmi_cached_free(made.table);
    return status;
}

void tlmi_rotation_free(tlmi_rotation_t *rotation)
{
    tlmi_cached_free(rotation->table);
    rotation->table = NULL;
}

/* (x0, x1) -> (x0 cos - x1 sin, x0 sin + x1 cos) */
void tlmi_rotate(float *y, const float *x, const float *row, int64_t d, bool inverse)
{
    float sign = inverse ? -1.0f : 1.0f;
    for (int64_t i = 0; i + 1 < d; i += 2) {
        float c = row[i], s = sign * row[i + 1];
        float x0 = x[i], x1 = x[i + 1];
        y[i] = x0 * c - x1 * s;
        y[i + 1] = x0 * s + x1 * c;
    }
}
