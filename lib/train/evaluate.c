/* The loss of a model over a data set, without a graph. */
#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/options.h"
#include "base/process.h"
#include "data/data_core.h"
#include "train/train_core.h"
#include "model/model_core.h"

/* Which windows are read: window i begins at i * stride * apart. */
typedef struct plan {
    const tlm_dataset_t *dataset;
    int64_t batch, context;
    uint64_t windows, stride;
    uint32_t *inputs, *targets; /* (batch, context) */
    double *losses;             /* (ranks, ROUND) */
    uint64_t apart;             /* from one window of the data to the next */
} plan_t;

enum { ROUND = 64 }; /* batches that a rank evaluates between two exchanges */

tlm_status_t tlmi_check_windows(const char *function, const tlm_dataset_t *dataset, int64_t context)
{
    const uint64_t length = tlm_dataset_length(dataset), row = tlmi_dataset_row_length(dataset);

    if (row != 0 && row != (uint64_t)context + 1)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: the data set for evaluation has rows of %" PRIu64
                         " ids, so the context is %" PRIu64 ", not %" PRId64,
                         function, row, row - 1, context);
    if (length <= (uint64_t)context)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: %" PRIu64 " ids for evaluation are too few for a context of %" PRId64
                         "; at least %" PRIu64 " are needed",
                         function, length, context, (uint64_t)context + 1);
    return TLM_OK;
}

static void choose_windows(plan_t *plan, uint64_t max_tokens)
{
    uint64_t context = (uint64_t)plan->context;
    const uint64_t row = tlmi_dataset_row_length(plan->dataset);
    const uint64_t length = tlm_dataset_length(plan->dataset);
    uint64_t all = row != 0 ? length / row : (length - 1) / context;
    uint64_t wanted = max_tokens > 0 ? (max_tokens - 1) / context + 1 : all;

    plan->stride = wanted < all ? all / wanted : 1;
    plan->windows = wanted < all ? wanted : all;
    plan->apart = row != 0 ? row : context;
}

/* Targets that count in windows first .. first+n-1. */
static uint64_t count_targets(const plan_t *plan, uint64_t first, uint64_t n)
{
    uint64_t counted = 0;

    for (uint64_t i = first; i < first + n; i++)
        counted += tlmi_dataset_counted(plan->dataset, i * plan->stride * plan->apart + 1,
                                        (uint64_t)plan->context);
    return counted;
}

/* Rows first .. first+rows-1. All windows lie within the data. */
static tlm_status_t read_rows(const plan_t *plan, uint64_t first, int64_t rows)
{
    size_t context = (size_t)plan->context;

    for (size_t row = 0; row < (size_t)rows; row++) {
        uint64_t offset = (first + row) * plan->stride * plan->apart;

        TLMI_TRY(tlm_dataset_read(plan->inputs + row * context, context, plan->dataset, offset));
        TLMI_TRY(tlmi_dataset_read_targets(plan->targets + row * context, context, plan->dataset,
                                           offset + 1));
    }
    return TLM_OK;
}

/* The loss of batch `number`, times its rows, or times its targets where some do not count. */
static tlm_status_t batch_loss(double *out, tlm_model_t *model, const plan_t *plan, uint64_t number)
{
    const uint64_t first = number * (uint64_t)plan->batch, left = plan->windows - first;
    const int64_t rows = left < (uint64_t)plan->batch ? (int64_t)left : plan->batch;

    const bool masked = tlmi_dataset_is_masked(plan->dataset);
    const uint64_t counted = masked ? count_targets(plan, first, (uint64_t)rows) : 0;

    *out = 0.0;
    if (masked && counted == 0)
        return TLM_OK;
    TLMI_TRY(read_rows(plan, first, rows));
    tlm_tensor_t *loss;
    TLMI_TRY(tlm_model_loss(&loss, model, plan->inputs, plan->targets, rows, plan->context));
    float value;
    (void)tlm_tensor_item(&value, loss); /* a scalar */
    tlm_tensor_free(loss);
    *out = (double)value * (masked ? (double)counted : (double)rows);
    return TLM_OK;
}

static tlm_status_t evaluate_batch(double *out, const char *function, tlm_model_t *model,
                                   const plan_t *plan, uint64_t number)
{
    TLMI_TRY(tlmi_check_interrupt(function));
    return batch_loss(out, model, plan, number);
}

/* Sums over all batches in their order. Ranks take them in turn, and exchange what they found after
 * each of theirs has had ROUND of them. */
static tlm_status_t sum_losses(double *sum, const char *function, tlm_communicator_t *communicator,
                               tlm_model_t *model, const plan_t *plan)
{
    const uint64_t batches = (plan->windows - 1) / (uint64_t)plan->batch + 1;
    const uint64_t ranks = (uint64_t)tlm_communicator_num_ranks(communicator);
    const uint64_t rank = (uint64_t)tlm_communicator_rank(communicator);

    *sum = 0.0;
    for (uint64_t first = 0; first < batches; first += ROUND * ranks) {
        double own[ROUND] = {0.0}, *all = ranks == 1 ? own : plan->losses;
        tlm_status_t status = TLM_OK;

        for (uint64_t i = 0; i < ROUND && status == TLM_OK; i++)
            if (first + i * ranks + rank < batches)
                status = evaluate_batch(&own[i], function, model, plan, first + i * ranks + rank);
        TLMI_TRY(tlmi_agree(communicator, function, status));
        if (ranks > 1)
            TLMI_TRY(tlmi_all_gather_equal(communicator, function, own, all, sizeof(own)));
        for (uint64_t i = 0; i < ROUND * ranks && first + i < batches; i++)
            *sum += all[i % ranks * ROUND + i / ranks];
    }
    return TLM_OK;
}

