/* The whole model against its float64 twin; training. */
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

enum { BATCH = 3, TIME = 5 };

static void make_ids(uint32_t *ids, size_t n, uint32_t vocab, uint32_t salt)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)((i * 7 + salt * 5 + i * i) % vocab);
}

static tlm_model_t *make_model(const tlm_model_options_t *options)
{
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, options));
    return model;
}

/* Moves all parameters off their initial values, the gains off 1. */
static void shake(tlm_model_t *model)
{
    tlm_tensor_t *const *tensors;
    size_t n;

    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    for (size_t i = 0; i < n; i++)
        for (int64_t j = 0; j < tlm_tensor_numel(tensors[i]); j++)
            ((float *)tlm_tensor_data(tensors[i]))[j] +=
                0.2f * (float)sin((double)(i * 31 + 1) * (double)(j + 1));
}

static void assert_close(double actual, double expected, double tolerance, const char *what)
{
    /* Written so that NaN fails. */
    ck_assert_msg(fabs(actual - expected) <= tolerance * (1.0 + fabs(expected)),
                  "%s: %.9g is not %.9g", what, actual, expected);
}

/* ---- Forward and backward -------------------------------------------------------------------- */

START_TEST(logits_are_those_of_the_reference)
{
    uint32_t ids[BATCH * TIME];
    double expected[TIME * 11];
    tlm_model_t *model = make_model(&reference_shapes[_i]);
    reference_t reference;
    tlm_tensor_t *logits;
    const float *actual;

    shake(model);
    reference = reference_of(model);
    make_ids(ids, BATCH * TIME, 11, 0);
    for (int64_t time = 1; time <= TIME; time++) {
        ASSERT_OK(tlm_model_forward(&logits, model, ids, BATCH, time));
        ck_assert_int_eq(tlm_tensor_ndim(logits), 3);
        ck_assert_int_eq(tlm_tensor_shape(logits)[1], time);
        actual = tlm_tensor_data(logits);
        for (int64_t row = 0; row < BATCH; row++) {
            reference_logits(expected, &reference, ids + row * time, time);
            for (int64_t i = 0; i < time * 11; i++)
                assert_close((double)actual[row * time * 11 + i], expected[i], 1e-5, "logit");
        }
        tlm_tensor_free(logits);
    }
    reference_release(&reference);
    tlm_model_free(model);
}
END_TEST

START_TEST(gradients_are_those_of_central_differences)
{
    const double h = 1e-5;
    uint32_t inputs[BATCH * TIME], targets[BATCH * TIME];
    tlm_model_t *model = make_model(&reference_shapes[_i]);
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss;
    reference_t reference;
    float value;
    size_t n;

    shake(model);
    ASSERT_OK(tlm_model_set_dropout_row(model, 6));
    reference = reference_of(model);
    reference.drops = true;
    reference.first_token = 6 * TIME;
    make_ids(inputs, BATCH * TIME, 11, 0);
    make_ids(targets, BATCH * TIME, 11, 1);
    ASSERT_OK(tlm_model_loss(&loss, model, inputs, targets, BATCH, TIME));
    ASSERT_OK(tlm_tensor_item(&value, loss));
    assert_close((double)value, reference_loss(&reference, inputs, targets, BATCH, TIME), 1e-6,
                 "loss");
    ASSERT_OK(tlm_tensor_backward(loss, NULL));
    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    for (size_t i = 0; i < n; i++) {
        const float *gradient = tlm_tensor_data(tlm_tensor_grad(tensors[i]));

        for (size_t j = 0; j < reference.sizes[i]; j += _i == 0 ? 1 : 3) {
            double old = reference.values[i][j], up, down;

            reference.values[i][j] = old + h;
            up = reference_loss(&reference, inputs, targets, BATCH, TIME);
            reference.values[i][j] = old - h;
            down = reference_loss(&reference, inputs, targets, BATCH, TIME);
            reference.values[i][j] = old;
            assert_close((double)gradient[j], (up - down) / (2.0 * h), 2e-6, reference.names[i]);
        }
    }
    tlm_tensor_free(loss);
    tlm_model_zero_grad(model);
    ck_assert_ptr_null(tlm_tensor_grad(tensors[0]));
    reference_release(&reference);
    tlm_model_free(model);
}
END_TEST

