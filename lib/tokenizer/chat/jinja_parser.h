/* What the two files of the parser share. */
#ifndef TLMI_JINJA_PARSER_H
#define TLMI_JINJA_PARSER_H

#include "tokenizer/chat/jinja.h"

typedef struct tlmi_parser {
    tlmi_arena_t *arena;
    const tlmi_token_t *next;
    int depth; /* of nesting */
    int loops; /* around what is parsed */
} tlmi_parser_t;

/* Nodes that are being collected, with a name each, which may be NULL. */
typedef struct tlmi_nodes {
    tlmi_node_t **nodes;
    const char **names;
    size_t n, capacity, names_capacity;
} tlmi_nodes_t;

bool tlmi_parser_at(const tlmi_parser_t *parser, tlmi_token_type_t type, const char *text);
/* Reads the token if it is there. */
bool tlmi_parser_skip(tlmi_parser_t *parser, tlmi_token_type_t type, const char *text);
tlm_status_t tlmi_parser_expect(tlmi_parser_t *parser, tlmi_token_type_t type, const char *text);
tlm_status_t tlmi_parser_unexpected(const tlmi_parser_t *parser, const char *wanted);
/* Reads a name, copied to the arena. */
tlm_status_t tlmi_parser_name(const char **out, tlmi_parser_t *parser);
/* Counts a level of nesting; the caller counts it back. */
tlm_status_t tlmi_parser_enter(tlmi_parser_t *parser);

tlm_status_t tlmi_parser_node(tlmi_node_t **out, tlmi_parser_t *parser, tlmi_node_type_t type,
                              tlmi_node_t *const *kids, size_t num_kids);
tlm_status_t tlmi_parser_push(tlmi_nodes_t *nodes, tlmi_node_t *node, const char *name);
void tlmi_nodes_release(tlmi_nodes_t *nodes);
/* Makes a node of the list, with its names, unless `status` is a failure, and releases the list. */
tlm_status_t tlmi_parser_finish(tlmi_node_t **out, tlmi_parser_t *parser, tlmi_node_type_t type,
                                tlmi_nodes_t *nodes, tlm_status_t status);

tlm_status_t tlmi_parse_expression(tlmi_node_t **out, tlmi_parser_t *parser);
/* An expression that is not `a if b else c`. */
tlm_status_t tlmi_parse_without_condition(tlmi_node_t **out, tlmi_parser_t *parser);

#endif
