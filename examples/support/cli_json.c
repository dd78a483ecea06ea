/* JSON for the demo programs, over jansson, which no other of them includes. */
#include "support/cli_json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *parse(const char *text, size_t size, const char *what)
{
    json_error_t error;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);

    if (object == NULL)
        cli_fail("%s: line %d: %s", what, error.line, error.text);
    if (!json_is_object(object)) {
        json_decref(object);
        cli_fail("%s: not a JSON object", what);
    }
    return object;
}

/* Each text of a list is a member of its own. */
static void read_list(const char *key, json_t *list, const char *what,
                      cli_member_callback_t on_member, void *user)
{
    json_t *value;
    size_t i;

    json_array_foreach(list, i, value)
    {
        const cli_member_t member = {key, json_string_value(value), CLI_STRINGS};

        if (member.text == NULL)
            cli_fail("%s: '%s' is a list of something other than texts", what, key);
        on_member(user, &member);
    }
}

/* `lists`: members may be lists of texts. */
static void read_members(json_t *object, const char *what, bool lists,
                         cli_member_callback_t on_member, void *user)
{
    char number[64];
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        cli_member_t member = {key, number, CLI_REAL};

        if (lists && json_is_array(value)) {
            read_list(key, value, what, on_member, user);
            continue;
        }
        if (!lists && json_is_null(value))
            continue;
        if (json_is_string(value)) {
            member.kind = CLI_STRING;
            member.text = json_string_value(value);
        } else if (json_is_boolean(value)) {
            member.kind = CLI_FLAG;
            member.text = json_is_true(value) ? "true" : "false";
        } else if (json_is_integer(value)) {
            member.kind = CLI_COUNT;
            snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        } else if (json_is_real(value)) {
            snprintf(number, sizeof(number), "%.17g", json_real_value(value));
        } else {
            cli_fail("%s: '%s' is neither text, nor a number, nor true or false", what, key);
        }
        on_member(user, &member);
    }
}

void cli_read_object(const char *text, size_t size, const char *what,
                     cli_member_callback_t on_member, void *user)
{
    json_t *object = parse(text, size, what);

    read_members(object, what, false, on_member, user);
    json_decref(object);
}

/* ---- Members by name -------------------------------------------------------------------- */

cli_object_t *cli_open_object(const char *text, size_t size, const char *what)
{
    return (cli_object_t *)parse(text, size, what);
}

void cli_close_object(cli_object_t *object)
{
    json_decref((json_t *)object);
}

const char *cli_object_text(const cli_object_t *object, const char *key)
{
    return json_string_value(json_object_get((const json_t *)object, key));
}

const cli_object_t *cli_object_member(const cli_object_t *object, const char *key)
{
    json_t *value = json_object_get((const json_t *)object, key);

    return json_is_object(value) ? (const cli_object_t *)value : NULL;
}

const cli_object_t *cli_object_at(const cli_object_t *object, const char *key, size_t index)
{
    json_t *value = json_array_get(json_object_get((const json_t *)object, key), index);

    return json_is_object(value) ? (const cli_object_t *)value : NULL;
}

bool cli_object_number(double *out, const cli_object_t *object, const char *key)
{
    json_t *value = json_object_get((const json_t *)object, key);

    if (!json_is_number(value))
        return false;
    *out = json_number_value(value);
    return true;
}

