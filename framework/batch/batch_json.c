/* SPDX-License-Identifier: Apache-2.0
 *
 * Figures come from the ledger alone, so that a look at thousands of jobs reads one file. */
#include "batch_json.h"

#include "batch_settle.h"

#include <base/alloc.h>
#include <base/str.h>
#include <math.h>
#include <reading/members.h>
#include <string.h>

static void add_paths(struct members *object, const struct batch *batch, const struct batch_job *job) {
    char *log = batch_state_path(batch, "logs", job->name, ".log");
    members_text(object, "output", job->output);
    members_text(object, "log", log);
    mem_free(log);
}

static void add_job(struct members *list, const struct batch *batch, const struct batch_job *job,
                    const struct batch_result *result) {
    struct members object = members_object();
    double ratio = result->output_bytes ? (double)result->source_bytes / (double)result->output_bytes : INFINITY;
    members_text(&object, "name", job->name);
    members_text(&object, "state", batch_phase_name(result->phase));
    members_text(&object, "model", job->model);
    members_text(&object, "config", job->config);
    add_paths(&object, batch, job);
    members_count(&object, "attempts", result->attempts);
    members_count(&object, "exit_code", (uint64_t)result->exit_code);
    members_text(&object, "reason", result->reason[0] ? result->reason : NULL);
    members_text(&object, "message", result->message);
    members_text(&object, "hint", batch_hint(result->reason)[0] ? batch_hint(result->reason) : NULL);
    members_real(&object, "seconds", result->seconds);
    members_count(&object, "source_bytes", result->source_bytes);
    members_count(&object, "output_bytes", result->output_bytes);
    members_count(&object, "encoded_bytes", result->encoded_bytes);
    members_count(&object, "stored_bytes", result->stored_bytes);
    members_real(&object, "ratio", ratio);
    members_real(&object, "kld", result->kld < 0 ? INFINITY : result->kld);
    members_real(&object, "top1", result->top1 < 0 ? INFINITY : result->top1);
    members_real(&object, "energy_joules", result->joules < 0 ? INFINITY : result->joules);
    members_append(list, &object);
}

static void add_totals(struct members *whole, const struct batch *batch, const struct batch_state *state) {
    struct members counts = members_object(), totals = members_object();
    uint64_t by_phase[BATCH_STOPPED + 1] = {0};
    struct batch_result sums = {0};
    for (uint64_t i = 0; i < batch->count; i++) {
        const struct batch_result *result = &state->results[i];
        by_phase[result->phase]++;
        sums.seconds += result->seconds;
        sums.encoded_bytes += result->encoded_bytes;
        sums.stored_bytes += result->stored_bytes;
        if (result->phase != BATCH_DONE) continue;
        sums.source_bytes += result->source_bytes;
        sums.output_bytes += result->output_bytes;
    }
    for (unsigned i = 0; i <= BATCH_STOPPED; i++) members_count(&counts, batch_phase_name((enum batch_phase)i), by_phase[i]);
    members_count(&totals, "jobs", batch->count);
    members_count(&totals, "source_bytes", sums.source_bytes);
    members_count(&totals, "output_bytes", sums.output_bytes);
    members_count(&totals, "encoded_bytes", sums.encoded_bytes);
    members_count(&totals, "stored_bytes", sums.stored_bytes);
    members_real(&totals, "job_seconds", sums.seconds);
    members_real(&totals, "energy_joules", batch_state_joules(state) < 0 ? INFINITY : batch_state_joules(state));
    members_nest(whole, "counts", &counts);
    members_nest(whole, "totals", &totals);
}

/* Why the newest run has no figure, or NULL when it has. */
static const char *missing_energy(const struct batch_state *state) {
    if (state->energy_missing[0]) return state->energy_missing;
    return batch_state_joules(state) < 0 ? "no run has measured it" : NULL;
}

tsr_status batch_json_make(const struct batch *batch, const struct batch_state *state, bool running, json_t **result,
                           tsr_error *err) {
    struct members whole = members_object(), list = members_list();
    members_text(&whole, "batch", batch->path);
    members_text(&whole, "state", batch->state);
    members_bool(&whole, "running", running);
    members_text(&whole, "coordinator", state->holder[0] ? state->holder : NULL);
    members_count(&whole, "runs", state->runs);
    members_count(&whole, "exit_code", (uint64_t)batch_exit_code(batch, state->results));
    members_text(&whole, "energy_missing", missing_energy(state));
    add_totals(&whole, batch, state);
    for (uint64_t i = 0; i < batch->count; i++) add_job(&list, batch, &batch->jobs[i], &state->results[i]);
    members_nest(&whole, "jobs", &list);
    return members_finish(&whole, result, err);
}
