/* The rate of each op, forward and backward, and its share of the most that the machine can do: GFLOP/s for
 * products and attention, GB/s (bytes that must be read and written once) for the other ops.
 *
 *     build/tests/bench/bench_ops [seconds per row] */
#include <stdio.h>

#include "machine_peak.h"
#include "tinylm/tinylm.h"

static double seconds = 0.2, peak_flops, peak_bytes;

static void check(tlm_status_t status)
{
    if (status != TLM_OK) {
        fprintf(stderr, "bench_ops: %s\n", tlm_error_message());
        exit(1);
    }
}

static tlm_tensor_t *leaf(int64_t a, int64_t b, int64_t c)
{
    const int64_t shape[] = {a, b, c};
    int32_t skip = a == 0 ? (b == 0 ? 2 : 1) : 0;
    tlm_tensor_t *tensor;

    check(tlm_tensor_create(&tensor, TLM_FLOAT32, shape + skip, 3 - skip));
    for (int64_t i = 0; i < tlm_tensor_numel(tensor); i++)
        ((float *)tlm_tensor_data(tensor))[i] = (float)((i * 7919) % 2001 - 1000) * 1e-3f;
    check(tlm_tensor_set_requires_grad(tensor, true));
    return tensor;
}

typedef struct op {
    char name[64];
    tlm_tensor_t *inputs[3];
    tlm_status_t (*run)(tlm_tensor_t **out, tlm_tensor_t *const *inputs);
    double forward, backward; /* flop or bytes */
    bool is_flop;
} op_t;

static void report(const op_t *op, const char *pass, double amount, double time)
{
    double rate = 1e-9 * amount / time;
    double peak = op->is_flop ? peak_flops : peak_bytes;

    printf("%-36s %-8s %9.3f ms %8.1f %-7s %4.0f%%\n", op->name, pass, 1e3 * time, rate,
           op->is_flop ? "GFLOP/s" : "GB/s", 100 * rate / peak);
}

static void measure(const op_t *op)
{
    double best[2] = {1e9, 1e9}, end = now() + seconds;
    tlm_tensor_t *out, *grad;
    int rounds = 0;

    check(op->run(&out, op->inputs));
    check(tlm_tensor_create(&grad, TLM_FLOAT32, tlm_tensor_shape(out), tlm_tensor_ndim(out)));
    for (int64_t i = 0; i < tlm_tensor_numel(grad); i++)
        ((float *)tlm_tensor_data(grad))[i] = 1.0f;
    tlm_tensor_free(out);
    do {
        double begin = now(), middle, done;
        check(op->run(&out, op->inputs));
        middle = now();
        check(tlm_tensor_backward(out, grad));
        done = now();
        tlm_tensor_free(out);
        for (int i = 0; i < 3; i++)
            tlm_tensor_zero_grad(op->inputs[i]);
        best[0] = middle - begin < best[0] ? middle - begin : best[0];
        best[1] = done - middle < best[1] ? done - middle : best[1];
    } while (++rounds < 3 || now() < end);
    tlm_tensor_free(grad);
    report(op, "forward", op->forward, best[0]);
    report(op, "backward", op->backward, best[1]);
    for (int i = 0; i < 3; i++)
        tlm_tensor_free(op->inputs[i]);
}

static tlm_status_t linear(tlm_tensor_t **out, tlm_tensor_t *const *inputs)
{
    return tlm_linear(out, inputs[0], inputs[1]);
}

static tlm_status_t attention(tlm_tensor_t **out, tlm_tensor_t *const *inputs)
{
    return tlm_attention(out, inputs[0], inputs[1], inputs[2], NULL, true);
}

static tlm_status_t rms_norm(tlm_tensor_t **out, tlm_tensor_t *const *inputs)
{
    return tlm_rms_norm(out, inputs[0], inputs[1], 1e-5f);
}

static tlm_status_t silu_mul(tlm_tensor_t **out, tlm_tensor_t *const *inputs)
{
    return tlm_silu_mul(out, inputs[0], inputs[1]);
}

static tlm_status_t add(tlm_tensor_t **out, tlm_tensor_t *const *inputs)
{
    return tlm_add(out, inputs[0], inputs[1]);
}

static tlm_status_t rope(tlm_tensor_t **out, tlm_tensor_t *const *inputs)
{
    return tlm_rope(out, inputs[0], NULL, 10000.0);
}

static tlm_status_t softmax(tlm_tensor_t **out, tlm_tensor_t *const *inputs)
{
    return tlm_softmax(out, inputs[0], -1);
}

static tlm_tensor_t *ids; /* (2048) of 10000 */

