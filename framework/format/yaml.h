/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML as a tree that remembers where everything stood. Strict: one document, no anchors or aliases (they can explode),
 * no tags, no duplicate keys, keys are plain strings, at most 64 levels and 1 MiB. Knows nothing of configs. */
#ifndef FORMAT_YAML_H
#define FORMAT_YAML_H

#include <base/arena.h>
#include <stdbool.h>
#include <tessera/status.h>

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    uint32_t line, column; /* from 1 */
    bool quoted;           /* scalar that was quoted: always text */
    const char *text;      /* scalar; NULL for lists and maps */
    uint64_t count;        /* items of a list, pairs of a map */
    struct yaml_node *items; /* [count]; values of a map */
    struct yaml_node *keys;  /* [count] for a map */
};

/* All memory is the arena's. `subject` is the file name in messages: "job.yaml:3:5: ...". TSR_E_CONFIG. */
tsr_status yaml_parse(const char *text, size_t size, const char *subject, struct arena *arena, struct yaml_node *root,
                      tsr_error *err);
/* Value of a key, or NULL. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

#endif
