/* SPDX-License-Identifier: Apache-2.0
 *
 * The YAML job (docs/config.md): which roles, which rule for which tensor, which codec with which parameters. Every mistake
 * is one TSR_E_CONFIG with file:line:column and, where there is one, the nearest valid name. */
#ifndef POLICY_CONFIG_H
#define POLICY_CONFIG_H

#include "pattern.h"

#include <base/arena.h>
#include <plugin/param_bind.h>
#include <plugin/registry.h>
#include <stdbool.h>

struct config_rule {
    const char *const *roles;    /* NULL-terminated, or NULL for any */
    const char *const *patterns; /* "match": globs or "re:...", or NULL for any */
    const char *const *dtypes;   /* or NULL for any */
    int32_t regime;              /* TSR_REGIME_*, or -1 for any */
    const tsr_codec *codec;
    struct param_set params;
    uint32_t stride;        /* 0: the role's */
    double row_error_max;   /* index regime: relative RMS bound of each row */
    uint32_t line;
};

struct config {
    const char *path; /* as in messages; "(built in)" for the default */
    const char *roles; /* "auto" or a name */
    struct config_rule *rules;
    uint64_t rule_count;
};

/* Parses and binds against the registry. Keys of later versions (budget, gates, group, lists of codecs) parse and are
 * refused as "not in this version". All memory is the arena's. */
tsr_status config_parse(const char *text, size_t size, const char *path, const struct registry *registry,
                        struct arena *arena, struct config *config, tsr_error *err);
/* The config of `compress` without -c: everything lossless. */
tsr_status config_default(const struct registry *registry, struct arena *arena, struct config *config, tsr_error *err);
/* Path of what the user named with -c: a file, or NAME.yaml in one of folders[]. NULL when there is none. */
const char *config_locate(const char *name, const char *const *folders, uint64_t folder_count, struct arena *arena);

#endif
