/* Writes tokenizer.json for Hugging Face's tokenizers library. The vocabulary and the merges
 * make up nearly the whole file and are written token by token. Special tokens are written as
 * plain text, both in the vocabulary, which keeps their ids, and in added_tokens. All others use
 * the byte alphabet. */
#include "tinylm/tokenizer_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "tokenizer/formats/token_files.h"

typedef struct hf_writer {
    const char *what; /* begins messages */
    const tlm_tokenizer_t *tokenizer;
    tlmi_normal_text_t text;
    tlmi_token_names_t names;
} hf_writer_t;

static tlm_status_t put(hf_writer_t *writer, const char *text)
{
    return tlmi_normal_text_append(&writer->text, text, strlen(text));
}

/* Writes UTF-8 text as a JSON string. */
static tlm_status_t put_string(hf_writer_t *writer, const char *text, size_t size)
{
    tlmi_json_t *string = tlmi_json_new_string(text, size);
    char *json = NULL;
    size_t json_size;
    tlm_status_t status = string == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    if (status == TLM_OK)
        status = tlmi_json_dump(&json, &json_size, string);
    if (status == TLM_OK)
        status = tlmi_normal_text_append(&writer->text, json, json_size);
    tlmi_free(json);
    tlmi_json_free(string);
    return status;
}

/* Writes the name of a token in the byte alphabet, without quotes. The alphabet has only printable
 * characters, so only quotes and backslashes need escaping. */
static tlm_status_t put_spelling(hf_writer_t *writer, uint32_t id)
{
    const char *text, *escaped;
    size_t size;

    TLMI_TRY(tlmi_token_name(&text, &size, &writer->names, id));
    for (; (escaped = strpbrk(text, "\"\\")) != NULL; text = escaped + 1) {
        const char pair[2] = {'\\', *escaped};

        TLMI_TRY(tlmi_normal_text_append(&writer->text, text, (size_t)(escaped - text)));
        TLMI_TRY(tlmi_normal_text_append(&writer->text, pair, 2));
    }
    return put(writer, text);
}

/* ---- Special tokens ---- */

static tlm_status_t put_flag(hf_writer_t *writer, const char *key, bool is_set)
{
    TLMI_TRY(put(writer, ",\""));
    TLMI_TRY(put(writer, key));
    return put(writer, is_set ? "\":true" : "\":false");
}

static tlm_status_t put_flags(hf_writer_t *writer, uint8_t flags)
{
    TLMI_TRY(put_flag(writer, "single_word", (flags & TLMI_TOKEN_SINGLE_WORD) != 0));
    TLMI_TRY(put_flag(writer, "lstrip", (flags & TLMI_TOKEN_LSTRIP) != 0));
    TLMI_TRY(put_flag(writer, "rstrip", (flags & TLMI_TOKEN_RSTRIP) != 0));
    TLMI_TRY(put_flag(writer, "normalized", (flags & TLMI_TOKEN_NORMALIZED) != 0));
    TLMI_TRY(put_flag(writer, "special", (flags & TLMI_TOKEN_ORDINARY) == 0));
    return put(writer, "}");
}

static tlm_status_t put_added_tokens(hf_writer_t *writer)
{
    const tlm_tokenizer_t *tokenizer = writer->tokenizer;
    size_t n = tlmi_special_tokens_count(tokenizer->special);
    char text[32];

    TLMI_TRY(put(writer, "\"added_tokens\":["));
    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token = tlmi_special_tokens_get(tokenizer->special, i);

        snprintf(text, sizeof(text), "%s\n{\"id\":%" PRIu32, i == 0 ? "" : ",",
                 tokenizer->special_ids[i]);
        TLMI_TRY(put(writer, text));
        TLMI_TRY(put(writer, ",\"content\":"));
        TLMI_TRY(put_string(writer, (const char *)token.data, token.size));
        TLMI_TRY(put_flags(writer, tlmi_special_tokens_flags(tokenizer->special, i)));
    }
    return put(writer, "],\n");
}

/* ---- The other parts ---- */

static tlm_status_t put_pre_tokenizer(hf_writer_t *writer)
{
    const char *pattern = tlmi_pretokenizer_pattern(writer->tokenizer->pretokenizer);
    if (pattern == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the tokenizer splits texts in several steps, which cannot be written",
                         writer->what);
    bool is_gpt2 = strcmp(pattern, TLM_PATTERN_GPT2) == 0;
    TLMI_TRY(put(writer, "\"pre_tokenizer\":"));
    if (!is_gpt2) {
        pattern = tlmi_hf_pattern_write(pattern);
        TLMI_TRY(put(writer, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
                             "\"pattern\":{\"Regex\":"));
        TLMI_TRY(put_string(writer, pattern, strlen(pattern)));
        TLMI_TRY(put(writer, "},\"behavior\":\"Isolated\",\"invert\":false},"));
    }
    TLMI_TRY(put(writer, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                         "\"trim_offsets\":false,\"use_regex\":"));
    return put(writer, is_gpt2 ? "true},\n" : "false}]},\n");
}

