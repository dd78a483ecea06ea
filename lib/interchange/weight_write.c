/* Writing weights as the tensors of other projects' files: rows in the order of the file, in batches
 * that are quantized on all threads. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "interchange/interchange.h"
#include "tensor/tensor_core.h"

enum { BATCH = 1 << 16 /* approximate elements */, MOST_ROWS = 256 };

typedef enum fault { NONE, TOO_LARGE, NOT_FINITE } fault_t;

/* What the writers of one tensor share. */
typedef struct writing {
    const tlmi_dtype_t *type;
    const tlmi_convention_t *convention;
    const char *path;
    tlmi_weight_sink_t sink;
    void *user;
    int64_t columns;  /* of the file's rows */
    int64_t rows;     /* in a batch at most */
    float *values;    /* (rows, columns): as floats */
    float *back;      /* (rows, columns): what was stored, as floats; NULL for float32 */
    uint8_t *stored;  /* (rows, columns) in the type; NULL for float32 */
    size_t row_bytes; /* of `stored` */
    uint8_t *faults;  /* of each row */
} writing_t;

static tlm_status_t begin_writing(writing_t *writing)
{
    const tlmi_dtype_t *type = writing->type;
    const int64_t columns = writing->columns > 0 ? writing->columns : 1;

    writing->rows = BATCH / columns;
    writing->rows = writing->rows < 1 ? 1 : writing->rows > MOST_ROWS ? MOST_ROWS : writing->rows;
    const size_t rows = (size_t)writing->rows, n = rows * (size_t)columns;
    writing->values = tlmi_alloc(n, sizeof(float), "rows of weights");
    writing->faults = tlmi_alloc(rows, 1, "rows of weights");
    if (writing->values == NULL || writing->faults == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (type->code == TLM_FLOAT32)
        return TLM_OK;
    writing->row_bytes = (size_t)(columns / type->block) * type->bytes;
    writing->stored = tlmi_alloc(rows, writing->row_bytes, "rows of weights");
    writing->back = tlmi_alloc(n, sizeof(float), "rows of weights");
    return writing->stored == NULL || writing->back == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
}

static void end_writing(writing_t *writing)
{
    tlmi_free(writing->values);
    tlmi_free(writing->faults);
    tlmi_free(writing->stored);
    tlmi_free(writing->back);
}

/* Stores n values as row `row` of the batch. */
static void store_row(const writing_t *writing, int64_t row, const float *values, int64_t n)
{
    const tlmi_dtype_t *type = writing->type;
    float *back = writing->back + row * writing->columns;
    uint8_t *stored = writing->stored + (size_t)row * writing->row_bytes;

    writing->faults[row] = NONE;
    for (int64_t i = 0; i < n && type->block > 1; i++)
        if (!isfinite(values[i])) {
            writing->faults[row] = NOT_FINITE;
            return;
        }
    type->store(stored, values, n);
    type->load(back, stored, n);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(back[i]) && isfinite(values[i]))
            writing->faults[row] = TOO_LARGE;
}

/* Passes on the first rows of the batch, which have n values each. */
static tlm_status_t write_batch(const writing_t *writing, int64_t rows, int64_t n,
                                const char *parameter)
{
    const tlmi_dtype_t *type = writing->type;

    for (int64_t row = 0; row < rows; row++) {
        if (writing->faults[row] != NONE)
            return tlmi_fail(TLM_ERR_RANGE, "%s: parameter '%s' has a weight %s %s", writing->path,
                             parameter,
                             writing->faults[row] == TOO_LARGE ? "too large for"
                                                               : "that is NaN or infinite, not for",
                             type->name);
        TLMI_TRY(writing->sink(writing->user, writing->stored + (size_t)row * writing->row_bytes,
                               (size_t)(n / type->block) * type->bytes));
    }
    return TLM_OK;
}

/* ---- A parameter, row by row --------------------------------------------------------------- */

typedef struct parameter {
    const writing_t *writing;
    tlmi_weight_t weight;
    int64_t width; /* of reordered heads */
    float offset;
    int64_t first, count; /* rows of this batch */
} parameter_t;

/* Row i of the batch as floats. */
static const float *row_values(const parameter_t *parameter, int64_t i)
{
    const int64_t row = tlmi_own_row(parameter->first + i, parameter->width);
    float *room = parameter->writing->values + i * parameter->writing->columns;
    const float *values = tlmi_weight_row(&parameter->weight, row, room);

    if (parameter->offset == 0.0f)
        return values;
    for (int64_t k = 0; k < parameter->weight.columns; k++)
        room[k] = values[k] - parameter->offset;
    return room;
}

