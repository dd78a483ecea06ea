/* Patterns of names: '*' stands for any characters, '?' for one, [abc], [a-z] and [!a-z] for one of
 * a set, or one outside it. As in fnmatch of Python, '*' also crosses dots. */
#ifndef TLMI_GLOB_H
#define TLMI_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the whole of `text`, of any bytes, fits the pattern. */
bool tlmi_glob(const char *pattern, size_t pattern_size, const char *text, size_t text_size);

/* Whether the pattern has '*', '?' or '['. */
bool tlmi_is_glob(const char *pattern, size_t size);

/* Takes the next entry off a list that is separated by commas, without the spaces around it.
 * Returns false at the end of the list. */
bool tlmi_list_next(const char **entry, size_t *size, const char **list);

#endif
