/* Has the nth allocation fail, for every n, in everything that the library does: each failure must come
 * back as a status, with nothing leaked and nothing broken.
 *
 * Usage: test_oom SCENARIO. A scenario runs with n = 1, 2, ... until no allocation is left to fail; once
 * with only the nth failing and once with all from the nth on. */
#include "tinylm/tinylm.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tensor/buffer_cache.h"

#include "failing_allocator.h"

enum { SKIPPED = 77 };

#define TRY(call)                                                                                  \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != TLM_OK)                                                                      \
            goto done;                                                                             \
    } while (0)

/* For what is done before any allocation fails. */
#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != TLM_OK) {                                                                    \
            printf("%s: %s\n", #call, tlm_error_message());                                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static int faults;

static void fault(const char *what)
{
    printf("%s\n", what);
    faults++;
}

/* ---- Files -------------------------------------------------------------------------------------- */

static char directory[] = "/tmp/tinylm-oom-XXXXXX";

static const char *path_of(const char *name)
{
    static char paths[4][64];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

/* Files in the directory; those left aside by a writer are removed and reported. */
static void check_files(void)
{
    DIR *entries = opendir(directory);
    struct dirent *entry;
    char path[400];

    while ((entry = readdir(entries)) != NULL)
        if (strstr(entry->d_name, ".tmp-") != NULL) {
            fault("a temporary file was left");
            snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
            unlink(path);
        }
    closedir(entries);
}

static void remove_files(void)
{
    DIR *entries = opendir(directory);
    struct dirent *entry;
    char path[400];

    while ((entry = readdir(entries)) != NULL)
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
            unlink(path);
        }
    closedir(entries);
    rmdir(directory);
}

/* ---- The tokenizer ------------------------------------------------------------------------------ */

static const char text[] = "the cat sat on the mat, the dog sat on the log <|end|> 1234 caf\xC3\xA9"
                           " thethethethethethethe\xFF\xFE the end";
#define TEXT_SIZE (sizeof(text) - 1)

static const tlm_bytes_t special = {(const uint8_t *)"<|end|>", 7};
static tlm_tokenizer_t *tokenizer;

static tlm_status_t train(tlm_tokenizer_t **out, const char *pattern)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer = NULL;
    tlm_status_t status;

    options.vocab_size = 272;
    options.special_tokens = &special;
    options.num_special_tokens = 1;
    options.pattern = pattern;
    TRY(tlm_bpe_trainer_create(&trainer, &options));
    TRY(tlm_bpe_trainer_add_text(trainer, text, TEXT_SIZE));
    for (size_t i = 0; i < TEXT_SIZE; i += 20)
        TRY(tlm_bpe_trainer_push(trainer, text + i, TEXT_SIZE - i < 20 ? TEXT_SIZE - i : 20));
    TRY(tlm_bpe_trainer_end_text(trainer));
    TRY(tlm_bpe_trainer_add_file(trainer, path_of("text")));
    TRY(tlm_bpe_trainer_train(out, trainer));
done:
    tlm_bpe_trainer_free(trainer);
    return status;
}

static void write_text(void)
{
    FILE *file = fopen(path_of("text"), "wb");

    if (file == NULL || fwrite(text, 1, TEXT_SIZE, file) != TEXT_SIZE || fclose(file) != 0)
        exit(1);
}

static void make_tokenizer(void)
{
    write_text();
    MUST(train(&tokenizer, NULL));
    MUST(tlm_tokenizer_save(tokenizer, path_of("vocab.json"), path_of("merges.txt")));
}

static void free_tokenizer(void)
{
    tlm_tokenizer_free(tokenizer);
}

static tlm_status_t train_once(void)
{
    tlm_tokenizer_t *trained = NULL;
    tlm_status_t status = train(&trained, NULL);

    tlm_tokenizer_free(trained);
    return status;
}

static tlm_status_t train_by_pattern(void)
{
    tlm_tokenizer_t *trained = NULL;
    tlm_status_t status = train(&trained, "\\w+|\\s+|[^\\w\\s]+");

    tlm_tokenizer_free(trained);
    return status;
}

static void warm_up_pattern(void)
{
    write_text();
    MUST(train_by_pattern());
}

