/* Trains a byte-level BPE vocabulary on text files and reports what it learned. */
#include <inttypes.h>

#include "support/cli.h"
#include "support/cli_json.h"
#include "support/ranks.h"

static const char *vocab_path, *merges_path, *json_path, *special = CLI_END_TOKEN;
static uint64_t vocab_size = 1024, min_frequency = 1;
static bool mpi;

static const cli_option_t options[] = {
    {"output", CLI_STRING, &json_path, HELP_OUTPUT ": tokenizer.json", false},
    {"vocab", CLI_STRING, &vocab_path, HELP_VOCAB ", or as well", false},
    {"merges", CLI_STRING, &merges_path, HELP_MERGES, false},
    {"vocab-size", CLI_COUNT, &vocab_size, HELP_VOCAB_SIZE ": the special token, 256 bytes, merges",
     false},
    {"special", CLI_STRING, &special, HELP_SPECIAL "; it has id 0", false},
    {"min-frequency", CLI_COUNT, &min_frequency, "least number of occurrences of a merged pair",
     false},
    {"mpi", CLI_FLAG, &mpi, HELP_MPI, false},
};

static int32_t show_progress(void *user, int32_t phase, uint64_t done, uint64_t total)
{
    int32_t *shown = user;

    if (*shown != phase)
        cli_progress_begin(phase == TLM_BPE_PHASE_COUNTING ? "counting" : "learning",
                           phase == TLM_BPE_PHASE_COUNTING ? "B" : "merges");
    *shown = phase;
    return cli_progress(NULL, done, total);
}

static tlm_bpe_trainer_t *create_trainer(tlm_communicator_t *ranks)
{
    static int32_t shown = -1;
    tlm_bpe_trainer_options_t how = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bytes_t special_token = cli_bytes(special);
    tlm_bpe_trainer_t *trainer;

    how.vocab_size = (uint32_t)vocab_size;
    how.special_tokens = &special_token;
    how.num_special_tokens = special_token.size > 0 ? 1 : 0;
    how.min_frequency = min_frequency;
    how.communicator = ranks;
    how.progress = show_progress;
    how.progress_user = &shown;
    cli_check(tlm_bpe_trainer_create(&trainer, &how));
    return trainer;
}

static void check_outputs(void)
{
    if (vocab_path == NULL && merges_path == NULL && json_path == NULL)
        cli_fail_usage("--output is missing, or --vocab and --merges");
    if (vocab_path == NULL && merges_path != NULL)
        cli_fail_usage("--vocab is missing");
    if (vocab_path != NULL && merges_path == NULL)
        cli_fail_usage("--merges is missing");
}

static void save(const tlm_tokenizer_t *tokenizer)
{
    if (vocab_path != NULL)
        cli_check(tlm_tokenizer_save(tokenizer, vocab_path, merges_path));
    if (json_path != NULL)
        cli_check(tlm_tokenizer_save_json(tokenizer, json_path));
}

static void print_json(const tlm_tokenizer_t *tokenizer, uint64_t text_bytes, uint64_t pretokens,
                       const double seconds[2])
{
    cli_result_t *result = cli_result_new();
    tlm_bytes_t longest;
    uint32_t id;
    size_t n;

    cli_result_add_count(result, "bytes", text_bytes);
    cli_result_add_count(result, "pretokens", pretokens);
    cli_result_add_count(result, "merges", tlm_tokenizer_num_merges(tokenizer));
    cli_result_add_count(result, "tokens", tlm_tokenizer_vocab_size(tokenizer));
    cli_check(tlm_tokenizer_longest_tokens(&id, &n, tokenizer, 1));
    cli_check(tlm_tokenizer_token(&longest, tokenizer, id));
    cli_result_add_bytes(result, "longest_token", longest.data, longest.size);
    cli_result_add_real(result, "counting_seconds", seconds[0]);
    cli_result_add_real(result, "learning_seconds", seconds[1]);
    cli_result_add_text(result, "output", json_path);
    cli_result_add_text(result, "vocab", vocab_path);
    cli_result_add_text(result, "merges_file", merges_path);
    cli_result_print(result);
}

static void print_results(const tlm_tokenizer_t *tokenizer, const tlm_bpe_trainer_t *trainer,
                          const double seconds[2])
{
    uint64_t text_bytes, pretokens;

    cli_check(tlm_bpe_trainer_stats(&text_bytes, &pretokens, trainer));
    if (cli_is_json()) {
        print_json(tokenizer, text_bytes, pretokens, seconds);
        return;
    }
    printf("counted %" PRIu64 " bytes, %" PRIu64 " distinct pretokens, in %.2f s\n", text_bytes,
           pretokens, seconds[0]);
    printf("learned %" PRIu32 " merges, %" PRIu32 " tokens in all, in %.2f s\n",
           tlm_tokenizer_num_merges(tokenizer), tlm_tokenizer_vocab_size(tokenizer), seconds[1]);
    cli_print_longest_tokens(tokenizer, 1);
    if (vocab_path != NULL)
        printf("wrote %s and %s\n", vocab_path, merges_path);
    if (json_path != NULL)
        printf("wrote %s\n", json_path);
}

static int run(int n, char **paths)
{
    tlm_communicator_t *ranks = NULL;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;
    double start = cli_seconds(), seconds[2];

    if (n == 0)
        cli_fail_usage("no text file is given");
    check_outputs();
    cli_check_range("vocab-size", vocab_size, 256, UINT32_MAX);
    if (mpi)
        ranks = ranks_join(cli_command_line());
    trainer = create_trainer(ranks);
    for (int i = 0; i < n; i++)
        cli_check(tlm_bpe_trainer_add_file(trainer, paths[i]));
    seconds[0] = cli_seconds() - start;
    start = cli_seconds();
    cli_check(tlm_bpe_trainer_train(&tokenizer, trainer));
    seconds[1] = cli_seconds() - start;
    cli_progress_end();
    if (tlm_communicator_rank(ranks) == 0)
        save(tokenizer);
    print_results(tokenizer, trainer, seconds);
    tlm_tokenizer_free(tokenizer);
    tlm_bpe_trainer_free(trainer);
    ranks_leave(ranks);
    return 0;
}

static const cli_value_t values[] = {{CLI_OPERANDS, NULL, ROLE_TEXT},
                                     {"output", NULL, ROLE_OUTPUT},
                                     {"vocab", NULL, ROLE_OUTPUT},
                                     {"merges", NULL, ROLE_OUTPUT},
                                     {NULL, NULL, ROLE_NONE}};

const cli_program_t train_bpe_program = {
    .operands = "FILE...",
    .summary = "Trains a byte-level BPE tokenizer on text files.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .has = CLI_HAS_THREADS | CLI_HAS_JSON | CLI_HAS_QUIET,
    .values = values,
    .name = "train_bpe",
    .command = "bpe",
    .brief = "train a byte-level BPE tokenizer",
    .example = "--vocab-size 4096 --output tokenizer.json train.txt",
    .run = run,
};

CLI_MAIN(train_bpe_program)
