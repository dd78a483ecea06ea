/* Evaluates expressions. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tokenizer/chat/jinja.h"

/* ---- Names ---- */

static void find_variable(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name)
{
    run->arena.steps += run->num_bindings / TLMI_JINJA_STEP_MEMBERS;
    for (size_t i = run->num_bindings; i > 0; i--) {
        if (i == run->hidden && run->hidden > run->root)
            i = run->root;
        if (i > 0 && strcmp(run->bindings[i - 1].name, name) == 0) {
            *out = run->bindings[i - 1].value;
            return;
        }
        if (i == 0)
            break;
    }
    *out = tlmi_jinja_has_function(name) ? TLMI_VALUE(FUNCTION, name, name) : TLMI_UNDEFINED(name);
}

/* ---- Attributes, items, slices ---- */

static tlm_status_t loop_attribute(tlmi_value_t *out, int line, const tlmi_loop_t *loop,
                                   const char *name)
{
    int64_t index = (int64_t)loop->index, n = (int64_t)loop->n;

    if (strcmp(name, "index") == 0)
        *out = TLMI_INT(index + 1);
    else if (strcmp(name, "index0") == 0)
        *out = TLMI_INT(index);
    else if (strcmp(name, "revindex") == 0)
        *out = TLMI_INT(n - index);
    else if (strcmp(name, "revindex0") == 0)
        *out = TLMI_INT(n - index - 1);
    else if (strcmp(name, "length") == 0)
        *out = TLMI_INT(n);
    else if (strcmp(name, "first") == 0)
        *out = TLMI_BOOL(index == 0);
    else if (strcmp(name, "last") == 0)
        *out = TLMI_BOOL(index + 1 == n);
    else if (strcmp(name, "previtem") == 0)
        *out = index > 0 ? loop->items[index - 1] : TLMI_UNDEFINED("loop.previtem");
    else if (strcmp(name, "nextitem") == 0)
        *out = index + 1 < n ? loop->items[index + 1] : TLMI_UNDEFINED("loop.nextitem");
    else
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, line, "loop.%.40s is not supported", name);
    return TLM_OK;
}

static tlm_status_t fail_undefined(int line, const tlmi_value_t *object)
{
    return tlmi_jinja_fail(TLM_ERR_FORMAT, line, "'%.60s' is undefined", object->as.name);
}

/* What was found in a map, which may be NULL. */
static void take_member(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_map_t *map,
                        const tlmi_value_t *found)
{
    if (map->message >= 0)
        run->message = map->message;
    *out = found != NULL ? *found : TLMI_UNDEFINED("a member that is not there");
}

tlm_status_t tlmi_jinja_attribute(tlmi_value_t *out, tlmi_jinja_run_t *run, int line,
                                  const tlmi_value_t *object, const char *name)
{
    switch (object->type) {
    case TLMI_VALUE_UNDEFINED:
        return fail_undefined(line, object);
    case TLMI_VALUE_LOOP:
        return loop_attribute(out, line, object->as.loop, name);
    case TLMI_VALUE_MAP:
    case TLMI_VALUE_NAMESPACE:
        take_member(out, run, object->as.map, tlmi_map_find(object->as.map, &run->arena, name));
        if (out->type == TLMI_VALUE_UNDEFINED)
            out->as.name = name;
        return TLM_OK;
    default:
        *out = TLMI_UNDEFINED(name);
        return TLM_OK;
    }
}

/* The position of item `index` among n, which counts from the end if it is negative. */
static bool find_position(size_t *out, const tlmi_value_t *index, int64_t n)
{
    int64_t at = index->type == TLMI_VALUE_BOOL ? index->as.truth : index->as.integer;

    if (index->type != TLMI_VALUE_INT && index->type != TLMI_VALUE_BOOL)
        return false;
    at += at < 0 ? n : 0;
    *out = (size_t)at;
    return at >= 0 && at < n;
}

