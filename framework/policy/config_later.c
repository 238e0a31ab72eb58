/* SPDX-License-Identifier: Apache-2.0
 *
 * budget, gates, group and stacks of codecs: what they may hold is settled (docs/config.md, "Keys of later versions"),
 * so a slip in them is reported as such, and a right one as what this version cannot do. */
#include <string.h>

#include "config_read.h"

enum value_kind { VALUE_NUMBER, VALUE_TEXT };

/* A key of a gate or of the budget and what stands behind it. */
struct value_row {
    const char *map;
    const char *key;
    enum value_kind kind;
    double minimum, maximum;
};

static const struct value_row VALUES[] = {
    {"budget", "bits_per_weight", VALUE_NUMBER, 0.01, 64},
    {"storage", "min_ratio", VALUE_NUMBER, 1, 1e6},
    {"parity", "text", VALUE_TEXT, 0, 0},
    {"parity", "positions", VALUE_NUMBER, 1, 1e9},
    {"parity", "min_top1", VALUE_NUMBER, 0, 1},
    {"parity", "max_kld", VALUE_NUMBER, 0, 100},
    {"parity", "confidence", VALUE_NUMBER, 0.5, 0.999999},
    {"rollout", "prompts", VALUE_TEXT, 0, 0},
    {"rollout", "tokens", VALUE_NUMBER, 1, 1e6},
    {"rollout", "min_match", VALUE_NUMBER, 0, 1},
    {"reference", "fixture", VALUE_TEXT, 0, 0},
    {"chain", "min_cos", VALUE_NUMBER, 0, 1},
    {"speech", "profile", VALUE_TEXT, 0, 0},
};
#define VALUE_COUNT (sizeof VALUES / sizeof VALUES[0])

static const struct value_row *value_of(const char *map, const char *key) {
    for (size_t i = 0; i < VALUE_COUNT; i++) {
        if (!strcmp(VALUES[i].map, map) && !strcmp(VALUES[i].key, key)) return &VALUES[i];
    }
    return NULL;
}

/* A map whose keys are those that VALUES gives under `name`. */
static tsr_status check_map(const struct config_reader *reader, const struct yaml_node *map, const char *name,
                            tsr_error *err) {
    const char *keys[VALUE_COUNT + 1] = {0};
    size_t count = 0;
    for (size_t i = 0; i < VALUE_COUNT; i++) {
        if (!strcmp(VALUES[i].map, name)) keys[count++] = VALUES[i].key;
    }
    tsr_status st = yaml_expect(map, YAML_MAP, name, reader->path, err);
    if (!st) st = yaml_known_keys(map, keys, reader->path, err);
    for (uint64_t i = 0; !st && i < map->count; i++) {
        const struct value_row *row = value_of(name, map->keys[i].text);
        const char *text;
        double number;
        st = row->kind == VALUE_TEXT
                 ? config_text(reader, &map->items[i], row->key, &text, err)
                 : yaml_real(&map->items[i], row->key, row->minimum, row->maximum, reader->path, &number, err);
    }
    return st;
}

static tsr_status check_gates(const struct config_reader *reader, const struct yaml_node *gates, tsr_error *err) {
    static const char *const names[] = {"storage", "parity", "rollout", "reference", "chain", "speech", NULL};
    tsr_status st = yaml_expect(gates, YAML_MAP, "gates", reader->path, err);
    if (!st) st = yaml_known_keys(gates, names, reader->path, err);
    for (uint64_t i = 0; !st && i < gates->count; i++) {
        st = check_map(reader, &gates->items[i], gates->keys[i].text, err);
    }
    return st;
}

/* At the key, which is what has to go. */
static tsr_status refuse(const struct config_reader *reader, const struct yaml_node *map, const char *key,
                         tsr_error *err) {
    for (uint64_t i = 0; i < map->count; i++) {
        if (strcmp(map->keys[i].text, key)) continue;
        return yaml_fail(err, reader->path, &map->keys[i], "%s is not in this version", key);
    }
    return TSR_OK;
}

tsr_status config_refuse_later(const struct config_reader *reader, const struct yaml_node *root, tsr_error *err) {
    const struct yaml_node *budget = yaml_get(root, "budget"), *gates = yaml_get(root, "gates");
    tsr_status st = budget ? check_map(reader, budget, "budget", err) : TSR_OK;
    if (!st && gates) st = check_gates(reader, gates, err);
    if (!st) st = refuse(reader, root, "budget", err);
    if (!st) st = refuse(reader, root, "gates", err);
    return st;
}

tsr_status config_refuse_later_of_rule(const struct config_reader *reader, const struct yaml_node *rule,
                                       tsr_error *err) {
    const struct yaml_node *group = yaml_get(rule, "group"), *codec = yaml_get(rule, "codec");
    const char *text;
    struct config_items items;
    tsr_status st = group ? config_text(reader, group, "group", &text, err) : TSR_OK;
    if (!st && group) st = refuse(reader, rule, "group", err);
    if (st || !codec || codec->kind != YAML_LIST) return st;
    st = config_one_or_more(reader, codec, "codec", &items, err);
    return st ? st : yaml_fail(err, reader->path, codec, "codec: a stack of codecs is not in this version");
}
