/* The whole train step on the CS336 model, and the matrix products of its linear layers alone, by the
 * library and by BLIS's own driver: the floor that the step cannot go below.
 *
 *     build/tests/bench/bench_train_step [threads [steps [batch [context [layers [vocab]]]]]]
 *
 * bench_train_step.py compares the same step with PyTorch's. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "blis_driver.h"
#include "machine_peak.h"
#include "kernels/gemm.h"
#include "tinylm/tinylm.h"

enum { D_MODEL = 512, D_FF = 1344, HEADS = 16 };

/* Set from the command line. */
static int64_t batch = 8, context = 256, layers = 4, vocab = 10000, tokens;

static double peak_mib(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024.0;
}

static void check(tlm_status_t status)
{
    if (status != TLM_OK) {
        fprintf(stderr, "bench_train_step: %s\n", tlm_error_message());
        exit(1);
    }
}

/* The parts of a step, in seconds. */
typedef struct parts {
    double forward, backward, clip, update;
} parts_t;

static double total(const parts_t *parts)
{
    return parts->forward + parts->backward + parts->clip + parts->update;
}

static float train_step(parts_t *parts, tlm_model_t *model, tlm_optimizer_t *optimizer,
                        const uint32_t *ids)
{
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss;
    double start = now(), forward, backward, clip;
    float value;
    size_t n;

    check(tlm_model_parameters(&tensors, &n, model));
    tlm_optimizer_zero_grad(optimizer);
    check(tlm_model_loss(&loss, model, ids, ids + 1, batch, context));
    check(tlm_tensor_item(&value, loss));
    forward = now();
    check(tlm_tensor_backward(loss, NULL));
    tlm_tensor_free(loss);
    backward = now();
    check(tlm_clip_grad_norm(NULL, tensors, n, 1.0));
    clip = now();
    check(tlm_optimizer_step(optimizer));
    *parts = (parts_t){forward - start, backward - forward, clip - backward, now() - clip};
    return value;
}

/* C (m, n) = A B by the library, or by BLIS's own driver. */
static void product(bool by_blis, int64_t m, int64_t n, int64_t k, tlmi_matrix_t a, tlmi_matrix_t b,
                    float *c)
{
    if (by_blis)
        blis_gemm(m, n, k, a, b, c);
    else
        check(tlmi_gemm(m, n, k, 1.0f, a, b, 0.0f, c, n));
}

/* y = x W^T of one layer, and the products of its backward pass: dx = dy W, dW = dy^T x. */
static void linear_products(bool by_blis, float *x, float *w, float *y, int64_t d_out, int64_t d_in)
{
    product(by_blis, tokens, d_out, d_in, (tlmi_matrix_t){x, d_in, 1}, (tlmi_matrix_t){w, 1, d_in},
            y);
    product(by_blis, tokens, d_in, d_out, (tlmi_matrix_t){y, d_out, 1}, (tlmi_matrix_t){w, d_in, 1},
            x);
    product(by_blis, d_out, d_in, tokens, (tlmi_matrix_t){y, 1, d_out}, (tlmi_matrix_t){x, d_in, 1},
            w);
}

/* Seconds that the products of all linear layers of a step take. */
static double time_products(double *gflop, bool by_blis)
{
    static const int64_t shapes[][2] = {{D_MODEL, D_MODEL}, {D_MODEL, D_MODEL}, {D_MODEL, D_MODEL},
                                        {D_MODEL, D_MODEL}, {D_FF, D_MODEL},    {D_FF, D_MODEL},
                                        {D_MODEL, D_FF}};
    const size_t widest = (size_t)(vocab > D_FF ? vocab : D_FF);
    float *x = tlmi_alloc_aligned((size_t)tokens * D_FF, sizeof(float), "x");
    float *y = tlmi_alloc_aligned((size_t)tokens * widest, sizeof(float), "y");
    float *w = tlmi_alloc_aligned(widest * D_FF, sizeof(float), "w");
    double start;

    if (x == NULL || y == NULL || w == NULL)
        exit(1);
    /* Zeros stay zeros through all products, and cost what other numbers do. */
    for (size_t i = 0; i < (size_t)tokens * D_FF; i++)
        x[i] = 0.0f;
    for (size_t i = 0; i < widest * D_FF; i++)
        w[i] = 0.0f;
    for (size_t i = 0; i < (size_t)tokens * widest; i++)
        y[i] = 0.0f;
    start = now();
    *gflop = 0.0;
    for (int64_t layer = 0; layer < layers; layer++)
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
            linear_products(by_blis, x, w, y, shapes[i][0], shapes[i][1]);
            *gflop += 6e-9 * (double)tokens * (double)(shapes[i][0] * shapes[i][1]);
        }
    linear_products(by_blis, x, w, y, vocab, D_MODEL);
    *gflop += 6e-9 * (double)tokens * (double)vocab * D_MODEL;
    start = now() - start;
    tlmi_free(x);
    tlmi_free(y);
    tlmi_free(w);
    return start;
}

