/* Training steps, generation, checkpoints and token files. */
#include "oom_scenarios.h"

#include <string.h>

#include "failing_allocator.h"

enum { VOCAB = 23, TIME = 6, BATCH = 2 };

#define SHAPE(...)                                                                                 \
    {                                                                                              \
        .size = sizeof(tlm_model_options_t), .vocab_size = VOCAB, .context_length = TIME,          \
        .d_model = 8, .num_layers = 2, .num_heads = 2, .d_ff = 16, .seed = 5, __VA_ARGS__          \
    }
static const tlm_model_options_t tiny = SHAPE(.rope_theta = 0.0);
static const tlm_model_options_t switched =
    SHAPE(.num_kv_heads = 1, .norm = TLM_NORM_POST, .position = TLM_POSITION_NONE,
          .ffn = TLM_FFN_SILU, .tied_embeddings = true, .value_embeddings = true,
          .label_smoothing = 0.1, .dropout = 0.1, .attention_dropout = 0.2,
          .embedding_dropout = 0.1);
static bool checkpointing;
static const uint32_t inputs[BATCH * TIME] = {1, 5, 9, 2, 22, 0, 3, 4, 8, 8, 17, 11};
static const uint32_t targets[BATCH * TIME] = {5, 9, 2, 22, 0, 7, 4, 8, 8, 17, 11, 20};

static tlm_model_t *model;
static tlm_optimizer_t *optimizer;
static float *before; /* the model's parameters, one after another */

static tlm_status_t make_training(tlm_model_t **made, tlm_optimizer_t **stepper,
                                  const tlm_model_options_t *options)
{
    tlm_status_t status;

    TRY(tlm_model_create(made, options));
    TRY(tlm_model_set_checkpointing(*made, checkpointing));
    TRY(tlm_optimizer_create_adamw(stepper, NULL));
    TRY(tlm_optimizer_add_model(*stepper, *made, TLM_NO_DECAY_NORMS, NULL));
    TRY(tlm_optimizer_add_adamw_group(*stepper, NULL, 0, NULL)); /* has options of its own */
done:
    return status;
}

static tlm_status_t step_once(tlm_model_t *trained, tlm_optimizer_t *stepper)
{
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss = NULL;
    tlm_status_t status;
    double norm;
    size_t n;

    tlm_optimizer_zero_grad(stepper);
    TRY(tlm_model_parameters(&tensors, &n, trained));
    TRY(tlm_model_set_dropout_row(trained, 0));
    TRY(tlm_model_loss(&loss, trained, inputs, targets, BATCH, TIME));
    TRY(tlm_tensor_backward(loss, NULL));
    TRY(tlm_clip_grad_norm(&norm, tensors, n, 1.0));
    TRY(tlm_optimizer_step(stepper));
done:
    tlm_tensor_free(loss);
    return status;
}

/* Copies all parameters out. */
static void copy_parameters(float *values)
{
    tlm_tensor_t *const *tensors;
    size_t n;

    MUST(tlm_model_parameters(&tensors, &n, model));
    for (size_t i = 0; i < n; i++) {
        size_t count = (size_t)tlm_tensor_numel(tensors[i]);
        MUST(tlm_tensor_copy_out(values, count, tensors[i]));
        values += count;
    }
}

static void make_model(void)
{
    MUST(make_training(&model, &optimizer, &tiny));
    MUST(step_once(model, optimizer));
    MUST(tlm_checkpoint_save(model, optimizer, 1, path_of("checkpoint")));
    MUST(step_once(model, optimizer));
    before = malloc(tlm_model_num_elements(model) * sizeof(*before));
    if (before == NULL)
        exit(1);
    copy_parameters(before);
    tlm_optimizer_zero_grad(optimizer);
    MUST(tlm_checkpoint_save(model, optimizer, 2, path_of("now")));
}

static void free_model(void)
{
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    free(before);
}

static tlm_status_t training(void)
{
    tlm_model_t *trained = NULL;
    tlm_optimizer_t *stepper = NULL;
    tlm_status_t status;

    TRY(make_training(&trained, &stepper, &tiny));
    TRY(step_once(trained, stepper));
    TRY(step_once(trained, stepper));
done:
    tlm_optimizer_free(stepper);
    tlm_model_free(trained);
    return status;
}

static tlm_status_t muon_training(void)
{
    tlm_model_t *trained = NULL;
    tlm_optimizer_t *stepper = NULL;
    tlm_status_t status;

    TRY(tlm_model_create(&trained, &tiny));
    TRY(tlm_optimizer_create_muon(&stepper, NULL, NULL));
    TRY(tlm_optimizer_add_model(stepper, trained, TLM_NO_DECAY_NORMS, NULL));
    TRY(step_once(trained, stepper));
done:
    tlm_optimizer_free(stepper);
    tlm_model_free(trained);
    return status;
}

