/* What the layers share with the model and with generation, and what the files of attention
 * share. */
#ifndef TLMI_NN_CORE_H
#define TLMI_NN_CORE_H

#include <math.h>

#include "tinylm/nn.h"
#include "tensor/tensor_core.h"

/* ---- Layers of tensors in bfloat16 and float16 ----------------------------------------- */

enum { TLMI_MOST_LAYER_INPUTS = 3 };

/* A layer of float32 tensors that have been checked. */
typedef tlm_status_t (*tlmi_layer_fn)(tlm_tensor_t **out, tlm_tensor_t *const *inputs,
                                      const void *arguments);

/* Fails unless `tensor` is float32, bfloat16 or float16. */
tlm_status_t tlmi_check_real(const char *op, const char *name, const tlm_tensor_t *tensor);

/* Computes the layer with its inputs widened to float32, and rounds the result to the type of input 0.
 * The inputs are real; gradients are refused unless input 0 is float32. */
tlm_status_t tlmi_in_float32(tlm_tensor_t **out, const tlmi_op_t *op, tlmi_layer_fn compute,
                             tlm_tensor_t *const *inputs, int32_t num_inputs,
                             const void *arguments);

/* ---- Linear layers with a low-rank change, and dropout ---------------------------------- */

/* Which elements are dropped; rate 0: none. */
typedef struct tlmi_drop_rule {
    double rate; /* in [0, 1), rounded to a multiple of 2^-16 */
    uint64_t seed, stream;
    uint64_t first_token; /* number of the first row */
} tlmi_drop_rule_t;

/* y = D(x), or y += D(x) with `add`: rows of d elements, of which the dropped ones are 0 and the
 * others scaled by 1 / (1 - rate). y may be x. */
void tlmi_dropout_rows(float *y, const float *x, int64_t rows, int64_t d, bool add,
                       const tlmi_drop_rule_t *dropout);

/* The same as an op; x itself, retained, where nothing is dropped. */
tlm_status_t tlmi_dropout(tlm_tensor_t **out, tlm_tensor_t *x, const tlmi_drop_rule_t *dropout);

/* What elements first .. first + n - 1 of a row of d are multiplied by: 0, or 1 / (1 - rate). `row`
 * counts from the first row of token 0. */
void tlmi_dropout_mask(float *mask, const tlmi_drop_rule_t *dropout, uint64_t row, int64_t d,
                       int64_t first, int64_t n);

/* A change of a weight: scale B A, with A (rank, d_in) and B (d_out, rank), both float32 and
 * borrowed. Only its input goes through dropout. */
typedef struct tlmi_low_rank {
    tlm_tensor_t *a, *b;
    float scale;
    tlmi_drop_rule_t dropout;
} tlmi_low_rank_t;

/* tlm_linear for a weight of any element type, which may need no gradient, with a change (NULL:
 * none). */
tlm_status_t tlmi_linear(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight,
                         const tlmi_low_rank_t *change);

/* tlm_embedding for a table of any element type. */
tlm_status_t tlmi_embedding(tlm_tensor_t **out, tlm_tensor_t *weight, tlm_tensor_t *ids);

/* ---- Cross-entropy fused with the output layer, whose logits never exist as a whole -- */

enum { TLMI_LOSS_SLICE = 512 /* rows whose logits exist at one time */ };

/* What is computed of the logits of a position. With the logits z as `softcap` leaves them,
 * l = logsumexp(z) and the target t, its loss is
 *
 *   l - (1 - smoothing) z[t] - smoothing mean(z) + z_loss l^2
 *
 * (label smoothing: Szegedy et al. 2016; z-loss: PaLM, Chowdhery et al. 2022). Zeros: l - z[t]. */
typedef struct tlmi_loss_rules {
    float softcap; /* each logit z becomes softcap * tanh(z / softcap) first; 0: it stays */
    double z_loss, smoothing;
} tlmi_loss_rules_t;

/* tlm_cross_entropy(tlm_linear(x, weight), targets) in slices of rows: x (..., d), weight (classes,
 * d). Gradients are computed in the forward pass, slice by slice, if they are needed. */
