/* JSON: what is written reads back, and hostile texts are refused with their place. */
#include "base_support.h"

#include "base/json.h"
#include "base/memory.h"

static tlmi_json_t *parse(const char *text)
{
    tlmi_json_t *root = NULL;

    ASSERT_OK(tlmi_json_parse(&root, text, strlen(text), "text"));
    return root;
}

START_TEST(what_is_written_is_read)
{
    static const double numbers[] = {0.1, -1e300, 5e-324, 3.0, 1.0 / 3.0};
    static const char *const no_counters[] = {NULL, "",   "-1",  "+1",
                                              " 1", "1x", "1.0", "18446744073709551616"};
    tlmi_json_t *object = tlmi_json_new_object(), *array = tlmi_json_new_array(), *read;
    const char *string;
    size_t size;
    int64_t integer;
    uint64_t counter;
    double number;
    bool truth;
    char *text;

    for (size_t i = 0; i < COUNT(numbers); i++)
        ASSERT_OK(tlmi_json_append(array, tlmi_json_new_number(numbers[i])));
    ASSERT_OK(tlmi_json_set(object, "z", array));
    ASSERT_OK(tlmi_json_set(object, "least", tlmi_json_new_int(INT64_MIN)));
    ASSERT_OK(tlmi_json_set(object, "yes", tlmi_json_new_bool(true)));
    ASSERT_OK(tlmi_json_set(object, "most", tlmi_json_new_uint64(UINT64_MAX)));
    ASSERT_OK(tlmi_json_set(object, "s", tlmi_json_new_string("a\0\"\n\xF0\x9F\x98\x80", 8)));
    ASSERT_OK(tlmi_json_dump(&text, &size, object));
    ck_assert_uint_eq(strlen(text), size);
    ck_assert_ptr_null(strchr(text, '\n'));

    ASSERT_OK(tlmi_json_parse(&read, text, size, "text"));
    tlmi_free(text);
    ck_assert(tlmi_json_is_object(read) && !tlmi_json_is_array(read));
    ck_assert_uint_eq(tlmi_json_size(read), 5);
    ck_assert_uint_eq(tlmi_json_size(tlmi_json_member(read, "z")), COUNT(numbers));
    for (size_t i = 0; i < COUNT(numbers); i++) {
        ck_assert(tlmi_json_get_number(tlmi_json_item(tlmi_json_member(read, "z"), i), &number));
        ck_assert(number == numbers[i]);
    }
    ck_assert(tlmi_json_get_int(tlmi_json_member(read, "least"), &integer));
    ck_assert(integer == INT64_MIN);
    ck_assert(tlmi_json_get_bool(tlmi_json_member(read, "yes"), &truth) && truth);
    ck_assert(tlmi_json_get_uint64(tlmi_json_member(read, "most"), &counter));
    ck_assert(counter == UINT64_MAX);
    for (size_t i = 0; i < COUNT(no_counters); i++)
        ck_assert(!tlmi_parse_uint64(no_counters[i], &counter));
    ck_assert(!tlmi_json_get_uint64(tlmi_json_member(read, "least"), &counter));
    ck_assert(!tlmi_json_get_uint64(NULL, &counter));
    ck_assert(tlmi_json_get_string(tlmi_json_member(read, "s"), &string, &size));
    ck_assert(size == 8 && memcmp(string, "a\0\"\n\xF0\x9F\x98\x80", 8) == 0);
    tlmi_json_free(read);
    tlmi_json_free(object);
}
END_TEST

START_TEST(members_keep_their_order)
{
    static const char *const keys[] = {"zeta", "alpha", "10", "9", ""};
    tlmi_json_t *root = parse("{\"zeta\":0,\"alpha\":1,\"10\":2,\"9\":3,\"\":4}");
    const tlmi_json_t *value;
    const char *key;
    void *cursor = NULL;
    int64_t integer;

    for (size_t i = 0; i < COUNT(keys); i++) {
        ck_assert(tlmi_json_next(root, &cursor, &key, &value));
        ck_assert_str_eq(key, keys[i]);
        ck_assert(tlmi_json_get_int(value, &integer) && integer == (int64_t)i);
    }
    ck_assert(!tlmi_json_next(root, &cursor, &key, &value));
    tlmi_json_free(root);
    root = parse("{}");
    cursor = NULL;
    ck_assert(!tlmi_json_next(root, &cursor, &key, &value));
    tlmi_json_free(root);
}
END_TEST

