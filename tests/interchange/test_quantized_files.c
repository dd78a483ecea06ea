/* Quantized GGUF files: which tensor has which type, weights that no block holds, and the tokenizer of
 * another file. */
#include "model_support.h"
#include "run_suite.h"

#include <math.h>

#include "formats/gguf.h"

static const tlm_model_options_t shape = {.size = sizeof(tlm_model_options_t),
                                          .vocab_size = 264,
                                          .context_length = 16,
                                          .d_model = 256,
                                          .num_layers = 9,
                                          .num_heads = 4,
                                          .d_ff = 32,
                                          .seed = 5,
                                          .num_kv_heads = 1};

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static tlm_model_t *make_model(const tlm_model_options_t *options)
{
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, options));
    return model;
}

static int32_t type_of(const tlm_model_t *model, const char *name)
{
    tlm_tensor_t *tensor;

    ASSERT_OK(tlm_model_parameter(&tensor, model, name));
    return tlm_tensor_dtype(tensor);
}

static tlm_model_t *save_and_open(const tlm_model_t *model, int32_t weights, const char *name)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT, read = options;
    tlm_model_t *opened;

    options.weights = weights;
    ASSERT_OK(tlm_model_save_gguf(model, NULL, test_path(name), &options));
    ASSERT_OK(tlm_model_open_for_inference(&opened, NULL, &read, test_path(name)));
    ck_assert_int_eq(read.weights, weights);
    return opened;
}

/* Of 9 blocks the first and the last two matter more, and each third between them. */
static bool is_important(int layer)
{
    return layer == 0 || layer == 3 || layer >= 6;
}

START_TEST(mixtures_are_those_of_llama_cpp)
{
    static const struct {
        int32_t weights, type, important, narrow; /* for rows of 32 elements */
    } cases[] = {{TLM_WEIGHTS_Q4_K_M, TLM_Q4_K, TLM_Q6_K, TLM_Q5_0},
                 {TLM_WEIGHTS_Q5_K_M, TLM_Q5_K, TLM_Q6_K, TLM_Q5_1},
                 {TLM_WEIGHTS_Q6_K, TLM_Q6_K, TLM_Q6_K, TLM_Q8_0},
                 {TLM_WEIGHTS_Q4_1, TLM_Q4_1, TLM_Q4_1, TLM_Q4_1},
                 {TLM_WEIGHTS_Q5_0, TLM_Q5_0, TLM_Q5_0, TLM_Q5_0},
                 {TLM_WEIGHTS_Q5_1, TLM_Q5_1, TLM_Q5_1, TLM_Q5_1}};
    const int32_t weights = cases[_i].weights, type = cases[_i].type;
    tlm_model_options_t options = shape;
    char name[64];

    for (int tied = 0; tied < 2; tied++) {
        options.tied_embeddings = tied == 1;
        tlm_model_t *model = make_model(&options);
        tlm_model_t *opened = save_and_open(model, weights, "q");
        ck_assert_int_eq(type_of(opened, "token_embeddings.weight"),
                         tied ? cases[_i].important : type);
        if (!tied)
            ck_assert_int_eq(type_of(opened, "lm_head.weight"), cases[_i].important);
        for (int layer = 0; layer < 9; layer++) {
            const int32_t chosen = is_important(layer) ? cases[_i].important : type;

            snprintf(name, sizeof(name), "layers.%d.attn.v_proj.weight", layer);
            ck_assert_int_eq(type_of(opened, name), chosen);
            snprintf(name, sizeof(name), "layers.%d.attn.q_proj.weight", layer);
            ck_assert_int_eq(type_of(opened, name), type);
            snprintf(name, sizeof(name), "layers.%d.ffn.w1.weight", layer);
            ck_assert_int_eq(type_of(opened, name), type);
            snprintf(name, sizeof(name), "layers.%d.ffn.w2.weight", layer);
            ck_assert_int_eq(type_of(opened, name),
                             chosen == TLM_Q6_K ? TLM_Q8_0 : cases[_i].narrow);
            snprintf(name, sizeof(name), "layers.%d.ln1.weight", layer);
            ck_assert_int_eq(type_of(opened, name), TLM_FLOAT32);
        }
        tlm_model_free(save_and_open(opened, weights, "again"));
        assert_same_files(test_path("q"), test_path("again")); /* the bits of the blocks stay */
        tlm_model_free(opened);
        tlm_model_free(model);
    }
}
END_TEST

