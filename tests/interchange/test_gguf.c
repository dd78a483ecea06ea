/* GGUF files: models and tokenizers come back with the same bits and ids; hostile files are refused. That
 * others read the same is tested in tests/python/test_gguf_peers.py. */
#include "model_support.h"
#include "run_suite.h"

#include "formats/gguf.h"

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 264,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 2,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7,
                                         .num_kv_heads = 1};

static tlm_model_t *make_model(bool tied)
{
    tlm_model_options_t options = tiny;
    tlm_model_t *model;

    options.tied_embeddings = tied;
    ASSERT_OK(tlm_model_create(&model, &options));
    return model;
}

/* With two holes before the special tokens: 263 ids. */
static tlm_tokenizer_t *make_tokenizer(const char *pattern, const char *special)
{
    static const uint32_t ids[] = {261, UINT32_MAX};

    return make_small_tokenizer(pattern, "<|endoftext|>", special, ids);
}

static void assert_same_tokenizer(const tlm_tokenizer_t *a, const tlm_tokenizer_t *b)
{
    static const char text[] =
        "the other THE the  12345 <|endoftext|>x<|pad|> it's \xC3\xA9\n\n the";
    uint32_t *ids, *others, n_tokens = tlm_tokenizer_vocab_size(a);
    size_t n, m;

    ck_assert_uint_eq(n_tokens, tlm_tokenizer_vocab_size(b));
    ck_assert_uint_eq(tlm_tokenizer_num_merges(a), tlm_tokenizer_num_merges(b));
    for (uint32_t id = 0; id < n_tokens; id++) {
        tlm_bytes_t x = {NULL, 0}, y = x;

        ck_assert_int_eq(tlm_tokenizer_token(&x, a, id), tlm_tokenizer_token(&y, b, id));
        ck_assert_uint_eq(x.size, y.size);
        if (x.size > 0)
            ck_assert_mem_eq(x.data, y.data, x.size);
    }
    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, a, text, sizeof(text) - 1));
    ASSERT_OK(tlm_tokenizer_encode(&others, &m, b, text, sizeof(text) - 1));
    ck_assert_uint_eq(n, m);
    ck_assert_mem_eq(ids, others, n * sizeof(*ids));
    tlm_free(ids);
    tlm_free(others);
}

START_TEST(what_is_saved_is_opened)
{
    static const char *const patterns[] = {NULL, TLM_PATTERN_LLAMA3, TLM_PATTERN_QWEN2,
                                           TLM_PATTERN_O200K};
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT, read = options;
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT, own = shape;
    tlm_tokenizer_t *tokenizer, *opened_tokenizer;
    tlm_model_t *model, *opened;

    for (size_t i = 0; i < 4; i++) {
        model = make_model(i % 2 == 1);
        tokenizer = make_tokenizer(patterns[i], "<|pad|>");
        ASSERT_OK(tlm_model_save_gguf(model, tokenizer, test_path("m"), NULL));
        ASSERT_OK(tlm_model_open(&opened, &opened_tokenizer, &read, test_path("m")));
        assert_same(model, opened);
        assert_same_tokenizer(tokenizer, opened_tokenizer);
        ck_assert(read.has_end_token && read.end_token == 261 && !read.has_begin_token);
        ASSERT_OK(tlm_model_get_options(&own, model));
        ASSERT_OK(tlm_model_get_options(&shape, opened));
        own.seed = 0;
        ck_assert_mem_eq(&own, &shape, sizeof(own)); /* the norms' epsilon too */
        tlm_tokenizer_free(opened_tokenizer);
        tlm_tokenizer_free(tokenizer);
        tlm_model_free(opened);
        tlm_model_free(model);
    }
}
END_TEST

START_TEST(weights_of_16_bits_are_those_of_folders)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT, read = options;
    tlm_tokenizer_t *tokenizer = (tlm_tokenizer_t *)&options;
    tlm_model_t *model = make_model(false), *opened, *again;

    options.has_begin_token = true;
    options.begin_token = 9;
    options.family = TLM_FAMILY_LLAMA;
    for (options.weights = 1; options.weights < 3; options.weights++) {
        ASSERT_OK(tlm_model_save_gguf(model, NULL, test_path("m"), &options));
        ASSERT_OK(tlm_model_open(&opened, &tokenizer, &read, test_path("m")));
        ck_assert_ptr_null(tokenizer);
        ASSERT_OK(tlm_model_gguf_bytes(&options.weight_bytes, model, &options));
        ck_assert_mem_eq(&options, &read, sizeof(read));
        ASSERT_OK(tlm_model_save_gguf(opened, NULL, test_path("again"), &read));
        ASSERT_OK(tlm_model_open(&again, NULL, NULL, test_path("again")));
        assert_same(opened, again);
        tlm_model_free(opened);
        tlm_model_free(again);
    }
    tlm_model_free(model);
}
END_TEST

