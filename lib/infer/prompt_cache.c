/* Sequences in files, which are safetensors: tokens, log-probabilities, and the key-value cache; as
 * metadata the state, and the model that they belong to. docs/generation.md describes the
 * format. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "formats/safetensors.h"
#include "infer/generator_core.h"
#include "tensor/tensor_core.h"
#include "tinylm/version.h"

#define FORMAT  "tinylm-prompt-cache"
#define VERSION "1"

/* ---- Which model ------------------------------------------------------------------------- */

typedef struct sum_job {
    const tlm_model_t *model;
    uint64_t *sums; /* of each parameter */
} sum_job_t;

static void sum_task(void *context, int64_t task, int32_t worker)
{
    const sum_job_t *job = context;
    const tlm_tensor_t *tensor = job->model->parameters[task];
    const char *name = job->model->specs[task].name, *type = tlmi_dtype_name(tensor->dtype);
    const tlmi_weight_t weight = tlmi_weight_of(tensor);
    tlmi_crc64_t crc;

    (void)worker;
    tlmi_crc64_init(&crc);
    tlmi_crc64_update(&crc, name, strlen(name) + 1);
    tlmi_crc64_update(&crc, type, strlen(type) + 1);
    tlmi_crc64_update(&crc, weight.data, (size_t)weight.rows * weight.row_bytes);
    job->sums[task] = tlmi_crc64_final(&crc);
}

