/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine slurm. Tasks whose needs are met or on their way are sent in arrays of equal requests, with dependencies; then the queue
 * is looked at until all have left it. A task that has left is judged by its record; where there is none Slurm is asked
 * what happened. A controller that does not answer is waited for. */
#define _POSIX_C_SOURCE 200809L
#include "batch_run.h"
#include "batch_tasks.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/str.h>
#include <inttypes.h>
#include <pipeline/record.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MISSES_MAX 3 /* lists without a task and without a record, before Slurm is asked: file systems are late */
#define SUBMITS_MAX 8
#define RELEASES_MAX 5
#define CANCELLED_CODE 130 /* exit code of a run that was asked to stop */
#define MEMORY_SLACK (UINT64_C(256) << 20)

struct slurm_engine {
    const struct batch_run *run;
    struct batch_tasks *tasks;
    uint64_t array_max;
    uint64_t *chosen; /* [tasks->count] of the array being made */
    char *program, *folder;
    bool silent_controller; /* it was said that it does not answer */
};

static struct batch_result *result_of(const struct slurm_engine *engine, uint64_t job) {
    return &engine->run->state->results[job];
}

static void pause_seconds(double seconds) {
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

/* ---- following ---- */

tsr_status batch_follow_slurm(const struct batch *batch, struct batch_state *state, tsr_error *err) {
    struct batch_tasks *tasks = NULL;
    tsr_status st = fs_make_folder(batch->state, err);
    if (st == TSR_OK) st = batch_tasks_make(batch, &tasks, err);
    state->on_task = batch_tasks_take;
    state->on_task_ctx = tasks;
    return st;
}

void batch_forget_slurm(struct batch_state *state) {
    if (state->on_task) batch_tasks_destroy(state->on_task_ctx);
    state->on_task = NULL;
    state->on_task_ctx = NULL;
}

/* ---- sending ---- */

/* "afterok:12_0:13_4" of what the task needs and is still on its way. False when something is not even that. */
static bool dependency_of(const struct slurm_engine *engine, const struct batch_task *task, struct str *text) {
    const struct batch_tasks *tasks = engine->tasks;
    const struct batch_job *job = &engine->run->batch->jobs[task->job];
    bool ready = true;
    for (uint64_t i = 0; i < job->need_count && task->share.cut != BATCH_MERGE; i++) {
        const struct batch_task *need = batch_tasks_last(tasks, job->needs[i]);
        if (result_of(engine, job->needs[i])->phase == BATCH_DONE) continue;
        ready = ready && need->phase == TASK_SENT && need->id[0];
        str_add_format(text, "%s%s", text->length ? ":" : "afterok:", need->id);
    }
    for (uint64_t i = tasks->first[task->job]; task->share.cut == BATCH_MERGE && i + 1 < tasks->first[task->job + 1]; i++) {
        if (tasks->items[i].phase == TASK_DONE) continue;
        ready = ready && tasks->items[i].phase == TASK_SENT && tasks->items[i].id[0];
        str_add_format(text, "%s%s", text->length ? ":" : "afterok:", tasks->items[i].id);
    }
    return ready && !text->failed;
}

static bool is_open(const struct slurm_engine *engine, const struct batch_task *task) {
    enum batch_phase phase = result_of(engine, task->job)->phase;
    return task->phase == TASK_NEW && (phase == BATCH_WAITING || phase == BATCH_RUNNING);
}

static bool same_request(const struct batch_job *a, const struct batch_job *b) {
    return a->threads == b->threads && a->memory_bytes == b->memory_bytes && a->wall_seconds == b->wall_seconds &&
           a->priority == b->priority;
}

/* Everything that may share an array with the first open task that is ready; returns how many. */
static uint64_t choose(struct slurm_engine *engine, struct str *dependency) {
    const struct batch_tasks *tasks = engine->tasks;
    const struct batch_job *like = NULL;
    uint64_t count = 0;
    for (uint64_t i = 0; i < tasks->count && count < engine->array_max; i++) {
        struct str text = {0};
        const struct batch_job *job = &engine->run->batch->jobs[tasks->items[i].job];
        bool fits = is_open(engine, &tasks->items[i]) && (!like || same_request(like, job)) &&
                    dependency_of(engine, &tasks->items[i], &text);
        if (fits && like) fits = !strcmp(text.text ? text.text : "", dependency->text ? dependency->text : "");
        if (fits && !like) {
            like = job;
            *dependency = text;
            text = (struct str){0};
        }
        if (fits) engine->chosen[count++] = i;
        str_clear(&text);
    }
    return count;
}

/* A record of before must not pass for the word of the task that is sent now; it keeps its mark. */
static tsr_status age_record(const struct slurm_engine *engine, const struct batch_task *task, tsr_error *err) {
    struct arena arena = {0};
    json_t *record = NULL;
    const char *name = batch_share_name(engine->run->batch, task->job, &task->share, &arena);
    char *path = name ? batch_state_path(engine->run->batch, "records", name, ".json") : NULL;
    tsr_status st = path ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a record");
    if (path) record_read(path, &record);
    if (record) st = record_write(path, "sent", record_mark(record), NULL, err);
    json_decref(record);
    mem_free(path);
    arena_clear(&arena);
    return st;
}

/* The ledger knows array and index of each task before Slurm does. */
static tsr_status announce(struct slurm_engine *engine, uint64_t count, tsr_error *err) {
    tsr_status st = TSR_OK;
    engine->tasks->arrays++;
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        struct batch_task *task = &engine->tasks->items[engine->chosen[i]];
        *task = (struct batch_task){.job = task->job, .share = task->share, .phase = TASK_SENT,
                                    .array = engine->tasks->arrays, .index = i};
        st = age_record(engine, task, err);
        if (st == TSR_OK) {
            st = batch_state_add_task(engine->run->state, task->job, batch_task_json(task), i + 1 == count, err);
        }
    }
    return st;
}

