/* Subword models: ids that tokenizers 0.23.3 and sentencepiece 0.2.3 give, long input, dropout, and
 * refusals. */
#include "run_suite.h"
#include "tokenizer/bpe/bpe.h"
#include "tokenizer_support.h"

static tlm_bytes_t bytes_of(const char *text)
{
    return (tlm_bytes_t){(const uint8_t *)text, strlen(text)};
}

/* A vocabulary of the tokens of an array that ends with NULL; "" makes a hole. */
static void fill(tlmi_vocabulary_t *vocabulary, const char *const *tokens)
{
    *vocabulary = (tlmi_vocabulary_t){0};
    for (; *tokens != NULL; tokens++)
        ASSERT_OK(tlmi_vocabulary_add(vocabulary, (const uint8_t *)*tokens, strlen(*tokens)));
}

/* Checks ids, given as a string of numbers, "-" for a failure. */
static void check(const tlmi_subword_model_t *model, const char *text, const char *ids)
{
    tlmi_scratch_t scratch = {0};
    tlmi_id_list_t list = {0};
    size_t size = strlen(text);
    char found[1000] = "";

    ck_assert(tlmi_id_list_reserve(&list, size));
    if (tlmi_subword_encode(model, &scratch, &list, (const uint8_t *)text, size) != TLM_OK)
        strcpy(found, "-");
    for (size_t i = 0; i < list.n; i++)
        sprintf(found + strlen(found), i == 0 ? "%u" : " %u", list.ids[i]);
    ck_assert_str_eq(found, ids);
    tlmi_id_list_release(&list);
    tlmi_scratch_release(&scratch);
}

/* ---- BPE --------------------------------------------------------------------------------------- */

/* Makes a model; merges are pairs of strings that end with NULL. */
static tlm_status_t make_bpe(tlmi_subword_model_t **out, const tlmi_vocabulary_t *vocabulary,
                             const char *const *merges, const tlmi_bpe_options_t *options)
{
    tlmi_scratch_t joined = {0};
    tlmi_merge_table_t table;
    tlm_status_t status;
    size_t n = 0;

    while (merges[2 * n] != NULL)
        n++;
    ASSERT_OK(tlmi_merge_table_init(&table, n));
    status = TLM_OK;
    for (size_t i = 0; i < n && status == TLM_OK; i++)
        status = tlmi_bpe_add_merge(
            &table, "file", vocabulary, options->is_added, options->continuing_subword_prefix.size,
            bytes_of(merges[2 * i]), bytes_of(merges[2 * i + 1]), i, &joined);
    tlmi_scratch_release(&joined);
    if (status == TLM_OK)
        return tlmi_bpe_model_create(out, "file", vocabulary, &table, options);
    tlmi_merge_table_release(&table);
    return status;
}

static void check_bpe(const char *const *tokens, const char *const *merges,
                      const tlmi_bpe_options_t *options, const char *text, const char *ids)
{
    tlmi_vocabulary_t vocabulary;
    tlmi_subword_model_t *model;

    fill(&vocabulary, tokens);
    ASSERT_OK(make_bpe(&model, &vocabulary, merges, options));
    check(model, text, ids);
    tlmi_subword_free(model);
    tlmi_vocabulary_release(&vocabulary);
}

#define TOKENS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_MERGES   ((const char *const[]){NULL})

