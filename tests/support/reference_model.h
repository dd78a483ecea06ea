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
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 4, .num_kv_heads = 2,
                    .attention_bias = TLM_ATTENTION_BIAS_QKV),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .attention_bias = TLM_ATTENTION_BIAS_ALL,
                    .ffn_bias = true, .norm = TLM_NORM_POST),
    REFERENCE_SHAPE(.d_model = 16, .num_heads = 2, .rope_scaling = TLM_ROPE_SCALING_LINEAR,
                    .rope_factor = 3.0),
    REFERENCE_SHAPE(.d_model = 16, .num_heads = 2, .rope_scaling = TLM_ROPE_SCALING_LLAMA3,
                    .rope_factor = 4.0, .rope_original_context = 40, .rope_theta = 100.0),
    REFERENCE_SHAPE(.d_model = 16, .num_heads = 2, .rope_scaling = TLM_ROPE_SCALING_YARN,
                    .rope_factor = 4.0, .rope_original_context = 40, .rope_theta = 100.0,
                    .rope_high_turns = 5.0),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .sliding_window = 3),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .sliding_window = 2, .window_period = 2,
                    .window_rope_theta = 10.0),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .unrotated_period = 2),
    REFERENCE_SHAPE(.d_model = 6, .num_heads = 4, .num_kv_heads = 2, .head_dim = 4,
                    .qk_norm = TLM_QK_NORM_WIDTH, .norm = TLM_NORM_AFTER, .norm_eps = 0.1),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .norm = TLM_NORM_BOTH, .ffn = TLM_FFN_GEGLU,
                    .scaled_embeddings = true, .tied_embeddings = true, .attention_softcap = 2.0,
                    .logit_softcap = 3.0, .query_scalar = 2.0, .sliding_window = 2,
                    .window_period = 2),
    REFERENCE_SHAPE(.d_model = 9, .num_heads = 3, .norm_kind = TLM_KIND_OF_NORM_LAYER,
                    .position = TLM_POSITION_LEARNED, .ffn = TLM_FFN_GELU,
                    .attention_bias = TLM_ATTENTION_BIAS_ALL, .ffn_bias = true,
                    .tied_embeddings = true),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .norm_kind = TLM_KIND_OF_NORM_LAYER,
                    .norm = TLM_NORM_POST, .ffn = TLM_FFN_GEGLU, .ffn_bias = true),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .ffn = TLM_FFN_RELU2, .embedding_norm = true,
                    .output_init = TLM_OUTPUT_INIT_DEPTH),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .norm_kind = TLM_KIND_OF_NORM_LAYER,
                    .position = TLM_POSITION_LEARNED, .ffn = TLM_FFN_RELU2, .embedding_norm = true,
                    .scaled_embeddings = true, .tied_embeddings = true),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .z_loss = 0.02, .label_smoothing = 0.2,
                    .logit_softcap = 3.0),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .value_embeddings = true),
    REFERENCE_SHAPE(.d_model = 12, .num_heads = 4, .num_kv_heads = 2, .head_dim = 6,
                    .value_embeddings = true, .attention_bias = TLM_ATTENTION_BIAS_QKV,
                    .qk_norm = TLM_QK_NORM_HEADS, .norm = TLM_NORM_POST, .tied_embeddings = true),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .dropout = 0.25),
    REFERENCE_SHAPE(.d_model = 8, .num_heads = 2, .attention_dropout = 0.5,
                    .attention_softcap = 2.0, .sliding_window = 3),
    REFERENCE_SHAPE(.d_model = 12, .num_heads = 4, .num_kv_heads = 2, .head_dim = 6,
                    .dropout = 0.125, .attention_dropout = 0.25, .embedding_dropout = 0.5,
                    .value_embeddings = true, .norm = TLM_NORM_BOTH),
};
enum { REFERENCE_NUM_SHAPES = sizeof(reference_shapes) / sizeof(reference_shapes[0]) };

enum { REFERENCE_MAX_PARAMETERS = 64 };

