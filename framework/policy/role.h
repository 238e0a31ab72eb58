/* SPDX-License-Identifier: Apache-2.0
 *
 * What each tensor is for: the files in roles/ map tensor names to role, regime, stride and orientation. Roles come from these
 * files only, never from a shape and never from a model plugin. Unknown tensors are exact, with a warning. */
#ifndef POLICY_ROLE_H
#define POLICY_ROLE_H

#include <base/arena.h>
#include <base/env.h>
#include <stdbool.h>
#include <tessera/tensor.h>

/* How the stored shape becomes rows (one row: one output unit) and columns. */
enum role_view {
    ROLE_VIEW_ROWS = 0,       /* [rows, ...]: the first dimension against all others; fused experts of rank 3 under
                                 ROLE_VIEW_LAST */
    ROLE_VIEW_LAST = 1,       /* [..., columns]: all dimensions but the last are rows ([E,out,in] is E*out rows) */
    ROLE_VIEW_TRANSPOSED = 2  /* [in, out] (GPT-2 Conv1D); rank 3 [E,in,out] likewise for each leading block */
};

struct role_assignment {
    const char *role;      /* "attn_q"; "unknown" when no rule matched */
    const char *component; /* "talker", "decoder" ..., "" when the family has one part */
    int32_t regime;        /* TSR_REGIME_* */
    uint32_t stride;       /* the role's walk through a row */
    enum role_view view;
    int64_t layer;         /* -1 outside layers */
    const char *file;      /* role file of the rule, NULL for unknown */
    uint32_t line;
};

struct role_set;

/* Rows and columns of the matrix that a codec sees. A vector is one row, a scalar 1 x 1. TSR_E_LIMIT when the product
 * leaves 64 bits. [any] */
tsr_status role_matrix(enum role_view view, uint64_t rank, const uint64_t *shape, uint64_t *rows, uint64_t *columns,
                       tsr_error *err);
/* A walk with `stride` reads columns 0, s, 2s, ..., then 1, 1+s, ...: each once if 1 <= s < columns (or s is 1, which
 * always does); anything else is TSR_E_CONFIG. [any] */
tsr_status role_check_stride(uint64_t stride, uint64_t columns, tsr_error *err);

/* Reads one role file (docs/roles.md). TSR_E_CONFIG with file:line:column, `path` as in messages. Memory is the arena's. */
tsr_status role_parse(const char *text, uint64_t size, const char *path, struct arena *arena, struct role_set **set,
                      tsr_error *err);
tsr_status role_load(const char *path, struct arena *arena, struct role_set **set, tsr_error *err);
/* Finds the file for `name`: "auto" is the file that lists config.json's `model_type` (NULL: there is none) under
 * model_types, or generic.yaml with a warning when no file does; a name that ends in .yaml is a path, any other NAME is
 * NAME.yaml in the folders. The first folder that has one wins; two files of one folder that list the same type are an
 * error. */
tsr_status role_find(const char *name, const char *model_type, const char *const *folders, uint64_t folder_count,
                     const struct env *env, struct arena *arena, struct role_set **set, tsr_error *err);
/* Role of one tensor. A stride written in the role file that is no bijection over the tensor's columns is TSR_E_CONFIG;
 * the role's own stride gives way to 1 in a tensor too narrow for it. [any] */
tsr_status role_assign(struct role_set *set, const char *tensor_name, uint64_t rank, const uint64_t *shape,
                       struct role_assignment *assignment, tsr_error *err);
const char *role_set_name(const struct role_set *set);

/* All role names that configs may use, NULL-terminated. */
const char *const *role_names(void);
const char *regime_name(int32_t regime); /* "exact", "index", "argmax" */

#endif
