/* What Python's methods of strings do, as far as templates use them. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tokenizer/chat/jinja.h"
#include "tokenizer/pretokenize/unicode.h"

/* ---- Characters ---- */

int64_t tlmi_string_length(const tlmi_string_t *string)
{
    int64_t n = 0;

    for (size_t i = 0; i < string->size; i++)
        n += ((unsigned char)string->bytes[i] & 0xC0) != 0x80;
    return n;
}

size_t tlmi_string_offset(const tlmi_string_t *string, int64_t index)
{
    for (size_t i = 0; i < string->size; i++)
        if (((unsigned char)string->bytes[i] & 0xC0) != 0x80 && index-- == 0)
            return i;
    return string->size;
}

size_t tlmi_string_find(const tlmi_string_t *string, const tlmi_string_t *part, size_t from)
{
    const char *found;

    if (from > string->size || part->size > string->size - from)
        return SIZE_MAX;
    if (part->size == 0)
        return from;
    found = memmem(string->bytes + from, string->size - from, part->bytes, part->size);
    return found == NULL ? SIZE_MAX : (size_t)(found - string->bytes);
}

/* ---- strip ---- */

/* Whether the character of `length` bytes at `at` is one of `set`. */
static bool is_among(const char *at, size_t length, const tlmi_string_t *set)
{
    const uint8_t *bytes = (const uint8_t *)set->bytes;

    for (size_t i = 0, size; i < set->size; i += size) {
        size = tlmi_utf8_length(bytes + i, bytes + set->size);
        if (size == length && memcmp(bytes + i, at, size) == 0)
            return true;
    }
    return false;
}

static size_t strip_start(const tlmi_string_t *string, const tlmi_string_t *set)
{
    const uint8_t *bytes = (const uint8_t *)string->bytes;
    size_t at = 0, length;

    if (set == NULL)
        return tlmi_space_before(string->bytes, string->size);
    for (; at < string->size; at += length) {
        length = tlmi_utf8_length(bytes + at, bytes + string->size);
        if (!is_among(string->bytes + at, length, set))
            break;
    }
    return at;
}

static size_t strip_end(const tlmi_string_t *string, const tlmi_string_t *set, size_t start)
{
    const uint8_t *bytes = (const uint8_t *)string->bytes;
    size_t end = string->size;

    if (set == NULL)
        return end - tlmi_space_behind(string->bytes + start, end - start);
    while (end > start) {
        size_t last = tlmi_utf8_last(bytes, end);

        if (!is_among(string->bytes + last, end - last, set))
            break;
        end = last;
    }
    return end;
}

tlm_status_t tlmi_string_strip(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_string_t *string,
                               const char *which, const tlmi_value_t *characters)
{
    const tlmi_string_t *set =
        characters != NULL && characters->type == TLMI_VALUE_STRING ? characters->as.string : NULL;
    if (set != NULL)
        TLMI_TRY(
            tlmi_arena_step(arena, (uint64_t)string->size * set->size / TLMI_JINJA_STEP_BYTES));
    size_t start = which[0] == 'r' ? 0 : strip_start(string, set);
    size_t end = which[0] == 'l' ? string->size : strip_end(string, set, start);
    arena->steps += (string->size - (end - start)) / TLMI_JINJA_STEP_CHARACTERS;
    return tlmi_string_part(out, arena, string, start, end);
}

/* ---- replace, upper and lower case ---- */

static tlm_status_t add_replaced(tlmi_builder_t *builder, const tlmi_string_t *string,
                                 const tlmi_string_t *from, const tlmi_string_t *to, int64_t most)
{
    size_t at = 0, found;

    while (most-- != 0 && (found = tlmi_string_find(string, from, at)) != SIZE_MAX) {
        TLMI_TRY(tlmi_builder_add_part(builder, string, at, found));
        TLMI_TRY(tlmi_builder_add_part(builder, to, 0, to->size));
        at = found + from->size;
    }
    return tlmi_builder_add_part(builder, string, at, string->size);
}

tlm_status_t tlmi_string_replace(tlmi_value_t *out, tlmi_arena_t *arena,
                                 const tlmi_string_t *string, const tlmi_string_t *from,
                                 const tlmi_string_t *to, int64_t most)
{
    tlmi_builder_t builder = {.arena = arena};

    if (from->size == 0)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "chat template: replacing the empty string is not supported");
    tlm_status_t status = add_replaced(&builder, string, from, to, most < 0 ? INT64_MAX : most);
    if (status == TLM_OK)
        status = tlmi_builder_finish(out, &builder);
    tlmi_builder_release(&builder);
    return status;
}

