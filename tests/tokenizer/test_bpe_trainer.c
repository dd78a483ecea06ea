/* BPE training: the merges of the naive trainer, for every way of giving the text and every number
 * of threads; limits and refusals. */
#include "tokenizer_support.h"
#include "run_suite.h"

static tlm_bpe_trainer_t *new_trainer(uint32_t vocab_size, const tlm_bytes_t *specials,
                                      size_t num_specials, uint64_t min_frequency)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;

    options.vocab_size = vocab_size;
    options.special_tokens = specials;
    options.num_special_tokens = num_specials;
    options.min_frequency = min_frequency;
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    return trainer;
}

static tlm_tokenizer_t *train(tlm_bpe_trainer_t *trainer)
{
    tlm_tokenizer_t *tokenizer;

    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    return tokenizer;
}

/* Trains on one text and frees the trainer. */
static tlm_tokenizer_t *train_text(uint32_t vocab_size, tlm_bytes_t text)
{
    tlm_bpe_trainer_t *trainer = new_trainer(vocab_size, NULL, 0, 0);
    tlm_tokenizer_t *tokenizer;

    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text.data, text.size));
    tokenizer = train(trainer);
    tlm_bpe_trainer_free(trainer);
    return tokenizer;
}

/* ---- The merges --------------------------------------------------------------------------------
 */

START_TEST(random_texts_give_the_naive_merges)
{
    test_random_t random = {(uint64_t)_i + 1, 0};

    for (int round = 0; round < 12; round++) {
        size_t num_specials = draw(&random, COUNT(special_pieces) + 1), n = 1 + draw(&random, 3);
        uint32_t vocab_size = (uint32_t)(256 + num_specials + draw(&random, 40));
        uint64_t min_frequency = draw(&random, 4), text_bytes, distinct, total = 0;
        tlm_bpe_trainer_t *trainer =
            new_trainer(vocab_size, special_pieces, num_specials, min_frequency);
        tlm_bytes_t documents[3];
        tlm_tokenizer_t *tokenizer;
        naive_bpe_t naive;

        for (size_t i = 0; i < n; i++) {
            documents[i] = random_text(&random, draw(&random, 600));
            ASSERT_OK(tlm_bpe_trainer_add_text(trainer, documents[i].data, documents[i].size));
            total += documents[i].size;
        }
        naive_train(&naive, documents, n, special_pieces, num_specials, vocab_size, min_frequency);
        tokenizer = train(trainer);
        assert_same_as_naive(tokenizer, &naive);
        ASSERT_OK(tlm_bpe_trainer_stats(&text_bytes, &distinct, trainer));
        ck_assert_uint_eq(distinct, naive.distinct_pretokens);
        ck_assert(text_bytes <= total && (num_specials > 0 || text_bytes == total));
        for (size_t i = 0; i < n; i++) {
            assert_encodes_as_naive(tokenizer, &naive, documents[i]);
            free_text(documents[i]);
        }
        tlm_tokenizer_free(tokenizer);
        tlm_bpe_trainer_free(trainer);
        naive_free(&naive);
    }
}
END_TEST

/* Ties are broken by the bytes of the pair, not by ids: 0xFF comes after 'z', and "ab" after "a".
 */