START_TEST(bpe_gives_the_ids_of_tokenizers)
{
    tlmi_bpe_options_t plain = {0}, unk = {.unk_token = bytes_of("<unk>")};
    tlmi_bpe_options_t fused = {.unk_token = bytes_of("<unk>"), .fuse_unk = true};
    tlmi_bpe_options_t fallback = {
        .unk_token = bytes_of("<unk>"), .fuse_unk = true, .byte_fallback = true};
    tlmi_bpe_options_t affixes = {.continuing_subword_prefix = bytes_of("##"),
                                  .end_of_word_suffix = bytes_of("</w>")};
    tlmi_bpe_options_t whole = {.ignore_merges = true};

    check_bpe(TOKENS("h", "e", "l", "o", "he", "ll", "hell", "lo"),
              TOKENS("h", "e", "l", "l", "l", "o", "he", "ll"), &plain, "hello", "6 3");
    /* The bytes come before the unk_token, which waits for a known symbol. */
    check_bpe(TOKENS("<unk>", "<0xC3>", "<0xA9>", "a"), NO_MERGES, &fallback,
              "z\xC3\xA9"
              "az",
              "1 2 0 3 0");
    /* The last of two equal merges counts. */
    check_bpe(TOKENS("a", "b", "c", "ab", "bc"), TOKENS("a", "b", "b", "c", "a", "b"), &plain,
              "abc", "0 4");
    check_bpe(TOKENS("u", "##n", "##d</w>", "u##", "un", "und</w>", "##nd</w>"),
              TOKENS("u", "##n", "un", "##d</w>"), &affixes, "und", "5");
    check_bpe(TOKENS("<unk>", "a", "<unk>a", "b"), TOKENS("<unk>", "a"), &fused, "zzab", "2 3");
    check_bpe(TOKENS("<unk>", "a", "<unk>a", "b"), TOKENS("<unk>", "a"), &unk, "zzab", "0 2 3");
    check_bpe(TOKENS("a", "b", "aa"), TOKENS("a", "a"), &plain, "azab", "2 1");
    check_bpe(TOKENS("a"), NO_MERGES, &plain, "zz", "");
    check_bpe(TOKENS("a", "b", "ab", "abb"), TOKENS("a", "b"), &whole, "abb", "3");
    check_bpe(TOKENS("a", "b", "ab", "abb"), TOKENS("a", "b"), &plain, "abb", "2 1");
    check_bpe(TOKENS("a", "b"), NO_MERGES, &unk, "az", "-");
    check_bpe(TOKENS("a", "b"), NO_MERGES, &unk, "ab", "0 1");
}
END_TEST

/* A malformed byte is a character of its own, which no token has. */
START_TEST(malformed_bytes_are_unknown_characters)
{
    tlmi_bpe_options_t fallback = {.unk_token = bytes_of("<unk>"), .byte_fallback = true};

    check_bpe(TOKENS("<unk>", "<0xFF>", "a", "\xEF\xBF\xBD"), NO_MERGES, &fallback,
              "a\xFF\xE2\x96"
              "a",
              "2 1 0 0 2");
}
END_TEST

START_TEST(added_tokens_are_unknown_to_bpe)
{
    static const uint8_t is_added[] = {0, 0, 1, 1, 1};
    tlmi_bpe_options_t options = {
        .unk_token = bytes_of("<unk>"), .ignore_merges = true, .is_added = is_added};

    check_bpe(TOKENS("a", "<unk>", "b", "ab", "aa"), NO_MERGES, &options, "ab", "0 1");
    check_bpe(TOKENS("a", "<unk>", "b", "ab", "aa"), NO_MERGES, &options, "aa", "0 0");
}
END_TEST

START_TEST(bpe_refuses_what_it_cannot_use)
{
    tlmi_bpe_options_t plain = {0}, prefix = {.continuing_subword_prefix = bytes_of("##")};
    tlmi_bpe_options_t both = {.continuing_subword_prefix = bytes_of("##"), .byte_fallback = true};
    tlmi_bpe_options_t bytes = {.is_byte_level = true, .byte_fallback = true};
    tlmi_vocabulary_t vocabulary;
    tlmi_subword_model_t *model;

    fill(&vocabulary, TOKENS("a", "b", "ab", "#", "<0x61>"));
    ASSERT_FAILS(TLM_ERR_FORMAT, "file: merge 1: its left side 'x' is not in the vocabulary",
                 make_bpe(&model, &vocabulary, TOKENS("a", "b", "x", "a"), &plain));
    ASSERT_FAILS(TLM_ERR_FORMAT, "file: merge 0: its right side 'xy' is not in the vocabulary",
                 make_bpe(&model, &vocabulary, TOKENS("a", "xy"), &plain));
    ASSERT_FAILS(TLM_ERR_FORMAT, "file: merge 0: its product 'ba' is not in the vocabulary",
                 make_bpe(&model, &vocabulary, TOKENS("b", "a"), &plain));
    ASSERT_FAILS(TLM_ERR_FORMAT, "is shorter than the continuing_subword_prefix",
                 make_bpe(&model, &vocabulary, TOKENS("a", "#"), &prefix));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "byte_fallback together with continuing_subword_prefix",
                 make_bpe(&model, &vocabulary, NO_MERGES, &both));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "byte_fallback in a byte-level vocabulary",
                 make_bpe(&model, &vocabulary, NO_MERGES, &bytes));
    tlmi_vocabulary_release(&vocabulary);
}
END_TEST