static tsr_status write_script(const struct slurm_engine *engine, uint64_t count, char **path, tsr_error *err) {
    char name[40], *folder = batch_state_path(engine->run->batch, "", "slurm", "");
    (void)snprintf(name, sizeof name, "array-%" PRIu64, engine->tasks->arrays);
    char *text = batch_tasks_script(engine->tasks, engine->chosen, count, engine->program);
    *path = batch_state_path(engine->run->batch, "slurm", name, ".sh");
    tsr_status st = folder && text && *path ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", name);
    if (st == TSR_OK) st = fs_make_folder(folder, err);
    if (st == TSR_OK) st = fs_replace(*path, text, strlen(text), err);
    mem_free(text);
    mem_free(folder);
    return st;
}

static tsr_status submit(const struct slurm_engine *engine, uint64_t count, const char *script, const char *dependency,
                         char id[SLURM_ID_TEXT], tsr_error *err) {
    const struct batch_job *job = &engine->run->batch->jobs[engine->tasks->items[engine->chosen[0]].job];
    int64_t highest = job->priority;
    char name[80];
    for (uint64_t i = 0; i < engine->run->batch->count; i++) {
        if (engine->run->batch->jobs[i].priority > highest) highest = engine->run->batch->jobs[i].priority;
    }
    (void)snprintf(name, sizeof name, "%s%" PRIu64, engine->tasks->prefix, engine->tasks->arrays);
    struct slurm_request request = {.script = script,
                                    .name = name,
                                    .folder = engine->folder,
                                    .tasks = count,
                                    .threads = job->threads,
                                    .wall_seconds = job->wall_seconds,
                                    .nice = (uint64_t)(highest - job->priority),
                                    .dependency = dependency,
                                    .partition = engine->run->partition};
    if (job->memory_bytes) request.memory_bytes = job->memory_bytes + job->memory_bytes / 4 + MEMORY_SLACK;
    tsr_status st = TSR_E_IO;
    for (unsigned attempt = 0; attempt < SUBMITS_MAX && st == TSR_E_IO && !env_cancelled(engine->run->env); attempt++) {
        if (attempt) pause_seconds(attempt);
        st = slurm_submit(&request, engine->run->env, id, err);
    }
    return st;
}

