/* Writes a file of generated stories, each followed by the end-of-text token, for machines without a corpus.
 * The same seed and size give the same file. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "support/cli.h"
#include "support/story_generator.h"

static const char *output;
static uint64_t wanted = 1000000, seed;

static const cli_option_t options[] = {
    {"bytes", CLI_COUNT, &wanted, "least size; the last story is complete", false},
    {"seed", CLI_COUNT, &seed, HELP_SEED ": the same, the same stories", false},
    {"output", CLI_STRING, &output, HELP_OUTPUT "; by default standard output", false},
};

static int run(int n, char **operands)
{
    static const char separator[] = "\n<|endoftext|>\n";
    uint64_t written = 0, stories = 0;
    char story[STORY_MAX_SIZE];
    FILE *file = stdout;

    (void)n;
    (void)operands;
    if (output != NULL && (file = fopen(output, "wb")) == NULL)
        cli_fail("%s: %s", output, strerror(errno));
    while (written < wanted && !ferror(file)) {
        size_t size = story_write(story, sizeof(story), seed, stories++);

        fwrite(story, 1, size, file);
        fwrite(separator, 1, sizeof(separator) - 1, file);
        written += size + sizeof(separator) - 1;
    }
    cli_close_output(file, output);
    if (output != NULL)
        printf("%s: %" PRIu64 " stories, %" PRIu64 " bytes\n", output, stories, written);
    return 0;
}

static const cli_value_t values[] = {{"output", NULL, ROLE_OUTPUT}, {NULL, NULL, ROLE_NONE}};

const cli_program_t make_stories_program = {
    .summary = "Writes simple stories, separated by <|endoftext|>.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .values = values,
    .name = "make_stories",
    .brief = "write simple stories to train on",
    .example = "--bytes 2000000 --output train.txt",
    .run = run,
};

CLI_MAIN(make_stories_program)
