/* Every public function that takes a path, given what is there instead of an ordinary file: none waits, reads
 * a device, replaces one or says that all went well. tests/checks/check_paths.py holds this list against the
 * headers. */
#include "io_support.h"
#include "model_support.h"
#include "run_suite.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static tlm_tokenizer_t *tokenizer;
static tlm_model_t *model;
static tlm_dataset_t *dataset;
static tlm_loader_t *loader;
static tlm_optimizer_t *optimizer;
static tlm_trainer_t *trainer;

static void make_objects(void)
{
    tlm_model_options_t shape = {.size = sizeof(shape), .vocab_size = 300, .context_length = 4};
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_trainer_options_t training = TLM_TRAINER_OPTIONS_INIT;
    uint32_t ids[16] = {1, 2, 3};

    shape.d_model = 8;
    shape.num_layers = 1;
    shape.num_heads = 2;
    shape.d_ff = 12;
    loading.batch_size = 1;
    loading.context_length = 4;
    training.steps = 1;
    tokenizer = make_small_tokenizer(NULL, "<a>", "<b>", NULL);
    ASSERT_OK(tlm_model_create(&model, &shape));
    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, COUNT(ids)));
    ASSERT_OK(tlm_loader_create(&loader, dataset, &loading));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_NORMS, NULL));
    ASSERT_OK(tlm_trainer_create(&trainer, model, optimizer, loader, &training));
}

static void free_objects(void)
{
    tlm_trainer_free(trainer);
    tlm_optimizer_free(optimizer);
    tlm_loader_free(loader);
    tlm_dataset_free(dataset);
    tlm_model_free(model);
    tlm_tokenizer_free(tokenizer);
}

/* ---- Reading ---------------------------------------------------------------------------- */

/* Each makes an object of what is at the path, which is never what it should be, and drops it. */
#define READS(name, type, release, call)                                                           \
    static tlm_status_t name(const char *path)                                                     \
    {                                                                                              \
        type *out = NULL;                                                                          \
        tlm_status_t status = call;                                                                \
                                                                                                   \
        if (status != TLM_OK)                                                                      \
            ck_assert_ptr_null(out);                                                               \
        release(out);                                                                              \
        return status;                                                                             \
    }

static const tlm_tokenizer_options_t with_pattern = {.size = sizeof(with_pattern),
                                                     .pattern = TLM_PATTERN_GPT2};

READS(load_vocab, tlm_tokenizer_t, tlm_tokenizer_free,
      tlm_tokenizer_load(&out, path, test_path("merges.txt"), NULL))
READS(load_merges, tlm_tokenizer_t, tlm_tokenizer_free,
      tlm_tokenizer_load(&out, test_path("vocab.json"), path, NULL))
READS(load_tiktoken, tlm_tokenizer_t, tlm_tokenizer_free,
      tlm_tokenizer_load_tiktoken(&out, path, &with_pattern))
READS(load_json, tlm_tokenizer_t, tlm_tokenizer_free, tlm_tokenizer_load_json(&out, path, NULL))
READS(open_tokenizer, tlm_tokenizer_t, tlm_tokenizer_free,
      tlm_tokenizer_open(&out, path, &with_pattern))
READS(open_chat, tlm_chat_template_t, tlm_chat_template_free, tlm_chat_template_open(&out, path))
READS(load_model, tlm_model_t, tlm_model_free, tlm_model_load(&out, path))
READS(open_model, tlm_model_t, tlm_model_free, tlm_model_open(&out, NULL, NULL, path))
READS(open_for_inference, tlm_model_t, tlm_model_free,
      tlm_model_open_for_inference(&out, NULL, NULL, path))
READS(open_dataset, tlm_dataset_t, tlm_dataset_free,
      tlm_dataset_open(&out, path, TLM_TOKENS_UINT16, 0))
static const tlm_chat_data_options_t chat_rows = {.size = sizeof(chat_rows), .row_length = 4};
READS(open_conversations, tlm_dataset_t, tlm_dataset_free,
      tlm_dataset_open_chat(&out, NULL, path, tokenizer, NULL, &chat_rows))
READS(open_text, tlm_dataset_t, tlm_dataset_free, tlm_dataset_open_text(&out, path, tokenizer))
READS(read_metadata, char, tlm_free, tlm_checkpoint_metadata(&out, NULL, path))
READS(read_tokenizer, tlm_tokenizer_t, tlm_tokenizer_free, tlm_checkpoint_tokenizer(&out, path))
READS(find_latest, char, tlm_free, tlm_checkpoint_dir_latest(&out, NULL, path))
READS(find_best, char, tlm_free, tlm_checkpoint_dir_best(&out, NULL, path))

