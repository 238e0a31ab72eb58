/* SPDX-License-Identifier: Apache-2.0
 *
 * What a user can have done: inspect, plan, compress, verify, decompress, diff, report. The program calls only these;
 * they print nothing and never exit. Results are JSON values whose members docs/cli.md documents, so that the terminal
 * view and --json cannot tell two stories. Functions are [instance] per env. */
#ifndef PIPELINE_JOB_H
#define PIPELINE_JOB_H

#include "shard.h"

#include <base/env.h>
#include <jansson.h>
#include <stdbool.h>
#include <plugin/registry.h>
#include <policy/plan.h>

/* Where data files are looked for; folders in order of preference. */
struct job_paths {
    const char *const *role_folders;
    uint64_t role_folder_count;
    const char *const *config_folders;
    uint64_t config_folder_count;
    const char *const *family_folders; /* descriptions of model families */
    uint64_t family_folder_count;
};

struct job_compress_options {
    const char *model;
    const char *config; /* file, profile name, or NULL for lossless */
    const char *output;
    uint64_t max_shard_bytes; /* 0: split as the source */
    bool force;               /* replace an existing output */
    bool restart;             /* throw away an unfinished run instead of resuming it */
    bool publish_anyway;      /* publish although a gate failed; the receipt says so */
    const char *gate_program; /* program that understands `tessera gate`; NULL: the one that runs */
    const char *plugin_path;  /* handed to it, or NULL */
    const char *stats;        /* statistics of the model's inputs (calibrate), or NULL */
    const char *store;        /* folder of encoded tensors that runs share, or NULL */
    const char *record;       /* file that keeps what came of it, or NULL: a finished run is then known to be one */
    struct shard shard;       /* encode this share only, into OUT.shard-I-of-N */
    const struct plan_allocation *allocation; /* a budget as it was solved before, or NULL */
    const json_t *probes;     /* what was measured then, for the receipt, or NULL */
    double target_kld;        /* above 0: the budget, whatever the config says */
    const char *probe_text;   /* text on which outputs are compared while a budget is settled; NULL: the config's */
    bool probe;               /* one of these outputs: no gates */
    uint64_t merge;           /* take the parts from so many such folders, which are then removed */
};

struct job_decompress_options {
    const char *output;
    const char *destination;
    bool force;            /* replace what is there */
    bool exact;            /* TSR_E_CONFIG unless all tensors come back bit for bit */
    uint64_t stage_limit;  /* stages of a stack of codecs to use, 0 for all */
    uint64_t codec_level;  /* parts that progressive codecs use, 0 for all */
};

/* Each sets *result on success (and, where said, on a verdict that failed); release with json_decref.
 *
 * Layout of an output: a folder with the source's files under their own names, also when MODEL is one file (OUT then
 * holds that file's name), or split by max_shard_bytes; tessera.json and tessera.run.json beside them. Neither of these
 * two is counted in a ratio: nothing of them is needed to decompress. Memory: one tensor in flight for each worker, at
 * most memory_bytes / 48 MiB of them (at least one). */

/* Files, dtypes, roles, duplicates, sizes. */
tsr_status job_inspect(const char *model, const struct job_paths *paths, const struct env *env, json_t **result,
                       tsr_error *err);
struct job_plan_options {
    const char *model, *config;
    const char *stats;   /* or NULL */
    double target_kld;   /* as for compress */
};
/* One object a tensor and the totals. Writes nothing, measures nothing. */
tsr_status job_plan(const struct job_plan_options *options, const struct registry *registry, const struct job_paths *paths,
                    const struct env *env, json_t **result, tsr_error *err);
/* Plan, encode (resuming what is there), assemble, verify from disk, run the config's gates in a fresh process, publish by
 * rename. *result is the receipt; with TSR_E_GATE, when nothing is published, what the gates found. */
tsr_status job_compress(const struct job_compress_options *options, const struct registry *registry,
                        const struct job_paths *paths, const struct env *env, json_t **result, tsr_error *err);
/* Checks every checksum and decodes every tile. On damage the status is TSR_E_CORRUPT, err tells the first, and *result
 * lists all: {"ok": false, "damage": [{"file","tensor","what"}...]}. */
tsr_status job_verify(const char *output, const struct registry *registry, const struct env *env, json_t **result,
                      tsr_error *err);
/* Does the job of options->output again from its source, beside it, and compares receipts member by member. *result:
 * {"ok", "different", "differences": [{"member", "receipt", "replay"}]}; TSR_E_GATE when anything differs. */
tsr_status job_replay(const struct job_compress_options *options, const struct registry *registry,
                      const struct job_paths *paths, const struct env *env, json_t **result, tsr_error *err);
/* Back to plain safetensors, every source file under its own name. */
tsr_status job_decompress(const struct job_decompress_options *options, const struct registry *registry,
                          const struct env *env, json_t **result, tsr_error *err);
/* Two checkpoints, raw or compressed, tensor by tensor. */
tsr_status job_diff(const char *a, const char *b, const struct registry *registry, const struct env *env,
                    json_t **result, tsr_error *err);
/* The receipt of a finished output with run facts beside it. */
tsr_status job_report(const char *output, json_t **result, tsr_error *err);

#endif
