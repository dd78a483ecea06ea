/* Files of the tokenizers library with as many components as fit, read, used and written again. */
#include <string.h>

#include "oom_scenarios.h"

/* clang-format off */
#define STRING(...) #__VA_ARGS__

/* WordPiece, with what BERT has around it. */
static const char word_piece[] =
    STRING({"truncation":{"direction":"Left","max_length":6,"strategy":"LongestFirst","stride":0},
    "padding":{"strategy":{"Fixed":8},"direction":"Right","pad_to_multiple_of":null,"pad_id":0},
    "added_tokens":[{"id":1,"content":"[CLS]","special":true},{"id":2,"content":"[SEP]","special":true},
     {"id":9,"content":"[MASK]","lstrip":true,"normalized":true,"special":true}],
    "normalizer":{"type":"Sequence","normalizers":[{"type":"BertNormalizer","clean_text":true,
     "handle_chinese_chars":true,"strip_accents":null,"lowercase":true},{"type":"Strip","strip_left":true,
     "strip_right":true},{"type":"Replace","pattern":{"Regex":"x+"},"content":"y"}]},
    "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"BertPreTokenizer"},
     {"type":"UnicodeScripts"}]},
    "post_processor":{"type":"BertProcessing","cls":["[CLS]",1],"sep":["[SEP]",2]},
    "decoder":{"type":"WordPiece","prefix":"##","cleanup":true},
    "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
     "max_input_chars_per_word":100,"vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2,"a":3,"##b":4,"c":5,"##d":6,"e":7,
     ",":8}}});

/* BPE of characters, as Llama 2 has it. */
static const char characters[] =
    STRING({"added_tokens":[{"id":0,"content":"<s>","special":true},{"id":9,"content":"<x>","rstrip":true,
     "single_word":true}],
    "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"\u2581"},{"type":"Replace",
     "pattern":{"String":" "},"content":"\u2581"}]},
    "pre_tokenizer":null,
    "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
     {"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[0],
     "tokens":["<s>"]}}},
    "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"\u2581"},"content":" "},
     {"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},
    "model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<s>":0,"<unk>":1,
     "\u2581":2,"a":3,"b":4,"\u2581a":5,"ab":6,"\u2581ab":7,"<0x21>":8},
     "merges":["\u2581 a","a b",["\u2581a","b"]]}});

/* Unigram, with a step of its own. */
static const char unigram[] =
    STRING({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"first","split":true},
    "decoder":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"first","split":true},
    "normalizer":{"type":"NFKC"},
    "model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["\u2581",-2],["a",-3],["b",-3.5],["\u2581ab",-4]]}});

/* BPE of bytes that lacks most bytes, in several steps, one of them after the change of alphabet. */
static const char bytes[] =
    STRING({"added_tokens":[{"id":8,"content":"\u00e9"}],
    "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[a-c]+|\\d"},
     "behavior":"MergedWithNext","invert":false},{"type":"Split","pattern":{"String":","},
     "behavior":"Removed","invert":false},{"type":"ByteLevel","add_prefix_space":true,"use_regex":true},
     {"type":"Digits","individual_digits":true}]},
    "decoder":{"type":"ByteLevel"},
    "model":{"type":"BPE","unk_token":"?","vocab":{"a":0,"b":1,"c":2,"ab":3,"\u0120":4,"\u0120a":5,"1":6,"?":7},
     "merges":["a b","\u0120 a"]}});

/* clang-format on */
static const char *const files[] = {word_piece, characters, unigram, bytes};

static void write_files(void)
{
    char name[16];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(name, sizeof(name), "json%zu", i);
        FILE *file = fopen(path_of(name), "wb");
        if (file == NULL || fwrite(files[i], 1, strlen(files[i]), file) != strlen(files[i]) ||
            fclose(file) != 0)
            exit(1);
    }
    FILE *file = fopen(path_of("special_tokens_map.json"), "wb");
    if (file == NULL || fputs("{\"pad_token\":\"<pad>\"}", file) < 0 || fclose(file) != 0)
        exit(1);
}

static tlm_status_t use(const char *path)
{
    static const char text[] = "ab c, [MASK] 12 <x> \xC3\xA9! xx";
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = NULL;
    uint32_t *ids = NULL;
    char *decoded = NULL;
    size_t n, size;
    tlm_status_t status;

    options.add_special_tokens = true;
    TRY(tlm_tokenizer_open(&tokenizer, path, NULL));
    TRY(tlm_tokenizer_encode_with(&ids, &n, tokenizer, text, sizeof(text) - 1, &options));
    TRY(tlm_tokenizer_decode_text(&decoded, &size, tokenizer, ids, n));
    status = tlm_tokenizer_save_json(tokenizer, path_of("saved"));
    if (status == TLM_ERR_UNSUPPORTED)
        status = TLM_OK; /* only BPE of all bytes is written */
done:
    tlm_free(ids);
    tlm_free(decoded);
    tlm_tokenizer_free(tokenizer);
    return status;
}

static tlm_status_t use_all(void)
{
    char name[16];
    tlm_status_t status = TLM_OK;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && status == TLM_OK; i++) {
        snprintf(name, sizeof(name), "json%zu", i);
        status = use(path_of(name));
    }
    return status;
}

/* Oniguruma keeps tables that the first pattern makes. */
static void prepare(void)
{
    write_files();
    MUST(use_all());
}

static void remove_companion(void)
{
    remove(path_of("special_tokens_map.json"));
}

const scenario_t tokenizer_json_scenarios[] = {
    {"components", prepare, use_all, remove_companion, false},
    {0},
};
