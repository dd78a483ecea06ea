/* What a model's options mean: checks, defaults, and which parameters follow from them. */
#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "model/model_core.h"

#define MAX_LAYERS 65536

static tlm_status_t check_sizes(const char *function, const tlm_model_options_t *options)
{
    const struct {
        const char *name;
        int64_t value;
        bool optional;
    } sizes[] = {
        {"vocab_size", options->vocab_size, false},
        {"context_length", options->context_length, false},
        {"d_model", options->d_model, false},
        {"num_layers", options->num_layers, false},
        {"num_heads", options->num_heads, false},
        {"d_ff", options->d_ff, true},
        {"num_kv_heads", options->num_kv_heads, true},
    };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (sizes[i].value < (sizes[i].optional ? 0 : 1) || sizes[i].value > INT32_MAX)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: %s %" PRId64 " is not in %d .. 2147483647", function,
                             sizes[i].name, sizes[i].value, sizes[i].optional ? 0 : 1);
    /* Memory for the names alone would be asked for before any limit of the machine shows. */
    if (options->num_layers > MAX_LAYERS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: num_layers %" PRId64 " is more than %d",
                         function, options->num_layers, MAX_LAYERS);
    if (!isfinite(options->rope_theta) || options->rope_theta < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: rope_theta %g is not a finite number >= 0",
                         function, options->rope_theta);
    /* RMSNorm takes it as float32. */
    if (!isfinite((float)options->norm_eps) || options->norm_eps < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: norm_eps %g is not a finite float >= 0",
                         function, options->norm_eps);
    return TLM_OK;
}

static tlm_status_t check_switches(const char *function, const tlm_model_options_t *options)
{
    const struct {
        const char *name;
        int32_t value, last;
    } switches[] = {
        {"norm", options->norm, TLM_NORM_NONE},
        {"position", options->position, TLM_POSITION_NONE},
        {"ffn", options->ffn, TLM_FFN_SILU},
    };

    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
        if (switches[i].value < 0 || switches[i].value > switches[i].last)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s %" PRId32 " is not in 0 .. %" PRId32,
                             function, switches[i].name, switches[i].value, switches[i].last);
    return TLM_OK;
}

static tlm_status_t check_heads(const char *function, const tlm_model_options_t *options)
{
    /* RoPE turns pairs within a head. */
    int64_t pair = options->position == TLM_POSITION_ROPE ? 2 : 1;

    if (options->d_model % (pair * options->num_heads) != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: d_model %" PRId64 " is not a multiple of %snum_heads = %" PRId64,
                         function, options->d_model, pair == 2 ? "2 * " : "",
                         pair * options->num_heads);
    if (options->num_kv_heads > 0 && options->num_heads % options->num_kv_heads != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: num_kv_heads %" PRId64 " does not divide num_heads = %" PRId64,
                         function, options->num_kv_heads, options->num_heads);
    return TLM_OK;
}

static void set_defaults(tlm_model_options_t *options)
{
    if (options->num_kv_heads == 0)
        options->num_kv_heads = options->num_heads;
    /* Two matrices of 4 d_model hold as many parameters as three of 8/3 d_model. */
    if (options->d_ff == 0)
        options->d_ff = options->ffn == TLM_FFN_SILU ? 4 * options->d_model
                                                     : (8 * options->d_model + 191) / 192 * 64;
    if (options->rope_theta == 0.0)
        options->rope_theta = 10000.0;
    if (options->norm_eps == 0.0)
        options->norm_eps = 1e-5;
}

static void list_parts(tlmi_model_shape_t *shape, const tlm_model_options_t *options)
{
    bool norms = options->norm != TLM_NORM_NONE;

    shape->block_parameters = 0;
    for (int32_t part = 0; part < TLMI_BLOCK_PARTS; part++) {
        bool present = part == TLMI_FFN_W3                    ? options->ffn == TLM_FFN_SWIGLU
                       : part == TLMI_LN1 || part == TLMI_LN2 ? norms
                                                              : true;
        shape->places[part] = present ? (int32_t)shape->block_parameters++ : -1;
    }
    shape->has_final_norm = options->norm == TLM_NORM_PRE;
    shape->has_output = !options->tied_embeddings;
    shape->num_parameters = 1 + shape->block_parameters * (size_t)options->num_layers +
                            shape->has_final_norm + shape->has_output;
}

/* *sum += a * b, false on overflow. */
static bool add_product(size_t *sum, size_t a, size_t b)
{
    return tlmi_mul_size(&a, a, b) && tlmi_add_size(sum, *sum, a);
}

static bool count_elements(tlmi_model_shape_t *shape, const tlm_model_options_t *options)
{
    size_t d = (size_t)options->d_model, f = (size_t)options->d_ff, block = 0, all = 0, bytes;
    size_t matrices = shape->places[TLMI_FFN_W3] < 0 ? 2 : 3;
    size_t gains = shape->places[TLMI_LN1] < 0 ? 0 : 2;
    size_t ends = (size_t)options->vocab_size * (shape->has_output ? 2 : 1);

    /* Sizes are below 2^34, so small multiples of one fit; beyond that each step is checked. */
    if (!add_product(&block, d, 2 * d) || !add_product(&block, d, 2 * (size_t)shape->kv_width) ||
        !add_product(&block, d, matrices * f + gains) ||
        !add_product(&all, block, (size_t)options->num_layers) ||
        !add_product(&all, d, ends + shape->has_final_norm) ||
        !tlmi_mul_size(&bytes, all, 4 * sizeof(float)))
        return false;
    shape->num_elements = all;
    return true;
}

tlm_status_t tlmi_model_resolve(tlm_model_options_t *resolved, tlmi_model_shape_t *shape,
                                const char *function, const tlm_model_options_t *options)
{
    tlm_model_options_t known = TLM_MODEL_OPTIONS_INIT;
    tlmi_model_shape_t made;

    TLMI_TRY(tlmi_options_read(function, &known, TLMI_MODEL_OPTIONS, options));
    TLMI_TRY(check_sizes(function, &known));
    TLMI_TRY(check_switches(function, &known));
    TLMI_TRY(check_heads(function, &known));
    set_defaults(&known);
    made.d_head = known.d_model / known.num_heads;
    made.kv_width = known.num_kv_heads * made.d_head;
    list_parts(&made, &known);
    if (!count_elements(&made, &known))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: a model of vocab_size %" PRId64 ", d_model %" PRId64
                         ", num_layers %" PRId64 ", d_ff %" PRId64 " is too large",
                         function, known.vocab_size, known.d_model, known.num_layers, known.d_ff);
    *resolved = known;
    *shape = made;
    return TLM_OK;
}