static tlm_status_t load_adapter(const char *path)
{
    return tlm_model_load_adapter(model, path);
}

static tlm_status_t load_sequence(const char *path)
{
    tlm_generator_t *generator;
    size_t sequence;

    ASSERT_OK(tlm_generator_create(&generator, model));
    tlm_status_t status = tlm_generator_load(&sequence, generator, path, NULL);
    tlm_generator_free(generator);
    return status;
}

static tlm_status_t load_checkpoint(const char *path)
{
    return tlm_checkpoint_load(NULL, model, optimizer, path);
}

static tlm_status_t resume_trainer(const char *path)
{
    return tlm_trainer_resume(trainer, path);
}

static tlm_status_t add_file(const char *path)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *bpe;
    tlm_status_t status;

    options.vocab_size = 300;
    ASSERT_OK(tlm_bpe_trainer_create(&bpe, &options));
    status = tlm_bpe_trainer_add_file(bpe, path);
    tlm_bpe_trainer_free(bpe);
    return status;
}

#include "path_tokenizing.h"

typedef struct access {
    const char *name;
    tlm_status_t (*run)(const char *path);
    bool takes_text;   /* any bytes are right */
    bool is_directory; /* what it reads or makes */
} access_t;

static const access_t readers[] = {
    {"tlm_tokenizer_load: vocab", load_vocab, false, false},
    {"tlm_tokenizer_load: merges", load_merges, false, false},
    {"tlm_tokenizer_load_tiktoken", load_tiktoken, false, false},
    {"tlm_tokenizer_load_json", load_json, false, false},
    {"tlm_tokenizer_open", open_tokenizer, false, false},
    {"tlm_chat_template_open", open_chat, true, false},
    {"tlm_model_load", load_model, false, false},
    {"tlm_model_open", open_model, false, false},
    {"tlm_model_open_for_inference", open_for_inference, false, false},
    {"tlm_dataset_open", open_dataset, true, false},
    {"tlm_dataset_open_chat", open_conversations, false, false},
    {"tlm_dataset_open_text", open_text, true, false},
    {"tlm_model_load_adapter", load_adapter, false, true},
    {"tlm_checkpoint_metadata", read_metadata, false, false},
    {"tlm_checkpoint_tokenizer", read_tokenizer, false, false},
    {"tlm_generator_load", load_sequence, false, false},
    {"tlm_checkpoint_load", load_checkpoint, false, false},
    {"tlm_checkpoint_dir_latest", find_latest, false, true},
    {"tlm_checkpoint_dir_best", find_best, false, true},
    {"tlm_trainer_resume", resume_trainer, false, false},
    {"tlm_bpe_trainer_add_file", add_file, true, false},
    {"tlm_tokenizer_encode_file: text", tokenize_text, true, false},
    {"tlm_tokenizer_encode_files: text", tokenize_texts, true, false},
};

/* ---- Writing ---------------------------------------------------------------------------- */

static tlm_status_t save_vocab(const char *path)
{
    return tlm_tokenizer_save(tokenizer, path, test_path("saved-merges"));
}

static tlm_status_t save_merges(const char *path)
{
    return tlm_tokenizer_save(tokenizer, test_path("saved-vocab"), path);
}

static tlm_status_t save_tiktoken(const char *path)
{
    return tlm_tokenizer_save_tiktoken(tokenizer, path);
}

static tlm_status_t save_json(const char *path)
{
    return tlm_tokenizer_save_json(tokenizer, path);
}

static tlm_status_t save_gguf(const char *path)
{
    return tlm_model_save_gguf(model, NULL, path, NULL);
}

static tlm_status_t save_adapter(const char *path)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *adapted;
    ASSERT_OK(tlm_model_get_options(&shape, model));
    ASSERT_OK(tlm_model_create(&adapted, &shape));
    ASSERT_OK(tlm_model_add_lora(adapted, NULL));
    tlm_status_t status = tlm_model_save_adapter(adapted, path);
    tlm_model_free(adapted);
    return status;
}

static tlm_status_t save_hf(const char *path)
{
    return tlm_model_save_hf(model, NULL, path, NULL);
}

static tlm_status_t save_sequence(const char *path)
{
    tlm_generator_t *generator;
    size_t sequence;

    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_add(&sequence, generator, &(uint32_t){1}, 1, NULL));
    tlm_status_t status = tlm_generator_save(generator, sequence, path);
    tlm_generator_free(generator);
    return status;
}

