/* The memory of a train step, by walking through it: each buffer that the forward and backward
 * passes take and give back is entered in a book of the buffer cache (buffer_cache.h), in the order
 * of model_forward.c, recompute.c and the backward functions of their ops. Whoever changes what an
 * op keeps changes its lines here; tests/model/test_model_cost.c compares both with real steps. */
#include "model/model_core.h"

#include "nn/attention.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"
#include "kernels/gemm.h"

#define NORM_ROWS 64 /* RMSNorm's backward has two rows of sums for so many */

/* Capacities of the buffers of a block that its graph keeps; 0: none. */
typedef struct block {
    struct sublayer {
        size_t normed; /* pre-norm: what the layer sees; dropped until backward */
        size_t change; /* what the layer gives; dropped */
        size_t sum;    /* x + change */
        size_t result; /* post-norm: the norm of the sum */
    } attention, feed_forward;
    size_t query, key, value, heads;
    size_t gate, up;
    size_t hidden; /* dropped until backward */
} block_t;

typedef struct walk {
    const tlm_model_options_t *options;
    const tlmi_model_shape_t *shape;
    int64_t rows, time, batch;
    tlmi_attention_t heads;
    bool pre, post, swiglu;
    size_t *gradients; /* of each parameter: its capacity; 0: there is none */
    block_t *blocks;
    tlmi_buffer_book_t book;
    size_t plain; /* bytes in use besides elements: sums of rows, tables, lists of ids */
    size_t live, peak;
} walk_t;

/* ---- Taking and giving back --------------------------------------------------------------- */

static void note(walk_t *walk)
{
    size_t live = walk->book.stats.live_bytes + walk->plain;
    size_t held = live + walk->book.stats.kept_bytes;

    walk->live = live > walk->live ? live : walk->live;
    walk->peak = held > walk->peak ? held : walk->peak;
}

static size_t take_bytes(walk_t *walk, size_t bytes)
{
    size_t capacity = tlmi_buffer_book_take(&walk->book, bytes);

    note(walk);
    return capacity;
}

static size_t take(walk_t *walk, int64_t rows, int64_t width)
{
    return take_bytes(walk, (size_t)rows * (size_t)width * sizeof(float));
}

static void give(walk_t *walk, size_t capacity)
{
    if (capacity > 0)
        tlmi_buffer_book_give(&walk->book, capacity);
}

/* A result that backward does without, or makes anew (tlmi_tensor_drop). */
static void drop(walk_t *walk, size_t *capacity)
{
    give(walk, *capacity);
    *capacity = 0;
}

static void use(walk_t *walk, size_t bytes)
{
    give(walk, take_bytes(walk, bytes));
}

static void product(walk_t *walk, int64_t m, int64_t n, int64_t k)
{
    use(walk, tlmi_gemm_workspace(m, n, k));
}

/* The gradient of a parameter, unless there is one to add to. */
static void open_gradient(walk_t *walk, size_t parameter, int64_t rows, int64_t width)
{
    if (walk->gradients[parameter] == 0)
        walk->gradients[parameter] = take(walk, rows, width);
}

static size_t block_parameter(const walk_t *walk, int64_t layer, int32_t part)
{
    return 1 + (size_t)layer * walk->shape->block_parameters + (size_t)walk->shape->places[part];
}

/* ---- Ops ---------------------------------------------------------------------------------- */

static size_t linear(walk_t *walk, int64_t d_in, int64_t d_out)
{
    size_t y = take(walk, walk->rows, d_out);

    product(walk, walk->rows, d_out, d_in);
    return y;
}

/* A result that was dropped, for the backward that reads it first. */
static void restore(walk_t *walk, size_t *capacity, int64_t width)
{
    *capacity = take(walk, walk->rows, width);
}

/* Opens *dx if it is 0. */
static void linear_backward(walk_t *walk, size_t *dx, size_t weight, int64_t d_in, int64_t d_out)
{
    if (*dx == 0)
        *dx = take(walk, walk->rows, d_in);
    product(walk, walk->rows, d_in, d_out);
    open_gradient(walk, weight, d_out, d_in);
    product(walk, d_out, d_in, walk->rows);
}

/* The norm with its rows' scales, where a graph keeps them. */
static size_t norm(walk_t *walk, bool graph)
{
    size_t y = take(walk, walk->rows, walk->options->d_model);

    if (graph)
        walk->plain += (size_t)walk->rows * sizeof(float);
    return y;
}