static void store_task(void *context, int64_t i, int32_t worker)
{
    const parameter_t *parameter = context;

    (void)worker;
    store_row(parameter->writing, i, row_values(parameter, i), parameter->weight.columns);
}

/* Rows that have the type of the file already. */
static tlm_status_t write_same(const parameter_t *parameter, int64_t rows)
{
    const tlmi_weight_t *weight = &parameter->weight;

    for (int64_t row = 0; row < rows; row++) {
        const int64_t own = tlmi_own_row(row, parameter->width);

        TLMI_TRY(parameter->writing->sink(
            parameter->writing->user, (const char *)weight->data + (size_t)own * weight->row_bytes,
            weight->row_bytes));
    }
    return TLM_OK;
}

static tlm_status_t write_parameter(const writing_t *writing, const tlm_model_t *model,
                                    size_t index)
{
    const tlm_tensor_t *tensor = model->parameters[index];
    const tlmi_rows_t rows = tlmi_rows_of(model, index, writing->convention);
    parameter_t parameter = {.writing = writing,
                             .weight = tlmi_weight_make(tensor->dtype, tlm_tensor_data(tensor),
                                                        rows.count, rows.columns),
                             .width = rows.width,
                             .offset = tlmi_gain_offset(model, index, writing->convention)};

    if (tensor->dtype == writing->type->code && parameter.offset == 0.0f)
        return write_same(&parameter, rows.count);
    for (; parameter.first < rows.count; parameter.first += parameter.count) {
        const int64_t left = rows.count - parameter.first;

        parameter.count = left < writing->rows ? left : writing->rows;
        if (writing->stored == NULL) {
            for (int64_t i = 0; i < parameter.count; i++)
                TLMI_TRY(writing->sink(writing->user, row_values(&parameter, i),
                                       (size_t)rows.columns * sizeof(float)));
            continue;
        }
        tlmi_parallel_for(parameter.count, store_task, &parameter);
        TLMI_TRY(write_batch(writing, parameter.count, rows.columns, model->specs[index].name));
    }
    return TLM_OK;
}

/* ---- A transposed tensor ------------------------------------------------------------------- */

/* Row by row of the file, which has one column of each parameter's rows. */
static tlm_status_t write_transposed(const writing_t *writing, const tlm_model_t *model,
                                     const tlmi_file_tensor_t *tensor)
{
    for (int32_t i = 0; i < tensor->count; i++)
        TLMI_TRY(tlmi_check_float("model_save_hf", model->specs[tensor->parameters[i]].name,
                                  model->parameters[tensor->parameters[i]]));
    for (int64_t column = 0; column < tensor->shape[0]; column++) {
        float *row = writing->values;

        for (int32_t i = 0; i < tensor->count; i++) {
            const float *values = tlmi_floats(model->parameters[tensor->parameters[i]]);
            const tlmi_rows_t rows =
                tlmi_rows_of(model, tensor->parameters[i], writing->convention);

            for (int64_t k = 0; k < rows.count; k++)
                *row++ = values[tlmi_own_row(k, rows.width) * rows.columns + column];
        }
        if (writing->stored == NULL) {
            TLMI_TRY(writing->sink(writing->user, writing->values,
                                   (size_t)writing->columns * sizeof(float)));
            continue;
        }
        store_row(writing, 0, writing->values, writing->columns);
        TLMI_TRY(
            write_batch(writing, 1, writing->columns, model->specs[tensor->parameters[0]].name));
    }
    return TLM_OK;
}

tlm_status_t tlmi_weight_write(const tlm_model_t *model, const tlmi_file_tensor_t *tensor,
                               const tlmi_convention_t *convention, const tlmi_dtype_t *type,
                               const char *path, tlmi_weight_sink_t sink, void *user)
{
    writing_t writing = {.type = type,
                         .convention = convention,
                         .path = path,
                         .sink = sink,
                         .user = user,
                         .columns = tensor->shape[tensor->ndim - 1]};
    tlm_status_t status;

    TLMI_TRY_OR(done, begin_writing(&writing));
    if (tensor->transposed) {
        status = write_transposed(&writing, model, tensor);
        goto done;
    }
    for (int32_t i = 0; i < tensor->count; i++)
        TLMI_TRY_OR(done, write_parameter(&writing, model, tensor->parameters[i]));
done:
    end_writing(&writing);
    return status;
}
