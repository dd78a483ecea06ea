/* The repetition penalty, temperature, then the k likeliest, then the nucleus, the shortest run of
 * likeliest tokens that holds top_p of what is left (Holtzman et al. 2020), and of it what is at
 * least min_p times as likely as the first. A heap gives tokens from the likeliest on, so that a few
 * are had without sorting all. */
#include "infer/infer_core.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

tlm_status_t tlmi_sampler_init(tlmi_sampler_t *sampler, int64_t vocab_size)
{
    const size_t n = (size_t)vocab_size;

    memset(sampler, 0, sizeof(*sampler));
    sampler->vocab_size = vocab_size;
    sampler->scores = tlmi_alloc_aligned(n, sizeof(float), "the scores of a sampler");
    sampler->weights = tlmi_alloc(n, sizeof(double), "the weights of a sampler");
    sampler->heap = tlmi_alloc(n, sizeof(uint32_t), "the heap of a sampler");
    if (sampler->scores == NULL || sampler->weights == NULL || sampler->heap == NULL) {
        tlmi_sampler_release(sampler);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    return TLM_OK;
}

void tlmi_sampler_release(tlmi_sampler_t *sampler)
{
    tlmi_free(sampler->scores);
    tlmi_free(sampler->weights);
    tlmi_free(sampler->heap);
    memset(sampler, 0, sizeof(*sampler));
}

/* ---- Ranking ---------------------------------------------------------------------------- */

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

static void fill_heap(tlmi_sampler_t *sampler, const float *scores)
{
    const int64_t n = sampler->vocab_size;

    for (int64_t i = 0; i < n; i++)
        sampler->heap[i] = (uint32_t)i;
    for (int64_t i = n / 2; i-- > 0;)
        sift_down(sampler->heap, n, i, scores);
}

void tlmi_sampler_top(uint32_t *ids, int64_t n, tlmi_sampler_t *sampler, const float *logits)
{
    if (n == 0)
        return;
    fill_heap(sampler, logits);
    for (int64_t i = 0; i < n; i++) {
        ids[i] = sampler->heap[0];
        pop(sampler->heap, sampler->vocab_size - i, logits);
    }
}

static uint32_t likeliest(const float *scores, int64_t n)
{
    int64_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (scores[i] > scores[best])
            best = i;
    return (uint32_t)best;
}

/* ---- Choosing --------------------------------------------------------------------------- */

/* Keskar et al. 2019, as Hugging Face applies it: towards smaller scores on either side of 0. */
static const float *penalise(tlmi_sampler_t *sampler, const float *logits, const uint8_t *seen,
                             double penalty)
{
    for (int64_t i = 0; i < sampler->vocab_size; i++) {
        double score = (double)logits[i];

        if (tlmi_has_bit(seen, i))
            score = score < 0.0 ? score * penalty : score / penalty;
        sampler->scores[i] = (float)score;
    }
    return sampler->scores;
}

/* Pops the candidates: *count ids from the end of the heap backwards, the likeliest first. Returns
 * the sum of their weights. `total` is that of all. */
static double gather_candidates(tlmi_sampler_t *sampler, const float *scores, double total,
                                int64_t top_k, double top_p, double min_p, int64_t *count)
{
    const int64_t n = sampler->vocab_size;
    const double *weights = sampler->weights;
    uint32_t *heap = sampler->heap;
    double sum = 0.0;
    int64_t k = 0;

    fill_heap(sampler, scores);
    if (top_k < n) {
        /* The nucleus is of the k likeliest: their sum comes first. */
        for (total = 0.0; k < top_k; k++) {
            pop(heap, n - k, scores);
            total += weights[heap[n - 1 - k]];
        }
    }
    for (*count = 0; *count < top_k && sum < top_p * total; ++*count) {
        if (*count == k) {
            pop(heap, n - k, scores);
            k++;
        }
        if (weights[heap[n - 1 - *count]] < min_p)
            break;
        sum += weights[heap[n - 1 - *count]];
    }
    return sum;
}

/* Weights relative to the largest, whose own is 1; returns their sum. */
static double weigh(tlmi_sampler_t *sampler, const float *scores, uint32_t largest,
                    double temperature, double least)
{
    double total = 0.0;

    for (int64_t i = 0; i < sampler->vocab_size; i++) {
        double distance = (double)scores[i] - (double)scores[largest];
        double weight = exp(distance / temperature);

        sampler->weights[i] = weight < least ? 0.0 : weight;
        total += sampler->weights[i];
    }
    return total;
}

uint32_t tlmi_sampler_pick(tlmi_sampler_t *sampler, const tlm_generate_options_t *options,
                           const float *logits, const uint8_t *seen, double uniform)
{
    const int64_t n = sampler->vocab_size;
    const int64_t top_k = options->top_k == 0 || options->top_k > n ? n : (int64_t)options->top_k;
    const double top_p = options->top_p == 0.0 ? 1.0 : options->top_p;
    const bool all = top_k == n && top_p == 1.0; /* of those that min_p leaves */
    const float *scores = logits;
    double total, below = 0.0, target;
    uint32_t chosen;
    int64_t count = n;

    if (seen != NULL)
        scores = penalise(sampler, logits, seen, options->repetition_penalty);
    chosen = likeliest(scores, n);
    if (options->temperature == 0.0)
        return chosen;
    total = weigh(sampler, scores, chosen, options->temperature, all ? options->min_p : 0.0);
    if (!all)
        total = gather_candidates(sampler, scores, total, top_k, top_p, options->min_p, &count);
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
    return chosen;
}
