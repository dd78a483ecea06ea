/* The trainer's options: each against the naive trainer on random texts, for any number of threads
 * and any size of pieces; progress and cancelling. */
#include <pthread.h>

#include "tokenizer/bpe/bpe_train.h"
#include "tokenizer_support.h"
#include "run_suite.h"

enum { MAX_DOCUMENTS = 4 };

typedef struct corpus {
    tlm_bytes_t documents[MAX_DOCUMENTS];
    size_t n;
} corpus_t;

/* Texts with what trips trainers up: ties, runs of one letter, CRLF, special tokens that overlap, no
 * newline at the end, nothing at all. */
static corpus_t random_corpus(test_random_t *random)
{
    static const char *const styles[] = {"aab ", "ab", "a", "\r\n x", "<|end|>"};
    corpus_t corpus = {.n = 1 + draw(random, MAX_DOCUMENTS)};

    for (size_t i = 0; i < corpus.n; i++) {
        size_t style = draw(random, 2 * COUNT(styles)), size = draw(random, 300);
        tlm_bytes_t text = random_text(random, size);

        for (size_t k = 0; k < size && style < COUNT(styles); k++)
            ((uint8_t *)(uintptr_t)text.data)[k] =
                (uint8_t)styles[style][draw(random, strlen(styles[style]))];
        corpus.documents[i] = text;
    }
    return corpus;
}

static void free_corpus(corpus_t corpus)
{
    for (size_t i = 0; i < corpus.n; i++)
        free_text(corpus.documents[i]);
}

/* The same options for the library. */
static tlm_bpe_trainer_options_t library_options(const naive_options_t *naive,
                                                 const tlm_tokenizer_t *base)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;

    options.vocab_size = (uint32_t)naive->vocab_size;
    options.special_tokens = naive->specials;
    options.num_special_tokens = naive->num_specials;
    options.min_frequency = naive->min_frequency;
    options.max_token_length = (uint32_t)naive->max_token_length;
    options.byte_order = naive->gpt2_order ? TLM_BYTE_ORDER_GPT2 : TLM_BYTE_ORDER_VALUE;
    options.max_distinct_pretokens = naive->max_distinct_pretokens;
    options.base = base;
    return options;
}

static tlm_tokenizer_t *train(uint64_t *dropped, uint64_t *occurrences, const corpus_t *corpus,
                              const tlm_bpe_trainer_options_t *options, size_t piece, bool pushed)
{
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;

    ASSERT_OK(tlm_bpe_trainer_create(&trainer, options));
    tlmi_bpe_trainer_set_piece_size(trainer, piece);
    for (size_t i = 0; i < corpus->n; i++) {
        tlm_bytes_t text = corpus->documents[i];

        for (size_t at = 0; at < text.size && pushed; at += piece)
            ASSERT_OK(tlm_bpe_trainer_push(trainer, text.data + at,
                                           text.size - at < piece ? text.size - at : piece));
        if (pushed)
            ASSERT_OK(tlm_bpe_trainer_end_text(trainer));
        else
            ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text.data, text.size));
    }
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    ASSERT_OK(tlm_bpe_trainer_dropped(dropped, occurrences, trainer));
    tlm_bpe_trainer_free(trainer);
    return tokenizer;
}

/* One way of training gives what the naive trainer does. */
static void assert_trains_as_naive(const corpus_t *corpus, const naive_options_t *naive_options,
                                   const tlm_tokenizer_t *base, size_t piece, bool pushed)
{
    tlm_bpe_trainer_options_t options = library_options(naive_options, base);
    uint64_t dropped, occurrences;
    tlm_tokenizer_t *tokenizer = train(&dropped, &occurrences, corpus, &options, piece, pushed);
    naive_bpe_t naive;

    naive_train_with(&naive, corpus->documents, corpus->n, naive_options);
    assert_same_as_naive(tokenizer, &naive);
    ck_assert_uint_eq(dropped, naive.dropped_pretokens);
    ck_assert_uint_eq(occurrences, naive.dropped_occurrences);
    naive_free(&naive);
    tlm_tokenizer_free(tokenizer);
}

