/* The model of tokenizer.json: BPE, WordPiece, WordLevel or Unigram, and its tokens. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "tokenizer/formats/hf_tokenizer.h"

static const tlmi_json_t *model_of(const tlmi_hf_file_t *file)
{
    return tlmi_json_member(file->root, "model");
}

/* Files of old versions do not name the type, but each has members of its own. */
static bool is_model(const tlmi_hf_file_t *file, const char *type)
{
    const tlmi_json_t *model = model_of(file);
    const char *guess = "WordLevel";

    if (!tlmi_json_is_null(tlmi_json_member(model, "type")))
        return tlmi_hf_is(model, "type", type);
    if (tlmi_json_member(model, "merges") != NULL)
        guess = "BPE";
    else if (tlmi_json_is_array(tlmi_json_member(model, "vocab")))
        guess = "Unigram";
    else if (tlmi_json_member(model, "max_input_chars_per_word") != NULL)
        guess = "WordPiece";
    return strcmp(guess, type) == 0;
}

/* ---- Tokens ---- */

int64_t tlmi_hf_name_id(const tlmi_hf_file_t *file, tlm_bytes_t name)
{
    const tlmi_json_t *vocab = tlmi_json_member(model_of(file), "vocab");
    int64_t id;

    if (tlmi_json_is_object(vocab))
        return tlmi_json_get_int(tlmi_json_member_sized(vocab, name.data, name.size), &id) ? id
                                                                                           : -1;
    uint32_t found = tlmi_vocabulary_find(&file->listed, name.data, name.size);
    return found == TLMI_NO_TOKEN ? -1 : (int64_t)found;
}

static tlm_status_t note_unreachable(tlmi_hf_file_t *file, uint32_t id)
{
    if (!tlmi_grow(&file->unreachable, &file->unreachable_capacity, file->num_unreachable + 1,
                   sizeof(*file->unreachable), "tokens"))
        return TLM_ERR_OUT_OF_MEMORY;
    file->unreachable[file->num_unreachable++] = id;
    return TLM_OK;
}

/* Places the token that is written `name` at its id. A name outside the byte alphabet stands for
 * itself: no text of a byte-level model gives it. */
static tlm_status_t place_name(tlmi_hf_file_t *file, const char *name, int64_t id, size_t limit)
{
    size_t size = strlen(name);
    tlm_bytes_t *place;

    TLMI_TRY(tlmi_token_list_place(&place, &file->vocab, id, limit, file->path, "token", name));
    if (size == 0)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the token with id %" PRId64 " is empty, which is not supported",
                         file->path, id);
    size_t at;
    if (file->is_byte_level && tlmi_token_list_decode(place, &at, &file->vocab, name, size))
        return TLM_OK;
    *place = (tlm_bytes_t){(const uint8_t *)name, size};
    return file->is_byte_level ? note_unreachable(file, (uint32_t)id) : TLM_OK;
}

/* An object from names to ids. */
static tlm_status_t read_names(tlmi_hf_file_t *file, const tlmi_json_t *vocab)
{
    size_t limit = tlmi_token_list_limit(tlmi_json_size(vocab));
    const tlmi_json_t *value;
    void *cursor = NULL;
    const char *name;

    while (tlmi_json_next(vocab, &cursor, &name, &value)) {
        int64_t id;

        if (!tlmi_json_get_int(value, &id))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the id of token %.40s is not an integer",
                             file->path, name);
        TLMI_TRY(place_name(file, name, id, limit));
    }
    return TLM_OK;
}

/* An array of [name, score]. If a name occurs twice, the last one counts. */
static tlm_status_t read_pairs(tlmi_hf_file_t *file, const tlmi_json_t *vocab)
{
    for (size_t i = 0; i < tlmi_json_size(vocab); i++) {
        const tlmi_json_t *pair = tlmi_json_item(vocab, i);
        const char *name;
        size_t size;

        if (!tlmi_json_is_array(pair) || tlmi_json_size(pair) != 2 ||
            !tlmi_json_get_string(tlmi_json_item(pair, 0), &name, &size))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: token %zu is not a name and a score", file->path,
                             i);
        TLMI_TRY(tlmi_token_list_append(&file->vocab, (tlm_bytes_t){(const uint8_t *)name, size}));
        uint32_t twin = tlmi_vocabulary_find(&file->listed, (const uint8_t *)name, size);
        TLMI_TRY(twin == TLMI_NO_TOKEN
                     ? tlmi_vocabulary_add(&file->listed, (const uint8_t *)name, size)
                     : tlmi_vocabulary_add_over(&file->listed, twin));
    }
    return TLM_OK;
}

