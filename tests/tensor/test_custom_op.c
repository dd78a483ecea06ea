/* Ops from outside the library: gradients, ownership, and every way a callback may go wrong. */
#include "gradcheck.h"
#include "run_suite.h"

#include "tinylm/custom_op.h"
#include "tinylm/runtime.h"

#define OK(call) ck_assert_msg((call) == TLM_OK, "%s: %s", #call, tlm_error_message())
#define FAILS(code, text, call)                                                                    \
    do {                                                                                           \
        ck_assert_int_eq(call, code);                                                              \
        ck_assert_str_eq(tlm_error_message(), text);                                               \
    } while (0)

static int released;

static void count_release(void *user)
{
    (void)user;
    released++;
}

/* ---- softplus(a) * b by hand: two inputs, one saved tensor ------------------------------ */

static tlm_tensor_t *like(const tlm_tensor_t *tensor, int32_t dtype)
{
    tlm_tensor_t *made;
    OK(tlm_tensor_create(&made, dtype, tlm_tensor_shape(tensor), tlm_tensor_ndim(tensor)));
    return made;
}

/* Reads its inputs where they lie, by strides. */
static float at(const tlm_tensor_t *tensor, int64_t index)
{
    const float *data = tlm_tensor_data(tensor);
    int64_t offset = 0;
    for (int32_t d = tlm_tensor_ndim(tensor) - 1; d >= 0; d--) {
        offset += index % tlm_tensor_shape(tensor)[d] * tlm_tensor_strides(tensor)[d];
        index /= tlm_tensor_shape(tensor)[d];
    }
    return data[offset];
}

static tlm_status_t softplus_backward(void *user, tlm_tensor_t **grads, tlm_tensor_t *grad_out,
                                      tlm_tensor_t *const *inputs, size_t num_inputs,
                                      tlm_tensor_t *const *saved, size_t num_saved)
{
    ck_assert_uint_eq(num_inputs, 2);
    ck_assert_uint_eq(num_saved, 1);
    ck_assert_ptr_eq(user, &released);
    ck_assert(!tlm_grad_enabled());
    ck_assert_ptr_null(grads[0]);
    const float *dy = tlm_tensor_data(grad_out), *softplus = tlm_tensor_data(saved[0]);
    for (int k = 0; k < 2; k++) {
        if (!tlm_tensor_requires_grad(inputs[k]))
            continue;
        grads[k] = like(grad_out, TLM_FLOAT32);
        float *dx = tlm_tensor_data(grads[k]);
        for (int64_t i = 0; i < tlm_tensor_numel(grad_out); i++)
            dx[i] =
                dy[i] * (k == 1 ? softplus[i] : at(inputs[1], i) / (1 + expf(-at(inputs[0], i))));
    }
    return TLM_OK;
}

static tlm_status_t run_softplus(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    tlm_custom_op_options_t options = TLM_CUSTOM_OP_OPTIONS_INIT;
    tlm_tensor_t *result = like(inputs[0], TLM_FLOAT32), *softplus = like(inputs[0], TLM_FLOAT32);
    float *y = tlm_tensor_data(result), *s = tlm_tensor_data(softplus);
    for (int64_t i = 0; i < tlm_tensor_numel(result); i++) {
        s[i] = log1pf(expf(at(inputs[0], i)));
        y[i] = s[i] * at(inputs[1], i);
    }
    options.name = "softplus_mul";
    options.backward = softplus_backward;
    options.release = count_release;
    options.user = &released;
    tlm_status_t status = tlm_custom_op_record(out, result, inputs, 2, &softplus, 1, &options);
    tlm_tensor_free(result);
    tlm_tensor_free(softplus);
    return status;
}

static void reference_softplus(double *out, const double *const *inputs, void *user)
{
    for (int64_t i = 0; i < *(const int64_t *)user; i++)
        out[i] = log1p(exp(inputs[0][i])) * inputs[1][i];
}

START_TEST(test_gradients)
{
    static const int64_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {2, 0, 3}, {1, 40, 50}};
    int runs = 0;
    released = 0;
    for (int s = 0; s < 4; s++)
        for (int layout = 0; layout < GRADCHECK_NUM_LAYOUTS; layout++)
            for (int constant = 0; constant < 4; constant++) {
                int64_t n = shapes[s][0] * shapes[s][1] * shapes[s][2];
                gradcheck_t check = {.name = "softplus_mul",
                                     .run = run_softplus,
                                     .reference = reference_softplus,
                                     .user = &n,
                                     .num_inputs = 2,
                                     .max_elements = 50};
                for (int i = 0; i < 2; i++) {
                    memcpy(check.inputs[i].shape, shapes[s], sizeof(shapes[s]));
                    check.inputs[i].ndim = 3;
                    check.inputs[i].layout =
                        (gradcheck_layout_t)((layout + i) % GRADCHECK_NUM_LAYOUTS);
                    check.inputs[i].constant = (constant >> i & 1) != 0;
                }
                gradcheck(&check);
                ck_assert_int_eq(released, ++runs); /* recorded or not: once each */
            }
}
END_TEST

