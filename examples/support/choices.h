/* Files of questions with several answers to choose from: an object of JSON per line. */
#ifndef EXAMPLES_CHOICES_H
#define EXAMPLES_CHOICES_H

#include <stddef.h>

typedef struct question {
    const char *text;
    const char **choices;
    size_t num_choices; /* at least 2 */
    size_t answer;      /* the index of the right one */
} question_t;

/* `where` is the path and the line. The question lasts until the callback returns. */
typedef void (*question_callback_t)(void *user, const question_t *question, const char *where);

/* Calls on_question for each line that is not empty: "question" or "context", "choices" (a list of
 * texts), and "answer": the index of the right choice, its letter, or its text. Other members are
 * ignored. Ends the program, naming the line, for anything else. */
void read_questions(const char *path, question_callback_t on_question, void *user);

#endif