tlm_status_t tlmi_hf_read_vocab(tlmi_hf_file_t *file)
{
    const tlmi_json_t *model = model_of(file), *vocab = tlmi_json_member(model, "vocab");

    if (!tlmi_json_is_object(model))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the file has no object \"model\"", file->path);
    if (vocab == NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the model has no \"vocab\"", file->path);
    if (!is_model(file, "BPE") && !is_model(file, "WordPiece") && !is_model(file, "WordLevel") &&
        !is_model(file, "Unigram"))
        return tlmi_hf_fail_unsupported(file, "model", model);
    file->is_byte_level = is_model(file, "BPE") &&
                          (tlmi_hf_has_byte_level(tlmi_json_member(file->root, "normalizer")) ||
                           tlmi_hf_has_byte_level(tlmi_json_member(file->root, "pre_tokenizer")));
    if (is_model(file, "Unigram")) {
        if (!tlmi_json_is_array(vocab))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the model has no array \"vocab\"", file->path);
        TLMI_TRY(read_pairs(file, vocab));
    } else {
        if (!tlmi_json_is_object(vocab))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the model has no object \"vocab\"", file->path);
        TLMI_TRY(read_names(file, vocab));
    }
    file->num_names = file->vocab.n;
    if (file->num_names == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the model has no tokens", file->path);
    return TLM_OK;
}

/* ---- BPE ---- */

/* Decodes one side of a merge into `out`, whose room is the size of the name. Returns false if it
 * is a name that no text of the model gives. */
static bool decode_side(tlm_bytes_t *out, uint8_t *room, const tlmi_hf_file_t *file,
                        const char *name, size_t size)
{
    *out = (tlm_bytes_t){(const uint8_t *)name, size};
    if (!file->is_byte_level)
        return true;
    size_t written;
    if (!tlmi_alphabet_to_bytes(room, &written, name, size))
        return false;
    *out = (tlm_bytes_t){room, written};
    return true;
}

typedef struct merge_reader {
    const tlmi_hf_file_t *file;
    const tlmi_vocabulary_t *vocabulary;
    tlmi_merge_table_t *table;
    size_t prefix_size; /* of continuing_subword_prefix */
    tlmi_scratch_t sides, joined;
} merge_reader_t;

/* Decodes one side of a merge. It may also be a name of the model's that is outside the byte
 * alphabet: no text gives it, so the merge never applies. */
static tlm_status_t read_side(tlm_bytes_t *out, bool *applies, uint8_t *room,
                              const tlmi_hf_file_t *file, const char *name, size_t size,
                              size_t index)
{
    if (size == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: merge %zu has an empty side", file->path, index);
    if (decode_side(out, room, file, name, size))
        return TLM_OK;
    *applies = false;
    if (tlmi_hf_name_id(file, (tlm_bytes_t){(const uint8_t *)name, size}) >= 0)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT, "%s: merge %zu: its side '%.*s' is not in the vocabulary",
                     file->path, index, size < 40 ? (int)size : 40, name);
}

static tlm_status_t add_merge(merge_reader_t *reader, const char *left, size_t left_size,
                              const char *right, size_t right_size, size_t index)
{
    uint8_t *room = tlmi_scratch_reserve(&reader->sides, left_size + right_size);
    tlm_bytes_t sides[2];

    if (room == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    bool applies = true;
    TLMI_TRY(read_side(&sides[0], &applies, room, reader->file, left, left_size, index));
    TLMI_TRY(
        read_side(&sides[1], &applies, room + left_size, reader->file, right, right_size, index));
    if (!applies)
        return TLM_OK;
    return tlmi_bpe_add_merge(reader->table, reader->file->path, reader->vocabulary,
                              reader->file->is_added, reader->prefix_size, sides[0], sides[1],
                              index, &reader->joined);
}

/* A merge is written "left right" or, since tokenizers 0.20, ["left", "right"]. */
static tlm_status_t read_merge(merge_reader_t *reader, const tlmi_json_t *merge, size_t index)
{
    const char *left, *right;
    size_t left_size, right_size;

    if (tlmi_json_get_string(merge, &left, &left_size)) {
        const char *space = memchr(left, ' ', left_size);

        if (space == NULL || memchr(space + 1, ' ', left_size - (size_t)(space - left) - 1) != NULL)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: merge %zu is not two tokens separated by a space",
                             reader->file->path, index);
        right_size = left_size - (size_t)(space - left) - 1;
        return add_merge(reader, left, (size_t)(space - left), space + 1, right_size, index);
    }
    if (!tlmi_json_is_array(merge) || tlmi_json_size(merge) != 2 ||
        !tlmi_json_get_string(tlmi_json_item(merge, 0), &left, &left_size) ||
        !tlmi_json_get_string(tlmi_json_item(merge, 1), &right, &right_size))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: merge %zu is not a pair of tokens",
                         reader->file->path, index);
    return add_merge(reader, left, left_size, right, right_size, index);
}

