/* How texts are to be encoded, made once from the caller's options: the special tokens that become
 * ids, those that are errors, and dropout. */
#ifndef TLMI_ENCODE_PLAN_H
#define TLMI_ENCODE_PLAN_H

#include "bpe_dropout.h"
#include "tinylm/encode.h"

/* Immutable once made; threads may share it. */
typedef struct tlmi_encode_plan {
    const char *function; /* opens the messages */
    bool many;            /* texts, so that the messages number them */
    const tlm_tokenizer_t *tokenizer;
    const tlmi_special_tokens_t *allowed;    /* NULL: none */
    const uint32_t *allowed_ids;             /* by index in `allowed` */
    const tlmi_special_tokens_t *disallowed; /* NULL: none */
    double dropout;
    uint64_t seed;
    /* What of the above is not the tokenizer's own. */
    tlmi_special_tokens_t *own_allowed;
    uint32_t *own_allowed_ids;
    tlmi_special_tokens_t *own_disallowed;
} tlmi_encode_plan_t;

/* `options` may be NULL; `function` opens the messages. On failure there is nothing to release. */
tlm_status_t tlmi_encode_plan_init(tlmi_encode_plan_t *plan, const char *function,
                                   const tlm_tokenizer_t *tokenizer,
                                   const tlm_encode_options_t *options);
void tlmi_encode_plan_release(tlmi_encode_plan_t *plan);

/* The work of one thread: the ids so far are in `bpe`. */
typedef struct tlmi_encode_work {
    const tlmi_encode_plan_t *plan;
    tlmi_bpe_encoder_t bpe;
    tlmi_bpe_dropout_t dropout;
    uint64_t position; /* in the text at hand, as it is encoded */
} tlmi_encode_work_t;

void tlmi_encode_work_init(tlmi_encode_work_t *work, const tlmi_encode_plan_t *plan);
void tlmi_encode_work_release(tlmi_encode_work_t *work);

/* Appends the ids of a whole text, the index-th of several; dropout has the plan's seed + index. */
tlm_status_t tlmi_encode_text(tlmi_encode_work_t *work, const uint8_t *text, size_t size,
                              size_t index);

#endif
