/* DLPack in and out: the same memory on both sides, ownership, strides, offsets, refusals. */
#include "run_suite.h"

#include <check.h>
#include <string.h>

#include "tensor/dlpack.h"
#include "tensor/tensor_core.h"

#define OK(call) ck_assert_msg((call) == TLM_OK, "%s: %s", #call, tlm_error_message())
#define FAILS(code, text, call)                                                                    \
    do {                                                                                           \
        ck_assert_int_eq(call, code);                                                              \
        ck_assert_str_eq(tlm_error_message(), text);                                               \
    } while (0)

/* What another library hands out: rows of three of a matrix of five columns, the middle ones. */
typedef struct producer {
    float values[4 * 5];
    int64_t shape[2], strides[2];
    struct DLManagedTensor managed;
    int deleted;
} producer_t;

static void count_deletion(struct DLManagedTensor *managed)
{
    ((producer_t *)managed->manager_ctx)->deleted++;
}

static void make_producer(producer_t *producer)
{
    *producer = (producer_t){.shape = {4, 3}, .strides = {5, 1}};
    for (int i = 0; i < 4 * 5; i++)
        producer->values[i] = (float)i;
    producer->managed = (struct DLManagedTensor){.dl_tensor = {.data = producer->values,
                                                               .device_type = TLMI_DLPACK_CPU,
                                                               .ndim = 2,
                                                               .dtype = {TLMI_DLPACK_FLOAT, 32, 1},
                                                               .shape = producer->shape,
                                                               .strides = producer->strides,
                                                               .byte_offset = sizeof(float)},
                                                 .manager_ctx = producer,
                                                 .deleter = count_deletion};
}

START_TEST(test_in)
{
    producer_t producer;
    make_producer(&producer);
    tlm_tensor_t *tensor, *row, *twice;
    OK(tlm_tensor_from_dlpack(&tensor, &producer.managed));
    ck_assert_ptr_eq(tlm_tensor_data(tensor), producer.values + 1);
    ck_assert_int_eq(tlm_tensor_strides(tensor)[0], 5);
    ck_assert_int_eq(tlm_tensor_shape(tensor)[1], 3);
    OK(tlm_tensor_set_requires_grad(tensor, true));
    producer.values[5 * 2 + 3] = 100; /* seen through the tensor, and the other way round */
    OK(tlm_slice(&row, tensor, 0, 2, 3));
    OK(tlm_scale(&twice, row, 2));
    float values[3];
    OK(tlm_tensor_copy_out(values, 3, twice));
    ck_assert(values[0] == 22 && values[1] == 24 && values[2] == 200);
    tlmi_floats(tensor)[0] = -7;
    ck_assert(producer.values[1] == -7);
    tlm_tensor_free(tensor);
    tlm_tensor_free(twice);
    ck_assert_int_eq(producer.deleted, 0); /* the view holds it */
    tlm_tensor_free(row);
    ck_assert_int_eq(producer.deleted, 1);
}
END_TEST

START_TEST(test_in_compact)
{
    producer_t producer;
    make_producer(&producer);
    tlm_tensor_t *tensor;
    producer.managed.dl_tensor.strides = NULL;
    producer.managed.deleter = NULL;
    OK(tlm_tensor_from_dlpack(&tensor, &producer.managed));
    ck_assert_int_eq(tlm_tensor_strides(tensor)[0], 3);
    tlm_tensor_free(tensor);
    producer.managed.dl_tensor.ndim = 0;
    producer.managed.dl_tensor.shape = NULL;
    float value;
    OK(tlm_tensor_from_dlpack(&tensor, &producer.managed));
    OK(tlm_tensor_item(&value, tensor));
    ck_assert(value == 1);
    tlm_tensor_free(tensor);
    producer.managed.dl_tensor.ndim = 1;
    producer.managed.dl_tensor.shape = producer.shape;
    producer.managed.dl_tensor.data = NULL;
    producer.shape[0] = 0;
    OK(tlm_tensor_from_dlpack(&tensor, &producer.managed));
    ck_assert_int_eq(tlm_tensor_numel(tensor), 0);
    tlm_tensor_free(tensor);
}
END_TEST

