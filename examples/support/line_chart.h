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

/* Draws the curves in one frame, curve i in color i. Long curves are drawn as means over intervals.
 * `cut`: the frame ends at twice the median of the curves' last values. This is for losses, where the
 * first values and diverged runs would leave the others no room. */
void line_chart_write(FILE *page, const curve_t *const *curves, size_t n, const char *x_name,
                      bool cut);

/* The color of curve i, in CSS. */
const char *line_chart_color(size_t i);

/* Writes text with HTML's special characters replaced. */
void line_chart_write_text(FILE *page, const char *text);

#endif
