/* Conversations in a file of JSON lines as a data set with rows. Each line is {"messages": [{"role":
 * ..., "content": ...}, ...]}, which the template turns into ids, or {"prompt": ..., "completion":
 * ...}, which are texts. What the model is to learn counts as targets: answers, completions. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/options.h"
#include "data/data_core.h"
#include "tinylm/tokenizer.h"

/* The rows so far, the last of which may not be full. */
typedef struct rows {
    uint32_t *ids;
    uint8_t *counted;
    size_t n, ids_capacity, counted_capacity;
} rows_t;

/* A file while it is read. */
typedef struct reading {
    tlm_chat_data_options_t options;
    const tlm_tokenizer_t *tokenizer;
    const tlm_chat_template_t *template;
    const char *path;
    uint64_t line;
    tlm_chat_data_t found;
    rows_t rows;
} reading_t;

/* A conversation. */
typedef struct sequence {
    uint32_t *ids;
    uint8_t *counted;
    size_t n;
} sequence_t;

/* Formats "<path>:<line>" for messages. */
enum { PLACE_SIZE = 512 };
static const char *place(char out[PLACE_SIZE], const reading_t *reading)
{
    snprintf(out, PLACE_SIZE, "%.480s:%" PRIu64, reading->path, reading->line);
    return out;
}

static tlm_status_t fail_line(tlm_status_t status, const reading_t *reading, const char *what)
{
    char where[PLACE_SIZE];

    return tlmi_fail(status, "%s: %s", place(where, reading), what);
}

static tlm_status_t bad_line(const reading_t *reading, const char *what)
{
    return fail_line(TLM_ERR_FORMAT, reading, what);
}

/* Adds the place to the message of a call that knows only a text of the line. */
static tlm_status_t at_line(tlm_status_t status, const reading_t *reading)
{
    char reason[256];

    if (status == TLM_OK || status == TLM_ERR_OUT_OF_MEMORY)
        return status;
    snprintf(reason, sizeof(reason), "%s", tlm_error_message());
    return fail_line(status, reading, reason);
}

/* ---- Rows ------------------------------------------------------------------------------- */

static bool grow(rows_t *rows, size_t more)
{
    const size_t needed = rows->n + more;

    return tlmi_grow(&rows->ids, &rows->ids_capacity, needed, sizeof(*rows->ids),
                     "the rows of a data set") &&
           tlmi_grow(&rows->counted, &rows->counted_capacity, needed, sizeof(*rows->counted),
                     "the rows of a data set");
}

/* Fills the last row up with ids that do not count. */
static tlm_status_t end_row(reading_t *reading)
{
    rows_t *rows = &reading->rows;
    const size_t length = (size_t)reading->options.row_length;
    const size_t missing = (length - rows->n % length) % length;

    if (!grow(rows, missing))
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < missing; i++) {
        rows->ids[rows->n] = reading->options.pad_id;
        rows->counted[rows->n++] = 0;
    }
    return TLM_OK;
}

/* Adds a conversation to the rows, cut off where it is longer than a row. One of which nothing would
 * count is left out. */
static tlm_status_t add_sequence(reading_t *reading, const sequence_t *sequence)
{
    rows_t *rows = &reading->rows;
    const size_t length = (size_t)reading->options.row_length;
    const size_t n = sequence->n < length ? sequence->n : length;
    uint64_t counted = 0;

    for (size_t i = 1; i < n; i++) /* nothing comes before the first, of which it could follow */
        counted += sequence->counted[i];
    reading->found.conversations++;
    reading->found.truncated += sequence->n > length;
    if (counted == 0) {
        reading->found.left_out++;
        return TLM_OK;
    }
    if (!reading->options.packed || length - rows->n % length < n)
        TLMI_TRY(end_row(reading));
    if (!grow(rows, n))
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(rows->ids + rows->n, sequence->ids, n * sizeof(*rows->ids));
    memcpy(rows->counted + rows->n, sequence->counted, n);
    rows->counted[rows->n] = 0;
    rows->n += n;
    reading->found.tokens += n;
    reading->found.counted += counted;
    return TLM_OK;
}

/* ---- Lines ------------------------------------------------------------------------------ */

