/* Tokens to a tree: expressions. Statements are in jinja_statements.c. */
#include "tokenizer/chat/jinja_parser.h"

#include <string.h>

#include "base/memory.h"

/* ---- Tokens and nodes, for both files ---- */

bool tlmi_parser_at(const tlmi_parser_t *parser, tlmi_token_type_t type, const char *text)
{
    const tlmi_token_t *token = parser->next;

    return token->type == type && token->size == strlen(text) &&
           memcmp(token->bytes, text, token->size) == 0;
}

bool tlmi_parser_skip(tlmi_parser_t *parser, tlmi_token_type_t type, const char *text)
{
    bool is_there = tlmi_parser_at(parser, type, text);

    parser->next += is_there;
    return is_there;
}

tlm_status_t tlmi_parser_unexpected(const tlmi_parser_t *parser, const char *wanted)
{
    const tlmi_token_t *token = parser->next;

    if (token->type == TLMI_LEX_END || token->type == TLMI_LEX_TEXT)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, token->line, "%s is expected, but the %s", wanted,
                               token->type == TLMI_LEX_END ? "template ends" : "tag has ended");
    return tlmi_jinja_fail(TLM_ERR_FORMAT, token->line, "%s is expected instead of '%.*s'", wanted,
                           (int)(token->size < 40 ? token->size : 40), token->bytes);
}

tlm_status_t tlmi_parser_expect(tlmi_parser_t *parser, tlmi_token_type_t type, const char *text)
{
    return tlmi_parser_skip(parser, type, text) ? TLM_OK : tlmi_parser_unexpected(parser, text);
}

