/* Optimizer states divided among the ranks of a run, so that each holds its share of them. */
#include <inttypes.h>
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "optim/optimizer_core.h"

tlm_status_t tlmi_optimizer_check_whole(const char *function, const tlm_optimizer_t *optimizer)
{
    if (optimizer->num_ranks > 0)
        return tlmi_fail(TLM_ERR_STATE,
                         "%s: the optimizer's state is divided among the %" PRId32
                         " ranks of a trainer",
                         function, optimizer->num_ranks);
    return TLM_OK;
}

static bool is_elementwise(const tlm_optimizer_t *optimizer, const tlmi_parameter_t *parameter)
{
    return optimizer->groups[parameter->group].kind->is_elementwise;
}

/* How many values a rank keeps of a state, of elements begin .. end - 1 of its parameter. */
static size_t kept_values(const tlm_optimizer_t *optimizer, const tlmi_parameter_t *parameter,
                          const tlmi_state_t *state, int64_t begin, int64_t end)
{
    if (is_elementwise(optimizer, parameter))
        return (size_t)(end - begin);
    return begin < end ? state->numel : 0;
}

static void free_kept(float **kept, const tlm_optimizer_t *optimizer, const int64_t *begins,
                      const int64_t *ends)
{
    size_t at = 0;

    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlmi_parameter_t *parameter = &optimizer->parameters[i];

        for (size_t j = 0; j < parameter->num_states; j++, at++)
            if (kept[at] != NULL)
                tlmi_lasting_free(
                    kept[at],
                    kept_values(optimizer, parameter, &parameter->states[j], begins[i], ends[i]),
                    sizeof(float));
    }
    tlmi_free(kept);
}

/* Copies of what this rank keeps, state by state. */
static tlm_status_t copy_kept(float ***out, const tlm_optimizer_t *optimizer, const int64_t *begins,
                              const int64_t *ends)
{
    size_t num_states = 0, at = 0;

    for (size_t i = 0; i < optimizer->num_parameters; i++)
        num_states += optimizer->parameters[i].num_states;
    float **kept = tlmi_calloc(num_states, sizeof(*kept), "the states that a rank keeps");
    if (kept == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlmi_parameter_t *parameter = &optimizer->parameters[i];
        const size_t first = is_elementwise(optimizer, parameter) ? (size_t)begins[i] : 0;

        for (size_t j = 0; j < parameter->num_states; j++, at++) {
            const tlmi_state_t *state = &parameter->states[j];
            const size_t n = kept_values(optimizer, parameter, state, begins[i], ends[i]);

            kept[at] = tlmi_lasting_alloc(n, sizeof(float), "the state of an optimizer");
            if (kept[at] == NULL) {
                free_kept(kept, optimizer, begins, ends);
                return TLM_ERR_OUT_OF_MEMORY;
            }
            if (n > 0)
                memcpy(kept[at], state->values + first, n * sizeof(float));
        }
    }
    *out = kept;
    return TLM_OK;
}

tlm_status_t tlmi_optimizer_divide(tlm_optimizer_t *optimizer, int32_t num_ranks,
                                   const int64_t *begins, const int64_t *ends)
{
    float **kept;
    size_t at = 0;

    TLMI_TRY(copy_kept(&kept, optimizer, begins, ends));
    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        tlmi_parameter_t *parameter = &optimizer->parameters[i];

        for (size_t j = 0; j < parameter->num_states; j++, at++) {
            tlmi_state_t *state = &parameter->states[j];
            const size_t n = kept_values(optimizer, parameter, state, begins[i], ends[i]);

            tlmi_lasting_free(state->values, state->numel, sizeof(float));
            state->values = kept[at];
            state->numel = n;
        }
        parameter->begin = begins[i];
        parameter->end = ends[i];
    }
    optimizer->num_ranks = num_ranks;
    tlmi_free(kept);
    return TLM_OK;
}
