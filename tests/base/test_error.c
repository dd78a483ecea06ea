/* Status codes and the error message. */
#include "base_support.h"

#include <errno.h>
#include <pthread.h>

#include "base/error.h"

START_TEST(names_and_texts_are_pinned)
{
    static const struct {
        int32_t code;
        const char *name, *text;
    } pinned[] = {
        {0, "TLM_OK", "success"},
        {-1, "TLM_ERR_INVALID_ARGUMENT", "invalid argument"},
        {-2, "TLM_ERR_SHAPE", "shapes do not fit"},
        {-3, "TLM_ERR_OUT_OF_MEMORY", "out of memory"},
        {-4, "TLM_ERR_IO", "input/output error"},
        {-5, "TLM_ERR_FORMAT", "malformed data"},
        {-6, "TLM_ERR_NOT_FOUND", "not found"},
        {-7, "TLM_ERR_UNSUPPORTED", "not supported"},
        {-8, "TLM_ERR_RANGE", "value out of range"},
        {-9, "TLM_ERR_STATE", "call not allowed in this state"},
        {-10, "TLM_ERR_REGEX", "regular expression error"},
        {-11, "TLM_ERR_NON_FINITE", "NaN or infinity"},
        {-12, "TLM_ERR_CANCELLED", "cancelled by a callback"},
        {-13, "TLM_ERR_SPECIAL_TOKEN", "special token not allowed"},
    };
#define COUNT_ONE(name, code, text) +1
    ck_assert_uint_eq(COUNT(pinned), 0 TLM_STATUS_LIST(COUNT_ONE));
#undef COUNT_ONE
    for (size_t i = 0; i < COUNT(pinned); i++) {
        ck_assert_str_eq(tlm_status_name(pinned[i].code), pinned[i].name);
        ck_assert_str_eq(tlm_status_text(pinned[i].code), pinned[i].text);
    }
    ck_assert_str_eq(tlm_status_name(1), "TLM_ERR_UNKNOWN");
    ck_assert_str_eq(tlm_status_name(INT32_MIN), "TLM_ERR_UNKNOWN");
    ck_assert_str_eq(tlm_status_text(-14), "unknown status");
}
END_TEST

START_TEST(messages_are_one_line)
{
    char longer[2000];

    ck_assert_str_eq(tlm_error_message(), "");
    ck_assert_int_eq(tlmi_fail(TLM_ERR_SHAPE, "matmul: %d and %d", 3, 4), TLM_ERR_SHAPE);
    ck_assert_str_eq(tlm_error_message(), "matmul: 3 and 4");
    tlmi_fail(TLM_ERR_FORMAT, "%s", "a\nb\tc\x7f\x1b[0m \xC3\xA9");
    ck_assert_str_eq(tlm_error_message(), "a?b?c??[0m \xC3\xA9");
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    tlmi_fail(TLM_ERR_FORMAT, "%s", longer);
    ck_assert_uint_eq(strlen(tlm_error_message()), 511);
    /* A success clears nothing. */
    ck_assert_int_eq(tlm_random_bits(NULL, 0, 1, 2, 3), TLM_OK);
    ck_assert_uint_eq(strlen(tlm_error_message()), 511);
}
END_TEST

START_TEST(system_errors_name_path_and_reason)
{
    errno = ENOENT;
    ck_assert_int_eq(tlmi_fail_errno("open", "/some/file"), TLM_ERR_NOT_FOUND);
    ck_assert_str_eq(tlm_error_message(), "open /some/file: No such file or directory");
    errno = EACCES;
    ck_assert_int_eq(tlmi_fail_errno("open", "/some/file"), TLM_ERR_IO);
    ck_assert_str_eq(tlm_error_message(), "open /some/file: Permission denied");
    ck_assert_int_eq(tlmi_fail_memory(123, "a thing"), TLM_ERR_OUT_OF_MEMORY);
    ck_assert_str_eq(tlm_error_message(), "out of memory: 123 bytes for a thing");
    ck_assert_int_eq(tlmi_fail_overflow("a thing"), TLM_ERR_OUT_OF_MEMORY);
    ck_assert_str_eq(tlm_error_message(), "out of memory: a thing would exceed the address space");
}
END_TEST

static void *fail_elsewhere(void *text)
{
    if (strcmp(tlm_error_message(), "") != 0)
        return "not empty at first";
    tlmi_fail(TLM_ERR_IO, "%s", (const char *)text);
    return strcmp(tlm_error_message(), text) == 0 ? NULL : "another thread's message";
}

START_TEST(each_thread_has_its_message)
{
    pthread_t thread;
    void *fault;

    tlmi_fail(TLM_ERR_IO, "here");
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_elsewhere, "there"), 0);
    ck_assert_int_eq(pthread_join(thread, &fault), 0);
    ck_assert_msg(fault == NULL, "%s", (const char *)fault);
    ck_assert_str_eq(tlm_error_message(), "here");
}
END_TEST

static tlm_status_t require(const void *weight)
{
    TLMI_REQUIRE("linear", weight);
    return TLM_OK;
}

START_TEST(null_arguments_are_named)
{
    ASSERT_OK(require("x"));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "linear: weight is NULL", require(NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "out", tlm_random_bits(NULL, 1, 1, 2, 3));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        names_and_texts_are_pinned,  messages_are_one_line,    system_errors_name_path_and_reason,
        each_thread_has_its_message, null_arguments_are_named,
    };
    return run_tests("error", tests, COUNT(tests));
}
