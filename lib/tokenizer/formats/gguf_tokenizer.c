/* Tokenizers in GGUF files, by "tokenizer.ggml.model": gpt2 is byte-level BPE, gemma4 BPE over
 * characters, llama and t5 are SentencePiece's BPE and Unigram (gguf_pieces.c), bert is
 * WordPiece. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/dtype.h"
#include "base/memory.h"
#include "tinylm/tokenizer.h"
#include "tokenizer/formats/token_files.h"

#define KEY(name) "tokenizer.ggml." name
#define META      "\xE2\x96\x81" /* U+2581 */

/* ---- What all kinds share ---- */

static bool is_text(const char *text, size_t size, const char *wanted)
{
    return size == strlen(wanted) && memcmp(text, wanted, size) == 0;
}

/* A pointer to the array's value, or NULL if the file lacks it. */
static tlm_status_t find_numbers(const tlmi_gguf_value_t **out, const tlmi_gguf_t *file,
                                 const char *key, bool floats, size_t num_tokens, const char *path)
{
    const tlmi_gguf_value_t *value = *out = tlmi_gguf_find(file, key);

    if (value == NULL)
        return TLM_OK;
    if (!value->is_array ||
        (value->type != TLMI_GGUF_INT32 && !(floats && value->type == TLMI_GGUF_FLOAT32)))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not an array of %s", path, key,
                         floats ? "float32" : "int32");
    if (value->count != num_tokens)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' has %zu items, but there are %zu tokens", path,
                         key, value->count, num_tokens);
    return TLM_OK;
}

static tlm_status_t read_type(uint8_t *out, const tlmi_gguf_value_t *types, size_t id,
                              const char *path)
{
    int32_t type = TLMI_PIECE_NORMAL;

    if (types != NULL)
        type = (int32_t)tlmi_load_le32((const uint8_t *)types->data + id * sizeof(type));
    if (type < TLMI_PIECE_NORMAL || type > TLMI_PIECE_BYTE)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: token %zu has type %" PRId32 ", which is not supported", path, id,
                         type);
    *out = (uint8_t)type;
    return TLM_OK;
}

static float read_score(const tlmi_gguf_value_t *scores, size_t id)
{
    if (scores == NULL)
        return 0;
    uint32_t bits = tlmi_load_le32((const uint8_t *)scores->data + id * sizeof(bits));
    if (scores->type == TLMI_GGUF_INT32)
        return (float)(int32_t)bits;
    float score;
    memcpy(&score, &bits, sizeof(score));
    return score;
}

tlm_status_t tlmi_gguf_read_tokens(tlmi_piece_list_t *list, const tlmi_gguf_t *file,
                                   const char *path)
{
    const tlmi_gguf_value_t *tokens = tlmi_gguf_find(file, KEY("tokens")), *types, *scores;
    const char *text;
    size_t size;
    uint8_t type = TLMI_PIECE_NORMAL;

    if (tokens == NULL || !tokens->is_array || tokens->type != TLMI_GGUF_STRING)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not an array of strings", path,
                         KEY("tokens"));
    TLMI_TRY(find_numbers(&types, file, KEY("token_type"), false, tokens->count, path));
    TLMI_TRY(find_numbers(&scores, file, KEY("scores"), true, tokens->count, path));
    const char *cursor = tokens->data;
    for (size_t id = 0; id < tokens->count; id++) {
        tlmi_gguf_next_string(&cursor, &text, &size);
        TLMI_TRY(read_type(&type, types, id, path));
        if (size == 0 && type != TLMI_PIECE_UNUSED)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: token %zu is empty", path, id);
        tlm_bytes_t token = {(const uint8_t *)text, size};
        TLMI_TRY(tlmi_piece_list_add(list, token, read_score(scores, id), type));
    }
    return TLM_OK;
}

uint32_t tlmi_gguf_token_id(const tlmi_gguf_t *file, const char *key, uint32_t missing,
                            size_t num_tokens)
{
    int64_t id;

    if (tlmi_gguf_get_int(tlmi_gguf_find(file, key), &id) && id >= 0 && (uint64_t)id < num_tokens)
        return (uint32_t)id;
    return missing < num_tokens ? missing : TLMI_NO_TOKEN;
}

