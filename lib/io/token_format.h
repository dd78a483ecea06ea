/* Which element type and container a token file has: shared by its reader and its writer. */
#ifndef TLMI_TOKEN_FORMAT_H
#define TLMI_TOKEN_FORMAT_H

#include "tinylm/data.h"

bool tlmi_path_ends_with(const char *path, const char *suffix);

/* Bytes of a token by token_type, and by the names *.u16 and *.u32 where that is TLM_TOKENS_AUTO;
 * *item_size is 0 if neither says. Only a token_type that does not exist is an error. */
tlm_status_t tlmi_token_item_size(int32_t *item_size, const char *function, const char *path,
                                  int32_t token_type);

#endif
