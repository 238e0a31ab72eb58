/* SPDX-License-Identifier: Apache-2.0
 *
 * One object a tensor. What a trial encoding said is called predicted; bounds are estimates. */
#include "plan_json.h"

#include "budget.h"
#include "job.h"
#include "statistics.h"

#include <base/str.h>
#include <math.h>
#include <policy/bound.h>
#include <reading/members.h>
#include <stdio.h>
#include <string.h>

static void set_rule(struct members *tensor, const struct config *config, const struct plan_entry *entry) {
    char text[512];
    if (entry->rule) {
        (void)snprintf(text, sizeof text, "%s:%u", config->path, entry->rule->line);
    } else {
        (void)snprintf(text, sizeof text, "(built in)");
    }
    members_text(tensor, "rule", text);
}

static double bits_per_weight(const struct plan_entry *entry) {
    double weights = (double)entry->rows * (double)entry->columns;
    return weights > 0 ? (double)entry->predicted_bytes * 8 / weights : 0;
}

static void set_prediction(struct members *tensor, const struct plan_entry *entry) {
    members_count(tensor, "predicted_bytes", entry->predicted_bytes);
    members_real(tensor, "predicted_error", entry->predicted_error);
    members_real(tensor, "bound_error", entry->bound_error);
    members_real(tensor, "bound_cosine", bound_cosine(bits_per_weight(entry)));
    members_bool(tensor, "whole", entry->trial_is_whole);
}

/* What the budget made of a tensor that was left to it. */
static void set_budget(struct members *tensor, const struct plan *plan, const struct plan_entry *entry) {
    bool free = entry->free_bits > 0;
    members_real(tensor, "importance", entry->importance > 0 ? entry->importance : INFINITY);
    members_real(tensor, "bits", free ? entry->free_bits : INFINITY);
    members_real(tensor, "loss_share", free && plan->budget.loss > 0 ? entry->loss / plan->budget.loss : INFINITY);
}

/* The codecs behind the first. */
static void set_stages(struct members *tensor, const struct plan *plan, const struct plan_entry *entry) {
    struct members list = members_list();
    for (uint64_t i = 1; entry->alias_of < 0 && i <= entry->more_count; i++) {
        struct plan_stage planned = plan_stage_at(entry, i);
        struct members stage = members_object();
        members_text(&stage, "codec", planned.codec->name);
        members_text(&stage, "params", planned.params.canonical);
        members_append(&list, &stage);
    }
    members_nest(tensor, "stages", &list);
    members_text(tensor, "group", entry->alias_of < 0 && entry->group >= 0 ? plan->groups[entry->group].name : NULL);
}

static void set_probe(struct members *tensor, const struct plan_probe *probe) {
    if (!probe->rows) return;
    struct members look = members_object();
    members_count(&look, "rows", probe->rows);
    members_real(&look, "mean_cosine", probe->mean_cosine);
    members_real(&look, "random_cosine", probe->random_cosine);
    members_real(&look, "participation", probe->participation);
    members_real(&look, "kurtosis", probe->kurtosis);
    members_real(&look, "low_rank", probe->low_rank);
    members_real(&look, "length_spread", probe->length_spread);
    members_nest(tensor, "probe", &look);
}

static void add_checks(struct members *whole, const struct plan *plan) {
    struct members list = members_list();
    for (uint64_t i = 0; i < plan->check_count; i++) {
        struct members check = members_object();
        members_text(&check, "id", plan->checks[i].id);
        members_text(&check, "tensor", plan->checks[i].tensor);
        members_text(&check, "why", plan->checks[i].why);
        members_text(&check, "instead", plan->checks[i].instead);
        members_append(&list, &check);
    }
    members_nest(whole, "checks", &list);
}

/* What tensors share: counted once. */
static void add_dictionaries(struct members *whole, const struct plan *plan) {
    struct members list = members_list();
    for (uint64_t g = 0; g < plan->group_count; g++) {
        const struct plan_group *group = &plan->groups[g];
        if (!group->dictionary) continue;
        struct members dictionary = members_object();
        members_text(&dictionary, "group", group->name);
        members_count(&dictionary, "tensors", group->count);
        members_count(&dictionary, "bytes", group->bytes);
        members_digest(&dictionary, "digest", &group->digest);
        members_append(&list, &dictionary);
    }
    members_nest(whole, "dictionaries", &list);
}

static void add_tensor(struct members *list, const struct config *config, const struct plan *plan, uint64_t index,
                       const struct parts *parts) {
    const struct plan_entry *entry = &plan->entries[index];
    const struct safetensors_entry *source = entry->source->entry;
    bool alias = entry->alias_of >= 0;
    struct members tensor = members_object();
    members_text(&tensor, "name", entry->source->name);
    members_text(&tensor, "dtype", source->dtype_name);
    members_shape(&tensor, "shape", source->shape, source->rank);
    members_text(&tensor, "role", entry->role.role);
    members_text(&tensor, "component", entry->role.component);
    members_text(&tensor, "regime", regime_name(entry->regime));
    set_rule(&tensor, config, entry);
    members_text(&tensor, "codec", alias ? NULL : entry->codec->name);
    members_text(&tensor, "params", alias ? NULL : entry->params.canonical);
    if (entry->index && !alias) {
        members_text(&tensor, "index", entry->index->codec->name);
        members_text(&tensor, "index_params", entry->index->params.canonical);
        members_count(&tensor, "index_bytes", entry->index_bytes);
    }
    set_stages(&tensor, plan, entry);
    members_count(&tensor, "rows", entry->rows);
    members_count(&tensor, "columns", entry->columns);
    members_bool(&tensor, "transposed", entry->transposed);
    members_real(&tensor, "row_error_max", entry->row_error_max > 0 ? entry->row_error_max : INFINITY);
    members_count(&tensor, "source_bytes", source->bytes);
    members_text(&tensor, "alias_of", alias ? plan->entries[entry->alias_of].source->name : NULL);
    members_text(&tensor, "note", entry->note);
    set_budget(&tensor, plan, entry);
    set_prediction(&tensor, entry);
    set_probe(&tensor, &entry->probe);
    if (parts) members_text(&tensor, "key", alias ? NULL : parts->items[index].key);
    members_append(list, &tensor);
}