static tlm_status_t save_and_load(void)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *loaded = NULL;
    tlm_status_t status;

    options.special_tokens = &special;
    options.num_special_tokens = 1;
    TRY(tlm_tokenizer_save(tokenizer, path_of("saved.json"), path_of("saved.txt")));
    TRY(tlm_tokenizer_load(&loaded, path_of("vocab.json"), path_of("merges.txt"), &options));
done:
    tlm_tokenizer_free(loaded);
    return status;
}

static tlm_status_t create_from_memory(void)
{
    static tlm_bytes_t vocab[512], merges[512];
    uint32_t vocab_size = tlm_tokenizer_vocab_size(tokenizer), left, right;
    uint32_t num_merges = tlm_tokenizer_num_merges(tokenizer);
    tlm_tokenizer_t *made = NULL;
    tlm_status_t status;

    for (uint32_t i = 0; i < vocab_size; i++)
        TRY(tlm_tokenizer_token(&vocab[i], tokenizer, i));
    for (uint32_t i = 0; i < num_merges; i++) {
        TRY(tlm_tokenizer_merge(&left, &right, tokenizer, i));
        merges[2 * i] = vocab[left];
        merges[2 * i + 1] = vocab[right];
    }
    TRY(tlm_tokenizer_create(&made, vocab, vocab_size, merges, num_merges, NULL));
done:
    tlm_tokenizer_free(made);
    return status;
}

static tlm_status_t encode_and_decode(void)
{
    uint32_t *ids = NULL;
    uint8_t *bytes = NULL;
    char *decoded = NULL, *clean = NULL;
    size_t n, size;
    tlm_status_t status;

    TRY(tlm_tokenizer_encode(&ids, &n, tokenizer, text, TEXT_SIZE));
    TRY(tlm_tokenizer_decode(&bytes, &size, tokenizer, ids, n));
    if (size != TEXT_SIZE || memcmp(bytes, text, size) != 0)
        fault("the text did not come back");
    TRY(tlm_tokenizer_decode_text(&decoded, &size, tokenizer, ids, n));
    TRY(tlm_utf8_sanitize(&clean, &size, text, TEXT_SIZE));
done:
    tlm_free(ids);
    tlm_free(bytes);
    tlm_free(decoded);
    tlm_free(clean);
    return status;
}

typedef struct id_list {
    uint32_t ids[TEXT_SIZE];
    size_t n;
} id_list_t;

static int32_t collect(void *user, const uint32_t *ids, size_t n)
{
    id_list_t *list = user;

    for (size_t i = 0; i < n && list->n < TEXT_SIZE; i++)
        list->ids[list->n++] = ids[i];
    return 0;
}

static tlm_status_t stream(void)
{
    static id_list_t list;
    tlm_encoder_t *encoder = NULL;
    tlm_decoder_t *decoder = NULL;
    const char *piece;
    size_t size;
    tlm_status_t status;

    list.n = 0;
    TRY(tlm_encoder_create(&encoder, tokenizer, collect, &list));
    for (size_t i = 0; i < TEXT_SIZE; i += 7)
        TRY(tlm_encoder_push(encoder, text + i, TEXT_SIZE - i < 7 ? TEXT_SIZE - i : 7));
    TRY(tlm_encoder_finish(encoder));
    TRY(tlm_decoder_create(&decoder, tokenizer));
    for (size_t i = 0; i < list.n; i++)
        TRY(tlm_decoder_push(&piece, &size, decoder, list.ids[i]));
    TRY(tlm_decoder_finish(&piece, &size, decoder));
done:
    tlm_encoder_free(encoder);
    tlm_decoder_free(decoder);
    return status;
}

/* ---- Tensors ------------------------------------------------------------------------------------ */

/* Frees the tensors that were made. */
static void free_tensors(tlm_tensor_t **tensors, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tlm_tensor_free(tensors[i]);
}

