/* Has the nth allocation fail, for every n, in everything that the library does: each failure must come
 * back as a status, with nothing leaked and nothing broken.
 *
 * Usage: test_oom SCENARIO. A scenario runs with n = 1, 2, ... until no allocation is left to fail; once
 * with only the nth failing and once with all from the nth on. */
#include "oom_scenarios.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "tensor/tensor_core.h"

#include "failing_allocator.h"

enum { SKIPPED = 77 };

static int faults;

void fault(const char *what)
{
    printf("%s\n", what);
    faults++;
}

/* In place of the C library's: nothing here must survive a crash, and the thousands of files that are
 * written take seconds without it, minutes with it. */
int fsync(int file)
{
    (void)file;
    return 0;
}

static char directory[] = "/tmp/tinylm-oom-XXXXXX";

const char *path_of(const char *name)
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
    static const scenario_t *const lists[] = {
        tokenizer_scenarios, tokenizer_json_scenarios, normalizer_scenarios, subword_scenarios,
        tensor_scenarios,    model_scenarios,          model_file_scenarios, vocabulary_scenarios,
        chat_scenarios,      generation_scenarios,     adapter_scenarios,    rank_scenarios};
    static char output[1 << 16]; /* else the C library would allocate one at some time */
    int known = 0;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return SKIPPED; /* the sanitizers have an allocator of their own */
#endif
    setvbuf(stdout, output, _IOLBF, sizeof(output));
    if (mkdtemp(directory) == NULL)
        return 1;
    MUST(tlm_set_num_threads(1));
    for (size_t list = 0; list < sizeof(lists) / sizeof(lists[0]); list++)
        for (const scenario_t *scenario = lists[list]; scenario->name != NULL; scenario++)
            if (argc < 2 || strcmp(argv[1], scenario->name) == 0) {
                run(scenario);
                known++;
            }
    remove_files();
    return known > 0 && faults == 0 ? 0 : 1;
}
