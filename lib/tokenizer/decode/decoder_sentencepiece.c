/* SentencePiece's decoding, which goes by the types of pieces: control pieces vanish, the unknown
 * piece has a surface of its own, byte pieces become UTF-8, and the space that a text begins with
 * is dropped. */
#include "tokenizer/decode/decoders.h"

#include <string.h>

#include "base/error.h"
#include "tokenizer/subword_model.h"

#define META        "\xE2\x96\x81" /* U+2581 */
#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* `start` holds the bytes of an unfinished character, `flag` tells that the text has begun. A step
 * for all of a token's name: it is the first one. */

static tlm_status_t put_text(tlmi_decode_run_t *run, size_t step, const void *bytes, size_t size)
{
    if (size > 0)
        run->states[step].flag = true;
    return tlmi_step_put(run, step + 1, bytes, size);
}

/* Ends a run of byte pieces. */
static tlm_status_t end_bytes(tlmi_decode_run_t *run, size_t step)
{
    tlmi_step_state_t *state = &run->states[step];
    size_t size = state->start_size;

    state->start_size = 0;
    for (size_t i = 0; i < size; i++)
        TLMI_TRY(put_text(run, step, REPLACEMENT, 3));
    return TLM_OK;
}

static tlm_status_t put_byte(tlmi_decode_run_t *run, size_t step, uint8_t byte)
{
    tlmi_step_state_t *state = &run->states[step];

    if (run->keeps_bytes)
        return put_text(run, step, &byte, 1);
    state->start[state->start_size++] = byte;
    while (state->start_size > 0) {
        uint32_t code_point;
        size_t size = state->start_size;
        int length = tlmi_utf8_decode(&code_point, state->start, state->start + size);

        if (length < 0 && tlmi_utf8_unfinished(state->start, size) == size)
            break;
        if (length > 0)
            TLMI_TRY(put_text(run, step, state->start, (size_t)length));
        else
            TLMI_TRY(put_text(run, step, REPLACEMENT, 3));
        length = length > 0 ? length : 1;
        state->start_size = size - (size_t)length;
        memmove(state->start, state->start + length, state->start_size);
    }
    return TLM_OK;
}

static tlm_status_t put_piece(tlmi_decode_run_t *run, size_t step, const uint8_t *piece,
                              size_t size)
{
    const tlmi_decoder_step_t *spec = &run->decoder->steps[step];
    const uint8_t *end = piece + size;

    if (!run->states[step].flag && spec->start > 0 && size >= 3 && memcmp(piece, META, 3) == 0) {
        piece += 3;
        run->states[step].flag = !spec->flag; /* otherwise all leading spaces are dropped */
    }
    while (piece < end) {
        const uint8_t *meta = memmem(piece, (size_t)(end - piece), META, 3);

        TLMI_TRY(put_text(run, step, piece, (size_t)((meta == NULL ? end : meta) - piece)));
        if (meta == NULL)
            break;
        TLMI_TRY(put_text(run, step, " ", 1));
        piece = meta + 3;
    }
    return TLM_OK;
}

static int hex_value(uint8_t digit)
{
    return digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
}

static tlm_status_t put_sentencepiece(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                                      size_t size)
{
    const tlmi_decoder_step_t *spec = &run->decoder->steps[step];
    int type = run->id < spec->content.size ? spec->content.data[run->id] : 0;

    if (type == TLMI_PIECE_BYTE)
        return put_byte(run, step, (uint8_t)(hex_value(bytes[3]) * 16 + hex_value(bytes[4])));
    TLMI_TRY(end_bytes(run, step));
    switch (type) {
    case TLMI_PIECE_CONTROL:
        return TLM_OK;
    case TLMI_PIECE_UNKNOWN:
        return put_text(run, step, spec->pattern.data, spec->pattern.size);
    case 0: /* a token that the file does not have */
        return put_text(run, step, bytes, size);
    default:
        return put_piece(run, step, bytes, size);
    }
}

const tlmi_step_kind_t tlmi_sentencepiece_step = {"SentencePiece", put_sentencepiece, NULL,
                                                  end_bytes};
