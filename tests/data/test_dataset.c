/* Token files: reading, sampling, writing, and files that lie about themselves. */
#include "io_support.h"
#include "run_suite.h"

#include "formats/npy.h"

static tlm_dataset_t *counting_dataset(uint32_t n)
{
    uint32_t *ids = malloc(n * sizeof(*ids) + 1);
    tlm_dataset_t *dataset;

    for (uint32_t i = 0; i < n; i++)
        ids[i] = i;
    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, n));
    free(ids);
    return dataset;
}

/* ---- Reading ------------------------------------------------------------------------------------
 */

START_TEST(raw_files_are_read)
{
    static const unsigned char bytes[] = {1, 0, 0, 0, 255, 255, 7, 1};
    uint32_t ids[4];
    tlm_dataset_t *dataset;

    write_bytes(test_path("a.u16"), bytes, 8);
    write_bytes(test_path("a.u32"), bytes, 8);
    write_bytes(test_path("a.bin"), bytes, 8);
    ASSERT_OK(tlm_dataset_open(&dataset, test_path("a.u16"), TLM_TOKENS_AUTO, 0));
    ck_assert_uint_eq(tlm_dataset_length(dataset), 4);
    ASSERT_OK(tlm_dataset_read(ids, 4, dataset, 0));
    ck_assert(ids[0] == 1 && ids[1] == 0 && ids[2] == 65535 && ids[3] == 263);
    ASSERT_OK(tlm_dataset_read(ids, 1, dataset, 2));
    ck_assert_uint_eq(ids[0], 65535);
    ASSERT_OK(tlm_dataset_read(NULL, 0, dataset, 4));
    ASSERT_FAILS(TLM_ERR_RANGE, "length of 4", tlm_dataset_read(ids, 2, dataset, 3));
    ASSERT_FAILS(TLM_ERR_RANGE, "length of 4", tlm_dataset_read(ids, 1, dataset, UINT64_MAX));
    ASSERT_FAILS(TLM_ERR_RANGE, "length of 4", tlm_dataset_read(ids, SIZE_MAX, dataset, 3));
    tlm_dataset_free(dataset);
    ASSERT_OK(tlm_dataset_open(&dataset, test_path("a.u32"), TLM_TOKENS_AUTO, 0));
    ASSERT_OK(tlm_dataset_read(ids, 2, dataset, 0));
    ck_assert(ids[0] == 1 && ids[1] == 0x0107FFFF);
    tlm_dataset_free(dataset);
    ASSERT_OK(tlm_dataset_open(&dataset, test_path("a.bin"), TLM_TOKENS_UINT16, 65536));
    ck_assert_uint_eq(tlm_dataset_length(dataset), 4);
    tlm_dataset_free(dataset);
}
END_TEST

START_TEST(memory_is_wrapped)
{
    static unsigned char bytes[] = {9, 1, 0, 0, 0, 255, 255, 7, 1};
    uint32_t ids[4];
    tlm_dataset_t *dataset = NULL;

    ASSERT_OK(tlm_dataset_wrap(&dataset, bytes + 1, 4, TLM_TOKENS_UINT16));
    ck_assert_uint_eq(tlm_dataset_length(dataset), 4);
    bytes[3] = 5; /* it is the same memory */
    ASSERT_OK(tlm_dataset_read(ids, 4, dataset, 0));
    ck_assert(ids[0] == 1 && ids[1] == 5 && ids[2] == 65535 && ids[3] == 263);
    tlm_dataset_free(dataset);
    ASSERT_OK(tlm_dataset_wrap(&dataset, bytes + 1, 2, TLM_TOKENS_UINT32));
    ASSERT_OK(tlm_dataset_read(ids, 2, dataset, 0));
    ck_assert(ids[0] == 0x50001 && ids[1] == 0x0107FFFF);
    tlm_dataset_free(dataset);
    ASSERT_OK(tlm_dataset_wrap(&dataset, NULL, 0, TLM_TOKENS_UINT32));
    ck_assert_uint_eq(tlm_dataset_length(dataset), 0);
    tlm_dataset_free(dataset);
    dataset = NULL;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "token_type 0",
                 tlm_dataset_wrap(&dataset, bytes, 4, TLM_TOKENS_AUTO));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_dataset_wrap(&dataset, NULL, 4, TLM_TOKENS_UINT16));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "too many",
                 tlm_dataset_wrap(&dataset, bytes, SIZE_MAX, TLM_TOKENS_UINT16));
    ck_assert_ptr_null(dataset);
}
END_TEST

