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
 * naming `what`, if the text is none or holds anything but plain values; null is as if left out. */
void cli_read_object(const char *text, size_t size, const char *what,
                     cli_member_callback_t on_member, void *user);

/* An object whose members are looked up. Ends the program, naming `what`, if the text is none. */
typedef struct cli_object cli_object_t;
cli_object_t *cli_open_object(const char *text, size_t size, const char *what);
void cli_close_object(cli_object_t *object);

/* NULL or false if there is no such member, or if it is of another type. Texts last as long as the
 * object. */
const char *cli_object_text(const cli_object_t *object, const char *key);
/* An object inside another, which owns it. The functions find nothing in NULL. */
const cli_object_t *cli_object_member(const cli_object_t *object, const char *key);
/* An object in a list. */
const cli_object_t *cli_object_at(const cli_object_t *object, const char *key, size_t index);
bool cli_object_number(double *out, const cli_object_t *object, const char *key);
bool cli_object_count(uint64_t *out, const cli_object_t *object, const char *key);
/* Length of a list; 0 if it is none. */
size_t cli_object_size(const cli_object_t *object, const char *key);
/* Text `index` of a list. */
const char *cli_object_item(const cli_object_t *object, const char *key, size_t index);

/* ---- Results: an object or a list that is filled and then printed as a line. A key of NULL adds to
 * a list. Numbers that are not finite are null, and bytes that are no text U+FFFD. ---- */

typedef struct cli_result cli_result_t;
cli_result_t *cli_result_new(void);
cli_result_t *cli_result_add_object(cli_result_t *result, const char *key);
cli_result_t *cli_result_add_list(cli_result_t *result, const char *key);
void cli_result_add_bytes(cli_result_t *result, const char *key, const void *text, size_t size);
void cli_result_add_text(cli_result_t *result, const char *key, const char *text); /* NULL: null */
void cli_result_add_count(cli_result_t *result, const char *key, uint64_t count);
void cli_result_add_real(cli_result_t *result, const char *key, double value);
void cli_result_add_flag(cli_result_t *result, const char *key, bool value);
/* Prints the object as a line of standard output, and frees it. */
void cli_result_print(cli_result_t *result);
/* Prints what an error says as a result: {"event": "error", "error": "...", "status": 1}. */
void cli_result_print_error(const char *message, int status);
/* Appends the object as a line, and frees it. */
void cli_result_append(cli_result_t *result, FILE *file, const char *path);
/* Writes it to a file that appears when it is complete, and frees it. */
void cli_result_write(cli_result_t *result, const char *path);

/* Sets the options that the file names and that were not given, with - or _ between words. Ends the program, naming the key,
 * for one that the program does not have or a value of the wrong type. */
void cli_read_config(const char *path, const cli_program_t *program);

#endif
