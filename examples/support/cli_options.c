/* Command lines: options by their tables, help, and what to say of a wrong one. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli.h"
#include "support/cli_json.h"

enum { MAX_OPTIONS = 128, MAX_PRESETS = 8, MAX_COMMON = 8, HELP_COLUMN = 26, WIDTH = 98 };

/* ---- The options of all programs ---------------------------------------------------------- */

static const char *config_path;
static bool is_json, is_quiet, wants_help, wants_version;
static uint64_t threads;

static const cli_option_t threads_option = {"threads", CLI_COUNT, &threads, HELP_THREADS, false};
static const cli_option_t json_option = {
    "json", CLI_FLAG, &is_json, "print results as JSON, in place of text; no progress", false};
static const cli_option_t quiet_option = {"quiet", CLI_FLAG, &is_quiet, "show no progress", false};
static const cli_option_t config_option = {
    "config", CLI_STRING, &config_path,
    "JSON file of options by name; the command line takes precedence", false};
static const cli_option_t help_option = {"help", CLI_FLAG, &wants_help, "print this and exit",
                                         false};
static const cli_option_t version_option = {"version", CLI_FLAG, &wants_version,
                                            "print the version and exit", false};

const cli_option_t *cli_common_option(const cli_program_t *program, size_t i)
{
    const cli_option_t *list[MAX_COMMON];
    size_t n = 0;

    if ((program->has & CLI_HAS_THREADS) != 0)
        list[n++] = &threads_option;
    if ((program->has & CLI_HAS_JSON) != 0)
        list[n++] = &json_option;
    if ((program->has & CLI_HAS_QUIET) != 0)
        list[n++] = &quiet_option;
    list[n++] = &config_option;
    list[n++] = &help_option;
    list[n++] = &version_option;
    return i < n ? list[i] : NULL;
}

bool cli_is_json(void)
{
    return is_json;
}

bool cli_is_quiet(void)
{
    return is_quiet || is_json;
}

/* ---- Help --------------------------------------------------------------------------------- */

const cli_value_t *cli_value_of(const cli_program_t *program, const char *option)
{
    for (const cli_value_t *value = program->values; value != NULL && value->option; value++)
        if (strcmp(value->option, option) == 0)
            return value;
    return NULL;
}

const char *cli_argument_name(const cli_program_t *program, const cli_option_t *option)
{
    static const char *const names[] = {"TEXT", "N", "X", "", "TEXT"};
    const cli_value_t *value = cli_value_of(program, option->name);

    if (option == &config_option)
        return "FILE";
    if (value == NULL || option->kind == CLI_FLAG)
        return names[option->kind];
    if (value->words != NULL)
        return "WORD";
    return value->role == ROLE_DIRECTORY || value->role == ROLE_ADAPTER || value->role == ROLE_RUN
               ? "DIR"
               : "FILE";
}

static void describe_default(char *out, size_t size, const cli_option_t *option)
{
    switch (option->kind) {
    case CLI_STRING:
        if (*(const char **)option->value != NULL)
            snprintf(out, size, " (default %s)", *(const char **)option->value);
        break;
    case CLI_COUNT:
        if (*(uint64_t *)option->value != CLI_NONE)
            snprintf(out, size, " (default %" PRIu64 ")", *(uint64_t *)option->value);
        break;
    case CLI_REAL:
        if (!isnan(*(double *)option->value))
            snprintf(out, size, " (default %g)", *(double *)option->value);
        break;
    case CLI_FLAG:
    case CLI_STRINGS:
        break;
    }
}

void cli_describe_option(char *out, size_t size, const cli_program_t *program,
                         const cli_option_t *option)
{
    const cli_value_t *value = cli_value_of(program, option->name);
    size_t used;

    snprintf(out, size, "%s", option->help);
    for (size_t i = 0; value != NULL && value->words != NULL && value->words[i] != NULL; i++) {
        used = strlen(out);
        snprintf(out + used, size - used, "%s%s", i == 0 ? ": " : ", ", value->words[i]);
    }
    used = strlen(out);
    if (option->required)
        snprintf(out + used, size - used, " (required)");
    else
        describe_default(out + used, size - used, option);
}

