/* What a model costs, known from its options alone: parameters, memory, floating-point operations.
 * No model is made, so a model larger than the machine can be asked about. */
#ifndef TINYLM_MODEL_INFO_H
#define TINYLM_MODEL_INFO_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Parts of a model, as indices into the arrays below. */
#define TLM_PART_EMBEDDING    0
#define TLM_PART_ATTENTION    1 /* projections of queries, keys, values and the result */
#define TLM_PART_SCORES       2 /* queries times keys, weights times values; no parameters */
#define TLM_PART_FEED_FORWARD 3
#define TLM_PART_NORMS        4
#define TLM_PART_OUTPUT       5 /* the output projection; no parameters of its own if tied */
#define TLM_NUM_PARTS         6
#define TLM_MAX_PARTS         8 /* length of the arrays; unknown parts are 0 */

/* Which optimiser holds state. */
#define TLM_COST_ADAMW 0
#define TLM_COST_SGD   1

/* How the products of attention are counted. */
#define TLM_COUNT_EXECUTED 0 /* as the library does them: tiles above the diagonal are left out */
#define TLM_COUNT_FULL     1 /* every query times every key, as textbooks count */

typedef struct tlm_cost_options {
    size_t size;        /* sizeof(tlm_cost_options_t) */
    int64_t batch;      /* sequences of a step; 0: 1 */
    int64_t time;       /* tokens of a sequence; 0: the model's context_length */
    int32_t optimizer;  /* TLM_COST_ADAMW ... */
    int32_t counting;   /* TLM_COUNT_EXECUTED ... */
    bool checkpointing; /* as tlm_model_set_checkpointing */
    uint8_t reserved[7];
} tlm_cost_options_t;

#define TLM_COST_OPTIONS_INIT TLM_SIZED(tlm_cost_options_t)

/* Bytes, and floating-point operations, a multiplication and an addition being two. */
typedef struct tlm_cost {
    size_t size; /* sizeof(tlm_cost_t), set by the caller */
    uint64_t parameters;
    uint64_t part_parameters[TLM_MAX_PARTS];

    /* Memory of a train step. */
    uint64_t weight_bytes;
    uint64_t gradient_bytes;
    uint64_t optimizer_bytes;
    uint64_t activation_bytes; /* what the forward pass leaves for backward */
    uint64_t step_live_bytes;  /* most that is in use at one time, in blocks of the allocator */
    uint64_t step_peak_bytes;  /* most that is held of the system, kept blocks among it */
    /* Memory of generation: keys and values of `batch` sequences of `time` tokens. */
    uint64_t kv_cache_bytes;

    /* Operations of a train step in matrix products, by part, and of the update. */
    double forward_flops[TLM_MAX_PARTS];
    double backward_flops[TLM_MAX_PARTS];
    double recompute_flops; /* the blocks' forward pass once more, with checkpointing */
    double optimizer_flops;
    double step_flops;  /* all of these */
    double model_flops; /* forward and backward alone: what the share of a machine's peak in use
                           (MFU) is taken of */
    /* Operations of generating one token after `time` - 1 others. */
    double token_flops;
} tlm_cost_t;

#define TLM_COST_INIT TLM_SIZED(tlm_cost_t)

/** The cost of the model that `model` describes; cost_options may be NULL. Set out->size first.
 *  Memory is that of the second and later train steps (zero_grad, tlm_model_loss, backward, step)
 *  in a process that does nothing else, with as many threads as tlm_num_threads says. Takes longer
 *  with more layers, a few microseconds each. TLM_ERR_INVALID_ARGUMENT, naming the field, for
 *  options out of range or numbers of bytes that do not fit 64 bits; TLM_ERR_RANGE if time is more
 *  than the context length. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_model_cost(tlm_cost_t *out, const tlm_model_options_t *model,
                                    const tlm_cost_options_t *cost_options);

#ifdef __cplusplus
}
#endif
#endif
