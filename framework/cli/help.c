/* SPDX-License-Identifier: Apache-2.0
 *
 * Renders the tables of commands and options. Nothing is said here that the tables do not know. */
#include "help.h"

#include <string.h>
#include <tessera/version.h>

#define WRAP_WIDTH 80
#define OPTION_INDENT 28

static const char PROGRAM_DOC[] = "Tessera compresses model weights: it takes a safetensors checkpoint, decides tensor "
                                  "by tensor what each one is for, "
                                  "encodes each with a codec that is loaded at run time, verifies the result from disk "
                                  "and writes a checkpoint that is "
                                  "itself safetensors.";

static const struct command_example EXIT_CODES[] = {
    {"0", "done"},           {"1", "wrong usage or config"}, {"2", "bad input"},
    {"3", "a gate said no"}, {"4", "the system failed"},     {"130", "interrupted; the same command resumes"},
};
#define EXIT_CODE_COUNT (sizeof EXIT_CODES / sizeof EXIT_CODES[0])

/* Words of `text` in lines of WRAP_WIDTH, each but the first behind `indent` spaces; `at` is where the first begins. */
static void add_wrapped(struct str *out, const char *text, int at, int indent) {
    int column = at;
    bool first = true;
    while (*text) {
        int length = (int)strcspn(text, " \n");
        if (!first && column + 1 + length > WRAP_WIDTH) {
            str_add_format(out, "\n%*s", indent, "");
            column = indent;
            first = true;
        }
        str_add_format(out, first ? "%.*s" : " %.*s", length, text);
        column += length + !first;
        first = false;
        text += length;
        if (*text == '\n') {
            str_add_format(out, "\n%*s", indent, "");
            column = indent;
            first = true;
        }
        if (*text) text++;
    }
    str_add_text(out, "\n");
}

static void add_heading(struct str *out, const char *text, bool bold) {
    str_add_format(out, bold ? "\n\033[1m%s\033[0m\n" : "\n%s\n", text);
}

/* "-o, --output PATH" */
static void add_option_name(struct str *out, const struct option *option) {
    if (option->letter) str_add_format(out, "-%c, ", option->letter);
    str_add_format(out, "--%s", option->name);
    if (option->argument) str_add_format(out, " %s", option->argument);
}

static void add_option_help(struct str *out, const struct option *option) {
    size_t start = out->length;
    str_add_text(out, option->letter ? "  " : "      ");
    add_option_name(out, option);
    size_t used = out->length - start;
    if (used + 1 >= OPTION_INDENT) {
        str_add_format(out, "\n%*s", OPTION_INDENT, "");
    } else {
        str_add_format(out, "%*s", (int)(OPTION_INDENT - used), "");
    }
    add_wrapped(out, option->doc, OPTION_INDENT, OPTION_INDENT);
}

static void add_usage(struct str *out, const struct command *command) {
    str_add_format(out, "tessera %s", command->name);
    if (*command->operands) str_add_format(out, " %s", command->operands);
    for (const enum option_id *at = command->required; *at != OPT_NONE; at++) {
        str_add_format(out, " --%s %s", OPTIONS[*at].name, OPTIONS[*at].argument);
    }
    if (command->options[0] != OPT_NONE) str_add_text(out, " [OPTION...]");
}

void help_program(struct str *out, bool bold) {
    str_add_format(out, "tessera %s - compressor for model weights\n", TSR_VERSION);
    add_heading(out, "Usage", bold);
    str_add_text(out, "  tessera COMMAND [OPTION...] OPERAND...\n");
    add_heading(out, "Commands", bold);
    for (const struct command *const *at = COMMANDS; *at; at++) {
        str_add_format(out, "  %-12s %s\n", (*at)->name, (*at)->summary);
    }
    str_add_text(out, "\n`tessera COMMAND --help` tells more. `tessera --version` prints the version.\n");
}

void help_command(struct str *out, const struct command *command, bool bold) {
    str_add_format(out, "tessera %s - %s\n", command->name, command->summary);
    add_heading(out, "Usage", bold);
    str_add_text(out, "  ");
    add_usage(out, command);
    str_add_text(out, "\n\n");
    add_wrapped(out, command->doc, 0, 0);
    if (command->options[0] != OPT_NONE) add_heading(out, "Options", bold);
    for (const enum option_id *at = command->options; *at != OPT_NONE; at++) {
        if (OPTIONS[*at].doc) add_option_help(out, &OPTIONS[*at]);
    }
    if (command->examples[0].command) add_heading(out, "Examples", bold);
    for (const struct command_example *at = command->examples; at->command; at++) {
        str_add_format(out, "  %s\n      ", at->command);
        add_wrapped(out, at->doc, 6, 6);
    }
    add_heading(out, "Exit codes", bold);
    for (size_t i = 0; i < EXIT_CODE_COUNT; i++) {
        str_add_format(out, "  %-4s %s\n", EXIT_CODES[i].command, EXIT_CODES[i].doc);
    }
}

