/* The exponential moving average of the parameters: a <- d a + (1 - d) theta after each step, from 0, so
 * that the average after t steps is a / (1 - d^t). It is one more state of each parameter, and so it is
 * saved, resumed and divided among ranks like the others. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/number.h"
#include "kernels/vector_math.h"
#include "optim/optimizer_core.h"

#define STATE_NAME "average"

/* The average of a parameter, which is its last state. */
static tlmi_state_t *average_of(const tlmi_parameter_t *parameter)
{
    return &parameter->states[parameter->num_states - 1];
}

tlm_status_t tlmi_average_add(tlmi_parameter_t *parameter)
{
    return tlmi_state_add(parameter, STATE_NAME, parameter->tensor->shape, parameter->tensor->ndim);
}

static void remove_averages(tlm_optimizer_t *optimizer, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        tlmi_parameter_t *parameter = &optimizer->parameters[i];

        tlmi_lasting_free(average_of(parameter)->values, average_of(parameter)->numel,
                          sizeof(float));
        parameter->num_states--;
    }
}

tlm_status_t tlm_optimizer_set_average(tlm_optimizer_t *optimizer, double decay)
{
    TLMI_REQUIRE("optimizer_set_average", optimizer);
    TLMI_TRY(tlmi_optimizer_check_whole("optimizer_set_average", optimizer));
    if (!(decay >= 0.0 && decay < 1.0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "optimizer_set_average: decay %s is not in [0, 1)", TLMI_G(decay));
    if (decay > 0.0 && decay != optimizer->average_decay && optimizer->steps > 0)
        return tlmi_fail(TLM_ERR_STATE,
                         "optimizer_set_average: %" PRIu64
                         " steps are done; an average begins with the first",
                         optimizer->steps);
    const bool had = optimizer->average_decay > 0.0, has = decay > 0.0;
    for (size_t i = 0; has && !had && i < optimizer->num_parameters; i++) {
        tlm_status_t status = tlmi_average_add(&optimizer->parameters[i]);

        if (status != TLM_OK) {
            remove_averages(optimizer, i);
            return status;
        }
    }
    if (had && !has)
        remove_averages(optimizer, optimizer->num_parameters);
    optimizer->average_decay = decay;
    return TLM_OK;
}

/* The elements of a parameter whose averages this rank keeps. */
static float *kept_elements(const tlmi_parameter_t *parameter)
{
    return tlmi_floats(parameter->tensor) + parameter->begin;
}

typedef struct average_job {
    float *average, *theta;
    float decay, rest, inverse;
} average_job_t;

static void add_range(void *context, int64_t begin, int64_t end)
{
    const average_job_t *job = context;

    tlmi_vec_scale(job->average + begin, job->average + begin, job->decay, end - begin);
    tlmi_vec_axpy(job->average + begin, job->rest, job->theta + begin, end - begin);
}

static void take_range(void *context, int64_t begin, int64_t end)
{
    const average_job_t *job = context;

    tlmi_vec_scale(job->theta + begin, job->average + begin, job->inverse, end - begin);
}

static void run(const tlm_optimizer_t *optimizer,
                void (*range)(void *context, int64_t begin, int64_t end))
{
    const double decay = optimizer->average_decay;
    const double weight = 1.0 - pow(decay, (double)optimizer->steps);

    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlmi_parameter_t *parameter = &optimizer->parameters[i];
        average_job_t job = {.average = average_of(parameter)->values,
                             .theta = kept_elements(parameter),
                             .decay = (float)decay,
                             .rest = (float)(1.0 - decay),
                             .inverse = (float)(1.0 / weight)};

        tlmi_parallel_ranges(parameter->end - parameter->begin, range, &job);
        if (range == take_range)
            tlmi_tensor_written(parameter->tensor);
    }
}

void tlmi_average_step(const tlm_optimizer_t *optimizer)
{
    if (optimizer->average_decay > 0.0)
        run(optimizer, add_range);
}

tlm_status_t tlmi_average_take(const char *function, const tlm_optimizer_t *optimizer)
{
    if (optimizer->average_decay == 0.0 || optimizer->steps == 0)
        return tlmi_fail(TLM_ERR_STATE,
                         "%s: there is no average: its decay is %s, after %" PRIu64 " steps",
                         function, TLMI_G(optimizer->average_decay), optimizer->steps);
    run(optimizer, take_range);
    return TLM_OK;
}

tlm_status_t tlm_optimizer_take_average(tlm_optimizer_t *optimizer)
{
    TLMI_REQUIRE("optimizer_take_average", optimizer);
    TLMI_TRY(tlmi_optimizer_check_whole("optimizer_take_average", optimizer));
    return tlmi_average_take("optimizer_take_average", optimizer);
}
