/* How well a model predicts: the perplexity of text files, or the accuracy in questions with several answers to
 * choose from. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/choices.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/model_words.h"

/* What is scored with, and how. */
typedef struct scorer {
    tlm_model_t *model;
    const tlm_tokenizer_t *tokenizer;
    size_t context, stride; /* tokens that a window sees, and from one to the next */
    const char *separator;  /* between question and answer */
    uint32_t begin[8];      /* the special tokens that texts begin with */
    size_t num_begin;
} scorer_t;

/* Adds up what files have in common. */
typedef struct counts {
    uint64_t tokens; /* that were predicted */
    uint64_t bytes, characters, words;
    double log_likelihood;
} counts_t;

/* ---- Tokens ---- */

/* The special tokens that the tokenizer's file puts before a text: those of "a" before the token of "a". */
static void find_begin(scorer_t *scorer)
{
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    uint32_t *plain, *with;
    size_t num_plain, num_with;

    options.whole_texts = true;
    cli_check(tlm_tokenizer_encode_with(&plain, &num_plain, scorer->tokenizer, "a", 1, &options));
    options.add_special_tokens = true;
    cli_check(tlm_tokenizer_encode_with(&with, &num_with, scorer->tokenizer, "a", 1, &options));
    while (num_plain > 0 && scorer->num_begin + num_plain < num_with && scorer->num_begin < 8 &&
           with[scorer->num_begin] != plain[0]) {
        scorer->begin[scorer->num_begin] = with[scorer->num_begin];
        scorer->num_begin++;
    }
    tlm_free(plain);
    tlm_free(with);
}

/* The tokens that texts begin with, and those of a text. The caller frees them. */
static uint32_t *encode(size_t *n, const scorer_t *scorer, const char *text, size_t size)
{
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    size_t begin = scorer->num_begin;
    uint32_t *ids, *all;

    options.whole_texts = true;
    cli_check(tlm_tokenizer_encode_with(&ids, n, scorer->tokenizer, text, size, &options));
    all = cli_realloc(NULL, (begin + *n + 1) * sizeof(*all));
    memcpy(all, scorer->begin, begin * sizeof(*all));
    if (*n > 0)
        memcpy(all + begin, ids, *n * sizeof(*all));
    *n += begin;
    tlm_free(ids);
    return all;
}

/* ---- Files ---- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void count_text(counts_t *counts, const char *text, size_t size)
{
    counts->bytes += size;
    for (size_t i = 0; i < size; i++) {
        counts->characters += ((unsigned char)text[i] & 0xC0) != 0x80;
        counts->words += !is_space(text[i]) && (i == 0 || is_space(text[i - 1]));
    }
}

/* Scores ids in windows, each of which predicts a token more than it sees; each token counts in the first
 * window that predicts it. */
static double score_ids(const scorer_t *scorer, const uint32_t *ids, size_t n)
{
    float *log_probs = cli_realloc(NULL, scorer->context * sizeof(*log_probs));
    double total = 0.0;

    for (size_t start = 0, done = 1; done < n; start += scorer->stride) {
        size_t end = n - start <= scorer->context ? n : start + scorer->context + 1;

        cli_check(tlm_model_score(NULL, log_probs, scorer->model, ids + start, end - start, 0));
        for (; done < end; done++)
            total += log_probs[done - start - 1];
        cli_progress(NULL, done, n);
    }
    free(log_probs);
    return total;
}

static void print_counts(const char *name, const counts_t *c)
{
    double loss = -c->log_likelihood, per_byte = loss / (double)c->bytes;
    double per_token = loss / (double)c->tokens, per_character = loss / (double)c->characters;
    double per_word = loss / (double)c->words;

    if (!cli_is_json()) {
        cli_progress_hide();
        printf("%s: %" PRIu64 " tokens predicted, %" PRIu64 " bytes, %" PRIu64
               " characters, %" PRIu64 " words\n",
               name, c->tokens, c->bytes, c->characters, c->words);
        printf("  log-likelihood %.4f, perplexity %.4f per token, %.4f per byte, %.4f per "
               "character, %.4f per word, %.4f bits per byte\n",
               c->log_likelihood, exp(per_token), exp(per_byte), exp(per_character), exp(per_word),
               per_byte / log(2.0));
        return;
    }
    cli_result_t *result = cli_result_new();
    cli_result_add_text(result, "file", name);
    cli_result_add_count(result, "tokens", c->tokens);
    cli_result_add_count(result, "bytes", c->bytes);
    cli_result_add_count(result, "characters", c->characters);
    cli_result_add_count(result, "words", c->words);
    cli_result_add_real(result, "log_likelihood", c->log_likelihood);
    cli_result_add_real(result, "token_perplexity", exp(per_token));
    cli_result_add_real(result, "byte_perplexity", exp(per_byte));
    cli_result_add_real(result, "character_perplexity", exp(per_character));
    cli_result_add_real(result, "word_perplexity", exp(per_word));
    cli_result_add_real(result, "bits_per_byte", per_byte / log(2.0));
    cli_result_print(result);
}

