/* Converts text files to a token file and back:
 *     tokenize --vocab V --merges M --output train.u16 train.txt     encodes, on all threads
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
#include "support/cli_json.h"
#include "support/model_words.h"
#include "support/ranks.h"

enum { DECODE_BATCH = 1 << 16, NUM_LONGEST = 5 };

#define PILE_BYTES (825.0 * (1 << 30)) /* of The Pile: Gao et al. 2020, table 1 */

typedef struct encoding {
    tlm_encoder_t *encoder;
    tlm_token_writer_t *writer;
    uint64_t bytes, tokens;
    uint64_t total; /* bytes of all files; 0: not known */
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
    cli_progress(NULL, encoding->bytes, encoding->total);
}

static bool is_pipe(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && !S_ISREG(info.st_mode);
}

/* Bytes of the files together; 0 if one of them has no size. */
static uint64_t total_size(char **paths, int n)
{
    uint64_t total = 0;
    struct stat info;

    for (int i = 0; i < n; i++) {
        if (stat(paths[i], &info) != 0 || is_pipe(paths[i]))
            return 0;
        total += (uint64_t)info.st_size;
    }
    return total;
}

static double ratio_of(const encoding_t *encoding)
{
    return encoding->tokens > 0 ? (double)encoding->bytes / (double)encoding->tokens : 0.0;
}

/* The type that the name implies, or else the narrowest one that holds every id. */
static int32_t token_type(const char *path, uint32_t vocab_size)
{
    if (cli_ends_with(path, ".u16") || cli_ends_with(path, ".u32"))
        return TLM_TOKENS_AUTO;
    return vocab_size <= UINT16_MAX + 1 ? TLM_TOKENS_UINT16 : TLM_TOKENS_UINT32;
}

/* Encodes several files, or one that cannot be mapped, as a stream on one thread. */
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

static int32_t count_ids(void *user, const uint32_t *ids, size_t n)
{
    encoding_t *encoding = user;

    (void)ids;
    encoding->tokens += n;
    return 0;
}

/* Adds a row to the list, or prints it where there is none. */
static void print_ratio(cli_result_t *list, const char *name, const encoding_t *encoding,
                        double seconds)
{
    const double speed = (double)encoding->bytes / 1e6 / seconds;

    if (list == NULL) {
        cli_progress_hide();
        printf("%s: %" PRIu64 " bytes, %" PRIu64 " tokens, %.4f bytes/token, %.1f MB/s\n", name,
               encoding->bytes, encoding->tokens, ratio_of(encoding), speed);
        return;
    }
    cli_result_t *row = cli_result_add_object(list, NULL);
    cli_result_add_text(row, "file", name);
    cli_result_add_count(row, "bytes", encoding->bytes);
    cli_result_add_count(row, "tokens", encoding->tokens);
    cli_result_add_real(row, "bytes_per_token", ratio_of(encoding));
    cli_result_add_real(row, "megabytes_per_second", speed);
}

static void add_longest_tokens(cli_result_t *result, const tlm_tokenizer_t *tokenizer)
{
    cli_result_t *list = cli_result_add_list(result, "longest_tokens");
    uint32_t ids[NUM_LONGEST];
    tlm_bytes_t token;
    size_t n;

    cli_check(tlm_tokenizer_longest_tokens(ids, &n, tokenizer, NUM_LONGEST));
    for (size_t i = 0; i < n; i++) {
        cli_check(tlm_tokenizer_token(&token, tokenizer, ids[i]));
        cli_result_add_bytes(list, NULL, token.data, token.size);
    }
}

/* Encodes a file on one thread, without keeping the ids. */
static encoding_t count_file(double *seconds, const char *path, const tlm_tokenizer_t *tokenizer)
{
    encoding_t one = {.total = total_size((char **)(uintptr_t)&path, 1)};
    const double start = cli_seconds();

    cli_check(tlm_encoder_create(&one.encoder, tokenizer, count_ids, &one));
    cli_read_file(path, encode_chunk, &one);
    cli_check(tlm_encoder_finish(one.encoder));
    tlm_encoder_free(one.encoder);
    *seconds = cli_seconds() - start;
    return one;
}

