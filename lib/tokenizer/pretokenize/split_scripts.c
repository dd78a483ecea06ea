/* Splits where the script changes, as the tokenizers library does: its scripts are those of Unicode
 * 9, Hiragana and Katakana count as Han, and a character of no script, or a space, belongs to what
 * is before it. Oniguruma's tables tell the script of a character. */
#include <oniguruma.h>
#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/pretokenize.h"

/* clang-format off */
static const char *const names[] = {
    "Han", "Hiragana", "Katakana", "Common", "Latin", "Cyrillic", "Arabic", "Greek", "Hangul",
    "Devanagari", "Inherited", "Adlam", "Ahom", "Anatolian_Hieroglyphs", "Armenian",
    "Avestan", "Balinese", "Bamum", "Bassa_Vah", "Batak", "Bengali", "Bhaiksuki", "Bopomofo",
    "Brahmi", "Braille", "Buginese", "Buhid", "Canadian_Aboriginal", "Carian",
    "Caucasian_Albanian", "Chakma", "Cham", "Cherokee", "Coptic", "Cuneiform", "Cypriot",
    "Deseret", "Duployan", "Egyptian_Hieroglyphs", "Elbasan", "Ethiopic", "Georgian",
    "Glagolitic", "Gothic", "Grantha", "Gujarati", "Gurmukhi", "Hanunoo", "Hatran", "Hebrew",
    "Imperial_Aramaic", "Inscriptional_Pahlavi", "Inscriptional_Parthian", "Javanese",
    "Kaithi", "Kannada", "Kayah_Li", "Kharoshthi", "Khmer", "Khojki", "Khudawadi", "Lao",
    "Lepcha", "Limbu", "Linear_A", "Linear_B", "Lisu", "Lycian", "Lydian", "Mahajani",
    "Malayalam", "Mandaic", "Manichaean", "Marchen", "Meetei_Mayek", "Mende_Kikakui",
    "Meroitic_Cursive", "Meroitic_Hieroglyphs", "Miao", "Modi", "Mongolian", "Mro", "Multani",
    "Myanmar", "Nabataean", "New_Tai_Lue", "Newa", "Nko", "Ogham", "Ol_Chiki",
    "Old_Hungarian", "Old_Italic", "Old_North_Arabian", "Old_Permic", "Old_Persian",
    "Old_South_Arabian", "Old_Turkic", "Oriya", "Osage", "Osmanya", "Pahawh_Hmong",
    "Palmyrene", "Pau_Cin_Hau", "Phags_Pa", "Phoenician", "Psalter_Pahlavi", "Rejang",
    "Runic", "Samaritan", "Saurashtra", "Sharada", "Shavian", "Siddham", "SignWriting",
    "Sinhala", "Sora_Sompeng", "Sundanese", "Syloti_Nagri", "Syriac", "Tagalog", "Tagbanwa",
    "Tai_Le", "Tai_Tham", "Tai_Viet", "Takri", "Tamil", "Tangut", "Telugu", "Thaana", "Thai",
    "Tibetan", "Tifinagh", "Tirhuta", "Ugaritic", "Vai", "Warang_Citi", "Yi",
};
/* clang-format on */

enum { NUM_NAMES = sizeof(names) / sizeof(names[0]), HAN = 1, KATAKANA = 3, ANY = 255 };

/* [code point]: 1 + the index of its script's name, ANY if it has none; 0 if not yet known. */
static _Atomic uint8_t scripts[0x110000];

static uint8_t find_script(uint32_t code_point)
{
    OnigEncoding encoding = ONIG_ENCODING_UTF8;

    for (int i = 0; i < NUM_NAMES; i++) {
        const OnigUChar *name = (const OnigUChar *)names[i];
        int type = encoding->property_name_to_ctype(encoding, (OnigUChar *)name,
                                                    (OnigUChar *)name + strlen(names[i]));

        if (type >= 0 && encoding->is_code_ctype(code_point, (OnigCtype)type))
            return (uint8_t)(i + 1 <= KATAKANA ? HAN : i + 1);
    }
    return ANY;
}

/* Returns the script of the character at text < end, as this splitter counts it. */
static uint8_t script_at(int *length, const uint8_t *text, const uint8_t *end)
{
    uint32_t code_point;

    *length = tlmi_utf8_decode(&code_point, text, end);
    if (*length < 0) {
        *length = 1;
        return ANY;
    }
    if (code_point == ' ')
        return ANY;
    if (code_point == 0x30FC) /* the prolonged sound mark of Katakana, which is Common */
        return HAN;
    uint8_t known = atomic_load_explicit(&scripts[code_point], memory_order_relaxed);
    if (known == 0) {
        known = find_script(code_point);
        atomic_store_explicit(&scripts[code_point], known, memory_order_relaxed);
    }
    return known;
}

/* What precedes the first character with a script is a piece only if a script begins the text: the
 * reference drops it. */
static tlm_status_t split_scripts(const tlmi_splitter_t *splitter, tlmi_text_pieces_t *out,
                                  tlmi_regex_matcher_t **matcher, const uint8_t *piece, size_t size,
                                  bool at_origin)
{
    size_t start = SIZE_MAX;
    uint8_t last = 0;

    (void)splitter;
    (void)matcher;
    for (size_t at = 0; at < size;) {
        int length;
        uint8_t script = script_at(&length, piece + at, piece + size);

        if (script != ANY && script != last) {
            if (start != SIZE_MAX)
                TLMI_TRY(
                    tlmi_text_pieces_add(out, piece + start, at - start, at_origin && start == 0));
            start = at;
            last = script;
        }
        at += (size_t)length;
    }
    return start == SIZE_MAX
               ? TLM_OK
               : tlmi_text_pieces_add(out, piece + start, size - start, at_origin && start == 0);
}

static const tlmi_splitter_kind_t scripts_kind = {.name = "UnicodeScripts", .split = split_scripts};

tlm_status_t tlmi_split_scripts_create(tlmi_splitter_t **out)
{
    tlmi_splitter_t *splitter = tlmi_calloc(1, sizeof(*splitter), "a pretokenizer");

    if (splitter == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    splitter->kind = &scripts_kind;
    *out = splitter;
    return TLM_OK;
}
