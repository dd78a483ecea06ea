/* The recipes of train_lm: how to train, apart from sizes, which depend on the text and on the machine.
 * docs/experiments.md compares them. */
#include "support/train_options.h"

/* The model and the optimizer of CS336's handout; it leaves the numbers to experiments. */
static const cli_setting_t cs336[] = {
    {"norm", "pre"},
    {"position", "rope"},
    {"rope-theta", "10000"},
    {"ffn", "swiglu"},
    {"tied", "false"},
    {"qk-norm", "none"},
    {"embedding-norm", "false"},
    {"output-init", "linear"},
    {"softcap", "0"},
    {"optimizer", "adamw"},
    {"adamw", "cs336_2025"},
    {"rate", "3e-3"},
    {"min-rate", "3e-4"},
    {"schedule", "cosine"},
    {"warmup", "100"},
    {"weight-decay", "0.1"},
    {"no-decay", "none"},
    {"beta1", "0.9"},
    {"beta2", "0.95"},
    {"eps", "1e-8"},
    {"clip", "1"},
    {NULL, NULL},
};

/* What learned most per token in docs/experiments.md. Norms of queries and keys and of embeddings, and a
 * softcap, changed nothing or cost more than they gained. */
static const cli_setting_t fast[] = {
    {"norm", "both"},
    {"position", "rope"},
    {"ffn", "relu2"},
    {"tied", "false"},
    {"value-embeddings", "true"},
    {"output-init", "zero"},
    {"qk-norm", "none"},
    {"embedding-norm", "false"},
    {"softcap", "0"},
    {"optimizer", "muon"},
    {"rate", "0.03"},
    {"adamw-rate", "0.03"},
    {"group", "*embeddings*: rate=0.08"},
    {"min-rate", "0"},
    {"schedule", "linear"},
    {"warmup", "20"},
    {"momentum", "0.8"},
    {"muon-iterations", "4"},
    {"weight-decay", "0.2"},
    {"no-decay", "none"},
    {"adamw", "cs336_2025"},
    {"beta1", "0.7"},
    {"beta2", "0.99"},
    {"eps", "1e-8"},
    {"clip", "0"},
    {NULL, NULL},
};

const cli_preset_t train_recipes[TRAIN_NUM_RECIPES] = {
    {"cs336", "the model and the optimizer of CS336's handout", cs336},
    {"fast", "what reaches a low loss with the fewest tokens", fast},
};