static char change_case(char c, bool upper)
{
    if (upper)
        return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

tlm_status_t tlmi_string_case(tlmi_value_t *out, tlmi_arena_t *arena, const tlmi_string_t *string,
                              const char *which, int line)
{
    char *bytes = tlmi_arena_alloc(arena, string->size, 1);
    bool after_letter = false;

    if (bytes == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < string->size; i++) {
        char c = string->bytes[i];

        if ((unsigned char)c >= 0x80)
            return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, line,
                                   "%s of text other than ASCII is not supported", which);
        bool upper =
            which[0] == 'u' || (which[0] == 't' && !after_letter) || (which[0] == 'c' && i == 0);
        bytes[i] = change_case(c, upper);
        after_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    }
    TLMI_TRY(tlmi_string_part(out, arena, string, 0, string->size));
    ((tlmi_string_t *)out->as.string)->bytes = bytes;
    return TLM_OK;
}

/* ---- strftime ---- */

static int twelve_hours(int hour)
{
    return hour % 12 == 0 ? 12 : hour % 12;
}

/* Writes what a letter of strftime stands for, as in the C locale. Returns false if it is none of
 * those supported. */
static bool put_time(char out[16], char letter, bool is_short, const struct tm *time)
{
    static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};
    static const char *const months[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    const struct {
        char letter;
        int value, digits;
    } numbers[] = {{'d', time->tm_mday, 2},        {'m', time->tm_mon + 1, 2},
                   {'Y', time->tm_year + 1900, 4}, {'y', time->tm_year % 100, 2},
                   {'H', time->tm_hour, 2},        {'I', twelve_hours(time->tm_hour), 2},
                   {'M', time->tm_min, 2},         {'S', time->tm_sec, 2},
                   {'j', time->tm_yday + 1, 3}};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (numbers[i].letter == letter) {
            snprintf(out, 16, "%0*d", is_short ? 1 : numbers[i].digits, numbers[i].value);
            return true;
        }
    if (is_short)
        return false;
    if (letter == 'A' || letter == 'a')
        snprintf(out, 16, "%.*s", letter == 'A' ? 15 : 3, days[time->tm_wday]);
    else if (letter == 'B' || letter == 'b')
        snprintf(out, 16, "%.*s", letter == 'B' ? 15 : 3, months[time->tm_mon]);
    else if (letter == 'p')
        snprintf(out, 16, "%s", time->tm_hour < 12 ? "AM" : "PM");
    else if (letter == '%')
        snprintf(out, 16, "%%");
    else
        return false;
    return true;
}

static tlm_status_t add_time(tlmi_builder_t *builder, const tlmi_string_t *format,
                             const struct tm *time, int line)
{
    for (size_t i = 0; i < format->size; i++) {
        char text[16], letter = format->bytes[i];

        if (letter != '%') {
            TLMI_TRY(tlmi_builder_add_part(builder, format, i, i + 1));
            continue;
        }
        bool is_short = i + 1 < format->size && format->bytes[i + 1] == '-';
        i += is_short ? 2 : 1;
        letter = i < format->size ? format->bytes[i] : '\0';
        if (!put_time(text, letter, is_short, time))
            return tlmi_jinja_fail(TLM_ERR_UNSUPPORTED, line,
                                   "strftime_now with %%%c is not supported", letter);
        TLMI_TRY(tlmi_builder_add(builder, text, strlen(text), TLMI_FROM_TEMPLATE));
    }
    return TLM_OK;
}

tlm_status_t tlmi_jinja_strftime(tlmi_value_t *out, tlmi_jinja_run_t *run, int line,
                                 const tlmi_string_t *format)
{
    tlmi_builder_t builder = {.arena = &run->arena};
    time_t now = (time_t)run->now;
    struct tm parts;

    if (localtime_r(&now, &parts) == NULL)
        return tlmi_jinja_fail(TLM_ERR_INVALID_ARGUMENT, line, "the time is out of range");
    tlm_status_t status = add_time(&builder, format, &parts, line);
    if (status == TLM_OK)
        status = tlmi_builder_finish(out, &builder);
    tlmi_builder_release(&builder);
    return status;
}
