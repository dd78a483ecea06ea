/* Reads what a run wrote to its directory: log.jsonl, and where they are there run.json and samples.jsonl. */
#include "support/report_run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The log -------------------------------------------------------------------------------- */

/* A row of log.jsonl; values that it lacks are NAN. */
typedef struct row {
    double step, tokens, loss, learning_rate, validation_loss, tokens_per_second, processor_seconds;
} row_t;

static void set_field(void *user, const cli_member_t *member)
{
    static const struct {
        const char *name;
        size_t offset;
    } fields[] = {
        {"step", offsetof(row_t, step)},
        {"tokens", offsetof(row_t, tokens)},
        {"loss", offsetof(row_t, loss)},
        {"learning_rate", offsetof(row_t, learning_rate)},
        {"validation_loss", offsetof(row_t, validation_loss)},
        {"tokens_per_second", offsetof(row_t, tokens_per_second)},
        {"processor_seconds", offsetof(row_t, processor_seconds)},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (strcmp(member->key, fields[i].name) == 0)
            *(double *)((char *)user + fields[i].offset) = strtod(member->text, NULL);
}

static void add_row(report_run_t *run, const row_t *row, report_axis_t axis)
{
    if (isnan(row->step) || isnan(row->tokens))
        return;
    if (!isnan(row->loss))
        run->seconds += row->processor_seconds;
    const double x = axis == REPORT_OVER_STEPS    ? row->step
                     : axis == REPORT_OVER_TOKENS ? row->tokens
                                                  : run->seconds;

    if (isnan(x))
        cli_fail("%s: its log does not say how much processor time a step took", run->name);
    run->steps = (uint64_t)row->step;
    run->tokens = (uint64_t)row->tokens;
    if (!isnan(row->loss)) {
        curve_add(&run->curves[REPORT_LOSS], x, row->loss);
        run->speed_sum += isnan(row->tokens_per_second) ? 0.0 : row->tokens_per_second;
    }
    if (!isnan(row->learning_rate))
        curve_add(&run->curves[REPORT_RATE], x, row->learning_rate);
    if (!isnan(row->validation_loss)) {
        curve_add(&run->curves[REPORT_VALIDATION], x, row->validation_loss);
        if (!(run->best <= row->validation_loss)) {
            run->best = row->validation_loss;
            run->best_step = row->step;
        }
    }
}

/* ---- What is beside the log ----------------------------------------------------------------- */

/* The path of a file of the run, in a static buffer. */
static const char *path_in(const char *directory, const char *name)
{
    static char path[4096];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static uint64_t count_of(const cli_object_t *object, const char *key)
{
    uint64_t count = 0;

    return cli_object_count(&count, object, key) ? count : 0;
}

static report_data_t data_of(const cli_object_t *info, const char *key)
{
    const cli_object_t *data = cli_object_member(info, key);

    return (report_data_t){cli_object_text(data, "path"), count_of(data, "tokens")};
}

/* Runs of earlier versions have no such file. */
static void read_info(report_run_t *run, const char *directory)
{
    const char *path = path_in(directory, "run.json");
    cli_object_t *info;
    size_t size;
    char *text;

    if (access(path, R_OK) != 0)
        return;
    text = cli_read_text(&size, path);
    info = cli_open_object(text, size, path);
    free(text);
    run->info = info;
    run->version = cli_object_text(info, "version");
    run->date = cli_object_text(info, "date");
    run->host = cli_object_text(info, "host");
    run->processor = cli_object_text(info, "processor");
    run->init = cli_object_text(info, "init");
    run->recipe = cli_object_text(info, "recipe");
    run->optimizer = cli_object_text(info, "optimizer");
    run->threads = count_of(info, "threads");
    run->ranks = count_of(info, "ranks");
    run->parameters = count_of(info, "parameters");
    run->trained_parameters = count_of(info, "trained_parameters");
    run->layers = count_of(info, "layers");
    run->d_model = count_of(info, "d_model");
    run->heads = count_of(info, "heads");
    run->vocab_size = count_of(info, "vocab_size");
    run->context = count_of(info, "context");
    run->batch = count_of(info, "batch");
    run->planned_steps = count_of(info, "steps");
    run->train = data_of(info, "train");
    run->valid = data_of(info, "valid");
}

static void add_sample(report_run_t *run, const char *line, size_t size, const char *path)
{
    cli_object_t *row = cli_open_object(line, size, path);
    const char *prompt = cli_object_text(row, "prompt"), *text = cli_object_text(row, "text");

    if (prompt != NULL && text != NULL) {
        run->samples = cli_realloc(run->samples, (run->num_samples + 1) * sizeof(*run->samples));
        run->samples[run->num_samples++] =
            (report_sample_t){row, count_of(row, "step"), prompt, text};
    } else {
        cli_close_object(row);
    }
}

static void read_samples(report_run_t *run, const char *directory)
{
    const char *path = path_in(directory, "samples.jsonl");
    FILE *file = fopen(path, "r");
    size_t capacity = 0;
    char *line = NULL;
    ssize_t size;

    if (file == NULL)
        return;
    while ((size = getline(&line, &capacity, file)) > 0 && line[size - 1] == '\n')
        add_sample(run, line, (size_t)size, path);
    free(line);
    fclose(file);
}

/* ---- A run ---------------------------------------------------------------------------------- */

void report_run_read(report_run_t *run, const char *directory, report_axis_t axis)
{
    const char *slash = strrchr(directory, '/'), *path = path_in(directory, "log.jsonl");
    size_t capacity = 0;
    char *line = NULL;
    ssize_t size;
    FILE *file;

    *run = (report_run_t){.name = slash != NULL && slash[1] != '\0' ? slash + 1 : directory,
                          .best = (double)NAN};
    file = fopen(path, "r");
    if (file == NULL)
        cli_fail("%s: %s", path, strerror(errno));
    while ((size = getline(&line, &capacity, file)) > 0 && line[size - 1] == '\n') {
        row_t row = {(double)NAN, (double)NAN, (double)NAN, (double)NAN,
                     (double)NAN, (double)NAN, (double)NAN};

        cli_read_object(line, (size_t)size, path, set_field, &row);
        add_row(run, &row, axis);
    }
    free(line);
    fclose(file);
    read_info(run, directory);
    read_samples(run, directory);
}

void report_run_free(report_run_t *run)
{
    for (int curve = 0; curve < REPORT_NUM_CURVES; curve++)
        free(run->curves[curve].points);
    for (size_t i = 0; i < run->num_samples; i++)
        cli_close_object(run->samples[i].row);
    free(run->samples);
    if (run->info != NULL)
        cli_close_object(run->info);
}

/* Mean of the last tenth of the curve, since the loss of one step is noise. */
double report_run_training_loss(const report_run_t *run)
{
    const curve_t *curve = &run->curves[REPORT_LOSS];
    size_t n = curve->n / 10 + 1;
    double sum = 0.0;

    if (curve->n == 0)
        return (double)NAN;
    for (size_t i = curve->n - n; i < curve->n; i++)
        sum += curve->points[i].y;
    return sum / (double)n;
}

double report_run_validation_loss(const report_run_t *run)
{
    const curve_t *curve = &run->curves[REPORT_VALIDATION];

    return curve->n > 0 ? curve->points[curve->n - 1].y : (double)NAN;
}

double report_run_speed(const report_run_t *run)
{
    const size_t n = run->curves[REPORT_LOSS].n;

    return n > 0 ? run->speed_sum / (double)n : (double)NAN;
}

double report_processor_seconds(const char *directory)
{
    report_run_t run;

    report_run_read(&run, directory, REPORT_OVER_STEPS);
    report_run_free(&run);
    return run.seconds;
}
