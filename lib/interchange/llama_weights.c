/* Names, types and order of LLaMA's weights in files. */
#include "interchange/interchange.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "formats/half.h"
#include "tensor/tensor_core.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "elements are written as they lie in memory, and the formats are little-endian"
#endif

tlm_status_t tlmi_llama_check(const char *function, const tlm_model_options_t *options)
{
    const char *lacking = options->norm == TLM_NORM_POST   ? "norms behind each layer (norm)"
                          : options->norm == TLM_NORM_NONE ? "layers without norms (norm)"
                          : options->position != TLM_POSITION_ROPE ? "no RoPE (position)"
                          : options->ffn != TLM_FFN_SWIGLU ? "a SiLU feed-forward layer (ffn)"
                                                           : NULL;

    if (lacking == NULL)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: the model has %s, which LLaMA's files cannot express", function, lacking);
}

/* ---- Names ------------------------------------------------------------------------------ */

static const char *const layer_prefixes[] = {[TLMI_HF] = "model.layers.", [TLMI_GGUF] = "blk."};

static const char *const block_names[][TLMI_BLOCK_PARTS] = {
    [TLMI_HF] =
        {
            [TLMI_ATTN_Q] = "self_attn.q_proj.weight",
            [TLMI_ATTN_K] = "self_attn.k_proj.weight",
            [TLMI_ATTN_V] = "self_attn.v_proj.weight",
            [TLMI_ATTN_OUTPUT] = "self_attn.o_proj.weight",
            [TLMI_LN1] = "input_layernorm.weight",
            [TLMI_FFN_W1] = "mlp.gate_proj.weight",
            [TLMI_FFN_W2] = "mlp.down_proj.weight",
            [TLMI_FFN_W3] = "mlp.up_proj.weight",
            [TLMI_LN2] = "post_attention_layernorm.weight",
        },
    [TLMI_GGUF] =
        {
            [TLMI_ATTN_Q] = "attn_q.weight",
            [TLMI_ATTN_K] = "attn_k.weight",
            [TLMI_ATTN_V] = "attn_v.weight",
            [TLMI_ATTN_OUTPUT] = "attn_output.weight",
            [TLMI_LN1] = "attn_norm.weight",
            [TLMI_FFN_W1] = "ffn_gate.weight",
            [TLMI_FFN_W2] = "ffn_down.weight",
            [TLMI_FFN_W3] = "ffn_up.weight",
            [TLMI_LN2] = "ffn_norm.weight",
        },
};

/* Outside the blocks: the embedding, the last norm, the output projection. */
static const char *const end_names[][3] = {
    [TLMI_HF] = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"},
    [TLMI_GGUF] = {"token_embd.weight", "output_norm.weight", "output.weight"},
};

/* Parameters by what they are: LLaMA's models have all parts of a block. */
static size_t end_index(const tlm_model_t *model, size_t end)
{
    size_t blocks = (size_t)model->options.num_layers * TLMI_BLOCK_PARTS;

    return end == 0 ? 0 : blocks + end;
}

static bool is_in_block(const tlm_model_t *model, size_t index)
{
    return index > 0 && index < end_index(model, 1);
}

void tlmi_weight_name(char out[TLMI_WEIGHT_NAME_SIZE], const tlm_model_t *model, size_t index,
                      tlmi_convention_t convention)
{
    size_t blocks_end = end_index(model, 1);

    if (is_in_block(model, index))
        snprintf(out, TLMI_WEIGHT_NAME_SIZE, "%s%zu.%s", layer_prefixes[convention],
                 (index - 1) / TLMI_BLOCK_PARTS,
                 block_names[convention][(index - 1) % TLMI_BLOCK_PARTS]);
    else
        snprintf(out, TLMI_WEIGHT_NAME_SIZE, "%s",
                 end_names[convention][index == 0 ? 0 : index - blocks_end + 1]);
}

