/* Tensors that are written to between forward and backward: for every op and each of its operands, the
 * gradients are right all the same or tlm_tensor_backward answers TLM_ERR_STATE and changes nothing;
 * they are never silently wrong. Writes that the library cannot see, through pointers, must at least
 * not lead it out of bounds (run under the address sanitizer). */
#include "run_suite.h"

#include <math.h>
#include <unistd.h>

#include "op_table.h"

enum { MAX_ELEMENTS = 512 };

typedef struct gradients {
    float values[MAX_OPERANDS][MAX_ELEMENTS];
} gradients_t;

static void read_gradients(gradients_t *out, tlm_tensor_t *const *in)
{
    memset(out, 0, sizeof(*out));
    for (int i = 0; i < MAX_OPERANDS && in[i] != NULL; i++) {
        const tlm_tensor_t *grad = tlm_tensor_grad(in[i]);
        ck_assert_int_eq(grad != NULL, tlm_tensor_requires_grad(in[i]));
        ck_assert_int_le(tlm_tensor_numel(in[i]), MAX_ELEMENTS);
        if (grad != NULL)
            OK(tlm_tensor_copy_out(out->values[i], (size_t)tlm_tensor_numel(grad), grad));
    }
}

/* Other values for all elements, as valid as the old ones. */
static void change(tlm_tensor_t *tensor)
{
    union {
        float floats[MAX_ELEMENTS];
        int64_t ids[MAX_ELEMENTS];
        uint8_t bools[MAX_ELEMENTS];
    } values;
    size_t n = (size_t)tlm_tensor_numel(tensor);
    ck_assert_uint_le(n, MAX_ELEMENTS);
    OK(tlm_tensor_copy_out(&values, n, tensor));
    for (size_t i = 0; i < n; i++) {
        if (tlm_tensor_dtype(tensor) == TLM_FLOAT32)
            values.floats[i] += 0.5f;
        else if (tlm_tensor_dtype(tensor) == TLM_INT64)
            values.ids[i] = 1 - values.ids[i];
        else
            values.bools[i] = !values.bools[i];
    }
    OK(tlm_tensor_copy_in(tensor, &values, n));
}

/* Expects that backward refuses and leaves no gradient behind, and says why. */
static void check_refused(const op_case_t *op, tlm_tensor_t *out, tlm_tensor_t *const *in)
{
    const char *text = tlm_error_message();
    ck_assert_msg(strncmp(text, "backward of ", 12) == 0 &&
                      strstr(text, "changed after the forward pass (version 1, saved at 0)") !=
                          NULL,
                  "%s: %s", describe(op, ""), text);
    for (int i = 0; i < MAX_OPERANDS && in[i] != NULL; i++)
        ck_assert_msg(tlm_tensor_grad(in[i]) == NULL, "%s: operand %d", describe(op, ""), i);
    /* The graph is still there, and refuses again. */
    ck_assert_int_eq(backward_ones(out), TLM_ERR_STATE);
}

/* Changes operand `changed` (MAX_OPERANDS: the result) between forward and backward. */
static void try_change(const op_case_t *op, int changed, bool strided, unsigned wants)
{
    tlm_tensor_t *in[MAX_OPERANDS], *out, *target;
    static gradients_t right, got;
    make_operands(in, op, "", strided, wants);
    OK(op->run(&out, in));
    bool graph = tlm_tensor_requires_grad(out);
    if (graph)
        OK(backward_ones(out));
    read_gradients(&right, in);
    tlm_tensor_free(out);
    free_operands(in);
    if (!graph)
        return;

    make_operands(in, op, "", strided, wants);
    OK(op->run(&out, in));
    OK(tlm_tensor_detach(&target, changed == MAX_OPERANDS ? out : in[changed]));
    change(target);
    tlm_status_t status = backward_ones(out);
    if (status == TLM_OK) {
        read_gradients(&got, in);
        for (int i = 0; i < MAX_OPERANDS; i++)
            ck_assert_msg(memcmp(got.values[i], right.values[i], sizeof(got.values[i])) == 0,
                          "%s: a change of operand %d made the gradient of operand %d wrong",
                          describe(op, ""), changed, i);
    } else {
        ck_assert_int_eq(status, TLM_ERR_STATE);
        check_refused(op, out, in);
    }
    /* Where all gradients are wanted, the table knows which. A view of the operand shares its count. */
    bool reads = strchr(op->reads, changed == MAX_OPERANDS ? 'r' : '0' + changed) != NULL;
    if (!strided && wants == ~0u)
        ck_assert_msg(reads == (status == TLM_ERR_STATE), "%s: operand %d: %s", describe(op, ""),
                      changed, status == TLM_OK ? "not noticed" : tlm_error_message());
    tlm_tensor_free(target);
    tlm_tensor_free(out);
    free_operands(in);
}

