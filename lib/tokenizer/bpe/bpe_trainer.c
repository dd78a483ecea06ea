/* The trainer counts the pretokens of texts (bpe_count.c), then learns merges from the counts. Each
 * text is counted separately and added when it is complete, so a call that fails leaves the
 * counts unchanged. */
#include "tokenizer/bpe/bpe_train.h"

#include <string.h>

#include "base/communicator.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/options.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/tokenizer_core.h"

#define PIECE_SIZE ((size_t)1 << 20) /* bytes of text per task */

struct tlm_bpe_trainer {
    tlm_bpe_trainer_options_t options; /* except special tokens and pattern, which are below */
    tlmi_special_tokens_t *special;
    tlmi_pretokenizer_t *pretokenizer;
    tlmi_text_pipeline_t pipeline; /* special, the base's normalizer, pretokenizer */
    size_t piece_size;
    tlmi_pretoken_counts_t counts; /* of the complete texts */
    uint64_t text_bytes;
    tlmi_pretoken_dropped_t dropped;
    tlmi_text_stream_t stream;    /* the text being pushed */
    tlmi_pretoken_counter_t open; /* of that text so far */
    uint64_t open_bytes;
    uint64_t num_texts; /* that all ranks have shared */
    bool diverged;      /* a rank may have other counts than the others */
};

/* ---- Creating a trainer ---- */

static tlm_status_t check_special_tokens(const tlm_bpe_trainer_options_t *options)
{
    if (options->num_special_tokens > 0)
        TLMI_REQUIRE("bpe_trainer_create", options->special_tokens);
    for (size_t i = 0; i < options->num_special_tokens; i++)
        if (options->special_tokens[i].size == 1 && options->special_tokens[i].data != NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "bpe_trainer_create: special token %zu is the single byte 0x%02X, "
                             "which every vocabulary has",
                             i, options->special_tokens[i].data[0]);
    return TLM_OK;
}

/* Training can only continue from merges; what it makes has one pattern, NFC or no normalizer, and
 * no decoder. */
static tlm_status_t check_base_kind(const tlm_tokenizer_t *base)
{
    const tlmi_bpe_model_t *model;

    TLMI_TRY(tlmi_tokenizer_require_bpe(&model, "bpe_trainer_create", base));
    if (base->normalizer != NULL && base->normalizer != &tlmi_nfc)
        return tlmi_fail(
            TLM_ERR_UNSUPPORTED,
            "bpe_trainer_create: the base normalizes texts by %s; only NFC or none is supported",
            base->normalizer->kind->name);
    if (tlmi_pretokenizer_pattern(base->pretokenizer) == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "bpe_trainer_create: the base splits texts in several steps, not by one "
                         "pattern");
    if (base->decoder != NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "bpe_trainer_create: the base has a decoder: its text is not the bytes of "
                         "its tokens one after another");
    return TLM_OK;
}

static tlm_status_t check_options(const tlm_bpe_trainer_options_t *options)
{
    size_t least = options->num_special_tokens;

    if (options->base == NULL &&
        (!tlmi_add_size(&least, least, 256) || options->vocab_size < least))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "bpe_trainer_create: vocab_size %u is less than 256 bytes and %zu special "
                         "tokens",
                         options->vocab_size, options->num_special_tokens);
    if (options->max_token_length == 1)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "bpe_trainer_create: a max_token_length of 1 allows no merge");
    if (options->byte_order != TLM_BYTE_ORDER_VALUE && options->byte_order != TLM_BYTE_ORDER_GPT2)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "bpe_trainer_create: byte_order %d is unknown",
                         (int)options->byte_order);
    if (options->base != NULL && options->byte_order != TLM_BYTE_ORDER_VALUE)
        return tlmi_fail(
            TLM_ERR_INVALID_ARGUMENT,
            "bpe_trainer_create: byte_order %d is given with a base, which fixes the order",
            (int)options->byte_order);
    if (options->base != NULL)
        TLMI_TRY(check_base_kind(options->base));
    return check_special_tokens(options);
}

