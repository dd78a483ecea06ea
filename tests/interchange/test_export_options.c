/* Files of other programs hold a model whole or refuse it by name: each option of the description is
 * changed alone, in models of several families, and the model is saved as a folder of transformers and
 * as a GGUF file. What was saved computes the same logits; what is refused names the option. */
#include <math.h>

#include "io_support.h"
#include "model/architecture.h"
#include "run_suite.h"

enum { TIME = 12 };

/* "option=value" with spaces between; the last one is what is tried, and needs the others. */
static const char *const rows[] = {
    "vocab_size=29",
    "context_length=24",
    "d_model=24",
    "num_layers=2",
    "num_heads=2",
    "d_ff=20",
    "num_kv_heads=1",
    "head_dim=6",
    "rope_theta=500",
    "norm_eps=0.001",
    "norm=1",
    "norm=2",
    "norm=3",
    "norm=4",
    "position=1",
    "position=2",
    "ffn=1",
    "ffn=2",
    "ffn=3",
    "ffn=4",
    "qk_norm=1",
    "qk_norm=2",
    "tied_embeddings=1",
    "norm_kind=1",
    "attention_bias=1",
    "attention_bias=2",
    "ffn_bias=1",
    "scaled_embeddings=1",
    "embedding_norm=1",
    "value_embeddings=1",
    "sliding_window=3",
    "sliding_window=3 window_period=2",
    "sliding_window=3 window_period=2 window_rope_theta=300",
    "unrotated_period=2",
    "rope_factor=4 rope_scaling=1",
    "rope_factor=4 rope_scaling=2",
    "rope_factor=4 rope_original_context=8 rope_scaling=3",
    "rope_factor=4 rope_original_context=8 rope_scaling=4",
    "rope_scaling=1 rope_factor=3",
    "rope_scaling=3 rope_factor=4 rope_original_context=8",
    "rope_scaling=3 rope_factor=4 rope_original_context=8 rope_low_turns=0.5",
    "rope_scaling=4 rope_factor=4 rope_original_context=8 rope_high_turns=16",
    "rope_scaling=4 rope_factor=4 rope_original_context=8 rope_magnitude=1.5",
    "query_scalar=7",
    "attention_softcap=2",
    "logit_softcap=2",
    "output_init=1",
    "output_init=2",
    "base_width=8",
    "z_loss=0.1",
    "label_smoothing=0.1",
    "dropout=0.1",
    "attention_dropout=0.1",
    "embedding_dropout=0.1",
};

/* Llama, Qwen 3, Gemma 2, Gemma 3, Olmo 2, GPT-2; models of tinylm's own. */
static const char *const bases[] = {
    "",
    "qk_norm=1",
    "norm=4 scaled_embeddings=1 tied_embeddings=1 ffn=2 query_scalar=7 attention_softcap=2 "
    "logit_softcap=3 sliding_window=5 window_period=2",
    "norm=4 scaled_embeddings=1 tied_embeddings=1 ffn=2 query_scalar=7 qk_norm=1 sliding_window=5 "
    "window_period=2 window_rope_theta=900",
    "norm=3 qk_norm=2",
    "norm_kind=1 position=2 attention_bias=2 ffn_bias=1 ffn=3 tied_embeddings=1",
    "ffn=4 value_embeddings=1 embedding_norm=1",
};

enum { NUM_ROWS = sizeof(rows) / sizeof(rows[0]), NUM_BASES = sizeof(bases) / sizeof(bases[0]) };

/* Sets what a text says; returns the name of the last option. */
static const char *set_all(tlm_model_options_t *options, const char *text)
{
    static char name[48];
    double value;
    int size;

    while (sscanf(text, " %47[a-z_]=%lf%n", name, &value, &size) == 2) {
        tlmi_option_set(options, tlmi_option_find(name), value);
        text += size;
    }
    return name;
}

