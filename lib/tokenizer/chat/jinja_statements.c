/* Tokens to a tree: statements. */
#include <string.h>

#include "base/memory.h"
#include "tokenizer/chat/jinja_parser.h"

static tlm_status_t parse_body(tlmi_node_t **out, tlmi_parser_t *parser, const char *const *ends);

static tlm_status_t end_block(tlmi_parser_t *parser)
{
    if (parser->next->type != TLMI_LEX_BLOCK_END)
        return tlmi_parser_unexpected(parser, "%}");
    parser->next++;
    return TLM_OK;
}

/* Parses "%}", a body, and "{%"; one of `ends` comes next. */
static tlm_status_t parse_inner(tlmi_node_t **out, tlmi_parser_t *parser, const char *const *ends)
{
    TLMI_TRY(end_block(parser));
    TLMI_TRY(tlmi_parser_enter(parser));
    TLMI_TRY(parse_body(out, parser, ends));
    parser->depth--;
    return TLM_OK;
}

/* Parses an expression that may be a tuple without parentheses. */
static tlm_status_t parse_tuple(tlmi_node_t **out, tlmi_parser_t *parser, bool with_condition)
{
    tlmi_nodes_t nodes = {0};

    TLMI_TRY(with_condition ? tlmi_parse_expression(out, parser)
                            : tlmi_parse_without_condition(out, parser));
    if (!tlmi_parser_at(parser, TLMI_LEX_OPERATOR, ","))
        return TLM_OK;
    tlm_status_t status = tlmi_parser_push(&nodes, *out, NULL);
    while (status == TLM_OK && tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, ",") &&
           parser->next->type != TLMI_LEX_BLOCK_END && parser->next->type != TLMI_LEX_PRINT_END) {
        tlmi_node_t *node;

        status = with_condition ? tlmi_parse_expression(&node, parser)
                                : tlmi_parse_without_condition(&node, parser);
        if (status == TLM_OK)
            status = tlmi_parser_push(&nodes, node, NULL);
    }
    TLMI_TRY(tlmi_parser_finish(out, parser, TLMI_NODE_LIST, &nodes, status));
    (*out)->op = ',';
    return TLM_OK;
}

/* Parses `a` or `a, b`, also in parentheses. */
static tlm_status_t parse_targets(tlmi_nodes_t *nodes, tlmi_parser_t *parser)
{
    bool in_parentheses = tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "(");

    do {
        const char *name;

        TLMI_TRY(tlmi_parser_name(&name, parser));
        TLMI_TRY(tlmi_parser_push(nodes, NULL, name));
    } while (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, ","));
    return in_parentheses ? tlmi_parser_expect(parser, TLMI_LEX_OPERATOR, ")") : TLM_OK;
}

/* Gives `node` the names in `targets` and releases them. */
static tlm_status_t set_names(tlmi_node_t *node, tlmi_parser_t *parser, tlmi_nodes_t *targets,
                              tlm_status_t status)
{
    if (status == TLM_OK) {
        node->names = tlmi_arena_alloc(parser->arena, targets->n, sizeof(char *));
        node->num_names = targets->n;
        if (node->names == NULL)
            status = TLM_ERR_OUT_OF_MEMORY;
        else if (targets->n > 0)
            memcpy(node->names, targets->names, targets->n * sizeof(char *));
    }
    tlmi_nodes_release(targets);
    return status;
}

/* ---- Statements ---- */

static tlm_status_t collect_branches(tlmi_nodes_t *nodes, tlmi_parser_t *parser)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    bool is_else = false;

    for (;;) {
        tlmi_node_t *node;

        if (!is_else) {
            TLMI_TRY(parse_tuple(&node, parser, false));
            TLMI_TRY(tlmi_parser_push(nodes, node, NULL));
        }
        TLMI_TRY(parse_inner(&node, parser, is_else ? ends + 2 : ends));
        TLMI_TRY(tlmi_parser_push(nodes, node, NULL));
        if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "endif"))
            return end_block(parser);
        is_else = tlmi_parser_at(parser, TLMI_LEX_NAME, "else");
        parser->next++;
    }
}

