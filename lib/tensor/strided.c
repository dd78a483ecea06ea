/* Strided loops: planning them, running them in parallel pieces, and copying with them. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"

enum { PIECE = 16384 /* elements per parallel piece: 64 KiB of float32 */ };

void tlmi_row_major_strides(int64_t *strides, const int64_t *shape, int32_t ndim)
{
    int64_t stride = 1;
    for (int32_t d = ndim - 1; d >= 0; d--) {
        strides[d] = stride;
        stride *= shape[d] > 0 ? shape[d] : 1;
    }
}

tlm_status_t tlmi_broadcast_shape(const char *op, int64_t *shape, int32_t *ndim,
                                  const tlm_tensor_t *tensor)
{
    int64_t merged[TLM_MAX_DIMS];
    int32_t rank = *ndim > tensor->ndim ? *ndim : tensor->ndim;
    for (int32_t d = 0; d < rank; d++) {
        int32_t da = d - (rank - *ndim);
        int32_t db = d - (rank - tensor->ndim);
        int64_t size_a = da < 0 ? 1 : shape[da];
        int64_t size_b = db < 0 ? 1 : tensor->shape[db];
        if (size_a != size_b && size_a != 1 && size_b != 1) {
            char text_a[TLMI_SHAPE_TEXT], text_b[TLMI_SHAPE_TEXT];
            return tlmi_fail(TLM_ERR_SHAPE,
                             "%s: sizes %" PRId64 " and %" PRId64 " do not broadcast: %s and %s",
                             op, size_a, size_b, tlmi_dims_text(text_a, shape, *ndim),
                             tlmi_shape_text(text_b, tensor));
        }
        merged[d] = size_a == 1 ? size_b : size_a;
    }
    memcpy(shape, merged, (size_t)rank * sizeof(*shape));
    *ndim = rank;
    return TLM_OK;
}

void tlmi_broadcast_strides(int64_t *strides, const tlm_tensor_t *tensor, const int64_t *shape,
                            int32_t ndim)
{
    int32_t missing = ndim - tensor->ndim;
    for (int32_t d = 0; d < ndim; d++) {
        bool repeated = d < missing || (tensor->shape[d - missing] == 1 && shape[d] != 1);
        strides[d] = repeated ? 0 : tensor->strides[d - missing];
    }
}

void tlmi_loop_plan(tlmi_loop_t *loop, const int64_t *shape, int32_t ndim, int32_t num_operands,
                    const int64_t *const *strides)
{
    loop->num_operands = num_operands;
    loop->numel = tlmi_dims_product(shape, 0, ndim);
    int32_t n = 0; /* dimensions planned so far */
    for (int32_t d = 0; d < ndim; d++) {
        if (shape[d] == 1)
            continue;
        bool merges = n > 0;
        for (int32_t i = 0; merges && i < num_operands; i++)
            merges = loop->strides[i][n - 1] == strides[i][d] * shape[d];
        if (!merges)
            loop->shape[n++] = 1;
        loop->shape[n - 1] *= shape[d];
        for (int32_t i = 0; i < num_operands; i++)
            loop->strides[i][n - 1] = strides[i][d];
    }
    if (n == 0) {
        loop->shape[n++] = 1;
        for (int32_t i = 0; i < num_operands; i++)
            loop->strides[i][0] = 0;
    }
    loop->ndim = n;
}

typedef struct loop_job {
    const tlmi_loop_t *loop;
    tlmi_run_fn run;
    void *context;
    int64_t pieces_per_row; /* if rows are longer than a piece */
    int64_t rows_per_piece; /* if rows are shorter */
    int64_t rows;
} loop_job_t;

static void run_rows(const loop_job_t *job, int64_t first_row, int64_t last_row, int64_t begin,
                     int64_t end)
{
    const tlmi_loop_t *loop = job->loop;
    int32_t inner = loop->ndim - 1;
    int64_t offsets[TLMI_MAX_OPERANDS] = {0};
    int64_t inner_strides[TLMI_MAX_OPERANDS] = {0};
    for (int32_t i = 0; i < loop->num_operands; i++) {
        inner_strides[i] = loop->strides[i][inner];
        offsets[i] = begin * inner_strides[i];
    }
    int64_t rest = first_row;
    int64_t index[TLM_MAX_DIMS];
    for (int32_t d = inner - 1; d >= 0; d--) {
        index[d] = rest % loop->shape[d];
        rest /= loop->shape[d];
        for (int32_t i = 0; i < loop->num_operands; i++)
            offsets[i] += index[d] * loop->strides[i][d];
    }
    for (int64_t row = first_row; row < last_row; row++) {
        job->run(job->context, offsets, inner_strides, end - begin);
        for (int32_t d = inner - 1; d >= 0; d--) {
            bool wraps = ++index[d] == loop->shape[d];
            int64_t back = wraps ? loop->shape[d] - 1 : 0;
            for (int32_t i = 0; i < loop->num_operands; i++)
                offsets[i] += (wraps ? -back : 1) * loop->strides[i][d];
            if (!wraps)
                break;
            index[d] = 0;
        }
    }
}

