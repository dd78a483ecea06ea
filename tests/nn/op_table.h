/* Every op of the public headers, with operands that fit: a table for tests of what must hold for all of
 * them. check_op_table fails if a header declares an op that the table lacks. */
#ifndef OP_TABLE_H
#define OP_TABLE_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tinylm/tinylm.h"

#define OK(call) ck_assert_msg((call) == TLM_OK, "%s: %s", #call, tlm_error_message())

enum { MAX_OPERANDS = 6, NUM_HEADS = 2 };

typedef struct op_case {
    const char *name; /* the public function without tlm_ */
    tlm_status_t (*run)(tlm_tensor_t **out, tlm_tensor_t **in);
    /* One letter per dimension, 'b' of one operand as large as 'b' of another; "i:" before the letters
     * for int64, "m:" for bool. */
    const char *operands[MAX_OPERANDS];
    const char
        *reads; /* operands whose elements backward reads, by number, and 'r' for the result */
    const char *refuses; /* dimensions that may not be 0 */
} op_case_t;

static inline int64_t dimension_size(char letter)
{
    static const char letters[] = "1abdfhkmnstv";
    static const int64_t sizes[] = {1, 2, 2, 4, 8, 2, 4, 3, 5, 6, 3, 7};
    const char *at = strchr(letters, letter);
    ck_assert_ptr_nonnull(at);
    return sizes[at - letters];
}

/* ---- One function per op ---------------------------------------------------------------- */

#define CASE_1(name)                                                                               \
    static tlm_status_t run_##name(tlm_tensor_t **out, tlm_tensor_t **in)                          \
    {                                                                                              \
        return tlm_##name(out, in[0]);                                                             \
    }
#define CASE_2(name)                                                                               \
    static tlm_status_t run_##name(tlm_tensor_t **out, tlm_tensor_t **in)                          \
    {                                                                                              \
        return tlm_##name(out, in[0], in[1]);                                                      \
    }
/* An op with arguments besides its operands. */
#define CASE_WITH(label, call)                                                                     \
    static tlm_status_t run_##label(tlm_tensor_t **out, tlm_tensor_t **in)                         \
    {                                                                                              \
        return call;                                                                               \
    }

CASE_2(add)
CASE_2(sub)
CASE_2(mul)
CASE_2(div)
CASE_2(pow)
CASE_2(matmul)
CASE_2(linear)
CASE_2(embedding)
CASE_2(silu_mul)
CASE_2(cross_entropy)
CASE_1(sum)
CASE_1(mean)
CASE_1(exp)
CASE_1(log)
CASE_1(sqrt)
CASE_1(tanh)
CASE_1(sigmoid)
CASE_1(relu)
CASE_1(abs)
CASE_1(gelu)
CASE_1(silu)
CASE_1(contiguous)
CASE_WITH(scale, tlm_scale(out, in[0], 1.5f))
CASE_WITH(sum_dim, tlm_sum_dim(out, in[0], 1, false))
CASE_WITH(mean_dim, tlm_mean_dim(out, in[0], -2, true))
CASE_WITH(max_dim, tlm_max_dim(out, NULL, in[0], 1, false))
CASE_WITH(where, tlm_where(out, in[0], in[1], in[2]))
CASE_WITH(concat, tlm_concat(out, in, 3, 1))
CASE_WITH(transpose, tlm_transpose(out, in[0], 0, -1))
CASE_WITH(slice, tlm_slice(out, in[0], 1, 0, tlm_tensor_shape(in[0])[1] / 2))
CASE_WITH(every_second, tlm_slice_step(out, in[0], 1, 0, 2, (tlm_tensor_shape(in[0])[1] + 1) / 2))
CASE_WITH(backwards, tlm_slice_step(out, in[0], 1, tlm_tensor_shape(in[0])[1] - 1, -1,
                                    tlm_tensor_shape(in[0])[1]))
CASE_WITH(take, tlm_take(out, in[0], 1, in[1]))
CASE_WITH(linear_bias, tlm_linear_bias(out, in[0], in[1], in[2]))
CASE_WITH(layer_norm, tlm_layer_norm(out, in[0], in[1], in[2], 1e-5f))
CASE_WITH(dropout, tlm_dropout(out, in[0], 0.3, 1, 2))
CASE_WITH(rms_norm, tlm_rms_norm(out, in[0], in[1], 1e-5f))
CASE_WITH(swiglu, tlm_swiglu(out, in[0], in[1], in[2], in[3]))
CASE_WITH(rope, tlm_rope(out, in[0], in[1], 10))
CASE_WITH(softmax, tlm_softmax(out, in[0], 1))
CASE_WITH(attention, tlm_attention(out, in[0], in[1], in[2], in[3], false))
CASE_WITH(causal, tlm_attention(out, in[0], in[1], in[2], in[3], true))
CASE_WITH(heads,
          tlm_multi_head_attention(out, in[0], in[1], in[2], in[3], in[4], NUM_HEADS, 10, in[5]))
