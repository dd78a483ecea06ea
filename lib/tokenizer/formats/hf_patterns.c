/* The library spells patterns as tiktoken does. The tokenizers library reads them in Oniguruma's
 * own syntax, where {1,3}+ is not possessive but a repeated repetition, and $ also matches before a
 * newline; \s++$ means the same in both. Patterns that are not listed here mean the same in
 * both. */
#include "tokenizer/formats/token_files.h"

#include <string.h>

#include "tinylm/tokenizer.h"
#include "tokenizer/pretokenize/pretokenize.h"

/* The first spelling of a pattern is the one that is written. */
static const struct {
    const char *library, *file;
} spellings[] = {
    {TLM_PATTERN_GPT2,
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    {TLM_PATTERN_GPT2, TLM_PATTERN_GPT2},
    {TLM_PATTERN_CL100K, "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}|"
                         " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++\\z|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"},
    {TLM_PATTERN_CL100K, "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}|"
                         " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"},
    {TLMI_PATTERN_CL100K_DIGIT_RUNS, TLMI_PATTERN_CL100K_DIGIT_RUNS},
    {TLMI_PATTERN_CL100K_DIGIT_RUNS, TLM_PATTERN_CL100K},
    {TLM_PATTERN_O200K, TLM_PATTERN_O200K},
    {TLM_PATTERN_LLAMA3, TLM_PATTERN_LLAMA3},
    {TLM_PATTERN_QWEN2, TLM_PATTERN_QWEN2},
    {TLM_PATTERN_QWEN35, TLM_PATTERN_QWEN35},
    {TLM_PATTERN_TEKKEN, TLM_PATTERN_TEKKEN},
    {TLM_PATTERN_KIMI, TLM_PATTERN_KIMI},
    {TLM_PATTERN_SMOLLM, TLM_PATTERN_SMOLLM},
    {TLM_PATTERN_DEEPSEEK_V3, TLM_PATTERN_DEEPSEEK_V3},
};

enum { NUM_SPELLINGS = sizeof(spellings) / sizeof(spellings[0]) };

const char *tlmi_hf_pattern_read(const char *pattern)
{
    for (size_t i = 0; i < NUM_SPELLINGS; i++)
        if (strcmp(pattern, spellings[i].file) == 0)
            return spellings[i].library;
    const tlmi_scanner_t *scanner = tlmi_scanner_find(pattern);
    return scanner != NULL ? scanner->pattern : pattern;
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
    if (strcmp(pattern, TLM_PATTERN_DEEPSEEK_V3) == 0)
        return false;
    for (size_t i = 0; i < NUM_SPELLINGS; i++)
        if (strcmp(pattern, spellings[i].library) == 0)
            return true;
    return false;
}

const tlmi_scanner_t *tlmi_hf_scanner_find(const char *const *patterns, size_t n)
{
    const char *read[TLMI_MAX_CHAIN];

    if (n > TLMI_MAX_CHAIN)
        return NULL;
    for (size_t i = 0; i < n; i++)
        read[i] = tlmi_hf_pattern_read(patterns[i]);
    return tlmi_scanner_find_chain(read, n);
}
