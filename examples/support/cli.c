/* Options, errors, files and the clock of the demo programs. */
#include "support/cli.h"

#include "support/cli_json.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OPTIONS = 120, MAX_PRESETS = 8, WIDTH = 100, CHUNK_SIZE = 1 << 20 };

static const char *program_name = "tinylm";

static int32_t own_rank;

void cli_set_rank(int32_t rank)
{
    own_rank = rank;
    if (rank > 0 && freopen("/dev/null", "w", stdout) == NULL)
        cli_fail("/dev/null: %s", strerror(errno));
}

static void print_error(const char *format, va_list arguments)
{
    fflush(stdout);
    fprintf(stderr, "%s: ", program_name);
    if (own_rank > 0)
        fprintf(stderr, "rank %" PRId32 ": ", own_rank);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

_Noreturn void cli_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_error(format, arguments);
    va_end(arguments);
    exit(1);
}

_Noreturn void cli_fail_usage(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_error(format, arguments);
    va_end(arguments);
    fprintf(stderr, "Try '%s --help'.\n", program_name);
    exit(2);
}

void cli_check(tlm_status_t status)
{
    if (status == TLM_OK)
        return;
    if (own_rank > 0 && strstr(tlm_error_message(), ": rank ") != NULL) {
        sleep(1); /* so that the others have said it before this rank ends them */
        exit(1);
    }
    cli_fail("%s", tlm_error_message());
}

void cli_check_range(const char *option, uint64_t value, uint64_t low, uint64_t high)
{
    if (value < low || value > high)
        cli_fail_usage("--%s must be %" PRIu64 "..%" PRIu64 ", not %" PRIu64, option, low, high,
                       value);
}

int32_t cli_choose(const char *option, const char *value, const char *const *words, size_t n)
{
    char list[256] = "";

    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(list);

        if (strcmp(value, words[i]) == 0)
            return (int32_t)i;
        snprintf(list + used, sizeof(list) - used, "%s%s", i == 0 ? "" : ", ", words[i]);
    }
    cli_fail_usage("--%s must be one of %s, not %s", option, list, value);
}

static void print_default(const cli_option_t *option)
{
    switch (option->kind) {
    case CLI_STRING:
        if (*(const char **)option->value != NULL)
            printf(" (default %s)", *(const char **)option->value);
        break;
    case CLI_COUNT:
        if (*(uint64_t *)option->value != CLI_NONE)
            printf(" (default %" PRIu64 ")", *(uint64_t *)option->value);
        break;
    case CLI_REAL:
        printf(" (default %g)", *(double *)option->value);
        break;
    case CLI_FLAG:
    case CLI_STRINGS:
        break;
    }
}

static void print_option(const char *name, const char *argument, const char *help)
{
    printf("  --%-15s %-4s  %s", name, argument, help);
}

static const char *preset_option; /* NULL: there are no presets */
static const cli_preset_t *presets;
static size_t num_presets;

void cli_set_presets(const char *option, const cli_preset_t *chosen, size_t n)
{
    preset_option = option;
    presets = chosen;
    num_presets = n < MAX_PRESETS ? n : MAX_PRESETS;
}

/* The preset of that name; ends the program, listing them, if there is none. */
static const cli_preset_t *find_preset(const char *name)
{
    const char *names[MAX_PRESETS];

    for (size_t i = 0; i < num_presets; i++)
        names[i] = presets[i].name;
    return &presets[cli_choose(preset_option, name, names, num_presets)];
}

static void print_help(const cli_program_t *program)
{
    static const char *const arguments[] = {"TEXT", "N", "X", "", "TEXT"};

    printf("Usage: %s [OPTION]...%s%s\n%s\n\n", program_name, program->operands != NULL ? " " : "",
           program->operands != NULL ? program->operands : "", program->summary);
    for (size_t i = 0; i < program->num_options; i++) {
        const cli_option_t *option = &program->options[i];

        if (option->name == NULL) {
            printf("%s%s:\n", i == 0 ? "" : "\n", option->help);
            continue;
        }
        print_option(option->name, arguments[option->kind], option->help);
        if (option->required)
            printf(" (required)");
        else
            print_default(option);
        putchar('\n');
    }
    if (program->num_options > 0 && program->options[0].name == NULL)
        printf("\nOther:\n");
    print_option("config", "TEXT", "JSON file of options by name; the command line wins\n");
    print_option("help", "", "print this and exit\n");
    for (size_t i = 0; i < num_presets; i++) {
        printf("\n--%s %s: %s\n", preset_option, presets[i].name, presets[i].help);
        cli_print_preset(presets[i].name);
    }
}

