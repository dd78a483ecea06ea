/* The pre-tokenizer of tokenizer.json. A chain that amounts to one of the well-known patterns
 * becomes a scanner, any other a chain of splitters. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/formats/hf_tokenizer.h"

static const char part[] = "pre_tokenizer";

#define MAX_STEPS 64

/* The chain while it is read. */
typedef struct chain {
    const tlmi_hf_file_t *file;
    tlmi_splitter_t *splitters[MAX_STEPS];
    size_t n;
    bool in_alphabet; /* the text is in the byte alphabet from here on */
    /* The same chain as patterns, while it is no more than that. */
    const char *patterns[MAX_STEPS];
    size_t num_patterns;
    bool is_patterns;
} chain_t;

/* ---- The chain ---- */

/* Adds a splitter if `status` says that it was made. */
static tlm_status_t add(chain_t *chain, tlm_status_t status, tlmi_splitter_t **made)
{
    if (status != TLM_OK)
        return status;
    tlmi_splitter_t *splitter = *made;
    if (chain->n == MAX_STEPS) {
        tlmi_splitter_free(splitter);
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the pre_tokenizer has more than %d steps",
                         chain->file->path, MAX_STEPS);
    }
    chain->splitters[chain->n++] = splitter;
    return TLM_OK;
}

/* Notes that the step that was just added isolates the matches of a pattern. */
static void note_pattern(chain_t *chain, const char *pattern)
{
    if (chain->is_patterns && chain->num_patterns < MAX_STEPS)
        chain->patterns[chain->num_patterns++] = pattern;
    else
        chain->is_patterns = false;
}

/* ---- Steps ---- */

static tlm_status_t read_behavior(tlmi_split_behavior_t *out, const tlmi_hf_file_t *file,
                                  const tlmi_json_t *object)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    tlm_bytes_t name;

    TLMI_TRY(tlmi_hf_string(&name, file, part, object, "behavior"));
    for (int i = 0; i <= TLMI_SPLIT_CONTIGUOUS; i++)
        if (strcmp(names[i], (const char *)name.data) == 0) {
            *out = (tlmi_split_behavior_t)i;
            return TLM_OK;
        }
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: the behavior %.40s of the pre_tokenizer %.40s is not "
                     "supported",
                     file->path, (const char *)name.data, tlmi_hf_type(object));
}

/* A well-known pattern leaves nothing unmatched, so removing what does not match isolates what
 * does. */
static bool isolates(tlmi_split_behavior_t behavior, bool invert, bool is_known)
{
    return behavior == TLMI_SPLIT_ISOLATED ||
           (behavior == TLMI_SPLIT_REMOVED && invert && is_known);
}

static tlm_status_t read_split(chain_t *chain, const tlmi_json_t *object)
{
    const tlmi_hf_file_t *file = chain->file;
    tlmi_splitter_t *splitter;
    tlmi_split_behavior_t behavior = TLMI_SPLIT_REMOVED;
    tlm_bytes_t text;
    bool is_regex, invert;

    TLMI_TRY(tlmi_hf_pattern(&text, &is_regex, file, part, object, "pattern"));
    TLMI_TRY(read_behavior(&behavior, file, object));
    TLMI_TRY(tlmi_hf_bool(&invert, file, part, object, "invert"));
    const char *pattern = (const char *)text.data;
    if (!is_regex) {
        chain->is_patterns = false;
        return add(chain, tlmi_split_string_create(&splitter, pattern, text.size, behavior, invert),
                   &splitter);
    }
    const char *known = tlmi_hf_pattern_read(pattern);
    if (isolates(behavior, invert, tlmi_hf_pattern_is_known(known)) && !chain->in_alphabet) {
        note_pattern(chain, known);
        const tlmi_scanner_t *scanner = tlmi_scanner_find(known);
        if (scanner != NULL)
            return add(chain, tlmi_split_scanner_create(&splitter, scanner), &splitter);
    } else {
        chain->is_patterns = false;
    }
    return add(chain,
               tlmi_split_regex_create(&splitter, pattern, TLMI_REGEX_ONIGURUMA, behavior, invert),
               &splitter);
}

/* Without a step after it, ByteLevel's change of the text into the byte alphabet is undone by a
 * byte-level model, so it is left out. */
