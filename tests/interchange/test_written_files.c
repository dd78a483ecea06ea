/* The bytes of every kind of file that the library writes are the same on each processor, operating system
 * and C library: their SHA-256 is recorded here. Numbers come from operations that all kernels round alike.
 *
 * After a change of a format that is meant, put in the hashes that the failing test prints. */
#include "base/sha256.h"
#include "io_support.h"
#include "run_suite.h"

static const tlm_model_options_t shape = {.size = sizeof(tlm_model_options_t),
                                          .vocab_size = 320,
                                          .context_length = 16,
                                          .d_model = 256,
                                          .num_layers = 1,
                                          .num_heads = 4,
                                          .d_ff = 256,
                                          .num_kv_heads = 2};

/* Element i of parameter p: multiples of 2^-12 between -1 and 1. */
static float element(size_t p, int64_t i)
{
    uint32_t bits = (uint32_t)(p * 977 + (uint64_t)i) * 2654435761u;

    return ((float)(bits >> 19) - 4096.0f) / 4096.0f;
}

static float *make_elements(size_t p, int64_t n)
{
    float *elements = malloc((size_t)n * sizeof(*elements));

    for (int64_t i = 0; i < n; i++)
        elements[i] = element(p, i);
    return elements;
}

static tlm_model_t *make_model(void)
{
    tlm_tensor_t *const *parameters;
    tlm_model_t *model;
    size_t n;

    ASSERT_OK(tlm_model_create(&model, &shape));
    ASSERT_OK(tlm_model_parameters(&parameters, &n, model));
    for (size_t p = 0; p < n; p++) {
        const int64_t size = tlm_tensor_numel(parameters[p]);
        float *elements = make_elements(p, size);

        ASSERT_OK(tlm_tensor_copy_in(parameters[p], elements, (size_t)size));
        free(elements);
    }
    return model;
}

/* One step: the gradient of each parameter is itself, for the loss is half the sum of its squares. */
static tlm_optimizer_t *make_optimizer(const tlm_model_t *model)
{
    tlm_tensor_t *const *parameters, *square, *loss;
    tlm_optimizer_t *optimizer;
    size_t n;

    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, 0, NULL));
    ASSERT_OK(tlm_model_parameters(&parameters, &n, model));
    for (size_t p = 0; p < n; p++) {
        ASSERT_OK(tlm_mul(&square, parameters[p], parameters[p]));
        ASSERT_OK(tlm_sum(&loss, square));
        ASSERT_OK(tlm_tensor_backward(loss, NULL));
        tlm_tensor_free(loss);
        tlm_tensor_free(square);
    }
    ASSERT_OK(tlm_optimizer_step(optimizer));
    return optimizer;
}

static const char text[] = "the cat sat on the mat, and the rat sat on the cat. "
                           "\xc3\x84pfel und \xc3\x96l, 12345 times 678. The end<|endoftext|>\n";

static tlm_tokenizer_t *make_tokenizer(void)
{
    static const tlm_bytes_t special = {(const uint8_t *)"<|endoftext|>", 13};
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;

    options.vocab_size = 280;
    options.special_tokens = &special;
    options.num_special_tokens = 1;
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text, sizeof(text) - 1));
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    return tokenizer;
}

static void save_tokens(const tlm_tokenizer_t *tokenizer, const char *name)
{
    char source[520];

    snprintf(source, sizeof(source), "%s", test_path("text"));
    write_bytes(source, text, sizeof(text) - 1);
    ASSERT_OK(tlm_tokenizer_encode_file(NULL, tokenizer, source, test_path(name), TLM_TOKENS_AUTO,
                                        NULL, NULL));
}

static void save_gguf(const tlm_model_t *model, const tlm_tokenizer_t *tokenizer, const char *name,
                      int32_t weights)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;

    options.weights = weights;
    ASSERT_OK(tlm_model_save_gguf(model, tokenizer, test_path(name), &options));
}

