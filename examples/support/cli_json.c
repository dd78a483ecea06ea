/* JSON for the demo programs, over jansson, which no other of them includes. */
#include "support/cli_json.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

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

void cli_print_json(const char *text)
{
    json_t *value = json_string(text);

    if (value == NULL || json_dumpf(value, stdout, JSON_ENCODE_ANY) != 0)
        printf("\"?\""); /* not UTF-8 */
    json_decref(value);
}

/* ---- Files of options ------------------------------------------------------------------- */

typedef struct config {
    const char *path;
    const cli_program_t *program;
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

static void set_option(void *user, const cli_member_t *member)
{
    static const char *const types[] = {"text", "a whole number", "a number", "true or false",
                                        "text or a list of texts"};
    const config_t *config = user;
    char where[512];

    for (size_t i = 0; i < config->program->num_options; i++) {
        const cli_option_t *option = &config->program->options[i];

        if (option->name == NULL || !same_name(member->key, option->name))
            continue;
        if (!fits(option->kind, member->kind))
            cli_fail("%s: '%s' must be %s", config->path, member->key, types[option->kind]);
        snprintf(where, sizeof(where), "%s: ", config->path);
        cli_set_value(option, member->text, where);
        return;
    }
    cli_fail("%s: there is no option '%s'", config->path, member->key);
}

void cli_read_config(const char *path, const cli_program_t *program)
{
    static json_t *kept; /* options point to its texts */
    config_t config = {path, program};
    size_t size;
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
    return option->kind != CLI_COUNT || *(uint64_t *)option->value != CLI_NONE;
}

void cli_write_config(const char *path, const cli_program_t *program)
{
    json_t *object = json_object();

    for (size_t i = 0; i < program->num_options; i++)
        if (is_given(&program->options[i]) &&
            json_object_set_new(object, program->options[i].name,
                                option_value(&program->options[i])) != 0)
            cli_fail("%s: --%s is not text that JSON can hold", path, program->options[i].name);
    if (json_dump_file(object, path, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) != 0)
        cli_fail("%s: it cannot be written", path);
    json_decref(object);
}
