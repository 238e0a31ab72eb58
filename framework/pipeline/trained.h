/* SPDX-License-Identifier: Apache-2.0
 *
 * Dictionaries that an unfinished run has trained, kept in its work folder so that the same command does not train them
 * again: what plan_options.dictionaries asks for. */
#ifndef PIPELINE_TRAINED_H
#define PIPELINE_TRAINED_H

#include "journal.h"
#include "work.h"

#include <policy/plan.h>

struct trained {
    const struct work *work;
    struct journal *journal;
    struct plan_dictionaries operations;
};

/* Both must live as long as `trained`. */
void trained_init(struct trained *trained, const struct work *work, struct journal *journal);

#endif
