/* Reads the record of a run. Names on the left are the library's (docs/training.md, "Resuming"). */
#include "support/resume_record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli_json.h"
#include "support/train_options.h"

typedef struct name {
    const char *own, *option;
} name_t;

static const name_t run_names[] = {
    {"steps", "steps"},
    {"clip_norm", "clip"},
    {"accumulation", "accumulate"},
    {"batch_start", "batch-start"},
    {"batch_increment", "batch-increment"},
    {"batch_warmup_steps", "batch-warmup"},
    {"batch_warmup_tokens", "batch-warmup-tokens"},
    {"products", "products"},
    {"schedule.kind", "schedule"},
    {"schedule.max_learning_rate", "rate"},
    {"schedule.min_learning_rate", "min-rate"},
    {"schedule.warmup_steps", "warmup"},
    {"schedule.decay_steps", "decay-steps"},
    {"loader.batch_size", "batch"},
    {"loader.context_length", "context"},
    {"loader.seed", "seed"},
    {"loader.order", "order"},
    {"loader.document_end", "document-end"},
    {NULL, NULL},
};

static const name_t adamw_names[] = {
    {"beta1", "beta1"}, {"beta2", "beta2"}, {"eps", "eps"}, {"variant", "adamw"}, {NULL, NULL}};

static const name_t muon_names[] = {{"momentum", "momentum"},
                                    {"eps", "muon-eps"},
                                    {"iterations", "muon-iterations"},
                                    {"scale", "muon-scale"},
                                    {NULL, NULL}};

static const name_t adafactor_names[] = {{"power", "adafactor-power"},
                                         {"eps", "adafactor-eps"},
                                         {"min_rms", "adafactor-min-rms"},
                                         {"threshold", "adafactor-threshold"},
                                         {NULL, NULL}};

static const char *source; /* the path, for messages */

static void adopt(const char *name, const char *text)
{
    char where[4200];

    snprintf(where, sizeof(where), "%s: ", source);
    for (size_t i = 0; i < train_program.num_options; i++) {
        const cli_option_t *option = &train_program.options[i];

        if (option->name != NULL && strcmp(option->name, name) == 0 && !cli_was_set(option))
            cli_set_value(option, text, where);
    }
}

static void adopt_number(const char *name, double value)
{
    char text[32];

    snprintf(text, sizeof(text), "%.17g", value);
    adopt(name, text);
}

/* Members that are texts or numbers; one that is not there had no value. */
static void adopt_members(const cli_object_t *object, const name_t *names)
{
    double number;

    for (; names->own != NULL; names++) {
        const char *text = cli_object_text(object, names->own);

        if (text != NULL && strcmp(text, "none") != 0)
            adopt(names->option, text);
        else if (text == NULL && cli_object_number(&number, object, names->own))
            adopt_number(names->option, number);
    }
}

/* ---- Groups of the optimizer ------------------------------------------------------------------ */

static double number_of(const cli_object_t *group, const char *name)
{
    double number;

    return cli_object_number(&number, group, name) ? number : 0.0;
}

/* Group i if it is of the kind; the kind of most stands only in the optimizer. */
static const cli_object_t *group_of(const cli_object_t *optimizer, size_t i, const char *kind)
{
    const cli_object_t *group = cli_object_at(optimizer, "groups", i);
    const char *own = cli_object_text(group, "kind");

    own = own != NULL ? own : cli_object_text(optimizer, "kind");
    return own != NULL && strcmp(own, kind) == 0 ? group : NULL;
}

static const cli_object_t *first_group(const cli_object_t *optimizer, const char *kind)
{
    const size_t n = cli_object_size(optimizer, "groups");

    for (size_t i = 0; i < n; i++)
        if (group_of(optimizer, i, kind) != NULL)
            return group_of(optimizer, i, kind);
    return NULL;
}

/* The decay of the first group of the kind that has one; 0 if none has. */
static double decay_of(const cli_object_t *optimizer, const char *kind)
{
    const size_t n = cli_object_size(optimizer, "groups");

    for (size_t i = 0; i < n; i++) {
        const cli_object_t *group = group_of(optimizer, i, kind);

        if (group != NULL && number_of(group, "weight_decay") > 0.0)
            return number_of(group, "weight_decay");
    }
    return 0.0;
}

/* What of a kind has no decay beside what has one. */
static void adopt_no_decay(const cli_object_t *optimizer, const char *kind)
{
    const size_t n = cli_object_size(optimizer, "groups");
    bool norms = false, embeddings = false;

    for (size_t i = 0; i < n && decay_of(optimizer, kind) > 0.0; i++) {
        const cli_object_t *group = group_of(optimizer, i, kind);
        const bool bare = group != NULL && number_of(group, "weight_decay") == 0.0;

        for (size_t k = 0; bare && k < cli_object_size(group, "parameters"); k++) {
            const char *name = cli_object_item(group, "parameters", k);

            norms = norms || (name != NULL && strcmp(name, "ln_final.weight") == 0) ||
                    (name != NULL && strstr(name, ".ln") != NULL);
            embeddings =
                embeddings || (name != NULL && strcmp(name, "token_embeddings.weight") == 0);
        }
    }
    adopt("no-decay", norms && embeddings ? "both"
                      : norms             ? "norms"
                      : embeddings        ? "embeddings"
                                          : "none");
}