/* Without dropout the ids of the merges, with a probability of 1 the symbols; between them, ids that
 * depend on the seed alone. */
START_TEST(dropout_works_on_symbols)
{
    static const double probabilities[] = {0.0, 1.0, 0.5, 0.5};
    static const char *const expected[] = {"3", "0 1 1 1 1", NULL, NULL};
    tlmi_bpe_options_t options = {.unk_token = bytes_of("<unk>")};
    tlmi_vocabulary_t vocabulary;
    tlmi_subword_model_t *model;
    char first[100] = "";

    fill(&vocabulary,
         TOKENS("<unk>", "\xC3\xA9", "\xC3\xA9\xC3\xA9", "<unk>\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9",
                "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9"));
    ASSERT_OK(make_bpe(&model, &vocabulary,
                       TOKENS("\xC3\xA9", "\xC3\xA9", "\xC3\xA9\xC3\xA9", "\xC3\xA9\xC3\xA9",
                              "<unk>", "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9"),
                       &options));
    for (size_t k = 0; k < COUNT(probabilities); k++) {
        tlmi_dropout_t dropout = {probabilities[k], 7, 0};
        tlmi_scratch_t scratch = {0};
        tlmi_id_list_t list = {0};
        char found[100] = "";

        ck_assert(tlmi_id_list_reserve(&list, 9));
        ASSERT_OK(model->kind->encode_with_dropout(model, &scratch, &list,
                                                   (const uint8_t *)"z\xC3\xA9\xC3\xA9\xC3\xA9"
                                                                    "\xC3\xA9",
                                                   9, &dropout));
        for (size_t i = 0; i < list.n; i++)
            sprintf(found + strlen(found), i == 0 ? "%u" : " %u", list.ids[i]);
        if (expected[k] != NULL)
            ck_assert_str_eq(found, expected[k]);
        else if (*first != '\0')
            ck_assert_str_eq(found, first);
        else
            strcpy(first, found);
        tlmi_id_list_release(&list);
        tlmi_scratch_release(&scratch);
    }
    tlmi_subword_free(model);
    tlmi_vocabulary_release(&vocabulary);
}
END_TEST

/* ---- WordPiece --------------------------------------------------------------------------------- */

START_TEST(wordpiece_gives_the_ids_of_tokenizers)
{
    tlmi_wordpiece_options_t options = {bytes_of("[UNK]"), bytes_of("##"), 8, NULL, false};
    tlmi_wordpiece_options_t no_unk = {bytes_of("<unk>"), bytes_of("##"), 8, NULL, false};
    tlmi_vocabulary_t vocabulary;
    tlmi_subword_model_t *model;

    fill(&vocabulary,
         TOKENS("[UNK]", "un", "##aff", "##able", "aff", "##a", "##f", "\xC3\xA9", "##\xC3\xA9"));
    ASSERT_OK(tlmi_wordpiece_model_create(&model, "file", &vocabulary, &options));
    check(model, "unaffa", "1 2 5");
    check(model, "unaffay", "0");
    check(model, "aff", "4");
    check(model, "able", "0");
    check(model, "##aff", "2");
    check(model, "unaaaaaa", "1 5 5 5 5 5 5");
    check(model, "unaaaaaaa", "0");
    /* Characters count, not bytes. */
    check(model, "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9",
          "7 8 8 8 8 8 8 8");
    check(model, "un\xFF", "0");
    tlmi_subword_free(model);
    ASSERT_OK(tlmi_wordpiece_model_create(&model, "file", &vocabulary, &no_unk));
    check(model, "able", "-");
    check(model, "una", "1 5");
    tlmi_subword_free(model);
    tlmi_vocabulary_release(&vocabulary);
    fill(&vocabulary, TOKENS(""));
    ASSERT_FAILS(TLM_ERR_FORMAT, "file: the vocabulary has no tokens",
                 tlmi_wordpiece_model_create(&model, "file", &vocabulary, &options));
    tlmi_vocabulary_release(&vocabulary);
}
END_TEST

