/* How GGUF's byte-level BPE tokenizers split texts, by the names that llama.cpp gave them. Some of
 * its patterns differ from those of the models because its regular expressions lack
 * case-insensitive groups and classes of letters; here they are those of the models. */
#include <string.h>

#include "base/error.h"
#include "tokenizer/formats/token_files.h"

#define SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER  "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define SPACES "\\s+(?!\\S)|\\s+"

#define CJK "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+"
#define DEEPSEEK_WORDS                                                                             \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"                                       \
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
#define DEEPSEEK_LINES DEEPSEEK_WORDS "[\\r\\n]*|\\s*[\\r\\n]+|" SPACES

/* Letters with case. */
#define CASED                                                                                      \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"                 \
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}"                          \
    "\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}"                  \
    "\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}"                         \
    "\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}"                 \
    "\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}"                 \
    "\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}"                 \
    "\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}"                            \
    "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}"                           \
    "\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}"                 \
    "\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}"                  \
    "\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}"                   \
    "\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}"                  \
    "\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}"                  \
    "\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"                  \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}"                 \
    "\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"               \
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}"                              \
    "\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

#define BLOOM " ?[^(\\s|.,!?\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C)]+"

#define YOUTU                                                                                      \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" SUFFIX "?|"                                       \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" SUFFIX "?|"                                       \
    "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|" SPACES

#define FALLING_SPACES                                                                             \
    "\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|"               \
    "\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"

#define AFMOE_SCRIPTS                                                                              \
    "[\u4E00-\u9FFF\u3400-\u4DBF\uF900-\uFAFF\u3040-\u309F\u30A0-\u30FF\uFF65-\uFF9F"              \
    "\u2F00-\u2FDF\u0E40-\u0E7F\u0E80-\u0EFF\u1780-\u17FF\u1000-\u109F\uAA60-\uAA7F"               \
    "\uA9E0-\uA9FF\uAC00-\uD7AF\u1100-\u11FF]+"

