/* Tensors: making, wrapping, views, reference counts, refusals. */
#include "run_suite.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "tensor/tensor_core.h"
#include "tinylm/tensor.h"

#define OK(call) ck_assert_msg((call) == TLM_OK, "%s: %s", #call, tlm_error_message())
#define FAILS(code, text, call)                                                                    \
    do {                                                                                           \
        ck_assert_int_eq(call, code);                                                              \
        ck_assert_str_eq(tlm_error_message(), text);                                               \
    } while (0)

static tlm_tensor_t *const UNTOUCHED = (tlm_tensor_t *)(uintptr_t)8;

static tlm_tensor_t *zeros(int32_t ndim, const int64_t *shape)
{
    tlm_tensor_t *tensor;
    OK(tlm_tensor_create(&tensor, TLM_FLOAT32, shape, ndim));
    return tensor;
}
#define ZEROS(...)                                                                                 \
    zeros((int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

START_TEST(test_create)
{
    tlm_tensor_t *scalar, *empty;
    OK(tlm_tensor_create(&scalar, TLM_FLOAT32, NULL, 0));
    ck_assert_int_eq(tlm_tensor_numel(scalar), 1);
    float value = 1;
    OK(tlm_tensor_item(&value, scalar));
    ck_assert(value == 0.0f);
    OK(tlm_tensor_create(&empty, TLM_INT64, (int64_t[]){3, 0, 5}, 3));
    ck_assert_int_eq(tlm_tensor_numel(empty), 0);
    ck_assert_ptr_null(tlm_tensor_data(empty));
    ck_assert_int_eq(tlm_tensor_dtype(empty), TLM_INT64);
    ck_assert_int_eq(tlm_tensor_shape(empty)[2], 5);
    OK(tlm_tensor_copy_out(NULL, 0, empty));
    tlm_tensor_free(scalar);
    tlm_tensor_free(empty);
    for (int32_t dtype = 0; dtype <= TLM_FLOAT16; dtype++) {
        tlm_tensor_t *tensor;
        OK(tlm_tensor_create(&tensor, dtype, (int64_t[]){7, 3}, 2));
        const char *bytes = tlm_tensor_data(tensor);
        for (size_t i = 0; i < 21 * tlm_dtype_size(dtype); i++)
            ck_assert_int_eq(bytes[i], 0);
        ck_assert_int_eq(tlm_tensor_strides(tensor)[0], 3);
        tlm_tensor_free(tensor);
    }
    ck_assert_int_eq(tlm_dtype_size(TLM_BFLOAT16), 2);
    ck_assert_int_eq(tlm_dtype_size(TLM_FLOAT16), 2);
    ck_assert_int_eq(tlm_dtype_size(7), 0);
    ck_assert_int_eq(tlm_dtype_size(TLM_Q8_0), 0); /* not for tensors */
    ck_assert_int_eq(tlm_dtype_size(-1), 0);
}
END_TEST

START_TEST(test_create_refusals)
{
    tlm_tensor_t *out = UNTOUCHED;
    int64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    FAILS(TLM_ERR_INVALID_ARGUMENT, "tensor: ndim 9 is not in 0 .. 8",
          tlm_tensor_create(&out, TLM_FLOAT32, nine, 9));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "tensor: unknown element type 9",
          tlm_tensor_create(&out, 9, nine, 1));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "tensor: size -4 of dimension 1 is negative",
          tlm_tensor_create(&out, TLM_FLOAT32, (int64_t[]){2, -4}, 2));
    FAILS(TLM_ERR_RANGE, "tensor: too many elements: (4611686018427387904, 4)",
          tlm_tensor_create(&out, TLM_FLOAT32, (int64_t[]){INT64_C(1) << 62, 4}, 2));
    FAILS(TLM_ERR_RANGE, "tensor: too many elements: (4294967296, 0, 4294967296)",
          tlm_tensor_create(&out, TLM_BOOL, (int64_t[]){INT64_C(1) << 32, 0, INT64_C(1) << 32}, 3));
#if !defined(__SANITIZE_ADDRESS__) /* which ends the program instead of returning NULL */
    ck_assert_int_eq(tlm_tensor_create(&out, TLM_FLOAT32, (int64_t[]){INT64_C(1) << 55}, 1),
                     TLM_ERR_OUT_OF_MEMORY);
#endif
    ck_assert_int_eq(tlm_tensor_create(&out, TLM_FLOAT32, NULL, 2), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_tensor_create(NULL, TLM_FLOAT32, nine, 1), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_tensor_from_data(&out, TLM_FLOAT32, NULL, nine, 1),
                     TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_eq(out, UNTOUCHED);
}
END_TEST

static int releases;

static void count_release(void *user)
{
    releases += *(int *)user;
}

START_TEST(test_wrap)
{
    float data[12];
    int one = 1;
    for (int i = 0; i < 12; i++)
        data[i] = (float)i;
    tlm_tensor_t *column, *view, *copy;
    releases = 0;
    /* column 1 of a (3, 4) matrix, backed by every fourth element */
    OK(tlm_tensor_wrap(&column, TLM_FLOAT32, data + 1, (int64_t[]){3, 1}, (int64_t[]){4, 1}, 2,
                       count_release, &one));
    OK(tlm_slice(&view, column, 0, 1, 3));
    tlm_tensor_free(column);
    ck_assert_int_eq(releases, 0);
    float got[2];
    OK(tlm_tensor_copy_out(got, 2, view));
    ck_assert(got[0] == 5 && got[1] == 9);
    OK(tlm_tensor_copy_in(view, (float[]){50, 90}, 2));
    ck_assert(data[5] == 50 && data[9] == 90 && data[6] == 6);
    OK(tlm_contiguous(&copy, view));
    ck_assert(tlm_tensor_data(copy) != tlm_tensor_data(view));
    tlm_tensor_free(view);
    ck_assert_int_eq(releases, 1);
    tlm_tensor_free(copy);

    OK(tlm_tensor_wrap(&column, TLM_INT32, NULL, (int64_t[]){0}, NULL, 1, count_release, &one));
    tlm_tensor_free(column);
    ck_assert_int_eq(releases, 2);
}
END_TEST

START_TEST(test_wrap_refusals)
{
    tlm_tensor_t *out = UNTOUCHED;
    float data[4];
    int one = 1;
    releases = 0;
    FAILS(TLM_ERR_INVALID_ARGUMENT, "tensor_wrap: stride -1 of dimension 0 is negative",
          tlm_tensor_wrap(&out, TLM_FLOAT32, data, (int64_t[]){4}, (int64_t[]){-1}, 1,
                          count_release, &one));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "tensor_wrap: data is not aligned to 4 bytes as float32 needs",
          tlm_tensor_wrap(&out, TLM_FLOAT32, (char *)data + 1, (int64_t[]){2}, NULL, 1,
                          count_release, &one));
    ck_assert_int_eq(tlm_tensor_wrap(&out, TLM_FLOAT32, data, (int64_t[]){4},
                                     (int64_t[]){INT64_MAX / 2}, 1, count_release, &one),
                     TLM_ERR_RANGE);
    ck_assert_int_eq(tlm_tensor_wrap(&out, TLM_FLOAT32, NULL, (int64_t[]){4}, NULL, 1, NULL, NULL),
                     TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_eq(out, UNTOUCHED);
    ck_assert_int_eq(releases, 0);
}
END_TEST

START_TEST(test_null)
{
    tlm_tensor_t *out = UNTOUCHED;
    tlm_tensor_t *a = ZEROS(2, 2);
    tlm_tensor_free(NULL);
    tlm_tensor_zero_grad(NULL);
    ck_assert_ptr_null(tlm_tensor_retain(NULL));
    ck_assert_ptr_null(tlm_tensor_data(NULL));
    ck_assert_ptr_null(tlm_tensor_shape(NULL));
    ck_assert_ptr_null(tlm_tensor_grad(NULL));
    ck_assert_int_eq(tlm_tensor_numel(NULL), 0);
    FAILS(TLM_ERR_INVALID_ARGUMENT, "add: b is NULL", tlm_add(&out, a, NULL));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "mul: a is NULL", tlm_mul(&out, NULL, a));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "matmul: out is NULL", tlm_matmul(NULL, a, a));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "transpose: a is NULL", tlm_transpose(&out, NULL, 0, 1));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "reshape: shape is NULL", tlm_reshape(&out, a, NULL, 1));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "backward: tensor is NULL", tlm_tensor_backward(NULL, NULL));
    ck_assert_ptr_eq(out, UNTOUCHED);
    tlm_tensor_free(a);
}
END_TEST

