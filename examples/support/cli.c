/* Errors, files and the clock of the demo programs. */
#include "support/cli.h"
#include "support/cli_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK_SIZE = 1 << 20 };

static const char *program_name = "tinylm";
static char **command_line;
static int32_t own_rank;
static bool has_failed; /* an error was printed */

const char *cli_program_name(void)
{
    return program_name;
}

void cli_set_program_name(const char *name)
{
    program_name = name;
}

char **cli_command_line(void)
{
    return command_line;
}

/* What printf could not write is noticed here, so that no program has to check each line. */
static void check_stdout(void)
{
    const bool failed = ferror(stdout) != 0;

    if ((fflush(stdout) == 0 && !failed) || has_failed)
        return;
    fprintf(stderr, "%s: standard output: %s\n", program_name,
            failed ? "not all of it could be written" : strerror(errno));
    _exit(1);
}

void cli_set_command_line(char **argv)
{
    command_line = argv;
    atexit(check_stdout);
}

void cli_set_rank(int32_t rank)
{
    own_rank = rank;
    if (rank > 0 && freopen("/dev/null", "w", stdout) == NULL)
        cli_fail("/dev/null: %s", strerror(errno));
}

/* Whether results are wanted as JSON; an error may come before --json was read. */
static bool wants_json(void)
{
    if (cli_is_json() || command_line == NULL)
        return cli_is_json();
    for (char **word = command_line; *word != NULL && strcmp(*word, "--") != 0; word++)
        if (strcmp(*word, "--json") == 0)
            return true;
    return false;
}

/* On standard error; with --json also an object on standard output, which then is never empty. */
static void print_error(int status, const char *format, va_list arguments)
{
    const bool is_first = !has_failed;
    char *text;

    has_failed = true;
    cli_progress_end();
    fflush(stdout);
    if (vasprintf(&text, format, arguments) < 0)
        exit(status);
    if (own_rank > 0)
        fprintf(stderr, "%s: rank %" PRId32 ": %s\n", program_name, own_rank, text);
    else
        fprintf(stderr, "%s: %s\n", program_name, text);
    if (is_first && wants_json())
        cli_result_print_error(text, status);
    free(text);
}

_Noreturn void cli_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_error(1, format, arguments);
    va_end(arguments);
    exit(1);
}

_Noreturn void cli_fail_usage(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_error(2, format, arguments);
    va_end(arguments);
    fprintf(stderr, "Try '%s --help'.\n", program_name);
    exit(2);
}

_Noreturn void cli_refuse(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_error(2, format, arguments);
    va_end(arguments);
    exit(2);
}

void cli_check(tlm_status_t status)
{
    if (status == TLM_OK)
        return;
    if (own_rank > 0 && strstr(tlm_error_message(), ": rank ") != NULL)
        exit(1); /* rank 0 or the one that failed says it */
    cli_fail("%s", tlm_error_message());
}

void cli_check_range(const char *option, uint64_t value, uint64_t low, uint64_t high)
{
    if (value < low || value > high)
        cli_fail_usage("--%s must be %" PRIu64 "..%" PRIu64 ", not %" PRIu64, option, low, high,
                       value);
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

void cli_note(const char *format, ...)
{
    va_list arguments;

    if (cli_is_quiet())
        return;
    cli_progress_hide();
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

void cli_say(const char *format, ...)
{
    va_list arguments;

    if (cli_is_json())
        return;
    cli_progress_hide();
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
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
        cli_fail_usage("either --tokenizer is needed, or --vocab and --merges");
    options.special_tokens = &special_token;
    options.num_special_tokens = special_token.size > 0 ? 1 : 0;
    if (path != NULL)
        cli_check(tlm_tokenizer_open(&tokenizer, path, &options));
    else
        cli_check(tlm_tokenizer_load(&tokenizer, vocab_path, merges_path, &options));
    return tokenizer;
}

void cli_check_special(const char *special, const char *path, const char *vocab_path)
{
    if (special != NULL && path == NULL && vocab_path == NULL)
        cli_fail_usage("--special is a token of --tokenizer or --vocab, and neither is given");
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
        cli_say("longest token: '%s' (%zu bytes)\n", text, token.size);
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
