/* Validation loss and unigram entropy. */
#include "train_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { READ_BATCH = 1 << 14 };

/* Window `index` begins at index * stride * context and gives one row of a batch. */
static void read_rows(uint32_t *inputs, uint32_t *targets, const tlm_dataset_t *valid, int64_t rows,
                      int64_t context, uint64_t first, uint64_t stride)
{
    for (int64_t row = 0; row < rows; row++) {
        uint64_t offset = (first + (uint64_t)row) * stride * (uint64_t)context;
        size_t n = (size_t)context;

        cli_check(tlm_dataset_read(inputs + (size_t)row * n, n, valid, offset));
        cli_check(tlm_dataset_read(targets + (size_t)row * n, n, valid, offset + 1));
    }
}

double train_validation_loss(tlm_model_t *model, const tlm_dataset_t *valid, int64_t batch,
                             int64_t context, uint64_t max_tokens)
{
    size_t batch_size = (size_t)(batch * context) * sizeof(uint32_t);
    uint32_t *inputs = cli_realloc(NULL, batch_size), *targets = cli_realloc(NULL, batch_size);
    uint64_t length = tlm_dataset_length(valid);
    uint64_t windows = length > 0 ? (length - 1) / (uint64_t)context : 0;
    uint64_t wanted = max_tokens > 0 ? (max_tokens - 1) / (uint64_t)context + 1 : windows;
    uint64_t stride = wanted > 0 && windows > wanted ? windows / wanted : 1;
    bool had_grad = tlm_set_grad_enabled(false);
    double sum = 0.0;

    if (windows == 0)
        cli_fail("the validation set is shorter than one context");
    if (wanted > windows)
        wanted = windows;
    for (uint64_t first = 0; first < wanted;) {
        uint64_t left = wanted - first;
        int64_t rows = left < (uint64_t)batch ? (int64_t)left : batch;
        tlm_tensor_t *loss;
        float value;

        read_rows(inputs, targets, valid, rows, context, first, stride);
        cli_check(tlm_model_loss(&loss, model, inputs, targets, rows, context));
        cli_check(tlm_tensor_item(&value, loss));
        tlm_tensor_free(loss);
        sum += (double)value * (double)rows;
        first += (uint64_t)rows;
    }
    tlm_set_grad_enabled(had_grad);
    free(inputs);
    free(targets);
    return sum / (double)wanted;
}

static void count_tokens(uint64_t *counts, const tlm_dataset_t *dataset, uint32_t vocab_size)
{
    static uint32_t ids[READ_BATCH];
    uint64_t length = tlm_dataset_length(dataset);

    for (uint64_t first = 0; first < length; first += READ_BATCH) {
        size_t n = length - first < READ_BATCH ? (size_t)(length - first) : READ_BATCH;

        cli_check(tlm_dataset_read(ids, n, dataset, first));
        for (size_t i = 0; i < n; i++) {
            if (ids[i] >= vocab_size)
                cli_fail("token id %u is outside the vocabulary of %u", ids[i], vocab_size);
            counts[ids[i]]++;
        }
    }
}

double train_unigram_entropy(const tlm_dataset_t *train, const tlm_dataset_t *valid,
                             uint32_t vocab_size)
{
    uint64_t *counts = cli_realloc(NULL, 2 * (size_t)vocab_size * sizeof(*counts));
    uint64_t *train_counts = counts, *valid_counts = counts + vocab_size;
    double total = (double)tlm_dataset_length(train) + (double)vocab_size, nats = 0.0;

    memset(counts, 0, 2 * (size_t)vocab_size * sizeof(*counts));
    count_tokens(train_counts, train, vocab_size);
    count_tokens(valid_counts, valid, vocab_size);
    for (uint32_t id = 0; id < vocab_size; id++)
        nats -= (double)valid_counts[id] * log(((double)train_counts[id] + 1.0) / total);
    free(counts);
    return nats / (double)tlm_dataset_length(valid);
}
