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

/* One codec of the stack by which a tensor is stored; most stacks have one. */
struct plan_stage {
    const tsr_codec *codec;
    const struct registry_plugin *plugin; /* where it came from */
    struct param_set params;
};

/* A cheap look at some rows of a tensor; rows 0: none was taken. */
struct plan_probe {
    uint64_t rows;        /* looked at */
    double mean_cosine;   /* mean |cos| of pairs of rows */
    double random_cosine; /* what it is for independent directions: 0.8 / sqrt(columns) */
    double participation; /* of the spectrum of the rows' Gram matrix, 1..rows */
    double kurtosis;      /* fourth moment over squared second: 3 for Gaussian weights */
    double low_rank;      /* share of the energy in the 8 strongest directions */
    double length_spread; /* longest row over the middle one */
};

/* Advice (docs/checks.md). */
struct plan_check {
    const char *id;
    const char *tensor; /* NULL: the whole plan */
    const char *why;
    const char *instead;
};

/* Tensors that share a dictionary of their first codec. */
struct plan_group {
    const char *name;  /* for people: what the config's `group` made of it */
    uint64_t *members; /* entries in checkpoint order, no aliases */
    uint64_t count;
    void *dictionary; /* [bytes], owned; NULL when no member uses it any more */
    uint64_t bytes;
    struct digest digest; /* of these bytes */
};

struct plan_entry {
    const struct checkpoint_tensor *source;
    struct role_assignment role;
    int32_t regime;               /* strictest over all aliases of this storage */
    uint64_t rows, columns;       /* matrix view */
    bool transposed;              /* the codec sees the transposed source */
    const struct config_rule *rule; /* NULL: the built-in rule "unknown tensor -> exact" */
    const tsr_codec *codec;       /* the first of the stack, mostly the only one */
    const struct registry_plugin *plugin; /* where codec came from */
    struct param_set params;
    const struct plan_stage *more; /* the rest of the stack */
    uint64_t more_count;
    const struct plan_stage *index; /* makes a search index of what is decoded, stored beside it; NULL: none */
    int64_t group;                /* into plan.groups: whose dictionary the first codec uses, or -1 */
    double row_error_max;         /* index regime; 0: no bound */
    /* From the statistics, of lossy codecs only. */
    const float *column_weight;   /* [columns], mean 1; or NULL */
    const float *row_weight;      /* [rows], mean 1; or NULL */
    const int8_t *column_scale;   /* [columns], of numeric/column_scale.h; with feedback; or NULL */
    double importance;            /* of a free tensor: what row_weight times this is, docs/budget.md; 0: not known */
    const char *moment;           /* the name whose second moments error feedback uses; NULL: none */
    struct digest moment_digest;  /* of these */
    double damping;               /* added to their diagonal, in its mean, before the codec is asked what it needs */
    /* Of a free tensor, from the budget. */
    double free_bits;             /* 0 of all others */
    double loss;                  /* predicted, nats a position */
    int64_t alias_of;             /* entry whose bytes equal ours, or -1 */
    struct digest digest;         /* of the source bytes */
    const char *note;             /* "falls back to passthrough: ..." or NULL */
    /* Predictions (measured on a sample, marked as such wherever printed). 0 for aliases. */
    uint64_t predicted_bytes;     /* of payloads and index */
    uint64_t index_bytes;         /* of the index alone */
    double predicted_error;       /* relative squared error D; 0 when exact */
    double predicted_cosine;      /* 1 when exact */
    double bound_error;           /* estimate of the smallest D at that rate (bound.h); 0 when exact */
    struct plan_probe probe;      /* lossy codecs, and where predictions are asked for */
    bool trial_is_whole;          /* the sample was the whole tensor: bytes are exact */
};

/* How the bits of free tensors are divided: `bits` a weight on average, or 0: as the config's budget says. */
struct plan_allocation {
    double bits;
    bool uniform;      /* the same for all, whatever their importance */
    bool will_measure; /* a budget that only a measurement can settle is no error: some bits do to begin with */
};