bool tlmi_gguf_flag(const tlmi_gguf_t *file, const char *key, bool missing)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, key);

    return value != NULL && !value->is_array && value->type == TLMI_GGUF_BOOL ? value->data[0] != 0
                                                                              : missing;
}

/* Without types, the special tokens are those that the file names in keys of their own. */
static void guess_types(tlmi_piece_list_t *list, const tlmi_gguf_t *file)
{
    static const char *const keys[] = {KEY("bos_token_id"),       KEY("eos_token_id"),
                                       KEY("eot_token_id"),       KEY("unknown_token_id"),
                                       KEY("seperator_token_id"), KEY("padding_token_id"),
                                       KEY("cls_token_id"),       KEY("mask_token_id")};

    if (tlmi_gguf_find(file, KEY("token_type")) != NULL)
        return;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        uint32_t id = tlmi_gguf_token_id(file, keys[i], TLMI_NO_TOKEN, list->n);

        if (id != TLMI_NO_TOKEN)
            list->types[id] = TLMI_PIECE_CONTROL;
    }
}

/* The type, in memory, of a token whose name stands for no bytes: no text becomes it. */
enum { NEVER_MADE = TLMI_PIECE_BYTE + 1 };

static bool is_special(uint8_t type)
{
    return type == TLMI_PIECE_CONTROL || type == TLMI_PIECE_UNKNOWN ||
           type == TLMI_PIECE_USER_DEFINED;
}

static tlm_status_t list_special(tlmi_special_list_t *special, const tlmi_piece_list_t *list)
{
    for (size_t id = 0; id < list->n; id++)
        if (is_special(list->types[id]))
            TLMI_TRY(tlmi_special_list_add(
                special, list->pieces[id], (uint32_t)id,
                list->types[id] == TLMI_PIECE_USER_DEFINED ? TLMI_TOKEN_ORDINARY : 0));
    return TLM_OK;
}

/* Makes the template of the tokens before and after a text. */
static tlm_status_t make_template(tlmi_tokenizer_parts_t *parts, uint32_t before, uint32_t after)
{
    if (before == TLMI_NO_TOKEN && after == TLMI_NO_TOKEN)
        return TLM_OK;
    return tlmi_template_create(&parts->template, &before, before != TLMI_NO_TOKEN, &after,
                                after != TLMI_NO_TOKEN);
}

static tlm_status_t make_bpe_template(tlmi_tokenizer_parts_t *parts, const tlmi_gguf_t *file,
                                      bool adds_bos, size_t num_tokens)
{
    uint32_t bos_id = tlmi_gguf_token_id(file, KEY("bos_token_id"), TLMI_NO_TOKEN, num_tokens);
    uint32_t eos_id = tlmi_gguf_token_id(file, KEY("eos_token_id"), TLMI_NO_TOKEN, num_tokens);

    if (!tlmi_gguf_flag(file, KEY("add_bos_token"), adds_bos))
        bos_id = TLMI_NO_TOKEN;
    if (!tlmi_gguf_flag(file, KEY("add_eos_token"), false))
        eos_id = TLMI_NO_TOKEN;
    return make_template(parts, bos_id, eos_id);
}

/* Adds the tokens to a vocabulary. A special token with the bytes of an ordinary one is hidden:
 * names that differ may stand for the same bytes. */
static tlm_status_t fill_vocabulary(tlmi_vocabulary_t *vocabulary, const tlmi_piece_list_t *list,
                                    const char *path)
{
    tlmi_vocabulary_t ordinary = {0};
    tlm_status_t status = TLM_OK;

    for (size_t id = 0; id < list->n && status == TLM_OK; id++) {
        tlm_bytes_t token = list->pieces[id];

        if (is_special(list->types[id]) || list->types[id] == NEVER_MADE)
            continue;
        if (tlmi_vocabulary_find(&ordinary, token.data, token.size) != TLMI_NO_TOKEN)
            status =
                tlmi_fail(TLM_ERR_FORMAT, "%s: token %zu is the same as another one", path, id);
        else
            status = tlmi_vocabulary_add(&ordinary, token.data, token.size);
    }
    for (size_t id = 0; id < list->n && status == TLM_OK; id++) {
        tlm_bytes_t token = list->pieces[id];
        bool hidden = (is_special(list->types[id]) || list->types[id] == NEVER_MADE) &&
                      (tlmi_vocabulary_find(&ordinary, token.data, token.size) != TLMI_NO_TOKEN ||
                       tlmi_vocabulary_find(vocabulary, token.data, token.size) != TLMI_NO_TOKEN);

        status = hidden ? tlmi_vocabulary_add_hidden(vocabulary, token.data, token.size)
                        : tlmi_vocabulary_add(vocabulary, token.data, token.size);
    }
    tlmi_vocabulary_release(&ordinary);
    return status;
}