START_TEST(test_op_refusals)
{
    tlm_tensor_t *out = UNTOUCHED;
    tlm_tensor_t *a = ZEROS(2, 3, 64);
    tlm_tensor_t *b = ZEROS(128, 5);
    tlm_tensor_t *c = ZEROS(4, 64, 5);
    tlm_tensor_t *v = ZEROS(64);
    tlm_tensor_t *ids;
    OK(tlm_tensor_create(&ids, TLM_INT64, (int64_t[]){3}, 1));
    FAILS(TLM_ERR_SHAPE, "matmul: inner dimensions 64 and 128 differ: (2, 3, 64) x (128, 5)",
          tlm_matmul(&out, a, b));
    FAILS(TLM_ERR_SHAPE, "matmul: leading dimensions 2 and 4 differ: (2, 3, 64) x (4, 64, 5)",
          tlm_matmul(&out, a, c));
    FAILS(TLM_ERR_SHAPE, "matmul: both tensors need two or more dimensions: (2, 3, 64) x (64)",
          tlm_matmul(&out, a, v));
    FAILS(TLM_ERR_SHAPE, "add: sizes 3 and 128 do not broadcast: (2, 3, 64) and (128, 5)",
          tlm_add(&out, a, b));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "mul: b has type int64, not float32", tlm_mul(&out, a, ids));
    FAILS(TLM_ERR_SHAPE, "sum_dim: no dimension 3 in shape (2, 3, 64)",
          tlm_sum_dim(&out, a, 3, false));
    FAILS(TLM_ERR_SHAPE, "transpose: no dimension -4 in shape (2, 3, 64)",
          tlm_transpose(&out, a, 0, -4));
    FAILS(TLM_ERR_SHAPE, "reshape: (2, 3, 64) has 384 elements, which do not fit shape (7, -1)",
          tlm_reshape(&out, a, (int64_t[]){7, -1}, 2));
    FAILS(TLM_ERR_SHAPE, "reshape: (2, 3, 64) has 384 elements, which do not fit shape (-1, -1)",
          tlm_reshape(&out, a, (int64_t[]){-1, -1}, 2));
    FAILS(TLM_ERR_RANGE, "slice: 2 to 4 is not within dimension 1 of (2, 3, 64)",
          tlm_slice(&out, a, 1, 2, 4));
    FAILS(TLM_ERR_RANGE, "slice: 2 to 1 is not within dimension 1 of (2, 3, 64)",
          tlm_slice(&out, a, 1, 2, 1));
    FAILS(TLM_ERR_SHAPE, "tensor_item: the tensor must have one element, but its shape is (128, 5)",
          tlm_tensor_item(&(float){0}, b));
    FAILS(TLM_ERR_SHAPE, "tensor_copy_in: n is 3, but the tensor has 64 elements",
          tlm_tensor_copy_in(v, &(float[3]){0}, 3));
    ck_assert_ptr_eq(out, UNTOUCHED);
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    tlm_tensor_free(c);
    tlm_tensor_free(v);
    tlm_tensor_free(ids);
}
END_TEST