tlm_status_t tlmi_parser_name(const char **out, tlmi_parser_t *parser)
{
    const tlmi_token_t *token = parser->next;

    if (token->type != TLMI_LEX_NAME)
        return tlmi_parser_unexpected(parser, "a name");
    char *name = tlmi_arena_alloc(parser->arena, token->size + 1, 1);
    if (name == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(name, token->bytes, token->size);
    name[token->size] = '\0';
    parser->next++;
    *out = name;
    return TLM_OK;
}

tlm_status_t tlmi_parser_node(tlmi_node_t **out, tlmi_parser_t *parser, tlmi_node_type_t type,
                              tlmi_node_t *const *kids, size_t num_kids)
{
    tlmi_node_t *node = tlmi_arena_alloc(parser->arena, 1, sizeof(*node));
    int depth = 0;

    if (node == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *node = (tlmi_node_t){.type = (uint8_t)type, .line = parser->next->line, .num_kids = num_kids};
    node->kids = tlmi_arena_alloc(parser->arena, num_kids, sizeof(*node->kids));
    if (node->kids == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < num_kids; i++) {
        node->kids[i] = kids[i];
        if (kids[i] != NULL && kids[i]->depth > depth)
            depth = kids[i]->depth;
    }
    if (depth == TLMI_JINJA_MAX_DEPTH)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, node->line,
                               "the template is nested more than %d deep", TLMI_JINJA_MAX_DEPTH);
    node->depth = (uint16_t)(depth + 1);
    *out = node;
    return TLM_OK;
}

tlm_status_t tlmi_parser_push(tlmi_nodes_t *nodes, tlmi_node_t *node, const char *name)
{
    if (!tlmi_grow(&nodes->nodes, &nodes->capacity, nodes->n + 1, sizeof(tlmi_node_t *),
                   "a chat template") ||
        !tlmi_grow(&nodes->names, &nodes->names_capacity, nodes->n + 1, sizeof(char *),
                   "a chat template"))
        return TLM_ERR_OUT_OF_MEMORY;
    nodes->nodes[nodes->n] = node;
    nodes->names[nodes->n++] = name;
    return TLM_OK;
}

void tlmi_nodes_release(tlmi_nodes_t *nodes)
{
    tlmi_free(nodes->nodes);
    tlmi_free(nodes->names);
    *nodes = (tlmi_nodes_t){0};
}

tlm_status_t tlmi_parser_finish(tlmi_node_t **out, tlmi_parser_t *parser, tlmi_node_type_t type,
                                tlmi_nodes_t *nodes, tlm_status_t status)
{
    if (status == TLM_OK)
        status = tlmi_parser_node(out, parser, type, nodes->nodes, nodes->n);
    if (status == TLM_OK) {
        (*out)->names = tlmi_arena_alloc(parser->arena, nodes->n, sizeof(char *));
        (*out)->num_names = nodes->n;
        if ((*out)->names == NULL)
            status = TLM_ERR_OUT_OF_MEMORY;
        else if (nodes->n > 0)
            memcpy((*out)->names, nodes->names, nodes->n * sizeof(char *));
    }
    tlmi_nodes_release(nodes);
    return status;
}

/* ---- Literals ---- */

static tlm_status_t make_const(tlmi_node_t **out, tlmi_parser_t *parser, tlmi_value_t value)
{
    TLMI_TRY(tlmi_parser_node(out, parser, TLMI_NODE_CONST, NULL, 0));
    (*out)->value = value;
    return TLM_OK;
}

/* Strings that stand side by side are one. */
static tlm_status_t parse_string(tlmi_node_t **out, tlmi_parser_t *parser)
{
    tlmi_builder_t builder = {.arena = parser->arena};
    tlm_status_t status = TLM_OK;
    tlmi_value_t value;

    for (; parser->next->type == TLMI_LEX_STRING && status == TLM_OK; parser->next++)
        status =
            tlmi_builder_add(&builder, parser->next->bytes, parser->next->size, TLMI_FROM_TEMPLATE);
    if (status == TLM_OK)
        status = tlmi_builder_finish(&value, &builder);
    tlmi_builder_release(&builder);
    return status == TLM_OK ? make_const(out, parser, value) : status;
}

static tlm_status_t parse_name(tlmi_node_t **out, tlmi_parser_t *parser)
{
    const char *name = NULL;

    TLMI_TRY(tlmi_parser_name(&name, parser));
    if (strcmp(name, "true") == 0 || strcmp(name, "True") == 0)
        return make_const(out, parser, TLMI_BOOL(true));
    if (strcmp(name, "false") == 0 || strcmp(name, "False") == 0)
        return make_const(out, parser, TLMI_BOOL(false));
    if (strcmp(name, "none") == 0 || strcmp(name, "None") == 0)
        return make_const(out, parser, TLMI_NONE);
    TLMI_TRY(tlmi_parser_node(out, parser, TLMI_NODE_NAME, NULL, 0));
    (*out)->name = name;
    return TLM_OK;
}

/* Parses expressions separated by commas up to `end`, which is read too. */
static tlm_status_t parse_items(tlmi_nodes_t *nodes, tlmi_parser_t *parser, const char *end,
                                bool is_dict)
{
    while (!tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, end)) {
        tlmi_node_t *node;

        if (nodes->n > 0) {
            TLMI_TRY(tlmi_parser_expect(parser, TLMI_LEX_OPERATOR, ","));
            if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, end))
                return TLM_OK;
        }
        TLMI_TRY(tlmi_parse_expression(&node, parser));
        TLMI_TRY(tlmi_parser_push(nodes, node, NULL));
        if (!is_dict)
            continue;
        TLMI_TRY(tlmi_parser_expect(parser, TLMI_LEX_OPERATOR, ":"));
        TLMI_TRY(tlmi_parse_expression(&node, parser));
        TLMI_TRY(tlmi_parser_push(nodes, node, NULL));
    }
    return TLM_OK;
}

static tlm_status_t parse_list(tlmi_node_t **out, tlmi_parser_t *parser, const char *end,
                               tlmi_node_type_t type)
{
    tlmi_nodes_t nodes = {0};
    tlm_status_t status = parse_items(&nodes, parser, end, type == TLMI_NODE_DICT);

    return tlmi_parser_finish(out, parser, type, &nodes, status);
}