/* Prints a text that begins in the column, in lines of words. */
static void print_wrapped(const char *text, size_t column)
{
    for (size_t at = column; *text != '\0';) {
        size_t n = strcspn(text, " ");

        if (at > HELP_COLUMN && at + 1 + n > WIDTH) {
            printf("\n%*s", HELP_COLUMN, "");
            at = HELP_COLUMN;
        } else if (at > HELP_COLUMN) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)n, text);
        at += n;
        text += n + (text[n] == ' ');
    }
    putchar('\n');
}

static void print_option(const cli_program_t *program, const cli_option_t *option)
{
    char text[1024];
    int used = printf("  --%s %s", option->name, cli_argument_name(program, option));

    cli_describe_option(text, sizeof(text), program, option);
    printf("%*s", used < HELP_COLUMN - 1 ? HELP_COLUMN - used : 2, "");
    print_wrapped(text, HELP_COLUMN);
}

/* The preset of that name; ends the program, listing them, if there is none. */
static const cli_preset_t *find_preset(const cli_program_t *program, const char *name)
{
    const char *names[MAX_PRESETS];

    for (size_t i = 0; i < program->num_presets; i++)
        names[i] = program->presets[i].name;
    return &program->presets[cli_choose(program->preset_option, name, names, program->num_presets)];
}

void cli_print_preset(const cli_program_t *program, const char *name)
{
    const cli_setting_t *setting = find_preset(program, name)->settings;
    int column = 0;
    char text[64];

    for (; setting->option != NULL; setting++) {
        const bool is_on = strcmp(setting->value, "true") == 0;
        const bool is_off = strcmp(setting->value, "false") == 0;
        const char *quote = strchr(setting->value, ' ') != NULL ? "\"" : "";
        const int length =
            snprintf(text, sizeof(text), "--%s%s%s%s%s", setting->option,
                     is_on ? "" : (is_off ? "=" : " "), quote, is_on ? "" : setting->value, quote);

        if (column + 1 + length > WIDTH) {
            putchar('\n');
            column = 0;
        }
        column += printf("%s %s", column == 0 ? " " : "", text);
    }
    putchar('\n');
}

static void print_examples(const char *example)
{
    while (example != NULL && *example != '\0') {
        size_t n = strcspn(example, "\n");

        printf("    %s %.*s\n", cli_program_name(), (int)n, example);
        example += n + (example[n] == '\n');
    }
}

void cli_print_help(const cli_program_t *program)
{
    printf("Usage: %s [OPTION]...%s%s\n%s\n\n", cli_program_name(),
           program->operands != NULL ? " " : "", program->operands != NULL ? program->operands : "",
           program->summary);
    for (size_t i = 0; i < program->num_options; i++) {
        if (program->options[i].name == NULL)
            printf("%s%s:\n", i == 0 ? "" : "\n", program->options[i].help);
        else
            print_option(program, &program->options[i]);
    }
    if (program->num_options > 0 && program->options[0].name == NULL)
        printf("\nOther:\n");
    for (size_t i = 0; cli_common_option(program, i) != NULL; i++)
        print_option(program, cli_common_option(program, i));
    for (size_t i = 0; i < program->num_presets; i++) {
        const cli_preset_t *preset = &program->presets[i];

        printf("\n--%s %s: %s\n", program->preset_option, preset->name, preset->help);
        cli_print_preset(program, preset->name);
    }
    if (program->example != NULL) {
        printf("\nFor example:\n");
        print_examples(program->example);
    }
}

/* ---- Values ------------------------------------------------------------------------------- */

