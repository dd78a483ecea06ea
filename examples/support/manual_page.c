/* Manual pages, of the tables of options. */
#include <string.h>

#include "support/commands.h"

#define PAGE_DATE "2026-11-29" /* of the latest change of this text */

/* Text of troff: a backslash and a dash have meanings, and so have a dot and a quote at the start of a line. */
static void write_text(FILE *page, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const bool begins = i == 0 || text[i - 1] == '\n';

        if (begins && (text[i] == '.' || text[i] == '\''))
            fputs("\\&", page);
        if (text[i] == '\\')
            fputs("\\e", page);
        else if (text[i] == '-')
            fputs("\\-", page);
        else
            fputc(text[i], page);
    }
}

static void write_string(FILE *page, const char *text)
{
    write_text(page, text, strlen(text));
}

static void write_title(FILE *page, const char *name)
{
    fputs(".TH ", page);
    for (; *name != '\0'; name++)
        fputc(*name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name == '_' ? '-' : *name, page);
    fprintf(page, " 1 \"%s\" \"libtinylm %s\" \"User Commands\"\n", PAGE_DATE, tlm_version());
}

static void write_option(FILE *page, const cli_program_t *program, const cli_option_t *option)
{
    const char *argument = cli_argument_name(program, option);
    char text[1024];

    cli_describe_option(text, sizeof(text), program, option);
    fputs(".TP\n\\fB\\-\\-", page);
    write_string(page, option->name);
    fputs("\\fR", page);
    if (argument[0] != '\0')
        fprintf(page, " \\fI%s\\fR", argument);
    fputc('\n', page);
    write_string(page, text);
    fputc('\n', page);
}

static void write_options(FILE *page, const cli_program_t *program)
{
    fputs(".SH OPTIONS\n", page);
    for (size_t i = 0; i < program->num_options; i++) {
        if (program->options[i].name != NULL) {
            write_option(page, program, &program->options[i]);
            continue;
        }
        fputs(".SS ", page);
        write_string(page, program->options[i].help);
        fputc('\n', page);
    }
    if (program->num_options > 0 && program->options[0].name == NULL)
        fputs(".SS Other\n", page);
    for (size_t i = 0; cli_common_option(program, i) != NULL; i++)
        write_option(page, program, cli_common_option(program, i));
}

static void write_presets(FILE *page, const cli_program_t *program)
{
    for (size_t i = 0; i < program->num_presets; i++) {
        const cli_preset_t *preset = &program->presets[i];
        const cli_setting_t *setting = preset->settings;

        fprintf(page, ".SS \\-\\-%s %s\n", program->preset_option, preset->name);
        write_string(page, preset->help);
        fputs(":\n", page);
        for (; setting->option != NULL; setting++) {
            fputs(setting == preset->settings ? "\\fB\\-\\-" : ",\n\\fB\\-\\-", page);
            write_string(page, setting->option);
            fputs("\\fR ", page);
            write_string(page, setting->value);
        }
        fputs(".\n", page);
    }
}

static void write_examples(FILE *page, const char *name, const char *example)
{
    if (example == NULL)
        return;
    fputs(".SH EXAMPLES\n.nf\n", page);
    while (*example != '\0') {
        const size_t n = strcspn(example, "\n");

        write_string(page, name);
        fputc(' ', page);
        write_text(page, example, n);
        fputc('\n', page);
        example += n + (example[n] == '\n');
    }
    fputs(".fi\n", page);
}

static void write_synopsis(FILE *page, const cli_program_t *program, const char *name)
{
    fputs(".B ", page);
    write_string(page, name);
    fputs("\n[\\fIOPTION\\fR]...\n", page);
    if (program->operands != NULL)
        fprintf(page, "\\fI%s\\fR\n", program->operands);
}

static void write_ending(FILE *page)
{
    fputs(
        ".SH EXIT STATUS\n0 if it succeeded, 1 if it failed, 2 for a wrong command line; 128 and "
        "the number\nof the signal where one ended a run that was saved.\n"
        ".SH ENVIRONMENT\n.TP\n.B TINYLM_PROGRESS_SECONDS\nSeconds between two signs of progress; "
        "0 shows all.\n",
        page);
}

void manual_write_program(FILE *page, const cli_program_t *program)
{
    char command[64], installed[64] = "", title[64];

    snprintf(command, sizeof(command), "tinylm %s",
             program->command != NULL ? program->command : "");
    if (program->name != NULL)
        snprintf(installed, sizeof(installed), "tinylm-%s", program->name);
    for (char *c = installed; *c != '\0'; c++)
        *c = *c == '_' ? '-' : *c;
    if (program->command != NULL)
        snprintf(title, sizeof(title), "tinylm-%s", program->command);
    else
        snprintf(title, sizeof(title), "%s", installed);
    write_title(page, title);
    fputs(".SH NAME\n", page);
    write_string(page, title);
    fputs(" \\- ", page);
    write_string(page, program->brief);
    fputs("\n.SH SYNOPSIS\n", page);
    if (program->command != NULL)
        write_synopsis(page, program, command);
    if (program->command != NULL && installed[0] != '\0')
        fputs(".br\n", page);
    if (installed[0] != '\0')
        write_synopsis(page, program, installed);
    fputs(".SH DESCRIPTION\n", page);
    write_string(page, program->summary);
    fputc('\n', page);
    write_options(page, program);
    write_presets(page, program);
    write_examples(page, program->command != NULL ? command : installed, program->example);
    write_ending(page);
    fputs(".SH SEE ALSO\n.BR tinylm (1)\n", page);
}

void manual_write_tinylm(FILE *page)
{
    size_t last = 0;

    write_title(page, "tinylm");
    fputs(".SH NAME\ntinylm \\- train and run small language models on CPUs\n.SH SYNOPSIS\n"
          ".B tinylm\n\\fICOMMAND\\fR\n[\\fIOPTION\\fR]...\n.SH DESCRIPTION\n"
          "From text to a model that writes: each step is a command, with a page of its own.\n"
          ".SH COMMANDS\n",
          page);
    for (size_t i = 0; all_programs[i] != NULL && all_programs[i]->command != NULL; i++) {
        fprintf(page, ".TP\n\\fB%s\\fR\n", all_programs[i]->command);
        write_string(page, all_programs[i]->brief);
        fputc('\n', page);
        last = i;
    }
    fputs(".TP\n\\fBhelp\\fR [\\fICOMMAND\\fR]\nlist the commands, or the options of one\n"
          ".TP\n\\fBversion\\fR\nprint the version\n",
          page);
    write_examples(page, "tinylm",
                   "bpe --vocab-size 4096 --output tokenizer.json train.txt\n"
                   "tokenize --tokenizer tokenizer.json --output train.npy train.txt\n"
                   "tokenize --tokenizer tokenizer.json --output valid.npy valid.txt\n"
                   "train --train train.npy --valid valid.npy --tokenizer tokenizer.json "
                   "--vocab-size 4096 --output-dir run\n"
                   "generate --model run --prompt 'Once upon a time'\n");
    write_ending(page);
    fputs(".SH SEE ALSO\n", page);
    for (size_t i = 0; i <= last; i++)
        fprintf(page, ".BR tinylm\\-%s (1)%s\n", all_programs[i]->command, i < last ? "," : "");
}