/* ---- Random options ---------------------------------------------------------------------------- */

START_TEST(random_options_give_the_naive_merges)
{
    static const size_t pieces[] = {1, 7, 50, 1 << 20};
    test_random_t random = {(uint64_t)_i + 100, 0};

    ASSERT_OK(tlm_set_num_threads(1 + _i % 3));
    for (int round = 0; round < 100; round++) {
        corpus_t corpus = random_corpus(&random);
        naive_options_t options = {.specials = special_pieces};

        options.num_specials = draw(&random, COUNT(special_pieces) + 1);
        options.vocab_size = 256 + options.num_specials + draw(&random, 60);
        options.min_frequency = draw(&random, 4);
        options.max_token_length = draw(&random, 2) * (2 + draw(&random, 8));
        options.gpt2_order = draw(&random, 2) == 1;
        options.max_distinct_pretokens = draw(&random, 2) * (1 + draw(&random, 40));
        assert_trains_as_naive(&corpus, &options, NULL, pieces[draw(&random, COUNT(pieces))],
                               draw(&random, 4) == 0);
        free_corpus(corpus);
    }
    ASSERT_OK(tlm_set_num_threads(0));
}
END_TEST

/* ---- A base ------------------------------------------------------------------------------------ */

/* A vocabulary with holes, with tokens that no merge makes, and with some of the merges that others
 * allow: what no trainer gives, but a file may. */
static tlm_tokenizer_t *odd_base(test_random_t *random)
{
    static const char *const extra[] = {"ab",   "aab", "aa",  "aaa", "aaaa", "ba", "bab",
                                        "\r\n", " x",  "the", "th",  "he",   "<|", "|>"};
    tlm_tokenizer_options_t options = with_specials(special_pieces, draw(random, 3));
    parts_t parts = byte_parts();
    tlm_tokenizer_t *base;

    for (size_t i = 0; i < COUNT(extra); i++)
        if (draw(random, 3) > 0)
            parts.vocab[parts.vocab_size++] =
                draw(random, 6) == 0 ? (tlm_bytes_t){NULL, 0} : string_bytes(extra[i]);
    for (int i = 0; i < 60; i++) { /* any token cut anywhere, if both sides are tokens */
        tlm_bytes_t token =
            parts.vocab[256 + draw(random, parts.vocab_size - 255) % (parts.vocab_size - 256)];
        size_t cut = token.size < 2 ? 0 : 1 + draw(random, token.size - 1);
        tlm_bytes_t sides[2] = {{token.data, cut}, {token.data + cut, token.size - cut}};
        int found = 0;

        if (cut == 0)
            continue;
        for (int side = 0; side < 2; side++)
            for (size_t k = 0; k < parts.vocab_size; k++)
                found += parts.vocab[k].size == sides[side].size &&
                         memcmp(parts.vocab[k].data, sides[side].data, sides[side].size) == 0;
        for (size_t k = 0; k < parts.num_merges && found == 2; k++)
            if (parts.merges[2 * k].size == cut && parts.merges[2 * k + 1].size == sides[1].size &&
                memcmp(parts.merges[2 * k].data, token.data, cut) == 0 &&
                memcmp(parts.merges[2 * k + 1].data, sides[1].data, sides[1].size) == 0)
                found = 0;
        if (found < 2)
            continue;
        parts.merges[2 * parts.num_merges] = sides[0];
        parts.merges[2 * parts.num_merges + 1] = sides[1];
        parts.num_merges++;
    }
    ASSERT_OK(create(&base, &parts, &options));
    return base;
}

static tlm_tokenizer_t *trained_base(test_random_t *random)
{
    naive_options_t options = {.specials = special_pieces,
                               .num_specials = draw(random, 3),
                               .vocab_size = 262 + draw(random, 30)};
    tlm_bpe_trainer_options_t library = library_options(&options, NULL);
    corpus_t corpus = random_corpus(random);
    uint64_t dropped;
    tlm_tokenizer_t *base = train(&dropped, NULL, &corpus, &library, 100, false);

    free_corpus(corpus);
    return base;
}

