/* Stop strings and the text of generated tokens, against a naive search in the whole text. The
 * callback on logits plays scripts of random tokens, so that strings are cut in every way. */
#include "reference_model.h"
#include "run_suite.h"

enum { BYTES = 256, MANY = 24, VOCAB = BYTES + MANY, MOST_TOKENS = 40, MOST_BYTES = 1000 };

/* ---- A tokenizer and a model -------------------------------------------------------------- */

/* Tokens of several bytes; some are parts of characters. */
static const char *const pieces[MANY] = {
    "ab",
    "ba",
    "aab",
    "abab",
    "bb",
    "\n\n",
    "a\n",
    "\nb",
    "\xC3",
    "\xA9",
    "\xC3\xA9",
    "\xE2\x82\xAC",
    "\xE2\x82",
    "\xAC\xE2",
    "a\xC3",
    "\xA9"
    "b",
    "END",
    "EN",
    "DE",
    "<|",
    "|>",
    "\xF0\x9F\x98",
    "\x80\x80",
    "abc",
};

static tlm_tokenizer_t *make_tokenizer(void)
{
    static uint8_t bytes[BYTES];
    tlm_bytes_t vocab[VOCAB];
    tlm_tokenizer_t *tokenizer;

    for (size_t i = 0; i < BYTES; i++) {
        bytes[i] = (uint8_t)i;
        vocab[i] = (tlm_bytes_t){&bytes[i], 1};
    }
    for (size_t i = 0; i < MANY; i++)
        vocab[BYTES + i] = (tlm_bytes_t){(const uint8_t *)pieces[i], strlen(pieces[i])};
    for (size_t i = 0; i < MANY; i++) /* "\xC3" and "\xA9" are bytes already: holes here */
        if (vocab[BYTES + i].size == 1)
            vocab[BYTES + i].size = 0;
    ASSERT_OK(tlm_tokenizer_create(&tokenizer, vocab, VOCAB, NULL, 0, NULL));
    return tokenizer;
}

static tlm_model_t *make_model(void)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    options.vocab_size = VOCAB;
    options.context_length = 256;
    options.d_model = 4;
    options.num_layers = 1;
    options.num_heads = 1;
    options.d_ff = 4;
    options.seed = 5;
    ASSERT_OK(tlm_model_create(&model, &options));
    return model;
}

/* ---- Scripts ------------------------------------------------------------------------------ */

typedef struct script {
    uint32_t ids[MOST_TOKENS];
    size_t n;
    uint8_t text[MOST_BYTES]; /* the bytes of all tokens */
    size_t size;
    size_t ends[MOST_TOKENS]; /* of each token in the text */
} script_t;

static uint64_t state;

static uint32_t below(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % n);
}

/* Few letters, so that stops occur and nearly occur. */
static void write_script(script_t *script)
{
    static const char letters[] = "ab\nE\xC3\xA9";

    script->size = 0;
    script->n = 1 + below(MOST_TOKENS);
    for (size_t i = 0; i < script->n; i++) {
        const uint32_t piece = below(MANY);
        const bool whole = below(2) == 0;
        const char *bytes = whole ? pieces[piece] : NULL;
        const uint8_t letter = (uint8_t)letters[below(sizeof(letters) - 1)];

        script->ids[i] = whole ? BYTES + piece : letter;
        if (whole && strlen(bytes) == 1)
            bytes = ""; /* a hole has no text */
        if (bytes != NULL)
            memcpy(script->text + script->size, bytes, strlen(bytes));
        else
            script->text[script->size] = letter;
        script->size += bytes != NULL ? strlen(bytes) : 1;
        script->ends[i] = script->size;
    }
}

/* Mostly parts of the text, some of them changed at the end, some with others inside. */
static size_t write_stops(tlm_bytes_t *stops, uint8_t (*room)[12], const script_t *script)
{
    const size_t count = 1 + below(5);

    for (size_t i = 0; i < count; i++) {
        const size_t length = 1 + below(below(2) == 0 ? 3 : 12);
        const bool fits = script->size > length;
        const size_t at = fits ? below((uint32_t)(script->size - length)) : 0;

        for (size_t k = 0; k < length; k++)
            room[i][k] = fits ? script->text[at + k] : (uint8_t) "ab"[below(2)];
        if (below(2) == 0)
            room[i][length - 1] = (uint8_t) "abE\n\xA9"[below(5)];
        stops[i] = (tlm_bytes_t){room[i], length};
    }
    return count;
}

