/* How fast this machine computes, measured by doing it. */
#include "support/machine_rates.h"

#include "support/cli.h"

enum { MOST_ROWS = 2048, MOST_WIDTH = 4096, MOST_TIME = 1024, UPDATED = 1 << 22 };
#define MEASURE_SECONDS 0.5

static int64_t at_most(int64_t value, int64_t most)
{
    return value < most ? value : most;
}

static tlm_tensor_t *random_leaf(const int64_t *shape, int32_t ndim)
{
    tlm_tensor_t *tensor;

    cli_check(tlm_tensor_create(&tensor, TLM_FLOAT32, shape, ndim));
    cli_check(tlm_init_truncated_normal(tensor, 1.0, 3.0, 1, 1));
    cli_check(tlm_tensor_set_requires_grad(tensor, true));
    return tensor;
}

/* The shortest time of several runs, with the gradients reset before each. */
static double shortest(void (*run)(tlm_tensor_t *const *tensors), tlm_tensor_t *const *tensors,
                       size_t n)
{
    double begin = cli_seconds(), best = 1e30;

    for (int i = 0; i < 2 || cli_seconds() - begin < MEASURE_SECONDS; i++) {
        double start, seconds;

        for (size_t j = 0; j < n; j++)
            tlm_tensor_zero_grad(tensors[j]);
        start = cli_seconds();
        run(tensors);
        seconds = cli_seconds() - start;
        best = seconds < best ? seconds : best;
    }
    return best;
}

static void run_backward(tlm_tensor_t *result)
{
    tlm_tensor_t *gradient;

    cli_check(tlm_tensor_create(&gradient, TLM_FLOAT32, tlm_tensor_shape(result),
                                tlm_tensor_ndim(result)));
    cli_check(tlm_tensor_backward(result, gradient));
    tlm_tensor_free(gradient);
    tlm_tensor_free(result);
}

static void run_linear(tlm_tensor_t *const *tensors)
{
    tlm_tensor_t *result;

    cli_check(tlm_linear(&result, tensors[0], tensors[1]));
    run_backward(result);
}

static void run_attention(tlm_tensor_t *const *tensors)
{
    tlm_tensor_t *result;

    cli_check(tlm_attention(&result, tensors[0], tensors[1], tensors[2], NULL, true));
    run_backward(result);
}

/* A linear layer of the model's feed-forward width, forward and backward. */
double machine_measure_products(const tlm_model_options_t *model, int64_t rows)
{
    int64_t d = at_most(model->d_model, MOST_WIDTH);
    int64_t f = at_most(model->d_ff > 0 ? model->d_ff : 8 * d / 3, MOST_WIDTH);
    const int64_t x_shape[2] = {at_most(rows, MOST_ROWS), d}, w_shape[2] = {f, d};
    tlm_tensor_t *tensors[2] = {random_leaf(x_shape, 2), random_leaf(w_shape, 2)};
    double flops = 6.0 * (double)x_shape[0] * (double)d * (double)f;
    double seconds = shortest(run_linear, tensors, 2);

    tlm_tensor_free(tensors[0]);
    tlm_tensor_free(tensors[1]);
    return flops / seconds;
}

/* Attention of one layer, of one sequence of at most MOST_TIME tokens. */
double machine_measure_scores(const tlm_model_options_t *model)
{
    tlm_model_options_t piece = *model;
    tlm_cost_t cost = TLM_COST_INIT;
    tlm_tensor_t *tensors[3];
    double flops, seconds;

    piece.context_length = at_most(model->context_length, MOST_TIME);
    piece.num_layers = 1;
    cli_check(tlm_model_cost(&cost, &piece, NULL));
    flops = cost.forward_flops[TLM_PART_SCORES] + cost.backward_flops[TLM_PART_SCORES];
    for (int i = 0; i < 3; i++) {
        const int64_t shape[3] = {piece.num_heads, piece.context_length,
                                  piece.d_model / piece.num_heads};

        tensors[i] = random_leaf(shape, 3);
    }
    seconds = shortest(run_attention, tensors, 3);
    for (int i = 0; i < 3; i++)
        tlm_tensor_free(tensors[i]);
    return flops / seconds;
}

static tlm_optimizer_t *create_optimizer(int32_t kind)
{
    tlm_optimizer_t *optimizer;

    if (kind == TLM_COST_SGD)
        cli_check(tlm_optimizer_create_sgd(&optimizer, 1e-6));
    else if (kind == TLM_COST_MUON)
        cli_check(tlm_optimizer_create_muon(&optimizer, NULL, NULL));
    else if (kind == TLM_COST_LION)
        cli_check(tlm_optimizer_create_lion(&optimizer, NULL));
    else if (kind == TLM_COST_ADAFACTOR)
        cli_check(tlm_optimizer_create_adafactor(&optimizer, NULL));
    else
        cli_check(tlm_optimizer_create_adamw(&optimizer, NULL));
    return optimizer;
}

double machine_measure_updates(int32_t kind, int64_t width, uint64_t parameters)
{
    const bool is_muon = kind == TLM_COST_MUON;
    const int64_t shape[2] = {is_muon ? width : at_most((int64_t)parameters, UPDATED), width};
    tlm_tensor_t *leaf = random_leaf(shape, is_muon ? 2 : 1), *total;
    tlm_optimizer_t *optimizer = create_optimizer(kind);
    double best = 1e30, begin;

    cli_check(tlm_optimizer_add_group(optimizer, &leaf, 1, NULL));
    cli_check(tlm_sum(&total, leaf));
    cli_check(tlm_tensor_backward(total, NULL));
    tlm_tensor_free(total);
    begin = cli_seconds();
    while (cli_seconds() - begin < MEASURE_SECONDS) {
        double start = cli_seconds(), seconds;

        cli_check(tlm_clip_grad_norm(NULL, &leaf, 1, 1e30));
        cli_check(tlm_optimizer_step(optimizer));
        seconds = cli_seconds() - start;
        best = seconds < best ? seconds : best;
    }
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(leaf);
    return (double)(shape[0] * (is_muon ? width : 1)) / best;
}