/* Text for troff: a dot or quote in front of a line is a request, a hyphen a typographic one. */
static void add_roff(struct str *out, const char *text) {
    bool line_start = true;
    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\'')) str_add_text(out, "\\&");
        if (*text == '\\') {
            str_add_text(out, "\\e");
        } else if (*text == '-') {
            str_add_text(out, "\\-");
        } else if (*text == '\n') {
            str_add_text(out, "\n.PP\n");
        } else {
            str_add(out, text, 1);
        }
        line_start = *text == '\n';
    }
}

static void add_man_head(struct str *out, const char *title, const char *name, const char *summary) {
    str_add_format(out, ".\\\" Generated from the command table (tessera help --man).\n");
    str_add_format(out, ".TH %s 1 \"\" \"tessera %s\" \"Tessera\"\n.SH NAME\n", title, TSR_VERSION);
    add_roff(out, name);
    str_add_text(out, " \\- ");
    add_roff(out, summary);
    str_add_text(out, "\n.SH SYNOPSIS\n");
}

static void add_man_tail(struct str *out) {
    str_add_text(out, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < EXIT_CODE_COUNT; i++) {
        str_add_format(out, ".TP 5\n%s\n%s\n", EXIT_CODES[i].command, EXIT_CODES[i].doc);
    }
}

static void man_program(struct str *out) {
    add_man_head(out, "TESSERA", "tessera", "compressor for model weights");
    str_add_text(out, ".B tessera\n.I COMMAND\n[\\fIOPTION\\fR...] \\fIOPERAND\\fR...\n.SH DESCRIPTION\n");
    add_roff(out, PROGRAM_DOC);
    str_add_text(out, "\n.SH COMMANDS\n");
    for (const struct command *const *at = COMMANDS; *at; at++) {
        str_add_format(out, ".TP 14\n.BR tessera-%s (1)\n", (*at)->name);
        add_roff(out, (*at)->summary);
        str_add_text(out, "\n");
    }
    add_man_tail(out);
}

void help_man(struct str *out, const struct command *command) {
    if (!command) {
        man_program(out);
        return;
    }
    struct str name = {0};
    str_add_format(&name, "tessera-%s", command->name);
    add_man_head(out, "TESSERA", name.text ? name.text : "", command->summary);
    str_clear(&name);
    add_usage(out, command);
    str_add_text(out, "\n.SH DESCRIPTION\n");
    add_roff(out, command->doc);
    str_add_text(out, "\n.SH OPTIONS\n");
    for (const enum option_id *at = command->options; *at != OPT_NONE; at++) {
        if (!OPTIONS[*at].doc) continue;
        struct str option = {0};
        add_option_name(&option, &OPTIONS[*at]);
        str_add_text(out, ".TP\n\\fB");
        add_roff(out, option.text ? option.text : "");
        str_add_text(out, "\\fR\n");
        add_roff(out, OPTIONS[*at].doc);
        str_add_text(out, "\n");
        str_clear(&option);
    }
    str_add_text(out, ".SH EXAMPLES\n");
    for (const struct command_example *at = command->examples; at->command; at++) {
        str_add_text(out, ".TP\n.B \"");
        add_roff(out, at->command);
        str_add_text(out, "\"\n");
        add_roff(out, at->doc);
        str_add_text(out, "\n");
    }
    add_man_tail(out);
    str_add_text(out, ".SH SEE ALSO\n.BR tessera (1)\n");
}

/* ---- completions ---- */

/* Words that the first operand may be, `end` behind each: "run | plan JOBS.yaml" has two. */
static void add_verbs(struct str *out, const struct command *command, const char *end) {
    const char *at = command->operands;
    if (!strchr(at, '|')) return;
    while (*at) {
        int length = (int)strcspn(at, " ");
        str_add_format(out, "%.*s%s", length, at, end);
        at = strchr(at, '|');
        if (!at) return;
        at += strspn(at, "| ");
    }
}

static void completion_bash(struct str *out) {
    str_add_text(out, "# bash completion for tessera, generated by `tessera help --completion bash`\n_tessera() {\n"
                      "    local word=${COMP_WORDS[COMP_CWORD]} words= verbs=\n    COMPREPLY=()\n"
                      "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words=\"--help --version");
    for (const struct command *const *at = COMMANDS; *at; at++) str_add_format(out, " %s", (*at)->name);
    str_add_text(out, "\"\n    else\n        case ${COMP_WORDS[1]} in\n");
    for (const struct command *const *at = COMMANDS; *at; at++) {
        str_add_format(out, "        %s) words=\"", (*at)->name);
        for (const enum option_id *id = (*at)->options; *id != OPT_NONE; id++) {
            if (OPTIONS[*id].doc) str_add_format(out, "--%s ", OPTIONS[*id].name);
        }
        str_add_text(out, "\" verbs=\"");
        add_verbs(out, *at, " ");
        str_add_text(out, "\" ;;\n");
    }
    str_add_text(out, "        esac\n        [[ $word == -* ]] || words=\n        [ \"$COMP_CWORD\" -eq 2 ] && [[ $word != -* ]] && words=$verbs\n    fi\n"
                      "    [ -n \"$words\" ] && mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
                      "    return 0\n}\ncomplete -o default -F _tessera tessera\n");
}

