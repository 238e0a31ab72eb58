/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the document; batch_expand.c makes jobs of its entries. */
#include "batch_read.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/fs.h>
#include <base/str.h>
#include <reading/lanes.h>
#include <string.h>

#define THREADS_MAX 1024
#define SECONDS_MAX (INT64_C(366) * 86400)
#define RETRIES_MAX 100
#define DEFAULT_IDLE_SECONDS 1800
#define DEFAULT_RETRIES 2
#define DEFAULT_RETRY_MILLISECONDS 1000
#define PROCESS_BYTES (UINT64_C(64) << 20) /* of a run beside its lanes */

tsr_status batch_no_memory(const struct batch *batch, tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", batch->path);
}

uint64_t batch_footprint(const struct batch_job *job) {
    return job->memory_bytes ? job->memory_bytes : PROCESS_BYTES + job->threads * LANE_BYTES;
}

/* ---- values ---- */

static tsr_status read_text(const char *subject, const struct yaml_node *node, const char *what, const char **text,
                            tsr_error *err) {
    tsr_status st = yaml_expect(node, YAML_SCALAR, what, subject, err);
    if (st) return st;
    if (!*node->text) return yaml_fail(err, subject, node, "%s: the value is missing", what);
    *text = node->text;
    return TSR_OK;
}

static tsr_status read_size(const char *subject, const struct yaml_node *node, const char *what, uint64_t *bytes,
                            tsr_error *err) {
    const char *text = "";
    tsr_status st = read_text(subject, node, what, &text, err);
    if (st || text_to_bytes(text, bytes)) return st;
    return yaml_fail(err, subject, node, "%s: \"%s\" is not a size such as 256M or 1Gi", what, text);
}

/* "90s", "10m", "2h", "1d", "500ms": a number of milliseconds. */
static tsr_status read_duration(const char *subject, const struct yaml_node *node, const char *what,
                                uint64_t *milliseconds, tsr_error *err) {
    static const struct {
        const char *unit;
        uint64_t milliseconds;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const char *text = "", *at;
    tsr_status st = read_text(subject, node, what, &text, err);
    if (st) return st;
    at = text;
    bool good = text_take_digits(&at, milliseconds);
    for (size_t i = 0; good && i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(at, units[i].unit)) continue;
        if (checked_mul(*milliseconds, units[i].milliseconds, milliseconds) && *milliseconds / 1000 <= SECONDS_MAX) {
            return TSR_OK;
        }
    }
    return yaml_fail(err, subject, node, "%s: \"%s\" is not a time such as 90s, 10m or 2h (at most 366d)", what, text);
}

static tsr_status read_seconds(const char *subject, const struct yaml_node *node, const char *what, uint64_t *seconds,
                               tsr_error *err) {
    uint64_t milliseconds = 0;
    tsr_status st = read_duration(subject, node, what, &milliseconds, err);
    *seconds = (milliseconds + 999) / 1000;
    return st;
}

static tsr_status read_count(const char *subject, const struct yaml_node *node, const char *what, int64_t minimum,
                             int64_t maximum, uint64_t *count, tsr_error *err) {
    int64_t value = minimum;
    tsr_status st = yaml_integer(node, what, minimum, maximum, subject, &value, err);
    *count = (uint64_t)value;
    return st;
}

static tsr_status read_switch(const char *subject, const struct yaml_node *node, const char *what, bool *on,
                              tsr_error *err) {
    tsr_status st = yaml_expect(node, YAML_SCALAR, what, subject, err);
    if (st) return st;
    *on = !strcmp(node->text, "true");
    if (!node->quoted && (*on || !strcmp(node->text, "false"))) return TSR_OK;
    return yaml_fail(err, subject, node, "%s: \"%s\" is neither true nor false", what, node->text);
}

/* ---- jobs ---- */

static const char *const JOB_KEYS[] = {"models",  "configs", "name",    "output", "needs",       "priority",
                                       "threads", "memory",  "wall",    "idle",   "retries",     "shards",
                                       "force",   "plugin_path", "roles_path", "max_shard_size", NULL};

static tsr_status read_limits(const char *subject, const struct yaml_node *map, struct batch_job *job, tsr_error *err) {
    const struct yaml_node *node;
    tsr_status st = TSR_OK;
    if ((node = yaml_get(map, "threads"))) st = read_count(subject, node, "threads", 1, THREADS_MAX, &job->threads, err);
    if (!st && (node = yaml_get(map, "memory"))) st = read_size(subject, node, "memory", &job->memory_bytes, err);
    if (!st && (node = yaml_get(map, "wall"))) st = read_seconds(subject, node, "wall", &job->wall_seconds, err);
    if (!st && (node = yaml_get(map, "idle"))) st = read_seconds(subject, node, "idle", &job->idle_seconds, err);
    if (!st && (node = yaml_get(map, "retries"))) {
        st = read_count(subject, node, "retries", 0, RETRIES_MAX, &job->retries, err);
    }
    return st;
}

