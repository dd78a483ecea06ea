/* Tells whether the environment variables that the library reads say what it understands. What reads
 * them takes what it can and passes over the rest, since it has no way to complain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/thread_pool.h"

/* Writes the names of all levels and features, in that order, as one text. */
static const char *known_words(char *out, size_t size)
{
    size_t used = 0;

    for (int32_t level = 0; level <= TLM_CPU_NEON; level++)
        used += (size_t)snprintf(out + used, size - used, "%s, ", tlm_cpu_level_name(level));
    used += (size_t)snprintf(out + used, size - used, "or - and one of");
    for (int bit = 0; bit < 63; bit++) {
        const char *name = tlm_cpu_feature_name(UINT64_C(1) << bit);

        if (strcmp(name, "unknown") != 0 && used < size)
            used += (size_t)snprintf(out + used, size - used, " %s", name);
    }
    return out;
}

static tlm_status_t check_cpu(void)
{
    const char *item = getenv("TINYLM_CPU");
    char known[384];

    while (item != NULL && *item != '\0') {
        const size_t size = strcspn(item, ",");

        if (size > 0 && !tlmi_cpu_knows(item, size))
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "TINYLM_CPU: '%.*s' is none of the words %s",
                             size < 32 ? (int)size : 32, item, known_words(known, sizeof(known)));
        item += size + (item[size] == ',');
    }
    return TLM_OK;
}

static tlm_status_t check_threads(void)
{
    const char *text = getenv("TINYLM_NUM_THREADS");

    if (text == NULL || tlmi_parse_threads(text) > 0)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                     "TINYLM_NUM_THREADS: '%.32s' is not a number in 1 .. %d", text,
                     TLM_MAX_THREADS);
}

tlm_status_t tlm_check_environment(void)
{
    TLMI_TRY(check_cpu());
    return check_threads();
}
