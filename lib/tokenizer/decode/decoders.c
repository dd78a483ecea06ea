/* Making decoders, step by step. */
#include "tokenizer/decode/decoders.h"

#include "base/error.h"
#include "base/memory.h"

tlm_status_t tlmi_decoder_create(tlmi_decoder_t **out, bool byte_alphabet)
{
    tlmi_decoder_t *decoder = tlmi_calloc(1, sizeof(*decoder), "a decoder");

    if (decoder == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    decoder->byte_alphabet = byte_alphabet;
    *out = decoder;
    return TLM_OK;
}

static void release_step(tlmi_decoder_step_t *step)
{
    tlmi_free((void *)step->pattern.data);
    tlmi_free((void *)step->content.data);
    tlmi_regex_free(step->regex);
}

void tlmi_decoder_free(tlmi_decoder_t *decoder)
{
    if (decoder == NULL)
        return;
    for (size_t i = 0; i < decoder->num_steps; i++)
        release_step(&decoder->steps[i]);
    tlmi_free(decoder);
}

static tlm_status_t copy_bytes(tlm_bytes_t *to, tlm_bytes_t from)
{
    *to = (tlm_bytes_t){NULL, from.size};
    if (from.size == 0)
        return TLM_OK;
    to->data = tlmi_memdup(from.data, from.size, "a decoder");
    return to->data == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
}

/* Appends a step, whose strings are copied. */
static tlm_status_t add_step(tlmi_decoder_t *decoder, tlmi_decoder_step_t step)
{
    tlm_bytes_t pattern = step.pattern, content = step.content;
    tlm_status_t status;

    step.pattern = step.content = (tlm_bytes_t){NULL, 0};
    if (decoder->num_steps == TLMI_MAX_DECODER_STEPS) {
        status = tlmi_fail(TLM_ERR_UNSUPPORTED, "decoder: it has more than %d steps",
                           TLMI_MAX_DECODER_STEPS);
        goto fail;
    }
    TLMI_TRY_OR(fail, copy_bytes(&step.pattern, pattern));
    TLMI_TRY_OR(fail, copy_bytes(&step.content, content));
    decoder->steps[decoder->num_steps++] = step;
    return TLM_OK;
fail:
    release_step(&step);
    return status;
}

tlm_status_t tlmi_decoder_add_byte_level(tlmi_decoder_t *decoder)
{
    return add_step(decoder, (tlmi_decoder_step_t){.kind = &tlmi_byte_level_step});
}

tlm_status_t tlmi_decoder_add_word_piece(tlmi_decoder_t *decoder, tlm_bytes_t prefix, bool cleanup)
{
    return add_step(
        decoder,
        (tlmi_decoder_step_t){.kind = &tlmi_word_piece_step, .pattern = prefix, .flag = cleanup});
}

/* Writes a character in UTF-8 and returns its size. */
static size_t encode_character(uint8_t out[4], uint32_t character)
{
    if (character < 0x80) {
        out[0] = (uint8_t)character;
        return 1;
    }
    size_t size = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (character & 0x3F));
        character >>= 6;
    }
    out[0] = (uint8_t)(0xF00 >> size | character); /* C0, E0 or F0 */
    return size;
}

tlm_status_t tlmi_decoder_add_metaspace(tlmi_decoder_t *decoder, uint32_t replacement,
                                        bool drops_first)
{
    uint8_t bytes[4];
    size_t size = encode_character(bytes, replacement);

    return add_step(decoder, (tlmi_decoder_step_t){.kind = &tlmi_metaspace_step,
                                                   .pattern = {bytes, size},
                                                   .flag = drops_first});
}

tlm_status_t tlmi_decoder_add_byte_fallback(tlmi_decoder_t *decoder)
{
    return add_step(decoder, (tlmi_decoder_step_t){.kind = &tlmi_byte_fallback_step});
}

tlm_status_t tlmi_decoder_add_fuse(tlmi_decoder_t *decoder)
{
    return add_step(decoder, (tlmi_decoder_step_t){.kind = &tlmi_fuse_step});
}

tlm_status_t tlmi_decoder_add_strip(tlmi_decoder_t *decoder, uint32_t content, size_t start,
                                    size_t stop)
{
    uint8_t bytes[4];
    size_t size = encode_character(bytes, content);

    return add_step(decoder, (tlmi_decoder_step_t){.kind = &tlmi_strip_step,
                                                   .pattern = {bytes, size},
                                                   .start = start,
                                                   .stop = stop});
}

tlm_status_t tlmi_decoder_add_replace(tlmi_decoder_t *decoder, tlm_bytes_t pattern,
                                      tlm_bytes_t content)
{
    return add_step(
        decoder,
        (tlmi_decoder_step_t){.kind = &tlmi_replace_step, .pattern = pattern, .content = content});
}

tlm_status_t tlmi_decoder_add_replace_regex(tlmi_decoder_t *decoder, const char *pattern,
                                            tlm_bytes_t content)
{
    tlmi_decoder_step_t step = {.kind = &tlmi_replace_regex_step, .content = content};

    TLMI_TRY(tlmi_regex_create(&step.regex, pattern, TLMI_REGEX_ONIGURUMA));
    return add_step(decoder, step);
}

tlm_status_t tlmi_decoder_add_bpe(tlmi_decoder_t *decoder, tlm_bytes_t suffix)
{
    return add_step(decoder, (tlmi_decoder_step_t){.kind = &tlmi_bpe_step, .pattern = suffix});
}

tlm_status_t tlmi_decoder_add_sentencepiece(tlmi_decoder_t *decoder, const uint8_t *types, size_t n,
                                            tlm_bytes_t unk_surface, bool drops_space,
                                            bool drops_spaces)
{
    return add_step(decoder, (tlmi_decoder_step_t){.kind = &tlmi_sentencepiece_step,
                                                   .pattern = unk_surface,
                                                   .content = {types, n},
                                                   .start = drops_space || drops_spaces,
                                                   .flag = drops_spaces});
}

tlm_status_t tlmi_decoder_add_spaces(tlmi_decoder_t *decoder)
{
    return add_step(decoder, (tlmi_decoder_step_t){.kind = &tlmi_spaces_step});
}

bool tlmi_decoder_is_byte_level(const tlmi_decoder_t *decoder)
{
    return decoder->byte_alphabet && decoder->num_steps == 1 &&
           decoder->steps[0].kind == &tlmi_byte_level_step;
}