/* Parses what follows "(": an expression in parentheses, or a tuple. */
static tlm_status_t parse_parentheses(tlmi_node_t **out, tlmi_parser_t *parser)
{
    tlmi_nodes_t nodes = {0};
    tlmi_node_t *first;

    if (tlmi_parser_at(parser, TLMI_LEX_OPERATOR, ")")) {
        TLMI_TRY(parse_list(out, parser, ")", TLMI_NODE_LIST));
        (*out)->op = ',';
        return TLM_OK;
    }
    TLMI_TRY(tlmi_parse_expression(&first, parser));
    if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, ")")) {
        *out = first;
        return TLM_OK;
    }
    tlm_status_t status = tlmi_parser_push(&nodes, first, NULL);
    if (status == TLM_OK)
        status = parse_items(&nodes, parser, ")", false);
    TLMI_TRY(tlmi_parser_finish(out, parser, TLMI_NODE_LIST, &nodes, status));
    (*out)->op = ',';
    return TLM_OK;
}

static tlm_status_t parse_primary(tlmi_node_t **out, tlmi_parser_t *parser)
{
    const tlmi_token_t *token = parser->next;

    switch (token->type) {
    case TLMI_LEX_NAME:
        return parse_name(out, parser);
    case TLMI_LEX_STRING:
        return parse_string(out, parser);
    case TLMI_LEX_INT:
        parser->next++;
        return make_const(out, parser, TLMI_INT(token->integer));
    case TLMI_LEX_REAL:
        parser->next++;
        return make_const(out, parser, TLMI_VALUE(REAL, real, token->real));
    default:
        break;
    }
    if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "("))
        return parse_parentheses(out, parser);
    if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "["))
        return parse_list(out, parser, "]", TLMI_NODE_LIST);
    if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "{"))
        return parse_list(out, parser, "}", TLMI_NODE_DICT);
    return tlmi_parser_unexpected(parser, "an expression");
}

/* ---- What follows a value: attributes, items, calls, filters, tests ---- */

/* Parses the arguments after "(" behind the object that nodes holds. */
static tlm_status_t parse_arguments(tlmi_nodes_t *nodes, tlmi_parser_t *parser)
{
    size_t first = nodes->n;

    while (!tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, ")")) {
        const char *name = NULL;
        tlmi_node_t *node;

        if (nodes->n > first) {
            TLMI_TRY(tlmi_parser_expect(parser, TLMI_LEX_OPERATOR, ","));
            if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, ")"))
                return TLM_OK;
        }
        if (tlmi_parser_at(parser, TLMI_LEX_OPERATOR, "*") ||
            tlmi_parser_at(parser, TLMI_LEX_OPERATOR, "**"))
            return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, parser->next->line,
                                   "arguments with * are not supported");
        if (parser->next->type == TLMI_LEX_NAME && parser->next[1].type == TLMI_LEX_OPERATOR &&
            parser->next[1].size == 1 && parser->next[1].bytes[0] == '=') {
            TLMI_TRY(tlmi_parser_name(&name, parser));
            parser->next++;
        } else if (nodes->n > first && nodes->names[nodes->n - 1] != NULL) {
            return tlmi_parser_unexpected(parser, "an argument with a name");
        }
        TLMI_TRY(tlmi_parse_expression(&node, parser));
        TLMI_TRY(tlmi_parser_push(nodes, node, name));
    }
    return TLM_OK;
}

static tlm_status_t parse_call(tlmi_node_t **out, tlmi_parser_t *parser, tlmi_node_t *callee)
{
    tlmi_nodes_t nodes = {0};
    tlm_status_t status = tlmi_parser_push(&nodes, callee, NULL);

    if (status == TLM_OK)
        status = parse_arguments(&nodes, parser);
    return tlmi_parser_finish(out, parser, TLMI_NODE_CALL, &nodes, status);
}

