/* Hostile depth on a thread with little stack, as musl's threads have: JSON in each function that reads it, and
 * patterns of all that nests. */
#include "io_support.h"
#include "run_suite.h"

#include <pthread.h>

#include "tokenizer/pretokenize/pretokenize.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_SIZE ((size_t)2 << 20) /* every frame is larger there */
#else
#define STACK_SIZE ((size_t)128 << 10)
#endif

static void on_small_stack(void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    ck_assert_int_eq(pthread_attr_setstacksize(&attributes, STACK_SIZE), 0);
    ck_assert_int_eq(pthread_create(&thread, &attributes, run, argument), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
}

static char *repeat(const char *open, const char *middle, const char *close, size_t n)
{
    char *text = malloc(n * (strlen(open) + strlen(close)) + strlen(middle) + 1), *to = text;

    for (size_t i = 0; i < n; i++)
        to = stpcpy(to, open);
    to = stpcpy(to, middle);
    for (size_t i = 0; i < n; i++)
        to = stpcpy(to, close);
    return text;
}

static void *load_deep_json(void *argument)
{
    const char *path = argument;
    tlm_tokenizer_t *tokenizer;
    tlm_model_t *model;
    char *metadata;

    ASSERT_FAILS(TLM_ERR_FORMAT, "levels", tlm_tokenizer_load_json(&tokenizer, path, NULL));
    ASSERT_FAILS(TLM_ERR_FORMAT, "levels", tlm_tokenizer_open(&tokenizer, path, NULL));
    ASSERT_FAILS(TLM_ERR_FORMAT, "levels", tlm_tokenizer_load(&tokenizer, path, path, NULL));
    ASSERT_FAILS(TLM_ERR_FORMAT, "levels", tlm_model_open(&model, NULL, NULL, test_directory));
    ASSERT_FAILS(TLM_ERR_FORMAT, "levels", tlm_model_load(&model, test_path("deep.safetensors")));
    ASSERT_FAILS(TLM_ERR_FORMAT, "levels",
                 tlm_checkpoint_metadata(&metadata, NULL, test_path("deep.safetensors")));
    return NULL;
}

START_TEST(deep_json_is_refused)
{
    static const char *const nests[][2] = {{"[", "]"}, {"{\"a\":", "}"}, {"[{\"\":", "}]"}};

    for (size_t i = 0; i < COUNT(nests); i++) {
        char *text = repeat(nests[i][0], "0", nests[i][1], 100000), *file;
        size_t size = strlen(text), header = size + 9;

        write_bytes(test_path("deep.json"), text, size);
        write_bytes(test_path("config.json"), text, size);
        file = malloc(8 + header);
        for (size_t k = 0; k < 8; k++)
            file[k] = (char)(header >> 8 * k);
        snprintf(file + 8, header, "{\"deep\":%s", text);
        file[7 + header] = '}';
        write_bytes(test_path("deep.safetensors"), file, 8 + header);
        on_small_stack(load_deep_json, (void *)(uintptr_t)test_path("deep.json"));
        free(file);
        free(text);
    }
}
END_TEST

static const struct {
    const char *open, *middle, *close;
} patterns[] = {
    {"(", "a", ")"},        {"(?:", "a", ")"},     {"(?=", "a", ")"},       {"(?!", "a", ")"},
    {"(?<=", "a", ")"},     {"(?<!", "a", ")"},    {"(?>", "a", ")"},       {"(?i:", "a", ")"},
    {"(?i)a", "a", ""},     {"(?:a|", "b", ")+"},  {"(?:a", "b", "){2,3}"}, {"", "a", "{2,3}"},
    {"", "a", "?+"},        {"", "a", "*"},        {"[", "a", "]"},         {"[a&&", "b", "]"},
    {"[^", "a", "]"},       {"(?<n>a", "b", ")?"}, {"(?~", "a", ")"},       {"(?x:#[\n", "a", ")"},
    {"\\Q[\\E(", "a", ")"}, {"(?#[)(", "a", ")"},  {"\\c[(", "a", ")"},     {"[[:(:](", "a", ")"},
    {"[[](", "a", ")"},     {"[]](", "a", ")"},    {"([)]", "a", ")"},      {"(\\)", "a", ")"},
};

static void *create_tokenizers(void *argument)
{
    for (size_t i = 0; i < 2 * COUNT(patterns); i++)
        for (size_t n = 1; n < 100000; n = n < 60 ? n + 1 : 3 * n) {
            char *text =
                repeat(patterns[i / 2].open, patterns[i / 2].middle, patterns[i / 2].close, n);
            tlmi_regex_t *regex = NULL;
            tlm_status_t status = tlmi_regex_create(
                &regex, text, i % 2 == 0 ? TLMI_REGEX_PERL : TLMI_REGEX_ONIGURUMA);

            ck_assert_msg(status == TLM_OK || status == TLM_ERR_REGEX, "%s: %s", text,
                          tlm_error_message());
            tlmi_regex_free(regex);
            free(text);
        }
    return argument;
}

START_TEST(deep_patterns_are_bounded)
{
    on_small_stack(create_tokenizers, NULL);
}
END_TEST

/* What real patterns have is far from the bound, and groups beside each other do not count. */
START_TEST(usual_patterns_are_not_deep)
{
    static const struct {
        const char *pattern;
        size_t most;
    } usual[] = {
        {TLM_PATTERN_GPT2, 1},
        {TLM_PATTERN_CL100K, 3},
        {TLM_PATTERN_O200K, 3},
        {"(a(b(c)))", 3},
        {"(a)(b)(c)", 1},
        {"[(((](a)[)]", 1},
        {"\\(\\(\\((a)", 1},
        {"[[:alpha:](](a)", 1},
        {"[]((](a)", 1},
        {"a++b*?c{2,3}+d??", 0},
        {"", 0},
    };
    char *many = repeat("(?:a|b)", "c", "", 500);
    tlmi_regex_t *regex;

    for (size_t i = 0; i < COUNT(usual); i++)
        ck_assert_msg(tlmi_regex_nesting(usual[i].pattern) <= usual[i].most, "%s: %zu",
                      usual[i].pattern, tlmi_regex_nesting(usual[i].pattern));
    ck_assert_uint_eq(tlmi_regex_nesting(many), 1);
    ASSERT_OK(tlmi_regex_create(&regex, many, TLMI_REGEX_PERL));
    tlmi_regex_free(regex);
    free(many);
    many = repeat("(", "a", ")", TLMI_REGEX_MAX_NESTING);
    ASSERT_OK(tlmi_regex_create(&regex, many, TLMI_REGEX_PERL));
    tlmi_regex_free(regex);
    free(many);
    many = repeat("(", "a", ")", TLMI_REGEX_MAX_NESTING + 1);
    ASSERT_FAILS(TLM_ERR_REGEX, "nested 41 deep; the limit is 40",
                 tlmi_regex_create(&regex, many, TLMI_REGEX_PERL));
    free(many);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("small stack");
    TCase *tcase = tcase_create("small stack");
    int failed;

    tcase_add_test(tcase, deep_json_is_refused);
    tcase_add_test(tcase, deep_patterns_are_bounded);
    tcase_add_test(tcase, usual_patterns_are_not_deep);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
