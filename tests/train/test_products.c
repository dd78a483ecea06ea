/* Products in bfloat16: a linear layer and its gradients are those of the rounded factors, backward
 * follows forward, and a run of training has the same bits on any number of threads, with recomputed
 * activations, and after it was resumed. The portable kernel stands for all. */
#include "io_support.h"
#include "run_suite.h"
#include "trainer_support.h"

#include <math.h>

#include "base/cpu.h"
#include "base/dtype.h"
#include "tinylm/nn.h"

enum { ROWS = 5, D_IN = 19, D_OUT = 7, VOCAB = 31, CONTEXT = 12, IDS = 400 };

static float draw(uint64_t stream, int64_t i)
{
    uint64_t bits;

    ASSERT_OK(tlm_random_bits(&bits, 1, 3, stream, (uint64_t)i));
    return (float)((double)(bits >> 11) * 0x1p-52 - 1.0);
}

static tlm_tensor_t *random_tensor(uint64_t stream, int64_t rows, int64_t columns)
{
    const int64_t shape[] = {rows, columns};
    tlm_tensor_t *tensor;
    float values[D_OUT * D_IN];

    for (int64_t i = 0; i < rows * columns; i++)
        values[i] = draw(stream, i);
    ASSERT_OK(tlm_tensor_from_data(&tensor, TLM_FLOAT32, values, shape, 2));
    ASSERT_OK(tlm_tensor_set_requires_grad(tensor, true));
    return tensor;
}

static double rounded(const float *values, int64_t i)
{
    return (double)tlmi_bfloat16_to_float(tlmi_float_to_bfloat16(values[i]));
}

/* sum over k of a[i a_row + k a_k] b[j b_row + k b_k], of rounded factors. */
static double dot(const float *a, int64_t i, int64_t a_row, int64_t a_k, const float *b, int64_t j,
                  int64_t b_row, int64_t b_k, int64_t n)
{
    double sum = 0.0;

    for (int64_t k = 0; k < n; k++)
        sum += rounded(a, i * a_row + k * a_k) * rounded(b, j * b_row + k * b_k);
    return sum;
}

static void assert_near(float actual, double expected)
{
    if (!(fabs((double)actual - expected) <= 1e-5 * (1.0 + fabs(expected))))
        ck_abort_msg("%.9g is not %.9g", (double)actual, expected);
}

START_TEST(a_linear_layer_takes_rounded_factors)
{
    tlm_tensor_t *x = random_tensor(1, ROWS, D_IN), *weight = random_tensor(2, D_OUT, D_IN);
    tlm_tensor_t *gradient = random_tensor(3, ROWS, D_OUT), *y;
    const float *xs = tlm_tensor_data(x), *ws = tlm_tensor_data(weight), *ys;
    const float *gs = tlm_tensor_data(gradient);

    ASSERT_OK(tlm_set_products(TLM_PRODUCTS_BFLOAT16_EMULATED));
    ASSERT_OK(tlm_linear(&y, x, weight));
    ASSERT_OK(tlm_set_products(TLM_PRODUCTS_FLOAT32)); /* backward follows forward all the same */
    ASSERT_OK(tlm_tensor_backward(y, gradient));
    ys = tlm_tensor_data(y);
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t j = 0; j < D_OUT; j++)
            assert_near(ys[i * D_OUT + j], dot(xs, i, D_IN, 1, ws, j, D_IN, 1, D_IN));
    const float *dx = tlm_tensor_data(tlm_tensor_grad(x));
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t j = 0; j < D_IN; j++)
            assert_near(dx[i * D_IN + j], dot(gs, i, D_OUT, 1, ws, j, 1, D_IN, D_OUT));
    const float *dw = tlm_tensor_data(tlm_tensor_grad(weight));
    for (int64_t i = 0; i < D_OUT; i++)
        for (int64_t j = 0; j < D_IN; j++)
            assert_near(dw[i * D_IN + j], dot(gs, i, 1, D_OUT, xs, j, 1, D_IN, ROWS));
    tlm_tensor_free(x);
    tlm_tensor_free(weight);
    tlm_tensor_free(gradient);
    tlm_tensor_free(y);
}
END_TEST

/* ---- Runs ------------------------------------------------------------------------------- */

typedef struct setting {
    int32_t products, threads;
    bool checkpointing;
    uint64_t
        stop; /* the run is saved after this step and resumed by another trainer; 0: it is not */
} setting_t;

