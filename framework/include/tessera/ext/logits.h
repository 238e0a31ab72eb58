/* SPDX-License-Identifier: Apache-2.0
 *
 * Model extension "tessera.model.logits/0": the output matrix by itself. Logits of a long text are large and final hidden
 * states are not, so a host that compares two models keeps the states of both and makes logits a few positions at a time. */
#ifndef TESSERA_EXT_LOGITS_H
#define TESSERA_EXT_LOGITS_H

#include "../model.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_LOGITS_ID "tessera.model.logits/0"

typedef struct tsr_logits {
    uint64_t struct_size;
    /* `states` [tokens][width] as the hidden hook reports them for layer `layers + 1`; logits [tokens][vocabulary], bit for
     * bit those that the logits hook would report. [instance] */
    tsr_status (*apply)(void *self, const float *states, uint64_t tokens, float *logits, tsr_error *err);
} tsr_logits;

#ifdef __cplusplus
}
#endif
#endif