static tlm_status_t parse_if(tlmi_node_t **out, tlmi_parser_t *parser)
{
    tlmi_nodes_t nodes = {0};
    tlm_status_t status = collect_branches(&nodes, parser);

    return tlmi_parser_finish(out, parser, TLMI_NODE_IF, &nodes, status);
}

static tlm_status_t parse_for_parts(tlmi_node_t *kids[4], tlmi_parser_t *parser)
{
    static const char *const ends[] = {"else", "endfor", NULL};

    TLMI_TRY(tlmi_parser_expect(parser, TLMI_LEX_NAME, "in"));
    TLMI_TRY(parse_tuple(&kids[0], parser, false));
    if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "if"))
        TLMI_TRY(tlmi_parse_expression(&kids[1], parser));
    if (tlmi_parser_at(parser, TLMI_LEX_NAME, "recursive"))
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, parser->next->line,
                               "{%% for %%} with recursive is not supported");
    parser->loops++;
    TLMI_TRY(parse_inner(&kids[2], parser, ends));
    parser->loops--;
    if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "else"))
        TLMI_TRY(parse_inner(&kids[3], parser, ends + 1));
    parser->next++; /* endfor */
    return end_block(parser);
}

static tlm_status_t parse_for(tlmi_node_t **out, tlmi_parser_t *parser)
{
    tlmi_node_t *kids[4] = {NULL, NULL, NULL, NULL};
    tlmi_nodes_t targets = {0};
    tlm_status_t status = parse_targets(&targets, parser);

    if (status == TLM_OK)
        status = parse_for_parts(kids, parser);
    if (status == TLM_OK)
        status = tlmi_parser_node(out, parser, TLMI_NODE_FOR, kids, 4);
    return set_names(*out, parser, &targets, status);
}

/* {% set namespace.member = value %}, after the dot. */
static tlm_status_t parse_set_member(tlmi_node_t **out, tlmi_parser_t *parser,
                                     tlmi_nodes_t *targets)
{
    const char *object = targets->names[0];
    tlmi_node_t *value;

    TLMI_TRY(tlmi_parser_name(&targets->names[0], parser));
    TLMI_TRY(tlmi_parser_expect(parser, TLMI_LEX_OPERATOR, "="));
    TLMI_TRY(parse_tuple(&value, parser, true));
    TLMI_TRY(tlmi_parser_node(out, parser, TLMI_NODE_SET_MEMBER, &value, 1));
    (*out)->name = object;
    return end_block(parser);
}

static tlm_status_t parse_set_value(tlmi_node_t **out, tlmi_parser_t *parser, tlmi_nodes_t *targets)
{
    static const char *const ends[] = {"endset", NULL};
    tlmi_node_t *value;

    if (targets->n == 1 && tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "."))
        return parse_set_member(out, parser, targets);
    if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "=")) {
        TLMI_TRY(parse_tuple(&value, parser, true));
        TLMI_TRY(tlmi_parser_node(out, parser, TLMI_NODE_SET, &value, 1));
        return end_block(parser);
    }
    if (targets->n > 1 || parser->next->type != TLMI_LEX_BLOCK_END)
        return tlmi_parser_unexpected(parser, "=");
    TLMI_TRY(parse_inner(&value, parser, ends));
    parser->next++;
    TLMI_TRY(tlmi_parser_node(out, parser, TLMI_NODE_SET_BLOCK, &value, 1));
    return end_block(parser);
}

static tlm_status_t parse_set(tlmi_node_t **out, tlmi_parser_t *parser)
{
    tlmi_nodes_t targets = {0};
    tlm_status_t status = parse_targets(&targets, parser);

    if (status == TLM_OK)
        status = parse_set_value(out, parser, &targets);
    return set_names(*out, parser, &targets, status);
}

