/* Shapes of models as options. */
#include "support/shape_options.h"

#include <stddef.h>
#include <string.h>

shape_settings_t shape_settings = {.vocab_size = 1024,
                                   .context_length = 128,
                                   .d_model = 128,
                                   .num_layers = 4,
                                   .num_heads = 4,
                                   .qk_norm = "none",
                                   .norm = "pre",
                                   .position = "rope",
                                   .rope_theta = 10000.0,
                                   .ffn = "swiglu",
                                   .output_init = "linear"};

static tlm_model_options_t adopted = TLM_MODEL_OPTIONS_INIT;

typedef struct row {
    const char *option;
    cli_kind_t kind;
    size_t setting, member; /* places in shape_settings_t and tlm_model_options_t */
    uint64_t least, most;
    const char *const *words; /* up to NULL */
    size_t size; /* of the member: int64_t for counts, int32_t for words, double and bool */
} row_t;

#define ROW(kind, option, name, least, most, words, help)                                          \
    {option,                                                                                       \
     kind,                                                                                         \
     offsetof(shape_settings_t, name),                                                             \
     offsetof(tlm_model_options_t, name),                                                          \
     least,                                                                                        \
     most,                                                                                         \
     words,                                                                                        \
     sizeof(((tlm_model_options_t *)NULL)->name)},

static const row_t rows[] = {SHAPE_ROWS(ROW)};

enum { NUM_ROWS = sizeof(rows) / sizeof(rows[0]) };

static const void *setting_in(const shape_settings_t *settings, const row_t *row)
{
    return (const char *)settings + row->setting;
}

void shape_check(void)
{
    for (const row_t *row = rows; row < rows + NUM_ROWS; row++)
        if (row->kind == CLI_COUNT)
            cli_check_range(row->option, *(const uint64_t *)setting_in(&shape_settings, row),
                            row->least, row->most);
}

/* What the library takes for a setting. */
static void set_member(tlm_model_options_t *options, const row_t *row)
{
    const void *setting = setting_in(&shape_settings, row);
    const int64_t count = row->kind == CLI_COUNT ? (int64_t) * (const uint64_t *)setting : 0;
    const int32_t word =
        row->words != NULL ? cli_choose_word(row->option, *(const char *const *)setting, row->words)
                           : 0;
    const void *value = row->kind == CLI_COUNT    ? (const void *)&count
                        : row->kind == CLI_STRING ? (const void *)&word
                                                  : setting;

    memcpy((char *)options + row->member, value, row->size);
}

static void set_setting(const row_t *row, const tlm_model_options_t *options)
{
    void *setting = (char *)&shape_settings + row->setting;
    const void *member = (const char *)options + row->member;

    if (row->kind == CLI_COUNT)
        *(uint64_t *)setting = (uint64_t) * (const int64_t *)member;
    else if (row->kind == CLI_STRING)
        *(const char **)setting = row->words[*(const int32_t *)member];
    else
        memcpy(setting, member, row->size);
}

tlm_model_options_t shape_model_options(void)
{
    tlm_model_options_t options = adopted;

    for (const row_t *row = rows; row < rows + NUM_ROWS; row++)
        set_member(&options, row);
    return options;
}

void shape_adopt(const tlm_model_options_t *model)
{
    adopted = *model;
    for (const row_t *row = rows; row < rows + NUM_ROWS; row++)
        set_setting(row, model);
}

/* Whether a setting is what it was `before`; a count of 0 stood for a default. */
static bool is_unchanged(const row_t *row, const shape_settings_t *before)
{
    const void *old = setting_in(before, row), *now = setting_in(&shape_settings, row);

    switch (row->kind) {
    case CLI_STRING:
        return strcmp(*(const char *const *)old, *(const char *const *)now) == 0;
    case CLI_COUNT:
        return *(const uint64_t *)old == 0 || *(const uint64_t *)old == *(const uint64_t *)now;
    case CLI_REAL:
        return *(const double *)old == *(const double *)now;
    default:
        return *(const bool *)old == *(const bool *)now;
    }
}

void shape_adopt_checked(const tlm_model_options_t *model, const char *path)
{
    const shape_settings_t before = shape_settings;

    shape_adopt(model);
    if (cli_was_given("context"))
        shape_settings.context_length = before.context_length;
    for (const row_t *row = rows; row < rows + NUM_ROWS; row++)
        if (cli_was_given(row->option) && !is_unchanged(row, &before))
            cli_fail_usage("--%s contradicts the model in %s", row->option, path);
}
