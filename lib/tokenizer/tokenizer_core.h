/* What a tokenizer consists of. Immutable once made, as far as its results show. */
#ifndef TLMI_TOKENIZER_CORE_H
#define TLMI_TOKENIZER_CORE_H

#include "bpe_cache.h"
#include "merge_table.h"
#include "text_splitter.h"
#include "vocabulary.h"

struct tlm_tokenizer {
    tlmi_vocabulary_t vocabulary;
    tlmi_merge_table_t merges;
    uint32_t byte_ids[256]; /* ids of the one-byte tokens */
    uint8_t *is_whole;      /* [id]: whether the token's bytes as a pretoken encode to it alone */
    bool ignores_merges;    /* they do even where the merges make something else of them */
    tlmi_pretokenizer_t *pretokenizer;
    tlmi_special_tokens_t *special;
    uint32_t *special_ids;         /* by index in `special` */
    tlmi_bpe_cache_pool_t *caches; /* all that changes: of encoders, while they have no text */
};

/* What is_whole[id] holds. */
enum { TLMI_NOT_WHOLE, TLMI_WHOLE_BY_MERGES, TLMI_WHOLE_BY_LOOKUP };

/* Makes a tokenizer around a vocabulary and merges, both consumed (also on failure). `what` opens the
 * messages, as everywhere here. */
tlm_status_t tlmi_tokenizer_assemble(tlm_tokenizer_t **out, const char *what,
                                     tlmi_vocabulary_t *vocabulary, tlmi_merge_table_t *merges,
                                     const tlm_tokenizer_options_t *options);

/* Reads a caller's options, which may be NULL, into the library's own struct, and checks them. */
tlm_status_t tlmi_tokenizer_read_options(tlm_tokenizer_options_t *out, const char *what,
                                         const tlm_tokenizer_options_t *options);

/* tlm_tokenizer_create behind its checks. */
tlm_status_t tlmi_tokenizer_build(tlm_tokenizer_t **out, const char *what, const tlm_bytes_t *vocab,
                                  size_t vocab_size, const tlm_bytes_t *merges, size_t num_merges,
                                  const tlm_tokenizer_options_t *options);

/* Fills an empty vocabulary with byte strings; those of size 0 become holes. */
tlm_status_t tlmi_tokenizer_copy_vocabulary(tlmi_vocabulary_t *out, const char *what,
                                            const tlm_bytes_t *vocab, size_t vocab_size);

/* Finds the ids of the 256 bytes. */
tlm_status_t tlmi_tokenizer_find_bytes(uint32_t byte_ids[256], const char *what,
                                       const tlmi_vocabulary_t *vocabulary);

#endif