static const tlmi_gguf_splitting_t splittings[] = {
    {.name = "gpt-2",
     .others = "phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert "
               "jina-v1-en jina-v2-code roberta-bpe mpt olmo jais trillion granite-docling exaone4",
     .patterns = {TLM_PATTERN_GPT2}},
    {.name = "llama-bpe",
     .others = "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .patterns = {TLM_PATTERN_LLAMA3},
     .ignores_merges = true,
     .adds_bos = true},
    {.name = "glm4", .others = "glm5", .patterns = {TLM_PATTERN_LLAMA3}, .ignores_merges = true},
    {.name = "dbrx", .others = "smaug-bpe chatglm-bpe", .patterns = {TLM_PATTERN_LLAMA3}},
    {.name = "qwen2",
     .others = "deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan solar-open megrez grok-2",
     .patterns = {TLM_PATTERN_QWEN2}},
    {.name = "qwen35", .patterns = {TLM_PATTERN_QWEN35}},
    {.name = "gpt-4o",
     .others = "llama4 kanana2 talkie minimax-m2",
     .patterns = {TLM_PATTERN_O200K}},
    {.name = "granite-embed-multi-97m", .patterns = {TLM_PATTERN_O200K}, .ignores_merges = true},
    {.name = "tekken", .patterns = {TLM_PATTERN_TEKKEN}, .ignores_merges = true, .adds_bos = true},
    {.name = "smollm",
     .others = "starcoder refact command-r codeshell exaone minerva-7b mellum2",
     .patterns = {"\\p{N}", TLM_PATTERN_GPT2}},
    {.name = "deepseek-v3",
     .others = "hunyuan-dense joyai-llm hy_v4",
     .patterns = {"\\p{N}{1,3}", CJK, DEEPSEEK_LINES}},
    {.name = "spark2_5",
     .patterns = {"\\p{N}{1,3}", CJK, DEEPSEEK_WORDS "|[\\r\\n]|" SPACES, "\\p{N}"}},
    {.name = "deepseek-llm",
     .patterns = {"[\r\n]", "\\s?[" CASED "]+",
                  "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+", "\\s+$",
                  "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+", "\\p{N}+"}},
    {.name = "deepseek-coder",
     .patterns = {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
                  "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+", "\\p{N}"}},
    {.name = "falcon", .patterns = {"[\\p{P}$+<=>^~|`]+", TLM_PATTERN_GPT2, "[0-9][0-9][0-9]"}},
    {.name = "default",
     .patterns = {"[\\p{P}$+<=>^~|]+", TLM_PATTERN_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.name = "bloom", .others = "poro-chat gpt3-finnish", .patterns = {BLOOM}},
    {.name = "viking", .patterns = {BLOOM, "\\p{N}"}},
    {.name = "kimi-k2", .patterns = {TLM_PATTERN_KIMI}},
    {.name = "youtu",
     .patterns = {"[\uAC00-\uD7A3\u3131-\u318E]+|["
                  "\uFF01\u2026\u201C\u201D\u2018\u2019\u2014\uFF1A\uFF1B\uFF0C\u3001-\u303F\uFE30-"
                  "\uFE4F]+|["
                  "\u3105-\u312F]+|" CJK,
                  YOUTU},
     .ignores_merges = true},
    {.name = "chameleon",
     .patterns = {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )",
                  "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", TLM_PATTERN_GPT2},
     .adds_bos = true},
    {.name = "tiny_aya",
     .others = "cohere2moe",
     .patterns = {"\\d{1,3}(?=(?:\\d{3})*\\b)", TLM_PATTERN_O200K}},
    {.name = "superbpe", .patterns = {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}},
    {.name = "bailingmoe",
     .others = "bailingmoe2 llada-moe",
     .patterns = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
                  "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|" SPACES}},
    {.name = "seed-coder",
     .patterns = {SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                         "?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|" SPACES}},
    {.name = "ufakzeka",
     .patterns = {"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                  "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES}},
    {.name = "afmoe",
     .patterns = {"\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))", AFMOE_SCRIPTS, DEEPSEEK_LINES}},
    {.name = "laguna", .patterns = {"[^\\n]+|[\\n]+", TLM_PATTERN_QWEN2}},
    {.name = "exaone-moe",
     .patterns = {SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| "
                         "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|" SPACES}},
    {.name = "minicpm5",
     .patterns = {"\\p{N}{1,3}", SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+| "
                                        "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES},
     .ignores_merges = true},
    {.name = "jais-2",
     .patterns = {SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" FALLING_SPACES}},
};

#define NUM_SPLITTINGS (sizeof(splittings) / sizeof(splittings[0]))

static size_t num_patterns(const tlmi_gguf_splitting_t *splitting)
{
    size_t n = 0;

    while (n < TLMI_GGUF_MAX_PATTERNS && splitting->patterns[n] != NULL)
        n++;
    return n;
}

/* Whether a list of words separated by spaces has this one. */
static bool has_word(const char *words, const char *word, size_t size)
{
    while (words != NULL && *words != '\0') {
        size_t length = strcspn(words, " ");

        if (length == size && memcmp(words, word, size) == 0)
            return true;
        words += length + (words[length] == ' ');
    }
    return false;
}

const tlmi_gguf_splitting_t *tlmi_gguf_splitting_find(const char *name, size_t size)
{
    for (size_t i = 0; i < NUM_SPLITTINGS && size > 0; i++)
        if (has_word(splittings[i].name, name, size) || has_word(splittings[i].others, name, size))
            return &splittings[i];
    return NULL;
}

const tlmi_gguf_splitting_t *tlmi_gguf_splitting_of(const char *pattern)
{
    for (size_t i = 0; i < NUM_SPLITTINGS; i++) {
        const tlmi_scanner_t *scanner =
            tlmi_scanner_find_chain(splittings[i].patterns, num_patterns(&splittings[i]));

        if (scanner != NULL && strcmp(pattern, scanner->pattern) == 0)
            return &splittings[i];
    }
    return NULL;
}

static tlm_status_t make_splitter(tlmi_splitter_t **out, const char *pattern)
{
    const tlmi_scanner_t *scanner = tlmi_scanner_find(pattern);

    return scanner != NULL ? tlmi_split_scanner_create(out, scanner)
                           : tlmi_split_regex_create(out, pattern, TLMI_REGEX_ONIGURUMA,
                                                     TLMI_SPLIT_ISOLATED, false);
}

tlm_status_t tlmi_gguf_splitting_make(tlmi_pretokenizer_t **out,
                                      const tlmi_gguf_splitting_t *splitting)
{
    tlmi_splitter_t *splitters[TLMI_GGUF_MAX_PATTERNS];
    size_t n = num_patterns(splitting);

    const tlmi_scanner_t *scanner = tlmi_scanner_find_chain(splitting->patterns, n);
    if (scanner != NULL || n == 1)
        return tlmi_pretokenizer_create(out, scanner != NULL ? scanner->pattern
                                                             : splitting->patterns[0]);
    for (size_t i = 0; i < n; i++) {
        tlm_status_t status = make_splitter(&splitters[i], splitting->patterns[i]);

        if (status != TLM_OK) {
            while (i > 0)
                tlmi_splitter_free(splitters[--i]);
            return status;
        }
    }
    return tlmi_pretokenizer_create_chain(out, splitters, n);
}
