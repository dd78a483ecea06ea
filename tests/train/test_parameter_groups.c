/* A model's parameters as groups of an optimizer, and the search for values that are not finite. */
#include "io_support.h"
#include "run_suite.h"

#include <math.h>

#include "model/model_core.h"
#include "optim/optimizer_core.h"

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 13,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 2,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7};

static bool is_norm(const char *name)
{
    return strstr(name, "ln") != NULL;
}

static bool is_embedding(const char *name)
{
    return strcmp(name, "token_embeddings.weight") == 0;
}

/* Each parameter is there once, and decays unless it was excluded. */
START_TEST(parameters_decay_unless_excluded)
{
    uint32_t no_decay = (uint32_t)_i;
    tlm_group_options_t given = {sizeof(given), 0.5, 0.25, true, true, {0}, 0.0};
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, &tiny));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, no_decay, &given));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), no_decay == 0 ? 1 : 2);
    ck_assert_uint_eq(tlm_optimizer_num_parameters(optimizer), tlm_model_num_parameters(model));
    for (size_t i = 0; i < tlm_model_num_parameters(model); i++) {
        const tlmi_parameter_t *found = NULL;
        const tlmi_group_t *group;
        tlm_tensor_t *tensor;
        const char *name;
        bool excluded;

        ASSERT_OK(tlm_model_parameter_name(&name, model, i));
        ASSERT_OK(tlm_model_parameter(&tensor, model, name));
        for (size_t j = 0; j < optimizer->num_parameters; j++)
            if (optimizer->parameters[j].tensor == tensor)
                found = &optimizer->parameters[j];
        ck_assert_ptr_nonnull(found);
        group = &optimizer->groups[found->group];
        excluded = (is_norm(name) && (no_decay & TLM_NO_DECAY_NORMS) != 0) ||
                   (is_embedding(name) && (no_decay & TLM_NO_DECAY_EMBEDDINGS) != 0);
        ck_assert_msg(group->weight_decay == (excluded ? 0.0 : 0.25), "%s", name);
        ck_assert(group->learning_rate == 0.5);
    }
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}
END_TEST

START_TEST(a_model_without_such_parameters_or_sgd_has_one_group)
{
    tlm_model_options_t plain = tiny;
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;

    plain.norm = TLM_NORM_NONE;
    ASSERT_OK(tlm_model_create(&model, &plain));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_NORMS, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 1);
    ck_assert(optimizer->groups[0].weight_decay == 0.01); /* the optimizer's own */
    tlm_optimizer_free(optimizer);
    ASSERT_OK(tlm_optimizer_create_sgd(&optimizer, 0.1));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_EMBEDDINGS, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 1);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}
END_TEST

/* Checks the rates of a model that is four times as wide as its base_width: `hidden` is the factor of hidden
 * matrices. Weights decay as fast as in the narrow model. */
static void check_width(const tlm_optimizer_t *optimizer, const tlm_model_t *model, double rate,
                        double rest_rate, double hidden)
{
    const double decay = 0.25;

    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlm_tensor_t *tensor = optimizer->parameters[i].tensor;
        const tlmi_group_t *group = &optimizer->groups[optimizer->parameters[i].group];
        const char *name = NULL;
        size_t k = 0;

        while (model->parameters[k] != tensor)
            k++;
        ASSERT_OK(tlm_model_parameter_name(&name, model, k));
        const bool is_hidden = strstr(name, "attn") != NULL || strstr(name, "ffn") != NULL;
        const double own = is_hidden ? rate : rest_rate;
        const double factor = is_hidden ? hidden : strcmp(name, "lm_head.weight") == 0 ? 0.25 : 1.0;

        ck_assert_msg(fabs(group->learning_rate - own * factor) < 1e-15, "%s: %g", name,
                      group->learning_rate);
        ck_assert_msg(is_norm(name) ? group->weight_decay == 0.0
                                    : fabs(group->weight_decay - decay / factor) < 1e-15,
                      "%s: decay %g", name, group->weight_decay);
        const double scheduled = group->rate_factor == 0.0 ? 1.0 : group->rate_factor;
        ck_assert_msg(fabs(scheduled - factor * own / rate) < 1e-15, "%s: %g", name, scheduled);
    }
}

