/* Looking for NaN and infinity in a model. */
#ifndef TLMI_FINITE_CHECK_H
#define TLMI_FINITE_CHECK_H

#include "tinylm/model.h"

/* TLM_ERR_NON_FINITE with "<where>: <parameter, or its gradient> is <value> at element <n>" for the
 * first value that is not finite, those of parameters before those of gradients. */
tlm_status_t tlmi_check_finite(const char *where, const tlm_model_t *model);

#endif
