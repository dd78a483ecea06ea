/* tokenizer.json, and telling formats apart: round trips, refusals. vocab.json and merges.txt are in
 * test_vocabulary.c, rank files in test_rank_files.c; the comparison with tokenizers is in
 * tests/python/test_tokenizer_peers.py. */
#include "tokenizer_support.h"
#include "run_suite.h"

#include <sys/stat.h>

/* ---- tokenizer.json ----------------------------------------------------------------------------
 */

static const char *const json_patterns[] = {NULL, TLM_PATTERN_CL100K, TLM_PATTERN_O200K,
                                            "\\p{L}+|\\p{N}|[^\\p{L}\\p{N}]+",
                                            " ?[^\" ]+|\\\\|\\s+"};

START_TEST(trained_tokenizers_are_json_files)
{
    static const tlm_bytes_t specials[] = {{(const uint8_t *)"<|end|>", 7},
                                           {(const uint8_t *)"<|end|><|end|>", 14},
                                           {(const uint8_t *)"|><|", 4},
                                           {(const uint8_t *)" \"\n\\", 4},
                                           {(const uint8_t *)"\x01\xC3\xA9\xE6\x97\xA5", 6}};
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer, *loaded;
    tlm_bpe_trainer_t *trainer;
    test_random_t random = {4, 0};

    options.vocab_size = 500;
    options.special_tokens = specials;
    options.num_special_tokens = COUNT(specials);
    options.pattern = json_patterns[_i];
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    for (int i = 0; i < 20; i++) {
        tlm_bytes_t text = random_text(&random, 500);

        ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text.data, text.size));
        free_text(text);
    }
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    ASSERT_OK(tlm_tokenizer_save_json(tokenizer, test_path("t.json")));
    ASSERT_OK(tlm_tokenizer_load_json(&loaded, test_path("t.json"), NULL));
    assert_same_tokenizer(tokenizer, loaded);
    assert_same_encoding(tokenizer, loaded);
    ASSERT_OK(tlm_tokenizer_save_json(loaded, test_path("t2.json")));
    {
        size_t size, other_size;
        unsigned char *a = read_bytes(test_path("t.json"), &size);
        unsigned char *b = read_bytes(test_path("t2.json"), &other_size);

        assert_same_bytes((tlm_bytes_t){a, size}, (tlm_bytes_t){b, other_size});
        free(a);
        free(b);
    }
    tlm_tokenizer_free(loaded);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* The parts of a file; each may be replaced. The vocabulary begins with all bytes. */
typedef struct json_parts {
    const char *head, *added, *normalizer, *pre_tokenizer, *decoder, *model, *vocab, *merges;
} json_parts_t;

static const json_parts_t plain_json = {
    .head = "\"version\":\"1.0\",\"truncation\":null,\"padding\":null",
    .added = "[]",
    .normalizer = "null",
    .pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true}",
    .decoder = "{\"type\":\"ByteLevel\"}",
    .model = "\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null",
    .vocab = ",\"ab\":256,\"abc\":257",
    .merges = "[\"a b\",\"ab c\"]",
};

static tlm_status_t load_json(tlm_tokenizer_t **out, const json_parts_t *parts,
                              const tlm_tokenizer_options_t *options)
{
    static char json[16384], vocab[8192];
    size_t used = 0;

    for (unsigned byte = 0, others = 0; byte < 256; byte++) {
        bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);

        used += (size_t)snprintf(vocab + used, sizeof(vocab) - used, "%s\"\\u%04x\":%u",
                                 byte == 0 ? "" : ",", printable ? byte : 256 + others++, byte);
    }
    snprintf(json, sizeof(json),
             "{%s,\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,"
             "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"b\",1]},"
             "\"decoder\":%s,"
             "\"model\":{%s,\"vocab\":{%s%s},\"merges\":%s}}",
             parts->head, parts->added, parts->normalizer, parts->pre_tokenizer, parts->decoder,
             parts->model, vocab, parts->vocab, parts->merges);
    write_string(test_path("parts.json"), json);
    return tlm_tokenizer_load_json(out, test_path("parts.json"), options);
}