/* AdamW's rate beside Muon's: the shortest number that has the factor of its group. */
static void adopt_adamw_rate(const cli_object_t *group, double rate)
{
    const double factor = number_of(group, "rate_factor");
    char text[32];

    for (int digits = 1; factor > 0.0 && digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, factor * rate);
        if (strtod(text, NULL) / rate == factor) {
            adopt("adamw-rate", text);
            return;
        }
    }
}

static void adopt_muon(const cli_object_t *optimizer, const cli_object_t *run, bool is_scaled)
{
    const cli_object_t *muon = first_group(optimizer, "muon");
    const cli_object_t *adamw = first_group(optimizer, "adamw");
    const char *rule = cli_object_text(muon, "momentum_rule");
    const char *rate = cli_object_text(run, "schedule.max_learning_rate");

    adopt_members(muon, muon_names);
    if (rule != NULL)
        adopt("muon-nesterov", strcmp(rule, "heavy_ball") == 0 ? "false" : "true");
    adopt_number("weight-decay", decay_of(optimizer, "muon"));
    if (adamw == NULL)
        return;
    adopt_members(adamw, adamw_names);
    adopt_number("adamw-decay", decay_of(optimizer, "adamw"));
    adopt_no_decay(optimizer, "adamw");
    if (rate != NULL && !is_scaled)
        adopt_adamw_rate(adamw, strtod(rate, NULL));
}

static void adopt_optimizer(const cli_object_t *optimizer, const cli_object_t *run, bool is_scaled)
{
    const char *kind = cli_object_text(optimizer, "kind");
    double decay;

    if (kind == NULL)
        return;
    adopt("optimizer", kind);
    if (cli_object_number(&decay, optimizer, "average_decay"))
        adopt_number("ema", decay);
    if (strcmp(settings.optimizer, kind) != 0) /* another one was asked for */
        return;
    if (strcmp(kind, "muon") == 0) {
        adopt_muon(optimizer, run, is_scaled);
    } else if (strcmp(kind, "sgd") != 0) {
        adopt_members(first_group(optimizer, kind),
                      strcmp(kind, "adafactor") == 0 ? adafactor_names : adamw_names);
        adopt_number("weight-decay", decay_of(optimizer, kind));
        adopt_no_decay(optimizer, kind);
    }
}

/* ---- The file ---------------------------------------------------------------------------------- */

/* The header of a file of safetensors; NULL if it is none, which whoever opens it will say. */
static char *read_header(size_t *size, const char *path)
{
    FILE *file = fopen(path, "rb");
    unsigned char bytes[8];
    uint64_t length = 0;
    char *text = NULL;

    if (file != NULL && fread(bytes, 1, 8, file) == 8)
        for (int i = 7; i >= 0; i--)
            length = length << 8 | bytes[i];
    if (length > 0 && length <= (uint64_t)100 << 20) {
        text = cli_realloc(NULL, (size_t)length);
        if (fread(text, 1, (size_t)length, file) != length) {
            free(text);
            text = NULL;
        }
    }
    if (file != NULL)
        fclose(file);
    *size = (size_t)length;
    return text;
}

/* What options borrow texts from. */
static cli_object_t *user, *optimizer;

static void close_record(void)
{
    cli_close_object(user);
    cli_close_object(optimizer);
}

/* An object that stands in another as a text. */
static cli_object_t *open_text(const cli_object_t *object, const char *key)
{
    const char *text = cli_object_text(object, key);

    return text == NULL ? NULL : cli_open_object(text, strlen(text), source);
}

void resume_record_adopt(const char *path)
{
    size_t size;
    char *text = read_header(&size, path);

    if (text == NULL)
        return;
    source = path;
    cli_object_t *header = cli_open_object(text, size, path);
    free(text);
    const cli_object_t *metadata = cli_object_member(header, "__metadata__");
    cli_object_t *config = open_text(metadata, "config");
    uint64_t base_width = 0;
    user = open_text(metadata, "user");
    optimizer = open_text(metadata, "optimizer");
    cli_close_object(header);
    atexit(close_record);
    const cli_object_t *run = cli_object_member(user, "run");
    (void)cli_object_count(&base_width, config, "base_width");
    cli_close_object(config);
    if (run == NULL) /* no trainer wrote it, and none compares */
        return;
    adopt_members(run, run_names);
    adopt_optimizer(optimizer, run, base_width > 0);
}
