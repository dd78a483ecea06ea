/* Low-rank adapters: their gradients, against float64 differences for the layer and against the
 * gradients of merged weights for whole models of every kind; dropout; targets; merging. */
#include "adapter_support.h"
#include "gradcheck.h"
#include "run_suite.h"

/* ---- The layer, against float64 differences --------------------------------------------- */

enum { ROWS = 5, D_IN = 11, D_OUT = 7, RANK = 3 };

static tlm_status_t run_layer(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    tlmi_low_rank_t change = {inputs[2], inputs[3], 0.7f, {*(double *)user, 4, 5, 6}};

    return tlmi_linear(out, inputs[0], inputs[1], &change);
}

static void layer_reference(double *out, const double *const *inputs, void *user)
{
    const double rate = *(double *)user;
    const tlmi_drop_rule_t rule = {rate, 4, 5, 6};
    float ones[ROWS * D_IN], mask[ROWS * D_IN];

    for (int i = 0; i < ROWS * D_IN; i++)
        ones[i] = mask[i] = 1.0f;
    if (rate > 0.0)
        tlmi_dropout_rows(mask, ones, ROWS, D_IN, false, &rule);
    for (int t = 0; t < ROWS; t++)
        for (int o = 0; o < D_OUT; o++) {
            double sum = 0.0;

            for (int i = 0; i < D_IN; i++) {
                double change = 0.0;

                for (int r = 0; r < RANK; r++)
                    change += inputs[3][o * RANK + r] * inputs[2][r * D_IN + i];
                sum += inputs[0][t * D_IN + i] *
                       (inputs[1][o * D_IN + i] + 0.7 * change * (double)mask[t * D_IN + i]);
            }
            out[t * D_OUT + o] = sum;
        }
}

START_TEST(layer_has_the_gradients_of_differences)
{
    for (int i = 0; i < 12; i++) {
        double rate = i % 2 == 0 ? 0.0 : 0.4;
        gradcheck_t check = {.name = "adapted linear",
                             .run = run_layer,
                             .reference = layer_reference,
                             .user = &rate,
                             .num_inputs = 4,
                             .inputs = {{.shape = {ROWS, D_IN}, .ndim = 2},
                                        {.shape = {D_OUT, D_IN}, .ndim = 2},
                                        {.shape = {RANK, D_IN}, .ndim = 2},
                                        {.shape = {D_OUT, RANK}, .ndim = 2}}};

        if (i / 2 < 4) /* each frozen in turn */
            check.inputs[i / 2].constant = true;
        check.inputs[i % 4].layout = GRADCHECK_TRANSPOSED;
        gradcheck(&check);
    }
}
END_TEST

START_TEST(dropout_drops_its_share_by_position)
{
    enum { N = 1000 };
    static float ones[N * 16], whole[N * 16], part[16];
    tlmi_drop_rule_t rule = {0.3, 1, 2, 100};
    double sum = 0.0;

    for (int i = 0; i < N * 16; i++)
        ones[i] = 1.0f;
    tlmi_dropout_rows(whole, ones, N, 16, false, &rule);
    for (int i = 0; i < N * 16; i++) {
        ck_assert(whole[i] == 0.0f || whole[i] == (float)(1.0 / 0.7));
        sum += (double)whole[i];
    }
    ck_assert_double_eq_tol(sum / (N * 16), 1.0, 0.02);
    rule.first_token = 100 + 37;
    tlmi_dropout_rows(part, ones, 1, 16, false, &rule);
    ck_assert_mem_eq(part, whole + 37 * 16, sizeof(part));
}
END_TEST

/* ---- Whole models ----------------------------------------------------------------------- */

/* sum += scale * left right, where left is (m, k) or its transpose, and right (k, n) or its
 * transpose. */
static void add_product(double *sum, double scale, const float *left, bool left_back,
                        const float *right, bool right_back, int64_t m, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t p = 0; p < k; p++)
                sum[i * n + j] += scale * (double)left[left_back ? p * m + i : i * k + p] *
                                  (double)right[right_back ? j * k + p : p * n + j];
}

