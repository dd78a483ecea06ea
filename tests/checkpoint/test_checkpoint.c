/* Checkpoints: training goes on with the same bits, and no damaged or foreign file changes
 * anything. */
#include "io_support.h"
#include "run_suite.h"

#include <math.h>

#include "base/json.h"
#include "formats/safetensors.h"

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 13,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 2,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7};

typedef struct run {
    tlm_model_t *model;
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *const *tensors;
    size_t n;
} run_t;

/* A model with an AdamW optimizer of two groups, or SGD's one. */
static run_t start(const tlm_model_options_t *options, const char *kind)
{
    tlm_adamw_options_t slow = TLM_ADAMW_OPTIONS_INIT;
    run_t run;

    slow.beta1 = 0.8;
    slow.beta2 = 0.9;
    slow.eps = 1e-7;
    slow.weight_decay = 0.0;
    ASSERT_OK(tlm_model_create(&run.model, options));
    ASSERT_OK(tlm_model_parameters(&run.tensors, &run.n, run.model));
    if (strcmp(kind, "sgd") == 0) {
        ASSERT_OK(tlm_optimizer_create_sgd(&run.optimizer, 0.1));
        ASSERT_OK(tlm_optimizer_add_group(run.optimizer, run.tensors, run.n, NULL));
    } else {
        ASSERT_OK(tlm_optimizer_create_adamw(&run.optimizer, NULL));
        ASSERT_OK(tlm_optimizer_add_group(run.optimizer, run.tensors + 1, run.n - 1, NULL));
        ASSERT_OK(tlm_optimizer_add_adamw_group(run.optimizer, run.tensors, 1, &slow));
    }
    return run;
}

static void stop(run_t *run)
{
    tlm_optimizer_free(run->optimizer);
    tlm_model_free(run->model);
}

/* Steps first .. last-1, on batches and learning rates that depend on the step alone. Returns the
 * last loss. */
static float train(run_t *run, uint64_t first, uint64_t last)
{
    uint32_t ids[200], inputs[12], targets[12];
    tlm_dataset_t *dataset;
    tlm_tensor_t *loss;
    float value = 0.0f;

    for (uint32_t i = 0; i < 200; i++)
        ids[i] = (i * i + i / 3) % 13;
    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, 200));
    for (uint64_t step = first; step < last; step++) {
        ASSERT_OK(tlm_dataset_sample(inputs, targets, dataset, 2, 6, 5, step));
        if (step % 3 == 0)
            ASSERT_OK(
                tlm_optimizer_set_learning_rate(run->optimizer, 0, 0.01 / (double)(step + 1)));
        tlm_optimizer_zero_grad(run->optimizer);
        ASSERT_OK(tlm_model_loss(&loss, run->model, inputs, targets, 2, 6));
        ASSERT_OK(tlm_tensor_item(&value, loss));
        ASSERT_OK(tlm_tensor_backward(loss, NULL));
        tlm_tensor_free(loss);
        ASSERT_OK(tlm_optimizer_step(run->optimizer));
    }
    tlm_dataset_free(dataset);
    return value;
}

static void assert_same_weights(const run_t *a, const run_t *b)
{
    for (size_t i = 0; i < a->n; i++)
        ck_assert_mem_eq(tlm_tensor_data(a->tensors[i]), tlm_tensor_data(b->tensors[i]),
                         (size_t)tlm_tensor_numel(a->tensors[i]) * sizeof(float));
}

/* A sum over all that a load may change. */
static double fingerprint(const run_t *run)
{
    double sum = (double)tlm_optimizer_steps(run->optimizer), rate;

    for (size_t i = 0; i < run->n; i++)
        for (int64_t j = 0; j < tlm_tensor_numel(run->tensors[i]); j++)
            sum += (double)((float *)tlm_tensor_data(run->tensors[i]))[j] * (double)(i + 1);
    for (size_t i = 0; i < tlm_optimizer_num_parameters(run->optimizer); i++)
        for (int k = 0; k < 2; k++) {
            float *state;
            size_t n;
            if (tlm_optimizer_state(&state, &n, run->optimizer, i, k == 0 ? "m" : "v") == TLM_OK)
                for (size_t j = 0; j < n; j++)
                    sum += (double)state[j] * (double)(j + 3);
        }
    for (size_t i = 0; i < tlm_optimizer_num_groups(run->optimizer); i++) {
        ASSERT_OK(tlm_optimizer_learning_rate(&rate, run->optimizer, i));
        sum += rate;
    }
    return sum;
}

