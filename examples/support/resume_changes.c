/* What a command line that resumes a run changes of it. */
#include <string.h>

#include "support/train_options.h"

/* The options, and the library's names of what they set (tlm_trainer_resume). */
static const struct {
    const char *option, *names;
} changes[] = {
    {"steps",
     "steps, schedule.total_*, schedule.decay_*, group.schedule.total_*, group.schedule.decay_*"},
    {"schedule", "schedule.kind"},
    {"rate", "schedule.max_*, group.schedule.*_rate, group.learning_rate, group.rate_factor"},
    {"min-rate", "schedule.min_*, group.schedule.min_*"},
    {"warmup", "schedule.warmup_*, schedule.decay_*, group.schedule.warmup_*, "
               "group.schedule.decay_*"},
    {"decay-steps", "schedule.decay_*, group.schedule.decay_*"},
    {"weight-decay", "group.weight_decay"},
    {"group", "group.*"},
    {"beta1", "group.beta1"},
    {"beta2", "group.beta2"},
    {"eps", "group.eps"},
    {"adamw", "group.variant"},
    {"adamw-rate", "group.learning_rate, group.rate_factor"},
    {"adamw-decay", "group.weight_decay"},
    {"momentum", "group.momentum"},
    {"muon-scale", "group.scale"},
    {"muon-iterations", "group.iterations"},
    {"muon-eps", "group.eps"},
    {"muon-nesterov", "group.momentum_rule"},
    {"adafactor-power", "group.power"},
    {"adafactor-eps", "group.eps"},
    {"adafactor-min-rms", "group.min_rms"},
    {"adafactor-threshold", "group.threshold"},
    {"clip", "clip_norm"},
    {"ema", "average_decay"},
    {"recipe", "schedule.*, group.*, clip_norm"},
    {"accumulate", "accumulation"},
    {"batch", "loader.batch_size"},
    {"batch-start", "batch_start, batch_increment"},
    {"batch-increment", "batch_increment"},
    {"batch-warmup", "batch_warmup_steps"},
    {"batch-warmup-tokens", "batch_warmup_tokens"},
    {"products", "products"},
    {"train", "loader.num_ids"},
    {"context", "loader.context_length"},
    {"seed", "loader.seed"},
    {"order", "loader.order"},
    {"document-end", "loader.document_end"},
};

const char *train_resume_changes(void)
{
    static char list[2048];
    size_t used = 0;

    /* Fewer steps than those of the warm-up cut it off. */
    if (cli_was_asked("steps") && settings.warmup > settings.steps)
        used = (size_t)snprintf(list, sizeof(list), "*schedule.warmup_*");
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        if (cli_was_asked(changes[i].option))
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
                                     used == 0 ? "" : ", ", changes[i].names);
    return list;
}
