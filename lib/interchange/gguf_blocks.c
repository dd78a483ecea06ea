/* What a model has in GGUF beyond the table of options: scaling of RoPE, biases, windows, and what
 * llama.cpp takes for granted of a family. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "interchange/interchange.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

const char tlmi_gguf_rope_factors[] = "rope_freqs.weight";

/* By TLM_ROPE_SCALING_...: NULL has no name of its own, and is written as none. */
static const char *const scalings[] = {"none", "linear", NULL, NULL, "yarn"};

static const char scaling_type[] = "rope.scaling.type", scaling_factor[] = "rope.scaling.factor";
static const char old_factor[] = "rope.scale_linear";
static const char original_context[] = "rope.scaling.original_context_length";
static const char magnitude[] = "rope.scaling.attn_factor";
static const char beta_fast[] = "rope.scaling.yarn_beta_fast";
static const char beta_slow[] = "rope.scaling.yarn_beta_slow";
static const char finetuned[] = "rope.scaling.finetuned";

bool tlmi_gguf_is_block_key(const char *key, size_t size)
{
    static const char *const keys[] = {scaling_type, scaling_factor, old_factor, original_context,
                                       magnitude,    beta_fast,      beta_slow,  finetuned};

    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (strlen(keys[i]) == size && memcmp(keys[i], key, size) == 0)
            return true;
    return false;
}

/* ---- Reading RoPE ----------------------------------------------------------------------- */

/* Reads a number above 0; *out stays without the key. */
static tlm_status_t read_number(double *out, const tlmi_gguf_t *file, const tlmi_family_t *family,
                                const char *name, const char *path)
{
    char key[TLMI_GGUF_KEY_SIZE];
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, tlmi_gguf_key(key, family, name));
    double number = 0.0;
    int64_t whole;

    if (value == NULL)
        return TLM_OK;
    if (tlmi_gguf_get_int(value, &whole))
        number = (double)whole;
    else if (!tlmi_gguf_get_number(value, &number))
        number = 0.0;
    if (!isfinite(number) || number <= 0.0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not a number above 0", path, key);
    *out = tlmi_gguf_undo_rounding(number);
    return TLM_OK;
}

static tlm_status_t read_scaling_type(int32_t *out, const tlmi_gguf_t *file,
                                      const tlmi_family_t *family, const char *path)
{
    char key[TLMI_GGUF_KEY_SIZE];
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, tlmi_gguf_key(key, family, scaling_type));
    const char *text = "?";
    size_t size = 1;

    *out = TLM_ROPE_SCALING_NONE;
    if (value == NULL)
        return TLM_OK;
    if (tlmi_gguf_get_string(value, &text, &size))
        for (size_t i = 0; i < COUNT_OF(scalings); i++)
            if (scalings[i] != NULL && strlen(scalings[i]) == size &&
                memcmp(scalings[i], text, size) == 0) {
                *out = (int32_t)i;
                return TLM_OK;
            }
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%s' is %.*s, not none, linear or yarn", path, key,
                     size < 64 ? (int)size : 64, text);
}

static tlm_status_t read_scaling(tlm_model_options_t *options, const tlmi_gguf_t *file,
                                 const tlmi_family_t *family, const char *path)
{
    double factor = 0.0, context = (double)options->context_length, own = 1.0;

    TLMI_TRY(read_scaling_type(&options->rope_scaling, file, family, path));
    TLMI_TRY(read_number(&factor, file, family, old_factor, path));
    TLMI_TRY(read_number(&factor, file, family, scaling_factor, path));
    if (options->rope_scaling == TLM_ROPE_SCALING_NONE)
        return TLM_OK;
    if (factor == 0.0 || factor == 1.0) { /* llama.cpp does not scale without a factor */
        options->rope_scaling = TLM_ROPE_SCALING_NONE;
        return TLM_OK;
    }
    options->rope_factor = factor;
    if (options->rope_scaling != TLM_ROPE_SCALING_YARN)
        return TLM_OK;
    TLMI_TRY(read_number(&context, file, family, original_context, path));
    TLMI_TRY(read_number(&options->rope_high_turns, file, family, beta_fast, path));
    TLMI_TRY(read_number(&options->rope_low_turns, file, family, beta_slow, path));
    TLMI_TRY(read_number(&own, file, family, magnitude, path));
    if (context > 2147483647.0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s.%s' is not a number of tokens", path,
                         family->names[TLMI_GGUF], original_context);
    options->rope_original_context = (int64_t)context;
    if (own != 1.0)
        options->rope_magnitude = own * (1.0 + 0.1 * log(factor));
    return TLM_OK;
}