static int32_t play(void *user, size_t sequence, const uint32_t *ids, size_t n, float *logits,
                    size_t vocab_size, uint32_t *token)
{
    const script_t *script = user;

    (void)sequence;
    (void)logits;
    ck_assert_uint_eq(vocab_size, VOCAB);
    ck_assert_uint_lt(n, script->n);
    ck_assert(n == 0 || memcmp(ids, script->ids, n * sizeof(*ids)) == 0);
    *token = script->ids[n];
    return 0;
}

/* ---- The naive way ------------------------------------------------------------------------ */

/* Where the first stop begins in the text; `size` if there is none. */
static size_t find_stop(const uint8_t *text, size_t size, const tlm_bytes_t *stops, size_t count)
{
    for (size_t at = 0; at < size; at++)
        for (size_t i = 0; i < count; i++)
            if (size - at >= stops[i].size && memcmp(text + at, stops[i].data, stops[i].size) == 0)
                return at;
    return size;
}

/* Where a stop begins or may begin, if more text comes. */
static size_t find_possible(const uint8_t *text, size_t size, const tlm_bytes_t *stops,
                            size_t count)
{
    for (size_t at = 0; at < size; at++)
        for (size_t i = 0; i < count; i++) {
            const size_t left = size - at, n = left < stops[i].size ? left : stops[i].size;

            if (memcmp(text + at, stops[i].data, n) == 0)
                return at;
        }
    return size;
}

static size_t count_tokens(const script_t *script, size_t n, size_t size)
{
    while (n > 0 && script->ends[n - 1] > size)
        n--;
    return n;
}

static void assert_text(const char *text, size_t size, const uint8_t *bytes, size_t n)
{
    char *expected;
    size_t length;

    ASSERT_OK(tlm_utf8_sanitize(&expected, &length, bytes, n));
    ck_assert_uint_eq(size, length);
    ck_assert(memcmp(text, expected, length + 1) == 0);
    tlm_free(expected);
}

/* Checks a sequence after `steps` steps. Half a character at the end of what is certain may be
 * held, so only its whole characters are compared. */
static void check_running(const tlm_generator_t *generator, size_t sequence, const script_t *script,
                          size_t steps, const tlm_bytes_t *stops, size_t count)
{
    const size_t size = steps == 0 ? 0 : script->ends[steps - 1];
    size_t certain = find_possible(script->text, size, stops, count), n, whole;
    const uint32_t *ids;
    const char *text;

    ASSERT_OK(tlm_generator_tokens(&ids, NULL, &n, generator, sequence));
    ck_assert_uint_eq(n, count == 0 ? steps : count_tokens(script, steps, certain));
    ASSERT_OK(tlm_generator_text(&text, &whole, generator, sequence));
    for (size_t held = 0; held < 4 && held <= certain; held++) {
        char *expected;
        size_t length;

        ASSERT_OK(tlm_utf8_sanitize(&expected, &length, script->text, certain - held));
        const bool same = length == whole && memcmp(text, expected, length) == 0;
        tlm_free(expected);
        if (same)
            return;
        ck_assert_msg(held < 3, "%zu tokens: \"%s\"", steps, text);
    }
}

static void check_ended(tlm_generator_t *generator, size_t sequence, const script_t *script,
                        const tlm_bytes_t *stops, size_t count)
{
    const size_t cut = find_stop(script->text, script->size, stops, count);
    const bool stopped = cut < script->size;
    const uint32_t *ids, *context;
    const char *text;
    int32_t ended;
    size_t n, all;

    ASSERT_OK(tlm_generator_state(&ended, generator, sequence));
    ck_assert_int_eq(ended, stopped ? TLM_GENERATION_STOP : TLM_GENERATION_LENGTH);
    ASSERT_OK(tlm_generator_tokens(&ids, NULL, &n, generator, sequence));
    ck_assert_uint_eq(n, stopped ? count_tokens(script, script->n, cut) : script->n);
    ck_assert(n == 0 || memcmp(ids, script->ids, n * sizeof(*ids)) == 0);
    ASSERT_OK(tlm_generator_context(&context, &all, generator, sequence));
    ck_assert(all == n + 1 && memcmp(context + 1, ids, n * sizeof(*ids)) == 0);
    ASSERT_OK(tlm_generator_text(&text, &n, generator, sequence));
    assert_text(text, n, script->text, cut);
}