/* Parses what follows "[": an index or a slice. */
static tlm_status_t parse_subscript(tlmi_node_t **out, tlmi_parser_t *parser, tlmi_node_t *object)
{
    tlmi_node_t *kids[4] = {object, NULL, NULL, NULL};
    size_t part = 1;

    for (;; part++) {
        if (!tlmi_parser_at(parser, TLMI_LEX_OPERATOR, ":") &&
            !tlmi_parser_at(parser, TLMI_LEX_OPERATOR, "]"))
            TLMI_TRY(tlmi_parse_expression(&kids[part], parser));
        if (part == 3 || !tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, ":"))
            break;
    }
    if (part == 1 && kids[1] == NULL)
        return tlmi_parser_unexpected(parser, "an index");
    TLMI_TRY(tlmi_parser_expect(parser, TLMI_LEX_OPERATOR, "]"));
    if (part == 1)
        return tlmi_parser_node(out, parser, TLMI_NODE_ITEM, kids, 2);
    return tlmi_parser_node(out, parser, TLMI_NODE_SLICE, kids, 4);
}

static tlm_status_t parse_attribute(tlmi_node_t **out, tlmi_parser_t *parser, tlmi_node_t *object)
{
    const char *name = NULL;

    if (parser->next->type == TLMI_LEX_INT) { /* a.0 is a[0] */
        tlmi_node_t *kids[2] = {object, NULL};

        TLMI_TRY(parse_primary(&kids[1], parser));
        return tlmi_parser_node(out, parser, TLMI_NODE_ITEM, kids, 2);
    }
    TLMI_TRY(tlmi_parser_name(&name, parser));
    TLMI_TRY(tlmi_parser_node(out, parser, TLMI_NODE_ATTRIBUTE, &object, 1));
    (*out)->name = name;
    return TLM_OK;
}

static tlm_status_t parse_postfix(tlmi_node_t **node, tlmi_parser_t *parser)
{
    for (;;) {
        if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "."))
            TLMI_TRY(parse_attribute(node, parser, *node));
        else if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "["))
            TLMI_TRY(parse_subscript(node, parser, *node));
        else if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "("))
            TLMI_TRY(parse_call(node, parser, *node));
        else
            return TLM_OK;
    }
}

static tlm_status_t parse_filter(tlmi_node_t **node, tlmi_parser_t *parser)
{
    tlmi_nodes_t nodes = {0};
    int line = parser->next->line;
    const char *name = NULL;

    TLMI_TRY(tlmi_parser_name(&name, parser));
    if (!tlmi_jinja_has_filter(name))
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, line, "the filter %.40s is not supported",
                               name);
    tlm_status_t status = tlmi_parser_push(&nodes, *node, NULL);
    if (status == TLM_OK && tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "("))
        status = parse_arguments(&nodes, parser);
    TLMI_TRY(tlmi_parser_finish(node, parser, TLMI_NODE_FILTER, &nodes, status));
    (*node)->name = name;
    return TLM_OK;
}

/* Whether a test's argument without parentheses follows. */
static bool at_argument(const tlmi_parser_t *parser)
{
    const tlmi_token_t *token = parser->next;

    if (token->type == TLMI_LEX_STRING || token->type == TLMI_LEX_INT ||
        token->type == TLMI_LEX_REAL)
        return true;
    if (token->type == TLMI_LEX_NAME)
        return !tlmi_parser_at(parser, TLMI_LEX_NAME, "else") &&
               !tlmi_parser_at(parser, TLMI_LEX_NAME, "or") &&
               !tlmi_parser_at(parser, TLMI_LEX_NAME, "and");
    return tlmi_parser_at(parser, TLMI_LEX_OPERATOR, "[") ||
           tlmi_parser_at(parser, TLMI_LEX_OPERATOR, "{");
}

static tlm_status_t parse_test_arguments(tlmi_nodes_t *nodes, tlmi_parser_t *parser)
{
    tlmi_node_t *argument;

    if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "("))
        return parse_arguments(nodes, parser);
    if (!at_argument(parser))
        return TLM_OK;
    TLMI_TRY(parse_primary(&argument, parser));
    TLMI_TRY(parse_postfix(&argument, parser));
    return tlmi_parser_push(nodes, argument, NULL);
}