/* Text inside '...' of a zsh specification: quotes, brackets and colons mean something there. */
static void add_zsh(struct str *out, const char *text) {
    for (; *text; text++) {
        if (*text == '\'') {
            str_add_text(out, "'\\''");
        } else if (strchr("[]:\\", *text)) {
            str_add_format(out, "\\%c", *text);
        } else {
            str_add(out, text, 1);
        }
    }
}

/* '(-o --output)'{-o+,--output=}'[doc]:FILE:_files' */
static void zsh_option(struct str *out, const struct option *option) {
    const char *value = option->argument ? "=" : "";
    str_add_text(out, " \\\n        ");
    if (option->letter) {
        str_add_format(out, "'(-%c --%s)'{-%c%s,--%s%s}'[", option->letter, option->name, option->letter, option->argument ? "+" : "",
                       option->name, value);
    } else {
        str_add_format(out, "'--%s%s[", option->name, value);
    }
    add_zsh(out, option->doc);
    str_add_text(out, "]");
    if (option->argument) {
        str_add_text(out, ":");
        add_zsh(out, option->argument);
        str_add_text(out, ":_files");
    }
    str_add_text(out, "'");
}

static void zsh_command(struct str *out, const struct command *command) {
    str_add_format(out, "    %s) _arguments -s", command->name);
    for (const enum option_id *id = command->options; *id != OPT_NONE; id++) {
        if (OPTIONS[*id].doc) zsh_option(out, &OPTIONS[*id]);
    }
    if (strchr(command->operands, '|')) {
        str_add_text(out, " \\\n        '1:what:(");
        add_verbs(out, command, " ");
        str_add_text(out, ")'");
    }
    str_add_text(out, " \\\n        '*:file:_files' ;;\n");
}

static void completion_zsh(struct str *out) {
    str_add_text(out, "#compdef tessera\n# Generated by `tessera help --completion zsh`.\n_tessera() {\n"
                      "    if (( CURRENT == 2 )); then\n        local -a commands=(");
    for (const struct command *const *at = COMMANDS; *at; at++) {
        str_add_format(out, "\n            '%s:", (*at)->name);
        add_zsh(out, (*at)->summary);
        str_add_text(out, "'");
    }
    str_add_text(out, ")\n        _describe command commands\n        return\n    fi\n    local command=$words[2]\n"
                      "    shift words\n    (( CURRENT-- ))\n    case $command in\n");
    for (const struct command *const *at = COMMANDS; *at; at++) zsh_command(out, *at);
    str_add_text(out, "    esac\n}\nif [[ $funcstack[1] == _tessera ]]; then _tessera \"$@\"; else compdef _tessera tessera; fi\n");
}

/* Text inside '...' of fish. */
static void add_fish(struct str *out, const char *text) {
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') str_add_text(out, "\\");
        str_add(out, text, 1);
    }
}

static void fish_command(struct str *out, const struct command *command) {
    str_add_format(out, "complete -c tessera -n __fish_use_subcommand -f -a %s -d '", command->name);
    add_fish(out, command->summary);
    str_add_text(out, "'\n");
    if (strchr(command->operands, '|')) {
        str_add_format(out, "complete -c tessera -n 'test (count (commandline -opc)) -eq 2; and __fish_seen_subcommand_from %s' -f -a '",
                       command->name);
        add_verbs(out, command, " ");
        str_add_text(out, "'\n");
    }
    for (const enum option_id *id = command->options; *id != OPT_NONE; id++) {
        const struct option *option = &OPTIONS[*id];
        if (!option->doc) continue;
        str_add_format(out, "complete -c tessera -n '__fish_seen_subcommand_from %s' -l %s", command->name, option->name);
        if (option->letter) str_add_format(out, " -s %c", option->letter);
        str_add_format(out, "%s -d '", option->argument ? " -r" : "");
        add_fish(out, option->doc);
        str_add_text(out, "'\n");
    }
}

static void completion_fish(struct str *out) {
    str_add_text(out, "# Generated by `tessera help --completion fish`.\n");
    for (const struct command *const *at = COMMANDS; *at; at++) fish_command(out, *at);
}

bool help_completion(struct str *out, const char *shell) {
    if (!strcmp(shell, "bash")) {
        completion_bash(out);
    } else if (!strcmp(shell, "zsh")) {
        completion_zsh(out);
    } else if (!strcmp(shell, "fish")) {
        completion_fish(out);
    } else {
        return false;
    }
    return true;
}
