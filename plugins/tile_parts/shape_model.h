/* SPDX-License-Identifier: Apache-2.0
 *
 * The entropy model that a shape stands for. */
#ifndef SHAPE_MODEL_H
#define SHAPE_MODEL_H

#include "shape.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

/* A context of symbols -M..M and the escape has the frequencies of its own limit in the middle of the alphabet. */
struct shape_model {
    uint32_t limits[SHAPE_CONTEXTS_MAX]; /* M of each context: larger magnitudes are escapes */
    uint32_t middle;                     /* the largest of them: the alphabet has 2 middle + 2 symbols */
    tsr_entropy_model *entropy;
};

/* Replaces a model that is there; free what entropy points to with the coder's model_destroy. TSR_E_NOMEM. */
tsr_status shape_model_create(const tsr_host *host, const tsr_entropy *entropy, const struct shape *shape,
                              struct shape_model *model, tsr_error *err);

#endif