#define ADDED(id, content, flags) "{\"id\":" id ",\"content\":\"" content "\"" flags "}"
#define SPLIT(pattern, behavior, invert)                                                           \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern "\"},\"behavior\":\"" behavior         \
    "\",\"invert\":" invert "}"
#define SEQUENCE(parts) "{\"type\":\"Sequence\",\"pretokenizers\":[" parts "]}"
#define BYTE_LEVEL(regex)                                                                          \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":" regex "}"

/* A file in the shape of Llama 3's: a Split by regular expression, merges ignored for whole pretokens,
 * added tokens after the vocabulary; and with merges as pairs. */
START_TEST(json_files_in_llama_shape_load)
{
    json_parts_t parts = plain_json;
    tlm_bytes_t more[] = {BYTES("<|eot|>"), BYTES("<|new|>")};
    tlm_tokenizer_options_t options = with_specials(more, 2);
    tlm_tokenizer_t *tokenizer;

    parts.pre_tokenizer = SEQUENCE(SPLIT("\\\\p{L}+|\\\\p{N}{1,3}|.", "Isolated", "false") "," //
                                   BYTE_LEVEL("false"));
    parts.model = "\"type\":\"BPE\",\"ignore_merges\":true,\"byte_fallback\":false";
    parts.vocab = ",\"ab\":256,\"abc\":257,\"zz\":258";
    parts.merges = "[[\"a\",\"b\"],[\"ab\",\"c\"]]";
    parts.added = "[" ADDED("259", "<|bot|>", ",\"special\":true,\"normalized\":false") "," //
        ADDED("260", "<|eot|>", ",\"special\":false,\"lstrip\":false") "]";
    for (size_t i = 0; i < COUNT(more); i++) /* no NUL byte follows the caller's tokens */
        more[i].data = memcpy(malloc(more[i].size), more[i].data, more[i].size);
    ASSERT_OK(load_json(&tokenizer, &parts, &options));
    for (size_t i = 0; i < COUNT(more); i++)
        free_text(more[i]);
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), 262);
    ck_assert_uint_eq(tlm_tokenizer_num_special_tokens(tokenizer), 3);
    ck_assert_uint_eq(id_of(tokenizer, BYTES("<|eot|>")), 260);
    ck_assert_uint_eq(id_of(tokenizer, BYTES("<|new|>")), 261);
    assert_pieces(tokenizer, "<|bot|>zz abczz<|eot|>12<|new|>",
                  "<|bot|>\1zz\1 \1abc\1z\1z\1<|eot|>\0011\0012\1<|new|>");
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* GPT-2's own file names no type and has its special token in the vocabulary; some files split by its
 * pattern in another spelling, and drop what does not match, which is nothing. */