/* ---- One op whose callback does as it is told ------------------------------------------- */

typedef struct script {
    tlm_status_t status;
    tlm_tensor_t *grads[3]; /* given out, one reference each */
    bool give_grad_out;     /* for every input */
    bool fail_inside;       /* in a call of the library */
    int calls;
} script_t;

static tlm_status_t act(void *user, tlm_tensor_t **grads, tlm_tensor_t *grad_out,
                        tlm_tensor_t *const *inputs, size_t num_inputs, tlm_tensor_t *const *saved,
                        size_t num_saved)
{
    script_t *script = user;
    tlm_tensor_t *none = NULL;
    script->calls++;
    for (size_t i = 0; i < num_inputs; i++)
        grads[i] = tlm_tensor_retain(script->give_grad_out ? grad_out : script->grads[i]);
    if (script->fail_inside)
        return tlm_matmul(&none, inputs[0], inputs[0]);
    return script->status;
}

static tlm_tensor_t *leaf(int64_t n, float value)
{
    tlm_tensor_t *tensor;
    OK(tlm_tensor_create(&tensor, TLM_FLOAT32, &n, 1));
    for (int64_t i = 0; i < n; i++)
        ((float *)tlm_tensor_data(tensor))[i] = value;
    OK(tlm_tensor_set_requires_grad(tensor, true));
    return tensor;
}

static float first(const tlm_tensor_t *tensor)
{
    ck_assert_ptr_nonnull(tensor);
    return *(const float *)tlm_tensor_data(tensor);
}

/* The op "scripted" of inputs over `result`, then backward. */
static tlm_status_t backward(script_t *script, tlm_tensor_t *result, tlm_tensor_t *const *inputs,
                             size_t n)
{
    tlm_custom_op_options_t options = {sizeof(options), "scripted", act, count_release, script};
    tlm_tensor_t *y, *loss;
    int before = released;
    OK(tlm_custom_op_record(&y, result, inputs, n, NULL, 0, &options));
    ck_assert_ptr_eq(tlm_tensor_data(y), tlm_tensor_data(result));
    ck_assert_ptr_ne(y, result);
    OK(tlm_sum(&loss, y));
    tlm_tensor_free(y);
    tlm_status_t status = tlm_tensor_backward(loss, NULL);
    ck_assert_int_eq(released, before + 1);
    ck_assert(tlm_grad_enabled());
    tlm_tensor_free(loss);
    return status;
}

/* grad_out itself for three inputs, two of them one tensor: shared inside, never between leaves. */
START_TEST(test_passes_through)
{
    script_t script = {.give_grad_out = true};
    tlm_tensor_t *a = leaf(4, 1), *b = leaf(4, 2), *result = leaf(4, 5);
    OK(backward(&script, result, (tlm_tensor_t *[]){a, b, a}, 3));
    ck_assert(first(tlm_tensor_grad(a)) == 2 && first(tlm_tensor_grad(b)) == 1);
    ck_assert_ptr_ne(tlm_tensor_data(tlm_tensor_grad(a)), tlm_tensor_data(tlm_tensor_grad(b)));
    ck_assert_ptr_null(tlm_tensor_grad(result)); /* only its memory is used */
    OK(backward(&script, result, (tlm_tensor_t *[]){a}, 1));
    ck_assert(first(tlm_tensor_grad(a)) == 3);
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    tlm_tensor_free(result);
}
END_TEST

/* NULL is a gradient of 0; what is given for an input that wants none is dropped. */
START_TEST(test_missing_and_spare)
{
    tlm_tensor_t *a = leaf(3, 1), *plain = leaf(3, 1), *spare = leaf(7, 1);
    script_t script = {.grads = {NULL, spare}};
    OK(tlm_tensor_set_requires_grad(plain, false));
    OK(backward(&script, a, (tlm_tensor_t *[]){a, plain}, 2));
    ck_assert_ptr_null(tlm_tensor_grad(a));
    ck_assert_int_eq(script.calls, 1);
    tlm_tensor_free(a);
    tlm_tensor_free(plain);
    tlm_tensor_free(spare);
}
END_TEST

