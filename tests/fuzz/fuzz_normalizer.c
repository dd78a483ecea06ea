/* Any map of characters and any text through the normalizers: nothing outside of the map is read, and a
 * text that is cut where it may be becomes the same. */
#include "fuzz_support.h"
#include "normalizer_support.h"

static void normalize(const tlmi_normalizer_t *normalizer, tlm_bytes_t text)
{
    tlmi_normal_text_t out = {0};
    const char *wrong = normalize_checked(&out, normalizer, text.data, text.size);

    if (wrong != NULL)
        fprintf(stderr, "%s: %s\n", normalizer->kind->name, wrong);
    FUZZ_CHECK(wrong == NULL);
    tlmi_normal_text_release(&out);
}

/* The kinds without a map, alone or two in a row. */
static void normalize_by_others(size_t which, tlm_bytes_t text)
{
    const tlmi_normalizer_t *all[12], *parts[2], *sequence;
    size_t n = 0, first, second;

    FUZZ_OK(tlmi_strip_normalizer_create(&all[n++], true, true));
    FUZZ_OK(tlmi_prepend_create(&all[n++], "_", 1));
    FUZZ_OK(tlmi_replace_string_create(&all[n++], " ", 1, "\xE2\x96\x81", 3));
    FUZZ_OK(tlmi_replace_string_create(&all[n++], "a", 1, "", 0));
    FUZZ_OK(tlmi_replace_regex_create(&all[n++], " {2,}", " ", 1));
    FUZZ_OK(tlmi_bert_normalizer_create(&all[n++], true, true, true, which % 2 == 0));
    all[n++] = &tlmi_nfc;
    all[n++] = &tlmi_nfkd;
    all[n++] = &tlmi_lowercase;
    all[n++] = &tlmi_strip_accents;
    all[n++] = &tlmi_nmt;
    all[n++] = &tlmi_byte_level_normalizer;
    first = which % n;
    second = which / n % n;
    for (size_t i = 0; i < n; i++)
        if (i != first && i != second)
            tlmi_normalizer_free(all[i]);
    parts[0] = all[first];
    parts[1] = all[second];
    FUZZ_OK(tlmi_normalizer_sequence_create(&sequence, parts, first == second ? 1 : 2));
    normalize(sequence, text);
    tlmi_normalizer_free(sequence);
}

/* Which normalizers and options, the size of the map in two bytes, the map, the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const tlm_bytes_t symbols[] = {{(const uint8_t *)"a b", 3}, {(const uint8_t *)"ab", 2}};
    fuzz_input_t input = {data, size};
    size_t which = fuzz_take(&input, 256), options = fuzz_take(&input, 256);
    size_t low = fuzz_take(&input, 256), high = fuzz_take(&input, 256);
    tlm_bytes_t map = fuzz_take_bytes(&input, low | high << 8);
    tlm_bytes_t text = fuzz_take_bytes(&input, input.size);
    const tlmi_normalizer_t *normalizer;
    tlmi_sentencepiece_spec_t spec = {.charsmap = map.data,
                                      .charsmap_size = map.size,
                                      .add_dummy_prefix = (options & 1) != 0,
                                      .remove_extra_whitespaces = (options & 2) != 0,
                                      .escape_whitespaces = (options & 4) != 0,
                                      .treat_whitespace_as_suffix = (options & 8) != 0,
                                      .symbols = symbols,
                                      .num_symbols = options >> 4 & 1};

    spec.num_symbols += options >> 5 & spec.num_symbols;
    normalize_by_others(which, text);
    if (tlmi_precompiled_create(&normalizer, "fuzz", map.data, map.size) == TLM_OK) {
        normalize(normalizer, text);
        tlmi_normalizer_free(normalizer);
    }
    if (tlmi_sentencepiece_normalizer_create(&normalizer, "fuzz", &spec) == TLM_OK) {
        normalize(normalizer, text);
        tlmi_normalizer_free(normalizer);
    }
    fuzz_free(map);
    fuzz_free(text);
    return 0;
}
