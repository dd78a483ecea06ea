/* The part of Jinja that chat templates use. The expected texts are those of Jinja 3.1 with the
 * settings of transformers; tests/python/test_chat_peers.py compares many more. */
#include "base_support.h"

typedef struct pair {
    const char *source, *expected;
} pair_t;

static const pair_t pairs[] = {
    {"text only", "text only"},
    {"", ""},
    {"a\n", "a"},
    {"a\n\n", "a\n"},
    {"{# comment #}x{#- y -#} z", "xz"},
    {"  {# c #}\nx", "x"},
    {"a  {%- if true -%}  b  {%- endif -%}  c", "abc"},
    {"a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"},
    {"a {%+ if true %} b{% endif %}", "a  b"},
    {"{{ 'a' 'b' \"c\" }}", "abc"},
    {"{{ 'it\\'s \\\"q\\\" \\\\ \\n|\\t|\\x41|\\u00e9|\\q' }}",
     "it's \"q\" \\ \n|\t|A|\xc3\xa9|\\q"},
    {"{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 1 / "
     "2 }} {{ 6 / 2 }}",
     "7 9 3 -4 1 2 0.5 3.0"},
    {"{{ 1.5 + 1 }} {{ 2.0 }} {{ 0.1 }} {{ 100000.0 }}", "2.5 2.0 0.1 100000.0"},
    {"{{ true }} {{ none }} {{ not true }} {{ missing }}|{{ missing is defined }}",
     "True None False |False"},
    {"{{ 1 < 2 }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ 2 >= 2 }} {{ 1 != 1.0 }} {{ "
     "true == 1 }} {{ 'a' == 1 }}",
     "True True False True True False True False"},
    {"{{ 'b' in 'abc' }} {{ 'x' not in 'abc' }} {{ 1 in [1, 2] }} {{ 'k' in {'k': 1} }} {{ 'a' in "
     "missing }}",
     "True True True True False"},
    {"{{ 'a' or 'b' }} {{ '' or 'b' }} {{ 'a' and 'b' }} {{ 0 and 1 }} {{ [] or 'e' }}",
     "a b b 0 e"},
    {"{{ not 1 == 2 }} {{ not false and false }} {{ 'x' if 1 > 2 else 'y' }} {{ 'x' if false }}|",
     "True False y |"},
    {"{{ 'a' + 'b' | upper }} {{ ('a' + 'b') | upper }} {{ 1 ~ 'a' ~ none }}", "aB AB 1aNone"},
    {"{{ [1, 'a'][1] }} {{ [1, 2, 3][-1] }} {{ 'abc'[0] }} {{ 'h\xc3\xa9llo'[1] }} {{ [1][5] }}|{{ "
     "'abc'[9] }}|",
     "a 3 a \xc3\xa9 ||"},
    {"{{ 'abcdef'[1:3] }} {{ 'abcdef'[-2:] }} {{ 'abc'[:-1] }} {{ 'h\xc3\xa9\xe4\xbd\xa0'[1:] }} "
     "{{ 'abc'[5:] }}|{{ 'abc'[2:1] }}|",
     "bc ef ab \xc3\xa9\xe4\xbd\xa0 ||"},
    {"{% for x in [1, 2, 3, 4][::-1] %}{{ x }}{% endfor %} {% for x in [1, 2, 3, 4, 5][::2] %}{{ x "
     "}}{% endfor %} {% for x in [1, 2, 3][5:] %}{{ x }}{% else %}none{% endfor %}",
     "4321 135 none"},
    {"{% for x in range(3) %}{{ x }}{% endfor %} {% for x in range(2, 8, 3) %}{{ x }}{% endfor %} "
     "{% for x in range(3, 0, -1) %}{{ x }}{% endfor %}",
     "012 25 321"},
    {"{% for x in 'ab' %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ "
     "loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ x }} {% endfor %}",
     "10TrueFalse221a 21FalseTrue210b "},
    {"{% for x in [1, 2, 3] if x != 2 %}{{ x }}/{{ loop.length }} {% endfor %}", "1/2 3/2 "},
    {"{% for x in [1, 2, 3] %}{{ loop.previtem }}<{{ loop.nextitem }};{% endfor %}", "<2;1<3;2<;"},
    {"{% for a, b in [[1, 2], [3, 4]] %}{{ a }}-{{ b }} {% endfor %}{% for k, v in {'x': 1, 'y': "
     "2}.items() %}{{ k }}={{ v }} {% endfor %}",
     "1-2 3-4 x=1 y=2 "},
    {"{% for x in [1, 2, 3, 4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break "
     "%}{% endif %}{{ x }}{% endfor %}",
     "13"},
    {"{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor %}{{ x }}",
     "15151"},
    {"{% set ns = namespace(a=1, b='z') %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% endfor "
     "%}{{ ns.a }}{{ ns.b }}{{ ns.c }}",
     "4z"},
    {"{% if true %}{% set y = 3 %}{% endif %}{{ y }} {% set a, b = 1, 2 %}{{ a }}{{ b }} {% set t "
     "= (1, 2) %}{{ t[1] }}",
     "3 12 2"},
    {"{% set b %}x{{ 1 }}{% endset %}[{{ b }}]", "[x1]"},
    {"{% macro f(a, b='d') %}<{{ a }}{{ b }}>{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(b=3, a=4) "
     "}}",
     "<1d><12><43>"},
    {"{% set g = 'G' %}{% macro f() %}{{ g }}{% endmacro %}{% for g in [1] %}{{ f() }}{% endfor %}",
     "G"},
    {"{% if false %}a{% elif 1 %}b{% else %}c{% endif %}{% if 0 %}a{% else %}d{% endif %}", "bd"},
    {"[{{ '  a b  ' | trim }}][{{ ' a '.strip() }}][{{ ' a '.lstrip() }}][{{ ' a '.rstrip() }}][{{ "
     "'xxaxx'.strip('x') }}][{{ 'abcab'.lstrip('ba') }}][{{ '\xe3\x80\x80"
     "a\xc2\xa0' | trim }}]",
     "[a b][a][a ][ a][a][cab][a]"},
    {"{{ 'a,b,c'.split(',') | join('|') }} {{ ' a  b '.split() | join('|') }} {{ "
     "'a</t>b</t>c'.split('</t>')[-1] }} {{ 'a-b-c'.split('-', 1)[1] }} {{ ''.split(',') | length "
     "}} {{ ''.split() | length }}",
     "a|b|c a|b c b-c 1 0"},
    {"{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'aXbX'.replace('X', 'y') "
     "}} {{ 'aXbX'.replace('X', '', 1) }} {{ 'aXb' | replace('X', 'YY') }} {{ 'abc'.find('c') }} "
     "{{ 'abc'.find('z') }}",
     "True True ayby abX aYYb 2 -1"},
    {"{{ 'aBc'.upper() }} {{ 'aBc' | lower }} {{ 'ab cd' | title }} {{ 'aBC' | capitalize }}",
     "ABC abc Ab Cd Abc"},
    {"{{ [1, 2] | length }} {{ 'h\xc3\xa9' | length }} {{ {'a': 1} | length }} {{ missing | length "
     "}} {{ [3, 4] | first }} {{ [3, 4] | last }} {{ [] | first }}|",
     "2 2 1 0 3 4 |"},
    {"{{ missing | default('d') }} {{ '' | default('d') }}|{{ '' | default('d', true) }} {{ none | "
     "default('d') }}",
     "d |d None"},
    {"{{ [1, 2, 3] | reverse | join(',') }} {{ {'a': 1, 'b': 2} | list | join(',') }} {{ 'ab' | "
     "list | join('-') }} {{ [1, 2] | join }}",
     "3,2,1 a,b a-b 12"},
    {"{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | "
     "rejectattr('role', 'equalto', 'user') | map(attribute='role') | join(',') }} {{ [0, 1, ''] | "
     "select | list | length }} {{ ['a', 'b'] | reject('equalto', 'a') | join }} {{ ['a', 'b'] | "
     "map('upper') | join }}",
     "1 system,assistant 1 b AB"},
    {"{{ {'a': [1, true, none, 'x\"\\n\xc3\xa9<'], 'b': {}} | tojson }} {{ [] | tojson }} {{ 'q' | "
     "tojson }} {{ 1.5 | tojson }}",
     "{\"a\": [1, true, null, \"x\\\"\\n\xc3\xa9<\"], \"b\": {}} [] \"q\" 1.5"},
    {"{{ {'a': [1, 2], 'b': {'c': []}} | tojson(indent=2) }}",
     "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {\n    \"c\": []\n  }\n}"},
    {"{{ 1 is number }} {{ 'a' is string }} {{ none is none }} {{ [] is iterable }} {{ 'a' is "
     "iterable }} {{ {} is mapping }} {{ [] is mapping }} {{ true is boolean }} {{ 1 is integer }} "
     "{{ 1.5 is float }} {{ 3 is odd }} {{ 4 is even }} {{ 6 is divisibleby 3 }} {{ true is true "
     "}} {{ 1 is true }} {{ [] is sequence }} {{ 1 is not string }} {{ 2 is eq 2 }} {{ 1 is in [1] "
     "}}",
     "True True True True True True False True True True True True True True False True True True "
     "True"},
    {"{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }} {{ {'a': "
     "1}.keys() | list | join }} {{ {'a': 1}.values() | list | join }} {{ {'a': 1}.a }} {{ {'a': "
     "1}['a'] }} {{ {'a': 1}.b }}|",
     "1 None 2 a 1 1 1 |"},
    {"{{ messages[0].role }} {{ messages[1]['content'] }} {{ messages[-1].content }} {{ messages | "
     "length }} {{ messages[1].name is defined }} {{ 'name' in messages[1] }} {{ tools is none }} "
     "{{ tools is defined }}",
     "system  U  A 3 False False True True"},
    {"{{ bos_token }}{{ eos_token }} {{ add_generation_prompt }} {{ extra }} {{ flags.on }} {{ "
     "flags['n'] + 1 }} {{ items_[1] }}",
     "<s></s> True E True 2 two"},
    {"{{ strftime_now is defined }} {{ range is defined }} {{ strftime_now('%Y') | length }}",
     "True True 4"},
    {"{% generation %}g{% endgeneration %}{{ '{{' }}{{ '%}' }}{{ {'a': {'b': 1}}['a']['b'] }}",
     "g{{%}1"},
    {"{{ 'a' if messages else 'b' }}{{ (1, 2) | length }}{{ [[1, 2], [3]][0][1] }}{{ 'x' * 1 if "
     "false else '' }}",
     "a22"},
    {"{% set x = [1] + [2, 3] %}{{ x | join }} {{ +3 }} {{ -3 + 1 }} {{ - 2 }} {{ 5 | abs }} {{ "
     "'3' | string }} {{ 2.9 | int }}",
     "123 3 -2 -2 5 3 2"},
    {"{% for m in messages %}{{ loop.cycle('a', 'b') }}{{ m.role }}{% endfor %} {% for i in [1, 2] "
     "%}{% for j in [1, 2] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
     "asystembuseraassistant 121122"},
    {"line1\r\nline2\rline3 {{ 'x\r\ny' }}", "line1\nline2\nline3 x\ny"},
    {"{%- set a = 1 -%}\n\n  {{- a -}}  \n\n b {{ a -}}\n c", "1b 1c"},
    {"{{ messages[0].content.foo is defined }}{{ none.x is defined }}{{ messages[7] is defined "
     "}}{{ {'items_': 3}['items_'] }}",
     "FalseFalseFalse3"},
    {"{{ 'abc' is in ['abc'] }} {{ 'a' is string and 'b' is string }} {{ 1 == 1 and 2 != 3 or "
     "false }}",
     "True True True"},
    {"{{ [1, ['a', {'k': 2}]] == [1.0, ['a', {'k': 2}]] }} {{ [1] == (1,) }} {{ {'a': 1, 'b': [2]} "
     "== {'b': [2], 'a': 1} }} {{ {'a': 1} == {'b': 1} }} {{ [1, 2] != [1, 3] }} {{ [2] in [[1], "
     "[2]] }} {{ [[' a '], ['b']] | map('map', 'trim') | map('join') | join }}",
     "True False True False True True ab"},
    {"{{ {1: 'a', none: 'c'}[1] }} {{ {1: 'a'}.get(1.0) }} {{ 1 in {1: 2} }} {{ none in {none: 1} "
     "}} {{ 'a' in {1: 2} }} {{ {1: 2}[2] }}|",
     "a a True True False |"},
    {"{{ range(-9223372036854775807, 9223372036854775807, 4611686018427387904) | join(',') }} {{ "
     "range(9223372036854775806, 9223372036854775807, 5) | join }} {{ [1, "
     "2][::-9223372036854775807 "
     "- 1] | join }} {{ 'a b'.split(' ', -9223372036854775807 - 1) | length }} {{ "
     "9007199254740993 > 9007199254740992 }}",
     "-9223372036854775807,-4611686018427387903,1,4611686018427387905 9223372036854775806 2 2 "
     "True"},
};

