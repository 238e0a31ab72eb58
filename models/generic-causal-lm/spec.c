/* SPDX-License-Identifier: Apache-2.0
 *
 * Fills a spec from the fields that a family description sets, derives what follows from them, and lays out the layers.
 * The table FIELDS is the vocabulary of descriptions (docs/models/families.md). */
#include "spec.h"

#include "ops.h"
#include "spec_value.h"

#include <math.h>
#include <stddef.h>

enum field_type { FIELD_COUNT, FIELD_REAL, FIELD_BOOL, FIELD_CHOICE };

struct field {
    const char *name;
    enum field_type type;
    size_t at;
    double fallback;
    const char *const *choices; /* position is the value; several names for one value repeat the row of `choice_values` */
    const int32_t *choice_values;
};

#define CHOICES(name, ...) static const char *const name##_NAMES[] = {__VA_ARGS__, NULL}
#define VALUES(name, ...) static const int32_t name##_VALUES[] = {__VA_ARGS__}

CHOICES(NORM, "rms", "layer");
VALUES(NORM, NORM_RMS, NORM_LAYER);
CHOICES(QK_NORM, "none", "shared", "heads", "all");
VALUES(QK_NORM, QK_NORM_NONE, QK_NORM_SHARED, QK_NORM_HEADS, QK_NORM_ALL);
CHOICES(QKV, "separate", "concat", "grouped");
VALUES(QKV, QKV_SEPARATE, QKV_CONCAT, QKV_GROUPED);
CHOICES(MLP, "gated", "fused", "plain");
VALUES(MLP, MLP_GATED, MLP_FUSED, MLP_PLAIN);
CHOICES(ROPE, "none", "half", "interleaved");
VALUES(ROPE, ROPE_NONE, ROPE_HALF, ROPE_INTERLEAVED);
CHOICES(SCALING, "default", "linear", "dynamic", "llama3", "yarn", "longrope", "su");
VALUES(SCALING, SCALING_NONE, SCALING_LINEAR, SCALING_DYNAMIC, SCALING_LLAMA3, SCALING_YARN, SCALING_LONGROPE,
       SCALING_LONGROPE);
CHOICES(RESIDUAL, "sequential", "parallel", "post-norm");
VALUES(RESIDUAL, RESIDUAL_SEQUENTIAL, RESIDUAL_PARALLEL, RESIDUAL_POST_NORM);
CHOICES(ALIBI, "none", "added", "scaled");
VALUES(ALIBI, ALIBI_NONE, ALIBI_ADDED, ALIBI_SCALED);
CHOICES(ATTENTION, "heads", "latent");
VALUES(ATTENTION, ATTENTION_HEADS, ATTENTION_LATENT);
CHOICES(ROUTER, "softmax", "sigmoid");
VALUES(ROUTER, ROUTER_SOFTMAX, ROUTER_SIGMOID);
/* The names of the published activation functions. */
CHOICES(ACTIVATION, "silu", "swish", "gelu", "gelu_python", "gelu_new", "gelu_pytorch_tanh", "gelu_fast",
        "gelu_python_tanh", "gelu_accurate", "quick_gelu", "relu", "relu2", "tanh", "sigmoid", "linear");
VALUES(ACTIVATION, ACT_SILU, ACT_SILU, ACT_GELU, ACT_GELU, ACT_GELU_TANH, ACT_GELU_TANH, ACT_GELU_TANH, ACT_GELU_TANH,
       ACT_GELU_TANH, ACT_QUICK_GELU, ACT_RELU, ACT_RELU2, ACT_TANH, ACT_SIGMOID, ACT_NONE);

#define COUNT(member, fallback) {#member, FIELD_COUNT, offsetof(struct spec, member), fallback, NULL, NULL}
#define REAL(member, fallback) {#member, FIELD_REAL, offsetof(struct spec, member), fallback, NULL, NULL}
#define BOOL(member, fallback) {#member, FIELD_BOOL, offsetof(struct spec, member), fallback, NULL, NULL}
#define CHOICE(member, table) {#member, FIELD_CHOICE, offsetof(struct spec, member), 0, table##_NAMES, table##_VALUES}