START_TEST(wrong_openings_are_refused)
{
    static const unsigned char bytes[] = {1, 0, 2, 0, 9, 0, 3};
    tlm_dataset_t *dataset = NULL;

    write_bytes(test_path("b.bin"), bytes, 6);
    write_bytes(test_path("c.u16"), bytes, 7);
    write_bytes(test_path("empty.u16"), bytes, 0);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "token_type",
                 tlm_dataset_open(&dataset, test_path("b.bin"), TLM_TOKENS_AUTO, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "token_type 3",
                 tlm_dataset_open(&dataset, test_path("b.bin"), 3, 0));
    ASSERT_FAILS(TLM_ERR_FORMAT, "7 bytes",
                 tlm_dataset_open(&dataset, test_path("c.u16"), TLM_TOKENS_AUTO, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 9 at position 2",
                 tlm_dataset_open(&dataset, test_path("b.bin"), TLM_TOKENS_UINT16, 9));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                 tlm_dataset_open(&dataset, test_path("nowhere.u16"), TLM_TOKENS_AUTO, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_dataset_open(NULL, "a.u16", 0, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_dataset_open(&dataset, NULL, 0, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_dataset_from_ids(&dataset, NULL, 1));
    ck_assert_ptr_null(dataset);
    ck_assert_uint_eq(tlm_dataset_length(NULL), 0);
    ASSERT_OK(tlm_dataset_open(&dataset, test_path("empty.u16"), TLM_TOKENS_AUTO, 5));
    ck_assert_uint_eq(tlm_dataset_length(dataset), 0);
    tlm_dataset_free(dataset);
    tlm_dataset_free(NULL);
}
END_TEST

/* ---- .npy ---------------------------------------------------------------------------------------
 */

/* A .npy file of the given version, header text and number of data bytes. */
static const char *write_npy(int version, const char *header, size_t data_size)
{
    unsigned char bytes[1024] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)version, 0};
    size_t length = strlen(header), prefix = version == 1 ? 10 : 12;
    const char *path = test_path("x.npy");

    bytes[8] = (unsigned char)length;
    bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + prefix, header, length);
    for (size_t i = 0; i < data_size; i++)
        bytes[prefix + length + i] = (unsigned char)i;
    write_bytes(path, bytes, prefix + length + data_size);
    return path;
}

START_TEST(npy_headers_of_all_kinds_are_read)
{
    static const char *const headers[] = {
        "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }          \n",
        "{'descr': '<u2', 'fortran_order': True, 'shape': (3,)}",
        "{ 'shape' : ( 3 , ) , \"descr\":\"<u2\" , 'fortran_order':False }\n",
    };
    uint32_t ids[3];
    tlm_dataset_t *dataset;

    for (int version = 1; version <= 3; version++)
        for (int i = 0; i < 3; i++) {
            const char *path = write_npy(version, headers[i], 6);

            ASSERT_OK(tlm_dataset_open(&dataset, path, TLM_TOKENS_AUTO, 0));
            ASSERT_OK(tlm_dataset_read(ids, 3, dataset, 0));
            ck_assert(ids[0] == 0x100 && ids[1] == 0x302 && ids[2] == 0x504);
            tlm_dataset_free(dataset);
            ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "2 bytes",
                         tlm_dataset_open(&dataset, path, TLM_TOKENS_UINT32, 0));
        }
}
END_TEST

