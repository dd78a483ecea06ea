/* The graph: accumulation, consumption, sharing of gradients, no-grad mode, depth, thread counts.
 */
#include "run_suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tensor_core.h"
#include "tinylm/nn.h"

#define OK(call) ck_assert_msg((call) == TLM_OK, "%s: %s", #call, tlm_error_message())
#define FAILS(code, text, call)                                                                    \
    do {                                                                                           \
        ck_assert_int_eq(call, code);                                                              \
        ck_assert_str_eq(tlm_error_message(), text);                                               \
    } while (0)

static tlm_tensor_t *leaf(int64_t n, float value)
{
    tlm_tensor_t *tensor;
    OK(tlm_tensor_create(&tensor, TLM_FLOAT32, &n, 1));
    for (int64_t i = 0; i < n; i++)
        tlmi_floats(tensor)[i] = value;
    OK(tlm_tensor_set_requires_grad(tensor, true));
    return tensor;
}

static void check_grad(const tlm_tensor_t *tensor, float want)
{
    ck_assert_ptr_nonnull(tlm_tensor_grad(tensor));
    for (int64_t i = 0; i < tensor->numel; i++)
        ck_assert_msg(tlmi_floats(tensor->grad)[i] == want, "gradient[%lld] is %g, not %g",
                      (long long)i, (double)tlmi_floats(tensor->grad)[i], (double)want);
}

START_TEST(test_accumulates)
{
    tlm_tensor_t *x = leaf(3, 2), *y, *loss;
    ck_assert_ptr_null(tlm_tensor_grad(x));
    for (int i = 1; i <= 3; i++) {
        OK(tlm_mul(&y, x, x));
        OK(tlm_sum(&loss, y));
        OK(tlm_tensor_backward(loss, NULL));
        check_grad(x, 4.0f * (float)i);
        ck_assert_ptr_null(tlm_tensor_grad(y));
        tlm_tensor_free(y);
        tlm_tensor_free(loss);
    }
    tlm_tensor_zero_grad(x);
    ck_assert_ptr_null(tlm_tensor_grad(x));
    tlm_tensor_free(x);
}
END_TEST

START_TEST(test_from_leaf)
{
    tlm_tensor_t *x = leaf(1, 2), *v = leaf(3, 1), *gradient = leaf(3, 5);
    OK(tlm_tensor_backward(x, NULL));
    OK(tlm_tensor_backward(x, NULL));
    check_grad(x, 2);
    OK(tlm_tensor_backward(v, gradient));
    check_grad(v, 5);
    ck_assert_ptr_ne(tlm_tensor_data(tlm_tensor_grad(v)), tlm_tensor_data(gradient));
    tlm_tensor_free(x);
    tlm_tensor_free(v);
    tlm_tensor_free(gradient);
}
END_TEST

/* add gives one gradient to both inputs; leaves must not end up sharing memory. */
START_TEST(test_no_shared_leaf_gradients)
{
    tlm_tensor_t *a = leaf(4, 1), *b = leaf(4, 2), *twice, *sum, *flat, *all, *loss;
    OK(tlm_add(&twice, a, a));
    OK(tlm_add(&sum, twice, b));
    OK(tlm_reshape(&flat, sum, (int64_t[]){2, 2}, 2));
    OK(tlm_add(&all, flat, flat));
    OK(tlm_sum(&loss, all));
    OK(tlm_tensor_backward(loss, NULL));
    check_grad(a, 4);
    check_grad(b, 2);
    ck_assert_ptr_ne(tlmi_floats(a->grad), tlmi_floats(b->grad));
    ck_assert_int_eq(atomic_load(&a->grad->references), 1);
    ck_assert_int_eq(atomic_load(&a->grad->storage->references), 1);
    ck_assert_int_eq(atomic_load(&b->grad->references), 1);
    ck_assert_int_eq(atomic_load(&b->grad->storage->references), 1);
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    tlm_tensor_free(twice);
    tlm_tensor_free(sum);
    tlm_tensor_free(flat);
    tlm_tensor_free(all);
    tlm_tensor_free(loss);
}
END_TEST

START_TEST(test_consumed)
{
    tlm_tensor_t *x = leaf(2, 3), *y, *loss, *second, *other;
    OK(tlm_scale(&y, x, 2));
    OK(tlm_sum(&loss, y));
    OK(tlm_scale(&other, y, 1));
    OK(tlm_tensor_backward(loss, NULL));
    FAILS(TLM_ERR_STATE, "backward: the graph was already consumed at a result of sum",
          tlm_tensor_backward(loss, NULL));
    OK(tlm_sum(&second, other));
    FAILS(TLM_ERR_STATE, "backward: the graph was already consumed at a result of scale",
          tlm_tensor_backward(second, NULL));
    FAILS(TLM_ERR_STATE, "backward: the graph was already consumed at a result of scale",
          tlm_tensor_backward(second, NULL));
    check_grad(x, 2);
    tlm_tensor_free(x);
    tlm_tensor_free(y);
    tlm_tensor_free(loss);
    tlm_tensor_free(second);
    tlm_tensor_free(other);
}
END_TEST

