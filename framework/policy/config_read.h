/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files that read a config share. Private to config*.c. */
#ifndef POLICY_CONFIG_READ_H
#define POLICY_CONFIG_READ_H

#include "config.h"

#include <format/yaml.h>

struct config_reader {
    const char *path;
    const struct registry *registry;
    struct arena *arena;
};

/* `codec` and `params` of a rule: one codec or a stack of them (config_codec.c). rule->regime is read before. */
tsr_status config_read_codecs(const struct config_reader *reader, const struct yaml_node *map, struct config_rule *rule,
                              tsr_error *err);

/* `index` of a rule, where it has one. */
tsr_status config_read_index(const struct config_reader *reader, const struct yaml_node *map, struct config_rule *rule,
                             tsr_error *err);

/* One item of `rules`. */
tsr_status config_read_rule(const struct config_reader *reader, const struct yaml_node *node, struct config_rule *rule,
                            tsr_error *err);

/* `gates`, or the defaults where there are none. */
tsr_status config_read_gates(const struct config_reader *reader, const struct yaml_node *root, struct gate_config *gates,
                             tsr_error *err);

/* `budget`, or the defaults with BUDGET_NONE where there is none. */
tsr_status config_read_budget(const struct config_reader *reader, const struct yaml_node *root,
                              struct config_budget *budget, tsr_error *err);

/* A value that must be text: single and not empty. */
tsr_status config_text(const struct config_reader *reader, const struct yaml_node *node, const char *what,
                       const char **text, tsr_error *err);

/* One value or a list of them: the items and how many. An empty list is an error. */
struct config_items {
    const struct yaml_node *nodes;
    uint64_t count;
};
tsr_status config_one_or_more(const struct config_reader *reader, const struct yaml_node *node, const char *what,
                              struct config_items *items, tsr_error *err);

tsr_status config_no_memory(const struct config_reader *reader, tsr_error *err);

#endif
