/* The architecture of models, described once: their options with the keys of each file format, the parts that
 * their parameters are, how a block is wired, and the families of models that other programs know. Parameters,
 * names, both forward passes, cost, checkpoints and conversions read it; nothing else repeats it.
 * docs/adding-an-architecture.md shows how it grows. */
#ifndef TLMI_ARCHITECTURE_H
#define TLMI_ARCHITECTURE_H

#include "tinylm/model.h"

/* Whose names, keys and layout: CS336's state dict and our checkpoints, transformers, or GGUF. */
typedef enum tlmi_format { TLMI_NATIVE, TLMI_HF, TLMI_GGUF, TLMI_NUM_FORMATS } tlmi_format_t;

/* ---- Options ---------------------------------------------------------------------------- */

typedef enum tlmi_option_type {
    TLMI_SIZE,   /* int64_t above 0 */
    TLMI_NUMBER, /* double above 0 */
    TLMI_CHOICE, /* int32_t, the index of a word */
    TLMI_FLAG,   /* bool */
    TLMI_SEED    /* uint64_t, which only makes the initial values */
} tlmi_option_type_t;

enum { TLMI_MAX_WORDS = 6, TLMI_OPTION_TEXT = 48 };

/* In a file, a key that must be there. */
#define TLMI_REQUIRED (-1.0)

/* A key of a format; NULL: the format cannot say it, and it is as the model's family has it. */
typedef struct tlmi_key {
    const char *key;
    double missing; /* the value where a file lacks the key; 0: the option's default */
} tlmi_key_t;

/* When a checkpoint holds the option. */
typedef enum tlmi_stored {
    TLMI_UNLESS_DEFAULT,
    TLMI_ALWAYS,      /* as of version 0.1, which reads no file without it */
    TLMI_IN_VERSION_2 /* of the file, which is written where version 0.1 would not know an option */
} tlmi_stored_t;

typedef struct tlmi_model_option {
    const char *name; /* of the field of tlm_model_options_t, and of the key in checkpoints */
    size_t offset;
    tlmi_option_type_t type;
    bool required; /* by tlm_model_create: it has no default */
    tlmi_stored_t stored;
    tlmi_key_t keys[TLMI_NUM_FORMATS]; /* [TLMI_NATIVE] is not used: it is the name */
    const char *words[TLMI_MAX_WORDS]; /* of a choice, by value; NULL ends them */
} tlmi_model_option_t;

extern const tlmi_model_option_t tlmi_options[];
extern const size_t tlmi_num_options;

/* The option of that name; there must be one. */
const tlmi_model_option_t *tlmi_option_find(const char *name);

/* The value of a size, choice or flag; that of a number. */
int64_t tlmi_option_int(const tlm_model_options_t *options, const tlmi_model_option_t *option);
double tlmi_option_number(const tlm_model_options_t *options, const tlmi_model_option_t *option);
void tlmi_option_set_int(tlm_model_options_t *options, const tlmi_model_option_t *option,
                         int64_t value);
void tlmi_option_set_number(tlm_model_options_t *options, const tlmi_model_option_t *option,
                            double value);

/* The same for any type but a seed; sizes must be below 2^53. */
void tlmi_option_set(tlm_model_options_t *options, const tlmi_model_option_t *option, double value);
bool tlmi_option_equal(const tlm_model_options_t *a, const tlm_model_options_t *b,
                       const tlmi_model_option_t *option);

/* Whether resolved options have the default that goes with the others. */
bool tlmi_option_is_default(const tlm_model_options_t *options, const tlmi_model_option_t *option);

/* How many values a choice has. */
int32_t tlmi_option_num_words(const tlmi_model_option_t *option);

/* The value as text, into a caller's buffer of TLMI_OPTION_TEXT bytes; returns it. */
const char *tlmi_option_text(char *buffer, const tlm_model_options_t *options,
                             const tlmi_model_option_t *option);

/* ---- Parts ------------------------------------------------------------------------------ */

/* Kinds of parameters, in the order of a model's parameters: before the blocks, in each block, behind them.
 * A model lacks those that its options leave out. */
enum {
    TLMI_EMBEDDING,
    TLMI_ATTN_Q,
    TLMI_ATTN_K,
    TLMI_ATTN_V,
    TLMI_ATTN_OUTPUT,
    TLMI_ATTN_Q_NORM,
    TLMI_ATTN_K_NORM,
    TLMI_LN1,
    TLMI_FFN_W1,
    TLMI_FFN_W2,
    TLMI_FFN_W3,
    TLMI_LN2,
    TLMI_LN_FINAL,
    TLMI_LM_HEAD,
    TLMI_NUM_PARTS,
    TLMI_NO_PART = -1,
    TLMI_FIRST_IN_BLOCK = TLMI_ATTN_Q,
    TLMI_FIRST_BEHIND = TLMI_LN_FINAL,
};

/* Sizes that the shapes of parts are made of. */
typedef enum tlmi_dim {
    TLMI_DIM_NONE, /* the second of a vector */
    TLMI_DIM_VOCAB,
    TLMI_DIM_MODEL,
    TLMI_DIM_FF,
    TLMI_DIM_QUERY, /* num_heads heads */
    TLMI_DIM_KV,    /* num_kv_heads heads */
    TLMI_DIM_HEAD,
    TLMI_NUM_DIMS
} tlmi_dim_t;

