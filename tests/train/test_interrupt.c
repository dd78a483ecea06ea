/* Long calls that are interrupted: they end with TLM_ERR_CANCELLED, and when they are made again,
 * they give what they would have given. */
#include "io_support.h"
#include "run_suite.h"

#include <math.h>

#include "base/error.h"

enum { VOCAB = 13, CONTEXT = 6, IDS = 200, TEXT = 300000 };

static tlm_model_t *model;
static tlm_dataset_t *dataset;
static tlm_tokenizer_t *tokenizer;
static uint32_t ids[IDS];
static char text[TEXT];

typedef struct asker {
    int asked, ends_at; /* the question that is answered with no; 0: none */
} asker_t;

static int32_t answer(void *user)
{
    asker_t *asker = user;

    return ++asker->asked == asker->ends_at;
}

static void set_up(void)
{
    const tlm_model_options_t shape = {.size = sizeof(shape),
                                       .vocab_size = VOCAB,
                                       .context_length = CONTEXT,
                                       .d_model = 8,
                                       .num_layers = 2,
                                       .num_heads = 2,
                                       .d_ff = 12,
                                       .seed = 7};
    tlm_bytes_t tokens[256];
    uint8_t bytes[256];

    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = (i * i + i / 3) % VOCAB;
    for (size_t i = 0; i < TEXT; i++)
        text[i] = i % 7 == 6 ? ' ' : (char)('a' + i % 11);
    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
        tokens[i] = (tlm_bytes_t){&bytes[i], 1};
    }
    ASSERT_OK(tlm_model_create(&model, &shape));
    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, IDS));
    ASSERT_OK(tlm_tokenizer_create(&tokenizer, tokens, 256, NULL, 0, NULL));
    ASSERT_OK(tlm_checkpoint_save(model, NULL, 5, test_path("kept.safetensors")));
    write_bytes(test_path("ids.u32"), ids, sizeof(ids));
}

static void tear_down(void)
{
    tlm_tokenizer_free(tokenizer);
    tlm_dataset_free(dataset);
    tlm_model_free(model);
}

/* ---- The calls, each with a number that sums up its result ---- */

static tlm_status_t encode_text(double *result)
{
    uint32_t *encoded;
    size_t n;

    TLMI_TRY(tlm_tokenizer_encode(&encoded, &n, tokenizer, text, TEXT));
    *result = (double)n + encoded[n / 2];
    tlm_free(encoded);
    return TLM_OK;
}

static tlm_status_t encode_texts(double *result)
{
    const tlm_bytes_t texts[2] = {{(const uint8_t *)text, TEXT / 2}, {(const uint8_t *)text, TEXT}};
    uint32_t *encoded;
    size_t *offsets;

    TLMI_TRY(tlm_tokenizer_encode_batch(&encoded, &offsets, tokenizer, texts, 2, NULL));
    *result = (double)offsets[2];
    tlm_free(encoded);
    tlm_free(offsets);
    return TLM_OK;
}

static tlm_status_t evaluate(double *result)
{
    tlm_evaluation_t evaluation = TLM_EVALUATION_INIT;

    TLMI_TRY(tlm_model_evaluate(&evaluation, model, dataset, 2, 0, 0));
    *result = evaluation.loss;
    return TLM_OK;
}

static tlm_status_t score(double *result)
{
    return tlm_model_score(result, NULL, model, ids, IDS, 0);
}

static tlm_status_t generate(double *result)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    uint32_t *made;
    size_t n;

    options.max_tokens = 9;
    TLMI_TRY(tlm_model_generate(&made, &n, model, ids, 3, &options, NULL, NULL));
    *result = (double)n + made[n - 1];
    tlm_free(made);
    return TLM_OK;
}

static tlm_status_t forward(double *result)
{
    tlm_tensor_t *loss;

    TLMI_TRY(tlm_model_loss(&loss, model, ids, ids + 1, 2, 3));
    float value;
    (void)tlm_tensor_item(&value, loss);
    *result = value;
    tlm_tensor_free(loss);
    return TLM_OK;
}

/* The graph is made without a question. */
static tlm_status_t backward(double *result)
{
    const float values[2] = {1.5f, -2.0f};
    const int64_t shape[1] = {2};
    tlm_tensor_t *x, *y, *sum;

    TLMI_TRY(tlm_tensor_from_data(&x, TLM_FLOAT32, values, shape, 1));
    TLMI_TRY(tlm_tensor_set_requires_grad(x, true));
    TLMI_TRY(tlm_silu(&y, x));
    TLMI_TRY(tlm_sum(&sum, y));
    tlm_status_t status = tlm_tensor_backward(sum, NULL);
    if (status == TLM_OK)
        *result = ((const float *)tlm_tensor_data(tlm_tensor_grad(x)))[1];
    tlm_tensor_free(sum);
    tlm_tensor_free(y);
    tlm_tensor_free(x);
    return status;
}

