/* A program as it was written for 0.2: compiled with the headers of that version (0.2/tinylm) and run
 * with today's library, with structs of the sizes of 0.2. */
#include <tinylm/tinylm.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(TLM_VERSION_MAJOR == 0 && TLM_VERSION_MINOR == 2,
               "these must be the headers of 0.2");

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

static const char text[] =
    "the cat sat on the mat<|end|> the dog sat on the log and the cat sat there";
#define TEXT_SIZE (sizeof(text) - 1)

static tokenizer_t *train_tokenizer(void)
{
    static const tlm_bytes_t end = {(const uint8_t *)"<|end|>", 7};
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tokenizer_t *tokenizer;
    bpe_trainer_t *trainer;
    uint8_t *bytes;
    uint32_t *ids;
    size_t n, size;

    options.vocab_size = 270;
    options.special_tokens = &end;
    options.num_special_tokens = 1;
    MUST(tlm_bpe_trainer_create(&trainer, &options));
    MUST(tlm_bpe_trainer_add_text(trainer, text, TEXT_SIZE));
    MUST(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    MUST(tlm_tokenizer_encode(&ids, &n, tokenizer, text, TEXT_SIZE));
    MUST(tlm_tokenizer_decode(&bytes, &size, tokenizer, ids, n));
    EXPECT(size == TEXT_SIZE && memcmp(bytes, text, size) == 0);
    tlm_free(ids);
    tlm_free(bytes);
    return tokenizer;
}

/* A few steps; the loss must fall. */
static void train_model(model_t *model, optimizer_t *optimizer, const uint32_t *ids)
{
    float first = 0.0f, last = 0.0f;
    tlm_tensor_t *const *weights;
    size_t n;

    MUST(tlm_model_parameters(&weights, &n, model));
    MUST(tlm_optimizer_add_group(optimizer, weights, n, NULL));
    for (int step = 0; step < 20; step++) {
        tensor_t *loss;
        double rate, norm;

        MUST(tlm_cosine_schedule(&rate, (uint64_t)step, 1e-2, 1e-3, 2, 20));
        MUST(tlm_optimizer_set_learning_rate(optimizer, TLM_ALL_GROUPS, rate));
        MUST(tlm_model_loss(&loss, model, ids, ids + 1, 2, 8));
        MUST(tlm_tensor_item(&last, loss));
        first = step == 0 ? last : first;
        MUST(tlm_tensor_backward(loss, NULL));
        MUST(tlm_clip_grad_norm(&norm, weights, n, 1.0));
        MUST(tlm_optimizer_step(optimizer));
        tlm_optimizer_zero_grad(optimizer);
        tlm_tensor_free(loss);
    }
    EXPECT(isfinite(first) && isfinite(last) && last < first);
}

static int32_t count_token(void *user, uint32_t id)
{
    (void)id;
    ++*(int *)user;
    return 0;
}

static void generate(model_t *model, const uint32_t *prompt)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    uint32_t *ids;
    int called = 0;
    size_t n;

    options.max_tokens = 12;
    options.temperature = 0.8;
    options.top_p = 0.9;
    options.top_k = 20;
    options.seed = 3;
    MUST(tlm_model_generate(&ids, &n, model, prompt, 3, &options, count_token, &called));
    EXPECT(n == 12 && called == 12);
    tlm_free(ids);
}

/* Saved with one pair, read into another: the next steps' weights would be the same. */
static void save_and_load(model_t *model, optimizer_t *optimizer, const char *path)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    model_t *copy;
    uint64_t iteration = 0;

    MUST(tlm_checkpoint_save(model, optimizer, 20, path));
    MUST(tlm_checkpoint_load(&iteration, model, optimizer, path));
    EXPECT(iteration == 20);
    MUST(tlm_model_load(&copy, path));
    remove(path);
    MUST(tlm_model_get_options(&options, copy));
    EXPECT(options.d_model == 16 && options.num_layers == 2 && options.rope_theta == 10000.0);
    EXPECT(tlm_model_num_parameters(copy) == 3 + 9 * 2);
    tlm_model_free(copy);
}

int main(int argc, char **argv)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tokenizer_t *tokenizer = train_tokenizer();
    optimizer_t *optimizer;
    model_t *model;
    uint32_t ids[18];

    EXPECT(argc == 2 && tlm_abi_version() == TLM_ABI_VERSION);
    options.vocab_size = tlm_tokenizer_vocab_size(tokenizer);
    options.context_length = 8;
    options.d_model = 16;
    options.num_layers = 2;
    options.num_heads = 2;
    for (uint32_t i = 0; i < 18; i++)
        ids[i] = 256 + i % 10;
    MUST(tlm_model_create(&model, &options));
    MUST(tlm_optimizer_create_adamw(&optimizer, NULL));
    train_model(model, optimizer, ids);
    generate(model, ids);
    save_and_load(model, optimizer, argv[1]);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    tlm_tokenizer_free(tokenizer);
    return 0;
}
