/* SPDX-License-Identifier: Apache-2.0
 *
 * The `gates` of a config: thresholds that published bytes must pass (docs/config.md, "Gates"). Values come from one table,
 * so that keys, ranges and places cannot drift apart. */
#include <stddef.h>
#include <string.h>

#include "config_read.h"

enum value_kind { VALUE_REAL, VALUE_COUNT, VALUE_TEXT, VALUE_BOOL };

struct gate_value {
    const char *gate;
    const char *key;
    enum value_kind kind;
    double minimum, maximum;
    size_t at; /* in struct gate_config */
};

#define AT(member) offsetof(struct gate_config, member)

static const struct gate_value VALUES[] = {
    {"storage", "min_ratio", VALUE_REAL, 0.01, 1e6, AT(storage.min_ratio)},
    {"storage", "optional", VALUE_BOOL, 0, 0, AT(storage.optional)},
    {"parity", "text", VALUE_TEXT, 0, 0, AT(parity.text)},
    {"parity", "positions", VALUE_COUNT, 1, 1e9, AT(parity.positions)},
    {"parity", "window", VALUE_COUNT, 2, 1e6, AT(parity.window)},
    {"parity", "skip", VALUE_COUNT, 0, 1e6, AT(parity.skip)},
    {"parity", "min_top1", VALUE_REAL, 0, 1, AT(parity.min_top1)},
    {"parity", "max_kld", VALUE_REAL, 0, 100, AT(parity.max_kld)},
    {"parity", "confidence", VALUE_REAL, 0.5, 0.999999, AT(parity.confidence)},
    {"parity", "optional", VALUE_BOOL, 0, 0, AT(parity.optional)},
    {"rollout", "prompts", VALUE_TEXT, 0, 0, AT(rollout.prompts)},
    {"rollout", "tokens", VALUE_COUNT, 1, 1e6, AT(rollout.tokens)},
    {"rollout", "min_match", VALUE_REAL, 0, 1, AT(rollout.min_match)},
    {"rollout", "optional", VALUE_BOOL, 0, 0, AT(rollout.optional)},
    {"reference", "fixture", VALUE_TEXT, 0, 0, AT(reference.fixture)},
    {"reference", "tolerance", VALUE_REAL, 0, 1, AT(reference.tolerance)},
    {"reference", "optional", VALUE_BOOL, 0, 0, AT(reference.optional)},
    {"chain", "text", VALUE_TEXT, 0, 0, AT(chain.text)},
    {"chain", "tokens", VALUE_COUNT, 1, 1e6, AT(chain.tokens)},
    {"chain", "min_cos", VALUE_REAL, -1, 1, AT(chain.min_cos)},
    {"chain", "optional", VALUE_BOOL, 0, 0, AT(chain.optional)},
    {"speech", "text", VALUE_TEXT, 0, 0, AT(speech.text)},
    {"speech", "profile", VALUE_TEXT, 0, 0, AT(speech.profile)},
    {"speech", "frames", VALUE_COUNT, 1, 1e6, AT(speech.frames)},
    {"speech", "max_difference", VALUE_REAL, 0, 100, AT(speech.max_difference)},
    {"speech", "max_mel", VALUE_REAL, 0, 100, AT(speech.max_mel)},
    {"speech", "optional", VALUE_BOOL, 0, 0, AT(speech.optional)},
    {"width", "min_cos", VALUE_REAL, -1, 1, AT(width.min_cos)},
    {"width", "max_error", VALUE_REAL, 0, 100, AT(width.max_error)},
    {"width", "optional", VALUE_BOOL, 0, 0, AT(width.optional)},
};
#define VALUE_ROWS (sizeof VALUES / sizeof VALUES[0])

struct gate_row {
    const char *name;
    size_t wanted_at; /* in struct gate_config */
};

static const struct gate_row GATES[] = {
    {"storage", AT(storage.wanted)}, {"parity", AT(parity.wanted)}, {"rollout", AT(rollout.wanted)},
    {"reference", AT(reference.wanted)}, {"chain", AT(chain.wanted)}, {"width", AT(width.wanted)},
    {"speech", AT(speech.wanted)},
};
#define GATE_ROWS (sizeof GATES / sizeof GATES[0])

void gate_config_init(struct gate_config *gates) {
    *gates = (struct gate_config){0};
    gates->parity.window = 512;
    gates->parity.confidence = 0.95;
    gates->parity.max_kld = -1;
    gates->rollout.tokens = 64;
    gates->rollout.min_match = 1;
    gates->reference.tolerance = -1;
    gates->chain.tokens = 512;
    gates->chain.min_cos = -1;
    gates->speech.frames = 150;
    gates->speech.max_difference = 0.05;
    gates->speech.max_mel = 0.15;
    gates->width.min_cos = -1;
    gates->width.max_error = -1;
}

bool gate_config_any(const struct gate_config *gates) {
    return gates->storage.wanted || gates->parity.wanted || gates->rollout.wanted || gates->reference.wanted ||
           gates->chain.wanted || gates->width.wanted || gates->speech.wanted;
}

