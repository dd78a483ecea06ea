/* Encoding one text into an array, with or without options, and counting its ids. */
#include "tokenizer/encode.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define LARGE_ARRAY ((size_t)1 << 19) /* ids; arrays at least this large use huge pages */

/* Reserves one id for every two bytes, which is enough for nearly all texts. Growing the array
 * would copy it, and pages that are never written take no physical memory. */
static bool reserve_ids(tlmi_id_list_t *list, size_t text_size)
{
    size_t expected = text_size / 2 + 64;

    if (expected < LARGE_ARRAY)
        list->ids = tlmi_alloc(expected, sizeof(*list->ids), "token ids");
    else
        list->ids = tlmi_alloc_aligned(expected, sizeof(*list->ids), "token ids");
    list->capacity = list->ids != NULL ? expected : 0;
    return list->ids != NULL;
}

static tlm_status_t encode_to_array(uint32_t **ids, size_t *n, const tlmi_encode_plan_t *plan,
                                    const void *data, size_t size)
{
    tlm_bytes_t text = {data, size};
    tlmi_id_list_t list = {0};
    tlmi_id_sink_t sink = {.list = &list};

    if (!reserve_ids(&list, size))
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = tlmi_encode_texts(plan, &text, 1, &sink);
    size_t offsets[2] = {0, list.n};
    if (status == TLM_OK)
        status = tlmi_limit_rows(&list, offsets, 1, plan);
    if (status != TLM_OK || list.n == 0)
        tlmi_id_list_release(&list);
    if (status != TLM_OK)
        return status;
    if (list.n > 0)
        tlmi_id_list_fit(&list);
    *ids = list.ids;
    *n = list.n;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_encode(uint32_t **ids, size_t *n, const tlm_tokenizer_t *tokenizer,
                                  const void *text, size_t size)
{
    TLMI_REQUIRE("tokenizer_encode", ids);
    TLMI_REQUIRE("tokenizer_encode", n);
    TLMI_REQUIRE("tokenizer_encode", tokenizer);
    if (size > 0)
        TLMI_REQUIRE("tokenizer_encode", text);
    tlmi_encode_plan_t plan;
    tlmi_encode_plan_init_default(&plan, "tokenizer_encode", tokenizer);
    return encode_to_array(ids, n, &plan, text, size);
}

tlm_status_t tlm_tokenizer_encode_with(uint32_t **ids, size_t *n, const tlm_tokenizer_t *tokenizer,
                                       const void *text, size_t size,
                                       const tlm_encode_options_t *options)
{
    TLMI_REQUIRE("tokenizer_encode_with", ids);
    TLMI_REQUIRE("tokenizer_encode_with", n);
    TLMI_REQUIRE("tokenizer_encode_with", tokenizer);
    if (size > 0)
        TLMI_REQUIRE("tokenizer_encode_with", text);
    tlmi_encode_plan_t plan;
    TLMI_TRY(tlmi_encode_plan_init(&plan, "tokenizer_encode_with", tokenizer, options));
    tlm_status_t status = encode_to_array(ids, n, &plan, text, size);
    tlmi_encode_plan_release(&plan);
    return status;
}

/* The caller's array. Without one, ids are only counted. */
typedef struct target {
    uint32_t *ids;
    size_t capacity, n; /* n may exceed the capacity */
} target_t;

static tlm_status_t fill_target(void *context, const uint32_t *ids, size_t n)
{
    target_t *target = context;
    size_t room = target->n < target->capacity ? target->capacity - target->n : 0;

    if (room > 0)
        memcpy(target->ids + target->n, ids, (n < room ? n : room) * sizeof(*ids));
    target->n += n;
    return TLM_OK;
}

/* Limits apply to whole rows, so these are encoded first. */
static tlm_status_t encode_limited(target_t *target, const tlmi_encode_plan_t *plan,
                                   const void *text, size_t size)
{
    uint32_t *ids;
    size_t n;

    TLMI_TRY(encode_to_array(&ids, &n, plan, text, size));
    if (n > 0) {
        (void)fill_target(target, ids, n);
        tlmi_free(ids);
    }
    return TLM_OK;
}

static tlm_status_t encode_to_target(target_t *target, const char *function,
                                     const tlm_tokenizer_t *tokenizer, const void *data,
                                     size_t size)
{
    TLMI_REQUIRE(function, tokenizer);
    if (size > 0 && data == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: text is NULL", function);
    tlmi_encode_plan_t plan;
    tlmi_encode_plan_init_default(&plan, function, tokenizer);
    if (plan.limits != NULL)
        return encode_limited(target, &plan, data, size);
    tlm_bytes_t text = {data, size};
    tlmi_id_sink_t sink = {.take = fill_target, .context = target};
    return tlmi_encode_texts(&plan, &text, 1, &sink);
}

tlm_status_t tlm_tokenizer_encode_into(uint32_t *ids, size_t capacity, size_t *n,
                                       const tlm_tokenizer_t *tokenizer, const void *data,
                                       size_t size)
{
    target_t target = {ids, capacity, 0};

    if (capacity > 0)
        TLMI_REQUIRE("tokenizer_encode_into", ids);
    TLMI_REQUIRE("tokenizer_encode_into", n);
    TLMI_TRY(encode_to_target(&target, "tokenizer_encode_into", tokenizer, data, size));
    *n = target.n;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_count(uint64_t *n, const tlm_tokenizer_t *tokenizer, const void *data,
                                 size_t size)
{
    target_t target = {0};

    TLMI_REQUIRE("tokenizer_count", n);
    TLMI_TRY(encode_to_target(&target, "tokenizer_count", tokenizer, data, size));
    *n = target.n;
    return TLM_OK;
}
