/* Curves drawn as SVG elements. */
#ifndef EXAMPLES_LINE_CHART_H
#define EXAMPLES_LINE_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { LINE_CHART_WIDTH = 860, LINE_CHART_HEIGHT = 320 }; /* of a chart, in its own units */

typedef struct curve {
    struct point {
        double x, y;
    } * points;
    size_t n, capacity;
} curve_t;

/* Appends a point; x must not fall. Freed with free(curve->points). */
void curve_add(curve_t *curve, double x, double y);

/* Draws the curves in one frame, curve i in colour i. Long ones are drawn as means over stretches.
 * `cut`: the frame ends at twice the median of the curves' last values, for losses, whose first values
 * and whose diverged runs would leave the others no room. */
void line_chart_write(FILE *page, const curve_t *const *curves, size_t n, const char *x_name,
                      bool cut);

/* The colour of curve i, in CSS. */
const char *line_chart_colour(size_t i);

/* Writes text with HTML's special characters replaced. */
void line_chart_write_text(FILE *page, const char *text);

#endif