/* A checksum of all parameters: names, types and elements, and the scales of adapters. */
static tlm_status_t sum_weights(uint64_t *out, const tlm_model_t *model)
{
    const size_t n = model->num_parameters;
    sum_job_t job = {model, tlmi_alloc(n, sizeof(*job.sums), "checksums of parameters")};
    tlmi_crc64_t crc;

    if (job.sums == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_parallel_for((int64_t)n, sum_task, &job);
    tlmi_crc64_init(&crc);
    tlmi_crc64_update(&crc, job.sums, n * sizeof(*job.sums));
    for (size_t i = 0; model->adapters != NULL && i < model->shape.num_parameters; i++)
        if (model->adapters[i].b != 0)
            tlmi_crc64_update(&crc, &model->adapters[i].scale, sizeof(model->adapters[i].scale));
    *out = tlmi_crc64_final(&crc);
    tlmi_free(job.sums);
    return TLM_OK;
}

/* "model." and the name of an option: its key in the metadata. */
static const char *option_key(char key[96], const tlmi_model_option_t *option)
{
    snprintf(key, 96, "model.%s", option->name);
    return key;
}

/* ---- Numbers in the metadata --------------------------------------------------------------- */

/* What the file says besides tensors. */
typedef struct facts {
    uint64_t weights; /* checksum */
    uint64_t prompt_length, state, cached, shift, context, kept, is_window;
} facts_t;

static const struct {
    const char *key;
    size_t offset;
} fact_keys[] = {
    {"weights", offsetof(facts_t, weights)},  {"prompt_length", offsetof(facts_t, prompt_length)},
    {"state", offsetof(facts_t, state)},      {"cached_tokens", offsetof(facts_t, cached)},
    {"shift", offsetof(facts_t, shift)},      {"window", offsetof(facts_t, context)},
    {"kept_tokens", offsetof(facts_t, kept)}, {"is_window", offsetof(facts_t, is_window)},
};

enum { NUM_FACTS = sizeof(fact_keys) / sizeof(fact_keys[0]) };

static uint64_t *fact(facts_t *facts, size_t i)
{
    return (uint64_t *)(void *)((char *)facts + fact_keys[i].offset);
}

/* ---- Saving ------------------------------------------------------------------------------ */

static tlm_status_t set_text(tlmi_json_t *object, const char *key, const char *text)
{
    return tlmi_json_set(object, key, tlmi_json_new_string(text, strlen(text)));
}

static tlm_status_t make_metadata(tlmi_json_t **out, facts_t *facts, const tlm_model_t *model)
{
    tlmi_json_t *metadata = tlmi_json_new_object();
    char key[96], value[TLMI_OPTION_TEXT];
    tlm_status_t status;

    if (metadata == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY_OR(fail, set_text(metadata, "format", FORMAT));
    TLMI_TRY_OR(fail, set_text(metadata, "format_version", VERSION));
    TLMI_TRY_OR(fail, set_text(metadata, "library_version", TLM_VERSION_STRING));
    for (size_t i = 0; i < tlmi_num_options; i++)
        if (tlmi_options[i].type != TLMI_SEED)
            TLMI_TRY_OR(fail, set_text(metadata, option_key(key, &tlmi_options[i]),
                                       tlmi_option_text(value, &model->options, &tlmi_options[i])));
    for (size_t i = 0; i < NUM_FACTS; i++)
        TLMI_TRY_OR(
            fail, tlmi_json_set(metadata, fact_keys[i].key, tlmi_json_new_uint64(*fact(facts, i))));
    *out = metadata;
    return TLM_OK;
fail:
    tlmi_json_free(metadata);
    return status;
}

static tlmi_st_tensor_t describe(const char *name, int32_t dtype, int32_t ndim,
                                 const int64_t *shape)
{
    tlmi_st_tensor_t tensor = {.name = name, .dtype = tlmi_dtype(dtype)->safetensors, .ndim = ndim};

    tensor.bytes = tlmi_dtype(dtype)->bytes;
    for (int32_t i = 0; i < ndim; i++) {
        tensor.shape[i] = shape[i];
        tensor.bytes *= (size_t)shape[i];
    }
    return tensor;
}

enum { TOKENS, LOG_PROBS, TOP_IDS, TOP_LOG_PROBS, KEYS, VALUES, NUM_TENSORS };

static const char *const tensor_names[NUM_TENSORS] = {"tokens",        "log_probs", "top_ids",
                                                      "top_log_probs", "keys",      "values"};

/* The tensors of a sequence, without their data. */
static void describe_all(tlmi_st_tensor_t out[NUM_TENSORS], const tlmi_sequence_t *sequence,
                         const tlm_model_t *model, int64_t rows)
{
    const int64_t made = (int64_t)tlmi_num_new(sequence), all = (int64_t)sequence->num_tokens;
    const int64_t tops[] = {made, (int64_t)sequence->num_top};
    const int64_t cache[] = {model->options.num_layers, model->options.num_kv_heads, rows,
                             model->shape.d_head};
    const int32_t type = sequence->options.cache_type;

    out[TOKENS] = describe(tensor_names[TOKENS], TLM_UINT32, 1, &all);
    out[LOG_PROBS] = describe(tensor_names[LOG_PROBS], TLM_FLOAT32, 1, &made);
    out[TOP_IDS] = describe(tensor_names[TOP_IDS], TLM_UINT32, 2, tops);
    out[TOP_LOG_PROBS] = describe(tensor_names[TOP_LOG_PROBS], TLM_FLOAT32, 2, tops);
    out[KEYS] = describe(tensor_names[KEYS], type, 4, cache);
    out[VALUES] = describe(tensor_names[VALUES], type, 4, cache);
}

/* Writes the rows in use of each plane. */
static tlm_status_t write_rows(tlmi_st_writer_t *writer, const tlmi_kv_cache_t *cache,
                               const void *data, const tlm_model_t *model)
{
    const int64_t planes = model->options.num_layers * model->options.num_kv_heads;
    const size_t row_bytes = (size_t)model->shape.d_head * tlmi_dtype(cache->dtype)->bytes;
    const size_t used = (size_t)tlmi_kv_cache_rows(cache) * row_bytes;

    for (int64_t plane = 0; plane < planes && used > 0; plane++)
        TLMI_TRY(tlmi_st_writer_write(
            writer, (const char *)data + (size_t)(plane * cache->capacity) * row_bytes, used));
    return TLM_OK;
}

static tlm_status_t write_tensors(tlmi_st_writer_t *writer, const tlmi_sequence_t *sequence,
                                  const tlm_model_t *model, const tlmi_st_tensor_t *tensors)
{
    const void *const data[] = {sequence->tokens, sequence->log_probs, sequence->top_ids,
                                sequence->top_log_probs};

    for (size_t i = 0; i < KEYS; i++)
        if (tensors[i].bytes > 0)
            TLMI_TRY(tlmi_st_writer_write(writer, data[i], tensors[i].bytes));
    TLMI_TRY(write_rows(writer, sequence->cache, sequence->cache->keys, model));
    return write_rows(writer, sequence->cache, sequence->cache->values, model);
}

tlm_status_t tlm_generator_save(const tlm_generator_t *generator, size_t sequence, const char *path)
{
    tlmi_sequence_t *found;

    TLMI_REQUIRE("generator_save", path);
    TLMI_TRY(tlmi_generator_find(&found, "generator_save", generator, sequence));
    if (found->cache == NULL)
        return tlmi_fail(TLM_ERR_STATE,
                         "generator_save: sequence %zu has ended without keeps_cache", sequence);
    const tlmi_kv_cache_t *cache = found->cache;
    facts_t facts = {.prompt_length = found->prompt_length,
                     .state = (uint64_t)found->state,
                     .cached = (uint64_t)cache->length,
                     .shift = (uint64_t)cache->shift,
                     .context = (uint64_t)cache->context,
                     .kept = (uint64_t)cache->kept,
                     .is_window = cache->is_window};
    TLMI_TRY(sum_weights(&facts.weights, generator->model));
    tlmi_st_tensor_t tensors[NUM_TENSORS];
    describe_all(tensors, found, generator->model, tlmi_kv_cache_rows(cache));
    tlmi_json_t *metadata;
    TLMI_TRY(make_metadata(&metadata, &facts, generator->model));
    tlmi_st_writer_t *writer;
    TLMI_TRY(tlmi_st_writer_open(&writer, path, tensors, NUM_TENSORS, metadata));
    tlm_status_t status = write_tensors(writer, found, generator->model, tensors);
    if (status == TLM_OK)
        return tlmi_st_writer_commit(writer);
    tlmi_st_writer_abort(writer);
    return status;
}

/* ---- Loading ----------------------------------------------------------------------------- */

/* A file that is read, and what it is checked against. */
typedef struct reading {
    const char *path;
    tlmi_safetensors_t file;
    facts_t facts;
    const tlmi_st_tensor_t *tensors[NUM_TENSORS];
    const tlm_model_t *model;
    const tlm_generate_options_t *options;
} reading_t;

static tlm_status_t read_facts(reading_t *in)
{
    const char *format = tlmi_safetensors_metadata(&in->file, "format");
    const char *version = tlmi_safetensors_metadata(&in->file, "format_version");

    if (format == NULL || strcmp(format, FORMAT) != 0 || version == NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: this safetensors file is not a prompt cache",
                         in->path);
    if (strcmp(version, VERSION) != 0)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: prompt cache format %.16s; this library reads " VERSION, in->path,
                         version);
    TLMI_TRY(tlmi_safetensors_verify(&in->file, in->path));
    for (size_t i = 0; i < NUM_FACTS; i++)
        if (!tlmi_parse_uint64(tlmi_safetensors_metadata(&in->file, fact_keys[i].key),
                               fact(&in->facts, i)))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the prompt cache has no number '%s'", in->path,
                             fact_keys[i].key);
    return TLM_OK;
}

