/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera batch: many models, one table. */
#include "commands.h"
#include "session.h"
#include "view.h"

#include <base/checked.h>
#include <batch/job_batch.h>
#include <string.h>
#include <time.h>

#define WATCH_SECONDS 1

enum verb { VERB_RUN, VERB_PLAN, VERB_STATUS, VERB_RESUME, VERB_CANCEL, VERB_GC, VERB_COUNT };
static const char *const VERBS[] = {"run", "plan", "status", "resume", "cancel", "gc", NULL};

/* ---- tables ---- */

static const struct table_column RUN_COLUMNS[] = {
    {"job", false},  {"state", false}, {"source", true},  {"output", true}, {"ratio", true},
    {"KLD", true},   {"top-1", true},  {"seconds", true}, {"machine J", true}, {"tries", true},
    {"reason", false},
};
static const struct table_column PLAN_COLUMNS[] = {
    {"job", false},   {"tensors", true}, {"source", true}, {"shared", true},   {"predicted", true},
    {"seconds", true}, {"memory", true},  {"prio", true},   {"output", false},
};

static void figure_cell(struct table *table, const json_t *job, const char *key, const char *format) {
    const json_t *value = json_object_get(job, key);
    char text[32] = "-";
    if (json_is_number(value) && !strcmp(format, "ratio")) {
        (void)snprintf(text, sizeof text, "%.3f", json_number_value(value));
    } else if (json_is_number(value) && !strcmp(format, "joules")) {
        (void)snprintf(text, sizeof text, "%.1f", json_number_value(value));
    } else if (json_is_number(value)) {
        (void)snprintf(text, sizeof text, "%.4f", json_number_value(value));
    }
    table_cell(table, text);
}

static void size_cell(struct table *table, uint64_t bytes) {
    if (bytes) {
        table_cell_bytes(table, bytes);
    } else {
        table_cell(table, "-");
    }
}

static void show_failures(struct output *out, const json_t *jobs) {
    size_t i;
    json_t *job;
    json_array_foreach(jobs, i, job) {
        if (!*field_text(job, "message")) continue;
        str_add_safe(&out->text, field_text(job, "name"));
        str_add_format(&out->text, ": %s: ", field_text(job, "reason"));
        str_add_safe(&out->text, field_text(job, "message"));
        str_add_text(&out->text, "\n");
        if (*field_text(job, "hint")) str_add_format(&out->text, "  hint: %s\n", field_text(job, "hint"));
        str_add_text(&out->text, "  log: ");
        str_add_safe(&out->text, field_text(job, "log"));
        str_add_text(&out->text, "\n");
    }
}

/* The machine's: whose share of it, nothing tells when jobs run at once. */
static void show_energy(struct output *out, const json_t *result) {
    const json_t *joules = json_object_get(json_object_get(result, "totals"), "energy_joules");
    const char *missing = field_text(result, "energy_missing");
    char text[224];
    if (json_is_number(joules)) {
        (void)snprintf(text, sizeof text, "%.1f J of the whole machine%s%s", json_number_value(joules),
                       *missing ? "; newest run not readable: " : "", missing);
    } else {
        (void)snprintf(text, sizeof text, "not readable: %s", missing);
    }
    view_pair(out, "energy", text);
}

static void show_counts(struct output *out, const json_t *result) {
    const json_t *counts = json_object_get(result, "counts"), *totals = json_object_get(result, "totals");
    const char *name;
    json_t *count;
    str_add_format(&out->text, "%llu jobs:", (unsigned long long)field_count(totals, "jobs"));
    json_object_foreach((json_t *)(uintptr_t)counts, name, count) {
        if (json_integer_value(count)) str_add_format(&out->text, " %lld %s", (long long)json_integer_value(count), name);
    }
    str_add_text(&out->text, "\n");
    view_pair_bytes(out, "source", field_count(totals, "source_bytes"));
    view_pair_bytes(out, "output", field_count(totals, "output_bytes"));
    view_pair_bytes(out, "encoded", field_count(totals, "encoded_bytes"));
    view_pair_bytes(out, "from the store", field_count(totals, "stored_bytes"));
    show_energy(out, result);
    if (field_is(result, "running")) view_pair(out, "held by", field_text(result, "coordinator"));
}

