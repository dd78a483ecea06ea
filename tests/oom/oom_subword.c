/* Subword models: making each kind, and encoding with it. */
#include "oom_scenarios.h"

#include <string.h>

#include "tokenizer/bpe/bpe.h"

static const char *const tokens[] = {"<unk>", "a", "b", "ab", "##b", "\xE2\x96\x81", "aba", "c"};
#define NUM_TOKENS (sizeof(tokens) / sizeof(tokens[0]))

static tlmi_vocabulary_t vocabulary;
static uint8_t text[700]; /* long enough for the tree of merges */

static tlm_bytes_t token(uint32_t id)
{
    return (tlm_bytes_t){(const uint8_t *)tokens[id], strlen(tokens[id])};
}

static void make_vocabulary(void)
{
    for (uint32_t id = 0; id < NUM_TOKENS; id++)
        MUST(tlmi_vocabulary_add(&vocabulary, token(id).data, token(id).size));
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t) "abcz"[i * i % 31 % 4];
}

static void free_vocabulary(void)
{
    tlmi_vocabulary_release(&vocabulary);
}

/* Encodes with a model and frees it. */
static tlm_status_t use(tlmi_subword_model_t *model)
{
    tlmi_dropout_t dropout = {0.3, 1, 0};
    tlmi_scratch_t scratch = {0};
    tlmi_id_list_t ids = {0};
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (!tlmi_id_list_reserve(&ids, 2 * sizeof(text)))
        goto done;
    TRY(tlmi_subword_encode(model, &scratch, &ids, text, sizeof(text)));
    if (model->kind->encode_with_dropout != NULL)
        TRY(model->kind->encode_with_dropout(model, &scratch, &ids, text, sizeof(text), &dropout));
done:
    tlmi_id_list_release(&ids);
    tlmi_scratch_release(&scratch);
    tlmi_subword_free(model);
    return status;
}

static tlm_status_t bpe(void)
{
    tlmi_bpe_options_t options = {.unk_token = token(0), .fuse_unk = true};
    tlmi_merge_table_t merges = {0};
    tlmi_scratch_t joined = {0};
    tlmi_subword_model_t *model;
    tlm_status_t status;

    TRY(tlmi_merge_table_init(&merges, 2));
    TRY(tlmi_bpe_add_merge(&merges, "oom", &vocabulary, NULL, 0, token(1), token(2), 0, &joined));
    TRY(tlmi_bpe_add_merge(&merges, "oom", &vocabulary, NULL, 0, token(3), token(1), 1, &joined));
    TRY(tlmi_bpe_model_create(&model, "oom", &vocabulary, &merges, &options));
    TRY(use(model));
done:
    tlmi_merge_table_release(&merges);
    tlmi_scratch_release(&joined);
    return status;
}

static tlm_status_t pieces(void)
{
    static const float scores[NUM_TOKENS] = {0, -1, -2, -3, -4, -5, -6, -7};
    static const uint8_t types[NUM_TOKENS] = {2, 1, 1, 5, 1, 1, 1, 1};
    tlmi_pieces_t all = {scores, types, NUM_TOKENS, 0, false};
    tlmi_subword_model_t *model;
    tlm_status_t status;

    TRY(tlmi_bpe_model_create_from_pieces(&model, "oom", &vocabulary, &all));
    TRY(use(model));
    TRY(tlmi_unigram_model_create_from_pieces(&model, "oom", &vocabulary, &all));
    TRY(use(model));
done:
    return status;
}

static tlm_status_t unigram_and_wordpiece(void)
{
    static const double scores[NUM_TOKENS] = {0, -1, -2, -3, -4, -5, -6, -7};
    tlmi_unigram_options_t unigram = {scores, NUM_TOKENS, 0, true};
    tlmi_wordpiece_options_t wordpiece = {token(0), {(const uint8_t *)"##", 2}, 1000, NULL, false};
    tlmi_subword_model_t *model;
    tlm_status_t status;

    TRY(tlmi_unigram_model_create(&model, "oom", &vocabulary, &unigram));
    TRY(use(model));
    TRY(tlmi_wordpiece_model_create(&model, "oom", &vocabulary, &wordpiece));
    TRY(use(model));
    wordpiece.is_word_level = true;
    TRY(tlmi_wordpiece_model_create(&model, "oom", &vocabulary, &wordpiece));
    TRY(use(model));
done:
    return status;
}

const scenario_t subword_scenarios[] = {
    {"bpe", make_vocabulary, bpe, free_vocabulary, false},
    {"pieces_with_scores", make_vocabulary, pieces, free_vocabulary, false},
    {"unigram_and_wordpiece", make_vocabulary, unigram_and_wordpiece, free_vocabulary, false},
    {NULL, NULL, NULL, NULL, false},
};