/* Positions stay float32; queries, keys and values in one tensor share their type. */
START_TEST(families_have_their_own_tensors)
{
    tlm_model_options_t options = shape;
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_t *model, *opened;

    set_gpt2_blocks(&options);
    model = make_model(&options);
    opened = save_and_open(model, TLM_WEIGHTS_Q4_K_M, "gpt2");
    ck_assert_int_eq(type_of(opened, "position_embeddings.weight"), TLM_FLOAT32);
    ck_assert_int_eq(type_of(opened, "layers.1.attn.v_proj.weight"), TLM_Q4_K);
    ck_assert_int_eq(type_of(opened, "layers.3.ffn.w2.weight"), TLM_Q8_0);
    tlm_model_free(opened);
    tlm_model_free(model);
    options = shape;
    model = make_model(&options);
    file.family = TLM_FAMILY_PHI3;
    file.weights = TLM_WEIGHTS_Q5_K_M;
    ASSERT_OK(tlm_model_save_gguf(model, NULL, test_path("phi3"), &file));
    ASSERT_OK(tlm_model_open_for_inference(&opened, NULL, NULL, test_path("phi3")));
    ck_assert_int_eq(type_of(opened, "layers.0.attn.q_proj.weight"), TLM_Q6_K);
    ck_assert_int_eq(type_of(opened, "layers.2.attn.v_proj.weight"), TLM_Q5_K);
    ck_assert_int_eq(type_of(opened, "layers.0.attn.output_proj.weight"), TLM_Q5_K);
    tlm_model_free(opened);
    tlm_model_free(model);
}
END_TEST

START_TEST(threads_do_not_matter)
{
    tlm_model_t *model = make_model(&shape);

    for (int32_t threads = 1; threads <= 3; threads++) {
        ASSERT_OK(tlm_set_num_threads(threads));
        tlm_model_free(save_and_open(model, TLM_WEIGHTS_Q4_K_M, threads == 1 ? "one" : "more"));
        if (threads > 1)
            assert_same_files(test_path("one"), test_path("more"));
    }
    tlm_model_free(model);
}
END_TEST

/* From one quantized type to another: through the values. */
START_TEST(quantized_models_are_quantized_again)
{
    tlm_model_t *model = make_model(&shape), *opened, *wide;

    opened = save_and_open(model, TLM_WEIGHTS_Q4_K_M, "q");
    ASSERT_OK(tlm_model_open(&wide, NULL, NULL, test_path("q")));
    tlm_model_free(save_and_open(opened, TLM_WEIGHTS_Q8_0, "a"));
    tlm_model_free(save_and_open(wide, TLM_WEIGHTS_Q8_0, "b"));
    assert_same_files(test_path("a"), test_path("b"));
    tlm_model_free(wide);
    tlm_model_free(opened);
    tlm_model_free(model);
}
END_TEST

START_TEST(what_no_block_holds_is_refused)
{
    static const float values[] = {NAN, INFINITY, -INFINITY, 3e38f};
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_t *model = make_model(&shape);
    tlm_tensor_t *weight;

    ASSERT_OK(tlm_model_parameter(&weight, model, "layers.1.ffn.w3.weight"));
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        ((float *)tlm_tensor_data(weight))[123] = values[i];
        for (options.weights = TLM_WEIGHTS_Q8_0; options.weights <= TLM_WEIGHTS_Q6_K;
             options.weights++) {
            ASSERT_FAILS(TLM_ERR_RANGE,
                         i < 3 ? "'layers.1.ffn.w3.weight' has a weight that is NaN or infinite"
                               : "'layers.1.ffn.w3.weight' has a weight too large for q",
                         tlm_model_save_gguf(model, NULL, test_path("no"), &options));
            ck_assert(!exists(test_path("no")));
        }
    }
    options.weights = TLM_WEIGHTS_Q6_K + 1;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "weights 11 is not in 0 .. 10",
                 tlm_model_save_gguf(model, NULL, test_path("no"), &options));
    for (options.weights = TLM_WEIGHTS_Q8_0; options.weights <= TLM_WEIGHTS_Q6_K; options.weights++)
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "safetensors has no weights of type q",
                     tlm_model_save_hf(model, NULL, test_path("no"), &options));
    tlm_model_free(model);
}
END_TEST

/* ---- Types of tensors ---------------------------------------------------------------------- */

/* Where the number of the type of output.weight is, behind its length, name and two dimensions. */
static size_t type_place(const unsigned char *bytes, size_t size)
{
    static const char name[] = "\r\0\0\0\0\0\0\0output.weight";
    const unsigned char *found = memmem(bytes, size, name, sizeof(name) - 1);

    ck_assert_ptr_nonnull(found);
    return (size_t)(found - bytes) + sizeof(name) - 1 + 4 + 2 * 8;
}

/* Every number of a type, in the last tensor, with bytes that suffice for each: read, or refused by the tensor's
 * name, and the type's. */
