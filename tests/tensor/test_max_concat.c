/* max and concat against float64 references, with gradients. */
#include "gradcheck.h"
#include "run_suite.h"

/* ---- max -------------------------------------------------------------------------------- */

typedef struct max_user {
    int64_t outer, n, inner;
    int32_t dim;
    bool keep;
} max_user_t;

static tlm_status_t run_max(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const max_user_t *u = user;
    return tlm_max_dim(out, NULL, inputs[0], u->dim, u->keep);
}

static void reference_max(double *out, const double *const *inputs, void *user)
{
    const max_user_t *u = user;
    for (int64_t o = 0; o < u->outer; o++)
        for (int64_t i = 0; i < u->inner; i++) {
            double best = -INFINITY;
            for (int64_t k = 0; k < u->n; k++)
                best = fmax(best, inputs[0][(o * u->n + k) * u->inner + i]);
            out[o * u->inner + i] = best;
        }
}

START_TEST(test_max)
{
    static const max_user_t cases[] = {{1, 1, 1, 0, false},    {1, 7, 5, 0, false},
                                       {3, 5, 1, -1, true},    {3, 4, 5, 1, true},
                                       {2, 300, 70, 1, false}, {600, 3, 1, 1, false}};
    for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++)
        for (int layout = 0; layout < GRADCHECK_NUM_LAYOUTS; layout++) {
            max_user_t user = cases[c];
            gradcheck_t check = {.name = "max_dim",
                                 .run = run_max,
                                 .reference = reference_max,
                                 .user = &user,
                                 .num_inputs = 1,
                                 .max_elements = 100};
            gradcheck_input_t *in = &check.inputs[0];
            in->layout = (gradcheck_layout_t)layout;
            if (user.dim != 0)
                in->shape[in->ndim++] = user.outer;
            in->shape[in->ndim++] = user.n;
            if (user.inner > 1 || in->ndim == 1)
                in->shape[in->ndim++] = user.inner;
            gradcheck(&check);
        }
}
END_TEST

START_TEST(test_max_places)
{
    const float values[] = {1, 3, 3, 2, /**/ -1, NAN, 5, NAN, /**/ -INFINITY, -INFINITY, -7, -7};
    tlm_tensor_t *a, *y, *places;
    ck_assert_int_eq(tlm_tensor_from_data(&a, TLM_FLOAT32, values, (int64_t[]){3, 4}, 2), TLM_OK);
    ck_assert_int_eq(tlm_max_dim(&y, &places, a, -1, false), TLM_OK);
    ck_assert_int_eq(tlm_tensor_dtype(places), TLM_INT64);
    const int64_t *index = tlm_tensor_data(places);
    const float *max = tlm_tensor_data(y);
    ck_assert(index[0] == 1 && max[0] == 3);
    ck_assert(index[1] == 1 && isnan(max[1]));
    ck_assert(index[2] == 2 && max[2] == -7);
    tlm_tensor_free(a);
    tlm_tensor_free(y);
    tlm_tensor_free(places);
}
END_TEST

/* ---- concat ----------------------------------------------------------------------------- */

typedef struct concat_user {
    int32_t dim, num, ndim;
    int64_t sizes[5];
    int64_t outer, inner;
    bool same; /* one tensor, three times */
} concat_user_t;

static tlm_status_t run_concat(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const concat_user_t *u = user;
    tlm_tensor_t *thrice[] = {inputs[0], inputs[0], inputs[0]};
    return u->same ? tlm_concat(out, thrice, 3, u->dim)
                   : tlm_concat(out, inputs, (size_t)u->num, u->dim);
}

static void reference_concat(double *out, const double *const *inputs, void *user)
{
    const concat_user_t *u = user;
    for (int64_t o = 0; o < u->outer; o++)
        for (int i = 0; i < (u->same ? 3 : u->num); i++) {
            int k = u->same ? 0 : i;
            int64_t n = u->sizes[k] * u->inner;
            memcpy(out, inputs[k] + o * n, (size_t)n * sizeof(double));
            out += n;
        }
}

START_TEST(test_concat)
{
    static const concat_user_t cases[] = {
        {0, 1, 1, {5}, 1, 1, false},
        {0, 3, 1, {2, 0, 3}, 1, 1, false},
        {-1, 2, 2, {2, 3}, 4, 1, false},
        {0, 3, 2, {2, 1, 3}, 1, 7, false},
        {1, 5, 3, {1, 2, 3, 4, 5}, 3, 6, false},
        {-1, 1, 2, {4}, 3, 1, true},
        {0, 1, 2, {4}, 1, 3, true},
        {1, 2, 3, {2, 3}, 0, 6, false},
        {1, 2, 3, {0, 0}, 2, 6, false},
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++)
        for (int layout = 0; layout < GRADCHECK_NUM_LAYOUTS; layout++) {
            concat_user_t user = cases[c];
            gradcheck_t check = {.name = "concat",
                                 .run = run_concat,
                                 .reference = reference_concat,
                                 .user = &user,
                                 .num_inputs = user.num};
            for (int i = 0; i < user.num; i++) {
                gradcheck_input_t *in = &check.inputs[i];
                int32_t dim = user.dim < 0 ? user.dim + user.ndim : user.dim;
                in->layout = (gradcheck_layout_t)((layout + i) % GRADCHECK_NUM_LAYOUTS);
                in->ndim = user.ndim;
                for (int32_t d = 0; d < user.ndim; d++)
                    in->shape[d] = d < dim ? user.outer : d == dim ? user.sizes[i] : user.inner;
                in->constant = user.num > 2 && i == 1;
            }
            gradcheck(&check);
        }
}
END_TEST

START_TEST(test_concat_integers)
{
    const int64_t values[] = {1, 2, 3, 4, 5, 6};
    tlm_tensor_t *a, *turned, *y;
    int64_t got[12];
    ck_assert_int_eq(tlm_tensor_from_data(&a, TLM_INT64, values, (int64_t[]){2, 3}, 2), TLM_OK);
    ck_assert_int_eq(tlm_transpose(&turned, a, 0, 1), TLM_OK);
    ck_assert_int_eq(tlm_concat(&y, (tlm_tensor_t *[]){turned, turned}, 2, 1), TLM_OK);
    ck_assert_int_eq(tlm_tensor_copy_out(got, 12, y), TLM_OK);
    const int64_t want[] = {1, 4, 1, 4, 2, 5, 2, 5, 3, 6, 3, 6};
    ck_assert_mem_eq(got, want, sizeof(want));
    tlm_tensor_free(a);
    tlm_tensor_free(turned);
    tlm_tensor_free(y);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("max_concat");
    TCase *tcase = tcase_create("float64");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_max);
    tcase_add_test(tcase, test_max_places);
    tcase_add_test(tcase, test_concat);
    tcase_add_test(tcase, test_concat_integers);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