void cli_print_preset(const char *name)
{
    const cli_setting_t *setting = find_preset(name)->settings;
    int column = 0;
    char text[64];

    for (; setting->option != NULL; setting++) {
        const bool is_on = strcmp(setting->value, "true") == 0;
        const bool is_off = strcmp(setting->value, "false") == 0;
        const int length = snprintf(text, sizeof(text), "--%s%s%s", setting->option,
                                    is_on ? "" : (is_off ? "=" : " "), is_on ? "" : setting->value);

        if (column + 1 + length > WIDTH) {
            putchar('\n');
            column = 0;
        }
        column += printf("%s %s", column == 0 ? " " : "", text);
    }
    putchar('\n');
}

static const cli_option_t *given[MAX_OPTIONS]; /* the first num_given */
static size_t num_given;

bool cli_was_given(const char *name)
{
    for (size_t i = 0; i < num_given; i++)
        if (strcmp(given[i]->name, name) == 0)
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
        cli_fail_usage("%s%s: '%s' is not a valid number", where, option->name, text);
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

    if (preset_option != NULL)
        name = *(const char **)find_option(program, preset_option)->value;
    if (name == NULL)
        return;
    const cli_setting_t *setting = find_preset(name)->settings;
    for (; setting->option != NULL; setting++)
        if (!cli_was_given(setting->option))
            set_value(find_option(program, setting->option), setting->value, "--");
}

/* What getopt_long gives: for the program's own options their number and FIRST, above all characters,
 * since '?' stands for an unknown one. */
enum { FIRST = 256, CHOSE_HELP = FIRST + MAX_OPTIONS, CHOSE_CONFIG };

/* The table of getopt_long; headings get names that nobody can type. */
static void make_table(struct option table[MAX_OPTIONS + 3], const cli_program_t *program)
{
    size_t n = program->num_options;

    if (n > MAX_OPTIONS)
        cli_fail("more than %d options", MAX_OPTIONS);
    for (size_t i = 0; i < n; i++) {
        const cli_option_t *option = &program->options[i];
        int has_argument = option->kind == CLI_FLAG ? optional_argument : required_argument;

        table[i] = (struct option){option->name != NULL ? option->name : "=", has_argument, NULL,
                                   FIRST + (int)i};
    }
    table[n] = (struct option){"help", no_argument, NULL, CHOSE_HELP};
    table[n + 1] = (struct option){"config", required_argument, NULL, CHOSE_CONFIG};
}

/* Goes through the command line once: the options' values, or the file of --config alone. */
static void read_arguments(int argc, char **argv, const cli_program_t *program, bool config_only)
{
    struct option table[MAX_OPTIONS + 3] = {{0}};
    int choice;

    make_table(table, program);
    opterr = 0;
    optind = 1;
    while ((choice = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (choice == CHOSE_HELP) {
            print_help(program);
            exit(0);
        }
        if (choice == '?')
            cli_fail_usage("%s: unknown option, or one without its value", argv[optind - 1]);
        if (choice == CHOSE_CONFIG && config_only)
            cli_read_config(optarg, program);
        else if (choice != CHOSE_CONFIG && !config_only)
            cli_set_value(&program->options[choice - FIRST], optarg != NULL ? optarg : "true",
                          "--");
    }
}

int cli_parse(int argc, char **argv, const cli_program_t *program)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

    if (argc > 0)
        program_name = slash != NULL ? slash + 1 : argv[0];
    read_arguments(argc, argv, program, true);
    read_arguments(argc, argv, program, false);
    apply_preset(program);
    for (size_t i = 0; i < program->num_options; i++)
        if (program->options[i].required && *(const char **)program->options[i].value == NULL)
            cli_fail_usage("--%s is missing", program->options[i].name);
    if (program->operands == NULL && optind < argc)
        cli_fail_usage("%s: unexpected argument", argv[optind]);
    return optind;
}

void *cli_realloc(void *memory, size_t size)
{
    void *grown = realloc(memory, size > 0 ? size : 1);

    if (grown == NULL)
        cli_fail("out of memory (%zu bytes)", size);
    return grown;
}

