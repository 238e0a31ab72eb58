/* SPDX-License-Identifier: Apache-2.0
 *
 * budget: what it may hold is settled (docs/config.md, "Keys of later versions"), so a slip in it is reported as such, and
 * a right one as what this version cannot do. */
#include <string.h>

#include "config_read.h"

static tsr_status check_budget(const struct config_reader *reader, const struct yaml_node *map, tsr_error *err) {
    static const char *const keys[] = {"bits_per_weight", NULL};
    double number;
    tsr_status st = yaml_expect(map, YAML_MAP, "budget", reader->path, err);
    if (!st) st = yaml_known_keys(map, keys, reader->path, err);
    for (uint64_t i = 0; !st && i < map->count; i++) {
        st = yaml_real(&map->items[i], keys[0], 0.01, 64, reader->path, &number, err);
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
    const struct yaml_node *budget = yaml_get(root, "budget");
    tsr_status st = budget ? check_budget(reader, budget, err) : TSR_OK;
    return st ? st : refuse(reader, root, "budget", err);
}
