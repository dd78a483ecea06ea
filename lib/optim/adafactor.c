/* Adafactor (Shazeer & Stern 2018) as torch.optim.Adafactor has it. For a matrix it keeps the means of
 * the squared gradient by row and by column instead of all elements. In step t, with w = t^-power:
 *
 *   R += w (mean of g^2 over the row - R);  C likewise over columns;  V = R C / mean(R)
 *   (tensors of fewer dimensions: V += w (g^2 - V))
 *   U = g / sqrt(max(V, eps^2));  alpha = max(min_rms, rms(theta)) min(lr, 1 / sqrt(t))
 *   theta -= lr weight_decay theta;  theta -= alpha U / max(1, rms(U) / threshold)
 *
 * Tensors of more than two dimensions are matrices side by side, with the norms over all of them. */
#include <math.h>
#include <stddef.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/options.h"
#include "base/thread_pool.h"
#include "kernels/vector_math.h"
#include "optim/optimizer_core.h"

enum {
    COLUMNS = 128, /* of a task that sums columns */
    PIECE = 4096   /* elements of a vector that are taken for a row */
};

typedef struct adafactor_options {
    double power, eps, min_rms, threshold;
} adafactor_options_t;

static const tlmi_optimizer_option_t adafactor_fields[] = {
    {.name = "power", .offset = offsetof(adafactor_options_t, power)},
    {.name = "eps", .offset = offsetof(adafactor_options_t, eps)},
    {.name = "min_rms", .offset = offsetof(adafactor_options_t, min_rms)},
    {.name = "threshold", .offset = offsetof(adafactor_options_t, threshold)},
};

/* A tensor as rows: of matrices, or pieces of a vector. */
typedef struct layout {
    bool factored;
    int64_t matrices, rows; /* rows of each matrix */
    int64_t columns;        /* of all rows, except that the last piece of a vector may be shorter */
    int64_t numel;
} layout_t;

static layout_t layout_of(const tlm_tensor_t *tensor)
{
    const int32_t n = tensor->ndim;
    layout_t layout = {.factored = n >= 2, .matrices = 1, .columns = PIECE, .numel = tensor->numel};

    if (layout.factored) {
        layout.matrices = tlmi_dims_product(tensor->shape, 0, n - 2);
        layout.rows = tensor->shape[n - 2];
        layout.columns = tensor->shape[n - 1];
    } else {
        layout.rows = (tensor->numel + PIECE - 1) / PIECE;
    }
    if (tensor->numel == 0)
        layout.matrices = layout.rows = 0;
    return layout;
}

static tlm_status_t adafactor_add_states(tlmi_parameter_t *parameter, const char *function,
                                         const void *options)
{
    const tlm_tensor_t *tensor = parameter->tensor;
    const int32_t n = tensor->ndim;
    int64_t columns[TLM_MAX_DIMS];

    (void)function, (void)options;
    if (n < 2)
        return tlmi_state_add(parameter, "variance", tensor->shape, n);
    for (int32_t i = 0; i < n - 1; i++)
        columns[i] = tensor->shape[i == n - 2 ? n - 1 : i];
    TLMI_TRY(tlmi_state_add(parameter, "row", tensor->shape, n - 1));
    return tlmi_state_add(parameter, "column", columns, n - 1);
}

/* The sums that a step needs: of squares of U and of theta by row, and the means of R by matrix. */
typedef struct sums {
    double *update, *theta, *mean;
} sums_t;

static sums_t cut_scratch(void *scratch, const layout_t *layout)
{
    double *at = scratch;
    const int64_t rows = layout->matrices * layout->rows;

    return (sums_t){at, at + rows, at + 2 * rows};
}

static tlm_status_t adafactor_prepare(tlmi_update_t *update)
{
    const layout_t layout = layout_of(update->parameter->tensor);
    const size_t n = (size_t)(2 * layout.matrices * layout.rows + layout.matrices + 1);

    update->scratch = tlmi_cached_alloc(n, sizeof(double), "the sums of Adafactor");
    return update->scratch == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
}

typedef struct adafactor_job {
    layout_t layout;
    sums_t sums;
    float *theta, *row, *column; /* row: the variance of a vector */
    const float *gradient;
    double weight; /* of the new squares */
    float least;   /* eps^2 */
    float step, keep;
} adafactor_job_t;

