/* Training, encoding, decoding and the files of a tokenizer. */
#include "oom_scenarios.h"

#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "data/data_core.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/tokenizer_core.h"

static const char text[] = "the cat sat on the mat, the dog sat on the log <|end|> 1234 caf\xC3\xA9"
                           " thethethethethethethe\xFF\xFE the end";
#define TEXT_SIZE (sizeof(text) - 1)

static const tlm_bytes_t special = {(const uint8_t *)"<|end|>", 7};
static tlm_tokenizer_t *tokenizer;

static tlm_status_t train(tlm_tokenizer_t **out, const char *pattern)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer = NULL;
    tlm_status_t status;

    options.vocab_size = 272;
    options.special_tokens = &special;
    options.num_special_tokens = 1;
    options.pattern = pattern;
    TRY(tlm_bpe_trainer_create(&trainer, &options));
    TRY(tlm_bpe_trainer_add_text(trainer, text, TEXT_SIZE));
    for (size_t i = 0; i < TEXT_SIZE; i += 20)
        TRY(tlm_bpe_trainer_push(trainer, text + i, TEXT_SIZE - i < 20 ? TEXT_SIZE - i : 20));
    TRY(tlm_bpe_trainer_end_text(trainer));
    TRY(tlm_bpe_trainer_add_file(trainer, path_of("text")));
    TRY(tlm_bpe_trainer_train(out, trainer));
done:
    tlm_bpe_trainer_free(trainer);
    return status;
}

static void write_text(void)
{
    FILE *file = fopen(path_of("text"), "wb");

    if (file == NULL || fwrite(text, 1, TEXT_SIZE, file) != TEXT_SIZE || fclose(file) != 0)
        exit(1);
}

static void make_tokenizer(void)
{
    write_text();
    MUST(train(&tokenizer, NULL));
    MUST(tlm_tokenizer_save(tokenizer, path_of("vocab.json"), path_of("merges.txt")));
}

static void free_tokenizer(void)
{
    tlm_tokenizer_free(tokenizer);
}

static tlm_status_t train_once(void)
{
    tlm_tokenizer_t *trained = NULL;
    tlm_status_t status = train(&trained, NULL);

    tlm_tokenizer_free(trained);
    return status;
}

static int32_t go_on(void *user, int32_t phase, uint64_t done, uint64_t total)
{
    (void)user;
    (void)phase;
    return done > total;
}

/* From a base, with all options; the limit drops pretokens of each text. */
static tlm_status_t train_with_options(void)
{
    static const char more[] =
        "the catalogue of averyveryverylongpretoken, averyveryverylongpretoken";
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer = NULL;
    tlm_tokenizer_t *trained = NULL;
    tlm_status_t status;

    options.vocab_size = 300;
    options.special_tokens = &special;
    options.num_special_tokens = 1;
    options.max_token_length = 6;
    options.max_distinct_pretokens = 4;
    options.base = tokenizer;
    options.progress = go_on;
    TRY(tlm_bpe_trainer_create(&trainer, &options));
    TRY(tlm_bpe_trainer_add_text(trainer, text, TEXT_SIZE));
    TRY(tlm_bpe_trainer_add_text(trainer, more, sizeof(more) - 1));
    TRY(tlm_bpe_trainer_train(&trained, trainer));
done:
    tlm_tokenizer_free(trained);
    tlm_bpe_trainer_free(trainer);
    return status;
}

static tlm_status_t train_by_pattern(void)
{
    tlm_tokenizer_t *trained = NULL;
    tlm_status_t status = train(&trained, "\\w+|\\s+|[^\\w\\s]+");

    tlm_tokenizer_free(trained);
    return status;
}

static void warm_up_pattern(void)
{
    write_text();
    MUST(train_by_pattern());
}

static tlm_status_t save_and_load(void)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *loaded = NULL;
    tlm_status_t status;

    options.special_tokens = &special;
    options.num_special_tokens = 1;
    TRY(tlm_tokenizer_save(tokenizer, path_of("saved.json"), path_of("saved.txt")));
    TRY(tlm_tokenizer_load(&loaded, path_of("vocab.json"), path_of("merges.txt"), &options));
done:
    tlm_tokenizer_free(loaded);
    return status;
}

static void make_other_files(void)
{
    make_tokenizer();
    MUST(tlm_tokenizer_save_tiktoken(tokenizer, path_of("ranks")));
    MUST(tlm_tokenizer_save_json(tokenizer, path_of("tokenizer.json")));
}

