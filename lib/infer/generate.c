/* Generation of one sequence in one call, and scoring. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "infer/infer_core.h"

/* ---- Generation ------------------------------------------------------------------------- */

/* A generator with one sequence. */
static tlm_status_t begin(tlm_generator_t **out, const char *function, tlm_model_t *model,
                          const uint32_t *prompt, size_t prompt_length,
                          const tlm_generate_options_t *options)
{
    tlm_generator_t *generator;
    size_t sequence;

    TLMI_TRY(tlm_generator_create(&generator, model));
    tlm_status_t status =
        tlmi_generator_add(&sequence, generator, prompt, prompt_length, options, function);
    if (status == TLM_OK)
        *out = generator;
    else
        tlm_generator_free(generator);
    return status;
}

/* Steps until the sequence ends or the callback ends it; *n becomes the number of tokens that
 * count. */
static tlm_status_t run(size_t *n, tlm_generator_t *generator, tlm_token_callback_t callback,
                        void *user)
{
    size_t running = 1, told = 0, settled = 0;

    while (running > 0) {
        TLMI_TRY(tlmi_generator_step(&running, generator, "model_generate"));
        const uint32_t *ids;
        TLMI_TRY(tlm_generator_tokens(&ids, NULL, &settled, generator, 0));
        for (; callback != NULL && told < settled; told++)
            if (callback(user, ids[told]) != 0) {
                *n = told + 1;
                return TLM_OK;
            }
    }
    *n = settled;
    return TLM_OK;
}

tlm_status_t tlm_model_generate(uint32_t **ids, size_t *n, tlm_model_t *model,
                                const uint32_t *prompt, size_t prompt_length,
                                const tlm_generate_options_t *options,
                                tlm_token_callback_t callback, void *user)
{
    TLMI_REQUIRE("model_generate", ids);
    TLMI_REQUIRE("model_generate", n);
    TLMI_REQUIRE("model_generate", model);
    tlm_generator_t *generator;
    TLMI_TRY(begin(&generator, "model_generate", model, prompt, prompt_length, options));
    tlm_status_t status;
    const uint32_t *made;
    uint32_t *copy;
    size_t count = 0, all;
    TLMI_TRY_OR(done, run(&count, generator, callback, user));
    TLMI_TRY_OR(done, tlm_generator_tokens(&made, NULL, &all, generator, 0));
    copy = tlmi_alloc(count, sizeof(*copy), "generated tokens");
    if (copy == NULL) {
        status = TLM_ERR_OUT_OF_MEMORY;
        goto done;
    }
    if (count > 0)
        memcpy(copy, made, count * sizeof(*copy));
    *ids = copy;
    *n = count;
done:
    tlm_generator_free(generator);
    return status;
}

/* ---- Text ------------------------------------------------------------------------------- */

/* Steps until the sequence ends or the callback ends it; *size becomes the size of the text up to
 * there, and *state the reason. */
static tlm_status_t run_text(size_t *size, int32_t *state, tlm_generator_t *generator,
                             tlm_text_callback_t callback, void *user)
{
    size_t running = 1, told = 0, certain = 0;

    while (running > 0) {
        TLMI_TRY(tlmi_generator_step(&running, generator, "model_generate_text"));
        const char *text;
        TLMI_TRY(tlm_generator_text(&text, &certain, generator, 0));
        if (callback != NULL && certain > told &&
            callback(user, text + told, certain - told) != 0) {
            *size = certain;
            *state = TLM_GENERATION_CALLBACK;
            return TLM_OK;
        }
        told = certain;
    }
    *size = certain;
    return tlm_generator_state(state, generator, 0);
}

