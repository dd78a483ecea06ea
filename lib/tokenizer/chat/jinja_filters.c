/* Filters and tests. */
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/chat/jinja.h"

typedef tlm_status_t filter_fn_t(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                 const tlmi_value_t *object, const tlmi_args_t *args);

/* ---- Filters of strings ---- */

static tlm_status_t filter_trim(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                const tlmi_value_t *object, const tlmi_args_t *args)
{
    static const char *const names[] = {"chars"};
    const tlmi_value_t *characters = tlmi_args_get(args, 0, names[0]);
    tlmi_value_t text;

    (void)name;
    TLMI_TRY(tlmi_args_check(args, 1, names));
    TLMI_TRY(tlmi_value_text(&text, &run->arena, object));
    return tlmi_string_strip(out, &run->arena, text.as.string, "strip", characters);
}

static tlm_status_t filter_case(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                const tlmi_value_t *object, const tlmi_args_t *args)
{
    tlmi_value_t text;

    TLMI_TRY(tlmi_args_check(args, 0, NULL));
    TLMI_TRY(tlmi_value_text(&text, &run->arena, object));
    return tlmi_string_case(out, &run->arena, text.as.string, name, args->node->line);
}

static tlm_status_t filter_string(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                  const tlmi_value_t *object, const tlmi_args_t *args)
{
    (void)name;
    TLMI_TRY(tlmi_args_check(args, 0, NULL));
    return tlmi_value_text(out, &run->arena, object);
}

static tlm_status_t filter_replace(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                   const tlmi_value_t *object, const tlmi_args_t *args)
{
    const tlmi_value_t *count = tlmi_args_get(args, 2, NULL);
    tlmi_value_t text;

    TLMI_TRY(tlmi_args_check(args, 3, NULL));
    TLMI_TRY(tlmi_value_text(&text, &run->arena, object));
    for (size_t i = 0; i < 2; i++)
        if (i >= args->n || args->values[i].type != TLMI_VALUE_STRING)
            return tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line, "%s takes two strings", name);
    return tlmi_string_replace(
        out, &run->arena, text.as.string, args->values[0].as.string, args->values[1].as.string,
        count != NULL && count->type == TLMI_VALUE_INT ? count->as.integer : -1);
}

static tlm_status_t check_json_arguments(const tlmi_args_t *args)
{
    static const char *const names[] = {"ensure_ascii", "indent", "separators", "sort_keys"};

    TLMI_TRY(tlmi_args_check(args, 4, names));
    for (size_t i = 0; i < 4; i++) {
        const tlmi_value_t *value = tlmi_args_get(args, i == 1 ? 1 : SIZE_MAX, names[i]);

        if (i != 1 && value != NULL && tlmi_value_truth(value))
            return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                                   "tojson with %s is not supported", names[i]);
    }
    if (args->n > 0 && args->names[0] == NULL)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                               "tojson with a positional argument is not supported");
    return TLM_OK;
}

static tlm_status_t filter_tojson(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                  const tlmi_value_t *object, const tlmi_args_t *args)
{
    const tlmi_value_t *indent = tlmi_args_get(args, SIZE_MAX, "indent");
    tlmi_builder_t builder = {.arena = &run->arena};

    (void)name;
    TLMI_TRY(check_json_arguments(args));
    int64_t spaces = indent != NULL && indent->type == TLMI_VALUE_INT ? indent->as.integer : -1;
    if (spaces > TLMI_JINJA_MAX_INDENT)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                               "tojson with an indent of %" PRId64 " is not supported", spaces);
    tlm_status_t status = tlmi_builder_add_json(&builder, object, spaces);
    if (status == TLM_OK)
        status = tlmi_builder_finish(out, &builder);
    tlmi_builder_release(&builder);
    return status;
}

/* ---- Filters of any value ---- */

static tlm_status_t filter_same(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                const tlmi_value_t *object, const tlmi_args_t *args)
{
    (void)run;
    (void)name;
    *out = *object;
    return tlmi_args_check(args, 0, NULL);
}

static tlm_status_t filter_default(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                   const tlmi_value_t *object, const tlmi_args_t *args)
{
    static const char *const names[] = {"default_value", "boolean"};
    const tlmi_value_t *value = tlmi_args_get(args, 0, names[0]);
    const tlmi_value_t *boolean = tlmi_args_get(args, 1, names[1]);
    bool by_truth = boolean != NULL && tlmi_value_truth(boolean);

    (void)name;
    TLMI_TRY(tlmi_args_check(args, 2, names));
    if (object->type != TLMI_VALUE_UNDEFINED && (!by_truth || tlmi_value_truth(object))) {
        *out = *object;
        return TLM_OK;
    }
    if (value == NULL)
        return tlmi_string_make(out, &run->arena, "", 0, TLMI_FROM_TEMPLATE);
    *out = *value;
    return TLM_OK;
}

