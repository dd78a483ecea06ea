/* The part of the Jinja language that chat templates use: parsed once into a tree, then evaluated.
 * What it understands it evaluates as Jinja does with the settings of transformers (trim_blocks,
 * lstrip_blocks); what it does not understand is refused by name. Each byte of a string knows where
 * it comes from, so that the text of a message is never taken for a part of the template. */
#ifndef TLMI_JINJA_H
#define TLMI_JINJA_H

#include "base/error.h"
#include "base/json.h"

/* ---- Memory ------------------------------------------------------------------------------ */

/* What a template may use up: blocks of memory that are freed together, none of them alone, and
 * steps. More than a limit is an error. */
typedef struct tlmi_arena {
    struct tlmi_arena_block *blocks; /* the newest first */
    size_t used, limit;              /* bytes */
    uint64_t steps, most_steps;      /* most_steps 0: any number */
} tlmi_arena_t;

/* Returns NULL, with a message, when out of memory or past the limit. */
void *tlmi_arena_alloc(tlmi_arena_t *arena, size_t count, size_t size);
void tlmi_arena_release(tlmi_arena_t *arena);
/* Counts steps; fails if there are too many. */
tlm_status_t tlmi_arena_step(tlmi_arena_t *arena, uint64_t steps);

/* ---- Values (jinja_values.c) -------------------------------------------------------------- */

/* Where bytes come from: the number of a message (0 and more), or one of these. */
enum {
    TLMI_FROM_TEMPLATE = -1,
    TLMI_FROM_CALLER = -2, /* a variable that the caller set */
};

typedef struct tlmi_run {
    size_t end;     /* of the bytes, from the start of the string */
    int32_t source; /* TLMI_FROM_... or the number of a message */
} tlmi_run_t;

/* The first of n runs that ends behind byte `at`; n if there is none. */
size_t tlmi_find_run(const tlmi_run_t *runs, size_t n, size_t at);

/* UTF-8. An empty string has one run, which says whose it is. */
typedef struct tlmi_string {
    const char *bytes;
    size_t size;
    const tlmi_run_t *runs;
    size_t num_runs;
} tlmi_string_t;

typedef enum tlmi_value_type {
    TLMI_VALUE_UNDEFINED,
    TLMI_VALUE_NONE,
    TLMI_VALUE_BOOL,
    TLMI_VALUE_INT,
    TLMI_VALUE_REAL,
    TLMI_VALUE_STRING,
    TLMI_VALUE_LIST,
    TLMI_VALUE_MAP,
    TLMI_VALUE_NAMESPACE, /* a map that {% set %} may change */
    TLMI_VALUE_LOOP,      /* the variable `loop` */
    TLMI_VALUE_FUNCTION,  /* of Jinja or of transformers, by name */
    TLMI_VALUE_MACRO,
} tlmi_value_type_t;

typedef struct tlmi_list tlmi_list_t;
typedef struct tlmi_map tlmi_map_t;

typedef struct tlmi_value {
    uint8_t type;
    union {
        bool truth;
        int64_t integer;
        double real;
        const tlmi_string_t *string;
        const tlmi_list_t *list;
        tlmi_map_t *map;
        const struct tlmi_loop *loop;
        const struct tlmi_node *macro;
        const char *name; /* of a function, or of what is undefined */
    } as;
} tlmi_value_t;

struct tlmi_list {
    tlmi_value_t *items;
    size_t n;
    bool is_tuple;
};

typedef struct tlmi_member {
    tlmi_value_t key, value;
} tlmi_member_t;

struct tlmi_map {
    tlmi_member_t *members;
    size_t n, capacity;
    int32_t message; /* the number of the message that this is; -1 */
};

/* The state of a loop over `items`. */
typedef struct tlmi_loop {
    const tlmi_value_t *items;
    size_t n, index;
} tlmi_loop_t;

