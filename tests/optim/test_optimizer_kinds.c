/* What holds for every kind of optimizer: those in the library's table, and one made here. */
#include "factored_kind.h"
#include "optim_support.h"

#define ROOM 256 /* bytes for a kind's options */

/* A matrix and a vector with gradients, large enough for several tasks; for a kind that takes no vector,
 * another matrix. */
typedef struct run {
    tlm_tensor_t *parameters[2];
    tlm_optimizer_t *optimizer;
} run_t;

static tlm_tensor_t *make_matrix(int64_t rows, int64_t columns, uint64_t stream)
{
    tlm_tensor_t *flat = make_parameter(rows * columns, stream), *matrix;

    ASSERT_OK(tlm_tensor_set_requires_grad(flat, false));
    ASSERT_OK(tlm_reshape(&matrix, flat, (const int64_t[]){rows, columns}, 2));
    ASSERT_OK(tlm_tensor_set_requires_grad(matrix, true));
    tlm_tensor_free(flat);
    return matrix;
}

static run_t start(const tlmi_optimizer_kind_t *kind)
{
    run_t run = {{make_matrix(300, 200, 0),
                  kind->matrices_only ? make_matrix(160, 250, 1) : make_parameter(40000, 1)},
                 NULL};
    _Alignas(16) char room[ROOM];
    tlmi_group_t group;

    ck_assert_uint_le(kind->options_size, ROOM);
    group = make_group(kind, 0.5, room);
    ASSERT_OK(tlmi_optimizer_new(&run.optimizer, "test", &group));
    ASSERT_OK(tlmi_optimizer_add(run.optimizer, "test", run.parameters, 2, &group));
    return run;
}

static void stop(run_t *run)
{
    tlm_optimizer_free(run->optimizer);
    tlm_tensor_free(run->parameters[0]);
    tlm_tensor_free(run->parameters[1]);
}

static void set_gradients(run_t *run, uint64_t step)
{
    for (int i = 0; i < 2; i++) {
        int64_t n = tlm_tensor_numel(run->parameters[i]);
        float *gradient = malloc((size_t)n * sizeof(float));

        for (int64_t j = 0; j < n; j++)
            gradient[j] = draw(10 + 2 * step + (uint64_t)i, j);
        set_gradient(run->parameters[i], gradient);
        free(gradient);
    }
}

/* All that a step changes, in one array; freed by the caller. */
static float *snapshot(const run_t *run, size_t *n)
{
    const tlm_optimizer_t *optimizer = run->optimizer;
    float *all;

    *n = 2 * optimizer->num_groups + 1;
    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        *n += (size_t)optimizer->parameters[i].tensor->numel;
        for (size_t j = 0; j < optimizer->parameters[i].num_states; j++)
            *n += optimizer->parameters[i].states[j].numel;
    }
    all = malloc(*n * sizeof(float));
    *n = 0;
    all[(*n)++] = (float)optimizer->steps;
    for (size_t i = 0; i < optimizer->num_groups; i++) {
        all[(*n)++] = (float)optimizer->groups[i].learning_rate;
        all[(*n)++] = (float)optimizer->groups[i].weight_decay;
    }
    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlmi_parameter_t *parameter = &optimizer->parameters[i];
        size_t numel = (size_t)parameter->tensor->numel;

        memcpy(all + *n, tlmi_floats(parameter->tensor), numel * sizeof(float));
        *n += numel;
        for (size_t j = 0; j < parameter->num_states; j++) {
            memcpy(all + *n, parameter->states[j].values,
                   parameter->states[j].numel * sizeof(float));
            *n += parameter->states[j].numel;
        }
    }
    return all;
}

static void assert_unchanged(const run_t *run, const float *before)
{
    size_t n;
    float *now = snapshot(run, &n);

    ck_assert_mem_eq(now, before, n * sizeof(float));
    free(now);
}

START_TEST(every_option_is_checked)
{
    static const double bad[] = {-1e-9, (double)NAN, (double)INFINITY, -(double)INFINITY};
    _Alignas(16) char room[ROOM];

    for (size_t k = 0; kind_at(k) != NULL; k++) {
        const tlmi_optimizer_kind_t *kind = kind_at(k);
        tlmi_group_t group = make_group(kind, 0.5, room);

        ASSERT_OK(tlmi_group_check("test", &group));
        for (size_t i = 0; i < kind->num_options; i++) {
            const tlmi_optimizer_option_t *option = &kind->options[i];
            const int32_t choices[] = {-1, option->most > 0 ? 0 : option->num_choices, INT32_MAX};
            const bool is_real = option->choices == NULL && option->most == 0;
            char *field = room + option->offset;

            group = make_group(kind, 0.5, room);
            for (size_t b = 0; is_real && b < 4; b++) {
                memcpy(field, &bad[b], sizeof(double));
                ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, option->name,
                             tlmi_group_check("test", &group));
            }
            if (is_real && option->below > 0.0) {
                memcpy(field, &option->below, sizeof(double));
                ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, option->name,
                             tlmi_group_check("test", &group));
            }
            for (size_t b = 0; !is_real && b < 3; b++) {
                memcpy(field, &choices[b], sizeof(int32_t));
                ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, option->name,
                             tlmi_group_check("test", &group));
            }
        }
        for (size_t b = 0; b < 4; b++) {
            group = make_group(kind, 0.5, room);
            group.learning_rate = bad[b];
            ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "learning_rate",
                         tlmi_group_check("test", &group));
            group = make_group(kind, 0.5, room);
            group.weight_decay = bad[b];
            ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "weight_decay",
                         tlmi_group_check("test", &group));
        }
        group = make_group(kind, 0.5, room);
        group.weight_decay = 0.125;
        ck_assert_int_eq(tlmi_group_check("test", &group),
                         kind->has_weight_decay ? TLM_OK : TLM_ERR_UNSUPPORTED);
    }
}
END_TEST