static void score_file(counts_t *total, const scorer_t *scorer, const char *path)
{
    counts_t counts = {0};
    uint32_t *ids;
    size_t n, size;
    char *text = cli_read_text(&size, path);

    count_text(&counts, text, size);
    ids = encode(&n, scorer, text, size);
    if (n < 2 || counts.words == 0)
        cli_fail("%s: there is nothing to predict in %zu tokens", path, n);
    counts.tokens = n - 1;
    cli_progress_begin(path, "tokens");
    counts.log_likelihood = score_ids(scorer, ids, n);
    cli_progress_end();
    print_counts(path, &counts);
    total->tokens += counts.tokens;
    total->bytes += counts.bytes;
    total->characters += counts.characters;
    total->words += counts.words;
    total->log_likelihood += counts.log_likelihood;
    free(text);
    free(ids);
}

/* ---- Questions ---- */

typedef struct results {
    uint64_t questions, right, right_by_length;
} results_t;

/* The log-probability of an answer after its question. Its tokens are those that the question's do not begin
 * with, so that the white space between them may belong to either. */
static double score_answer(const scorer_t *scorer, const question_t *question, const char *answer,
                           const char *where)
{
    size_t question_size = strlen(question->text), num_before, n, answer_size = strlen(answer);
    size_t separator_size = strlen(scorer->separator);
    char *text = cli_realloc(NULL, question_size + separator_size + answer_size + 1);
    uint32_t *before, *ids;
    double total = 0.0;
    float *log_probs;

    strcpy(text, question->text);
    strcat(text, scorer->separator);
    strcat(text, answer);
    while (question_size > 0 && is_space(text[question_size - 1])) /* it joins the answer's word */
        question_size--;
    before = encode(&num_before, scorer, text, question_size);
    ids = encode(&n, scorer, text, strlen(text));
    if (num_before == 0 || n <= num_before)
        cli_fail("%s: the answer '%.40s' has no token of its own, or the question none", where,
                 answer);
    if (n - num_before > scorer->context)
        cli_fail("%s: an answer of %zu tokens does not fit a context of %zu", where, n - num_before,
                 scorer->context);
    size_t cut =
        n > scorer->context ? n - scorer->context - 1 : 0; /* the question loses its start */
    log_probs = cli_realloc(NULL, n * sizeof(*log_probs));
    cli_check(tlm_model_score(NULL, log_probs, scorer->model, ids + cut, n - cut, 0));
    for (size_t i = num_before; i < n; i++)
        total += log_probs[i - cut - 1];
    free(log_probs);
    free(before);
    free(text);
    free(ids);
    return total;
}

static size_t count_characters(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n > 0 ? n : 1;
}

/* What score_question is called with. */
typedef struct quiz {
    const scorer_t *scorer;
    results_t *results;
} quiz_t;

static void score_question(void *user, const question_t *question, const char *where)
{
    double best = -INFINITY, best_by_length = -INFINITY;
    size_t chosen = 0, chosen_by_length = 0;
    const scorer_t *scorer = ((quiz_t *)user)->scorer;
    results_t *results = ((quiz_t *)user)->results;

    for (size_t i = 0; i < question->num_choices; i++) {
        double score = score_answer(scorer, question, question->choices[i], where);
        double by_length = score / (double)count_characters(question->choices[i]);

        if (score > best) {
            best = score;
            chosen = i;
        }
        if (by_length > best_by_length) {
            best_by_length = by_length;
            chosen_by_length = i;
        }
    }
    results->questions++;
    results->right += chosen == question->answer;
    results->right_by_length += chosen_by_length == question->answer;
    cli_progress(NULL, results->questions, 0);
}

/* The standard error of an accuracy. */
static double error_of(double accuracy, uint64_t n)
{
    return n > 1 ? sqrt(accuracy * (1.0 - accuracy) / (double)(n - 1)) : 0.0;
}

static void print_results(const char *name, const results_t *results)
{
    uint64_t n = results->questions;
    double accuracy = (double)results->right / (double)n;
    double by_length = (double)results->right_by_length / (double)n;

    if (!cli_is_json()) {
        cli_progress_hide();
        printf("%s: %" PRIu64 " questions, accuracy %.4f (+- %.4f), by length %.4f (+- %.4f)\n",
               name, n, accuracy, error_of(accuracy, n), by_length, error_of(by_length, n));
        return;
    }
    cli_result_t *result = cli_result_new();
    cli_result_add_text(result, "file", name);
    cli_result_add_count(result, "questions", n);
    cli_result_add_real(result, "accuracy", accuracy);
    cli_result_add_real(result, "accuracy_error", error_of(accuracy, n));
    cli_result_add_real(result, "accuracy_by_length", by_length);
    cli_result_add_real(result, "accuracy_by_length_error", error_of(by_length, n));
    cli_result_print(result);
}

