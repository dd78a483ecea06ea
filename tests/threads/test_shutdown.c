/* tlm_shutdown: everything goes back, and the library can be used on. Run under valgrind too, which must find
 * nothing that is still held. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tinylm/tinylm.h>

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != TLM_OK) {                                                                    \
            printf("line %d: %s: %s\n", __LINE__, #call, tlm_error_message());                     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("line %d: not so: %s\n", __LINE__, #condition);                                 \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* A pattern of its own, so that the regex engine takes part. */
static tlm_tokenizer_t *train_tokenizer(void)
{
    static const char text[] = "the cat sat on the mat, the dog sat on the log";
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;

    options.vocab_size = 265;
    options.pattern = "\\w+|\\W+";
    MUST(tlm_bpe_trainer_create(&trainer, &options));
    MUST(tlm_bpe_trainer_add_text(trainer, text, sizeof(text) - 1));
    MUST(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    return tokenizer;
}

static tlm_model_t *create_model(void)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    options.vocab_size = 265;
    options.context_length = 16;
    options.d_model = 32;
    options.num_layers = 1;
    options.num_heads = 2;
    options.d_ff = 64;
    MUST(tlm_model_create(&model, &options));
    return model;
}

/* The loss; forward and backward run on all threads. */
static float train(tlm_model_t *model)
{
    uint32_t ids[8 * 17];
    float loss = 0.0f;

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        ids[i] = (uint32_t)(i * i % 265);
    for (int i = 0; i < 3; i++) {
        tlm_tensor_t *mean;
        MUST(tlm_model_loss(&mean, model, ids, ids + 1, 8, 16));
        MUST(tlm_tensor_item(&loss, mean));
        MUST(tlm_tensor_backward(mean, NULL));
        tlm_tensor_free(mean);
    }
    return loss;
}

static size_t count_ids(tlm_tokenizer_t *tokenizer)
{
    uint32_t *ids;
    size_t n;

    MUST(tlm_tokenizer_encode(&ids, &n, tokenizer, "the cat sat", 11));
    tlm_free(ids);
    return n;
}

static int32_t go_on(void *user, uint64_t done, uint64_t total)
{
    (void)user, (void)done, (void)total;
    return 0;
}

/* What else keeps memory for later: caches of generation, threads of loaders, tables of normal forms, templates. */
static void use_more(tlm_tokenizer_t *tokenizer, tlm_model_t *model)
{
    static const char text[] = "the cat sat on the mat, the dog sat on the log ";
    const tlm_chat_message_t message = {"user", "hello", 5};
    tlm_generate_options_t generation = TLM_GENERATE_OPTIONS_INIT;
    tlm_encode_files_options_t encoding = TLM_ENCODE_FILES_OPTIONS_INIT;
    tlm_loader_options_t batches = TLM_LOADER_OPTIONS_INIT;
    tlm_chat_template_t *chat;
    const uint32_t prompt[] = {1, 2, 3}, *inputs, *targets;
    char path[] = "/tmp/tinylm-shutdown-XXXXXX", tokens[64], *made;
    tlm_dataset_t *dataset;
    tlm_loader_t *loader;
    uint32_t *ids;
    size_t n;

    generation.max_tokens = 5;
    MUST(tlm_model_generate(&ids, &n, model, prompt, 3, &generation, NULL, NULL));
    tlm_free(ids);
    FILE *file = fdopen(mkstemp(path), "w");
    for (int i = 0; file != NULL && i < 3000; i++) /* of several pieces */
        fputs(text, file);
    EXPECT(file != NULL && fclose(file) == 0);
    snprintf(tokens, sizeof(tokens), "%s.u16", path);
    encoding.progress = go_on;
    const char *const paths[] = {path, path};
    MUST(tlm_tokenizer_encode_files(NULL, tokenizer, paths, 2, tokens, &encoding));
    MUST(tlm_dataset_open(&dataset, tokens, TLM_TOKENS_AUTO, 0));
    batches.batch_size = 2;
    batches.context_length = 8;
    batches.prefetch = 2;
    MUST(tlm_loader_create(&loader, dataset, &batches));
    MUST(tlm_loader_next(&inputs, &targets, loader));
    tlm_loader_free(loader);
    tlm_dataset_free(dataset);
    remove(tokens);
    remove(path);
    MUST(tlm_chat_template_create(&chat, "chatml"));
    MUST(tlm_chat_template_render(&made, &n, chat, &message, 1, NULL));
    tlm_free(made);
    tlm_chat_template_free(chat);
    MUST(tlm_utf8_nfc(&made, &n, "e\xCC\x81", 3));
    tlm_free(made);
}

int main(void)
{
    MUST(tlm_shutdown()); /* before any use, and twice */
    MUST(tlm_shutdown());
    MUST(tlm_set_num_threads(3));
    tlm_tokenizer_t *tokenizer = train_tokenizer();
    tlm_model_t *model = create_model();
    float loss = train(model);
    size_t n = count_ids(tokenizer);
    use_more(tokenizer, model);

    /* With handles alive, which go on as before. */
    for (int i = 0; i < 3; i++) {
        MUST(tlm_shutdown());
        EXPECT(tlm_num_threads() == 3);
        EXPECT(train(model) == loss);
        EXPECT(count_ids(tokenizer) == n);
    }
    tlm_model_free(model);
    tlm_tokenizer_free(tokenizer);
    MUST(tlm_shutdown());

    /* From the start once more. */
    tokenizer = train_tokenizer();
    EXPECT(count_ids(tokenizer) == n);
    model = create_model();
    EXPECT(train(model) == loss);
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
    MUST(tlm_shutdown());
    return 0;
}
