/* Converts text files to a token file and back:
 *     tokenize --vocab V --merges M --output train.u16 train.txt     encodes, on all threads, and with
 *         mpirun -n 4 tokenize --mpi ... on all ranks
 *     tokenize --vocab V --merges M --output train.txt --decode train.u16
 * or reports on the tokenizer and on how it encodes texts:
 *     tokenize --vocab V --merges M --stats train.txt
 * --tokenizer T replaces V and M by a tokenizer.json, a rank file or a directory with either. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support/cli.h"
#include "support/ranks.h"

enum { DECODE_BATCH = 1 << 16, NUM_LONGEST = 5 };

#define PILE_BYTES (825.0 * (1 << 30)) /* of The Pile: Gao et al. 2020, table 1 */

typedef struct encoding {
    tlm_encoder_t *encoder;
    tlm_token_writer_t *writer;
    uint64_t bytes, tokens;
} encoding_t;

static int32_t write_ids(void *user, const uint32_t *ids, size_t n)
{
    encoding_t *encoding = user;

    cli_check(tlm_token_writer_push(encoding->writer, ids, n));
    encoding->tokens += n;
    return 0;
}

static void encode_chunk(void *user, const void *chunk, size_t size)
{
    encoding_t *encoding = user;

    cli_check(tlm_encoder_push(encoding->encoder, chunk, size));
    encoding->bytes += size;
}

/* The type that the name implies, or else the narrowest one that holds every id. */
static int32_t token_type(const char *path, uint32_t vocab_size)
{
    if (cli_ends_with(path, ".u16") || cli_ends_with(path, ".u32"))
        return TLM_TOKENS_AUTO;
    return vocab_size <= UINT16_MAX + 1 ? TLM_TOKENS_UINT16 : TLM_TOKENS_UINT32;
}

/* Encodes files that cannot be mapped, such as pipes, as a stream on one thread. */
static void encode_streams(encoding_t *encoding, const char *output, int32_t type, char **paths,
                           int n, const tlm_tokenizer_t *tokenizer)
{
    cli_check(tlm_token_writer_create(&encoding->writer, output, type));
    cli_check(tlm_encoder_create(&encoding->encoder, tokenizer, write_ids, encoding));
    for (int i = 0; i < n; i++) {
        cli_read_file(paths[i], encode_chunk, encoding);
        cli_check(tlm_encoder_finish(encoding->encoder));
    }
    cli_check(tlm_token_writer_finish(encoding->writer));
    tlm_encoder_free(encoding->encoder);
    tlm_token_writer_free(encoding->writer);
}

/* Whether all are regular files; adds up their sizes. */
static bool are_files(uint64_t *bytes, char **paths, int n)
{
    struct stat info;

    for (int i = 0; i < n; i++) {
        if (stat(paths[i], &info) != 0 || !S_ISREG(info.st_mode))
            return false;
        *bytes += (uint64_t)info.st_size;
    }
    return true;
}

static void encode_files(const char *output, char **paths, int n, const tlm_tokenizer_t *tokenizer,
                         tlm_communicator_t *ranks)
{
    int32_t type = token_type(output, tlm_tokenizer_vocab_size(tokenizer));
    tlm_encode_files_options_t options = TLM_ENCODE_FILES_OPTIONS_INIT;
    encoding_t encoding = {0};
    double seconds = cli_seconds();

    options.token_type = type;
    options.communicator = ranks;
    if (are_files(&encoding.bytes, paths, n) || ranks != NULL) {
        cli_check(tlm_tokenizer_encode_files(
            &encoding.tokens, tokenizer, (const char *const *)paths, (size_t)n, output, &options));
    } else {
        encoding.bytes = 0;
        encode_streams(&encoding, output, type, paths, n, tokenizer);
    }
    seconds = cli_seconds() - seconds;
    printf("%s: %" PRIu64 " bytes in %" PRIu64 " tokens, %.3f bytes/token, %.2f s\n", output,
           encoding.bytes, encoding.tokens,
           encoding.tokens > 0 ? (double)encoding.bytes / (double)encoding.tokens : 0.0, seconds);
    if (ranks != NULL && seconds > 0.0)
        printf("%" PRId32 " ranks, %.1f MB/s, %.0f%% of the time in communication\n",
               tlm_communicator_num_ranks(ranks), (double)encoding.bytes / 1e6 / seconds,
               100.0 * tlm_communicator_seconds(ranks) / seconds);
}