/* ---- Unigram ----------------------------------------------------------------------------------- */

static void check_unigram(const char *const *tokens, const double *scores, const char *text,
                          const char *ids)
{
    tlmi_unigram_options_t options = {scores, 0, 0, false};
    tlmi_vocabulary_t vocabulary;
    tlmi_subword_model_t *model;

    fill(&vocabulary, tokens);
    options.num_scores = vocabulary.size;
    ASSERT_OK(tlmi_unigram_model_create(&model, "file", &vocabulary, &options));
    check(model, text, ids);
    tlmi_subword_free(model);
    tlmi_vocabulary_release(&vocabulary);
}

START_TEST(unigram_gives_the_ids_of_tokenizers)
{
    static const double scores[] = {0, 0, 0, 0, 0, 1, 2, 5, 10}, ties[] = {-1, -1, -2, -3};
    static const double high[] = {100, 100, 100};
    const char *const *tokens = TOKENS("<unk>", "a", "b", "c", "d", "cd", "ab", "abc", "abcd");

    check_unigram(tokens, scores, "abcdacdxxa", "8 1 5 0 1");
    check_unigram(tokens, scores, "x<unk>y", "0");
    check_unigram(tokens, scores, "<unk>", "0");
    check_unigram(TOKENS("<unk>", "a", "aa", "aaa"), ties, "aaaaa", "2 3");
    /* Two unknown characters that, together, are a token. */
    check_unigram(TOKENS("<unk>", "xy", "a"), high, "xya", "1 2");
}
END_TEST

START_TEST(unigram_refuses_what_it_cannot_use)
{
    double scores[] = {-1.0, -2.0};
    float singles[] = {-1.0F, -2.0F};
    tlmi_unigram_options_t options = {scores, 2, 2, false};
    tlmi_pieces_t pieces = {singles, NULL, 2, TLMI_NO_TOKEN, false};
    tlmi_vocabulary_t vocabulary;
    tlmi_subword_model_t *model;

    fill(&vocabulary, TOKENS("<unk>", "a"));
    ASSERT_FAILS(TLM_ERR_FORMAT, "file: the unk_id 2 is outside the vocabulary of 2",
                 tlmi_unigram_model_create(&model, "file", &vocabulary, &options));
    options.unk_id = 0;
    scores[1] = (double)NAN;
    ASSERT_FAILS(TLM_ERR_FORMAT, "file: the score of token 1 is not a number",
                 tlmi_unigram_model_create(&model, "file", &vocabulary, &options));
    options.num_scores = 0;
    ASSERT_FAILS(TLM_ERR_FORMAT, "file: the vocabulary has no tokens",
                 tlmi_unigram_model_create(&model, "file", &vocabulary, &options));
    ASSERT_FAILS(TLM_ERR_FORMAT, "file: there is no piece for unknown characters",
                 tlmi_unigram_model_create_from_pieces(&model, "file", &vocabulary, &pieces));
    pieces.byte_fallback = true;
    ASSERT_FAILS(TLM_ERR_FORMAT, "there is no piece '<0x00>'",
                 tlmi_unigram_model_create_from_pieces(&model, "file", &vocabulary, &pieces));
    ASSERT_FAILS(TLM_ERR_FORMAT, "there is no piece '<0x00>'",
                 tlmi_bpe_model_create_from_pieces(&model, "file", &vocabulary, &pieces));
    pieces = (tlmi_pieces_t){singles, NULL, 2, 0, false};
    singles[0] = NAN;
    ASSERT_FAILS(TLM_ERR_FORMAT, "file: the score of piece 0 is not",
                 tlmi_unigram_model_create_from_pieces(&model, "file", &vocabulary, &pieces));
    ASSERT_FAILS(TLM_ERR_FORMAT, "file: the score of piece 0 is not a number",
                 tlmi_bpe_model_create_from_pieces(&model, "file", &vocabulary, &pieces));
    tlmi_vocabulary_release(&vocabulary);
}
END_TEST

