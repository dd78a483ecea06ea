/* The recorded op over attention, shared by tlm_attention and multi-head attention. */
#ifndef TLMI_ATTENTION_OP_H
#define TLMI_ATTENTION_OP_H

#include "nn/attention.h"

/* Runs attention over contiguous query, key and value into a new tensor of `shape` and records it.
 * attention->heads = 1: operands are (outer, rows, d), with key and value (outer / group, rows, d);
 * else (outer, rows, heads * d), with key and value (outer, rows, heads / group * d). mask (may be
 * NULL) is the tensor under attention->mask, retained by the node. *rotation is moved into the node
 * or left to the caller. */
tlm_status_t tlmi_attention_op(tlm_tensor_t **out, const tlmi_attention_t *attention,
                               tlm_tensor_t *query, tlm_tensor_t *key, tlm_tensor_t *value,
                               tlm_tensor_t *mask, tlmi_rotation_t *rotation, const int64_t *shape,
                               int32_t ndim);

#endif
