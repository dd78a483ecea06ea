/* What the steps of decoders share, and the steps that deal with bytes and with whole tokens. Each
 * step takes names of tokens, in parts, and passes on what it makes of them as soon as that is
 * certain. */
#include "tokenizer/decode/decoders.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/formats/token_files.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* ---- What all steps share ---- */

static tlm_status_t write_out(tlmi_decode_run_t *run, const uint8_t *bytes, size_t size)
{
    size_t needed;

    if (!tlmi_add_size(&needed, run->size, size) || !tlmi_add_size(&needed, needed, 1))
        return tlmi_fail_memory(size, "decoded text");
    if (needed > run->capacity && !tlmi_grow(&run->text, &run->capacity, needed, 1, "decoded text"))
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(run->text + run->size, bytes, size);
    run->size += size;
    return TLM_OK;
}

tlm_status_t tlmi_step_put(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return TLM_OK;
    if (step == run->decoder->num_steps)
        return write_out(run, bytes, size);
    return run->decoder->steps[step].kind->put(run, step, bytes, size);
}

tlm_status_t tlmi_step_end_token(tlmi_decode_run_t *run, size_t step)
{
    if (step == run->decoder->num_steps)
        return TLM_OK;
    const tlmi_step_kind_t *kind = run->decoder->steps[step].kind;
    TLMI_TRY(kind->end_token != NULL ? kind->end_token(run, step)
                                     : tlmi_step_end_token(run, step + 1));
    run->states[step].token++;
    return TLM_OK;
}

tlm_status_t tlmi_step_finish(tlmi_decode_run_t *run, size_t step)
{
    if (step == run->decoder->num_steps)
        return TLM_OK;
    const tlmi_step_kind_t *kind = run->decoder->steps[step].kind;
    if (kind->finish != NULL)
        TLMI_TRY(kind->finish(run, step));
    return tlmi_step_finish(run, step + 1);
}

tlm_status_t tlmi_step_pass_token(tlmi_decode_run_t *run, size_t step, const void *bytes,
                                  size_t size)
{
    TLMI_TRY(tlmi_step_put(run, step + 1, bytes, size));
    return tlmi_step_end_token(run, step + 1);
}

tlm_status_t tlmi_step_hold(tlmi_step_state_t *state, const void *bytes, size_t size)
{
    size_t needed;

    if (!tlmi_add_size(&needed, state->size, size))
        return tlmi_fail_memory(size, "a token to decode");
    if (needed > state->capacity &&
        !tlmi_grow(&state->bytes, &state->capacity, needed, 1, "a token to decode"))
        return TLM_ERR_OUT_OF_MEMORY;
    if (size > 0)
        memcpy(state->bytes + state->size, bytes, size);
    state->size = needed;
    return TLM_OK;
}

tlm_status_t tlmi_step_hold_part(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                                 size_t size)
{
    return tlmi_step_hold(&run->states[step], bytes, size);
}

/* ---- ByteLevel: one string of the bytes of all tokens, which become valid UTF-8. A token that is
 * not in the byte alphabet stands for its own text. ---- */

tlm_status_t tlmi_byte_level_put_bytes(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                                       size_t size)
{
    tlmi_step_state_t *state = &run->states[step];

    state->size = 0;
    TLMI_TRY(tlmi_step_hold(state, state->start, state->start_size)); /* an unfinished character */
    TLMI_TRY(tlmi_step_hold(state, bytes, size));
    size_t left = tlmi_utf8_unfinished(state->bytes, state->size);
    size_t whole = state->size - left;
    memcpy(state->start, state->bytes + whole, left);
    state->start_size = left;
    state->size = 0;
    if (run->keeps_bytes)
        return tlmi_step_put(run, step + 1, state->bytes, whole);
    for (size_t from = 0, at = 0; at < whole;) {
        uint32_t code_point;
        int length = tlmi_utf8_decode(&code_point, state->bytes + at, state->bytes + whole);

        at += (size_t)(length < 0 ? 0 : length);
        if (length < 0 || at == whole)
            TLMI_TRY(tlmi_step_put(run, step + 1, state->bytes + from, at - from));
        if (length < 0) {
            TLMI_TRY(tlmi_step_put(run, step + 1, (const uint8_t *)REPLACEMENT, 3));
            at += (size_t)-length;
            from = at;
        }
    }
    return TLM_OK;
}

static tlm_status_t end_byte_level(tlmi_decode_run_t *run, size_t step)
{
    tlmi_step_state_t *state = &run->states[step];
    size_t name_size = state->size;

    if (name_size == 0)
        return TLM_OK;
    /* The bytes go after the name, because put_bytes writes to the front. */
    if (!tlmi_grow(&state->bytes, &state->capacity, 2 * name_size + sizeof(state->start), 1,
                   "a token to decode"))
        return TLM_ERR_OUT_OF_MEMORY;
    uint8_t *bytes = state->bytes + name_size + sizeof(state->start);
    size_t size;
    if (!tlmi_alphabet_to_bytes(bytes, &size, (const char *)state->bytes, name_size)) {
        memcpy(bytes, state->bytes, name_size);
        size = name_size;
    }
    return tlmi_byte_level_put_bytes(run, step, bytes, size);
}

static tlm_status_t finish_byte_level(tlmi_decode_run_t *run, size_t step)
{
    tlmi_step_state_t *state = &run->states[step];

    if (state->start_size > 0 && run->keeps_bytes)
        TLMI_TRY(tlmi_step_put(run, step + 1, state->start, state->start_size));
    else if (state->start_size > 0)
        TLMI_TRY(tlmi_step_put(run, step + 1, (const uint8_t *)REPLACEMENT, 3));
    return tlmi_step_end_token(run, step + 1);
}

