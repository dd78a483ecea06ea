/* Models in others' files: what is written is whole, and what cannot be is refused by name. That others
 * read the same of it is tested in tests/python/test_model_files.py. */
#include "model_support.h"
#include "run_suite.h"

#include <math.h>
#include <sys/stat.h>

#include "base/dtype.h"
#include "formats/safetensors.h"

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 262,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 2,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7,
                                         .num_kv_heads = 1};

static tlm_model_t *make_model(const tlm_model_options_t *options)
{
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, options));
    return model;
}

/* 261 ids. */
static tlm_tokenizer_t *make_tokenizer(void)
{
    return make_small_tokenizer(NULL, "<|pad|>", "<|endoftext|>", NULL);
}

static bool exists(const char *path)
{
    struct stat what;

    return stat(path, &what) == 0;
}

/* ---- Halves ----------------------------------------------------------------------------- */

/* The value of a half by its definition. */
static double half_value(unsigned half)
{
    unsigned exponent = half >> 10 & 31, mantissa = half & 1023;
    double value = exponent == 0    ? ldexp(mantissa, -24)
                   : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                    : ldexp(1024 + mantissa, (int)exponent - 25);

    return half & 0x8000 ? -value : value;
}

START_TEST(halves_are_widened_exactly)
{
    for (unsigned half = 0; half < 65536; half++) {
        float value = tlmi_half_to_float((uint16_t)half);
        double wanted = half_value(half);

        if (isnan(wanted)) {
            ck_assert(isnan(value));
            ck_assert(isnan(tlmi_half_to_float(tlmi_float_to_half(value))));
        } else {
            ck_assert(value == wanted && !signbit(value) == !signbit(wanted));
            ck_assert_uint_eq(tlmi_float_to_half(value), half);
        }
        value = tlmi_bfloat16_to_float((uint16_t)half);
        if (isnan(value))
            ck_assert(isnan(tlmi_bfloat16_to_float(tlmi_float_to_bfloat16(value))));
        else
            ck_assert_uint_eq(tlmi_float_to_bfloat16(value), half);
    }
}
END_TEST

/* Between two neighbors the nearer one, and in the middle the even one. */
START_TEST(floats_are_rounded_to_the_nearest_half)
{
    for (unsigned half = 0; half < 0x7BFF; half++) {
        double low = half_value(half), high = half_value(half + 1), middle = (low + high) / 2;
        unsigned even = half + (half & 1);

        ck_assert_uint_eq(tlmi_float_to_half((float)middle), even);
        ck_assert_uint_eq(tlmi_float_to_half(-(float)middle), even | 0x8000);
        ck_assert_uint_eq(tlmi_float_to_half(nextafterf((float)middle, 0.0f)), half);
        ck_assert_uint_eq(tlmi_float_to_half(nextafterf((float)middle, 1e6f)), half + 1);
    }
    ck_assert_uint_eq(tlmi_float_to_half(65519.99f), 0x7BFF);
    ck_assert_uint_eq(tlmi_float_to_half(65520.0f), 0x7C00);
    ck_assert_uint_eq(tlmi_float_to_half(-1e30f), 0xFC00);
    ck_assert_uint_eq(tlmi_float_to_bfloat16(1.00390625f), 0x3F80); /* a tie, to even */
    ck_assert_uint_eq(tlmi_float_to_bfloat16(1.01171875f), 0x3F82);
    ck_assert_uint_eq(tlmi_float_to_bfloat16(1.00390637f), 0x3F81);
}
END_TEST

/* ---- Folders ---------------------------------------------------------------------------- */

