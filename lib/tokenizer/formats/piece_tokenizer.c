/* Tokenizers of SentencePiece's kinds, whatever file their pieces come from. */
#include "tokenizer/formats/token_files.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

void tlmi_piece_list_release(tlmi_piece_list_t *list)
{
    tlmi_free(list->pieces);
    tlmi_free(list->scores);
    tlmi_free(list->types);
    *list = (tlmi_piece_list_t){0};
}

tlm_status_t tlmi_piece_list_add(tlmi_piece_list_t *list, tlm_bytes_t piece, float score,
                                 uint8_t type)
{
    size_t needed = list->n + 1;

    if (!tlmi_grow(&list->pieces, &list->pieces_capacity, needed, sizeof(*list->pieces),
                   "pieces") ||
        !tlmi_grow(&list->scores, &list->scores_capacity, needed, sizeof(*list->scores),
                   "pieces") ||
        !tlmi_grow(&list->types, &list->types_capacity, needed, 1, "pieces"))
        return TLM_ERR_OUT_OF_MEMORY;
    list->pieces[list->n] = piece;
    list->scores[list->n] = score;
    list->types[list->n++] = type;
    return TLM_OK;
}

static bool is_hex(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'F');
}

static tlm_status_t check_byte(tlm_bytes_t piece, size_t id, const char *path)
{
    if (piece.size == 6 && memcmp(piece.data, "<0x", 3) == 0 && is_hex(piece.data[3]) &&
        is_hex(piece.data[4]) && piece.data[5] == '>')
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT, "%s: piece %zu is a byte, but not named like <0x0A>", path,
                     id);
}

static tlm_status_t fill_vocabulary(tlmi_vocabulary_t *vocabulary, const tlmi_piece_list_t *list,
                                    const char *path)
{
    for (size_t id = 0; id < list->n; id++) {
        tlm_bytes_t piece = list->pieces[id];
        uint32_t twin = tlmi_vocabulary_find(vocabulary, piece.data, piece.size);

        if (twin != TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: pieces %" PRIu32 " and %zu are the same", path,
                             twin, id);
        if (list->types[id] == TLMI_PIECE_BYTE)
            TLMI_TRY(check_byte(piece, id, path));
        TLMI_TRY(tlmi_vocabulary_add(vocabulary, piece.data, piece.size));
    }
    return TLM_OK;
}

/* Lists the tokens that are found in texts before the model sees them. A Unigram model of
 * SentencePiece finds user-defined pieces itself. */
static tlm_status_t find_special(tlmi_special_list_t *special, const tlmi_piece_list_t *list,
                                 const tlmi_piece_spec_t *spec)
{
    const uint8_t symbol = spec->symbols_in_raw
                               ? TLMI_TOKEN_ORDINARY
                               : TLMI_TOKEN_ORDINARY | TLMI_TOKEN_NORMALIZED | TLMI_TOKEN_VERBATIM;

    for (size_t id = 0; id < list->n; id++) {
        uint8_t type = list->types[id];

        if (list->pieces[id].size == 0)
            continue;
        if (type == TLMI_PIECE_CONTROL || type == TLMI_PIECE_UNKNOWN)
            TLMI_TRY(tlmi_special_list_add(special, list->pieces[id], (uint32_t)id, 0));
        else if (type == TLMI_PIECE_USER_DEFINED && (!spec->is_unigram || spec->symbols_in_raw))
            TLMI_TRY(tlmi_special_list_add(special, list->pieces[id], (uint32_t)id, symbol));
    }
    return TLM_OK;
}

