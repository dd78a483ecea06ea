/* Cross-entropy: the mean over positions of logsumexp(z) - z[target], or what tlmi_loss_rules_t makes
 * of it.
 *
 * Its gradient is (softmax(z) - onehot(target)) / positions; with rules
 * ((1 + 2 z_loss l) softmax(z) - (1 - smoothing) onehot(target) - smoothing / classes) / positions,
 * where l is the logsumexp. The form that is fused with the output
 * layer computes the logits of a few hundred rows at a time, turns them into their gradient in
 * place and multiplies that by the weights at once, so memory does not grow with rows * classes. */
#include "nn/nn_core.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "tensor/tensor_core.h"
#include "tinylm/options.h"
#include "kernels/gemm.h"
#include "kernels/vector_math.h"

enum { ROWS_PER_TASK = 8 };
enum { IGNORED = -1 }; /* a target that does not count */

typedef struct loss_job {
    int64_t rows, classes;
    const float *logits;
    const int64_t *targets;
    double *losses; /* (rows); NULL if not needed */
    float *grad;    /* (rows, classes), may be logits; NULL if not needed */
    float scale;    /* of the gradient */
    bool accumulate;
    tlmi_loss_rules_t rules; /* with a softcap, grad is logits or NULL */
    float *capped;           /* logits, which are capped in place; only with a softcap */
} loss_job_t;

/* A row that does not count. */
static void ignore_row(const loss_job_t *job, int64_t i)
{
    if (job->losses != NULL)
        job->losses[i] = 0.0;
    if (job->grad != NULL && !job->accumulate)
        memset(job->grad + i * job->classes, 0, (size_t)job->classes * sizeof(float));
}

/* What a row of logits z comes to: exp(z - max) and its sum are known. */
typedef struct row_sums {
    float max, sum, target; /* target: its logit */
    float mean;             /* of z; only with smoothing */
} row_sums_t;

static double row_lse(const row_sums_t *row)
{
    return log((double)row->sum) + (double)row->max;
}

static double row_value(const tlmi_loss_rules_t *rules, const row_sums_t *row)
{
    double loss = log((double)row->sum) + ((double)row->max - (double)row->target);

    if (rules->smoothing != 0.0)
        loss += rules->smoothing * ((double)row->target - (double)row->mean);
    if (rules->z_loss != 0.0)
        loss += rules->z_loss * row_lse(row) * row_lse(row);
    return loss;
}

/* grad (+)= the gradient of a row, where e = exp(z - max) and may be grad. */
static void row_gradient(float *grad, const loss_job_t *job, const row_sums_t *row, const float *e,
                         int64_t target)
{
    const double smoothing = job->rules.smoothing, scale = (double)job->scale;
    float factor = job->scale / row->sum;

    if (job->rules.z_loss != 0.0)
        factor = (float)(scale * (1.0 + 2.0 * job->rules.z_loss * row_lse(row)) / (double)row->sum);
    if (job->accumulate)
        tlmi_vec_axpy(grad, factor, e, job->classes);
    else
        tlmi_vec_scale(grad, e, factor, job->classes);
    grad[target] -= (float)(scale * (1.0 - smoothing));
    const float each = (float)(scale * smoothing / (double)job->classes);
    for (int64_t j = 0; j < job->classes && smoothing != 0.0; j++)
        grad[j] -= each;
}

/* Computes the loss and the gradient of one row. */
static void loss_row(const loss_job_t *job, int64_t i, float *scratch)
{
    const tlmi_loss_rules_t *rules = &job->rules;
    int64_t n = job->classes, target = job->targets[i];
    const float *z = job->logits + i * n;
    if (target == IGNORED) {
        ignore_row(job, i);
        return;
    }
    if (rules->softcap != 0.0f)
        tlmi_softcap_slopes(job->capped + i * n, scratch, rules->softcap, n);
    row_sums_t row = {.max = tlmi_vec_max(z, n), .target = z[target]};
    if (rules->smoothing != 0.0)
        row.mean = tlmi_vec_sum(z, n) / (float)n;
    float *e = job->grad != NULL && !job->accumulate ? job->grad + i * n : scratch;
    row.sum = tlmi_vec_exp_sum(e, z, row.max, n);
    if (job->losses != NULL)
        job->losses[i] = row_value(rules, &row);
    if (job->grad == NULL)
        return;
    float *grad = job->grad + i * n;
    row_gradient(grad, job, &row, e, target);
    if (rules->softcap != 0.0f)
        tlmi_vec_mul(grad, grad, scratch, n);
}