START_TEST(rates_follow_the_width)
{
    tlm_model_options_t wide = tiny;
    tlm_adamw_options_t adamw = TLM_ADAMW_OPTIONS_INIT;
    tlm_muon_options_t muon = TLM_MUON_OPTIONS_INIT;
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;

    adamw.learning_rate = 0.5;
    muon.learning_rate = 2.0;
    adamw.weight_decay = muon.weight_decay = 0.25;
    wide.base_width = 2;
    ASSERT_OK(tlm_model_create(&model, &wide));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, &adamw));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_NORMS, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 3);
    ck_assert_uint_eq(tlm_optimizer_num_parameters(optimizer), tlm_model_num_parameters(model));
    check_width(optimizer, model, 0.5, 0.5, 0.25);
    tlm_optimizer_free(optimizer);
    for (int32_t scale = 0; scale < 2; scale++) {
        muon.scale = scale;
        ASSERT_OK(tlm_optimizer_create_muon(&optimizer, &muon, &adamw));
        ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_NORMS, NULL));
        ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 4);
        ck_assert_uint_eq(tlm_optimizer_num_parameters(optimizer), tlm_model_num_parameters(model));
        check_width(optimizer, model, 2.0, 0.5, scale == TLM_MUON_SCALE_MOONLIGHT ? 0.5 : 1.0);
        tlm_optimizer_free(optimizer);
    }
    ASSERT_OK(tlm_optimizer_create_sgd(&optimizer, 0.1));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "base_width 2 and d_model 8: sgd has no rule",
                 tlm_optimizer_add_model(optimizer, model, 0, NULL));
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}
END_TEST

/* Gives a parameter a random gradient. */
static void set_gradient(tlm_tensor_t *tensor, uint32_t *state)
{
    tlm_tensor_t *gradient, *same;

    ASSERT_OK(tlm_tensor_create(&gradient, TLM_FLOAT32, tlm_tensor_shape(tensor),
                                tlm_tensor_ndim(tensor)));
    for (int64_t i = 0; i < tlm_tensor_numel(tensor); i++) {
        *state = *state * 1664525 + 1013904223;
        ((float *)tlm_tensor_data(gradient))[i] = (float)((int32_t)*state * 0x1p-31);
    }
    ASSERT_OK(tlm_scale(&same, tensor, 1.0f));
    ASSERT_OK(tlm_tensor_backward(same, gradient));
    tlm_tensor_free(same);
    tlm_tensor_free(gradient);
}

/* The root mean square of the difference. */
static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += (double)(a[i] - b[i]) * (double)(a[i] - b[i]);
    return sqrt(sum / (double)n);
}

enum { MOST_PARAMETERS = 32 };

/* The size of the first step of each parameter, in a model of this width and base width 32. */
static size_t measure_steps(double *steps, tlm_optimizer_t *optimizer, int64_t width)
{
    tlm_model_options_t options = tiny;
    float *before[MOST_PARAMETERS];
    tlm_tensor_t *const *tensors;
    tlm_model_t *model;
    uint32_t state = 1;
    size_t n;

    options.d_model = width;
    options.d_ff = 2 * width;
    options.base_width = 32;
    ASSERT_OK(tlm_model_create(&model, &options));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, 0, NULL));
    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    ck_assert_uint_le(n, MOST_PARAMETERS);
    for (size_t i = 0; i < n; i++) {
        const size_t size = (size_t)tlm_tensor_numel(tensors[i]) * sizeof(float);

        before[i] = malloc(size);
        memcpy(before[i], tlm_tensor_data(tensors[i]), size);
        set_gradient(tensors[i], &state);
    }
    ASSERT_OK(tlm_optimizer_step(optimizer));
    for (size_t i = 0; i < n; i++) {
        steps[i] =
            distance(tlm_tensor_data(tensors[i]), before[i], (size_t)tlm_tensor_numel(tensors[i]));
        free(before[i]);
    }
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    return n;
}

/* Elements of hidden matrices and of the output projection move by 1 / 16 where the model is 16 times
 * as wide, and all others as much. */
START_TEST(steps_follow_the_width)
{
    double narrow[MOST_PARAMETERS], wide[MOST_PARAMETERS];
    size_t n = 0;

    for (int64_t width = 32; width <= 512; width += 480) {
        tlm_adafactor_options_t adafactor = TLM_ADAFACTOR_OPTIONS_INIT;
        tlm_adamw_options_t adamw = TLM_ADAMW_OPTIONS_INIT;
        tlm_optimizer_t *optimizer;

        adamw.weight_decay = 0.0;
        ASSERT_OK(_i == 0 ? tlm_optimizer_create_adamw(&optimizer, &adamw)
                          : tlm_optimizer_create_adafactor(&optimizer, &adafactor));
        n = measure_steps(width == 32 ? narrow : wide, optimizer, width);
    }
    tlm_model_t *model;
    ASSERT_OK(tlm_model_create(&model, &tiny)); /* for the names */
    for (size_t i = 0; i < n; i++) {
        const char *name;

        ASSERT_OK(tlm_model_parameter_name(&name, model, i));
        const double expected = is_norm(name) || is_embedding(name) ? 1.0 : 1.0 / 16.0;
        ck_assert_msg(fabs(wide[i] / narrow[i] / expected - 1.0) < 0.15, "%s: %g times", name,
                      wide[i] / narrow[i]);
    }
    tlm_model_free(model);
}
END_TEST

