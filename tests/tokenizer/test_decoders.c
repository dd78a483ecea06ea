/* Decoders against the results of `tokenizers` 0.23.3, whole and in streams; options of decoding;
 * templates around texts. */
#include "tokenizer_support.h"

#include "run_suite.h"
#include "tinylm/encode.h"
#include "tokenizer/tokenizer_core.h"

/* A step of a decoder: a letter and its options. */
typedef struct step {
    char kind;
    const char *a, *b;
    int x, y;
} step_t;

typedef struct spec {
    const char *name;
    const step_t *steps;
    size_t n;
} spec_t;

/* Ids below 256 are bytes, those from 256 on tokens of the pool, and -1 - i is added token i. */
typedef struct decoder_case {
    int spec;
    int byte_alphabet;
    int ids[8];
    int n;
    const char *text;
} case_t;

#include "decoder_cases.h"

#define NUM_SPECS COUNT(specs)

static tlm_bytes_t bytes_of(const char *text)
{
    return (tlm_bytes_t){(const uint8_t *)text, strlen(text)};
}

static uint32_t first_character(const char *text)
{
    uint32_t character;

    ck_assert_int_gt(
        tlmi_utf8_decode(&character, (const uint8_t *)text, (const uint8_t *)text + strlen(text)),
        0);
    return character;
}

static tlm_status_t add_step(tlmi_decoder_t *decoder, const step_t *step)
{
    switch (step->kind) {
    case 'L':
        return tlmi_decoder_add_byte_level(decoder);
    case 'W':
        return tlmi_decoder_add_word_piece(decoder, bytes_of(step->a), step->x != 0);
    case 'M':
        return tlmi_decoder_add_metaspace(decoder, first_character(step->a), step->x != 0);
    case 'B':
        return tlmi_decoder_add_byte_fallback(decoder);
    case 'F':
        return tlmi_decoder_add_fuse(decoder);
    case 'S':
        return tlmi_decoder_add_strip(decoder, first_character(step->a), (size_t)step->x,
                                      (size_t)step->y);
    case 'R':
        return tlmi_decoder_add_replace(decoder, bytes_of(step->a), bytes_of(step->b));
    case 'X':
        return tlmi_decoder_add_replace_regex(decoder, step->a, bytes_of(step->b));
    case 'P':
        return tlmi_decoder_add_bpe(decoder, bytes_of(step->a));
    default:
        return tlmi_decoder_add_spaces(decoder);
    }
}

/* Makes a tokenizer with the bytes, the pool and, if names are spelled in the byte alphabet, the
 * added tokens. */
static tlm_tokenizer_t *make_tokenizer(const spec_t *spec, bool byte_alphabet)
{
    static uint8_t values[256];
    tlm_bytes_t vocab[256 + COUNT(pool)], special[COUNT(added)];
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer;

    for (size_t i = 0; i < 256; i++) {
        values[i] = (uint8_t)i;
        vocab[i] = (tlm_bytes_t){&values[i], 1};
    }
    for (size_t i = 0; i < COUNT(pool); i++)
        vocab[256 + i] = bytes_of(pool[i]);
    for (size_t i = 0; i < COUNT(added); i++)
        special[i] = bytes_of(added[i]);
    if (byte_alphabet) {
        options.special_tokens = special;
        options.num_special_tokens = COUNT(added);
    }
    ASSERT_OK(tlm_tokenizer_create(&tokenizer, vocab, COUNT(vocab), NULL, 0, &options));
    if (spec == NULL)
        return tokenizer;
    ASSERT_OK(tlmi_decoder_create(&tokenizer->decoder, byte_alphabet));
    for (size_t i = 0; i < spec->n; i++)
        ASSERT_OK(add_step(tokenizer->decoder, &spec->steps[i]));
    return tokenizer;
}

static void assert_text(const char *name, const uint32_t *ids, size_t n, const char *text,
                        size_t size, const char *expected, size_t expected_size)
{
    if (size == expected_size && memcmp(text, expected, size) == 0)
        return;
    printf("%s:", name);
    for (size_t i = 0; i < n; i++)
        printf(" %u", ids[i]);
    printf("\n  '%.*s', not '%.*s'\n", (int)size, text, (int)expected_size, expected);
    ck_abort_msg("the text is wrong");
}