tlm_status_t tlmi_linear_cross_entropy(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight,
                                       tlm_tensor_t *targets, const tlmi_loss_rules_t *rules);

/* tlm_cross_entropy by rules without a softcap; with may_ignore, targets of TLM_IGNORED_TARGET do not
 * count, but not all of them may be that. tlmi_linear_cross_entropy always takes them. */
tlm_status_t tlmi_cross_entropy(tlm_tensor_t **out, tlm_tensor_t *logits, tlm_tensor_t *targets,
                                bool may_ignore, const tlmi_loss_rules_t *rules);

/* y = weights[0] a + weights[1] b, for a and b of one shape, as an op and as a loop, whose y may be a. */
tlm_status_t tlmi_mix(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b, tlm_tensor_t *weights);
void tlmi_mix_rows(float *y, const float *a, const float *b, const float weights[2], int64_t n);

/* LayerNorm over the last dimension: (x - mean) / sqrt(variance + eps) * gain + bias. */
tlm_status_t tlmi_layer_norm(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *gain,
                             tlm_tensor_t *bias, float eps);

/* y = (x - mean) / sqrt(variance + eps) * gain + bias, for one row; y may be x. Returns the
 * reciprocal of the root; *mean may be NULL. */
float tlmi_layer_norm_row(float *y, float *mean, const float *x, const float *gain,
                          const float *bias, int64_t d, float eps);

/* y = cap * tanh(x / cap); y may be x. */
void tlmi_softcap_rows(float *y, const float *x, float cap, int64_t n);

/* The same in place, with the derivatives. */
void tlmi_softcap_slopes(float *x, float *slopes, float cap, int64_t n);

/* ---- RoPE: the angles between neighboring positions, one per pair of elements ------------- */

typedef enum tlmi_rope_scaling {
    TLMI_ROPE_PLAIN,
    TLMI_ROPE_LINEAR,
    TLMI_ROPE_LLAMA3,
    TLMI_ROPE_YARN
} tlmi_rope_scaling_t;

typedef struct tlmi_rope {
    double theta; /* 0: no rotation */
    tlmi_rope_scaling_t scaling;
    double factor;                /* the members from here on are read only with scaling */
    double low_turns, high_turns; /* of LLAMA3 and YARN, in original_context positions */
    double original_context;
    double magnitude; /* of the rotated rows; 0: 1 */
} tlmi_rope_t;

/* The d / 2 angles: theta^(-2 i / d) for pair i, scaled. */
void tlmi_rope_angles(double *angles, const tlmi_rope_t *rope, int64_t d);

/* cos and sin of a position's angles, times the magnitude: (d / 2, 2). */
void tlmi_rope_row(float *row, int64_t position, int64_t d, const double *angles,
                   const tlmi_rope_t *rope);

/* ---- Attention over projected heads ---------------------------------------------------- */

/* What is computed of queries and keys; zeros: plain attention without rotation. */
typedef struct tlmi_score_rules {
    tlmi_rope_t rope;
    int64_t window;           /* keys that a query sees, its own included; 0: all before it */
    float scale;              /* of scores; 0: 1 / sqrt(d_head) */
    float softcap;            /* scores s become softcap * tanh(s / softcap); 0: they stay */
    tlmi_drop_rule_t dropout; /* of the weights that the scores become */
} tlmi_score_rules_t;

/* Causal attention over heads that lie side by side in contiguous rows, whose shapes the caller has
 * checked: query is (..., time, num_heads * d_head), key and value (..., time, num_kv_heads *
 * d_head). Positions are those of tlm_multi_head_attention. Messages begin with `op`. */
tlm_status_t tlmi_heads_attention(tlm_tensor_t **out, const char *op, tlm_tensor_t *query,
                                  tlm_tensor_t *key, tlm_tensor_t *value, int32_t num_heads,
                                  int32_t num_kv_heads, const tlmi_score_rules_t *rules,
                                  tlm_tensor_t *positions);

/* ---- RoPE: a table of cos and sin of the angles, by row and pair ---------------------- */

