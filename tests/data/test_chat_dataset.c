/* Targets that do not count: losses and gradients, rows, steps of a trainer, and files of
 * conversations. */
#include "model_support.h"
#include "run_suite.h"

#include <math.h>
#include <unistd.h>

#include "data/data_core.h"

enum { VOCAB = 19, TIME = 6, BATCH = 2 };

static tlm_model_t *make_model(bool adapted, double softcap)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;
    tlm_model_t *model;

    shape.vocab_size = VOCAB;
    shape.context_length = TIME;
    shape.d_model = 8;
    shape.num_layers = 1;
    shape.num_heads = 2;
    shape.d_ff = 12;
    shape.logit_softcap = softcap;
    lora.targets = "lm_head";
    ASSERT_OK(tlm_model_create(&model, &shape));
    if (adapted) { /* the loss is then computed from whole logits */
        ASSERT_OK(tlm_model_add_lora(model, &lora));
        ASSERT_OK(tlm_model_set_frozen(model, "*", false));
    }
    return model;
}

/* The loss; adds its gradient of the embedding, if wanted. */
static double run(tlm_model_t *model, const uint32_t *inputs, const uint32_t *targets,
                  double *gradient, double weight)
{
    tlm_tensor_t *loss, *embedding;
    float value;

    tlm_model_zero_grad(model);
    ASSERT_OK(tlm_model_loss(&loss, model, inputs, targets, BATCH, TIME));
    ASSERT_OK(tlm_tensor_item(&value, loss));
    ASSERT_OK(tlm_tensor_backward(loss, NULL));
    tlm_tensor_free(loss);
    ASSERT_OK(tlm_model_parameter(&embedding, model, "token_embeddings.weight"));
    const float *values = tlm_tensor_data(tlm_tensor_grad(embedding));
    for (int i = 0; i < VOCAB * 8; i++)
        gradient[i] += weight * (double)values[i];
    return (double)value;
}

START_TEST(mean_is_over_the_targets_that_count)
{
    tlm_model_t *model = make_model(_i % 2 == 1, _i / 2 == 1 ? 2.0 : 0.0);
    uint32_t inputs[BATCH * TIME], targets[BATCH * TIME], one[BATCH * TIME];
    static double whole[VOCAB * 8], parts[VOCAB * 8];
    const int counted[] = {1, 4, 5, 9};
    double sum = 0.0;

    memset(whole, 0, sizeof(whole));
    memset(parts, 0, sizeof(parts));
    for (uint32_t i = 0; i < BATCH * TIME; i++) {
        inputs[i] = i * i % VOCAB;
        targets[i] = TLM_IGNORED_TARGET;
    }
    for (int i = 0; i < 4; i++)
        targets[counted[i]] = (uint32_t)(counted[i] * 7) % VOCAB;
    const double mean = run(model, inputs, targets, whole, 1.0);
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < BATCH * TIME; k++)
            one[k] = k == counted[i] ? targets[k] : TLM_IGNORED_TARGET;
        sum += run(model, inputs, one, parts, 0.25);
    }
    ck_assert_double_eq_tol(mean, sum / 4.0, 1e-6);
    for (int i = 0; i < VOCAB * 8; i++)
        ck_assert_double_eq_tol(whole[i], parts[i], 1e-6);
    for (int k = 0; k < BATCH * TIME; k++)
        one[k] = TLM_IGNORED_TARGET;
    tlm_tensor_t *loss;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "all 12 targets are ignored",
                 tlm_model_loss(&loss, model, inputs, one, BATCH, TIME));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 4294967295",
                 tlm_model_loss(&loss, model, one, targets, BATCH, TIME));
    tlm_model_free(model);
}
END_TEST

/* ---- Rows ------------------------------------------------------------------------------- */

enum { ROWS = 4, ROW = TIME + 1 };

static tlm_dataset_t *make_rows(void)
{
    uint32_t ids[ROWS * ROW];
    uint8_t counted[ROWS * ROW];
    tlm_dataset_t *dataset;

    for (uint32_t i = 0; i < ROWS * ROW; i++) {
        ids[i] = (i * i + i / ROW) % VOCAB;
        counted[i] = i % ROW > i / ROW; /* 6, 5, 4 and 3 targets */
    }
    ASSERT_OK(tlm_dataset_from_rows(&dataset, ids, counted, ROWS * ROW, ROW));
    return dataset;
}

