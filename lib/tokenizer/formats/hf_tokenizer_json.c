/* Reads tokenizer.json, the format of Hugging Face's tokenizers library: byte-level BPE as in
 * the GPT-2, Llama 3 and Qwen families. A part that affects the ids is either supported or
 * refused by name. Parts that only add tokens around a text or format the output
 * (post_processor, truncation, padding) are ignored. */
#include "tinylm/tokenizer_files.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/file_kind.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/tokenizer_core.h"

/* The state of a file while it is being read. */
typedef struct hf_file {
    const char *path;
    tlmi_json_t *root;
    tlmi_token_list_t vocab, merges, special; /* special: the added tokens, in their order */
    tlm_tokenizer_options_t options;
} hf_file_t;

static tlm_status_t fail_unsupported(const hf_file_t *file, const char *what)
{
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: %s is not supported", file->path, what);
}

/* ---- JSON members ---- */

/* Returns whether member `key` is the string `text`. */
static bool member_is(const tlmi_json_t *object, const char *key, const char *text)
{
    const char *value;
    size_t size;

    return tlmi_json_get_string(tlmi_json_member(object, key), &value, &size) &&
           size == strlen(text) && memcmp(value, text, size) == 0;
}

/* Reads a boolean member; `otherwise` is its value if it is missing or null. */
static tlm_status_t read_flag(bool *out, const hf_file_t *file, const tlmi_json_t *object,
                              const char *key, bool otherwise)
{
    const tlmi_json_t *value = tlmi_json_member(object, key);

    *out = otherwise;
    if (tlmi_json_is_null(value) || tlmi_json_get_bool(value, out))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT, "%s: \"%s\" is neither true nor false", file->path, key);
}

/* The type of a component, for messages. */
static const char *type_of(const tlmi_json_t *object)
{
    const char *type;
    size_t size;

    return tlmi_json_get_string(tlmi_json_member(object, "type"), &type, &size) ? type : "?";
}

/* ---- The model ---- */

static tlm_status_t check_model(const hf_file_t *file, const tlmi_json_t *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const tlmi_json_t *dropout = tlmi_json_member(model, "dropout");
    double probability = 0;

    if (!tlmi_json_is_object(model))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the file has no object \"model\"", file->path);
    if (!tlmi_json_is_null(tlmi_json_member(model, "type")) && !member_is(model, "type", "BPE"))
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the model's type is %.40s, not BPE", file->path,
                         type_of(model));
    if (!tlmi_json_is_null(dropout) &&
        (!tlmi_json_get_number(dropout, &probability) || !(probability <= 0)))
        return fail_unsupported(file, "\"dropout\" of the model");
    for (size_t i = 0; i < sizeof(affixes) / sizeof(affixes[0]); i++)
        if (!tlmi_json_is_null(tlmi_json_member(model, affixes[i])) &&
            !member_is(model, affixes[i], ""))
            return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: \"%s\" of the model is not supported",
                             file->path, affixes[i]);
    /* unk_token, fuse_unk and byte_fallback matter only for bytes without a token; every byte
     * has one. */
    return TLM_OK;
}

static tlm_status_t read_merge_pair(hf_file_t *file, const tlmi_json_t *pair, size_t number)
{
    for (size_t side = 0; side < 2; side++) {
        const char *text;
        tlm_bytes_t token;
        size_t size, at;

        if (!tlmi_json_get_string(tlmi_json_item(pair, side), &text, &size) || size == 0 ||
            tlmi_json_size(pair) != 2)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: merge %zu is not a pair of tokens", file->path,
                             number);
        if (!tlmi_token_list_decode(&token, &at, &file->merges, text, size))
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: merge %zu has a character that represents no byte", file->path,
                             number);
        TLMI_TRY(tlmi_token_list_append(&file->merges, token));
    }
    return TLM_OK;
}

/* A merge is written "left right" or, since tokenizers 0.20, ["left", "right"]. */
static tlm_status_t read_merges(hf_file_t *file, const tlmi_json_t *merges)
{
    if (!tlmi_json_is_array(merges))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the model has no array \"merges\"", file->path);
    for (size_t i = 0; i < tlmi_json_size(merges); i++) {
        const tlmi_json_t *merge = tlmi_json_item(merges, i);
        const char *text;
        size_t size;

        if (tlmi_json_get_string(merge, &text, &size))
            TLMI_TRY(tlmi_token_list_read_merge(&file->merges, text, size, file->path, "merge", i));
        else if (tlmi_json_is_array(merge))
            TLMI_TRY(read_merge_pair(file, merge, i));
        else
            return tlmi_fail(TLM_ERR_FORMAT, "%s: merge %zu is not a pair of tokens", file->path,
                             i);
    }
    return TLM_OK;
}

