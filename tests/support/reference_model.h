/* The transformer again, in float64 and plain loops, written from the formulas alone: what the
 * model's forward pass, loss, gradients and generation are compared with. */
#ifndef TEST_REFERENCE_MODEL_H
#define TEST_REFERENCE_MODEL_H

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tinylm/tinylm.h"

#define ASSERT_OK(call)                                                                            \
    do {                                                                                           \
        tlm_status_t ok_status_ = (call);                                                          \
        ck_assert_msg(ok_status_ == TLM_OK, "%s: %s", #call, tlm_error_message());                 \
    } while (0)

/* The call fails with `code` and a message that contains `text`. */
#define ASSERT_FAILS(code, text, call)                                                             \
    do {                                                                                           \
        ck_assert_int_eq(call, code);                                                              \
        ck_assert_msg(strstr(tlm_error_message(), text) != NULL, "message: %s",                    \
                      tlm_error_message());                                                        \
    } while (0)

/* Small models with every switch of the architecture, alone and together. */
#define REFERENCE_SHAPE(...)                                                                       \
    {                                                                                              \
        .size = sizeof(tlm_model_options_t), .vocab_size = 11, .context_length = 6,                \
        .num_layers = 2, .d_ff = 12, .seed = 7, __VA_ARGS__                                        \
    }
static const tlm_model_options_t reference_shapes[] = {
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .norm = TLM_NORM_POST),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .norm = TLM_NORM_NONE),
    REFERENCE_SHAPE(.d_model = 9, .num_heads = 3, .position = TLM_POSITION_NONE),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .ffn = TLM_FFN_SILU),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .tied_embeddings = true),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 4, .num_kv_heads = 1),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 4, .num_kv_heads = 2, .norm_eps = 0.5),
    REFERENCE_SHAPE(.d_model = 12, .num_heads = 6, .num_kv_heads = 2, .norm = TLM_NORM_POST,
                    .ffn = TLM_FFN_SILU, .tied_embeddings = true, .norm_eps = 1e-3),
    REFERENCE_SHAPE(.d_model = 15, .num_heads = 3, .num_kv_heads = 1, .norm = TLM_NORM_NONE,
                    .position = TLM_POSITION_NONE, .tied_embeddings = true),
    REFERENCE_SHAPE(.d_model = 9, .num_heads = 2, .head_dim = 6),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 4, .num_kv_heads = 2, .head_dim = 3,
                    .position = TLM_POSITION_NONE, .norm = TLM_NORM_POST),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .qk_norm = TLM_QK_NORM_HEADS),
    REFERENCE_SHAPE(.d_model = 6, .num_heads = 4, .num_kv_heads = 2, .head_dim = 4,
                    .qk_norm = TLM_QK_NORM_HEADS, .norm = TLM_NORM_POST, .norm_eps = 0.1),
};
enum { REFERENCE_NUM_SHAPES = sizeof(reference_shapes) / sizeof(reference_shapes[0]) };

enum { REFERENCE_MAX_PARAMETERS = 64 };

typedef struct reference {
    tlm_model_options_t options;
    size_t num_parameters;
    const char *names[REFERENCE_MAX_PARAMETERS];
    double *values[REFERENCE_MAX_PARAMETERS];
    size_t sizes[REFERENCE_MAX_PARAMETERS];
} reference_t;

static inline reference_t reference_of(const tlm_model_t *model)
{
    reference_t reference = {.options = TLM_MODEL_OPTIONS_INIT};
    tlm_tensor_t *const *tensors;

    ASSERT_OK(tlm_model_get_options(&reference.options, model));
    ASSERT_OK(tlm_model_parameters(&tensors, &reference.num_parameters, model));
    ck_assert_uint_le(reference.num_parameters, REFERENCE_MAX_PARAMETERS);
    for (size_t i = 0; i < reference.num_parameters; i++) {
        const float *data = tlm_tensor_data(tensors[i]);

        ASSERT_OK(tlm_model_parameter_name(&reference.names[i], model, i));
        reference.sizes[i] = (size_t)tlm_tensor_numel(tensors[i]);
        reference.values[i] = malloc(reference.sizes[i] * sizeof(double));
        for (size_t j = 0; j < reference.sizes[i]; j++)
            reference.values[i][j] = (double)data[j];
    }
    return reference;
}

static inline void reference_release(reference_t *reference)
{
    for (size_t i = 0; i < reference->num_parameters; i++)
        free(reference->values[i]);
}

