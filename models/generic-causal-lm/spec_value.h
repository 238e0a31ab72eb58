/* SPDX-License-Identifier: Apache-2.0
 *
 * Values in a family description: literals, or references to config.json: "$head_dim|$d_kv|64" is the first of the
 * alternatives that is there and not null. A key that config.json lacks has the value of the description's `defaults`
 * (those of the published config class). */
#ifndef CAUSAL_LM_SPEC_VALUE_H
#define CAUSAL_LM_SPEC_VALUE_H

#include "node_util.h"

#include <tessera/status.h>

struct value_scope {
    const tsr_node *config;
    const tsr_node *defaults; /* flat map, dotted keys */
};

/* A finished value; kind TSR_NODE_NULL when no alternative holds. Text of literals is not NUL-terminated. */
struct value {
    int32_t kind;
    double number;
    const char *text;
    size_t text_length;
    const tsr_node *node; /* for lists */
};

/* Node of config.json (or defaults) by dotted key; NULL when absent everywhere. */
const tsr_node *scope_lookup(const struct value_scope *scope, const char *key, size_t length);
struct value scope_resolve(const struct value_scope *scope, const tsr_node *node);
/* True when the value equals the literal node: numbers and bools by number, texts by text, null by absence, "*" anything
 * but null. */
bool value_matches(const struct value *value, const tsr_node *literal);
bool value_text_is(const struct value *value, const char *text);

/* Every key of config.json (two levels deep) must be read by the description, listed in its `ignore` or `check`, or be one
 * that never changes what is computed. TSR_E_INPUT names the first that is not, or a `check` that does not hold. */
tsr_status scope_check_keys(const struct value_scope *scope, const tsr_node *family, tsr_error *err);

#endif