static run_t start_run(const setting_t *setting)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    uint32_t ids[IDS];
    run_t run = {NULL};

    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = (i * i + i / 3) % VOCAB;
    shape.vocab_size = VOCAB;
    shape.context_length = CONTEXT;
    shape.d_model = 24;
    shape.num_layers = 2;
    shape.num_heads = 2;
    shape.seed = 5;
    loading.batch_size = 4;
    loading.context_length = CONTEXT;
    options.steps = 6;
    options.clip_norm = 1.0;
    options.accumulation = 2;
    options.products = setting->products;
    options.activation_checkpointing = setting->checkpointing;
    ASSERT_OK(tlm_dataset_from_ids(&run.train, ids, IDS));
    ASSERT_OK(tlm_loader_create(&run.loader, run.train, &loading));
    ASSERT_OK(tlm_model_create(&run.model, &shape));
    ASSERT_OK(tlm_optimizer_create_adamw(&run.optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(run.optimizer, run.model, 0, NULL));
    ASSERT_OK(tlm_trainer_create(&run.trainer, run.model, run.optimizer, run.loader, &options));
    return run;
}

/* Trains and copies the first parameter, with a gradient that everything else goes into. */
static size_t train(float *out, const setting_t *setting)
{
    tlm_tensor_t *const *tensors;
    size_t n;

    ASSERT_OK(tlm_set_num_threads(setting->threads));
    run_t run = start_run(setting);
    if (setting->stop > 0) {
        const char *path = test_path("products.safetensors");

        ASSERT_OK(tlm_trainer_run(run.trainer, setting->stop));
        ASSERT_OK(tlm_trainer_save(run.trainer, path));
        stop(&run);
        run = start_run(setting);
        ASSERT_OK(tlm_trainer_resume(run.trainer, path));
        unlink(path);
    }
    ASSERT_OK(tlm_trainer_run(run.trainer, 0));
    ck_assert_int_eq(tlm_products(), TLM_PRODUCTS_FLOAT32);
    ASSERT_OK(tlm_model_parameters(&tensors, &n, run.model));
    size_t size = (size_t)tlm_tensor_numel(tensors[0]) * sizeof(float);
    memcpy(out, tlm_tensor_data(tensors[0]), size);
    stop(&run);
    ASSERT_OK(tlm_set_num_threads(0));
    return size;
}

START_TEST(a_run_has_the_same_bits)
{
    static const setting_t settings[] = {
        {TLM_PRODUCTS_BFLOAT16_EMULATED, 2, false, 0},
        {TLM_PRODUCTS_BFLOAT16_EMULATED, 5, false, 0},
        {TLM_PRODUCTS_BFLOAT16_EMULATED, 1, true, 0},
        {TLM_PRODUCTS_BFLOAT16_EMULATED, 1, false, 3},
    };
    static float expected[VOCAB * 24], actual[VOCAB * 24];
    const setting_t plain = {TLM_PRODUCTS_FLOAT32, 1, false, 0};
    const setting_t first = {TLM_PRODUCTS_BFLOAT16_EMULATED, 1, false, 0};
    double most = 0.0;

    size_t size = train(expected, &first);
    for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
        train(actual, &settings[i]);
        ck_assert_msg(memcmp(expected, actual, size) == 0, "setting %zu has other bits", i);
    }
    /* float32 is another run, but not a very different one. */
    train(actual, &plain);
    for (size_t i = 0; i < size / sizeof(float); i++) {
        const double difference = fabs((double)expected[i] - (double)actual[i]);

        most = difference > most || isnan(difference) ? difference : most;
    }
    ck_assert_msg(most > 0.0 && most < 0.02, "largest difference %g", most);
}
END_TEST

START_TEST(what_the_cpu_lacks_is_refused)
{
    const setting_t setting = {TLM_PRODUCTS_FLOAT32, 1, false, 0};
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    const uint64_t features = tlm_cpu_features();
    run_t run = start_run(&setting);
    tlm_trainer_t *trainer = NULL;

    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "products 3 is not in 0 .. 2", tlm_set_products(3));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "products -1 is not in 0 .. 2", tlm_set_products(-1));
    tlmi_set_cpu_features(features & ~(TLM_FEATURE_AVX512_BF16 | TLM_FEATURE_BF16));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "bfloat16", tlm_set_products(TLM_PRODUCTS_BFLOAT16));
    ck_assert_int_eq(tlm_products(), TLM_PRODUCTS_FLOAT32);
    options.steps = 1;
    options.products = TLM_PRODUCTS_BFLOAT16;
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "trainer_create: this CPU",
                 tlm_trainer_create(&trainer, run.model, run.optimizer, run.loader, &options));
    ck_assert_ptr_null(trainer);
    tlmi_set_cpu_features(features);
    stop(&run);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("products");
    TCase *tcase = tcase_create("products");

    tcase_add_test(tcase, a_linear_layer_takes_rounded_factors);
    tcase_add_test(tcase, a_run_has_the_same_bits);
    tcase_add_test(tcase, what_the_cpu_lacks_is_refused);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    int failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