/* NULL if there is no such parameter, which reading then shows. */
static inline const double *reference_find(const reference_t *reference, const char *name)
{
    for (size_t i = 0; i < reference->num_parameters; i++)
        if (strcmp(reference->names[i], name) == 0)
            return reference->values[i];
    return NULL;
}

static inline const double *reference_block(const reference_t *reference, int64_t layer,
                                            const char *part)
{
    char name[64];

    snprintf(name, sizeof(name), "layers.%d.%s.weight", (int)layer, part);
    return reference_find(reference, name);
}

/* y = W x */
static inline void reference_linear(double *y, const double *w, const double *x, int64_t d_out,
                                    int64_t d_in)
{
    for (int64_t i = 0; i < d_out; i++) {
        y[i] = 0.0;
        for (int64_t j = 0; j < d_in; j++)
            y[i] += w[i * d_in + j] * x[j];
    }
}

static inline void reference_norm(double *y, const double *x, const double *gain, int64_t d,
                                  double eps)
{
    double sum = 0.0;

    for (int64_t i = 0; i < d; i++)
        sum += x[i] * x[i];
    for (int64_t i = 0; i < d; i++)
        y[i] = x[i] / sqrt(sum / (double)d + eps) * gain[i];
}

/* What a sublayer reads of x: its norm only where norms come first. */
static inline void reference_input(double *y, const double *x, const reference_t *reference,
                                   int64_t layer, const char *norm)
{
    const int64_t d = reference->options.d_model;

    if (reference->options.norm == TLM_NORM_PRE)
        reference_norm(y, x, reference_block(reference, layer, norm), d,
                       reference->options.norm_eps);
    else
        memcpy(y, x, (size_t)d * sizeof(double));
}

/* x + change, with a norm of the sum where norms come last. */
static inline void reference_add(double *x, const double *change, const reference_t *reference,
                                 int64_t layer, const char *norm)
{
    const int64_t d = reference->options.d_model;

    for (int64_t i = 0; i < d; i++)
        x[i] += change[i];
    if (reference->options.norm == TLM_NORM_POST)
        reference_norm(x, x, reference_block(reference, layer, norm), d,
                       reference->options.norm_eps);
}

static inline void reference_rotate(double *x, int64_t d_head, int64_t heads, int64_t position,
                                    double theta)
{
    for (int64_t head = 0; head < heads; head++)
        for (int64_t k = 0; k < d_head / 2; k++) {
            double angle = (double)position / pow(theta, 2.0 * (double)k / (double)d_head);
            double *pair = x + head * d_head + 2 * k;
            double even = pair[0], odd = pair[1];

            pair[0] = even * cos(angle) - odd * sin(angle);
            pair[1] = even * sin(angle) + odd * cos(angle);
        }
}

/* Each of the heads that lie side by side in x. */
static inline void reference_norm_heads(double *x, const reference_t *reference, int64_t layer,
                                        const char *norm, int64_t heads)
{
    const int64_t d_head = reference->options.head_dim;

    for (int64_t head = 0; head < heads; head++)
        reference_norm(x + head * d_head, x + head * d_head,
                       reference_block(reference, layer, norm), d_head,
                       reference->options.norm_eps);
}

