/* SPDX-License-Identifier: Apache-2.0
 *
 * One rule: which tensors it takes, what it does with them, what it demands of the result. */
#include <string.h>

#include <base/str.h>
#include <format/dtype.h>
#include <tessera/ext/block.h>
#include <tessera/ext/dictionary.h>

#include "config_read.h"
#include "role.h"

/* "what: unknown NAME "x"; did you mean "y"?" */
static tsr_status fail_unknown(const struct config_reader *reader, const struct yaml_node *node, const char *what,
                               const char *const *names, tsr_error *err) {
    const char *nearest = text_nearest(node->text, names);
    if (!nearest) return yaml_fail(err, reader->path, node, "unknown %s \"%s\"", what, node->text);
    return yaml_fail(err, reader->path, node, "unknown %s \"%s\"; did you mean \"%s\"?", what, node->text, nearest);
}

static bool is_among(const char *name, const char *const *names) {
    while (*names && strcmp(*names, name)) names++;
    return *names != NULL;
}

/* ---- which tensors ---- */

static tsr_status read_role(const struct config_reader *reader, const struct yaml_node *node, struct config_rule *rule,
                            tsr_error *err) {
    struct config_items items;
    tsr_status st = config_one_or_more(reader, node, "role", &items, err);
    if (st) return st;
    const char **roles = arena_alloc(reader->arena, items.count + 1, sizeof *roles);
    if (!roles) return config_no_memory(reader, err);
    for (uint64_t i = 0; i < items.count; i++) {
        if (!is_among(items.nodes[i].text, role_names())) {
            return fail_unknown(reader, &items.nodes[i], "role", role_names(), err);
        }
        if (is_among(items.nodes[i].text, roles)) {
            return yaml_fail(err, reader->path, &items.nodes[i], "role \"%s\" is given twice", items.nodes[i].text);
        }
        roles[i] = items.nodes[i].text;
    }
    rule->roles = roles;
    return TSR_OK;
}

static tsr_status read_match(const struct config_reader *reader, const struct yaml_node *node,
                             struct config_rule *rule, tsr_error *err) {
    struct config_items items;
    tsr_status st = config_one_or_more(reader, node, "match", &items, err);
    if (st) return st;
    const struct pattern **patterns = arena_alloc(reader->arena, items.count + 1, sizeof *patterns);
    if (!patterns) return config_no_memory(reader, err);
    for (uint64_t i = 0; i < items.count; i++) {
        tsr_error inner = {0};
        struct pattern *pattern = NULL;
        st = pattern_compile(items.nodes[i].text, reader->arena, &pattern, &inner);
        if (st == TSR_E_CONFIG) return yaml_fail(err, reader->path, &items.nodes[i], "match: %s", inner.message);
        if (st) return config_no_memory(reader, err);
        patterns[i] = pattern;
    }
    rule->patterns = patterns;
    return TSR_OK;
}

static tsr_status read_dtype(const struct config_reader *reader, const struct yaml_node *node,
                             struct config_rule *rule, tsr_error *err) {
    struct config_items items;
    const char *names[TSR_DTYPE_COUNT] = {0};
    for (int32_t dtype = 1; dtype < TSR_DTYPE_COUNT; dtype++) names[dtype - 1] = dtype_name(dtype);
    tsr_status st = config_one_or_more(reader, node, "dtype", &items, err);
    for (uint64_t i = 0; i < items.count && !st; i++) {
        int32_t dtype = dtype_from_name(items.nodes[i].text);
        if (dtype == TSR_DTYPE_OPAQUE) return fail_unknown(reader, &items.nodes[i], "dtype", names, err);
        rule->dtypes |= TSR_DTYPE_BIT(dtype);
    }
    return st;
}

static tsr_status read_regime(const struct config_reader *reader, const struct yaml_node *node,
                              struct config_rule *rule, tsr_error *err) {
    static const char *const names[] = {
        [TSR_REGIME_EXACT] = "exact", [TSR_REGIME_INDEX] = "index", [TSR_REGIME_ARGMAX] = "argmax", NULL};
    const char *text;
    tsr_status st = config_text(reader, node, "regime", &text, err);
    if (st) return st;
    for (int32_t regime = 0; names[regime]; regime++) {
        if (strcmp(names[regime], text)) continue;
        rule->regime = regime;
        return TSR_OK;
    }
    return fail_unknown(reader, node, "regime", names, err);
}

/* ---- numbers and demands ---- */

static tsr_status read_number(const struct config_reader *reader, const struct yaml_node *map, const char *key,
                              const double range[2], double *value, tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, key);
    return node ? yaml_real(node, key, range[0], range[1], reader->path, value, err) : TSR_OK;
}

static tsr_status read_request(const struct config_reader *reader, const struct yaml_node *map,
                               struct config_request *request, tsr_error *err) {
    static const double bits[2] = {0.001, 64}, ratios[2] = {1, 1e6}, cosines[2] = {0.001, 1}, errors[2] = {1e-12, 1};
    tsr_status st = read_number(reader, map, "max_bits", bits, &request->max_bits, err);
    if (!st) st = read_number(reader, map, "min_ratio", ratios, &request->min_ratio, err);
    if (!st) st = read_number(reader, map, "min_cos", cosines, &request->min_cos, err);
    if (!st) st = read_number(reader, map, "max_error", errors, &request->max_error, err);
    return st;
}

