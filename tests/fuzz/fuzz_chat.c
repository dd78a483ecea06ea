/* A chat template, a NUL byte, and a conversation: for each message a letter of its role and its text,
 * separated by NUL bytes. What renders does so again, and its ids decode to the same text; no message
 * makes a special token. */
#include "fuzz_support.h"

#define MOST_MESSAGES 8

enum { NUM_SPECIAL = 4, NUM_BYTES = 256 };

static tlm_tokenizer_t *make_tokenizer(void)
{
    static const char *const names[NUM_SPECIAL] = {"<|im_start|>", "<|im_end|>", "<s>", "</s>"};
    static uint8_t bytes[NUM_BYTES];
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_bytes_t vocab[NUM_BYTES], special[NUM_SPECIAL];
    tlm_tokenizer_t *out;

    for (size_t i = 0; i < NUM_BYTES; i++) {
        bytes[i] = (uint8_t)i;
        vocab[i] = (tlm_bytes_t){&bytes[i], 1};
    }
    for (size_t i = 0; i < NUM_SPECIAL; i++)
        special[i] = (tlm_bytes_t){(const uint8_t *)names[i], strlen(names[i])};
    options.special_tokens = special;
    options.num_special_tokens = NUM_SPECIAL;
    FUZZ_OK(tlm_tokenizer_create(&out, vocab, NUM_BYTES, NULL, 0, &options));
    return out;
}

/* The bytes up to the next NUL, which is passed over. */
static tlm_bytes_t take_line(fuzz_input_t *input)
{
    const uint8_t *end = input->size > 0 ? memchr(input->data, '\0', input->size) : NULL;
    tlm_bytes_t out =
        fuzz_take_bytes(input, end != NULL ? (size_t)(end - input->data) : input->size);

    (void)fuzz_take(input, 256);
    return out;
}

static size_t take_messages(tlm_chat_message_t messages[MOST_MESSAGES],
                            tlm_bytes_t texts[MOST_MESSAGES], fuzz_input_t *input)
{
    static const char *const roles[] = {"user", "assistant", "system", "tool"};
    size_t n = 0;

    for (; n < MOST_MESSAGES && input->size > 0; n++) {
        const char *role = roles[fuzz_take(input, 4)];

        texts[n] = take_line(input);
        messages[n] = (tlm_chat_message_t){role, (const char *)texts[n].data, texts[n].size};
    }
    return n;
}

static void check_ids(const tlm_chat_template_t *chat, const tlm_tokenizer_t *tokenizer,
                      const tlm_chat_message_t *messages, size_t n,
                      const tlm_chat_options_t *options, const char *text, size_t size)
{
    uint32_t *ids = NULL;
    uint8_t *mask = NULL, *bytes;
    size_t num_ids, decoded;

    FUZZ_OK(tlm_chat_template_encode(&ids, &mask, &num_ids, chat, tokenizer, messages, n, options));
    FUZZ_OK(tlm_tokenizer_decode(&bytes, &decoded, tokenizer, ids, num_ids));
    FUZZ_CHECK(fuzz_same(bytes, decoded, text, size));
    for (size_t i = 0; i < num_ids; i++)
        FUZZ_CHECK(mask[i] <= 1);
    tlm_free(bytes);
    tlm_free(ids);
    tlm_free(mask);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tlm_tokenizer_t *tokenizer;
    fuzz_input_t input = {data, size};
    tlm_chat_options_t options = TLM_CHAT_OPTIONS_INIT;
    tlm_chat_message_t messages[MOST_MESSAGES];
    tlm_bytes_t texts[MOST_MESSAGES], source = take_line(&input);
    tlm_chat_template_t *chat = NULL;
    size_t n = take_messages(messages, texts, &input), text_size, again_size;
    char *text, *again;

    if (tokenizer == NULL)
        tokenizer = make_tokenizer();
    options.add_generation_prompt = true;
    options.variables = "{\"flag\": true, \"list\": [1, \"two\"]}";
    options.now = 1000000000;
    if (tlm_chat_template_parse(&chat, (const char *)source.data, source.size, "<s>", "</s>") !=
        TLM_OK) {
        FUZZ_CHECK(chat == NULL && strncmp(tlm_error_message(), "chat template", 13) == 0);
    } else if (tlm_chat_template_render(&text, &text_size, chat, messages, n, &options) == TLM_OK) {
        FUZZ_OK(tlm_chat_template_render(&again, &again_size, chat, messages, n, &options));
        FUZZ_CHECK(fuzz_same(text, text_size, again, again_size));
        check_ids(chat, tokenizer, messages, n, &options, text, text_size);
        tlm_free(text);
        tlm_free(again);
    } else {
        FUZZ_CHECK(strncmp(tlm_error_message(), "chat template", 13) == 0);
    }
    tlm_chat_template_free(chat);
    for (size_t i = 0; i < n; i++)
        fuzz_free(texts[i]);
    fuzz_free(source);
    return 0;
}