static const tlm_chat_message_t messages[] = {
    {"system", "S", 1}, {"user", " U ", 3}, {"assistant", "A", 1}};

static tlm_chat_template_t *parse(const char *source)
{
    tlm_chat_template_t *out;

    ASSERT_OK(tlm_chat_template_parse(&out, source, strlen(source), "<s>", "</s>"));
    return out;
}

START_TEST(test_texts)
{
    tlm_chat_options_t options = TLM_CHAT_OPTIONS_INIT;

    options.add_generation_prompt = true;
    options.variables =
        "{\"extra\": \"E\", \"flags\": {\"on\": true, \"n\": 1}, \"items_\": [1, \"two\"]}";
    for (size_t i = 0; i < COUNT(pairs); i++) {
        tlm_chat_template_t *template = parse(pairs[i].source);
        size_t size;
        char *text;

        ASSERT_OK(
            tlm_chat_template_render(&text, &size, template, messages, COUNT(messages), &options));
        ck_assert_str_eq(text, pairs[i].expected);
        ck_assert_uint_eq(size, strlen(text));
        tlm_free(text);
        tlm_chat_template_free(template);
    }
}
END_TEST

/* Each is refused when it is read, with this in the message. */
#define NAME_16  "abcdefghijklmnop"
#define NAME_64  NAME_16 NAME_16 NAME_16 NAME_16
#define NAME_256 NAME_64 NAME_64 NAME_64 NAME_64

