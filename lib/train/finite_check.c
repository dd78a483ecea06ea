/* Finds NaN and infinity in a model. A plain loop, since it only runs to explain a failure. */
#include "train/train_core.h"

#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/number.h"
#include "model/model_core.h"
#include "tensor/tensor_core.h"
#include "tinylm/train.h"

static tlm_status_t check_tensor(const char *where, const char *what, const char *name,
                                 const tlm_tensor_t *tensor)
{
    TLMI_TRY(tlmi_check_float(where, name, tensor));
    for (int64_t i = 0; i < tensor->numel; i++)
        if (!isfinite(tlmi_floats(tensor)[i]))
            return tlmi_fail(TLM_ERR_NON_FINITE, "%s: %s%s is %s at element %" PRId64, where, what,
                             name, TLMI_G(tlmi_floats(tensor)[i]), i);
    return TLM_OK;
}

tlm_status_t tlmi_check_finite(const char *where, const tlm_model_t *model)
{
    /* Weights of other types are not trained, so they are what they were. */
    for (size_t i = 0; i < model->num_parameters; i++)
        if (model->parameters[i]->dtype == TLM_FLOAT32)
            TLMI_TRY(check_tensor(where, "", model->specs[i].name, model->parameters[i]));
    for (size_t i = 0; i < model->num_parameters; i++)
        if (model->parameters[i]->grad != NULL)
            TLMI_TRY(check_tensor(where, "the gradient of ", model->specs[i].name,
                                  model->parameters[i]->grad));
    return TLM_OK;
}

tlm_status_t tlm_model_check_finite(const tlm_model_t *model)
{
    TLMI_REQUIRE("model_check_finite", model);
    for (size_t i = 0; i < model->num_parameters; i++)
        TLMI_TRY(
            tlmi_check_float("model_check_finite", model->specs[i].name, model->parameters[i]));
    return tlmi_check_finite("model_check_finite", model);
}
