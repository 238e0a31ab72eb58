/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML as a tree that remembers where everything stood. Strict: one document, no anchors or aliases (they can explode),
 * no tags, no duplicate keys, keys are plain strings, at most 64 levels and 1 MiB. Knows nothing of configs. */
#ifndef FORMAT_YAML_H
#define FORMAT_YAML_H

#include <base/arena.h>
#include <stdbool.h>
#include <tessera/status.h>

#define YAML_BYTES_MAX (UINT64_C(1) << 20)
#define YAML_LEVELS_MAX 64

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    uint32_t line, column; /* from 1 */
    bool quoted;           /* scalar that was quoted: always text */
    const char *text;      /* scalar, "" for an absent value; NULL for lists and maps */
    uint64_t count;        /* items of a list, pairs of a map */
    struct yaml_node *items; /* [count]; values of a map */
    struct yaml_node *keys;  /* [count] for a map */
};

/* All memory is the arena's. `subject` is the file name in messages: "job.yaml:3:5: ...". TSR_E_CONFIG. */
tsr_status yaml_parse(const char *text, size_t size, const char *subject, struct arena *arena, struct yaml_node *root,
                      tsr_error *err);
/* Value of a key, or NULL. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/* ---- what readers of a tree say and ask; all TSR_E_CONFIG with the position of the node ---- */

/* "subject:line:column: what". [any] */
tsr_status yaml_fail(tsr_error *err, const char *subject, const struct yaml_node *node, const char *format, ...)
    TSR_PRINTF(4, 5);
/* That the node is of this kind; `what` names it: "rules: expected a list, found a map". [any] */
tsr_status yaml_expect(const struct yaml_node *node, enum yaml_kind kind, const char *what, const char *subject,
                       tsr_error *err);
/* That a map has no key outside names[] (NULL-terminated); an unknown one gets the nearest name. [any] */
tsr_status yaml_known_keys(const struct yaml_node *map, const char *const *names, const char *subject, tsr_error *err);
/* Numbers in a range; unquoted scalars that are nothing but a number. [any] */
tsr_status yaml_integer(const struct yaml_node *node, const char *what, int64_t minimum, int64_t maximum,
                        const char *subject, int64_t *value, tsr_error *err);
tsr_status yaml_real(const struct yaml_node *node, const char *what, double minimum, double maximum,
                     const char *subject, double *value, tsr_error *err);

#endif
