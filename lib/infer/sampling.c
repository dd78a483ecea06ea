/* From logits to a token. Two tables below say in which order: what changes scores, then
 * (elsewhere) the callback on logits, then the temperature, which makes weights of them, then the
 * cuts, which leave fewer candidates, then the draw.
 *
 * To add a way of sampling: a field in tlm_generate_options_t with its check in generate_options.c,
 * one function here and its row in a table. docs/generation.md has the steps. */
#include "infer/infer_core.h"

#include <float.h>
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

/* ---- Candidates ------------------------------------------------------------------------- */

/* What is left of the vocabulary on the way to one token. The candidates are all ids in their
 * order, or after the first cut that ranks them the likeliest ones, in that order. Those that a cut
 * drops without ranking get the weight 0. */
typedef struct choice {
    tlmi_sampler_t
        *sampler; /* its weights are those of ids, relative to the likeliest, which has 1 */
    const tlm_generate_options_t *options;
    const uint8_t *seen; /* ids that occurred, a bit each; NULL: not kept */
    const float *scores; /* the logits, or the sampler's scores */
    int64_t ranked; /* ids in the order of their likelihood, at the heap's end; 0: no ranking */
    int64_t count;  /* candidates; no more than `ranked` if there is a ranking */
    double total;   /* sum of their weights */
} choice_t;

static uint32_t candidate(const choice_t *choice, int64_t i)
{
    const tlmi_sampler_t *sampler = choice->sampler;

    return choice->ranked == 0 ? (uint32_t)i : sampler->heap[sampler->vocab_size - 1 - i];
}

/* The weight of the i-th likeliest id. Ids are ranked as far as asked for, in the order of i. */
static double ranked_weight(choice_t *choice, int64_t i)
{
    tlmi_sampler_t *sampler = choice->sampler;
    const int64_t n = sampler->vocab_size;

    if (choice->ranked == 0)
        fill_heap(sampler, choice->scores);
    if (i == choice->ranked)
        pop(sampler->heap, n - choice->ranked++, choice->scores);
    return sampler->weights[sampler->heap[n - 1 - i]];
}

/* ---- Changes of scores ------------------------------------------------------------------ */

/* Scores stay finite, whatever the options are: with infinite ones differences would be NaN. Only
 * -INFINITY, of tokens that are excluded, stays as it is. */
static float finite_score(double score)
{
    const double most = (double)FLT_MAX;

    return (float)(score > most ? most : score < -most ? -most : score);
}

static void add_biases(choice_t *choice)
{
    const tlm_generate_options_t *options = choice->options;
    tlmi_sampler_t *sampler = choice->sampler;

    if (options->num_logit_biases == 0)
        return;
    memcpy(sampler->scores, choice->scores, (size_t)sampler->vocab_size * sizeof(float));
    for (size_t i = 0; i < options->num_logit_biases; i++) {
        float *score = &sampler->scores[options->logit_bias[i].id];
        const double sum = (double)*score + (double)options->logit_bias[i].bias;

        *score = sum == -INFINITY ? -INFINITY : finite_score(sum);
    }
    choice->scores = sampler->scores;
}

/* Keskar et al. 2019, as Hugging Face applies it: towards smaller scores on either side of 0. */
static void penalize_repetition(choice_t *choice)
{
    const double penalty = choice->options->repetition_penalty;
    tlmi_sampler_t *sampler = choice->sampler;

    if (choice->seen == NULL)
        return;
    for (int64_t i = 0; i < sampler->vocab_size; i++) {
        double score = (double)choice->scores[i];

        if (tlmi_has_bit(choice->seen, i))
            score = score < 0.0 ? score * penalty : score / penalty;
        sampler->scores[i] = choice->scores[i] == -INFINITY ? -INFINITY : finite_score(score);
    }
    choice->scores = sampler->scores;
}

typedef void (*sampling_step_t)(choice_t *choice);

static const sampling_step_t score_steps[] = {
    add_biases,
    penalize_repetition,
};

/* ---- Temperature ------------------------------------------------------------------------ */

static void weigh(choice_t *choice, uint32_t largest)
{
    tlmi_sampler_t *sampler = choice->sampler;

    choice->total = 0.0;
    for (int64_t i = 0; i < sampler->vocab_size; i++) {
        double distance = (double)choice->scores[i] - (double)choice->scores[largest];

        sampler->weights[i] = exp(distance / choice->options->temperature);
        choice->total += sampler->weights[i];
    }
}

/* ---- Cuts: each leaves at least one candidate ------------------------------------------- */

static void keep_top_k(choice_t *choice)
{
    const int64_t top_k = choice->options->top_k;

    if (top_k == 0 || top_k >= choice->count)
        return;
    choice->total = 0.0;
    for (int64_t i = 0; i < top_k; i++)
        choice->total += ranked_weight(choice, i);
    choice->count = top_k;
}

/* Holtzman et al. 2019: the shortest run of likeliest candidates that holds top_p of the weight. */
static void keep_nucleus(choice_t *choice)
{
    const double enough = choice->options->top_p * choice->total;
    double sum = 0.0;
    int64_t i = 0;

    if (choice->options->top_p == 0.0 || choice->options->top_p == 1.0)
        return;
    for (; i < choice->count && sum < enough; i++)
        sum += ranked_weight(choice, i);
    choice->count = i;
    choice->total = sum;
}

/* Nguyen et al. 2024: none that is less likely than min_p times the likeliest. */
static void drop_below_min_p(choice_t *choice)
{
    double *weights = choice->sampler->weights;

    if (choice->options->min_p == 0.0)
        return;
    choice->total = 0.0;
    for (int64_t i = 0; i < choice->count; i++) {
        double *weight = &weights[candidate(choice, i)];

        if (*weight < choice->options->min_p)
            *weight = 0.0;
        choice->total += *weight;
    }
}

/* Those that rank come before those that drop: ranking does not pass over what was dropped. */
static const sampling_step_t cuts[] = {
    keep_top_k,
    keep_nucleus,
    drop_below_min_p,
};

/* ---- Drawing ---------------------------------------------------------------------------- */

static uint32_t draw(const choice_t *choice, double uniform)
{
    const double target = uniform * choice->total;
    uint32_t chosen = 0;
    double below = 0.0;

    for (int64_t i = 0; i < choice->count; i++) {
        uint32_t id = candidate(choice, i);
        double weight = choice->sampler->weights[id];

        if (weight == 0.0)
            continue;
        chosen = id;
        below += weight;
        if (target < below)
            break;
    }
    return chosen;
}

const float *tlmi_sampler_score(tlmi_sampler_t *sampler, const tlm_generate_options_t *options,
                                const float *logits, const uint8_t *seen)
{
    choice_t choice = {sampler, options, seen, logits, 0, sampler->vocab_size, 0.0};

    for (size_t i = 0; i < sizeof(score_steps) / sizeof(score_steps[0]); i++)
        score_steps[i](&choice);
    return choice.scores;
}

uint32_t tlmi_sampler_pick(tlmi_sampler_t *sampler, const tlm_generate_options_t *options,
                           const float *scores, double uniform)
{
    choice_t choice = {sampler, options, NULL, scores, 0, sampler->vocab_size, 0.0};
    uint32_t first = likeliest(scores, choice.count);

    if (options->temperature == 0.0)
        return first;
    weigh(&choice, first);
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++)
        cuts[i](&choice);
    return draw(&choice, uniform);
}