static void norm_backward(walk_t *walk, size_t *dx, size_t gain)
{
    const int64_t d = walk->options->d_model;
    size_t sums = take(walk, (walk->rows + NORM_ROWS - 1) / NORM_ROWS, 2 * d);

    if (*dx == 0)
        *dx = take(walk, walk->rows, d);
    open_gradient(walk, gain, 1, d);
    give(walk, sums);
    walk->plain -= (size_t)walk->rows * sizeof(float);
}

/* What attention keeps besides buffers: the rows' log-sum-exp, and RoPE's table. */
static size_t attention_rest(const walk_t *walk)
{
    size_t lse = (size_t)walk->rows * (size_t)walk->options->num_heads;
    size_t table = walk->options->position == TLM_POSITION_ROPE
                       ? (size_t)walk->time * (size_t)walk->shape->d_head
                       : 0;

    return (lse + table) * sizeof(float);
}

/* ---- A block ------------------------------------------------------------------------------ */

static void attention_forward(walk_t *walk, block_t *block, bool graph)
{
    const int64_t d = walk->options->d_model, kv = walk->shape->kv_width;

    block->query = linear(walk, d, d);
    block->key = linear(walk, d, kv);
    block->value = linear(walk, d, kv);
    block->heads = take(walk, walk->rows, d);
    use(walk, (size_t)tlmi_max_workers() * tlmi_attention_forward_scratch(&walk->heads));
    if (graph)
        walk->plain += attention_rest(walk);
    block->attention.change = linear(walk, d, d);
    if (!graph) {
        give(walk, block->query);
        give(walk, block->key);
        give(walk, block->value);
        give(walk, block->heads);
    }
}

static void feed_forward(walk_t *walk, block_t *block, bool graph)
{
    const int64_t d = walk->options->d_model, f = walk->options->d_ff;

    block->gate = linear(walk, d, f);
    block->up = walk->swiglu ? linear(walk, d, f) : 0;
    block->hidden = take(walk, walk->rows, f);
    block->feed_forward.change = linear(walk, f, d);
    drop(walk, &block->hidden);
    if (!graph) {
        give(walk, block->gate);
        give(walk, block->up);
    }
}

/* x is the sublayer's input, which goes as soon as there is a result if it is not 0. */
static void sublayer_forward(walk_t *walk, block_t *block, struct sublayer *part, size_t x,
                             void (*layer)(walk_t *walk, block_t *block, bool graph), bool graph)
{
    part->normed = walk->pre ? norm(walk, graph) : 0;
    layer(walk, block, graph);
    part->sum = take(walk, walk->rows, walk->options->d_model);
    part->result = walk->post ? norm(walk, graph) : 0;
    if (!graph) {
        give(walk, x);
        if (walk->post)
            drop(walk, &part->sum);
    }
    drop(walk, &part->normed);
    drop(walk, &part->change);
}

static size_t *sublayer_output(const walk_t *walk, struct sublayer *part)
{
    return walk->post ? &part->result : &part->sum;
}

/* Without a graph only the output remains. */
static void block_forward(walk_t *walk, block_t *block, bool graph)
{
    sublayer_forward(walk, block, &block->attention, 0, attention_forward, graph);
    sublayer_forward(walk, block, &block->feed_forward,
                     graph ? 0 : *sublayer_output(walk, &block->attention), feed_forward, graph);
}

/* From the gradient of a sublayer's output to the layer's change and, shared, its input: the buffer
 * of both. */
static size_t sum_backward(walk_t *walk, struct sublayer *part, size_t gradient, size_t gain)
{
    if (walk->post) {
        size_t dsum = 0;

        norm_backward(walk, &dsum, gain);
        give(walk, gradient);
        give(walk, part->result);
        gradient = dsum;
    }
    give(walk, part->sum);
    return gradient;
}

/* The layer's input has its gradient at *dx: that of the norm, which adds to the sublayer's, or
 * that itself. */
static void input_backward(walk_t *walk, struct sublayer *part, size_t dx, size_t *gradient,
                           size_t gain)
{
    if (!walk->pre)
        return;
    norm_backward(walk, gradient, gain);
    give(walk, dx);
    give(walk, part->normed);
}