static tlm_status_t filter_length(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                  const tlmi_value_t *object, const tlmi_args_t *args)
{
    const tlmi_value_t *items;
    size_t n;

    (void)name;
    TLMI_TRY(tlmi_args_check(args, 0, NULL));
    if (object->type == TLMI_VALUE_STRING) {
        *out = TLMI_INT(tlmi_string_length(object->as.string));
        return TLM_OK;
    }
    TLMI_TRY(tlmi_jinja_items(&items, &n, run, args->node->line, object));
    *out = TLMI_INT((int64_t)n);
    return TLM_OK;
}

static tlm_status_t filter_int(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                               const tlmi_value_t *object, const tlmi_args_t *args)
{
    double number;

    (void)run;
    TLMI_TRY(tlmi_args_check(args, 0, NULL));
    if (!tlmi_value_number(object, &number) || !(number > -1e18 && number < 1e18))
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line, "%s of %s is not supported",
                               name, tlmi_value_type_name(object));
    *out = object->type == TLMI_VALUE_INT ? *object : TLMI_INT((int64_t)number);
    if (strcmp(name, "abs") == 0 && out->as.integer < 0)
        out->as.integer = -out->as.integer;
    return TLM_OK;
}

/* ---- Filters of lists ---- */

static tlm_status_t filter_end(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                               const tlmi_value_t *object, const tlmi_args_t *args)
{
    const tlmi_value_t *items;
    size_t n;

    TLMI_TRY(tlmi_args_check(args, 0, NULL));
    TLMI_TRY(tlmi_jinja_items(&items, &n, run, args->node->line, object));
    *out = n == 0 ? TLMI_UNDEFINED(name) : items[strcmp(name, "first") == 0 ? 0 : n - 1];
    return TLM_OK;
}

static tlm_status_t filter_list(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                const tlmi_value_t *object, const tlmi_args_t *args)
{
    const tlmi_value_t *items;
    size_t n;

    TLMI_TRY(tlmi_args_check(args, 0, NULL));
    TLMI_TRY(tlmi_jinja_items(&items, &n, run, args->node->line, object));
    TLMI_TRY(tlmi_list_make(out, &run->arena, items, n));
    for (size_t i = 0; i < n && strcmp(name, "reverse") == 0; i++)
        out->as.list->items[i] = items[n - 1 - i];
    return TLM_OK;
}

static tlm_status_t filter_items(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                 const tlmi_value_t *object, const tlmi_args_t *args)
{
    TLMI_TRY(tlmi_args_check(args, 0, NULL));
    if (object->type == TLMI_VALUE_UNDEFINED)
        return tlmi_list_make(out, &run->arena, NULL, 0);
    return tlmi_jinja_call_method(out, run, object, name, args);
}

/* What map, selectattr and join take from an item. The attribute "a.b" is b of a. */
static tlm_status_t get_attribute(tlmi_value_t *out, tlmi_jinja_run_t *run, int line,
                                  const tlmi_value_t *item, const tlmi_value_t *attribute)
{
    if (attribute == NULL) {
        *out = *item;
        return TLM_OK;
    }
    if (attribute->type != TLMI_VALUE_STRING ||
        memchr(attribute->as.string->bytes, '.', attribute->as.string->size) != NULL)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, line,
                               "an attribute that is not one name is not supported");
    return tlmi_jinja_item(out, run, line, item, attribute);
}

static tlm_status_t filter_join(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                const tlmi_value_t *object, const tlmi_args_t *args)
{
    static const char *const names[] = {"d", "attribute"};
    const tlmi_value_t *separator = tlmi_args_get(args, 0, names[0]), *items;
    tlmi_builder_t builder = {.arena = &run->arena};
    tlm_status_t status = TLM_OK;
    size_t n;

    (void)name;
    TLMI_TRY(tlmi_args_check(args, 2, names));
    TLMI_TRY(tlmi_jinja_items(&items, &n, run, args->node->line, object));
    for (size_t i = 0; i < n && status == TLM_OK; i++) {
        tlmi_value_t item;

        if (i > 0 && separator != NULL)
            status = tlmi_builder_add_value(&builder, separator);
        if (status == TLM_OK)
            status = get_attribute(&item, run, args->node->line, &items[i],
                                   tlmi_args_get(args, 1, names[1]));
        if (status == TLM_OK)
            status = tlmi_builder_add_value(&builder, &item);
    }
    if (status == TLM_OK)
        status = tlmi_builder_finish(out, &builder);
    tlmi_builder_release(&builder);
    return status;
}