static tlm_status_t ranks(void)
{
    static const uint32_t special_id = 0;
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *loaded = NULL;
    tlm_status_t status;

    options.special_tokens = &special;
    options.special_token_ids = &special_id;
    options.num_special_tokens = 1;
    options.pattern = TLM_PATTERN_GPT2;
    TRY(tlm_tokenizer_save_tiktoken(tokenizer, path_of("saved")));
    TRY(tlm_tokenizer_load_tiktoken(&loaded, path_of("ranks"), &options));
done:
    tlm_tokenizer_free(loaded);
    return status;
}

/* The special tokens of a published vocabulary. */
static tlm_status_t known_ranks(void)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlmi_known_special_t known = {0};
    tlm_status_t status;

    TRY(tlmi_known_ranks_apply(&options, &known, tlmi_known_ranks_get(0)));
done:
    tlmi_known_special_release(&known);
    return status;
}

static tlm_status_t tokenizer_json(void)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_bytes_t more = {(const uint8_t *)"<|more|>", 8};
    tlm_tokenizer_t *loaded = NULL;
    tlm_status_t status;

    options.special_tokens = &more;
    options.num_special_tokens = 1;
    TRY(tlm_tokenizer_save_json(tokenizer, path_of("saved")));
    TRY(tlm_tokenizer_open(&loaded, path_of(""), &options));
done:
    tlm_tokenizer_free(loaded);
    return status;
}

static tlm_status_t create_from_memory(void)
{
    static tlm_bytes_t vocab[512], merges[512];
    uint32_t vocab_size = tlm_tokenizer_vocab_size(tokenizer), left, right;
    uint32_t num_merges = tlm_tokenizer_num_merges(tokenizer);
    tlm_tokenizer_t *made = NULL;
    tlm_status_t status;

    for (uint32_t i = 0; i < vocab_size; i++)
        TRY(tlm_tokenizer_token(&vocab[i], tokenizer, i));
    for (uint32_t i = 0; i < num_merges; i++) {
        TRY(tlm_tokenizer_merge(&left, &right, tokenizer, i));
        merges[2 * i] = vocab[left];
        merges[2 * i + 1] = vocab[right];
    }
    TRY(tlm_tokenizer_create(&made, vocab, vocab_size, merges, num_merges, NULL));
done:
    tlm_tokenizer_free(made);
    return status;
}

/* By a tokenizer of its own, since a tokenizer keeps the caches of its encoders. */
static tlm_status_t encode_and_decode(void)
{
    tlm_tokenizer_t *fresh = NULL;
    uint32_t *ids = NULL;
    uint8_t *bytes = NULL;
    char *decoded = NULL, *clean = NULL, *nfc = NULL;
    size_t n, size;
    tlm_status_t status;

    TRY(tlm_tokenizer_load(&fresh, path_of("vocab.json"), path_of("merges.txt"), NULL));
    TRY(tlm_tokenizer_encode(&ids, &n, fresh, text, TEXT_SIZE));
    TRY(tlm_tokenizer_decode(&bytes, &size, fresh, ids, n));
    if (size != TEXT_SIZE || memcmp(bytes, text, size) != 0)
        fault("the text did not come back");
    TRY(tlm_tokenizer_decode_text(&decoded, &size, fresh, ids, n));
    TRY(tlm_utf8_sanitize(&clean, &size, text, TEXT_SIZE));
    TRY(tlm_utf8_nfc(&nfc, &size, text, TEXT_SIZE));
done:
    tlm_tokenizer_free(fresh);
    tlm_free(ids);
    tlm_free(bytes);
    tlm_free(decoded);
    tlm_free(clean);
    tlm_free(nfc);
    return status;
}

static int32_t drop_ids(void *user, const uint32_t *ids, size_t n)
{
    (void)user;
    (void)ids;
    (void)n;
    return 0;
}

