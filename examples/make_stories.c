/* Writes a file of generated stories, each followed by the end-of-text token, for machines without a corpus.
 * The same seed and size give the same file. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "support/cli.h"
#include "support/story_generator.h"

int main(int argc, char **argv)
{
    static const char separator[] = "\n<|endoftext|>\n";
    const char *output = NULL;
    uint64_t wanted = 1000000, seed = 0, written = 0, stories = 0;
    const cli_option_t options[] = {
        {"bytes", CLI_COUNT, &wanted, "least size; the last story is complete", false},
        {"seed", CLI_COUNT, &seed, "different seeds give different stories", false},
        {"output", CLI_STRING, &output, "file to write; default: standard output", false},
    };
    const cli_program_t program = {NULL, "Writes simple stories, separated by <|endoftext|>.",
                                   options, sizeof(options) / sizeof(options[0])};
    char story[STORY_MAX_SIZE];
    FILE *file = stdout;

    cli_parse(argc, argv, &program);
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