static int32_t count_ids(void *user, const uint32_t *ids, size_t n)
{
    encoding_t *encoding = user;

    (void)ids;
    encoding->tokens += n;
    return 0;
}

static void print_ratio(const char *name, const encoding_t *encoding, double seconds)
{
    printf("%s: %" PRIu64 " bytes, %" PRIu64 " tokens, %.4f bytes/token, %.1f MB/s\n", name,
           encoding->bytes, encoding->tokens,
           encoding->tokens > 0 ? (double)encoding->bytes / (double)encoding->tokens : 0.0,
           (double)encoding->bytes / 1e6 / seconds);
}

/* The compression and the speed for each file, on one thread, including reading. */
static void print_stats(char **paths, int n, const tlm_tokenizer_t *tokenizer)
{
    encoding_t all = {0};
    double all_seconds = 0.0;

    cli_print_longest_tokens(tokenizer, NUM_LONGEST);
    for (int i = 0; i < n; i++) {
        encoding_t one = {0};
        double seconds = cli_seconds();

        cli_check(tlm_encoder_create(&one.encoder, tokenizer, count_ids, &one));
        cli_read_file(paths[i], encode_chunk, &one);
        cli_check(tlm_encoder_finish(one.encoder));
        tlm_encoder_free(one.encoder);
        seconds = cli_seconds() - seconds;
        print_ratio(paths[i], &one, seconds);
        all.bytes += one.bytes;
        all.tokens += one.tokens;
        all_seconds += seconds;
    }
    print_ratio("all", &all, all_seconds);
    if (all.bytes > 0)
        printf("the Pile (825 GiB) at this speed, one thread: %.2f hours\n",
               PILE_BYTES / (double)all.bytes * all_seconds / 3600.0);
}

/* A token file, decoded piece by piece. */
typedef struct decoding {
    tlm_decoder_t *decoder;
    tlm_dataset_t *dataset;
    uint64_t next;  /* the first id not decoded yet */
    bool finished;  /* there are no more ids */
    uint8_t *bytes; /* of the latest piece */
    size_t size, capacity;
    size_t used;    /* bytes compared so far */
    uint64_t total; /* bytes compared, all pieces */
} decoding_t;

static void open_decoding(decoding_t *decoding, const char *path, const tlm_tokenizer_t *tokenizer)
{
    uint32_t vocab_size = tlm_tokenizer_vocab_size(tokenizer);
    int32_t type = cli_ends_with(path, ".npy") ? TLM_TOKENS_AUTO : token_type(path, vocab_size);

    *decoding = (decoding_t){0};
    cli_check(tlm_decoder_create_with(&decoding->decoder, tokenizer, NULL)); /* bytes */
    cli_check(tlm_dataset_open(&decoding->dataset, path, type, vocab_size));
}

static void append(decoding_t *decoding, const char *bytes, size_t size)
{
    if (size > decoding->capacity - decoding->size) {
        decoding->capacity = 2 * decoding->capacity + size;
        decoding->bytes = cli_realloc(decoding->bytes, decoding->capacity);
    }
    if (size > 0)
        memcpy(decoding->bytes + decoding->size, bytes, size);
    decoding->size += size;
}

/* Decodes the next piece; false at the end. */
static bool decode_piece(decoding_t *decoding)
{
    static uint32_t ids[DECODE_BATCH];
    uint64_t left = tlm_dataset_length(decoding->dataset) - decoding->next;
    size_t n = left < DECODE_BATCH ? (size_t)left : DECODE_BATCH, size;
    const char *bytes;

    decoding->size = decoding->used = 0;
    if (decoding->finished)
        return false;
    cli_check(tlm_dataset_read(ids, n, decoding->dataset, decoding->next));
    for (size_t i = 0; i < n; i++) {
        cli_check(tlm_decoder_push(&bytes, &size, decoding->decoder, ids[i]));
        append(decoding, bytes, size);
    }
    decoding->next += n;
    decoding->finished = n == 0;
    if (decoding->finished) {
        cli_check(tlm_decoder_finish(&bytes, &size, decoding->decoder));
        append(decoding, bytes, size);
    }
    return true;
}

static void close_decoding(decoding_t *decoding)
{
    tlm_decoder_free(decoding->decoder);
    tlm_dataset_free(decoding->dataset);
    free(decoding->bytes);
}