static tlm_status_t parse_test(tlmi_node_t **node, tlmi_parser_t *parser)
{
    bool is_negated = tlmi_parser_skip(parser, TLMI_LEX_NAME, "not");
    int line = parser->next->line;
    tlmi_nodes_t nodes = {0};
    const char *name = NULL;

    TLMI_TRY(tlmi_parser_name(&name, parser));
    if (!tlmi_jinja_has_test(name))
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, line, "the test %.40s is not supported", name);
    tlm_status_t status = tlmi_parser_push(&nodes, *node, NULL);
    if (status == TLM_OK)
        status = parse_test_arguments(&nodes, parser);
    TLMI_TRY(tlmi_parser_finish(node, parser, TLMI_NODE_TEST, &nodes, status));
    (*node)->name = name;
    return is_negated ? tlmi_parser_node(node, parser, TLMI_NODE_NOT, node, 1) : TLM_OK;
}

static tlm_status_t parse_filters(tlmi_node_t **node, tlmi_parser_t *parser)
{
    for (;;) {
        if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "|"))
            TLMI_TRY(parse_filter(node, parser));
        else if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "is"))
            TLMI_TRY(parse_test(node, parser));
        else if (tlmi_parser_skip(parser, TLMI_LEX_OPERATOR, "("))
            TLMI_TRY(parse_call(node, parser, *node));
        else
            return TLM_OK;
    }
}

/* ---- Operators ---- */

enum { LEVEL_OR = 1, LEVEL_AND, LEVEL_COMPARE, LEVEL_ADD, LEVEL_JOIN, LEVEL_MULTIPLY, LEVEL_POWER };

/* Returns the level of the operator that comes next, and its letter; 0 if there is none. */
static int next_operator(uint8_t *op, const tlmi_parser_t *parser)
{
    static const struct {
        const char *text;
        char op;
        uint8_t level;
        bool is_name;
    } operators[] = {
        {"or", 'o', LEVEL_OR, true},       {"and", 'a', LEVEL_AND, true},
        {"in", 'i', LEVEL_COMPARE, true},  {"not", 'n', LEVEL_COMPARE, true},
        {"==", '=', LEVEL_COMPARE, false}, {"!=", '!', LEVEL_COMPARE, false},
        {"<", '<', LEVEL_COMPARE, false},  {">", '>', LEVEL_COMPARE, false},
        {"<=", 'l', LEVEL_COMPARE, false}, {">=", 'g', LEVEL_COMPARE, false},
        {"+", '+', LEVEL_ADD, false},      {"-", '-', LEVEL_ADD, false},
        {"~", '~', LEVEL_JOIN, false},     {"*", '*', LEVEL_MULTIPLY, false},
        {"/", '/', LEVEL_MULTIPLY, false}, {"//", 'd', LEVEL_MULTIPLY, false},
        {"%", '%', LEVEL_MULTIPLY, false}, {"**", 'p', LEVEL_POWER, false},
    };

    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
        if (tlmi_parser_at(parser, operators[i].is_name ? TLMI_LEX_NAME : TLMI_LEX_OPERATOR,
                           operators[i].text)) {
            *op = (uint8_t)operators[i].op;
            return operators[i].level;
        }
    return 0;
}

static tlm_status_t parse_binary(tlmi_node_t **out, tlmi_parser_t *parser, int least);

static tlm_status_t parse_unary(tlmi_node_t **out, tlmi_parser_t *parser, bool with_filters)
{
    uint8_t sign = 0;

    if (tlmi_parser_at(parser, TLMI_LEX_OPERATOR, "-") ||
        tlmi_parser_at(parser, TLMI_LEX_OPERATOR, "+"))
        sign = (uint8_t) * (parser->next++)->bytes;
    if (sign != 0) {
        TLMI_TRY(tlmi_parser_enter(parser));
        TLMI_TRY(parse_unary(out, parser, false));
        parser->depth--;
        TLMI_TRY(tlmi_parser_node(out, parser, TLMI_NODE_SIGN, out, 1));
        (*out)->op = sign;
    } else if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "not")) {
        TLMI_TRY(tlmi_parser_enter(parser));
        TLMI_TRY(parse_binary(out, parser, LEVEL_COMPARE));
        parser->depth--;
        return tlmi_parser_node(out, parser, TLMI_NODE_NOT, out, 1);
    } else {
        TLMI_TRY(parse_primary(out, parser));
    }
    TLMI_TRY(parse_postfix(out, parser));
    return with_filters ? parse_filters(out, parser) : TLM_OK;
}

