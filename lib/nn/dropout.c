/* Dropout by position: whether an element is dropped is a pure function of (seed, stream, token,
 * element), so that backward and recomputed blocks, resumed runs, any number of threads, and
 * batches that are split over machines all drop the same ones. */
#include "base/error.h"
#include "base/number.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "nn/nn_core.h"

#include <math.h>

enum { ROWS_PER_TASK = 8, PER_BLOCK = 8 /* decisions per block of random bits, 16 bits each */ };

/* Of 65536 draws, how many drop; and what is left is scaled by. */
static uint32_t dropped_of(const tlmi_drop_rule_t *dropout)
{
    return (uint32_t)lround(dropout->rate * 65536.0);
}

static float scale_of(const tlmi_drop_rule_t *dropout)
{
    return (float)(1.0 / (1.0 - dropout->rate));
}

void tlmi_dropout_mask(float *mask, const tlmi_drop_rule_t *dropout, uint64_t row, int64_t d,
                       int64_t first, int64_t n)
{
    const uint64_t blocks = (uint64_t)(d + PER_BLOCK - 1) / PER_BLOCK;
    const uint32_t dropped = dropped_of(dropout);
    const float scale = scale_of(dropout);
    uint32_t bits[PER_BLOCK / 2];

    for (int64_t i = 0; i < n; i++) {
        const int64_t at = first + i;

        if (i == 0 || at % PER_BLOCK == 0)
            tlmi_random_block(bits, dropout->seed, dropout->stream,
                              row * blocks + (uint64_t)(at / PER_BLOCK));
        const uint32_t draw = bits[at % PER_BLOCK / 2] >> 16 * (at % 2) & 0xffff;
        mask[i] = draw < dropped ? 0.0f : scale;
    }
}

typedef struct dropout_job {
    const tlmi_drop_rule_t *dropout;
    float *y;
    const float *x;
    int64_t rows, d;
    uint32_t dropped; /* of 65536 */
    float scale;      /* of the elements that stay */
    bool add;
} dropout_job_t;

static void drop_row(const dropout_job_t *job, int64_t row)
{
    const uint64_t blocks = (uint64_t)(job->d + PER_BLOCK - 1) / PER_BLOCK;
    const uint64_t first = (job->dropout->first_token + (uint64_t)row) * blocks;
    const float *x = job->x + row * job->d;
    float *y = job->y + row * job->d;

    for (int64_t at = 0; at < job->d; at += PER_BLOCK) {
        uint32_t bits[PER_BLOCK / 2];

        tlmi_random_block(bits, job->dropout->seed, job->dropout->stream,
                          first + (uint64_t)at / PER_BLOCK);
        for (int64_t i = 0; i < PER_BLOCK && at + i < job->d; i++) {
            const uint32_t draw = bits[i / 2] >> 16 * (i % 2) & 0xffff;
            const float kept = draw < job->dropped ? 0.0f : job->scale * x[at + i];

            y[at + i] = job->add ? y[at + i] + kept : kept;
        }
    }
}

static void drop_rows(void *context, int64_t task, int32_t worker)
{
    const dropout_job_t *job = context;

    (void)worker;
    for (int64_t row = task * ROWS_PER_TASK; row < job->rows && row < (task + 1) * ROWS_PER_TASK;
         row++)
        drop_row(job, row);
}

void tlmi_dropout_rows(float *y, const float *x, int64_t rows, int64_t d, bool add,
                       const tlmi_drop_rule_t *dropout)
{
    dropout_job_t job = {.dropout = dropout,
                         .y = y,
                         .x = x,
                         .rows = rows,
                         .d = d,
                         .dropped = dropped_of(dropout),
                         .scale = scale_of(dropout),
                         .add = add};

    tlmi_parallel_for((rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK, drop_rows, &job);
}

/* ---- As an op -------------------------------------------------------------------------- */

/* The elements of a tensor as rows along its last dimension. */
static void drop(float *y, const float *x, const tlm_tensor_t *tensor, bool add,
                 const tlmi_drop_rule_t *rule)
{
    const int64_t d = tensor->ndim == 0 ? 1 : tensor->shape[tensor->ndim - 1];

    if (tensor->numel > 0)
        tlmi_dropout_rows(y, x, tensor->numel / d, d, add, rule);
}

/* dx += D(dy): the same elements are dropped. */
static tlm_status_t dropout_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    float *grad;
    bool accumulate;

    TLMI_TRY(tlmi_grad_open(&grad, &accumulate, node, 0));
    drop(grad, tlmi_floats(grad_out), grad_out, accumulate, tlmi_node_context(node));
    return TLM_OK;
}

static const tlmi_op_t dropout_op = {.name = "dropout",
                                     .input_names = {"x"},
                                     .reads = {TLMI_READS_NOTHING},
                                     .backward = dropout_backward};

/* The op, whether anything is dropped or not. */
static tlm_status_t drop_elements(tlm_tensor_t **out, tlm_tensor_t *x, const tlmi_drop_rule_t *rule)
{
    tlm_tensor_t *rows = NULL, *y = NULL;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlmi_contiguous(&rows, x));
    TLMI_TRY_OR(done, tlmi_tensor_new(&y, TLM_FLOAT32, x->shape, x->ndim));
    drop(tlmi_floats(y), tlmi_floats(rows), y, false, rule);
    if (tlmi_needs_grad(&x, 1)) {
        tlmi_node_t *node;
        TLMI_TRY_OR(done, tlmi_record(&node, &dropout_op, y, &x, 1, sizeof(*rule)));
        *(tlmi_drop_rule_t *)tlmi_node_context(node) = *rule;
    }
    *out = y;
    y = NULL;
done:
    tlm_tensor_free(rows);
    tlm_tensor_free(y);
    return status;
}

tlm_status_t tlmi_dropout(tlm_tensor_t **out, tlm_tensor_t *x, const tlmi_drop_rule_t *dropout)
{
    if (dropout->rate > 0.0)
        return drop_elements(out, x, dropout);
    *out = tlm_tensor_retain(x);
    return TLM_OK;
}

tlm_status_t tlm_dropout(tlm_tensor_t **out, tlm_tensor_t *x, double rate, uint64_t seed,
                         uint64_t stream)
{
    const tlmi_drop_rule_t rule = {.rate = rate, .seed = seed, .stream = stream};

    TLMI_REQUIRE("dropout", out);
    TLMI_TRY(tlmi_check_float("dropout", "x", x));
    if (!(rate >= 0.0 && rate < 1.0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "dropout: rate %s is not in [0, 1)",
                         TLMI_G(rate));
    return drop_elements(out, x, &rule);
}