static tlm_status_t graph_of_general_ops(void)
{
    static const float values[12] = {1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6};
    static const int64_t shape[] = {3, 4}, row[] = {4}, flat[] = {-1};
    tlm_tensor_t *t[14] = {NULL};
    tlm_status_t status;

    TRY(tlm_tensor_from_data(&t[0], TLM_FLOAT32, values, shape, 2));
    TRY(tlm_tensor_from_data(&t[1], TLM_FLOAT32, values, row, 1));
    TRY(tlm_tensor_set_requires_grad(t[0], true));
    TRY(tlm_tensor_set_requires_grad(t[1], true));
    TRY(tlm_add(&t[2], t[0], t[1]));
    TRY(tlm_mul(&t[3], t[2], t[0]));
    TRY(tlm_transpose(&t[4], t[3], 0, 1));
    TRY(tlm_matmul(&t[5], t[3], t[4]));
    TRY(tlm_scale(&t[6], t[5], 0.5f));
    TRY(tlm_slice(&t[7], t[6], 1, 0, 2));
    TRY(tlm_contiguous(&t[8], t[7]));
    TRY(tlm_reshape(&t[9], t[8], flat, 1));
    TRY(tlm_sum_dim(&t[10], t[6], 0, false));
    TRY(tlm_mean_dim(&t[11], t[10], -1, true));
    TRY(tlm_mul(&t[12], t[9], t[11]));
    TRY(tlm_mean(&t[13], t[12]));
    TRY(tlm_tensor_backward(t[13], NULL));
done:
    free_tensors(t, sizeof(t) / sizeof(t[0]));
    return status;
}

static tlm_status_t graph_of_layers(void)
{
    static const int64_t shape[] = {2, 3, 8}, weights[] = {8, 8}, gains[] = {8}, vocab[] = {5, 8};
    static const int64_t id_shape[] = {2, 3};
    static const uint32_t ids[] = {0, 4, 2, 3, 3, 1};
    tlm_tensor_t *t[16] = {NULL};
    tlm_status_t status;

    TRY(tlm_tensor_create(&t[0], TLM_FLOAT32, shape, 3));
    TRY(tlm_tensor_create(&t[1], TLM_FLOAT32, weights, 2));
    TRY(tlm_tensor_create(&t[2], TLM_FLOAT32, gains, 1));
    TRY(tlm_tensor_create(&t[3], TLM_FLOAT32, vocab, 2));
    TRY(tlm_tensor_from_data(&t[4], TLM_UINT32, ids, id_shape, 2));
    for (uint64_t i = 0; i < 4; i++) {
        TRY(tlm_init_truncated_normal(t[i], 1.0, 3.0, 1, i));
        TRY(tlm_tensor_set_requires_grad(t[i], true));
    }
    TRY(tlm_embedding(&t[5], t[3], t[4]));
    TRY(tlm_add(&t[6], t[5], t[0]));
    TRY(tlm_rms_norm(&t[7], t[6], t[2], 1e-5f));
    TRY(tlm_multi_head_attention(&t[8], t[7], t[1], t[1], t[1], t[1], 2, 10000.0, NULL));
    TRY(tlm_swiglu(&t[9], t[8], t[1], t[1], t[1]));
    TRY(tlm_silu(&t[10], t[9]));
    TRY(tlm_rope(&t[11], t[10], NULL, 100.0));
    TRY(tlm_softmax(&t[12], t[11], -1));
    TRY(tlm_attention(&t[13], t[12], t[11], t[9], NULL, true));
    TRY(tlm_linear(&t[14], t[13], t[3]));
    TRY(tlm_cross_entropy(&t[15], t[14], t[4]));
    TRY(tlm_tensor_backward(t[15], NULL));
done:
    free_tensors(t, sizeof(t) / sizeof(t[0]));
    return status;
}

/* ---- The model ---------------------------------------------------------------------------------- */

enum { VOCAB = 23, TIME = 6, BATCH = 2 };

static const tlm_model_options_t tiny = {
    sizeof(tlm_model_options_t), VOCAB, TIME, 8, 2, 2, 16, 0.0, 5,
};
static const uint32_t inputs[BATCH * TIME] = {1, 5, 9, 2, 22, 0, 3, 4, 8, 8, 17, 11};
static const uint32_t targets[BATCH * TIME] = {5, 9, 2, 22, 0, 7, 4, 8, 8, 17, 11, 20};

static tlm_model_t *model;
static tlm_optimizer_t *optimizer;
static float *before; /* the model's parameters, one after another */

static tlm_status_t make_training(tlm_model_t **made, tlm_optimizer_t **stepper)
{
    tlm_tensor_t *const *tensors;
    tlm_status_t status;
    size_t n;

    TRY(tlm_model_create(made, &tiny));
    TRY(tlm_optimizer_create_adamw(stepper, NULL));
    TRY(tlm_model_parameters(&tensors, &n, *made));
    TRY(tlm_optimizer_add_group(*stepper, tensors, n, NULL));
done:
    return status;
}

