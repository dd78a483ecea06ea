/* Versioned options structs: each opens with `size_t size`, its sizeof where the caller was
 * compiled. Fields are only ever added at the end, so a caller of any age and the library agree on
 * the fields that both know. */
#ifndef TLMI_OPTIONS_H
#define TLMI_OPTIONS_H

#include <string.h>

#include "base/error.h"

/* More than any options struct will ever hold: a larger `size` is uninitialised memory. */
#define TLMI_OPTIONS_MAX_SIZE ((size_t)4096)

/* Reads a caller's struct into `known`, the library's own of `known_size` bytes, which holds the
 * defaults. A caller with an older, smaller struct leaves the fields that it lacks at these
 * defaults; one with a newer, larger struct must have only zeros beyond what this library knows.
 * known->size keeps the library's size. On failure `known` is untouched. */
static inline tlm_status_t tlmi_options_read(const char *function, void *known, size_t known_size,
                                             const void *options)
{
    size_t size;

    TLMI_REQUIRE(function, options);
    memcpy(&size, options, sizeof(size));
    if (size < sizeof(size) || size % sizeof(size) != 0 || size > TLMI_OPTIONS_MAX_SIZE)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: options->size is %zu; it must be the size of the options struct, "
                         "%zu in this version",
                         function, size, known_size);
    for (size_t i = known_size; i < size; i++)
        if (((const unsigned char *)options)[i] != 0)
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "%s: options of %zu bytes set byte %zu, and this version knows %zu",
                             function, size, i, known_size);
    if (size > known_size)
        size = known_size;
    memcpy((unsigned char *)known + sizeof(size), (const unsigned char *)options + sizeof(size),
           size - sizeof(size));
    return TLM_OK;
}

/* Sets a caller's struct of `size` bytes to defaults; fields that the library does not know become
 * zero. NULL is fine. */
static inline void tlmi_options_init(void *options, size_t size, const void *defaults,
                                     size_t known_size)
{
    if (options == NULL || size < sizeof(size))
        return;
    if (size > known_size)
        memset((unsigned char *)options + known_size, 0, size - known_size);
    memcpy(options, defaults, size < known_size ? size : known_size);
    memcpy(options, &size, sizeof(size));
}

/* Defines tlm_TYPE_options_init_sized, which the header's macro tlm_TYPE_options_init calls with the
 * size that the caller knows; then come the defaults. */
#define TLMI_OPTIONS_INIT_SIZED(type, ...)                                                         \
    void tlm_##type##_options_init_sized(tlm_##type##_options_t *options, size_t size)             \
    {                                                                                              \
        static const tlm_##type##_options_t defaults = __VA_ARGS__;                                \
                                                                                                   \
        tlmi_options_init(options, size, &defaults, sizeof(defaults));                             \
    }

/* The same, and the function of the macro's name, which programs of version 0.1 call: their struct
 * ended behind last_field. */
#define TLMI_OPTIONS_INIT_FUNCTIONS(type, INIT, last_field)                                        \
    TLMI_OPTIONS_INIT_SIZED(type, INIT)                                                            \
    void(tlm_##type##_options_init)(tlm_##type##_options_t * options)                              \
    {                                                                                              \
        tlm_##type##_options_init_sized(options, offsetof(tlm_##type##_options_t, last_field) +    \
                                                     sizeof(options->last_field));                 \
    }

/* Whether a caller's struct, which the library is to fill, has a size that one can have. */
static inline tlm_status_t tlmi_options_check_out(const char *function, const void *out,
                                                  size_t known_size)
{
    size_t size;

    TLMI_REQUIRE(function, out);
    memcpy(&size, out, sizeof(size));
    if (size < sizeof(size) || size % sizeof(size) != 0 || size > TLMI_OPTIONS_MAX_SIZE)
        return tlmi_fail(
            TLM_ERR_INVALID_ARGUMENT,
            "%s: out->size is %zu; set it to the size of the struct, %zu in this version", function,
            size, known_size);
    return TLM_OK;
}

/* The other way: fills a caller's struct, whose `size` the caller has set, from the library's;
 * fields that the library does not know become zero. */
static inline tlm_status_t tlmi_options_write(const char *function, void *out, const void *known,
                                              size_t known_size)
{
    size_t size;

    TLMI_TRY(tlmi_options_check_out(function, out, known_size));
    memcpy(&size, out, sizeof(size));
    if (size > known_size)
        memset((unsigned char *)out + known_size, 0, size - known_size);
    else
        known_size = size;
    memcpy((unsigned char *)out + sizeof(size), (const unsigned char *)known + sizeof(size),
           known_size - sizeof(size));
    return TLM_OK;
}

#endif