START_TEST(training_goes_on_from_a_base)
{
    test_random_t random = {(uint64_t)_i + 200, 0};

    ASSERT_OK(tlm_set_num_threads(1 + _i % 3));
    for (int round = 0; round < 60; round++) {
        tlm_tokenizer_t *base = round % 2 == 0 ? odd_base(&random) : trained_base(&random);
        corpus_t corpus = random_corpus(&random);
        naive_options_t options = {.specials = special_pieces};
        naive_bpe_t naive_base;

        naive_from_tokenizer(&naive_base, base);
        options.base = &naive_base;
        options.num_specials = draw(&random, COUNT(special_pieces) + 1);
        options.vocab_size = naive_base.num_tokens + options.num_specials + draw(&random, 40);
        options.min_frequency = draw(&random, 4);
        options.max_token_length = draw(&random, 2) * (2 + draw(&random, 8));
        assert_trains_as_naive(&corpus, &options, base, 1 + draw(&random, 100),
                               draw(&random, 4) == 0);
        naive_free(&naive_base);
        free_corpus(corpus);
        tlm_tokenizer_free(base);
    }
    ASSERT_OK(tlm_set_num_threads(0));
}
END_TEST

/* Learning ten merges, then ten more from there on the same text, is learning twenty. */
START_TEST(a_base_from_the_same_text_changes_nothing)
{
    test_random_t random = {7, 0};
    corpus_t corpus = {.documents = {random_text(&random, 3000)}, .n = 1};
    naive_options_t options = {.specials = special_pieces, .num_specials = 1, .vocab_size = 277};
    tlm_bpe_trainer_options_t library = library_options(&options, NULL);
    tlm_tokenizer_t *whole = train(NULL, NULL, &corpus, &library, 1000, false), *base, *rest;

    library.vocab_size = 267;
    base = train(NULL, NULL, &corpus, &library, 1000, false);
    library.vocab_size = 277;
    library.base = base;
    rest = train(NULL, NULL, &corpus, &library, 1000, false);
    assert_same_tokenizer(whole, rest);
    tlm_tokenizer_free(whole);
    tlm_tokenizer_free(base);
    tlm_tokenizer_free(rest);
    free_corpus(corpus);
}
END_TEST

/* The pattern of the base is the default; a base that looks whole tokens up makes one that does. */
START_TEST(a_base_passes_its_ways_on)
{
    static const char text[] = "abc-abc-abc";
    tlm_tokenizer_options_t base_options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    parts_t parts = byte_parts();
    tlm_tokenizer_t *base, *tokenizer;
    tlm_bpe_trainer_t *trainer;

    parts.vocab[parts.vocab_size++] = string_bytes("abc");
    base_options.pattern = "[a-z]+|-";
    base_options.ignore_merges = 1;
    ASSERT_OK(create(&base, &parts, &base_options));
    options.base = base;
    options.vocab_size = 300;
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text, strlen(text)));
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    ck_assert_uint_eq(tlm_tokenizer_num_merges(tokenizer), 0); /* each pretoken is a token */
    assert_pieces(tokenizer, "abc-ab", "abc\1-\1a\1b");
    tlm_tokenizer_free(tokenizer);
    tlm_bpe_trainer_free(trainer);
    tlm_tokenizer_free(base);
}
END_TEST

/* ---- Single options ---------------------------------------------------------------------------- */

