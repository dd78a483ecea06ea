/* The well-known patterns: their names, the spellings in use that split every text the same way,
 * and the chains of patterns that do. A new pattern of a family that there is takes a row or two
 * here. */
#include "tokenizer/pretokenize/pretokenize.h"

#include <string.h>

#include "tinylm/tokenizer.h"

static const tlmi_scanner_t gpt2 = {.pattern = TLM_PATTERN_GPT2, .kind = TLMI_SCANNER_GPT2};
static const tlmi_scanner_t smollm = {.pattern = TLM_PATTERN_SMOLLM,
                                      .kind = TLMI_SCANNER_GPT2,
                                      .max_digits = 1,
                                      .digits_apart = true};
static const tlmi_scanner_t digit_runs = {.pattern = "\\p{N}+|'(?:[sdmt]|ll|ve|re)| ?\\p{L}+|"
                                                     " ?[^\\s\\p{L}\\p{N}]+|\\s+(?![^\\s\\p{N}])|"
                                                     "\\s+",
                                          .kind = TLMI_SCANNER_GPT2,
                                          .digits_apart = true};
static const tlmi_scanner_t cl100k = {.pattern = TLM_PATTERN_CL100K,
                                      .kind = TLMI_SCANNER_CL100K,
                                      .max_digits = 3,
                                      .whole_at_end = true};
static const tlmi_scanner_t cl100k_digit_runs = {
    .pattern = TLMI_PATTERN_CL100K_DIGIT_RUNS, .kind = TLMI_SCANNER_CL100K, .whole_at_end = true};
static const tlmi_scanner_t llama3 = {
    .pattern = TLM_PATTERN_LLAMA3, .kind = TLMI_SCANNER_CL100K, .max_digits = 3};
static const tlmi_scanner_t qwen2 = {
    .pattern = TLM_PATTERN_QWEN2, .kind = TLMI_SCANNER_CL100K, .max_digits = 1};
static const tlmi_scanner_t qwen35 = {
    .pattern = TLM_PATTERN_QWEN35, .kind = TLMI_SCANNER_CL100K, .max_digits = 1, .marks = true};
static const tlmi_scanner_t o200k = {.pattern = TLM_PATTERN_O200K,
                                     .kind = TLMI_SCANNER_O200K,
                                     .max_digits = 3,
                                     .suffixes = true,
                                     .slashes = true};
static const tlmi_scanner_t tekken = {
    .pattern = TLM_PATTERN_TEKKEN, .kind = TLMI_SCANNER_O200K, .max_digits = 1, .slashes = true};
static const tlmi_scanner_t kimi = {.pattern = TLM_PATTERN_KIMI,
                                    .kind = TLMI_SCANNER_O200K,
                                    .max_digits = 3,
                                    .suffixes = true,
                                    .han_apart = true};
static const tlmi_scanner_t deepseek = {.pattern = TLM_PATTERN_DEEPSEEK_V3,
                                        .kind = TLMI_SCANNER_DEEPSEEK,
                                        .max_digits = 3,
                                        .marks = true,
                                        .digits_apart = true};

/* ---- Spellings ---- */

/* Beside the library's own. */
static const struct {
    const char *pattern;
    const tlmi_scanner_t *scanner;
} spellings[] = {
    /* OpenAI's GPT-2 code and Hugging Face's ByteLevel */
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", &gpt2},
    /* tiktoken's r50k_base and p50k_base */
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++|\\s++$|\\s+(?!\\S)|\\s",
     &gpt2},
    /* cl100k_base in tiktoken before 0.8 and in programs that copied it */
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
     "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     &llama3},
    /* Ling */
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
     "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     &qwen2},
    /* Kimi's own, for the regex engine of tiktoken, where && intersects two classes */
    {"[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?"
     "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*"
     "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
     "[^\\r\\n\\p{L}\\p{N}]?"
     "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+"
     "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
     "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     &kimi},
};

static const tlmi_scanner_t *const scanners[] = {
    &gpt2,   &smollm, &digit_runs, &cl100k, &cl100k_digit_runs, &llama3, &qwen2,
    &qwen35, &o200k,  &tekken,     &kimi,   &deepseek};