static void feed_forward_backward(walk_t *walk, block_t *block, int64_t layer, size_t *dx)
{
    const int64_t d = walk->options->d_model, f = walk->options->d_ff;
    size_t dhidden = 0, dgate, dup = 0;

    restore(walk, &block->hidden, f);
    linear_backward(walk, &dhidden, block_parameter(walk, layer, TLMI_FFN_W2), f, d);
    dgate = take(walk, walk->rows, f);
    if (walk->swiglu)
        dup = dhidden; /* written over it */
    else
        give(walk, dhidden);
    give(walk, block->hidden);
    if (walk->pre)
        restore(walk, &block->feed_forward.normed, d);
    if (walk->swiglu) {
        linear_backward(walk, dx, block_parameter(walk, layer, TLMI_FFN_W3), d, f);
        give(walk, dup);
        give(walk, block->up);
    }
    linear_backward(walk, dx, block_parameter(walk, layer, TLMI_FFN_W1), d, f);
    give(walk, dgate);
    give(walk, block->gate);
}

static void attention_backward(walk_t *walk, block_t *block, int64_t layer, size_t *dx)
{
    const int64_t d = walk->options->d_model, kv = walk->shape->kv_width;
    size_t dheads = 0, dquery, dkey, dvalue;

    linear_backward(walk, &dheads, block_parameter(walk, layer, TLMI_ATTN_OUTPUT), d, d);
    dquery = take(walk, walk->rows, d);
    dkey = take(walk, walk->rows, kv);
    dvalue = take(walk, walk->rows, kv);
    use(walk, (size_t)tlmi_max_workers() * tlmi_attention_backward_scratch(&walk->heads));
    give(walk, dheads);
    give(walk, block->heads);
    walk->plain -= attention_rest(walk);
    if (walk->pre)
        restore(walk, &block->attention.normed, d);
    linear_backward(walk, dx, block_parameter(walk, layer, TLMI_ATTN_V), d, kv);
    give(walk, dvalue);
    give(walk, block->value);
    linear_backward(walk, dx, block_parameter(walk, layer, TLMI_ATTN_K), d, kv);
    give(walk, dkey);
    give(walk, block->key);
    linear_backward(walk, dx, block_parameter(walk, layer, TLMI_ATTN_Q), d, d);
    give(walk, dquery);
    give(walk, block->query);
}

/* From the gradient of a block's output to that of its input. */
static size_t block_backward(walk_t *walk, block_t *block, int64_t layer, size_t gradient)
{
    const size_t ln1 = block_parameter(walk, layer, TLMI_LN1);
    const size_t ln2 = block_parameter(walk, layer, TLMI_LN2);
    size_t dx = 0;

    gradient = sum_backward(walk, &block->feed_forward, gradient, ln2);
    feed_forward_backward(walk, block, layer, walk->pre ? &dx : &gradient);
    input_backward(walk, &block->feed_forward, dx, &gradient, ln2);
    gradient = sum_backward(walk, &block->attention, gradient, ln1);
    dx = 0;
    attention_backward(walk, block, layer, walk->pre ? &dx : &gradient);
    input_backward(walk, &block->attention, dx, &gradient, ln1);
    return gradient;
}

/* The block kept its output alone: its graph is made, with a copy of the gradient to start from,
 * and goes before the output does. */
static size_t block_recomputed(walk_t *walk, block_t *block, int64_t layer, size_t gradient)
{
    block_t inner = {0};
    size_t *output, held, dx;

    block_forward(walk, &inner, true);
    output = sublayer_output(walk, &inner.feed_forward);
    held = *output;
    *output = 0;
    dx = block_backward(walk, &inner, layer, take(walk, walk->rows, walk->options->d_model));
    give(walk, held);
    give(walk, gradient);
    give(walk, *sublayer_output(walk, &block->feed_forward));
    return dx;
}

/* ---- A step ------------------------------------------------------------------------------- */

/* The output projection fused with the loss: gradients of both operands exist from here on. */
static size_t loss_forward(walk_t *walk, size_t output)
{
    const int64_t v = walk->options->vocab_size, d = walk->options->d_model;
    const int64_t slice = walk->rows < TLMI_LOSS_SLICE ? walk->rows : TLMI_LOSS_SLICE;
    size_t lists = (size_t)walk->rows * (sizeof(int64_t) + sizeof(double)); /* targets, losses */
    size_t dx = take(walk, walk->rows, d), logits;

    open_gradient(walk, output, v, d);
    logits = take(walk, slice, v);
    walk->plain += lists;
    product(walk, slice, v, d);
    product(walk, slice, d, v);
    product(walk, v, d, slice);
    give(walk, logits);
    walk->plain -= lists;
    return dx;
}

