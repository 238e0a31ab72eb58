/* SPDX-License-Identifier: Apache-2.0
 *
 * A line is a word and a JSON object: "open", "start", "end", "task", "close". The newest line about a job counts. A job
 * that had started and has no end was cut off with its coordinator: it waits again, and its own journal knows how far it
 * came. */
#define _POSIX_C_SOURCE 200809L
#include "batch_state.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/str.h>
#include <format/json.h>
#include <math.h>
#include <reading/members.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEDGER_START "tessera-batch 1"

struct batch_name {
    const char *name;
    uint64_t job;
};

static const char *const PHASES[] = {"waiting", "running", "done", "failed", "blocked", "stopped"};

const char *batch_phase_name(enum batch_phase phase) {
    return PHASES[phase];
}

static bool find_phase(const char *name, enum batch_phase *phase) {
    for (unsigned i = 0; i < sizeof PHASES / sizeof PHASES[0]; i++) {
        if (strcmp(PHASES[i], name)) continue;
        *phase = (enum batch_phase)i;
        return true;
    }
    return false;
}

char *batch_state_path(const struct batch *batch, const char *folder, const char *name, const char *suffix) {
    struct str text = {0};
    str_add_format(&text, "%s/%s%s%s%s", batch->state, folder, *folder ? "/" : "", name, suffix);
    if (text.failed) str_clear(&text);
    return text.text;
}

void batch_result_say(struct batch_result *result, const char *message) {
    mem_free(result->message);
    result->message = message && *message ? mem_dup_text(message) : NULL;
    if (!result->message || text_is_utf8(result->message, strlen(result->message))) return;
    for (char *at = result->message; *at; at++) {
        if ((unsigned char)*at >= 0x80) *at = '?';
    }
}

/* ---- reading ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct batch_name *)a)->name, ((const struct batch_name *)b)->name);
}

static bool find_job(const struct batch_state *state, const char *name, uint64_t *job) {
    struct batch_name wanted = {name, 0};
    const struct batch_name *found =
        bsearch(&wanted, state->names, state->batch->count, sizeof *state->names, by_name);
    if (found) *job = found->job;
    return found != NULL;
}

static uint64_t count_of(const json_t *object, const char *key) {
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value < 0 ? 0 : (uint64_t)value;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static double figure_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : -1;
}

static bool take_end(const json_t *said, struct batch_result *result) {
    enum batch_phase phase;
    if (!find_phase(text_of(said, "state"), &phase)) return false;
    result->phase = phase;
    result->earlier = true;
    result->exit_code = (int)count_of(said, "exit_code");
    result->seconds = json_number_value(json_object_get(said, "seconds"));
    result->source_bytes = count_of(said, "source_bytes");
    result->output_bytes = count_of(said, "output_bytes");
    result->encoded_bytes = count_of(said, "encoded_bytes");
    result->stored_bytes = count_of(said, "stored_bytes");
    result->kld = figure_of(said, "kld");
    result->top1 = figure_of(said, "top1");
    result->joules = figure_of(said, "joules");
    result->attempts = count_of(said, "attempts");
    (void)snprintf(result->reason, sizeof result->reason, "%.23s", text_of(said, "reason"));
    (void)snprintf(result->definition, sizeof result->definition, "%.32s", text_of(said, "definition"));
    batch_result_say(result, text_of(said, "message"));
    return true;
}

/* Lines about jobs that the file no longer has are nobody's. */
static bool take_job_line(struct batch_state *state, const char *kind, const json_t *said) {
    uint64_t job;
    const char *name = json_string_value(json_object_get(said, "job"));
    if (!name) return false;
    if (!find_job(state, name, &job)) return true;
    struct batch_result *result = &state->results[job];
    if (!strcmp(kind, "start")) {
        result->phase = BATCH_RUNNING;
        result->attempts = count_of(said, "attempt");
        return true;
    }
    if (!strcmp(kind, "end")) {
        if (state->on_task) state->on_task(state->on_task_ctx, job, NULL);
        state->run_joules = figure_of(said, "run_joules");
        return take_end(said, result);
    }
    if (strcmp(kind, "task")) return false;
    if (state->on_task) state->on_task(state->on_task_ctx, job, said);
    return true;
}

/* Each line of a run says its energy so far, so that a run that was cut off counts up to its last one. */
static void begin_energy(struct batch_state *state, const char *missing) {
    if (state->run_joules >= 0) state->earlier_joules = fmax(state->earlier_joules, 0) + state->run_joules;
    state->run_joules = -1;
    if (missing) (void)snprintf(state->energy_missing, sizeof state->energy_missing, "%.150s", missing);
}

