/* Opening models in others' files: what was saved comes back with the same bits, and anything else is
 * refused by name, with nothing made. */
#include "model_support.h"
#include "run_suite.h"

#include <sys/stat.h>

#include "base/file.h"
#include "formats/safetensors.h"

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 11,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 1,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7,
                                         .num_kv_heads = 1};

/* Path of a file in the folder; one of a few static buffers. */
static const char *in_folder(const char *name)
{
    char whole[128];

    snprintf(whole, sizeof(whole), "folder/%s", name);
    return test_path(whole);
}

static tlm_model_t *save(const tlm_model_options_t *options)
{
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, options));
    ASSERT_OK(tlm_model_save_hf(model, NULL, test_path("folder"), NULL));
    return model;
}

/* The folder is refused, and the out-parameters stay. */
static void assert_refused(tlm_status_t code, const char *text)
{
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = (tlm_tokenizer_t *)&file;
    tlm_model_t *model = (tlm_model_t *)&file;

    file.weights = 77;
    ASSERT_FAILS(code, text, tlm_model_open(&model, &tokenizer, &file, test_path("folder")));
    ck_assert_ptr_eq(model, &file);
    ck_assert_ptr_eq(tokenizer, &file);
    ck_assert_int_eq(file.weights, 77);
}

START_TEST(what_is_saved_is_opened)
{
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT, again = file;
    tlm_tokenizer_t *tokenizer = (tlm_tokenizer_t *)&file;
    tlm_model_options_t options = tiny, read = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model, *opened;

    file.has_end_token = file.has_begin_token = true;
    file.end_token = 3;
    file.begin_token = 4;
    file.family = TLM_FAMILY_LLAMA;
    file.num_more_end_tokens = 2;
    file.more_end_tokens[0] = 9;
    file.more_end_tokens[1] = 8;
    for (int tied = 0; tied < 2; tied++) {
        options.tied_embeddings = tied == 1;
        options.rope_theta = 12345.678;
        ASSERT_OK(tlm_model_create(&model, &options));
        ASSERT_OK(tlm_model_save_hf(model, NULL, test_path("folder"), &file));
        ASSERT_OK(tlm_model_open(&opened, &tokenizer, &again, test_path("folder")));
        ck_assert_ptr_null(tokenizer);
        file.weight_bytes = tlm_model_num_bytes(model);
        ck_assert_mem_eq(&file, &again, sizeof(file));
        assert_same(model, opened);
        ASSERT_OK(tlm_model_get_options(&read, opened));
        ck_assert(read.rope_theta == 12345.678 && read.norm_eps == 1e-5);
        ck_assert(read.context_length == 6 && read.num_kv_heads == 1);
        tlm_model_free(opened);
        /* The weights of 16 bits are those of a second round too. */
        file.weights = TLM_WEIGHTS_BFLOAT16 - tied;
        ASSERT_OK(tlm_model_save_hf(model, NULL, test_path("folder"), &file));
        tlm_model_free(model);
        ASSERT_OK(tlm_model_open(&model, NULL, &again, test_path("folder")));
        ck_assert_int_eq(again.weights, file.weights);
        ASSERT_OK(tlm_model_save_hf(model, NULL, test_path("folder"), &again));
        ASSERT_OK(tlm_model_open(&opened, NULL, NULL, test_path("folder")));
        assert_same(model, opened);
        tlm_model_free(opened);
        tlm_model_free(model);
        file.weights = TLM_WEIGHTS_FLOAT32;
    }
    remove_folder(test_path("folder"));
}
END_TEST

START_TEST(a_checkpoint_is_opened)
{
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = (tlm_tokenizer_t *)&file;
    tlm_model_t *model, *opened;

    ASSERT_OK(tlm_model_create(&model, &tiny));
    ASSERT_OK(tlm_checkpoint_save(model, NULL, 0, test_path("checkpoint")));
    ASSERT_OK(tlm_model_open(&opened, &tokenizer, &file, test_path("checkpoint")));
    ck_assert_ptr_null(tokenizer);
    assert_same(model, opened);
    tlm_model_free(opened);
    tlm_model_free(model);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                 tlm_model_open(&opened, NULL, NULL, test_path("nowhere")));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "path", tlm_model_open(&opened, NULL, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "out", tlm_model_open(NULL, NULL, NULL, "x"));
    file.size = 3;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "size",
                 tlm_model_open(&opened, NULL, &file, test_path("checkpoint")));
}
END_TEST

