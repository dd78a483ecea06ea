/* A model's options and the parameters that follow from them: names, shapes, initial values. */
#include "reference_model.h"
#include "run_suite.h"

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 11,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 2,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7};

static tlm_model_t *make_model(const tlm_model_options_t *options)
{
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, options));
    return model;
}

/* ---- Parameters -------------------------------------------------------------------------- */

START_TEST(parameters_have_cs336_names_and_shapes)
{
    static const struct {
        const char *name;
        int64_t shape[2];
    } expected[] = {
        {"token_embeddings.weight", {11, 8}},
        {"layers.0.attn.q_proj.weight", {8, 8}},
        {"layers.0.attn.k_proj.weight", {8, 8}},
        {"layers.0.attn.v_proj.weight", {8, 8}},
        {"layers.0.attn.output_proj.weight", {8, 8}},
        {"layers.0.ln1.weight", {8, 0}},
        {"layers.0.ffn.w1.weight", {12, 8}},
        {"layers.0.ffn.w2.weight", {8, 12}},
        {"layers.0.ffn.w3.weight", {12, 8}},
        {"layers.0.ln2.weight", {8, 0}},
        {"layers.1.attn.q_proj.weight", {8, 8}},
        {"layers.1.attn.k_proj.weight", {8, 8}},
        {"layers.1.attn.v_proj.weight", {8, 8}},
        {"layers.1.attn.output_proj.weight", {8, 8}},
        {"layers.1.ln1.weight", {8, 0}},
        {"layers.1.ffn.w1.weight", {12, 8}},
        {"layers.1.ffn.w2.weight", {8, 12}},
        {"layers.1.ffn.w3.weight", {12, 8}},
        {"layers.1.ln2.weight", {8, 0}},
        {"ln_final.weight", {8, 0}},
        {"lm_head.weight", {11, 8}},
    };
    enum { COUNT = sizeof(expected) / sizeof(expected[0]) };
    tlm_model_t *model = make_model(&tiny);
    uint64_t elements = 0;
    const char *name;

    ck_assert_uint_eq(tlm_model_num_parameters(model), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        tlm_tensor_t *tensor;
        int32_t ndim = expected[i].shape[1] == 0 ? 1 : 2;

        ASSERT_OK(tlm_model_parameter_name(&name, model, i));
        ck_assert_str_eq(name, expected[i].name);
        ASSERT_OK(tlm_model_parameter(&tensor, model, name));
        ck_assert_int_eq(tlm_tensor_ndim(tensor), ndim);
        for (int32_t k = 0; k < ndim; k++)
            ck_assert_int_eq(tlm_tensor_shape(tensor)[k], expected[i].shape[k]);
        ck_assert(tlm_tensor_requires_grad(tensor));
        elements += (uint64_t)tlm_tensor_numel(tensor);
    }
    ck_assert_uint_eq(tlm_model_num_elements(model), elements);
    ASSERT_FAILS(TLM_ERR_RANGE, "no parameter 21; there are 21",
                 tlm_model_parameter_name(&name, model, COUNT));
    tlm_model_free(model);
}
END_TEST

/* Mean, standard deviation and largest absolute value of a parameter. */
static void measure(const tlm_model_t *model, const char *name, double sigma)
{
    /* Cutting a normal distribution at 3 sigma leaves this much of its standard deviation. */
    const double cut_deviation = 0.98658;
    double sum = 0.0, squares = 0.0, largest = 0.0, count, deviation;
    tlm_tensor_t *tensor;
    const float *values;

    ASSERT_OK(tlm_model_parameter(&tensor, model, name));
    values = tlm_tensor_data(tensor);
    count = (double)tlm_tensor_numel(tensor);
    for (int64_t i = 0; i < tlm_tensor_numel(tensor); i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
        largest = fmax(largest, fabs((double)values[i]));
    }
    deviation = sqrt(squares / count);
    ck_assert_msg(fabs(sum / count) < 5.0 * sigma / sqrt(count), "%s: mean %g", name, sum / count);
    ck_assert_msg(fabs(deviation / (sigma * cut_deviation) - 1.0) < 5.0 / sqrt(2.0 * count),
                  "%s: deviation %g, sigma %g", name, deviation, sigma);
    ck_assert_msg(largest <= 3.0 * sigma * (1.0 + 1e-6) && largest > 2.8 * sigma,
                  "%s: largest %g, sigma %g", name, largest, sigma);
}

