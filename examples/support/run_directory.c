/* The directory of a run. Everything in it but checkpoints can be made again. */
#include "support/run_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "support/cli_json.h"
#include "support/file_kind.h"
#include "support/train_options.h"

static const char *join(const char *directory, const char *name)
{
    static char paths[4][4096];
    static int next;
    char *path = paths[next++ % 4];

    if (snprintf(path, sizeof(paths[0]), "%s/%s", directory, name) >= (int)sizeof(paths[0]))
        cli_fail("%s: the name is too long", directory);
    return path;
}

const char *run_directory_path(const char *name)
{
    return join(settings.output_dir, name);
}

static bool is_directory(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Whether there is a checkpoint, whole or not. */
static bool has_checkpoints(const char *directory)
{
    DIR *entries = opendir(directory);
    bool found = false;

    for (struct dirent *entry; !found && entries != NULL && (entry = readdir(entries)) != NULL;)
        found =
            strncmp(entry->d_name, "step-", 5) == 0 && cli_ends_with(entry->d_name, ".safetensors");
    if (entries != NULL)
        closedir(entries);
    return found;
}

/* Where the checkpoints of a run are, or would be. */
static const char *checkpoints_of(const char *directory)
{
    const char *inner = join(directory, "checkpoints");

    return is_directory(inner) ? inner : directory;
}

/* A run that was killed early has written little of its directory, or nothing. */
static bool may_hold_run(const char *directory)
{
    return (settings.output != NULL && strcmp(directory, settings.output) == 0) ||
           (settings.output_dir != NULL && strcmp(directory, settings.output_dir) == 0) ||
           file_kind_of(directory) == KIND_RUN;
}

const char *run_directory_checkpoint(void)
{
    static char found[4096];
    const char *resume = settings.resume;
    int32_t num_damaged = 0;
    char *path;

    if (resume == NULL)
        return NULL;
    if (access(resume, F_OK) != 0 && !may_hold_run(resume))
        cli_fail("%s: %s", resume, strerror(errno));
    if (access(resume, F_OK) == 0)
        cli_expect(resume, ROLE_RESUMED, "resume");
    if (access(resume, F_OK) == 0 && !is_directory(resume))
        return resume;
    const char *directory = checkpoints_of(resume);
    if (access(resume, F_OK) != 0 || (!has_checkpoints(directory) && may_hold_run(resume))) {
        cli_say("%s holds no checkpoint yet: the run starts from the beginning\n", resume);
        return NULL;
    }
    cli_check(tlm_checkpoint_dir_latest(&path, &num_damaged, directory));
    if (num_damaged > 0)
        cli_say("%" PRId32 " damaged checkpoints were skipped\n", num_damaged);
    snprintf(found, sizeof(found), "%s", path);
    tlm_free(path);
    return found;
}

/* The lock ends with the process, however it ends; one that was told to end may still be saving. File systems
 * without locks have to do without. */
static void lock_directory(void)
{
    enum { TRIES = 100, PAUSE = 100000 };
    int tries = 0;

    const int directory = open(settings.output_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (directory < 0)
        cli_fail("%s: %s", settings.output_dir, strerror(errno));
    for (; flock(directory, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; tries++) {
        if (tries == TRIES)
            cli_fail("%s: another process is writing a run to it now", settings.output_dir);
        usleep(PAUSE);
    }
}

void run_directory_open(void)
{
    if (mkdir(settings.output_dir, 0777) != 0 && errno != EEXIST)
        cli_fail("%s: %s", settings.output_dir, strerror(errno));
    lock_directory();
    if (settings.resume == NULL && has_checkpoints(run_directory_path("checkpoints")))
        cli_fail("%s already holds a run; --resume %s continues it", settings.output_dir,
                 settings.output_dir);
    if (settings.resume == NULL && access(run_directory_path("log.jsonl"), F_OK) == 0)
        cli_say("%s holds a run without a checkpoint, which starts from the beginning\n",
                settings.output_dir);
}

/* ---- What the report says of a run -------------------------------------------------------- */

static void add_data(cli_result_t *info, const char *name, const char *path,
                     const tlm_dataset_t *dataset)
{
    cli_result_t *data = cli_result_add_object(info, name);

    cli_result_add_text(data, "path", path);
    cli_result_add_count(data, "tokens", tlm_dataset_length(dataset));
}

/* "model name" of the first CPU; what the kernel calls the machine elsewhere. */
static void add_processor(cli_result_t *info)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[512], *name = NULL;

    while (file != NULL && name == NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, "model name", 10) == 0 && (name = strchr(line, ':')) != NULL)
            name += 2;
    if (name != NULL)
        name[strcspn(name, "\n")] = '\0';
    cli_result_add_text(info, "processor", name);
    if (file != NULL)
        fclose(file);
}

static void add_shape(cli_result_t *info, const tlm_model_t *model)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;

    cli_check(tlm_model_get_options(&shape, model));
    cli_result_add_count(info, "parameters", tlm_model_num_elements(model));
    cli_result_add_count(info, "trained_parameters", tlm_model_num_trained(model));
    cli_result_add_count(info, "layers", (uint64_t)shape.num_layers);
    cli_result_add_count(info, "d_model", (uint64_t)shape.d_model);
    cli_result_add_count(info, "heads", (uint64_t)shape.num_heads);
    cli_result_add_count(info, "vocab_size", (uint64_t)shape.vocab_size);
    cli_result_add_count(info, "context", shape_settings.context_length);
}

void run_info_write(const char *path, const tlm_model_t *model, const tlm_dataset_t *train,
                    const tlm_dataset_t *valid, int32_t num_ranks)
{
    cli_result_t *info = cli_result_new();
    char host[256] = "", date[32] = "";
    const time_t now = time(NULL);
    struct tm utc;

    if (gethostname(host, sizeof(host) - 1) != 0)
        host[0] = '\0';
    if (gmtime_r(&now, &utc) != NULL)
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", &utc);
    cli_result_add_text(info, "version", tlm_version());
    cli_result_add_text(info, "date", date);
    cli_result_add_text(info, "host", host);
    add_processor(info);
    cli_result_add_count(info, "threads", (uint64_t)tlm_num_threads());
    cli_result_add_count(info, "ranks", (uint64_t)num_ranks);
    add_shape(info, model);
    add_data(info, "train", settings.train, train);
    add_data(info, "valid", settings.valid, valid);
    cli_result_add_text(info, "init", settings.init);
    cli_result_add_text(info, "recipe", settings.recipe);
    cli_result_add_text(info, "optimizer", settings.optimizer);
    cli_result_add_count(info, "batch", settings.batch * settings.accumulate);
    cli_result_add_count(info, "batch_start", settings.batch_start * settings.accumulate);
    cli_result_add_count(info, "steps", settings.steps);
    cli_result_write(info, path);
}
