/* The table of the programs: all commands of tinylm, and the demo programs that are none. */
#ifndef EXAMPLES_COMMANDS_H
#define EXAMPLES_COMMANDS_H

#include "support/cli.h"

extern const cli_program_t *const all_programs[]; /* up to NULL; the commands first */

/* Manual pages as troff: of a program, and of tinylm itself. */
void manual_write_program(FILE *page, const cli_program_t *program);
void manual_write_tinylm(FILE *page);

/* Completion of tinylm and its commands. */
void completion_write_bash(FILE *file);
void completion_write_zsh(FILE *file);
void completion_write_fish(FILE *file);

#endif
