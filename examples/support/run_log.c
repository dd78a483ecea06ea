/* The logs of a run. A row is a list of named numbers, and each file writes it in its own way. */
#include "support/run_log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/cli_json.h"
#include "support/event_file.h"

struct run_log {
    FILE *csv, *jsonl, *samples, *events;
    double mark; /* processor time of the process when the last row was written */
};

/* The columns of log.csv, in order, with their tags in TensorBoard. A row has some of them. */
enum {
    LOSS,
    LEARNING_RATE,
    GRADIENT_NORM,
    TOKENS_PER_SECOND,
    UTILIZATION,
    PROCESSOR_SECONDS,
    VALIDATION_LOSS,
    PERPLEXITY,
    COMPUTE, /* this one and what follows: of runs on several ranks */
    REDUCE_SCATTER,
    UPDATE,
    GATHER,
    COMMUNICATION,
    OVERLAP,
    NUM_COLUMNS
};

static const struct {
    const char *name, *tag;
} columns[NUM_COLUMNS] = {
    [LOSS] = {"loss", "loss/train"},
    [LEARNING_RATE] = {"learning_rate", "learning_rate"},
    [GRADIENT_NORM] = {"gradient_norm", "gradient_norm"},
    [TOKENS_PER_SECOND] = {"tokens_per_second", "speed/tokens_per_second"},
    [UTILIZATION] = {"utilization", "speed/utilization"},
    [PROCESSOR_SECONDS] = {"processor_seconds", "speed/processor_seconds"},
    [VALIDATION_LOSS] = {"validation_loss", "loss/validation"},
    [PERPLEXITY] = {"perplexity", "perplexity"},
    [COMPUTE] = {"compute_seconds", "ranks/compute_seconds"},
    [REDUCE_SCATTER] = {"reduce_scatter_seconds", "ranks/reduce_scatter_seconds"},
    [UPDATE] = {"update_seconds", "ranks/update_seconds"},
    [GATHER] = {"gather_seconds", "ranks/gather_seconds"},
    [COMMUNICATION] = {"communication_seconds", "ranks/communication_seconds"},
    [OVERLAP] = {"overlap_seconds", "ranks/overlap_seconds"},
};

typedef struct row {
    uint64_t step, tokens;
    uint32_t has; /* bit i: column i */
    double values[NUM_COLUMNS];
} row_t;

