/* Models of other programs, small and random, with the logits that transformers gives for them: folders in
 * $TINYLM_TEST_DATA/../cases/models; skipped (77) where there are none. A model is opened and gives these
 * logits, or is refused. */
#include "run_suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "formats/file_kind.h"
#include "reference_model.h"

#define TOLERANCE 1e-4 /* of the largest logit */

static const char *case_path(const char *name)
{
    static char path[600];
    const char *data = getenv("TINYLM_TEST_DATA");

    snprintf(path, sizeof(path), "%s/../cases/%s", data != NULL ? data : TEST_DATA_DEFAULT, name);
    return path;
}

/* The message names the case's folder first. */
static tlm_status_t open_case(tlm_model_t **model, const char *name)
{
    char folder[100];

    snprintf(folder, sizeof(folder), "models/%s", name);
    return tlm_model_open(model, NULL, NULL, case_path(folder));
}

static void compare_row(const char *name, const float *logits, const tlmi_json_t *expected)
{
    const size_t n = tlmi_json_size(expected);
    double largest = 0.0, value = 0.0;

    for (size_t i = 0; i < n; i++) {
        ck_assert(tlmi_json_get_number(tlmi_json_item(expected, i), &value));
        largest = fmax(largest, fabs(value));
    }
    for (size_t i = 0; i < n; i++) {
        ck_assert(tlmi_json_get_number(tlmi_json_item(expected, i), &value));
        /* Written so that NaN fails. */
        if (!(fabs((double)logits[i] - value) <= TOLERANCE * largest))
            ck_abort_msg("%s: logit %zu is %g, not %g", name, i, (double)logits[i], value);
    }
}

static void compare(const char *name, tlm_model_t *model, const tlmi_json_t *expected)
{
    const tlmi_json_t *list = tlmi_json_member(expected, "ids");
    const size_t n = tlmi_json_size(list);
    const size_t vocab = tlmi_json_size(tlmi_json_member(expected, "last_logits"));
    uint32_t ids[64];
    tlm_tensor_t *logits;
    const float *rows;

    ck_assert_uint_le(n, 64);
    for (size_t i = 0; i < n; i++) {
        int64_t id = 0;

        ck_assert(tlmi_json_get_int(tlmi_json_item(list, i), &id));
        ids[i] = (uint32_t)id;
    }
    ASSERT_OK(tlm_model_forward(&logits, model, ids, 1, (int64_t)n));
    rows = tlm_tensor_data(logits);
    compare_row(name, rows, tlmi_json_member(expected, "first_logits"));
    compare_row(name, rows + (n - 1) * vocab, tlmi_json_member(expected, "last_logits"));
    tlm_tensor_free(logits);
}

START_TEST(models_give_their_logits_or_are_refused)
{
    static const char *const opened[] = {
        "attention_bias", "dynamic", "gemma", "headdim16", "linear", "llama3", "mistral",
        "new_llama3",     "olmo2",   "phi3",  "qwen2",     "qwen3",  "swish",  "yarn"};
    size_t size, found = 0;
    tlmi_json_t *all;
    const tlmi_json_t *expected;
    const char *name;
    void *cursor = NULL;

    ASSERT_OK(tlmi_json_read_file(&all, &size, case_path("models_expected.json")));
    while (tlmi_json_next(all, &cursor, &name, &expected)) {
        tlm_model_t *model;
        tlm_status_t status;

        if (tlmi_json_member(expected, "ids") == NULL)
            continue;
        status = open_case(&model, name);
        for (size_t i = 0; i < sizeof(opened) / sizeof(opened[0]); i++)
            if (strcmp(name, opened[i]) == 0) {
                ck_assert_msg(status == TLM_OK, "%s: %s", name, tlm_error_message());
                found++;
            }
        if (status == TLM_OK) {
            compare(name, model, expected);
            tlm_model_free(model);
        } else {
            ck_assert_msg(status == TLM_ERR_UNSUPPORTED, "%s: %s", name, tlm_error_message());
        }
    }
    ck_assert_uint_eq(found, sizeof(opened) / sizeof(opened[0]));
    tlmi_json_free(all);
}
END_TEST

START_TEST(what_cannot_be_read_is_named)
{
    tlm_model_t *model;

    ASSERT_FAILS(TLM_ERR_FORMAT, "no tensor 'lm_head.weight'", open_case(&model, "miss"));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "tensor 'lm_head.weight' is I8", open_case(&model, "i8"));
}
END_TEST

/* Quantized, and with "split.count" 0 in a whole file. */
START_TEST(gguf_files_open)
{
    static const char *const names[] = {"gguf/q8.gguf", "gguf/split0.gguf"};
    const uint32_t ids[] = {1, 2, 3, 4, 5};

    for (size_t i = 0; i < 2; i++) {
        tlm_model_t *wide, *kept;
        double total[2];

        ASSERT_OK(tlm_model_open(&wide, NULL, NULL, case_path(names[i])));
        ASSERT_OK(tlm_model_open_for_inference(&kept, NULL, NULL, case_path(names[i])));
        ASSERT_OK(tlm_model_score(&total[0], NULL, wide, ids, 5, 0));
        ASSERT_OK(tlm_model_score(&total[1], NULL, kept, ids, 5, 0));
        ck_assert_double_eq_tol(total[0], total[1], 1e-4);
        tlm_model_free(kept);
        tlm_model_free(wide);
    }
}
END_TEST

int main(void)
{
    if (access(case_path("models_expected.json"), R_OK) != 0) {
        printf("no %s\n", case_path("models_expected.json"));
        return 77;
    }

    Suite *suite = suite_create("model cases");
    TCase *tcase = tcase_create("model cases");

    tcase_add_test(tcase, models_give_their_logits_or_are_refused);
    tcase_add_test(tcase, what_cannot_be_read_is_named);
    tcase_add_test(tcase, gguf_files_open);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