typedef struct tlmi_rotation {
    float *table; /* (rows, d / 2, 2): cos, sin; owned */
    int64_t rows; /* time, or outer * time if each sequence has its own positions */
    int64_t time;
    int64_t d;
} tlmi_rotation_t;

/* Computes the table for x, whose leading dimensions before time are `outer_shape`. positions NULL
 * means 0 .. time-1. Messages begin with `op`. Owned by the caller: tlmi_rotation_free. */
tlm_status_t tlmi_rotation_create(tlmi_rotation_t *out, const char *op, const int64_t *outer_shape,
                                  int32_t outer_ndim, int64_t time, int64_t d,
                                  const tlm_tensor_t *positions, const tlmi_rope_t *rope);
void tlmi_rotation_free(tlmi_rotation_t *rotation);

/* The table's row for sequence `outer` and time step t. */
static inline const float *tlmi_rotation_row(const tlmi_rotation_t *rotation, int64_t outer,
                                             int64_t t)
{
    int64_t row = rotation->rows == rotation->time ? t : outer * rotation->time + t;
    return rotation->table + row * rotation->d;
}

/* y = x rotated by +angle, or by -angle if `inverse`; y may be x. */
void tlmi_rotate(float *y, const float *x, const float *row, int64_t d, bool inverse);

/* ---- Attention over heads laid out anywhere in memory -------------------------------- */

/* Where the rows of an operand lie: row i of head h of sequence s is at
 * data + s * outer_stride + h * head_stride + i * row_stride. */
typedef struct tlmi_heads {
    float *data;
    int64_t heads; /* per sequence */
    int64_t outer_stride;
    int64_t head_stride;
    int64_t row_stride;
} tlmi_heads_t;

/* A boolean mask that broadcasts over the leading dimensions; data is NULL if there is none. */
typedef struct tlmi_mask {
    const uint8_t *data;
    int32_t leading;               /* number of leading dimensions */
    int64_t shape[TLM_MAX_DIMS];   /* their sizes */
    int64_t strides[TLM_MAX_DIMS]; /* and strides, 0 where it broadcasts */
    int64_t query_stride, key_stride;
} tlmi_mask_t;

typedef struct tlmi_attention {
    int64_t outer, heads;  /* sequences, and query heads per sequence */
    int64_t group;         /* query heads (numbered over all sequences) that share a key head */
    int64_t queries, keys; /* rows of a head */
    int64_t d_key, d_value;
    bool causal;
    int64_t window; /* as in tlmi_score_rules_t, like the next two */
    float scale, softcap;
    tlmi_drop_rule_t dropout;
    tlmi_mask_t mask;
    const tlmi_rotation_t *rotation; /* of queries and keys; NULL: none */
} tlmi_attention_t;

/* Key heads per sequence: fewer than query heads in grouped-query attention (Ainslie et al. 2023).
 * If a sequence has one query head, its group spans several sequences. */
static inline int64_t tlmi_key_heads(const tlmi_attention_t *attention)
{
    return attention->heads == 1 ? 1 : attention->heads / attention->group;
}

/* The factor of scores. */
static inline float tlmi_score_scale(const tlmi_attention_t *attention)
{
    return attention->scale != 0.0f ? attention->scale : 1.0f / sqrtf((float)attention->d_key);
}

/* out = softmax(Q K^T / sqrt(d_key)) V without a (queries, keys) matrix: tiles with an online
 * softmax (Milakov & Gimelshein 2018; Dao et al. 2022). lse, the log-sum-exp of each row, is
 * (outer, heads, queries) and may be NULL. */
tlm_status_t tlmi_attention_forward(const tlmi_attention_t *attention, tlmi_heads_t out, float *lse,
                                    tlmi_heads_t query, tlmi_heads_t key, tlmi_heads_t value);

/* Where the gradients go, and whether they are added to what is there; data is NULL for one that is
 * not needed. */
typedef struct tlmi_attention_gradients {
    tlmi_heads_t query, key, value;
    bool accumulate_query, accumulate_key, accumulate_value;
} tlmi_attention_gradients_t;

