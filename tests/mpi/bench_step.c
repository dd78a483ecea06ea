/* Times the parts of training steps of the CS336 model over MPI, with gradients exchanged while backward runs and
 * after it in turn, and prints what the model of docs/scaling.md says of the network that it finds.
 *
 *     mpirun -n R bench_step [CONTEXT [BATCHES_PER_STEP [STEPS [THREADS]]]] */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tinylm/mpi.h"
#include "tinylm/tinylm.h"

enum { VOCAB = 10000, IDS = 20000, BUCKET = 4 << 20, PARTS = 6, MOST_STEPS = 999 };

static const char *const part_names[PARTS] = {"step",   "compute", "reduce-scatter",
                                              "update", "gather",  "beside backward"};

static void check(tlm_status_t status)
{
    if (status == TLM_OK)
        return;
    fprintf(stderr, "bench_step: %s\n", tlm_error_message());
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static double seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- Two communicators over one --------------------------------------------------------- */

static tlm_status_t exchange(void *user, void *receive, size_t receive_bytes, int32_t from,
                             const void *send, size_t send_bytes, int32_t to)
{
    return tlm_communicator_exchange(receive, receive_bytes, from, user, send, send_bytes, to);
}

static tlm_status_t all_gather(void *user, void *receive, const void *send, const size_t *bytes)
{
    return tlm_communicator_all_gather(receive, user, send, bytes);
}

static tlm_communicator_t *wrap(tlm_communicator_t *inner, bool any_thread)
{
    tlm_communicator_options_t options = TLM_COMMUNICATOR_OPTIONS_INIT;
    tlm_communicator_t *outer;

    options.rank = tlm_communicator_rank(inner);
    options.num_ranks = tlm_communicator_num_ranks(inner);
    options.user = inner;
    options.exchange = exchange;
    options.all_gather = all_gather;
    options.any_thread = any_thread;
    check(tlm_communicator_create(&outer, &options));
    return outer;
}

/* ---- The network ------------------------------------------------------------------------ */

/* The shortest time of several exchanges between pairs. */
static double time_exchange(tlm_communicator_t *c, size_t bytes)
{
    const int32_t partner = tlm_communicator_rank(c) ^ 1;
    char *sent = calloc(1, bytes), *received = calloc(1, bytes);
    double best = 1e9;

    if (sent == NULL || received == NULL)
        MPI_Abort(MPI_COMM_WORLD, 2);
    for (int i = 0; i < 7; i++) {
        check(tlm_communicator_barrier(c));
        const double begin = seconds();
        check(tlm_communicator_exchange(received, bytes, partner, c, sent, bytes, partner));
        const double time = seconds() - begin;
        best = time < best ? time : best;
    }
    free(sent);
    free(received);
    return best;
}

static void print_prediction(tlm_communicator_t *c, double elements)
{
    const int32_t ranks = tlm_communicator_num_ranks(c);

    if (ranks < 2)
        return;
    const double latency = time_exchange(c, 8), bucket = time_exchange(c, BUCKET);
    const double bytes = 4.0 * elements * (ranks - 1) / ranks;

    if (tlm_communicator_rank(c) == 0)
        printf("8 bytes %.3f ms, 4 MiB %.2f ms (%.0f MB/s): %.0f MB each way take %.3f s for the "
               "sums, and as much "
               "for the parameters\n",
               1e3 * latency, 1e3 * bucket, 1e-6 * BUCKET / bucket, 1e-6 * bytes,
               bytes * bucket / BUCKET);
}

/* ---- Steps ------------------------------------------------------------------------------ */

typedef struct way {
    const char *name;
    tlm_communicator_t *communicator;
    tlm_trainer_t *trainer;
    double parts[PARTS][MOST_STEPS];
} way_t;

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void take_step(way_t *way, size_t i)
{
    tlm_train_step_t step = TLM_TRAIN_STEP_INIT;

    check(tlm_trainer_step(&step, way->trainer));
    const double parts[PARTS] = {
        step.seconds,        step.compute_seconds, step.reduce_scatter_seconds,
        step.update_seconds, step.gather_seconds,  step.overlap_seconds};
    for (size_t part = 0; part < PARTS; part++)
        way->parts[part][i] = parts[part];
}

static void print_way(way_t *way, size_t steps)
{
    printf("%-15s", way->name);
    for (size_t part = 0; part < PARTS; part++) {
        qsort(way->parts[part], steps, sizeof(double), compare);
        printf("  %s %.3f", part_names[part], way->parts[part][steps / 2]);
    }
    printf("\n");
}

static tlm_model_t *create_model(int64_t context)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    shape.vocab_size = VOCAB;
    shape.context_length = context;
    shape.d_model = 512;
    shape.num_layers = 4;
    shape.num_heads = 16;
    shape.d_ff = 1344;
    check(tlm_model_create(&model, &shape));
    return model;
}

