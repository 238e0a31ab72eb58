/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rule takes which tensor, and whether its codec may. First match wins; a rule that takes nothing is an error
 * unless it is optional. A storage that several tensors share obeys the rule of the one with the strictest regime. */
#include <string.h>

#include <base/error.h>
#include <base/str.h>
#include <format/dtype.h>
#include <plugin/param_text.h>
#include <plugin/tile.h>

#include "plan_parts.h"

static bool takes_role(const struct config_rule *rule, const char *role) {
    const char *const *name = rule->roles;
    while (name && *name && strcmp(*name, role)) name++;
    return !name || *name;
}

static tsr_status takes_name(const struct config_rule *rule, const char *name, bool *takes, tsr_error *err) {
    *takes = !rule->patterns;
    for (uint64_t i = 0; rule->patterns && rule->patterns[i] && !*takes; i++) {
        tsr_status st = pattern_apply(rule->patterns[i], name, takes, NULL, err);
        if (st) return st;
    }
    return TSR_OK;
}

static tsr_status rule_takes(const struct config_rule *rule, const struct plan_entry *entry, bool *takes,
                             tsr_error *err) {
    int32_t dtype = entry->source->entry->dtype;
    *takes = takes_role(rule, entry->role.role) && (rule->regime < 0 || rule->regime == entry->regime) &&
             (rule->dtypes == 0 || rule->dtypes & TSR_DTYPE_BIT(dtype));
    return *takes ? takes_name(rule, entry->source->name, takes, err) : TSR_OK;
}

/* ---- every rule takes something ---- */

struct rule_use {
    bool taken;
    const struct config_rule *hidden_by; /* the rule that took the first tensor that this one would have */
    const char *hidden_name;
};

/* A pattern without wildcards that is nearly the name of a tensor. */
static const char *nearest_tensor(const struct planner *planner, const struct config_rule *rule) {
    const char *pattern = rule->patterns ? pattern_text(rule->patterns[0]) : "";
    const char *nearest = NULL;
    if (!*pattern || strpbrk(pattern, "*{") || text_starts_with(pattern, "re:")) return NULL;
    for (uint64_t i = 0; i < planner->plan->count && !nearest; i++) {
        const char *const name[] = {planner->plan->entries[i].source->name, NULL};
        nearest = text_nearest(pattern, name);
    }
    return nearest;
}

static tsr_status check_use(const struct planner *planner, const struct config_rule *rule, const struct rule_use *use,
                            tsr_error *err) {
    if (use->taken || rule->optional) return TSR_OK;
    if (use->hidden_by) {
        return config_rule_fail(err, planner->config, rule,
                                "this rule takes no tensor: the rule in line %u takes \"%s\" and all others it matches "
                                "first",
                                (unsigned)use->hidden_by->line, use->hidden_name);
    }
    const char *nearest = nearest_tensor(planner, rule);
    if (nearest) {
        return config_rule_fail(err, planner->config, rule, "no tensor of this model matches; did you mean \"%s\"?",
                                nearest);
    }
    return config_rule_fail(err, planner->config, rule, "no tensor of this model matches this rule");
}

static tsr_status match_entry(struct planner *planner, uint64_t index, struct rule_use *uses, tsr_error *err) {
    const struct plan_entry *entry = &planner->plan->entries[index];
    struct plan_facts *facts = &planner->facts[index];
    for (uint64_t r = 0; r < planner->config->rule_count; r++) {
        const struct config_rule *rule = &planner->config->rules[r];
        tsr_error inner = {0};
        bool takes = false;
        tsr_status st = rule_takes(rule, entry, &takes, &inner);
        if (st) return config_rule_fail(err, planner->config, rule, "%s", inner.message);
        if (!takes) continue;
        if (!facts->own_rule) {
            facts->own_rule = rule;
            uses[r].taken = true;
        } else if (!uses[r].hidden_by) {
            uses[r].hidden_by = facts->own_rule;
            uses[r].hidden_name = entry->source->name;
        }
    }
    return TSR_OK;
}