static tlm_status_t read_model(hf_file_t *file)
{
    const tlmi_json_t *model = tlmi_json_member(file->root, "model");
    const tlmi_json_t *vocab = tlmi_json_member(model, "vocab");
    bool ignore_merges;

    TLMI_TRY(check_model(file, model));
    if (!tlmi_json_is_object(vocab))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the model has no object \"vocab\"", file->path);
    TLMI_TRY(read_flag(&ignore_merges, file, model, "ignore_merges", false));
    if (ignore_merges)
        file->options.ignore_merges = true;
    TLMI_TRY(tlmi_token_list_read_vocab(&file->vocab, vocab, true, file->path));
    return read_merges(file, tlmi_json_member(model, "merges"));
}

/* ---- Added tokens ---- */

/* Returns whether the vocabulary contains an added token, and sets its id. */
static bool find_name(int64_t *id, const tlmi_json_t *vocab, const char *content, size_t size)
{
    return strlen(content) == size && tlmi_json_get_int(tlmi_json_member(vocab, content), id);
}

static tlm_status_t check_added_token(const hf_file_t *file, const tlmi_json_t *token,
                                      const char *content)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip"};
    bool is_set;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        TLMI_TRY(read_flag(&is_set, file, token, flags[i], false));
        if (is_set)
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "%s: \"%s\" of the added token %.40s is not supported", file->path,
                             flags[i], content);
    }
    return TLM_OK;
}

/* Stores an added token under its id. That must be the id that the tokenizers library would give
 * it: its id in the vocabulary, or else the next free one after the vocabulary. Added tokens in
 * the vocabulary are written as plain text, not in the byte alphabet. */
static tlm_status_t place_added_token(hf_file_t *file, const tlmi_json_t *vocab,
                                      tlm_bytes_t content, int64_t id, int64_t greatest,
                                      size_t limit)
{
    const char *text = (const char *)content.data;
    int64_t n = (int64_t)tlmi_json_size(vocab), expected;
    bool is_named = find_name(&expected, vocab, text, content.size);
    tlm_bytes_t *place;

    if (!is_named)
        expected = greatest >= n ? greatest + 1 : n;
    if (id != expected)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the added token %.40s has id %" PRId64
                         ", but the tokenizers library gives it %" PRId64,
                         file->path, text, id, expected);
    if (is_named)
        place = &file->vocab.items[id];
    else
        TLMI_TRY(tlmi_token_list_place(&place, &file->vocab, id, limit, file->path,
                                       "the added token", text));
    *place = content;
    return TLM_OK;
}

static tlm_status_t read_added_tokens(hf_file_t *file)
{
    const tlmi_json_t *tokens = tlmi_json_member(file->root, "added_tokens");
    const tlmi_json_t *vocab = tlmi_json_member(tlmi_json_member(file->root, "model"), "vocab");
    size_t limit = tlmi_token_list_limit(tlmi_json_size(vocab) + tlmi_json_size(tokens));
    int64_t greatest = -1;

    if (!tlmi_json_is_null(tokens) && !tlmi_json_is_array(tokens))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: \"added_tokens\" is not an array", file->path);
    for (size_t i = 0; i < tlmi_json_size(tokens); i++) {
        const tlmi_json_t *token = tlmi_json_item(tokens, i);
        const char *content;
        tlm_bytes_t bytes;
        int64_t id;
        size_t size;

        if (!tlmi_json_get_string(tlmi_json_member(token, "content"), &content, &size) ||
            size == 0 || !tlmi_json_get_int(tlmi_json_member(token, "id"), &id))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: added token %zu has no \"content\" or no \"id\"",
                             file->path, i);
        TLMI_TRY(check_added_token(file, token, content));
        bytes = (tlm_bytes_t){(const uint8_t *)content, size};
        TLMI_TRY(place_added_token(file, vocab, bytes, id, greatest, limit));
        TLMI_TRY(tlmi_token_list_append(&file->special, bytes));
        if (id > greatest)
            greatest = id;
    }
    return TLM_OK;
}

/* The tokenizers library searches for "normalized" tokens after all others, while this library
 * takes the first token in the text. The results agree unless another token can begin inside a
 * normalized one. */
