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

/* The ranges of characters that got a script after Unicode 9. */
/* clang-format off */
static const uint32_t newer[][2] = {
    {0x560, 0x560}, {0x588, 0x588}, {0x5EF, 0x5EF}, {0x61D, 0x61D}, {0x7FD, 0x7FF}, {0x860,
    0x89F}, {0x8B5, 0x8B5}, {0x8BE, 0x8D3}, {0x9FC, 0x9FE}, {0xA76, 0xA76}, {0xAFA, 0xAFF},
    {0xB55, 0xB55}, {0xC04, 0xC04}, {0xC3C, 0xC3C}, {0xC5D, 0xC5D}, {0xC77, 0xC77}, {0xC84,
    0xC84}, {0xCDD, 0xCDD}, {0xD00, 0xD00}, {0xD04, 0xD04}, {0xD3B, 0xD3C}, {0xD81, 0xD81},
    {0xE86, 0xE86}, {0xE89, 0xE89}, {0xE8C, 0xE8C}, {0xE8E, 0xE93}, {0xE98, 0xE98}, {0xEA0,
    0xEA0}, {0xEA8, 0xEA9}, {0xEAC, 0xEAC}, {0xEBA, 0xEBA}, {0x170D, 0x170D}, {0x1715, 0x171F},
    {0x180F, 0x180F}, {0x1878, 0x1878}, {0x1ABF, 0x1ACE}, {0x1B4C, 0x1B4C}, {0x1B7D, 0x1B7E},
    {0x1C90, 0x1CBF}, {0x1CF7, 0x1CF7}, {0x1CFA, 0x1CFA}, {0x1DF6, 0x1DFA}, {0x20BF, 0x20C0},
    {0x23FF, 0x23FF}, {0x2B97, 0x2B97}, {0x2BBA, 0x2BBC}, {0x2BC9, 0x2BC9}, {0x2BD2, 0x2BEB},
    {0x2BF0, 0x2BFF}, {0x2C2F, 0x2C2F}, {0x2C5F, 0x2C5F}, {0x2E45, 0x2E5D}, {0x312E, 0x312F},
    {0x31BB, 0x31BF}, {0x32FF, 0x32FF}, {0x4DB6, 0x4DBF}, {0x9FD6, 0x9FFF}, {0xA7AF, 0xA7AF},
    {0xA7B8, 0xA7F6}, {0xA82C, 0xA82C}, {0xA8FE, 0xA8FF}, {0xAB66, 0xAB6B}, {0xFBC2, 0xFBC2},
    {0xFD40, 0xFD4F}, {0xFDCF, 0xFDCF}, {0xFDFE, 0xFDFF}, {0x1019C, 0x1019C}, {0x1032D,
    0x1032F}, {0x10570, 0x105BC}, {0x10780, 0x107BA}, {0x10A34, 0x10A35}, {0x10A48, 0x10A48},
    {0x10D00, 0x10D39}, {0x10E80, 0x10FF6}, {0x11070, 0x11075}, {0x110C2, 0x110CD}, {0x11144,
    0x11147}, {0x111CE, 0x111CF}, {0x1133B, 0x1133B}, {0x1145A, 0x1145A}, {0x1145E, 0x11461},
    {0x116B8, 0x116B9}, {0x1171A, 0x1171A}, {0x11740, 0x1183B}, {0x11900, 0x11ABF}, {0x11D00,
    0x11FFF}, {0x12F90, 0x12FF2}, {0x13430, 0x13438}, {0x16A70, 0x16AC9}, {0x16E40, 0x16E9A},
    {0x16F45, 0x16F4F}, {0x16F7F, 0x16F87}, {0x16FE1, 0x16FF1}, {0x187ED, 0x187F7}, {0x18AF3,
    0x1AFFE}, {0x1B002, 0x1B2FB}, {0x1CF00, 0x1CFC3}, {0x1D1E9, 0x1D1EA}, {0x1D2E0, 0x1D2F3},
    {0x1D372, 0x1D378}, {0x1DF00, 0x1DF1E}, {0x1E100, 0x1E7FE}, {0x1E94B, 0x1E94B}, {0x1EC71,
    0x1ED3D}, {0x1F10D, 0x1F10F}, {0x1F12F, 0x1F12F}, {0x1F16C, 0x1F16F}, {0x1F1AD, 0x1F1AD},
    {0x1F260, 0x1F265}, {0x1F6D3, 0x1F6DF}, {0x1F6F7, 0x1F6FC}, {0x1F7D5, 0x1F7F0}, {0x1F8B0,
    0x1F90F}, {0x1F91F, 0x1F91F}, {0x1F928, 0x1F92F}, {0x1F931, 0x1F932}, {0x1F93F, 0x1F93F},
    {0x1F94C, 0x1F94F}, {0x1F95F, 0x1F97F}, {0x1F992, 0x1F9BF}, {0x1F9C1, 0x1FBF9}, {0x2A6D7,
    0x2A6DF}, {0x2B735, 0x2B738}, {0x2CEB0, 0x2EBE0}, {0x30000, 0x3134A},
};
/* clang-format on */

enum { NUM_NAMES = sizeof(names) / sizeof(names[0]), HAN = 1, KATAKANA = 3, ANY = 255 };

/* [code point]: 1 + the index of its script's name, ANY if it has none; 0 if not yet known. */
static _Atomic uint8_t scripts[0x110000];

static bool is_newer(uint32_t code_point)
{
    for (size_t i = 0; i < sizeof(newer) / sizeof(newer[0]); i++)
        if (code_point >= newer[i][0] && code_point <= newer[i][1])
            return true;
    return false;
}

static uint8_t find_script(uint32_t code_point)
{
    OnigEncoding encoding = ONIG_ENCODING_UTF8;

    if (is_newer(code_point))
        return ANY;
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
