/* SPDX-License-Identifier: Apache-2.0
 *
 * How calibrate divides the memory that it was given: what it cannot do without, then matrices, then states that need not
 * go to disk. */
#ifndef PIPELINE_CALIBRATE_MEMORY_H
#define PIPELINE_CALIBRATE_MEMORY_H

#include <measure/fisher_layers.h>

/* What the bound is about. */
struct memory_need {
    const struct open_model *model;
    struct walk_text text;
    struct fisher_options fisher; /* tokens 0: none */
    uint64_t widest;              /* inputs of the widest matrix that is kept; 0: none is */
    uint64_t decoded;             /* bytes of the largest tensor of a compressed model, 0 for a raw one */
    uint64_t fisher_values;       /* outputs of all operators and rows that are looked up */
    bool layers;                  /* one layer at a time */
    const struct env *env;
};

struct memory_plan {
    uint64_t total;      /* what there is */
    uint64_t there, back; /* what the way there, with one matrix, and the way back take at least */
    uint64_t matrices;   /* room for matrices that are gathered at once */
    uint64_t decoded;    /* room for decoded weights of a compressed model */
    uint64_t disk;       /* bytes of states that go to files */
    bool states_on_disk, fisher_on_disk;
};

/* TSR_E_CONFIG when the bound cannot be kept, naming one that can. */
tsr_status memory_plan_make(const struct memory_need *need, uint64_t total, struct memory_plan *plan, tsr_error *err);

#endif
