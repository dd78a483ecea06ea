/* Numbers of tables, as people read them. Each function returns `out`. */
#ifndef EXAMPLES_COST_TEXT_H
#define EXAMPLES_COST_TEXT_H

#include <stdint.h>

const char *cost_with_commas(char out[32], uint64_t n); /* "1,234,567" */
const char *cost_bytes(char out[32], uint64_t bytes);   /* "1.18 MiB" */
const char *cost_flops(char out[32], double flops);     /* "1.23 MFLOP" */
const char *cost_seconds(char out[32], double seconds); /* "20.6 min" */

#endif