static void show_run(struct output *out, const json_t *result) {
    const json_t *jobs = json_object_get(result, "jobs");
    struct table table = {.columns = RUN_COLUMNS, .column_count = 11};
    size_t i;
    json_t *job;
    json_array_foreach(jobs, i, job) {
        table_cell(&table, field_text(job, "name"));
        table_cell(&table, field_text(job, "state"));
        size_cell(&table, field_count(job, "source_bytes"));
        size_cell(&table, field_count(job, "output_bytes"));
        figure_cell(&table, job, "ratio", "ratio");
        figure_cell(&table, job, "kld", "real");
        figure_cell(&table, job, "top1", "real");
        table_cell_format(&table, "%.1f", field_real(job, "seconds"));
        figure_cell(&table, job, "energy_joules", "joules");
        table_cell_format(&table, "%llu", (unsigned long long)field_count(job, "attempts"));
        table_cell(&table, field_text(job, "reason"));
    }
    output_table(out, &table);
    str_add_text(&out->text, "\n");
    show_failures(out, jobs);
    show_counts(out, result);
}

static void show_plan(struct output *out, const json_t *result) {
    const json_t *jobs = json_object_get(result, "jobs"), *totals = json_object_get(result, "totals");
    struct table table = {.columns = PLAN_COLUMNS, .column_count = 9};
    size_t i;
    json_t *job;
    json_array_foreach(jobs, i, job) {
        table_cell(&table, field_text(job, "name"));
        table_cell_format(&table, "%llu", (unsigned long long)field_count(job, "tensors"));
        size_cell(&table, field_count(job, "source_bytes"));
        size_cell(&table, field_count(job, "shared_bytes"));
        size_cell(&table, field_count(job, "predicted_bytes"));
        table_cell_format(&table, "%.1f", field_real(job, "predicted_seconds"));
        table_cell_bytes(&table, field_count(job, "memory_bytes"));
        table_cell_format(&table, "%lld", (long long)json_integer_value(json_object_get(job, "priority")));
        table_cell(&table, field_text(job, "output"));
    }
    output_table(out, &table);
    str_add_text(&out->text, "\n");
    json_array_foreach(jobs, i, job) {
        if (!*field_text(job, "message")) continue;
        str_add_safe(&out->text, field_text(job, "name"));
        str_add_text(&out->text, " would fail: ");
        str_add_safe(&out->text, field_text(job, "message"));
        str_add_text(&out->text, "\n");
    }
    view_pair_count(out, "jobs", field_count(totals, "jobs"));
    view_pair_bytes(out, "source", field_count(totals, "source_bytes"));
    view_pair_bytes(out, "predicted", field_count(totals, "predicted_bytes"));
    view_pair_bytes(out, "shared", field_count(totals, "shared_bytes"));
    view_pair(out, "store", *field_text(result, "store") ? field_text(result, "store") : "none: shared work is done again");
    str_add_format(&out->text, "%-24s%.1f s predicted, %llu at once\n", "time", field_real(totals, "predicted_seconds"),
                   (unsigned long long)field_count(totals, "workers"));
}

static void show_gc(struct output *out, const json_t *result) {
    const json_t *store = json_object_get(result, "store");
    view_pair_count(out, "files removed", field_count(result, "removed_files"));
    view_pair(out, "store", field_text(store, "folder"));
    view_pair_count(out, "entries", field_count(store, "entries"));
    view_pair_bytes(out, "bytes", field_count(store, "bytes"));
    view_pair_count(out, "entries removed", field_count(store, "removed"));
    view_pair_bytes(out, "bytes removed", field_count(store, "removed_bytes"));
}

/* ---- verbs ---- */

static tsr_status find_verb(const struct arguments *arguments, enum verb *verb, tsr_error *err) {
    const char *name = arguments->operands[0];
    *verb = VERB_RUN;
    while (*verb < VERB_COUNT && strcmp(VERBS[*verb], name) != 0) ++*verb;
    if (*verb == VERB_COUNT) {
        const char *nearest = text_nearest(name, VERBS);
        return tsr_fail(err, TSR_E_CONFIG, "batch: \"%.40s\" is none of run, plan, status, resume, cancel, gc%s%s%s", name,
                        nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
    }
    if (arguments->operand_count == 2) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "batch %s needs JOBS.yaml", name);
}

