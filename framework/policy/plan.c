/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps of planning in order, and the facts that need no codec: names, roles, totals. */
#include "plan.h"

#include <string.h>

#include <base/alloc.h>
#include <base/error.h>
#include <base/fs.h>
#include <base/str.h>
#include <format/container.h>
#include <format/json.h>

#include "model_type.h"
#include "plan_solve.h"

tsr_status plan_no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for the plan");
}

static tsr_status find_roles(struct planner *planner, struct role_set **set, tsr_error *err) {
    struct arena *arena = &planner->plan->arena;
    const struct plan_options *options = planner->options;
    const struct config *config = planner->config;
    const char *type = NULL;
    tsr_status st = model_type_read(planner->checkpoint, arena, &type, err);
    if (st) return st;
    st = role_find(config->roles, type, options->role_folders, options->role_folder_count, planner->env, arena, set, err);
    if (st == TSR_E_CONFIG && config->roles_line) {
        return error_context(err, st, "%s:%u:%u", config->path, (unsigned)config->roles_line,
                             (unsigned)config->roles_column);
    }
    if (!st) planner->plan->role_set = role_set_name(*set);
    return st;
}

/* Names of our own tensors must stay free. */
static tsr_status check_name(const struct checkpoint_tensor *tensor, tsr_error *err) {
    if (!text_starts_with(tensor->entry->name, CONTAINER_PREFIX)) return TSR_OK;
    return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\": names that begin with \"%s\" are reserved for compressed files",
                    tensor->name, CONTAINER_PREFIX);
}

static tsr_status assign_role(struct planner *planner, struct role_set *set, uint64_t index, tsr_error *err) {
    struct plan *plan = planner->plan;
    struct plan_entry *entry = &plan->entries[index];
    *entry = (struct plan_entry){.source = &planner->checkpoint->tensors[index], .alias_of = -1, .group = -1};
    planner->facts[index] = (struct plan_facts){.owner = index, .governor = index};
    const struct safetensors_entry *source = entry->source->entry;
    tsr_status st = check_name(entry->source, err);
    if (!st) st = role_assign(set, entry->source->name, source->rank, source->shape, &entry->role, err);
    if (st) return st;
    entry->regime = entry->role.regime;
    if (strcmp(entry->role.role, "unknown")) return TSR_OK;
    plan->unknown_count++;
    env_log(planner->env, TSR_LOG_WARNING, "tensor \"%s\" is unknown to roles %s: kept exact", entry->source->name,
            plan->role_set);
    return TSR_OK;
}

static tsr_status assign_roles(struct planner *planner, tsr_error *err) {
    struct plan *plan = planner->plan;
    struct role_set *set = NULL;
    uint64_t count = planner->checkpoint->tensor_count;
    plan->entries = arena_alloc(&plan->arena, count, sizeof *plan->entries);
    planner->facts = arena_alloc(&plan->arena, count, sizeof *planner->facts);
    if (!plan->entries || !planner->facts) return plan_no_memory(err);
    plan->count = count;
    tsr_status st = find_roles(planner, &set, err);
    for (uint64_t i = 0; i < count && !st; i++) st = assign_role(planner, set, i, err);
    return st;
}

/* What everything falls back to. */
static tsr_status find_passthrough(struct planner *planner, tsr_error *err) {
    tsr_status st =
        registry_codec(planner->registry, "passthrough", &planner->passthrough, &planner->passthrough_plugin, err);
    if (st) return st;
    return param_bind(planner->passthrough, NULL, 0, &planner->plan->arena, &planner->passthrough_params, err);
}

static void add_up(struct plan *plan) {
    for (uint64_t i = 0; i < plan->count; i++) {
        uint64_t bytes = plan->entries[i].source->entry->bytes;
        plan->source_bytes += bytes;
        if (plan->entries[i].alias_of < 0) plan->unique_bytes += bytes;
    }
}

/* Trials, with bits for the tensors of a budget that are mended while trials say that the total is missed. */
static tsr_status try_until_it_fits(struct planner *planner, tsr_error *err) {
    bool again = true;
    tsr_status st = plan_solve_begin(planner, err);
    while (again && !st) {
        st = plan_run_trials(planner, err);
        if (!st) st = plan_solve_again(planner, &again, err);
    }
    return st;
}

tsr_status plan_make(const struct checkpoint *checkpoint, const struct config *config, const struct registry *registry,
                     const struct plan_options *options, const struct env *env, struct plan *plan, tsr_error *err) {
    struct planner planner = {.checkpoint = checkpoint,
                              .config = config,
                              .registry = registry,
                              .options = options,
                              .env = env,
                              .plan = plan};
    tsr_status st = find_passthrough(&planner, err);
    if (!st) st = assign_roles(&planner, err);
    if (!st) st = plan_find_aliases(&planner, err);
    if (!st) st = plan_apply_rules(&planner, err);
    if (!st) st = plan_apply_indexes(&planner, err);
    if (!st) st = plan_find_statistics(&planner, err);
    if (!st) st = plan_make_groups(&planner, err);
    if (!st) st = try_until_it_fits(&planner, err);
    if (!st) st = plan_decide(&planner, err);
    if (!st) plan_solve_tell(&planner);
    plan_solve_end(&planner);
    if (!st && options->predict) st = plan_check(&planner, err);
    if (!st) add_up(plan);
    for (uint64_t i = 0; planner.facts && i < plan->count; i++) mem_free(planner.facts[i].refusal);
    return st;
}

void plan_close(struct plan *plan) {
    for (uint64_t i = 0; i < plan->group_count; i++) mem_free(plan->groups[i].dictionary);
    arena_clear(&plan->arena);
    *plan = (struct plan){0};
}
