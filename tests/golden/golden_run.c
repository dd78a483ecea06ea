/* Prints the bits of a training run of the CS336 model, to be compared between two builds of the
 * library:
 *
 *     TINYLM_CPU=scalar|avx2|avx512 golden_run [steps] >FILE
 *
 * Fewer than the usual 50 steps print the first lines of those of 50. The last line is a hash of
 * the parameters after the steps. The library is the shared one, so LD_LIBRARY_PATH chooses another
 * build. */
#include <inttypes.h>
#include <stdio.h>

#include "golden_support.h"

enum { VOCAB = 10000, STEPS = 50, BATCH = 8, CONTEXT = 256 };

static void check(tlm_status_t status)
{
    if (status != TLM_OK) {
        fprintf(stderr, "golden_run: %s\n", tlm_error_message());
        exit(1);
    }
}

int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 10) : STEPS, hash;
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    golden_run_t run = {NULL, BATCH, CONTEXT, 336, STEPS, 1e-3};
    tlm_optimizer_t *optimizer;
    tlm_dataset_t *data;
    tlm_model_t *model;

    if (steps == 0 || steps > STEPS) {
        fprintf(stderr, "usage: golden_run [steps, 1 to %d]\n", STEPS);
        return 2;
    }
    shape.vocab_size = VOCAB;
    shape.context_length = CONTEXT;
    shape.d_model = 512;
    shape.num_layers = 4;
    shape.num_heads = 16;
    shape.d_ff = 1344;
    shape.seed = 336;
    check(golden_make_data(&data, 1000000, VOCAB, 336));
    check(tlm_model_create(&model, &shape));
    check(golden_make_optimizer(&optimizer, model, 0));
    run.data = data;
    printf("level %s, kernel %s\n", tlm_cpu_level_name(tlm_cpu_level()), tlm_gemm_kernel_name());
    for (uint64_t step = 0; step < steps; step++) {
        double norm;
        float loss;

        check(golden_step(&loss, &norm, model, optimizer, &run, step));
        printf("step %2" PRIu64 "  loss %08" PRIx64 " (%.6f)  gradient norm %016" PRIx64
               " (%.6f)\n",
               step + 1, golden_float_bits(loss), (double)loss, golden_double_bits(norm), norm);
        fflush(stdout);
    }
    check(golden_hash_parameters(&hash, model));
    printf("parameters %016" PRIx64 "\n", hash);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    tlm_dataset_free(data);
    return 0;
}
