/* What the library says of the bytes of weights, against the files themselves: in the file, in memory, and in
 * a file that is not written yet. */
#include "adapter_support.h"
#include "run_suite.h"

#include "formats/gguf.h"
#include "formats/safetensors.h"

enum { NUM_WEIGHTS = TLM_WEIGHTS_Q6_K + 1 };

/* Rows of some matrices are whole blocks of 256, of others of 32, and of others none. */
static tlm_model_t *make_model(int kind)
{
    tlm_model_options_t options = adapted_options(kind);
    tlm_model_t *model;

    options.d_model = 256;
    options.d_ff = kind % 2 == 0 ? 96 : 24;
    ASSERT_OK(tlm_model_create(&model, &options));
    return model;
}

static uint64_t bytes_in_gguf(const char *path)
{
    uint64_t bytes = 0;
    tlmi_gguf_t file;

    ASSERT_OK(tlmi_gguf_open(&file, path));
    for (size_t i = 0; i < file.num_tensors; i++) {
        const tlmi_gguf_tensor_t *tensor = &file.tensors[i];
        const tlmi_dtype_t *type = tlmi_dtype_of_gguf(tensor->type);
        uint64_t numel = 1;

        for (int32_t k = 0; k < tensor->ndim; k++)
            numel *= (uint64_t)tensor->shape[k];
        bytes += numel / (uint64_t)type->block * type->bytes;
    }
    tlmi_gguf_close(&file);
    return bytes;
}

static uint64_t bytes_in_safetensors(const char *path)
{
    uint64_t bytes = 0;
    tlmi_safetensors_t file;

    ASSERT_OK(tlmi_safetensors_open(&file, path));
    for (size_t i = 0; i < file.num_tensors; i++)
        bytes += file.tensors[i].bytes;
    tlmi_safetensors_close(&file);
    return bytes;
}

/* Opened whole, every number is a float; for inference, as many bytes as `kept`. */
static void check_opened(const char *path, uint64_t in_file, uint64_t kept, uint64_t elements)
{
    for (int keep = 0; keep < 2; keep++) {
        tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
        tlm_model_t *opened;

        ASSERT_OK((keep == 0 ? tlm_model_open : tlm_model_open_for_inference)(&opened, NULL, &file,
                                                                              path));
        ck_assert_uint_eq(file.weight_bytes, in_file);
        ck_assert_uint_eq(tlm_model_num_elements(opened), elements);
        ck_assert_uint_eq(tlm_model_num_bytes(opened), keep == 0 ? 4 * elements : kept);
        tlm_model_free(opened);
    }
}

START_TEST(gguf_files)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_t *model = make_model(_i), *again;
    const char *path = test_path("m.gguf");
    uint64_t told, told_again;

    options.family = adapted_family(_i);
    for (options.weights = 0; options.weights < NUM_WEIGHTS; options.weights++) {
        ASSERT_OK(tlm_model_gguf_bytes(&told, model, &options));
        ASSERT_OK(tlm_model_save_gguf(model, NULL, path, &options));
        ck_assert_uint_eq(bytes_in_gguf(path), told);
        check_opened(path, told, told, tlm_model_num_elements(model));
        /* Of a model that is kept as it is in the file, too. */
        ASSERT_OK(tlm_model_open_for_inference(&again, NULL, NULL, path));
        ASSERT_OK(tlm_model_gguf_bytes(&told_again, again, &options));
        ck_assert_uint_eq(told_again, told);
        tlm_model_free(again);
    }
    options.weights = NUM_WEIGHTS;
    told = 5;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model_gguf_bytes: weights 11 is not in 0 .. 10",
                 tlm_model_gguf_bytes(&told, model, &options));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model_gguf_bytes: bytes is NULL",
                 tlm_model_gguf_bytes(NULL, model, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model_gguf_bytes: model is NULL",
                 tlm_model_gguf_bytes(&told, NULL, NULL));
    ck_assert_uint_eq(told, 5);
    ck_assert_uint_eq(tlm_model_num_bytes(NULL), 0);
    tlm_model_free(model);
}
END_TEST

