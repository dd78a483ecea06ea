/* Batches: which windows they hold in each order, and that neither prefetching nor seeking nor a fork
 * changes them. */
#include "io_support.h"
#include "run_suite.h"

#include <sys/wait.h>

enum { BATCH = 4, CONTEXT = 5 };

/* Ids that tell where they stand. */
static tlm_dataset_t *counting_dataset(uint32_t n)
{
    uint32_t *ids = malloc(n * sizeof(*ids) + 1);
    tlm_dataset_t *dataset;

    for (uint32_t i = 0; i < n; i++)
        ids[i] = i;
    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, n));
    free(ids);
    return dataset;
}

static tlm_loader_options_t options_of(int32_t order, int32_t prefetch)
{
    tlm_loader_options_t options = TLM_LOADER_OPTIONS_INIT;

    options.batch_size = BATCH;
    options.context_length = CONTEXT;
    options.seed = 17;
    options.order = order;
    options.prefetch = prefetch;
    return options;
}

static tlm_loader_t *make_loader(const tlm_dataset_t *dataset, const tlm_loader_options_t *options)
{
    tlm_loader_t *loader;

    ASSERT_OK(tlm_loader_create(&loader, dataset, options));
    return loader;
}

/* The first id of each row of the next batch, whose rows are of a counting data set. */
static void next_starts(uint32_t starts[BATCH], tlm_loader_t *loader)
{
    const uint32_t *inputs, *targets;

    ASSERT_OK(tlm_loader_next(&inputs, &targets, loader));
    for (uint32_t i = 0; i < BATCH; i++) {
        starts[i] = inputs[i * CONTEXT];
        for (uint32_t j = 0; j < CONTEXT; j++) {
            ck_assert_uint_eq(inputs[i * CONTEXT + j], starts[i] + j);
            ck_assert_uint_eq(targets[i * CONTEXT + j], starts[i] + j + 1);
        }
    }
}

/* ---- Orders ----------------------------------------------------------------------------- */

START_TEST(random_batches_are_those_of_sample)
{
    uint32_t x[BATCH * CONTEXT], y[BATCH * CONTEXT];
    tlm_dataset_t *dataset = counting_dataset(50);
    tlm_loader_options_t options = options_of(TLM_ORDER_RANDOM, 0);
    tlm_loader_t *loader = make_loader(dataset, &options);
    const uint32_t *inputs, *targets;

    for (uint64_t step = 0; step < 100; step++) {
        ck_assert_uint_eq(tlm_loader_position(loader), step);
        ASSERT_OK(tlm_loader_next(&inputs, &targets, loader));
        ASSERT_OK(tlm_dataset_sample(x, y, dataset, BATCH, CONTEXT, 17, step));
        ck_assert_mem_eq(inputs, x, sizeof(x));
        ck_assert_mem_eq(targets, y, sizeof(y));
    }
    ck_assert_uint_eq(tlm_loader_windows_per_epoch(loader), 9);
    ck_assert_uint_eq(tlm_loader_batches_per_epoch(loader), 3);
    tlm_loader_free(loader);
    tlm_dataset_free(dataset);
}
END_TEST

START_TEST(sequential_batches_read_the_data_in_order)
{
    tlm_dataset_t *dataset =
        counting_dataset(41); /* 8 windows, and the last target is the last id */
    tlm_loader_options_t options = options_of(TLM_ORDER_SEQUENTIAL, 0);
    tlm_loader_t *loader = make_loader(dataset, &options);
    uint32_t starts[BATCH];

    ck_assert_uint_eq(tlm_loader_windows_per_epoch(loader), 8);
    ck_assert_uint_eq(tlm_loader_batches_per_epoch(loader), 2);
    for (uint32_t batch = 0; batch < 6; batch++) {
        next_starts(starts, loader);
        for (uint32_t i = 0; i < BATCH; i++)
            ck_assert_uint_eq(starts[i], (batch * BATCH + i) % 8 * CONTEXT);
    }
    tlm_loader_free(loader);
    tlm_dataset_free(dataset);
}
END_TEST

/* For all small lengths: the rows, counted through, hold each window once an epoch; epochs and seeds
 * have orders of their own. */