static const cli_option_t *given[MAX_OPTIONS]; /* the first num_given */
static size_t num_given, num_asked;            /* the latter without a file that was found */

bool cli_was_given(const char *name)
{
    for (size_t i = 0; i < num_given; i++)
        if (strcmp(given[i]->name, name) == 0)
            return true;
    return false;
}

bool cli_was_asked(const char *name)
{
    for (size_t i = 0; i < num_asked; i++)
        if (strcmp(given[i]->name, name) == 0)
            return true;
    return false;
}

static cli_strings_t typed;

bool cli_was_typed(const char *name)
{
    for (size_t i = 0; i < typed.n; i++)
        if (strcmp(typed.texts[i], name) == 0)
            return true;
    return false;
}

bool cli_was_set(const cli_option_t *option)
{
    for (size_t i = 0; i < num_given; i++)
        if (given[i]->value == option->value)
            return true;
    return false;
}

static void note_given(const cli_option_t *option)
{
    for (size_t i = 0; i < num_given; i++)
        if (given[i] == option)
            return;
    if (num_given < MAX_OPTIONS)
        given[num_given++] = option;
}

static void add_string(cli_strings_t *strings, const char *text)
{
    strings->texts = cli_realloc(strings->texts, (strings->n + 1) * sizeof(*strings->texts));
    strings->texts[strings->n++] = text;
}

static void set_flag(bool *flag, const cli_option_t *option, const char *text, const char *where)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        cli_fail_usage("%s%s: '%s' is neither true nor false", where, option->name, text);
    *flag = strcmp(text, "true") == 0;
}

/* Whether the text is a number, also one such as "1e6" or "10k", and which. */
static bool parse_number(double *out, const char *text)
{
    static const char letters[] = "kmgt";
    char *end;

    *out = strtod(text, &end);
    if (end == text || *end == '\0')
        return end != text;
    const char *letter = strchr(letters, *end | 0x20);
    if (letter != NULL)
        *out *= pow(1000.0, (double)(letter - letters + 1));
    return letter != NULL && end[1] == '\0';
}

static _Noreturn void refuse_number(const cli_option_t *option, const char *text, const char *where)
{
    const bool whole = option->kind == CLI_COUNT;
    const char *name = option->name;
    double meant;

    if (*text == '\0')
        cli_fail_usage("%s%s: its value is empty, and must be a number", where, name);
    if (!parse_number(&meant, text))
        cli_fail_usage("%s%s: '%s' is not a number", where, name, text);
    if (!isfinite(meant))
        cli_fail_usage("%s%s: '%s' is not a finite number", where, name, text);
    if (!whole && errno == ERANGE)
        cli_fail_usage("%s%s: '%s' is too close to 0", where, name, text);
    if (whole && meant < 0.0)
        cli_fail_usage("%s%s: '%s' is negative, and must be a whole number", where, name, text);
    if (whole && (meant != floor(meant) || strpbrk(text, "xXpP ") != NULL))
        cli_fail_usage("%s%s: '%s' is not a whole number", where, name, text);
    if (fabs(meant) >= 0x1p64)
        cli_fail_usage("%s%s: '%s' is too large a number", where, name, text);
    cli_fail_usage("%s%s: '%s' is not written in digits; did you mean %.*f?", where, name, text,
                   whole ? 0 : 1, meant);
}

static void set_value(const cli_option_t *option, const char *text, const char *where)
{
    char *end = NULL;

    errno = 0;
    switch (option->kind) {
    case CLI_STRING:
        *(const char **)option->value = text;
        return;
    case CLI_COUNT:
        /* strtoull takes a minus sign and blanks; a count has neither. */
        if (text[0] >= '0' && text[0] <= '9')
            *(uint64_t *)option->value = strtoull(text, &end, 10);
        break;
    case CLI_REAL:
        *(double *)option->value = strtod(text, &end);
        if (!isfinite(*(double *)option->value))
            end = NULL;
        break;
    case CLI_FLAG:
        set_flag(option->value, option, text, where);
        return;
    case CLI_STRINGS:
        add_string(option->value, text);
        return;
    }
    if (end == NULL || end == text || *end != '\0' || errno != 0)
        refuse_number(option, text, where);
}