/* A file appears once it is whole. */
static tlm_status_t save_model(double *result)
{
    const char *path = test_path("saved.safetensors");

    (void)remove(path);
    tlm_status_t status = tlm_checkpoint_save(model, NULL, 3, path);
    FILE *file = fopen(path, "rb");
    ck_assert((file != NULL) == (status == TLM_OK));
    if (file != NULL) {
        *result = 1.0;
        fclose(file);
    }
    return status;
}

static tlm_status_t load_model(double *result)
{
    uint64_t iteration;

    TLMI_TRY(tlm_checkpoint_load(&iteration, model, NULL, test_path("kept.safetensors")));
    *result = (double)iteration;
    return TLM_OK;
}

static tlm_status_t create_model(double *result)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *made;

    ASSERT_OK(tlm_model_get_options(&options, model));
    TLMI_TRY(tlm_model_create(&made, &options));
    *result = (double)tlm_model_num_elements(made);
    tlm_model_free(made);
    return TLM_OK;
}

static tlm_status_t open_dataset(double *result)
{
    tlm_dataset_t *opened;

    TLMI_TRY(tlm_dataset_open(&opened, test_path("ids.u32"), 0, VOCAB));
    *result = (double)tlm_dataset_length(opened);
    tlm_dataset_free(opened);
    return TLM_OK;
}

static const struct {
    const char *name;
    tlm_status_t (*call)(double *result);
} calls[] = {{"encode", encode_text},  {"encode_batch", encode_texts}, {"evaluate", evaluate},
             {"score", score},         {"generate", generate},         {"forward", forward},
             {"backward", backward},   {"save", save_model},           {"load", load_model},
             {"create", create_model}, {"open", open_dataset}};

START_TEST(calls_end_and_can_be_made_again)
{
    asker_t asker = {0, 1};
    double before, after, none = -1.0;

    set_up();
    ASSERT_OK(calls[_i].call(&before));
    for (int32_t threads = 1; threads <= 2; threads++) {
        ASSERT_OK(tlm_set_num_threads(threads));
        asker.asked = 0;
        tlm_set_interrupt(answer, &asker);
        ck_assert_msg(calls[_i].call(&none) == TLM_ERR_CANCELLED, "%s was not ended",
                      calls[_i].name);
        ck_assert_ptr_nonnull(strstr(tlm_error_message(), "interrupted"));
        ck_assert_int_eq(asker.asked, 1);
        ck_assert(none == -1.0);
        /* It goes on if the answer is yes. */
        ASSERT_OK(calls[_i].call(&after));
        ck_assert_int_ge(asker.asked, 2);
        ck_assert_msg(before == after, "%s: %.9g, then %.9g", calls[_i].name, before, after);
        tlm_set_interrupt(NULL, NULL);
        ASSERT_OK(calls[_i].call(&after));
        ck_assert(before == after);
    }
    ASSERT_OK(tlm_set_num_threads(0));
    tear_down();
}
END_TEST

/* ---- Training ---- */

typedef struct run {
    tlm_optimizer_t *optimizer;
    tlm_loader_t *loader;
    tlm_trainer_t *trainer;
} run_t;

static run_t start(void)
{
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    run_t run;

    loading.batch_size = 2;
    loading.context_length = CONTEXT;
    options.steps = 4;
    options.valid = dataset;
    options.eval_every = 2;
    ASSERT_OK(tlm_loader_create(&run.loader, dataset, &loading));
    ASSERT_OK(tlm_optimizer_create_adamw(&run.optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(run.optimizer, model, 0, NULL));
    ASSERT_OK(tlm_trainer_create(&run.trainer, model, run.optimizer, run.loader, &options));
    return run;
}

static void finish(run_t run)
{
    tlm_trainer_free(run.trainer);
    tlm_optimizer_free(run.optimizer);
    tlm_loader_free(run.loader);
}

/* Steps are not asked about; the evaluation after step 2 is, and the run goes on after it. */
START_TEST(a_run_ends_in_its_evaluation)
{
    asker_t asker = {0, 1};
    double whole, resumed;

    set_up();
    run_t run = start();
    ASSERT_OK(tlm_trainer_run(run.trainer, 0));
    ASSERT_OK(evaluate(&whole));
    finish(run);
    tear_down();

    set_up();
    run = start();
    tlm_set_interrupt(answer, &asker);
    ck_assert_int_eq(tlm_trainer_run(run.trainer, 0), TLM_ERR_CANCELLED);
    tlm_set_interrupt(NULL, NULL);
    ck_assert_uint_eq(tlm_trainer_steps(run.trainer), 2);
    ASSERT_OK(tlm_trainer_run(run.trainer, 0));
    ASSERT_OK(evaluate(&resumed));
    ck_assert(whole == resumed && isfinite(whole));
    finish(run);
    tear_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("interrupt");
    TCase *tests = tcase_create("interrupt");

    tcase_add_loop_test(tests, calls_end_and_can_be_made_again, 0,
                        (int)(sizeof(calls) / sizeof(calls[0])));
    tcase_add_test(tests, a_run_ends_in_its_evaluation);
    suite_add_tcase(suite, tests);
    make_test_directory();
    int result = run_suite(suite, CK_FORK);
    remove_test_directory();
    return result;
}
