/* How many bytes the weights of a model take: in its file, in memory, and in the files that convert
 * writes. */
#ifndef EXAMPLES_MODEL_STORAGE_H
#define EXAMPLES_MODEL_STORAGE_H

#include "support/cli_json.h"

enum { STORAGE_CHOICES = TLM_WEIGHTS_Q6_K + 1 }; /* of weight_words */

typedef struct model_storage {
    const char *path;
    uint64_t parameters;
    uint64_t file;                       /* bytes of the weights in it */
    uint64_t kept;                       /* bytes in memory, opened for inference */
    int32_t type;                        /* TLM_...: of most of these */
    uint64_t converted[STORAGE_CHOICES]; /* by TLM_WEIGHTS_...; 0: convert does not write it */
} model_storage_t;

/* Opens the model at a path; errors end the program. */
void storage_read(model_storage_t *out, tlm_model_options_t *shape, const char *path);

void storage_print(const model_storage_t *storage);
void storage_add(cli_result_t *result, const model_storage_t *storage);

#endif