static const struct field FIELDS[] = {
    COUNT(hidden, 0), COUNT(layers, 0), COUNT(vocabulary, 0), COUNT(context, 0), COUNT(embed_width, 0), COUNT(heads, 0),
    COUNT(kv_heads, 0), COUNT(head_dim, 0), COUNT(v_head_dim, 0), COUNT(intermediate, 0), COUNT(position_offset, 0),
    COUNT(rotary_dim, 0), COUNT(window, 0), COUNT(window_from, 0), COUNT(window_pattern, 0), COUNT(no_rope_interval, 0), COUNT(shared_experts, 0), COUNT(experts, 0),
    COUNT(experts_per_token, 0), COUNT(expert_intermediate, 0), COUNT(shared_intermediate, 0), COUNT(expert_groups, 0),
    COUNT(expert_groups_chosen, 0), COUNT(first_dense, 0), COUNT(sparse_step, 1), COUNT(q_rank, 0), COUNT(kv_rank, 0),
    COUNT(nope_dim, 0), COUNT(rope_dim, 0),
    REAL(norm_eps, 0), REAL(norm_offset, 0), REAL(qk_norm_eps, 0), REAL(latent_norm_eps, 1e-6), REAL(attn_scale, 0),
    REAL(attn_softcap, 0), REAL(logit_softcap, 0), REAL(logit_scale, 1), REAL(logit_divisor, 1), REAL(embed_scale, 1),
    REAL(residual_scale, 1), REAL(clip_qkv, 0), REAL(routed_scale, 1), REAL(rope_theta, 10000), REAL(rope_local_theta, 0),
    REAL(rotary_fraction, 1), REAL(scaling_factor, 1), REAL(scaling_attention, 0), REAL(scaling_mscale, 0),
    REAL(scaling_mscale_all, 0), REAL(scaling_beta_fast, 32), REAL(scaling_beta_slow, 1), REAL(scaling_low_freq, 1),
    REAL(scaling_high_freq, 4), REAL(scaling_original, 0),
    BOOL(norm_bias, 0), BOOL(norm_affine, 1), BOOL(embed_sqrt, 0), BOOL(embed_norm, 0), BOOL(final_norm, 1),
    BOOL(learned_positions, 0), BOOL(tied, 0), BOOL(residual_after_norm, 0), BOOL(scale_by_layer, 0), BOOL(conv1d, 0),
    BOOL(scaling_truncate, 1), BOOL(window_without_rope, 0), BOOL(q_bias, 0), BOOL(k_bias, 0), BOOL(v_bias, 0), BOOL(o_bias, 0), BOOL(qkv_bias, 0),
    BOOL(mlp_bias, 0), BOOL(lm_head_bias, 0), BOOL(attn_post_norm, 0), BOOL(mlp_post_norm, 0), BOOL(attn_norm, 1),
    BOOL(mlp_norm, 1), BOOL(expert_normalise, 0), BOOL(shared_gate, 0), BOOL(router_correction, 0),
    BOOL(router_group_top2, 0), BOOL(qk_norm_bias, 0),
    CHOICE(norm, NORM), CHOICE(qk_norm, QK_NORM), CHOICE(qk_norm_type, NORM), CHOICE(qkv, QKV), CHOICE(mlp, MLP),
    CHOICE(activation, ACTIVATION), CHOICE(rope, ROPE), CHOICE(scaling, SCALING), CHOICE(residual, RESIDUAL),
    CHOICE(alibi, ALIBI), CHOICE(attention, ATTENTION), CHOICE(router, ROUTER),
};

/* Values that are not plain fields: lists over layers, and shorthands. */
static const char *const LIST_VALUES[] = {"window_types", "window_name",  "rope_layers", "dense_layers",
                                          "long_factor",  "short_factor", "attn_scale_dim", "attn_types", NULL};

static tsr_status fail_value(const struct spec *spec, const char *name, const char *expected, tsr_error *err) {
    return tsr_fail(err, TSR_E_INPUT, "config.json: value for %s of family %s: expected %s", name,
                    node_get(spec->family, "family")->text, expected);
}

static tsr_status set_count(struct spec *spec, const struct field *field, const struct value *value, tsr_error *err) {
    if (value->kind != TSR_NODE_NUMBER || !(value->number >= 0) || value->number > 1e12 ||
        value->number != floor(value->number)) {
        return fail_value(spec, field->name, "a count", err);
    }
    uint64_t number = (uint64_t)value->number;
    memcpy((char *)spec + field->at, &number, sizeof number);
    return TSR_OK;
}

static tsr_status set_real(struct spec *spec, const struct field *field, const struct value *value, tsr_error *err) {
    if (value->kind != TSR_NODE_NUMBER || !isfinite(value->number)) return fail_value(spec, field->name, "a number", err);
    memcpy((char *)spec + field->at, &value->number, sizeof value->number);
    return TSR_OK;
}

