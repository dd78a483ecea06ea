/* The options of train_lm, except for those of a shape. */
#ifndef EXAMPLES_TRAIN_OPTIONS_H
#define EXAMPLES_TRAIN_OPTIONS_H

#include "support/cli.h"
#include "support/shape_options.h"

typedef struct train_settings {
    const char *train, *valid, *order;
    uint64_t document_end, prefetch;
    bool range_test;
    double range_low, range_high;
    uint64_t batch, batch_start, batch_increment, batch_warmup, batch_warmup_tokens;
    uint64_t accumulate, steps, stop, seed, threads;
    const char *schedule, *no_decay, *optimizer, *adamw;
    uint64_t warmup, decay_steps;
    double max_rate, min_rate, weight_decay, beta1, beta2, eps, clip;
    double momentum, adamw_rate, adamw_decay, muon_eps, ema;
    const char *muon_scale;
    uint64_t muon_iterations;
    bool muon_nesterov;
    double adafactor_power, adafactor_eps, adafactor_min_rms, adafactor_threshold;
    cli_strings_t groups;
    double z_loss, label_smoothing, dropout, attention_dropout, embedding_dropout;
    const char *recipe, *products;
    bool checkpointing, mpi, irreproducible, pack;
    const char *init, *freeze, *lora_targets, *chat_template;
    uint64_t lora_rank;
    double lora_alpha, lora_dropout;
    bool lora_rslora;
    const char *output, *output_dir, *resume, *save_adapter, *save_average;
    const char *tokenizer, *vocab, *merges; /* stored in the checkpoints */
    const char *prompt;
    uint64_t sample_tokens;
    uint64_t log_every, eval_every, eval_tokens, save_every, keep;
    double peak_gflops;
} train_settings_t;

extern train_settings_t settings;
extern const cli_program_t train_program, finetune_program; /* their options set `settings` */
int train_run(int n, char **operands);
int finetune_run(int n, char **operands);

/* Words of options, in the order of the library's numbers, up to NULL. */
extern const char *const train_schedules[], *const train_no_decays[],
                                                *const train_variants[], *const train_muon_scales[];

/* What --recipe offers. */
enum { TRAIN_NUM_RECIPES = 2 };
extern const cli_preset_t train_recipes[TRAIN_NUM_RECIPES];

/* Checks the settings; a value out of range, or a word that is none of an option's, ends the program. */
void train_check_options(void);

/* The options of a new model; and the reverse, which copies those of a model into the settings. */
tlm_model_options_t train_model_options(void);
void train_adopt_shape(const tlm_model_options_t *shape);

/* Has a model that was opened trained as the options say; a resumed one as before, except for options
 * that were given, with which its checkpoint then disagrees. */
void train_change_training(tlm_model_t *model, bool is_resumed);

/* Adopts the shape of the model at `path`; an option of the command line that contradicts it ends
 * the program, which names it. A context may be shorter than the model's. */
void train_adopt_checked(const tlm_model_options_t *shape, const char *path);

tlm_schedule_options_t train_schedule_options(void);

/* A TLM_ORDER_... */
int32_t train_order(void);

/* A TLM_PRODUCTS_... that the CPU has; others end the program. */
int32_t train_products(void);

/* The library's names of what the command line may change of a run that it resumes. */
const char *train_resume_changes(void);

/* Gives the options of the optimizer that were not given their defaults, which are those of its kind;
 * one that is for others only ends the program. */
void train_check_optimizer(void);

/* Makes the optimizer that the options ask for, with the model's parameters. */
tlm_optimizer_t *train_create_optimizer(const tlm_model_t *model);

#endif