/* ---- BPE ---- */

/* A tokenizer of BPE while it is read. */
typedef struct bpe_reader {
    const tlmi_gguf_t *file;
    const char *path;
    bool is_byte_level;
    const tlmi_gguf_splitting_t *splitting; /* NULL: the caller's pattern, or gemma4 */
    tlmi_piece_list_t list;
    tlmi_token_list_t decoded; /* bytes of names in the byte alphabet */
    tlmi_token_list_t merges;
    tlmi_special_list_t special;
    tlmi_tokenizer_parts_t parts;
    uint8_t *is_added; /* [id] */
} bpe_reader_t;

static void release_reader(bpe_reader_t *reader)
{
    tlmi_piece_list_release(&reader->list);
    tlmi_token_list_release(&reader->decoded);
    tlmi_token_list_release(&reader->merges);
    tlmi_special_list_release(&reader->special);
    tlmi_tokenizer_parts_release(&reader->parts);
    tlmi_free(reader->is_added);
}

/* Replaces names by bytes. Unused ids become holes, and those after the last token concern only the
 * model. */
static tlm_status_t decode_names(bpe_reader_t *reader)
{
    tlmi_piece_list_t *list = &reader->list;
    size_t at, room = 0;

    for (size_t id = 0; id < list->n; id++)
        room += list->pieces[id].size;
    TLMI_TRY(tlmi_token_list_init(&reader->decoded, room));
    for (size_t id = 0; id < list->n; id++) {
        tlm_bytes_t *token = &list->pieces[id];

        if (list->types[id] == TLMI_PIECE_UNUSED)
            *token = (tlm_bytes_t){NULL, 0};
        else if (list->types[id] == TLMI_PIECE_BYTE && reader->is_byte_level)
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "%s: token %zu has type 6, which is not supported", reader->path, id);
        else if (list->types[id] == TLMI_PIECE_NORMAL && reader->is_byte_level &&
                 !tlmi_token_list_decode(token, &at, &reader->decoded, (const char *)token->data,
                                         token->size))
            list->types[id] = NEVER_MADE;
    }
    while (list->n > 0 && list->pieces[list->n - 1].size == 0)
        list->n--;
    return TLM_OK;
}

/* Appends the sides of a merge of names that are the tokens themselves. */
static tlm_status_t read_plain_merge(tlmi_token_list_t *merges, const char *text, size_t size,
                                     const char *path, size_t number)
{
    const char *space = size > 1 ? memchr(text + 1, ' ', size - 1) : NULL;

    if (space == NULL || space == text + size - 1)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: merge %zu is not two tokens separated by a space",
                         path, number);
    size_t left = (size_t)(space - text);
    TLMI_TRY(tlmi_token_list_append(merges, (tlm_bytes_t){(const uint8_t *)text, left}));
    return tlmi_token_list_append(merges,
                                  (tlm_bytes_t){(const uint8_t *)space + 1, size - left - 1});
}

static tlm_status_t read_merges(bpe_reader_t *reader)
{
    const tlmi_gguf_value_t *lines = tlmi_gguf_find(reader->file, KEY("merges"));
    const char *path = reader->path;

    if (lines == NULL || !lines->is_array || lines->type != TLMI_GGUF_STRING)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not an array of strings", path,
                         KEY("merges"));
    TLMI_TRY(tlmi_token_list_init(&reader->merges, lines->bytes));
    const char *cursor = lines->data;
    for (size_t i = 0; i < lines->count; i++) {
        const char *text;
        size_t size;

        tlmi_gguf_next_string(&cursor, &text, &size);
        if (reader->is_byte_level)
            TLMI_TRY(tlmi_token_list_read_merge(&reader->merges, text, size, path, "merge", i));
        else
            TLMI_TRY(read_plain_merge(&reader->merges, text, size, path, i));
    }
    return TLM_OK;
}