static tsr_status send_array(struct slurm_engine *engine, uint64_t count, const char *dependency, tsr_error *err) {
    char id[SLURM_ID_TEXT] = "", *script = NULL;
    tsr_status st = announce(engine, count, err);
    if (st == TSR_OK) st = write_script(engine, count, &script, err);
    if (st == TSR_OK) st = submit(engine, count, script, dependency, id, err);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        struct batch_task *task = &engine->tasks->items[engine->chosen[i]];
        struct batch_result *result = result_of(engine, task->job);
        (void)snprintf(task->id, sizeof task->id, "%.12s_%u", id, (unsigned)i);
        if (result->phase == BATCH_WAITING) {
            result->phase = BATCH_RUNNING;
            result->attempts++;
            st = batch_state_add_start(engine->run->state, task->job, err);
        }
        if (st == TSR_OK) {
            st = batch_state_add_task(engine->run->state, task->job, batch_task_json(task), i + 1 == count, err);
        }
    }
    if (st == TSR_OK) {
        env_log(engine->run->env, TSR_LOG_INFO, "array %s: %" PRIu64 " tasks%s%s", id, count, dependency ? " " : "",
                dependency ? dependency : "");
    }
    mem_free(script);
    return st;
}

static tsr_status send_ready(struct slurm_engine *engine, tsr_error *err) {
    tsr_status st = TSR_OK;
    bool stops = engine->run->batch->stop_on_failure && batch_exit_code(engine->run->batch, engine->run->state->results);
    while (st == TSR_OK && !stops) {
        struct str dependency = {0};
        uint64_t count = choose(engine, &dependency);
        if (count) st = send_array(engine, count, dependency.text, err);
        str_clear(&dependency);
        if (!count) break;
    }
    return st;
}

/* ---- looking ---- */

/* "tessera-DIGEST-12" of a batch of ours: finds the task of that array and index. */
static void see(void *ctx, const struct slurm_line *line) {
    struct slurm_engine *engine = ctx;
    size_t length = strlen(engine->tasks->prefix);
    if (strncmp(line->name, engine->tasks->prefix, length)) return;
    uint64_t array = strtoull(line->name + length, NULL, 10);
    for (uint64_t i = 0; i < engine->tasks->count; i++) {
        struct batch_task *task = &engine->tasks->items[i];
        if (task->phase != TASK_SENT || task->array != array || task->index != line->index) continue;
        task->seen = true;
        task->held = strstr(line->reason, "launch failed") != NULL;
        if (!task->id[0]) (void)snprintf(task->id, sizeof task->id, "%.23s", line->id);
    }
}

/* True when the record was written by the task that was sent. */
static bool has_spoken(const struct slurm_engine *engine, const struct batch_task *task, int *code) {
    struct arena arena = {0};
    json_t *record = NULL;
    const char *name = batch_share_name(engine->run->batch, task->job, &task->share, &arena);
    char *path = name ? batch_state_path(engine->run->batch, "records", name, ".json") : NULL;
    if (path) record_read(path, &record);
    const char *state = json_string_value(json_object_get(record, "state"));
    bool done = state && !strcmp(state, RECORD_DONE), failed = state && !strcmp(state, RECORD_FAILED);
    *code = failed ? (int)json_integer_value(json_object_get(record, "exit_code")) : 0;
    json_decref(record);
    mem_free(path);
    arena_clear(&arena);
    return done || failed;
}

/* What Slurm's word for an end means to us. */
static const char *reason_of(const struct slurm_fate *fate) {
    static const struct {
        const char *state, *reason;
    } table[] = {{"TIMEOUT", "wall"},    {"DEADLINE", "wall"},     {"OUT_OF_MEMORY", "memory"}, {"CANCELLED", "cancelled"},
                 {"NODE_FAIL", "lost"},  {"PREEMPTED", "lost"},    {"BOOT_FAIL", "lost"},       {"COMPLETED", "lost"},
                 {"REVOKED", "lost"},    {"STOPPED", "lost"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (!strcmp(table[i].state, fate->state)) return table[i].reason;
    }
    if (!strcmp(fate->state, "FAILED")) return fate->signal == 9 ? "killed" : fate->signal || fate->code ? "crashed" : "lost";
    return "lost";
}

static bool is_alive(const struct slurm_fate *fate) {
    static const char *const states[] = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "SUSPENDED", NULL};
    for (const char *const *state = states; *state; state++) {
        if (!strcmp(*state, fate->state)) return true;
    }
    return false;
}

