/* Sequences that a model continues at once. Each token follows from the logits of the model for the
 * tokens before it. The cache makes a token cost the work of one token, and the weights are read
 * once for all sequences. What happens past the context, docs/generation.md says. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/rng.h"
#include "infer/generator_core.h"
#include "kernels/vector_math.h"

/* ---- Creating and freeing ------------------------------------------------------------------------------- */

tlm_status_t tlm_generator_create(tlm_generator_t **out, tlm_model_t *model)
{
    TLMI_REQUIRE("generator_create", out);
    TLMI_REQUIRE("generator_create", model);
    tlm_generator_t *generator = tlmi_calloc(1, sizeof(*generator), "a generator");
    if (generator == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    generator->model = model;
    tlm_status_t status;
    TLMI_TRY_OR(fail, tlmi_inference_create(&generator->inference, model));
    TLMI_TRY_OR(fail, tlmi_sampler_init(&generator->sampler, model->options.vocab_size));
    *out = generator;
    return TLM_OK;
fail:
    tlm_generator_free(generator);
    return status;
}

void tlm_generator_free(tlm_generator_t *generator)
{
    if (generator == NULL)
        return;
    for (size_t i = 0; i < generator->num_sequences; i++)
        tlmi_sequence_free(generator->sequences[i]);
    tlmi_free(generator->sequences);
    tlmi_free(generator->logits);
    tlmi_sampler_release(&generator->sampler);
    tlmi_inference_free(generator->inference);
    tlmi_free(generator);
}

/* ---- Adding ----------------------------------------------------------------------------- */

/* Makes room for the logits of as many sequences as one step takes. */
static tlm_status_t reserve_logits(tlm_generator_t *generator, size_t rows)
{
    size_t vocab_size = (size_t)generator->model->options.vocab_size;

    if (rows > TLMI_STEP_ROWS)
        rows = TLMI_STEP_ROWS;
    if (rows <= generator->logit_rows)
        return TLM_OK;
    size_t n;
    if (!tlmi_mul_size(&n, rows, vocab_size))
        n = SIZE_MAX;
    float *logits = tlmi_alloc_aligned(n, sizeof(float), "the logits of generation");
    if (logits == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_free(generator->logits);
    generator->logits = logits;
    generator->logit_rows = rows;
    return TLM_OK;
}

tlm_status_t tlmi_generator_take(size_t *index, tlm_generator_t *generator,
                                 tlmi_sequence_t *sequence)
{
    const size_t n = generator->num_sequences + 1;
    tlm_status_t status = reserve_logits(generator, n);

    if (status == TLM_OK &&
        !tlmi_grow(&generator->sequences, &generator->capacity, n, sizeof(*generator->sequences),
                   "the sequences of a generator"))
        status = TLM_ERR_OUT_OF_MEMORY;
    if (status != TLM_OK) {
        tlmi_sequence_free(sequence);
        return status;
    }
    *index = generator->num_sequences;
    generator->sequences[generator->num_sequences++] = sequence;
    return TLM_OK;
}

tlm_status_t tlmi_generator_add(size_t *sequence, tlm_generator_t *generator,
                                const uint32_t *prompt, size_t prompt_length,
                                const tlm_generate_options_t *options, const char *function)
{
    tlm_generate_options_t known;
    tlmi_sequence_t *made;

    TLMI_TRY(tlmi_generate_options_read(&known, function, options, generator->model));
    if (prompt_length == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: the prompt is empty", function);
    TLMI_REQUIRE(function, prompt);
    TLMI_TRY(tlmi_check_ids(function, "prompt", prompt, prompt_length,
                            generator->model->options.vocab_size));
    TLMI_TRY(
        tlmi_sequence_create(&made, function, generator->model, prompt, prompt_length, &known));
    return tlmi_generator_take(sequence, generator, made);
}

tlm_status_t tlm_generator_add(size_t *sequence, tlm_generator_t *generator, const uint32_t *prompt,
                               size_t prompt_length, const tlm_generate_options_t *options)
{
    TLMI_REQUIRE("generator_add", sequence);
    TLMI_REQUIRE("generator_add", generator);
    return tlmi_generator_add(sequence, generator, prompt, prompt_length, options, "generator_add");
}

/* ---- Extending ---------------------------------------------------------------------------- */

/* Hands the cache of a sequence that has ended over to the one that takes its place, as far as both
 * have the same tokens and rules. */
static void move_cache(tlmi_sequence_t *to, tlmi_sequence_t *from, size_t shared)
{
    if (from->cache == NULL || to->cache == NULL || from->cache->dtype != to->cache->dtype)
        return;
    tlmi_kv_cache_t *cache = from->cache;
    tlmi_kv_cache_truncate(cache, (int64_t)shared);
    const bool slid = cache->context > 0 && (cache->shift > 0 || cache->length > cache->context);
    if (slid && (cache->context != to->cache->context || cache->kept != to->cache->kept))
        tlmi_kv_cache_clear(cache);
    cache->context = to->cache->context;
    cache->kept = to->cache->kept;
    cache->limit = to->cache->limit > cache->capacity ? to->cache->limit : cache->capacity;
    from->cache = to->cache; /* freed with it */
    to->cache = cache;
}

static tlm_status_t check_extension(const char *function, const tlmi_sequence_t *sequence,
                                    size_t index, size_t keep)
{
    if (sequence->state == TLM_GENERATION_RUNNING)
        return tlmi_fail(TLM_ERR_STATE, "%s: sequence %zu is still running", function, index);
    if (keep > sequence->num_tokens)
        return tlmi_fail(TLM_ERR_RANGE, "%s: keeping %zu tokens of sequence %zu, which has %zu",
                         function, keep, index, sequence->num_tokens);
    return TLM_OK;
}

tlm_status_t tlm_generator_extend(tlm_generator_t *generator, size_t sequence, size_t keep,
                                  const uint32_t *ids, size_t n,
                                  const tlm_generate_options_t *options)
{
    static const char function[] = "generator_extend";
    tlm_generate_options_t known;
    tlmi_sequence_t *old, *made;

    TLMI_TRY(tlmi_generator_find(&old, function, generator, sequence));
    const tlm_model_t *model = generator->model;
    keep = keep == SIZE_MAX ? old->num_tokens : keep;
    TLMI_TRY(check_extension(function, old, sequence, keep));
    TLMI_TRY(tlmi_generate_options_read(&known, function, options, model));
    if (n > 0)
        TLMI_REQUIRE(function, ids);
    TLMI_TRY(tlmi_check_ids(function, "ids", ids, n, model->options.vocab_size));
    size_t all;
    if (!tlmi_add_size(&all, keep, n))
        return tlmi_fail_overflow("the tokens of a sequence");
    if (all == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: the prompt is empty", function);
    uint32_t *tokens = tlmi_alloc(all, sizeof(*tokens), "the tokens of a sequence");
    if (tokens == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(tokens, old->tokens, keep * sizeof(*tokens));
    if (n > 0)
        memcpy(tokens + keep, ids, n * sizeof(*tokens));
    tlm_status_t status = tlmi_sequence_create(&made, function, model, tokens, all, &known);
    tlmi_free(tokens);
    if (status != TLM_OK)
        return status;
    move_cache(made, old, keep);
    tlmi_sequence_free(old);
    generator->sequences[sequence] = made;
    return TLM_OK;
}

/* ---- Choosing a token --------------------------------------------------------------------- */

static tlm_status_t check_logits(const char *function, size_t index, const float *logits, int64_t n)
{
    if (isfinite(tlmi_vec_sum(logits, n)))
        return TLM_OK;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(logits[i]))
            return tlmi_fail(TLM_ERR_NON_FINITE,
                             "%s: the logit of token %" PRId64 " is %s in sequence %zu", function,
                             i, TLMI_G(logits[i]), index);
    return TLM_OK;
}

/* After biases and the callback: numbers below infinity, not all excluded. */
static tlm_status_t check_scores(const char *function, size_t index, const float *scores, int64_t n)
{
    int64_t left = 0;

    for (int64_t i = 0; i < n; i++) {
        if (isnan(scores[i]) || scores[i] == INFINITY)
            return tlmi_fail(TLM_ERR_NON_FINITE,
                             "%s: on_logits made the logit of token %" PRId64 " %s in sequence %zu",
                             function, i, TLMI_G(scores[i]), index);
        left += scores[i] != -INFINITY;
    }
    if (left == 0)
        return tlmi_fail(
            TLM_ERR_NON_FINITE,
            "%s: no token is left to choose in sequence %zu: the logits of all %" PRId64
            " tokens are -inf after logit_bias and on_logits",
            function, index, n);
    return TLM_OK;
}

static void note_log_probs(tlm_generator_t *generator, tlmi_sequence_t *sequence,
                           const float *logits, uint32_t id)
{
    const int64_t n = generator->model->options.vocab_size;
    const size_t at = tlmi_num_new(sequence), top = sequence->num_top;
    const double lse = tlmi_log_sum_exp(logits, generator->sampler.scores, n);

    sequence->log_probs[at] = (float)((double)logits[id] - lse);
    tlmi_sampler_top(sequence->top_ids + at * top, (int64_t)top, &generator->sampler, logits);
    for (size_t i = at * top; i < (at + 1) * top; i++)
        sequence->top_log_probs[i] = (float)((double)logits[sequence->top_ids[i]] - lse);
}

static bool is_end_token(const tlm_generate_options_t *options, uint32_t id)
{
    bool found = options->has_end_token && id == options->end_token;

    for (uint32_t i = 0; i < options->num_more_end_tokens; i++)
        found = found || id == options->more_end_tokens[i];
    return found;
}

/* Lets the callback see the logits, which become the sampler's scores. *chosen becomes its choice
 * or UINT32_MAX, *goes_on whether the sequence does. */
static tlm_status_t ask_callback(uint32_t *chosen, bool *goes_on, tlm_generator_t *generator,
                                 size_t index, const float **scores, const char *function)
{
    const tlmi_sequence_t *sequence = generator->sequences[index];
    const size_t vocab_size = (size_t)generator->model->options.vocab_size;
    float *own = generator->sampler.scores;

    if (*scores != own)
        memcpy(own, *scores, vocab_size * sizeof(*own));
    *scores = own;
    *goes_on = sequence->options.on_logits(sequence->options.logits_user, index,
                                           sequence->tokens + sequence->prompt_length,
                                           tlmi_num_new(sequence), own, vocab_size, chosen) == 0;
    if (*goes_on && *chosen != UINT32_MAX && *chosen >= vocab_size)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: on_logits chose token %" PRIu32
                         " in sequence %zu, outside the vocabulary of %zu",
                         function, *chosen, index, vocab_size);
    return TLM_OK;
}

/* Chooses the next token of a sequence from its logits; *goes_on: unless the callback ends it. */
static tlm_status_t choose(uint32_t *id, bool *goes_on, tlm_generator_t *generator, size_t index,
                           const float *logits, const char *function)
{
    const tlmi_sequence_t *sequence = generator->sequences[index];
    const tlm_generate_options_t *options = &sequence->options;
    const int64_t n = generator->model->options.vocab_size;

    *goes_on = true;
    *id = UINT32_MAX;
    TLMI_TRY(check_logits(function, index, logits, n));
    const float *scores = tlmi_sampler_score(&generator->sampler, options, logits, sequence->seen);
    if (options->on_logits != NULL)
        TLMI_TRY(ask_callback(id, goes_on, generator, index, &scores, function));
    if (!*goes_on || *id != UINT32_MAX)
        return TLM_OK;
    if (scores != logits)
        TLMI_TRY(check_scores(function, index, scores, n));
    const double uniform =
        tlmi_random_uniform(options->seed, TLMI_STREAM_SAMPLE, tlmi_num_new(sequence));
    *id = tlmi_sampler_pick(&generator->sampler, options, scores, uniform);
    return TLM_OK;
}

/* Why a sequence ends after the token that it has just got; TLM_GENERATION_RUNNING: it goes on. */
static int32_t ending_after(const tlm_generator_t *generator, const tlmi_sequence_t *sequence)
{
    const tlm_generate_options_t *options = &sequence->options;
    const size_t context = (size_t)generator->model->options.context_length;

    if (tlmi_num_new(sequence) >= (uint64_t)options->max_tokens)
        return TLM_GENERATION_LENGTH;
    if (options->past_context == TLM_PAST_CONTEXT_STOP && sequence->num_tokens > context)
        return TLM_GENERATION_CONTEXT;
    return TLM_GENERATION_RUNNING;
}

/* Chooses the next token of a sequence and ends the sequence if that was the last. */
static tlm_status_t take_token(tlm_generator_t *generator, size_t index, const float *logits,
                               const char *function)
{
    tlmi_sequence_t *sequence = generator->sequences[index];
    tlm_status_t status = TLM_OK;
    bool goes_on;
    uint32_t id;

    if (sequence->options.max_tokens == 0) { /* only the prompt was wanted */
        sequence->ending = TLM_GENERATION_LENGTH;
        return tlmi_sequence_settle(sequence);
    }
    status = tlmi_kv_cache_check(sequence->cache, function, index);
    if (status == TLM_OK)
        status = choose(&id, &goes_on, generator, index, logits, function);
    if (status != TLM_OK) {
        sequence->ending = TLM_GENERATION_FAILED;
        (void)tlmi_sequence_settle(sequence); /* once more with the next step, if this failed */
        return status;
    }
    if (!goes_on) {
        sequence->ending = TLM_GENERATION_CALLBACK;
    } else if (is_end_token(&sequence->options, id)) {
        sequence->ending = TLM_GENERATION_END;
    } else {
        note_log_probs(generator, sequence, logits, id);
        tlmi_sequence_append(sequence, id);
        sequence->ending = ending_after(generator, sequence);
    }
    return tlmi_sequence_settle(sequence);
}

/* ---- Stepping --------------------------------------------------------------------------- */

/* How many of the last tokens the cache lacks. At least the last one is computed, again if a step
 * failed after it. */
static size_t num_fresh(tlmi_sequence_t *sequence, size_t context)
{
    tlmi_kv_cache_t *cache = sequence->cache;
    size_t window = sequence->num_tokens;

    if (sequence->options.past_context == TLM_PAST_CONTEXT_RECOMPUTE && window > context) {
        tlmi_kv_cache_clear(cache);
        cache->is_window = true;
        window = context;
    }
    if ((size_t)cache->length >= window)
        tlmi_kv_cache_truncate(cache, (int64_t)window - 1);
    return window - (size_t)cache->length;
}

/* Sequences that have one new token each and go through together. */
typedef struct group {
    size_t indices[TLMI_STEP_ROWS];
    tlmi_kv_cache_t *caches[TLMI_STEP_ROWS];
    uint32_t ids[TLMI_STEP_ROWS];
    int64_t n;
} group_t;

/* A sequence that fails does not stop the others: *failure keeps the status for the end of the
 * step. */
static tlm_status_t run_group(tlm_generator_t *generator, group_t *group, tlm_status_t *failure,
                              const char *function)
{
    const int64_t vocab_size = generator->model->options.vocab_size;
    int64_t n = group->n;

    group->n = 0;
    if (n == 0)
        return TLM_OK;
    TLMI_TRY(
        tlmi_inference_step(generator->logits, generator->inference, group->caches, group->ids, n));
    for (int64_t i = 0; i < n; i++) {
        tlm_status_t status =
            take_token(generator, group->indices[i], generator->logits + i * vocab_size, function);
        if (status != TLM_OK)
            *failure = status;
    }
    return TLM_OK;
}

static tlm_status_t run_window(tlm_generator_t *generator, size_t index, size_t fresh,
                               tlm_status_t *failure, const char *function)
{
    tlmi_sequence_t *sequence = generator->sequences[index];

    TLMI_TRY(tlmi_inference_advance(generator->logits, generator->inference, sequence->cache,
                                    sequence->tokens + sequence->num_tokens - fresh,
                                    (int64_t)fresh));
    tlm_status_t status = take_token(generator, index, generator->logits, function);
    if (status != TLM_OK)
        *failure = status;
    return TLM_OK;
}

static bool is_running(const tlm_generator_t *generator, size_t index)
{
    return generator->sequences[index]->state == TLM_GENERATION_RUNNING;
}

/* Finishes what a failure has left undone, and takes memory before anything is computed. */
static tlm_status_t prepare_step(tlm_generator_t *generator)
{
    for (size_t i = 0; i < generator->num_sequences; i++) {
        TLMI_TRY(tlmi_sequence_settle(generator->sequences[i]));
        if (is_running(generator, i))
            TLMI_TRY(tlmi_sequence_reserve(generator->sequences[i]));
    }
    return TLM_OK;
}

tlm_status_t tlmi_generator_step(size_t *num_running, tlm_generator_t *generator,
                                 const char *function)
{
    const size_t context = (size_t)generator->model->options.context_length;
    tlm_status_t failure = TLM_OK;
    group_t group = {.n = 0};
    size_t running = 0;

    TLMI_TRY(prepare_step(generator));
    for (size_t i = 0; i < generator->num_sequences; i++) {
        tlmi_sequence_t *sequence = generator->sequences[i];
        size_t fresh = is_running(generator, i) ? num_fresh(sequence, context) : 0;

        if (fresh > 1) {
            TLMI_TRY(run_window(generator, i, fresh, &failure, function));
        } else if (fresh == 1) {
            group.indices[group.n] = i;
            group.caches[group.n] = sequence->cache;
            group.ids[group.n++] = sequence->tokens[sequence->num_tokens - 1];
        }
        if (group.n == TLMI_STEP_ROWS)
            TLMI_TRY(run_group(generator, &group, &failure, function));
    }
    TLMI_TRY(run_group(generator, &group, &failure, function));
    for (size_t i = 0; i < generator->num_sequences; i++)
        running += is_running(generator, i);
    if (num_running != NULL && failure == TLM_OK)
        *num_running = running;
    return failure;
}

tlm_status_t tlm_generator_step(size_t *num_running, tlm_generator_t *generator)
{
    TLMI_REQUIRE("generator_step", generator);
    return tlmi_generator_step(num_running, generator, "generator_step");
}