/* What came of the budget. */
struct plan_budget {
    bool solved; /* there is one */
    bool uniform;
    bool known;          /* the importance of every free tensor is */
    double bits;         /* a weight of the free tensors, on average */
    double loss;         /* predicted divergence of the output, nats a position; 0 unless known */
    double allowed_bytes; /* of the files that hold tensors; infinite where the budget is none of size */
    uint64_t weights;    /* of the free tensors */
    uint64_t tensors, known_tensors;
};

struct plan {
    struct arena arena;
    struct plan_entry *entries; /* in checkpoint order */
    uint64_t count;
    struct plan_check *checks;
    uint64_t check_count;
    struct plan_group *groups;
    uint64_t group_count;
    struct plan_budget budget;
    const char *role_set;
    uint64_t source_bytes; /* tensors, aliases included */
    uint64_t unique_bytes; /* without aliases */
    uint64_t predicted_bytes; /* payloads and dictionaries; container overhead excluded */
    uint64_t unknown_count;
};

/* Stage `index` of the entry's stack, 0..more_count. */
static inline struct plan_stage plan_stage_at(const struct plan_entry *entry, uint64_t index) {
    return index ? entry->more[index - 1] : (struct plan_stage){entry->codec, entry->plugin, entry->params};
}

/* True when decoding all stages gives the source bytes. */
static inline bool plan_entry_is_exact(const struct plan_entry *entry) {
    return plan_stage_at(entry, entry->more_count).codec->flags & TSR_CODEC_EXACT;
}

/* Where trained dictionaries are kept between runs; all members may be NULL. A key names everything that training
 * depends on. */
struct plan_dictionaries {
    void *ctx;
    /* *bytes (mem_free) and *size, or TSR_OK with *bytes NULL when there is none of that key. */
    tsr_status (*load)(void *ctx, const char *key, void **bytes, uint64_t *size, tsr_error *err);
    tsr_status (*save)(void *ctx, const char *key, const void *bytes, uint64_t size, tsr_error *err);
};

/* Statistics of what enters the weights (docs/stats.md). */
struct plan_statistics {
    void *ctx;
    /* Once, when the digests of all tensors are known: TSR_E_CONFIG when the statistics are of another model. */
    tsr_status (*check)(void *ctx, const struct plan *plan, tsr_error *err);
    /* In all of these *found is false when there are none. Second moments of the inputs of a weight, [columns]. */
    tsr_status (*moments)(void *ctx, const char *name, uint64_t columns, float *moments, bool *found, tsr_error *err);
    /* What an error of each output costs, [rows], and of each row that is looked up by its index. */
    tsr_status (*fisher)(void *ctx, const char *name, uint64_t rows, float *fisher, bool *found, tsr_error *err);
    tsr_status (*lookup)(void *ctx, const char *name, uint64_t rows, float *fisher, bool *found, tsr_error *err);
    /* The whole matrix of second moments, [columns][columns]: a digest of it, and itself. */
    tsr_status (*moment_digest)(void *ctx, const char *name, uint64_t columns, struct digest *digest, bool *found,
                                tsr_error *err);
    tsr_status (*moment)(void *ctx, const char *name, uint64_t columns, float *moment, tsr_error *err);
};

struct plan_options {
    const char *const *role_folders;
    uint64_t role_folder_count;
    bool predict; /* run trial encodings; without it predicted_* stay 0, fallbacks are decided all the same */
    const struct plan_dictionaries *dictionaries; /* or NULL */
    const struct plan_statistics *statistics; /* or NULL */
    struct plan_allocation allocation;
};

/* TSR_E_CONFIG names rule or tensor. Zero-initialise `plan`; plan_close in any case. The checkpoint and config must
 * outlive the plan. */
tsr_status plan_make(const struct checkpoint *checkpoint, const struct config *config, const struct registry *registry,
                     const struct plan_options *options, const struct env *env, struct plan *plan, tsr_error *err);
void plan_close(struct plan *plan);

#endif
