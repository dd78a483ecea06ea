/* The options of train_lm: their table, their defaults, and the options of the library that they set. */
#include "support/train_options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/file_kind.h"
#include "support/resume_record.h"

train_settings_t settings = {.order = "random",
                             .document_end = CLI_NONE,
                             .prefetch = 2,
                             .batch = 8,
                             .accumulate = 1,
                             .steps = 1200,
                             .schedule = "cosine",
                             .no_decay = "none",
                             .warmup = 100,
                             .decay_steps = CLI_NONE,
                             .max_rate = CLI_UNSET,
                             .min_rate = CLI_UNSET,
                             .weight_decay = CLI_UNSET,
                             .beta1 = 0.9,
                             .beta2 = CLI_UNSET,
                             .eps = 1e-8,
                             .products = "float32",
                             .optimizer = "adamw",
                             .adamw = "cs336_2025",
                             .momentum = 0.95,
                             .adamw_decay = -1.0,
                             .muon_scale = "moonlight",
                             .muon_iterations = 5,
                             .muon_eps = 1e-7,
                             .muon_nesterov = true,
                             .adafactor_power = 0.8,
                             .adafactor_eps = -1.0,
                             .adafactor_min_rms = 1e-3,
                             .adafactor_threshold = 1.0,
                             .clip = 1.0,
                             .range_low = 1e-5,
                             .range_high = 1.0,
                             .lora_alpha = 8.0,
                             .lora_targets = "all-linear",
                             .log_every = 50,
                             .eval_every = 400,
                             .eval_tokens = 16384,
                             .keep = 3,
                             .prompt = "Once upon a time",
                             .sample_tokens = 64};

