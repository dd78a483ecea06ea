/* The recorded bits: a text file of names, each followed by its values in hexadecimal.
 *
 *     avx2/haswell/train.losses:
 *         40d0a3c4 40cf2f1a ...
 *
 * Lines that begin with # are remarks. */
#ifndef TEST_GOLDEN_RECORD_H
#define TEST_GOLDEN_RECORD_H

#include <check.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOLDEN_MAX_VALUES = 256 };

/* Of the library's bits, the part of a name before the last slash, such as "avx2/haswell". */
extern char golden_group[64];
extern FILE *golden_output; /* where values are recorded; NULL: they are compared */

/* The recorded values of a name; *found is whether there are any. The file is read anew for each:
 * it is small. */
static inline size_t golden_find(uint64_t *values, bool *found, const char *name)
{
    FILE *file = fopen(GOLDEN_DIRECTORY "/golden.txt", "r");
    size_t n = 0, length = strlen(name);
    char line[256];
    bool inside = false;

    *found = false;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *at = line, *end;

        if (line[0] != ' ')
            inside = strncmp(line, name, length) == 0 && line[length] == ':';
        else
            for (uint64_t value; inside && n < GOLDEN_MAX_VALUES; at = end) {
                value = strtoull(at, &end, 16);
                if (end == at)
                    break;
                values[n++] = value;
            }
        *found |= inside;
    }
    if (file != NULL)
        fclose(file);
    return n;
}

/* Whether there are records of golden_group. */
static inline bool golden_group_is_recorded(void)
{
    FILE *file = fopen(GOLDEN_DIRECTORY "/golden.txt", "r");
    size_t length = strlen(golden_group);
    char line[256];
    bool found = false;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        found |= strncmp(line, golden_group, length) == 0 && line[length] == '/';
    if (file != NULL)
        fclose(file);
    return found;
}

/* The values are the recorded ones of group/name, or are recorded. `digits` is only for the eye. */
static inline void golden_check(const char *name, int digits, const uint64_t *values, size_t n)
{
    uint64_t expected[GOLDEN_MAX_VALUES];
    size_t count, per_line = digits > 8 ? 4 : 8;
    char full_name[192];
    bool found;

    ck_assert_uint_le(n, GOLDEN_MAX_VALUES);
    snprintf(full_name, sizeof(full_name), "%s/%s", golden_group, name);
    if (golden_output != NULL) {
        fprintf(golden_output, "%s:", full_name);
        for (size_t i = 0; i < n; i++)
            fprintf(golden_output, "%s%0*" PRIx64, i % per_line == 0 ? "\n    " : " ", digits,
                    values[i]);
        fprintf(golden_output, "\n");
        return;
    }
    count = golden_find(expected, &found, full_name);
    ck_assert_msg(found, "no %s in golden.txt", full_name);
    for (size_t i = 0; i < n && i < count; i++)
        ck_assert_msg(values[i] == expected[i],
                      "%s: value %zu of %zu is %0*" PRIx64 ", recorded is %0*" PRIx64, full_name, i,
                      n, digits, values[i], digits, expected[i]);
    ck_assert_msg(n == count, "%s: %zu values, recorded are %zu", full_name, n, count);
}

#endif