/* The compression and the speed for each file, on one thread, including reading. */
static void print_stats(char **paths, int n, const tlm_tokenizer_t *tokenizer)
{
    cli_result_t *result = cli_is_json() ? cli_result_new() : NULL;
    cli_result_t *list = NULL;
    encoding_t all = {0};
    double all_seconds = 0.0, hours;

    if (result == NULL) {
        cli_print_longest_tokens(tokenizer, NUM_LONGEST);
    } else {
        add_longest_tokens(result, tokenizer);
        list = cli_result_add_list(result, "files");
    }
    for (int i = 0; i < n; i++) {
        double seconds;

        cli_progress_begin(paths[i], "B");
        const encoding_t one = count_file(&seconds, paths[i], tokenizer);
        cli_progress_end();
        print_ratio(list, paths[i], &one, seconds);
        all.bytes += one.bytes;
        all.tokens += one.tokens;
        all_seconds += seconds;
    }
    print_ratio(list, "all", &all, all_seconds);
    hours = PILE_BYTES / (double)all.bytes * all_seconds / 3600.0;
    if (result != NULL)
        cli_result_add_real(result, "pile_hours", hours);
    if (result != NULL)
        cli_result_print(result);
    else if (all.bytes > 0)
        printf("the Pile (825 GiB) at this speed, one thread: %.2f hours\n", hours);
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
        cli_progress(NULL, decoding->next, tlm_dataset_length(decoding->dataset));
        bytes += n;
        size -= n;
    }
}

/* Ends the program if the tokens are not those of the texts; returns the bytes that were compared. */
static uint64_t check_round_trip(const char *path, char **texts, int n,
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
    close_decoding(&decoding);
    return decoding.total;
}

static void print_ranks(const encoding_t *encoding, double seconds, const tlm_communicator_t *ranks)
{
    if (ranks != NULL && seconds > 0.0)
        cli_say("%" PRId32 " ranks, %.1f MB/s, %.0f%% of the time in communication\n",
                tlm_communicator_num_ranks(ranks), (double)encoding->bytes / 1e6 / seconds,
                100.0 * tlm_communicator_seconds(ranks) / seconds);
}

static void print_encoding(const char *output, const encoding_t *encoding, double seconds,
                           bool is_checked, uint64_t checked)
{
    if (!cli_is_json()) {
        if (is_checked)
            printf("round trip: %" PRIu64 " bytes equal\n", checked);
        return;
    }
    cli_result_t *result = cli_result_new();
    cli_result_add_text(result, "output", output);
    cli_result_add_count(result, "bytes", encoding->bytes);
    cli_result_add_count(result, "tokens", encoding->tokens);
    cli_result_add_real(result, "bytes_per_token", ratio_of(encoding));
    cli_result_add_real(result, "seconds", seconds);
    if (is_checked)
        cli_result_add_count(result, "round_trip_bytes", checked);
    cli_result_print(result);
}

static void encode_files(const char *output, char **paths, int n, const tlm_tokenizer_t *tokenizer,
                         bool is_checked, tlm_communicator_t *ranks)
{
    int32_t type = token_type(output, tlm_tokenizer_vocab_size(tokenizer));
    tlm_encode_files_options_t options = TLM_ENCODE_FILES_OPTIONS_INIT;
    encoding_t encoding = {.total = total_size(paths, n)};
    double seconds = cli_seconds();
    uint64_t checked = 0;

    options.token_type = type;
    options.communicator = ranks;
    options.progress = cli_progress;
    is_checked = is_checked && tlm_communicator_rank(ranks) == 0;
    cli_progress_begin("encoding", "B");
    if (encoding.total > 0 || ranks != NULL) {
        cli_check(tlm_tokenizer_encode_files(
            &encoding.tokens, tokenizer, (const char *const *)paths, (size_t)n, output, &options));
        encoding.bytes = encoding.total;
    } else {
        encode_streams(&encoding, output, type, paths, n, tokenizer);
    }
    cli_progress_end();
    seconds = cli_seconds() - seconds;
    cli_say("%s: %" PRIu64 " bytes in %" PRIu64 " tokens, %.3f bytes/token, %.2f s\n", output,
            encoding.bytes, encoding.tokens, ratio_of(&encoding), seconds);
    print_ranks(&encoding, seconds, ranks);
    if (is_checked) {
        cli_progress_begin("checking", "B");
        checked = check_round_trip(output, paths, n, tokenizer);
        cli_progress_end();
    }
    print_encoding(output, &encoding, seconds, is_checked, checked);
}