START_TEST(test_refused_templates)
{
    static const struct {
        const char *source, *part;
        tlm_status_t status;
    } cases[] = {
        {"{% include 'x' %}", "{% include %} is not supported", TLM_ERR_UNSUPPORTED},
        {"a\n{% block x %}{% endblock %}", "line 2: {% block %}", TLM_ERR_UNSUPPORTED},
        {"{% raw %}{{ x }}{% endraw %}", "raw", TLM_ERR_UNSUPPORTED},
        {"{{ 'a' | nonsense }}", "filter nonsense", TLM_ERR_UNSUPPORTED},
        {"{{ 1 is nonsense }}", "test nonsense", TLM_ERR_UNSUPPORTED},
        {"{{ f(*a) }}", "arguments with *", TLM_ERR_UNSUPPORTED},
        {"{{ '\\N{DASH}' }}", "escape \\N", TLM_ERR_UNSUPPORTED},
        {"{{ 123456789012345678901 }}", "number", TLM_ERR_UNSUPPORTED},
        {"{% for x in a recursive %}{% endfor %}", "recursive", TLM_ERR_UNSUPPORTED},
        {"{{ 'a }}", "a string has no end", TLM_ERR_FORMAT},
        {"{{ a", "a tag has no end", TLM_ERR_FORMAT},
        {"{# a", "a comment has no end", TLM_ERR_FORMAT},
        {"{{ a) }}", "unexpected ')'", TLM_ERR_FORMAT},
        {"{{ a b }}", "}} is expected instead of 'b'", TLM_ERR_FORMAT},
        {"{{ }}", "an expression is expected", TLM_ERR_FORMAT},
        {"{{ a. }}", "a name is expected", TLM_ERR_FORMAT},
        {"{{ a[] }}", "an index is expected", TLM_ERR_FORMAT},
        {"{{ f(a=1, 2) }}", "an argument with a name", TLM_ERR_FORMAT},
        {"{{ a $ b }}", "unexpected byte 0x24", TLM_ERR_FORMAT},
        {"{{ ! a }}", "unexpected byte 0x21", TLM_ERR_FORMAT},
        {"{% if a %}", "before {% elif %}", TLM_ERR_FORMAT},
        {"{% for a in b %}{% endif %}", "{% endif %} is not supported", TLM_ERR_UNSUPPORTED},
        {"{% break %}", "stands in no loop", TLM_ERR_FORMAT},
        {"{% set %}", "a name is expected", TLM_ERR_FORMAT},
        {"{% set a b %}", "= is expected", TLM_ERR_FORMAT},
        {"{% macro f(1) %}{% endmacro %}", "a name is expected", TLM_ERR_FORMAT},
        {"{% 1 %}", "a statement is expected", TLM_ERR_FORMAT},
        {"{% if a %}x{% else %}y{% else %}z{% endif %}", "{% else %}", TLM_ERR_UNSUPPORTED},
        {"{{ " NAME_256 " }}", "a name of 256 characters", TLM_ERR_UNSUPPORTED},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        tlm_chat_template_t *out = NULL;

        ck_assert_int_eq(
            tlm_chat_template_parse(&out, cases[i].source, strlen(cases[i].source), NULL, NULL),
            cases[i].status);
        ck_assert_msg(strstr(tlm_error_message(), cases[i].part) != NULL &&
                          strstr(tlm_error_message(), "the template begins: ") != NULL,
                      "%s: %s", cases[i].source, tlm_error_message());
        ck_assert_ptr_null(out);
    }
    ASSERT_FAILS(TLM_ERR_FORMAT, "byte 1 is NUL",
                 tlm_chat_template_parse(&(tlm_chat_template_t *){NULL}, "a\0b", 3, NULL, NULL));
}
END_TEST