double batch_state_joules(const struct batch_state *state) {
    if (state->run_joules < 0) return state->earlier_joules;
    return fmax(state->earlier_joules, 0) + state->run_joules;
}

static void take_open(struct batch_state *state, const json_t *said) {
    begin_energy(state, json_string_value(json_object_get(said, "energy")));
    (void)snprintf(state->holder, sizeof state->holder, "process %lld on %.80s, engine %.16s",
                   (long long)json_integer_value(json_object_get(said, "pid")), text_of(said, "host"),
                   text_of(said, "engine"));
    state->open = true;
    state->runs++;
}

static bool take_line(void *ctx, const char *text, bool *memory) {
    struct batch_state *state = ctx;
    char kind[16];
    size_t length = strcspn(text, " ");
    json_t *said = NULL;
    tsr_error err = {0};
    if (!text[length] || length >= sizeof kind) return false;
    memcpy(kind, text, length);
    kind[length] = '\0';
    tsr_status st = json_parse(text + length + 1, strlen(text + length + 1), "ledger", &said, &err);
    *memory = st != TSR_E_NOMEM;
    bool taken = st == TSR_OK && json_is_object(said);
    if (taken && !strcmp(kind, "open")) {
        take_open(state, said);
    } else if (taken && !strcmp(kind, "close")) {
        state->run_joules = figure_of(said, "run_joules");
        state->open = false;
    } else if (taken) {
        taken = take_job_line(state, kind, said);
    }
    json_decref(said);
    return taken;
}

/* ---- opening ---- */

static tsr_status prepare(const struct batch *batch, struct batch_state *state, tsr_error *err) {
    state->batch = batch;
    state->run_joules = state->earlier_joules = -1;
    state->results = mem_alloc_zero(batch->count, sizeof *state->results);
    state->names = mem_alloc_array(batch->count, sizeof *state->names);
    state->ledger_path = batch_state_path(batch, "", "ledger", "");
    state->cancel_path = batch_state_path(batch, "", "cancel", "");
    if (!state->results || !state->names || !state->ledger_path || !state->cancel_path) {
        return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", batch->state);
    }
    for (uint64_t i = 0; i < batch->count; i++) {
        state->results[i].kld = state->results[i].top1 = state->results[i].joules = -1;
        state->names[i] = (struct batch_name){batch->jobs[i].name, i};
    }
    qsort(state->names, batch->count, sizeof *state->names, by_name);
    return TSR_OK;
}

static tsr_status make_folders(const struct batch *batch, tsr_error *err) {
    static const char *const folders[] = {"records", "logs"};
    tsr_status st = fs_make_folder(batch->state, err);
    for (unsigned i = 0; i < 2 && st == TSR_OK; i++) {
        char *path = batch_state_path(batch, "", folders[i], "");
        st = path ? fs_make_folder(path, err) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", batch->state);
        mem_free(path);
    }
    return st;
}