/* A gradient in the caller's memory, in a view, or itself part of a graph is copied. */
START_TEST(test_gradients_are_plain)
{
    float memory[] = {1, 2, 3, 4, 5, 6};
    for (int kind = 0; kind < 3; kind++) {
        tlm_tensor_t *a, *given, *wide;
        OK(tlm_tensor_create(&a, TLM_FLOAT32, (int64_t[]){3, 2}, 2));
        OK(tlm_tensor_set_requires_grad(a, true));
        if (kind == 0) {
            OK(tlm_tensor_wrap(&given, TLM_FLOAT32, memory, (int64_t[]){3, 2}, NULL, 2, NULL,
                               NULL));
        } else {
            OK(tlm_tensor_from_data(&wide, TLM_FLOAT32, memory, (int64_t[]){2, 3}, 2));
            if (kind == 2)
                OK(tlm_tensor_set_requires_grad(wide, true));
            OK(tlm_transpose(&given, wide, 0, 1));
            tlm_tensor_free(wide);
        }
        script_t script = {.grads = {given}};
        OK(backward(&script, a, &a, 1));
        tlm_tensor_t *grad = tlm_tensor_grad(a);
        const float *g = tlm_tensor_data(grad);
        ck_assert_ptr_ne(g, memory);
        ck_assert(!tlm_tensor_requires_grad(grad));
        ck_assert(g[0] == 1 && g[1] == (kind == 0 ? 2 : 4) && g[5] == 6);
        tlm_tensor_free(given);
        tlm_tensor_free(a);
    }
}
END_TEST

START_TEST(test_callback_failures)
{
    static const struct {
        script_t script;
        tlm_status_t status;
        const char *message;
    } cases[] = {
        {{.status = TLM_ERR_NON_FINITE},
         TLM_ERR_NON_FINITE,
         "scripted: backward returned -11, TLM_ERR_NON_FINITE"},
        {{.status = 7}, TLM_ERR_CANCELLED, "scripted: backward returned 7, TLM_ERR_UNKNOWN"},
        {{.status = -99}, TLM_ERR_CANCELLED, "scripted: backward returned -99, TLM_ERR_UNKNOWN"},
        {{.fail_inside = true},
         TLM_ERR_SHAPE,
         "scripted: backward returned -2, TLM_ERR_SHAPE: matmul: (3) and (3) need two dimensions"},
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
        tlm_tensor_t *a = leaf(3, 1);
        script_t script = cases[c].script;
        script.grads[0] = a; /* taken over all the same */
        ck_assert_int_eq(backward(&script, a, &a, 1), cases[c].status);
        if (!cases[c].script.fail_inside)
            ck_assert_str_eq(tlm_error_message(), cases[c].message);
        else
            ck_assert_ptr_nonnull(strstr(
                tlm_error_message(), "scripted: backward returned -2, TLM_ERR_SHAPE: matmul: "));
        ck_assert_ptr_null(tlm_tensor_grad(a));
        tlm_tensor_free(a);
    }
}
END_TEST

/* Every status that status.h lists is passed on as it is. */
START_TEST(test_callback_statuses)
{
    static const tlm_status_t statuses[] = {
#define CODE(name, code, text) code,
        TLM_STATUS_LIST(CODE)
#undef CODE
    };
    for (size_t i = 1; i < sizeof(statuses) / sizeof(*statuses); i++) {
        tlm_tensor_t *a = leaf(3, 1);
        script_t script = {.status = statuses[i]};
        ck_assert_int_eq(backward(&script, a, &a, 1), statuses[i]);
        ck_assert_ptr_nonnull(strstr(tlm_error_message(), tlm_status_name(statuses[i])));
        tlm_tensor_free(a);
    }
}
END_TEST

START_TEST(test_unfit_gradients)
{
    tlm_tensor_t *a = leaf(3, 1), *other = leaf(4, 1), *ids;
    OK(tlm_tensor_create(&ids, TLM_INT32, (int64_t[]){3}, 1));
    script_t script = {.grads = {other}};
    FAILS(TLM_ERR_SHAPE, "scripted: gradient (4) for input 0 of shape (3)",
          backward(&script, a, &a, 1));
    script.grads[0] = ids;
    FAILS(TLM_ERR_INVALID_ARGUMENT, "scripted: a gradient has type int32, not float32",
          backward(&script, a, &a, 1));
    ck_assert_ptr_null(tlm_tensor_grad(a));
    tlm_tensor_free(a);
    tlm_tensor_free(other);
    tlm_tensor_free(ids);
}
END_TEST

/* ---- Recording -------------------------------------------------------------------------- */

