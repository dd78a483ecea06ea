/* Evaluates statements: variables, loops, macros, output. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/chat/jinja.h"

/* No template comes near these; a hostile one stops here. */
#define MOST_STEPS ((uint64_t)8 << 20)

tlm_status_t tlmi_jinja_fail(tlm_status_t code, int line, const char *format, ...)
{
    char message[256];
    va_list list;

    va_start(list, format);
    vsnprintf(message, sizeof(message), format, list);
    va_end(list);
    return tlmi_fail(code, "chat template, line %d: %s", line, message);
}

void tlmi_jinja_run_init(tlmi_jinja_run_t *run, int64_t now)
{
    *run = (tlmi_jinja_run_t){.arena = {.limit = TLMI_JINJA_MAX_MEMORY, .most_steps = MOST_STEPS},
                              .output.arena = &run->arena,
                              .message = -1,
                              .now = now};
}

void tlmi_jinja_run_release(tlmi_jinja_run_t *run)
{
    tlmi_arena_release(&run->arena);
    tlmi_builder_release(&run->output);
    tlmi_free(run->generated);
    tlmi_free(run->bindings);
}

tlm_status_t tlmi_jinja_step(tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    if (++run->arena.steps > MOST_STEPS)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, node->line,
                               "the template takes more than %" PRIu64 " steps", MOST_STEPS);
    if (run->depth > TLMI_JINJA_MAX_DEPTH)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, node->line,
                               "calls or values are nested too deep");
    return TLM_OK;
}

/* A step may go through a value that is large, and by whatever name it has. */
void tlmi_jinja_charge(tlmi_jinja_run_t *run, const tlmi_value_t *value)
{
    if (value->type == TLMI_VALUE_STRING)
        run->arena.steps += value->as.string->size / TLMI_JINJA_STEP_BYTES +
                            value->as.string->num_runs / TLMI_JINJA_STEP_ITEMS;
    else if (value->type == TLMI_VALUE_LIST)
        run->arena.steps += value->as.list->n / TLMI_JINJA_STEP_ITEMS;
    else if (value->type == TLMI_VALUE_MAP || value->type == TLMI_VALUE_NAMESPACE)
        run->arena.steps += value->as.map->n / TLMI_JINJA_STEP_ITEMS;
}

/* ---- Variables ---- */

tlm_status_t tlmi_jinja_bind(tlmi_jinja_run_t *run, const char *name, const tlmi_value_t *value)
{
    TLMI_TRY(
        tlmi_arena_step(&run->arena, (run->num_bindings - run->scope) / TLMI_JINJA_STEP_MEMBERS));
    for (size_t i = run->scope; i < run->num_bindings; i++)
        if (strcmp(run->bindings[i].name, name) == 0) {
            run->bindings[i].value = *value;
            return TLM_OK;
        }
    if (!tlmi_grow(&run->bindings, &run->bindings_capacity, run->num_bindings + 1,
                   sizeof(*run->bindings), "a chat template"))
        return TLM_ERR_OUT_OF_MEMORY;
    run->bindings[run->num_bindings++] = (tlmi_binding_t){name, *value};
    if (run->scope == 0)
        run->root = run->num_bindings;
    return TLM_OK;
}

static size_t enter_scope(tlmi_jinja_run_t *run)
{
    size_t outer = run->scope;

    run->scope = run->num_bindings;
    return outer;
}

static void leave_scope(tlmi_jinja_run_t *run, size_t outer)
{
    run->num_bindings = run->scope;
    run->scope = outer;
}

/* Binds one value to a name, or the items of a list to several. */
static tlm_status_t bind_targets(tlmi_jinja_run_t *run, const tlmi_node_t *node,
                                 const tlmi_value_t *value)
{
    const tlmi_value_t *items;
    size_t n;

    if (node->num_names == 1)
        return tlmi_jinja_bind(run, node->names[0], value);
    TLMI_TRY(tlmi_jinja_items(&items, &n, run, node->line, value));
    if (n != node->num_names)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "%zu values for %zu names", n,
                               node->num_names);
    for (size_t i = 0; i < n; i++)
        TLMI_TRY(tlmi_jinja_bind(run, node->names[i], &items[i]));
    return TLM_OK;
}

/* ---- Loops ---- */