/* ---- Tests -------------------------------------------------------------------------------- */

START_TEST(text_is_cut_where_the_first_stop_begins)
{
    tlm_tokenizer_t *tokenizer = make_tokenizer();
    tlm_model_t *model = make_model();
    const uint32_t prompt = 'x';
    size_t stopped = 0;

    state = (uint64_t)_i + 1;
    for (int round = 0; round < 400; round++) {
        tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
        tlm_generator_t *generator;
        uint8_t room[5][12];
        tlm_bytes_t stops[5];
        script_t script;
        size_t sequence, running = 1, steps = 0;

        write_script(&script);
        options.max_tokens = (int64_t)script.n;
        options.tokenizer = tokenizer;
        options.stop_strings = stops;
        options.num_stop_strings = round % 7 == 0 ? 0 : write_stops(stops, room, &script);
        options.on_logits = play;
        options.logits_user = &script;
        ASSERT_OK(tlm_generator_create(&generator, model));
        ASSERT_OK(tlm_generator_add(&sequence, generator, &prompt, 1, &options));
        while (running > 0) {
            check_running(generator, sequence, &script, steps, stops, options.num_stop_strings);
            ASSERT_OK(tlm_generator_step(&running, generator));
            steps++;
        }
        stopped += steps < script.n;
        check_ended(generator, sequence, &script, stops, options.num_stop_strings);
        tlm_generator_free(generator);
    }
    ck_assert_uint_gt(stopped, 100); /* it does stop early */
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}
END_TEST

typedef struct reader {
    char text[MOST_BYTES];
    size_t size, calls, most_calls;
} reader_t;

static int32_t read_text(void *user, const char *text, size_t size)
{
    reader_t *reader = user;

    ck_assert_uint_gt(size, 0);
    memcpy(reader->text + reader->size, text, size);
    reader->size += size;
    return ++reader->calls == reader->most_calls;
}

/* "ENDE": "END" begins first, but "ND" is complete first in "EN" "D"; a longer one may still
 * win. */
START_TEST(one_call_gives_text_and_reason)
{
    static const struct {
        const char *text, *stops[3], *expected;
    } cases[] = {
        {"ab END ab", {"ND", "END"}, "ab "},
        {"ab END", {"D a", "EN"}, "ab "},
        {"ab abcdx", {"c", "bcdy", "abcdz"}, "ab ab"},
        {"aaab", {"aab"}, "a"},
        {"abab", {"abab"}, ""},
        {"aaaa", {"a", "aa", "aaaa"}, ""},
        {"caf\xC3\xA9!", {"\xA9!"}, "caf\xEF\xBF\xBD"},
        {"caf\xC3\xA9!", {"\xC3"}, "caf"},
        {"a\nb\n\n", {"\n\n"}, "a\nb"},
        {"abc", {"abcd", "bce", "cd"}, "abc"},
    };
    tlm_tokenizer_t *tokenizer = make_tokenizer();
    tlm_model_t *model = make_model();
    const uint32_t prompt = 'x';

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
        reader_t reader = {.size = 0};
        script_t script = {.n = strlen(cases[i].text)};
        tlm_bytes_t stops[3];
        int32_t reason;
        char *text;
        size_t size;

        for (size_t k = 0; k < script.n; k++)
            script.ids[k] = (uint8_t)cases[i].text[k];
        for (; options.num_stop_strings < 3; options.num_stop_strings++) {
            const char *stop = cases[i].stops[options.num_stop_strings];

            if (stop == NULL)
                break;
            stops[options.num_stop_strings] = (tlm_bytes_t){(const uint8_t *)stop, strlen(stop)};
        }
        options.max_tokens = (int64_t)script.n;
        options.tokenizer = tokenizer;
        options.stop_strings = stops;
        options.on_logits = play;
        options.logits_user = &script;
        ASSERT_OK(tlm_model_generate_text(&text, &size, &reason, model, &prompt, 1, &options,
                                          read_text, &reader));
        ck_assert_str_eq(text, cases[i].expected);
        ck_assert(size == strlen(text) && reader.size == size);
        ck_assert(memcmp(reader.text, text, size) == 0);
        ck_assert_int_eq(reason, strcmp(text, cases[i].text) == 0 ? TLM_GENERATION_LENGTH
                                                                  : TLM_GENERATION_STOP);
        tlm_free(text);
        reader = (reader_t){.most_calls = 1};
        options.num_stop_strings = 0;
        ASSERT_OK(tlm_model_generate_text(&text, &size, &reason, model, &prompt, 1, &options,
                                          read_text, &reader));
        ck_assert(reason == TLM_GENERATION_CALLBACK && size == 1 && reader.calls == 1);
        tlm_free(text);
    }
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}
END_TEST

