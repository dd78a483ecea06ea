/* Tokenizers that are found by their content: making them, encoding, decoding. */
#include "oom_scenarios.h"
#include "vocabulary_support.h"

static file_bytes_t file;

static void write_file(void)
{
    FILE *out = fopen(path_of("vocabulary"), "wb");

    if (out == NULL || fwrite(file.data, 1, file.size, out) != file.size || fclose(out) != 0)
        exit(1);
}

static void make_unigram(void)
{
    make_sentencepiece(&file, 1, 0);
    write_file();
}

static void make_bpe(void)
{
    make_sentencepiece(&file, 2, 1);
    write_file();
}

static void make_tekken_file(void)
{
    make_tekken(&file);
    write_file();
}

static void make_vocab_txt(void)
{
    static const char text[] = "[UNK]\n[CLS]\n[SEP]\na\n##b\n";

    file.size = 0;
    add_bytes(&file, text, sizeof(text) - 1);
    write_file();
}

static void make_gguf(const char *model, const char *pre)
{
    static const char *const tokens[] = {"a", "b", "ab", "<end>"};
    static const int32_t types[] = {1, 1, 1, 3};
    static const char *const merges[] = {"a b"};

    begin_gguf(&file, 5);
    add_gguf_string(&file, "tokenizer.ggml.model", model);
    add_gguf_string(&file, "tokenizer.ggml.pre", pre);
    add_gguf_strings(&file, "tokenizer.ggml.tokens", tokens, 4);
    add_gguf_numbers(&file, "tokenizer.ggml.token_type", GGUF_INT32, types, 4);
    add_gguf_strings(&file, "tokenizer.ggml.merges", merges, 1);
    write_file();
}

static void make_gguf_bpe(void)
{
    make_gguf("gpt2", "falcon");
}

static void make_gguf_characters(void)
{
    make_gguf("gemma4", "");
}

static void make_gguf_wordpiece(void)
{
    static const char *const tokens[] = {"[UNK]", "[CLS]", "[SEP]",
                                         "\xE2\x96\x81"
                                         "a"};

    begin_gguf(&file, 3);
    add_gguf_string(&file, "tokenizer.ggml.model", "bert");
    add_gguf_strings(&file, "tokenizer.ggml.tokens", tokens, 4);
    add_string(&file, "tokenizer.ggml.unknown_token_id");
    add_u32(&file, GGUF_INT32);
    add_u32(&file, 0);
    write_file();
}

static tlm_status_t open_and_use(void)
{
    static const tlm_bytes_t special = {(const uint8_t *)"<new>", 5};
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = NULL;
    uint32_t *ids = NULL;
    char *text = NULL;
    tlm_status_t status;
    size_t n, size;

    options.special_tokens = &special;
    options.num_special_tokens = file.data[0] != '{'; /* Tekken has its own */
    TRY(tlm_tokenizer_open(&tokenizer, path_of("vocabulary"), &options));
    TRY(tlm_tokenizer_encode(&ids, &n, tokenizer, "ab ab", 5));
    TRY(tlm_tokenizer_decode_text(&text, &size, tokenizer, ids, n));
done:
    tlm_free(ids);
    tlm_free(text);
    tlm_tokenizer_free(tokenizer);
    return status;
}

const scenario_t vocabulary_scenarios[] = {
    {"sentencepiece_unigram", make_unigram, open_and_use, NULL, false},
    {"sentencepiece_bpe", make_bpe, open_and_use, NULL, false},
    {"tekken", make_tekken_file, open_and_use, NULL, true},
    {"vocab_txt", make_vocab_txt, open_and_use, NULL, false},
    {"gguf_bpe", make_gguf_bpe, open_and_use, NULL, true},
    {"gguf_characters", make_gguf_characters, open_and_use, NULL, true},
    {"gguf_wordpiece", make_gguf_wordpiece, open_and_use, NULL, false},
    {NULL, NULL, NULL, NULL, false},
};
