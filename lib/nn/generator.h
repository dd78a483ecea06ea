/* What one call of generation and many sequences side by side share. */
#ifndef TLMI_GENERATOR_H
#define TLMI_GENERATOR_H

#include "tinylm/generate.h"

/* tlm_generator_add and tlm_generator_step, with the name of the call for messages. */
tlm_status_t tlmi_generator_add(size_t *sequence, tlm_generator_t *generator,
                                const uint32_t *prompt, size_t prompt_length,
                                const tlm_generate_options_t *options, const char *function);
tlm_status_t tlmi_generator_step(size_t *num_running, tlm_generator_t *generator,
                                 const char *function);

/* A caller's options (NULL: the defaults), checked. */
tlm_status_t tlmi_generate_options_read(tlm_generate_options_t *known, const char *function,
                                        const tlm_generate_options_t *options, int64_t vocab_size);

/* Fails unless all ids are in the vocabulary, naming the first that is not. */
tlm_status_t tlmi_check_ids(const char *function, const char *what, const uint32_t *ids, size_t n,
                            int64_t vocab_size);

#endif