/* Whole and as a stream, a text that has to be put in NFC. */
static tlm_status_t encode_in_nfc(void)
{
    static const char marked[] = "e\xCC\x81 a\xCC\x87\xCC\xA3 <|end|>\xE1\x84\x80\xE1\x85\xA1";
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *fresh = NULL;
    tlm_encoder_t *encoder = NULL;
    uint32_t *ids = NULL;
    tlm_status_t status;
    size_t n;

    options.special_tokens = &special;
    options.num_special_tokens = 1;
    options.nfc = true;
    TRY(tlm_tokenizer_load(&fresh, path_of("vocab.json"), path_of("merges.txt"), &options));
    TRY(tlm_tokenizer_encode(&ids, &n, fresh, marked, sizeof(marked) - 1));
    TRY(tlm_encoder_create(&encoder, fresh, drop_ids, NULL));
    TRY(tlm_encoder_push(encoder, marked, sizeof(marked) - 1));
    TRY(tlm_encoder_finish(encoder));
done:
    tlm_encoder_free(encoder);
    tlm_tokenizer_free(fresh);
    tlm_free(ids);
    return status;
}

/* A set of special tokens by name, another that is refused, and dropout. */
static tlm_status_t encode_with_options(void)
{
    static const tlm_bytes_t others = {(const uint8_t *)"<|other|>", 9};
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    uint32_t *ids = NULL;
    tlm_status_t status;
    size_t n;

    options.allowed_special = options.disallowed_special = TLM_SPECIAL_LIST;
    options.allowed = &special;
    options.num_allowed = 1;
    options.disallowed = &others;
    options.num_disallowed = 1;
    options.dropout = 0.2;
    TRY(tlm_tokenizer_encode_with(&ids, &n, tokenizer, text, TEXT_SIZE, &options));
done:
    tlm_free(ids);
    return status;
}

static tlm_status_t batches(void)
{
    tlm_tokenizer_t *fresh = NULL;
    static uint8_t run[200];
    static const tlm_bytes_t texts[] = {
        {(const uint8_t *)text, TEXT_SIZE}, {NULL, 0}, {run, sizeof(run)}};
    tlm_encode_options_t dropout = TLM_ENCODE_OPTIONS_INIT;
    uint32_t *ids = NULL, *rows = NULL, longest[3];
    size_t *offsets = NULL, *lengths = NULL, *ends = NULL, length, n;
    uint8_t *mask = NULL, *bytes = NULL;
    tlm_ids_t row;
    tlm_status_t status;

    TRY(tlm_tokenizer_load(&fresh, path_of("vocab.json"), path_of("merges.txt"), NULL));
    memset(run, 'a', sizeof(run)); /* a long pretoken */
    dropout.dropout = 0.5;
    TRY(tlm_tokenizer_encode_batch(&ids, &offsets, fresh, texts, 3, NULL));
    tlm_free(ids);
    tlm_free(offsets);
    ids = NULL;
    offsets = NULL;
    TRY(tlm_tokenizer_encode_batch(&ids, &offsets, fresh, texts, 3, &dropout));
    TRY(tlm_tokenizer_encode_padded(&rows, &mask, &lengths, &length, fresh, texts, 2, NULL, NULL));
    row = (tlm_ids_t){rows, lengths[0]};
    TRY(tlm_tokenizer_decode_batch(&bytes, &ends, fresh, &row, 1, NULL));
    if (ends[1] != TEXT_SIZE || memcmp(bytes, text, TEXT_SIZE) != 0)
        fault("the text did not come back from its row");
    TRY(tlm_tokenizer_longest_tokens(longest, &n, fresh, 3));
done:
    tlm_tokenizer_free(fresh);
    tlm_free(ids);
    tlm_free(rows);
    tlm_free(offsets);
    tlm_free(lengths);
    tlm_free(ends);
    tlm_free(mask);
    tlm_free(bytes);
    return status;
}

static tlm_status_t tokenize(void)
{
    tlm_tokenizer_t *fresh = NULL;
    uint64_t n, count;
    size_t size;
    tlm_status_t status;

    TRY(tlm_tokenizer_load(&fresh, path_of("vocab.json"), path_of("merges.txt"), NULL));
    TRY(tlm_tokenizer_encode_file(&n, fresh, path_of("text"), path_of("text.npy"), TLM_TOKENS_AUTO,
                                  NULL, NULL));
    TRY(tlm_tokenizer_count(&count, fresh, text, TEXT_SIZE));
    TRY(tlm_tokenizer_encode_into(NULL, 0, &size, fresh, text, TEXT_SIZE));
    if (n != count || n != size)
        fault("the file has another number of ids than the text");
done:
    tlm_tokenizer_free(fresh);
    return status;
}