typedef struct loss_run {
    loss_job_t job;
    float *scratch; /* (workers, classes), or NULL if no row needs one */
} loss_run_t;

static void loss_rows(void *context, int64_t task, int32_t worker)
{
    const loss_run_t *run = context;
    const loss_job_t *job = &run->job;
    int64_t end = (task + 1) * ROWS_PER_TASK < job->rows ? (task + 1) * ROWS_PER_TASK : job->rows;
    float *scratch = run->scratch == NULL ? NULL : run->scratch + worker * job->classes;
    for (int64_t i = task * ROWS_PER_TASK; i < end; i++)
        loss_row(job, i, scratch);
}

static tlm_status_t run_loss(const loss_job_t *job)
{
    loss_run_t run = {*job, NULL};
    int32_t workers = tlmi_max_workers();
    if (job->grad == NULL || job->accumulate || job->rules.softcap != 0.0f) {
        run.scratch = tlmi_cached_alloc((size_t)workers, (size_t)job->classes * sizeof(float),
                                        "a row of cross_entropy");
        if (run.scratch == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
    }
    tlmi_parallel_for_workers((job->rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK, workers, loss_rows,
                              &run);
    tlmi_cached_free(run.scratch);
    return TLM_OK;
}

/* Adds in the order of positions, so the sum does not depend on threads. The mean is over the
 * targets that count. */
static float mean_loss(const double *losses, int64_t n, int64_t counted)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n && !tlmi_dry_run(); i++)
        sum += losses[i];
    return (float)(sum / (double)counted);
}

/* How many of n targets count. */
static int64_t count_targets(const int64_t *targets, int64_t n)
{
    int64_t counted = 0;
    if (tlmi_dry_run())
        return n;
    for (int64_t i = 0; i < n; i++)
        counted += targets[i] != IGNORED;
    return counted;
}

/* Reads the targets as int64 (owned by the caller) and checks them against the leading dimensions
 * of x and the number of classes. */
static tlm_status_t read_targets(int64_t **out, const tlm_tensor_t *x, const tlm_tensor_t *targets,
                                 int64_t classes, bool may_ignore)
{
    TLMI_TRY(tlmi_check_index("cross_entropy", "targets", targets));
    bool fits = x->ndim == targets->ndim + 1;
    for (int32_t i = 0; fits && i < targets->ndim; i++)
        fits = x->shape[i] == targets->shape[i];
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    if (!fits || targets->numel == 0 || classes == 0)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "cross_entropy: logits %s with %" PRId64 " classes do not fit targets %s",
                         tlmi_shape_text(a, x), classes, tlmi_shape_text(b, targets));
    int64_t *list;
    TLMI_TRY(tlmi_read_indices(&list, targets));
    for (int64_t i = 0; i < targets->numel && !tlmi_dry_run(); i++)
        if (may_ignore && list[i] == TLM_IGNORED_TARGET) {
            list[i] = IGNORED;
        } else if (list[i] < 0 || list[i] >= classes) {
            tlm_status_t status = tlmi_fail(TLM_ERR_RANGE,
                                            "cross_entropy: target %" PRId64 " at position %" PRId64
                                            " is not one of %" PRId64 " classes",
                                            list[i], i, classes);
            tlmi_cached_free(list);
            return status;
        }
    if (count_targets(list, targets->numel) == 0) {
        tlmi_cached_free(list);
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "cross_entropy: all %" PRId64 " targets are ignored", targets->numel);
    }
    *out = list;
    return TLM_OK;
}

/* ---- On given logits ----------------------------------------------------------------- */

