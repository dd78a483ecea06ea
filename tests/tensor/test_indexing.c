/* slice_step and take over random shapes: values and gradients against float64 references; any element
 * type; what they refuse. */
#include "gradcheck.h"
#include "run_suite.h"

#include "tinylm/runtime.h"

#define OK(call) ck_assert_msg((call) == TLM_OK, "%s: %s", #call, tlm_error_message())

enum { MAX_INDICES = 64 };

/* The input is (outer, n, inner), the result (outer, count, inner). */
typedef struct choice {
    int64_t outer, n, inner, count;
    int64_t places[MAX_INDICES]; /* which elements the result has */
    int64_t start, step;
    int64_t rows; /* of the indices: (rows, count / rows) */
} choice_t;

static int64_t draw(uint64_t *random, int64_t n)
{
    return (int64_t)(gradcheck_uniform(random) * (double)n);
}

static void reference(double *out, const double *const *inputs, void *user)
{
    const choice_t *c = user;
    for (int64_t o = 0; o < c->outer; o++)
        for (int64_t k = 0; k < c->count; k++)
            for (int64_t i = 0; i < c->inner; i++)
                *out++ = inputs[0][(o * c->n + c->places[k]) * c->inner + i];
}

static tlm_status_t run_slice(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const choice_t *c = user;
    return tlm_slice_step(out, inputs[0], 1, c->start, c->step, c->count);
}

/* Indices of random integer types, some counted from the end. */
static tlm_status_t run_take(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const choice_t *c = user;
    int64_t list[MAX_INDICES];
    tlm_tensor_t *indices;
    for (int64_t k = 0; k < c->count; k++)
        list[k] = c->places[k] - (k % 3 == 1 ? c->n : 0);
    OK(tlm_tensor_from_data(&indices, TLM_INT64, list, (int64_t[]){c->rows, c->count / c->rows},
                            2));
    tlm_status_t status = tlm_take(out, inputs[0], -2, indices);
    tlm_tensor_free(indices);
    return status;
}

static gradcheck_t check_of(choice_t *c, int layout)
{
    gradcheck_t check = {.reference = reference, .user = c, .num_inputs = 1, .max_elements = 60};
    check.inputs[0] = (gradcheck_input_t){
        .shape = {c->outer, c->n, c->inner}, .ndim = 3, .layout = (gradcheck_layout_t)layout};
    return check;
}

START_TEST(test_slice_step)
{
    uint64_t random = 3;
    for (int round = 0; round < 300; round++) {
        choice_t c = {.outer = 1 + draw(&random, 3), .inner = draw(&random, 4)};
        c.n = 1 + draw(&random, 12);
        c.start = draw(&random, c.n);
        c.step = 1 + draw(&random, 4);
        if (draw(&random, 2) == 0)
            c.step = -c.step;
        int64_t room = c.step > 0 ? (c.n - 1 - c.start) / c.step : c.start / -c.step;
        c.count = draw(&random, room + 2);
        for (int64_t k = 0; k < c.count; k++)
            c.places[k] = c.start + k * c.step;
        gradcheck_t check = check_of(&c, round % GRADCHECK_NUM_LAYOUTS);
        check.name = "slice_step";
        check.run = run_slice;
        gradcheck(&check);
    }
}
END_TEST

START_TEST(test_take)
{
    uint64_t random = 5;
    for (int round = 0; round < 300; round++) {
        choice_t c = {.outer = 1 + draw(&random, 3), .inner = draw(&random, 5)};
        c.n = 1 + draw(&random, round % 10 == 0 ? 700 : 12);
        c.rows = 1 + draw(&random, 3);
        c.count = c.rows * draw(&random, 12);
        for (int64_t k = 0; k < c.count; k++)
            c.places[k] = draw(&random, c.n);
        gradcheck_t check = check_of(&c, round % GRADCHECK_NUM_LAYOUTS);
        check.name = "take";
        check.run = run_take;
        gradcheck(&check);
    }
}
END_TEST