/* ---- Models of SentencePiece ------------------------------------------------------------------- */

static void check_pieces(const char *const *tokens, const float *scores, const char *types,
                         bool is_bpe, const char *text, const char *ids)
{
    tlmi_vocabulary_t vocabulary;
    tlmi_subword_model_t *model;
    uint8_t numbers[20];

    fill(&vocabulary, tokens);
    for (size_t i = 0; i < vocabulary.size; i++)
        numbers[i] = (uint8_t)(types[i] - '0');
    tlmi_pieces_t pieces = {scores, numbers, vocabulary.size, 0, false};
    ASSERT_OK((is_bpe ? tlmi_bpe_model_create_from_pieces : tlmi_unigram_model_create_from_pieces)(
        &model, "file", &vocabulary, &pieces));
    check(model, text, ids);
    tlmi_subword_free(model);
    tlmi_vocabulary_release(&vocabulary);
}

START_TEST(pieces_give_the_ids_of_sentencepiece)
{
    static const float unused[] = {0, -1, -2, -3, -4, -5, -3.5F}, equal[] = {0, -1, -1, -1};
    static const float user[] = {0, -1, -1.5F, -9, -2};

    /* The unused pieces "ab" and "bc" are merged on the way to "abc" and taken apart elsewhere. */
    check_pieces(TOKENS("<unk>", "a", "b", "ab", "abc", "c", "bc"), unused, "2115115", true,
                 "abcabbcxxz", "4 1 2 2 5 0");
    /* Characters without a piece merge. */
    check_pieces(TOKENS("<unk>", "xy", "xyz", "yz"), equal, "2111", true, "xyzyzx", "2 3 0");
    check_pieces(TOKENS("<unk>", "a", "b", "ab", "ba"), user, "21141", false, "babaabzz",
                 "2 3 1 3 0");
}
END_TEST

/* ---- Long input -------------------------------------------------------------------------------- */

/* Encodes one letter many times; the time must be about linear. */
static void check_long(const tlmi_subword_model_t *model, char letter, size_t ids_per_8)
{
    tlm_bytes_t text = repeated(letter, long_input() / 8 * 8);
    tlmi_scratch_t scratch = {0};
    tlmi_id_list_t list = {0};

    ck_assert(tlmi_id_list_reserve(&list, text.size));
    ASSERT_OK(tlmi_subword_encode(model, &scratch, &list, text.data, text.size));
    ck_assert_uint_eq(list.n, ids_per_8 == 0 ? 1 : text.size / 8 * ids_per_8);
    tlmi_id_list_release(&list);
    tlmi_scratch_release(&scratch);
    free_text(text);
}

START_TEST(time_is_linear_in_long_pretokens)
{
    static const float singles[] = {0, -3, -2, -1, -1};
    static const double scores[] = {0, -3, -2, -1.5, -1};
    const char *const *tokens = TOKENS("<unk>", "a", "aa", "aaaa", "aaaaaaaa");
    const char *const *merges = TOKENS("a", "a", "aa", "aa", "aaaa", "aaaa");
    tlmi_bpe_options_t bpe = {.unk_token = bytes_of("<unk>"), .fuse_unk = true};
    tlmi_wordpiece_options_t wordpiece = {bytes_of("<unk>"), bytes_of(""), SIZE_MAX, NULL, false};
    tlmi_unigram_options_t unigram = {scores, 5, 0, false};
    tlmi_pieces_t pieces = {singles, NULL, 5, 0, false};
    tlmi_vocabulary_t vocabulary;
    tlmi_subword_model_t *models[5];

    fill(&vocabulary, tokens);
    ASSERT_OK(make_bpe(&models[0], &vocabulary, merges, &bpe));
    ASSERT_OK(tlmi_wordpiece_model_create(&models[1], "file", &vocabulary, &wordpiece));
    ASSERT_OK(tlmi_unigram_model_create(&models[2], "file", &vocabulary, &unigram));
    ASSERT_OK(tlmi_bpe_model_create_from_pieces(&models[3], "file", &vocabulary, &pieces));
    ASSERT_OK(tlmi_unigram_model_create_from_pieces(&models[4], "file", &vocabulary, &pieces));
    for (size_t i = 0; i < COUNT(models); i++) {
        check_long(models[i], 'a', 1);
        check_long(models[i], 'z', 0);
        tlmi_subword_free(models[i]);
    }
    tlmi_vocabulary_release(&vocabulary);
}
END_TEST