START_TEST(every_type_is_read_or_refused)
{
    static const uint32_t read[] = {0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 15, 28, 30};
    tlm_model_options_t small = shape;
    tlm_model_t *model, *opened;
    size_t size;

    small.num_layers = 1;
    model = make_model(&small);
    ASSERT_OK(tlm_model_save_gguf(model, NULL, test_path("types"), NULL));
    unsigned char *bytes = read_bytes(test_path("types"), &size);
    const size_t place = type_place(bytes, size), spare = (size_t)264 * 256 * 8;
    bytes = realloc(bytes, size + spare);
    memset(bytes + size, 0, spare);
    for (uint32_t type = 0; type < 70; type++) {
        const uint32_t number = type < 64 ? type : UINT32_MAX << (type - 64);
        bool is_read = false;

        for (size_t i = 0; i < sizeof(read) / sizeof(read[0]); i++)
            is_read = is_read || read[i] == number;
        memcpy(bytes + place, &number, sizeof(number));
        write_bytes(test_path("types"), bytes, size + spare);
        for (int keep = 0; keep < 2; keep++) {
            tlm_status_t status = (keep == 0 ? tlm_model_open : tlm_model_open_for_inference)(
                &opened, NULL, NULL, test_path("types"));
            if (is_read) {
                ASSERT_OK(status);
                tlm_model_free(opened);
                continue;
            }
            ck_assert_int_eq(status, TLM_ERR_UNSUPPORTED);
            ck_assert_msg(strstr(tlm_error_message(), "'output.weight' is of type ") != NULL, "%s",
                          tlm_error_message());
        }
    }
    free(bytes);
    tlm_model_free(model);
}
END_TEST

/* ---- Keys of another file ------------------------------------------------------------------ */

static bool has_key(const tlmi_gguf_t *file, const char *key)
{
    return tlmi_gguf_find(file, key) != NULL;
}

/* A model that has changed gets the tokenizer and the description of the file that it came from. */
START_TEST(keys_are_copied)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT, read = options;
    tlm_tokenizer_t *tokenizer = make_small_tokenizer(NULL, "<|endoftext|>", "<|pad|>", NULL);
    tlm_model_options_t small = shape;
    tlm_tokenizer_t *opened_tokenizer;
    tlm_model_t *model, *opened;
    tlmi_gguf_t source, copy;

    small.num_layers = 1;
    model = make_model(&small);
    options.has_begin_token = true;
    options.begin_token = 65;
    ASSERT_OK(tlm_model_save_gguf(model, tokenizer, test_path("source"), &options));
    options = (tlm_model_file_options_t)TLM_MODEL_FILE_OPTIONS_INIT;
    options.keys_from = test_path("source");
    options.weights = TLM_WEIGHTS_Q8_0;
    ASSERT_OK(tlm_model_save_gguf(model, NULL, test_path("copy"), &options));
    ASSERT_OK(tlm_model_open(&opened, &opened_tokenizer, &read, test_path("copy")));
    ck_assert(read.has_begin_token && read.begin_token == 65 && read.end_token == 259);
    ck_assert_ptr_null(read.keys_from);
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(opened_tokenizer), 261);
    ASSERT_OK(tlmi_gguf_open(&source, test_path("source")));
    ASSERT_OK(tlmi_gguf_open(&copy, test_path("copy")));
    ck_assert_uint_eq(copy.num_values, source.num_values + 1);
    ck_assert(has_key(&copy, "general.quantization_version"));
    tlmi_gguf_close(&copy);
    tlmi_gguf_close(&source);
    /* Onto itself. */
    options.keys_from = test_path("copy");
    ASSERT_OK(tlm_model_save_gguf(model, NULL, test_path("copy"), &options));
    tlm_model_free(opened);
    tlm_tokenizer_free(opened_tokenizer);
    tlm_model_free(model);
    small.vocab_size = 265;
    model = make_model(&small);
    ASSERT_FAILS(TLM_ERR_RANGE, "264 tokens, but the model has vocab_size 265",
                 tlm_model_save_gguf(model, NULL, test_path("no"), &options));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "both a tokenizer and keys_from",
                 tlm_model_save_gguf(model, tokenizer, test_path("no"), &options));
    options.keys_from = test_path("nothing");
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nothing",
                 tlm_model_save_gguf(model, NULL, test_path("no"), &options));
    options.weights = TLM_WEIGHTS_FLOAT32;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "keys_from",
                 tlm_model_save_hf(model, NULL, test_path("no"), &options));
    ck_assert(!exists(test_path("no")));
    tlm_model_free(model);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quantized files");
    TCase *tcase = tcase_create("quantized files");

    make_test_directory();
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, mixtures_are_those_of_llama_cpp, 0, 6);
    tcase_add_test(tcase, families_have_their_own_tensors);
    tcase_add_test(tcase, threads_do_not_matter);
    tcase_add_test(tcase, quantized_models_are_quantized_again);
    tcase_add_test(tcase, what_no_block_holds_is_refused);
    tcase_add_test(tcase, every_type_is_read_or_refused);
    tcase_add_test(tcase, keys_are_copied);
    suite_add_tcase(suite, tcase);
    int status = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return status;
}
