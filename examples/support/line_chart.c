/* Curves in a frame with round numbers at its edges. */
#include "support/line_chart.h"

#include <math.h>
#include <stdlib.h>

#include "support/cli.h"

enum { WIDTH = LINE_CHART_WIDTH, HEIGHT = LINE_CHART_HEIGHT };
enum { LEFT = 64, RIGHT = 24, TOP = 10, BOTTOM = 44, MOST_POINTS = 200 };

void curve_add(curve_t *curve, double x, double y)
{
    if (curve->n == curve->capacity) {
        curve->capacity = 2 * curve->capacity + 64;
        curve->points = cli_realloc(curve->points, curve->capacity * sizeof(*curve->points));
    }
    curve->points[curve->n++] = (struct point){x, y};
}

/* Used again from the first after twelve curves. */
const char *line_chart_color(size_t i)
{
    static const char *const colors[] = {"#3366cc", "#dc3912", "#109618", "#ff9900",
                                         "#990099", "#0099c6", "#dd4477", "#66aa00",
                                         "#b8860b", "#6633cc", "#22aa99", "#8b4513"};

    return colors[i % (sizeof(colors) / sizeof(colors[0]))];
}

void line_chart_write_text(FILE *page, const char *text)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '<':
            fputs("&lt;", page);
            break;
        case '&':
            fputs("&amp;", page);
            break;
        default:
            fputc(*text, page);
        }
}

/* ---- Axes ------------------------------------------------------------------------------- */

typedef struct axis {
    double low, high; /* of the values */
    double step;      /* between labels */
} axis_t;

/* The largest of 1, 2 and 5 times a power of ten of which about `most` steps make the range. */
static double round_step(double range, double most)
{
    double power = pow(10.0, floor(log10(range / most)));
    double ratio = range / most / power;

    return power * (ratio <= 1.0 ? 1.0 : ratio <= 2.0 ? 2.0 : ratio <= 5.0 ? 5.0 : 10.0);
}

static void finish_axis(axis_t *axis, double most)
{
    if (!(axis->high > axis->low)) { /* one value, or none */
        double middle = axis->low <= axis->high ? axis->low : 0.0;
        double around = middle != 0.0 ? fabs(middle) / 2.0 : 1.0;

        axis->low = middle - around;
        axis->high = middle + around;
    }
    axis->step = round_step(axis->high - axis->low, most);
    axis->low = floor(axis->low / axis->step) * axis->step;
    axis->high = ceil(axis->high / axis->step) * axis->step;
}

static void include(axis_t *axis, double value)
{
    axis->low = fmin(axis->low, value);
    axis->high = fmax(axis->high, value);
}

static double place_x(const axis_t *axis, double value)
{
    return LEFT + (value - axis->low) / (axis->high - axis->low) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const axis_t *axis, double value)
{
    return HEIGHT - BOTTOM -
           (value - axis->low) / (axis->high - axis->low) * (HEIGHT - TOP - BOTTOM);
}