static double ratio(uint64_t source, uint64_t stored) {
    return stored ? (double)source / (double)stored : INFINITY;
}

tsr_status plan_json_make(const char *model, const struct config *config, const struct plan *plan,
                          const struct parts *parts, json_t **result, tsr_error *err) {
    struct members whole = members_object(), tensors = members_list(), totals = members_object();
    members_text(&whole, "model", model);
    members_text(&whole, "config", config->path);
    members_text(&whole, "roles", plan->role_set);
    for (uint64_t i = 0; i < plan->count; i++) add_tensor(&tensors, config, plan, i, parts);
    members_nest(&whole, "tensors", &tensors);
    add_dictionaries(&whole, plan);
    add_checks(&whole, plan);
    budget_tell(&whole, config, plan, NULL);
    members_count(&totals, "tensors", plan->count);
    members_count(&totals, "source_bytes", plan->source_bytes);
    members_count(&totals, "unique_bytes", plan->unique_bytes);
    members_count(&totals, "predicted_bytes", plan->predicted_bytes);
    members_real(&totals, "ratio", ratio(plan->source_bytes, plan->predicted_bytes));
    members_real(&totals, "ratio_unique", ratio(plan->unique_bytes, plan->predicted_bytes));
    members_count(&totals, "unknown", plan->unknown_count);
    members_nest(&whole, "totals", &totals);
    return members_finish(&whole, result, err);
}

#define PROFILES_MAX 64

/* The profile that `name` may have meant, in arena memory; NULL when none is near. */
static const char *nearest_profile(const char *name, const struct job_paths *paths, struct arena *arena) {
    const char *profiles[PROFILES_MAX + 1] = {0};
    uint64_t count = 0;
    for (uint64_t f = 0; f < paths->config_folder_count; f++) {
        struct fs_list list = {0};
        if (fs_list(paths->config_folders[f], false, &list, NULL) != TSR_OK) continue;
        for (uint64_t i = 0; i < list.count && count < PROFILES_MAX; i++) {
            if (!text_ends_with(list.names[i], ".yaml")) continue;
            profiles[count] = arena_dup(arena, list.names[i], strlen(list.names[i]) - strlen(".yaml"));
            count += profiles[count] != NULL;
        }
        fs_list_clear(&list);
    }
    return text_nearest(name, profiles);
}

static tsr_status no_such_config(const char *name, const struct job_paths *paths, struct arena *arena, tsr_error *err) {
    const char *nearest = nearest_profile(name, paths, arena);
    if (!nearest) return tsr_fail(err, TSR_E_CONFIG, "%s: no such config file or profile", name);
    return tsr_fail(err, TSR_E_CONFIG, "%s: no such config file or profile; did you mean \"%s\"?", name, nearest);
}

tsr_status plan_config(const char *name, const struct registry *registry, const struct job_paths *paths,
                       struct arena *arena, struct config *config, tsr_error *err) {
    if (!name) return config_default(registry, arena, config, err);
    const char *path = config_locate(name, paths->config_folders, paths->config_folder_count, arena);
    if (!path && fs_kind_of(name) == FS_FILE) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", name);
    if (!path) return no_such_config(name, paths, arena, err);
    return config_load(path, registry, arena, config, err);
}

void plan_override_budget(struct config *config, double target_kld) {
    if (!(target_kld > 0)) return;
    config->budget.kind = BUDGET_KLD;
    config->budget.value = target_kld;
    config->budget.line = 0;
}

tsr_status job_plan(const struct job_plan_options *options, const struct registry *registry, const struct job_paths *paths,
                    const struct env *env, json_t **result, tsr_error *err) {
    struct checkpoint checkpoint = {0};
    struct arena arena = {0};
    struct config config = {0};
    struct plan plan = {0};
    struct statistics statistics = {0};
    struct plan_options how = {.role_folders = paths->role_folders,
                               .role_folder_count = paths->role_folder_count,
                               .predict = true};
    tsr_status st = plan_config(options->config, registry, paths, &arena, &config, err);
    if (st == TSR_OK) plan_override_budget(&config, options->target_kld);
    if (st == TSR_OK) st = checkpoint_open(options->model, &checkpoint, err);
    if (st == TSR_OK && options->stats) st = statistics_open(options->stats, &statistics, err);
    how.statistics = statistics.open ? &statistics.operations : NULL;
    if (st == TSR_OK) st = plan_make(&checkpoint, &config, registry, &how, env, &plan, err);
    if (st == TSR_OK) st = plan_json_make(options->model, &config, &plan, NULL, result, err);
    plan_close(&plan);
    statistics_close(&statistics);
    checkpoint_close(&checkpoint);
    arena_clear(&arena);
    return st;
}
