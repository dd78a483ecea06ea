/* The architecture of models, described once: their options with the keys of each file format, the
 * kinds of parameters, the wiring of a block, and the families of models that other programs know.
 * Parameters, names, both forward passes, cost, checkpoints and conversions read this description;
 * nothing else repeats it. docs/adding-an-architecture.md shows how to extend it. */
#ifndef TLMI_ARCHITECTURE_H
#define TLMI_ARCHITECTURE_H

#include "tinylm/model.h"

/* The format that names, keys and layout follow: native (the state dict of CS336 and our
 * checkpoints), transformers, or GGUF. */
typedef enum tlmi_format { TLMI_NATIVE, TLMI_HF, TLMI_GGUF, TLMI_NUM_FORMATS } tlmi_format_t;

/* ---- Options ---------------------------------------------------------------------------- */

typedef enum tlmi_option_type {
    TLMI_SIZE,   /* int64_t above 0 */
    TLMI_NUMBER, /* double above 0 */
    TLMI_CHOICE, /* int32_t, the index of a word */
    TLMI_FLAG,   /* bool */
    TLMI_SEED    /* uint64_t, used only for the initial values */
} tlmi_option_type_t;

enum { TLMI_MAX_WORDS = 6, TLMI_OPTION_TEXT = 48 };

/* As `missing`: the key must be present in a file. */
#define TLMI_REQUIRED (-1.0)

/* The key of an option in one format. NULL: the format has no key for it, and the model's family
 * determines the value. */
typedef struct tlmi_key {
    const char *key;
    double missing; /* the value if a file lacks the key; 0: the default of the option */
} tlmi_key_t;

/* When a checkpoint contains the option. */
typedef enum tlmi_stored {
    TLMI_UNLESS_DEFAULT,
    TLMI_ALWAYS, /* version 0.1 reads no file without it */
    /* In version 2 of the file, which is written if version 0.1 would not know an option. */
    TLMI_IN_VERSION_2
} tlmi_stored_t;

typedef struct tlmi_model_option {
    const char *name; /* of the field of tlm_model_options_t, and of the key in checkpoints */
    size_t offset;
    tlmi_option_type_t type;
    bool required; /* tlm_model_create requires it: it has no default */
    tlmi_stored_t stored;
    tlmi_key_t keys[TLMI_NUM_FORMATS]; /* [TLMI_NATIVE] is not used: it is the name */
    const char *words[TLMI_MAX_WORDS]; /* of a choice, by value; NULL ends them */
    /* Every family's files express it, by keys that the readers and writers of the format know. */
    bool written_apart;
    bool training; /* it counts only in training: no file of other programs needs it */
    double below;  /* a number in [0, below); 0: any finite one >= 0 */
} tlmi_model_option_t;

extern const tlmi_model_option_t tlmi_options[];
extern const size_t tlmi_num_options;

/* Finds an option by its name, which must exist. */
const tlmi_model_option_t *tlmi_option_find(const char *name);

/* tlmi_option_int returns the value of a size, choice or flag; tlmi_option_number that of a
 * number. */
int64_t tlmi_option_int(const tlm_model_options_t *options, const tlmi_model_option_t *option);
double tlmi_option_number(const tlm_model_options_t *options, const tlmi_model_option_t *option);
void tlmi_option_set_int(tlm_model_options_t *options, const tlmi_model_option_t *option,
                         int64_t value);
void tlmi_option_set_number(tlm_model_options_t *options, const tlmi_model_option_t *option,
                            double value);

/* Sets the value of any type except a seed; sizes must be below 2^53. */
void tlmi_option_set(tlm_model_options_t *options, const tlmi_model_option_t *option, double value);
bool tlmi_option_equal(const tlm_model_options_t *a, const tlm_model_options_t *b,
                       const tlmi_model_option_t *option);

/* True if the option, with defaults resolved, has the default that follows from the other
 * options. */
