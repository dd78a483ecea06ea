/* Conversations to ids. The whole text is encoded at once, as transformers does, so that pretokens
 * reach across from what the template writes to what a message says; but special tokens are found
 * only in what the template writes. */
#include <string.h>

#include "base/memory.h"
#include "tokenizer/chat/chat.h"
#include "tokenizer/encode.h"

/* A special token in the text, and the position of its id. */
typedef struct place {
    size_t start, end; /* bytes */
    size_t id;         /* index among the ids */
} place_t;

/* One conversation on its way to ids. */
typedef struct chat_encoder {
    tlmi_special_guard_t guard; /* first, so that a guard is an encoder */
    const tlm_chat_template_t *chat;
    const tlm_tokenizer_t *tokenizer;
    const tlmi_builder_t *text;
    size_t origin; /* of the text that is being encoded, in `text` */
    tlmi_special_tokens_t *special;
    bool *is_protected; /* by index in `special`: must not come from a message */
    tlmi_encode_plan_t plan;
    place_t *places;
    size_t num_places, capacity;
    size_t next_place; /* the place whose id comes next */
} chat_encoder_t;

/* ---- Special tokens ---- */

/* Whether bytes [start, end) of the text are the template's own. */
static bool is_own(const tlmi_builder_t *text, size_t start, size_t end)
{
    for (size_t i = tlmi_find_run(text->runs, text->num_runs, start); i < text->num_runs; i++) {
        if (text->runs[i].source != TLMI_FROM_TEMPLATE)
            return false;
        if (text->runs[i].end >= end)
            return true;
    }
    return true;
}

static bool allows(const tlmi_special_guard_t *guard, size_t index, size_t start, size_t end)
{
    const chat_encoder_t *encoder = (const chat_encoder_t *)guard;

    return !encoder->is_protected[index] ||
           is_own(encoder->text, encoder->origin + start, encoder->origin + end);
}

/* A token that is part of the vocabulary may stand in a message, unless the template writes it, as
 * Qwen's writes <think>. The others are searched for in the raw text, where one knows whose it
 * is. */
static tlm_status_t make_special(chat_encoder_t *encoder)
{
    const tlmi_special_tokens_t *all = encoder->tokenizer->special;
    size_t n = all == NULL ? 0 : tlmi_special_tokens_count(all);
    tlm_bytes_t *tokens = tlmi_alloc(n, sizeof(*tokens), "special tokens");
    uint8_t *flags = tlmi_alloc(n, 1, "special tokens");

    encoder->is_protected = tlmi_alloc(n, sizeof(bool), "special tokens");
    tlm_status_t status = tokens == NULL || flags == NULL || encoder->is_protected == NULL
                              ? TLM_ERR_OUT_OF_MEMORY
                              : TLM_OK;
    for (size_t i = 0; i < n && status == TLM_OK; i++) {
        tokens[i] = tlmi_special_tokens_get(all, i);
        flags[i] = tlmi_special_tokens_flags(all, i);
        encoder->is_protected[i] =
            (flags[i] & TLMI_TOKEN_ORDINARY) == 0 ||
            tlmi_jinja_writes(&encoder->chat->jinja, tokens[i].data, tokens[i].size);
        if (encoder->is_protected[i])
            flags[i] &= (uint8_t) ~(TLMI_TOKEN_NORMALIZED | TLMI_TOKEN_VERBATIM);
    }
    if (status == TLM_OK && n > 0)
        status = tlmi_special_tokens_create(&encoder->special, tokens, flags, n,
                                            encoder->tokenizer->normalizer, "chat_template_encode");
    tlmi_free(tokens);
    tlmi_free(flags);
    return status;
}

