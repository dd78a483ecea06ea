/* What a model costs, computed from its options: parameters, memory, floating-point operations. No
 * model is created, so the model may be larger than the machine's memory. */
#ifndef TINYLM_MODEL_INFO_H
#define TINYLM_MODEL_INFO_H

#include "adapter.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Parts of a model: indices of the arrays below. @since 0.2 */
#define TLM_PART_EMBEDDING    0 /**< Token embedding. */
#define TLM_PART_ATTENTION    1 /**< Projections of queries, keys, values and the result. */
#define TLM_PART_SCORES       2 /**< Queries times keys, weights times values; no parameters. */
#define TLM_PART_FEED_FORWARD 3 /**< Feed-forward layers. */
#define TLM_PART_NORMS        4 /**< Norms. */
#define TLM_PART_OUTPUT       5 /**< Output projection; no parameters if it is the embedding. */
#define TLM_NUM_PARTS         6 /**< Number of parts in this version. */
#define TLM_MAX_PARTS         8 /**< Length of the arrays; entries of unknown parts are 0. */

/* The optimizer whose step is counted, with its default options. @since 0.2 */
#define TLM_COST_ADAMW     0 /**< State: two numbers per parameter. */
#define TLM_COST_SGD       1 /**< State: none. */
#define TLM_COST_MUON      2 /**< State: one number per element of hidden matrices, else two. */
#define TLM_COST_LION      3 /**< State: one number per parameter. */
#define TLM_COST_ADAFACTOR 4 /**< State: one number per row and column of matrices. */

/* How the products of attention are counted. @since 0.2 */
#define TLM_COUNT_EXECUTED 0 /**< As the library computes them: without tiles above the diagonal. */
#define TLM_COUNT_FULL     1 /**< Every query times every key, as textbooks count. */

/** The step whose cost is computed. @since 0.2 */
typedef struct tlm_cost_options {
    /** sizeof(tlm_cost_options_t). */
    size_t size;
    /** Sequences per step; 0: 1. */
    int64_t batch;
    /** Tokens per sequence; 0: the model's context_length. */
    int64_t time;
    /** TLM_COST_... */
    int32_t optimizer;
    /** TLM_COUNT_... */
    int32_t counting;
    /** Whether tlm_model_set_checkpointing is on. */
    bool checkpointing;
    uint8_t reserved[7];
    /** Frozen parameters, as in tlm_model_set_frozen; NULL: none. @since 0.2 */
    const char *frozen;
    /** Adapters; NULL: none. @since 0.2 */
    const tlm_lora_options_t *lora;
    /** Type of the matrices of a model that is opened for inference (TLM_BFLOAT16, TLM_Q4_0 ...),
     *  which is frozen; 0: float32, trained. @since 0.2 */
    int32_t weights;
    uint8_t reserved2[4];
    /** Batches per step, of all ranks together; 0: 1. Memory grows with its logarithm; operations
     *  are those of one batch. @since 0.2 */
    uint64_t accumulation;
    /** Ranks that share a step, a divisor of accumulation; 0: 1. @since 0.2 */
    int32_t num_ranks;
    /** Whether averages of the parameters are kept (tlm_optimizer_set_average). @since 0.2 */
    bool average;
    uint8_t reserved3[3];
} tlm_cost_options_t;

#define TLM_COST_OPTIONS_INIT TLM_SIZED(tlm_cost_options_t)

/** Parameters, bytes and floating-point operations; a multiplication and an addition are two
 *  operations. Filled by the library; set `size` first, or start from TLM_COST_INIT. @since 0.2 */
typedef struct tlm_cost {
    /** sizeof(tlm_cost_t). */
    size_t size;
    /** All parameters. */
    uint64_t parameters;
    /** Parameters by part (TLM_PART_...). */
    uint64_t part_parameters[TLM_MAX_PARTS];
    /** Elements of the parameters, those of adapters included. */
    uint64_t weight_bytes;
    /** Elements of the gradients of those that are trained. */
    uint64_t gradient_bytes;
    /** Elements of the optimizer's state, on one rank. */
    uint64_t optimizer_bytes;
    /** What the forward pass keeps for backward. */
    uint64_t activation_bytes;
    /** Most memory in use at one time in a train step, in blocks of the allocator. */
    uint64_t step_live_bytes;
    /** Most memory taken from the system in a train step, including blocks kept for reuse. */
    uint64_t step_peak_bytes;
    /** Keys and values in generation, of `batch` sequences of `time` tokens. */
    uint64_t kv_cache_bytes;
    /** Matrix products of a step's forward pass, by part. */
    double forward_flops[TLM_MAX_PARTS];
    /** Matrix products of a step's backward pass, by part. */
    double backward_flops[TLM_MAX_PARTS];
    /** The forward pass of the blocks that checkpointing runs again. */
    double recompute_flops;
    /** The optimizer's update. */
    double optimizer_flops;
    /** Sum of these four. */
    double step_flops;
    /** Forward and backward only, of which the utilization of a machine (MFU) is computed. */
    double model_flops;
    /** Generating one token after `time` - 1 others. */
    double token_flops;
    /** Parameters that are not frozen, those of adapters included. @since 0.2 */
    uint64_t trained_parameters;
} tlm_cost_t;

#define TLM_COST_INIT TLM_SIZED(tlm_cost_t)

/** Computes the cost of a model with these options; cost_options may be NULL. Set out->size first.
 *  Memory is that of the second and later train steps (zero_grad, tlm_model_loss, backward, step)
 *  in a process that does nothing else, with tlm_num_threads threads. Where nothing is trained, a
 *  step has no memory, and its operations are those of the forward pass. Takes less than a
 *  millisecond per layer. TLM_ERR_INVALID_ARGUMENT, naming the field, for options out of range or
 *  numbers of bytes that do not fit in 64 bits; TLM_ERR_RANGE if time is more than the context
 *  length. Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_model_cost(tlm_cost_t *out, const tlm_model_options_t *model,
                                    const tlm_cost_options_t *cost_options);

#ifdef __cplusplus
}
#endif
#endif