START_TEST(json_files_in_gpt2_shape_load)
{
    static const char *const pre_tokenizers[] = {
        NULL,
        SEQUENCE(BYTE_LEVEL("true")),
        SEQUENCE(SPLIT("'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| "
                       "?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+",
                       "Removed", "true") "," BYTE_LEVEL("false")),
    };
    json_parts_t parts = plain_json;
    tlm_tokenizer_t *tokenizer;

    parts.model = "\"dropout\":0.0,\"continuing_subword_prefix\":\"\",\"fuse_unk\":true";
    parts.vocab = ",\"\\u0120a\":256,\"<|end|>\":257,\"\\u65e5 \":258";
    /* The second merge never applies: no text of a byte-level model gives its right side. */
    parts.merges = "[\"\\u0120 a\",[\"a\",\"\\u65e5 \"]]";
    parts.added = "[" ADDED("257", "<|end|>", ",\"normalized\":true") "]";
    for (size_t i = 0; i < COUNT(pre_tokenizers); i++) {
        if (pre_tokenizers[i] != NULL)
            parts.pre_tokenizer = pre_tokenizers[i];
        ASSERT_OK(load_json(&tokenizer, &parts, NULL));
        assert_pieces(tokenizer, "a a<|end|> ab  a", "a\1 a\1<|end|>\1 a\1b\1 \1 a");
        /* A name outside the alphabet stands for its own bytes. */
        assert_same_bytes(token_of(tokenizer, 258), BYTES("\xE6\x97\xA5 "));
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

/* Qwen's files ask for NFC. */
START_TEST(json_files_with_nfc_load)
{
    static const char *const normalizers[] = {
        "{\"type\":\"NFC\"}", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}"};
    json_parts_t parts = plain_json;
    tlm_tokenizer_t *tokenizer;

    for (size_t i = 0; i < COUNT(normalizers); i++) {
        parts.normalizer = normalizers[i];
        ASSERT_OK(load_json(&tokenizer, &parts, NULL));
        assert_pieces(tokenizer, "abc ab", "abc\1 \1ab");
        assert_pieces(tokenizer, "e\xCC\x81", "\xC3\1\xA9");
        ASSERT_OK(tlm_tokenizer_save_json(tokenizer, test_path("nfc.json")));
        tlm_tokenizer_free(tokenizer);
        ASSERT_OK(tlm_tokenizer_load_json(&tokenizer, test_path("nfc.json"), NULL));
        assert_pieces(tokenizer, "e\xCC\x81", "\xC3\1\xA9");
        tlm_tokenizer_free(tokenizer);
    }
    parts.added = "[" ADDED("258", "e\xCC\x81", ",\"normalized\":true") "]";
    ASSERT_OK(load_json(&tokenizer, &parts, NULL));
    assert_pieces(tokenizer, "ab\xC3\xA9", "ab\1e\xCC\x81");
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(what_json_files_ask_is_refused_by_name)
{
    static const struct {
        tlm_status_t status;
        const char *message;
        json_parts_t parts; /* NULL: as in plain_json */
    } cases[] = {
        {TLM_ERR_UNSUPPORTED, "WordLevels", {.model = "\"type\":\"WordLevels\""}},
        {TLM_ERR_FORMAT, "unk_token", {.model = "\"type\":\"WordLevel\""}},
        {TLM_ERR_FORMAT, "unk_token", {.model = "\"type\":\"WordPiece\""}},
        {TLM_ERR_FORMAT, "array \"vocab\"", {.model = "\"type\":\"Unigram\""}},
        {TLM_ERR_FORMAT, "dropout", {.model = "\"dropout\":1.5"}},
        {TLM_ERR_FORMAT, "dropout", {.model = "\"dropout\":\"no\""}},
        {TLM_ERR_FORMAT, "ignore_merges", {.model = "\"ignore_merges\":1"}},
        {TLM_ERR_UNSUPPORTED, "NFX", {.normalizer = "{\"type\":\"NFX\"}"}},
        {TLM_ERR_FORMAT, "strip_left", {.normalizer = "{\"type\":\"Strip\"}"}},
        {TLM_ERR_FORMAT,
         "base64",
         {.normalizer = "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!\"}"}},
        {TLM_ERR_FORMAT, "lacks \"normalizers\"", {.normalizer = "{\"type\":\"Sequence\"}"}},
        {TLM_ERR_UNSUPPORTED, "Quotes", {.pre_tokenizer = "{\"type\":\"Quotes\"}"}},
        {TLM_ERR_FORMAT, "add_prefix", {.pre_tokenizer = "{\"type\":\"ByteLevel\"}"}},
        {TLM_ERR_FORMAT, "lacks \"pretokenizers\"", {.pre_tokenizer = "{\"type\":\"Sequence\"}"}},
        {TLM_ERR_FORMAT, "length", {.pre_tokenizer = "{\"type\":\"FixedLength\",\"length\":0}"}},
        {TLM_ERR_FORMAT,
         "one character",
         {.pre_tokenizer = "{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"ab\"}"}},
        {TLM_ERR_UNSUPPORTED,
         "second ByteLevel",
         {.pre_tokenizer = SEQUENCE(BYTE_LEVEL("true") "," BYTE_LEVEL("true"))}},
        {TLM_ERR_UNSUPPORTED,
         "Sideways",
         {.pre_tokenizer = SEQUENCE(SPLIT("a", "Sideways", "false") "," BYTE_LEVEL("false"))}},
        {TLM_ERR_FORMAT,
         "invert",
         {.pre_tokenizer =
              SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":"
                       "\"Isolated\"}," BYTE_LEVEL("false"))}},
        {TLM_ERR_REGEX,
         "pattern",
         {.pre_tokenizer = SEQUENCE(SPLIT("(", "Isolated", "false") "," BYTE_LEVEL("false"))}},
        {TLM_ERR_FORMAT, "replacement", {.decoder = "{\"type\":\"Metaspace\"}"}},
        {TLM_ERR_UNSUPPORTED, "CTC", {.decoder = "{\"type\":\"CTC\"}"}},
        {TLM_ERR_FORMAT, "rstrip", {.added = "[" ADDED("258", "x", ",\"rstrip\":7") "]"}},
        {TLM_ERR_FORMAT, "gives it 258", {.added = "[" ADDED("259", "<x>", "") "]"}},
        {TLM_ERR_FORMAT, "no \"id\"", {.added = "[" ADDED("-1", "<x>", "") "]"}},
        {TLM_ERR_FORMAT, "no \"id\"", {.added = "[{\"content\":\"x\"}]"}},
        {TLM_ERR_FORMAT, "added token 0", {.added = "[7]"}},
        {TLM_ERR_FORMAT, "array", {.added = "{}"}},
        {TLM_ERR_FORMAT, "merge 1", {.merges = "[\"a b\",\"abc\"]"}},
        {TLM_ERR_FORMAT, "merge 1", {.merges = "[\"a b\",7]"}},
        {TLM_ERR_FORMAT, "merge 0", {.merges = "[[\"a\"]]"}},
        {TLM_ERR_FORMAT, "merge 0", {.merges = "[[\"a\",\"b\",\"c\"]]"}},
        {TLM_ERR_FORMAT, "merge 0", {.merges = "[[\"a\",7]]"}},
        {TLM_ERR_FORMAT, "merge 0", {.merges = "[[\"a\",\"\"]]"}},
        {TLM_ERR_FORMAT, "merge 0", {.merges = "[[\"a\",\" \"]]"}},
        {TLM_ERR_FORMAT, "merge 0", {.merges = "[\"b a\"]"}},
        {TLM_ERR_FORMAT, "merges", {.merges = "{}"}},
        {TLM_ERR_FORMAT, "outside", {.vocab = ",\"ab\":-1"}},
        {TLM_ERR_FORMAT, "outside", {.vocab = ",\"ab\":4294967295"}},
        {TLM_ERR_FORMAT, "another token", {.vocab = ",\"ab\":255"}},
        {TLM_ERR_FORMAT, "integer", {.vocab = ",\"ab\":256.5"}},
        {TLM_ERR_FORMAT, "duplicate", {.vocab = ",\"ab\":256,\"ab\":257"}},
        {TLM_ERR_UNSUPPORTED, "empty", {.vocab = ",\"\":256"}},
        {TLM_ERR_FORMAT, "merge 0: its product", {.vocab = ""}},
        {TLM_ERR_FORMAT, "line 1", {.head = "7"}},
    };
    tlm_tokenizer_t *tokenizer = NULL;

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const *replaced = (const char *const *)&cases[i].parts;
        json_parts_t parts = plain_json;

        for (size_t k = 0; k < sizeof(parts) / sizeof(char *); k++)
            if (replaced[k] != NULL)
                ((const char **)&parts)[k] = replaced[k];
        ASSERT_FAILS(cases[i].status, cases[i].message, load_json(&tokenizer, &parts, NULL));
        ck_assert_ptr_null(tokenizer);
    }
}
END_TEST

/* Of two names that are the same, the last one counts: for the model, and for an added token. */
START_TEST(a_name_that_is_listed_twice_is_the_last)
{
    tlm_tokenizer_t *tokenizer;

    write_string(test_path("twice.json"),
                 "{\"added_tokens\":[{\"id\":1,\"content\":\"ab\",\"special\":true}],"
                 "\"normalizer\":null,\"pre_tokenizer\":null,\"post_processor\":null,"
                 "\"decoder\":null,\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":"
                 "[[\"?\",0],[\"ab\",-1],[\"c\",-1],[\"ab\",-2]]}}");
    ASSERT_OK(tlm_tokenizer_load_json(&tokenizer, test_path("twice.json"), NULL));
    uint32_t *ids;
    size_t n;
    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, "cabc", 4));
    assert_same_ids(ids, n, (const uint32_t[]){2, 3, 2}, 3);
    ck_assert_uint_eq(id_of(tokenizer, BYTES("ab")), 3);
    tlm_free(ids);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(other_json_files_are_refused)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "7",
        "nonsense",
        "{",
        "{\"model\":7}",
        "{\"model\":{}}",
        "{\"model\":{\"vocab\":[],\"merges\":[]}}",
        "{\"model\":{\"vocab\":{},\"merges\":7}}",
        "{\"model\":{\"vocab\":{},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":false}}"};
    const char *path = test_path("other.json");
    tlm_tokenizer_t *tokenizer = NULL;

    for (size_t i = 0; i < COUNT(texts); i++) {
        write_string(path, texts[i]);
        ASSERT_FAILS(TLM_ERR_FORMAT, "other.json", tlm_tokenizer_load_json(&tokenizer, path, NULL));
    }
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                 tlm_tokenizer_load_json(&tokenizer, "nowhere", NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_tokenizer_load_json(&tokenizer, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_tokenizer_load_json(NULL, path, NULL));
    ck_assert_ptr_null(tokenizer);
}
END_TEST