typedef enum tlmi_initial {
    TLMI_INIT_LINEAR,    /* normal, sigma^2 = 2 / (rows + columns), cut at 3 sigma */
    TLMI_INIT_EMBEDDING, /* normal, sigma 1; tied to the output projection: as that */
    TLMI_INIT_ONES
} tlmi_initial_t;

typedef struct tlmi_part {
    tlmi_dim_t dims[2]; /* rows, columns */
    tlmi_initial_t initial;
    int32_t cost; /* TLM_PART_... that it counts towards */
    bool (*present)(const tlm_model_options_t *options);
    bool rotated; /* its rows are heads, whose elements RoPE turns in pairs */
    const char *names[TLMI_NUM_FORMATS]; /* in a block: behind "layers.N." or its like */
} tlmi_part_t;

extern const tlmi_part_t tlmi_parts[TLMI_NUM_PARTS];

/* What stands before the number of a layer, by format. */
extern const char *const tlmi_layer_prefixes[TLMI_NUM_FORMATS];

static inline bool tlmi_part_is_in_block(int32_t part)
{
    return part >= TLMI_FIRST_IN_BLOCK && part < TLMI_FIRST_BEHIND;
}

/* ---- Wiring ----------------------------------------------------------------------------- */

enum { TLMI_ATTENTION, TLMI_FEED_FORWARD, TLMI_NUM_SUBLAYERS };

/* x becomes norm_after(x + f(norm_before(x))): the parts that are the norms' gains; TLMI_NO_PART: no norm. */
typedef struct tlmi_sublayer {
    int32_t norm_before, norm_after;
} tlmi_sublayer_t;

/* What follows from a model's options. */
typedef struct tlmi_model_shape {
    int64_t dims[TLMI_NUM_DIMS];
    int64_t d_head;            /* width of a head */
    int64_t q_width, kv_width; /* of all heads of queries; of keys, or of values */
    tlmi_sublayer_t sublayers[TLMI_NUM_SUBLAYERS];
    bool rotates;                   /* queries and keys, by RoPE */
    int32_t places[TLMI_NUM_PARTS]; /* among those of the same section; TLMI_NO_PART: it has none */
    size_t front_parameters, block_parameters; /* before the blocks, in each of them */
    size_t behind;                             /* index of the first parameter behind the blocks */
    size_t num_parameters;                     /* in all */
    uint64_t num_elements;
} tlmi_model_shape_t;

static inline bool tlmi_has_part(const tlmi_model_shape_t *shape, int32_t part)
{
    return part != TLMI_NO_PART && shape->places[part] != TLMI_NO_PART;
}

/* Index among a model's parameters of a part that it has; `layer` counts for those in blocks alone. */
static inline size_t tlmi_part_index(const tlmi_model_shape_t *shape, int64_t layer, int32_t part)
{
    size_t first = 0;

    if (tlmi_part_is_in_block(part))
        first = shape->front_parameters + (size_t)layer * shape->block_parameters;
    else if (part >= TLMI_FIRST_BEHIND)
        first = shape->behind;
    return first + (size_t)shape->places[part];
}

/* Rows and columns, 0 columns for a vector. */
static inline void tlmi_part_shape(int64_t out[2], const tlmi_model_shape_t *shape, int32_t part)
{
    out[0] = shape->dims[tlmi_parts[part].dims[0]];
    out[1] = shape->dims[tlmi_parts[part].dims[1]];
}

/* Sets the defaults that options leave at 0, in that order in which they depend on each other. */
void tlmi_options_set_defaults(tlm_model_options_t *options);

/* What the options mean together; they are checked one by one, and defaults are set. */
tlm_status_t tlmi_architecture_wire(tlmi_model_shape_t *shape, const char *function,
                                    const tlm_model_options_t *options);

/* ---- Families --------------------------------------------------------------------------- */

enum { TLMI_MAX_SETTINGS = 8 };

typedef struct tlmi_setting {
    const char *option; /* NULL ends a list */
    double value;
} tlmi_setting_t;

/* A kind of model that other programs know by name. */
typedef struct tlmi_family {
    const char
        *names[TLMI_NUM_FORMATS]; /* "model_type" in config.json, "general.architecture" in GGUF */
    const char *hf_class;         /* in "architectures" */
    bool gguf_halves;             /* RoPE turns halves of heads in GGUF too: see tlmi_halves */
    tlmi_setting_t
        fixed[TLMI_MAX_SETTINGS]; /* options that files have no key for; others of those are 0 */
    tlmi_setting_t
        missing[TLMI_MAX_SETTINGS]; /* what transformers takes, where it differs from the table */
} tlmi_family_t;

extern const tlmi_family_t tlmi_families[];
extern const size_t tlmi_num_families;

/* The family whose files can say these resolved options; or TLM_ERR_UNSUPPORTED, naming the option that none
 * can. */
tlm_status_t tlmi_family_of(const tlmi_family_t **out, const char *function,
                            const tlm_model_options_t *options);

/* Whether RoPE turns pairs of elements i and i + d_head / 2, as in transformers, and not neighbors 2i and
 * 2i + 1, as here. */
static inline bool tlmi_halves(const tlmi_family_t *family, tlmi_format_t format)
{
    return format == TLMI_HF || (format == TLMI_GGUF && family->gguf_halves);
}

#endif
