/* Names of tokens in files. */
#include "tokenizer/formats/token_files.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/unicode.h"

/* Checks that readers will find special token `index`, by its own text, under its id. */
static tlm_status_t check_special(tlmi_token_names_t *names, size_t index, const char *what)
{
    const tlm_tokenizer_t *tokenizer = names->tokenizer;
    tlm_bytes_t token = tlmi_special_tokens_get(tokenizer->special, index);
    uint32_t id = tokenizer->special_ids[index];

    if (!tlmi_utf8_valid(token.data, token.size) || memchr(token.data, '\0', token.size) != NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: special token %zu, id %u, is not UTF-8 without NUL", what, index, id);
    TLMI_TRY(tlmi_spell(&names->spelling, token)); /* reserves the buffer */
    uint32_t other;
    size_t size;
    if (!tlmi_alphabet_to_bytes((uint8_t *)names->spelling.text, &size, (const char *)token.data,
                                token.size))
        other = names->is_raw[id] ? id : TLMI_NO_TOKEN;
    else if (names->is_raw[id] &&
             (size != token.size || memcmp(names->spelling.text, token.data, token.size) != 0))
        other = TLMI_NO_TOKEN - 1; /* ByteLevel decodes it to other bytes */
    else
        other = tlmi_vocabulary_find(&tokenizer->vocabulary, (uint8_t *)names->spelling.text, size);
    if ((other == id || (other == TLMI_NO_TOKEN && names->is_raw[id])))
        return TLM_OK;
    if (other < tokenizer->vocabulary.size && names->is_raw[id] && names->is_raw[other])
        return TLM_OK; /* the other token is not written in the alphabet */
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: special token %zu, id %u, is written like another token", what, index,
                     id);
}

/* Byte-level BPE, whose vocabulary may lack bytes: those are dropped from texts, which both formats can
 * say. An unk_token is part of a tokenizer.json that was read. */
static tlm_status_t require_bytes(const tlmi_bpe_model_t **out, const char *what,
                                  const tlm_tokenizer_t *tokenizer)
{
    const tlmi_bpe_model_t *model = tlmi_tokenizer_bpe(tokenizer);
    const tlmi_bpe_symbols_t *symbols = model == NULL ? NULL : &model->symbols;

    if (symbols == NULL || !symbols->is_byte_level || model->merges.shares_ranks ||
        symbols->map_of[TLMI_NUM_PLACES - 1] != &symbols->maps[0] ||
        (tokenizer->source == NULL && (symbols->lacks_unk || symbols->unk_id != TLMI_NO_TOKEN)))
        return tlmi_tokenizer_require_bpe(out, what, tokenizer);
    *out = model;
    return TLM_OK;
}

tlm_status_t tlmi_token_names_init(tlmi_token_names_t *names, const tlm_tokenizer_t *tokenizer,
                                   const char *what)
{
    size_t n = tlmi_special_tokens_count(tokenizer->special);

    *names = (tlmi_token_names_t){.tokenizer = tokenizer};
    TLMI_TRY(require_bytes(&names->model, what, tokenizer));
    names->is_raw =
        tlmi_calloc(tokenizer->vocabulary.size, sizeof(*names->is_raw), "special tokens");
    if (names->is_raw == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = tokenizer->special_ids[i];

        names->is_raw[id] = names->model->is_whole[id] != TLMI_WHOLE_BY_MERGES;
    }
    for (size_t i = 0; tokenizer->source != NULL && i < tokenizer->source->num_raw_ids; i++)
        names->is_raw[tokenizer->source->raw_ids[i]] = true;
    for (size_t i = 0; i < n; i++)
        TLMI_TRY(check_special(names, i, what));
    return TLM_OK;
}

void tlmi_token_names_release(tlmi_token_names_t *names)
{
    tlmi_free(names->spelling.text);
    tlmi_free(names->is_raw);
}

tlm_status_t tlmi_token_name(const char **text, size_t *size, tlmi_token_names_t *names,
                             uint32_t id)
{
    tlm_bytes_t token = tlmi_vocabulary_token(&names->tokenizer->vocabulary, id);

    if (names->is_raw[id]) {
        *text = (const char *)token.data;
        *size = token.size;
        return TLM_OK;
    }
    TLMI_TRY(tlmi_spell(&names->spelling, token));
    *text = names->spelling.text;
    *size = names->spelling.size;
    return TLM_OK;
}

bool tlmi_merge_has_names(const tlmi_token_names_t *names, const tlmi_merge_t *merge)
{
    return !names->is_raw[merge->left] && !names->is_raw[merge->right] &&
           !names->is_raw[merge->product];
}
