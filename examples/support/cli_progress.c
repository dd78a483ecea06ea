/* The progress of long steps, on standard error. */
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "support/cli.h"

#define BAR_SECONDS  0.1
#define LINE_SECONDS 10.0

#define TICK_MICROSECONDS 100000

/* The step that is going on. While a thread watches it, the lock guards the rest. */
static struct {
    pthread_t watcher;
    pthread_mutex_t lock;
    bool is_watched, ends;
    uint64_t (*probe)(void);
    uint64_t total;
    const char *what, *unit; /* what: NULL: none is */
    double begin, last;      /* seconds */
    char note[96];           /* "": the rate */
    bool has_note, is_terminal, is_shown;
} step = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double interval(void)
{
    const char *text = getenv("TINYLM_PROGRESS_SECONDS");

    return text != NULL ? strtod(text, NULL) : step.is_terminal ? BAR_SECONDS : LINE_SECONDS;
}

void cli_progress_begin(const char *what, const char *unit)
{
    cli_progress_end();
    step.what = what;
    step.unit = unit;
    step.begin = step.last = cli_seconds();
    step.is_terminal = isatty(STDERR_FILENO) == 1;
}

void cli_progress_note(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(step.note, sizeof(step.note), format, arguments);
    va_end(arguments);
    step.has_note = true;
}

void cli_progress_hide(void)
{
    if (step.is_shown)
        fputs("\r\033[K", stderr);
    step.is_shown = false;
}

static void stop_watching(void)
{
    if (!step.is_watched || pthread_equal(pthread_self(), step.watcher))
        return;
    pthread_mutex_lock(&step.lock);
    step.ends = true;
    pthread_mutex_unlock(&step.lock);
    pthread_join(step.watcher, NULL);
    step.is_watched = false;
}

void cli_progress_end(void)
{
    stop_watching();
    cli_progress_hide();
    step.what = NULL;
    step.has_note = false;
}

/* "12.3 M": thousands by letters. */
static void format_count(char out[16], double count)
{
    static const char letters[] = " kMGTP";
    size_t i = 0;

    for (; count >= 1000.0 && i + 1 < sizeof(letters) - 1; i++)
        count /= 1000.0;
    snprintf(out, 16, i > 0 && count < 99.95 ? "%.1f%s%c" : "%.0f%s%c", count, i > 0 ? " " : "",
             letters[i]);
    if (i == 0)
        out[strlen(out) - 1] = '\0';
}

static void format_time(char out[32], double seconds)
{
    if (seconds < 600.0)
        snprintf(out, 32, "%.0f s", seconds);
    else
        snprintf(out, 32, "%d:%02d h", (int)(seconds / 3600.0), (int)(seconds / 60.0) % 60);
}

/* What stands behind the share: the note, or how much, how fast and for how long. */
static void format_rest(char *out, size_t size, double done, double total, double seconds)
{
    const double rate = seconds > 0.0 ? done / seconds : 0.0;
    char amount[16], speed[16], left[32] = "";
    size_t used = 0;

    if (step.has_note) {
        snprintf(out, size, "%s", step.note);
        return;
    }
    out[0] = '\0';
    if (step.unit != NULL) {
        format_count(amount, done);
        format_count(speed, rate);
        used =
            (size_t)snprintf(out, size, "%s%s%s  %s%s%s/s", amount, strchr(amount, ' ') ? "" : " ",
                             step.unit, speed, strchr(speed, ' ') ? "" : " ", step.unit);
    }
    if (total > done && rate > 0.0) { /* totals may be estimates */
        format_time(left, (total - done) / rate);
        snprintf(out + used, size - used, "%sETA %s", used > 0 ? "  " : "", left);
    }
}

static size_t terminal_width(void)
{
    struct winsize window;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
}

/* "counting [#####.....]  50%  1.2 MB  ...", cut to the terminal's width. */
static void draw_bar(double share, const char *rest)
{
    enum { MOST = 30 };
    const size_t width = terminal_width();
    char bar[MOST + 1], line[512];
    size_t length = width < 70 ? 10 : MOST, full = (size_t)(share * (double)length);

    memset(bar, '.', length);
    memset(bar, '#', full < length ? full : length);
    bar[length] = '\0';
    snprintf(line, sizeof(line), "%s [%s] %3.0f%%  %s", step.what, bar, 100.0 * share, rest);
    fprintf(stderr, "\r%.*s\033[K", (int)(width > 1 ? width - 1 : 1), line);
    step.is_shown = true;
}

int32_t cli_progress(void *user, uint64_t done, uint64_t total)
{
    const double now = cli_seconds();
    const double share = total == 0 ? 0.0 : done < total ? (double)done / (double)total : 1.0;
    char rest[128];

    (void)user;
    if (cli_is_quiet() || step.what == NULL || now - step.last < interval() ||
        (step.has_note && !step.is_terminal))
        return 0;
    step.last = now;
    format_rest(rest, sizeof(rest), (double)done, (double)total, now - step.begin);
    if (total == 0 && rest[0] == '\0')
        format_time(rest, now - step.begin);
    if (!step.is_terminal && total > 0)
        fprintf(stderr, "%s: %.0f%%  %s\n", step.what, 100.0 * share, rest);
    else if (!step.is_terminal)
        fprintf(stderr, "%s: %s\n", step.what, rest);
    else
        draw_bar(share, rest);
    fflush(stderr);
    return 0;
}

/* ---- Steps that do not tell how far they are ------------------------------------------------ */

static void *watch(void *unused)
{
    bool ends = false;

    while (!ends) {
        usleep(TICK_MICROSECONDS);
        pthread_mutex_lock(&step.lock);
        ends = step.ends;
        cli_progress(NULL, step.probe != NULL ? step.probe() : 0, step.total);
        pthread_mutex_unlock(&step.lock);
    }
    return unused;
}

void cli_progress_watch(const char *what, const char *unit, uint64_t (*probe)(void), uint64_t total)
{
    cli_progress_begin(what, unit);
    if (cli_is_quiet())
        return;
    step.probe = probe;
    step.total = total;
    step.ends = false;
    step.is_watched = pthread_create(&step.watcher, NULL, watch, NULL) == 0;
}

uint64_t cli_bytes_written(void)
{
    FILE *file = fopen("/proc/self/io", "r");
    unsigned long long written = 0;
    char line[128];

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "wchar: %llu", &written) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return written;
}