/* Each is refused when it is evaluated. */
/* A text of 1 MiB: what a step does with it takes as many steps as it is long. */
#define BIG_TEXT                                                                                   \
    "{% set n = namespace(t='0123456789abcdef') %}{% for i in range(16) %}"                        \
    "{% set n.t = n.t + n.t %}{% endfor %}"

START_TEST(test_refused_evaluations)
{
    static const struct {
        const char *source, *part;
        tlm_status_t status;
    } cases[] = {
        {"{{ missing.x }}", "'missing' is undefined", TLM_ERR_FORMAT},
        {"\n\n{{ 'a' + missing }}", "line 3: 'missing' is undefined", TLM_ERR_FORMAT},
        {"{{ messages[9].role }}", "is undefined", TLM_ERR_FORMAT},
        {"{{ missing() }}", "'missing' is undefined", TLM_ERR_FORMAT},
        {"{{ 'a' + 1 }}", "'+' of a string and an integer", TLM_ERR_UNSUPPORTED},
        {"{{ 2 ** 3 }}", "'**'", TLM_ERR_UNSUPPORTED},
        {"{{ 1 < 'a' }}", "have no order", TLM_ERR_FORMAT},
        {"{{ 1 in 2 }}", "'in' of an integer and an integer", TLM_ERR_FORMAT},
        {"{{ 1 // 0 }}", "1 divided by 0", TLM_ERR_FORMAT},
        {"{{ 1 / 0 }}", "division by zero", TLM_ERR_FORMAT},
        {"{{ 9223372036854775807 + 1 }}", "64 bits", TLM_ERR_UNSUPPORTED},
        {"{{ messages }}", "it prints a list", TLM_ERR_UNSUPPORTED},
        {"{{ messages[0] }}", "it prints a mapping", TLM_ERR_UNSUPPORTED},
        {"{% for x in 5 %}{% endfor %}", "an integer is nothing to go through", TLM_ERR_FORMAT},
        {"{% for a, b in [[1]] %}{% endfor %}", "1 values for 2 names", TLM_ERR_FORMAT},
        {"{% set m = {} %}{% set m.x = 1 %}", "not a namespace", TLM_ERR_FORMAT},
        {"{{ 'a'.nonsense() }}", "the method nonsense of a string", TLM_ERR_UNSUPPORTED},
        {"{{ [1].append(2) }}", "the method append of a list", TLM_ERR_UNSUPPORTED},
        {"{{ [2, 1] | sort }}", "the filter sort is not supported", TLM_ERR_UNSUPPORTED},
        {"{{ 'a' | tojson(sort_keys=true) }}", "sort_keys", TLM_ERR_UNSUPPORTED},
        {"{{ strftime_now('%Q') }}", "%Q", TLM_ERR_UNSUPPORTED},
        {"{{ 'abc'[::2] }}", "a slice of a string with a step", TLM_ERR_UNSUPPORTED},
        {"{{ [1][::0] }}", "the step of a slice", TLM_ERR_FORMAT},
        {"{{ range(10000000) }}", "range has more than 1000000", TLM_ERR_UNSUPPORTED},
        {"{{ 'a'(1) }}", "a call of a string", TLM_ERR_FORMAT},
        {"{{ loop.index }}", "'loop' is undefined", TLM_ERR_FORMAT},
        {"{% for x in [1] %}{{ loop.depth }}{% endfor %}", "loop.depth", TLM_ERR_UNSUPPORTED},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested too deep", TLM_ERR_UNSUPPORTED},
        {"{% set n = namespace(a=[], b=[]) %}{% for i in range(200000) %}{% set n.a = [n.a] %}"
         "{% set n.b = [n.b] %}{% endfor %}{{ n.a == n.b }}",
         "nested too deep", TLM_ERR_UNSUPPORTED},
        {"{% set n = namespace(a=[], b=[]) %}{% for i in range(40) %}{% set n.a = [n.a, n.a] %}"
         "{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a in [n.b] }}",
         "steps", TLM_ERR_UNSUPPORTED},
        {"{{ {'a': 1, [2]: 3} }}", "a key that is a list", TLM_ERR_UNSUPPORTED},
        {"{% for a in range(1000000) %}{% for b in range(1000000) %}{% endfor %}{% endfor %}",
         "steps", TLM_ERR_UNSUPPORTED},
        {"{% set n = namespace(t='0123456789abcdef') %}{% for i in range(60) %}"
         "{% set n.t = n.t + n.t %}{% endfor %}",
         "more than 268435456 bytes of memory", TLM_ERR_OUT_OF_MEMORY},
        {"{% set n = namespace(t='0123456789abcdef') %}{% for i in range(16) %}"
         "{% set n.t = n.t + n.t %}{% endfor %}{{ range(1000000) | join(n.t) | length }}",
         "a text has more than 268435456 bytes", TLM_ERR_UNSUPPORTED},
        {BIG_TEXT "{% for i in range(1000000) %}{% if n.t | length == 1 %}{% endif %}{% endfor %}",
         "steps", TLM_ERR_UNSUPPORTED},
        {BIG_TEXT "{% for i in range(1000000) %}{% if 'x' in n.t %}{% endif %}{% endfor %}",
         "steps", TLM_ERR_UNSUPPORTED},
        {BIG_TEXT "{% for i in range(1000000) %}{% set x = n.t[-1] %}{% endfor %}", "steps",
         TLM_ERR_UNSUPPORTED},
        {BIG_TEXT "{% for i in range(1000000) %}{{ n.t.find('x') }}{% endfor %}", "steps",
         TLM_ERR_UNSUPPORTED},
        {BIG_TEXT
         "{% set u = n.t + 'x' %}{% set w = n.t + 'y' %}{% set l = [u, u, u, u, u, u, u] %}"
         "{% for i in range(100000) %}{% if w in l %}{% endif %}{% endfor %}",
         "steps", TLM_ERR_UNSUPPORTED},
        {BIG_TEXT "{% set l = [n.t, n.t, n.t] %}{% for i in range(100000) %}"
                  "{% set x = l | select('eq', n.t) %}{% endfor %}",
         "steps", TLM_ERR_UNSUPPORTED},
        {BIG_TEXT "{% for i in range(100000) %}{% if n.t.startswith((n.t, n.t, n.t)) %}{% endif %}"
                  "{% endfor %}",
         "steps", TLM_ERR_UNSUPPORTED},
        {BIG_TEXT "{{ n.t.strip(n.t + n.t) | length }}", "steps", TLM_ERR_UNSUPPORTED},
        {BIG_TEXT "{{ n.t | trim('x' + n.t) | length }}", "steps", TLM_ERR_UNSUPPORTED},
        {"{{ raise_exception('no ' + messages[1].role) }}", "message 1 (user): no user",
         TLM_ERR_INVALID_ARGUMENT},
        {"{{ raise_exception('no') }}", "chat template: no", TLM_ERR_INVALID_ARGUMENT},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        tlm_chat_template_t *template = parse(cases[i].source);
        char *text = NULL;
        size_t size = 7;

        ck_assert_int_eq(
            tlm_chat_template_render(&text, &size, template, messages, COUNT(messages), NULL),
            cases[i].status);
        ck_assert_msg(strstr(tlm_error_message(), cases[i].part) != NULL, "%s: %s", cases[i].source,
                      tlm_error_message());
        ck_assert(text == NULL && size == 7);
        tlm_chat_template_free(template);
    }
}
END_TEST