/* The file must come from this model: the same options and the same weights. */
static tlm_status_t check_model(const reading_t *in)
{
    char key[96], own[TLMI_OPTION_TEXT];
    uint64_t weights;

    for (size_t i = 0; i < tlmi_num_options; i++) {
        const tlmi_model_option_t *option = &tlmi_options[i];

        if (option->type == TLMI_SEED)
            continue;
        const char *theirs = tlmi_safetensors_metadata(&in->file, option_key(key, option));
        tlmi_option_text(own, &in->model->options, option);
        if (theirs == NULL || strcmp(theirs, own) != 0)
            return tlmi_fail(TLM_ERR_SHAPE,
                             "%s: the prompt cache is of a model with %s %.40s; this one has %s",
                             in->path, option->name, theirs == NULL ? "(not said)" : theirs, own);
    }
    TLMI_TRY(sum_weights(&weights, in->model));
    if (weights != in->facts.weights)
        return tlmi_fail(
            TLM_ERR_SHAPE,
            "%s: the prompt cache is of a model with other weights (checksum %016" PRIx64
            "; this model's is %016" PRIx64 ")",
            in->path, in->facts.weights, weights);
    return TLM_OK;
}

/* The cache must be what the options ask for. */
static tlm_status_t check_options(const reading_t *in)
{
    const tlm_generate_options_t *options = in->options;
    const bool slides = options->past_context == TLM_PAST_CONTEXT_SLIDE;
    const uint64_t context = slides ? (uint64_t)in->model->options.context_length : 0;
    const uint64_t kept = slides ? (uint64_t)options->kept_tokens : 0;
    const char *type = tlmi_dtype(options->cache_type)->safetensors;

    if (in->tensors[KEYS] != NULL && strcmp(in->tensors[KEYS]->dtype, type) != 0)
        return tlmi_fail(TLM_ERR_SHAPE, "%s: the prompt cache is of type %s; cache_type says %s",
                         in->path, in->tensors[KEYS]->dtype, type);
    if (in->facts.context != context || in->facts.kept != kept)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "%s: the prompt cache has a window of %" PRIu64 " with %" PRIu64
                         " kept tokens; the options say %" PRIu64 " with %" PRIu64
                         " (0: it does not slide)",
                         in->path, in->facts.context, in->facts.kept, context, kept);
    return TLM_OK;
}

