/* Templates to tokens, as Jinja's lexer makes them with trim_blocks and lstrip_blocks: the newline
 * after a block is dropped, and so is white space between the start of a line and a block. */
#include <string.h>

#include "base/memory.h"
#include "base/number.h"
#include "tokenizer/chat/jinja.h"
#include "tokenizer/pretokenize/unicode.h"

typedef struct lexer {
    tlmi_arena_t *arena;
    const char *text; /* newlines are \n */
    size_t size, at;
    int line;
    bool at_line_start; /* what comes next begins a line */
    tlmi_token_t *tokens;
    size_t n, capacity;
    char open[TLMI_JINJA_MAX_DEPTH]; /* brackets that are open */
    size_t num_open;
} lexer_t;

static tlm_status_t add_token(lexer_t *lexer, tlmi_token_type_t type, const char *bytes,
                              size_t size)
{
    if (!tlmi_grow(&lexer->tokens, &lexer->capacity, lexer->n + 1, sizeof(*lexer->tokens),
                   "a chat template"))
        return TLM_ERR_OUT_OF_MEMORY;
    lexer->tokens[lexer->n++] =
        (tlmi_token_t){.type = type, .line = lexer->line, .bytes = bytes, .size = size};
    return TLM_OK;
}

static bool starts_with(const lexer_t *lexer, const char *what)
{
    size_t size = strlen(what);

    return lexer->size - lexer->at >= size && memcmp(lexer->text + lexer->at, what, size) == 0;
}

static void advance(lexer_t *lexer, size_t to)
{
    for (; lexer->at < to; lexer->at++)
        lexer->line += lexer->text[lexer->at] == '\n';
}

/* Newlines become \n, and one at the end is dropped. */
static tlm_status_t normalize_newlines(lexer_t *lexer, const char *source, size_t size)
{
    char *text = tlmi_arena_alloc(lexer->arena, size + 1, 1);

    if (text == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < size; i++) {
        if (source[i] == '\r' && i + 1 < size && source[i + 1] == '\n')
            continue;
        text[lexer->size++] = source[i];
        if (source[i] == '\r')
            text[lexer->size - 1] = '\n';
    }
    if (lexer->size > 0 && text[lexer->size - 1] == '\n')
        lexer->size--;
    text[lexer->size] = '\0';
    lexer->text = text;
    return TLM_OK;
}

/* ---- Text between tags ---- */

/* Returns where the next tag begins; the end of the template if there is none. */
static size_t find_tag(const lexer_t *lexer)
{
    for (size_t at = lexer->at; at + 1 < lexer->size; at++)
        if (lexer->text[at] == '{' && strchr("{%#", lexer->text[at + 1]) != NULL &&
            lexer->text[at + 1] != '\0')
            return at;
    return lexer->size;
}

/* Returns the end of the text before a tag at `tag`, without the white space that the tag takes. */
static size_t text_end(const lexer_t *lexer, size_t tag)
{
    const char *text = lexer->text + lexer->at;
    size_t size = tag - lexer->at, line = size;
    char sign = tag + 2 < lexer->size ? lexer->text[tag + 2] : '\0';

    if (sign == '-')
        return tag - tlmi_space_behind(text, size);
    if (sign == '+' || tag == lexer->size || lexer->text[tag + 1] == '{')
        return tag;
    while (line > 0 && text[line - 1] != '\n')
        line--;
    if ((line > 0 || lexer->at_line_start) &&
        tlmi_space_before(text + line, size - line) == size - line)
        return lexer->at + line;
    return tag;
}

static tlm_status_t lex_text(lexer_t *lexer, size_t tag)
{
    size_t end = text_end(lexer, tag);

    if (end > lexer->at)
        TLMI_TRY(add_token(lexer, TLMI_LEX_TEXT, lexer->text + lexer->at, end - lexer->at));
    advance(lexer, tag);
    return TLM_OK;
}

