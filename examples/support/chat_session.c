/* Conversations on the terminal. Each turn is encoded from the start, as the template wants it, but of its
 * tokens only those behind the ones in the cache are computed. */
#include "support/chat_session.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct chat_session {
    const tlm_tokenizer_t *tokenizer;
    tlm_chat_template_t *chat;
    tlm_chat_options_t options;
    tlm_generate_options_t how;
    size_t context; /* tokens that the model sees */
    tlm_chat_message_t *messages;
    size_t num_messages;
    tlm_generator_t *generator;
    uint32_t *known; /* the tokens of the generator's sequence */
    size_t num_known;
    bool has_sequence;
} chat_session_t;

/* ---- Messages ---- */

static void add_message(chat_session_t *session, const char *role, const char *text, size_t size)
{
    char *copy = cli_realloc(NULL, size + 1);

    if (size > 0)
        memcpy(copy, text, size);
    session->messages =
        cli_realloc(session->messages, (session->num_messages + 1) * sizeof(*session->messages));
    session->messages[session->num_messages++] = (tlm_chat_message_t){role, copy, size};
}

/* Forgets the oldest question and its answer. Returns false if there is only the new question. */
static bool forget_turn(chat_session_t *session)
{
    size_t first = strcmp(session->messages[0].role, "system") == 0;

    if (session->num_messages < first + 3)
        return false;
    for (size_t i = first; i < first + 2; i++)
        free((void *)(uintptr_t)session->messages[i].content);
    session->num_messages -= 2;
    memmove(session->messages + first, session->messages + first + 2,
            (session->num_messages - first) * sizeof(*session->messages));
    return true;
}

/* Encodes the conversation; its oldest turns are forgotten where it does not fit the context. */
static uint32_t *encode(size_t *n, chat_session_t *session)
{
    uint32_t *ids;

    for (;;) {
        cli_check(tlm_chat_template_encode(&ids, NULL, n, session->chat, session->tokenizer,
                                           session->messages, session->num_messages,
                                           &session->options));
        if (*n < session->context)
            return ids;
        tlm_free(ids);
        if (!forget_turn(session))
            cli_fail("the question has %zu tokens, but the model sees only %zu", *n,
                     session->context);
        fprintf(stderr, "(the oldest question and its answer are forgotten)\n");
    }
}

/* ---- Answers ---- */

/* Gives the generator the conversation's tokens; returns how many of them it had. */
static size_t continue_sequence(chat_session_t *session, const uint32_t *ids, size_t n)
{
    size_t keep = 0, sequence;

    if (!session->has_sequence) {
        cli_check(tlm_generator_add(&sequence, session->generator, ids, n, &session->how));
        session->has_sequence = true;
        return 0;
    }
    while (keep < session->num_known && keep + 1 < n && session->known[keep] == ids[keep])
        keep++;
    cli_check(
        tlm_generator_extend(session->generator, 0, keep, ids + keep, n - keep, &session->how));
    return keep;
}

static void remember(chat_session_t *session, const uint32_t *ids, size_t n)
{
    const uint32_t *answer;
    size_t num_answer;

    cli_check(tlm_generator_tokens(&answer, NULL, &num_answer, session->generator, 0));
    session->known = cli_realloc(session->known, (n + num_answer + 1) * sizeof(*session->known));
    memcpy(session->known, ids, n * sizeof(*ids));
    if (num_answer > 0)
        memcpy(session->known + n, answer, num_answer * sizeof(*answer));
    session->num_known = n + num_answer;
}

static void answer(chat_session_t *session)
{
    size_t n, running = 1, size = 0, printed = 0, kept;
    uint32_t *ids = encode(&n, session);
    const char *text = "";
    double seconds = cli_seconds();

    kept = continue_sequence(session, ids, n);
    while (running > 0) {
        cli_check(tlm_generator_step(&running, session->generator));
        cli_check(tlm_generator_text(&text, &size, session->generator, 0));
        cli_print(text + printed, size - printed);
        printed = size;
    }
    seconds = cli_seconds() - seconds;
    cli_print("\n", 1);
    remember(session, ids, n);
    add_message(session, "assistant", text, size);
    fprintf(stderr, "(%zu tokens, %zu of them in the cache; %zu new, %.0f tokens/s)\n", n, kept,
            session->num_known - n,
            seconds > 0.0 ? (double)(session->num_known - n) / seconds : 0.0);
    tlm_free(ids);
}

/* ---- The conversation ---- */

static tlm_chat_template_t *open_template(const chat_settings_t *settings)
{
    tlm_chat_template_t *out;

    if (settings->template != NULL)
        return cli_open_chat_template(settings->template);
    tlm_status_t status = tlm_chat_template_open(&out, settings->model_path);
    if (status == TLM_ERR_NOT_FOUND)
        cli_fail("%s; name one with --chat-template", tlm_error_message());
    cli_check(status);
    return out;
}

/* Ends answers at the template's end token, beside those of the model's file. */
static void add_end_token(chat_session_t *session)
{
    tlm_generate_options_t *how = &session->how;
    uint32_t id;
    tlm_status_t status = tlm_chat_template_end_token(&id, session->chat, session->tokenizer);

    if (status == TLM_ERR_NOT_FOUND) /* it ends answers with text only */
        return;
    cli_check(status);
    bool is_there = how->has_end_token && how->end_token == id;
    for (uint32_t i = 0; i < how->num_more_end_tokens; i++)
        is_there = is_there || how->more_end_tokens[i] == id;
    if (is_there)
        return;
    if (how->has_end_token && how->num_more_end_tokens == TLM_MORE_END_TOKENS)
        cli_fail("the model has %d end tokens, and the template another one",
                 TLM_MORE_END_TOKENS + 1);
    if (how->has_end_token) {
        how->more_end_tokens[how->num_more_end_tokens++] = id;
    } else {
        how->has_end_token = true;
        how->end_token = id;
    }
}

static void free_session(chat_session_t *session)
{
    for (size_t i = 0; i < session->num_messages; i++)
        free((void *)(uintptr_t)session->messages[i].content);
    free(session->messages);
    free(session->known);
    tlm_generator_free(session->generator);
    tlm_chat_template_free(session->chat);
}

void run_chat(tlm_model_t *model, const tlm_tokenizer_t *tokenizer, const chat_settings_t *settings)
{
    chat_session_t session = {.tokenizer = tokenizer,
                              .chat = open_template(settings),
                              .options = TLM_CHAT_OPTIONS_INIT,
                              .how = settings->how};
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    bool is_terminal = isatty(STDIN_FILENO);
    size_t capacity = 0;
    char *line = NULL;
    ssize_t size;

    cli_check(tlm_model_get_options(&shape, model));
    session.context = (size_t)shape.context_length;
    session.options.add_generation_prompt = true;
    session.options.variables = settings->variables;
    session.how.keeps_cache = true;
    session.how.skip_special_tokens = true;
    session.how.tokenizer = tokenizer;
    add_end_token(&session);
    cli_check(tlm_generator_create(&session.generator, model));
    if (settings->system_message != NULL)
        add_message(&session, "system", settings->system_message, strlen(settings->system_message));
    for (;;) {
        if (is_terminal)
            fputs("> ", stderr);
        if ((size = getline(&line, &capacity, stdin)) <= 0)
            break;
        while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r'))
            size--;
        if (size == 0)
            continue;
        add_message(&session, "user", line, (size_t)size);
        answer(&session);
        session.how.seed++;
    }
    free(line);
    free_session(&session);
}
