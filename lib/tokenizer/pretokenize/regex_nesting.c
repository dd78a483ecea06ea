/* Bounds the nesting depth of a regular expression before Oniguruma parses it. Oniguruma uses up to
 * 2 KB of the thread's stack per level, and a library cannot know how much stack is available.
 *
 * The bound must hold whatever syntax a pattern hides its parentheses in. So levels are tracked
 * only in patterns made of simple syntax; in any other pattern, each opening parenthesis or
 * bracket counts as a level. */
#include "tokenizer/pretokenize/pretokenize.h"

#include <string.h>

/* ---- Syntax that is not simple ---------------------------------------------------------- */

/* Whether the option letters after "(?" include x, which makes # begin a comment. */
static bool sets_extended(const char *options)
{
    for (; *options == '-' || *options == '^' || (*options >= 'a' && *options <= 'z') ||
           (*options >= 'A' && *options <= 'Z');
         options++)
        if (*options == 'x')
            return true;
    return false;
}

/* Returns the end of a POSIX class such as the one in "[[:alpha:]]", given its "[:"; NULL if it is
 * not one. */
static const char *end_of_posix(const char *at)
{
    at += 2;
    if (*at == '^')
        at++;
    while (*at >= 'a' && *at <= 'z')
        at++;
    return at[0] == ':' && at[1] == ']' ? at + 2 : NULL;
}

/* Returns the end of the character class whose bracket is at `at`; NULL if the class has no end or
 * contains another bracket. */
static const char *end_of_class(const char *at)
{
    at++;
    if (*at == '^')
        at++;
    if (*at == ']')
        at++; /* literal in this position */
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
    size_t options; /* groups such as (?i), which enclose everything after them */
    size_t repeats; /* repeats of repeats, beyond the usual a*? and a{2,3}+ */
    size_t run;     /* consecutive repeats at this point */
} levels_t;

/* Returns the end of the repeat at `at`; NULL if there is none. */
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

/* Returns the end of the group opening whose parenthesis is at `at`; NULL if it is not simple. */
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
    return at + 2; /* after the question mark, which is not a repeat here */
}

/* Returns the end of the element at `at`; NULL if the element is not simple. */
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
            return NULL; /* these take in the next character, whatever it is */
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

/* Counts every opening parenthesis or bracket and every repeat of a repeat. */
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
