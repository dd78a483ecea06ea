/* The demo programs as one: `tinylm COMMAND` is the program of that command. */
#include <stdlib.h>
#include <string.h>

#include "support/commands.h"

enum { MAX_NAMES = 64 };

static const cli_program_t *find_command(const char *name)
{
    for (size_t i = 0; all_programs[i] != NULL && all_programs[i]->command != NULL; i++)
        if (strcmp(all_programs[i]->command, name) == 0)
            return all_programs[i];
    return NULL;
}

static void print_commands(void)
{
    printf("Usage: tinylm COMMAND [OPTION]...\nSmall language models on CPUs: from text to a "
           "model that writes.\n\n");
    for (size_t i = 0; all_programs[i] != NULL && all_programs[i]->command != NULL; i++)
        printf("  %-10s %s\n", all_programs[i]->command, all_programs[i]->brief);
    printf("\n  %-10s %s\n  %-10s %s\n", "help", "tell the options of a command: tinylm help train",
           "version", "print the version");
}

/* Says what the name may have been meant to be: a command, or the program of one. */
static _Noreturn void refuse_command(const char *name)
{
    const char *names[MAX_NAMES], *similar;
    size_t n = 0;

    for (; all_programs[n] != NULL && all_programs[n]->command != NULL; n++) {
        const char *program = all_programs[n]->name;

        if (program != NULL && strcmp(program, name) == 0)
            cli_fail_usage("%s: unknown command; did you mean %s?", name, all_programs[n]->command);
        names[n] = all_programs[n]->command;
    }
    names[n++] = "help";
    names[n++] = "version";
    similar = cli_find_similar(name, names, n);
    if (similar == NULL)
        cli_fail_usage("%s: unknown command", name);
    cli_fail_usage("%s: unknown command; did you mean %s?", name, similar);
}

static int print_help(const char *name)
{
    const cli_program_t *program = find_command(name);
    static char full_name[64];

    if (program == NULL)
        refuse_command(name);
    snprintf(full_name, sizeof(full_name), "tinylm %s", name);
    cli_set_program_name(full_name);
    cli_print_help(program);
    return 0;
}

int main(int argc, char **argv)
{
    static char full_name[64];
    const char *name = argc > 1 ? argv[1] : "";

    cli_set_command_line(argv);
    if (argc < 2) {
        fprintf(stderr, "tinylm: a command is missing\nTry 'tinylm --help'.\n");
        return 2;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("tinylm (libtinylm) %s\n", tlm_version());
        return 0;
    }
    if (strcmp(name, "help") == 0 && argc > 2)
        return print_help(argv[2]);
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        print_commands();
        return 0;
    }
    const cli_program_t *program = find_command(name);
    if (program == NULL)
        refuse_command(name);
    snprintf(full_name, sizeof(full_name), "tinylm %s", name);
    cli_set_program_name(full_name);
    return cli_main(argc - 1, argv + 1, program);
}
