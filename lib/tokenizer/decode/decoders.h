/* Decoders: how the names of tokens become text. In `tokenizers` a decoder maps a list of strings,
 * the names of the tokens, to a list of strings, whose concatenation is the text. Here a decoder is
 * a chain of steps, and names flow through it in parts of any size, so that whole rows and streams
 * decode with the same code. */
#ifndef TLMI_DECODERS_H
#define TLMI_DECODERS_H

#include "tinylm/tokenizer.h"
#include "tokenizer/pretokenize/pretokenize.h"

/* ---- Making decoders (decoders.c) ---- */

typedef struct tlmi_decoder tlmi_decoder_t; /* immutable once it is in use */

/* Makes a decoder without steps: it concatenates names. `byte_alphabet` tells that the tokens of
 * the vocabulary are bytes, whose names are spelled in the byte alphabet; the names of added tokens
 * are always their text. A tokenizer without a decoder (NULL) concatenates the bytes of its tokens,
 * which is what byte-level vocabularies need: see tlmi_decoder_is_byte_level. */
tlm_status_t tlmi_decoder_create(tlmi_decoder_t **out, bool byte_alphabet);
void tlmi_decoder_free(tlmi_decoder_t *decoder); /* accepts NULL */

/* Each of these appends a step, and copies its arguments. A Sequence is the steps of its parts, and
 * a Sequence within another one too. TLM_ERR_UNSUPPORTED if there are TLMI_MAX_DECODER_STEPS
 * already; messages begin with "decoder: ". */
#define TLMI_MAX_DECODER_STEPS 64

tlm_status_t tlmi_decoder_add_byte_level(tlmi_decoder_t *decoder);
tlm_status_t tlmi_decoder_add_word_piece(tlmi_decoder_t *decoder, tlm_bytes_t prefix, bool cleanup);

/* `drops_first`: the replacements in the first token are dropped (every prepend_scheme except
 * "never"). */
tlm_status_t tlmi_decoder_add_metaspace(tlmi_decoder_t *decoder, uint32_t replacement,
                                        bool drops_first);
tlm_status_t tlmi_decoder_add_byte_fallback(tlmi_decoder_t *decoder);
tlm_status_t tlmi_decoder_add_fuse(tlmi_decoder_t *decoder);
tlm_status_t tlmi_decoder_add_strip(tlmi_decoder_t *decoder, uint32_t content, size_t start,
                                    size_t stop);
tlm_status_t tlmi_decoder_add_replace(tlmi_decoder_t *decoder, tlm_bytes_t pattern,
                                      tlm_bytes_t content);

/* A pattern in the syntax of Oniguruma. TLM_ERR_REGEX if it is malformed. */
tlm_status_t tlmi_decoder_add_replace_regex(tlmi_decoder_t *decoder, const char *pattern,
                                            tlm_bytes_t content);
tlm_status_t tlmi_decoder_add_bpe(tlmi_decoder_t *decoder, tlm_bytes_t suffix);

/* SentencePiece's decoding. types[id], of n pieces, is TLMI_PIECE_...; tokens after them are their
 * own text. The byte pieces must be named "<0x0A>". `drops_space`: the space that a text begins
 * with is dropped; `drops_spaces`: all of them. Must be the first step. */
tlm_status_t tlmi_decoder_add_sentencepiece(tlmi_decoder_t *decoder, const uint8_t *types, size_t n,
                                            tlm_bytes_t unk_surface, bool drops_space,
                                            bool drops_spaces);

/* Joins tokens with spaces, which is what `tokenizers` does without a decoder. */
tlm_status_t tlmi_decoder_add_spaces(tlmi_decoder_t *decoder);

/* Whether the decoder is no more than ByteLevel over a byte-level vocabulary. Then a tokenizer
 * needs no decoder, unless it has an added token whose text is in the byte alphabet but not ASCII,
 * such as "é": ByteLevel takes it for the byte E9. */
bool tlmi_decoder_is_byte_level(const tlmi_decoder_t *decoder);

/* ---- Running decoders (decode_run.c) ---- */

/* What a step keeps between two calls. Each kind of step uses what it needs. */
typedef struct tlmi_step_state {
    uint8_t *bytes; /* held back */
    size_t size, capacity;
    size_t token; /* number of the current token of the text */
    size_t count;
    uint8_t start[8]; /* the first bytes of the current token, or the last ones of the text */
    size_t start_size;
    bool flag;
} tlmi_step_state_t;

