/* BPE training over MPI: every rank has the tokenizer that a single rank trains on the same texts. Each
 * prints what is wrong and ends with 1. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tinylm/mpi.h"
#include "tinylm/tinylm.h"

enum { TEXT_SIZE = 1500 * 1000, TEXTS = 2 };

static void require(int rank, bool condition, const char *what)
{
    if (condition)
        return;
    printf("rank %d: %s: %s\n", rank, what, tlm_error_message());
    fflush(stdout);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* Words of a few letters, the short ones often. */
static char *make_text(unsigned seed)
{
    char *text = malloc(TEXT_SIZE);

    for (size_t i = 0; text != NULL && i < TEXT_SIZE; i++) {
        seed = seed * 1103515245u + 12345u;
        text[i] =
            (seed >> 16) % 5 == 0 ? " \n"[(seed >> 20) % 9 == 0] : (char)('a' + (seed >> 24) % 7);
    }
    return text;
}

static tlm_tokenizer_t *train(int rank, tlm_communicator_t *communicator, char *const *texts)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer = NULL;

    options.vocab_size = 1500;
    options.communicator = communicator;
    require(rank, tlm_bpe_trainer_create(&trainer, &options) == TLM_OK, "create");
    for (int i = 0; i < TEXTS; i++)
        require(rank, tlm_bpe_trainer_add_text(trainer, texts[i], TEXT_SIZE) == TLM_OK, "add");
    require(rank, tlm_bpe_trainer_train(&tokenizer, trainer) == TLM_OK, "train");
    tlm_bpe_trainer_free(trainer);
    return tokenizer;
}

static void compare(int rank, const tlm_tokenizer_t *a, const tlm_tokenizer_t *b)
{
    uint32_t n = tlm_tokenizer_num_merges(a);

    require(rank, n == tlm_tokenizer_num_merges(b) && n > 1000, "merges");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t left[2], right[2];

        require(rank,
                tlm_tokenizer_merge(&left[0], &right[0], a, i) == TLM_OK &&
                    tlm_tokenizer_merge(&left[1], &right[1], b, i) == TLM_OK,
                "a merge");
        require(rank, left[0] == left[1] && right[0] == right[1], "another merge");
    }
}

int main(int argc, char **argv)
{
    char *texts[TEXTS] = {make_text(1), make_text(2)};
    tlm_communicator_t *communicator = NULL;
    int rank, provided;

    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    require(rank, texts[0] != NULL && texts[1] != NULL, "memory");
    require(rank, tlm_communicator_create_mpi(&communicator, MPI_COMM_WORLD, 60.0) == TLM_OK,
            "communicator");
    tlm_tokenizer_t *together = train(rank, communicator, texts);
    tlm_tokenizer_t *alone = train(rank, NULL, texts);
    compare(rank, together, alone);
    tlm_tokenizer_free(together);
    tlm_tokenizer_free(alone);
    tlm_communicator_free(communicator);
    free(texts[0]);
    free(texts[1]);
    MPI_Finalize();
    return 0;
}