#define LONG_SIZE ((size_t)100000) /* bytes; enough for several pieces */

static void make_long_text(void)
{
    FILE *file = fopen(path_of("long"), "wb");
    size_t written = 0;

    make_tokenizer();
    while (file != NULL && written < LONG_SIZE)
        written += fwrite(text, 1, TEXT_SIZE, file);
    if (file == NULL || fclose(file) != 0)
        fault("the long text cannot be written");
}

static int32_t ignore_progress(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    (void)done;
    (void)total;
    return 0;
}

/* A text of several pieces; with progress they are cut on one thread too. */
static tlm_status_t tokenize_in_pieces(void)
{
    tlm_tokenizer_t *fresh = NULL;
    uint64_t n;
    tlm_status_t status;

    TRY(tlm_tokenizer_load(&fresh, path_of("vocab.json"), path_of("merges.txt"), NULL));
    TRY(tlm_tokenizer_encode_file(&n, fresh, path_of("long"), path_of("text.npy"), TLM_TOKENS_AUTO,
                                  ignore_progress, NULL));
    if (n < LONG_SIZE / 4)
        fault("the file has too few ids");
done:
    tlm_tokenizer_free(fresh);
    return status;
}

/* Two texts to one file, and a file that two writers share. */
static tlm_status_t tokenize_files(void)
{
    char texts[2][64];
    const char *const paths[] = {texts[0], texts[1]};
    tlm_token_writer_t *first = NULL, *second = NULL;
    tlm_tokenizer_t *fresh = NULL;
    const uint32_t ids[] = {1, 2, 3};
    uint64_t n;
    tlm_status_t status;

    TRY(tlm_tokenizer_load(&fresh, path_of("vocab.json"), path_of("merges.txt"), NULL));
    snprintf(texts[0], sizeof(texts[0]), "%s", path_of("text"));
    snprintf(texts[1], sizeof(texts[1]), "%s", path_of("long"));
    TRY(tlm_tokenizer_encode_files(&n, fresh, paths, 2, path_of("text.npy"), NULL));
    if (n < LONG_SIZE / 4)
        fault("the file has too few ids");
    TRY(tlm_token_writer_create(&first, path_of("shared.u16"), TLM_TOKENS_AUTO));
    TRY(tlmi_token_writer_join(&second, path_of("shared.u16"), TLM_TOKENS_AUTO,
                               tlmi_token_writer_aside_name(first)));
    TRY(tlmi_writer_remove_leftovers(path_of("shared.u16")));
    TRY(tlmi_token_writer_seek(second, 2));
    TRY(tlm_token_writer_push(second, ids, 3));
    TRY(tlm_token_writer_finish(second));
    TRY(tlm_token_writer_finish(first));
done:
    tlm_token_writer_free(first);
    tlm_token_writer_free(second);
    tlm_tokenizer_free(fresh);
    return status;
}

typedef struct id_list {
    uint32_t ids[TEXT_SIZE];
    size_t n;
} id_list_t;

static int32_t collect(void *user, const uint32_t *ids, size_t n)
{
    id_list_t *list = user;

    for (size_t i = 0; i < n && list->n < TEXT_SIZE; i++)
        list->ids[list->n++] = ids[i];
    return 0;
}

static tlm_status_t stream(void)
{
    static id_list_t list;
    tlm_encoder_t *encoder = NULL;
    tlm_decoder_t *decoder = NULL;
    const char *piece;
    size_t size;
    tlm_status_t status;

    list.n = 0;
    TRY(tlm_encoder_create(&encoder, tokenizer, collect, &list));
    for (size_t i = 0; i < TEXT_SIZE; i += 7)
        TRY(tlm_encoder_push(encoder, text + i, TEXT_SIZE - i < 7 ? TEXT_SIZE - i : 7));
    TRY(tlm_encoder_finish(encoder));
    TRY(tlm_decoder_create(&decoder, tokenizer));
    for (size_t i = 0; i < list.n; i++)
        TRY(tlm_decoder_push(&piece, &size, decoder, list.ids[i]));
    TRY(tlm_decoder_finish(&piece, &size, decoder));
done:
    tlm_encoder_free(encoder);
    tlm_decoder_free(decoder);
    return status;
}

/* ---- Decoders and templates, which only readers of files make ---- */