int main(int argc, char **argv)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    int64_t *const sizes[] = {&batch, &context, &layers, &vocab};
    int steps = argc > 2 ? atoi(argv[2]) : 5;
    uint32_t *ids;
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *const *tensors;
    tlm_model_t *model;
    parts_t best = {1e9, 0, 0, 0}, parts;
    double products = 1e9, blis = 1e9, gflop = 0.0, attention, peak, memory;
    size_t n;

    for (int i = 0; i < 4 && i + 3 < argc; i++)
        *sizes[i] = atoi(argv[i + 3]);
    tokens = batch * context;
    ids = malloc((size_t)(tokens + 1) * sizeof(*ids));
    if (ids == NULL)
        return 1;
    options.vocab_size = vocab;
    options.context_length = context;
    options.d_model = D_MODEL;
    options.num_layers = layers;
    options.num_heads = HEADS;
    options.d_ff = D_FF;
    options.seed = 1;
    check(tlm_set_num_threads(argc > 1 ? atoi(argv[1]) : 0));
    for (int64_t i = 0; i <= tokens; i++)
        ids[i] = (uint32_t)(((uint64_t)i * 2654435761u >> 7) % (uint64_t)vocab);
    check(tlm_model_create(&model, &options));
    check(tlm_model_parameters(&tensors, &n, model));
    check(tlm_optimizer_create_adamw(&optimizer, NULL));
    check(tlm_optimizer_add_group(optimizer, tensors, n, NULL));
    train_step(&parts, model, optimizer, ids); /* the first fills caches and buffers */
    train_step(&parts, model, optimizer, ids);
    memory = peak_mib(); /* before the bare products take theirs */
    peak = measure_peak(0.3);
    for (int step = 0; step < steps; step++) {
        double seconds;

        train_step(&parts, model, optimizer, ids);
        if (total(&parts) < total(&best))
            best = parts;
        seconds = time_products(&gflop, false);
        products = seconds < products ? seconds : products;
        seconds = time_products(&gflop, true);
        blis = seconds < blis ? seconds : blis;
    }
    printf("%d threads, gemm kernels %s, vector level %s; best of %d steps\n", tlm_num_threads(),
           tlm_gemm_kernel_name(), tlm_cpu_level_name(tlm_cpu_level()), steps);
    printf("step %.3f s, %.0f tokens/s: forward %.3f, backward %.3f, clip %.3f, AdamW %.3f\n",
           total(&best), (double)tokens / total(&best), best.forward, best.backward, best.clip,
           best.update);
    printf("products of the linear layers alone %.3f s, %.1f GFLOP/s; the step takes %.2f times "
           "that\n",
           products, gflop / products, total(&best) / products);
    printf("the same products through BLIS's own driver %.3f s, %.1f GFLOP/s; the step takes %.2f "
           "times that\n",
           blis, gflop / blis, total(&best) / blis);
    /* Q K^T and P V forward, and five such products backward; a causal mask halves them. */
    attention = 7e-9 * (double)(layers * tokens) * (double)context * D_MODEL;
    printf("%.1f GFLOP in linear layers and %.1f in attention are %.1f GFLOP/s, %.0f%% of the peak "
           "of %.1f\n",
           gflop, attention, (gflop + attention) / total(&best),
           100 * (gflop + attention) / total(&best) / peak, peak);
    printf("peak memory %.0f MiB\n", memory);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    free(ids);
    return 0;
}