/* Dropout is on between two calls, and never without a graph. */
START_TEST(dropout_is_off_except_in_training)
{
    static const double rates[][3] = {{0.5, 0.0, 0.0}, {0.0, 0.5, 0.0}, {0.0, 0.0, 0.5}};
    uint32_t inputs[BATCH * TIME], targets[BATCH * TIME];
    tlm_model_options_t options = tiny;

    options.dropout = rates[_i][0];
    options.attention_dropout = rates[_i][1];
    options.embedding_dropout = rates[_i][2];
    tlm_model_t *model = make_model(&options);
    make_ids(inputs, BATCH * TIME, 11, 0);
    make_ids(targets, BATCH * TIME, 11, 1);
    float values[6];
    for (int i = 0; i < 6; i++) {
        static const uint64_t rows[] = {TLM_NO_DROPOUT, 3, 3, 4, 3, TLM_NO_DROPOUT};
        tlm_tensor_t *loss;
        bool former = tlm_set_grad_enabled(i != 4);

        ASSERT_OK(tlm_model_set_dropout_row(model, rows[i]));
        ASSERT_OK(tlm_model_loss(&loss, model, inputs, targets, BATCH, TIME));
        ASSERT_OK(tlm_tensor_item(&values[i], loss));
        tlm_tensor_free(loss);
        tlm_set_grad_enabled(former);
    }
    ck_assert(values[0] == values[5] && values[0] == values[4]);
    ck_assert(values[1] == values[2] && values[1] != values[0] && values[3] != values[1]);
    tlm_model_free(model);
}
END_TEST

/* An evaluation is of the plain cross-entropy, whatever training adds to it. */
START_TEST(without_gradients_the_loss_is_plain)
{
    uint32_t inputs[BATCH * TIME], targets[BATCH * TIME];
    tlm_model_options_t options = tiny;
    tlm_tensor_t *losses[3];
    float values[3];

    make_ids(inputs, BATCH * TIME, 11, 0);
    make_ids(targets, BATCH * TIME, 11, 1);
    for (int i = 0; i < 3; i++) {
        options.z_loss = i == 0 ? 0.0 : 0.1;
        options.label_smoothing = i == 0 ? 0.0 : 0.1;
        tlm_model_t *model = make_model(&options);
        bool former = tlm_set_grad_enabled(i < 2);

        ASSERT_OK(tlm_model_loss(&losses[i], model, inputs, targets, BATCH, TIME));
        tlm_set_grad_enabled(former);
        ASSERT_OK(tlm_tensor_item(&values[i], losses[i]));
        tlm_tensor_free(losses[i]);
        tlm_model_free(model);
    }
    ck_assert(values[2] == values[0] && values[1] > values[0]);
}
END_TEST

START_TEST(without_gradients_the_numbers_are_the_same)
{
    uint32_t inputs[BATCH * TIME], targets[BATCH * TIME];
    tlm_model_t *model = make_model(&tiny);
    float with, without;
    tlm_tensor_t *loss;

    make_ids(inputs, BATCH * TIME, 11, 0);
    make_ids(targets, BATCH * TIME, 11, 1);
    ASSERT_OK(tlm_model_loss(&loss, model, inputs, targets, BATCH, TIME));
    ASSERT_OK(tlm_tensor_item(&with, loss));
    tlm_tensor_free(loss);
    tlm_set_grad_enabled(false);
    ASSERT_OK(tlm_model_loss(&loss, model, inputs, targets, BATCH, TIME));
    ASSERT_OK(tlm_tensor_item(&without, loss));
    ck_assert(!tlm_tensor_requires_grad(loss));
    tlm_tensor_free(loss);
    tlm_set_grad_enabled(true);
    ck_assert(with == without);
    tlm_model_free(model);
}
END_TEST

/* ---- Training -------------------------------------------------------------------------------- */

/* Losses of some steps on one batch. */
static void train(float *losses, int steps, const tlm_model_options_t *options, int64_t batch,
                  int64_t time)
{
    size_t count = (size_t)(batch * time), n;
    uint32_t *inputs = malloc(2 * count * sizeof(*inputs)), *targets = inputs + count;
    tlm_adamw_options_t adamw = TLM_ADAMW_OPTIONS_INIT;
    tlm_model_t *model = make_model(options);
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss;

    adamw.learning_rate = 3e-3;
    adamw.beta2 = 0.99;
    make_ids(inputs, count, (uint32_t)options->vocab_size, 2);
    make_ids(targets, count, (uint32_t)options->vocab_size, 3);
    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, &adamw));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, tensors, n, NULL));
    for (int step = 0; step < steps; step++) {
        tlm_optimizer_zero_grad(optimizer);
        ASSERT_OK(tlm_model_set_dropout_row(model, (uint64_t)(step * batch)));
        ASSERT_OK(tlm_model_loss(&loss, model, inputs, targets, batch, time));
        ASSERT_OK(tlm_tensor_item(&losses[step], loss));
        ASSERT_OK(tlm_tensor_backward(loss, NULL));
        tlm_tensor_free(loss);
        ASSERT_OK(tlm_clip_grad_norm(NULL, tensors, n, 1.0));
        ASSERT_OK(tlm_optimizer_step(optimizer));
    }
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    free(inputs);
}