static tlm_status_t check_normalized_tokens(const hf_file_t *file)
{
    const tlmi_json_t *tokens = tlmi_json_member(file->root, "added_tokens");
    tlmi_token_list_t raw = {0};
    tlmi_special_tokens_t *special = NULL;
    bool *is_normalized = tlmi_calloc(file->special.n, sizeof(bool), "added tokens");
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (is_normalized == NULL)
        return status;
    for (size_t i = 0; i < file->special.n; i++) {
        TLMI_TRY_OR(done, read_flag(&is_normalized[i], file, tlmi_json_item(tokens, i),
                                    "normalized", false));
        if (!is_normalized[i])
            TLMI_TRY_OR(done, tlmi_token_list_append(&raw, file->special.items[i]));
    }
    TLMI_TRY_OR(done,
                tlmi_special_tokens_create(&special, raw.items, NULL, raw.n, NULL, file->path));
    for (size_t i = 0; i < file->special.n; i++) {
        tlm_bytes_t token = file->special.items[i];
        tlmi_special_match_t match;

        if (!is_normalized[i])
            continue;
        if (file->options.nfc ||
            tlmi_special_tokens_find(&match, special, TLMI_RAW_TEXT, token.data, token.size, 0,
                                     true) ||
            (tlmi_special_tokens_find(&match, special, TLMI_RAW_TEXT, token.data, token.size, 1,
                                      false),
             match.start < token.size)) {
            status = tlmi_fail(TLM_ERR_UNSUPPORTED,
                               "%s: \"normalized\" of the added token %.40s is not supported",
                               file->path, (const char *)token.data);
            goto done;
        }
    }
    status = TLM_OK;
done:
    tlmi_special_tokens_free(special);
    tlmi_token_list_release(&raw);
    tlmi_free(is_normalized);
    return status;
}

/* Appends the caller's special tokens to those of the file. */
static tlm_status_t add_callers_tokens(hf_file_t *file, const tlm_tokenizer_options_t *options)
{
    size_t n = file->special.n;

    if (options->num_special_tokens > 0)
        TLMI_REQUIRE("tokenizer_load_json", options->special_tokens);
    for (size_t i = 0; i < options->num_special_tokens; i++) {
        tlm_bytes_t token = options->special_tokens[i];
        bool is_there = false;

        for (size_t k = 0; k < n && !is_there; k++)
            is_there = token.size == file->special.items[k].size && token.data != NULL &&
                       memcmp(token.data, file->special.items[k].data, token.size) == 0;
        if (!is_there)
            TLMI_TRY(tlmi_token_list_append(&file->special, token));
    }
    return TLM_OK;
}

/* ---- Normalizer, pre-tokenizer and decoder ---- */

/* Accepts no normalizer or NFC, also as the only member of a Sequence. */
static tlm_status_t read_normalizer(hf_file_t *file)
{
    const tlmi_json_t *normalizer = tlmi_json_member(file->root, "normalizer");
    const tlmi_json_t *parts = tlmi_json_member(normalizer, "normalizers");

    if (member_is(normalizer, "type", "Sequence") && tlmi_json_is_array(parts) &&
        tlmi_json_size(parts) < 2)
        normalizer = tlmi_json_item(parts, 0);
    if (tlmi_json_is_null(normalizer))
        return TLM_OK;
    if (!member_is(normalizer, "type", "NFC"))
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the normalizer %.40s is not supported",
                         file->path, type_of(normalizer));
    file->options.nfc = true;
    return TLM_OK;
}

/* Reads a ByteLevel part; *splits tells whether it splits by GPT-2's pattern. */
static tlm_status_t read_byte_level(bool *splits, const hf_file_t *file, const tlmi_json_t *part)
{
    bool add_prefix_space;

    TLMI_TRY(read_flag(&add_prefix_space, file, part, "add_prefix_space", true));
    if (add_prefix_space)
        return fail_unsupported(file, "\"add_prefix_space\" of the pre_tokenizer");
    return read_flag(splits, file, part, "use_regex", true);
}