/* Gathers the base's special tokens, then the given ones that are not special in the base. */
static tlm_status_t gather_special_tokens(tlmi_special_tokens_t **out,
                                          const tlm_bpe_trainer_options_t *options)
{
    const tlmi_special_tokens_t *old = options->base == NULL ? NULL : options->base->special;
    size_t num_old = old == NULL ? 0 : tlmi_special_tokens_count(old), n = 0, room;

    if (!tlmi_add_size(&room, num_old, options->num_special_tokens))
        return tlmi_fail_memory(options->num_special_tokens, "special tokens");
    tlm_bytes_t *tokens = tlmi_alloc(room, sizeof(*tokens), "special tokens");
    if (tokens == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    while (n < num_old) {
        tokens[n] = tlmi_special_tokens_get(old, n);
        n++;
    }
    for (size_t i = 0; i < options->num_special_tokens; i++) {
        tlm_bytes_t token = options->special_tokens[i];
        size_t k = 0;

        while (k < num_old && (tokens[k].size != token.size || token.data == NULL ||
                               memcmp(tokens[k].data, token.data, token.size) != 0))
            k++;
        if (k == num_old)
            tokens[n++] = token;
    }
    tlm_status_t status =
        tlmi_special_tokens_create(out, tokens, NULL, n, NULL, "bpe_trainer_create");
    tlmi_free(tokens);
    return status;
}

/* Checks that vocab_size has room for the base and for the special tokens that the base lacks. */
static tlm_status_t check_base(const tlm_bpe_trainer_t *trainer)
{
    const tlm_tokenizer_t *base = trainer->options.base;
    size_t n = tlmi_special_tokens_count(trainer->special), lacking = 0;

    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token = tlmi_special_tokens_get(trainer->special, i);

        lacking += tlmi_vocabulary_find(&base->vocabulary, token.data, token.size) == TLMI_NO_TOKEN;
    }
    if (trainer->options.vocab_size < base->vocabulary.size + lacking)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "bpe_trainer_create: vocab_size %u is less than the base's %u tokens and "
                         "%zu new special tokens",
                         trainer->options.vocab_size, base->vocabulary.size, lacking);
    return TLM_OK;
}

tlm_status_t tlm_bpe_trainer_create(tlm_bpe_trainer_t **out,
                                    const tlm_bpe_trainer_options_t *options)
{
    tlm_bpe_trainer_options_t known = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_status_t status;

    TLMI_REQUIRE("bpe_trainer_create", out);
    TLMI_TRY(tlmi_options_read("bpe_trainer_create", &known, TLMI_BPE_TRAINER_OPTIONS, options));
    TLMI_TRY(check_options(&known));
    tlm_bpe_trainer_t *trainer = tlmi_calloc(1, sizeof(*trainer), "a trainer");
    if (trainer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    trainer->options = known;
    trainer->piece_size = PIECE_SIZE;
    TLMI_TRY_OR(fail, gather_special_tokens(&trainer->special, &known));
    if (known.base != NULL)
        TLMI_TRY_OR(fail, check_base(trainer));
    if (known.base != NULL && known.pattern == NULL)
        known.pattern = tlmi_pretokenizer_pattern(known.base->pretokenizer);
    TLMI_TRY_OR(fail, tlmi_pretokenizer_create(&trainer->pretokenizer, known.pattern));
    trainer->pipeline =
        (tlmi_text_pipeline_t){trainer->special, known.base == NULL ? NULL : known.base->normalizer,
                               trainer->pretokenizer, NULL};
    tlmi_pretoken_sink_t sink = tlmi_counting_sink(&trainer->open);
    tlmi_text_stream_init(&trainer->stream, &trainer->pipeline, &sink);
    *out = trainer;
    return TLM_OK;
fail:
    tlm_bpe_trainer_free(trainer);
    return status;
}

void tlmi_bpe_trainer_set_piece_size(tlm_bpe_trainer_t *trainer, size_t size)
{
    trainer->piece_size = size;
}

void tlm_bpe_trainer_free(tlm_bpe_trainer_t *trainer)
{
    if (trainer == NULL)
        return;
    tlmi_text_stream_release(&trainer->stream);
    tlmi_pretoken_counts_release(&trainer->open.counts);
    tlmi_pretoken_counts_release(&trainer->counts);
    tlmi_pretokenizer_free(trainer->pretokenizer);
    tlmi_special_tokens_free(trainer->special);
    tlmi_free(trainer);
}

/* ---- Whole texts ---- */

/* Adds the counts of a complete text and consumes them. */
static tlm_status_t take_counts(tlm_bpe_trainer_t *trainer, tlmi_pretoken_counts_t *counts,
                                uint64_t text_bytes)
{
    uint64_t limit = trainer->options.max_distinct_pretokens;

    TLMI_TRY(tlmi_pretoken_counts_merge_limited(&trainer->dropped, &trainer->counts, counts,
                                                limit > 0 ? limit : UINT64_MAX));
    trainer->text_bytes += text_bytes;
    return TLM_OK;
}

/* Takes what all ranks have counted of a text; `status` says how this rank fared so far. */
static tlm_status_t take_all_counts(tlm_bpe_trainer_t *trainer, tlmi_pretoken_counts_t *counts,
                                    uint64_t text_bytes, const char *function, tlm_status_t status)
{
    tlm_communicator_t *communicator = trainer->options.communicator;

    TLMI_TRY(tlmi_agree(communicator, function, status));
    TLMI_TRY(tlmi_pretoken_counts_add_ranks(counts, communicator));
    status = take_counts(trainer, counts, text_bytes);
    if (communicator == NULL)
        return status;
    status = tlmi_agree(communicator, function, status);
    trainer->diverged = status != TLM_OK;
    return status;
}

static tlm_status_t check_state(const tlm_bpe_trainer_t *trainer, const char *function)
{
    if (!trainer->diverged)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_STATE,
                     "%s: a text failed on one rank after others had added it; the trainers cannot "
                     "go on",
                     function);
}

