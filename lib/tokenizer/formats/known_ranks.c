/* Published rank files: a file is recognized by its hash, which tells what the file itself does
 * not: the pattern and the special tokens. The hash is SHA-256 of the lines in the order of ranks,
 * which is that of the published file. docs/tokenizer.md says how each was checked. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "tinylm/tokenizer.h"
#include "tokenizer/formats/token_files.h"

/* ---- Lines ---- */

tlm_status_t tlmi_rank_line_write(tlmi_rank_writer_fn write, void *context, tlm_bytes_t token,
                                  uint32_t rank)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char line[88];
    size_t used = 0;

    for (size_t i = 0; i < token.size; i += 3) {
        size_t n = token.size - i < 3 ? token.size - i : 3;
        uint32_t group = (uint32_t)token.data[i] << 16;

        if (n > 1)
            group |= (uint32_t)token.data[i + 1] << 8;
        if (n > 2)
            group |= token.data[i + 2];
        line[used++] = digits[group >> 18];
        line[used++] = digits[group >> 12 & 63];
        line[used++] = n > 1 ? digits[group >> 6 & 63] : '=';
        line[used++] = n > 2 ? digits[group & 63] : '=';
        if (used == 64) {
            TLMI_TRY(write(context, line, used));
            used = 0;
        }
    }
    used += (size_t)snprintf(line + used, sizeof(line) - used, " %" PRIu32 "\n", rank);
    return write(context, line, used);
}

/* ---- Special tokens ---- */

/* Consecutive ids from `id`. The names are `name` alone, or with numbers from `number` and "|>". */
typedef struct special_run {
    uint32_t id;
    uint32_t count;
    const char *name;
    int64_t number; /* -1: `name` is whole, and `count` is 1 */
} special_run_t;

#define ONE(id, name)                                                                              \
    {                                                                                              \
        id, 1, name, -1                                                                            \
    }
#define RUN(id, count, name, first)                                                                \
    {                                                                                              \
        id, count, name, first                                                                     \
    }
#define END                                                                                        \
    {                                                                                              \
        0, 0, NULL, 0                                                                              \
    }

static const special_run_t gpt2[] = {ONE(50256, "<|endoftext|>"), END};

static const special_run_t cl100k[] = {
    ONE(100257, "<|endoftext|>"),  ONE(100258, "<|fim_prefix|>"),  ONE(100259, "<|fim_middle|>"),
    ONE(100260, "<|fim_suffix|>"), ONE(100276, "<|endofprompt|>"), END};

static const special_run_t o200k[] = {ONE(199999, "<|endoftext|>"), ONE(200018, "<|endofprompt|>"),
                                      END};

static const special_run_t llama3[] = {ONE(128000, "<|begin_of_text|>"),
                                       ONE(128001, "<|end_of_text|>"),
                                       RUN(128002, 2, "<|reserved_special_token_", 0),
                                       ONE(128004, "<|finetune_right_pad_id|>"),
                                       ONE(128005, "<|step_id|>"),
                                       ONE(128006, "<|start_header_id|>"),
                                       ONE(128007, "<|end_header_id|>"),
                                       ONE(128008, "<|eom_id|>"),
                                       ONE(128009, "<|eot_id|>"),
                                       ONE(128010, "<|python_tag|>"),
                                       ONE(128011, "<|image|>"),
                                       RUN(128012, 244, "<|reserved_special_token_", 2),
                                       END};

static const special_run_t llama4[] = {
    ONE(200000, "<|begin_of_text|>"),
    ONE(200001, "<|end_of_text|>"),
    ONE(200002, "<|fim_prefix|>"),
    ONE(200003, "<|fim_middle|>"),
    ONE(200004, "<|fim_suffix|>"),
    ONE(200005, "<|header_start|>"),
    ONE(200006, "<|header_end|>"),
    ONE(200007, "<|eom|>"),
    ONE(200008, "<|eot|>"),
    ONE(200009, "<|step|>"),
    RUN(200010, 6, "<|text_post_train_reserved_special_token_", 0),
    ONE(200016, "<|python_start|>"),
    ONE(200017, "<|python_end|>"),
    ONE(200018, "<|finetune_right_pad|>"),
    RUN(200019, 61, "<|text_post_train_reserved_special_token_", 8),
    ONE(200080, "<|image_start|>"),
    ONE(200081, "<|image_end|>"),
    RUN(200082, 2, "<|vision_reserved_special_token_", 0),
    ONE(200084, "<|tile_x_separator|>"),
    ONE(200085, "<|tile_y_separator|>"),
    RUN(200086, 4, "<|vision_reserved_special_token_", 2),
    ONE(200090, "<|image|>"),
    RUN(200091, 1, "<|vision_reserved_special_token_", 6),
    ONE(200092, "<|patch|>"),
    RUN(200093, 1041, "<|vision_reserved_special_token_", 7),
    RUN(201134, 8, "<|reasoning_reserved_special_token_", 0),
    ONE(201142, "<|reasoning_thinking_start|>"),
    ONE(201143, "<|reasoning_thinking_end|>"),
    RUN(201144, 904, "<|reserved_special_token_", 0),
    END};

