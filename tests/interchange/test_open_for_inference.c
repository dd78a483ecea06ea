/* Models whose weights stay as they are in the file: they generate and score like the same model in
 * float32, take no more memory than the file, and refuse what needs float32. */
#include "model_support.h"
#include "run_suite.h"

#include <malloc.h>
#include <math.h>
#include <sys/wait.h>

#include "base/dtype.h"

static const tlm_model_options_t shape = {.size = sizeof(tlm_model_options_t),
                                          .vocab_size = 96,
                                          .context_length = 40,
                                          .d_model = 64,
                                          .num_layers = 2,
                                          .num_heads = 4,
                                          .d_ff = 96,
                                          .seed = 5,
                                          .num_kv_heads = 2};
enum { LENGTH = 30 };

static const struct {
    const char *name;
    int32_t weights, kept;
} types[] = {{"float32", TLM_WEIGHTS_FLOAT32, TLM_FLOAT32},
             {"float16", TLM_WEIGHTS_FLOAT16, TLM_FLOAT16},
             {"bfloat16", TLM_WEIGHTS_BFLOAT16, TLM_BFLOAT16},
             {"q8_0", TLM_WEIGHTS_Q8_0, TLM_Q8_0},
             {"q4_0", TLM_WEIGHTS_Q4_0, TLM_Q4_0},
             {"q4_1", TLM_WEIGHTS_Q4_1, TLM_Q4_1},
             {"q5_0", TLM_WEIGHTS_Q5_0, TLM_Q5_0},
             {"q5_1", TLM_WEIGHTS_Q5_1, TLM_Q5_1}};
enum { NUM_TYPES = sizeof(types) / sizeof(types[0]), NUM_HF = 3 };

/* Saves the model and returns the path: a GGUF file, or a folder, where RoPE reorders rows. */
static const char *save(const tlm_model_t *model, int type, bool folder)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;
    const char *path = test_path(folder ? "folder" : "m.gguf");

    options.weights = types[type].weights;
    if (folder)
        ASSERT_OK(tlm_model_save_hf(model, NULL, path, &options));
    else
        ASSERT_OK(tlm_model_save_gguf(model, NULL, path, &options));
    return path;
}

static void score(float *log_probs, tlm_model_t *model)
{
    uint32_t ids[LENGTH];

    for (uint32_t i = 0; i < LENGTH; i++)
        ids[i] = (i * i + 5) % 96;
    ASSERT_OK(tlm_model_score(NULL, log_probs, model, ids, LENGTH, 0));
}

/* Greedy tokens: the steps use the kernels for few rows. */
static void generate(uint32_t *out, tlm_model_t *model)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    const uint32_t prompt[] = {1, 7, 50};
    uint32_t *ids;
    size_t n;

    options.max_tokens = LENGTH;
    options.temperature = 0.0;
    ASSERT_OK(tlm_model_generate(&ids, &n, model, prompt, 3, &options, NULL, NULL));
    ck_assert_uint_eq(n, LENGTH);
    memcpy(out, ids, LENGTH * sizeof(*ids));
    tlm_free(ids);
}

/* Matrices are of the type, gains are float32. */
static void check_types(const tlm_model_t *model, int32_t kept)
{
    tlm_tensor_t *const *tensors;
    size_t n;

    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(tlm_tensor_dtype(tensors[i]),
                         tlm_tensor_ndim(tensors[i]) == 1 ? TLM_FLOAT32 : kept);
}

START_TEST(gives_what_float32_gives)
{
    const int type = _i % NUM_TYPES;
    const bool folder = _i >= NUM_TYPES;
    float kept[LENGTH], wide[LENGTH];
    uint32_t own[LENGTH], others[LENGTH];
    tlm_model_t *model, *opened, *widened;

    if (folder && type >= NUM_HF)
        return;
    ASSERT_OK(tlm_model_create(&model, &shape));
    const char *path = save(model, type, folder);
    ASSERT_OK(tlm_model_open_for_inference(&opened, NULL, NULL, path));
    ASSERT_OK(tlm_model_open(&widened, NULL, NULL, path));
    check_types(opened, types[type].kept);
    score(kept, opened);
    score(wide, widened);
    for (int i = 0; i < LENGTH - 1; i++)
        ck_assert_float_eq_tol(kept[i], wide[i], 1e-4f);
    for (int32_t threads = 1; threads <= 3; threads++) {
        ASSERT_OK(tlm_set_num_threads(threads));
        generate(own, opened);
        generate(others, widened);
        ck_assert_mem_eq(own, others, sizeof(own));
    }
    remove_folder(test_path("folder"));
    tlm_model_free(widened);
    tlm_model_free(opened);
    tlm_model_free(model);
}
END_TEST

/* Saved with the type that they have, weights keep their bits. */
START_TEST(saves_the_same_bytes)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_t *model, *opened;
    unsigned char *before, *after;
    size_t size, again;

    ASSERT_OK(tlm_model_create(&model, &shape));
    const char *path = save(model, _i, false);
    before = read_bytes(path, &size);
    ASSERT_OK(tlm_model_open_for_inference(&opened, NULL, &options, path));
    ck_assert_int_eq(options.weights, types[_i].weights);
    ASSERT_OK(tlm_model_save_gguf(opened, NULL, test_path("again"), &options));
    after = read_bytes(test_path("again"), &again);
    ck_assert_uint_eq(again, size);
    ck_assert_mem_eq(after, before, size);
    free(before);
    free(after);
    tlm_model_free(opened);
    tlm_model_free(model);
}
END_TEST

