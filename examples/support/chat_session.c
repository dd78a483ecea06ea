/* Conversations on the terminal. Each turn is encoded from the start, as the template wants it, but of its
 * tokens only those behind the ones in the cache are computed. */
#include "support/chat_session.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/generation_options.h"

typedef struct chat_session {
    const tlm_tokenizer_t *tokenizer;
    tlm_chat_template_t *chat;
    tlm_chat_options_t options;
    tlm_generate_options_t how;
    size_t context; /* tokens that the model sees */
    tlm_chat_message_t *messages;
    size_t num_messages;
    tlm_generator_t *generator;
    bool has_sequence;
} chat_session_t;

static volatile sig_atomic_t interrupted; /* by Ctrl-C */

static pthread_t main_thread;

/* A signal may come to any thread, but is to end a read of the main one. */
static void interrupt(int number)
{
    interrupted = number;
    if (!pthread_equal(pthread_self(), main_thread))
        pthread_kill(main_thread, number);
}

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
        cli_note("(the oldest question and its answer are forgotten)\n");
    }
}

/* ---- Answers ---- */

/* Gives the generator the conversation's tokens; returns how many of them it had. */
static size_t continue_sequence(chat_session_t *session, const uint32_t *ids, size_t n)
{
    const uint32_t *known;
    size_t keep = 0, num_known;

    if (!session->has_sequence) {
        generation_begin(session->generator, ids, n, &session->how, &keep);
        session->has_sequence = true;
        return keep;
    }
    cli_check(tlm_generator_context(&known, &num_known, session->generator, 0));
    while (keep < num_known && keep + 1 < n && known[keep] == ids[keep])
        keep++;
    cli_check(
        tlm_generator_extend(session->generator, 0, keep, ids + keep, n - keep, &session->how));
    return keep;
}

/* Prints the answer as it comes, until it ends or Ctrl-C stops it. */
static void print_answer(const char **text, size_t *size, chat_session_t *session)
{
    size_t running = 1, printed = 0;

    while (running > 0) {
        cli_check(tlm_generator_step(&running, session->generator));
        if (interrupted && running > 0) {
            cli_check(tlm_generator_stop(session->generator, 0));
            running = 0;
        }
        cli_check(tlm_generator_text(text, size, session->generator, 0));
        cli_print(*text + printed, *size - printed);
        printed = *size;
    }
    cli_print("\n", 1);
}

static void answer(chat_session_t *session)
{
    size_t n, size = 0, kept, num_new;
    uint32_t *ids = encode(&n, session);
    const char *text = "";
    double seconds = cli_seconds();

    interrupted = 0;
    kept = continue_sequence(session, ids, n);
    print_answer(&text, &size, session);
    seconds = cli_seconds() - seconds;
    add_message(session, "assistant", text, size);
    cli_check(tlm_generator_tokens(NULL, NULL, &num_new, session->generator, 0));
    cli_note("(%zu tokens, %zu of them in the cache; %zu new, %.0f tokens/s%s)\n", n, kept, num_new,
             seconds > 0.0 ? (double)num_new / seconds : 0.0, interrupted ? ", stopped" : "");
    tlm_free(ids);
}

/* ---- The conversation ---- */

static tlm_chat_template_t *open_template(const chat_settings_t *settings)
{
    tlm_chat_template_t *out;

    if (settings->template != NULL)
        return cli_open_chat_template(settings->template);
    tlm_status_t status = tlm_chat_template_open(&out, generation.model);
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
    tlm_generator_free(session->generator);
    tlm_chat_template_free(session->chat);
}

/* Waits for a line to be typed; false if Ctrl-C came first. It is blocked elsewhere, so that none comes
 * between the look at it and the wait. */
static bool wait_for_line(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    sigset_t blocked, usual;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    pthread_sigmask(SIG_BLOCK, &blocked, &usual);
    interrupted = 0;
    fputs("> ", stderr);
    const int ready = ppoll(&input, 1, NULL, &usual);
    pthread_sigmask(SIG_SETMASK, &usual, NULL);
    return ready >= 0 && !interrupted;
}

/* Reads a line without its end; false at the end of the input. Ctrl-C begins the line anew. */
static bool read_line(char **line, size_t *capacity, size_t *size, bool is_terminal)
{
    ssize_t n;

    for (;;) {
        if (!is_terminal || wait_for_line()) {
            if ((n = getline(line, capacity, stdin)) > 0)
                break;
            if (!interrupted)
                return false;
        }
        clearerr(stdin);
        fputs("\n(Ctrl-D ends the conversation)\n", stderr);
    }
    while (n > 0 && ((*line)[n - 1] == '\n' || (*line)[n - 1] == '\r'))
        n--;
    *size = (size_t)n;
    return true;
}

static void open_session(chat_session_t *session, tlm_model_t *model,
                         const chat_settings_t *settings)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;

    cli_check(tlm_model_get_options(&shape, model));
    session->context = (size_t)shape.context_length;
    session->options.add_generation_prompt = true;
    session->options.variables = settings->variables;
    session->how.keeps_cache = true;
    session->how.skip_special_tokens = true;
    session->how.tokenizer = session->tokenizer;
    add_end_token(session);
    cli_check(tlm_generator_create(&session->generator, model));
    if (settings->system_message != NULL)
        add_message(session, "system", settings->system_message, strlen(settings->system_message));
}

void run_chat(tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
              const tlm_generate_options_t *how, const chat_settings_t *settings)
{
    const struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
    chat_session_t session = {.tokenizer = tokenizer,
                              .chat = open_template(settings),
                              .options = TLM_CHAT_OPTIONS_INIT,
                              .how = *how};
    bool is_terminal = isatty(STDIN_FILENO) == 1;
    size_t capacity = 0, size;
    char *line = NULL;

    open_session(&session, model, settings);
    main_thread = pthread_self();
    if (is_terminal) {
        setvbuf(stdin, NULL, _IONBF, 0); /* so that what was typed is seen by poll */
        sigaction(SIGINT, &action, NULL);
    }
    while (read_line(&line, &capacity, &size, is_terminal)) {
        if (size == 0)
            continue;
        add_message(&session, "user", line, size);
        answer(&session);
        session.how.seed++;
    }
    if (is_terminal) {
        fputc('\n', stderr);
        signal(SIGINT, SIG_DFL);
    }
    if (session.has_sequence)
        generation_save_cache(session.generator);
    free(line);
    free_session(&session);
}
