/* The library spells patterns as tiktoken does. The tokenizers library reads them in Oniguruma's
 * own syntax, where {1,3}+ is not possessive but a repeated repetition, and $ also matches before a
 * newline. */
#include "tokenizer/formats/token_files.h"

#include <string.h>

#include "tinylm/tokenizer.h"

static const struct {
    const char *library, *file;
} spellings[] = {
    {TLM_PATTERN_GPT2,
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    {TLM_PATTERN_CL100K, "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}|"
                         " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++\\z|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"},
    {TLM_PATTERN_O200K, TLM_PATTERN_O200K},
    {TLM_PATTERN_LLAMA3, TLM_PATTERN_LLAMA3},
    {TLM_PATTERN_QWEN2, TLM_PATTERN_QWEN2},
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