START_TEST(greater_integers_are_real_numbers)
{
    tlmi_json_t *root = parse("[1000000000000000019884624838656, -99999999999999999999]");
    int64_t integer;
    double number;

    ck_assert(!tlmi_json_get_int(tlmi_json_item(root, 0), &integer));
    ck_assert(tlmi_json_get_number(tlmi_json_item(root, 0), &number) && number == 1e30);
    ck_assert(!tlmi_json_get_int(tlmi_json_item(root, 1), &integer));
    ck_assert(tlmi_json_get_number(tlmi_json_item(root, 1), &number) && number == -1e20);
    tlmi_json_free(root);
}
END_TEST

START_TEST(values_of_another_type_are_not_read)
{
    tlmi_json_t *root = parse("[1, 1.5, \"1\", true, null, [], {}]");
    const char *string;
    size_t size;
    int64_t integer;
    double number;
    bool truth;

    for (size_t i = 0; i <= tlmi_json_size(root); i++) {
        const tlmi_json_t *item = tlmi_json_item(root, i);
        ck_assert_int_eq(tlmi_json_get_int(item, &integer), i == 0);
        ck_assert_int_eq(tlmi_json_get_number(item, &number), i <= 1);
        ck_assert_int_eq(tlmi_json_get_string(item, &string, &size), i == 2);
        ck_assert_int_eq(tlmi_json_get_bool(item, &truth), i == 3);
        ck_assert_int_eq(tlmi_json_is_array(item), i == 5);
        ck_assert_int_eq(tlmi_json_is_object(item), i == 6);
        ck_assert_ptr_null(tlmi_json_member(item, "x"));
        ck_assert_ptr_null(tlmi_json_item(item, 0));
    }
    ck_assert_ptr_null(tlmi_json_item(root, SIZE_MAX));
    tlmi_json_free(root);
    tlmi_json_free(NULL);
}
END_TEST

START_TEST(hostile_texts_are_refused)
{
    static const struct {
        const char *text;
        size_t size;
    } bad[] = {
#define TEXT(literal) {literal, sizeof(literal) - 1}
        TEXT(""),
        TEXT("   "),
        TEXT("\0"),
        TEXT("{"),
        TEXT("{\"a\":1"),
        TEXT("{\"a\":1,}"),
        TEXT("{\"a\" 1}"),
        TEXT("{'a':1}"),
        TEXT("{a:1}"),
        TEXT("[1,]"),
        TEXT("[1 2]"),
        TEXT("{} x"),
        TEXT("{}\0"),
        TEXT("{}{}"),
        TEXT("{\"a\":1,\"a\":2}"),
        TEXT("{\"\\u0061\":1,\"a\":2}"),
        TEXT("[01]"),
        TEXT("[1.]"),
        TEXT("[.5]"),
        TEXT("[+1]"),
        TEXT("[NaN]"),
        TEXT("[Infinity]"),
        TEXT("[1e999]"),
        TEXT("[\"a]"),
        TEXT("[\"\n\"]"),
        TEXT("[\"\\x\"]"),
        TEXT("[\"\\ud800\"]"),
        TEXT("[\"\\udc00\\ud800\"]"),
        TEXT("[\"\\u12\"]"),
        TEXT("[\"\xFF\"]"),
        TEXT("[\"\xC0\x80\"]"),
        TEXT("[\"\xED\xA0\x80\"]"),
        TEXT("[\"\xF4\x90\x80\x80\"]"),
        TEXT("[\"\xE2\x82\"]"),
        TEXT("\xEF\xBB\xBF{}"),
        TEXT("[tru]"),
        TEXT("[TRUE]"),
        TEXT("// comment\n{}"),
#undef TEXT
    };
    tlmi_json_t *root = NULL;

    for (size_t i = 0; i < COUNT(bad); i++) {
        ck_assert_msg(tlmi_json_parse(&root, bad[i].text, bad[i].size, "input") == TLM_ERR_FORMAT,
                      "accepted: %s", bad[i].text);
        ck_assert_ptr_nonnull(strstr(tlm_error_message(), "input: line "));
        ck_assert_ptr_null(root);
    }
    ASSERT_FAILS(TLM_ERR_FORMAT, "input: line 3 column ",
                 tlmi_json_parse(&root, "{\n\"a\":1,\n?\n}", 12, "input"));
}
END_TEST