START_TEST(what_has_no_name_is_refused)
{
    tlm_model_t *model = make_model(false), *post;
    tlm_model_options_t options = tiny;
    tlm_tokenizer_t *tokenizer = make_tokenizer("\\p{L}+|\\P{L}", "x y");
    const char *path = test_path("no");

    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "no name for the tokenizer's pattern",
                 tlm_model_save_gguf(model, tokenizer, path, NULL));
    tlm_tokenizer_free(tokenizer);
    tokenizer = make_tokenizer(NULL, " the"); /* special, and made by merges */
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "is written like another token",
                 tlm_model_save_gguf(model, tokenizer, path, NULL));
    tlm_tokenizer_free(tokenizer);
    tokenizer = make_tokenizer(NULL, "[PAD261]"); /* an id that has a token */
    ASSERT_OK(tlm_model_save_gguf(model, tokenizer, test_path("m"), NULL));
    tlm_tokenizer_free(tokenizer);
    tokenizer = make_tokenizer(NULL, "[PAD260]");
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "token [PAD260]",
                 tlm_model_save_gguf(model, tokenizer, path, NULL));
    tlm_tokenizer_free(tokenizer);
    options.norm = TLM_NORM_POST;
    ASSERT_OK(tlm_model_create(&post, &options));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "(norm)", tlm_model_save_gguf(post, NULL, path, NULL));
    tlm_model_free(post);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "path", tlm_model_save_gguf(model, NULL, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model", tlm_model_save_gguf(NULL, NULL, path, NULL));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "no/no",
                 tlm_model_save_gguf(model, NULL, test_path("no/no"), NULL));
    ck_assert_int_ne(access(test_path("no"), F_OK), 0);
    tlm_model_free(model);
}
END_TEST

/* ---- Files built by hand ---------------------------------------------------------------- */

/* Bytes of a file as it grows. */
typedef struct bytes {
    unsigned char data[8192];
    size_t size;
} bytes_t;

static void put(bytes_t *bytes, uint64_t value, int size)
{
    for (int i = 0; i < size; i++)
        bytes->data[bytes->size++] = (unsigned char)(value >> 8 * i);
}

static void put_text(bytes_t *bytes, const char *text)
{
    put(bytes, strlen(text), 8);
    memcpy(bytes->data + bytes->size, text, strlen(text));
    bytes->size += strlen(text);
}

static bytes_t begin(uint32_t version, uint64_t num_tensors, uint64_t num_values)
{
    bytes_t bytes = {{'G', 'G', 'U', 'F'}, 4};

    put(&bytes, version, 4);
    put(&bytes, num_tensors, 8);
    put(&bytes, num_values, 8);
    return bytes;
}

static void put_tensor(bytes_t *bytes, const char *name, uint64_t size, uint32_t type,
                       uint64_t place)
{
    put_text(bytes, name);
    put(bytes, 1, 4);
    put(bytes, size, 8);
    put(bytes, type, 4);
    put(bytes, place, 8);
}

static void assert_refused(const bytes_t *bytes, tlm_status_t code, const char *text)
{
    tlmi_gguf_t file;

    write_bytes(test_path("hostile"), bytes->data, bytes->size);
    ASSERT_FAILS(code, text, tlmi_gguf_open(&file, test_path("hostile")));
}