static tlm_status_t step_once(tlm_model_t *trained, tlm_optimizer_t *stepper)
{
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss = NULL;
    tlm_status_t status;
    double norm;
    size_t n;

    tlm_optimizer_zero_grad(stepper);
    TRY(tlm_model_parameters(&tensors, &n, trained));
    TRY(tlm_model_loss(&loss, trained, inputs, targets, BATCH, TIME));
    TRY(tlm_tensor_backward(loss, NULL));
    TRY(tlm_clip_grad_norm(&norm, tensors, n, 1.0));
    TRY(tlm_optimizer_step(stepper));
done:
    tlm_tensor_free(loss);
    return status;
}

/* Copies all parameters out. */
static void copy_parameters(float *values)
{
    tlm_tensor_t *const *tensors;
    size_t n;

    MUST(tlm_model_parameters(&tensors, &n, model));
    for (size_t i = 0; i < n; i++) {
        size_t count = (size_t)tlm_tensor_numel(tensors[i]);
        MUST(tlm_tensor_copy_out(tensors[i], values, count));
        values += count;
    }
}

static void make_model(void)
{
    MUST(make_training(&model, &optimizer));
    MUST(step_once(model, optimizer));
    MUST(tlm_checkpoint_save(path_of("checkpoint"), model, optimizer, 1));
    MUST(step_once(model, optimizer));
    before = malloc(tlm_model_num_elements(model) * sizeof(*before));
    if (before == NULL)
        exit(1);
    copy_parameters(before);
    tlm_optimizer_zero_grad(optimizer);
    MUST(tlm_checkpoint_save(path_of("now"), model, optimizer, 2));
}

static void free_model(void)
{
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    free(before);
}

static tlm_status_t training(void)
{
    tlm_model_t *trained = NULL;
    tlm_optimizer_t *stepper = NULL;
    tlm_status_t status;

    TRY(make_training(&trained, &stepper));
    TRY(step_once(trained, stepper));
    TRY(step_once(trained, stepper));
done:
    tlm_optimizer_free(stepper);
    tlm_model_free(trained);
    return status;
}

static tlm_status_t forward(void)
{
    tlm_tensor_t *logits = NULL;
    tlm_status_t status = tlm_model_forward(&logits, model, inputs, BATCH, TIME);

    tlm_tensor_free(logits);
    return status;
}

static tlm_status_t generation(void)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    uint32_t *ids = NULL;
    tlm_status_t status;
    size_t n;

    options.max_tokens = 2 * TIME;
    options.temperature = 1.0;
    options.top_p = 0.9;
    options.top_k = 10;
    TRY(tlm_model_generate(&ids, &n, model, inputs, 4, &options, NULL, NULL));
    if (n != 2 * TIME)
        fault("generation ended early");
done:
    tlm_free(ids);
    return status;
}

static tlm_status_t saving(void)
{
    return tlm_checkpoint_save(path_of("saved"), model, optimizer, 7);
}

/* A failure leaves model and optimiser as they were. */
static tlm_status_t loading(void)
{
    static float after[1 << 14];
    tlm_status_t status = tlm_checkpoint_load(NULL, path_of("checkpoint"), model, optimizer);

    stop_failing();
    if (status == TLM_OK) {
        MUST(tlm_checkpoint_load(NULL, path_of("now"), model, optimizer));
        return status;
    }
    copy_parameters(after);
    if (memcmp(before, after, tlm_model_num_elements(model) * sizeof(*before)) != 0 ||
        tlm_optimizer_steps(optimizer) != 2)
        fault("a load that failed changed the model or the optimiser");
    return status;
}

static tlm_status_t model_loading(void)
{
    tlm_model_t *loaded = NULL;
    tlm_status_t status = tlm_model_load(&loaded, path_of("checkpoint"));

    tlm_model_free(loaded);
    return status;
}

/* ---- Token files -------------------------------------------------------------------------------- */

static tlm_status_t token_files(void)
{
    static uint32_t x[BATCH * TIME], y[BATCH * TIME];
    tlm_token_writer_t *writer = NULL;
    tlm_dataset_t *dataset = NULL, *copy = NULL;
    tlm_status_t status;

    TRY(tlm_token_writer_create(&writer, path_of("tokens.npy"), TLM_TOKENS_UINT16));
    TRY(tlm_token_writer_push(writer, inputs, BATCH * TIME));
    TRY(tlm_token_writer_finish(writer));
    TRY(tlm_dataset_open(&dataset, path_of("tokens.npy"), TLM_TOKENS_AUTO, VOCAB));
    TRY(tlm_dataset_sample(x, y, dataset, BATCH, TIME, 1, 2));
    TRY(tlm_dataset_from_ids(&copy, inputs, BATCH * TIME));
    TRY(tlm_dataset_read(x, TIME, copy, 2));
done:
    tlm_token_writer_free(writer);
    tlm_dataset_free(dataset);
    tlm_dataset_free(copy);
    return status;
}

