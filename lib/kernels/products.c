/* How linear layers take the factors of their products: a setting of each thread. */
#include "base/cpu.h"
#include "base/error.h"
#include "kernels/gemm.h"

static _Thread_local int32_t products_in_use = TLM_PRODUCTS_FLOAT32;

tlm_status_t tlmi_products_check(const char *function, int32_t products)
{
    if (products < TLM_PRODUCTS_FLOAT32 || products > TLM_PRODUCTS_BFLOAT16_EMULATED)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: products %d is not in 0 .. %d", function,
                         (int)products, TLM_PRODUCTS_BFLOAT16_EMULATED);
    if (products == TLM_PRODUCTS_BFLOAT16 &&
        !tlmi_has_features(tlm_cpu_features(), TLMI_NEEDS_BF16))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: this CPU multiplies no bfloat16: it lacks AVX512-BF16 or ARM's BF16, "
                         "or that is switched off",
                         function);
    return TLM_OK;
}

tlm_status_t tlm_set_products(int32_t products)
{
    TLMI_TRY(tlmi_products_check("set_products", products));
    products_in_use = products;
    return TLM_OK;
}

int32_t tlm_products(void)
{
    return products_in_use;
}

int32_t tlmi_products_swap(int32_t products)
{
    const int32_t former = products_in_use;

    products_in_use = products;
    return former;
}
