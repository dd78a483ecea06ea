/* A conversation with a model on the terminal: a line of standard input per question. */
#ifndef EXAMPLES_CHAT_SESSION_H
#define EXAMPLES_CHAT_SESSION_H

#include "support/cli.h"

typedef struct chat_settings {
    const char *template;       /* name or path of one; NULL: the model's */
    const char *system_message; /* NULL: none of the user's */
    const char *variables;      /* of the template, as JSON; NULL: none */
} chat_settings_t;

/* Rows of a table of options that set them. */
#define CHAT_OPTIONS(settings, when)                                                               \
    {"system", CLI_STRING, &(settings).system_message, when HELP_SYSTEM, false},                   \
        {"chat-template", CLI_STRING, &(settings).template,                                        \
         when HELP_CHAT_TEMPLATE "; else the model's own", false},                                 \
    {                                                                                              \
        "chat-variables", CLI_STRING, &(settings).variables, when HELP_CHAT_VARIABLES, false       \
    }

/* Answers lines until there are no more, each as `how` says. The keys and values of what was said stay in
 * the cache, so that only new tokens are computed. On a terminal Ctrl-C stops an answer. Ends the program, naming it, if there is no template that can
 * be evaluated, or if it refuses the conversation. */
void run_chat(tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
              const tlm_generate_options_t *how, const chat_settings_t *settings);

#endif
