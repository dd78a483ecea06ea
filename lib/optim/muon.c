/* Muon (Jordan et al. 2024): momentum, made orthogonal by a Newton-Schulz iteration. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/options.h"
#include "base/thread_pool.h"
#include "kernels/gemm.h"
#include "kernels/vector_math.h"
#include "optim/optimizer_core.h"

/* ---- Options ---------------------------------------------------------------------------- */

typedef struct muon_options {
    double momentum, eps;
    int32_t iterations;
    int32_t momentum_rule; /* index in momentum_rules */
    int32_t scale;         /* TLM_MUON_SCALE_... */
} muon_options_t;

enum { NESTEROV, HEAVY_BALL };

static const char *const momentum_rules[] = {"nesterov", "heavy_ball"};
static const char *const scales[] = {"moonlight", "jordan"};

static const tlmi_optimizer_option_t muon_fields[] = {
    {.name = "momentum", .offset = offsetof(muon_options_t, momentum), .below = 1.0},
    {.name = "eps", .offset = offsetof(muon_options_t, eps)},
    {.name = "iterations", .offset = offsetof(muon_options_t, iterations), .most = 100},
    {.name = "momentum_rule",
     .offset = offsetof(muon_options_t, momentum_rule),
     .choices = momentum_rules,
     .num_choices = 2},
    {.name = "scale",
     .offset = offsetof(muon_options_t, scale),
     .choices = scales,
     .num_choices = 2},
};

/* Reads and checks a caller's options, which may be NULL. group->options is *own. */
static tlm_status_t read_options(tlmi_group_t *group, muon_options_t *own, const char *function,
                                 const tlm_muon_options_t *options)
{
    tlm_muon_options_t known = TLM_MUON_OPTIONS_INIT;

    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, &known, TLMI_MUON_OPTIONS, options));
    *own = (muon_options_t){known.momentum, known.eps, known.iterations,
                            known.nesterov ? NESTEROV : HEAVY_BALL, known.scale};
    *group = (tlmi_group_t){&tlmi_muon_kind, known.learning_rate, known.weight_decay, own, 0.0};
    return tlmi_group_check(function, group);
}

/* ---- Orthogonalization ------------------------------------------------------------------ */

/* A matrix X (rows, columns) on its way to U V^T, where U S V^T is its singular value decomposition.
 * One step of the Newton-Schulz iteration is X <- P X with P = a I + b G + c G^2 and the Gram matrix
 * G = X X^T of the shorter side: an odd polynomial in the singular values, with coefficients that pull
 * all of (0, 1] near 1 within five steps. */
typedef struct iteration {
    int64_t rows, columns, side;   /* side: the shorter of the two */
    float *x, *next;               /* (rows, columns) */
    float *gram, *polynomial;      /* (side, side): G and P */
    float *product, *intermediate; /* the same, for several steps: their P multiplied, and P G */
} iteration_t;

/* Jordan et al.: steep at 0, at the price of ending in about 0.7 .. 1.2 instead of 1. */
static const float coefficients[3] = {3.4445f, -4.775f, 2.0315f};

/* Steps that are taken with one X. After X <- P X the Gram matrix is P G P, which is cheaper to compute
 * than from X where that is longer than wide. Both lose accuracy where singular values are small: more
 * than three steps without a look at X are not accurate to float32. */
enum { MOST_STEPS = 3 };

static int32_t steps_at_once(int64_t side, int64_t longer)
{
    return (double)longer > 1.1 * (double)side ? MOST_STEPS : 1;
}

/* Rows of a block of the lower triangle: large enough for products at full speed. */
enum { BLOCK = 64 };

typedef struct mirror_job {
    float *c;
    int64_t n;
    float diagonal; /* added to the diagonal */
} mirror_job_t;

/* Copies one block of the rows below the diagonal to the columns above it, in tiles that stay in the
 * cache. */
static void mirror_block(void *context, int64_t task, int32_t worker)
{
    enum { TILE = 32 };
    const mirror_job_t *job = context;
    const int64_t n = job->n, first = task * BLOCK;
    const int64_t end = n - first < BLOCK ? n : first + BLOCK;

    (void)worker;
    for (int64_t row = first; row < end; row += TILE)
        for (int64_t column = 0; column <= row; column += TILE)
            for (int64_t i = row; i < end && i < row + TILE; i++)
                for (int64_t j = column; j < i && j < column + TILE; j++)
                    job->c[j * n + i] = job->c[i * n + j];
    for (int64_t i = first; i < end; i++)
        job->c[i * n + i] += job->diagonal;
}