static tlm_status_t find_places(chat_encoder_t *encoder)
{
    const uint8_t *text = (const uint8_t *)encoder->text->bytes;
    tlmi_special_match_t match = {0};

    if (encoder->special == NULL || encoder->text->size == 0)
        return TLM_OK;
    while (tlmi_special_tokens_find(&match, encoder->special, TLMI_RAW_TEXT, text,
                                    encoder->text->size, match.next, match.end, true,
                                    &encoder->guard)) {
        if (!tlmi_grow(&encoder->places, &encoder->capacity, encoder->num_places + 1,
                       sizeof(*encoder->places), "a conversation"))
            return TLM_ERR_OUT_OF_MEMORY;
        encoder->places[encoder->num_places++] = (place_t){match.start, match.end, 0};
    }
    return TLM_OK;
}

/* ---- Encoding ---- */

/* A worker, and the encoder that wants to know where special tokens are. */
typedef struct sink {
    tlmi_encode_worker_t worker;
    tlmi_pretoken_sink_t inner;
    chat_encoder_t *encoder; /* NULL: does not want to know */
} sink_t;

static tlm_status_t take_pretokens(void *context, const uint8_t *text, const size_t *ends, size_t n)
{
    sink_t *sink = context;

    return sink->inner.pretokens(sink->inner.context, text, ends, n);
}

static tlm_status_t take_special(void *context, size_t index)
{
    sink_t *sink = context;
    chat_encoder_t *encoder = sink->encoder;

    if (encoder != NULL &&
        (tlmi_special_tokens_flags(encoder->special, index) & TLMI_TOKEN_NORMALIZED) == 0)
        encoder->places[encoder->next_place++].id = sink->worker.ids->n;
    return sink->inner.special_token(sink->inner.context, index);
}

/* Encodes bytes [start, end) of the text as a text of its own. */
static tlm_status_t encode_part(tlmi_id_list_t *ids, chat_encoder_t *encoder, size_t start,
                                size_t end, bool counts)
{
    tlmi_memory_pool_t *pool = encoder->tokenizer->memory;
    tlmi_encode_memory_t *memory = tlmi_memory_pool_take(pool, end - start);
    sink_t sink = {.encoder = counts ? encoder : NULL};
    const tlmi_pretoken_sink_t outer = {take_pretokens, take_special, &sink};
    tlm_status_t status = TLM_OK;

    encoder->origin = start;
    tlmi_encode_worker_init(&sink.worker, &encoder->plan, memory, ids);
    sink.inner = tlmi_encode_worker_sink(&sink.worker);
    if (start < end)
        status =
            tlmi_split_text(&encoder->plan.pipeline, (const uint8_t *)encoder->text->bytes + start,
                            end - start, TLMI_PIECE_BEGINS | TLMI_PIECE_ENDS, &outer);
    tlmi_encode_worker_release(&sink.worker);
    tlmi_memory_pool_give(pool, memory);
    encoder->origin = 0;
    return status;
}

static tlm_status_t start_encoder(chat_encoder_t *encoder)
{
    TLMI_TRY(make_special(encoder));
    TLMI_TRY(find_places(encoder));
    tlmi_encode_plan_init_default(&encoder->plan, "chat_template_encode", encoder->tokenizer);
    encoder->plan.pipeline.special = encoder->special;
    encoder->plan.pipeline.guard = &encoder->guard;
    encoder->plan.dropout = 0.0;
    encoder->plan.limits = NULL;
    return TLM_OK;
}

static void release_encoder(chat_encoder_t *encoder)
{
    tlmi_special_tokens_free(encoder->special);
    tlmi_free(encoder->is_protected);
    tlmi_free(encoder->places);
}

/* ---- Masks ---- */

