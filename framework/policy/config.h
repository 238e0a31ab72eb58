/* SPDX-License-Identifier: Apache-2.0
 *
 * The YAML job (docs/config.md): which roles, which rule for which tensor, which codec with which parameters. Every mistake
 * is one TSR_E_CONFIG with file:line:column and, where there is one, the nearest valid name. */
#ifndef POLICY_CONFIG_H
#define POLICY_CONFIG_H

#include "pattern.h"

#include "gate_config.h"

#include <base/arena.h>
#include <base/digest.h>
#include <plugin/param_bind.h>
#include <plugin/registry.h>
#include <stdbool.h>

#define CONFIG_DAMPING_DEFAULT 0.01
#define CONFIG_ROW_ERROR_DEFAULT 0.03 /* relative RMS error that a row of the index regime may have */

/* What a rule demands of each tensor it takes; 0: nothing. Checked against the information bound and the trial. */
struct config_request {
    double max_bits;  /* payload bits a weight */
    double min_ratio; /* source bytes against payload bytes */
    double min_cos;
    double max_error; /* relative squared error D */
};

/* A codec of a stack behind the first: it encodes what those before it left over. */
struct config_stage {
    const tsr_codec *codec;
    const struct registry_plugin *plugin;
    const struct param_given *given;
    uint64_t given_count;
    struct param_set params;
    bool free_bits;
};

#define CONFIG_STAGES_MAX 4
#define CONFIG_FREE_PARAM "bits" /* the parameter that may be `auto` */

/* What the output may be. */
enum config_budget_kind {
    BUDGET_NONE,
    BUDGET_BITS,  /* bits a weight, everything that is stored counted */
    BUDGET_BYTES, /* of the files that hold tensors */
    BUDGET_FREE,  /* bits a weight of the tensors whose bits are auto, on average: fits any model */
    BUDGET_KLD,   /* nats: mean divergence from the model, at most */
    BUDGET_TOP1   /* share of positions that keep their most probable token, at least */
};

struct config_budget {
    enum config_budget_kind kind;
    double value;
    const char *text; /* on which outputs are compared; NULL: nothing is measured */
    uint64_t positions, window;
    double confidence; /* with which a bound of kld or top1 must hold */
    uint32_t line, column;
};

struct config_rule {
    const char *const *roles;               /* NULL-terminated, or NULL for any */
    const struct pattern *const *patterns;  /* NULL-terminated, or NULL for any */
    uint64_t dtypes;                        /* TSR_DTYPE_BIT mask, 0 for any */
    int32_t regime;                         /* TSR_REGIME_*, or -1 for any */
    const tsr_codec *codec;
    const struct registry_plugin *plugin;   /* where codec came from */
    const struct param_given *given;        /* parameters as written */
    uint64_t given_count;
    struct param_set params;
    bool free_bits;         /* bits: auto: the budget decides (plan_solve.c) */
    const struct config_stage *more; /* the rest of a stack of codecs */
    uint64_t more_count;
    const struct config_stage *index; /* a signature codec whose index is stored beside the tensor, or NULL */
    const char *group;      /* which tensors share a dictionary: GROUP_ROLE, GROUP_ROLE_SHAPE or a name; NULL: none do */
    uint32_t stride;        /* 0: the role's */
    double row_error_max;   /* index regime: relative RMS bound of each row, 0 for none; -1: not given */
    bool optional;          /* may match nothing */
    bool no_feedback;       /* errors are not fed back, whatever the statistics hold */
    double damping;         /* of the second moments, in the mean of their diagonal */
    struct config_request request;
    uint32_t line, column;
};

/* Groups that follow from what a tensor is; any other text is the name of one group. */
#define GROUP_ROLE "role"
#define GROUP_ROLE_SHAPE "role+shape"

struct config {
    const char *path; /* as in messages; "(built in)" for the default */
    struct digest digest; /* of the text */
    const char *roles; /* "auto" or a name */
    uint32_t roles_line, roles_column; /* 0 when the file does not say */
    struct config_rule *rules;
    uint64_t rule_count;
    struct gate_config gates;
    struct config_budget budget;
};

/* Parses and binds against the registry. All memory is the arena's. */
tsr_status config_parse(const char *text, size_t size, const char *path, const struct registry *registry,
                        struct arena *arena, struct config *config, tsr_error *err);
/* The config of `compress` without -c: everything lossless. */
tsr_status config_default(const struct registry *registry, struct arena *arena, struct config *config, tsr_error *err);
/* Path of what the user named with -c: a file, or NAME.yaml in one of folders[]. NULL when there is none. */
const char *config_locate(const char *name, const char *const *folders, uint64_t folder_count, struct arena *arena);
/* Reads the file that was located. TSR_E_IO or what config_parse says. */
tsr_status config_load(const char *path, const struct registry *registry, struct arena *arena, struct config *config,
                       tsr_error *err);

/* No budget, with the defaults of how one is measured. */
void config_budget_init(struct config_budget *budget);
/* The key in a config: "kld". */
const char *config_budget_name(enum config_budget_kind kind);

/* "path:line:column: what" of a rule. TSR_E_CONFIG. [any] */
tsr_status config_rule_fail(tsr_error *err, const struct config *config, const struct config_rule *rule,
                            const char *format, ...) TSR_PRINTF(4, 5);

#endif