START_TEST(test_refusals)
{
    tlm_tensor_t *x = leaf(3, 1), *plain, *y, *ids, *detached;
    OK(tlm_tensor_create(&plain, TLM_FLOAT32, (int64_t[]){2}, 1));
    OK(tlm_tensor_create(&ids, TLM_INT32, (int64_t[]){2}, 1));
    OK(tlm_scale(&y, x, 1));
    FAILS(TLM_ERR_STATE, "backward: the tensor does not require a gradient",
          tlm_tensor_backward(plain, plain));
    FAILS(TLM_ERR_SHAPE,
          "backward: without a gradient the tensor must have one element, but its shape is (3)",
          tlm_tensor_backward(y, NULL));
    FAILS(TLM_ERR_SHAPE, "backward: the gradient has shape (2), but the tensor has shape (3)",
          tlm_tensor_backward(y, plain));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "backward: gradient has type int32, not float32",
          tlm_tensor_backward(y, ids));
    FAILS(TLM_ERR_STATE, "set_requires_grad: the tensor is the result of scale, not a leaf",
          tlm_tensor_set_requires_grad(y, false));
    FAILS(TLM_ERR_STATE, "tensor_copy_in: the tensor is the result of scale, not a leaf",
          tlm_tensor_copy_in(y, tlm_tensor_data(x), 3));
    FAILS(TLM_ERR_INVALID_ARGUMENT, "set_requires_grad: tensor has type int32, not float32",
          tlm_tensor_set_requires_grad(ids, true));
    OK(tlm_tensor_detach(&detached, y));
    ck_assert(!tlm_tensor_requires_grad(detached) && tlm_tensor_requires_grad(y));
    OK(tlm_tensor_backward(y, x)); /* still whole after the refusals */
    check_grad(x, 1);
    tlm_tensor_free(x);
    tlm_tensor_free(y);
    tlm_tensor_free(plain);
    tlm_tensor_free(ids);
    tlm_tensor_free(detached);
}
END_TEST

START_TEST(test_no_grad)
{
    tlm_tensor_t *x = leaf(2, 1), *y;
    ck_assert(tlm_grad_enabled());
    ck_assert(tlm_set_grad_enabled(false));
    OK(tlm_mul(&y, x, x));
    ck_assert(!tlm_tensor_requires_grad(y));
    ck_assert_ptr_null(y->node);
    tlm_tensor_free(y);
    ck_assert(!tlm_set_grad_enabled(true));
    OK(tlm_mul(&y, x, x));
    ck_assert(tlm_tensor_requires_grad(y));
    tlm_tensor_free(y);
    tlm_tensor_free(x);
}
END_TEST

/* A gradient handed out and retained stays what it was when more is added. */
START_TEST(test_retained_gradient)
{
    tlm_tensor_t *x = leaf(2, 1), *kept;
    OK(tlm_tensor_backward(x, x));
    kept = tlm_tensor_retain(tlm_tensor_grad(x));
    OK(tlm_tensor_backward(x, x));
    check_grad(x, 2);
    ck_assert(tlmi_floats(kept)[0] == 1);
    tlm_tensor_free(kept);
    tlm_tensor_free(x);
}
END_TEST

/* Depth costs no stack, neither walking back nor freeing a graph never walked. */
START_TEST(test_deep_chain)
{
    for (int backward = 0; backward < 2; backward++) {
        tlm_tensor_t *x = leaf(1, 1);
        tlm_tensor_t *y = tlm_tensor_retain(x);
        for (int i = 0; i < 100000; i++) {
            tlm_tensor_t *next;
            OK(i % 2 == 0 ? tlm_scale(&next, y, i % 4 == 0 ? 2.0f : 0.5f) : tlm_add(&next, y, x));
            tlm_tensor_free(y);
            y = next;
        }
        if (backward) {
            OK(tlm_tensor_backward(y, NULL));
            ck_assert(isfinite(tlmi_floats(x->grad)[0]) && tlmi_floats(x->grad)[0] > 0);
        }
        tlm_tensor_free(y);
        tlm_tensor_free(x);
    }
}
END_TEST

