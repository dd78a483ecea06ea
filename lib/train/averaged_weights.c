/* The averages of a run in the place of its parameters, for evaluation and export, and back. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tensor/tensor_core.h"
#include "train/train_core.h"

/* Copies the elements of all trained parameters to or from one row. */
static void copy_row(const tlm_optimizer_t *optimizer, float *row, bool back)
{
    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        tlm_tensor_t *tensor = optimizer->parameters[i].tensor;
        const size_t bytes = (size_t)tensor->numel * sizeof(float);

        if (back) {
            memcpy(tlmi_floats(tensor), row, bytes);
            tlmi_tensor_written(tensor);
        } else {
            memcpy(row, tlmi_floats(tensor), bytes);
        }
        row += tensor->numel;
    }
}

/* What this rank can do alone. */
static tlm_status_t put_averages(tlm_trainer_t *trainer)
{
    const tlm_optimizer_t *optimizer = trainer->optimizer;
    size_t numel = 0;

    for (size_t i = 0; i < optimizer->num_parameters; i++)
        numel += (size_t)optimizer->parameters[i].tensor->numel;
    float *kept = tlmi_alloc(numel, sizeof(float), "the parameters behind their averages");
    if (kept == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    copy_row(optimizer, kept, false);
    tlm_status_t status = tlmi_average_take("trainer_use_average", optimizer);
    if (status != TLM_OK) {
        tlmi_free(kept);
        return status;
    }
    trainer->kept = kept;
    return TLM_OK;
}

static void put_back(tlm_trainer_t *trainer)
{
    if (trainer->kept != NULL)
        copy_row(trainer->optimizer, trainer->kept, true);
    tlmi_free(trainer->kept);
    trainer->kept = NULL;
}

tlm_status_t tlm_trainer_use_average(tlm_trainer_t *trainer, bool enabled)
{
    TLMI_REQUIRE("trainer_use_average", trainer);
    if (!enabled) {
        put_back(trainer);
        return TLM_OK;
    }
    if (trainer->kept != NULL)
        return TLM_OK;
    tlm_status_t status =
        tlmi_agree(trainer->communicator, "trainer_use_average", put_averages(trainer));
    if (status == TLM_OK && trainer->division != NULL)
        status = tlmi_division_share(trainer->division);
    if (status != TLM_OK)
        put_back(trainer);
    return status;
}

tlm_status_t tlmi_check_not_averaged(const char *function, const tlm_trainer_t *trainer)
{
    if (trainer->kept != NULL)
        return tlmi_fail(TLM_ERR_STATE,
                         "%s: averages are in the place of the parameters: trainer_use_average",
                         function);
    return TLM_OK;
}
