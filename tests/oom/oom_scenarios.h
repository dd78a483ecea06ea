/* What the files of scenarios share with the runner. */
#ifndef TEST_OOM_SCENARIOS_H
#define TEST_OOM_SCENARIOS_H

#include "tinylm/tinylm.h"

#include <stdio.h>
#include <stdlib.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != TLM_OK)                                                                      \
            goto done;                                                                             \
    } while (0)

/* For what is done before any allocation fails. */
#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != TLM_OK) {                                                                    \
            printf("%s: %s\n", #call, tlm_error_message());                                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

typedef struct scenario {
    const char *name;
    void (*prepare)(void); /* may be NULL, as may clean_up */
    tlm_status_t (*run)(void);
    void (*clean_up)(void);
    bool starts_library; /* what a third-party library allocates once and keeps is no leak */
} scenario_t;

/* Each list ends with a scenario without a name. */
extern const scenario_t tokenizer_scenarios[], tokenizer_json_scenarios[], normalizer_scenarios[],
    subword_scenarios[], tensor_scenarios[], model_scenarios[], model_file_scenarios[],
    vocabulary_scenarios[], chat_scenarios[], generation_scenarios[], adapter_scenarios[],
    rank_scenarios[];

/* Reports a breach; the program will fail. */
void fault(const char *what);

/* A path in the program's temporary directory, which is removed at the end. Good for four calls. */
const char *path_of(const char *name);

#endif