/* The job's end. Another attempt begins with all that is not done. */
static tsr_status settle(struct slurm_engine *engine, const struct batch_task *task, const struct batch_ending *ending,
                         tsr_error *err) {
    const struct batch_run *run = engine->run;
    struct batch_result *result = result_of(engine, task->job);
    bool transient = false;
    batch_settle(run->batch, task->job, &task->share, ending, result, &transient);
    if (result->phase == BATCH_FAILED && transient && result->attempts <= run->batch->jobs[task->job].retries) {
        env_log(run->env, TSR_LOG_WARNING, "job %s: %s, attempt %" PRIu64 "; again", run->batch->jobs[task->job].name,
                result->message ? result->message : "", result->attempts);
        result->phase = BATCH_WAITING;
        for (uint64_t i = engine->tasks->first[task->job]; i < engine->tasks->first[task->job + 1]; i++) {
            if (engine->tasks->items[i].phase == TASK_SENT) engine->tasks->items[i].phase = TASK_NEW;
        }
        return TSR_OK;
    }
    if (result->phase == BATCH_FAILED && !strcmp(result->reason, "cancelled")) result->phase = BATCH_STOPPED;
    for (uint64_t i = engine->tasks->first[task->job]; i < engine->tasks->first[task->job + 1]; i++) {
        struct batch_task *other = &engine->tasks->items[i];
        if (result->phase != BATCH_DONE && other->phase == TASK_SENT && other->seen) (void)slurm_cancel(run->env, other->id, NULL);
        other->phase = TASK_DONE;
    }
    tsr_status st = batch_finish(run, task->job, err);
    return st == TSR_OK && result->phase != BATCH_DONE ? batch_block(run, err) : st;
}

/* Left the queue without a word, or stopped because it was asked to: Slurm is asked why. */
static tsr_status judge_silent(struct slurm_engine *engine, struct batch_task *task, tsr_error *err) {
    struct slurm_fate fate = {.code = 0};
    char text[160];
    if (task->id[0] && slurm_ask(engine->run->env, task->id, &fate, NULL) == TSR_E_IO) return TSR_OK;
    if (is_alive(&fate)) {
        task->misses = 0;
        return TSR_OK;
    }
    (void)snprintf(text, sizeof text, "Slurm says of task %s: %s", task->id[0] ? task->id : "(never seen)",
                   fate.state[0] ? fate.state : "nothing");
    if (fate.signal) (void)snprintf(text + strlen(text), sizeof text - strlen(text), ", signal %d", fate.signal);
    return settle(engine, task, &(struct batch_ending){.reason = reason_of(&fate), .message = text}, err);
}

static tsr_status judge(struct slurm_engine *engine, struct batch_task *task, tsr_error *err) {
    int code = 0;
    if (!has_spoken(engine, task, &code) || code == CANCELLED_CODE) {
        return ++task->misses < MISSES_MAX ? TSR_OK : judge_silent(engine, task, err);
    }
    bool last = task->share.cut != BATCH_SHARD;
    if (code || last) return settle(engine, task, &(struct batch_ending){PROCESS_ENDED, code, 0, 0, NULL, NULL}, err);
    task->phase = TASK_DONE;
    batch_add_share(engine->run->batch, task->job, &task->share, result_of(engine, task->job));
    return batch_state_add_task(engine->run->state, task->job, batch_task_json(task), true, err);
}

/* A node that could not start a task: Slurm keeps it back until somebody says that it may try again. */
static void release_held(struct slurm_engine *engine, struct batch_task *task) {
    if (!task->held || !task->id[0]) return;
    if (task->releases++ < RELEASES_MAX) {
        env_log(engine->run->env, TSR_LOG_WARNING, "task %s was held because a node could not start it: released", task->id);
        (void)slurm_release(engine->run->env, task->id, NULL);
    } else {
        (void)slurm_cancel(engine->run->env, task->id, NULL);
    }
}

/* One look at the queue, and judgement over who has left it. */
static tsr_status look(struct slurm_engine *engine, tsr_error *err) {
    tsr_error why = {0};
    for (uint64_t i = 0; i < engine->tasks->count; i++) engine->tasks->items[i].seen = false;
    tsr_status st = slurm_list(engine->run->env, see, engine, &why);
    if (st == TSR_E_IO) {
        if (!engine->silent_controller) env_log(engine->run->env, TSR_LOG_WARNING, "%s; waiting for it", why.message);
        engine->silent_controller = true;
        return TSR_OK;
    }
    if (st != TSR_OK) return tsr_fail(err, st, "%s", why.message);
    engine->silent_controller = false;
    for (uint64_t i = 0; i < engine->tasks->count && st == TSR_OK; i++) {
        struct batch_task *task = &engine->tasks->items[i];
        if (task->phase == TASK_SENT && !task->seen) st = judge(engine, task, err);
        if (!task->seen) continue;
        task->misses = 0;
        release_held(engine, task);
    }
    return st;
}

