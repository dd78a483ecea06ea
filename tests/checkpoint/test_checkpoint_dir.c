/* Directories of checkpoints: what is kept, what is found, and what a disk that is full, a process
 * that was killed and files that are damaged leave of them. */
#include "io_support.h"
#include "run_suite.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 5,
                                         .context_length = 4,
                                         .d_model = 4,
                                         .num_layers = 1,
                                         .num_heads = 1,
                                         .d_ff = 4,
                                         .seed = 7};

static tlm_model_t *model;
static tlm_optimizer_t *optimizer;
static char directory[300];

static void set_up(void)
{
    static int number;
    tlm_tensor_t *const *tensors;
    size_t n;

    snprintf(directory, sizeof(directory), "%s/run%d-%d", test_directory, (int)getpid(), number++);
    ASSERT_OK(tlm_model_create(&model, &tiny));
    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, tensors, n, NULL));
}

static void tear_down(void)
{
    DIR *handle = opendir(directory);
    char path[600];

    for (struct dirent *entry; handle != NULL && (entry = readdir(handle)) != NULL;) {
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.' && unlink(path) != 0)
            rmdir(path);
    }
    if (handle != NULL)
        closedir(handle);
    rmdir(directory);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}

static const char *path_in(const char *name)
{
    static char paths[4][400];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

static const char *step_path(unsigned step)
{
    char name[40];

    snprintf(name, sizeof(name), "step-%08u.safetensors", step);
    return path_in(name);
}

/* A loss of NAN: without one. */
static tlm_status_t save(uint64_t iteration, double loss, int32_t keep_last)
{
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;

    options.has_validation_loss = !isnan(loss);
    options.validation_loss = loss;
    return tlm_checkpoint_dir_save(model, optimizer, iteration, directory, keep_last, &options);
}

/* The directory holds the checkpoints of these steps, up to 0, and nothing else. */
static void assert_holds(unsigned step, ...)
{
    int expected = 2, found = 0;
    DIR *handle = opendir(directory);
    va_list steps;

    va_start(steps, step);
    for (; step != 0; step = va_arg(steps, unsigned), expected++)
        ck_assert_msg(access(step_path(step), F_OK) == 0, "step %u is missing", step);
    va_end(steps);
    ck_assert_ptr_nonnull(handle);
    while (readdir(handle) != NULL)
        found++;
    closedir(handle);
    ck_assert_int_eq(found, expected);
}

static void assert_latest(unsigned step, int32_t expected_damaged)
{
    int32_t damaged = -1;
    uint64_t iteration = 0;
    char *path, *metadata;

    ASSERT_OK(tlm_checkpoint_dir_latest(&path, &damaged, directory));
    ck_assert_str_eq(path, step_path(step));
    ck_assert_int_eq(damaged, expected_damaged);
    ASSERT_OK(tlm_checkpoint_metadata(&metadata, &iteration, path));
    ck_assert_str_eq(metadata, "{}");
    ck_assert_uint_eq(iteration, step);
    tlm_free(metadata);
    tlm_free(path);
}

static void assert_best(unsigned step)
{
    char *path;

    ASSERT_OK(tlm_checkpoint_dir_best(&path, NULL, directory));
    ck_assert_str_eq(path, step_path(step));
    tlm_free(path);
}

START_TEST(the_last_and_the_best_are_kept)
{
    char *path = NULL;

    ASSERT_OK(save(1, NAN, 2));
    assert_holds(1u, 0u);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "no intact checkpoint with a validation loss among 1 files",
                 tlm_checkpoint_dir_best(&path, NULL, directory));
    ASSERT_OK(save(2, 3.0, 2));
    ASSERT_OK(save(3, 2.5, 2));
    assert_holds(2u, 3u, 0u);
    ASSERT_OK(save(4, 2.5, 2)); /* no better than step 3 */
    ASSERT_OK(save(5, NAN, 2));
    assert_holds(3u, 4u, 5u, 0u);
    assert_best(3);
    assert_latest(5, 0);
    ASSERT_OK(save(6, INFINITY, 2));
    assert_holds(3u, 5u, 6u, 0u);
    ASSERT_OK(save(7, 2.25, 1));
    assert_holds(7u, 0u);
    assert_best(7);
    ASSERT_OK(save(123456789012u, -1.0, 0)); /* a longer name; all stay */
    ASSERT_OK(tlm_checkpoint_dir_latest(&path, NULL, directory));
    ck_assert_str_eq(path, path_in("step-123456789012.safetensors"));
    tlm_free(path);
    assert_holds(7u, 7u, 0u); /* and that one */
}
END_TEST

