/* Runs of decoders: ids in, text out. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/decode/decoders.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/tokenizer_core.h"

tlm_status_t tlmi_added_token_bits(uint8_t **out, const tlm_tokenizer_t *tokenizer,
                                   bool special_only)
{
    uint8_t *bits =
        tlmi_calloc((size_t)tokenizer->vocabulary.size / 8 + 1, 1, "a map of added tokens");

    if (bits == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < tlmi_special_tokens_count(tokenizer->special); i++) {
        uint32_t id = tokenizer->special_ids[i];
        tlm_bytes_t token = tlmi_special_tokens_get(tokenizer->special, i);
        tlm_bytes_t text = tlmi_special_tokens_text(tokenizer->special, i);
        /* The tokenizers library does not know a special token by its normalized form. */
        bool special =
            (tlmi_special_tokens_flags(tokenizer->special, i) & TLMI_TOKEN_ORDINARY) == 0 &&
            text.size == token.size && memcmp(text.data, token.data, text.size) == 0;

        if (special || !special_only)
            bits[id / 8] |= (uint8_t)(1 << id % 8);
    }
    *out = bits;
    return TLM_OK;
}

tlm_status_t tlmi_decode_run_create(tlmi_decode_run_t **out, const tlm_tokenizer_t *tokenizer,
                                    bool keeps_bytes)
{
    const tlmi_decoder_t *decoder = tokenizer->decoder;
    tlmi_decode_run_t *run = tlmi_calloc(
        1, sizeof(*run) + decoder->num_steps * sizeof(run->states[0]), "a text to decode");

    if (run == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    run->tokenizer = tokenizer;
    run->decoder = decoder;
    run->keeps_bytes = keeps_bytes;
    run->num_states = decoder->num_steps;
    tlm_status_t status = tlmi_added_token_bits(&run->added, tokenizer, false);
    if (status == TLM_OK)
        *out = run;
    else
        tlmi_decode_run_free(run);
    return status;
}

void tlmi_decode_run_free(tlmi_decode_run_t *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < run->num_states; i++)
        tlmi_free(run->states[i].bytes);
    tlmi_free(run->added);
    tlmi_free(run->name);
    tlmi_free(run->text);
    tlmi_free(run);
}

/* Begins another text. Keeps the buffers, and the text that was written. */
static void begin(tlmi_decode_run_t *run)
{
    for (size_t i = 0; i < run->decoder->num_steps; i++) {
        tlmi_step_state_t *state = &run->states[i];

        *state = (tlmi_step_state_t){.bytes = state->bytes, .capacity = state->capacity};
    }
}

static tlm_status_t put_spelled(tlmi_decode_run_t *run, tlm_bytes_t token)
{
    size_t room;

    if (!tlmi_mul_size(&room, token.size, 2))
        return tlmi_fail_memory(token.size, "the name of a token");
    if (room > run->name_capacity &&
        !tlmi_grow(&run->name, &run->name_capacity, room, 1, "the name of a token"))
        return TLM_ERR_OUT_OF_MEMORY;
    size_t size = tlmi_bytes_to_alphabet(run->name, token.data, token.size);
    return tlmi_step_put(run, 0, (const uint8_t *)run->name, size);
}

static tlm_status_t put_token(tlmi_decode_run_t *run, uint32_t id)
{
    const tlmi_decoder_t *decoder = run->decoder;
    tlm_bytes_t token = tlmi_vocabulary_token(&run->tokenizer->vocabulary, id);

    if (tlmi_bit(run->added, id))
        token = tlmi_special_tokens_text(run->tokenizer->special,
                                         tlmi_tokenizer_find_special(run->tokenizer, id));
    if (!decoder->byte_alphabet || tlmi_bit(run->added, id))
        TLMI_TRY(tlmi_step_put(run, 0, token.data, token.size));
    else if (decoder->num_steps > 0 && decoder->steps[0].kind == &tlmi_byte_level_step)
        return tlmi_byte_level_put_bytes(run, 0, token.data, token.size);
    else
        TLMI_TRY(put_spelled(run, token));
    return tlmi_step_end_token(run, 0);
}

tlm_status_t tlmi_decode_run_push(tlmi_decode_run_t *run, uint32_t id)
{
    run->id = id;
    tlm_status_t status = put_token(run, id);

    if (status != TLM_OK)
        begin(run);
    return status;
}

tlm_status_t tlmi_decode_run_finish(tlmi_decode_run_t *run)
{
    tlm_status_t status = tlmi_step_finish(run, 0);

    begin(run);
    return status;
}