START_TEST(shuffled_epochs_hold_each_window_once)
{
    enum { MAX_WINDOWS = 60, EPOCHS = 3 };
    static uint32_t rows[EPOCHS * MAX_WINDOWS + BATCH], other[EPOCHS * MAX_WINDOWS + BATCH];

    for (uint32_t length = CONTEXT + 1; length <= MAX_WINDOWS * CONTEXT; length += 3) {
        tlm_dataset_t *dataset = counting_dataset(length);
        tlm_loader_options_t options = options_of(TLM_ORDER_SHUFFLED, 0);
        uint32_t windows = (length - 1) / CONTEXT;

        for (int seed = 0; seed < 2; seed++) {
            uint32_t *starts = seed == 0 ? rows : other;
            tlm_loader_t *loader;

            options.seed = (uint64_t)seed;
            loader = make_loader(dataset, &options);
            ck_assert_uint_eq(tlm_loader_windows_per_epoch(loader), windows);
            ck_assert_uint_eq(tlm_loader_batches_per_epoch(loader), (windows + BATCH - 1) / BATCH);
            for (uint32_t row = 0; row < EPOCHS * windows; row += BATCH)
                next_starts(starts + row, loader);
            for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
                bool seen[MAX_WINDOWS] = {false};

                for (uint32_t i = 0; i < windows; i++) {
                    uint32_t start = starts[epoch * windows + i];

                    ck_assert_uint_eq(start % CONTEXT, 0);
                    ck_assert_uint_lt(start / CONTEXT, windows);
                    ck_assert(!seen[start / CONTEXT]);
                    seen[start / CONTEXT] = true;
                }
            }
            tlm_loader_free(loader);
        }
        if (windows > 8) {
            ck_assert_mem_ne(rows, rows + windows, windows * sizeof(*rows));
            ck_assert_mem_ne(rows + windows, rows + 2 * windows, windows * sizeof(*rows));
            ck_assert_mem_ne(rows, other, windows * sizeof(*rows));
        }
        tlm_dataset_free(dataset);
    }
}
END_TEST

/* ---- Documents -------------------------------------------------------------------------- */

static tlm_dataset_t *dataset_of(const uint32_t *ids, size_t n)
{
    tlm_dataset_t *dataset;

    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, n));
    return dataset;
}

START_TEST(windows_begin_at_documents)
{
    /* Documents of 3, 4, 12, 1 and 5 ids, each with its end, 0; the last has none. */
    static const uint32_t ids[] = {1,  2,  0,  3,  4,  5, 0, 6,  7,  8,  9,  10, 11,
                                   12, 13, 14, 15, 16, 0, 0, 17, 18, 19, 20, 21, 22};
    /* Cut off by the first window, the second document begins the next one, which ends in the third; that
     * is longer than a window and goes on where they end; its tail's window ends in the last. */
    static const uint32_t expected[] = {0, 3, 7, 12, 17, 20};
    tlm_loader_options_t options = options_of(TLM_ORDER_SEQUENTIAL, 0);
    tlm_dataset_t *dataset = dataset_of(ids, sizeof(ids) / sizeof(*ids));
    const uint32_t *inputs, *targets;
    tlm_loader_t *loader;
    bool seen[6] = {false};

    options.batch_size = 1;
    options.has_document_end = true;
    loader = make_loader(dataset, &options);
    ck_assert_uint_eq(tlm_loader_windows_per_epoch(loader), 6);
    for (size_t i = 0; i < 12; i++) {
        ASSERT_OK(tlm_loader_next(&inputs, &targets, loader));
        ck_assert_mem_eq(inputs, ids + expected[i % 6], CONTEXT * sizeof(*ids));
        ck_assert_mem_eq(targets, ids + expected[i % 6] + 1, CONTEXT * sizeof(*ids));
    }
    tlm_loader_free(loader);
    /* The other orders are of the same windows. */
    options.order = TLM_ORDER_RANDOM;
    loader = make_loader(dataset, &options);
    for (int n = 0; n < 200; n++) {
        size_t i = 0;

        ASSERT_OK(tlm_loader_next(&inputs, &targets, loader));
        while (i < 6 && memcmp(inputs, ids + expected[i], CONTEXT * sizeof(*ids)) != 0)
            i++;
        ck_assert_uint_lt(i, 6);
        seen[i] = true;
    }
    ck_assert(seen[0] && seen[1] && seen[2] && seen[3] && seen[4] && seen[5]);
    tlm_loader_free(loader);
    tlm_dataset_free(dataset);
}
END_TEST

/* Random documents: every window is at a document's start or goes on with a longer one, none is missed,
 * and no more than twice the data is read. */