tlm_status_t tlm_model_generate_text(char **text, size_t *size, int32_t *state, tlm_model_t *model,
                                     const uint32_t *prompt, size_t prompt_length,
                                     const tlm_generate_options_t *options,
                                     tlm_text_callback_t callback, void *user)
{
    static const char function[] = "model_generate_text";
    TLMI_REQUIRE(function, text);
    TLMI_REQUIRE(function, size);
    TLMI_REQUIRE(function, model);
    TLMI_REQUIRE(function, options);
    tlm_generator_t *generator;
    TLMI_TRY(begin(&generator, function, model, prompt, prompt_length, options));
    tlm_status_t status;
    const char *made;
    size_t count, all;
    int32_t reason;
    char *copy;
    TLMI_TRY_OR(done, tlmi_generator_text(&made, &all, generator, 0, function));
    TLMI_TRY_OR(done, run_text(&count, &reason, generator, callback, user));
    TLMI_TRY_OR(done, tlmi_generator_text(&made, &all, generator, 0, function));
    copy = tlmi_alloc(count + 1, 1, "generated text");
    if (copy == NULL) {
        status = TLM_ERR_OUT_OF_MEMORY;
        goto done;
    }
    memcpy(copy, made, count);
    copy[count] = '\0';
    *text = copy;
    *size = count;
    if (state != NULL)
        *state = reason;
done:
    tlm_generator_free(generator);
    return status;
}

/* ---- Scoring ---------------------------------------------------------------------------- */

/* What tlm_model_score works on. */
typedef struct score_job {
    tlmi_inference_t *inference;
    tlmi_kv_cache_t *cache;
    const uint32_t *ids;
    size_t n, context, stride;
    float *window;    /* (context): room for log_probs where the caller wants none */
    float *log_probs; /* the caller's, or NULL */
} score_job_t;

/* One window after another: the first scores all that it predicts, each later one what the windows
 * before it did not reach. The first is the longest and so takes all memory: no later one fails,
 * and log_probs is untouched on an error. */
static tlm_status_t score_windows(double *sum, const score_job_t *job)
{
    size_t scored = 0; /* of n - 1 */

    *sum = 0.0;
    for (size_t begin = 0; scored + 1 < job->n; begin += job->stride) {
        size_t left = job->n - 1 - begin, length = left < job->context ? left : job->context;
        float *to = job->log_probs != NULL ? job->log_probs + begin : job->window;

        job->cache->length = 0;
        TLMI_TRY(tlmi_inference_score(to, job->inference, job->cache, job->ids + begin,
                                      job->ids + begin + 1, (int64_t)(scored - begin),
                                      (int64_t)length));
        for (size_t i = scored - begin; i < length; i++)
            *sum += (double)to[i];
        scored = begin + length;
    }
    return TLM_OK;
}

tlm_status_t tlm_model_score(double *total, float *log_probs, tlm_model_t *model,
                             const uint32_t *ids, size_t n, int64_t stride)
{
    TLMI_REQUIRE("model_score", model);
    TLMI_REQUIRE("model_score", ids);
    const int64_t context = model->options.context_length;
    if (n < 2)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "model_score: %zu tokens leave none to predict",
                         n);
    if (stride < 0 || stride > context)
        return tlmi_fail(TLM_ERR_RANGE, "model_score: stride %" PRId64 " is not in 0 .. %" PRId64,
                         stride, context);
    TLMI_TRY(tlmi_check_ids("model_score", "ids", ids, n, model->options.vocab_size));
    score_job_t job = {.ids = ids, .n = n, .log_probs = log_probs};
    job.context = n - 1 < (size_t)context ? n - 1 : (size_t)context;
    job.stride = stride > 0 ? (size_t)stride : ((size_t)context + 1) / 2;
    if (log_probs == NULL) {
        job.window = tlmi_alloc(job.context, sizeof(*job.window), "log-probabilities");
        if (job.window == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
    }
    tlm_status_t status;
    double sum;
    TLMI_TRY_OR(done, tlmi_inference_create(&job.inference, model));
    TLMI_TRY_OR(done, tlmi_kv_cache_create(&job.cache, TLM_FLOAT32, (int64_t)job.context));
    TLMI_TRY_OR(done, score_windows(&sum, &job));
    if (total != NULL)
        *total = sum;
done:
    tlmi_kv_cache_free(job.cache);
    tlmi_inference_free(job.inference);
    tlmi_free(job.window);
    return status;
}