typedef struct cross_entropy_context {
    int64_t *targets; /* owned */
    int64_t counted;
    tlmi_loss_rules_t rules;
} cross_entropy_context_t;

static tlm_status_t cross_entropy_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    tlm_tensor_t *logits;
    TLMI_TRY(tlmi_contiguous(&logits, node->inputs[0]));
    int64_t classes = logits->shape[logits->ndim - 1];
    const cross_entropy_context_t *context = tlmi_node_context(node);
    loss_job_t job = {.rows = logits->numel / classes,
                      .classes = classes,
                      .logits = tlmi_floats(logits),
                      .targets = context->targets,
                      .scale = *tlmi_floats(grad_out) / (float)context->counted,
                      .rules = context->rules};
    tlm_status_t status = tlmi_grad_open(&job.grad, &job.accumulate, node, 0);
    if (status == TLM_OK)
        status = run_loss(&job);
    tlm_tensor_free(logits);
    return status;
}

static void cross_entropy_release(tlmi_node_t *node)
{
    tlmi_cached_free(((cross_entropy_context_t *)tlmi_node_context(node))->targets);
}

static const tlmi_op_t cross_entropy_op = {.name = "cross_entropy",
                                           .input_names = {"logits"},
                                           .reads = {TLMI_READS_INPUT(0)},
                                           .backward = cross_entropy_backward,
                                           .release = cross_entropy_release};

static tlm_status_t cross_entropy_forward(float *loss, const tlm_tensor_t *logits,
                                          const int64_t *targets, const tlmi_loss_rules_t *rules)
{
    tlm_tensor_t *rows;
    TLMI_TRY(tlmi_contiguous(&rows, logits));
    int64_t classes = logits->shape[logits->ndim - 1], n = logits->numel / classes;
    double *losses = tlmi_cached_alloc((size_t)n, sizeof(double), "the losses of cross_entropy");
    tlm_status_t status = losses == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    if (status == TLM_OK) {
        loss_job_t job = {.rows = n,
                          .classes = classes,
                          .logits = tlmi_floats(rows),
                          .targets = targets,
                          .losses = losses,
                          .rules = *rules};
        status = run_loss(&job);
    }
    if (status == TLM_OK)
        *loss = mean_loss(losses, n, count_targets(targets, n));
    tlmi_cached_free(losses);
    tlm_tensor_free(rows);
    return status;
}

tlm_status_t tlm_cross_entropy(tlm_tensor_t **out, tlm_tensor_t *logits, tlm_tensor_t *targets)
{
    const tlmi_loss_rules_t plain = {.softcap = 0.0f};

    TLMI_REQUIRE("cross_entropy", out);
    return tlmi_cross_entropy(out, logits, targets, false, &plain);
}

tlm_status_t tlmi_cross_entropy(tlm_tensor_t **out, tlm_tensor_t *logits, tlm_tensor_t *targets,
                                bool may_ignore, const tlmi_loss_rules_t *rules)
{
    TLMI_TRY(tlmi_check_float("cross_entropy", "logits", logits));
    char text[TLMI_SHAPE_TEXT];
    if (logits->ndim < 1)
        return tlmi_fail(TLM_ERR_SHAPE, "cross_entropy: logits %s have no dimension of classes",
                         tlmi_shape_text(text, logits));
    int64_t *list;
    TLMI_TRY(read_targets(&list, logits, targets, logits->shape[logits->ndim - 1], may_ignore));
    tlm_tensor_t *loss = NULL;
    tlmi_node_t *node;
    tlm_status_t status = tlmi_tensor_new(&loss, TLM_FLOAT32, NULL, 0);
    if (status == TLM_OK)
        status = cross_entropy_forward(tlmi_floats(loss), logits, list, rules);
    if (status == TLM_OK && tlmi_needs_grad(&logits, 1)) {
        status = tlmi_record(&node, &cross_entropy_op, loss, &logits, 1,
                             sizeof(cross_entropy_context_t));
        if (status == TLM_OK) {
            *(cross_entropy_context_t *)tlmi_node_context(node) =
                (cross_entropy_context_t){list, count_targets(list, targets->numel), *rules};
            list = NULL;
        }
    }
    tlmi_cached_free(list);
    if (status == TLM_OK)
        *out = loss;
    else
        tlm_tensor_free(loss);
    return status;
}