START_TEST(document_windows_cover_the_data)
{
    enum { N = 9000, CONTEXTS = 40 };
    static uint32_t ids[N];
    uint64_t state = 88172645463325252u;

    for (int64_t context = 1; context <= CONTEXTS; context++) {
        tlm_loader_options_t options = options_of(TLM_ORDER_SEQUENTIAL, 0);
        const uint32_t *inputs, *targets;
        uint64_t covered = 0, windows;
        tlm_dataset_t *dataset;
        tlm_loader_t *loader;

        for (uint32_t i = 0; i < N; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            ids[i] = state % 25 == 0 ? 0 : i + 1;
        }
        dataset = dataset_of(ids, N);
        options.batch_size = 1;
        options.context_length = context;
        options.has_document_end = true;
        loader = make_loader(dataset, &options);
        windows = tlm_loader_windows_per_epoch(loader);
        ck_assert_uint_le(windows * (uint64_t)context, 2 * N + 2 * (uint64_t)context);
        for (uint64_t n = 0; n < windows; n++) {
            uint64_t last = N - 1 - (uint64_t)context;
            uint64_t start = covered < last ? covered : last;

            ASSERT_OK(tlm_loader_next(&inputs, &targets, loader));
            /* The window must be the one at `covered`, or at the document that stands there. */
            while (memcmp(inputs, ids + start, (size_t)context * sizeof(*ids)) != 0) {
                ck_assert_uint_gt(start, 0);
                start--;
            }
            ck_assert(start == covered || ids[start - 1] == 0);
            for (uint64_t i = start + 1; i < covered; i++)
                ck_assert_uint_ne(ids[i - 1], 0);
            covered = start + (uint64_t)context;
        }
        ck_assert_uint_le(covered, N - 1);
        tlm_loader_free(loader);
        tlm_dataset_free(dataset);
    }
}
END_TEST

/* ---- Prefetching, seeking, forking ------------------------------------------------------ */

/* The same batches, whatever is made ahead, and whichever are asked for. */
START_TEST(prefetching_and_seeking_change_nothing)
{
    enum { STEPS = 200 };
    static const int32_t prefetches[] = {0, 1, 2, 7, 64};
    static uint32_t starts[STEPS][BATCH];
    tlm_dataset_t *dataset = counting_dataset(700);
    tlm_loader_options_t options = options_of(_i, 0);
    tlm_loader_t *loader = make_loader(dataset, &options);
    uint32_t got[BATCH];

    for (int n = 0; n < STEPS; n++)
        next_starts(starts[n], loader);
    tlm_loader_free(loader);
    for (size_t p = 0; p < sizeof(prefetches) / sizeof(*prefetches); p++) {
        uint32_t step = 0;

        options.prefetch = prefetches[p];
        loader = make_loader(dataset, &options);
        for (int n = 0; n < 3 * STEPS; n++) {
            if (n % 7 == 3 || step == STEPS) {
                step = (uint32_t)(n * 31 % STEPS);
                ASSERT_OK(tlm_loader_seek(loader, step));
            }
            ck_assert_uint_eq(tlm_loader_position(loader), step);
            next_starts(got, loader);
            ck_assert_mem_eq(got, starts[step++], sizeof(got));
        }
        tlm_loader_free(loader);
    }
    tlm_dataset_free(dataset);
}
END_TEST

/* A batch stays as it is until the next is asked for, while the thread makes others. */
START_TEST(a_batch_stays_until_the_next)
{
    tlm_dataset_t *dataset = counting_dataset(1000);
    tlm_loader_options_t options = options_of(TLM_ORDER_SHUFFLED, 2);
    tlm_loader_t *loader = make_loader(dataset, &options);
    uint32_t x[BATCH * CONTEXT], y[BATCH * CONTEXT];
    const uint32_t *inputs, *targets;

    for (int n = 0; n < 20; n++) {
        ASSERT_OK(tlm_loader_next(&inputs, &targets, loader));
        memcpy(x, inputs, sizeof(x));
        memcpy(y, targets, sizeof(y));
        usleep(500);
        ck_assert_mem_eq(inputs, x, sizeof(x));
        ck_assert_mem_eq(targets, y, sizeof(y));
    }
    tlm_loader_free(loader);
    tlm_dataset_free(dataset);
}
END_TEST

/* The thread sanitizer cannot follow a child that starts threads. */
#if !defined(__SANITIZE_THREAD__)
START_TEST(a_child_goes_on_from_where_it_was)
{
    enum { STEPS = 30 };
    static uint32_t starts[STEPS][BATCH];
    tlm_dataset_t *dataset = counting_dataset(300);
    tlm_loader_options_t options = options_of(TLM_ORDER_SHUFFLED, 0);
    tlm_loader_t *loader = make_loader(dataset, &options);
    uint32_t got[BATCH];

    for (int n = 0; n < STEPS; n++)
        next_starts(starts[n], loader);
    tlm_loader_free(loader);
    options.prefetch = 3;
    loader = make_loader(dataset, &options);
    for (int n = 0; n < STEPS; n++) {
        pid_t child = fork();
        int status;

        if (child == 0) {
            const uint32_t *inputs, *targets;

            for (int step = n; step < STEPS; step++) {
                if (tlm_loader_next(&inputs, &targets, loader) != TLM_OK)
                    _exit(1);
                for (int i = 0; i < BATCH; i++)
                    if (inputs[i * CONTEXT] != starts[step][i])
                        _exit(2);
            }
            tlm_loader_free(loader);
            _exit(0);
        }
        ck_assert_int_gt(child, 0);
        next_starts(got, loader);
        ck_assert_mem_eq(got, starts[n], sizeof(got));
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d: %x", n, status);
    }
    tlm_loader_free(loader);
    tlm_dataset_free(dataset);
}
END_TEST
#endif

