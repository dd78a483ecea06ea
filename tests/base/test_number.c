/* Numbers as text and back, in this locale and, by run_in_locales.sh, in others. */
#include "base_support.h"

#include <math.h>

#include "base/number.h"
#include "base/rng.h"

START_TEST(texts_have_a_point)
{
    static const struct {
        double value;
        int digits;
        const char *text;
    } cases[] = {
        {0.5, 6, "0.5"},
        {1e-5, 6, "1e-05"},
        {1234567.0, 6, "1.23457e+06"},
        {-0.0, 6, "-0"},
        {0.1, 17, "0.10000000000000001"},
        {3.0, 17, "3"},
        {5e-324, 17, "4.9406564584124654e-324"},
        {1.7976931348623157e308, 17, "1.7976931348623157e+308"},
        {-123456.75, 17, "-123456.75"},
    };
    char text[TLMI_NUMBER_SIZE];

    for (size_t i = 0; i < COUNT(cases); i++)
        ck_assert_str_eq(tlmi_number_text(text, cases[i].value, cases[i].digits), cases[i].text);
    ck_assert_str_eq(TLMI_G((double)INFINITY), "inf");
    ck_assert_str_eq(TLMI_G(-(double)INFINITY), "-inf");
    ck_assert_ptr_nonnull(strstr(TLMI_G((double)NAN), "nan"));
    ck_assert_uint_lt(strlen(tlmi_number_text(text, -1.7976931348623157e-308, 400)),
                      TLMI_NUMBER_SIZE);
}
END_TEST

START_TEST(texts_read_back)
{
    char text[TLMI_NUMBER_SIZE];

    for (uint64_t i = 0; i < 100000; i++) {
        uint64_t bits = tlmi_random_below(7, TLMI_STREAM_USER, i, UINT64_MAX);
        double value;

        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value))
            continue;
        double again = tlmi_parse_number(tlmi_number_text(text, value, 17));
        ck_assert_msg(memcmp(&again, &value, sizeof(value)) == 0, "%s", text);
    }
    ck_assert(tlmi_parse_number("1.5,2") == 1.5);
    ck_assert(tlmi_parse_number("1,5") == 1.0);
    ck_assert(isinf(tlmi_parse_number("1e999")));
}
END_TEST

/* A message tells a fraction with a point, and the system's reasons in English. */
START_TEST(messages_do_not_follow_the_locale)
{
    tlm_tokenizer_t *tokenizer;
    tlm_optimizer_t *optimizer;
    tlm_adamw_options_t adamw = TLM_ADAMW_OPTIONS_INIT;

    adamw.beta1 = 1.25;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "1.25", tlm_optimizer_create_adamw(&optimizer, &adamw));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "No such file or directory",
                 tlm_tokenizer_load_json(&tokenizer, test_path("missing"), NULL));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        texts_have_a_point,
        texts_read_back,
        messages_do_not_follow_the_locale,
    };
    return run_tests("number", tests, COUNT(tests));
}
