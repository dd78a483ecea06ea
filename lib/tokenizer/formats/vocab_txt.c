/* BERT's vocab.txt: one token per line, whose number from 0 is its id. The file does not say
 * whether texts are put in lower case: a tokenizer_config.json beside it may, otherwise they are if
 * no token has a capital letter of ASCII. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/file_kind.h"
#include "tokenizer/formats/token_files.h"

#define CONFIG "tokenizer_config.json"

static tlm_status_t read_lines(tlmi_piece_list_t *list, const tlmi_mapping_t *file)
{
    const uint8_t *line = file->data;
    size_t left = file->size;

    while (left > 0) {
        const uint8_t *newline = memchr(line, '\n', left);
        size_t size = newline == NULL ? left : (size_t)(newline - line);
        size_t used = newline == NULL ? left : size + 1;

        if (size > 0 && line[size - 1] == '\r')
            size--;
        TLMI_TRY(tlmi_piece_list_add(list, (tlm_bytes_t){line, size}, 0, TLMI_PIECE_NORMAL));
        line += used;
        left -= used;
    }
    return TLM_OK;
}

/* Makes the special tokens that BERT has special; returns the id of one, or TLMI_NO_TOKEN. */
static uint32_t mark(tlmi_piece_list_t *list, const char *name)
{
    for (size_t id = 0; id < list->n; id++)
        if (list->pieces[id].size == strlen(name) &&
            memcmp(list->pieces[id].data, name, strlen(name)) == 0) {
            list->types[id] = TLMI_PIECE_CONTROL;
            return (uint32_t)id;
        }
    return TLMI_NO_TOKEN;
}

static bool has_capitals(const tlmi_piece_list_t *list)
{
    for (size_t id = 0; id < list->n; id++) {
        tlm_bytes_t token = list->pieces[id];

        if (token.size == 0 || token.data[0] == '[')
            continue; /* [UNK], [unused7] */
        for (size_t i = 0; i < token.size; i++)
            if (token.data[i] >= 'A' && token.data[i] <= 'Z')
                return true;
    }
    return false;
}

static void use_config(tlmi_bert_spec_t *spec, const tlmi_json_t *config)
{
    (void)tlmi_json_get_bool(tlmi_json_member(config, "do_lower_case"), &spec->lowercase);
    spec->strip_accents = spec->lowercase;
    (void)tlmi_json_get_bool(tlmi_json_member(config, "strip_accents"), &spec->strip_accents);
    (void)tlmi_json_get_bool(tlmi_json_member(config, "tokenize_chinese_chars"),
                             &spec->splits_ideographs);
}

/* Reads the configuration in the folder of `path`, if there is one. */
static tlm_status_t read_config(tlmi_bert_spec_t *spec, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    char *name = tlmi_alloc(folder + sizeof(CONFIG), 1, "a path");
    tlm_status_t status = TLM_OK;

    if (name == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(name, path, folder);
    memcpy(name + folder, CONFIG, sizeof(CONFIG));
    if (tlmi_is_regular_file(name)) {
        tlmi_json_t *config;
        size_t size;

        status = tlmi_json_read_file(&config, &size, name);
        if (status == TLM_OK) {
            use_config(spec, config);
            tlmi_json_free(config);
        }
    }
    tlmi_free(name);
    return status;
}

static tlm_status_t build(tlm_tokenizer_t **out, tlmi_piece_list_t *list, const char *path,
                          const tlm_tokenizer_options_t *options)
{
    tlmi_bert_spec_t spec = {.splits_ideographs = true, .unk_id = mark(list, "[UNK]")};

    if (spec.unk_id == TLMI_NO_TOKEN)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: not a tokenizer: a text file, but without the line [UNK] of a "
                         "vocab.txt",
                         path);
    spec.cls_id = mark(list, "[CLS]");
    spec.sep_id = mark(list, "[SEP]");
    (void)mark(list, "[PAD]");
    (void)mark(list, "[MASK]");
    spec.lowercase = spec.strip_accents = !has_capitals(list);
    TLMI_TRY(read_config(&spec, path));
    return tlmi_bert_tokenizer_create(out, path, list, &spec, options);
}

tlm_status_t tlmi_vocab_txt_load(tlm_tokenizer_t **out, const char *path,
                                 const tlm_tokenizer_options_t *options)
{
    tlm_tokenizer_options_t known;
    tlmi_piece_list_t list = {0};
    tlmi_mapping_t file;

    TLMI_TRY(tlmi_tokenizer_read_options(&known, "tokenizer_open", options));
    TLMI_TRY(tlmi_refuse_splitting_options(&known, path, "a WordPiece vocabulary"));
    TLMI_TRY(tlmi_read_file(&file, path));
    tlm_status_t status = read_lines(&list, &file);
    if (status == TLM_OK)
        status = build(out, &list, path, &known);
    tlmi_piece_list_release(&list);
    tlmi_unmap_file(&file);
    return status;
}
