/* Internals of reading tokenizer.json, the format of Hugging Face's tokenizers library: the state
 * of a file while it is read, and the readers of its parts. What would change ids and is not
 * supported is refused by name. Error messages begin with the path. */
#ifndef TLMI_HF_TOKENIZER_H
#define TLMI_HF_TOKENIZER_H

#include "base/json.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/tokenizer_core.h"

typedef struct tlmi_hf_file {
    const char *path;
    const void *bytes; /* NULL: they are read from the path, as are the files beside it */
    size_t size;       /* of the file */
    tlmi_json_t *root;

    bool is_byte_level; /* tokens are bytes, whose names are in the byte alphabet */
    tlmi_token_list_t vocab;
    size_t num_names;         /* tokens of the model */
    tlmi_vocabulary_t listed; /* finds the ids of names that are in an array */
    uint32_t *unreachable;    /* ids of the model's tokens that no text gives, ascending */
    size_t num_unreachable, unreachable_capacity;
    uint8_t *is_added; /* [id]: the model does not know the token */

    tlmi_special_list_t special; /* the added tokens, in their order */
    tlmi_companions_t companions;

    tlmi_tokenizer_parts_t parts;
} tlmi_hf_file_t;

/* ---- JSON (hf_json.c) ---- */

/* Whether member `key` is the string `text`. */
bool tlmi_hf_is(const tlmi_json_t *object, const char *key, const char *text);

/* The type of a component, for messages. */
const char *tlmi_hf_type(const tlmi_json_t *object);

tlm_status_t tlmi_hf_fail_unsupported(const tlmi_hf_file_t *file, const char *part,
                                      const tlmi_json_t *object);

/* Read a member; `part` names the component for messages. Optional members keep the value that *out
 * has if they are missing or null. */
tlm_status_t tlmi_hf_bool(bool *out, const tlmi_hf_file_t *file, const char *part,
                          const tlmi_json_t *object, const char *key);
tlm_status_t tlmi_hf_optional_bool(bool *out, const tlmi_hf_file_t *file, const char *part,
                                   const tlmi_json_t *object, const char *key);
tlm_status_t tlmi_hf_string(tlm_bytes_t *out, const tlmi_hf_file_t *file, const char *part,
                            const tlmi_json_t *object, const char *key);
tlm_status_t tlmi_hf_optional_string(tlm_bytes_t *out, const tlmi_hf_file_t *file, const char *part,
                                     const tlmi_json_t *object, const char *key);
tlm_status_t tlmi_hf_size(size_t *out, const tlmi_hf_file_t *file, const char *part,
                          const tlmi_json_t *object, const char *key);

/* A string of one character. */
tlm_status_t tlmi_hf_character(tlm_bytes_t *out, uint32_t *code_point, const tlmi_hf_file_t *file,
                               const char *part, const tlmi_json_t *object, const char *key);

/* {"String": text} or {"Regex": pattern}. A regex has no NUL. */
tlm_status_t tlmi_hf_pattern(tlm_bytes_t *out, bool *is_regex, const tlmi_hf_file_t *file,
                             const char *part, const tlmi_json_t *object, const char *key);

/* The items of a Sequence: the array `key`. */
tlm_status_t tlmi_hf_array(const tlmi_json_t **out, const tlmi_hf_file_t *file, const char *part,
                           const tlmi_json_t *object, const char *key);

/* ---- Parts ---- */

/* Whether a pre-tokenizer or normalizer, or a part of it, is ByteLevel (hf_pretokenizers.c). */
bool tlmi_hf_has_byte_level(const tlmi_json_t *component);

tlm_status_t tlmi_hf_read_normalizer(tlmi_hf_file_t *file); /* hf_normalizers.c */
tlm_status_t tlmi_hf_read_pretokenizer(tlmi_hf_file_t *file,
                                       const char *pattern); /* hf_pretokenizers.c */
tlm_status_t tlmi_hf_read_decoder(tlmi_hf_file_t *file);     /* hf_decoders.c */
tlm_status_t tlmi_hf_read_template(tlmi_hf_file_t *file);    /* hf_decoders.c; after the tokens */

tlm_status_t tlmi_hf_read_limits(tlmi_hf_file_t *file); /* hf_decoders.c */

/* The model (hf_models.c): first its tokens, and then, of a tokenizer that has its vocabulary, the
 * model itself. */
tlm_status_t tlmi_hf_read_vocab(tlmi_hf_file_t *file);
tlm_status_t tlmi_hf_read_dropout(tlmi_hf_file_t *file);
tlm_status_t tlmi_hf_make_model(tlmi_subword_model_t **out, const tlmi_hf_file_t *file,
                                const tlm_tokenizer_t *tokenizer, bool ignore_merges);

/* Returns the id that the model gives to a name; -1 if there is none. */
int64_t tlmi_hf_name_id(const tlmi_hf_file_t *file, tlm_bytes_t name);

/* The flags of an AddedToken (hf_tokenizer_json.c). */
tlm_status_t tlmi_hf_token_flags(uint8_t *flags, const tlmi_hf_file_t *file,
                                 const tlmi_json_t *token);

#endif
