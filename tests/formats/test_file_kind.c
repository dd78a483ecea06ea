/* Kinds of files by their first bytes, and what each loader says of each kind. */
#include "base_support.h"

#include "formats/file_kind.h"

static const struct {
    const char *bytes;
    size_t size;
    tlmi_file_kind_t kind;
} samples[] = {
#define SAMPLE(literal, kind)                                                                      \
    {                                                                                              \
        literal, sizeof(literal) - 1, kind                                                         \
    }
    SAMPLE("", TLMI_FILE_EMPTY),
    SAMPLE("\x40\0\0\0\0\0\0\0{\"a\":{}}", TLMI_FILE_SAFETENSORS),
    SAMPLE("GGUF\3\0\0\0", TLMI_FILE_GGUF),
    SAMPLE("\x93NUMPY\1\0", TLMI_FILE_NPY),
    SAMPLE("PK\3\4\0\0", TLMI_FILE_ZIP),
    SAMPLE("\x80\2}q\0.", TLMI_FILE_PICKLE),
    SAMPLE("\x89HDF\r\n\x1a\n", TLMI_FILE_HDF5),
    SAMPLE("\n\x0e\n\5<unk>\x15\0\0\0\0\x18\2", TLMI_FILE_SENTENCEPIECE),
    SAMPLE("tjgg\1\0\0\0", TLMI_FILE_GGML),
    SAMPLE("\x1f\x8b\x08\0", TLMI_FILE_GZIP),
    SAMPLE("\xfd"
           "7zXZ\0",
           TLMI_FILE_XZ),
    SAMPLE("\x28\xb5\x2f\xfd\0", TLMI_FILE_ZSTD),
    SAMPLE("BZh91AY", TLMI_FILE_BZIP2),
    SAMPLE("\x7f"
           "ELF\2\1\1\0",
           TLMI_FILE_ELF),
    SAMPLE("version https://git-lfs.github.com/spec/v1\noid sha256:", TLMI_FILE_LFS_POINTER),
    SAMPLE("<!DOCTYPE html>\n<html>", TLMI_FILE_HTML),
    SAMPLE(" \n{\"a\": 1}", TLMI_FILE_JSON),
    SAMPLE("[]", TLMI_FILE_JSON),
    SAMPLE("[ -1]", TLMI_FILE_JSON),
    SAMPLE("[null, true]", TLMI_FILE_JSON),
    SAMPLE("[PAD]\n[UNK]\n", TLMI_FILE_TEXT),
    SAMPLE("IQ== 0\nIg== 1\n", TLMI_FILE_RANKS),
    SAMPLE("#version: 0.2\nh e\n", TLMI_FILE_MERGES),
    SAMPLE("Once upon a time, caf\xc3\xa9.\n", TLMI_FILE_TEXT),
    SAMPLE("IQ==\n", TLMI_FILE_TEXT),
    SAMPLE("\1\2\3\4", TLMI_FILE_BINARY),
#undef SAMPLE
};

START_TEST(kinds_are_told_by_contents)
{
    for (size_t i = 0; i < COUNT(samples); i++) {
        tlmi_file_kind_t kind = tlmi_file_kind(samples[i].bytes, samples[i].size);
        tlmi_file_kind_t found = TLMI_FILE_BINARY;

        ck_assert_msg(kind == samples[i].kind, "%zu: %s", i, tlmi_file_kind_name(kind));
        write_bytes(test_path("sample"), samples[i].bytes, samples[i].size);
        ASSERT_OK(tlmi_file_kind_at(&found, test_path("sample")));
        ck_assert_int_eq(found, kind);
    }
    for (int kind = 0; kind <= TLMI_FILE_BINARY; kind++)
        ck_assert_ptr_nonnull(tlmi_file_kind_name((tlmi_file_kind_t)kind));
}
END_TEST

/* No length and no prefix makes it read beyond what it is given. */
START_TEST(prefixes_are_told_too)
{
    for (size_t i = 0; i < COUNT(samples); i++)
        for (size_t size = 0; size < samples[i].size; size++) {
            char *copy = malloc(size > 0 ? size : 1);

            memcpy(copy, samples[i].bytes, size);
            ck_assert_ptr_nonnull(tlmi_file_looks_like(copy, size));
            free(copy);
        }
}
END_TEST

static tlm_status_t load(int loader, const char *path)
{
    tlm_tokenizer_t *tokenizer = NULL;
    tlm_dataset_t *dataset = NULL;
    tlm_model_t *model = NULL;

    return loader == 0   ? tlm_model_load(&model, path)
           : loader == 1 ? tlm_model_open(&model, NULL, NULL, path)
           : loader == 2 ? tlm_tokenizer_load_json(&tokenizer, path, NULL)
           : loader == 3 ? tlm_tokenizer_load_tiktoken(&tokenizer, path, NULL)
           : loader == 4 ? tlm_tokenizer_load(&tokenizer, path, path, NULL)
           : loader == 5 ? tlm_tokenizer_open(&tokenizer, path, NULL)
                         : tlm_dataset_open(&dataset, path, TLM_TOKENS_AUTO, 0);
}

/* A file of the wrong kind is named in the message, unless it is damaged and of the right one. */
START_TEST(loaders_say_what_they_were_given)
{
    static const struct {
        int loader;
        tlmi_file_kind_t right[5];
    } loaders[] = {
        {0, {TLMI_FILE_SAFETENSORS}},
        {1, {TLMI_FILE_SAFETENSORS, TLMI_FILE_GGUF}},
        {2, {TLMI_FILE_JSON, TLMI_FILE_TEXT}},
        {3, {TLMI_FILE_RANKS, TLMI_FILE_TEXT, TLMI_FILE_MERGES}},
        {4, {TLMI_FILE_JSON, TLMI_FILE_TEXT}},
        {5,
         {TLMI_FILE_JSON, TLMI_FILE_RANKS, TLMI_FILE_TEXT, TLMI_FILE_GGUF,
          TLMI_FILE_SENTENCEPIECE}},
        {6, {TLMI_FILE_NPY}},
    };

    for (size_t i = 0; i < COUNT(samples); i++)
        for (size_t k = 0; k < COUNT(loaders); k++) {
            const char *path = test_path("given.npy");
            tlmi_file_kind_t kind = samples[i].kind;
            bool right = false;

            for (size_t n = 0; n < 5; n++)
                right = right || kind == loaders[k].right[n];
            /* One without lines has no tokens, and a wrong first line may look like a rank's. */
            if (right || kind == TLMI_FILE_EMPTY || kind == TLMI_FILE_RANKS ||
                kind == TLMI_FILE_MERGES)
                continue;
            write_bytes(path, samples[i].bytes, samples[i].size);
            ck_assert_int_eq(load(loaders[k].loader, path), TLM_ERR_FORMAT);
            ck_assert_msg(strstr(tlm_error_message(), tlmi_file_kind_name(kind)) != NULL,
                          "loader %d, %s: %s", loaders[k].loader, tlmi_file_kind_name(kind),
                          tlm_error_message());
        }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        kinds_are_told_by_contents,
        prefixes_are_told_too,
        loaders_say_what_they_were_given,
    };
    return run_tests("file kind", tests, COUNT(tests));
}