static void assert_stream(const char *name, tlm_decoder_t *decoder, bool as_text,
                          const uint32_t *ids, size_t n, const char *expected, size_t expected_size)
{
    char *all = malloc(expected_size + 1);
    size_t at = 0;

    for (size_t i = 0; i <= n; i++) {
        const char *text;
        size_t size;

        if (i < n)
            ASSERT_OK(tlm_decoder_push(&text, &size, decoder, ids[i]));
        else
            ASSERT_OK(tlm_decoder_finish(&text, &size, decoder));
        ck_assert(!as_text || tlmi_utf8_valid((const uint8_t *)text, size));
        ck_assert_uint_le(size, expected_size - at);
        memcpy(all + at, text, size);
        at += size;
    }
    assert_text(name, ids, n, all, at, expected, expected_size);
    free(all);
}

START_TEST(texts_are_those_of_the_reference)
{
    for (int byte_alphabet = 0; byte_alphabet < 2; byte_alphabet++) {
        const spec_t *spec = &specs[_i];
        tlm_tokenizer_t *tokenizer = make_tokenizer(spec, byte_alphabet);
        tlm_decoder_t *decoder;

        ASSERT_OK(tlm_decoder_create(&decoder, tokenizer));
        for (size_t i = 0; i < COUNT(cases); i++) {
            const case_t *one = &cases[i];
            uint32_t ids[8];
            char *text;
            size_t size, n = (size_t)one->n;

            if (one->spec != _i || one->byte_alphabet != byte_alphabet)
                continue;
            for (size_t k = 0; k < n; k++)
                if (one->ids[k] >= 0)
                    ids[k] = (uint32_t)one->ids[k];
                else
                    ASSERT_OK(tlm_tokenizer_special_token(&ids[k], tokenizer,
                                                          (uint32_t)(-1 - one->ids[k])));
            ASSERT_OK(tlm_tokenizer_decode_text(&text, &size, tokenizer, ids, n));
            assert_text(spec->name, ids, n, text, size, one->text, strlen(one->text));
            assert_stream(spec->name, decoder, true, ids, n, one->text, strlen(one->text));
            tlm_free(text);
        }
        tlm_decoder_free(decoder);
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

/* Rows of random ids, whatever they mean: streams, options and batches agree with the whole. */
START_TEST(streams_and_batches_agree_with_whole_texts)
{
    enum { ROWS = 300, MOST = 40 };
    test_random_t random = {91, (uint64_t)_i << 32};

    for (int byte_alphabet = 0; byte_alphabet < 2; byte_alphabet++) {
        tlm_tokenizer_t *tokenizer = make_tokenizer(&specs[_i], byte_alphabet);
        tlm_decode_options_t options = TLM_DECODE_OPTIONS_INIT;
        uint32_t ids[ROWS][MOST];
        tlm_ids_t rows[ROWS];
        tlm_decoder_t *decoder;
        uint8_t *bytes;
        size_t *offsets;

        for (size_t i = 0; i < ROWS; i++) {
            size_t kinds = 1 + draw(&random, 20);

            rows[i] = (tlm_ids_t){ids[i], draw(&random, MOST)};
            for (size_t k = 0; k < rows[i].n; k++)
                ids[i][k] = draw(&random, 8) == 0
                                ? (uint32_t)draw(&random, tlm_tokenizer_vocab_size(tokenizer))
                                : 256 + (uint32_t)(i + draw(&random, kinds)) % COUNT(pool);
        }
        options.as_text = true;
        ASSERT_OK(tlm_decoder_create(&decoder, tokenizer));
        ASSERT_OK(tlm_tokenizer_decode_batch(&bytes, &offsets, tokenizer, rows, ROWS, &options));
        for (size_t i = 0; i < ROWS; i++) {
            char *text;
            size_t size;

            ASSERT_OK(tlm_tokenizer_decode_text(&text, &size, tokenizer, ids[i], rows[i].n));
            assert_text("batch", ids[i], rows[i].n, (char *)bytes + offsets[i],
                        offsets[i + 1] - offsets[i], text, size);
            assert_stream(specs[_i].name, decoder, true, ids[i], rows[i].n, text, size);
            tlm_free(text);
        }
        tlm_free(bytes);
        tlm_free(offsets);
        tlm_decoder_free(decoder);
        options.as_text = false;
        options.skip_special_tokens = _i % 2 == 0;
        ASSERT_OK(tlm_decoder_create_with(&decoder, tokenizer, &options));
        for (size_t i = 0; i < ROWS; i++) {
            size_t size;

            ASSERT_OK(
                tlm_tokenizer_decode_with(&bytes, &size, tokenizer, ids[i], rows[i].n, &options));
            assert_stream(specs[_i].name, decoder, false, ids[i], rows[i].n, (char *)bytes, size);
            tlm_free(bytes);
        }
        tlm_decoder_free(decoder);
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

static const spec_t *find_spec(const char *name)
{
    for (size_t i = 0; i < NUM_SPECS; i++)
        if (strcmp(specs[i].name, name) == 0)
            return &specs[i];
    ck_abort_msg("no decoder is called %s", name);
    return NULL;
}

START_TEST(bytes_stay_bytes)
{
    static const char *const tokens[] = {"\xE2\x96\x81"
                                         "a",
                                         "<0xE5>",
                                         "<0x8F>",
                                         "\xE2\x96\x81",
                                         "<0xF0>",
                                         "<0x9F>"};
    tlm_tokenizer_t *tokenizer = make_tokenizer(find_spec("llama"), false);
    uint32_t ids[COUNT(tokens)];
    uint8_t *bytes;
    char *text;
    size_t size;

    for (size_t i = 0; i < COUNT(ids); i++)
        ids[i] = id_of(tokenizer, bytes_of(tokens[i]));
    ASSERT_OK(tlm_tokenizer_decode(&bytes, &size, tokenizer, ids, COUNT(ids)));
    assert_text("bytes", ids, COUNT(ids), (char *)bytes, size, "a\xE5\x8F \xF0\x9F", 6);
    tlm_free(bytes);
    ASSERT_OK(tlm_tokenizer_decode_text(&text, &size, tokenizer, ids, COUNT(ids)));
    ck_assert_str_eq(text, "a\uFFFD\uFFFD \uFFFD\uFFFD");
    tlm_free(text);
    tlm_tokenizer_free(tokenizer);

    tokenizer = make_tokenizer(find_spec("byte_level_first"), true);
    ids[0] = 0xE5;
    ids[1] = 'a';
    ASSERT_OK(tlm_tokenizer_decode(&bytes, &size, tokenizer, ids, 2));
    assert_text("bytes", ids, 2, (char *)bytes, size,
                "\xE5"
                "a",
                2);
    tlm_free(bytes);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* A stream holds back no more than it must. */
START_TEST(streams_give_text_as_soon_as_it_is_certain)
{
    static const struct {
        const char *token, *text;
    } pushes[] = {
        {"\xE2\x96\x81"
         "a",
         "a"},
        {"\xE2\x96\x81", " "},
        {"<0xE5>", ""},
        {"<0x8F>", ""},
        {"<0xab>", ""}, /* might become three U+FFFD */
        {"\xE2\x96\x81", "\u53EB "},
        {"<0xE5>", ""},
        {"<0xF0>", "\uFFFD\uFFFD"},
        {"<0x9F>", "\uFFFD"},
        {"aa", "aa"},
    };
    tlm_tokenizer_t *tokenizer = make_tokenizer(find_spec("llama"), false);
    tlm_decoder_t *decoder;
    const char *text;
    size_t size;

    ASSERT_OK(tlm_decoder_create(&decoder, tokenizer));
    for (size_t i = 0; i < COUNT(pushes); i++) {
        ASSERT_OK(
            tlm_decoder_push(&text, &size, decoder, id_of(tokenizer, bytes_of(pushes[i].token))));
        ck_assert_str_eq(text, pushes[i].text);
    }
    ASSERT_FAILS(TLM_ERR_RANGE, "99999", tlm_decoder_push(&text, &size, decoder, 99999));
    ASSERT_OK(tlm_decoder_finish(&text, &size, decoder));
    ck_assert_str_eq(text, "");
    tlm_decoder_free(decoder);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(special_tokens_can_be_skipped)
{
    for (int with_decoder = 0; with_decoder < 2; with_decoder++) {
        tlm_tokenizer_t *tokenizer =
            make_tokenizer(with_decoder ? find_spec("byte_level") : NULL, true);
        uint32_t ids[] = {id_of(tokenizer, BYTES("<s>")), 'x', id_of(tokenizer, BYTES("a b")), 'y'};
        tlm_ids_t rows[] = {{ids, 4}, {ids, 1}, {NULL, 0}, {ids + 1, 3}};
        tlm_ids_t bad[] = {{ids, 1}, {ids + 2, 2}, {NULL, 0}, {ids + 1, 3}};
        tlm_decode_options_t options = TLM_DECODE_OPTIONS_INIT;
        uint8_t *bytes;
        size_t size, *offsets;

        ASSERT_OK(tlm_tokenizer_decode_with(&bytes, &size, tokenizer, ids, 4, &options));
        ck_assert_str_eq((char *)bytes, "<s>xa by");
        tlm_free(bytes);
        ASSERT_OK(tlm_tokenizer_decode_with(&bytes, &size, tokenizer, ids, 4, NULL));
        ck_assert_str_eq((char *)bytes, "<s>xa by");
        tlm_free(bytes);
        options.skip_special_tokens = true;
        ASSERT_OK(tlm_tokenizer_decode_with(&bytes, &size, tokenizer, ids, 4, &options));
        ck_assert_str_eq((char *)bytes, "xy");
        ck_assert_uint_eq(size, 2);
        tlm_free(bytes);
        ASSERT_OK(tlm_tokenizer_decode_batch(&bytes, &offsets, tokenizer, rows, 4, &options));
        ck_assert_str_eq((char *)bytes, "xyxy");
        ck_assert_uint_eq(offsets[1], 2);
        ck_assert_uint_eq(offsets[3], 2);
        tlm_free(bytes);
        tlm_free(offsets);
        tlm_decoder_t *decoder;
        const char *piece;
        ASSERT_OK(tlm_decoder_create_with(&decoder, tokenizer, &options));
        ASSERT_OK(tlm_decoder_push(&piece, &size, decoder, ids[0]));
        ck_assert_str_eq(piece, "");
        ASSERT_OK(tlm_decoder_push(&piece, &size, decoder, ids[1]));
        ck_assert_str_eq(piece, "x");
        tlm_decoder_free(decoder);
        ids[1] = 99999;
        ASSERT_FAILS(TLM_ERR_RANGE, "99999 at position 1",
                     tlm_tokenizer_decode_with(&bytes, &size, tokenizer, ids, 4, &options));
        ASSERT_FAILS(TLM_ERR_RANGE, "99999 at position 0 of row 3",
                     tlm_tokenizer_decode_batch(&bytes, &offsets, tokenizer, bad, 4, &options));
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

START_TEST(positions_need_the_bytes_of_tokens)
{
    tlm_tokenizer_t *tokenizer = make_tokenizer(find_spec("word_piece"), false);
    uint32_t ids[] = {'a'};
    size_t places[2];

    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "tokenizer_offsets: this tokenizer's text",
                 tlm_tokenizer_offsets(places, tokenizer, ids, 1));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "tokenizer_character_spans",
                 tlm_tokenizer_character_spans(places, tokenizer, ids, 1));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(broken_decoders_are_refused)
{
    tlmi_decoder_t *decoder;

    ASSERT_OK(tlmi_decoder_create(&decoder, true));
    ck_assert(!tlmi_decoder_is_byte_level(decoder));
    ASSERT_OK(tlmi_decoder_add_byte_level(decoder));
    ck_assert(tlmi_decoder_is_byte_level(decoder));
    ASSERT_FAILS(TLM_ERR_REGEX, "",
                 tlmi_decoder_add_replace_regex(decoder, "(", bytes_of("some content")));
    for (int i = 1; i < TLMI_MAX_DECODER_STEPS; i++)
        ASSERT_OK(tlmi_decoder_add_replace(decoder, bytes_of("a"), bytes_of("")));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "64", tlmi_decoder_add_fuse(decoder));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "64",
                 tlmi_decoder_add_replace_regex(decoder, "a", bytes_of("b")));
    tlmi_decoder_free(decoder);
    tlmi_decoder_free(NULL);
}
END_TEST

/* ---- Templates ---- */

/* Encodes a text of some size and compares with the ids without the template, on any number of
 * threads. */
static void check_template(const tlm_tokenizer_t *tokenizer, const char *data, size_t size,
                           size_t num_before, size_t num_after)
{
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    const tlmi_template_t *around = tokenizer->template;
    uint32_t *plain, *ids;
    size_t num_plain, n;

    ASSERT_OK(tlm_tokenizer_encode_with(&plain, &num_plain, tokenizer, data, size, &options));
    options.add_special_tokens = true;
    ASSERT_OK(tlm_tokenizer_encode_with(&ids, &n, tokenizer, data, size, &options));
    ck_assert_uint_eq(n, num_plain + num_before + num_after);
    for (size_t i = 0; i < num_before; i++)
        ck_assert_uint_eq(ids[i], around->before[i]);
    if (num_plain > 0)
        ck_assert_int_eq(memcmp(ids + num_before, plain, num_plain * sizeof(*ids)), 0);
    for (size_t i = 0; i < num_after; i++)
        ck_assert_uint_eq(ids[num_before + num_plain + i], around->after[i]);
    tlm_free(plain);
    tlm_free(ids);
}

START_TEST(templates_surround_texts)
{
    static const struct {
        uint32_t before[2];
        size_t num_before;
        uint32_t after[3];
        size_t num_after;
    } shapes[] = {{{300, 301}, 2, {302, 302, 303}, 3},
                  {{300, 0}, 1, {0, 0, 0}, 0},
                  {{0, 0}, 0, {299, 0, 0}, 1},
                  {{0, 0}, 0, {0, 0, 0}, 0}};
    enum { LONG = 300000 };
    char *text = malloc(LONG);
    test_random_t random = {92, 0};

    for (size_t i = 0; i < LONG; i++)
        text[i] = "ab x.\n"[draw(&random, 6)];
    for (size_t i = 0; i < COUNT(shapes); i++) {
        tlm_tokenizer_t *tokenizer = make_tokenizer(NULL, true);

        ASSERT_OK(tlmi_template_create(&tokenizer->template, shapes[i].before, shapes[i].num_before,
                                       shapes[i].after, shapes[i].num_after));
        for (int threads = 1; threads <= 3; threads++) {
            ASSERT_OK(tlm_set_num_threads(threads));
            check_template(tokenizer, text, 0, shapes[i].num_before, shapes[i].num_after);
            check_template(tokenizer, text, 100, shapes[i].num_before, shapes[i].num_after);
            check_template(tokenizer, text, LONG, shapes[i].num_before, shapes[i].num_after);
        }
        tlm_tokenizer_free(tokenizer);
    }
    ASSERT_OK(tlm_set_num_threads(0));
    free(text);
}
END_TEST

START_TEST(templates_surround_every_text_of_a_batch)
{
    static const uint32_t before[] = {300}, after[] = {301, 302};
    enum { TEXTS = 40 };
    static char data[100000];
    tlm_tokenizer_t *tokenizer = make_tokenizer(NULL, true);
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    tlm_bytes_t texts[TEXTS];
    uint32_t *ids;
    size_t *offsets;

    memset(data, 'a', sizeof(data));
    for (size_t i = 0; i < TEXTS; i++)
        texts[i] = (tlm_bytes_t){(uint8_t *)data, i == 7 ? sizeof(data) : i % 5 * 3};
    ASSERT_OK(tlmi_template_create(&tokenizer->template, before, 1, after, 2));
    options.add_special_tokens = true;
    for (int threads = 1; threads <= 3; threads += 2) {
        ASSERT_OK(tlm_set_num_threads(threads));
        ASSERT_OK(tlm_tokenizer_encode_batch(&ids, &offsets, tokenizer, texts, TEXTS, &options));
        for (size_t i = 0; i < TEXTS; i++) {
            const uint32_t *one = ids + offsets[i];
            uint32_t *plain;
            size_t n = offsets[i + 1] - offsets[i], num_plain;

            ASSERT_OK(
                tlm_tokenizer_encode(&plain, &num_plain, tokenizer, texts[i].data, texts[i].size));
            ck_assert_uint_eq(n, num_plain + 3);
            ck_assert_uint_eq(one[0], 300);
            for (size_t k = 0; k < num_plain; k++)
                ck_assert_uint_eq(one[1 + k], plain[k]);
            ck_assert_uint_eq(one[n - 2], 301);
            ck_assert_uint_eq(one[n - 1], 302);
            tlm_free(plain);
        }
        tlm_free(ids);
        tlm_free(offsets);
    }
    ASSERT_OK(tlm_set_num_threads(0));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(truncation_keeps_the_template)
{
    static const uint32_t before[] = {300}, after[] = {301, 302};
    tlm_tokenizer_t *tokenizer = make_tokenizer(NULL, true);
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    tlm_pad_options_t pad = TLM_PAD_OPTIONS_INIT;
    tlm_bytes_t texts[] = {BYTES("xyzw"), BYTES(""), BYTES("x")};
    uint32_t *ids;
    uint8_t *mask;
    size_t *lengths, length;

    ASSERT_OK(tlmi_template_create(&tokenizer->template, before, 1, after, 2));
    options.add_special_tokens = true;
    pad.max_length = 5;
    for (int32_t side = TLM_SIDE_RIGHT; side <= TLM_SIDE_LEFT; side++) {
        const uint32_t right[] = {300, 'x', 'y', 301, 302, 300, 301, 302,
                                  0,   0,   300, 'x', 301, 302, 0};
        const uint32_t left[] = {300, 'z', 'w', 301, 302, 0,   0,  300,
                                 301, 302, 0,   300, 'x', 301, 302};

        pad.cut_side = pad.pad_side = side;
        ASSERT_OK(tlm_tokenizer_encode_padded(&ids, &mask, &lengths, &length, tokenizer, texts, 3,
                                              &options, &pad));
        ck_assert_uint_eq(length, 5);
        ck_assert_int_eq(memcmp(ids, side == TLM_SIDE_RIGHT ? right : left, sizeof(right)), 0);
        ck_assert_uint_eq(lengths[0], 5);
        ck_assert_uint_eq(lengths[1], 3);
        ck_assert_uint_eq(lengths[2], 4);
        tlm_free(ids);
        tlm_free(mask);
        tlm_free(lengths);
    }
    pad.max_length = 2;
    ASSERT_FAILS(TLM_ERR_RANGE, "max_length 2 is less than the 3 special tokens",
                 tlm_tokenizer_encode_padded(&ids, NULL, NULL, &length, tokenizer, texts, 3,
                                             &options, &pad));
    pad.max_length = 3;
    ASSERT_OK(tlm_tokenizer_encode_padded(&ids, NULL, NULL, &length, tokenizer, texts, 1, &options,
                                          &pad));
    ck_assert_uint_eq(length, 3);
    ck_assert_uint_eq(ids[1], 301);
    tlm_free(ids);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decoders");
    TCase *tcase = tcase_create("decoders");

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, texts_are_those_of_the_reference, 0, NUM_SPECS);
    tcase_add_loop_test(tcase, streams_and_batches_agree_with_whole_texts, 0, NUM_SPECS);
    tcase_add_test(tcase, bytes_stay_bytes);
    tcase_add_test(tcase, streams_give_text_as_soon_as_it_is_certain);
    tcase_add_test(tcase, special_tokens_can_be_skipped);
    tcase_add_test(tcase, positions_need_the_bytes_of_tokens);
    tcase_add_test(tcase, broken_decoders_are_refused);
    tcase_add_test(tcase, templates_surround_texts);
    tcase_add_test(tcase, templates_surround_every_text_of_a_batch);
    tcase_add_test(tcase, truncation_keeps_the_template);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