/* One text on its way through a decoder. */
typedef struct tlmi_decode_run {
    const tlm_tokenizer_t *tokenizer;
    const tlmi_decoder_t *decoder;
    bool keeps_bytes; /* malformed UTF-8 in the bytes of tokens stays instead of becoming U+FFFD */
    uint32_t id;      /* of the current token */
    uint8_t *added;   /* a bit per id: whether it is an added token */
    char *name;       /* of a token, in the byte alphabet */
    size_t name_capacity;
    uint8_t *text; /* the output, which the caller may take out */
    size_t size, capacity;
    size_t num_states;          /* freeing must not look at the tokenizer, which may be gone */
    tlmi_step_state_t states[]; /* by step */
} tlmi_decode_run_t;

/* For a tokenizer with a decoder. */
tlm_status_t tlmi_decode_run_create(tlmi_decode_run_t **out, const tlm_tokenizer_t *tokenizer,
                                    bool keeps_bytes);
void tlmi_decode_run_free(tlmi_decode_run_t *run); /* accepts NULL */

/* Decodes the next id, which must be that of a token, as far as the ids so far determine the text.
 * After a failure, here and below, the run is at the beginning of a text again. */
tlm_status_t tlmi_decode_run_push(tlmi_decode_run_t *run, uint32_t id);

/* Ends the text and begins another one. */
tlm_status_t tlmi_decode_run_finish(tlmi_decode_run_t *run);

/* Whether a streaming decoder may hold back text of the ids so far. */
bool tlmi_decoder_holds(const tlm_decoder_t *decoder);

/* Makes a map with the bits of added tokens set, bit i % 8 of byte i / 8 for id i: of all of them,
 * or of the special ones. */
tlm_status_t tlmi_added_token_bits(uint8_t **out, const tlm_tokenizer_t *tokenizer,
                                   bool special_only);

static inline bool tlmi_bit(const uint8_t *bits, uint32_t id)
{
    return bits[id / 8] >> id % 8 & 1;
}

/* ---- Steps (decoder_steps.c, decoder_edits.c, decoder_sentencepiece.c) ---- */

typedef struct tlmi_step_kind {
    const char *name; /* as in files */

    /* Takes a part of the current token. No part ends inside a character. */
    tlm_status_t (*put)(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes, size_t size);

    /* Ends the current token; NULL passes the end on. */
    tlm_status_t (*end_token)(tlmi_decode_run_t *run, size_t step);

    /* Ends the text: writes what was held back. NULL if nothing ever is. */
    tlm_status_t (*finish)(tlmi_decode_run_t *run, size_t step);
} tlmi_step_kind_t;

/* A step with its options, which each kind uses as it needs. */
typedef struct tlmi_decoder_step {
    const tlmi_step_kind_t *kind;
    tlm_bytes_t pattern, content; /* owned */
    tlmi_regex_t *regex;
    size_t start, stop;
    bool flag;
} tlmi_decoder_step_t;

struct tlmi_decoder {
    bool byte_alphabet;
    size_t num_steps;
    tlmi_decoder_step_t steps[TLMI_MAX_DECODER_STEPS];
};

extern const tlmi_step_kind_t tlmi_byte_level_step, tlmi_word_piece_step, tlmi_metaspace_step,
    tlmi_byte_fallback_step, tlmi_fuse_step, tlmi_strip_step, tlmi_replace_step,
    tlmi_replace_regex_step, tlmi_bpe_step, tlmi_spaces_step, tlmi_sentencepiece_step;

/* Pass on to a step, or to the output after the last one. */
tlm_status_t tlmi_step_put(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes, size_t size);
tlm_status_t tlmi_step_end_token(tlmi_decode_run_t *run, size_t step);
tlm_status_t tlmi_step_finish(tlmi_decode_run_t *run, size_t step);

/* Passes on a whole token to the step after `step`. */
tlm_status_t tlmi_step_pass_token(tlmi_decode_run_t *run, size_t step, const void *bytes,
                                  size_t size);

/* Append to what a step holds back. */
tlm_status_t tlmi_step_hold(tlmi_step_state_t *state, const void *bytes, size_t size);
tlm_status_t tlmi_step_hold_part(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                                 size_t size);

/* Takes a token whose bytes are known, instead of its name, in a ByteLevel step. */
tlm_status_t tlmi_byte_level_put_bytes(tlmi_decode_run_t *run, size_t step, const uint8_t *bytes,
                                       size_t size);

#endif