static tlm_status_t make_normalizer(const tlmi_normalizer_t **out, const tlmi_piece_list_t *list,
                                    const tlmi_piece_spec_t *spec, const char *path)
{
    tlmi_sentencepiece_spec_t normalization = spec->normalization;
    tlm_bytes_t *symbols = tlmi_alloc(list->n, sizeof(*symbols), "symbols");

    if (symbols == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    normalization.symbols = symbols;
    for (size_t id = 0; id < list->n && !spec->symbols_in_raw; id++)
        if (list->types[id] == TLMI_PIECE_USER_DEFINED)
            symbols[normalization.num_symbols++] = list->pieces[id];
    tlm_status_t status = tlmi_sentencepiece_normalizer_create(out, path, &normalization);
    tlmi_free(symbols);
    return status;
}

static tlm_status_t make_decoder(tlmi_decoder_t **out, const tlmi_piece_list_t *list,
                                 const tlmi_piece_spec_t *spec)
{
    TLMI_TRY(tlmi_decoder_create(out, false));
    return tlmi_decoder_add_sentencepiece(*out, list->types, list->n, spec->unk_surface,
                                          spec->normalization.add_dummy_prefix,
                                          spec->normalization.remove_extra_whitespaces);
}

static tlm_status_t make_parts(tlmi_tokenizer_parts_t *parts, tlmi_special_list_t *special,
                               const tlmi_piece_list_t *list, const tlmi_piece_spec_t *spec,
                               const char *path, const tlm_tokenizer_options_t *options)
{
    TLMI_TRY(fill_vocabulary(&parts->vocabulary, list, path));
    TLMI_TRY(find_special(special, list, spec));
    TLMI_TRY(tlmi_special_list_add_options(special, &parts->vocabulary, options, path));
    TLMI_TRY(make_normalizer(&parts->normalizer, list, spec, path));
    TLMI_TRY(tlmi_pretokenizer_create_chain(&parts->pretokenizer, NULL, 0));
    TLMI_TRY(make_decoder(&parts->decoder, list, spec));
    if (spec->bos_id != TLMI_NO_TOKEN || spec->eos_id != TLMI_NO_TOKEN)
        TLMI_TRY(tlmi_template_create(&parts->template, &spec->bos_id,
                                      spec->bos_id != TLMI_NO_TOKEN, &spec->eos_id,
                                      spec->eos_id != TLMI_NO_TOKEN));
    tlmi_special_list_use(parts, special);
    return TLM_OK;
}

static tlm_status_t make_model(tlm_tokenizer_t *tokenizer, const tlmi_piece_list_t *list,
                               const tlmi_piece_spec_t *spec, const char *path)
{
    tlmi_pieces_t pieces = {.scores = list->scores,
                            .types = list->types,
                            .size = (uint32_t)list->n,
                            .unk_id = spec->unk_id,
                            .byte_fallback = spec->byte_fallback};
    tlmi_subword_model_t *model;

    if (spec->is_unigram)
        TLMI_TRY(
            tlmi_unigram_model_create_from_pieces(&model, path, &tokenizer->vocabulary, &pieces));
    else
        TLMI_TRY(tlmi_bpe_model_create_from_pieces(&model, path, &tokenizer->vocabulary, &pieces));
    return tlmi_tokenizer_finish(tokenizer, model);
}

tlm_status_t tlmi_piece_tokenizer_create(tlm_tokenizer_t **out, const char *path,
                                         const tlmi_piece_list_t *list,
                                         const tlmi_piece_spec_t *spec,
                                         const tlm_tokenizer_options_t *options)
{
    tlmi_tokenizer_parts_t parts = {0};
    tlmi_special_list_t special = {0};
    tlm_tokenizer_t *tokenizer = NULL;
    tlm_status_t status;

    TLMI_TRY_OR(done, make_parts(&parts, &special, list, spec, path, options));
    TLMI_TRY_OR(done, tlmi_tokenizer_start_parts(&tokenizer, path, &parts));
    TLMI_TRY_OR(done, make_model(tokenizer, list, spec, path));
    *out = tokenizer;
    tokenizer = NULL;
done:
    tlm_tokenizer_free(tokenizer);
    tlmi_tokenizer_parts_release(&parts);
    tlmi_special_list_release(&special);
    return status;
}
