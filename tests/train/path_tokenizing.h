/* For test_paths.c: the calls that encode what is at a path, or write token files to one, by its tokenizer. */
#ifndef TEST_PATH_TOKENIZING_H
#define TEST_PATH_TOKENIZING_H

static tlm_status_t tokenize_texts(const char *path)
{
    return tlm_tokenizer_encode_files(NULL, tokenizer, &path, 1, test_path("ids.u16"), NULL);
}

static tlm_status_t tokenize_text(const char *path)
{
    return tlm_tokenizer_encode_file(NULL, tokenizer, path, test_path("ids.u16"), TLM_TOKENS_AUTO,
                                     NULL, NULL);
}

static tlm_status_t tokenize_to(const char *path)
{
    return tlm_tokenizer_encode_file_part(NULL, tokenizer, test_path("text"), path,
                                          TLM_TOKENS_UINT16, 0, 1, NULL, NULL);
}

static tlm_status_t tokenize_files_to(const char *path)
{
    tlm_encode_files_options_t options = TLM_ENCODE_FILES_OPTIONS_INIT;
    const char *const text = test_path("text");

    options.token_type = TLM_TOKENS_UINT16;
    return tlm_tokenizer_encode_files(NULL, tokenizer, &text, 1, path, &options);
}

#endif