static void write_axes(FILE *page, const axis_t *x, const axis_t *y, const char *x_name)
{
    int num_x = (int)lround((x->high - x->low) / x->step);
    int num_y = (int)lround((y->high - y->low) / y->step);
    static const char *const odd[] = {"", " class=\"odd\""}; /* left out where there is no room */

    for (int i = 0; i <= num_y; i++) {
        double value = y->low + i * y->step, at = place_y(y, value);

        fprintf(page, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>", LEFT, at, WIDTH - RIGHT);
        fprintf(page, "<text%s x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n", odd[i % 2],
                LEFT - 6, at + 4.0, fabs(value) < 1e-9 * y->step ? 0.0 : value);
    }
    for (int i = 0; i <= num_x; i++) {
        double value = x->low + i * x->step, at = place_x(x, value);

        fprintf(page, "<path class=\"grid\" d=\"M%.1f %dV%d\"/>", at, TOP, HEIGHT - BOTTOM);
        fprintf(page,
                "<text%s x=\"%.1f\" y=\"%d\" dy=\".35em\" text-anchor=\"middle\">%.6g</text>\n",
                odd[i % 2], at, HEIGHT - BOTTOM + 14, value);
    }
    fprintf(page, "<text class=\"name\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_name);
}

/* ---- Curves ----------------------------------------------------------------------------- */

/* A curve with at most MOST_POINTS points, each the mean of the same number of neighbors. */
static curve_t thin_out(const curve_t *curve)
{
    size_t stretch = (curve->n + MOST_POINTS - 1) / MOST_POINTS;
    curve_t thin = {NULL, 0, 0};

    for (size_t begin = 0; begin < curve->n; begin += stretch) {
        size_t n = curve->n - begin < stretch ? curve->n - begin : stretch;
        double x = 0.0, y = 0.0;

        for (size_t i = begin; i < begin + n; i++) {
            x += curve->points[i].x;
            y += curve->points[i].y;
        }
        curve_add(&thin, x / (double)n, y / (double)n);
    }
    return thin;
}

/* Where the line from one point to the next crosses a height between theirs. */
static struct point crossing(struct point from, struct point to, double y)
{
    double way = (y - from.y) / (to.y - from.y);

    return (struct point){from.x + way * (to.x - from.x), y};
}

/* Draws the part of the curve inside the frame, which it may leave at the top and enter again. */
static void write_curve(FILE *page, const curve_t *curve, const axis_t *x, const axis_t *y,
                        const char *color)
{
    fprintf(page, "<path class=\"curve\" stroke=\"%s\" d=\"", color);
    for (size_t i = 0; i < curve->n; i++) {
        struct point at = curve->points[i], last = i > 0 ? curve->points[i - 1] : at, edge;
        bool in = at.y <= y->high, was_in = i > 0 && last.y <= y->high;

        if (i > 0 && in != was_in) {
            edge = crossing(last, at, y->high);
            fprintf(page, "%c%.1f,%.1f", in ? 'M' : 'L', place_x(x, edge.x), place_y(y, edge.y));
        }
        if (in)
            fprintf(page, "%c%.1f,%.1f", i == 0 ? 'M' : 'L', place_x(x, at.x), place_y(y, at.y));
    }
    fputs("\"/>\n", page);
    if (curve->n == 1 && curve->points[0].y <= y->high)
        fprintf(page, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                place_x(x, curve->points[0].x), place_y(y, curve->points[0].y), color);
}

static int compare_values(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median of the last values of all curves that have points, the lower of two; infinite if none has. */
static double median_end(const curve_t *curves, size_t n)
{
    double *ends = cli_realloc(NULL, n * sizeof(*ends)), median;
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        if (curves[i].n > 0)
            ends[count++] = curves[i].points[curves[i].n - 1].y;
    if (count > 0)
        qsort(ends, count, sizeof(*ends), compare_values);
    median = count > 0 ? ends[(count - 1) / 2] : (double)INFINITY;
    free(ends);
    return median;
}

void line_chart_write(FILE *page, const curve_t *const *curves, size_t n, const char *x_name,
                      bool cut)
{
    axis_t x = {0.0, (double)-INFINITY, 0.0};
    axis_t y = {(double)INFINITY, (double)-INFINITY, 0.0};
    curve_t *thin = cli_realloc(NULL, n * sizeof(*thin));

    for (size_t i = 0; i < n; i++) {
        thin[i] = thin_out(curves[i]);
        for (size_t j = 0; j < thin[i].n; j++) {
            include(&x, thin[i].points[j].x);
            include(&y, thin[i].points[j].y);
        }
    }
    if (cut)
        y.high = fmin(y.high, 2.0 * median_end(thin, n));
    finish_axis(&x, 10.0);
    finish_axis(&y, 6.0);
    fprintf(page, "<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT);
    write_axes(page, &x, &y, x_name);
    for (size_t i = 0; i < n; i++) {
        if (thin[i].n > 0)
            write_curve(page, &thin[i], &x, &y, line_chart_color(i));
        free(thin[i].points);
    }
    fputs("</svg>\n", page);
    free(thin);
}