/* At the base width nothing is scaled, whatever the optimizer. */
START_TEST(rates_are_those_given_at_the_base_width)
{
    tlm_model_options_t same = tiny;
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;

    same.base_width = same.d_model;
    ASSERT_OK(tlm_model_create(&model, &same));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, 0, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 1);
    ck_assert(optimizer->groups[0].rate_factor == 0.0);
    tlm_optimizer_free(optimizer);
    ASSERT_OK(tlm_optimizer_create_sgd(&optimizer, 0.1));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, 0, NULL));
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}
END_TEST

START_TEST(a_refused_model_adds_nothing)
{
    tlm_group_options_t bad = {sizeof(bad), -1.0, 0.25, true, true, {0}, 0.0};
    tlm_tensor_t *embedding, *head;
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, &tiny));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "0x4",
                 tlm_optimizer_add_model(optimizer, model, 4, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "-1",
                 tlm_optimizer_add_model(optimizer, model, 3, &bad));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model is NULL",
                 tlm_optimizer_add_model(optimizer, NULL, 0, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "optimizer is NULL",
                 tlm_optimizer_add_model(NULL, model, 0, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 0);
    /* The second group fails, and the first is taken away again. */
    ASSERT_OK(tlm_model_parameter(&embedding, model, "token_embeddings.weight"));
    ASSERT_OK(tlm_model_parameter(&head, model, "lm_head.weight"));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &embedding, 1, NULL));
    ASSERT_FAILS(TLM_ERR_STATE, "already", tlm_optimizer_add_model(optimizer, model, 2, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 1);
    ck_assert_uint_eq(tlm_optimizer_num_parameters(optimizer), 1);
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &head, 1, NULL));
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}
END_TEST

/* The group of a parameter. */
static const tlmi_group_t *group_of(const tlm_optimizer_t *optimizer, const tlm_model_t *model,
                                    const char *name)
{
    tlm_tensor_t *tensor;

    ASSERT_OK(tlm_model_parameter(&tensor, model, name));
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        if (optimizer->parameters[i].tensor == tensor)
            return &optimizer->groups[optimizer->parameters[i].group];
    return NULL;
}

START_TEST(rules_make_groups_by_name)
{
    tlm_schedule_options_t schedule = TLM_SCHEDULE_OPTIONS_INIT;
    tlm_group_rule_t rules[] = {TLM_GROUP_RULE_INIT, TLM_GROUP_RULE_INIT};
    tlm_muon_options_t muon = TLM_MUON_OPTIONS_INIT;
    tlm_adamw_options_t adamw = TLM_ADAMW_OPTIONS_INIT;
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;
    double rate;

    muon.learning_rate = 0.02;
    adamw.learning_rate = 0.01;
    muon.weight_decay = adamw.weight_decay = 0.25;
    schedule.max_learning_rate = 0.5;
    rules[0].patterns = "token_embeddings.*, lm_head.weight";
    rules[0].has_learning_rate = true;
    rules[0].learning_rate = 0.04;
    rules[0].schedule = &schedule;
    rules[1].patterns = "layers.1.*";
    rules[1].has_weight_decay = true;
    rules[1].weight_decay = 0.125;
    ASSERT_OK(tlm_model_create(&model, &tiny));
    ASSERT_OK(tlm_optimizer_create_muon(&optimizer, &muon, &adamw));
    ASSERT_OK(tlm_optimizer_add_model_with(optimizer, model, TLM_NO_DECAY_NORMS, NULL, rules, 2));
    ck_assert_uint_eq(tlm_optimizer_num_parameters(optimizer), tlm_model_num_parameters(model));
    const tlmi_group_t *head = group_of(optimizer, model, "lm_head.weight");
    ck_assert(head == group_of(optimizer, model, "token_embeddings.weight"));
    ck_assert(head->learning_rate == 0.04 && head->rate_factor == 2.0);
    ck_assert(head->weight_decay == 0.25 && strcmp(head->kind->name, "adamw") == 0);
    const tlmi_group_t *first = group_of(optimizer, model, "layers.0.ffn.w1.weight");
    const tlmi_group_t *second = group_of(optimizer, model, "layers.1.ffn.w1.weight");
    ck_assert(first->learning_rate == 0.02 && first->weight_decay == 0.25);
    ck_assert(second->learning_rate == 0.02 && second->weight_decay == 0.125);
    ck_assert(group_of(optimizer, model, "layers.0.ln1.weight")->weight_decay == 0.0);
    const tlmi_group_t *norm = group_of(optimizer, model, "layers.1.ln1.weight");
    ck_assert(norm->weight_decay == 0.125 && norm->learning_rate == 0.01 &&
              norm->rate_factor == 0.5);
    ASSERT_OK(tlm_optimizer_step(optimizer));
    ASSERT_OK(tlm_optimizer_learning_rate(&rate, optimizer, (size_t)(head - optimizer->groups)));
    ck_assert(rate == 0.5); /* by its schedule */
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}
END_TEST