size_t tlmi_weight_find(const tlm_model_t *model, const char *name, size_t size,
                        tlmi_convention_t convention)
{
    size_t prefix = strlen(layer_prefixes[convention]), index = model->num_parameters;
    char own[TLMI_WEIGHT_NAME_SIZE];
    int64_t layer = 0;

    for (size_t end = 0; end < 3; end++)
        if (strlen(end_names[convention][end]) == size &&
            memcmp(name, end_names[convention][end], size) == 0)
            return end == 2 && !model->shape.has_output ? index : end_index(model, end);
    if (size <= prefix || memcmp(name, layer_prefixes[convention], prefix) != 0)
        return index;
    for (size_t i = prefix; i < size && name[i] >= '0' && name[i] <= '9'; i++)
        if (layer < model->options.num_layers)
            layer = 10 * layer + (name[i] - '0');
    if (layer >= model->options.num_layers)
        return index;
    /* The name as it would be written tells whether it is all that it should be. */
    for (size_t part = 0; part < TLMI_BLOCK_PARTS && index == model->num_parameters; part++) {
        size_t candidate = 1 + (size_t)layer * TLMI_BLOCK_PARTS + part;

        tlmi_weight_name(own, model, candidate, convention);
        if (strlen(own) == size && memcmp(own, name, size) == 0)
            index = candidate;
    }
    return index;
}

/* ---- Values ----------------------------------------------------------------------------- */

/* Width of the heads whose rows the convention reorders; 0: the rows stand as they are. */
static int64_t split_width(const tlm_model_t *model, size_t index, tlmi_convention_t convention)
{
    size_t part = (index - 1) % TLMI_BLOCK_PARTS;
    bool splits = convention == TLMI_HF && is_in_block(model, index) &&
                  (part == TLMI_ATTN_Q || part == TLMI_ATTN_K);

    return splits ? model->shape.d_head : 0;
}

/* Which row here is row `row` of the file. */
static int64_t own_row(int64_t row, int64_t width)
{
    int64_t j = width == 0 ? 0 : row % width;

    return width == 0 ? row : row - j + 2 * (j % (width / 2)) + j / (width / 2);
}

size_t tlmi_weight_item_size(int32_t weights)
{
    return weights == TLM_WEIGHTS_FLOAT32 ? 4 : 2;
}

/* out[i] = values[i] as 16 bits; false if a finite number became infinite. */
static bool narrow(uint16_t *out, const float *values, int64_t n, int32_t weights)
{
    bool fits = true;

    for (int64_t i = 0; i < n; i++) {
        float back;

        if (weights == TLM_WEIGHTS_FLOAT16) {
            out[i] = tlmi_float_to_half(values[i]);
            back = tlmi_half_to_float(out[i]);
        } else {
            out[i] = tlmi_float_to_bfloat16(values[i]);
            back = tlmi_bfloat16_to_float(out[i]);
        }
        fits = fits && !isinf(back) == !isinf(values[i]);
    }
    return fits;
}

tlm_status_t tlmi_weight_write(const tlm_model_t *model, size_t index, tlmi_convention_t convention,
                               int32_t weights, const char *path, tlmi_weight_sink_t sink,
                               void *user)
{
    const tlm_tensor_t *tensor = model->parameters[index];
    const float *values = tlmi_floats(tensor);
    int64_t rows = tensor->ndim == 2 ? tensor->shape[0] : 1, columns = tensor->numel / rows;
    int64_t width = split_width(model, index, convention);
    size_t size = (size_t)columns * tlmi_weight_item_size(weights);
    uint16_t *narrowed = NULL;
    tlm_status_t status = TLM_OK;

    if (weights != TLM_WEIGHTS_FLOAT32) {
        narrowed = tlmi_alloc((size_t)columns, sizeof(*narrowed), "a row of weights");
        if (narrowed == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
    }
    for (int64_t row = 0; row < rows && status == TLM_OK; row++) {
        const float *own = values + own_row(row, width) * columns;

        if (narrowed == NULL)
            status = sink(user, own, size);
        else if (narrow(narrowed, own, columns, weights))
            status = sink(user, narrowed, size);
        else
            status = tlmi_fail(TLM_ERR_RANGE, "%s: parameter '%s' has a weight too large for %s",
                               path, model->specs[index].name,
                               weights == TLM_WEIGHTS_FLOAT16 ? "float16" : "bfloat16");
    }
    tlmi_free(narrowed);
    return status;
}

static void widen(float *out, const uint8_t *bytes, int64_t n, int32_t weights)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t item;

        memcpy(&item, bytes + (size_t)i * sizeof(item), sizeof(item));
        out[i] = weights == TLM_WEIGHTS_FLOAT16 ? tlmi_half_to_float(item)
                                                : tlmi_bfloat16_to_float(item);
    }
}