START_TEST(ties_go_to_the_greater_pair)
{
    static const struct {
        const char *text, *left, *right;
    } cases[] = {
        {"ab.cd", "c", "d"},
        {"ab.ac", "a", "c"},
        {"zz.\xC3\xA9.", "\xC3", "\xA9"},
        {"low low low low low lower lower widest widest widest newest newest newest newest newest"
         " newest",
         "s", "t"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        tlm_bytes_t text = {(const uint8_t *)cases[i].text, strlen(cases[i].text)};
        tlm_tokenizer_t *tokenizer = train_text(257, text);
        uint32_t left, right;

        ASSERT_OK(tlm_tokenizer_merge(&left, &right, tokenizer, 0));
        assert_same_bytes(token_of(tokenizer, left),
                          (tlm_bytes_t){(const uint8_t *)cases[i].left, 1});
        assert_same_bytes(token_of(tokenizer, right),
                          (tlm_bytes_t){(const uint8_t *)cases[i].right, 1});
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

/* "aaaa" holds the pair three times, though only two of them can be merged. */
START_TEST(overlapping_pairs_all_count)
{
    static const tlm_bytes_t text = {(const uint8_t *)"aaaa.bc.bc", 10};
    tlm_tokenizer_t *tokenizer = train_text(258, text);

    assert_same_bytes(token_of(tokenizer, 256), BYTES("aa"));
    assert_same_bytes(token_of(tokenizer, 257), BYTES("bc"));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Ways to give the text ---------------------------------------------------------------------
 */

static const char tricky[] =
    "the <|end|><|end|>the  \n\n caf\xC3\xA9 \xF0\x9F\x98\x80\xF0\x9F\x98\x80 it's we'll <|end|"
    " ab  ab\xFF\0 x|><|x 42 \xE3\x81\x82\xE3\x81\x82\xE3\x81  ";

START_TEST(pushed_pieces_equal_the_whole)
{
    static const tlm_bytes_t text = {(const uint8_t *)tricky, sizeof(tricky) - 1};
    size_t num_specials = COUNT(special_pieces);
    uint32_t vocab_size = (uint32_t)(300 + num_specials);
    naive_bpe_t naive;

    naive_train(&naive, &text, 1, special_pieces, num_specials, vocab_size, 0);
    /* Two cuts: every place, and every later place but one in five. */
    for (size_t first = 0; first <= text.size; first++)
        for (size_t second = first; second <= text.size; second += 1 + (second + first) % 10) {
            tlm_bpe_trainer_t *trainer = new_trainer(vocab_size, special_pieces, num_specials, 0);
            tlm_tokenizer_t *tokenizer;

            ASSERT_OK(tlm_bpe_trainer_push(trainer, text.data, first));
            ASSERT_OK(tlm_bpe_trainer_push(trainer, text.data + first, second - first));
            ASSERT_OK(tlm_bpe_trainer_push(trainer, text.data + second, text.size - second));
            if (second % 2 == 0)
                ASSERT_OK(tlm_bpe_trainer_end_text(trainer));
            tokenizer = train(trainer);
            assert_same_as_naive(tokenizer, &naive);
            tlm_tokenizer_free(tokenizer);
            tlm_bpe_trainer_free(trainer);
        }
    naive_free(&naive);
}
END_TEST

/* The same where a block ends, which is where a stream decides on less than the whole. All pretokens
 * are merged to one token each, so that the vocabulary tells them all. */
START_TEST(pushed_blocks_equal_the_whole)
{
    static const size_t block = 16384;
    static const tlm_bytes_t text = {(const uint8_t *)tricky, sizeof(tricky) - 1};

    for (size_t cut = 0; cut <= text.size; cut++) {
        tlm_bytes_t whole = straddling(text, cut, block);
        tlm_tokenizer_t *tokenizers[2];
        uint64_t distinct[2], size;

        for (int pushed = 0; pushed < 2; pushed++) {
            tlm_bpe_trainer_t *trainer = new_trainer(1000, special_pieces, (size_t)_i, 0);

            if (pushed == 0)
                ASSERT_OK(tlm_bpe_trainer_add_text(trainer, whole.data, whole.size));
            else
                ASSERT_OK(tlm_bpe_trainer_push(trainer, whole.data, whole.size));
            tokenizers[pushed] = train(trainer);
            ASSERT_OK(tlm_bpe_trainer_stats(&size, &distinct[pushed], trainer));
            ck_assert_uint_lt(tlm_tokenizer_vocab_size(tokenizers[pushed]), 1000);
            tlm_bpe_trainer_free(trainer);
        }
        ck_assert_uint_eq(distinct[0], distinct[1]);
        assert_same_tokenizer(tokenizers[0], tokenizers[1]);
        tlm_tokenizer_free(tokenizers[0]);
        tlm_tokenizer_free(tokenizers[1]);
        free_text(whole);
    }
}
END_TEST

START_TEST(single_bytes_can_be_pushed)
{
    test_random_t random = {77, 0};

    for (int round = 0; round < 20; round++) {
        tlm_bytes_t text = random_text(&random, 400);
        tlm_bpe_trainer_t *trainer = new_trainer(290, special_pieces, 3, 0);
        tlm_tokenizer_t *tokenizer;
        naive_bpe_t naive;

        for (size_t i = 0; i < text.size; i++)
            ASSERT_OK(tlm_bpe_trainer_push(trainer, text.data + i, 1));
        tokenizer = train(trainer);
        naive_train(&naive, &text, 1, special_pieces, 3, 290, 0);
        assert_same_as_naive(tokenizer, &naive);
        naive_free(&naive);
        tlm_tokenizer_free(tokenizer);
        tlm_bpe_trainer_free(trainer);
        free_text(text);
    }
}
END_TEST

/* A text ends at end_text, at any add and at train: pretokens do not span two texts. */
START_TEST(texts_end_where_they_should)
{
    static const tlm_bytes_t parts[] = {{(const uint8_t *)"abab ", 5},
                                        {(const uint8_t *)"cdcd", 4},
                                        {(const uint8_t *)"efe", 3},
                                        {(const uint8_t *)"fgh", 3}};
    tlm_bpe_trainer_t *trainer = new_trainer(300, NULL, 0, 0);
    tlm_tokenizer_t *tokenizer;
    naive_bpe_t naive;

    ASSERT_OK(tlm_bpe_trainer_push(trainer, parts[0].data, parts[0].size));
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, parts[1].data, parts[1].size));
    ASSERT_OK(tlm_bpe_trainer_push(trainer, parts[2].data, parts[2].size));
    ASSERT_OK(tlm_bpe_trainer_end_text(trainer));
    ASSERT_OK(tlm_bpe_trainer_end_text(trainer));
    ASSERT_OK(tlm_bpe_trainer_push(trainer, parts[3].data, parts[3].size));
    tokenizer = train(trainer);
    naive_train(&naive, parts, 4, NULL, 0, 300, 0);
    assert_same_as_naive(tokenizer, &naive);
    naive_free(&naive);
    tlm_tokenizer_free(tokenizer);
    tlm_bpe_trainer_free(trainer);
}
END_TEST

/* Text long enough to be cut between threads, with special tokens (or with few good places to cut),
 * gives the same tokenizer from memory, from a file and in pieces on 1, 2 and 3 threads. */
START_TEST(threads_files_and_pieces_agree)
{
    test_random_t random = {5, 0};
    size_t num_specials = _i == 0 ? COUNT(special_pieces) : 0;
    uint32_t vocab_size = (uint32_t)(400 + num_specials);
    size_t size = long_input() / 5, used = 0;
    uint8_t *bytes = malloc(size + 4096);
    tlm_tokenizer_t *first = NULL;

    while (used < size) {
        tlm_bytes_t piece = random_text(&random, _i == 2 ? 4000 : draw(&random, 300));

        for (size_t i = 0; _i == 2 && i < piece.size; i++) /* one pretoken over many pieces */
            bytes[used + i] = (uint8_t)('a' + piece.data[i] % 3);
        if (_i != 2)
            memcpy(bytes + used, piece.data, piece.size);
        used += piece.size;
        free_text(piece);
    }
    write_bytes(test_path("corpus.txt"), bytes, used);
    for (int32_t threads = 1; threads <= 3; threads++)
        for (int way = 0; way < 3; way++) {
            tlm_bpe_trainer_t *trainer = new_trainer(vocab_size, special_pieces, num_specials, 0);
            tlm_tokenizer_t *tokenizer;

            ASSERT_OK(tlm_set_num_threads(threads));
            if (way == 0)
                ASSERT_OK(tlm_bpe_trainer_add_text(trainer, bytes, used));
            if (way == 1)
                ASSERT_OK(tlm_bpe_trainer_add_file(trainer, test_path("corpus.txt")));
            for (size_t i = 0, step; way == 2 && i < used; i += step) {
                step = 1 + draw(&random, 9000);
                step = step < used - i ? step : used - i;
                ASSERT_OK(tlm_bpe_trainer_push(trainer, bytes + i, step));
            }
            tokenizer = train(trainer);
            if (first == NULL) {
                first = tokenizer;
            } else {
                assert_same_tokenizer(first, tokenizer);
                tlm_tokenizer_free(tokenizer);
            }
            tlm_bpe_trainer_free(trainer);
        }
    ASSERT_OK(tlm_set_num_threads(0));
    tlm_tokenizer_free(first);
    free(bytes);
}
END_TEST

/* The counts stay: more text and another training run go on from them. */
START_TEST(training_can_go_on)
{
    static const tlm_bytes_t parts[] = {{(const uint8_t *)"abc abc abd", 11},
                                        {(const uint8_t *)" xyz xyz xyz xyz", 16}};
    tlm_bpe_trainer_t *trainer = new_trainer(270, NULL, 0, 0);
    tlm_tokenizer_t *tokenizers[3];
    naive_bpe_t naive;

    for (int i = 0; i < 3; i++) {
        if (i < 2)
            ASSERT_OK(tlm_bpe_trainer_add_text(trainer, parts[i].data, parts[i].size));
        tokenizers[i] = train(trainer);
    }
    tlm_bpe_trainer_free(trainer); /* tokenizers outlive it */
    for (int i = 0; i < 3; i++) {
        naive_train(&naive, parts, i == 0 ? 1 : 2, NULL, 0, 270, 0);
        assert_same_as_naive(tokenizers[i], &naive);
        naive_free(&naive);
        tlm_tokenizer_free(tokenizers[i]);
    }
}
END_TEST

/* ---- Limits ------------------------------------------------------------------------------------
 */

START_TEST(rare_pairs_are_left_alone)
{
    static const char text[] = "ab ab ab cd cd";
    static const uint32_t sizes[] = {261, 261, 260, 258, 256};

    for (uint64_t frequency = 0; frequency < 5; frequency++) {
        tlm_bpe_trainer_t *trainer = new_trainer(300, NULL, 0, frequency);
        tlm_tokenizer_t *tokenizer;
        naive_bpe_t naive;

        naive_train(&naive, &BYTES(text), 1, NULL, 0, 300, frequency);
        ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text, strlen(text)));
        tokenizer = train(trainer);
        assert_same_as_naive(tokenizer, &naive);
        if (frequency > 1) /* ab, " ab", cd, " cd": 3, 2, 2, 1 times */
            ck_assert_uint_le(tlm_tokenizer_vocab_size(tokenizer), sizes[frequency]);
        naive_free(&naive);
        tlm_tokenizer_free(tokenizer);
        tlm_bpe_trainer_free(trainer);
    }
}
END_TEST