static void save_all(void)
{
    tlm_model_t *model = make_model();
    tlm_tokenizer_t *tokenizer = make_tokenizer();
    tlm_optimizer_t *optimizer;

    ASSERT_OK(tlm_tokenizer_save(tokenizer, test_path("vocab.json"), test_path("merges.txt")));
    ASSERT_OK(tlm_tokenizer_save_tiktoken(tokenizer, test_path("ranks.tiktoken")));
    save_tokens(tokenizer, "tokens.u16");
    save_tokens(tokenizer, "tokens.u32");
    save_tokens(tokenizer, "tokens.npy");
    save_gguf(model, tokenizer, "float32.gguf", TLM_WEIGHTS_FLOAT32);
    save_gguf(model, tokenizer, "q8_0.gguf", TLM_WEIGHTS_Q8_0);
    save_gguf(model, tokenizer, "q4_k_m.gguf", TLM_WEIGHTS_Q4_K_M);
    ASSERT_OK(tlm_model_save_hf(model, tokenizer, test_directory, NULL));
    optimizer = make_optimizer(model);
    ASSERT_OK(tlm_checkpoint_save(model, optimizer, 7, test_path("checkpoint.safetensors")));
    tlm_optimizer_free(optimizer);
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}

/* The hash without the library's version, which checkpoints name. */
static const char *hash_of(const char *name)
{
    static const char version[] = "\"library_version\":\"" TLM_VERSION_STRING;
    static char hex[2 * TLMI_SHA256_SIZE + 1];
    uint8_t digest[TLMI_SHA256_SIZE];
    tlmi_sha256_t hash;
    size_t size;
    unsigned char *bytes = read_bytes(test_path(name), &size);
    void *at = memmem(bytes, size, version, sizeof(version) - 1);

    if (at != NULL)
        memset(at, '-', sizeof(version) - 1);
    tlmi_sha256_init(&hash);
    tlmi_sha256_update(&hash, bytes, size);
    tlmi_sha256_final(digest, &hash);
    free(bytes);
    for (size_t i = 0; i < TLMI_SHA256_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return hex;
}

static const struct {
    const char *name, *hash;
} files[] = {
    {"vocab.json", "9ccadb68e2ea9f1904feb5d2f6fda30059ea50296546f353078c345ba97e807c"},
    {"merges.txt", "4151f4b13057cc27f980c4635ae80ffe4bfd74d172b02a823062dd2b5925181e"},
    {"ranks.tiktoken", "c83e05e8087d05a5289693518a854fa64987a05195d74db7626ceecc7e80daf6"},
    {"tokens.u16", "6d22222ca5970090c0fd40d8d848f0f57a73e27bbe1d4067c3aaf3ff7d748763"},
    {"tokens.u32", "e7ede3390529e605c281580b55c43fb69787d0085abe63e331d3b6abe6878cf2"},
    {"tokens.npy", "e4b6723f61bd109b8e9381017b13cacc3a89c429dcd44c7f5ccee6445e8a080d"},
    {"float32.gguf", "af47b514cb9f8c63ee9c93ccad957b131f0ff9fff2513dbbe152927e72279026"},
    {"q8_0.gguf", "88ef0cf289e3e514f16ff037aab71ff2b535c2b3266a48bc536d99fe55ede4fc"},
    {"q4_k_m.gguf", "f712423eac8d0a073f588e69d7fec847f6ad7dad1c1def7285c4554f9790668d"},
    {"model.safetensors", "134ddd4ed8a3dfe3e40c4d4c39a7ccff27f8e8d3fb5b9c94d9f47ffe3f950e32"},
    {"config.json", "fd51ed0d8d2174bfef0a6e5b381ec3bf970d440ac0e02688802d5e4ed8d1a9d4"},
    {"tokenizer.json", "4d008a2342d002bfae9879cade63e45a487e3ff740c0710d9e72d539a2c9d1a3"},
    {"checkpoint.safetensors", "ec8dae67750b364c1f9980e88f8e7056b63dcacfa7f0030d554d452e54394e7d"},
};

START_TEST(files_are_the_same_everywhere)
{
    int wrong = 0;

    make_test_directory();
    save_all();
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        const char *hash = hash_of(files[i].name);

        if (strcmp(hash, files[i].hash) != 0) {
            printf("    {\"%s\", \"%s\"},\n", files[i].name, hash);
            wrong++;
        }
    }
    fflush(stdout);
    remove_test_directory();
    ck_assert_int_eq(wrong, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("written files");
    TCase *tcase = tcase_create("files");

    tcase_add_test(tcase, files_are_the_same_everywhere);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