static tsr_status set_bool(struct spec *spec, const struct field *field, const struct value *value, tsr_error *err) {
    if (value->kind != TSR_NODE_BOOL) return fail_value(spec, field->name, "true or false", err);
    bool flag = value->number != 0;
    memcpy((char *)spec + field->at, &flag, sizeof flag);
    return TSR_OK;
}

static tsr_status set_choice(struct spec *spec, const struct field *field, const struct value *value, tsr_error *err) {
    for (int i = 0; field->choices[i]; i++) {
        if (value_text_is(value, field->choices[i])) {
            memcpy((char *)spec + field->at, &field->choice_values[i], sizeof(int32_t));
            return TSR_OK;
        }
    }
    return tsr_fail(err, TSR_E_UNSUPPORTED, "config.json: %s \"%.*s\" is not known", field->name, (int)value->text_length,
                    value->text);
}

static tsr_status set_field(struct spec *spec, const struct field *field, const struct value *value, tsr_error *err) {
    switch (field->type) {
    case FIELD_COUNT: return set_count(spec, field, value, err);
    case FIELD_REAL: return set_real(spec, field, value, err);
    case FIELD_BOOL: return set_bool(spec, field, value, err);
    case FIELD_CHOICE: return set_choice(spec, field, value, err);
    }
    return TSR_OK;
}

static const struct field *find_field(const char *name) {
    for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0]; i++) {
        if (!strcmp(FIELDS[i].name, name)) return &FIELDS[i];
    }
    return NULL;
}

static bool is_list_value(const char *name) {
    for (const char *const *at = LIST_VALUES; *at; at++) {
        if (!strcmp(*at, name)) return true;
    }
    return false;
}

/* Lists and shorthands as resolved, kept until the layers are laid out. */
struct lists {
    struct value values[sizeof LIST_VALUES / sizeof LIST_VALUES[0]];
};

static struct value *list_slot(struct lists *lists, const char *name) {
    for (int i = 0; LIST_VALUES[i]; i++) {
        if (!strcmp(LIST_VALUES[i], name)) return &lists->values[i];
    }
    return NULL;
}

static tsr_status apply_values(struct spec *spec, const struct value_scope *scope, const tsr_node *values,
                               struct lists *lists, tsr_error *err) {
    for (uint64_t i = 0; values && i < values->count; i++) {
        const tsr_node *given = &values->children[i];
        struct value value = scope_resolve(scope, given);
        const struct field *field = find_field(given->key);
        if (is_list_value(given->key)) {
            *list_slot(lists, given->key) = value;
        } else if (!field) {
            return tsr_fail(err, TSR_E_CONFIG, "family %s, line %d: unknown value \"%s\"",
                            node_get(spec->family, "family")->text, given->line, given->key);
        } else if (value.kind != TSR_NODE_NULL) {
            tsr_status st = set_field(spec, field, &value, err);
            if (st != TSR_OK) return st;
        }
    }
    return TSR_OK;
}

/* `if` is a map of config keys and the values they must have. */
static bool condition_holds(const struct value_scope *scope, const tsr_node *conditions) {
    for (uint64_t i = 0; conditions && i < conditions->count; i++) {
        const tsr_node *wanted = &conditions->children[i];
        const tsr_node *found = scope_lookup(scope, wanted->key, strlen(wanted->key));
        struct value value = {.kind = TSR_NODE_NULL, .text = ""};
        if (found) value = scope_resolve(scope, found);
        if (!value_matches(&value, wanted)) return false;
    }
    return true;
}

static tsr_status apply_conditions(struct spec *spec, const struct value_scope *scope, struct lists *lists,
                                   tsr_error *err) {
    const tsr_node *when = node_get(spec->family, "when");
    for (uint64_t i = 0; when && i < when->count; i++) {
        if (!condition_holds(scope, node_get(&when->children[i], "if"))) continue;
        tsr_status st = apply_values(spec, scope, node_get(&when->children[i], "set"), lists, err);
        if (st != TSR_OK) return st;
    }
    return TSR_OK;
}

static void set_fallbacks(struct spec *spec) {
    for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0]; i++) {
        const struct field *field = &FIELDS[i];
        uint64_t count = (uint64_t)field->fallback;
        bool flag = field->fallback != 0;
        int32_t choice = 0;
        char *at = (char *)spec + field->at;
        switch (field->type) {
        case FIELD_COUNT: memcpy(at, &count, sizeof count); break;
        case FIELD_REAL: memcpy(at, &field->fallback, sizeof field->fallback); break;
        case FIELD_BOOL: memcpy(at, &flag, sizeof flag); break;
        case FIELD_CHOICE: memcpy(at, &choice, sizeof choice); break;
        }
    }
}

