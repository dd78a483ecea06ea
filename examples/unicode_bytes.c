/* Why tokenizers work on UTF-8 bytes: the NUL character, sizes in three encodings, and bytes that are
 * not characters. */
#include <inttypes.h>
#include <string.h>

#include "support/cli.h"

static void print_bytes(const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%s%02x", i > 0 ? " " : "", ((const uint8_t *)bytes)[i]);
}

/* Bytes as valid UTF-8, malformed parts as U+FFFD; to be freed with tlm_free. */
static char *sanitize(const void *bytes, size_t n)
{
    char *text;
    size_t size;

    cli_check(tlm_utf8_sanitize(&text, &size, bytes, n));
    return text;
}

/* A tokenizer without merges: ids are bytes. */
static tlm_tokenizer_t *byte_tokenizer(void)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;

    options.vocab_size = 256;
    cli_check(tlm_bpe_trainer_create(&trainer, &options));
    cli_check(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    return tokenizer;
}

static void show_nul(const tlm_tokenizer_t *tokenizer)
{
    static const char text[] = "this is a test\0string";
    uint8_t *back;
    uint32_t *ids;
    size_t n, size;

    printf("chr(0) is the character U+0000, one byte: 00. A terminal shows nothing for it:\n  ");
    cli_print(text, sizeof(text) - 1);
    cli_check(tlm_tokenizer_encode(&ids, &n, tokenizer, text, sizeof(text) - 1));
    cli_check(tlm_tokenizer_decode(&back, &size, tokenizer, ids, n));
    printf("\nIn a text it is a character like any other: %zu bytes, %zu tokens, id %" PRIu32
           " in the middle; the round trip is %s.\n\n",
           sizeof(text) - 1, n, ids[14],
           size == sizeof(text) - 1 && memcmp(back, text, size) == 0 ? "exact" : "WRONG");
    tlm_free(ids);
    tlm_free(back);
}

/* Counts the characters of a valid UTF-8 text (bytes that do not continue a character), and those that
 * UTF-16 writes as a pair, which take four bytes in UTF-8. */
static void count_characters(const char *text, size_t *characters, size_t *pairs)
{
    *characters = *pairs = 0;
    for (; *text != '\0'; text++) {
        *characters += ((uint8_t)*text & 0xc0) != 0x80;
        *pairs += (uint8_t)*text >= 0xf0;
    }
}

static void show_sizes(void)
{
    static const char *const texts[] = {"Hello", "caf\u00e9", "\u4f60\u597d", "\U0001f600"};

    printf("Bytes in UTF-8, UTF-16 and UTF-32, the last two with their byte order mark:\n");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t characters, pairs;

        count_characters(texts[i], &characters, &pairs);
        printf("  %2zu  %2zu  %2zu  %s\n", strlen(texts[i]), 2 + 2 * (characters + pairs),
               4 + 4 * characters, texts[i]);
    }
    printf("UTF-8 has no byte order marks and no zero bytes of padding. In the other encodings, "
           "BPE would "
           "first learn the padding.\n\n");
}

static void show_bytewise_decoding(const tlm_tokenizer_t *tokenizer)
{
    static const char text[] = "\u4f60\u597d";
    tlm_decoder_t *decoder;
    const char *part;
    uint32_t *ids;
    size_t n, size;

    cli_check(tlm_tokenizer_encode(&ids, &n, tokenizer, text, strlen(text)));
    printf("%s is ", text);
    print_bytes(text, strlen(text));
    printf(". If each byte is decoded by itself, the text is lost: ");
    for (size_t i = 0; i < n; i++) {
        char *character;

        cli_check(tlm_tokenizer_decode_text(&character, &size, tokenizer, &ids[i], 1));
        printf("%s", character);
        tlm_free(character);
    }
    printf("\nA decoder that waits for whole characters gives: ");
    cli_check(tlm_decoder_create(&decoder, tokenizer));
    for (size_t i = 0; i < n; i++) {
        cli_check(tlm_decoder_push(&part, &size, decoder, ids[i]));
        cli_print(part, size);
    }
    cli_check(tlm_decoder_finish(&part, &size, decoder));
    cli_print(part, size);
    printf("\n\n");
    tlm_decoder_free(decoder);
    tlm_free(ids);
}

static void show_malformed(void)
{
    static const uint8_t pairs[][2] = {{0xc3, 0x29}, {0xc3, 0xc3}, {0x80, 0x80}, {0xc0, 0xaf}};
    static const char *const reasons[] = {
        "c3 begins a character of two bytes, and 29, ')', does not continue it",
        "each c3 begins a character, and nothing continues it",
        "80 continues a character, and none has begun",
        "an overlong form of '/': c0 is never a byte of UTF-8"};

    printf("Pairs of bytes that are not a character, and what replaces them:\n");
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char *text = sanitize(pairs[i], 2);

        printf("  ");
        print_bytes(pairs[i], 2);
        printf("  %s  %s\n", text, reasons[i]);
        tlm_free(text);
    }
}

static int run(int n, char **operands)
{
    tlm_tokenizer_t *tokenizer = byte_tokenizer();

    (void)n;
    (void)operands;
    show_nul(tokenizer);
    show_sizes();
    show_bytewise_decoding(tokenizer);
    show_malformed();
    tlm_tokenizer_free(tokenizer);
    return 0;
}

const cli_program_t unicode_bytes_program = {
    .summary = "Shows why tokenizers work on UTF-8 bytes: NUL, encodings, malformed text.",
    .name = "unicode_bytes",
    .brief = "show why tokenizers work on bytes",
    .run = run,
};

CLI_MAIN(unicode_bytes_program)
