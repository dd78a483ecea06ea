/* Any config.json, and behind a NUL byte any model.safetensors.index.json, beside the weights of a small
 * model: a refusal makes nothing; what opens runs, and comes back with the same weights after saving. */
#include <sys/stat.h>

#include "fuzz_support.h"

static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors",
                                    "model.safetensors.index.json", "a.safetensors"};
static char folder[256], saved[300];

static const char *path_of(const char *directory, const char *name)
{
    static char paths[2][400];
    static int next;
    char *path = paths[next++ % 2];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

static void remove_folders(void)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unlink(path_of(saved, names[i]));
        unlink(path_of(folder, names[i]));
    }
    rmdir(saved);
    rmdir(folder);
}

/* The model of the corpus: see tests/fuzz/README.md. */
static void make_folder(void)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    const char *parent = getenv("TMPDIR");
    tlm_model_t *model;

    snprintf(folder, sizeof(folder), "%s/tinylm-fuzz-XXXXXX", parent != NULL ? parent : "/tmp");
    FUZZ_CHECK(mkdtemp(folder) != NULL);
    snprintf(saved, sizeof(saved), "%s/saved", folder);
    atexit(remove_folders);
    options.vocab_size = 3;
    options.context_length = 4;
    options.d_model = 2;
    options.num_layers = 1;
    options.num_heads = 1;
    options.d_ff = 2;
    FUZZ_OK(tlm_model_create(&model, &options));
    FUZZ_OK(tlm_model_save_hf(model, NULL, folder, NULL));
    tlm_model_free(model);
}

static void write_file(const char *name, const uint8_t *data, size_t size)
{
    const char *path = path_of(folder, name);
    FILE *file;

    unlink(path); /* some file systems wait for the disk where a file is made empty */
    file = fopen(path, "wb");
    FUZZ_CHECK(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

/* Puts the weights at `to`, wherever they are now. */
static void move_weights(const char *to)
{
    static const char *at = "model.safetensors";

    FUZZ_CHECK(rename(path_of(folder, at), path_of(folder, to)) == 0);
    at = to;
}

static void check_saved(const tlm_model_t *model, const tlm_model_file_options_t *file)
{
    tlm_tensor_t *const *tensors, *const *others;
    tlm_model_t *again;
    size_t n, m;

    FUZZ_OK(tlm_model_save_hf(model, NULL, saved, file));
    FUZZ_OK(tlm_model_open(&again, NULL, NULL, saved));
    FUZZ_OK(tlm_model_parameters(&tensors, &n, model));
    FUZZ_OK(tlm_model_parameters(&others, &m, again));
    FUZZ_CHECK(n == m);
    for (size_t i = 0; i < n; i++) {
        size_t bytes = (size_t)tlm_tensor_numel(tensors[i]) * sizeof(float);

        FUZZ_CHECK(
            fuzz_same(tlm_tensor_data(tensors[i]), bytes, tlm_tensor_data(others[i]), bytes));
    }
    tlm_model_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
    size_t config = end == NULL ? size : (size_t)(end - data);
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_t *model = NULL;
    tlm_tensor_t *logits;
    static int saves;

    if (folder[0] == '\0')
        make_folder();
    write_file("config.json", data, config);
    if (end != NULL)
        write_file("model.safetensors.index.json", end + 1, size - config - 1);
    move_weights(end != NULL ? "a.safetensors" : "model.safetensors");
    if (tlm_model_open(&model, NULL, &file, folder) != TLM_OK) {
        FUZZ_CHECK(model == NULL && tlm_error_message()[0] != '\0');
        return 0;
    }
    FUZZ_OK(tlm_model_forward(&logits, model, &(uint32_t){0}, 1, 1));
    tlm_tensor_free(logits);
    if (saves++ % 256 == 0) /* each waits for the disk */
        check_saved(model, &file);
    tlm_model_free(model);
    return 0;
}