static tsr_status read_bool(const struct config_reader *reader, const struct yaml_node *node, const char *key, bool *flag,
                            tsr_error *err) {
    bool is_true = node->text && !strcmp(node->text, "true"), is_false = node->text && !strcmp(node->text, "false");
    *flag = is_true;
    if ((is_true || is_false) && !node->quoted) return TSR_OK;
    return yaml_fail(err, reader->path, node, "%s: expected true or false", key);
}

static tsr_status read_value(const struct config_reader *reader, const struct gate_value *row, const struct yaml_node *node,
                             struct gate_config *gates, tsr_error *err) {
    char *to = (char *)gates + row->at;
    int64_t count = 0;
    tsr_status st = TSR_OK;
    switch (row->kind) {
    case VALUE_REAL: return yaml_real(node, row->key, row->minimum, row->maximum, reader->path, (double *)(void *)to, err);
    case VALUE_TEXT: return config_text(reader, node, row->key, (const char **)(void *)to, err);
    case VALUE_BOOL: return read_bool(reader, node, row->key, (bool *)to, err);
    case VALUE_COUNT:
        st = yaml_integer(node, row->key, (int64_t)row->minimum, (int64_t)row->maximum, reader->path, &count, err);
        *(uint64_t *)(void *)to = (uint64_t)count;
        return st;
    }
    return st;
}

static tsr_status read_gate(const struct config_reader *reader, const struct gate_row *gate, const struct yaml_node *map,
                            struct gate_config *gates, tsr_error *err) {
    const char *keys[VALUE_ROWS + 1] = {0};
    size_t count = 0;
    for (size_t i = 0; i < VALUE_ROWS; i++) {
        if (!strcmp(VALUES[i].gate, gate->name)) keys[count++] = VALUES[i].key;
    }
    tsr_status st = yaml_expect(map, YAML_MAP, gate->name, reader->path, err);
    if (st == TSR_OK) st = yaml_known_keys(map, keys, reader->path, err);
    for (size_t i = 0; i < VALUE_ROWS && st == TSR_OK; i++) {
        const struct yaml_node *node = strcmp(VALUES[i].gate, gate->name) ? NULL : yaml_get(map, VALUES[i].key);
        if (node) st = read_value(reader, &VALUES[i], node, gates, err);
    }
    *(bool *)((char *)gates + gate->wanted_at) = true;
    return st;
}

/* A gate without a threshold, or without its material, would pass everything. */
static tsr_status check_whole(const struct config_reader *reader, const struct yaml_node *node,
                              const struct gate_config *gates, tsr_error *err) {
    const struct {
        bool wrong;
        const char *what;
    } needs[] = {
        {gates->storage.wanted && gates->storage.min_ratio <= 0, "storage: needs min_ratio"},
        {gates->parity.wanted && !gates->parity.text, "parity: needs text"},
        {gates->parity.wanted && gates->parity.min_top1 <= 0 && gates->parity.max_kld < 0, "parity: needs min_top1 or max_kld"},
        {gates->parity.wanted && gates->parity.skip >= gates->parity.window, "parity: skip must be below window"},
        {gates->rollout.wanted && !gates->rollout.prompts, "rollout: needs prompts"},
        {gates->reference.wanted && !gates->reference.fixture, "reference: needs fixture"},
        {gates->chain.wanted && !gates->chain.text && !gates->parity.text, "chain: needs text, its own or parity's"},
        {gates->chain.wanted && gates->chain.min_cos < 0, "chain: needs min_cos"},
        {gates->speech.wanted && !gates->speech.text && !gates->parity.text, "speech: needs text, its own or parity's"},
        {gates->speech.wanted && gates->speech.profile && strcmp(gates->speech.profile, "default"),
         "speech: the one profile is default"},
        {gates->width.wanted && gates->width.min_cos < 0 && gates->width.max_error < 0, "width: needs min_cos or max_error"},
    };
    for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++) {
        if (needs[i].wrong) return yaml_fail(err, reader->path, node, "%s", needs[i].what);
    }
    return TSR_OK;
}

tsr_status config_read_gates(const struct config_reader *reader, const struct yaml_node *root, struct gate_config *gates,
                             tsr_error *err) {
    static const char *const names[] = {"storage", "parity", "rollout", "reference", "chain", "width", "speech", NULL};
    const struct yaml_node *node = yaml_get(root, "gates");
    gate_config_init(gates);
    if (!node) return TSR_OK;
    tsr_status st = yaml_expect(node, YAML_MAP, "gates", reader->path, err);
    if (st == TSR_OK) st = yaml_known_keys(node, names, reader->path, err);
    for (size_t i = 0; i < GATE_ROWS && st == TSR_OK; i++) {
        const struct yaml_node *gate = yaml_get(node, GATES[i].name);
        if (gate) st = read_gate(reader, &GATES[i], gate, gates, err);
    }
    return st == TSR_OK ? check_whole(reader, node, gates, err) : st;
}