static tlm_status_t add_steps(tlmi_decoder_t *decoder)
{
    tlm_bytes_t a = {(const uint8_t *)"a", 1}, b = {(const uint8_t *)"bc", 2};

    TLMI_TRY(tlmi_decoder_add_replace_regex(decoder, "[ab]+", b));
    TLMI_TRY(tlmi_decoder_add_byte_fallback(decoder));
    TLMI_TRY(tlmi_decoder_add_word_piece(decoder, a, true));
    TLMI_TRY(tlmi_decoder_add_bpe(decoder, b));
    TLMI_TRY(tlmi_decoder_add_fuse(decoder));
    TLMI_TRY(tlmi_decoder_add_replace(decoder, b, a));
    TLMI_TRY(tlmi_decoder_add_byte_level(decoder));
    return tlmi_decoder_add_strip(decoder, ' ', 1, 1);
}

static tlm_status_t decode_in_steps(void)
{
    static const uint32_t around[] = {1, 2};
    tlm_tokenizer_t *fresh = NULL;
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    tlm_decode_options_t skip = TLM_DECODE_OPTIONS_INIT;
    tlm_decoder_t *decoder = NULL;
    uint32_t *ids = NULL;
    uint8_t *bytes = NULL;
    size_t *offsets = NULL, n, size;
    char *whole = NULL;
    const char *piece;
    tlm_status_t status;

    TRY(tlm_tokenizer_load(&fresh, path_of("vocab.json"), path_of("merges.txt"), NULL));
    TRY(tlmi_decoder_create(&fresh->decoder, true));
    TRY(add_steps(fresh->decoder));
    TRY(tlmi_template_create(&fresh->template, around, 1, around, 2));
    options.add_special_tokens = true;
    TRY(tlm_tokenizer_encode_with(&ids, &n, fresh, text, TEXT_SIZE, &options));
    if (n < 3 || ids[0] != 1 || ids[n - 1] != 2)
        fault("the template is not around the text");
    TRY(tlm_tokenizer_decode_text(&whole, &size, fresh, ids, n));
    tlm_ids_t rows[] = {{ids, n}, {ids, 1}};
    skip.skip_special_tokens = true;
    TRY(tlm_tokenizer_decode_batch(&bytes, &offsets, fresh, rows, 2, &skip));
    TRY(tlm_decoder_create(&decoder, fresh));
    for (size_t i = 0; i < n && i < 20; i++)
        TRY(tlm_decoder_push(&piece, &size, decoder, ids[i]));
    TRY(tlm_decoder_finish(&piece, &size, decoder));
done:
    tlm_decoder_free(decoder);
    tlm_free(ids);
    tlm_free(bytes);
    tlm_free(offsets);
    tlm_free(whole);
    tlm_tokenizer_free(fresh);
    return status;
}

/* Oniguruma keeps tables that the first pattern makes. */
static void make_tokenizer_and_pattern(void)
{
    warm_up_pattern();
    make_tokenizer();
}

const scenario_t tokenizer_scenarios[] = {
    {"train", write_text, train_once, NULL, false},
    {"train_options", make_tokenizer, train_with_options, free_tokenizer, false},
    {"first_pattern", write_text, train_by_pattern, NULL, true},
    {"pattern", warm_up_pattern, train_by_pattern, NULL, false},
    {"tokenizer_files", make_tokenizer, save_and_load, free_tokenizer, false},
    {"ranks", make_other_files, ranks, free_tokenizer, false},
    {"known_ranks", NULL, known_ranks, NULL, false},
    {"tokenizer_json", make_other_files, tokenizer_json, free_tokenizer, false},
    {"tokenizer_create", make_tokenizer, create_from_memory, free_tokenizer, false},
    {"encode", make_tokenizer, encode_and_decode, free_tokenizer, false},
    {"encode_options", make_tokenizer, encode_with_options, free_tokenizer, false},
    {"encode_nfc", make_tokenizer, encode_in_nfc, free_tokenizer, false},
    {"batches", make_tokenizer, batches, free_tokenizer, false},
    {"encode_file", make_tokenizer, tokenize, free_tokenizer, false},
    {"pieces", make_long_text, tokenize_in_pieces, free_tokenizer, false},
    {"encode_files", make_long_text, tokenize_files, free_tokenizer, false},
    {"stream", make_tokenizer, stream, free_tokenizer, false},
    {"decode_in_steps", make_tokenizer_and_pattern, decode_in_steps, free_tokenizer, false},
    {0},
};