CASE_WITH(plain_heads,
          tlm_multi_head_attention(out, in[0], in[1], in[2], in[3], in[4], NUM_HEADS, 0, NULL))

static tlm_status_t run_max_dim_indices(tlm_tensor_t **out, tlm_tensor_t **in)
{
    tlm_tensor_t *indices = NULL;
    tlm_status_t status = tlm_max_dim(out, &indices, in[0], 0, true);
    if (status != TLM_OK)
        return status;
    /* Garbage in the caller's indices must not reach backward. */
    size_t bytes = (size_t)tlm_tensor_numel(indices) * sizeof(int64_t);
    if (bytes > 0)
        memset(tlm_tensor_data(indices), 0x7f, bytes);
    tlm_tensor_free(indices);
    return TLM_OK;
}

static tlm_status_t run_reshape(tlm_tensor_t **out, tlm_tensor_t **in)
{
    const int64_t *shape = tlm_tensor_shape(in[0]);
    return tlm_reshape(out, in[0], (int64_t[]){shape[2], shape[0] * shape[1]}, 2);
}

/* y = a b as a custom op that saves b. */
static tlm_status_t product_backward(void *user, tlm_tensor_t **grads, tlm_tensor_t *grad_out,
                                     tlm_tensor_t *const *inputs, size_t num_inputs,
                                     tlm_tensor_t *const *saved, size_t num_saved)
{
    (void)user;
    ck_assert(num_inputs == 2 && num_saved == 1);
    tlm_status_t status = TLM_OK;
    if (tlm_tensor_requires_grad(inputs[0]))
        status = tlm_mul(&grads[0], grad_out, saved[0]);
    if (status == TLM_OK && tlm_tensor_requires_grad(inputs[1]))
        status = tlm_mul(&grads[1], grad_out, inputs[0]);
    return status;
}

static tlm_status_t run_custom(tlm_tensor_t **out, tlm_tensor_t **in)
{
    tlm_custom_op_options_t options = TLM_CUSTOM_OP_OPTIONS_INIT;
    tlm_tensor_t *product = NULL;
    options.name = "product";
    options.backward = product_backward;
    bool recording = tlm_set_grad_enabled(false);
    tlm_status_t status = tlm_mul(&product, in[0], in[1]);
    tlm_set_grad_enabled(recording);
    if (status == TLM_OK)
        status = tlm_custom_op_record(out, product, in, 2, &in[1], 1, &options);
    tlm_tensor_free(product);
    return status;
}

/* ---- The table -------------------------------------------------------------------------- */