static tlm_status_t checkpointed_training(void)
{
    tlm_status_t status;

    checkpointing = true;
    status = training();
    checkpointing = false;
    return status;
}

static tlm_status_t switched_training(void)
{
    tlm_model_t *trained = NULL;
    tlm_optimizer_t *stepper = NULL;
    tlm_status_t status;

    TRY(make_training(&trained, &stepper, &switched));
    TRY(step_once(trained, stepper));
    TRY(tlm_model_set_checkpointing(trained, true));
    TRY(step_once(trained, stepper));
    TRY(tlm_checkpoint_save(trained, stepper, 1, path_of("switched")));
    TRY(tlm_checkpoint_load(NULL, trained, stepper, path_of("switched")));
done:
    tlm_optimizer_free(stepper);
    tlm_model_free(trained);
    return status;
}

/* Groups by name, with a schedule, and averages that are taken. */
static tlm_status_t grouped_training(void)
{
    tlm_schedule_options_t schedule = TLM_SCHEDULE_OPTIONS_INIT;
    tlm_group_rule_t rules[] = {TLM_GROUP_RULE_INIT};
    tlm_optimizer_t *stepper = NULL;
    tlm_model_t *trained = NULL;
    tlm_status_t status;

    rules[0].patterns = "layers.0.*";
    rules[0].schedule = &schedule;
    TRY(tlm_model_create(&trained, &tiny));
    TRY(tlm_optimizer_create_muon(&stepper, NULL, NULL));
    TRY(tlm_optimizer_add_model_with(stepper, trained, 0, NULL, rules, 1));
    tlm_optimizer_free(stepper);
    stepper = NULL;
    TRY(tlm_optimizer_create_adafactor(&stepper, NULL));
    TRY(tlm_optimizer_add_model_with(stepper, trained, 0, NULL, rules, 1));
    TRY(tlm_optimizer_set_average(stepper, 0.5));
    TRY(step_once(trained, stepper));
    TRY(tlm_optimizer_take_average(stepper));
done:
    tlm_optimizer_free(stepper);
    tlm_model_free(trained);
    return status;
}

static tlm_status_t forward(void)
{
    tlm_tensor_t *logits = NULL;
    tlm_status_t status = tlm_model_forward(&logits, model, inputs, BATCH, TIME);

    tlm_tensor_free(logits);
    return status;
}

static tlm_status_t generation(void)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    uint32_t *ids = NULL;
    tlm_status_t status;
    size_t n;

    options.max_tokens = 2 * TIME;
    options.temperature = 1.0;
    options.top_p = 0.9;
    options.top_k = 10;
    TRY(tlm_model_generate(&ids, &n, model, inputs, 4, &options, NULL, NULL));
    if (n != 2 * TIME)
        fault("generation ended early");
done:
    tlm_free(ids);
    return status;
}

static tlm_status_t add_sequences(tlm_generator_t *made, size_t *added)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    tlm_status_t status;
    size_t sequence;

    options.max_tokens = 2 * TIME;
    options.temperature = 1.0;
    options.repetition_penalty = 1.1;
    options.num_top_log_probs = 3;
    options.stop_sequences = &(tlm_ids_t){targets, 5};
    options.num_stop_sequences = 1;
    for (*added = 0; *added < 3; ++*added)
        TRY(tlm_generator_add(&sequence, made, inputs + *added, 3, &options));
done:
    return status;
}

static tlm_status_t step_to_the_end(tlm_generator_t *made)
{
    tlm_status_t status;
    size_t running;

    do
        TRY(tlm_generator_step(&running, made));
    while (running > 0);
done:
    return status;
}

/* After a failure the sequences go on as if there had been none. */
static tlm_status_t generator(void)
{
    tlm_generator_t *made = NULL, *other = NULL;
    const uint32_t *ids, *other_ids;
    tlm_status_t status;
    size_t added = 0, all, n, other_n;

    TRY(tlm_generator_create(&made, model));
    TRY(add_sequences(made, &added));
    TRY(step_to_the_end(made));
done:
    if (made != NULL) {
        stop_failing();
        MUST(step_to_the_end(made));
        MUST(tlm_generator_create(&other, model));
        MUST(add_sequences(other, &all));
        MUST(step_to_the_end(other));
        for (size_t i = 0; i < added; i++) {
            MUST(tlm_generator_tokens(&ids, NULL, &n, made, i));
            MUST(tlm_generator_tokens(&other_ids, NULL, &other_n, other, i));
            if (n != 2 * TIME || other_n != n || memcmp(ids, other_ids, n * sizeof(*ids)) != 0)
                fault("a failure changed what a sequence goes on with");
        }
    }
    tlm_generator_free(other);
    tlm_generator_free(made);
    return status;
}

