/* SPDX-License-Identifier: Apache-2.0
 *
 * run, status, cancel, gc: opens file and state, hands them to an engine, and tells the table. */
#include "job_batch.h"

#include "batch_json.h"
#include "batch_run.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>
#include <base/str.h>
#include <reading/members.h>
#include <string.h>

#define PAGE_NAME "report"

static bool is_slurm(const struct job_batch_options *options) {
    return options->engine && !strcmp(options->engine, "slurm");
}

/* ---- run ---- */

static tsr_status check_footprints(const struct batch *batch, uint64_t memory_bytes, tsr_error *err) {
    char wants[32], has[32];
    for (uint64_t i = 0; memory_bytes && i < batch->count; i++) {
        uint64_t wanted = batch_footprint(&batch->jobs[i]);
        if (wanted <= memory_bytes) continue;
        return tsr_fail(err, TSR_E_CONFIG, "%s:%u:%u: job %s needs %s of memory, the batch may take %s", batch->path,
                        (unsigned)batch->jobs[i].line, (unsigned)batch->jobs[i].column, batch->jobs[i].name,
                        text_bytes(wanted, wants, sizeof wants), text_bytes(memory_bytes, has, sizeof has));
    }
    return TSR_OK;
}

static tsr_status check_begun(const struct job_batch_options *options, const struct batch *batch, tsr_error *err) {
    char *path = batch_state_path(batch, "", "ledger", "");
    bool begun = path && fs_kind_of(path) == FS_FILE;
    mem_free(path);
    if (begun || !options->resume) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "%s: there is nothing to resume, `batch run` begins", batch->state);
}

static tsr_status write_page(const struct batch *batch, const json_t *result, tsr_error *err) {
    char *text = NULL, *path = batch_state_path(batch, "", PAGE_NAME, ".html");
    tsr_status st = path ? batch_page_make(result, &text, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    if (st == TSR_OK) st = fs_replace(path, text, strlen(text), err);
    mem_free(text);
    mem_free(path);
    return st;
}

/* The worst job makes the status of the batch; the message names the first bad ones. */
static tsr_status judge(const struct batch *batch, const struct batch_state *state, tsr_error *err) {
    static const struct {
        int exit_code;
        tsr_status status;
    } statuses[] = {{4, TSR_E_IO}, {2, TSR_E_INPUT}, {1, TSR_E_CONFIG}, {3, TSR_E_GATE}, {130, TSR_E_CANCELLED}};
    int code = batch_exit_code(batch, state->results);
    uint64_t bad = 0, first = batch->count;
    for (uint64_t i = 0; i < batch->count; i++) {
        if (state->results[i].phase == BATCH_DONE) continue;
        bad++;
        bool ended = state->results[i].phase == BATCH_FAILED || state->results[i].phase == BATCH_STOPPED;
        if (ended && first == batch->count) first = i;
    }
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (statuses[i].exit_code != code || first == batch->count) continue;
        return tsr_fail(err, statuses[i].status, "%s: %llu of %llu jobs are not done; %s: %s: %s", batch->path,
                        (unsigned long long)bad, (unsigned long long)batch->count, batch->jobs[first].name,
                        state->results[first].reason, state->results[first].message ? state->results[first].message : "");
    }
    return TSR_OK;
}

static tsr_status keep_store_small(const struct batch *batch, const struct env *env) {
    struct store store = {0};
    struct store_sweep sweep;
    tsr_error why = {0};
    if (!batch->store || !batch->store_max_bytes) return TSR_OK;
    tsr_status st = store_open(batch->store, &store, &why);
    if (st == TSR_OK) st = store_collect(&store, batch->store_max_bytes, &sweep, &why);
    if (st != TSR_OK) env_log(env, TSR_LOG_WARNING, "the store was not brought to its size: %s", why.message);
    store_close(&store);
    return TSR_OK;
}