tlm_status_t tlmi_jinja_item(tlmi_value_t *out, tlmi_jinja_run_t *run, int line,
                             const tlmi_value_t *object, const tlmi_value_t *index)
{
    size_t at;

    *out = TLMI_UNDEFINED("an item that is not there");
    if (object->type == TLMI_VALUE_UNDEFINED)
        return fail_undefined(line, object);
    if (object->type == TLMI_VALUE_LIST) {
        if (find_position(&at, index, (int64_t)object->as.list->n))
            *out = object->as.list->items[at];
        return TLM_OK;
    }
    if (object->type == TLMI_VALUE_STRING && index->type != TLMI_VALUE_STRING) {
        const tlmi_string_t *string = object->as.string;

        run->arena.steps += string->size / TLMI_JINJA_STEP_CHARACTERS;
        if (!find_position(&at, index, tlmi_string_length(string)))
            return TLM_OK;
        return tlmi_string_part(out, &run->arena, string, tlmi_string_offset(string, (int64_t)at),
                                tlmi_string_offset(string, (int64_t)at + 1));
    }
    if (object->type == TLMI_VALUE_MAP || object->type == TLMI_VALUE_NAMESPACE)
        take_member(out, run, object->as.map,
                    tlmi_map_find_key(object->as.map, &run->arena, index));
    else if (object->type == TLMI_VALUE_LOOP && index->type == TLMI_VALUE_STRING)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, line, "loop[...] is not supported");
    return TLM_OK;
}

/* A bound of a slice of n items, as Python clips it. */
static tlm_status_t slice_bound(int64_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node,
                                int64_t n, int64_t missing, bool backward)
{
    tlmi_value_t value = TLMI_NONE;

    if (node != NULL)
        TLMI_TRY(tlmi_jinja_expression(&value, run, node));
    if (value.type == TLMI_VALUE_NONE) {
        *out = missing;
        return TLM_OK;
    }
    if (value.type != TLMI_VALUE_INT)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "a bound of a slice is %s",
                               tlmi_value_type_name(&value));
    int64_t at = value.as.integer, least = backward ? -1 : 0, most = backward ? n - 1 : n;
    if (at < 0)
        at = at < -n ? -1 : at + n;
    *out = at < least ? least : at > most ? most : at;
    return TLM_OK;
}

static tlm_status_t slice_step(int64_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    tlmi_value_t value = TLMI_INT(1);

    if (node->kids[3] != NULL)
        TLMI_TRY(tlmi_jinja_expression(&value, run, node->kids[3]));
    if (value.type != TLMI_VALUE_INT || value.as.integer == 0)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "the step of a slice is not possible");
    *out = value.as.integer;
    return TLM_OK;
}

static tlm_status_t slice_list(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_list_t *list,
                               int64_t start, int64_t stop, int64_t step)
{
    int64_t gap = step > 0 ? stop - start : start - stop;
    uint64_t size = step > 0 ? (uint64_t)step : -(uint64_t)step;
    size_t n = gap > 0 ? (size_t)((uint64_t)(gap - 1) / size) + 1 : 0;

    TLMI_TRY(tlmi_list_make(out, &run->arena, NULL, n));
    for (size_t i = 0; i < n; i++)
        out->as.list->items[i] = list->items[start + (int64_t)i * step];
    return TLM_OK;
}

static tlm_status_t slice_string(tlmi_value_t *out, tlmi_jinja_run_t *run,
                                 const tlmi_string_t *string, int64_t start, int64_t stop,
                                 int64_t step, int line)
{
    if (step != 1)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, line,
                               "a slice of a string with a step is not supported");
    run->arena.steps += string->size / TLMI_JINJA_STEP_CHARACTERS;
    stop = stop < start ? start : stop;
    return tlmi_string_part(out, &run->arena, string, tlmi_string_offset(string, start),
                            tlmi_string_offset(string, stop));
}

static tlm_status_t eval_slice(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    int64_t n, start = 0, stop = 0, step = 1;
    tlmi_value_t object;

    TLMI_TRY(tlmi_jinja_expression(&object, run, node->kids[0]));
    if (object.type == TLMI_VALUE_LIST)
        n = (int64_t)object.as.list->n;
    else if (object.type == TLMI_VALUE_STRING)
        n = tlmi_string_length(object.as.string);
    else
        return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "a slice of %s",
                               tlmi_value_type_name(&object));
    TLMI_TRY(slice_step(&step, run, node));
    TLMI_TRY(slice_bound(&start, run, node->kids[1], n, step < 0 ? n - 1 : 0, step < 0));
    TLMI_TRY(slice_bound(&stop, run, node->kids[2], n, step < 0 ? -1 : n, step < 0));
    if (object.type == TLMI_VALUE_LIST)
        return slice_list(out, run, object.as.list, start, stop, step);
    return slice_string(out, run, object.as.string, start, stop, step, node->line);
}