START_TEST(training_goes_on_with_the_same_bits)
{
    static const char *const kinds[] = {"adamw", "sgd"};
    const char *path = test_path("run.safetensors");
    run_t whole = start(&tiny, kinds[_i]), first = start(&tiny, kinds[_i]), second;
    tlm_model_options_t other_seed = tiny;
    float expected = train(&whole, 0, 11), actual;
    uint64_t iteration = 0;

    train(&first, 0, 5);
    ASSERT_OK(tlm_checkpoint_save(first.model, first.optimizer, 5, path));
    other_seed.seed = 99;
    second = start(&other_seed, kinds[_i]);
    ASSERT_OK(tlm_checkpoint_load(&iteration, second.model, second.optimizer, path));
    ck_assert_uint_eq(iteration, 5);
    ck_assert_uint_eq(tlm_optimizer_steps(second.optimizer), 5);
    assert_same_weights(&first, &second);
    ck_assert(fingerprint(&first) == fingerprint(&second));
    actual = train(&second, 5, 11);
    ck_assert(actual == expected);
    assert_same_weights(&whole, &second);
    ck_assert(fingerprint(&whole) == fingerprint(&second));
    stop(&whole);
    stop(&first);
    stop(&second);
}
END_TEST

START_TEST(a_model_is_made_from_its_checkpoint)
{
    const char *path = test_path("model.safetensors");
    tlm_model_options_t options = tiny, got = {.size = sizeof(got)};
    run_t run;
    run_t loaded = {0};

    options.rope_theta = 1.0 / 3.0 + 5000.0;
    options.seed = UINT64_MAX;
    run = start(&options, "adamw");
    train(&run, 0, 2);
    ASSERT_OK(tlm_checkpoint_save(run.model, NULL, UINT64_MAX, path));
    ASSERT_OK(tlm_model_load(&loaded.model, path));
    ASSERT_OK(tlm_model_parameters(&loaded.tensors, &loaded.n, loaded.model));
    assert_same_weights(&run, &loaded);
    ck_assert(tlm_tensor_requires_grad(loaded.tensors[0]));
    ASSERT_OK(tlm_model_get_options(&got, loaded.model));
    ck_assert(got.rope_theta == options.rope_theta && got.seed == UINT64_MAX && got.d_ff == 12);
    ASSERT_OK(tlm_checkpoint_load(NULL, run.model, NULL, path));
    ASSERT_FAILS(TLM_ERR_FORMAT, "no 'optimizer'",
                 tlm_checkpoint_load(NULL, run.model, run.optimizer, path));
    ASSERT_OK(tlm_checkpoint_save(run.model, run.optimizer, 2, path));
    tlm_model_free(loaded.model);
    ASSERT_OK(tlm_model_load(&loaded.model, path));
    tlm_model_free(loaded.model);
    stop(&run);
}
END_TEST

static bool file_holds(const char *path, const char *text)
{
    size_t size;
    unsigned char *bytes = read_bytes(path, &size);
    bool found = memmem(bytes, size, text, strlen(text)) != NULL;

    free(bytes);
    return found;
}