typedef struct reference {
    tlm_model_options_t options;
    size_t num_parameters;
    const char *names[REFERENCE_MAX_PARAMETERS];
    double *values[REFERENCE_MAX_PARAMETERS];
    size_t sizes[REFERENCE_MAX_PARAMETERS];
    bool drops; /* as in training */
    uint64_t first_token;
} reference_t;

/* What dropout multiplies element i of a row of d elements by. Each block of 128 random bits decides on
 * eight elements. */
static inline double reference_kept(const reference_t *reference, double rate, uint64_t stream,
                                    uint64_t row, int64_t d, int64_t i)
{
    const uint64_t block = row * (uint64_t)((d + 7) / 8) + (uint64_t)(i / 8);
    uint64_t word;

    if (!reference->drops || rate == 0.0)
        return 1.0;
    ASSERT_OK(tlm_random_bits(&word, 1, reference->options.seed, stream,
                              2 * block + (uint64_t)(i % 8 / 4)));
    return (word >> 16 * (i % 4) & 0xffff) < (uint64_t)lround(rate * 65536.0) ? 0.0
                                                                              : 1.0 / (1.0 - rate);
}

/* The same for dropout `which` of a block. */
static inline double reference_block_kept(const reference_t *reference, int64_t layer, int which,
                                          uint64_t row, int64_t d, int64_t i)
{
    const tlm_model_options_t *options = &reference->options;

    return reference_kept(reference, which == 0 ? options->attention_dropout : options->dropout,
                          (uint64_t)(8 << 20) + 4 * (uint64_t)layer + (uint64_t)which, row, d, i);
}

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

static inline const double *reference_bias(const reference_t *reference, int64_t layer,
                                           const char *part)
{
    char name[64];

    snprintf(name, sizeof(name), "layers.%d.%s.bias", (int)layer, part);
    return reference_find(reference, name);
}

/* y = W x + b, with the biases that the part has. */
static inline void reference_project(double *y, const reference_t *reference, int64_t layer,
                                     const char *part, const double *x, int64_t d_out, int64_t d_in)
{
    const double *bias = reference_bias(reference, layer, part);

    reference_linear(y, reference_block(reference, layer, part), x, d_out, d_in);
    for (int64_t i = 0; i < d_out && bias != NULL; i++)
        y[i] += bias[i];
}

/* The norm of the options, of one row; y may be x. */
static inline void reference_any_norm(double *y, const double *x, const double *gain,
                                      const double *bias, const reference_t *reference)
{
    const int64_t d = reference->options.d_model;
    double mean = 0.0;

    if (reference->options.norm_kind == TLM_KIND_OF_NORM_RMS) {
        reference_norm(y, x, gain, d, reference->options.norm_eps);
        return;
    }
    for (int64_t i = 0; i < d; i++)
        mean += x[i] / (double)d;
    for (int64_t i = 0; i < d; i++)
        y[i] = x[i] - mean;
    reference_norm(y, y, gain, d, reference->options.norm_eps);
    for (int64_t i = 0; i < d; i++)
        y[i] += bias[i];
}

/* What a sublayer reads of x: its norm only where norms come first. */
static inline void reference_input(double *y, const double *x, const reference_t *reference,
                                   int64_t layer, const char *norm)
{
    const int32_t where = reference->options.norm;

    if (where == TLM_NORM_PRE || where == TLM_NORM_BOTH)
        reference_any_norm(y, x, reference_block(reference, layer, norm),
                           reference_bias(reference, layer, norm), reference);
    else
        memcpy(y, x, (size_t)reference->options.d_model * sizeof(double));
}

/* x + change, with a norm of the sum or of the change where the options have one. Overwrites the
 * change. */