/* A lattice in which every result has two users: 2^40 paths, 40 nodes. */
START_TEST(test_many_paths)
{
    tlm_tensor_t *x = leaf(1, 1);
    tlm_tensor_t *y = tlm_tensor_retain(x);
    for (int i = 0; i < 40; i++) {
        tlm_tensor_t *next;
        OK(tlm_add(&next, y, y));
        tlm_tensor_free(y);
        y = next;
    }
    OK(tlm_tensor_backward(y, NULL));
    check_grad(x, 0x1p40f);
    tlm_tensor_free(y);
    tlm_tensor_free(x);
}
END_TEST

/* What backward no longer needs is freed on the way: live memory falls below that of the graph. */
START_TEST(test_memory_falls)
{
    enum { N = 1 << 14, DEPTH = 50 };
    tlm_tensor_t *x = leaf(N, 1.0f), *loss;
    size_t base = tlmi_buffer_cache_stats().live_bytes;
    tlm_tensor_t *y = tlm_tensor_retain(x);
    for (int i = 0; i < DEPTH; i++) {
        tlm_tensor_t *next;
        OK(tlm_mul(&next, y, y));
        tlm_tensor_free(y);
        y = next;
    }
    OK(tlm_sum(&loss, y));
    tlm_tensor_free(y);
    size_t graph = tlmi_buffer_cache_stats().live_bytes - base;
    ck_assert(graph >= sizeof(float) * N * DEPTH);
    OK(tlm_tensor_backward(loss, NULL));
    size_t rest = tlmi_buffer_cache_stats().live_bytes - base;
    ck_assert_msg(rest <= sizeof(float) * N * 9 / 8 + 4096, "%zu bytes stay", rest);
    size_t peak = tlmi_buffer_cache_stats().peak_live_bytes - base;
    ck_assert_msg(peak <= graph + sizeof(float) * N * 4, "peak %zu, graph %zu", peak, graph);
    tlm_tensor_free(loss);
    tlm_tensor_free(x);
}
END_TEST

/* ---- Dropped results -------------------------------------------------------------------- */

static tlm_tensor_t *random_leaf(int32_t ndim, const int64_t *shape, uint64_t seed);

/* linear(op(x, w), v), op's result dropped or not, and the bits of all gradients. */
static void chain_gradients(float *bits, int op, bool drop)
{
    enum { ROWS = 70, D = 33 };
    const int64_t x_shape[] = {ROWS, D}, v_shape[] = {5, D};
    tlm_tensor_t *x = random_leaf(2, x_shape, 1), *v = random_leaf(2, v_shape, 3), *y, *z, *loss;
    tlm_tensor_t *w = op == 0 ? random_leaf(1, x_shape + 1, 2) : random_leaf(2, x_shape, 2);
    tlm_tensor_t *const all[] = {x, w, v};

    if (op == 0)
        OK(tlm_rms_norm(&y, x, w, 1e-5f));
    else if (op == 1)
        OK(tlm_silu_mul(&y, x, w));
    else
        OK(tlm_silu(&y, x));
    OK(tlm_linear(&z, y, v));
    OK(tlm_mul(&loss, z, z));
    tlm_tensor_free(z);
    if (drop)
        tlmi_tensor_drop(y);
    ck_assert((y->data == NULL) == drop);
    tlm_tensor_free(y);
    OK(tlm_sum(&z, loss));
    OK(tlm_tensor_backward(z, NULL));
    for (int i = 0; i < 3; i++) {
        if (tlm_tensor_grad(all[i]) != NULL) {
            OK(tlm_tensor_copy_out(bits, all[i]->numel, tlm_tensor_grad(all[i])));
            bits += all[i]->numel;
        }
        tlm_tensor_free(all[i]);
    }
    tlm_tensor_free(loss);
    tlm_tensor_free(z);
}

START_TEST(test_dropped_results)
{
    static float kept[2 * 70 * 33 + 5 * 33], dropped[2 * 70 * 33 + 5 * 33];
    chain_gradients(kept, _i, false);
    chain_gradients(dropped, _i, true);
    ck_assert_mem_eq(kept, dropped, sizeof(kept));
}
END_TEST

/* What must stay, and what cannot be made again. */
START_TEST(test_drop_refusals)
{
    tlm_tensor_t *x = leaf(4, 2.0f), *y, *view, *loss;
    tlmi_tensor_drop(x); /* a leaf */
    ck_assert_ptr_nonnull(x->data);
    OK(tlm_mul(&y, x, x));
    OK(tlm_reshape(&view, y, (int64_t[]){2, 2}, 2));
    tlmi_tensor_drop(y); /* elements that a view shares */
    ck_assert_ptr_nonnull(y->data);
    tlm_tensor_free(view);
    OK(tlm_silu(&loss, y));
    tlmi_tensor_drop(y);
    ck_assert_ptr_null(y->data);
    tlm_tensor_free(y);
    OK(tlm_sum(&y, loss));
    FAILS(TLM_ERR_STATE, "backward: a dropped result of mul cannot be recomputed",
          tlm_tensor_backward(y, NULL));
    tlm_tensor_free(y);
    tlm_tensor_free(loss);
    tlm_tensor_free(x);
}
END_TEST

