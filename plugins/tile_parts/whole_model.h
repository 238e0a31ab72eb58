/* SPDX-License-Identifier: Apache-2.0
 *
 * The entropy model at the end of a header of scalar, spiral or trellis. */
#ifndef WHOLE_MODEL_H
#define WHOLE_MODEL_H

#include "input.h"

#include <tessera/ext/entropy.h>

/* Reads a model that is all that is left of the input. *fits says whether it is, with this alphabet and so many contexts; the
 * model is the caller's either way. */
static inline tsr_status whole_model_read(const tsr_entropy *entropy, const tsr_host *host, const struct input *input,
                                          uint32_t alphabet, uint32_t contexts, tsr_entropy_model **model, bool *fits,
                                          tsr_error *err) {
    uint64_t consumed = 0;
    tsr_entropy_shape shape = {.struct_size = sizeof shape};
    *fits = false;
    tsr_status status = entropy->model_read(host, input->bytes, input->size, &consumed, model, err);
    if (status != TSR_OK) return status;
    entropy->model_shape(*model, &shape);
    *fits = consumed == input->size && shape.alphabet == alphabet && shape.contexts == contexts;
    return TSR_OK;
}

#endif