static inline void reference_add(double *x, double *change, const reference_t *reference,
                                 int64_t layer, const char *norm, int64_t position)
{
    const int64_t d = reference->options.d_model;
    const int which = norm[2] - '0'; /* ln1, ln2 */
    const uint64_t token = reference->first_token + (uint64_t)position;
    const int32_t where = reference->options.norm;
    char after[20];

    snprintf(after, sizeof(after), "%.8s_after", norm);
    if (where == TLM_NORM_AFTER || where == TLM_NORM_BOTH)
        reference_any_norm(change, change, reference_block(reference, layer, after), NULL,
                           reference);
    for (int64_t i = 0; i < d; i++)
        x[i] += change[i] * reference_block_kept(reference, layer, which, token, d, i);
    if (where == TLM_NORM_POST)
        reference_any_norm(x, x, reference_block(reference, layer, norm),
                           reference_bias(reference, layer, norm), reference);
}

static inline bool reference_windowed(const tlm_model_options_t *options, int64_t layer)
{
    return options->sliding_window > 0 &&
           (options->window_period == 0 || (layer + 1) % options->window_period != 0);
}

/* The pair, not rounded, that turns so often in the original context. */
static inline double reference_pair(const tlm_model_options_t *options, double turns)
{
    const double angle = 2.0 * acos(-1.0) * turns / (double)options->rope_original_context;

    return -log(angle) / log(options->rope_theta) * (double)options->head_dim / 2.0;
}

/* The angle of pair k between two positions, by the formulas of docs/models.md. */
static inline double reference_angle(const tlm_model_options_t *options, int64_t layer, int64_t k)
{
    const double part = 2.0 * (double)k / (double)options->head_dim, factor = options->rope_factor;
    const double angle = 1.0 / pow(options->rope_theta, part);
    const double context = (double)options->rope_original_context;
    double stretched = 0.0; /* how far the angle is divided by the factor: 0 .. 1 */

    if (reference_windowed(options, layer) && options->window_rope_theta != 0.0)
        return 1.0 / pow(options->window_rope_theta, part);
    if (options->rope_scaling == TLM_ROPE_SCALING_LINEAR)
        stretched = 1.0;
    if (options->rope_scaling == TLM_ROPE_SCALING_LLAMA3)
        stretched = (options->rope_high_turns - context * angle / (2.0 * acos(-1.0))) /
                    (options->rope_high_turns - options->rope_low_turns);
    if (options->rope_scaling == TLM_ROPE_SCALING_YARN) {
        double first = fmax(0.0, floor(reference_pair(options, options->rope_high_turns)));
        double last = fmin((double)options->head_dim - 1.0,
                           ceil(reference_pair(options, options->rope_low_turns)));

        stretched = ((double)k - first) / (last - first);
    }
    stretched = fmin(1.0, fmax(0.0, stretched));
    return options->rope_scaling == TLM_ROPE_SCALING_NONE
               ? angle
               : stretched * angle / factor + (1.0 - stretched) * angle;
}

static inline void reference_rotate(double *x, const reference_t *reference, int64_t layer,
                                    int64_t heads, int64_t position)
{
    const tlm_model_options_t *options = &reference->options;
    const int64_t d_head = options->head_dim, unrotated = options->unrotated_period;
    const double magnitude = options->rope_scaling == TLM_ROPE_SCALING_YARN
                                 ? 1.0 + 0.1 * log(options->rope_factor)
                                 : 1.0;

    if (options->position != TLM_POSITION_ROPE || (unrotated > 0 && (layer + 1) % unrotated == 0))
        return;
    for (int64_t head = 0; head < heads; head++)
        for (int64_t k = 0; k < d_head / 2; k++) {
            double angle = (double)position * reference_angle(options, layer, k);
            double *pair = x + head * d_head + 2 * k;
            double even = magnitude * pair[0], odd = magnitude * pair[1];

            pair[0] = even * cos(angle) - odd * sin(angle);
            pair[1] = even * sin(angle) + odd * cos(angle);
        }
}

/* Each of the heads that lie side by side in x, or all of them together. */
static inline void reference_norm_heads(double *x, const reference_t *reference, int64_t layer,
                                        const char *norm, int64_t heads)
{
    const bool together = reference->options.qk_norm == TLM_QK_NORM_WIDTH;
    const int64_t d_head = reference->options.head_dim * (together ? heads : 1);

    heads = together ? 1 : heads;
    for (int64_t head = 0; head < heads; head++)
        reference_norm(x + head * d_head, x + head * d_head,
                       reference_block(reference, layer, norm), d_head,
                       reference->options.norm_eps);
}

