/* The DLPack structs that the library declares are laid out as those of DLPack's own header. */
#define DLManagedTensor          theirs
#define DLManagedTensorVersioned their_versioned
#include <dlpack/dlpack.h>
#undef DLManagedTensor
#undef DLManagedTensorVersioned

#include "tensor/dlpack.h"

#include <stdio.h>

#define SAME(field, their_type, our_type)                                                          \
    _Static_assert(offsetof(their_type, field) == offsetof(our_type, field) &&                     \
                       sizeof(((their_type *)0)->field) == sizeof(((our_type *)0)->field),         \
                   #their_type "." #field)

SAME(dl_tensor, struct theirs, struct DLManagedTensor);
SAME(manager_ctx, struct theirs, struct DLManagedTensor);
SAME(deleter, struct theirs, struct DLManagedTensor);
SAME(data, DLTensor, tlmi_dlpack_tensor_t);
SAME(ndim, DLTensor, tlmi_dlpack_tensor_t);
SAME(dtype, DLTensor, tlmi_dlpack_tensor_t);
SAME(shape, DLTensor, tlmi_dlpack_tensor_t);
SAME(strides, DLTensor, tlmi_dlpack_tensor_t);
SAME(byte_offset, DLTensor, tlmi_dlpack_tensor_t);
SAME(code, DLDataType, tlmi_dlpack_type_t);
SAME(bits, DLDataType, tlmi_dlpack_type_t);
SAME(lanes, DLDataType, tlmi_dlpack_type_t);
#if defined(DLPACK_MAJOR_VERSION) && DLPACK_MAJOR_VERSION >= 1
SAME(manager_ctx, struct their_versioned, struct DLManagedTensorVersioned);
SAME(deleter, struct their_versioned, struct DLManagedTensorVersioned);
SAME(flags, struct their_versioned, struct DLManagedTensorVersioned);
SAME(dl_tensor, struct their_versioned, struct DLManagedTensorVersioned);
#endif
_Static_assert(sizeof(struct theirs) == sizeof(struct DLManagedTensor), "size");
_Static_assert(sizeof(DLTensor) == sizeof(tlmi_dlpack_tensor_t), "size");
_Static_assert(sizeof(DLDevice) == 2 * sizeof(int32_t), "size");
_Static_assert(offsetof(DLTensor, device) == offsetof(tlmi_dlpack_tensor_t, device_type), "device");
_Static_assert(kDLCPU == (int)TLMI_DLPACK_CPU && kDLInt == (int)TLMI_DLPACK_INT &&
                   kDLUInt == (int)TLMI_DLPACK_UINT && kDLFloat == (int)TLMI_DLPACK_FLOAT,
               "codes");

int main(void)
{
    printf("as in DLPack's header, version %d\n", DLPACK_VERSION);
    return 0;
}
