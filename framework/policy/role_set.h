/* SPDX-License-Identifier: Apache-2.0
 *
 * A role file in memory, shared by its reader (role_read.c) and by the assignment (role.c). Nobody else includes this. */
#ifndef POLICY_ROLE_SET_H
#define POLICY_ROLE_SET_H

#include "pattern.h"
#include "role.h"

/* What a role means unless a rule says otherwise. */
struct role_info {
    const char *name;
    int32_t regime;
    uint32_t stride;
};

struct role_rule {
    struct pattern *pattern; /* over the name behind a prefix */
    const struct role_info *role;
    const char *component;
    int32_t regime;
    uint32_t stride; /* 0: the role's */
    enum role_view view;
    uint32_t line;
};

struct role_set {
    const char *path;
    const char *family;
    const char **model_types;
    uint64_t model_type_count;
    const char **prefixes; /* at least one; "" for names as they are */
    uint64_t prefix_count;
    struct role_rule *rules;
    uint64_t rule_count;
};

/* The role of that name, or NULL. "unknown" is none: it is what no rule matched. [any] */
const struct role_info *role_info_find(const char *name);

#endif