/* Values that are small but hold one another many times, and calls that are repeated: what is done counts, not what comes
 * of it. */
START_TEST(test_work_counts)
{
#define SHARED(first, next)                                                                        \
    "{% set n = namespace(a=" first ") %}{% for i in range(50) %}{% set n.a = " next               \
    " %}{% endfor %}"
#define FILLED(first)                                                                              \
    "{% set n = namespace(l=" first                                                                \
    ") %}{% for i in range(17) %}{% set n.l = n.l + n.l %}{% endfor %}"
#define NOTHINGS                                                                                   \
    FILLED("[messages[0].content[:0], messages[1].content[:0]]") "{% set e = n.l | join %}"
#define AGAIN(what) "{% for i in range(1000000) %}{% set x = " what " %}{% endfor %}"
    static const char *const cases[] = {
        SHARED("[1]", "[n.a, n.a]") "{{ n.a | tojson | length }}",
        SHARED("[]", "[n.a, n.a]") "{{ n.a | tojson | length }}",
        SHARED("[0.12345678901234567]", "[n.a, n.a]") "{{ n.a | tojson(indent=16) | length }}",
        SHARED("{}", "{'a': n.a, 'b': n.a}") "{{ n.a | tojson(indent=0) | length }}",
        SHARED("'\x01\n'", "[n.a, n.a]") "{{ n.a | tojson | length }}",
        FILLED("['']") AGAIN("n.l | join"),
        FILLED("['']") AGAIN("''.join(n.l)"),
        FILLED("[missing]") AGAIN("n.l | join(missing)"),
        FILLED("['']") AGAIN("n.l | map(attribute='a') | first"),
        FILLED("' '") AGAIN("n.l | trim"),
        FILLED("' '") AGAIN("n.l.rstrip()"),
        FILLED("' '") AGAIN("n.l.split()"),
        FILLED("'a'") AGAIN("n.l.split()"),
        FILLED("'a'") AGAIN("n.l[-2:]"),
        FILLED("'a'") AGAIN("n.l[-2]"),
        FILLED("'a'") AGAIN("n.l.replace('a', '')"),
        FILLED("'a'") AGAIN("strftime_now(n.l)"),
        FILLED("'%d'") "{{ strftime_now(n.l + n.l + n.l + n.l) | length }}" AGAIN(
            "n.l | replace('%', '')"),
        NOTHINGS "{% for i in range(1000000) %}{{ e }}{% endfor %}",
        NOTHINGS AGAIN("e ~ e"),
        NOTHINGS AGAIN("e[0:0]"),
        NOTHINGS AGAIN("e | tojson"),
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        tlm_chat_template_t *template = parse(cases[i]);
        char *text = NULL;
        size_t size;
        tlm_status_t status =
            tlm_chat_template_render(&text, &size, template, messages, COUNT(messages), NULL);

        ck_assert_msg(status == TLM_ERR_UNSUPPORTED &&
                          strstr(tlm_error_message(), "more than 8388608 steps") != NULL,
                      "%s: %s", cases[i], status == TLM_OK ? "no error" : tlm_error_message());
        tlm_chat_template_free(template);
    }
}
END_TEST

