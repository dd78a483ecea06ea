/* Export and import by DLPack: the same memory under another library's handle. An exported tensor
 * is a view outside any graph, kept alive until its consumer calls the deleter. An imported one is
 * wrapped memory whose release function calls the producer's deleter. */
#include <inttypes.h>

#include "tensor/dlpack.h"
#include "base/error.h"
#include "base/memory.h"
#include "tensor/tensor_core.h"

/* ---- Out ----------------------------------------------------------------------------- */

/* One of the two structs, according to the version that the consumer asked for. */
typedef struct exported {
    union {
        struct DLManagedTensor plain;
        struct DLManagedTensorVersioned versioned;
    } managed;          /* must be first: the consumer gets a pointer to it */
    tlm_tensor_t *view; /* owned; the consumer reads its shape and strides */
} exported_t;

static void delete_exported(exported_t *exported)
{
    if (exported == NULL)
        return;
    tlm_tensor_free(exported->view);
    tlmi_free(exported);
}

static void delete_plain(struct DLManagedTensor *managed)
{
    delete_exported((exported_t *)managed);
}

static void delete_versioned(struct DLManagedTensorVersioned *managed)
{
    delete_exported((exported_t *)managed);
}

static tlm_status_t create_exported(exported_t **out, const char *op, const tlm_tensor_t *tensor)
{
    TLMI_REQUIRE(op, tensor);
    TLMI_TRY(tlmi_check_elements(op, tensor));
    exported_t *exported = tlmi_calloc(1, sizeof(*exported), "DLPack tensor");
    if (exported == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = tlm_tensor_detach(&exported->view, tensor);
    if (status != TLM_OK) {
        tlmi_free(exported);
        return status;
    }
    *out = exported;
    return TLM_OK;
}

/* Not all consumers respect byte_offset, so it is always 0. */
static void describe(tlmi_dlpack_tensor_t *target, tlm_tensor_t *view)
{
    const tlmi_dtype_t *type = tlmi_dtype(view->dtype);

    target->data = view->data;
    target->device_type = TLMI_DLPACK_CPU;
    target->ndim = view->ndim;
    target->shape = view->shape;
    target->strides = view->strides;
    target->dtype = (tlmi_dlpack_type_t){type->dlpack_code, type->dlpack_bits, 1};
}

tlm_status_t tlm_tensor_to_dlpack(struct DLManagedTensor **out, const tlm_tensor_t *tensor)
{
    TLMI_REQUIRE("tensor_to_dlpack", out);
    exported_t *exported = NULL; /* GCC cannot see that it is set */
    TLMI_TRY(create_exported(&exported, "tensor_to_dlpack", tensor));
    struct DLManagedTensor *managed = &exported->managed.plain;
    describe(&managed->dl_tensor, exported->view);
    managed->manager_ctx = exported;
    managed->deleter = delete_plain;
    *out = managed;
    return TLM_OK;
}

tlm_status_t tlm_tensor_to_dlpack_versioned(struct DLManagedTensorVersioned **out,
                                            const tlm_tensor_t *tensor, bool is_copy)
{
    TLMI_REQUIRE("tensor_to_dlpack_versioned", out);
    exported_t *exported = NULL; /* GCC cannot see that it is set */
    TLMI_TRY(create_exported(&exported, "tensor_to_dlpack_versioned", tensor));
    struct DLManagedTensorVersioned *managed = &exported->managed.versioned;
    describe(&managed->dl_tensor, exported->view);
    managed->major = TLMI_DLPACK_MAJOR;
    managed->flags = is_copy ? TLMI_DLPACK_IS_COPIED : 0;
    managed->manager_ctx = exported;
    managed->deleter = delete_versioned;
    *out = managed;
    return TLM_OK;
}

/* ---- In ------------------------------------------------------------------------------ */

static tlm_status_t find_dtype(int32_t *dtype, const char *op, tlmi_dlpack_type_t type)
{
    const tlmi_dtype_t *found = type.lanes == 1 ? tlmi_dtype_of_dlpack(type.code, type.bits) : NULL;

    if (found == NULL || !tlmi_dtype_is_public(found->code))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: type code %d of %d bits and %d lanes is not float32, bfloat16, "
                         "float16, int32, int64, uint32 or bool",
                         op, type.code, type.bits, type.lanes);
    *dtype = found->code;
    return TLM_OK;
}

/* A tensor over the memory, which is given back through release(user). */
static tlm_status_t import_tensor(tlm_tensor_t **out, const char *op,
                                  const tlmi_dlpack_tensor_t *source, void (*release)(void *user),
                                  void *user)
{
    if (source->device_type != TLMI_DLPACK_CPU)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: device type %d is not the CPU (%d)", op,
                         source->device_type, TLMI_DLPACK_CPU);
    int32_t dtype = -1;
    TLMI_TRY(find_dtype(&dtype, op, source->dtype));
    uintptr_t address = 0;
    if (source->data != NULL &&
        __builtin_add_overflow((uintptr_t)source->data, source->byte_offset, &address))
        return tlmi_fail(TLM_ERR_RANGE, "%s: byte offset %" PRIu64 " is too large", op,
                         source->byte_offset);
    return tlmi_tensor_wrap(out, op, dtype, (void *)address, source->shape, source->strides,
                            source->ndim, release, user);
}

static void release_plain(void *user)
{
    struct DLManagedTensor *managed = user;
    if (managed->deleter != NULL)
        managed->deleter(managed);
}

static void release_versioned(void *user)
{
    struct DLManagedTensorVersioned *managed = user;
    if (managed->deleter != NULL)
        managed->deleter(managed);
}

tlm_status_t tlm_tensor_from_dlpack(tlm_tensor_t **out, struct DLManagedTensor *managed)
{
    TLMI_REQUIRE("tensor_from_dlpack", out);
    TLMI_REQUIRE("tensor_from_dlpack", managed);
    return import_tensor(out, "tensor_from_dlpack", &managed->dl_tensor, release_plain, managed);
}

tlm_status_t tlm_tensor_from_dlpack_versioned(tlm_tensor_t **out,
                                              struct DLManagedTensorVersioned *managed)
{
    const char *op = "tensor_from_dlpack_versioned";
    TLMI_REQUIRE(op, out);
    TLMI_REQUIRE(op, managed);
    if (managed->major != TLMI_DLPACK_MAJOR)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: DLPack %" PRIu32 ".%" PRIu32 " is not %d.x", op,
                         managed->major, managed->minor, TLMI_DLPACK_MAJOR);
    if ((managed->flags & TLMI_DLPACK_READ_ONLY) != 0)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the memory is read-only, and tensors may be written to: copy it", op);
    return import_tensor(out, op, &managed->dl_tensor, release_versioned, managed);
}
