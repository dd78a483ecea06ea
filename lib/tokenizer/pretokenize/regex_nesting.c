/* How deep a regular expression is nested, before Oniguruma reads it: it takes up to 2 KB of the thread's stack
 * for each level, and a library cannot know how much of that there is.
 *
 * The bound must hold for whatever a pattern hides its parentheses behind. So the levels are followed only in
 * patterns made of what is plain to read; in any other, each opening parenthesis counts as a level. */
#include "tokenizer/pretokenize/pretokenize.h"

#include <string.h>

/* ---- What is not plain ------------------------------------------------------------------ */

/* Whether "(?" is followed by letters of options with an x, under which # begins a comment. */
static bool sets_extended(const char *options)
{
    for (; *options == '-' || *options == '^' || (*options >= 'a' && *options <= 'z') ||
           (*options >= 'A' && *options <= 'Z');
         options++)
        if (*options == 'x')
            return true;
    return false;
}

/* The end of a class "[[:alpha:]]" names, seen from its "[:"; NULL if it is not one. */
static const char *end_of_posix(const char *at)
{
    at += 2;
    if (*at == '^')
        at++;
    while (*at >= 'a' && *at <= 'z')
        at++;
    return at[0] == ':' && at[1] == ']' ? at + 2 : NULL;
}

/* The end of the character class at `at`, a bracket; NULL if it has no end or another bracket within. */
static const char *end_of_class(const char *at)
{
    at++;
    if (*at == '^')
        at++;
    if (*at == ']')
        at++; /* stands for itself there */
    for (; *at != '\0' && *at != ']'; at++) {
        if (*at == '\\' && at[1] != '\0') {
            at++;
        } else if (*at == '[') {
            const char *end = at[1] == ':' ? end_of_posix(at) : NULL;
            if (end == NULL)
                return NULL;
            at = end - 1;
        }
    }
    return *at == ']' ? at + 1 : NULL;
}

/* ---- Levels ----------------------------------------------------------------------------- */

typedef struct levels {
    size_t open, deepest;
    size_t options; /* groups such as (?i), which hold all that follows them */
    size_t repeats; /* repeats of repeats beyond the usual a*? and a{2,3}+ */
    size_t run;     /* repeats one after another here */
} levels_t;

/* The end of a repeat at `at`; NULL if there is none. */
static const char *end_of_repeat(const char *at)
{
    if (*at == '*' || *at == '+' || *at == '?')
        return at + 1;
    if (*at != '{')
        return NULL;
    for (at++; (*at >= '0' && *at <= '9') || *at == ','; at++)
        ;
    return *at == '}' ? at + 1 : NULL;
}

/* The end of the group's beginning at `at`, a parenthesis; NULL if it is not plain. */
static const char *begin_group(levels_t *levels, const char *at)
{
    if (at[1] == '*' || (at[1] == '?' && (at[2] == '#' || at[2] == '{' || at[2] == '~')))
        return NULL;
    if (at[1] == '?' && sets_extended(at + 2))
        return NULL;
    if (++levels->open > levels->deepest)
        levels->deepest = levels->open;
    if (at[1] != '?')
        return at + 1;
    const char *end = at + 2;
    while (*end == '-' || (*end >= 'a' && *end <= 'z') || (*end >= 'A' && *end <= 'Z'))
        end++;
    levels->options += *end == ')';
    return at + 2; /* behind the question mark, which repeats nothing */
}

/* What follows the part at `at`; NULL if it is not plain. */
static const char *follow(levels_t *levels, const char *at)
{
    const char *end = end_of_repeat(at);
    if (end != NULL) {
        levels->repeats += ++levels->run > 2;
        return end;
    }
    levels->run = 0;
    switch (*at) {
    case '\\':
        if (at[1] == 'Q' || at[1] == '\0')
            return NULL;
        if (at[1] == 'c' || at[1] == 'C' || at[1] == 'M')
            return NULL; /* the next character, whatever it is, belongs to it */
        return at + 2;
    case '[':
        return end_of_class(at);
    case '(':
        return begin_group(levels, at);
    case ')':
        levels->open -= levels->open > 0;
        return at + 1;
    default:
        return at + 1;
    }
}

/* Every opening parenthesis and bracket, every repeat of a repeat. */
static size_t count_all(const char *pattern)
{
    size_t count = 0, run = 0;
    for (const char *at = pattern; *at != '\0';) {
        const char *end = end_of_repeat(at);
        run = end != NULL ? run + 1 : 0;
        count += *at == '(' || *at == '[' || run > 2;
        at = end != NULL ? end : at + 1;
    }
    return count;
}

size_t tlmi_regex_nesting(const char *pattern)
{
    levels_t levels = {0};
    for (const char *at = pattern; *at != '\0';) {
        at = follow(&levels, at);
        if (at == NULL)
            return count_all(pattern);
    }
    return levels.deepest + levels.options + levels.repeats;
}
