/* The ids that a tokenizer puts around a text if the caller asks for it. Files call this the
 * post-processor: TemplateProcessing, BertProcessing, RobertaProcessing. */
#ifndef TLMI_TEMPLATE_H
#define TLMI_TEMPLATE_H

#include "tinylm/status.h"

typedef struct tlmi_template {
    size_t num_before, num_after;
    const uint32_t *before, *after; /* owned, in one block with this struct */
} tlmi_template_t;

/* Copies the ids, which must be ids of the tokenizer. */
tlm_status_t tlmi_template_create(tlmi_template_t **out, const uint32_t *before, size_t num_before,
                                  const uint32_t *after, size_t num_after);
void tlmi_template_free(tlmi_template_t *ids); /* accepts NULL */

/* What a tokenizer.json says about the lengths of rows of ids: its "truncation" and "padding". */
typedef struct tlmi_row_limits {
    bool truncates;
    size_t max_length;   /* of a row with its template */
    bool truncates_left; /* at the beginning of the text's ids */
    bool pads;
    size_t pad_length;   /* 0: that of the longest row */
    size_t pad_multiple; /* rows are padded to a multiple of it; 0 and 1: no matter */
    bool pads_left;      /* before the row */
    uint32_t pad_id;
} tlmi_row_limits_t;

#endif
