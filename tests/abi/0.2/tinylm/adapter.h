/* Fine-tuning: which parameters of a model are trained, and low-rank adapters (LoRA), which change
 * a model without changing its weights. docs/fine-tuning.md shows them in use. */
#ifndef TINYLM_ADAPTER_H
#define TINYLM_ADAPTER_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Frozen parameters ------------------------------------------------------------------ */

/** Freezes the parameters whose names fit one of the patterns, or with `frozen` false makes them
 *  trainable again. Patterns are separated by commas: '*' stands for any characters, '?' for one,
 *  [abc] for one of a set. A frozen parameter gets no gradient, and tlm_optimizer_add_model leaves
 *  it out, so it has no state either. Choose before that call. TLM_ERR_NOT_FOUND, naming it, for a
 *  pattern that no parameter fits; TLM_ERR_UNSUPPORTED if a parameter that is not float32 is to be
 *  trained. On failure nothing has changed. @since 0.2 */
TLM_API tlm_status_t tlm_model_set_frozen(tlm_model_t *model, const char *patterns, bool frozen);

/** Number of elements in the parameters that are not frozen. 0 for NULL. @since 0.2 */
TLM_API uint64_t tlm_model_num_trained(const tlm_model_t *model);

/* ---- LoRA ------------------------------------------------------------------------------- */

/** Low-rank adapters: a linear layer with weight W computes x W^T + scale (D(x) A^T) B^T, where D
 *  is dropout. Hu et al. 2021. @since 0.2 */
typedef struct tlm_lora_options {
    /** sizeof(tlm_lora_options_t). */
    size_t size;
    /** Rows of A, and columns of B; 0: 8. */
    int64_t rank;
    /** scale is alpha / rank; 0: 8. */
    double alpha;
    /** Probability that an element of x is dropped in training; in [0, 1). */
    double dropout;
    /** Layers that get an adapter, separated by commas: names of parameters or of their modules in
     *  transformers ("q_proj", "layers.0.attn.q_proj"), patterns of them as in
     *  tlm_model_set_frozen, or "all-linear", all layers of the blocks. NULL: "all-linear". */
    const char *targets;
    /** Seed of A and of dropout. */
    uint64_t seed;
    /** TLM_FAMILY_... of model_files.h, whose names the layers have; 0: that of the files that the
     *  model was opened from, or the first that has its options. Where it has several weights in
     *  one tensor, their adapters share A. */
    int32_t family;
    /** scale is alpha / sqrt(rank). Kalajdzievski 2023. */
    bool rank_stabilized;
    uint8_t reserved[3];
} tlm_lora_options_t;

#define TLM_LORA_OPTIONS_INIT TLM_SIZED(tlm_lora_options_t)

/** Freezes all parameters of the model and adds adapters, whose A is uniform in +-1 / sqrt(columns)
 *  and whose B is 0, so that the model computes what it did. They are parameters after those of the
 *  model: layers.0.attn.q_proj.lora_A.weight (rank, columns) and .lora_B.weight (rows, rank), and
 *  so on, which require gradients. The weights may be of any type: see
 *  tlm_model_open_for_inference. Options may be NULL. TLM_ERR_STATE if the model has adapters
 *  already; TLM_ERR_NOT_FOUND, naming it, for a target that the model has no layer for;
 *  TLM_ERR_INVALID_ARGUMENT, naming the field, for options out of range. On failure nothing has
 *  changed. @since 0.2 */
TLM_API tlm_status_t tlm_model_add_lora(tlm_model_t *model, const tlm_lora_options_t *options);

/** Reads the options of the model's adapters, with defaults resolved; targets is borrowed until
 *  they are removed. Set out->size first. TLM_ERR_NOT_FOUND if it has none. @since 0.2 */
TLM_API tlm_status_t tlm_model_lora(tlm_lora_options_t *out, const tlm_model_t *model);

/** Adds each adapter to its weight, W + scale B A, and removes the adapters. A weight that is not
 *  float32 becomes float32. All parameters of the model stay frozen. Tensors of the adapters that
 *  the caller retained stay valid. TLM_ERR_NOT_FOUND if there are no adapters. On failure nothing
 *  has changed. @since 0.2 */
TLM_API tlm_status_t tlm_model_merge_lora(tlm_model_t *model);

/** Removes the adapters, if there are any, without their changes; the model's parameters stay
 *  frozen. NULL is fine. @since 0.2 */
TLM_API void tlm_model_remove_lora(tlm_model_t *model);

/** As a row: nothing is dropped. @since 0.2 */
#define TLM_NO_DROPOUT UINT64_MAX

/** Turns dropout on for later passes with a graph, whose batch begins with row `row` of the
 *  training data, from 0, or off with TLM_NO_DROPOUT, which it is at first. What is dropped in row
 *  n is a function of the seed and of n, so that a resumed run, any number of threads and any split
 *  of a batch give the same bits. Trainers turn it on for their batches. @since 0.2 */
TLM_API tlm_status_t tlm_model_set_dropout_row(tlm_model_t *model, uint64_t row);

#ifdef __cplusplus
}
#endif
#endif
