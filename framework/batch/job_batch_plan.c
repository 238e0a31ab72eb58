/* SPDX-License-Identifier: Apache-2.0
 *
 * batch plan: every job as `plan` would see it, and which of its tensors an earlier job of the list encodes too (their parts
 * have the same key). Times are predictions from bytes and a rate: that of earlier results of the same config in the
 * state, else an assumed one. */
#include "batch_settle.h"
#include "job_batch.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>
#include <math.h>
#include <pipeline/plan_json.h>
#include <reading/members.h>
#include <stdlib.h>
#include <string.h>

#define ASSUMED_BYTES_PER_SECOND 40e6 /* one worker, one thread: docs/scale.md */

struct planned {
    char *message; /* why it would fail, or NULL */
    uint64_t tensors, source_bytes, predicted_bytes, unique_bytes, shared_bytes;
    double seconds;
    bool measured;
};

struct key {
    char text[DIGEST_HEX];
};

struct planning {
    const struct batch *batch;
    const struct registry *registry;
    const struct job_paths *paths;
    const struct env *env;
    struct batch_state state;
    struct planned *jobs;
    struct key *keys; /* of all jobs so far: a hash table with open addressing */
    uint64_t key_count, key_room;
};

/* ---- keys ---- */

static uint64_t slot_of(const struct planning *planning, const char *key) {
    struct digest digest;
    uint64_t at = 0;
    if (digest_from_hex(key, &digest)) memcpy(&at, digest.bytes, sizeof at);
    for (at %= planning->key_room; planning->keys[at].text[0] && strcmp(planning->keys[at].text, key);) {
        at = (at + 1) % planning->key_room;
    }
    return at;
}

static bool make_room(struct planning *planning) {
    if (2 * (planning->key_count + 1) <= planning->key_room) return true;
    struct planning larger = *planning;
    larger.key_room = planning->key_room ? planning->key_room * 2 : 1024;
    larger.keys = mem_alloc_zero(larger.key_room, sizeof *larger.keys);
    if (!larger.keys) return false;
    for (uint64_t i = 0; i < planning->key_room; i++) {
        if (planning->keys[i].text[0]) larger.keys[slot_of(&larger, planning->keys[i].text)] = planning->keys[i];
    }
    mem_free(planning->keys);
    *planning = larger;
    return true;
}

/* True when it was there before. */
static tsr_status remember(struct planning *planning, const char *key, bool *known, tsr_error *err) {
    if (!make_room(planning)) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", planning->batch->path);
    struct key *slot = &planning->keys[slot_of(planning, key)];
    *known = slot->text[0] != '\0';
    if (*known) return TSR_OK;
    memcpy(slot->text, key, DIGEST_HEX);
    planning->key_count++;
    return TSR_OK;
}

/* ---- one job ---- */

static tsr_status add_plan(struct planning *planning, const struct plan *plan, struct planned *planned, tsr_error *err) {
    tsr_status st = TSR_OK;
    planned->tensors = plan->count;
    planned->source_bytes = plan->source_bytes;
    planned->unique_bytes = plan->unique_bytes;
    planned->predicted_bytes = plan->predicted_bytes;
    for (uint64_t i = 0; i < plan->count && st == TSR_OK; i++) {
        char key[DIGEST_HEX];
        bool known = false;
        if (plan->entries[i].alias_of >= 0) continue;
        st = part_key(plan, &plan->entries[i], key, err);
        if (st == TSR_OK) st = remember(planning, key, &known, err);
        if (known) planned->shared_bytes += plan->entries[i].source->entry->bytes;
    }
    return st;
}

/* A job that cannot be planned is a line of the table, not the end of it. */
static tsr_status plan_job(struct planning *planning, uint64_t index, tsr_error *err) {
    const struct batch_job *job = &planning->batch->jobs[index];
    struct checkpoint checkpoint = {0};
    struct arena arena = {0};
    struct config config = {0};
    struct plan plan = {0};
    struct plan_options options = {.role_folders = planning->paths->role_folders,
                                   .role_folder_count = planning->paths->role_folder_count,
                                   .predict = true};
    struct env silent = *planning->env;
    tsr_error why = {0};
    silent.log = NULL; /* warnings about tensors belong to the run */
    tsr_status st = plan_config(job->config, planning->registry, planning->paths, &arena, &config, &why);
    if (st == TSR_OK) st = checkpoint_open(job->model, &checkpoint, &why);
    if (st == TSR_OK) st = plan_make(&checkpoint, &config, planning->registry, &options, &silent, &plan, &why);
    if (st == TSR_OK) st = add_plan(planning, &plan, &planning->jobs[index], &why);
    plan_close(&plan);
    checkpoint_close(&checkpoint);
    arena_clear(&arena);
    if (st == TSR_OK) return st;
    if (st == TSR_E_NOMEM || st == TSR_E_CANCELLED) return tsr_fail(err, st, "%s", why.message);
    planning->jobs[index].message = mem_dup_text(why.message);
    return TSR_OK;
}

static bool same_config(const struct batch_job *a, const struct batch_job *b) {
    return a->config && b->config ? !strcmp(a->config, b->config) : a->config == b->config;
}