static tlm_status_t cost(void)
{
    tlm_cost_t told = TLM_COST_INIT;

    return tlm_model_cost(&told, &tiny, NULL);
}

static tlm_status_t score(void)
{
    double total;

    return tlm_model_score(&total, NULL, model, inputs, BATCH * TIME, 0);
}

static tlm_status_t saving(void)
{
    return tlm_checkpoint_save(model, optimizer, 7, path_of("saved"));
}

static tlm_status_t save_to_directory(uint64_t iteration, double loss)
{
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;

    options.metadata = "{\"seed\":[1,2]}";
    options.has_validation_loss = true;
    options.validation_loss = loss;
    return tlm_checkpoint_dir_save(model, NULL, iteration, path_of("."), 1, &options);
}

static void make_directory(void)
{
    make_model();
    MUST(save_to_directory(2, 2.5));
}

/* A failure leaves the checkpoints that were there. */
static tlm_status_t saving_to_directory(void)
{
    tlm_status_t status = save_to_directory(3, 3.0);
    char *path;

    stop_failing();
    MUST(tlm_checkpoint_dir_best(&path, NULL, path_of(".")));
    if (strcmp(path, path_of("./step-00000002.safetensors")) != 0)
        fault("the best checkpoint is another");
    tlm_free(path);
    return status;
}

static tlm_status_t finding_in_directory(void)
{
    char *latest = NULL, *best = NULL, *metadata = NULL;
    tlm_status_t status;

    TRY(tlm_checkpoint_dir_latest(&latest, NULL, path_of(".")));
    TRY(tlm_checkpoint_dir_best(&best, NULL, path_of(".")));
    TRY(tlm_checkpoint_metadata(&metadata, NULL, best));
done:
    tlm_free(latest);
    tlm_free(best);
    tlm_free(metadata);
    return status;
}

/* A failure leaves model and optimizer as they were. */
static tlm_status_t loading(void)
{
    static float after[1 << 14];
    tlm_status_t status = tlm_checkpoint_load(NULL, model, optimizer, path_of("checkpoint"));

    stop_failing();
    if (status == TLM_OK) {
        MUST(tlm_checkpoint_load(NULL, model, optimizer, path_of("now")));
        return status;
    }
    copy_parameters(after);
    if (memcmp(before, after, tlm_model_num_elements(model) * sizeof(*before)) != 0 ||
        tlm_optimizer_steps(optimizer) != 2)
        fault("a load that failed changed the model or the optimizer");
    return status;
}

static tlm_status_t model_loading(void)
{
    tlm_model_t *loaded = NULL;
    tlm_status_t status = tlm_model_load(&loaded, path_of("checkpoint"));

    tlm_model_free(loaded);
    return status;
}

static tlm_status_t update_of_memory(void)
{
    const int64_t n = 5;
    tlm_tensor_t *tensors[4] = {NULL, NULL, NULL, NULL};
    tlm_status_t status;

    for (int i = 0; i < 4; i++)
        TRY(tlm_tensor_create(&tensors[i], TLM_FLOAT32, &n, 1));
    TRY(tlm_clip_norm(NULL, tensors + 3, 1, 1.0));
    TRY(tlm_adamw_update(tensors, tensors + 1, tensors + 2, tensors + 3, 1, 1, NULL));
done:
    for (int i = 0; i < 4; i++)
        tlm_tensor_free(tensors[i]);
    return status;
}

/* ---- Trainer ------------------------------------------------------------------------------------ */

/* A step, an evaluation and a save, and back to the checkpoint. */
static tlm_status_t trainer(void)
{
    static const tlm_schedule_options_t schedule = {
        sizeof(schedule), TLM_SCHEDULE_LINEAR, 0, 0.01, 0.001, 1, 4, 0};
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_trainer_t *made = NULL;
    tlm_model_t *trained = NULL;
    tlm_optimizer_t *stepper = NULL;
    tlm_dataset_t *dataset = NULL;
    tlm_loader_t *loader = NULL;
    tlm_status_t status;
    double rate = 0.0;

    loading.batch_size = BATCH;
    loading.context_length = TIME;
    TRY(tlm_dataset_from_ids(&dataset, inputs, BATCH * TIME));
    TRY(tlm_loader_create(&loader, dataset, &loading));
    TRY(make_training(&trained, &stepper, &tiny));
    options.steps = 4;
    options.schedule = &schedule;
    options.clip_norm = 1.0;
    options.accumulation = 2;
    options.batch_start = 1;
    options.batch_warmup_steps = 2;
    options.valid = dataset;
    options.eval_every = 1;
    options.checkpoint_path = path_of("trained");
    options.resume_changes = "steps";
    TRY(tlm_optimizer_set_schedule(stepper, 0, &schedule));
    TRY(tlm_trainer_create(&made, trained, stepper, loader, &options));
    TRY(tlm_trainer_run(made, 1));
    TRY(tlm_trainer_resume(made, NULL));
done:
    stop_failing();
    if (made != NULL && tlm_trainer_steps(made) == 0) {
        MUST(tlm_optimizer_learning_rate(&rate, stepper, 0));
        if (rate != 1e-3 || tlm_optimizer_steps(stepper) != 0)
            fault("a step that failed changed the optimizer");
    }
    tlm_trainer_free(made);
    tlm_optimizer_free(stepper);
    tlm_model_free(trained);
    tlm_loader_free(loader);
    tlm_dataset_free(dataset);
    return status;
}

