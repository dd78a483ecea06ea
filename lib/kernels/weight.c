/* Products with weights. Float32 weights go to the float products unchanged. Large products load
 * weights of other types into buffers slice by slice. Dot products use the kernel of the type if
 * there is one, and otherwise load rows piece by piece. */
#include "kernels/gemm.h"

#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"

tlmi_weight_t tlmi_weight_make(int32_t dtype, const void *data, int64_t rows, int64_t columns)
{
    const tlmi_dtype_t *type = tlmi_dtype(dtype);
    const size_t row_bytes = (size_t)(columns / type->block) * type->bytes;

    return (tlmi_weight_t){type, rows, columns, row_bytes, data};
}

static bool is_float32(const tlmi_weight_t *weight)
{
    return weight->type->code == TLM_FLOAT32;
}

static const void *row_at(const tlmi_weight_t *weight, int64_t row)
{
    return (const char *)weight->data + (size_t)row * weight->row_bytes;
}

/* ---- Kernels of block formats ------------------------------------------------------------ */

typedef void(*dots_fn) TLMI_DOTS_PARAMETERS;
typedef void(*widen_fn) TLMI_WIDEN_PARAMETERS;

/* The kernels for a block format; NULL if there are none. */
typedef struct block_kernels {
    dots_fn dots;
    widen_fn widen;
} block_kernels_t;

static block_kernels_t kernels_of(const tlmi_kernels_t *kernels, int32_t type)
{
    switch (type) {
    case TLM_Q8_0:
        return (block_kernels_t){kernels->dots_q8_0, kernels->widen_q8_0};
    case TLM_Q4_0:
        return (block_kernels_t){kernels->dots_q4_0, kernels->widen_q4_0};
    case TLM_Q4_1:
        return (block_kernels_t){kernels->dots_q4_1, kernels->widen_q4_1};
    case TLM_Q5_0:
        return (block_kernels_t){kernels->dots_q5_0, kernels->widen_q5_0};
    case TLM_Q5_1:
        return (block_kernels_t){kernels->dots_q5_1, kernels->widen_q5_1};
    case TLM_Q2_K:
        return (block_kernels_t){kernels->dots_q2_k, kernels->widen_q2_k};
    case TLM_Q3_K:
        return (block_kernels_t){kernels->dots_q3_k, kernels->widen_q3_k};
    case TLM_Q4_K:
        return (block_kernels_t){kernels->dots_q4_k, kernels->widen_q4_k};
    case TLM_Q5_K:
        return (block_kernels_t){kernels->dots_q5_k, kernels->widen_q5_k};
    case TLM_Q6_K:
        return (block_kernels_t){kernels->dots_q6_k, kernels->widen_q6_k};
    default:
        return (block_kernels_t){NULL, NULL};
    }
}

/* ---- Rows ------------------------------------------------------------------------------- */

void tlmi_weight_load_row(float *out, const tlmi_weight_t *weight, int64_t row)
{
    const widen_fn widen = kernels_of(tlmi_kernels(), weight->type->code).widen;

    if (weight->columns > 0 && widen != NULL)
        widen(out, row_at(weight, row), weight->columns);
    else if (weight->columns > 0)
        weight->type->load(out, row_at(weight, row), weight->columns);
}

const float *tlmi_weight_row(const tlmi_weight_t *weight, int64_t row, float *scratch)
{
    if (is_float32(weight))
        return row_at(weight, row);
    tlmi_weight_load_row(scratch, weight, row);
    return scratch;
}

/* ---- Dot products ----------------------------------------------------------------------- */

/* Works for any type: loads a row in pieces, whose dot products are added in order. */
static void dots_of_pieces(float *out, int64_t out_stride, const float *x, int64_t x_stride,
                           int64_t num_x, const tlmi_weight_t *weight, int64_t row)
{
    enum { PIECE = 1024 }; /* a multiple of every block size */
    float piece[PIECE];

    for (int64_t t = 0; t < num_x; t++)
        out[t * out_stride] = 0.0f;
    for (int64_t begin = 0; begin < weight->columns; begin += PIECE) {
        int64_t left = weight->columns - begin, n = left < PIECE ? left : PIECE;
        size_t place = (size_t)(begin / weight->type->block) * weight->type->bytes;

        weight->type->load(piece, (const char *)row_at(weight, row) + place, n);
        for (int64_t t = 0; t < num_x; t++)
            out[t * out_stride] += tlmi_vec_dot(x + t * x_stride + begin, piece, n);
    }
}

bool tlmi_weight_takes_quantized(const tlmi_weight_t *weight)
{
    return kernels_of(tlmi_kernels(), weight->type->code).dots != NULL;
}

void tlmi_quantize_rows(tlmi_quantized_rows_t *out, void *room, const float *x, int64_t rows,
                        int64_t columns)
{
    const int64_t blocks = columns / 32;
    tlmi_quantized_rows_t made;

    made.scales = room;
    made.sums = made.scales + rows * blocks;
    made.numbers = (int16_t *)(void *)(made.sums + rows * blocks);
    for (int64_t t = 0; t < rows; t++)
        tlmi_kernels()->quantize_row(made.numbers + t * columns, made.scales + t * blocks,
                                     made.sums + t * blocks, x + t * columns, columns);
    *out = made;
}

