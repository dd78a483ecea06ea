/* JSON for the demo programs: objects of plain values, read member by member, and the files of
 * --config. */
#ifndef EXAMPLES_CLI_JSON_H
#define EXAMPLES_CLI_JSON_H

#include "support/cli.h"

/* One member of an object; `text` is its value as a command line would say it. */
typedef struct cli_member {
    const char *key, *text;
    cli_kind_t kind; /* CLI_STRING, CLI_FLAG (true or false), CLI_COUNT (an integer), or CLI_REAL */
} cli_member_t;

typedef void (*cli_member_callback_t)(void *user, const cli_member_t *member);

/* Calls on_member for each member of the object that the text is, in its order. Ends the program,
 * naming `what`, if the text is none or holds anything but plain values. */
void cli_read_object(const char *text, size_t size, const char *what,
                     cli_member_callback_t on_member, void *user);

/* Sets the options that the file names, with - or _ between words. Ends the program, naming the key,
 * for one that the program does not have or a value of the wrong type. */
void cli_read_config(const char *path, const cli_program_t *program);

#endif