/* ---- Operators ---- */

/* a < b < c, which evaluates each of them once. */
static tlm_status_t eval_chain(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    bool holds = true;
    tlmi_value_t a, b;

    TLMI_TRY(tlmi_jinja_expression(&a, run, node->kids[0]));
    for (size_t i = 1; i < node->num_kids && holds; i++, a = b) {
        TLMI_TRY(tlmi_jinja_expression(&b, run, node->kids[i]));
        TLMI_TRY(tlmi_jinja_compare(&holds, run, node, (uint8_t)node->names[i][0], &a, &b));
    }
    *out = TLMI_BOOL(holds);
    return TLM_OK;
}

static tlm_status_t concat(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_value_t *a,
                           const tlmi_value_t *b)
{
    tlmi_builder_t builder = {.arena = &run->arena};
    tlm_status_t status = tlmi_builder_add_value(&builder, a);

    if (status == TLM_OK)
        status = tlmi_builder_add_value(&builder, b);
    if (status == TLM_OK)
        status = tlmi_builder_finish(out, &builder);
    tlmi_builder_release(&builder);
    return status;
}

static tlm_status_t concat_lists(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_list_t *a,
                                 const tlmi_list_t *b)
{
    TLMI_TRY(tlmi_list_make(out, &run->arena, NULL, a->n + b->n));
    memcpy(out->as.list->items, a->items, a->n * sizeof(*a->items));
    memcpy(out->as.list->items + a->n, b->items, b->n * sizeof(*b->items));
    return TLM_OK;
}

static bool to_int(const tlmi_value_t *value, int64_t *out)
{
    if (value->type == TLMI_VALUE_INT)
        *out = value->as.integer;
    else if (value->type == TLMI_VALUE_BOOL)
        *out = value->as.truth;
    else
        return false;
    return true;
}

static tlm_status_t divide_ints(int64_t *out, const tlmi_node_t *node, int64_t a, int64_t b)
{
    if (b == 0 || (a == INT64_MIN && b == -1))
        return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "%" PRId64 " divided by %" PRId64, a, b);
    int64_t rest = a % b, whole = a / b;
    if (rest != 0 && (rest < 0) != (b < 0)) { /* Python rounds down */
        rest += b;
        whole--;
    }
    *out = node->op == '%' ? rest : whole;
    return TLM_OK;
}

static tlm_status_t binary_ints(tlmi_value_t *out, const tlmi_node_t *node, int64_t a, int64_t b)
{
    int64_t result = 0;
    bool overflows = false;

    if (node->op == '+')
        overflows = __builtin_add_overflow(a, b, &result);
    else if (node->op == '-')
        overflows = __builtin_sub_overflow(a, b, &result);
    else if (node->op == '*')
        overflows = __builtin_mul_overflow(a, b, &result);
    else
        TLMI_TRY(divide_ints(&result, node, a, b));
    if (overflows)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, node->line, "an integer has more than 64 bits");
    *out = TLMI_INT(result);
    return TLM_OK;
}

static tlm_status_t binary_reals(tlmi_value_t *out, const tlmi_node_t *node, double a, double b)
{
    if ((node->op == '/' || node->op == '%' || node->op == 'd') && b == 0.0)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "division by zero");
    if (node->op == '+')
        *out = TLMI_VALUE(REAL, real, a + b);
    else if (node->op == '-')
        *out = TLMI_VALUE(REAL, real, a - b);
    else if (node->op == '*')
        *out = TLMI_VALUE(REAL, real, a * b);
    else if (node->op == '/')
        *out = TLMI_VALUE(REAL, real, a / b);
    else if (node->op == 'd')
        *out = TLMI_VALUE(REAL, real, floor(a / b));
    else
        *out = TLMI_VALUE(REAL, real, a - b * floor(a / b));
    return TLM_OK;
}