/* Numbers that no sequence can have; they are compared without overflow. */
static tlm_status_t check_facts(const reading_t *in, uint64_t tokens, uint64_t rows)
{
    const facts_t *facts = &in->facts;
    const uint64_t context = (uint64_t)in->model->options.context_length;
    const char *wrong = NULL;

    if (facts->prompt_length == 0 || facts->prompt_length > tokens)
        wrong = "prompt_length";
    else if (facts->state > TLM_GENERATION_CALLBACK ||
             (facts->state == TLM_GENERATION_RUNNING && tokens > context &&
              in->options->past_context == TLM_PAST_CONTEXT_STOP))
        wrong = "state";
    else if (facts->is_window > 1)
        wrong = "is_window";
    else if (facts->cached > tokens || facts->shift > facts->cached ||
             facts->cached - facts->shift != rows)
        wrong = "cached_tokens";
    else if (facts->context == 0 && facts->cached > context)
        wrong = "cached_tokens";
    else if (facts->shift > 0 && (facts->context == 0 || rows + 1 < context))
        wrong = "shift";
    else if (facts->context > 0 && rows > context + TLMI_CHUNK_TOKENS)
        wrong = "shift";
    if (wrong != NULL)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: '%s' of the prompt cache does not fit its %" PRIu64
                         " tokens and %" PRIu64 " rows",
                         in->path, wrong, tokens, rows);
    return TLM_OK;
}

static tlm_status_t find_tensors(reading_t *in)
{
    for (size_t i = 0; i < NUM_TENSORS; i++) {
        in->tensors[i] = tlmi_safetensors_find(&in->file, tensor_names[i]);
        if (in->tensors[i] == NULL)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the prompt cache has no tensor '%s'", in->path,
                             tensor_names[i]);
    }
    if (in->tensors[TOKENS]->ndim != 1 || in->tensors[KEYS]->ndim != 4)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: 'tokens' or 'keys' has %" PRId32 " or %" PRId32 " dimensions",
                         in->path, in->tensors[TOKENS]->ndim, in->tensors[KEYS]->ndim);
    return TLM_OK;
}

/* Tensors must have the types and shapes of a sequence with these tokens and rows. */
static tlm_status_t check_tensors(const reading_t *in, const tlmi_sequence_t *sequence,
                                  int64_t rows)
{
    tlmi_st_tensor_t expected[NUM_TENSORS];

    describe_all(expected, sequence, in->model, rows);
    for (size_t i = 0; i < NUM_TENSORS; i++) {
        const tlmi_st_tensor_t *own = in->tensors[i];
        bool same = own->ndim == expected[i].ndim && strcmp(own->dtype, expected[i].dtype) == 0;

        for (int32_t k = 0; same && k < own->ndim; k++)
            same = own->shape[k] == expected[i].shape[k];
        if (!same)
            return tlmi_fail(
                TLM_ERR_SHAPE,
                "%s: tensor '%s' has another type or shape than the model, the options "
                "(num_top_log_probs %zu) and the tokens give it",
                in->path, tensor_names[i], sequence->num_top);
    }
    return TLM_OK;
}

static void read_rows(void *to, const tlmi_kv_cache_t *cache, const tlm_model_t *model,
                      const void *data)
{
    const int64_t planes = model->options.num_layers * model->options.num_kv_heads;
    const size_t row_bytes = (size_t)model->shape.d_head * tlmi_dtype(cache->dtype)->bytes;
    const size_t used = (size_t)tlmi_kv_cache_rows(cache) * row_bytes;

    for (int64_t plane = 0; plane < planes && used > 0; plane++)
        memcpy((char *)to + (size_t)(plane * cache->capacity) * row_bytes,
               (const char *)data + (size_t)plane * used, used);
}

static void copy_tensor(void *to, const tlmi_st_tensor_t *tensor)
{
    if (tensor->bytes > 0)
        memcpy(to, tensor->data, tensor->bytes);
}