START_TEST(deep_nesting_does_not_exhaust_the_stack)
{
    enum { DEPTH = 1000000 };
    char *text = malloc(6 * (size_t)DEPTH);
    tlmi_json_t *root = NULL;

    memset(text, '[', DEPTH);
    memset(text + DEPTH, ']', DEPTH);
    ASSERT_FAILS(TLM_ERR_FORMAT, "deep", tlmi_json_parse(&root, text, 2 * (size_t)DEPTH, "deep"));
    for (size_t i = 0; i < DEPTH; i++)
        memcpy(text + 5 * i, "{\"a\":", 5);
    ASSERT_FAILS(TLM_ERR_FORMAT, "deep", tlmi_json_parse(&root, text, 5 * (size_t)DEPTH, "deep"));
    free(text);
}
END_TEST

static char *nest(size_t depth)
{
    char *text = malloc(2 * depth + 1);

    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    text[2 * depth] = '\0';
    return text;
}

START_TEST(depth_is_bounded)
{
    char *text = nest(TLMI_JSON_MAX_DEPTH);
    tlmi_json_t *root = parse(text);

    tlmi_json_free(root);
    free(text);
    text = nest(TLMI_JSON_MAX_DEPTH + 1);
    ASSERT_FAILS(TLM_ERR_FORMAT, "deep: line 1 column 65: more than 64 levels",
                 tlmi_json_parse(&root, text, strlen(text), "deep"));
    free(text);
}
END_TEST

/* Objects of all sizes around the one from which they have an index. */
START_TEST(members_are_found)
{
    for (size_t n = 0; n < 300; n = n < 20 ? n + 1 : 2 * n) {
        char *text = malloc(n * 24 + 3), *to = text, key[16];
        tlmi_json_t *root;
        int64_t value;

        *to++ = '{';
        for (size_t i = 0; i < n; i++)
            to += sprintf(to, "%s\"k%zu\":%zu", i == 0 ? "" : ",", i * 7919 % 1000, i);
        strcpy(to, "}");
        root = parse(text);
        ck_assert_uint_eq(tlmi_json_size(root), n);
        for (size_t i = 0; i < n; i++) {
            sprintf(key, "k%zu", i * 7919 % 1000);
            ck_assert(tlmi_json_get_int(tlmi_json_member(root, key), &value));
            ck_assert_int_eq(value, (int64_t)i);
        }
        ck_assert_ptr_null(tlmi_json_member(root, "k"));
        ck_assert_ptr_eq(tlmi_json_member_sized(root, "k00", 2), tlmi_json_member(root, "k0"));
        ck_assert_ptr_null(tlmi_json_member_sized(root, "k0", 3));
        ck_assert_ptr_null(tlmi_json_member(root, "none"));
        tlmi_json_free(root);
        if (n > 1) { /* the first key once more */
            strcpy(to, ",\"k0\":0}");
            ASSERT_FAILS(TLM_ERR_FORMAT, "duplicate key \"k0\"",
                         tlmi_json_parse(&root, text, strlen(text), "text"));
        }
        free(text);
    }
}
END_TEST

START_TEST(strings_must_be_utf8)
{
    tlmi_json_t *array = tlmi_json_new_array();

    ck_assert_ptr_null(tlmi_json_new_string("\xFF", 1));
    ck_assert_int_eq(tlmi_json_append(array, NULL), TLM_ERR_OUT_OF_MEMORY);
    ck_assert_uint_eq(tlmi_json_size(array), 0);
    tlmi_json_free(array);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        what_is_written_is_read,
        members_keep_their_order,
        greater_integers_are_real_numbers,
        values_of_another_type_are_not_read,
        hostile_texts_are_refused,
        deep_nesting_does_not_exhaust_the_stack,
        depth_is_bounded,
        members_are_found,
        strings_must_be_utf8,
    };
    return run_tests("json", tests, COUNT(tests));
}