/* Adds a text, whose size is the same on all ranks unless `status` is a failure. */
static tlm_status_t add_text(tlm_bpe_trainer_t *trainer, const tlmi_mapping_t *text,
                             const char *function, tlm_status_t status)
{
    tlm_communicator_t *communicator = trainer->options.communicator;
    const int32_t num_ranks = tlm_communicator_num_ranks(communicator);
    tlmi_pretoken_counts_t counts = {0};

    TLMI_TRY(tlmi_agree(communicator, function, status));
    TLMI_TRY(tlmi_ranks_require_equal(communicator, function, "the size of the text", text->size));
    TLMI_TRY(tlm_bpe_trainer_end_text(trainer));
    if (text->size == 0)
        return TLM_OK;
    tlmi_count_options_t options = {
        .pipeline = &trainer->pipeline,
        .piece_size = trainer->piece_size,
        .part = (int32_t)((trainer->num_texts + (uint64_t)tlm_communicator_rank(communicator)) %
                          (uint64_t)num_ranks),
        .num_parts = num_ranks,
        .progress = trainer->options.progress,
        .progress_user = trainer->options.progress_user};
    trainer->num_texts++;
    status = tlmi_count_text(&counts, text, &options);
    status = take_all_counts(trainer, &counts, text->size, function, status);
    tlmi_pretoken_counts_release(&counts);
    return status;
}

tlm_status_t tlm_bpe_trainer_add_text(tlm_bpe_trainer_t *trainer, const void *text, size_t size)
{
    TLMI_REQUIRE("bpe_trainer_add_text", trainer);
    if (size > 0)
        TLMI_REQUIRE("bpe_trainer_add_text", text);
    TLMI_TRY(check_state(trainer, "bpe_trainer_add_text"));
    return add_text(trainer, &(tlmi_mapping_t){.data = text, .size = size}, "bpe_trainer_add_text",
                    TLM_OK);
}

tlm_status_t tlm_bpe_trainer_add_file(tlm_bpe_trainer_t *trainer, const char *path)
{
    TLMI_REQUIRE("bpe_trainer_add_file", trainer);
    TLMI_REQUIRE("bpe_trainer_add_file", path);
    tlmi_mapping_t file = {0};
    TLMI_TRY(check_state(trainer, "bpe_trainer_add_file"));
    tlm_status_t status = tlmi_map_file(&file, path);
    bool is_open = status == TLM_OK;
    status = add_text(trainer, &file, "bpe_trainer_add_file", status);
    if (is_open)
        tlmi_unmap_file(&file);
    return status;
}

/* ---- A text in pieces ---- */

static void drop_open_text(tlm_bpe_trainer_t *trainer)
{
    tlmi_text_stream_release(&trainer->stream);
    tlmi_pretoken_counts_release(&trainer->open.counts);
    trainer->open_bytes = 0;
}

tlm_status_t tlm_bpe_trainer_push(tlm_bpe_trainer_t *trainer, const void *chunk, size_t size)
{
    TLMI_REQUIRE("bpe_trainer_push", trainer);
    if (size > 0)
        TLMI_REQUIRE("bpe_trainer_push", chunk);
    tlm_status_t status = tlmi_text_stream_push(&trainer->stream, chunk, size);
    if (status == TLM_OK)
        trainer->open_bytes += size;
    else
        drop_open_text(trainer);
    return status;
}

