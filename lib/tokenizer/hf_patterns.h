/* The pre-tokenisation patterns as tokenizer.json spells them. */
#ifndef TLMI_HF_PATTERNS_H
#define TLMI_HF_PATTERNS_H

#include "tinylm/export.h"

/* The library's spelling of a pattern from a file: a known one's, or the pattern itself. */
const char *tlmi_hf_pattern_read(const char *pattern);

/* The other way. */
const char *tlmi_hf_pattern_write(const char *pattern);

/* Whether the library's spelling is of a known pattern; these leave no part of a text unmatched. */
bool tlmi_hf_pattern_is_known(const char *pattern);

#endif