/* ---- Factors of angles ------------------------------------------------------------------ */

/* How much of the angle of pair i is kept in the scaling of Llama 3: 0 .. 1. */
static double kept_part(double factor, double most)
{
    return most == 1.0 ? 1.0 : (1.0 / factor - 1.0 / most) / (1.0 - 1.0 / most);
}

/* Whether the scaling gives these factors. */
static bool gives_factors(const tlmi_rope_t *rope, const float *factors, int64_t d)
{
    enum { MOST_PAIRS = 1024 };
    tlmi_rope_t plain = {.theta = rope->theta};
    double angles[MOST_PAIRS], scaled[MOST_PAIRS];

    tlmi_rope_angles(angles, &plain, d);
    tlmi_rope_angles(scaled, rope, d);
    for (int64_t i = 0; i < d / 2; i++)
        if (!(fabs(angles[i] / scaled[i] / (double)factors[i] - 1.0) < 1e-5))
            return false;
    return true;
}

/* Sets what follows from kept = slope * angle - start, with low_turns 1. */
static void set_turns(tlmi_rope_t *rope, double slope, double start)
{
    rope->low_turns = 1.0;
    rope->high_turns = 1.0 + 1.0 / start;
    rope->original_context = round(slope * (rope->high_turns - 1.0) * 2.0 * acos(-1.0));
}

/* Finds bounds of the scaling of Llama 3 that give these factors, the largest of which is
 * rope->factor. Files hold only the factors; equal factors mean equal angles, whatever the bounds
 * were. */
static bool find_turns(tlmi_rope_t *rope, const float *factors, int64_t d)
{
    double last_angle = 0.0, last_kept = 0.0, first_angle = 0.0, first_kept = 0.0;

    for (int64_t i = 0; i < d / 2; i++) {
        const double angle = pow(rope->theta, -2.0 * (double)i / (double)d);
        const double kept = kept_part((double)factors[i], rope->factor);

        if (kept > 1e-6 && kept < 1.0 - 1e-6) {
            rope->low_turns = 1.0;
            rope->high_turns = 4.0; /* what all models of Llama 3 have */
            rope->original_context = round((3.0 * kept + 1.0) * 2.0 * acos(-1.0) / angle);
            if (gives_factors(rope, factors, d))
                return true;
            /* Whole contexts round it: the other bound makes up for that. */
            const double turns = rope->original_context * angle / (2.0 * acos(-1.0));
            rope->high_turns = 1.0 + (turns - 1.0) / kept;
            if (turns > 1.0 && gives_factors(rope, factors, d))
                return true;
        }
        /* The last pair that is kept most, and the first that is kept least. */
        if (first_angle == 0.0 && kept < 1.0 - 1e-6) {
            first_angle = angle;
            first_kept = kept;
        }
        if (first_angle == 0.0) {
            last_angle = angle;
            last_kept = kept;
        } else if (kept > 1e-6 && kept < first_kept) { /* two between the bounds */
            const double slope = (first_kept - kept) / (first_angle - angle);

            set_turns(rope, slope, slope * angle - kept);
            if (gives_factors(rope, factors, d))
                return true;
        }
    }
    const double slope = (last_kept - first_kept) / (last_angle - first_angle);
    set_turns(rope, slope, slope * first_angle - first_kept);
    return gives_factors(rope, factors, d);
}

