/* Tokenizers of SentencePiece's kinds in GGUF files, as llama.cpp reads them. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/formats/token_files.h"

#define KEY(name) "tokenizer.ggml." name

static bool is_byte_name(tlm_bytes_t piece)
{
    return piece.size == 6 && memcmp(piece.data, "<0x", 3) == 0 && piece.data[5] == '>';
}

/* Types that a file without types leaves open. */
static void guess_types(tlmi_piece_list_t *list, const tlmi_piece_spec_t *spec, uint32_t eos_id)
{
    for (size_t id = 0; id < list->n; id++) {
        if (id == spec->unk_id)
            list->types[id] = TLMI_PIECE_UNKNOWN;
        else if (id == spec->bos_id || id == eos_id)
            list->types[id] = TLMI_PIECE_CONTROL;
        else if (is_byte_name(list->pieces[id]))
            list->types[id] = TLMI_PIECE_BYTE;
    }
}

/* llama.cpp's SPM knows no unused pieces, and it needs no option to fall back to bytes. */
static void adjust_types(tlmi_piece_list_t *list, tlmi_piece_spec_t *spec)
{
    bool bytes[256] = {false};
    size_t num_bytes = 0;

    for (size_t id = 0; id < list->n; id++) {
        if (list->types[id] == TLMI_PIECE_UNUSED && list->pieces[id].size > 0 && !spec->is_unigram)
            list->types[id] = TLMI_PIECE_NORMAL;
        if (list->types[id] != TLMI_PIECE_BYTE || !is_byte_name(list->pieces[id]))
            continue;
        char digits[3] = {(char)list->pieces[id].data[3], (char)list->pieces[id].data[4], '\0'};
        size_t byte = 0;
        for (int i = 0; i < 2; i++)
            byte = byte * 16 + (size_t)(digits[i] <= '9' ? digits[i] - '0' : digits[i] - 'A' + 10);
        if (byte < 256 && !bytes[byte])
            num_bytes++;
        if (byte < 256)
            bytes[byte] = true;
    }
    spec->byte_fallback = num_bytes == 256;
}

static tlm_status_t read_charsmap(tlmi_sentencepiece_spec_t *spec, const tlmi_gguf_t *file,
                                  const char *path)
{
    const tlmi_gguf_value_t *map = tlmi_gguf_find(file, KEY("precompiled_charsmap"));

    if (map == NULL)
        return TLM_OK;
    if (!map->is_array || (map->type != TLMI_GGUF_UINT8 && map->type != TLMI_GGUF_INT8))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not an array of bytes", path,
                         KEY("precompiled_charsmap"));
    spec->charsmap = map->data;
    spec->charsmap_size = map->count;
    return TLM_OK;
}

static tlm_status_t build(tlm_tokenizer_t **out, tlmi_piece_list_t *list, const tlmi_gguf_t *file,
                          const char *path, bool is_unigram, const tlm_tokenizer_options_t *options)
{
    static const uint8_t unk_surface[] = " \xE2\x81\x87 ";
    uint32_t bos_id =
        tlmi_gguf_token_id(file, KEY("bos_token_id"), is_unigram ? TLMI_NO_TOKEN : 1, list->n);
    uint32_t eos_id = tlmi_gguf_token_id(file, KEY("eos_token_id"), is_unigram ? 1 : 2, list->n);
    tlmi_piece_spec_t spec = {
        .is_unigram = is_unigram,
        .symbols_in_raw = true,
        .unk_id = tlmi_gguf_token_id(file, KEY("unknown_token_id"), is_unigram ? 2 : 0, list->n),
        .unk_surface = {unk_surface, sizeof(unk_surface) - 1},
        .bos_id = bos_id,
        .normalization = {
            .add_dummy_prefix = tlmi_gguf_flag(file, KEY("add_space_prefix"), !is_unigram),
            .remove_extra_whitespaces =
                tlmi_gguf_flag(file, KEY("remove_extra_whitespaces"), false) && is_unigram,
            .escape_whitespaces = true}};

    if (tlmi_gguf_find(file, KEY("token_type")) == NULL)
        guess_types(list, &spec, eos_id);
    adjust_types(list, &spec);
    spec.bos_id = tlmi_gguf_flag(file, KEY("add_bos_token"), !is_unigram) ? bos_id : TLMI_NO_TOKEN;
    spec.eos_id = tlmi_gguf_flag(file, KEY("add_eos_token"), is_unigram) ? eos_id : TLMI_NO_TOKEN;
    if (is_unigram)
        TLMI_TRY(read_charsmap(&spec.normalization, file, path));
    return tlmi_piece_tokenizer_create(out, path, list, &spec, options);
}

tlm_status_t tlmi_gguf_read_pieces(tlm_tokenizer_t **out, const tlmi_gguf_t *file, const char *path,
                                   bool is_unigram, const tlm_tokenizer_options_t *options)
{
    tlmi_piece_list_t list = {0};

    TLMI_TRY(tlmi_refuse_splitting_options(options, path, "a SentencePiece model"));
    tlm_status_t status = tlmi_gguf_read_tokens(&list, file, path);
    if (status == TLM_OK)
        status = build(out, &list, file, path, is_unigram, options);
    tlmi_piece_list_release(&list);
    return status;
}