static void mark_known(bpe_reader_t *reader, tlm_bytes_t token)
{
    uint32_t id = tlmi_vocabulary_find(&reader->parts.vocabulary, token.data, token.size);

    if (id != TLMI_NO_TOKEN)
        reader->is_added[id] = 0;
}

/* Special tokens are known to the model only if merges name or make them, or as single bytes. */
static tlm_status_t find_added(bpe_reader_t *reader)
{
    const tlmi_token_list_t *merges = &reader->merges;
    tlmi_scratch_t joined = {0};

    reader->is_added = tlmi_calloc(reader->parts.vocabulary.size, 1, "special tokens");
    if (reader->is_added == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < reader->special.n; i++)
        reader->is_added[reader->special.ids[i]] =
            reader->special.tokens[i].size > 1 || !reader->is_byte_level;
    for (size_t id = 0; id < reader->list.n; id++)
        reader->is_added[id] |= reader->list.types[id] == NEVER_MADE;
    size_t i = 0;
    for (; i < merges->n; i += 2) {
        tlm_bytes_t left = merges->items[i], right = merges->items[i + 1];
        uint8_t *bytes = tlmi_scratch_reserve(&joined, left.size + right.size);

        if (bytes == NULL)
            break;
        memcpy(bytes, left.data, left.size);
        memcpy(bytes + left.size, right.data, right.size);
        mark_known(reader, left);
        mark_known(reader, right);
        mark_known(reader, (tlm_bytes_t){bytes, left.size + right.size});
    }
    tlm_status_t status = i >= merges->n ? TLM_OK : TLM_ERR_OUT_OF_MEMORY;
    tlmi_scratch_release(&joined);
    return status;
}

static tlm_status_t make_merges(tlmi_merge_table_t *table, const bpe_reader_t *reader)
{
    const tlmi_token_list_t *merges = &reader->merges;
    tlmi_scratch_t joined = {0};
    tlm_status_t status = tlmi_merge_table_init(table, merges->n / 2);

    for (size_t i = 0; i + 1 < merges->n && status == TLM_OK; i += 2)
        status =
            tlmi_bpe_add_merge(table, reader->path, &reader->parts.vocabulary, reader->is_added, 0,
                               merges->items[i], merges->items[i + 1], i / 2, &joined);
    tlmi_scratch_release(&joined);
    if (status != TLM_OK)
        tlmi_merge_table_release(table);
    return status;
}

static tlm_status_t finish_bpe(tlm_tokenizer_t **out, bpe_reader_t *reader, bool ignore_merges)
{
    tlmi_bpe_options_t options = {.is_byte_level = reader->is_byte_level,
                                  .byte_fallback = !reader->is_byte_level,
                                  .ignore_merges = ignore_merges,
                                  .is_added = reader->is_added};
    tlm_tokenizer_t *tokenizer;
    tlmi_merge_table_t merges = {0};

    TLMI_TRY(make_merges(&merges, reader));
    tlm_status_t status = tlmi_tokenizer_start_parts(&tokenizer, reader->path, &reader->parts);
    if (status != TLM_OK) {
        tlmi_merge_table_release(&merges);
        return status;
    }
    tlmi_subword_model_t *model;
    status = tlmi_bpe_model_create(&model, reader->path, &tokenizer->vocabulary, &merges, &options);
    if (status == TLM_OK)
        status = tlmi_tokenizer_finish(tokenizer, model);
    if (status == TLM_OK)
        *out = tokenizer;
    else
        tlm_tokenizer_free(tokenizer);
    return status;
}

static tlm_status_t find_splitting(bpe_reader_t *reader, const tlm_tokenizer_options_t *options)
{
    const char *text = "missing";
    size_t size = strlen(text);

    if (options->pattern != NULL)
        return tlmi_pretokenizer_create(&reader->parts.pretokenizer, options->pattern);
    bool known = tlmi_gguf_get_string(tlmi_gguf_find(reader->file, KEY("pre")), &text, &size);
    reader->splitting = tlmi_gguf_splitting_find(text, size);
    if (reader->splitting != NULL)
        return tlmi_gguf_splitting_make(&reader->parts.pretokenizer, reader->splitting);
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%s' is %.*s%s, so a pattern must be given",
                     reader->path, KEY("pre"), size < 64 ? (int)size : 64, text,
                     known ? ", which is not supported" : "");
}