START_TEST(test_other_types)
{
    const int64_t values[] = {10, 20, 30, 40, 50, 60};
    const uint32_t list[] = {2, 0, 2};
    int64_t got[6];
    tlm_tensor_t *a, *indices, *y, *back, *scalar;
    OK(tlm_tensor_from_data(&a, TLM_INT64, values, (int64_t[]){2, 3}, 2));
    OK(tlm_tensor_from_data(&indices, TLM_UINT32, list, (int64_t[]){3}, 1));
    OK(tlm_take(&y, a, 1, indices));
    OK(tlm_tensor_copy_out(got, 6, y));
    ck_assert_mem_eq(got, ((int64_t[]){30, 10, 30, 60, 40, 60}), sizeof(got));
    OK(tlm_slice_step(&back, a, 1, 2, -1, 3));
    OK(tlm_tensor_copy_out(got, 6, back));
    ck_assert_mem_eq(got, ((int64_t[]){30, 20, 10, 60, 50, 40}), sizeof(got));
    tlm_tensor_free(y);
    tlm_tensor_free(indices);
    /* An index without dimensions takes the dimension away. */
    OK(tlm_tensor_from_data(&scalar, TLM_INT32, &(int32_t){-1}, NULL, 0));
    OK(tlm_take(&y, a, 0, scalar));
    ck_assert_int_eq(tlm_tensor_ndim(y), 1);
    OK(tlm_tensor_copy_out(got, 3, y));
    ck_assert_mem_eq(got, ((int64_t[]){40, 50, 60}), 3 * sizeof(*got));
    tlm_tensor_free(a);
    tlm_tensor_free(y);
    tlm_tensor_free(back);
    tlm_tensor_free(scalar);
}
END_TEST

START_TEST(test_refusals)
{
    static const struct {
        int64_t start, step, count;
        tlm_status_t status;
    } rows[] = {
        {0, 0, 1, TLM_ERR_INVALID_ARGUMENT},
        {0, 1, 4, TLM_ERR_RANGE},
        {0, 1, -1, TLM_ERR_RANGE},
        {-1, 1, 1, TLM_ERR_RANGE},
        {3, 1, 1, TLM_ERR_RANGE},
        {0, -1, 2, TLM_ERR_RANGE},
        {2, INT64_MAX, 2, TLM_ERR_RANGE},
        {2, INT64_MIN, 2, TLM_ERR_RANGE},
        {0, INT64_MAX, INT64_MAX, TLM_ERR_RANGE},
        {2, -1, INT64_MAX, TLM_ERR_RANGE},
    };
    tlm_tensor_t *a, *y = NULL, *indices, *many;
    const int64_t outside[] = {0, 3}, ones[] = {1, 1, 1, 1, 1, 1, 1, 1};
    OK(tlm_tensor_create(&a, TLM_FLOAT32, (int64_t[]){2, 3}, 2));
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        ck_assert_int_eq(tlm_slice_step(&y, a, 1, rows[i].start, rows[i].step, rows[i].count),
                         rows[i].status);
    ck_assert_int_eq(tlm_slice_step(&y, a, 2, 0, 1, 1), TLM_ERR_SHAPE);
    OK(tlm_slice_step(&y, a, 1, 99, INT64_MIN, 0)); /* of nothing */
    ck_assert_int_eq(tlm_tensor_numel(y), 0);
    tlm_tensor_free(y);
    y = NULL;
    OK(tlm_tensor_from_data(&indices, TLM_INT64, outside, (int64_t[]){2}, 1));
    ck_assert_int_eq(tlm_take(&y, a, 1, indices), TLM_ERR_RANGE);
    ck_assert_str_eq(tlm_error_message(),
                     "take: index 3 at position 1 is not within dimension 1 of (2, 3)");
    OK(tlm_tensor_create(&many, TLM_INT32, ones, 8));
    ck_assert_int_eq(tlm_take(&y, a, 0, many), TLM_ERR_SHAPE);
    ck_assert_int_eq(tlm_take(&y, a, 0, a), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_take(&y, a, 0, NULL), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_null(y);
    tlm_tensor_free(a);
    tlm_tensor_free(indices);
    tlm_tensor_free(many);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("indexing");
    TCase *tcase = tcase_create("indexing");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_slice_step);
    tcase_add_test(tcase, test_take);
    tcase_add_test(tcase, test_other_types);
    tcase_add_test(tcase, test_refusals);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
