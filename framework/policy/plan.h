/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan: for each tensor of one checkpoint what will be done, why, and what it will cost. Made from config, roles and a
 * trial encoding of a sample of rows; the same on every machine. Writes nothing. */
#ifndef POLICY_PLAN_H
#define POLICY_PLAN_H

#include "config.h"
#include "role.h"

#include <base/digest.h>
#include <format/checkpoint.h>

struct plan_entry {
    const struct checkpoint_tensor *source;
    struct role_assignment role;
    int32_t regime;               /* strictest over all aliases of this storage */
    uint64_t rows, columns;       /* matrix view */
    bool transposed;              /* the codec sees the transposed source */
    const struct config_rule *rule; /* NULL: the built-in rule "unknown tensor -> exact" */
    const tsr_codec *codec;
    const struct registry_plugin *plugin; /* where codec came from */
    struct param_set params;
    double row_error_max;         /* index regime; 0: no bound */
    int64_t alias_of;             /* entry whose bytes equal ours, or -1 */
    struct digest digest;         /* of the source bytes */
    const char *note;             /* "falls back to passthrough: ..." or NULL */
    /* Predictions (measured on a sample, marked as such wherever printed). 0 for aliases. */
    uint64_t predicted_bytes;
    double predicted_error;       /* relative squared error D; 0 when exact */
    double predicted_cosine;      /* 1 when exact */
    double bound_error;           /* estimate of the smallest D at that rate (bound.h); 0 when exact */
    bool trial_is_whole;          /* the sample was the whole tensor: bytes are exact */
};

struct plan {
    struct arena arena;
    struct plan_entry *entries; /* in checkpoint order */
    uint64_t count;
    const char *role_set;
    uint64_t source_bytes; /* tensors, aliases included */
    uint64_t unique_bytes; /* without aliases */
    uint64_t predicted_bytes; /* payloads; container overhead excluded */
    uint64_t unknown_count;
};

struct plan_options {
    const char *const *role_folders;
    uint64_t role_folder_count;
    bool predict; /* run trial encodings; without it predicted_* stay 0, fallbacks are decided all the same */
};

/* TSR_E_CONFIG names rule or tensor. Zero-initialise `plan`; plan_close in any case. The checkpoint and config must
 * outlive the plan. */
tsr_status plan_make(const struct checkpoint *checkpoint, const struct config *config, const struct registry *registry,
                     const struct plan_options *options, const struct env *env, struct plan *plan, tsr_error *err);
void plan_close(struct plan *plan);

#endif
