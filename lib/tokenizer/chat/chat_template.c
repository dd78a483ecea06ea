/* Chat templates: making them, and rendering conversations. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/options.h"
#include "tokenizer/chat/chat.h"

/* ---- The handle ---- */

/* Adds the first words of the template to the message of a failure, so that one can see which it
 * is. */
static tlm_status_t name_template(tlm_status_t status, const char *source, size_t size)
{
    char words[64], message[256];
    size_t n = 0;

    if (status != TLM_ERR_UNSUPPORTED && status != TLM_ERR_FORMAT)
        return status;
    for (size_t i = 0; i < size && n < sizeof(words) - 1; i++) {
        bool is_space = (unsigned char)source[i] <= ' ';

        if (!is_space || (n > 0 && words[n - 1] != ' '))
            words[n++] = is_space ? ' ' : source[i];
    }
    words[n] = '\0';
    snprintf(message, sizeof(message), "%s", tlm_error_message());
    return tlmi_fail(status, "%s (the template begins: %s)", message, words);
}

tlm_status_t tlmi_chat_create(tlm_chat_template_t **out, const char *source, size_t size)
{
    tlm_chat_template_t *chat = tlmi_calloc(1, sizeof(*chat), "a chat template");

    if (chat == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    chat->source = tlmi_alloc(size + 1, 1, "a chat template");
    tlm_status_t status = chat->source == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    if (status == TLM_OK) {
        if (size > 0)
            memcpy(chat->source, source, size);
        chat->source[size] = '\0';
        chat->size = size;
        status = name_template(tlmi_jinja_parse(&chat->jinja, chat->source, size), source, size);
    }
    if (status == TLM_OK)
        *out = chat;
    else
        tlm_chat_template_free(chat);
    return status;
}

void tlm_chat_template_free(tlm_chat_template_t *chat)
{
    if (chat == NULL)
        return;
    for (size_t i = 0; i < chat->num_variables; i++) {
        tlmi_free(chat->variables[i].name);
        tlmi_free(chat->variables[i].text);
    }
    tlmi_free(chat->variables);
    tlmi_jinja_release(&chat->jinja);
    tlmi_free(chat->source);
    tlmi_free(chat);
}

const tlmi_chat_variable_t *tlmi_chat_find_variable(const tlm_chat_template_t *chat,
                                                    const char *name)
{
    for (size_t i = 0; i < chat->num_variables; i++)
        if (strcmp(chat->variables[i].name, name) == 0)
            return &chat->variables[i];
    return NULL;
}

tlm_status_t tlmi_chat_add_variable(tlm_chat_template_t *chat, const char *name, const char *text,
                                    size_t size)
{
    if (!tlmi_grow(&chat->variables, &chat->capacity, chat->num_variables + 1,
                   sizeof(*chat->variables), "a chat template"))
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_chat_variable_t variable = {tlmi_strdup(name, "a chat template"),
                                     tlmi_memdup(text, size, "a chat template"), size};
    if (variable.name == NULL || variable.text == NULL) {
        tlmi_free(variable.name);
        tlmi_free(variable.text);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    chat->variables[chat->num_variables++] = variable;
    return TLM_OK;
}

tlm_status_t tlm_chat_template_parse(tlm_chat_template_t **out, const char *source, size_t size,
                                     const char *bos_token, const char *eos_token)
{
    tlm_chat_template_t *chat;

    TLMI_REQUIRE("chat_template_parse", out);
    if (size > 0)
        TLMI_REQUIRE("chat_template_parse", source);
    TLMI_TRY(tlmi_chat_create(&chat, source, size));
    tlm_status_t status = TLM_OK;
    if (bos_token != NULL)
        status = tlmi_chat_add_variable(chat, "bos_token", bos_token, strlen(bos_token));
    if (status == TLM_OK && eos_token != NULL)
        status = tlmi_chat_add_variable(chat, "eos_token", eos_token, strlen(eos_token));
    if (status == TLM_OK)
        *out = chat;
    else
        tlm_chat_template_free(chat);
    return status;
}

tlm_status_t tlm_chat_template_source(const char **source, size_t *size,
                                      const tlm_chat_template_t *chat_template)
{
    TLMI_REQUIRE("chat_template_source", source);
    TLMI_REQUIRE("chat_template_source", size);
    TLMI_REQUIRE("chat_template_source", chat_template);
    *source = chat_template->source;
    *size = chat_template->size;
    return TLM_OK;
}

/* ---- Rendering ---- */

tlm_status_t tlmi_chat_read_options(tlm_chat_options_t *out, const char *function,
                                    const tlm_chat_options_t *options)
{
    *out = (tlm_chat_options_t)TLM_CHAT_OPTIONS_INIT;
    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, out, TLMI_CHAT_OPTIONS, options));
    if (out->now == 0)
        out->now = (int64_t)time(NULL);
    return TLM_OK;
}