static tsr_status read_engine(const struct session *session, struct job_batch_options *options, tsr_error *err) {
    static const char *const engines[] = {"local", "slurm", NULL};
    const char *engine = session_value(session, OPT_ENGINE);
    options->engine = engine ? engine : "local";
    for (unsigned i = 0; engines[i]; i++) {
        if (!strcmp(engines[i], options->engine)) return TSR_OK;
    }
    const char *nearest = text_nearest(engine, engines);
    return tsr_fail(err, TSR_E_CONFIG, "--engine: \"%.40s\" is neither local nor slurm%s%s%s", engine,
                    nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

static tsr_status run_batch(struct session *session, const struct job_batch_options *options, tsr_error *err) {
    json_t *result = NULL;
    tsr_error view_err = {0};
    tsr_status status = job_batch_run(options, &session->paths, &session->env, &result, err);
    if (result) {
        tsr_status viewed = view_summary(session, result, show_run, &view_err);
        if (!status && viewed) {
            status = viewed;
            if (err) *err = view_err;
        }
    }
    if (status && result) session->hint = "the same command, or `tessera batch resume`, goes on from here";
    json_decref(result);
    return status;
}

static tsr_status look(struct session *session, const struct job_batch_options *options, tsr_error *err) {
    const struct timespec pause = {WATCH_SECONDS, 0};
    bool running = true;
    tsr_status status = TSR_OK;
    while (running && !status) {
        json_t *result = NULL;
        status = job_batch_status(options, &result, err);
        running = !status && session_has(session, OPT_WATCH) && field_is(result, "running") &&
                  !env_cancelled(&session->env);
        if (!status && running && session->output.width) str_add_text(&session->output.text, "\033[H\033[2J");
        if (!status) status = view_result(session, result, show_run, err);
        if (!status && running) status = output_flush(&session->output, err);
        json_decref(result);
        if (running && !status) nanosleep(&pause, NULL);
    }
    return status;
}

static tsr_status other_verb(struct session *session, enum verb verb, const struct job_batch_options *options,
                             tsr_error *err) {
    json_t *result = NULL;
    tsr_status status = TSR_OK;
    if (verb == VERB_PLAN) {
        status = session_plugins(session, err);
        if (!status) {
            status = job_batch_plan(options, session->registry, &session->paths, &session->env, &result, err);
        }
    } else if (verb == VERB_CANCEL) {
        status = job_batch_cancel(options, &session->env, &result, err);
    } else {
        status = job_batch_gc(options, &session->env, &result, err);
    }
    if (!status && verb == VERB_CANCEL) status = view_summary(session, result, show_run, err);
    if (!status && verb != VERB_CANCEL) status = view_result(session, result, verb == VERB_GC ? show_gc : show_plan, err);
    json_decref(result);
    return status;
}

static tsr_status batch_run(struct session *session, tsr_error *err) {
    enum verb verb;
    struct job_batch_options options = {.file = session->arguments.operands[1],
                                        .partition = session_value(session, OPT_PARTITION)};
    const char *workers = session_value(session, OPT_WORKERS);
    tsr_status status = find_verb(&session->arguments, &verb, err);
    if (!status) status = read_engine(session, &options, err);
    if (!status && workers) status = arguments_count(workers, "--workers", 1024, &options.workers, err);
    if (!status) status = session_open(session, err);
    if (status) return status;
    options.resume = verb == VERB_RESUME;
    if (verb == VERB_RUN || verb == VERB_RESUME) return run_batch(session, &options, err);
    return verb == VERB_STATUS ? look(session, &options, err) : other_verb(session, verb, &options, err);
}

const struct command COMMAND_BATCH = {
    .name = "batch",
    .operands = "run | plan | status | resume | cancel | gc  JOBS.yaml",
    .operand_min = 1,
    .operand_max = 2,
    .summary = "compress many models: in parallel, resumable, also on a cluster",
    .doc = "run: every job of JOBS.yaml that is not done, each in a process of its own; a job that fails, crashes or hangs costs "
           "that job only. What was interrupted, by whatever, goes on with the same command. plan: the table of jobs, their "
           "bytes, shared work and predicted time; writes nothing. status: the same table at any time. cancel: stops the "
           "batch, wherever it runs. gc: brings the store of shared tensors to its size. The exit code is that of the worst "
           "job.",
    .options = {OPT_ENGINE, OPT_WORKERS, OPT_PARTITION, OPT_WATCH, OPT_MEMORY, OPT_JOBS, OPT_PLUGIN_PATH, OPT_ROLES_PATH,
                OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .examples = {{"tessera batch plan nightly.yaml", "what would be done"},
                 {"tessera batch run nightly.yaml --workers 4", "four jobs at once on this machine"},
                 {"tessera batch run nightly.yaml --engine slurm", "job arrays on a cluster"},
                 {"tessera batch status nightly.yaml --watch", "the table, every second"}},
    .run = batch_run,
};