tlm_status_t tlmi_jinja_binary(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node,
                               const tlmi_value_t *a, const tlmi_value_t *b)
{
    int64_t i, j;
    double x, y;

    if (node->op == '~')
        return concat(out, run, a, b);
    if (node->op == '+' && a->type == TLMI_VALUE_STRING && b->type == TLMI_VALUE_STRING)
        return concat(out, run, a, b);
    if (node->op == '+' && a->type == TLMI_VALUE_LIST && b->type == TLMI_VALUE_LIST)
        return concat_lists(out, run, a->as.list, b->as.list);
    if (node->op != '/' && node->op != 'p' && to_int(a, &i) && to_int(b, &j))
        return binary_ints(out, node, i, j);
    if (node->op != 'p' && tlmi_value_number(a, &x) && tlmi_value_number(b, &y))
        return binary_reals(out, node, x, y);
    if (a->type == TLMI_VALUE_UNDEFINED || b->type == TLMI_VALUE_UNDEFINED)
        return fail_undefined(node->line, a->type == TLMI_VALUE_UNDEFINED ? a : b);
    return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, node->line, "'%s' of %s and %s is not supported",
                           node->op == 'd'   ? "//"
                           : node->op == 'p' ? "**"
                                             : (char[]){(char)node->op, '\0'},
                           tlmi_value_type_name(a), tlmi_value_type_name(b));
}

static tlm_status_t eval_sign(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    const tlmi_value_t zero = TLMI_INT(0);
    tlmi_value_t value;
    double number;

    TLMI_TRY(tlmi_jinja_expression(&value, run, node->kids[0]));
    if (!tlmi_value_number(&value, &number))
        return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "'%c' of %s", node->op,
                               tlmi_value_type_name(&value));
    return tlmi_jinja_binary(out, run, node, &zero, &value);
}

/* ---- Literals and calls ---- */

static tlm_status_t eval_list(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    tlmi_list_t *list;

    TLMI_TRY(tlmi_list_make(out, &run->arena, NULL, node->num_kids));
    list = (tlmi_list_t *)out->as.list;
    list->is_tuple = node->op == ',';
    for (size_t i = 0; i < node->num_kids; i++)
        TLMI_TRY(tlmi_jinja_expression(&list->items[i], run, node->kids[i]));
    return TLM_OK;
}

static tlm_status_t eval_dict(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    TLMI_TRY(tlmi_map_make(out, &run->arena, node->num_kids / 2));
    for (size_t i = 0; i < node->num_kids; i += 2) {
        tlmi_value_t key, value;

        TLMI_TRY(tlmi_jinja_expression(&key, run, node->kids[i]));
        TLMI_TRY(tlmi_jinja_expression(&value, run, node->kids[i + 1]));
        if (key.type == TLMI_VALUE_LIST || key.type == TLMI_VALUE_MAP)
            return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, node->line,
                                   "a key that is %s is not supported", tlmi_value_type_name(&key));
        TLMI_TRY(tlmi_map_set(out->as.map, &run->arena, &key, &value));
    }
    return TLM_OK;
}

/* Evaluates the arguments behind the first kid of a node. */
static tlm_status_t eval_args(tlmi_args_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    *out = (tlmi_args_t){.node = node, .n = node->num_kids - 1};
    out->values = tlmi_arena_alloc(&run->arena, out->n, sizeof(*out->values));
    out->names = node->names + 1;
    if (out->values == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < out->n; i++)
        TLMI_TRY(tlmi_jinja_expression(&out->values[i], run, node->kids[i + 1]));
    return TLM_OK;
}

static tlm_status_t eval_call(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    const tlmi_node_t *callee = node->kids[0];
    tlmi_value_t object;
    tlmi_args_t args;

    if (callee->type == TLMI_NODE_ATTRIBUTE) {
        TLMI_TRY(tlmi_jinja_expression(&object, run, callee->kids[0]));
        TLMI_TRY(eval_args(&args, run, node));
        if (object.type == TLMI_VALUE_UNDEFINED)
            return fail_undefined(node->line, &object);
        return tlmi_jinja_call_method(out, run, &object, callee->name, &args);
    }
    TLMI_TRY(tlmi_jinja_expression(&object, run, callee));
    TLMI_TRY(eval_args(&args, run, node));
    if (object.type == TLMI_VALUE_FUNCTION)
        return tlmi_jinja_call_function(out, run, object.as.name, &args);
    if (object.type == TLMI_VALUE_MACRO)
        return tlmi_jinja_call_macro(out, run, object.as.macro, &args);
    if (object.type == TLMI_VALUE_UNDEFINED)
        return fail_undefined(node->line, &object);
    return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "a call of %s",
                           tlmi_value_type_name(&object));
}

