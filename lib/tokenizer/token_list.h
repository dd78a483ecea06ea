/* Tokens on their way from a file into a tokenizer: byte strings by id, and what the formats that write
 * them in the byte alphabet share. */
#ifndef TLMI_TOKEN_LIST_H
#define TLMI_TOKEN_LIST_H

#include "base/json.h"
#include "tinylm/tokenizer.h"

typedef struct tlmi_token_list {
    tlm_bytes_t *items; /* size 0: a hole */
    size_t n;
    size_t capacity;
    uint8_t *bytes; /* a block for the tokens that are decoded */
    size_t bytes_size;
} tlmi_token_list_t;

/* A list with a block of `room` bytes: the size of a file will do, for no token is longer decoded than
 * written. One of zeros may be released. */
tlm_status_t tlmi_token_list_init(tlmi_token_list_t *list, size_t room);
void tlmi_token_list_release(tlmi_token_list_t *list);

/* Decodes a token of the byte alphabet into the block; false, with *at the offset, where a character is
 * not in the alphabet. */
bool tlmi_token_list_decode(tlm_bytes_t *out, size_t *at, tlmi_token_list_t *list, const char *text,
                            size_t size);

tlm_status_t tlmi_token_list_append(tlmi_token_list_t *list, tlm_bytes_t token);

/* The greatest id, less one, that a file of `n` tokens may have: real vocabularies have few holes, and
 * a hostile one must not make us allocate gigabytes. */
size_t tlmi_token_list_limit(size_t n);

/* Makes the list reach place `id` < `limit`, with holes, and gives the place. The messages begin
 * "<path>: <kind> <name>": that the id is out of range, or that another token has it. */
tlm_status_t tlmi_token_list_place(tlm_bytes_t **place, tlmi_token_list_t *list, int64_t id,
                                   size_t limit, const char *path, const char *kind,
                                   const char *name);

/* Makes a list and calls read_line for each line of a file that is not empty: its bytes without "\n" or
 * "\r\n", its number from 1 on, and the size of the file. */
typedef tlm_status_t (*tlmi_read_line_fn)(tlmi_token_list_t *list, const uint8_t *line, size_t size,
                                          size_t number, size_t file_size, const char *path);
tlm_status_t tlmi_token_list_read_lines(tlmi_token_list_t *list, const char *path,
                                        tlmi_read_line_fn read_line);

/* Reads an object from tokens to ids. A name outside the byte alphabet is an error, or where
 * `or_itself`, stands for its own bytes. */
tlm_status_t tlmi_token_list_read_vocab(tlmi_token_list_t *list, const tlmi_json_t *object,
                                        bool or_itself, const char *path);

/* Appends the two sides of a merge, "left right". `kind` and `number` say for messages where it stands:
 * "<path>: <kind> <number> ...". */
tlm_status_t tlmi_token_list_read_merge(tlmi_token_list_t *list, const char *text, size_t size,
                                        const char *path, const char *kind, size_t number);

/* Puts the special tokens whose ids the options tell at their places; they have to outlive the list.
 * `what` begins the messages. */
tlm_status_t tlmi_token_list_place_special(tlmi_token_list_t *list,
                                           const tlm_tokenizer_options_t *options,
                                           const char *what);

/* A token in the byte alphabet, NUL-terminated, in a buffer that grows; tlmi_free(text). */
typedef struct tlmi_spelling {
    char *text;
    size_t size;
    size_t capacity;
} tlmi_spelling_t;

tlm_status_t tlmi_spell(tlmi_spelling_t *out, tlm_bytes_t token);

#endif
