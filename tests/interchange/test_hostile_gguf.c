/* GGUF files in which one number, type or value is another: each is read, or refused with a message that
 * names the file; the sanitizers see that nothing is read out of it. */
#include "model_support.h"
#include "run_suite.h"

#include "base/file.h"
#include "formats/gguf.h"

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 264,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 1,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7,
                                         .num_kv_heads = 1,
                                         .rope_scaling = TLM_ROPE_SCALING_YARN,
                                         .rope_factor = 2.0};

static tlm_model_t *model;
static tlm_tokenizer_t *tokenizer;
static unsigned char *bytes;
static size_t size;

static void set_up(void)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;

    options.has_begin_token = options.has_end_token = true;
    options.begin_token = 1;
    options.end_token = 259;
    ASSERT_OK(tlm_model_create(&model, &tiny));
    tokenizer = make_small_tokenizer(NULL, "<|end|>", "<|turn|>", NULL);
    ASSERT_OK(tlm_model_save_gguf(model, tokenizer, test_path("good.gguf"), &options));
    bytes = read_bytes(test_path("good.gguf"), &size);
}

static void tear_down(void)
{
    free(bytes);
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}

static void check_status(tlm_status_t status, const char *path, const char *what, size_t number)
{
    if (status != TLM_OK)
        ck_assert_msg(strstr(tlm_error_message(), path) != NULL, "%s %zu: %s", what, number,
                      tlm_error_message());
}

/* Opens what is at the path in each way. Nothing is made where one fails. */
static void open_all(const char *path, const char *what, size_t number)
{
    tlm_tokenizer_t *beside = tokenizer, *alone = tokenizer;
    tlm_model_t *opened = model, *kept = model;
    tlm_status_t status = tlm_model_open(&opened, &beside, NULL, path);

    check_status(status, path, what, number);
    ck_assert((status == TLM_OK) == (opened != model));
    if (status == TLM_OK) {
        tlm_tokenizer_free(beside);
        tlm_model_free(opened);
    } else {
        ck_assert_ptr_eq(beside, tokenizer);
    }
    status = tlm_model_open_for_inference(&kept, NULL, NULL, path);
    check_status(status, path, what, number);
    ck_assert((status == TLM_OK) == (kept != model));
    if (status == TLM_OK)
        tlm_model_free(kept);
    status = tlm_tokenizer_open(&alone, path, NULL);
    check_status(status, path, what, number);
    ck_assert((status == TLM_OK) == (alone != tokenizer));
    if (status == TLM_OK)
        tlm_tokenizer_free(alone);
}

/* ---- Every number ----------------------------------------------------------------------- */

enum { MOST_FIELDS = 2000 };

/* A number in the file, of 4 or 8 bytes. */
typedef struct field {
    size_t at, width;
} field_t;

static field_t fields[MOST_FIELDS];
static size_t num_fields, cursor;

static uint64_t little(size_t at, size_t width)
{
    uint64_t value = 0;

    for (size_t i = width; i-- > 0;)
        value = value << 8 | bytes[at + i];
    return value;
}

static uint64_t take_field(size_t width)
{
    uint64_t value = little(cursor, width);

    ck_assert_uint_lt(num_fields, MOST_FIELDS);
    fields[num_fields++] = (field_t){cursor, width};
    cursor += width;
    return value;
}

static void take_text(void)
{
    const uint64_t length = take_field(8);

    cursor += length;
}

static void take_value(void)
{
    static const size_t widths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

    take_text();
    uint32_t type = (uint32_t)take_field(4);
    uint64_t count = 1;
    if (type == TLMI_GGUF_ARRAY) {
        type = (uint32_t)take_field(4);
        count = take_field(8);
    }
    for (uint64_t i = 0; i < count; i++) {
        const size_t before = num_fields;

        if (type == TLMI_GGUF_STRING)
            take_text();
        else if (widths[type] >= 4)
            (void)take_field(widths[type]);
        else
            cursor += widths[type];
        if (i >= 2) /* the others of an array are like the first */
            num_fields = before;
    }
}

/* Finds the numbers of the header, in which `bytes` hold no mistake. */
static void find_fields(void)
{
    num_fields = 0;
    cursor = 4;
    (void)take_field(4);
    const uint64_t num_tensors = take_field(8), num_values = take_field(8);
    for (uint64_t i = 0; i < num_values; i++)
        take_value();
    for (uint64_t i = 0; i < num_tensors; i++) {
        take_text();
        for (uint64_t ndim = take_field(4); ndim > 0; ndim--)
            (void)take_field(8);
        (void)take_field(4);
        (void)take_field(8);
    }
}