/* C (n, n) = alpha A B + beta C + diagonal I for A (n, k) and B (k, n) whose product is symmetric: it is
 * computed below the diagonal and mirrored. C is symmetric before, unless beta is 0. */
static tlm_status_t symmetric_product(float *c, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                                      tlmi_matrix_t b, float beta, float diagonal)
{
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t height = n - i < BLOCK ? n - i : BLOCK;
        tlmi_matrix_t block = {a.data + i * a.row_stride, a.row_stride, a.column_stride};

        TLMI_TRY(tlmi_gemm(height, i + height, k, alpha, block, b, beta, c + i * n, n));
    }
    mirror_job_t job = {c, n, diagonal};
    tlmi_parallel_for((n + BLOCK - 1) / BLOCK, mirror_block, &job);
    return TLM_OK;
}

/* Elements of such a product that are computed. */
static double count_symmetric(int64_t n)
{
    double elements = 0.0;

    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t height = n - i < BLOCK ? n - i : BLOCK;

        elements += (double)height * (double)(i + height);
    }
    return elements;
}

/* P of the current G. */
static tlm_status_t compute_polynomial(const iteration_t *it)
{
    tlmi_matrix_t gram = {it->gram, it->side, 1};

    if (!tlmi_dry_run())
        memcpy(it->polynomial, it->gram, (size_t)(it->side * it->side) * sizeof(float));
    return symmetric_product(it->polynomial, it->side, it->side, coefficients[2], gram, gram,
                             coefficients[1], coefficients[0]);
}

/* Another step without X: G <- P G P, a new P, and product <- P product. All of these are polynomials
 * of one matrix, so they commute, and their products are symmetric. */
static tlm_status_t step_of_gram(iteration_t *it)
{
    const int64_t side = it->side;
    tlmi_matrix_t gram = {it->gram, side, 1}, polynomial = {it->polynomial, side, 1};
    tlmi_matrix_t product = {it->product, side, 1}, intermediate = {it->intermediate, side, 1};

    TLMI_TRY(symmetric_product(it->intermediate, side, side, 1.0f, polynomial, gram, 0.0f, 0.0f));
    TLMI_TRY(symmetric_product(it->gram, side, side, 1.0f, intermediate, polynomial, 0.0f, 0.0f));
    TLMI_TRY(compute_polynomial(it));
    TLMI_TRY(
        symmetric_product(it->intermediate, side, side, 1.0f, polynomial, product, 0.0f, 0.0f));
    float *swapped = it->product;
    it->product = it->intermediate;
    it->intermediate = swapped;
    return TLM_OK;
}

/* `steps` steps with one X. */
static tlm_status_t iterate(iteration_t *it, int32_t steps)
{
    const bool wide = it->side == it->rows;
    const int64_t rows = it->rows, columns = it->columns, side = it->side;
    tlmi_matrix_t x = {it->x, columns, 1}, transposed = {it->x, 1, columns};

    TLMI_TRY(symmetric_product(it->gram, side, wide ? columns : rows, 1.0f, wide ? x : transposed,
                               wide ? transposed : x, 0.0f, 0.0f));
    TLMI_TRY(compute_polynomial(it));
    if (steps > 1 && !tlmi_dry_run())
        memcpy(it->product, it->polynomial, (size_t)(side * side) * sizeof(float));
    for (int32_t i = 1; i < steps; i++)
        TLMI_TRY(step_of_gram(it));
    tlmi_matrix_t factor = {steps > 1 ? it->product : it->polynomial, side, 1};
    if (wide)
        TLMI_TRY(tlmi_gemm(rows, columns, side, 1.0f, factor, x, 0.0f, it->next, columns));
    else
        TLMI_TRY(tlmi_gemm(rows, columns, side, 1.0f, x, factor, 0.0f, it->next, columns));
    float *swapped = it->x;
    it->x = it->next;
    it->next = swapped;
    return TLM_OK;
}

/* Steps of the next call of `iterate`, with `left` to go: groups of nearly the same size, the smaller
 * ones first, where accuracy counts most. */
static int32_t next_steps(int32_t left, int32_t most)
{
    return left / ((left + most - 1) / most);
}

/* Divides x by its Frobenius norm, or by eps if that is more, so that no singular value is above 1. */
static void normalize(float *x, int64_t n, double eps)
{
    double norm = sqrt(tlmi_vec_sum_squares(x, n));

    /* A norm of 0 gives a factor that is finite, so that zeros stay zeros. */
    tlmi_vec_scale(x, x, (float)fmin(1.0 / fmax(norm, eps), FLT_MAX), n);
}

