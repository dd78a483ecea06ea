/* Headers of NumPy's .npy files, as far as token files need them: one dimension; uint16, uint32
 * or int64. Format: numpy.lib.format, versions 1.0, 2.0 and 3.0. */
#ifndef TLMI_NPY_H
#define TLMI_NPY_H

#include "tinylm/status.h"

typedef struct tlmi_npy_header {
    size_t data_offset; /* offset of the first element in the file */
    int32_t item_size;  /* little-endian: 2 or 4 bytes unsigned, 8 signed */
    uint64_t length;    /* number of elements; data_offset + length * item_size fits in 64 bits */
} tlmi_npy_header_t;

/* Reads the header at the start of `bytes`, which are the whole file `path` (used in messages).
 * Anything other than a one-dimensional array of one of these types is an error. */
tlm_status_t tlmi_npy_parse(tlmi_npy_header_t *out, const uint8_t *bytes, size_t size,
                            const char *path);

/* Writes a version 1.0 header of fixed size, so that the length can be filled in last. */
#define TLMI_NPY_HEADER_SIZE 128
void tlmi_npy_format(uint8_t header[TLMI_NPY_HEADER_SIZE], int32_t item_size, uint64_t length);

#endif