/* Reads the operator that next_operator found; "not" must be that of "not in". */
static tlm_status_t skip_operator(tlmi_parser_t *parser, uint8_t op)
{
    parser->next++;
    return op == 'n' ? tlmi_parser_expect(parser, TLMI_LEX_NAME, "in") : TLM_OK;
}

/* Parses the comparisons that follow *node, a < b < c as Python reads it. */
static tlm_status_t parse_comparisons(tlmi_node_t **node, tlmi_parser_t *parser)
{
    tlmi_nodes_t nodes = {0};
    tlm_status_t status = tlmi_parser_push(&nodes, *node, NULL);
    uint8_t op, first = 0;

    while (status == TLM_OK && next_operator(&op, parser) == LEVEL_COMPARE) {
        static const char *const letters[] = {"i", "n", "=", "!", "<", ">", "l", "g"};
        const char *letter = letters[0];

        for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
            if (letters[i][0] == op)
                letter = letters[i];
        first = nodes.n == 1 ? op : first;
        tlmi_node_t *right = NULL;
        status = skip_operator(parser, op);
        if (status == TLM_OK)
            status = parse_binary(&right, parser, LEVEL_ADD);
        if (status == TLM_OK)
            status = tlmi_parser_push(&nodes, right, letter);
    }
    bool is_chain = nodes.n > 2;
    TLMI_TRY(tlmi_parser_finish(node, parser, is_chain ? TLMI_NODE_CHAIN : TLMI_NODE_COMPARE,
                                &nodes, status));
    (*node)->op = first;
    return TLM_OK;
}

static tlm_status_t parse_binary(tlmi_node_t **out, tlmi_parser_t *parser, int least)
{
    int level;
    uint8_t op;

    TLMI_TRY(parse_unary(out, parser, true));
    while ((level = next_operator(&op, parser)) >= least && level > 0) {
        tlmi_node_t *kids[2] = {*out, NULL};
        tlmi_node_type_t type = level == LEVEL_OR    ? TLMI_NODE_OR
                                : level == LEVEL_AND ? TLMI_NODE_AND
                                                     : TLMI_NODE_BINARY;

        if (level == LEVEL_COMPARE) {
            TLMI_TRY(parse_comparisons(out, parser));
            continue;
        }
        parser->next++;
        TLMI_TRY(parse_binary(&kids[1], parser, level + 1));
        TLMI_TRY(tlmi_parser_node(out, parser, type, kids, 2));
        (*out)->op = op;
    }
    return TLM_OK;
}

tlm_status_t tlmi_parser_enter(tlmi_parser_t *parser)
{
    if (++parser->depth > TLMI_JINJA_MAX_NESTING)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, parser->next->line,
                               "the template is nested more than %d deep", TLMI_JINJA_MAX_NESTING);
    return TLM_OK;
}

tlm_status_t tlmi_parse_without_condition(tlmi_node_t **out, tlmi_parser_t *parser)
{
    TLMI_TRY(tlmi_parser_enter(parser));
    TLMI_TRY(parse_binary(out, parser, LEVEL_OR));
    parser->depth--;
    return TLM_OK;
}

tlm_status_t tlmi_parse_expression(tlmi_node_t **out, tlmi_parser_t *parser)
{
    TLMI_TRY(tlmi_parse_without_condition(out, parser));
    while (tlmi_parser_skip(parser, TLMI_LEX_NAME, "if")) {
        tlmi_node_t *kids[3] = {*out, NULL, NULL};

        TLMI_TRY(tlmi_parse_without_condition(&kids[1], parser));
        if (tlmi_parser_skip(parser, TLMI_LEX_NAME, "else")) {
            TLMI_TRY(tlmi_parser_enter(parser));
            TLMI_TRY(tlmi_parse_expression(&kids[2], parser));
            parser->depth--;
        }
        TLMI_TRY(tlmi_parser_node(out, parser, TLMI_NODE_COND, kids, 3));
    }
    return TLM_OK;
}