static tlm_status_t read_merges(tlmi_merge_table_t *table, const tlmi_hf_file_t *file,
                                const tlmi_vocabulary_t *vocabulary, size_t prefix_size)
{
    const tlmi_json_t *merges = tlmi_json_member(model_of(file), "merges");
    merge_reader_t reader = {
        .file = file, .vocabulary = vocabulary, .table = table, .prefix_size = prefix_size};

    if (!tlmi_json_is_array(merges))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the model has no array \"merges\"", file->path);
    tlm_status_t status = tlmi_merge_table_init(table, tlmi_json_size(merges));
    for (size_t i = 0; i < tlmi_json_size(merges) && status == TLM_OK; i++)
        status = read_merge(&reader, tlmi_json_item(merges, i), i);
    tlmi_scratch_release(&reader.sides);
    tlmi_scratch_release(&reader.joined);
    return status;
}

/* In a byte-level model, the text of unk_token and of affixes is in the byte alphabet. */
static tlm_status_t decode_option(tlm_bytes_t *text, tlmi_scratch_t *room,
                                  const tlmi_hf_file_t *file, const char *key)
{
    if (!file->is_byte_level || text->size == 0)
        return TLM_OK;
    uint8_t *bytes = tlmi_scratch_reserve(room, text->size);
    if (bytes == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (!decode_side(text, bytes, file, (const char *)text->data, text->size) &&
        strcmp(key, "unk_token") != 0)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: \"%s\" of the model has a character that represents no byte",
                         file->path, key);
    return TLM_OK;
}

tlm_status_t tlmi_hf_read_dropout(tlmi_hf_file_t *file)
{
    const tlmi_json_t *dropout = tlmi_json_member(model_of(file), "dropout");

    if (tlmi_json_is_null(dropout) || !is_model(file, "BPE"))
        return TLM_OK;
    if (!tlmi_json_get_number(dropout, &file->parts.dropout) || !(file->parts.dropout >= 0) ||
        !(file->parts.dropout <= 1))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: \"dropout\" of the model is not in [0, 1]",
                         file->path);
    return TLM_OK;
}

static tlm_status_t make_bpe(tlmi_subword_model_t **out, const tlmi_hf_file_t *file,
                             const tlm_tokenizer_t *tokenizer, bool ignore_merges)
{
    static const char part[] = "model";
    const tlmi_json_t *model = model_of(file);
    tlmi_bpe_options_t options = {.is_byte_level = file->is_byte_level, .is_added = file->is_added};
    tlmi_scratch_t rooms[3] = {{0}};
    tlmi_merge_table_t table = {0};
    tlm_status_t status;
    const struct {
        const char *key;
        tlm_bytes_t *text;
    } texts[] = {{"unk_token", &options.unk_token},
                 {"continuing_subword_prefix", &options.continuing_subword_prefix},
                 {"end_of_word_suffix", &options.end_of_word_suffix}};

    TLMI_TRY(tlmi_hf_optional_bool(&options.byte_fallback, file, part, model, "byte_fallback"));
    TLMI_TRY(tlmi_hf_optional_bool(&options.fuse_unk, file, part, model, "fuse_unk"));
    TLMI_TRY(tlmi_hf_optional_bool(&options.ignore_merges, file, part, model, "ignore_merges"));
    options.ignore_merges = options.ignore_merges || ignore_merges;
    for (int i = 0; i < 3; i++) {
        TLMI_TRY_OR(done, tlmi_hf_optional_string(texts[i].text, file, part, model, texts[i].key));
        TLMI_TRY_OR(done, decode_option(texts[i].text, &rooms[i], file, texts[i].key));
    }
    TLMI_TRY_OR(done, read_merges(&table, file, &tokenizer->vocabulary,
                                  options.continuing_subword_prefix.size));
    status = tlmi_bpe_model_create(out, file->path, &tokenizer->vocabulary, &table, &options);
    table = (tlmi_merge_table_t){0};
done:
    tlmi_merge_table_release(&table);
    for (int i = 0; i < 3; i++)
        tlmi_scratch_release(&rooms[i]);
    return status;
}

/* ---- The others ---- */