/* Everything behind the opening of the state. The table is made whatever the engine says. */
static tsr_status run_opened(const struct job_batch_options *options, const struct batch_run *run,
                             const struct job_paths *paths, json_t **result, tsr_error *err) {
    batch_begin(run->batch, paths, run->state);
    tsr_status st = is_slurm(options) ? batch_run_slurm(run, err) : batch_run_local(run, err);
    (void)keep_store_small(run->batch, run->env);
    tsr_status closed = st == TSR_OK ? batch_state_add_close(run->state, err) : batch_state_add_close(run->state, NULL);
    tsr_status told = batch_json_make(run->batch, run->state, false, result, st == TSR_OK ? err : NULL);
    if (told == TSR_OK) told = write_page(run->batch, *result, st == TSR_OK ? err : NULL);
    if (st == TSR_OK) st = closed != TSR_OK ? closed : told;
    return st == TSR_OK ? judge(run->batch, run->state, err) : st;
}

static uint64_t choose_workers(const struct job_batch_options *options, const struct batch *batch, const struct env *env) {
    uint64_t workers = options->workers ? options->workers : batch->workers;
    return min_u64(workers ? workers : pool_workers(env->pool), batch->count);
}

tsr_status job_batch_run(const struct job_batch_options *options, const struct job_paths *paths, const struct env *env,
                         json_t **result, tsr_error *err) {
    struct batch batch = {0};
    struct batch_state state = {0};
    struct energy energy = {0};
    struct batch_run run = {&batch, &state, env, options->program, options->partition, 0, 0, &energy};
    tsr_status st = batch_load(options->file, &batch, err);
    if (st == TSR_OK) st = check_begun(options, &batch, err);
    run.workers = choose_workers(options, &batch, env);
    run.memory_bytes = env->memory_bytes ? env->memory_bytes : batch.memory_bytes;
    if (st == TSR_OK && !is_slurm(options)) st = check_footprints(&batch, run.memory_bytes, err);
    if (st == TSR_OK && is_slurm(options)) st = batch_follow_slurm(&batch, &state, err);
    if (st == TSR_OK && !is_slurm(options)) energy_open(NULL, &energy);
    state.energy = is_slurm(options) ? "the jobs run on other machines" : energy.missing;
    if (st == TSR_OK) st = batch_state_open(&batch, is_slurm(options) ? "slurm" : "local", &state, err);
    if (st == TSR_OK) st = run_opened(options, &run, paths, result, err);
    energy_close(&energy);
    batch_forget_slurm(&state);
    batch_state_close(&state);
    batch_close(&batch);
    return st;
}

/* ---- status ---- */

tsr_status job_batch_status(const struct job_batch_options *options, json_t **result, tsr_error *err) {
    struct batch batch = {0};
    struct batch_state state = {0};
    tsr_status st = batch_load(options->file, &batch, err);
    if (st == TSR_OK) st = batch_state_look(&batch, &state, err);
    bool running = st == TSR_OK && batch_state_is_held(&batch, NULL);
    for (uint64_t i = 0; i < batch.count && st == TSR_OK && !running; i++) {
        if (state.results[i].phase == BATCH_RUNNING) state.results[i].phase = BATCH_WAITING;
    }
    if (st == TSR_OK) st = batch_json_make(&batch, &state, running, result, err);
    batch_state_close(&state);
    batch_close(&batch);
    return st;
}

/* ---- cancel ---- */

