/* SPDX-License-Identifier: Apache-2.0
 *
 * The assemble stage: finished parts, blobs, indexes and copies become the staged folder. It can be done again at any
 * time, since the parts stay until the output is published: disk use is at most twice the output. */
#ifndef PIPELINE_ASSEMBLE_H
#define PIPELINE_ASSEMBLE_H

#include "manifest.h"

struct assembly {
    const struct checkpoint *checkpoint;
    const struct plan *plan;
    const struct work *work;
    const struct parts *parts;
    struct layout *layout; /* a config.json that is no object becomes a plain copy */
    const struct env *env;
};

/* Fills the emptied staged folder; everything in it is synced. Facts: arena memory. */
tsr_status assemble(const struct assembly *assembly, struct arena *arena, struct source_facts *facts, tsr_error *err);

#endif
