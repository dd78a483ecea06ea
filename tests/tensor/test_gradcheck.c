/* The checker itself: every test in here holds a faulty op, and must fail. */
#include "gradcheck.h"

#include "tinylm/custom_op.h"

/* A check that fails frees nothing; the leak sanitizer asks this before it looks. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

typedef enum fault {
    NO_FAULT,
    NAN_RESULT,
    INFINITE_RESULT,
    WRONG_RESULT,
    NAN_GRADIENT,
    INFINITE_GRADIENT,
    NEGATED_GRADIENT,
    SCALED_GRADIENT,
    LATE_GRADIENT, /* one element off */
    NO_GRADIENT,
    NAN_EVERYWHERE,
    NUM_FAULTS
} fault_t;

/* The square of x, with a fault in one element or in all. */
static tlm_status_t backward(void *user, tlm_tensor_t **grads, tlm_tensor_t *grad_out,
                             tlm_tensor_t *const *inputs, size_t num_inputs,
                             tlm_tensor_t *const *saved, size_t num_saved)
{
    fault_t fault = *(const fault_t *)user;
    if (fault == NO_GRADIENT)
        return TLM_OK;
    ck_assert_int_eq(tlm_tensor_create(&grads[0], TLM_FLOAT32, tlm_tensor_shape(inputs[0]), 1),
                     TLM_OK);
    float *dx = tlm_tensor_data(grads[0]);
    const float *x = tlm_tensor_data(inputs[0]), *dy = tlm_tensor_data(grad_out);
    int64_t n = tlm_tensor_numel(grad_out);
    for (int64_t i = 0; i < n; i++) {
        int64_t j = fault == LATE_GRADIENT ? (i + 1) % n : i;
        dx[i] = 2 * x[j] * dy[j];
        dx[i] *= fault == NEGATED_GRADIENT ? -1.0f : fault == SCALED_GRADIENT ? 1.01f : 1.0f;
    }
    if (fault == NAN_GRADIENT || fault == INFINITE_GRADIENT)
        dx[n / 2] = fault == NAN_GRADIENT ? NAN : -INFINITY;
    return TLM_OK;
}

static tlm_status_t run(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    fault_t fault = *(const fault_t *)user;
    tlm_custom_op_options_t options = {sizeof(options), "square", backward, NULL, user};
    tlm_tensor_t *result;
    tlm_status_t status = tlm_tensor_create(&result, TLM_FLOAT32, tlm_tensor_shape(inputs[0]), 1);
    if (status != TLM_OK)
        return status;
    const float *x = tlm_tensor_data(inputs[0]);
    float *y = tlm_tensor_data(result);
    int64_t n = tlm_tensor_numel(result);
    for (int64_t i = 0; i < n; i++)
        y[i] = fault == NAN_EVERYWHERE ? NAN : x[i] * x[i];
    if (fault == NAN_RESULT || fault == INFINITE_RESULT || fault == WRONG_RESULT)
        y[n - 1] = fault == NAN_RESULT        ? NAN
                   : fault == INFINITE_RESULT ? INFINITY
                                              : y[n - 1] + 0.1f;
    status = tlm_custom_op_record(out, result, inputs, 1, NULL, 0, &options);
    tlm_tensor_free(result);
    return status;
}

static void reference(double *out, const double *const *inputs, void *user)
{
    for (int i = 0; i < 11; i++)
        out[i] = inputs[0][i] * inputs[0][i];
}

START_TEST(test_fault)
{
    fault_t fault = (fault_t)_i;
    gradcheck_t check = {.name = "square",
                         .run = run,
                         .reference = reference,
                         .user = &fault,
                         .num_inputs = 1,
                         .inputs = {{.shape = {11}, .ndim = 1}}};
    gradcheck(&check);
}
END_TEST

static int failures(int first, int last)
{
    Suite *suite = suite_create("gradcheck");
    TCase *tcase = tcase_create("faults");
    tcase_add_loop_test(tcase, test_fault, first, last);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed;
}

int main(void)
{
    int sound = failures(NO_FAULT, NO_FAULT + 1);
    int caught = failures(NO_FAULT + 1, NUM_FAULTS);
    printf("%d of %d faults caught, %d false alarms\n", caught, NUM_FAULTS - 1, sound);
    return caught == NUM_FAULTS - 1 && sound == 0 ? 0 : 1;
}