START_TEST(windows_are_rows)
{
    tlm_dataset_t *dataset = make_rows();
    tlm_loader_options_t options = TLM_LOADER_OPTIONS_INIT;
    const uint32_t *inputs, *targets;
    tlm_loader_t *loader;

    options.batch_size = 1;
    options.context_length = TIME;
    options.order = _i;
    options.prefetch = 2;
    ASSERT_OK(tlm_loader_create(&loader, dataset, &options));
    ck_assert_uint_eq(tlm_loader_windows_per_epoch(loader), ROWS);
    for (uint64_t batch = 0; batch < 8; batch++) {
        uint64_t counted = 0;

        ASSERT_OK(tlm_loader_next(&inputs, &targets, loader));
        for (int i = 0; i < TIME; i++) {
            counted += targets[i] != TLM_IGNORED_TARGET;
            ck_assert(i + 1 == TIME || targets[i] == TLM_IGNORED_TARGET ||
                      targets[i] == inputs[i + 1]);
        }
        ck_assert_uint_ge(counted, 3);
        ck_assert_uint_eq(counted, tlmi_loader_counted(loader, batch, 1));
    }
    tlm_loader_free(loader);
    options.context_length = TIME - 1;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "rows of 7 ids, so context_length is 6, not 5",
                 tlm_loader_create(&loader, dataset, &options));
    tlm_dataset_free(dataset);
    uint32_t ids[3] = {0};
    uint8_t mask[3] = {0, 2, 0};
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "no rows of 2",
                 tlm_dataset_from_rows(&dataset, ids, NULL, 3, 2));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "counted[1] is 2",
                 tlm_dataset_from_rows(&dataset, ids, mask, 3, 3));
}
END_TEST

/* A step of four batches of one row has the loss and the gradient of one batch of four. */
START_TEST(steps_weigh_batches_by_their_targets)
{
    double losses[2], norms[2], evaluations[2];

    for (int run = 0; run < 2; run++) {
        tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
        tlm_trainer_options_t training = TLM_TRAINER_OPTIONS_INIT;
        tlm_train_step_t step = TLM_TRAIN_STEP_INIT;
        tlm_evaluation_t evaluation = TLM_EVALUATION_INIT;
        tlm_dataset_t *dataset = make_rows();
        tlm_model_t *model = make_model(false, 0.0);
        tlm_optimizer_t *optimizer;
        tlm_trainer_t *trainer;
        tlm_loader_t *loader;

        loading.batch_size = run == 0 ? ROWS : 1;
        loading.context_length = TIME;
        loading.order = TLM_ORDER_SEQUENTIAL;
        training.steps = 1;
        training.accumulation = run == 0 ? 1 : ROWS;
        ASSERT_OK(tlm_loader_create(&loader, dataset, &loading));
        ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
        ASSERT_OK(tlm_optimizer_add_model(optimizer, model, 0, NULL));
        ASSERT_OK(tlm_trainer_create(&trainer, model, optimizer, loader, &training));
        ASSERT_OK(tlm_model_evaluate(&evaluation, model, dataset, run == 0 ? ROWS : 1, TIME, 0));
        ck_assert_uint_eq(evaluation.tokens, 18);
        ASSERT_OK(tlm_trainer_step(&step, trainer));
        losses[run] = step.loss;
        norms[run] = step.gradient_norm;
        evaluations[run] = evaluation.loss;
        tlm_trainer_free(trainer);
        tlm_optimizer_free(optimizer);
        tlm_loader_free(loader);
        tlm_model_free(model);
        tlm_dataset_free(dataset);
    }
    ck_assert_double_eq_tol(losses[0], losses[1], 1e-6);
    ck_assert_double_eq_tol(norms[0], norms[1], 1e-6 * norms[0]);
    ck_assert_double_eq_tol(losses[0], evaluations[0], 1e-6);
    ck_assert_double_eq_tol(evaluations[0], evaluations[1], 1e-6);
}
END_TEST

/* ---- Conversations ---------------------------------------------------------------------- */

static const char *write_lines(const char *text)
{
    const char *path = test_path("chat.jsonl");

    write_string(path, text);
    return path;
}

