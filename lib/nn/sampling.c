/* Temperature, then the k likeliest, then the nucleus: the shortest run of likeliest tokens that
 * holds top_p of what is left (Holtzman et al. 2020). A heap gives tokens from the likeliest on, so
 * that a few are had without sorting all. */
#include "sampling.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

tlm_status_t tlmi_sampler_init(tlmi_sampler_t *sampler, int64_t vocab_size,
                               const tlm_generate_options_t *options)
{
    memset(sampler, 0, sizeof(*sampler));
    sampler->vocab_size = vocab_size;
    sampler->temperature = options->temperature;
    sampler->top_p = options->top_p == 0.0 ? 1.0 : options->top_p;
    sampler->top_k =
        options->top_k == 0 || options->top_k > vocab_size ? vocab_size : (int64_t)options->top_k;
    sampler->weights = tlmi_alloc((size_t)vocab_size, sizeof(double), "the weights of a sampler");
    sampler->heap = tlmi_alloc((size_t)vocab_size, sizeof(uint32_t), "the heap of a sampler");
    if (sampler->weights == NULL || sampler->heap == NULL) {
        tlmi_sampler_release(sampler);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    return TLM_OK;
}

void tlmi_sampler_release(tlmi_sampler_t *sampler)
{
    tlmi_free(sampler->weights);
    tlmi_free(sampler->heap);
    sampler->weights = NULL;
    sampler->heap = NULL;
}

static bool likelier(const float *logits, uint32_t a, uint32_t b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

static void sift_down(uint32_t *heap, int64_t n, int64_t at, const float *logits)
{
    uint32_t moving = heap[at];

    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && likelier(logits, heap[child + 1], heap[child]))
            child++;
        if (likelier(logits, moving, heap[child]))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

/* Swaps the likeliest of the first n ids behind them. */
static void pop(uint32_t *heap, int64_t n, const float *logits)
{
    uint32_t top = heap[0];

    heap[0] = heap[n - 1];
    heap[n - 1] = top;
    sift_down(heap, n - 1, 0, logits);
}

/* The likeliest token; fails on a logit that is not finite. */
static tlm_status_t find_largest(uint32_t *id, const float *logits, int64_t n)
{
    int64_t best = 0;

    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(logits[i]))
            return tlmi_fail(TLM_ERR_NON_FINITE,
                             "model_generate: the logit of token %" PRId64 " is %f", i,
                             (double)logits[i]);
        if (logits[i] > logits[best])
            best = i;
    }
    *id = (uint32_t)best;
    return TLM_OK;
}

/* Pops the candidates: *count ids from the end of the heap backwards, the likeliest first. Returns
 * the sum of their weights. */
static double gather_candidates(tlmi_sampler_t *sampler, const float *logits, double total,
                                int64_t *count)
{
    const int64_t n = sampler->vocab_size;
    uint32_t *heap = sampler->heap;
    double sum = 0.0;
    int64_t k = 0;

    for (int64_t i = 0; i < n; i++)
        heap[i] = (uint32_t)i;
    for (int64_t i = n / 2; i-- > 0;)
        sift_down(heap, n, i, logits);
    if (sampler->top_k < n) {
        /* The nucleus is of the k likeliest: their sum comes first. */
        for (total = 0.0; k < sampler->top_k; k++) {
            pop(heap, n - k, logits);
            total += sampler->weights[heap[n - 1 - k]];
        }
    }
    for (*count = 0; *count < sampler->top_k && sum < sampler->top_p * total; ++*count) {
        if (*count == k) {
            pop(heap, n - k, logits);
            k++;
        }
        sum += sampler->weights[heap[n - 1 - *count]];
    }
    return sum;
}

tlm_status_t tlmi_sampler_pick(uint32_t *id, tlmi_sampler_t *sampler, const float *logits,
                               double uniform)
{
    const int64_t n = sampler->vocab_size;
    double total = 0.0, below = 0.0, target;
    uint32_t largest = 0, chosen;
    int64_t count = n;
    bool all;

    TLMI_TRY(find_largest(&largest, logits, n));
    chosen = largest;
    if (sampler->temperature > 0.0) {
        for (int64_t i = 0; i < n; i++) {
            double distance = (double)logits[i] - (double)logits[largest];
            sampler->weights[i] = exp(distance / sampler->temperature);
            total += sampler->weights[i];
        }
        all = sampler->top_k == n && sampler->top_p == 1.0;
        if (!all)
            total = gather_candidates(sampler, logits, total, &count);
        target = uniform * total;
        for (int64_t i = 0; i < count; i++) {
            uint32_t candidate = all ? (uint32_t)i : sampler->heap[n - 1 - i];

            if (sampler->weights[candidate] == 0.0)
                continue;
            chosen = candidate;
            below += sampler->weights[candidate];
            if (target < below)
                break;
        }
    }
    *id = chosen;
    return TLM_OK;
}
