/* SPDX-License-Identifier: Apache-2.0
 *
 * The local engine: one loop, one thread. Whatever ends it, the workers end with it (their parent's death kills them) and
 * each job's own journal keeps what was encoded. */
#include "batch_run.h"

#include <base/alloc.h>
#include <string.h>

#define LOOK_MILLISECONDS 100
#define STOP_SECONDS 30.0 /* for a worker to stop at its next tile */
#define PASSES_MAX 16     /* jobs that may start before one that waits for memory */
#define BACK_OFF_MAX 6    /* doublings of the delay before a retry */
#define MEMORY_SLACK (UINT64_C(256) << 20)

struct local {
    const struct batch_run *run;
    struct process *processes; /* [workers] */
    uint64_t *jobs;            /* [workers] */
    double *joules;            /* [workers] the machine's when the job started */
    uint64_t *order, first;    /* order[0..first) have ended or run */
    double *not_before;        /* [count] seconds of the clock */
    uint64_t *passes;          /* [count] */
    uint64_t running, memory_used;
    bool stopping;             /* nothing further starts */
    bool stopped;              /* on request */
};

static struct batch_result *result_of(const struct local *local, uint64_t job) {
    return &local->run->state->results[job];
}

/* ---- who may start ---- */

static bool needs_are_done(const struct local *local, uint64_t job) {
    const struct batch_job *it = &local->run->batch->jobs[job];
    for (uint64_t i = 0; i < it->need_count; i++) {
        if (result_of(local, it->needs[i])->phase != BATCH_DONE) return false;
    }
    return true;
}

static bool fits(const struct local *local, uint64_t job) {
    uint64_t limit = local->run->memory_bytes, wanted = batch_footprint(&local->run->batch->jobs[job]);
    return !limit || local->memory_used + wanted <= limit;
}

/* The next job, or count. A smaller job may pass one that waits for memory, but not for ever. */
static uint64_t next_job(struct local *local) {
    uint64_t count = local->run->batch->count;
    double now = process_clock();
    while (local->first < count && result_of(local, local->order[local->first])->phase != BATCH_WAITING) local->first++;
    uint64_t waiting = count; /* who was passed over for want of memory */
    for (uint64_t i = local->first; i < count; i++) {
        uint64_t job = local->order[i];
        if (result_of(local, job)->phase != BATCH_WAITING || local->not_before[job] > now) continue;
        if (!needs_are_done(local, job)) continue;
        if (fits(local, job)) {
            if (waiting < count) local->passes[waiting]++;
            return job;
        }
        if (local->passes[job] >= PASSES_MAX) return count;
        if (waiting == count) waiting = job;
    }
    return count;
}

static bool anybody_waits(const struct local *local) {
    for (uint64_t i = local->first; i < local->run->batch->count; i++) {
        if (result_of(local, local->order[i])->phase == BATCH_WAITING) return true;
    }
    return false;
}

/* ---- start and end ---- */

static tsr_status settle(struct local *local, uint64_t job, const struct batch_ending *ending, tsr_error *err) {
    const struct batch_run *run = local->run;
    struct batch_result *result = result_of(local, job);
    bool transient = false;
    batch_settle(run->batch, job, &(struct batch_share){BATCH_WHOLE, 0}, ending, result, &transient);
    if (!strcmp(result->reason, "cancelled") && local->stopping) {
        result->phase = BATCH_STOPPED;
    } else if (result->phase == BATCH_FAILED && transient && result->attempts <= run->batch->jobs[job].retries &&
               !local->stopping) {
        uint64_t doublings = result->attempts < BACK_OFF_MAX ? result->attempts : BACK_OFF_MAX;
        double delay = (double)(run->batch->retry_milliseconds << (doublings - 1)) * 1e-3;
        env_log(run->env, TSR_LOG_WARNING, "job %s: %s, attempt %llu; again in %.1f s", run->batch->jobs[job].name,
                result->message ? result->message : "", (unsigned long long)result->attempts, delay);
        result->phase = BATCH_WAITING;
        local->not_before[job] = process_clock() + delay;
        local->first = 0;
        return TSR_OK;
    }
    tsr_status st = batch_finish(run, job, err);
    if (st == TSR_OK && result->phase == BATCH_FAILED) {
        if (run->batch->stop_on_failure) local->stopping = true;
        st = batch_block(run, err);
    }
    return st;
}

/* The machine's energy over this run, which the next line of the ledger tells. */
static double measure(const struct local *local) {
    return local->run->state->run_joules = energy_read(local->run->energy);
}

/* The machine's energy while the job ran: whose share of it, nothing tells. */
static void charge(const struct local *local, uint64_t slot) {
    struct batch_result *result = result_of(local, local->jobs[slot]);
    double joules = measure(local);
    if (joules < 0 || local->joules[slot] < 0) return;
    result->joules = (result->joules < 0 ? 0 : result->joules) + joules - local->joules[slot];
}