/* Keeps the items for which the test of the loop holds. */
static tlm_status_t filter_items(const tlmi_value_t **items, size_t *n, tlmi_jinja_run_t *run,
                                 const tlmi_node_t *node)
{
    tlmi_value_t *kept = tlmi_arena_alloc(&run->arena, *n, sizeof(*kept)), test;
    size_t num_kept = 0;

    if (kept == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < *n; i++) {
        size_t outer = enter_scope(run);
        tlm_status_t status = bind_targets(run, node, &(*items)[i]);

        if (status == TLM_OK)
            status = tlmi_jinja_expression(&test, run, node->kids[1]);
        leave_scope(run, outer);
        if (status != TLM_OK)
            return status;
        if (tlmi_value_truth(&test))
            kept[num_kept++] = (*items)[i];
    }
    *items = kept;
    *n = num_kept;
    return TLM_OK;
}

static tlm_status_t run_iteration(tlmi_jinja_run_t *run, const tlmi_node_t *node,
                                  const tlmi_loop_t *loop)
{
    const tlmi_value_t value = TLMI_VALUE(LOOP, loop, loop);
    size_t outer = enter_scope(run);
    tlm_status_t status = tlmi_jinja_step(run, node);

    if (status == TLM_OK)
        status = tlmi_jinja_bind(run, "loop", &value);
    if (status == TLM_OK)
        status = bind_targets(run, node, &loop->items[loop->index]);
    if (status == TLM_OK)
        status = tlmi_jinja_statement(run, node->kids[2]);
    leave_scope(run, outer);
    return status;
}

static tlm_status_t run_for(tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    tlmi_value_t value;
    tlmi_loop_t *loop = tlmi_arena_alloc(&run->arena, 1, sizeof(*loop));

    if (loop == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *loop = (tlmi_loop_t){0};
    TLMI_TRY(tlmi_jinja_expression(&value, run, node->kids[0]));
    TLMI_TRY(tlmi_jinja_items(&loop->items, &loop->n, run, node->line, &value));
    if (node->kids[1] != NULL)
        TLMI_TRY(filter_items(&loop->items, &loop->n, run, node));
    for (; loop->index < loop->n; loop->index++) {
        TLMI_TRY(run_iteration(run, node, loop));
        uint8_t jump = run->jump;
        run->jump = 0;
        if (jump == TLMI_NODE_BREAK)
            return TLM_OK;
    }
    return loop->n == 0 && node->kids[3] != NULL ? tlmi_jinja_statement(run, node->kids[3])
                                                 : TLM_OK;
}

/* ---- Other statements ---- */

static tlm_status_t run_if(tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    tlmi_value_t test;

    for (size_t i = 0; i + 1 < node->num_kids; i += 2) {
        TLMI_TRY(tlmi_jinja_expression(&test, run, node->kids[i]));
        if (tlmi_value_truth(&test))
            return tlmi_jinja_statement(run, node->kids[i + 1]);
    }
    return node->num_kids % 2 == 1 ? tlmi_jinja_statement(run, node->kids[node->num_kids - 1])
                                   : TLM_OK;
}

static tlm_status_t run_set_member(tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    const tlmi_node_t name = {.type = TLMI_NODE_NAME, .line = node->line, .name = node->name};
    tlmi_value_t object, value;

    TLMI_TRY(tlmi_jinja_expression(&value, run, node->kids[0]));
    TLMI_TRY(tlmi_jinja_expression(&object, run, &name));
    if (object.type != TLMI_VALUE_NAMESPACE)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, node->line, "'%.40s' is %s, not a namespace",
                               node->name, tlmi_value_type_name(&object));
    return tlmi_map_set_named(object.as.map, &run->arena, node->names[0], &value);
}

/* Evaluates a body into a string instead of the output. */
static tlm_status_t capture(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *body)
{
    tlmi_builder_t outer = run->output;

    run->output = (tlmi_builder_t){.arena = &run->arena};
    tlm_status_t status = tlmi_jinja_statement(run, body);
    if (status == TLM_OK)
        status = tlmi_builder_finish(out, &run->output);
    tlmi_builder_release(&run->output);
    run->output = outer;
    return status;
}

/* {% set name %} ... {% endset %}: the body has a scope of its own. */
static tlm_status_t run_set_block(tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    size_t outer = enter_scope(run);
    tlmi_value_t value;
    tlm_status_t status = capture(&value, run, node->kids[0]);

    leave_scope(run, outer);
    return status == TLM_OK ? tlmi_jinja_bind(run, node->names[0], &value) : status;
}

