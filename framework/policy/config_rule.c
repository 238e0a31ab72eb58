/* SPDX-License-Identifier: Apache-2.0
 *
 * One rule: which tensors it takes, what it does with them, what it demands of the result. */
#include <string.h>

#include <base/str.h>
#include <format/dtype.h>

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

/* ---- what is done ---- */

static tsr_status check_codec_kind(const struct config_reader *reader, const struct yaml_node *node,
                                   const struct config_rule *rule, tsr_error *err) {
    uint64_t flags = rule->codec->flags;
    if (flags & TSR_CODEC_EXACT) return TSR_OK;
    if (flags & TSR_CODEC_SIGNATURE) {
        return yaml_fail(err, reader->path, node, "codec %s makes signatures: an address is not a reconstruction",
                         rule->codec->name);
    }
    if (rule->regime != TSR_REGIME_EXACT) return TSR_OK;
    return yaml_fail(err, reader->path, node, "codec %s is lossy: the exact regime demands an exact codec",
                     rule->codec->name);
}

static tsr_status read_codec(const struct config_reader *reader, const struct yaml_node *map, struct config_rule *rule,
                             tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, "codec");
    const char *name;
    tsr_error inner = {0};
    if (!node) return yaml_fail(err, reader->path, map, "the rule has no codec");
    tsr_status st = config_text(reader, node, "codec", &name, err);
    if (st) return st;
    st = registry_codec(reader->registry, name, &rule->codec, &rule->plugin, &inner);
    if (st && st != TSR_E_CONFIG) {
        if (err) *err = inner;
        return st;
    }
    if (st) return yaml_fail(err, reader->path, node, "%s", inner.message);
    return check_codec_kind(reader, node, rule, err);
}

static bool has_param(const tsr_codec *codec, const char *name, int32_t *type) {
    for (uint64_t i = 0; i < codec->param_count; i++) {
        const tsr_param *param = param_at(codec, i);
        if (strcmp(param->name, name)) continue;
        *type = param->type;
        return true;
    }
    return false;
}

/* Text of a parameter as param_bind wants it: a scalar as it stands, a list as "[a, b]". */
static tsr_status param_text_of(const struct config_reader *reader, const struct yaml_node *node, const char *name,
                                const char **text, tsr_error *err) {
    struct str joined = {0};
    tsr_status st = TSR_OK;
    if (node->kind == YAML_MAP) return yaml_fail(err, reader->path, node, "parameter \"%s\": found a map", name);
    if (node->kind == YAML_SCALAR) return config_text(reader, node, name, text, err);
    for (uint64_t i = 0; i < node->count && !st; i++) {
        const char *item;
        st = config_text(reader, &node->items[i], name, &item, err);
        if (!st) str_add_format(&joined, "%s%s", i ? ", " : "", item);
    }
    if (!st) *text = arena_format(reader->arena, "[%s]", joined.length ? joined.text : "");
    if (!st && (joined.failed || !*text)) st = config_no_memory(reader, err);
    str_clear(&joined);
    return st;
}

static tsr_status read_param(const struct config_reader *reader, const struct yaml_node *key,
                             const struct yaml_node *value, const tsr_codec *codec, struct param_given *given,
                             tsr_error *err) {
    int32_t type = 0;
    bool known = has_param(codec, key->text, &type);
    given->name = key->text;
    given->text = "";
    tsr_status st = known ? param_text_of(reader, value, key->text, &given->text, err) : TSR_OK;
    if (st) return st;
    if (known && value->quoted && type != TSR_PARAM_CHOICE) {
        return yaml_fail(err, reader->path, value, "parameter \"%s\": found quoted text \"%s\", expected it unquoted",
                         key->text, value->text);
    }
    tsr_error inner = {0};
    st = param_check_given(codec, given, &inner);
    return st ? yaml_fail(err, reader->path, known ? value : key, "%s", inner.message) : TSR_OK;
}

static tsr_status read_params(const struct config_reader *reader, const struct yaml_node *map,
                              struct config_rule *rule, tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, "params");
    struct param_given *given = NULL;
    tsr_status st = node ? yaml_expect(node, YAML_MAP, "params", reader->path, err) : TSR_OK;
    if (!st && node) {
        given = arena_alloc(reader->arena, node->count, sizeof *given);
        if (!given) return config_no_memory(reader, err);
        rule->given = given;
        rule->given_count = node->count;
    }
    for (uint64_t i = 0; i < rule->given_count && !st; i++) {
        st = read_param(reader, &node->keys[i], &node->items[i], rule->codec, &given[i], err);
    }
    if (st) return st;
    tsr_error inner = {0};
    st = param_bind(rule->codec, rule->given, rule->given_count, reader->arena, &rule->params, &inner);
    if (st == TSR_E_NOMEM) return config_no_memory(reader, err);
    return st ? yaml_fail(err, reader->path, node ? node : map, "%s", inner.message) : TSR_OK;
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

static tsr_status read_optional(const struct config_reader *reader, const struct yaml_node *map,
                                struct config_rule *rule, tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, "optional");
    const char *text = NULL;
    if (!node) return TSR_OK;
    tsr_status st = config_text(reader, node, "optional", &text, err);
    if (st) return st;
    rule->optional = !strcmp(text, "true");
    if (!node->quoted && (rule->optional || !strcmp(text, "false"))) return TSR_OK;
    return yaml_fail(err, reader->path, node, "optional: expected true or false, found \"%s\"", text);
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
                                       "stride",   "group",    "optional",  "max_bits", "min_ratio", "min_cos",
                                       "max_error", "row_error_max", NULL};
    *rule = (struct config_rule){.line = node->line, .column = node->column, .regime = -1};
    tsr_status st = yaml_expect(node, YAML_MAP, "a rule", reader->path, err);
    if (!st) st = yaml_known_keys(node, keys, reader->path, err);
    if (!st) st = read_filters(reader, node, rule, err);
    if (!st) st = config_refuse_later_of_rule(reader, node, err);
    if (!st) st = read_codec(reader, node, rule, err);
    if (!st) st = read_params(reader, node, rule, err);
    if (!st) st = read_stride(reader, node, rule, err);
    if (!st) st = read_row_error(reader, node, rule, err);
    if (!st) st = read_optional(reader, node, rule, err);
    if (!st) st = read_request(reader, node, &rule->request, err);
    return st;
}