START_TEST(training_stops_when_no_pair_is_left)
{
    tlm_bpe_trainer_t *trainer = new_trainer(1000, special_pieces, 2, 0);
    tlm_tokenizer_t *tokenizer = train(trainer); /* of nothing */

    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), 258);
    ck_assert_uint_eq(tlm_tokenizer_num_merges(tokenizer), 0);
    tlm_tokenizer_free(tokenizer);
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, NULL, 0));
    ASSERT_OK(tlm_bpe_trainer_push(trainer, NULL, 0));
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, "abc abc<|end|>", 14));
    tokenizer = train(trainer);
    ck_assert_uint_eq(tlm_tokenizer_num_merges(tokenizer), 3); /* ab or bc, abc, " abc" */
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), 261);
    tlm_tokenizer_free(tokenizer);
    tlm_bpe_trainer_free(trainer);
    trainer = new_trainer(256, NULL, 0, 0); /* room for the bytes only */
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, "aaaa", 4));
    tokenizer = train(trainer);
    ck_assert_uint_eq(tlm_tokenizer_num_merges(tokenizer), 0);
    tlm_tokenizer_free(tokenizer);
    tlm_bpe_trainer_free(trainer);
}
END_TEST

START_TEST(stats_count_bytes_and_pretokens)
{
    tlm_bpe_trainer_t *trainer = new_trainer(300, NULL, 0, 0);
    uint64_t text_bytes = 1, distinct = 1;

    ASSERT_OK(tlm_bpe_trainer_stats(&text_bytes, &distinct, trainer));
    ck_assert(text_bytes == 0 && distinct == 0);
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, "one two two one", 15));
    ASSERT_OK(tlm_bpe_trainer_stats(&text_bytes, &distinct, trainer));
    ck_assert(text_bytes == 15 && distinct == 3); /* one, " two", " one" */
    ASSERT_OK(tlm_bpe_trainer_push(trainer, "one one", 7));
    ASSERT_OK(tlm_bpe_trainer_end_text(trainer));
    ASSERT_OK(tlm_bpe_trainer_stats(&text_bytes, &distinct, trainer));
    ck_assert(text_bytes == 22 && distinct == 3);
    tlm_bpe_trainer_free(trainer);
}
END_TEST