/* Fills a sequence that has the prompt with the new tokens and the cache of the file. */
static tlm_status_t fill_sequence(tlmi_sequence_t *sequence, const reading_t *in,
                                  const uint32_t *tokens, size_t n, int64_t rows)
{
    const size_t made = n - sequence->prompt_length;

    TLMI_TRY(tlmi_sequence_reserve_new(sequence, made));
    for (size_t i = 0; i < made; i++)
        tlmi_sequence_append(sequence, tokens[sequence->prompt_length + i]);
    TLMI_TRY(check_tensors(in, sequence, rows));
    copy_tensor(sequence->log_probs, in->tensors[LOG_PROBS]);
    copy_tensor(sequence->top_ids, in->tensors[TOP_IDS]);
    copy_tensor(sequence->top_log_probs, in->tensors[TOP_LOG_PROBS]);
    TLMI_TRY(tlmi_check_ids(in->path, "top ids", sequence->top_ids, made * sequence->num_top,
                            in->model->options.vocab_size));
    tlmi_kv_cache_t *cache = sequence->cache;
    const int64_t limit = tlmi_sequence_cache_limit(&sequence->options, in->model, n);
    cache->limit = limit > rows ? limit : rows;
    TLMI_TRY(tlmi_kv_cache_reserve(cache, in->model, rows));
    cache->length = (int64_t)in->facts.cached;
    cache->shift = (int64_t)in->facts.shift;
    cache->is_window = in->facts.is_window != 0;
    read_rows(cache->keys, cache, in->model, in->tensors[KEYS]->data);
    read_rows(cache->values, cache, in->model, in->tensors[VALUES]->data);
    return tlmi_sequence_resume(sequence, (int32_t)in->facts.state);
}

/* Makes the sequence of a file that belongs to the model. */
static tlm_status_t make_sequence(tlmi_sequence_t **out, reading_t *in)
{
    const tlmi_st_tensor_t *stored = in->tensors[TOKENS];
    const int64_t rows = in->tensors[KEYS]->shape[2];
    const size_t n = stored->bytes / sizeof(uint32_t);
    tlm_generate_options_t options = *in->options;
    tlmi_sequence_t *made = NULL;

    if (strcmp(stored->dtype, tlmi_dtype(TLM_UINT32)->safetensors) != 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: 'tokens' has the type %s", in->path, stored->dtype);
    TLMI_TRY(check_facts(in, n, (uint64_t)rows));
    uint32_t *tokens = tlmi_alloc(n, sizeof(*tokens), "the tokens of a prompt cache");
    if (tokens == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    copy_tensor(tokens, stored);
    tlm_status_t status;
    TLMI_TRY_OR(done, tlmi_check_ids(in->path, "tokens", tokens, n, in->model->options.vocab_size));
    options.keeps_cache = options.keeps_cache || in->facts.state != TLM_GENERATION_RUNNING;
    TLMI_TRY_OR(done, tlmi_sequence_create(&made, in->path, in->model, tokens,
                                           (size_t)in->facts.prompt_length, &options));
    if (made->cache == NULL) {
        status = tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                           "generator_load: max_tokens is 0 for a sequence that is running");
        goto done;
    }
    TLMI_TRY_OR(done, fill_sequence(made, in, tokens, n, rows));
    *out = made;
    made = NULL;
done:
    tlmi_sequence_free(made);
    tlmi_free(tokens);
    return status;
}

tlm_status_t tlm_generator_load(size_t *sequence, tlm_generator_t *generator, const char *path,
                                const tlm_generate_options_t *options)
{
    static const char function[] = "generator_load";
    tlm_generate_options_t known;
    tlmi_sequence_t *made = NULL;
    tlm_status_t status;

    TLMI_REQUIRE(function, sequence);
    TLMI_REQUIRE(function, generator);
    TLMI_REQUIRE(function, path);
    TLMI_TRY(tlmi_generate_options_read(&known, function, options, generator->model));
    reading_t in = {.path = path, .model = generator->model, .options = &known};
    TLMI_TRY(tlmi_safetensors_open(&in.file, path));
    TLMI_TRY_OR(done, read_facts(&in));
    TLMI_TRY_OR(done, check_model(&in));
    TLMI_TRY_OR(done, find_tensors(&in));
    TLMI_TRY_OR(done, check_options(&in));
    TLMI_TRY_OR(done, make_sequence(&made, &in));
    TLMI_TRY_OR(done, tlmi_generator_take(sequence, generator, made));
done:
    tlmi_safetensors_close(&in.file);
    return status;
}
