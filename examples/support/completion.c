/* Completion of command lines for three shells, of the tables of options. */
#include <string.h>

#include "support/commands.h"

/* ---- What shells have in common ------------------------------------------------------------- */

static bool is_command(size_t i)
{
    return all_programs[i] != NULL && all_programs[i]->command != NULL;
}

/* Option number i of a program, headings left out; NULL behind the last. */
static const cli_option_t *option_at(const cli_program_t *program, size_t i)
{
    for (size_t k = 0; k < program->num_options; k++)
        if (program->options[k].name != NULL && i-- == 0)
            return &program->options[k];
    return cli_common_option(program, i);
}

/* The words that an option takes, each behind a blank but the first; "": any. */
static void write_words(FILE *file, const cli_program_t *program, const cli_option_t *option)
{
    const cli_value_t *value = cli_value_of(program, option->name);
    const char *blank = "";

    if (program->preset_option != NULL && strcmp(program->preset_option, option->name) == 0)
        for (size_t i = 0; i < program->num_presets; i++, blank = " ")
            fprintf(file, "%s%s", blank, program->presets[i].name);
    for (size_t i = 0; value != NULL && value->words != NULL && value->words[i] != NULL; i++) {
        fprintf(file, "%s%s", blank, value->words[i]);
        blank = " ";
    }
}

static bool has_words(const cli_program_t *program, const cli_option_t *option)
{
    const cli_value_t *value = cli_value_of(program, option->name);

    return (value != NULL && value->words != NULL) ||
           (program->preset_option != NULL && strcmp(program->preset_option, option->name) == 0);
}

/* Whether files, or directories only, complete the option's value. */
static bool takes_file(const cli_program_t *program, const cli_option_t *option)
{
    return strcmp(cli_argument_name(program, option), "FILE") == 0;
}

static bool takes_directory(const cli_program_t *program, const cli_option_t *option)
{
    return strcmp(cli_argument_name(program, option), "DIR") == 0;
}

/* ---- bash ----------------------------------------------------------------------------------- */

static void write_bash_values(FILE *file, const cli_program_t *program)
{
    const cli_option_t *option;

    for (size_t i = 0; (option = option_at(program, i)) != NULL; i++) {
        if (option->kind == CLI_FLAG)
            continue;
        fprintf(file, "    %s:--%s) ", program->command, option->name);
        if (has_words(program, option)) {
            fputs("COMPREPLY=($(compgen -W '", file);
            write_words(file, program, option);
            fputs("' -- \"$word\")) ;;\n", file);
        } else if (takes_directory(program, option)) {
            fputs("compopt -o filenames; COMPREPLY=($(compgen -d -- \"$word\")) ;;\n", file);
        } else if (takes_file(program, option)) {
            fputs("compopt -o filenames; COMPREPLY=($(compgen -f -- \"$word\")) ;;\n", file);
        } else {
            fputs("COMPREPLY=() ;;\n", file);
        }
    }
}

static void write_bash_options(FILE *file, const cli_program_t *program)
{
    const cli_option_t *option;

    fprintf(file, "    %s:*) options='", program->command);
    for (size_t i = 0; (option = option_at(program, i)) != NULL; i++)
        fprintf(file, "%s--%s", i == 0 ? "" : " ", option->name);
    fputs("' ;;\n", file);
}

static void write_command_names(FILE *file)
{
    for (size_t i = 0; is_command(i); i++)
        fprintf(file, "%s%s", i == 0 ? "" : " ", all_programs[i]->command);
}

void completion_write_bash(FILE *file)
{
    fputs("# Completion of tinylm for bash.\n_tinylm() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local command=${COMP_WORDS[1]} options=\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '",
          file);
    write_command_names(file);
    fputs(" help version --help --version' -- \"$word\"))\n        return\n    fi\n"
          "    if [ \"$command\" = help ]; then\n        COMPREPLY=($(compgen -W '",
          file);
    write_command_names(file);
    fputs("' -- \"$word\"))\n        return\n    fi\n    case $command:$previous in\n", file);
    for (size_t i = 0; is_command(i); i++)
        write_bash_values(file, all_programs[i]);
    fputs("    *) previous= ;;\n    esac\n    [ -z \"$previous\" ] || return 0\n"
          "    case $command: in\n",
          file);
    for (size_t i = 0; is_command(i); i++)
        write_bash_options(file, all_programs[i]);
    fputs("    esac\n    case $word in\n"
          "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
          "    *) compopt -o filenames; COMPREPLY=($(compgen -f -- \"$word\")) ;;\n    esac\n}\n"
          "complete -F _tinylm tinylm\n",
          file);
}

