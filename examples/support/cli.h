/* What the demo programs share: options, errors, files and the clock. Errors end the program with a
 * message on standard error: status 2 for a wrong command line, 1 for everything else. */
#ifndef EXAMPLES_CLI_H
#define EXAMPLES_CLI_H

#include <stdio.h>

#include "tinylm/tinylm.h"

typedef enum cli_kind {
    CLI_STRING, /* value: const char ** */
    CLI_COUNT,  /* value: uint64_t *, a number >= 0 */
    CLI_REAL,   /* value: double *, finite */
    CLI_FLAG,   /* value: bool *, true without an argument; `=false` turns it off */
    CLI_STRINGS /* value: cli_strings_t *, a string for each time that the option is given */
} cli_kind_t;

/* The strings of an option that may be given several times. */
typedef struct cli_strings {
    const char **texts;
    size_t n;
} cli_strings_t;

/* A count that was not given: the default of an option that may be omitted. */
#define CLI_NONE UINT64_MAX

typedef struct cli_option {
    const char *name; /* without dashes; NULL: `help` is the heading of the options that follow */
    cli_kind_t kind;
    void *value; /* holds the default at first; a string that stays NULL is an error if required */
    const char *help;
    bool required;
} cli_option_t;

typedef struct cli_program {
    const char *operands; /* how --help names them; NULL: there are none */
    const char *summary;  /* what the program does, one or more lines */
    const cli_option_t *options;
    size_t num_options;
} cli_program_t;

/* A named set of values that options have unless they are given, as a command line would give them. */
typedef struct cli_setting {
    const char *option, *value;
} cli_setting_t;

typedef struct cli_preset {
    const char *name, *help;
    const cli_setting_t *settings; /* an option NULL ends them */
} cli_preset_t;

/* Has `option`, a string of the program, choose one of n presets. Call it before cli_parse. */
void cli_set_presets(const char *option, const cli_preset_t *presets, size_t n);

/* Reads the command line, and before it the file of --config, into the options' values, then the chosen
 * preset into those of the others; answers --help. Returns the index in argv of the first operand. */
int cli_parse(int argc, char **argv, const cli_program_t *program);

/* Whether the command line that cli_parse read, or its file of --config, gave the option. */
bool cli_was_given(const char *name);

/* Writes the values of all options as a file for --config. */
void cli_write_config(const char *path, const cli_program_t *program);

/* Prints the settings of a preset as a command line would give them, on lines of their own. */
void cli_print_preset(const char *name);

/* Sets an option to a value as a command line would give it; errors name `where`. */
void cli_set_value(const cli_option_t *option, const char *text, const char *where);

/* For a program of several ranks: only rank 0 prints to standard output, and the errors of the others name
 * them. What another rank has failed of is left to that rank and to rank 0 to say. */
void cli_set_rank(int32_t rank);

/* Ends the program with a message. */
_Noreturn void cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program with the library's message if `status` says that a call failed. */
void cli_check(tlm_status_t status);

/* Ends the program with a message about a wrong command line. */
_Noreturn void cli_fail_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program unless low <= value <= high, naming the option. */
void cli_check_range(const char *option, uint64_t value, uint64_t low, uint64_t high);

/* The index in `words` of the option's value; ends the program, listing them, if it is not there. */
int32_t cli_choose(const char *option, const char *value, const char *const *words, size_t n);

/* A growing block of memory, checked. */
void *cli_realloc(void *memory, size_t size);

/* Calls on_chunk for each piece of the file in turn. */
typedef void (*cli_chunk_callback_t)(void *user, const void *chunk, size_t size);
void cli_read_file(const char *path, cli_chunk_callback_t on_chunk, void *user);
/* The bytes of a file, with a NUL behind them, which the caller frees. */
char *cli_read_text(size_t *size, const char *path);

/* Writes all of it to standard output at once. */
void cli_print(const char *text, size_t size);

/* Flushes and closes a file that was written; NULL path: standard output. */
void cli_close_output(FILE *file, const char *path);

#define CLI_END_TOKEN "<|endoftext|>" /* of the tokenizers that train_bpe makes */

/* Loads a tokenizer from one file or directory of any format or, where `path` is NULL, from vocab.json and
 * merges.txt. `special` "": without a special token; NULL: CLI_END_TOKEN, but none beside those that a
 * file at `path` has. */
tlm_tokenizer_t *cli_load_tokenizer(const char *path, const char *vocab_path,
                                    const char *merges_path, const char *special);

/* Opens a model in any format. Its tokenizer is that of the paths (as above), or where all are NULL what is
 * with the model, NULL if nothing is. For inference, weights stay as they are in the file. */
void cli_open_model(tlm_model_t **model, tlm_tokenizer_t **tokenizer,
                    tlm_model_file_options_t *file, const char *model_path, const char *path,
                    const char *vocab_path, const char *merges_path, const char *special,
                    bool for_inference);

/* The chat template of that name, or at that path. */
tlm_chat_template_t *cli_open_chat_template(const char *name);

/* The text as a byte string, borrowed. */
tlm_bytes_t cli_bytes(const char *text);

/* Prints the longest tokens of a vocabulary, special ones left out, a line each. */
void cli_print_longest_tokens(const tlm_tokenizer_t *tokenizer, size_t most);

/* Seconds on a monotonic clock. */
double cli_seconds(void);

/* Whether text ends in `end`, such as ".npy". */
bool cli_ends_with(const char *text, const char *end);

#endif
