/* What pre-tokenisation asks of a character: letter, number, white space or something else. */
#ifndef TLMI_UNICODE_H
#define TLMI_UNICODE_H

#include "tinylm/export.h"

enum {
    TLMI_CLASS_OTHER = 0,
    TLMI_CLASS_LETTER = 1, /* \p{L} */
    TLMI_CLASS_NUMBER = 2, /* \p{N} */
    TLMI_CLASS_SPACE = 3   /* \s: the property White_Space */
};

/* Class of a code point up to U+10FFFF, in utf8proc's version of Unicode. Thread-safe. */
int tlmi_unicode_class(uint32_t code_point);

#endif
