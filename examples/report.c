/* Draws the curves of one or more training runs together, as an HTML page or an SVG drawing. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/report_page.h"

static const char *output = "report.html", *x = "steps";

static const cli_option_t options[] = {
    {"output", CLI_STRING, &output, HELP_OUTPUT ": an HTML page, or .svg for the drawing alone",
     false},
    {"x", CLI_STRING, &x, "what the curves are drawn over", false},
};

static int run(int n, char **directories)
{
    if (n == 0)
        cli_fail_usage("no directory is given");
    report_page_write(output, (const char *const *)directories, (size_t)n,
                      (report_axis_t)cli_choose_word("x", x, report_axis_words), NULL, NULL);
    cli_say("wrote %s\n", output);
    if (cli_is_json())
        report_page_print_json(output, (const char *const *)directories, (size_t)n);
    return 0;
}

static const cli_value_t values[] = {{CLI_OPERANDS, NULL, ROLE_RUN},
                                     {"output", NULL, ROLE_OUTPUT},
                                     {"x", report_axis_words, ROLE_NONE},
                                     {NULL, NULL, ROLE_NONE}};

const cli_program_t report_program = {
    .operands = "DIRECTORY...",
    .summary = "Draws the curves of runs that train --output-dir wrote.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .has = CLI_HAS_JSON,
    .values = values,
    .name = "report",
    .command = "report",
    .brief = "draw the curves of training runs",
    .example = "--x tokens --output both.html run1 run2",
    .run = run,
};

CLI_MAIN(report_program)