static tlm_status_t cross_entropy(tlm_tensor_t **out, tlm_tensor_t *const *inputs)
{
    return tlm_cross_entropy(out, inputs[0], ids);
}

static tlm_status_t embedding(tlm_tensor_t **out, tlm_tensor_t *const *inputs)
{
    return tlm_embedding(out, inputs[0], ids);
}

static void measure_adamw(void)
{
    op_t op = {.name = "AdamW, 10000 x 512"};
    tlm_tensor_t *weight = leaf(0, 10000, 512), *grad = leaf(0, 10000, 512);
    tlm_optimizer_t *optimizer;
    double best = 1e9, end = now() + seconds;

    check(tlm_tensor_backward(weight, grad));
    check(tlm_optimizer_create_adamw(&optimizer, NULL));
    check(tlm_optimizer_add_group(optimizer, &weight, 1, NULL));
    do {
        double begin = now();
        check(tlm_optimizer_step(optimizer));
        best = now() - begin < best ? now() - begin : best;
    } while (now() < end);
    report(&op, "step", 7.0 * 4 * 10000 * 512, best);
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(weight);
    tlm_tensor_free(grad);
}

static void measure_products(void)
{
    static const int64_t shapes[][2] = {{512, 512}, {1344, 512}, {512, 1344}, {10000, 512}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        int64_t d_out = shapes[i][0], d_in = shapes[i][1];
        double flop = 2.0 * 2048 * (double)(d_out * d_in);
        op_t op = {"", {leaf(0, 2048, d_in), leaf(0, d_out, d_in)}, linear, flop, 2 * flop, true};

        snprintf(op.name, sizeof(op.name), "linear, 2048 rows, %lld -> %lld", (long long)d_in,
                 (long long)d_out);
        measure(&op);
    }
    for (int64_t time = 128; time <= 2048; time *= 2) {
        double flop = 2.0 * 16 * (double)(time * time) * 64; /* half of the two products */
        op_t op = {"", {NULL}, attention, flop, 2.5 * flop, true};

        for (int i = 0; i < 3; i++)
            op.inputs[i] = leaf(16, time, 64);
        snprintf(op.name, sizeof(op.name), "causal attention, 16 heads, T %lld, d 64",
                 (long long)time);
        measure(&op);
    }
}

int main(int argc, char **argv)
{
    enum { N = 2048 * 512, M = 2048 * 1344, L = 2048 * 10000 };
    const int64_t rows = 2048;
    uint32_t values[2048];

    seconds = argc > 1 ? atof(argv[1]) : seconds;
    for (uint32_t i = 0; i < 2048; i++)
        values[i] = (uint32_t)((uint64_t)i * 2654435761u >> 7) % 10000;
    check(tlm_tensor_from_data(&ids, TLM_UINT32, values, &rows, 1));
    measure_peak(0.2);
    peak_flops = measure_peak(0.3);
    peak_bytes = measure_bandwidth(0.3);
    printf("%d threads, %s; peak %.1f GFLOP/s of multiply-adds, %.1f GB/s of a triad\n",
           tlm_num_threads(), tlm_cpu_level_name(tlm_cpu_level()), peak_flops, peak_bytes);
    measure_products();
    const op_t ops[] = {
        {"rms_norm, 2048 x 512",
         {leaf(0, 2048, 512), leaf(0, 0, 512)},
         rms_norm,
         8.0 * N,
         12.0 * N,
         false},
        {"silu_mul, 2048 x 1344",
         {leaf(0, 2048, 1344), leaf(0, 2048, 1344)},
         silu_mul,
         12.0 * M,
         20.0 * M,
         false},
        {"add, 2048 x 512",
         {leaf(0, 2048, 512), leaf(0, 2048, 512)},
         add,
         12.0 * N,
         16.0 * N,
         false},
        {"rope, 64 x 256 x 64", {leaf(64, 256, 64)}, rope, 8.0 * N, 8.0 * N, false},
        {"softmax, 2048 x 10000", {leaf(0, 2048, 10000)}, softmax, 8.0 * L, 12.0 * L, false},
        {"cross_entropy, 2048 x 10000",
         {leaf(0, 2048, 10000)},
         cross_entropy,
         4.0 * L,
         8.0 * L,
         false},
        {"embedding, 2048 of 10000 x 512",
         {leaf(0, 10000, 512)},
         embedding,
         8.0 * N,
         4.0 * (N + 5120000),
         false},
    };
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        measure(&ops[i]);
    measure_adamw();
    tlm_tensor_free(ids);
    return 0;
}
