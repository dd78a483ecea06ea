/* Options structs between callers and libraries of different ages. */
#include "base_support.h"

#include "base/options.h"

typedef struct options {
    size_t size;
    int64_t a;
    int64_t b;
} options_t;

typedef struct newer_options {
    options_t known;
    int64_t c;
} newer_options_t;

/* Volatile, for the compiler may know nothing of how large the caller's struct is. */
static tlm_status_t (*volatile read_options)(const char *function, void *known, size_t known_size,
                                             const void *options) = tlmi_options_read;
static tlm_status_t (*volatile write_options)(const char *function, void *out, const void *known,
                                              size_t known_size) = tlmi_options_write;

static const options_t defaults = {sizeof(options_t), 10, 20};

START_TEST(a_struct_of_this_version_is_copied)
{
    options_t known = defaults, given = {sizeof(given), 1, 2};

    ASSERT_OK(read_options("f", &known, sizeof(known), &given));
    ck_assert(known.size == sizeof(known) && known.a == 1 && known.b == 2);
}
END_TEST

START_TEST(an_older_struct_leaves_the_defaults)
{
    options_t known = defaults, given = {2 * sizeof(size_t), 1, 2};

    ASSERT_OK(read_options("f", &known, sizeof(known), &given));
    ck_assert(known.size == sizeof(known) && known.a == 1 && known.b == 20);
    known = defaults;
    given.size = sizeof(size_t);
    ASSERT_OK(read_options("f", &known, sizeof(known), &given));
    ck_assert(known.a == 10 && known.b == 20);
}
END_TEST

START_TEST(a_newer_struct_may_not_ask_for_more)
{
    newer_options_t given = {{sizeof(given), 1, 2}, 0};
    options_t known = defaults;

    ASSERT_OK(read_options("f", &known, sizeof(known), &given));
    ck_assert(known.size == sizeof(known) && known.a == 1 && known.b == 2);
    known = defaults;
    given.c = (int64_t)1 << 56;
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "f: ", read_options("f", &known, sizeof(known), &given));
    ck_assert(known.a == 10 && known.b == 20);
}
END_TEST

START_TEST(impossible_sizes_are_refused)
{
    static const size_t sizes[] = {0, 1, 7, 9, 23, 4097, SIZE_MAX, (size_t)1 << 40};
    options_t known = defaults;

    for (size_t i = 0; i < COUNT(sizes); i++) {
        options_t given = {sizes[i], 1, 2}, written = {sizes[i], 1, 2};

        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "size",
                     read_options("f", &known, sizeof(known), &given));
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "size",
                     write_options("f", &written, &known, sizeof(known)));
        ck_assert(known.a == 10 && known.b == 20 && written.a == 1 && written.b == 2);
    }
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", read_options("f", &known, sizeof(known), NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", write_options("f", NULL, &known, sizeof(known)));
}
END_TEST

START_TEST(writing_fills_what_the_caller_has)
{
    newer_options_t newer = {{sizeof(newer), 1, 2}, 3};
    options_t same = {sizeof(same), 1, 2}, older = {2 * sizeof(size_t), 1, 2};

    ASSERT_OK(write_options("f", &newer, &defaults, sizeof(defaults)));
    ck_assert(newer.known.size == sizeof(newer) && newer.known.a == 10 && newer.known.b == 20);
    ck_assert(newer.c == 0);
    ASSERT_OK(write_options("f", &same, &defaults, sizeof(defaults)));
    ck_assert(same.size == sizeof(same) && same.a == 10 && same.b == 20);
    ASSERT_OK(write_options("f", &older, &defaults, sizeof(defaults)));
    ck_assert(older.size == 2 * sizeof(size_t) && older.a == 10 && older.b == 2);
}
END_TEST

/* The functions are for languages that have no use for the macros. */
START_TEST(init_functions_agree_with_the_macros)
{
    static const tlm_model_options_t model_init = TLM_MODEL_OPTIONS_INIT;
    static const tlm_generate_options_t generate_init = TLM_GENERATE_OPTIONS_INIT;
    static const tlm_adamw_options_t adamw_init = TLM_ADAMW_OPTIONS_INIT;
    tlm_model_options_t model;
    tlm_generate_options_t generate;
    tlm_adamw_options_t adamw;

    memset(&model, 0xFF, sizeof(model));
    memset(&generate, 0xFF, sizeof(generate));
    memset(&adamw, 0xFF, sizeof(adamw));
    tlm_model_options_init(&model);
    tlm_generate_options_init(&generate);
    tlm_adamw_options_init(&adamw);
    ck_assert_mem_eq(&model, &model_init, sizeof(model));
    ck_assert_mem_eq(&generate, &generate_init, sizeof(generate));
    ck_assert_mem_eq(&adamw, &adamw_init, sizeof(adamw));
    tlm_model_options_init(NULL);
    tlm_generate_options_init(NULL);
    tlm_adamw_options_init(NULL);
}
END_TEST

/* Programs of version 0.1 have room for that version's struct only. */
START_TEST(the_first_init_functions_stay_within_the_first_structs)
{
    static const size_t sizes[] = {72, 56, 48, 48, 32}; /* on machines of 64 bits */
    union {
        uint8_t bytes[256];
        size_t size;
        tlm_model_options_t model;
        tlm_generate_options_t generate;
        tlm_adamw_options_t adamw;
        tlm_bpe_trainer_options_t trainer;
        tlm_tokenizer_options_t tokenizer;
    } room;

    for (size_t i = 0; i < COUNT(sizes); i++) {
        memset(&room, 0xA5, sizeof(room));
        switch (i) {
        case 0:
            (tlm_model_options_init)(&room.model);
            break;
        case 1:
            (tlm_generate_options_init)(&room.generate);
            break;
        case 2:
            (tlm_adamw_options_init)(&room.adamw);
            break;
        case 3:
            (tlm_bpe_trainer_options_init)(&room.trainer);
            break;
        default:
            (tlm_tokenizer_options_init)(&room.tokenizer);
        }
        ck_assert_uint_ge(room.size, sizeof(size_t));
        if (sizeof(size_t) == 8)
            ck_assert_uint_eq(room.size, sizes[i]);
        for (size_t k = room.size; k < sizeof(room); k++)
            ck_assert_uint_eq(room.bytes[k], 0xA5);
    }
    /* A struct of the future is filled to its end. */
    memset(&room, 0xA5, sizeof(room));
    tlm_model_options_init_sized(&room.model, 200);
    ck_assert_uint_eq(room.size, 200);
    ck_assert(room.bytes[199] == 0 && room.bytes[200] == 0xA5);
    tlm_model_options_init_sized(&room.model, 0);
    ck_assert_uint_eq(room.size, 200);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_struct_of_this_version_is_copied,
        an_older_struct_leaves_the_defaults,
        a_newer_struct_may_not_ask_for_more,
        impossible_sizes_are_refused,
        writing_fills_what_the_caller_has,
        init_functions_agree_with_the_macros,
        the_first_init_functions_stay_within_the_first_structs,
    };
    return run_tests("options", tests, COUNT(tests));
}