static tlm_status_t eval_named(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    tlmi_value_t object;
    tlmi_args_t args;
    bool holds;

    TLMI_TRY(tlmi_jinja_expression(&object, run, node->kids[0]));
    TLMI_TRY(eval_args(&args, run, node));
    if (node->type == TLMI_NODE_FILTER)
        return tlmi_jinja_call_filter(out, run, node->name, &object, &args);
    TLMI_TRY(tlmi_jinja_call_test(&holds, run, node->name, &object, &args));
    *out = TLMI_BOOL(holds);
    return TLM_OK;
}

/* ---- All expressions ---- */

static tlm_status_t eval_cond(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    tlmi_value_t test;

    TLMI_TRY(tlmi_jinja_expression(&test, run, node->kids[1]));
    if (tlmi_value_truth(&test))
        return tlmi_jinja_expression(out, run, node->kids[0]);
    if (node->kids[2] != NULL)
        return tlmi_jinja_expression(out, run, node->kids[2]);
    *out = TLMI_UNDEFINED("the else of an inline if");
    return TLM_OK;
}

/* `and` and `or` give one of their operands. */
static tlm_status_t eval_logic(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    TLMI_TRY(tlmi_jinja_expression(out, run, node->kids[0]));
    if (tlmi_value_truth(out) == (node->type == TLMI_NODE_OR))
        return TLM_OK;
    return tlmi_jinja_expression(out, run, node->kids[1]);
}

static tlm_status_t eval_two(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    tlmi_value_t a, b;
    bool holds;

    TLMI_TRY(tlmi_jinja_expression(&a, run, node->kids[0]));
    TLMI_TRY(tlmi_jinja_expression(&b, run, node->kids[1]));
    if (node->type == TLMI_NODE_BINARY)
        return tlmi_jinja_binary(out, run, node, &a, &b);
    if (node->type == TLMI_NODE_ITEM)
        return tlmi_jinja_item(out, run, node->line, &a, &b);
    TLMI_TRY(tlmi_jinja_compare(&holds, run, node, node->op, &a, &b));
    *out = TLMI_BOOL(holds);
    return TLM_OK;
}

static tlm_status_t eval_one(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    tlmi_value_t value;

    TLMI_TRY(tlmi_jinja_expression(&value, run, node->kids[0]));
    if (node->type == TLMI_NODE_ATTRIBUTE)
        return tlmi_jinja_attribute(out, run, node->line, &value, node->name);
    *out = TLMI_BOOL(!tlmi_value_truth(&value));
    return TLM_OK;
}

static tlm_status_t eval(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    switch (node->type) {
    case TLMI_NODE_CONST:
        *out = node->value;
        return TLM_OK;
    case TLMI_NODE_NAME:
        find_variable(out, run, node->name);
        return TLM_OK;
    case TLMI_NODE_LIST:
        return eval_list(out, run, node);
    case TLMI_NODE_DICT:
        return eval_dict(out, run, node);
    case TLMI_NODE_COND:
        return eval_cond(out, run, node);
    case TLMI_NODE_OR:
    case TLMI_NODE_AND:
        return eval_logic(out, run, node);
    case TLMI_NODE_NOT:
    case TLMI_NODE_ATTRIBUTE:
        return eval_one(out, run, node);
    case TLMI_NODE_COMPARE:
    case TLMI_NODE_BINARY:
    case TLMI_NODE_ITEM:
        return eval_two(out, run, node);
    case TLMI_NODE_CHAIN:
        return eval_chain(out, run, node);
    case TLMI_NODE_SIGN:
        return eval_sign(out, run, node);
    case TLMI_NODE_SLICE:
        return eval_slice(out, run, node);
    case TLMI_NODE_CALL:
        return eval_call(out, run, node);
    default: /* filters and tests */
        return eval_named(out, run, node);
    }
}

tlm_status_t tlmi_jinja_expression(tlmi_value_t *out, tlmi_jinja_run_t *run,
                                   const tlmi_node_t *node)
{
    run->depth++;
    tlm_status_t status = tlmi_jinja_step(run, node);
    if (status == TLM_OK)
        status = eval(out, run, node);
    if (status == TLM_OK)
        tlmi_jinja_charge(run, out);
    run->depth--;
    return status;
}