START_TEST(test_ops)
{
    const op_case_t *op = &op_cases[_i];
    for (int changed = 0; changed <= MAX_OPERANDS; changed++) {
        if (changed < MAX_OPERANDS && op->operands[changed] == NULL)
            continue;
        for (int strided = 0; strided < 2; strided++) {
            try_change(op, changed, strided, ~0u);
            for (int i = 0; i < MAX_OPERANDS && op->operands[i] != NULL; i++)
                try_change(op, changed, strided, 1u << i);
        }
    }
}
END_TEST

/* Garbage written through the pointer of an operand that is no float. */
START_TEST(test_raw_writes)
{
    const op_case_t *op = &op_cases[_i];
    for (int changed = 0; changed < MAX_OPERANDS && op->operands[changed] != NULL; changed++) {
        if (dimension_letters(op->operands[changed]) == op->operands[changed])
            continue;
        tlm_tensor_t *in[MAX_OPERANDS], *out;
        static gradients_t right, got;
        for (int garbage = 0; garbage < 2; garbage++) {
            make_operands(in, op, "", false, ~0u);
            OK(op->run(&out, in));
            if (garbage)
                memset(tlm_tensor_data(in[changed]), 0x7f,
                       (size_t)tlm_tensor_numel(in[changed]) *
                           tlm_dtype_size(tlm_tensor_dtype(in[changed])));
            OK(backward_ones(out));
            read_gradients(garbage ? &got : &right, in);
            tlm_tensor_free(out);
            if (garbage && tlm_tensor_dtype(in[changed]) == TLM_INT64)
                ck_assert_msg(memcmp(&right, &got, sizeof(got)) == 0,
                              "%s: the gradients follow operand %d", describe(op, ""), changed);
            free_operands(in);
        }
    }
}
END_TEST

/* ---- Who writes ------------------------------------------------------------------------- */

static tlm_tensor_t *x, *other; /* (3), require gradients */

static tlm_status_t write_copy_in(void)
{
    return tlm_tensor_copy_in(x, (float[]){1, 2, 3}, 3);
}

static tlm_status_t write_to_view(void)
{
    tlm_tensor_t *view = NULL, *part = NULL;
    bool former = tlm_set_grad_enabled(false);
    tlm_status_t status = tlm_reshape(&view, x, (int64_t[]){3, 1}, 2);
    if (status == TLM_OK)
        status = tlm_slice(&part, view, 0, 1, 2);
    tlm_set_grad_enabled(former);
    if (status == TLM_OK)
        status = tlm_tensor_copy_in(part, (float[]){5}, 1);
    tlm_tensor_free(view);
    tlm_tensor_free(part);
    return status;
}

static tlm_status_t write_init(void)
{
    return tlm_init_truncated_normal(x, 1, 3, 1, 0);
}

static tlm_status_t write_step(bool sgd)
{
    tlm_optimizer_t *optimizer = NULL;
    tlm_tensor_t *sum = NULL;
    tlm_status_t status = sgd ? tlm_optimizer_create_sgd(&optimizer, 1)
                              : tlm_optimizer_create_adamw(&optimizer, NULL);
    if (status == TLM_OK)
        status = tlm_optimizer_add_group(optimizer, &x, 1, NULL);
    if (status == TLM_OK)
        status = tlm_sum(&sum, x);
    if (status == TLM_OK)
        status = tlm_tensor_backward(sum, NULL);
    if (status == TLM_OK)
        status = tlm_optimizer_step(optimizer);
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(sum);
    return status;
}