bool tlmi_option_is_default(const tlm_model_options_t *options, const tlmi_model_option_t *option);

/* Returns the number of values of a choice. */
int32_t tlmi_option_num_words(const tlmi_model_option_t *option);

/* Writes the value as text into the caller's buffer of TLMI_OPTION_TEXT bytes, and returns the
 * buffer. */
const char *tlmi_option_text(char *buffer, const tlm_model_options_t *options,
                             const tlmi_model_option_t *option);

/* ---- Parts ------------------------------------------------------------------------------ */

/* Kinds of parameters, in the order that a model's parameters have: before the blocks, within each
 * block, after the blocks. A model lacks the kinds that its options leave out. */
enum {
    TLMI_EMBEDDING,
    TLMI_POSITIONS,
    TLMI_EMBEDDING_NORM,
    TLMI_EMBEDDING_NORM_BIAS,
    TLMI_VALUE_EMBEDDING,
    TLMI_ATTN_Q,
    TLMI_ATTN_K,
    TLMI_ATTN_V,
    TLMI_ATTN_OUTPUT,
    TLMI_ATTN_Q_BIAS,
    TLMI_ATTN_K_BIAS,
    TLMI_ATTN_V_BIAS,
    TLMI_ATTN_OUTPUT_BIAS,
    TLMI_ATTN_Q_NORM,
    TLMI_ATTN_K_NORM,
    TLMI_ATTN_VALUE_MIX,
    TLMI_LN1,
    TLMI_LN1_BIAS,
    TLMI_LN1_AFTER,
    TLMI_FFN_W1,
    TLMI_FFN_W2,
    TLMI_FFN_W3,
    TLMI_FFN_W1_BIAS,
    TLMI_FFN_W2_BIAS,
    TLMI_FFN_W3_BIAS,
    TLMI_LN2,
    TLMI_LN2_BIAS,
    TLMI_LN2_AFTER,
    TLMI_LN_FINAL,
    TLMI_LN_FINAL_BIAS,
    TLMI_LM_HEAD,
    TLMI_NUM_PARTS,
    TLMI_NO_PART = -1,
    TLMI_NO_BIAS = 0, /* no bias is the embedding */
    TLMI_FIRST_IN_BLOCK = TLMI_ATTN_Q,
    TLMI_FIRST_BEHIND = TLMI_LN_FINAL,
};

/* The sizes that make up the shapes of parts. */
typedef enum tlmi_dim {
    TLMI_DIM_NONE, /* the second dimension of a vector */
    TLMI_DIM_VOCAB,
    TLMI_DIM_CONTEXT,
    TLMI_DIM_MODEL,
    TLMI_DIM_FF,
    TLMI_DIM_QUERY,  /* num_heads heads */
    TLMI_DIM_KV,     /* num_kv_heads heads */
    TLMI_DIM_Q_NORM, /* what a norm of queries covers: a head, or all */
    TLMI_DIM_K_NORM,
    TLMI_DIM_MIX, /* of two things that are mixed */
    TLMI_NUM_DIMS
} tlmi_dim_t;

typedef enum tlmi_initial {
    TLMI_INIT_LINEAR,    /* normal, sigma^2 = 2 / (rows + columns), truncated at 3 sigma */
    TLMI_INIT_EMBEDDING, /* normal, sigma 1; as TLMI_INIT_LINEAR if tied to the output */
    TLMI_INIT_VALUES,    /* normal, sigma 1 */
    TLMI_INIT_ONES,
    TLMI_INIT_HALVES,
    TLMI_INIT_ZEROS
} tlmi_initial_t;

typedef struct tlmi_part {
    tlmi_dim_t dims[2]; /* rows, columns */
    tlmi_initial_t initial;
    int32_t cost; /* the TLM_PART_... that it counts towards */
    bool (*present)(const tlm_model_options_t *options);
    bool rotated; /* its rows are heads, whose elements RoPE rotates in pairs */
    int32_t bias; /* the part that holds the biases of this one's rows, or of a norm's elements;
                   * TLMI_NO_BIAS: none ever */
    /* In a block, what follows "layers.N." or its equivalent. */
    const char *names[TLMI_NUM_FORMATS];
} tlmi_part_t;

