/* Compares encoding a text file to a token file (tlm_tokenizer_encode_file) with encoding the same text in
 * memory (tlm_tokenizer_encode), on one thread and on all: MB/s, the best of a few alternating rounds. The
 * caches are warm after the first round.
 *
 *     bench_encode_file VOCAB.json MERGES.txt TEXT [TOKENS.u16]
 *
 * Without TOKENS.u16, the tokens are written to a temporary file, which is removed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "bench_clock.h"
#include "tinylm/tinylm.h"

enum { ROUNDS = 7 };

static void check(tlm_status_t status)
{
    if (status != TLM_OK) {
        fprintf(stderr, "%s\n", tlm_error_message());
        exit(1);
    }
}

static void measure(const tlm_tokenizer_t *tokenizer, const char *text_path,
                    const char *tokens_path)
{
    double encode = 1e30, file = 1e30; /* seconds */
    tlmi_mapping_t text;

    check(tlmi_map_file(&text, text_path));
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t *ids;
        uint64_t written;
        double begin = now();
        size_t n;

        check(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
        encode = fmin(encode, now() - begin);
        tlm_free(ids);
        begin = now();
        check(tlm_tokenizer_encode_file(&written, tokenizer, text_path, tokens_path,
                                        TLM_TOKENS_UINT16, NULL, NULL));
        file = fmin(file, now() - begin);
        if (written != n) {
            fprintf(stderr, "%zu ids in memory, %llu in the file\n", n,
                    (unsigned long long)written);
            exit(1);
        }
    }
    printf("%2d threads: encode %6.0f MB/s, encode_file %6.0f MB/s, %.2f of it\n",
           (int)tlm_num_threads(), (double)text.size / 1e6 / encode, (double)text.size / 1e6 / file,
           encode / file);
    tlmi_unmap_file(&text);
}

int main(int argc, char **argv)
{
    const char *tokens_path = argc > 4 ? argv[4] : "/tmp/tinylm-bench.u16";
    tlm_tokenizer_t *tokenizer;

    if (argc < 4) {
        printf("usage: %s VOCAB.json MERGES.txt TEXT [TOKENS.u16]\n", argv[0]);
        return 0;
    }
    check(tlm_tokenizer_load(&tokenizer, argv[1], argv[2], NULL));
    check(tlm_set_num_threads(1));
    measure(tokenizer, argv[3], tokens_path);
    check(tlm_set_num_threads(0));
    if (tlm_num_threads() > 1)
        measure(tokenizer, argv[3], tokens_path);
    unlink(tokens_path);
    tlm_tokenizer_free(tokenizer);
    return 0;
}
