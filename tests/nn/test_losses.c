/* Cross-entropy, alone and fused with the linear layer before it, against float64. */
#include "gradcheck.h"
#include "run_suite.h"

#include "nn/nn_core.h"

typedef struct loss_case {
    int64_t rows, classes, d;
    tlmi_loss_rules_t rules; /* the softcap is only for the fused form */
} loss_case_t;

#define PLAIN                                                                                      \
    {                                                                                              \
        0.0f, 0.0, 0.0                                                                             \
    }
static const loss_case_t cases[] = {
    {1, 1, 1, PLAIN},
    {1, 5, 3, PLAIN},
    {7, 33, 4, PLAIN},
    {600, 17, 5, PLAIN},
    {19, 1000, 8, PLAIN},
    {7, 33, 4, {.smoothing = 0.1}},
    {7, 33, 4, {.z_loss = 0.02}},
    {1, 1, 1, {.z_loss = 0.5, .smoothing = 0.5}},
    {600, 17, 5, {.z_loss = 0.01, .smoothing = 0.3}},
    {19, 1000, 8, {3.0f, 0.01, 0.2}},
};
#define NUM_CASES (int)(sizeof cases / sizeof *cases)

static int64_t target_of(const loss_case_t *c, int64_t i)
{
    return (i * 7 + 3) % c->classes;
}

static tlm_status_t make_targets(tlm_tensor_t **out, const loss_case_t *c)
{
    int64_t list[1024];
    for (int64_t i = 0; i < c->rows; i++)
        list[i] = target_of(c, i);
    return tlm_tensor_from_data(out, TLM_INT64, list, &c->rows, 1);
}

static double cap(double z, double softcap)
{
    return softcap == 0.0 ? z : softcap * tanh(z / softcap);
}

static double row_loss(const double *logits, int64_t n, int64_t target,
                       const tlmi_loss_rules_t *rules)
{
    double max = -INFINITY, sum = 0, mean = 0;
    double *z = malloc((size_t)n * sizeof *z);
    for (int64_t j = 0; j < n; j++) {
        z[j] = cap(logits[j], (double)rules->softcap);
        max = fmax(max, z[j]);
        mean += z[j] / (double)n;
    }
    for (int64_t j = 0; j < n; j++)
        sum += exp(z[j] - max);
    const double lse = log(sum) + max;
    const double loss = lse - (1.0 - rules->smoothing) * z[target] - rules->smoothing * mean;
    free(z);
    return loss + rules->z_loss * lse * lse;
}

/* On given logits there is no softcap. */
static tlmi_loss_rules_t uncapped(const loss_case_t *c)
{
    tlmi_loss_rules_t rules = c->rules;
    rules.softcap = 0.0f;
    return rules;
}

static tlm_status_t run_loss(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    tlm_tensor_t *targets;
    const tlmi_loss_rules_t rules = uncapped(user);
    const bool plain = rules.z_loss == 0.0 && rules.smoothing == 0.0;
    tlm_status_t status = make_targets(&targets, user);
    if (status == TLM_OK) {
        status = plain ? tlm_cross_entropy(out, in[0], targets)
                       : tlmi_cross_entropy(out, in[0], targets, true, &rules);
        tlm_tensor_free(targets);
    }
    return status;
}

static void reference_loss(double *out, const double *const *in, void *user)
{
    const loss_case_t *c = user;
    const tlmi_loss_rules_t rules = uncapped(c);
    *out = 0;
    for (int64_t i = 0; i < c->rows; i++)
        *out +=
            row_loss(in[0] + i * c->classes, c->classes, target_of(c, i), &rules) / (double)c->rows;
}

static tlm_status_t run_fused(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    tlm_tensor_t *targets;
    tlm_status_t status = make_targets(&targets, user);
    if (status == TLM_OK) {
        status = tlmi_linear_cross_entropy(out, in[0], in[1], targets,
                                           &((const loss_case_t *)user)->rules);
        tlm_tensor_free(targets);
    }
    return status;
}

