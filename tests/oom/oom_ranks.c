/* Ranks that share a run, as threads: whatever allocation fails on one of them, all end alike, and none waits for
 * another forever. */
#include "oom_scenarios.h"

#include <pthread.h>
#include <string.h>

enum { RANKS = 2, CONTEXT = 4, ROWS = 4, IDS = ROWS * (CONTEXT + 1) };

/* A rank and what it works with. */
typedef struct rank {
    tlm_status_t (*work)(struct rank *rank);
    tlm_communicator_t *communicator;
    tlm_bpe_trainer_t *bpe_trainer;
    tlm_tokenizer_t *tokenizer;
    tlm_dataset_t *data;
    tlm_model_t *model;
    tlm_optimizer_t *optimizer;
    tlm_loader_t *loader;
    tlm_status_t status;
    const char *text, *tokens, *checkpoints; /* paths */
} rank_t;

static void *run_rank(void *argument)
{
    rank_t *rank = argument;

    rank->status = rank->work(rank);
    tlm_loader_free(rank->loader);
    tlm_optimizer_free(rank->optimizer);
    tlm_model_free(rank->model);
    tlm_dataset_free(rank->data);
    tlm_tokenizer_free(rank->tokenizer);
    tlm_bpe_trainer_free(rank->bpe_trainer);
    tlm_communicator_free(rank->communicator);
    return NULL;
}

/* Rank 0 runs on this thread. */
static tlm_status_t run_ranks(tlm_status_t (*work)(rank_t *rank))
{
    tlm_communicator_t *communicators[RANKS];
    rank_t ranks[RANKS];
    pthread_t thread;
    tlm_status_t status = tlm_communicator_create_local(communicators, RANKS);

    if (status != TLM_OK)
        return status;
    const rank_t rank = {
        .work = work,
        .text = path_of("text"),
        .tokens = path_of("tokens.u16"),
        .checkpoints = path_of("ranks"),
    };
    for (int i = 0; i < RANKS; i++) {
        ranks[i] = rank;
        ranks[i].communicator = communicators[i];
    }
    if (pthread_create(&thread, NULL, run_rank, &ranks[1]) != 0) {
        for (int i = 0; i < RANKS; i++)
            tlm_communicator_free(communicators[i]);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    run_rank(&ranks[0]);
    pthread_join(thread, NULL);
    if (ranks[0].status != ranks[1].status) {
        printf("%s on rank 0, %s on rank 1\n", tlm_status_name(ranks[0].status),
               tlm_status_name(ranks[1].status));
        fault("the ranks do not end alike");
    }
    return ranks[0].status;
}

/* ---- Training a model ---- */

/* Only the rows of rank 0 have targets that count: rank 1 lacks gradients, and makes them. */
static tlm_status_t make_parts(rank_t *rank)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    uint32_t ids[IDS];
    uint8_t counted[IDS];
    tlm_status_t status;

    for (uint32_t i = 0; i < IDS; i++) {
        ids[i] = i * i % 11;
        counted[i] = i < IDS / 2;
    }
    shape.vocab_size = 11;
    shape.context_length = CONTEXT;
    shape.d_model = 8;
    shape.num_layers = 1;
    shape.num_heads = 2;
    shape.d_ff = 12;
    loading.batch_size = 1;
    loading.context_length = CONTEXT;
    loading.order = TLM_ORDER_SEQUENTIAL;
    TRY(tlm_dataset_from_rows(&rank->data, ids, counted, IDS, CONTEXT + 1));
    TRY(tlm_model_create(&rank->model, &shape));
    TRY(tlm_optimizer_create_adamw(&rank->optimizer, NULL));
    TRY(tlm_optimizer_add_model(rank->optimizer, rank->model, 0, NULL));
    TRY(tlm_loader_create(&rank->loader, rank->data, &loading));
done:
    return status;
}

static tlm_status_t train(rank_t *rank)
{
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_trainer_t *trainer = NULL;
    tlm_status_t status;

    options.steps = 2;
    options.accumulation = ROWS;
    options.clip_norm = 1.0;
    options.eval_every = 1;
    options.checkpoint_path = rank->checkpoints;
    options.communicator = rank->communicator;
    TRY(tlm_communicator_agree(rank->communicator, make_parts(rank)));
    options.valid = rank->data;
    TRY(tlm_trainer_create(&trainer, rank->model, rank->optimizer, rank->loader, &options));
    TRY(tlm_trainer_run(trainer, 1));
    TRY(tlm_trainer_resume(trainer, NULL));
    TRY(tlm_trainer_run(trainer, 2));
done:
    tlm_trainer_free(trainer);
    return status;
}

static tlm_status_t training_on_ranks(void)
{
    return run_ranks(train);
}

/* The C library keeps what it needs for a thread, for the next one. */
static void start_threads(void)
{
    (void)training_on_ranks();
}

/* ---- A tokenizer, and a file of its ids ---- */

static tlm_status_t make_bpe_trainer(rank_t *rank)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;

    options.vocab_size = 270;
    options.communicator = rank->communicator;
    return tlm_bpe_trainer_create(&rank->bpe_trainer, &options);
}

/* Each rank also counts a text of its own. */
static tlm_status_t tokenize(rank_t *rank)
{
    static const char *const own[RANKS] = {"one two three", "three four five"};
    tlm_encode_files_options_t options = TLM_ENCODE_FILES_OPTIONS_INIT;
    const char *own_text = own[tlm_communicator_rank(rank->communicator)];
    tlm_status_t status;

    options.communicator = rank->communicator;
    TRY(tlm_communicator_agree(rank->communicator, make_bpe_trainer(rank)));
    TRY(tlm_bpe_trainer_add_file(rank->bpe_trainer, rank->text));
    TRY(tlm_communicator_agree(
        rank->communicator, tlm_bpe_trainer_push(rank->bpe_trainer, own_text, strlen(own_text))));
    TRY(tlm_bpe_trainer_end_text(rank->bpe_trainer));
    TRY(tlm_bpe_trainer_train(&rank->tokenizer, rank->bpe_trainer));
    TRY(tlm_tokenizer_encode_files(NULL, rank->tokenizer, &rank->text, 1, rank->tokens, &options));
done:
    return status;
}

static tlm_status_t tokenizing_on_ranks(void)
{
    return run_ranks(tokenize);
}

/* Writes the text and, as start_threads, has the C library keep what it needs. */
static void prepare_tokenizing(void)
{
    FILE *file = fopen(path_of("text"), "wb");

    if (file == NULL)
        exit(1);
    for (int i = 0; i < 500; i++)
        fprintf(file, "%d little words on line %d, and the %dth is as long as others\n", i, i,
                i % 7);
    if (fclose(file) != 0)
        exit(1);
    (void)tokenizing_on_ranks();
}

const scenario_t rank_scenarios[] = {
    {"training_on_ranks", start_threads, training_on_ranks, NULL, false},
    {"tokenizing_on_ranks", prepare_tokenizing, tokenizing_on_ranks, NULL, false},
    {0},
};