/* Skips what follows the end of a tag: all white space after "-", else one newline after blocks and
 * comments. */
static void skip_after(lexer_t *lexer, char sign, bool trims)
{
    const char *text = lexer->text + lexer->at;
    size_t left = lexer->size - lexer->at, skip = 0;

    if (sign == '-')
        skip = tlmi_space_before(text, left);
    else if (sign != '+' && trims && left > 0 && text[0] == '\n')
        skip = 1;
    lexer->at_line_start = skip > 0 && text[skip - 1] == '\n';
    advance(lexer, lexer->at + skip);
}

static tlm_status_t skip_comment(lexer_t *lexer)
{
    int line = lexer->line;
    size_t start = lexer->at + 2;

    start += start < lexer->size && (lexer->text[start] == '-' || lexer->text[start] == '+');
    for (size_t at = start; at + 1 < lexer->size; at++)
        if (lexer->text[at] == '#' && lexer->text[at + 1] == '}') {
            char sign = at > start ? lexer->text[at - 1] : '\0';

            advance(lexer, at + 2);
            skip_after(lexer, sign, true);
            return TLM_OK;
        }
    return tlmi_jinja_fail(TLM_ERR_FORMAT, line, "a comment has no end");
}

/* ---- Expressions ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static tlm_status_t lex_name(lexer_t *lexer)
{
    size_t end = lexer->at;

    while (is_name(lexer->text[end]) || is_digit(lexer->text[end]))
        end++;
    if (end - lexer->at > TLMI_JINJA_MAX_NAME)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, lexer->line,
                               "a name of %zu characters is not supported, only of up to %d",
                               end - lexer->at, TLMI_JINJA_MAX_NAME);
    TLMI_TRY(add_token(lexer, TLMI_LEX_NAME, lexer->text + lexer->at, end - lexer->at));
    lexer->at = end;
    return TLM_OK;
}

static tlm_status_t lex_number(lexer_t *lexer)
{
    const char *text = lexer->text + lexer->at;
    size_t digits = 0, size;
    int64_t integer = 0;
    bool fits = true;

    for (; is_digit(text[digits]); digits++)
        fits = fits && !__builtin_mul_overflow(integer, 10, &integer) &&
               !__builtin_add_overflow(integer, text[digits] - '0', &integer);
    size = digits;
    if (text[size] == '.' && is_digit(text[size + 1]))
        for (size++; is_digit(text[size]);)
            size++;
    bool is_real = size > digits;
    if (is_name(text[size]) || !fits || (digits > 1 && text[0] == '0' && !is_real))
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, lexer->line, "the number %.*s is not supported",
                               (int)(size < 40 ? size + 1 : 40), text);
    TLMI_TRY(add_token(lexer, is_real ? TLMI_LEX_REAL : TLMI_LEX_INT, text, size));
    lexer->tokens[lexer->n - 1].integer = integer;
    if (is_real)
        lexer->tokens[lexer->n - 1].real = tlmi_parse_number(text);
    lexer->at += size;
    return TLM_OK;
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads \xHH, \uHHHH or \UHHHHHHHH at text[0], which is the letter. Returns the number of bytes
 * read; 0 if they are malformed. */
static size_t read_hex(uint32_t *out, const char *text)
{
    size_t digits = text[0] == 'x' ? 2 : text[0] == 'u' ? 4 : 8;

    *out = 0;
    for (size_t i = 1; i <= digits; i++) {
        if (hex_value(text[i]) < 0)
            return 0;
        *out = *out << 4 | (uint32_t)hex_value(text[i]);
    }
    return *out > 0x10FFFF || (*out >= 0xD800 && *out < 0xE000) ? 0 : digits + 1;
}

/* Reads the escape whose letter is at text[0], appends its meaning to `to` and advances *size.
 * Returns the number of bytes read; 0 if it is not supported. */
