/* What the fuzz targets share: checks that stop the fuzzer, input taken apart, bytes as files. */
#ifndef TEST_FUZZ_SUPPORT_H
#define TEST_FUZZ_SUPPORT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tinylm/tinylm.h"

/* Called by libFuzzer, or by replay_main.c. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition,         \
                    tlm_error_message());                                                          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define FUZZ_OK(call) FUZZ_CHECK((call) == TLM_OK)

/* The input from its start on. */
typedef struct fuzz_input {
    const uint8_t *data;
    size_t size;
} fuzz_input_t;

/* The next byte, below `bound`; 0 behind the end. */
static inline size_t fuzz_take(fuzz_input_t *input, size_t bound)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++ % bound;
}

/* The next bytes, as many as there are of `size`, in a block of their own size. */
static inline tlm_bytes_t fuzz_take_bytes(fuzz_input_t *input, size_t size)
{
    size_t n = size < input->size ? size : input->size;
    uint8_t *bytes = malloc(n + (n == 0));

    FUZZ_CHECK(bytes != NULL);
    if (n > 0)
        memcpy(bytes, input->data, n);
    input->data += n;
    input->size -= n;
    return (tlm_bytes_t){bytes, n};
}

static inline void fuzz_free(tlm_bytes_t bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

static inline bool fuzz_same(const void *a, size_t a_size, const void *b, size_t b_size)
{
    return a_size == b_size && (a_size == 0 || memcmp(a, b, a_size) == 0);
}

/* Path of a file in memory with these bytes; one file for each slot below 2. */
static inline const char *fuzz_file(int slot, const void *bytes, size_t size)
{
    static int files[2];
    static char paths[2][64];

    if (files[slot] == 0) {
        files[slot] = memfd_create("fuzz", 0);
        FUZZ_CHECK(files[slot] > 0);
        snprintf(paths[slot], sizeof(paths[slot]), "/proc/self/fd/%d", files[slot]);
    }
    FUZZ_CHECK(ftruncate(files[slot], 0) == 0);
    FUZZ_CHECK(size == 0 || pwrite(files[slot], bytes, size, 0) == (ssize_t)size);
    return paths[slot];
}

#endif