/* The first place at or after byte `at`; num_places if there is none. */
static size_t find_place(const chat_encoder_t *encoder, size_t at)
{
    size_t low = 0, high = encoder->num_places;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (encoder->places[middle].start >= at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Finds how many ids come before byte `at`. Where no special token stands there, these are the ids
 * with which the text before it begins too: one that reaches across `at` is not among them. */
static tlm_status_t count_before(size_t *out, chat_encoder_t *encoder, const tlmi_id_list_t *ids,
                                 size_t at)
{
    size_t next = find_place(encoder, at), i = 0;
    tlmi_id_list_t before = {0};

    if (next < encoder->num_places && encoder->places[next].start == at)
        *out = encoder->places[next].id;
    else if (next > 0 && encoder->places[next - 1].end == at)
        *out = encoder->places[next - 1].id + 1;
    else if (at == encoder->text->size)
        *out = ids->n;
    else {
        const place_t start = next > 0 ? encoder->places[next - 1] : (place_t){0, 0, 0};
        tlm_status_t status = encode_part(&before, encoder, start.start, at, false);

        while (status == TLM_OK && i < before.n && start.id + i < ids->n &&
               before.ids[i] == ids->ids[start.id + i])
            i++;
        tlmi_id_list_release(&before);
        *out = start.id + i;
        return status;
    }
    return TLM_OK;
}

/* Whether a special token is the one that begins texts and not the one that ends them. */
static bool begins_text(const chat_encoder_t *encoder, const place_t *place)
{
    const char *bytes = encoder->text->bytes + place->start;
    size_t size = place->end - place->start;
    const tlmi_chat_variable_t *bos = tlmi_chat_find_variable(encoder->chat, "bos_token");
    const tlmi_chat_variable_t *eos = tlmi_chat_find_variable(encoder->chat, "eos_token");

    return bos != NULL && bos->size == size && memcmp(bos->text, bytes, size) == 0 &&
           !(eos != NULL && eos->size == size && memcmp(eos->text, bytes, size) == 0);
}

/* The special token that ends an answer: behind it, with only white space of the template between
 * them. NULL if there is none. */
static const place_t *find_end(const chat_encoder_t *encoder, size_t end)
{
    size_t i = find_place(encoder, end);

    if (i == encoder->num_places || !is_own(encoder->text, end, encoder->places[i].end) ||
        begins_text(encoder, &encoder->places[i]))
        return NULL;
    size_t gap = encoder->places[i].start - end;
    return tlmi_space_before(encoder->text->bytes + end, gap) == gap ? &encoder->places[i] : NULL;
}

static tlm_status_t fill_span(uint8_t *mask, chat_encoder_t *encoder, const tlmi_id_list_t *ids,
                              tlmi_span_t span, bool extends)
{
    const place_t *end = extends ? find_end(encoder, span.end) : NULL;
    size_t first, last;

    TLMI_TRY(count_before(&first, encoder, ids, span.start));
    TLMI_TRY(count_before(&last, encoder, ids, end != NULL ? end->end : span.end));
    if (last > first)
        memset(mask + first, 1, last - first);
    return TLM_OK;
}

static tlm_status_t make_mask(uint8_t **out, chat_encoder_t *encoder, const tlmi_id_list_t *ids,
                              const tlmi_span_t *spans, size_t n, bool extends)
{
    uint8_t *mask = tlmi_calloc(ids->n, 1, "a mask");
    tlm_status_t status = mask == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    for (size_t i = 0; i < n && status == TLM_OK; i++)
        status = fill_span(mask, encoder, ids, spans[i], extends);
    if (status == TLM_OK)
        *out = mask;
    else
        tlmi_free(mask);
    return status;
}

/* ---- The calls ---- */

/* The caller's arguments. */
typedef struct request {
    const tlm_chat_message_t *messages;
    size_t n;
    tlm_chat_options_t options;
} request_t;

static tlm_status_t encode_rendered(tlmi_id_list_t *ids, uint8_t **mask, chat_encoder_t *encoder,
                                    const tlmi_jinja_run_t *run, const request_t *request)
{
    tlmi_span_t *answers = NULL;
    size_t n = 0;

    TLMI_TRY(start_encoder(encoder));
    TLMI_TRY(encode_part(ids, encoder, 0, encoder->text->size, true));
    if (mask == NULL || ids->n == 0)
        return TLM_OK;
    if (run->num_generated > 0)
        return make_mask(mask, encoder, ids, run->generated, run->num_generated, false);
    TLMI_TRY(tlmi_chat_answers(&answers, &n, run, encoder->chat, request->messages, request->n,
                               &request->options));
    tlm_status_t status = make_mask(mask, encoder, ids, answers, n, true);
    tlmi_free(answers);
    return status;
}

static chat_encoder_t make_encoder(const tlm_chat_template_t *chat,
                                   const tlm_tokenizer_t *tokenizer, const tlmi_builder_t *text)
{
    return (chat_encoder_t){.guard = {allows}, .chat = chat, .tokenizer = tokenizer, .text = text};
}

tlm_status_t tlm_chat_template_encode(uint32_t **ids, uint8_t **mask, size_t *n,
                                      const tlm_chat_template_t *chat_template,
                                      const tlm_tokenizer_t *tokenizer,
                                      const tlm_chat_message_t *messages, size_t num_messages,
                                      const tlm_chat_options_t *options)
{
    request_t request = {messages, num_messages, TLM_CHAT_OPTIONS_INIT};
    tlmi_id_list_t list = {0};
    uint8_t *own_mask = NULL;
    tlmi_jinja_run_t run;

    TLMI_REQUIRE("chat_template_encode", ids);
    TLMI_REQUIRE("chat_template_encode", n);
    TLMI_REQUIRE("chat_template_encode", chat_template);
    TLMI_REQUIRE("chat_template_encode", tokenizer);
    if (num_messages > 0)
        TLMI_REQUIRE("chat_template_encode", messages);
    TLMI_TRY(tlmi_chat_read_options(&request.options, "chat_template_encode", options));
    tlm_status_t status =
        tlmi_chat_render(&run, chat_template, messages, num_messages, &request.options);
    chat_encoder_t encoder = make_encoder(chat_template, tokenizer, &run.output);
    if (status == TLM_OK)
        status = encode_rendered(&list, mask != NULL ? &own_mask : NULL, &encoder, &run, &request);
    release_encoder(&encoder);
    tlmi_jinja_run_release(&run);
    if (status != TLM_OK || list.n == 0)
        tlmi_id_list_release(&list);
    if (status != TLM_OK)
        return status;
    *ids = list.ids;
    *n = list.n;
    if (mask != NULL)
        *mask = own_mask;
    return TLM_OK;
}

/* Finds the token behind the answer of a small conversation. */
static tlm_status_t find_end_token(uint32_t *id, chat_encoder_t *encoder,
                                   const tlmi_jinja_run_t *run, const request_t *request)
{
    const place_t *end = NULL;
    tlmi_span_t *answers;
    size_t n;

    TLMI_TRY(start_encoder(encoder));
    TLMI_TRY(tlmi_chat_answers(&answers, &n, run, encoder->chat, request->messages, request->n,
                               &request->options));
    if (n > 0)
        end = find_end(encoder, answers[0].end);
    tlmi_free(answers);
    if (end == NULL)
        return tlmi_fail(TLM_ERR_NOT_FOUND,
                         "chat_template_end_token: the template ends answers with no special token "
                         "of the tokenizer");
    return tlm_tokenizer_token_id(id, encoder->tokenizer, run->output.bytes + end->start,
                                  end->end - end->start);
}

tlm_status_t tlm_chat_template_end_token(uint32_t *id, const tlm_chat_template_t *chat_template,
                                         const tlm_tokenizer_t *tokenizer)
{
    static const tlm_chat_message_t messages[] = {{"user", "a", 1}, {"assistant", "b", 1}};
    request_t request = {messages, 2, TLM_CHAT_OPTIONS_INIT};
    tlmi_jinja_run_t run;

    TLMI_REQUIRE("chat_template_end_token", id);
    TLMI_REQUIRE("chat_template_end_token", chat_template);
    TLMI_REQUIRE("chat_template_end_token", tokenizer);
    request.options.now = 1;
    tlm_status_t status =
        tlmi_chat_render(&run, chat_template, messages, request.n, &request.options);
    chat_encoder_t encoder = make_encoder(chat_template, tokenizer, &run.output);
    if (status == TLM_OK)
        status = find_end_token(id, &encoder, &run, &request);
    release_encoder(&encoder);
    tlmi_jinja_run_release(&run);
    return status;
}