static tlm_status_t write_sgd(void)
{
    return write_step(true);
}

static tlm_status_t write_adamw(void)
{
    return write_step(false);
}

/* x as each of the tensors that tlm_adamw_update writes. */
static tlm_status_t write_update(int place)
{
    tlm_tensor_t *spare[4] = {NULL};
    tlm_status_t status = TLM_OK;
    for (int i = 0; i < 4 && status == TLM_OK; i++)
        status =
            tlm_tensor_from_data(&spare[i], TLM_FLOAT32, (float[]){1, 2, 3}, (int64_t[]){3}, 1);
    tlm_tensor_t *args[4] = {spare[0], spare[1], spare[2], spare[3]};
    args[place] = x;
    if (status == TLM_OK)
        status = tlm_adamw_update(&args[0], &args[1], &args[2], &args[3], 1, 1, NULL);
    for (int i = 0; i < 4; i++)
        tlm_tensor_free(spare[i]);
    return status;
}

static tlm_status_t write_update_parameter(void)
{
    return write_update(0);
}

static tlm_status_t write_update_m(void)
{
    return write_update(1);
}

static tlm_status_t write_update_v(void)
{
    return write_update(2);
}

static tlm_status_t write_clip(void)
{
    return tlm_clip_norm(NULL, &x, 1, 0.01);
}

START_TEST(test_writers)
{
    static tlm_status_t (*const writers[])(void) = {
        write_copy_in,          write_to_view,  write_init,     write_sgd, write_adamw,
        write_update_parameter, write_update_m, write_update_v, write_clip};
    for (size_t i = 0; i < sizeof(writers) / sizeof(*writers); i++) {
        tlm_tensor_t *product, *sum;
        OK(tlm_tensor_from_data(&x, TLM_FLOAT32, (float[]){3, 4, 5}, (int64_t[]){3}, 1));
        OK(tlm_tensor_from_data(&other, TLM_FLOAT32, (float[]){6, 7, 8}, (int64_t[]){3}, 1));
        OK(tlm_tensor_set_requires_grad(x, true));
        OK(tlm_tensor_set_requires_grad(other, true));
        OK(tlm_mul(&product, other, x));
        OK(tlm_sum(&sum, product));
        OK(writers[i]());
        ck_assert_msg(tlm_tensor_backward(sum, NULL) == TLM_ERR_STATE, "writer %zu", i);
        ck_assert_str_eq(tlm_error_message(),
                         "backward of mul: its input b was changed after the forward pass "
                         "(version 1, saved at 0)");
        ck_assert_ptr_null(tlm_tensor_grad(other));
        /* The next forward pass reads the new values, and all is well. */
        tlm_tensor_free(product);
        tlm_tensor_free(sum);
        OK(tlm_mul(&product, other, x));
        OK(tlm_sum(&sum, product));
        OK(tlm_tensor_backward(sum, NULL));
        ck_assert_mem_eq(tlm_tensor_data(tlm_tensor_grad(other)), tlm_tensor_data(x), 12);
        tlm_tensor_free(product);
        tlm_tensor_free(sum);
        tlm_tensor_free(x);
        tlm_tensor_free(other);
    }
}
END_TEST

/* tlm_clip_grad_norm changes gradients, which may be inputs of ops as others are. */
START_TEST(test_clipped_gradient)
{
    tlm_tensor_t *sum, *product;
    OK(tlm_tensor_from_data(&x, TLM_FLOAT32, (float[]){3, 4, 5}, (int64_t[]){3}, 1));
    OK(tlm_tensor_set_requires_grad(x, true));
    OK(tlm_sum(&sum, x));
    OK(tlm_tensor_backward(sum, NULL));
    OK(tlm_mul(&product, x, tlm_tensor_grad(x)));
    OK(tlm_clip_grad_norm(NULL, &x, 1, 0.1));
    ck_assert_int_eq(backward_ones(product), TLM_ERR_STATE);
    tlm_tensor_free(product);
    tlm_tensor_free(sum);
    tlm_tensor_free(x);
}
END_TEST

