/* Bytes of a model's weights. */
#include "support/model_storage.h"

#include <inttypes.h>

#include "support/cost_text.h"
#include "support/model_words.h"

/* The type of most elements of the matrices. */
static int32_t main_type(const tlm_model_t *model)
{
    enum { MOST_TYPES = 64 };
    int64_t elements[MOST_TYPES] = {0};
    int32_t best = TLM_FLOAT32;
    tlm_tensor_t *const *tensors;
    size_t n;

    cli_check(tlm_model_parameters(&tensors, &n, model));
    for (size_t i = 0; i < n; i++) {
        const int32_t type = tlm_tensor_dtype(tensors[i]);

        if (type >= 0 && type < MOST_TYPES && tlm_tensor_ndim(tensors[i]) == 2)
            elements[type] += tlm_tensor_numel(tensors[i]);
    }
    for (int32_t type = 0; type < MOST_TYPES; type++)
        if (elements[type] > elements[best])
            best = type;
    return best;
}

void storage_read(model_storage_t *out, tlm_model_options_t *shape, const char *path)
{
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_t *model;

    cli_check(tlm_model_open_for_inference(&model, NULL, &file, path));
    cli_check(tlm_model_get_options(shape, model));
    *out = (model_storage_t){.path = path,
                             .parameters = tlm_model_num_elements(model),
                             .file = file.weight_bytes,
                             .kept = tlm_model_num_bytes(model),
                             .type = main_type(model)};
    /* What is written are the weights with the adapters merged into them. */
    tlm_model_remove_lora(model);
    for (file.weights = 0; file.weights < STORAGE_CHOICES; file.weights++)
        if (tlm_model_gguf_bytes(&out->converted[file.weights], model, &file) != TLM_OK)
            out->converted[file.weights] = 0;
    tlm_model_free(model);
}

static void print_row(const char *name, uint64_t bytes, const char *remark)
{
    char exact[32], text[32];

    printf("  %-26s %20s %12s%s%s\n", name, cost_with_commas(exact, bytes), cost_bytes(text, bytes),
           remark[0] != '\0' ? "   " : "", remark);
}

void storage_print(const model_storage_t *storage)
{
    char text[32];

    printf("\nWeights of %s: %s parameters, bytes\n", storage->path,
           cost_with_commas(text, storage->parameters));
    print_row("in the file", storage->file, "");
    print_row("in memory, to generate", storage->kept, "types as in the file");
    print_row("in memory, to train them", storage->parameters * sizeof(float), "float32");
    if (storage->converted[TLM_WEIGHTS_FLOAT32] == 0)
        return;
    printf("The same in GGUF files of convert --weights, and in memory to generate with those\n");
    for (int32_t i = 0; i < STORAGE_CHOICES; i++)
        if (storage->converted[i] > 0)
            print_row(weight_words[i], storage->converted[i], "");
}

void storage_add(cli_result_t *result, const model_storage_t *storage)
{
    cli_result_t *weights = cli_result_add_object(result, "weight_bytes"), *converted;

    cli_result_add_count(weights, "file", storage->file);
    cli_result_add_count(weights, "to_generate", storage->kept);
    cli_result_add_count(weights, "to_train", storage->parameters * sizeof(float));
    converted = cli_result_add_object(weights, "converted");
    for (int32_t i = 0; i < STORAGE_CHOICES; i++)
        if (storage->converted[i] > 0)
            cli_result_add_count(converted, weight_words[i], storage->converted[i]);
}