static void decode_files(const char *output, char **paths, int n, const tlm_tokenizer_t *tokenizer)
{
    FILE *file = output != NULL ? fopen(output, "wb") : stdout;
    uint64_t bytes = 0;

    if (file == NULL)
        cli_fail("%s: %s", output, strerror(errno));
    for (int i = 0; i < n; i++) {
        decoding_t decoding;

        open_decoding(&decoding, paths[i], tokenizer);
        if (output != NULL)
            cli_progress_begin("decoding", "tokens");
        while (decode_piece(&decoding)) {
            fwrite(decoding.bytes, 1, decoding.size, file);
            bytes += decoding.size;
            cli_progress(NULL, decoding.next, tlm_dataset_length(decoding.dataset));
        }
        cli_progress_end();
        close_decoding(&decoding);
    }
    cli_close_output(file, output);
    if (cli_is_json()) {
        cli_result_t *result = cli_result_new();

        cli_result_add_text(result, "output", output);
        cli_result_add_count(result, "bytes", bytes);
        cli_result_print(result);
    }
}

/* ---- The program ---- */

static const char *tokenizer_path, *vocab_path, *merges_path, *output, *special;
static bool decode, check, stats, mpi;

static const cli_option_t options[] = {
    {"tokenizer", CLI_STRING, &tokenizer_path, HELP_TOKENIZER, false},
    {"vocab", CLI_STRING, &vocab_path, HELP_VOCAB, false},
    {"merges", CLI_STRING, &merges_path, HELP_MERGES, false},
    {"special", CLI_STRING, &special, HELP_LOADED_SPECIAL, false},
    {"output", CLI_STRING, &output, HELP_OUTPUT "; optional with --decode, and not with --stats",
     false},
    {"decode", CLI_FLAG, &decode, "turn token files into text", false},
    {"check", CLI_FLAG, &check, "decode what was written and compare", false},
    {"stats", CLI_FLAG, &stats, "longest tokens, bytes per token, speed; writes nothing", false},
    {"mpi", CLI_FLAG, &mpi, HELP_MPI, false},
};

static int run(int n, char **paths)
{
    tlm_communicator_t *ranks = NULL;
    tlm_tokenizer_t *tokenizer;

    if (n == 0)
        cli_fail_usage("no file is given");
    if (output == NULL && !decode && !stats)
        cli_fail_usage("--output is missing");
    if (check && (decode || stats))
        cli_fail_usage("--check goes with encoding, not with --decode or --stats");
    if (stats && (decode || output != NULL))
        cli_fail_usage("--stats writes nothing: no --output or --decode");
    if (mpi && (decode || stats))
        cli_fail_usage("--mpi goes with encoding, not with --decode or --stats");
    if (mpi)
        ranks = ranks_join(cli_command_line());
    if (decode && output == NULL && cli_is_json())
        cli_fail_usage("--json with --decode needs --output");
    for (int i = 0; i < n; i++) {
        cli_expect(paths[i], decode ? ROLE_TOKENS : ROLE_TEXT, decode ? "decode" : CLI_OPERANDS);
        if (check && is_pipe(paths[i]))
            cli_fail("%s: this is a device or a pipe, but --check reads each file again", paths[i]);
    }
    tokenizer = cli_load_tokenizer(tokenizer_path, vocab_path, merges_path, special);
    if (stats)
        print_stats(paths, n, tokenizer);
    else if (decode)
        decode_files(output, paths, n, tokenizer);
    else
        encode_files(output, paths, n, tokenizer, check, ranks);
    tlm_tokenizer_free(tokenizer);
    ranks_leave(ranks);
    return 0;
}

static const cli_value_t values[] = {{CLI_OPERANDS, NULL, ROLE_FILE},
                                     TOKENIZER_VALUES,
                                     {"output", NULL, ROLE_OUTPUT},
                                     {NULL, NULL, ROLE_NONE}};

const cli_program_t tokenize_program = {
    .operands = "FILE...",
    .summary =
        "Encodes text files to one token file: .npy, or raw ids of 2 (.u16) or 4 (.u32) bytes.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .has = CLI_HAS_THREADS | CLI_HAS_JSON | CLI_HAS_QUIET,
    .values = values,
    .name = "tokenize",
    .command = "tokenize",
    .brief = "encode text files to token files, and back",
    .example = "--tokenizer tokenizer.json --output train.npy train.txt\n"
               "--tokenizer tokenizer.json --decode --output again.txt train.npy",
    .run = run,
};

CLI_MAIN(tokenize_program)