static tlm_dataset_t *create_data(void)
{
    tlm_dataset_t *data;
    uint32_t *ids = malloc(IDS * sizeof(*ids));

    if (ids == NULL)
        MPI_Abort(MPI_COMM_WORLD, 2);
    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = i * 2654435761u % VOCAB;
    check(tlm_dataset_from_ids(&data, ids, IDS));
    free(ids);
    return data;
}

static void run(tlm_communicator_t *c, int64_t context, uint64_t batches, size_t steps)
{
    static way_t ways[2] = {{.name = "after backward"}, {.name = "beside backward"}};
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_model_t *model = create_model(context);
    tlm_dataset_t *data = create_data();
    tlm_optimizer_t *optimizer;
    tlm_loader_t *loader;

    check(tlm_optimizer_create_adamw(&optimizer, NULL));
    check(tlm_optimizer_add_model(optimizer, model, 0, NULL));
    loading.batch_size = 1;
    loading.context_length = context;
    check(tlm_loader_create(&loader, data, &loading));
    options.steps = steps + 1;
    options.accumulation = batches;
    for (int i = 0; i < 2; i++) { /* over one optimizer, whose state both divide alike */
        options.communicator = ways[i].communicator = wrap(c, i == 1);
        check(tlm_trainer_create(&ways[i].trainer, model, optimizer, loader, &options));
    }
    print_prediction(c, (double)tlm_model_num_elements(model));
    for (size_t step = 0; step <= steps; step++) /* the first is not counted */
        for (int i = 0; i < 2; i++)
            take_step(&ways[i], step == 0 ? 0 : step - 1);
    if (tlm_communicator_rank(c) == 0)
        printf("%d ranks, medians of %zu steps in seconds:\n", (int)tlm_communicator_num_ranks(c),
               steps);
    for (int i = 0; i < 2; i++) {
        if (tlm_communicator_rank(c) == 0)
            print_way(&ways[i], steps);
        tlm_trainer_free(ways[i].trainer);
        tlm_communicator_free(ways[i].communicator);
    }
    tlm_optimizer_free(optimizer);
    tlm_loader_free(loader);
    tlm_dataset_free(data);
    tlm_model_free(model);
}

static long argument(int argc, char **argv, int i, long usual)
{
    return argc > i ? strtol(argv[i], NULL, 10) : usual;
}

int main(int argc, char **argv)
{
    const long context = argument(argc, argv, 1, 64), batches = argument(argc, argv, 2, 4);
    const long steps = argument(argc, argv, 3, 9), threads = argument(argc, argv, 4, 1);
    tlm_communicator_t *c;
    int provided;

    if (context < 1 || batches < 1 || steps < 1 || steps > MOST_STEPS || threads < 1)
        return 2;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
    check(tlm_communicator_create_mpi(&c, MPI_COMM_WORLD, 0.0));
    check(tlm_set_num_threads((int32_t)threads));
    run(c, context, (uint64_t)batches, (size_t)steps);
    tlm_communicator_free(c);
    MPI_Finalize();
    return 0;
}
