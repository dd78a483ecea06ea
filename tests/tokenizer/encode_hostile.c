/* Encodes hostile texts with a tokenizer from a file, for tests/python/test_hostile_texts.py, which counts
 * the instructions of each call. Each line has the name of a text, its size and its number of ids.
 *
 *     encode_hostile TOKENIZER SIZE ... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tinylm/tinylm.h"

/* Texts are one of these again and again, except for "letters". */
static const struct {
    const char *name, *part;
} texts[] = {
    {"letter", "a"},
    {"letters", NULL},
    {"spaces", " "},
    {"lines", "\r\n"},
    {"spaces and letters", "    a"},
    {"digits", "7"},
    {"marks", "!"},
    {"meta", "\xE2\x96\x81"},
    {"prefixes", "<ab<abc<a"},
    {"one prefix", "<"},
    {"added", "<abcd><ab>"},
    {"expansions", "\xEF\xB7\xBA"},            /* 18 characters in NFKC */
    {"accents", "\xCC\x81\xCC\x96"},           /* in the wrong order */
    {"accented", "e\xCC\x81"},                 /* one character in NFC */
    {"syllables", "\xE1\x84\x80\xE1\x85\xA1"}, /* the same */
    {"capitals", "\xC4\xB0"},                  /* longer in lower case */
    {"ideographs", "\xE4\xB8\xAD"},
    {"bytes", "\xFF"},
    {"cut characters", "\xF0\x9F\x98"},
    {"controls", "a\x01"},
};

/* Letters in an order without a period that matters. */
static void fill_letters(char *text, size_t size)
{
    unsigned state = 1;

    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        text[i] = (char)('a' + (state >> 24) % 26);
    }
}

static void fill(char *text, const char *part, size_t size)
{
    if (part == NULL)
        fill_letters(text, size);
    for (size_t i = 0; i < size && part != NULL; i++)
        text[i] = part[i % strlen(part)];
}

/* Returns whether all texts of this size could be encoded. */
static int encode_texts(const tlm_tokenizer_t *tokenizer, size_t size)
{
    char *text = malloc(size + 1);
    int works = text != NULL;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && works; i++) {
        uint32_t *ids;
        size_t n;

        fill(text, texts[i].part, size);
        works = tlm_tokenizer_encode(&ids, &n, tokenizer, text, size) == TLM_OK;
        tlm_tokenizer_trim(tokenizer); /* each text finds empty caches */
        if (works) {
            printf("%s\t%zu\t%zu\n", texts[i].name, size, n);
            tlm_free(ids);
        }
    }
    free(text);
    return works;
}

int main(int argc, char **argv)
{
    tlm_tokenizer_t *tokenizer = NULL;
    int works = argc > 2 && tlm_set_num_threads(1) == TLM_OK &&
                tlm_tokenizer_open(&tokenizer, argv[1], NULL) == TLM_OK;

    for (int i = 2; i < argc && works; i++)
        works = encode_texts(tokenizer, strtoul(argv[i], NULL, 10));
    if (!works)
        fprintf(stderr, "encode_hostile: %s\n",
                argc > 2 ? tlm_error_message() : "TOKENIZER SIZE ...");
    tlm_tokenizer_free(tokenizer);
    return works ? 0 : 1;
}