static tlm_status_t read_byte_level(chain_t *chain, const tlmi_json_t *object, bool is_last)
{
    const tlmi_hf_file_t *file = chain->file;
    bool add_prefix_space, use_regex = true;
    tlmi_splitter_t *splitter;

    TLMI_TRY(tlmi_hf_bool(&add_prefix_space, file, part, object, "add_prefix_space"));
    TLMI_TRY(tlmi_hf_optional_bool(&use_regex, file, part, object, "use_regex"));
    if (chain->in_alphabet)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: a second ByteLevel in normalizer and pre_tokenizer is not supported",
                         file->path);
    if (add_prefix_space) {
        chain->is_patterns = false;
        TLMI_TRY(add(chain, tlmi_split_prefix_space_create(&splitter), &splitter));
    }
    if (use_regex) {
        TLMI_TRY(add(chain,
                     tlmi_split_scanner_create(&splitter, tlmi_scanner_find(TLM_PATTERN_GPT2)),
                     &splitter));
        note_pattern(chain, TLM_PATTERN_GPT2);
    }
    if (is_last && file->is_byte_level)
        return TLM_OK;
    chain->in_alphabet = true;
    chain->is_patterns = false;
    return add(chain, tlmi_split_to_alphabet_create(&splitter), &splitter);
}

static tlm_status_t read_metaspace(chain_t *chain, const tlmi_json_t *object)
{
    static const char *const names[] = {"always", "first", "never"};
    const tlmi_hf_file_t *file = chain->file;
    tlmi_splitter_t *splitter;
    tlm_bytes_t replacement, name = {(const uint8_t *)names[0], 6};
    bool splits = true, add_prefix_space = true;
    uint32_t code_point;
    int scheme = 0;

    TLMI_TRY(tlmi_hf_character(&replacement, &code_point, file, part, object, "replacement"));
    TLMI_TRY(tlmi_hf_optional_string(&name, file, part, object, "prepend_scheme"));
    TLMI_TRY(tlmi_hf_optional_bool(&splits, file, part, object, "split"));
    TLMI_TRY(tlmi_hf_optional_bool(&add_prefix_space, file, part, object, "add_prefix_space"));
    while (scheme < 3 && strcmp(names[scheme], (const char *)name.data) != 0)
        scheme++;
    if (scheme == 3)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the prepend_scheme %.40s of the pre_tokenizer Metaspace is not "
                         "supported",
                         file->path, (const char *)name.data);
    if (!add_prefix_space)
        scheme = TLMI_PREPEND_NEVER; /* how files said it before there were schemes */
    if (chain->in_alphabet)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the pre_tokenizer Metaspace after ByteLevel is not supported",
                         file->path);
    chain->is_patterns = false;
    return add(chain,
               tlmi_split_metaspace_create(&splitter, (const char *)replacement.data,
                                           replacement.size, (tlmi_prepend_scheme_t)scheme, splits),
               &splitter);
}

static tlm_status_t read_digits(chain_t *chain, const tlmi_json_t *object)
{
    tlmi_splitter_t *splitter;
    bool individual;

    TLMI_TRY(tlmi_hf_bool(&individual, chain->file, part, object, "individual_digits"));
    note_pattern(chain, individual ? "\\p{N}" : "\\p{N}+");
    return add(chain, tlmi_split_digits_create(&splitter, individual), &splitter);
}

static tlm_status_t read_punctuation(chain_t *chain, const tlmi_json_t *object)
{
    tlmi_split_behavior_t behavior = TLMI_SPLIT_ISOLATED;

    if (!tlmi_json_is_null(tlmi_json_member(object, "behavior")))
        TLMI_TRY(read_behavior(&behavior, chain->file, object));
    chain->is_patterns = false;
    tlmi_splitter_t *splitter;
    return add(chain, tlmi_split_punctuation_create(&splitter, behavior), &splitter);
}

static tlm_status_t read_delimiter(chain_t *chain, const tlmi_json_t *object)
{
    tlmi_splitter_t *splitter;
    tlm_bytes_t delimiter;
    uint32_t code_point;

    TLMI_TRY(tlmi_hf_character(&delimiter, &code_point, chain->file, part, object, "delimiter"));
    chain->is_patterns = false;
    return add(chain,
               tlmi_split_string_create(&splitter, (const char *)delimiter.data, delimiter.size,
                                        TLMI_SPLIT_REMOVED, false),
               &splitter);
}

static tlm_status_t read_fixed_length(chain_t *chain, const tlmi_json_t *object)
{
    size_t length = 5;

    if (!tlmi_json_is_null(tlmi_json_member(object, "length")))
        TLMI_TRY(tlmi_hf_size(&length, chain->file, part, object, "length"));
    if (length == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: \"length\" of the pre_tokenizer FixedLength is 0",
                         chain->file->path);
    chain->is_patterns = false;
    tlmi_splitter_t *splitter;
    return add(chain, tlmi_split_fixed_length_create(&splitter, length), &splitter);
}