/* Special tokens that a file would take for others; a special token that merges make is written in the
 * alphabet, so only one of plain ASCII can keep its id. */
START_TEST(what_json_cannot_say_is_not_written)
{
    static const struct {
        tlm_bytes_t special;
        const char *message;
    } cases[] = {
        {{(const uint8_t *)"\xFF", 1}, "UTF-8"},
        {{(const uint8_t *)"<\0>", 3}, "NUL"},
        {{(const uint8_t *)"\xC3\xA9", 2}, "another"}, /* the name of the byte E9 */
        {{(const uint8_t *)"\xC4\xA0"
                           "a",
          3},
         "another"},                                    /* the name of " a" */
        {{(const uint8_t *)" a", 2}, "another"},        /* made by a merge */
        {{(const uint8_t *)"\xC5\x83<", 3}, "another"}, /* the name of "\xAD<" */
        {{(const uint8_t *)"\xE6\x97\xA5", 3}, NULL},
        {{(const uint8_t *)"ab", 2}, NULL}, /* made by a merge, and ASCII */
    };
    const char *path = test_path("refused.json");
    parts_t parts = byte_parts();

    add_merge(&parts, " ", "a", " a");
    add_merge(&parts, "a", "b", "ab");
    for (size_t i = 0; i < COUNT(cases); i++) {
        tlm_tokenizer_options_t options = with_specials(&cases[i].special, 1);
        tlm_tokenizer_t *tokenizer, *loaded;

        ASSERT_OK(create(&tokenizer, &parts, &options));
        if (cases[i].message != NULL) {
            ASSERT_FAILS(TLM_ERR_UNSUPPORTED, cases[i].message,
                         tlm_tokenizer_save_json(tokenizer, path));
            ck_assert_int_ne(access(path, F_OK), 0);
        } else {
            ASSERT_OK(tlm_tokenizer_save_json(tokenizer, path));
            ASSERT_OK(tlm_tokenizer_load_json(&loaded, path, NULL));
            assert_same_tokenizer(tokenizer, loaded);
            tlm_tokenizer_free(loaded);
            ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                         tlm_tokenizer_save_json(tokenizer, test_path("nowhere/a")));
        }
        tlm_tokenizer_free(tokenizer);
    }
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_tokenizer_save_json(NULL, path));
}
END_TEST