/* A role becomes a part of the template, so it must not hold a special token. */
static tlm_status_t check_message(const tlm_chat_message_t *message, size_t index)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

    if (message->role == NULL || message->role[0] == '\0')
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "chat template: message %zu has no role", index);
    if (message->role[strspn(message->role, allowed)] != '\0')
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "chat template: the role '%.40s' of message %zu has other characters than "
                         "letters, digits, '_' and '-'",
                         message->role, index);
    if (message->content == NULL && message->size > 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "chat template: the content of message %zu is NULL", index);
    return TLM_OK;
}

static tlm_status_t make_message(tlmi_value_t *out, tlmi_arena_t *arena,
                                 const tlm_chat_message_t *message, size_t index)
{
    tlmi_value_t role, content;

    TLMI_TRY(check_message(message, index));
    TLMI_TRY(tlmi_map_make(out, arena, 2));
    TLMI_TRY(
        tlmi_string_make(&role, arena, message->role, strlen(message->role), TLMI_FROM_TEMPLATE));
    TLMI_TRY(tlmi_string_make(&content, arena, message->size > 0 ? message->content : "",
                              message->size, (int32_t)index));
    out->as.map->message = (int32_t)index;
    TLMI_TRY(tlmi_map_set_named(out->as.map, arena, "role", &role));
    return tlmi_map_set_named(out->as.map, arena, "content", &content);
}

static tlm_status_t bind_messages(tlmi_jinja_run_t *run, const tlm_chat_message_t *messages,
                                  size_t n)
{
    tlmi_value_t list;

    if (n > INT32_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "chat template: %zu messages are too many", n);
    TLMI_TRY(tlmi_list_make(&list, &run->arena, NULL, n));
    for (size_t i = 0; i < n; i++)
        TLMI_TRY(make_message(&list.as.list->items[i], &run->arena, &messages[i], i));
    return tlmi_jinja_bind(run, "messages", &list);
}

/* Binds the caller's variables, which live as long as *json. */
static tlm_status_t bind_json(tlmi_jinja_run_t *run, tlmi_json_t **json, const char *text)
{
    const tlmi_json_t *member;
    void *cursor = NULL;
    const char *key;

    tlm_status_t status = tlmi_json_parse(json, text, strlen(text), "chat template: variables");
    if (status == TLM_ERR_OUT_OF_MEMORY)
        return status;
    if (status != TLM_OK || !tlmi_json_is_object(*json))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "chat template: variables is not a JSON object: %.80s", text);
    while (tlmi_json_next(*json, &cursor, &key, &member)) {
        tlmi_value_t value;

        if (strlen(key) > TLMI_JINJA_MAX_NAME) /* no template can write it */
            continue;
        TLMI_TRY(tlmi_value_of_json(&value, &run->arena, member));
        TLMI_TRY(tlmi_jinja_bind(run, key, &value));
    }
    return TLM_OK;
}

static tlm_status_t bind_all(tlmi_jinja_run_t *run, tlmi_json_t **json,
                             const tlm_chat_template_t *chat, const tlm_chat_message_t *messages,
                             size_t n, const tlm_chat_options_t *options)
{
    const tlmi_value_t none = TLMI_NONE, prompt = TLMI_BOOL(options->add_generation_prompt);

    for (size_t i = 0; i < chat->num_variables; i++) {
        const tlmi_chat_variable_t *variable = &chat->variables[i];
        tlmi_value_t value;

        TLMI_TRY(tlmi_string_make(&value, &run->arena, variable->text, variable->size,
                                  TLMI_FROM_TEMPLATE));
        TLMI_TRY(tlmi_jinja_bind(run, variable->name, &value));
    }
    TLMI_TRY(tlmi_jinja_bind(run, "tools", &none));
    TLMI_TRY(tlmi_jinja_bind(run, "documents", &none));
    if (options->variables != NULL)
        TLMI_TRY(bind_json(run, json, options->variables));
    TLMI_TRY(tlmi_jinja_bind(run, "add_generation_prompt", &prompt));
    return bind_messages(run, messages, n);
}

