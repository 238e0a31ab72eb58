/* SPDX-License-Identifier: Apache-2.0
 *
 * The vocabulary of roles, and how a tensor gets one: the first rule that matches its name behind the first prefix that
 * fits. Whether a tensor may change at all hangs on this, so everything here is looked up and nothing is guessed. */
#include "role.h"

#include "role_set.h"

#include <base/checked.h>
#include <base/error.h>
#include <string.h>

/* Name, regime, stride. Strides of attention and MLP weights follow docs/roles.md, "Strides"; all others are read in
 * order. Exact roles are small, or decide discretely (router), or grow errors exponentially (ssm_a, ssm_dt). */
#define ROLE_TABLE(X)                                                                                              \
    X("embed", INDEX, 1) /* token or code embedding, a row by id */                                                \
    X("position_embed", EXACT, 1)                                                                                  \
    X("type_embed", EXACT, 1) /* segment, class and mask vectors */                                                \
    X("codebook", INDEX, 1)                                                                                        \
    X("lm_head", ARGMAX, 1)                                                                                        \
    X("classifier", ARGMAX, 1)                                                                                     \
    X("projection", ARGMAX, 1) /* between widths or modalities, poolers */                                         \
    X("attn_q", ARGMAX, 3)                                                                                         \
    X("attn_k", ARGMAX, 3)                                                                                         \
    X("attn_v", ARGMAX, 5)                                                                                         \
    X("attn_o", ARGMAX, 3)                                                                                         \
    X("attn_qkv", ARGMAX, 3)                                                                                       \
    X("attn_q_a", ARGMAX, 3) /* latent attention: down to the latent, and up again */                              \
    X("attn_q_b", ARGMAX, 3)                                                                                       \
    X("attn_kv_a", ARGMAX, 3)                                                                                      \
    X("attn_kv_b", ARGMAX, 3)                                                                                      \
    X("mlp_gate", ARGMAX, 8)                                                                                       \
    X("mlp_up", ARGMAX, 2)                                                                                         \
    X("mlp_down", ARGMAX, 4)                                                                                       \
    X("mlp_gate_up", ARGMAX, 8)                                                                                    \
    X("router", EXACT, 1)                                                                                          \
    X("ssm_in", ARGMAX, 1)                                                                                         \
    X("ssm_x", ARGMAX, 1)                                                                                          \
    X("ssm_out", ARGMAX, 1)                                                                                        \
    X("ssm_a", EXACT, 1)                                                                                           \
    X("ssm_d", EXACT, 1)                                                                                           \
    X("ssm_dt", EXACT, 1)                                                                                          \
    X("conv", EXACT, 1)                                                                                            \
    X("norm", EXACT, 1)                                                                                            \
    X("bias", EXACT, 1)                                                                                            \
    X("scale", EXACT, 1) /* learned gains that are no norm */                                                      \
    X("lora_a", ARGMAX, 1)                                                                                         \
    X("lora_b", ARGMAX, 1)                                                                                         \
    X("buffer", EXACT, 1) /* computed, not learned: inv_freq, masks, counts */

#define ROLE_INFO(name, regime, stride) {name, TSR_REGIME_##regime, stride},
#define ROLE_NAME(name, regime, stride) name,

static const struct role_info ROLES[] = {ROLE_TABLE(ROLE_INFO)};
static const char *const NAMES[] = {ROLE_TABLE(ROLE_NAME) "unknown", NULL};

const char *const *role_names(void) {
    return NAMES;
}

const struct role_info *role_info_find(const char *name) {
    for (size_t i = 0; i < sizeof ROLES / sizeof ROLES[0]; i++) {
        if (!strcmp(ROLES[i].name, name)) return &ROLES[i];
    }
    return NULL;
}

const char *regime_name(int32_t regime) {
    return regime == TSR_REGIME_EXACT ? "exact" : regime == TSR_REGIME_INDEX ? "index" : "argmax";
}