START_TEST(a_step_may_be_saved_again)
{
    ASSERT_OK(save(1, 1.0, 3));
    ASSERT_OK(save(2, 2.0, 3));
    ASSERT_OK(save(2, 0.5, 3));
    assert_holds(1u, 2u, 0u);
    assert_best(2);
    /* Later ones are not this run's to remove, and do not count among the last. */
    ASSERT_OK(save(8, 9.0, 0));
    ASSERT_OK(save(9, 9.0, 0));
    ASSERT_OK(save(3, 5.0, 1));
    assert_holds(2u, 3u, 8u, 9u, 0u);
}
END_TEST

/* Cut short anywhere, or with a bit flipped anywhere, the latest is passed over, and stays. */
START_TEST(damaged_checkpoints_are_passed_over)
{
    unsigned char *bytes;
    char *path = NULL;
    int32_t damaged = -1;
    size_t size;

    ASSERT_OK(save(1, 1.0, 0));
    ASSERT_OK(save(2, 0.5, 0));
    bytes = read_bytes(step_path(2), &size);
    for (size_t cut = 0; cut < size; cut += cut < 16 ? 1 : 61) {
        write_bytes(step_path(2), bytes, cut);
        assert_latest(1, 1);
        assert_best(1);
    }
    for (size_t i = 0; i < size; i += i < 64 ? 1 : 67) {
        bytes[i] ^= (unsigned char)(1 << i % 8);
        write_bytes(step_path(2), bytes, size);
        assert_latest(1, 1);
        assert_best(1);
        bytes[i] ^= (unsigned char)(1 << i % 8);
    }
    write_bytes(step_path(2), bytes, size / 2);
    ASSERT_OK(save(3, 2.0, 1)); /* what is damaged is not removed, and is not the best */
    assert_holds(1u, 2u, 3u, 0u);
    write_bytes(step_path(1), bytes, size - 1);
    write_bytes(step_path(3), bytes, 0);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "among 3 files, of which 3 are damaged",
                 tlm_checkpoint_dir_latest(&path, &damaged, directory));
    ck_assert(path == NULL && damaged == -1);
    free(bytes);
}
END_TEST

/* Names that a checkpoint does not have are left alone, whatever they hold. */
START_TEST(other_files_are_left_alone)
{
    static const char *const names[] = {"step-1.safetensors",
                                        "step-000000001.safetensors",
                                        "step-.safetensors",
                                        "step-00000002.safetensor",
                                        "step-00000002.safetensors.tmp-1-x",
                                        "step-0000000x.safetensors",
                                        "step-99999999999999999999.safetensors",
                                        "config.json"};

    ASSERT_OK(save(1, 2.0, 1));
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        write_bytes(path_in(names[i]), "x", 1);
    ASSERT_OK(save(3, 1.0, 1));
    assert_latest(3, 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        ck_assert_msg(access(path_in(names[i]), F_OK) == 0, "%s", names[i]);
    ck_assert_int_ne(access(step_path(1), F_OK), 0);
}
END_TEST

/* A process that was killed while it wrote leaves a file aside: the next save removes it, and a
 * process that has its number is not stopped by it. */
START_TEST(leftovers_of_killed_processes_are_removed)
{
    pid_t child = fork();
    char name[80];
    int status;

    if (child == 0)
        _exit(0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ASSERT_OK(save(1, NAN, 1));
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "step-00000002.safetensors.tmp-%d-%d",
                 (int)(i % 2 ? child : getpid()), i);
        write_bytes(path_in(name), "half", 4);
    }
    ASSERT_OK(save(2, NAN, 1));
    assert_holds(2u, 0u);
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "other.safetensors.tmp-%d-%d", (int)getpid(), i);
        write_bytes(path_in(name), "half", 4);
    }
    ASSERT_OK(tlm_checkpoint_save(model, NULL, 2, path_in("other.safetensors")));
    ck_assert_int_eq(access(path_in("other.safetensors"), F_OK), 0);
}
END_TEST