/* Reads the factors of angles as the scaling that gives them. */
static tlm_status_t read_factors(tlm_model_options_t *options, const tlmi_gguf_tensor_t *tensor,
                                 int64_t d_head, const char *path)
{
    enum { MOST_PAIRS = 1024 };
    const tlmi_dtype_t *type = tlmi_dtype_of_gguf(tensor->type);
    float factors[MOST_PAIRS];
    bool equal = true;
    float most = 1.0f;

    if (tensor->ndim != 1 || tensor->shape[0] != d_head / 2 || d_head / 2 > MOST_PAIRS ||
        type == NULL || type->code != TLM_FLOAT32)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: tensor '%s' is not %lld float32 numbers", path,
                         tlmi_gguf_rope_factors, (long long)(d_head / 2));
    memcpy(factors, tensor->data, (size_t)(d_head / 2) * sizeof(float));
    for (int64_t i = 0; i < d_head / 2; i++) {
        most = factors[i] > most ? factors[i] : most;
        equal = equal && factors[i] == factors[0];
    }
    if (equal && factors[0] == 1.0f)
        return TLM_OK;
    tlmi_rope_t rope = {.theta = options->rope_theta == 0.0 ? 1e4 : options->rope_theta,
                        .scaling = equal ? TLMI_ROPE_LINEAR : TLMI_ROPE_LLAMA3,
                        .factor = (double)most};
    const bool found =
        equal ? gives_factors(&rope, factors, d_head) : find_turns(&rope, factors, d_head);
    if (options->rope_scaling != TLM_ROPE_SCALING_NONE || !found ||
        !(rope.original_context >= 0.0 && rope.original_context <= 2147483647.0) ||
        !(most > 1.0f && isfinite(most)))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the factors in tensor '%s' are not those of a scaling of Llama 3",
                         path, tlmi_gguf_rope_factors);
    options->rope_scaling = equal ? TLM_ROPE_SCALING_LINEAR : TLM_ROPE_SCALING_LLAMA3;
    options->rope_factor = rope.factor;
    options->rope_low_turns = rope.low_turns;
    options->rope_high_turns = rope.high_turns;
    options->rope_original_context = (int64_t)rope.original_context;
    return TLM_OK;
}

/* ---- Reading blocks --------------------------------------------------------------------- */

static bool has_tensor(const tlmi_gguf_t *file, const char *name)
{
    return tlmi_gguf_find_tensor(file, name) != NULL;
}

static void read_biases(tlm_model_options_t *options, const tlmi_gguf_t *file,
                        const tlmi_family_t *family)
{
    if (tlmi_setting_find(family->gguf_fixed, "attention_bias") != NULL ||
        !tlmi_family_has(family, "attention_bias", TLM_ATTENTION_BIAS_NONE))
        return;
    if (has_tensor(file, "blk.0.attn_q.bias"))
        options->attention_bias = has_tensor(file, "blk.0.attn_output.bias")
                                      ? TLM_ATTENTION_BIAS_ALL
                                      : TLM_ATTENTION_BIAS_QKV;
    options->ffn_bias = has_tensor(file, "blk.0.ffn_down.bias");
}

/* llama.cpp knows the largest models of Gemma 2 and 3 by their number of layers: their scores have a
 * factor of their own. */
static double gemma_scalar(const tlm_model_options_t *options, const tlmi_family_t *family)
{
    const bool second = strcmp(family->names[TLMI_GGUF], "gemma2") == 0;
    const bool third = strcmp(family->names[TLMI_GGUF], "gemma3") == 0;

    if ((second && options->num_layers == 46) || (third && options->num_layers == 62))
        return (double)options->d_model / (double)options->num_heads;
    return 0.0;
}

tlm_status_t tlmi_gguf_blocks_read(tlm_model_options_t *options, const tlmi_gguf_t *file,
                                   const tlmi_family_t *family, const char *path)
{
    const tlmi_gguf_tensor_t *factors = tlmi_gguf_find_tensor(file, tlmi_gguf_rope_factors);

    if (factors != NULL && !family->gguf_rope_factors)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: tensor '%s' is not one of the model's", path,
                         tlmi_gguf_rope_factors);
    if (options->sliding_window != 0 && !family->gguf_windows)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: '%s.attention.sliding_window' is not 0, and llama.cpp ignores it",
                         path, family->names[TLMI_GGUF]);
    for (const tlmi_setting_t *fixed = family->gguf_fixed; fixed->option != NULL; fixed++)
        if (options->sliding_window != 0 || strncmp(fixed->option, "window_", 7) != 0)
            tlmi_option_set(options, tlmi_option_find(fixed->option), fixed->value);
    options->query_scalar = gemma_scalar(options, family);
    read_biases(options, file, family);
    if (!tlmi_family_has(family, "position", TLM_POSITION_ROPE))
        return TLM_OK;
    TLMI_TRY(read_scaling(options, file, family, path));
    if (factors == NULL)
        return TLM_OK;
    tlm_model_options_t resolved;
    tlmi_model_shape_t shape;
    TLMI_TRY(tlmi_model_resolve(&resolved, &shape, path, options));
    return read_factors(options, factors, shape.d_head, path);
}

/* ---- Writing ---------------------------------------------------------------------------- */

static tlm_status_t lacks(const char *function, const tlmi_family_t *family,
                          const tlm_model_options_t *options, const char *name)
{
    char text[TLMI_OPTION_TEXT];

    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: GGUF has no %s %s for architecture %s", function,
                     name, tlmi_option_text(text, options, tlmi_option_find(name)),
                     family->names[TLMI_GGUF]);
}