static void assert_near(const double *want, const tlm_tensor_t *got, const char *name)
{
    const float *values;
    double largest = 0.0;

    ck_assert_msg(got != NULL, "%s has no gradient", name);
    values = tlm_tensor_data((tlm_tensor_t *)(uintptr_t)got);
    for (int64_t i = 0; i < got->numel; i++)
        largest = fmax(largest, fabs(want[i]));
    for (int64_t i = 0; i < got->numel; i++)
        ck_assert_msg(fabs(want[i] - (double)values[i]) <= 1e-4 * largest + 1e-9,
                      "%s: element %lld is %g, not %g", name, (long long)i, (double)values[i],
                      want[i]);
}

/* W' = W + s B A, so dA is the sum of s B^T dW' and dB = s dW' A^T. */
static void check_against_merged(const tlm_model_t *model, const tlm_model_t *merged)
{
    for (size_t p = model->shape.num_parameters; p < model->num_parameters; p++) {
        static double want[4096];
        const tlm_tensor_t *parameter = model->parameters[p];
        const bool is_a = model->specs[p].role == TLMI_LORA_A;

        memset(want, 0, sizeof(want));
        for (size_t i = 0; i < model->shape.num_parameters; i++) {
            const tlmi_adapter_t *adapter = &model->adapters[i];

            if (adapter->b == 0 || (is_a ? adapter->a : adapter->b) != p)
                continue;
            const float *a = tlm_tensor_data(model->parameters[adapter->a]);
            const float *b = tlm_tensor_data(model->parameters[adapter->b]);
            const float *dw = tlm_tensor_data(merged->parameters[i]->grad);
            const int64_t rows = merged->parameters[i]->shape[0], rank = 3;
            const int64_t columns = merged->parameters[i]->shape[1];

            if (is_a)
                add_product(want, (double)adapter->scale, b, true, dw, false, rank, columns, rows);
            else
                add_product(want, (double)adapter->scale, dw, false, a, true, rows, rank, columns);
        }
        assert_near(want, parameter->grad, model->specs[p].name);
    }
}

START_TEST(models_have_the_gradients_of_merged_weights)
{
    const int kind = _i / 2;
    tlm_model_t *model = adapted_model(kind, kind == 0 ? "all-linear,lm_head" : NULL, 0.0);
    tlm_model_t *merged = adapted_model(kind, kind == 0 ? "all-linear,lm_head" : NULL, 0.0);

    ASSERT_OK(tlm_model_set_checkpointing(model, _i % 2 == 1));
    ASSERT_OK(tlm_model_merge_lora(merged));
    ck_assert_uint_eq(tlm_model_num_parameters(merged), merged->shape.num_parameters);
    ck_assert_uint_eq(tlm_model_num_trained(merged), 0);
    ASSERT_OK(tlm_model_set_frozen(merged, "*", false));
    ck_assert_double_eq_tol(loss_value(model), loss_value(merged), 1e-5);
    run_backward(model);
    run_backward(merged);
    for (size_t i = 0; i < model->shape.num_parameters; i++)
        ck_assert_ptr_null(model->parameters[i]->grad);
    check_against_merged(model, merged);
    tlm_model_free(model);
    tlm_model_free(merged);
}
END_TEST

static void assert_same_gradients(const tlm_model_t *a, const tlm_model_t *b)
{
    for (size_t i = a->shape.num_parameters; i < a->num_parameters; i++)
        ck_assert_mem_eq(tlm_tensor_data(a->parameters[i]->grad),
                         tlm_tensor_data(b->parameters[i]->grad),
                         (size_t)a->parameters[i]->numel * sizeof(float));
}

