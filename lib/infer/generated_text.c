/* The text of generated tokens. Tokens become bytes, in which stop strings are searched; the bytes
 * that certainly come before them become characters. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "infer/generator_core.h"
#include "tokenizer/decode/decoders.h"
#include "tokenizer/tokenizer_core.h"

tlm_status_t tlmi_text_create(tlmi_generated_text_t **out, const tlm_generate_options_t *options)
{
    tlmi_generated_text_t *made = tlmi_calloc(1, sizeof(*made), "the text of a generation");

    if (made == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    made->tokenizer = options->tokenizer;
    made->how = (tlm_decode_options_t)TLM_DECODE_OPTIONS_INIT;
    made->how.skip_special_tokens = options->skip_special_tokens;
    tlm_status_t status;
    TLMI_TRY_OR(fail, tlmi_matcher_of_bytes(&made->stops, options->stop_strings,
                                            options->num_stop_strings));
    if (!tlmi_grow(&made->text, &made->text_capacity, 1, 1, "the text of a generation")) {
        status = TLM_ERR_OUT_OF_MEMORY;
        goto fail;
    }
    made->text[0] = '\0';
    *out = made;
    return TLM_OK;
fail:
    tlmi_text_free(made);
    return status;
}

void tlmi_text_free(tlmi_generated_text_t *text)
{
    if (text == NULL)
        return;
    tlm_decoder_free(text->decoder);
    tlmi_matcher_release(&text->stops);
    tlmi_free(text->bytes);
    tlmi_free(text->ends);
    tlmi_free(text->text);
    tlmi_free(text);
}

/* ---- Tokens to bytes ---------------------------------------------------------------------- */

/* Forgets all tokens, but not the text that was given out: the same tokens will give it again. */
static void begin_again(tlmi_generated_text_t *text)
{
    tlm_decoder_free(text->decoder);
    text->decoder = NULL;
    tlmi_matcher_restart(&text->stops);
    text->prompt_fed = text->skipped = text->fed = text->num_bytes = 0;
    text->finished = false;
}

/* Appends what the decoder gave for new tokens, without what belongs to the prompt. */
static tlm_status_t add_bytes(tlmi_generated_text_t *text, const char *bytes, size_t size)
{
    const size_t skipped = size < text->skipped ? size : text->skipped;

    text->skipped -= skipped;
    bytes += skipped;
    size -= skipped;
    if (!tlmi_grow(&text->bytes, &text->byte_capacity, text->num_bytes + size, 1,
                   "the text of a generation"))
        return TLM_ERR_OUT_OF_MEMORY;
    if (size > 0)
        memcpy(text->bytes + text->num_bytes, bytes, size);
    text->num_bytes += size;
    while (text->stops.position < text->num_bytes && !tlmi_matcher_is_decided(&text->stops))
        tlmi_matcher_feed(&text->stops, text->bytes[text->stops.position]);
    return TLM_OK;
}

/* An id without a token, which a padded vocabulary of a model may have, has no text. */
static tlm_status_t push(const char **bytes, size_t *size, tlm_decoder_t *decoder, uint32_t id)
{
    tlm_status_t status = tlm_decoder_push(bytes, size, decoder, id);

    if (status == TLM_ERR_RANGE) {
        *size = 0;
        return TLM_OK;
    }
    return status;
}

/* How many bytes n tokens are, by a decoder of their own. */
static tlm_status_t measure(size_t *out, const tlmi_generated_text_t *text, const uint32_t *tokens,
                            size_t n)
{
    tlm_decoder_t *decoder;
    tlm_status_t status = TLM_OK;
    size_t all = 0, size = 0;
    const char *bytes;

    TLMI_TRY(tlm_decoder_create_with(&decoder, text->tokenizer, &text->how));
    for (size_t i = 0; i < n && status == TLM_OK; i++, all += size)
        status = push(&bytes, &size, decoder, tokens[i]);
    if (status == TLM_OK)
        status = tlm_decoder_finish(&bytes, &size, decoder);
    if (status == TLM_OK)
        *out = all + size;
    tlm_decoder_free(decoder);
    return status;
}

/* The decoder sees the prompt, because the text of a token may depend on those before it. What it
 * holds back of the prompt's text comes out later and is skipped. */
static tlm_status_t feed_prompt(tlmi_generated_text_t *text, const uint32_t *tokens, size_t n)
{
    size_t given = 0, size;
    const char *bytes;

    for (; text->prompt_fed < n; text->prompt_fed++, given += size)
        TLMI_TRY(push(&bytes, &size, text->decoder, tokens[text->prompt_fed]));
    text->prompt_size = given;
    if (tlmi_decoder_holds(text->decoder))
        TLMI_TRY(measure(&text->prompt_size, text, tokens, n));
    text->prompt_size = text->prompt_size > given ? text->prompt_size : given;
    text->skipped = text->prompt_size - given;
    return TLM_OK;
}

