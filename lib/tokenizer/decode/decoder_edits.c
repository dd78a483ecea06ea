/* The steps of decoders that edit the text of tokens. */
#include "tokenizer/decode/decoders.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* ---- Strings ---- */

/* Returns the position of a string in [at, size), or `size`. */
static size_t find(const uint8_t *bytes, size_t size, size_t at, tlm_bytes_t string)
{
    while (at < size && size - at >= string.size) {
        const uint8_t *first = memchr(bytes + at, string.data[0], size - at - string.size + 1);

        if (first == NULL)
            return size;
        at = (size_t)(first - bytes);
        if (memcmp(first, string.data, string.size) == 0)
            return at;
        at++;
    }
    return size;
}

static bool starts_with(const uint8_t *bytes, size_t size, tlm_bytes_t string)
{
    return size >= string.size &&
           (string.size == 0 || memcmp(bytes, string.data, string.size) == 0);
}

/* Returns the length of the character, or of the malformed bytes, at the start. */
static size_t character_size(const uint8_t *bytes, size_t size)
{
    uint32_t code_point;
    int length = tlmi_utf8_decode(&code_point, bytes, bytes + size);

    return (size_t)(length < 0 ? -length : length);
}

/* Passes on `bytes` with `content` before each of its characters. */
static tlm_status_t put_before_each(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                                    size_t size, tlm_bytes_t content)
{
    for (size_t at = 0, length; at < size; at += length) {
        length = character_size(bytes + at, size - at);
        TLMI_TRY(tlmi_step_put(run, step + 1, content.data, content.size));
        TLMI_TRY(tlmi_step_put(run, step + 1, bytes + at, length));
    }
    return TLM_OK;
}

/* ---- WordPiece: a space before every token except the first one and those that continue a word,
 * which begin with the prefix ---- */

/* Replaces a string in place; what it becomes is not longer. */
static size_t replace_in_place(uint8_t *bytes, size_t size, const char *from, const char *to)
{
    tlm_bytes_t string = {(const uint8_t *)from, strlen(from)};
    size_t written = 0, at = 0;

    for (;;) {
        size_t match = find(bytes, size, at, string);

        memmove(bytes + written, bytes + at, match - at);
        written += match - at;
        if (match == size)
            return written;
        memcpy(bytes + written, to, strlen(to));
        written += strlen(to);
        at = match + string.size;
    }
}