/* ---- Fused with the linear layer before it ------------------------------------------- */

/* What all slices use. dx (rows, d) and dweight (classes, d) are NULL if not needed. */
typedef struct fused_job {
    int64_t rows, d, classes, counted;
    int32_t products;
    const float *x;
    tlmi_weight_t weight;
    const int64_t *targets;
    double *losses;
    float *logits; /* (TLMI_LOSS_SLICE, classes) */
    tlmi_loss_rules_t rules;
    tlm_tensor_t *dx, *dweight;
} fused_job_t;

typedef struct fused_context {
    tlm_tensor_t *gradients[2]; /* gradients of x and weight for a loss gradient of 1; owned */
} fused_context_t;

static tlm_status_t fused_slice(const fused_job_t *job, int64_t first)
{
    int64_t n = job->rows - first < TLMI_LOSS_SLICE ? job->rows - first : TLMI_LOSS_SLICE;
    int64_t d = job->d, classes = job->classes;
    bool wants_grad = job->dx != NULL || job->dweight != NULL;
    tlmi_matrix_t x = {job->x + first * d, d, 1};
    TLMI_TRY(tlmi_weight_product(job->logits, job->products, n, x.data, &job->weight, 0.0f));
    loss_job_t loss = {.rows = n,
                       .classes = classes,
                       .logits = job->logits,
                       .targets = job->targets + first,
                       .losses = job->losses + first,
                       .grad = wants_grad ? job->logits : NULL,
                       .scale = 1.0f / (float)job->counted,
                       .rules = job->rules,
                       .capped = job->logits};
    TLMI_TRY(run_loss(&loss));
    if (job->dx != NULL) {
        float *dx = tlmi_floats(job->dx) + first * d;
        TLMI_TRY(tlmi_weight_product_back(dx, job->products, n, job->logits, &job->weight, 0.0f));
    }
    if (job->dweight != NULL) {
        tlmi_matrix_t dz = {job->logits, 1, classes};
        tlmi_gemm_as(job->products, classes, d, n, 1.0f, dz, x, first > 0,
                     tlmi_floats(job->dweight), d);
    }
    return TLM_OK;
}

static tlm_status_t fused_slices(float *mean, fused_job_t *job)
{
    int64_t slice = job->rows < TLMI_LOSS_SLICE ? job->rows : TLMI_LOSS_SLICE;
    const int64_t shape[] = {slice, job->classes};
    tlm_tensor_t *logits;
    TLMI_TRY(tlmi_tensor_new(&logits, TLM_FLOAT32, shape, 2));
    job->logits = tlmi_floats(logits);
    job->losses =
        tlmi_cached_alloc((size_t)job->rows, sizeof(double), "the losses of cross_entropy");
    tlm_status_t status = job->losses == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    for (int64_t first = 0; status == TLM_OK && first < job->rows; first += TLMI_LOSS_SLICE) {
        status = fused_slice(job, first);
        if (tlmi_dry_run())
            break; /* the other slices take and give back the same blocks */
    }
    if (status == TLM_OK)
        *mean = mean_loss(job->losses, job->rows, job->counted);
    tlmi_cached_free(job->losses);
    tlm_tensor_free(logits);
    return status;
}

typedef struct scale_job {
    float *values;
    float factor;
} scale_job_t;

static void scale_range(void *context, int64_t begin, int64_t end)
{
    const scale_job_t *job = context;
    tlmi_vec_scale(job->values + begin, job->values + begin, job->factor, end - begin);
}

