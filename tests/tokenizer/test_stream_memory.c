/* A stream takes less than a megabyte of memory, however long it is: the test is a child process that may
 * have one megabyte more than it has when the stream begins. qemu-user keeps no such limit. */
#include "tokenizer_support.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum {
    MEGABYTE = 1 << 20,
    STREAM_SIZE = 6 * MEGABYTE,
    CHUNK = 1009 /* a prime, so that each round of the text is cut at other places */
};

/* Words, characters of two to four bytes, special tokens whole and in parts. */
static const char text[] =
    "It was the caf\xC3\xA9 of \xE3\x81\x82\xE3\x81\x84 and \xF0\x9F\x98\x80: "
    "1234 <|end|><|end|> <|end <|end|>\n\n  the end, \xFF\x80 isn't it?\n";

typedef struct stream_sum {
    uint64_t hash, n;
} stream_sum_t;

static int32_t add_ids(void *user, const uint32_t *ids, size_t n)
{
    stream_sum_t *sum = user;

    for (size_t i = 0; i < n; i++)
        sum->hash = sum->hash * 1000003 + ids[i];
    sum->n += n;
    return 0;
}

/* Bytes at [from, from + size) of the endless text. */
static void fill_chunk(char *chunk, size_t from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        chunk[i] = text[(from + i) % (sizeof(text) - 1)];
}

static tlm_status_t encode_stream(stream_sum_t *sum, const tlm_tokenizer_t *tokenizer,
                                  size_t chunk_size)
{
    static char chunk[STREAM_SIZE];
    tlm_encoder_t *encoder;
    tlm_status_t status = tlm_encoder_create(&encoder, tokenizer, add_ids, sum);

    if (status != TLM_OK)
        return status;
    for (size_t at = 0; at < STREAM_SIZE && status == TLM_OK; at += chunk_size) {
        size_t size = STREAM_SIZE - at < chunk_size ? STREAM_SIZE - at : chunk_size;

        fill_chunk(chunk, at, size);
        status = tlm_encoder_push(encoder, chunk, size);
    }
    if (status == TLM_OK)
        status = tlm_encoder_finish(encoder);
    tlm_encoder_free(encoder);
    return status;
}

/* Bytes of address space in use; 0 if unknown. Allocates nothing. */
static size_t address_space(void)
{
    char line[64] = "";
    int file = open("/proc/self/statm", O_RDONLY);
    ssize_t n = file >= 0 ? read(file, line, sizeof(line) - 1) : 0;

    if (file >= 0)
        close(file);
    return n > 0 ? strtoul(line, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Encodes with a megabyte more than there is now, and writes the sum to `out`. Ends the process. */
static _Noreturn void run_child(int out, const tlm_tokenizer_t *tokenizer)
{
    stream_sum_t sum = {0, 0};
    size_t space = address_space();
    struct rlimit limit = {space + MEGABYTE, space + MEGABYTE};
    tlm_status_t status;

    if (space == 0 || setrlimit(RLIMIT_AS, &limit) != 0)
        _exit(2);
    if (malloc(2 * MEGABYTE) != NULL) /* the limit is one */
        _exit(3);
    status = encode_stream(&sum, tokenizer, CHUNK);
    if (status != TLM_OK) {
        const char *message = tlm_error_message();

        if (write(STDERR_FILENO, message, strlen(message)) < 0)
            _exit(5);
        _exit(4);
    }
    _exit(write(out, &sum, sizeof(sum)) == sizeof(sum) ? 0 : 5);
}

START_TEST(a_stream_takes_less_than_a_megabyte)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(1, NULL);
    stream_sum_t expected = {0, 0}, sum;
    int ends[2], status;
    pid_t child;

    ck_assert_int_eq(pipe(ends), 0);
    child = fork();
    if (child == 0)
        run_child(ends[1], tokenizer);
    ck_assert_int_ge(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    ck_assert_int_eq(read(ends[0], &sum, sizeof(sum)), sizeof(sum));
    ASSERT_OK(encode_stream(&expected, tokenizer, STREAM_SIZE));
    ck_assert_uint_gt(sum.n, STREAM_SIZE / 20);
    ck_assert_uint_eq(sum.n, expected.n);
    ck_assert_uint_eq(sum.hash, expected.hash);
    close(ends[0]);
    close(ends[1]);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    if (is_sanitized() || is_emulated()) /* sanitizers take memory of their own */
        return 77;
    Suite *suite = suite_create("stream_memory");
    TCase *tcase = tcase_create("stream_memory");
    SRunner *runner = srunner_create(suite);
    tcase_add_test(tcase, a_stream_takes_less_than_a_megabyte);
    suite_add_tcase(suite, tcase);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