START_TEST(switches_are_stored)
{
    const char *path = test_path("switched.safetensors");
    tlm_model_options_t options = tiny, changed, got = {.size = sizeof(got)};
    tlm_tensor_t *before, *after;
    run_t run = start(&tiny, "adamw"), whole, loaded = {0};
    float expected;

    /* What version 0.1 had is written as version 0.1 wrote it. */
    ASSERT_OK(tlm_checkpoint_save(run.model, NULL, 1, path));
    ck_assert(file_holds(path, "\"format_version\":\"1\"") && !file_holds(path, "norm_eps"));
    options.num_kv_heads = 1;
    options.norm_eps = 1e-6;
    options.norm = TLM_NORM_POST;
    options.position = TLM_POSITION_NONE;
    options.ffn = TLM_FFN_SILU;
    options.tied_embeddings = true;
    whole = start(&options, "adamw");
    expected = train(&whole, 0, 4);
    loaded = start(&options, "adamw");
    train(&loaded, 0, 2);
    ASSERT_OK(tlm_checkpoint_save(loaded.model, loaded.optimizer, 2, path));
    ck_assert(file_holds(path, "\"format_version\":\"2\""));
    stop(&loaded);
    loaded = start(&options, "adamw");
    ASSERT_OK(tlm_checkpoint_load(NULL, loaded.model, loaded.optimizer, path));
    ck_assert(train(&loaded, 2, 4) == expected);
    assert_same_weights(&whole, &loaded);
    stop(&loaded);
    for (int i = 0; i < 6; i++) {
        static const char *const names[] = {"num_kv_heads", "norm_eps", "norm is post",
                                            "position",     "ffn",      "tied_embeddings"};
        changed = options;
        changed.num_kv_heads = i == 0 ? 2 : 1;
        changed.norm_eps = i == 1 ? 1e-5 : 1e-6;
        changed.norm = i == 2 ? TLM_NORM_NONE : TLM_NORM_POST;
        changed.position = i == 3 ? TLM_POSITION_ROPE : TLM_POSITION_NONE;
        changed.ffn = i == 4 ? TLM_FFN_SWIGLU : TLM_FFN_SILU;
        changed.tied_embeddings = i != 5;
        loaded = start(&changed, "adamw");
        ASSERT_FAILS(TLM_ERR_SHAPE, names[i], tlm_checkpoint_load(NULL, loaded.model, NULL, path));
        stop(&loaded);
    }
    ASSERT_OK(tlm_model_load(&loaded.model, path));
    ASSERT_OK(tlm_model_get_options(&got, loaded.model));
    ck_assert(got.num_kv_heads == 1 && got.norm_eps == 1e-6 && got.norm == TLM_NORM_POST);
    ck_assert(got.position == TLM_POSITION_NONE && got.ffn == TLM_FFN_SILU && got.tied_embeddings);
    ASSERT_OK(tlm_model_parameter(&after, loaded.model, "layers.1.ffn.w2.weight"));
    ASSERT_OK(tlm_checkpoint_load(NULL, whole.model, whole.optimizer, path));
    ASSERT_OK(tlm_model_parameter(&before, whole.model, "layers.1.ffn.w2.weight"));
    ck_assert_mem_eq(tlm_tensor_data(before), tlm_tensor_data(after), 8 * 12 * sizeof(float));
    tlm_model_free(loaded.model);
    stop(&run);
    stop(&whole);
}
END_TEST

/* An option that version 2 did not have at first is in a file only where it is not the default. */
START_TEST(later_options_are_stored)
{
    const char *path = test_path("later.safetensors");
    tlm_model_options_t options = tiny, got = {.size = sizeof(got)};
    run_t whole, loaded;
    tlm_model_t *opened;
    float expected;

    options.norm_eps = 1e-6;
    whole = start(&options, "adamw");
    ASSERT_OK(tlm_checkpoint_save(whole.model, NULL, 1, path));
    ck_assert(file_holds(path, "norm_eps") && !file_holds(path, "head_dim"));
    ck_assert(!file_holds(path, "qk_norm"));
    stop(&whole);
    options.head_dim = 6;
    options.qk_norm = TLM_QK_NORM_HEADS;
    whole = start(&options, "adamw");
    expected = train(&whole, 0, 4);
    loaded = start(&options, "adamw");
    train(&loaded, 0, 2);
    ASSERT_OK(tlm_checkpoint_save(loaded.model, loaded.optimizer, 2, path));
    stop(&loaded);
    loaded = start(&options, "adamw");
    ASSERT_OK(tlm_checkpoint_load(NULL, loaded.model, loaded.optimizer, path));
    ck_assert(train(&loaded, 2, 4) == expected);
    assert_same_weights(&whole, &loaded);
    stop(&loaded);
    stop(&whole);
    ASSERT_OK(tlm_model_load(&opened, path));
    ASSERT_OK(tlm_model_get_options(&got, opened));
    ck_assert(got.head_dim == 6 && got.qk_norm == TLM_QK_NORM_HEADS);
    tlm_model_free(opened);
    options.head_dim = 4;
    loaded = start(&options, "adamw");
    ASSERT_FAILS(TLM_ERR_SHAPE, "head_dim is 6",
                 tlm_checkpoint_load(NULL, loaded.model, NULL, path));
    stop(&loaded);
}
END_TEST