void cli_set_value(const cli_option_t *option, const char *text, const char *where)
{
    note_given(option);
    set_value(option, text, where);
}

static const cli_option_t *find_option(const cli_program_t *program, const char *name)
{
    for (size_t i = 0; i < program->num_options; i++)
        if (program->options[i].name != NULL && strcmp(program->options[i].name, name) == 0)
            return &program->options[i];
    cli_fail("there is no option '%s'", name);
}

/* Sets what the chosen preset says of options that were not given. */
static void apply_preset(const cli_program_t *program)
{
    const char *name = NULL;

    if (program->preset_option != NULL)
        name = *(const char **)find_option(program, program->preset_option)->value;
    if (name == NULL)
        return;
    const cli_setting_t *setting = find_preset(program, name)->settings;
    for (; setting->option != NULL; setting++)
        if (!cli_was_set(find_option(program, setting->option)))
            set_value(find_option(program, setting->option), setting->value, "--");
}

/* Ends the program for a word that the option does not have, and for a file of another trade. */
static void check_text(const cli_value_t *value, const char *text)
{
    if (text != NULL && value->words != NULL)
        cli_choose_word(value->option, text, value->words);
    if (text != NULL)
        cli_expect(text, value->role, value->option);
}

static void check_values(const cli_program_t *program, char **operands)
{
    for (size_t i = 0; i < program->num_options; i++) {
        const cli_option_t *option = &program->options[i];
        const cli_value_t *value =
            option->name != NULL ? cli_value_of(program, option->name) : NULL;

        if (value != NULL && option->kind == CLI_STRING)
            check_text(value, *(const char **)option->value);
        if (value != NULL && option->kind == CLI_STRINGS)
            for (size_t k = 0; k < ((const cli_strings_t *)option->value)->n; k++)
                check_text(value, ((const cli_strings_t *)option->value)->texts[k]);
    }
    const cli_value_t *value = cli_value_of(program, CLI_OPERANDS);
    for (; value != NULL && *operands != NULL; operands++)
        check_text(value, *operands);
}

/* ---- The command line --------------------------------------------------------------------- */

/* What getopt_long gives: for an option its number and FIRST, above all characters, since '?' stands for
 * an unknown one. */
enum { FIRST = 256 };

/* The program's options, headings left out, and the common ones. */
typedef struct table {
    const cli_option_t *options[MAX_OPTIONS];
    struct option longs[MAX_OPTIONS + 1];
    size_t n;
} table_t;

static void add_option(table_t *table, const cli_option_t *option)
{
    if (table->n == MAX_OPTIONS)
        cli_fail("more than %d options", MAX_OPTIONS);
    table->longs[table->n] = (struct option){
        option->name, option->kind == CLI_FLAG ? optional_argument : required_argument, NULL,
        FIRST + (int)table->n};
    table->options[table->n++] = option;
}

static void make_table(table_t *table, const cli_program_t *program)
{
    *table = (table_t){.n = 0};
    for (size_t i = 0; i < program->num_options; i++)
        if (program->options[i].name != NULL)
            add_option(table, &program->options[i]);
    for (size_t i = 0; cli_common_option(program, i) != NULL; i++)
        add_option(table, cli_common_option(program, i));
}