/* Removes the spaces that separate punctuation and the parts of English contractions. */
static size_t clean_up(uint8_t *bytes, size_t size)
{
    static const char *const table[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    bool needed = false;

    for (size_t i = 1; i < size && !needed; i++)
        needed = bytes[i - 1] == ' ' && bytes[i] != '\0' && strchr(".?!,'nd", bytes[i]) != NULL;
    for (size_t i = 0; needed && i < sizeof(table) / sizeof(table[0]); i++)
        size = replace_in_place(bytes, size, table[i][0], table[i][1]);
    return size;
}

static tlm_status_t put_word_piece(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                                   size_t size)
{
    tlmi_step_state_t *state = &run->states[step];

    if (state->size == 0)
        TLMI_TRY(tlmi_step_hold(state, " ", 1));
    return tlmi_step_hold(state, bytes, size);
}

static tlm_status_t end_word_piece(tlmi_decode_run_t *run, size_t step)
{
    const tlmi_decoder_step_t *options = &run->decoder->steps[step];
    tlmi_step_state_t *state = &run->states[step];

    if (state->size == 0) /* an empty token */
        TLMI_TRY(tlmi_step_hold(state, " ", 1));
    uint8_t *bytes = state->bytes;
    size_t size = state->size;
    state->size = 0;
    bool goes_on = starts_with(bytes + 1, size - 1, options->pattern);
    size_t skipped = state->token == 0 ? 1 : goes_on ? 1 + options->pattern.size : 0;
    bytes += skipped;
    size -= skipped;
    return tlmi_step_pass_token(run, step, bytes, options->flag ? clean_up(bytes, size) : size);
}

const tlmi_step_kind_t tlmi_word_piece_step = {"WordPiece", put_word_piece, end_word_piece, NULL};

/* ---- Metaspace: its replacement becomes a space, or nothing in the first token ---- */

static tlm_status_t put_metaspace(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                                  size_t size)
{
    const tlmi_decoder_step_t *options = &run->decoder->steps[step];
    bool drops = options->flag && run->states[step].token == 0;

    for (size_t at = 0;;) {
        size_t match = find(bytes, size, at, options->pattern);

        TLMI_TRY(tlmi_step_put(run, step + 1, bytes + at, match - at));
        if (match == size)
            return TLM_OK;
        if (!drops)
            TLMI_TRY(tlmi_step_put(run, step + 1, (const uint8_t *)" ", 1));
        at = match + options->pattern.size;
    }
}

const tlmi_step_kind_t tlmi_metaspace_step = {"Metaspace", put_metaspace, NULL, NULL};

/* ---- Strip: removes up to `start` and `stop` of a character from the ends of each token. ----
 * `count` characters were removed at the start, `flag`: there are no more to remove. `size` of them
 * are held back, because the token may end with them. */

static tlm_status_t put_times(tlmi_decode_run_t *run, size_t step, tlm_bytes_t character, size_t n)
{
    while (n-- > 0)
        TLMI_TRY(tlmi_step_put(run, step + 1, character.data, character.size));
    return TLM_OK;
}

static tlm_status_t put_strip(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                              size_t size)
{
    const tlmi_decoder_step_t *options = &run->decoder->steps[step];
    tlm_bytes_t content = options->pattern;
    tlmi_step_state_t *state = &run->states[step];

    for (; !state->flag && size > 0; bytes += content.size, size -= content.size, state->count++)
        if (state->count == options->start || !starts_with(bytes, size, content)) {
            state->flag = true;
            break;
        }
    size_t body = size, n = 0; /* n characters after the body */
    for (; options->stop > 0 && body >= content.size &&
           starts_with(bytes + body - content.size, content.size, content);
         body -= content.size)
        n++;
    if (body > 0) {
        size_t held = state->size;

        state->size = 0;
        TLMI_TRY(put_times(run, step, content, held));
        TLMI_TRY(tlmi_step_put(run, step + 1, bytes, body));
    }
    state->size += n;
    size_t surplus = state->size > options->stop ? state->size - options->stop : 0;
    state->size -= surplus;
    return put_times(run, step, content, surplus);
}

static tlm_status_t end_strip(tlmi_decode_run_t *run, size_t step)
{
    tlmi_step_state_t *state = &run->states[step];

    state->size = state->count = 0;
    state->flag = false;
    return tlmi_step_end_token(run, step + 1);
}

const tlmi_step_kind_t tlmi_strip_step = {"Strip", put_strip, end_strip, NULL};

/* ---- Replace: all places of a string. An empty string is before every character and at the end of
 * a token that has any. ---- */

/* Returns how many bytes at the end begin the string. */
static size_t begun(const uint8_t *bytes, size_t size, tlm_bytes_t string)
{
    size_t most = size < string.size ? size : string.size - 1;

    for (; most > 0; most--) {
        const uint8_t *at = bytes + size - most;

        if (*at == string.data[0] && memcmp(at, string.data, most) == 0)
            break;
    }
    return most;
}

static tlm_status_t put_replace(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                                size_t size)
{
    const tlmi_decoder_step_t *options = &run->decoder->steps[step];
    tlmi_step_state_t *state = &run->states[step];

    if (options->pattern.size == 0) {
        state->flag = true;
        return put_before_each(run, step, bytes, size, options->content);
    }
    bool continued = state->size > 0;
    if (continued) {
        TLMI_TRY(tlmi_step_hold(state, bytes, size));
        bytes = state->bytes;
        size = state->size;
    }
    size_t at = 0;
    for (;;) {
        size_t match = find(bytes, size, at, options->pattern);

        if (match == size)
            break;
        TLMI_TRY(tlmi_step_put(run, step + 1, bytes + at, match - at));
        TLMI_TRY(tlmi_step_put(run, step + 1, options->content.data, options->content.size));
        at = match + options->pattern.size;
    }
    size_t left = begun(bytes + at, size - at, options->pattern);
    TLMI_TRY(tlmi_step_put(run, step + 1, bytes + at, size - at - left));
    if (continued)
        memmove(state->bytes, state->bytes + size - left, left);
    else if (left > 0)
        return tlmi_step_hold(state, bytes + size - left, left);
    state->size = left;
    return TLM_OK;
}

static tlm_status_t end_replace(tlmi_decode_run_t *run, size_t step)
{
    tlm_bytes_t content = run->decoder->steps[step].content;
    tlmi_step_state_t *state = &run->states[step];

    if (state->flag)
        TLMI_TRY(tlmi_step_put(run, step + 1, content.data, content.size));
    state->flag = false;
    size_t size = state->size;
    state->size = 0;
    return tlmi_step_pass_token(run, step, state->bytes, size);
}

const tlmi_step_kind_t tlmi_replace_step = {"Replace", put_replace, end_replace, NULL};

/* ---- Replace with a regular expression: needs whole tokens ---- */

static tlm_status_t replace_matches(tlmi_decode_run_t *run, size_t step, const uint8_t *text,
                                    size_t size, tlmi_regex_matcher_t *matcher)
{
    const tlmi_decoder_step_t *options = &run->decoder->steps[step];
    size_t at = 0, last = TLMI_REGEX_NONE, start, end;
    bool found;

    for (;;) {
        TLMI_TRY(tlmi_regex_next(&found, &start, &end, options->regex, matcher, text, size, last));
        if (!found)
            break;
        TLMI_TRY(tlmi_step_put(run, step + 1, text + at, start - at));
        TLMI_TRY(tlmi_step_put(run, step + 1, options->content.data, options->content.size));
        at = last = end;
    }
    return tlmi_step_pass_token(run, step, text + at, size - at);
}

static tlm_status_t end_replace_regex(tlmi_decode_run_t *run, size_t step)
{
    tlmi_step_state_t *state = &run->states[step];
    size_t size = state->size;
    char *valid = NULL; /* for the pattern malformed UTF-8 is U+FFFD */

    state->size = 0;
    if (size == 0)
        return tlmi_step_end_token(run, step + 1);
    if (!tlmi_utf8_valid(state->bytes, size))
        TLMI_TRY(tlm_utf8_sanitize(&valid, &size, state->bytes, size));
    tlmi_regex_matcher_t *matcher;
    tlm_status_t status = tlmi_regex_matcher_create(&matcher, TLMI_REGEX_NANOSECONDS(size));
    if (status == TLM_OK) {
        const uint8_t *text = valid != NULL ? (const uint8_t *)valid : state->bytes;

        status = replace_matches(run, step, text, size, matcher);
        tlmi_regex_matcher_free(matcher);
    }
    tlmi_free(valid);
    return status;
}

const tlmi_step_kind_t tlmi_replace_regex_step = {"Replace", tlmi_step_hold_part, end_replace_regex,
                                                  NULL};

/* ---- BPEDecoder: its suffix becomes a space, or nothing in the last token. ----
 * `flag`: `bytes` is a whole token with a suffix, which may be the last one. */

static tlm_status_t pass_bpe(tlmi_decode_run_t *run, size_t step, const char *content)
{
    tlm_bytes_t suffix = run->decoder->steps[step].pattern;
    tlmi_step_state_t *state = &run->states[step];
    tlm_bytes_t space = {(const uint8_t *)content, strlen(content)};
    size_t size = state->size;

    state->flag = false;
    state->size = 0;
    if (suffix.size == 0) { /* before every character and at the end */
        TLMI_TRY(put_before_each(run, step, state->bytes, size, space));
        return tlmi_step_pass_token(run, step, space.data, space.size);
    }
    for (size_t at = 0;;) {
        size_t match = find(state->bytes, size, at, suffix);

        if (match == size)
            return tlmi_step_pass_token(run, step, state->bytes + at, size - at);
        TLMI_TRY(tlmi_step_put(run, step + 1, state->bytes + at, match - at));
        TLMI_TRY(tlmi_step_put(run, step + 1, space.data, space.size));
        at = match + suffix.size;
    }
}

static tlm_status_t put_bpe(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes, size_t size)
{
    if (run->states[step].flag)
        TLMI_TRY(pass_bpe(run, step, " "));
    return tlmi_step_hold_part(run, step, bytes, size);
}

static tlm_status_t end_bpe(tlmi_decode_run_t *run, size_t step)
{
    tlm_bytes_t suffix = run->decoder->steps[step].pattern;
    tlmi_step_state_t *state = &run->states[step];

    if (state->flag) /* this token is empty */
        TLMI_TRY(pass_bpe(run, step, " "));
    state->flag = suffix.size == 0 || find(state->bytes, state->size, 0, suffix) < state->size;
    return state->flag ? TLM_OK : pass_bpe(run, step, " ");
}

static tlm_status_t finish_bpe(tlmi_decode_run_t *run, size_t step)
{
    return run->states[step].flag ? pass_bpe(run, step, "") : TLM_OK;
}

const tlmi_step_kind_t tlmi_bpe_step = {"BPEDecoder", put_bpe, end_bpe, finish_bpe};