START_TEST(names_of_kinds_and_buffers_are_distinct)
{
    for (size_t k = 0; kind_at(k) != NULL; k++) {
        run_t run = start(kind_at(k));

        for (size_t other = 0; other < k; other++)
            ck_assert_str_ne(kind_at(k)->name, kind_at(other)->name);
        for (size_t i = 0; i < 2; i++) {
            const tlmi_parameter_t *parameter = &run.optimizer->parameters[i];

            for (size_t j = 0; j < parameter->num_states; j++) {
                const char *name;
                float *values;
                size_t n;

                ASSERT_OK(tlm_optimizer_state_name(&name, run.optimizer, i, j));
                ASSERT_OK(tlm_optimizer_state(&values, &n, run.optimizer, i, name));
                ck_assert_ptr_eq(values, parameter->states[j].values); /* not an earlier one's */
                ck_assert_uint_eq(n, parameter->states[j].numel);
                for (size_t e = 0; e < n; e++)
                    ck_assert(values[e] == 0.0f);
            }
        }
        stop(&run);
    }
}
END_TEST

START_TEST(a_failed_step_changes_nothing)
{
    static const double rate = 0.75;

    for (size_t k = 0; kind_at(k) != NULL; k++) {
        run_t run = start(kind_at(k));
        float *before, *gradient;
        size_t n;

        set_gradients(&run, 0);
        ASSERT_OK(tlm_optimizer_step(run.optimizer));
        set_gradients(&run, 1);
        before = snapshot(&run, &n);
        for (int at = 1; kind_at(k)->prepare == factored_prepare && at <= 2; at++) {
            factored_fails_at = at;
            ASSERT_FAILS(TLM_ERR_RANGE, "told to fail", tlm_optimizer_step(run.optimizer));
            assert_unchanged(&run, before);
            factored_fails_at = at;
            ASSERT_FAILS(TLM_ERR_RANGE, "told to fail",
                         tlmi_optimizer_step(run.optimizer, &rate, true));
            assert_unchanged(&run, before);
        }
        gradient = tlm_tensor_data(tlm_tensor_grad(run.parameters[1]));
        gradient[39999] = NAN;
        ASSERT_FAILS(TLM_ERR_NON_FINITE, "parameter 1", tlm_optimizer_step(run.optimizer));
        ASSERT_FAILS(TLM_ERR_NON_FINITE, "parameter 1",
                     tlmi_optimizer_step(run.optimizer, &rate, false));
        assert_unchanged(&run, before);
        gradient[39999] = 0.5f;
        ASSERT_OK(tlm_optimizer_set_steps(run.optimizer, UINT64_MAX));
        ASSERT_FAILS(TLM_ERR_STATE, "which is the limit", tlm_optimizer_step(run.optimizer));
        ASSERT_OK(tlm_optimizer_set_steps(run.optimizer, 1));
        assert_unchanged(&run, before);
        ASSERT_OK(tlmi_optimizer_step(run.optimizer, &rate, true));
        ck_assert(run.optimizer->groups[0].learning_rate == rate);
        ck_assert_uint_eq(run.optimizer->steps, 2);
        free(before);
        stop(&run);
    }
}
END_TEST

START_TEST(a_refused_group_changes_nothing)
{
    run_t run = start(&factored_kind);
    tlm_tensor_t *tensors[2] = {make_parameter(8, 3), make_parameter(8, 4)}, *cube;
    const tlmi_group_t *group = &run.optimizer->groups[0];

    ASSERT_OK(tlm_reshape(&cube, tensors[1], (const int64_t[]){2, 2, 2}, 3));
    tlm_tensor_free(tensors[1]);
    ASSERT_OK(tlm_tensor_set_requires_grad(tensors[0], false));
    tensors[1] = cube;
    ck_assert_int_lt(tlmi_optimizer_add(run.optimizer, "test", tensors, 2, group), 0);
    ck_assert_uint_eq(run.optimizer->num_groups, 1);
    ck_assert_uint_eq(run.optimizer->num_parameters, 2);
    ASSERT_OK(tlmi_optimizer_add(run.optimizer, "test", tensors, 1, group));
    ck_assert_uint_eq(run.optimizer->parameters[2].num_states, 1);
    tlm_tensor_free(tensors[0]);
    tlm_tensor_free(cube);
    stop(&run);
}
END_TEST