/* From done jobs of the same config: bytes per second of one worker. */
static double measured_rate(const struct planning *planning, const struct batch_job *job) {
    double bytes = 0, seconds = 0;
    for (uint64_t i = 0; i < planning->batch->count; i++) {
        const struct batch_result *result = &planning->state.results[i];
        if (result->phase != BATCH_DONE || !same_config(&planning->batch->jobs[i], job)) continue;
        bytes += (double)result->encoded_bytes;
        seconds += result->seconds;
    }
    return seconds > 0 ? bytes / seconds : 0;
}

static void predict(const struct planning *planning, uint64_t index) {
    struct planned *planned = &planning->jobs[index];
    const struct batch_job *job = &planning->batch->jobs[index];
    uint64_t shared = planning->batch->store ? planned->shared_bytes : 0;
    double rate = measured_rate(planning, job);
    planned->measured = rate > 0;
    if (!planned->measured) rate = ASSUMED_BYTES_PER_SECOND * (double)job->threads;
    planned->seconds = (double)(planned->unique_bytes - min_u64(shared, planned->unique_bytes)) / rate;
}

/* ---- the table ---- */

static void add_job(struct members *list, const struct planning *planning, uint64_t index) {
    const struct batch_job *job = &planning->batch->jobs[index];
    const struct planned *planned = &planning->jobs[index];
    struct members object = members_object(), needs = members_list();
    members_text(&object, "name", job->name);
    members_text(&object, "state", batch_phase_name(planning->state.results[index].phase));
    members_text(&object, "model", job->model);
    members_text(&object, "config", job->config);
    members_text(&object, "output", job->output);
    members_count(&object, "tensors", planned->tensors);
    members_count(&object, "source_bytes", planned->source_bytes);
    members_count(&object, "unique_bytes", planned->unique_bytes);
    members_count(&object, "shared_bytes", planned->shared_bytes);
    members_count(&object, "predicted_bytes", planned->predicted_bytes);
    members_real(&object, "predicted_seconds", planned->seconds);
    members_text(&object, "rate", planned->measured ? "measured" : "assumed");
    members_count(&object, "memory_bytes", batch_footprint(job));
    members_set(&object, "priority", json_integer((json_int_t)job->priority));
    for (uint64_t i = 0; i < job->need_count; i++) {
        members_add(&needs, json_string(planning->batch->jobs[job->needs[i]].name));
    }
    members_nest(&object, "needs", &needs);
    members_text(&object, "message", planned->message);
    members_append(list, &object);
}

static tsr_status make_table(const struct planning *planning, uint64_t workers, json_t **result, tsr_error *err) {
    const struct batch *batch = planning->batch;
    struct members whole = members_object(), list = members_list(), totals = members_object();
    struct planned sums = {0};
    uint64_t bad = 0;
    for (uint64_t i = 0; i < batch->count; i++) {
        add_job(&list, planning, i);
        sums.source_bytes += planning->jobs[i].source_bytes;
        sums.predicted_bytes += planning->jobs[i].predicted_bytes;
        sums.shared_bytes += planning->jobs[i].shared_bytes;
        sums.seconds += planning->jobs[i].seconds;
        bad += planning->jobs[i].message != NULL;
    }
    members_count(&totals, "jobs", batch->count);
    members_count(&totals, "source_bytes", sums.source_bytes);
    members_count(&totals, "predicted_bytes", sums.predicted_bytes);
    members_count(&totals, "shared_bytes", sums.shared_bytes);
    members_real(&totals, "predicted_job_seconds", sums.seconds);
    members_real(&totals, "predicted_seconds", sums.seconds / (double)max_u64(workers, 1));
    members_count(&totals, "workers", workers);
    members_count(&totals, "would_fail", bad);
    members_text(&whole, "batch", batch->path);
    members_text(&whole, "state", batch->state);
    members_text(&whole, "store", batch->store);
    members_nest(&whole, "jobs", &list);
    members_nest(&whole, "totals", &totals);
    return members_finish(&whole, result, err);
}

tsr_status job_batch_plan(const struct job_batch_options *options, const struct registry *registry,
                          const struct job_paths *paths, const struct env *env, json_t **result, tsr_error *err) {
    struct batch batch = {0};
    struct planning planning = {.batch = &batch, .registry = registry, .paths = paths, .env = env};
    tsr_status st = batch_load(options->file, &batch, err);
    if (st == TSR_OK) st = batch_state_look(&batch, &planning.state, err);
    if (st == TSR_OK) {
        planning.jobs = mem_alloc_zero(batch.count, sizeof *planning.jobs);
        if (!planning.jobs) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", batch.path);
    }
    for (uint64_t i = 0; i < batch.count && st == TSR_OK; i++) st = plan_job(&planning, i, err);
    for (uint64_t i = 0; i < batch.count && st == TSR_OK; i++) predict(&planning, i);
    uint64_t workers = options->workers ? options->workers : batch.workers ? batch.workers : pool_workers(env->pool);
    if (st == TSR_OK) st = make_table(&planning, min_u64(workers, batch.count), result, err);
    for (uint64_t i = 0; planning.jobs && i < batch.count; i++) mem_free(planning.jobs[i].message);
    mem_free(planning.jobs);
    mem_free(planning.keys);
    batch_state_close(&planning.state);
    batch_close(&batch);
    return st;
}