START_TEST(a_folder_has_its_files)
{
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    char directory[600], path[800];
    tlm_tokenizer_t *tokenizer = make_tokenizer();
    tlm_model_t *model = make_model(&tiny);
    tlmi_safetensors_t file;
    tlm_tensor_t *own;

    snprintf(directory, sizeof(directory), "%s", test_path("folder"));
    ASSERT_OK(tlm_model_save_hf(model, tokenizer, directory, NULL));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        ck_assert_msg(exists(path), "%s", path);
    }
    snprintf(path, sizeof(path), "%s/model.safetensors", directory);
    ASSERT_OK(tlmi_safetensors_open(&file, path));
    ASSERT_OK(tlmi_safetensors_verify(&file, path));
    ck_assert_uint_eq(file.num_tensors, tlm_model_num_parameters(model));
    ck_assert_str_eq(tlmi_safetensors_metadata(&file, "format"), "pt");
    ASSERT_OK(tlm_model_parameter(&own, model, "layers.1.attn.v_proj.weight"));
    ck_assert_mem_eq(tlmi_safetensors_find(&file, "model.layers.1.self_attn.v_proj.weight")->data,
                     tlm_tensor_data(own), 4 * 8 * sizeof(float));
    /* A head of four: the first of each pair, then the second. */
    ASSERT_OK(tlm_model_parameter(&own, model, "layers.1.attn.k_proj.weight"));
    for (size_t row = 0; row < 4; row++)
        ck_assert_mem_eq(
            (const char *)tlmi_safetensors_find(&file, "model.layers.1.self_attn.k_proj.weight")
                    ->data +
                row * 8 * sizeof(float),
            (const float *)tlm_tensor_data(own) + (2 * (row % 2) + row / 2) * 8, 8 * sizeof(float));
    tlmi_safetensors_close(&file);
    remove_folder(directory);
    tlm_model_free(model);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(what_llama_lacks_is_refused)
{
    tlm_model_options_t options = tiny;
    tlm_model_t *model;
    static const struct {
        const char *name;
        int32_t norm, position, ffn;
        bool embedding_norm, value_embeddings;
    } cases[] = {
        {"(norm)", TLM_NORM_POST, TLM_POSITION_ROPE, TLM_FFN_SWIGLU, false, false},
        {"(norm)", TLM_NORM_NONE, TLM_POSITION_ROPE, TLM_FFN_SWIGLU, false, false},
        {"(position)", TLM_NORM_PRE, TLM_POSITION_NONE, TLM_FFN_SWIGLU, false, false},
        {"(ffn)", TLM_NORM_PRE, TLM_POSITION_ROPE, TLM_FFN_SILU, false, false},
        {"(ffn)", TLM_NORM_PRE, TLM_POSITION_ROPE, TLM_FFN_RELU2, false, false},
        {"(embedding_norm)", TLM_NORM_PRE, TLM_POSITION_ROPE, TLM_FFN_SWIGLU, true, false},
        {"(value_embeddings)", TLM_NORM_PRE, TLM_POSITION_ROPE, TLM_FFN_SWIGLU, false, true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        options.norm = cases[i].norm;
        options.position = cases[i].position;
        options.ffn = cases[i].ffn;
        options.embedding_norm = cases[i].embedding_norm;
        options.value_embeddings = cases[i].value_embeddings;
        model = make_model(&options);
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, cases[i].name,
                     tlm_model_save_hf(model, NULL, test_path("no"), NULL));
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, cases[i].name,
                     tlm_model_save_gguf(model, NULL, test_path("no"), NULL));
        ck_assert(!exists(test_path("no")));
        tlm_model_free(model);
    }
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
    tlm_model_file_options_t options;
    tlm_tokenizer_t *tokenizer = make_tokenizer();
    tlm_model_options_t small = tiny;
    tlm_model_t *model = make_model(&tiny), *smaller;
    const char *path = test_path("no");

    small.vocab_size = 260;
    smaller = make_model(&small);
    options = (tlm_model_file_options_t)TLM_MODEL_FILE_OPTIONS_INIT;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "directory", tlm_model_save_hf(model, NULL, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model", tlm_model_save_hf(NULL, NULL, path, NULL));
    ASSERT_FAILS(TLM_ERR_RANGE, "261", tlm_model_save_hf(smaller, tokenizer, path, NULL));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "no/no",
                 tlm_model_save_hf(model, NULL, test_path("no/no"), NULL));
    options.weights = 11;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "weights 11",
                 tlm_model_save_hf(model, NULL, path, &options));
    options.weights = TLM_WEIGHTS_Q8_0;
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "q8_0", tlm_model_save_hf(model, NULL, path, &options));
    options.weights = 0;
    options.reserved[1] = 1;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "reserved",
                 tlm_model_save_hf(model, NULL, path, &options));
    options.reserved[1] = 0;
    options.has_begin_token = true;
    options.begin_token = 262;
    ASSERT_FAILS(TLM_ERR_RANGE, "begin_token 262", tlm_model_save_hf(model, NULL, path, &options));
    options.size = 5;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "size", tlm_model_save_hf(model, NULL, path, &options));
    ck_assert(!exists(path));
    tlm_model_free(smaller);
    tlm_model_free(model);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* A weight that the type cannot hold: nothing is left of a new folder, and an old one stays. */
START_TEST(large_weights_are_refused)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_t *model = make_model(&tiny);
    tlm_tensor_t *weight;
    int files = count_files();

    ASSERT_OK(tlm_model_parameter(&weight, model, "layers.0.ffn.w3.weight"));
    ((float *)tlm_tensor_data(weight))[50] = 70000.0f;
    options.weights = TLM_WEIGHTS_FLOAT16;
    ASSERT_FAILS(TLM_ERR_RANGE, "layers.0.ffn.w3.weight",
                 tlm_model_save_hf(model, NULL, test_path("no"), &options));
    ck_assert_int_eq(count_files(), files);
    options.weights = TLM_WEIGHTS_BFLOAT16;
    ASSERT_OK(tlm_model_save_hf(model, NULL, test_path("yes"), &options));
    options.weights = TLM_WEIGHTS_FLOAT16;
    ASSERT_FAILS(TLM_ERR_RANGE, "float16",
                 tlm_model_save_hf(model, NULL, test_path("yes"), &options));
    ck_assert(exists(test_path("yes/config.json")) && exists(test_path("yes/model.safetensors")));
    remove_folder(test_path("yes"));
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model files");
    TCase *tcase = tcase_create("model files");
    int failed;

    tcase_add_test(tcase, halves_are_widened_exactly);
    tcase_add_test(tcase, floats_are_rounded_to_the_nearest_half);
    tcase_add_test(tcase, a_folder_has_its_files);
    tcase_add_test(tcase, what_llama_lacks_is_refused);
    tcase_add_test(tcase, wrong_arguments_are_refused);
    tcase_add_test(tcase, large_weights_are_refused);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