static tsr_status wait_for_coordinator(const struct batch *batch, const struct env *env, tsr_error *err) {
    tsr_status st = batch_state_cancel(batch, err);
    while (st == TSR_OK && batch_state_is_held(batch, NULL)) {
        if (env_cancelled(env)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted; the coordinator stops all the same");
        store_pause();
    }
    return st;
}

tsr_status job_batch_cancel(const struct job_batch_options *options, const struct env *env, json_t **result,
                            tsr_error *err) {
    struct batch batch = {0};
    struct batch_state state = {0};
    struct batch_run run = {&batch, &state, env, NULL, NULL, 1, 0, NULL};
    tsr_status st = batch_load(options->file, &batch, err);
    if (st == TSR_OK && fs_kind_of(batch.state) != FS_FOLDER) {
        st = tsr_fail(err, TSR_E_CONFIG, "%s: this batch has not begun", batch.state);
    }
    if (st == TSR_OK && batch_state_is_held(&batch, NULL)) st = wait_for_coordinator(&batch, env, err);
    if (st == TSR_OK) st = batch_follow_slurm(&batch, &state, err);
    if (st == TSR_OK) st = batch_state_open(&batch, "cancel", &state, err);
    if (st == TSR_OK) st = batch_cancel_slurm(&run, err);
    if (st == TSR_OK) st = batch_state_add_close(&state, err);
    if (st == TSR_OK) st = batch_json_make(&batch, &state, false, result, err);
    batch_forget_slurm(&state);
    batch_state_close(&state);
    batch_close(&batch);
    return st;
}

/* ---- gc ---- */

/* Logs and records of jobs that the file no longer has. */
static tsr_status sweep_folder(const struct batch *batch, const char *folder, const char *suffix, uint64_t *removed,
                               tsr_error *err) {
    struct fs_list list = {0};
    char *path = batch_state_path(batch, "", folder, "");
    tsr_status st = path ? fs_list(path, false, &list, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    for (uint64_t i = 0; i < list.count && st == TSR_OK; i++) {
        bool wanted = false;
        for (uint64_t k = 0; k < batch->count && !wanted; k++) {
            size_t length = strlen(batch->jobs[k].name);
            const char *rest = list.names[i] + length;
            wanted = !strncmp(list.names[i], batch->jobs[k].name, length) &&
                     (!strcmp(rest, suffix) || text_starts_with(rest, ".shard-"));
        }
        if (wanted) continue;
        char *file = fs_join(path, list.names[i]);
        st = file ? fs_remove(file, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory");
        mem_free(file);
        *removed += st == TSR_OK;
    }
    fs_list_clear(&list);
    mem_free(path);
    return st;
}

static tsr_status sweep_store(const struct batch *batch, struct members *whole, tsr_error *err) {
    struct store store = {0};
    struct store_sweep sweep = {0};
    struct members object = members_object();
    tsr_status st = TSR_OK;
    if (batch->store) st = store_open(batch->store, &store, err);
    if (st == TSR_OK && batch->store) {
        st = store_collect(&store, batch->store_max_bytes ? batch->store_max_bytes : UINT64_MAX, &sweep, err);
    }
    store_close(&store);
    members_text(&object, "folder", batch->store);
    members_count(&object, "entries", sweep.entries);
    members_count(&object, "bytes", sweep.bytes);
    members_count(&object, "removed", sweep.removed);
    members_count(&object, "removed_bytes", sweep.removed_bytes);
    members_nest(whole, "store", &object);
    return st;
}

tsr_status job_batch_gc(const struct job_batch_options *options, const struct env *env, json_t **result, tsr_error *err) {
    struct batch batch = {0};
    struct members whole = members_object();
    uint64_t removed = 0;
    (void)env;
    tsr_status st = batch_load(options->file, &batch, err);
    if (st == TSR_OK && batch_state_is_held(&batch, err)) st = TSR_E_BUSY;
    if (st == TSR_OK && fs_kind_of(batch.state) == FS_FOLDER) {
        st = sweep_folder(&batch, "logs", ".log", &removed, err);
        if (st == TSR_OK) st = sweep_folder(&batch, "records", ".json", &removed, err);
    }
    if (st == TSR_OK) st = sweep_store(&batch, &whole, err);
    members_count(&whole, "removed_files", removed);
    json_t *value = NULL;
    tsr_status finished = members_finish(&whole, &value, st == TSR_OK ? err : NULL);
    if (st == TSR_OK) st = finished;
    if (st == TSR_OK) *result = value; else json_decref(value);
    batch_close(&batch);
    return st;
}