/* ---- Custom ops ------------------------------------------------------------------------- */

static tlm_tensor_t *kept; /* what a callback has kept of what it was given or has given */

/* Keeps the gradient that it gives, or the one that it is given. */
static tlm_status_t pass_backward(void *user, tlm_tensor_t **grads, tlm_tensor_t *grad_out,
                                  tlm_tensor_t *const *inputs, size_t num_inputs,
                                  tlm_tensor_t *const *saved, size_t num_saved)
{
    (void)inputs, (void)num_inputs, (void)saved, (void)num_saved;
    const char *what = user;
    if (strcmp(what, "write grad_out") == 0) {
        change(grad_out);
        return TLM_OK;
    }
    if (strcmp(what, "write kept") == 0) {
        change(kept);
        grads[0] = tlm_tensor_retain(grad_out);
        return TLM_OK;
    }
    tlm_status_t status = tlm_scale(&grads[0], grad_out, 2);
    kept = tlm_tensor_retain(grads[0]);
    return status;
}

static void record_pass(tlm_tensor_t **out, tlm_tensor_t *in, const char *what)
{
    tlm_custom_op_options_t options = TLM_CUSTOM_OP_OPTIONS_INIT;
    options.name = what;
    options.backward = pass_backward;
    options.user = (void *)(uintptr_t)what;
    OK(tlm_custom_op_record(out, in, &in, 1, NULL, 0, &options));
}

/* A gradient that a callback has given is the graph's: what the callback does to its own reference
 * afterwards does not count. */
START_TEST(test_callback_keeps_gradient)
{
    tlm_tensor_t *first, *second, *sum, *y;
    OK(tlm_tensor_from_data(&x, TLM_FLOAT32, (float[]){3, 4, 5}, (int64_t[]){3}, 1));
    OK(tlm_tensor_set_requires_grad(x, true));
    OK(tlm_scale(&y, x, 1));
    record_pass(&first, y, "write kept");
    record_pass(&second, first, "give and keep");
    OK(tlm_sum(&sum, second));
    OK(tlm_tensor_backward(sum, NULL));
    for (int i = 0; i < 3; i++)
        ck_assert(((float *)tlm_tensor_data(tlm_tensor_grad(x)))[i] == 2);
    tlm_tensor_free(kept);
    tlm_tensor_free(y);
    tlm_tensor_free(first);
    tlm_tensor_free(second);
    tlm_tensor_free(sum);
    tlm_tensor_free(x);
}
END_TEST

START_TEST(test_callback_writes_grad_out)
{
    tlm_tensor_t *y, *z, *sum;
    OK(tlm_tensor_from_data(&x, TLM_FLOAT32, (float[]){3, 4, 5}, (int64_t[]){3}, 1));
    OK(tlm_tensor_set_requires_grad(x, true));
    record_pass(&y, x, "write grad_out");
    OK(tlm_add(&z, y, x)); /* shares its gradient with y and x */
    OK(tlm_sum(&sum, z));
    ck_assert_int_eq(tlm_tensor_backward(sum, NULL), TLM_ERR_STATE);
    ck_assert_str_eq(tlm_error_message(),
                     "write grad_out: backward wrote to grad_out, which others may share");
    tlm_tensor_free(y);
    tlm_tensor_free(z);
    tlm_tensor_free(sum);
    tlm_tensor_free(x);
}
END_TEST

/* ---- The model -------------------------------------------------------------------------- */

static const uint32_t ids[6] = {0, 3, 1, 2, 3, 0}, targets[6] = {3, 1, 2, 3, 0, 1};

