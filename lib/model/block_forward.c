/* The forward pass of a block for training, with a graph. */
#include "base/error.h"
#include "base/rng.h"
#include "model/model_core.h"
#include "tensor/tensor_core.h"

bool tlmi_has_window(const tlm_model_options_t *options, int64_t layer)
{
    const int64_t period = options->window_period;

    return options->sliding_window != 0 && (period == 0 || (layer + 1) % period != 0);
}

void tlmi_rope_of(tlmi_rope_t *out, const tlm_model_options_t *options, bool windowed)
{
    static const tlmi_rope_scaling_t scalings[] = {
        [TLM_ROPE_SCALING_NONE] = TLMI_ROPE_PLAIN,    [TLM_ROPE_SCALING_LINEAR] = TLMI_ROPE_LINEAR,
        [TLM_ROPE_SCALING_DYNAMIC] = TLMI_ROPE_PLAIN, [TLM_ROPE_SCALING_LLAMA3] = TLMI_ROPE_LLAMA3,
        [TLM_ROPE_SCALING_YARN] = TLMI_ROPE_YARN,
    };

    *out = (tlmi_rope_t){.theta = 0.0};
    if (options->position != TLM_POSITION_ROPE)
        return;
    if (windowed && options->window_rope_theta != 0.0) {
        out->theta = options->window_rope_theta;
        return;
    }
    *out = (tlmi_rope_t){.theta = options->rope_theta,
                         .scaling = scalings[options->rope_scaling],
                         .factor = options->rope_factor,
                         .low_turns = options->rope_low_turns,
                         .high_turns = options->rope_high_turns,
                         .original_context = (double)options->rope_original_context,
                         .magnitude = options->rope_magnitude};
}

tlmi_drop_rule_t tlmi_block_drop(const tlm_model_t *model, int64_t layer,
                                 tlmi_block_dropout_t which)
{
    const double rate =
        which == TLMI_DROPS_WEIGHTS ? model->options.attention_dropout : model->options.dropout;
    const uint64_t own = (uint64_t)(model->first_layer + layer);

    return (tlmi_drop_rule_t){.rate = model->drop.enabled ? rate : 0.0,
                              .seed = model->options.seed,
                              .stream = TLMI_STREAM_BLOCK_DROPOUT + TLMI_NUM_DROPS * own + which,
                              .first_token = model->drop.first_token};
}

void tlmi_layer_rules(tlmi_score_rules_t *out, const tlm_model_t *model, int64_t layer)
{
    const tlm_model_options_t *options = &model->options;
    const int64_t own = model->first_layer + layer, unrotated = options->unrotated_period;
    const bool windowed = tlmi_has_window(options, own);

    *out = (tlmi_score_rules_t){.window = windowed ? options->sliding_window : 0,
                                .softcap = (float)options->attention_softcap};
    if (options->query_scalar != 0.0)
        out->scale = 1.0f / sqrtf((float)options->query_scalar);
    if (unrotated == 0 || (own + 1) % unrotated != 0)
        tlmi_rope_of(&out->rope, options, windowed);
}

tlm_status_t tlmi_model_norm(tlm_tensor_t **out, const tlm_model_t *model, tlm_tensor_t *x,
                             int64_t layer, int32_t part)
{
    const float eps = (float)model->options.norm_eps;
    tlm_tensor_t *gain = tlmi_model_block(model, layer, part);

    if (gain == NULL) {
        *out = tlm_tensor_retain(x);
        return TLM_OK;
    }
    tlm_tensor_t *bias = tlmi_model_bias(model, layer, part);
    return bias != NULL ? tlmi_layer_norm(out, x, gain, bias, eps)
                        : tlm_rms_norm(out, x, gain, eps);
}

/* Replaces *x, queries or keys (batch, time, heads * d_head), with the norm of each head, or of all
 * heads together where the gains have that width. */