static tlm_status_t save_checkpoint(const char *path)
{
    return tlm_checkpoint_save(model, optimizer, 1, path);
}

static tlm_status_t save_checkpoint_with(const char *path)
{
    return tlm_checkpoint_save_with(model, optimizer, 1, path, NULL);
}

static tlm_status_t save_directory(const char *path)
{
    return tlm_checkpoint_dir_save(model, optimizer, 1, path, 1, NULL);
}

static tlm_status_t save_trainer(const char *path)
{
    return tlm_trainer_save(trainer, path);
}

static tlm_status_t write_tokens(const char *path)
{
    const uint32_t id = 1;
    tlm_token_writer_t *writer = NULL;
    tlm_status_t status = tlm_token_writer_create(&writer, path, TLM_TOKENS_UINT16);

    if (status == TLM_OK)
        status = tlm_token_writer_push(writer, &id, 1);
    if (status == TLM_OK)
        status = tlm_token_writer_finish(writer);
    tlm_token_writer_free(writer);
    return status;
}

static const access_t writers[] = {
    {"tlm_tokenizer_save: vocab", save_vocab, false, false},
    {"tlm_tokenizer_save: merges", save_merges, false, false},
    {"tlm_tokenizer_save_tiktoken", save_tiktoken, false, false},
    {"tlm_tokenizer_save_json", save_json, false, false},
    {"tlm_model_save_gguf", save_gguf, false, false},
    {"tlm_model_save_adapter", save_adapter, false, true},
    {"tlm_model_save_hf", save_hf, false, true},
    {"tlm_generator_save", save_sequence, false, false},
    {"tlm_checkpoint_save", save_checkpoint, false, false},
    {"tlm_checkpoint_save_with", save_checkpoint_with, false, false},
    {"tlm_checkpoint_dir_save", save_directory, false, true},
    {"tlm_trainer_save", save_trainer, false, false},
    {"tlm_token_writer_create", write_tokens, false, false},
    {"tlm_tokenizer_encode_file_part: tokens", tokenize_to, false, false},
    {"tlm_tokenizer_encode_files: tokens", tokenize_files_to, false, false},
};

/* ---- What is there ---------------------------------------------------------------------- */

static void make_fifo(const char *path)
{
    ck_assert_int_eq(mkfifo(path, 0600), 0);
}

static void make_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int file = socket(AF_UNIX, SOCK_STREAM, 0);

    ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
    strcpy(address.sun_path, path);
    ck_assert_int_eq(bind(file, (struct sockaddr *)&address, sizeof(address)), 0);
    close(file);
}

/* A device of the test's own where it may make one: a fault must not replace the machine's. */
static void make_device(const char *path, unsigned minor_number)
{
    if (mknod(path, S_IFCHR | 0666, makedev(1, minor_number)) != 0)
        ck_assert_int_eq(symlink(minor_number == 5 ? "/dev/zero" : "/dev/null", path), 0);
}

static void make_zero(const char *path)
{
    make_device(path, 5);
}

static void make_null(const char *path)
{
    make_device(path, 3);
}

