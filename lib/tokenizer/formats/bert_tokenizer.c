/* BERT's tokenizer, whatever file its vocabulary comes from: cleaned words, split at punctuation
 * and ideographs, then WordPiece. */
#include "tokenizer/formats/token_files.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/memory.h"

static const tlm_bytes_t prefix = {(const uint8_t *)"##", 2};

static tlm_status_t fill_vocabulary(tlmi_vocabulary_t *vocabulary, tlmi_special_list_t *special,
                                    const tlmi_piece_list_t *list, const char *path)
{
    for (size_t id = 0; id < list->n; id++) {
        tlm_bytes_t token = list->pieces[id];
        uint8_t type = list->types[id];
        uint32_t twin = token.size == 0 ? TLMI_NO_TOKEN
                                        : tlmi_vocabulary_find(vocabulary, token.data, token.size);

        if (twin != TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: tokens %" PRIu32 " and %zu are the same", path,
                             twin, id);
        TLMI_TRY(tlmi_vocabulary_add(vocabulary, token.data, token.size));
        if (type == TLMI_PIECE_CONTROL || type == TLMI_PIECE_UNKNOWN ||
            type == TLMI_PIECE_USER_DEFINED)
            TLMI_TRY(
                tlmi_special_list_add(special, token, (uint32_t)id,
                                      type == TLMI_PIECE_USER_DEFINED ? TLMI_TOKEN_ORDINARY : 0));
    }
    return TLM_OK;
}

static tlm_status_t make_pretokenizer(tlmi_pretokenizer_t **out)
{
    tlmi_splitter_t *splitter;

    TLMI_TRY(tlmi_split_bert_create(&splitter));
    return tlmi_pretokenizer_create_chain(out, &splitter, 1);
}

static tlm_status_t make_parts(tlmi_tokenizer_parts_t *parts, tlmi_special_list_t *special,
                               const tlmi_piece_list_t *list, const tlmi_bert_spec_t *spec,
                               const char *path, const tlm_tokenizer_options_t *options)
{
    TLMI_TRY(fill_vocabulary(&parts->vocabulary, special, list, path));
    TLMI_TRY(tlmi_special_list_add_options(special, &parts->vocabulary, options, path));
    TLMI_TRY(tlmi_bert_normalizer_create(&parts->normalizer, true, spec->splits_ideographs,
                                         spec->strip_accents, spec->lowercase));
    TLMI_TRY(make_pretokenizer(&parts->pretokenizer));
    TLMI_TRY(tlmi_decoder_create(&parts->decoder, false));
    TLMI_TRY(tlmi_decoder_add_word_piece(parts->decoder, prefix, true));
    if (spec->cls_id != TLMI_NO_TOKEN || spec->sep_id != TLMI_NO_TOKEN)
        TLMI_TRY(tlmi_template_create(&parts->template, &spec->cls_id,
                                      spec->cls_id != TLMI_NO_TOKEN, &spec->sep_id,
                                      spec->sep_id != TLMI_NO_TOKEN));
    tlmi_special_list_use(parts, special);
    return TLM_OK;
}

tlm_status_t tlmi_bert_tokenizer_create(tlm_tokenizer_t **out, const char *path,
                                        const tlmi_piece_list_t *list, const tlmi_bert_spec_t *spec,
                                        const tlm_tokenizer_options_t *options)
{
    tlmi_wordpiece_options_t wordpiece = {.continuing_subword_prefix = prefix,
                                          .max_input_chars_per_word = TLMI_WORDPIECE_MAX_CHARS};
    tlmi_tokenizer_parts_t parts = {0};
    tlmi_special_list_t special = {0};
    tlm_tokenizer_t *tokenizer = NULL;
    tlmi_subword_model_t *model;
    tlm_status_t status;

    if (spec->unk_id == TLMI_NO_TOKEN)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: there is no token for unknown words", path);
    wordpiece.unk_token = list->pieces[spec->unk_id];
    TLMI_TRY_OR(done, make_parts(&parts, &special, list, spec, path, options));
    TLMI_TRY_OR(done, tlmi_tokenizer_start_parts(&tokenizer, path, &parts));
    TLMI_TRY_OR(done,
                tlmi_wordpiece_model_create(&model, path, &tokenizer->vocabulary, &wordpiece));
    TLMI_TRY_OR(done, tlmi_tokenizer_finish(tokenizer, model));
    *out = tokenizer;
    tokenizer = NULL;
done:
    tlm_tokenizer_free(tokenizer);
    tlmi_tokenizer_parts_release(&parts);
    tlmi_special_list_release(&special);
    return status;
}