START_TEST(every_option_is_tried)
{
    tlm_model_options_t scratch = TLM_MODEL_OPTIONS_INIT;

    for (size_t i = 0; i < tlmi_num_options; i++) {
        bool is_tried = tlmi_options[i].type == TLMI_SEED;

        for (size_t k = 0; k < NUM_ROWS; k++)
            is_tried |= strcmp(set_all(&scratch, rows[k]), tlmi_options[i].name) == 0;
        ck_assert_msg(is_tried, "%s is not tried", tlmi_options[i].name);
    }
}
END_TEST

/* A model none of whose parameters has the values that it began with; false if there is no such. */
static bool make_model(tlm_model_t **out, const char *base, const char *row)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_tensor_t *const *parameters;
    uint32_t state = 1;
    size_t n;

    set_all(&options,
            "vocab_size=31 context_length=16 d_model=16 num_layers=3 num_heads=4 d_ff=24");
    set_all(&options, base);
    set_all(&options, row);
    if (tlm_model_create(out, &options) != TLM_OK)
        return false;
    ASSERT_OK(tlm_model_parameters(&parameters, &n, *out));
    for (size_t i = 0; i < n; i++)
        for (int64_t k = 0; k < tlm_tensor_numel(parameters[i]); k++) {
            state = state * 1664525 + 1013904223;
            ((float *)tlm_tensor_data(parameters[i]))[k] = (float)((int32_t)state * 0x1p-31);
        }
    return true;
}

static void compute(float *out, tlm_model_t *model, size_t n)
{
    uint32_t ids[TIME];
    tlm_tensor_t *logits;

    for (uint32_t i = 0; i < TIME; i++)
        ids[i] = i * 5 % 27;
    ASSERT_OK(tlm_model_forward(&logits, model, ids, 1, TIME));
    ck_assert_int_eq(tlm_tensor_numel(logits), (int64_t)n);
    memcpy(out, tlm_tensor_data(logits), n * sizeof(float));
    tlm_tensor_free(logits);
}

static void assert_same_logits(tlm_model_t *a, tlm_model_t *b, const char *what)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    float largest = 0.0f;

    ASSERT_OK(tlm_model_get_options(&options, a));
    const size_t n = (size_t)options.vocab_size * TIME;
    float *mine = malloc(n * sizeof(float)), *theirs = malloc(n * sizeof(float));
    compute(mine, a, n);
    compute(theirs, b, n);
    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(mine[i]));
    ck_assert(isfinite(largest) && largest > 0.0f);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fabsf(mine[i] - theirs[i]) <= 1e-5f * largest, "%s: logit %zu is %g, not %g",
                      what, i, (double)theirs[i], (double)mine[i]);
    free(mine);
    free(theirs);
}

/* The options that a file must hold. */
static void assert_same_options(const tlm_model_t *a, const tlm_model_t *b, bool gguf,
                                const char *what)
{
    tlm_model_options_t mine = TLM_MODEL_OPTIONS_INIT, theirs = TLM_MODEL_OPTIONS_INIT;

    ASSERT_OK(tlm_model_get_options(&mine, a));
    ASSERT_OK(tlm_model_get_options(&theirs, b));
    for (size_t i = 0; i < tlmi_num_options; i++) {
        const tlmi_model_option_t *option = &tlmi_options[i];
        const bool is_beginning = option->type == TLMI_SEED ||
                                  strcmp(option->name, "output_init") == 0 ||
                                  strcmp(option->name, "base_width") == 0;

        /* GGUF has no name for dynamic scaling, which changes nothing up to the model's context, and
         * of Llama 3's scaling it has the factors, which several options give. */
        if (gguf && strncmp(option->name, "rope_", 5) == 0 &&
            (mine.rope_scaling == TLM_ROPE_SCALING_DYNAMIC ||
             mine.rope_scaling == TLM_ROPE_SCALING_LLAMA3))
            continue;
        if (option->type == TLMI_NUMBER) /* GGUF has float32 */
            tlmi_option_set_number(&mine, option, (double)(float)tlmi_option_number(&mine, option));
        if (option->type == TLMI_NUMBER)
            tlmi_option_set_number(&theirs, option,
                                   (double)(float)tlmi_option_number(&theirs, option));
        if (!option->training && !is_beginning)
            ck_assert_msg(tlmi_option_equal(&mine, &theirs, option), "%s: %s has changed", what,
                          option->name);
    }
}