/* ---- Thread counts ------------------------------------------------------------------------------
 */

static tlm_tensor_t *random_leaf(int32_t ndim, const int64_t *shape, uint64_t seed)
{
    tlm_tensor_t *tensor;
    OK(tlm_tensor_create(&tensor, TLM_FLOAT32, shape, ndim));
    for (int64_t i = 0; i < tensor->numel; i++) {
        uint64_t bits;
        OK(tlm_random_bits(&bits, 1, seed, 0, (uint64_t)i));
        tlmi_floats(tensor)[i] = (float)((double)(bits >> 11) * 0x1p-53 - 0.5);
    }
    OK(tlm_tensor_set_requires_grad(tensor, true));
    return tensor;
}

/* Every general op once; leaves its result and gradients, one after the other, in `out`. */
static size_t run_mixture(float **out)
{
    tlm_tensor_t *x = random_leaf(3, (int64_t[]){3, 130, 70}, 1);
    tlm_tensor_t *w = random_leaf(2, (int64_t[]){70, 150}, 2);
    tlm_tensor_t *bias = random_leaf(1, (int64_t[]){150}, 3);
    tlm_tensor_t *t[12] = {NULL};
    OK(tlm_matmul(&t[0], x, w));
    OK(tlm_add(&t[1], t[0], bias));
    OK(tlm_mul(&t[2], t[1], t[0]));
    OK(tlm_transpose(&t[3], t[2], 1, 2));
    OK(tlm_matmul(&t[4], t[3], x));
    OK(tlm_mean_dim(&t[5], t[4], -1, true));
    OK(tlm_mul(&t[6], t[4], t[5]));
    OK(tlm_slice(&t[7], t[6], 1, 3, 140));
    OK(tlm_sum_dim(&t[8], t[7], 0, false));
    OK(tlm_scale(&t[9], t[8], 0.01f));
    OK(tlm_mul(&t[10], t[9], t[9]));
    OK(tlm_mean(&t[11], t[10]));
    OK(tlm_tensor_backward(t[11], NULL));
    size_t sizes[] = {1, (size_t)x->numel, (size_t)w->numel, (size_t)bias->numel};
    const tlm_tensor_t *parts[] = {t[11], x->grad, w->grad, bias->grad};
    size_t total = 0;
    *out = malloc((sizes[0] + sizes[1] + sizes[2] + sizes[3]) * sizeof(float));
    ck_assert_ptr_nonnull(*out);
    for (int i = 0; i < 4; i++) {
        OK(tlm_tensor_copy_out(*out + total, sizes[i], parts[i]));
        total += sizes[i];
    }
    for (int i = 0; i < 12; i++)
        tlm_tensor_free(t[i]);
    tlm_tensor_free(x);
    tlm_tensor_free(w);
    tlm_tensor_free(bias);
    return total;
}

START_TEST(test_thread_counts)
{
    static const int threads[] = {1, 2, 5};
    float *results[3];
    size_t n = 0;
    if (tlm_set_cpu_level(_i) != TLM_OK)
        return;
    for (int i = 0; i < 3; i++) {
        OK(tlm_set_num_threads(threads[i]));
        n = run_mixture(&results[i]);
    }
    OK(tlm_set_num_threads(0));
    for (size_t i = 0; i < n; i++)
        ck_assert(isfinite(results[0][i]));
    ck_assert_int_eq(memcmp(results[0], results[1], n * sizeof(float)), 0);
    ck_assert_int_eq(memcmp(results[0], results[2], n * sizeof(float)), 0);
    for (int i = 0; i < 3; i++)
        free(results[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("autograd");
    TCase *tcase = tcase_create("graph");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_accumulates);
    tcase_add_test(tcase, test_from_leaf);
    tcase_add_test(tcase, test_no_shared_leaf_gradients);
    tcase_add_test(tcase, test_consumed);
    tcase_add_test(tcase, test_refusals);
    tcase_add_test(tcase, test_no_grad);
    tcase_add_test(tcase, test_retained_gradient);
    tcase_add_test(tcase, test_deep_chain);
    tcase_add_test(tcase, test_many_paths);
    tcase_add_test(tcase, test_memory_falls);
    tcase_add_loop_test(tcase, test_dropped_results, 0, 3);
    tcase_add_test(tcase, test_drop_refusals);
    tcase_add_loop_test(tcase, test_thread_counts, 0, 3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