/* The kids of a macro are its body and the defaults of its parameters. */
static tlm_status_t collect_macro(tlmi_nodes_t *nodes, tlmi_parser_t *parser)
{
    static const char *const ends[] = {"endmacro", NULL};
    int loops = parser->loops;

    TLMI_TRY(tlmi_parser_push(nodes, NULL, NULL)); /* the place of the body */
    TLMI_TRY(tlmi_parser_expect(parser, TLMI_LEX_OPERATOR, "("));
    while (!tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, ")")) {
        tlmi_node_t *value = NULL;
        const char *name;

        if (nodes->n > 1)
            TLMI_TRY(tlmi_parser_expect(parser, TLMI_LEX_OPERATOR, ","));
        TLMI_TRY(tlmi_parser_name(&name, parser));
        if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "="))
            TLMI_TRY(tlmi_parse_expression(&value, parser));
        TLMI_TRY(tlmi_parser_push(nodes, value, name));
    }
    parser->loops = 0;
    TLMI_TRY(parse_inner(&nodes->nodes[0], parser, ends));
    parser->loops = loops;
    parser->next++;
    return end_block(parser);
}

static tlm_status_t parse_macro(tlmi_node_t **out, tlmi_parser_t *parser)
{
    tlmi_nodes_t nodes = {0};
    const char *name;

    TLMI_TRY(tlmi_parser_name(&name, parser));
    tlm_status_t status = collect_macro(&nodes, parser);
    TLMI_TRY(tlmi_parser_finish(out, parser, TLMI_NODE_MACRO, &nodes, status));
    (*out)->name = name;
    return TLM_OK;
}

static tlm_status_t parse_generation(tlmi_node_t **out, tlmi_parser_t *parser)
{
    static const char *const ends[] = {"endgeneration", NULL};
    tlmi_node_t *body;

    TLMI_TRY(parse_inner(&body, parser, ends));
    parser->next++;
    TLMI_TRY(tlmi_parser_node(out, parser, TLMI_NODE_GENERATION, &body, 1));
    return end_block(parser);
}

static tlm_status_t parse_jump(tlmi_node_t **out, tlmi_parser_t *parser, tlmi_node_type_t type)
{
    if (parser->loops == 0)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, parser->next->line, "{%% %s %%} stands in no loop",
                               type == TLMI_NODE_BREAK ? "break" : "continue");
    TLMI_TRY(tlmi_parser_node(out, parser, type, NULL, 0));
    return end_block(parser);
}

/* Parses a statement after "{%". */
static tlm_status_t parse_statement(tlmi_node_t **out, tlmi_parser_t *parser)
{
    const tlmi_token_t *token = parser->next;

    if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "if"))
        return parse_if(out, parser);
    if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "for"))
        return parse_for(out, parser);
    if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "set"))
        return parse_set(out, parser);
    if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "macro"))
        return parse_macro(out, parser);
    if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "generation"))
        return parse_generation(out, parser);
    if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "break"))
        return parse_jump(out, parser, TLMI_NODE_BREAK);
    if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "continue"))
        return parse_jump(out, parser, TLMI_NODE_CONTINUE);
    if (token->type != TLMI_LEX_NAME)
        return tlmi_parser_unexpected(parser, "a statement");
    return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, token->line, "{%% %.*s %%} is not supported",
                           (int)(token->size < 40 ? token->size : 40), token->bytes);
}

static tlm_status_t parse_text(tlmi_node_t **out, tlmi_parser_t *parser)
{
    const tlmi_token_t *token = parser->next++;

    TLMI_TRY(tlmi_parser_node(out, parser, TLMI_NODE_TEXT, NULL, 0));
    return tlmi_string_make(&(*out)->value, parser->arena, token->bytes, token->size,
                            TLMI_FROM_TEMPLATE);
}