static const cli_option_t options[] = {
    {NULL, CLI_FLAG, NULL, "Data", false},
    {"train", CLI_STRING, &settings.train,
     "token file to train on, or several with commas between them; with --init also text, or "
     "conversations (.jsonl)",
     true},
    {"valid", CLI_STRING, &settings.valid, "the same to validate on", true},
    {"order", CLI_STRING, &settings.order, "random windows, or every window once per epoch", false},
    {"document-end", CLI_COUNT, &settings.document_end,
     "id that ends a document; windows then start at documents", false},
    {"chat-template", CLI_STRING, &settings.chat_template,
     HELP_CHAT_TEMPLATE ", for conversations (.jsonl); else that of --init", false},
    {"pack", CLI_FLAG, &settings.pack, "puts several conversations in a row where they fit", false},
    {"prefetch", CLI_COUNT, &settings.prefetch, "batches prepared ahead on a thread", false},

    SHAPE_OPTIONS,

    {NULL, CLI_FLAG, NULL, "Fine-tuning", false},
    {"init", CLI_STRING, &settings.init,
     "model to start from: folder, GGUF or checkpoint; it sets the shape", false},
    {"freeze", CLI_STRING, &settings.freeze, HELP_FREEZE, false},
    {"lora-rank", CLI_COUNT, &settings.lora_rank, HELP_LORA_RANK "; only they are trained then",
     false},
    {"lora-alpha", CLI_REAL, &settings.lora_alpha, "scale of adapters, times their rank", false},
    {"lora-dropout", CLI_REAL, &settings.lora_dropout,
     "share of the inputs of adapters that is dropped", false},
    {"lora-targets", CLI_STRING, &settings.lora_targets, HELP_LORA_TARGETS, false},
    {"lora-rslora", CLI_FLAG, &settings.lora_rslora, "scale is alpha / sqrt(rank)", false},
    {"save-adapter", CLI_STRING, &settings.save_adapter,
     "folder of PEFT to write the adapters to at the end", false},

    {NULL, CLI_FLAG, NULL, "Steps", false},
    {"recipe", CLI_STRING, &settings.recipe,
     "set of defaults for how to train, listed below; other options, wherever they stand, win",
     false},
    {"steps", CLI_COUNT, &settings.steps, HELP_STEPS ", including those before --resume", false},
    {"stop-step", CLI_COUNT, &settings.stop, "stop early after this step; 0: do not", false},
    {"batch", CLI_COUNT, &settings.batch, HELP_BATCH, false},
    {"accumulate", CLI_COUNT, &settings.accumulate, "batches per step", false},
    {"batch-start", CLI_COUNT, &settings.batch_start, HELP_BATCH_START, false},
    {"batch-warmup", CLI_COUNT, &settings.batch_warmup, HELP_BATCH_WARMUP, false},
    {"batch-warmup-tokens", CLI_COUNT, &settings.batch_warmup_tokens,
     "or: tokens over which it grows", false},
    {"batch-increment", CLI_COUNT, &settings.batch_increment,
     "sequences by which it grows each time; 0: 1", false},
    {"checkpointing", CLI_FLAG, &settings.checkpointing, HELP_CHECKPOINTING, false},
    {"seed", CLI_COUNT, &settings.seed, HELP_SEED ", of the initial weights and the batches",
     false},
    {"threads", CLI_COUNT, &settings.threads, HELP_THREADS, false},
    {"mpi", CLI_FLAG, &settings.mpi, HELP_MPI, false},
    {"products", CLI_STRING, &settings.products,
     "factors of the linear layers; bfloat16 is fast where CPUs multiply it, emulated for tests",
     false},
    {"irreproducible", CLI_FLAG, &settings.irreproducible,
     "with --mpi: any number of ranks, whose number changes the last bits", false},

    {NULL, CLI_FLAG, NULL, "Optimizer", false},
    {"optimizer", CLI_STRING, &settings.optimizer, HELP_OPTIMIZER, false},
    {"schedule", CLI_STRING, &settings.schedule, "learning rate over time", false},
    {"rate", CLI_REAL, &settings.max_rate,
     "learning rate after the warm-up; by default 0.006 for adamw and muon, 0.0001 for lion, 0.01 "
     "for adafactor; sgd needs one",
     false},
    {"min-rate", CLI_REAL, &settings.min_rate,
     "learning rate at the end; by default 0.0006 for adamw and muon, else a tenth of --rate",
     false},
    {"warmup", CLI_COUNT, &settings.warmup, "steps over which the rate rises", false},
    {"decay-steps", CLI_COUNT, &settings.decay_steps,
     "steps at the end over which the rate of wsd falls; by default a fifth of all", false},
    {"weight-decay", CLI_REAL, &settings.weight_decay,
     "decay of the parameters; by default 0.1 for adamw and muon, else 0; sgd has none", false},
    {"no-decay", CLI_STRING, &settings.no_decay, "parameters without decay", false},
    {"group", CLI_STRINGS, &settings.groups,
     "\"PATTERNS: rate=X, decay=X, schedule=KIND\" for parameters by name; again for each group",
     false},
    {"beta1", CLI_REAL, &settings.beta1,
     "adamw: decay rate of the mean of gradients; lion: its weight in the step", false},
    {"beta2", CLI_REAL, &settings.beta2,
     "adamw: decay rate of the mean of their squares, by default 0.95, also beside muon; lion: of "
     "the mean of gradients, by default 0.99",
     false},
    {"eps", CLI_REAL, &settings.eps, "adamw: keeps the divisor away from 0", false},
    {"adamw", CLI_STRING, &settings.adamw, "variant of adamw", false},
    {"adamw-rate", CLI_REAL, &settings.adamw_rate,
     "adamw's learning rate beside muon's, which is --rate; 0: the same", false},
    {"adamw-decay", CLI_REAL, &settings.adamw_decay,
     "adamw's decay beside muon's, which is --weight-decay; below 0: the same", false},
    {"momentum", CLI_REAL, &settings.momentum, "muon: decay rate of the mean of gradients", false},
    {"muon-scale", CLI_STRING, &settings.muon_scale,
     "size of an update: 0.2 sqrt(max(rows, columns)), or sqrt(max(1, rows / columns))", false},
    {"muon-iterations", CLI_COUNT, &settings.muon_iterations,
     "steps of the Newton-Schulz iteration", false},
    {"muon-eps", CLI_REAL, &settings.muon_eps, "least norm that the momentum is divided by", false},
    {"muon-nesterov", CLI_FLAG, &settings.muon_nesterov, "Nesterov's momentum", false},
    {"adafactor-power", CLI_REAL, &settings.adafactor_power,
     "squares of the gradient weigh t^-power in step t", false},
    {"adafactor-eps", CLI_REAL, &settings.adafactor_eps,
     "keeps the divisor away from 0; below 0: 2^-23, as in PyTorch", false},
    {"adafactor-min-rms", CLI_REAL, &settings.adafactor_min_rms,
     "least root mean square that a parameter is taken to have", false},
    {"adafactor-threshold", CLI_REAL, &settings.adafactor_threshold,
     "root mean square that an update is clipped to; 0: it is not", false},
    {"range-test", CLI_FLAG, &settings.range_test,
     "find a learning rate: it rises over the steps; nothing else is saved or evaluated", false},
    {"range-low", CLI_REAL, &settings.range_low, "the first rate of --range-test", false},
    {"range-high", CLI_REAL, &settings.range_high, "the last one, unless the loss rises before",
     false},
    {"clip", CLI_REAL, &settings.clip, "norm that the gradient is clipped to; 0: no clipping",
     false},

    {"ema", CLI_REAL, &settings.ema, HELP_EMA "; what is evaluated is that average", false},

    {NULL, CLI_FLAG, NULL, "Only in training", false},
    {"dropout", CLI_REAL, &settings.dropout,
     "share of what blocks add to the residual stream that is dropped, in [0, 1)", false},
    {"attention-dropout", CLI_REAL, &settings.attention_dropout,
     "the same for weights of attention", false},
    {"embedding-dropout", CLI_REAL, &settings.embedding_dropout, "the same for embeddings", false},
    {"z-loss", CLI_REAL, &settings.z_loss, "weight of the squared logsumexp of the logits", false},
    {"label-smoothing", CLI_REAL, &settings.label_smoothing,
     "share of the target that all tokens have, in [0, 1)", false},

    {NULL, CLI_FLAG, NULL, "Output", false},
    {"output", CLI_STRING, &settings.output, HELP_OUTPUT ": a checkpoint", false},
    {"output-dir", CLI_STRING, &settings.output_dir,
     HELP_OUTPUT_DIR ": checkpoints, logs, a report", false},
    {"save-average", CLI_STRING, &settings.save_average,
     "checkpoint to write the average of the weights to at the end, without an optimizer", false},
    {"resume", CLI_STRING, &settings.resume,
     "checkpoint, or such a directory, to continue from; it sets the shape", false},
    {"tokenizer", CLI_STRING, &settings.tokenizer,
     HELP_TOKENIZER ", to store in the checkpoints; else that of --resume or --init", false},
    {"vocab", CLI_STRING, &settings.vocab, HELP_VOCAB, false},
    {"merges", CLI_STRING, &settings.merges, HELP_MERGES, false},
    {"save-every", CLI_COUNT, &settings.save_every, "steps between saves; 0: at the end only",
     false},
    {"keep", CLI_COUNT, &settings.keep,
     "checkpoints kept in the directory, in addition to the best; 0: all", false},
    {"eval-every", CLI_COUNT, &settings.eval_every, "steps between validations; 0: none", false},
    {"eval-tokens", CLI_COUNT, &settings.eval_tokens, "tokens per validation; 0: all", false},
    {"log-every", CLI_COUNT, &settings.log_every, "steps between lines of progress", false},
    {"prompt", CLI_STRING, &settings.prompt,
     HELP_PROMPT ", after each validation, where there is a tokenizer", false},
    {"sample-tokens", CLI_COUNT, &settings.sample_tokens, "length of a sample; 0: none", false},
    {"peak-gflops", CLI_REAL, &settings.peak_gflops, "peak rate for MFU; 0: measure this machine",
     false},
};

