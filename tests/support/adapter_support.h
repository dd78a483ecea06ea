/* Small models of all kinds of blocks, and adapters whose B is not 0. */
#ifndef TEST_ADAPTER_SUPPORT_H
#define TEST_ADAPTER_SUPPORT_H

#include "model_support.h"

#include <math.h>

#include "model/model_core.h"
#include "tinylm/model_files.h"

enum { ADAPTED_VOCAB = 17, ADAPTED_CONTEXT = 8, ADAPTED_KINDS = 7 };

static inline tlm_model_options_t adapted_options(int kind)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;

    options.vocab_size = ADAPTED_VOCAB;
    options.context_length = ADAPTED_CONTEXT;
    options.d_model = 16;
    options.num_layers = 2;
    options.num_heads = 4;
    options.num_kv_heads = 2;
    options.d_ff = 24;
    options.seed = 3;
    switch (kind) {
    case 0: /* Llama */
        break;
    case 1: /* Qwen 3: tied, head_dim of its own */
        options.tied_embeddings = true;
        options.head_dim = 6;
        options.qk_norm = TLM_QK_NORM_HEADS;
        break;
    case 2: /* Gemma 2 */
        options.norm = TLM_NORM_BOTH;
        options.ffn = TLM_FFN_GEGLU;
        options.scaled_embeddings = options.tied_embeddings = true;
        options.attention_softcap = 5.0;
        options.logit_softcap = 4.0;
        options.sliding_window = 3;
        options.window_period = 2;
        break;
    case 3: /* GPT-2 */
        set_gpt2_blocks(&options);
        break;
    case 4: /* OLMo 2 */
        options.norm = TLM_NORM_AFTER;
        options.qk_norm = TLM_QK_NORM_WIDTH;
        break;
    case 5: /* Qwen 2 */
        options.attention_bias = TLM_ATTENTION_BIAS_QKV;
        break;
    default: /* Phi 3 */
        options.sliding_window = 4;
    }
    return options;
}

/* The kind of model whose files have queries, keys and values in one tensor. */
static inline int32_t adapted_family(int kind)
{
    return kind == 6 ? TLM_FAMILY_PHI3 : 0;
}

static inline void fill_b(tlm_model_t *model)
{
    for (size_t i = 0; i < model->num_parameters; i++) {
        float *values = tlm_tensor_data(model->parameters[i]);

        for (int64_t k = 0; model->specs[i].role == TLMI_LORA_B && k < model->parameters[i]->numel;
             k++)
            values[k] = 0.2f * (float)sin((double)(k * 7 + (int64_t)i));
    }
}

/* A model with adapters of rank 3 on `targets` (NULL: all-linear). */
static inline tlm_model_t *adapted_model(int kind, const char *targets, double dropout)
{
    tlm_model_options_t options = adapted_options(kind);
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;
    tlm_model_t *model;

    lora.rank = 3;
    lora.alpha = 5.0;
    lora.dropout = dropout;
    lora.targets = targets;
    lora.seed = 9;
    lora.family = adapted_family(kind);
    ASSERT_OK(tlm_model_create(&model, &options));
    ASSERT_OK(tlm_model_add_lora(model, &lora));
    fill_b(model);
    return model;
}

static inline tlm_tensor_t *adapted_loss(tlm_model_t *model)
{
    uint32_t ids[2 * ADAPTED_CONTEXT + 1];
    tlm_tensor_t *loss;

    for (uint32_t i = 0; i < 2 * ADAPTED_CONTEXT + 1; i++)
        ids[i] = (i * i + 3 * i) % ADAPTED_VOCAB;
    ASSERT_OK(tlm_model_loss(&loss, model, ids, ids + 1, 2, ADAPTED_CONTEXT));
    return loss;
}

static inline double loss_value(tlm_model_t *model)
{
    tlm_tensor_t *loss = adapted_loss(model);
    float value;

    ASSERT_OK(tlm_tensor_item(&value, loss));
    tlm_tensor_free(loss);
    return (double)value;
}

static inline void run_backward(tlm_model_t *model)
{
    tlm_tensor_t *loss = adapted_loss(model);

    ASSERT_OK(tlm_tensor_backward(loss, NULL));
    tlm_tensor_free(loss);
}

#endif
