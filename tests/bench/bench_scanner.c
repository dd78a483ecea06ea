/* Pre-tokenization by the scanners and by Oniguruma with the same pattern: MB/s on one thread, after
 * a check that both split alike. The pretokens are only counted, so this is the cost of finding them.
 *
 *     bench_scanner [FILE ...]
 *
 * Without a file, the texts are English, C and a mixture of scripts, each generated from a few lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/rng.h"
#include "bench_clock.h"
#include "tokenizer/pretokenize/pretokenize.h"

/* The second spelling has the same meaning, but is not one that selects a scanner. */
static const struct {
    const char *name, *pattern, *through_engine;
} patterns[] = {
#define PATTERN(name)                                                                              \
    {                                                                                              \
#name, TLM_PATTERN_##name, "(?:" TLM_PATTERN_##name ")"                                    \
    }
    PATTERN(GPT2),   PATTERN(CL100K), PATTERN(O200K), PATTERN(LLAMA3), PATTERN(QWEN2),
    PATTERN(QWEN35), PATTERN(TEKKEN), PATTERN(KIMI),  PATTERN(SMOLLM), PATTERN(DEEPSEEK_V3),
};
#define NUM_PATTERNS (sizeof(patterns) / sizeof(patterns[0]))

/* ---- Texts ---- */

#define TEXT_SIZE  ((size_t)16 << 20)
#define CHECK_SIZE ((size_t)1 << 20) /* bytes that both split before anything is timed */

/* Sentences, drawn again and again: words of the usual lengths, few of them long. */
static const char *const english[] = {
    "The children hadn't seen the lighthouse since 1987, and it wasn't what they'd remembered. ",
    "\"Where did you put the map?\" asked Tom, looking under the table for the third time. ",
    "Nobody answered; the kettle was boiling over, the dog barked, and somebody's phone rang.\n",
    "By then the river had risen 14 feet above its usual level, which is a record for March. ",
    "We'll leave at 7:30 if the weather (it can't be worse than yesterday's) allows it.\n\n",
    "Most of the committee's members, I'm told, agreed with her - but they didn't say so. ",
    "A small boat went slowly past the harbour wall and out into the grey morning sea. ",
    NULL};

static const char *const code[] = {
    "static int find_entry(const struct table *table, uint32_t key)\n{\n",
    "\tfor (size_t i = 0; i < table->num_entries; i++) {\n",
    "\t\tif (table->entries[i].key == key && !(table->flags & 0x80))\n\t\t\treturn i;\n\t}\n",
    "    /* The first 16 bytes are the header's; see read_header(). */\n",
    "    memcpy(&buffer[offset], source, MIN(size, sizeof(buffer) - offset));\n",
    "#define HTTP_STATUS_NOT_FOUND 404\n#include <sys/types.h>\n\n",
    "        printf(\"%s: %d of %d (%5.1f%%)\\n\", name, done, total, 100.0 * done / total);\n",
    NULL};

static const char *const mixed[] = {
    "\u0417\u0430\u0432\u0442\u0440\u0430 \u0443\u0442\u0440\u043E\u043C \u043C\u044B "
    "\u043F\u043E\u0435\u0434\u0435\u043C \u043A \u043C\u043E\u0440\u044E. ",
    "\u4ECA\u5929\u5929\u6C14\u5F88\u597D\uFF0C\u6211\u4EEC\u53BB\u516C\u56ED\u3002"
    "\u4F60\u8981\u4E00\u8D77\u53BB\u5417\uFF1F\n",
    "\u05D1\u05D5\u05E7\u05E8 \u05D8\u05D5\u05D1 \u05DC\u05DB\u05D5\u05DC\u05DD! "
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064A\u0643\u0645 \u0664\u0662\u060C ",
    "\u65E5\u672C\u8A9E\u306E\u6587\u7AE0\u3068 ABC \u3092\u6DF7\u305C\u308B\u3002\u3000"
    "\uD55C\uAD6D\uC5B4 \uBB38\uC7A5\uB3C4 \uC788\uC2B5\uB2C8\uB2E4.\n",
    "\u0928\u092E\u0938\u094D\u0924\u0947 \u0926\u0941\u0928\u093F\u092F\u093E, "
    "\u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35\u0E0A\u0E32\u0E27\u0E42\u0E25\u0E01 ",
    "Caf\u00E9s \u00E0 c\u00F4t\u00E9, \u00FCber M\u00FCnchen; na\u00EFve 3,14 \u20AC \U0001F600"
    "\U0001F44D\U0001F3FD it's fine. ",
    NULL};

