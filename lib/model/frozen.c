/* Which parameters are trained. A frozen one is a tensor that requires no gradient; nothing else
 * records it. */
#include "model/model_core.h"

#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/glob.h"
#include "tensor/tensor_core.h"

/* Marks the parameters that a pattern fits; fails if there are none. */
static tlm_status_t check_pattern(const tlm_model_t *model, const char *pattern, size_t size,
                                  bool frozen)
{
    bool found = false;

    for (size_t i = 0; i < model->num_parameters; i++) {
        const char *name = model->specs[i].name;

        if (!tlmi_glob(pattern, size, name, strlen(name)))
            continue;
        found = true;
        if (!frozen && model->parameters[i]->dtype != TLM_FLOAT32)
            return tlmi_fail(
                TLM_ERR_UNSUPPORTED,
                "model_set_frozen: parameter '%s' is kept as %s, not as float32, so it "
                "cannot be trained",
                name, tlmi_dtype_name(model->parameters[i]->dtype));
    }
    if (!found)
        return tlmi_fail(TLM_ERR_NOT_FOUND,
                         "model_set_frozen: no parameter of the model fits '%.*s'",
                         size < 128 ? (int)size : 128, pattern);
    return TLM_OK;
}

static void apply_pattern(tlm_model_t *model, const char *pattern, size_t size, bool frozen)
{
    for (size_t i = 0; i < model->num_parameters; i++) {
        const char *name = model->specs[i].name;

        if (!tlmi_glob(pattern, size, name, strlen(name)))
            continue;
        model->parameters[i]->requires_grad = !frozen;
        if (frozen)
            tlm_tensor_zero_grad(model->parameters[i]);
    }
}

tlm_status_t tlm_model_set_frozen(tlm_model_t *model, const char *patterns, bool frozen)
{
    TLMI_REQUIRE("model_set_frozen", model);
    TLMI_REQUIRE("model_set_frozen", patterns);
    const char *pattern, *rest = patterns;
    size_t size;
    while (tlmi_list_next(&pattern, &size, &rest))
        TLMI_TRY(check_pattern(model, pattern, size, frozen));
    rest = patterns;
    while (tlmi_list_next(&pattern, &size, &rest))
        apply_pattern(model, pattern, size, frozen);
    model->fingerprint.known = false;
    return TLM_OK;
}

uint64_t tlm_model_num_trained(const tlm_model_t *model)
{
    uint64_t total = 0;

    for (size_t i = 0; model != NULL && i < model->num_parameters; i++)
        if (model->parameters[i]->requires_grad)
            total += (uint64_t)model->parameters[i]->numel;
    return total;
}

/* Continues the checksums with a parameter. Values count as float32, so that a model has the same
 * ones however it was opened. */
static void add_parameter(tlmi_crc64_t *values, tlmi_crc64_t *types, const tlm_model_t *model,
                          size_t index)
{
    enum { PIECE = 1024 }; /* a multiple of every block size */
    const tlm_tensor_t *tensor = model->parameters[index];
    const char *name = model->specs[index].name, *type = tlmi_dtype_name(tensor->dtype);
    const tlmi_weight_t weight = tlmi_weight_of(tensor);
    float piece[PIECE];

    tlmi_crc64_update(values, name, strlen(name));
    tlmi_crc64_update(types, type, strlen(type));
    if (tensor->dtype == TLM_FLOAT32) {
        tlmi_crc64_update(values, weight.data, (size_t)weight.rows * weight.row_bytes);
        return;
    }
    for (int64_t row = 0; row < weight.rows; row++)
        for (int64_t at = 0; at < weight.columns; at += PIECE) {
            const int64_t left = weight.columns - at, n = left < PIECE ? left : PIECE;
            const size_t place = (size_t)row * weight.row_bytes +
                                 (size_t)(at / weight.type->block) * weight.type->bytes;

            weight.type->load(piece, (const char *)weight.data + place, n);
            tlmi_crc64_update(values, piece, (size_t)n * sizeof(float));
        }
}

tlmi_fingerprint_t tlmi_model_fingerprint(tlm_model_t *model)
{
    tlmi_crc64_t values, types;

    if (model->fingerprint.known)
        return model->fingerprint;
    tlmi_crc64_init(&values);
    tlmi_crc64_init(&types);
    for (size_t i = 0; i < model->shape.num_parameters; i++)
        if (!model->parameters[i]->requires_grad)
            add_parameter(&values, &types, model, i);
    model->fingerprint =
        (tlmi_fingerprint_t){tlmi_crc64_final(&values), tlmi_crc64_final(&types), true};
    return model->fingerprint;
}