static tlm_status_t run_generation(tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    size_t start = run->output.size, outer = enter_scope(run);
    tlm_status_t status = tlmi_jinja_statement(run, node->kids[0]);

    leave_scope(run, outer);
    if (status != TLM_OK)
        return status;
    if (!tlmi_grow(&run->generated, &run->generated_capacity, run->num_generated + 1,
                   sizeof(*run->generated), "a chat template"))
        return TLM_ERR_OUT_OF_MEMORY;
    run->generated[run->num_generated++] = (tlmi_span_t){start, run->output.size};
    return TLM_OK;
}

static tlm_status_t run_body(tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    for (size_t i = 0; i < node->num_kids && run->jump == 0; i++)
        TLMI_TRY(tlmi_jinja_statement(run, node->kids[i]));
    return TLM_OK;
}

static tlm_status_t run_statement(tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    tlmi_value_t value;

    switch (node->type) {
    case TLMI_NODE_TEXT:
        return tlmi_builder_add_value(&run->output, &node->value);
    case TLMI_NODE_PRINT:
        TLMI_TRY(tlmi_jinja_expression(&value, run, node->kids[0]));
        return tlmi_builder_add_value(&run->output, &value);
    case TLMI_NODE_BODY:
        return run_body(run, node);
    case TLMI_NODE_IF:
        return run_if(run, node);
    case TLMI_NODE_FOR:
        return run_for(run, node);
    case TLMI_NODE_SET:
        TLMI_TRY(tlmi_jinja_expression(&value, run, node->kids[0]));
        return bind_targets(run, node, &value);
    case TLMI_NODE_SET_MEMBER:
        return run_set_member(run, node);
    case TLMI_NODE_SET_BLOCK:
        return run_set_block(run, node);
    case TLMI_NODE_MACRO:
        value = TLMI_VALUE(MACRO, macro, node);
        return tlmi_jinja_bind(run, node->name, &value);
    case TLMI_NODE_GENERATION:
        return run_generation(run, node);
    default: /* break, continue */
        run->jump = node->type;
        return TLM_OK;
    }
}

tlm_status_t tlmi_jinja_statement(tlmi_jinja_run_t *run, const tlmi_node_t *node)
{
    run->depth++;
    tlm_status_t status = tlmi_jinja_step(run, node);
    if (status == TLM_OK)
        status = run_statement(run, node);
    run->depth--;
    return status;
}

/* ---- Macros ---- */

static tlm_status_t bind_parameters(tlmi_jinja_run_t *run, const tlmi_node_t *macro,
                                    const tlmi_args_t *args)
{
    for (size_t i = 1; i < macro->num_names; i++) {
        const tlmi_value_t *given = tlmi_args_get(args, i - 1, macro->names[i]);
        tlmi_value_t value = TLMI_UNDEFINED(macro->names[i]);

        if (given != NULL)
            value = *given;
        else if (macro->kids[i] != NULL)
            TLMI_TRY(tlmi_jinja_expression(&value, run, macro->kids[i]));
        TLMI_TRY(tlmi_jinja_bind(run, macro->names[i], &value));
    }
    return TLM_OK;
}

tlm_status_t tlmi_jinja_call_macro(tlmi_value_t *out, tlmi_jinja_run_t *run,
                                   const tlmi_node_t *macro, const tlmi_args_t *args)
{
    size_t outer = enter_scope(run), hidden = run->hidden;

    run->arena.steps += (uint64_t)macro->num_names * args->n / TLMI_JINJA_STEP_ITEMS;
    run->hidden = run->num_bindings; /* it sees the outermost variables, and its own */
    tlm_status_t status = tlmi_jinja_step(run, macro);
    if (status == TLM_OK)
        status = tlmi_args_check(args, macro->num_names - 1, (const char *const *)macro->names + 1);
    if (status == TLM_OK)
        status = bind_parameters(run, macro, args);
    if (status == TLM_OK)
        status = capture(out, run, macro->kids[0]);
    run->hidden = hidden;
    leave_scope(run, outer);
    return status;
}

tlm_status_t tlmi_jinja_evaluate(tlmi_jinja_run_t *run, const tlmi_jinja_t *jinja)
{
    return tlmi_jinja_statement(run, jinja->body);
}