START_TEST(a_small_batch_is_learnt_by_heart)
{
    enum { STEPS = 300 };
    tlm_model_options_t options = tiny;
    float losses[STEPS];

    options.d_model = 32;
    options.num_heads = 4;
    options.d_ff = 0;
    train(losses, STEPS, &options, 2, 6);
    ck_assert_msg(losses[0] > 2.0f && losses[0] < 4.0f, "first loss %g", (double)losses[0]);
    ck_assert_msg(losses[STEPS - 1] < 0.15f, "last loss %g", (double)losses[STEPS - 1]);
}
END_TEST

START_TEST(threads_do_not_change_a_bit)
{
    enum { STEPS = 5 };
    static const tlm_model_options_t options = {.size = sizeof(options),
                                                .vocab_size = 300,
                                                .context_length = 40,
                                                .d_model = 96,
                                                .num_layers = 2,
                                                .num_heads = 6,
                                                .seed = 3,
                                                .value_embeddings = true,
                                                .z_loss = 1e-3,
                                                .label_smoothing = 0.1,
                                                .dropout = 0.1,
                                                .attention_dropout = 0.1,
                                                .embedding_dropout = 0.1};
    float one[STEPS], other[STEPS];

    ASSERT_OK(tlm_set_num_threads(1));
    train(one, STEPS, &options, 3, 37);
    ck_assert(one[STEPS - 1] < one[0]);
    for (int32_t threads = 2; threads <= 3; threads++) {
        ASSERT_OK(tlm_set_num_threads(threads));
        train(other, STEPS, &options, 3, 37);
        ck_assert_mem_eq(one, other, sizeof(one));
    }
    ASSERT_OK(tlm_set_num_threads(0));
}
END_TEST

/* ---- Parts of a batch, recomputation --------------------------------------------------------- */

/* Loss and all gradients, one after another, of `parts` micro-batches that make up one batch. */
static float *gradients_of(float *loss_sum, size_t *count, const tlm_model_options_t *options,
                           bool checkpointing, int64_t parts)
{
    enum { ROWS = 4, COLUMNS = 5 };
    uint32_t inputs[ROWS * COLUMNS], targets[ROWS * COLUMNS];
    const float weight = 1.0f / (float)parts;
    tlm_model_t *model = make_model(options);
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss, *scale;
    float *gradients, *to, value;
    size_t n;

    make_ids(inputs, ROWS * COLUMNS, (uint32_t)options->vocab_size, 2);
    make_ids(targets, ROWS * COLUMNS, (uint32_t)options->vocab_size, 3);
    shake(model);
    ASSERT_OK(tlm_model_set_checkpointing(model, checkpointing));
    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    ASSERT_OK(tlm_tensor_from_data(&scale, TLM_FLOAT32, &weight, NULL, 0));
    *loss_sum = 0.0f;
    for (int64_t i = 0; i < parts; i++) {
        int64_t rows = ROWS / parts, at = i * rows * COLUMNS;
        ASSERT_OK(tlm_model_set_dropout_row(model, (uint64_t)(9 + i * rows)));
        ASSERT_OK(tlm_model_loss(&loss, model, inputs + at, targets + at, rows, COLUMNS));
        ASSERT_OK(tlm_tensor_item(&value, loss));
        ASSERT_OK(tlm_tensor_backward(loss, parts == 1 ? NULL : scale));
        tlm_tensor_free(loss);
        *loss_sum += weight * value;
    }
    tlm_tensor_free(scale);
    *count = (size_t)tlm_model_num_elements(model);
    to = gradients = malloc(*count * sizeof(float));
    ck_assert_ptr_nonnull(gradients);
    for (size_t i = 0; i < n; i++) {
        size_t size = (size_t)tlm_tensor_numel(tensors[i]);
        ck_assert_ptr_nonnull(tlm_tensor_grad(tensors[i]));
        ASSERT_OK(tlm_tensor_copy_out(to, size, tlm_tensor_grad(tensors[i])));
        to += size;
    }
    tlm_model_free(model);
    return gradients;
}