/* ---- what follows from the fields ---- */

#define DIMENSION_MAX 16777216

/* The numbers without which there is no model; the family says where in the config they stand. */
static tsr_status check_needed(const struct spec *spec, tsr_error *err) {
    const struct {
        const char *field, *what;
        uint64_t value;
    } needed[] = {{"hidden", "the hidden size", spec->hidden},
                  {"layers", "the number of layers", spec->layers},
                  {"heads", "the number of heads", spec->heads},
                  {"vocabulary", "the vocabulary size", spec->vocabulary}};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        const tsr_node *values = node_get(spec->family, "values"), *key = values ? node_get(values, needed[i].field) : NULL;
        if (needed[i].value) continue;
        return tsr_fail(err, TSR_E_INPUT, "config.json: %s is missing or 0%s%s", needed[i].what,
                        key && key->text[0] == '$' ? ": " : "", key && key->text[0] == '$' ? key->text + 1 : "");
    }
    return TSR_OK;
}

static tsr_status check_experts(const struct spec *spec, tsr_error *err) {
    if (!spec->experts) return TSR_OK;
    if (!spec->experts_per_token || spec->experts_per_token > spec->experts) {
        return tsr_fail(err, TSR_E_INPUT, "config.json: %llu experts a token of %llu experts",
                        (unsigned long long)spec->experts_per_token, (unsigned long long)spec->experts);
    }
    if (spec->expert_groups < 2) return TSR_OK;
    if (spec->experts % spec->expert_groups || !spec->expert_groups_chosen ||
        spec->expert_groups_chosen > spec->expert_groups) {
        return tsr_fail(err, TSR_E_INPUT, "config.json: %llu of %llu groups of %llu experts cannot be chosen",
                        (unsigned long long)spec->expert_groups_chosen, (unsigned long long)spec->expert_groups,
                        (unsigned long long)spec->experts);
    }
    return TSR_OK;
}

/* Frequencies are powers of the base, divided by the factor; from 0 or less they are no numbers. */
static tsr_status check_rope(const struct spec *spec, tsr_error *err) {
    if (spec->rope == ROPE_NONE) return TSR_OK;
    if (!(spec->rope_theta > 0)) {
        return tsr_fail(err, TSR_E_INPUT, "config.json: base %g of the rotary frequencies, expected more than 0",
                        spec->rope_theta);
    }
    if (spec->scaling != SCALING_NONE && !(spec->scaling_factor > 0)) {
        return tsr_fail(err, TSR_E_INPUT, "config.json: factor %g of the rotary frequencies, expected more than 0",
                        spec->scaling_factor);
    }
    return TSR_OK;
}

static tsr_status check_dimensions(const struct spec *spec, tsr_error *err) {
    tsr_status needed = check_needed(spec, err);
    if (needed != TSR_OK) return needed;
    if (spec->hidden > DIMENSION_MAX || spec->layers > 4096 || spec->heads > 65536 || spec->head_dim > 65536 ||
        spec->vocabulary > (1u << 28) || spec->intermediate > DIMENSION_MAX || spec->experts > 65536 ||
        spec->kv_heads > spec->heads || spec->nope_dim > 65536 || spec->rope_dim > 65536) {
        return tsr_fail(err, TSR_E_INPUT, "config.json: a dimension is beyond what this engine computes");
    }
    if (spec->kv_heads == 0 || spec->heads % spec->kv_heads) {
        return tsr_fail(err, TSR_E_INPUT, "config.json: %llu query heads cannot share %llu key/value heads",
                        (unsigned long long)spec->heads, (unsigned long long)spec->kv_heads);
    }
    if (spec->head_dim == 0 || spec->rotary_dim % 2 || spec->rotary_dim > spec->head_dim) {
        return tsr_fail(err, TSR_E_INPUT, "config.json: rotary part of %llu does not fit heads of %llu",
                        (unsigned long long)spec->rotary_dim, (unsigned long long)spec->head_dim);
    }
    tsr_status st = check_experts(spec, err);
    return st == TSR_OK ? check_rope(spec, err) : st;
}