/* Reads a Split part that keeps every byte. */
static tlm_status_t read_split(const char **pattern, const hf_file_t *file, const tlmi_json_t *part)
{
    const tlmi_json_t *regex = tlmi_json_member(tlmi_json_member(part, "pattern"), "Regex");
    size_t size;
    bool invert;

    if (!tlmi_json_get_string(regex, pattern, &size) || strlen(*pattern) != size)
        return fail_unsupported(file, "a Split of the pre_tokenizer by anything but a Regex");
    *pattern = tlmi_hf_pattern_read(*pattern);
    TLMI_TRY(read_flag(&invert, file, part, "invert", false));
    if (member_is(part, "behavior", "Isolated"))
        return TLM_OK;
    /* Keeps what matches and drops the rest, which is nothing for the known patterns. */
    if (member_is(part, "behavior", "Removed") && invert && tlmi_hf_pattern_is_known(*pattern))
        return TLM_OK;
    return fail_unsupported(file, "a Split of the pre_tokenizer that is not Isolated");
}

static tlm_status_t read_pre_tokenizer(const char **pattern, const hf_file_t *file)
{
    const tlmi_json_t *whole = tlmi_json_member(file->root, "pre_tokenizer");
    const tlmi_json_t *parts = tlmi_json_member(whole, "pretokenizers");
    bool is_sequence = member_is(whole, "type", "Sequence"), splits = false;
    const tlmi_json_t *last =
        is_sequence ? tlmi_json_item(parts, tlmi_json_size(parts) - 1) : whole;
    size_t n = is_sequence ? tlmi_json_size(parts) : 1;

    if (tlmi_json_is_null(whole))
        return fail_unsupported(file, "a missing pre_tokenizer");
    if (n == 0 || n > 2 || !member_is(last, "type", "ByteLevel") ||
        (n == 2 && !member_is(tlmi_json_item(parts, 0), "type", "Split")))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the pre_tokenizer %.40s is not ByteLevel, alone or after one Split",
                         file->path, type_of(whole));
    TLMI_TRY(read_byte_level(&splits, file, last));
    if (splits == (n == 2))
        return fail_unsupported(file, n == 2 ? "a Split before a ByteLevel with \"use_regex\""
                                             : "a ByteLevel alone without \"use_regex\"");
    *pattern = TLM_PATTERN_GPT2;
    return n == 2 ? read_split(pattern, file, tlmi_json_item(parts, 0)) : TLM_OK;
}

static tlm_status_t check_decoder(const hf_file_t *file)
{
    const tlmi_json_t *decoder = tlmi_json_member(file->root, "decoder");

    if (tlmi_json_is_null(decoder) || member_is(decoder, "type", "ByteLevel"))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the decoder %.40s is not ByteLevel", file->path,
                     type_of(decoder));
}

/* ---- The file ---- */

static tlm_status_t parse(hf_file_t *file)
{
    size_t size;

    TLMI_TRY(tlmi_json_read_file(&file->root, &size, file->path));
    TLMI_TRY(tlmi_token_list_init(&file->vocab, size));
    TLMI_TRY(tlmi_token_list_init(&file->merges, size));
    if (!tlmi_json_is_object(file->root))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the file is not a JSON object", file->path);
    return TLM_OK;
}

static tlm_status_t read_all(hf_file_t *file, const tlm_tokenizer_options_t *options)
{
    const char *pattern;

    TLMI_TRY(parse(file));
    TLMI_TRY(read_model(file));
    TLMI_TRY(read_normalizer(file));
    TLMI_TRY(read_pre_tokenizer(&pattern, file));
    TLMI_TRY(check_decoder(file));
    TLMI_TRY(read_added_tokens(file));
    TLMI_TRY(check_normalized_tokens(file));
    TLMI_TRY(tlmi_token_list_place_special(&file->vocab, options, "tokenizer_load_json"));
    TLMI_TRY(add_callers_tokens(file, options));
    file->options.special_tokens = file->special.items;
    file->options.num_special_tokens = file->special.n;
    if (options->pattern == NULL)
        file->options.pattern = pattern;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_load_json(tlm_tokenizer_t **out, const char *path,
                                     const tlm_tokenizer_options_t *options)
{
    hf_file_t file = {.path = path};
    tlm_tokenizer_options_t known;
    tlm_status_t status;

    TLMI_REQUIRE("tokenizer_load_json", out);
    TLMI_REQUIRE("tokenizer_load_json", path);
    TLMI_TRY(tlmi_tokenizer_read_options(&known, "tokenizer_load_json", options));
    file.options = known;
    status = read_all(&file, &known);
    if (status == TLM_OK)
        status = tlmi_tokenizer_build(out, path, file.vocab.items, file.vocab.n, file.merges.items,
                                      file.merges.n / 2, &file.options);
    tlmi_token_list_release(&file.vocab);
    tlmi_token_list_release(&file.merges);
    tlmi_token_list_release(&file.special);
    tlmi_json_free(file.root);
    return status;
}
