/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions asked of parsed documents. */
#ifndef CAUSAL_LM_NODE_UTIL_H
#define CAUSAL_LM_NODE_UTIL_H

#include <stdbool.h>
#include <string.h>
#include <tessera/node.h>

/* Child of a map by key, or NULL; NULL for a map that is NULL or no map. */
static inline const tsr_node *node_get(const tsr_node *map, const char *key) {
    if (!map || map->kind != TSR_NODE_MAP) return NULL;
    for (uint64_t i = 0; i < map->count; i++) {
        if (!strcmp(map->children[i].key, key)) return &map->children[i];
    }
    return NULL;
}

static inline bool node_list_has(const tsr_node *list, const char *text) {
    for (uint64_t i = 0; list && i < list->count; i++) {
        if (!strcmp(list->children[i].text, text)) return true;
    }
    return false;
}

#endif