static size_t read_escape(char *to, size_t *size, const char *text)
{
    static const char letters[] = "\\'\"abfnrtv", meanings[] = "\\'\"\a\b\f\n\r\t\v";
    const char *found = text[0] == '\0' ? NULL : strchr(letters, text[0]);
    uint32_t code_point;

    if (found != NULL) {
        to[(*size)++] = meanings[found - letters];
        return 1;
    }
    if (text[0] == '\n') /* continues the line */
        return 1;
    if (text[0] == 'x' || text[0] == 'u' || text[0] == 'U') {
        size_t read = read_hex(&code_point, text);

        if (read > 0)
            *size = (size_t)(tlmi_put_utf8((uint8_t *)to + *size, code_point) - (uint8_t *)to);
        return read;
    }
    if (is_digit(text[0]) || text[0] == 'N')
        return 0;
    to[(*size)++] = '\\'; /* as in Python, an unknown escape is what it looks like */
    to[(*size)++] = text[0];
    return 1;
}

static tlm_status_t lex_string(lexer_t *lexer)
{
    const char *text = lexer->text + lexer->at + 1;
    size_t left = lexer->size - lexer->at - 1, at = 0, size = 0;
    char quote = text[-1];

    while (at < left && text[at] != quote)
        at += text[at] == '\\' ? 2 : 1;
    if (at >= left)
        return tlmi_jinja_fail(TLM_ERR_FORMAT, lexer->line, "a string has no end");
    char *bytes = tlmi_arena_alloc(lexer->arena, at + 1, 1);
    if (bytes == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < at;) {
        if (text[i] != '\\') {
            bytes[size++] = text[i++];
            continue;
        }
        size_t read = read_escape(bytes, &size, text + i + 1);
        if (read == 0)
            return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, lexer->line,
                                   "the escape \\%c in a string is not supported", text[i + 1]);
        i += 1 + read;
    }
    bytes[size] = '\0';
    TLMI_TRY(add_token(lexer, TLMI_LEX_STRING, bytes, size));
    advance(lexer, lexer->at + at + 2);
    return TLM_OK;
}

static tlm_status_t count_bracket(lexer_t *lexer, char bracket)
{
    static const char opening[] = "([{", closing[] = ")]}";
    const char *found = strchr(opening, bracket);

    if (found != NULL && lexer->num_open == TLMI_JINJA_MAX_DEPTH)
        return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, lexer->line, "more than %d brackets are open",
                               TLMI_JINJA_MAX_DEPTH);
    if (found != NULL) {
        lexer->open[lexer->num_open++] = closing[found - opening];
    } else if (strchr(closing, bracket) != NULL) {
        if (lexer->num_open == 0 || lexer->open[lexer->num_open - 1] != bracket)
            return tlmi_jinja_fail(TLM_ERR_FORMAT, lexer->line, "unexpected '%c'", bracket);
        lexer->num_open--;
    }
    return TLM_OK;
}

static tlm_status_t lex_operator(lexer_t *lexer)
{
    static const char *const doubles[] = {"==", "!=", "<=", ">=", "//", "**"};
    const char *text = lexer->text + lexer->at;
    size_t size = 1;

    for (size_t i = 0; i < sizeof(doubles) / sizeof(doubles[0]); i++)
        if (starts_with(lexer, doubles[i]))
            size = 2;
    if (strchr("+-*/%~|.,:=<>!()[]{}", text[0]) == NULL || (text[0] == '!' && size == 1))
        return tlmi_jinja_fail(TLM_ERR_FORMAT, lexer->line,
                               "unexpected byte 0x%02X in an expression", (unsigned char)text[0]);
    TLMI_TRY(count_bracket(lexer, text[0]));
    TLMI_TRY(add_token(lexer, TLMI_LEX_OPERATOR, text, size));
    lexer->at += size;
    return TLM_OK;
}