/* ---- config.json ------------------------------------------------------------------------ */

static const char config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"vocab_size\":11,\"hidden_size\":8,"
    "\"intermediate_size\":12,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1%s}";

static void write_config(const char *more)
{
    char text[4096];

    snprintf(text, sizeof(text), config, more);
    write_string(in_folder("config.json"), text);
}

START_TEST(missing_keys_have_defaults)
{
    static const char *const same[] = {"",
                                       ",\"head_dim\":4",
                                       ",\"model_type\":\"llama\"",
                                       ",\"rope_theta\":10000",
                                       ",\"rope_scaling\":{\"rope_type\":\"default\"}",
                                       ",\"eos_token_id\":-1,\"bos_token_id\":99",
                                       ",\"attention_bias\":null,\"sliding_window\":null"};
    tlm_model_options_t read = TLM_MODEL_OPTIONS_INIT;
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_t *model = save(&tiny), *opened;

    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        write_config(same[i]);
        ASSERT_OK(tlm_model_open(&opened, NULL, &file, test_path("folder")));
        ASSERT_OK(tlm_model_get_options(&read, opened));
        ck_assert(read.norm_eps == 1e-6 && read.rope_theta == 10000 && !read.tied_embeddings);
        ck_assert_int_eq(read.context_length, 2048);
        ck_assert(!file.has_end_token && !file.has_begin_token);
        assert_same(model, opened);
        tlm_model_free(opened);
    }
    write_config(",\"eos_token_id\":[7,8]");
    ASSERT_OK(tlm_model_open(&opened, NULL, &file, test_path("folder")));
    ck_assert(file.has_end_token && file.end_token == 7);
    ck_assert(file.num_more_end_tokens == 1 && file.more_end_tokens[0] == 8);
    tlm_model_free(opened);
    write_bytes(in_folder("generation_config.json"), "{\"eos_token_id\":[8,3]}", 22);
    ASSERT_OK(tlm_model_open(&opened, NULL, &file, test_path("folder")));
    ck_assert(file.end_token == 7 && file.num_more_end_tokens == 2);
    ck_assert(file.more_end_tokens[0] == 8 && file.more_end_tokens[1] == 3);
    write_bytes(in_folder("generation_config.json"), "{\"eos_token_id\":{}}", 19);
    ASSERT_FAILS(TLM_ERR_FORMAT, "generation_config.json: \"eos_token_id\" is not an id",
                 tlm_model_open(&opened, NULL, &file, test_path("folder")));
    tlm_model_free(opened);
    remove_folder(test_path("folder"));
    tlm_model_free(model);
}
END_TEST

