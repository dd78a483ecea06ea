/* The element types of a file's tensors, by TLM_WEIGHTS_... */
#include "interchange/interchange.h"
#include "tensor/tensor_core.h"

/* Indexed by TLM_WEIGHTS_...; the mixtures are those of llama.cpp's files of that name. */
const tlmi_weight_choice_t tlmi_weight_choices[] = {
    [TLM_WEIGHTS_FLOAT32] = {.name = "float32", .type = TLM_FLOAT32, .gguf_file_type = 0},
    [TLM_WEIGHTS_FLOAT16] = {.name = "float16", .type = TLM_FLOAT16, .gguf_file_type = 1},
    [TLM_WEIGHTS_BFLOAT16] = {.name = "bfloat16", .type = TLM_BFLOAT16, .gguf_file_type = 32},
    [TLM_WEIGHTS_Q8_0] = {.name = "q8_0", .type = TLM_Q8_0, .gguf_file_type = 7},
    [TLM_WEIGHTS_Q4_0] = {.name = "q4_0", .type = TLM_Q4_0, .gguf_file_type = 2},
    [TLM_WEIGHTS_Q4_1] = {.name = "q4_1", .type = TLM_Q4_1, .gguf_file_type = 3},
    [TLM_WEIGHTS_Q5_0] = {.name = "q5_0", .type = TLM_Q5_0, .gguf_file_type = 8},
    [TLM_WEIGHTS_Q5_1] = {.name = "q5_1", .type = TLM_Q5_1, .gguf_file_type = 9},
    [TLM_WEIGHTS_Q4_K_M] = {.name = "q4_k_m",
                            .type = TLM_Q4_K,
                            .important_type = TLM_Q6_K,
                            .gguf_file_type = 15},
    [TLM_WEIGHTS_Q5_K_M] = {.name = "q5_k_m",
                            .type = TLM_Q5_K,
                            .important_type = TLM_Q6_K,
                            .gguf_file_type = 17},
    [TLM_WEIGHTS_Q6_K] = {.name = "q6_k", .type = TLM_Q6_K, .gguf_file_type = 18},
};
const int32_t tlmi_num_weight_choices =
    sizeof(tlmi_weight_choices) / sizeof(tlmi_weight_choices[0]);

int32_t tlmi_weights_choice(const tlmi_dtype_t *type)
{
    for (int32_t i = 0; i < tlmi_num_weight_choices; i++)
        if (type != NULL && tlmi_weight_choices[i].type == type->code &&
            tlmi_weight_choices[i].important_type == TLM_FLOAT32)
            return i;
    return TLM_WEIGHTS_FLOAT32;
}

int32_t tlmi_weights_of_file_type(int64_t file_type)
{
    for (int32_t i = 0; i < tlmi_num_weight_choices; i++)
        if (tlmi_weight_choices[i].gguf_file_type == file_type &&
            tlmi_dtype_is_blocks(tlmi_weight_choices[i].type))
            return i;
    return -1;
}

/* The first and the last eighth of the blocks of a model, and every third between them. */
static bool is_important_layer(int64_t layer, int64_t num_layers)
{
    const int64_t eighth = num_layers / 8;

    return layer < eighth || layer >= 7 * num_layers / 8 || (layer - eighth) % 3 == 2;
}

/* The output layer, and values (or what holds them with queries and keys) and second feed-forward
 * matrices of some blocks. */
static bool is_important(const tlm_model_t *model, const tlmi_file_tensor_t *tensor)
{
    const tlmi_parameter_spec_t *spec = &model->specs[tensor->parameters[0]];

    switch (spec->part) {
    case TLMI_LM_HEAD:
        return true;
    case TLMI_EMBEDDING:
        return !tlmi_has_part(&model->shape, TLMI_LM_HEAD);
    case TLMI_ATTN_Q:
        return tensor->count > 1 && is_important_layer(spec->layer, model->options.num_layers);
    case TLMI_ATTN_V:
    case TLMI_FFN_W2:
        return is_important_layer(spec->layer, model->options.num_layers);
    default:
        return false;
    }
}

/* What becomes of rows that are not whole blocks. */
static int32_t next_type(int32_t type)
{
    switch (type) {
    case TLM_Q4_K:
        return TLM_Q5_0;
    case TLM_Q5_K:
        return TLM_Q5_1;
    case TLM_Q6_K:
        return TLM_Q8_0;
    default:
        return TLM_FLOAT16;
    }
}

const tlmi_dtype_t *tlmi_weight_type(const tlm_model_t *model, const tlmi_file_tensor_t *tensor,
                                     const tlmi_convention_t *convention, int32_t weights)
{
    const tlmi_weight_choice_t *choice = &tlmi_weight_choices[weights];
    const int32_t part = model->specs[tensor->parameters[0]].part;
    int32_t type = choice->type;

    if (convention->format == TLMI_HF)
        return tlmi_dtype(type);
    if (tensor->ndim == 1 || (part == TLMI_POSITIONS && tlmi_dtype_is_blocks(type)))
        return tlmi_dtype(TLM_FLOAT32);
    if (choice->important_type != TLM_FLOAT32 && is_important(model, tensor))
        type = choice->important_type;
    while (tensor->shape[tensor->ndim - 1] % tlmi_dtype(type)->block != 0)
        type = next_type(type);
    return tlmi_dtype(type);
}
