/* The bits of training: losses, gradients' norms, parameters, and what the models then generate. */
#include "golden_cases.h"

enum { STEPS = 50, GENERATED = 60, DATA_LENGTH = 20000 };
/* So many tokens that the products of the weights' gradients are summed up in several blocks. */
enum { LARGE_BATCH = 20 };

/* ---- Models ----------------------------------------------------------------------------- */

/* CS336's structure, of sizes that fill the kernels' tiles. */
static const tlm_model_options_t cs336_shape = {.size = sizeof(tlm_model_options_t),
                                                .vocab_size = 640,
                                                .context_length = 64,
                                                .d_model = 64,
                                                .num_layers = 4,
                                                .num_heads = 4,
                                                .seed = 336};

/* What 0.2 added to it, of sizes that fill no tile. */
static const tlm_model_options_t variant_shape = {.size = sizeof(tlm_model_options_t),
                                                  .vocab_size = 301,
                                                  .context_length = 37,
                                                  .d_model = 60,
                                                  .num_layers = 3,
                                                  .num_heads = 6,
                                                  .num_kv_heads = 2,
                                                  .d_ff = 100,
                                                  .rope_theta = 5000.0,
                                                  .seed = 2,
                                                  .norm = TLM_NORM_POST,
                                                  .tied_embeddings = true};

static void check_parameters(const tlm_model_t *model, const char *name)
{
    uint64_t hash;

    ASSERT_OK(golden_hash_parameters(&hash, model));
    golden_check(name, 16, &hash, 1);
}

/* ---- Generation ------------------------------------------------------------------------- */

/* A greedy and a sampled sequence at once, past the context, so that the window is computed again. */
static void check_sequences(tlm_model_t *model, const char *prefix)
{
    static const char *const names[] = {"greedy", "sampled"};
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    static const uint32_t prompt[] = {5, 17, 41, 2, 30};
    tlm_generator_t *generator;
    size_t sequence, running;
    char name[64];

    options.max_tokens = GENERATED;
    options.past_context = TLM_PAST_CONTEXT_RECOMPUTE;
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, COUNT(prompt), &options));
    options.temperature = 0.9;
    options.top_k = 30;
    options.top_p = 0.95;
    options.min_p = 0.001;
    options.repetition_penalty = 1.1;
    options.seed = 11;
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, COUNT(prompt), &options));
    do
        ASSERT_OK(tlm_generator_step(&running, generator));
    while (running > 0);
    for (size_t i = 0; i < COUNT(names); i++) {
        values_t ids = {.n = 0}, scores = {.n = 0};
        const float *log_probs;
        const uint32_t *tokens;
        size_t n;

        ASSERT_OK(tlm_generator_tokens(&tokens, &log_probs, &n, generator, i));
        ck_assert_uint_eq(n, GENERATED);
        for (size_t k = 0; k < n; k++) {
            add_value(&ids, tokens[k]);
            add_value(&scores, golden_float_bits(log_probs[k]));
        }
        snprintf(name, sizeof(name), "%s.%s.ids", prefix, names[i]);
        check_values(&ids, name, 3);
        snprintf(name, sizeof(name), "%s.%s.log_probs", prefix, names[i]);
        check_values(&scores, name, 8);
    }
    tlm_generator_free(generator);
}

/* One prompt by one call, and the score of what it gave. */
static void check_one_call(tlm_model_t *model, const char *prefix)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    static const uint32_t prompt[] = {9, 1};
    values_t values = {.n = 0};
    uint64_t total_bits;
    double total;
    char name[64];
    uint32_t *ids;
    size_t n;

    options.max_tokens = 2 * GENERATED;
    options.past_context = TLM_PAST_CONTEXT_RECOMPUTE;
    options.temperature = 1.0;
    options.seed = 23;
    ASSERT_OK(tlm_model_generate(&ids, &n, model, prompt, COUNT(prompt), &options, NULL, NULL));
    for (size_t i = 0; i < n; i++)
        add_value(&values, ids[i]);
    snprintf(name, sizeof(name), "%s.one_call.ids", prefix);
    check_values(&values, name, 3);
    ASSERT_OK(tlm_model_score(&total, NULL, model, ids, n, 0));
    total_bits = golden_double_bits(total);
    snprintf(name, sizeof(name), "%s.one_call.score", prefix);
    golden_check(name, 16, &total_bits, 1);
    tlm_free(ids);
}

void golden_check_generation(tlm_model_t *model, const char *prefix)
{
    check_sequences(model, prefix);
    check_one_call(model, prefix);
}

/* ---- Training --------------------------------------------------------------------------- */