static tsr_status match_all(struct planner *planner, tsr_error *err) {
    const struct config *config = planner->config;
    struct rule_use *uses = arena_alloc(&planner->plan->arena, config->rule_count, sizeof *uses);
    tsr_status st = uses ? TSR_OK : plan_no_memory(err);
    for (uint64_t i = 0; i < planner->plan->count && !st; i++) st = match_entry(planner, i, uses, err);
    for (uint64_t r = 0; r < config->rule_count && !st; r++) st = check_use(planner, &config->rules[r], &uses[r], err);
    return st;
}

/* ---- the storage's regime and rule ---- */

static void spread_regimes(struct planner *planner) {
    struct plan_entry *entries = planner->plan->entries;
    struct plan_facts *facts = planner->facts;
    for (uint64_t i = 0; i < planner->plan->count; i++) {
        uint64_t owner = facts[i].owner;
        if (entries[i].role.regime < entries[facts[owner].governor].role.regime) facts[owner].governor = i;
    }
    for (uint64_t i = 0; i < planner->plan->count; i++) {
        facts[i].governor = facts[facts[i].owner].governor;
        entries[i].regime = entries[facts[i].governor].role.regime;
    }
}

static void use_passthrough(const struct planner *planner, struct plan_entry *entry) {
    entry->codec = planner->passthrough;
    entry->plugin = planner->passthrough_plugin;
    entry->params = planner->passthrough_params;
}

/* The codec may be given this tensor at all. */
static tsr_status check_codec(const struct planner *planner, const struct plan_entry *entry, tsr_error *err) {
    const tsr_codec *codec = entry->codec;
    const struct safetensors_entry *source = entry->source->entry;
    if (entry->regime == TSR_REGIME_EXACT && !plan_entry_is_exact(entry)) {
        return config_rule_fail(err, planner->config, entry->rule,
                                "codec %s is lossy, but tensor \"%s\" (role %s) is of the exact regime", codec->name,
                                entry->source->name, entry->role.role);
    }
    bool accepted = codec->dtypes & TSR_DTYPE_BIT(source->dtype);
    if (accepted && (!plan_is_lossy(codec) || dtype_is_float(source->dtype))) return TSR_OK;
    return config_rule_fail(err, planner->config, entry->rule,
                            "codec %s does not take %s, the dtype of tensor \"%s\" (a rule may say dtype: ...)",
                            codec->name, source->dtype_name, entry->source->name);
}

static tsr_status apply_stride(const struct planner *planner, struct plan_entry *entry, tsr_error *err) {
    tsr_error inner = {0};
    if (entry->rule->stride == 0) return TSR_OK;
    if (role_check_stride(entry->rule->stride, entry->columns, &inner)) {
        return config_rule_fail(err, planner->config, entry->rule, "tensor \"%s\": %s", entry->source->name,
                                inner.message);
    }
    entry->role.stride = entry->rule->stride;
    return TSR_OK;
}

/* Position of the codec's parameter row_error_max, or param_count. */
static uint64_t row_error_param(const tsr_codec *codec) {
    uint64_t at = 0;
    while (at < codec->param_count && strcmp(param_at(codec, at)->name, "row_error_max")) at++;
    return at;
}

static bool gives_row_error(const struct config_rule *rule) {
    for (uint64_t i = 0; i < rule->given_count; i++) {
        if (!strcmp(rule->given[i].name, "row_error_max")) return true;
    }
    return false;
}

/* The parameters of the rule with the row bound added. */
static tsr_status bind_with_row_error(const struct planner *planner, struct plan_entry *entry, tsr_error *err) {
    const struct config_rule *rule = entry->rule;
    struct arena *arena = &planner->plan->arena;
    char number[PARAM_REAL_TEXT];
    struct param_given *given = arena_alloc(arena, rule->given_count + 1, sizeof *given);
    char *text = arena_format(arena, "%s", param_real_text(entry->row_error_max, number));
    tsr_error inner = {0};
    if (!given || !text) return plan_no_memory(err);
    if (rule->given_count) memcpy(given, rule->given, rule->given_count * sizeof *given);
    given[rule->given_count] = (struct param_given){"row_error_max", text};
    tsr_status st = param_bind(entry->codec, given, rule->given_count + 1, arena, &entry->params, &inner);
    return st ? config_rule_fail(err, planner->config, rule, "tensor \"%s\": %s", entry->source->name, inner.message)
              : TSR_OK;
}

