/* Structs that open with their size, between callers and libraries of different ages: every one of
 * them, every size, every byte. tests/abi/test_structs.c passes the same to the public calls. */
#include "base_support.h"

#include "base/options.h"

#define ROOM TLMI_OPTIONS_MAX_SIZE

/* Volatile, for the compiler may know nothing of how large the caller's struct is. */
static tlm_status_t (*volatile read_struct)(const char *function, void *known, tlmi_struct_t which,
                                            const void *options) = tlmi_options_read;
static tlm_status_t (*volatile write_struct)(const char *function, void *out, const void *known,
                                             tlmi_struct_t which) = tlmi_options_write;
static tlm_status_t (*volatile init_struct)(void *options, size_t size,
                                            const char *type) = tlm_options_init;

/* Callers' and the library's structs; bytes at first so that a test sees which were touched. */
typedef union room {
    size_t size;
    double alignment;
    uint8_t bytes[ROOM];
} room_t;

static const size_t impossible_sizes[] = {0, 1, 7, 9, 23, ROOM + 1, ROOM + 8, SIZE_MAX};

static bool is_filled(const void *bytes, size_t from, size_t to, uint8_t value)
{
    for (size_t i = from; i < to; i++)
        if (((const uint8_t *)bytes)[i] != value)
            return false;
    return true;
}

/* The most that a byte may be. */
static uint8_t limit_of(const tlmi_struct_info_t *info, size_t byte)
{
    for (const tlmi_limited_field_t *field = info->limited; field->name != NULL; field++)
        if (byte >= field->offset && byte < field->offset + field->size)
            return field->most;
    return 0xA5;
}

/* A caller's struct of `size` bytes in which every field that may be set is. */
static void set_all_fields(room_t *given, size_t size, const tlmi_struct_info_t *info)
{
    memset(given, 0, sizeof(*given));
    for (size_t i = 0; i < size && i < info->size; i++)
        given->bytes[i] = limit_of(info, i);
    given->size = size;
}

#define FOR_STRUCTS(which, info)                                                                   \
    for (int which = 0; which < TLMI_NUM_STRUCTS; which++)                                         \
        for (const tlmi_struct_info_t *info = &tlmi_structs[which]; info != NULL; info = NULL)

START_TEST(structs_of_every_age_are_read)
{
    static room_t known, given;

    FOR_STRUCTS(which, info)
    {
        for (size_t size = sizeof(size_t); size <= info->size + 64; size += sizeof(size_t)) {
            size_t shared = size < info->size ? size : info->size;
            set_all_fields(&given, size, info);
            memset(&known, 0x5A, sizeof(known));
            known.size = info->size;
            ASSERT_OK(read_struct("f", &known, (tlmi_struct_t)which, &given));
            ck_assert_uint_eq(known.size, info->size);
            ck_assert_mem_eq(known.bytes + sizeof(size), given.bytes + sizeof(size),
                             shared - sizeof(size));
            ck_assert(is_filled(&known, shared, ROOM, 0x5A));
        }
    }
}
END_TEST

static void check_refused(const char *text, tlmi_struct_t which, const room_t *given)
{
    static room_t known;

    memset(&known, 0x5A, sizeof(known));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, text, read_struct("f", &known, which, given));
    ck_assert(is_filled(&known, 0, ROOM, 0x5A));
}

START_TEST(unknown_fields_must_be_zero)
{
    static room_t given;

    FOR_STRUCTS(which, info)
    {
        for (size_t byte = info->size; byte < info->size + 40; byte++) {
            set_all_fields(&given, info->size + 40, info);
            given.bytes[byte] = 1;
            check_refused("nonzero byte", (tlmi_struct_t)which, &given);
        }
        set_all_fields(&given, ROOM, info);
        given.bytes[ROOM - 1] = 0x80;
        check_refused("nonzero byte 4095", (tlmi_struct_t)which, &given);
    }
}
END_TEST