START_TEST(test_views_share)
{
    tlm_tensor_t *a = ZEROS(2, 3), *turned, *flat, *same, *detached;
    float *data = tlm_tensor_data(a);
    for (int i = 0; i < 6; i++)
        data[i] = (float)i;
    OK(tlm_transpose(&turned, a, 0, 1));
    OK(tlm_reshape(&flat, a, (int64_t[]){-1}, 1));
    OK(tlm_contiguous(&same, a));
    OK(tlm_tensor_detach(&detached, a));
    ck_assert_ptr_eq(same, a);
    ck_assert_ptr_eq(tlm_tensor_data(turned), data);
    ck_assert_ptr_eq(tlm_tensor_data(flat), data);
    ck_assert_ptr_eq(tlm_tensor_data(detached), data);
    tlm_tensor_free(a);
    tlm_tensor_free(same); /* the views keep the memory */
    float got[6];
    OK(tlm_tensor_copy_out(got, 6, turned));
    for (int i = 0; i < 6; i++)
        ck_assert(got[i] == (float)(i / 2 + i % 2 * 3));
    tlm_tensor_free(turned);
    /* the reshape of a turned view is a copy */
    OK(tlm_transpose(&turned, detached, 0, 1));
    tlm_tensor_free(flat);
    OK(tlm_reshape(&flat, turned, (int64_t[]){6}, 1));
    ck_assert_ptr_ne(tlm_tensor_data(flat), data);
    ck_assert(((float *)tlm_tensor_data(flat))[1] == 3);
    tlm_tensor_free(flat);
    tlm_tensor_free(turned);
    tlm_tensor_free(detached);
}
END_TEST