/* ---- the loop ---- */

static uint64_t count_sent(const struct slurm_engine *engine) {
    uint64_t sent = 0;
    for (uint64_t i = 0; i < engine->tasks->count; i++) sent += engine->tasks->items[i].phase == TASK_SENT;
    return sent;
}

/* Tasks of an earlier coordinator whose jobs wait again in the state. */
static void adopt(const struct slurm_engine *engine) {
    for (uint64_t i = 0; i < engine->tasks->count; i++) {
        const struct batch_task *task = &engine->tasks->items[i];
        struct batch_result *result = result_of(engine, task->job);
        if (task->phase == TASK_SENT && result->phase == BATCH_WAITING) {
            result->phase = BATCH_RUNNING;
            if (!result->attempts) result->attempts = 1;
        }
    }
}

static tsr_status cancel_all(struct slurm_engine *engine, tsr_error *err) {
    tsr_status st = look(engine, err);
    for (uint64_t i = 0; i < engine->tasks->count && st == TSR_OK; i++) {
        const struct batch_task *task = &engine->tasks->items[i];
        if (task->phase == TASK_SENT && task->id[0]) st = slurm_cancel(engine->run->env, task->id, err);
    }
    while (st == TSR_OK && count_sent(engine)) {
        st = look(engine, err);
        if (count_sent(engine)) pause_seconds(0.5);
    }
    return st;
}

static tsr_status loop(struct slurm_engine *engine, tsr_error *err) {
    const struct batch_run *run = engine->run;
    tsr_status st = batch_block(run, err);
    while (st == TSR_OK) {
        if (batch_state_cancelled(run->state)) {
            st = cancel_all(engine, err);
            return st == TSR_OK ? tsr_fail(err, TSR_E_CANCELLED, "%s: cancelled", run->batch->path) : st;
        }
        if (env_cancelled(run->env)) {
            return tsr_fail(err, TSR_E_CANCELLED, "%s: interrupted; its tasks stay in Slurm's queue, `batch run` follows them, "
                            "`batch cancel` ends them", run->batch->path);
        }
        st = send_ready(engine, err);
        if (st != TSR_OK || !count_sent(engine)) break;
        /* A large batch is looked at less often: the controller has others to serve. */
        pause_seconds((double)min_u64(max_u64(engine->tasks->count / 100, 1), 15));
        st = look(engine, err);
    }
    return st == TSR_E_CANCELLED ? tsr_fail(err, st, "%s: interrupted; its tasks stay in Slurm's queue", run->batch->path) : st;
}

static tsr_status engine_open(const struct batch_run *run, struct slurm_engine *engine, tsr_error *err) {
    *engine = (struct slurm_engine){.run = run, .tasks = run->state->on_task_ctx};
    engine->chosen = mem_alloc_array(engine->tasks->count, sizeof *engine->chosen);
    engine->program = fs_real_path(run->program ? run->program : "/proc/self/exe");
    engine->folder = fs_real_path(".");
    bool memory = engine->chosen && engine->program && engine->folder;
    return memory ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", run->batch->path);
}

static void engine_close(struct slurm_engine *engine) {
    mem_free(engine->chosen);
    mem_free(engine->program);
    mem_free(engine->folder);
}

tsr_status batch_run_slurm(const struct batch_run *run, tsr_error *err) {
    struct slurm_engine engine;
    tsr_status st = engine_open(run, &engine, err);
    if (st == TSR_OK) {
        engine.array_max = slurm_array_max(run->env);
        adopt(&engine);
        st = loop(&engine, err);
    }
    engine_close(&engine);
    return st;
}

tsr_status batch_cancel_slurm(const struct batch_run *run, tsr_error *err) {
    struct slurm_engine engine;
    tsr_status st = engine_open(run, &engine, err);
    if (st == TSR_OK && count_sent(&engine)) {
        adopt(&engine);
        st = cancel_all(&engine, err);
    }
    engine_close(&engine);
    return st;
}