/* The words of options, in the order of the library's numbers. */
static const char *const orders[] = {"random", "shuffled", "sequential", NULL};
const char *const train_schedules[] = {"constant", "cosine", "linear", "wsd", NULL};
static const char *const products_words[] = {"float32", "bfloat16", "bfloat16_emulated", NULL};
const char *const train_no_decays[] = {"none", "norms", "embeddings", "both", NULL};
const char *const train_muon_scales[] = {"moonlight", "jordan", NULL};
const char *const train_variants[] = {"cs336_2025", "cs336_2026", "pytorch", NULL};

/* The files of --train, --valid, --init and --resume are looked into when it is known what they must be. */
static const cli_value_t values[] = {
    {"train", NULL, ROLE_FILE},
    {"valid", NULL, ROLE_FILE},
    {"order", orders, ROLE_NONE},
    {"chat-template", NULL, ROLE_FILE},
    SHAPE_VALUES,
    {"init", NULL, ROLE_MODEL},
    {"save-adapter", NULL, ROLE_DIRECTORY},
    {"optimizer", optimizer_words, ROLE_NONE},
    {"products", products_words, ROLE_NONE},
    {"schedule", train_schedules, ROLE_NONE},
    {"no-decay", train_no_decays, ROLE_NONE},
    {"adamw", train_variants, ROLE_NONE},
    {"muon-scale", train_muon_scales, ROLE_NONE},
    {"output", NULL, ROLE_OUTPUT},
    {"output-dir", NULL, ROLE_DIRECTORY},
    {"resume", NULL, ROLE_FILE},
    TOKENIZER_VALUES,
    {NULL, NULL, ROLE_NONE},
};

/* Which of the options that exclude each other stand on the command line. */
static bool gave_output, gave_output_dir;