static size_t train_step(walk_t *walk, bool checkpointing, size_t weights)
{
    const tlm_model_options_t *options = walk->options;
    const tlmi_model_shape_t *shape = walk->shape;
    const int64_t d = options->d_model;
    const size_t last = shape->num_parameters - 1,
                 output = tlmi_has_part(shape, TLMI_LM_HEAD) ? last : 0;
    const size_t id_list = (size_t)walk->rows * sizeof(int64_t); /* for the embedding's gradient */
    size_t targets = take(walk, walk->rows, 1), ids = take(walk, walk->rows, 1);
    size_t embedded = take(walk, walk->rows, d), hidden, loss, gradient, dx, activations;

    walk->plain += id_list;
    for (int64_t layer = 0; layer < options->num_layers; layer++)
        block_forward(walk, &walk->blocks[layer], !checkpointing);
    hidden = tlmi_has_part(shape, TLMI_LN_FINAL) ? norm(walk, true) : 0;
    give(walk, ids);
    loss = take(walk, 1, 1);
    gradient = loss_forward(walk, output);
    drop(walk, tlmi_has_part(shape, TLMI_LN_FINAL)
                   ? &hidden
                   : sublayer_output(walk, &walk->blocks[options->num_layers - 1].feed_forward));
    give(walk, targets);
    activations = walk->book.stats.live_bytes + walk->plain - walk->gradients[output] - weights;

    use(walk, sizeof(float)); /* the loss's own gradient */
    dx = tlmi_has_part(shape, TLMI_LN_FINAL) ? 0 : gradient;
    if (tlmi_has_part(shape, TLMI_LN_FINAL)) {
        norm_backward(walk, &dx, last - (tlmi_has_part(shape, TLMI_LM_HEAD) ? 1 : 0));
        give(walk, gradient);
    }
    for (int64_t layer = options->num_layers - 1; layer >= 0; layer--)
        dx = checkpointing ? block_recomputed(walk, &walk->blocks[layer], layer, dx)
                           : block_backward(walk, &walk->blocks[layer], layer, dx);
    open_gradient(walk, 0, options->vocab_size, d);
    give(walk, dx);
    give(walk, embedded);
    walk->plain -= id_list;
    give(walk, loss);
    return activations;
}

static void zero_gradients(walk_t *walk)
{
    for (size_t i = 0; i < walk->shape->num_parameters; i++) {
        give(walk, walk->gradients[i]);
        walk->gradients[i] = 0;
    }
}

tlm_status_t tlmi_step_memory(tlmi_step_memory_t *out, const tlm_model_options_t *options,
                              const tlmi_model_shape_t *shape, int64_t batch, int64_t time,
                              bool checkpointing, size_t optimizer_bytes)
{
    enum { STEPS = 3 }; /* what the first leaves in the cache serves the second */
    walk_t *walk = tlmi_calloc(1, sizeof(*walk), "a forecast of memory");
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    size_t weights;

    if (walk == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    walk->options = options;
    walk->shape = shape;
    walk->batch = batch;
    walk->time = time;
    walk->rows = batch * time;
    walk->pre = options->norm == TLM_NORM_PRE;
    walk->post = options->norm == TLM_NORM_POST;
    walk->swiglu = options->ffn == TLM_FFN_SWIGLU;
    walk->heads = (tlmi_attention_t){.outer = batch,
                                     .heads = options->num_heads,
                                     .group = options->num_heads / options->num_kv_heads,
                                     .queries = time,
                                     .keys = time,
                                     .d_key = shape->d_head,
                                     .d_value = shape->d_head,
                                     .causal = true};
    walk->gradients = tlmi_calloc(shape->num_parameters, sizeof(size_t), "a forecast of memory");
    walk->blocks =
        tlmi_calloc((size_t)options->num_layers, sizeof(block_t), "a forecast of memory");
    if (walk->gradients != NULL && walk->blocks != NULL) {
        take(walk, 1, (int64_t)shape->num_elements); /* the parameters are one block */
        walk->plain = optimizer_bytes;
        weights = walk->book.stats.live_bytes + optimizer_bytes;
        for (int step = 0; step < STEPS; step++) {
            zero_gradients(walk);
            out->activations = train_step(walk, checkpointing, weights);
        }
        out->live = walk->live;
        out->peak = walk->peak;
        status = TLM_OK;
    }
    tlmi_free(walk->blocks);
    tlmi_free(walk->gradients);
    tlmi_free(walk);
    return status;
}