START_TEST(training_keeps_its_bits)
{
    golden_run_t run = {NULL, 4, cs336_shape.context_length, 7, STEPS, 0.01};
    values_t losses = {.n = 0}, norms = {.n = 0};
    tlm_optimizer_t *optimizer;
    tlm_dataset_t *data;
    tlm_model_t *model;

    if (!begin_on_threads(_i))
        return;
    ASSERT_OK(golden_make_data(&data, DATA_LENGTH, (uint32_t)cs336_shape.vocab_size, 1));
    ASSERT_OK(tlm_model_create(&model, &cs336_shape));
    check_parameters(model, "train.fresh_parameters");
    ASSERT_OK(golden_make_optimizer(&optimizer, model, 0));
    run.data = data;
    for (uint64_t step = 0; step < STEPS; step++) {
        double norm;
        float loss;

        ASSERT_OK(golden_step(&loss, &norm, model, optimizer, &run, step));
        add_value(&losses, golden_float_bits(loss));
        add_value(&norms, golden_double_bits(norm));
    }
    check_values(&losses, "train.losses", 8);
    check_values(&norms, "train.gradient_norms", 16);
    check_parameters(model, "train.parameters");
    golden_check_generation(model, "train");
    run.batch = LARGE_BATCH;
    losses.n = 0;
    for (uint64_t step = STEPS; step < STEPS + 3; step++) {
        double norm;
        float loss;

        ASSERT_OK(golden_step(&loss, &norm, model, optimizer, &run, step));
        add_value(&losses, golden_float_bits(loss));
    }
    check_values(&losses, "train.large_batch.losses", 8);
    check_parameters(model, "train.large_batch.parameters");
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    tlm_dataset_free(data);
}
END_TEST

/* Grouped queries, post-norm, tied embeddings; by a trainer, with prefetched batches of shuffled
 * windows, accumulated gradients and activation checkpointing. */
START_TEST(the_variant_keeps_its_bits)
{
    tlm_schedule_options_t schedule = TLM_SCHEDULE_OPTIONS_INIT;
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    values_t losses = {.n = 0}, norms = {.n = 0};
    tlm_evaluation_t evaluation = TLM_EVALUATION_INIT;
    tlm_dataset_t *data, *valid;
    tlm_optimizer_t *optimizer;
    tlm_trainer_t *trainer;
    tlm_loader_t *loader;
    tlm_model_t *model;
    uint64_t bits;

    if (!begin_on_threads(_i))
        return;
    ASSERT_OK(golden_make_data(&data, DATA_LENGTH, (uint32_t)variant_shape.vocab_size, 2));
    ASSERT_OK(golden_make_data(&valid, 1000, (uint32_t)variant_shape.vocab_size, 3));
    ASSERT_OK(tlm_model_create(&model, &variant_shape));
    ASSERT_OK(golden_make_optimizer(&optimizer, model, TLM_NO_DECAY_NORMS));
    loading.batch_size = 3;
    loading.context_length = variant_shape.context_length;
    loading.seed = 13;
    loading.order = TLM_ORDER_SHUFFLED;
    loading.prefetch = 2;
    ASSERT_OK(tlm_loader_create(&loader, data, &loading));
    schedule.kind = TLM_SCHEDULE_COSINE;
    schedule.max_learning_rate = 0.01;
    schedule.min_learning_rate = 0.001;
    schedule.warmup_steps = 4;
    schedule.total_steps = STEPS;
    options.steps = STEPS;
    options.schedule = &schedule;
    options.clip_norm = 0.5;
    options.accumulation = 2;
    options.valid = valid;
    options.activation_checkpointing = true;
    ASSERT_OK(tlm_trainer_create(&trainer, model, optimizer, loader, &options));
    for (int step = 0; step < STEPS; step++) {
        tlm_train_step_t done = TLM_TRAIN_STEP_INIT;

        ASSERT_OK(tlm_trainer_step(&done, trainer));
        add_value(&losses, golden_double_bits(done.loss));
        add_value(&norms, golden_double_bits(done.gradient_norm));
    }
    check_values(&losses, "variant.losses", 16);
    check_values(&norms, "variant.gradient_norms", 16);
    check_parameters(model, "variant.parameters");
    ASSERT_OK(tlm_trainer_evaluate(&evaluation, trainer));
    bits = golden_double_bits(evaluation.loss);
    golden_check("variant.evaluation", 16, &bits, 1);
    golden_check_generation(model, "variant");
    tlm_trainer_free(trainer);
    tlm_loader_free(loader);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    tlm_dataset_free(valid);
    tlm_dataset_free(data);
}
END_TEST

void golden_add_training(TCase *tcase)
{
    tcase_add_loop_test(tcase, training_keeps_its_bits, 1, 3);
    tcase_add_loop_test(tcase, the_variant_keeps_its_bits, 1, 3);
}