extern const tlmi_part_t tlmi_parts[TLMI_NUM_PARTS];

/* The text before the number of a layer, by format. */
extern const char *const tlmi_layer_prefixes[TLMI_NUM_FORMATS];

/* Whether it is a matrix whose rows are looked up, rather than one of a linear layer. */
static inline bool tlmi_part_is_table(int32_t part)
{
    return tlmi_parts[part].initial == TLMI_INIT_EMBEDDING ||
           tlmi_parts[part].initial == TLMI_INIT_VALUES;
}

static inline bool tlmi_part_is_in_block(int32_t part)
{
    return part >= TLMI_FIRST_IN_BLOCK && part < TLMI_FIRST_BEHIND;
}

/* ---- Wiring ----------------------------------------------------------------------------- */

enum { TLMI_ATTENTION, TLMI_FEED_FORWARD, TLMI_NUM_SUBLAYERS };

/* A sublayer computes norm_after(x + norm_change(f(norm_before(x)))). The members are the parts that
 * hold the gains of these norms, or TLMI_NO_PART for no norm. */
typedef struct tlmi_sublayer {
    int32_t norm_before, norm_change, norm_after;
} tlmi_sublayer_t;

/* Sizes and wiring that follow from a model's options. */
typedef struct tlmi_model_shape {
    int64_t dims[TLMI_NUM_DIMS];
    int64_t d_head;            /* width of a head */
    int64_t q_width, kv_width; /* all heads of queries; all heads of keys, or of values */
    tlmi_sublayer_t sublayers[TLMI_NUM_SUBLAYERS];
    int32_t places[TLMI_NUM_PARTS];            /* index within its section; TLMI_NO_PART: absent */
    size_t front_parameters, block_parameters; /* before the blocks; in each block */
    size_t behind;                             /* index of the first parameter after the blocks */
    size_t num_parameters;                     /* in total */
    uint64_t num_elements;
} tlmi_model_shape_t;

static inline bool tlmi_has_part(const tlmi_model_shape_t *shape, int32_t part)
{
    return part != TLMI_NO_PART && shape->places[part] != TLMI_NO_PART;
}

/* Index of a part among a model's parameters; the model must have the part. `layer` matters only
 * for parts of blocks. */
static inline size_t tlmi_part_index(const tlmi_model_shape_t *shape, int64_t layer, int32_t part)
{
    size_t first = 0;

    if (tlmi_part_is_in_block(part))
        first = shape->front_parameters + (size_t)layer * shape->block_parameters;
    else if (part >= TLMI_FIRST_BEHIND)
        first = shape->behind;
    return first + (size_t)shape->places[part];
}

/* Rows and columns of a part; a vector has 0 columns. */
static inline void tlmi_part_shape(int64_t out[2], const tlmi_model_shape_t *shape, int32_t part)
{
    out[0] = shape->dims[tlmi_parts[part].dims[0]];
    out[1] = shape->dims[tlmi_parts[part].dims[1]];
}

/* Sets the defaults of options that are 0, in the order in which they depend on each other. */
void tlmi_options_set_defaults(tlm_model_options_t *options);

/* Checks the options against each other and computes the shape. Each option must have been checked
 * by itself, and defaults must be set. */
tlm_status_t tlmi_architecture_wire(tlmi_model_shape_t *shape, const char *function,
                                    const tlm_model_options_t *options);

/* ---- Families --------------------------------------------------------------------------- */

enum { TLMI_MAX_SETTINGS = 16, TLMI_MAX_FUSED = 3 };

/* As the value of a setting: any value. */
#define TLMI_ANY (-2.0)

typedef struct tlmi_setting {
    const char *option; /* NULL ends a list */
    double value;
} tlmi_setting_t;