/* ---- zsh ------------------------------------------------------------------------------------ */

/* Text inside '...[text]': quotes, brackets and colons are left out of it. */
static void write_zsh_text(FILE *file, const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '\'')
            fputs("'\\''", file);
        else if (strchr("[]:\\", *text) != NULL)
            fprintf(file, "\\%c", *text);
        else
            fputc(*text, file);
}

static void write_zsh_option(FILE *file, const cli_program_t *program, const cli_option_t *option)
{
    fprintf(file, "            '%s--%s[", option->kind == CLI_STRINGS ? "*" : "", option->name);
    write_zsh_text(file, option->help);
    fputc(']', file);
    if (has_words(program, option)) {
        fputs(":word:(", file);
        write_words(file, program, option);
        fputc(')', file);
    } else if (takes_directory(program, option)) {
        fputs(":directory:_files -/", file);
    } else if (takes_file(program, option)) {
        fputs(":file:_files", file);
    } else if (option->kind != CLI_FLAG) {
        fputs(":value: ", file);
    }
    fputs("' \\\n", file);
}

void completion_write_zsh(FILE *file)
{
    const cli_option_t *option;

    fputs("#compdef tinylm\n# Completion of tinylm for zsh.\n_tinylm() {\n"
          "    local -a commands=(\n",
          file);
    for (size_t i = 0; is_command(i); i++) {
        fprintf(file, "        '%s:", all_programs[i]->command);
        write_zsh_text(file, all_programs[i]->brief);
        fputs("'\n", file);
    }
    fputs(
        "        'help:tell the options of a command'\n        'version:print the version'\n    )\n"
        "    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n"
        "    fi\n    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n"
        "    case $command in\n    help)\n        _describe command commands ;;\n",
        file);
    for (size_t i = 0; is_command(i); i++) {
        fprintf(file, "    %s)\n        _arguments \\\n", all_programs[i]->command);
        for (size_t k = 0; (option = option_at(all_programs[i], k)) != NULL; k++)
            write_zsh_option(file, all_programs[i], option);
        fputs(all_programs[i]->operands != NULL ? "            '*:file:_files' ;;\n"
                                                : "            ;;\n",
              file);
    }
    fputs("    esac\n}\n_tinylm \"$@\"\n", file);
}

/* ---- fish ----------------------------------------------------------------------------------- */

static void write_fish_text(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            fputc('\\', file);
        fputc(*text, file);
    }
}

static void write_fish_option(FILE *file, const cli_program_t *program, const cli_option_t *option)
{
    fprintf(file, "complete -c tinylm -n '__fish_seen_subcommand_from %s' -l %s", program->command,
            option->name);
    if (has_words(program, option)) {
        fputs(" -x -a '", file);
        write_words(file, program, option);
        fputc('\'', file);
    } else if (takes_directory(program, option)) {
        fputs(" -x -a '(__fish_complete_directories)'", file);
    } else if (takes_file(program, option)) {
        fputs(" -r -F", file);
    } else if (option->kind != CLI_FLAG) {
        fputs(" -x", file);
    }
    fputs(" -d '", file);
    write_fish_text(file, option->help);
    fputs("'\n", file);
}

void completion_write_fish(FILE *file)
{
    const cli_option_t *option;

    fputs("# Completion of tinylm for fish.\ncomplete -c tinylm -n __fish_use_subcommand -f\n",
          file);
    for (size_t i = 0; is_command(i); i++) {
        fprintf(file, "complete -c tinylm -n __fish_use_subcommand -a %s -d '",
                all_programs[i]->command);
        write_fish_text(file, all_programs[i]->brief);
        fputs("'\n", file);
    }
    fputs("complete -c tinylm -n __fish_use_subcommand -a 'help version'\n"
          "complete -c tinylm -n '__fish_seen_subcommand_from help' -x -a '",
          file);
    write_command_names(file);
    fputs("'\n", file);
    for (size_t i = 0; is_command(i); i++)
        for (size_t k = 0; (option = option_at(all_programs[i], k)) != NULL; k++)
            write_fish_option(file, all_programs[i], option);
}
