/* The forward pass and loss of the whole model; the forward pass of a block is in
 * block_forward.c. */
#include <inttypes.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/interrupt.h"
#include "nn/nn_core.h"
#include "model/model_core.h"
#include "tensor/tensor_core.h"

/* Frees *tensor and puts `next` in its place. The graph keeps its own reference to the old one if
 * it needs it. */
static void replace(tlm_tensor_t **tensor, tlm_tensor_t *next)
{
    tlm_tensor_free(*tensor);
    *tensor = next;
}

static tlm_status_t check_input(const char *function, const tlm_model_t *model, const uint32_t *ids,
                                int64_t batch, int64_t time, bool may_ignore)
{
    TLMI_REQUIRE(function, model);
    TLMI_REQUIRE(function, ids);
    if (batch <= 0 || time <= 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: batch %" PRId64 " and time %" PRId64 " must be positive", function,
                         batch, time);
    if (time > model->options.context_length)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: %" PRId64 " tokens are more than the context length of %" PRId64,
                         function, time, model->options.context_length);
    if (batch > INT64_MAX / (int64_t)sizeof(float) / time)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: a batch of (%" PRId64 ", %" PRId64 ") is too large", function, batch,
                         time);
    for (int64_t i = 0; i < batch * time && !tlmi_dry_run(); i++)
        if (ids[i] >= model->options.vocab_size && !(may_ignore && ids[i] == TLM_IGNORED_TARGET))
            return tlmi_fail(TLM_ERR_RANGE,
                             "%s: id %" PRIu32 " in row %" PRId64 " at position %" PRId64
                             " is outside the vocabulary of %" PRId64,
                             function, ids[i], i / time, i % time, model->options.vocab_size);
    return TLM_OK;
}

/* The first `time` rows of the table of positions, as float32. */
static tlm_status_t position_rows(tlm_tensor_t **out, tlm_tensor_t *table, int64_t time)
{
    if (table->dtype == TLM_FLOAT32)
        return tlm_slice(out, table, 0, 0, time);
    tlm_tensor_t *numbers;
    TLMI_TRY(tlmi_tensor_new(&numbers, TLM_UINT32, &time, 1));
    for (int64_t i = 0; i < time && !tlmi_dry_run(); i++)
        ((uint32_t *)tlm_tensor_data(numbers))[i] = (uint32_t)i;
    tlm_status_t status = tlmi_embedding(out, table, numbers);
    tlm_tensor_free(numbers);
    return status;
}

/* The embeddings of ids, scaled, with those of positions, and normalized, as the model has it: (batch,
 * time, d_model). */
static tlm_status_t embed(tlm_tensor_t **out, const tlm_model_t *model, tlm_tensor_t *ids)
{
    tlm_tensor_t *table = tlmi_model_block(model, 0, TLMI_POSITIONS);
    tlm_tensor_t *x = NULL, *positions = NULL, *normed = NULL, *next;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlmi_embedding(&x, tlmi_model_embedding(model), ids));
    if (model->options.scaled_embeddings) {
        TLMI_TRY_OR(done, tlm_scale(&next, x, tlmi_embedding_scale(&model->options)));
        replace(&x, next);
    }
    if (table != NULL) {
        TLMI_TRY_OR(done, position_rows(&positions, table, tlm_tensor_shape(ids)[1]));
        TLMI_TRY_OR(done, tlm_add(&next, x, positions));
        replace(&x, next);
    }
    TLMI_TRY_OR(done, tlmi_model_norm(&normed, model, x, 0, TLMI_EMBEDDING_NORM));
    const tlmi_drop_rule_t dropout = {.rate = model->drop.enabled ? model->options.embedding_dropout
                                                                  : 0.0,
                                      .seed = model->options.seed,
                                      .stream = TLMI_STREAM_EMBEDDING_DROPOUT,
                                      .first_token = model->drop.first_token};
    status = tlmi_dropout(out, normed, &dropout);
done:
    tlm_tensor_free(normed);
    tlm_tensor_free(positions);
    tlm_tensor_free(x);
    return status;
}

/* Computes everything before the output projection: (batch, time, d_model). */
static tlm_status_t hidden_states(tlm_tensor_t **out, const tlm_model_t *model, const uint32_t *ids,
                                  int64_t batch, int64_t time)
{
    const int64_t shape[2] = {batch, time};
    tlm_tensor_t *table = tlmi_model_block(model, 0, TLMI_VALUE_EMBEDDING);
    tlm_tensor_t *id_tensor = NULL, *x = NULL, *values = NULL;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlm_tensor_from_data(&id_tensor, TLM_UINT32, ids, shape, 2));
    TLMI_TRY_OR(done, embed(&x, model, id_tensor));
    if (table != NULL)
        TLMI_TRY_OR(done, tlmi_embedding(&values, table, id_tensor));
    for (int64_t layer = 0; layer < model->options.num_layers; layer++) {
        tlm_tensor_t *y;

        TLMI_TRY_OR(done, tlmi_check_interrupt("model_forward"));
        if (model->checkpointing && tlm_grad_enabled())
            TLMI_TRY_OR(done, tlmi_block_recomputed(&y, model, layer, x, values));
        else
            TLMI_TRY_OR(done, tlmi_block_forward(&y, model, layer, x, values));
        replace(&x, y);
    }
    status = tlmi_model_norm(out, model, x, 0, TLMI_LN_FINAL);