START_TEST(refuses_what_needs_float32)
{
    static const float values[96 * 64];
    static const int64_t sizes[] = {96, 64};
    const uint32_t ids[] = {1, 2, 3};
    const char *kept = types[_i].name;
    tlm_model_t *model, *opened;
    tlm_tensor_t *out, *tensor;
    char text[100];

    ASSERT_OK(tlm_model_create(&model, &shape));
    ASSERT_OK(tlm_model_open_for_inference(&opened, NULL, NULL, save(model, _i, false)));
    snprintf(text, sizeof(text), "'token_embeddings.weight' is kept as %s", kept);
    /* The forward pass takes weights of any type; training them does not. */
    ASSERT_OK(tlm_model_forward(&out, opened, ids, 1, 3));
    ck_assert(!tlm_tensor_requires_grad(out));
    tlm_tensor_free(out);
    ASSERT_OK(tlm_model_loss(&out, opened, ids, ids, 1, 3));
    tlm_tensor_free(out);
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "so it cannot be trained",
                 tlm_model_set_frozen(opened, "*", false));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, text, tlm_checkpoint_save(opened, NULL, 0, test_path("c")));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, kept,
                 tlm_model_set_parameter(opened, "token_embeddings.weight", values, sizes, 2));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, kept, tlm_model_check_finite(opened));
    ASSERT_OK(tlm_checkpoint_save(model, NULL, 0, test_path("c")));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, text,
                 tlm_checkpoint_load(NULL, opened, NULL, test_path("c")));
    ASSERT_OK(tlm_model_parameter(&tensor, opened, "token_embeddings.weight"));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, kept, tlm_tensor_set_requires_grad(tensor, true));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, kept, tlm_add(&out, tensor, tensor));
    if (types[_i].kept >= TLM_Q8_0) {
        struct DLManagedTensor *managed;
        float copy[96 * 64];

        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, kept, tlm_tensor_copy_out(copy, 96 * 64, tensor));
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, kept, tlm_tensor_copy_in(tensor, copy, 96 * 64));
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, kept, tlm_reshape(&out, tensor, sizes, 2));
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, kept, tlm_transpose(&out, tensor, 0, 1));
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, kept, tlm_slice(&out, tensor, 0, 0, 1));
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, kept, tlm_concat(&out, &tensor, 1, 0));
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, kept, tlm_tensor_to_dlpack(&managed, tensor));
    }
    tlm_model_free(opened);
    tlm_model_free(model);
}
END_TEST

/* ---- Memory ------------------------------------------------------------------------------- */

/* A line of /proc/self/status in bytes; 0 if there is none. */
static double status_bytes(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[200];
    double kilobytes = 0.0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kilobytes = atof(line + strlen(name));
    if (file != NULL)
        fclose(file);
    return kilobytes * 1024.0;
}

/* The most memory that opening takes beyond what the process has, as a multiple of `bytes`. */
static double peak_of_opening(const char *path, bool for_inference, double bytes)
{
    int result[2];
    double peak = 0.0;

    ck_assert_int_eq(pipe(result), 0);
    pid_t child = fork();
    if (child == 0) {
        tlm_model_t *model = NULL;
        FILE *clear = fopen("/proc/self/clear_refs", "w");

#ifdef M_PERTURB
        mallopt(M_PERTURB, 0); /* it would write to memory that is only reserved */
#endif
        if (clear == NULL || fputs("5", clear) < 0 || fclose(clear) != 0)
            _exit(77);
        const double before = status_bytes("VmHWM:");
        if ((for_inference ? tlm_model_open_for_inference : tlm_model_open)(&model, NULL, NULL,
                                                                            path) != TLM_OK)
            _exit(1);
        peak = (status_bytes("VmHWM:") - before) / bytes;
        _exit(write(result[1], &peak, sizeof(peak)) == (ssize_t)sizeof(peak) ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    close(result[1]);
    ck_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77));
    if (WEXITSTATUS(status) == 0)
        ck_assert_int_eq(read(result[0], &peak, sizeof(peak)), sizeof(peak));
    close(result[0]);
    return peak;
}

/* Float32 models are never held twice; a model for inference is not held at all before it is used,
 * except for its small tensors and, in folders, for queries and keys. */
START_TEST(opening_takes_little_memory)
{
    tlm_model_options_t large = shape;
    tlm_model_t *model;

    if (is_sanitized())
        return; /* its memory counts too */
    large.d_model = 1024;
    large.num_heads = 16;
    large.vocab_size = 8192;
    large.d_ff = 4096;
    ASSERT_OK(tlm_model_create(&model, &large));
    const double bytes = 4.0 * (double)tlm_model_num_elements(model);
    for (int folder = 0; folder < 2; folder++) {
        const char *path = save(model, 0, folder == 1);
        const double peak = peak_of_opening(path, false, bytes);
        const double kept = peak_of_opening(path, true, bytes);

        ck_assert_msg(peak <= 1.1, "%.2f times the weights", peak);
        ck_assert_msg(kept <= 0.2, "%.2f times the weights for inference", kept);
    }
    remove_folder(test_path("folder"));
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("open for inference");
    TCase *tcase = tcase_create("open for inference");

    make_test_directory();
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, gives_what_float32_gives, 0, NUM_TYPES + NUM_HF);
    tcase_add_loop_test(tcase, saves_the_same_bytes, 0, NUM_TYPES);
    tcase_add_loop_test(tcase, refuses_what_needs_float32, 1, NUM_TYPES);
    tcase_add_test(tcase, opening_takes_little_memory);
    suite_add_tcase(suite, tcase);
    int status = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return status;
}