START_TEST(every_number_may_be_another)
{
    static const uint64_t values[] = {0,
                                      1,
                                      2,
                                      3,
                                      5,
                                      8,
                                      9,
                                      12,
                                      13,
                                      31,
                                      32,
                                      255,
                                      0x7FFFFFFF,
                                      0x80000000,
                                      0xFFFFFFFF,
                                      0x100000000,
                                      (uint64_t)1 << 61,
                                      INT64_MAX,
                                      (uint64_t)1 << 63,
                                      UINT64_MAX};
    unsigned char kept[8];

    find_fields();
    for (size_t i = 0; i < num_fields; i++) {
        const uint64_t own = little(fields[i].at, fields[i].width);

        memcpy(kept, bytes + fields[i].at, fields[i].width);
        for (size_t k = 0; k < sizeof(values) / sizeof(values[0]) + 3; k++) {
            const size_t n = sizeof(values) / sizeof(values[0]);
            const uint64_t value = k < n        ? values[k]
                                   : k == n     ? own + 1
                                   : k == n + 1 ? own - 1
                                                : own * 2;

            for (size_t b = 0; b < fields[i].width; b++)
                bytes[fields[i].at + b] = (unsigned char)(value >> 8 * b);
            write_bytes(test_path("changed.gguf"), bytes, size);
            open_all(test_path("changed.gguf"), "the number at byte", fields[i].at);
        }
        memcpy(bytes + fields[i].at, kept, fields[i].width);
    }
}
END_TEST

START_TEST(every_length_may_be_shorter)
{
    find_fields();
    for (size_t length = 0; length < cursor + 64; length += length < cursor - 400 ? 37 : 5) {
        write_bytes(test_path("short.gguf"), bytes, length);
        open_all(test_path("short.gguf"), "length", length);
    }
}
END_TEST

/* ---- Every value ------------------------------------------------------------------------ */

static void put_key(tlmi_gguf_writer_t *writer, const tlmi_gguf_value_t *value, uint32_t type)
{
    const uint8_t bytes_of_type[4] = {(uint8_t)type};

    ASSERT_OK(tlmi_gguf_put_string_item(writer, value->key, value->key_size));
    ASSERT_OK(tlmi_writer_write(writer->file, bytes_of_type, sizeof(bytes_of_type)));
    writer->num_values++;
}

/* A value as it stands in a file, behind its type. */
typedef struct other {
    uint32_t type;
    size_t size;
    const char *bytes;
} other_t;