/* Appends `n` tokens of `size` bytes whose homes in a table of words are all the same. */
static void add_colliding(tlmi_vocabulary_t *vocabulary, size_t n, size_t size)
{
    const tlmi_word_table_t table = {.num_homes = 100};
    uint8_t token[300];
    uint64_t state = 1;

    ck_assert_uint_le(size, sizeof(token));
    for (size_t found = 0; found < n;) {
        for (size_t i = 0; i < size; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            token[i] = (uint8_t)(state >> 56);
        }
        if (tlmi_word_table_home(&table, tlmi_pretoken_exact_key(token, size)) != table.words ||
            tlmi_vocabulary_find(vocabulary, token, size) != TLMI_NO_TOKEN)
            continue;
        ASSERT_OK(tlmi_vocabulary_add(vocabulary, token, size));
        found++;
    }
}

static void check_words(const tlmi_subword_model_t *model, const tlmi_vocabulary_t *vocabulary)
{
    tlmi_scratch_t scratch = {0};
    tlmi_id_list_t list = {0};

    for (uint32_t id = 0; id < vocabulary->size; id++) {
        tlm_bytes_t token = tlmi_vocabulary_token(vocabulary, id);

        list.n = 0;
        ck_assert(tlmi_id_list_reserve(&list, token.size));
        ASSERT_OK(tlmi_subword_encode(model, &scratch, &list, token.data, token.size));
        ck_assert_uint_eq(list.n, 1);
        ck_assert_uint_eq(list.ids[0], id);
    }
    tlmi_id_list_release(&list);
    tlmi_scratch_release(&scratch);
}

/* Words of all sizes, a few that collide, and so many that no table is made. */
START_TEST(words_are_found_whatever_their_hashes)
{
    static const size_t sizes[] = {2, 3, 4, 7, 8, 9, 15, 16, 129, 300};
    tlmi_bpe_options_t options = {.is_byte_level = true, .ignore_merges = true};

    for (size_t each = 1; each <= 100; each *= 10) {
        tlmi_vocabulary_t vocabulary = {0};
        tlmi_subword_model_t *model;

        for (int byte = 0; byte < 256; byte++)
            ASSERT_OK(tlmi_vocabulary_add(&vocabulary, (const uint8_t[]){(uint8_t)byte}, 1));
        for (size_t i = 0; i < COUNT(sizes); i++)
            add_colliding(&vocabulary, each, sizes[i]);
        ASSERT_OK(make_bpe(&model, &vocabulary, TOKENS(NULL), &options));
        ck_assert_int_eq(model->words == NULL, each == 100);
        check_words(model, &vocabulary);
        tlmi_subword_free(model);
        tlmi_vocabulary_release(&vocabulary);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        bpe_gives_the_ids_of_tokenizers,
        malformed_bytes_are_unknown_characters,
        added_tokens_are_unknown_to_bpe,
        bpe_refuses_what_it_cannot_use,
        dropout_works_on_symbols,
        wordpiece_gives_the_ids_of_tokenizers,
        unigram_gives_the_ids_of_tokenizers,
        unigram_refuses_what_it_cannot_use,
        pieces_give_the_ids_of_sentencepiece,
        time_is_linear_in_long_pretokens,
        words_are_found_whatever_their_hashes,
    };
    Suite *suite = suite_create("subword cases");
    TCase *tcase = tcase_create("cases");

    for (size_t i = 0; i < COUNT(tests); i++)
        tcase_add_test(tcase, tests[i]);
    tcase_set_timeout(tcase, 300);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