static void score_questions(results_t *total, const scorer_t *scorer, const char *path)
{
    results_t results = {0};
    quiz_t quiz = {scorer, &results};

    cli_progress_begin(path, "questions");
    read_questions(path, score_question, &quiz);
    cli_progress_end();
    if (results.questions == 0)
        cli_fail("%s: there are no questions", path);
    print_results(path, &results);
    total->questions += results.questions;
    total->right += results.right;
    total->right_by_length += results.right_by_length;
}

/* ---- The program ---- */

static void set_windows(scorer_t *scorer, uint64_t context, uint64_t stride)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;

    cli_check(tlm_model_get_options(&options, scorer->model));
    cli_check_range("context", context, 0, (uint64_t)options.context_length);
    scorer->context = (size_t)(context == 0 ? (uint64_t)options.context_length : context);
    cli_check_range("stride", stride, 0, scorer->context);
    scorer->stride = stride != 0 ? (size_t)stride : (scorer->context + 1) / 2;
}

static void score_all(const scorer_t *scorer, char **paths, int n, bool choices)
{
    counts_t counts = {0};
    results_t results = {0};

    for (int i = 0; i < n; i++)
        if (choices)
            score_questions(&results, scorer, paths[i]);
        else
            score_file(&counts, scorer, paths[i]);
    if (n > 1 && choices)
        print_results("total", &results);
    else if (n > 1)
        print_counts("total", &counts);
}

static const char *model_path, *tokenizer_path, *vocab, *merges, *special, *separator = " ";
static const char *adapter;
static uint64_t context, stride;
static bool choices, plain;

static const cli_option_t options[] = {
    {"model", CLI_STRING, &model_path, HELP_MODEL, true},
    {"adapter", CLI_STRING, &adapter, HELP_ADAPTER, false},
    {"tokenizer", CLI_STRING, &tokenizer_path, HELP_TOKENIZER "; else the model's own", false},
    {"vocab", CLI_STRING, &vocab, HELP_VOCAB, false},
    {"merges", CLI_STRING, &merges, HELP_MERGES, false},
    {"special", CLI_STRING, &special, HELP_LOADED_SPECIAL, false},
    {"choices", CLI_FLAG, &choices,
     "files are JSON lines: question (or context), choices, answer (the index of the right "
     "choice, its letter or its text)",
     false},
    {"separator", CLI_STRING, &separator, "between question and choice", false},
    {"context", CLI_COUNT, &context,
     HELP_CONTEXT ", each a window of the text; 0: as many as the model takes", false},
    {"stride", CLI_COUNT, &stride, "tokens from window to window; 0: half of one", false},
    {"no-begin", CLI_FLAG, &plain,
     "without the special tokens that the tokenizer puts before a text", false},
};

static int run(int n, char **paths)
{
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    scorer_t scorer = {.separator = separator};
    tlm_tokenizer_t *tokenizer;

    if (n == 0)
        cli_fail_usage("a file to score is missing");
    cli_check_special(special, tokenizer_path, vocab);
    for (int i = 0; i < n; i++)
        cli_expect(paths[i], choices ? ROLE_QUESTIONS : ROLE_TEXT,
                   choices ? "choices" : CLI_OPERANDS);
    cli_open_model(&scorer.model, &tokenizer, &file, model_path, tokenizer_path, vocab, merges,
                   special, true);
    if (adapter != NULL)
        cli_check(tlm_model_load_adapter(scorer.model, adapter));
    if (tokenizer == NULL) /* ends the program, and says what is missing */
        tokenizer = cli_load_tokenizer(tokenizer_path, vocab, merges, special);
    scorer.tokenizer = tokenizer;
    set_windows(&scorer, context, stride);
    if (!plain)
        find_begin(&scorer);
    score_all(&scorer, paths, n, choices);
    tlm_model_free(scorer.model);
    tlm_tokenizer_free(tokenizer);
    return 0;
}

static const cli_value_t values[] = {
    {CLI_OPERANDS, NULL, ROLE_FILE}, SOURCE_VALUES, {NULL, NULL, ROLE_NONE}};

const cli_program_t score_program = {
    .operands = "FILE...",
    .summary = "Prints how well a model predicts text files: perplexity, or with --choices the "
               "accuracy\nin multiple choice.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .has = CLI_HAS_THREADS | CLI_HAS_JSON | CLI_HAS_QUIET,
    .values = values,
    .name = "score",
    .command = "eval",
    .brief = "measure how well a language model predicts",
    .example = "--model model.gguf valid.txt",
    .run = run,
};

CLI_MAIN(score_program)