/* Saves where files may have `size` bytes: a write beyond is EFBIG, as one to a full disk is
 * ENOSPC. The limit holds for this call alone, for Check writes files too. */
static tlm_status_t save_within(off_t size, uint64_t iteration)
{
    struct rlimit limit, old;
    tlm_status_t status;

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){(rlim_t)size, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    status = save(iteration, 0.5, 1);
    setrlimit(RLIMIT_FSIZE, &old);
    return status;
}

/* A disk that is full at any byte of the file: an error, the old checkpoint is there, and nothing
 * else. */
START_TEST(a_full_disk_loses_nothing)
{
    struct stat info;

    ASSERT_OK(save(1, 1.0, 1));
    ck_assert_int_eq(stat(step_path(1), &info), 0);
    for (off_t size = 0; size < info.st_size; size += size < 16 ? 1 : 61) {
        ASSERT_FAILS(TLM_ERR_IO, "write", save_within(size, 2));
        ASSERT_FAILS(TLM_ERR_IO, "write", save_within(size, 1)); /* nor is one written over */
        assert_holds(1u, 0u);
        assert_latest(1, 0);
    }
    ASSERT_OK(save_within(2 * info.st_size, 2));
    assert_holds(2u, 0u);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    tlm_checkpoint_options_t bad = TLM_CHECKPOINT_OPTIONS_INIT;
    char *path = NULL;

    ASSERT_FAILS(TLM_ERR_NOT_FOUND, directory, tlm_checkpoint_dir_latest(&path, NULL, directory));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, directory, tlm_checkpoint_dir_best(&path, NULL, directory));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "keep_last -1", save(1, NAN, -1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "directory is NULL",
                 tlm_checkpoint_dir_save(model, NULL, 1, NULL, 1, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model is NULL",
                 tlm_checkpoint_dir_save(NULL, NULL, 1, directory, 1, NULL));
    ck_assert_int_ne(access(directory, F_OK), 0);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "make directory",
                 tlm_checkpoint_dir_save(model, NULL, 1, path_in("deeper"), 1, NULL));
    ASSERT_OK(save(1, NAN, 1));
    ASSERT_FAILS(TLM_ERR_IO, "make directory",
                 tlm_checkpoint_dir_save(model, NULL, 1, step_path(1), 1, NULL));
    bad.size = 3;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "options->size is 3",
                 tlm_checkpoint_dir_save(model, NULL, 2, directory, 1, &bad));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_checkpoint_dir_latest(NULL, NULL, directory));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_checkpoint_dir_best(&path, NULL, NULL));
    /* What stands under a checkpoint's name and is no file cannot be looked at. */
    ck_assert_int_eq(mkdir(step_path(5), 0777), 0);
    ASSERT_FAILS(TLM_ERR_IO, "not a regular file",
                 tlm_checkpoint_dir_latest(&path, NULL, directory));
    ck_assert_ptr_null(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint directory");
    TCase *tcase = tcase_create("checkpoint directory");
    int failed;

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, the_last_and_the_best_are_kept);
    tcase_add_test(tcase, a_step_may_be_saved_again);
    tcase_add_test(tcase, damaged_checkpoints_are_passed_over);
    tcase_add_test(tcase, other_files_are_left_alone);
    tcase_add_test(tcase, leftovers_of_killed_processes_are_removed);
    tcase_add_test(tcase, a_full_disk_loses_nothing);
    tcase_add_test(tcase, nonsense_is_refused);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