static inline double reference_cap(double x, double cap)
{
    return cap == 0.0 ? x : cap * tanh(x / cap);
}

static inline double reference_activation(double x, int32_t ffn)
{
    const double u = sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x);

    if (ffn == TLM_FFN_RELU2)
        return x > 0.0 ? x * x : 0.0;
    return ffn == TLM_FFN_GEGLU || ffn == TLM_FFN_GELU ? 0.5 * x * (1.0 + tanh(u))
                                                       : x / (1.0 + exp(-x));
}

/* The values v (kv) of a token, mixed with its value embedding where there is one. */
static inline void reference_mix(double *v, const reference_t *reference, int64_t layer, int64_t kv,
                                 uint32_t id)
{
    const double *table = reference_find(reference, "value_embeddings.weight");
    const double *mix = reference_block(reference, layer, "attn.value_mix");

    for (int64_t i = 0; i < kv && table != NULL; i++)
        v[i] = mix[0] * v[i] + mix[1] * table[id * kv + i];
}

/* The attention sublayer of x (time, d), of these ids. */
static inline void reference_attention(double *x, const reference_t *reference, int64_t layer,
                                       const uint32_t *ids, int64_t time)
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
        reference_project(q + t * width, reference, layer, "attn.q_proj", h + t * d, width, d);
        reference_project(k + t * kv, reference, layer, "attn.k_proj", h + t * d, kv, d);
        reference_project(v + t * kv, reference, layer, "attn.v_proj", h + t * d, kv, d);
        reference_mix(v + t * kv, reference, layer, kv, ids[t]);
        if (options->qk_norm != TLM_QK_NORM_NONE) {
            reference_norm_heads(q + t * width, reference, layer, "attn.q_norm", heads);
            reference_norm_heads(k + t * kv, reference, layer, "attn.k_norm", kv / d_head);
        }
        reference_rotate(q + t * width, reference, layer, heads, t);
        reference_rotate(k + t * kv, reference, layer, kv / d_head, t);
    }
    memset(out, 0, (size_t)(time * width) * sizeof(double));
    for (int64_t head = 0; head < heads; head++)
        for (int64_t t = 0; t < time; t++) {
            const double *query = q + t * width + head * d_head;
            double *result = out + t * width + head * d_head, sum = 0.0;
            const int64_t first = reference_windowed(options, layer) && t >= options->sliding_window
                                      ? t + 1 - options->sliding_window
                                      : 0;

            for (int64_t s = first; s <= t; s++) {
                const double *key = k + s * kv + head / shared * d_head;
                double score = 0.0;
                for (int64_t i = 0; i < d_head; i++)
                    score += query[i] * key[i];
                score /=
                    sqrt(options->query_scalar != 0.0 ? options->query_scalar : (double)d_head);
                weights[s] = exp(reference_cap(score, options->attention_softcap));
                sum += weights[s];
            }
            const uint64_t token = reference->first_token + (uint64_t)t;
            for (int64_t s = first; s <= t; s++) {
                const double kept = reference_block_kept(
                    reference, layer, 0, token * (uint64_t)heads + (uint64_t)head, time, s);
                for (int64_t i = 0; i < d_head; i++)
                    result[i] += kept * weights[s] / sum * v[s * kv + head / shared * d_head + i];
            }
        }
    for (int64_t t = 0; t < time; t++) {
        reference_project(h, reference, layer, "attn.output_proj", out + t * width, d, width);
        reference_add(x + t * d, h, reference, layer, "ln1", t);
    }
    free(weights);
    free(q);
}