START_TEST(limited_fields_keep_to_their_limits)
{
    static room_t known, given;
    int num_fields = 0;

    FOR_STRUCTS(which, info)
    {
        for (const tlmi_limited_field_t *field = info->limited; field->name != NULL; field++) {
            num_fields++;
            for (size_t i = field->offset; i < field->offset + field->size; i++) {
                set_all_fields(&given, info->size, info);
                given.bytes[i] = (uint8_t)(field->most + 1);
                check_refused(field->name, (tlmi_struct_t)which, &given);
                /* What lies behind a shorter struct is not the caller's. */
                size_t shorter = field->offset / sizeof(size_t) * sizeof(size_t);
                given.size = shorter;
                ASSERT_OK(read_struct("f", &known, (tlmi_struct_t)which, &given));
            }
        }
    }
    ck_assert_int_gt(num_fields, 20);
}
END_TEST

START_TEST(impossible_sizes_are_refused)
{
    static room_t given, out;

    FOR_STRUCTS(which, info)
    {
        for (size_t i = 0; i < COUNT(impossible_sizes); i++) {
            set_all_fields(&given, info->size, info);
            given.size = impossible_sizes[i];
            check_refused("size", (tlmi_struct_t)which, &given);
            out = given;
            ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "size",
                         write_struct("f", &out, info->defaults, (tlmi_struct_t)which));
            ck_assert_mem_eq(&out, &given, sizeof(out));
        }
        check_refused("NULL", (tlmi_struct_t)which, NULL);
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                     write_struct("f", NULL, info->defaults, (tlmi_struct_t)which));
    }
}
END_TEST

START_TEST(structs_of_every_age_are_filled)
{
    static room_t out, known, set;

    FOR_STRUCTS(which, info)
    {
        memset(&known, 0x5A, sizeof(known));
        for (size_t size = sizeof(size_t); size <= info->size + 64; size += sizeof(size_t)) {
            size_t shared = size < info->size ? size : info->size;
            memset(&out, 0xA5, sizeof(out));
            out.size = size;
            ASSERT_OK(write_struct("f", &out, &known, (tlmi_struct_t)which));
            ck_assert_uint_eq(out.size, size);
            ck_assert(is_filled(&out, sizeof(size), shared, 0x5A));
            ck_assert(is_filled(&out, shared, size, 0));
            ck_assert(is_filled(&out, size, ROOM, 0xA5));

            memset(&set, 0xA5, sizeof(set));
            ASSERT_OK(init_struct(&set, size, info->name));
            ck_assert_uint_eq(set.size, size);
            ck_assert_mem_eq(set.bytes + sizeof(size),
                             (const uint8_t *)info->defaults + sizeof(size), shared - sizeof(size));
            ck_assert(is_filled(&set, shared, size, 0));
            ck_assert(is_filled(&set, size, ROOM, 0xA5));
        }
    }
}
END_TEST

START_TEST(init_refuses_what_it_does_not_know)
{
    static const char *const names[] = {"", "tlm_model_options", "tlm_bytes_t", "options"};
    static room_t room;

    memset(&room, 0xA5, sizeof(room));
    for (size_t i = 0; i < COUNT(impossible_sizes); i++)
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "bytes",
                     init_struct(&room, impossible_sizes[i], "tlm_model_options_t"));
    for (size_t i = 0; i < COUNT(names); i++)
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "no options struct",
                     init_struct(&room, 48, names[i]));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "type is NULL", init_struct(&room, 48, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "options is NULL",
                 init_struct(NULL, 48, "tlm_model_options_t"));
    ck_assert(is_filled(&room, 0, ROOM, 0xA5));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        structs_of_every_age_are_read,       unknown_fields_must_be_zero,
        limited_fields_keep_to_their_limits, impossible_sizes_are_refused,
        structs_of_every_age_are_filled,     init_refuses_what_it_does_not_know,
    };
    return run_tests("options", tests, COUNT(tests));
}