/* ---- Types ---- */

static const struct {
    const char *type;
    tlm_status_t (*read)(chain_t *chain, const tlmi_json_t *object);
    tlm_status_t (*create)(tlmi_splitter_t **out); /* of a type without options */
} readers[] = {
    {"Split", read_split, NULL},
    {"Metaspace", read_metaspace, NULL},
    {"Digits", read_digits, NULL},
    {"Punctuation", read_punctuation, NULL},
    {"CharDelimiterSplit", read_delimiter, NULL},
    {"FixedLength", read_fixed_length, NULL},
    {"Whitespace", NULL, tlmi_split_whitespace_create},
    {"WhitespaceSplit", NULL, tlmi_split_spaces_create},
    {"BertPreTokenizer", NULL, tlmi_split_bert_create},
    {"UnicodeScripts", NULL, tlmi_split_scripts_create},
};

static tlm_status_t read_one(chain_t *chain, const tlmi_json_t *object, bool is_last)
{
    tlmi_splitter_t *splitter;

    if (tlmi_hf_is(object, "type", "ByteLevel"))
        return read_byte_level(chain, object, is_last);
    if (tlmi_hf_is(object, "type", "Sequence")) {
        const tlmi_json_t *items;

        TLMI_TRY(tlmi_hf_array(&items, chain->file, part, object, "pretokenizers"));
        for (size_t i = 0; i < tlmi_json_size(items); i++)
            TLMI_TRY(read_one(chain, tlmi_json_item(items, i),
                              is_last && i + 1 == tlmi_json_size(items)));
        return TLM_OK;
    }
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
        if (!tlmi_hf_is(object, "type", readers[i].type))
            continue;
        if (readers[i].read != NULL)
            return readers[i].read(chain, object);
        chain->is_patterns = false;
        return add(chain, readers[i].create(&splitter), &splitter);
    }
    return tlmi_hf_fail_unsupported(chain->file, part, object);
}

bool tlmi_hf_has_byte_level(const tlmi_json_t *component)
{
    const tlmi_json_t *items = tlmi_json_member(component, "pretokenizers");

    if (tlmi_hf_is(component, "type", "ByteLevel"))
        return true;
    if (items == NULL)
        items = tlmi_json_member(component, "normalizers");
    for (size_t i = 0; i < tlmi_json_size(items); i++)
        if (tlmi_hf_has_byte_level(tlmi_json_item(items, i)))
            return true;
    return false;
}

/* ---- The pretokenizer ---- */

static void release(chain_t *chain)
{
    while (chain->n > 0)
        tlmi_splitter_free(chain->splitters[--chain->n]);
}

static tlm_status_t finish(tlmi_pretokenizer_t **out, chain_t *chain)
{
    const tlmi_scanner_t *scanner = NULL;

    if (chain->is_patterns && chain->num_patterns > 0)
        scanner = tlmi_scanner_find_chain(chain->patterns, chain->num_patterns);
    if (scanner != NULL) {
        release(chain);
        return tlmi_pretokenizer_create(out, scanner->pattern);
    }
    if (chain->in_alphabet && chain->file->is_byte_level) {
        tlmi_splitter_t *splitter;
        TLMI_TRY(add(chain, tlmi_split_from_alphabet_create(&splitter), &splitter));
    }
    size_t n = chain->n;
    chain->n = 0;
    return tlmi_pretokenizer_create_chain(out, chain->splitters, n);
}

tlm_status_t tlmi_hf_read_pretokenizer(tlmi_hf_file_t *file, const char *pattern)
{
    const tlmi_json_t *object = tlmi_json_member(file->root, part);
    chain_t chain = {.file = file, .is_patterns = true};

    if (pattern != NULL)
        return tlmi_pretokenizer_create(&file->parts.pretokenizer, pattern);
    chain.in_alphabet = tlmi_hf_has_byte_level(tlmi_json_member(file->root, "normalizer"));
    if (chain.in_alphabet)
        chain.is_patterns = false;
    tlm_status_t status = tlmi_json_is_null(object) ? TLM_OK : read_one(&chain, object, true);
    if (status == TLM_OK)
        status = finish(&file->parts.pretokenizer, &chain);
    release(&chain);
    return status;
}