START_TEST(foreign_checkpoints_change_nothing)
{
    const char *path = test_path("foreign.safetensors");
    tlm_model_options_t wider = tiny, deeper = tiny, turned = tiny;
    tlm_optimizer_t *one_group;
    run_t run = start(&tiny, "adamw"), sgd = start(&tiny, "sgd"), other;
    double before = fingerprint(&run);
    uint64_t iteration = 77;

    wider.d_ff = 14;
    deeper.num_layers = 3;
    turned.rope_theta = 5000.0;
    for (int i = 0; i < 3; i++) {
        other = start(i == 0 ? &wider : i == 1 ? &deeper : &turned, "adamw");
        train(&other, 0, 1);
        ASSERT_OK(tlm_checkpoint_save(other.model, other.optimizer, 1, path));
        ASSERT_FAILS(TLM_ERR_SHAPE,
                     i == 0   ? "d_ff"
                     : i == 1 ? "num_layers"
                              : "rope_theta",
                     tlm_checkpoint_load(&iteration, run.model, run.optimizer, path));
        ASSERT_FAILS(TLM_ERR_SHAPE, "checkpoint",
                     tlm_checkpoint_load(&iteration, run.model, NULL, path));
        stop(&other);
    }
    train(&sgd, 0, 1);
    ASSERT_OK(tlm_checkpoint_save(sgd.model, sgd.optimizer, 1, path));
    ASSERT_FAILS(TLM_ERR_STATE, "sgd",
                 tlm_checkpoint_load(&iteration, run.model, run.optimizer, path));
    ASSERT_OK(tlm_optimizer_create_adamw(&one_group, NULL));
    ASSERT_OK(tlm_optimizer_add_group(one_group, sgd.tensors, sgd.n, NULL));
    ASSERT_OK(tlm_checkpoint_save(sgd.model, one_group, 1, path));
    ASSERT_FAILS(TLM_ERR_STATE, "1 groups",
                 tlm_checkpoint_load(&iteration, run.model, run.optimizer, path));
    ASSERT_OK(tlm_optimizer_add_group(one_group, NULL, 0, NULL));
    ASSERT_OK(tlm_checkpoint_save(sgd.model, one_group, 1, path));
    ASSERT_FAILS(TLM_ERR_STATE, "group 0",
                 tlm_checkpoint_load(&iteration, run.model, run.optimizer, path));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "parameter 0 of the optimizer",
                 tlm_checkpoint_save(run.model, sgd.optimizer, 1, path));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "parameter 0 of the optimizer",
                 tlm_checkpoint_load(&iteration, run.model, one_group, path));
    ck_assert(fingerprint(&run) == before);
    ck_assert_uint_eq(iteration, 77);
    tlm_optimizer_free(one_group);
    stop(&run);
    stop(&sgd);
}
END_TEST

/* Cuts everywhere in the header and at many places beyond, flipped bits all over: all are refused.
 */
