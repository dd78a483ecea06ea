/* Generation of one sequence by one call, and scoring. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "infer/infer_core.h"

/* ---- Generation ------------------------------------------------------------------------- */

/* Steps until the sequence ends or the callback ends it; *n tokens then count. */
static tlm_status_t run(size_t *n, tlm_generator_t *generator, tlm_token_callback_t callback,
                        void *user)
{
    size_t running = 1, told = 0, settled;
    const uint32_t *ids;

    while (running > 0) {
        TLMI_TRY(tlmi_generator_step(&running, generator, "model_generate"));
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
    tlm_generator_t *generator;
    const uint32_t *made;
    uint32_t *copy;
    tlm_status_t status;
    size_t sequence, count = 0, all;

    TLMI_REQUIRE("model_generate", ids);
    TLMI_REQUIRE("model_generate", n);
    TLMI_REQUIRE("model_generate", model);
    TLMI_TRY(tlm_generator_create(&generator, model));
    TLMI_TRY_OR(done, tlmi_generator_add(&sequence, generator, prompt, prompt_length, options,
                                         "model_generate"));
    TLMI_TRY_OR(done, run(&count, generator, callback, user));
    TLMI_TRY_OR(done, tlm_generator_tokens(&made, NULL, &all, generator, sequence));
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

/* ---- Scoring ---------------------------------------------------------------------------- */

/* One window after another: the first scores all that it predicts, each later one what the windows
 * before it did not reach. */
static tlm_status_t score_windows(float *log_probs, tlmi_inference_t *inference,
                                  tlmi_kv_cache_t *cache, const uint32_t *ids, size_t n,
                                  size_t context, size_t stride)
{
    size_t scored = 0; /* log_probs that are there */

    for (size_t begin = 0; scored + 1 < n; begin += stride) {
        size_t length = n - 1 - begin < context ? n - 1 - begin : context;

        cache->length = 0;
        TLMI_TRY(tlmi_inference_score(log_probs + begin, inference, cache, ids + begin,
                                      ids + begin + 1, (int64_t)(scored - begin), (int64_t)length));
        scored = begin + length;
    }
    return TLM_OK;
}

tlm_status_t tlm_model_score(double *total, float *log_probs, tlm_model_t *model,
                             const uint32_t *ids, size_t n, int64_t stride)
{
    tlmi_inference_t *inference = NULL;
    tlmi_kv_cache_t *cache = NULL;
    float *made = NULL;
    tlm_status_t status;
    double sum = 0.0;
    int64_t context;

    TLMI_REQUIRE("model_score", model);
    TLMI_REQUIRE("model_score", ids);
    context = model->options.context_length;
    if (n < 2)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "model_score: %zu tokens leave none to predict",
                         n);
    if (stride < 0 || stride > context)
        return tlmi_fail(TLM_ERR_RANGE, "model_score: stride %" PRId64 " is not in 0 .. %" PRId64,
                         stride, context);
    TLMI_TRY(tlmi_check_ids("model_score", "ids", ids, n, model->options.vocab_size));
    if (stride == 0)
        stride = (context + 1) / 2;
    made = tlmi_alloc(n - 1, sizeof(*made), "log-probabilities");
    if (made == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY_OR(done, tlmi_inference_create(&inference, model));
    TLMI_TRY_OR(done, tlmi_kv_cache_create(&cache, model,
                                           n - 1 < (size_t)context ? (int64_t)n - 1 : context));
    TLMI_TRY_OR(done,
                score_windows(made, inference, cache, ids, n, (size_t)context, (size_t)stride));
    for (size_t i = 0; i < n - 1; i++)
        sum += (double)made[i];
    if (total != NULL)
        *total = sum;
    if (log_probs != NULL)
        memcpy(log_probs, made, (n - 1) * sizeof(*made));
done:
    tlmi_kv_cache_free(cache);
    tlmi_inference_free(inference);
    tlmi_free(made);
    return status;
}