/* ---- Any of them -------------------------------------------------------------------------------
 */

/* A folder holds one of these beside a tokenizer, as transformers writes them. */
static const struct {
    const char *name, *text;
    tlm_status_t status;
    const char *pieces;
} companions[] = {
    {"added_tokens.json", "{\"<b>\":259,\"<a>\":258}", TLM_OK, "x\1<a>\1<b>\1<\1c\1>"},
    {"special_tokens_map.json",
     "{\"bos_token\":\"<c>\",\"eos_token\":{\"content\":\"<a>\"},"
     "\"additional_special_tokens\":[\"<b>\",7]}",
     TLM_OK, "x\1<a>\1<b>\1<c>"},
    {"tokenizer_config.json",
     "{\"added_tokens_decoder\":{\"258\":{\"content\":\"<a>\",\"special\":true}},"
     "\"pad_token\":\"<b>\",\"model_max_length\":1000000000000000019884624838656}",
     TLM_OK, "x\1<a>\1<b>\1<\1c\1>"},
    {"added_tokens.json", "{\"<a>\":-1}", TLM_ERR_FORMAT, "added_tokens.json"},
    {"tokenizer_config.json", "{", TLM_ERR_FORMAT, "tokenizer_config.json"},
};

START_TEST(files_beside_a_tokenizer_name_tokens)
{
    json_parts_t parts = plain_json;
    tlm_tokenizer_t *plain, *tokenizer = NULL;
    char folder[256], path[300];

    snprintf(folder, sizeof(folder), "%s", test_path("model"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ASSERT_OK(load_json(&plain, &parts, NULL));
    for (size_t i = 0; i < 2 * COUNT(companions); i++) {
        size_t which = i / 2;
        char json[300], vocab[300], merges[300];

        snprintf(json, sizeof(json), "%s/tokenizer.json", folder);
        snprintf(vocab, sizeof(vocab), "%s/vocab.json", folder);
        snprintf(merges, sizeof(merges), "%s/merges.txt", folder);
        if (i % 2 == 0)
            ASSERT_OK(tlm_tokenizer_save_json(plain, json));
        else
            ASSERT_OK(tlm_tokenizer_save(plain, vocab, merges));
        snprintf(path, sizeof(path), "%s/%s", folder, companions[which].name);
        write_string(path, companions[which].text);
        if (companions[which].status == TLM_OK) {
            ASSERT_OK(tlm_tokenizer_open(&tokenizer, folder, NULL));
            assert_pieces(tokenizer, "x<a><b><c>", companions[which].pieces);
            tlm_tokenizer_free(tokenizer);
            tokenizer = NULL;
        } else {
            ASSERT_FAILS(companions[which].status, companions[which].pieces,
                         tlm_tokenizer_open(&tokenizer, folder, NULL));
            ck_assert_ptr_null(tokenizer);
        }
        unlink(path);
        unlink(json);
        unlink(vocab);
        unlink(merges);
    }
    ck_assert_int_eq(rmdir(folder), 0);
    tlm_tokenizer_free(plain);
}
END_TEST

/* A model of n names, added tokens <0> to <n - 1>, and beside it a list of twice as many. */
static void write_many(const char *json, const char *config, int n)
{
    FILE *file = fopen(json, "w");

    fprintf(file, "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0]");
    for (int i = 1; i < n; i++)
        fprintf(file, ",[\"n%d\",-1]", i);
    fprintf(file, "]},\"added_tokens\":[");
    for (int i = 0; i < n; i++)
        fprintf(file, "%s{\"id\":%d,\"content\":\"<%d>\"}", i == 0 ? "" : ",", n + i, i);
    fprintf(file, "],\"normalizer\":null,\"pre_tokenizer\":null,\"post_processor\":null,"
                  "\"decoder\":null}");
    ck_assert_int_eq(fclose(file), 0);
    file = fopen(config, "w");
    fprintf(file, "{\"added_tokens_decoder\":{");
    for (int i = 0; i < 2 * n; i++)
        fprintf(file, "%s\"%d\":{\"content\":\"<%d>\"}", i == 0 ? "" : ",", n + i, i);
    fprintf(file, "}}");
    ck_assert_int_eq(fclose(file), 0);
}

/* So many that to compare each with all others would take minutes. */
START_TEST(any_number_of_added_tokens_is_read)
{
    const int n = (int)(long_input() / 50);
    tlm_tokenizer_t *tokenizer;
    char name[32];

    ck_assert_int_eq(mkdir(test_path("many"), 0700), 0);
    write_many(test_path("many/tokenizer.json"), test_path("many/tokenizer_config.json"), n);
    ASSERT_OK(tlm_tokenizer_open(&tokenizer, test_path("many"), NULL));
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), 3 * n);
    for (int i = 0; i < 2 * n; i += n / 7) {
        snprintf(name, sizeof(name), "<%d>", i);
        ck_assert_uint_eq(id_of(tokenizer, string_bytes(name)), n + i);
    }
    assert_pieces(tokenizer, "n12<34>n5", "n12\1<34>\1n5");
    tlm_tokenizer_free(tokenizer);
    unlink(test_path("many/tokenizer.json"));
    unlink(test_path("many/tokenizer_config.json"));
    rmdir(test_path("many"));
}
END_TEST