/* select, reject, selectattr and rejectattr. */
static tlm_status_t filter_select(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                  const tlmi_value_t *object, const tlmi_args_t *args)
{
    bool by_attribute = strstr(name, "attr") != NULL, selects = name[0] == 's';
    size_t first = by_attribute ? 1 : 0, n, kept = 0;
    const tlmi_value_t *items, *test = tlmi_args_get(args, first, NULL);
    tlmi_args_t rest = {.node = args->node};

    if (args->n < first || (test != NULL && test->type != TLMI_VALUE_STRING))
        return tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line, "%s has no such arguments", name);
    if (args->n > first + 1)
        rest = (tlmi_args_t){args->node, args->values + first + 1, args->names + first + 1,
                             args->n - first - 1};
    TLMI_TRY(tlmi_jinja_items(&items, &n, run, args->node->line, object));
    TLMI_TRY(tlmi_list_make(out, &run->arena, NULL, n));
    for (size_t i = 0; i < n; i++) {
        tlmi_value_t value;
        char word[32] = "";

        TLMI_TRY(tlmi_jinja_step(run, args->node));
        tlmi_jinja_charge(run, &items[i]);
        TLMI_TRY(get_attribute(&value, run, args->node->line, &items[i],
                               by_attribute ? &args->values[0] : NULL));
        tlmi_jinja_charge(run, &value);
        bool holds = tlmi_value_truth(&value);
        if (test != NULL) {
            if (test->as.string->size < sizeof(word))
                memcpy(word, test->as.string->bytes, test->as.string->size);
            TLMI_TRY(tlmi_jinja_call_test(&holds, run, word, &value, &rest));
        }
        if (holds == selects)
            out->as.list->items[kept++] = items[i];
    }
    ((tlmi_list_t *)out->as.list)->n = kept;
    return TLM_OK;
}

/* The filter may be map again, with a list of lists: as deep as these are. */
static tlm_status_t filter_item(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *filter,
                                const tlmi_value_t *item, const tlmi_args_t *args)
{
    run->depth++;
    tlm_status_t status = tlmi_jinja_step(run, args->node);
    tlmi_jinja_charge(run, item);
    if (status == TLM_OK)
        status = tlmi_jinja_call_filter(out, run, filter, item, args);
    run->depth--;
    return status;
}

static tlm_status_t filter_map(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                               const tlmi_value_t *object, const tlmi_args_t *args)
{
    const tlmi_value_t *attribute = tlmi_args_get(args, SIZE_MAX, "attribute"), *items;
    const tlmi_value_t *filter = tlmi_args_get(args, 0, NULL);
    size_t n;

    if (args->n == 0 || (attribute == NULL) == (filter == NULL) ||
        (attribute != NULL && args->n > 1) ||
        (filter != NULL && (filter->type != TLMI_VALUE_STRING || filter->as.string->size > 31)))
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                               "%s with these arguments is not supported", name);
    TLMI_TRY(tlmi_jinja_items(&items, &n, run, args->node->line, object));
    TLMI_TRY(tlmi_list_make(out, &run->arena, NULL, n));
    tlmi_args_t rest = {args->node, args->values + 1, args->names + 1, args->n - 1};
    char word[32] = "";
    if (filter != NULL)
        memcpy(word, filter->as.string->bytes, filter->as.string->size);
    for (size_t i = 0; i < n; i++) {
        tlmi_value_t *value = &out->as.list->items[i];

        TLMI_TRY(tlmi_jinja_step(run, args->node));
        TLMI_TRY(attribute != NULL
                     ? get_attribute(value, run, args->node->line, &items[i], attribute)
                     : filter_item(value, run, word, &items[i], &rest));
    }
    return TLM_OK;
}

/* NULL: Jinja has it, but it is refused where it is used, for templates use it for tools. */
static const struct {
    const char *name;
    filter_fn_t *call;
} filters[] = {
    {"trim", filter_trim},
    {"upper", filter_case},
    {"lower", filter_case},
    {"title", filter_case},
    {"capitalize", filter_case},
    {"string", filter_string},
    {"replace", filter_replace},
    {"tojson", filter_tojson},
    {"safe", filter_same},
    {"default", filter_default},
    {"d", filter_default},
    {"length", filter_length},
    {"count", filter_length},
    {"int", filter_int},
    {"abs", filter_int},
    {"first", filter_end},
    {"last", filter_end},
    {"list", filter_list},
    {"reverse", filter_list},
    {"items", filter_items},
    {"join", filter_join},
    {"select", filter_select},
    {"reject", filter_select},
    {"selectattr", filter_select},
    {"rejectattr", filter_select},
    {"map", filter_map},
    {"attr", NULL},
    {"batch", NULL},
    {"center", NULL},
    {"dictsort", NULL},
    {"e", NULL},
    {"escape", NULL},
    {"filesizeformat", NULL},
    {"float", NULL},
    {"forceescape", NULL},
    {"format", NULL},
    {"groupby", NULL},
    {"indent", NULL},
    {"max", NULL},
    {"min", NULL},
    {"pprint", NULL},
    {"random", NULL},
    {"round", NULL},
    {"slice", NULL},
    {"sort", NULL},
    {"striptags", NULL},
    {"sum", NULL},
    {"truncate", NULL},
    {"unique", NULL},
    {"urlencode", NULL},
    {"urlize", NULL},
    {"wordcount", NULL},
    {"wordwrap", NULL},
    {"xmlattr", NULL},
};

