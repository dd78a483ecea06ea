/* Continues a prompt, for Node: cc -shared -fPIC -I/usr/include/node continue_text_node.c
 *     $(pkg-config --cflags --libs tinylm) -o continue_text.node; then node continue_text.js MODEL PROMPT */
#include <node_api.h>
#include <tinylm/tinylm.h>

/* continueText(path, prompt): the new text; throws the library's message. */
static napi_value continue_text(napi_env env, napi_callback_info info)
{
    char path[4096], prompt[4096], *text = NULL;
    uint32_t *ids = NULL, *more = NULL;
    size_t argc = 2, used, prompt_size, n, num_more, size;
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = NULL;
    tlm_model_t *model = NULL;
    napi_value argv[2], result = NULL;

    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    if (napi_get_value_string_utf8(env, argv[0], path, sizeof(path), &used) ||
        napi_get_value_string_utf8(env, argv[1], prompt, sizeof(prompt), &prompt_size))
        return napi_throw_type_error(env, NULL, "continueText takes two strings"), NULL;
    options.max_tokens = 20;
    if (tlm_model_open(&model, &tokenizer, NULL, path) ||
        tlm_tokenizer_encode(&ids, &n, tokenizer, prompt, prompt_size) ||
        tlm_model_generate(&more, &num_more, model, ids, n, &options, NULL, NULL) ||
        tlm_tokenizer_decode_text(&text, &size, tokenizer, more, num_more))
        napi_throw_error(env, NULL, tlm_error_message());
    else
        napi_create_string_utf8(env, text, size, &result);
    tlm_free(text), tlm_free(more), tlm_free(ids);
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
    return result;
}

NAPI_MODULE_INIT()
{
    napi_value function;

    napi_create_function(env, "continueText", NAPI_AUTO_LENGTH, continue_text, NULL, &function);
    napi_set_named_property(env, exports, "continueText", function);
    return exports;
}
