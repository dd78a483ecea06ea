/* Patterns of names. A '*' that does not lead to a match is tried one character further; only the
 * last '*' has to be, so matching takes at most pattern_size * text_size steps. */
#include "base/glob.h"

#include <stdint.h>
#include <string.h>

/* The size of the set that begins at pattern[0] = '[', or 0 if no ']' ends it. The first character
 * of a set may be ']'. */
static size_t set_size(const char *pattern, size_t size)
{
    size_t i = 1;

    if (i < size && pattern[i] == '!')
        i++;
    if (i < size && pattern[i] == ']')
        i++;
    while (i < size && pattern[i] != ']')
        i++;
    return i < size ? i + 1 : 0;
}

static bool is_in_set(const char *set, size_t size, unsigned char byte)
{
    const bool outside = set[1] == '!';
    bool found = false;

    for (size_t i = outside ? 2 : 1; i < size - 1; i++) {
        const unsigned char low = (unsigned char)set[i];
        unsigned char high = low;

        if (i + 2 < size - 1 && set[i + 1] == '-') {
            high = (unsigned char)set[i + 2];
            i += 2;
        }
        found = found || (low <= byte && byte <= high);
    }
    return found != outside;
}

/* The size of the pattern's first item if it stands for this byte, or 0. A '[' that no ']' ends
 * stands for itself. */
static size_t match_one(const char *pattern, size_t size, char byte)
{
    const size_t set = pattern[0] == '[' ? set_size(pattern, size) : 0;

    if (set != 0)
        return is_in_set(pattern, set, (unsigned char)byte) ? set : 0;
    return pattern[0] == '?' || pattern[0] == byte ? 1 : 0;
}

bool tlmi_glob(const char *pattern, size_t pattern_size, const char *text, size_t text_size)
{
    size_t p = 0, t = 0, star = SIZE_MAX, resume = 0;

    while (t < text_size) {
        if (p < pattern_size && pattern[p] == '*') {
            star = p++;
            resume = t;
            continue;
        }
        const size_t step =
            p < pattern_size ? match_one(pattern + p, pattern_size - p, text[t]) : 0;
        if (step != 0) {
            p += step;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern_size && pattern[p] == '*')
        p++;
    return p == pattern_size;
}

bool tlmi_is_glob(const char *pattern, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (pattern[i] == '*' || pattern[i] == '?' || pattern[i] == '[')
            return true;
    return false;
}

bool tlmi_list_next(const char **entry, size_t *size, const char **list)
{
    const char *begin = *list;

    if (begin == NULL)
        return false;
    const char *comma = strchr(begin, ',');
    const char *end = comma != NULL ? comma : begin + strlen(begin);
    *list = comma != NULL ? comma + 1 : NULL;
    while (begin < end && *begin == ' ')
        begin++;
    while (begin < end && end[-1] == ' ')
        end--;
    *entry = begin;
    *size = (size_t)(end - begin);
    return true;
}