START_TEST(bad_configurations_are_refused)
{
    static const struct {
        const char *more, *text;
        tlm_status_t code;
    } added[] = {
        {",\"hidden_size\":8", "duplicate", TLM_ERR_FORMAT},
        {",\"model_type\":\"gptj\"", "\"model_type\" is gptj", TLM_ERR_UNSUPPORTED},
        {",\"model_type\":\"gpt2\"", "not GPT2LMHeadModel", TLM_ERR_UNSUPPORTED},
        {",\"model_type\":7", "\"model_type\"", TLM_ERR_UNSUPPORTED},
        {",\"hidden_act\":\"gelu\"", "\"hidden_act\" is gelu, not silu", TLM_ERR_UNSUPPORTED},
        {",\"attention_bias\":true", "no tensor 'model.layers.0.self_attn.q_proj.bias'",
         TLM_ERR_FORMAT},
        {",\"mlp_bias\":\"no\"", "\"mlp_bias\"", TLM_ERR_FORMAT},
        {",\"sliding_window\":4096", "\"sliding_window\" is 4096", TLM_ERR_UNSUPPORTED},
        {",\"use_bidirectional_attention\":true", "\"use_bidirectional_attention\" is true",
         TLM_ERR_UNSUPPORTED},
        {",\"quantization_config\":{}", "\"quantization_config\"", TLM_ERR_UNSUPPORTED},
        {",\"head_dim\":5", "head_dim 5", TLM_ERR_INVALID_ARGUMENT},
        {",\"head_dim\":-4", "\"head_dim\"", TLM_ERR_FORMAT},
        {",\"rope_scaling\":{\"type\":\"longrope\"}", "\"rope_scaling\" is of type longrope",
         TLM_ERR_UNSUPPORTED},
        {",\"rope_scaling\":{\"type\":\"linear\"}", "\"factor\"", TLM_ERR_FORMAT},
        {",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}",
         "\"factor\" is 0.5, not at least 1", TLM_ERR_UNSUPPORTED},
        {",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2}", "\"low_freq_factor\"",
         TLM_ERR_FORMAT},
        {",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2,\"low_freq_factor\":4,"
         "\"high_freq_factor\":1}",
         "\"high_freq_factor\" is 1", TLM_ERR_UNSUPPORTED},
        {",\"rope_parameters\":{\"rope_type\":7}", "\"rope_parameters\"", TLM_ERR_UNSUPPORTED},
        {",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":2,\"truncate\":false}",
         "\"truncate\" is false", TLM_ERR_UNSUPPORTED},
        {",\"rope_parameters\":{\"rope_theta\":0}", "\"rope_theta\"", TLM_ERR_FORMAT},
        {",\"rope_parameters\":[]", "\"rope_parameters\"", TLM_ERR_FORMAT},
        {",\"partial_rotary_factor\":0.5", "\"partial_rotary_factor\"", TLM_ERR_UNSUPPORTED},
        {",\"rope_theta\":\"big\"", "\"rope_theta\"", TLM_ERR_FORMAT},
        {",\"rms_norm_eps\":-1", "\"rms_norm_eps\"", TLM_ERR_FORMAT},
        {",\"rms_norm_eps\":1e300", "norm_eps", TLM_ERR_INVALID_ARGUMENT},
        {",\"tie_word_embeddings\":1", "\"tie_word_embeddings\"", TLM_ERR_FORMAT},
        {",\"tie_word_embeddings\":true", "lm_head.weight", TLM_ERR_UNSUPPORTED},
        {",\"eos_token_id\":\"x\"", "\"eos_token_id\"", TLM_ERR_FORMAT},
        {",\"max_position_embeddings\":0", "\"max_position_embeddings\"", TLM_ERR_FORMAT},
        {",\"max_position_embeddings\":99999999999", "context_length", TLM_ERR_INVALID_ARGUMENT},
    };
    static const struct {
        const char *whole, *text;
        tlm_status_t code;
    } others[] = {
        {"", "not a JSON file but an empty file", TLM_ERR_FORMAT},
        {"[1]", "not a JSON object", TLM_ERR_FORMAT},
        {"{}", "model_type", TLM_ERR_FORMAT},
        {"{\"architectures\":[]}", "\"architectures\"", TLM_ERR_FORMAT},
        {"{\"architectures\":{}}", "\"architectures\"", TLM_ERR_UNSUPPORTED},
        {"{\"architectures\":[\"LlamaForCausalLM\",\"X\"]}", "has X", TLM_ERR_UNSUPPORTED},
        {"{\"model_type\":\"llama\"}", "\"vocab_size\"", TLM_ERR_FORMAT},
        {"{\"model_type\":\"llama\",\"vocab_size\":1.5}", "\"vocab_size\"", TLM_ERR_FORMAT},
        {"{\"model_type\":\"llama\",\"vocab_size\":-3}", "\"vocab_size\"", TLM_ERR_FORMAT},
        /* Sizes that would take all memory there is, and more tensors than the file has. */
        {"{\"model_type\":\"llama\",\"vocab_size\":2000000000,\"hidden_size\":2000000000,"
         "\"intermediate_size\":2000000000,\"num_hidden_layers\":60000,\"num_attention_heads\":2}",
         "too large", TLM_ERR_INVALID_ARGUMENT},
        {"{\"model_type\":\"llama\",\"vocab_size\":2000000000,\"hidden_size\":8,"
         "\"intermediate_size\":12,\"num_hidden_layers\":1,\"num_attention_heads\":2}",
         "elements, but", TLM_ERR_FORMAT},
        {"{\"model_type\":\"llama\",\"vocab_size\":11,\"hidden_size\":8,\"intermediate_size\":12,"
         "\"num_hidden_layers\":2,\"num_attention_heads\":2,\"num_key_value_heads\":1}",
         "no tensor 'model.layers.1.", TLM_ERR_FORMAT},
        {"{\"model_type\":\"llama\",\"vocab_size\":10,\"hidden_size\":8,\"intermediate_size\":12,"
         "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":1}",
         "model.embed_tokens.weight' has shape (11, 8), but the model's has shape (10, 8)",
         TLM_ERR_SHAPE},
    };

    tlm_model_free(save(&tiny));
    for (size_t i = 0; i < sizeof(added) / sizeof(added[0]); i++) {
        write_config(added[i].more);
        assert_refused(added[i].code, added[i].text);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        write_string(in_folder("config.json"), others[i].whole);
        assert_refused(others[i].code, others[i].text);
    }
    unlink(in_folder("config.json"));
    assert_refused(TLM_ERR_NOT_FOUND, "config.json");
    remove_folder(test_path("folder"));
}
END_TEST

