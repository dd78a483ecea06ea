/* What the files of test_golden share: values as they are recorded, and the cases of each file. */
#ifndef TEST_GOLDEN_CASES_H
#define TEST_GOLDEN_CASES_H

#include "golden_record.h"
#include "golden_support.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define ASSERT_OK(call)                                                                            \
    do {                                                                                           \
        tlm_status_t ok_status_ = (call);                                                          \
        ck_assert_msg(ok_status_ == TLM_OK, "%s: %s", #call, tlm_error_message());                 \
    } while (0)

/* Values that belong to one name, as they come. */
typedef struct values {
    uint64_t values[GOLDEN_MAX_VALUES];
    size_t n;
} values_t;

static inline void add_value(values_t *values, uint64_t value)
{
    ck_assert_uint_lt(values->n, GOLDEN_MAX_VALUES);
    values->values[values->n++] = value;
}

static inline void check_values(const values_t *values, const char *name, int digits)
{
    golden_check(name, digits, values->values, values->n);
}

/* Loop tests run on one thread and on two; one is enough to record. */
static inline bool begin_on_threads(int threads)
{
    ASSERT_OK(tlm_set_num_threads(threads));
    return golden_output == NULL || threads == 1;
}

static inline unsigned char *read_file(size_t *size, const char *path)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes;

    ck_assert_msg(file != NULL, "%s cannot be read", path);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*size + 1);
    ck_assert_uint_eq(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

/* ---- Cases ------------------------------------------------------------------------------ */

/* Losses, parameters and generated ids of training. */
void golden_add_training(TCase *tcase);

/* The checkpoints of 0.2. They were made on the scalar level, and only there are the same bytes
 * made again. */
void golden_add_checkpoints(TCase *tcase, bool made_again);

/* Writes the two checkpoints to a directory. */
void golden_add_checkpoint_writer(TCase *tcase, const char *directory);

/* Merges and ids of real texts; false, with their names printed, if some are not there. */
bool golden_add_texts(TCase *tcase);

/* Checks what a model generates: a greedy and a sampled sequence, and one call with its score. */
void golden_check_generation(tlm_model_t *model, const char *prefix);

#endif