static tsr_status start(struct local *local, uint64_t slot, uint64_t job, tsr_error *err) {
    const struct batch_run *run = local->run;
    const struct batch_job *it = &run->batch->jobs[job];
    struct arena arena = {0};
    tsr_error why = {0};
    /* The job keeps to what it declared by itself; the hard limit is for what does not. */
    struct process_limits limits = {.data_bytes = it->memory_bytes ? it->memory_bytes + it->memory_bytes / 4 + MEMORY_SLACK : 0,
                                    .wall_seconds = it->wall_seconds,
                                    .idle_seconds = it->idle_seconds};
    const char *const *command = batch_command(run->batch, job, &(struct batch_share){BATCH_WHOLE, 0}, &arena);
    char *log = batch_state_path(run->batch, "logs", it->name, ".log");
    tsr_status st = command && log ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", it->name);
    result_of(local, job)->attempts++;
    if (st == TSR_OK) st = batch_state_add_start(run->state, job, err);
    if (st == TSR_OK && process_start(run->program, command, log, &limits, &local->processes[slot], &why) != TSR_OK) {
        st = settle(local, job, &(struct batch_ending){.reason = "start", .message = why.message}, err);
    } else if (st == TSR_OK) {
        result_of(local, job)->phase = BATCH_RUNNING;
        local->jobs[slot] = job;
        local->joules[slot] = measure(local);
        local->running++;
        local->memory_used += batch_footprint(it);
    }
    mem_free(log);
    arena_clear(&arena);
    return st;
}

static tsr_status fill_slots(struct local *local, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t slot = 0; slot < local->run->workers && !local->stopping && st == TSR_OK; slot++) {
        if (local->processes[slot].pid) continue;
        uint64_t job = next_job(local);
        if (job == local->run->batch->count) break;
        st = start(local, slot, job, err);
    }
    return st;
}

static tsr_status reap(struct local *local, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t slot = 0; slot < local->run->workers && st == TSR_OK; slot++) {
        struct process *process = &local->processes[slot];
        if (!process->pid || process_runs(process)) continue;
        uint64_t job = local->jobs[slot];
        local->running--;
        charge(local, slot);
        local->memory_used -= batch_footprint(&local->run->batch->jobs[job]);
        struct batch_ending ending = {process->verdict, process->code, process->signal, process->seconds, NULL, NULL};
        st = settle(local, job, &ending, err);
    }
    return st;
}

/* ---- stopping ---- */

static void stop_all(const struct local *local, bool hard) {
    for (uint64_t slot = 0; slot < local->run->workers; slot++) {
        if (local->processes[slot].pid) process_stop(&local->processes[slot], hard);
    }
}

/* Workers are asked to stop, and ended when they do not. */
static tsr_status wind_down(struct local *local, tsr_error *err) {
    double deadline = process_clock() + STOP_SECONDS;
    bool hard = false;
    tsr_status st = TSR_OK;
    local->stopping = true;
    stop_all(local, false);
    while (local->running) {
        process_wait_any(local->processes, local->run->workers, LOOK_MILLISECONDS);
        tsr_status ended = reap(local, st == TSR_OK ? err : NULL);
        if (st == TSR_OK) st = ended;
        if (hard || process_clock() < deadline) continue;
        hard = true;
        stop_all(local, true);
    }
    return st;
}

static tsr_status loop(struct local *local, tsr_error *err) {
    tsr_status st = batch_block(local->run, err);
    while (st == TSR_OK) {
        if (batch_wants_stop(local->run)) {
            local->stopped = true;
            break;
        }
        st = fill_slots(local, err);
        if (st != TSR_OK || (!local->running && (local->stopping || !anybody_waits(local)))) break;
        process_wait_any(local->processes, local->run->workers, LOOK_MILLISECONDS);
        energy_follow(local->run->energy);
        st = reap(local, err);
    }
    if (!local->running) return st;
    tsr_status wound = wind_down(local, st == TSR_OK ? err : NULL);
    return st == TSR_OK ? wound : st;
}

tsr_status batch_run_local(const struct batch_run *run, tsr_error *err) {
    uint64_t count = run->batch->count;
    struct local local = {.run = run,
                          .processes = mem_alloc_zero(run->workers, sizeof *local.processes),
                          .jobs = mem_alloc_zero(run->workers, sizeof *local.jobs),
                          .joules = mem_alloc_zero(run->workers, sizeof *local.joules),
                          .order = batch_order(run->batch),
                          .not_before = mem_alloc_zero(count, sizeof *local.not_before),
                          .passes = mem_alloc_zero(count, sizeof *local.passes)};
    bool memory = local.processes && local.jobs && local.joules && local.order && local.not_before && local.passes;
    tsr_status st = memory ? loop(&local, err) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", run->batch->path);
    if (st == TSR_OK && local.stopped) {
        st = tsr_fail(err, TSR_E_CANCELLED, "%s: interrupted, the same command goes on from here", run->batch->path);
    }
    (void)measure(&local);
    mem_free(local.processes);
    mem_free(local.jobs);
    mem_free(local.joules);
    mem_free(local.order);
    mem_free(local.not_before);
    mem_free(local.passes);
    return st;
}