static tlm_status_t make_wordpiece(tlmi_subword_model_t **out, const tlmi_hf_file_t *file,
                                   const tlm_tokenizer_t *tokenizer)
{
    static const char part[] = "model";
    const tlmi_json_t *model = model_of(file);
    tlmi_wordpiece_options_t options = {.is_added = file->is_added};

    TLMI_TRY(tlmi_hf_string(&options.unk_token, file, part, model, "unk_token"));
    TLMI_TRY(tlmi_hf_string(&options.continuing_subword_prefix, file, part, model,
                            "continuing_subword_prefix"));
    TLMI_TRY(tlmi_hf_size(&options.max_input_chars_per_word, file, part, model,
                          "max_input_chars_per_word"));
    return tlmi_wordpiece_model_create(out, file->path, &tokenizer->vocabulary, &options);
}

static tlm_status_t make_word_level(tlmi_subword_model_t **out, const tlmi_hf_file_t *file,
                                    const tlm_tokenizer_t *tokenizer)
{
    tlmi_wordpiece_options_t options = {
        .max_input_chars_per_word = SIZE_MAX, .is_word_level = true, .is_added = file->is_added};

    TLMI_TRY(tlmi_hf_string(&options.unk_token, file, "model", model_of(file), "unk_token"));
    return tlmi_wordpiece_model_create(out, file->path, &tokenizer->vocabulary, &options);
}

static double power_of_ten(int exponent)
{
    char text[16] = "1e";

    snprintf(text + 2, sizeof(text) - 2, "%d", exponent);
    return tlmi_parse_number(text);
}

/* Returns a score as the tokenizers library reads it: all digits as one number, which is rounded, and
 * then divided by a power of ten, which is rounded again. So it is sometimes not the nearest double,
 * which decides between paths whose sums would be the same. A file is taken to hold the shortest
 * digits that stand for the score. */
static double score_as_read(double score)
{
    char text[TLMI_NUMBER_SIZE];
    uint64_t digits = 0;
    int exponent = 0;
    bool after_point = false;
    const char *c = text;

    for (int n = 15; n <= 17; n++)
        if (tlmi_parse_number(tlmi_number_text(text, fabs(score), n)) == fabs(score))
            break;
    for (; *c == '.' || (*c >= '0' && *c <= '9'); c++) {
        if (*c == '.') {
            after_point = true;
            continue;
        }
        digits = 10 * digits + (uint64_t)(*c - '0');
        exponent -= after_point;
    }
    if (*c == 'e')
        exponent += atoi(c + 1);
    if (exponent < -308 || exponent > 308)
        return score;
    double read = exponent < 0 ? (double)digits / power_of_ten(-exponent)
                               : (double)digits * power_of_ten(exponent);
    return copysign(read, score);
}

static tlm_status_t read_scores(double *scores, const tlmi_hf_file_t *file)
{
    const tlmi_json_t *vocab = tlmi_json_member(model_of(file), "vocab");

    for (size_t i = 0; i < file->num_names; i++)
        if (!tlmi_json_get_number(tlmi_json_item(tlmi_json_item(vocab, i), 1), &scores[i]))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: token %zu has no score", file->path, i);
        else
            scores[i] = score_as_read(scores[i]);
    return TLM_OK;
}

static tlm_status_t make_unigram(tlmi_subword_model_t **out, const tlmi_hf_file_t *file,
                                 const tlm_tokenizer_t *tokenizer)
{
    const tlmi_json_t *model = model_of(file), *unk = tlmi_json_member(model, "unk_id");
    tlmi_unigram_options_t options = {.num_scores = (uint32_t)file->num_names,
                                      .unk_id = TLMI_NO_TOKEN};
    int64_t unk_id;

    if (!tlmi_json_is_null(unk)) {
        if (!tlmi_json_get_int(unk, &unk_id) || unk_id < 0 || (size_t)unk_id >= file->num_names)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: \"unk_id\" of the model is not an id below %zu",
                             file->path, file->num_names);
        options.unk_id = (uint32_t)unk_id;
    }
    TLMI_TRY(tlmi_hf_optional_bool(&options.byte_fallback, file, "model", model, "byte_fallback"));
    double *scores = tlmi_alloc(file->num_names, sizeof(*scores), "scores");
    if (scores == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    options.scores = scores;
    tlm_status_t status = read_scores(scores, file);
    if (status == TLM_OK)
        status = tlmi_unigram_model_create(out, file->path, &tokenizer->vocabulary, &options);
    tlmi_free(scores);
    return status;
}

tlm_status_t tlmi_hf_make_model(tlmi_subword_model_t **out, const tlmi_hf_file_t *file,
                                const tlm_tokenizer_t *tokenizer, bool ignore_merges)
{
    if (is_model(file, "WordPiece"))
        return make_wordpiece(out, file, tokenizer);
    if (is_model(file, "WordLevel"))
        return make_word_level(out, file, tokenizer);
    if (is_model(file, "Unigram"))
        return make_unigram(out, file, tokenizer);
    return make_bpe(out, file, tokenizer, ignore_merges);
}