static tlm_status_t read_message(tlm_chat_message_t *out, const tlmi_json_t *item,
                                 const reading_t *reading)
{
    size_t size;

    if (!tlmi_json_is_object(item) ||
        !tlmi_json_get_string(tlmi_json_member(item, "role"), &out->role, &size) ||
        strlen(out->role) != size)
        return bad_line(reading, "a message has no \"role\"");
    if (!tlmi_json_is_null(tlmi_json_member(item, "tool_calls")))
        return fail_line(TLM_ERR_UNSUPPORTED, reading, "\"tool_calls\" are not supported");
    if (!tlmi_json_get_string(tlmi_json_member(item, "content"), &out->content, &out->size))
        return bad_line(reading, "the \"content\" of a message is not a text");
    return TLM_OK;
}

static tlm_status_t encode_messages(sequence_t *out, const tlmi_json_t *list,
                                    const reading_t *reading)
{
    const size_t n = tlmi_json_size(list);

    if (reading->template == NULL)
        return fail_line(TLM_ERR_INVALID_ARGUMENT, reading, "\"messages\" need a chat template");
    if (n == 0)
        return bad_line(reading, "\"messages\" are empty");
    tlm_chat_message_t *messages = tlmi_calloc(n, sizeof(*messages), "the messages of a line");
    tlm_status_t status = messages == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    for (size_t i = 0; i < n && status == TLM_OK; i++)
        status = read_message(&messages[i], tlmi_json_item(list, i), reading);
    if (status == TLM_OK)
        status =
            at_line(tlm_chat_template_encode(&out->ids, &out->counted, &out->n, reading->template,
                                             reading->tokenizer, messages, n, NULL),
                    reading);
    tlmi_free(messages);
    return status;
}

/* Appends n ids, all of which count or none. */
static void append(sequence_t *out, const uint32_t *ids, size_t n, bool counted)
{
    if (n > 0)
        memcpy(out->ids + out->n, ids, n * sizeof(*ids));
    memset(out->counted + out->n, counted, n);
    out->n += n;
}

/* [begin token] prompt completion [end token]; the completion and the end count. Both texts are encoded
 * by themselves, as in generation, where the prompt is there before the rest. */
static tlm_status_t encode_completion(sequence_t *out, const tlmi_json_t *prompt,
                                      const tlmi_json_t *completion, const reading_t *reading)
{
    const tlm_chat_data_options_t *options = &reading->options;
    const tlmi_json_t *const values[] = {prompt, completion};
    uint32_t *ids[] = {NULL, NULL};
    size_t n[] = {0, 0};
    tlm_status_t status = TLM_OK;

    for (int i = 0; i < 2 && status == TLM_OK; i++) {
        const char *text;
        size_t size;

        status = tlmi_json_get_string(values[i], &text, &size)
                     ? at_line(tlm_tokenizer_encode(&ids[i], &n[i], reading->tokenizer, text, size),
                               reading)
                     : bad_line(reading, "\"prompt\" and \"completion\" are not both texts");
    }
    if (status != TLM_OK)
        goto done;
    out->ids = tlmi_alloc(n[0] + n[1] + 2, sizeof(*out->ids), "the ids of a line");
    out->counted = tlmi_alloc(n[0] + n[1] + 2, 1, "the ids of a line");
    if (out->ids == NULL || out->counted == NULL) {
        status = TLM_ERR_OUT_OF_MEMORY;
        goto done;
    }
    append(out, &options->begin_token, options->has_begin_token ? 1 : 0, false);
    append(out, ids[0], n[0], false);
    append(out, ids[1], n[1], true);
    append(out, &options->end_token, options->has_end_token ? 1 : 0, true);
done:
    tlm_free(ids[0]);
    tlm_free(ids[1]);
    return status;
}

static tlm_status_t encode_object(sequence_t *out, const tlmi_json_t *object,
                                  const reading_t *reading)
{
    const tlmi_json_t *messages = tlmi_json_member(object, "messages");
    const tlmi_json_t *prompt = tlmi_json_member(object, "prompt");
    const tlmi_json_t *completion = tlmi_json_member(object, "completion");

    if (!tlmi_json_is_null(tlmi_json_member(object, "tools")))
        return fail_line(TLM_ERR_UNSUPPORTED, reading, "\"tools\" are not supported");
    if (tlmi_json_is_array(messages) && prompt == NULL && completion == NULL)
        return encode_messages(out, messages, reading);
    if (messages == NULL && prompt != NULL && completion != NULL)
        return encode_completion(out, prompt, completion, reading);
    return bad_line(reading,
                    "the line has neither a list \"messages\" nor \"prompt\" and \"completion\"");
}