bool cli_object_count(uint64_t *out, const cli_object_t *object, const char *key)
{
    json_t *value = json_object_get((const json_t *)object, key);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

size_t cli_object_size(const cli_object_t *object, const char *key)
{
    return json_array_size(json_object_get((const json_t *)object, key));
}

const char *cli_object_item(const cli_object_t *object, const char *key, size_t index)
{
    return json_string_value(json_array_get(json_object_get((const json_t *)object, key), index));
}

/* ---- Results ---------------------------------------------------------------------------- */

cli_result_t *cli_result_new(void)
{
    return (cli_result_t *)json_object();
}

/* Adds a value to an object or a list, which then owns it. */
static json_t *add(cli_result_t *result, const char *key, json_t *value)
{
    json_t *json = (json_t *)result;

    if (value == NULL || (key != NULL ? json_object_set_new(json, key, value)
                                      : json_array_append_new(json, value)) != 0)
        cli_fail("out of memory, or a key that is no text");
    return value;
}

cli_result_t *cli_result_add_object(cli_result_t *result, const char *key)
{
    return (cli_result_t *)add(result, key, json_object());
}

cli_result_t *cli_result_add_list(cli_result_t *result, const char *key)
{
    return (cli_result_t *)add(result, key, json_array());
}

void cli_result_add_bytes(cli_result_t *result, const char *key, const void *text, size_t size)
{
    char *clean;

    cli_check(tlm_utf8_sanitize(&clean, &size, text, size));
    add(result, key, json_stringn_nocheck(clean, size));
    tlm_free(clean);
}

void cli_result_add_text(cli_result_t *result, const char *key, const char *text)
{
    if (text != NULL)
        cli_result_add_bytes(result, key, text, strlen(text));
    else
        add(result, key, json_null());
}

void cli_result_add_count(cli_result_t *result, const char *key, uint64_t count)
{
    add(result, key,
        count <= INT64_MAX ? json_integer((json_int_t)count) : json_real((double)count));
}

void cli_result_add_real(cli_result_t *result, const char *key, double value)
{
    add(result, key, isfinite(value) ? json_real(value) : json_null());
}

void cli_result_add_flag(cli_result_t *result, const char *key, bool value)
{
    add(result, key, json_boolean(value));
}

void cli_result_append(cli_result_t *result, FILE *file, const char *path)
{
    json_t *json = (json_t *)result;

    if (json_dumpf(json, file, JSON_REAL_PRECISION(10)) != 0 || fputc('\n', file) == EOF ||
        fflush(file) != 0)
        cli_fail("%s: %s", path, strerror(errno));
    json_decref(json);
}

void cli_result_print(cli_result_t *result)
{
    cli_result_append(result, stdout, "standard output");
}

void cli_result_print_error(const char *message, int status)
{
    cli_result_t *result = cli_result_new();

    cli_result_add_text(result, "event", "error");
    cli_result_add_text(result, "error", message);
    cli_result_add_count(result, "status", (uint64_t)status);
    cli_result_print(result);
}

/* So that a process that is killed leaves the whole file or none. */
static void write_aside(json_t *json, const char *path, size_t flags)
{
    char aside[4096];

    if (snprintf(aside, sizeof(aside), "%s.new", path) >= (int)sizeof(aside))
        cli_fail("%s: the name is too long", path);
    if (json_dump_file(json, aside, flags) != 0 || rename(aside, path) != 0)
        cli_fail("%s: it cannot be written: %s", path, strerror(errno));
}

void cli_result_write(cli_result_t *result, const char *path)
{
    write_aside((json_t *)result, path, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    json_decref((json_t *)result);
}

/* ---- Files of options ------------------------------------------------------------------- */

typedef struct config {
    const char *path;
    const cli_program_t *program;
    const cli_option_t *current; /* the latest that was set: lists set an option many times */
} config_t;

static bool same_name(const char *key, const char *name)
{
    for (; *key != '\0' && *name != '\0'; key++, name++)
        if (*key != *name && !(*key == '_' && *name == '-'))
            return false;
    return *key == *name;
}

static bool fits(cli_kind_t option, cli_kind_t value)
{
    return option == value || (option == CLI_REAL && value == CLI_COUNT) ||
           (option == CLI_STRINGS && value == CLI_STRING);
}

static const cli_option_t *find_option(const cli_program_t *program, const char *key)
{
    const cli_option_t *common;

    for (size_t i = 0; i < program->num_options; i++)
        if (program->options[i].name != NULL && same_name(key, program->options[i].name))
            return &program->options[i];
    for (size_t i = 0; (common = cli_common_option(program, i)) != NULL; i++)
        if (same_name(key, common->name))
            return common;
    return NULL;
}

static void set_option(void *user, const cli_member_t *member)
{
    static const char *const types[] = {"text", "a whole number", "a number", "true or false",
                                        "text or a list of texts"};
    config_t *config = user;
    char where[512];

    const cli_option_t *option = find_option(config->program, member->key);
    if (option == NULL)
        cli_fail("%s: there is no option '%s'", config->path, member->key);
    if (!fits(option->kind, member->kind))
        cli_fail("%s: '%s' must be %s", config->path, member->key, types[option->kind]);
    if (option != config->current && cli_was_set(option))
        return;
    config->current = option;
    snprintf(where, sizeof(where), "%s: ", config->path);
    cli_set_value(option, member->text, where);
}

void cli_read_config(const char *path, const cli_program_t *program)
{
    static json_t *kept; /* options point to its texts */
    config_t config = {path, program, NULL};
    size_t size;

    cli_expect(path, ROLE_CONFIG, "config");
    char *text = cli_read_text(&size, path);

    if (kept != NULL)
        cli_fail("%s: there is more than one file of options", path);
    kept = parse(text, size, path);
    read_members(kept, path, true, set_option, &config);
    free(text);
}

static json_t *list_strings(const cli_strings_t *strings)
{
    json_t *list = json_array();

    for (size_t i = 0; i < strings->n; i++)
        json_array_append_new(list, json_string(strings->texts[i]));
    return list;
}

static json_t *option_value(const cli_option_t *option)
{
    switch (option->kind) {
    case CLI_STRING:
        return json_string(*(const char **)option->value);
    case CLI_COUNT:
        return json_integer((json_int_t) * (uint64_t *)option->value);
    case CLI_REAL:
        return json_real(*(double *)option->value);
    case CLI_STRINGS:
        return list_strings(option->value);
    case CLI_FLAG:
        break;
    }
    return json_boolean(*(bool *)option->value);
}

static bool is_given(const cli_option_t *option)
{
    if (option->name == NULL)
        return false;
    if (option->kind == CLI_STRING)
        return *(const char **)option->value != NULL;
    if (option->kind == CLI_STRINGS)
        return ((const cli_strings_t *)option->value)->n > 0;
    if (option->kind == CLI_REAL)
        return !isnan(*(double *)option->value);
    return option->kind != CLI_COUNT || *(uint64_t *)option->value != CLI_NONE;
}

/* Whether the option before it is the same under another name. */
static bool is_second_name(const cli_program_t *program, size_t i)
{
    return i > 0 && program->options[i - 1].value == program->options[i].value;
}

/* Digits with which each number of the options is read back as it was: 15, where these do. */
static size_t needed_digits(const cli_program_t *program)
{
    size_t digits = 15;
    char text[32];

    for (size_t i = 0; i < program->num_options; i++) {
        if (program->options[i].kind != CLI_REAL || program->options[i].name == NULL)
            continue;
        const double value = *(const double *)program->options[i].value;
        do
            snprintf(text, sizeof(text), "%.*g", (int)digits, value);
        while (strtod(text, NULL) != value && ++digits < 17);
    }
    return digits;
}

void cli_write_config(const char *path, const cli_program_t *program)
{
    json_t *object = json_object();

    for (size_t i = 0; i < program->num_options; i++)
        if (is_given(&program->options[i]) && !is_second_name(program, i) &&
            json_object_set_new(object, program->options[i].name,
                                option_value(&program->options[i])) != 0)
            cli_fail("%s: --%s is not text that JSON can hold", path, program->options[i].name);
    write_aside(object, path, JSON_INDENT(2) | JSON_REAL_PRECISION(needed_digits(program)));
    json_decref(object);
}