static tlm_status_t put_vocab(hf_writer_t *writer)
{
    const tlmi_vocabulary_t *vocabulary = &writer->tokenizer->vocabulary;
    const char *separator = "";
    char text[32];

    TLMI_TRY(put(writer, "\"vocab\":{"));
    for (uint32_t id = 0; id < vocabulary->size; id++) {
        tlm_bytes_t token = tlmi_vocabulary_token(vocabulary, id);

        if (token.size == 0)
            continue;
        TLMI_TRY(put(writer, separator));
        separator = ",";
        if (writer->names.is_raw[id]) {
            TLMI_TRY(put_string(writer, (const char *)token.data, token.size));
        } else {
            TLMI_TRY(put(writer, "\""));
            TLMI_TRY(put_spelling(writer, id));
            TLMI_TRY(put(writer, "\""));
        }
        snprintf(text, sizeof(text), ":%" PRIu32, id);
        TLMI_TRY(put(writer, text));
    }
    return put(writer, "},\n");
}

/* Writes merges as "left right", which every version of the tokenizers library reads. */
static tlm_status_t put_merges(hf_writer_t *writer)
{
    const tlmi_merge_table_t *merges = &writer->names.model->merges;
    const char *separator = "\"";

    TLMI_TRY(put(writer, "\"merges\":["));
    for (uint32_t i = 0; i < merges->size; i++) {
        const tlmi_merge_t *merge = &merges->merges[i];

        if (!tlmi_merge_has_names(&writer->names, merge))
            continue;
        TLMI_TRY(put(writer, separator));
        separator = ",\"";
        TLMI_TRY(put_spelling(writer, merge->left));
        TLMI_TRY(put(writer, " "));
        TLMI_TRY(put_spelling(writer, merge->right));
        TLMI_TRY(put(writer, "\""));
    }
    return put(writer, "]");
}

static tlm_status_t put_normalizer(hf_writer_t *writer)
{
    const tlmi_normalizer_t *normalizer = writer->tokenizer->normalizer;

    if (normalizer == NULL)
        return put(writer, "\"normalizer\":null,\n");
    if (normalizer == &tlmi_nfc)
        return put(writer, "\"normalizer\":{\"type\":\"NFC\"},\n");
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the normalizer %s cannot be written", writer->what,
                     normalizer->kind->name);
}

/* Without a file that says otherwise, the components are those of byte-level BPE. */
static tlm_status_t put_components(hf_writer_t *writer)
{
    const tlmi_json_source_t *source = writer->tokenizer->source;

    if (source != NULL)
        return put(writer, source->components);
    if (writer->tokenizer->decoder != NULL || writer->tokenizer->template != NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the tokenizer's %s cannot be written",
                         writer->what, writer->tokenizer->decoder != NULL ? "decoder" : "template");
    TLMI_TRY(put(writer, "\"truncation\":null,\"padding\":null,\n"));
    TLMI_TRY(put_normalizer(writer));
    TLMI_TRY(put_pre_tokenizer(writer));
    return put(writer, "\"post_processor\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                       "\"trim_offsets\":false,\"use_regex\":true},\n"
                       "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                       "\"trim_offsets\":false,\"use_regex\":true},\n");
}

static tlm_status_t put_model_options(hf_writer_t *writer)
{
    const tlmi_json_source_t *source = writer->tokenizer->source;

    if (source != NULL)
        return put(writer, source->model_options);
    TLMI_TRY(put(writer, "\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                         "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                         "\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":"));
    return put(writer, writer->names.model->ignores_merges ? "true,\n" : "false,\n");
}

static tlm_status_t put_all(hf_writer_t *writer)
{
    TLMI_TRY(put(writer, "{\"version\":\"1.0\",\n"));
    TLMI_TRY(put_added_tokens(writer));
    TLMI_TRY(put_components(writer));
    TLMI_TRY(put(writer, "\"model\":{"));
    TLMI_TRY(put_model_options(writer));
    TLMI_TRY(put_vocab(writer));
    TLMI_TRY(put_merges(writer));
    return put(writer, "}}\n");
}

tlm_status_t tlmi_tokenizer_write_json(char **out, size_t *size, const tlm_tokenizer_t *tokenizer,
                                       const char *what)
{
    hf_writer_t writer = {.what = what, .tokenizer = tokenizer};
    tlm_status_t status;

    TLMI_TRY_OR(done, tlmi_token_names_init(&writer.names, tokenizer, what));
    TLMI_TRY_OR(done, put_all(&writer));
    *out = (char *)writer.text.bytes;
    *size = writer.text.size;
    writer.text = (tlmi_normal_text_t){0};
done:
    tlmi_normal_text_release(&writer.text);
    tlmi_token_names_release(&writer.names);
    return status;
}

tlm_status_t tlm_tokenizer_save_json(const tlm_tokenizer_t *tokenizer, const char *path)
{
    tlmi_writer_t *file = NULL;
    char *text = NULL;
    size_t size;
    tlm_status_t status;

    TLMI_REQUIRE("tokenizer_save_json", tokenizer);
    TLMI_REQUIRE("tokenizer_save_json", path);
    TLMI_TRY_OR(done, tlmi_tokenizer_write_json(&text, &size, tokenizer, "tokenizer_save_json"));
    TLMI_TRY_OR(done, tlmi_writer_open(&file, path));
    status = tlmi_writer_write(file, text, size);
    if (status == TLM_OK)
        status = tlmi_writer_commit(file);
    else
        tlmi_writer_abort(file);
done:
    tlmi_free(text);
    return status;
}