/* The order is that of GPT-2's own file, of which these are the ids. */
START_TEST(bytes_can_stand_in_the_order_of_gpt2)
{
    static const struct {
        uint8_t byte;
        uint32_t id;
    } known[] = {{'!', 0},    {'A', 32},   {'~', 93},   {0xA1, 94},  {0xAC, 105},
                 {0xAE, 106}, {0xFF, 187}, {0x00, 188}, {'\n', 198}, {' ', 220},
                 {0x7F, 221}, {0xA0, 254}, {0xAD, 255}};
    naive_options_t options = {.vocab_size = 256, .gpt2_order = true};
    tlm_bpe_trainer_options_t library = library_options(&options, NULL);
    corpus_t corpus = {.n = 0};
    tlm_tokenizer_t *tokenizer = train(NULL, NULL, &corpus, &library, 1, false);

    for (size_t i = 0; i < COUNT(known); i++)
        ck_assert_uint_eq(id_of(tokenizer, (tlm_bytes_t){&known[i].byte, 1}), known[i].id);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* The rarest go, and of equal ones the lesser; what goes is told. */
START_TEST(rare_pretokens_are_dropped_and_counted)
{
    static const char text[] = "b.b.a.c.a.averylongpretokenindeed.averylongpretokenindeed";
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    uint64_t dropped, occurrences, distinct;

    options.vocab_size = 300;
    options.max_distinct_pretokens = 3; /* . 6 times, a, averylong..., b twice, c once */
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text, strlen(text)));
    ASSERT_OK(tlm_bpe_trainer_stats(NULL, &distinct, trainer));
    ASSERT_OK(tlm_bpe_trainer_dropped(&dropped, &occurrences, trainer));
    ck_assert_uint_eq(distinct, 3);
    ck_assert_uint_eq(dropped, 2);
    ck_assert_uint_eq(occurrences, 3); /* a, a and c */
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, "c.c.c", 5));
    ASSERT_OK(tlm_bpe_trainer_dropped(&dropped, NULL, trainer));
    ASSERT_OK(tlm_bpe_trainer_dropped(NULL, &occurrences, trainer));
    ck_assert_uint_eq(dropped, 3);
    ck_assert_uint_eq(occurrences, 5); /* averylong... */
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_bpe_trainer_dropped(NULL, NULL, NULL));
    tlm_bpe_trainer_free(trainer);
}
END_TEST

/* ---- Progress ---------------------------------------------------------------------------------- */

typedef struct watcher {
    int64_t calls, cancel_at; /* 0: never */
    int32_t phase;
    uint64_t done, total;
    pthread_t thread;
} watcher_t;

static int32_t watch(void *user, int32_t phase, uint64_t done, uint64_t total)
{
    watcher_t *watcher = user;

    ck_assert(pthread_equal(pthread_self(), watcher->thread));
    ck_assert(done <= total);
    if (watcher->phase == phase)
        ck_assert(done >= watcher->done);
    watcher->phase = phase;
    watcher->done = done;
    watcher->total = total;
    return ++watcher->calls == watcher->cancel_at;
}