/* gemma4: U+2581 stands for spaces, lines are pretokens, bytes are <0x0A>. */
static tlm_status_t make_gemma_parts(bpe_reader_t *reader)
{
    const tlmi_sentencepiece_spec_t spec = {.escape_whitespaces = true};
    tlmi_splitter_t *splitter;

    TLMI_TRY(tlmi_sentencepiece_normalizer_create(&reader->parts.normalizer, reader->path, &spec));
    TLMI_TRY(tlmi_split_regex_create(&splitter, "[^\\n]+|[\\n]+", TLMI_REGEX_ONIGURUMA,
                                     TLMI_SPLIT_ISOLATED, false));
    TLMI_TRY(tlmi_pretokenizer_create_chain(&reader->parts.pretokenizer, &splitter, 1));
    TLMI_TRY(tlmi_decoder_create(&reader->parts.decoder, false));
    return tlmi_decoder_add_sentencepiece(reader->parts.decoder, reader->list.types, reader->list.n,
                                          (tlm_bytes_t){NULL, 0}, false, false);
}

static tlm_status_t read_bpe_parts(tlm_tokenizer_t **out, bpe_reader_t *reader,
                                   const tlm_tokenizer_options_t *options)
{
    if (reader->is_byte_level)
        TLMI_TRY(find_splitting(reader, options));
    const tlmi_gguf_splitting_t *splitting = reader->splitting;
    TLMI_TRY(tlmi_gguf_read_tokens(&reader->list, reader->file, reader->path));
    guess_types(&reader->list, reader->file);
    TLMI_TRY(decode_names(reader));
    TLMI_TRY(read_merges(reader));
    TLMI_TRY(fill_vocabulary(&reader->parts.vocabulary, &reader->list, reader->path));
    TLMI_TRY(list_special(&reader->special, &reader->list));
    TLMI_TRY(tlmi_special_list_add_options(&reader->special, &reader->parts.vocabulary, options,
                                           reader->path));
    TLMI_TRY(find_added(reader));
    if (!reader->is_byte_level)
        TLMI_TRY(make_gemma_parts(reader));
    else if (options->nfc)
        reader->parts.normalizer = &tlmi_nfc;
    TLMI_TRY(make_bpe_template(&reader->parts, reader->file,
                               !reader->is_byte_level || (splitting != NULL && splitting->adds_bos),
                               reader->list.n));
    tlmi_special_list_use(&reader->parts, &reader->special);
    return finish_bpe(out, reader,
                      splitting != NULL ? splitting->ignores_merges : options->ignore_merges);
}

static tlm_status_t read_bpe(tlm_tokenizer_t **out, const tlmi_gguf_t *file, const char *path,
                             bool is_byte_level, const tlm_tokenizer_options_t *options)
{
    bpe_reader_t reader = {.file = file, .path = path, .is_byte_level = is_byte_level};

    if (!is_byte_level)
        TLMI_TRY(tlmi_refuse_splitting_options(options, path, "a tokenizer of this kind"));
    tlm_status_t status = read_bpe_parts(out, &reader, options);
    release_reader(&reader);
    return status;
}

/* ---- WordPiece ---- */

/* llama.cpp marks tokens that begin a word with U+2581, BERT marks the others with ##. Returns the
 * name that BERT gives a token, in `room`. */
static tlm_bytes_t bert_name(tlm_bytes_t token, uint8_t type, uint8_t *room)
{
    if (type != TLMI_PIECE_NORMAL)
        return token;
    if (token.size > 3 && memcmp(token.data, META, 3) == 0)
        return (tlm_bytes_t){token.data + 3, token.size - 3};
    memcpy(room, "##", 2);
    memcpy(room + 2, token.data, token.size);
    return (tlm_bytes_t){room, token.size + 2};
}

static tlm_status_t rename_tokens(tlmi_piece_list_t *list, tlmi_token_list_t *names)
{
    size_t room = 0;

    for (size_t id = 0; id < list->n; id++)
        room += list->pieces[id].size + 2;
    TLMI_TRY(tlmi_token_list_init(names, room));
    for (size_t id = 0; id < list->n; id++) {
        uint8_t *to = names->bytes + names->bytes_size;

        list->pieces[id] = bert_name(list->pieces[id], list->types[id], to);
        if (list->pieces[id].data == to)
            names->bytes_size += list->pieces[id].size;
    }
    return TLM_OK;
}