/* Says what is wrong with an argument that getopt_long does not take. */
static _Noreturn void refuse(const table_t *table, const char *argument)
{
    const char *names[MAX_OPTIONS], *similar;
    char name[64];
    size_t size = strcspn(argument, "=");

    if (optopt >= FIRST)
        cli_fail_usage("--%s: its value is missing", table->options[optopt - FIRST]->name);
    if (strncmp(argument, "--", 2) != 0)
        cli_fail_usage("%s: unknown option; options begin with two dashes", argument);
    snprintf(name, sizeof(name), "%.*s", (int)size - 2, argument + 2);
    for (size_t i = 0; i < table->n; i++)
        names[i] = table->options[i]->name;
    similar = cli_find_similar(name, names, table->n);
    if (similar == NULL)
        cli_fail_usage("--%s: unknown option", name);
    cli_fail_usage("--%s: unknown option; did you mean --%s?", name, similar);
}

/* Goes through the command line once: the options' values, or the file of --config alone. */
static void read_arguments(int argc, char **argv, const cli_program_t *program, bool config_only)
{
    table_t table;
    int choice;

    make_table(&table, program);
    opterr = 0;
    optind = 1;
    while ((choice = getopt_long(argc, argv, "", table.longs, NULL)) != -1) {
        if (choice == '?')
            refuse(&table, argv[optind - 1]);
        const cli_option_t *option = table.options[choice - FIRST];
        if (option == &help_option) {
            cli_print_help(program);
            exit(0);
        }
        if (option == &version_option) {
            printf("%s (libtinylm) %s\n", cli_program_name(), tlm_version());
            exit(0);
        }
        if (option == &config_option && config_only) {
            cli_read_config(optarg, program);
            config_path = optarg;
        }
        if (option == &config_option || config_only)
            continue;
        cli_set_value(option, optarg != NULL ? optarg : "true", "--");
        add_string(&typed, option->name);
    }
}

static void read_found_config(const cli_program_t *program)
{
    const char *path = program->find_config();

    if (path != NULL)
        cli_read_config(path, program);
}

/* The first option that is required and was not given. */
static const cli_option_t *find_missing(const cli_program_t *program)
{
    for (size_t i = 0; i < program->num_options; i++)
        if (program->options[i].required && *(const char **)program->options[i].value == NULL)
            return &program->options[i];
    return NULL;
}

int cli_parse(int argc, char **argv, const cli_program_t *program)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

    if (argc > 0 && cli_command_line() == NULL) {
        cli_set_program_name(slash != NULL ? slash + 1 : argv[0]);
        cli_set_command_line(argv);
    }
    read_arguments(argc, argv, program, true);
    read_arguments(argc, argv, program, false);
    num_asked = num_given;
    if (config_path == NULL && program->find_config != NULL)
        read_found_config(program);
    apply_preset(program);
    const cli_option_t *missing = find_missing(program);
    if (program->operands == NULL && optind < argc && missing != NULL)
        cli_fail_usage("%s: unexpected argument; did you mean --%s %s?", argv[optind],
                       missing->name, argv[optind]);
    if (program->operands == NULL && optind < argc)
        cli_fail_usage("%s: unexpected argument", argv[optind]);
    if (missing != NULL)
        cli_fail_usage("--%s is missing", missing->name);
    check_values(program, argv + optind);
    return optind;
}

/* Words that nobody knows would be as if they were not there. */
static void check_environment(void)
{
    const char *seconds = getenv("TINYLM_PROGRESS_SECONDS");
    char *end;

    if (tlm_check_environment() != TLM_OK)
        cli_refuse("%s", tlm_error_message());
    if (seconds != NULL && (!(strtod(seconds, &end) >= 0.0) || end == seconds || *end != '\0'))
        cli_refuse("TINYLM_PROGRESS_SECONDS: '%.32s' is not a number of seconds", seconds);
}

int cli_main(int argc, char **argv, const cli_program_t *program)
{
    int first = cli_parse(argc, argv, program);

    check_environment();
    if ((program->has & CLI_HAS_THREADS) != 0) {
        cli_check_range("threads", threads, 0, TLM_MAX_THREADS);
        cli_check(tlm_set_num_threads((int32_t)threads));
    }
    return program->run(argc - first, argv + first);
}