/* The elements of a row: n of them, from `at`. */
static int64_t row_size(const adafactor_job_t *job, int64_t row, int64_t *at)
{
    *at = row * job->layout.columns;
    return job->layout.numel - *at < job->layout.columns ? job->layout.numel - *at
                                                         : job->layout.columns;
}

static float moved(float from, double to, double weight)
{
    return (float)((double)from + weight * (to - (double)from));
}

/* R of a row; of a vector all of its elements. */
static void row_task(void *context, int64_t row, int32_t worker)
{
    const adafactor_job_t *job = context;
    int64_t at, n = row_size(job, row, &at);
    const float *g = job->gradient + at;

    (void)worker;
    job->sums.theta[row] = tlmi_vec_sum_squares(job->theta + at, n);
    if (job->layout.factored)
        job->row[row] = moved(job->row[row], tlmi_vec_sum_squares(g, n) / (double)n, job->weight);
    for (int64_t i = 0; i < n && !job->layout.factored; i++)
        job->row[at + i] = moved(job->row[at + i], (double)g[i] * (double)g[i], job->weight);
}

/* C of some columns of a matrix. */
static void column_task(void *context, int64_t task, int32_t worker)
{
    const adafactor_job_t *job = context;
    const layout_t *layout = &job->layout;
    const int64_t per_matrix = (layout->columns + COLUMNS - 1) / COLUMNS;
    const int64_t matrix = task / per_matrix, first = task % per_matrix * COLUMNS;
    const int64_t n = layout->columns - first < COLUMNS ? layout->columns - first : COLUMNS;
    const float *g = job->gradient + matrix * layout->rows * layout->columns + first;
    float *column = job->column + matrix * layout->columns + first;
    double sums[COLUMNS] = {0.0};

    (void)worker;
    for (int64_t row = 0; row < layout->rows; row++, g += layout->columns)
        for (int64_t i = 0; i < n; i++)
            sums[i] += (double)g[i] * (double)g[i];
    for (int64_t i = 0; i < n; i++)
        column[i] = moved(column[i], sums[i] / (double)layout->rows, job->weight);
}

/* U of element i of a row. */
static float update_of(const adafactor_job_t *job, int64_t row, int64_t at, int64_t i)
{
    const int64_t matrix = row / job->layout.rows;
    float v = job->layout.factored ? job->row[row] * job->column[matrix * job->layout.columns + i] /
                                         (float)job->sums.mean[matrix]
                                   : job->row[at + i];

    v = v < job->least ? job->least : v;
    return job->gradient[at + i] / sqrtf(v);
}

static void norm_task(void *context, int64_t row, int32_t worker)
{
    const adafactor_job_t *job = context;
    int64_t at, n = row_size(job, row, &at);
    double sum = 0.0;

    (void)worker;
    for (int64_t i = 0; i < n; i++) {
        const double u = (double)update_of(job, row, at, i);

        sum += u * u;
    }
    job->sums.update[row] = sum;
}

static void apply_task(void *context, int64_t row, int32_t worker)
{
    const adafactor_job_t *job = context;
    int64_t at, n = row_size(job, row, &at);

    (void)worker;
    for (int64_t i = 0; i < n; i++)
        job->theta[at + i] =
            job->theta[at + i] * job->keep - job->step * update_of(job, row, at, i);
}

static double rms(const double *sums, int64_t rows, int64_t numel)
{
    double sum = 0.0;

    for (int64_t i = 0; i < rows; i++)
        sum += sums[i];
    return sqrt(sum / (double)numel);
}

static void find_means(adafactor_job_t *job, double eps)
{
    const layout_t *layout = &job->layout;

    for (int64_t matrix = 0; matrix < layout->matrices && layout->factored; matrix++) {
        double sum = 0.0;

        for (int64_t i = 0; i < layout->rows; i++)
            sum += (double)job->row[matrix * layout->rows + i];
        job->sums.mean[matrix] = fmax(sum / (double)layout->rows, eps);
    }
}