static tlm_status_t read_wordpiece_parts(tlm_tokenizer_t **out, const tlmi_gguf_t *file,
                                         const char *path, tlmi_piece_list_t *list,
                                         tlmi_token_list_t *names,
                                         const tlm_tokenizer_options_t *options)
{
    tlmi_bert_spec_t spec = {.splits_ideographs = true,
                             .lowercase = tlmi_gguf_flag(file, KEY("normalizer.lowercase"), true)};

    TLMI_TRY(tlmi_gguf_read_tokens(list, file, path));
    guess_types(list, file);
    TLMI_TRY(rename_tokens(list, names));
    spec.strip_accents = tlmi_gguf_flag(file, KEY("normalizer.strip_accents"), spec.lowercase);
    spec.unk_id = tlmi_gguf_token_id(file, KEY("unknown_token_id"), 100, list->n);
    spec.cls_id =
        tlmi_gguf_token_id(file, KEY("bos_token_id"),
                           tlmi_gguf_token_id(file, KEY("cls_token_id"), 101, list->n), list->n);
    spec.sep_id = tlmi_gguf_token_id(file, KEY("seperator_token_id"), 102, list->n);
    return tlmi_bert_tokenizer_create(out, path, list, &spec, options);
}

static tlm_status_t read_wordpiece(tlm_tokenizer_t **out, const tlmi_gguf_t *file, const char *path,
                                   const tlm_tokenizer_options_t *options)
{
    tlmi_piece_list_t list = {0};
    tlmi_token_list_t names = {0};

    TLMI_TRY(tlmi_refuse_splitting_options(options, path, "a WordPiece vocabulary"));
    tlm_status_t status = read_wordpiece_parts(out, file, path, &list, &names, options);
    tlmi_piece_list_release(&list);
    tlmi_token_list_release(&names);
    return status;
}

/* ---- All kinds ---- */

tlm_status_t tlmi_gguf_read_tokenizer(tlm_tokenizer_t **out, const tlmi_gguf_t *file,
                                      const char *path, const tlm_tokenizer_options_t *options)
{
    const tlmi_gguf_value_t *model = tlmi_gguf_find(file, KEY("model"));
    const char *text = "";
    size_t size = 0;

    if (model != NULL && !tlmi_gguf_get_string(model, &text, &size))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not a string", path, KEY("model"));
    tlm_tokenizer_options_t known;
    TLMI_TRY(tlmi_tokenizer_read_options(&known, "tokenizer_open", options));
    if (model == NULL || is_text(text, size, "none") || is_text(text, size, "no_vocab")) {
        *out = NULL;
        return TLM_OK;
    }
    if (is_text(text, size, "gpt2") || is_text(text, size, "gemma4"))
        return read_bpe(out, file, path, is_text(text, size, "gpt2"), &known);
    if (is_text(text, size, "llama") || is_text(text, size, "t5"))
        return tlmi_gguf_read_pieces(out, file, path, is_text(text, size, "t5"), &known);
    if (is_text(text, size, "bert"))
        return read_wordpiece(out, file, path, &known);
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: the tokenizer's model is %.*s, which is not supported: only gpt2, llama, "
                     "bert, t5 and gemma4 are",
                     path, size < 64 ? (int)size : 64, text);
}

tlm_status_t tlmi_gguf_load_tokenizer(tlm_tokenizer_t **out, const char *path,
                                      const tlm_tokenizer_options_t *options)
{
    tlm_tokenizer_t *tokenizer;
    tlmi_gguf_t file;

    TLMI_TRY(tlmi_gguf_open(&file, path));
    tlm_status_t status = tlmi_gguf_read_tokenizer(&tokenizer, &file, path, options);
    tlmi_gguf_close(&file);
    if (status == TLM_OK && tokenizer == NULL)
        status = tlmi_fail(TLM_ERR_NOT_FOUND, "%s: the GGUF file has no tokenizer", path);
    if (status == TLM_OK)
        *out = tokenizer;
    return status;
}