/* Members are looked for one by one. */
START_TEST(test_lookups_count)
{
    static const char *const ends[] = {AGAIN("m['no']"), AGAIN("m.no"), AGAIN("'no' in m"),
                                       AGAIN("m == m"), AGAIN("dict(m)")};
    size_t n = 4000;

    for (size_t i = 0; i < COUNT(ends); i++) {
        char *source = malloc(n * 16 + 200), *text = NULL;
        size_t size = (size_t)sprintf(source, "{%% set m = {"), length;

        for (size_t k = 0; k < n; k++)
            size += (size_t)sprintf(source + size, "'k%zu': %zu,", k, k);
        sprintf(source + size, "} %%}%s", ends[i]);
        tlm_chat_template_t *template = parse(source);
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "more than 8388608 steps",
                     tlm_chat_template_render(&text, &length, template, messages, 3, NULL));
        tlm_chat_template_free(template);
        free(source);
    }
}
END_TEST

/* A message of a million tokens takes no part of these steps worth speaking of. */
START_TEST(test_long_messages)
{
    static const char source[] =
        "{% for m in messages %}{% set c = m.content.strip() %}{{ m.role ~ ': ' + c }}"
        "{% if c[0] == 'w' and '</think>' in c %}{{ c.split('</think>')[-1].lstrip('\n') }}{% "
        "endif %}"
        "{{ c.replace('\n', ' ') | length }}{{ [c] | tojson | length }}{{ c[:10] | trim }}{% "
        "endfor %}";
    size_t size = (size_t)4 << 20, length = 0;
    char *content = malloc(size), *text = NULL;

    for (size_t i = 0; i < size; i++)
        content[i] = i % 80 == 79 ? '\n' : i % 6 == 5 ? ' ' : 'w';
    tlm_chat_template_t *template = parse(source);
    ASSERT_OK(tlm_chat_template_render(
        &text, &length, template,
        &(tlm_chat_message_t){.role = "user", .content = content, .size = size}, 1, NULL));
    ck_assert_uint_gt(length, size);
    tlm_free(text);
    tlm_chat_template_free(template);
    free(content);
}
END_TEST

