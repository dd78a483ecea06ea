/* Trains a byte-level BPE vocabulary on text files and reports what it learned. */
#include <inttypes.h>

#include "support/cli.h"
#include "support/ranks.h"

static tlm_bpe_trainer_t *create_trainer(uint64_t vocab_size, const char *special,
                                         uint64_t min_frequency, tlm_communicator_t *ranks)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bytes_t special_token = cli_bytes(special);
    tlm_bpe_trainer_t *trainer;

    options.vocab_size = (uint32_t)vocab_size;
    options.special_tokens = &special_token;
    options.num_special_tokens = special_token.size > 0 ? 1 : 0;
    options.min_frequency = min_frequency;
    options.communicator = ranks;
    cli_check(tlm_bpe_trainer_create(&trainer, &options));
    return trainer;
}

static void save(const tlm_tokenizer_t *tokenizer, const char *vocab_path, const char *merges_path,
                 const char *json_path)
{
    cli_check(tlm_tokenizer_save(tokenizer, vocab_path, merges_path));
    if (json_path != NULL)
        cli_check(tlm_tokenizer_save_json(tokenizer, json_path));
}

int main(int argc, char **argv)
{
    const char *vocab_path = NULL, *merges_path = NULL, *json_path = NULL, *special = CLI_END_TOKEN;
    uint64_t vocab_size = 1024, min_frequency = 1, threads = 0, text_bytes, pretokens;
    bool mpi = false;
    const cli_option_t options[] = {
        {"vocab", CLI_STRING, &vocab_path, "vocab.json to write", true},
        {"merges", CLI_STRING, &merges_path, "merges.txt to write", true},
        {"tokenizer", CLI_STRING, &json_path, "tokenizer.json to write as well", false},
        {"vocab-size", CLI_COUNT, &vocab_size, "special token + 256 bytes + merges", false},
        {"special", CLI_STRING, &special, "special token, id 0; '' for none", false},
        {"min-frequency", CLI_COUNT, &min_frequency, "least number of occurrences of a merged pair",
         false},
        {"threads", CLI_COUNT, &threads, "threads; 0: one per CPU", false},
        {"mpi", CLI_FLAG, &mpi,
         "share the texts with the other ranks of mpirun; the vocabulary is the same", false},
    };
    const cli_program_t program = {"FILE...", "Trains a byte-level BPE tokenizer on text files.",
                                   options, sizeof(options) / sizeof(options[0])};
    int first = cli_parse(argc, argv, &program);
    tlm_communicator_t *ranks = NULL;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;
    double start = cli_seconds(), counted, trained;

    if (first == argc)
        cli_fail("no text file given");
    cli_check_range("vocab-size", vocab_size, 256, UINT32_MAX);
    cli_check_range("threads", threads, 0, TLM_MAX_THREADS);
    if (mpi)
        ranks = ranks_join(argv);
    cli_check(tlm_set_num_threads((int32_t)threads));
    trainer = create_trainer(vocab_size, special, min_frequency, ranks);
    for (int i = first; i < argc; i++)
        cli_check(tlm_bpe_trainer_add_file(trainer, argv[i]));
    counted = cli_seconds();
    cli_check(tlm_bpe_trainer_train(&tokenizer, trainer));
    trained = cli_seconds();
    if (tlm_communicator_rank(ranks) == 0)
        save(tokenizer, vocab_path, merges_path, json_path);

    cli_check(tlm_bpe_trainer_stats(&text_bytes, &pretokens, trainer));
    printf("counted %" PRIu64 " bytes, %" PRIu64 " distinct pretokens, in %.2f s\n", text_bytes,
           pretokens, counted - start);
    printf("learned %" PRIu32 " merges, %" PRIu32 " tokens in all, in %.2f s\n",
           tlm_tokenizer_num_merges(tokenizer), tlm_tokenizer_vocab_size(tokenizer),
           trained - counted);
    cli_print_longest_tokens(tokenizer, 1);
    printf("wrote %s and %s\n", vocab_path, merges_path);
    tlm_tokenizer_free(tokenizer);
    tlm_bpe_trainer_free(trainer);
    ranks_leave(ranks);
    return 0;
}
