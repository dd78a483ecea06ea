/* The symbols of a pretoken before any merge. What an unknown symbol becomes follows Hugging Face
 * tokenizers to the letter: an unk_token waits for the next known symbol, while the tokens of the
 * byte fallback do not. */
#include "tokenizer/bpe/bpe.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/unicode.h"

#define NUM_PAGES (0x110000 / 256)

/* ---- Maps of characters ---- */

static tlm_status_t add_page(tlmi_symbol_map_t *map)
{
    if (!tlmi_grow(&map->pages, &map->capacity, map->num_pages + 1, sizeof(*map->pages),
                   "a vocabulary"))
        return TLM_ERR_OUT_OF_MEMORY;
    memset(map->pages[map->num_pages++], 0xFF, sizeof(*map->pages));
    return TLM_OK;
}

static tlm_status_t init_map(tlmi_symbol_map_t *map, bool is_byte_level)
{
    TLMI_TRY(add_page(map));
    if (is_byte_level)
        return TLM_OK;
    map->page_of = tlmi_calloc(NUM_PAGES, sizeof(*map->page_of), "a vocabulary");
    return map->page_of != NULL ? TLM_OK : TLM_ERR_OUT_OF_MEMORY;
}

tlm_status_t tlmi_symbol_map_set(tlmi_symbol_map_t *map, tlm_bytes_t token, uint32_t symbol)
{
    uint32_t code_point;

    if (map->page_of == NULL) {
        if (token.size == 1)
            map->pages[0][token.data[0]] = symbol;
        return TLM_OK;
    }
    if (token.size == 0 || token.size > 4 ||
        tlmi_utf8_decode(&code_point, token.data, token.data + token.size) != (int)token.size)
        return TLM_OK;
    uint16_t *page = &map->page_of[code_point >> 8];
    if (*page == 0) {
        TLMI_TRY(add_page(map));
        *page = (uint16_t)(map->num_pages - 1);
    }
    map->pages[*page][code_point & 255] = symbol;
    return TLM_OK;
}

/* ---- The symbols of a vocabulary ---- */

static bool starts_with(tlm_bytes_t token, tlm_bytes_t prefix)
{
    return token.size >= prefix.size &&
           (prefix.size == 0 || memcmp(token.data, prefix.data, prefix.size) == 0);
}

static bool ends_with(tlm_bytes_t token, tlm_bytes_t suffix)
{
    return token.size >= suffix.size &&
           (suffix.size == 0 ||
            memcmp(token.data + token.size - suffix.size, suffix.data, suffix.size) == 0);
}

static bool is_known(const tlmi_bpe_options_t *options, uint32_t id)
{
    return options->is_added == NULL || options->is_added[id] == 0;
}

/* Returns the place whose map a place uses: the same, without affixes that are empty. */
static int place_of_map(int place, const tlmi_bpe_options_t *options)
{
    if (options->continuing_subword_prefix.size == 0)
        place &= ~TLMI_PLACE_LATER;
    return options->end_of_word_suffix.size == 0 ? place & ~TLMI_PLACE_LAST : place;
}

static tlm_status_t fill_map(tlmi_symbol_map_t *map, int place, const tlmi_vocabulary_t *vocabulary,
                             const tlmi_bpe_options_t *options)
{
    tlm_bytes_t prefix = {NULL, 0}, suffix = {NULL, 0};

    if ((place & TLMI_PLACE_LATER) != 0)
        prefix = options->continuing_subword_prefix;
    if ((place & TLMI_PLACE_LAST) != 0)
        suffix = options->end_of_word_suffix;
    TLMI_TRY(init_map(map, options->is_byte_level));
    for (uint32_t id = 0; id < vocabulary->size; id++) {
        tlm_bytes_t token = tlmi_vocabulary_token(vocabulary, id);

        if (!is_known(options, id) || !starts_with(token, prefix))
            continue;
        token = (tlm_bytes_t){token.data + prefix.size, token.size - prefix.size};
        if (!ends_with(token, suffix))
            continue;
        token.size -= suffix.size;
        TLMI_TRY(tlmi_symbol_map_set(map, token, id));
    }
    return TLM_OK;
}

static uint32_t find_known(const tlmi_vocabulary_t *vocabulary, const tlmi_bpe_options_t *options,
                           const void *token, size_t size)
{
    uint32_t id = tlmi_vocabulary_find(vocabulary, token, size);

    return id != TLMI_NO_TOKEN && is_known(options, id) ? id : TLMI_NO_TOKEN;
}

/* Finds the tokens of the byte fallback, which go into byte_ids. */
static bool find_fallback(tlmi_bpe_symbols_t *out, const tlmi_vocabulary_t *vocabulary,
                          const tlmi_bpe_options_t *options)
{
    bool any = false;

    for (int byte = 0; byte < 256; byte++) {
        uint32_t id = tlmi_find_byte_token(vocabulary, byte);

        out->byte_ids[byte] = id != TLMI_NO_TOKEN && is_known(options, id) ? id : TLMI_NO_TOKEN;
        any = any || out->byte_ids[byte] != TLMI_NO_TOKEN;
    }
    return any;
}

/* Whether each byte has a token at each place. */
static bool has_all_bytes(const tlmi_bpe_symbols_t *symbols)
{
    for (int place = 0; place < TLMI_NUM_PLACES; place++)
        for (int byte = 0; byte < 256; byte++)
            if (symbols->map_of[place]->pages[0][byte] == TLMI_NO_TOKEN)
                return false;
    return true;
}

