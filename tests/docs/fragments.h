/* What the fragments of C in docs/ use without declaring it, for tests/docs/check_pages.py. */
#ifndef TINYLM_TESTS_FRAGMENTS_H
#define TINYLM_TESTS_FRAGMENTS_H

#include <math.h>
#include <stdio.h>
#include <tinylm/tinylm.h>

struct matcher;

struct grammar {
    struct matcher *matcher;
};

void matcher_consume(struct matcher *matcher, uint32_t id);
int matcher_is_done(struct matcher *matcher);
const uint32_t *matcher_compute_mask(struct matcher *matcher);

int32_t print(void *user, const char *text, size_t size);
int32_t print_step(void *user, const tlm_train_step_t *step);

tlm_model_t *model;
tlm_optimizer_t *optimizer;
tlm_tokenizer_t *tokenizer;
tlm_dataset_t *valid;
tlm_loader_t *loader;
tlm_trainer_t *trainer;
tlm_communicator_t *communicator;
tlm_generator_t *generator;
tlm_generate_options_t options;
tlm_ids_t prompts[2];
double loss;
uint64_t iteration, step;
const uint32_t *prompt, *turn, *ids;
const float *log_probs;
size_t n, turn_length, size, count, number, chat, running;
int32_t state;
char *text;

#endif