static void compare_chunk(void *user, const void *chunk, size_t size)
{
    const uint8_t *bytes = chunk;
    decoding_t *decoding = user;

    while (size > 0) {
        size_t n = decoding->size - decoding->used;

        if (n == 0) {
            if (!decode_piece(decoding))
                cli_fail("the tokens end after %" PRIu64 " bytes of text", decoding->total);
            continue;
        }
        n = n < size ? n : size;
        if (memcmp(decoding->bytes + decoding->used, bytes, n) != 0)
            cli_fail("the decoded text differs near byte %" PRIu64, decoding->total);
        decoding->used += n;
        decoding->total += n;
        bytes += n;
        size -= n;
    }
}

static void check_round_trip(const char *path, char **texts, int n,
                             const tlm_tokenizer_t *tokenizer)
{
    decoding_t decoding;

    open_decoding(&decoding, path, tokenizer);
    for (int i = 0; i < n; i++)
        cli_read_file(texts[i], compare_chunk, &decoding);
    while (decoding.used == decoding.size && decode_piece(&decoding))
        ;
    if (decoding.used < decoding.size)
        cli_fail("the decoded text is longer than the %" PRIu64 " bytes encoded", decoding.total);
    printf("round trip: %" PRIu64 " bytes equal\n", decoding.total);
    close_decoding(&decoding);
}

static void decode_files(const char *output, char **paths, int n, const tlm_tokenizer_t *tokenizer)
{
    FILE *file = output != NULL ? fopen(output, "wb") : stdout;

    if (file == NULL)
        cli_fail("%s: %s", output, strerror(errno));
    for (int i = 0; i < n; i++) {
        decoding_t decoding;

        open_decoding(&decoding, paths[i], tokenizer);
        while (decode_piece(&decoding))
            fwrite(decoding.bytes, 1, decoding.size, file);
        close_decoding(&decoding);
    }
    cli_close_output(file, output);
}

int main(int argc, char **argv)
{
    const char *path = NULL, *vocab = NULL, *merges = NULL, *output = NULL, *special = NULL;
    bool decode = false, check = false, stats = false, mpi = false;
    uint64_t threads = 0;
    const cli_option_t options[] = {
        {"tokenizer", CLI_STRING, &path, "tokenizer.json, rank file, or directory", false},
        {"vocab", CLI_STRING, &vocab, "or: vocab.json", false},
        {"merges", CLI_STRING, &merges, "and merges.txt", false},
        {"special", CLI_STRING, &special,
         "special token besides the file's own, '' for none; with --vocab " CLI_END_TOKEN, false},
        {"output", CLI_STRING, &output, "file to write; optional with --decode and --stats", false},
        {"decode", CLI_FLAG, &decode, "turn token files into text", false},
        {"check", CLI_FLAG, &check, "decode what was written and compare", false},
        {"stats", CLI_FLAG, &stats, "longest tokens, bytes per token, speed; writes nothing",
         false},
        {"threads", CLI_COUNT, &threads, "threads; 0: one per CPU", false},
        {"mpi", CLI_FLAG, &mpi,
         "share the texts with the other ranks of mpirun; the token file is the same", false},
    };
    const cli_program_t program = {
        "FILE...",
        "Encodes text files to one token file: .npy, or raw ids of 2 (.u16) or 4 (.u32) bytes.",
        options, sizeof(options) / sizeof(options[0])};
    int first = cli_parse(argc, argv, &program);
    tlm_communicator_t *ranks = NULL;
    tlm_tokenizer_t *tokenizer;

    if (first == argc)
        cli_fail("no file given");
    cli_check_range("threads", threads, 0, TLM_MAX_THREADS);
    if (output == NULL && !decode && !stats)
        cli_fail("--output is missing");
    if (check && (decode || stats))
        cli_fail("--check goes with encoding, not with --decode or --stats");
    if (stats && (decode || output != NULL))
        cli_fail("--stats writes nothing: no --output or --decode");
    if (mpi && (decode || stats))
        cli_fail("--mpi goes with encoding, not with --decode or --stats");
    if (mpi)
        ranks = ranks_join(argv);
    cli_check(tlm_set_num_threads((int32_t)threads));
    tokenizer = cli_load_tokenizer(path, vocab, merges, special);
    if (stats)
        print_stats(argv + first, argc - first, tokenizer);
    else if (decode)
        decode_files(output, argv + first, argc - first, tokenizer);
    else
        encode_files(output, argv + first, argc - first, tokenizer, ranks);
    if (check && tlm_communicator_rank(ranks) == 0)
        check_round_trip(output, argv + first, argc - first, tokenizer);
    tlm_tokenizer_free(tokenizer);
    ranks_leave(ranks);
    return 0;
}
