/* A conversation with a model on the terminal: a line of standard input per question. */
#ifndef EXAMPLES_CHAT_SESSION_H
#define EXAMPLES_CHAT_SESSION_H

#include "support/cli.h"

typedef struct chat_settings {
    const char *model_path;     /* which has the template, unless */
    const char *template;       /* names one, or the path of one; NULL: the model's */
    const char *system_message; /* NULL: none of the user's */
    const char *variables;      /* of the template, as JSON; NULL: none */
    tlm_generate_options_t how; /* of each answer */
} chat_settings_t;

/* Answers lines until there are no more. The keys and values of what was said stay in the cache, so
 * that only new tokens are computed. Ends the program, naming it, if there is no template that can
 * be evaluated, or if it refuses the conversation. */
void run_chat(tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
              const chat_settings_t *settings);

#endif