static void derive_dimensions(struct spec *spec) {
    if (spec->attention == ATTENTION_LATENT) {
        spec->head_dim = spec->nope_dim + spec->rope_dim;
        spec->kv_heads = spec->heads;
        spec->rotary_dim = spec->rope_dim;
    }
    if (!spec->head_dim && spec->heads) spec->head_dim = spec->hidden / spec->heads;
    if (!spec->kv_heads) spec->kv_heads = spec->heads;
    if (!spec->v_head_dim) spec->v_head_dim = spec->head_dim;
    if (!spec->intermediate) spec->intermediate = 4 * spec->hidden;
    if (!spec->embed_width) spec->embed_width = spec->hidden;
    if (!spec->rotary_dim) spec->rotary_dim = (uint64_t)((double)spec->head_dim * spec->rotary_fraction);
    if (spec->rope == ROPE_NONE) spec->rotary_dim = 0;
    if (!spec->expert_intermediate) spec->expert_intermediate = spec->intermediate;
    if (spec->shared_experts) spec->shared_intermediate = spec->shared_experts * spec->expert_intermediate;
    if (spec->embed_sqrt) spec->embed_scale = (float)sqrt((double)spec->hidden);
    if (spec->qk_norm_eps == 0) spec->qk_norm_eps = spec->norm_eps;
    /* Configs that give the trained context mean its ratio to the whole context, not `factor`. */
    bool has_original = spec->scaling_original > 0;
    if (!has_original) spec->scaling_original = (double)spec->context;
    spec->scaling_stretch = has_original ? (double)spec->context / spec->scaling_original : spec->scaling_factor;
}

/* Number of a list at a layer, `fallback` when there is no list. */
static double list_number(const struct value *list, uint64_t layer, double fallback) {
    if (list->kind != TSR_NODE_LIST || layer >= list->node->count) return fallback;
    return list->node->children[layer].number;
}

static bool list_contains(const struct value *list, uint64_t layer) {
    for (uint64_t i = 0; list->kind == TSR_NODE_LIST && i < list->node->count; i++) {
        if (list->node->children[i].number == (double)layer) return true;
    }
    return false;
}

/* Attention kind of a layer from attention_types [[["global", "local"], repeats], ...] (GPT-Neo). */
static const char *expand_types(const tsr_node *groups, uint64_t layer) {
    for (uint64_t i = 0; i < groups->count; i++) {
        const tsr_node *group = &groups->children[i];
        if (group->kind != TSR_NODE_LIST || group->count != 2 || group->children[0].kind != TSR_NODE_LIST) return NULL;
        const tsr_node *names = &group->children[0];
        double total = (double)names->count * group->children[1].number;
        if ((double)layer < total) return names->children[layer % names->count].text;
        layer -= (uint64_t)total;
    }
    return NULL;
}

/* Whether this layer rotates: by list, by every n-th left out, or only where a window is. */
static bool layer_has_rope(const struct spec *spec, struct lists *lists, uint64_t layer, bool windowed) {
    const struct value *rope_layers = list_slot(lists, "rope_layers");
    if (spec->rope == ROPE_NONE) return false;
    if (value_text_is(rope_layers, "windowed")) return windowed;
    if (rope_layers->kind == TSR_NODE_LIST) return list_number(rope_layers, layer, 1) != 0;
    return !spec->no_rope_interval || (layer + 1) % spec->no_rope_interval != 0;
}

/* Whether this layer sees only a window: by name, from a layer on, by pattern, or all. */
static bool layer_is_windowed(const struct spec *spec, struct lists *lists, uint64_t layer) {
    const struct value *types = list_slot(lists, "window_types"), *groups = list_slot(lists, "attn_types");
    const struct value *name = list_slot(lists, "window_name");
    if (!spec->window) return false;
    const char *kind = NULL;
    if (types->kind == TSR_NODE_LIST && layer < types->node->count) kind = types->node->children[layer].text;
    if (!kind && groups->kind == TSR_NODE_LIST) kind = expand_types(groups->node, layer);
    if (kind) return value_text_is(name, kind);
    if (spec->window_without_rope) return !layer_has_rope(spec, lists, layer, false);
    if (spec->window_pattern) return (layer + 1) % spec->window_pattern != 0;
    return layer >= spec->window_from;
}

static bool layer_is_sparse(const struct spec *spec, struct lists *lists, uint64_t layer) {
    if (!spec->experts || layer < spec->first_dense) return false;
    if (list_contains(list_slot(lists, "dense_layers"), layer)) return false;
    return !spec->sparse_step || (layer + 1) % spec->sparse_step == 0;
}