/* One pretoken of n letters takes n log n steps, not n times n. */
START_TEST(a_long_run_of_one_letter_is_no_trap)
{
    static const char letters[] = {'a', ' ', '\0'};
    tlm_bytes_t text = repeated(letters[_i], long_input());
    tlm_tokenizer_t *tokenizer = train_text(256 + 16, text);
    uint64_t expected = 1;

    /* Each merge doubles the longest token while the run lasts. */
    for (uint32_t i = 0; i < 16; i++) {
        expected *= 2;
        ck_assert_uint_eq(token_of(tokenizer, 256 + i).size, expected);
    }
    assert_decodes(tokenizer, NULL, 0, (tlm_bytes_t){NULL, 0});
    tlm_tokenizer_free(tokenizer);
    free_text(text);
}
END_TEST

/* ---- Refusals ----------------------------------------------------------------------------------
 */

START_TEST(bad_options_are_refused)
{
    static const tlm_bytes_t twice[] = {
        {(const uint8_t *)"x|", 2}, {(const uint8_t *)"y|", 2}, {(const uint8_t *)"x|", 2}};
    static const tlm_bytes_t empty[] = {{(const uint8_t *)"", 0}}, null[] = {{NULL, 3}};
    const tlm_bpe_trainer_options_t good = {.size = sizeof(good),
                                            .vocab_size = 300,
                                            .special_tokens = special_pieces,
                                            .num_special_tokens = 2,
                                            .pattern = TLM_PATTERN_GPT2,
                                            .min_frequency = 1};
    struct longer {
        tlm_bpe_trainer_options_t options;
        uint64_t more;
    } longer = {good, 0};
    tlm_bpe_trainer_options_t options;
    tlm_bpe_trainer_t *trainer = NULL;

#define REFUSED(code, text, change)                                                                \
    do {                                                                                           \
        options = good;                                                                            \
        change;                                                                                    \
        ASSERT_FAILS(code, text, tlm_bpe_trainer_create(&trainer, &options));                      \
        ck_assert_ptr_null(trainer);                                                               \
    } while (0)

    REFUSED(TLM_ERR_INVALID_ARGUMENT, "vocab_size", options.vocab_size = 257);
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "vocab_size", options.vocab_size = 0);
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "special",
            (options.special_tokens = twice, options.num_special_tokens = 3));
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "special",
            (options.special_tokens = empty, options.num_special_tokens = 1));
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "special",
            (options.special_tokens = null, options.num_special_tokens = 1));
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "special", options.special_tokens = NULL);
    REFUSED(TLM_ERR_REGEX, "", options.pattern = "(");
    REFUSED(TLM_ERR_REGEX, "", options.pattern = "[z-a]");
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "size", options.size = 3);
    REFUSED(TLM_ERR_INVALID_ARGUMENT, "size", options.size = 0);