const char *role_set_name(const struct role_set *set) {
    return set->family;
}

tsr_status role_matrix(enum role_view view, uint64_t rank, const uint64_t *shape, uint64_t *rows, uint64_t *columns,
                       tsr_error *err) {
    uint64_t height = 1, width = 1;
    bool fits = true;
    for (uint64_t i = 0; i < rank; i++) {
        uint64_t column_axis = view == ROLE_VIEW_TRANSPOSED ? rank - 2 : rank - 1;
        bool is_column = rank == 1 || (view == ROLE_VIEW_ROWS ? i > 0 : i == column_axis);
        uint64_t *side = is_column ? &width : &height;
        fits = fits && checked_mul(*side, shape[i], side);
    }
    uint64_t elements;
    if (!fits || !checked_mul(height, width, &elements)) {
        return tsr_fail(err, TSR_E_LIMIT, "shape: more than 2^64 elements");
    }
    *rows = height;
    *columns = width;
    return TSR_OK;
}

tsr_status role_check_stride(uint64_t stride, uint64_t columns, tsr_error *err) {
    if (stride == 1 || (stride > 0 && stride < columns)) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "stride %llu: no bijection over %llu columns, expected 1 to %llu",
                    (unsigned long long)stride, (unsigned long long)columns,
                    (unsigned long long)(columns > 2 ? columns - 1 : 1));
}

/* What follows the prefix, or NULL when the name does not begin with it. */
static const char *skip_prefix(const char *name, const char *prefix) {
    size_t length = strlen(prefix);
    return strncmp(name, prefix, length) ? NULL : name + length;
}

static tsr_status find_rule(const struct role_set *set, const char *name, const struct role_rule **rule,
                            int64_t *layer, tsr_error *err) {
    for (uint64_t r = 0; r < set->rule_count; r++) {
        for (uint64_t p = 0; p < set->prefix_count; p++) {
            const char *rest = skip_prefix(name, set->prefixes[p]);
            bool matches = false;
            if (!rest) continue;
            tsr_status st = pattern_apply(set->rules[r].pattern, rest, &matches, layer, err);
            if (st) return error_context(err, st, "%s:%u", set->path, (unsigned)set->rules[r].line);
            if (!matches) continue;
            *rule = &set->rules[r];
            return TSR_OK;
        }
    }
    return TSR_OK;
}

/* A stride that somebody wrote must hold; a role's own is only a default. */
static tsr_status choose_stride(const struct role_rule *rule, uint64_t columns, uint32_t *stride, tsr_error *err) {
    if (rule->stride) {
        *stride = rule->stride;
        return role_check_stride(rule->stride, columns, err);
    }
    *stride = role_check_stride(rule->role->stride, columns, NULL) == TSR_OK ? rule->role->stride : 1;
    return TSR_OK;
}

tsr_status role_assign(struct role_set *set, const char *tensor_name, uint64_t rank, const uint64_t *shape,
                       struct role_assignment *assignment, tsr_error *err) {
    *assignment = (struct role_assignment){
        .role = "unknown", .component = "", .regime = TSR_REGIME_EXACT, .stride = 1, .layer = -1};
    const struct role_rule *rule = NULL;
    int64_t layer = -1;
    tsr_status st = find_rule(set, tensor_name, &rule, &layer, err);
    if (st || !rule) return st;
    uint64_t rows, columns;
    st = role_matrix(rule->view, rank, shape, &rows, &columns, err);
    if (st == TSR_OK) st = choose_stride(rule, columns, &assignment->stride, err);
    if (st) return error_context(err, st, "%s:%u: tensor \"%s\"", set->path, (unsigned)rule->line, tensor_name);
    assignment->role = rule->role->name;
    assignment->component = rule->component;
    assignment->regime = rule->regime;
    assignment->view = rule->view;
    assignment->layer = layer;
    assignment->file = set->path;
    assignment->line = rule->line;
    return TSR_OK;
}