START_TEST(test_refusals)
{
    producer_t producer;
    tlm_tensor_t *out = NULL;
    struct DLManagedTensor *managed = &producer.managed;
    tlmi_dlpack_tensor_t *source = &managed->dl_tensor;
#define REFUSED(code, text, ...)                                                                   \
    do {                                                                                           \
        make_producer(&producer);                                                                  \
        __VA_ARGS__;                                                                               \
        FAILS(code, "tensor_from_dlpack: " text, tlm_tensor_from_dlpack(&out, managed));           \
        ck_assert_ptr_null(out);                                                                   \
        ck_assert_int_eq(producer.deleted, 0);                                                     \
    } while (0)
    REFUSED(TLM_ERR_UNSUPPORTED, "device type 2 is not the CPU (1)", source->device_type = 2);
    REFUSED(TLM_ERR_UNSUPPORTED,
            "type code 2 of 64 bits and 1 lanes is not float32, bfloat16, float16, int32, "
            "int64, uint32 or bool",
            source->dtype.bits = 64);
    REFUSED(TLM_ERR_UNSUPPORTED,
            "type code 2 of 32 bits and 4 lanes is not float32, bfloat16, float16, int32, "
            "int64, uint32 or bool",
            source->dtype.lanes = 4);
    REFUSED(TLM_ERR_UNSUPPORTED,
            "type code 1 of 8 bits and 1 lanes is not float32, bfloat16, float16, int32, "
            "int64, uint32 or bool",
            source->dtype = (tlmi_dlpack_type_t){TLMI_DLPACK_UINT, 8, 1});
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "ndim 9 is not in 0 .. 8", source->ndim = 9);
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "ndim -1 is not in 0 .. 8", source->ndim = -1);
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "size -4 of dimension 0 is negative", producer.shape[0] = -4);
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "stride -5 of dimension 0 is negative",
            producer.strides[0] = -5);
    REFUSED(TLM_ERR_RANGE, "stride 1152921504606846976 of dimension 0 is too large",
            producer.strides[0] = INT64_MAX / 8 + 1);
    REFUSED(TLM_ERR_RANGE, "too many elements: (4611686018427387904, 3)",
            producer.shape[0] = INT64_MAX / 2 + 1);
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "data is not aligned to 4 bytes as float32 needs",
            source->byte_offset = 2);
    REFUSED(TLM_ERR_RANGE, "byte offset 18446744073709551612 is too large",
            source->byte_offset = UINT64_MAX - 3);
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "shape is NULL", source->shape = NULL);
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "data is NULL", source->data = NULL);
    FAILS(TLM_ERR_INVALID_ARGUMENT, "tensor_from_dlpack: out is NULL",
          tlm_tensor_from_dlpack(NULL, managed));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "tensor_from_dlpack: managed is NULL",
          tlm_tensor_from_dlpack(&out, NULL));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "tensor_to_dlpack: tensor is NULL",
          tlm_tensor_to_dlpack(&managed, NULL));
}
END_TEST

static int released;

static void count_release(void *user)
{
    (void)user;
    released++;
}

/* Out of a view of wrapped memory: the consumer alone keeps the memory, but no graph. */
START_TEST(test_out)
{
    float values[12] = {0};
    tlm_tensor_t *tensor, *turned, *cut;
    struct DLManagedTensor *managed;
    released = 0;
    OK(tlm_tensor_wrap(&tensor, TLM_FLOAT32, values, (int64_t[]){3, 4}, NULL, 2, count_release,
                       NULL));
    OK(tlm_tensor_set_requires_grad(tensor, true));
    OK(tlm_transpose(&turned, tensor, 0, 1));
    OK(tlm_slice(&cut, turned, 0, 1, 4));
    OK(tlm_tensor_to_dlpack(&managed, cut));
    const tlmi_dlpack_tensor_t *target = &managed->dl_tensor;
    ck_assert_ptr_eq(target->data, values + 1);
    ck_assert_int_eq(target->device_type, TLMI_DLPACK_CPU);
    ck_assert_int_eq(target->ndim, 2);
    ck_assert(target->shape[0] == 3 && target->shape[1] == 3);
    ck_assert(target->strides[0] == 1 && target->strides[1] == 4);
    ck_assert_uint_eq(target->byte_offset, 0);
    ck_assert_int_eq(atomic_load(&cut->references), 1);
    ((float *)target->data)[4] = 5;
    ck_assert(values[5] == 5);
    tlm_tensor_free(tensor);
    tlm_tensor_free(turned);
    tlm_tensor_free(cut);
    ck_assert_int_eq(released, 0);
    managed->deleter(managed);
    ck_assert_int_eq(released, 1);
}
END_TEST