static tlm_status_t fused_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    fused_context_t *context = tlmi_node_context(node);
    tlm_status_t status = TLM_OK;
    for (int32_t i = 0; i < 2 && status == TLM_OK; i++) {
        tlm_tensor_t *gradient = context->gradients[i];
        if (gradient == NULL)
            continue;
        scale_job_t job = {tlmi_floats(gradient), *tlmi_floats(grad_out)};
        if (job.factor != 1.0f)
            tlmi_parallel_ranges(gradient->numel, scale_range, &job);
        status = tlmi_grad_give(node, i, gradient);
        tlm_tensor_free(gradient);
        context->gradients[i] = NULL;
    }
    return status;
}

static void fused_release(tlmi_node_t *node)
{
    fused_context_t *context = tlmi_node_context(node);
    tlm_tensor_free(context->gradients[0]);
    tlm_tensor_free(context->gradients[1]);
}

static const tlmi_op_t fused_op = {.name = "linear_cross_entropy",
                                   .input_names = {"x", "weight"},
                                   .reads = {TLMI_READS_NOTHING, TLMI_READS_NOTHING},
                                   .backward = fused_backward,
                                   .release = fused_release};

static tlm_status_t fused_forward(tlm_tensor_t *loss, fused_context_t *context, tlm_tensor_t *x,
                                  tlm_tensor_t *weight, const int64_t *targets,
                                  const tlmi_loss_rules_t *rules)
{
    tlm_tensor_t *rows = NULL, *w = NULL, *inputs[] = {x, weight};
    bool graph = tlmi_needs_grad(inputs, 2);
    tlm_status_t status = tlmi_contiguous(&rows, x);
    if (status == TLM_OK)
        status = tlmi_contiguous(&w, weight);
    for (int i = 0; i < 2 && status == TLM_OK; i++)
        if (graph && inputs[i]->requires_grad)
            status = tlmi_tensor_new(&context->gradients[i], TLM_FLOAT32, inputs[i]->shape,
                                     inputs[i]->ndim);
    if (status == TLM_OK) {
        fused_job_t job = {.rows = tlmi_dims_product(x->shape, 0, x->ndim - 1),
                           .d = weight->shape[1],
                           .classes = weight->shape[0],
                           .counted =
                               count_targets(targets, tlmi_dims_product(x->shape, 0, x->ndim - 1)),
                           .products = tlm_products(),
                           .x = tlmi_floats(rows),
                           .weight = tlmi_weight_of(w),
                           .targets = targets,
                           .rules = *rules,
                           .dx = context->gradients[0],
                           .dweight = context->gradients[1]};
        status = fused_slices(tlmi_floats(loss), &job);
    }
    tlmi_node_t *node;
    if (status == TLM_OK && graph) {
        status = tlmi_record(&node, &fused_op, loss, inputs, 2, sizeof(fused_context_t));
        if (status == TLM_OK) {
            *(fused_context_t *)tlmi_node_context(node) = *context;
            *context = (fused_context_t){{NULL, NULL}};
        }
    }
    tlm_tensor_free(rows);
    tlm_tensor_free(w);
    return status;
}

tlm_status_t tlmi_linear_cross_entropy(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight,
                                       tlm_tensor_t *targets, const tlmi_loss_rules_t *rules)
{
    TLMI_TRY(tlmi_check_float("cross_entropy", "x", x));
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    if (x->ndim < 1 || weight->ndim != 2 || x->shape[x->ndim - 1] != weight->shape[1])
        return tlmi_fail(TLM_ERR_SHAPE, "cross_entropy: x %s does not fit weight %s",
                         tlmi_shape_text(a, x), tlmi_shape_text(b, weight));
    int64_t *list;
    TLMI_TRY(read_targets(&list, x, targets, weight->shape[0], true));
    fused_context_t context = {{NULL, NULL}};
    tlm_tensor_t *loss = NULL;
    tlm_status_t status = tlmi_tensor_new(&loss, TLM_FLOAT32, NULL, 0);
    if (status == TLM_OK)
        status = fused_forward(loss, &context, x, weight, list, rules);
    tlm_tensor_free(context.gradients[0]);
    tlm_tensor_free(context.gradients[1]);
    tlmi_cached_free(list);
    if (status == TLM_OK)
        *out = loss;
    else
        tlm_tensor_free(loss);
    return status;
}