#define TLMI_VALUE(kind, field, ...)                                                               \
    ((tlmi_value_t){.type = TLMI_VALUE_##kind, .as.field = (__VA_ARGS__)})
#define TLMI_UNDEFINED(what) TLMI_VALUE(UNDEFINED, name, what)
#define TLMI_NONE            ((tlmi_value_t){.type = TLMI_VALUE_NONE})
#define TLMI_BOOL(what)      TLMI_VALUE(BOOL, truth, what)
#define TLMI_INT(what)       TLMI_VALUE(INT, integer, what)

const char *tlmi_value_type_name(const tlmi_value_t *value);
bool tlmi_value_truth(const tlmi_value_t *value);
bool tlmi_value_number(const tlmi_value_t *value, double *out); /* false if it is none */
/* Of values other than lists and maps, which tlmi_jinja_compare goes through. */
bool tlmi_value_same(const tlmi_value_t *a, const tlmi_value_t *b);
bool tlmi_value_is(const tlmi_value_t *value, const char *text); /* a string with this text */

/* Makes a string of bytes from one source; the bytes are borrowed. */
tlm_status_t tlmi_string_make(tlmi_value_t *out, tlmi_arena_t *arena, const char *bytes,
                              size_t size, int32_t source);
/* Makes the string of bytes [from, to) of another one. */
tlm_status_t tlmi_string_part(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_string_t *string,
                              size_t from, size_t to);
/* Where a byte comes from; at the end of the string, as the last one. */
int32_t tlmi_string_source(const tlmi_string_t *string, size_t at);

/* A string that is being made, each piece of which is a step. Zeroed to begin with, except for the
 * arena, in which it is finished; released after that, or instead. */
typedef struct tlmi_builder {
    tlmi_arena_t *arena;
    char *bytes;
    size_t size, capacity;
    tlmi_run_t *runs;
    size_t num_runs, runs_capacity;
} tlmi_builder_t;

tlm_status_t tlmi_builder_add(tlmi_builder_t *builder, const char *bytes, size_t size,
                              int32_t source);
tlm_status_t tlmi_builder_add_part(tlmi_builder_t *builder, const tlmi_string_t *string,
                                   size_t from, size_t to);
/* Adds a value as {{ }} prints it. */
tlm_status_t tlmi_builder_add_value(tlmi_builder_t *builder, const tlmi_value_t *value);
#define TLMI_JINJA_MAX_INDENT 16
/* Adds a value as JSON. indent < 0: on one line; at most TLMI_JINJA_MAX_INDENT. */
tlm_status_t tlmi_builder_add_json(tlmi_builder_t *builder, const tlmi_value_t *value,
                                   int64_t indent);
tlm_status_t tlmi_builder_finish(tlmi_value_t *out, tlmi_builder_t *builder);
void tlmi_builder_release(tlmi_builder_t *builder);

/* A value as a string. */
tlm_status_t tlmi_value_text(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_value_t *value);

tlm_status_t tlmi_list_make(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_value_t *items,
                            size_t n);
tlm_status_t tlmi_map_make(tlmi_value_t *out, tlmi_arena_t *arena, size_t capacity);
/* The key is neither a list nor a map. */
tlm_status_t tlmi_map_set(tlmi_map_t *map, tlmi_arena_t *arena, const tlmi_value_t *key,
                          const tlmi_value_t *value);
tlm_status_t tlmi_map_set_named(tlmi_map_t *map, tlmi_arena_t *arena, const char *key,
                                const tlmi_value_t *value);
/* NULL if there is none. Counts the steps; the next step fails if these are too many. */
const tlmi_value_t *tlmi_map_find(const tlmi_map_t *map, tlmi_arena_t *arena, const char *key);
const tlmi_value_t *tlmi_map_find_key(const tlmi_map_t *map, tlmi_arena_t *arena,
                                      const tlmi_value_t *key);
/* A value of JSON, whose strings come from the caller. Strings are borrowed. */
tlm_status_t tlmi_value_of_json(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_json_t *json);

/* White space, as Python sees it. */
bool tlmi_is_python_space(uint32_t code_point);
/* How many bytes of white space the text begins or ends with. */
size_t tlmi_space_before(const char *text, size_t size);
size_t tlmi_space_behind(const char *text, size_t size);

/* ---- Lexer (jinja_lexer.c) ---------------------------------------------------------------- */

typedef enum tlmi_token_type {
    TLMI_LEX_TEXT,
    TLMI_LEX_PRINT_BEGIN, /* {{ */
    TLMI_LEX_PRINT_END,
    TLMI_LEX_BLOCK_BEGIN, /* {% */
    TLMI_LEX_BLOCK_END,
    TLMI_LEX_NAME,
    TLMI_LEX_STRING,
    TLMI_LEX_INT,
    TLMI_LEX_REAL,
    TLMI_LEX_OPERATOR,
    TLMI_LEX_END
} tlmi_token_type_t;

typedef struct tlmi_token {
    tlmi_token_type_t type;
    int line;
    const char *bytes; /* of a text, name, string or operator */
    size_t size;
    int64_t integer;
    double real;
} tlmi_token_t;

/* Reads all tokens; they and their texts are in the arena. */
tlm_status_t tlmi_jinja_lex(tlmi_token_t **out, size_t *n, tlmi_arena_t *arena, const char *source,
                            size_t size);

/* ---- Tree (jinja_parser.c) ---------------------------------------------------------------- */

typedef enum tlmi_node_type {
    /* expressions */
    TLMI_NODE_CONST,
    TLMI_NODE_NAME,
    TLMI_NODE_LIST, /* kids: items; op ',' for a tuple */
    TLMI_NODE_DICT, /* kids: key, value, ... */
    TLMI_NODE_COND, /* kids: value, test, other value or NULL */
    TLMI_NODE_OR,
    TLMI_NODE_AND,
    TLMI_NODE_NOT,
    TLMI_NODE_COMPARE,   /* kids: first, second; op */
    TLMI_NODE_CHAIN,     /* kids: values of a < b < c; names: the operators between them */
    TLMI_NODE_BINARY,    /* kids: two; op */
    TLMI_NODE_SIGN,      /* kids: one; op + or - */
    TLMI_NODE_ATTRIBUTE, /* kids: object; name */
    TLMI_NODE_ITEM,      /* kids: object, index */
    TLMI_NODE_SLICE,     /* kids: object, start, stop, step; each may be NULL */
    TLMI_NODE_CALL,      /* kids: callee, arguments */
    TLMI_NODE_FILTER,    /* kids: object, arguments; name */
    TLMI_NODE_TEST,      /* kids: object, arguments; name */
    /* statements */
    TLMI_NODE_TEXT,  /* value */
    TLMI_NODE_PRINT, /* kids: the expression */
    TLMI_NODE_BODY,  /* kids: statements */
    TLMI_NODE_IF,    /* kids: test, body, test, body, ..., and a last body for else */
    TLMI_NODE_FOR,   /* kids: items, test or NULL, body, body of else or NULL; names: targets */
    TLMI_NODE_SET,   /* kids: the value; names: targets */
    TLMI_NODE_SET_MEMBER, /* kids: the value; name: the namespace, names: the member */
    TLMI_NODE_SET_BLOCK,  /* kids: the body; names: the target */
    TLMI_NODE_MACRO,      /* kids: body, defaults or NULL; name; names: parameters */
    TLMI_NODE_GENERATION, /* kids: the body */
    TLMI_NODE_BREAK,
    TLMI_NODE_CONTINUE,
} tlmi_node_type_t;

/* Operators, by their first characters: "==" is '=', "//" is 'd', "**" is 'p', "<=" is 'l', ">=" is
 * 'g', "in" is 'i', "not in" is 'n', the others are themselves. */

typedef struct tlmi_node {
    uint8_t type;
    uint8_t op;
    uint16_t depth; /* of the tree below it */
    int line;
    const char *name;
    tlmi_value_t value;
    struct tlmi_node **kids;
    size_t num_kids;
    const char **names; /* of a call's arguments (NULL: positional), targets, parameters */
    size_t num_names;
} tlmi_node_t;

#define TLMI_JINJA_MAX_DEPTH   100 /* of a tree, and of an evaluation */
#define TLMI_JINJA_MAX_NESTING 40  /* of blocks and brackets in a template */
#define TLMI_JINJA_MAX_NAME    255 /* bytes of a name, which is compared with others */
/* Bytes of an evaluation's values, and of a text that is being made. */
#define TLMI_JINJA_MAX_MEMORY ((size_t)256 << 20)

/* What a step goes through at most: larger values take several. Characters are what is looked at
 * one by one, members what is compared with a name or a key. */
enum {
    TLMI_JINJA_STEP_BYTES = 128,
    TLMI_JINJA_STEP_CHARACTERS = 8,
    TLMI_JINJA_STEP_ITEMS = 64,
    TLMI_JINJA_STEP_MEMBERS = 16,
};

/* A parsed template. */
typedef struct tlmi_jinja {
    tlmi_arena_t arena;
    tlmi_node_t *body;
} tlmi_jinja_t;

/* Fails with TLM_ERR_UNSUPPORTED, naming it, for what this part of Jinja does not have, and with
 * TLM_ERR_FORMAT, naming the line, for what is not Jinja. */
tlm_status_t tlmi_jinja_parse(tlmi_jinja_t *out, const char *source, size_t size);
void tlmi_jinja_release(tlmi_jinja_t *jinja);

/* Whether the texts and strings of the template contain these bytes. */
bool tlmi_jinja_writes(const tlmi_jinja_t *jinja, const void *bytes, size_t size);

/* ---- Evaluation (jinja_eval.c, jinja_expressions.c, jinja_compare.c, jinja_calls.c,
 * jinja_filters.c) -------------------------------------------------------------------------- */

/* Bytes of the output that {% generation %} blocks made. */
typedef struct tlmi_span {
    size_t start, end;
} tlmi_span_t;

typedef struct tlmi_binding {
    const char *name;
    tlmi_value_t value;
} tlmi_binding_t;

/* One evaluation. */
typedef struct tlmi_jinja_run {
    tlmi_arena_t arena;
    tlmi_builder_t output;
    tlmi_span_t *generated;
    size_t num_generated, generated_capacity;
    tlmi_binding_t *bindings; /* variables, the innermost last */
    size_t num_bindings, bindings_capacity;
    size_t scope;    /* where the innermost scope begins */
    size_t root;     /* where the variables of the outermost scope end */
    size_t hidden;   /* those from `root` to here belong to the callers of a macro */
    int depth;       /* of nodes that are being evaluated */
    int32_t message; /* the message that was looked at last; -1 */
    int64_t now;     /* seconds since 1970, for strftime_now */
    uint8_t jump;    /* TLMI_NODE_BREAK or TLMI_NODE_CONTINUE on the way to its loop; 0 */
    const tlmi_string_t *reason; /* why the template refused the messages; NULL: it did not */
} tlmi_jinja_run_t;

/* Zeroes the run and sets its limits. */
void tlmi_jinja_run_init(tlmi_jinja_run_t *run, int64_t now);
void tlmi_jinja_run_release(tlmi_jinja_run_t *run);
/* Sets a variable of the innermost scope. */
tlm_status_t tlmi_jinja_bind(tlmi_jinja_run_t *run, const char *name, const tlmi_value_t *value);
/* Evaluates the template into run->output. */
tlm_status_t tlmi_jinja_evaluate(tlmi_jinja_run_t *run, const tlmi_jinja_t *jinja);

/* Arguments of a call. */
typedef struct tlmi_args {
    const tlmi_node_t *node; /* for messages and names */
    tlmi_value_t *values;
    const char **names;
    size_t n;
} tlmi_args_t;

/* The argument at this position or with this name; NULL if there is none. */
const tlmi_value_t *tlmi_args_get(const tlmi_args_t *args, size_t position, const char *name);
/* Fails if there are more positional arguments than `most`, or other names. */
tlm_status_t tlmi_args_check(const tlmi_args_t *args, size_t most, const char *const *names);

/* Fails with "chat template, line L: ...". */
tlm_status_t tlmi_jinja_fail(tlm_status_t code, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Counts a step; fails if there are too many. */
tlm_status_t tlmi_jinja_step(tlmi_jinja_run_t *run, const tlmi_node_t *node);
/* Counts the steps of going through a value once; the next step fails if these are too many. */
void tlmi_jinja_charge(tlmi_jinja_run_t *run, const tlmi_value_t *value);
tlm_status_t tlmi_jinja_statement(tlmi_jinja_run_t *run, const tlmi_node_t *node);
tlm_status_t tlmi_jinja_expression(tlmi_value_t *out, tlmi_jinja_run_t *run,
                                   const tlmi_node_t *node);
tlm_status_t tlmi_jinja_binary(tlmi_value_t *out, tlmi_jinja_run_t *run, const tlmi_node_t *node,
                               const tlmi_value_t *a, const tlmi_value_t *b);
tlm_status_t tlmi_jinja_compare(bool *out, tlmi_jinja_run_t *run, const tlmi_node_t *node,
                                uint8_t op, const tlmi_value_t *a, const tlmi_value_t *b);
/* The items that {% for %} goes through. */
tlm_status_t tlmi_jinja_items(const tlmi_value_t **items, size_t *n, tlmi_jinja_run_t *run,
                              int line, const tlmi_value_t *value);
tlm_status_t tlmi_jinja_attribute(tlmi_value_t *out, tlmi_jinja_run_t *run, int line,
                                  const tlmi_value_t *object, const char *name);
tlm_status_t tlmi_jinja_item(tlmi_value_t *out, tlmi_jinja_run_t *run, int line,
                             const tlmi_value_t *object, const tlmi_value_t *index);
tlm_status_t tlmi_jinja_call_macro(tlmi_value_t *out, tlmi_jinja_run_t *run,
                                   const tlmi_node_t *macro, const tlmi_args_t *args);
tlm_status_t tlmi_jinja_call_function(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                      const tlmi_args_t *args);
tlm_status_t tlmi_jinja_call_method(tlmi_value_t *out, tlmi_jinja_run_t *run,
                                    const tlmi_value_t *object, const char *name,
                                    const tlmi_args_t *args);
tlm_status_t tlmi_jinja_call_filter(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                    const tlmi_value_t *object, const tlmi_args_t *args);
tlm_status_t tlmi_jinja_call_test(bool *out, tlmi_jinja_run_t *run, const char *name,
                                  const tlmi_value_t *object, const tlmi_args_t *args);
bool tlmi_jinja_has_function(const char *name);
/* The filters and tests that Jinja has, so that a misspelt one is found when a file is read. */
bool tlmi_jinja_has_filter(const char *name);
bool tlmi_jinja_has_test(const char *name);

/* String methods that filters share. `which` is strip, lstrip or rstrip. */
tlm_status_t tlmi_string_strip(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_string_t *string,
                               const char *which, const tlmi_value_t *characters);
tlm_status_t tlmi_string_replace(tlmi_value_t *out, tlmi_arena_t *arena,
                                 const tlmi_string_t *string, const tlmi_string_t *from,
                                 const tlmi_string_t *to, int64_t most);
/* upper, lower, title or capitalize, for ASCII. */
tlm_status_t tlmi_string_case(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_string_t *string,
                              const char *which, int line);

/* The first position of `part` at or after `from`; SIZE_MAX if there is none. */
size_t tlmi_string_find(const tlmi_string_t *string, const tlmi_string_t *part, size_t from);
/* The byte at which character `index` begins. */
size_t tlmi_string_offset(const tlmi_string_t *string, int64_t index);
int64_t tlmi_string_length(const tlmi_string_t *string); /* in characters */

/* Time as strftime prints it in the C locale. */
tlm_status_t tlmi_jinja_strftime(tlmi_value_t *out, tlmi_jinja_run_t *run, int line,
                                 const tlmi_string_t *format);

#endif
