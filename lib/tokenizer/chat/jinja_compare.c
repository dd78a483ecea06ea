/* Comparisons of values. */
#include <string.h>

#include "tokenizer/chat/jinja.h"

static tlm_status_t equal(bool *out, tlmi_jinja_run_t *run, const tlmi_node_t *node,
                          const tlmi_value_t *a, const tlmi_value_t *b);

static tlm_status_t equal_lists(bool *out, tlmi_jinja_run_t *run, const tlmi_node_t *node,
                                const tlmi_list_t *a, const tlmi_list_t *b)
{
    *out = a->n == b->n && a->is_tuple == b->is_tuple;
    for (size_t i = 0; i < a->n && *out; i++)
        TLMI_TRY(equal(out, run, node, &a->items[i], &b->items[i]));
    return TLM_OK;
}

static tlm_status_t equal_maps(bool *out, tlmi_jinja_run_t *run, const tlmi_node_t *node,
                               const tlmi_map_t *a, const tlmi_map_t *b)
{
    *out = a->n == b->n;
    for (size_t i = 0; i < a->n && *out; i++) {
        const tlmi_value_t *other = tlmi_map_find_key(b, &run->arena, &a->members[i].key);

        *out = other != NULL;
        if (other != NULL)
            TLMI_TRY(equal(out, run, node, &a->members[i].value, other));
    }
    return TLM_OK;
}

/* A comparison of nested values is one of many steps, and as deep as they are. */
static tlm_status_t equal(bool *out, tlmi_jinja_run_t *run, const tlmi_node_t *node,
                          const tlmi_value_t *a, const tlmi_value_t *b)
{
    run->depth++;
    tlm_status_t status = tlmi_jinja_step(run, node);
    tlmi_jinja_charge(run, a);
    if (status == TLM_OK && a->type == TLMI_VALUE_LIST && b->type == TLMI_VALUE_LIST)
        status = equal_lists(out, run, node, a->as.list, b->as.list);
    else if (status == TLM_OK && a->type == TLMI_VALUE_MAP && b->type == TLMI_VALUE_MAP)
        status = equal_maps(out, run, node, a->as.map, b->as.map);
    else if (status == TLM_OK)
        *out = tlmi_value_same(a, b);
    run->depth--;
    return status;
}

static tlm_status_t contains(bool *out, tlmi_jinja_run_t *run, const tlmi_node_t *node,
                             const tlmi_value_t *part, const tlmi_value_t *whole)
{
    *out = false;
    switch (whole->type) {
    case TLMI_VALUE_UNDEFINED:
        return TLM_OK;
    case TLMI_VALUE_STRING:
        if (part->type != TLMI_VALUE_STRING)
            break;
        *out = tlmi_string_find(whole->as.string, part->as.string, 0) != SIZE_MAX;
        return TLM_OK;
    case TLMI_VALUE_LIST:
        for (size_t i = 0; i < whole->as.list->n && !*out; i++)
            TLMI_TRY(equal(out, run, node, &whole->as.list->items[i], part));
        return TLM_OK;
    case TLMI_VALUE_MAP:
        *out = tlmi_map_find_key(whole->as.map, &run->arena, part) != NULL;
        return TLM_OK;
    default:
        break;
    }
    return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "'in' of %s and %s",
                           tlmi_value_type_name(part), tlmi_value_type_name(whole));
}

/* Compares by order: negative, 0 or positive. */
static tlm_status_t order(int *out, const tlmi_node_t *node, const tlmi_value_t *a,
                          const tlmi_value_t *b)
{
    double x, y;

    if (a->type == TLMI_VALUE_INT && b->type == TLMI_VALUE_INT) {
        *out = a->as.integer < b->as.integer ? -1 : a->as.integer > b->as.integer;
        return TLM_OK;
    }
    if (tlmi_value_number(a, &x) && tlmi_value_number(b, &y)) {
        *out = x < y ? -1 : x > y;
        return TLM_OK;
    }
    if (a->type != TLMI_VALUE_STRING || b->type != TLMI_VALUE_STRING)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "%s and %s have no order",
                               tlmi_value_type_name(a), tlmi_value_type_name(b));
    size_t m = a->as.string->size, n = b->as.string->size;
    *out = memcmp(a->as.string->bytes, b->as.string->bytes, m < n ? m : n);
    if (*out == 0)
        *out = m < n ? -1 : m > n;
    return TLM_OK;
}

tlm_status_t tlmi_jinja_compare(bool *out, tlmi_jinja_run_t *run, const tlmi_node_t *node,
                                uint8_t op, const tlmi_value_t *a, const tlmi_value_t *b)
{
    int sign = 0;

    if (op == '=' || op == '!') {
        TLMI_TRY(equal(out, run, node, a, b));
        *out = *out == (op == '=');
        return TLM_OK;
    }
    if (op == 'i' || op == 'n') {
        TLMI_TRY(contains(out, run, node, a, b));
        *out = *out == (op == 'i');
        return TLM_OK;
    }
    TLMI_TRY(order(&sign, node, a, b));
    *out = op == '<' ? sign < 0 : op == '>' ? sign > 0 : op == 'l' ? sign <= 0 : sign >= 0;
    return TLM_OK;
}