/* ---- Nonsense --------------------------------------------------------------------------- */

START_TEST(impossible_loaders_are_refused)
{
    tlm_loader_options_t good = options_of(TLM_ORDER_RANDOM, 0), bad;
    tlm_dataset_t *dataset = counting_dataset(50), *small = counting_dataset(CONTEXT);
    const uint32_t *inputs = NULL, *targets = NULL;
    tlm_loader_t *loader = NULL;

#define ASSERT_REFUSED(code, text, field, value)                                                   \
    do {                                                                                           \
        bad = good;                                                                                \
        bad.field = (value);                                                                       \
        ASSERT_FAILS(code, text, tlm_loader_create(&loader, dataset, &bad));                       \
    } while (0)
    ASSERT_REFUSED(TLM_ERR_INVALID_ARGUMENT, "batch_size 0", batch_size, 0);
    ASSERT_REFUSED(TLM_ERR_INVALID_ARGUMENT, "batch_size -3", batch_size, -3);
    ASSERT_REFUSED(TLM_ERR_INVALID_ARGUMENT, "context_length 0", context_length, 0);
    ASSERT_REFUSED(TLM_ERR_INVALID_ARGUMENT, "too large", batch_size, INT64_MAX);
    ASSERT_REFUSED(TLM_ERR_OUT_OF_MEMORY, "out of memory", batch_size, INT64_MAX / 16);
    ASSERT_REFUSED(TLM_ERR_RANGE, "at least 51", context_length, 50);
    ASSERT_REFUSED(TLM_ERR_RANGE, "50 ids", context_length, INT64_MAX);
    ASSERT_REFUSED(TLM_ERR_INVALID_ARGUMENT, "order 3", order, 3);
    ASSERT_REFUSED(TLM_ERR_INVALID_ARGUMENT, "order -1", order, -1);
    ASSERT_REFUSED(TLM_ERR_INVALID_ARGUMENT, "prefetch -1", prefetch, -1);
    ASSERT_REFUSED(TLM_ERR_INVALID_ARGUMENT, "prefetch 1025", prefetch, 1025);
    ASSERT_REFUSED(TLM_ERR_INVALID_ARGUMENT, "options->size", size, 0);
    ASSERT_FAILS(TLM_ERR_RANGE, "5 ids", tlm_loader_create(&loader, small, &good));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_loader_create(NULL, dataset, &good));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_loader_create(&loader, NULL, &good));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_loader_create(&loader, dataset, NULL));
    ck_assert_ptr_null(loader);
    loader = make_loader(dataset, &good);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_loader_next(NULL, &targets, loader));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_loader_next(&inputs, NULL, loader));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_loader_next(&inputs, &targets, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_loader_seek(NULL, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "past the last", tlm_loader_seek(loader, UINT64_MAX));
    ASSERT_OK(tlm_loader_seek(loader, INT64_MAX / BATCH - 1));
    ASSERT_OK(tlm_loader_next(&inputs, &targets, loader));
    ASSERT_FAILS(TLM_ERR_RANGE, "past the last", tlm_loader_next(&inputs, &targets, loader));
    ck_assert_uint_eq(tlm_loader_position(NULL), 0);
    ck_assert_uint_eq(tlm_loader_windows_per_epoch(NULL), 0);
    ck_assert_uint_eq(tlm_loader_batches_per_epoch(NULL), 0);
    tlm_loader_free(loader);
    tlm_loader_free(NULL);
    tlm_dataset_free(dataset);
    tlm_dataset_free(small);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loader");
    TCase *tcase = tcase_create("loader");

    tcase_add_test(tcase, random_batches_are_those_of_sample);
    tcase_add_test(tcase, sequential_batches_read_the_data_in_order);
    tcase_add_test(tcase, shuffled_epochs_hold_each_window_once);
    tcase_add_test(tcase, windows_begin_at_documents);
    tcase_add_test(tcase, document_windows_cover_the_data);
    tcase_add_loop_test(tcase, prefetching_and_seeking_change_nothing, 0, 3);
    tcase_add_test(tcase, a_batch_stays_until_the_next);
#if !defined(__SANITIZE_THREAD__)
    tcase_add_test(tcase, a_child_goes_on_from_where_it_was);
#endif
    tcase_add_test(tcase, impossible_loaders_are_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