tlm_status_t tlmi_attention_backward(const tlmi_attention_t *attention,
                                     const tlmi_attention_gradients_t *gradients,
                                     tlmi_heads_t grad_out, tlmi_heads_t out, const float *lse,
                                     tlmi_heads_t query, tlmi_heads_t key, tlmi_heads_t value);

/* ---- Tiles of attention: sizes, loading and storing rows, masking scores -------------------------- */

enum {
    TLMI_QUERY_TILE = 48, /* queries per tile: a multiple of the register tiles of all kernels */
    TLMI_KEY_BLOCK = 256, /* keys per block: 48 x 256 scores stay in the L2 cache */
    /* Distance of two rows of scores. Rows a power of two apart would compete for the same sets of
     * the L1 cache. */
    TLMI_SCORE_STRIDE = TLMI_KEY_BLOCK + 16
};

static inline int64_t tlmi_min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Takes the next n floats of scratch memory, aligned to a cache line; NULL if base is NULL. */
static inline float *tlmi_take(float *base, int64_t *used, int64_t n)
{
    float *part = base == NULL ? NULL : base + *used;
    *used += (n + 15) / 16 * 16;
    return part;
}

/* Multiplies the weights of a query with keys from first_key on by their mask of dropout. */
void tlmi_attention_drop(float *weights, const tlmi_attention_t *attention, int64_t head,
                         int64_t query, int64_t first_key, int64_t n);

/* The first row of head `head` (numbered over all sequences) of the operand. */
static inline float *tlmi_head_rows(tlmi_heads_t operand, int64_t head)
{
    return operand.data + head / operand.heads * operand.outer_stride +
           head % operand.heads * operand.head_stride;
}

/* How many keys the causal mask lets any of the queries first .. first+n-1 see. */
static inline int64_t tlmi_visible_keys(const tlmi_attention_t *attention, int64_t first, int64_t n)
{
    if (!attention->causal)
        return attention->keys;
    int64_t limit = first + n + attention->keys - attention->queries;
    return limit < 0 ? 0 : tlmi_min64(limit, attention->keys);
}

/* How many of the n keys from first_key on the causal mask lets the query see. */
static inline int64_t tlmi_causal_keys(const tlmi_attention_t *attention, int64_t query,
                                       int64_t first_key, int64_t n)
{
    int64_t seen = tlmi_visible_keys(attention, query, 1) - first_key;
    return seen < 0 ? 0 : tlmi_min64(seen, n);
}

/* The first key that the window lets the query see. */
static inline int64_t tlmi_first_in_window(const tlmi_attention_t *attention, int64_t query)
{
    int64_t start = query + attention->keys - attention->queries + 1 - attention->window;
    return attention->window == 0 || start < 0 ? 0 : start;
}

/* How many of the n keys from first_key on the window hides from the query: those in front. */
static inline int64_t tlmi_window_hidden(const tlmi_attention_t *attention, int64_t query,
                                         int64_t first_key, int64_t n)
{
    int64_t hidden = tlmi_first_in_window(attention, query) - first_key;
    return hidden < 0 ? 0 : tlmi_min64(hidden, n);
}

/* Loads rows: dst (n, d) = scale * rows first .. first+n-1 of a head, rotated if `rotate`. */
void tlmi_attention_load(float *dst, const tlmi_attention_t *attention, tlmi_heads_t operand,
                         int64_t head, int64_t first, int64_t n, int64_t d, float scale,
                         bool rotate);

/* Stores gradients of rows: rows of a head = or += scale * src (n, d), rotated back if `rotate`.
 * Overwrites src. */
void tlmi_attention_store(const tlmi_attention_t *attention, tlmi_heads_t operand, int64_t head,
                          int64_t first, int64_t n, int64_t d, float scale, bool rotate,
                          bool accumulate, float *src);

/* Sets the scores (rows x n, in rows of TLMI_SCORE_STRIDE) that the mask hides to `hidden`, for the
 * queries from first_query and the keys from first_key on. Does not apply the causal mask. */
void tlmi_attention_mask(float *scores, const tlmi_attention_t *attention, int64_t head,
                         int64_t first_query, int64_t rows, int64_t first_key, int64_t n,
                         float hidden);

#endif