/* Keys whose value is the same in each job of an entry; what is not said keeps the pattern's value. */
static tsr_status read_pattern(const struct batch_list *list, const struct yaml_node *map, struct batch_job *job,
                               tsr_error *err) {
    const char *subject = list->batch->path, *text = NULL;
    const struct yaml_node *node;
    tsr_status st = read_limits(subject, map, job, err);
    if (!st && (node = yaml_get(map, "shards"))) st = read_count(subject, node, "shards", 1, 10000, &job->shards, err);
    if (!st && (node = yaml_get(map, "priority"))) {
        st = yaml_integer(node, "priority", -1000000, 1000000, subject, &job->priority, err);
    }
    if (!st && (node = yaml_get(map, "force"))) st = read_switch(subject, node, "force", &job->force, err);
    if (!st && (node = yaml_get(map, "max_shard_size"))) {
        st = read_size(subject, node, "max_shard_size", &job->max_shard_bytes, err);
    }
    if (!st && (node = yaml_get(map, "plugin_path"))) {
        st = read_text(subject, node, "plugin_path", &text, err);
        if (!st && !(job->plugin_path = batch_path(list, text))) st = batch_no_memory(list->batch, err);
    }
    if (!st && (node = yaml_get(map, "roles_path"))) {
        st = read_text(subject, node, "roles_path", &text, err);
        if (!st && !(job->roles_path = batch_path(list, text))) st = batch_no_memory(list->batch, err);
    }
    return st;
}

static tsr_status read_entry(struct batch_list *list, const struct yaml_node *map, struct batch_entry *entry,
                             tsr_error *err) {
    const struct yaml_node *node;
    tsr_status st = yaml_expect(map, YAML_MAP, "an entry of jobs", list->batch->path, err);
    if (!st) st = yaml_known_keys(map, JOB_KEYS, list->batch->path, err);
    if (!st) st = read_pattern(list, map, &entry->pattern, err);
    entry->node = map;
    if ((node = yaml_get(map, "models"))) entry->models = node;
    if ((node = yaml_get(map, "configs"))) entry->configs = node;
    if ((node = yaml_get(map, "name"))) entry->name = node;
    if ((node = yaml_get(map, "output"))) entry->output = node;
    if ((node = yaml_get(map, "needs"))) entry->needs = node;
    return st;
}

static tsr_status read_jobs(struct batch_list *list, const struct yaml_node *root, tsr_error *err) {
    const char *subject = list->batch->path;
    const struct yaml_node *jobs = yaml_get(root, "jobs"), *defaults = yaml_get(root, "defaults");
    struct batch_entry common = {.pattern = {.threads = 1, .shards = 1, .idle_seconds = DEFAULT_IDLE_SECONDS,
                                             .retries = DEFAULT_RETRIES}};
    if (!jobs) return yaml_fail(err, subject, root, "the key \"jobs\" is missing");
    tsr_status st = yaml_expect(jobs, YAML_LIST, "jobs", subject, err);
    if (!st && jobs->count == 0) st = yaml_fail(err, subject, jobs, "jobs: the list is empty");
    if (!st && defaults) st = read_entry(list, defaults, &common, err);
    for (uint64_t i = 0; i < jobs->count && !st; i++) {
        struct batch_entry entry = common;
        st = read_entry(list, &jobs->items[i], &entry, err);
        if (!st && !entry.models) st = yaml_fail(err, subject, entry.node, "the key \"models\" is missing");
        if (!st) st = batch_expand(list, &entry, err);
    }
    return st ? st : batch_resolve(list, err);
}

/* ---- the batch ---- */

/* A folder's name, or {folder, max}. */
static tsr_status read_store(const struct batch_list *list, const struct yaml_node *node, tsr_error *err) {
    static const char *const keys[] = {"folder", "max", NULL};
    struct batch *batch = list->batch;
    const struct yaml_node *folder = node, *max = NULL;
    const char *text = NULL;
    tsr_status st = TSR_OK;
    if (node->kind == YAML_MAP) {
        st = yaml_known_keys(node, keys, batch->path, err);
        folder = yaml_get(node, "folder");
        max = yaml_get(node, "max");
        if (!st && !folder) st = yaml_fail(err, batch->path, node, "store: the key \"folder\" is missing");
    }
    if (!st) st = read_text(batch->path, folder, "store", &text, err);
    if (!st && !(batch->store = batch_path(list, text))) st = batch_no_memory(batch, err);
    if (!st && max) st = read_size(batch->path, max, "max", &batch->store_max_bytes, err);
    return st;
}