START_TEST(values_of_all_types_are_read)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    bytes_t bytes = begin(2, 0, 12);
    tlmi_gguf_t file;
    const char *text;
    double number;
    int64_t value;
    size_t size;
    char key[2] = "a";

    for (uint32_t type = 0; type < 13; type++) {
        if (type == TLMI_GGUF_ARRAY)
            continue;
        key[0] = (char)('z' - type); /* not in order */
        put_text(&bytes, key);
        put(&bytes, type, 4);
        if (type == TLMI_GGUF_STRING)
            put_text(&bytes, "text");
        else if (type == TLMI_GGUF_FLOAT32)
            put(&bytes, 0x3FC00000, 4);
        else if (type == TLMI_GGUF_FLOAT64)
            put(&bytes, (uint64_t)0x3FF80000 << 32, 8);
        else
            put(&bytes, UINT64_MAX, sizes[type]);
    }
    write_bytes(test_path("types"), bytes.data, bytes.size);
    ASSERT_OK(tlmi_gguf_open(&file, test_path("types")));
    for (uint32_t type = 0; type < 13; type++) {
        const tlmi_gguf_value_t *found;
        bool is_float = type == TLMI_GGUF_FLOAT32 || type == TLMI_GGUF_FLOAT64;
        bool is_int = !is_float && type != TLMI_GGUF_STRING && type != TLMI_GGUF_BOOL &&
                      type != TLMI_GGUF_UINT64; /* which is too large */

        key[0] = (char)('z' - type);
        found = tlmi_gguf_find(&file, key);
        ck_assert_int_eq(found == NULL, type == TLMI_GGUF_ARRAY);
        if (found == NULL)
            continue;
        ck_assert_int_eq(tlmi_gguf_get_int(found, &value), is_int);
        if (is_int && (type == TLMI_GGUF_INT8 || type == TLMI_GGUF_INT16 ||
                       type == TLMI_GGUF_INT32 || type == TLMI_GGUF_INT64))
            ck_assert_int_eq(value, -1);
        else if (is_int)
            ck_assert_int_eq(value, (INT64_C(1) << 8 * sizes[type]) - 1);
        ck_assert_int_eq(tlmi_gguf_get_number(found, &number), is_float);
        if (is_float)
            ck_assert(number == 1.5);
        ck_assert_int_eq(tlmi_gguf_get_string(found, &text, &size), type == TLMI_GGUF_STRING);
    }
    ck_assert_ptr_null(tlmi_gguf_find(&file, "zz"));
    ck_assert_ptr_null(tlmi_gguf_find(&file, ""));
    tlmi_gguf_close(&file);
}
END_TEST

enum { F32 = 0 }; /* GGUF's number of the type */