/* The key of an option in a family's files, where it differs from the table's; NULL: there is none,
 * and the option has its default. */
typedef struct tlmi_family_key {
    const char *option; /* NULL ends a list */
    tlmi_format_t format;
    const char *key;
} tlmi_family_key_t;

/* A tensor of a family's files that differs from the table of parts. */
typedef struct tlmi_family_tensor {
    const char *name; /* NULL ends a list */
    tlmi_format_t format;
    int32_t count, parts[TLMI_MAX_FUSED]; /* several: their rows follow each other */
    bool transposed;
} tlmi_family_tensor_t;

/* A kind of model that other programs know by name. */
typedef struct tlmi_family {
    /* "model_type" in config.json, "general.architecture" in GGUF. */
    const char *names[TLMI_NUM_FORMATS];
    const char *hf_class;   /* in "architectures" */
    bool gguf_halves;       /* GGUF too has RoPE rotate halves of heads: see tlmi_halves */
    bool gguf_windows;      /* llama.cpp keeps to the window of GGUF files */
    bool gguf_rope_factors; /* and reads factors of the angles of RoPE */
    /* What llama.cpp takes for granted of options that GGUF files have no key for; those of windows
     * only where there is one. */
    tlmi_setting_t gguf_fixed[TLMI_MAX_SETTINGS];
    bool hf_gains_less_1; /* the folders of transformers hold gains - 1 */
    /* Values of the options that the table has no key for in config.json. The first of an option is
     * the one that its files start from; files can express the others too. Options that are not
     * listed are 0. */
    tlmi_setting_t fixed[TLMI_MAX_SETTINGS];
    /* What transformers uses for a missing key, if that differs from the table of options. */
    tlmi_setting_t missing[TLMI_MAX_SETTINGS];
    const tlmi_family_key_t *keys;       /* NULL: those of the table */
    const tlmi_family_tensor_t *tensors; /* NULL: those of the table */
    const char *hf_layer_prefix;         /* NULL: that of transformers */
    const char *hf_activation;           /* key of the activation; NULL: "hidden_act" */
    double hf_window;                    /* "sliding_window" of a file without the key */
    bool hf_window_switch;               /* it has a window only with "use_sliding_window" */
    bool hf_layer_types;                 /* "layer_types" says which blocks have one */
} tlmi_family_t;

extern const tlmi_family_t tlmi_families[];
extern const size_t tlmi_num_families;

/* The family's own entry for the tensor of its files that has the part, or NULL. */
const tlmi_family_tensor_t *tlmi_family_tensor(const tlmi_family_t *family, tlmi_format_t format,
                                               int32_t part);

/* What its files have before the number of a layer; family NULL: what the table has. */
const char *tlmi_layer_prefix(const tlmi_family_t *family, tlmi_format_t format);

/* The key of an option in the files of a family; NULL: none. */
const char *tlmi_family_key(const tlmi_family_t *family, const tlmi_model_option_t *option,
                            tlmi_format_t format);

/* Whether the family's files can express this value of the option. */
bool tlmi_family_has(const tlmi_family_t *family, const char *option, double value);

/* The first of the resolved options that the files of the family cannot express, or NULL. */
const tlmi_model_option_t *tlmi_family_lacks(const tlmi_family_t *family,
                                             const tlm_model_options_t *options);

/* Finds the family whose files can express these resolved options. If there is none:
 * TLM_ERR_UNSUPPORTED, with a message that names the option that no family can express. */
tlm_status_t tlmi_family_of(const tlmi_family_t **out, const char *function,
                            const tlm_model_options_t *options);

/* True if RoPE rotates pairs of elements i and i + d_head / 2, as in transformers; false if it
 * rotates neighbors 2i and 2i + 1, as here. */
static inline bool tlmi_halves(const tlmi_family_t *family, tlmi_format_t format)
{
    return format == TLMI_HF || (format == TLMI_GGUF && family->gguf_halves);
}

#endif
