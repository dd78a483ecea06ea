/* Reads files of questions. */
#include "support/choices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli_json.h"

/* A file on its way into lines. */
typedef struct reader {
    const char *path;
    char *line;
    size_t size, number; /* of the line */
    question_callback_t on_question;
    void *user;
} reader_t;

static void read_choices(question_t *question, const cli_object_t *object, const char *where)
{
    const size_t n = cli_object_size(object, "choices");

    question->choices = cli_realloc(NULL, n * sizeof(*question->choices));
    for (size_t i = 0; i < n; i++) {
        question->choices[i] = cli_object_item(object, "choices", i);
        if (question->choices[i] == NULL)
            cli_fail("%s: choice %zu is no text", where, i);
    }
    question->num_choices = n;
}

/* Finds the index of the right choice, which is given as such, as the choice's text or its letter. */
static void read_answer(question_t *question, const cli_object_t *object, const char *where)
{
    const char *text = cli_object_text(object, "answer");
    uint64_t index = UINT64_MAX;

    if (text == NULL && !cli_object_count(&index, object, "answer"))
        cli_fail("%s: there is no answer, or it is neither an index nor a text", where);
    for (size_t i = 0; i < question->num_choices && text != NULL && index == UINT64_MAX; i++)
        if (strcmp(question->choices[i], text) == 0)
            index = i;
    if (text != NULL && index == UINT64_MAX && strlen(text) == 1 && text[0] >= 'A')
        index = (uint64_t)(text[0] - 'A');
    if (index >= question->num_choices)
        cli_fail("%s: the answer is none of the %zu choices", where, question->num_choices);
    question->answer = (size_t)index;
}

static void read_question(const reader_t *reader, const char *where)
{
    cli_object_t *object = cli_open_object(reader->line, reader->size, where);
    const char *context = cli_object_text(object, "context");
    question_t question = {.text = cli_object_text(object, "question")};

    if (question.text != NULL && context != NULL)
        cli_fail("%s: there is a question and a context; one is needed", where);
    if (question.text == NULL)
        question.text = context;
    read_choices(&question, object, where);
    if (question.text == NULL || question.num_choices < 2)
        cli_fail("%s: a question or context, and a list of at least two choices are needed", where);
    read_answer(&question, object, where);
    reader->on_question(reader->user, &question, where);
    free(question.choices);
    cli_close_object(object);
}

static void end_line(reader_t *reader)
{
    char where[512];
    bool is_empty = true;

    reader->number++;
    for (size_t i = 0; i < reader->size; i++)
        is_empty = is_empty && memchr(" \t\r", reader->line[i], 3) != NULL;
    snprintf(where, sizeof(where), "%s: line %zu", reader->path, reader->number);
    if (!is_empty)
        read_question(reader, where);
    reader->size = 0;
}

static void take_chunk(void *user, const void *chunk, size_t size)
{
    reader_t *reader = user;
    const char *bytes = chunk;

    for (size_t at = 0; at < size;) {
        const char *newline = memchr(bytes + at, '\n', size - at);
        size_t part = newline != NULL ? (size_t)(newline - bytes) - at : size - at;

        reader->line = cli_realloc(reader->line, reader->size + part + 1);
        memcpy(reader->line + reader->size, bytes + at, part);
        reader->size += part;
        at += part + (newline != NULL);
        if (newline != NULL)
            end_line(reader);
    }
}

void read_questions(const char *path, question_callback_t on_question, void *user)
{
    reader_t reader = {.path = path, .on_question = on_question, .user = user};

    cli_read_file(path, take_chunk, &reader);
    end_line(&reader);
    free(reader.line);
}
