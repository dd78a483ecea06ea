/* Any safetensors file: what the reader accepts can be read to its last byte. */
#include "fuzz_support.h"
#include "formats/safetensors.h"

/* Where read bytes go, so that the reads stay. */
static volatile uint8_t sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(0, data, size);
    tlmi_safetensors_t file;

    memset(&file, 0, sizeof(file));
    if (tlmi_safetensors_open(&file, path) != TLM_OK) {
        FUZZ_CHECK(file.tensors == NULL && tlm_error_message()[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < file.num_tensors; i++) {
        const tlmi_st_tensor_t *tensor = &file.tensors[i];
        const uint8_t *bytes = tensor->data;

        FUZZ_CHECK(tensor->ndim >= 0 && tensor->ndim <= TLM_MAX_DIMS);
        FUZZ_CHECK(tensor->name[0] != '\0' && tensor->dtype[0] != '\0');
        for (int32_t k = 0; k < tensor->ndim; k++)
            FUZZ_CHECK(tensor->shape[k] >= 0);
        for (size_t k = 0; k < tensor->bytes; k++)
            sink = bytes[k];
        FUZZ_CHECK(tlmi_safetensors_find(&file, tensor->name) == tensor);
    }
    tlmi_safetensors_metadata(&file, "format");
    tlmi_safetensors_verify(&file, path);
    tlmi_safetensors_close(&file);
    return 0;
}