static const char two[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":"
    "\"the\"}]}\n\n"
    "{\"prompt\":\"ab\",\"completion\":\"cd\",\"id\":7}\r\n";

static tlm_status_t open_lines(tlm_dataset_t **out, tlm_chat_data_t *found, const char *text,
                               int64_t row, bool packed)
{
    tlm_chat_data_options_t options = TLM_CHAT_DATA_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = make_small_tokenizer(NULL, "<|im_start|>", "<|im_end|>", NULL);
    tlm_chat_template_t *chatml;

    ASSERT_OK(tlm_chat_template_create(&chatml, "chatml"));
    options.row_length = row;
    options.packed = packed;
    options.has_end_token = true;
    options.end_token = 260;
    options.pad_id = 5;
    tlm_status_t status =
        tlm_dataset_open_chat(out, found, write_lines(text), tokenizer, chatml, &options);
    tlm_chat_template_free(chatml);
    tlm_tokenizer_free(tokenizer);
    return status;
}

START_TEST(answers_and_completions_count)
{
    tlm_chat_data_t found = TLM_CHAT_DATA_INIT;
    tlm_dataset_t *dataset;
    uint32_t ids[64], targets[64];

    ASSERT_OK(open_lines(&dataset, &found, two, 40, false));
    ck_assert_uint_eq(found.conversations, 2);
    ck_assert_uint_eq(found.rows, 2);
    ck_assert_uint_eq(found.truncated, 0);
    ck_assert_uint_eq(found.left_out, 0);
    /* "the" and the end of the turn; c, d and the end token. */
    ck_assert_uint_eq(found.counted, 2 + 3);
    ck_assert_uint_eq(tlm_dataset_length(dataset), 80);
    ASSERT_OK(tlm_dataset_read(ids, 40, dataset, 40));
    ASSERT_OK(tlmi_dataset_read_targets(targets, 40, dataset, 40));
    const uint32_t wanted[] = {'a', 'b', 'c', 'd', 260, 5};
    ck_assert_mem_eq(ids, wanted, sizeof(wanted));
    for (int i = 0; i < 40; i++)
        ck_assert_uint_eq(targets[i], i >= 2 && i < 5 ? ids[i] : TLM_IGNORED_TARGET);
    tlm_dataset_free(dataset);
    ASSERT_OK(open_lines(&dataset, &found, two, 60, true));
    ck_assert_uint_eq(found.rows, 1);
    ck_assert_uint_eq(found.counted, 5);
    tlm_dataset_free(dataset);
    ASSERT_OK(open_lines(&dataset, &found, two, 4, true)); /* the answer of the first lies behind */
    ck_assert_uint_eq(found.truncated, 2);
    ck_assert_uint_eq(found.left_out, 1);
    ck_assert_uint_eq(found.rows, 1);
    ck_assert_uint_eq(found.counted, 2);
    tlm_dataset_free(dataset);
}
END_TEST

static const struct {
    const char *lines, *text;
    tlm_status_t status;
} bad_lines[] = {
    {"", "has no conversation", TLM_ERR_FORMAT},
    {"\n \n", "has no conversation", TLM_ERR_FORMAT},
    {"{\"prompt\":\"a\",\"completion\":\"b\"}\nnot json\n", "chat.jsonl:2", TLM_ERR_FORMAT},
    {"[]\n", "chat.jsonl:1: the line is not a JSON object", TLM_ERR_FORMAT},
    {"{}\n", "has neither", TLM_ERR_FORMAT},
    {"{\"prompt\":\"a\"}\n", "has neither", TLM_ERR_FORMAT},
    {"{\"text\":\"a\"}\n", "has neither", TLM_ERR_FORMAT},
    {"{\"prompt\":\"a\",\"completion\":7}\n", "are not both texts", TLM_ERR_FORMAT},
    {"{\"messages\":[]}\n", "are empty", TLM_ERR_FORMAT},
    {"{\"messages\":[7]}\n", "has no \"role\"", TLM_ERR_FORMAT},
    {"{\"messages\":[{\"role\":\"user\"}]}\n", "is not a text", TLM_ERR_FORMAT},
    {"{\"messages\":[{\"role\":\"user\",\"content\":[]}]}\n", "is not a text", TLM_ERR_FORMAT},
    {"{\"messages\":[{\"role\":\"us er\",\"content\":\"a\"}]}\n",
     "chat.jsonl:1: ", TLM_ERR_INVALID_ARGUMENT},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[{}]}\n", "\"tools\"",
     TLM_ERR_UNSUPPORTED},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n", "has no conversation",
     TLM_ERR_FORMAT}, /* without an answer */
};

START_TEST(bad_lines_are_named)
{
    tlm_chat_data_t found = TLM_CHAT_DATA_INIT;
    tlm_dataset_t *dataset = NULL;

    ASSERT_FAILS(bad_lines[_i].status, bad_lines[_i].text,
                 open_lines(&dataset, &found, bad_lines[_i].lines, 40, false));
    ck_assert_ptr_null(dataset);
    ck_assert_uint_eq(found.conversations, 0);
}
END_TEST

/* Also where the message that it goes before has the file's name in it. */
START_TEST(places_are_named_whatever_the_file_is_called)
{
    tlm_tokenizer_t *tokenizer = make_small_tokenizer(NULL, "<|im_start|>", "<|im_end|>", NULL);
    tlm_chat_data_options_t options = TLM_CHAT_DATA_OPTIONS_INIT;
    tlm_chat_template_t *chatml;
    tlm_dataset_t *dataset;
    char here[4096];

    ASSERT_OK(tlm_chat_template_create(&chatml, "chatml"));
    options.row_length = 40;
    write_string(test_path("chat"), "{\"messages\":[{\"role\":\"us er\",\"content\":\"a\"}]}\n");
    ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
    ck_assert_int_eq(chdir(test_directory), 0);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "chat:1: chat template: ",
                 tlm_dataset_open_chat(&dataset, NULL, "chat", tokenizer, chatml, &options));
    ck_assert_int_eq(chdir(here), 0);
    tlm_chat_template_free(chatml);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chat data set");
    TCase *tcase = tcase_create("chat data set");

    tcase_add_checked_fixture(tcase, make_test_directory, remove_test_directory);
    tcase_add_loop_test(tcase, mean_is_over_the_targets_that_count, 0, 4);
    tcase_add_loop_test(tcase, windows_are_rows, 0, 3);
    tcase_add_test(tcase, steps_weigh_batches_by_their_targets);
    tcase_add_test(tcase, answers_and_completions_count);
    tcase_add_loop_test(tcase, bad_lines_are_named, 0, sizeof(bad_lines) / sizeof(bad_lines[0]));
    tcase_add_test(tcase, places_are_named_whatever_the_file_is_called);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