static tlm_status_t read_line(reading_t *reading, const char *text, size_t size)
{
    sequence_t sequence = {NULL, NULL, 0};
    char where[PLACE_SIZE];
    tlmi_json_t *object;

    TLMI_TRY(tlmi_json_parse(&object, text, size, place(where, reading)));
    tlm_status_t status = tlmi_json_is_object(object)
                              ? encode_object(&sequence, object, reading)
                              : bad_line(reading, "the line is not a JSON object");
    tlmi_json_free(object);
    if (status == TLM_OK && reading->options.whole_texts && sequence.n > 0)
        memset(sequence.counted, 1, sequence.n);
    if (status == TLM_OK)
        status = add_sequence(reading, &sequence);
    tlm_free(sequence.ids);
    tlm_free(sequence.counted);
    return status;
}

static bool is_blank(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            return false;
    return true;
}

static tlm_status_t read_lines(reading_t *reading, const char *text, size_t size)
{
    for (size_t begin = 0; begin < size;) {
        const char *end = memchr(text + begin, '\n', size - begin);
        const size_t n = end == NULL ? size - begin : (size_t)(end - text) - begin;

        reading->line++;
        TLMI_TRY(tlmi_check_interrupt("dataset_open_chat"));
        if (!is_blank(text + begin, n))
            TLMI_TRY(read_line(reading, text + begin, n));
        begin += n + 1;
    }
    if (reading->rows.n == 0)
        return tlmi_fail(
            TLM_ERR_FORMAT,
            "%s: the file has no conversation of which something counts within %" PRId64
            " ids; it has %" PRIu64,
            reading->path, reading->options.row_length, reading->found.conversations);
    return end_row(reading);
}

/* ---- The data set ----------------------------------------------------------------------- */

static tlm_status_t check_options(const tlm_chat_data_options_t *options,
                                  const tlm_tokenizer_t *tokenizer)
{
    const uint32_t size = tlm_tokenizer_vocab_size(tokenizer);

    if (options->row_length < 2 || options->row_length > INT32_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "dataset_open_chat: row_length %" PRId64 " is not in 2 .. %d",
                         options->row_length, INT32_MAX);
    if (options->pad_id >= size || (options->has_begin_token && options->begin_token >= size) ||
        (options->has_end_token && options->end_token >= size))
        return tlmi_fail(TLM_ERR_RANGE,
                         "dataset_open_chat: pad_id, begin_token or end_token is outside the "
                         "vocabulary of %" PRIu32,
                         size);
    return TLM_OK;
}

tlm_status_t tlm_dataset_open_chat(tlm_dataset_t **out, tlm_chat_data_t *found, const char *path,
                                   const tlm_tokenizer_t *tokenizer,
                                   const tlm_chat_template_t *chat_template,
                                   const tlm_chat_data_options_t *options)
{
    reading_t reading = {.options = TLM_CHAT_DATA_OPTIONS_INIT,
                         .tokenizer = tokenizer,
                         .template = chat_template,
                         .path = path,
                         .found = TLM_CHAT_DATA_INIT};

    TLMI_REQUIRE("dataset_open_chat", out);
    if (found != NULL)
        TLMI_TRY(tlmi_options_check_out("dataset_open_chat", found, TLMI_CHAT_DATA));
    TLMI_REQUIRE("dataset_open_chat", path);
    TLMI_REQUIRE("dataset_open_chat", tokenizer);
    TLMI_TRY(
        tlmi_options_read("dataset_open_chat", &reading.options, TLMI_CHAT_DATA_OPTIONS, options));
    TLMI_TRY(check_options(&reading.options, tokenizer));
    tlmi_mapping_t file;
    TLMI_TRY(tlmi_read_file(&file, path));
    tlm_status_t status = read_lines(&reading, (const char *)file.data, file.size);
    tlmi_unmap_file(&file);
    if (status == TLM_OK)
        status = tlm_dataset_from_rows(out, reading.rows.ids, reading.rows.counted, reading.rows.n,
                                       (size_t)reading.options.row_length);
    reading.found.rows = reading.rows.n / (uint64_t)reading.options.row_length;
    tlmi_free(reading.rows.ids);
    tlmi_free(reading.rows.counted);
    if (status == TLM_OK && found != NULL)
        status = tlmi_options_write("dataset_open_chat", found, &reading.found, TLMI_CHAT_DATA);
    return status;
}