#undef REFUSED
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_create(&trainer, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_create(NULL, &good));
    /* Options of a later release: fine as long as what is new in them is not used. */
    longer.options.size = sizeof(longer);
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &longer.options));
    tlm_bpe_trainer_free(trainer);
    trainer = NULL;
    longer.more = 1;
    ck_assert_int_ne(tlm_bpe_trainer_create(&trainer, &longer.options), TLM_OK);
    ck_assert_ptr_null(trainer);
    options = (tlm_bpe_trainer_options_t)TLM_BPE_TRAINER_OPTIONS_INIT;
    ck_assert(options.size == sizeof(options) && options.pattern == NULL);
    tlm_bpe_trainer_free(NULL);
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
    tlm_bpe_trainer_t *trainer = new_trainer(300, NULL, 0, 0);
    tlm_tokenizer_t *tokenizer = NULL;

    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_add_text(NULL, "a", 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_add_text(trainer, NULL, 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_push(NULL, "a", 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_push(trainer, NULL, 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_add_file(NULL, "a"));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_add_file(trainer, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_end_text(NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_train(NULL, trainer));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_train(&tokenizer, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_stats(NULL, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere.txt",
                 tlm_bpe_trainer_add_file(trainer, test_path("nowhere.txt")));
    ck_assert_int_ne(tlm_bpe_trainer_add_file(trainer, test_directory), TLM_OK);
    ck_assert_ptr_null(tokenizer);
    tlm_bpe_trainer_free(trainer);
}
END_TEST

/* ---- A pattern of one's own --------------------------------------------------------------------
 */

START_TEST(other_patterns_can_be_trained_with)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;

    options.vocab_size = 257;
    options.pattern = "[a-c]|[^a-c]+"; /* letters a to c stand alone */
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, "ababababab-xy-ab", 16));
    tokenizer = train(trainer);
    assert_same_bytes(token_of(tokenizer, 256), BYTES("y-"));
    tlm_tokenizer_free(tokenizer);
    tlm_bpe_trainer_free(trainer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bpe_trainer");
    TCase *tcase = tcase_create("bpe_trainer");
    int failed;

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, random_texts_give_the_naive_merges, 0, 20);
    tcase_add_test(tcase, ties_go_to_the_greater_pair);
    tcase_add_test(tcase, overlapping_pairs_all_count);
    tcase_add_test(tcase, pushed_pieces_equal_the_whole);
    tcase_add_loop_test(tcase, pushed_blocks_equal_the_whole, 0, COUNT(special_pieces) + 1);
    tcase_add_test(tcase, single_bytes_can_be_pushed);
    tcase_add_test(tcase, texts_end_where_they_should);
    tcase_add_loop_test(tcase, threads_files_and_pieces_agree, 0, 3);
    tcase_add_test(tcase, training_can_go_on);
    tcase_add_test(tcase, rare_pairs_are_left_alone);
    tcase_add_test(tcase, training_stops_when_no_pair_is_left);
    tcase_add_test(tcase, stats_count_bytes_and_pretokens);
    tcase_add_loop_test(tcase, a_long_run_of_one_letter_is_no_trap, 0, 3);
    tcase_add_test(tcase, bad_options_are_refused);
    tcase_add_test(tcase, bad_arguments_are_refused);
    tcase_add_test(tcase, other_patterns_can_be_trained_with);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