static void adafactor_apply(const tlmi_update_t *update)
{
    const adafactor_options_t *options = update->options;
    const tlmi_parameter_t *parameter = update->parameter;
    const tlm_tensor_t *tensor = parameter->tensor;
    const layout_t layout = layout_of(tensor);
    const int64_t rows = layout.matrices * layout.rows;
    const double t = (double)update->step;
    adafactor_job_t job = {
        .layout = layout,
        .sums = cut_scratch(update->scratch, &layout),
        .theta = tlmi_floats(tensor),
        .row = parameter->states[0].values,
        .column = layout.factored ? parameter->states[1].values : NULL,
        .gradient = tlmi_floats(tensor->grad),
        .weight = pow(t, -options->power),
        .least = (float)(options->eps * options->eps),
        .keep = (float)(1.0 - update->learning_rate * update->weight_decay),
    };

    tlmi_parallel_for(rows, row_task, &job);
    if (layout.factored)
        tlmi_parallel_for(layout.matrices * ((layout.columns + COLUMNS - 1) / COLUMNS), column_task,
                          &job);
    find_means(&job, options->eps);
    tlmi_parallel_for(rows, norm_task, &job);
    const double size = rms(job.sums.update, rows, layout.numel);
    const double scale = fmax(options->min_rms, rms(job.sums.theta, rows, layout.numel));
    const double rate = fmin(update->learning_rate, 1.0 / sqrt(t));
    const double excess = options->threshold > 0.0 ? size / options->threshold : 1.0;
    job.step = (float)(scale * rate / fmax(1.0, excess));
    tlmi_parallel_for(rows, apply_task, &job);
}

static tlm_status_t adafactor_create(tlm_optimizer_t **out)
{
    return tlm_optimizer_create_adafactor(out, NULL);
}

/* A step is relative to the parameter. Hidden matrices begin with the inverse of the root of the width,
 * and so do their steps; the rate brings in the other root, for 1 / ratio as with AdamW. */
static double adafactor_width_factor(const void *options, double ratio)
{
    (void)options;
    return 1.0 / sqrt(ratio);
}

const tlmi_optimizer_kind_t tlmi_adafactor_kind = {
    .name = "adafactor",
    .options_size = sizeof(adafactor_options_t),
    .options = adafactor_fields,
    .num_options = sizeof(adafactor_fields) / sizeof(adafactor_fields[0]),
    .has_weight_decay = true,
    .checkpoint_version = 2,
    .flops = 22, /* 6 for R, C and the norm of theta; 7 for U, twice; 2 for its norm */
    .is_relative = true,
    .width_factor = adafactor_width_factor,
    .create = adafactor_create,
    .add_states = adafactor_add_states,
    .prepare = adafactor_prepare,
    .apply = adafactor_apply,
};

/* Reads a caller's options, which may be NULL; group->options is *own. */
static tlm_status_t read_options(tlmi_group_t *group, adafactor_options_t *own,
                                 const char *function, const tlm_adafactor_options_t *options)
{
    tlm_adafactor_options_t known = TLM_ADAFACTOR_OPTIONS_INIT;

    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, &known, TLMI_ADAFACTOR_OPTIONS, options));
    *own = (adafactor_options_t){known.power, known.eps, known.min_rms, known.threshold};
    *group =
        (tlmi_group_t){&tlmi_adafactor_kind, known.learning_rate, known.weight_decay, own, 0.0};
    return TLM_OK;
}

tlm_status_t tlm_optimizer_create_adafactor(tlm_optimizer_t **out,
                                            const tlm_adafactor_options_t *options)
{
    adafactor_options_t own;
    tlmi_group_t group;

    TLMI_REQUIRE("optimizer_create_adafactor", out);
    TLMI_TRY(read_options(&group, &own, "optimizer_create_adafactor", options));
    return tlmi_optimizer_new(out, "optimizer_create_adafactor", &group);
}

tlm_status_t tlm_optimizer_add_adafactor_group(tlm_optimizer_t *optimizer,
                                               tlm_tensor_t *const *tensors, size_t n,
                                               const tlm_adafactor_options_t *options)
{
    adafactor_options_t own;
    tlmi_group_t group;

    TLMI_TRY(read_options(&group, &own, "optimizer_add_adafactor_group", options));
    return tlmi_optimizer_add(optimizer, "optimizer_add_adafactor_group", tensors, n, &group);
}
