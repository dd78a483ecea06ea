/* A conversation with a model on the terminal. Ctrl-C stops an answer, Ctrl-D ends the conversation. */
#include "support/chat_session.h"
#include "support/cli.h"
#include "support/generation_options.h"

static chat_settings_t settings;

static const cli_option_t options[] = {
    GENERATION_SOURCE_OPTIONS,
    CHAT_OPTIONS(settings, ""),
    GENERATION_SAMPLING_OPTIONS,
};

static int run(int n, char **operands)
{
    generation_t opened;

    (void)n;
    (void)operands;
    generation_open(&opened);
    run_chat(opened.model, opened.tokenizer, &opened.how, &settings);
    generation_close(&opened);
    return 0;
}

static const cli_value_t values[] = {
    GENERATION_VALUES, {"chat-template", NULL, ROLE_FILE}, {NULL, NULL, ROLE_NONE}};

const cli_program_t chat_program = {
    .summary = "Answers each line that is typed, in a conversation by the model's chat template. "
               "Ctrl-C stops an\nanswer; Ctrl-D ends the conversation.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .has = CLI_HAS_THREADS | CLI_HAS_QUIET,
    .values = values,
    .name = "chat",
    .command = "chat",
    .brief = "talk with a language model",
    .example = "--model SmolLM2-135M-Instruct --temperature 0.7 --top-p 0.9",
    .run = run,
};

CLI_MAIN(chat_program)
