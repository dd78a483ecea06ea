/* The cost of models with each of their options, and of those of which nothing is trained. */
#include "run_suite.h"

#include <check.h>

#include "tinylm/tinylm.h"

static tlm_model_options_t small_model(void)
{
    tlm_model_options_t model = TLM_MODEL_OPTIONS_INIT;

    model.vocab_size = 512;
    model.context_length = 48;
    model.d_model = 128;
    model.num_layers = 3;
    model.num_heads = 4;
    return model;
}

/* ---- Each option -------------------------------------------------------------------------- */

/* A dry run has no memory for elements: an op that touches some all the same writes elsewhere, which
 * the sanitizers and valgrind see. */
static void check_option(const tlm_model_options_t *options)
{
    tlm_model_t *model;

    ck_assert_int_eq(tlm_model_create(&model, options), TLM_OK);
    for (int i = 0; i < 4; i++) {
        tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
        tlm_cost_t cost = TLM_COST_INIT;

        asked.batch = 2;
        asked.time = (i & 1) != 0 ? 31 : 0; /* 0: the whole context */
        asked.checkpointing = (i & 2) != 0;
        ck_assert_int_eq(tlm_model_cost(&cost, options, &asked), TLM_OK);
        ck_assert_uint_eq(cost.parameters, tlm_model_num_elements(model));
        ck_assert_uint_gt(cost.step_peak_bytes, 4 * cost.weight_bytes);
    }
    tlm_model_free(model);
}

static void set_layer_norm(tlm_model_options_t *model)
{
    model->norm_kind = TLM_KIND_OF_NORM_LAYER;
    model->ffn_bias = true;
    model->attention_bias = TLM_ATTENTION_BIAS_ALL;
    model->position = TLM_POSITION_LEARNED;
    model->ffn = TLM_FFN_GELU;
    model->tied_embeddings = true;
}

static void set_windows(tlm_model_options_t *model)
{
    model->sliding_window = 8;
    model->window_period = 2;
    model->window_rope_theta = 500.0;
    model->attention_softcap = 20.0;
    model->query_scalar = 40.0;
    model->qk_norm = TLM_QK_NORM_HEADS;
}

static void set_embeddings(tlm_model_options_t *model)
{
    model->scaled_embeddings = true;
    model->embedding_norm = true;
    model->value_embeddings = true;
    model->logit_softcap = 30.0;
    model->norm = TLM_NORM_BOTH;
    model->qk_norm = TLM_QK_NORM_WIDTH;
}

static void set_rope(tlm_model_options_t *model)
{
    model->rope_scaling = TLM_ROPE_SCALING_YARN;
    model->rope_factor = 4.0;
    model->unrotated_period = 2;
    model->head_dim = 48;
    model->num_kv_heads = 2;
    model->base_width = 64;
}

static void set_training(tlm_model_options_t *model)
{
    model->z_loss = 1e-4;
    model->label_smoothing = 0.1;
    model->dropout = 0.1;
    model->attention_dropout = 0.1;
    model->embedding_dropout = 0.1;
}

static void set_learned(tlm_model_options_t *model)
{
    model->position = TLM_POSITION_LEARNED;
    model->embedding_norm = true;
}

static void (*const sets[])(tlm_model_options_t *) = {
    set_layer_norm, set_windows, set_embeddings, set_rope, set_training, set_learned,
};

START_TEST(test_options)
{
    tlm_model_options_t model = small_model();

    sets[_i](&model);
    check_option(&model);
}
END_TEST

/* Each word of an option, where the others are the usual ones. */
START_TEST(test_words)
{
    tlm_model_options_t norm = small_model(), ffn = small_model();
    static const int32_t norms[] = {TLM_NORM_PRE, TLM_NORM_POST, TLM_NORM_NONE, TLM_NORM_AFTER,
                                    TLM_NORM_BOTH};

    norm.norm = norms[_i];
    ffn.ffn = TLM_FFN_SWIGLU + _i;
    check_option(&norm);
    check_option(&ffn);
}
END_TEST

/* ---- Models that are not trained ---------------------------------------------------------- */