/* A symbol gives at most as many ids as it has bytes in the text. The fallback of a symbol with
 * affixes, or of the character that stands for a byte, would give more. */
static tlm_status_t check_fallback(const char *what, const tlmi_bpe_options_t *options)
{
    if (options->continuing_subword_prefix.size + options->end_of_word_suffix.size > 0)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: byte_fallback together with continuing_subword_prefix or "
                         "end_of_word_suffix is not supported",
                         what);
    if (options->is_byte_level)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: byte_fallback in a byte-level vocabulary that lacks some bytes is "
                         "not supported",
                         what);
    return TLM_OK;
}

static tlm_status_t find_symbols(tlmi_bpe_symbols_t *out, const char *what,
                                 const tlmi_vocabulary_t *vocabulary,
                                 const tlmi_bpe_options_t *options)
{
    for (int place = 0; place < TLMI_NUM_PLACES; place++) {
        int used = place_of_map(place, options);

        out->map_of[place] = &out->maps[used];
        if (used == place)
            TLMI_TRY(fill_map(&out->maps[place], place, vocabulary, options));
    }
    bool is_whole = options->is_byte_level && has_all_bytes(out);
    out->is_plain = is_whole && out->map_of[TLMI_NUM_PLACES - 1] == &out->maps[0];
    if (out->is_plain)
        memcpy(out->byte_ids, out->maps[0].pages[0], sizeof(out->byte_ids));
    else if (options->byte_fallback && find_fallback(out, vocabulary, options) && !is_whole)
        TLMI_TRY(check_fallback(what, options));
    if (options->unk_token.size > 0) {
        out->unk_id =
            find_known(vocabulary, options, options->unk_token.data, options->unk_token.size);
        out->lacks_unk = out->unk_id == TLMI_NO_TOKEN;
    }
    return TLM_OK;
}

tlm_status_t tlmi_bpe_symbols_init(tlmi_bpe_symbols_t *out, const char *what,
                                   const tlmi_vocabulary_t *vocabulary,
                                   const tlmi_bpe_options_t *options)
{
    *out = (tlmi_bpe_symbols_t){.is_byte_level = options->is_byte_level,
                                .fuse_unk = options->fuse_unk,
                                .unk_id = TLMI_NO_TOKEN};
    memset(out->byte_ids, 0xFF, sizeof(out->byte_ids));
    tlm_status_t status = find_symbols(out, what, vocabulary, options);
    if (status != TLM_OK)
        tlmi_bpe_symbols_release(out);
    return status;
}

void tlmi_bpe_symbols_release(tlmi_bpe_symbols_t *symbols)
{
    for (int place = 0; place < TLMI_NUM_PLACES; place++) {
        tlmi_free(symbols->maps[place].page_of);
        tlmi_free(symbols->maps[place].pages);
    }
    *symbols = (tlmi_bpe_symbols_t){0};
}

/* ---- Pretokens ---- */

/* Sets *symbol, which is TLMI_NO_TOKEN if the character is not in the vocabulary, and returns the
 * length of the character. */
static inline size_t next_symbol(uint32_t *symbol, const tlmi_bpe_symbols_t *symbols,
                                 const uint8_t *at, const uint8_t *end, int place)
{
    uint32_t code_point = *at;
    int length = 1;

    if (!symbols->is_byte_level && code_point >= 0x80)
        length = tlmi_utf8_decode(&code_point, at, end);
    if (length < 0) {
        *symbol = TLMI_NO_TOKEN; /* a malformed byte */
        return 1;
    }
    if (at + length == end)
        place |= TLMI_PLACE_LAST;
    *symbol = tlmi_symbol_map_get(symbols->map_of[place], code_point);
    return (size_t)length;
}

/* Writes the tokens of a character's bytes. Returns 0 if one is missing. */
static size_t fall_back(const tlmi_bpe_symbols_t *symbols, uint32_t *out, const uint8_t *bytes,
                        size_t size)
{
    for (size_t i = 0; i < size; i++) {
        out[i] = symbols->byte_ids[bytes[i]];
        if (out[i] == TLMI_NO_TOKEN)
            return 0;
    }
    return size;
}

static tlm_status_t fail_unk(void)
{
    return tlmi_fail(TLM_ERR_FORMAT, "tokenizer: a character is not in the vocabulary, and neither "
                                     "is the unk_token");
}

tlm_status_t tlmi_bpe_symbolize(size_t *n, const tlmi_bpe_symbols_t *symbols, uint32_t *out,
                                const uint8_t *pretoken, size_t size)
{
    const uint8_t *at = pretoken, *end = pretoken + size;
    bool unk_waits = false;

    *n = 0;
    for (size_t length; at < end; at += length) {
        uint32_t symbol;

        length = next_symbol(&symbol, symbols, at, end, at == pretoken ? 0 : TLMI_PLACE_LATER);
        if (symbol != TLMI_NO_TOKEN) {
            if (unk_waits)
                out[(*n)++] = symbols->unk_id;
            unk_waits = false;
            out[(*n)++] = symbol;
            continue;
        }
        size_t bytes = fall_back(symbols, out + *n, at, length);
        *n += bytes;
        if (bytes > 0)
            continue;
        if (symbols->lacks_unk)
            return fail_unk();
        if (symbols->unk_id == TLMI_NO_TOKEN)
            continue;
        if (unk_waits && !symbols->fuse_unk)
            out[(*n)++] = symbols->unk_id;
        unk_waits = true;
    }
    if (unk_waits)
        out[(*n)++] = symbols->unk_id;
    return TLM_OK;
}
