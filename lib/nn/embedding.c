/* Embedding: looks up rows of a matrix by ids. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/vector_math.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"
#include "tinylm/nn.h"

typedef struct embedding_context {
    int64_t *ids; /* (n), owned */
    int64_t n;
} embedding_context_t;

typedef struct embedding_job {
    const int64_t *ids;
    int64_t n, vocab, d;
    float *to;
    tlmi_weight_t table; /* of the forward pass */
    const float *from;   /* of the backward pass: the gradients of rows */
    bool accumulate;
} embedding_job_t;

enum { ROWS_PER_TASK = 256 /* positions per task of the forward pass */ };
enum { VOCAB_PER_TASK = 1024 /* rows of the matrix per task of the backward pass */ };

static void gather_rows(void *context, int64_t task, int32_t worker)
{
    const embedding_job_t *job = context;
    int64_t end = (task + 1) * ROWS_PER_TASK < job->n ? (task + 1) * ROWS_PER_TASK : job->n;
    for (int64_t i = task * ROWS_PER_TASK; i < end && job->d > 0; i++)
        tlmi_weight_load_row(job->to + i * job->d, &job->table, job->ids[i]);
}

/* Each task owns a range of the vocabulary and adds in the order of positions, so the sums do not
 * depend on threads. */
static void scatter_rows(void *context, int64_t task, int32_t worker)
{
    const embedding_job_t *job = context;
    int64_t first = task * VOCAB_PER_TASK;
    int64_t last = first + VOCAB_PER_TASK < job->vocab ? first + VOCAB_PER_TASK : job->vocab;
    if (!job->accumulate)
        memset(job->to + first * job->d, 0, (size_t)((last - first) * job->d) * sizeof(float));
    for (int64_t i = 0; i < job->n; i++)
        if (job->ids[i] >= first && job->ids[i] < last) {
            float *row = job->to + job->ids[i] * job->d;
            tlmi_vec_add(row, row, job->from + i * job->d, job->d);
        }
}

static tlm_status_t embedding_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const embedding_context_t *context = tlmi_node_context(node);
    const tlm_tensor_t *weight = node->inputs[0];
    embedding_job_t job = {.ids = context->ids,
                           .n = context->n,
                           .vocab = weight->shape[0],
                           .d = weight->shape[1],
                           .from = tlmi_floats(grad_out)};
    TLMI_TRY(tlmi_grad_open(&job.to, &job.accumulate, node, 0));
    if (job.d > 0)
        tlmi_parallel_for((job.vocab + VOCAB_PER_TASK - 1) / VOCAB_PER_TASK, scatter_rows, &job);
    return TLM_OK;
}

static void embedding_release(tlmi_node_t *node)
{
    tlmi_cached_free(((embedding_context_t *)tlmi_node_context(node))->ids);
}

static const tlmi_op_t embedding_op = {.name = "embedding",
                                       .input_names = {"weight"},
                                       .reads = {TLMI_READS_NOTHING},
                                       .backward = embedding_backward,
                                       .release = embedding_release};

static tlm_status_t check_embedding(int64_t *shape, const tlm_tensor_t *weight,
                                    const tlm_tensor_t *ids)
{
    TLMI_TRY(tlmi_check_index("embedding", "ids", ids));
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    if (weight->ndim != 2 || ids->ndim + 1 > TLM_MAX_DIMS)
        return tlmi_fail(TLM_ERR_SHAPE, "embedding: weight %s must be (vocab, d) for ids %s",
                         tlmi_shape_text(a, weight), tlmi_shape_text(b, ids));
    for (int32_t i = 0; i < ids->ndim; i++)
        shape[i] = ids->shape[i];
    shape[ids->ndim] = weight->shape[1];
    return TLM_OK;
}

static tlm_status_t check_ids(const int64_t *ids, int64_t n, int64_t vocab)
{
    for (int64_t i = 0; i < n && !tlmi_dry_run(); i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return tlmi_fail(TLM_ERR_RANGE,
                             "embedding: id %" PRId64 " at position %" PRId64
                             " is outside the vocabulary of %" PRId64,
                             ids[i], i, vocab);
    return TLM_OK;
}

/* Looks the rows up. If the op is recorded, its node takes over *ids. */
static tlm_status_t embedding_forward(tlm_tensor_t *y, tlm_tensor_t *weight, int64_t **ids,
                                      int64_t n)
{
    TLMI_TRY(check_ids(*ids, n, weight->shape[0]));
    tlm_tensor_t *table;
    TLMI_TRY(tlmi_contiguous(&table, weight));
    embedding_job_t job = {.ids = *ids,
                           .n = n,
                           .d = weight->shape[1],
                           .to = tlmi_floats(y),
                           .table = tlmi_weight_of(table)};
    tlmi_parallel_for((n + ROWS_PER_TASK - 1) / ROWS_PER_TASK, gather_rows, &job);
    tlm_tensor_free(table);
    if (!tlmi_needs_grad(&weight, 1))
        return TLM_OK;
    tlmi_node_t *node;
    TLMI_TRY(tlmi_record(&node, &embedding_op, y, &weight, 1, sizeof(embedding_context_t)));
    *(embedding_context_t *)tlmi_node_context(node) = (embedding_context_t){*ids, n};
    *ids = NULL;
    return TLM_OK;
}

tlm_status_t tlmi_embedding(tlm_tensor_t **out, tlm_tensor_t *weight, tlm_tensor_t *ids)
{
    int64_t shape[TLM_MAX_DIMS];
    TLMI_TRY(check_embedding(shape, weight, ids));
    int64_t *list;
    TLMI_TRY(tlmi_read_indices(&list, ids));
    tlm_tensor_t *y;
    tlm_status_t status = tlmi_tensor_new(&y, TLM_FLOAT32, shape, ids->ndim + 1);
    if (status == TLM_OK) {
        status = embedding_forward(y, weight, &list, ids->numel);
        if (status == TLM_OK)
            *out = y;
        else
            tlm_tensor_free(y);
    }
    tlmi_cached_free(list);
    return status;
}

tlm_status_t tlm_embedding(tlm_tensor_t **out, tlm_tensor_t *weight, tlm_tensor_t *ids)
{
    TLMI_REQUIRE("embedding", out);
    TLMI_TRY(tlmi_check_float("embedding", "weight", weight));
    return tlmi_embedding(out, weight, ids);
}