static void make_folder(const char *path)
{
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void make_folder_link(const char *path)
{
    ck_assert_int_eq(symlink("/", path), 0);
}

static void make_loop(const char *path)
{
    ck_assert_int_eq(symlink(path, path), 0);
}

static const struct {
    const char *name;
    void (*make)(const char *path);
    bool is_directory;
} places[] = {
    {"FIFO", make_fifo, false},
    {"socket", make_socket, false},
    {"/dev/zero", make_zero, false},
    {"/dev/null", make_null, false},
    {"loop of links", make_loop, false},
    {"directory", make_folder, true},
    {"link to a directory", make_folder_link, true},
};

static void remove_place(const char *path)
{
    if (unlink(path) != 0)
        (void)rmdir(path);
}

static void prepare(void)
{
    make_objects();
    ASSERT_OK(tlm_tokenizer_save(tokenizer, test_path("vocab.json"), test_path("merges.txt")));
    write_bytes(test_path("text"), "some text", 9);
}

START_TEST(readers_refuse_what_is_no_file)
{
    prepare();
    for (size_t place = 0; place < COUNT(places); place++) {
        remove_place(test_path("place"));
        places[place].make(test_path("place"));
        for (size_t i = 0; i < COUNT(readers); i++) {
            tlm_status_t status = readers[i].run(test_path("place"));

            ck_assert_msg(status == TLM_ERR_IO ||
                              (places[place].is_directory && status == TLM_ERR_NOT_FOUND),
                          "%s of a %s: %d, %s", readers[i].name, places[place].name, status,
                          tlm_error_message());
        }
        remove_place(test_path("place"));
    }
    for (size_t i = 0; i < COUNT(readers); i++) {
        ck_assert_msg(readers[i].run(test_path("missing")) == TLM_ERR_NOT_FOUND, "%s: %s",
                      readers[i].name, tlm_error_message());
        ck_assert_msg(readers[i].run("") == TLM_ERR_NOT_FOUND, "%s: %s", readers[i].name,
                      tlm_error_message());
        ck_assert_msg(readers[i].run(test_path("text/below")) == TLM_ERR_IO, "%s: %s",
                      readers[i].name, tlm_error_message());
    }
    free_objects();
}
END_TEST

/* A file of /proc states no size, and has contents all the same. */
START_TEST(readers_see_the_contents_of_proc)
{
    static const char path[] = "/proc/self/status";

    prepare();
    for (size_t i = 0; i < COUNT(readers) && access(path, R_OK) == 0; i++) {
        tlm_status_t status = readers[i].run(path);

        if (readers[i].takes_text)
            ck_assert_msg(status == TLM_OK || status == TLM_ERR_FORMAT, "%s: %s", readers[i].name,
                          tlm_error_message());
        else
            ck_assert_msg(strstr(tlm_error_message(), "empty") == NULL && status != TLM_OK,
                          "%s: %s", readers[i].name, tlm_error_message());
    }
    uint64_t ids = 0;
    ASSERT_OK(tlm_tokenizer_encode_file(&ids, tokenizer, path, test_path("ids.u16"),
                                        TLM_TOKENS_AUTO, NULL, NULL));
    ck_assert_uint_gt(ids, 20);
    free_objects();
}
END_TEST

/* As an ordinary user, whom the mode of a file binds. */
START_TEST(readers_refuse_what_they_may_not_read)
{
    prepare();
    write_bytes(test_path("secret"), "secret", 6);
    ck_assert_int_eq(chmod(test_path("secret"), 0), 0);
    ck_assert_int_eq(chmod(test_directory, 0777), 0);
    if (geteuid() == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    for (size_t i = 0; i < COUNT(readers); i++)
        ck_assert_msg(readers[i].run(test_path("secret")) == TLM_ERR_IO, "%s: %s", readers[i].name,
                      tlm_error_message());
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
    free_objects();
}
END_TEST

START_TEST(writers_replace_nothing_but_files)
{
    struct stat before, after;

    prepare();
    for (size_t place = 0; place < COUNT(places); place++)
        for (size_t i = 0; i < COUNT(writers); i++) {
            if (places[place].is_directory && writers[i].is_directory)
                continue;
            remove_place(test_path("place"));
            places[place].make(test_path("place"));
            ck_assert_int_eq(lstat(test_path("place"), &before), 0);
            tlm_status_t status = writers[i].run(test_path("place"));
            ck_assert_msg(status == TLM_ERR_IO, "%s to a %s: %d, %s", writers[i].name,
                          places[place].name, status, tlm_error_message());
            ck_assert_msg(lstat(test_path("place"), &after) == 0 && before.st_ino == after.st_ino &&
                              before.st_mode == after.st_mode,
                          "%s replaced a %s", writers[i].name, places[place].name);
            remove_place(test_path("place"));
        }
    free_objects();
}
END_TEST

START_TEST(writers_keep_modes_and_links)
{
    struct stat info;

    prepare();
    for (size_t i = 0; i < COUNT(writers); i++) {
        if (writers[i].is_directory)
            continue;
        write_bytes(test_path("private"), "old", 3);
        ck_assert_int_eq(chmod(test_path("private"), 0600), 0);
        ck_assert_int_eq(symlink("private", test_path("link")), 0);
        ck_assert_msg(writers[i].run(test_path("link")) == TLM_OK, "%s: %s", writers[i].name,
                      tlm_error_message());
        ck_assert_msg(lstat(test_path("link"), &info) == 0 && S_ISLNK(info.st_mode),
                      "%s: the link is gone", writers[i].name);
        ck_assert_msg(stat(test_path("private"), &info) == 0 && (info.st_mode & 07777) == 0600,
                      "%s: mode %o", writers[i].name, (unsigned)info.st_mode & 07777);
        unlink(test_path("link"));
        unlink(test_path("private"));
    }
    free_objects();
}
END_TEST

/* ---- While another process writes ------------------------------------------------------- */

/* Rewrites the file in place until it is killed: cut to nothing, then written in two pieces. */
static pid_t start_rewriting(const char *path, const unsigned char *bytes, size_t size)
{
    pid_t child = fork();

    for (int file; child == 0;) {
        if ((file = open(path, O_WRONLY | O_TRUNC)) < 0 ||
            write(file, bytes, size / 2) != (ssize_t)(size / 2) ||
            write(file, bytes + size / 2, size - size / 2) < 0)
            _exit(1);
        close(file);
    }
    return child;
}

/* Each call ends, with or without success: the process goes on. */
START_TEST(readers_survive_files_that_are_rewritten)
{
    static tlm_status_t (*const saves[])(const char *) = {save_json, save_tiktoken, save_checkpoint,
                                                          save_gguf};
    struct timespec begin, now;

    prepare();
    for (size_t save = 0; save < COUNT(saves); save++) {
        const char *path = test_path("rewritten");
        unsigned char *bytes;
        pid_t child;
        size_t size;

        ASSERT_OK(saves[save](path));
        bytes = read_bytes(path, &size);
        child = start_rewriting(path, bytes, size);
        clock_gettime(CLOCK_MONOTONIC, &begin);
        do {
            for (size_t i = 0; i < COUNT(readers); i++)
                if (!readers[i].is_directory)
                    (void)readers[i].run(path);
            clock_gettime(CLOCK_MONOTONIC, &now);
        } while (now.tv_sec - begin.tv_sec < 1);
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        free(bytes);
    }
    free_objects();
}
END_TEST

/* A data set that is large enough to be mapped tells that its file was cut short, and goes on once the file
 * has its length back. The file is cut while no thread reads it: the loader's starts with its first batch. */
START_TEST(data_sets_notice_that_they_were_cut_short)
{
    enum { SIZE = 20 << 20 };
    tlm_loader_options_t options = TLM_LOADER_OPTIONS_INIT;
    const uint32_t *inputs, *targets;
    const char *path = test_path("large.u16");
    uint32_t ids[4];

    write_bytes(path, "\1\0\2\0", 4);
    ck_assert_int_eq(truncate(path, SIZE), 0);
    for (int32_t prefetch = 0; prefetch < 3; prefetch++) {
        tlm_dataset_t *large;
        tlm_loader_t *batches;

        options.batch_size = 2;
        options.context_length = 4;
        options.prefetch = prefetch;
        ASSERT_OK(tlm_dataset_open(&large, path, TLM_TOKENS_AUTO, 0));
        /* Before there is a thread that reads ahead: a file cut between its look at the size and its
         * read would end the program, as docs/files.md says. */
        ck_assert_int_eq(truncate(path, 4), 0);
        ASSERT_OK(tlm_loader_create(&batches, large, &options));
        ASSERT_FAILS(TLM_ERR_IO, "cut short", tlm_dataset_read(ids, 4, large, 0));
        ASSERT_FAILS(TLM_ERR_IO, "cut short", tlm_dataset_sample(ids, ids, large, 1, 4, 1, 1));
        for (int i = 0; i < 3; i++)
            ASSERT_FAILS(TLM_ERR_IO, "cut short", tlm_loader_next(&inputs, &targets, batches));
        ck_assert_uint_eq(tlm_loader_position(batches), 0);
        ASSERT_OK(tlm_loader_seek(batches, 1));
        ASSERT_FAILS(TLM_ERR_IO, "cut short", tlm_loader_next(&inputs, &targets, batches));
        ck_assert_int_eq(truncate(path, SIZE), 0);
        for (int i = 0; i < 5; i++)
            ASSERT_OK(tlm_loader_next(&inputs, &targets, batches));
        ck_assert_uint_eq(tlm_loader_position(batches), 6);
        tlm_loader_free(batches);
        tlm_dataset_free(large);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        readers_refuse_what_is_no_file,
        readers_see_the_contents_of_proc,
        readers_refuse_what_they_may_not_read,
        writers_replace_nothing_but_files,
        writers_keep_modes_and_links,
        readers_survive_files_that_are_rewritten,
        data_sets_notice_that_they_were_cut_short,
    };
    Suite *suite = suite_create("paths");
    TCase *tcase = tcase_create("paths");
    int failed;

    for (size_t i = 0; i < COUNT(tests); i++)
        tcase_add_test(tcase, tests[i]);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