const tlmi_scanner_t *tlmi_scanner_find(const char *pattern)
{
    for (size_t i = 0; i < sizeof(scanners) / sizeof(scanners[0]); i++)
        if (strcmp(pattern, scanners[i]->pattern) == 0)
            return scanners[i];
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++)
        if (strcmp(pattern, spellings[i].pattern) == 0)
            return spellings[i].scanner;
    return NULL;
}

/* ---- Chains ---- */

#define DEEPSEEK_WORDS(newlines)                                                                   \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"                                       \
    "[^" newlines "\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"                                           \
    " ?[\\p{P}\\p{S}]+[" newlines "]*|\\s*[" newlines "]+|\\s+(?!\\S)|\\s+"

static const struct {
    const char *steps[TLMI_MAX_CHAIN];
    const tlmi_scanner_t *scanner;
} chains[] = {
    {{"\\p{N}", TLM_PATTERN_GPT2}, &smollm},
    {{"\\p{N}+", TLM_PATTERN_GPT2}, &digit_runs},
    {{"\\p{N}{1,3}", "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+", DEEPSEEK_WORDS("\r\n")},
     &deepseek},
    {{"\\p{N}{1,3}", "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+", DEEPSEEK_WORDS("\\r\\n")},
     &deepseek},
};

/* Whether two patterns are the same, or spellings of the same one. */
static bool is_same_pattern(const char *a, const char *b)
{
    if (strcmp(a, b) == 0)
        return true;
    const tlmi_scanner_t *scanner = tlmi_scanner_find(a);
    return scanner != NULL && scanner == tlmi_scanner_find(b);
}

const tlmi_scanner_t *tlmi_scanner_find_chain(const char *const *patterns, size_t n)
{
    if (n == 1)
        return tlmi_scanner_find(patterns[0]);
    for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
        size_t same = 0;

        while (same < n && same < TLMI_MAX_CHAIN && chains[i].steps[same] != NULL &&
               is_same_pattern(patterns[same], chains[i].steps[same]))
            same++;
        if (same == n && (same == TLMI_MAX_CHAIN || chains[i].steps[same] == NULL))
            return chains[i].scanner;
    }
    return NULL;
}

/* ---- Names ---- */

static const struct {
    const char *name, *pattern;
} names[] = {{"gpt2", TLM_PATTERN_GPT2},          {"cl100k", TLM_PATTERN_CL100K},
             {"o200k", TLM_PATTERN_O200K},        {"llama3", TLM_PATTERN_LLAMA3},
             {"qwen2", TLM_PATTERN_QWEN2},        {"qwen3.5", TLM_PATTERN_QWEN35},
             {"tekken", TLM_PATTERN_TEKKEN},      {"kimi", TLM_PATTERN_KIMI},
             {"smollm", TLM_PATTERN_SMOLLM},      {"deepseek-v3", TLM_PATTERN_DEEPSEEK_V3},
             {"r50k_base", TLM_PATTERN_GPT2},     {"p50k_base", TLM_PATTERN_GPT2},
             {"cl100k_base", TLM_PATTERN_CL100K}, {"o200k_base", TLM_PATTERN_O200K},
             {"llama4", TLM_PATTERN_O200K},       {"glm4", TLM_PATTERN_LLAMA3},
             {"qwen2.5", TLM_PATTERN_QWEN2},      {"qwen3", TLM_PATTERN_QWEN2},
             {"nemotron", TLM_PATTERN_TEKKEN},    {"starcoder", TLM_PATTERN_SMOLLM},
             {"command-r", TLM_PATTERN_SMOLLM},   {"deepseek-r1", TLM_PATTERN_DEEPSEEK_V3}};

const char *tlm_pattern_by_name(const char *name)
{
    if (name == NULL)
        return NULL;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i].name) == 0)
            return names[i].pattern;
    return NULL;
}

const char *tlm_pattern_name(size_t index)
{
    return index < sizeof(names) / sizeof(names[0]) ? names[index].name : NULL;
}