/* Ids of NumPy's default type: read where they fit 32 bits, and named where they do not. */
START_TEST(int64_files_are_read_and_checked)
{
    static const char header[] = "{'descr': '<i8', 'fortran_order': False, 'shape': (5000,), }\n";
    enum { N = 5000, PREFIX = 10 + sizeof(header) - 1 };
    static unsigned char bytes[PREFIX + 8 * N] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
    static uint32_t ids[N];
    const char *path = test_path("wide.npy"), *raw = test_path("wide.bin");
    tlm_token_writer_t *writer = NULL;
    tlm_dataset_t *dataset = NULL;

    bytes[8] = sizeof(header) - 1;
    memcpy(bytes + 10, header, sizeof(header) - 1);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < 4; j++)
            bytes[PREFIX + 8 * i + j] = (unsigned char)((i * 859433u) >> 8 * j);
    write_bytes(path, bytes, sizeof(bytes));
    write_bytes(raw, bytes + PREFIX, 8 * N);
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(
            tlm_dataset_open(&dataset, i == 0 ? path : raw, i == 0 ? 0 : TLM_TOKENS_INT64, 0));
        ck_assert_uint_eq(tlm_dataset_length(dataset), N);
        ASSERT_OK(tlm_dataset_read(ids, N, dataset, 0));
        for (uint32_t j = 0; j < N; j++)
            ck_assert_uint_eq(ids[j], j * 859433u);
        tlm_dataset_free(dataset);
        dataset = NULL;
    }
    ASSERT_FAILS(TLM_ERR_RANGE, "id 859433 at position 1 is outside the vocabulary of 7",
                 tlm_dataset_open(&dataset, path, TLM_TOKENS_AUTO, 7));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "8 bytes",
                 tlm_dataset_open(&dataset, path, TLM_TOKENS_UINT32, 0));
    bytes[PREFIX + 8 * 4999 + 4] = 1;
    write_bytes(path, bytes, sizeof(bytes));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 4296305567 at position 4999",
                 tlm_dataset_open(&dataset, path, TLM_TOKENS_AUTO, 0));
    memset(bytes + PREFIX + 8 * 77, 0xFF, 8);
    write_bytes(path, bytes, sizeof(bytes));
    ASSERT_FAILS(TLM_ERR_RANGE, "id -1 at position 77",
                 tlm_dataset_open(&dataset, path, TLM_TOKENS_AUTO, 0));
    ck_assert_ptr_null(dataset);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "int64",
                 tlm_token_writer_create(&writer, path, TLM_TOKENS_INT64));
    ck_assert_ptr_null(writer);
}
END_TEST

START_TEST(hostile_npy_headers_are_refused)
{
    static const struct {
        const char *header;
        tlm_status_t status;
    } cases[] = {
        {"", TLM_ERR_FORMAT},
        {"{", TLM_ERR_FORMAT},
        {"{}", TLM_ERR_FORMAT},
        {"{'descr'", TLM_ERR_FORMAT},
        {"{'descr", TLM_ERR_FORMAT},
        {"{'descr':", TLM_ERR_FORMAT},
        {"{'descr': <u2}", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False}", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (3,)", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (3,)} x", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'descr': '<u2', 'fortran_order': False, 'shape': (3,)}", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (3,), 'more': 1}", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': Falsey, 'shape': (3,)}", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (3)}", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (-3,)}", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (2,)}", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (4,)}", TLM_ERR_FORMAT},
        {"{'descr': '<u4', 'fortran_order': False, 'shape': (1,)}", TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (9223372036854775811,)}",
         TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
         TLM_ERR_FORMAT},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': ()}", TLM_ERR_UNSUPPORTED},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (1, 3)}", TLM_ERR_UNSUPPORTED},
        {"{'descr': '>u2', 'fortran_order': False, 'shape': (3,)}", TLM_ERR_UNSUPPORTED},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (3,)}", TLM_ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", TLM_ERR_UNSUPPORTED},
        {"{'descr': 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'shape': (3,)}",
         TLM_ERR_FORMAT},
    };
    tlm_dataset_t *dataset = NULL;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tlm_status_t status =
            tlm_dataset_open(&dataset, write_npy(1 + (int)(i % 3), cases[i].header, 6), 0, 0);

        ck_assert_msg(status == cases[i].status, "header %s: status %d, %s", cases[i].header,
                      status, tlm_error_message());
    }
    ck_assert_int_eq(tlm_dataset_open(&dataset, write_npy(4, "{}", 6), 0, 0), TLM_ERR_UNSUPPORTED);
    ck_assert_int_eq(tlm_dataset_open(&dataset, write_npy(0, "{}", 6), 0, 0), TLM_ERR_UNSUPPORTED);
    ck_assert_ptr_null(dataset);
}
END_TEST