START_TEST(wrong_rules_are_refused)
{
    tlm_group_rule_t rules[] = {TLM_GROUP_RULE_INIT, TLM_GROUP_RULE_INIT};
    tlm_schedule_options_t schedule = TLM_SCHEDULE_OPTIONS_INIT;
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;

#define REFUSE(code, text, change)                                                                 \
    rules[0] = rules[1] = (tlm_group_rule_t)TLM_GROUP_RULE_INIT;                                   \
    rules[0].patterns = "layers.0.*";                                                              \
    rules[1].patterns = "*.ffn.w1.weight,lm_head.*";                                               \
    change;                                                                                        \
    ASSERT_FAILS(code, text, tlm_optimizer_add_model_with(optimizer, model, 0, NULL, rules, 2));   \
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 0)
    ASSERT_OK(tlm_model_create(&model, &tiny));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    REFUSE(TLM_ERR_INVALID_ARGUMENT,
           "'layers.0.ffn.w1.weight' fits rule 0 ('layers.0.*') and rule 1 ('*.ffn.w1.weight,", );
    REFUSE(TLM_ERR_NOT_FOUND, "no trained parameter fits 'heads.*' of rule 1",
           rules[1].patterns = "lm_head.*, heads.*");
    REFUSE(TLM_ERR_NOT_FOUND, "fits '' of rule 1", rules[1].patterns = " , ");
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "patterns of rule 1 is NULL", rules[1].patterns = NULL);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "learning_rate of rule 0 is 0",
           rules[0].has_learning_rate = true);
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "learning_rate -1",
           (rules[1].patterns = "lm_head.*", rules[1].has_learning_rate = true,
            rules[1].learning_rate = -1.0));
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "max_learning_rate -1",
           (rules[1].patterns = "lm_head.*", schedule.max_learning_rate = -1.0,
            rules[1].schedule = &schedule));
    REFUSE(TLM_ERR_INVALID_ARGUMENT, "reserved", rules[0].reserved[1] = 1);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_optimizer_add_model_with(optimizer, model, 0, NULL, NULL, 2));
    ASSERT_OK(tlm_model_set_frozen(model, "lm_head.*", true));
    REFUSE(TLM_ERR_NOT_FOUND, "'lm_head.*' of rule 1", rules[1].patterns = "lm_head.*");
#undef REFUSE
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}
END_TEST

START_TEST(what_is_not_finite_is_named)
{
    static const uint32_t ids[7] = {1, 2, 3, 4, 5, 6, 7};
    tlm_tensor_t *weight, *loss;
    tlm_model_t *model;
    float *values, kept;

    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model is NULL", tlm_model_check_finite(NULL));
    ASSERT_OK(tlm_model_create(&model, &tiny));
    ASSERT_OK(tlm_model_check_finite(model));
    ASSERT_OK(tlm_model_loss(&loss, model, ids, ids + 1, 1, 6));
    ASSERT_OK(tlm_tensor_backward(loss, NULL));
    tlm_tensor_free(loss);
    ASSERT_OK(tlm_model_check_finite(model));
    ASSERT_OK(tlm_model_parameter(&weight, model, "layers.1.ffn.w2.weight"));
    values = tlm_tensor_data(tlm_tensor_grad(weight));
    values[11] = -INFINITY;
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "the gradient of layers.1.ffn.w2.weight is -inf at element 11",
                 tlm_model_check_finite(model));
    ASSERT_OK(tlm_model_parameter(&weight, model, "layers.1.ln1.weight"));
    values = tlm_tensor_data(weight);
    kept = values[7];
    values[7] = NAN;
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "model_check_finite: layers.1.ln1.weight is",
                 tlm_model_check_finite(model));
    values[7] = kept;
    tlm_model_zero_grad(model);
    ASSERT_OK(tlm_model_check_finite(model));
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("parameter_groups");
    TCase *tcase = tcase_create("parameter_groups");

    tcase_add_loop_test(tcase, parameters_decay_unless_excluded, 0, 4);
    tcase_add_test(tcase, a_model_without_such_parameters_or_sgd_has_one_group);
    tcase_add_test(tcase, rates_follow_the_width);
    tcase_add_loop_test(tcase, steps_follow_the_width, 0, 2);
    tcase_add_test(tcase, rates_are_those_given_at_the_base_width);
    tcase_add_test(tcase, a_refused_model_adds_nothing);
    tcase_add_test(tcase, rules_make_groups_by_name);
    tcase_add_test(tcase, wrong_rules_are_refused);
    tcase_add_test(tcase, what_is_not_finite_is_named);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