done:
    tlm_tensor_free(values);
    tlm_tensor_free(x);
    tlm_tensor_free(id_tensor);
    return status;
}

/* Logits within the model's softcap; x itself, retained, without one. */
static tlm_status_t cap_logits(tlm_tensor_t **out, const tlm_model_t *model, tlm_tensor_t *x)
{
    const float cap = (float)model->options.logit_softcap;
    tlm_tensor_t *small = NULL, *bent = NULL;

    if (cap == 0.0f) {
        *out = tlm_tensor_retain(x);
        return TLM_OK;
    }
    tlm_status_t status;
    TLMI_TRY_OR(done, tlm_scale(&small, x, 1.0f / cap));
    TLMI_TRY_OR(done, tlm_tanh(&bent, small));
    status = tlm_scale(out, bent, cap);
done:
    tlm_tensor_free(small);
    tlm_tensor_free(bent);
    return status;
}

/* The output projection of hidden states. */
static tlm_status_t output_logits(tlm_tensor_t **logits, const tlm_model_t *model,
                                  tlm_tensor_t *hidden)
{
    tlm_tensor_t *product;

    TLMI_TRY(tlmi_model_linear(&product, model, 0, tlmi_output_part(model), hidden));
    tlm_status_t status = cap_logits(logits, model, product);
    tlm_tensor_free(product);
    return status;
}

/* Fixes what dropout drops in this pass, and in backward where it runs blocks again. */
static void begin_pass(tlm_model_t *model, int64_t time)
{
    model->drop.enabled = model->has_dropout && tlm_grad_enabled();
    model->drop.first_token = model->dropout_row * (uint64_t)time;
}

tlm_status_t tlm_model_forward(tlm_tensor_t **logits, tlm_model_t *model, const uint32_t *ids,
                               int64_t batch, int64_t time)
{
    TLMI_REQUIRE("model_forward", logits);
    TLMI_TRY(check_input("model_forward", model, ids, batch, time, false));
    begin_pass(model, time);
    tlm_tensor_t *hidden;
    TLMI_TRY(hidden_states(&hidden, model, ids, batch, time));
    tlm_status_t status = output_logits(logits, model, hidden);
    tlm_tensor_free(hidden);
    return status;
}

/* What the loss is beside cross-entropy: only in training, so that evaluations can be compared. */
static tlmi_loss_rules_t loss_rules(const tlm_model_t *model)
{
    tlmi_loss_rules_t rules = {.softcap = (float)model->options.logit_softcap};

    if (tlm_grad_enabled()) {
        rules.z_loss = model->options.z_loss;
        rules.smoothing = model->options.label_smoothing;
    }
    return rules;
}

/* The loss from logits as a whole, where the output projection has an adapter. */
static tlm_status_t loss_of_logits(tlm_tensor_t **loss, const tlm_model_t *model,
                                   tlm_tensor_t *hidden, tlm_tensor_t *targets)
{
    tlmi_loss_rules_t rules = loss_rules(model);
    tlm_tensor_t *logits;

    TLMI_TRY(output_logits(&logits, model, hidden));
    rules.softcap = 0.0f; /* the logits are capped */
    tlm_status_t status = tlmi_cross_entropy(loss, logits, targets, true, &rules);
    tlm_tensor_free(logits);
    return status;
}

tlm_status_t tlm_model_loss(tlm_tensor_t **loss, tlm_model_t *model, const uint32_t *inputs,
                            const uint32_t *targets, int64_t batch, int64_t time)
{
    const int64_t shape[2] = {batch, time};
    tlm_tensor_t *hidden = NULL, *target_tensor = NULL;

    TLMI_REQUIRE("model_loss", loss);
    TLMI_TRY(check_input("model_loss", model, inputs, batch, time, false));
    TLMI_TRY(check_input("model_loss", model, targets, batch, time, true));
    tlm_status_t status;
    TLMI_TRY_OR(done, tlm_tensor_from_data(&target_tensor, TLM_UINT32, targets, shape, 2));
    begin_pass(model, time);
    TLMI_TRY_OR(done, hidden_states(&hidden, model, inputs, batch, time));
    tlmi_low_rank_t change;
    if (tlmi_model_change(&change, model, 0, tlmi_output_part(model))) {
        status = loss_of_logits(loss, model, hidden, target_tensor);
        goto done;
    }
    const tlmi_loss_rules_t rules = loss_rules(model);
    TLMI_TRY_OR(done, tlmi_linear_cross_entropy(loss, hidden, tlmi_model_output(model),
                                                target_tensor, &rules));
    tlmi_tensor_drop(hidden);
    status = TLM_OK;
done:
    tlm_tensor_free(target_tensor);
    tlm_tensor_free(hidden);
    return status;
}