/* Stop sequences of ids and stop strings at once: strings count in the text of the tokens that a
 * sequence leaves. */
START_TEST(ids_and_strings_stop_together)
{
    const char *text = "abcdefgh";
    tlm_tokenizer_t *tokenizer = make_tokenizer();
    tlm_model_t *model = make_model();

    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k < 7; k++) {
            tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
            const tlm_bytes_t string = {(const uint8_t *)text + i, 2};
            const uint32_t prompt = 'x', ids[2] = {(uint8_t)text[k], (uint8_t)text[k + 1]};
            const size_t expected = i + 2 <= k ? i : k;
            script_t script = {.n = 8};
            size_t size, n;
            uint32_t *made;
            char *cut;

            for (size_t j = 0; j < 8; j++)
                script.ids[j] = (uint8_t)text[j];
            options.max_tokens = 8;
            options.tokenizer = tokenizer;
            options.stop_strings = &string;
            options.num_stop_strings = 1;
            options.stop_sequences = &(tlm_ids_t){ids, 2};
            options.num_stop_sequences = 1;
            options.on_logits = play;
            options.logits_user = &script;
            ASSERT_OK(tlm_model_generate_text(&cut, &size, NULL, model, &prompt, 1, &options, NULL,
                                              NULL));
            ck_assert_uint_eq(size, expected);
            ck_assert(memcmp(cut, text, size) == 0);
            tlm_free(cut);
            ASSERT_OK(tlm_model_generate(&made, &n, model, &prompt, 1, &options, NULL, NULL));
            ck_assert_uint_eq(n, expected);
            tlm_free(made);
        }
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    tlm_tokenizer_t *tokenizer = make_tokenizer();
    tlm_model_t *model = make_model();
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    const tlm_bytes_t stops[2] = {{(const uint8_t *)"a", 1}, {(const uint8_t *)"a", 0}};
    const uint32_t prompt = 'x';
    tlm_generator_t *generator;
    const char *text = NULL;
    char *owned = NULL;
    size_t sequence, size = 77;
    int32_t reason = 77;

    options.num_stop_strings = 2;
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "stop_strings is NULL",
                 tlm_generator_add(&sequence, generator, &prompt, 1, &options));
    options.stop_strings = stops;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "2 stop strings, but no tokenizer",
                 tlm_generator_add(&sequence, generator, &prompt, 1, &options));
    options.tokenizer = tokenizer;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "stop string 1 is empty",
                 tlm_generator_add(&sequence, generator, &prompt, 1, &options));
    options.tokenizer = NULL;
    options.num_stop_strings = 0;
    ASSERT_FAILS(
        TLM_ERR_STATE, "model_generate_text: the options of sequence 0 have no tokenizer",
        tlm_model_generate_text(&owned, &size, &reason, model, &prompt, 1, &options, NULL, NULL));
    ASSERT_FAILS(
        TLM_ERR_INVALID_ARGUMENT, "options is NULL",
        tlm_model_generate_text(&owned, &size, &reason, model, &prompt, 1, NULL, NULL, NULL));
    ASSERT_OK(tlm_generator_add(&sequence, generator, &prompt, 1, &options));
    ASSERT_FAILS(TLM_ERR_STATE, "sequence 0", tlm_generator_text(&text, &size, generator, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "no sequence 1", tlm_generator_text(&text, &size, generator, 1));
    ck_assert(text == NULL && owned == NULL && size == 77 && reason == 77);
    tlm_generator_free(generator);
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stops");
    TCase *tcase = tcase_create("stops");

    tcase_add_loop_test(tcase, text_is_cut_where_the_first_stop_begins, 0, 4);
    tcase_add_test(tcase, one_call_gives_text_and_reason);
    tcase_add_test(tcase, ids_and_strings_stop_together);
    tcase_add_test(tcase, nonsense_is_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