START_TEST(progress_is_told_and_can_be_cancelled)
{
    test_random_t random = {(uint64_t)_i, 0};
    tlm_bytes_t text = random_text(&random, 20000);
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    watcher_t watcher = {.phase = -1, .thread = pthread_self()};
    tlm_tokenizer_t *expected = NULL;

    ASSERT_OK(tlm_set_num_threads(1 + _i));
    options.vocab_size = 500;
    options.progress = watch;
    options.progress_user = &watcher;
    for (int64_t cancel_at = 0;; cancel_at++) {
        tlm_bpe_trainer_t *trainer;
        tlm_tokenizer_t *tokenizer = NULL;
        tlm_status_t status;
        uint64_t bytes = 1, counted_calls;

        ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
        tlmi_bpe_trainer_set_piece_size(trainer, 3000);
        watcher = (watcher_t){.phase = -1, .thread = pthread_self(), .cancel_at = cancel_at};
        status = tlm_bpe_trainer_add_text(trainer, text.data, text.size);
        counted_calls = (uint64_t)watcher.calls;
        ck_assert_int_eq(watcher.phase, TLM_BPE_PHASE_COUNTING);
        if (status != TLM_OK) {
            ck_assert_int_eq(status, TLM_ERR_CANCELLED);
            ck_assert(strstr(tlm_error_message(), "20000 bytes") != NULL);
            ASSERT_OK(tlm_bpe_trainer_stats(&bytes, NULL, trainer));
            ck_assert_uint_eq(bytes, 0);
            watcher.phase = -1;
            ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text.data, text.size));
        }
        ck_assert_uint_eq(watcher.done, text.size);
        ck_assert_uint_eq(watcher.total, text.size);
        if (cancel_at > 0 && status == TLM_OK)
            watcher.calls = (int64_t)counted_calls;
        status = tlm_bpe_trainer_train(&tokenizer, trainer);
        ck_assert_int_eq(watcher.phase, TLM_BPE_PHASE_LEARNING);
        if (status != TLM_OK) {
            ck_assert_int_eq(status, TLM_ERR_CANCELLED);
            ck_assert_ptr_null(tokenizer);
            watcher.phase = -1;
            ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
        }
        ck_assert_uint_eq(watcher.done, tlm_tokenizer_num_merges(tokenizer));
        ck_assert_uint_eq(watcher.done, watcher.total);
        if (expected == NULL) {
            expected = tokenizer;
        } else {
            assert_same_tokenizer(expected, tokenizer);
            tlm_tokenizer_free(tokenizer);
        }
        tlm_bpe_trainer_free(trainer);
        if (cancel_at > watcher.calls) /* nothing was cancelled */
            break;
    }
    ASSERT_OK(tlm_set_num_threads(0));
    tlm_tokenizer_free(expected);
    free_text(text);
}
END_TEST

/* ---- Refusals ---------------------------------------------------------------------------------- */

START_TEST(bad_options_are_refused)
{
    tlm_tokenizer_t *base = byte_tokenizer(special_pieces, 1, NULL);
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer = NULL;

#define REFUSED(text, change)                                                                      \
    do {                                                                                           \
        options = (tlm_bpe_trainer_options_t)TLM_BPE_TRAINER_OPTIONS_INIT;                         \
        options.vocab_size = 300;                                                                  \
        change;                                                                                    \
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, text, tlm_bpe_trainer_create(&trainer, &options));  \
        ck_assert_ptr_null(trainer);                                                               \
    } while (0)

    REFUSED("max_token_length", options.max_token_length = 1);
    REFUSED("byte_order 2", options.byte_order = 2);
    REFUSED("byte_order -1", options.byte_order = -1);
    REFUSED("base", (options.byte_order = TLM_BYTE_ORDER_GPT2, options.base = base));
    REFUSED("257", (options.base = base, options.vocab_size = 256));
    REFUSED("1 new", (options.base = base, options.vocab_size = 257,
                      options.special_tokens = special_pieces, options.num_special_tokens = 2));
    REFUSED("single byte", (options.base = base, options.special_tokens = &BYTES("x"),
                            options.num_special_tokens = 1));
#undef REFUSED
    /* A special token of the base may be given again. */
    options = (tlm_bpe_trainer_options_t)TLM_BPE_TRAINER_OPTIONS_INIT;
    options.vocab_size = 257;
    options.base = base;
    options.special_tokens = special_pieces;
    options.num_special_tokens = 1;
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    tlm_bpe_trainer_free(trainer);
    tlm_tokenizer_free(base);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trainer_options");
    TCase *tcase = tcase_create("trainer_options");

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, random_options_give_the_naive_merges, 0, 18);
    tcase_add_loop_test(tcase, training_goes_on_from_a_base, 0, 18);
    tcase_add_test(tcase, a_base_from_the_same_text_changes_nothing);
    tcase_add_test(tcase, a_base_passes_its_ways_on);
    tcase_add_test(tcase, bytes_can_stand_in_the_order_of_gpt2);
    tcase_add_test(tcase, rare_pretokens_are_dropped_and_counted);
    tcase_add_loop_test(tcase, progress_is_told_and_can_be_cancelled, 0, 3);
    tcase_add_test(tcase, bad_options_are_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