START_TEST(dropout_has_the_same_bits_recomputed_and_on_two_threads)
{
    tlm_model_t *model = adapted_model(_i, NULL, 0.3), *other = adapted_model(_i, NULL, 0.3);

    const double whole = loss_value(model); /* dropout is off at first */
    ASSERT_OK(tlm_model_set_dropout_row(model, 6));
    ASSERT_OK(tlm_model_set_dropout_row(other, 6));
    ASSERT_OK(tlm_model_set_checkpointing(other, true));
    tlm_tensor_t *loss = adapted_loss(other);
    run_backward(model);
    ASSERT_OK(tlm_model_set_dropout_row(other, 7)); /* after forward it changes nothing */
    ASSERT_OK(tlm_set_num_threads(2));
    ASSERT_OK(tlm_tensor_backward(loss, NULL));
    tlm_tensor_free(loss);
    assert_same_gradients(model, other);
    double six = loss_value(model), seven = loss_value(other);
    ck_assert_double_ne(six, seven);
    ck_assert_double_ne(six, whole);
    ASSERT_OK(tlm_model_set_dropout_row(model, TLM_NO_DROPOUT));
    ck_assert_double_eq(loss_value(model), whole);
    ASSERT_OK(tlm_model_set_dropout_row(model, 6));
    const bool former = tlm_set_grad_enabled(false);
    ck_assert_double_eq(loss_value(model), loss_value(other)); /* nothing is dropped */
    tlm_set_grad_enabled(former);
    tlm_model_free(model);
    tlm_model_free(other);
}
END_TEST

START_TEST(new_adapters_change_nothing)
{
    tlm_model_options_t options = adapted_options(_i);
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, &options));
    const double before = loss_value(model);
    ASSERT_OK(tlm_model_add_lora(model, NULL));
    ck_assert_double_eq(loss_value(model), before);
    ASSERT_OK(tlm_model_lora(&lora, model));
    ck_assert_int_eq(lora.rank, 8);
    ck_assert_double_eq(lora.alpha, 8.0);
    ck_assert_str_eq(lora.targets, "all-linear");
    ASSERT_FAILS(TLM_ERR_STATE, "adapters already", tlm_model_add_lora(model, NULL));
    tlm_model_remove_lora(model);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "no adapters", tlm_model_lora(&lora, model));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "no adapters", tlm_model_merge_lora(model));
    ck_assert_double_eq(loss_value(model), before);
    tlm_model_free(model);
}
END_TEST

/* ---- Targets ---------------------------------------------------------------------------- */

static const struct {
    int kind;
    const char *targets;
    size_t adapters; /* -1: an error, whose message contains `text` */
    const char *text;
} targets[] = {
    {0, "all-linear", 28, NULL},
    {0, "q_proj", 4, NULL},
    {0, "q_proj, v_proj", 8, NULL},
    {0, "gate_proj,up_proj,down_proj", 12, NULL},
    {0, "w1", 4, NULL},
    {0, "o_proj", 4, NULL},
    {0, "output_proj", 4, NULL},
    {0, "layers.1.attn.q_proj", 2, NULL},
    {0, "layers.1.attn.q_proj.weight", 2, NULL},
    {0, "model.layers.0.self_attn.k_proj", 2, NULL},
    {0, "layers.0.*", 14, NULL},
    {0, "*.attn.[qv]_proj*", 8, NULL},
    {0, "*attn*", 16, NULL},
    {0, "lm_head", 2, NULL},
    {0, "all-linear,q_proj", 28, NULL},
    {1, "lm_head", SIZE_MAX, "'lm_head' is the embedding"},
    {0, "token_embeddings", SIZE_MAX, "'token_embeddings' is no linear layer"},
    {0, "ln1", SIZE_MAX, "'ln1' is no linear layer"},
    {0, "proj", SIZE_MAX, "no linear layer 'proj'"},
    {0, "q_proj,c_attn", SIZE_MAX, "no linear layer 'c_attn'"},
    {0, "", SIZE_MAX, "no linear layer ''"},
    {0, "q_proj,", SIZE_MAX, "no linear layer ''"},
    {0, "*.foo", SIZE_MAX, "no linear layer '*.foo'"},
    {3, "c_attn", 8, NULL},      /* an A and three B in each block */
    {3, "attn.q_proj", 4, NULL}, /* only queries */
    {3, "c_proj", 8, NULL},      /* of attention and of the feed-forward layer */
    {6, "qkv_proj", 8, NULL},
    {6, "gate_up_proj", 6, NULL},
    {6, "all-linear", 22, NULL},
};