static const op_case_t op_cases[] = {
    {"add", run_add, {"btd", "btd"}, "", ""},
    {"add", run_add, {"btd", "1d"}, "", ""},
    {"sub", run_sub, {"btd", "btd"}, "", ""},
    {"sub", run_sub, {"td", "b1d"}, "", ""},
    {"mul", run_mul, {"btd", "btd"}, "01", ""},
    {"mul", run_mul, {"bt1", "d"}, "01", ""},
    {"div", run_div, {"btd", "btd"}, "1r", ""},
    {"div", run_div, {"btd", "t1"}, "1r", ""},
    {"pow", run_pow, {"btd", "btd"}, "01", ""},
    {"pow", run_pow, {"td", "b1d"}, "01", ""},
    {"scale", run_scale, {"btd"}, "", ""},
    {"matmul", run_matmul, {"mk", "kn"}, "01", ""},
    {"matmul", run_matmul, {"bmk", "kn"}, "01", ""},
    {"matmul", run_matmul, {"bhmk", "1hkn"}, "01", ""},
    {"sum", run_sum, {"btd"}, "", ""},
    {"mean", run_mean, {"btd"}, "", ""},
    {"sum_dim", run_sum_dim, {"btd"}, "", ""},
    {"mean_dim", run_mean_dim, {"btd"}, "", ""},
    {"max_dim", run_max_dim, {"btd"}, "", "t"},
    {"max_dim", run_max_dim_indices, {"btd"}, "", "b"},
    {"exp", run_exp, {"btd"}, "r", ""},
    {"log", run_log, {"btd"}, "0", ""},
    {"sqrt", run_sqrt, {"btd"}, "r", ""},
    {"tanh", run_tanh, {"btd"}, "r", ""},
    {"sigmoid", run_sigmoid, {"btd"}, "r", ""},
    {"relu", run_relu, {"btd"}, "0", ""},
    {"abs", run_abs, {"btd"}, "0", ""},
    {"gelu", run_gelu, {"btd"}, "0", ""},
    {"where", run_where, {"m:btd", "btd", "btd"}, "0", ""},
    {"where", run_where, {"m:t1", "btd", "d"}, "0", ""},
    {"concat", run_concat, {"btd", "bsd", "bnd"}, "", ""},
    {"reshape", run_reshape, {"btd"}, "", ""},
    {"transpose", run_transpose, {"btd"}, "", ""},
    {"slice", run_slice, {"btd"}, "", ""},
    {"slice_step", run_every_second, {"btd"}, "", ""},
    {"slice_step", run_backwards, {"btd"}, "", ""},
    {"take", run_take, {"bvd", "i:t"}, "", "v"},
    {"take", run_take, {"bvd", "i:ts"}, "", "v"},
    {"contiguous", run_contiguous, {"btd"}, "", ""},
    {"linear", run_linear, {"btd", "nd"}, "01", ""},
    {"linear", run_linear, {"d", "nd"}, "01", ""},
    {"linear_bias", run_linear_bias, {"btd", "nd", "n"}, "01", ""},
    {"embedding", run_embedding, {"vd", "i:bt"}, "", "v"},
    {"rms_norm", run_rms_norm, {"btd", "d"}, "01", ""},
    {"layer_norm", run_layer_norm, {"btd", "d", "d"}, "01", ""},
    {"dropout", run_dropout, {"btd"}, "", ""},
    {"silu", run_silu, {"btd"}, "0", ""},
    {"silu_mul", run_silu_mul, {"btd", "btd"}, "01", ""},
    {"swiglu", run_swiglu, {"btd", "fd", "df", "fd"}, "0123", ""},
    {"rope", run_rope, {"btd", "i:t"}, "", ""},
    {"rope", run_rope, {"btd", "i:1t"}, "", ""},
    {"rope", run_rope, {"btd", "i:bt"}, "", ""},
    {"rope", run_rope, {"bhtd", "i:b1t"}, "", ""},
    {"rope", run_rope, {"bhtd"}, "", ""},
    {"softmax", run_softmax, {"btd"}, "r", ""},
    {"attention", run_attention, {"mk", "nk", "nv", "m:mn"}, "0123r", "k"},
    {"attention", run_attention, {"bhmk", "bhnk", "bhnv", "m:b1m1"}, "0123r", "k"},
    {"attention", run_attention, {"bsmk", "bhnk", "bhnv"}, "012r", "ksh"},
    {"attention", run_causal, {"bhmk", "bhnk", "bhnv"}, "012r", "k"},
    {"multi_head_attention", run_heads, {"btd", "fd", "fd", "fd", "df", "i:t"}, "01234", "f"},
    {"multi_head_attention", run_heads, {"btd", "fd", "fd", "fd", "df", "i:bt"}, "01234", "f"},
    {"multi_head_attention", run_plain_heads, {"btd", "fd", "fd", "fd", "df"}, "01234", "f"},
    {"cross_entropy", run_cross_entropy, {"btv", "i:bt"}, "0", "btv"},
    {"custom_op_record", run_custom, {"btd", "btd"}, "01", ""},
};

enum { NUM_OP_CASES = sizeof(op_cases) / sizeof(*op_cases) };

/* ---- Operands --------------------------------------------------------------------------- */

static inline const char *dimension_letters(const char *operand)
{
    return operand[0] != '\0' && operand[1] == ':' ? operand + 2 : operand;
}

/* An operand whose sizes are 0 for the letters in `zero`. Floats are in (0.2, 1.2), so that every op
 * takes them; integers are 0 and 1. If `strided`, every second element of memory of its own. */
static inline tlm_tensor_t *make_operand(const char *operand, const char *zero, bool strided)
{
    const char *letters = dimension_letters(operand);
    int32_t dtype = letters == operand ? TLM_FLOAT32 : operand[0] == 'i' ? TLM_INT64 : TLM_BOOL;
    int64_t shape[TLM_MAX_DIMS], strides[TLM_MAX_DIMS], numel = 1, stride = 2;
    int32_t ndim = (int32_t)strlen(letters);
    size_t item = tlm_dtype_size(dtype);
    for (int32_t i = ndim - 1; i >= 0; i--) {
        shape[i] = strchr(zero, letters[i]) != NULL ? 0 : dimension_size(letters[i]);
        numel *= shape[i];
        strides[i] = stride;
        stride *= shape[i] > 0 ? shape[i] : 1;
    }
    tlm_tensor_t *tensor;
    char *memory = calloc((size_t)numel * 2 + 1, item);
    ck_assert_ptr_nonnull(memory);
    if (strided)
        OK(tlm_tensor_wrap(&tensor, dtype, memory, shape, strides, ndim, free, memory));
    for (int64_t i = 0; i < numel; i++) {
        char *at = memory + (size_t)(strided ? 2 * i : i) * item;
        float value = 0.2f + (float)((i * 7 + numel) % 11) / 11.0f;
        int64_t index = i % 2;
        if (dtype == TLM_FLOAT32)
            memcpy(at, &value, item);
        else if (dtype == TLM_INT64)
            memcpy(at, &index, item);
        else
            *at = i % 3 != 1;
    }
    if (!strided) {
        OK(tlm_tensor_from_data(&tensor, dtype, memory, shape, ndim));
        free(memory);
    }
    return tensor;
}