START_TEST(damaged_checkpoints_change_nothing)
{
    const char *good = test_path("good.safetensors"), *path = test_path("bad.safetensors");
    run_t saved = start(&tiny, "adamw"), run = start(&tiny, "adamw");
    double before = fingerprint(&run);
    tlm_model_t *model = NULL;
    unsigned char *bytes;
    size_t size, header;

    train(&saved, 0, 3);
    ASSERT_OK(tlm_checkpoint_save(saved.model, saved.optimizer, 3, good));
    bytes = read_bytes(good, &size);
    header = 8 + (size_t)bytes[0] + ((size_t)bytes[1] << 8);
    for (size_t cut = 0; cut < size;
         cut += cut < 16 || (cut > header - 8 && cut < header + 8) ? 1 : 97) {
        write_bytes(path, bytes, cut);
        ck_assert_int_lt(tlm_checkpoint_load(NULL, run.model, run.optimizer, path), 0);
    }
    for (size_t i = 0; i < size; i += i < 400 ? 1 : 41) {
        bytes[i] ^= (unsigned char)(1 << i % 8);
        write_bytes(path, bytes, size);
        ck_assert_int_lt(tlm_checkpoint_load(NULL, run.model, run.optimizer, path), 0);
        ck_assert_int_lt(tlm_model_load(&model, path), 0);
        bytes[i] ^= (unsigned char)(1 << i % 8);
    }
    ck_assert(fingerprint(&run) == before);
    ck_assert_ptr_null(model);
    write_bytes(path, bytes, size);
    ASSERT_OK(tlm_checkpoint_load(NULL, run.model, run.optimizer, path));
    ck_assert(fingerprint(&run) == fingerprint(&saved));
    free(bytes);
    stop(&saved);
    stop(&run);
}
END_TEST

/* Well-formed files, with a right checksum, that lie: only their meaning is wrong. */
static const char *write_lie(const char *config, const char *iteration, const char *version)
{
    static const float values[4] = {0};
    const tlmi_st_tensor_t tensor = {"token_embeddings.weight", "F32", {2, 2}, 2, values, 16};
    const char *path = test_path("lie.safetensors");
    tlmi_json_t *metadata = tlmi_json_new_object();

    ASSERT_OK(tlmi_json_set(metadata, "format", tlmi_json_new_string("tinylm-checkpoint", 17)));
    ASSERT_OK(
        tlmi_json_set(metadata, "format_version", tlmi_json_new_string(version, strlen(version))));
    ASSERT_OK(
        tlmi_json_set(metadata, "iteration", tlmi_json_new_string(iteration, strlen(iteration))));
    if (config != NULL)
        ASSERT_OK(tlmi_json_set(metadata, "config", tlmi_json_new_string(config, strlen(config))));
    ASSERT_OK(tlmi_safetensors_write(path, &tensor, 1, metadata));
    return path;
}

#define CONFIG(vocab, layers)                                                                      \
    "{\"vocab_size\":" vocab ",\"context_length\":6,\"d_model\":8,\"num_layers\":" layers          \
    ",\"num_heads\":2,\"d_ff\":12,\"rope_theta\":10000.0,\"seed\":\"7\"}"
#define LATER(members)                                                                             \
    "{\"vocab_size\":13,\"context_length\":6,\"d_model\":8,\"num_layers\":2,\"num_heads\":2,"      \
    "\"d_ff\":12,\"rope_theta\":10000.0,\"seed\":\"7\"," members "}"