START_TEST(open_tells_formats_by_content)
{
    static const uint32_t special_ids[] = {0, 1};
    tlm_tokenizer_options_t options = with_specials(special_pieces, 2);
    tlm_tokenizer_t *tokenizer = trained_tokenizer(2, NULL), *opened = NULL;

    options.special_token_ids = special_ids;
    options.pattern = TLM_PATTERN_GPT2;
    ASSERT_OK(tlm_tokenizer_save_tiktoken(tokenizer, test_path("o")));
    ASSERT_OK(tlm_tokenizer_open(&opened, test_path("o"), &options));
    assert_same_encoding(tokenizer, opened);
    tlm_tokenizer_free(opened);
    ASSERT_OK(tlm_tokenizer_save_json(tokenizer, test_path("o")));
    ASSERT_OK(tlm_tokenizer_open(&opened, test_path("o"), NULL));
    assert_same_tokenizer(tokenizer, opened);
    tlm_tokenizer_free(opened);

    opened = NULL;
    ck_assert_int_eq(mkdir(test_path("d"), 0700), 0);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "neither", tlm_tokenizer_open(&opened, test_path("d"), NULL));
    ASSERT_OK(tlm_tokenizer_save(tokenizer, test_path("d/vocab.json"), test_path("d/merges.txt")));
    ASSERT_OK(tlm_tokenizer_open(&opened, test_path("d"), &options));
    assert_same_tokenizer(tokenizer, opened);
    tlm_tokenizer_free(opened);
    ASSERT_OK(tlm_tokenizer_save_json(tokenizer, test_path("d/tokenizer.json")));
    ASSERT_OK(tlm_tokenizer_open(&opened, test_path("d"), NULL));
    assert_same_tokenizer(tokenizer, opened);
    tlm_tokenizer_free(opened);
    tlm_tokenizer_free(tokenizer);

    opened = NULL;
    ASSERT_FAILS(TLM_ERR_FORMAT, "no object \"model\"",
                 tlm_tokenizer_open(&opened, test_path("d/vocab.json"), NULL));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                 tlm_tokenizer_open(&opened, test_path("nowhere"), NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_tokenizer_open(&opened, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_tokenizer_open(NULL, "a", NULL));
    ck_assert_ptr_null(opened);
    unlink(test_path("d/vocab.json"));
    unlink(test_path("d/merges.txt"));
    unlink(test_path("d/tokenizer.json"));
    rmdir(test_path("d"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer files");
    TCase *tcase = tcase_create("tokenizer files");
    int failed;

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, trained_tokenizers_are_json_files, 0, COUNT(json_patterns));
    tcase_add_test(tcase, json_files_in_llama_shape_load);
    tcase_add_test(tcase, json_files_in_gpt2_shape_load);
    tcase_add_test(tcase, json_files_with_nfc_load);
    tcase_add_test(tcase, what_json_files_ask_is_refused_by_name);
    tcase_add_test(tcase, a_name_that_is_listed_twice_is_the_last);
    tcase_add_test(tcase, other_json_files_are_refused);
    tcase_add_test(tcase, what_json_cannot_say_is_not_written);
    tcase_add_test(tcase, files_beside_a_tokenizer_name_tokens);
    tcase_add_test(tcase, any_number_of_added_tokens_is_read);
    tcase_add_test(tcase, open_tells_formats_by_content);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