static bool is_named(const char *name)
{
    char pattern[64], words[64];

    snprintf(pattern, sizeof(pattern), "(%s)", name);
    snprintf(words, sizeof(words), " has no %s ", name);
    return strstr(tlm_error_message(), pattern) != NULL ||
           strstr(tlm_error_message(), words) != NULL;
}

/* The message has the option; in a family that is not Llama, or with options that it needs, one of
 * all. */
static void assert_named(const char *row, bool is_alone, const char *what)
{
    tlm_model_options_t scratch = TLM_MODEL_OPTIONS_INIT;
    bool found = false;

    for (size_t i = 0; i < tlmi_num_options; i++)
        found |= is_named(tlmi_options[i].name);
    ck_assert_msg(found, "%s: %s", what, tlm_error_message());
    if (is_alone)
        ck_assert_msg(is_named(set_all(&scratch, row)), "%s: %s", what, tlm_error_message());
}

START_TEST(an_option_is_held_or_refused_by_name)
{
    const char *base = bases[_i / NUM_ROWS], *row = rows[_i % NUM_ROWS];
    const bool is_alone = base[0] == '\0' && strchr(row, ' ') == NULL;
    tlm_model_t *model, *opened;
    char what[600];

    if (!make_model(&model, base, row)) {
        ck_assert_msg(base[0] != '\0', "%s: %s", row, tlm_error_message());
        return;
    }
    for (int gguf = 0; gguf < 2; gguf++) {
        const char *path = test_path(gguf ? "model.gguf" : "model");

        snprintf(what, sizeof(what), "%s with %s as %s", base, row, gguf ? "GGUF" : "a folder");
        tlm_status_t status = gguf ? tlm_model_save_gguf(model, NULL, path, NULL)
                                   : tlm_model_save_hf(model, NULL, path, NULL);
        if (status != TLM_OK) {
            ck_assert_msg(status == TLM_ERR_UNSUPPORTED, "%s: %s", what, tlm_error_message());
            assert_named(row, is_alone, what);
            continue;
        }
        ASSERT_OK(tlm_model_open(&opened, NULL, NULL, path));
        assert_same_logits(model, opened, what);
        assert_same_options(model, opened, gguf, what);
        tlm_model_free(opened);
        remove_folder(test_path("model"));
    }
    tlm_model_free(model);
}
END_TEST

/* What no file of other programs can hold, whatever the family. */
START_TEST(what_is_our_own_is_refused)
{
    static const char *const own[] = {
        "norm=1", "norm=2", "ffn=4", "embedding_norm=1", "value_embeddings=1", "logit_softcap=2"};
    tlm_model_options_t scratch = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;
    char name[64];

    snprintf(name, sizeof(name), "(%s)", set_all(&scratch, own[_i]));
    ck_assert(make_model(&model, "", own[_i]));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, name, tlm_model_save_gguf(model, NULL, test_path("a"), NULL));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, name, tlm_model_save_hf(model, NULL, test_path("b"), NULL));
    ck_assert_int_ne(access(test_path("a"), F_OK), 0);
    ck_assert_int_ne(access(test_path("b"), F_OK), 0);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("export_options");
    TCase *tests = tcase_create("export_options");

    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, every_option_is_tried);
    tcase_add_loop_test(tests, an_option_is_held_or_refused_by_name, 0, NUM_ROWS * NUM_BASES);
    tcase_add_loop_test(tests, what_is_our_own_is_refused, 0, 6);
    suite_add_tcase(suite, tests);
    make_test_directory();
    int status = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return status;
}