START_TEST(lies_are_refused)
{
    static const struct {
        const char *config, *iteration, *version;
        tlm_status_t status;
    } cases[] = {
        {NULL, "1", "1", TLM_ERR_FORMAT},
        {"", "1", "1", TLM_ERR_FORMAT},
        {"[]", "1", "1", TLM_ERR_FORMAT},
        {"{}", "1", "1", TLM_ERR_FORMAT},
        {CONFIG("13", "2"), "1", "4", TLM_ERR_UNSUPPORTED},
        {LATER("\"norm\":\"past\""), "1", "2", TLM_ERR_FORMAT},
        {LATER("\"norm\":1"), "1", "2", TLM_ERR_FORMAT},
        {LATER("\"ffn\":\"\""), "1", "2", TLM_ERR_FORMAT},
        {LATER("\"position\":\"post\""), "1", "2", TLM_ERR_FORMAT},
        {LATER("\"tied_embeddings\":1"), "1", "2", TLM_ERR_FORMAT},
        {LATER("\"num_kv_heads\":0"), "1", "2", TLM_ERR_FORMAT},
        {LATER("\"num_kv_heads\":3"), "1", "2", TLM_ERR_INVALID_ARGUMENT},
        {LATER("\"head_dim\":3"), "1", "2", TLM_ERR_INVALID_ARGUMENT},
        {LATER("\"qk_norm\":\"head\""), "1", "2", TLM_ERR_FORMAT},
        {LATER("\"yet_unknown\":0"), "1", "2", TLM_ERR_UNSUPPORTED},
        {LATER("\"norm_eps\":0.0"), "1", "2", TLM_ERR_FORMAT},
        {LATER("\"norm_eps\":1e39"), "1", "2", TLM_ERR_INVALID_ARGUMENT},
        {LATER("\"norm\":\"none\""), "1", "2", TLM_ERR_FORMAT}, /* good, but tensors are missing */
        {CONFIG("13", "2"), "", "1", TLM_ERR_FORMAT},
        {CONFIG("13", "2"), "-1", "1", TLM_ERR_FORMAT},
        {CONFIG("13", "2"), "1x", "1", TLM_ERR_FORMAT},
        {CONFIG("13", "2"), "99999999999999999999", "1", TLM_ERR_FORMAT},
        {CONFIG("13", "2"), "1", "1", TLM_ERR_FORMAT},         /* tensors are missing */
        {CONFIG("2000000000", "2"), "1", "1", TLM_ERR_FORMAT}, /* more than the file holds */
        {CONFIG("13", "65536"), "1", "1", TLM_ERR_FORMAT},
        {CONFIG("13", "2147483647"), "1", "1", TLM_ERR_INVALID_ARGUMENT},
        {CONFIG("-13", "2"), "1", "1", TLM_ERR_FORMAT},
        {CONFIG("13.5", "2"), "1", "1", TLM_ERR_FORMAT},
        {CONFIG("\"13\"", "2"), "1", "1", TLM_ERR_FORMAT},
    };
    run_t run = start(&tiny, "adamw");
    tlm_model_t *model = NULL;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *path = write_lie(cases[i].config, cases[i].iteration, cases[i].version);
        tlm_status_t status = tlm_model_load(&model, path);

        ck_assert_msg(status == cases[i].status, "case %d: %d, %s", (int)i, status,
                      tlm_error_message());
        ck_assert_int_lt(tlm_checkpoint_load(NULL, run.model, run.optimizer, path), 0);
    }
    ck_assert_ptr_null(model);
    stop(&run);
}
END_TEST

/* The user's metadata comes back byte for byte and changes nothing else of what is loaded. */
START_TEST(metadata_is_kept)
{
    static const char text[] = "{ \"loader\": {\"seed\": 3,\"position\":17},\n\"name\": "
                               "\"caf\\u00e9 \\\" \xC3\xA9\", \"n\": []}";
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;
    const char *path = test_path("meta.safetensors");
    run_t run = start(&tiny, "adamw"), other = start(&tiny, "adamw");
    tlmi_safetensors_t file;
    uint64_t iteration = 0;
    char *metadata;

    train(&run, 0, 2);
    options.metadata = text;
    options.has_validation_loss = true;
    options.validation_loss = 1.0 / 3.0;
    ASSERT_OK(tlm_checkpoint_save_with(run.model, run.optimizer, 2, path, &options));
    ASSERT_OK(tlm_checkpoint_metadata(&metadata, &iteration, path));
    ck_assert_str_eq(metadata, text);
    ck_assert_uint_eq(iteration, 2);
    tlm_free(metadata);
    ASSERT_OK(tlm_checkpoint_load(NULL, other.model, other.optimizer, path));
    ck_assert(fingerprint(&run) == fingerprint(&other));
    ASSERT_OK(tlmi_safetensors_open(&file, path));
    ck_assert_str_eq(tlmi_safetensors_metadata(&file, "names"), "cs336");
    ck_assert_str_eq(tlmi_safetensors_metadata(&file, "validation_loss"), "0.33333333333333331");
    tlmi_safetensors_close(&file);
    options.validation_loss = (double)NAN;
    options.metadata = NULL;
    ASSERT_OK(tlm_checkpoint_save_with(run.model, run.optimizer, 3, path, &options));
    ASSERT_OK(tlm_checkpoint_metadata(&metadata, NULL, path));
    ck_assert_str_eq(metadata, "{}");
    tlm_free(metadata);
    ASSERT_OK(tlmi_safetensors_open(&file, path));
    ck_assert_ptr_null(tlmi_safetensors_metadata(&file, "validation_loss"));
    tlmi_safetensors_close(&file);
    stop(&run);
    stop(&other);
}
END_TEST

