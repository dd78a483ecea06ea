/* Creating normalizers and normalizing by them. */
#include "oom_scenarios.h"

#include <string.h>

#include "charsmap_support.h"
#include "tokenizer/normalize/normalize.h"

static const charsmap_rule_t rules[] = {{"\t", " "}, {"\xEF\xAC\x81", "fi"}};
static uint8_t blob[8 * CHARSMAP_UNITS];
static size_t blob_size;

static tlm_status_t create(const tlmi_normalizer_t **out, int kind)
{
    static const tlm_bytes_t symbols[] = {{(const uint8_t *)"at", 2}, {(const uint8_t *)"a", 1}};
    tlmi_sentencepiece_spec_t spec = {.charsmap = blob,
                                      .charsmap_size = blob_size,
                                      .add_dummy_prefix = true,
                                      .escape_whitespaces = true,
                                      .symbols = symbols,
                                      .num_symbols = 2};

    switch (kind) {
    case 0:
        return tlmi_prepend_create(out, "_", 1);
    case 1:
        return tlmi_replace_string_create(out, " ", 1, "  ", 2);
    case 2:
        return tlmi_replace_regex_create(out, "[xy]*", "z", 1);
    case 3:
        return tlmi_precompiled_create(out, "oom", blob, blob_size);
    case 4:
        return tlmi_bert_normalizer_create(out, true, true, true, true);
    case 5:
        return tlmi_strip_normalizer_create(out, true, true);
    case 6:
        *out = &tlmi_nfkc;
        return TLM_OK;
    case 7:
        *out = &tlmi_byte_level_normalizer;
        return TLM_OK;
    default:
        return tlmi_sentencepiece_normalizer_create(out, "oom", &spec);
    }
}

/* Also starts Oniguruma, which keeps what it allocates. */
static void build_map(void)
{
    const tlmi_normalizer_t *regex;

    blob_size = charsmap_build(blob, rules, 2);
    MUST(create(&regex, 2));
    tlmi_normalizer_free(regex);
}

/* All kinds in a sequence, which takes them over even if it cannot be created. */
static tlm_status_t normalize_text(void)
{
    static const uint8_t text[] =
        "  The cat, caf\xC3\xA9 \xEF\xAC\x81 x\tyy \xFF e\xCC\x81\xCC\xA3 end";
    const tlmi_normalizer_t *parts[9], *normalizer = NULL;
    tlmi_normal_text_t out = {0};
    tlm_status_t status;
    size_t n = 0;

    for (; n < 9; n++)
        TRY(create(&parts[n], (int)n));
    n = 0;
    TRY(tlmi_normalizer_sequence_create(&normalizer, parts, 9));
    TRY(normalizer->kind->append(normalizer, &out, text, sizeof(text) - 1, TLMI_WHOLE_PIECE));
done:
    for (size_t i = 0; i < n; i++)
        tlmi_normalizer_free(parts[i]);
    tlmi_normalizer_free(normalizer);
    tlmi_normal_text_release(&out);
    return status;
}

const scenario_t normalizer_scenarios[] = {
    {"normalizers", build_map, normalize_text, NULL, false},
    {0},
};