/* All bytes so far are those of the tokens so far. */
static void note_ends(tlmi_generated_text_t *text)
{
    for (size_t i = text->fed; i > 0 && text->ends[i - 1] == SIZE_MAX; i--)
        text->ends[i - 1] = text->num_bytes;
}

static tlm_status_t feed_token(tlmi_generated_text_t *text, uint32_t id)
{
    const char *bytes;
    size_t size;

    if (!tlmi_grow(&text->ends, &text->end_capacity, text->fed + 1, sizeof(*text->ends),
                   "the text of a generation"))
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(push(&bytes, &size, text->decoder, id));
    TLMI_TRY(add_bytes(text, bytes, size));
    text->ends[text->fed++] = SIZE_MAX;
    if (!tlmi_decoder_holds(text->decoder))
        note_ends(text);
    return TLM_OK;
}

/* ---- Bytes to text ------------------------------------------------------------------------ */

/* How many bytes certainly come before every stop string. */
static size_t certain_bytes(const tlmi_generated_text_t *text)
{
    if (!text->finished)
        return tlmi_matcher_certain(&text->stops);
    return text->num_bytes < text->stops.found ? text->num_bytes : text->stops.found;
}

/* Gives out the certain bytes: whole characters, or all of a text that is finished. */
static tlm_status_t release(tlmi_generated_text_t *text)
{
    const size_t certain = certain_bytes(text);

    if (certain <= text->released)
        return TLM_OK;
    const uint8_t *bytes = text->bytes + text->released;
    size_t n = certain - text->released, room;
    if (!text->finished)
        n -= tlmi_utf8_unfinished(bytes, n);
    if (!tlmi_mul_size(&room, n, 3) || !tlmi_add_size(&room, room, text->size) ||
        !tlmi_add_size(&room, room, 1))
        return tlmi_fail_overflow("the text of a generation");
    if (!tlmi_grow(&text->text, &text->text_capacity, room, 1, "the text of a generation"))
        return TLM_ERR_OUT_OF_MEMORY;
    text->size += tlmi_utf8_replace(text->text + text->size, bytes, n);
    text->text[text->size] = '\0';
    text->released += n;
    return TLM_OK;
}

static tlm_status_t catch_up(tlmi_generated_text_t *text, const uint32_t *tokens,
                             size_t prompt_length, size_t n)
{
    if (text->decoder == NULL)
        TLMI_TRY(tlm_decoder_create_with(&text->decoder, text->tokenizer, &text->how));
    if (text->prompt_fed < prompt_length)
        TLMI_TRY(feed_prompt(text, tokens, prompt_length));
    while (text->fed < n && !tlmi_matcher_is_decided(&text->stops))
        TLMI_TRY(feed_token(text, tokens[prompt_length + text->fed]));
    return release(text);
}

tlm_status_t tlmi_text_catch_up(tlmi_generated_text_t *text, const uint32_t *tokens,
                                size_t prompt_length, size_t n)
{
    tlm_status_t status = catch_up(text, tokens, prompt_length, n);

    if (status != TLM_OK)
        begin_again(text);
    return status;
}

static tlm_status_t finish(tlmi_generated_text_t *text)
{
    const char *bytes;
    size_t size;

    if (!text->finished && text->decoder != NULL && !tlmi_matcher_is_decided(&text->stops)) {
        TLMI_TRY(tlm_decoder_finish(&bytes, &size, text->decoder));
        TLMI_TRY(add_bytes(text, bytes, size));
    }
    text->finished = true;
    note_ends(text);
    return release(text);
}

tlm_status_t tlmi_text_finish(tlmi_generated_text_t *text)
{
    tlm_status_t status = finish(text);

    if (status != TLM_OK)
        begin_again(text);
    return status;
}

size_t tlmi_text_certain_tokens(const tlmi_generated_text_t *text)
{
    const size_t certain = certain_bytes(text);
    size_t n = text->fed;

    while (n > 0 && text->ends[n - 1] > certain)
        n--;
    return n;
}

tlm_status_t tlmi_text_tokens_before_stop(size_t *out, const tlmi_generated_text_t *text,
                                          const uint32_t *tokens, size_t prompt_length)
{
    size_t n = tlmi_text_certain_tokens(text), size;

    /* The ends of tokens whose text the decoder held back are only known together. */
    for (; n < text->fed; n++) {
        TLMI_TRY(measure(&size, text, tokens, prompt_length + n + 1));
        if (size > text->prompt_size + text->stops.found)
            break;
    }
    *out = n;
    return TLM_OK;
}