static void reference_fused(double *out, const double *const *in, void *user)
{
    const loss_case_t *c = user;
    double *z = malloc((size_t)c->classes * sizeof *z);
    *out = 0;
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t j = 0; j < c->classes; j++) {
            z[j] = 0;
            for (int64_t k = 0; k < c->d; k++)
                z[j] += in[0][i * c->d + k] * in[1][j * c->d + k];
        }
        *out += row_loss(z, c->classes, target_of(c, i), &c->rules) / (double)c->rows;
    }
    free(z);
}

START_TEST(test_cross_entropy)
{
    const loss_case_t *c = &cases[_i];
    gradcheck_t check = {
        .name = "cross_entropy",
        .run = run_loss,
        .reference = reference_loss,
        .user = (void *)(uintptr_t)c,
        .num_inputs = 1,
        .max_elements = 60,
        .inputs = {{.shape = {c->rows, c->classes}, .ndim = 2, .low = -5, .high = 5}}};
    gradcheck(&check);
    check.inputs[0].layout = GRADCHECK_TRANSPOSED;
    gradcheck(&check);
}
END_TEST

START_TEST(test_fused)
{
    const loss_case_t *c = &cases[_i];
    gradcheck_t check = {
        .name = "linear_cross_entropy",
        .run = run_fused,
        .reference = reference_fused,
        .user = (void *)(uintptr_t)c,
        .num_inputs = 2,
        .max_elements = 40,
        .inputs = {{.shape = {c->rows, c->d}, .ndim = 2, .low = -2, .high = 2},
                   {.shape = {c->classes, c->d}, .ndim = 2, .low = -2, .high = 2}}};
    gradcheck(&check);
    check.inputs[0].constant = true;
    gradcheck(&check);
}
END_TEST

static tlm_status_t loss_of(float *out, const float *logits, const uint32_t *targets, int64_t rows,
                            int64_t classes)
{
    const int64_t shape[] = {rows, classes};
    tlm_tensor_t *z = NULL, *t = NULL, *loss = NULL;
    tlm_status_t status = tlm_tensor_from_data(&z, TLM_FLOAT32, logits, shape, 2);
    if (status == TLM_OK)
        status = tlm_tensor_from_data(&t, TLM_UINT32, targets, shape, 1);
    if (status == TLM_OK)
        status = tlm_cross_entropy(&loss, z, t);
    if (status == TLM_OK)
        status = tlm_tensor_item(out, loss);
    tlm_tensor_free(z);
    tlm_tensor_free(t);
    tlm_tensor_free(loss);
    return status;
}

START_TEST(test_extremes)
{
    const float huge[] = {1e4f, -1e4f, 0, -1e4f, 1e4f, 0};
    const float nan_row[] = {1, NAN, 0};
    const uint32_t good[] = {0, 0}, bad[] = {0, 3};
    float loss = -1;
    ck_assert_int_eq(loss_of(&loss, huge, good, 2, 3), TLM_OK);
    ck_assert_msg(fabsf(loss - 1e4f) < 1e-2f, "loss %g", (double)loss);
    ck_assert_int_eq(loss_of(&loss, nan_row, good, 1, 3), TLM_OK);
    ck_assert(isnan(loss));
    loss = -1;
    ck_assert_int_eq(loss_of(&loss, huge, bad, 2, 3), TLM_ERR_RANGE);
    ck_assert_ptr_nonnull(
        strstr(tlm_error_message(), "target 3 at position 1 is not one of 3 classes"));
    ck_assert_int_eq(loss_of(&loss, huge, good, 0, 3), TLM_ERR_SHAPE);
    ck_assert(loss == -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("losses");
    TCase *tests = tcase_create("losses");
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, test_cross_entropy, 0, NUM_CASES);
    tcase_add_loop_test(tests, test_fused, 0, NUM_CASES);
    tcase_add_test(tests, test_extremes);
    return run_suite(suite, CK_NOFORK);
}
