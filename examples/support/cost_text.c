/* Numbers of tables, as people read them. */
#include "support/cost_text.h"

#include <inttypes.h>
#include <stdio.h>

/* "1,234,567" */
const char *cost_with_commas(char out[32], uint64_t n)
{
    char digits[24];
    size_t size = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, n), at = 0;

    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

static const char *in_units(char out[32], double value, double step, const char *const units[6])
{
    int unit = 0;

    for (; value >= step && unit < 5; unit++)
        value /= step;
    snprintf(out, 32,
             value < 10.0    ? "%.2f %s"
             : value < 100.0 ? "%.1f %s"
                             : "%.0f %s",
             value, units[unit]);
    return out;
}

const char *cost_bytes(char out[32], uint64_t bytes)
{
    static const char *const units[6] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};

    return in_units(out, (double)bytes, 1024.0, units);
}

const char *cost_flops(char out[32], double flops)
{
    static const char *const units[6] = {"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"};

    return in_units(out, flops, 1000.0, units);
}

const char *cost_seconds(char out[32], double seconds)
{
    if (seconds < 1.0)
        snprintf(out, 32, "%.1f ms", 1e3 * seconds);
    else if (seconds < 600.0)
        snprintf(out, 32, "%.2f s", seconds);
    else if (seconds < 7200.0)
        snprintf(out, 32, "%.1f min", seconds / 60.0);
    else if (seconds < 172800.0)
        snprintf(out, 32, "%.1f hours", seconds / 3600.0);
    else
        snprintf(out, 32, "%.1f days", seconds / 86400.0);
    return out;
}