/* Every file that is a good one cut short must be refused, without reading past its end. */
START_TEST(cut_npy_files_are_refused)
{
    uint8_t bytes[TLMI_NPY_HEADER_SIZE + 6] = {0};
    tlm_dataset_t *dataset = NULL;
    const char *path = test_path("cut.npy");

    tlmi_npy_format(bytes, 2, 3);
    for (size_t size = 0; size < sizeof(bytes); size++) {
        write_bytes(path, bytes, size);
        ASSERT_FAILS(TLM_ERR_FORMAT, "cut.npy", tlm_dataset_open(&dataset, path, 0, 0));
    }
    for (size_t i = 0; i < TLMI_NPY_HEADER_SIZE; i++) {
        bytes[i] ^= (uint8_t)(1 << i % 8);
        write_bytes(path, bytes, sizeof(bytes));
        if (tlm_dataset_open(&dataset, path, 0, 0) == TLM_OK)
            tlm_dataset_free(dataset);
        bytes[i] ^= (uint8_t)(1 << i % 8);
    }
    write_bytes(path, bytes, sizeof(bytes));
    ASSERT_OK(tlm_dataset_open(&dataset, path, 0, 0));
    tlm_dataset_free(dataset);
}
END_TEST

/* ---- Sampling -----------------------------------------------------------------------------------
 */

START_TEST(samples_are_rows_and_the_ids_that_follow)
{
    uint32_t inputs[6 * 5], targets[6 * 5], again[6 * 5];
    tlm_dataset_t *dataset = counting_dataset(50);

    ASSERT_OK(tlm_dataset_sample(inputs, targets, dataset, 6, 5, 3, 11));
    for (int row = 0; row < 6; row++)
        for (int i = 0; i < 5; i++) {
            ck_assert_uint_eq(inputs[row * 5 + i], inputs[row * 5] + (uint32_t)i);
            ck_assert_uint_eq(targets[row * 5 + i], inputs[row * 5 + i] + 1);
            ck_assert_uint_lt(targets[row * 5 + i], 50);
        }
    ASSERT_OK(tlm_dataset_sample(again, targets, dataset, 6, 5, 3, 11));
    ck_assert_mem_eq(inputs, again, sizeof(inputs));
    ASSERT_OK(tlm_dataset_sample(again, targets, dataset, 6, 5, 3, 12));
    ck_assert_mem_ne(inputs, again, sizeof(inputs));
    ASSERT_OK(tlm_dataset_sample(again, targets, dataset, 6, 5, 4, 11));
    ck_assert_mem_ne(inputs, again, sizeof(inputs));
    tlm_dataset_free(dataset);
}
END_TEST

/* length - context = 93 starts, each as likely: as CS336's own test asks, with 5 sigma. */
START_TEST(all_starts_are_drawn_alike)
{
    enum { LENGTH = 100, CONTEXT = 7, BATCH = 32, STEPS = 3000 };
    uint32_t inputs[BATCH * CONTEXT], targets[BATCH * CONTEXT];
    uint32_t counts[LENGTH] = {0};
    tlm_dataset_t *dataset = counting_dataset(LENGTH);
    double expected = (double)BATCH * STEPS / (LENGTH - CONTEXT);

    for (uint64_t step = 0; step < STEPS; step++) {
        ASSERT_OK(tlm_dataset_sample(inputs, targets, dataset, BATCH, CONTEXT, 1, step));
        for (int row = 0; row < BATCH; row++)
            counts[inputs[row * CONTEXT]]++;
    }
    for (int i = 0; i < LENGTH; i++) {
        double difference = (double)counts[i] - (i < LENGTH - CONTEXT ? expected : 0.0);

        ck_assert_msg(difference * difference <= 25.0 * (i < LENGTH - CONTEXT ? expected : 0.0),
                      "start %d drawn %u times, %g expected", i, counts[i], expected);
    }
    tlm_dataset_free(dataset);
}
END_TEST