/* The feed-forward sublayer of x (d), at a position. */
static inline void reference_feed_forward(double *x, const reference_t *reference, int64_t layer,
                                          int64_t position)
{
    const int64_t d = reference->options.d_model, f = reference->options.d_ff;
    const int32_t ffn = reference->options.ffn;
    const bool gated = ffn == TLM_FFN_SWIGLU || ffn == TLM_FFN_GEGLU;
    double *h = malloc((size_t)(d + 2 * f) * sizeof(double));
    double *gate = h + d, *up = gate + f;

    reference_input(h, x, reference, layer, "ln2");
    reference_project(gate, reference, layer, "ffn.w1", h, f, d);
    if (gated)
        reference_project(up, reference, layer, "ffn.w3", h, f, d);
    for (int64_t i = 0; i < f; i++)
        gate[i] = reference_activation(gate[i], ffn) * (gated ? up[i] : 1.0);
    reference_project(h, reference, layer, "ffn.w2", gate, d, f);
    reference_add(x, h, reference, layer, "ln2", position);
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
    const double *positions = reference_find(reference, "position_embeddings.weight");
    const int32_t norm = reference->options.norm;
    double *x = malloc((size_t)(time * d) * sizeof(double));

    for (int64_t i = 0; i < time * d; i++) {
        x[i] = embeddings[ids[i / d] * d + i % d];
        x[i] *= reference->options.scaled_embeddings ? sqrt((double)d) : 1.0;
        x[i] += positions != NULL ? positions[i] : 0.0;
    }
    for (int64_t t = 0; t < time && reference->options.embedding_norm; t++)
        reference_any_norm(x + t * d, x + t * d, reference_find(reference, "embedding_norm.weight"),
                           reference_find(reference, "embedding_norm.bias"), reference);
    for (int64_t i = 0; i < time * d; i++)
        x[i] *= reference_kept(reference, reference->options.embedding_dropout, 7 << 20,
                               reference->first_token + (uint64_t)(i / d), d, i % d);
    for (int64_t layer = 0; layer < reference->options.num_layers; layer++) {
        reference_attention(x, reference, layer, ids, time);
        for (int64_t t = 0; t < time; t++)
            reference_feed_forward(x + t * d, reference, layer, t);
    }
    for (int64_t t = 0; t < time; t++) {
        if (norm != TLM_NORM_POST && norm != TLM_NORM_NONE)
            reference_any_norm(x + t * d, x + t * d, reference_find(reference, "ln_final.weight"),
                               reference_find(reference, "ln_final.bias"), reference);
        reference_linear(logits + t * vocab, head, x + t * d, vocab, d);
        for (int64_t i = 0; i < vocab; i++)
            logits[t * vocab + i] =
                reference_cap(logits[t * vocab + i], reference->options.logit_softcap);
    }
    free(x);
}

/* The loss of one token in training, of logits that are small. */
static inline double reference_token_loss(const reference_t *reference, const double *logits,
                                          uint32_t target)
{
    const int64_t vocab = reference->options.vocab_size;
    const double smoothing = reference->options.label_smoothing;
    double sum = 0.0, mean = 0.0;

    for (int64_t i = 0; i < vocab; i++) {
        sum += exp(logits[i]);
        mean += logits[i] / (double)vocab;
    }
    return log(sum) - (1.0 - smoothing) * logits[target] - smoothing * mean +
           reference->options.z_loss * log(sum) * log(sum);
}

/* Mean loss of a batch, whose first token is reference->first_token. */
static inline double reference_loss(const reference_t *reference, const uint32_t *inputs,
                                    const uint32_t *targets, int64_t batch, int64_t time)
{
    const int64_t vocab = reference->options.vocab_size;
    double *logits = malloc((size_t)(time * vocab) * sizeof(double));
    reference_t own = *reference;
    double loss = 0.0;

    for (int64_t row = 0; row < batch; row++) {
        reference_logits(logits, &own, inputs + row * time, time);
        own.first_token += (uint64_t)time;
        for (int64_t t = 0; t < time; t++)
            loss += reference_token_loss(reference, logits + t * vocab, targets[row * time + t]);
    }
    free(logits);
    return loss / (double)(batch * time);
}

#endif