static const special_run_t qwen[] = {ONE(151643, "<|endoftext|>"), ONE(151644, "<|im_start|>"),
                                     ONE(151645, "<|im_end|>"), RUN(151646, 205, "<|extra_", 0),
                                     END};

static const special_run_t qwen35[] = {ONE(248044, "<|endoftext|>"),
                                       ONE(248045, "<|im_start|>"),
                                       ONE(248046, "<|im_end|>"),
                                       ONE(248047, "<|object_ref_start|>"),
                                       ONE(248048, "<|object_ref_end|>"),
                                       ONE(248049, "<|box_start|>"),
                                       ONE(248050, "<|box_end|>"),
                                       ONE(248051, "<|quad_start|>"),
                                       ONE(248052, "<|quad_end|>"),
                                       ONE(248053, "<|vision_start|>"),
                                       ONE(248054, "<|vision_end|>"),
                                       ONE(248055, "<|vision_pad|>"),
                                       ONE(248056, "<|image_pad|>"),
                                       ONE(248057, "<|video_pad|>"),
                                       ONE(248058, "<tool_call>"),
                                       ONE(248059, "</tool_call>"),
                                       ONE(248060, "<|fim_prefix|>"),
                                       ONE(248061, "<|fim_middle|>"),
                                       ONE(248062, "<|fim_suffix|>"),
                                       ONE(248063, "<|fim_pad|>"),
                                       ONE(248064, "<|repo_name|>"),
                                       ONE(248065, "<|file_sep|>"),
                                       ONE(248066, "<tool_response>"),
                                       ONE(248067, "</tool_response>"),
                                       ONE(248068, "<think>"),
                                       ONE(248069, "</think>"),
                                       ONE(248070, "<|audio_start|>"),
                                       ONE(248071, "<|audio_end|>"),
                                       ONE(248072, "<tts_pad>"),
                                       ONE(248073, "<tts_text_bos>"),
                                       ONE(248074, "<tts_text_eod>"),
                                       ONE(248075, "<tts_text_bos_single>"),
                                       ONE(248076, "<|audio_pad|>"),
                                       END};

static const special_run_t kimi[] = {ONE(163584, "[BOS]"),
                                     ONE(163585, "[EOS]"),
                                     ONE(163586, "<|im_end|>"),
                                     ONE(163587, "<|im_user|>"),
                                     ONE(163588, "<|im_assistant|>"),
                                     RUN(163589, 1, "<|reserved_token_", 163589),
                                     ONE(163590, "<|start_header_id|>"),
                                     ONE(163591, "<|end_header_id|>"),
                                     RUN(163592, 1, "<|reserved_token_", 163592),
                                     ONE(163593, "[EOT]"),
                                     ONE(163594, "<|im_system|>"),
                                     ONE(163595, "<|tool_calls_section_begin|>"),
                                     ONE(163596, "<|tool_calls_section_end|>"),
                                     ONE(163597, "<|tool_call_begin|>"),
                                     ONE(163598, "<|tool_call_argument_begin|>"),
                                     ONE(163599, "<|tool_call_end|>"),
                                     RUN(163600, 1, "<|reserved_token_", 163600),
                                     ONE(163601, "<|im_middle|>"),
                                     RUN(163602, 236, "<|reserved_token_", 163602),
                                     ONE(163838, "[UNK]"),
                                     ONE(163839, "[PAD]"),
                                     END};

/* ---- Vocabularies ---- */

struct tlmi_known_ranks {
    size_t tokens, size; /* of the file, which are compared before the hash */
    const char *sha256;
    const char *pattern;
    bool nfc;
    const special_run_t *special;
};

