/* Any text with any special tokens and options: the naive trainer's merges, also from a text pushed in
 * pieces. */
#include "fuzz_support.h"
#include "tokenizer/bpe/bpe_train.h"
#include "naive_bpe.h"

enum { MAX_SPECIALS = 3 };

/* Options that a bit of the input's sixth byte asks for. */
enum { MAX_TOKEN_LENGTH = 1, GPT2_ORDER = 2, MAX_DISTINCT_PRETOKENS = 4, BASE = 8 };

/* The first bytes of the input say how the rest is taken apart. */
typedef struct plan {
    tlm_bpe_trainer_options_t options;
    tlm_bytes_t specials[MAX_SPECIALS];
    tlm_bytes_t text;
    size_t piece;
    tlm_tokenizer_t *base;
    naive_bpe_t naive_base;
} plan_t;

static bool is_special(const plan_t *plan, tlm_bytes_t bytes)
{
    for (size_t i = 0; i < plan->options.num_special_tokens; i++)
        if (fuzz_same(plan->specials[i].data, plan->specials[i].size, bytes.data, bytes.size))
            return true;
    return false;
}

static tlm_tokenizer_t *train(const plan_t *plan, bool whole)
{
    fuzz_input_t rest = {plan->text.data, plan->text.size};
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;

    FUZZ_OK(tlm_bpe_trainer_create(&trainer, &plan->options));
    tlmi_bpe_trainer_set_piece_size(trainer, plan->piece);
    if (whole)
        FUZZ_OK(tlm_bpe_trainer_add_text(trainer, rest.data, rest.size));
    while (!whole && rest.size > 0) {
        tlm_bytes_t piece = fuzz_take_bytes(&rest, plan->piece);

        FUZZ_OK(tlm_bpe_trainer_push(trainer, piece.data, piece.size));
        fuzz_free(piece);
    }
    FUZZ_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    return tokenizer;
}

/* Trains a base on the first half of the text and goes on from there. */
static void make_base(plan_t *plan)
{
    plan_t first = *plan;

    first.text.size /= 2;
    plan->base = train(&first, true);
    naive_from_tokenizer(&plan->naive_base, plan->base);
    plan->options.base = plan->base;
    plan->options.vocab_size += tlm_tokenizer_num_merges(plan->base);
}

static void make_plan(plan_t *plan, const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};
    size_t merges = fuzz_take(&input, 48), specials, switches, number;

    memset(plan, 0, sizeof(*plan));
    plan->options = (tlm_bpe_trainer_options_t)TLM_BPE_TRAINER_OPTIONS_INIT;
    plan->options.min_frequency = fuzz_take(&input, 4);
    plan->piece = 1 + fuzz_take(&input, 32);
    specials = fuzz_take(&input, MAX_SPECIALS + 1);
    switches = fuzz_take(&input, 16);
    number = fuzz_take(&input, 32);
    for (size_t i = 0; i < specials; i++) {
        /* Of two bytes or more: one byte would be a token twice. */
        tlm_bytes_t special = fuzz_take_bytes(&input, 2 + fuzz_take(&input, 6));

        if (special.size < 2 || is_special(plan, special))
            fuzz_free(special);
        else
            plan->specials[plan->options.num_special_tokens++] = special;
    }
    plan->options.special_tokens = plan->specials;
    plan->options.vocab_size = (uint32_t)(256 + plan->options.num_special_tokens + merges);
    plan->text = fuzz_take_bytes(&input, 4096);
    if (switches & MAX_TOKEN_LENGTH)
        plan->options.max_token_length = (uint32_t)(2 + number);
    if (switches & MAX_DISTINCT_PRETOKENS)
        plan->options.max_distinct_pretokens = 1 + number;
    if (switches & BASE)
        make_base(plan);
    else if (switches & GPT2_ORDER)
        plan->options.byte_order = TLM_BYTE_ORDER_GPT2;
}

static void check_token(const tlm_tokenizer_t *tokenizer, uint32_t id, tlm_bytes_t expected)
{
    tlm_bytes_t token;

    FUZZ_OK(tlm_tokenizer_token(&token, tokenizer, id));
    FUZZ_CHECK(fuzz_same(token.data, token.size, expected.data, expected.size));
}

static void check_merges(const tlm_tokenizer_t *tokenizer, const naive_bpe_t *naive)
{
    FUZZ_CHECK(tlm_tokenizer_vocab_size(tokenizer) == naive->num_tokens);
    FUZZ_CHECK(tlm_tokenizer_num_merges(tokenizer) == naive->num_merges);
    for (uint32_t i = 0; i < naive->num_merges; i++) {
        uint32_t left, right;

        FUZZ_OK(tlm_tokenizer_merge(&left, &right, tokenizer, i));
        check_token(tokenizer, left, naive->tokens[naive->merges[i].left]);
        check_token(tokenizer, right, naive->tokens[naive->merges[i].right]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    naive_options_t options;
    naive_bpe_t naive;
    plan_t plan;

    make_plan(&plan, data, size);
    options =
        (naive_options_t){.specials = plan.specials,
                          .num_specials = plan.options.num_special_tokens,
                          .vocab_size = plan.options.vocab_size,
                          .min_frequency = plan.options.min_frequency,
                          .max_token_length = plan.options.max_token_length,
                          .gpt2_order = plan.options.byte_order == TLM_BYTE_ORDER_GPT2,
                          .max_distinct_pretokens = (size_t)plan.options.max_distinct_pretokens,
                          .base = plan.base == NULL ? NULL : &plan.naive_base};
    naive_train_with(&naive, &plan.text, 1, &options);
    for (int whole = 0; whole < 2; whole++) {
        tlm_tokenizer_t *tokenizer = train(&plan, whole == 1);

        check_merges(tokenizer, &naive);
        tlm_tokenizer_free(tokenizer);
    }
    naive_free(&naive);
    if (plan.base != NULL)
        naive_free(&plan.naive_base);
    tlm_tokenizer_free(plan.base);
    for (size_t i = 0; i < MAX_SPECIALS; i++)
        fuzz_free(plan.specials[i]);
    fuzz_free(plan.text);
    return 0;
}