START_TEST(test_views_of_integers)
{
    tlm_tensor_t *ids, *turned, *rows;
    int64_t *indices;
    uint32_t data[] = {1, 2, 3, 4, 5, UINT32_MAX};
    OK(tlm_tensor_from_data(&ids, TLM_UINT32, data, (int64_t[]){2, 3}, 2));
    OK(tlm_transpose(&turned, ids, 0, 1));
    OK(tlmi_read_indices(&indices, turned));
    ck_assert(indices[0] == 1 && indices[1] == 4 && indices[5] == UINT32_MAX);
    tlmi_cached_free(indices);
    OK(tlm_contiguous(&rows, turned));
    ck_assert_int_eq(((uint32_t *)tlm_tensor_data(rows))[1], 4);
    tlm_tensor_free(rows);
    tlm_tensor_free(turned);
    tlm_tensor_free(ids);
    tlm_tensor_t *flags, *column;
    uint8_t bytes[] = {0, 1, 1, 0};
    OK(tlm_tensor_from_data(&flags, TLM_BOOL, bytes, (int64_t[]){2, 2}, 2));
    OK(tlm_slice(&column, flags, 1, 1, 2));
    uint8_t got[2];
    OK(tlm_tensor_copy_out(got, 2, column));
    ck_assert(got[0] == 1 && got[1] == 0);
    ck_assert_int_eq(tlmi_read_indices(&indices, flags), TLM_ERR_INVALID_ARGUMENT);
    tlm_tensor_free(column);
    tlm_tensor_free(flags);
}
END_TEST

/* Freed blocks come back, and the last one takes the kept ones with it. */
/* Strided copies of elements of any size, also those that no type has yet. */
START_TEST(test_copies_of_all_sizes)
{
    enum { ROWS = 3, COLUMNS = 5, MOST = 16 };
    static const int64_t shape[] = {ROWS, COLUMNS}, columns_first[] = {1, ROWS},
                         rows_first[] = {COLUMNS, 1};
    for (size_t item = 1; item <= MOST; item++) {
        uint8_t from[ROWS * COLUMNS * MOST], to[ROWS * COLUMNS * MOST];
        for (size_t i = 0; i < sizeof(from); i++)
            from[i] = (uint8_t)(i * 31 + 7);
        tlmi_strided_copy(to, rows_first, from, columns_first, shape, 2, item);
        for (size_t i = 0; i < ROWS; i++)
            for (size_t j = 0; j < COLUMNS; j++)
                ck_assert_mem_eq(to + (i * COLUMNS + j) * item, from + (i + j * ROWS) * item, item);
    }
}
END_TEST

START_TEST(test_buffer_cache)
{
    tlmi_buffer_cache_clear();
    tlmi_buffer_stats_t before = tlmi_buffer_cache_stats();
    tlm_tensor_t *anchor = ZEROS(5);
    for (int i = 0; i < 100; i++) {
        tlm_tensor_t *a = ZEROS(1000, 100), *b = ZEROS(3, 7);
        tlm_tensor_free(a);
        tlm_tensor_free(b);
    }
    tlmi_buffer_stats_t after = tlmi_buffer_cache_stats();
#if !defined(__SANITIZE_ADDRESS__)
    ck_assert_int_eq(after.fresh_blocks - before.fresh_blocks, 3 * 3); /* head, storage, elements */
    ck_assert(after.kept_bytes >= 400000 && after.kept_bytes <= after.peak_live_bytes * 3 / 2);
#endif
    tlm_tensor_free(anchor);
    after = tlmi_buffer_cache_stats();
    ck_assert_int_eq(after.live_bytes, before.live_bytes);
    if (after.live_bytes == 0)
        ck_assert_int_eq(after.kept_bytes, 0);
    for (size_t bytes = 1; bytes < 100000; bytes += 1 + bytes / 7) {
        size_t capacity;
        void *block = tlmi_buffer_acquire(&capacity, bytes);
        ck_assert(block != NULL && capacity >= bytes && (uintptr_t)block % 64 == 0);
        ck_assert(capacity <= bytes + bytes / 8 + 64);
        memset(block, 1, capacity);
        tlmi_buffer_release(block, capacity);
    }
}
END_TEST

static void *churn(void *shared)
{
    for (int i = 0; i < 2000; i++) {
        tlm_tensor_t *kept = tlm_tensor_retain(shared);
        tlm_tensor_t *mine = ZEROS(17, 1 + i % 50);
        tlm_tensor_free(kept);
        tlm_tensor_free(mine);
    }
    return NULL;
}

START_TEST(test_counts_are_atomic)
{
    pthread_t threads[4];
    tlm_tensor_t *shared = ZEROS(10);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, shared), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(atomic_load(&shared->references), 1);
    tlm_tensor_free(shared);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tensor");
    TCase *tcase = tcase_create("tensor");
    tcase_add_test(tcase, test_create);
    tcase_add_test(tcase, test_create_refusals);
    tcase_add_test(tcase, test_wrap);
    tcase_add_test(tcase, test_wrap_refusals);
    tcase_add_test(tcase, test_null);
    tcase_add_test(tcase, test_op_refusals);
    tcase_add_test(tcase, test_views_share);
    tcase_add_test(tcase, test_views_of_integers);
    tcase_add_test(tcase, test_copies_of_all_sizes);
    tcase_add_test(tcase, test_buffer_cache);
    tcase_add_test(tcase, test_counts_are_atomic);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