/* The lock names a process; the ledger also knows on which machine. */
static tsr_status lock(struct batch_state *state, tsr_error *err) {
    char *path = batch_state_path(state->batch, "", "lock", "");
    tsr_status st = path ? fs_lock(path, &state->lock, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    mem_free(path);
    if (st != TSR_E_BUSY) return st;
    struct batch_state other = {0};
    if (batch_state_look(state->batch, &other, NULL) == TSR_OK && other.holder[0]) {
        st = tsr_fail(err, st, "%s: another coordinator holds it: %s", state->batch->state, other.holder);
    }
    batch_state_close(&other);
    return st;
}

static tsr_status append(struct batch_state *state, const char *kind, struct members *said, bool sync, tsr_error *err) {
    json_t *value = NULL;
    struct str line = {0};
    tsr_status st = members_finish(said, &value, err);
    char *text = st == TSR_OK ? json_to_text(value, 0) : NULL;
    str_add_format(&line, "%s %s", kind, text ? text : "");
    if (st == TSR_OK && (!text || line.failed)) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", state->ledger_path);
    if (st == TSR_OK) st = ledger_append(&state->ledger, line.text, sync, err);
    str_clear(&line);
    mem_free(text);
    json_decref(value);
    return st;
}

static tsr_status add_open(struct batch_state *state, const char *engine, tsr_error *err) {
    struct members said = members_object();
    char host[128] = "";
    if (gethostname(host, sizeof host - 1)) host[0] = '\0';
    members_count(&said, "pid", (uint64_t)getpid());
    members_text(&said, "host", text_is_utf8(host, strlen(host)) ? host : "");
    members_text(&said, "engine", engine);
    members_text(&said, "energy", state->energy);
    begin_energy(state, state->energy);
    state->open = true;
    return append(state, "open", &said, true, err);
}

tsr_status batch_state_open(const struct batch *batch, const char *engine, struct batch_state *state, tsr_error *err) {
    tsr_status st = prepare(batch, state, err);
    if (st == TSR_OK) st = make_folders(batch, err);
    if (st == TSR_OK) st = lock(state, err);
    if (st == TSR_OK) st = ledger_open(state->ledger_path, LEDGER_START, take_line, state, &state->ledger, err);
    if (st == TSR_OK) st = fs_remove(state->cancel_path, err);
    for (uint64_t i = 0; i < batch->count && st == TSR_OK; i++) {
        if (state->results[i].phase == BATCH_RUNNING) state->results[i].phase = BATCH_WAITING;
    }
    return st == TSR_OK ? add_open(state, engine, err) : st;
}

tsr_status batch_state_look(const struct batch *batch, struct batch_state *state, tsr_error *err) {
    tsr_status st = prepare(batch, state, err);
    return st == TSR_OK ? ledger_read(state->ledger_path, LEDGER_START, take_line, state, err) : st;
}

void batch_state_close(struct batch_state *state) {
    for (uint64_t i = 0; state->results && i < state->batch->count; i++) mem_free(state->results[i].message);
    ledger_close(&state->ledger);
    fs_unlock(&state->lock);
    mem_free(state->results);
    mem_free(state->names);
    mem_free(state->ledger_path);
    mem_free(state->cancel_path);
    *state = (struct batch_state){0};
}

/* ---- events ---- */

tsr_status batch_state_add_start(struct batch_state *state, uint64_t job, tsr_error *err) {
    struct members said = members_object();
    members_text(&said, "job", state->batch->jobs[job].name);
    members_count(&said, "attempt", state->results[job].attempts);
    return append(state, "start", &said, false, err);
}

tsr_status batch_state_add_end(struct batch_state *state, uint64_t job, tsr_error *err) {
    const struct batch_result *result = &state->results[job];
    struct members said = members_object();
    members_text(&said, "job", state->batch->jobs[job].name);
    members_text(&said, "state", PHASES[result->phase]);
    members_count(&said, "attempts", result->attempts);
    members_count(&said, "exit_code", (uint64_t)result->exit_code);
    members_text(&said, "reason", result->reason);
    members_text(&said, "message", result->message);
    members_real(&said, "seconds", result->seconds);
    members_count(&said, "source_bytes", result->source_bytes);
    members_count(&said, "output_bytes", result->output_bytes);
    members_count(&said, "encoded_bytes", result->encoded_bytes);
    members_count(&said, "stored_bytes", result->stored_bytes);
    members_real(&said, "kld", result->kld < 0 ? INFINITY : result->kld);
    members_real(&said, "top1", result->top1 < 0 ? INFINITY : result->top1);
    members_real(&said, "joules", result->joules < 0 ? INFINITY : result->joules);
    members_real(&said, "run_joules", state->run_joules < 0 ? INFINITY : state->run_joules);
    members_text(&said, "definition", result->definition);
    return append(state, "end", &said, true, err);
}

tsr_status batch_state_add_task(struct batch_state *state, uint64_t job, json_t *task, bool sync, tsr_error *err) {
    struct members said = {task, task == NULL};
    members_text(&said, "job", state->batch->jobs[job].name);
    return append(state, "task", &said, sync, err);
}

tsr_status batch_state_add_close(struct batch_state *state, tsr_error *err) {
    struct members said = members_object();
    members_real(&said, "run_joules", state->run_joules < 0 ? INFINITY : state->run_joules);
    state->open = false;
    return append(state, "close", &said, true, err);
}

/* ---- cancelling ---- */

bool batch_state_cancelled(const struct batch_state *state) {
    return fs_kind_of(state->cancel_path) != FS_ABSENT;
}

tsr_status batch_state_cancel(const struct batch *batch, tsr_error *err) {
    char *path = batch_state_path(batch, "", "cancel", "");
    tsr_status st = path ? fs_replace(path, "cancel\n", 7, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    mem_free(path);
    return st;
}

bool batch_state_is_held(const struct batch *batch, tsr_error *err) {
    struct fs_lock lock_file = {0};
    char *path = batch_state_path(batch, "", "lock", "");
    bool held = path && fs_kind_of(path) == FS_FILE && fs_lock(path, &lock_file, err) == TSR_E_BUSY;
    fs_unlock(&lock_file);
    mem_free(path);
    return held;
}
