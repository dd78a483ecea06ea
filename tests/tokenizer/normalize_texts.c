/* Normalizes texts for test_normalizer_peers.py. The arguments are the normalizers, one after the
 * other; the texts come and go as sizes (32 bits, little-endian) and bytes.
 *
 *     normalize_texts nfc | nfd | nfkc | nfkd | lowercase | strip_accents | nmt | byte_level |
 *         strip LEFT RIGHT | prepend TEXT | string PATTERN CONTENT | regex PATTERN CONTENT |
 *         bert CLEAN CHINESE STRIP LOWER | precompiled FILE |
 *         sentencepiece FILE DUMMY REMOVE ESCAPE SUFFIX NUMBER SYMBOL...  */
#include <stdlib.h>

#include "normalizer_support.h"

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s; last error: %s\n", #condition, tlm_error_message());              \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static char **arguments; /* the rest, NULL-terminated */

static const char *take(void)
{
    MUST(*arguments != NULL);
    return *arguments++;
}

static bool take_flag(void)
{
    return take()[0] == '1';
}

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(1 << 22);

    MUST(file != NULL && bytes != NULL);
    *size = fread(bytes, 1, 1 << 22, file);
    fclose(file);
    return bytes;
}

static tlm_status_t create_sentencepiece(const tlmi_normalizer_t **out)
{
    tlmi_sentencepiece_spec_t spec = {0};
    const char *path = take();
    uint8_t *blob = path[0] == '\0' ? NULL : read_file(path, &spec.charsmap_size);
    tlm_bytes_t symbols[100];
    tlm_status_t status;

    spec.charsmap = blob;
    spec.add_dummy_prefix = take_flag();
    spec.remove_extra_whitespaces = take_flag();
    spec.escape_whitespaces = take_flag();
    spec.treat_whitespace_as_suffix = take_flag();
    spec.num_symbols = (size_t)atoi(take());
    spec.symbols = symbols;
    MUST(spec.num_symbols <= 100);
    for (size_t i = 0; i < spec.num_symbols; i++) {
        symbols[i].data = (const uint8_t *)take();
        symbols[i].size = strlen((const char *)symbols[i].data);
    }
    status = tlmi_sentencepiece_normalizer_create(out, path, &spec);
    free(blob);
    return status;
}

static tlm_status_t create(const tlmi_normalizer_t **out, const char *kind)
{
    static const struct {
        const char *name;
        const tlmi_normalizer_t *normalizer;
    } constants[] = {{"nfc", &tlmi_nfc},
                     {"nfd", &tlmi_nfd},
                     {"nfkc", &tlmi_nfkc},
                     {"nfkd", &tlmi_nfkd},
                     {"lowercase", &tlmi_lowercase},
                     {"strip_accents", &tlmi_strip_accents},
                     {"nmt", &tlmi_nmt},
                     {"byte_level", &tlmi_byte_level_normalizer}};

    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
        if (strcmp(kind, constants[i].name) == 0) {
            *out = constants[i].normalizer;
            return TLM_OK;
        }
    if (strcmp(kind, "strip") == 0) {
        bool left = take_flag();
        return tlmi_strip_normalizer_create(out, left, take_flag());
    }
    if (strcmp(kind, "prepend") == 0) {
        const char *text = take();
        return tlmi_prepend_create(out, text, strlen(text));
    }
    if (strcmp(kind, "string") == 0 || strcmp(kind, "regex") == 0) {
        const char *pattern = take(), *content = take();
        return kind[0] == 'r' ? tlmi_replace_regex_create(out, pattern, content, strlen(content))
                              : tlmi_replace_string_create(out, pattern, strlen(pattern), content,
                                                           strlen(content));
    }
    if (strcmp(kind, "bert") == 0) {
        bool clean = take_flag(), chinese = take_flag(), strip = take_flag();
        return tlmi_bert_normalizer_create(out, clean, chinese, strip, take_flag());
    }
    if (strcmp(kind, "precompiled") == 0) {
        size_t size;
        const char *path = take();
        uint8_t *blob = read_file(path, &size);
        tlm_status_t status = tlmi_precompiled_create(out, path, blob, size);
        free(blob);
        return status;
    }
    MUST(strcmp(kind, "sentencepiece") == 0);
    return create_sentencepiece(out);
}

/* Returns false at the end of the input. */
static bool read_text(uint8_t **text, size_t *size)
{
    uint8_t bytes[4];

    if (fread(bytes, 1, 4, stdin) != 4)
        return false;
    *size = bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 | (size_t)bytes[3] << 24;
    *text = malloc(*size + 1);
    MUST(*text != NULL && fread(*text, 1, *size, stdin) == *size);
    return true;
}

int main(int argc, char **argv)
{
    const tlmi_normalizer_t *parts[20], *normalizer;
    size_t n = 0, size;
    uint8_t *text;

    (void)argc;
    for (arguments = argv + 1; *arguments != NULL; n++) {
        const char *kind = take();

        MUST(n < 20 && create(&parts[n], kind) == TLM_OK);
    }
    MUST(tlmi_normalizer_sequence_create(&normalizer, parts, n) == TLM_OK);
    while (read_text(&text, &size)) {
        tlmi_normal_text_t out = {0};
        const char *wrong = normalize_checked(&out, normalizer, text, size);

        if (wrong != NULL) {
            fprintf(stderr, "%s: %.*s\n", wrong, (int)size, (const char *)text);
            return 1;
        }
        uint8_t bytes[4] = {(uint8_t)out.size, (uint8_t)(out.size >> 8), (uint8_t)(out.size >> 16),
                            (uint8_t)(out.size >> 24)};
        fwrite(bytes, 1, 4, stdout);
        fwrite(out.bytes, 1, out.size, stdout);
        tlmi_normal_text_release(&out);
        free(text);
    }
    tlmi_normalizer_free(normalizer);
    return 0;
}
