/* Chat templates: reading, rendering, encoding. */
#include <string.h>

#include "oom_scenarios.h"

static const char config[] =
    "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}, \"chat_template\": "
    "\"{{ bos_token }}{% set n = namespace(a=1, b=[1, 'x', {'k': 2}]) %}"
    "{% macro f(x, y='d') %}<{{ x | trim }}{{ y | upper }}>{% endmacro %}"
    "{% for m in messages if m.role != 'tool' %}{% set n.a = n.a + loop.index %}"
    "{% set c %}{{ m.content.split('a') | join('-') }}{{ m.content.replace('b', 'cc') }}{% endset "
    "%}"
    "{{ f(c) ~ n.a }}{{ extra | tojson(indent=2) }}{{ messages[1:] | length }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content[1:] }}{% endgeneration %}"
    "{{ eos_token }}{% endif %}{% endfor %}"
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | "
    "reverse | join(',') }}{{ strftime_now('%d %b %Y') }}\"}";

static void prepare(void)
{
    FILE *file = fopen(path_of("chat.json"), "wb");

    if (file == NULL || fputs(config, file) < 0 || fclose(file) != 0)
        exit(1);
}

static tlm_status_t make_tokenizer(tlm_tokenizer_t **out)
{
    static const tlm_bytes_t special[] = {{(const uint8_t *)"<s>", 3},
                                          {(const uint8_t *)"</s>", 4}};
    static uint8_t bytes[256];
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_bytes_t vocab[256];

    for (size_t i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
        vocab[i] = (tlm_bytes_t){&bytes[i], 1};
    }
    options.special_tokens = special;
    options.num_special_tokens = 2;
    return tlm_tokenizer_create(out, vocab, 256, NULL, 0, &options);
}

/* Renders and encodes; the ids are freed. */
static tlm_status_t use(const tlm_chat_template_t *chat, const tlm_tokenizer_t *tokenizer,
                        const char *variables)
{
    static const tlm_chat_message_t messages[] = {
        {"user", " a<s>b ", 7}, {"assistant", "yes", 3}, {"user", "why", 3}};
    tlm_chat_options_t options = TLM_CHAT_OPTIONS_INIT;
    uint32_t *ids = NULL;
    uint8_t *mask = NULL;
    char *text = NULL;
    tlm_status_t status;
    size_t n;

    options.variables = variables;
    options.now = 1;
    TRY(tlm_chat_template_render(&text, &n, chat, messages, 3, &options));
    TRY(tlm_chat_template_encode(&ids, &mask, &n, chat, tokenizer, messages, 3, &options));
done:
    tlm_free(text);
    tlm_free(ids);
    tlm_free(mask);
    return status;
}

static tlm_status_t chat_file(void)
{
    tlm_chat_template_t *chat = NULL;
    tlm_tokenizer_t *tokenizer = NULL;
    tlm_status_t status;

    TRY(tlm_chat_template_open(&chat, path_of("chat.json")));
    TRY(make_tokenizer(&tokenizer));
    TRY(use(chat, tokenizer, "{\"extra\": {\"list\": [1, 2.5, true, null, \"text\"]}}"));
done:
    tlm_chat_template_free(chat);
    tlm_tokenizer_free(tokenizer);
    return status;
}

static tlm_status_t chat_known(void)
{
    tlm_chat_template_t *llama = NULL, *qwen = NULL;
    tlm_tokenizer_t *tokenizer = NULL;
    tlm_status_t status;
    uint32_t id;

    TRY(tlm_chat_template_create(&llama, "llama2"));
    TRY(make_tokenizer(&tokenizer));
    TRY(use(llama, tokenizer, NULL));
    TRY(tlm_chat_template_end_token(&id, llama, tokenizer));
    TRY(tlm_chat_template_create(&qwen, "qwen3"));
    TRY(use(qwen, tokenizer, NULL));
done:
    tlm_chat_template_free(llama);
    tlm_chat_template_free(qwen);
    tlm_tokenizer_free(tokenizer);
    return status;
}

const scenario_t chat_scenarios[] = {
    {"chat_file", prepare, chat_file, NULL, true}, /* localtime_r keeps the time zone */
    {"chat_known", NULL, chat_known, NULL, false},
    {NULL, NULL, NULL, NULL, false},
};
