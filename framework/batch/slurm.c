/* SPDX-License-Identifier: Apache-2.0
 *
 * Output formats are fixed by -o and --parsable, so nothing here depends on columns or locales. */
#define _POSIX_C_SOURCE 200809L
#include "slurm.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <inttypes.h>
#include <plugin/child.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_MAX_DEFAULT 1000

/* ---- commands ---- */

/* Where PATH has the command, in fresh memory, or NULL. */
static char *find_program(const char *name) {
    const char *at = getenv("PATH");
    for (at = at ? at : ""; *at;) {
        struct str path = {0};
        size_t length = strcspn(at, ":");
        str_add_format(&path, "%.*s/%s", (int)length, at, name);
        if (length && !path.failed && !access(path.text, X_OK)) return path.text;
        str_clear(&path);
        at += length + (at[length] == ':');
    }
    return NULL;
}

static tsr_status run(const char *const *arguments, const struct env *env, struct str *output, struct str *errors,
                      int *code, tsr_error *err) {
    struct child_end end = {0};
    char *program = find_program(arguments[0]);
    if (!program) return tsr_fail(err, TSR_E_CONFIG, "engine slurm: there is no %s in PATH", arguments[0]);
    str_add_text(output, "");
    str_add_text(errors, "");
    tsr_status st = child_capture(program, arguments, env, output, errors, &end, err);
    *code = end.signal ? 128 + end.signal : end.code;
    mem_free(program);
    return st;
}

/* The first line of what a command complained of. */
static tsr_status fail_with(tsr_status status, const char *command, const struct str *errors, tsr_error *err) {
    const char *text = errors->text ? errors->text : "";
    return tsr_fail(err, status, "%s: %.*s", command, (int)strcspn(text, "\n"), *text ? text : "failed without a word");
}

/* True for complaints that pass: the controller is restarting, or busy. */
static bool may_pass(const struct str *errors) {
    static const char *const signs[] = {"Unable to contact", "Connection refused", "timed out", "Zero Bytes",
                                        "Connection reset",  "Transport endpoint", "communication", NULL};
    for (const char *const *sign = signs; *sign; sign++) {
        if (errors->text && strstr(errors->text, *sign)) return true;
    }
    return false;
}

/* ---- submit ---- */

struct options {
    const char *list[24];
    char text[12][80];
    unsigned count, texts;
};

static void add(struct options *options, const char *option) {
    options->list[options->count++] = option;
}

static void add_number(struct options *options, const char *format, uint64_t value) {
    char *text = options->text[options->texts++];
    (void)snprintf(text, sizeof options->text[0], format, value);
    add(options, text);
}

static void add_pair(struct options *options, const char *option, const char *value) {
    if (!value) return;
    add(options, option);
    add(options, value);
}

tsr_status slurm_submit(const struct slurm_request *request, const struct env *env, char id[SLURM_ID_TEXT],
                        tsr_error *err) {
    struct options options = {.count = 0};
    struct str output = {0}, errors = {0};
    int code = 0;
    add(&options, "sbatch");
    add(&options, "--parsable");
    add(&options, "--requeue");
    add(&options, "--kill-on-invalid-dep=yes");
    add(&options, "--output=/dev/null"); /* the script sends its words to the job's own log */
    add_pair(&options, "--job-name", request->name);
    add_pair(&options, "--chdir", request->folder);
    add_pair(&options, "--partition", request->partition);
    add_pair(&options, "--dependency", request->dependency);
    add_number(&options, "--array=0-%" PRIu64, request->tasks - 1);
    add_number(&options, "--cpus-per-task=%" PRIu64, request->threads);
    if (request->memory_bytes) add_number(&options, "--mem=%" PRIu64 "M", (request->memory_bytes + 1048575) / 1048576);
    if (request->wall_seconds) add_number(&options, "--time=%" PRIu64, (request->wall_seconds + 59) / 60);
    if (request->nice) add_number(&options, "--nice=%" PRIu64, request->nice);
    add(&options, request->script);
    tsr_status st = run(options.list, env, &output, &errors, &code, err);
    if (st == TSR_OK && code) st = fail_with(may_pass(&errors) ? TSR_E_IO : TSR_E_CONFIG, "sbatch", &errors, err);
    if (st == TSR_OK) {
        size_t digits = strspn(output.text, "0123456789");
        (void)snprintf(id, SLURM_ID_TEXT, "%.*s", digits < SLURM_ID_TEXT ? (int)digits : 0, output.text);
        if (!id[0]) st = tsr_fail(err, TSR_E_IO, "sbatch: its answer \"%.60s\" has no number", output.text);
    }
    str_clear(&output);
    str_clear(&errors);
    return st;
}

/* ---- list ---- */

/* Cuts the field at *at off and moves behind it; "" behind the last. */
static const char *next_field(char **at) {
    char *field = *at;
    size_t length = strcspn(field, "|");
    *at = field + length + (field[length] == '|');
    field[length] = '\0';
    return field;
}

