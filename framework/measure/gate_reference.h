/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference gate: our run of the raw model against an independent implementation's values (docs/gates.md). A golden
 * file holds input_ids [1, T] I64, logits [T, V], hidden [L+1, T, H], final_hidden [T, W], greedy_ids [N] I64 and
 * greedy_last_logits [V] F32; members that are absent are not compared, logits must be there. */
#ifndef MEASURE_GATE_REFERENCE_H
#define MEASURE_GATE_REFERENCE_H

#include <model/model_open.h>

#define REFERENCE_TOLERANCE 2e-4 /* of the standard deviation of the golden values */

struct reference_result {
    double worst_logit;   /* largest absolute difference / standard deviation of the golden logits */
    double worst_hidden;  /* the same over layers, each against its own standard deviation */
    uint64_t worst_layer; /* where; layers + 1 is the final hidden state */
    bool has_greedy;
    uint64_t greedy_tokens;      /* compared */
    uint64_t first_wrong_token;  /* == greedy_tokens when all agree */
    uint32_t wrong_token, expected_token;
    double worst_last_logit; /* of the last greedy step */
    bool passed;
};

/* Runs the whole comparison. Differences are a result, not an error. */
tsr_status gate_reference(struct open_model *model, const char *golden_path, double tolerance,
                          struct reference_result *result, tsr_error *err);

#endif
