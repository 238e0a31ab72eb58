/* SPDX-License-Identifier: Apache-2.0
 *
 * Nothing here talks to a scheduler. */
#include "batch_tasks.h"

#include <base/alloc.h>
#include <base/str.h>
#include <inttypes.h>
#include <reading/members.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_SLACK (UINT64_C(256) << 20)

static uint64_t tasks_of(const struct batch_job *job) {
    return job->shards > 1 ? job->shards + 1 : 1;
}

tsr_status batch_tasks_make(const struct batch *batch, struct batch_tasks **result, tsr_error *err) {
    struct batch_tasks *tasks = mem_alloc_zero(1, sizeof *tasks);
    char *real = fs_real_path(batch->state), hex[DIGEST_HEX];
    uint64_t count = 0;
    *result = tasks;
    for (uint64_t i = 0; i < batch->count; i++) count += tasks_of(&batch->jobs[i]);
    if (tasks) {
        tasks->items = mem_alloc_zero(count, sizeof *tasks->items);
        tasks->first = mem_alloc_zero(batch->count + 1, sizeof *tasks->first);
    }
    if (!tasks || !tasks->items || !tasks->first || !real) {
        mem_free(real);
        return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory for tasks", batch->state);
    }
    tasks->batch = batch;
    for (uint64_t i = 0; i < batch->count; i++) {
        uint64_t shares = tasks_of(&batch->jobs[i]);
        tasks->first[i] = tasks->count;
        for (uint64_t k = 0; k < shares; k++) {
            enum batch_cut cut = shares == 1 ? BATCH_WHOLE : k + 1 < shares ? BATCH_SHARD : BATCH_MERGE;
            tasks->items[tasks->count++] = (struct batch_task){.job = i, .share = {cut, cut == BATCH_SHARD ? k + 1 : 0}};
        }
    }
    tasks->first[batch->count] = tasks->count;
    struct digest digest = digest_of(real, strlen(real));
    (void)snprintf(tasks->prefix, sizeof tasks->prefix, "tessera-%.12s-", digest_to_hex(&digest, hex));
    mem_free(real);
    return TSR_OK;
}

void batch_tasks_destroy(struct batch_tasks *tasks) {
    if (!tasks) return;
    mem_free(tasks->items);
    mem_free(tasks->first);
    mem_free(tasks);
}

struct batch_task *batch_tasks_last(const struct batch_tasks *tasks, uint64_t job) {
    return &tasks->items[tasks->first[job + 1] - 1];
}

/* ---- the ledger ---- */

json_t *batch_task_json(const struct batch_task *task) {
    struct members said = members_object();
    json_t *value = NULL;
    members_count(&said, "cut", (uint64_t)task->share.cut);
    members_count(&said, "shard", task->share.index);
    members_count(&said, "array", task->array);
    members_count(&said, "index", task->index);
    members_text(&said, "id", task->id);
    members_bool(&said, "done", task->phase == TASK_DONE);
    return members_finish(&said, &value, NULL) == TSR_OK ? value : NULL;
}

static void forget(struct batch_tasks *tasks, uint64_t job) {
    for (uint64_t i = tasks->first[job]; i < tasks->first[job + 1]; i++) {
        struct batch_task *task = &tasks->items[i];
        *task = (struct batch_task){.job = job, .share = task->share};
    }
}

void batch_tasks_take(void *ctx, uint64_t job, const json_t *said) {
    struct batch_tasks *tasks = ctx;
    bool bad = false;
    if (!said) {
        forget(tasks, job);
        return;
    }
    uint64_t cut = member_count(said, "cut", &bad), shard = member_count(said, "shard", &bad);
    uint64_t array = member_count(said, "array", &bad), index = member_count(said, "index", &bad);
    const char *id = member_text(said, "id", &bad);
    bool done = member_bool(said, "done", &bad);
    if (bad) return;
    if (array > tasks->arrays) tasks->arrays = array;
    for (uint64_t i = tasks->first[job]; i < tasks->first[job + 1]; i++) {
        struct batch_task *task = &tasks->items[i];
        if ((uint64_t)task->share.cut != cut || task->share.index != shard) continue;
        task->phase = done ? TASK_DONE : TASK_SENT;
        task->array = array;
        task->index = index;
        (void)snprintf(task->id, sizeof task->id, "%.23s", id);
    }
}

/* ---- the script ---- */

static void add_quoted(struct str *text, const char *word) {
    str_add_text(text, "'");
    for (; *word; word++) {
        if (*word == '\'') {
            str_add_text(text, "'\\''");
        } else {
            str_add(text, word, 1);
        }
    }
    str_add_text(text, "'");
}

/* "3) log='...'; limit=N; set -- 'tessera' 'compress' ... ;;" */
static bool add_case(struct str *text, const struct batch_tasks *tasks, const struct batch_task *task, uint64_t index) {
    const struct batch_job *job = &tasks->batch->jobs[task->job];
    struct arena arena = {0};
    const char *const *command = batch_command(tasks->batch, task->job, &task->share, &arena);
    const char *name = batch_share_name(tasks->batch, task->job, &task->share, &arena);
    char *log = name ? batch_state_path(tasks->batch, "logs", name, ".log") : NULL;
    bool good = command && log;
    if (good) {
        str_add_format(text, "%" PRIu64 ") log=", index);
        add_quoted(text, log);
        if (job->memory_bytes) {
            str_add_format(text, "; limit=%" PRIu64, (job->memory_bytes + job->memory_bytes / 4 + MEMORY_SLACK) / 1024);
        }
        str_add_text(text, "; set --");
        for (const char *const *word = command + 1; *word; word++) {
            str_add_text(text, " ");
            add_quoted(text, *word);
        }
        str_add_text(text, " ;;\n");
    }
    mem_free(log);
    arena_clear(&arena);
    return good;
}

char *batch_tasks_script(const struct batch_tasks *tasks, const uint64_t *chosen, uint64_t count, const char *program) {
    struct str text = {0};
    bool good = true;
    str_add_text(&text, "#!/bin/sh\n# Written by `tessera batch run --engine slurm`: one job, shard or merge each.\nlimit=\n"
                        "case $SLURM_ARRAY_TASK_ID in\n");
    for (uint64_t i = 0; i < count && good; i++) good = add_case(&text, tasks, &tasks->items[chosen[i]], i);
    str_add_text(&text, "*) exit 1 ;;\nesac\n[ -z \"$limit\" ] || ulimit -d \"$limit\"\nexec ");
    add_quoted(&text, program);
    str_add_text(&text, " \"$@\" </dev/null >>\"$log\" 2>&1\n");
    if (!good || text.failed) str_clear(&text);
    return text.text;
}