/* A checkpoint that is no part of a run's directory holds nearly all of the options itself. */
static void adopt_record(void)
{
    const file_kind_t kind = file_kind_of(settings.resume);
    char *path;

    if (kind == KIND_CHECKPOINT)
        resume_record_adopt(settings.resume);
    if (kind == KIND_CHECKPOINTS &&
        tlm_checkpoint_dir_latest(&path, NULL, settings.resume) == TLM_OK) {
        resume_record_adopt(path);
        tlm_free(path);
    }
}

/* What a resumed run was started with counts where the command line says nothing. */
static const char *find_config(void)
{
    static char path[4096];

    gave_output = cli_was_given("output");
    gave_output_dir = cli_was_given("output-dir");
    if (settings.resume == NULL)
        return NULL;
    if (file_kind_of(settings.resume) != KIND_RUN) {
        adopt_record();
        return NULL;
    }
    if (snprintf(path, sizeof(path), "%s/config.json", settings.resume) >= (int)sizeof(path) ||
        access(path, F_OK) != 0)
        return NULL;
    return path;
}

#define TRAIN_PROGRAM                                                                              \
    .options = options, .num_options = sizeof(options) / sizeof(options[0]),                       \
    .preset_option = "recipe", .presets = train_recipes, .num_presets = TRAIN_NUM_RECIPES,         \
    .has = CLI_HAS_JSON | CLI_HAS_QUIET, .values = values, .find_config = find_config

const cli_program_t train_program = {
    TRAIN_PROGRAM,
    .summary = "Trains a language model on token files. Ctrl-C saves a checkpoint and ends the "
               "run;\n--resume DIRECTORY continues it, with the options that it was started with.",
    .name = "train_lm",
    .command = "train",
    .brief = "train a language model",
    .example = "--train train.npy --valid valid.npy --tokenizer tokenizer.json --vocab-size 4096 "
               "--output-dir run\n--resume run",
    .run = train_run,
};

const cli_program_t finetune_program = {
    TRAIN_PROGRAM,
    .summary = "Trains a model of --init further, as a whole or by adapters, on texts, "
               "conversations (.jsonl)\nor token files.",
    .command = "finetune",
    .brief = "fine-tune a language model",
    .example = "--init model --lora-rank 8 --train chats.jsonl --valid more.jsonl "
               "--save-adapter adapter",
    .run = finetune_run,
};

static void check_batch_warmup(void)
{
    const uint64_t start = settings.batch_start, increment = settings.batch_increment;

    cli_check_range("batch-start", start, 0, settings.batch);
    cli_check_range("batch-increment", increment, 0, settings.batch);
    cli_check_range("batch-warmup", settings.batch_warmup, 0, INT64_MAX);
    cli_check_range("batch-warmup-tokens", settings.batch_warmup_tokens, 0, INT64_MAX);
    if (start == 0 &&
        (settings.batch_warmup > 0 || settings.batch_warmup_tokens > 0 || increment > 0))
        cli_fail_usage("--batch-warmup, --batch-warmup-tokens and --batch-increment need "
                       "--batch-start");
    if (start > 0 && (settings.batch_warmup > 0) == (settings.batch_warmup_tokens > 0))
        cli_fail_usage("--batch-start needs either --batch-warmup or --batch-warmup-tokens");
    if (start > 0 && increment > 0 && (settings.batch - start) % increment != 0)
        cli_fail_usage("from --batch-start %" PRIu64 " to --batch %" PRIu64
                       " is no multiple of --batch-increment %" PRIu64,
                       start, settings.batch, increment);
}

