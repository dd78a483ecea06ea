/* Export and import by DLPack: the same memory under another library's handle. An exported tensor
 * is a view outside any graph, kept alive until its consumer calls the deleter. An imported one is
 * wrapped memory whose release function calls the producer's deleter. */
#include <inttypes.h>

#include "tensor/dlpack.h"
#include "base/error.h"
#include "base/memory.h"
#include "tensor/tensor_core.h"

/* ---- Out ----------------------------------------------------------------------------- */

typedef struct exported {
    struct DLManagedTensor managed; /* must be first: the consumer gets a pointer to it */
    tlm_tensor_t *view;             /* owned; the consumer reads its shape and strides */
} exported_t;

static void delete_exported(struct DLManagedTensor *managed)
{
    if (managed == NULL)
        return;
    exported_t *exported = (exported_t *)managed;
    tlm_tensor_free(exported->view);
    tlmi_free(exported);
}

tlm_status_t tlm_tensor_to_dlpack(struct DLManagedTensor **out, const tlm_tensor_t *tensor)
{
    TLMI_REQUIRE("tensor_to_dlpack", out);
    TLMI_REQUIRE("tensor_to_dlpack", tensor);
    TLMI_TRY(tlmi_check_elements("tensor_to_dlpack", tensor));
    exported_t *exported = tlmi_calloc(1, sizeof(*exported), "DLPack tensor");
    if (exported == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = tlm_tensor_detach(&exported->view, tensor);
    if (status != TLM_OK) {
        tlmi_free(exported);
        return status;
    }
    /* Not all consumers respect byte_offset, so it is always 0. */
    tlmi_dlpack_tensor_t *target = &exported->managed.dl_tensor;
    target->data = exported->view->data;
    target->device_type = TLMI_DLPACK_CPU;
    target->ndim = exported->view->ndim;
    target->shape = exported->view->shape;
    target->strides = exported->view->strides;
    const tlmi_dtype_t *type = tlmi_dtype(tensor->dtype);
    target->dtype = (tlmi_dlpack_type_t){type->dlpack_code, type->dlpack_bits, 1};
    exported->managed.manager_ctx = exported;
    exported->managed.deleter = delete_exported;
    *out = &exported->managed;
    return TLM_OK;
}

/* ---- In ------------------------------------------------------------------------------ */

static tlm_status_t find_dtype(int32_t *dtype, tlmi_dlpack_type_t type)
{
    const tlmi_dtype_t *found = type.lanes == 1 ? tlmi_dtype_of_dlpack(type.code, type.bits) : NULL;

    if (found == NULL || !tlmi_dtype_is_public(found->code))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "tensor_from_dlpack: type code %d of %d bits and %d lanes is not "
                         "float32, bfloat16, float16, int32, int64, uint32 or bool",
                         type.code, type.bits, type.lanes);
    *dtype = found->code;
    return TLM_OK;
}

static void release_imported(void *user)
{
    struct DLManagedTensor *managed = user;
    if (managed->deleter != NULL)
        managed->deleter(managed);
}

tlm_status_t tlm_tensor_from_dlpack(tlm_tensor_t **out, struct DLManagedTensor *managed)
{
    TLMI_REQUIRE("tensor_from_dlpack", out);
    TLMI_REQUIRE("tensor_from_dlpack", managed);
    const tlmi_dlpack_tensor_t *source = &managed->dl_tensor;
    if (source->device_type != TLMI_DLPACK_CPU)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "tensor_from_dlpack: device type %d is not the CPU (%d)",
                         source->device_type, TLMI_DLPACK_CPU);
    int32_t dtype = -1;
    TLMI_TRY(find_dtype(&dtype, source->dtype));
    uintptr_t address = 0;
    if (source->data != NULL &&
        __builtin_add_overflow((uintptr_t)source->data, source->byte_offset, &address))
        return tlmi_fail(TLM_ERR_RANGE, "tensor_from_dlpack: byte offset %" PRIu64 " is too large",
                         source->byte_offset);
    return tlmi_tensor_wrap(out, "tensor_from_dlpack", dtype, (void *)address, source->shape,
                            source->strides, source->ndim, release_imported, managed);
}