START_TEST(impossible_samples_are_refused)
{
    uint32_t inputs[5], targets[5];
    tlm_dataset_t *dataset = counting_dataset(5);

    ASSERT_OK(tlm_dataset_sample(inputs, targets, dataset, 1, 4, 0, UINT64_MAX));
    ck_assert(inputs[0] == 0 && targets[3] == 4);
    ASSERT_FAILS(TLM_ERR_RANGE, "5 ids", tlm_dataset_sample(inputs, targets, dataset, 1, 5, 0, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "5 ids",
                 tlm_dataset_sample(inputs, targets, dataset, 1, INT64_MAX, 0, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "batch 0",
                 tlm_dataset_sample(inputs, targets, dataset, 0, 4, 0, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "context -1",
                 tlm_dataset_sample(inputs, targets, dataset, 1, -1, 0, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "too large",
                 tlm_dataset_sample(inputs, targets, dataset, INT64_MAX, 4, 0, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_dataset_sample(NULL, targets, dataset, 1, 4, 0, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_dataset_sample(inputs, targets, NULL, 1, 4, 0, 0));
    tlm_dataset_free(dataset);
    dataset = counting_dataset(0);
    ASSERT_FAILS(TLM_ERR_RANGE, "0 ids", tlm_dataset_sample(inputs, targets, dataset, 1, 1, 0, 0));
    tlm_dataset_free(dataset);
}
END_TEST

/* ---- Writing ------------------------------------------------------------------------------------
 */

START_TEST(written_files_read_back)
{
    static const struct {
        const char *name;
        int32_t token_type;
        uint32_t largest;
    } cases[] = {
        {"w.u16", TLM_TOKENS_AUTO, 65535},   {"w.u32", TLM_TOKENS_AUTO, UINT32_MAX},
        {"w.npy", TLM_TOKENS_UINT16, 65535}, {"w4.npy", TLM_TOKENS_UINT32, UINT32_MAX},
        {"w.bin", TLM_TOKENS_UINT32, 70000},
    };
    enum { N = 10007 };
    static uint32_t ids[N], back[N];
    const char *path = test_path(cases[_i].name);
    int32_t open_type = strcmp(cases[_i].name, "w.bin") == 0 ? TLM_TOKENS_UINT32 : 0;
    tlm_token_writer_t *writer;
    tlm_dataset_t *dataset;

    for (uint32_t i = 0; i < N; i++)
        ids[i] = i % 3 == 0 ? cases[_i].largest - i : i;
    ASSERT_OK(tlm_token_writer_create(&writer, path, cases[_i].token_type));
    ck_assert_int_ne(access(path, F_OK), 0);
    ASSERT_OK(tlm_token_writer_push(writer, ids, 0));
    ASSERT_OK(tlm_token_writer_push(writer, ids, 1));
    ASSERT_OK(tlm_token_writer_push(writer, ids + 1, 5000));
    ASSERT_OK(tlm_token_writer_push(writer, ids + 5001, N - 5001));
    ASSERT_OK(tlm_token_writer_finish(writer));
    ASSERT_FAILS(TLM_ERR_STATE, "finished", tlm_token_writer_push(writer, ids, 1));
    ASSERT_FAILS(TLM_ERR_STATE, "finished", tlm_token_writer_finish(writer));
    tlm_token_writer_free(writer);
    ASSERT_OK(tlm_dataset_open(&dataset, path, open_type, 0));
    ck_assert_uint_eq(tlm_dataset_length(dataset), N);
    ASSERT_OK(tlm_dataset_read(back, N, dataset, 0));
    ck_assert_mem_eq(ids, back, sizeof(ids));
    tlm_dataset_free(dataset);
}
END_TEST

START_TEST(unfinished_files_leave_nothing)
{
    static const uint32_t ids[3] = {1, 65536, 2};
    tlm_token_writer_t *writer = NULL;
    int before = count_files();

    ASSERT_OK(tlm_token_writer_create(&writer, test_path("gone.u16"), TLM_TOKENS_AUTO));
    ASSERT_OK(tlm_token_writer_push(writer, ids, 1));
    ASSERT_FAILS(TLM_ERR_RANGE, "id 65536 at position 2", tlm_token_writer_push(writer, ids, 3));
    tlm_token_writer_free(writer);
    ck_assert_int_eq(count_files(), before);
    writer = NULL;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "token_type",
                 tlm_token_writer_create(&writer, test_path("gone.npy"), TLM_TOKENS_AUTO));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "token_type 5",
                 tlm_token_writer_create(&writer, test_path("gone.npy"), 5));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                 tlm_token_writer_create(&writer, test_path("nowhere/a.u16"), TLM_TOKENS_AUTO));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_token_writer_push(NULL, ids, 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_token_writer_finish(NULL));
    tlm_token_writer_free(NULL);
    ck_assert_ptr_null(writer);
    ck_assert_int_eq(count_files(), before);
}
END_TEST

/* Files of different types and lengths, one of them empty, are read as one. */
START_TEST(several_files_are_one_data_set)
{
    enum { FIRST = 5, SECOND = 70, ALL = FIRST + SECOND + 9 };
    const char *paths[] = {test_path("one.u16"), test_path("none.u16"), test_path("two.u32"),
                           test_path("three.u16")};
    uint16_t first[FIRST], third[9];
    uint32_t second[SECOND], ids[ALL], inputs[12], targets[12], expected[12];
    tlm_dataset_t *files, *whole;

    for (uint32_t i = 0; i < ALL; i++) {
        ids[i] = (i * 37 + 11) % 60000;
        if (i < FIRST)
            first[i] = (uint16_t)ids[i];
        else if (i < FIRST + SECOND)
            second[i - FIRST] = ids[i];
        else
            third[i - FIRST - SECOND] = (uint16_t)ids[i];
    }
    write_bytes(paths[0], first, sizeof(first));
    write_bytes(paths[1], "", 0);
    write_bytes(paths[2], second, sizeof(second));
    write_bytes(paths[3], third, sizeof(third));
    ASSERT_OK(tlm_dataset_open_files(&files, paths, 4, TLM_TOKENS_AUTO, 60000));
    ASSERT_OK(tlm_dataset_from_ids(&whole, ids, ALL));
    ck_assert_uint_eq(tlm_dataset_length(files), ALL);
    for (size_t offset = 0; offset <= ALL; offset++)
        for (size_t n = 0; offset + n <= ALL; n++) {
            uint32_t got[ALL];

            ASSERT_OK(tlm_dataset_read(got, n, files, offset));
            ck_assert_int_eq(memcmp(got, ids + offset, n * sizeof(*got)), 0);
        }
    ASSERT_FAILS(TLM_ERR_RANGE, "past the length of 84", tlm_dataset_read(ids, 2, files, ALL - 1));
    for (uint64_t step = 0; step < 20; step++) {
        ASSERT_OK(tlm_dataset_sample(inputs, targets, whole, 3, 4, 9, step));
        memcpy(expected, inputs, sizeof(inputs));
        ASSERT_OK(tlm_dataset_sample(inputs, targets, files, 3, 4, 9, step));
        ck_assert_int_eq(memcmp(expected, inputs, sizeof(inputs)), 0);
    }
    tlm_dataset_free(files);
    tlm_dataset_free(whole);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "n is 0",
                 tlm_dataset_open_files(&files, paths, 0, 0, 0));
    paths[1] = NULL;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "path 1 is NULL",
                 tlm_dataset_open_files(&files, paths, 2, 0, 0));
    paths[1] = test_path("nowhere.u16");
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere", tlm_dataset_open_files(&files, paths, 3, 0, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "two.u32", tlm_dataset_open_files(&files, paths + 2, 2, 0, 500));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dataset");
    TCase *tcase = tcase_create("dataset");
    int failed;

    tcase_add_test(tcase, raw_files_are_read);
    tcase_add_test(tcase, memory_is_wrapped);
    tcase_add_test(tcase, wrong_openings_are_refused);
    tcase_add_test(tcase, npy_headers_of_all_kinds_are_read);
    tcase_add_test(tcase, int64_files_are_read_and_checked);
    tcase_add_test(tcase, hostile_npy_headers_are_refused);
    tcase_add_test(tcase, cut_npy_files_are_refused);
    tcase_add_test(tcase, samples_are_rows_and_the_ids_that_follow);
    tcase_add_test(tcase, all_starts_are_drawn_alike);
    tcase_add_test(tcase, impossible_samples_are_refused);
    tcase_add_test(tcase, several_files_are_one_data_set);
    tcase_add_loop_test(tcase, written_files_read_back, 0, 5);
    tcase_add_test(tcase, unfinished_files_leave_nothing);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
