/* Any .npy file: a header that is accepted tells the truth about the bytes behind it. */
#include "fuzz_support.h"
#include "formats/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[TLMI_NPY_HEADER_SIZE];
    tlmi_npy_header_t header, again;

    if (tlmi_npy_parse(&header, data, size, "fuzz.npy") != TLM_OK) {
        FUZZ_CHECK(tlm_error_message()[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(header.item_size == 2 || header.item_size == 4 || header.item_size == 8);
    FUZZ_CHECK(header.data_offset <= size);
    FUZZ_CHECK(header.length == (size - header.data_offset) / (size_t)header.item_size);
    FUZZ_CHECK((size - header.data_offset) % (size_t)header.item_size == 0);
    if (header.length == 0) { /* a written header reads back */
        tlmi_npy_format(bytes, header.item_size, 0);
        FUZZ_OK(tlmi_npy_parse(&again, bytes, sizeof(bytes), "fuzz.npy"));
        FUZZ_CHECK(again.item_size == header.item_size && again.length == 0);
    }
    return 0;
}