tlm_status_t tlm_bpe_trainer_end_text(tlm_bpe_trainer_t *trainer)
{
    TLMI_REQUIRE("bpe_trainer_end_text", trainer);
    TLMI_TRY(check_state(trainer, "bpe_trainer_end_text"));
    uint64_t bytes = trainer->open_bytes;
    tlm_status_t status = tlmi_text_stream_finish(&trainer->stream);
    status = tlmi_agree(trainer->options.communicator, "bpe_trainer_end_text", status);
    if (status == TLM_OK)
        status = tlmi_ranks_sum(&bytes, trainer->options.communicator, "bpe_trainer_end_text");
    if (status == TLM_OK && bytes > 0)
        status =
            take_all_counts(trainer, &trainer->open.counts, bytes, "bpe_trainer_end_text", TLM_OK);
    drop_open_text(trainer);
    return status;
}

/* ---- Learning ---- */

static tlm_status_t add_special_tokens(tlmi_vocabulary_t *vocabulary,
                                       const tlmi_special_tokens_t *special)
{
    for (size_t i = 0; i < tlmi_special_tokens_count(special); i++) {
        tlm_bytes_t token = tlmi_special_tokens_get(special, i);

        if (tlmi_vocabulary_find(vocabulary, token.data, token.size) == TLMI_NO_TOKEN)
            TLMI_TRY(tlmi_vocabulary_add(vocabulary, token.data, token.size));
    }
    return TLM_OK;
}

static tlm_status_t add_bytes(tlmi_vocabulary_t *vocabulary, int32_t byte_order)
{
    uint8_t order[256];

    for (int i = 0; i < 256; i++)
        order[i] = (uint8_t)i;
    if (byte_order == TLM_BYTE_ORDER_GPT2)
        tlmi_alphabet_order(order);
    for (int i = 0; i < 256; i++)
        TLMI_TRY(tlmi_vocabulary_add(vocabulary, &order[i], 1));
    return TLM_OK;
}

/* Adds the tokens that the vocabulary has before the first merge is learned. */
static tlm_status_t start_vocabulary(tlmi_vocabulary_t *vocabulary,
                                     const tlm_bpe_trainer_t *trainer)
{
    const tlm_tokenizer_t *base = trainer->options.base;

    if (base == NULL) {
        TLMI_TRY(add_special_tokens(vocabulary, trainer->special));
        return add_bytes(vocabulary, trainer->options.byte_order);
    }
    for (uint32_t id = 0; id < base->vocabulary.size; id++) {
        tlm_bytes_t token = tlmi_vocabulary_token(&base->vocabulary, id);

        TLMI_TRY(tlmi_vocabulary_add(vocabulary, token.data, token.size));
    }
    return add_special_tokens(vocabulary, trainer->special);
}

/* Learns merges from the counts and adds their products to the vocabulary. */
static tlm_status_t learn(tlmi_merge_t **merges, size_t *num_merges, tlmi_vocabulary_t *vocabulary,
                          const tlm_bpe_trainer_t *trainer)
{
    const tlm_bpe_trainer_options_t *options = &trainer->options;
    uint32_t byte_ids[256];
    tlmi_bpe_learn_options_t learn_options = {.counts = &trainer->counts,
                                              .byte_ids = byte_ids,
                                              .base = options->base,
                                              .vocab_size = options->vocab_size,
                                              .max_token_length = options->max_token_length,
                                              .min_count = options->min_frequency,
                                              .progress = options->progress,
                                              .progress_user = options->progress_user};

    if (learn_options.min_count == 0)
        learn_options.min_count = 1;
    for (int i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;

        byte_ids[i] = tlmi_vocabulary_find(vocabulary, &byte, 1);
    }
    return tlmi_bpe_learn(merges, num_merges, vocabulary, &learn_options);
}

/* Fills the table with the merges of the base, if there is one, then the learned merges. */
static tlm_status_t fill_merge_table(tlmi_merge_table_t *table, const tlm_tokenizer_t *base,
                                     const tlmi_merge_t *merges, size_t n)
{
    const tlmi_merge_table_t *old = base == NULL ? NULL : &tlmi_tokenizer_bpe(base)->merges;
    size_t num_old = old == NULL ? 0 : old->size;

    TLMI_TRY(tlmi_merge_table_init(table, num_old + n));
    for (size_t i = 0; i < num_old; i++)
        tlmi_merge_table_add(table, old->merges[i]);
    for (size_t i = 0; i < n; i++)
        tlmi_merge_table_add(table, merges[i]);
    return TLM_OK;
}

/* Copies the template of the base, whose ids stay the same. */
static tlm_status_t copy_template(tlm_tokenizer_t *to, const tlm_tokenizer_t *base)
{
    const tlmi_template_t *ids = base == NULL ? NULL : base->template;

    if (ids == NULL)
        return TLM_OK;
    return tlmi_template_create(&to->template, ids->before, ids->num_before, ids->after,
                                ids->num_after);
}

