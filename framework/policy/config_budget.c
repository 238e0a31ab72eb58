/* SPDX-License-Identifier: Apache-2.0
 *
 * budget: how large the output may be, or how far it may be from the model, and on which text that is measured
 * (docs/config.md, "Budget"). */
#include <string.h>

#include <base/str.h>

#include "config_read.h"

static const struct {
    const char *key;
    enum config_budget_kind kind;
    double minimum, maximum;
} FIGURES[] = {
    {"bits_per_weight", BUDGET_BITS, 0.01, 64},
    {"bytes", BUDGET_BYTES, 1, 1e18},
    {"free_bits", BUDGET_FREE, 0.1, 16},
    {"kld", BUDGET_KLD, 1e-6, 100},
    {"top1", BUDGET_TOP1, 0.01, 0.999999},
};
#define FIGURE_COUNT (sizeof FIGURES / sizeof FIGURES[0])

/* Bytes may be written as a size: 70M. */
static tsr_status read_bytes(const struct config_reader *reader, const struct yaml_node *node, double *value,
                             tsr_error *err) {
    uint64_t bytes = 0;
    tsr_status st = yaml_expect(node, YAML_SCALAR, "bytes", reader->path, err);
    if (st) return st;
    if (!text_to_bytes(node->text, &bytes) || bytes == 0) {
        return yaml_fail(err, reader->path, node, "bytes: \"%s\" is not a size such as 4096, 256M or 1Gi", node->text);
    }
    *value = (double)bytes;
    return TSR_OK;
}

static tsr_status read_figure(const struct config_reader *reader, const struct yaml_node *map, uint64_t index,
                              struct config_budget *budget, tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, FIGURES[index].key);
    if (!node) return TSR_OK;
    if (budget->kind) {
        return yaml_fail(err, reader->path, map, "budget: %s is given too, one figure is enough", FIGURES[index].key);
    }
    budget->kind = FIGURES[index].kind;
    if (budget->kind == BUDGET_BYTES) return read_bytes(reader, node, &budget->value, err);
    return yaml_real(node, FIGURES[index].key, FIGURES[index].minimum, FIGURES[index].maximum, reader->path,
                     &budget->value, err);
}

static tsr_status read_count(const struct config_reader *reader, const struct yaml_node *map, const char *key,
                             int64_t maximum, uint64_t *value, tsr_error *err) {
    const struct yaml_node *node = yaml_get(map, key);
    int64_t count = 0;
    tsr_status st = node ? yaml_integer(node, key, 1, maximum, reader->path, &count, err) : TSR_OK;
    if (!st && node) *value = (uint64_t)count;
    return st;
}

/* How the output is measured while it is looked for. */
static tsr_status read_probe(const struct config_reader *reader, const struct yaml_node *map,
                             struct config_budget *budget, tsr_error *err) {
    const struct yaml_node *text = yaml_get(map, "text"), *confidence = yaml_get(map, "confidence");
    tsr_status st = text ? config_text(reader, text, "text", &budget->text, err) : TSR_OK;
    if (!st) st = read_count(reader, map, "positions", INT64_C(1) << 40, &budget->positions, err);
    if (!st) st = read_count(reader, map, "window", 1 << 20, &budget->window, err);
    if (!st && confidence) {
        st = yaml_real(confidence, "confidence", 0.5, 0.999999, reader->path, &budget->confidence, err);
    }
    return st;
}

void config_budget_init(struct config_budget *budget) {
    *budget = (struct config_budget){.positions = 4096, .window = 512, .confidence = 0.95};
}

const char *config_budget_name(enum config_budget_kind kind) {
    for (uint64_t i = 0; i < FIGURE_COUNT; i++) {
        if (FIGURES[i].kind == kind) return FIGURES[i].key;
    }
    return "none";
}

tsr_status config_read_budget(const struct config_reader *reader, const struct yaml_node *root,
                              struct config_budget *budget, tsr_error *err) {
    static const char *const keys[] = {"bits_per_weight", "bytes",     "free_bits", "kld",        "top1",
                                       "text",            "positions", "window",    "confidence", NULL};
    const struct yaml_node *map = yaml_get(root, "budget");
    config_budget_init(budget);
    if (!map) return TSR_OK;
    tsr_status st = yaml_expect(map, YAML_MAP, "budget", reader->path, err);
    if (!st) st = yaml_known_keys(map, keys, reader->path, err);
    for (uint64_t i = 0; i < FIGURE_COUNT && !st; i++) st = read_figure(reader, map, i, budget, err);
    if (!st) st = read_probe(reader, map, budget, err);
    if (st) return st;
    budget->line = map->line;
    budget->column = map->column;
    if (budget->kind) return TSR_OK;
    return yaml_fail(err, reader->path, map, "budget: needs bits_per_weight, bytes, free_bits, kld or top1");
}