/* Every type, there and back: the tensor that comes back is the same memory. */
START_TEST(test_round_trip)
{
    for (int32_t dtype = 0; dtype <= TLM_FLOAT16; dtype++) {
        for (int64_t n = 0; n < 3; n++) {
            tlm_tensor_t *tensor, *again;
            struct DLManagedTensor *managed;
            OK(tlm_tensor_create(&tensor, dtype, (int64_t[]){2, n, 3}, 3));
            OK(tlm_tensor_to_dlpack(&managed, tensor));
            OK(tlm_tensor_from_dlpack(&again, managed));
            ck_assert_int_eq(tlm_tensor_dtype(again), dtype);
            ck_assert_ptr_eq(tlm_tensor_data(again), tlm_tensor_data(tensor));
            ck_assert(tlmi_same_shape(again, tensor));
            tlm_tensor_free(tensor);
            if (n > 0)
                memset(tlm_tensor_data(again), 1, tlm_dtype_size(dtype)); /* still alive */
            tlm_tensor_free(again);
        }
    }
}
END_TEST

/* ---- Version 1.x ------------------------------------------------------------------------- */

static int num_deleted;

static void count_versioned(struct DLManagedTensorVersioned *managed)
{
    (void)managed;
    num_deleted++;
}

START_TEST(test_versioned_in)
{
    producer_t producer;
    make_producer(&producer);
    struct DLManagedTensorVersioned managed = {.major = 1,
                                               .minor = 7,
                                               .deleter = count_versioned,
                                               .flags = TLMI_DLPACK_IS_COPIED | 1 << 5,
                                               .dl_tensor = producer.managed.dl_tensor};
    tlm_tensor_t *tensor = NULL;
    num_deleted = 0;
    OK(tlm_tensor_from_dlpack_versioned(&tensor, &managed));
    ck_assert_ptr_eq(tlm_tensor_data(tensor), producer.values + 1);
    tlm_tensor_free(tensor);
    ck_assert_int_eq(num_deleted, 1);
    tensor = NULL;
    managed.flags |= TLMI_DLPACK_READ_ONLY;
    FAILS(TLM_ERR_UNSUPPORTED,
          "tensor_from_dlpack_versioned: the memory is read-only, and tensors may be written to: "
          "copy it",
          tlm_tensor_from_dlpack_versioned(&tensor, &managed));
    managed.flags = 0;
    managed.major = 2;
    FAILS(TLM_ERR_UNSUPPORTED, "tensor_from_dlpack_versioned: DLPack 2.7 is not 1.x",
          tlm_tensor_from_dlpack_versioned(&tensor, &managed));
    managed.major = 1;
    managed.dl_tensor.device_type = 2;
    FAILS(TLM_ERR_UNSUPPORTED, "tensor_from_dlpack_versioned: device type 2 is not the CPU (1)",
          tlm_tensor_from_dlpack_versioned(&tensor, &managed));
    ck_assert_ptr_null(tensor);
    ck_assert_int_eq(num_deleted, 1);
}
END_TEST

START_TEST(test_versioned_out)
{
    const float values[] = {1, 2, 3, 4, 5, 6};
    tlm_tensor_t *tensor, *turned, *back;
    struct DLManagedTensorVersioned *managed;
    OK(tlm_tensor_from_data(&tensor, TLM_FLOAT32, values, (int64_t[]){2, 3}, 2));
    OK(tlm_transpose(&turned, tensor, 0, 1));
    OK(tlm_tensor_to_dlpack_versioned(&managed, turned, false));
    ck_assert(managed->major == 1 && managed->minor == 0 && managed->flags == 0);
    ck_assert_ptr_eq(managed->dl_tensor.data, tlm_tensor_data(tensor));
    ck_assert(managed->dl_tensor.ndim == 2 && managed->dl_tensor.shape[0] == 3 &&
              managed->dl_tensor.strides[0] == 1 && managed->dl_tensor.byte_offset == 0);
    tlm_tensor_free(tensor);
    tlm_tensor_free(turned);
    OK(tlm_tensor_from_dlpack_versioned(&back, managed)); /* which deletes it */
    ck_assert_int_eq(tlm_tensor_shape(back)[1], 2);
    OK(tlm_tensor_to_dlpack_versioned(&managed, back, true));
    ck_assert_uint_eq(managed->flags, TLMI_DLPACK_IS_COPIED);
    tlm_tensor_free(back);
    managed->deleter(managed);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dlpack");
    TCase *tcase = tcase_create("dlpack");
    tcase_add_test(tcase, test_in);
    tcase_add_test(tcase, test_in_compact);
    tcase_add_test(tcase, test_refusals);
    tcase_add_test(tcase, test_out);
    tcase_add_test(tcase, test_round_trip);
    tcase_add_test(tcase, test_versioned_in);
    tcase_add_test(tcase, test_versioned_out);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