/* ---- Weights ---------------------------------------------------------------------------- */

/* Writes the tensors of a file but for those that `keep` refuses, and one more if it is given. */
static void filter(const char *from, const char *to, bool (*keep)(const char *name),
                   const tlmi_st_tensor_t *more)
{
    tlmi_st_tensor_t tensors[32];
    tlmi_json_t *metadata = tlmi_json_new_object();
    tlmi_safetensors_t file;
    size_t n = 0;

    ASSERT_OK(tlmi_safetensors_open(&file, from));
    for (size_t i = 0; i < file.num_tensors; i++)
        if (keep == NULL || keep(file.tensors[i].name))
            tensors[n++] = file.tensors[i];
    if (more != NULL)
        tensors[n++] = *more;
    ASSERT_OK(tlmi_safetensors_write(to, tensors, n, metadata));
    tlmi_safetensors_close(&file);
}

static bool is_attention(const char *name)
{
    return strstr(name, "self_attn") != NULL;
}

static bool is_no_attention(const char *name)
{
    return !is_attention(name);
}

static bool is_no_norm(const char *name)
{
    return strcmp(name, "model.norm.weight") != 0;
}

START_TEST(bad_weights_are_refused)
{
    static const float zeros[96];
    const tlmi_st_tensor_t bias = {
        "model.layers.0.self_attn.q_proj.bias", "F32", {8}, 1, zeros, 32};
    const tlmi_st_tensor_t beyond = {
        "model.layers.1.mlp.up_proj.weight", "F32", {12, 8}, 2, zeros, 384};
    const tlmi_st_tensor_t doubles = {"model.norm.weight", "F64", {8}, 1, zeros, 64};
    const tlmi_st_tensor_t whole_numbers = {"model.norm.weight", "I32", {8}, 1, zeros, 32};
    const tlmi_st_tensor_t wide = {"model.norm.weight", "F32", {1, 8}, 2, zeros, 32};
    const tlmi_st_tensor_t table = {
        "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {2}, 1, zeros, 8};
    tlm_model_t *model = save(&tiny), *opened;
    size_t size;
    unsigned char *bytes = read_bytes(in_folder("model.safetensors"), &size);
    char whole[600], path[600];

    snprintf(path, sizeof(path), "%s", in_folder("model.safetensors"));
    snprintf(whole, sizeof(whole), "%s", test_path("whole"));
    write_bytes(whole, bytes, size);
    filter(whole, path, NULL, &bias);
    assert_refused(TLM_ERR_UNSUPPORTED, "q_proj.bias' is not one of the model's");
    filter(whole, path, NULL, &beyond);
    assert_refused(TLM_ERR_UNSUPPORTED, "layers.1.mlp.up_proj.weight");
    filter(whole, path, is_no_norm, &doubles);
    ASSERT_OK(tlm_model_open(&opened, NULL, NULL, test_path("folder")));
    tlm_model_free(opened);
    filter(whole, path, is_no_norm, &whole_numbers);
    assert_refused(TLM_ERR_UNSUPPORTED, "model.norm.weight' is I32");
    filter(whole, path, is_no_norm, &wide);
    assert_refused(TLM_ERR_SHAPE, "(1, 8)");
    filter(whole, path, is_no_norm, NULL);
    assert_refused(TLM_ERR_FORMAT, "no tensor 'model.norm.weight'");
    filter(whole, path, is_no_norm, &table);
    assert_refused(TLM_ERR_FORMAT, "no tensor 'model.norm.weight'");
    write_bytes(path, bytes, size - 1);
    assert_refused(TLM_ERR_FORMAT, "model.safetensors");
    unlink(path);
    assert_refused(TLM_ERR_NOT_FOUND, "neither model.safetensors nor");
    /* A table that follows from the configuration does no harm. */
    filter(whole, path, NULL, &table);
    ASSERT_OK(tlm_model_open(&opened, NULL, NULL, test_path("folder")));
    assert_same(model, opened);
    tlm_model_free(opened);
    free(bytes);
    remove_folder(test_path("folder"));
    tlm_model_free(model);
}
END_TEST

static void write_index(const char *map)
{
    char text[4096];

    snprintf(text, sizeof(text), "{\"metadata\":{},\"weight_map\":%s}", map);
    write_string(in_folder("model.safetensors.index.json"), text);
}

/* The map of a file's tensors, without its last brace. */
static size_t list_tensors(char *map, size_t used, const char *name)
{
    tlmi_safetensors_t file;

    ASSERT_OK(tlmi_safetensors_open(&file, in_folder(name)));
    for (size_t i = 0; i < file.num_tensors; i++)
        used += (size_t)sprintf(map + used, "%c\"%s\":\"%s\"", used == 0 ? '{' : ',',
                                file.tensors[i].name, name);
    tlmi_safetensors_close(&file);
    return used;
}

START_TEST(shards_are_read_and_checked)
{
    static const float zeros[8];
    const tlmi_st_tensor_t norm = {"model.norm.weight", "F32", {8}, 1, zeros, 32};
    tlm_model_t *model = save(&tiny), *opened;
    char map[4096], changed[4096], whole[600];
    size_t used;

    snprintf(whole, sizeof(whole), "%s", test_path("whole"));
    ck_assert_int_eq(rename(in_folder("model.safetensors"), whole), 0);
    filter(whole, in_folder("a.safetensors"), is_attention, NULL);
    filter(whole, in_folder("b.safetensors"), is_no_attention, NULL);
    used = list_tensors(map, 0, "a.safetensors");
    used = list_tensors(map, used, "b.safetensors");
    snprintf(map + used, sizeof(map) - used, "}");
    write_index(map);
    ASSERT_OK(tlm_model_open(&opened, NULL, NULL, test_path("folder")));
    assert_same(model, opened);
    tlm_model_free(opened);

    write_index("[]");
    assert_refused(TLM_ERR_FORMAT, "weight_map");
    write_index("{\"x\":7}");
    assert_refused(TLM_ERR_FORMAT, "'x' is in no file");
    write_index("{\"x\":\"../folder/a.safetensors\"}");
    assert_refused(TLM_ERR_FORMAT, "'x' is in no file");
    write_index("{\"x\":\"c.safetensors\"}");
    assert_refused(TLM_ERR_NOT_FOUND, "c.safetensors");
    snprintf(changed, sizeof(changed), "%.*s,\"x\":\"a.safetensors\"}", (int)used, map);
    write_index(changed);
    assert_refused(TLM_ERR_FORMAT, "13 tensors, but the files hold 12");
    /* A tensor in another file than the index says, and one in both. */
    snprintf(changed, sizeof(changed), "%.*s}", (int)used, map);
    strstr(changed, "\"a.safetensors\"")[1] = 'b';
    write_index(changed);
    assert_refused(TLM_ERR_FORMAT, "the index places it in b.safetensors");
    filter(whole, in_folder("a.safetensors"), is_attention, &norm);
    write_index(map);
    assert_refused(TLM_ERR_FORMAT, "12 tensors, but the files hold 13");
    unlink(whole);
    remove_folder(test_path("folder"));
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model open");
    TCase *tcase = tcase_create("model open");
    int failed;

    tcase_add_test(tcase, what_is_saved_is_opened);
    tcase_add_test(tcase, a_checkpoint_is_opened);
    tcase_add_test(tcase, missing_keys_have_defaults);
    tcase_add_test(tcase, bad_configurations_are_refused);
    tcase_add_test(tcase, bad_weights_are_refused);
    tcase_add_test(tcase, shards_are_read_and_checked);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
