/* A small interface to Oniguruma. Oniguruma's limits are off by default; here every search sets
 * them, so that a catastrophic pattern causes an error instead of a hang. */
#include "tokenizer/pretokenize/pretokenize.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define ONIG_ESCAPE_UCHAR_COLLISION /* keeps the header from defining UChar */
#include <oniguruma.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/process.h"

/* Limits on the backtracking steps per match and per search, and on the entries of the match stack.
 * They amount to at most tens of milliseconds and tens of megabytes. */
#define RETRIES_IN_MATCH  10000000ul
#define RETRIES_IN_SEARCH 20000000ul
#define STACK_ENTRIES     4000000u

/* Those limits count only backtracking. A pattern that scans far ahead from every position, as a+x
 * does on a text of a's, takes time quadratic in the size of the text, so the clock is checked too.
 * This is why each position is tried separately: Oniguruma's own search would not return between
 * positions. */
#define PLACES_BETWEEN_LOOKS 64

struct tlmi_regex {
    OnigRegex compiled;
    bool from_last; /* uses \G, the position where a search begins, so it needs one search */
};

struct tlmi_regex_matcher {
    OnigRegion *region;
    OnigMatchParam *limits;
    uint64_t deadline; /* in ns of the thread's CPU time */
    uint32_t places;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the variables below */
static bool initialized;
static int64_t num_compiled;
static OnigSyntaxType perl_syntax; /* plus possessive a?+ and a{1,3}+ */

static void acquire(void)
{
    tlmi_hold_at_fork(&lock);
    pthread_mutex_lock(&lock);
}

static void release(void)
{
    pthread_mutex_unlock(&lock);
}

/* Frees Oniguruma's tables once no pattern is left that may need them. */
static void end_oniguruma(void)
{
    acquire();
    if (initialized && num_compiled == 0) {
        onig_end();
        initialized = false;
    }
    release();
}

static void count_compiled(int change)
{
    acquire();
    num_compiled += change;
    release();
}

/* Initializes Oniguruma and returns its status code. This does not use pthread_once, so that the
 * next call tries again after memory ran out. onig_initialize does nothing the second time, so
 * the encoding is initialized separately. */
static int initialize(void)
{
    OnigEncoding utf8 = ONIG_ENCODING_UTF8;
    int code = ONIG_NORMAL;

    acquire();
    if (!initialized) {
        onig_copy_syntax(&perl_syntax, ONIG_SYNTAX_PERL_NG);
        onig_set_syntax_op2(&perl_syntax, onig_get_syntax_op2(&perl_syntax) |
                                              ONIG_SYN_OP2_PLUS_POSSESSIVE_REPEAT |
                                              ONIG_SYN_OP2_PLUS_POSSESSIVE_INTERVAL);
        code = onig_initialize(&utf8, 1);
        if (code == ONIG_NORMAL)
            code = onig_initialize_encoding(utf8);
        initialized = code == ONIG_NORMAL;
        tlmi_on_shutdown(end_oniguruma);
    }
    release();
    return code;
}

static tlm_status_t fail_regex(const char *what, int code, OnigErrorInfo *info)
{
    OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN];

    if (code == ONIGERR_MEMORY)
        return tlmi_fail_memory(0, "a regular expression");
    message[0] = '\0';
    if (info != NULL)
        onig_error_code_to_str(message, code, info);
    else
        onig_error_code_to_str(message, code);
    return tlmi_fail(TLM_ERR_REGEX, "%s: %s", what, (const char *)message);
}

/* Oniguruma frees blocks twice if memory runs out while it compiles a pattern. So patterns are only
 * compiled while far more memory is available than a pattern needs. */
static bool memory_is_left(size_t pattern_size)
{
    void *block = tlmi_alloc(pattern_size + 4096, 256, "a regular expression");

    tlmi_free(block);
    return block != NULL;
}