/* Vectors, and matrices that the format has transposed, become float32 whatever the file has. */
static uint64_t kept_bytes(const tlm_model_t *model, int kind, uint64_t size)
{
    tlm_tensor_t *const *tensors;
    uint64_t bytes = 0;
    const char *name;
    size_t n;

    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    for (size_t i = 0; i < n; i++) {
        ASSERT_OK(tlm_model_parameter_name(&name, model, i));
        const bool turned = kind == 3 && strncmp(name, "layers.", 7) == 0;

        bytes += (uint64_t)tlm_tensor_numel(tensors[i]) *
                 (tlm_tensor_ndim(tensors[i]) == 1 || turned ? 4 : size);
    }
    return bytes;
}

START_TEST(folders)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;
    static const uint64_t sizes[] = {4, 2, 2};
    tlm_model_t *model = make_model(_i);
    const uint64_t elements = tlm_model_num_elements(model);

    options.family = adapted_family(_i);
    for (options.weights = 0; options.weights < 3; options.weights++) {
        const uint64_t size = sizes[options.weights];

        ASSERT_OK(tlm_model_save_hf(model, NULL, test_path("folder"), &options));
        ck_assert_uint_eq(bytes_in_safetensors(test_path("folder/model.safetensors")),
                          size * elements);
        check_opened(test_path("folder"), size * elements, kept_bytes(model, _i, size), elements);
    }
    remove_folder(test_path("folder"));
    tlm_model_free(model);
}
END_TEST

/* A state of an optimizer is no weight; adapters count beside the model that they belong to. */
START_TEST(checkpoints)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;
    const char *path = test_path("m.safetensors");
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;
    tlm_optimizer_t *optimizer;
    tlm_model_t *model = make_model(_i), *opened;
    const uint64_t elements = tlm_model_num_elements(model);
    uint64_t told;

    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, 0, NULL));
    ASSERT_OK(tlm_checkpoint_save(model, NULL, 0, path));
    ck_assert_uint_eq(bytes_in_safetensors(path), 4 * elements);
    check_opened(path, 4 * elements, 4 * elements, elements);
    ASSERT_OK(tlm_checkpoint_save(model, optimizer, 0, path));
    check_opened(path, 4 * elements, 4 * elements, elements);
    tlm_optimizer_free(optimizer);
    options.family = adapted_family(_i);
    options.weights = TLM_WEIGHTS_Q8_0;
    ASSERT_OK(tlm_model_gguf_bytes(&told, model, &options));
    ASSERT_OK(tlm_model_save_gguf(model, NULL, test_path("base.gguf"), &options));
    ASSERT_OK(tlm_model_open_for_inference(&opened, NULL, NULL, test_path("base.gguf")));
    lora.rank = 2;
    ASSERT_OK(tlm_model_add_lora(opened, &lora));
    const uint64_t added = 4 * (tlm_model_num_elements(opened) - elements);
    ASSERT_FAILS(TLM_ERR_STATE, "model_gguf_bytes: the model has adapters",
                 tlm_model_gguf_bytes(&told, opened, NULL));
    ASSERT_OK(tlm_checkpoint_save(opened, NULL, 0, path));
    check_opened(path, told + added, told + added, tlm_model_num_elements(opened));
    tlm_model_free(opened);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("file sizes");
    TCase *tcase = tcase_create("file sizes");

    make_test_directory();
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, gguf_files, 0, ADAPTED_KINDS);
    tcase_add_loop_test(tcase, folders, 0, ADAPTED_KINDS);
    tcase_add_loop_test(tcase, checkpoints, 0, ADAPTED_KINDS);
    suite_add_tcase(suite, tcase);
    int status = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return status;
}
