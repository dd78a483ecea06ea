/* Unigram language models as a subword model (Kudo 2018): of all ways to make a pretoken from
 * tokens, the one with the highest sum of scores. */
#ifndef TLMI_UNIGRAM_H
#define TLMI_UNIGRAM_H

#include "tokenizer/tokenizer_core.h"

typedef struct tlmi_unigram_options {
    const double *scores; /* [id]. Not kept */
    uint32_t num_scores;  /* later ids are added tokens, which the model does not know */
    uint32_t unk_id;      /* TLMI_NO_TOKEN if there is none; encoding an unknown character then
                             fails */
    bool byte_fallback;   /* unknown characters become the tokens of their bytes, "<0x0A>", if the
                           vocabulary has all of them */
} tlmi_unigram_options_t;

extern const tlmi_subword_kind_t tlmi_unigram_kind;

/* Makes a model with the arithmetic of Hugging Face tokenizers: double precision, and a score of
 * the lowest minus 10 for an unknown character. Keeps nothing of the vocabulary. Error messages
 * start with `what`. */
tlm_status_t tlmi_unigram_model_create(tlmi_subword_model_t **out, const char *what,
                                       const tlmi_vocabulary_t *vocabulary,
                                       const tlmi_unigram_options_t *options);

/* Makes a model with the arithmetic of SentencePiece: single precision over the whole pretoken, so
 * ids can depend on a distant part of it. */
tlm_status_t tlmi_unigram_model_create_from_pieces(tlmi_subword_model_t **out, const char *what,
                                                   const tlmi_vocabulary_t *vocabulary,
                                                   const tlmi_pieces_t *pieces);

#endif