/* Makes a tokenizer with the trainer's pattern and special tokens. Consumes the other two. */
static tlm_status_t make_tokenizer(tlm_tokenizer_t **out, const tlm_bpe_trainer_t *trainer,
                                   tlmi_vocabulary_t *vocabulary, tlmi_merge_table_t *table)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    size_t n = tlmi_special_tokens_count(trainer->special);
    tlm_bytes_t *tokens = tlmi_alloc(n, sizeof(*tokens), "special tokens");

    if (tokens == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++)
        tokens[i] = tlmi_special_tokens_get(trainer->special, i);
    options.special_tokens = tokens;
    options.num_special_tokens = n;
    options.pattern = tlmi_pretokenizer_pattern(trainer->pretokenizer);
    options.ignore_merges =
        trainer->options.base != NULL && tlmi_tokenizer_bpe(trainer->options.base)->ignores_merges;
    options.nfc = trainer->pipeline.normalizer == &tlmi_nfc;
    tlm_tokenizer_t *made = NULL;
    tlm_status_t status =
        tlmi_bpe_tokenizer_assemble(&made, "bpe_trainer_train", vocabulary, table, &options);
    tlmi_free(tokens);
    if (status == TLM_OK)
        status = copy_template(made, trainer->options.base);
    if (status == TLM_OK)
        *out = made;
    else
        tlm_tokenizer_free(made);
    return status;
}

static tlm_status_t train(tlm_tokenizer_t **out, const tlm_bpe_trainer_t *trainer)
{
    tlmi_vocabulary_t vocabulary = {0};
    tlmi_merge_table_t table = {0};
    tlmi_merge_t *merges = NULL;
    size_t num_merges;

    tlm_status_t status = start_vocabulary(&vocabulary, trainer);
    if (status == TLM_OK)
        status = learn(&merges, &num_merges, &vocabulary, trainer);
    if (status == TLM_OK)
        status = fill_merge_table(&table, trainer->options.base, merges, num_merges);
    if (status == TLM_OK)
        status = make_tokenizer(out, trainer, &vocabulary, &table);
    tlmi_vocabulary_release(&vocabulary);
    tlmi_merge_table_release(&table);
    tlmi_free(merges);
    return status;
}

/* With other options, other ranks would learn other merges. */
static tlm_status_t compare_options(const tlm_bpe_trainer_t *trainer)
{
    const tlm_bpe_trainer_options_t *options = &trainer->options;
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {{"vocab_size", options->vocab_size},
                  {"min_frequency", options->min_frequency},
                  {"max_token_length", options->max_token_length},
                  {"byte_order", (uint64_t)options->byte_order},
                  {"the number of special tokens", tlmi_special_tokens_count(trainer->special)},
                  {"the number of distinct pretokens", trainer->counts.n}};

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        TLMI_TRY(tlmi_ranks_require_equal(options->communicator, "bpe_trainer_train",
                                          fields[i].name, fields[i].value));
    return TLM_OK;
}

tlm_status_t tlm_bpe_trainer_train(tlm_tokenizer_t **out, tlm_bpe_trainer_t *trainer)
{
    tlm_tokenizer_t *made = NULL;

    TLMI_REQUIRE("bpe_trainer_train", out);
    TLMI_REQUIRE("bpe_trainer_train", trainer);
    TLMI_TRY(tlm_bpe_trainer_end_text(trainer));
    TLMI_TRY(compare_options(trainer));
    tlm_status_t status = train(&made, trainer);
    status = tlmi_agree(trainer->options.communicator, "bpe_trainer_train", status);
    if (status == TLM_OK)
        *out = made;
    else
        tlm_tokenizer_free(made);
    return status;
}

tlm_status_t tlm_bpe_trainer_stats(uint64_t *text_bytes, uint64_t *distinct_pretokens,
                                   const tlm_bpe_trainer_t *trainer)
{
    TLMI_REQUIRE("bpe_trainer_stats", trainer);
    if (text_bytes != NULL)
        *text_bytes = trainer->text_bytes;
    if (distinct_pretokens != NULL)
        *distinct_pretokens = trainer->counts.n;
    return TLM_OK;
}

tlm_status_t tlm_bpe_trainer_dropped(uint64_t *pretokens, uint64_t *occurrences,
                                     const tlm_bpe_trainer_t *trainer)
{
    TLMI_REQUIRE("bpe_trainer_dropped", trainer);
    if (pretokens != NULL)
        *pretokens = trainer->dropped.pretokens;
    if (occurrences != NULL)
        *occurrences = trainer->dropped.occurrences;
    return TLM_OK;
}