START_TEST(hostile_files_are_refused)
{
    static const uint64_t huge[] = {1000,           UINT32_MAX, (uint64_t)1 << 60,
                                    UINT64_MAX / 4, INT64_MAX,  UINT64_MAX};
    bytes_t bytes;

    bytes = (bytes_t){{'G', 'G', 'M', 'L', 3}, 24};
    assert_refused(&bytes, TLM_ERR_FORMAT, "not a GGUF file");
    bytes = (bytes_t){{'G', 'G', 'U'}, 3};
    assert_refused(&bytes, TLM_ERR_FORMAT, "cut short");
    bytes = begin(1, 0, 0);
    assert_refused(&bytes, TLM_ERR_UNSUPPORTED, "version 0x1");
    bytes = begin(0x3000000, 0, 0);
    assert_refused(&bytes, TLM_ERR_UNSUPPORTED, "little-endian");
    for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
        bytes = begin(3, huge[i], 0);
        assert_refused(&bytes, TLM_ERR_FORMAT, "tensors");
        bytes = begin(3, 0, huge[i]);
        assert_refused(&bytes, TLM_ERR_FORMAT, "values");
        bytes = begin(3, 0, 1); /* a string that long */
        put(&bytes, huge[i], 8);
        put(&bytes, 0, 8);
        assert_refused(&bytes, TLM_ERR_FORMAT, "a string has");
        for (uint32_t type = 0; type < 13; type++) { /* an array that long */
            if (type == TLMI_GGUF_ARRAY)
                continue;
            bytes = begin(3, 0, 1);
            put_text(&bytes, "k");
            put(&bytes, TLMI_GGUF_ARRAY, 4);
            put(&bytes, type, 4);
            put(&bytes, huge[i], 8);
            put(&bytes, 0, 8);
            assert_refused(&bytes, TLM_ERR_FORMAT, "'k' has");
        }
        bytes = begin(3, 1, 0); /* a tensor that large, and one that far */
        put_tensor(&bytes, "t", huge[i], F32, 0);
        bytes.size = (bytes.size + 31) / 32 * 32 + 64;
        assert_refused(&bytes, TLM_ERR_FORMAT, "'t'");
        bytes = begin(3, 1, 0);
        put_tensor(&bytes, "t", 1, F32, huge[i] / 32 * 32);
        bytes.size = (bytes.size + 31) / 32 * 32 + 64;
        assert_refused(&bytes, TLM_ERR_FORMAT, "'t'");
    }
    bytes = begin(3, 0, 1);
    put_text(&bytes, "nested");
    put(&bytes, TLMI_GGUF_ARRAY, 4);
    put(&bytes, TLMI_GGUF_ARRAY, 4);
    put(&bytes, 0, 8);
    assert_refused(&bytes, TLM_ERR_UNSUPPORTED, "arrays of arrays");
    bytes = begin(3, 0, 1);
    put_text(&bytes, "odd");
    put(&bytes, 13, 4);
    put(&bytes, 0, 8);
    assert_refused(&bytes, TLM_ERR_UNSUPPORTED, "'odd' is of type 13");
    bytes = begin(3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_text(&bytes, "twice");
        put(&bytes, TLMI_GGUF_UINT8, 4);
        put(&bytes, 1, 1);
    }
    assert_refused(&bytes, TLM_ERR_FORMAT, "'twice' appears twice");
    for (uint64_t alignment = 0; alignment < 50; alignment += 24) {
        bytes = begin(3, 0, 1);
        put_text(&bytes, "general.alignment");
        put(&bytes, TLMI_GGUF_UINT32, 4);
        put(&bytes, alignment, 4);
        assert_refused(&bytes, TLM_ERR_FORMAT, "power of two");
    }
    bytes = begin(3, 1, 0);
    put_tensor(&bytes, "t", 1, F32, 4);
    bytes.size += 100;
    assert_refused(&bytes, TLM_ERR_FORMAT, "alignment 32");
    bytes = begin(3, 1, 0);
    put_text(&bytes, "t");
    put(&bytes, 9, 4);
    put(&bytes, 0, 8);
    put(&bytes, 0, 8);
    assert_refused(&bytes, TLM_ERR_FORMAT, "9 dimensions");
    for (uint64_t type = 8; type < 15; type++) { /* blocks of 32 or 256 elements */
        bytes = begin(3, 1, 0);
        put_tensor(&bytes, "t", 255, type == 9 ? 3 : type, 0);
        bytes.size += 1000;
        assert_refused(&bytes, TLM_ERR_FORMAT, "rows of 255 elements, which are no whole blocks");
    }
    bytes = begin(3, 1, 0);
    put_tensor(&bytes, "t", 256, 8, 0);
    bytes.size = (bytes.size + 31) / 32 * 32 + 271; /* one byte too few */
    assert_refused(&bytes, TLM_ERR_FORMAT, "'t' has 272 bytes at offset 0 of 271");
    bytes = begin(3, 1, 0);
    put_tensor(&bytes, "t", UINT64_C(1) << 62, 8, 0);
    bytes.size += 1000;
    assert_refused(&bytes, TLM_ERR_FORMAT, "'t'");
    bytes = begin(3, 1, 1);
    put_text(&bytes, "general.alignment");
    put(&bytes, TLMI_GGUF_UINT64, 4);
    put(&bytes, UINT64_C(1) << 63, 8);
    put_tensor(&bytes, "t", 32, 8, 0);
    assert_refused(&bytes, TLM_ERR_FORMAT, "power of two");
}
END_TEST

/* Each beginning of a file is refused, and makes nothing. */
START_TEST(cut_files_are_refused)
{
    tlm_model_t *model = make_model(true), *opened = NULL;
    tlm_tokenizer_t *tokenizer = make_tokenizer(NULL, "<|pad|>"), *other = NULL;
    unsigned char *bytes;
    size_t size;

    ASSERT_OK(tlm_model_save_gguf(model, tokenizer, test_path("m"), NULL));
    bytes = read_bytes(test_path("m"), &size);
    for (size_t cut = 0; cut < size; cut += 1 + cut / 97) {
        write_bytes(test_path("cut"), bytes, cut);
        ck_assert_int_ne(tlm_model_open(&opened, &other, NULL, test_path("cut")), TLM_OK);
        ck_assert(opened == NULL && other == NULL);
    }
    free(bytes);
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}
END_TEST

/* Replaces the first bytes `from` by as many others. */
static void change(const char *from, const char *to)
{
    size_t size, length = strlen(from);
    unsigned char *bytes = read_bytes(test_path("m"), &size),
                  *at = memmem(bytes, size, from, length);

    ck_assert_ptr_nonnull(at);
    ck_assert_uint_eq(length, strlen(to));
    memcpy(at, to, length);
    write_bytes(test_path("changed"), bytes, size);
    free(bytes);
}