START_TEST(threads_do_not_change_a_bit)
{
    for (size_t k = 0; kind_at(k) != NULL; k++) {
        float *first = NULL;

        for (int32_t threads = 1; threads <= 4; threads++) {
            run_t run = start(kind_at(k));
            float *now;
            size_t n;

            ASSERT_OK(tlm_set_num_threads(threads));
            for (uint64_t step = 0; step < 4; step++) {
                set_gradients(&run, step);
                ASSERT_OK(tlm_clip_grad_norm(NULL, run.parameters, 2, 1.0));
                ASSERT_OK(tlm_optimizer_step(run.optimizer));
            }
            now = snapshot(&run, &n);
            if (first != NULL)
                ck_assert_mem_eq(now, first, n * sizeof(float));
            free(first);
            first = now;
            stop(&run);
        }
        free(first);
    }
    ASSERT_OK(tlm_set_num_threads(0));
}
END_TEST

/* A parameter without a gradient stays as it is, and so do its buffers. */
START_TEST(parameters_without_a_gradient_are_skipped)
{
    for (size_t k = 0; kind_at(k) != NULL; k++) {
        run_t run = start(kind_at(k));
        float first = ((float *)tlm_tensor_data(run.parameters[1]))[0];

        set_gradients(&run, 0);
        tlm_tensor_zero_grad(run.parameters[1]);
        ASSERT_OK(tlm_optimizer_step(run.optimizer));
        ck_assert(((float *)tlm_tensor_data(run.parameters[1]))[0] == first);
        for (size_t j = 0; j < run.optimizer->parameters[1].num_states; j++)
            ck_assert(run.optimizer->parameters[1].states[j].values[0] == 0.0f);
        stop(&run);
    }
}
END_TEST

static size_t state_bytes(const tlm_optimizer_t *optimizer)
{
    size_t bytes = 0;

    for (size_t i = 0; i < optimizer->num_parameters; i++)
        for (size_t j = 0; j < optimizer->parameters[i].num_states; j++)
            bytes += optimizer->parameters[i].states[j].numel * sizeof(float);
    return bytes;
}

/* An optimizer of one parameter that has a gradient, whose elements are never read. */
static tlm_optimizer_t *start_dry(const tlmi_group_t *group)
{
    const int64_t shape[2] = {3000, 2000};
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *matrix, *same, *sum;

    ASSERT_OK(tlm_tensor_create(&matrix, TLM_FLOAT32, shape, 2));
    ASSERT_OK(tlm_tensor_set_requires_grad(matrix, true));
    ASSERT_OK(tlm_scale(&same, matrix, 1.0f));
    ASSERT_OK(tlm_sum(&sum, same));
    ASSERT_OK(tlm_tensor_backward(sum, NULL));
    tlm_tensor_free(sum);
    tlm_tensor_free(same);
    ASSERT_OK(tlmi_optimizer_new(&optimizer, "test", group));
    ASSERT_OK(tlmi_optimizer_add(optimizer, "test", &matrix, 1, group));
    tlm_tensor_free(matrix);
    return optimizer;
}

START_TEST(dry_runs_count_the_state)
{
    for (size_t k = 0; kind_at(k) != NULL; k++) {
        tlmi_memory_tracker_t tracker = {0};
        _Alignas(16) char room[ROOM];
        tlmi_group_t group = make_group(kind_at(k), 0.5, room);

        tlmi_dry_run_begin(&tracker);
        tlm_optimizer_t *optimizer = start_dry(&group);
        ck_assert_uint_eq(tracker.lasting_bytes, state_bytes(optimizer));
        for (int step = 0; step < 2; step++)
            ASSERT_OK(tlm_optimizer_step(optimizer));
        ck_assert_uint_eq(tracker.lasting_bytes, state_bytes(optimizer));
        tlm_optimizer_free(optimizer);
        tlmi_dry_run_end();
        ck_assert_uint_eq(tracker.lasting_bytes, 0);
        ck_assert_uint_eq(tracker.stats.live_bytes, 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("optimizer_kinds");
    TCase *tcase = tcase_create("optimizer_kinds");

    tcase_add_test(tcase, every_option_is_checked);
    tcase_add_test(tcase, names_of_kinds_and_buffers_are_distinct);
    tcase_add_test(tcase, a_failed_step_changes_nothing);
    tcase_add_test(tcase, a_refused_group_changes_nothing);
    tcase_add_test(tcase, threads_do_not_change_a_bit);
    tcase_add_test(tcase, parameters_without_a_gradient_are_skipped);
    tcase_add_test(tcase, dry_runs_count_the_state);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