static tlm_model_t *make_model(int variant)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;
    options.vocab_size = options.context_length = 4;
    options.d_model = 8;
    options.num_layers = options.num_heads = 2;
    options.d_ff = 12;
    options.norm = variant & 1 ? TLM_NORM_POST : TLM_NORM_PRE;
    options.ffn = variant & 1 ? TLM_FFN_SILU : TLM_FFN_SWIGLU;
    OK(tlm_model_create(&model, &options));
    OK(tlm_model_set_checkpointing(model, variant & 2));
    return model;
}

/* Each parameter in turn is set between forward and backward, with and without recomputing. Only the
 * embedding, which no gradient is computed from, may change. */
START_TEST(test_set_parameter)
{
    tlm_model_t *model = make_model(_i);
    for (size_t p = 0; p < tlm_model_num_parameters(model); p++) {
        const char *name;
        tlm_tensor_t *parameter, *loss;
        OK(tlm_model_parameter_name(&name, model, p));
        OK(tlm_model_parameter(&parameter, model, name));
        OK(tlm_model_loss(&loss, model, ids, targets, 2, 3));
        float values[MAX_ELEMENTS];
        OK(tlm_tensor_copy_out(values, (size_t)tlm_tensor_numel(parameter), parameter));
        values[0] += 1.0f;
        OK(tlm_model_set_parameter(model, name, values, tlm_tensor_shape(parameter),
                                   tlm_tensor_ndim(parameter)));
        tlm_status_t status = tlm_tensor_backward(loss, NULL);
        /* The loss computes its gradients during the forward pass. */
        bool free_to_change =
            strcmp(name, "token_embeddings.weight") == 0 || strcmp(name, "lm_head.weight") == 0;
        ck_assert_msg(status == (free_to_change ? TLM_OK : TLM_ERR_STATE), "%s: %d, %s", name,
                      status, tlm_error_message());
        if (status != TLM_OK)
            ck_assert_ptr_null(tlm_tensor_grad(parameter));
        tlm_model_zero_grad(model);
        tlm_tensor_free(loss);
    }
    tlm_model_free(model);
}
END_TEST

/* Other calls that write to a model's parameters. */
START_TEST(test_model_writers)
{
    char path[] = "/tmp/saved_tensors_XXXXXX";
    int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    for (int writer = 0; writer < 2; writer++) {
        tlm_model_t *model = make_model(_i);
        tlm_tensor_t *const *parameters, *loss;
        tlm_optimizer_t *optimizer;
        size_t n;
        OK(tlm_model_parameters(&parameters, &n, model));
        OK(tlm_optimizer_create_adamw(&optimizer, NULL));
        OK(tlm_optimizer_add_group(optimizer, parameters, n, NULL));
        OK(tlm_checkpoint_save(model, optimizer, 0, path));
        OK(tlm_model_loss(&loss, model, ids, targets, 2, 3));
        OK(tlm_tensor_backward(loss, NULL));
        tlm_tensor_free(loss);
        OK(tlm_model_loss(&loss, model, ids, targets, 2, 3));
        if (writer == 0)
            OK(tlm_optimizer_step(optimizer));
        else
            OK(tlm_checkpoint_load(NULL, model, optimizer, path));
        ck_assert_int_eq(tlm_tensor_backward(loss, NULL), TLM_ERR_STATE);
        tlm_tensor_free(loss);
        tlm_optimizer_free(optimizer);
        tlm_model_free(model);
    }
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("saved tensors");
    TCase *ops = tcase_create("ops"), *others = tcase_create("others");
    tcase_add_loop_test(ops, test_ops, 0, NUM_OP_CASES);
    tcase_add_loop_test(ops, test_raw_writes, 0, NUM_OP_CASES);
    tcase_add_test(others, test_writers);
    tcase_add_test(others, test_clipped_gradient);
    tcase_add_test(others, test_callback_keeps_gradient);
    tcase_add_test(others, test_callback_writes_grad_out);
    tcase_add_loop_test(others, test_set_parameter, 0, 4);
    tcase_add_loop_test(others, test_model_writers, 0, 4);
    suite_add_tcase(suite, ops);
    suite_add_tcase(suite, others);
    return run_suite(suite, CK_NOFORK);
}
