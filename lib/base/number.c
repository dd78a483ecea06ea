/* Conversion of floating-point numbers, independent of the locale. */
#include "base/number.h"

#include <stdio.h>
#include <string.h>

#include "base/platform.h"

char *tlmi_number_text(char out[TLMI_NUMBER_SIZE], double value, int digits)
{
    /* Leaves room for a locale's decimal point of several bytes. */
    char text[2 * TLMI_NUMBER_SIZE];
    snprintf(text, sizeof(text), "%.*g", digits < 17 ? digits : 17, value);
    char *to = out;
    for (const char *from = text; *from != '\0';) {
        if (strchr("0123456789+-einfa", *from) != NULL) {
            *to++ = *from++;
            continue;
        }
        *to++ = '.';
        while (*from != '\0' && strchr("0123456789", *from) == NULL)
            from++;
    }
    *to = '\0';
    return out;
}

double tlmi_parse_number(const char *text)
{
    return tlmi_platform_parse_number(text);
}