/* The template's own refusal, with the message that it looked at last. */
static tlm_status_t fail_refused(const tlmi_jinja_run_t *run, const tlm_chat_message_t *messages)
{
    int size = run->reason->size < 160 ? (int)run->reason->size : 160;

    if (run->message < 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "chat template: %.*s", size, run->reason->bytes);
    return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "chat template: message %" PRId32 " (%.40s): %.*s",
                     run->message, messages[run->message].role, size, run->reason->bytes);
}

tlm_status_t tlmi_chat_render(tlmi_jinja_run_t *run, const tlm_chat_template_t *chat,
                              const tlm_chat_message_t *messages, size_t n,
                              const tlm_chat_options_t *options)
{
    tlmi_json_t *json = NULL;

    tlmi_jinja_run_init(run, options->now);
    tlm_status_t status = bind_all(run, &json, chat, messages, n, options);
    if (status == TLM_OK)
        status = tlmi_jinja_evaluate(run, &chat->jinja);
    if (status != TLM_OK && run->reason != NULL)
        status = fail_refused(run, messages);
    tlmi_json_free(json);
    return status;
}

tlm_status_t tlm_chat_template_render(char **text, size_t *size,
                                      const tlm_chat_template_t *chat_template,
                                      const tlm_chat_message_t *messages, size_t num_messages,
                                      const tlm_chat_options_t *options)
{
    tlm_chat_options_t known;
    tlmi_jinja_run_t run;

    TLMI_REQUIRE("chat_template_render", text);
    TLMI_REQUIRE("chat_template_render", size);
    TLMI_REQUIRE("chat_template_render", chat_template);
    if (num_messages > 0)
        TLMI_REQUIRE("chat_template_render", messages);
    TLMI_TRY(tlmi_chat_read_options(&known, "chat_template_render", options));
    tlm_status_t status = tlmi_chat_render(&run, chat_template, messages, num_messages, &known);
    char *out = status == TLM_OK ? tlmi_alloc(run.output.size + 1, 1, "a conversation") : NULL;
    if (out != NULL) {
        if (run.output.size > 0)
            memcpy(out, run.output.bytes, run.output.size);
        out[run.output.size] = '\0';
        *text = out;
        *size = run.output.size;
    } else if (status == TLM_OK) {
        status = TLM_ERR_OUT_OF_MEMORY;
    }
    tlmi_jinja_run_release(&run);
    return status;
}

/* ---- Answers ---- */

/* Finds the bytes of the output that come from a message. */
static bool find_message(tlmi_span_t *out, const tlmi_builder_t *output, int32_t message)
{
    bool found = false;

    for (size_t i = 0; i < output->num_runs; i++) {
        size_t start = i == 0 ? 0 : output->runs[i - 1].end;

        if (output->runs[i].source != message)
            continue;
        out->start = found ? out->start : start;
        out->end = output->runs[i].end;
        found = true;
    }
    return found;
}

/* Moves the start of an answer back to the end of the generation prompt after the messages before
 * it, if that is how the text goes on. */
static tlm_status_t extend_back(tlmi_span_t *span, const tlmi_builder_t *output,
                                const tlm_chat_template_t *chat, const tlm_chat_message_t *messages,
                                size_t n, const tlm_chat_options_t *options)
{
    tlm_chat_options_t with_prompt = *options;
    tlmi_jinja_run_t run;

    with_prompt.add_generation_prompt = true;
    tlm_status_t status = tlmi_chat_render(&run, chat, messages, n, &with_prompt);
    if (status == TLM_OK && run.output.size <= span->start &&
        (run.output.size == 0 || memcmp(run.output.bytes, output->bytes, run.output.size) == 0))
        span->start = run.output.size;
    tlmi_jinja_run_release(&run);
    return status == TLM_ERR_OUT_OF_MEMORY ? status : TLM_OK; /* it may refuse such a beginning */
}

tlm_status_t tlmi_chat_answers(tlmi_span_t **out, size_t *n, const tlmi_jinja_run_t *run,
                               const tlm_chat_template_t *chat, const tlm_chat_message_t *messages,
                               size_t num_messages, const tlm_chat_options_t *options)
{
    tlmi_span_t *spans = tlmi_alloc(num_messages, sizeof(*spans), "a conversation");
    tlm_status_t status = spans == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    size_t count = 0;

    for (size_t i = 0; i < num_messages && status == TLM_OK; i++) {
        if (strcmp(messages[i].role, "assistant") != 0 ||
            !find_message(&spans[count], &run->output, (int32_t)i))
            continue;
        status = extend_back(&spans[count++], &run->output, chat, messages, i, options);
    }
    if (status != TLM_OK) {
        tlmi_free(spans);
        return status;
    }
    *out = spans;
    *n = count;
    return TLM_OK;
}