START_TEST(targets_are_names_and_patterns)
{
    tlm_model_options_t options = adapted_options(targets[_i].kind);
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;
    tlm_model_t *model;

    lora.targets = targets[_i].targets;
    lora.family = adapted_family(targets[_i].kind);
    ASSERT_OK(tlm_model_create(&model, &options));
    if (targets[_i].adapters == SIZE_MAX) {
        ASSERT_FAILS(TLM_ERR_NOT_FOUND, targets[_i].text, tlm_model_add_lora(model, &lora));
        ck_assert_uint_eq(tlm_model_num_trained(model), tlm_model_num_elements(model));
    } else {
        ASSERT_OK(tlm_model_add_lora(model, &lora));
        ck_assert_uint_eq(model->num_parameters - model->shape.num_parameters,
                          targets[_i].adapters);
    }
    tlm_model_free(model);
}
END_TEST

START_TEST(options_are_checked)
{
    static const struct {
        int64_t rank;
        double alpha, dropout;
        int32_t family;
        const char *text;
    } bad[] = {{-1, 1.0, 0.0, 0, "rank -1"},
               {8, -1.0, 0.0, 0, "alpha -1"},
               {8, NAN, 0.0, 0, "alpha nan"},
               {8, 1.0, 1.0, 0, "dropout 1"},
               {8, 1.0, -0.5, 0, "dropout -0.5"},
               {8, 1.0, NAN, 0, "dropout nan"},
               {8, 1.0, 0.0, 99, "family 99"},
               {8, 1.0, 0.0, -1, "family -1"},
               {INT64_MAX, 1.0, 0.0, 0, "is not in 1 .."}};
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, &(tlm_model_options_t){.size = sizeof(tlm_model_options_t),
                                                              .vocab_size = 5,
                                                              .context_length = 4,
                                                              .d_model = 8,
                                                              .num_layers = 1,
                                                              .num_heads = 2}));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tlm_lora_options_t lora = {.size = sizeof(lora),
                                   .rank = bad[i].rank,
                                   .alpha = bad[i].alpha,
                                   .dropout = bad[i].dropout,
                                   .family = bad[i].family};

        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, bad[i].text, tlm_model_add_lora(model, &lora));
    }
    tlm_lora_options_t gpt2 = {.size = sizeof(gpt2), .family = TLM_FAMILY_GPT2};
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "gpt2 has no", tlm_model_add_lora(model, &gpt2));
    tlm_model_free(model);
}
END_TEST

START_TEST(a_is_uniform_as_in_peft)
{
    tlm_model_t *model = adapted_model(0, "q_proj", 0.0);
    const float *a = tlm_tensor_data(model->parameters[model->shape.num_parameters]);
    float largest = 0.0f; /* a double here stops GCC 12 for AArch64 by a fault of its own */

    for (int64_t i = 0; i < 3 * 16; i++)
        largest = fmaxf(largest, fabsf(a[i]));
    ck_assert_double_le((double)largest, 0.25); /* 1 / sqrt(16) */
    ck_assert_double_gt((double)largest, 0.2);
    ck_assert_str_eq(model->specs[model->shape.num_parameters].name,
                     "layers.0.attn.q_proj.lora_A.weight");
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("adapters");
    TCase *tcase = tcase_create("adapters");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, layer_has_the_gradients_of_differences);
    tcase_add_test(tcase, dropout_drops_its_share_by_position);
    tcase_add_loop_test(tcase, models_have_the_gradients_of_merged_weights, 0, 2 * ADAPTED_KINDS);
    tcase_add_loop_test(tcase, dropout_has_the_same_bits_recomputed_and_on_two_threads, 0,
                        ADAPTED_KINDS);
    tcase_add_loop_test(tcase, new_adapters_change_nothing, 0, ADAPTED_KINDS);
    tcase_add_loop_test(tcase, targets_are_names_and_patterns, 0,
                        sizeof(targets) / sizeof(targets[0]));
    tcase_add_test(tcase, options_are_checked);
    tcase_add_test(tcase, a_is_uniform_as_in_peft);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