static tlm_status_t norm_heads(tlm_tensor_t **x, const tlm_model_t *model, int64_t layer,
                               int32_t part)
{
    const tlm_tensor_t *gain = tlmi_model_block(model, layer, part);
    tlm_tensor_t *heads = NULL, *normed = NULL;

    if (gain == NULL)
        return TLM_OK;
    const int64_t width = tlm_tensor_numel(gain);
    int64_t whole[3], split[4];
    for (int32_t i = 0; i < 3; i++)
        whole[i] = split[i] = tlm_tensor_shape(*x)[i];
    split[2] = whole[2] / width;
    split[3] = width;
    tlm_status_t status;
    TLMI_TRY_OR(done, tlm_reshape(&heads, *x, split, 4));
    TLMI_TRY_OR(done, tlmi_model_norm(&normed, model, heads, layer, part));
    tlm_tensor_t *result;
    TLMI_TRY_OR(done, tlm_reshape(&result, normed, whole, 3));
    tlm_tensor_free(*x);
    *x = result;
done:
    tlm_tensor_free(heads);
    tlm_tensor_free(normed);
    return status;
}

/* x W^T, with the adapter and the biases that the projection has. */
static tlm_status_t project(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                            int32_t part, tlm_tensor_t *x)
{
    tlm_tensor_t *bias = tlmi_model_bias(model, layer, part), *product;

    TLMI_TRY(tlmi_model_linear(&product, model, layer, part, x));
    if (bias == NULL) {
        *out = product;
        return TLM_OK;
    }
    tlm_status_t status = tlm_add(out, product, bias);
    if (status == TLM_OK)
        tlmi_tensor_drop(product);
    tlm_tensor_free(product);
    return status;
}

/* Replaces *value, of tokens whose value embeddings are `shared` (NULL: there are none), with the mix of
 * both. */
static tlm_status_t mix_values(tlm_tensor_t **value, const tlm_model_t *model, int64_t layer,
                               tlm_tensor_t *shared)
{
    tlm_tensor_t *mixed;

    if (shared == NULL)
        return TLM_OK;
    TLMI_TRY(tlmi_mix(&mixed, *value, shared, tlmi_model_block(model, layer, TLMI_ATTN_VALUE_MIX)));
    tlm_tensor_free(*value);
    *value = mixed;
    return TLM_OK;
}

static tlm_status_t attend(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                           tlm_tensor_t *x, tlm_tensor_t *values)
{
    tlm_tensor_t *query = NULL, *key = NULL, *value = NULL, *heads = NULL;
    tlmi_score_rules_t rules;
    tlm_status_t status;

    tlmi_layer_rules(&rules, model, layer);
    rules.dropout = tlmi_block_drop(model, layer, TLMI_DROPS_WEIGHTS);
    TLMI_TRY_OR(done, project(&query, model, layer, TLMI_ATTN_Q, x));
    TLMI_TRY_OR(done, project(&key, model, layer, TLMI_ATTN_K, x));
    TLMI_TRY_OR(done, project(&value, model, layer, TLMI_ATTN_V, x));
    TLMI_TRY_OR(done, mix_values(&value, model, layer, values));
    TLMI_TRY_OR(done, norm_heads(&query, model, layer, TLMI_ATTN_Q_NORM));
    TLMI_TRY_OR(done, norm_heads(&key, model, layer, TLMI_ATTN_K_NORM));
    TLMI_TRY_OR(done, tlmi_heads_attention(&heads, "model_forward", query, key, value,
                                           (int32_t)model->options.num_heads,
                                           (int32_t)model->options.num_kv_heads, &rules, NULL));
    TLMI_TRY_OR(done, project(out, model, layer, TLMI_ATTN_OUTPUT, heads));
    if (values != NULL)
        tlmi_tensor_drop(value); /* mixed again in backward */
    status = TLM_OK;
done:
    tlm_tensor_free(query);
    tlm_tensor_free(key);
    tlm_tensor_free(value);
    tlm_tensor_free(heads);
    return status;
}

static bool is_silu(const tlm_model_t *model)
{
    return model->options.ffn == TLM_FFN_SWIGLU || model->options.ffn == TLM_FFN_SILU;
}

static tlm_status_t apply_activation(tlm_tensor_t **out, const tlm_model_t *model, tlm_tensor_t *x)
{
    if (is_silu(model))
        return tlm_silu(out, x);
    return model->options.ffn == TLM_FFN_RELU2 ? tlmi_relu_squared(out, x) : tlmi_gelu_tanh(out, x);
}