static void read_weight(tlm_model_t *model, size_t index, tlmi_convention_t convention,
                        const tlmi_found_weight_t *from)
{
    tlm_tensor_t *tensor = model->parameters[index];
    float *values = tlmi_floats(tensor);
    int64_t rows = tensor->ndim == 2 ? tensor->shape[0] : 1, columns = tensor->numel / rows;
    int64_t width = split_width(model, index, convention);
    size_t size = (size_t)columns * tlmi_weight_item_size(from->weights);
    const uint8_t *bytes = from->data;

    for (int64_t row = 0; row < rows; row++, bytes += size) {
        float *own = values + own_row(row, width) * columns;

        if (from->weights == TLM_WEIGHTS_FLOAT32)
            memcpy(own, bytes, size);
        else
            widen(own, bytes, columns, from->weights);
    }
}

/* ---- From a file to a model ------------------------------------------------------------- */

tlm_status_t tlmi_weights_begin(tlm_model_t **model, tlmi_found_weight_t **found,
                                const tlm_model_options_t *options, size_t num_tensors,
                                size_t bytes, const char *path)
{
    tlm_model_options_t resolved;
    tlmi_model_shape_t shape;
    tlm_status_t status;

    TLMI_TRY(tlmi_model_resolve(&resolved, &shape, path, options));
    /* Far too little, that is: a tensor that is missing, or of a type that is not read, is named later. */
    if (shape.num_parameters / 2 > num_tensors + 32 || shape.num_elements / 2 > bytes)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: a model of %zu tensors and %" PRIu64
                         " elements in %zu tensors and %zu bytes",
                         path, shape.num_parameters, shape.num_elements, num_tensors, bytes);
    *found = tlmi_calloc(shape.num_parameters, sizeof(**found), "the tensors of a model");
    if (*found == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    status = tlmi_model_create_empty(model, options);
    if (status != TLM_OK) {
        tlmi_free(*found);
        *found = NULL;
    }
    return status;
}

tlm_status_t tlmi_weight_place(tlmi_found_weight_t *found, const tlm_model_t *model,
                               tlmi_convention_t convention, const char *name, size_t size,
                               const tlmi_found_weight_t *tensor, const char *path)
{
    const size_t index = tlmi_weight_find(model, name, size, convention);
    const int shown = size < 128 ? (int)size : 128;
    char own[TLMI_SHAPE_TEXT], given[TLMI_SHAPE_TEXT];
    const tlmi_parameter_spec_t *spec;

    if (index == model->num_parameters)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: tensor '%.*s' is none of the model's", path,
                         shown, name);
    if (found[index].data != NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: tensor '%.*s' is there twice", path, shown, name);
    spec = &model->specs[index];
    if (tensor->ndim != spec->ndim ||
        memcmp(tensor->shape, spec->shape, (size_t)spec->ndim * sizeof(*spec->shape)) != 0)
        return tlmi_fail(TLM_ERR_SHAPE, "%s: tensor '%.*s' has shape %s, the model's %s", path,
                         shown, name, tlmi_dims_text(given, tensor->shape, tensor->ndim),
                         tlmi_dims_text(own, spec->shape, spec->ndim));
    found[index] = *tensor;
    return TLM_OK;
}

tlm_status_t tlmi_weights_fill(tlm_model_t *model, const tlmi_found_weight_t *found,
                               tlmi_convention_t convention, const char *path)
{
    char name[TLMI_WEIGHT_NAME_SIZE];

    for (size_t i = 0; i < model->num_parameters; i++)
        if (found[i].data == NULL) {
            tlmi_weight_name(name, model, i, convention);
            return tlmi_fail(TLM_ERR_FORMAT, "%s: there is no tensor '%s'", path, name);
        }
    for (size_t i = 0; i < model->num_parameters; i++) {
        TLMI_TRY(tlmi_mapping_check(found[i].file, path));
        read_weight(model, i, convention, &found[i]);
    }
    return TLM_OK;
}
