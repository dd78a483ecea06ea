/* Ranks that share a run, as threads: whatever allocation fails on one of them, all end alike, and none waits for
 * another forever. */
#include "oom_scenarios.h"

#include <pthread.h>
#include <string.h>

enum { RANKS = 2, CONTEXT = 4, ROWS = 4, IDS = ROWS * (CONTEXT + 1) };

/* A rank and what it works with. */
typedef struct rank {
    tlm_communicator_t *communicator;
    tlm_dataset_t *data;
    tlm_model_t *model;
    tlm_optimizer_t *optimizer;
    tlm_loader_t *loader;
    tlm_status_t status;
    const char *path;
} rank_t;

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
    options.checkpoint_path = rank->path;
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

static void *run_rank(void *argument)
{
    rank_t *rank = argument;

    rank->status = train(rank);
    tlm_loader_free(rank->loader);
    tlm_optimizer_free(rank->optimizer);
    tlm_model_free(rank->model);
    tlm_dataset_free(rank->data);
    tlm_communicator_free(rank->communicator);
    return NULL;
}

/* Rank 0 runs on this thread. */
static tlm_status_t training_on_ranks(void)
{
    tlm_communicator_t *communicators[RANKS];
    rank_t ranks[RANKS];
    pthread_t thread;
    tlm_status_t status = tlm_communicator_create_local(communicators, RANKS);

    if (status != TLM_OK)
        return status;
    memset(ranks, 0, sizeof(ranks));
    for (int i = 0; i < RANKS; i++) {
        ranks[i].communicator = communicators[i];
        ranks[i].path = path_of("ranks");
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

/* The C library keeps what it needs for a thread, for the next one. */
static void start_threads(void)
{
    (void)training_on_ranks();
}

const scenario_t rank_scenarios[] = {
    {"training_on_ranks", start_threads, training_on_ranks, NULL, false},
    {0},
};