/* The activation of w1 x, times w3 x where there is a w3. */
static tlm_status_t activate(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                             tlm_tensor_t *gate, tlm_tensor_t *x)
{
    tlm_tensor_t *up = NULL, *active = NULL;

    if (!tlmi_has_part(&model->shape, TLMI_FFN_W3))
        return apply_activation(out, model, gate);
    tlm_status_t status;
    TLMI_TRY_OR(done, project(&up, model, layer, TLMI_FFN_W3, x));
    if (is_silu(model)) {
        status = tlm_silu_mul(out, gate, up);
        goto done;
    }
    TLMI_TRY_OR(done, apply_activation(&active, model, gate));
    status = tlm_mul(out, active, up);
done:
    tlm_tensor_free(active);
    tlm_tensor_free(up);
    return status;
}

static tlm_status_t feed_forward(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                                 tlm_tensor_t *x, tlm_tensor_t *values)
{
    tlm_tensor_t *gate = NULL, *hidden = NULL;
    tlm_status_t status;

    (void)values;
    TLMI_TRY_OR(done, project(&gate, model, layer, TLMI_FFN_W1, x));
    TLMI_TRY_OR(done, activate(&hidden, model, layer, gate, x));
    TLMI_TRY_OR(done, project(out, model, layer, TLMI_FFN_W2, hidden));
    if (is_silu(model))
        tlmi_tensor_drop(hidden); /* computed again in backward */
    status = TLM_OK;
done:
    tlm_tensor_free(hidden);
    tlm_tensor_free(gate);
    return status;
}

typedef tlm_status_t (*layer_fn)(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                                 tlm_tensor_t *x, tlm_tensor_t *values);

/* Replaces *x with norm_after(x + D(norm_change(f(norm_before(x))))), with the norms that the sublayer
 * has and its dropout D. The backward pass recomputes norm_before(x). What is added to x goes only into
 * the sum, so nothing reads it afterwards. */
static tlm_status_t run_sublayer(tlm_tensor_t **x, const tlm_model_t *model, int64_t layer,
                                 tlm_tensor_t *values, int32_t which, layer_fn f)
{
    const tlmi_sublayer_t *sublayer = &model->shape.sublayers[which];
    const tlmi_drop_rule_t dropout = tlmi_block_drop(
        model, layer, which == TLMI_ATTENTION ? TLMI_DROPS_ATTENTION : TLMI_DROPS_FEED_FORWARD);
    tlm_tensor_t *input = NULL, *output = NULL, *change = NULL, *dropped = NULL, *sum = NULL;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlmi_model_norm(&input, model, *x, layer, sublayer->norm_before));
    TLMI_TRY_OR(done, f(&output, model, layer, input, values));
    TLMI_TRY_OR(done, tlmi_model_norm(&change, model, output, layer, sublayer->norm_change));
    TLMI_TRY_OR(done, tlmi_dropout(&dropped, change, &dropout));
    TLMI_TRY_OR(done, tlm_add(&sum, *x, dropped));
    tlm_tensor_t *result;
    TLMI_TRY_OR(done, tlmi_model_norm(&result, model, sum, layer, sublayer->norm_after));
    if (input != *x)
        tlmi_tensor_drop(input);
    tlmi_tensor_drop(dropped);
    if (dropped != change)
        tlmi_tensor_drop(change);
    tlm_tensor_free(*x); /* the graph keeps its own reference if it needs one */
    *x = result;
done:
    tlm_tensor_free(sum);
    tlm_tensor_free(dropped);
    tlm_tensor_free(change);
    tlm_tensor_free(output);
    tlm_tensor_free(input);
    return status;
}

tlm_status_t tlmi_block_forward(tlm_tensor_t **y, const tlm_model_t *model, int64_t layer,
                                tlm_tensor_t *x, tlm_tensor_t *values)
{
    static const layer_fn layers[TLMI_NUM_SUBLAYERS] = {attend, feed_forward};
    tlm_tensor_t *state = tlm_tensor_retain(x);
    tlm_status_t status = TLM_OK;

    for (int32_t i = 0; i < TLMI_NUM_SUBLAYERS && status == TLM_OK; i++)
        status = run_sublayer(&state, model, layer, values, i, layers[i]);
    if (status == TLM_OK)
        *y = state;
    else
        tlm_tensor_free(state);
    return status;
}
