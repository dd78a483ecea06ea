/* Custom pre-tokenisation patterns, through Oniguruma, which no other file includes. */
#ifndef TLMI_REGEX_H
#define TLMI_REGEX_H

#include "tinylm/status.h"

typedef struct tlmi_regex tlmi_regex_t;                 /* a compiled pattern; immutable */
typedef struct tlmi_regex_matcher tlmi_regex_matcher_t; /* scratch memory of one thread */

/* Compiles a pattern in Perl's syntax, Unicode properties and possessive quantifiers included.
 * TLM_ERR_REGEX with Oniguruma's message if it is malformed. */
tlm_status_t tlmi_regex_create(tlmi_regex_t **out, const char *pattern);
void tlmi_regex_free(tlmi_regex_t *regex);

/* What a text of `size` bytes may take of the thread's CPU time: a hundred times what the slowest
 * of the well-known patterns does, and ten seconds. */
#define TLMI_REGEX_NANOSECONDS(size) (10000000000u + 10000u * (uint64_t)(size))

/* For searches that take no longer in all. */
tlm_status_t tlmi_regex_matcher_create(tlmi_regex_matcher_t **out, uint64_t max_nanoseconds);
void tlmi_regex_matcher_free(tlmi_regex_matcher_t *matcher);

/* First match, of at least one byte, at or after `from` in text, which must be valid UTF-8:
 * [*start, *end), or *start == *end == size if there is none. A pattern that backtracks without
 * end, nests too deeply or takes too long is TLM_ERR_REGEX. */
tlm_status_t tlmi_regex_search(size_t *start, size_t *end, const tlmi_regex_t *regex,
                               tlmi_regex_matcher_t *matcher, const uint8_t *text, size_t size,
                               size_t from);

#endif
