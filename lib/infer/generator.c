/* Sequences that a model continues at once. Each token follows from the logits that
 * tlm_model_forward computes for the last context_length tokens. Up to context_length, the cache makes
 * a token cost the work of one token, and the weights are read once for all sequences. Past it, every
 * position in the window moves, and rotary angles and keys with it, so the window is computed again. */
#include "infer/infer_core.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/rng.h"
#include "kernels/vector_math.h"

typedef struct sequence {
    tlm_generate_options_t options;
    tlm_ids_t *stops;       /* owned; their ids lie behind them in the same block */
    tlmi_kv_cache_t *cache; /* NULL when it has ended */
    uint32_t *tokens;       /* the end of the prompt, then the new ones */
    size_t prompt_length, num_tokens, token_capacity;
    size_t num_settled; /* new tokens that no stop sequence can take back */
    float *log_probs;   /* of each new token */
    size_t log_prob_capacity;
    size_t num_top;
    uint32_t *top_ids; /* (new tokens, num_top) */
    size_t top_id_capacity;
    float *top_log_probs; /* (new tokens, num_top) */
    size_t top_log_prob_capacity;
    uint8_t *seen; /* ids that have occurred, one bit each; NULL: no penalty */
    int32_t state;
} sequence_t;

struct tlm_generator {
    const tlm_model_t *model;
    tlmi_inference_t *inference;
    tlmi_sampler_t sampler;
    float *logits; /* (logit_rows, vocab_size) */
    size_t logit_rows;
    sequence_t **sequences;
    size_t num_sequences, capacity;
};

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

static void sequence_free(sequence_t *sequence)
{
    if (sequence == NULL)
        return;
    tlmi_kv_cache_free(sequence->cache);
    tlmi_free(sequence->stops);
    tlmi_free(sequence->tokens);
    tlmi_free(sequence->log_probs);
    tlmi_free(sequence->top_ids);
    tlmi_free(sequence->top_log_probs);
    tlmi_free(sequence->seen);
    tlmi_free(sequence);
}

void tlm_generator_free(tlm_generator_t *generator)
{
    if (generator == NULL)
        return;
    for (size_t i = 0; i < generator->num_sequences; i++)
        sequence_free(generator->sequences[i]);
    tlmi_free(generator->sequences);
    tlmi_free(generator->logits);
    tlmi_sampler_release(&generator->sampler);
    tlmi_inference_free(generator->inference);
    tlmi_free(generator);
}

/* ---- Adding ----------------------------------------------------------------------------- */