static const tlmi_known_ranks_t vocabularies[] = {
    /* r50k_base, p50k_base */
    {50256, 835554, "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
     TLM_PATTERN_GPT2, false, gpt2},
    {50280, 836186, "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
     TLM_PATTERN_GPT2, false, gpt2},
    {100256, 1681126, "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
     TLM_PATTERN_CL100K, false, cl100k},
    {199998, 3613922, "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
     TLM_PATTERN_O200K, false, o200k},
    {128000, 2183982, "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55",
     TLM_PATTERN_LLAMA3, false, llama3},
    {200000, 3622230, "d0bdbaf59b0762c8c807617e2d8ea51420eb1b1de266df2495be755c8e0ed6ed",
     TLM_PATTERN_O200K, false, llama4},
    {151643, 2561218, "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
     TLM_PATTERN_QWEN2, true, qwen},
    {248044, 4579414, "8dde380a6405e935f5de16a99eb61c824f3f814dd1ed298784c72babb7a03cdd",
     TLM_PATTERN_QWEN35, true, qwen35},
    {163584, 2795286, "b6c497a7469b33ced9c38afb1ad6e47f03f5e5dc05f15930799210ec050c5103",
     TLM_PATTERN_KIMI, false, kimi},
};

enum { NUM_VOCABULARIES = sizeof(vocabularies) / sizeof(vocabularies[0]) };

const tlmi_known_ranks_t *tlmi_known_ranks_get(size_t index)
{
    return index < NUM_VOCABULARIES ? &vocabularies[index] : NULL;
}

static tlm_status_t add_size(void *context, const void *bytes, size_t size)
{
    (void)bytes;
    *(size_t *)context += size;
    return TLM_OK;
}

static tlm_status_t add_to_hash(void *context, const void *bytes, size_t size)
{
    tlmi_sha256_update(context, bytes, size);
    return TLM_OK;
}

/* Writes all lines. The writers never fail. */
static void write_lines(const tlmi_token_list_t *list, tlmi_rank_writer_fn write, void *context)
{
    for (size_t id = 0; id < list->n; id++)
        if (list->items[id].size > 0)
            (void)tlmi_rank_line_write(write, context, list->items[id], (uint32_t)id);
}

static void find_hash(char hex[2 * TLMI_SHA256_SIZE + 1], const tlmi_token_list_t *list)
{
    tlmi_sha256_t hash;
    uint8_t digest[TLMI_SHA256_SIZE];

    tlmi_sha256_init(&hash);
    write_lines(list, add_to_hash, &hash);
    tlmi_sha256_final(digest, &hash);
    for (int i = 0; i < TLMI_SHA256_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

const tlmi_known_ranks_t *tlmi_known_ranks_find(const tlmi_token_list_t *list)
{
    char hex[2 * TLMI_SHA256_SIZE + 1];
    size_t tokens = 0, size = 0;

    for (size_t id = 0; id < list->n; id++)
        tokens += list->items[id].size > 0;
    for (size_t i = 0; i < NUM_VOCABULARIES; i++) {
        const tlmi_known_ranks_t *known = &vocabularies[i];

        if (known->tokens != tokens)
            continue;
        if (size == 0)
            write_lines(list, add_size, &size);
        if (known->size != size)
            continue;
        find_hash(hex, list);
        if (strcmp(known->sha256, hex) == 0)
            return known;
    }
    return NULL;
}

/* ---- Options ---- */

#define MAX_NAME 64

static tlm_status_t add_special(tlmi_known_special_t *out, const special_run_t *runs)
{
    size_t n = 0;

    for (const special_run_t *run = runs; run->name != NULL; run++)
        n += run->count;
    out->tokens = tlmi_alloc(n, sizeof(*out->tokens), "special tokens");
    out->ids = tlmi_alloc(n, sizeof(*out->ids), "special tokens");
    out->names = tlmi_alloc(n, MAX_NAME, "special tokens");
    if (out->tokens == NULL || out->ids == NULL || out->names == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (const special_run_t *run = runs; run->name != NULL; run++) {
        for (uint32_t k = 0; k < run->count; k++) {
            char *name = out->names + MAX_NAME * out->n;

            if (run->number < 0)
                snprintf(name, MAX_NAME, "%s", run->name);
            else
                snprintf(name, MAX_NAME, "%s%" PRId64 "|>", run->name, run->number + k);
            out->tokens[out->n] = (tlm_bytes_t){(const uint8_t *)name, strlen(name)};
            out->ids[out->n++] = run->id + k;
        }
    }
    return TLM_OK;
}

tlm_status_t tlmi_known_ranks_apply(tlm_tokenizer_options_t *options, tlmi_known_special_t *special,
                                    const tlmi_known_ranks_t *known)
{
    options->pattern = known->pattern;
    options->nfc |= known->nfc;
    if (options->num_special_tokens > 0)
        return TLM_OK;
    TLMI_TRY(add_special(special, known->special));
    options->special_tokens = special->tokens;
    options->special_token_ids = special->ids;
    options->num_special_tokens = special->n;
    return TLM_OK;
}

void tlmi_known_special_release(tlmi_known_special_t *special)
{
    tlmi_free(special->tokens);
    tlmi_free(special->ids);
    tlmi_free(special->names);
    *special = (tlmi_known_special_t){0};
}