static tsr_status read_batch_limits(struct batch *batch, const struct yaml_node *node, tsr_error *err) {
    static const char *const keys[] = {"workers", "memory", NULL};
    const struct yaml_node *value;
    tsr_status st = yaml_expect(node, YAML_MAP, "limits", batch->path, err);
    if (!st) st = yaml_known_keys(node, keys, batch->path, err);
    if (!st && (value = yaml_get(node, "workers"))) {
        st = read_count(batch->path, value, "workers", 1, THREADS_MAX, &batch->workers, err);
    }
    if (!st && (value = yaml_get(node, "memory"))) st = read_size(batch->path, value, "memory", &batch->memory_bytes, err);
    return st;
}

static tsr_status read_on_failure(struct batch *batch, const struct yaml_node *node, tsr_error *err) {
    static const char *const choices[] = {"continue", "stop", NULL};
    const char *text = "";
    tsr_status st = read_text(batch->path, node, "on_failure", &text, err);
    if (st) return st;
    batch->stop_on_failure = !strcmp(text, "stop");
    if (batch->stop_on_failure || !strcmp(text, "continue")) return TSR_OK;
    const char *nearest = text_nearest(text, choices);
    return yaml_fail(err, batch->path, node, "on_failure: \"%s\" is neither continue nor stop%s%s%s", text,
                     nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

static tsr_status read_state(struct batch_list *list, const struct yaml_node *node, tsr_error *err) {
    struct batch *batch = list->batch;
    const char *text = NULL;
    if (!node) {
        size_t length = strlen(batch->path);
        if (text_ends_with(batch->path, ".yaml")) length -= strlen(".yaml");
        batch->state = arena_format(&batch->arena, "%.*s.state", (int)length, batch->path);
        return batch->state ? TSR_OK : batch_no_memory(batch, err);
    }
    tsr_status st = read_text(batch->path, node, "state", &text, err);
    if (!st && !(batch->state = batch_path(list, text))) st = batch_no_memory(batch, err);
    return st;
}

static tsr_status read_version(struct batch *batch, const struct yaml_node *root, tsr_error *err) {
    const struct yaml_node *version = yaml_get(root, "tessera_batch");
    if (!version) {
        return yaml_fail(err, batch->path, root, "the key \"tessera_batch\" is missing, expected tessera_batch: 1");
    }
    if (version->kind == YAML_SCALAR && !version->quoted && !strcmp(version->text, "1")) return TSR_OK;
    return yaml_fail(err, batch->path, version, "tessera_batch: version \"%s\" is not known here, expected 1",
                     version->text ? version->text : "");
}

static tsr_status read_document(struct batch_list *list, const struct yaml_node *root, tsr_error *err) {
    static const char *const keys[] = {"tessera_batch", "state",    "store", "on_failure", "retry_delay",
                                       "limits",        "defaults", "jobs",  NULL};
    struct batch *batch = list->batch;
    const struct yaml_node *node;
    tsr_status st = yaml_expect(root, YAML_MAP, "a batch", batch->path, err);
    if (!st) st = yaml_known_keys(root, keys, batch->path, err);
    if (!st) st = read_version(batch, root, err);
    if (!st) st = read_state(list, yaml_get(root, "state"), err);
    if (!st && (node = yaml_get(root, "store"))) st = read_store(list, node, err);
    if (!st && (node = yaml_get(root, "on_failure"))) st = read_on_failure(batch, node, err);
    if (!st && (node = yaml_get(root, "retry_delay"))) {
        st = read_duration(batch->path, node, "retry_delay", &batch->retry_milliseconds, err);
    }
    if (!st && (node = yaml_get(root, "limits"))) st = read_batch_limits(batch, node, err);
    return st ? st : read_jobs(list, root, err);
}

tsr_status batch_load(const char *path, struct batch *batch, tsr_error *err) {
    struct yaml_node root;
    struct batch_list list = {.batch = batch};
    char *text = NULL;
    uint64_t size = 0;
    *batch = (struct batch){.retry_milliseconds = DEFAULT_RETRY_MILLISECONDS};
    batch->path = arena_dup(&batch->arena, path, strlen(path));
    const char *base = fs_base_name(path);
    list.folder = arena_dup(&batch->arena, path, (size_t)(base - path));
    if (!batch->path || !list.folder) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    tsr_status st = fs_read_whole(path, YAML_BYTES_MAX, &text, &size, err);
    if (st == TSR_E_INPUT && fs_kind_of(path) == FS_ABSENT) st = tsr_fail(err, TSR_E_CONFIG, "%s: no such file", path);
    if (!st) st = yaml_parse(text, size, path, &batch->arena, &root, err);
    if (!st) st = read_document(&list, &root, err);
    mem_free(list.needs);
    mem_free(list.need_nodes);
    mem_free(text);
    return st;
}

void batch_close(struct batch *batch) {
    mem_free(batch->jobs);
    arena_clear(&batch->arena);
    *batch = (struct batch){0};
}