static tlm_status_t copy_stops(sequence_t *sequence)
{
    const tlm_generate_options_t *options = &sequence->options;
    size_t count = options->num_stop_sequences, ids = 0;

    if (count == 0)
        return TLM_OK;
    for (size_t i = 0; i < count; i++)
        if (!tlmi_add_size(&ids, ids, options->stop_sequences[i].n))
            return tlmi_fail_overflow("stop sequences");
    size_t bytes, id_bytes;
    if (!tlmi_mul_size(&bytes, count, sizeof(tlm_ids_t)) ||
        !tlmi_mul_size(&id_bytes, ids, sizeof(uint32_t)) || !tlmi_add_size(&bytes, bytes, id_bytes))
        return tlmi_fail_overflow("stop sequences");
    sequence->stops = tlmi_alloc(bytes, 1, "stop sequences");
    if (sequence->stops == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    uint32_t *at = (uint32_t *)(sequence->stops + count);
    for (size_t i = 0; i < count; i++) {
        const tlm_ids_t *stop = &options->stop_sequences[i];

        memcpy(at, stop->ids, stop->n * sizeof(*at));
        sequence->stops[i] = (tlm_ids_t){at, stop->n};
        at += stop->n;
    }
    sequence->options.stop_sequences = sequence->stops;
    return TLM_OK;
}

static void mark_seen(sequence_t *sequence, const uint32_t *ids, size_t n)
{
    for (size_t i = 0; sequence->seen != NULL && i < n; i++)
        sequence->seen[ids[i] >> 3] |= (uint8_t)(1 << (ids[i] & 7));
}

static tlm_status_t check_prompt(const char *function, const uint32_t *prompt, size_t n,
                                 int64_t vocab_size)
{
    if (n == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: the prompt is empty", function);
    TLMI_REQUIRE(function, prompt);
    return tlmi_check_ids(function, "prompt", prompt, n, vocab_size);
}

/* Fills a sequence whose options are set. */
static tlm_status_t sequence_fill(sequence_t *sequence, const tlm_model_t *model,
                                  const uint32_t *prompt, size_t prompt_length)
{
    const tlm_generate_options_t *options = &sequence->options;
    const size_t context = (size_t)model->options.context_length;
    const size_t vocab_size = (size_t)model->options.vocab_size;
    /* Only the last window of the prompt matters. */
    const size_t kept = prompt_length < context ? prompt_length : context;
    const size_t room = context - kept;
    const size_t new_tokens =
        (uint64_t)options->max_tokens < room ? (size_t)options->max_tokens : room;

    sequence->num_top =
        options->num_top_log_probs < vocab_size ? options->num_top_log_probs : vocab_size;
    TLMI_TRY(copy_stops(sequence));
    if (options->repetition_penalty != 0.0 && options->repetition_penalty != 1.0) {
        sequence->seen = tlmi_calloc(vocab_size / 8 + 1, 1, "the tokens of a sequence");
        if (sequence->seen == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        mark_seen(sequence, prompt, prompt_length);
    }
    if (!tlmi_grow(&sequence->tokens, &sequence->token_capacity, kept, sizeof(*prompt),
                   "generated tokens"))
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(sequence->tokens, prompt + (prompt_length - kept), kept * sizeof(*prompt));
    sequence->prompt_length = sequence->num_tokens = kept;
    if (options->max_tokens == 0)
        sequence->state = TLM_GENERATION_LENGTH;
    else
        TLMI_TRY(tlmi_kv_cache_create(&sequence->cache, (int64_t)(kept + new_tokens)));
    return TLM_OK;
}

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

tlm_status_t tlmi_generator_add(size_t *sequence, tlm_generator_t *generator,
                                const uint32_t *prompt, size_t prompt_length,
                                const tlm_generate_options_t *options, const char *function)
{
    const int64_t vocab_size = generator->model->options.vocab_size;
    tlm_generate_options_t known;

    TLMI_TRY(tlmi_generate_options_read(&known, function, options, vocab_size));
    TLMI_TRY(check_prompt(function, prompt, prompt_length, vocab_size));
    TLMI_TRY(reserve_logits(generator, generator->num_sequences + 1));
    if (!tlmi_grow(&generator->sequences, &generator->capacity, generator->num_sequences + 1,
                   sizeof(*generator->sequences), "the sequences of a generator"))
        return TLM_ERR_OUT_OF_MEMORY;
    sequence_t *made = tlmi_calloc(1, sizeof(*made), "a sequence");
    if (made == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    made->options = known;
    tlm_status_t status = sequence_fill(made, generator->model, prompt, prompt_length);
    if (status != TLM_OK) {
        sequence_free(made);
        return status;
    }
    *sequence = generator->num_sequences;
    generator->sequences[generator->num_sequences++] = made;
    return TLM_OK;
}

tlm_status_t tlm_generator_add(size_t *sequence, tlm_generator_t *generator, const uint32_t *prompt,
                               size_t prompt_length, const tlm_generate_options_t *options)
{
    TLMI_REQUIRE("generator_add", sequence);
    TLMI_REQUIRE("generator_add", generator);
    return tlmi_generator_add(sequence, generator, prompt, prompt_length, options, "generator_add");
}

/* ---- Ending ----------------------------------------------------------------------------- */

static size_t num_new(const sequence_t *sequence)
{
    return sequence->num_tokens - sequence->prompt_length;
}

static void end_sequence(sequence_t *sequence, int32_t state)
{
    sequence->state = state;
    sequence->num_settled = num_new(sequence);
    tlmi_kv_cache_free(sequence->cache);
    sequence->cache = NULL;
}

/* Do the new tokens end in the first n ids? */
static bool ends_in(const sequence_t *sequence, const uint32_t *ids, size_t n)
{
    return n <= num_new(sequence) &&
           memcmp(sequence->tokens + sequence->num_tokens - n, ids, n * sizeof(*ids)) == 0;
}

/* Ends the sequence if its new tokens end in a stop sequence, which is removed. Otherwise tokens that
 * may begin a stop sequence do not count as settled. */
static void look_for_stops(sequence_t *sequence)
{
    size_t held = 0;

    for (size_t i = 0; i < sequence->options.num_stop_sequences; i++) {
        const tlm_ids_t *stop = &sequence->stops[i];

        if (ends_in(sequence, stop->ids, stop->n)) {
            sequence->num_tokens -= stop->n;
            end_sequence(sequence, TLM_GENERATION_STOP);
            return;
        }
        for (size_t n = stop->n - 1; n > held; n--)
            if (ends_in(sequence, stop->ids, n))
                held = n;
    }
    sequence->num_settled = num_new(sequence) - held;
}

/* ---- Stepping --------------------------------------------------------------------------- */

/* Makes room for one more token, before anything is computed. */
static tlm_status_t reserve_token(sequence_t *sequence)
{
    size_t count = num_new(sequence) + 1, top = 0;

    if (!tlmi_mul_size(&top, count, sequence->num_top))
        return tlmi_fail_overflow("log-probabilities");
    if (!tlmi_grow(&sequence->tokens, &sequence->token_capacity, sequence->num_tokens + 1,
                   sizeof(*sequence->tokens), "generated tokens") ||
        !tlmi_grow(&sequence->log_probs, &sequence->log_prob_capacity, count,
                   sizeof(*sequence->log_probs), "log-probabilities") ||
        !tlmi_grow(&sequence->top_ids, &sequence->top_id_capacity, top, sizeof(*sequence->top_ids),
                   "log-probabilities") ||
        !tlmi_grow(&sequence->top_log_probs, &sequence->top_log_prob_capacity, top,
                   sizeof(*sequence->top_log_probs), "log-probabilities"))
        return TLM_ERR_OUT_OF_MEMORY;
    return TLM_OK;
}

/* How many tokens of the window the cache lacks. At least the last one is computed, again if a step
 * failed after it. */
static size_t num_fresh(sequence_t *sequence, size_t context)
{
    size_t window = sequence->num_tokens < context ? sequence->num_tokens : context;

    if (sequence->num_tokens > context)
        sequence->cache->length = 0;
    if ((size_t)sequence->cache->length == window)
        sequence->cache->length--;
    return window - (size_t)sequence->cache->length;
}

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

static void note_log_probs(tlm_generator_t *generator, sequence_t *sequence, const float *logits,
                           uint32_t id)
{
    const int64_t n = generator->model->options.vocab_size;
    const size_t at = num_new(sequence), top = sequence->num_top;
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

/* Chooses the next token of a sequence and ends the sequence if that was the last. */
static tlm_status_t take_token(tlm_generator_t *generator, size_t index, const float *logits,
                               const char *function)
{
    sequence_t *sequence = generator->sequences[index];
    const tlm_generate_options_t *options = &sequence->options;
    const size_t at = num_new(sequence);
    tlm_status_t status =
        check_logits(function, index, logits, generator->model->options.vocab_size);

    if (status != TLM_OK) {
        end_sequence(sequence, TLM_GENERATION_FAILED);
        return status;
    }
    const double uniform = tlmi_random_uniform(options->seed, TLMI_STREAM_SAMPLE, at);
    const uint32_t id =
        tlmi_sampler_pick(&generator->sampler, options, logits, sequence->seen, uniform);
    if (is_end_token(options, id)) {
        end_sequence(sequence, TLM_GENERATION_END);
        return TLM_OK;
    }
    note_log_probs(generator, sequence, logits, id);
    sequence->tokens[sequence->num_tokens++] = id;
    mark_seen(sequence, &id, 1);
    look_for_stops(sequence);
    if (sequence->state == TLM_GENERATION_RUNNING && at + 1 == (size_t)options->max_tokens)
        end_sequence(sequence, TLM_GENERATION_LENGTH);
    return TLM_OK;
}

/* Sequences that have one new token each and go through together. */
typedef struct group {
    size_t indices[TLMI_STEP_ROWS];
    tlmi_kv_cache_t *caches[TLMI_STEP_ROWS];
    uint32_t ids[TLMI_STEP_ROWS];
    int64_t n;
} group_t;

/* Logits that are not finite end one sequence only: *failure keeps the status for the end of the step. */
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
    sequence_t *sequence = generator->sequences[index];

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

tlm_status_t tlmi_generator_step(size_t *num_running, tlm_generator_t *generator,
                                 const char *function)
{
    const size_t context = (size_t)generator->model->options.context_length;
    tlm_status_t failure = TLM_OK;
    group_t group = {.n = 0};
    size_t running = 0;

    for (size_t i = 0; i < generator->num_sequences; i++)
        if (is_running(generator, i))
            TLMI_TRY(reserve_token(generator->sequences[i]));
    for (size_t i = 0; i < generator->num_sequences; i++) {
        sequence_t *sequence = generator->sequences[i];
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

/* ---- Reading ---------------------------------------------------------------------------- */

static tlm_status_t find_sequence(sequence_t **out, const char *function,
                                  const tlm_generator_t *generator, size_t index)
{
    TLMI_REQUIRE(function, generator);
    if (index >= generator->num_sequences)
        return tlmi_fail(TLM_ERR_RANGE, "%s: no sequence %zu; there are %zu", function, index,
                         generator->num_sequences);
    *out = generator->sequences[index];
    return TLM_OK;
}

tlm_status_t tlm_generator_tokens(const uint32_t **ids, const float **log_probs, size_t *n,
                                  const tlm_generator_t *generator, size_t sequence)
{
    sequence_t *found = NULL;

    TLMI_REQUIRE("generator_tokens", n);
    TLMI_TRY(find_sequence(&found, "generator_tokens", generator, sequence));
    if (ids != NULL)
        *ids = found->tokens + found->prompt_length;
    if (log_probs != NULL)
        *log_probs = found->log_probs;
    *n = found->num_settled;
    return TLM_OK;
}

tlm_status_t tlm_generator_top_log_probs(const uint32_t **ids, const float **log_probs, size_t *n,
                                         const tlm_generator_t *generator, size_t sequence,
                                         size_t position)
{
    sequence_t *found = NULL;

    TLMI_REQUIRE("generator_top_log_probs", n);
    TLMI_TRY(find_sequence(&found, "generator_top_log_probs", generator, sequence));
    if (position >= found->num_settled)
        return tlmi_fail(TLM_ERR_RANGE,
                         "generator_top_log_probs: no settled token %zu; there are %zu", position,
                         found->num_settled);
    if (ids != NULL)
        *ids = found->top_ids + position * found->num_top;
    if (log_probs != NULL)
        *log_probs = found->top_log_probs + position * found->num_top;
    *n = found->num_top;
    return TLM_OK;
}

tlm_status_t tlm_generator_state(int32_t *state, const tlm_generator_t *generator, size_t sequence)
{
    sequence_t *found = NULL;

    TLMI_REQUIRE("generator_state", state);
    TLMI_TRY(find_sequence(&found, "generator_state", generator, sequence));
    *state = found->state;
    return TLM_OK;
}

tlm_status_t tlm_generator_stop(tlm_generator_t *generator, size_t sequence)
{
    sequence_t *found = NULL;

    TLMI_TRY(find_sequence(&found, "generator_stop", generator, sequence));
    if (found->state == TLM_GENERATION_RUNNING)
        end_sequence(found, TLM_GENERATION_STOPPED);
    return TLM_OK;
}