static uint8_t *make_text(const char *const *lines)
{
    uint8_t *text = malloc(TEXT_SIZE);
    size_t n = 0, used = 0;

    while (lines[n] != NULL)
        n++;
    for (uint64_t i = 0; text != NULL && used < TEXT_SIZE; i++) {
        const char *line = lines[tlmi_random_below(1, TLMI_STREAM_USER, i, n)];
        size_t size = strlen(line);

        if (size > TEXT_SIZE - used)
            size = TEXT_SIZE - used;
        memcpy(text + used, line, size);
        used += size;
    }
    return text;
}

static uint8_t *read_text(size_t *size, const char *path)
{
    uint8_t *text = malloc(TEXT_SIZE);
    FILE *file = fopen(path, "rb");

    *size = 0;
    if (file == NULL || text == NULL) {
        perror(path);
        exit(1);
    }
    *size = fread(text, 1, TEXT_SIZE, file);
    fclose(file);
    return text;
}

/* ---- Splitting ---- */

/* What is left of the pretokens: how many, and a sum that depends on each. */
typedef struct digest {
    uint64_t at, n, sum;
} digest_t;

static tlm_status_t take(void *context, const uint8_t *text, const size_t *ends, size_t n)
{
    digest_t *digest = context;

    (void)text; /* may be a copy */
    for (size_t i = 0; i < n; i++)
        digest->sum = (digest->sum ^ (digest->at + ends[i])) * 0x9E3779B97F4A7C15u;
    digest->at += ends[n - 1];
    digest->n += n;
    return TLM_OK;
}

static tlm_status_t count(void *context, const uint8_t *text, const size_t *ends, size_t n)
{
    *(uint64_t *)context += n;
    return TLM_OK;
}

static digest_t split(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text, size_t size)
{
    digest_t digest = {0, 0, 0};

    if (tlmi_pretokenize(pretokenizer, text, size, true, take, &digest) != TLM_OK) {
        printf("%s\n", tlm_error_message());
        exit(1);
    }
    return digest;
}

/* MB/s, the best of several runs; of as many bytes as take a while. */
static double speed(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text, size_t size,
                    double seconds)
{
    double best = 0, until = now() + seconds;

    do {
        uint64_t n = 0;
        double start = now(), rate;

        tlmi_pretokenize(pretokenizer, text, size, true, count, &n);
        rate = 1e-6 * (double)size / (now() - start);
        if (rate > best)
            best = rate;
    } while (now() < until);
    return best;
}

static void measure(const char *name, const uint8_t *text, size_t size)
{
    size_t checked = size < CHECK_SIZE ? size : CHECK_SIZE;

    while (checked > 0 && checked < size && (text[checked] & 0xC0) == 0x80)
        checked--;
    for (size_t i = 0; i < NUM_PATTERNS; i++) {
        tlmi_pretokenizer_t *scanner, *engine;
        double fast, slow;
        digest_t a, b;

        if (tlmi_pretokenizer_create(&scanner, patterns[i].pattern) != TLM_OK ||
            tlmi_pretokenizer_create(&engine, patterns[i].through_engine) != TLM_OK) {
            printf("%s\n", tlm_error_message());
            exit(1);
        }
        a = split(scanner, text, checked);
        b = split(engine, text, checked);
        if (a.n != b.n || a.sum != b.sum) {
            printf("%s, %s: the splits differ\n", name, patterns[i].name);
            exit(1);
        }
        fast = speed(scanner, text, size, 0.3);
        slow = speed(engine, text, checked, 0.3);
        printf("%-20.20s %-11s %10.1f %10.1f %10.1f %8.1f\n", name, patterns[i].name,
               (double)checked / (double)a.n, fast, slow, fast / slow);
        tlmi_pretokenizer_free(scanner);
        tlmi_pretokenizer_free(engine);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        const char *const *lines;
    } made[] = {{"English", english}, {"C", code}, {"mixed scripts", mixed}};

    printf("CPU level %s; MB/s on one thread\n", tlm_cpu_level_name(tlm_cpu_level()));
    printf("%-20s %-11s %10s %10s %10s %8s\n", "text", "pattern", "bytes each", "scanner",
           "Oniguruma", "times");
    for (int i = 1; i < argc; i++) {
        size_t size;
        uint8_t *text = read_text(&size, argv[i]);
        const char *name = strrchr(argv[i], '/');

        measure(name == NULL ? argv[i] : name + 1, text, size);
        free(text);
    }
    for (size_t i = 0; argc == 1 && i < sizeof(made) / sizeof(made[0]); i++) {
        uint8_t *text = make_text(made[i].lines);

        if (text == NULL)
            return 1;
        measure(made[i].name, text, TEXT_SIZE);
        free(text);
    }
    return 0;
}