tlm_status_t tlmi_gguf_check(const char *function, const tlmi_family_t *family,
                             const tlm_model_options_t *options)
{
    for (const tlmi_setting_t *fixed = family->gguf_fixed; fixed->option != NULL; fixed++) {
        tlm_model_options_t own = *options;

        tlmi_option_set(&own, tlmi_option_find(fixed->option), fixed->value);
        if (options->sliding_window == 0 && strncmp(fixed->option, "window_", 7) == 0)
            continue;
        if (!tlmi_option_equal(&own, options, tlmi_option_find(fixed->option)))
            return lacks(function, family, options, fixed->option);
    }
    if (options->sliding_window != 0 && !family->gguf_windows &&
        options->sliding_window < options->context_length)
        return lacks(function, family, options, "sliding_window");
    if (options->query_scalar != gemma_scalar(options, family))
        return lacks(function, family, options, "query_scalar");
    /* llama.cpp takes 4096, 50 and 30 for what a file of Gemma 2 lacks. */
    if (strcmp(family->names[TLMI_GGUF], "gemma2") == 0) {
        if (options->sliding_window == 0)
            return lacks(function, family, options, "sliding_window");
        if (options->attention_softcap == 0.0)
            return lacks(function, family, options, "attention_softcap");
        if (options->logit_softcap == 0.0)
            return lacks(function, family, options, "logit_softcap");
    }
    if (options->rope_scaling == TLM_ROPE_SCALING_LLAMA3 && !family->gguf_rope_factors)
        return lacks(function, family, options, "rope_scaling");
    return TLM_OK;
}

static tlm_status_t put_number(tlmi_gguf_writer_t *writer, const tlmi_family_t *family,
                               const char *name, double number)
{
    char key[TLMI_GGUF_KEY_SIZE];

    return tlmi_gguf_put_float32(writer, tlmi_gguf_key(key, family, name), (float)number);
}

tlm_status_t tlmi_gguf_put_rope(tlmi_gguf_writer_t *writer, const tlmi_family_t *family,
                                const tlm_model_options_t *options)
{
    const char *type = scalings[options->rope_scaling];
    const double plain = 1.0 + 0.1 * log(options->rope_factor);
    char key[TLMI_GGUF_KEY_SIZE];

    if (options->rope_scaling == TLM_ROPE_SCALING_NONE || type == NULL)
        return TLM_OK;
    TLMI_TRY(tlmi_gguf_put_string(writer, tlmi_gguf_key(key, family, scaling_type), type));
    TLMI_TRY(put_number(writer, family, scaling_factor, options->rope_factor));
    if (options->rope_scaling != TLM_ROPE_SCALING_YARN)
        return TLM_OK;
    TLMI_TRY(tlmi_gguf_put_uint32(writer, tlmi_gguf_key(key, family, original_context),
                                  (uint32_t)options->rope_original_context));
    TLMI_TRY(put_number(writer, family, beta_fast, options->rope_high_turns));
    TLMI_TRY(put_number(writer, family, beta_slow, options->rope_low_turns));
    if (fabs(options->rope_magnitude / plain - 1.0) > 1e-6)
        TLMI_TRY(put_number(writer, family, magnitude, options->rope_magnitude / plain));
    return TLM_OK;
}

tlm_status_t tlmi_gguf_make_factors(float **out, int64_t *n, const tlm_model_options_t *options)
{
    const int64_t pairs = options->head_dim / 2;
    tlmi_rope_t rope;
    tlmi_rope_of(&rope, options, false);
    const tlmi_rope_t plain = {.theta = rope.theta};

    *n = 0;
    *out = NULL;
    if (rope.scaling != TLMI_ROPE_LLAMA3)
        return TLM_OK;
    double *angles = tlmi_alloc((size_t)(2 * pairs), sizeof(*angles), "the factors of RoPE");
    float *factors = tlmi_alloc((size_t)pairs, sizeof(*factors), "the factors of RoPE");
    if (angles == NULL || factors == NULL) {
        tlmi_free(angles);
        tlmi_free(factors);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    tlmi_rope_angles(angles, &plain, options->head_dim);
    tlmi_rope_angles(angles + pairs, &rope, options->head_dim);
    for (int64_t i = 0; i < pairs; i++)
        factors[i] = (float)(angles[i] / angles[pairs + i]);
    tlmi_free(angles);
    *out = factors;
    *n = pairs;
    return TLM_OK;
}