static tlm_cost_t cost_of(const char *frozen, int32_t weights, bool checkpointing)
{
    const tlm_model_options_t model = small_model();
    tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
    tlm_cost_t cost = TLM_COST_INIT;

    asked.batch = 2;
    asked.frozen = frozen;
    asked.weights = weights;
    asked.checkpointing = checkpointing;
    ck_assert_int_eq(tlm_model_cost(&cost, &model, &asked), TLM_OK);
    return cost;
}

/* There is no step; all else is what it is for a trained model. */
static void check_frozen(const tlm_cost_t *cost)
{
    const tlm_cost_t usual = cost_of(NULL, TLM_FLOAT32, false);
    double forward = 0.0;

    for (int part = 0; part < TLM_MAX_PARTS; part++)
        forward += cost->forward_flops[part];
    ck_assert_uint_eq(cost->parameters, usual.parameters);
    ck_assert_uint_eq(cost->trained_parameters, 0);
    ck_assert_uint_eq(cost->gradient_bytes, 0);
    ck_assert_uint_eq(cost->optimizer_bytes, 0);
    ck_assert_uint_eq(cost->activation_bytes, 0);
    ck_assert_uint_eq(cost->step_live_bytes, 0);
    ck_assert_uint_eq(cost->step_peak_bytes, 0);
    ck_assert_uint_eq(cost->kv_cache_bytes, usual.kv_cache_bytes);
    ck_assert_mem_eq(cost->forward_flops, usual.forward_flops, sizeof(usual.forward_flops));
    ck_assert_double_eq(cost->step_flops, forward);
    ck_assert_double_eq(cost->model_flops, forward);
    ck_assert_double_eq(cost->token_flops, usual.token_flops);
}

START_TEST(test_all_parameters_are_frozen)
{
    const tlm_cost_t usual = cost_of(NULL, TLM_FLOAT32, false);
    const tlm_cost_t cost = cost_of("*", TLM_FLOAT32, _i == 1);

    check_frozen(&cost);
    ck_assert_uint_eq(cost.weight_bytes, usual.weight_bytes);
}
END_TEST

START_TEST(test_weights_that_are_not_trained)
{
    static const struct {
        int32_t type;
        uint64_t at_most; /* bytes per 1024 parameters; norms stay float32 */
    } types[] = {{TLM_BFLOAT16, 2100}, {TLM_FLOAT16, 2100}, {TLM_Q8_0, 1120}, {TLM_Q4_0, 610}};
    const tlm_cost_t cost = cost_of(NULL, types[_i].type, false);

    check_frozen(&cost);
    ck_assert_uint_le(cost.weight_bytes, cost.parameters * types[_i].at_most / 1024);
}
END_TEST

/* One more state for each trained parameter, whatever the kind, and three operations. */
START_TEST(test_averages)
{
    tlm_model_options_t shape = small_model();
    tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
    tlm_cost_t without = TLM_COST_INIT, with = TLM_COST_INIT;

    asked.optimizer = _i;
    asked.frozen = "layers.0.*";
    ck_assert_int_eq(tlm_model_cost(&without, &shape, &asked), TLM_OK);
    asked.average = true;
    ck_assert_int_eq(tlm_model_cost(&with, &shape, &asked), TLM_OK);
    const uint64_t trained = without.trained_parameters;
    ck_assert_uint_gt(trained, 0);
    ck_assert_uint_eq(with.optimizer_bytes, without.optimizer_bytes + 4 * trained);
    ck_assert_uint_ge(with.step_live_bytes, without.step_live_bytes + 4 * trained);
    ck_assert_uint_ge(with.step_peak_bytes, without.step_peak_bytes + 4 * trained);
    ck_assert_double_eq(with.optimizer_flops, without.optimizer_flops + 3.0 * (double)trained);
    asked.num_ranks = 2;
    asked.accumulation = 2;
    ck_assert_int_eq(tlm_model_cost(&without, &shape, &asked), TLM_OK);
    ck_assert_uint_eq(without.optimizer_bytes, with.optimizer_bytes / 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cost_options");
    TCase *tcase = tcase_create("cost_options");

    tcase_add_loop_test(tcase, test_options, 0, sizeof(sets) / sizeof(sets[0]));
    tcase_add_loop_test(tcase, test_words, 0, 5);
    tcase_add_loop_test(tcase, test_all_parameters_are_frozen, 0, 2);
    tcase_add_loop_test(tcase, test_weights_that_are_not_trained, 0, 4);
    tcase_add_loop_test(tcase, test_averages, 0, 5);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
