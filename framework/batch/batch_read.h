/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files that read JOBS.yaml share. Private to batch_config.c and batch_expand.c. */
#ifndef BATCH_BATCH_READ_H
#define BATCH_BATCH_READ_H

#include "batch_config.h"

#include <format/yaml.h>

/* The keys of `defaults` and of one entry of `jobs`, merged: NULL where nothing was said. */
struct batch_entry {
    const struct yaml_node *node; /* the entry itself */
    const struct yaml_node *models, *configs, *name, *output, *needs;
    struct batch_job pattern;     /* everything that is the same in each of its jobs */
};

/* Grows batch->jobs by the entry's models x configs. `needs` of each job stay unresolved: see batch_resolve. */
struct batch_list {
    struct batch *batch;
    const char *folder;           /* that relative paths start from */
    const char *output_template;  /* of the file */
    const char ***needs;          /* [count]: names, NULL-terminated */
    const struct yaml_node **need_nodes; /* [count] */
    uint64_t capacity;
};
tsr_status batch_expand(struct batch_list *list, const struct batch_entry *entry, tsr_error *err);
/* Names and outputs are unique, needs exist and form no circle. */
tsr_status batch_resolve(struct batch_list *list, tsr_error *err);

/* A path of the file: relative ones start in its folder. Arena memory, or NULL. */
const char *batch_path(const struct batch_list *list, const char *path);
tsr_status batch_no_memory(const struct batch *batch, tsr_error *err);

#endif
