/* Floating-point numbers as text and back. printf and strtod follow the program's locale, where the point
 * may be a comma; these do not. */
#ifndef TLMI_NUMBER_H
#define TLMI_NUMBER_H

#include "tinylm/export.h"

#define TLMI_NUMBER_SIZE 32 /* room for the text of any number, with its NUL */

/* As printf's "%.<digits>g"; 17 digits tell all doubles apart. Returns `out`. */
char *tlmi_number_text(char out[TLMI_NUMBER_SIZE], double value, int digits);

/* The text of a number for a message, as "%g" would be. It lives until the enclosing block ends. */
#define TLMI_G(value) tlmi_number_text((char[TLMI_NUMBER_SIZE]){0}, (value), 6)

/* The double nearest to the decimal number at the start of `text`, which ends at any other character.
 * Too large a number is infinite. */
double tlmi_parse_number(const char *text);

#endif