const tlmi_step_kind_t tlmi_byte_level_step = {"ByteLevel", tlmi_step_hold_part, end_byte_level,
                                               finish_byte_level};

/* ---- ByteFallback: tokens such as <0x0A> are bytes. A run of them becomes one token if it is
 * UTF-8, otherwise one U+FFFD per byte. ----
 * `start` holds a token that may still be a byte, `flag` tells that the current one is not. `bytes`
 * holds the run, of which `count` bytes are whole characters; SIZE_MAX: it is not UTF-8. */

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87 : -1;
}

/* Returns the byte that a token of 6 bytes stands for, or -1. `tokenizers` takes "+" for a sign. */
static int fallback_byte(const uint8_t token[6])
{
    int high = token[3] == '+' ? 0 : hex_digit(token[3]), low = hex_digit(token[4]);

    return memcmp(token, "<0x", 3) != 0 || token[5] != '>' || high < 0 || low < 0 ? -1
                                                                                  : high * 16 + low;
}

static tlm_status_t add_to_run(tlmi_decode_run_t *run, size_t step, uint8_t byte)
{
    tlmi_step_state_t *state = &run->states[step];

    if (state->count == SIZE_MAX)
        return tlmi_step_pass_token(run, step, REPLACEMENT, 3);
    TLMI_TRY(tlmi_step_hold(state, &byte, 1));
    if (run->keeps_bytes)
        return TLM_OK;
    uint32_t code_point;
    size_t pending = state->size - state->count;
    const uint8_t *start = state->bytes + state->count;
    if (tlmi_utf8_decode(&code_point, start, start + pending) > 0) {
        state->count = state->size;
        return TLM_OK;
    }
    if (tlmi_utf8_unfinished(start, pending) == pending)
        return TLM_OK;
    size_t bytes = state->size;
    state->size = 0;
    state->count = SIZE_MAX;
    for (size_t i = 0; i < bytes; i++)
        TLMI_TRY(tlmi_step_pass_token(run, step, REPLACEMENT, 3));
    return TLM_OK;
}

static tlm_status_t end_run(tlmi_decode_run_t *run, size_t step)
{
    tlmi_step_state_t *state = &run->states[step];
    size_t size = state->size;

    if (size == 0 && state->count == 0)
        return TLM_OK;
    bool whole = run->keeps_bytes || state->count == size;

    state->size = 0;
    state->count = 0;
    if (size > 0 && whole)
        return tlmi_step_pass_token(run, step, state->bytes, size);
    for (size_t i = 0; i < size; i++)
        TLMI_TRY(tlmi_step_pass_token(run, step, REPLACEMENT, 3));
    return TLM_OK;
}

static tlm_status_t put_byte_fallback(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                                      size_t size)
{
    tlmi_step_state_t *state = &run->states[step];

    if (state->flag)
        return tlmi_step_put(run, step + 1, bytes, size);
    if (size <= 6 - state->start_size) {
        memcpy(state->start + state->start_size, bytes, size);
        state->start_size += size;
        size_t known = state->start_size < 3 ? state->start_size : 3;
        if (state->start[0] == '<' && memcmp(state->start, "<0x", known) == 0)
            return TLM_OK;
        size = 0;
    }
    state->flag = true;
    TLMI_TRY(end_run(run, step));
    TLMI_TRY(tlmi_step_put(run, step + 1, state->start, state->start_size));
    return tlmi_step_put(run, step + 1, bytes, size);
}

static tlm_status_t end_byte_fallback(tlmi_decode_run_t *run, size_t step)
{
    tlmi_step_state_t *state = &run->states[step];
    size_t size = state->start_size;
    bool known = state->flag;

    state->start_size = 0;
    state->flag = false;
    if (known)
        return tlmi_step_end_token(run, step + 1);
    int byte = size == 6 ? fallback_byte(state->start) : -1;
    if (byte >= 0)
        return add_to_run(run, step, (uint8_t)byte);
    TLMI_TRY(end_run(run, step));
    return tlmi_step_pass_token(run, step, state->start, size);
}

const tlmi_step_kind_t tlmi_byte_fallback_step = {"ByteFallback", put_byte_fallback,
                                                  end_byte_fallback, end_run};

/* ---- Fuse: one token ---- */

static tlm_status_t pass_part(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                              size_t size)
{
    return tlmi_step_put(run, step + 1, bytes, size);
}

static tlm_status_t ignore_end(tlmi_decode_run_t *run, size_t step)
{
    (void)run;
    (void)step;
    return TLM_OK;
}

static tlm_status_t finish_fuse(tlmi_decode_run_t *run, size_t step)
{
    return tlmi_step_end_token(run, step + 1);
}

const tlmi_step_kind_t tlmi_fuse_step = {"Fuse", pass_part, ignore_end, finish_fuse};

/* ---- Without a decoder: spaces between tokens. `flag`: the current token has begun. ---- */

static tlm_status_t put_spaces(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                               size_t size)
{
    tlmi_step_state_t *state = &run->states[step];

    if (!state->flag && state->token > 0)
        TLMI_TRY(tlmi_step_put(run, step + 1, (const uint8_t *)" ", 1));
    state->flag = true;
    return tlmi_step_put(run, step + 1, bytes, size);
}

static tlm_status_t end_spaces(tlmi_decode_run_t *run, size_t step)
{
    tlmi_step_state_t *state = &run->states[step];

    if (!state->flag && state->token > 0)
        TLMI_TRY(tlmi_step_put(run, step + 1, (const uint8_t *)" ", 1));
    state->flag = false;
    return tlmi_step_end_token(run, step + 1);
}

const tlmi_step_kind_t tlmi_spaces_step = {"no decoder", put_spaces, end_spaces, NULL};