START_TEST(switches_choose_the_parameters)
{
    static const size_t counts[REFERENCE_NUM_SHAPES] = {
        21, 20, 16, 21, 19, 20, 21, 21, 17, 15, 21, 20, 25, 24, 27, 34, 21,
        21, 21, 21, 21, 21, 25, 24, 36, 30, 20, 26, 21, 24, 32, 21, 21, 28};
    tlm_model_options_t options = tiny, got = {.size = sizeof(got)};
    tlm_model_t *model;
    tlm_tensor_t *tensor = NULL;

    for (int i = 0; i < REFERENCE_NUM_SHAPES; i++) {
        uint64_t elements = 0;
        tlm_tensor_t *const *tensors;
        size_t n;

        model = make_model(&reference_shapes[i]);
        ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
        ck_assert_uint_eq(n, counts[i]);
        for (size_t k = 0; k < n; k++)
            elements += (uint64_t)tlm_tensor_numel(tensors[k]);
        ck_assert_uint_eq(tlm_model_num_elements(model), elements);
        tlm_model_free(model);
    }
    options.d_ff = 0;
    options.d_model = 64;
    options.num_heads = 4;
    options.num_kv_heads = 2;
    options.norm = TLM_NORM_POST;
    options.ffn = TLM_FFN_SILU;
    options.tied_embeddings = true;
    model = make_model(&options);
    ASSERT_OK(tlm_model_get_options(&got, model));
    ck_assert_int_eq(got.d_ff, 256);
    ASSERT_OK(tlm_model_parameter(&tensor, model, "layers.1.attn.v_proj.weight"));
    ck_assert_int_eq(tlm_tensor_shape(tensor)[0], 32);
    ck_assert_int_eq(tlm_tensor_shape(tensor)[1], 64);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "ln_final",
                 tlm_model_parameter(&tensor, model, "ln_final.weight"));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "w3",
                 tlm_model_parameter(&tensor, model, "layers.0.ffn.w3.weight"));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "lm_head",
                 tlm_model_parameter(&tensor, model, "lm_head.weight"));
    tlm_model_free(model);
    options.vocab_size = 500;
    model = make_model(&options);
    measure(model, "token_embeddings.weight", sqrt(2.0 / 564.0));
    tlm_model_free(model);
}
END_TEST

START_TEST(parameters_are_set_by_name)
{
    const int64_t good[2] = {11, 8}, turned[2] = {8, 11};
    float values[88];
    tlm_model_t *model = make_model(&tiny);
    tlm_tensor_t *tensor;

    for (int i = 0; i < 88; i++)
        values[i] = (float)i;
    ASSERT_OK(tlm_model_set_parameter(model, "lm_head.weight", values, good, 2));
    ASSERT_OK(tlm_model_parameter(&tensor, model, "lm_head.weight"));
    ck_assert_mem_eq(tlm_tensor_data(tensor), values, sizeof(values));
    ASSERT_FAILS(TLM_ERR_SHAPE, "(8, 11)",
                 tlm_model_set_parameter(model, "lm_head.weight", values, turned, 2));
    ASSERT_FAILS(TLM_ERR_SHAPE, "(11, 8)",
                 tlm_model_set_parameter(model, "lm_head.weight", values, good, 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "ndim 9",
                 tlm_model_set_parameter(model, "lm_head.weight", values, good, 9));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "'lm_head'",
                 tlm_model_set_parameter(model, "lm_head", values, good, 2));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "values is NULL",
                 tlm_model_set_parameter(model, "lm_head.weight", NULL, good, 2));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model is NULL",
                 tlm_model_set_parameter(NULL, "lm_head.weight", values, good, 2));
    tlm_model_free(model);
}
END_TEST

