/* Hugging Face's files spell some patterns in another way than the library, which goes by tiktoken. The
 * two match the same. */
#include "hf_patterns.h"

#include <string.h>

#include "tinylm/tokenizer.h"

static const struct {
    const char *library, *file;
} spellings[] = {
    {TLM_PATTERN_GPT2,
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
};

enum { NUM_SPELLINGS = sizeof(spellings) / sizeof(spellings[0]) };

const char *tlmi_hf_pattern_read(const char *pattern)
{
    for (size_t i = 0; i < NUM_SPELLINGS; i++)
        if (strcmp(pattern, spellings[i].file) == 0)
            return spellings[i].library;
    return pattern;
}

const char *tlmi_hf_pattern_write(const char *pattern)
{
    for (size_t i = 0; i < NUM_SPELLINGS; i++)
        if (strcmp(pattern, spellings[i].library) == 0)
            return spellings[i].file;
    return pattern;
}

bool tlmi_hf_pattern_is_known(const char *pattern)
{
    for (size_t i = 0; i < NUM_SPELLINGS; i++)
        if (strcmp(pattern, spellings[i].library) == 0)
            return true;
    return false;
}