/* ---- Token files -------------------------------------------------------------------------------- */

static tlm_status_t token_files(void)
{
    static uint32_t x[BATCH * TIME], y[BATCH * TIME];
    tlm_token_writer_t *writer = NULL;
    tlm_dataset_t *dataset = NULL, *copy = NULL, *wrapped = NULL, *files = NULL;
    tlm_status_t status;

    TRY(tlm_token_writer_create(&writer, path_of("tokens.npy"), TLM_TOKENS_UINT16));
    TRY(tlm_token_writer_push(writer, inputs, BATCH * TIME));
    TRY(tlm_token_writer_finish(writer));
    TRY(tlm_dataset_open(&dataset, path_of("tokens.npy"), TLM_TOKENS_AUTO, VOCAB));
    TRY(tlm_dataset_sample(x, y, dataset, BATCH, TIME, 1, 2));
    const char *const paths[] = {path_of("tokens.npy"), path_of("tokens.npy")};
    TRY(tlm_dataset_open_files(&files, paths, 2, TLM_TOKENS_AUTO, VOCAB));
    TRY(tlm_dataset_from_ids(&copy, inputs, BATCH * TIME));
    TRY(tlm_dataset_read(x, TIME, copy, 2));
    TRY(tlm_dataset_wrap(&wrapped, inputs, BATCH * TIME, TLM_TOKENS_UINT32));
done:
    tlm_token_writer_free(writer);
    tlm_dataset_free(dataset);
    tlm_dataset_free(copy);
    tlm_dataset_free(wrapped);
    tlm_dataset_free(files);
    return status;
}

/* A thread that cannot be started is no failure. */
static tlm_status_t loader(void)
{
    tlm_loader_options_t options = TLM_LOADER_OPTIONS_INIT;
    const uint32_t *x, *y;
    tlm_dataset_t *dataset = NULL;
    tlm_loader_t *made = NULL;
    tlm_status_t status;

    options.batch_size = 2;
    options.context_length = 3;
    options.order = TLM_ORDER_SHUFFLED;
    options.document_end = 8;
    options.has_document_end = true;
    options.prefetch = 2;
    TRY(tlm_dataset_from_ids(&dataset, inputs, BATCH * TIME));
    TRY(tlm_loader_create(&made, dataset, &options));
    TRY(tlm_loader_next(&x, &y, made));
    TRY(tlm_loader_seek(made, 5));
    TRY(tlm_loader_next(&x, &y, made));
done:
    tlm_loader_free(made);
    tlm_dataset_free(dataset);
    return status;
}

static tlm_status_t communicators(void)
{
    tlm_communicator_t *made[3];
    tlm_status_t status = tlm_communicator_create_local(made, 3);

    for (int32_t i = 0; i < 3 && status == TLM_OK; i++)
        tlm_communicator_free(made[i]);
    return status;
}

const scenario_t model_scenarios[] = {
    {"communicators", NULL, communicators, NULL, false},
    {"training", NULL, training, NULL, false},
    {"muon_training", NULL, muon_training, NULL, false},
    {"checkpointed_training", NULL, checkpointed_training, NULL, false},
    {"switched_training", NULL, switched_training, NULL, false},
    {"grouped_training", NULL, grouped_training, NULL, false},
    {"forward", make_model, forward, free_model, false},
    {"generation", make_model, generation, free_model, false},
    {"generator", make_model, generator, free_model, false},
    {"score", make_model, score, free_model, false},
    {"model_cost", NULL, cost, NULL, false},
    {"checkpoint_save", make_model, saving, free_model, false},
    {"checkpoint_dir_save", make_directory, saving_to_directory, free_model, false},
    {"checkpoint_dir_find", make_directory, finding_in_directory, free_model, false},
    {"checkpoint_load", make_model, loading, free_model, false},
    {"model_load", make_model, model_loading, free_model, false},
    {"update_of_memory", NULL, update_of_memory, NULL, false},
    {"trainer", NULL, trainer, NULL, false},
    {"token_files", NULL, token_files, NULL, false},
    {"loader", NULL, loader, NULL, true}, /* the C library keeps what it needs for a thread */
    {0},
};