/* Rows of the index regime have a bound: the rule's, the codec parameter's, or the default. */
static tsr_status apply_row_error(const struct planner *planner, struct plan_entry *entry, tsr_error *err) {
    if (entry->regime != TSR_REGIME_INDEX || plan_entry_is_exact(entry)) return TSR_OK;
    if (entry->rule->free_bits && entry->rule->row_error_max < 0 && !gives_row_error(entry->rule)) {
        entry->note = "rows without a bound: the budget decides by importance";
        return TSR_OK;
    }
    uint64_t at = row_error_param(entry->codec);
    bool declared = at < entry->codec->param_count && param_at(entry->codec, at)->type == TSR_PARAM_REAL;
    declared = declared && entry->more_count == 0; /* in a stack only the result has to keep to it */
    if (declared && gives_row_error(entry->rule)) {
        entry->row_error_max = entry->params.values[at].real;
        return TSR_OK;
    }
    entry->row_error_max = entry->rule->row_error_max >= 0 ? entry->rule->row_error_max : CONFIG_ROW_ERROR_DEFAULT;
    return declared ? bind_with_row_error(planner, entry, err) : TSR_OK;
}

static tsr_status fail_unmatched(const struct planner *planner, const struct plan_entry *entry, tsr_error *err) {
    const struct config *config = planner->config;
    return config_rule_fail(err, config, &config->rules[config->rule_count - 1],
                            "no rule takes tensor \"%s\" (role %s, regime %s, %s); a last rule {codec: passthrough} "
                            "would",
                            entry->source->name, entry->role.role, regime_name(entry->regime),
                            entry->source->entry->dtype_name);
}

static tsr_status set_matrix(struct planner *planner, uint64_t index, enum role_view view, tsr_error *err) {
    struct plan_entry *entry = &planner->plan->entries[index];
    const struct safetensors_entry *source = entry->source->entry;
    bool as_bytes = source->dtype == TSR_DTYPE_F4 || source->dtype == TSR_DTYPE_OPAQUE;
    tsr_status st = role_matrix(view, source->rank, source->shape, &entry->rows, &entry->columns, err);
    if (st) return error_context(err, st, "tensor \"%s\"", entry->source->name);
    planner->facts[index].weights = source->dtype == TSR_DTYPE_OPAQUE ? source->bytes : entry->rows * entry->columns;
    (void)tile_matrix_of(source->dtype, source->bytes, &entry->rows, &entry->columns);
    entry->transposed = view == ROLE_VIEW_TRANSPOSED && source->rank >= 2 && !as_bytes;
    return TSR_OK;
}

static tsr_status set_stack(const struct planner *planner, struct plan_entry *entry, tsr_error *err) {
    const struct config_rule *rule = entry->rule;
    struct plan_stage *more = arena_alloc(&planner->plan->arena, rule->more_count + 1, sizeof *more);
    if (!more) return plan_no_memory(err);
    for (uint64_t i = 0; i < rule->more_count; i++) {
        more[i] = (struct plan_stage){rule->more[i].codec, rule->more[i].plugin, rule->more[i].params};
    }
    entry->more = more;
    entry->more_count = rule->more_count;
    return TSR_OK;
}

static tsr_status settle_entry(struct planner *planner, uint64_t index, tsr_error *err) {
    struct plan_entry *entry = &planner->plan->entries[index];
    const struct plan_entry *governor = &planner->plan->entries[planner->facts[index].governor];
    tsr_status st = set_matrix(planner, index, governor->role.view, err);
    if (st) return st;
    entry->rule = planner->facts[planner->facts[index].governor].own_rule;
    if (!entry->rule) {
        if (strcmp(governor->role.role, "unknown")) return fail_unmatched(planner, governor, err);
        use_passthrough(planner, entry);
        return TSR_OK;
    }
    entry->codec = entry->rule->codec;
    entry->plugin = entry->rule->plugin;
    entry->params = entry->rule->params;
    st = set_stack(planner, entry, err);
    if (!st) st = check_codec(planner, entry, err);
    if (!st) st = apply_stride(planner, entry, err);
    if (!st) st = apply_row_error(planner, entry, err);
    return st;
}

tsr_status plan_apply_rules(struct planner *planner, tsr_error *err) {
    spread_regimes(planner);
    tsr_status st = match_all(planner, err);
    for (uint64_t i = 0; i < planner->plan->count && !st; i++) st = settle_entry(planner, i, err);
    return st;
}
