/* Counts allocations in training. Elements, scratch, packed operands, the heads of tensors and nodes and
 * lists of ids all come from the buffer cache, so that from the third step on the system is asked for
 * nothing. */
#include <stdio.h>
#include <stdlib.h>

#include "tensor/tensor_core.h"
#include "tinylm/tinylm.h"

#include "failing_allocator.h"

enum { VOCAB = 300, TIME = 64, BATCH = 4, STEPS = 5, TOKENS = BATCH * TIME };

static void check(tlm_status_t status)
{
    if (status != TLM_OK) {
        printf("%s\n", tlm_error_message());
        exit(1);
    }
}

static void step(tlm_model_t *model, tlm_optimizer_t *optimizer, const uint32_t *ids)
{
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss;
    size_t n;

    check(tlm_model_parameters(&tensors, &n, model));
    tlm_optimizer_zero_grad(optimizer);
    check(tlm_model_loss(&loss, model, ids, ids + 1, BATCH, TIME));
    check(tlm_tensor_backward(loss, NULL));
    tlm_tensor_free(loss);
    check(tlm_clip_grad_norm(NULL, tensors, n, 1.0));
    check(tlm_optimizer_step(optimizer));
}

/* Allocations of one step. */
typedef struct counts {
    long all, large;
    size_t fresh_blocks;
} counts_t;

static counts_t counts_now(void)
{
    return (counts_t){all_requests(), large_requests(), tlmi_buffer_cache_stats().fresh_blocks};
}

static int run(bool checkpointing)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    uint32_t ids[TOKENS + 1];
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *const *tensors;
    tlm_model_t *model;
    int faults = 0;
    size_t n;

    for (uint32_t i = 0; i <= TOKENS; i++)
        ids[i] = (i * 7 + i * i) % VOCAB;
    options.vocab_size = VOCAB;
    options.context_length = TIME;
    options.d_model = 64;
    options.num_layers = 2;
    options.num_heads = 4;
    check(tlm_model_create(&model, &options));
    check(tlm_model_set_checkpointing(model, checkpointing));
    check(tlm_model_parameters(&tensors, &n, model));
    check(tlm_optimizer_create_adamw(&optimizer, NULL));
    check(tlm_optimizer_add_group(optimizer, tensors, n, NULL));
    for (int i = 1; i <= STEPS; i++) {
        counts_t before = counts_now(), after;

        step(model, optimizer, ids);
        after = counts_now();
        long all = after.all - before.all, large = after.large - before.large;
        printf("step %d: %ld requests, %ld of %d bytes or more\n", i, all, large, LARGE_REQUEST);
        if (i >= 3 && (all != 0 || after.fresh_blocks != before.fresh_blocks))
            faults++;
    }
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    return faults;
}

int main(void)
{
    int faults;

    check(tlm_set_num_threads(2));
    faults = run(false) + run(true);
    if (faults > 0)
        printf("%d steps allocated more than the one before\n", faults);
    return faults > 0;
}