void tlmi_weight_dots(float *out, int64_t out_stride, const float *x, int64_t x_stride,
                      int64_t num_x, const tlmi_quantized_rows_t *quantized,
                      const tlmi_weight_t *weight, int64_t first, int64_t num_rows)
{
    const tlmi_kernels_t *kernels = tlmi_kernels();
    const void *rows = row_at(weight, first);
    const int64_t n = weight->columns;

    switch (weight->type->code) {
    case TLM_FLOAT32:
        kernels->dot_tile(out, out_stride, x, x_stride, num_x, rows, n, num_rows, n);
        return;
    case TLM_BFLOAT16:
        kernels->dot_tile_bf16(out, out_stride, x, x_stride, num_x, rows, n, num_rows, n);
        return;
    case TLM_FLOAT16:
        kernels->dot_tile_f16(out, out_stride, x, x_stride, num_x, rows, n, num_rows, n);
        return;
    default:
        if (quantized != NULL) {
            kernels_of(kernels, weight->type->code)
                .dots(out, out_stride, quantized, num_x, rows, num_rows, n);
            return;
        }
        for (int64_t r = 0; r < num_rows; r++)
            dots_of_pieces(out + r, out_stride, x, x_stride, num_x, weight, first + r);
    }
}

/* ---- Large products --------------------------------------------------------------------- */

typedef struct load_job {
    const tlmi_weight_t *weight;
    float *to;
    int64_t first, rows;
} load_job_t;

enum { LOAD_ROWS = 16 /* per task */ };

static void load_task(void *context, int64_t task, int32_t worker)
{
    const load_job_t *job = context;

    (void)worker;
    for (int64_t r = task * LOAD_ROWS; r < job->rows && r < (task + 1) * LOAD_ROWS; r++)
        tlmi_weight_load_row(job->to + r * job->weight->columns, job->weight, job->first + r);
}

/* Rows per slice: few enough floats for the cache, but enough rows that the product of a slice uses
 * the same code path as the whole product. */
static int64_t slice_rows(const tlmi_weight_t *weight)
{
    enum { FLOATS = 1 << 20, LEAST = 64 };
    int64_t most = weight->columns > 0 ? FLOATS / weight->columns : FLOATS;
    int64_t slices;

    most = most < LEAST ? LEAST : most;
    slices = (weight->rows + most - 1) / most;
    return slices > 0 ? (weight->rows + slices - 1) / slices : 1;
}

/* For each slice of rows, loaded as floats, computes its columns of C (forward) or its contribution
 * to C (backward). */
static tlm_status_t product_of_slices(float *c, int32_t products, int64_t m, const float *x,
                                      const tlmi_weight_t *weight, float beta, bool back)
{
    const int64_t d = weight->columns, step = slice_rows(weight);

    if (weight->rows == 0 || d == 0) {
        const tlmi_matrix_t none = {NULL, 0, 0};
        int64_t n = back ? d : weight->rows;

        return tlmi_gemm(m, n, 0, 1.0f, none, none, beta, c, n);
    }
    size_t capacity;
    float *slice = tlmi_buffer_acquire(&capacity, (size_t)(step * d) * sizeof(float));
    if (slice == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (int64_t first = 0; first < weight->rows; first += step) {
        int64_t rows = weight->rows - first < step ? weight->rows - first : step;
        load_job_t load = {weight, slice, first, rows};

        tlmi_parallel_for((rows + LOAD_ROWS - 1) / LOAD_ROWS, load_task, &load);
        if (back)
            tlmi_gemm_as(products, m, d, rows, 1.0f, (tlmi_matrix_t){x + first, weight->rows, 1},
                         (tlmi_matrix_t){slice, d, 1}, first == 0 ? beta : 1.0f, c, d);
        else
            tlmi_gemm_as(products, m, rows, d, 1.0f, (tlmi_matrix_t){x, d, 1},
                         (tlmi_matrix_t){slice, 1, d}, beta, c + first, weight->rows);
    }
    tlmi_buffer_release(slice, capacity);
    return TLM_OK;
}

tlm_status_t tlmi_weight_product(float *c, int32_t products, int64_t m, const float *x,
                                 const tlmi_weight_t *weight, float beta)
{
    const int64_t d = weight->columns;

    if (!is_float32(weight))
        return product_of_slices(c, products, m, x, weight, beta, false);
    tlmi_gemm_as(products, m, weight->rows, d, 1.0f, (tlmi_matrix_t){x, d, 1},
                 (tlmi_matrix_t){weight->data, 1, d}, beta, c, weight->rows);
    return TLM_OK;
}

tlm_status_t tlmi_weight_product_back(float *c, int32_t products, int64_t m, const float *x,
                                      const tlmi_weight_t *weight, float beta)
{
    const int64_t d = weight->columns;

    if (!is_float32(weight))
        return product_of_slices(c, products, m, x, weight, beta, true);
    tlmi_gemm_as(products, m, d, weight->rows, 1.0f, (tlmi_matrix_t){x, weight->rows, 1},
                 (tlmi_matrix_t){weight->data, d, 1}, beta, c, d);
    return TLM_OK;
}
