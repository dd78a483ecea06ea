/* safetensors: round trips, the checksum, and files that break the format in every way. */
#include "io_support.h"
#include "run_suite.h"

#include "base/memory.h"
#include "base/file.h"
#include "formats/safetensors.h"

START_TEST(crc64_is_that_of_xz)
{
    static unsigned char bytes[1000];
    static tlmi_crc64_t crc, pieces;

    tlmi_crc64_init(&crc);
    tlmi_crc64_update(&crc, "123456789", 9);
    ck_assert(tlmi_crc64_final(&crc) ==
              UINT64_C(0x995DC9BBDF1939FA)); /* the standard check value */
    for (int i = 0; i < 1000; i++)
        bytes[i] = (unsigned char)(i * 7);
    tlmi_crc64_init(&crc);
    tlmi_crc64_update(&crc, bytes, sizeof(bytes));
    tlmi_crc64_init(&pieces);
    for (size_t at = 0, n = 0; at < sizeof(bytes); at += n, n++)
        tlmi_crc64_update(&pieces, bytes + at, at + n > sizeof(bytes) ? sizeof(bytes) - at : n);
    ck_assert(tlmi_crc64_final(&pieces) == tlmi_crc64_final(&crc));
}
END_TEST

static const char *write_sample(void)
{
    static const float values[6] = {1, 2, 3, 4, 5, 6};
    static const tlmi_st_tensor_t tensors[] = {
        {"a.weight", "F32", {2, 3}, 2, values, 24},
        {"empty", "F32", {0, 5}, 2, values, 0},
        {"scalar \"\xC3\xA9\"", "F32", {0}, 0, values + 4, 4},
    };
    const char *path = test_path("sample.safetensors");
    tlmi_json_t *metadata = tlmi_json_new_object();

    ASSERT_OK(tlmi_json_set(metadata, "note", tlmi_json_new_string("a \"note\"", 8)));
    ASSERT_OK(tlmi_safetensors_write(path, tensors, 3, metadata));
    return path;
}

START_TEST(what_is_written_is_read)
{
    const char *path = write_sample();
    const tlmi_st_tensor_t *found;
    tlmi_safetensors_t file;
    float value;

    ASSERT_OK(tlmi_safetensors_open(&file, path));
    ASSERT_OK(tlmi_safetensors_verify(&file, path));
    ck_assert_uint_eq(file.num_tensors, 3);
    ck_assert_uint_eq((8 + file.header_size) % 64, 0);
    ck_assert_str_eq(tlmi_safetensors_metadata(&file, "note"), "a \"note\"");
    ck_assert_ptr_null(tlmi_safetensors_metadata(&file, "other"));
    ck_assert_ptr_null(tlmi_safetensors_find(&file, "other"));
    found = tlmi_safetensors_find(&file, "a.weight");
    ck_assert(found->ndim == 2 && found->shape[0] == 2 && found->shape[1] == 3);
    memcpy(&value, (const char *)found->data + 20, 4);
    ck_assert(value == 6.0f);
    found = tlmi_safetensors_find(&file, "scalar \"\xC3\xA9\"");
    memcpy(&value, found->data, 4);
    ck_assert(found->ndim == 0 && value == 5.0f);
    ck_assert_uint_eq(tlmi_safetensors_find(&file, "empty")->bytes, 0);
    tlmi_safetensors_close(&file);
}
END_TEST

/* No cut of a file passes, and no flipped bit passes the checksum. */
START_TEST(damage_is_noticed)
{
    const char *path = test_path("damaged.safetensors");
    tlmi_safetensors_t file;
    size_t size;
    unsigned char *bytes = read_bytes(write_sample(), &size);

    for (size_t cut = 0; cut < size; cut++) {
        write_bytes(path, bytes, cut);
        ASSERT_FAILS(TLM_ERR_FORMAT, "damaged", tlmi_safetensors_open(&file, path));
    }
    for (size_t i = 0; i < size; i++) {
        unsigned char flip = (unsigned char)(1 << i % 8);

        bytes[i] ^= flip;
        write_bytes(path, bytes, size);
        if (tlmi_safetensors_open(&file, path) == TLM_OK) {
            ck_assert_int_eq(tlmi_safetensors_verify(&file, path), TLM_ERR_FORMAT);
            tlmi_safetensors_close(&file);
        }
        bytes[i] ^= flip;
    }
    free(bytes);
}
END_TEST

/* A file with this header text and so many bytes of data. */
static const char *write_header(const char *header, size_t data_size)
{
    unsigned char bytes[2048] = {0};
    size_t length = strlen(header);
    const char *path = test_path("h.safetensors");

    bytes[0] = (unsigned char)length;
    bytes[1] = (unsigned char)(length >> 8);
    memcpy(bytes + 8, header, length);
    write_bytes(path, bytes, 8 + length + data_size);
    return path;
}