void cli_read_file(const char *path, cli_chunk_callback_t on_chunk, void *user)
{
    char *chunk = cli_realloc(NULL, CHUNK_SIZE);
    FILE *file = fopen(path, "rb");
    size_t n;

    if (file == NULL)
        cli_fail("%s: %s", path, strerror(errno));
    while ((n = fread(chunk, 1, CHUNK_SIZE, file)) > 0)
        on_chunk(user, chunk, n);
    if (ferror(file))
        cli_fail("%s: %s", path, strerror(errno));
    fclose(file);
    free(chunk);
}

typedef struct text {
    char *bytes;
    size_t size;
} text_t;

static void append_chunk(void *user, const void *chunk, size_t size)
{
    text_t *text = user;

    text->bytes = cli_realloc(text->bytes, text->size + size + 1);
    memcpy(text->bytes + text->size, chunk, size);
    text->size += size;
}

char *cli_read_text(size_t *size, const char *path)
{
    text_t text = {cli_realloc(NULL, 1), 0};

    cli_read_file(path, append_chunk, &text);
    text.bytes[text.size] = '\0';
    *size = text.size;
    return text.bytes;
}

void cli_print(const char *text, size_t size)
{
    if (fwrite(text, 1, size, stdout) != size || fflush(stdout) != 0)
        cli_fail("standard output: %s", strerror(errno));
}

void cli_close_output(FILE *file, const char *path)
{
    bool failed = ferror(file) || fflush(file) != 0;

    if ((path != NULL && fclose(file) != 0) || failed)
        cli_fail("%s: %s", path != NULL ? path : "standard output", strerror(errno));
}

tlm_tokenizer_t *cli_load_tokenizer(const char *path, const char *vocab_path,
                                    const char *merges_path, const char *special)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_bytes_t special_token =
        cli_bytes(special == NULL && path == NULL ? CLI_END_TOKEN : special);
    tlm_tokenizer_t *tokenizer;

    if (path != NULL ? vocab_path != NULL || merges_path != NULL
                     : vocab_path == NULL || merges_path == NULL)
        cli_fail("either --tokenizer is needed, or --vocab and --merges");
    options.special_tokens = &special_token;
    options.num_special_tokens = special_token.size > 0 ? 1 : 0;
    if (path != NULL)
        cli_check(tlm_tokenizer_open(&tokenizer, path, &options));
    else
        cli_check(tlm_tokenizer_load(&tokenizer, vocab_path, merges_path, &options));
    return tokenizer;
}

void cli_open_model(tlm_model_t **model, tlm_tokenizer_t **tokenizer,
                    tlm_model_file_options_t *file, const char *model_path, const char *path,
                    const char *vocab_path, const char *merges_path, const char *special,
                    bool for_inference)
{
    bool is_given = path != NULL || vocab_path != NULL || merges_path != NULL;

    if (is_given && tokenizer == NULL)
        cli_fail("a tokenizer is given, and none is wanted");
    if (is_given)
        *tokenizer = cli_load_tokenizer(path, vocab_path, merges_path, special);
    cli_check((for_inference ? tlm_model_open_for_inference : tlm_model_open)(
        model, is_given ? NULL : tokenizer, file, model_path));
}

tlm_chat_template_t *cli_open_chat_template(const char *name)
{
    tlm_chat_template_t *out;

    for (size_t i = 0; tlm_chat_template_name(i) != NULL; i++)
        if (strcmp(name, tlm_chat_template_name(i)) == 0) {
            cli_check(tlm_chat_template_create(&out, name));
            return out;
        }
    cli_check(tlm_chat_template_open(&out, name));
    return out;
}

tlm_bytes_t cli_bytes(const char *text)
{
    return (tlm_bytes_t){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

void cli_print_longest_tokens(const tlm_tokenizer_t *tokenizer, size_t most)
{
    uint32_t *ids = cli_realloc(NULL, most * sizeof(*ids));
    size_t n, size;

    cli_check(tlm_tokenizer_longest_tokens(ids, &n, tokenizer, most));
    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token;
        char *text;

        cli_check(tlm_tokenizer_token(&token, tokenizer, ids[i]));
        cli_check(tlm_utf8_sanitize(&text, &size, token.data, token.size));
        printf("longest token: '%s' (%zu bytes)\n", text, token.size);
        tlm_free(text);
    }
    free(ids);
}

double cli_seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

bool cli_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}