START_TEST(initial_values_have_their_distribution)
{
    static const tlm_model_options_t options = {.size = sizeof(options),
                                                .vocab_size = 500,
                                                .context_length = 16,
                                                .d_model = 128,
                                                .num_layers = 1,
                                                .num_heads = 4,
                                                .seed = 1};
    tlm_model_t *model = make_model(&options), *same = make_model(&options), *other;
    tlm_model_options_t changed = options;
    tlm_tensor_t *a, *b, *c;

    measure(model, "token_embeddings.weight", 1.0);
    measure(model, "layers.0.attn.q_proj.weight", sqrt(2.0 / 256.0));
    measure(model, "layers.0.attn.output_proj.weight", sqrt(2.0 / 256.0));
    measure(model, "layers.0.ffn.w1.weight", sqrt(2.0 / (128.0 + 384.0)));
    measure(model, "layers.0.ffn.w2.weight", sqrt(2.0 / (128.0 + 384.0)));
    measure(model, "lm_head.weight", sqrt(2.0 / 628.0));
    ASSERT_OK(tlm_model_parameter(&a, model, "layers.0.ln2.weight"));
    for (int i = 0; i < 128; i++)
        ck_assert(((float *)tlm_tensor_data(a))[i] == 1.0f);
    changed.seed = 2;
    other = make_model(&changed);
    ASSERT_OK(tlm_model_parameter(&a, model, "lm_head.weight"));
    ASSERT_OK(tlm_model_parameter(&b, same, "lm_head.weight"));
    ASSERT_OK(tlm_model_parameter(&c, other, "lm_head.weight"));
    ck_assert_mem_eq(tlm_tensor_data(a), tlm_tensor_data(b), 500 * 128 * sizeof(float));
    ck_assert_mem_ne(tlm_tensor_data(a), tlm_tensor_data(c), 500 * 128 * sizeof(float));
    ASSERT_OK(tlm_model_parameter(&b, model, "layers.0.attn.q_proj.weight"));
    ASSERT_OK(tlm_model_parameter(&c, model, "layers.0.attn.k_proj.weight"));
    ck_assert_mem_ne(tlm_tensor_data(b), tlm_tensor_data(c), 128 * 128 * sizeof(float));
    tlm_model_free(model);
    tlm_model_free(same);
    tlm_model_free(other);
}
END_TEST

/* Zero, or smaller with the number of blocks: what is added to the residual stream, and no more. */
START_TEST(projections_into_the_residual_stream_may_begin_smaller)
{
    static const char *const smaller[] = {"layers.7.attn.output_proj.weight",
                                          "layers.0.ffn.w2.weight"};
    tlm_model_options_t options = {.size = sizeof(options),
                                   .vocab_size = 500,
                                   .context_length = 16,
                                   .d_model = 128,
                                   .num_layers = 8,
                                   .num_heads = 4,
                                   .d_ff = 128,
                                   .output_init = TLM_OUTPUT_INIT_DEPTH};
    tlm_model_t *model = make_model(&options);

    measure(model, smaller[0], sqrt(2.0 / 256.0) / 4.0);
    measure(model, smaller[1], sqrt(2.0 / 256.0) / 4.0);
    measure(model, "layers.0.attn.v_proj.weight", sqrt(2.0 / 256.0));
    measure(model, "lm_head.weight", sqrt(2.0 / 628.0));
    tlm_model_free(model);
    options.output_init = TLM_OUTPUT_INIT_ZERO;
    model = make_model(&options);
    for (int i = 0; i < 2; i++) {
        tlm_tensor_t *tensor;

        ASSERT_OK(tlm_model_parameter(&tensor, model, smaller[i]));
        for (int k = 0; k < 128 * 128; k++)
            ck_assert(((float *)tlm_tensor_data(tensor))[k] == 0.0f);
    }
    measure(model, "layers.0.ffn.w1.weight", sqrt(2.0 / 256.0));
    tlm_model_free(model);
}
END_TEST

/* The output projection begins as at the base width, and smaller by as much as the model is wider; hidden
 * matrices depend on their own shapes only. */
START_TEST(the_output_projection_begins_smaller_in_a_wider_model)
{
    tlm_model_options_t options = {.size = sizeof(options),
                                   .vocab_size = 500,
                                   .context_length = 16,
                                   .d_model = 128,
                                   .num_layers = 1,
                                   .num_heads = 4,
                                   .d_ff = 128,
                                   .base_width = 32};
    tlm_model_t *model = make_model(&options);

    measure(model, "lm_head.weight", sqrt(2.0 / 532.0) / 4.0);
    measure(model, "layers.0.ffn.w1.weight", sqrt(2.0 / 256.0));
    measure(model, "token_embeddings.weight", 1.0);
    tlm_model_free(model);
    options.base_width = 128;
    model = make_model(&options);
    measure(model, "lm_head.weight", sqrt(2.0 / 628.0));
    tlm_model_free(model);
}
END_TEST