/* Replaces *x (rows, columns), from tlmi_cached_alloc, by its orthogonal factor, perhaps in other
 * memory of that kind. */
static tlm_status_t orthogonalize(float **x, int64_t rows, int64_t columns,
                                  const muon_options_t *options)
{
    const int64_t side = rows < columns ? rows : columns;
    const int64_t longer = rows < columns ? columns : rows;
    const int32_t most = steps_at_once(side, longer);
    size_t numel = (size_t)rows * (size_t)columns, square = (size_t)side * (size_t)side;
    float *squares = tlmi_cached_alloc(square, (most > 1 ? 4 : 2) * sizeof(float),
                                       "the Gram matrices of an update");
    iteration_t it = {.rows = rows, .columns = columns, .side = side, .x = *x};
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    it.next = tlmi_cached_alloc(numel, sizeof(float), "the orthogonalization of an update");
    if (squares == NULL || it.next == NULL)
        goto done;
    it.gram = squares;
    it.polynomial = squares + square;
    if (most > 1) {
        it.product = squares + 2 * square;
        it.intermediate = squares + 3 * square;
    }
    if (!tlmi_dry_run())
        normalize(it.x, (int64_t)numel, options->eps);
    for (int32_t left = options->iterations, steps; left > 0; left -= steps) {
        steps = next_steps(left, most);
        TLMI_TRY_OR(done, iterate(&it, steps));
    }
    status = TLM_OK;
done:
    tlmi_cached_free(it.next);
    tlmi_cached_free(squares);
    *x = it.x;
    return status;
}

/* Two for each term of the products. */
static double muon_product_flops(const tlm_tensor_t *matrix, const void *options)
{
    const muon_options_t *own = options;
    const int64_t rows = matrix->shape[0], columns = matrix->shape[1];
    const int64_t side = rows < columns ? rows : columns, longer = rows < columns ? columns : rows;
    const double symmetric = count_symmetric(side);
    double products = 0.0;

    for (int32_t left = own->iterations, steps; left > 0; left -= steps) {
        steps = next_steps(left, steps_at_once(side, longer));
        products += symmetric * (double)longer + (double)rows * (double)columns * (double)side;
        products += symmetric * (double)side * (1 + 4 * (steps - 1));
    }
    return 2.0 * products;
}

/* ---- The update ------------------------------------------------------------------------- */

static tlm_status_t muon_add_states(tlmi_parameter_t *parameter, const char *function,
                                    const void *options)
{
    const tlm_tensor_t *tensor = parameter->tensor;
    char shape[TLMI_SHAPE_TEXT];

    (void)options;
    if (tensor->ndim != 2)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: Muon updates matrices, and this tensor has shape %s; AdamW takes it "
                         "(tlm_optimizer_add_adamw_group)",
                         function, tlmi_shape_text(shape, tensor));
    return tlmi_state_add(parameter, "m", tensor->shape, tensor->ndim);
}

typedef struct momentum_job {
    float *m, *direction; /* direction: NULL in apply */
    const float *gradient;
    float keep, take; /* momentum, 1 - momentum */
    bool nesterov;
} momentum_job_t;

/* The new m = momentum m + (1 - momentum) g, and with Nesterov's rule the direction momentum m +
 * (1 - momentum) g of that new m. */
static void direction_range(void *context, int64_t begin, int64_t end)
{
    const momentum_job_t *job = context;

    for (int64_t i = begin; i < end; i++) {
        float g = job->take * job->gradient[i];
        float m = job->keep * job->m[i] + g;

        job->direction[i] = job->nesterov ? job->keep * m + g : m;
    }
}

static void momentum_range(void *context, int64_t begin, int64_t end)
{
    const momentum_job_t *job = context;

    for (int64_t i = begin; i < end; i++)
        job->m[i] = job->keep * job->m[i] + job->take * job->gradient[i];
}

static momentum_job_t momentum_job(const tlmi_update_t *update, float *direction)
{
    const muon_options_t *options = update->options;

    return (momentum_job_t){update->parameter->states[0].values,
                            direction,
                            tlmi_floats(update->parameter->tensor->grad),
                            (float)options->momentum,
                            (float)(1.0 - options->momentum),
                            options->momentum_rule == NESTEROV};
}

/* The products of the iteration get memory, so they may fail: they run here, and scratch is the
 * orthogonal direction. */
