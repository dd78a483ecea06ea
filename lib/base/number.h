/* Converts floating-point numbers to text and back. printf and strtod follow the program's
 * locale, where the decimal point may be a comma; these functions do not. */
#ifndef TLMI_NUMBER_H
#define TLMI_NUMBER_H

#include "tinylm/export.h"

#define TLMI_NUMBER_SIZE 32 /* room for the text of any number, with its NUL */

/* Formats like printf's "%.<digits>g"; 17 digits distinguish all doubles. Returns `out`. */
char *tlmi_number_text(char out[TLMI_NUMBER_SIZE], double value, int digits);

/* The text of a number for a message, as "%g" would print it. It lives until the enclosing block
 * ends. */
#define TLMI_G(value) tlmi_number_text((char[TLMI_NUMBER_SIZE]){0}, (value), 6)

/* Returns the double nearest to the decimal number at the start of `text`; the number ends at
 * the first other character. Numbers that are too large become infinite. */
double tlmi_parse_number(const char *text);

#endif
