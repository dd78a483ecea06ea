/* What the demo programs share: options, errors, files and the clock. Errors end the program with a
 * message on standard error: status 2 for a wrong command line, 1 for everything else. */
#ifndef EXAMPLES_CLI_H
#define EXAMPLES_CLI_H

#include <math.h>
#include <stdio.h>

#include "support/option_help.h"
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
/* The same of a real number. */
#define CLI_UNSET ((double)NAN)

typedef struct cli_option {
    const char *name; /* without dashes; NULL: `help` is the heading of the options that follow */
    cli_kind_t kind;
    void *value; /* holds the default at first; a string that stays NULL is an error if required */
    const char *help;
    bool required;
} cli_option_t;

/* A named set of values that options have unless they are given, as a command line would give them. */
typedef struct cli_setting {
    const char *option, *value;
} cli_setting_t;

typedef struct cli_preset {
    const char *name, *help;
    const cli_setting_t *settings; /* an option NULL ends them */
} cli_preset_t;

/* What a file is for: what cli_expect looks for in it. */
typedef enum cli_role {
    ROLE_NONE,      /* it is no file, or may hold anything */
    ROLE_TEXT,      /* any bytes except those of other trades */
    ROLE_TOKENS,    /* a token file */
    ROLE_QUESTIONS, /* an object of JSON per line */
    ROLE_MODEL,     /* checkpoint, folder of transformers, GGUF */
    ROLE_RESUMED,   /* a checkpoint, or a directory with some */
    ROLE_TOKENIZER, /* of any format, or a directory with one */
    ROLE_VOCAB,     /* vocab.json */
    ROLE_MERGES,    /* merges.txt */
    ROLE_ADAPTER,   /* folder of PEFT */
    ROLE_RUN,       /* directory of a run */
    ROLE_CONFIG,    /* options by name */
    /* Files that are not looked into. */
    ROLE_FILE,
    ROLE_DIRECTORY,
    ROLE_OUTPUT,
    NUM_ROLES
} cli_role_t;

/* What the value of an option may be. Options of one name have the same meaning in all programs. */
typedef struct cli_value {
    const char *option;       /* CLI_OPERANDS: the operands */
    const char *const *words; /* the only values, up to NULL; NULL: any */
    cli_role_t role;
} cli_value_t;

#define CLI_OPERANDS ""

/* Options that programs have in common. */
enum {
    CLI_HAS_THREADS = 1, /* --threads, which is set before the program runs */
    CLI_HAS_JSON = 2,    /* --json */
    CLI_HAS_QUIET = 4    /* --quiet */
};

typedef struct cli_program {
    const char *operands; /* how --help names them; NULL: there are none */
    const char *summary;  /* what the program does, one or more lines */
    const cli_option_t *options;
    size_t num_options;
    const char
        *preset_option; /* the string that chooses one of the presets; NULL: there are none */
    const cli_preset_t *presets;
    size_t num_presets;
    /* The file of options that counts where the command line says nothing, if there is no --config;
     * called once the command line was read; returns NULL for none. NULL: there never is one. */
    const char *(*find_config)(void);
    uint32_t has;              /* CLI_HAS_... */
    const cli_value_t *values; /* up to one without a name; NULL: none */
    const char *name;          /* of the program, as in build/examples */
    const char *command;       /* of the program tinylm; NULL: it has no such command */
    const char *brief;         /* what it does, in a few words, for lists */
    const char *example; /* a command line after its name, or several lines of them; NULL: none */
    int (*run)(int n, char **operands); /* returns the exit status */
} cli_program_t;

/* Reads the command line, and before it the file of --config, into the options' values, then the chosen
 * preset into those of the others; answers --help and --version; looks into the files that options and operands name. Returns the index in
 * argv of the first operand. */
int cli_parse(int argc, char **argv, const cli_program_t *program);

/* Runs the program; its name is that of argv[0]. */
int cli_main(int argc, char **argv, const cli_program_t *program);

/* The program tinylm holds many others, and calls them by their tables. */
#ifdef CLI_IN_TINYLM
#define CLI_MAIN(program) extern const cli_program_t program;
#else
#define CLI_MAIN(program)                                                                          \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return cli_main(argc, argv, &(program));                                                   \
    }
#endif

/* What the program calls itself: "train_lm", or "tinylm train". */
const char *cli_program_name(void);
void cli_set_program_name(const char *name);
/* The whole command line; NULL before cli_parse. */
char **cli_command_line(void);
void cli_set_command_line(char **argv);