static tlm_status_t parse_print(tlmi_node_t **out, tlmi_parser_t *parser)
{
    tlmi_node_t *value;

    parser->next++;
    TLMI_TRY(parse_tuple(&value, parser, true));
    if (parser->next->type != TLMI_LEX_PRINT_END)
        return tlmi_parser_unexpected(parser, "}}");
    parser->next++;
    return tlmi_parser_node(out, parser, TLMI_NODE_PRINT, &value, 1);
}

static bool at_end(const tlmi_parser_t *parser, const char *const *ends)
{
    for (; ends != NULL && *ends != NULL; ends++)
        if (tlmi_parser_at(parser, TLMI_LEX_NAME, *ends))
            return true;
    return false;
}

static tlm_status_t collect_body(tlmi_nodes_t *nodes, tlmi_parser_t *parser,
                                 const char *const *ends)
{
    for (;;) {
        tlmi_node_t *node = NULL;

        if (parser->next->type == TLMI_LEX_END) {
            if (ends == NULL)
                return TLM_OK;
            return tlmi_jinja_fail(TLM_ERR_FORMAT, parser->next->line,
                                   "the template ends before {%% %s %%}", ends[0]);
        }
        if (parser->next->type == TLMI_LEX_BLOCK_BEGIN) {
            parser->next++;
            if (at_end(parser, ends))
                return TLM_OK;
            TLMI_TRY(parse_statement(&node, parser));
        } else if (parser->next->type == TLMI_LEX_TEXT) {
            TLMI_TRY(parse_text(&node, parser));
        } else {
            TLMI_TRY(parse_print(&node, parser));
        }
        TLMI_TRY(tlmi_parser_push(nodes, node, NULL));
    }
}

static tlm_status_t parse_body(tlmi_node_t **out, tlmi_parser_t *parser, const char *const *ends)
{
    tlmi_nodes_t nodes = {0};
    tlm_status_t status = collect_body(&nodes, parser, ends);

    return tlmi_parser_finish(out, parser, TLMI_NODE_BODY, &nodes, status);
}

/* ---- Templates ---- */

/* More than the trees of any real template. */
#define TREE_LIMIT ((size_t)64 << 20)

tlm_status_t tlmi_jinja_parse(tlmi_jinja_t *out, const char *source, size_t size)
{
    tlmi_jinja_t jinja = {.arena.limit = TREE_LIMIT};
    tlmi_parser_t parser = {.arena = &jinja.arena};
    tlmi_token_t *tokens;
    size_t n;

    if (size > 0 && memchr(source, '\0', size) != NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "chat template: byte %zu is NUL",
                         (size_t)((const char *)memchr(source, '\0', size) - source));
    tlm_status_t status = tlmi_jinja_lex(&tokens, &n, &jinja.arena, source, size);
    if (status == TLM_OK) {
        parser.next = tokens;
        status = parse_body(&jinja.body, &parser, NULL);
    }
    if (status != TLM_OK) {
        tlmi_arena_release(&jinja.arena);
        return status;
    }
    *out = jinja;
    return TLM_OK;
}

void tlmi_jinja_release(tlmi_jinja_t *jinja)
{
    tlmi_arena_release(&jinja->arena);
    jinja->body = NULL;
}

static bool value_has(const tlmi_value_t *value, const void *bytes, size_t size)
{
    const tlmi_string_t part = {bytes, size, NULL, 0};

    return value->type == TLMI_VALUE_STRING &&
           tlmi_string_find(value->as.string, &part, 0) != SIZE_MAX;
}

static bool node_writes(const tlmi_node_t *node, const void *bytes, size_t size)
{
    if (node == NULL)
        return false;
    if (value_has(&node->value, bytes, size))
        return true;
    for (size_t i = 0; i < node->num_kids; i++)
        if (node_writes(node->kids[i], bytes, size))
            return true;
    return false;
}

bool tlmi_jinja_writes(const tlmi_jinja_t *jinja, const void *bytes, size_t size)
{
    return node_writes(jinja->body, bytes, size);
}