static float layer_scale(const struct spec *spec, struct lists *lists, uint64_t layer) {
    const struct value *dim = list_slot(lists, "attn_scale_dim");
    double scale = 1 / sqrt((double)spec->head_dim);
    if (dim->kind == TSR_NODE_NUMBER && dim->number > 0) scale = 1 / sqrt(dim->number);
    if (spec->attn_scale > 0) scale = spec->attn_scale;
    if (spec->attention == ATTENTION_LATENT && spec->scaling_mscale_all > 0) {
        double temperature = yarn_temperature(spec->scaling_factor, spec->scaling_mscale_all);
        scale *= temperature * temperature;
    }
    if (spec->scale_by_layer) scale /= (double)(layer + 1);
    return (float)scale;
}

static tsr_status lay_out_layers(const tsr_host *host, struct spec *spec, struct lists *lists, tsr_error *err) {
    spec->layer = host->alloc(host, spec->layers * sizeof *spec->layer);
    if (!spec->layer) return tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu layers", (unsigned long long)spec->layers);
    for (uint64_t i = 0; i < spec->layers; i++) {
        struct layer_spec *layer = &spec->layer[i];
        bool windowed = layer_is_windowed(spec, lists, i);
        layer->window = windowed ? spec->window : 0;
        layer->rope = layer_has_rope(spec, lists, i, windowed);
        layer->local_rope = windowed && spec->rope_local_theta > 0;
        layer->sparse = layer_is_sparse(spec, lists, i);
        layer->attn_scale = layer_scale(spec, lists, i);
    }
    return TSR_OK;
}

/* Copies a list of rotary_dim / 2 numbers. */
static tsr_status copy_factors(const tsr_host *host, const struct spec *spec, const struct value *list, const char *name,
                               const double **factors, tsr_error *err) {
    uint64_t count = spec->rotary_dim / 2;
    if (spec->scaling != SCALING_LONGROPE) return TSR_OK;
    if (list->kind != TSR_NODE_LIST || list->node->count != count) {
        return tsr_fail(err, TSR_E_INPUT, "config.json: rope_scaling.%s: expected a list of %llu numbers", name,
                        (unsigned long long)count);
    }
    double *copy = host->alloc(host, count * sizeof *copy);
    if (!copy) return tsr_fail(err, TSR_E_NOMEM, "out of memory for rope factors");
    for (uint64_t i = 0; i < count; i++) copy[i] = list->node->children[i].number;
    *factors = copy;
    return TSR_OK;
}

const tsr_node *spec_family(const tsr_node *config, const tsr_node *families) {
    const tsr_node *type = node_get(config, "model_type");
    for (uint64_t i = 0; type && families && i < families->count; i++) {
        const tsr_node *family = &families->children[i];
        if (node_get(family, "family") && node_list_has(node_get(family, "model_types"), type->text)) return family;
    }
    return NULL;
}

tsr_status spec_init(const tsr_model_setup *setup, struct spec *spec, tsr_error *err) {
    *spec = (struct spec){.family = spec_family(setup->config, setup->families)};
    struct lists lists = {0};
    if (!spec->family) return tsr_fail(err, TSR_E_UNSUPPORTED, "config.json: no family description knows this model_type");
    struct value_scope scope = {setup->config, node_get(spec->family, "defaults")};
    set_fallbacks(spec);
    tsr_status st = scope_check_keys(&scope, spec->family, err);
    if (st == TSR_OK) st = apply_values(spec, &scope, node_get(spec->family, "values"), &lists, err);
    if (st == TSR_OK) st = apply_conditions(spec, &scope, &lists, err);
    if (st != TSR_OK) return st;
    derive_dimensions(spec);
    st = check_dimensions(spec, err);
    if (st == TSR_OK) st = lay_out_layers(setup->host, spec, &lists, err);
    if (st == TSR_OK) st = copy_factors(setup->host, spec, list_slot(&lists, "long_factor"), "long_factor", &spec->long_factor, err);
    if (st == TSR_OK) st = copy_factors(setup->host, spec, list_slot(&lists, "short_factor"), "short_factor", &spec->short_factor, err);
    return st;
}

void spec_clear(const tsr_host *host, struct spec *spec) {
    host->free(host, spec->layer);
    host->free(host, (void *)(uintptr_t)spec->long_factor);
    host->free(host, (void *)(uintptr_t)spec->short_factor);
    *spec = (struct spec){0};
}