void train_check_options(void)
{
    if (gave_output && !gave_output_dir)
        settings.output_dir = NULL;
    if (gave_output_dir && !gave_output)
        settings.output = NULL;
    shape_check();
    cli_check_range("context", shape_settings.context_length, 1, 1 << 20);
    cli_check_range("batch", settings.batch, 1, 1 << 20);
    check_batch_warmup();
    cli_check_range("accumulate", settings.accumulate, 1, 1 << 20);
    cli_check_range("prefetch", settings.prefetch, 0, 1024);
    cli_check_range("keep", settings.keep, 0, INT32_MAX);
    cli_check_range("log-every", settings.log_every, 1, UINT64_MAX);
    cli_check_range("threads", settings.threads, 0, TLM_MAX_THREADS);
    cli_check_range("sample-tokens", settings.sample_tokens, 0, INT32_MAX);
    if (settings.document_end != CLI_NONE)
        cli_check_range("document-end", settings.document_end, 0, UINT32_MAX);
    if (settings.lora_rank == 0 && settings.save_adapter != NULL && settings.resume == NULL)
        cli_fail_usage("--save-adapter needs --lora-rank");
    if (settings.lora_rank > 0 && settings.init == NULL && settings.resume == NULL)
        cli_fail_usage("--lora-rank needs --init");
    cli_check_range("lora-rank", settings.lora_rank, 0, INT32_MAX);
    if (settings.range_test && (settings.resume != NULL || settings.output != NULL || settings.mpi))
        cli_fail_usage("--range-test excludes --resume, --output and --mpi");
    if (settings.save_average != NULL && settings.ema == 0.0)
        cli_fail_usage("--save-average needs --ema");
    if (settings.output != NULL && settings.output_dir != NULL)
        cli_fail_usage("--output and --output-dir exclude each other");
    /* The words of the others are looked up here too, so that none is found wrong later. */
    (void)train_model_options();
    (void)train_order();
    (void)train_products();
    train_check_optimizer();
    cli_choose_word("no-decay", settings.no_decay, train_no_decays);
    cli_choose_word("adamw", settings.adamw, train_variants);
    cli_choose_word("muon-scale", settings.muon_scale, train_muon_scales);
    cli_check_range("muon-iterations", settings.muon_iterations, 1, 100);
    (void)train_schedule_options();
}

/* What counts only in training. */
static void set_training(tlm_model_options_t *shape)
{
    shape->z_loss = settings.z_loss;
    shape->label_smoothing = settings.label_smoothing;
    shape->dropout = settings.dropout;
    shape->attention_dropout = settings.attention_dropout;
    shape->embedding_dropout = settings.embedding_dropout;
}

/* The value of a setting that was not given is that of the model. */
static void keep_training(const char *option, double *setting, double value)
{
    if (!cli_was_given(option))
        *setting = value;
}

tlm_model_options_t train_model_options(void)
{
    tlm_model_options_t shape = shape_model_options();

    shape.seed = settings.seed;
    set_training(&shape);
    return shape;
}

void train_change_training(tlm_model_t *model, bool is_resumed)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;

    cli_check(tlm_model_get_options(&shape, model));
    if (is_resumed) {
        keep_training("z-loss", &settings.z_loss, shape.z_loss);
        keep_training("label-smoothing", &settings.label_smoothing, shape.label_smoothing);
        keep_training("dropout", &settings.dropout, shape.dropout);
        keep_training("attention-dropout", &settings.attention_dropout, shape.attention_dropout);
        keep_training("embedding-dropout", &settings.embedding_dropout, shape.embedding_dropout);
    } else {
        shape.seed = settings.seed;
    }
    set_training(&shape);
    cli_check(tlm_model_set_training(model, &shape));
}

void train_adopt_shape(const tlm_model_options_t *shape)
{
    const uint64_t context = shape_settings.context_length;

    shape_adopt(shape);
    /* Rows may be shorter than the model's context; a command line that repeats a run says so. */
    if (cli_was_given("context") && context < shape_settings.context_length)
        shape_settings.context_length = context;
}

void train_adopt_checked(const tlm_model_options_t *shape, const char *path)
{
    shape_adopt_checked(shape, path); /* too long a context is an error of the library's */
    if (!cli_was_given("context") && shape_settings.context_length > 512)
        shape_settings.context_length = 512;
}

int32_t train_order(void)
{
    return cli_choose_word("order", settings.order, orders);
}

int32_t train_products(void)
{
    int32_t products = cli_choose_word("products", settings.products, products_words);

    if (tlm_set_products(products) != TLM_OK)
        cli_fail("--products %s: %s", settings.products, tlm_error_message());
    cli_check(tlm_set_products(TLM_PRODUCTS_FLOAT32));
    return products;
}

tlm_schedule_options_t train_schedule_options(void)
{
    tlm_schedule_options_t schedule = TLM_SCHEDULE_OPTIONS_INIT;
    uint64_t decay = settings.decay_steps != CLI_NONE ? settings.decay_steps : settings.steps / 5;

    schedule.kind = cli_choose_word("schedule", settings.schedule, train_schedules);
    schedule.max_learning_rate = settings.max_rate;
    schedule.min_learning_rate = settings.min_rate;
    schedule.total_steps = settings.steps;
    schedule.warmup_steps = settings.warmup < settings.steps ? settings.warmup : settings.steps;
    schedule.decay_steps = decay < settings.steps - schedule.warmup_steps
                               ? decay
                               : settings.steps - schedule.warmup_steps;
    return schedule;
}