/* The attention sublayer of x (time, d). */
static inline void reference_attention(double *x, const reference_t *reference, int64_t layer,
                                       int64_t time)
{
    const tlm_model_options_t *options = &reference->options;
    const int64_t d = options->d_model, heads = options->num_heads;
    const int64_t d_head = options->head_dim, width = heads * d_head;
    const int64_t kv = options->num_kv_heads * d_head, shared = heads / options->num_kv_heads;
    double *q = malloc((size_t)(time * (4 * width + d)) * sizeof(double));
    double *k = q + time * width, *v = k + time * width, *out = v + time * width;
    double *h = out + time * width;
    double *weights = malloc((size_t)time * sizeof(double));

    for (int64_t t = 0; t < time; t++) {
        reference_input(h + t * d, x + t * d, reference, layer, "ln1");
        reference_linear(q + t * width, reference_block(reference, layer, "attn.q_proj"), h + t * d,
                         width, d);
        reference_linear(k + t * kv, reference_block(reference, layer, "attn.k_proj"), h + t * d,
                         kv, d);
        reference_linear(v + t * kv, reference_block(reference, layer, "attn.v_proj"), h + t * d,
                         kv, d);
        if (options->qk_norm == TLM_QK_NORM_HEADS) {
            reference_norm_heads(q + t * width, reference, layer, "attn.q_norm", heads);
            reference_norm_heads(k + t * kv, reference, layer, "attn.k_norm", kv / d_head);
        }
        if (options->position == TLM_POSITION_ROPE) {
            reference_rotate(q + t * width, d_head, heads, t, options->rope_theta);
            reference_rotate(k + t * kv, d_head, kv / d_head, t, options->rope_theta);
        }
    }
    memset(out, 0, (size_t)(time * width) * sizeof(double));
    for (int64_t head = 0; head < heads; head++)
        for (int64_t t = 0; t < time; t++) {
            const double *query = q + t * width + head * d_head;
            double *result = out + t * width + head * d_head, sum = 0.0;

            for (int64_t s = 0; s <= t; s++) {
                const double *key = k + s * kv + head / shared * d_head;
                double score = 0.0;
                for (int64_t i = 0; i < d_head; i++)
                    score += query[i] * key[i];
                weights[s] = exp(score / sqrt((double)d_head));
                sum += weights[s];
            }
            for (int64_t s = 0; s <= t; s++)
                for (int64_t i = 0; i < d_head; i++)
                    result[i] += weights[s] / sum * v[s * kv + head / shared * d_head + i];
        }
    for (int64_t t = 0; t < time; t++) {
        reference_linear(h, reference_block(reference, layer, "attn.output_proj"), out + t * width,
                         d, width);
        reference_add(x + t * d, h, reference, layer, "ln1");
    }
    free(weights);
    free(q);
}

/* The feed-forward sublayer of x (d). */
static inline void reference_feed_forward(double *x, const reference_t *reference, int64_t layer)
{
    const int64_t d = reference->options.d_model, f = reference->options.d_ff;
    const bool gated = reference->options.ffn == TLM_FFN_SWIGLU;
    double *h = malloc((size_t)(d + 2 * f) * sizeof(double));
    double *gate = h + d, *up = gate + f;

    reference_input(h, x, reference, layer, "ln2");
    reference_linear(gate, reference_block(reference, layer, "ffn.w1"), h, f, d);
    if (gated)
        reference_linear(up, reference_block(reference, layer, "ffn.w3"), h, f, d);
    for (int64_t i = 0; i < f; i++)
        gate[i] = gate[i] / (1.0 + exp(-gate[i])) * (gated ? up[i] : 1.0);
    reference_linear(h, reference_block(reference, layer, "ffn.w2"), gate, d, f);
    reference_add(x, h, reference, layer, "ln2");
    free(h);
}

/* Logits (time, vocab_size) of one row of ids. */
static inline void reference_logits(double *logits, const reference_t *reference,
                                    const uint32_t *ids, int64_t time)
{
    const int64_t d = reference->options.d_model, vocab = reference->options.vocab_size;
    const double *embeddings = reference_find(reference, "token_embeddings.weight");
    const double *head = reference->options.tied_embeddings
                             ? embeddings
                             : reference_find(reference, "lm_head.weight");
    double *x = malloc((size_t)(time * d) * sizeof(double));

    for (int64_t t = 0; t < time; t++)
        memcpy(x + t * d, embeddings + ids[t] * d, (size_t)d * sizeof(double));
    for (int64_t layer = 0; layer < reference->options.num_layers; layer++) {
        reference_attention(x, reference, layer, time);
        for (int64_t t = 0; t < time; t++)
            reference_feed_forward(x + t * d, reference, layer);
    }
    for (int64_t t = 0; t < time; t++) {
        if (reference->options.norm == TLM_NORM_PRE)
            reference_norm(x + t * d, x + t * d, reference_find(reference, "ln_final.weight"), d,
                           reference->options.norm_eps);
        reference_linear(logits + t * vocab, head, x + t * d, vocab, d);
    }
    free(x);
}

/* Mean cross-entropy of a batch. */
static inline double reference_loss(const reference_t *reference, const uint32_t *inputs,
                                    const uint32_t *targets, int64_t batch, int64_t time)
{
    const int64_t vocab = reference->options.vocab_size;
    double *logits = malloc((size_t)(time * vocab) * sizeof(double));
    double loss = 0.0;

    for (int64_t row = 0; row < batch; row++) {
        reference_logits(logits, reference, inputs + row * time, time);
        for (int64_t t = 0; t < time; t++) {
            double sum = 0.0;
            for (int64_t i = 0; i < vocab; i++)
                sum += exp(logits[t * vocab + i]);
            loss += log(sum) - logits[t * vocab + targets[row * time + t]];
        }
    }
    free(logits);
    return loss / (double)(batch * time);
}

#endif