static void take_line(char *text, void (*take)(void *ctx, const struct slurm_line *line), void *ctx) {
    struct slurm_line line = {0};
    line.name = next_field(&text);
    const char *index = next_field(&text);
    line.id = next_field(&text);
    line.state = next_field(&text);
    line.reason = next_field(&text);
    line.index = strtoull(index, NULL, 10);
    line.running = !strcmp(line.state, "RUNNING") || !strcmp(line.state, "COMPLETING");
    if (*line.id && *index >= '0' && *index <= '9') take(ctx, &line);
}

tsr_status slurm_list(const struct env *env, void (*take)(void *ctx, const struct slurm_line *line), void *ctx,
                      tsr_error *err) {
    static const char *const command[] = {"squeue", "--me", "--array", "--noheader", "--format=%j|%K|%i|%T|%r", NULL};
    struct str output = {0}, errors = {0};
    int code = 0;
    tsr_status st = run(command, env, &output, &errors, &code, err);
    if (st == TSR_OK && code) st = fail_with(TSR_E_IO, "squeue", &errors, err);
    for (char *line = st == TSR_OK ? output.text : NULL; line && *line;) {
        size_t length = strcspn(line, "\n");
        char *next = line + length + (line[length] == '\n');
        line[length] = '\0';
        take_line(line, take, ctx);
        line = next;
    }
    str_clear(&output);
    str_clear(&errors);
    return st;
}

/* ---- ask ---- */

/* "JobState=TIMEOUT" and "ExitCode=0:9" of a line of scontrol. */
static void read_fate(const char *text, struct slurm_fate *fate) {
    const char *state = strstr(text, "JobState="), *ended = strstr(text, "ExitCode=");
    if (state) (void)sscanf(state, "JobState=%23[A-Z_]", fate->state);
    if (ended) (void)sscanf(ended, "ExitCode=%d:%d", &fate->code, &fate->signal);
}

/* "TIMEOUT|0:0" of sacct; "CANCELLED by 0" begins with the state too. */
static void read_account(const char *text, struct slurm_fate *fate) {
    if (sscanf(text, "%23[A-Z_]", fate->state) != 1) return;
    const char *bar = strchr(text, '|');
    if (bar) (void)sscanf(bar, "|%d:%d", &fate->code, &fate->signal);
}

tsr_status slurm_ask(const struct env *env, const char *id, struct slurm_fate *fate, tsr_error *err) {
    const char *const show[] = {"scontrol", "--oneliner", "show", "job", id, NULL};
    const char *const account[] = {"sacct", "-X", "--noheader", "--parsable2", "--format=State,ExitCode", "-j", id, NULL};
    struct str output = {0}, errors = {0};
    int code = 0;
    *fate = (struct slurm_fate){.code = 0};
    tsr_status st = run(show, env, &output, &errors, &code, err);
    if (st == TSR_OK && code && may_pass(&errors)) st = fail_with(TSR_E_IO, "scontrol", &errors, err);
    if (st == TSR_OK && !code) read_fate(output.text, fate);
    if (st == TSR_OK && !fate->state[0]) {
        str_truncate(&output, 0);
        tsr_error ignored = {0}; /* no accounting here is no failure */
        if (run(account, env, &output, &errors, &code, &ignored) == TSR_OK && !code) read_account(output.text, fate);
    }
    str_clear(&output);
    str_clear(&errors);
    return st;
}

/* ---- the rest ---- */

/* A task that is gone already is no failure. */
static tsr_status tell(const char *const *command, const struct env *env, tsr_error *err) {
    struct str output = {0}, errors = {0};
    int code = 0;
    tsr_status st = run(command, env, &output, &errors, &code, err);
    if (st == TSR_OK && code && may_pass(&errors)) st = fail_with(TSR_E_IO, command[0], &errors, err);
    str_clear(&output);
    str_clear(&errors);
    return st;
}

tsr_status slurm_cancel(const struct env *env, const char *id, tsr_error *err) {
    return tell((const char *const[]){"scancel", id, NULL}, env, err);
}

tsr_status slurm_release(const struct env *env, const char *id, tsr_error *err) {
    return tell((const char *const[]){"scontrol", "release", id, NULL}, env, err);
}

uint64_t slurm_array_max(const struct env *env) {
    static const char *const command[] = {"scontrol", "show", "config", NULL};
    struct str output = {0}, errors = {0};
    uint64_t most = 0;
    int code = 0;
    if (run(command, env, &output, &errors, &code, NULL) == TSR_OK && !code) {
        const char *line = strstr(output.text, "MaxArraySize");
        if (line) (void)sscanf(line, "MaxArraySize = %" SCNu64, &most);
    }
    str_clear(&output);
    str_clear(&errors);
    /* The largest index is one below the size. */
    return most > 1 && most - 1 < ARRAY_MAX_DEFAULT ? most - 1 : ARRAY_MAX_DEFAULT;
}