tlm_status_t tlmi_regex_create(tlmi_regex_t **out, const char *pattern, tlmi_regex_syntax_t syntax)
{
    const OnigUChar *text = (const OnigUChar *)pattern;
    OnigErrorInfo info;

    size_t nesting = tlmi_regex_nesting(pattern);
    if (nesting > TLMI_REGEX_MAX_NESTING)
        return tlmi_fail(TLM_ERR_REGEX, "pattern: its groups are nested %zu deep; the limit is %d",
                         nesting, TLMI_REGEX_MAX_NESTING);
    int code = initialize();
    if (code != ONIG_NORMAL)
        return fail_regex("pattern", code, NULL);
    if (!memory_is_left(strlen(pattern)))
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_regex_t *regex = tlmi_calloc(1, sizeof(*regex), "a regular expression");
    if (regex == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memset(&info, 0, sizeof(info));
    code = onig_new(&regex->compiled, text, text + strlen(pattern), ONIG_OPTION_NONE,
                    ONIG_ENCODING_UTF8,
                    syntax == TLMI_REGEX_PERL ? &perl_syntax : ONIG_SYNTAX_ONIGURUMA, &info);
    if (code != ONIG_NORMAL) {
        tlmi_free(regex);
        return fail_regex("pattern", code, &info);
    }
    count_compiled(1);
    regex->from_last = strstr(pattern, "\\G") != NULL;
    *out = regex;
    return TLM_OK;
}

void tlmi_regex_free(tlmi_regex_t *regex)
{
    if (regex == NULL)
        return;
    onig_free(regex->compiled);
    count_compiled(-1);
    tlmi_free(regex);
}

static uint64_t cpu_time(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static tlm_status_t check_time(const tlmi_regex_matcher_t *matcher, size_t at, size_t size)
{
    if (cpu_time() < matcher->deadline)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_REGEX, "pattern: matching takes too long at byte %zu of %zu", at,
                     size);
}

tlm_status_t tlmi_regex_matcher_create(tlmi_regex_matcher_t **out, uint64_t max_nanoseconds)
{
    tlmi_regex_matcher_t *matcher = tlmi_calloc(1, sizeof(*matcher), "a pattern matcher");

    if (matcher == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    matcher->region = onig_region_new();
    matcher->limits = onig_new_match_param();
    if (matcher->region == NULL || matcher->limits == NULL) {
        tlmi_regex_matcher_free(matcher);
        return tlmi_fail_memory(0, "a pattern matcher");
    }
    if (onig_region_resize(matcher->region, 1) != ONIG_NORMAL) {
        matcher->region->allocated = 1; /* so that freeing it also frees a lone array */
        tlmi_regex_matcher_free(matcher);
        return tlmi_fail_memory(0, "a pattern matcher");
    }
    onig_initialize_match_param(matcher->limits);
    onig_set_retry_limit_in_match_of_match_param(matcher->limits, RETRIES_IN_MATCH);
    onig_set_retry_limit_in_search_of_match_param(matcher->limits, RETRIES_IN_SEARCH);
    onig_set_match_stack_limit_size_of_match_param(matcher->limits, STACK_ENTRIES);
    matcher->deadline = cpu_time() + max_nanoseconds;
    *out = matcher;
    return TLM_OK;
}

void tlmi_regex_matcher_free(tlmi_regex_matcher_t *matcher)
{
    if (matcher == NULL)
        return;
    if (matcher->region != NULL)
        onig_region_free(matcher->region, 1);
    if (matcher->limits != NULL)
        onig_free_match_param(matcher->limits);
    tlmi_free(matcher);
}

void tlmi_regex_matcher_extend(tlmi_regex_matcher_t *matcher, uint64_t nanoseconds)
{
    matcher->deadline += nanoseconds;
}

/* Returns the start of the first character after `at`. */
static size_t next_character(const uint8_t *text, size_t size, size_t at)
{
    do
        at++;
    while (at < size && (text[at] & 0xC0) == 0x80);
    return at;
}

tlm_status_t tlmi_regex_find(bool *found, size_t *start, size_t *end, const tlmi_regex_t *regex,
                             tlmi_regex_matcher_t *matcher, const uint8_t *text, size_t size,
                             size_t from)
{
    *found = false;
    for (; from <= size; from = next_character(text, size, from)) {
        if (++matcher->places % PLACES_BETWEEN_LOOKS == 0)
            TLMI_TRY(check_time(matcher, from, size));
        int code = regex->from_last
                       ? onig_search_with_param(regex->compiled, text, text + size, text + from,
                                                text + size, matcher->region, ONIG_OPTION_NONE,
                                                matcher->limits)
                       : onig_match_with_param(regex->compiled, text, text + size, text + from,
                                               matcher->region, ONIG_OPTION_NONE, matcher->limits);
        if (code == ONIG_MISMATCH && regex->from_last)
            break;
        if (code == ONIG_MISMATCH)
            continue;
        if (code < 0)
            return fail_regex("pattern", code, NULL);
        *found = true;
        *start = (size_t)matcher->region->beg[0];
        *end = (size_t)matcher->region->end[0];
        return TLM_OK;
    }
    return TLM_OK;
}

tlm_status_t tlmi_regex_search(size_t *start, size_t *end, const tlmi_regex_t *regex,
                               tlmi_regex_matcher_t *matcher, const uint8_t *text, size_t size,
                               size_t from)
{
    while (from < size) {
        bool found;

        TLMI_TRY(tlmi_regex_find(&found, start, end, regex, matcher, text, size, from));
        if (!found)
            break;
        if (*end > *start)
            return TLM_OK;
        from = *end < size ? next_character(text, size, *end) : size; /* skip an empty match */
    }
    *start = *end = size;
    return TLM_OK;
}

tlm_status_t tlmi_regex_next(bool *found, size_t *start, size_t *end, const tlmi_regex_t *regex,
                             tlmi_regex_matcher_t *matcher, const uint8_t *text, size_t size,
                             size_t last_end)
{
    size_t from = last_end == TLMI_REGEX_NONE ? 0 : last_end;

    TLMI_TRY(tlmi_regex_find(found, start, end, regex, matcher, text, size, from));
    while (*found && *start == *end && *end == last_end) {
        if (from >= size) {
            *found = false;
            break;
        }
        from = next_character(text, size, from);
        TLMI_TRY(tlmi_regex_find(found, start, end, regex, matcher, text, size, from));
    }
    return TLM_OK;
}