/* ---- Options ----------------------------------------------------------------------------- */

START_TEST(defaults_are_resolved)
{
    tlm_model_options_t options = {.size = sizeof(options),
                                   .vocab_size = 10,
                                   .context_length = 4,
                                   .d_model = 512,
                                   .num_layers = 1,
                                   .num_heads = 16,
                                   .seed = 9},
                        got;
    tlm_model_t *model = make_model(&options);

    got.size = sizeof(got);
    ASSERT_OK(tlm_model_get_options(&got, model));
    ck_assert_int_eq(got.d_ff, 1408);
    ck_assert(got.rope_theta == 10000.0);
    ck_assert_uint_eq(got.seed, 9);
    got.size = 0;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "size", tlm_model_get_options(&got, model));
    tlm_model_free(model);
    tlm_model_free(NULL);
}
END_TEST

START_TEST(an_older_struct_means_the_older_model)
{
    tlm_model_options_t older = tiny, got = {.size = sizeof(got)};
    tlm_model_t *model;

    /* What follows `seed` was not there, and is not looked at. */
    older.size = offsetof(tlm_model_options_t, num_kv_heads);
    older.num_kv_heads = -1;
    older.norm = 99;
    model = make_model(&older);
    ASSERT_OK(tlm_model_get_options(&got, model));
    ck_assert_int_eq(got.num_kv_heads, 2);
    ck_assert(got.norm_eps == 1e-5);
    ck_assert_int_eq(got.norm, TLM_NORM_PRE);
    ck_assert_uint_eq(tlm_model_num_parameters(model), 21);
    tlm_model_free(model);
}
END_TEST

START_TEST(wrong_options_are_refused)
{
    tlm_model_options_t options;
    tlm_model_t *model = NULL;

#define REFUSE(text, change)                                                                       \
    options = tiny;                                                                                \
    change;                                                                                        \
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, text, tlm_model_create(&model, &options))
    REFUSE("vocab_size 0", options.vocab_size = 0);
    REFUSE("vocab_size 9223372036854775807", options.vocab_size = INT64_MAX);
    REFUSE("context_length -1", options.context_length = -1);
    REFUSE("d_model 0", options.d_model = 0);
    REFUSE("d_model 10 is not a multiple of 2", (options.d_model = 10, options.num_heads = 4));
    REFUSE("d_model 9 is not a multiple of 2", (options.d_model = 9, options.num_heads = 3));
    REFUSE("d_model 9 is not a multiple of num_heads",
           (options.d_model = 9, options.position = TLM_POSITION_NONE));
    REFUSE("num_layers 0", options.num_layers = 0);
    REFUSE("num_layers 2147483647", options.num_layers = 2147483647);
    REFUSE("num_heads 0", options.num_heads = 0);
    REFUSE("d_ff -5", options.d_ff = -5);
    REFUSE("rope_theta -1", options.rope_theta = -1.0);
    REFUSE("rope_theta nan", options.rope_theta = (double)NAN);
    REFUSE("rope_theta inf", options.rope_theta = (double)INFINITY);
    REFUSE("num_kv_heads -1", options.num_kv_heads = -1);
    REFUSE("num_kv_heads 4 does not divide", options.num_kv_heads = 4);
    REFUSE("norm_eps -1", options.norm_eps = -1.0);
    REFUSE("norm_eps nan", options.norm_eps = (double)NAN);
    REFUSE("norm_eps 1e+39", options.norm_eps = 1e39);
    REFUSE("norm 5 is not in 0 .. 4", options.norm = 5);
    REFUSE("norm -1 is not", options.norm = -1);
    REFUSE("position 3 is not in 0 .. 2", options.position = 3);
    REFUSE("ffn 5 is not in 0 .. 4", options.ffn = 5);
    REFUSE("output_init 3 is not in 0 .. 2", options.output_init = 3);
    REFUSE("z_loss -1 is not a finite float >= 0", options.z_loss = -1.0);
    REFUSE("z_loss nan", options.z_loss = (double)NAN);
    REFUSE("label_smoothing 1 is not in [0, 1)", options.label_smoothing = 1.0);
    REFUSE("label_smoothing -0.1 is not", options.label_smoothing = -0.1);
    REFUSE("dropout 1 is not in [0, 1)", options.dropout = 1.0);
    REFUSE("attention_dropout nan", options.attention_dropout = (double)NAN);
    REFUSE("embedding_dropout 1.5 is not in [0, 1)", options.embedding_dropout = 1.5);
    REFUSE("reserved", options.reserved[1] = 1);
    REFUSE("base_width -1 is not in 0", options.base_width = -1);
    REFUSE("base_width 64 needs an output projection of its own",
           (options.base_width = 64, options.tied_embeddings = true));
    REFUSE("window_period 2 has no meaning without sliding_window", options.window_period = 2);
    REFUSE("window_rope_theta 5 has no meaning", options.window_rope_theta = 5.0);
    REFUSE("rope_factor 2 has no meaning", options.rope_factor = 2.0);
    REFUSE("rope_factor 0 is not at least 1", options.rope_scaling = TLM_ROPE_SCALING_LINEAR);
    REFUSE("rope_low_turns 1 has no meaning",
           (options.rope_scaling = TLM_ROPE_SCALING_LINEAR, options.rope_factor = 2.0,
            options.rope_low_turns = 1.0));
    REFUSE("rope_magnitude 2 has no meaning",
           (options.rope_scaling = TLM_ROPE_SCALING_LLAMA3, options.rope_factor = 2.0,
            options.rope_magnitude = 2.0));
    REFUSE("rope_high_turns 4 is not above rope_low_turns 4",
           (options.rope_scaling = TLM_ROPE_SCALING_LLAMA3, options.rope_factor = 2.0,
            options.rope_low_turns = 4.0));
    REFUSE("rope_scaling linear has no meaning without RoPE",
           (options.rope_scaling = TLM_ROPE_SCALING_LINEAR, options.rope_factor = 2.0,
            options.position = TLM_POSITION_NONE));
    REFUSE("norm_kind layer",
           (options.norm_kind = TLM_KIND_OF_NORM_LAYER, options.norm = TLM_NORM_BOTH));
    REFUSE("too large", (options.vocab_size = 2147483647, options.d_model = 2147483646,
                         options.num_heads = 1, options.d_ff = 2147483647));
    REFUSE("too large", (options.d_model = 2147483646, options.num_heads = 1, options.d_ff = 0,
                         options.ffn = TLM_FFN_SILU, options.tied_embeddings = true));
    REFUSE("size is 7", options.size = 7);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_model_create(&model, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_model_create(NULL, &tiny));
    ck_assert_ptr_null(model);
}
END_TEST

