/* Loops over the rows of the forward pass without a graph: embeddings, norms, biases. */
#include <math.h>
#include <string.h>

#include "base/thread_pool.h"
#include "infer/infer_core.h"
#include "kernels/vector_math.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"

enum { NORM_ROWS = 16 /* in one task */ };

typedef struct row_job {
    float *y;
    const float *x, *gain, *bias; /* gain NULL: x + bias */
    int64_t rows, d;
    double eps;
} row_job_t;

static void run_row(const row_job_t *job, float *y, const float *x)
{
    const int64_t d = job->d;

    if (job->gain == NULL) {
        tlmi_vec_add(y, x, job->bias, d);
    } else if (job->bias != NULL) {
        (void)tlmi_layer_norm_row(y, NULL, x, job->gain, job->bias, d, (float)job->eps);
    } else {
        double mean = tlmi_vec_sum_squares(x, d) / (double)d;

        tlmi_vec_scale(y, x, (float)(1.0 / sqrt(mean + job->eps)), d);
        tlmi_vec_mul(y, y, job->gain, d);
    }
}

static void row_task(void *context, int64_t task, int32_t worker)
{
    const row_job_t *job = context;
    const int64_t begin = task * NORM_ROWS;

    (void)worker;
    for (int64_t row = begin; row < job->rows && row < begin + NORM_ROWS; row++)
        run_row(job, job->y + row * job->d, job->x + row * job->d);
}

/* The elements of a vector of the model; `room` holds them if they are not float32. */
static const float *vector_of(const tlm_tensor_t *tensor, float *room)
{
    const tlmi_weight_t weight = tlmi_weight_of(tensor);

    return tlmi_weight_row(&weight, 0, room);
}

void tlmi_inference_norm(const tlmi_inference_t *inference, float *y, const float *x, int64_t layer,
                         int32_t part, int64_t n)
{
    const tlm_model_t *model = inference->model;
    const tlm_tensor_t *gain = tlmi_model_block(model, layer, part);
    const tlm_tensor_t *bias = tlmi_model_bias(model, layer, part);

    if (gain != NULL) {
        const int64_t d = tlm_tensor_numel(gain);
        row_job_t job = {.y = y,
                         .x = x,
                         .gain = vector_of(gain, inference->gain),
                         .bias = bias == NULL ? NULL : vector_of(bias, inference->bias),
                         .rows = n / d,
                         .d = d,
                         .eps = (double)(float)model->options.norm_eps};

        tlmi_parallel_for((job.rows + NORM_ROWS - 1) / NORM_ROWS, row_task, &job);
    } else if (y != x) {
        memcpy(y, x, (size_t)n * sizeof(float));
    }
}

void tlmi_inference_add_bias(const tlmi_inference_t *inference, float *y, int64_t layer,
                             int32_t part, int64_t rows)
{
    const tlm_tensor_t *bias = tlmi_model_bias(inference->model, layer, part);

    if (bias == NULL)
        return;
    row_job_t job = {.y = y,
                     .x = y,
                     .bias = vector_of(bias, inference->bias),
                     .rows = rows,
                     .d = tlm_tensor_numel(bias)};
    tlmi_parallel_for((rows + NORM_ROWS - 1) / NORM_ROWS, row_task, &job);
}

void tlmi_inference_mix(const tlmi_inference_t *inference, int64_t layer, int64_t rows)
{
    const tlm_tensor_t *weights = tlmi_model_block(inference->model, layer, TLMI_ATTN_VALUE_MIX);

    if (weights != NULL)
        tlmi_mix_rows(inference->value, inference->value, inference->shared,
                      vector_of(weights, inference->gain), rows * inference->model->shape.kv_width);
}

/* Looks up the value embeddings of the new tokens, where the model has some. */
static void embed_values(const tlmi_inference_t *inference, int64_t rows, const uint32_t *ids)
{
    const tlm_tensor_t *table = tlmi_model_block(inference->model, 0, TLMI_VALUE_EMBEDDING);
    const int64_t width = inference->model->shape.kv_width;

    if (table == NULL)
        return;
    const tlmi_weight_t weight = tlmi_weight_of(table);
    for (int64_t row = 0; row < rows; row++)
        tlmi_weight_load_row(inference->shared + row * width, &weight, ids[row]);
}

void tlmi_inference_embed(tlmi_inference_t *inference, const tlmi_new_tokens_t *tokens,
                          const uint32_t *ids)
{
    const tlm_model_t *model = inference->model;
    const tlm_tensor_t *positions = tlmi_model_block(model, 0, TLMI_POSITIONS);
    const tlmi_weight_t embedding = tlmi_weight_of(tlmi_model_embedding(model));
    const int64_t d = model->options.d_model;

    for (int64_t row = 0; row < tlmi_new_rows(tokens); row++) {
        float *x = inference->x + row * d;

        tlmi_weight_load_row(x, &embedding, ids[row]);
        if (model->options.scaled_embeddings)
            tlmi_vec_scale(x, x, tlmi_embedding_scale(&model->options), d);
        if (positions != NULL) {
            const tlmi_weight_t table = tlmi_weight_of(positions);
            const int64_t position = tlmi_new_position(tokens, row);

            tlmi_vec_add(x, x, tlmi_weight_row(&table, position, inference->gain), d);
        }
    }
    tlmi_inference_norm(inference, inference->x, inference->x, 0, TLMI_EMBEDDING_NORM,
                        tlmi_new_rows(tokens) * d);
    embed_values(inference, tlmi_new_rows(tokens), ids);
}