/* The options that all programs have, and those of program->has: number i, NULL behind the last. */
const cli_option_t *cli_common_option(const cli_program_t *program, size_t i);
/* What the option's value may be, NULL if nothing is known of it. */
const cli_value_t *cli_value_of(const cli_program_t *program, const char *option);
/* How help names the value of an option: "N", "FILE" ...; "" if it has none. */
const char *cli_argument_name(const cli_program_t *program, const cli_option_t *option);
/* The help of an option with its words and its default, as one line. */
void cli_describe_option(char *out, size_t size, const cli_program_t *program,
                         const cli_option_t *option);
void cli_print_help(const cli_program_t *program);

/* The one of n names that is like `name`, as after a slip of the pen; NULL if none is. */
const char *cli_find_similar(const char *name, const char *const *names, size_t n);

/* Whether --json or --quiet was given. */
bool cli_is_json(void);
bool cli_is_quiet(void);

/* Prints to standard error, unless --quiet or --json was given. */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints to standard output, unless --json was given. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether the command line that cli_parse read, or its file of --config, gave the option. */
bool cli_was_given(const char *name);
/* The same, but not for options that come from a file which the program found itself. */
bool cli_was_asked(const char *name);
/* The same, but for the command line alone, without any file. */
bool cli_was_typed(const char *name);
/* Whether it gave the option, by this or another of its names. */
bool cli_was_set(const cli_option_t *option);

/* Writes the values of all options as a file for --config. */
void cli_write_config(const char *path, const cli_program_t *program);

/* Prints the settings of a preset as a command line would give them, on lines of their own. */
void cli_print_preset(const cli_program_t *program, const char *name);

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

/* The same without a hint at --help: status 2. */
_Noreturn void cli_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program if the file at the path is certainly not what the role asks for, saying what it
 * looks like, what `name` (an option, or CLI_OPERANDS) takes, and which commands take the file. */
void cli_expect(const char *path, cli_role_t role, const char *name);

/* Ends the program unless low <= value <= high, naming the option. */
void cli_check_range(const char *option, uint64_t value, uint64_t low, uint64_t high);

/* The index in `words` of the option's value; ends the program, listing them, if it is not there. */
int32_t cli_choose(const char *option, const char *value, const char *const *words, size_t n);
/* The same for words up to NULL. */
int32_t cli_choose_word(const char *option, const char *value, const char *const *words);

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

/* Ends the program if --special is given, and no tokenizer whose token it could be. */
void cli_check_special(const char *special, const char *path, const char *vocab_path);

/* The chat template of that name, or at that path. */
tlm_chat_template_t *cli_open_chat_template(const char *name);

/* The text as a byte string, borrowed. */
tlm_bytes_t cli_bytes(const char *text);

/* Prints the longest tokens of a vocabulary, special ones left out, a line each. */
void cli_print_longest_tokens(const tlm_tokenizer_t *tokenizer, size_t most);

/* ---- Progress: a bar on a terminal, elsewhere a line from time to time, both on standard error; nothing
 * with --quiet or --json. TINYLM_PROGRESS_SECONDS sets the time between two of them, 0 shows all. ---- */

/* Begins a step: "counting". `unit` says what is counted: "B", "tokens"; NULL: only the share is shown. */
void cli_progress_begin(const char *what, const char *unit);
/* As a tlm_progress_callback_t, too: always 0. A total of 0 is not known. */
int32_t cli_progress(void *user, uint64_t done, uint64_t total);
/* Begins a step that does not tell how far it is: a thread asks `probe` until the step ends, or shows the
 * time if that is NULL and the total 0. Nothing else may be printed meanwhile. */
void cli_progress_watch(const char *what, const char *unit, uint64_t (*probe)(void),
                        uint64_t total);
/* Bytes that the process has written to files so far, as the kernel counts them. */
uint64_t cli_bytes_written(void);
/* What stands behind the bar, instead of the rate; no lines are printed where there is no terminal. */
void cli_progress_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the step and removes the bar. */
void cli_progress_end(void);
/* Removes the bar until its next change, before other output. */
void cli_progress_hide(void);

/* Seconds on a monotonic clock. */
double cli_seconds(void);

/* Whether text ends in `end`, such as ".npy". */
bool cli_ends_with(const char *text, const char *end);

#endif