START_TEST(test_refusals)
{
    tlm_tensor_t *a = leaf(3, 1), *ids, *out = NULL;
    script_t script = {0};
    tlm_custom_op_options_t options;
    OK(tlm_tensor_create(&ids, TLM_INT32, (int64_t[]){3}, 1));
    options = (tlm_custom_op_options_t)TLM_CUSTOM_OP_OPTIONS_INIT;
    released = 0;
    FAILS(TLM_ERR_INVALID_ARGUMENT, "custom_op_record: options->backward is NULL",
          tlm_custom_op_record(&out, a, &a, 1, NULL, 0, &options));
    options = (tlm_custom_op_options_t){sizeof(options), "x", act, count_release, &script};
    FAILS(TLM_ERR_INVALID_ARGUMENT, "custom_op_record: out is NULL",
          tlm_custom_op_record(NULL, a, &a, 1, NULL, 0, &options));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "custom_op_record: result is NULL",
          tlm_custom_op_record(&out, NULL, &a, 1, NULL, 0, &options));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "custom_op_record: options is NULL",
          tlm_custom_op_record(&out, a, &a, 1, NULL, 0, NULL));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "custom_op_record: result has type int32, not float32",
          tlm_custom_op_record(&out, ids, &a, 1, NULL, 0, &options));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "custom_op_record: inputs is NULL",
          tlm_custom_op_record(&out, a, NULL, 1, NULL, 0, &options));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "custom_op_record: inputs[1] is NULL",
          tlm_custom_op_record(&out, a, (tlm_tensor_t *[]){a, NULL}, 2, NULL, 0, &options));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "custom_op_record: saved[0] is NULL",
          tlm_custom_op_record(&out, a, &a, 1, (tlm_tensor_t *[]){NULL}, 1, &options));
    FAILS(TLM_ERR_RANGE,
          "custom_op_record: 2147483648 inputs are too many; the limit is 2147483647",
          tlm_custom_op_record(&out, a, &a, (size_t)INT32_MAX + 1, NULL, 0, &options));
    options.size = 3;
    ck_assert_int_eq(tlm_custom_op_record(&out, a, &a, 1, NULL, 0, &options),
                     TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_null(out);
    ck_assert_int_eq(released, 0);
    tlm_tensor_free(a);
    tlm_tensor_free(ids);
}
END_TEST

/* Integer inputs, ten inputs, no inputs, recording off, and a graph that is never walked. */
START_TEST(test_recording)
{
    script_t script = {.give_grad_out = true};
    tlm_custom_op_options_t options = {sizeof(options), NULL, act, count_release, &script};
    tlm_tensor_t *a = leaf(3, 1), *ids, *y, *many[10], *loss;
    OK(tlm_tensor_create(&ids, TLM_INT64, (int64_t[]){3}, 1));
    released = 0;
    OK(tlm_custom_op_record(&y, a, NULL, 0, NULL, 0, &options));
    ck_assert(!tlm_tensor_requires_grad(y));
    ck_assert_int_eq(released, 1);
    tlm_tensor_free(y);
    tlm_set_grad_enabled(false);
    OK(tlm_custom_op_record(&y, a, &a, 1, &ids, 1, &options));
    tlm_set_grad_enabled(true);
    ck_assert(!tlm_tensor_requires_grad(y));
    ck_assert_int_eq(released, 2);
    tlm_tensor_free(y);
    OK(tlm_custom_op_record(&y, a, &a, 1, (tlm_tensor_t *[]){ids, ids, a}, 3, &options));
    ck_assert_int_eq(released, 2);
    FAILS(TLM_ERR_STATE, "set_requires_grad: the tensor is the result of custom op, not a leaf",
          tlm_tensor_set_requires_grad(y, false));
    tlm_tensor_free(y);
    ck_assert_int_eq(released, 3);
    ck_assert_int_eq(script.calls, 0);
    for (int i = 0; i < 10; i++)
        many[i] = i == 4 ? ids : a;
    OK(tlm_custom_op_record(&y, a, many, 10, NULL, 0, &options));
    OK(tlm_sum(&loss, y));
    OK(tlm_tensor_backward(loss, NULL));
    ck_assert(first(tlm_tensor_grad(a)) == 9);
    ck_assert_int_eq(released, 4); /* at once after backward */
    tlm_tensor_free(y);
    tlm_tensor_free(loss);
    tlm_tensor_free(a);
    tlm_tensor_free(ids);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("custom_op");
    TCase *tcase = tcase_create("custom_op");
    tcase_add_test(tcase, test_gradients);
    tcase_add_test(tcase, test_passes_through);
    tcase_add_test(tcase, test_missing_and_spare);
    tcase_add_test(tcase, test_gradients_are_plain);
    tcase_add_test(tcase, test_callback_failures);
    tcase_add_test(tcase, test_callback_statuses);
    tcase_add_test(tcase, test_unfit_gradients);
    tcase_add_test(tcase, test_refusals);
    tcase_add_test(tcase, test_recording);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
