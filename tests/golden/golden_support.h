/* What the test of recorded bits and the full-size run share: token ids, hashes, the train step. */
#ifndef TEST_GOLDEN_SUPPORT_H
#define TEST_GOLDEN_SUPPORT_H

#include <stdlib.h>
#include <string.h>

#include "tinylm/tinylm.h"

/* ---- Bits ------------------------------------------------------------------------------- */

#define GOLDEN_HASH_START UINT64_C(0xcbf29ce484222325)

/* FNV-1a with 64 bits; `hash` is GOLDEN_HASH_START or that of the bytes before. */
static inline uint64_t golden_hash(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static inline uint64_t golden_float_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline uint64_t golden_double_bits(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline tlm_status_t golden_hash_parameters(uint64_t *hash, const tlm_model_t *model)
{
    tlm_tensor_t *const *tensors;
    size_t n;
    tlm_status_t status = tlm_model_parameters(&tensors, &n, model);

    *hash = GOLDEN_HASH_START;
    for (size_t i = 0; status == TLM_OK && i < n; i++)
        *hash = golden_hash(*hash, tlm_tensor_data(tensors[i]),
                            (size_t)tlm_tensor_numel(tensors[i]) * sizeof(float));
    return status;
}

/* ---- Data ------------------------------------------------------------------------------- */

/* Ids that a model can learn something about: each follows from the one before it and two random
 * bits, and now and then one is random. The generator is Knuth's of MMIX. */
static inline void golden_fill_ids(uint32_t *ids, size_t n, uint32_t vocab_size, uint64_t seed)
{
    uint32_t id = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t random;

        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        random = (uint32_t)(seed >> 33);
        id = (random & 15) == 0 ? random >> 4 : id * 11 + 7 + (random >> 29);
        id %= vocab_size;
        ids[i] = id;
    }
}

static inline tlm_status_t golden_make_data(tlm_dataset_t **out, size_t n, uint32_t vocab_size,
                                            uint64_t seed)
{
    uint32_t *ids = malloc(n * sizeof(*ids));
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (ids != NULL) {
        golden_fill_ids(ids, n, vocab_size, seed);
        status = tlm_dataset_from_ids(out, ids, n);
    }
    free(ids);
    return status;
}

/* ---- Training --------------------------------------------------------------------------- */

/* Everything of a run of steps but the model and the optimizer. */
typedef struct golden_run {
    const tlm_dataset_t *data;
    int64_t batch, context;
    uint64_t seed, total_steps;
    double learning_rate;
} golden_run_t;

/* CS336's optimizer over all parameters of the model. */
static inline tlm_status_t golden_make_optimizer(tlm_optimizer_t **out, const tlm_model_t *model,
                                                 uint32_t no_decay)
{
    tlm_adamw_options_t options = TLM_ADAMW_OPTIONS_INIT;
    tlm_status_t status;

    options.beta2 = 0.95;
    options.weight_decay = 0.1;
    status = tlm_optimizer_create_adamw(out, &options);
    return status == TLM_OK ? tlm_optimizer_add_model(*out, model, no_decay, NULL) : status;
}

/* Forward and backward of one batch, clipping and an update, as the steps of a program that does
 * without a trainer. */
static inline tlm_status_t golden_update(float *loss, double *norm, tlm_model_t *model,
                                         tlm_optimizer_t *optimizer, const golden_run_t *run,
                                         const uint32_t *inputs, const uint32_t *targets,
                                         uint64_t step)
{
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *mean = NULL;
    tlm_status_t status;
    double rate;
    size_t n;

    tlm_optimizer_zero_grad(optimizer);
    status = tlm_model_loss(&mean, model, inputs, targets, run->batch, run->context);
    if (status == TLM_OK)
        status = tlm_tensor_item(loss, mean);
    if (status == TLM_OK)
        status = tlm_tensor_backward(mean, NULL);
    tlm_tensor_free(mean);
    if (status == TLM_OK)
        status = tlm_model_parameters(&tensors, &n, model);
    if (status == TLM_OK)
        status = tlm_clip_grad_norm(norm, tensors, n, 1.0);
    if (status == TLM_OK)
        status = tlm_cosine_schedule(&rate, step + 1, run->learning_rate, run->learning_rate / 20,
                                     run->total_steps / 10, run->total_steps);
    if (status == TLM_OK)
        status = tlm_optimizer_set_learning_rate(optimizer, TLM_ALL_GROUPS, rate);
    return status == TLM_OK ? tlm_optimizer_step(optimizer) : status;
}

/* Step `step`, counted from 0; the loss is that before the update, the norm that before
 * clipping. */
static inline tlm_status_t golden_step(float *loss, double *norm, tlm_model_t *model,
                                       tlm_optimizer_t *optimizer, const golden_run_t *run,
                                       uint64_t step)
{
    size_t n = (size_t)(run->batch * run->context);
    uint32_t *inputs = malloc(2 * n * sizeof(*inputs));
    tlm_status_t status;

    if (inputs == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    status = tlm_dataset_sample(inputs, inputs + n, run->data, run->batch, run->context, run->seed,
                                step);
    if (status == TLM_OK)
        status = golden_update(loss, norm, model, optimizer, run, inputs, inputs + n, step);
    free(inputs);
    return status;
}

#endif
