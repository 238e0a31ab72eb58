/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts what is allocated, so that the bound holds for what no file backs (RssAnon); mapped weights are the system's to
 * drop. OWN is the program itself: plugins, descriptions of families, the header of the checkpoint, a stack a worker. */
#include "calibrate_memory.h"

#include <base/checked.h>
#include <base/pool.h>
#include <numeric/dense_kernels.h>
#include <numeric/gram.h>

#define OWN ((uint64_t)12 << 20)
#define WORKER_OWN ((uint64_t)1 << 20)
#define PANEL_DEPTH 1024 /* columns of a panel of weights, at most */

/* What workers hold while the model runs: a panel of weights and its products, or a distribution. */
static uint64_t workers_bytes(const struct memory_need *need) {
    uint64_t panel = (PANEL_DEPTH + need->text.window) * DENSE_PANEL * sizeof(float);
    uint64_t distribution = need->model->info.vocabulary * sizeof(double);
    return pool_workers(need->env->pool) * (WORKER_OWN + max_u64(panel, distribution));
}

/* Of a compressed model the largest tensor, and as much again for its payload and tiles. */
static uint64_t base_bytes(const struct memory_need *need) {
    return OWN + need->text.count * sizeof *need->text.tokens + workers_bytes(need) + 2 * need->decoded;
}

static uint64_t there_bytes(const struct memory_need *need) {
    uint64_t n = need->widest, workers = pool_workers(need->env->pool);
    return base_bytes(need) + walk_memory(need->model, need->text.window, workers) + (n ? gram_memory(n) : 0) +
           n * (n * sizeof(float) + 2 * sizeof(double));
}

/* Sums, and what they become in the file. */
static uint64_t back_bytes(const struct memory_need *need) {
    if (!need->fisher.tokens) return 0;
    return base_bytes(need) + fisher_layers_memory(need->model, need->text.window, pool_workers(need->env->pool)) +
           need->fisher_values * (sizeof(double) + sizeof(float));
}

static tsr_status refuse(const struct memory_plan *plan, const struct memory_need *need, tsr_error *err) {
    const bool back = plan->back > plan->there;
    return tsr_fail(err, TSR_E_CONFIG, "--memory: %llu bytes are too few for this model in windows of %llu tokens%s: it takes %llu",
                    (unsigned long long)plan->total, (unsigned long long)need->text.window,
                    back ? ", read backwards" : "", (unsigned long long)max_u64(plan->there, plan->back));
}

tsr_status memory_plan_make(const struct memory_need *need, uint64_t total, struct memory_plan *plan, tsr_error *err) {
    *plan = (struct memory_plan){.total = total, .there = there_bytes(need), .back = back_bytes(need)};
    if (max_u64(plan->there, plan->back) > total) return refuse(plan, need, err);
    uint64_t states = need->layers ? 2 * walk_state_floats(need->model, &need->text) * sizeof(float) : 0;
    uint64_t entered = need->layers && need->fisher.tokens
                           ? fisher_layers_floats(need->model, &need->fisher, need->text.count) * sizeof(float)
                           : 0;
    uint64_t spare = total - max_u64(plan->there, plan->back), part = spare / 4;
    plan->states_on_disk = states > part;
    plan->fisher_on_disk = entered > part;
    plan->disk = (plan->states_on_disk ? states : 0) + (plan->fisher_on_disk ? entered : 0);
    plan->decoded = need->decoded ? need->decoded + part : 0; /* a layer that stays is decoded once for all windows */
    plan->matrices = total - plan->there - (plan->states_on_disk ? 0 : states) - (plan->fisher_on_disk ? 0 : entered) -
                     (need->decoded ? part : 0) + need->widest * need->widest * sizeof(float);
    return TSR_OK;
}