START_TEST(other_models_are_refused)
{
    static const struct {
        const char *from, *to, *text;
        tlm_status_t code;
    } cases[] = {
        {"general.architecture", "general.brchitecture", "general.architecture", TLM_ERR_FORMAT},
        {"llama\x0c", "qwenX\x0c", "qwenX, not llama", TLM_ERR_UNSUPPORTED},
        {"llama\x0c", "qwen2\x0c", "no 'qwen2.context_length'", TLM_ERR_FORMAT},
        {"llama.context_length", "llama.sliding_window", "'llama.sliding_window' is not supported",
         TLM_ERR_UNSUPPORTED},
        {"llama.block_count", "other.block_count", "no 'llama.block_count'", TLM_ERR_FORMAT},
        {"general.file_type", "blamalgen.vocab.x", NULL, TLM_OK},
        {"blk.1.attn_k.weight", "blk.2.attn_k.weight", "'blk.2.attn_k.weight' is not one of",
         TLM_ERR_UNSUPPORTED},
        {"blk.1.attn_k.weight", "blk.0.attn_k.weight", "appears twice", TLM_ERR_FORMAT},
        {"blk.1.attn_k.weight", "blk.1.attn_q.weight", "appears twice", TLM_ERR_FORMAT},
        {"blk.1.attn_k.weight", "blk.01.attn_k.weigh", "is not one of the model's",
         TLM_ERR_UNSUPPORTED},
        {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "appears twice", TLM_ERR_FORMAT},
        {"token_embd.weight", "token_typo.weight", "no tensor 'token_embd.weight'", TLM_ERR_FORMAT},
        {"tokenizer.ggml.pre", "tokenizer.ggml.xxx", "'tokenizer.ggml.pre' is missing",
         TLM_ERR_UNSUPPORTED},
        {"gpt-2", "gpt-9", "gpt-9", TLM_ERR_UNSUPPORTED},
        {"gpt2", "rwkv", "rwkv, which is not supported", TLM_ERR_UNSUPPORTED},
        {"tokenizer.ggml.tokens", "tokenizer.ggml.tokenz", "'tokenizer.ggml.tokens' is not",
         TLM_ERR_FORMAT},
        {"tokenizer.ggml.merges", "tokenizer.ggml.mergez", "'tokenizer.ggml.merges' is not",
         TLM_ERR_FORMAT},
        {"t h", "t  ", "merge 0", TLM_ERR_FORMAT},
        {"t h", "t x", "merge", TLM_ERR_FORMAT},
    };
    tlm_model_t *model = make_model(false), *opened = NULL;
    tlm_tokenizer_t *tokenizer = make_tokenizer(NULL, "<|pad|>"), *other = NULL;

    ASSERT_OK(tlm_model_save_gguf(model, tokenizer, test_path("m"), NULL));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        change(cases[i].from, cases[i].to);
        if (cases[i].text == NULL) {
            ASSERT_OK(tlm_model_open(&opened, &other, NULL, test_path("changed")));
            tlm_model_free(opened);
            tlm_tokenizer_free(other);
            opened = NULL;
            other = NULL;
            continue;
        }
        ASSERT_FAILS(cases[i].code, cases[i].text,
                     tlm_model_open(&opened, &other, NULL, test_path("changed")));
        ck_assert(opened == NULL && other == NULL);
    }
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}
END_TEST

/* A model without RoPE has no factors of its angles. */
START_TEST(factors_without_rope_are_refused)
{
    tlm_model_options_t options = tiny;
    tlm_model_t *model, *opened = NULL;

    set_gpt2_blocks(&options);
    ASSERT_OK(tlm_model_create(&model, &options));
    ASSERT_OK(tlm_model_save_gguf(model, NULL, test_path("m"), NULL));
    change("blk.0.ffn_up.bias", "rope_freqs.weight");
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "'rope_freqs.weight' is not one of the model's",
                 tlm_model_open(&opened, NULL, NULL, test_path("changed")));
    ck_assert_ptr_null(opened);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gguf");
    TCase *tcase = tcase_create("gguf");
    int failed;

    tcase_add_test(tcase, what_is_saved_is_opened);
    tcase_add_test(tcase, weights_of_16_bits_are_those_of_folders);
    tcase_add_test(tcase, what_has_no_name_is_refused);
    tcase_add_test(tcase, values_of_all_types_are_read);
    tcase_add_test(tcase, hostile_files_are_refused);
    tcase_add_test(tcase, cut_files_are_refused);
    tcase_add_test(tcase, other_models_are_refused);
    tcase_add_test(tcase, factors_without_rope_are_refused);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