static tlm_status_t muon_prepare(tlmi_update_t *update)
{
    const tlm_tensor_t *tensor = update->parameter->tensor;
    float *direction =
        tlmi_cached_alloc((size_t)tensor->numel, sizeof(float), "the direction of an update");

    if (direction == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    momentum_job_t job = momentum_job(update, direction);
    tlmi_parallel_ranges(tensor->numel, direction_range, &job);
    tlm_status_t status =
        orthogonalize(&direction, tensor->shape[0], tensor->shape[1], update->options);
    update->scratch = direction;
    return status;
}

/* Jordan: rows and columns of a tall matrix change as much as those of a square one. Moonlight (Liu
 * et al. 2025): the elements change by 0.2 in root mean square, as they do with AdamW, so that both
 * take the same learning rate. */
static double rate_scale(const muon_options_t *options, const tlm_tensor_t *matrix)
{
    double rows = (double)matrix->shape[0], columns = (double)matrix->shape[1];

    if (options->scale == TLM_MUON_SCALE_JORDAN)
        return sqrt(fmax(1.0, rows / columns));
    return 0.2 * sqrt(fmax(rows, columns));
}

typedef struct step_job {
    float *theta;
    const float *direction;
    float keep, rate; /* keep: 1 - lr weight_decay */
} step_job_t;

static void step_range(void *context, int64_t begin, int64_t end)
{
    const step_job_t *job = context;

    for (int64_t i = begin; i < end; i++)
        job->theta[i] = job->keep * job->theta[i] - job->rate * job->direction[i];
}

static void muon_apply(const tlmi_update_t *update)
{
    const tlm_tensor_t *tensor = update->parameter->tensor;

    if (tensor->numel == 0)
        return;
    momentum_job_t momentum = momentum_job(update, NULL);
    tlmi_parallel_ranges(tensor->numel, momentum_range, &momentum);
    step_job_t step = {
        .theta = tlmi_floats(tensor),
        .direction = update->scratch,
        .keep = (float)(1.0 - update->learning_rate * update->weight_decay),
        .rate = (float)(update->learning_rate * rate_scale(update->options, tensor)),
    };
    tlmi_parallel_ranges(tensor->numel, step_range, &step);
}

/* An orthogonal step changes the outputs by as much at any width; Moonlight's scale grows with the root
 * of the width. */
static double muon_width_factor(const void *options, double ratio)
{
    const muon_options_t *own = options;

    return own->scale == TLM_MUON_SCALE_MOONLIGHT ? 1.0 / sqrt(ratio) : 1.0;
}

static tlm_status_t muon_create(tlm_optimizer_t **out)
{
    return tlm_optimizer_create_muon(out, NULL, NULL);
}

const tlmi_optimizer_kind_t tlmi_muon_kind = {
    .name = "muon",
    .options_size = sizeof(muon_options_t),
    .options = muon_fields,
    .num_options = sizeof(muon_fields) / sizeof(muon_fields[0]),
    .has_weight_decay = true,
    .matrices_only = true,
    .checkpoint_version = 2,
    .flops = 12, /* 5 for the direction, 3 for the norm, 3 for m and 3 for the step, less 2 */
    .product_flops = muon_product_flops,
    .width_factor = muon_width_factor,
    .create = muon_create,
    .add_states = muon_add_states,
    .prepare = muon_prepare,
    .apply = muon_apply,
};

/* ---- Public functions ------------------------------------------------------------------- */

tlm_status_t tlm_optimizer_create_muon(tlm_optimizer_t **out, const tlm_muon_options_t *options,
                                       const tlm_adamw_options_t *rest)
{
    TLMI_REQUIRE("optimizer_create_muon", out);
    muon_options_t own;
    tlmi_group_t group;
    TLMI_TRY(read_options(&group, &own, "optimizer_create_muon", options));
    tlm_adamw_options_t adamw = TLM_ADAMW_OPTIONS_INIT;
    adamw.learning_rate = group.learning_rate;
    adamw.weight_decay = group.weight_decay;
    adamw.beta2 = 0.95;
    tlm_optimizer_t *optimizer;
    TLMI_TRY(tlmi_optimizer_new(&optimizer, "optimizer_create_muon", &group));
    tlm_status_t status =
        tlmi_optimizer_set_rest(optimizer, "optimizer_create_muon", rest != NULL ? rest : &adamw);
    if (status == TLM_OK)
        *out = optimizer;
    else
        tlm_optimizer_free(optimizer);
    return status;
}

tlm_status_t tlm_optimizer_add_muon_group(tlm_optimizer_t *optimizer, tlm_tensor_t *const *tensors,
                                          size_t n, const tlm_muon_options_t *options)
{
    muon_options_t own;
    tlmi_group_t group;

    TLMI_TRY(read_options(&group, &own, "optimizer_add_muon_group", options));
    return tlmi_optimizer_add(optimizer, "optimizer_add_muon_group", tensors, n, &group);
}