#define A     "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define B(at) "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" at "]}"

START_TEST(good_headers_are_read)
{
    static const char *const good[] = {
        "{" A "," B("8,16") "}",
        "{" B("8,16") "," A "}   ",
        "{\"__metadata__\":{\"k\":\"v\"}," A "," B("8,16") "}",
        "{\"a\":{\"dtype\":\"BF16\",\"shape\":[2,4],\"data_offsets\":[0,16]}}",
        "{\"a\":{\"shape\":[],\"data_offsets\":[0,8],\"dtype\":\"I64\"}," B("8,16") "}",
        "{" A "," B("8,16") ",\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}",
    };
    tlmi_safetensors_t file;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        const char *path = write_header(good[i], 16);
        ASSERT_OK(tlmi_safetensors_open(&file, path));
        ASSERT_FAILS(TLM_ERR_FORMAT, "no checksum", tlmi_safetensors_verify(&file, path));
        tlmi_safetensors_close(&file);
    }
    ASSERT_OK(tlmi_safetensors_open(&file, write_header("{}", 0)));
    tlmi_safetensors_close(&file);
}
END_TEST

START_TEST(hostile_headers_are_refused)
{
    static const char *const bad[] = {
        "",
        " {" A "," B("8,16") "}",
        "[]",
        "null",
        "{" A "," B("8,16"),
        "{" A "," B("8,16") "}x",
        "{" A "," A "}",                           /* a name twice */
        "{" A "}",                                 /* data left over */
        "{" A "," B("9,17") "}",                   /* a gap, and past the end */
        "{" A "," B("4,12") "}",                   /* overlap */
        "{" A "," B("0,8") "}",                    /* overlap */
        "{" A "," B("16,8") "}",                   /* backwards */
        "{" A "," B("-8,0") "}",                   /* negative */
        "{" A "," B("8,24") "}",                   /* past the end */
        "{" A "," B("8,9223372036854775807") "}",  /* far past the end */
        "{" A "," B("8,99999999999999999999") "}", /* beyond 64 bits */
        "{" A "," B("8.0,16.0") "}",               /* not whole numbers */
        "{" A "," B("\"8\",\"16\"") "}",           /* strings */
        "{" A "," B("8") "}",                      /* one offset */
        "{" A "," B("8,16,16") "}",                /* three */
        "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[8,16]}}",
        "{" A ",\"b\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[8,16]}}",
        "{" A ",\"b\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[8,16]}}",
        "{" A ",\"b\":{\"dtype\":32,\"shape\":[2],\"data_offsets\":[8,16]}}",
        "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[8,16]}}",
        "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[8,16]}}",
        "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[8,16]}}",
        "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4,2],"
        "\"data_offsets\":[8,16]}}",
        "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[8,16]}}",
        "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2]}}",
        "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16],\"x\":1}}",
        "{" A ",\"b\":[]}",
        "{" A ",\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
        "{\"__metadata__\":{\"k\":1}," A "," B("8,16") "}",
        "{\"__metadata__\":{\"k\":{}}," A "," B("8,16") "}",
        "{\"__metadata__\":[]," A "," B("8,16") "}",
        "{\"__metadata__\":{\"k\":\"a\",\"k\":\"b\"}," A "," B("8,16") "}",
    };
    tlmi_safetensors_t file;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(tlmi_safetensors_open(&file, write_header(bad[i], 16)) != TLM_OK,
                      "accepted: %s", bad[i]);
}
END_TEST

START_TEST(huge_header_lengths_are_refused)
{
    static const uint64_t lengths[] = {
        3, 100, 100000001, INT64_MAX, 1u << 31, UINT64_MAX - 7, (uint64_t)1 << 63, UINT64_MAX};
    unsigned char bytes[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    const char *path = test_path("huge.safetensors");
    tlmi_safetensors_t file;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (int k = 0; k < 8; k++)
            bytes[k] = (unsigned char)(lengths[i] >> 8 * k);
        write_bytes(path, bytes, sizeof(bytes));
        ASSERT_FAILS(TLM_ERR_FORMAT, "huge", tlmi_safetensors_open(&file, path));
    }
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere", tlmi_safetensors_open(&file, test_path("nowhere")));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tcase = tcase_create("safetensors");
    int failed;

    tcase_add_test(tcase, crc64_is_that_of_xz);
    tcase_add_test(tcase, what_is_written_is_read);
    tcase_add_test(tcase, damage_is_noticed);
    tcase_add_test(tcase, good_headers_are_read);
    tcase_add_test(tcase, hostile_headers_are_refused);
    tcase_add_test(tcase, huge_header_lengths_are_refused);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
