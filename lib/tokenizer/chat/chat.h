/* Chat templates: the handle, and conversations as text whose bytes know their message. */
#ifndef TLMI_CHAT_H
#define TLMI_CHAT_H

#include "tinylm/chat.h"
#include "tokenizer/chat/jinja.h"

/* A special token that templates use as a variable: bos_token and so on. */
typedef struct tlmi_chat_variable {
    char *name;
    char *text;
    size_t size;
} tlmi_chat_variable_t;

struct tlm_chat_template {
    tlmi_jinja_t jinja;
    char *source; /* with a NUL behind it */
    size_t size;
    tlmi_chat_variable_t *variables;
    size_t num_variables, capacity;
};

/* Makes a template without variables. Messages end with its first words. */
tlm_status_t tlmi_chat_create(tlm_chat_template_t **out, const char *source, size_t size);
tlm_status_t tlmi_chat_add_variable(tlm_chat_template_t *chat, const char *name, const char *text,
                                    size_t size);
/* The text of a variable; NULL if there is none. */
const tlmi_chat_variable_t *tlmi_chat_find_variable(const tlm_chat_template_t *chat,
                                                    const char *name);

/* Reads a caller's options, which may be NULL, and sets the time. */
tlm_status_t tlmi_chat_read_options(tlm_chat_options_t *out, const char *function,
                                    const tlm_chat_options_t *options);

/* Renders a conversation into run->output. The caller releases the run, whatever the result. */
tlm_status_t tlmi_chat_render(tlmi_jinja_run_t *run, const tlm_chat_template_t *chat,
                              const tlm_chat_message_t *messages, size_t n,
                              const tlm_chat_options_t *options);

/* Finds, in a conversation that was rendered, the bytes that the model has to write for each
 * message of the assistant, without what ends the turn. *out is owned by the caller. */
tlm_status_t tlmi_chat_answers(tlmi_span_t **out, size_t *n, const tlmi_jinja_run_t *run,
                               const tlm_chat_template_t *chat, const tlm_chat_message_t *messages,
                               size_t num_messages, const tlm_chat_options_t *options);

#endif