START_TEST(checkpointing_does_not_change_a_bit)
{
    for (int64_t parts = 1; parts <= 2; parts++) {
        float loss, same_loss;
        size_t n, same_n;
        float *plain = gradients_of(&loss, &n, &reference_shapes[_i], false, parts);
        float *again = gradients_of(&same_loss, &same_n, &reference_shapes[_i], true, parts);

        ck_assert(loss == same_loss);
        ck_assert_uint_eq(n, same_n);
        ck_assert_int_eq(memcmp(plain, again, n * sizeof(float)), 0);
        free(plain);
        free(again);
    }
}
END_TEST

/* Gradients add up over calls of backward, and its argument weighs each. */
START_TEST(micro_batches_add_up_to_the_batch)
{
    float loss, part_loss, again_loss;
    size_t n;
    float *whole = gradients_of(&loss, &n, &reference_shapes[_i], false, 1);

    for (int64_t parts = 2; parts <= 4; parts *= 2) {
        float *sum = gradients_of(&part_loss, &n, &reference_shapes[_i], false, parts);
        float *again = gradients_of(&again_loss, &n, &reference_shapes[_i], false, parts);

        assert_close((double)part_loss, (double)loss, 1e-6, "loss");
        for (size_t i = 0; i < n; i++)
            assert_close((double)sum[i], (double)whole[i], 2e-6, "gradient");
        ck_assert(part_loss == again_loss);
        ck_assert_int_eq(memcmp(sum, again, n * sizeof(float)), 0);
        free(sum);
        free(again);
    }
    free(whole);
}
END_TEST

/* The graph of a recomputed block holds all that it needs. */
START_TEST(a_recomputed_block_outlives_its_model)
{
    uint32_t ids[BATCH * TIME];
    tlm_model_t *model = make_model(&tiny);
    tlm_tensor_t *gain, *loss;

    make_ids(ids, BATCH * TIME, 11, 0);
    ck_assert_int_eq(tlm_model_set_checkpointing(NULL, true), TLM_ERR_INVALID_ARGUMENT);
    ASSERT_OK(tlm_model_set_checkpointing(model, true));
    ASSERT_OK(tlm_model_parameter(&gain, model, "layers.0.ln1.weight"));
    tlm_tensor_retain(gain);
    ASSERT_OK(tlm_model_loss(&loss, model, ids, ids, BATCH, TIME));
    tlm_model_free(model);
    ASSERT_OK(tlm_tensor_backward(loss, NULL));
    ck_assert_ptr_nonnull(tlm_tensor_grad(gain));
    tlm_tensor_free(loss);
    tlm_tensor_free(gain);
}
END_TEST

/* ---- Errors ----------------------------------------------------------------------------- */

START_TEST(wrong_inputs_are_refused)
{
    uint32_t ids[12] = {0}, bad[12] = {0};
    tlm_model_t *model = make_model(&tiny);
    tlm_tensor_t *out = NULL;

    bad[7] = 11;
    ASSERT_FAILS(TLM_ERR_RANGE, "id 11 in row 1 at position 1",
                 tlm_model_forward(&out, model, bad, 2, 6));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 11", tlm_model_loss(&out, model, ids, bad, 2, 6));
    ASSERT_FAILS(TLM_ERR_RANGE, "7 tokens", tlm_model_forward(&out, model, ids, 1, 7));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "time 0", tlm_model_forward(&out, model, ids, 1, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "batch -1", tlm_model_forward(&out, model, ids, -1, 6));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "too large",
                 tlm_model_forward(&out, model, ids, INT64_MAX, 6));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_model_forward(&out, model, NULL, 2, 6));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_model_forward(&out, NULL, ids, 2, 6));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_model_loss(NULL, model, ids, ids, 2, 6));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_model_loss(&out, model, ids, NULL, 2, 6));
    ck_assert_ptr_null(out);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model");
    TCase *tcase = tcase_create("model");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, logits_are_those_of_the_reference, 0, REFERENCE_NUM_SHAPES);
    tcase_add_loop_test(tcase, gradients_are_those_of_central_differences, 0, REFERENCE_NUM_SHAPES);
    tcase_add_test(tcase, without_gradients_the_numbers_are_the_same);
    tcase_add_test(tcase, without_gradients_the_loss_is_plain);
    tcase_add_loop_test(tcase, dropout_is_off_except_in_training, 0, 3);
    tcase_add_test(tcase, a_small_batch_is_learnt_by_heart);
    tcase_add_test(tcase, threads_do_not_change_a_bit);
    tcase_add_loop_test(tcase, checkpointing_does_not_change_a_bit, 0, REFERENCE_NUM_SHAPES);
    tcase_add_loop_test(tcase, micro_batches_add_up_to_the_batch, 0, REFERENCE_NUM_SHAPES);
    tcase_add_test(tcase, a_recomputed_block_outlives_its_model);
    tcase_add_test(tcase, wrong_inputs_are_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
