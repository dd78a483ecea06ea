/* Decompositions, compositions, combining classes, cases and clusters of characters, from
 * utf8proc's tables and from what is different in the tables of `tokenizers`. */
#include "tokenizer/normalize/normalize.h"

#include <stdatomic.h>
#include <utf8proc.h>

#include "tokenizer/pretokenize/unicode.h"

/* ---- Differences between versions of Unicode ----
 *
 * `tokenizers` normalizes by Unicode 9, and BertNormalizer has categories that are older still. */

enum {
    F = TLMI_NOT_IN_FORMS, /* has no decomposition and is not a mark */
    N = TLMI_NOT_ACCENT,   /* is not in BertNormalizer's category Mn */
    Y = TLMI_ACCENT,       /* is in it, though utf8proc has another category */
    C = TLMI_NOT_CONTROL   /* is not a control character for BertNormalizer */
};

static const struct {
    uint32_t first, last;
    int what;
} differences[] = {
    {0x7FD, 0x7FD, F | N},     {0x890, 0x891, C},         {0x898, 0x89F, F | N},
    {0x8CA, 0x8D3, F | N},     {0x8D4, 0x8E1, N},         {0x8E2, 0x8E2, C},
    {0x9FE, 0x9FE, F | N},     {0xAFA, 0xAFF, F | N},     {0xB55, 0xB55, F | N},
    {0xC04, 0xC04, F | N},     {0xC3C, 0xC3C, F | N},     {0xCF3, 0xCF3, F},
    {0xD00, 0xD00, F | N},     {0xD3B, 0xD3C, F | N},     {0xD81, 0xD81, F | N},
    {0xEBA, 0xEBA, F | N},     {0xECE, 0xECE, F | N},     {0x1715, 0x1715, F},
    {0x1734, 0x1734, Y},       {0x180F, 0x180F, F | N},   {0x1885, 0x1886, N},
    {0x1ABF, 0x1ACE, F | N},   {0x1CF7, 0x1CF7, F},       {0x1DF6, 0x1DFA, F | N},
    {0x1DFB, 0x1DFB, N},       {0x32FF, 0x32FF, F},       {0xA7F2, 0xA7F4, F},
    {0xA82C, 0xA82C, F | N},   {0xA8C5, 0xA8C5, N},       {0xA8FF, 0xA8FF, F | N},
    {0xA9BD, 0xA9BD, N},       {0xAB69, 0xAB69, F},       {0x10781, 0x10785, F},
    {0x10787, 0x107B0, F},     {0x107B2, 0x107BA, F},     {0x10D24, 0x10D27, F | N},
    {0x10EAB, 0x10EAC, F | N}, {0x10EFD, 0x10EFF, F | N}, {0x10F46, 0x10F50, F | N},
    {0x10F82, 0x10F85, F | N}, {0x11070, 0x11070, F | N}, {0x11073, 0x11074, F | N},
    {0x110C2, 0x110C2, F | N}, {0x110CD, 0x110CD, C},     {0x11145, 0x11146, F},
    {0x111C9, 0x111C9, F | N}, {0x111CE, 0x111CE, F},     {0x111CF, 0x111CF, F | N},
    {0x1123E, 0x1123E, N},     {0x11241, 0x11241, F | N}, {0x1133B, 0x1133B, F | N},
    {0x11438, 0x1143F, N},     {0x11442, 0x11444, N},     {0x11446, 0x11446, N},
    {0x1145E, 0x1145E, F | N}, {0x1182C, 0x1182E, F},     {0x1182F, 0x11837, F | N},
    {0x11838, 0x11838, F},     {0x11839, 0x1183A, F | N}, {0x11930, 0x11935, F},
    {0x11937, 0x11938, F},     {0x1193B, 0x1193C, F | N}, {0x1193D, 0x1193D, F},
    {0x1193E, 0x1193E, F | N}, {0x11940, 0x11940, F},     {0x11942, 0x11942, F},
    {0x11943, 0x11943, F | N}, {0x119D1, 0x119D3, F},     {0x119D4, 0x119D7, F | N},
    {0x119DA, 0x119DB, F | N}, {0x119DC, 0x119DF, F},     {0x119E0, 0x119E0, F | N},
    {0x119E4, 0x119E4, F},     {0x11A01, 0x11A0A, F | N}, {0x11A33, 0x11A38, F | N},
    {0x11A39, 0x11A39, F},     {0x11A3B, 0x11A3E, F | N}, {0x11A47, 0x11A47, F | N},
    {0x11A51, 0x11A56, F | N}, {0x11A57, 0x11A58, F},     {0x11A59, 0x11A5B, F | N},
    {0x11A8A, 0x11A96, F | N}, {0x11A97, 0x11A97, F},     {0x11A98, 0x11A99, F | N},
    {0x11C30, 0x11C36, N},     {0x11C38, 0x11C3D, N},     {0x11C3F, 0x11C3F, N},
    {0x11C92, 0x11CA7, N},     {0x11CAA, 0x11CB0, N},     {0x11CB2, 0x11CB3, N},
    {0x11CB5, 0x11CB6, N},     {0x11D31, 0x11D36, F | N}, {0x11D3A, 0x11D3A, F | N},
    {0x11D3C, 0x11D3D, F | N}, {0x11D3F, 0x11D45, F | N}, {0x11D47, 0x11D47, F | N},
    {0x11D8A, 0x11D8E, F},     {0x11D90, 0x11D91, F | N}, {0x11D93, 0x11D94, F},
    {0x11D95, 0x11D95, F | N}, {0x11D96, 0x11D96, F},     {0x11D97, 0x11D97, F | N},
    {0x11EF3, 0x11EF4, F | N}, {0x11EF5, 0x11EF6, F},     {0x11F00, 0x11F01, F | N},
    {0x11F03, 0x11F03, F},     {0x11F34, 0x11F35, F},     {0x11F36, 0x11F3A, F | N},
    {0x11F3E, 0x11F3F, F},     {0x11F40, 0x11F40, F | N}, {0x11F41, 0x11F41, F},
    {0x11F42, 0x11F42, F | N}, {0x13430, 0x1343F, C},     {0x13440, 0x13440, F | N},
    {0x13447, 0x13455, F | N}, {0x16F4F, 0x16F4F, F | N}, {0x16F7F, 0x16F87, F},
    {0x16FE4, 0x16FE4, F | N}, {0x16FF0, 0x16FF1, F},     {0x1CF00, 0x1CF2D, F | N},
    {0x1CF30, 0x1CF46, F | N}, {0x1E000, 0x1E006, N},     {0x1E008, 0x1E018, N},
    {0x1E01B, 0x1E021, N},     {0x1E023, 0x1E024, N},     {0x1E026, 0x1E02A, N},
    {0x1E030, 0x1E06D, F},     {0x1E08F, 0x1E08F, F | N}, {0x1E130, 0x1E136, F | N},
    {0x1E2AE, 0x1E2AE, F | N}, {0x1E2EC, 0x1E2EF, F | N}, {0x1E4EC, 0x1E4EF, F | N},
    {0x1E944, 0x1E94A, N},     {0x1F16C, 0x1F16C, F},     {0x1FBF0, 0x1FBF9, F},
};
#define NUM_DIFFERENCES (sizeof(differences) / sizeof(differences[0]))