/* Makes the operands; those in `wants` (a bit each) that are float32 require a gradient. Returns how
 * many there are. */
static inline int make_operands(tlm_tensor_t **in, const op_case_t *op, const char *zero,
                                bool strided, unsigned wants)
{
    int n = 0;
    memset(in, 0, MAX_OPERANDS * sizeof(*in));
    for (; n < MAX_OPERANDS && op->operands[n] != NULL; n++) {
        in[n] = make_operand(op->operands[n], zero, strided);
        if (tlm_tensor_dtype(in[n]) == TLM_FLOAT32 && (wants >> n & 1))
            OK(tlm_tensor_set_requires_grad(in[n], true));
    }
    return n;
}

static inline void free_operands(tlm_tensor_t **in)
{
    for (int i = 0; i < MAX_OPERANDS; i++)
        tlm_tensor_free(in[i]);
}

/* Backward from a gradient of ones. */
static inline tlm_status_t backward_ones(tlm_tensor_t *out)
{
    tlm_tensor_t *ones;
    OK(tlm_tensor_create(&ones, TLM_FLOAT32, tlm_tensor_shape(out), tlm_tensor_ndim(out)));
    for (int64_t i = 0; i < tlm_tensor_numel(ones); i++)
        ((float *)tlm_tensor_data(ones))[i] = 1.0f;
    tlm_status_t status = tlm_tensor_backward(out, ones);
    tlm_tensor_free(ones);
    return status;
}

/* "add, ops with operands btd 1d, 0 for t" for messages. */
static inline const char *describe(const op_case_t *op, const char *zero)
{
    static char text[160];
    size_t used = (size_t)snprintf(text, sizeof(text), "%s of", op->name);
    for (int i = 0; i < MAX_OPERANDS && op->operands[i] != NULL; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, " %s", op->operands[i]);
    snprintf(text + used, sizeof(text) - used, ", sizes of 0: '%s'", zero);
    return text;
}

/* ---- The table against the headers ------------------------------------------------------ */

static inline bool in_table(const char *name)
{
    for (int i = 0; i < NUM_OP_CASES; i++)
        if (strcmp(op_cases[i].name, name) == 0)
            return true;
    return false;
}

/* Counts the ops of a header: functions that make a tensor of tensors which they may retain. */
static inline int check_header(const char *path)
{
    static const char start[] = "TLM_API tlm_status_t tlm_";
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s cannot be opened", path);
    static char text[1 << 17];
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    int ops = 0;
    for (char *at = strstr(text, start); at != NULL; at = strstr(at, start)) {
        at += sizeof(start) - 1;
        char name[64], *open = strchr(at, '('), *close = strstr(at, ");");
        ck_assert(open != NULL && close != NULL && open - at < (int)sizeof(name));
        snprintf(name, sizeof(name), "%.*s", (int)(open - at), at);
        *close = '\0';
        char *out = strstr(open, "tlm_tensor_t **out,");
        bool takes = false;
        for (char *p = out; p != NULL && (p = strstr(p + 1, "tlm_tensor_t *")) != NULL;)
            takes = takes || (strncmp(p - 6, "const ", 6) != 0 && p[14] != '*');
        if (out == open + 1 && takes) {
            ck_assert_msg(in_table(name), "%s: tlm_%s is missing in op_table.h", path, name);
            ops++;
        }
        at = close + 1;
    }
    return ops;
}

static inline void check_op_table(void)
{
    int ops = check_header(TINYLM_INCLUDE "/tensor.h") + check_header(TINYLM_INCLUDE "/nn.h") +
              check_header(TINYLM_INCLUDE "/custom_op.h");
    int names = 0;
    for (int i = 0; i < NUM_OP_CASES; i++)
        names += i == 0 || strcmp(op_cases[i].name, op_cases[i - 1].name) != 0;
    ck_assert_int_eq(ops, names);
}

#endif