/* Lexes from the inside of a tag to behind its end, which is "}}" or "%}". */
static tlm_status_t lex_tag(lexer_t *lexer, const char *end, tlmi_token_type_t end_type)
{
    int line = lexer->line;

    lexer->num_open = 0;
    while (lexer->at < lexer->size) {
        const char *text = lexer->text + lexer->at;
        size_t space = tlmi_space_before(text, lexer->size - lexer->at);
        bool has_sign = (text[0] == '-' || (text[0] == '+' && end[0] == '%')) &&
                        lexer->size - lexer->at > 2 && memcmp(text + 1, end, 2) == 0;

        if (space > 0) {
            advance(lexer, lexer->at + space);
            continue;
        }
        if (lexer->num_open == 0 && (has_sign || starts_with(lexer, end))) {
            TLMI_TRY(add_token(lexer, end_type, text, 2));
            lexer->at += has_sign ? 3 : 2;
            skip_after(lexer, has_sign ? text[0] : '\0', end[0] == '%');
            return TLM_OK;
        }
        if (is_name(text[0]))
            TLMI_TRY(lex_name(lexer));
        else if (is_digit(text[0]))
            TLMI_TRY(lex_number(lexer));
        else if (text[0] == '\'' || text[0] == '"')
            TLMI_TRY(lex_string(lexer));
        else
            TLMI_TRY(lex_operator(lexer));
    }
    return tlmi_jinja_fail(TLM_ERR_FORMAT, line, "a tag has no end %s", end);
}

/* A block whose contents are not Jinja. */
static bool begins_raw(const lexer_t *lexer)
{
    const char *text = lexer->text + lexer->at;
    size_t left = lexer->size - lexer->at, space = tlmi_space_before(text, left);

    return left - space > 3 && memcmp(text + space, "raw", 3) == 0 && !is_name(text[space + 3]) &&
           !is_digit(text[space + 3]);
}

static tlm_status_t lex_all(lexer_t *lexer)
{
    while (lexer->at < lexer->size) {
        size_t tag = find_tag(lexer);

        TLMI_TRY(lex_text(lexer, tag));
        if (tag == lexer->size)
            break;
        char kind = lexer->text[tag + 1];
        if (kind == '#') {
            TLMI_TRY(skip_comment(lexer));
            continue;
        }
        TLMI_TRY(add_token(lexer, kind == '%' ? TLMI_LEX_BLOCK_BEGIN : TLMI_LEX_PRINT_BEGIN,
                           lexer->text + tag, 2));
        lexer->at = tag + 2;
        if (lexer->at < lexer->size &&
            (lexer->text[lexer->at] == '-' || lexer->text[lexer->at] == '+'))
            lexer->at++;
        if (kind == '%' && begins_raw(lexer))
            return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, lexer->line,
                                   "{%% raw %%} is not supported");
        TLMI_TRY(kind == '%' ? lex_tag(lexer, "%}", TLMI_LEX_BLOCK_END)
                             : lex_tag(lexer, "}}", TLMI_LEX_PRINT_END));
    }
    return add_token(lexer, TLMI_LEX_END, lexer->text + lexer->size, 0);
}

tlm_status_t tlmi_jinja_lex(tlmi_token_t **out, size_t *n, tlmi_arena_t *arena, const char *source,
                            size_t size)
{
    lexer_t lexer = {.arena = arena, .line = 1, .at_line_start = true};
    tlm_status_t status = normalize_newlines(&lexer, source, size);

    if (status == TLM_OK)
        status = lex_all(&lexer);
    tlmi_token_t *tokens =
        status == TLM_OK ? tlmi_arena_alloc(arena, lexer.n, sizeof(*tokens)) : NULL;
    if (status == TLM_OK && tokens == NULL)
        status = TLM_ERR_OUT_OF_MEMORY;
    if (status == TLM_OK) {
        memcpy(tokens, lexer.tokens, lexer.n * sizeof(*tokens));
        *out = tokens;
        *n = lexer.n;
    }
    tlmi_free(lexer.tokens);
    return status;
}