static void run_piece(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    const loop_job_t *job = context;
    int64_t row_size = job->loop->shape[job->loop->ndim - 1];
    if (job->pieces_per_row > 1) {
        int64_t row = task / job->pieces_per_row;
        int64_t begin = task % job->pieces_per_row * PIECE;
        int64_t end = begin + PIECE < row_size ? begin + PIECE : row_size;
        run_rows(job, row, row + 1, begin, end);
    } else {
        int64_t first = task * job->rows_per_piece;
        int64_t last =
            first + job->rows_per_piece < job->rows ? first + job->rows_per_piece : job->rows;
        run_rows(job, first, last, 0, row_size);
    }
}

void tlmi_loop_run(const tlmi_loop_t *loop, tlmi_run_fn run, void *context)
{
    if (loop->numel == 0 || tlmi_dry_run())
        return;
    int64_t row_size = loop->shape[loop->ndim - 1];
    loop_job_t job = {.loop = loop, .run = run, .context = context};
    job.rows = loop->numel / row_size;
    job.pieces_per_row = (row_size + PIECE - 1) / PIECE;
    job.rows_per_piece = row_size < PIECE ? PIECE / row_size : 1;
    int64_t pieces = job.pieces_per_row > 1
                         ? job.rows * job.pieces_per_row
                         : (job.rows + job.rows_per_piece - 1) / job.rows_per_piece;
    if (pieces == 1)
        run_piece(&job, 0, 0);
    else
        tlmi_parallel_for(pieces, run_piece, &job);
}

typedef struct copy_job {
    char *target;
    const char *source;
    size_t item;
} copy_job_t;

#define COPY_ITEMS(item)                                                                           \
    for (int64_t i = 0; i < n; i++)                                                                \
    memcpy(target + i * target_step, source + i * source_step, item)

static void copy_run(void *context, const int64_t *offsets, const int64_t *strides, int64_t n)
{
    const copy_job_t *job = context;
    char *target = job->target + offsets[0] * (int64_t)job->item;
    const char *source = job->source + offsets[1] * (int64_t)job->item;
    if (strides[0] == 1 && strides[1] == 1) {
        memcpy(target, source, (size_t)n * job->item);
        return;
    }
    int64_t target_step = strides[0] * (int64_t)job->item;
    int64_t source_step = strides[1] * (int64_t)job->item;
    switch (job->item) { /* a constant size makes each copy one load and one store */
    case 1:
        COPY_ITEMS(1);
        break;
    case 2:
        COPY_ITEMS(2);
        break;
    case 4:
        COPY_ITEMS(4);
        break;
    case 8:
        COPY_ITEMS(8);
        break;
    default:
        COPY_ITEMS(job->item);
    }
}

void tlmi_strided_copy(void *target, const int64_t *target_strides, const void *source,
                       const int64_t *source_strides, const int64_t *shape, int32_t ndim,
                       size_t item)
{
    tlmi_loop_t loop;
    copy_job_t job = {target, source, item};
    tlmi_loop_plan(&loop, shape, ndim, 2, (const int64_t *const[]){target_strides, source_strides});
    tlmi_loop_run(&loop, copy_run, &job);
}

typedef struct scale_job {
    float *target;
    const float *source;
    float factor;
    bool accumulate;
} scale_job_t;

static void scale_run(void *context, const int64_t *offsets, const int64_t *strides, int64_t n)
{
    const scale_job_t *job = context;
    float *target = job->target + offsets[0];
    const float *source = job->source + offsets[1];
    if (strides[0] == 1 && strides[1] == 1) {
        if (job->accumulate)
            tlmi_vec_axpy(target, job->factor, source, n);
        else
            tlmi_vec_scale(target, source, job->factor, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        float value = job->factor * source[i * strides[1]];
        target[i * strides[0]] = job->accumulate ? target[i * strides[0]] + value : value;
    }
}

void tlmi_strided_scale(float *target, const int64_t *target_strides, bool accumulate, float factor,
                        const float *source, const int64_t *source_strides, const int64_t *shape,
                        int32_t ndim)
{
    tlmi_loop_t loop;
    scale_job_t job = {target, source, factor, accumulate};
    tlmi_loop_plan(&loop, shape, ndim, 2, (const int64_t *const[]){target_strides, source_strides});
    tlmi_loop_run(&loop, scale_run, &job);
}
