/* Draws the curves of one or more training runs together, as an HTML page or an SVG drawing. */
#include "support/cli.h"
#include "support/report_page.h"

int main(int argc, char **argv)
{
    const char *output = "report.html", *x = "steps";
    const cli_option_t options[] = {
        {"output", CLI_STRING, &output, "HTML page to write, or .svg for the drawing alone", false},
        {"x", CLI_STRING, &x, "what the curves are drawn over: steps, tokens or processor (time)",
         false},
    };
    const cli_program_t program = {
        .operands = "DIRECTORY...",
        .summary = "Draws the curves of runs that train_lm --output-dir wrote.",
        .options = options,
        .num_options = sizeof(options) / sizeof(options[0]),
    };
    int first = cli_parse(argc, argv, &program);

    if (first == argc)
        cli_fail_usage("no directory is given");
    report_page_write(output, (const char *const *)argv + first, (size_t)(argc - first),
                      (report_axis_t)cli_choose("x", x, report_axis_words, REPORT_NUM_AXES), NULL,
                      NULL);
    printf("wrote %s\n", output);
    return 0;
}
