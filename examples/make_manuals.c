/* Writes the manual pages of the programs, and the files of shell completion, of the tables of their options:
 *     make_manuals man PROGRAM OUTPUT     PROGRAM: tinylm, a command such as train, or a demo program
 *     make_manuals bash|zsh|fish OUTPUT */
#include <errno.h>
#include <string.h>

#include "support/commands.h"

static const cli_program_t *find_program(const char *name)
{
    for (size_t i = 0; all_programs[i] != NULL; i++) {
        const cli_program_t *program = all_programs[i];

        if ((program->command != NULL && strcmp(program->command, name) == 0) ||
            (program->name != NULL && strcmp(program->name, name) == 0))
            return program;
    }
    cli_fail("%s: there is no such program", name);
}

int main(int argc, char **argv)
{
    FILE *file;

    cli_set_program_name("make_manuals");
    if (argc != 3 && !(argc == 4 && strcmp(argv[1], "man") == 0))
        cli_fail("man PROGRAM OUTPUT, or bash, zsh or fish and OUTPUT");
    file = fopen(argv[argc - 1], "w");
    if (file == NULL)
        cli_fail("%s: %s", argv[argc - 1], strerror(errno));
    if (argc == 4 && strcmp(argv[2], "tinylm") == 0)
        manual_write_tinylm(file);
    else if (argc == 4)
        manual_write_program(file, find_program(argv[2]));
    else if (strcmp(argv[1], "bash") == 0)
        completion_write_bash(file);
    else if (strcmp(argv[1], "zsh") == 0)
        completion_write_zsh(file);
    else
        completion_write_fish(file);
    cli_close_output(file, argv[argc - 1]);
    return 0;
}