/* A template that is nested deep, or long, is refused or evaluated, never a stack that overflows. */
START_TEST(test_deep_templates)
{
    static const char *const nests[][3] = {
        {"{{ ", "(", ""},      {"{{ ", "[", ""},         {"{{ ", "not ", "a }}"},
        {"{{ ", "-", "a }}"},  {"", "{% if a %}", ""},   {"{{ 1", " + 1", " }}"},
        {"{{ a", ".b", " }}"}, {"{{ a", "|trim", " }}"}, {"{{ ", "a if b else ", "c }}"},
        {"{{ a", "(a", ""},
    };

    for (size_t i = 0; i < COUNT(nests); i++) {
        tlm_chat_template_t *out = NULL;
        size_t unit = strlen(nests[i][1]), n = 100000, at = strlen(nests[i][0]);
        char *source = malloc(at + unit * n + 8);

        strcpy(source, nests[i][0]);
        for (size_t k = 0; k < n; k++, at += unit)
            memcpy(source + at, nests[i][1], unit);
        strcpy(source + at, nests[i][2]);
        ck_assert_int_eq(tlm_chat_template_parse(&out, source, strlen(source), NULL, NULL),
                         TLM_ERR_UNSUPPORTED);
        free(source);
    }
}
END_TEST

/* A filter that calls itself as often as it has arguments ends too. */
START_TEST(test_deep_filters)
{
    static const char begin[] = "{% set n = namespace(a=[1]) %}{% for i in range(100000) %}"
                                "{% set n.a = [n.a] %}{% endfor %}{{ n.a | map(",
                      end[] = ") | length }}", unit[] = ",'map'";
    size_t n = 100000, size;
    char *source = malloc(sizeof(begin) + n * strlen(unit) + sizeof(end)), *text = NULL, *at;

    at = stpcpy(source, begin);
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, i == 0 ? unit + 1 : unit);
    strcpy(at, end);
    tlm_chat_template_t *template = parse(source);
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "nested too deep",
                 tlm_chat_template_render(&text, &size, template, messages, 3, NULL));
    ck_assert_ptr_null(text);
    tlm_chat_template_free(template);
    free(source);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_texts,        test_refused_templates, test_refused_evaluations, test_deep_templates,
        test_deep_filters, test_work_counts,       test_lookups_count,       test_long_messages};

    return run_tests("jinja", tests, COUNT(tests));
}
