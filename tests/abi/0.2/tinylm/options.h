/* How structs that cross the boundary begin: options, and results that the caller has room for.
 *
 * Each begins with `size_t size`, the sizeof where the caller was compiled, and grows only at its
 * end. Begin with the struct's INIT macro, or where there are no macros with tlm_options_init; then
 * set fields. 0 is the default of a field unless its comment says otherwise. A smaller struct than
 * this library knows leaves the fields that it lacks at their defaults; a larger one must have only
 * zeros after those. Fields called `reserved` must be 0. Anything else is
 * TLM_ERR_INVALID_ARGUMENT, which names the field or the byte. */
#ifndef TINYLM_OPTIONS_H
#define TINYLM_OPTIONS_H

#include "status.h"

/* The initial value of a struct whose defaults are all 0. C++17 has no designated initializers. */
#ifdef __cplusplus
extern "C++" {
template <typename T> constexpr T tlm_sized() noexcept
{
    T value{};
    value.size = sizeof(T);
    return value;
}
}
#define TLM_SIZED(type) tlm_sized<type>()
#else
#define TLM_SIZED(type)                                                                            \
    {                                                                                              \
        .size = sizeof(type)                                                                       \
    }
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** As a target of tlm_model_loss: the loss does not count it. It is no id, since vocabularies end
 *  below it. @since 0.2 */
#define TLM_IGNORED_TARGET UINT32_MAX

/** Sets `size` bytes at `options` to what the INIT macro of `type` holds, for languages without
 *  macros. `type` is the struct's name in C, such as "tlm_model_options_t"; `size` is its size
 *  where the caller was compiled. Fields that this library does not know become 0.
 *  TLM_ERR_INVALID_ARGUMENT for a type that does not exist or a size that no struct has.
 *  Thread-safe. @since 0.2 */
TLM_API tlm_status_t tlm_options_init(void *options, size_t size, const char *type);

#ifdef __cplusplus
}
#endif
#endif