bool tlmi_jinja_has_filter(const char *name)
{
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
        if (strcmp(name, filters[i].name) == 0)
            return true;
    return false;
}

tlm_status_t tlmi_jinja_call_filter(tlmi_value_t *out, tlmi_jinja_run_t *run, const char *name,
                                    const tlmi_value_t *object, const tlmi_args_t *args)
{
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
        if (filters[i].call != NULL && strcmp(name, filters[i].name) == 0)
            return filters[i].call(out, run, filters[i].name, object, args);
    return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                           "the filter %.40s is not supported", name);
}

/* ---- Tests ---- */

static bool is_type(const char *name, const tlmi_value_t *object, bool *holds)
{
    uint8_t type = object->type;
    bool has_items = type == TLMI_VALUE_STRING || type == TLMI_VALUE_LIST ||
                     type == TLMI_VALUE_MAP || type == TLMI_VALUE_UNDEFINED;
    const struct {
        const char *name;
        bool holds;
    } tests[] = {
        {"defined", type != TLMI_VALUE_UNDEFINED},
        {"undefined", type == TLMI_VALUE_UNDEFINED},
        {"none", type == TLMI_VALUE_NONE},
        {"string", type == TLMI_VALUE_STRING},
        {"mapping", type == TLMI_VALUE_MAP},
        {"iterable", has_items},
        {"sequence", has_items},
        {"boolean", type == TLMI_VALUE_BOOL},
        {"true", type == TLMI_VALUE_BOOL && object->as.truth},
        {"false", type == TLMI_VALUE_BOOL && !object->as.truth},
        {"integer", type == TLMI_VALUE_INT},
        {"float", type == TLMI_VALUE_REAL},
        {"number", type == TLMI_VALUE_INT || type == TLMI_VALUE_REAL || type == TLMI_VALUE_BOOL},
        {"callable", type == TLMI_VALUE_FUNCTION || type == TLMI_VALUE_MACRO},
    };

    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        if (strcmp(name, tests[i].name) == 0) {
            *holds = tests[i].holds;
            return true;
        }
    return false;
}

/* Tests that compare with an argument, and their operators. */
static const struct {
    const char *name;
    uint8_t op;
} comparisons[] = {{"eq", '='},          {"equalto", '='}, {"==", '='},       {"ne", '!'},
                   {"!=", '!'},          {"lt", '<'},      {"lessthan", '<'}, {"gt", '>'},
                   {"greaterthan", '>'}, {"le", 'l'},      {"ge", 'g'},       {"in", 'i'}};

static tlm_status_t test_number(bool *out, const char *name, const tlmi_value_t *object,
                                const tlmi_args_t *args)
{
    const tlmi_value_t *by = tlmi_args_get(args, 0, NULL);
    int64_t divisor = 2;

    if (strcmp(name, "divisibleby") == 0)
        divisor = by != NULL && by->type == TLMI_VALUE_INT ? by->as.integer : 0;
    if (object->type != TLMI_VALUE_INT || divisor == 0)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, args->node->line, "the test %s of %s", name,
                               tlmi_value_type_name(object));
    *out = (divisor == -1 || object->as.integer % divisor == 0) == (strcmp(name, "odd") != 0);
    return TLM_OK;
}

static bool is_number_test(const char *name)
{
    return strcmp(name, "odd") == 0 || strcmp(name, "even") == 0 ||
           strcmp(name, "divisibleby") == 0;
}

bool tlmi_jinja_has_test(const char *name)
{
    const tlmi_value_t none = TLMI_NONE;
    bool holds;

    for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++)
        if (strcmp(name, comparisons[i].name) == 0)
            return true;
    return is_number_test(name) || is_type(name, &none, &holds);
}

tlm_status_t tlmi_jinja_call_test(bool *out, tlmi_jinja_run_t *run, const char *name,
                                  const tlmi_value_t *object, const tlmi_args_t *args)
{
    const tlmi_value_t *other = tlmi_args_get(args, 0, NULL);

    if (is_type(name, object, out))
        return tlmi_args_check(args, 0, NULL);
    if (is_number_test(name))
        return test_number(out, name, object, args);
    for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]) && other != NULL; i++)
        if (strcmp(name, comparisons[i].name) == 0)
            return tlmi_jinja_compare(out, run, args->node, comparisons[i].op, object, other);
    return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, args->node->line,
                           "the test %.40s is not supported here", name);
}
