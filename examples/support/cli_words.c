/* Words of options, and words that are nearly right. */
#include <string.h>

#include "support/cli.h"

/* Insertions, deletions, substitutions and exchanges of neighbors that make one of the other; names of more than
 * 31 characters are not compared. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][32], n = strlen(a), m = strlen(b);

    if (n > 31 || m > 31)
        return 32;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3], *above = rows[(i - 1) % 3], *two_above = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);

            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                two_above[j - 2] + 1 < best)
                best = two_above[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *cli_find_similar(const char *name, const char *const *names, size_t n)
{
    const size_t size = strlen(name);
    size_t best = size / 3 + 1; /* as many changes make another word */
    const char *found = NULL;

    for (size_t i = 0; i < n; i++) {
        size_t changes = distance(name, names[i]);

        if (size >= 3 && strncmp(name, names[i], size) == 0)
            changes = 1; /* its beginning */
        if (changes < best && changes < size) {
            best = changes;
            found = names[i];
        }
    }
    return found;
}

int32_t cli_choose_word(const char *option, const char *value, const char *const *words)
{
    size_t n = 0;

    while (words[n] != NULL)
        n++;
    return cli_choose(option, value, words, n);
}

int32_t cli_choose(const char *option, const char *value, const char *const *words, size_t n)
{
    char list[512] = "";

    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(list);

        if (strcmp(value, words[i]) == 0)
            return (int32_t)i;
        snprintf(list + used, sizeof(list) - used, "%s%s", i == 0 ? "" : ", ", words[i]);
    }
    cli_fail_usage("--%s must be one of %s, not %s", option, list, value);
}