int tlmi_char_difference(uint32_t code_point)
{
    size_t low = 0, high = NUM_DIFFERENCES;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (code_point > differences[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < NUM_DIFFERENCES && code_point >= differences[low].first ? differences[low].what
                                                                         : 0;
}

/* ---- Normalization Forms ---- */

#define STABLE       UTF8PROC_STABLE
#define COMPOSE      (UTF8PROC_COMPOSE | STABLE)
#define KNOWN_STABLE 8 /* added to a form: the bit that says that the bit of the form is set */

/* Two bits per form and code point. */
static _Atomic uint16_t stabilities[0x110000];

static bool is_newer(uint32_t code_point, int form)
{
    return (form & TLMI_FORM_NEWEST) == 0 &&
           (tlmi_char_difference(code_point) & TLMI_NOT_IN_FORMS) != 0;
}

/* Every character that composes with the one before it is a mark, or a Hangul vowel or final
 * consonant. U+11A7, just before the first final consonant, is not one, but utf8proc 2.8 treats
 * it as one and drops it. Treated as stable, it is never composed. */
static bool find_stability(uint32_t code_point, int form)
{
    int32_t characters[TLMI_DECOMPOSED];

    if (is_newer(code_point, form))
        return true;
    size_t n = tlmi_decompose(characters, code_point, form);
    if ((form & TLMI_FORM_COMPOSED) == 0)
        return n == 1 && (uint32_t)characters[0] == code_point &&
               tlmi_combining_class(characters[0], form) == 0;
    if (tlmi_char_class(code_point) == TLMI_CHAR_MARK)
        return false;
    if (code_point >= 0x1160 && code_point <= 0x11FF)
        return code_point == 0x11A7;
    return utf8proc_normalize_utf32(characters, (utf8proc_ssize_t)n, COMPOSE) == 1 &&
           (uint32_t)characters[0] == code_point;
}

bool tlmi_char_is_stable(uint32_t code_point, int form)
{
    int known = atomic_load_explicit(&stabilities[code_point], memory_order_relaxed);

    if ((known >> (form + KNOWN_STABLE) & 1) == 0) {
        known = 1 << (form + KNOWN_STABLE) | (int)find_stability(code_point, form) << form;
        atomic_fetch_or_explicit(&stabilities[code_point], (uint16_t)known, memory_order_relaxed);
    }
    return (known >> form & 1) != 0;
}

int tlmi_combining_class(int32_t code_point, int form)
{
    int class = utf8proc_get_property(code_point)->combining_class;

    return class != 0 && is_newer((uint32_t)code_point, form) ? 0 : class;
}

size_t tlmi_decompose(int32_t characters[TLMI_DECOMPOSED], uint32_t code_point, int form)
{
    int options = STABLE | UTF8PROC_DECOMPOSE;

    if ((form & TLMI_FORM_COMPATIBLE) != 0)
        options |= UTF8PROC_COMPAT;
    if (is_newer(code_point, form)) {
        characters[0] = (int32_t)code_point;
        return 1;
    }
    return (size_t)utf8proc_decompose_char((utf8proc_int32_t)code_point, characters,
                                           TLMI_DECOMPOSED, (utf8proc_option_t)options, NULL);
}

size_t tlmi_encode_form(int32_t *characters, size_t n, int form)
{
    return (size_t)utf8proc_reencode(characters, (utf8proc_ssize_t)n,
                                     (form & TLMI_FORM_COMPOSED) != 0 ? COMPOSE : STABLE);
}

/* ---- Case ---- */

/* The lower case of letters that Unicode 16 and 17 added. */
static const struct {
    uint32_t first, last, lower;
} newer_letters[] = {
    {0x1C89, 0x1C89, 0x1C8A},    {0xA7CB, 0xA7CB, 0x264},  {0xA7CC, 0xA7CC, 0xA7CD},
    {0xA7CE, 0xA7CE, 0xA7CF},    {0xA7D2, 0xA7D2, 0xA7D3}, {0xA7D4, 0xA7D4, 0xA7D5},
    {0xA7DA, 0xA7DA, 0xA7DB},    {0xA7DC, 0xA7DC, 0x19B},  {0x10D50, 0x10D65, 0x10D70},
    {0x16EA0, 0x16EB8, 0x16EBB},
};

int tlmi_char_lower(int32_t lower[2], uint32_t code_point)
{
    lower[0] = utf8proc_tolower((utf8proc_int32_t)code_point);
    if (code_point == 0x130) { /* the only character whose lower case has two characters */
        lower[0] = 'i';
        lower[1] = 0x307;
        return 2;
    }
    if (code_point < newer_letters[0].first || (code_point > 0xA7DC && code_point < 0x10D50))
        return 1;
    for (size_t i = 0; i < sizeof(newer_letters) / sizeof(newer_letters[0]); i++)
        if (code_point >= newer_letters[i].first && code_point <= newer_letters[i].last)
            lower[0] = (int32_t)(newer_letters[i].lower + code_point - newer_letters[i].first);
    return 1;
}

/* ---- Categories ---- */

bool tlmi_char_is_accent(uint32_t code_point)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code_point);

    if (category == UTF8PROC_CATEGORY_MN)
        return (tlmi_char_difference(code_point) & TLMI_NOT_ACCENT) == 0;
    return category == UTF8PROC_CATEGORY_MC &&
           (tlmi_char_difference(code_point) & TLMI_ACCENT) != 0;
}