/* ---- Running ------------------------------------------------------------------------------------ */

typedef struct scenario {
    const char *name;
    void (*prepare)(void);
    tlm_status_t (*run)(void);
    void (*clean_up)(void);
    bool starts_library; /* what a third-party library allocates once and keeps is no leak */
} scenario_t;

static const scenario_t scenarios[] = {
    {"train", write_text, train_once, NULL, false},
    {"first_pattern", write_text, train_by_pattern, NULL, true},
    {"pattern", warm_up_pattern, train_by_pattern, NULL, false},
    {"tokenizer_files", make_tokenizer, save_and_load, free_tokenizer, false},
    {"tokenizer_create", make_tokenizer, create_from_memory, free_tokenizer, false},
    {"encode", make_tokenizer, encode_and_decode, free_tokenizer, false},
    {"stream", make_tokenizer, stream, free_tokenizer, false},
    {"tensor_ops", NULL, graph_of_general_ops, NULL, false},
    {"layers", NULL, graph_of_layers, NULL, false},
    {"training", NULL, training, NULL, false},
    {"forward", make_model, forward, free_model, false},
    {"generation", make_model, generation, free_model, false},
    {"checkpoint_save", make_model, saving, free_model, false},
    {"checkpoint_load", make_model, loading, free_model, false},
    {"model_load", make_model, model_loading, free_model, false},
    {"token_files", NULL, token_files, NULL, false},
};

/* Blocks in use, those apart that the tensors keep for reuse. */
static long blocks_in_use(void)
{
    tlmi_buffer_cache_clear();
    return live_blocks();
}

/* Runs a scenario with the nth allocation failing; false when none was left to fail. */
static bool run_failing(const scenario_t *scenario, long nth, bool for_good)
{
    long live = blocks_in_use();
    int faults_before = faults;

    fail_allocation(nth, for_good);
    tlm_status_t status = scenario->run();
    bool failed = stop_failing();

    /* Where memory was only a convenience, the call may well succeed. */
    if (status != TLM_OK && status != TLM_ERR_OUT_OF_MEMORY)
        fault("the status is neither TLM_OK nor TLM_ERR_OUT_OF_MEMORY");
    if (status != TLM_OK && !failed)
        fault("a failure although no allocation failed");
    if (!scenario->starts_library && blocks_in_use() != live) {
        printf("%ld blocks before, %ld after\n", live, live_blocks());
        fault("memory was leaked, or freed twice");
    }
    check_files();
    if (faults > faults_before)
        printf("... with allocation %ld failing%s: %s, %s\n", nth, for_good ? " and the rest" : "",
               tlm_status_name(status), tlm_error_message());
    return failed;
}

static void run(const scenario_t *scenario)
{
    if (scenario->prepare != NULL)
        scenario->prepare();
    for (int for_good = 0; for_good < 2 && faults == 0; for_good++) {
        long n = 1, most = 1000000;

        while (run_failing(scenario, n, for_good) && faults < 10 && n < most)
            n++;
        printf("%s: %ld allocations\n", scenario->name, n - 1);
        if (n == 1 || n == most)
            fault("no allocation failed, or there was no end of them");
    }
    if (scenario->clean_up != NULL)
        scenario->clean_up();
}

int main(int argc, char **argv)
{
    static char output[1 << 16]; /* else the C library would allocate one at some time */
    int known = 0;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return SKIPPED; /* the sanitizers have an allocator of their own */
#endif
    setvbuf(stdout, output, _IOLBF, sizeof(output));
    if (mkdtemp(directory) == NULL)
        return 1;
    MUST(tlm_set_num_threads(1));
    tlm_gemm_kernel_name(); /* BLIS, as it starts, aborts when memory is out */
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        if (argc < 2 || strcmp(argv[1], scenarios[i].name) == 0) {
            run(&scenarios[i]);
            known++;
        }
    remove_files();
    return known > 0 && faults == 0 ? 0 : 1;
}