START_TEST(how_a_model_is_trained_can_be_changed)
{
    tlm_model_options_t options = {.size = sizeof(options)}, got = {.size = sizeof(got)};
    tlm_model_t *model = make_model(&tiny);

    options.z_loss = 0.5;
    options.label_smoothing = 0.25;
    options.dropout = 0.5;
    options.seed = 99;
    options.d_model = -1; /* is not looked at */
    ASSERT_OK(tlm_model_set_training(model, &options));
    ASSERT_OK(tlm_model_get_options(&got, model));
    ck_assert(got.z_loss == 0.5 && got.label_smoothing == 0.25 && got.dropout == 0.5);
    ck_assert_uint_eq(got.seed, 99);
    ck_assert_int_eq(got.d_model, tiny.d_model);
    options.z_loss = 0.0;
    options.label_smoothing = 2.0;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model_set_training: label_smoothing 2 is not in [0, 1)",
                 tlm_model_set_training(model, &options));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_model_set_training(model, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_model_set_training(NULL, &options));
    ASSERT_OK(tlm_model_get_options(&got, model));
    ck_assert(got.z_loss == 0.5 && got.label_smoothing == 0.25);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_options");
    TCase *tcase = tcase_create("model_options");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, parameters_have_cs336_names_and_shapes);
    tcase_add_test(tcase, parameters_are_set_by_name);
    tcase_add_test(tcase, initial_values_have_their_distribution);
    tcase_add_test(tcase, projections_into_the_residual_stream_may_begin_smaller);
    tcase_add_test(tcase, the_output_projection_begins_smaller_in_a_wider_model);
    tcase_add_test(tcase, defaults_are_resolved);
    tcase_add_test(tcase, switches_choose_the_parameters);
    tcase_add_test(tcase, an_older_struct_means_the_older_model);
    tcase_add_test(tcase, wrong_options_are_refused);
    tcase_add_test(tcase, how_a_model_is_trained_can_be_changed);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
