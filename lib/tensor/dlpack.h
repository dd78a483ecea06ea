/* The structs of DLPack (https://dmlc.github.io/dlpack), whose C ABI has been stable since version
 * 0.2: numpy, PyTorch, JAX and others exchange them in capsules named "dltensor". They are declared
 * here so that neither the library nor its users need the package; tests/abi compares them with its
 * header where that is installed. */
#ifndef TLMI_DLPACK_H
#define TLMI_DLPACK_H

#include "base/dtype.h"
#include "tinylm/tensor.h"

enum { TLMI_DLPACK_CPU = 1 }; /* device type */

typedef struct tlmi_dlpack_type {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} tlmi_dlpack_type_t;

typedef struct tlmi_dlpack_tensor {
    void *data;
    int32_t device_type; /* an enum in dlpack.h */
    int32_t device_id;
    int32_t ndim;
    tlmi_dlpack_type_t dtype;
    int64_t *shape;
    int64_t *strides;     /* in elements; NULL: row-major */
    uint64_t byte_offset; /* from data to the first element */
} tlmi_dlpack_tensor_t;

struct DLManagedTensor {
    tlmi_dlpack_tensor_t dl_tensor;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensor *self); /* may be NULL */
};

/* Since version 1.0. */
enum { TLMI_DLPACK_MAJOR = 1, TLMI_DLPACK_READ_ONLY = 1, TLMI_DLPACK_IS_COPIED = 2 };

struct DLManagedTensorVersioned {
    uint32_t major, minor; /* a struct of two in dlpack.h */
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self); /* may be NULL */
    uint64_t flags;
    tlmi_dlpack_tensor_t dl_tensor;
};

#endif