#define NUMBER8 "\0\0\0\0\0\0\0\0"
static const other_t values_of_types[] = {
    {TLMI_GGUF_UINT8, 1, "\x03"},
    {TLMI_GGUF_INT8, 1, "\xFF"},
    {TLMI_GGUF_UINT16, 2, "\xFF\xFF"},
    {TLMI_GGUF_INT32, 4, "\xFF\xFF\xFF\xFF"},
    {TLMI_GGUF_UINT32, 4, "\0\0\0\0"},
    {TLMI_GGUF_UINT32, 4, "\xFF\xFF\xFF\xFF"},
    {TLMI_GGUF_FLOAT32, 4, "\0\0\xC0\x7F"}, /* NaN */
    {TLMI_GGUF_FLOAT32, 4, "\0\0\x80\xFF"}, /* -infinity */
    {TLMI_GGUF_FLOAT32, 4, "\0\0\0\0"},
    {TLMI_GGUF_BOOL, 1, "\x01"},
    {TLMI_GGUF_BOOL, 1, "\x02"},
    {TLMI_GGUF_UINT64, 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"},
    {TLMI_GGUF_INT64, 8, "\0\0\0\0\0\0\0\x80"},
    {TLMI_GGUF_FLOAT64, 8, "\0\0\0\0\0\0\xF0\x7F"}, /* infinity */
    {TLMI_GGUF_FLOAT64, 8, "\0\0\0\0\0\0\x10\0"},   /* next to 0 */
    {TLMI_GGUF_STRING, 8, NUMBER8},                 /* empty */
    {TLMI_GGUF_STRING, 11, "\x03\0\0\0\0\0\0\0a\0b"},
    {TLMI_GGUF_STRING, 10, "\x02\0\0\0\0\0\0\0\xFF\xC3"},
    {TLMI_GGUF_STRING, 13, "\x05\0\0\0\0\0\0\0llama"},
    {TLMI_GGUF_ARRAY, 12, "\x04\0\0\0" NUMBER8},                               /* none */
    {TLMI_GGUF_ARRAY, 16, "\x05\0\0\0\x01\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF"},     /* int32: -1 */
    {TLMI_GGUF_ARRAY, 20, "\x08\0\0\0\x01\0\0\0\0\0\0\0" NUMBER8},             /* "" */
    {TLMI_GGUF_ARRAY, 13, "\x07\0\0\0\x01\0\0\0\0\0\0\0\x01"},                 /* bool */
    {TLMI_GGUF_ARRAY, 20, "\x0C\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\xF8\x7F"}, /* NaN */
    {TLMI_GGUF_ARRAY, 24, "\x09\0\0\0\x01\0\0\0\0\0\0\0\x04\0\0\0" NUMBER8},   /* of arrays */
    {TLMI_GGUF_ARRAY, 12, "\x08\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F"},       /* too many */
};

/* Writes the file with a value replaced (NULL: left out; `twice`: and its own before it). */
static void write_changed(const tlmi_gguf_t *file, size_t changed, const other_t *other, bool twice)
{
    tlmi_gguf_writer_t writer;
    uint64_t place = 0;
    char name[96];

    ASSERT_OK(tlmi_gguf_begin(&writer, test_path("changed.gguf"), file->num_tensors));
    for (size_t i = 0; i < file->num_values; i++) {
        if (i != changed || twice)
            ASSERT_OK(tlmi_gguf_put_copy(&writer, &file->values[i]));
        if (i != changed || other == NULL)
            continue;
        put_key(&writer, &file->values[i], other->type);
        ASSERT_OK(tlmi_writer_write(writer.file, other->bytes, other->size));
    }
    for (size_t i = 0; i < file->num_tensors; i++) {
        const tlmi_gguf_tensor_t *tensor = &file->tensors[i];
        uint64_t numel = 1;

        for (int32_t k = 0; k < tensor->ndim; k++)
            numel *= (uint64_t)tensor->shape[k];
        snprintf(name, sizeof(name), "%.*s", (int)tensor->name_size, tensor->name);
        ASSERT_OK(
            tlmi_gguf_put_tensor(&writer, name, tensor->shape, tensor->ndim, tensor->type, place));
        place += tlmi_gguf_aligned(numel * sizeof(float));
    }
    ASSERT_OK(tlmi_gguf_align(&writer));
    const char *data = file->tensors[0].data;
    ASSERT_OK(tlmi_writer_write(
        writer.file, data, (size_t)((const char *)file->mapping.data + file->mapping.size - data)));
    ASSERT_OK(tlmi_gguf_commit(&writer));
}

START_TEST(every_value_may_be_of_another_type)
{
    const size_t n = sizeof(values_of_types) / sizeof(values_of_types[0]);
    tlmi_gguf_t file;

    ASSERT_OK(tlmi_gguf_open(&file, test_path("good.gguf")));
    write_changed(&file, SIZE_MAX, NULL, false);
    tlm_model_t *opened;
    ASSERT_OK(tlm_model_open(&opened, NULL, NULL, test_path("changed.gguf")));
    assert_same(model, opened);
    tlm_model_free(opened);
    for (size_t i = 0; i < file.num_values; i++) {
        write_changed(&file, i, NULL, false);
        open_all(test_path("changed.gguf"), "without value", i);
        for (size_t k = 0; k < n; k++) {
            write_changed(&file, i, &values_of_types[k], false);
            open_all(test_path("changed.gguf"), "value", i * 100 + k);
        }
        write_changed(&file, i, &values_of_types[5], true);
        ASSERT_FAILS(TLM_ERR_FORMAT, "appears twice",
                     tlm_model_open(&opened, NULL, NULL, test_path("changed.gguf")));
    }
    tlmi_gguf_close(&file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hostile GGUF");
    TCase *tcase = tcase_create("hostile GGUF");
    int failed;

    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, every_number_may_be_another);
    tcase_add_test(tcase, every_length_may_be_shorter);
    tcase_add_test(tcase, every_value_may_be_of_another_type);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