bool tlmi_char_is_control(uint32_t code_point)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code_point);

    return (category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
            category == UTF8PROC_CATEGORY_CO) &&
           (tlmi_char_difference(code_point) & TLMI_NOT_CONTROL) == 0;
}

/* ---- Grapheme clusters ---- */

/* The marks of Unicode 16 and 17, which continue a cluster. */
static const uint32_t newer_marks[][2] = {
    {0x897, 0x897},     {0x1ACF, 0x1ADD},   {0x1AE0, 0x1AEB},   {0x10D69, 0x10D6D},
    {0x10EFA, 0x10EFC}, {0x113B8, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5},
    {0x113C7, 0x113CA}, {0x113CC, 0x113D0}, {0x113D2, 0x113D2}, {0x113E1, 0x113E2},
    {0x11B60, 0x11B67}, {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F}, {0x1E5EE, 0x1E5EF},
    {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5},
};

bool tlmi_grapheme_ends(uint32_t before, uint32_t after, int32_t *state)
{
    bool ends =
        utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)after, state);

    if (!ends || utf8proc_category((utf8proc_int32_t)after) != UTF8PROC_CATEGORY_CN)
        return ends;
    for (size_t i = 0; i < sizeof(newer_marks) / sizeof(newer_marks[0]); i++)
        if (after >= newer_marks[i][0] && after <= newer_marks[i][1])
            return before < 0x20 || before == 0x7F; /* but not that of a control character */
    return true;
}