/* Makes room for what is read and exchanged, on this rank. */
static tlm_status_t plan_init(plan_t *plan, const char *function, uint64_t ranks,
                              uint64_t max_tokens)
{
    size_t ids;

    TLMI_TRY(tlmi_check_windows(function, plan->dataset, plan->context));
    if (!tlmi_mul_size(&ids, (size_t)plan->batch, (size_t)plan->context))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: a batch of (%" PRId64 ", %" PRId64 ") is too large", function,
                         plan->batch, plan->context);
    choose_windows(plan, max_tokens);
    plan->inputs = tlmi_alloc(ids, sizeof(uint32_t), "a batch to evaluate");
    plan->targets = tlmi_alloc(ids, sizeof(uint32_t), "a batch to evaluate");
    plan->losses = tlmi_alloc(ranks, ROUND * sizeof(double), "the losses of all ranks");
    if (plan->inputs == NULL || plan->targets == NULL || plan->losses == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    return TLM_OK;
}

tlm_status_t tlmi_evaluate(tlm_evaluation_t *out, const char *function,
                           tlm_communicator_t *communicator, tlm_model_t *model,
                           const tlm_dataset_t *dataset, int64_t batch, int64_t context,
                           uint64_t max_tokens)
{
    plan_t plan = {dataset, batch, context, 0, 0, NULL, NULL, NULL, 0};
    tlm_evaluation_t result = TLM_EVALUATION_INIT;
    bool had_grad = tlm_grad_enabled();
    double begin = tlmi_seconds();
    const uint64_t ranks = (uint64_t)tlm_communicator_num_ranks(communicator);
    tlm_status_t status;

    TLMI_TRY_OR(done,
                tlmi_agree(communicator, function, plan_init(&plan, function, ranks, max_tokens)));
    (void)tlm_set_grad_enabled(false);
    double sum;
    status = sum_losses(&sum, function, communicator, model, &plan);
    (void)tlm_set_grad_enabled(had_grad);
    if (status != TLM_OK)
        goto done;
    result.tokens = count_targets(&plan, 0, plan.windows);
    if (result.tokens == 0) {
        status = tlmi_fail(TLM_ERR_STATE, "%s: none of the targets counts", function);
        goto done;
    }
    result.loss = sum / (double)(tlmi_dataset_is_masked(dataset) ? result.tokens : plan.windows);
    if (!isfinite(result.loss)) {
        status = tlmi_fail(TLM_ERR_NON_FINITE, "%s: the loss is %s", function, TLMI_G(result.loss));
        goto done;
    }
    result.perplexity = exp(result.loss);
    result.seconds = tlmi_seconds() - begin;
    *out = result;
done:
    tlmi_free(plan.inputs);
    tlmi_free(plan.targets);
    tlmi_free(plan.losses);
    return status;
}

static tlm_status_t check_arguments(int64_t *context, const char *function,
                                    const tlm_model_t *model, int64_t batch)
{
    if (batch <= 0 || *context < 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: batch %" PRId64 " must be positive, and context %" PRId64
                         " not negative",
                         function, batch, *context);
    if (*context == 0)
        *context = model->options.context_length;
    if (*context > model->options.context_length)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: context %" PRId64 " is longer than the model's %" PRId64, function,
                         *context, model->options.context_length);
    return TLM_OK;
}

static tlm_status_t evaluate(tlm_evaluation_t *out, const char *function, tlm_model_t *model,
                             tlm_communicator_t *communicator, const tlm_dataset_t *dataset,
                             int64_t batch, int64_t context, uint64_t max_tokens)
{
    tlm_evaluation_t result;

    TLMI_TRY(tlmi_options_check_out(function, out, TLMI_EVALUATION));
    TLMI_REQUIRE(function, model);
    TLMI_REQUIRE(function, dataset);
    TLMI_TRY(tlmi_agree(communicator, function, check_arguments(&context, function, model, batch)));
    TLMI_TRY(
        tlmi_evaluate(&result, function, communicator, model, dataset, batch, context, max_tokens));
    return tlmi_options_write(function, out, &result, TLMI_EVALUATION);
}

tlm_status_t tlm_model_evaluate(tlm_evaluation_t *out, tlm_model_t *model,
                                const tlm_dataset_t *dataset, int64_t batch, int64_t context,
                                uint64_t max_tokens)
{
    return evaluate(out, "model_evaluate", model, NULL, dataset, batch, context, max_tokens);
}

tlm_status_t tlm_model_evaluate_on_ranks(tlm_evaluation_t *out, tlm_model_t *model,
                                         tlm_communicator_t *communicator,
                                         const tlm_dataset_t *dataset, int64_t batch,
                                         int64_t context, uint64_t max_tokens)
{
    return evaluate(out, "model_evaluate_on_ranks", model, communicator, dataset, batch, context,
                    max_tokens);
}