/* Processor time that all threads of the process have used, in seconds. */
static double processor_seconds(void)
{
    struct timespec now = {0};

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- Opening ---------------------------------------------------------------------------- */

static void join(char out[4096], const char *directory, const char *name)
{
    if (snprintf(out, 4096, "%s/%s", directory, name) >= 4096)
        cli_fail("%s: the name is too long", directory);
}

/* The step of a row, its first number; 0 for a line of column names. */
static uint64_t row_step(const char *line)
{
    const char *digits = strpbrk(line, "0123456789");

    return digits != NULL ? strtoull(digits, NULL, 10) : 0;
}

/* Opens a file of lines and truncates it before the first line that is later than `last` or incomplete. */
static FILE *open_lines(const char *directory, const char *name, uint64_t last)
{
    char path[4096], *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    long keep = 0;
    FILE *file;

    join(path, directory, name);
    file = fopen(path, "r+");
    if (file == NULL)
        file = fopen(path, "w+");
    if (file == NULL)
        cli_fail("%s: %s", path, strerror(errno));
    while ((size = getline(&line, &capacity, file)) > 0 && line[size - 1] == '\n' &&
           row_step(line) <= last)
        keep = ftell(file);
    free(line);
    if (fflush(file) != 0 || ftruncate(fileno(file), keep) != 0 || fseek(file, keep, SEEK_SET) != 0)
        cli_fail("%s: %s", path, strerror(errno));
    return file;
}

run_log_t *run_log_open(const char *directory, uint64_t last)
{
    run_log_t *log = cli_realloc(NULL, sizeof(*log));
    char path[4096];

    log->csv = open_lines(directory, "log.csv", last);
    log->jsonl = open_lines(directory, "log.jsonl", last);
    log->samples = open_lines(directory, "samples.jsonl", last);
    join(path, directory, "events.out.tfevents.0.tinylm");
    log->events = event_file_open(path, last);
    if (ftell(log->csv) == 0) {
        fputs("step,tokens", log->csv);
        for (int i = 0; i < NUM_COLUMNS; i++)
            fprintf(log->csv, ",%s", columns[i].name);
        fputc('\n', log->csv);
    }
    log->mark = processor_seconds();
    return log;
}

/* ---- Rows ------------------------------------------------------------------------------- */

static void set(row_t *row, int column, double value)
{
    row->has |= 1u << column;
    row->values[column] = value;
}

/* Nine digits restore a float32 exactly. */
static void write_row(run_log_t *log, const row_t *row)
{
    event_scalar_t scalars[NUM_COLUMNS];
    size_t n = 0;

    fprintf(log->csv, "%" PRIu64 ",%" PRIu64, row->step, row->tokens);
    fprintf(log->jsonl, "{\"step\":%" PRIu64 ",\"tokens\":%" PRIu64, row->step, row->tokens);
    for (int i = 0; i < NUM_COLUMNS; i++) {
        fputc(',', log->csv);
        if ((row->has >> i & 1) == 0)
            continue;
        fprintf(log->csv, "%.9g", row->values[i]);
        if (isfinite(row->values[i]))
            fprintf(log->jsonl, ",\"%s\":%.9g", columns[i].name, row->values[i]);
        else /* JSON has no such numbers */
            fprintf(log->jsonl, ",\"%s\":null", columns[i].name);
        scalars[n++] = (event_scalar_t){columns[i].tag, row->values[i]};
    }
    fputc('\n', log->csv);
    fputs("}\n", log->jsonl);
    if (fflush(log->csv) != 0 || fflush(log->jsonl) != 0)
        cli_fail("the log: %s", strerror(errno));
    event_file_add(log->events, row->step, scalars, n);
}

void run_log_step(run_log_t *log, const tlm_train_step_t *step)
{
    row_t row = {.step = step->step, .tokens = step->tokens};

    set(&row, LOSS, step->loss);
    set(&row, LEARNING_RATE, step->learning_rate);
    set(&row, GRADIENT_NORM, step->gradient_norm);
    set(&row, TOKENS_PER_SECOND, step->tokens_per_second);
    if (step->utilization > 0.0)
        set(&row, UTILIZATION, step->utilization);
    set(&row, PROCESSOR_SECONDS, processor_seconds() - log->mark);
    if (step->communication_seconds > 0.0) {
        set(&row, COMPUTE, step->compute_seconds);
        set(&row, REDUCE_SCATTER, step->reduce_scatter_seconds);
        set(&row, UPDATE, step->update_seconds);
        set(&row, GATHER, step->gather_seconds);
        set(&row, COMMUNICATION, step->communication_seconds);
        set(&row, OVERLAP, step->overlap_seconds);
    }
    write_row(log, &row);
    log->mark = processor_seconds();
}

void run_log_evaluation(run_log_t *log, const tlm_evaluation_t *evaluation, uint64_t tokens)
{
    row_t row = {.step = evaluation->step, .tokens = tokens};

    set(&row, VALIDATION_LOSS, evaluation->loss);
    set(&row, PERPLEXITY, evaluation->perplexity);
    write_row(log, &row);
    log->mark = processor_seconds(); /* so that no step counts an evaluation */
}

/* The text with a blank in the place of each NUL, which a text to be shown cannot have. */
static char *without_nul(const char *text, size_t size)
{
    char *copy = cli_realloc(NULL, size + 1);

    for (size_t i = 0; i < size; i++)
        copy[i] = text[i] != '\0' ? text[i] : ' ';
    copy[size] = '\0';
    return copy;
}

void run_log_sample(run_log_t *log, uint64_t step, const char *prompt, const char *text,
                    size_t size)
{
    cli_result_t *row = cli_result_new();
    char *shown = without_nul(text, size);

    cli_result_add_count(row, "step", step);
    cli_result_add_text(row, "prompt", prompt);
    cli_result_add_text(row, "text", shown);
    cli_result_append(row, log->samples, "samples.jsonl");
    free(shown);
}

void run_log_close(run_log_t *log)
{
    if (log == NULL)
        return;
    cli_close_output(log->csv, "log.csv");
    cli_close_output(log->jsonl, "log.jsonl");
    cli_close_output(log->samples, "samples.jsonl");
    cli_close_output(log->events, "the event file");
    free(log);
}
