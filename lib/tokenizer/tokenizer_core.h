/* What a tokenizer consists of. Immutable once made. */
#ifndef TLMI_TOKENIZER_CORE_H
#define TLMI_TOKENIZER_CORE_H

#include "merge_table.h"
#include "text_splitter.h"
#include "vocabulary.h"

struct tlm_tokenizer {
    tlmi_vocabulary_t vocabulary;
    tlmi_merge_table_t merges;
    uint32_t byte_ids[256]; /* ids of the one-byte tokens */
    uint8_t *is_whole;      /* [id]: the token's bytes as a pretoken encode to it alone */
    tlmi_pretokenizer_t *pretokenizer;
    tlmi_special_tokens_t *special;
    uint32_t *special_ids; /* by index in `special` */
};

/* Makes a tokenizer around a vocabulary and merges, both consumed (also on failure). */
tlm_status_t tlmi_tokenizer_assemble(tlm_tokenizer_t **out, tlmi_vocabulary_t *vocabulary,
                                     tlmi_merge_table_t *merges,
                                     const tlm_tokenizer_options_t *options);

#endif