static tsr_status read_row_error(const struct config_reader *reader, const struct yaml_node *map,
                                 struct config_rule *rule, tsr_error *err) {
    static const double range[2] = {0, 1};
    const struct yaml_node *node = yaml_get(map, "row_error_max");
    rule->row_error_max = -1;
    tsr_status st = read_number(reader, map, "row_error_max", range, &rule->row_error_max, err);
    for (uint64_t i = 0; node && !st && i < rule->given_count; i++) {
        if (strcmp(rule->given[i].name, "row_error_max")) continue;
        st = yaml_fail(err, reader->path, node, "row_error_max is given twice, here and in params");
    }
    return st;
}

/* *value stays as it is where the key is not given. */
static tsr_status read_bool(const struct config_reader *reader, const struct yaml_node *map, const char *key,
                            bool *value, tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, key);
    const char *text = NULL;
    if (!node) return TSR_OK;
    tsr_status st = config_text(reader, node, key, &text, err);
    if (st) return st;
    *value = !strcmp(text, "true");
    if (!node->quoted && (*value || !strcmp(text, "false"))) return TSR_OK;
    return yaml_fail(err, reader->path, node, "%s: expected true or false, found \"%s\"", key, text);
}

/* Feedback goes around the first codec of a stack: it sees the weights themselves. */
static tsr_status read_feedback(const struct config_reader *reader, const struct yaml_node *map,
                                struct config_rule *rule, tsr_error *err) {
    static const double range[2] = {1e-6, 10};
    const tsr_codec *codec = rule->codec;
    const struct yaml_node *node = yaml_get(map, "feedback");
    bool wanted = node != NULL;
    rule->damping = CONFIG_DAMPING_DEFAULT;
    tsr_status st = read_bool(reader, map, "feedback", &wanted, err);
    if (!st) st = read_number(reader, map, "damping", range, &rule->damping, err);
    rule->no_feedback = node && !wanted;
    if (st || !wanted || (codec->get_extension && codec->get_extension(TSR_BLOCK_ID))) return st;
    return yaml_fail(err, reader->path, node, "codec %s does not quantise some columns at a time, feedback has no meaning for it",
                     codec->name);
}

/* Dictionaries belong to the first codec of a stack: it sees the weights themselves. */
static tsr_status read_group(const struct config_reader *reader, const struct yaml_node *map, struct config_rule *rule,
                             tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, "group");
    tsr_status st = node ? config_text(reader, node, "group", &rule->group, err) : TSR_OK;
    if (st || !node) return st;
    const tsr_codec *codec = rule->codec;
    if (codec->get_extension && codec->get_extension(TSR_DICTIONARY_ID)) return TSR_OK;
    return yaml_fail(err, reader->path, node, "codec %s shares nothing between tensors, group has no meaning for it",
                     codec->name);
}

static tsr_status read_stride(const struct config_reader *reader, const struct yaml_node *map,
                              struct config_rule *rule, tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, "stride");
    int64_t stride = 0;
    tsr_status st = node ? yaml_integer(node, "stride", 1, UINT32_MAX, reader->path, &stride, err) : TSR_OK;
    rule->stride = (uint32_t)stride;
    return st;
}

static tsr_status read_filters(const struct config_reader *reader, const struct yaml_node *map,
                               struct config_rule *rule, tsr_error *err) {
    const struct yaml_node *role = yaml_get(map, "role"), *match = yaml_get(map, "match");
    const struct yaml_node *dtype = yaml_get(map, "dtype"), *regime = yaml_get(map, "regime");
    tsr_status st = role ? read_role(reader, role, rule, err) : TSR_OK;
    if (!st && match) st = read_match(reader, match, rule, err);
    if (!st && dtype) st = read_dtype(reader, dtype, rule, err);
    if (!st && regime) st = read_regime(reader, regime, rule, err);
    return st;
}

tsr_status config_read_rule(const struct config_reader *reader, const struct yaml_node *node, struct config_rule *rule,
                            tsr_error *err) {
    static const char *const keys[] = {"role",     "match",    "dtype",     "regime",  "codec",     "params",
                                       "stride",   "group",    "index",    "optional",  "max_bits", "min_ratio", "min_cos",
                                       "max_error", "row_error_max", "feedback", "damping", NULL};
    *rule = (struct config_rule){.line = node->line, .column = node->column, .regime = -1};
    tsr_status st = yaml_expect(node, YAML_MAP, "a rule", reader->path, err);
    if (!st) st = yaml_known_keys(node, keys, reader->path, err);
    if (!st) st = read_filters(reader, node, rule, err);
    if (!st) st = config_read_codecs(reader, node, rule, err);
    if (!st) st = config_read_index(reader, node, rule, err);
    if (!st) st = read_group(reader, node, rule, err);
    if (!st) st = read_stride(reader, node, rule, err);
    if (!st) st = read_row_error(reader, node, rule, err);
    if (!st) st = read_bool(reader, node, "optional", &rule->optional, err);
    if (!st) st = read_feedback(reader, node, rule, err);
    if (!st) st = read_request(reader, node, &rule->request, err);
    return st;
}