START_TEST(bad_metadata_is_refused)
{
    static const char *const bad[] = {
        "", "{", "[]", "1", "{} x", "{\"a\":1,\"a\":2}", "{\"\xFF\":1}"};
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;
    const char *path = test_path("bad_meta.safetensors");
    run_t run = start(&tiny, "sgd");
    char *metadata = NULL, *text = malloc((1 << 20) + 2);

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        options.metadata = bad[i];
        ASSERT_FAILS(TLM_ERR_FORMAT, "checkpoint_save_with: metadata",
                     tlm_checkpoint_save_with(run.model, run.optimizer, 2, path, &options));
    }
    memset(text, ' ', (1 << 20) + 1);
    text[(1 << 20) + 1] = '\0';
    memcpy(text, "{}", 2);
    options.metadata = text;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "1048577 bytes",
                 tlm_checkpoint_save_with(run.model, run.optimizer, 2, path, &options));
    ck_assert_int_ne(access(path, F_OK), 0);
    text[1 << 20] = '\0';
    ASSERT_OK(tlm_checkpoint_save_with(run.model, run.optimizer, 2, path, &options));
    ASSERT_OK(tlm_checkpoint_metadata(&metadata, NULL, path));
    ck_assert_str_eq(metadata, text);
    tlm_free(metadata);
    metadata = NULL;
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                 tlm_checkpoint_metadata(&metadata, NULL, test_path("nowhere")));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_checkpoint_metadata(NULL, NULL, path));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_checkpoint_metadata(&metadata, NULL, NULL));
    ck_assert_ptr_null(metadata);
    free(text);
    stop(&run);
}
END_TEST

START_TEST(saving_is_all_or_nothing)
{
    const char *path = test_path("kept.safetensors");
    run_t run = start(&tiny, "adamw"), other = start(&tiny, "adamw");
    int files;

    train(&run, 0, 1);
    ASSERT_OK(tlm_checkpoint_save(run.model, run.optimizer, 1, path));
    files = count_files();
    train(&run, 1, 2);
    ASSERT_OK(tlm_checkpoint_save(run.model, run.optimizer, 2, path));
    ck_assert_int_eq(count_files(), files);
    ck_assert_int_lt(tlm_checkpoint_save(run.model, run.optimizer, 2, test_path("no/where")), 0);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "not one of the model's",
                 tlm_checkpoint_save(run.model, other.optimizer, 3, path));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_checkpoint_save(run.model, NULL, 3, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_checkpoint_save(NULL, NULL, 3, path));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_checkpoint_load(NULL, NULL, NULL, path));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_checkpoint_load(NULL, run.model, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_model_load(NULL, path));
    ck_assert_int_eq(count_files(), files);
    ASSERT_OK(tlm_checkpoint_load(NULL, other.model, other.optimizer, path));
    ck_assert(fingerprint(&run) == fingerprint(&other));
    stop(&run);
    stop(&other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *tcase = tcase_create("checkpoint");
    int failed;

    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, training_goes_on_with_the_same_bits, 0, 2);
    tcase_add_test(tcase, a_model_is_made_from_its_checkpoint);
    tcase_add_test(tcase, switches_are_stored);
    tcase_add_test(tcase, later_options_are_stored);
    tcase_add_test(tcase, foreign_checkpoints_change_nothing);
    tcase_add_test(tcase, damaged_checkpoints_change_nothing);
    tcase_add_test(tcase, lies_are_refused);
    tcase_add_test(tcase, metadata_is_kept);
    tcase_add_test(tcase, bad_metadata_is_refused);
    tcase_add_test(tcase, saving_is_all_or_nothing);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
